// The policy of `tollgate serve` without a file: every provider whose usual environment variable is set.
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

extension Policy {
  /// The built-in policy: one provider with one key, `env`, for each known variable that is set and not empty. A
  /// vendor's own models go to the vendor; other models go to OpenAI, then OpenRouter, or, without these two, to the
  /// first provider of the OpenAI dialect. Where no variable is set, there is no provider.
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
    guard !present.isEmpty else { return policy }
    policy.routes = present.filter { !$0.models.isEmpty }.map { Route(models: $0.models, to: [$0.id]) }
    var rest = KnownVendor.fallback.filter { id in present.contains { $0.id == id } }
    if rest.isEmpty { rest = [(present.first { $0.dialect == .openai } ?? present[0]).id] }
    policy.routes.append(Route(models: ["*"], to: rest))
    return policy
  }

  /// The environment variables that `builtIn` looks at, for the error text where none is set.
  public static let builtInVariables: [String] = KnownVendor.all.flatMap(\.variables)

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
