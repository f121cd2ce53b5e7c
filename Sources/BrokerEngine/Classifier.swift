// Decides which class a request belongs to, and why (docs/reference/headers.md).
//
// Promises: the first source with a valid value decides; then the tenant's `max_priority` clamps the class; the reason
// is kept in words. An unknown value is no error: it is reported for a metric, and the next source is asked. Without
// rules and headers a decision allocates nothing.
import AdmissionCore
import PolicyFile
import TextForms

/// What classification looks at beside header fields.
public struct ClassificationFacts: Sendable {
  /// The path as the broker dispatches on it: without query, `/x/...` and `/p/...` prefixes removed.
  public var path: String
  /// nil where the request names none.
  public var model: String?
  /// The authenticated tenant; `default` where the policy lists none.
  public var tenant: String
  /// The hints of the `/x/{name=value,...}/` prefix, by lower-case name without `x-tollgate-`: `priority`, `kind`, ...
  /// A hint counts as the header of its name where the request does not have that header.
  public var pathHints: [String: String]

  public init(path: String, model: String?, tenant: String, pathHints: [String: String] = [:]) {
    self.path = path
    self.model = model
    self.tenant = tenant
    self.pathHints = pathHints
  }
}

public struct Classification: Sendable {
  /// The effective class, clamp applied.
  public var priority: Priority
  /// For people: `header x-tollgate-priority`, `rule 2`, `default_priority`, `rule 2, clamped by tenant acme to
  /// normal`.
  public var reason: String
  /// The known kind that the request named, in lower case, even where another source decided the class.
  public var kind: String?
  /// Values that name nothing we know, for a metric; `header` in lower case.
  public var unknownHints: [(header: String, value: String)]
}

/// Made once per policy; decides for each request.
public struct Classifier: Sendable {
  private struct TenantClass: Sendable {
    var priority: Priority?
    var maxPriority: Priority
    var reason: String
  }

  private let kinds: [String: Priority]
  private let kindReasons: [String: String]
  private let rules: [Rule]
  private let ruleReasons: [String]
  private let tenants: [String: TenantClass]
  private let template: TenantClass?
  private let defaultPriority: Priority

  public init(_ policy: Policy) {
    kinds = policy.kinds
    kindReasons = Dictionary(
      uniqueKeysWithValues: policy.kinds.keys.map { ($0, "header x-tollgate-kind: \($0)") })
    rules = policy.rules
    ruleReasons = policy.rules.indices.map { "rule \($0 + 1)" }
    defaultPriority = policy.defaultPriority
    var tenants: [String: TenantClass] = [:]
    var template: TenantClass?
    for tenant in policy.tenants {
      let of = TenantClass(
        priority: tenant.priority, maxPriority: tenant.maxPriority,
        reason: tenant.id == "*" ? "tenant template" : "tenant \(tenant.id)")
      if tenant.id == "*" { template = of } else { tenants[tenant.id] = of }
    }
    self.tenants = tenants
    self.template = template
  }

  /// - Parameter header: the value of the first field of a name, given in lower case; nil where there is none.
  public func classify(_ facts: ClassificationFacts, header: (String) -> String?) -> Classification {
    let tenant = tenants.isEmpty ? template : tenants[facts.tenant] ?? template
    var result = Classification(priority: defaultPriority, reason: "default_priority", kind: nil, unknownHints: [])
    decide(facts, tenant, header, &result)
    if let tenant, result.priority > tenant.maxPriority {
      result.priority = tenant.maxPriority
      result.reason += ", clamped by tenant \(facts.tenant) to \(tenant.maxPriority.name)"
    }
    return result
  }

  private func decide(
    _ facts: ClassificationFacts, _ tenant: TenantClass?, _ header: (String) -> String?, _ result: inout Classification
  ) {
    let hasHints = !facts.pathHints.isEmpty
    var isDecided = false

    if let value = header("x-tollgate-priority") ?? (hasHints ? facts.pathHints["priority"] : nil) {
      if let priority = Priority(name: value) {
        result.priority = priority
        result.reason = "header x-tollgate-priority"
        isDecided = true
      } else {
        result.unknownHints.append(("x-tollgate-priority", value))
      }
    }
    if let value = header("x-tollgate-kind") ?? (hasHints ? facts.pathHints["kind"] : nil) {
      let kind = ASCIIText.trimmed(value).lowercased()
      if let priority = kinds[kind] {
        result.kind = kind
        if !isDecided {
          result.priority = priority
          result.reason = kindReasons[kind] ?? "header x-tollgate-kind"
          isDecided = true
        }
      } else {
        result.unknownHints.append(("x-tollgate-kind", value))
      }
    }
    if isDecided { return }

    for index in rules.indices where matches(rules[index], facts, header) {
      result.priority = rules[index].priority
      result.reason = ruleReasons[index]
      return
    }

    if let value = header("x-claude-code-request-class") {
      if let priority = ClientHints.claudeCode(value) {
        result.priority = priority
        result.reason = "header x-claude-code-request-class"
        return
      }
      result.unknownHints.append(("x-claude-code-request-class", value))
    }
    if let value = header("x-codex-turn-metadata") {
      if let priority = ClientHints.codex(value) {
        result.priority = priority
        result.reason = "header x-codex-turn-metadata"
        return
      }
      result.unknownHints.append(("x-codex-turn-metadata", ClientHints.codexKind(value) ?? "no request_kind"))
    }
    if let value = header("priority") {
      switch ClientHints.urgency(value) {
      case .some(.some(let urgency)):
        result.priority = urgency <= 2 ? .high : urgency <= 4 ? .normal : .low
        result.reason = "header priority"
        return
      case .some(.none): result.unknownHints.append(("priority", value))
      case .none: break
      }
    }
    if let tenant, let priority = tenant.priority {
      result.priority = priority
      result.reason = tenant.reason
    }
  }

