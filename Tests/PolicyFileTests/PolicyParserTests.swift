// Values of every field, defaults, and seeded mutations that must never trap. Mistakes are in Fixtures/.
import AdmissionCore
import PolicyFile
import Testing

/// Each field with a value of its own, as a user would write it.
let everyFieldText = """
  version: 1
  listen: [127.0.0.1:4151, "unix:/run/tollgate.sock"]
  tls: {certificate: cert.pem, key: key.pem}
  admin: {listen: "[::1]:4152", token: "${TOKEN}"}
  store: sqlite:///var/lib/tollgate.db
  durability: full
  drain_timeout: 2m
  max_body: 64MiB
  memory: 2GiB
  providers:
    anthropic:
      dialect: anthropic
      base_url: https://API.anthropic.com/
      keys:
        - {id: main, secret: "${TOKEN}", weight: 2, limits: {concurrency: 30}}
        - {id: spare, secret: {file: /run/secrets/two}, models: ["claude-haiku-*"]}
        - {id: third, secret: {command: [pass, show, key]}}
      quota: per_key
      limits:
        concurrency: 50
        requests_per_minute: 1000
        input_tokens_per_minute: 2000000
        output_tokens_per_minute: 400000
        tokens_per_minute: 3000000
      model_limits:
        "claude-opus-*": {concurrency: 20}
        "claude-*": {concurrency: 40}
      admission_tokens: max_tokens
      learn_limits: false
      breaker: {failures: 7, window: 10s, recovery: 15s, probes: 2, when_open: reject}
      timeouts: {connect: 1s, first_byte: 2s, idle: 3s, total: 4s}
      retry: {attempts: 5, base: 100ms, max: 1s, budget: 50%, after_sent: true}
      inject_usage: false
      pass_through: true
      settle_lag: 200ms
      ramp: 30s
      cache_ttl: 1h
      ca_file: ca.pem
      http_version: "2"
    openai: {dialect: openai, base_url: "https://api.openai.com", breaker: {preset: database}}
  routes:
    - {models: ["claude-*"], to: [anthropic]}
    - {models: ["*"], to: [openai, anthropic]}
  priorities:
    high: {reserve: 4, queue: 1, max_wait: 2s, promote_after: 3s, share: 1%}
    normal: {reserve: 12.5%, queue: 2, max_wait: 4s, promote_after: 5s, share: 2.25%, promoted_share: 30.5%}
    low: {reserve: 1%, queue: 3, max_wait: 6s, promote_after: 7s, share: 3%, promoted_share: 3%}
  default_priority: low
  queue_bytes: 1GiB
  session_concurrency: {limit: 3, widen: false}
  keepalive: 20s
  kinds: {Nightly: low, steer: normal}
  rules:
    - {when: {path: "/v1/e*", model: "m*", tenant: "t*", header: {User-Agent: "*n*"}}, priority: low}
  trust_tenant_header: true
  tenants:
    - id: acme
      keys: ["sha256:000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F"]
      priority: low
      max_priority: normal
      weight: 2
      models: ["claude-*", "gpt-*"]
      limits: {concurrency: 10, requests_per_minute: 300, tokens_per_minute: 200000}
      budgets:
        - {usd: 50.5, per: day, time_zone: Europe/Berlin, on_exceed: low, warn_at: 70%}
    - {id: "*"}
  budgets: [{usd: 500, per: month, on_exceed: warn}]
  prices: prices.yaml
  unknown_price: reject
  """

@Suite struct PolicyParserTests {
  @Test func smallestPolicyHasTheContractsDefaults() throws {
    let text = "providers: {a: {dialect: openai, base_url: 'http://127.0.0.1:1'}}\n"
    let parsing = PolicyParser.parse(text: text, file: "p.yaml", environment: [:])
    #expect(parsing.diagnostics.map(\.description) == [])
    var expected = Policy()
    expected.providers = [Provider(id: "a", dialect: .openai, baseURL: "http://127.0.0.1:1/v1")]
    expected.routes = [Route(models: ["*"], to: ["a"])]
    #expect(parsing.policy == expected)
  }

