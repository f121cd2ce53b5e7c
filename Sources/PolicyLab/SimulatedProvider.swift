// A provider in virtual time that enforces its own limits and counts what it refuses, which measures overshoot
// independently. It knows nothing of the broker's state.
import AdmissionCore

public struct SimulatedProvider {
  public enum Answer: Equatable {
    case accepted
    /// 429, with `retryAfter` where the provider tells it. `isAboutConcurrency`: the error says that too many calls are
    /// concurrent.
    case refused(retryAfter: Span?, isAboutConcurrency: Bool = false)
    /// 5xx after half of the call's time, with `retryAfter` where the provider tells it.
    case failing(retryAfter: Span?)
    case keyRefused
  }

  /// One set of limits and what draws on it.
  private struct Books {
    var limits: Limits
    var buckets: BucketModels
    var inFlight = 0
    /// Calls that have ended and still count, by when that is over.
    var late: [Instant] = []
    /// The units that it lets through before they are there: rounding never refuses a call.
    var slack: Int64 = 1

    init(_ limits: Limits, slack: Int64, at now: Instant) {
      self.limits = limits
      self.slack = slack
      buckets = BucketModels(limits, at: now)
    }

    var hasPermit: Bool { limits.concurrency.map { inFlight + late.count < $0 } ?? true }

    mutating func hasRoom(_ charge: Charge, at now: Instant) -> Bool {
      while let first = late.first, first <= now { late.removeFirst() }
      return hasPermit && buckets.covers(charge, at: now, slack: slack)
    }

    // A call larger than a minute's units is let in when the bucket is full, and the rest is charged at its end.
    mutating func take(_ charge: Charge, at now: Instant) {
      inFlight += 1
      buckets.take(buckets.clamped(charge), at: now)
    }

    mutating func end(atDoor: Charge, due: Charge, countsLate: Span, at now: Instant) {
      inFlight -= 1
      if countsLate > .zero { late.append(now + countsLate) }
      buckets.settle(taken: buckets.clamped(atDoor), actual: due, at: now)
    }
  }

  public let truth: ProviderTruth
  public var mood = ProviderMood.well
  /// Models that are ill while the provider is well.
  public var modelMood: (models: Glob, mood: ProviderMood)?
  public private(set) var inFlight = 0
  /// Calls that its limits refused.
  public private(set) var refusals = 0
  /// When it refused, for its limits or its mood, in order.
  public private(set) var refusedAt: [Instant] = []
  /// When it accepted, in order.
  public private(set) var acceptedAt: [Instant] = []
  /// Calls answered with an error because of its mood.
  public private(set) var ill = 0
  public private(set) var accepted = 0
  /// Tokens that it has charged for in all.
  public private(set) var charged: Int64 = 0
  /// Permit time that was used, in nanoseconds.
  public private(set) var busy: Int64 = 0
  private var own: Books
  private var models: [Books]
  private var keys: [(id: KeyID, books: Books)] = []
  private var lastChange: Instant
  private var prefixes = SimulatedPrefixes()

  public init(truth: ProviderTruth, at now: Instant) {
    self.truth = truth
    let slack: Int64 = truth.isExact ? 0 : 1
    own = Books(truth.quota == .perKey ? Limits() : truth.limits, slack: slack, at: now)
    models = truth.modelLimits.map { Books($0.limits, slack: slack, at: now) }
    lastChange = now
  }

  /// Index into the model limits that apply to `model`.
  public func modelIndex(_ model: String) -> Int? { truth.modelLimits.firstIndex { $0.models.matches(model) } }

  /// What it counts of an input: a provider that counts what is produced does not count what it had cached.
  public func counted(input: Int64, cached: Int64) -> Int64 {
    truth.admissionTokens == .produced ? max(0, input - cached) : input
  }

  /// How much of an input it has in its prompt cache.
  func cached(_ prompt: SimulatedPrompt, input: Int64, key: KeyID?, at now: Instant) -> Int64 {
    truth.promptCache == nil
      ? 0 : prefixes.cached(prompt, input: input, key: truth.quota == .perKey ? key : nil, at: now)
  }

  /// Caches the prompt of a call that it has accepted and whose answer begins at `from`.
  mutating func keep(_ prompt: SimulatedPrompt, input: Int64, key: KeyID?, from: Instant, at now: Instant) {
    guard let cache = truth.promptCache else { return }
    prefixes.keep(
      prompt, input: input, key: truth.quota == .perKey ? key : nil, from: from, life: prompt.life ?? cache.life,
      at: now)
  }

  /// What this provider charges when a call comes in: the input, and the output cap where it charges that.
  public func doorCharge(input: Int64, cached: Int64 = 0, outputCap: Int64?) -> Charge {
    guard truth.admissionTokens == .maxTokens, let cap = outputCap else {
      return Charge(requests: 1, input: counted(input: input, cached: cached), output: 0)
    }
    var charge = Charge(requests: 1, input: input, output: cap)
    charge.tokens = max(input, cap)
    return charge
  }

  private mutating func count(_ change: Int, at now: Instant) {
    busy += Int64(inFlight) * (now - lastChange).nanoseconds
    lastChange = now
    inFlight += change
  }

