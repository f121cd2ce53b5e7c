// Where the broker listens: reads the policy's addresses, TLS files and admin section, and checks what may not be
// combined.

extension ListenAddress {
  static let allowed = "IP:PORT such as 127.0.0.1:4141, [::1]:4141, or unix:/PATH.sock"
  /// A Unix socket's path must fit the system's address structure with its closing zero.
  static let longestSocketPath = 107

  /// From the text of the policy or of `--listen`; nil where the text has none of the allowed forms. `localhost` means
  /// 127.0.0.1; with port 0 the system chooses the port.
  public init?(_ text: String) {
    if text.hasPrefix("unix:") {
      let path = String(text.dropFirst(5))
      guard path.hasPrefix("/"), path.utf8.count <= ListenAddress.longestSocketPath, path.last != "/",
        !path.utf8.contains(0)
      else { return nil }
      self = .unix(path: path)
      return
    }
    guard let colon = text.lastIndex(of: ":"), let port = wholeNumber(text[text.index(after: colon)...]), port <= 65535
    else { return nil }
    var host = String(text[..<colon])
    if host.hasPrefix("["), host.hasSuffix("]") {
      host = String(host.dropFirst().dropLast())
      guard IPAddress.groups(ofVersion6: host) != nil else { return nil }
    } else if host == "localhost" {
      host = "127.0.0.1"
    } else {
      guard IPAddress.octets(ofVersion4: host) != nil else { return nil }
    }
    self = .tcp(host: host, port: Int(port))
  }

  /// True where both cannot be bound at once: they have the same port, and the same address or one of them every
  /// address.
  func collides(with other: ListenAddress) -> Bool {
    switch (self, other) {
    case (.unix(let left), .unix(let right)): return left == right
    case (.tcp(let left, let leftPort), .tcp(let right, let rightPort)):
      guard leftPort == rightPort, leftPort != 0 else { return false }
      return left == right || IPAddress.isEvery(left) || IPAddress.isEvery(right)
    default: return false
    }
  }
}

/// Literal IP addresses; names are never resolved here.
enum IPAddress {
  static func octets(ofVersion4 text: String) -> [UInt8]? {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 4 else { return nil }
    var octets: [UInt8] = []
    for part in parts {
      guard part.utf8.count <= 3, part.utf8.count == 1 || part.first != "0", let value = wholeNumber(part), value <= 255
      else { return nil }
      octets.append(UInt8(value))
    }
    return octets
  }

  /// The eight groups of an IPv6 address without zone.
  static func groups(ofVersion6 text: String) -> [UInt16]? {
    func groups(_ text: Substring) -> [UInt16]? {
      if text.isEmpty { return [] }
      var out: [UInt16] = []
      let parts = text.split(separator: ":", omittingEmptySubsequences: false)
      for (index, part) in parts.enumerated() {
        if part.contains(".") {
          guard index == parts.count - 1, let octets = octets(ofVersion4: String(part)) else { return nil }
          out.append(UInt16(octets[0]) << 8 | UInt16(octets[1]))
          out.append(UInt16(octets[2]) << 8 | UInt16(octets[3]))
        } else {
          guard !part.isEmpty, part.utf8.count <= 4, part.utf8.allSatisfy({ $0 != 0x2B && $0 != 0x2D }),
            let value = UInt16(part, radix: 16)
          else { return nil }
          out.append(value)
        }
      }
      return out
    }
    let text = text[...]
    guard let gap = text.firstRange(ofColons: 2) else {
      guard let all = groups(text), all.count == 8 else { return nil }
      return all
    }
    guard let head = groups(text[..<gap.lowerBound]), let tail = groups(text[gap.upperBound...]),
      head.count + tail.count < 8
    else { return nil }
    return head + Array(repeating: 0, count: 8 - head.count - tail.count) + tail
  }

  static func isLoopback(_ host: String) -> Bool {
    if host == "localhost" { return true }
    if let octets = octets(ofVersion4: host) { return octets[0] == 127 }
    return groups(ofVersion6: host) == [0, 0, 0, 0, 0, 0, 0, 1]
  }

  /// `0.0.0.0`, `::`: every address of the machine.
  static func isEvery(_ host: String) -> Bool {
    octets(ofVersion4: host) == [0, 0, 0, 0] || groups(ofVersion6: host) == [0, 0, 0, 0, 0, 0, 0, 0]
  }
}

extension Substring {
  /// The place of the first run of exactly `count` colons.
  fileprivate func firstRange(ofColons count: Int) -> Range<Index>? {
    var at = startIndex
    while at < endIndex {
      let rest = self[at...]
      if rest.hasPrefix(String(repeating: ":", count: count)) { return at..<index(at, offsetBy: count) }
      at = index(after: at)
    }
    return nil
  }
}

