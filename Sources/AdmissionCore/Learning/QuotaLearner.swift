// A provider's real limits, learned from its answers.
//
// Per minute: a lower limit or remainder in a header counts at once, a higher one moves ours a quarter of the way; the
// operator's own limit is never passed. Concurrency: a 429 from a provider that tells no numbers sets the limit to half
// of the running calls. Each success then adds one, up to just below the number at which a call was refused. There the
// limit stays for a round of successes before it tries one more, and four times as long after each refusal near the
// same number. So the broker stays near a hidden limit and seldom hits it, where plain halving would use three quarters
// of it; and a 429 that had another cause is soon forgotten. A refusal is not about concurrency where clearly more
// concurrent calls had succeeded before: it teaches a pace instead (`PaceLearner`).
//
// Vendors limit each model family. Where the policy has no limits for the models, one learner hears of several models
// with different limits and cannot tell their buckets apart: it follows the largest limit and ignores remainders.

struct QuotaLearner: Sendable {
  /// Learned limits per minute; nil where nothing is known.
  private(set) var perMinute: [Int64?] = [nil, nil, nil, nil]
  private(set) var concurrency: Int?
  /// Since when each of these limits holds.
  private var since: [Instant?] = [nil, nil, nil, nil]
  private var concurrencySince: Instant?
  /// The largest units of one call among the recent successes, and since when they are counted.
  private var largest = Units.zero
  private var largestSince = Instant(nanoseconds: 0)
  /// The number of calls just below the one at which a call was refused; `Int.max` while none was.
  private var ceiling = Int.max
  private var successes = 0
  /// How many calls ran at the first refusal of a burst, and how many of them were refused.
  private var burst = 0
  private var refusals = 0
  /// True where the last refusal that was not together with others was about concurrency.
  private(set) var countsRefusals = false
  private var lastReading: Instant?
  /// The most concurrent calls at which a call succeeded, that call included.
  private var mostAccepted = 0
  /// The last ranges of leases that were sent during a call that was later refused.
  private var tainted: [ClosedRange<UInt64>] = []
  var pace = PaceLearner()
  var bursts = BurstLearner()
  /// The last limits told by each model's answers, in order of first mention.
  private var models: [ModelReading] = []
  private var mixed: UInt8 = 0
  /// One bit for each dimension whose limit an earlier process was told, and this one not yet.
  private var stored: UInt8 = 0

  private struct ModelReading: Sendable {
    var model: ModelNumber
    var limits: Units
    var at: Instant
  }
  private static let mostModels = 16
  private static let readingLife = Span.seconds(600)

  /// Rounds of successes at the ceiling before one more call is tried.
  private var hold = 1

  static let mostConcurrency = 1024
  /// How long a successful call proves that the limit is not below its size.
  static let proofLife = Span.seconds(600)
  static let longestHold = 256

  /// Whether the provider has told numbers in the last minute.
  func tellsNumbers(at now: Instant) -> Bool { lastReading.map { now - $0 < .seconds(60) } ?? false }

  /// True where the reading is plausible.
  static func isSensible(_ reading: ObservedLimits.Reading) -> Bool {
    if let limit = reading.limit, limit <= 0 || limit > TokenCount.most.value { return false }
    if let remaining = reading.remaining {
      if remaining < 0 || remaining > TokenCount.most.value { return false }
      if let limit = reading.limit, remaining > limit { return false }
    }
    return reading.limit != nil || reading.remaining != nil
  }

  /// True where several models share this learner and have different limits.
  func isMixed(_ dimension: Dimension) -> Bool { mixed & (1 << dimension.rawValue) != 0 }

  /// Records a told limit. Returns the limit now in force where it changed.
  /// - Parameter model: the number of the model whose answer told it.
  mutating func observe(limit told: Int64?, of dimension: Dimension, model: ModelNumber = .shared, at now: Instant)
    -> Int64?
  {
    lastReading = now
    guard let told else { return nil }
    // A call that passed proves that the limit is not below its size, whatever the header's window is.
    let place = Int(dimension.rawValue)
    let proven = now - largestSince < Self.proofLife ? largest[place] : 0
    let limit = remember(max(told, proven), of: dimension, model: model, at: now)
    let index = Int(dimension.rawValue)
    let isFirst = stored & (1 << dimension.rawValue) != 0
    if isFirst {
      stored &= ~(1 << dimension.rawValue)
      since[index] = now
    }
    guard let known = perMinute[index], !isFirst, !isMixed(dimension) || limit < known else {
      guard perMinute[index] != limit else { return nil }
      perMinute[index] = limit
      since[index] = now
      return limit
    }
    guard limit != known else { return nil }
    let next = limit < known ? limit : known + max(1, (limit - known) / 4)
    perMinute[index] = next
    since[index] = now
    return next
  }

