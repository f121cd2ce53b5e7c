// The clocks of the operating system, in nanoseconds.
import AdmissionCore
import Foundation

enum SystemClock {
  /// The begin of the year 2200: a later clock is wrong, and a window of a year after this still fits the numbers.
  private static let last: Int64 = 7_258_118_400_000_000_000

  /// Since 1970, and not after the year 2200.
  static func wall() -> Int64 { min(max(nanoseconds(CLOCK_REALTIME), -last), last) }

  static func nanoseconds(_ clock: clockid_t) -> Int64 {
    var time = timespec()
    clock_gettime(clock, &time)
    let (seconds, overflow) = Int64(time.tv_sec).multipliedReportingOverflow(by: 1_000_000_000)
    return overflow ? (time.tv_sec < 0 ? .min : .max) : seconds.saturatingAdding(Int64(time.tv_nsec))
  }
}
