// Where a base URL puts a client's path.
import PolicyFile
import Testing

@testable import BrokerEngine

@Suite struct ProviderTargetTests {
  @Test(arguments: [
    (
      DialectName.openai, "https://api.openai.com/v1", "/v1/chat/completions",
      "https://api.openai.com/v1/chat/completions"
    ),
    (.openai, "https://api.groq.com/openai/v1", "/v1/models?a=b", "https://api.groq.com/openai/v1/models?a=b"),
    (.openai, "https://host/api/v4", "/v1/embeddings", "https://host/api/v4/embeddings"),
    (.openai, "http://127.0.0.1:11434/v1", "/api/chat", "http://127.0.0.1:11434/api/chat"),
    (.openai, "https://api.groq.com/openai/v1", "/openai/v1/models", "https://api.groq.com/openai/v1/models"),
    (.openai, "https://api.groq.com/openai/v1", "/openai/v1", "https://api.groq.com/openai/v1"),
    (.openai, "https://api.groq.com/openai/v1", "/openai/v12", "https://api.groq.com/openai/v12"),
    (.openai, "https://openrouter.ai/api/v1", "/api/v1/models?a=b", "https://openrouter.ai/api/v1/models?a=b"),
    (
      .openai, "https://r.openai.azure.com/openai/v1", "/openai/deployments/d/x?v=1",
      "https://r.openai.azure.com/openai/deployments/d/x?v=1"
    ),
    (.openai, "https://g/v1beta/openai", "/v1beta/openai/models", "https://g/v1beta/openai/models"),
    (.anthropic, "https://gw/anthropic", "/anthropic/v1/messages", "https://gw/anthropic/v1/messages"),
    (.openai, "http://h/v1", "/v1beta/x", "http://h/v1beta/x"),
    (.openai, "http://h/v1", "/v1", "http://h/v1"),
    (
      .anthropic, "https://api.anthropic.com", "/v1/messages?beta=true",
      "https://api.anthropic.com/v1/messages?beta=true"
    ),
    (.anthropic, "https://gw/anthropic", "/v1/messages", "https://gw/anthropic/v1/messages"),
    (
      .gemini, "https://g", "/v1beta/models/m:generateContent?key=secret&alt=sse",
      "https://g/v1beta/models/m:generateContent?alt=sse"
    ),
    (.gemini, "https://g", "/v1beta/models/m:x?key=secret", "https://g/v1beta/models/m:x"),
    (.openai, "http://h/v1", "/v1/x/../y/%2e%2E", "http://h/v1/x/../y/%2e%2E"),
  ])
  func joins(_ dialect: DialectName, _ base: String, _ target: String, _ url: String) {
    #expect(ProviderTarget(Provider(id: "p", dialect: dialect, baseURL: base)).url(for: target) == url)
  }

  @Test func azureGetsItsOwnPathsAsTheyWereWritten() {
    func url(_ base: String, _ auth: AuthField = .bearer, written: String) -> String {
      var policy = Provider(id: "p", dialect: .openai, baseURL: base)
      policy.auth = auth
      return ProviderTarget(policy).url(for: "/v1/responses?api-version=1", written: written)
    }
    let written = "/openai/responses?api-version=1"
    #expect(url("https://r.openai.azure.com/v1", written: written) == "https://r.openai.azure.com" + written)
    #expect(url("https://r.openai.azure.com/openai/v1", written: written) == "https://r.openai.azure.com" + written)
    #expect(url("http://mock/v1", .apiKey, written: written) == "http://mock" + written)
    #expect(url("http://mock/v1", written: written) == "http://mock/v1/responses?api-version=1")
    #expect(url("http://mock/v1", .apiKey, written: "/responses") == "http://mock/v1/responses?api-version=1")
  }

  @Test func eachPathHasItsOwnURLWhateverWasAskedForBefore() {
    let provider = ProviderTarget(Provider(id: "p", dialect: .openai, baseURL: "http://h/v1"))
    // The sign for Kelvin is another letter than K, though Swift takes the two for equal.
    let paths = [
      "/v1/a", "/v1/a", "/v1/a?key=x", "/v1/a", "/v1/b", "/v1/K", "/v1/\u{212A}", "/v1/K", "/v1/e\u{301}", "/v1/\u{E9}",
    ]
    for path in paths {
      let url = provider.url(for: path)
      let expected = "http://h" + (path.hasSuffix("?key=x") ? "/v1/a" : path)
      #expect(url.utf8.elementsEqual(expected.utf8), "\(path): \(url)")
    }
  }

  @Test func showsTheSecretAsTheVendorsSDKDoes() {
    let secret = "s3cret"
    #expect(
      ProviderTarget(Provider(id: "p", dialect: .openai, baseURL: "http://h/v1")).credential(secret) == (
        "authorization", "Bearer s3cret"
      ))
    #expect(
      ProviderTarget(Provider(id: "p", dialect: .anthropic, baseURL: "http://h")).credential(secret) == (
        "x-api-key", "s3cret"
      ))
    #expect(
      ProviderTarget(Provider(id: "p", dialect: .gemini, baseURL: "http://h")).credential(secret) == (
        "x-goog-api-key", "s3cret"
      ))
  }
}
