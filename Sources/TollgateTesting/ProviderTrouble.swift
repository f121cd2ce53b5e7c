// What an observer of all settlements knows about a failing provider: whether its breaker may have opened, which of its
// models and keys may be resting, and which limit the core has learned. It assumes the worst, so that what it calls
// usable surely is.
import AdmissionCore

/// The failures of one provider since the run began.
struct ProviderTrouble {
  private struct Pair: Hashable {
    var model: String
    var key: KeyID?
  }
  /// Consecutive failures, by what counts them: a model limit with its own breaker, or the provider (nil).
  private var failures: [Int?: Int] = [:]
  /// True once a breaker may have opened: only the success of a probe would show that it is closed, and only the core
  /// knows which call is a probe.
  private var mayHaveTripped = false
  /// When a pause was last asked for, for each pair. It is over when a call that was granted later has succeeded.
  private var resting: [Pair: Instant] = [:]
  private var refusedKeys: [KeyID: Instant] = [:]
  private var learning = Learning.nothing

  private enum Learning: Equatable {
    case nothing
    /// The concurrency limit may be lower than the policy says; by how much, and for which models, is not known yet.
    case untold
    /// The limits by the name of the model; nil for all models together.
    case told([String?: Int])
    /// Other limits may have been learned too.
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

  /// Notes that the core may have learned from a refusal.
  /// - Parameter isExact: true where only a concurrency limit can be learned from it.
  mutating func learned(isExact: Bool) { learning = isExact && learning != .unknown ? .untold : .unknown }

  /// Takes over the limits that the core says it has learned.
  mutating func told(_ learned: [AdmissionSnapshot.Learned]) {
    switch learning {
    case .untold, .told:
      // A pace: the snapshot does not show its level.
      if learned.contains(where: { $0.quantity != .concurrency }) {
        learning = .unknown
        return
      }
      // A limit of one key is not a limit of a model: here all keys share the quota.
      let limits = learned.filter { $0.quantity == .concurrency && $0.key == nil }.map {
        ($0.model, Int(clamping: $0.value))
      }
      learning = .told(Dictionary(limits, uniquingKeysWith: min))
    case .nothing, .unknown: break
    }
  }

  /// The learned limit of concurrent calls for the model, or with nil for all models together. nil where none was
  /// learned.
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
