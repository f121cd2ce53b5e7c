// A provider in virtual time that enforces its own limits and counts what it refuses: the honest measure of overshoot.
// It knows
// nothing of the broker's books.
import AdmissionCore

public struct SimulatedProvider {
  public enum Answer: Equatable {
    case accepted
    /// 429; `retryAfter` where it tells.
    case refused(retryAfter: Span?)
    /// 5xx, after half of the call's time.
    case failing
    case keyRefused
  }

  public let truth: ProviderTruth
  public var mood = ProviderMood.well
  public private(set) var inFlight = 0
  /// Calls that its limits refused.
  public private(set) var refusals = 0
  /// Calls answered with an error because of its mood.
  public private(set) var ill = 0
  public private(set) var accepted = 0
  /// Tokens that it has charged for in all.
  public private(set) var charged: Int64 = 0
  /// Permit time that was used, in nanoseconds.
  public private(set) var busy: Int64 = 0
  private var buckets: BucketModels
  private var models: [(buckets: BucketModels, inFlight: Int)]
  private var lastChange: Instant

  public init(truth: ProviderTruth, at now: Instant) {
    self.truth = truth
    buckets = BucketModels(truth.limits, at: now)
    models = truth.modelLimits.map { (BucketModels($0.limits, at: now), 0) }
    lastChange = now
  }

  /// Index into the model limits that apply to `model`.
  public func modelIndex(_ model: String) -> Int? { truth.modelLimits.firstIndex { $0.models.matches(model) } }

  /// What this provider takes at the door: its input, and its cap where that is what it charges.
  public func doorCharge(input: Int64, outputCap: Int64?) -> Charge {
    guard truth.admissionTokens == .maxTokens, let cap = outputCap else {
      return Charge(requests: 1, input: input, output: 0)
    }
    var charge = Charge(requests: 1, input: input, output: cap)
    charge.tokens = max(input, cap)
    return charge
  }

  private mutating func count(_ change: Int, model: Int?, at now: Instant) {
    busy += Int64(inFlight) * (now - lastChange).nanoseconds
    lastChange = now
    inFlight += change
    if let model { models[model].inFlight += change }
  }

  /// A call comes in. Only an accepted or failing one counts as in flight and must be ended.
  public mutating func receive(_ charge: Charge, model: Int?, draw: Int, at now: Instant) -> Answer {
    switch mood {
    case .throttling(let retryAfter):
      ill += 1
      return .refused(retryAfter: retryAfter)
    case .refusingKeys:
      ill += 1
      return .keyRefused
    case .well, .failing: break
    }
    var fits = truth.limits.concurrency.map { inFlight < $0 } ?? true
    if let model, let limit = truth.modelLimits[model].limits.concurrency {
      fits = fits && models[model].inFlight < limit
    }
    // Providers that count what is produced refuse while that bucket is in debt.
    var atDoor = charge
    if truth.admissionTokens == .produced { atDoor.output = 1 }
    fits = fits && buckets.covers(atDoor, at: now, slack: 1)
    if let model { fits = fits && models[model].buckets.covers(atDoor, at: now, slack: 1) }
    guard fits else {
      refusals += 1
      return .refused(retryAfter: truth.tellsRetryAfter ? .seconds(1) : nil)
    }
    take(charge, model: model, at: now)
    count(1, model: model, at: now)
    if case .failing(let percent) = mood, draw < percent {
      ill += 1
      return .failing
    }
    accepted += 1
    return .accepted
  }

  private mutating func take(_ charge: Charge, model: Int?, at now: Instant) {
    // A call larger than a bucket is let in when the bucket is full, and the rest is charged at its end.
    buckets.take(buckets.clamped(charge), at: now)
    if let model { models[model].buckets.take(models[model].buckets.clamped(charge), at: now) }
  }

  /// A call ends, having been charged `atDoor` and having really cost `actual`.
  public mutating func end(atDoor: Charge, actual: Charge, model: Int?, at now: Instant) {
    count(-1, model: model, at: now)
    var due = actual
    if truth.admissionTokens == .maxTokens, atDoor.output > 0, actual.tokens > 0 {
      // Charged at the door: nothing is given back, nothing more is asked.
      due.output = atDoor.output
      due.tokens = atDoor.tokens
    }
    charged += due.tokens
    buckets.settle(taken: buckets.clamped(atDoor), actual: due, at: now)
    if let model {
      models[model].buckets.settle(taken: models[model].buckets.clamped(atDoor), actual: due, at: now)
    }
  }

  public func available(_ dimension: Dimension, at now: Instant) -> Int64? {
    buckets.byDimension[Int(dimension.rawValue)]?.available(at: now)
  }
}
