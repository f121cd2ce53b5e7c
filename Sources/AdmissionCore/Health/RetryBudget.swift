// Retries as a share of requests, so that a failing provider is not hit by a multiple of its load.
//
// Each first try adds `percent` of a retry, each retry takes one away. The budget starts with ten and gains one a
// second up to ten, so that a quiet broker may retry too; at most a hundred are saved up.

struct RetryBudget: Sendable {
  private static let retry: Int64 = 100
  private var balance: Int64 = 10 * RetryBudget.retry
  private var updated: Instant?

  mutating func deposit(percent: Int) {
    balance = min(balance + Int64(percent), 100 * Self.retry)
  }

  /// Takes one retry; false where none is left.
  mutating func withdraw(at now: Instant) -> Bool {
    let last = updated ?? now
    let seconds = (now - last).nanoseconds / 1_000_000_000
    if seconds > 0 || updated == nil {
      if balance < 10 * Self.retry { balance = min(10 * Self.retry, balance + min(seconds, 10) * Self.retry) }
      updated = last + .seconds(seconds)
    }
    guard balance >= Self.retry else { return false }
    balance -= Self.retry
    return true
  }
}
