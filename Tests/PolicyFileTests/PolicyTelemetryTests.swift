// The collector as a policy has it: what is taken, and by default.
import Testing

@testable import PolicyFile

@Suite struct PolicyTelemetryTests {
  private func otlp(_ text: String) throws -> TelemetrySettings? {
    let parsing = PolicyParser.parse(
      text: "otlp: \(text)\nproviders: {a: {dialect: openai, base_url: \"http://127.0.0.1:1\"}}", file: "p",
      environment: ["TOKEN": "s3cret"])
    return try #require(parsing.policy, "\(parsing.diagnostics)").otlp
  }

  @Test func whatIsGivenIsTaken() throws {
    let found = try #require(
      try otlp(
        "{endpoint: \"HTTPS://Collector.Example:4318/Otlp/\", headers: {Authorization: \"Bearer ${TOKEN}\", x-b: c}, sample: 0.25%}"
      ))
    #expect(found.endpoint == "https://collector.example:4318/Otlp" && found.sample == 25)
    #expect(found.headers.map(\.name) == ["authorization", "x-b"])
    #expect(found.headers.map(\.value.revealed) == ["Bearer s3cret", "c"])
    #expect(!"\(found)".contains("s3cret"))
  }

  @Test func withoutMoreATenthIsTold() throws {
    let found = try #require(try otlp("{endpoint: \"http://127.0.0.1:4318\"}"))
    #expect(found.sample == 1_000 && found.headers.isEmpty && !found.isCleartext)
    #expect(try otlp("null") == nil)
  }

  @Test(
    arguments: [
      ("http://collector.example", true), ("https://collector.example", false), ("http://[::1]:4318", false),
      ("http://localhost:4318", false), ("http://10.0.0.1:4318/x", true),
    ])
  func clearTextOverANetworkIsSeen(_ endpoint: String, _ isCleartext: Bool) throws {
    #expect(try otlp("{endpoint: \"\(endpoint)\"}")?.isCleartext == isCleartext)
  }
}
