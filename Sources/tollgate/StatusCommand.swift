// `tollgate status`: one snapshot of a running broker.
import ArgumentParser
import Foundation
import ProcessOutput
import TextForms

/// The parts of `/api/v1/status` that are shown.
struct StatusReport: Decodable {
  struct Bands: Decodable {
    var high: Int
    var normal: Int
    var low: Int
    var all: Int { high + normal + low }
  }
  struct Bucket: Decodable {
    var dimension: String
    var available: Int64
    var capacity: Int64
  }
  struct Breaker: Decodable {
    var state: String
    var reason: String?
    var until: String?
  }
  struct Key: Decodable {
    var id: String
    var secret: String?
    var state: String
    var until: String?
    var reason: String?
    var expires: String?
    var inFlight: Int
  }
  /// The provider's models, with a rest where there is one.
  struct Model: Decodable {
    var models: String
    var state: String
    var until: String?
    var reason: String?
  }
  struct Provider: Decodable {
    var id: String
    /// `cooling` while the provider has asked all calls for a pause.
    var state: String
    var until: String?
    var reason: String?
    var models: [Model]
    var inFlight: Int
    var concurrencyLimit: Int?
    var buckets: [Bucket]
    var breaker: Breaker
    var keys: [Key]
    var queued: Bands
  }
  struct Tenant: Decodable {
    var id: String
    var inFlight: Int
    var queued: Int
    var weight: Int
  }
  /// A value that the broker has learned.
  struct Learned: Decodable {
    var provider: String
    var what: String
    var model: String?
    var key: String?
    var value: Int64
    var unit: String
    var from: String
    var since: String?
  }
  var version: String
  var draining: Bool
  var startedAt: String
  var queued: Bands
  var queuedBytes: Int
  var running: Int
  var providers: [Provider]
  var tenants: [Tenant]
  var budgets: [BudgetRow]?
  /// `ok`, or why the ledger cannot be written.
  var ledger: String?
  /// US dollars since the start, as far as prices are known.
  var spentUsd: String?
  /// What an operator must do something about.
  struct Problem: Decodable {
    var text: String
  }
  var problems: [Problem]?
  var learned: [Learned]?
  /// How many learned values the answer lacks.
  var learnedLeftOut: Int?
}

