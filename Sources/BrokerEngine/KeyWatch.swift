// Watches whether each provider has a key left that it does not refuse and that no operator has disabled, and tells the
// operator once where it has none.
//
// Promises: one report when the last key of a provider is refused or unpaid, for all providers together where their
// keys are found out together, and no line for each of these keys; it is repeated only after it had changed. One report
// when it is over. A key that has not been refused, or whose check gave no answer, counts as usable.
import AdmissionCore
import PolicyFile

/// A provider that has no key left: it refuses those that no operator has disabled.
public struct RefusedProvider: Sendable, Equatable {
  public struct Key: Sendable, Equatable {
    public var id: String
    /// Where its secret comes from: a variable, a file, a command; nil for a secret that stands in the policy.
    public var source: String?
    public var isUnpaid: Bool
    fileprivate var advice: String
    /// `main (OPENAI_API_KEY)`.
    public var text: String { source.map { "\(id) (\($0))" } ?? id }
  }
  public var provider: String
  public var keys: [Key]
  /// Keys that could be used, had an operator not disabled them; where `keys` is empty, all keys.
  public var disabled: [String] = []
  /// Monotonic nanoseconds.
  public var since: UInt64

  /// For people.
  public var text: String {
    keys.isEmpty
      ? "'\(provider)' gets no calls: "
        + (disabled.count == 1 ? "its only key is disabled by hand: " : "all its keys are disabled by hand: ")
        + "\(disabled.joined(separator: ", ")). \(Self.advice([self]))"
      : "'\(provider)' refuses every key: \(keys.map(\.text).joined(separator: ", ")). \(Self.advice([self]))"
  }

  /// What to do about these.
  public static func advice(_ all: [RefusedProvider]) -> String {
    var sentences: [String] = []
    for advice in all.flatMap({ $0.keys.map(\.advice) }) where !sentences.contains(advice) { sentences.append(advice) }
    for provider in all {
      for key in provider.disabled {
        let command = "tollgate keys enable \(provider.provider)/\(key)."
        sentences.append(
          provider.keys.isEmpty
            ? "To use '\(key)' again: \(command)" : "Or use '\(key)' again, which is disabled by hand: \(command)")
      }
    }
    return sentences.joined(separator: " ")
  }
}

/// What the operator is told about the keys of providers.
public enum KeyReport: Sendable, Equatable {
  /// - Parameter isAll: true where no provider of the policy has a key left.
  case allRefused([RefusedProvider], isAll: Bool)
  /// The provider has a key again.
  /// - Parameter wasRefused: false where an operator had disabled all.
  case recovered(provider: String, wasRefused: Bool = true)
}

final class KeyWatch {
  private struct Refusal {
    var isUnpaid: Bool
    /// The generation of the refused secret.
    var generation: Int
    var since: UInt64
  }

  private let rules: RulesInForce
  private let time: Timekeeper
  private let noticed: (Notice, String?) -> Void
  /// Told of what the operator must know; set before the first notice.
  var report: (KeyReport) -> Void = { _ in }
  /// Keys whose free call is ordered or under way. Until it has ended, nothing is said of refusals.
  private var awaited: Set<RefusedKey> = []
  private var held: [(key: RefusedKey, notice: Notice, mark: String?)] = []
  private var refusals: [RefusedKey: Refusal] = [:]
  /// Keys that the operator has disabled, and since when.
  private var disabled: [RefusedKey: UInt64] = [:]
  /// The providers without a key that the operator was told about.
  private(set) var refused: [RefusedProvider] = []

  init(
    rules: RulesInForce, time: Timekeeper, noticed: @escaping (Notice, String?) -> Void
  ) {
    self.rules = rules
    self.time = time
    self.noticed = noticed
  }

  /// Takes a notice for the operator; those of refusals are held back while keys are being checked.
  func notice(_ notice: Notice, _ mark: String?) {
    guard case .keyChanged(let provider, let key, _, let reason) = notice else { return noticed(notice, mark) }
    let name = RefusedKey(provider: provider, key: key)
    note(name, reason)
    // Our own free call follows.
    if reason == .perhapsRefused { awaited.insert(name) }
    guard reason.isRefusal else {
      noticed(notice, mark)
      return review()
    }
    // Of one key only the last is said.
    held.removeAll { $0.key == name }
    held.append((name, notice, mark))
    review()
  }

  func checkBegan(_ key: RefusedKey) { awaited.insert(key) }

  /// The key's free call has ended, or was not made.
  func checkEnded(_ key: RefusedKey) {
    awaited.remove(key)
    review()
  }

