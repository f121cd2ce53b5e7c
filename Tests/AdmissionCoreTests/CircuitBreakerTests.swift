// Every event in every state; trips, windows, doubling, generations, operator.
import Testing

@testable import AdmissionCore

@Suite struct CircuitBreakerTests {
  let now = Instant(nanoseconds: 0)

  static func fail(_ breaker: inout CircuitBreaker, times: Int, at now: Instant, every: Span = .zero) -> Instant {
    var now = now
    for _ in 0..<times {
      let (generation, _) = breaker.pass(at: now)
      _ = breaker.record(.failure, generation: generation, jitter: 0, reason: "503", at: now)
      now = now + every
    }
    return now
  }

  @Test(
    arguments: [(BreakerPolicy.api, 5, 30), (.external, 3, 60), (.database, 2, 10)] as [(BreakerPolicy, Int, Int64)])
  func presetsTripAtTheirCount(policy: BreakerPolicy, failures: Int, seconds: Int64) {
    var breaker = CircuitBreaker(policy: policy)
    _ = Self.fail(&breaker, times: failures - 1, at: now)
    #expect(breaker.state == .closed)
    _ = Self.fail(&breaker, times: 1, at: now)
    #expect(breaker.state == .open(until: now + .seconds(seconds)))
    #expect(breaker.blockedUntil(at: now) == now + .seconds(seconds))
    #expect(breaker.blockedUntil(at: now + .seconds(seconds)) == nil)
    #expect(breaker.reason?.contains("503") == true)
  }

  @Test func aSuccessBetweenStartsTheCountAnew() {
    var breaker = CircuitBreaker(policy: .database)
    _ = Self.fail(&breaker, times: 1, at: now)
    _ = breaker.record(.success, generation: breaker.pass(at: now).generation, jitter: 0, reason: "", at: now)
    _ = breaker.record(.neutral, generation: breaker.pass(at: now).generation, jitter: 0, reason: "", at: now)
    _ = Self.fail(&breaker, times: 1, at: now)
    #expect(breaker.state == .closed)
  }

  @Test func anAnswerThatHasBegunIsNoSuccessYetButForAProbe() {
    var breaker = CircuitBreaker(policy: .database)
    for _ in 0..<2 {
      let generation = breaker.pass(at: now).generation
      _ = breaker.record(.answering, generation: generation, jitter: 0, reason: "", at: now)
      _ = breaker.record(.failure, generation: generation, jitter: 0, reason: "stream broke", at: now)
    }
    #expect(breaker.condition(at: now) == .open)
    let later = now + .seconds(10)
    let closed = breaker.record(
      .answering, generation: breaker.pass(at: later).generation, jitter: 0, reason: "", at: later)
    #expect(closed && breaker.state == .closed)
  }

  @Test func failuresFurtherApartThanTheWindowDoNotAddUp() {
    var breaker = CircuitBreaker(policy: BreakerPolicy(failures: 2, window: .seconds(10), recovery: .seconds(1)))
    let later = Self.fail(&breaker, times: 2, at: now, every: Span(nanoseconds: 10_000_000_001))
    #expect(breaker.state == .closed)
    _ = Self.fail(&breaker, times: 1, at: later + Span(nanoseconds: -1))
    #expect(breaker.condition(at: later) == .open)
  }

  @Test func halfOpenLetsProbesThroughAtATime() {
    var breaker = CircuitBreaker(policy: BreakerPolicy(failures: 1, recovery: .seconds(1), probes: 2))
    _ = Self.fail(&breaker, times: 1, at: now)
    let later = now + .seconds(1)
    let first = breaker.pass(at: later)
    #expect(first.change == .halfOpen)
    let second = breaker.pass(at: later)
    #expect(breaker.blockedUntil(at: later) == .distantFuture)
    #expect(breaker.earliestRecovery(at: later) == nil)
    _ = breaker.record(.neutral, generation: first.generation, jitter: 0, reason: "", at: later)
    #expect(breaker.blockedUntil(at: later) == nil)
    let closed = breaker.record(.success, generation: second.generation, jitter: 0, reason: "", at: later)
    #expect(closed)
    #expect(breaker.state == .closed)
  }

