// Whether an upstream key can be used: usable, cooling (told to slow down, unpaid) or disabled (refused, or by
// operator).
//
// Promise: no single request takes a key from the others. The first refusal makes a doubt: other keys are preferred, and the
// shell makes a free call of its own. That call's refusal, or a second different request's, disables the key. A disabled
// key is tried again by a single request after 1, 2, 4 .. 60 minutes, at once when its secret changes, and never while the
// operator has disabled it; an unpaid key rests for ten minutes; each return is by one probe first.

struct KeyHealth: Sendable {
  enum Trouble: Sendable { case none, throttled, unpaid, refused, byOperator }
  /// What a refusal changed.
  enum News: Sendable {
    case none
    /// Others are preferred from now on.
    case doubted
    /// Nothing goes on it any more.
    case out
  }

  /// A first refusal, which may be one call's own fault.
  private struct Doubt: Sendable {
    var isUnpaid: Bool
    /// nil: our own free call.
    var by: CallMark?
    var since: Instant
    /// Our own free call was let in: the key is no worse than others, but the refusal is remembered.
    var isAnswered = false
  }

  private(set) var gate = ProbeGate()
  private(set) var trouble = Trouble.none
  private var doubt: Doubt?
  private var refusals = 0
  /// When it was refused last.
  private(set) var refusedAt: Instant?

  static let unpaidRest = Span.seconds(600)
  /// How long one refusal is remembered.
  static let doubtLife = Span.seconds(600)
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
  /// True where the provider has put it out, and no call may try it now.
  func isRefused(at now: Instant) -> Bool {
    (trouble == .refused || trouble == .unpaid) && gate.closedUntil(at: now) != nil
  }
  /// True where other keys are to be preferred.
  func isDoubted(at now: Instant) -> Bool {
    doubt.map { !$0.isAnswered && now - $0.since < Self.doubtLife } ?? false
  }

  mutating func pass(at now: Instant) -> UInt64 { gate.pass(at: now) }

  /// Returns true where this is news.
  mutating func throttled(until: Instant, generation: UInt64) -> Bool {
    guard trouble != .byOperator, gate.close(until: until, generation: generation) else { return false }
    if trouble == .none { trouble = .throttled }
    return true
  }

  mutating func unpaid(by mark: CallMark, generation: UInt64, at now: Instant) -> News {
    refusal(by: mark, isUnpaid: true, generation: generation, at: now)
  }

  mutating func refused(by mark: CallMark, generation: UInt64, at now: Instant) -> News {
    refusal(by: mark, isUnpaid: false, generation: generation, at: now)
  }

  private mutating func refusal(
    by mark: CallMark, isUnpaid: Bool, generation: UInt64, at now: Instant
  ) -> News {
    // An old word: since then the key has come back, or has another secret.
    guard trouble != .byOperator, generation == gate.generation else { return .none }
    refusedAt = now
    if isOut || isConfirmed(by: mark, isUnpaid: isUnpaid, at: now) {
      return putOut(isUnpaid: isUnpaid, generation: generation, at: now)
    }
    gate.yield(generation: generation, at: now)
    // Whoever was refused first is remembered: the same call again confirms nothing, and what was answered is not asked again.
    let isSame =
      doubt.map { $0.by?.isSame(as: mark) ?? false && $0.isUnpaid == isUnpaid && now - $0.since < Self.doubtLife }
      ?? false
    let isNews = !isSame && (!isDoubted(at: now) || doubt?.isUnpaid != isUnpaid)
    if isNews { doubt = Doubt(isUnpaid: isUnpaid, by: mark, since: now) }
    return isNews ? .doubted : .none
  }

  private func isConfirmed(by mark: CallMark, isUnpaid: Bool, at now: Instant) -> Bool {
    guard let doubt, doubt.isUnpaid == isUnpaid, now - doubt.since < Self.doubtLife else { return false }
    return doubt.by.map { !mark.isSame(as: $0) } ?? true
  }

  private mutating func putOut(isUnpaid: Bool, generation: UInt64, at now: Instant) -> News {
    let rest = isUnpaid ? Self.unpaidRest : Self.refusalRest(refusals + 1)
    guard gate.close(until: now + rest, generation: generation) else { return .none }
    if !isUnpaid { refusals += 1 }
    trouble = isUnpaid ? .unpaid : .refused
    doubt = nil
    return .out
  }

  /// Our own free call has ended.
  mutating func checked(isRefused: Bool, at now: Instant) -> News {
    guard !isOut else { return .none }
    guard isRefused else {
      if doubt?.isUnpaid == false { doubt?.isAnswered = true }
      return .none
    }
    refusedAt = now
    if let doubt, !doubt.isUnpaid, doubt.by != nil, now - doubt.since < Self.doubtLife {
      gate.open()
      return putOut(isUnpaid: false, generation: gate.generation, at: now)
    }
    guard doubt == nil else { return .none }
    doubt = Doubt(isUnpaid: false, by: nil, since: now)
    return .doubted
  }

  /// Returns true where the key is usable again.
  mutating func succeed(generation: UInt64) -> Bool {
    guard trouble != .byOperator else { return false }
    if doubt != nil, generation == gate.generation { doubt = nil }
    guard gate.succeed(generation: generation) else { return false }
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
    doubt = nil
    refusals = 0
    gate.open()
  }

  /// `usable`, `cooling`, `disabled`.
  func name(at now: Instant) -> String {
    switch trouble {
    case .none: isDoubted(at: now) && doubt?.isUnpaid == true ? "cooling" : "usable"
    case .throttled, .unpaid: "cooling"
    case .refused, .byOperator: "disabled"
    }
  }
  /// Why it is not simply usable; nil where it is.
  func reason(at now: Instant) -> String? {
    switch trouble {
    case .none:
      guard let doubt, isDoubted(at: now) else { return nil }
      if doubt.isUnpaid { return "one request was refused as unpaid; other keys go first" }
      return doubt.by == nil
        ? "refused when it was checked; other keys go first" : "refused once, and being checked; other keys go first"
    case .throttled: return "told to slow down"
    case .unpaid: return "unpaid"
    case .refused: return "refused by the provider"
    case .byOperator: return "operator"
    }
  }
  func until(at now: Instant) -> Instant? {
    if trouble == .none, let doubt, doubt.isUnpaid, isDoubted(at: now) { return doubt.since + Self.doubtLife }
    if trouble != .byOperator, case .closed(let until) = gate.state { return until }
    return nil
  }
}
