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

  @Test(arguments: ["/", "", "/favicon.ico", "/v1x/models", "/api/v1/chat/completions", "/v3/chat", "/healthz"])
  func otherPathsAreNone(_ path: Substring) {
    #expect(PathFacts.read(path: path[...]) == nil)
    #expect(PathFacts.read(path: path, anyPath: true) != nil)
  }

  @Test(
    arguments: [
      ("/api/v1/chat/completions", WireEndpoint.chatCompletions), ("/openai/v1/responses", .responses),
      ("/chat/completions", .chatCompletions),
      ("/anthropic/v1/messages", .messages), ("/messages", .messages), ("/v1/messages", .messages),
      ("/api/chat", .other),
    ] as [(String, WireEndpoint)])
  func belowAProviderPrefixesAreSeenThrough(_ path: String, _ endpoint: WireEndpoint) {
    #expect(PathFacts.read(path: path[...], anyPath: true)?.endpoint == endpoint)
  }

  @Test func everyEndpointSaysWhetherItProduces() {
    #expect(WireEndpoint.allCases.filter(\.isFree).allSatisfy { !$0.producesOutput })
    #expect(WireEndpoint.chatCompletions.producesOutput && !WireEndpoint.embeddings.producesOutput)
  }
}
