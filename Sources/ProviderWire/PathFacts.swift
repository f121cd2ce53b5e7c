// Reads a request's path: the vendor's dialect, the endpoint and, in paths that contain them, the model and the request
// for a stream. The path comes without its query.
//
// A path must have one meaning: a path that an upstream server could read as another endpoint, after it has resolved
// escapes or segments, has a flaw (PathFlaw.swift) and is refused before it is read here.
import TextForms

/// The vendor whose format a client uses, and gets in the broker's own answers.
public enum Dialect: String, Sendable, CaseIterable {
  case openai, anthropic, gemini, cohere, ollama
}

/// The endpoints whose bodies are understood. All others are `other`, and are metered by what their bodies show.
public enum WireEndpoint: String, Sendable, CaseIterable {
  case chatCompletions = "chat_completions"
  case responses
  case responsesCompact = "responses_compact"
  case responsesInputTokens = "responses_input_tokens"
  case completions
  case embeddings
  case moderations
  /// Files that later calls refer to, such as the input of batches.
  case files
  case images
  case transcription
  case speech
  case models
  case messages
  case countTokens = "count_tokens"
  case messageBatches = "message_batches"
  case geminiGenerate = "gemini_generate"
  case geminiStream = "gemini_stream"
  case geminiCountTokens = "gemini_count_tokens"
  case geminiEmbed = "gemini_embed"
  case cohereChat = "cohere_chat"
  case cohereEmbed = "cohere_embed"
  case rerank
  case ollamaChat = "ollama_chat"
  case ollamaGenerate = "ollama_generate"
  case ollamaEmbed = "ollama_embed"
  /// Ollama's facts of one model.
  case ollamaShow = "ollama_show"
  case other

  /// True where a call can produce output tokens; `other` may.
  public var producesOutput: Bool {
    switch self {
    case .chatCompletions, .responses, .responsesCompact, .completions, .images, .transcription, .speech, .messages,
      .messageBatches, .geminiGenerate, .geminiStream, .cohereChat, .ollamaChat, .ollamaGenerate, .other:
      true
    case .responsesInputTokens, .embeddings, .moderations, .files, .models, .countTokens, .geminiCountTokens,
      .geminiEmbed, .cohereEmbed, .rerank, .ollamaEmbed, .ollamaShow:
      false
    }
  }

  /// True where the output answers a text, so that the input cannot be empty.
  var readsText: Bool {
    switch self {
    case .chatCompletions, .responses, .responsesCompact, .completions, .messages, .geminiGenerate, .geminiStream,
      .cohereChat, .ollamaChat, .ollamaGenerate, .other:
      true
    default: false
    }
  }

  /// True where a body that says nothing of a stream gets one.
  var streamsUnasked: Bool { self == .ollamaChat || self == .ollamaGenerate }

  /// True where vendors charge no tokens for the call.
  public var isFree: Bool {
    switch self {
    case .responsesInputTokens, .moderations, .models, .countTokens, .geminiCountTokens, .ollamaShow: true
    default: false
    }
  }

  /// True where a body may also be a form; at other endpoints a form is malformed.
  var takesForms: Bool {
    switch self {
    case .images, .transcription, .files, .other: true
    default: false
    }
  }
}

/// The facts of one path.
public struct PathFacts: Sendable, Equatable {
  public var dialect: Dialect
  public var endpoint: WireEndpoint
  /// The model that the path names, percent-decoded: Gemini's `models/{model}:verb`, Azure's `deployments/{model}`,
  /// `engines/{model}`, `models/{model}`.
  public var modelInPath: String?
  /// True where the path itself asks for a stream (`:streamGenerateContent`).
  public var streamInPath: Bool
  /// True where the path cancels something that runs (`/v1/responses/{id}/cancel`, `/v1beta/batches/{id}:cancel`).
  public var cancels: Bool

  public init(
    dialect: Dialect, endpoint: WireEndpoint, modelInPath: String? = nil, streamInPath: Bool = false,
    cancels: Bool = false
  ) {
    self.dialect = dialect
    self.endpoint = endpoint
    self.modelInPath = modelInPath
    self.streamInPath = streamInPath
    self.cancels = cancels
  }

  /// True below a deployment or an engine: OpenAI paths from which the server knows the model without the body.
  var isDeployment: Bool { dialect == .openai && modelInPath != nil }

