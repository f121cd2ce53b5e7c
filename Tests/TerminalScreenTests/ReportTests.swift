// Tables and reports in words: columns, widths, times, money, advice.
import Foundation
import Testing

@testable import TerminalScreen

/// 2026-11-30 14:00:00 UTC, for somebody whose clock is an hour ahead.
let noon: Int64 = 1_796_047_200
func page(width: Int? = nil, ahead: Int64 = 3600) -> ReportPage {
  ReportPage(clock: LocalClock(now: noon * 1_000_000_000) { _ in ahead }, width: width)
}

func decoded<Value: Decodable>(_ type: Value.Type, _ json: String) throws -> Value {
  let decoder = JSONDecoder()
  decoder.keyDecodingStrategy = .convertFromSnakeCase
  return try decoder.decode(type, from: Data(json.utf8))
}

@Suite struct TextTableTests {
  @Test func numbersStandToTheRightAndWideNamesLineUp() {
    var table = TextTable(["NAME", "N", "LAST"], right: [1])
    table.row(["日本", "5", "x"])
    table.row(["abcdef", "1234", "y"])
    #expect(table.lines() == ["NAME       N  LAST", "日本       5  x", "abcdef  1234  y"])
  }

  @Test func aTableIsNoWiderThanTheTerminal() {
    var table = TextTable(["ID", "NAME", "N", "OTHER"], right: [2], whole: [0])
    table.row([
      "0123456789", String(repeating: "n", count: 4096), "42", "\u{1B}[2J\u{202E}" + String(repeating: "o", count: 50),
    ])
    for width in [10, 20, 40, 80, 200] {
      for line in table.lines(width: width) { #expect(CellText.width(line) <= width) }
    }
    let row = table.lines(width: 60)[1]
    #expect(row.hasPrefix("0123456789  nnn") && row.contains("…") && row.contains("  42  "))
    // Nothing is cut where the reader is a file.
    #expect(table.lines()[1].contains(String(repeating: "n", count: 1900)))
  }
}

@Suite struct ReadableTextTests {
  @Test func timesHaveADateOnlyWhereItIsAnotherDay() {
    let clock = page().clock
    #expect(clock.text("2026-11-30T13:02:31.000Z") == "14:02:31")
    #expect(clock.text("2026-11-30T23:30:00Z") == "2026-12-01 00:30")
    #expect(clock.text("2026-11-29T23:30:00Z") == "00:30:00")
    #expect(clock.text("soon") == "soon")
    #expect(clock.left(until: "2026-11-30T14:00:39.500Z") == "40 s")
    #expect(clock.left(until: "2026-11-30T13:00:00Z") == "0 s")
    #expect(clock.past(since: "2026-11-30T11:55:00Z") == "2 h 5 m")
  }

  @Test func timesOfAnyNumberAreText() {
    for odd in [Int64.min, -1, 0, .max] {
      let clock = LocalClock(now: odd) { _ in odd }
      #expect(
        !clock.text(odd).isEmpty && !SpanText.text(seconds: odd).isEmpty && !SpanText.text(milliseconds: odd).isEmpty)
      #expect(!AmountText.short(odd).isEmpty)
    }
  }

  @Test func spans() {
    #expect(
      [0, 412, 4100, 9999, 41_000].map { SpanText.text(milliseconds: $0) } == [
        "0 ms", "412 ms", "4.1 s", "9.9 s", "41 s",
      ])
    #expect([60, 250, 7500, 273_600].map { SpanText.text(seconds: $0) } == ["1 m", "4 m 10 s", "2 h 5 m", "3 d 4 h"])
  }

  @Test func moneyHasOneForm() {
    #expect(
      ["20.500000000", "0.012300000", "0.000000000", "3", "x"].map { AmountText.dollars($0) } == [
        "$20.50", "$0.0123", "$0.00", "$3.00", "$x.00",
      ])
    #expect(
      ["20.519000000", "0.012345600", "0.000000001", "0", "0.1"].map { AmountText.shortDollars($0) } == [
        "$20.51", "$0.0123", "<$0.0001", "$0.00", "$0.10",
      ])
    #expect(
      [999, 9999, 12_400, 1_240_000, 3_000_000_000].map { AmountText.short($0) } == [
        "999", "9999", "12.4k", "1.2M", "3.0G",
      ])
  }
}

