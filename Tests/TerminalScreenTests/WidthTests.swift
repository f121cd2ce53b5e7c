// Tables, lists and watched reports on terminals of 60, 80 and 120 columns: what matters most stays, and nothing is cut
// without a sign.
import Testing

@testable import TerminalScreen

@Suite struct SpareColumnsTests {
  private func table() -> TextTable {
    var table = TextTable(["NAME", "HELD", "LIMIT", "LEFT"], right: [1, 2, 3], spare: ["HELD", "LIMIT"])
    table.row(["acme/day", "$10.00", "$20.00", "$3.00"])
    return table
  }

  @Test func spareColumnsGoOneByOneAndTheOthersStay() {
    // 8 + 6 + 6 + 5 cells and three gaps.
    #expect(table().lines(width: 31)[0] == "NAME        HELD   LIMIT   LEFT")
    #expect(table().leftOut(width: 31).isEmpty)
    #expect(table().lines(width: 30)[0] == "NAME       LIMIT   LEFT")
    #expect(table().leftOut(width: 30) == ["HELD"])
    #expect(table().lines(width: 23)[0] == "NAME       LIMIT   LEFT")
    #expect(table().lines(width: 22) == ["NAME       LEFT", "acme/day  $3.00"])
    #expect(table().leftOut(width: 22) == ["HELD", "LIMIT"])
    #expect(table().leftOut(width: nil).isEmpty)
    #expect(table().lines()[1] == "acme/day  $10.00  $20.00  $3.00")
  }

  @Test func aLongNameIsCutBeforeNumbersGo() {
    var table = TextTable(["NAME", "HELD", "LEFT"], right: [1, 2], spare: ["HELD"])
    table.row([String(repeating: "n", count: 4096), "$10.00", "$3.00"])
    let row = table.lines(width: 60)[1]
    #expect(row.contains("…  $10.00  $3.00") && CellText.width(row) == 60)
    #expect(table.lines(width: 30)[1].hasSuffix("…  $3.00"))
  }
}

@Suite struct WatchedPageTests {
  @Test func aLineThatIsTooWideTakesSeveralRows() {
    let text = "one two three four five six\nshort"
    #expect(WatchedPage.rows(text, columns: 14, rows: 24) == ["one two three", "four five six", "short"])
    #expect(WatchedPage.rows(text, columns: 27, rows: 24) == ["one two three four five six", "short"])
    #expect(WatchedPage.rows("\n", columns: 14, rows: 24) == ["", ""])
    #expect(WatchedPage.broken(text, columns: 14) == "one two three\nfour five six\nshort")
    #expect(WatchedPage.broken("a\n\nb\n", columns: 14) == "a\n\nb\n")
    #expect(
      WatchedPage.broken("\u{1B}[0;31mone two three four\u{1B}[0m", columns: 14)
        == "\u{1B}[0;31mone two three\nfour\u{1B}[0m")
  }

  @Test(arguments: [60, 80, 120])
  func noRowIsWiderAndTheLastOneCountsWhatIsLeft(_ columns: Int) {
    let sentence = "\u{1B}[0;31mbreaker of openai open: " + String(repeating: "日本 words ", count: 60) + "\u{1B}[0m"
    let text = Array(repeating: sentence, count: 12).joined(separator: "\n")
    let all = WatchedPage.rows(text, columns: columns, rows: 10_000)
    #expect(all.allSatisfy { WatchedPage.width($0) <= columns })
    for rows in [all.count, all.count + 1, 24, 3, 1] {
      let drawn = WatchedPage.rows(text, columns: columns, rows: rows)
      #expect(drawn.count <= max(2, rows - 1))
      let isWhole = rows > all.count
      #expect((drawn.last?.hasSuffix("and \(all.count - drawn.count + 1) more lines") == true) == !isWhole)
      if isWhole { #expect(drawn == all) }
    }
    // Nothing of the text is lost where a row ends, but for the blank between two words.
    let whole = all.joined(separator: " ").filter { $0 != " " && $0 != "\n" }
    #expect(whole == text.filter { $0 != " " && $0 != "\n" })
  }

  @Test func aFullRowIsNotClearedBehindItsEnd() {
    #expect(WatchedPage.drawn("abc", columns: 4) == "abc\u{1B}[K\n")
    #expect(WatchedPage.drawn("abcd", columns: 4) == "abcd\n")
    #expect(WatchedPage.drawn("\u{1B}[0;31mabcd\u{1B}[0m", columns: 4) == "\u{1B}[0;31mabcd\u{1B}[0m\n")
  }

  @Test func brokenSequencesEndSomewhere() {
    for odd in ["\u{1B}", "\u{1B}[", "a\u{1B}[12;", "\u{1B}\u{1B}[m"] {
      #expect(WatchedPage.rows(odd, columns: 10, rows: 24).count == 1)
    }
  }
}

