// How fast the queue has been moving: requests that left it for a provider, over the last ten seconds. For
// `Retry-After`.
//
// Whole seconds in a ring, so that it costs one addition per grant and needs no decay arithmetic. Where nothing has moved
// for so long, the calls that run tell: each is taken to be half way.

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

  /// How long `ahead` requests take at this rate: 1...60 s.
  /// - Parameters:
  ///   - running: the calls that hold a place; where nothing has moved and none runs, it is 60 s.
  ///   - age: for how long they have run, in the mean.
  ///   - coming: until what one of them waits for is there again (a bucket has refilled, a pause is over); nil where that is not
  ///     known. Nobody goes before.
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
