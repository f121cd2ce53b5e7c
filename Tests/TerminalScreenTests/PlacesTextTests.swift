// Limits of providers, models and keys in words, what is wrong with how bad it is, and what tenants have spent.
import Testing

@testable import TerminalScreen

private func report(_ provider: String = "", _ more: String = "") throws -> StatusReport {
  try decoded(
    StatusReport.self,
    """
    {"version": "0.1.0", "draining": false, "started_at": "2026-11-30T11:55:00.000Z", "running": 12, "queued": \(StatusTextTests.bands), \(more)
     "providers": [{"id": "openai", "state": "usable", "in_flight": 12, "breaker": {"state": "closed"}, "queued": \(StatusTextTests.bands)\(provider)}]}
    """)
}

private func key(_ id: String, _ limit: Int?, state: String = "usable", _ more: String = "") -> String {
  #"{"id": "\#(id)", "state": "\#(state)", "in_flight": 6, "concurrency_limit": \#(limit.map { "\($0)" } ?? "null")\#(more)}"#
}

@Suite struct PlacesTextTests {
  private static func places(_ keys: [String], limit: String = "null") throws -> String {
    let report = try report(#", "concurrency_limit": \#(limit), "keys": [\#(keys.joined(separator: ","))]"#)
    return StatusText.places(report.allProviders[0])
  }

  @Test func limitsOfKeysAreTheProvidersTogether() throws {
    #expect(try Self.places([key("a", 20), key("b", 20)]) == "12 of 40 (2 keys of 20)")
    #expect(try Self.places([key("a", 20)]) == "12 of 20 (1 key of 20)")
    #expect(try Self.places([key("a", 20), key("b", 30)]) == "12 of 50 (2 keys of 20-30)")
    #expect(try Self.places([key("a", 20), key("b", 20, state: "cooling")]) == "12 of 40 (2 keys of 20, 1 at rest)")
    #expect(try Self.places([key("a", 20), key("b", 20, state: "disabled")]) == "12 of 20 (1 of 2 keys of 20)")
    #expect(try Self.places([key("a", 20, state: "disabled")]) == "12 of 0 (0 of 1 key of 20)")
    let taught = key("b", 8, #", "learned_concurrency": 8, "policy_concurrency": 20"#)
    #expect(try Self.places([key("a", 20), taught]) == "12 of 28 (2 keys of 8-20, 1 learned)")
    #expect(try Self.places([key("a", .max), key("b", .max)]) == "12 of \(Int.max) (2 keys of \(Int.max))")
  }

  @Test func withoutALimitOfEachKeyThereIsNone() throws {
    #expect(try Self.places([]) == "12, no limit" && Self.places([key("a", 20), key("b", nil)]) == "12, no limit")
    // A limit of the provider's own is what counts.
    #expect(try Self.places([key("a", 20)], limit: "15") == "12 of 15")
  }

  private static let models = #"""
    , "models": [{"models": "gpt-6*", "state": "usable", "in_flight": 3, "concurrency_limit": 8, "policy_concurrency": 20, "learned_concurrency": 8,
      "learned_from": "refusals (429) without numbers", "learned_since": "2026-11-30T13:02:00Z"},
     {"models": "", "state": "usable", "concurrency_limit": 4, "policy_concurrency": null, "learned_concurrency": 4, "learned_from": "rate-limit headers",
      "learned_since": "2026-11-30T13:03:00Z"},
     {"models": "embed-*", "state": "usable", "in_flight": 1, "concurrency_limit": 5, "policy_concurrency": 5, "learned_concurrency": null},
     {"models": "free", "state": "usable", "in_flight": 1, "concurrency_limit": null}]
    """#
  private static let keys = #", "keys": [\#(key("main", 20)), \#(key("spare", 7, taughtKey))]"#
  private static let taughtKey =
    #", "learned_concurrency": 7, "policy_concurrency": 10, "learned_from": "rate-limit headers", "learned_since": "2026-11-30T13:04:00Z""#

  @Test func learnedLimitsOfModelsAndKeysAreShownWhereTheyHold() throws {
    let lines = StatusText.text(try report(Self.models + Self.keys), page()).split(separator: "\n").map(String.init)
    let start = try #require(lines.firstIndex { $0.hasPrefix("MODEL OR KEY") })
    #expect(
      lines[start..<(start + 5)].map { $0.split(separator: "  ").map { $0.drop { $0 == " " } } } == [
        ["MODEL OR KEY", "PLACES", "FROM", "SINCE"],
        ["openai: gpt-6*", "3 of 8 (8 learned, 20 by the policy)", "refusals (429) without numbers", "14:02:00"],
        ["openai: calls without a model", "4 at most (learned)", "rate-limit headers", "14:03:00"],
        ["openai: embed-*", "1 of 5", "policy", "-"],
        ["openai/spare", "6 of 7 (7 learned, 10 by the policy)", "rate-limit headers", "14:04:00"],
      ])
    let keys = try #require(lines.first { $0.hasPrefix("openai/spare") && $0.contains("usable") })
    #expect(keys.contains("6 of 7 (learned)") && !lines.contains { $0.contains("6 of 20 (") })
  }

  @Test(arguments: [80, 120])
  func placesStayOnNarrowTerminals(_ width: Int) throws {
    let text = StatusText.text(try report(Self.models + Self.keys), page(width: width))
    #expect(text.contains("3 of 8 (8 learned, 20 by the policy)"))
    #expect(text.split(separator: "\n").allSatisfy { CellText.width(String($0)) <= width }, "\(text)")
  }

  @Test func whatIsNotLearnedHasNoSource() throws {
    let plain = #", "models": [{"models": "m", "state": "usable", "in_flight": 1, "concurrency_limit": 5}]"#
    #expect(StatusText.text(try report(plain), page()).contains("MODEL      PLACES\nopenai: m  1 of 5"))
  }

  @Test func topListsLimitsOfCallsAndWhoSetThem() throws {
    let learned =
      #""learned": [{"provider": "openai", "what": "requests_per_minute", "model": null, "key": "main", "value": 50, "unit": "requests/min", "from": "x"}],"#
    let buckets = Self.keys.replacing(
      #""concurrency_limit": 20"#,
      with:
        #""concurrency_limit": 20, "buckets": [{"dimension": "requests", "available": 5, "capacity": 50, "per_minute": 50}, {"dimension": "tokens", "available": 9, "capacity": 9, "per_minute": 50}]"#
    )
    var screen = TopScreen()
    screen.show(try report(Self.models + buckets + #", "concurrency_limit": 16, "policy_concurrency": 16"#, learned))
    _ = screen.press(.character("6"), page(width: 120))
    let rows = screen.list(page(width: 120)).rows.map { $0.cells.joined(separator: "|") }
    #expect(
      rows == [
        "openai/main|requests|90%|5|50|-|learned|-",
        "openai/spare|concurrency|85%|1|7|6|learned (policy 10)|-",
        "openai|concurrency|75%|4|16|12|policy|-",
        "openai: gpt-6*|concurrency|37%|5|8|3|learned (policy 20)|-",
        "openai/main|concurrency|30%|14|20|6|policy|-",
        "openai: embed-*|concurrency|20%|4|5|1|policy|-",
        "openai/main|tokens|0%|9|9|-|-|-",
        "openai: calls without a model|concurrency|0%|-|4|-|learned|-",
      ])
  }
}

@Suite struct TroubleTextTests {
  private static let troubles = #"""
    "ledger": "ok", "alerts": [{"name": "queue_depth", "severity": "warning", "text": "60 requests wait"}, {"name": "odd"},
      {"name": "queue_depth", "severity": "critical", "text": "600 requests wait"}],
    "problems": [{"what": "webhook_away", "severity": "warning", "text": "a webhook takes nothing"}, {"text": "'sim' refuses every key"}],
    """#

  @Test func theWorstIsFirstAndSaysSo() throws {
    let lines = StatusText.troubles(try report("", Self.troubles)).map(\.text)
    #expect(
      lines == [
        "critical: 'sim' refuses every key", "critical: alert queue_depth: 600 requests wait",
        "warning: a webhook takes nothing", "warning: alert queue_depth: 60 requests wait", "warning: alert odd: fires",
      ])
  }

  @Test func onlyATerminalWithColoursHasThem() throws {
    let report = try report("", Self.troubles)
    #expect(!StatusText.text(report, page()).contains("\u{1B}"))
    var coloured = page()
    coloured.hasColours = true
    let text = StatusText.text(report, coloured)
    #expect(text.contains("\u{1B}[0;31mcritical: 'sim'") && text.contains("\u{1B}[0;33mwarning: a webhook"))
  }

  @Test func whatTheLedgersAlertSaysIsSaidOnce() throws {
    let alert = #""alerts": [{"name": "ledger", "severity": "critical", "text": "no new calls are taken"}],"#
    let known = StatusText.troubles(try report("", alert + #""ledger": "disk full","#)).map(\.text)
    #expect(known == ["critical: no new work is taken: the ledger cannot be written: disk full"])
    #expect(
      StatusText.troubles(try report("", alert)).map(\.text) == ["critical: alert ledger: no new calls are taken"])
  }

  @Test func topHasThemInOneOrder() throws {
    let broken = #", "slow_start": {"calls": 1, "text": "1 call waits"}"#
    var report = try report(broken, Self.troubles)
    report.providers?[0].breaker.state = "open"
    var screen = TopScreen()
    screen.show(report)
    let drawn = screen.draw(columns: 120, rows: 40, page())
    let rows = (0..<40).map { drawn.text(row: $0) }
    #expect(
      rows.filter { $0.contains("critical: ") || $0.contains("warning: ") }.map { $0.prefix(26) } == [
        "critical: 'sim' refuses ev", "critical: alert queue_dept", "critical: breaker of opena",
        "warning: a webhook takes n", "(2 more) warning: alert qu",
      ])
  }
}

@Suite struct SpentTextTests {
  @Test func nothingIsNotUnknown() throws {
    func tenant(_ id: String, _ more: String) -> String {
      #"{"id": "\#(id)", "in_flight": 0, "queued": 0, "weight": 1\#(more)}"#
    }
    let tenants = [
      tenant("a", #", "spent_usd": "0.000000000", "unpriced_calls": 0"#),
      tenant("b", #", "spent_usd": "1.234560000", "unpriced_calls": 3"#),
      tenant("c", #", "spent_usd": null, "unpriced_calls": null"#), tenant("d", ""),
    ]
    let report = try report("", #""tenants": [\#(tenants.joined(separator: ","))],"#)
    let lines = StatusText.text(report, page()).split(separator: "\n")
    func end(_ id: String) -> String { lines.first { $0.hasPrefix("\(id) ") }.map { String($0.suffix(21)) } ?? "" }
    #expect(end("a").hasSuffix("  $0.00") && end("b") == "$1.23456 + 3 unpriced")
    #expect(end("c").hasSuffix("  -") && end("d").hasSuffix("  -"))
    var screen = TopScreen()
    screen.show(report)
    _ = screen.press(.character("3"), page())
    #expect(screen.list(page()).rows.map { $0.cells.last } == ["$0.00", "$1.23 + 3 unpriced", "-", "-"])
  }

  @Test func aPaceHasItsUnitInEveryList() throws {
    let budget = #"""
      "budgets": [{"id": "b/day", "unit": "tokens", "on_exceed": "low", "limit_tokens": 500, "raised_tokens": 10, "spent_tokens": 5, "held_tokens": 0,
        "remaining_tokens": 495, "waiting": 2, "window_ends": null, "burn_tokens_per_hour": 123456}],
      """#
    let report = try report("", budget)
    var screen = TopScreen()
    screen.show(report)
    _ = screen.press(.character("4"), page())
    #expect(screen.list(page()).rows[0].cells.contains("123456 tokens"))
    #expect(StatusText.text(report, page()).contains("123456 tokens"))
  }
}
