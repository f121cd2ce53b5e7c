// Counts waits in classes that grow with the wait, fine enough for percentiles: eight to a doubling.
//
// Promises: counting takes constant time without a search; a percentile is at most 7 % off, and waits under a
// millisecond count as none.
import AdmissionCore

struct WaitHistogram: Sendable, Equatable {
  /// The first class is for waits under 1.024 ms, the last one for those above 38 minutes.
  static let classes = 1 + 8 * 21
  /// 2^10 microseconds: where the second class begins.
  private static let firstExponent = 10

  private(set) var counts = [Int](repeating: 0, count: WaitHistogram.classes)

  mutating func count(_ wait: Span) { counts[Self.place(of: wait)] += 1 }

  static func place(of wait: Span) -> Int {
    let microseconds = UInt64(max(0, wait.nanoseconds)) / 1000
    guard microseconds >= 1 << firstExponent else { return 0 }
    let exponent = 63 - microseconds.leadingZeroBitCount
    let eighth = Int((microseconds >> (exponent - 3)) & 7)
    return min(classes - 1, 1 + (exponent - firstExponent) * 8 + eighth)
  }

  /// The middle of a class, in seconds.
  static func seconds(ofPlace place: Int) -> Double {
    guard place > 0 else { return 0 }
    let (exponent, eighth) = ((place - 1) / 8 + firstExponent, (place - 1) % 8)
    let width = Double(UInt64(1) << exponent) / 8
    return (Double(UInt64(1) << exponent) + (Double(eighth) + 0.5) * width) / 1e6
  }

  /// The wait, in seconds, that this share of the counted waits does not exceed; nil where none was counted.
  /// - Parameter share: in percent, 1 to 100.
  static func percentile(_ share: Int, of counts: [Int]) -> Double? {
    let all = counts.reduce(0, +)
    guard all > 0 else { return nil }
    // The rank of the wait, counted from one: the smallest that at least this share do not exceed.
    let rank = max(1, (all * share + 99) / 100)
    var seen = 0
    for (place, count) in counts.enumerated() {
      seen += count
      if seen >= rank { return seconds(ofPlace: place) }
    }
    return nil
  }
}