extension Policy {
  /// What is wrong with the listeners as a whole; empty where nothing is. Call again after command-line flags have
  /// replaced listeners.
  public var listenerMistakes: [(field: String, message: String)] {
    var mistakes: [(field: String, message: String)] = []
    if listen.isEmpty { mistakes.append(("listen", "an empty list, allowed: at least one address")) }
    for (index, address) in listen.enumerated() {
      let field = listen.count == 1 ? "listen" : "listen[\(index)]"
      let isGuarded = trustTenantHeader ? !tenants.isEmpty : tenants.contains { !$0.keys.isEmpty }
      if !address.isLoopback, !isGuarded {
        let lack = tenants.isEmpty ? "without tenants" : "no tenant has client keys"
        mistakes.append(
          (
            field,
            "\(address) can be reached from other machines and \(lack): anyone there could spend your keys, "
              + "allowed: a loopback address (127.0.0.1, [::1], unix:) or tenants: with client keys"
          ))
      }
      if listen[..<index].contains(where: { $0.collides(with: address) }) {
        mistakes.append((field, "\(address) is taken by an address before it, allowed: each port once"))
      }
    }
    if let address = admin.listen {
      if !address.isLoopback, admin.token == nil {
        mistakes.append(
          (
            "admin.listen",
            "\(address) can be reached from other machines and without admin.token: anyone there could command the "
              + "broker, allowed: a loopback address (127.0.0.1, [::1], unix:), off, or admin.token"
          ))
      }
      if listen.contains(where: { $0.collides(with: address) }) {
        mistakes.append(
          ("admin.listen", "\(address) is also a data listener, allowed: an address and port of its own, or off"))
      }
    }
    return mistakes
  }
}

extension PolicyBuilder {
  func readListeners(_ top: Fields, _ policy: inout Policy) {
    if let node = top["listen"] {
      var items = [(node: node, path: "listen")]
      if case .sequence = node.content { items = reader.list(node, "listen", of: "addresses") ?? [] }
      policy.listen = items.compactMap { address($0.node, $0.path, allowed: ListenAddress.allowed) }
    }
    if let node = top["tls"], let tls = reader.fields(node, "tls", known: ["certificate", "key"]) {
      if let certificate = tls.filePath("certificate", isRequired: true),
        let key = tls.filePath("key", isRequired: true)
      {
        policy.tls = TLSFiles(certificate: certificate, key: key)
      } else if tls["certificate"] == nil {
        _ = tls.filePath("key", isRequired: true)
      }
    }
    if let node = top["admin"] {
      if case .scalar("off", _) = node.content {
        policy.admin.listen = nil
        return
      }
      let known = ["listen", "token", "read_token", "tenant_tokens"]
      let shape = "off, or a mapping of \(known.joined(separator: ", "))"
      guard let admin = reader.fields(node, "admin", known: known, shape: shape) else { return }
      if let node = admin["listen"] {
        if case .scalar("off", _) = node.content {
          policy.admin.listen = nil
        } else if let address = address(node, "admin.listen", allowed: ListenAddress.allowed + ", or off") {
          policy.admin.listen = address
        }
      }
      let allowed = "a text without blanks and control characters, such as \"${TOLLGATE_ADMIN_TOKEN}\""
      if let (text, node) = admin.scalar("token", allowed: allowed) {
        if isCredential(text) {
          policy.admin.token = Secret(text)
        } else {
          reader.report(node.position, "admin.token", "\(flaw(ofCredential: text)), allowed: \(allowed)")
        }
      }
      readReadToken(admin, &policy, allowed: allowed)
      readTenantTokens(admin, &policy, allowed: allowed)
    }
  }

  private func readReadToken(_ admin: Fields, _ policy: inout Policy, allowed: String) {
    guard let (text, node) = admin.scalar("read_token", allowed: allowed) else { return }
    let path = "admin.read_token"
    guard isCredential(text) else {
      reader.report(node.position, path, "\(flaw(ofCredential: text)), allowed: \(allowed)")
      return
    }
    if policy.admin.token?.revealed == text {
      reader.report(
        node.position, path, "is admin.token itself, which may change everything, allowed: a token of its own")
      return
    }
    // A token that could not be read has been reported already.
    if admin["token"] == nil {
      reader.report(
        node.position, path, "without admin.token the console is open to all, allowed: beside admin.token")
    }
    policy.admin.readToken = Secret(text)
  }

  private func readTenantTokens(_ admin: Fields, _ policy: inout Policy, allowed: String) {
    let shape = "tokens, such as {tenant: acme, token: \"${ACME_ADMIN_TOKEN}\"}"
    for item in admin.list("tenant_tokens", of: shape) ?? [] {
      guard let fields = reader.fields(item.node, item.path, known: ["tenant", "token"]) else { continue }
      let tenant = fields.scalar("tenant", allowed: "a tenant's id", isRequired: true)
      guard let (text, node) = fields.scalar("token", allowed: allowed, isRequired: true) else { continue }
      guard isCredential(text) else {
        reader.report(node.position, fields.path(of: "token"), "\(flaw(ofCredential: text)), allowed: \(allowed)")
        continue
      }
      if policy.admin.token?.revealed == text || policy.admin.readToken?.revealed == text
        || policy.admin.tenantTokens.contains(where: { $0.token.revealed == text })
      {
        reader.report(
          node.position, fields.path(of: "token"), "is given to another too, allowed: a token of its own for each")
        continue
      }
      if let (name, _) = tenant { policy.admin.tenantTokens.append(TenantToken(tenant: name, token: Secret(text))) }
    }
    if !policy.admin.tenantTokens.isEmpty, policy.admin.token == nil {
      reader.report(
        admin.position(of: "tenant_tokens"), "admin.tenant_tokens",
        "without admin.token the console is open to all, allowed: beside admin.token")
    }
  }

