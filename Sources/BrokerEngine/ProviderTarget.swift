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
  /// The paths of both URLs: a client's path that begins with one of them does not get it twice.
  private let basePath: String
  private let rootPath: String
  /// True where the provider is Azure, whose own paths begin with `/openai`.
  private let isAzure: Bool
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
    (_, basePath) = ProviderTarget.parts(of: policy.baseURL)
    let host: Substring
    (host, rootPath) = ProviderTarget.parts(of: root)
    isAzure = policy.auth == .apiKey || host.hasSuffix(".azure.com")
  }

  /// Host (without its port) and path of a base URL.
  private static func parts(of url: String) -> (host: Substring, path: String) {
    guard let scheme = url.firstRange(of: "://") else { return ("", "") }
    let rest = url[scheme.upperBound...]
    let slash = rest.firstIndex(of: "/") ?? rest.endIndex
    return (rest[..<slash].prefix { $0 != ":" }, String(rest[slash...]))
  }

  /// The absolute URL for a client's path and query.
  ///
  /// OpenAI SDKs take a base URL with the version (`.../v1`, `.../openai/v1`, `.../v4`), so the client's `/v1` stands
  /// for it. Other SDKs take a base URL without a version, and the client's path is appended.
  ///
  /// - Parameter written: the target as the client wrote it, where `target` is the one that is meant: Azure's own paths
  ///   look like those of other vendors with a wrong base URL.
  func url(for target: String, written: String? = nil) -> String {
    if isAzure, let written, written.utf8.starts(with: "/openai/".utf8) { return makeURL(for: written) }
    if let path = latest.path, path.hasSameBytes(as: target) { return latest.url }
    let url = makeURL(for: target)
    if !target.utf8.contains(UInt8(ascii: "?")) { (latest.path, latest.url) = (target, url) }
    return url
  }

  private func makeURL(for target: String) -> String {
    let target = policy.passThrough ? target : ProviderTarget.withoutKeyParameter(target)
    if versionIsInBase, let rest = ProviderTarget.rest(of: target, behind: "/v1") { return policy.baseURL + rest }
    if let rest = ProviderTarget.rest(of: target, behind: basePath) { return policy.baseURL + rest }
    if let rest = ProviderTarget.rest(of: target, behind: rootPath) { return root + rest }
    return root + target
  }

  /// What follows `path` in the target; nil where the target does not begin with these segments.
  private static func rest(of target: String, behind path: String) -> Substring? {
    guard !path.isEmpty, target.utf8.starts(with: path.utf8) else { return nil }
    let rest = target[target.utf8.index(target.startIndex, offsetBy: path.utf8.count)...]
    guard let next = rest.utf8.first else { return rest }
    return next == UInt8(ascii: "/") || next == UInt8(ascii: "?") ? rest : nil
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
