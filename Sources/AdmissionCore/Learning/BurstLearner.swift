// How many requests a provider lets through at once, and how many a minute, learned from its refusals alone, for
// providers that enforce a minute's requests in shorter slices and tell no numbers.
//
// However deep the provider's bucket is, it is empty when the provider refuses. So the calls that passed between two
// refusals, divided by the time between them, are its rate, or less where it was full meanwhile; and the calls that
// passed before the first of them, less what had refilled meanwhile, are its depth. Of any span before a refusal, the
// calls that passed beyond the depth had refilled in it: the span for which that is most began with a full bucket, and
// shows the rate. A pace in tokens (`PaceLearner`) cannot do this: it takes many calls to
// read, and its bucket allows a minute's tokens at once.
//
// Promise: constant memory; whole numbers. Nothing is learned from a span in which calls were not held back for at least
// half of the time, or where the depth is more than ten seconds of the rate: such a provider does not count in slices.
// The rate is not below what has just passed, and the depth is what has passed at once. The rate grows while it is what
// holds calls back; both are forgotten after ten minutes without a refusal.

struct BurstLearner: Sendable {
  /// Requests; nil where nothing is known.
  private(set) var perMinute: Int64?
  /// Calls that may go at once.
  private(set) var depth: Int64 = 0
  /// When they were first learned.
  private(set) var began: Instant?
  /// The calls that were sent since `since` and not refused.
  private var passed: Int64 = 0
  private var since: Instant?
  private var lastSent = Instant(nanoseconds: 0)
  /// The total time that calls had waited by `since`.
  private var waitedBefore = Span.zero
  /// True where `since` is when a call was refused, so that the provider's bucket was empty then.
  private var beganEmpty = false
  /// The stretch before the first refusal.
  private var opening: (calls: Int64, span: Span)?
  /// What the last refusal ended.
  private var ended = Ended.nothing
  private enum Ended: Sendable {
    case nothing
    case opening
    /// A stretch that was read; one call is so much of the rate.
    case reading(perCall: Int64)
  }
  private var lastRefusal = Instant(nanoseconds: 0)
  private var lastStep = Instant(nanoseconds: 0)
  /// True where a call was refused at the present pace or above it: then it grows slowly.
  private var isConfirmed = false
  private var wait = BurstLearner.shortestHold
  /// The calls of the last eight seconds that were not refused, by half seconds, and the last of these.
  private var recent = SIMD16<UInt16>.zero
  private var slot: Int64 = 0

  /// After so long without a call, the provider's bucket counts as full again.
  static let idle = Span.seconds(10)
  /// A bucket that is deeper than this does not count in slices.
  static let deepest = Span.seconds(10)
  static let shortestSpan = Span.milliseconds(700)
  static let shortestHold = Span.seconds(1)
  static let longestHold = Span.seconds(64)
  static let most: Int64 = 1_000_000

  /// The depth as the time in which it refills, rounded up so that `depth` calls fit; nil where nothing is known.
  var burst: Span? {
    perMinute.map { Span(nanoseconds: Int64(clamping: (Int128(depth) * 60_000_000_000 + Int128($0) - 1) / Int128($0))) }
  }

  /// True where there is a pace and the last refusal is recent.
  func isFresh(at now: Instant) -> Bool { perMinute != nil && now - lastRefusal <= PaceLearner.memory }

  private static let slotLength: Int64 = 500_000_000

  private mutating func count(at now: Instant) {
    let current = now.nanoseconds / Self.slotLength
    if current - slot >= 16 {
      recent = .zero
    } else {
      while slot < current {
        slot += 1
        recent[Int(slot & 15)] = 0
      }
    }
    slot = max(slot, current)
    if recent[Int(slot & 15)] < .max { recent[Int(slot & 15)] += 1 }
  }

  private mutating func discount(_ sentAt: Instant) {
    let place = sentAt.nanoseconds / Self.slotLength
    guard place <= slot, slot - place < 16, recent[Int(place & 15)] > 0 else { return }
    recent[Int(place & 15)] -= 1
  }

  /// The most that refilled per minute, of all spans of one to eight seconds before the refusal.
  private func refilled(until sentAt: Instant) -> Int64 {
    var calls: Int64 = 0
    var best: Int64 = 0
    for back in 0..<Int64(16) {
      let place = slot - back
      guard place >= 0 else { break }
      calls += Int64(recent[Int(place & 15)])
      let span = sentAt.nanoseconds - place * Self.slotLength
      guard span >= 1_000_000_000 else { continue }
      best = max(best, Int64(clamping: Int128(2 * (calls - depth) + 1) * 30_000_000_000 / Int128(span)))
    }
    return min(best, Self.most)
  }

