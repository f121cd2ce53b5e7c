// Base URLs: the form they get, and what is refused.
import Testing

@testable import PolicyFile

@Suite struct PolicyProvidersTests {
  private func url(_ text: String, _ dialect: DialectName = .openai) -> String? {
    (try? BaseURL.parse(text, dialect: dialect).get())?.text
  }

  @Test func openAIGetsItsVersionWhereThereIsNoPath() {
    #expect(url("https://api.openai.com") == "https://api.openai.com/v1")
    #expect(url("https://api.openai.com/") == "https://api.openai.com/v1")
    #expect(url("https://api.openai.com/v1///") == "https://api.openai.com/v1")
    #expect(url("https://api.groq.com/openai/v1") == "https://api.groq.com/openai/v1")
    #expect(url("http://127.0.0.1:8080/api") == "http://127.0.0.1:8080/api")
  }

  @Test func othersStayWithout() {
    #expect(url("https://api.anthropic.com/", .anthropic) == "https://api.anthropic.com")
    #expect(url("https://gateway.example/anthropic", .anthropic) == "https://gateway.example/anthropic")
    #expect(url("https://api.anthropic.com/v1", .anthropic) == nil)
    #expect(url("https://h/v1beta/", .gemini) == nil)
  }

  @Test func schemeAndHostAreLowerCase() {
    #expect(url("HTTPS://API.Example.COM/Path") == "https://api.example.com/Path")
    #expect(url("http://[::1]:80/v1") == "http://[::1]:80/v1")
  }

  @Test func whereItIsSecure() throws {
    #expect(try BaseURL.parse("https://h", dialect: nil).get().isSecure)
    #expect(try BaseURL.parse("http://h", dialect: nil).get().isSecure == false)
  }

  @Test(arguments: [
    "", "http://", "https:///v1", "h", "//h", "http:/h", "file:///x", "http://a b", "http://u@h", "http://h:0",
    "http://h:65536", "http://h:", "http://h?x", "http://h#x", "http://h\u{0}", "http://hö", "http://[::1",
    "http://[x]",
    "http://[::1]80", "http://h:1:2",
  ])
  func notURLs(_ text: String) { #expect(url(text) == nil) }
}
