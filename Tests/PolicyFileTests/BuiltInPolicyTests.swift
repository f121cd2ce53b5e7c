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
    for name in Policy.builtInVariables where name != "OLLAMA_HOST" { environment[name] = "key-of-\(name)" }
    let policy = Policy.builtIn(environment: environment)
    #expect(
      Set(policy.providers.map(\.id)) == [
        "anthropic", "gemini", "openai", "mistral", "deepseek", "xai", "groq", "cerebras", "cohere", "jina", "voyage",
        "openrouter",
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
      "rerank-2.5": "voyage", "rerank-v3.5": "cohere", "embed-v4.0": "cohere", "jina-embeddings-v3": "jina",
      "anthropic/claude-opus-5": "openrouter", "something-new": "openai",
    ]
    for (model, provider) in expected { #expect(policy.route(forModel: model)?.to.first == provider, "\(model)") }
    #expect(policy.route(forModel: "something-new")?.to == ["openai", "openrouter"])
  }

  @Test func aModelNeverGoesToAForeignVendor() {
    let groq = Policy.builtIn(environment: ["GROQ_API_KEY": "k", "ANTHROPIC_API_KEY": "k"])
    for model in ["gpt-6", "gemini-4", "something-new", "qwen3:8b", "anthropic/claude-opus-5"] {
      #expect(groq.providers(forModel: model).isEmpty, "\(model)")
    }
    #expect(Policy.builtInVariables(forModel: "gpt-6") == ["OPENAI_API_KEY"])
    #expect(Policy.builtInVariables(forModel: "gemini-4") == ["GEMINI_API_KEY"])
    #expect(Policy.builtInVariables(forModel: "anthropic/claude-opus-5") == ["OPENROUTER_API_KEY"])
    #expect(Policy.builtInVariables(forModel: "something-new") == ["OPENAI_API_KEY", "OPENROUTER_API_KEY"])
    let router = Policy.builtIn(environment: ["OPENROUTER_API_KEY": "k"])
    #expect(router.providers(forModel: "gpt-6").isEmpty)
    #expect(router.route(forModel: "openai/gpt-6")?.to == ["openrouter"])
    #expect(router.route(forModel: "something-new")?.to == ["openrouter"])
    let openai = Policy.builtIn(environment: ["OPENAI_API_KEY": "k"])
    #expect(openai.route(forModel: "ft:gpt-4o:org::id")?.to == ["openai"])
    #expect(openai.providers(forModel: "claude-opus-5").isEmpty)
    #expect(groq.route(forModel: "claude-opus-5")?.to == ["anthropic"])
    let anthropic = Policy.builtIn(environment: ["ANTHROPIC_API_KEY": "k"])
    #expect(anthropic.providerWithoutModel?.id == "anthropic")
    let google = Policy.builtIn(environment: ["GOOGLE_API_KEY": "k"])
    #expect(google.providers.map(\.id) == ["gemini"])
  }

  @Test(arguments: [
    ("localhost", "http://localhost:11434/v1"), ("http://box:11434/", "http://box:11434/v1"),
    ("0.0.0.0", "http://127.0.0.1:11434/v1"), ("0.0.0.0:11434", "http://127.0.0.1:11434/v1"),
    // The broker itself, and what cannot be read.
    ("http://127.0.0.1:4141/p/ollama", nil), ("127.0.0.1:4141", nil), ("https://ollama.com", nil), ("a b", nil),
  ])
  func ollamaIsFoundByItsAddress(_ value: String, _ url: String?) {
    let policy = Policy.builtIn(environment: ["OLLAMA_HOST": value, "OPENAI_API_KEY": "k"])
    #expect(policy.provider(named: "ollama")?.baseURL == url)
    let ollama = policy.provider(named: "ollama")
    #expect(ollama?.native == (url == nil ? nil : .ollama))
    #expect(ollama?.keys.isEmpty ?? true)
    #expect(policy.route(forModel: "gpt-oss:20b")?.to == (url == nil ? ["openai"] : ["ollama"]))
    #expect(policy.route(forModel: "llama3.2")?.to == (url == nil ? [] : ["ollama"]))
    #expect(policy.route(forModel: "gpt-6")?.to == ["openai"])
  }

  @Test func baseURLsOfClientsAreNotRead() {
    // These point at the broker itself on a developer's machine.
    let environment = ["OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://127.0.0.1:4141/v1"]
    #expect(Policy.builtIn(environment: environment).providers.first?.baseURL == "https://api.openai.com/v1")
  }
}
