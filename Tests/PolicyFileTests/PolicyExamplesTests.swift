// The files under policies/ are what people start from: each must be right, and default.yaml must say the truth.
import AdmissionCore
import Foundation
import PolicyFile
import Testing

@Suite struct PolicyExamplesTests {
  private static let folder = URL(filePath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().appending(path: "policies")
  private static let environment = [
    "OPENAI_API_KEY": "sk-test", "ANTHROPIC_API_KEY": "sk-ant-test", "VLLM_BASE_URL": "http://10.0.0.7:8000/v1",
    "VLLM_API_KEY": "token", "TOLLGATE_ADMIN_TOKEN": "admin-token-for-tests",
  ]

  static let names: [String] = {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path())) ?? []
    return names.filter { $0.hasSuffix(".yaml") }.sorted()
  }()

  private func policy(_ name: String) throws -> Policy {
    let text = try String(contentsOf: Self.folder.appending(path: name), encoding: .utf8)
    let parsing = PolicyParser.parse(text: text, file: name, environment: Self.environment)
    #expect(parsing.diagnostics.map(\.description) == [])
    return try #require(parsing.policy)
  }

  @Test func allAreHere() {
    #expect(
      Set(Self.names).isSuperset(of: [
        "default.yaml", "coding-agents.yaml", "anthropic-tier.yaml", "local-models.yaml",
        "multi-tenant.yaml",
      ]))
  }

  @Test(arguments: names) func eachIsRight(_ name: String) throws {
    let policy = try policy(name)
    #expect(!policy.providers.isEmpty)
    #expect(policy.listenerMistakes.isEmpty)
    for route in policy.routes { #expect(route.to.allSatisfy { policy.provider(named: $0) != nil }) }
  }

  @Test func defaultSaysWhatTheBuiltInDefaultsAre() throws {
    var expected = Policy()
    var openai = Provider(id: "openai", dialect: .openai, baseURL: "https://api.openai.com/v1")
    openai.keys = [ProviderKey(id: "main", source: .text(Secret("sk-test")))]
    openai.keys[0].variable = "OPENAI_API_KEY"
    var anthropic = Provider(id: "anthropic", dialect: .anthropic, baseURL: "https://api.anthropic.com")
    anthropic.keys = [ProviderKey(id: "main", source: .text(Secret("sk-ant-test")))]
    anthropic.keys[0].variable = "ANTHROPIC_API_KEY"
    expected.providers = [openai, anthropic]
    expected.routes = [Route(models: ["claude-*"], to: ["anthropic"]), Route(models: ["*"], to: ["openai"])]
    #expect(try policy("default.yaml") == expected)
  }

  @Test func defaultNamesEveryField() throws {
    let text = try String(contentsOf: Self.folder.appending(path: "default.yaml"), encoding: .utf8)
    // As the file `docs/reference/policy.md` and the parser know them: an unknown one would be refused, so only
    // absence can go unnoticed.
    let fields = [
      "version", "listen", "tls", "otlp", "admin", "store", "durability", "drain_timeout", "max_body", "memory",
      "providers",
      "routes",
      "priorities", "default_priority", "queue_bytes", "session_concurrency", "kinds", "inherit", "keepalive", "rules",
      "trust_tenant_header", "tenants", "budgets",
      "prices", "unknown_price", "dialect", "base_url", "keys", "quota", "limits", "model_limits", "admission_tokens",
      "learn_limits", "breaker", "timeouts", "retry", "inject_usage", "pass_through", "settle_lag", "ramp", "cache_ttl",
      "ca_file",
      "check_keys", "auth", "headers", "native", "cors", "origins", "hosts",
      "http_version", "certificate", "token", "weight", "models", "reserve", "queue", "max_wait", "promote_after",
      "share", "promoted_share", "max_priority", "usd", "per", "time_zone", "on_exceed", "warn_at", "scope",
    ]
    for field in fields { #expect(text.contains("\(field):"), "\(field)") }
  }

  @Test func whatTheOthersPromise() throws {
    let agents = try policy("coding-agents.yaml")
    #expect(agents.bands[Int(Priority.high.rawValue)].reserve == .permits(2))
    // Without a word about them in the file.
    #expect(agents.kinds["steer"] == .high && agents.kinds["title"] == .low && agents.kinds["review"] == .normal)
    let tier = try policy("anthropic-tier.yaml")
    #expect(tier.provider(named: "anthropic")?.keys.last?.source == .file(path: "/run/secrets/anthropic-spare"))
    #expect(tier.providers.first.flatMap { tier.modelLimits(of: $0, model: "claude-opus-5")?.limits.concurrency } == 20)
    let teams = try policy("multi-tenant.yaml")
    #expect(teams.tenants.map(\.id) == ["product", "research"])
    #expect(teams.tenants.map { $0.budgets.map(\.scope) } == [[.tenant, .session], [.tenant, .tenant]])
    #expect(teams.tenants[1].budgets.map(\.onExceed) == [.low, .reject])
    #expect(teams.budgets.first?.limit == Money(nanodollars: 4_000_000_000_000))
    let local = try policy("local-models.yaml")
    #expect(local.provider(named: "ollama")?.limits.concurrency == 2)
    #expect(local.provider(named: "vllm")?.baseURL == "http://10.0.0.7:8000/v1")
    #expect(local.providers(forModel: "llama4").map(\.id) == ["ollama", "vllm"])
  }
}