  private func matches(_ rule: Rule, _ facts: ClassificationFacts, _ header: (String) -> String?) -> Bool {
    if let path = rule.path, !path.matches(facts.path) { return false }
    if let model = rule.model, !model.matches(facts.model ?? "") { return false }
    if let tenant = rule.tenant, !tenant.matches(facts.tenant) { return false }
    for field in rule.headers {
      guard let value = header(field.name), field.value.matches(value) else { return false }
    }
    return true
  }
}

/// What agents say about their own calls.
enum ClientHints {
  /// Claude Code's request classes: `main` is a turn of the conversation that a user looks at.
  static func claudeCode(_ value: String) -> Priority? {
    let text = ASCIIText.trimmed(value)
    if ASCIIText.areEqual(text, "main") { return .high }
    if ASCIIText.areEqual(text, "subagent") || ASCIIText.areEqual(text, "workflow") { return .normal }
    if ASCIIText.areEqual(text, "compaction") || ASCIIText.areEqual(text, "auxiliary") { return .low }
    return nil
  }

  /// Codex's turn metadata, a JSON object: `request_kind` is `turn`, `prewarm`, `compaction` or `memory`;
  /// `thread_source` is `user` where the thread belongs to a person.
  static func codex(_ value: String) -> Priority? {
    guard let kind = codexKind(value) else { return nil }
    if ASCIIText.areEqual(kind, "turn") {
      return member("thread_source", of: value).map { ASCIIText.areEqual($0, "user") } == false ? .normal : .high
    }
    for low in ["compaction", "memory", "prewarm"] where ASCIIText.areEqual(kind, low) { return .low }
    return nil
  }

  static func codexKind(_ value: String) -> String? { member("request_kind", of: value).map { String($0) } }

  /// The text of a string member, found without parsing the object, since the metadata is only a hint. Reads the first
  /// 8 KiB; texts with escapes are not read.
  private static func member(_ name: String, of json: String) -> Substring? {
    let bytes = json.utf8.prefix(8192)
    let key = Array("\"\(name)\"".utf8)
    var at = bytes.startIndex
    while let quote = bytes[at...].firstIndex(of: UInt8(ascii: "\"")) {
      at = bytes.index(after: quote)
      guard bytes[quote...].starts(with: key) else { continue }
      var value = bytes.index(quote, offsetBy: key.count)
      func skipBlanks() {
        while value < bytes.endIndex, bytes[value] == 0x20 || bytes[value] == 0x09 { value = bytes.index(after: value) }
      }
      skipBlanks()
      guard value < bytes.endIndex, bytes[value] == UInt8(ascii: ":") else { continue }
      value = bytes.index(after: value)
      skipBlanks()
      guard value < bytes.endIndex, bytes[value] == UInt8(ascii: "\"") else { continue }
      let start = bytes.index(after: value)
      guard let end = bytes[start...].firstIndex(where: { $0 == UInt8(ascii: "\"") || $0 == UInt8(ascii: "\\") }),
        bytes[end] == UInt8(ascii: "\"")
      else { return nil }
      return json[start..<end]
    }
    return nil
  }

  /// RFC 9218: nil where the field has no `u`; an inner nil where `u` is no integer from 0 to 7. The last `u` counts.
  static func urgency(_ value: String) -> Int?? {
    var found: Int?? = .none
    for part in value.utf8.split(separator: UInt8(ascii: ",")) {
      let member = part.drop { $0 == 0x20 || $0 == 0x09 }
      guard member.first == UInt8(ascii: "u") else { continue }
      let rest = member.dropFirst()
      guard rest.isEmpty || rest.first == UInt8(ascii: "=") || rest.first == UInt8(ascii: ";") || rest.first == 0x20
      else { continue }
      let digits = rest.dropFirst().prefix { $0 != UInt8(ascii: ";") && $0 != 0x20 && $0 != 0x09 }
      if rest.first == UInt8(ascii: "="), digits.count == 1, let digit = digits.first, digit >= 0x30, digit <= 0x37 {
        found = .some(Int(digit) - 0x30)
      } else {
        found = .some(.none)
      }
    }
    return found
  }
}