  /// A call is sent.
  mutating func sent(at now: Instant) {
    if since == nil || now - lastSent >= Self.idle {
      since = now
      passed = 0
      beganEmpty = false
      if perMinute == nil { opening = nil }
    }
    passed += 1
    lastSent = now
    count(at: now)
  }

  /// A call was refused. Returns true where what is learned changed.
  /// - Parameters:
  ///   - sentAt: when the call was sent.
  ///   - isFirst: false for calls that were refused together with an earlier one.
  ///   - isAboutRate: false where it may be concurrency that was short.
  ///   - waited: the total time during which calls have waited here.
  mutating func refused(sentAt: Instant, isFirst: Bool, isAboutRate: Bool, waited: Span, at now: Instant) -> Bool {
    lastRefusal = now
    discount(sentAt)
    guard let start = since else { return false }
    guard isFirst else {
      // One call less has passed: in the stretch that the first refusal ended, or since then.
      guard sentAt <= start else {
        passed = max(0, passed - 1)
        return false
      }
      return correct()
    }
    passed = max(0, passed - 1)
    let calls = passed
    let span = sentAt - start
    ended = .nothing
    let heldBack = waited.nanoseconds.saturatingSubtracting(waitedBefore.nanoseconds)
    defer {
      waitedBefore = waited
      since = max(start, sentAt)
      passed = 0
      beganEmpty = true
    }
    guard beganEmpty else {
      if opening == nil {
        opening = (calls, span)
        ended = .opening
      }
      return false
    }
    guard isAboutRate, span >= Self.shortestSpan, span <= PaceLearner.longestSpan, calls >= (perMinute == nil ? 4 : 2),
      heldBack.saturatingMultiplied(by: 2) >= span.nanoseconds
    else { return false }
    return learn(calls: calls, span: span, sentAt: sentAt, at: now)
  }

  /// One call less than was counted had passed before the last refusal.
  private mutating func correct() -> Bool {
    switch ended {
    case .nothing: return false
    case .opening:
      if let known = opening { opening = (max(1, known.calls - 1), known.span) }
      return false
    case .reading(let perCall):
      guard let pace = perMinute else { return false }
      perMinute = max(1, pace - perCall)
      return true
    }
  }

  private mutating func learn(calls: Int64, span: Span, sentAt: Instant, at now: Instant) -> Bool {
    guard let opening else { return false }
    func rate(_ halves: Int64) -> Int64 {
      min(Int64(clamping: Int128(halves) * 30_000_000_000 / Int128(span.nanoseconds)), Self.most)
    }
    // So many passed, and one more did not: the rate lies between both, and most often in the middle.
    let least = rate(2 * calls)
    let read = rate(2 * calls + 1)
    guard read > 0 else { return false }
    lastStep = now
    guard let pace = perMinute else {
      let refilled = Int64(clamping: Int128(opening.span.nanoseconds) * Int128(read) / 60_000_000_000)
      let deep = max(1, opening.calls - refilled)
      guard deep * 60 <= read * Self.deepest.nanoseconds / 1_000_000_000 else { return false }
      perMinute = read
      ended = .reading(perCall: rate(2))
      depth = deep
      began = now
      return true
    }
    wait = isConfirmed ? min(Self.longestHold, Span(nanoseconds: wait.nanoseconds * 2)) : .seconds(4)
    isConfirmed = true
    // Readings are low where the provider's bucket was full for a part of the span, and a short one may be wrong by a
    // whole call.
    let lowest = span >= .seconds(4) ? 1 : pace * 85 / 100
    perMinute = max(1, least, min(pace * 97 / 100, max(read, refilled(until: sentAt), lowest)))
    return true
  }

  /// A call was let through. Returns true where the pace changed.
  /// - Parameter isShort: true where the pace is what holds calls back.
  mutating func succeeded(isShort: Bool, at now: Instant) -> Bool {
    guard let pace = perMinute else { return false }
    if now - lastRefusal > PaceLearner.memory {
      self = BurstLearner()
      return true
    }
    guard isShort, now - lastStep >= wait else { return false }
    lastStep = now
    perMinute = min(Self.most, pace + max(1, pace / (isConfirmed ? 50 : 8)))
    return true
  }
}
