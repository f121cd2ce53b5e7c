// What a new policy changes, in words for the audit: limits, budgets, and who is there. No secret and no URL.
import AdmissionCore
import PolicyFile
import TextForms

public struct PolicyDifference: Equatable {
  /// How many differences are told one by one.
  private static let most = 16

  /// What was so before and is so now, such as `providers.openai.limits.concurrency: 50`; nil where nothing of it
  /// differs.
  public var before: String?
  public var after: String?

  public init(from old: Policy, to new: Policy) {
    let (old, new) = (PolicyDifference.facts(old), PolicyDifference.facts(new))
    let names = Set(old.keys).union(new.keys).filter { old[$0] != new[$0] }.sorted()
    guard !names.isEmpty else { return }
    func text(_ facts: [String: String]) -> String {
      let told = names.prefix(PolicyDifference.most).map { "\($0): \(facts[$0] ?? "none")" }.joined(separator: ", ")
      return names.count > PolicyDifference.most ? told + ", and \(names.count - PolicyDifference.most) more" : told
    }
    before = text(old)
    after = text(new)
  }

  /// By the field's path in the policy file.
  private static func facts(_ policy: Policy) -> [String: String] {
    var facts: [String: String] = [:]
    func note(_ limits: Limits, of owner: String) {
      if let concurrency = limits.concurrency { facts[owner + ".limits.concurrency"] = String(concurrency) }
      for rate in RateLimit.allCases {
        if let limit = limits.limit(rate) { facts[owner + ".limits." + name(rate)] = String(limit) }
      }
    }
    func note(_ budgets: [Budget], of owner: String) {
      for (number, budget) in budgets.enumerated() {
        facts["\(owner)budgets[\(number)]"] =
          amount(budget.limit, budget.unit)
          + " per \(budget.per == .rolling ? "\(budget.rolling) s" : "\(budget.per)")"
      }
    }
    for provider in policy.providers {
      let owner = "providers.\(provider.id)"
      facts[owner + ".base_url"] = address(provider.baseURL)
      facts[owner + ".keys"] = provider.keys.map(\.id).joined(separator: " ")
      note(provider.limits, of: owner)
      for model in provider.modelLimits { note(model.limits, of: "\(owner).model_limits.\(model.models.pattern)") }
      for key in provider.keys { note(key.limits, of: "\(owner).keys.\(key.id)") }
    }
    for tenant in policy.tenants {
      let owner = "tenants.\(tenant.id)"
      facts[owner + ".keys"] = String(tenant.keys.count)
      facts[owner + ".max_priority"] = tenant.maxPriority.name
      note(tenant.limits, of: owner)
      note(tenant.budgets, of: owner + ".")
    }
    note(policy.budgets, of: "")
    if let otlp = policy.otlp {
      facts["otlp.endpoint"] = address(otlp.endpoint)
      facts["otlp.headers"] = otlp.headers.isEmpty ? nil : otlp.headers.map(\.name).joined(separator: " ")
      facts["otlp.sample"] = DecimalText.text(Int64(otlp.sample), places: 2) + "%"
    }
    if !policy.webhooks.isEmpty { facts["webhooks"] = policy.webhooks.map(\.shownURL).joined(separator: " ") }
    return facts
  }

  /// A URL without its user, in which a password can stand, and without its query.
  private static func address(_ url: String) -> String {
    guard let scheme = url.firstRange(of: "://") else { return "…" }
    let rest = url[scheme.upperBound...].prefix { $0 != "?" && $0 != "#" }
    let authority = rest.prefix { $0 != "/" }
    let host = authority.lastIndex(of: "@").map { authority[authority.index(after: $0)...] } ?? authority
    return String(url[..<scheme.upperBound] + host + rest[authority.endIndex...])
  }

  /// `50 USD`, `5000000 tokens`.
  static func amount(_ amount: Money, _ unit: BudgetUnit) -> String {
    switch unit {
    case .usd: DecimalText.text(amount.nanodollars, places: 9) + " USD"
    case .tokens, .requests: "\(amount.nanodollars) \(unit.rawValue)"
    }
  }

  private static func name(_ rate: RateLimit) -> String {
    switch rate {
    case .requestsPerMinute: "requests_per_minute"
    case .inputTokensPerMinute: "input_tokens_per_minute"
    case .outputTokensPerMinute: "output_tokens_per_minute"
    case .tokensPerMinute: "tokens_per_minute"
    case .requestsPerSecond: "requests_per_second"
    case .requestsPerDay: "requests_per_day"
    case .tokensPerDay: "tokens_per_day"
    }
  }
}
