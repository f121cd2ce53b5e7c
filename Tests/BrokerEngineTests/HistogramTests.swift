// Histograms and the labels of metrics.
import AdmissionCore
import Testing

@testable import BrokerEngine

@Suite struct HistogramTests {
  @Test func countsAtUnderAndOverABound() {
    var histogram = Histogram(bounds: [1, 2])
    let buckets = [500, 1000, 1001, 2000, 2500].map { histogram.observe(.milliseconds($0)) }
    #expect(buckets == [0, 0, 1, 1, 2])
    #expect(histogram.counts == [2, 2, 1])
    #expect(histogram.count == 5)
    #expect(histogram.sum == 7.001)
  }

  @Test func aSumOfFractionsIsExactAndStopsAtItsEnd() {
    var histogram = Histogram(bounds: [1])
    for _ in 0..<3 { histogram.observe(.milliseconds(100)) }
    #expect(histogram.sumNanoseconds == 300_000_000)
    for _ in 0..<2 { histogram.observe(Span(nanoseconds: .max)) }
    #expect(histogram.sumNanoseconds == .max)
  }

  @Test func theNewestWaitOfEachBucketIsKeptAsAnExample() {
    var metrics = BrokerMetrics()
    for number in 1...5 {
      metrics.waited(
        .low, .milliseconds(Int64(number) * 300), RequestID(high: 0, low: UInt64(number)), at: UInt64(number))
    }
    let kept = metrics.waitExemplars[Int(Priority.low.rawValue)].compactMap { $0 }
    // 300 ms; 600 and 900 ms; 1.2 and 1.5 s.
    #expect(kept.map(\.request.low) == [1, 3, 5])
    #expect(kept.map(\.value.wholeMilliseconds) == [300, 900, 1500])
    #expect(kept.map(\.at) == [1, 3, 5])
    #expect(metrics.waitExemplars.map(\.count) == [18, 18, 18])
    #expect(metrics.waitExemplars[Int(Priority.high.rawValue)].allSatisfy { $0 == nil })
  }

  @Test func tokenTypesDoNotOverlap() {
    var metrics = BrokerMetrics()
    metrics.count(
      Usage(inputTokens: 100, cacheReadTokens: 60, cacheWriteTokens: 10, outputTokens: 5, reasoningTokens: 3),
      Money(nanodollars: 7), for: BrokerMetrics.TokenLabels(provider: "p", model: "m", tenant: "t"))
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
