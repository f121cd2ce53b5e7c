// `tollgate usage`: reports usage and cost, from the running broker or directly from the ledger's file; also maintains
// the file.
import AdmissionCore
import ArgumentParser
import Foundation
import LedgerStore
import PolicyFile
import ProcessOutput
import TextForms

struct UsageCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "usage", abstract: "Show what was used and spent.",
    discussion: """
      A call counts at the time of its arrival, in UTC. Costs are US dollars with nine places; 'presumed' are calls whose end a
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
    @Option(
      help: ArgumentHelp("Read this ledger instead of asking a broker.", valueName: "path"), completion: .file())
    var store: String?
    @OptionGroup var admin: AdminOptions

    func run() throws {
      // The same check for both sources, before any connection, so that a mistake is reported as wrong usage.
      let query: UsageQuery
      do {
        query = try UsageQuery(by: by, since: since, until: until, bucket: nil, now: UsageCommand.now())
      } catch { throw ValidationError("--\(error)") }
      let text: String
      if let store {
        let path = try UsageCommand.file(store)
        let report: UsageReport
        do { report = try LedgerStore.usage(query, at: path) } catch {
          throw CommandRefusal("tollgate: \(error)")
        }
        text = report.text(as: format == .csv ? .csv : .json)
      } else {
        var path = "/api/v1/usage?by=\(PercentEscapes.encoded(by))&since=\(PercentEscapes.encoded(since))"
        if let until { path += "&until=\(PercentEscapes.encoded(until))" }
        if format == .csv { path += "&format=csv" }
        text = String(decoding: try AdminClient(options: admin).call("GET", path), as: UTF8.self)
      }
      guard format == .table else {
        // JSON is escaped already. CSV is for machines as it is; on a terminal it must not control the terminal, and
        // gets the terminal's line ends.
        guard isatty(1) == 1 else { return Terminal.answer(text) }
        return Terminal.answer(PrintableText.escaped(text.replacing("\r\n", with: "\n"), keepsLines: true))
      }
      let table = try UsageTable(json: text, by: query.by.map(\.rawValue))
      if table.pending > 0 {
        Terminal.error(
          "tollgate: \(table.pending) entries of the running broker cannot be written yet and are not in this report")
      }
      Terminal.line(table.text)
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

/// A report for people: names to the left, numbers to the right, the total below.
struct UsageTable {
  private struct Report: Decodable {
    var rows: [[String: Cell]]
    var total: [String: Cell]
    var since: String
    var until: String
    var pending: Int?
  }
  /// Names and amounts are texts, counts are numbers.
  private enum Cell: Decodable {
    case text(String)
    case number(Int64)
    init(from decoder: any Decoder) throws {
      let container = try decoder.singleValueContainer()
      if let number = try? container.decode(Int64.self) {
        self = .number(number)
      } else {
        self = .text(try container.decode(String.self))
      }
    }
    var shown: String {
      switch self {
      case .number(let number): "\(number)"
      case .text(let text): text
      }
    }
  }

  let text: String
  /// Entries that the report lacks.
  let pending: Int

  /// The share of the lost tokens that expired because calls waited here.
  private static let byWaiting = "by_waiting"

  private static func cell(_ name: String, _ row: [String: Cell]) -> String {
    guard name == byWaiting else { return row[name]?.shown ?? "-" }
    guard case .number(let lost)? = row["lost_tokens"], case .number(let waiting)? = row["lost_by_waiting_tokens"],
      lost > 0
    else { return "-" }
    // In tenths of a hundredth, and never 0 where there was something.
    let share = max(waiting > 0 ? 1 : 0, Int64((Double(waiting) / Double(lost) * 1000).rounded()))
    return "\(share / 10).\(share % 10)%"
  }

  init(json: String, by: [String]) throws {
    let report: Report
    do { report = try JSONDecoder().decode(Report.self, from: Data(json.utf8)) } catch {
      throw CommandRefusal(AdminClient.unexpected("the usage report"))
    }
    var counts = ["requests", "input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "cost_usd"]
    // Shown only where there is something in it.
    for rare in ["presumed", "estimated", "unpriced"] where report.total[rare]?.shown != "0" {
      counts.insert(rare, at: counts.count - 1)
    }
    if by.contains("cache") {
      counts.insert(contentsOf: ["lost_tokens", "lost_usd", UsageTable.byWaiting], at: counts.count - 1)
    }
    let headings = [
      "requests": "REQUESTS", "input_tokens": "INPUT", "cache_read_tokens": "CACHE READ",
      "cache_write_tokens": "CACHE WRITE", "output_tokens": "OUTPUT", "cost_usd": "USD", "presumed": "PRESUMED",
      "estimated": "ESTIMATED", "unpriced": "UNPRICED", "lost_tokens": "LOST", "lost_usd": "LOST USD",
      UsageTable.byWaiting: "BY WAITING",
    ]
    var table = TextTable(
      by.map { $0.uppercased().replacingOccurrences(of: "_", with: " ") } + counts.map { headings[$0] ?? $0 },
      right: Set(by.count..<(by.count + counts.count)))
    for row in report.rows {
      table.row(
        by.map { name in row[name].map { $0.shown.isEmpty ? "-" : $0.shown } ?? "-" }
          + counts.map { UsageTable.cell($0, row) })
    }
    table.row(
      (by.isEmpty ? [] : ["total"] + by.dropFirst().map { _ in "" }) + counts.map { UsageTable.cell($0, report.total) })
    pending = report.pending ?? 0
    text = "\(report.since) to \(report.until)\n\n\(table.text)"
  }
}
