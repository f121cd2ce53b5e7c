// Waits in words: the numbers that people read.
import AdmissionCore
import Testing

@testable import BrokerEngine

@Suite struct WaitTextTests {
  private let now = Instant(nanoseconds: 5_000_000_000)

  @Test func aBucketIsToldWithItsNumbers() {
    let reading = BlockerReading(
      blocker: .providerBucket("anthropic", .inputTokens), provider: "anthropic", needed: 40_000, available: 12_400,
      thereAt: now + .seconds(41), beforeInLane: 3)
    #expect(
      WaitText.describe(reading, at: now)
        == "input tokens of anthropic: 12,400 of 40,000 needed, there in 41 s; 3 before it in its lane")
    #expect(
      WaitText.describe(reading, at: nil)
        == "input tokens of anthropic: 12,400 of 40,000 needed; 3 before it in its lane")
    let tenant = BlockerReading(
      blocker: .tenantBucket("acme", .requests), needed: 1, available: -1200, thereAt: now)
    #expect(WaitText.describe(tenant, at: now) == "requests of tenant acme: -1,200 of 1 needed, there in 0 ms")
  }

  @Test func othersKeepTheirSentenceAndTellTheirEnd() {
    func text(_ blocker: Blocker, _ there: Span?) -> String {
      WaitText.describe(BlockerReading(blocker: blocker, thereAt: there.map { now + $0 }), at: now)
    }
    #expect(
      text(.breakerOpen("p"), .seconds(9)) == "the circuit breaker of provider 'p' is open, for 9 s more")
    #expect(text(.providerConcurrency("p"), nil) == "all places of provider 'p' are taken")
    #expect(text(.keyConcurrency("p"), nil) == "every usable key of provider 'p' runs as many calls as it may")
    #expect(text(.behindInLane, nil) == "another request of the same session goes first")
  }

  /// The two numbers beside each other must not contradict: what is lacking is there soon, and the wait is long.
  @Test func whatElseItWaitsForIsToldWhereTheNumbersWouldContradict() {
    func text(_ before: Int, lane: Int = 0, above: Int?, rest: Span?) -> String {
      let reading = BlockerReading(
        blocker: .providerBucket("p", .tokens), needed: 400, available: 24, thereAt: now + .milliseconds(376),
        beforeInLane: lane)
      return WaitText.describe(
        WaitReading(reading: reading, beforeInClass: before, waitingAbove: above, rest: rest), at: now)
    }
    let plain = "tokens of p: 24 of 400 needed, there in 376 ms"
    #expect(text(5, above: 2, rest: .milliseconds(1752)) == plain, "twice that and a second more is near enough")
    #expect(
      text(5, above: 1200, rest: .milliseconds(1753))
        == plain + "; about 5 of its class and 1,200 of higher classes go first")
    #expect(text(1, above: 0, rest: .seconds(60)) == plain + "; about 1 of its class goes first")
    #expect(text(5, above: nil, rest: .seconds(60)) == plain + "; about 5 of its class go first")
    #expect(
      text(3, lane: 3, above: 1, rest: .seconds(60))
        == plain + "; 3 before it in its lane; 1 of higher classes goes first")
    #expect(
      text(0, above: 0, rest: .seconds(60)) == plain + "; calls of higher classes that come meanwhile go first")
    #expect(text(0, above: nil, rest: .seconds(60)) == plain + "; others go first")
    #expect(text(3, lane: 3, above: nil, rest: .seconds(60)) == plain + "; 3 before it in its lane")
    #expect(text(5, above: 2, rest: nil) == plain)
  }

  @Test func lengthsHaveTwoFigures() {
    let expected: [(Int64, String)] = [
      (0, "0 ms"), (999, "999 ms"), (1000, "1 s"), (4140, "4.1 s"), (9949, "9.9 s"), (9950, "10 s"), (41_400, "41 s"),
      (119_999, "120 s"), (120_000, "2 min"), (7_199_999, "120 min"), (10_800_000, "3 h"),
    ]
    for (milliseconds, text) in expected { #expect(WaitText.length(.milliseconds(milliseconds)) == text) }
    #expect(WaitText.length(.milliseconds(-5)) == "0 ms")
  }

  @Test func numbersHaveTheirThousands() {
    let expected: [(Int64, String)] = [
      (0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567"), (-12_345, "-12,345"),
      (.min, "-9,223,372,036,854,775,808"),
    ]
    for (number, text) in expected { #expect(WaitText.number(number) == text) }
  }

  @Test func eachRuleHasASentence() {
    for rule in DispatchRule.allCases { #expect(!WaitText.describe(rule).isEmpty) }
  }
}
