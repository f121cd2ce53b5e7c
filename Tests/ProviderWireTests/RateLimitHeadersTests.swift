// Limit headers of every family, and nonsense.
import AdmissionCore
import HTTPMessage
import Testing

@testable import ProviderWire

@Suite struct RateLimitHeadersTests {
  private static let now: Int64 = 1_795_208_400  // 2026-11-20T21:00:00Z

  private func read(_ fields: [(name: String, value: String)]) -> [ObservedLimits.Reading] {
    RateLimitHeaders.read(HeaderFields(fields), epochSeconds: Self.now)?.readings ?? []
  }

  /// Limits whose window nobody names.
  @Test(
    arguments: [
      ("1", 600), ("0.5", 600), ("500ms", 600), ("1s", 600), ("2", 10), ("60", 10), ("60.5", nil), ("61", nil),
      ("3600", nil), ("0", nil), ("soon", nil), (nil, nil), ("1795208401", 10), ("1795208500", nil),
    ] as [(String?, Int64?)])
  func infersTheWindowOfABareLimitFromItsReset(_ reset: String?, _ perMinute: Int64?) {
    var fields = [(name: "x-ratelimit-limit", value: "10"), (name: "x-ratelimit-remaining", value: "9")]
    if let reset { fields.append((name: "x-ratelimit-reset", value: reset)) }
    let readings = read(fields)
    #expect(readings.map(\.limit) == [perMinute])
    #expect(readings.map(\.remaining) == [9])
  }

  /// Whose day it is: by its name, or because nothing else takes so long.
  @Test(
    arguments: [
      ("-requests-day", "33011.38", .atOnce), ("-requests-day", "9h10m", .atOnce), ("-req-day", "864s", .gradually),
      ("-requests-month", "864s", nil), ("-requests", "864s", .gradually), ("-requests", "9h10m", nil),
      ("-requests", "719s", nil), ("-requests", "720s", .gradually), ("-requests", "1008s", .gradually),
      ("-requests", "1009s", nil), ("", "3600", nil), ("", "3601", .atOnce), ("", "86400", .atOnce),
      ("", "1795212001", .atOnce), ("", "1795212000", nil),
    ] as [(String, String, ObservedLimits.DayReset?)])
  func tellsADaysLimitAndHowItComesBack(_ name: String, _ reset: String, _ day: ObservedLimits.DayReset?) throws {
    // A hundredth is used.
    let readings = read([
      ("x-ratelimit-limit\(name)", "1000"), ("x-ratelimit-remaining\(name)", "990"),
      ("x-ratelimit-reset\(name)", reset),
    ])
    let reading = try #require(readings.first)
    #expect(reading.day == day && reading.told == 1000 && reading.fullIn != nil)
  }

