// Budgets in tables and sentences: states, what raises them, and the many of clients' sessions.
import Testing

@testable import TerminalScreen

@Suite struct BudgetTextTests {
  private func row(
    _ id: String, scope: String = "tenant", tenant: String? = "acme", name: String? = nil, unit: String = "usd",
    state: String = "ok", text: String? = nil, spent: String = "0.500000000", onExceed: String = "reject",
    windowEnds: String? = "2026-11-30T15:00:00.000Z"
  ) throws -> BudgetRow {
    func quoted(_ value: String?) -> String { value.map { "\"\($0)\"" } ?? "null" }
    let isMoney = unit == "usd"
    func amount(_ value: String) -> String { isMoney ? "\"\(value)\"" : value }
    return try decoded(
      BudgetRow.self,
      """
      {"id": \(quoted(id)), "scope": "\(scope)", "tenant": \(quoted(tenant)), "name": \(quoted(name)), "unit": "\(unit)", "on_exceed": "\(onExceed)",
       "limit_\(unit)": \(amount(isMoney ? "1.000000000" : "100")), "raised_\(unit)": \(amount(isMoney ? "0.000000000" : "0")),
       "spent_\(unit)": \(amount(isMoney ? spent : "50")), "held_\(unit)": \(amount("0")), "remaining_\(unit)": \(amount("1")),
       "state": "\(state)", "text": \(quoted(text)), "waiting": 0, "window_ends": \(quoted(windowEnds))}
      """)
  }

