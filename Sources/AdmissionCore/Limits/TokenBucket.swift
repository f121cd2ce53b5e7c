// A store of units that refills continuously: requests, input tokens, output tokens or both, per second or minute. A
// daily bucket without a burst refills at once when its day ends, as vendors' daily quotas do, unless the vendor's
// headers show that it refills gradually.
//
// Promise: whole-number arithmetic, so that any number of readings gives the same level as one reading at the end (no
// drift). A reservation needs its units, a correction does not: what was too little becomes a debt that the refill
// works off, what was too much returns at once. The level never passes the capacity, and a debt is at most five
// periods' units, since a larger one can only come from a wrong number. Why continuous: providers refill this way, and
// a window that resets at once would hand out two minutes' units in a moment.
//
// A burst makes the bucket shallow, not slow: a call that is larger than the bucket goes when the bucket is full, but
// owes all of its units, so that the limit of the whole period holds whatever the burst is.
//
// A shallow bucket that copies a provider's bucket of requests refills a little later than a call takes from the full
// one. The provider's is full until that call arrives, which is later than we send it: a connection may have to be made
// first. Calls after it may take less time on their way; without this delay they would arrive before their unit, and
// each refusal costs a second. Where a bucket stays below full, which it does while calls wait for it, the delay is not
// paid again.

struct TokenBucket: Sendable {
  let rate: RateLimit
  var dimension: Dimension { rate.dimension }
  /// Units per period. With 0 nothing is ever granted.
  private(set) var limit: Int64
  /// Units of the full bucket.
  private(set) var capacity: Int64
  /// Nanoseconds.
  private let period: Int64
  /// When the day ends; nil for a bucket that refills continuously.
  private(set) var dayEnd: Instant?
  /// True for a daily bucket without a burst.
  let isDays: Bool
  /// When the vendor first told how its day ends, in nanoseconds; `.max` where it has not.
  private var dayToldAt = Int64.max
  /// True where the vendor has told it: then our calendar no longer counts.
  var isDayTold: Bool { dayToldAt != .max }
  var dayToldSince: Instant? { isDayTold ? Instant(nanoseconds: dayToldAt) : nil }
  /// Whole units at `updated`; a negative level is a debt.
  private var level: Int64
  /// The fraction of a unit at `updated`, in units of 1 / period: 0..<period.
  private var fraction: Int64 = 0
  /// Later than now where the refill has not begun yet.
  private var updated: Instant
  private let startsLate: Bool
  /// How long after a call has left the full bucket the refill begins.
  private var delay: Span

  /// The bucket is full at the start.
  /// - Parameters:
  ///   - burst: the capacity, as the time in which it refills; nil means the whole period.
  ///   - dayEnd: when the day ends, for daily limits.
  ///   - startsLate: true where calls have a way to go to whoever enforces the limit.
  init(
    _ rate: RateLimit, _ limit: Int64, burst: Span? = nil, dayEnd: Instant = .distantFuture, startsLate: Bool = false,
    at now: Instant
  ) {
    self.rate = rate
    self.limit = Self.bounded(limit)
    period = rate.period.nanoseconds
    capacity = Self.capacity(rate, self.limit, burst)
    isDays = rate.isPerDay && burst == nil
    self.dayEnd = isDays ? dayEnd : nil
    level = capacity
    updated = now
    self.startsLate = startsLate
    delay = startsLate ? Self.delay(rate, self.limit, capacity) : .zero
  }

  /// The largest limit whose debts and products fit 64 bits: 10^15 units per period.
  private static func bounded(_ limit: Int64) -> Int64 { min(max(0, limit), 1_000_000_000_000_000) }
  static let deepestDebt: Int64 = 5
  private var floor: Int64 { -Self.deepestDebt * limit }

  init(_ dimension: Dimension, perMinute: Int64, at now: Instant) {
    let rate: RateLimit =
      switch dimension {
      case .requests: .requestsPerMinute
      case .inputTokens: .inputTokensPerMinute
      case .outputTokens: .outputTokensPerMinute
      case .tokens: .tokensPerMinute
      }
    self.init(rate, perMinute, at: now)
  }

