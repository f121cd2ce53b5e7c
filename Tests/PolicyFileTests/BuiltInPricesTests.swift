// The built-in table is a prices file without mistakes, and says what the vendors list.
import AdmissionCore
import PolicyFile
import Pricing
import Testing
import TextForms

@Suite struct BuiltInPricesTests {
  @Test func parses() {
    let parsing = PriceListParser.parse(text: PriceList.builtInText, file: "built-in", environment: [:])
    #expect(parsing.diagnostics.map(\.description) == [])
    #expect(parsing.prices == PriceList.builtIn)
    #expect(PriceList.builtIn.version == "2026-10-21")
    #expect(PriceList.builtIn.entries.count >= 100)
  }

  @Test(arguments: [
    ("claude-opus-5", 5_000_000, 25_000_000), ("claude-opus-5-5", 4_000_000, 20_000_000),
    ("claude-sonnet-4-5-20250929", 3_000_000, 15_000_000), ("gpt-6.1-sol", 2_000_000, 10_000_000),
    ("gpt-5", 1_250_000, 10_000_000), ("gpt-5-mini-2025-08-07", 250_000, 2_000_000),
    ("gpt-4o-mini", 150_000, 600_000), ("gemini-2.5-pro", 1_250_000, 10_000_000),
    ("gemini-2.5-flash-lite", 100_000, 400_000), ("openai/gpt-oss-20b", 75_000, 300_000),
    ("deepseek-v4-pro", 1_320_000, 3_960_000), ("grok-4.7", 2_000_000, 6_000_000),
  ])
  func listedPrices(_ model: String, _ input: Int64, _ output: Int64) throws {
    let day = try #require(CalendarDay("2026-11-20"))
    let price = try #require(PriceList.builtIn.price(forModel: model, on: day))
    #expect(price.rates.input == input)
    #expect(price.rates.output == output)
  }

  @Test func longContextAndTiers() throws {
    let day = try #require(CalendarDay("2026-11-20"))
    let grok = try #require(PriceList.builtIn.price(forModel: "grok-4.7", on: day))
    #expect(grok.rates(tier: .standard, inputTokens: 199_999).input == 2_000_000)
    #expect(grok.rates(tier: .standard, inputTokens: 200_000).input == 4_000_000)
    let haiku = try #require(PriceList.builtIn.price(forModel: "claude-haiku-5-5", on: day))
    #expect(haiku.rates(tier: .standard, inputTokens: 100_001).cacheWrite1h == 1_000_000)
    let embedding = try #require(PriceList.builtIn.price(forModel: "text-embedding-3-small", on: day))
    #expect(embedding.rates == PriceRates(input: 20_000))
    #expect(
      PriceList.builtIn.price(forModel: "claude-opus-5-5", on: day)?.factors == ["us": 1_100_000, "fast": 2_000_000])
  }

  @Test(arguments: ["gpt-5.5-pro", "gpt-5-nanotube", "claude-opus-6", "gemini-2.5-flash-image", "llama4", ""])
  func variantsThatAreNotListedHaveNoPrice(_ model: String) throws {
    #expect(PriceList.builtIn.price(forModel: model, on: try #require(CalendarDay("2026-11-20"))) == nil)
  }
}