  @Test func aDaysLimitDecidesOverAMonths() {
    let day = [("x-ratelimit-limit-tokens-day", "100"), ("x-ratelimit-remaining-tokens-day", "99")]
    let month = [("x-ratelimit-limit-tokens-month", "2000"), ("x-ratelimit-remaining-tokens-month", "1")]
    for fields in [day + month, month + day] {
      #expect(
        read(fields.map { (name: $0.0, value: $0.1) })
          == [.init(dimension: .tokens, remaining: 99, told: 100, day: .atOnce)])
    }
  }

  @Test func aNamedWindowDecidesOverABareLimit() {
    let bare = [("x-ratelimit-limit", "10"), ("x-ratelimit-remaining", "9"), ("x-ratelimit-reset", "1")]
    let named = [("x-ratelimit-limit-requests", "100"), ("x-ratelimit-remaining-requests", "99")]
    for fields in [bare + named, named + bare] {
      #expect(
        read(fields.map { (name: $0.0, value: $0.1) }) == [.init(dimension: .requests, limit: 100, remaining: 99)])
    }
  }

  /// Sixteen digits are the most that are read: sixty times as much still is a number.
  @Test(
    arguments: [
      ("9999999999999999", 599_999_999_999_999_940), ("10000000000000000", nil), ("9223372036854775807", nil),
      ("99999999999999999999", nil),
    ] as [(String, Int64?)])
  func aLimitThatNobodyCanMeanIsIgnored(_ limit: String, _ perMinute: Int64?) {
    #expect(
      read([("x-ratelimit-limit", limit), ("x-ratelimit-reset", "1")]).map(\.limit) == (perMinute.map { [$0] } ?? []))
  }

  @Test func readsOpenAI() {
    #expect(
      read([
        ("X-RateLimit-Limit-Requests", "60"), ("x-ratelimit-limit-tokens", "150000"),
        ("x-ratelimit-remaining-requests", "59"),
        ("x-ratelimit-remaining-tokens", "149984"), ("x-ratelimit-reset-requests", "1s"),
        ("x-ratelimit-reset-tokens", "6m0s"),
      ]) == [
        .init(dimension: .requests, limit: 60, remaining: 59, fullIn: .seconds(1)),
        // Six minutes for sixteen tokens: no minute's limit.
        .init(dimension: .tokens, limit: nil, remaining: 149_984, fullIn: .seconds(360), told: 150_000),
      ])
  }

  @Test func theTighterOfOrganisationAndProjectCounts() {
    #expect(
      read([
        ("x-ratelimit-limit-tokens", "1000"), ("x-ratelimit-remaining-tokens", "900"),
        ("x-ratelimit-reset-tokens", "6s"),
        ("x-ratelimit-limit-project-tokens", "500"), ("x-ratelimit-remaining-project-tokens", "450"),
        ("x-ratelimit-reset-project-tokens", "3s"),
      ]) == [.init(dimension: .tokens, limit: 500, remaining: 450, fullIn: .seconds(6))])
  }

  @Test func readsAnthropic() {
    #expect(
      read([
        ("anthropic-ratelimit-requests-limit", "1000"), ("anthropic-ratelimit-requests-remaining", "999"),
        ("anthropic-ratelimit-requests-reset", "2026-11-20T21:00:01Z"),
        ("anthropic-ratelimit-input-tokens-limit", "2000000"),
        ("anthropic-ratelimit-input-tokens-remaining", "1999000"),
        ("anthropic-ratelimit-output-tokens-limit", "400000"),
        ("anthropic-ratelimit-output-tokens-remaining", "0"),
        ("anthropic-ratelimit-output-tokens-reset", "2026-11-20T21:01:00Z"),
        ("anthropic-ratelimit-tokens-limit", "400000"), ("anthropic-ratelimit-tokens-remaining", "0"),
        ("anthropic-ratelimit-unified-5h-reset", "1795208500"), ("anthropic-priority-input-tokens-limit", "5"),
      ]) == [
        .init(dimension: .requests, limit: 1000, remaining: 999, fullIn: .seconds(1)),
        .init(dimension: .inputTokens, limit: 2_000_000, remaining: 1_999_000),
        .init(dimension: .outputTokens, limit: 400_000, remaining: 0, fullIn: .seconds(60)),
      ])
    #expect(
      read([("anthropic-ratelimit-tokens-limit", "10"), ("anthropic-ratelimit-tokens-remaining", "4")])
        == [.init(dimension: .tokens, limit: 10, remaining: 4)])
  }

  @Test func readsMistralGroqCerebrasOpenRouterAndAzure() {
    #expect(
      read([
        ("x-ratelimit-limit-req-minute", "60"), ("x-ratelimit-remaining-req-minute", "59"),
        ("x-ratelimit-limit-tokens-minute", "500000"),
        ("x-ratelimit-remaining-tokens-minute", "499000"), ("x-ratelimit-limit-tokens-month", "9"),
        ("x-ratelimit-tokens-query-cost", "12"),
      ]) == [
        .init(dimension: .requests, limit: 60, remaining: 59),
        .init(dimension: .tokens, limit: 500_000, remaining: 499_000),
      ])
    // Groq's requests are a day's.
    #expect(
      read([
        ("x-ratelimit-limit-requests", "14400"), ("x-ratelimit-remaining-requests", "14370"),
        ("x-ratelimit-reset-requests", "2m59.56s"),
        ("x-ratelimit-limit-tokens", "18000"), ("x-ratelimit-remaining-tokens", "17000"),
        ("x-ratelimit-reset-tokens", "3.33s"),
      ]) == [
        .init(
          dimension: .requests, limit: nil, remaining: 14_370, fullIn: Span(nanoseconds: 179_560_000_000), told: 14_400,
          day: .gradually),
        .init(dimension: .tokens, limit: 18_000, remaining: 17_000, fullIn: Span(nanoseconds: 3_330_000_000)),
      ])
    #expect(
      read([
        ("x-ratelimit-limit-requests-day", "14400"), ("x-ratelimit-remaining-requests-day", "14000"),
        ("x-ratelimit-reset-requests-day", "33011.382867"),
        ("x-ratelimit-limit-tokens-minute", "60000"), ("x-ratelimit-remaining-tokens-minute", "59000"),
        ("x-ratelimit-reset-tokens-minute", "11.38"),
      ]).map(\.limit) == [nil, 60_000])
    #expect(
      read([("X-RateLimit-Limit", "20"), ("X-RateLimit-Remaining", "19"), ("X-RateLimit-Reset", "1795208430000")])
        == [.init(dimension: .requests, limit: 20, remaining: 19, fullIn: .seconds(30))])
    #expect(
      read([
        ("x-ratelimit-limit-requests", "5000"), ("x-ratelimit-remaining-requests", "4999"),
        ("x-ratelimit-reset-requests", "1"),
      ])
        == [.init(dimension: .requests, limit: 5000, remaining: 4999, fullIn: .seconds(1))])
  }

  @Test(
    arguments: [
      [("x-ratelimit-limit-requests", "-1"), ("x-ratelimit-remaining-requests", "-1")],
      [("x-ratelimit-limit-requests", "0"), ("x-ratelimit-remaining-requests", "0")],
      [("x-ratelimit-limit-tokens", "many")], [("x-ratelimit-limit-tokens", "99999999999999999999")],
      [("x-ratelimit-", "1")],
      [("x-ratelimit-limit-cats", "1")], [("anthropic-ratelimit-", "1")], [("anthropic-ratelimit-cats-limit", "1")],
      [("x-ratelimit-reset-tokens", "1s")], [("content-type", "x")], [],
    ] as [[(String, String)]])
  func nonsenseIsIgnored(_ fields: [(String, String)]) {
    #expect(read(fields.map { (name: $0.0, value: $0.1) }).isEmpty)
  }

  @Test func partsThatContradictEachOtherAreDropped() {
    #expect(
      read([("x-ratelimit-limit-tokens", "10"), ("x-ratelimit-remaining-tokens", "11")]) == [
        .init(dimension: .tokens, limit: 10)
      ])
  }

  @Test(
    arguments: [
      ([("retry-after", "2")], 2_000), ([("Retry-After", "1.5")], 1_500),
      ([("retry-after", "2"), ("retry-after-ms", "250")], 250),
      ([("retry-after-ms", "12.5")], 12), ([("retry-after", "Fri, 20 Nov 2026 21:00:30 GMT")], 30_000),
      ([("retry-after", "Fri, 20 Nov 2026 20:00:30 GMT")], 0), ([("retry-after", "0")], 0),
      ([("retry-after", "-3")], nil),
      ([("retry-after", "soon")], nil), ([("retry-after", "86401")], nil), ([("retry-after", "86400")], 86_400_000),
      ([], nil),
      ([("retry-after-ms", "x"), ("retry-after", "3")], 3_000),
      ([("retry-after", "Fri, 20 Nov 2036 20:00:30 GMT")], nil),
    ] as [([(String, String)], Int64?)])
  func readsRetryAfter(_ fields: [(String, String)], _ milliseconds: Int64?) {
    let list = HeaderFields(fields.map { (name: $0.0, value: $0.1) })
    #expect(RateLimitHeaders.retryAfter(list, epochSeconds: Self.now)?.wholeMilliseconds == milliseconds)
  }
}