  /// Takes over limits that an earlier process was told; the first that this one is told takes their place, whatever it is.
  mutating func restore(_ limits: [Int64?], at now: Instant) {
    for (index, limit) in limits.enumerated() {
      guard let limit, limit > 0, perMinute.indices.contains(index), perMinute[index] == nil else { continue }
      perMinute[index] = limit
      since[index] = now
      stored |= 1 << UInt8(index)
    }
  }

  /// Returns the limit to follow: the model's own, or the largest of several that differ.
  private mutating func remember(_ limit: Int64, of dimension: Dimension, model: ModelNumber, at now: Instant) -> Int64
  {
    let place = Int(dimension.rawValue)
    if models.count == 1, models[0].model == model, models[0].limits[place] == limit {
      models[0].at = now
      return limit
    }
    models.removeAll { now - $0.at > Self.readingLife }
    if let known = models.firstIndex(where: { $0.model == model }) {
      models[known].limits[place] = limit
      models[known].at = now
    } else {
      if models.count >= Self.mostModels { models.removeFirst() }
      var limits = Units.zero
      limits[place] = limit
      models.append(ModelReading(model: model, limits: limits, at: now))
    }
    var largest = limit
    for known in models { largest = max(largest, known.limits[place]) }
    mixed &= ~(1 << dimension.rawValue)
    for known in models where known.limits[place] > 0 && known.limits[place] != largest {
      mixed |= 1 << dimension.rawValue
    }
    return largest
  }

  /// A call succeeded that had been sent as one of `running` concurrent calls. Returns what has been learned so far.
  /// - Parameter serial: of the call's lease.
  mutating func accepted(
    running: Int, serial: UInt64, tokens: Int64
  ) -> (isLimited: Bool, isPaced: Bool) {
    if running > mostAccepted, !tainted.contains(where: { $0.contains(serial) }) { mostAccepted = running }
    pace.charge(tokens)
    return (concurrency != nil, pace.perMinute != nil)
  }

  /// A call of so many units succeeded. Returns true where that disproves what was learned.
  mutating func passed(_ units: Units, at now: Instant) -> Bool {
    if now - largestSince >= Self.proofLife {
      largest = .zero
      largestSince = now
    }
    var isDisproved = false
    for place in 1..<4 where units[place] > largest[place] {
      largest[place] = units[place]
      if let known = perMinute[place], known < units[place] {
        perMinute[place] = units[place]
        since[place] = now
        isDisproved = true
      }
    }
    if let known = pace.perMinute, known < units[3] {
      pace = PaceLearner()
      isDisproved = true
    }
    return isDisproved
  }

  /// True where a recently learned number limits calls.
  func hasLearned(at now: Instant) -> Bool {
    concurrency != nil && concurrencySince.map { now - $0 <= PaceLearner.memory } ?? true || pace.isFresh(at: now)
      || bursts.isFresh(at: now)
  }

  /// The learner for a model that gets an entry of its own: it inherits how many concurrent calls have succeeded.
  var heir: QuotaLearner {
    var heir = QuotaLearner()
    heir.mostAccepted = mostAccepted
    heir.tainted = tainted
    heir.bursts = bursts
    return heir
  }

  /// All limits that were learned, not set by the operator.
  func learned(model: String?, key: KeyID?) -> [AdmissionSnapshot.Learned] {
    typealias Learned = AdmissionSnapshot.Learned
    var all: [Learned] = []
    func add(_ quantity: Learned.Quantity, _ value: Int64?, _ source: Learned.Source, _ since: Instant?) {
      guard let value, let since else { return }
      all.append(Learned(quantity: quantity, model: model, key: key, value: value, source: source, since: since))
    }
    add(.concurrency, concurrency.map { Int64($0) }, .refusals, concurrencySince)
    for dimension in Dimension.allCases {
      let place = Int(dimension.rawValue)
      let isStored = stored & (1 << dimension.rawValue) != 0
      add(.perMinute(dimension), perMinute[place], isStored ? .stored : .headers, since[place])
    }
    add(.perMinute(.tokens), pace.perMinute, .refusals, pace.began)
    add(.perMinute(.requests), bursts.perMinute, .refusals, bursts.began)
    add(.atOnce, bursts.perMinute.map { _ in bursts.depth }, .refusals, bursts.began)
    return all
  }

