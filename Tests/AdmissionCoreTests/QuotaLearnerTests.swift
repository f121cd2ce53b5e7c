// Down at once, up carefully, nonsense ignored; a hidden limit found and kept.
import Testing

@testable import AdmissionCore

@Suite struct QuotaLearnerTests {
  let now = Instant(nanoseconds: 0)

  @Test func limitsGoDownAtOnceAndUpByAQuarter() {
    var learner = QuotaLearner()
    #expect(!learner.tellsNumbers(at: now))
    let first = learner.observe(limit: 1000, of: .tokens, at: now)
    let same = learner.observe(limit: 1000, of: .tokens, at: now)
    let down = learner.observe(limit: 400, of: .tokens, at: now)
    let up = learner.observe(limit: 800, of: .tokens, at: now)
    #expect([first, same, down, up] == [1000, nil, 400, 500])
    #expect(learner.effective(Limits(tokensPerMinute: 450)).tokensPerMinute == 450)
    #expect(learner.effective(Limits()).tokensPerMinute == 500)
    #expect(learner.tellsNumbers(at: now + .seconds(59)))
    #expect(!learner.tellsNumbers(at: now + .seconds(60)))
  }

  @Test(arguments: [(-1, nil), (0, nil), (100, 101), (nil, -5), (nil, nil)] as [(Int64?, Int64?)])
  func nonsenseIsIgnored(limit: Int64?, remaining: Int64?) {
    #expect(!QuotaLearner.isSensible(.init(dimension: .tokens, limit: limit, remaining: remaining)))
  }

  @Test(arguments: [1, 7, 20, 100])
  func aHiddenLimitIsFoundAndMostOfItUsed(hidden: Int) {
    var learner = QuotaLearner()
    var calls = 0
    var refused = 0
    var used = 0
    var rounds = 0
    for round in 0..<20_000 {
      let running = min(learner.concurrency ?? 200, 200)
      let over = max(0, running - hidden)
      for index in 0..<over { _ = learner.refused(running: running, isFirst: index == 0, at: now) }
      if over == 0 { for _ in 0..<running { _ = learner.succeeded(running: running) } }
      guard round >= 100 else { continue }
      rounds += 1
      calls += running
      refused += over
      used += min(running, hidden)
    }
    #expect(Double(refused) < 0.01 * Double(calls))
    #expect(Double(used) >= 0.9 * Double(hidden * rounds))
  }

  /// Five ran and two were refused, then one of three: at two, two more successes try three again. Among larger numbers it is
  /// the same limit, and is held for four rounds.
  @Test(arguments: [(running: 5, next: 3, successes: 2), (running: 14, next: 12, successes: 44)])
  func amongTheSmallestNumbersTheNextIsAnotherLimit(running: Int, next: Int, successes: Int) {
    var learner = QuotaLearner()
    let now = Instant(nanoseconds: 0)
    _ = learner.refused(running: running, isFirst: true, at: now)
    _ = learner.refused(running: running, isFirst: false, at: now)
    _ = learner.refused(running: next, isFirst: true, at: now)
    while let limit = learner.concurrency, limit < next - 1 { _ = learner.succeeded(running: limit) }
    for _ in 1..<successes {
      let isRaised = learner.succeeded(running: next - 1)
      #expect(!isRaised)
    }
    let isRaised = learner.succeeded(running: next - 1)
    #expect(isRaised && learner.concurrency == next)
  }

  @Test func aRefusalIsAboutARateWhereClearlyMoreHaveGoneWellOrNobodyElseRan() {
    var learner = QuotaLearner()
    #expect(learner.isAboutRate(running: 1))
    #expect(!learner.isAboutRate(running: 2))
    _ = learner.accepted(running: 16, serial: 1, tokens: 0)
    // 14 and an eighth and one are 16; 15 are too near to it to tell.
    #expect(learner.isAboutRate(running: 14))
    #expect(!learner.isAboutRate(running: 15))
  }

  @Test func aRateIsStillLearnedWhereRefusalsHaveBroughtItDownToOneCallAtATime() {
    var learner = QuotaLearner()
    let begin = Instant(nanoseconds: 1_000_000_000_000)
    var serial: UInt64 = 0
    // Ten calls of 100 tokens, then one that is refused, every six seconds: alone each time.
    for second in stride(from: Int64(0), to: 18, by: 6) {
      let now = begin + .seconds(second)
      if learner.isAboutRate(running: 1) {
        _ = learner.refusedForRate(running: 1, waited: now - begin, at: now)
      } else {
        _ = learner.refused(running: 1, isFirst: true, at: now)
      }
      for _ in 0..<10 {
        serial += 1
        _ = learner.accepted(running: 1, serial: serial, tokens: 100)
      }
    }
    // 1,000 tokens in six seconds are 10,000 a minute; refused again, it stays a little below.
    let pace = learner.pace.perMinute ?? 0
    #expect(pace > 9_000 && pace < 10_000)
    #expect(learner.concurrency == nil)
  }

  @Test func noHeaderIsBelievedBelowWhatHasJustPassed() {
    var learner = QuotaLearner()
    let told = learner.observe(limit: 1000, of: .tokens, at: now)
    #expect(told == 1000)
    let small = learner.passed(Units(1, 900, 100, 1000), at: now)
    let large = learner.passed(Units(1, 900, 101, 1001), at: now + .seconds(1))
    #expect(!small && large && learner.perMinute[3] == 1001)
    let again = learner.observe(limit: 1000, of: .tokens, at: now + .seconds(2))
    #expect(again == nil && learner.perMinute[3] == 1001)
    // A proof ages.
    let later = learner.observe(limit: 1000, of: .tokens, at: now + QuotaLearner.proofLife + .seconds(1))
    #expect(later == 1000)
  }

  @Test func aPaceIsForgottenWhenACallLargerThanItPasses() {
    var learner = QuotaLearner()
    let begin = Instant(nanoseconds: 1_000_000_000_000)
    _ = learner.refusedForRate(running: 1, waited: .zero, at: begin)
    for serial in 1...10 { _ = learner.accepted(running: 1, serial: UInt64(serial), tokens: 100) }
    _ = learner.refusedForRate(running: 1, waited: .seconds(6), at: begin + .seconds(6))
    #expect(learner.pace.perMinute == 9800)
    #expect(learner.learned(model: nil, key: nil).map(\.quantity) == [.perMinute(.tokens)])
    let asLarge = learner.passed(Units(1, 9800, 0, 9800), at: begin + .seconds(7))
    let larger = learner.passed(Units(1, 9801, 0, 9801), at: begin + .seconds(7))
    #expect(!asLarge && larger && learner.pace.perMinute == nil && !learner.hasLearned(at: begin))
  }
}
