// The core's time: a count of nanoseconds that the shell hands in. The core never reads a clock.

/// A moment on the shell's monotonic clock, in nanoseconds since an arbitrary start.
public struct Instant: Hashable, Comparable, Sendable {
  public var nanoseconds: Int64

  public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }
  public static let distantFuture = Instant(nanoseconds: .max)

  public static func < (left: Instant, right: Instant) -> Bool { left.nanoseconds < right.nanoseconds }
  /// Saturates at the ends of the range.
  public static func + (left: Instant, right: Span) -> Instant {
    let (sum, overflow) = left.nanoseconds.addingReportingOverflow(right.nanoseconds)
    return Instant(nanoseconds: overflow ? (right.nanoseconds < 0 ? .min : .max) : sum)
  }
  public static func - (left: Instant, right: Instant) -> Span {
    let (difference, overflow) = left.nanoseconds.subtractingReportingOverflow(right.nanoseconds)
    return Span(nanoseconds: overflow ? (right.nanoseconds < 0 ? .max : .min) : difference)
  }
}

/// A length of time in whole nanoseconds. `Swift.Duration` counts attoseconds in 128 bits, which is costly on the hot
/// path.
public struct Span: Hashable, Comparable, Sendable {
  public var nanoseconds: Int64

  public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }
  public static let zero = Span(nanoseconds: 0)
  public static func seconds(_ value: Int64) -> Span {
    Span(nanoseconds: value.saturatingMultiplied(by: 1_000_000_000))
  }
  public static func milliseconds(_ value: Int64) -> Span {
    Span(nanoseconds: value.saturatingMultiplied(by: 1_000_000))
  }
  public static func < (left: Span, right: Span) -> Bool { left.nanoseconds < right.nanoseconds }

  /// Whole milliseconds, rounded down.
  public var wholeMilliseconds: Int64 { nanoseconds / 1_000_000 }
  public var inSeconds: Double { Double(nanoseconds) / 1e9 }
}
