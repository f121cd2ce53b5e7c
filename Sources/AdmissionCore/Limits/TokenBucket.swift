// A store of units that refills all the time: requests, input tokens, output tokens or both per second or minute. One per day
// without a burst refills at once when its day ends, as vendors' daily quotas do, unless the vendor's own words show another way.
//
// Promise: whole-number arithmetic, so that after any number of readings the level is exactly what one reading at the
// end would give (no drift); a reservation needs its units there, a correction does not: what was too little becomes a
// debt that the refill works off; what was too much returns at once; the level never passes the capacity, and a debt
// never five capacities: a longer one can only come of a number that is wrong. Why
// continuous: providers refill this way, and a window that resets at once would hand out two minutes in a moment.

struct TokenBucket: Sendable {
  let rate: RateLimit
  var dimension: Dimension { rate.dimension }
  /// Units that come in each period. 0 never grants anything.
  private(set) var limit: Int64
  /// Units when full.
  private(set) var capacity: Int64
  /// Nanoseconds.
  private let period: Int64
  /// When the day ends; nil for a bucket that refills all the time.
  private(set) var dayEnd: Instant?
  /// One by the day without a burst.
  let isDays: Bool
  /// The vendor has told how its day goes: no calendar of ours counts any more.
  private(set) var isDayTold = false
  /// Whole units at `updated`; negative is a debt.
  private var level: Int64
  /// The broken part of a unit at `updated`, in 1 / period: 0..<period.
  private var fraction: Int64 = 0
  private var updated: Instant

  /// Full at the start.
  /// - Parameters:
  ///   - burst: what may go at once, in time of refill; nil is all of the period.
  ///   - dayEnd: when the day ends, of limits by the day.
  init(_ rate: RateLimit, _ limit: Int64, burst: Span? = nil, dayEnd: Instant = .distantFuture, at now: Instant) {
    self.rate = rate
    self.limit = Self.bounded(limit)
    period = rate.period.nanoseconds
    capacity = Self.capacity(rate, self.limit, burst)
    isDays = rate.isPerDay && burst == nil
    self.dayEnd = isDays ? dayEnd : nil
    level = capacity
    updated = now
  }

  /// The largest limit whose debts and products fit: 10^15 units a period.
  private static func bounded(_ limit: Int64) -> Int64 { min(max(0, limit), 1_000_000_000_000_000) }
  static let deepestDebt: Int64 = 5
  private var floor: Int64 { -Self.deepestDebt * capacity }

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

  /// Units there now.
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
    // Until somebody says when the next one ends, days have 24 hours.
    if let end = dayEnd, now >= end {
      let days = (now - end).nanoseconds / period + 1
      dayEnd = end + Span(nanoseconds: days * period)
    }
  }

  /// When the vendor's day ends, by its own words.
  mutating func setDay(endAsTold end: Instant, at now: Instant) {
    guard isDays else { return }
    refill(at: now)
    isDayTold = true
    dayEnd = end
  }

  /// The vendor's words show that what was used of a day comes back all the time.
  mutating func refillGradually(at now: Instant) {
    guard isDays else { return }
    refill(at: now)
    isDayTold = true
    dayEnd = nil
  }

  /// When the day ends; `begins` where another one has begun.
  mutating func setDay(end: Instant, begins: Bool, at now: Instant) {
    guard dayEnd != nil, !isDayTold else { return }
    refill(at: now)
    // The same end within the drift of two clocks: that day has begun here already.
    let isKnown = dayEnd.map { max($0, end) <= min($0, end) + .seconds(2) } ?? false
    dayEnd = end
    if begins, !isKnown { level = capacity }
  }

  /// What a reservation of `units` needs: a request larger than the bucket takes the whole bucket.
  /// - Parameter kept: units that must stay for others; a request larger than the rest needs only the rest.
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
    return now + Span(nanoseconds: Int64(clamping: (work + Int128(limit) - 1) / Int128(limit)))
  }

  /// Takes the units and returns how many were taken: the whole bucket where the request is larger.
  mutating func reserve(_ units: Int64, at now: Instant) -> Int64 {
    refill(at: now)
    let taken = min(max(0, units), capacity)
    level &-= taken
    return taken
  }

  /// Corrects a reservation: `taken` returns, `actual` is charged, as debt where it is not there.
  mutating func settle(taken: Int64, actual: Int64, at now: Instant) {
    refill(at: now)
    level = min(capacity, max(floor, level.saturatingAdding(taken).saturatingSubtracting(actual)))
    if level == capacity { fraction = 0 }
  }

  /// Takes `units` more, as debt where they are not there. Returns how many were taken: no more than the debt allows.
  mutating func charge(_ units: Int64, at now: Instant) -> Int64 {
    refill(at: now)
    let taken = min(max(0, units), level - floor)
    level -= taken
    return taken
  }

  /// A new limit: what was used stays used, so that a raise gives at once what it adds and a cut takes it.
  mutating func resize(_ new: Int64, burst: Span? = nil, at now: Instant) {
    refill(at: now)
    let used = capacity - level
    limit = Self.bounded(new)
    capacity = Self.capacity(rate, limit, burst)
    level = max(floor, capacity - used)
    if level == capacity { fraction = 0 }
  }

  /// The provider says that this much is left: lower it at once.
  mutating func lower(to remaining: Int64, at now: Instant) {
    refill(at: now)
    if remaining < level {
      level = max(floor, remaining)
      fraction = 0
    }
  }

  /// What is there is known from elsewhere.
  mutating func set(to units: Int64, at now: Instant) {
    refill(at: now)
    level = min(capacity, max(floor, units))
    fraction = 0
  }

  /// The provider says that more is left than we think: give back `share` / 16 of the difference.
  mutating func raise(towards remaining: Int64, share: Int64, at now: Instant) {
    refill(at: now)
    let target = min(remaining, capacity)
    if target > level { level += (target - level) * share / 16 }
  }

  /// The same bucket as it was at an earlier moment, full.
  func full(at earlier: Instant) -> TokenBucket {
    var bucket = self
    bucket.level = capacity
    bucket.fraction = 0
    bucket.updated = earlier
    return bucket
  }

  func isFull(at now: Instant) -> Bool { available(at: now) >= capacity }
}
