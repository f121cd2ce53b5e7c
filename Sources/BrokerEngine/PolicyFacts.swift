// A policy as facts, each with its path in the policy file, so that two policies can be compared and the difference told.
//
// Promise: every field of the policy has its fact; a secret is compared, and never part of a text.
import AdmissionCore
import PolicyFile
import TextForms

/// One field of a policy.
struct PolicyFact: Equatable {
  var text: String
  /// What is compared and not told.
  var hidden: [AnyHashable] = []
  var isDefault = false
}

struct PolicyFacts {
  /// By the field's path in the policy file, such as `providers.openai.limits.concurrency`. What a policy does not have,
  /// like a limit that is not set, is not there.
  private(set) var byPath: [String: PolicyFact] = [:]

  init(_ policy: Policy) {
    noteWhole(policy)
    noteQueues(policy)
    noteWatching(policy)
    for provider in policy.providers { note(provider) }
    for tenant in policy.tenants { note(tenant) }
    note(policy.budgets, of: "")
  }

  // MARK: One fact

  /// - Parameter standard: the default's text.
  private mutating func note(_ path: String, _ text: String?, standard: String? = nil, hidden: [AnyHashable] = []) {
    guard let text else { return }
    byPath[path] = PolicyFact(text: text, hidden: hidden, isDefault: text == standard && hidden.isEmpty)
  }

  private mutating func note(_ path: String, _ flag: Bool, standard: Bool) {
    note(path, String(flag), standard: String(standard))
  }

  private mutating func note(_ path: String, _ secret: Secret?) {
    note(path, secret.map { _ in "set" }, hidden: secret.map { [$0] } ?? [])
  }

  private static func list(_ words: [String]) -> String? { words.isEmpty ? nil : words.joined(separator: " ") }

  /// `30s`, `1.5s`, `250ms`.
  private static func length(_ nanoseconds: Int64) -> String {
    nanoseconds % 1_000_000_000 == 0 || nanoseconds > 1_000_000_000
      ? DecimalText.text(nanoseconds, places: 9) + "s" : DecimalText.text(nanoseconds, places: 6) + "ms"
  }

  private static func length(_ duration: Duration) -> String {
    length(duration.components.seconds &* 1_000_000_000 &+ duration.components.attoseconds / 1_000_000_000)
  }

  private static func length(_ span: Span) -> String { length(span.nanoseconds) }

  private static func share(_ basisPoints: Int) -> String { DecimalText.text(Int64(basisPoints), places: 2) + "%" }

  // MARK: The broker

  private mutating func noteWhole(_ policy: Policy) {
    note("listen", Self.list(policy.listen.map(\.description)))
    note("tls", policy.tls.map { "\($0.certificate) \($0.key)" })
    note("admin.listen", policy.admin.listen?.description ?? "off")
    note("admin.token", policy.admin.token)
    note("admin.read_token", policy.admin.readToken)
    for (number, one) in policy.admin.tenantTokens.enumerated() {
      note("admin.tenant_tokens[\(number)]", one.tenant, hidden: [one.token])
    }
    switch policy.store {
    case .file(let path): note("store", path)
    case .memory: note("store", "memory:")
    }
    note("durability", policy.durability.rawValue)
    note("drain_timeout", Self.length(policy.drainTimeout))
    note("max_body", "\(policy.maxBody) bytes")
    note("memory", "\(policy.memory) bytes")
    for (number, route) in policy.routes.enumerated() {
      note(
        "routes[\(number)]",
        "\(route.models.map(\.pattern).joined(separator: " ")) to \(route.to.joined(separator: " "))")
    }
    note("policy", policy.isBuiltIn ? "built-in" : nil)
    note("trust_tenant_header", policy.trustTenantHeader, standard: false)
    note("prices", policy.prices)
    note("unknown_price", policy.unknownPrice.rawValue)
    note("cors.origins", Self.list(policy.corsOrigins.map(\.pattern)))
    note("hosts", Self.list(policy.hosts))
  }

  private mutating func noteQueues(_ policy: Policy) {
    for (band, priority) in zip(policy.bands, Priority.allCases) {
      let owner = "priorities.\(priority.name)"
      switch band.reserve {
      case .share(let basisPoints): note(owner + ".reserve", Self.share(basisPoints))
      case .permits(let count): note(owner + ".reserve", String(count))
      }
      note(owner + ".queue", String(band.queueLimit))
      note(owner + ".max_wait", Self.length(band.maxWait))
      note(owner + ".promote_after", Self.length(band.promoteAfter))
      note(owner + ".share", Self.share(band.shareBasisPoints))
      note(owner + ".promoted_share", Self.share(band.promotedShareBasisPoints))
    }
    note("default_priority", policy.defaultPriority.name)
    note("queue_bytes", "\(policy.queueBytes) bytes")
    note("session_concurrency.limit", policy.sessionConcurrency.map { String($0.limit) })
    note("session_concurrency.widen", policy.sessionConcurrency.map { String($0.widen) })
    note("keepalive", policy.keepalive.map(Self.length) ?? "off")
    for (kind, priority) in policy.kinds { note("kinds.\(kind)", priority.name) }
    note("inherit", Self.list(policy.inherit))
    for (number, rule) in policy.rules.enumerated() { note("rules[\(number)]", Self.text(of: rule)) }
  }

