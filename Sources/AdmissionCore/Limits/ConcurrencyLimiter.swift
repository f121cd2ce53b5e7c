// Permits of one provider, model, key or tenant.
//
// Promise: `inUse` is the number of takes minus the number of releases whose lag is over: a released permit stays
// counted for the settle lag, for providers that notice late that a call has ended.

import DequeModule

struct ConcurrencyLimiter: Sendable {
  /// nil means no limit.
  var limit: Int?
  /// True where the limit was learned from refusals: it is a guess, of which nothing is reserved for the bands above.
  var isLearned = false
  /// Permits of running calls, by `Priority.rawValue`.
  private(set) var runningByBand: (Int, Int, Int) = (0, 0, 0)
  /// When each permit stops counting that was released but lags.
  private var lagging: Deque<Instant> = []

  init(limit: Int?) { self.limit = limit }

  /// Permits of running calls and lagging ones.
  var inUse: Int { runningByBand.0 + runningByBand.1 + runningByBand.2 + lagging.count }
  var running: Int { runningByBand.0 + runningByBand.1 + runningByBand.2 }

  /// True where this many more calls may run.
  func hasFree(_ count: Int) -> Bool { limit.map { inUse + count <= $0 } ?? true }

  func running(in band: Int) -> Int { band == 0 ? runningByBand.0 : band == 1 ? runningByBand.1 : runningByBand.2 }

  mutating func take(in band: Int) { add(1, to: band) }

  /// - Parameter lag: how long the permit stays counted.
  mutating func release(in band: Int, lag: Span, at now: Instant) {
    add(-1, to: band)
    // Even without a limit, since one may be set or learned during the lag.
    guard lag > .zero else { return }
    let end = now + lag
    // The lag may have been shortened, but permits are freed in the order of release.
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
