// Reads kinds, and the rules that classify calls.
import AdmissionCore
import TextForms

extension PolicyBuilder {
  func readKinds(_ top: Fields, _ policy: inout Policy) {
    guard let node = top["kinds"],
      let kinds = reader.fields(node, "kinds", known: nil, shape: "a mapping of kinds to high, normal, low")
    else { return }
    var seen: Set<String> = []
    for entry in kinds.entries {
      let path = kinds.path(of: entry.name)
      if !reader.isName(entry.name) {
        reader.report(entry.position, path, "found \(quoted(entry.name)), allowed: \(FieldReader.nameRule)")
      }
      if !seen.insert(entry.name.lowercased()).inserted {
        reader.report(entry.position, path, "given more than once, case does not count, allowed: once")
      }
      if entry.value.isNull {
        reader.report(entry.position, path, "is missing, allowed: high, normal, low")
      } else if let priority = kinds.priority(entry.name) {
        policy.kinds[entry.name.lowercased()] = priority
      }
    }
  }

  func readInheritance(_ top: Fields, _ policy: inout Policy) {
    guard let items = top.list("inherit", of: "kinds, such as [compaction]") else { return }
    policy.inherit = []
    for item in items {
      guard let kind = kind(item.node, item.path, policy) else { continue }
      if policy.inherit.contains(kind) {
        reader.report(item.node.position, item.path, "given more than once, allowed: each kind once")
      } else {
        policy.inherit.append(kind)
      }
    }
  }

  /// The name of a known kind, in lower case.
  private func kind(_ node: YAMLNode, _ path: String, _ policy: Policy) -> String? {
    let names = policy.kinds.keys.sorted()
    let allowed = "a name under kinds: (\(names.joined(separator: ", ")))"
    guard let text = reader.scalar(node, path, allowed: allowed) else { return nil }
    let name = text.lowercased()
    if policy.kinds[name] != nil { return name }
    let guess = Spelling.nearest(to: name, among: names).map { ", did you mean \"\($0)\"?" } ?? ","
    reader.report(node.position, path, "found \(node.found)\(guess) allowed: \(allowed)")
    return nil
  }

  func readRules(_ top: Fields, _ policy: inout Policy) {
    for item in top.list("rules", of: "rules, such as {when: {path: \"/v1/embeddings\"}, priority: low}") ?? [] {
      let known = ["when", "priority", "kind", "session", "only_unhinted"]
      guard let fields = reader.fields(item.node, item.path, known: known) else { continue }
      var rule = Rule(priority: fields.priority("priority"))
      rule.kind = fields["kind"].flatMap { kind($0, fields.path(of: "kind"), policy) }
      rule.session = session(fields)
      rule.onlyUnhinted = fields.flag("only_unhinted") ?? false
      if !["priority", "kind", "session"].contains(where: { fields[$0] != nil }),
        entryCount(item.node) == fields.entries.count
      {
        reader.report(fields.position, item.path, "says nothing, allowed: at least one of priority, kind, session")
      }
      guard readConditions(fields, &rule) else { continue }
      policy.rules.append(rule)
    }
  }

  /// Reads `when`; false where it is missing or no mapping.
  private func readConditions(_ fields: Fields, _ rule: inout Rule) -> Bool {
    let conditions = ["path", "model", "tenant", "header", "no_header"]
    let allowed = "at least one of \(conditions.joined(separator: ", "))"
    // Calls without a hint are a condition too.
    if rule.onlyUnhinted, fields["when"] == nil { return true }
    guard let node = fields.required("when", allowed: allowed),
      let when = reader.fields(node, fields.path(of: "when"), known: conditions + ["only_unhinted"])
    else { return false }
    rule.path = when["path"].flatMap { reader.glob($0, when.path(of: "path")) }
    rule.model = when["model"].flatMap { reader.glob($0, when.path(of: "model")) }
    rule.tenant = when["tenant"].flatMap { reader.glob($0, when.path(of: "tenant")) }
    if let own = when.flag("only_unhinted") { rule.onlyUnhinted = own }
    if let node = when["header"],
      let headers = reader.fields(
        node, when.path(of: "header"), known: nil, shape: "a mapping of header names to globs")
    {
      for entry in headers.entries { readHeader(entry, headers.path(of: entry.name), &rule) }
    }
    for item in when.list("no_header", of: "header names, such as [x-claude-code-agent-id]") ?? [] {
      guard let name = fieldName(item.node, item.path) else { continue }
      if rule.headers.contains(where: { $0.name == name }) {
        reader.report(item.node.position, item.path, "\(quoted(name)) is under header too, allowed: one of the two")
      }
      rule.absentHeaders.append(name)
    }
    let isComplete = entryCount(node) == when.entries.count
    if isComplete, !rule.onlyUnhinted,
      !conditions.contains(where: { name in
        guard let node = when[name] else { return false }
        switch node.content {
        case .mapping(let entries): return !entries.isEmpty
        case .sequence(let items): return !items.isEmpty
        default: return true
        }
      })
    {
      reader.report(node.position, fields.path(of: "when"), "no condition, allowed: \(allowed)")
    }
    return true
  }

  /// A session's name, or `header:NAME`.
  private func session(_ fields: Fields) -> Rule.Session? {
    let allowed = "a text of 1 to 128 bytes, or header: and the name of a header field"
    guard let (text, node) = fields.scalar("session", allowed: allowed) else { return nil }
    if text.utf8.starts(with: "header:".utf8) {
      let name = String(text.dropFirst("header:".count))
      if isFieldName(name) { return .header(name.lowercased()) }
    } else if !text.isEmpty, text.utf8.count <= 128 {
      return .text(text)
    }
    reader.report(node.position, fields.path(of: "session"), "found \(node.found), allowed: \(allowed)")
    return nil
  }

  private func fieldName(_ node: YAMLNode, _ path: String) -> String? {
    let allowed = "the name of a header field"
    guard let text = reader.scalar(node, path, allowed: allowed) else { return nil }
    if isFieldName(text) { return text.lowercased() }
    reader.report(node.position, path, "found \(node.found), allowed: \(allowed)")
    return nil
  }

  /// True for a token of RFC 9110, as names of header fields are.
  private func isFieldName(_ text: String) -> Bool {
    !text.isEmpty
      && text.utf8.allSatisfy { byte in
        (byte | 0x20 >= 0x61 && byte | 0x20 <= 0x7A) || (byte >= 0x30 && byte <= 0x39)
          || "!#$%&'*+-.^_`|~".utf8.contains(byte)
      }
  }

  private func readHeader(_ entry: Fields.Entry, _ path: String, _ rule: inout Rule) {
    if !isFieldName(entry.name) {
      reader.report(entry.position, path, "found \(quoted(entry.name)), allowed: the name of a header field")
    }
    let name = entry.name.lowercased()
    if rule.headers.contains(where: { $0.name == name }) {
      reader.report(entry.position, path, "given more than once, case does not count, allowed: once")
    }
    if let glob = reader.glob(entry.value, path) { rule.headers.append(Rule.HeaderPattern(name, glob)) }
  }
}