  /// The facts for a request with this method: a GET of a model's own path only reads.
  public func facts(for method: String) -> PathFacts {
    guard endpoint == .models, method != "GET", method != "HEAD" else { return self }
    var facts = self
    facts.endpoint = .other
    return facts
  }

  /// Reads a path without its query, after `/x/` and `/p/` prefixes have been removed.
  ///
  /// - Parameter anyPath: true below `/p/{provider}/`, where every path is forwarded: then the result is never nil.
  /// - Returns: nil where the path is no API path; such a request is answered with 404.
  public static func read(path: Substring, anyPath: Bool = false) -> PathFacts? {
    let path = path.utf8.last == UInt8(ascii: "/") ? path.dropLast() : path
    if let facts = exact[path] { return facts }
    let parts = path.split(separator: "/", omittingEmptySubsequences: true)
    if let facts = gemini(parts) ?? deployment(parts) { return facts }
    guard let first = parts.first else { return anyPath ? PathFacts(dialect: .openai, endpoint: .other) : nil }
    if first == "v1" || first == "v2" || first == "v1beta" {
      let isAnthropic = parts.count > 1 && parts[1] == "messages"
      let isModels = parts.count == 3 && parts[1] == "models" && first == "v1"
      let isGemini = first == "v1beta" && !(parts.count > 1 && parts[1] == "openai")
      return PathFacts(
        dialect: isAnthropic ? .anthropic : isGemini ? .gemini : .openai, endpoint: isModels ? .models : .other,
        modelInPath: isModels ? PercentEscapes.decoded(parts[2]) : modelNamed(in: parts),
        cancels: isCancel(parts))
    }
    guard anyPath else { return nil }
    // Below a named provider the API may have a prefix of its own, such as `/openai/v1/...` and `/api/v1/...`, or none.
    for start in parts.indices.prefix(mostPrefixes) {
      switch parts[start] {
      case "deployments", "engines":
        if let facts = deployment(["openai"] + parts[start...]) { return facts }
      case "openai", "v1", "v2", "v1beta", "v1alpha":
        let rest = Array(parts[start...])
        if let facts = gemini(rest) ?? deployment(rest) { return facts }
        if parts[start] == "v1" || parts[start] == "v2" { return behindPrefix(rest, parts) }
      default: continue
      }
    }
    return behindPrefix(["v1"] + parts, parts)
  }

  /// The most segments before the API's path.
  private static let mostPrefixes = 16

  /// The facts of the path after a provider's own prefix. The prefix may contain the model.
  private static func behindPrefix(_ rest: [Substring], _ parts: [Substring]) -> PathFacts {
    var facts =
      exact[("/" + rest.joined(separator: "/"))[...]]
      ?? PathFacts(dialect: .openai, endpoint: .other, cancels: isCancel(parts))
    facts.modelInPath = modelsNamed(in: parts.joined(separator: "/")[...]).last
    return facts
  }

  private static func isCancel(_ parts: [Substring]) -> Bool {
    guard let last = parts.last.map({ plainParts($0) })?.last else { return false }
    return last == "cancel" || last.hasSuffix(":cancel")
  }

