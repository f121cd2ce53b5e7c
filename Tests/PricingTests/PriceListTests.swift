// Which price holds for a model, a day, a tier and a length; days and hours.
import AdmissionCore
import Testing
import TextForms

@testable import Pricing

@Suite struct PriceListTests {
  private func day(_ text: String) throws -> CalendarDay { try #require(CalendarDay(text)) }

  @Test func firstMatchThatIsValidCounts() throws {
    var old = ModelPrice(models: "gpt-*", rates: PriceRates(input: 1))
    old.validUntil = try day("2026-06-30")
    var new = ModelPrice(models: "gpt-*", rates: PriceRates(input: 2))
    new.validFrom = try day("2026-07-01")
    let other = ModelPrice(models: "*", rates: PriceRates(input: 3))
    let list = PriceList(version: "v", entries: [old, new, other])
    func input(_ model: String, _ text: String) throws -> PriceRate? {
      list.price(forModel: model, on: try day(text))?.rates.input
    }
    #expect(try input("gpt-6", "2026-06-30") == 1)
    #expect(try input("gpt-6", "2026-07-01") == 2)
    #expect(try input("o3", "2026-07-01") == 3)
    #expect(PriceList(version: "v", entries: [old]).price(forModel: "gpt-6", on: try day("2026-07-01")) == nil)
  }

  @Test(
    arguments: [
      (10, 3, 2, 15), (5, 1, 2, 3), (4, 1, 3, 1), (5, 1, 3, 2), (0, 7, 3, 0), (7, 0, 3, 0), (7, 5, 0, 7),
      // The product alone is beyond 64 bits.
      (PriceRate.max, 3, 3, .max), (PriceRate.max - 1, 1 << 40, 1 << 40, .max - 1),
      (1 << 62, 1 << 40, 1 << 41, 1 << 61),
      (PriceRate.max, .max, .max, .max),
      // The result is.
      (1 << 62, 2, 1, .max), (PriceRate.max, .max, 1, .max), (PriceRate.max, 3, 2, .max),
    ] as [(PriceRate, PriceRate, PriceRate, PriceRate)])
  func aRateInTheMeasureOfTwoOthers(rate: PriceRate, numerator: PriceRate, denominator: PriceRate, result: PriceRate) {
    #expect(scaled(rate, by: numerator, over: denominator) == result)
    #expect(scaled(nil, by: numerator, over: denominator) == nil)
    #expect(scaled(rate, by: nil, over: denominator) == rate)
  }

  /// claude-opus-5 and gpt-6-sol of the contract's example.
  private var opus: ModelPrice {
    var price = ModelPrice(
      models: "claude-opus-5*",
      rates: PriceRates(
        input: 5_000_000, output: 25_000_000, cacheRead: 500_000, cacheWrite: 6_250_000, cacheWrite1h: 10_000_000))
    price.batch = PriceRates(input: 2_500_000, output: 12_500_000)
    return price
  }
  private var sol: ModelPrice {
    var price = ModelPrice(
      models: "gpt-6-sol*",
      rates: PriceRates(input: 2_000_000, output: 10_000_000, cacheRead: 200_000, cacheWrite: 2_500_000))
    price.priority = PriceRates(input: 4_000_000, output: 20_000_000)
    price.above = LongContextPrice(tokens: 272_000, rates: PriceRates(input: 4_000_000, output: 15_000_000))
    return price
  }

  @Test func tiersTakeTheCacheAlong() {
    let batch = opus.rates(tier: .batch, inputTokens: 10)
    #expect(
      batch
        == PriceRates(
          input: 2_500_000, output: 12_500_000, cacheRead: 250_000, cacheWrite: 3_125_000, cacheWrite1h: 5_000_000))
    #expect(opus.rates(tier: .flex, inputTokens: 10) == batch)
    #expect(opus.rates(tier: .priority, inputTokens: 10) == opus.rates)
    #expect(opus.rates(tier: .standard, inputTokens: 10) == opus.rates)
    var withFlex = opus
    withFlex.flex = PriceRates(input: 1_000_000, output: 2_000_000, cacheRead: 7)
    #expect(withFlex.rates(tier: .flex, inputTokens: 10).input == 1_000_000)
    #expect(withFlex.rates(tier: .flex, inputTokens: 10).cacheRead == 7)
  }

