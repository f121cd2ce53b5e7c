// Requests that a provider counts second by second: what its refusals show, and what they do not.
import Testing

@testable import AdmissionCore

@Suite struct BurstLearnerTests {
  private func at(_ milliseconds: Int64) -> Instant { Instant(nanoseconds: milliseconds * 1_000_000) }

  /// Ten at once, of which `passed` pass; then one each `every` ms until the next refusal at 2 s.
  private func learner(passed: Int, every: Int64, waited: Span = .seconds(2)) -> BurstLearner {
    var learner = BurstLearner()
    for _ in 0..<10 { learner.sent(at: at(0)) }
    for number in passed..<10 {
      let isFirst = number == passed
      _ = learner.refused(sentAt: at(0), isFirst: isFirst, isAboutRate: false, waited: .zero, at: at(1))
    }
    for time in stride(from: every, through: 2000, by: Int(every)) { learner.sent(at: at(time)) }
    learner.sent(at: at(2000))
    _ = learner.refused(sentAt: at(2000), isFirst: true, isAboutRate: true, waited: waited, at: at(2001))
    return learner
  }

  @Test func twoRefusalsShowRateAndDepth() {
    let learner = learner(passed: 4, every: 250)
    // Eight passed in 2 s and a ninth did not: 240 to 270 a minute.
    #expect(learner.perMinute == 255)
    #expect(learner.depth == 4)
    let bucket = TokenBucket(.requestsPerMinute, 255, burst: learner.burst, at: at(0))
    #expect(bucket.capacity == 4)
  }

  @Test func nothingIsLearnedFromASpanInWhichNobodyWaited() {
    #expect(learner(passed: 4, every: 250, waited: .milliseconds(999)).perMinute == nil)
    #expect(learner(passed: 4, every: 250, waited: .milliseconds(1000)).perMinute != nil)
  }

  @Test func aDeepBucketIsNoBurst() {
    var learner = BurstLearner()
    for time in 0..<500 { learner.sent(at: at(Int64(time) * 10)) }
    _ = learner.refused(sentAt: at(4990), isFirst: true, isAboutRate: true, waited: .zero, at: at(5000))
    for time in 0..<17 { learner.sent(at: at(5000 + Int64(time) * 125)) }
    _ = learner.refused(sentAt: at(7000), isFirst: true, isAboutRate: true, waited: .seconds(2), at: at(7001))
    #expect(learner.perMinute == nil)
  }

  @Test func aPaceGrowsWhileItHoldsCallsBackAndIsForgotten() throws {
    var learner = learner(passed: 4, every: 250)
    let pace = try #require(learner.perMinute)
    var changed = learner.succeeded(isShort: false, at: at(10_000))
    #expect(!changed)
    changed = learner.succeeded(isShort: true, at: at(3000))
    #expect(!changed)
    changed = learner.succeeded(isShort: true, at: at(3001))
    #expect(changed && learner.perMinute == pace + pace / 8)
    #expect(learner.isFresh(at: at(602_001)) && !learner.isFresh(at: at(602_002)))
    changed = learner.succeeded(isShort: true, at: at(602_002))
    #expect(changed && learner.perMinute == nil)
  }

  @Test func aRefusalCutsThePaceButNotBelowWhatPassed() throws {
    var learner = learner(passed: 4, every: 250)
    // Five a second pass for 4 s, faster than the pace.
    for time in stride(from: Int64(2200), through: 6000, by: 200) { learner.sent(at: at(time)) }
    learner.sent(at: at(6000))
    _ = learner.refused(sentAt: at(6000), isFirst: true, isAboutRate: true, waited: .seconds(6), at: at(6001))
    #expect(try #require(learner.perMinute) >= 300)
    // Two a second for 10 s: the provider has become slower.
    for time in stride(from: Int64(6500), through: 16_000, by: 500) { learner.sent(at: at(time)) }
    learner.sent(at: at(16_000))
    _ = learner.refused(sentAt: at(16_000), isFirst: true, isAboutRate: true, waited: .seconds(16), at: at(16_001))
    #expect((120...130).contains(try #require(learner.perMinute)))
  }
}
