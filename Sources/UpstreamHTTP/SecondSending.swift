// When a request that got no answer goes out a second time: one rule for whatever carries calls.
//
// A provider closes a kept-alive connection for its idle time while a request is on its way, and has not looked at that request: the
// connection then ends at once. One that ends later was at work on the request, and will charge for it.

enum SecondSending {
  /// Up to this long behind the last byte of a request its connection has ended at once, in nanoseconds.
  static let moment: UInt64 = 1_000_000_000

  /// True where the provider had all of the request for so long that it may have worked on it.
  /// - Parameters:
  ///   - wholeAt: when the last byte of the request had gone out; nil before.
  ///   - now: when the connection ended, on the same clock.
  static func hadTime(wholeAt: UInt64?, now: UInt64, moment: UInt64) -> Bool {
    guard let wholeAt, now > wholeAt else { return false }
    return now - wholeAt > moment
  }

  /// Whether a request goes out again whose connection ended without a byte of the answer.
  /// - Parameter isReused: the connection had served a call before.
  static func isDue(isReused: Bool, isIdempotent: Bool, hadTime: Bool) -> Bool {
    isReused && (isIdempotent || !hadTime)
  }
}

/// Whether sending a request of this method twice means the same as once (RFC 9110 section 9.2.2).
func isIdempotentMethod(_ method: String) -> Bool {
  switch method {
  case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE": true
  default: false
  }
}
