// The limits that a provider has told, in a form that can be stored and read again, so that they hold from the first call
// after a start and not from its first answer.
//
// What refusals taught is not stored: it is forgotten after minutes, and a start may take longer.

public struct LearnedLimits: Sendable, Equatable {
  public enum Holder: Sendable, Hashable {
    case provider
    /// A glob of `model_limits`.
    case models(String)
    case key(KeyID)
  }
  public var provider: ProviderID
  public var holder: Holder
  /// By `Dimension.rawValue`; nil where nothing was told.
  var perMinute: [Int64?]

  init(provider: ProviderID, holder: Holder, perMinute: [Int64?]) {
    self.provider = provider
    self.holder = holder
    self.perMinute = perMinute
  }

  /// `openai`, `openai models gpt-*`, `openai key main`.
  public var name: String {
    switch holder {
    case .provider: provider.name
    case .models(let glob): "\(provider) models \(glob)"
    case .key(let key): "\(provider) key \(key)"
    }
  }

  /// The numbers of all dimensions; `-` where there is none.
  public var text: String { perMinute.map { $0.map { String($0) } ?? "-" }.joined(separator: " ") }
  public var isEmpty: Bool { perMinute.allSatisfy { $0 == nil } }

  /// nil where these are not what `name` and `text` give.
  public init?(name: String, text: String) {
    let parts = name.split(separator: " ", maxSplits: 2, omittingEmptySubsequences: false)
    let numbers = text.split(separator: " ", omittingEmptySubsequences: false)
    guard let provider = parts.first, numbers.count == Dimension.allCases.count else { return nil }
    switch (parts.count, parts.count == 3 ? parts[1] : "") {
    case (1, _): holder = .provider
    case (3, "models"): holder = .models(String(parts[2]))
    case (3, "key"): holder = .key(KeyID(String(parts[2])))
    default: return nil
    }
    perMinute = []
    for number in numbers {
      let limit = Int64(number)
      guard number == "-" || limit.map({ $0 > 0 && $0 <= TokenCount.most.value }) == true else { return nil }
      perMinute.append(limit)
    }
    self.provider = ProviderID(String(provider))
  }
}

extension ProviderTable {
  /// What the providers have told, each holder with its own.
  func toldLimits() -> [LearnedLimits] {
    inForce.flatMap { index -> [LearnedLimits] in
      let provider = self[index]
      func told(_ holder: LearnedLimits.Holder, _ learner: QuotaLearner) -> LearnedLimits {
        LearnedLimits(provider: provider.policy.id, holder: holder, perMinute: learner.perMinute)
      }
      // Models without an entry in the policy share the provider's.
      return [told(.provider, provider.learner)]
        + provider.modelOrder.filter { provider.models[$0].name == nil }.map {
          told(.models(provider.models[$0].pattern.pattern), provider.models[$0].learner)
        } + provider.keyOrder.map { told(.key(provider.keys[$0].policy.id), provider.keys[$0].learner) }
    }
  }

  /// Restores what was told; holders that the policy no longer has are passed over.
  mutating func restore(_ limits: [LearnedLimits], dayEnd: Instant, at now: Instant) {
    for told in limits {
      guard let index = self.index(of: told.provider), self[index].policy.learnLimits else { continue }
      switch told.holder {
      case .provider: self[index].learner.restore(told.perMinute, at: now)
      case .models(let glob):
        guard
          let model = self[index].modelOrder.first(where: {
            self[index].models[$0].name == nil && self[index].models[$0].pattern.pattern == glob
          })
        else { continue }
        self[index].models[model].learner.restore(told.perMinute, at: now)
      case .key(let id):
        guard let key = self[index].keyOrder.first(where: { self[index].keys[$0].policy.id == id }) else { continue }
        self[index].keys[key].learner.restore(told.perMinute, at: now)
      }
      applyLimits(of: index, dayEnd: dayEnd, at: now)
    }
  }
}
