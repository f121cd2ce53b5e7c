// The limits at, under and over each bound.
import Testing

@testable import ProviderSimulator

@Suite struct EnforcedLimitsTests {
  private let second: UInt64 = 1_000_000_000
  private func limits(_ change: (inout SimulatorConfiguration) -> Void) -> EnforcedLimits {
    var configuration = SimulatorConfiguration()
    change(&configuration)
    return EnforcedLimits(configuration, now: 0)
  }

  @Test func permitsAreExact() {
    var limits = limits { $0.concurrency = 2 }
    #expect(limits.admit(EnforcedDemand(), at: 0) == nil)
    #expect(limits.admit(EnforcedDemand(), at: 0) == nil)
    #expect(limits.admit(EnforcedDemand(), at: 0)?.dimension == .concurrency)
    limits.release()
    #expect(limits.admit(EnforcedDemand(), at: 0) == nil)
    #expect(limits.peak == 2)
  }

  @Test func aPermitThatLagsIsFreeWhenItsTimeHasCome() {
    var limits = limits { $0.concurrency = 1 }
    #expect(limits.admit(EnforcedDemand(), at: 0) == nil)
    limits.release(at: second)
    #expect(limits.admit(EnforcedDemand(), at: second - 1)?.dimension == .concurrency)
    #expect(limits.admit(EnforcedDemand(), at: second) == nil)
    #expect(limits.admit(EnforcedDemand(), at: second)?.dimension == .concurrency)
  }

  @Test func bucketRefillsEvenlyUpToItsCapacity() {
    var bucket = EnforcedBucket(perMinute: 60, burst: .seconds(10), now: 0)
    #expect(bucket.capacity == 10)
    bucket.take(10, at: 0)
    #expect(bucket.wait(for: 1, at: 0) == second)
    #expect(bucket.wait(for: 1, at: second - 10_000) > 0)
    #expect(bucket.wait(for: 1, at: second) == 0)
    #expect(bucket.available(at: 100 * second) == 10)
    #expect(bucket.budget(at: 30 * second) == 40)
  }

  @Test func exactAmountFitsAndOneMoreDoesNot() {
    var limits = limits { $0.tokensPerMinute = 100 }
    #expect(limits.admit(EnforcedDemand(tokens: 99), at: 0) == nil)
    #expect(limits.admit(EnforcedDemand(tokens: 2), at: 0)?.dimension == .tokens)
    #expect(limits.admit(EnforcedDemand(tokens: 1), at: 0) == nil)
  }

  @Test func refusalTakesNothing() {
    var limits = limits {
      $0.requestsPerMinute = 10
      $0.inputTokensPerMinute = 100
    }
    #expect(limits.admit(EnforcedDemand(input: 60), at: 0) == nil)
    #expect(limits.admit(EnforcedDemand(input: 60), at: 0)?.dimension == .inputTokens)
    #expect(limits.bucket(.requests)?.available(at: 0) == 9)
    #expect(limits.inFlight == 1)
  }

  @Test func outputInDebtRefusesUntilWorkedOff() {
    var limits = limits { $0.outputTokensPerMinute = 60 }
    #expect(limits.admit(EnforcedDemand(producesOutput: true), at: 0) == nil)
    limits.produce(70, common: false, at: 0)
    let refusal = limits.admit(EnforcedDemand(producesOutput: true), at: 0)
    #expect(refusal?.dimension == .outputTokens)
    #expect(refusal?.wait == 11 * second)
    #expect(limits.admit(EnforcedDemand(), at: 0) == nil)
    #expect(limits.admit(EnforcedDemand(producesOutput: true), at: 11 * second) == nil)
  }

  @Test func requestLargerThanTheBucketNeedsItFull() {
    var limits = limits { $0.tokensPerMinute = 60 }
    #expect(limits.admit(EnforcedDemand(tokens: 600), at: 0) == nil)
    #expect(limits.admit(EnforcedDemand(tokens: 600), at: 599 * second)?.dimension == .tokens)
    #expect(limits.admit(EnforcedDemand(tokens: 600), at: 600 * second) == nil)
  }

  @Test func commonBucketTakesOutputOnlyWhereTold() {
    var limits = limits { $0.tokensPerMinute = 100 }
    limits.produce(30, common: false, at: 0)
    #expect(limits.bucket(.tokens)?.available(at: 0) == 100)
    limits.produce(30, common: true, at: 0)
    #expect(limits.bucket(.tokens)?.available(at: 0) == 70)
  }
}
