// Histograms and the labels of metrics.
import AdmissionCore
import Testing

@testable import BrokerEngine

@Suite struct HistogramTests {
  @Test func countsAtUnderAndOverABound() {
    var histogram = Histogram(bounds: [1, 2])
    for value in [0.5, 1, 1.0001, 2, 2.5] { histogram.observe(value) }
    #expect(histogram.counts == [2, 2, 1])
    #expect(histogram.count == 5)
    #expect(abs(histogram.sum - 7.0001) < 1e-9)
  }

  @Test func tokenTypesDoNotOverlap() {
    var metrics = BrokerMetrics()
    metrics.count(
      Usage(inputTokens: 100, cacheReadTokens: 60, cacheWriteTokens: 10, outputTokens: 5, reasoningTokens: 3),
      Money(nanodollars: 7), provider: "p", model: "m", tenant: "t")
    let counts = metrics.tokens[BrokerMetrics.TokenLabels(provider: "p", model: "m", tenant: "t")]
    #expect(counts?.input == 30)
    #expect(counts?.cacheRead == 60)
    #expect(counts?.cacheWrite == 10)
    #expect(counts?.output == 5)
    #expect(counts?.reasoning == 3)
    #expect(counts?.cost.nanodollars == 7)
    #expect(metrics.spent.nanodollars == 7)
  }
}