  @Test func everyFieldReachesThePolicy() throws {
    let parsing = PolicyParser.parse(text: everyFieldText, file: "p.yaml", environment: ["TOKEN": "tok-0123456789"])
    #expect(parsing.diagnostics.map(\.description) == [])
    var expected = Policy()
    expected.listen = [.tcp(host: "127.0.0.1", port: 4151), .unix(path: "/run/tollgate.sock")]
    expected.tls = TLSFiles(certificate: "cert.pem", key: "key.pem")
    expected.admin.listen = .tcp(host: "::1", port: 4152)
    expected.admin.token = Secret("tok-0123456789")
    expected.store = .file("/var/lib/tollgate.db")
    expected.durability = .full
    expected.drainTimeout = .seconds(120)
    expected.maxBody = 64 << 20
    expected.memory = 2 << 30
    expected.providers = [anthropic, openai]
    expected.routes = [
      Route(models: ["claude-*"], to: ["anthropic"]), Route(models: ["*"], to: ["openai", "anthropic"]),
    ]
    expected.bands = [
      band(.permits(4), queue: 1, wait: 2, promote: 3, share: 100, promoted: 100),
      band(.share(basisPoints: 1250), queue: 2, wait: 4, promote: 5, share: 225, promoted: 3050),
      band(.share(basisPoints: 100), queue: 3, wait: 6, promote: 7, share: 300, promoted: 300),
    ]
    expected.defaultPriority = .low
    expected.queueBytes = 1 << 30
    expected.sessionConcurrency = SessionConcurrency(limit: 3, widen: false)
    expected.keepalive = .seconds(20)
    expected.kinds["nightly"] = .low
    expected.kinds["steer"] = .normal
    var rule = Rule(priority: .low)
    rule.path = "/v1/e*"
    rule.model = "m*"
    rule.tenant = "t*"
    rule.headers = [Rule.HeaderPattern("user-agent", "*n*")]
    expected.rules = [rule]
    expected.trustTenantHeader = true
    expected.tenants = [acme, Tenant(id: "*")]
    var budget = Budget(limit: Money(nanodollars: 500_000_000_000), per: .month)
    budget.scope = .broker
    budget.onExceed = .warn
    expected.budgets = [budget]
    expected.prices = "prices.yaml"
    expected.unknownPrice = .reject
    #expect(parsing.policy == expected)
  }

  private func band(_ reserve: Reserve, queue: Int, wait: Int64, promote: Int64, share: Int, promoted: Int)
    -> BandPolicy
  {
    BandPolicy(
      reserve: reserve, queueLimit: queue, maxWait: .seconds(wait), promoteAfter: .seconds(promote),
      shareBasisPoints: share, promotedShareBasisPoints: promoted)
  }

  private var anthropic: Provider {
    var provider = Provider(id: "anthropic", dialect: .anthropic, baseURL: "https://api.anthropic.com")
    var main = ProviderKey(id: "main", source: .text(Secret("tok-0123456789")))
    main.variable = "TOKEN"
    main.weight = 2
    main.limits.concurrency = 30
    var spare = ProviderKey(id: "spare", source: .file(path: "/run/secrets/two"))
    spare.models = ["claude-haiku-*"]
    provider.keys = [main, spare, ProviderKey(id: "third", source: .command(["pass", "show", "key"]))]
    provider.quota = .perKey
    provider.limits = Limits(
      concurrency: 50, requestsPerMinute: 1000, inputTokensPerMinute: 2_000_000, outputTokensPerMinute: 400_000,
      tokensPerMinute: 3_000_000)
    provider.modelLimits = [
      ModelLimits(models: "claude-opus-*", limits: Limits(concurrency: 20)),
      ModelLimits(models: "claude-*", limits: Limits(concurrency: 40)),
    ]
    provider.admissionTokens = .maxTokens
    provider.learnLimits = false
    provider.breaker = BreakerPolicy(
      failures: 7, window: .seconds(10), recovery: .seconds(15), probes: 2, whenOpen: .reject)
    provider.connectTimeout = .seconds(1)
    provider.firstByteTimeout = .seconds(2)
    provider.idleTimeout = .seconds(3)
    provider.totalTimeout = .seconds(4)
    provider.retry = RetryPolicy(
      attempts: 5, base: .milliseconds(100), max: .seconds(1), budgetPercent: 50, afterSent: true)
    provider.injectUsage = false
    provider.passThrough = true
    provider.settleLag = .milliseconds(200)
    provider.ramp = .seconds(30)
    provider.cacheLife = .seconds(3600)
    provider.caFile = "ca.pem"
    provider.httpVersion = "2"
    return provider
  }

  private var openai: Provider {
    var provider = Provider(id: "openai", dialect: .openai, baseURL: "https://api.openai.com/v1")
    provider.breaker = .database
    return provider
  }

  private var acme: Tenant {
    var tenant = Tenant(id: "acme")
    tenant.keys = [ClientKeyHash(bytes: Array(0...31))]
    tenant.priority = .low
    tenant.maxPriority = .normal
    tenant.weight = 2
    tenant.models = ["claude-*", "gpt-*"]
    tenant.limits = Limits(concurrency: 10, requestsPerMinute: 300, tokensPerMinute: 200_000)
    var budget = Budget(limit: Money(nanodollars: 50_500_000_000), per: .day)
    budget.timeZone = "Europe/Berlin"
    budget.onExceed = .low
    budget.warnAtPercent = 70
    tenant.budgets = [budget]
    return tenant
  }

