// Buckets of waits: their bounds, and the percentiles that counts give.
import LedgerVocabulary
import Testing

@Suite struct WaitBucketsTests {
  /// Against the definition: the smallest wait that at least so many do not exceed.
  @Test func percentilesAreWithinATenth() throws {
    var state: UInt64 = 11
    func roll(_ sides: UInt64) -> Int64 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int64((state >> 33) % sides)
    }
    for round in 0..<60 {
      var counts = WaitCounts()
      let most: UInt64 = [50, 5_000, 3_000_000_000][round % 3]
      let waits = (0..<(1 + roll(400))).map { _ in roll(most) }.sorted()
      for wait in waits { counts.add(1, at: Int64(WaitBuckets.position(wait))) }
      for percent in [1, 50, 95, 99, 100] {
        let exact = Double(waits[max(1, (waits.count * percent + 99) / 100) - 1]) / 1e6
        let found = try #require(counts.percentile(Int64(percent)))
        #expect(exact < 0.0001 ? found == 0 : abs(found - exact) <= exact * 0.1)
      }
    }
    #expect(WaitCounts().percentile(50) == nil)
  }

  @Test func bucketsCoverEverything() {
    let bounds = WaitBuckets.bounds
    #expect(bounds.count < 140 && zip(bounds, bounds.dropFirst()).allSatisfy { $0 < $1 })
    for (position, bound) in bounds.enumerated() {
      #expect(WaitBuckets.position(bound) == position)
      if position > 0 { #expect(WaitBuckets.position(bound - 1) == position - 1) }
    }
    #expect(WaitBuckets.position(-5) == 0 && WaitBuckets.position(.max) == bounds.count - 1)
    var counts = WaitCounts()
    counts.add(.max / 2, at: .max)
    counts.add(.max / 4, at: .min)
    #expect(counts.percentile(1) == 0 && (counts.percentile(99) ?? 0) > 100_000)
    counts.add(.max, at: 3)
    #expect(counts.percentile(50) != nil)
  }
}
