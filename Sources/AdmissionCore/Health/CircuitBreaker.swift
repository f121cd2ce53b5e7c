// Keeps calls away from a provider that fails, and finds out with a few probes when the provider works again.
//
// States: closed (traffic flows) → open after `failures` in a row → half open after the recovery time → closed by the
// first success of a probe, or open again for twice as long, up to eight times. Jitter shortens the recovery time by up
// to a tenth, so that several brokers do not probe at once.
//
// Promise: half open lets at most `probes` concurrent calls through; a result counts only in the generation that let
// its call through, so a call that began before the trip can neither close the breaker nor trip it again; all attempts
// of one request are one failure (`CallMark`); only failures trip the breaker: a client that left, a 429 and a 400 say
// nothing about a provider's health. Why consecutive failures and not a rate: with few calls a rate means nothing.

struct CircuitBreaker: Sendable {
  enum State: Equatable, Sendable {
    case closed
    case open(until: Instant)
    case halfOpen
  }
  enum Override: Sendable { case none, open, closed }
  enum Result: Sendable {
    case success, failure
    /// The answer has begun. That is enough for a probe; of other calls only the end tells, since a stream may still
    /// break.
    case answering
    /// The call says nothing about the provider; if it was a probe, the probe has ended.
    case neutral
  }

  var policy: BreakerPolicy
  private(set) var state = State.closed
  private(set) var override = Override.none
  private(set) var reason: String?
  /// Since when no more than trials pass; nil while it is closed.
  private(set) var openedAt: Instant?
  private var generation: UInt64 = 0
  private var failures = 0
  private var failed = CallMarks()
  private var lastFailure: Instant?
  private var probing = 0
  /// Consecutive trips without a success in between; each doubles the recovery time.
  private var trips = 0

  init(policy: BreakerPolicy) { self.policy = policy }

  /// nil where a call may pass now; else when one may, as far as is known: `.distantFuture` while probes are out or
  /// where the operator has opened the breaker.
  func blockedUntil(at now: Instant) -> Instant? {
    switch override {
    case .closed: return nil
    case .open: return .distantFuture
    case .none: break
    }
    switch state {
    case .closed: return nil
    case .open(let until): return until <= now ? nil : until
    case .halfOpen: return probing < max(1, policy.probes) ? nil : .distantFuture
    }
  }

  /// The earliest instant at which waiting may end; nil where it may end at any time.
  func earliestRecovery(at now: Instant) -> Instant? {
    if override == .open { return .distantFuture }
    if override == .none, case .open(let until) = state, until > now { return until }
    return nil
  }

  /// A call passes. Returns the generation that its result belongs to, and the new state where it changed.
  mutating func pass(at now: Instant) -> (generation: UInt64, change: BreakerCondition?) {
    guard override == .none else { return (generation, nil) }
    var change: BreakerCondition?
    if case .open(let until) = state, until <= now {
      move(to: .halfOpen)
      change = condition(at: now)
    }
    if state == .halfOpen { probing += 1 }
    return (generation, change)
  }

  /// Records a call's result. Returns true where the state changed.
  /// - Parameters:
  ///   - mark: the call; another failure of the same call does not count.
  ///   - jitter: 0...1023, for the recovery time.
  mutating func record(
    _ result: Result, of mark: CallMark? = nil, generation: UInt64, jitter: Int64, reason: String, at now: Instant
  ) -> Bool {
    guard generation == self.generation, override == .none else { return false }
    switch (state, result) {
    case (.closed, .success):
      failures = 0
      trips = 0
      failed.removeAll()
      return false
    case (.closed, .failure):
      if let last = lastFailure, let window = policy.window, now - last > window {
        failures = 0
        failed.removeAll()
      }
      lastFailure = now
      if let mark, !failed.insert(mark) { return false }
      failures += 1
      guard failures >= policy.failures else { return false }
      let why = failures == 1 ? "1 failure: \(reason)" : "\(failures) failures in a row, the last: \(reason)"
      trip(jitter: jitter, reason: why, at: now)
      return true
    case (.halfOpen, .success), (.halfOpen, .answering):
      move(to: .closed)
      trips = 0
      self.reason = nil
      openedAt = nil
      return true
    case (.halfOpen, .failure):
      trip(jitter: jitter, reason: "probe failed: \(reason)", at: now)
      return true
    case (.halfOpen, .neutral):
      probing = max(0, probing - 1)
      return false
    case (.closed, .neutral), (.closed, .answering), (.open, _):
      return false
    }
  }

  /// The operator's command: open, closed, or back to automatic (closed and without history).
  mutating func command(_ override: Override, at now: Instant) {
    self.override = override
    openedAt = override == .open ? now : nil
    move(to: .closed)
    trips = 0
    reason = override == .none ? nil : "operator"
  }

  private mutating func trip(jitter: Int64, reason: String, at now: Instant) {
    let recovery = policy.recovery.nanoseconds.saturatingMultiplied(by: 1 << Int64(min(trips, 3)))
    let shortened = recovery - recovery / 10 * max(0, min(jitter, 1023)) / 1024
    trips += 1
    self.reason = reason
    openedAt = openedAt ?? now
    move(to: .open(until: now + Span(nanoseconds: shortened)))
  }

  private mutating func move(to next: State) {
    state = next
    generation += 1
    failures = 0
    failed.removeAll()
    lastFailure = nil
    probing = 0
  }

  func condition(at now: Instant) -> BreakerCondition {
    switch (override, state) {
    case (.open, _): .open
    case (.closed, _), (.none, .closed): .closed
    case (.none, .open): .open
    case (.none, .halfOpen): .halfOpen
    }
  }

  func snapshot(at now: Instant) -> AdmissionSnapshot.Breaker {
    AdmissionSnapshot.Breaker(state: condition(at: now), reason: reason, since: openedAt, until: until)
  }

  var until: Instant? {
    if override == .none, case .open(let until) = state { until } else { nil }
  }
}
