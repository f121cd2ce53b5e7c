// What somebody who sees every ending knows of a provider in trouble: whether its breaker can have opened, which of its models and keys
// may be resting, and which limit the core has learned. Everything is counted to the worst, so that what is surely usable is usable.
import AdmissionCore

/// The troubles of one provider since the run began.
struct ProviderTrouble {
  private struct Pair: Hashable {
    var model: String
    var key: KeyID?
  }
  /// Failures in a row, by what counts them: a model limit with its own breaker, or the provider (nil).
  private var failures: [Int?: Int] = [:]
  /// A breaker that may have opened: only a success of a probe would tell that it is closed, and which call is a probe only the core knows.
  private var mayHaveTripped = false
  /// When each was asked for a pause last. Over when a call that was granted since has succeeded.
  private var resting: [Pair: Instant] = [:]
  private var refusedKeys: [KeyID: Instant] = [:]
  private var learning = Learning.nothing

  private enum Learning: Equatable {
    case nothing
    /// The number of concurrent calls may be lower than the policy says; not known yet how much, and whether for all models.
    case untold
    /// By the name of the model; nil: all of them together.
    case told([String?: Int])
    /// More than that may have been learned.
    case unknown
  }

  var mayBeClosed: Bool { mayHaveTripped || !resting.isEmpty || learning == .untold || learning == .unknown }

  mutating func failed(counted: Int?, _ policy: BreakerPolicy) {
    failures[counted, default: 0] += 1
    if failures[counted, default: 0] >= policy.failures { mayHaveTripped = true }
  }

  mutating func throttled(model: String, key: KeyID?, at now: Instant) { resting[Pair(model: model, key: key)] = now }

  mutating func keyRefused(_ key: KeyID, at now: Instant) { refusedKeys[key] = now }

  mutating func succeeded(model: String, key: KeyID?, counted: Int?, grantedAt: Instant) {
    failures[counted] = 0
    let pair = Pair(model: model, key: key)
    if let since = resting[pair], grantedAt > since { resting[pair] = nil }
    if let key, let since = refusedKeys[key], grantedAt > since { refusedKeys[key] = nil }
  }

  /// A refusal teaches.
  /// - Parameter isExact: nothing but the number of concurrent calls can be learned from it.
  mutating func learned(isExact: Bool) { learning = isExact && learning != .unknown ? .untold : .unknown }

  /// The limits that the core says it has learned.
  mutating func told(_ learned: [AdmissionSnapshot.Learned]) {
    switch learning {
    case .untold, .told:
      // A pace, of which the level is not told.
      if learned.contains(where: { $0.what != "concurrency" }) {
        learning = .unknown
        return
      }
      // What holds for one key alone is no limit of a model: here all keys share the quota.
      let limits = learned.filter { $0.what == "concurrency" && $0.key == nil }.map {
        ($0.model, Int(clamping: $0.value))
      }
      learning = .told(Dictionary(limits, uniquingKeysWith: min))
    case .nothing, .unknown: break
    }
  }

  /// How many calls of the model surely may run at a time, as far as that was learned; nil: of all models together. nil where nothing was.
  func learnedLimit(_ model: String?) -> Int? {
    guard case .told(let limits) = learning else { return nil }
    return limits[model]
  }

  /// True where a key of the policy is for the model and has not been refused.
  func hasUsableKey(for model: String, _ policy: ProviderPolicy) -> Bool {
    policy.keys.isEmpty
      || policy.keys.contains { key in
        refusedKeys[key.id] == nil && (key.models.isEmpty || key.models.contains { $0.matches(model) })
      }
  }
}
