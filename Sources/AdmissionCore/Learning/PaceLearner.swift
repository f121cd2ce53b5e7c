// The tokens per minute that a provider lets through, learned from its refusals alone, for providers that tell no
// numbers.
//
// However large the provider's bucket is, it is empty when the provider refuses. So the tokens let through between two
// refusals, divided by the time between them, are its rate. The pace starts just below that rate and grows by a
// fiftieth per step while the pace is what holds calls back. Refused again near the same pace, the first step after
// that waits four times as long. So the broker uses nearly all of a hidden rate and hits it only once in some minutes.
//
// The relative error of a reading is about one over the square root of its number of calls. If, after a refusal near
// the same pace, the reading agrees with that pace within its error, it cuts the pace by at most a twentieth: otherwise
// one bad reading would cost minutes of growing back.
//
// Promise: constant memory; whole numbers. No pace is learned from a storm of refusals in which nothing came through,
// from two refusals that lie far apart, or from a span in which calls were not held back for at least half of the time:
// what came through then is the demand, not the limit. A pace is never below the largest call that has passed, and is
// forgotten after ten minutes without a refusal.

struct PaceLearner: Sendable {
  /// The pace; nil where nothing is known.
  private(set) var perMinute: Int64?
  /// When counting of `charged` and `calls` began: at a refusal.
  private var since: Instant?
  /// The total time that calls had waited by then.
  private var waitedBefore = Span.zero
  /// Tokens of the largest call that was let through since then.
  private var largest: Int64 = 0
  /// When the pace was first learned.
  private(set) var began: Instant?
  private var charged: Int64 = 0
  private var calls = 0
  /// True where a call was let through since the last refusal.
  private var hasPassed = false
  private var lastRefusal = Instant(nanoseconds: 0)
  private var lastStep = Instant(nanoseconds: 0)
  private var refusedAt: Int64 = 0
  /// How long the first step after a refusal waits, and how long the next step waits: half as long for each step beyond
  /// the refused pace, but at least 2 s.
  private var hold = PaceLearner.shortestHold
  private var wait = PaceLearner.shortestHold

  static let enoughCalls = 8
  static let shortestSpan = Span.seconds(4)
  /// Refusals further apart than this say nothing about a rate.
  static let longestSpan = Span.seconds(120)
  static let shortestHold = Span.seconds(4)
  static let longestHold = Span.seconds(64)
  static let memory = Span.seconds(600)

  /// True where there is a pace and the last refusal is recent.
  func isFresh(at now: Instant) -> Bool { perMinute != nil && now - lastRefusal <= Self.memory }

  /// The provider has let a call through and charged it.
  mutating func charge(_ tokens: Int64) {
    guard since != nil else { return }
    hasPassed = true
    charged = charged.saturatingAdding(min(max(0, tokens), 1 << 40))
    largest = max(largest, tokens)
    calls += 1
  }

  /// A call was refused, and not for too many concurrent calls. Returns true where the pace changed.
  /// - Parameter waited: the total time during which calls have waited here.
  mutating func refused(waited: Span, at now: Instant) -> Bool {
    lastRefusal = now
    lastStep = now
    // Nothing came through since the last refusal: this one belongs to it.
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

  /// True where the reading is not below `rate` by more than its error, which is one part in the square root of its
  /// calls.
  private static func canBe(_ reading: (perMinute: Int64, calls: Int), _ rate: Int64) -> Bool {
    let missing = Int128(rate) - Int128(reading.perMinute)
    return missing <= 0
      || missing * missing * Int128(reading.calls) <= Int128(reading.perMinute) * Int128(reading.perMinute)
  }

  /// The tokens per minute that came through since counting began. Restarts counting where the span was long enough to
  /// be read, or too long; nil where the span gives no reading.
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
  /// - Parameter isShort: true where the pace is what holds calls back.
  mutating func succeeded(isShort: Bool, at now: Instant) -> Bool {
    guard let pace = perMinute else { return false }
    if now - lastRefusal > Self.memory {
      self = PaceLearner()
      return true
    }
    guard isShort, now - lastStep >= wait else { return false }
    lastStep = now
    perMinute = min(pace + max(1, pace / 50), 1 << 50)
    // Beyond the pace that was refused before, the provider's rate has changed: grow faster with each step.
    if pace > refusedAt { wait = max(Span.seconds(2), Span(nanoseconds: wait.nanoseconds / 2)) }
    return true
  }
}
