// The policy of `tollgate serve` without a file: every provider whose usual environment variable is set.
//
// Promise: a prompt never goes to another vendor than its model's own. A model whose vendor has no key here is refused,
// with the variable that would give it one.
import AdmissionCore

/// A vendor that the broker knows without a policy.
struct KnownVendor {
  var id: String
  /// Environment variables for the key; the first one that is set counts.
  var variables: [String]
  var dialect: DialectName
  var baseURL: String
  /// The vendor's own models.
  var models: [Glob]

  static let all: [KnownVendor] = [
    KnownVendor(
      id: "anthropic", variables: ["ANTHROPIC_API_KEY"], dialect: .anthropic, baseURL: "https://api.anthropic.com",
      models: ["claude-*"]),
    KnownVendor(
      id: "gemini", variables: ["GEMINI_API_KEY", "GOOGLE_API_KEY"], dialect: .gemini,
      baseURL: "https://generativelanguage.googleapis.com", models: ["gemini-*", "gemma-*", "models/gemini-*"]),
    // Before OpenAI, since `gpt-oss` is an open model that others serve.
    KnownVendor(
      id: "groq", variables: ["GROQ_API_KEY"], dialect: .openai, baseURL: "https://api.groq.com/openai/v1",
      models: ["openai/gpt-oss-*", "llama-*", "qwen/*", "meta-llama/*", "moonshotai/*"]),
    KnownVendor(
      id: "cerebras", variables: ["CEREBRAS_API_KEY"], dialect: .openai, baseURL: "https://api.cerebras.ai/v1",
      models: ["gpt-oss-*", "llama3*", "qwen-*", "zai-glm-*"]),
    KnownVendor(
      id: "openai", variables: ["OPENAI_API_KEY"], dialect: .openai, baseURL: "https://api.openai.com/v1",
      models: [
        "gpt-*", "chatgpt-*", "o1*", "o3*", "o4*", "text-embedding-*", "codex-*", "omni-moderation-*", "dall-e-*",
        "tts-*", "whisper-1", "sora-*", "computer-use-*",
      ]),
    KnownVendor(
      id: "mistral", variables: ["MISTRAL_API_KEY"], dialect: .openai, baseURL: "https://api.mistral.ai/v1",
      models: [
        "mistral-*", "ministral-*", "magistral-*", "codestral-*", "devstral-*", "pixtral-*", "voxtral-*",
        "open-mistral-*",
      ]),
    KnownVendor(
      id: "deepseek", variables: ["DEEPSEEK_API_KEY"], dialect: .openai, baseURL: "https://api.deepseek.com/v1",
      models: ["deepseek-*"]),
    KnownVendor(
      id: "xai", variables: ["XAI_API_KEY"], dialect: .openai, baseURL: "https://api.x.ai/v1", models: ["grok-*"]),
    // Before Voyage, since both name models `rerank-`.
    KnownVendor(
      id: "cohere", variables: ["CO_API_KEY", "COHERE_API_KEY"], dialect: .openai, baseURL: "https://api.cohere.com/v1",
      models: ["command-*", "embed-*", "rerank-v*", "rerank-english-*", "rerank-multilingual-*", "c4ai-*"]),
    KnownVendor(
      id: "jina", variables: ["JINA_API_KEY"], dialect: .openai, baseURL: "https://api.jina.ai/v1", models: ["jina-*"]),
    KnownVendor(
      id: "voyage", variables: ["VOYAGE_API_KEY"], dialect: .openai, baseURL: "https://api.voyageai.com/v1",
      models: ["voyage-*", "rerank-*"]),
    KnownVendor(
      id: "openrouter", variables: ["OPENROUTER_API_KEY"], dialect: .openai, baseURL: "https://openrouter.ai/api/v1",
      models: ["*/*"]),
  ]

  /// The vendors that take all other models, and calls without a model.
  static let fallback = ["openai", "openrouter"]
}

/// Ollama on this or another machine, which has an address in place of a key.
enum KnownOllama {
  static let id = "ollama"
  static let variable = "OLLAMA_HOST"
  static let port = "11434"
  /// Families of open models; with a tag behind a colon they are Ollama's, whoever else serves the family.
  static let families = [
    "llama*", "gpt-oss*", "qwen*", "gemma*", "mistral*", "mixtral*", "deepseek-*", "phi*", "granite*", "smollm*",
    "nomic-embed-*", "mxbai-embed-*", "all-minilm*", "bge-*", "snowflake-arctic-*", "codellama*", "llava*",
  ]

