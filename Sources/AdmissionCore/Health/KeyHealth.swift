// Whether an upstream key can be used: it is usable, cooling (told to slow down, or unpaid) or disabled (refused, or by
// the operator).
//
// Promise: no single request takes a key from the others. The first refusal puts the key in doubt: other keys are
// preferred, and the shell makes a free call with it. The key is disabled when that free call is refused too, or a
// second, different request. Once the free call was accepted, no number of refused requests of the same client disables
// the key, since then the refusals are as likely to be about what this client asks for. A disabled key is tried again
// by a single request after 1, 2, 4 .. 60 minutes, or at once when its secret changes, but never while the operator has
// disabled it. An unpaid key rests for ten minutes. A key always comes back by a single probe.

struct KeyHealth: Sendable {
  enum Trouble: Sendable { case none, throttled, unpaid, refused, byOperator }
  /// What a refusal changed.
  enum News: Sendable {
    case none
    /// The key is in doubt: others are preferred from now on.
    case doubted
    /// Only one client is refused: our own free call is to show whether the key is at fault.
    case unclear
    /// The key is usable again: only one client's requests had put it out.
    case back
    /// The key is out: no call uses it any more.
    case out
  }

  /// A first refusal, which may be one call's own fault.
  private struct Doubt: Sendable {
    var isUnpaid: Bool
    /// The refused call; nil where it was our own free call.
    var by: CallMark?
    var since: Instant
    /// When our own free call was last accepted: since then the key is no worse than others, but the refusal is
    /// remembered.
    var answeredAt: Instant?
    /// True while our own free call is ordered and has not ended.
    var isAsked = false
    var isAnswered: Bool { answeredAt != nil }
  }

  private(set) var gate = ProbeGate()
  private(set) var trouble = Trouble.none
  private var doubt: Doubt?
  /// The doubt that put the key out, where only one client's requests did; else nil.
  private var onesDoubt: Doubt?
  private var refusals = 0
  /// When the key was last refused.
  private(set) var refusedAt: Instant?

  static let unpaidRest = Span.seconds(600)
  /// How long one refusal is remembered.
  static let doubtLife = Span.seconds(600)
  /// How long the answer of our own free call counts; after that, a refusal orders another free call.
  static let answerLife = Span.seconds(30)
  static func refusalRest(_ refusals: Int) -> Span { .seconds(60 * min(60, 1 << Int64(min(max(0, refusals - 1), 6)))) }

  /// nil where the key may be used now; else when it may be, as far as is known.
  func unusableUntil(at now: Instant) -> Instant? {
    trouble == .byOperator ? .distantFuture : gate.blockedUntil(at: now)
  }

  /// The same for a free call where `isFree`: a throttle of other calls keeps it only until the told instant.
  func unusableUntil(isFree: Bool, at now: Instant) -> Instant? {
    isFree && trouble == .throttled ? gate.earliestRecovery(at: now) : unusableUntil(at: now)
  }

  func earliestRecovery(at now: Instant) -> Instant? {
    trouble == .byOperator ? .distantFuture : gate.earliestRecovery(at: now)
  }

  /// True for a key that is refused, unpaid or disabled by the operator: a short wait will not bring it back.
  var isOut: Bool { trouble == .refused || trouble == .unpaid || trouble == .byOperator }
  /// True where the provider has refused the key, or says that it is unpaid, and no call may try it now.
  func isRefused(at now: Instant) -> Bool {
    (trouble == .refused || trouble == .unpaid) && gate.blockedUntil(at: now) != nil
  }
  /// True where other keys should be preferred.
  func isDoubted(at now: Instant) -> Bool {
    // An unpaid key may still list models, so an accepted free call does not end the doubt there.
    doubt.map { ($0.isUnpaid || !$0.isAnswered) && now - $0.since < Self.doubtLife } ?? false
  }

  /// True where our own free call was refused and no call has succeeded since, however long ago that was.
  var failedCheck: Bool { doubt.map { $0.by == nil } ?? false }

  mutating func pass(at now: Instant) -> UInt64 { gate.pass(at: now) }

  /// A free call passes: it is no probe where other calls were throttled.
  mutating func passFree(at now: Instant) -> UInt64 {
    trouble == .throttled ? gate.generation : gate.pass(at: now)
  }

