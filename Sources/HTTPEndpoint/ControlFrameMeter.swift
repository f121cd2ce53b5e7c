// Counts frames that cost us work and a client nothing (PING, SETTINGS, RST_STREAM, PRIORITY, empty DATA): a client
// that sends them faster than any honest one is cut off. Rapid reset (CVE-2023-44487) and the floods of 2019
// (CVE-2019-9512 and its kin) end here.

/// A bucket that is full at first and refills steadily.
struct ControlFrameMeter {
  private let burst: Double
  private let perSecond: Double
  private var left: Double
  private var last: UInt64

  init(burst: Int, perSecond: Int, now: UInt64) {
    self.burst = Double(burst)
    self.perSecond = Double(perSecond)
    left = Double(burst)
    last = now
  }

  /// Counts one frame; false where it is one too many.
  mutating func admit(now: UInt64) -> Bool {
    if now > last {
      left = min(burst, left + Double(now - last) / 1e9 * perSecond)
      last = now
    }
    left -= 1
    return left >= 0
  }
}
