// Counters stop at their ends, however often and whatever a provider counts.
import AdmissionCore
import Testing

@testable import BrokerEngine

@Suite struct BrokerMetricsTests {
  @Test func countersStopInsteadOfOverflowing() throws {
    var metrics = BrokerMetrics()
    let most = Usage(
      inputTokens: .most, cacheReadTokens: .most, cacheWriteTokens: .most, outputTokens: .most, reasoningTokens: .most)
    for _ in 0..<10_000 {
      metrics.count(
        most, Money(nanodollars: .max), for: BrokerMetrics.TokenLabels(provider: "p", model: "m", tenant: "t"))
      metrics.count(
        estimated: .max, actual: .max, for: BrokerMetrics.EstimateLabels(provider: "p", model: "m"))
      metrics.cacheLost[.expired, default: .zero].add(Money(nanodollars: .max))
    }
    let counts = try #require(metrics.tokens.values.first)
    #expect(counts.output == 10_000 << 40)
    #expect(counts.input == 0)
    #expect(counts.cost == Money(nanodollars: .max))
    #expect(metrics.spent == Money(nanodollars: .max))
    #expect(metrics.cacheLost == [.expired: Money(nanodollars: .max)])
    let estimates = try #require(metrics.estimates.values.first)
    #expect(estimates.actual == .max && estimates.estimated == .max)
  }
}
