// Lengths of waits, counted in buckets, so that percentiles of any period are computed by adding counts.
//
// Promise: a percentile differs by less than 10 % from that of the waits themselves. A wait below 0.1 ms counts as none,
// and one above 11 days as 11 days. The bounds are stored with the counts, as positions: they never change.

public enum WaitBuckets {
  /// The first wait of each bucket in microseconds: 0, 100, 120, 144 ... Each is a fifth above the one before.
  public static let bounds: [Int64] = {
    var bounds: [Int64] = [0]
    var bound: Int64 = 100
    while bound < 1_000_000_000_000 {
      bounds.append(bound)
      bound += (bound + 4) / 5
    }
    return bounds
  }()

  /// The position of the bucket of a wait.
  public static func position(_ microseconds: Int64) -> Int {
    var (low, high) = (0, bounds.count)
    while high - low > 1 {
      let middle = (low + high) / 2
      if bounds[middle] <= microseconds { low = middle } else { high = middle }
    }
    return low
  }

  /// The wait in seconds for which a bucket stands: the geometric middle of its bounds.
  public static func seconds(_ position: Int) -> Double {
    guard position > 0 else { return 0 }
    guard position < bounds.count - 1 else { return Double(bounds[bounds.count - 1]) / 1e6 }
    return (Double(bounds[position]) * Double(bounds[position + 1])).squareRoot() / 1e6
  }
}

/// How many waits were in each bucket.
public struct WaitCounts: Sendable, Equatable {
  public private(set) var counts = [Int64](repeating: 0, count: WaitBuckets.bounds.count)
  private var total: Int64 = 0

  public init() {}

  /// Positions outside the buckets, from a damaged file, count as the nearest.
  public mutating func add(_ count: Int64, at position: Int64) {
    let index = Int(min(max(0, position), Int64(counts.count - 1)))
    counts[index] = counts[index].saturatingAdding(max(0, count))
    total = total.saturatingAdding(max(0, count))
  }

  /// The wait in seconds that so many percent of the waits do not exceed; nil where there are none.
  public func percentile(_ percent: Int64) -> Double? {
    guard total > 0 else { return nil }
    // Without the product of both, which may not fit.
    let rank = max(1, total / 100 * percent + (total % 100 * percent + 99) / 100)
    var seen: Int64 = 0
    for (position, count) in counts.enumerated() {
      seen = seen.saturatingAdding(count)
      if seen >= rank { return WaitBuckets.seconds(position) }
    }
    return WaitBuckets.seconds(counts.count - 1)
  }
}
