// The clocks of the operating system, in nanoseconds.
import Foundation

enum SystemClock {
  /// The first of the year 2200: a clock that says later is wrong, and windows of a year beyond it must still be numbers.
  private static let last: Int64 = 7_258_118_400

  /// Since 1970, and not after the year 2200.
  static func wall() -> Int64 { nanoseconds(CLOCK_REALTIME) }

  static func nanoseconds(_ clock: clockid_t) -> Int64 {
    var time = timespec()
    clock_gettime(clock, &time)
    return min(max(Int64(time.tv_sec), -last), last) * 1_000_000_000 + Int64(time.tv_nsec)
  }
}