  @Test func presetsAreTheContracts() {
    for (name, failures, seconds) in [("api", 5, 30), ("external", 3, 60), ("database", 2, 10)] {
      let text = "providers: {a: {dialect: openai, base_url: 'http://h', breaker: {preset: \(name), probes: 3}}}"
      let breaker = PolicyParser.parse(text: text, file: "p", environment: [:]).policy?.providers.first?.breaker
      #expect(breaker == BreakerPolicy(failures: failures, recovery: .seconds(Int64(seconds)), probes: 3))
    }
  }

  @Test func routesByDialectWhereThereAreNone() {
    let text = """
      providers:
        c: {dialect: anthropic, base_url: "http://c"}
        g: {dialect: gemini, base_url: "http://g"}
        o: {dialect: openai, base_url: "http://o"}
        p: {dialect: openai, base_url: "http://p"}
      """
    let policy = PolicyParser.parse(text: text, file: "p", environment: [:]).policy
    #expect(policy?.route(forModel: "claude-x")?.to == ["c"])
    #expect(policy?.route(forModel: "gemini-x")?.to == ["g"])
    #expect(policy?.route(forModel: "other")?.to == ["o", "p"])
    #expect(policy?.providers.map(\.id) == ["c", "g", "o", "p"])
  }

  @Test(arguments: [
    ("https://r.OpenAI.azure.com/", "https://r.openai.azure.com/openai/v1"),
    ("https://r.services.ai.azure.com", "https://r.services.ai.azure.com/openai/v1"),
    ("https://r.openai.azure.com/openai", "https://r.openai.azure.com/openai"),
    ("https://azure.com.example", "https://azure.com.example/v1"),
    ("https://api.openai.com", "https://api.openai.com/v1"),
  ])
  func aBaseURLWithoutAPathGetsTheVendors(_ written: String, _ meant: String) {
    let text = "providers: {a: {dialect: openai, base_url: '\(written)'}}"
    #expect(PolicyParser.parse(text: text, file: "p", environment: [:]).policy?.providers.first?.baseURL == meant)
  }

  @Test func storeForms() {
    func store(_ text: String) -> StoreLocation? { StoreLocation(text) }
    #expect(store("memory:") == .memory)
    #expect(store("sqlite:///a b.db") == .file("/a b.db"))
    #expect(store("./t.db") == .file("./t.db"))
    let text = "store: memory:\nproviders: {a: {dialect: openai, base_url: 'http://h'}}"
    #expect(PolicyParser.parse(text: text, file: "p", environment: [:]).policy?.store == .memory)
  }

  @Test func diagnosticsPrintAsCompilersDo() {
    let diagnostic = Diagnostic(file: "a.yaml", line: 3, column: 5, field: "listen", message: "wrong, allowed: right")
    #expect(diagnostic.description == "a.yaml:3:5: error: listen: wrong, allowed: right")
  }

  /// Whatever bytes an operator's editor leaves behind: no trap, no endless loop, and a policy exactly where there is
  /// no mistake.
  @Test(arguments: 0..<8) func mutatedTextsNeverCrash(_ seed: UInt64) {
    var random = SeededRandom(seed: seed &* 0x9E37_79B9_7F4A_7C15 &+ 1)
    let base = Array(everyFieldText.unicodeScalars)
    let spice = Array("{}[]:,-#&*!|>'\"%@`?~ \n\t\r\u{0}\u{7F}\u{85}\u{2028}\u{E000}é$0a\u{FEFF}".unicodeScalars)
    for _ in 0..<120 {
      var scalars = base
      for _ in 0...random.next(below: 6) {
        let at = random.next(below: scalars.count)
        switch random.next(below: 5) {
        case 0: scalars.remove(at: at)
        case 1: scalars.insert(spice[random.next(below: spice.count)], at: at)
        case 2: scalars[at] = spice[random.next(below: spice.count)]
        case 3: scalars.removeSubrange(at..<min(scalars.count, at + random.next(below: 40)))
        default:
          let from = random.next(below: scalars.count)
          scalars.insert(contentsOf: scalars[from..<min(scalars.count, from + random.next(below: 200))], at: at)
        }
        if scalars.isEmpty { break }
      }
      let text = String(String.UnicodeScalarView(scalars))
      let parsing = PolicyParser.parse(text: text, file: "p", environment: ["TOKEN": "t"])
      #expect((parsing.policy == nil) == !parsing.diagnostics.isEmpty)
      let places = parsing.diagnostics.map { ($0.line, $0.column) }
      #expect(zip(places, places.dropFirst()).allSatisfy { $0 <= $1 })
      #expect(parsing.diagnostics.allSatisfy { $0.line >= 1 && $0.column >= 1 && !$0.message.isEmpty })
    }
  }
}
