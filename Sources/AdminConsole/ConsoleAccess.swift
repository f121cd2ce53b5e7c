// Who may read and change what through the admin port: by token, or without one by where the caller is.
import BrokerEngine
import HTTPMessage
import PolicyFile
import TextForms

extension AdminConsole {
  /// What a caller may read and change.
  enum Access {
    case full
    /// Everything may be read, and nothing changed.
    case reading
    /// Only one tenant's data, and no changes.
    case tenant(String)
    /// 401 or 403.
    case refused(Reply)
  }

  func access(_ head: RequestHead) -> Access {
    // Browsers say where a request comes from, even where they send no `Origin`. Changes may come only from the
    // console's own page and from callers that are no page, also with a token. Without a token, scripts of other sites
    // may not even read (`SiteRules`); links may lead here.
    if !head.isRead, AdminConsole.isFromAnotherSite(head) {
      return .refused(.error(403, "changes asked for by pages of other sites are refused"))
    }
    let admin = broker.policy.admin
    if let token = admin.token {
      let shown = head.fields.first("authorization").flatMap(AdminConsole.token)
      func isShown(_ token: Secret) -> Bool {
        guard let shown else { return false }
        return AdminConsole.isEqualInConstantTime(shown, Array(token.revealed.utf8))
      }
      // Compare all tokens, whichever matches, so that timing reveals nothing.
      var found: Access?
      if isShown(token) { found = .full }
      if let readToken = admin.readToken, isShown(readToken) { found = .reading }
      for other in admin.tenantTokens where isShown(other.token) { found = .tenant(other.tenant) }
      if let found { return found }
      var reply = Reply.error(401, "give the admin token: Authorization: Bearer TOKEN")
      reply.fields.append((name: "www-authenticate", value: "Bearer"))
      return .refused(reply)
    }
    guard checksHost, let objection = AdminConsole.sites.objection(to: head) else { return .full }
    switch objection {
    case .name:
      return .refused(
        .error(403, "the admin console answers to localhost and to addresses only; set admin.token to use other names"))
    case .origin, .crossSite: return .refused(.error(403, "requests from other sites are refused"))
    }
  }

  private static let sites = SiteRules.adminPort

  /// True where a browser says that a page of another site asks. `Sec-Fetch-Site` decides where it is there, since a proxy
  /// before us may give another `Host` than the page's; browsers leave it out for pages without TLS, and send `Origin`.
  private static func isFromAnotherSite(_ head: RequestHead) -> Bool {
    if let site = head.fields.first("sec-fetch-site") { return !["same-origin", "none"].contains(site) }
    guard let origin = head.fields.first("origin")?.lowercased() else { return false }
    let authority = head.authority.lowercased()
    return origin != "http://\(authority)" && origin != "https://\(authority)"
  }

  /// The token of a field `Authorization: Bearer TOKEN`; the scheme's letters may be of either case. nil for other schemes.
  static func token(_ authorization: String) -> [UInt8]? {
    let scheme = Array("bearer ".utf8)
    let bytes = Array(authorization.utf8)
    guard bytes.count > scheme.count, zip(bytes, scheme).allSatisfy({ $0 | 0x20 == $1 }) else { return nil }
    return Array(bytes[scheme.count...].drop { $0 == UInt8(ascii: " ") })
  }

  static func isEqualInConstantTime(_ left: [UInt8], _ right: [UInt8]) -> Bool {
    var difference = left.count ^ right.count
    for index in 0..<max(left.count, right.count) {
      difference |= Int((index < left.count ? left[index] : 0) ^ (index < right.count ? right[index] : 0))
    }
    return difference == 0
  }

  /// What the caller's token allows, so that a page offers no more.
  static func me(_ access: Access, hasToken: Bool) -> Reply {
    var json = JSONWriter()
    json.object { json in
      switch access {
      case .full:
        json.member("can_change", true)
        json.member("tenant", String?.none)
        json.member("token", hasToken ? "admin" : "none")
      case .reading:
        json.member("can_change", false)
        json.member("tenant", String?.none)
        json.member("token", "read")
      case .tenant(let tenant):
        json.member("can_change", false)
        json.member("tenant", tenant)
        json.member("token", "tenant")
      case .refused: json.member("can_change", false)
      }
    }
    return .json(json.bytes)
  }
}
