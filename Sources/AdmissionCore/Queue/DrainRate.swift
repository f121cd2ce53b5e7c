// How fast the queue moves: the requests that left it for a provider in the last ten seconds. Used for `Retry-After`.
//
// Counts per second are kept in a ring, so that a grant costs one addition and no decay arithmetic is needed. If
// nothing has moved for ten seconds, the estimate comes from the running calls, each of which is assumed to be half
// done.

struct DrainRate: Sendable {
  private static let second: Int64 = 1_000_000_000
  private var counts: [Int32] = Array(repeating: 0, count: 10)
  private var current: Int64 = .min
  private var began: Instant?

  mutating func count(at now: Instant) {
    advance(to: now)
    counts[Self.slot(current)] += 1
  }

  private mutating func advance(to now: Instant) {
    let second = now.nanoseconds / Self.second
    if began == nil { began = now }
    guard second > current else { return }
    if current == .min || second - current >= 10 {
      for index in counts.indices { counts[index] = 0 }
    } else {
      for passed in (current + 1)...second { counts[Self.slot(passed)] = 0 }
    }
    current = second
  }

  private static func slot(_ second: Int64) -> Int { Int(((second % 10) + 10) % 10) }

  /// How long `ahead` requests will take at this rate: 1...60 s.
  /// - Parameters:
  ///   - running: the number of running calls; if nothing has moved and none runs, the result is 60 s.
  ///   - age: how long the running calls have run, on average.
  ///   - coming: the time until what the request waits for is available again (a bucket has refilled, a pause is over);
  ///     nil where that is not known. The result is never less.
  func estimate(ahead: Int, running: Int, age: Span, coming: Span? = nil, at now: Instant) -> Span {
    let second = now.nanoseconds / Self.second
    var moved: Int64 = 0
    if current != .min, second >= current {
      for passed in max(current - 9, second - 9)...max(current, second - 9) where passed <= current {
        moved += Int64(counts[Self.slot(passed)])
      }
    }
    let wait: Int128
    if moved > 0, let began {
      let observed = min(max((now - began).nanoseconds, Self.second), 10 * Self.second)
      wait = max(
        Int128(max(1, ahead)) * Int128(observed) / Int128(moved), Int128(coming?.nanoseconds ?? 0))
    } else if let coming {
      wait = Int128(max(1, ahead)) * Int128(coming.nanoseconds)
    } else if running > 0 {
      wait = Int128(max(1, ahead)) * 2 * Int128(max(age.nanoseconds, Self.second / 2)) / Int128(running)
    } else {
      return .seconds(60)
    }
    return Span(nanoseconds: min(max(Int64(clamping: wait), Self.second), 60 * Self.second))
  }
}
