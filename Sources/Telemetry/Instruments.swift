// Metrics as OpenTelemetry has them: what was counted since the start, by the properties of what was counted.
//
// Promise: an instrument has at most `most` combinations of properties; what comes beyond is counted together.

/// How values spread, with fixed bounds.
public struct Distribution: Hashable, Sendable {
  /// Upper bounds, ascending, each within its bucket; the last bucket has what lies above them.
  public let bounds: [Double]
  public private(set) var counts: [Int]
  public private(set) var sum: Double

  public init(bounds: [Double]) {
    self.init(bounds: bounds, counts: Array(repeating: 0, count: bounds.count + 1), sum: 0)
  }

  /// - Parameter counts: one more than bounds.
  public init(bounds: [Double], counts: [Int], sum: Double) {
    self.bounds = bounds
    self.counts = counts
    self.sum = sum
  }

  public var count: Int { counts.reduce(0, +) }

  /// Numbers that are none are not counted.
  public mutating func record(_ value: Double) {
    guard value.isFinite else { return }
    var bucket = 0
    while bucket < bounds.count, value > bounds[bucket] { bucket += 1 }
    counts[bucket] += 1
    sum += value
  }
}

/// A metric with its points, ready to be told.
public struct Metric: Hashable, Sendable {
  public struct Point<Value: Hashable & Sendable>: Hashable, Sendable {
    public var attributes: [Attribute]
    public var value: Value
    public init(_ attributes: [Attribute], _ value: Value) {
      self.attributes = attributes
      self.value = value
    }
  }
  public enum Points: Hashable, Sendable {
    /// Since the start.
    case distributions([Point<Distribution>])
    /// Now, of something that rises and falls.
    case levels([Point<Int>])
  }
  public var name: String
  public var unit: String
  public var help: String
  public var points: Points
  /// Since when it was counted, in nanoseconds since 1970, where that is another time than that of the other metrics.
  public var since: Int64?
  public init(_ name: String, unit: String, help: String, _ points: Points) {
    self.name = name
    self.unit = unit
    self.help = help
    self.points = points
  }

  public var pointCount: Int {
    switch points {
    case .distributions(let points): points.count
    case .levels(let points): points.count
    }
  }
}

/// Counts the values of one metric.
public struct Instrument: Sendable {
  /// What OpenTelemetry's own libraries allow.
  public static let most = 2_000
  static let overflow = [Attribute("otel.metric.overflow", true)]

  private let name: String
  private let unit: String
  private let help: String
  private let bounds: [Double]
  private var rows: [Metric.Point<Distribution>] = []
  private var places: [[Attribute]: Int] = [:]

  public init(_ name: String, unit: String, help: String, bounds: [Double]) {
    self.name = name
    self.unit = unit
    self.help = help
    self.bounds = bounds
  }

  /// - Parameter attributes: always in the same order.
  public mutating func record(_ value: Double, _ attributes: [Attribute]) {
    rows[place(of: attributes)].value.record(value)
  }

  private mutating func place(of attributes: [Attribute]) -> Int {
    if let place = places[attributes] { return place }
    // The last place is kept for what comes beyond.
    if rows.count >= Instrument.most - 1, attributes != Instrument.overflow { return place(of: Instrument.overflow) }
    rows.append(Metric.Point(attributes, Distribution(bounds: bounds)))
    places[attributes] = rows.count - 1
    return rows.count - 1
  }

  public var metric: Metric { Metric(name, unit: unit, help: help, .distributions(rows)) }
}
