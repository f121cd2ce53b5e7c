// The yardstick bucket: levels at, under and over, refill, debt, settlement, sets.
import AdmissionCore
import Testing

@testable import PolicyLab

@Suite struct BucketModelTests {
  private func at(_ milliseconds: Int64) -> Instant { Instant(nanoseconds: milliseconds * 1_000_000) }

  @Test func coversUpToItsLevelAndNotMore() {
    var bucket = BucketModel(perMinute: 60, at: at(0))
    #expect(bucket.covers(59, at: at(0)) && bucket.covers(60, at: at(0)))
    bucket.take(10, at: at(0))
    #expect(bucket.covers(50, at: at(0)) && !bucket.covers(51, at: at(0)))
    #expect(bucket.covers(51, at: at(0), slack: 1))
    #expect(bucket.covers(40, at: at(0), keeping: 10) && !bucket.covers(41, at: at(0), keeping: 10))
  }

  @Test func refillsOneCapacityAMinuteAndNoMore() {
    var bucket = BucketModel(perMinute: 60, at: at(0))
    bucket.take(60, at: at(0))
    #expect(bucket.available(at: at(999)) == 0)
    #expect(bucket.available(at: at(1000)) == 1)
    #expect(bucket.available(at: at(59_999)) == 59)
    #expect(bucket.available(at: at(600_000)) == 60)
  }

  @Test func aBurstBoundsWhatGoesAtOnceAndNotTheRefill() {
    var bucket = BucketModel(perMinute: 60, burst: .seconds(10), at: at(0))
    #expect(bucket.capacity == 10 && bucket.perMinute == 60)
    #expect(bucket.covers(9, at: at(0)) && bucket.covers(10, at: at(0)))
    bucket.take(10, at: at(0))
    #expect(!bucket.covers(1, at: at(999)) && bucket.covers(1, at: at(1000)))
    #expect(bucket.available(at: at(9999)) == 9)
    #expect(bucket.available(at: at(60_000)) == 10)
    // A larger request owes the rest.
    bucket.take(30, at: at(60_000))
    #expect(bucket.instant(covering: 1, at: at(60_000)) == at(81_000))
    #expect(BucketModel(perMinute: 2, burst: .milliseconds(1), at: at(0)).capacity == 1)
    #expect(BucketModel(perMinute: 0, burst: .seconds(1), at: at(0)).capacity == 0)
  }

  @Test func worksOffADebt() {
    var bucket = BucketModel(perMinute: 60, at: at(0))
    bucket.take(90, at: at(0))
    #expect(bucket.available(at: at(0)) == -30)
    #expect(bucket.instant(covering: 1, at: at(0)) == at(31_000))
    #expect(!bucket.covers(1, at: at(30_999)))
    #expect(bucket.covers(1, at: at(31_000)))
  }

  @Test func aRequestLargerThanTheBucketNeedsAllOfIt() {
    var bucket = BucketModel(perMinute: 60, at: at(0))
    #expect(bucket.covers(1000, at: at(0)))
    bucket.take(1, at: at(0))
    #expect(!bucket.covers(1000, at: at(0)))
    #expect(bucket.instant(covering: 1000, at: at(0)) == at(1000))
  }

  @Test func givingBackStopsAtTheCapacity() {
    var bucket = BucketModel(perMinute: 60, at: at(0))
    bucket.take(10, at: at(0))
    bucket.give(50, at: at(0))
    #expect(bucket.available(at: at(0)) == 60)
  }

  @Test func settlingLosesNoRefill() {
    var bucket = BucketModel(perMinute: 60, at: at(0))
    bucket.take(50, at: at(0))
    bucket.settle(taken: 50, actual: 50, at: at(30_000))
    #expect(bucket.available(at: at(30_000)) == 40)
    bucket.settle(taken: 50, actual: 70, at: at(30_000))
    #expect(bucket.available(at: at(30_000)) == 20)
    bucket.settle(taken: 50, actual: 0, at: at(30_000))
    #expect(bucket.available(at: at(30_000)) == 60)
  }

  @Test func resizingIsReadGenerously() {
    var full = BucketModel(perMinute: 60, at: at(0))
    full.resizeGenerously(to: 120, at: at(0))
    #expect(full.available(at: at(0)) == 120)
    var empty = BucketModel(perMinute: 60, at: at(0))
    empty.take(60, at: at(0))
    empty.resizeGenerously(to: 120, at: at(0))
    #expect(empty.available(at: at(0)) == 60)
    empty.resizeGenerously(to: 30, at: at(0))
    #expect(empty.available(at: at(0)) == 30)
  }

  @Test func setsOfBucketsDecideTogether() {
    var buckets = BucketModels(Limits(requestsPerMinute: 2, tokensPerMinute: 100), at: at(0))
    let charge = Charge(requests: 1, input: 50, output: 20)
    #expect(!buckets.isEmpty && BucketModels(Limits(concurrency: 3), at: at(0)).isEmpty)
    #expect(buckets.covers(charge, at: at(0)))
    buckets.take(charge, at: at(0))
    #expect(!buckets.covers(charge, at: at(0)))
    #expect(buckets.covers(Charge(requests: 1, input: 30, output: 0), at: at(0)))
    #expect(!buckets.covers(Charge(requests: 2, input: 0, output: 0), at: at(0)))
    buckets.give(charge, at: at(0))
    #expect(buckets.covers(Charge(requests: 2, input: 60, output: 40), at: at(0)))
    #expect(buckets.clamped(Charge(requests: 9, input: 400, output: 0)).tokens == 100)
  }
}
