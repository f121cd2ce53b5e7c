// A rate learned from refusals: exact between two empty buckets, nothing made up from storms, growth, memory.
import Testing

@testable import AdmissionCore

@Suite struct PaceLearnerTests {
  private let start = Instant(nanoseconds: 5_000_000_000)

  /// A refusal, `calls` of 1000 tokens over `seconds`, a refusal.
  private func learner(calls: Int, seconds: Int64, waited: Span? = nil, tokens: Int64 = 1000) -> PaceLearner {
    var learner = PaceLearner()
    _ = learner.refused(waited: .zero, at: start)
    for _ in 0..<calls { learner.charge(tokens) }
    _ = learner.refused(waited: waited ?? .seconds(seconds), at: start + .seconds(seconds))
    return learner
  }

  @Test func whatCameThroughBetweenTwoRefusalsIsTheRate() {
    #expect(learner(calls: 10, seconds: 10).perMinute == 58_800)
    #expect(learner(calls: 100, seconds: 60).perMinute == 98_000)
  }

  @Test func littleOrOldEvidenceIsNone() {
    #expect(learner(calls: 7, seconds: 10).perMinute == nil)
    #expect(learner(calls: 8, seconds: 10).perMinute != nil)
    #expect(learner(calls: 8, seconds: 3).perMinute == nil)
    #expect(learner(calls: 8, seconds: 4).perMinute != nil)
    #expect(learner(calls: 500, seconds: 120).perMinute != nil)
    #expect(learner(calls: 500, seconds: 121).perMinute == nil)
  }

  @Test func aStormTeachesNothing() {
    var learner = PaceLearner()
    for second in 0..<30 {
      let changed = learner.refused(waited: .zero, at: start + .seconds(Int64(second)))
      #expect(!changed)
    }
    #expect(learner.perMinute == nil)
  }

  @Test func theSameRefusalCountsOnce() {
    var learner = learner(calls: 10, seconds: 10)
    let before = learner.perMinute
    for _ in 0..<5 { _ = learner.refused(waited: .zero, at: start + .seconds(11)) }
    #expect(learner.perMinute == before)
    learner.charge(1000)
    let changed = learner.refused(waited: .zero, at: start + .seconds(12))
    #expect(changed && (learner.perMinute ?? .max) < (before ?? 0))
  }

  /// 100 calls of 1,000 tokens a minute; refused again after ten seconds, in which so many calls came through.
  @Test(
    arguments: [
      // As many as the pace allows, and so few less that chance explains it: 95 %. The root of 14 is 3.7: 73 % can be the pace.
      (100, 95_060), (15, 93_100), (14, 93_100),
      // Fewer than chance explains: what was read.
      (11, 65_340), (8, 47_520),
    ] as [(Int, Int64)])
  func oneReadingCutsAPaceNoFurtherThanItCanTell(calls: Int, expected: Int64) {
    var learner = learner(calls: 100, seconds: 60)
    #expect(learner.perMinute == 98_000)
    for _ in 0..<calls { learner.charge(1000) }
    let changed = learner.refused(waited: .seconds(70), at: start + .seconds(70))
    #expect(changed && learner.perMinute == expected)
  }

  @Test func itGrowsWhileItHoldsCallsBackAndNotOtherwise() {
    var learner = learner(calls: 10, seconds: 10)
    let refused = start + .seconds(10)
    let idle = learner.succeeded(isShort: false, at: refused + .seconds(5))
    let early = learner.succeeded(isShort: true, at: refused + Span(nanoseconds: 3_999_999_999))
    let grown = learner.succeeded(isShort: true, at: refused + .seconds(4))
    #expect(!idle && !early && grown)
    #expect(learner.perMinute == 59_976)
  }

  @Test func tenMinutesWithoutARefusalAndItIsForgotten() {
    var learner = learner(calls: 10, seconds: 10)
    let refused = start + .seconds(10)
    let kept = learner.succeeded(isShort: false, at: refused + .seconds(600))
    #expect(!kept && learner.perMinute != nil)
    let forgotten = learner.succeeded(isShort: false, at: refused + Span(nanoseconds: 600_000_000_001))
    #expect(forgotten && learner.perMinute == nil)
  }

  @Test func refusedNearTheSamePaceItWaitsLonger() {
    var learner = learner(calls: 10, seconds: 10)
    var now = start + .seconds(10)
    for hold in [16, 64, 64] as [Int64] {
      learner.charge(1000)
      now = now + .seconds(2)
      _ = learner.refused(waited: .zero, at: now)
      let early = learner.succeeded(isShort: true, at: now + .seconds(hold) + Span(nanoseconds: -1))
      #expect(!early)
      var copy = learner
      let grown = copy.succeeded(isShort: true, at: now + .seconds(hold))
      #expect(grown)
    }
  }

  @Test func whatCameThroughWhileNothingWaitedIsNoRate() {
    #expect(learner(calls: 10, seconds: 5, waited: .zero).perMinute == nil)
    #expect(learner(calls: 10, seconds: 10, waited: Span(nanoseconds: 4_999_999_999)).perMinute == nil)
    #expect(learner(calls: 10, seconds: 10, waited: .seconds(5)).perMinute != nil)
  }

  @Test func aPaceIsNeverBelowTheLargestCallThatPassed() {
    var learner = PaceLearner()
    _ = learner.refused(waited: .zero, at: start)
    for _ in 0..<8 { learner.charge(10) }
    learner.charge(30_000)
    _ = learner.refused(waited: .seconds(60), at: start + .seconds(100))
    #expect(learner.perMinute == 30_000)
  }
}