  @Test func recoveryDoublesToEightTimesAndASuccessForgets() {
    var breaker = CircuitBreaker(policy: BreakerPolicy(failures: 1, recovery: .seconds(1)))
    var now = now
    for factor in [1, 2, 4, 8, 8] as [Int64] {
      _ = Self.fail(&breaker, times: 1, at: now)
      #expect(breaker.state == .open(until: now + .seconds(factor)))
      now = now + .seconds(factor)
    }
    _ = breaker.record(.success, generation: breaker.pass(at: now).generation, jitter: 0, reason: "", at: now)
    _ = Self.fail(&breaker, times: 1, at: now)
    #expect(breaker.state == .open(until: now + .seconds(1)))
  }

  @Test func jitterShortensByATenthAtMost() throws {
    var breaker = CircuitBreaker(policy: BreakerPolicy(failures: 1, recovery: .seconds(10)))
    _ = breaker.record(.failure, generation: breaker.pass(at: now).generation, jitter: 1023, reason: "", at: now)
    let end: Instant? = if case .open(let until) = breaker.state { until } else { nil }
    let until = try #require(end)
    #expect(until >= now + .seconds(9) && until < now + .milliseconds(9_002))
  }

  @Test(arguments: [CircuitBreaker.Result.success, .failure, .neutral, .answering])
  func lateResultsCountInNoState(result: CircuitBreaker.Result) {
    var breaker = CircuitBreaker(policy: BreakerPolicy(failures: 1, recovery: .seconds(1)))
    let old = breaker.pass(at: now).generation
    _ = Self.fail(&breaker, times: 1, at: now)
    let open = breaker.state
    let changedOpen = breaker.record(result, generation: old, jitter: 0, reason: "", at: now)
    #expect(!changedOpen)
    #expect(breaker.state == open)
    let probe = breaker.pass(at: now + .seconds(1)).generation
    let changedHalf = breaker.record(result, generation: old, jitter: 0, reason: "", at: now + .seconds(1))
    #expect(!changedHalf)
    #expect(breaker.state == .halfOpen)
    _ = breaker.record(.success, generation: probe, jitter: 0, reason: "", at: now + .seconds(1))
    let changedClosed = breaker.record(result, generation: old, jitter: 0, reason: "", at: now + .seconds(1))
    #expect(!changedClosed)
    #expect(breaker.state == .closed)
  }

  @Test func theOperatorsWordStandsUntilAutomatic() {
    var breaker = CircuitBreaker(policy: .database)
    breaker.command(.open, at: now)
    #expect(breaker.blockedUntil(at: now) == .distantFuture)
    #expect(breaker.earliestRecovery(at: now) == .distantFuture)
    #expect(breaker.condition(at: now) == .open)
    breaker.command(.closed, at: now)
    _ = Self.fail(&breaker, times: 10, at: now)
    #expect(breaker.blockedUntil(at: now) == nil)
    breaker.command(.none, at: now)
    _ = Self.fail(&breaker, times: 2, at: now)
    #expect(breaker.blockedUntil(at: now) != nil)
  }

  /// However many trials fail in between, people want to know since when the provider is away.
  @Test func itIsOpenSinceItsFirstTripUntilItCloses() {
    var breaker = CircuitBreaker(policy: BreakerPolicy(failures: 1, recovery: .seconds(1)))
    #expect(breaker.snapshot(at: now).since == nil)
    _ = Self.fail(&breaker, times: 1, at: now)
    var later = now
    for _ in 0..<3 {
      later = later + .seconds(20)
      let trial = breaker.pass(at: later).generation
      #expect(breaker.snapshot(at: later).since == now)
      _ = breaker.record(.failure, generation: trial, jitter: 0, reason: "", at: later)
      #expect(breaker.snapshot(at: later).since == now)
    }
    let last = breaker.pass(at: later + .seconds(20)).generation
    _ = breaker.record(.answering, generation: last, jitter: 0, reason: "", at: later + .seconds(20))
    #expect(breaker.snapshot(at: later + .seconds(20)).since == nil)
    _ = Self.fail(&breaker, times: 1, at: later + .seconds(30))
    #expect(breaker.snapshot(at: later + .seconds(30)).since == later + .seconds(30))
    breaker.command(.open, at: later + .seconds(40))
    #expect(breaker.snapshot(at: later + .seconds(50)).since == later + .seconds(40))
    breaker.command(.closed, at: later + .seconds(60))
    #expect(breaker.snapshot(at: later + .seconds(60)).since == nil)
  }
}
