// Each field of the policy, when a new policy changes it, is told with what it was and what it is.
import AdmissionCore
import PolicyFile
import Testing

@testable import BrokerEngine

@Suite struct PolicyFactsTests {
  private static func base() -> Policy {
    var policy = Policy()
    var provider = Provider(id: "p", dialect: .openai, baseURL: "https://p.example/v1")
    provider.keys = [ProviderKey(id: "k", source: .text(Secret("hunter2-first")))]
    policy.providers = [provider]
    policy.tenants = [Tenant(id: "t")]
    policy.webhooks = [Webhook(url: "https://hooks.example/x")]
    policy.otlp = TelemetrySettings(endpoint: "http://127.0.0.1:4318")
    return policy
  }

  struct Case: CustomTestStringConvertible, Sendable {
    /// The property that changes.
    var name: String
    /// The path that is told, its text before and after; nil for "none".
    var path: String
    var before: String?
    var after: String?
    var change: @Sendable (inout Policy) -> Void
    var testDescription: String { path }

    init(
      _ name: String, _ path: String, _ before: String?, _ after: String?,
      _ change: @escaping @Sendable (inout Policy) -> Void
    ) {
      (self.name, self.path, self.before, self.after, self.change) = (name, path, before, after, change)
    }
  }

  private static let ofPolicy: [Case] = [
    Case("listen", "listen", "127.0.0.1:4141", "unix:/x") { $0.listen = [.unix(path: "/x")] },
    Case("tls", "tls", nil, "c.pem k.pem") { $0.tls = TLSFiles(certificate: "c.pem", key: "k.pem") },
    Case("admin", "admin.listen", "127.0.0.1:4142", "off") { $0.admin.listen = nil },
    Case("admin", "admin.token", nil, "set") { $0.admin.token = Secret("hunter2") },
    Case("admin", "admin.read_token", nil, "set") { $0.admin.readToken = Secret("hunter2") },
    Case("admin", "admin.tenant_tokens[0]", nil, "t") {
      $0.admin.tenantTokens = [TenantToken(tenant: "t", token: Secret("hunter2"))]
    },
    Case("store", "store", "tollgate.db", "memory:") { $0.store = .memory },
    Case("durability", "durability", "batched", "full") { $0.durability = .full },
    Case("drainTimeout", "drain_timeout", "30s", "250ms") { $0.drainTimeout = .milliseconds(250) },
    Case("maxBody", "max_body", "33554432 bytes", "1024 bytes") { $0.maxBody = 1024 },
    Case("memory", "memory", "536870912 bytes", "1048576 bytes") { $0.memory = 1 << 20 },
    Case("routes", "routes[0]", nil, "gpt-* to p") { $0.routes = [Route(models: ["gpt-*"], to: ["p"])] },
    Case("isBuiltIn", "policy", nil, "built-in") { $0.isBuiltIn = true },
    Case("bands", "priorities.high.reserve", "10%", "3") { $0.bands[0].reserve = .permits(3) },
    Case("bands", "priorities.low.queue", "4096", "7") { $0.bands[2].queueLimit = 7 },
    Case("bands", "priorities.normal.max_wait", "120s", "1.5s") { $0.bands[1].maxWait = .milliseconds(1500) },
    Case("bands", "priorities.high.promote_after", "5s", "9s") { $0.bands[0].promoteAfter = .seconds(9) },
    Case("bands", "priorities.low.share", nil, nil) { $0.bands[2].shareBasisPoints += 1 },
    Case("bands", "priorities.low.promoted_share", nil, nil) { $0.bands[2].promotedShareBasisPoints += 1 },
    Case("defaultPriority", "default_priority", "normal", "low") { $0.defaultPriority = .low },
    Case("queueBytes", "queue_bytes", "268435456 bytes", "4096 bytes") { $0.queueBytes = 4096 },
    Case("sessionConcurrency", "session_concurrency.limit", nil, "8") {
      $0.sessionConcurrency = SessionConcurrency(limit: 8)
    },
    Case("kinds", "kinds.nightly", nil, "low") { $0.kinds["nightly"] = .low },
    Case("inherit", "inherit", nil, nil) { $0.inherit = ["nightly"] },
    Case("rules", "rules[0]", nil, "path: /v1/*, no header x-a, only_unhinted → priority: low, session by header x-s") {
      var rule = Rule(priority: .low)
      (rule.path, rule.absentHeaders, rule.onlyUnhinted, rule.session) = ("/v1/*", ["x-a"], true, .header("x-s"))
      $0.rules = [rule]
    },
    Case("keepalive", "keepalive", "off", "15s") { $0.keepalive = .seconds(15) },
    Case("trustTenantHeader", "trust_tenant_header", "false", "true") { $0.trustTenantHeader = true },
    Case("providers", "providers.q.keys", nil, "") {
      $0.providers.append(Provider(id: "q", dialect: .openai, baseURL: "https://q.example"))
    },
    Case("tenants", "tenants.t.weight", "1", "3") { $0.tenants[0].weight = 3 },
    Case("budgets", "budgets[0]", nil, nil) {
      var budget = Budget(limit: Money(nanodollars: 2_000_000_000), per: .day)
      (budget.timeZone, budget.warnAtPercent) = ("Europe/Berlin", 50)
      $0.budgets = [budget]
    },
    Case("prices", "prices", nil, "prices.yaml") { $0.prices = "prices.yaml" },
    Case("unknownPrice", "unknown_price", "allow", "reject") { $0.unknownPrice = .reject },
    Case("corsOrigins", "cors.origins", nil, "https://a.example") { $0.corsOrigins = ["https://a.example"] },
    Case("alerts", "alerts.queue.warning", "50", "5") { $0.alerts.queue.warning = 5 },
    Case("alerts", "alerts.queue.critical", "200", "20") { $0.alerts.queue.critical = 20 },
    Case("log", "log.level", nil, "debug") { $0.log.level = .debug },
    Case("log", "log.format", nil, "json") { $0.log.format = .json },
    Case("hosts", "hosts", nil, "gate.example") { $0.hosts = ["gate.example"] },
    Case("webhooks", "webhooks[0].format", "json", "slack") { $0.webhooks[0].format = .slack },
    Case("otlp", "otlp.sample", "10%", "2.5%") { $0.otlp?.sample = 250 },
  ]

