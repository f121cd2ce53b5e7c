// What a new policy changes, as the audit tells it.
import AdmissionCore
import PolicyFile
import Testing

@testable import BrokerEngine

@Suite struct PolicyDifferenceTests {
  private static func policy(_ concurrency: Int?, keys: [String] = ["main"], budget: Int64? = nil) -> Policy {
    var policy = Policy()
    var provider = Provider(id: "openai", dialect: .openai, baseURL: "https://user:hunter2@example.org/v1")
    provider.limits.concurrency = concurrency
    provider.limits.tokensPerMinute = 7
    provider.keys = keys.map { ProviderKey(id: $0, source: .text(Secret("sk-very-secret-\($0)"))) }
    policy.providers = [provider]
    policy.budgets = budget.map { [Budget(limit: Money(nanodollars: $0), per: .day)] } ?? []
    return policy
  }

  @Test func onlyWhatDiffersIsTold() {
    let difference = PolicyDifference(
      from: Self.policy(50), to: Self.policy(nil, keys: ["main", "spare"], budget: 2_500_000_000))
    #expect(
      difference.before
        == "budgets[0]: none, providers.openai.keys: main, providers.openai.limits.concurrency: 50")
    #expect(
      difference.after
        == "budgets[0]: $2.50 per day, providers.openai.keys: main spare, providers.openai.limits.concurrency: none")
    let same = PolicyDifference(from: Self.policy(50), to: Self.policy(50))
    #expect(same.before == nil && same.after == nil)
  }

  @Test func whereCallsAndWhatIsToldGoIsTold() {
    var (old, new) = (Self.policy(50), Self.policy(50))
    new.providers[0].baseURL = "https://user:hunter2@elsewhere.example:8443/v2"
    old.otlp = TelemetrySettings(endpoint: "http://127.0.0.1:4318")
    new.otlp = TelemetrySettings(endpoint: "https://collector.example/otlp")
    new.otlp?.headers = [AddedField(name: "authorization", value: Secret("Bearer hunter2"), isSecret: true)]
    new.webhooks = [Webhook(url: "https://hooks.example/services/hunter2/x?token=hunter2")]
    let difference = PolicyDifference(from: old, to: new)
    #expect(
      difference.before
        == "otlp.endpoint: http://127.0.0.1:4318, otlp.headers: none, providers.openai.base_url: https://example.org/v1, webhooks: none"
    )
    #expect(
      difference.after
        == "otlp.endpoint: https://collector.example/otlp, otlp.headers: authorization, "
        + "providers.openai.base_url: https://elsewhere.example:8443/v2, webhooks: https://hooks.example/services/…")
    let gone = PolicyDifference(from: new, to: Self.policy(50))
    #expect(gone.after?.contains("otlp.endpoint: none") == true)
  }

  @Test func manyDifferencesAreCountedAndNoSecretIsTold() {
    var many = Policy()
    many.tenants = (0..<40).map { Tenant(id: "t\($0)") }
    let difference = PolicyDifference(from: Self.policy(1), to: many)
    #expect(difference.after?.hasSuffix(", and 68 more") == true)
    for text in [difference.before, difference.after] {
      #expect(text?.contains("secret") == false && text?.contains("hunter2") == false)
    }
  }
}
