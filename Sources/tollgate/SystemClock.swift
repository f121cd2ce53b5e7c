// The clocks of the operating system, in nanoseconds.
import Foundation

enum SystemClock {
  /// Since 1970.
  static func wall() -> Int64 { nanoseconds(CLOCK_REALTIME) }

  static func nanoseconds(_ clock: clockid_t) -> Int64 {
    var time = timespec()
    clock_gettime(clock, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
  }
}