  private static let ofProvider: [Case] = [
    Case("dialect", "providers.p.dialect", "openai", "anthropic") { $0.providers[0].dialect = .anthropic },
    Case("baseURL", "providers.p.base_url", "https://p.example/v1", "https://p.example/v1, another one") {
      $0.providers[0].baseURL = "https://user:hunter2@p.example/v1"
    },
    Case("keys", "providers.p.keys.k.secret", "set", "set, another one") {
      $0.providers[0].keys[0].source = .text(Secret("hunter2-second"))
    },
    Case("limits", "providers.p.limits.requests_per_minute", nil, "60, burst 1s") {
      $0.providers[0].limits.requestsPerMinute = 60
      $0.providers[0].limits.bursts[.requestsPerMinute] = .seconds(1)
    },
    Case("modelLimits", "providers.p.model_limits.o*.limits.concurrency", nil, "2") {
      $0.providers[0].modelLimits = [ModelLimits(models: "o*", limits: Limits(concurrency: 2))]
    },
    Case("quota", "providers.p.quota", "shared", "per_key") { $0.providers[0].quota = .perKey },
    Case("admissionTokens", "providers.p.admission_tokens", "max_tokens", "produced") {
      $0.providers[0].admissionTokens = .produced
    },
    Case("learnLimits", "providers.p.learn_limits", "true", "false") { $0.providers[0].learnLimits = false },
    Case("breaker", "providers.p.breaker", nil, nil) { $0.providers[0].breaker.failures = 9 },
    Case("connectTimeout", "providers.p.timeouts.connect", "5s", "1s") { $0.providers[0].connectTimeout = .seconds(1) },
    Case("firstByteTimeout", "providers.p.timeouts.first_byte", "600s", "1s") {
      $0.providers[0].firstByteTimeout = .seconds(1)
    },
    Case("idleTimeout", "providers.p.timeouts.idle", "600s", "1s") { $0.providers[0].idleTimeout = .seconds(1) },
    Case("totalTimeout", "providers.p.timeouts.total", "3600s", "1s") { $0.providers[0].totalTimeout = .seconds(1) },
    Case("retry", "providers.p.retry", nil, nil) { $0.providers[0].retry.afterSent.toggle() },
    Case("injectUsage", "providers.p.inject_usage", "true", "false") { $0.providers[0].injectUsage = false },
    Case("passThrough", "providers.p.pass_through", "false", "true") { $0.providers[0].passThrough = true },
    Case("checkKeys", "providers.p.check_keys", "true", "false") { $0.providers[0].checkKeys = false },
    Case("settleLag", "providers.p.settle_lag", "0s", "2s") { $0.providers[0].settleLag = .seconds(2) },
    Case("ramp", "providers.p.ramp", "0s", "60s") { $0.providers[0].ramp = .seconds(60) },
    Case("cacheLife", "providers.p.cache_ttl", "300s", "1s") { $0.providers[0].cacheLife = .seconds(1) },
    Case("caFile", "providers.p.ca_file", nil, "ca.pem") { $0.providers[0].caFile = "ca.pem" },
    Case("httpVersion", "providers.p.http_version", "1.1", "2") { $0.providers[0].httpVersion = "2" },
    Case("auth", "providers.p.auth", "bearer", "api-key") { $0.providers[0].auth = .apiKey },
    Case("native", "providers.p.native", nil, "ollama") { $0.providers[0].native = .ollama },
    Case("headers", "providers.p.headers", nil, "x-team") {
      $0.providers[0].headers = [AddedField(name: "x-team", value: Secret("hunter2"), isSecret: true)]
    },
  ]

