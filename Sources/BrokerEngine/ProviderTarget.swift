// How the engine calls a provider: the URL for a path, and the field for the credential.
import AdmissionCore
import HTTPMessage
import PolicyFile
import ProviderWire

/// A provider of the policy, prepared for calls.
struct ProviderTarget {
  let policy: Provider
  let id: ProviderID
  let timeouts: UpstreamTimeouts
  /// The base URL without the version at its end, for paths that bring their own version.
  private let root: String
  /// True where `/v1` of a client's path stands for the version in the base URL, as with the OpenAI SDKs.
  private let versionIsInBase: Bool

  /// The path of the previous call and its URL: most often the next call has the same path. It is not kept if it has a
  /// query, which may hold a credential.
  private final class LatestURL {
    var path: String?
    var url = ""
  }
  private let latest = LatestURL()

  init(_ policy: Provider) {
    self.policy = policy
    id = ProviderID(policy.id)
    timeouts = UpstreamTimeouts(
      connect: policy.connectTimeout, firstByte: policy.firstByteTimeout, idle: policy.idleTimeout,
      total: policy.totalTimeout)
    versionIsInBase = policy.dialect == .openai
    root = policy.baseURL.hasSuffix("/v1") ? String(policy.baseURL.dropLast(3)) : policy.baseURL
  }

  /// The absolute URL for a client's path and query.
  ///
  /// OpenAI SDKs take a base URL with the version (`.../v1`, `.../openai/v1`, `.../v4`), so the client's `/v1` stands
  /// for it. Other SDKs take a base URL without a version, and the client's path is appended.
  func url(for target: String) -> String {
    if let path = latest.path, path.hasSameBytes(as: target) { return latest.url }
    let url = makeURL(for: target)
    if !target.utf8.contains(UInt8(ascii: "?")) { (latest.path, latest.url) = (target, url) }
    return url
  }

  private func makeURL(for target: String) -> String {
    let target = policy.passThrough ? target : ProviderTarget.withoutKeyParameter(target)
    if versionIsInBase, target.utf8.starts(with: "/v1".utf8) {
      let rest = target.dropFirst(3)
      if rest.isEmpty || rest.utf8.first == UInt8(ascii: "/") || rest.utf8.first == UInt8(ascii: "?") {
        return policy.baseURL + rest
      }
    }
    return root + target
  }

  /// The field in which this provider expects `secret`.
  func credential(_ secret: String) -> (name: String, value: String) {
    Credentials.field(policy.auth.fieldName, secret: secret)
  }

  /// Removes `key=...` from the query, where Gemini clients put their credential.
  static func withoutKeyParameter(_ target: String) -> String {
    let halves = TargetText(target)
    guard let query = halves.query.flatMap(Credentials.queryWithoutKey) else { return target }
    return query.isEmpty ? String(halves.path) : halves.path + "?" + query
  }
}