  /// At least 1 where there is a limit at all.
  private static func capacity(_ rate: RateLimit, _ limit: Int64, _ burst: Span?) -> Int64 {
    guard limit > 0 else { return 0 }
    guard let burst else { return bounded(limit) }
    let units = Int128(limit) * Int128(max(0, burst.nanoseconds)) / Int128(rate.period.nanoseconds)
    return bounded(max(1, Int64(clamping: units)))
  }

  /// A bucket of one call is full before each of them, and pays each time.
  private static func delay(_ rate: RateLimit, _ limit: Int64, _ capacity: Int64) -> Span {
    guard rate.dimension == .requests, limit > 0 else { return .zero }
    let depth = Int64(clamping: Int128(capacity) * Int128(rate.period.nanoseconds) / Int128(limit))
    guard depth <= shallow.nanoseconds else { return .zero }
    return min(longestDelay, Span(nanoseconds: depth / (capacity > 1 ? 8 : 32)))
  }
  private static let shallow = Span.seconds(10)
  private static let longestDelay = Span.milliseconds(125)

  /// Units available now.
  func available(at now: Instant) -> Int64 { refilled(at: now).level }

  private func refilled(at now: Instant) -> (level: Int64, fraction: Int64) {
    let elapsed = now.nanoseconds &- updated.nanoseconds
    guard elapsed > 0, level < capacity else { return (level, fraction) }
    if let dayEnd { return now >= dayEnd ? (capacity, 0) : (level, fraction) }
    var gain: Int64
    var rest: Int64
    if elapsed <= 60_000_000_000, limit < 1 << 26 {
      let sum = elapsed &* limit &+ fraction
      gain = sum / period
      rest = sum &- gain &* period
    } else {
      let sum = Int128(elapsed) * Int128(limit) + Int128(fraction)
      gain = Int64(clamping: sum / Int128(period))
      rest = Int64(truncatingIfNeeded: sum % Int128(period))
    }
    let (total, overflow) = level.addingReportingOverflow(gain)
    return overflow || total >= capacity ? (capacity, 0) : (total, rest)
  }

  private mutating func refill(at now: Instant) {
    guard now > updated else { return }
    (level, fraction) = refilled(at: now)
    updated = now
    // Until the end of the next day is told, a day has 24 hours.
    if let end = dayEnd, now >= end {
      let days = (now - end).nanoseconds / period + 1
      dayEnd = end + Span(nanoseconds: days * period)
    }
  }

  /// Sets when the vendor's day ends, as the vendor tells it.
  mutating func setDay(endAsTold end: Instant, at now: Instant) {
    guard isDays else { return }
    refill(at: now)
    dayToldAt = min(dayToldAt, now.nanoseconds)
    dayEnd = end
  }

  /// Makes the bucket refill gradually, since the vendor's headers show that its day does.
  mutating func refillGradually(at now: Instant) {
    guard isDays else { return }
    refill(at: now)
    dayToldAt = min(dayToldAt, now.nanoseconds)
    dayEnd = nil
  }

  /// Sets when the day ends; `begins` is true where a new day has begun.
  mutating func setDay(end: Instant, begins: Bool, at now: Instant) {
    guard dayEnd != nil, !isDayTold else { return }
    refill(at: now)
    // The same end within the drift of two clocks: this day has already begun here.
    let isKnown = dayEnd.map { max($0, end) <= min($0, end) + .seconds(2) } ?? false
    dayEnd = end
    if begins, !isKnown { level = capacity }
  }

  /// True where a reservation of `units` is possible; a request larger than the bucket needs the whole bucket.
  /// - Parameter kept: units that must stay for others; a request larger than the rest needs the rest only.
  func isCovered(_ units: Int64, keeping kept: Int64, at now: Instant) -> Bool {
    units <= 0 || (capacity > 0 && available(at: now) >= need(units, keeping: kept))
  }

  private func need(_ units: Int64, keeping kept: Int64) -> Int64 {
    let kept = min(max(0, kept), capacity)
    return kept + min(units, capacity - kept)
  }