  /// Where the key's own quota is kept; nil where keys share one.
  private mutating func keyIndex(_ key: KeyID?, at now: Instant) -> Int? {
    guard truth.quota == .perKey, let key else { return nil }
    if let known = keys.firstIndex(where: { $0.id == key }) { return known }
    keys.append((key, Books(truth.limits, slack: truth.isExact ? 0 : 1, at: now)))
    return keys.count - 1
  }

  /// A free call comes in: it counts against no limit, and must not be ended.
  public mutating func receiveFree(modelName: String, draw: Int, at now: Instant) -> Answer {
    var mood = mood
    if mood == .well, let ill = modelMood, ill.models.matches(modelName) { mood = ill.mood }
    switch mood {
    case .throttling(let retryAfter): return .refused(retryAfter: retryAfter)
    case .refusingKeys: return .keyRefused
    case .failing(let percent, let retryAfter) where draw < percent: return .failing(retryAfter: retryAfter)
    case .well, .failing: return .accepted
    }
  }

  /// A call comes in. Only an accepted or failing one counts as in flight and must be ended.
  public mutating func receive(
    _ charge: Charge, model: Int?, modelName: String = "", key: KeyID? = nil, draw: Int, at now: Instant
  ) -> Answer {
    var mood = mood
    if mood == .well, let ill = modelMood, ill.models.matches(modelName) { mood = ill.mood }
    switch mood {
    case .throttling(let retryAfter):
      ill += 1
      refusedAt.append(now)
      return .refused(retryAfter: retryAfter)
    case .refusingKeys:
      ill += 1
      return .keyRefused
    case .well, .failing: break
    }
    // Providers that count what is produced refuse while that bucket is in debt.
    var atDoor = charge
    if truth.admissionTokens == .produced { atDoor.output = 1 }
    let key = keyIndex(key, at: now)
    var fits = own.hasRoom(atDoor, at: now)
    if let model { fits = models[model].hasRoom(atDoor, at: now) && fits }
    if let key { fits = keys[key].books.hasRoom(atDoor, at: now) && fits }
    guard fits else {
      refusals += 1
      refusedAt.append(now)
      var isCrowded = !own.hasPermit
      if let model { isCrowded = isCrowded || !models[model].hasPermit }
      if let key { isCrowded = isCrowded || !keys[key].books.hasPermit }
      let isBare = !truth.tellsRetryAfter || truth.staysBareHalfTheTime && refusals % 2 == 1
      return .refused(
        retryAfter: isBare ? nil : .seconds(1), isAboutConcurrency: isCrowded && !truth.staysBareHalfTheTime)
    }
    own.take(charge, at: now)
    if let model { models[model].take(charge, at: now) }
    if let key { keys[key].books.take(charge, at: now) }
    count(1, at: now)
    if case .failing(let percent, let retryAfter) = mood, draw < percent {
      ill += 1
      return .failing(retryAfter: retryAfter)
    }
    accepted += 1
    acceptedAt.append(now)
    return .accepted
  }

  /// A call ends, having been charged `atDoor` and having really cost `actual`.
  public mutating func end(atDoor: Charge, actual: Charge, model: Int?, key: KeyID? = nil, at now: Instant) {
    count(-1, at: now)
    var due = actual
    if truth.admissionTokens == .maxTokens, atDoor.output > 0, actual.tokens > 0 {
      // The output was charged at the start: nothing is given back or added.
      due.output = atDoor.output
      due.tokens = atDoor.tokens
    }
    charged += due.tokens
    own.end(atDoor: atDoor, due: due, countsLate: truth.countsLate, at: now)
    if let model { models[model].end(atDoor: atDoor, due: due, countsLate: truth.countsLate, at: now) }
    if let key = keyIndex(key, at: now) {
      keys[key].books.end(atDoor: atDoor, due: due, countsLate: truth.countsLate, at: now)
    }
  }

  /// What the head of an answer tells of the limits that the call draws on; nil where this provider tells nothing.
  public mutating func told(model: Int?, key: KeyID?, at now: Instant) -> ObservedLimits? {
    guard truth.tellsLimits else { return nil }
    var books = own
    if let key = keyIndex(key, at: now) { books = keys[key].books }
    if let model { books = models[model] }
    let readings = Dimension.allCases.compactMap { dimension -> ObservedLimits.Reading? in
      guard let bucket = books.buckets.byDimension[Int(dimension.rawValue)] else { return nil }
      let left = max(0, bucket.available(at: now))
      return ObservedLimits.Reading(dimension: dimension, limit: bucket.perMinute, remaining: left)
    }
    return readings.isEmpty ? nil : ObservedLimits(readings: readings)
  }

  /// What it charges for a call. The prices of whole numbers that scenarios use never overflow.
  public static func bill(_ price: CallPrice, input: Int64, output: Int64) -> Money {
    let tokens = input * price.inputMicroPerToken + output * price.outputMicroPerToken
    return Money(nanodollars: (tokens + 999) / 1000 + price.perRequest.nanodollars)
  }

  public func available(_ dimension: Dimension, at now: Instant) -> Int64? {
    own.buckets.byDimension[Int(dimension.rawValue)]?.available(at: now)
  }
}