  private static let exact: [Substring: PathFacts] = {
    func openai(_ endpoint: WireEndpoint) -> PathFacts { PathFacts(dialect: .openai, endpoint: endpoint) }
    var table: [Substring: PathFacts] = [
      "/v1/chat/completions": openai(.chatCompletions),
      "/v1/responses": openai(.responses),
      "/v1/responses/compact": openai(.responsesCompact),
      "/v1/responses/input_tokens": openai(.responsesInputTokens),
      "/v1/completions": openai(.completions),
      "/v1/embeddings": openai(.embeddings),
      "/v1/multimodalembeddings": openai(.embeddings),
      "/v1/moderations": openai(.moderations),
      "/v1/files": openai(.files),
      "/v1beta/files": PathFacts(dialect: .gemini, endpoint: .files),
      "/v1/images/generations": openai(.images),
      "/v1/images/edits": openai(.images),
      "/v1/images/variations": openai(.images),
      "/v1/audio/transcriptions": openai(.transcription),
      "/v1/audio/translations": openai(.transcription),
      "/v1/audio/speech": openai(.speech),
      "/v1/models": openai(.models),
      "/v1/rerank": openai(.rerank),
      "/v1/messages": PathFacts(dialect: .anthropic, endpoint: .messages),
      "/v1/messages/count_tokens": PathFacts(dialect: .anthropic, endpoint: .countTokens),
      "/v1/messages/batches": PathFacts(dialect: .anthropic, endpoint: .messageBatches),
      "/v1beta/models": PathFacts(dialect: .gemini, endpoint: .models),
      "/v2/chat": PathFacts(dialect: .cohere, endpoint: .cohereChat),
      "/v2/embed": PathFacts(dialect: .cohere, endpoint: .cohereEmbed),
      "/v2/rerank": PathFacts(dialect: .cohere, endpoint: .rerank),
      "/api/chat": PathFacts(dialect: .ollama, endpoint: .ollamaChat),
      "/api/generate": PathFacts(dialect: .ollama, endpoint: .ollamaGenerate),
      "/api/embed": PathFacts(dialect: .ollama, endpoint: .ollamaEmbed),
      "/api/embeddings": PathFacts(dialect: .ollama, endpoint: .ollamaEmbed),
      "/api/show": PathFacts(dialect: .ollama, endpoint: .ollamaShow),
      "/api/tags": PathFacts(dialect: .ollama, endpoint: .models),
    ]
    // Gemini's OpenAI-compatible API.
    for name in ["chat/completions", "embeddings", "models"] {
      table["/v1beta/openai/\(name)"] = table["/v1/\(name)"]
    }
    return table
  }()

  /// `/v1beta/models/{model}:{verb}`, also under `/v1/` and with the model's own slashes (`tunedModels/x`).
  private static func gemini(_ parts: [Substring]) -> PathFacts? {
    guard parts.count >= 3, parts[0] == "v1beta" || parts[0] == "v1" || parts[0] == "v1alpha", let last = parts.last,
      let colon = last.lastIndex(of: ":")
    else { return nil }
    let isModels = parts[1] == "models"
    guard isModels || parts[1] == "tunedModels" else { return nil }
    let model = (isModels ? parts.dropFirst(2).dropLast() : parts.dropFirst(1).dropLast()) + [last[..<colon]]
    let endpoint: WireEndpoint
    switch last[last.index(after: colon)...] {
    case "generateContent": endpoint = .geminiGenerate
    case "streamGenerateContent": endpoint = .geminiStream
    // With a second colon only the server knows where the verb begins: then the call is not free.
    case "countTokens":
      endpoint = last.utf8.count(where: { $0 == UInt8(ascii: ":") }) == 1 ? .geminiCountTokens : .other
    case "embedContent", "batchEmbedContents": endpoint = .geminiEmbed
    default: endpoint = .other
    }
    return PathFacts(
      dialect: .gemini, endpoint: endpoint, modelInPath: PercentEscapes.decoded(model.joined(separator: "/")[...]),
      streamInPath: endpoint == .geminiStream)
  }

  /// `/openai/deployments/{deployment}/chat/completions` and `/v1/engines/{engine}/completions`, where deployment and
  /// engine are the model.
  private static func deployment(_ parts: [Substring]) -> PathFacts? {
    guard parts.count >= 4, parts[0] == "openai" || parts[0] == "v1",
      parts[1] == "engines" || (parts[1] == "deployments" && parts[0] == "openai")
    else { return nil }
    let rest = "/v1/" + parts[3...].joined(separator: "/")
    var facts = exact[rest[...]] ?? PathFacts(dialect: .openai, endpoint: .other)
    facts.modelInPath = PercentEscapes.decoded(parts[2])
    return facts
  }

  /// The model in a path of an unknown endpoint, such as `/v1/projects/{p}/publishers/{v}/models/{model}:rawPredict`.
  private static func modelNamed(in parts: [Substring]) -> String? {
    // `/v1/models/{owner}/{name}` asks about a model whose name contains a slash.
    guard parts.count > 3 || (parts.count == 3 && parts[1] == "engines"), parts[1] != "models" else { return nil }
    for at in parts.indices.dropLast().reversed() {
      switch parts[at] {
      case "models", "model", "engines", "deployments":
        let name = parts[at + 1]
        return PercentEscapes.decoded(name.lastIndex(of: ":").map { name[..<$0] } ?? name)
      default: continue
      }
    }
    return nil
  }
}