@Suite struct StatusTextTests {
  static let bands = #"{"high": 0, "normal": 2, "low": 15}"#
  /// A broker of today: no field of it is new.
  static func plain(
    _ more: String = "", breaker: String = #"{"state": "closed", "reason": null, "until": null}"#, provider: String = ""
  ) -> String {
    """
    {"version": "0.1.0", "draining": false, "started_at": "2026-11-30T11:55:00.000Z", "ledger": "ok", "queued": \(bands), "queued_bytes": 0,
     "running": 48, "spent_usd": "12.300000000", "problems": [], "tenants": [], "budgets": [], "learned": [], \(more)
     "providers": [{"id": "openai", "state": "usable", "until": null, "reason": null, "models": [], "in_flight": 48, "concurrency_limit": 50,
       "buckets": [{"dimension": "requests", "available": 12, "capacity": 1000}], "breaker": \(breaker), "queued": \(bands), \(provider)
       "keys": [{"id": "main", "secret": "•••abcd", "state": "usable", "until": null, "in_flight": 48, "reason": null, "expires": null}]}]}
    """
  }

  @Test func theHeadlineIsTheFirstLine() throws {
    let json = StatusTextTests.plain(#""headline": "steer calls wait 0 ms; nothing is failing","#)
    let text = StatusText.text(try decoded(StatusReport.self, json), page())
    #expect(
      text.hasPrefix(
        "steer calls wait 0 ms; nothing is failing\ntollgate 0.1.0, since 12:55:00 (2 h 5 m)\nrunning 48, waiting 17"))
    #expect(text.contains("$12.30 since the start"))
  }

  @Test func aBreakerHasItsReasonItsEndAndWhatToDo() throws {
    let breaker =
      #"{"state": "open", "reason": "connection refused", "since": "2026-11-30T13:02:00Z", "until": "2026-11-30T14:00:40Z"}"#
    let report = try decoded(StatusReport.self, StatusTextTests.plain(breaker: breaker))
    let sentence =
      "breaker of openai open since 14:02:00 until 15:00:40: connection refused; next try in 40 s; "
      + "to try now: tollgate breakers auto openai"
    #expect(StatusText.text(report, page()).contains(sentence))
    #expect(StatusText.breakers(report, page()).contains(sentence))
  }

  @Test func placesTellWhatIsKept() throws {
    let kept =
      #""policy_concurrency": 60, "learned_concurrency": 50, "reserved_permits": {"high": 2, "normal": 0, "low": 0},"#
    let report = try decoded(StatusReport.self, StatusTextTests.plain(provider: kept))
    #expect(
      StatusText.places(try #require(report.providers)[0]) == "48 of 50 (50 learned, 60 by the policy), 2 kept for high"
    )
    #expect(StatusText.text(report, page()).contains("48 of 50 (50 learned, 60 by the policy), 2 kept for high"))
  }