  /// The base URL for what the variable holds: `HOST`, `HOST:PORT`, or either behind `http://`. nil for another port
  /// than Ollama's own, since clients are led to this broker by the same variable.
  static func baseURL(_ text: String) -> String? {
    var text = text[...]
    if text.hasPrefix("http://") { text = text.dropFirst(7) }
    while text.last == "/" { text = text.dropLast() }
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count <= 2, parts.count < 2 || parts[1] == port else { return nil }
    // A server listens on all addresses; its clients call this machine.
    let host = parts[0].isEmpty || parts[0] == "0.0.0.0" ? "127.0.0.1" : String(parts[0])
    return try? BaseURL.parse("http://\(host):\(port)/v1", dialect: .openai).get().text
  }
}

extension Policy {
  /// The built-in policy: one provider with one key, `env`, for each known variable that is set and not empty. A
  /// vendor's own models go to the vendor and nowhere else; models of no known vendor go to OpenAI, then OpenRouter.
  /// Where no variable is set, there is no provider.
  public static func builtIn(environment: [String: String]) -> Policy {
    var policy = Policy()
    var present: [KnownVendor] = []
    for vendor in KnownVendor.all {
      guard let variable = vendor.variables.first(where: { environment[$0].map { !$0.isEmpty } ?? false }),
        let secret = environment[variable]
      else { continue }
      var provider = Provider(id: vendor.id, dialect: vendor.dialect, baseURL: vendor.baseURL)
      var key = ProviderKey(id: "env", source: .text(Secret(secret)))
      key.variable = variable
      provider.keys = [key]
      policy.providers.append(provider)
      present.append(vendor)
    }
    let ollama = environment[KnownOllama.variable].flatMap(KnownOllama.baseURL)
    if let ollama {
      var provider = Provider(id: KnownOllama.id, dialect: .openai, baseURL: ollama)
      provider.native = .ollama
      policy.providers.append(provider)
    }
    guard !policy.providers.isEmpty else { return policy }
    policy.isBuiltIn = true
    if ollama != nil {
      policy.routes.append(Route(models: KnownOllama.families.map { Glob($0 + ":*") }, to: [KnownOllama.id]))
    }
    policy.routes += present.map { Route(models: $0.models, to: [$0.id]) }
    if ollama != nil {
      policy.routes.append(Route(models: KnownOllama.families.map { Glob($0) }, to: [KnownOllama.id]))
    }
    let absent = KnownVendor.all.filter { vendor in !present.contains { $0.id == vendor.id } }.flatMap(\.models)
    if !absent.isEmpty { policy.routes.append(Route(models: absent, to: [])) }
    // No vendor is known for the rest; without these two it is refused.
    let rest = KnownVendor.fallback.filter { id in present.contains { $0.id == id } }
    policy.routes.append(Route(models: ["*"], to: rest))
    return policy
  }

  /// The environment variables that `builtIn` looks at, for the error text where none is set.
  public static let builtInVariables: [String] = KnownVendor.all.flatMap(\.variables) + [KnownOllama.variable]

  /// The variables of which any would give a model a provider.
  public static func builtInVariables(forModel model: String) -> [String] {
    let vendors = KnownVendor.all.filter { $0.models.contains { $0.matches(model) } }.map { $0.variables[0] }
    if !vendors.isEmpty { return vendors }
    return KnownVendor.fallback.compactMap { id in KnownVendor.all.first { $0.id == id }?.variables[0] }
  }

  /// The routes of a policy that gives none. With one dialect, every model goes to all providers in the file's order.
  /// With several, each dialect's well-known models go to its providers, and the rest to those of the OpenAI dialect.
  static func defaultRoutes(for providers: [Provider]) -> [Route] {
    let anthropic = providers.filter { $0.dialect == .anthropic }.map(\.id)
    let gemini = providers.filter { $0.dialect == .gemini }.map(\.id)
    let openai = providers.filter { $0.dialect == .openai }.map(\.id)
    var routes: [Route] = []
    let isMixed = [anthropic, gemini, openai].filter { !$0.isEmpty }.count > 1
    if isMixed, !anthropic.isEmpty { routes.append(Route(models: ["claude-*"], to: anthropic)) }
    if isMixed, !gemini.isEmpty { routes.append(Route(models: ["gemini-*"], to: gemini)) }
    routes.append(Route(models: ["*"], to: openai.isEmpty ? anthropic + gemini : openai))
    return routes
  }
}
