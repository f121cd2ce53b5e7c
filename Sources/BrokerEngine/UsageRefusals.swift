// Providers that refuse `stream_options`: for an hour we do not ask for usage in their streams.

struct UsageRefusals {
  private static let rest: UInt64 = 3600 * 1_000_000_000
  /// For each provider, the monotonic nanoseconds until which we do not ask again.
  private var until: [String: UInt64] = [:]

  mutating func add(_ provider: String, at now: UInt64) { until[provider] = now &+ Self.rest }

  func mayAsk(_ provider: String, at now: UInt64) -> Bool {
    guard let until = until[provider] else { return true }
    return now >= until
  }
}
