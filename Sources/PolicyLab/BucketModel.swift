// A continuous token bucket in exact whole numbers: the reference for the core's buckets, and what the simulated
// providers enforce. It is separate from `AdmissionCore` on purpose: it shares no code with what it judges.
import AdmissionCore

/// A bucket that refills by `perMinute` units each minute, up to `capacity` units. The level may fall below zero (a
/// debt).
public struct BucketModel: Sendable {
  /// One unit in the scale of `level`: a unit times the nanoseconds of a minute, so that a refill is a whole number.
  private static let unit: Int64 = 60_000_000_000

  /// The refill in units per minute; 0...100,000,000.
  public private(set) var perMinute: Int64
  /// What may go at once, in units: a minute's refill, or less where the limit has a burst.
  public private(set) var capacity: Int64
  private var level: Int64
  private var asOf: Instant

  /// Full at `now`.
  /// - Parameter burst: the time in which the bucket refills; nil is a minute.
  public init(perMinute: Int64, burst: Span? = nil, at now: Instant) {
    self.perMinute = min(perMinute, 100_000_000)
    capacity = Self.depth(self.perMinute, burst)
    level = capacity * Self.unit
    asOf = now
  }

  /// Rounded down, and at least one unit where anything is allowed.
  private static func depth(_ perMinute: Int64, _ burst: Span?) -> Int64 {
    guard let burst, burst.nanoseconds < unit, perMinute > 0 else { return perMinute }
    return max(1, Int64(Int128(perMinute) * Int128(burst.nanoseconds) / Int128(unit)))
  }

  private func level(at now: Instant) -> Int64 {
    guard now > asOf else { return level }
    let full = capacity * Self.unit
    let (gain, overflow) = (now - asOf).nanoseconds.multipliedReportingOverflow(by: perMinute)
    let (sum, overflowed) = level.addingReportingOverflow(gain)
    return overflow || overflowed ? full : min(full, sum)
  }

  private mutating func refill(at now: Instant) {
    level = level(at: now)
    asOf = max(asOf, now)
  }

  /// True where `need` units are available, or the bucket is full where `need` is more than it holds. `slack` units may
  /// be missing.
  public func covers(_ need: Int64, at now: Instant, slack: Int64 = 0, keeping reserve: Int64 = 0) -> Bool {
    level(at: now) >= (min(need, max(0, capacity - reserve)) + reserve - slack) * Self.unit
  }

  /// Takes `amount`, as debt where it is not available.
  public mutating func take(_ amount: Int64, at now: Instant) {
    refill(at: now)
    level -= amount * Self.unit
  }

  /// Gives `amount` back; the level never passes the capacity.
  public mutating func give(_ amount: Int64, at now: Instant) {
    refill(at: now)
    level = min(capacity * Self.unit, level + amount * Self.unit)
  }

  /// Gives `taken` back and takes `actual` in one step, so that the capacity bounds only the result.
  public mutating func settle(taken: Int64, actual: Int64, at now: Instant) {
    if taken >= actual { give(taken - actual, at: now) } else { take(actual - taken, at: now) }
  }

  /// Whole units available now, rounded down.
  public func available(at now: Instant) -> Int64 {
    let level = level(at: now)
    return level >= 0 ? level / Self.unit : -((-level + Self.unit - 1) / Self.unit)
  }

  /// When `need` units (or the whole bucket) will be available if nothing is taken; nil where that is never.
  public func instant(covering need: Int64, at now: Instant) -> Instant? {
    let missing = min(need, capacity) * Self.unit - level(at: now)
    if missing <= 0 { return now }
    guard perMinute > 0 else { return nil }
    return now + Span(nanoseconds: (missing + perMinute - 1) / perMinute)
  }