  private static let ofTenant: [Case] = [
    Case("keys", "tenants.t.keys", "0", "1") { $0.tenants[0].keys = [ClientKeyHash(bytes: [1])] },
    Case("priority", "tenants.t.priority", nil, "low") { $0.tenants[0].priority = .low },
    Case("maxPriority", "tenants.t.max_priority", "high", "low") { $0.tenants[0].maxPriority = .low },
    Case("weight", "tenants.t.weight", "1", "9") { $0.tenants[0].weight = 9 },
    Case("models", "tenants.t.models", nil, "gpt-*") { $0.tenants[0].models = ["gpt-*"] },
    Case("limits", "tenants.t.limits.concurrency", nil, "4") { $0.tenants[0].limits.concurrency = 4 },
    Case("budgets", "tenants.t.budgets[0]", nil, nil) {
      $0.tenants[0].budgets = [Budget(limit: Money(nanodollars: 1), per: .day)]
    },
  ]

  @Test(arguments: ofPolicy + ofProvider + ofTenant) func aChangedFieldIsTold(_ one: Case) throws {
    let old = Self.base()
    var new = old
    one.change(&new)
    let difference = PolicyDifference(from: old, to: new)
    let (before, after) = (try #require(difference.before), try #require(difference.after))
    if one.before != nil || one.after != nil {
      #expect(Self.part(before, one.path) == one.before ?? "none")
      #expect(Self.part(after, one.path) == one.after ?? "none")
    } else {
      #expect(Self.part(before, one.path) != Self.part(after, one.path))
    }
    #expect(!before.contains("hunter2") && !after.contains("hunter2"))
    // The way back is told too.
    let back = PolicyDifference(from: new, to: old)
    #expect(Self.part(try #require(back.after), one.path) != nil)
  }

  /// The text after the path, up to the next one.
  private static func part(_ text: String, _ path: String) -> String? {
    guard let begin = text.firstRange(of: path + ": ") else { return nil }
    let rest = text[begin.upperBound...]
    let end = rest.firstRange(of: ", providers.") ?? rest.firstRange(of: ", session_concurrency.")
    return String(rest[..<(end?.lowerBound ?? rest.endIndex)])
  }

  /// Whoever adds a field to the policy adds its fact.
  @Test func everyFieldHasACase() {
    func missing(_ value: Any, _ cases: [Case], besides: Set<String> = []) -> [String] {
      let known = Set(cases.map(\.name)).union(besides)
      return Mirror(reflecting: value).children.compactMap(\.label).filter { !known.contains($0) }
    }
    #expect(missing(Policy(), Self.ofPolicy) == [])
    #expect(missing(Self.base().providers[0], Self.ofProvider, besides: ["id"]) == [])
    #expect(missing(Tenant(id: "t"), Self.ofTenant, besides: ["id"]) == [])
  }
}