  /// `path: /v1/x, header x-y: z → priority: low`.
  private static func text(of rule: Rule) -> String {
    var conditions: [String] = []
    if let path = rule.path { conditions.append("path: \(path.pattern)") }
    if let model = rule.model { conditions.append("model: \(model.pattern)") }
    if let tenant = rule.tenant { conditions.append("tenant: \(tenant.pattern)") }
    conditions += rule.headers.map { "header \($0.name): \($0.value.pattern)" }
    conditions += rule.absentHeaders.map { "no header \($0)" }
    if rule.onlyUnhinted { conditions.append("only_unhinted") }
    var says: [String] = []
    if let priority = rule.priority { says.append("priority: \(priority.name)") }
    if let kind = rule.kind { says.append("kind: \(kind)") }
    switch rule.session {
    case .text(let text): says.append("session: \(text)")
    case .header(let name): says.append("session by header \(name)")
    case nil: break
    }
    return "\(conditions.joined(separator: ", ")) → \(says.joined(separator: ", "))"
  }

  private mutating func noteWatching(_ policy: Policy) {
    note("alerts.queue.warning", String(policy.alerts.queue.warning))
    note("alerts.queue.critical", String(policy.alerts.queue.critical))
    note("log.format", policy.log.format?.rawValue)
    note("log.level", policy.log.level?.rawValue)
    note(
      "webhooks", Self.list(policy.webhooks.map(\.shownURL)), hidden: policy.webhooks.map { [$0.url] as AnyHashable })
    for (number, webhook) in policy.webhooks.enumerated() {
      note("webhooks[\(number)].secret", webhook.secret)
      let events = webhook.events.map(\.rawValue).sorted()
      note(
        "webhooks[\(number)].events", events.joined(separator: " "),
        standard: WebhookEvent.allCases.map(\.rawValue).sorted().joined(separator: " "))
      note("webhooks[\(number)].format", webhook.format.rawValue, standard: WebhookFormat.json.rawValue)
    }
    guard let otlp = policy.otlp else { return }
    note("otlp.endpoint", PolicyDifference.address(otlp.endpoint), hidden: [otlp.endpoint])
    note("otlp.headers", Self.list(otlp.headers.map(\.name)), hidden: otlp.headers.map(\.value))
    note("otlp.sample", Self.share(otlp.sample), standard: "10%")
  }

  // MARK: Providers and tenants

  private mutating func note(_ provider: Provider) {
    let owner = "providers.\(provider.id)"
    let standard = Provider(id: provider.id, dialect: provider.dialect, baseURL: provider.baseURL)
    func times(_ provider: Provider) -> [(String, String)] {
      [
        ("connect", provider.connectTimeout), ("first_byte", provider.firstByteTimeout), ("idle", provider.idleTimeout),
        ("total", provider.totalTimeout),
      ].map { ($0.0, Self.length($0.1)) }
    }
    note(owner + ".dialect", provider.dialect.rawValue, standard: provider.dialect.rawValue)
    note(owner + ".base_url", PolicyDifference.address(provider.baseURL), hidden: [provider.baseURL])
    note(owner + ".keys", provider.keys.map(\.id).joined(separator: " "))
    for key in provider.keys { note(key, of: "\(owner).keys.\(key.id)") }
    note(provider.limits, of: owner)
    for model in provider.modelLimits {
      note(model.limits, of: "\(owner).model_limits.\(model.models.pattern)")
      if let breaker = model.breaker { note(breaker, of: "\(owner).model_limits.\(model.models.pattern)") }
    }
    note(provider.breaker, of: owner, standard: standard.breaker)
    note(provider.retry, of: owner, standard: standard.retry)
    for (time, usual) in zip(times(provider), times(standard)) {
      note("\(owner).timeouts.\(time.0)", time.1, standard: usual.1)
    }
    note(owner + ".quota", provider.quota.rawValue, standard: standard.quota.rawValue)
    note(
      owner + ".admission_tokens", provider.admissionTokens.rawValue, standard: standard.admissionTokens.rawValue)
    note(owner + ".learn_limits", provider.learnLimits, standard: standard.learnLimits)
    note(owner + ".inject_usage", provider.injectUsage, standard: standard.injectUsage)
    note(owner + ".pass_through", provider.passThrough, standard: standard.passThrough)
    note(owner + ".check_keys", provider.checkKeys, standard: standard.checkKeys)
    note(owner + ".settle_lag", Self.length(provider.settleLag), standard: Self.length(standard.settleLag))
    note(owner + ".ramp", Self.length(provider.ramp), standard: Self.length(standard.ramp))
    note(owner + ".cache_ttl", Self.length(provider.cacheLife), standard: Self.length(standard.cacheLife))
    note(owner + ".ca_file", provider.caFile)
    note(owner + ".http_version", provider.httpVersion, standard: standard.httpVersion)
    note(owner + ".auth", provider.auth.rawValue, standard: standard.auth.rawValue)
    note(owner + ".native", provider.native?.rawValue)
    note(owner + ".headers", Self.list(provider.headers.map(\.name)), hidden: provider.headers.map(\.value))
  }