  /// Returns true where this is news.
  mutating func throttled(until: Instant, generation: UInt64, because reason: PauseReason = .slowDown) -> Bool {
    guard trouble != .byOperator, gate.close(until: until, generation: generation, because: reason) else {
      return false
    }
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
    // A late result: since that call was sent, the key has come back or has another secret.
    guard trouble != .byOperator, generation == gate.generation else { return .none }
    refusedAt = now
    if isOut { return putOut(isUnpaid: isUnpaid, generation: generation, at: now) }
    switch confirmation(by: mark, isUnpaid: isUnpaid, at: now) {
    case .none: break
    case .byOther: return putOut(isUnpaid: isUnpaid, generation: generation, at: now)
    case .bySameClient:
      // An unpaid key is not put out before our free call has been ordered for this doubt.
      let mayTell = doubt?.isAnswered == true || isUnpaid && doubt?.isAsked == false
      guard mayTell else {
        onesDoubt = doubt
        return putOut(isUnpaid: isUnpaid, generation: generation, at: now, isOnes: true)
      }
      gate.yield(generation: generation, at: now)
      if doubt?.isAsked == true { return .none }
      if let answered = doubt?.answeredAt, now - answered < Self.answerLife { return .none }
      doubt?.isAsked = true
      return .unclear
    }
    gate.yield(generation: generation, at: now)
    // The first refused call is remembered: the same call again confirms nothing, and orders no second free call.
    let isSame =
      doubt.map { $0.by?.isSame(as: mark) ?? false && $0.isUnpaid == isUnpaid && now - $0.since < Self.doubtLife }
      ?? false
    let isNews = !isSame && (!isDoubted(at: now) || doubt?.isUnpaid != isUnpaid)
    if isNews { doubt = Doubt(isUnpaid: isUnpaid, by: mark, since: now) }
    return isNews ? .doubted : .none
  }

  private enum Confirmation { case none, bySameClient, byOther }

  private func confirmation(by mark: CallMark, isUnpaid: Bool, at now: Instant) -> Confirmation {
    guard let doubt, doubt.isUnpaid == isUnpaid, now - doubt.since < Self.doubtLife else { return .none }
    guard let by = doubt.by else { return .byOther }
    if mark.isSame(as: by) { return .none }
    return mark.client == by.client ? .bySameClient : .byOther
  }

  /// - Parameter isOnes: true where only one client's requests were refused.
  private mutating func putOut(
    isUnpaid: Bool, generation: UInt64, at now: Instant, isOnes: Bool = false
  ) -> News {
    if !isOnes { onesDoubt = nil }
    let rest = isUnpaid ? Self.unpaidRest : Self.refusalRest(refusals + 1)
    guard gate.close(until: now + rest, generation: generation) else { return .none }
    if !isUnpaid { refusals += 1 }
    trouble = isUnpaid ? .unpaid : .refused
    doubt = nil
    return .out
  }

  /// Our own free call has ended.
  mutating func checked(isRefused: Bool, at now: Instant) -> News {
    if trouble == .refused || trouble == .unpaid, var only = onesDoubt {
      onesDoubt = nil
      guard !isRefused else { return .none }
      // The free call, ordered at the first of these refusals, was accepted: the refusals concern that client only.
      only.answeredAt = now
      only.isAsked = false
      doubt = only
      if trouble == .refused { refusals = max(0, refusals - 1) }
      trouble = .none
      gate.open()
      return .back
    }
    guard !isOut else { return .none }
    guard isRefused else {
      doubt?.answeredAt = now
      doubt?.isAsked = false
      return .none
    }
    refusedAt = now
    // Where even the list of models is refused to an unpaid key, its account is closed.
    if let doubt, doubt.by != nil, !doubt.isUnpaid || doubt.isAsked, now - doubt.since < Self.doubtLife {
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
    onesDoubt = nil
    refusals = 0
    return true
  }

  mutating func yield(generation: UInt64, at now: Instant) { gate.yield(generation: generation, at: now) }

  mutating func disable() {
    trouble = .byOperator
    gate.open()
  }

  /// The operator's command to stop waiting for a throttle to end. Returns true where the key was throttled.
  mutating func forgiveThrottle() -> Bool {
    guard trouble == .throttled else { return false }
    trouble = .none
    gate.open()
    return true
  }

  /// Called by the operator's command, or because the secret changed.
  mutating func enable() {
    trouble = .none
    doubt = nil
    onesDoubt = nil
    refusals = 0
    gate.open()
  }

  func condition(at now: Instant) -> KeyCondition {
    switch trouble {
    case .none: isDoubted(at: now) && doubt?.isUnpaid == true ? .cooling : .usable
    case .throttled, .unpaid: .cooling
    case .refused, .byOperator: .disabled
    }
  }
  /// Why the key is not simply usable; nil where it is usable.
  func reason(at now: Instant) -> KeyReason? {
    switch trouble {
    case .none:
      guard let doubt, isDoubted(at: now) else { return nil }
      if doubt.isUnpaid { return .perhapsUnpaid }
      return doubt.by == nil ? .refusedInCheck : .perhapsRefused
    case .throttled: return .paused(gate.reason)
    case .unpaid: return .unpaid
    case .refused: return .refused
    case .byOperator: return .byOperator
    }
  }
  func until(at now: Instant) -> Instant? {
    if trouble == .none, let doubt, doubt.isUnpaid, isDoubted(at: now) { return doubt.since + Self.doubtLife }
    if trouble != .byOperator, case .blocked(let until) = gate.state { return until }
    return nil
  }
}