  private func address(_ node: YAMLNode, _ path: String, allowed: String) -> ListenAddress? {
    guard let text = reader.scalar(node, path, allowed: allowed) else { return nil }
    if let address = ListenAddress(text) { return address }
    let reason: String
    if text.hasPrefix("unix:") {
      reason =
        text.utf8.count > ListenAddress.longestSocketPath + 5
        ? "the path is longer than \(ListenAddress.longestSocketPath) bytes" : "the path is not absolute"
    } else if !text.hasPrefix("["), text.utf8.count(where: { $0 == UInt8(ascii: ":") }) > 1 {
      reason = "an IPv6 address stands in brackets"
    } else if wholeNumber(text) != nil || text.hasPrefix(":") {
      reason = "the address is missing"
    } else if let colon = text.lastIndex(of: ":"), !text.hasSuffix("]"),
      wholeNumber(text[text.index(after: colon)...]).map({ $0 > 65535 }) ?? true
    {
      reason = "the port is not a number from 0 to 65535"
    } else if !text.contains(":") || text.hasSuffix("]") {
      reason = "the port is missing"
    } else {
      reason = "the address is not an IP address"
    }
    reader.report(node.position, path, "found \(node.found): \(reason), allowed: \(allowed)")
    return nil
  }

  /// True where a tenant or a client key was left out because of a mistake in it.
  private var tenantsHaveMistakes: Bool {
    reader.diagnostics.contains { $0.field == "tenants" || $0.field.hasPrefix("tenants[") }
  }

  /// Checks rules that span several fields, but only where each single field is right: otherwise one mistake would be
  /// reported twice.
  func checkListeners(_ top: Fields, _ policy: Policy) {
    var policy = policy
    // Mistakes in tenants are reported on their own.
    if case .sequence(let items)? = top["tenants"]?.content, !items.isEmpty, tenantsHaveMistakes {
      policy.tenants = [Tenant(id: "default")]
      policy.trustTenantHeader = true
    }
    let adminNode = top["admin"]
    if case .mapping(let entries)? = adminNode?.content, policy.admin.token == nil,
      entries.contains(where: { $0.key == "token" && !$0.value.isNull })
    {
      policy.admin.token = Secret("given")
    }
    for mistake in policy.listenerMistakes {
      if mistake.field == "admin.listen" {
        var position = top.position(of: "admin")
        if case .mapping(let entries)? = adminNode?.content,
          let entry = entries.first(where: { $0.key == "listen" })
        {
          position = entry.value.position
        }
        reader.report(position, mistake.field, mistake.message)
      } else {
        guard let node = top["listen"] else {
          reader.report(top.position, mistake.field, mistake.message)
          continue
        }
        guard case .sequence(let items) = node.content else {
          if !policy.listen.isEmpty { reader.report(node.position, mistake.field, mistake.message) }
          continue
        }
        // An item that could not be read is missing, so that later items have other places.
        if items.count != policy.listen.count {
          if !items.isEmpty { continue }
          reader.report(node.position, mistake.field, mistake.message)
          continue
        }
        let index = Int(mistake.field.dropFirst("listen[".count).dropLast()) ?? 0
        let position = items.indices.contains(index) ? items[index].position : node.position
        reader.report(position, mistake.field, mistake.message)
      }
    }
  }
}

/// True for a text that can be a header field's value, and is no variable whose braces were forgotten.
func isCredential(_ text: String) -> Bool {
  !text.isEmpty && bareVariable(text) == nil && text.utf8.count <= 16384
    && text.utf8.allSatisfy { $0 > 0x20 && $0 != 0x7F }
}

/// The name in `$NAME`; nil for any other text. Only capitals, as variables are named: anything else may be a secret.
func bareVariable(_ text: String) -> Substring? {
  guard text.first == "$", let first = text.utf8.dropFirst().first, !(0x30...0x39).contains(first) else { return nil }
  let name = text.dropFirst()
  return name.utf8.allSatisfy { (0x41...0x5A).contains($0) || (0x30...0x39).contains($0) || $0 == 0x5F } ? name : nil
}

/// What is wrong with a credential, without showing it.
func flaw(ofCredential text: String) -> String {
  if text.isEmpty { return "an empty text" }
  if let name = bareVariable(text) { return "a variable without its braces (write \"${\(name)}\")" }
  if text.utf8.count > 16384 { return "a text of \(text.utf8.count) bytes" }
  return "a text with blanks, line breaks or control characters"
}
