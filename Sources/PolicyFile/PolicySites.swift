// Reads which web pages may call the data port and by which host names, and which fields are added for a provider.
import AdmissionCore

extension PolicyBuilder {
  func readSites(_ top: Fields, _ policy: inout Policy) {
    if let node = top["cors"], let cors = reader.fields(node, "cors", known: ["origins"]) {
      let allowed = "an origin such as https://app.example, * in it for any characters"
      for item in cors.list("origins", of: "origins, such as [\"https://app.example\"]") ?? [] {
        guard let text = reader.scalar(item.node, item.path, allowed: allowed) else { continue }
        guard let origin = PolicyBuilder.origin(text) else {
          reader.report(item.node.position, item.path, "found \(item.node.found), allowed: \(allowed)")
          continue
        }
        policy.corsOrigins.append(Glob(origin))
      }
    }
    let allowed = "a host name or an address without a port, such as gateway.lan"
    for item in top.list("hosts", of: "host names, such as [gateway.lan]") ?? [] {
      guard let text = reader.scalar(item.node, item.path, allowed: allowed) else { continue }
      guard let host = PolicyBuilder.host(text) else {
        reader.report(item.node.position, item.path, "found \(item.node.found), allowed: \(allowed)")
        continue
      }
      policy.hosts.append(host)
    }
  }

  /// An origin as browsers send it, in lower case; nil where the text cannot be one. `*` alone means every page.
  static func origin(_ text: String) -> String? {
    let text = text.lowercased()
    if text == "*" { return text }
    guard let mark = text.firstRange(of: "://"), text.utf8.count <= 256,
      text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F })
    else { return nil }
    let scheme = text[..<mark.lowerBound]
    let host = text[mark.upperBound...]
    guard !scheme.isEmpty, !host.isEmpty, !host.contains(where: { "/?#@".contains($0) }) else { return nil }
    return text
  }

  /// A host in lower case, without port and brackets; nil where the text is none.
  static func host(_ text: String) -> String? {
    var host = text.lowercased()
    if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
    if IPAddress.groups(ofVersion6: host) != nil { return host }
    guard !host.isEmpty, host.utf8.count <= 253,
      host.utf8.allSatisfy({
        ($0 >= 0x61 && $0 <= 0x7A) || ($0 >= 0x30 && $0 <= 0x39) || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: ".")
          || $0 == UInt8(ascii: "_")
      })
    else { return nil }
    return host
  }

  /// Reads the added fields. Fields that frame a message and our own fields cannot be set, and the key's field belongs
  /// under `keys:`.
  func addedFields(_ fields: Fields, _ provider: Provider) -> [AddedField] {
    addedFields(fields, keyField: provider.keys.isEmpty ? nil : provider.auth.fieldName)
  }

  /// - Parameters:
  ///   - keyField: the field that carries a key.
  ///   - setHere: further fields that the message itself has.
  func addedFields(_ fields: Fields, keyField: String? = nil, setHere: Set<String> = []) -> [AddedField] {
    guard let node = fields["headers"],
      let entries = reader.fields(
        node, fields.path(of: "headers"), known: nil, shape: "a mapping of field names to texts")
    else { return [] }
    let reserved: Set<String> = [
      "host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade", "expect",
      "proxy-connection", "proxy-authorization",
    ]
    var added: [AddedField] = []
    for entry in entries.entries {
      let path = entries.path(of: entry.name)
      let name = entry.name.lowercased()
      let isName =
        !name.isEmpty && name.utf8.count <= 128
        && name.utf8.allSatisfy {
          ($0 >= 0x61 && $0 <= 0x7A) || ($0 >= 0x30 && $0 <= 0x39) || "!#$%&'*+-.^_`|~".utf8.contains($0)
        }
      if !isName || reserved.contains(name) || setHere.contains(name) || name.hasPrefix("x-tollgate-") {
        reader.report(
          entry.position, path,
          "cannot be set, allowed: names of header fields other than x-tollgate-* and those that frame a message")
        continue
      }
      if name == keyField {
        reader.report(entry.position, path, "carries this provider's key, allowed: the key under keys:")
        continue
      }
      if added.contains(where: { $0.name == name }) {
        reader.report(entry.position, path, "given more than once, allowed: once, in whatever case")
        continue
      }
      let allowed = "a text without line breaks and control characters, 1 to 8192 bytes"
      guard let text = reader.scalar(entry.value, path, allowed: allowed) else { continue }
      guard !text.isEmpty, text.utf8.count <= 8192, text.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else {
        // The value is not shown, since it may be a secret.
        reader.report(entry.value.position, path, "found a text that no field can have, allowed: \(allowed)")
        continue
      }
      // As in `Bearer $TOKEN`: what was meant to be a secret would be sent as it stands.
      if let variable = entry.value.written.split(separator: " ").lazy.compactMap({ bareVariable(String($0)) }).first {
        reader.report(
          entry.value.position, path,
          "a variable without its braces (write \"${\(variable)}\"), allowed: \(allowed)")
        continue
      }
      added.append(AddedField(name: name, value: Secret(text), isSecret: text != entry.value.written))
    }
    return added
  }
}
