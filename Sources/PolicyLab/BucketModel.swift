// A continuous token bucket in exact whole numbers: the reference for the core's buckets, and what the simulated
// providers enforce. It is separate from `AdmissionCore` on purpose: it shares no code with what it judges.
import AdmissionCore

/// A bucket of `capacity` units that refills by its capacity each minute. The level may fall below zero (a debt).
public struct BucketModel: Sendable {
  /// One unit in the scale of `level`: a unit times the nanoseconds of a minute, so that a refill is a whole number.
  private static let unit: Int64 = 60_000_000_000

  /// The capacity in units, which is also the refill per minute; 0...100,000,000.
  public private(set) var capacity: Int64
  private var level: Int64
  private var asOf: Instant

  /// Full at `now`.
  public init(capacity: Int64, at now: Instant) {
    self.capacity = min(capacity, 100_000_000)
    level = self.capacity * Self.unit
    asOf = now
  }

  private func level(at now: Instant) -> Int64 {
    guard now > asOf else { return level }
    let full = capacity * Self.unit
    let (gain, overflow) = (now - asOf).nanoseconds.multipliedReportingOverflow(by: capacity)
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
    guard capacity > 0 else { return nil }
    return now + Span(nanoseconds: (missing + capacity - 1) / capacity)
  }

  /// Sets a new capacity and keeps the highest plausible level: the same, the same in proportion, or raised by the
  /// difference.
  public mutating func resizeGenerously(to new: Int64, at now: Instant) {
    refill(at: now)
    let old = capacity
    capacity = min(new, 100_000_000)
    let units = old > 0 ? Int64(Double(level) / Double(old) * Double(capacity)) : capacity * Self.unit
    level = min(capacity * Self.unit, max(level, units, level + (capacity - old) * Self.unit))
  }
}

/// The buckets of one set of limits, by dimension.
public struct BucketModels: Sendable {
  public var byDimension: [BucketModel?]

  public init(_ limits: Limits, at now: Instant) {
    byDimension = Dimension.allCases.map { dimension in
      limits.perMinute(dimension).map { BucketModel(capacity: $0, at: now) }
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

  /// `charge` with no part above its bucket's capacity.
  public func clamped(_ charge: Charge) -> Charge {
    var result = charge
    for index in 0..<4 {
      if let capacity = byDimension[index]?.capacity { result[index] = min(charge[index], capacity) }
    }
    return result
  }

  public mutating func resizeGenerously(to limits: Limits, at now: Instant) {
    for dimension in Dimension.allCases {
      let index = Int(dimension.rawValue)
      guard let capacity = limits.perMinute(dimension) else {
        byDimension[index] = nil
        continue
      }
      if byDimension[index] == nil {
        byDimension[index] = BucketModel(capacity: capacity, at: now)
      } else {
        byDimension[index]?.resizeGenerously(to: capacity, at: now)
      }
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
