// Whether an upstream key can be used: usable, cooling (told to slow down, unpaid) or disabled (refused, or by
// operator).
//
// Promise: a disabled key is tried again by a single request after 1, 2, 4 .. 60 minutes, at once when its secret
// changes, and never while the operator has disabled it; an unpaid key rests for ten minutes; each return is by one
// probe first.

struct KeyHealth: Sendable {
  enum Trouble: Sendable { case none, throttled, unpaid, refused, byOperator }

  private(set) var gate = ProbeGate()
  private(set) var trouble = Trouble.none
  private var refusals = 0

  static let unpaidRest = Span.seconds(600)
  static func refusalRest(_ refusals: Int) -> Span { .seconds(60 * min(60, 1 << Int64(min(max(0, refusals - 1), 6)))) }

  /// nil where the key may be used now; else when it may, as far as is known.
  func unusableUntil(at now: Instant) -> Instant? {
    trouble == .byOperator ? .distantFuture : gate.closedUntil(at: now)
  }

  func hopeBegins(at now: Instant) -> Instant? {
    trouble == .byOperator ? .distantFuture : gate.hopeBegins(at: now)
  }

  /// True for a key that waiting a little will not bring back.
  var isOut: Bool { trouble == .refused || trouble == .unpaid || trouble == .byOperator }

  mutating func pass(at now: Instant) -> UInt64 { gate.pass(at: now) }

  /// Returns true where this is news.
  mutating func throttled(until: Instant, generation: UInt64) -> Bool {
    guard trouble != .byOperator, gate.close(until: until, generation: generation) else { return false }
    if trouble == .none { trouble = .throttled }
    return true
  }

  mutating func unpaid(generation: UInt64, at now: Instant) -> Bool {
    guard trouble != .byOperator, gate.close(until: now + Self.unpaidRest, generation: generation) else { return false }
    trouble = .unpaid
    return true
  }

  mutating func refused(generation: UInt64, at now: Instant) -> Bool {
    guard trouble != .byOperator,
      gate.close(until: now + Self.refusalRest(refusals + 1), generation: generation)
    else { return false }
    refusals += 1
    trouble = .refused
    return true
  }

  /// Returns true where the key is usable again.
  mutating func succeed(generation: UInt64) -> Bool {
    guard trouble != .byOperator, gate.succeed(generation: generation) else { return false }
    trouble = .none
    refusals = 0
    return true
  }

  mutating func yield(generation: UInt64, at now: Instant) { gate.yield(generation: generation, at: now) }

  mutating func disable() {
    trouble = .byOperator
    gate.open()
  }

  /// By operator, or because the secret changed.
  mutating func enable() {
    trouble = .none
    refusals = 0
    gate.open()
  }

  /// `usable`, `cooling`, `disabled`.
  var name: String {
    switch trouble {
    case .none: "usable"
    case .throttled, .unpaid: "cooling"
    case .refused, .byOperator: "disabled"
    }
  }
  var reason: String {
    switch trouble {
    case .none: "usable"
    case .throttled: "told to slow down"
    case .unpaid: "unpaid"
    case .refused: "refused by the provider"
    case .byOperator: "operator"
    }
  }
  var until: Instant? {
    if trouble != .byOperator, case .closed(let until) = gate.state { until } else { nil }
  }
}
