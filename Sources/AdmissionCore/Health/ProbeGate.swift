// A gate that a provider's "slow down" or "not before" shuts: blocked until it said, then one call goes first, and its success
// opens the gate.
//
// Promise: N waiting clients never become N probes; a result counts only for the call that was the probe (generation
// number).

struct ProbeGate: Sendable {
  enum State: Equatable, Sendable {
    case passing
    case blocked(until: Instant)
    case probing
  }
  /// What the provider said when it shut the gate.
  enum Reason: String, Sendable {
    case slowDown = "told to slow down"
    case away = "unavailable, as the provider said"
  }
  private(set) var state = State.passing
  private(set) var generation: UInt64 = 0
  /// Closings without a success between.
  private(set) var closings = 0
  private(set) var reason = Reason.slowDown

  init(generation: UInt64 = 0) { self.generation = generation }

  /// nil where a call may pass now; else when one may: `.distantFuture` while the probe is out.
  func blockedUntil(at now: Instant) -> Instant? {
    switch state {
    case .passing: nil
    case .blocked(let until): until <= now ? nil : until
    case .probing: .distantFuture
    }
  }

  /// The earliest instant at which waiting may end; nil where it may end any time.
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

  /// Shuts the gate, or keeps it shut for longer. Returns true where this is news: not one of many calls that were
  /// refused together.
  mutating func close(until: Instant, generation: UInt64, because reason: Reason = .slowDown) -> Bool {
    switch state {
    case .blocked(let earlier):
      if until > earlier { self.reason = reason }
      state = .blocked(until: max(earlier, until))
      return false
    case .probing where generation != self.generation:
      return false
    case .passing where generation != self.generation:
      // Sent before the gate last opened: an old word.
      return false
    case .passing, .probing:
      state = .blocked(until: until)
      self.reason = reason
      self.generation += 1
      closings += 1
      return true
    }
  }

  /// The call was let through by the provider. Returns true where this opens the gate.
  mutating func succeed(generation: UInt64) -> Bool {
    guard generation == self.generation else { return false }
    closings = 0
    guard state == .probing else { return false }
    state = .passing
    self.generation += 1
    return true
  }

  /// The call ended without telling anything: if it was the probe, another may go.
  mutating func yield(generation: UInt64, at now: Instant) {
    if state == .probing, generation == self.generation { state = .blocked(until: now) }
  }

  /// By operator's order or because the reason has gone.
  mutating func open() {
    state = .passing
    generation += 1
    closings = 0
  }
}
