// Decides which class a request belongs to, and why (docs/reference/headers.md).
//
// Promises: the first source with a valid value decides; then the tenant's `max_priority` clamps the class; the reason
// is kept in words. An unknown value is no error: it is reported for a metric, and the next source is asked. Without
// rules and headers a decision allocates nothing.
//
// Inheritance has no timer: a kind that inherits takes the class that its session's last turn had, which the caller of
// `classify` looks up.
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
  /// True where the call costs nothing: its class shows for whom it asks.
  public var isFree: Bool

  public init(
    path: String, model: String?, tenant: String, pathHints: [String: String] = [:], isFree: Bool = false
  ) {
    self.path = path
    self.model = model
    self.tenant = tenant
    self.pathHints = pathHints
    self.isFree = isFree
  }
}

public struct Classification: Sendable {
  /// The effective class, clamp applied.
  public var priority: Priority
  /// For people: `header x-tollgate-priority`, `rule 2`, `default_priority`, `rule 2, clamped by tenant acme to
  /// normal`.
  public var reason: String
  /// What the call is for, in lower case: the kind that the request names, else that of the rule that decides, else
  /// that of the client's own hint. Known even where another source decides the class.
  public var kind: String?
  /// The session that a rule names; nil where none does.
  public var session: String?
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
  private let inheriting: Set<String>
  private let rules: [Rule]
  private let ruleReasons: [String]
  /// The number of rules up to the last one that names a session.
  private let rulesWithSessions: Int
  private let tenants: [String: TenantClass]
  private let template: TenantClass?
  private let defaultPriority: Priority

  public init(_ policy: Policy) {
    kinds = policy.kinds
    kindReasons = Dictionary(
      uniqueKeysWithValues: policy.kinds.keys.map { ($0, "header x-tollgate-kind: \($0)") })
    inheriting = Set(policy.inherit)
    rules = policy.rules
    ruleReasons = policy.rules.enumerated().map { index, rule in
      "rule \(index + 1)" + (rule.kind.map { ": kind \($0)" } ?? "")
    }
    rulesWithSessions = policy.rules.lastIndex { $0.session != nil }.map { $0 + 1 } ?? 0
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

  /// - Parameters:
  ///   - hints: what the client says of itself.
  ///   - header: the value of the first field of a name, given in lower case; nil where there is none.
  ///   - lastTurn: the class of the last turn of the call's session; nil where there was none lately. The parameter is
  ///     the session that a rule names.
  func classify(
    _ facts: ClassificationFacts, hints: borrowing ClientHints, header: (String) -> String?,
    lastTurn: (_ session: String?) -> Priority?
  ) -> Classification {
    let tenant = tenants.isEmpty ? template : tenants[facts.tenant] ?? template
    var result = Classification(priority: defaultPriority, reason: "default_priority", kind: nil, unknownHints: [])
    decide(facts, hints, tenant, header, lastTurn, &result)
    if let tenant, result.priority > tenant.maxPriority {
      result.priority = tenant.maxPriority
      result.reason += ", clamped by tenant \(facts.tenant) to \(tenant.maxPriority.name)"
    }
    return result
  }

  private func decide(
    _ facts: ClassificationFacts, _ hints: borrowing ClientHints, _ tenant: TenantClass?, _ header: (String) -> String?,
    _ lastTurn: (String?) -> Priority?, _ result: inout Classification
  ) {
    let isDecided = readHeaders(facts, header, &result)
    if result.kind == nil { result.kind = hints.hint.flatMap { kinds[$0.kind] == nil ? nil : $0.kind } }
    if isDecided {
      for rule in rules[..<rulesWithSessions] where matches(rule, facts, hints, header) {
        if rule.decides { break }
        take(rule, header, &result)
      }
      return
    }

    for index in rules.indices where matches(rules[index], facts, hints, header) {
      let rule = rules[index]
      take(rule, header, &result)
      if let kind = rule.kind { result.kind = kind }
      if let priority = rule.priority ?? rule.kind.flatMap({ kinds[$0] }) {
        result.priority = priority
        result.reason = ruleReasons[index]
        if rule.priority == nil, let kind = rule.kind { inherit(kind, lastTurn, &result) }
        return
      }
    }

    if let unknown = hints.unknown { result.unknownHints.append(unknown) }
    if facts.isFree, let priority = lastTurn(result.session) {
      result.priority = priority
      result.reason = "the session's last turn"
      return
    }
    if let hint = hints.hint, let priority = kinds[hint.kind] {
      result.priority = priority
      result.reason = "\(hint.source): kind \(hint.kind)"
      inherit(hint.kind, lastTurn, &result)
      return
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

  /// Reads what the request says to us. Returns true where that decides the class.
  private func readHeaders(
    _ facts: ClassificationFacts, _ header: (String) -> String?, _ result: inout Classification
  ) -> Bool {
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
    return isDecided
  }

  /// A kind that inherits takes the class of the last turn: whoever waits for that turn waits for this call too.
  private func inherit(_ kind: String, _ lastTurn: (String?) -> Priority?, _ result: inout Classification) {
    guard inheriting.contains(kind), let priority = lastTurn(result.session) else { return }
    result.priority = priority
    result.reason += ", \(priority.name) like the session's last turn"
  }

  /// Takes the session that the rule names, where no rule before it has named one.
  private func take(_ rule: Rule, _ header: (String) -> String?, _ result: inout Classification) {
    guard result.session == nil else { return }
    switch rule.session {
    case .text(let name)?: result.session = name
    case .header(let name)?: result.session = header(name).flatMap { $0.isEmpty ? nil : $0 }
    case nil: break
    }
  }

  private func matches(
    _ rule: Rule, _ facts: ClassificationFacts, _ hints: borrowing ClientHints, _ header: (String) -> String?
  ) -> Bool {
    if rule.onlyUnhinted, hints.hint != nil { return false }
    if let path = rule.path, !path.matches(facts.path) { return false }
    if let model = rule.model, !model.matches(facts.model ?? "") { return false }
    if let tenant = rule.tenant, !tenant.matches(facts.tenant) { return false }
    for field in rule.headers {
      guard let value = header(field.name), field.value.matches(value) else { return false }
    }
    return rule.absentHeaders.allSatisfy { header($0) == nil }
  }
}
