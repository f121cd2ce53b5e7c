// A gate that a provider's "slow down" or "not before" closes. It is blocked until the told instant; then one call goes
// first as a probe, and its success opens the gate.
//
// Promise: N waiting clients never become N probes; only the result of the probe itself counts, by its generation
// number.

struct ProbeGate: Sendable {
  enum State: Equatable, Sendable {
    case passing
    case blocked(until: Instant)
    case probing
  }
  private(set) var state = State.passing
  private(set) var generation: UInt64 = 0
  /// How often the gate has closed without a success in between.
  private(set) var closings = 0
  /// What the provider said when it closed the gate.
  private(set) var reason = PauseReason.slowDown

  init(generation: UInt64 = 0) { self.generation = generation }

  /// nil where a call may pass now; else when one may: `.distantFuture` while the probe is out.
  func blockedUntil(at now: Instant) -> Instant? {
    switch state {
    case .passing: nil
    case .blocked(let until): until <= now ? nil : until
    case .probing: .distantFuture
    }
  }

  /// The same for a free call where `isFree`: it waits for the told instant only. It is no probe, and waits for none,
  /// since its answer says nothing about what was refused.
  func blockedUntil(isFree: Bool, at now: Instant) -> Instant? {
    isFree ? earliestRecovery(at: now) : blockedUntil(at: now)
  }

  /// The earliest instant at which waiting may end; nil where it may end at any time.
  func earliestRecovery(at now: Instant) -> Instant? {
    if case .blocked(let until) = state, until > now { until } else { nil }
  }

  /// A call passes. Returns the generation that its result belongs to.
  mutating func pass(at now: Instant) -> UInt64 {
    if case .blocked(let until) = state, until <= now {
      state = .probing
      generation += 1
    }
    return generation
  }

  /// Closes the gate, or keeps it closed for longer. Returns true where this is news, false for the later ones of
  /// several calls that were refused together.
  mutating func close(until: Instant, generation: UInt64, because reason: PauseReason = .slowDown) -> Bool {
    switch state {
    case .blocked(let earlier):
      if until > earlier { self.reason = reason }
      state = .blocked(until: max(earlier, until))
      return false
    case .probing where generation != self.generation:
      return false
    case .passing where generation != self.generation:
      // The call was sent before the gate last opened: a late result.
      return false
    case .passing, .probing:
      state = .blocked(until: until)
      self.reason = reason
      self.generation += 1
      closings += 1
      return true
    }
  }

  /// The provider accepted the call. Returns true where this opens the gate.
  mutating func succeed(generation: UInt64) -> Bool {
    guard generation == self.generation else { return false }
    closings = 0
    guard state == .probing else { return false }
    state = .passing
    self.generation += 1
    return true
  }

  /// The call ended without telling anything. If it was the probe, another call may be the next probe.
  mutating func yield(generation: UInt64, at now: Instant) {
    if state == .probing, generation == self.generation { state = .blocked(until: now) }
  }

  /// Called by the operator's command, or because the reason is gone.
  mutating func open() {
    state = .passing
    generation += 1
    closings = 0
  }
}
