// When a request without an answer is sent a second time: one rule for all carriers of calls.
//
// When a provider closes an idle kept-alive connection while a request is on its way, it has not processed that
// request, and the connection ends at once. If the connection ends later, the provider has worked on the request and
// will charge for it.

enum SecondSending {
  /// A connection that ends within this many nanoseconds after the last byte of a request has ended "at once".
  static let moment: UInt64 = 1_000_000_000

  /// True where the provider has had the whole request long enough to have worked on it.
  /// - Parameters:
  ///   - wholeAt: when the last byte of the request was sent; nil before that.
  ///   - now: when the connection ended, on the same clock.
  static func hadTime(wholeAt: UInt64?, now: UInt64, moment: UInt64) -> Bool {
    guard let wholeAt, now > wholeAt else { return false }
    return now - wholeAt > moment
  }

  /// True where a request is sent again whose connection ended without a byte of the answer.
  /// - Parameter isReused: true where the connection had served a call before.
  static func isDue(isReused: Bool, isIdempotent: Bool, hadTime: Bool) -> Bool {
    isReused && (isIdempotent || !hadTime)
  }
}

/// True where sending a request of this method twice has the same effect as once (RFC 9110 section 9.2.2).
func isIdempotentMethod(_ method: String) -> Bool {
  switch method {
  case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE": true
  default: false
  }
}
