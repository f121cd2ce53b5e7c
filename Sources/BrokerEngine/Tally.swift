// Counts by labels: one value for each combination of labels that has occurred.

/// Remembers which labels were counted last: mostly the next request has the same, and comparing texts that are the same in memory is much
/// cheaper than hashing them. There are as many rows as combinations; who counts keeps them bounded.
public struct Tally<Labels: Hashable & Sendable, Value: Sendable>: Sendable, Sequence {
  public typealias Row = (key: Labels, value: Value)

  /// In the order in which the combinations first occurred.
  private var rows: [Row] = []
  private var places: [Labels: Int] = [:]
  /// The place of the row that was counted last.
  private var latest = 0

  public init() {}

  public func makeIterator() -> IndexingIterator<[Row]> { rows.makeIterator() }

  public var values: [Value] { rows.map(\.value) }
  /// How many combinations have occurred.
  public var rowCount: Int { rows.count }
  /// The labels of a row, by their order.
  public func labels(at row: Int) -> Labels { rows[row].key }

  /// nil for labels that have not occurred.
  public subscript(labels: Labels) -> Value? { places[labels].map { rows[$0].value } }

  /// Changes the value of these labels.
  /// - Parameter first: the value from which new labels start.
  @inline(__always) mutating func count(
    _ labels: Labels, from first: @autoclosure () -> Value, _ change: (inout Value) -> Void
  ) {
    if latest >= rows.count || rows[latest].key != labels { find(labels, first()) }
    change(&rows[latest].value)
  }

  private mutating func find(_ labels: Labels, _ first: Value) {
    if let known = places[labels] {
      latest = known
    } else {
      latest = rows.count
      places[labels] = latest
      rows.append((labels, first))
    }
  }
}

extension Tally where Value == Int {
  mutating func add(_ labels: Labels) { count(labels, from: 0) { $0 += 1 } }
}
