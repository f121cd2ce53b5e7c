// Paths: every known endpoint, the near misses, what has no place here.
import Testing

@testable import ProviderWire

@Suite struct PathFactsTests {
  @Test(
    arguments: [
      ("/v1/chat/completions", Dialect.openai, WireEndpoint.chatCompletions),
      ("/v1/chat/completions/", .openai, .chatCompletions),
      ("/v1/responses", .openai, .responses), ("/v1/responses/compact", .openai, .responsesCompact),
      ("/v1/responses/input_tokens", .openai, .responsesInputTokens), ("/v1/responses/resp_1", .openai, .other),
      ("/v1/completions", .openai, .completions), ("/v1/embeddings", .openai, .embeddings),
      ("/v1/models", .openai, .models),
      ("/v1/audio/transcriptions", .openai, .transcription),
      ("/v1/images/edits", .openai, .images), ("/v1/files", .openai, .files), ("/v1beta/files", .gemini, .files),
      ("/v1/audio/speech", .openai, .speech),
      ("/v1/messages", .anthropic, .messages), ("/v1/messages/count_tokens", .anthropic, .countTokens),
      ("/v1/messages/batches", .anthropic, .messageBatches), ("/v1/messages/batches/b/results", .anthropic, .other),
      ("/v1/rerank", .openai, .rerank), ("/v2/chat", .cohere, .cohereChat), ("/v2/embed", .cohere, .cohereEmbed),
      ("/v2/rerank", .cohere, .rerank), ("/v1beta/models", .gemini, .models),
      ("/v1beta/openai/chat/completions", .openai, .chatCompletions), ("/v1beta/openai/files", .openai, .other),
      ("/api/chat", .ollama, .ollamaChat), ("/api/generate", .ollama, .ollamaGenerate),
      ("/api/embed", .ollama, .ollamaEmbed), ("/api/embeddings", .ollama, .ollamaEmbed),
      ("/api/tags", .ollama, .models), ("/api/show", .ollama, .ollamaShow),
      ("/v1//chat/completions", .openai, .other), ("/v1/Chat/Completions", .openai, .other),
      ("/v1/chat%2Fcompletions", .openai, .other), ("/v1", .openai, .other),
    ] as [(String, Dialect, WireEndpoint)])
  func readsPaths(_ path: String, _ dialect: Dialect, _ endpoint: WireEndpoint) {
    #expect(PathFacts.read(path: path[...]) == PathFacts(dialect: dialect, endpoint: endpoint))
  }

