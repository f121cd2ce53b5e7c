// Permits of one provider, model, key or tenant.
//
// Promise: `inUse` is the number of takes less the number of releases that are over; a released permit stays counted
// for the settle lag, for providers that notice late that a call has ended.

import DequeModule

struct ConcurrencyLimiter: Sendable {
  /// nil is no limit.
  var limit: Int?
  /// True where the limit was found by being refused: a guess from which nothing is kept for the bands above.
  var isLearned = false
  /// Permits of running calls, by `Priority.rawValue`.
  private(set) var runningByBand: (Int, Int, Int) = (0, 0, 0)
  /// Permits that are released but still counted.
  private var lagging: Deque<Instant> = []

  init(limit: Int?) { self.limit = limit }

  /// Of running calls, and lagging ones.
  var inUse: Int { runningByBand.0 + runningByBand.1 + runningByBand.2 + lagging.count }
  var running: Int { runningByBand.0 + runningByBand.1 + runningByBand.2 }

  func running(in band: Int) -> Int { band == 0 ? runningByBand.0 : band == 1 ? runningByBand.1 : runningByBand.2 }

  mutating func take(in band: Int) { add(1, to: band) }

  /// - Parameter lag: how long the permit stays counted.
  mutating func release(in band: Int, lag: Span, at now: Instant) {
    add(-1, to: band)
    // Also without a limit: one may be set or learned while it lags.
    guard lag > .zero else { return }
    let end = now + lag
    // The lag may have been shortened; the order of the queue is that of release.
    lagging.append(max(end, lagging.last ?? end))
  }

  /// Forgets lagging permits whose time has come. Returns true where one was freed.
  mutating func expire(at now: Instant) -> Bool {
    var freed = false
    while let first = lagging.first, first <= now {
      lagging.removeFirst()
      freed = true
    }
    return freed
  }

  /// When the next lagging permit is freed.
  var nextExpiry: Instant? { lagging.first }

  private mutating func add(_ count: Int, to band: Int) {
    switch band {
    case 0: runningByBand.0 += count
    case 1: runningByBand.1 += count
    default: runningByBand.2 += count
    }
  }
}
