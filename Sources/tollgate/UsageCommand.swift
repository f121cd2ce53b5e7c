// `tollgate usage`: reports usage and cost, from the running broker or directly from the ledger's file; also maintains
// the file.
import AdmissionCore
import ArgumentParser
import Foundation
import LedgerStore
import PolicyFile
import ProcessOutput
import TerminalScreen
import TextForms

struct UsageCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "usage", abstract: "Show what was used and spent.",
    discussion: """
      A call counts at the time of its arrival, in UTC. Costs are US dollars, in csv and json with nine places; 'presumed' are calls whose end a
      crash took away: they count at their estimate.

      Examples:
        tollgate usage
        tollgate usage --by tenant,model --since 7d
        tollgate usage --by day,provider --since 2026-11-01 --until 2026-12-01 --format csv
        tollgate usage --by session --store tollgate.db
        tollgate usage --by cache --since 7d
        tollgate usage prune --older-than 90d
        tollgate usage backup ledger-copy.db
      """,
    subcommands: [Show.self, Prune.self, Backup.self], defaultSubcommand: Show.self)

  enum Format: String, ExpressibleByArgument, CaseIterable { case table, csv, json }

  struct Show: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Sums by tenant, model and so on (the default).")

    @Option(
      help: ArgumentHelp(
        "By what: \(UsageDimension.allCases.map(\.rawValue).joined(separator: ", ")).", valueName: "list"))
    var by = "tenant,model"
    @Option(help: ArgumentHelp("From when: 24h, 7d, 2026-11-21 or RFC 3339.", valueName: "time"))
    var since = "24h"
    @Option(help: ArgumentHelp("Until when, not included. Default: now.", valueName: "time"))
    var until: String?
    @Option(help: "table, csv or json.") var format: Format = .table
    @Flag(help: "The same as --format json.") var json = false
    @Option(
      help: ArgumentHelp("Read this ledger instead of asking a broker.", valueName: "path"), completion: .file())
    var store: String?
    @OptionGroup var watch: WatchOptions
    @OptionGroup var admin: AdminOptions

    func validate() throws {
      if json, format == .csv { throw ValidationError("give --json or --format csv, not both") }
    }

    func run() throws {
      // The same check for both sources, before any connection, so that a mistake is reported as wrong usage.
      let query: UsageQuery
      do {
        query = try UsageQuery(by: by, since: since, until: until, bucket: nil, now: UsageCommand.now())
      } catch { throw ValidationError("--\(error)") }
      let format = json ? .json : format
      try watch.show(drawn: format == .table) { try report(query, format) }
    }

    private func report(_ query: UsageQuery, _ format: Format) throws -> String {
      let text = try answer(query, format)
      guard format == .table else {
        // JSON is escaped already. CSV is for machines as it is; on a terminal it must not control the terminal, and
        // gets the terminal's line ends.
        // While it is watched, each document is a line.
        let isLine = format == .json && watch.watch
        let text =
          isLine ? text.split(separator: "\n").map { $0.drop { $0 == " " } }.joined() : text
        guard isatty(1) == 1 else { return text }
        return PrintableText.escaped(text.replacing("\r\n", with: "\n"), keepsLines: true)
      }
      let report: UsageTable
      do {
        report = try JSONDecoder().decode(UsageTable.self, from: Data(text.utf8))
      } catch { throw CommandRefusal(AdminClient.unexpected("the usage report")) }
      if report.lacking > 0 {
        Terminal.error(
          "tollgate: \(report.lacking) entries of the running broker cannot be written yet and are not in this report")
      }
      return report.text(by: query.by.map(\.rawValue), .current)
    }

    private func answer(_ query: UsageQuery, _ format: Format) throws -> String {
      if let store {
        let path = try UsageCommand.file(store)
        do {
          return try LedgerStore.usage(query, at: path).text(as: format == .csv ? .csv : .json)
        } catch {
          throw CommandRefusal("tollgate: \(error)")
        }
      }
      var path = "/api/v1/usage?by=\(PercentEscapes.encoded(by))&since=\(PercentEscapes.encoded(since))"
      if let until { path += "&until=\(PercentEscapes.encoded(until))" }
      if format == .csv { path += "&format=csv" }
      return String(decoding: try AdminClient(options: admin).call("GET", path), as: UTF8.self)
    }
  }

  struct Prune: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Remove what is older; what it cost stays in the sums of budgets without an end.",
      discussion:
        "Works beside a running broker, in steps of milliseconds. The file keeps its size and reuses the space.")
    @Option(help: ArgumentHelp("An age such as 90d.", valueName: "age")) var olderThan: String
    @Option(
      help: ArgumentHelp("The ledger. Default: the one that the broker uses.", valueName: "path"), completion: .file())
    var store: String?
    @OptionGroup var admin: AdminOptions

    func run() throws {
      let now = UsageCommand.now()
      guard olderThan.last.map({ "smhdw".contains($0) }) == true,
        let query = try? UsageQuery(by: "day", since: olderThan, until: nil, bucket: nil, now: now)
      else { throw ValidationError("--older-than: found '\(olderThan)', allowed is an age such as 90d, 12w or 48h") }
      let path = try UsageCommand.path(store, admin)
      do {
        let (attempts, requests) = try LedgerCare.prune(path, before: query.since)
        Terminal.line("removed \(requests) requests and \(attempts) attempts from \(path)")
      } catch { throw CommandRefusal("tollgate: \(error)") }
    }
  }

  struct Backup: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Copy the ledger, also while a broker writes it.",
      discussion:
        "The copy is whole, as of one moment. Another place's ledger is restored by putting the copy at its path.")
    @Argument(help: "The file to make.", completion: .file()) var file: String
    @Flag(help: "Replace the file if it exists.") var force = false
    @Option(
      help: ArgumentHelp("The ledger. Default: the one that the broker uses.", valueName: "path"), completion: .file())
    var store: String?
    @OptionGroup var admin: AdminOptions

    func run() throws {
      let path = try UsageCommand.path(store, admin)
      do {
        try LedgerCare.backup(path, to: file, replaces: force)
        let bytes = (try? FileManager.default.attributesOfItem(atPath: file)[.size] as? Int) ?? 0
        Terminal.line("\(file): \(bytes) bytes, a copy of \(path)")
      } catch { throw CommandRefusal("tollgate: \(error)") }
    }
  }

  // MARK: Finding the books

  static func now() -> WallInstant { WallInstant(nanoseconds: SystemClock.wall()) }

  /// The named file, or the one that the running broker uses.
  private static func path(_ store: String?, _ admin: AdminOptions) throws -> String {
    if let store { return try file(store) }
    struct State: Decodable {
      var store: String
      var obstacle: String?
      var pending: Int
    }
    // What was recorded before this question is in the file afterwards.
    let state = try AdminClient(options: admin).get(State.self, "/api/v1/ledger")
    guard state.store != "memory:" else { throw CommandRefusal("tollgate: the broker keeps its ledger in memory only") }
    if state.pending > 0 {
      let why = state.obstacle.map { ": \($0)" } ?? ""
      Terminal.error("tollgate: \(state.pending) entries of the running broker are not in \(state.store) yet\(why)")
    }
    return state.store
  }

  private static func file(_ text: String) throws -> String {
    guard case .file(let path)? = StoreLocation(text) else {
      throw ValidationError("--store: '\(text)' is no file; allowed are a path and sqlite:///PATH")
    }
    return path
  }
}
