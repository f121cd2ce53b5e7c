// The policy without a file: which variable makes which provider, and where models go.
import PolicyFile
import Testing

@Suite struct BuiltInPolicyTests {
  @Test func withoutVariablesThereIsNoProvider() {
    #expect(Policy.builtIn(environment: ["HOME": "/"]) == Policy())
    #expect(Policy.builtIn(environment: ["OPENAI_API_KEY": ""]).providers.isEmpty)
  }

  @Test func everyKnownVariableMakesAProvider() {
    var environment: [String: String] = [:]
    for name in Policy.builtInVariables { environment[name] = "key-of-\(name)" }
    let policy = Policy.builtIn(environment: environment)
    #expect(
      Set(policy.providers.map(\.id)) == [
        "anthropic", "gemini", "openai", "mistral", "deepseek", "xai", "groq", "cerebras", "voyage", "openrouter",
      ])
    #expect(
      policy.providers.allSatisfy { $0.keys.count == 1 && $0.keys[0].id == "env" && $0.baseURL.hasPrefix("https://") })
    #expect(policy.provider(named: "gemini")?.keys.first?.source == .text(Secret("key-of-GEMINI_API_KEY")))
    #expect(policy.provider(named: "anthropic")?.dialect == .anthropic)
    #expect(policy.provider(named: "anthropic")?.baseURL == "https://api.anthropic.com")
    #expect(policy.provider(named: "openai")?.baseURL == "https://api.openai.com/v1")
    let expected = [
      "claude-opus-5": "anthropic", "gemini-4-argon": "gemini", "gpt-6-sol": "openai", "o3": "openai",
      "text-embedding-3-small": "openai", "mistral-large-latest": "mistral", "deepseek-v4-pro": "deepseek",
      "grok-4.7": "xai", "openai/gpt-oss-120b": "groq", "gpt-oss-120b": "cerebras", "voyage-4": "voyage",
      "anthropic/claude-opus-5": "openrouter", "something-new": "openai",
    ]
    for (model, provider) in expected { #expect(policy.route(forModel: model)?.to.first == provider, "\(model)") }
    #expect(policy.route(forModel: "something-new")?.to == ["openai", "openrouter"])
  }

  @Test func theRestGoesToWhoIsThere() {
    let groq = Policy.builtIn(environment: ["GROQ_API_KEY": "k", "ANTHROPIC_API_KEY": "k"])
    #expect(groq.route(forModel: "gpt-6")?.to == ["groq"])
    #expect(groq.route(forModel: "claude-opus-5")?.to == ["anthropic"])
    let anthropic = Policy.builtIn(environment: ["ANTHROPIC_API_KEY": "k"])
    #expect(anthropic.providerWithoutModel?.id == "anthropic")
    let google = Policy.builtIn(environment: ["GOOGLE_API_KEY": "k"])
    #expect(google.providers.map(\.id) == ["gemini"])
  }

  @Test func baseURLsOfClientsAreNotRead() {
    // These point at the broker itself on a developer's machine.
    let environment = ["OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://127.0.0.1:4141/v1"]
    #expect(Policy.builtIn(environment: environment).providers.first?.baseURL == "https://api.openai.com/v1")
  }
}
