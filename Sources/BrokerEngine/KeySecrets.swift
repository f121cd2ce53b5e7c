// The secrets of the providers' keys, apart from everything that is shown, logged or decided upon.
import PolicyFile

/// Secrets by provider and key. Prints none of them.
public struct KeySecrets: CustomStringConvertible, CustomReflectable {
  private var secrets: [String: [String: Secret]] = [:]

  public init() {}

  public mutating func set(_ secret: Secret, provider: String, key: String) {
    secrets[provider, default: [:]][key] = secret
  }

  func secret(provider: String, key: String) -> Secret? { secrets[provider]?[key] }

  public var description: String { "KeySecrets(\(secrets.values.reduce(0) { $0 + $1.count }))" }
  public var customMirror: Mirror { Mirror(self, children: []) }
}