  /// The policy or its secrets changed.
  func policyChanged(_ snapshot: AdmissionSnapshot) {
    let present = Set(
      snapshot.providers.flatMap { provider in
        provider.keys.map { RefusedKey(provider: provider.id, key: $0.id) }
      })
    refusals = refusals.filter { present.contains($0.key) && $0.value.generation == generation(of: $0.key) }
    disabled = disabled.filter { present.contains($0.key) }
    awaited.formIntersection(present)
    // A key that was renamed is still refused.
    for provider in snapshot.providers {
      for key in provider.keys { note(RefusedKey(provider: provider.id, key: key.id), key.reason ?? .perhapsUnpaid) }
    }
    review()
  }

  private func note(_ key: RefusedKey, _ reason: KeyReason) {
    switch reason {
    case .refused, .refusedInCheck, .unpaid:
      disabled[key] = nil
      refusals[key] = Refusal(
        isUnpaid: reason == .unpaid, generation: generation(of: key), since: refusals[key]?.since ?? time.now)
    case .usable, .paused:
      refusals[key] = nil
      disabled[key] = nil
    case .byOperator:
      refusals[key] = nil
      disabled[key] = disabled[key] ?? time.now
    // These say nothing that is sure.
    case .perhapsRefused, .perhapsUnpaid, .notInForce, .dates: break
    }
  }

  private func generation(of key: RefusedKey) -> Int {
    rules.now.secrets.generation(provider: key.provider.name, key: key.key.name)
  }

  private func review() {
    guard awaited.isEmpty else { return }
    let (now, isAll) = look()
    let fresh = now.filter { provider in
      !refused.contains {
        $0.provider == provider.provider && $0.keys == provider.keys && $0.disabled == provider.disabled
      }
    }
    let over = refused.filter { known in !now.contains { $0.provider == known.provider } }
    refused = now
    if !fresh.isEmpty { report(.allRefused(fresh, isAll: isAll)) }
    for provider in over { report(.recovered(provider: provider.provider, wasRefused: !provider.keys.isEmpty)) }
    let told = Set(now.map(\.provider))
    let lines = held
    held.removeAll()
    for line in lines where !told.contains(line.key.provider.name) { noticed(line.notice, line.mark) }
  }

  /// The providers that have no key left, and whether these are all that need one.
  private func look() -> (refused: [RefusedProvider], isAll: Bool) {
    let wall = time.wallNow
    var found: [RefusedProvider] = []
    var others = 0
    for provider in rules.now.policy.providers where !provider.keys.isEmpty && !provider.passThrough {
      let inForce = provider.keys.filter { KeyStanding($0, at: wall).isInForce }
      func disabledSince(_ key: ProviderKey) -> UInt64? {
        disabled[RefusedKey(provider: ProviderID(provider.id), key: KeyID(key.id))]
      }
      let own = inForce.filter { disabledSince($0) == nil }
      let refusals = own.compactMap { self.refusals[RefusedKey(provider: ProviderID(provider.id), key: KeyID($0.id))] }
      guard !inForce.isEmpty, refusals.count == own.count else {
        others += 1
        continue
      }
      found.append(
        RefusedProvider(
          provider: provider.id,
          keys: zip(own, refusals).map { key, refusal in
            RefusedProvider.Key(
              id: key.id, source: key.sourceName, isUnpaid: refusal.isUnpaid,
              advice: key.advice(isUnpaid: refusal.isUnpaid))
          },
          disabled: inForce.filter { disabledSince($0) != nil }.map(\.id),
          since: (refusals.map(\.since) + inForce.compactMap(disabledSince)).max() ?? time.now))
    }
    return (found, others == 0)
  }
}

extension KeyReason {
  /// True where it is about a key that the provider does not take.
  fileprivate var isRefusal: Bool {
    switch self {
    case .perhapsRefused, .refusedInCheck, .refused, .unpaid: true
    case .usable, .paused, .perhapsUnpaid, .byOperator, .notInForce, .dates: false
    }
  }
}

extension ProviderKey {
  /// What to do where the provider refuses this key.
  fileprivate func advice(isUnpaid: Bool) -> String {
    if isUnpaid { return "Add credit to the account of '\(id)'." }
    switch source {
    case .text:
      guard let variable else { return "Put a valid secret into the policy, then run 'tollgate reload'." }
      return "Set \(variable) to a valid key and start tollgate again."
    case .file(let path): return "Write a valid key into \(path): it is read when it changes."
    case .command(let words):
      return "Make \(words.first ?? "the command") print a valid key, then run 'tollgate reload'."
    }
  }
}