@Suite struct NarrowBudgetsTests {
  @Test(arguments: [60, 80, 120])
  func nameStateAndWhatIsLeftStay(_ width: Int) throws {
    let rows = try ["acme/day", "acme/session/nightly-refactoring-of-everything/day", "broker/month"].map {
      try decoded(
        BudgetRow.self,
        """
        {"id": "\($0)", "scope": "tenant", "tenant": "acme", "name": null, "on_exceed": "reject", "unit": "usd", "limit_usd": "20.000000000",
         "raised_usd": "0.000000000", "spent_usd": "12.345000000", "held_usd": "1.000000000", "remaining_usd": "6.655000000", "state": "warned",
         "text": null, "waiting": 0, "window_ends": "2026-12-01T00:00:00Z", "burn_usd_per_hour": "3.250000000", "runs_out_at": "2026-11-30T16:02:00Z"}
        """)
    }
    let lines = BudgetText.text(BudgetReport(budgets: rows), page(width: width)).split(separator: "\n").map(String.init)
    #expect(lines[0...3].allSatisfy { CellText.width($0) <= width })
    for heading in ["BUDGET", "STATE", "LEFT"] { #expect(lines[0].contains(heading), "\(lines[0])") }
    #expect(!lines[0].contains("…"))
    #expect(lines[1].contains("acme/day ") && lines[1].contains("$6.655") && lines[1].contains("warned"))
    #expect(lines[2].hasPrefix("acme/session/night"))
    // What is not shown is named.
    let isWhole = BudgetText.text(BudgetReport(budgets: rows), page(width: 200)).contains("BEYOND IT")
    #expect(isWhole && lines.contains { $0.hasPrefix("on a wider terminal also: ") && $0.contains("of it raised") })
  }
}

@Suite struct NarrowTopTests {
  private static func status() throws -> StatusReport {
    let more =
      #"""
      "tenants": [{"id": "a-tenant-with-a-long-name", "in_flight": 3, "queued": 2, "oldest_wait_ms": 4100, "weight": 1, "concurrency_limit": 10,
        "spent_usd": "1234.560000000"}],
      """#
    let json = StatusTextTests.plain().replacing(#""tenants": [],"#, with: more)
    return try decoded(StatusReport.self, json)
  }

  private static func lines(_ tab: TopTab, _ columns: Int) throws -> [String] {
    var screen = TopScreen()
    screen.show(try status())
    let entries = (1...3).map { number in
      #"""
      {"id": "01KBREQUEST\#(number)", "state": "queued", "outcome": null, "tenant": "a-tenant-with-a-long-name", "session": "nightly-\#(number)",
       "priority": "normal", "model": "claude-opus-5-20261001", "provider": "anthropic", "key": "main", "queued_ms": 61000, "first_byte_ms": null,
       "total_ms": null, "attempts": 0, "input_tokens": 1234567, "output_tokens": 2, "cost_usd": "0.010000000", "kind": null}
      """#
    }.joined(separator: ",")
    screen.show(try decoded(RequestReport.self, #"{"requests": [\#(entries)]}"#).requests, state: "running")
    _ = screen.press(.character(Character("\(tab.rawValue + 1)")), page(width: columns))
    let drawn = screen.draw(columns: columns, rows: 24, page(width: columns))
    return (0..<drawn.rows).map { drawn.text(row: $0) }
  }

  @Test(arguments: TopTab.allCases, [60, 80, 120])
  func everyListHasWholeHeadingsAndItsMostImportantColumns(_ tab: TopTab, _ columns: Int) throws {
    let lines = try NarrowTopTests.lines(tab, columns)
    let names: [TopTab: [String]] = [
      .requests: ["STATE", "CLASS", "WAITED", "SESSION", "WAITS FOR"], .sessions: ["none"],
      .tenants: ["TENANT", "RUNNING", "WAITING", "SPENT"], .budgets: ["none"],
      .keys: ["KEY", "STATE", "LEFT", "REASON"], .limits: ["LIMIT OF", "DIMENSION", "USED", "AVAILABLE"],
    ]
    let wanted = try #require(names[tab])
    let heading = try #require(lines.last { line in wanted.allSatisfy { line.contains($0) } }, "\(lines)")
    #expect(!heading.contains("…"), "\(heading)")
    let title = try #require(lines.first { $0.contains("1 Re") })
    for number in 1...6 { #expect(title.contains("\(number) "), "\(title)") }
    #expect(title.contains("\(tab.rawValue + 1) \(tab.title)"), "\(title)")
    for line in lines { #expect(CellText.width(line) <= columns) }
  }
}