  /// A call was refused. It took no permit at the provider, so calls that were sent meanwhile counted one too many:
  /// their counts teach nothing.
  mutating func taint(_ serials: ClosedRange<UInt64>) {
    if let last = tainted.last, last.overlaps(serials) {
      tainted[tainted.count - 1] =
        min(last.lowerBound, serials.lowerBound)...max(last.upperBound, serials.upperBound)
    } else {
      if tainted.count >= 4 { tainted.removeFirst() }
      tainted.append(serials)
    }
  }

  /// True where the refusal is not about concurrency: clearly more concurrent calls have succeeded than ran beside the
  /// refused one, or it ran alone. "Clearly", because a call whose answer is on its way to us no longer has a permit at
  /// the provider, while we still count it as running.
  func isAboutRate(running: Int) -> Bool { running <= 1 || running + running / 8 + 1 <= mostAccepted }

  /// A call was refused because of a rate. Returns true where the pace changed.
  /// - Parameter waited: the total time during which calls have waited here.
  mutating func refusedForRate(running: Int, waited: Span, at now: Instant) -> Bool {
    // A lowered limit on concurrency looks like this at first; with this decay it does not do so for long.
    mostAccepted -= (mostAccepted - running + 7) / 8
    countsRefusals = false
    return pace.refused(waited: waited, at: now)
  }

  /// A 429 came without numbers. Returns the new limit; nil where the call ran alone, which tells nothing about
  /// concurrency.
  /// - Parameter isFirst: false for calls that were refused together with an earlier one: each shows that one call less
  ///   was accepted.
  mutating func refused(running: Int, isFirst: Bool, at now: Instant) -> Int? {
    guard running > 1 || !isFirst else { return nil }
    if isFirst || burst == 0 {
      // Refused again at the number of before: concurrency is what is short. At another number it may be something
      // else.
      // A number may be wrong by one, but among the smallest ones the next is another.
      let slack = ceiling < 4 ? 0 : 8
      let isNear = ceiling < Int.max && (max(running - 1, ceiling) - min(running - 1, ceiling)) * 8 <= ceiling + slack
      hold = isNear ? min(Self.longestHold, hold * 4) : 1
      burst = running
      refusals = 0
    }
    refusals += 1
    countsRefusals = true
    ceiling = max(1, burst - refusals)
    let next = max(1, min(burst / 2, ceiling))
    concurrency = min(next, concurrency ?? next)
    concurrencySince = now
    successes = 0
    return concurrency
  }

  /// A call succeeded while `running` calls ran. Returns true where the limit changed; the limit is nil again once it
  /// is above all that is used.
  mutating func succeeded(running: Int) -> Bool {
    // A limit that is not used up teaches nothing.
    guard let limit = concurrency, running >= limit else { return false }
    successes += 1
    // Up to the ceiling, one more per success; at the ceiling, one more after `hold` rounds; beyond it, one more per
    // round.
    let needed = limit < ceiling ? 1 : limit == ceiling ? hold * limit : limit
    guard successes >= needed else { return false }
    successes = 0
    concurrency = limit + 1 >= Self.mostConcurrency ? nil : limit + 1
    return true
  }

  /// The operator's limits, tightened by the learned ones.
  func effective(_ limits: Limits) -> Limits {
    var learned = Limits(
      concurrency: concurrency, requestsPerMinute: least(perMinute[0], bursts.perMinute),
      inputTokensPerMinute: perMinute[1], outputTokensPerMinute: perMinute[2],
      tokensPerMinute: least(perMinute[3], pace.perMinute))
    if let burst = bursts.burst { learned.bursts[.requestsPerMinute] = burst }
    return limits.tightened(by: learned)
  }

  private func least(_ left: Int64?, _ right: Int64?) -> Int64? {
    guard let left, let right else { return left ?? right }
    return min(left, right)
  }
}
