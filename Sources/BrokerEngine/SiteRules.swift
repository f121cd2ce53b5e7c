// Decides which web pages may call, and by which host names. A listener that asks for no credentials needs this check,
// because every page in a browser on this machine can reach it. The data port and the admin port use the same check.
//
// Two attacks are prevented. A page of another site may send requests, but its browser says so in `Origin` or
// `Sec-Fetch-Site`. A page may give its own name this machine's address (DNS rebinding); then `Host` is that name.
// Agents and SDKs send no `Origin`, and this machine's name as `Host`.
import AdmissionCore
import HTTPMessage
import PolicyFile

/// The names and origins of one listener.
public struct SiteRules: Sendable {
  /// Why a request is refused.
  public enum Objection: Equatable {
    /// The request names a host that is not one of ours.
    case name(String)
    /// The request came from a page of another site.
    case origin(String)
    /// The same, where the browser does not say which site.
    case crossSite
  }

  /// Allowed names besides those of this machine, in lower case and without port.
  private let hosts: Set<String>
  private let origins: [Glob]
  /// True where any IP address is allowed as a name, since no page can use an address as its own name.
  private let takesAnyAddress: Bool
  /// True where only pages of this listener's own origin may call. Links on other pages may still lead here, since a
  /// page cannot read what its link shows.
  private let isForOwnPages: Bool

  init(hosts: [String], origins: [Glob]) {
    self.hosts = Set(hosts)
    self.origins = origins
    takesAnyAddress = false
    isForOwnPages = false
  }

  private init(isForOwnPages: Bool) {
    hosts = []
    origins = []
    takesAnyAddress = true
    self.isForOwnPages = isForOwnPages
  }

  /// The rules of the admin port: names of this machine, any address, and the console's own pages.
  public static var adminPort: SiteRules { SiteRules(isForOwnPages: true) }

  /// The rules of the data port: the policy's `hosts:` and `cors:`, and the addresses on which it listens.
  init(dataPortOf policy: Policy) {
    let listening = policy.listen.compactMap { address -> String? in
      if case .tcp(let host, _) = address { host } else { nil }
    }
    self.init(hosts: policy.hosts + listening, origins: policy.corsOrigins)
  }

  /// Why a request must not be answered; nil where it may be.
  public func objection(to head: RequestHead) -> Objection? {
    let host = SiteRules.host(of: head.authority[...])
    guard isOurs(host) else { return .name(host) }
    if let origin = head.fields.first("origin") {
      let isAllowed =
        isForOwnPages
        ? origin == "http://\(head.authority)" || origin == "https://\(head.authority)"
        : mayCall(origin: origin) || SiteRules.host(ofOrigin: origin.lowercased()) == host
      return isAllowed ? nil : .origin(origin)
    }
    // A browser that leaves `Origin` out sends this field instead.
    guard head.fields.first("sec-fetch-site")?.lowercased() == "cross-site" else { return nil }
    let isLink =
      isForOwnPages && head.method == "GET" && head.fields.first("sec-fetch-mode") == "navigate"
      && head.fields.first("sec-fetch-dest") == "document"
    return isLink ? nil : .crossSite
  }

  /// True for origins whose pages may call and read: those of this machine, and the listed ones.
  public func mayCall(origin: String) -> Bool {
    let origin = origin.lowercased()
    if let host = SiteRules.host(ofOrigin: origin), SiteRules.isThisMachine(host) { return true }
    return origins.contains { $0.matches(origin) }
  }

  private func isOurs(_ host: String) -> Bool {
    if host.isEmpty || SiteRules.isThisMachine(host) || hosts.contains(host) { return true }
    guard takesAnyAddress else { return false }
    return host.contains(":")
      || host.utf8.allSatisfy { $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") || $0 == UInt8(ascii: ".") }
  }

  /// True for the names that every machine has for itself, and that containers have for their host.
  static func isThisMachine(_ host: String) -> Bool {
    if host.hasSuffix(".localhost") || host == "host.docker.internal" { return true }
    let mapped = "::ffff:"
    let host = host.hasPrefix(mapped) ? String(host.dropFirst(mapped.count)) : host
    return ListenAddress.tcp(host: host, port: 0).isLoopback
  }

  /// The host of an authority in lower case, without port, brackets and final dot.
  static func host(of authority: Substring) -> String {
    var host = authority
    if host.hasPrefix("[") {
      host = host.dropFirst().prefix { $0 != "]" }
    } else {
      host = host.prefix { $0 != ":" }
    }
    if host.hasSuffix(".") { host = host.dropLast() }
    return host.lowercased()
  }

  /// The host of `scheme://host:port`; nil for `null` and for anything that is no origin.
  private static func host(ofOrigin origin: String) -> String? {
    guard let mark = origin.firstRange(of: "://") else { return nil }
    let authority = origin[mark.upperBound...]
    guard !authority.isEmpty, !authority.contains(where: { "/?#@\\".contains($0) }) else { return nil }
    let host = host(of: authority)
    return host.isEmpty ? nil : host
  }
}

/// The fields by which a browser lets a page read an answer (Fetch standard, section 3.3).
enum CrossOrigin {
  /// Appends the fields for an origin that may read; nothing where it is nil.
  static func append(to fields: inout HeaderFields, origin: String?) {
    guard let origin else { return }
    fields.append(name: "access-control-allow-origin", value: origin)
    fields.append(name: "access-control-expose-headers", value: "*")
    fields.append(name: "vary", value: "Origin")
  }

  /// The answer to a preflight of a page that may call.
  static func preflight(_ head: RequestHead, origin: String) -> HeaderFields {
    var fields = HeaderFields()
    append(to: &fields, origin: origin)
    fields.append(name: "access-control-allow-methods", value: methods)
    // Allows the fields that the page asks for, since every vendor's SDK has fields of its own.
    fields.append(
      name: "access-control-allow-headers", value: head.fields.first("access-control-request-headers") ?? "*")
    if head.fields.first("access-control-request-private-network") == "true" {
      fields.append(name: "access-control-allow-private-network", value: "true")
    }
    fields.append(name: "access-control-max-age", value: "600")
    return fields
  }

  static let methods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
}
