// What a client is told whose path is not served here: which base URL its SDK needs, or why its API cannot be served.

/// Advice for paths that are answered with 404.
public enum PathAdvice {
  /// Why the API of this path is not served; nil where it is, or where the path is of no API that we know.
  ///
  /// Amazon signs a call with its host, path and body; Google's address holds a project and its tokens live an hour.
  /// Neither can be sent on with a key of the policy.
  public static func unserved(_ path: Substring) -> String? {
    let parts = path.split(separator: "/")
    guard let first = parts.first else { return nil }
    switch first {
    case "model" where parts.count >= 3 && bedrockVerbs.contains(parts[parts.count - 1]):
      return "Amazon Bedrock's API is not served here: its calls are signed for Amazon's own host, and no key of the "
        + "policy can sign them anew. Use the vendor's own API, or Bedrock's OpenAI-compatible one with a Bedrock API key."
    case "v1", "v1beta1", "projects":
      let rest = first == "projects" ? parts[...] : parts.dropFirst()
      guard rest.count > 4, rest.first == "projects", rest.dropFirst(2).first == "locations" else { return nil }
      return "Google Vertex AI's API is not served here: its address holds a project and a region, which no route can "
        + "choose. Use the Gemini API, or give a provider Vertex's OpenAI-compatible base URL with a secret that a "
        + "command makes; /p/PROVIDER/... sends any path to a provider that the policy names."
    case "api" where parts.count > 1 && ollamaNames.contains(parts[1]):
      return "Of Ollama's own API only /api/chat, /api/generate, /api/embed, /api/show and /api/tags are served here: "
        + "the rest is about one server. Ask that server, or use /p/PROVIDER/api/..."
    default: return nil
    }
  }

  /// True for paths of Ollama's own API that are not served: their clients read errors in its format.
  static func isOllama(_ path: Substring) -> Bool {
    let parts = path.split(separator: "/")
    return parts.count > 1 && parts[0] == "api" && ollamaNames.contains(parts[1])
  }

  private static let ollamaNames: Set<Substring> = [
    "blobs", "copy", "create", "delete", "ps", "pull", "push", "version",
  ]

  /// True for a name or an address, with or without a port.
  private static func isPlain(_ host: String) -> Bool {
    (1...255).contains(host.utf8.count)
      && host.utf8.allSatisfy { byte in
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
          UInt8(ascii: "0")...UInt8(ascii: "9"):
          true
        default: Array("-._:[]".utf8).contains(byte)
        }
      }
  }

  private static let bedrockVerbs: Set<Substring> = [
    "invoke", "invoke-with-response-stream", "converse", "converse-stream", "count-tokens",
  ]

  /// Which base URL to set for which client.
  /// - Parameters:
  ///   - host: the authority by which the client called; one that no client would call by is not repeated.
  ///   - isSecure: true where the listener speaks TLS.
  public static func baseURLs(host: String, isSecure: Bool) -> String {
    let root = (isSecure ? "https://" : "http://") + (isPlain(host) ? host : "HOST")
    return "Set the base URL: OPENAI_BASE_URL=\(root)/v1 for OpenAI SDKs and Codex, ANTHROPIC_BASE_URL=\(root) for "
      + "Anthropic SDKs and Claude Code, GOOGLE_GEMINI_BASE_URL=\(root) for Google's, CO_API_URL=\(root) for Cohere's, "
      + "OLLAMA_HOST=\(root) for Ollama's, azure_endpoint=\(root) for AzureOpenAI; or \(root)/p/PROVIDER/... for any "
      + "path of one provider."
  }
}
