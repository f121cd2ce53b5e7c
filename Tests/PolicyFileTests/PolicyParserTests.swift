import PolicyFile
import Testing

@Suite struct PolicyParserTests {
  @Test func smallestPolicyHasTheContractsDefaults() throws {
    let text = "providers: {a: {dialect: openai, base_url: 'http://127.0.0.1:1'}}\n"
    let parsing = PolicyParser.parse(text: text, file: "p.yaml", environment: [:])
    #expect(parsing.diagnostics.map(\.description) == [])
    var expected = Policy()
    expected.providers = [Provider(id: "a", dialect: .openai, baseURL: "http://127.0.0.1:1/v1")]
    expected.routes = [Route(models: ["*"], to: ["a"])]
    #expect(parsing.policy == expected)
  }
}
