// The secrets of the providers' keys, kept apart from everything that is shown, logged or used in decisions.
import PolicyFile

/// Secrets by provider and key. Prints none of them. The core knows a secret only by its generation, a number that grows with each change.
public struct KeySecrets: Sendable, CustomStringConvertible, CustomReflectable {
  private struct Entry {
    var secret: Secret
    var generation: Int
    /// The name under which the previous policy had this secret, where it is another name.
    var predecessor: String?
  }
  private var entries: [String: [String: Entry]] = [:]

  public init() {}

  public mutating func set(_ secret: Secret, provider: String, key: String) {
    entries[provider, default: [:]][key] = Entry(secret: secret, generation: 0)
  }

  func secret(provider: String, key: String) -> Secret? { entries[provider]?[key]?.secret }
  /// The secret as it may be shown: bullets and its last four characters; nil where there is none.
  func mark(provider: String, key: String) -> String? { secret(provider: provider, key: key)?.description }
  func generation(provider: String, key: String) -> Int { entries[provider]?[key]?.generation ?? 0 }
  func predecessor(provider: String, key: String) -> String? { entries[provider]?[key]?.predecessor }

  /// Continues the generations of the old secrets, and finds keys that were only renamed. Returns true where a secret
  /// is new, gone or changed.
  public mutating func inheritGenerations(from old: KeySecrets) -> Bool {
    var changed = false
    for (provider, keys) in entries {
      let before = old.entries[provider] ?? [:]
      // Old keys whose secret is no longer under their name.
      var renamed = before.filter { name, entry in keys[name]?.secret != entry.secret }
      for (key, entry) in keys.sorted(by: { $0.key < $1.key }) {
        entries[provider]?[key]?.predecessor = nil
        if let same = before[key], same.secret == entry.secret {
          entries[provider]?[key]?.generation = same.generation
          continue
        }
        changed = true
        if let other = renamed.filter({ $0.value.secret == entry.secret }).keys.min(), let heir = before[other] {
          renamed[other] = nil
          entries[provider]?[key]?.predecessor = other
          entries[provider]?[key]?.generation = heir.generation
        } else if let same = before[key] {
          entries[provider]?[key]?.generation = same.generation + 1
        }
      }
    }
    return changed || old.count != count
  }

  /// Forgets which key follows which, once the core has been told: told again, the core would take current keys for
  /// earlier ones.
  mutating func forgetPredecessors() {
    for (provider, keys) in entries {
      for key in keys.keys { entries[provider]?[key]?.predecessor = nil }
    }
  }

  private var count: Int { entries.values.reduce(0) { $0 + $1.count } }

  public var description: String { "KeySecrets(\(count))" }
  public var customMirror: Mirror { Mirror(self, children: []) }
}