  private mutating func note(_ key: ProviderKey, of owner: String) {
    note(owner + ".secret", key.source)
    note(owner + ".weight", String(key.weight), standard: "1")
    note(key.limits, of: owner)
    note(owner + ".models", Self.list(key.models.map(\.pattern)))
    note(owner + ".valid_from", key.validFrom.map { RFC3339.text($0.nanoseconds) })
    note(owner + ".expires", key.expires.map { RFC3339.text($0.nanoseconds) })
  }

  /// Where a secret comes from; what stands in the policy itself is compared only.
  private mutating func note(_ path: String, _ source: ProviderKey.Source?) {
    guard let source else { return }
    switch source {
    case .text(let secret): byPath[path] = PolicyFact(text: "set", hidden: [secret], isDefault: true)
    case .file(let file): note(path, "file \(file)", standard: "file \(file)")
    case .command(let words):
      // Its arguments may hold what should not be seen.
      let text = "command \(words.first ?? "")"
      byPath[path] = PolicyFact(text: text, hidden: words, isDefault: true)
    }
  }

  private mutating func note(_ tenant: Tenant) {
    let owner = "tenants.\(tenant.id)"
    note(owner + ".keys", String(tenant.keys.count), hidden: tenant.keys)
    note(owner + ".priority", tenant.priority?.name)
    note(owner + ".max_priority", tenant.maxPriority.name)
    note(owner + ".weight", String(tenant.weight), standard: "1")
    note(owner + ".models", Self.list(tenant.models.map(\.pattern)))
    note(tenant.limits, of: owner)
    note(tenant.budgets, of: owner + ".")
  }

  // MARK: Parts of them

  private mutating func note(_ limits: Limits, of owner: String) {
    note(owner + ".limits.concurrency", limits.concurrency.map(String.init))
    for rate in RateLimit.allCases {
      guard let limit = limits.limit(rate) else { continue }
      let burst = limits.bursts[rate].map { ", burst \(Self.length($0))" } ?? ""
      note("\(owner).limits.\(Self.name(rate))", "\(limit)\(burst)")
    }
  }

  private mutating func note(_ budgets: [Budget], of owner: String) {
    for (number, budget) in budgets.enumerated() {
      var text = ErrorText.amount(budget.limit, budget.unit)
      text += " per \(budget.per == .rolling ? "\(budget.rolling) s" : "\(budget.per)")"
      let usual = Budget(limit: budget.limit, per: budget.per)
      if budget.scope != usual.scope, budget.scope != .broker { text += " of each \(budget.scope.rawValue)" }
      if budget.timeZone != usual.timeZone { text += " in \(budget.timeZone)" }
      if budget.onExceed != usual.onExceed { text += ", then \(budget.onExceed)" }
      if budget.warnAtPercent != usual.warnAtPercent { text += ", warning at \(budget.warnAtPercent)%" }
      note("\(owner)budgets[\(number)]", text)
    }
  }

  private mutating func note(_ breaker: BreakerPolicy, of owner: String, standard: BreakerPolicy? = nil) {
    func text(_ breaker: BreakerPolicy) -> String {
      "\(breaker.failures) failures\(breaker.window.map { " in \(Self.length($0))" } ?? ""), recovery "
        + "\(Self.length(breaker.recovery)), \(breaker.probes) probes, \(breaker.whenOpen.rawValue)"
    }
    note(owner + ".breaker", text(breaker), standard: standard.map(text))
  }

  private mutating func note(_ retry: RetryPolicy, of owner: String, standard: RetryPolicy) {
    func text(_ retry: RetryPolicy) -> String {
      "\(retry.attempts) attempts, pause \(Self.length(retry.base)) to \(Self.length(retry.max)), budget "
        + "\(retry.budgetPercent)%\(retry.afterSent ? ", after_sent" : "")"
    }
    note(owner + ".retry", text(retry), standard: text(standard))
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
