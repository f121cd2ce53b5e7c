// The secrets of the providers' keys, apart from everything that is shown, logged or decided upon.
import PolicyFile

/// Secrets by provider and key. Prints none of them. The core knows a secret only by its generation, a number that grows with each change.
public struct KeySecrets: Sendable, CustomStringConvertible, CustomReflectable {
  private struct Entry {
    var secret: Secret
    var generation: Int
  }
  private var entries: [String: [String: Entry]] = [:]

  public init() {}

  public mutating func set(_ secret: Secret, provider: String, key: String) {
    entries[provider, default: [:]][key] = Entry(secret: secret, generation: 0)
  }

  func secret(provider: String, key: String) -> Secret? { entries[provider]?[key]?.secret }
  /// How a secret may be shown: by bullets and its last four characters; nil where there is none.
  func mark(provider: String, key: String) -> String? { secret(provider: provider, key: key)?.description }
  func generation(provider: String, key: String) -> Int { entries[provider]?[key]?.generation ?? 0 }

  /// Counts generations on from what was there before; returns true where a secret is new, gone or other.
  public mutating func succeed(_ old: KeySecrets) -> Bool {
    var changed = false
    for (provider, keys) in entries {
      for (key, entry) in keys {
        guard let before = old.entries[provider]?[key] else {
          changed = true
          continue
        }
        if before.secret != entry.secret { changed = true }
        entries[provider]?[key]?.generation = before.generation + (before.secret == entry.secret ? 0 : 1)
      }
    }
    return changed || old.count != count
  }

  private var count: Int { entries.values.reduce(0) { $0 + $1.count } }

  public var description: String { "KeySecrets(\(count))" }
  public var customMirror: Mirror { Mirror(self, children: []) }
}