  @Test(
    arguments: [
      ("/v1beta/models/gemini-4:generateContent", WireEndpoint.geminiGenerate, "gemini-4", false),
      ("/v1beta/models/gemini-4:streamGenerateContent", .geminiStream, "gemini-4", true),
      ("/v1/models/gemini-4:generateContent", .geminiGenerate, "gemini-4", false),
      ("/v1beta/models/g:countTokens", .geminiCountTokens, "g", false),
      ("/v1beta/models/g:embedContent", .geminiEmbed, "g", false),
      ("/v1beta/models/g:batchEmbedContents", .geminiEmbed, "g", false), ("/v1beta/models/g:fly", .other, "g", false),
      ("/v1beta/tunedModels/mine-1:generateContent", .geminiGenerate, "tunedModels/mine-1", false),
      ("/v1beta/models/a%2Fb:generateContent", .geminiGenerate, "a/b", false),
      ("/v1beta/models/:generateContent", .geminiGenerate, "", false),
    ] as [(String, WireEndpoint, String, Bool)])
  func readsGeminiPaths(_ path: String, _ endpoint: WireEndpoint, _ model: String, _ streams: Bool) {
    #expect(
      PathFacts.read(path: path[...])
        == PathFacts(dialect: .gemini, endpoint: endpoint, modelInPath: model, streamInPath: streams))
  }

  @Test(
    arguments: [
      ("/v1/models/gpt-6-sol", WireEndpoint.models, "gpt-6-sol"), ("/v1/models/a%2Fb", .models, "a/b"),
      ("/v1/engines/gpt-5-pro/completions", .completions, "gpt-5-pro"),
      ("/v1/engines/gpt-5-pro/chat/completions", .chatCompletions, "gpt-5-pro"),
      ("/openai/engines/e/embeddings", .embeddings, "e"), ("/v1/engines/e/new/thing", .other, "e"),
      ("/v1/engines/e", .other, "e"),
      ("/v1/projects/p/publishers/anthropic/models/claude-opus-5:rawPredict", .other, "claude-opus-5"),
    ] as [(String, WireEndpoint, String)])
  func readsTheModelOfAPath(_ path: String, _ endpoint: WireEndpoint, _ model: String) {
    let facts = PathFacts.read(path: path[...])
    #expect(facts?.endpoint == endpoint)
    #expect(facts?.modelInPath == model)
  }

  @Test func onlyReadingDeletingAndCancellingAreFreeBesideFreeEndpoints() throws {
    func isFree(_ method: String, _ path: Substring, hasBody: Bool = false) throws -> Bool {
      let facts = try #require(PathFacts.read(path: path)).facts(for: method)
      let charge = ChargeRule(method: method, path: path, facts: facts, hasBody: hasBody)
      let needsNoModel = charge.needsNoModel(at: facts.endpoint, hasBody: hasBody)
      // What is charged must name its model, unless the charge is for nothing but work that was begun before.
      if !needsNoModel, charge.isFree { #expect(hasBody) }
      return needsNoModel
    }
    for path in ["/v1/models", "/v1/models/m", "/v1/responses/r", "/v1/anything", "/v1/chat/completions"] as [Substring]
    {
      for method in ["GET", "HEAD", "DELETE"] {
        #expect(try isFree(method, path), "\(method) \(path)")
        #expect(try !isFree(method, path, hasBody: true), "\(method) \(path) with a body")
      }
      for method in ["POST", "PUT", "PATCH", "get"] {
        #expect(try !isFree(method, path, hasBody: true), "\(method) \(path)")
        #expect(try !isFree(method, path), "\(method) \(path) without a body")
      }
    }
    #expect(try isFree("POST", "/v1/messages/count_tokens", hasBody: true))
    #expect(try isFree("POST", "/v1/moderations", hasBody: true))
    #expect(try isFree("POST", "/v1/responses/r/cancel"))
    #expect(try !isFree("POST", "/v1/responses/r/cancel", hasBody: true))
    #expect(try isFree("POST", "/v1beta/models/m:countTokens", hasBody: true))
    #expect(try !isFree("POST", "/v1beta/models/m:generateContent:countTokens", hasBody: true))
  }

  @Test func readsAzurePaths() {
    let facts = PathFacts.read(path: "/openai/deployments/my-gpt/chat/completions")
    #expect(facts == PathFacts(dialect: .openai, endpoint: .chatCompletions, modelInPath: "my-gpt"))
    #expect(PathFacts.read(path: "/openai/deployments/my-gpt/new/thing")?.endpoint == .other)
  }

  @Test(arguments: [
    "/", "", "/favicon.ico", "/v1x/models", "/api/v1/chat/completions", "/v3/chat", "/healthz", "/api/pull",
  ])
  func otherPathsAreNone(_ path: Substring) {
    #expect(PathFacts.read(path: path[...]) == nil)
    #expect(PathFacts.read(path: path, anyPath: true) != nil)
  }

  @Test(
    arguments: [
      ("/api/v1/chat/completions", WireEndpoint.chatCompletions), ("/openai/v1/responses", .responses),
      ("/chat/completions", .chatCompletions),
      ("/anthropic/v1/messages", .messages), ("/messages", .messages), ("/v1/messages", .messages),
      ("/api/chat", .ollamaChat),
    ] as [(String, WireEndpoint)])
  func belowAProviderPrefixesAreSeenThrough(_ path: String, _ endpoint: WireEndpoint) {
    #expect(PathFacts.read(path: path[...], anyPath: true)?.endpoint == endpoint)
  }

  @Test(
    arguments: [
      ("/chat/completions", "/v1/chat/completions"), ("/responses", "/v1/responses"),
      ("/responses/r/cancel", "/v1/responses/r/cancel"), ("/embeddings", "/v1/embeddings"),
      ("/messages", "/v1/messages"), ("/messages/count_tokens", "/v1/messages/count_tokens"),
      ("/models", "/v1/models"), ("/models/llama3:8b", "/v1/models/llama3:8b"), ("/rerank", "/v1/rerank"),
      ("/models/", "/v1/models/"),
      ("/v1/v1/messages", "/v1/messages"), ("/v1/v1/v1/chat/completions", "/v1/chat/completions"),
      ("/v1/v1beta/models/g:generateContent", "/v1beta/models/g:generateContent"), ("/v1/v2/embed", "/v2/embed"),
      ("/v1beta/v1beta/models", "/v1beta/models"), ("/v1beta/v1/models", "/v1/models"),
      ("/openai/v1/chat/completions", "/v1/chat/completions"), ("/openai/v1/models", "/v1/models"),
      ("/openai/responses", "/v1/responses"), ("/openai/models", "/v1/models"),
      ("/v1/openai/v1/chat/completions", "/v1/chat/completions"),
      ("/v1/openai/deployments/d/chat/completions", "/openai/deployments/d/chat/completions"),
      ("/models/gemini-4:generateContent", "/v1beta/models/gemini-4:generateContent"),
      ("/models/gemini-4:streamGenerateContent", "/v1beta/models/gemini-4:streamGenerateContent"),
      ("/tunedModels/t:countTokens", "/v1beta/tunedModels/t:countTokens"),
    ])
  func foldsPathsOfAWrongBaseURL(_ path: String, _ meant: String) {
    #expect(PathFacts.folded(path[...]) == meant)
    #expect(PathFacts.folded(meant[...]) == nil)
    #expect(PathFacts.read(path: meant[...]) != nil)
  }

  @Test(
    arguments: [
      "", "/", "/v1", "/v1/", "/v1/chat/completions", "/v1/videos", "/v1/vector_stores/v", "/v1/organization/usage",
      "/v1beta/models/g:generateContent", "/v1beta/openai/chat/completions", "/v2/chat", "/v2/rerank",
      "/openai/deployments/d/chat/completions", "/openai/engines/e/embeddings", "/openai", "/openai/", "/openai/v2/x",
      "/api/chat", "/api/v1/chat/completions", "/metrics", "/healthz", "//chat/completions", "/Chat/completions",
      "/chat%2Fcompletions", "/v1x/models", "chat/completions",
    ])
  func leavesOtherPathsAsTheyAre(_ path: String) {
    #expect(PathFacts.folded(path[...]) == nil)
  }

  @Test(
    arguments: [
      ("/model/anthropic.claude-opus-5/invoke", "Bedrock"), ("/model/a/b/converse-stream", "Bedrock"),
      ("/v1/projects/p/locations/us/publishers/anthropic/models/claude:rawPredict", "Vertex"),
      ("/v1beta1/projects/p/locations/us/publishers/google/models/g:generateContent", "Vertex"),
      ("/model/x", nil), ("/models/x/invoke", nil), ("/v1/projects", nil), ("/v1/projects/p", nil),
      ("/v1/projects/p/publishers/a/models/m:rawPredict", nil), ("/v1/chat/completions", nil), ("/", nil),
    ] as [(String, String?)])
  func saysWhichAPIsAreNotServed(_ path: String, _ name: String?) {
    #expect(PathAdvice.unserved(path[...]).map { $0.contains(name ?? "?") } == name.map { _ in true })
  }

  @Test func everyEndpointSaysWhetherItProduces() {
    #expect(WireEndpoint.allCases.filter(\.isFree).allSatisfy { !$0.producesOutput })
    #expect(WireEndpoint.chatCompletions.producesOutput && !WireEndpoint.embeddings.producesOutput)
  }
}
