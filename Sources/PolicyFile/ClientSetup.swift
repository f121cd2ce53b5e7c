// What a client must be told so that it calls the broker: its environment variables, and what goes into its own settings
// file. `tollgate env` prints and writes it; docs/operating/clients.md shows the same.
import TextForms

/// One client that people use.
public struct ClientSetup: Sendable {
  /// A variable of the client's environment.
  public struct Variable: Sendable {
    public var name: String
    /// With the broker's base URL in it.
    public var value: String
    /// True for the client's own key: any text will do where the policy has no tenants, and what is there already stays.
    public var isCredential: Bool
  }

  /// Where the client keeps its settings, and in which form.
  public enum File: Sendable {
    /// Claude Code's `settings.json`, with the variables as members of `env`.
    case claudeCode
    /// Codex's `config.toml`, with the broker as a provider of models.
    case codex
  }

  public var name: String
  public var variables: [Variable]
  /// What else is to be known, a sentence each.
  public var notes: [String]
  /// What its settings file must have, line by line, where variables are not enough.
  public var lines: [String] = []
  public var file: File?

  /// The stand-in for a client key.
  public static let anyKey = "tg-local"

  /// Every client, for a broker at a base URL without a path and without a slash at its end.
  public static func all(at url: String) -> [ClientSetup] {
    func base(_ name: String, _ suffix: String = "") -> Variable {
      Variable(name: name, value: url + suffix, isCredential: false)
    }
    func key(_ name: String) -> Variable { Variable(name: name, value: anyKey, isCredential: true) }
    let openai = [base("OPENAI_BASE_URL", "/v1"), key("OPENAI_API_KEY")]
    let anthropic = [base("ANTHROPIC_BASE_URL"), key("ANTHROPIC_API_KEY")]
    let litellm = [
      base("OPENAI_API_BASE", "/v1"), key("OPENAI_API_KEY"), base("ANTHROPIC_API_BASE"), key("ANTHROPIC_API_KEY"),
    ]
    return [
      ClientSetup(
        name: "claude-code",
        variables: [
          base("ANTHROPIC_BASE_URL"), key("ANTHROPIC_AUTH_TOKEN"),
          Variable(name: "CLAUDE_CODE_GATEWAY_HINT_HEADERS", value: "1", isCredential: false),
        ],
        notes: [
          "With a subscription, leave ANTHROPIC_AUTH_TOKEN away and give the provider pass_through: true in the policy."
        ], file: .claudeCode),
      ClientSetup(
        name: "codex", variables: [key("TOLLGATE_CLIENT_KEY")],
        notes: [
          "Codex takes the address from its config.toml only. tollgate env codex --write writes it there, or put it there yourself:"
        ],
        lines: [
          "model_provider = \"tollgate\"", "", "[model_providers.tollgate]",
        ] + codex(url).map { "\($0.name) = \($0.value)" }, file: .codex),
      ClientSetup(name: "openai", variables: openai, notes: []),
      ClientSetup(name: "anthropic", variables: anthropic, notes: ["The base URL has no /v1: the SDK adds it."]),
      ClientSetup(
        name: "gemini", variables: [base("GOOGLE_GEMINI_BASE_URL"), key("GEMINI_API_KEY")],
        notes: ["For google-genai; the base URL has no version."]),
      ClientSetup(name: "azure", variables: [base("AZURE_OPENAI_ENDPOINT"), key("AZURE_OPENAI_API_KEY")], notes: []),
      ClientSetup(
        name: "groq", variables: [base("GROQ_BASE_URL"), key("GROQ_API_KEY")],
        notes: ["The base URL has no path: the SDK adds /openai/v1."]),
      ClientSetup(name: "cohere", variables: [base("CO_API_URL"), key("CO_API_KEY")], notes: []),
      ClientSetup(
        name: "mistral", variables: [key("MISTRAL_API_KEY")],
        notes: ["The SDK reads no variable for the address: Mistral(server_url=\"\(url)\")"]),
      ClientSetup(name: "ollama", variables: [base("OLLAMA_HOST")], notes: []),
      ClientSetup(
        name: "litellm", variables: litellm + [base("GEMINI_API_BASE", "/v1beta"), key("GEMINI_API_KEY")], notes: []),
      ClientSetup(name: "aider", variables: litellm, notes: []),
      ClientSetup(name: "mini-swe-agent", variables: litellm, notes: []),
      ClientSetup(name: "langchain", variables: openai + anthropic, notes: []),
      ClientSetup(name: "openai-agents", variables: openai, notes: []),
      ClientSetup(name: "pydantic-ai", variables: openai + anthropic, notes: []),
      ClientSetup(name: "smolagents", variables: openai, notes: []),
      ClientSetup(name: "llm", variables: openai, notes: []),
    ]
  }

  /// The client's settings with the broker in them, from those that it has.
  public static func merged(_ file: File, _ variables: [Variable], url: String, into text: String)
    throws(SettingsMistake) -> String
  {
    switch file {
    case .claudeCode:
      return try JSONMembers.setting(
        variables.map { ($0.name, $0.value) }, keeping: Set(variables.filter(\.isCredential).map(\.name)),
        inObject: "env", of: text)
    case .codex:
      let top = try TOMLTables.setting([("model_provider", "\"tollgate\"")], inTable: "", of: text)
      return try TOMLTables.setting(codex(url), inTable: "model_providers.tollgate", of: top)
    }
  }

  private static func codex(_ url: String) -> [(name: String, value: String)] {
    [
      ("name", "\"tollgate\""), ("base_url", "\"\(url)/v1\""), ("env_key", "\"TOLLGATE_CLIENT_KEY\""),
      ("wire_api", "\"responses\""),
    ]
  }
}
