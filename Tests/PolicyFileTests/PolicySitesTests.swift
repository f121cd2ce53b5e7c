// What the policy says of pages, names and fields of providers.
import Testing

@testable import PolicyFile

@Suite struct PolicySitesTests {
  private func parse(_ text: String) throws -> Policy {
    let parsing = PolicyParser.parse(text: text, file: "p", environment: ["ORG": "org-1"])
    #expect(parsing.diagnostics.isEmpty)
    return try #require(parsing.policy)
  }
  private let provider = #"providers: {a: {dialect: openai, base_url: "http://127.0.0.1:1"}}"#

  @Test func pagesAndNames() throws {
    let policy = try parse(
      #"{cors: {origins: ["HTTPS://App.Example"]}, hosts: ["[FD00::1]", Gateway.LAN], \#(provider)}"#)
    #expect(policy.corsOrigins == ["https://app.example"])
    #expect(policy.hosts == ["fd00::1", "gateway.lan"])
    let bare = try parse(provider)
    #expect(bare.corsOrigins.isEmpty && bare.hosts.isEmpty)
  }

  @Test func authFollowsTheDialectUnlessItIsSaid() throws {
    for (dialect, field) in [("openai", "authorization"), ("anthropic", "x-api-key"), ("gemini", "x-goog-api-key")] {
      let policy = try parse(#"providers: {a: {dialect: \#(dialect), base_url: "http://127.0.0.1:1"}}"#)
      #expect(policy.providers[0].auth.fieldName == field)
    }
    for auth in AuthField.allCases {
      let policy = try parse(
        #"providers: {a: {dialect: gemini, base_url: "http://127.0.0.1:1", auth: \#(auth.rawValue)}}"#)
      #expect(policy.providers[0].auth == auth)
    }
  }

  @Test func nativeIsOffUnlessItIsSaid() throws {
    let bare = try parse(#"providers: {a: {dialect: openai, base_url: "http://127.0.0.1:11434"}}"#)
    #expect(bare.providers[0].native == nil)
    let said = try parse(#"providers: {a: {dialect: openai, base_url: "http://127.0.0.1:11434", native: ollama}}"#)
    #expect(said.providers[0].native == .ollama)
  }

  @Test func fieldsOfAProvider() throws {
    let policy = try parse(
      #"providers: {a: {dialect: openai, base_url: "http://127.0.0.1:1", headers: {OpenAI-Organization: "${ORG}", authorization: "Basic eA=="}}}"#
    )
    #expect(
      policy.providers[0].headers == [
        AddedField(name: "openai-organization", value: Secret("org-1"), isSecret: true),
        AddedField(name: "authorization", value: Secret("Basic eA==")),
      ])
    #expect(!"\(policy.providers[0].headers)".contains("org-1"))
  }
}