  @Test func statesHaveAColumnAndThoseThatRefuseTheirSentence() throws {
    let report = BudgetReport(
      budgets: [
        try row("acme/day", state: "refusing", text: "budget acme/day refuses calls: little is left"),
        try row("broker/month", scope: "broker", tenant: nil, state: "used_up", text: "budget broker/month is used up"),
        try row("b/day", tenant: "b", state: "used_up", text: "budget b/day is used up", onExceed: "low"),
        try row("c/day/tokens", tenant: "c d", unit: "tokens", state: "used_up", text: "out"),
      ])
    let text = BudgetText.text(report, page())
    let lines = text.split(separator: "\n").map(String.init)
    #expect(lines[0].hasPrefix("BUDGET        STATE"))
    #expect(lines[1].hasPrefix("acme/day      refusing") && lines[2].hasPrefix("broker/month  used up "))
    #expect(
      Array(lines[5...]) == [
        "budget acme/day refuses calls: little is left; to let calls go on: tollgate budgets raise acme --usd 0.1 --until 1h",
        "budget broker/month is used up; to let calls go on: tollgate budgets raise --broker --usd 0.1 --until 1h",
        "out; to let calls go on: tollgate budgets raise 'c d' --tokens 10 --until 1h",
      ])
  }

  /// Names of sessions are the clients': they steer neither the terminal nor the shell into which a command is pasted.
  @Test(arguments: ["a b", "a'b", "$(reboot)", "a;b", "`x`", "é\u{202E}x", "\u{1B}[2J", "a\nb"])
  func commandsAreOneWordForTheShell(_ name: String) throws {
    var budget = try row("acme/session/x/day", scope: "session", state: "refusing", text: "out")
    budget.id = "acme/session/\(name)/day"
    budget.tenant = name
    let line = try #require(BudgetText.advice([budget]).first)
    let word = name.replacing("'", with: #"'\''"#)
    let shown = PrintableTextOracle.escaped("raise '\(word)' --usd 0.1 --until 1h --budget 'acme/session/\(word)/day'")
    #expect(line.hasSuffix(shown), "\(line)")
  }

  @Test func manySessionsAreFew() throws {
    let named = try (0..<30).map { number in
      try row("acme/session/s\(100 + number)/day", scope: "session", spent: "0.\(100 + number)000000")
    }
    let refusing = try row(
      "acme/session/zz/day", scope: "session", state: "refusing", text: "out", spent: "0.010000000")
    let lines = BudgetText.short([try row("broker/day", scope: "broker", tenant: nil)] + named + [refusing], page())
      .joined(separator: "\n").split(separator: "\n").map(String.init)
    #expect(lines.count == 1 + 1 + 5 + 1 + 1)
    #expect(lines[1].hasPrefix("broker/day") && lines[2].hasPrefix("acme/session/zz/day"))
    #expect(lines[3].hasPrefix("acme/session/s"))
    #expect(lines[7].hasPrefix("and 26 more of sessions and client keys: tollgate budgets"))
    #expect(lines[8].hasSuffix("--budget acme/session/zz/day"))
    // As many as there is room for, and one more.
    func notes(_ count: Int) throws -> [String] {
      BudgetText.short(try (0..<count).map { try row("t\($0)/day") }, page()).filter { $0.hasPrefix("and ") }
    }
    #expect(try notes(BudgetText.mostListed) == [])
    #expect(try notes(BudgetText.mostListed + 1) == ["and 1 more: tollgate budgets"])
  }

  @Test func manyThatRefuseAreFewSentences() throws {
    let all = try (0..<7).map { try row("t\($0)/day", tenant: "t\($0)", state: "used_up", text: "t\($0) is out") }
    let lines = BudgetText.advice(all)
    #expect(lines.count == 5 && lines[4] == "and 3 more budgets refuse calls")
    #expect(BudgetText.advice(Array(all.prefix(5))).last == "and 1 more budget refuses calls")
  }

  @Test func whatIsFilteredAway() throws {
    var (first, second) = (try row("acme/day"), try row("acme/session/a/day", scope: "session"))
    second.name = "a"
    first.tenant = "acme"
    var report = BudgetReport(budgets: [first, second, try row("b/day", tenant: "b")])
    report.raises = []
    #expect(report.only(tenant: "acme", session: nil).budgets.map(\.id) == ["acme/day", "acme/session/a/day"])
    #expect(report.only(tenant: nil, session: "a").budgets.map(\.id) == ["acme/session/a/day"])
    #expect(report.only(tenant: "b", session: "a").budgets.isEmpty)
  }

  @Test func aRaiseThatOutlastsItsWindowSaysSo() throws {
    let clock = page().clock
    let end: Int64 = 1_796_050_800
    let report = BudgetReport(budgets: [
      try row("acme/hour"), try row("acme/day/tokens", unit: "tokens"),
      try row("broker/hour", scope: "broker", tenant: nil),
      try row("acme/total", state: "used_up", text: "budget acme/total is used up", windowEnds: nil),
    ])
    func lines(until: Int64, tenant: String? = "acme", budget: String? = nil) -> [String] {
      BudgetText.afterRaise(report, tenant: tenant, budget: budget, unit: "usd", until: end + until, clock)
    }
    let still = "still: budget acme/total is used up"
    #expect(lines(until: -1) == [still] && lines(until: 0) == [still])
    #expect(
      lines(until: 1) == [
        "acme/hour: its window ends at 16:00:00; the raise holds in each window after it too, as long as it lasts",
        still,
      ])
    #expect(lines(until: 1, budget: "acme/total") == [still])
    #expect(lines(until: 1, tenant: nil).map { $0.prefix(12) } == ["broker/hour:"])
  }

  @Test func momentsHaveTheirZone() {
    #expect(page().clock.zoned("2026-11-30T23:30:00Z") == "2026-12-01 00:30:00 +01:00")
    #expect(page().clock.zoned("2026-11-30T13:02:31.007Z") == "2026-11-30 14:02:31.007 +01:00")
    #expect(page(ahead: -12_600).clock.zoned("2026-11-30T13:02:31Z") == "2026-11-30 09:32:31 -03:30")
    #expect(page(ahead: 0).clock.zoned("2026-11-30T13:02:31Z") == "2026-11-30 13:02:31 UTC")
    #expect(page().clock.zoned("soon") == "soon")
    for odd in [Int64.min, -1, 0, .max] {
      #expect(!LocalClock(now: odd) { _ in odd }.zoned("1969-12-31T23:59:59.999Z").isEmpty)
    }
  }

  @Test func whatIsArrivingHasNotWaited() throws {
    func entry(_ more: String) throws -> RequestReport.Entry {
      try decoded(
        RequestReport.Entry.self,
        #"{"id": "i", "state": "queued", "tenant": "t", "session": "", "priority": "low", "model": "", "queued_ms": 0, "attempts": 0, "input_tokens": 0, "output_tokens": 0, "age_ms": 41000\#(more)}"#
      )
    }
    let (arriving, queued, old) = (
      try entry(#", "arriving": true"#), try entry(#", "arriving": false"#), try entry("")
    )
    #expect(arriving.shownState == "arriving" && queued.shownState == "queued" && old.shownState == "queued")
    #expect(arriving.shownWait == "-" && queued.shownWait == "0 ms")
    #expect(!arriving.isWaiting && queued.isWaiting && arriving.shownTime == "41 s+")
    #expect(RequestText.text([arriving], page()).hasSuffix("the rest of its body"))
  }
}

/// What no terminal may be sent, as the escapes that stand for it.
private enum PrintableTextOracle {
  static func escaped(_ text: String) -> String {
    text.replacing("\u{202E}", with: #"\u202e"#).replacing("\u{1B}", with: #"\u001b"#).replacing("\n", with: #"\u000a"#)
  }
}
