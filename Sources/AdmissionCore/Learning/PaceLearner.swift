// The tokens per minute that a provider lets through, learned from its refusals alone: for providers that tell no
// numbers.
//
// Whatever bucket the provider keeps, it is empty when it refuses. So what it let through between two refusals, over
// the time between them, is its rate, however large the bucket is. From just below that rate the pace grows by a
// twenty-fifth, later a fiftieth at a time while it is what holds calls back; refused again near the same pace, it waits four times as long
// with the next step. So the broker uses nearly all of a hidden rate and touches it once in some minutes.
//
// A short span tells the rate no better than the root of its calls allows. Refused again near the same pace, a reading that could be that
// pace as well cuts it by a twentieth at most: one bad reading would otherwise cost minutes of growing back.
//
// Promise: constant memory; whole numbers; no pace is made up from a storm in which nothing came through, nor from two
// refusals that lie far apart, nor from a span in which calls were not held back for most of the time: what came through then
// is what was wanted, and not what is allowed. A pace is never below the largest call that has passed; ten minutes without a
// refusal, and it is forgotten.

struct PaceLearner: Sendable {
  /// nil where nothing is known.
  private(set) var perMinute: Int64?
  /// Since when `charged` and `calls` count: a refusal.
  private var since: Instant?
  /// What the meter of waiting showed then.
  private var waitedBefore = Span.zero
  /// The largest call that was let through since then.
  private var largest: Int64 = 0
  /// When there was a pace first.
  private(set) var began: Instant?
  private var charged: Int64 = 0
  private var calls = 0
  /// A call was let through since the last refusal.
  private var hasPassed = false
  private var lastRefusal = Instant(nanoseconds: 0)
  private var lastStep = Instant(nanoseconds: 0)
  private var refusedAt: Int64 = 0
  /// How long the first step after a refusal waits, and how long the next one does: each two thirds of the one before.
  private var hold = PaceLearner.shortestHold
  private var wait = PaceLearner.shortestHold

  static let enoughCalls = 8
  static let shortestSpan = Span.seconds(4)
  /// Refusals further apart than this say nothing about a rate together.
  static let longestSpan = Span.seconds(120)
  static let shortestHold = Span.seconds(4)
  static let longestHold = Span.seconds(64)
  static let memory = Span.seconds(600)

  /// True where there is a pace, and a refusal of late.
  func isFresh(at now: Instant) -> Bool { perMinute != nil && now - lastRefusal <= Self.memory }

  /// The provider has let a call through and charged it.
  mutating func charge(_ tokens: Int64) {
    guard since != nil else { return }
    hasPassed = true
    charged = charged.saturatingAdding(min(max(0, tokens), 1 << 40))
    largest = max(largest, tokens)
    calls += 1
  }

  /// Refused, and not for too many calls at a time. Returns true where the pace changed.
  /// - Parameter waited: for how long calls have waited here, in all.
  mutating func refused(waited: Span, at now: Instant) -> Bool {
    lastRefusal = now
    lastStep = now
    // Nothing came through since the last one: the same refusal still.
    guard since == nil || hasPassed else { return false }
    hasPassed = false
    let estimate = measure(waited: waited, at: now)
    guard let pace = perMinute else {
      guard let rate = estimate?.perMinute else { return false }
      refusedAt = rate
      defer { largest = 0 }
      perMinute = max(1, largest, rate * 98 / 100)
      began = now
      return true
    }
    let isNear = (max(pace, refusedAt) - min(pace, refusedAt)).saturatingMultiplied(by: 8) <= refusedAt
    hold = isNear ? min(Self.longestHold, Span(nanoseconds: hold.nanoseconds * 4)) : Self.shortestHold
    wait = hold
    refusedAt = pace
    defer { largest = 0 }
    var cut = pace * 97 / 100
    if let estimate {
      let least = pace * 95 / 100
      let read = estimate.perMinute * 99 / 100
      cut = min(cut, isNear && Self.canBe(estimate, least) ? max(read, least) : read)
    }
    perMinute = max(1, largest, cut)
    return true
  }

  /// True where a reading of so many calls lies no further below `rate` than such readings do: by its own root's part.
  private static func canBe(_ reading: (perMinute: Int64, calls: Int), _ rate: Int64) -> Bool {
    let missing = Int128(rate) - Int128(reading.perMinute)
    return missing <= 0
      || missing * missing * Int128(reading.calls) <= Int128(reading.perMinute) * Int128(reading.perMinute)
  }

  /// What came through since the refusal that counting began with, per minute; begins anew where that was enough or
  /// too long ago.
  private mutating func measure(waited: Span, at now: Instant) -> (perMinute: Int64, calls: Int)? {
    guard let began = since else {
      since = now
      waitedBefore = waited
      return nil
    }
    let span = now - began
    guard span >= Self.shortestSpan, calls >= Self.enoughCalls || span > Self.longestSpan else { return nil }
    let estimate = min(Int64(clamping: Int128(charged) * 60_000_000_000 / Int128(span.nanoseconds)), 1 << 50)
    let wasFull =
      waited.nanoseconds.saturatingSubtracting(waitedBefore.nanoseconds).saturatingMultiplied(by: 2) >= span.nanoseconds
    let isGood = span <= Self.longestSpan && calls >= Self.enoughCalls && estimate > 0 && wasFull
    let reading = (perMinute: estimate, calls: calls)
    since = now
    waitedBefore = waited
    charged = 0
    calls = 0
    return isGood ? reading : nil
  }

  /// A call was let through. Returns true where the pace changed.
  /// - Parameter isShort: the pace is what holds calls back.
  mutating func succeeded(isShort: Bool, at now: Instant) -> Bool {
    guard let pace = perMinute else { return false }
    if now - lastRefusal > Self.memory {
      self = PaceLearner()
      return true
    }
    guard isShort, now - lastStep >= wait else { return false }
    lastStep = now
    perMinute = min(pace + max(1, pace / 50), 1 << 50)
    // Past where it was refused before, the rate is another: ever quicker.
    if pace > refusedAt { wait = max(Span.seconds(2), Span(nanoseconds: wait.nanoseconds / 2)) }
    return true
  }
}
