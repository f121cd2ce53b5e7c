// A provider's real limits, learned from its answers.
//
// Per minute: a lower limit or remainder in a header counts at once, a higher one moves a quarter of the way; the
// operator's own limit is never passed. Concurrency: a 429 from a provider that tells no numbers halves what was
// running; then one more per success up to just under the number at which it was refused. There it holds for a round of
// successes before it tries one more; each refusal near the same number makes the hold four times as long. So the
// broker stays near a hidden limit and touches it rarely, where plain halving would use three quarters of it; and a 429
// that had another cause is soon forgotten.

struct QuotaLearner: Sendable {
  /// Learned limits per minute; nil where nothing is known.
  private(set) var perMinute: [Int64?] = [nil, nil, nil, nil]
  private(set) var concurrency: Int?
  /// The most that was running without a refusal.
  private var ceiling = Int.max
  private var successes = 0
  /// What was running at the first refusal of a burst, and how many of them were refused.
  private var burst = 0
  private var refusals = 0
  private var lastReading: Instant?

  /// Rounds of successes at the ceiling before one more is tried.
  private var hold = 1

  static let mostConcurrency = 1024
  static let longestHold = 256

  /// Whether the provider has lately told numbers.
  func tellsNumbers(at now: Instant) -> Bool { lastReading.map { now - $0 < .seconds(60) } ?? false }

  /// Readings that can be true.
  static func isSensible(_ reading: ObservedLimits.Reading) -> Bool {
    if let limit = reading.limit, limit <= 0 || limit > 1 << 50 { return false }
    if let remaining = reading.remaining {
      if remaining < 0 || remaining > 1 << 50 { return false }
      if let limit = reading.limit, remaining > limit { return false }
    }
    return reading.limit != nil || reading.remaining != nil
  }

  /// Takes in a limit. Returns the limit now in force where it changed.
  mutating func observe(limit: Int64?, of dimension: Dimension, at now: Instant) -> Int64? {
    lastReading = now
    guard let limit else { return nil }
    let index = Int(dimension.rawValue)
    guard let known = perMinute[index] else {
      perMinute[index] = limit
      return limit
    }
    guard limit != known else { return nil }
    let next = limit < known ? limit : known + max(1, (limit - known) / 4)
    perMinute[index] = next
    return next
  }

  /// A 429 without numbers. Returns the new limit; nil where the call was alone, which tells nothing about concurrency.
  /// - Parameter isFirst: false for calls that were refused together with an earlier one: each tells that one less was let
  ///   in.
  mutating func refused(running: Int, isFirst: Bool) -> Int? {
    guard running > 1 || !isFirst else { return nil }
    if isFirst || burst == 0 {
      // Refused again where it was refused before: concurrency is what is short. Elsewhere it may be something else.
      let isNear = ceiling < Int.max && abs(running - 1 - ceiling) * 8 <= ceiling + 8
      hold = isNear ? min(Self.longestHold, hold * 4) : 1
      burst = running
      refusals = 0
    }
    refusals += 1
    ceiling = max(1, burst - refusals)
    let next = max(1, min(burst / 2, ceiling))
    concurrency = min(next, concurrency ?? next)
    successes = 0
    return concurrency
  }

  /// A call went well while `running` were. Returns true where the limit changed; it is nil again when it has outgrown
  /// all use.
  mutating func succeeded(running: Int) -> Bool {
    // What is not used up teaches nothing.
    guard let limit = concurrency, running >= limit else { return false }
    successes += 1
    // Quickly to where it was well before; there it holds; beyond, one more for each round.
    let needed = limit < ceiling ? 1 : limit == ceiling ? hold * limit : limit
    guard successes >= needed else { return false }
    successes = 0
    concurrency = limit + 1 >= Self.mostConcurrency ? nil : limit + 1
    return true
  }

  /// The operator's limits, tightened by what was learned.
  func effective(_ limits: Limits) -> Limits {
    limits.tightened(
      by: Limits(
        concurrency: concurrency, requestsPerMinute: perMinute[0], inputTokensPerMinute: perMinute[1],
        outputTokensPerMinute: perMinute[2], tokensPerMinute: perMinute[3]))
  }
}