  @Test func longContextCostsMoreFromTheFirstToken() {
    #expect(sol.rates(tier: .standard, inputTokens: 272_000) == sol.rates)
    let long = sol.rates(tier: .standard, inputTokens: 272_001)
    #expect(long == PriceRates(input: 4_000_000, output: 15_000_000, cacheRead: 400_000, cacheWrite: 5_000_000))
    let longPriority = sol.rates(tier: .priority, inputTokens: 272_001)
    #expect(
      longPriority == PriceRates(input: 8_000_000, output: 30_000_000, cacheRead: 800_000, cacheWrite: 10_000_000))
  }

  @Test func completingRoundsHalfUpAndKnowsItsBounds() {
    let base = PriceRates(input: 2, output: 0, reasoning: 5, cacheRead: 3)
    #expect(PriceRates(input: 1, output: 1).completed(from: base).cacheRead == 2)
    #expect(PriceRates(input: 1, output: 1).completed(from: base).reasoning == 5)
    #expect(PriceRates().completed(from: base) == base)
    let huge = PriceRates(input: 1, cacheRead: .max)
    #expect(PriceRates(input: .max).completed(from: huge).cacheRead == .max)
  }

  @Test func offPeakHoursPassMidnight() {
    let window = OffPeakPrice.Window(from: 16 * 60 + 30, until: 30)
    for minute in [990, 1439, 0, 29] { #expect(window.contains(minute: minute), "\(minute)") }
    for minute in [30, 989, 720] { #expect(!window.contains(minute: minute), "\(minute)") }
    let offPeak = OffPeakPrice(windows: [window, .init(from: 60, until: 120)])
    #expect(offPeak.applies(atMinute: 60) && offPeak.applies(atMinute: 119) && !offPeak.applies(atMinute: 120))
  }

  @Test(arguments: ["2026-01-01", "2026-12-31", "2024-02-29", "2000-02-29", "0001-01-01", "9999-12-31"])
  func days(_ text: String) throws { #expect(try day(text).description == text) }

  @Test(arguments: [
    "", "2026-1-1", "2026-13-01", "2026-00-01", "2026-02-29", "1900-02-29", "2026-04-31", "20260101",
    "2026-01-01T00:00", "0000-01-01", "-026-01-01",
  ])
  func notDays(_ text: String) { #expect(CalendarDay(text) == nil) }

  @Test func knowsWhenAPriceBecomesAnotherOne() throws {
    let dayLength: Int64 = 86_400_000_000_000
    let minute: Int64 = 60_000_000_000
    let noon = try day("2026-11-20").daysSince1970 * dayLength + 12 * 60 * minute
    func next(_ change: (inout ModelPrice) throws -> Void) rethrows -> Int64? {
      var price = ModelPrice(models: "m", rates: PriceRates(input: 1))
      try change(&price)
      return PriceList(version: "1", entries: [price]).nextChange(after: noon).map { ($0 - noon) / minute }
    }
    #expect(next { _ in } == nil)
    #expect(try next { $0.validFrom = try day("2026-11-21") } == 720)
    #expect(try next { $0.validUntil = try day("2026-11-20") } == 720)
    #expect(try next { $0.validFrom = try day("2026-11-20") } == nil)
    #expect(try next { $0.validUntil = try day("2026-11-19") } == nil)
    #expect(
      try next {
        $0.validFrom = try day("2026-11-23")
        $0.validUntil = try day("2026-11-21")
      } == 2160)
    #expect(try next { $0.validFrom = try day("9999-12-31") } == nil)
    #expect(next { $0.offPeak = OffPeakPrice(windows: [.init(from: 13 * 60, until: 14 * 60)]) } == 60)
    #expect(next { $0.offPeak = OffPeakPrice(windows: [.init(from: 12 * 60, until: 14 * 60)]) } == 120)
    #expect(next { $0.offPeak = OffPeakPrice(windows: [.init(from: 60, until: 12 * 60)]) } == 780)
    for wall in [Int64.min, -1, 0, .max] {
      var price = ModelPrice(models: "m", rates: PriceRates())
      price.offPeak = OffPeakPrice(windows: [.init(from: 0, until: 1439)])
      let next = PriceList(version: "1", entries: [price]).nextChange(after: wall)
      #expect(next.map { $0 > wall } ?? (wall == .min || wall == .max))
    }
  }
}