  @Test func aTenantSeesItsOwnPartAlone() throws {
    let json = #"""
      {"version": "0.1.0", "draining": true, "started_at": "2026-11-30T11:55:00.000Z", "budgets": [],
       "tenants": [{"id": "acme", "weight": 2, "in_flight": 1, "queued": 3, "concurrency_limit": 10, "buckets": []}]}
      """#
    let text = StatusText.text(try decoded(StatusReport.self, json), page())
    #expect(text.contains(", draining") && text.contains("acme    1 of 10        3") && !text.contains("PROVIDER"))
  }

  @Test func namesOfClientsSteerNothing() throws {
    let hostile =
      #""classes": {"high": {"queued": 1, "oldest_ms": 5, "waits_for": {"blocker": "x", "provider": "p", "text": "\u001b[2J\u202e"}}, "normal": {"queued": 0}, "low": {"queued": 0}}, "headline": "\u001b]0;x\u0007","#
    let text = StatusText.text(try decoded(StatusReport.self, StatusTextTests.plain(hostile)), page(width: 80))
    #expect(text.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F || $0 == 0x0A } && !text.contains("\u{202E}"))
  }

  @Test func keysHaveTheirOwnLimits() throws {
    let json = StatusTextTests.plain().replacing(
      #""in_flight": 48, "reason": null, "expires": null"#,
      with:
        #""in_flight": 3, "concurrency_limit": 10, "reason": "operator", "expires": "2027-03-01T00:00:00.000Z", "buckets": [{"dimension": "tokens", "available": 5, "capacity": 9}]"#
    ).replacing(#""secret": "•••abcd", "state": "usable""#, with: #""secret": "•••abcd", "state": "disabled""#)
    let text = StatusText.keys(try decoded(StatusReport.self, json), page())
    #expect(text.contains("openai/main  •••abcd  disabled  -      3 of 10  2027-03-01 01:00  by hand"))
    #expect(text.contains("openai/main  tokens             5         9"))
    #expect(text.hasSuffix("openai/main is disabled; to try now: tollgate keys enable openai/main"))
  }

  @Test func budgetsTellWhenTheyRunOut() throws {
    let json = #"""
      {"budgets": [{"id": "acme/day", "unit": "usd", "on_exceed": "reject", "limit_usd": "50.000000000", "raised_usd": "0.000000000",
        "spent_usd": "12.340000000", "held_usd": "0.120000000", "remaining_usd": "37.540000000", "waiting": 0,
        "window_ends": "2026-12-01T00:00:00.000Z", "burn_usd_per_hour": "9.100000000", "runs_out_at": "2026-11-30T18:07:00.000Z"},
        {"id": "b/day", "unit": "tokens", "on_exceed": "low", "limit_tokens": 500, "raised_tokens": 10, "spent_tokens": 5, "held_tokens": 0,
        "remaining_tokens": 495, "waiting": 2, "window_ends": null}],
       "raises": [{"tenant": "acme", "budget": null, "usd": "20.000000000", "until": "2026-11-30T20:00:00.000Z"}]}
      """#
    let lines = BudgetText.text(try decoded(BudgetReport.self, json), page()).split(separator: "\n")
    #expect(
      lines[1].hasPrefix(
        "acme/day    $12.34     $0.12      $50.00             -      $37.54     $9.10  19:07:00  reject"))
    #expect(lines[1].hasSuffix("0  2026-12-01 01:00") && lines[2].contains("10 tokens"))
    #expect(lines[3] == "acme/* is raised by $20.00 until 21:00:00")
  }

  @Test func whatHasNoPriceHasCostNothingKnown() throws {
    func row(_ name: String, unpriced: Int, lost: Int, usd: String) -> String {
      #"""
      {"cache": "\#(name)", "requests": 3, "presumed": 0, "estimated": 0, "unpriced": \#(unpriced), "input_tokens": 9, "cache_read_tokens": 0, "cache_write_tokens": 0,
       "output_tokens": 1, "cost_usd": "\#(usd)", "lost_tokens": \#(lost), "lost_usd": "\#(usd)", "lost_by_waiting_tokens": 0}
      """#
    }
    let rows = [
      row("moved_key", unpriced: 3, lost: 5, usd: "0.000000000"),
      row("expired", unpriced: 0, lost: 0, usd: "0.000000000"),
    ]
    let json = """
      {"rows": [\(rows.joined(separator: ","))], "total": \(row("", unpriced: 3, lost: 5, usd: "0.500000000")), "since": "a", "until": "b", "pending": 2}
      """
    let table = try JSONDecoder().decode(UsageTable.self, from: Data(json.utf8))
    #expect(table.lacking == 2)
    let lines = table.text(by: ["cache"], page()).split(separator: "\n").map {
      $0.split(separator: " ").map(String.init)
    }
    #expect(lines[2].suffix(4) == ["5", "-", "0.0%", "-"])
    #expect(lines[3].suffix(4) == ["0", "$0.00", "-", "$0.00"])
    #expect(lines[4].suffix(4) == ["5", "$0.50", "0.0%", "$0.50"])
  }
}

@Suite struct EventStreamTests {
  @Test func eventsAreReadHoweverTheyAreCut() {
    let text = Array(
      "event: snapshot\ndata: {\"a\": 1}\n\n: nothing\n\nevent: change\r\ndata: x\r\ndata: y\r\n\r\ndata:z\n\n".utf8)
    let expected = [
      EventStream.Event(name: "snapshot", data: Array("{\"a\": 1}".utf8)),
      EventStream.Event(name: "change", data: Array("x\ny".utf8)),
      EventStream.Event(name: "", data: Array("z".utf8)),
    ]
    for size in 1...text.count {
      var stream = EventStream()
      var events: [EventStream.Event] = []
      for start in stride(from: 0, to: text.count, by: size) {
        events += stream.events(from: text[start..<min(start + size, text.count)])
      }
      #expect(events == expected)
    }
  }
}

/// The same throws in every run.
struct Dice: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return state ^ (state >> 29)
  }
}