struct StatusCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "status", abstract: "Show what runs and what waits, once.",
    discussion: """
      Exits with 0 when a broker answers and takes work, with 1 when none answers or its ledger refuses new work: fit for a
      health check.
      """)

  @OptionGroup var admin: AdminOptions
  @Flag(help: "The answer of /api/v1/status as it is.") var json = false

  func run() throws {
    let client = AdminClient(options: admin)
    let answer = try client.call("GET", "/api/v1/status")
    let ledger: String?
    if json {
      Terminal.line(String(decoding: answer, as: UTF8.self))
      // Print the answer as it is, since another version may have other members.
      ledger = try client.decode(LedgerState.self, answer, of: "/api/v1/status").ledger
    } else {
      let report = try client.decode(StatusReport.self, answer, of: "/api/v1/status")
      Terminal.line(StatusCommand.text(report))
      ledger = report.ledger
    }
    if let ledger, ledger != "ok" { throw ExitCode(1) }
  }

  private struct LedgerState: Decodable {
    var ledger: String?
  }

  /// The pauses that providers have asked for.
  struct Pause {
    var provider: String
    /// The provider, or one of its models.
    var what: String
    var until: String?
    var reason: String
  }

  static func pauses(_ providers: [StatusReport.Provider]) -> [Pause] {
    providers.flatMap { provider -> [Pause] in
      var all: [Pause] = []
      if provider.state == "cooling" {
        all.append(
          Pause(
            provider: provider.id, what: provider.id, until: provider.until, reason: provider.reason ?? provider.state))
      }
      for model in provider.models where model.state == "cooling" {
        let name = model.models.isEmpty ? "calls without a model" : model.models
        all.append(
          Pause(
            provider: provider.id, what: "\(provider.id): \(name)", until: model.until,
            reason: model.reason ?? model.state))
      }
      return all
    }
  }

  /// The most learned values that are shown; `--json` has more.
  static let mostLearned = 40

  private static func learned(_ report: StatusReport) -> [String] {
    guard let all = report.learned, !all.isEmpty else { return [] }
    var table = TextTable(["LEARNED", "FOR", "VALUE", "UNIT", "FROM", "SINCE"], right: [2])
    for one in all.prefix(mostLearned) {
      let names = [one.provider, one.key, one.model].compactMap { $0 }
      let day = one.unit == "unix_ms" ? RFC3339.text(min(max(0, one.value), 9_000_000_000_000) * 1_000_000) : nil
      table.row([
        one.what, names.joined(separator: "/"), day ?? "\(one.value)", day == nil ? one.unit : "-", one.from,
        one.since ?? "-",
      ])
    }
    let more = max(0, all.count - mostLearned) + (report.learnedLeftOut ?? 0)
    return ["", table.text] + (more > 0 ? ["and \(more) more learned values"] : [])
  }

  static func text(_ report: StatusReport) -> String {
    var lines = [
      "tollgate \(report.version), since \(report.startedAt)"
        + (report.draining ? Terminal.coloured(", draining", 33) : ""),
      "running \(report.running), waiting \(report.queued.all) "
        + "(high \(report.queued.high), normal \(report.queued.normal), low \(report.queued.low))",
    ]
    if let spent = report.spentUsd { lines.append("spent $\(spent) since then") }
    if let ledger = report.ledger, ledger != "ok" {
      let text = PrintableText.escaped("no new work is taken: the ledger cannot be written: \(ledger)")
      lines.append(Terminal.coloured(text, 31))
    }
    for problem in report.problems ?? [] {
      lines.append(Terminal.coloured(PrintableText.escaped(problem.text), 31))
    }
    lines.append("")
    var providers = TextTable(
      ["PROVIDER", "RUNNING", "LIMIT", "HIGH", "NORMAL", "LOW", "BREAKER"], right: [1, 2, 3, 4, 5])
    for provider in report.providers {
      providers.row([
        provider.id, "\(provider.inFlight)", provider.concurrencyLimit.map { "\($0)" } ?? "-",
        "\(provider.queued.high)", "\(provider.queued.normal)", "\(provider.queued.low)", provider.breaker.state,
      ])
    }
    lines.append(providers.text)
    for provider in report.providers where provider.breaker.state != "closed" {
      let until = provider.breaker.until.map { " until \($0)" } ?? ""
      let reason = provider.breaker.reason.map { ": \($0)" } ?? ""
      lines.append(
        PrintableText.escaped(
          "breaker of \(provider.id) \(provider.breaker.state)\(until)\(reason); "
            + "to try now: tollgate breakers auto \(provider.id)"))
    }
    for pause in pauses(report.providers) {
      let until = pause.until.map { " until \($0)" } ?? ""
      lines.append(
        PrintableText.escaped(
          "\(pause.what) rests\(until): \(pause.reason); to try now: tollgate breakers auto \(pause.provider)"))
    }
    let buckets = report.providers.flatMap { provider in provider.buckets.map { (provider.id, $0) } }
    if !buckets.isEmpty {
      var table = TextTable(["BUCKET", "DIMENSION", "AVAILABLE", "CAPACITY"], right: [2, 3])
      for (provider, bucket) in buckets {
        table.row([provider, bucket.dimension, "\(bucket.available)", "\(bucket.capacity)"])
      }
      lines += ["", table.text]
    }
    let keys = report.providers.flatMap { provider in provider.keys.map { (provider.id, $0) } }
    if !keys.isEmpty { lines += ["", KeysCommand.table(keys)] }
    if report.tenants.count > 1 {
      var table = TextTable(["TENANT", "RUNNING", "WAITING", "WEIGHT"], right: [1, 2, 3])
      for tenant in report.tenants {
        table.row([tenant.id, "\(tenant.inFlight)", "\(tenant.queued)", "\(tenant.weight)"])
      }
      lines += ["", table.text]
    }
    if let budgets = report.budgets, !budgets.isEmpty {
      var table = TextTable(["BUDGET", "SPENT", "HELD", "LIMIT", "LEFT"], right: [1, 2, 3, 4])
      for budget in budgets {
        table.row(
          [budget.id] + [budget.spent, budget.held, budget.limit, budget.remaining].map(budget.shown))
      }
      lines += ["", table.text]
    }
    lines += learned(report)
    return lines.joined(separator: "\n")
  }
}
