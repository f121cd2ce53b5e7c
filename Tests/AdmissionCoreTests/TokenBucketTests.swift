// Refill without drift, reservations at, under and over the level, debt.
import Testing

@testable import AdmissionCore

@Suite struct TokenBucketTests {
  let start = Instant(nanoseconds: 5)

  @Test func coversAtAndUnderTheLevelAndNotOver() {
    var bucket = TokenBucket(.tokens, perMinute: 100, at: start)
    #expect(bucket.reserve(40, at: start) == 40)
    #expect(bucket.isCovered(59, keeping: 0, at: start))
    #expect(bucket.isCovered(60, keeping: 0, at: start))
    #expect(!bucket.isCovered(61, keeping: 0, at: start))
    #expect(bucket.isCovered(50, keeping: 10, at: start))
    #expect(!bucket.isCovered(51, keeping: 10, at: start))
  }

  @Test func aProvidersShallowBucketRefillsAfterTheFirstCallsWay() {
    // Three a second, three at once: an eighth of a second late, once.
    var bucket = TokenBucket(.requestsPerMinute, 180, burst: .seconds(1), startsLate: true, at: start)
    let late = start + .milliseconds(125)
    for _ in 0..<3 { #expect(bucket.reserve(1, at: start) == 1) }
    #expect(bucket.available(at: late) == 0)
    #expect(bucket.instantCovered(1, keeping: 0, at: start) == late + Span(nanoseconds: 333_333_334))
    for call in 1...30 {
      let due = late + Span(nanoseconds: Int64(call) * 1_000_000_000 / 3 + 1)
      #expect(bucket.isCovered(1, keeping: 0, at: due) && bucket.reserve(1, at: due) == 1)
    }
    // Nearly full: the provider's may be full when the call arrives.
    let near = late + .milliseconds(10_900)
    #expect(bucket.available(at: near) == 2)
    _ = bucket.reserve(1, at: near)
    #expect(!bucket.isFull(at: near + .milliseconds(458)))
    #expect(bucket.isFull(at: near + .milliseconds(459)))
  }

  @Test func onlyShallowBucketsOfRequestsRefillLate() {
    func isLate(_ rate: RateLimit, _ limit: Int64, burst: Span?, startsLate: Bool = true) -> Bool {
      var bucket = TokenBucket(rate, limit, burst: burst, startsLate: startsLate, at: start)
      _ = bucket.reserve(bucket.capacity, at: start)
      return bucket.instantCovered(1, keeping: 0, at: start) > start
        + Span(nanoseconds: rate.period.nanoseconds / limit)
    }
    #expect(isLate(.requestsPerMinute, 600, burst: .seconds(10)))
    #expect(isLate(.requestsPerSecond, 5, burst: nil))
    #expect(!isLate(.requestsPerMinute, 600, burst: .seconds(11)))
    #expect(!isLate(.requestsPerMinute, 600, burst: nil))
    #expect(!isLate(.requestsPerMinute, 600, burst: .seconds(10), startsLate: false))
    #expect(!isLate(.tokensPerMinute, 60_000, burst: .seconds(1)))
  }

  @Test func manyReadingsGiveWhatOneGives() {
    var often = TokenBucket(.tokens, perMinute: 1_000_003, at: start)
    var once = often
    _ = often.reserve(1_000_003, at: start)
    _ = once.reserve(1_000_003, at: start)
    var now = start
    for step in 0..<10_000 {
      now = now + Span(nanoseconds: Int64(step * 37 % 1_000_003))
      _ = often.reserve(0, at: now)
    }
    #expect(often.available(at: now) == once.available(at: now))
    let later = now + .seconds(7)
    _ = often.reserve(0, at: later)
    #expect(often.available(at: later) == once.available(at: later))
  }

  @Test(arguments: [1, 7, 60, 999, 2_000_000, 100_000_000, 9_000_000_000])
  func theInstantCoveredIsExact(perMinute: Int64) {
    var bucket = TokenBucket(.tokens, perMinute: perMinute, at: start)
    _ = bucket.reserve(perMinute, at: start)
    for units in [1, max(1, perMinute / 3), perMinute] {
      let instant = bucket.instantCovered(units, keeping: 0, at: start)
      #expect(bucket.isCovered(units, keeping: 0, at: instant))
      #expect(!bucket.isCovered(units, keeping: 0, at: instant + Span(nanoseconds: -1)))
    }
  }

  @Test func aRequestLargerThanTheBucketTakesTheWholeBucket() {
    var bucket = TokenBucket(.tokens, perMinute: 100, at: start)
    #expect(bucket.isCovered(500, keeping: 0, at: start))
    #expect(bucket.isCovered(500, keeping: 10, at: start))
    #expect(bucket.reserve(500, at: start) == 100)
    #expect(!bucket.isCovered(500, keeping: 0, at: start + .seconds(59)))
    #expect(bucket.isCovered(500, keeping: 0, at: start + .seconds(60)))
  }

  @Test func settlingReturnsOrChargesAsDebt() {
    var bucket = TokenBucket(.tokens, perMinute: 60, at: start)
    let taken = bucket.reserve(50, at: start)
    bucket.settle(taken: taken, actual: 20, at: start)
    #expect(bucket.available(at: start) == 40)
    bucket.settle(taken: 0, actual: 100, at: start)
    #expect(bucket.available(at: start) == -60)
    #expect(bucket.available(at: start + .seconds(60)) == 0)
    #expect(bucket.isCovered(0, keeping: 0, at: start))
    bucket.settle(taken: 1000, actual: 0, at: start)
    #expect(bucket.available(at: start) == 60)
  }

  @Test func resizingKeepsWhatWasUsed() {
    var bucket = TokenBucket(.tokens, perMinute: 100, at: start)
    _ = bucket.reserve(30, at: start)
    bucket.resize(200, at: start)
    #expect(bucket.available(at: start) == 170)
    bucket.resize(20, at: start)
    #expect(bucket.available(at: start) == -10)
  }

  @Test func zeroNeverGrants() {
    let bucket = TokenBucket(.requests, perMinute: 0, at: start)
    #expect(!bucket.isCovered(1, keeping: 0, at: start))
    #expect(bucket.instantCovered(1, keeping: 0, at: start) == .distantFuture)
  }

  @Test func theProvidersWordLowersAtOnceAndRaisesInPart() {
    var bucket = TokenBucket(.tokens, perMinute: 160, at: start)
    bucket.lower(to: 0, at: start)
    #expect(bucket.available(at: start) == 0)
    bucket.lower(to: 50, at: start)
    #expect(bucket.available(at: start) == 0)
    bucket.raise(towards: 160, share: 4, at: start)
    #expect(bucket.available(at: start) == 40)
    bucket.raise(towards: 10, share: 4, at: start)
    #expect(bucket.available(at: start) == 40)
  }
}
