// `tollgate budgets`: shows the state of each budget, and raises one for a while.
import ArgumentParser
import Foundation
import ProcessOutput
import TerminalScreen
import TextForms

struct BudgetsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "budgets", abstract: "List the budgets, or raise one for a while.",
    subcommands: [List.self, Raise.self], defaultSubcommand: List.self)

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "List all budgets: what is spent, held by calls that run, and left.")
    @OptionGroup var admin: AdminOptions
    @OptionGroup var watch: WatchOptions
    @Flag(help: "The answer of /api/v1/budgets as it is.") var json = false
    @Option(help: "Only this tenant's budgets.") var tenant: String?
    @Option(help: "Only the budgets of sessions of this name.") var session: String?

    func validate() throws {
      if json, tenant != nil || session != nil {
        throw ValidationError("--json gives the whole answer: it goes without --tenant and --session")
      }
    }

    func run() throws {
      let client = AdminClient(options: admin)
      try watch.show(drawn: !json) {
        if json { return String(decoding: try client.call("GET", "/api/v1/budgets"), as: UTF8.self) }
        let all = try client.get(BudgetReport.self, "/api/v1/budgets")
        guard tenant != nil || session != nil else { return BudgetText.text(all, .current) }
        let some = all.only(tenant: tenant, session: session)
        return some.budgets.isEmpty ? "No budget of that name." : BudgetText.text(some, .current)
      }
    }
  }

  struct Raise: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Add to a limit for a while.",
      discussion: """
        Adds to each of the tenant's own budgets, or to the one that --budget names. Raises add up, hold across a restart, and are
        written into the ledger.
          tollgate budgets raise acme --usd 20 --until 18h
          tollgate budgets raise acme --usd 5 --budget acme/session/nightly/day --until 2027-01-01T00:00:00Z
          tollgate budgets raise --broker --usd 100 --until 24h
        """)
    @Argument(help: "The tenant; not with --broker.") var tenant: String?
    @Flag(help: "The budgets of the whole broker.") var broker = false
    @Option(help: "US dollars to add, such as 20 or 0.5.") var usd: String?
    @Option(help: "Tokens to add, for budgets in tokens.") var tokens: Int64?
    @Option(help: "Requests to add, for budgets in requests.") var requests: Int64?
    @Option(help: "Until when: a time such as 2026-11-22T00:00:00Z, or how long: 30m, 18h, 2d.") var until: String
    @Option(help: "One budget by its id, as 'tollgate budgets' lists it.") var budget: String?
    @OptionGroup var admin: AdminOptions

    private var amount: String {
      usd.map { AmountText.dollars($0) } ?? tokens.map { "\($0) tokens" } ?? "\(requests ?? 0) requests"
    }

    func validate() throws {
      if tenant?.isEmpty == true { throw ValidationError("TENANT: the tenant's id is empty") }
      guard (tenant == nil) == broker else { throw ValidationError("name a tenant, or give --broker") }
      guard [usd != nil, tokens != nil, requests != nil].filter({ $0 }).count == 1 else {
        throw ValidationError("give one of --usd, --tokens and --requests")
      }
      if BudgetsCommand.seconds(until, now: 0) == nil {
        throw ValidationError(
          "--until: found '\(until)', allowed is a time such as 2026-11-22T00:00:00Z, or a length such as 30m, 18h, 2d")
      }
    }

    func run() throws {
      let end = BudgetsCommand.seconds(until, now: Int64(Date().timeIntervalSince1970)) ?? 0
      var parameters = ["until=\(end)"]
      if let usd { parameters.append("usd=\(PercentEscapes.encoded(usd))") }
      if let tokens { parameters.append("tokens=\(tokens)") }
      if let requests { parameters.append("requests=\(requests)") }
      if let tenant { parameters.append("tenant=\(PercentEscapes.encoded(tenant))") }
      if let budget { parameters.append("budget=\(PercentEscapes.encoded(budget))") }
      let (client, path) = (AdminClient(options: admin), "/api/v1/budgets/raise")
      let answer = try client.call("POST", path + "?" + parameters.joined(separator: "&"))
      // The broker has accepted the time, so it can be shown.
      let clock = ReportPage.current.clock
      let text = clock.zoned(RFC3339.text(min(end, 9_000_000_000) * 1_000_000_000, .none))
      Terminal.line(
        PrintableText.escaped("\(budget ?? tenant ?? "broker"): raised by \(amount) until \(text)"))
      let report = try client.decode(BudgetReport.self, answer, of: path)
      let unit = usd != nil ? "usd" : tokens != nil ? "tokens" : "requests"
      for line in BudgetText.afterRaise(report, tenant: tenant, budget: budget, unit: unit, until: end, clock) {
        Terminal.line(line)
      }
    }
  }

  /// Seconds since 1970; nil where the text is neither a time nor a length.
  static func seconds(_ text: String, now: Int64) -> Int64? {
    if let moment = RFC3339.read(text.utf8) { return moment.seconds }
    // `+30m` reads like "in half an hour".
    let length = text.first == "+" ? text.dropFirst() : text[...]
    let span = LengthText.nanoseconds(length, [.seconds, .minutes, .hours, .days], mostDigits: 5)
    guard let seconds = span.map({ $0 / LengthText.Unit.seconds.nanoseconds }), seconds > 0 else { return nil }
    return now + seconds
  }
}