  /// Sets a new capacity and keeps the highest plausible level: the same, the same in proportion, or raised by the
  /// difference.
  public mutating func resizeGenerously(to new: Int64, burst: Span? = nil, at now: Instant) {
    refill(at: now)
    let old = capacity
    perMinute = min(new, 100_000_000)
    capacity = Self.depth(perMinute, burst)
    let units = old > 0 ? Int64(Double(level) / Double(old) * Double(capacity)) : capacity * Self.unit
    level = min(capacity * Self.unit, max(level, units, level + (capacity - old) * Self.unit))
  }
}

/// The buckets of one set of limits, by dimension.
public struct BucketModels: Sendable {
  public var byDimension: [BucketModel?]

  public init(_ limits: Limits, at now: Instant) {
    byDimension = Dimension.allCases.map { dimension in
      limits.perMinute(dimension).map { BucketModel(perMinute: $0, burst: limits.burst(dimension), at: now) }
    }
  }

  public var isEmpty: Bool { byDimension.allSatisfy { $0 == nil } }

  public func covers(_ charge: Charge, at now: Instant, slack: Int64 = 0, keepingBasisPoints: Int64 = 0) -> Bool {
    for index in 0..<4 where byDimension[index] != nil {
      let reserve = (byDimension[index]?.capacity ?? 0) * keepingBasisPoints / 10_000
      let need = charge[index]
      if need > 0, byDimension[index]?.covers(need, at: now, slack: slack, keeping: reserve) == false { return false }
    }
    return true
  }

  public mutating func take(_ charge: Charge, at now: Instant) {
    for index in 0..<4 where byDimension[index] != nil { byDimension[index]?.take(charge[index], at: now) }
  }

  public mutating func give(_ charge: Charge, at now: Instant) {
    for index in 0..<4 where byDimension[index] != nil { byDimension[index]?.give(charge[index], at: now) }
  }

  public mutating func settle(taken: Charge, actual: Charge, at now: Instant) {
    for index in 0..<4 where byDimension[index] != nil {
      byDimension[index]?.settle(taken: taken[index], actual: actual[index], at: now)
    }
  }

  /// `charge` with no part above what its bucket gets in a minute.
  public func clamped(_ charge: Charge) -> Charge {
    var result = charge
    for index in 0..<4 {
      if let most = byDimension[index]?.perMinute { result[index] = min(charge[index], most) }
    }
    return result
  }

  public mutating func resizeGenerously(to limits: Limits, at now: Instant) {
    for dimension in Dimension.allCases {
      let index = Int(dimension.rawValue)
      guard let limit = limits.perMinute(dimension) else {
        byDimension[index] = nil
        continue
      }
      if byDimension[index] == nil {
        byDimension[index] = BucketModel(perMinute: limit, burst: limits.burst(dimension), at: now)
      } else {
        byDimension[index]?.resizeGenerously(to: limit, burst: limits.burst(dimension), at: now)
      }
    }
  }
}

extension Limits {
  /// The burst of the limit per minute of one dimension; nil is a minute.
  fileprivate func burst(_ dimension: Dimension) -> Span? {
    switch dimension {
    case .requests: bursts[.requestsPerMinute]
    case .inputTokens: bursts[.inputTokensPerMinute]
    case .outputTokens: bursts[.outputTokensPerMinute]
    case .tokens: bursts[.tokensPerMinute]
    }
  }
}

/// Units by dimension.
public struct Charge: Sendable, Equatable {
  public var requests: Int64
  public var input: Int64
  public var output: Int64

  public init(requests: Int64, input: Int64, output: Int64) {
    self.requests = requests
    self.input = input
    self.output = output
    tokens = input + output
  }
  public var tokens: Int64

  public subscript(index: Int) -> Int64 {
    get {
      switch index {
      case 0: requests
      case 1: input
      case 2: output
      default: tokens
      }
    }
    set {
      switch index {
      case 0: requests = newValue
      case 1: input = newValue
      case 2: output = newValue
      default: tokens = newValue
      }
    }
  }

  public static func - (left: Charge, right: Charge) -> Charge {
    var result = left
    for index in 0..<4 { result[index] -= right[index] }
    return result
  }
}
