// Counts frames that cost us work but the peer nothing (PING, SETTINGS, RST_STREAM, PRIORITY, empty DATA): a peer that
// sends them faster than any honest one is cut off. This stops rapid reset (CVE-2023-44487) and the floods of 2019
// (CVE-2019-9512 and others).

/// A bucket that is full at first and refills steadily.
public struct ControlFrameMeter: Sendable {
  private let burst: Double
  private let perSecond: Double
  private var left: Double
  private var last: UInt64

  /// - Parameters:
  ///   - burst: frames that may come at once.
  ///   - perSecond: frames per second in the long run.
  ///   - now: nanoseconds of a monotonic clock.
  public init(burst: Int, perSecond: Int, now: UInt64) {
    self.burst = Double(burst)
    self.perSecond = Double(perSecond)
    left = Double(burst)
    last = now
  }

  /// True for HTTP/2 frames that ask for nothing (RFC 9113 section 6): PRIORITY, RST_STREAM, SETTINGS, PING, and DATA
  /// with neither bytes nor the end of the stream. WINDOW_UPDATE is not counted, since it answers what was sent.
  public static func counts(type: UInt8, length: Int, flags: UInt8) -> Bool {
    switch type {
    case 0: length == 0 && flags & 1 == 0
    case 2, 3, 4, 6: true
    default: false
    }
  }

  /// Counts one frame; false where it is one too many.
  public mutating func admit(now: UInt64) -> Bool {
    if now > last {
      left = min(burst, left + Double(now - last) / 1e9 * perSecond)
      last = now
    }
    left -= 1
    return left >= 0
  }
}