  /// When `isCovered` becomes true if nothing else is taken.
  func instantCovered(_ units: Int64, keeping kept: Int64, at now: Instant) -> Instant {
    guard units > 0 else { return now }
    guard capacity > 0 else { return .distantFuture }
    let (level, fraction) = refilled(at: now)
    let missing = need(units, keeping: kept) - level
    guard missing > 0 else { return now }
    if let dayEnd { return max(dayEnd, now) }
    let work = Int128(missing) * Int128(period) - Int128(fraction)
    return max(now, updated) + Span(nanoseconds: Int64(clamping: (work + Int128(limit) - 1) / Int128(limit)))
  }

  /// When the bucket is full if nothing else is taken; nil where it is full.
  func instantFull(at now: Instant) -> Instant? {
    isFull(at: now) ? nil : instantCovered(capacity, keeping: 0, at: now)
  }

  /// Units that flow in each minute.
  var perMinute: Int64 { Int64(clamping: Int128(limit) * 60_000_000_000 / Int128(period)) }

  /// Takes the units and returns how many were taken: at most a whole period's, which is the whole bucket unless it has
  /// a burst.
  mutating func reserve(_ units: Int64, at now: Instant) -> Int64 {
    refill(at: now)
    let taken = min(max(0, units), limit)
    if delay > .zero, taken > 0 { begin(refillAfter: now + delay) }
    level &-= taken
    return taken
  }

  /// Puts the refill off where the bucket, if nothing were taken, would be full before `earliest`.
  private mutating func begin(refillAfter earliest: Instant) {
    let missing = Int128(capacity - level) * Int128(period) - Int128(fraction)
    guard missing < Int128(delay.nanoseconds) * Int128(limit) else { return }
    let full = updated + Span(nanoseconds: Int64(missing / Int128(limit)))
    if full < earliest { updated = updated + (earliest - full) }
  }

  /// Corrects a reservation: returns `taken` and charges `actual`, as debt where it is not available.
  mutating func settle(taken: Int64, actual: Int64, at now: Instant) {
    refill(at: now)
    level = min(capacity, max(floor, level.saturatingAdding(taken).saturatingSubtracting(actual)))
    if level == capacity { fraction = 0 }
  }

  /// Takes `units` more, as debt where they are not available. Returns how many were taken, at most what the bound on
  /// debts allows.
  mutating func charge(_ units: Int64, at now: Instant) -> Int64 {
    refill(at: now)
    let taken = min(max(0, units), level - floor)
    level -= taken
    return taken
  }

  /// Sets a new limit. What was used stays used, so that a raise adds the difference at once and a cut takes it.
  mutating func resize(_ new: Int64, burst: Span? = nil, at now: Instant) {
    refill(at: now)
    let used = capacity - level
    limit = Self.bounded(new)
    capacity = Self.capacity(rate, limit, burst)
    delay = startsLate ? Self.delay(rate, limit, capacity) : .zero
    level = max(floor, capacity - used)
    if level == capacity { fraction = 0 }
  }

  /// The provider says that this much is left: lowers the level at once.
  mutating func lower(to remaining: Int64, at now: Instant) {
    refill(at: now)
    if remaining < level {
      level = max(floor, remaining)
      fraction = 0
    }
  }

  /// Sets the level, which is known from elsewhere.
  mutating func set(to units: Int64, at now: Instant) {
    refill(at: now)
    level = min(capacity, max(floor, units))
    fraction = 0
  }

  /// The provider says that more is left than we think: forgives a debt as far as it knows of none, since a debt keeps
  /// back the very calls whose answers would say more, and gives back `share` / 16 of the rest of the difference.
  /// Returns by how much the level has risen.
  @discardableResult
  mutating func raise(towards remaining: Int64, share: Int64, at now: Instant) -> Int64 {
    refill(at: now)
    let target = min(remaining, capacity)
    guard target > level else { return 0 }
    let before = level
    level = max(level, min(target, 0))
    level += (target - level) * share / 16
    return level - before
  }

  /// The same bucket, full at an earlier moment.
  func full(at earlier: Instant) -> TokenBucket {
    var bucket = self
    bucket.level = capacity
    bucket.fraction = 0
    bucket.updated = earlier
    return bucket
  }

  func isFull(at now: Instant) -> Bool { available(at: now) >= capacity }
}
