// Values of the prices file. Its mistakes are in Fixtures/prices/.
import AdmissionCore
import PolicyFile
import Pricing
import Testing
import TextForms

@Suite struct PriceListParserTests {
  @Test func everyFieldReachesTheList() throws {
    let text = """
      version: 2026-11-20
      models:
        "a*":
          input: 1
          output: 2.5
          reasoning: 3
          cache_read: 0.000001
          cache_write: 5
          cache_write_1h: 6
          audio_input: 7
          audio_output: 8
          image_input: 9
          image_output: 10
          batch: {input: 0.5}
          flex: {output: 2}
          priority: {cache_read: 3}
          above: {tokens: 200000, input: 2}
          request: 0.01
          audio_second: 0.0001
          valid_from: 2026-01-01
          valid_until: 2026-12-31
          off_peak: {windows: ["16:30-00:30"], factor: 0.5, input: 0.25}
          factors: {US: 1.1, fast: 2}
        b: [{input: 1, valid_until: 2026-06-30}, {input: 2}]
      """
    let parsing = PriceListParser.parse(text: text, file: "p", environment: [:])
    #expect(parsing.diagnostics.map(\.description) == [])
    var price = ModelPrice(
      models: "a*",
      rates: PriceRates(
        input: 1_000_000, output: 2_500_000, reasoning: 3_000_000, cacheRead: 1, cacheWrite: 5_000_000,
        cacheWrite1h: 6_000_000, audioInput: 7_000_000, audioOutput: 8_000_000, imageInput: 9_000_000,
        imageOutput: 10_000_000))
    price.batch = PriceRates(input: 500_000)
    price.flex = PriceRates(output: 2_000_000)
    price.priority = PriceRates(cacheRead: 3_000_000)
    price.above = LongContextPrice(tokens: 200_000, rates: PriceRates(input: 2_000_000))
    price.perRequest = Money(nanodollars: 10_000_000)
    price.perAudioSecond = Money(nanodollars: 100_000)
    price.validFrom = CalendarDay("2026-01-01")
    price.validUntil = CalendarDay("2026-12-31")
    price.offPeak = OffPeakPrice(
      windows: [.init(from: 990, until: 30)], factor: 500_000, rates: PriceRates(input: 250_000))
    price.factors = ["us": 1_100_000, "fast": 2_000_000]
    var first = ModelPrice(models: "b", rates: PriceRates(input: 1_000_000))
    first.validUntil = CalendarDay("2026-06-30")
    let second = ModelPrice(models: "b", rates: PriceRates(input: 2_000_000))
    #expect(parsing.prices == PriceList(version: "2026-11-20", entries: [price, first, second]))
  }
}
