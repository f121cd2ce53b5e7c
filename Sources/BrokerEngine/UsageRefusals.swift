// Providers that do not know `stream_options`: for an hour their streams are not asked for usage.

struct UsageRefusals {
  private static let rest: UInt64 = 3600 * 1_000_000_000
  /// By provider, the monotonic nanoseconds until which it is not asked again.
  private var until: [String: UInt64] = [:]

  mutating func add(_ provider: String, at now: UInt64) { until[provider] = now &+ Self.rest }

  func mayAsk(_ provider: String, at now: UInt64) -> Bool {
    guard let until = until[provider] else { return true }
    return now >= until
  }
}
