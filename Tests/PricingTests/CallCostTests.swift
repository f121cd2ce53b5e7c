// The cost of a call: the vendors' formulas with their own numbers, ends of the ranges, prices that are missing.
import AdmissionCore
import Pricing
import Testing

@Suite struct CallCostTests {
  @Test func openAIsFormula() {
    // gpt-6-sol: 2 in, 10 out, 0.2 cached, 2.5 written, per 1M.
    var rates = CallRates(input: 2_000_000, output: 10_000_000)
    rates.cacheRead = 200_000
    rates.cacheWrite = 2_500_000
    let usage = Usage(
      inputTokens: 1200, cacheReadTokens: 1024, cacheWriteTokens: 100, outputTokens: 300, reasoningTokens: 200)
    #expect(
      CallCost.cost(of: usage, at: rates) == Money(nanodollars: 76 * 2000 + 1024 * 200 + 100 * 2500 + 300 * 10_000))
  }

  @Test func anthropicsFormula() {
    // claude-opus-5: 5 in, 25 out, 0.5 read, 6.25 and 10 written; ×1.1 in the US.
    var rates = CallRates(input: 5_000_000, output: 25_000_000)
    rates.cacheRead = 500_000
    rates.cacheWrite = 6_250_000
    rates.cacheWriteHour = 10_000_000
    rates.factor = 1_100_000
    let usage = Usage(inputTokens: 32_012, cacheReadTokens: 30_000, cacheWriteTokens: 2000, outputTokens: 400)
    var extras = UsageExtras()
    extras.cacheWriteHourTokens = 500
    let plain: Int64 = 12 * 5000 + 30_000 * 500 + 1500 * 6250 + 500 * 10_000 + 400 * 25_000
    #expect(CallCost.cost(of: usage, extras: extras, at: rates) == Money(nanodollars: plain * 11 / 10))
  }

  @Test func soundAndPicturesHaveTheirOwnRates() {
    var rates = CallRates(input: 1_000_000, output: 2_000_000)
    rates.audioInput = 10_000_000
    rates.imageOutput = 20_000_000
    rates.perRequest = Money(nanodollars: 7)
    rates.perAudioSecond = Money(nanodollars: 100)
    var extras = UsageExtras()
    extras.audioInputTokens = 3
    extras.imageOutputTokens = 4
    extras.audioMilliseconds = 2500
    let usage = Usage(inputTokens: 10, outputTokens: 5)
    #expect(
      CallCost.cost(of: usage, extras: extras, at: rates)
        == Money(nanodollars: 7 * 1000 + 3 * 10_000 + 4 * 20_000 + 1 * 2000 + 7 + 250))
  }

  @Test func whatHasNoPriceIsUnknown() {
    #expect(CallCost.cost(of: Usage(inputTokens: 1), at: CallRates(output: 1)) == nil)
    #expect(CallCost.cost(of: Usage(outputTokens: 1), at: CallRates(input: 1)) == nil)
    #expect(CallCost.cost(of: Usage(inputTokens: 8), at: CallRates(input: 20_000)) == Money(nanodollars: 160))
    #expect(CallCost.cost(of: Usage(), at: CallRates()) == .zero)
    let cached = Usage(inputTokens: 10, cacheReadTokens: 4, cacheWriteTokens: 3)
    #expect(CallCost.cost(of: cached, at: CallRates(input: 1000)) == Money(nanodollars: 10))
  }

  @Test func roundsOnceAndNeverOverflows() {
    #expect(CallCost.cost(of: Usage(inputTokens: 1), at: CallRates(input: 499)) == .zero)
    #expect(CallCost.cost(of: Usage(inputTokens: 1), at: CallRates(input: 500)) == Money(nanodollars: 1))
    #expect(CallCost.cost(of: Usage(inputTokens: 3), at: CallRates(input: 333)) == Money(nanodollars: 1))
    let most = Usage(inputTokens: .most, outputTokens: .most)
    #expect(CallCost.cost(of: most, at: CallRates(input: .max, output: .max)) == Money(nanodollars: .max))
    let odd = Usage(inputTokens: -5, cacheReadTokens: 9, cacheWriteTokens: -1, outputTokens: 2, reasoningTokens: 9)
    #expect(CallCost.cost(of: odd, at: CallRates(input: 1000, output: 1000)) == Money(nanodollars: 2))
  }
}
