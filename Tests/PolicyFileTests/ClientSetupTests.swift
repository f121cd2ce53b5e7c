// What clients are told: every name once, every address from the one that is given, settings that hold what the client reads.
import PolicyFile
import Testing
import TextForms

@Suite struct ClientSetupTests {
  private let url = "http://127.0.0.1:4141"

  @Test func everyClientIsNamedOnceAndPointsToTheBroker() {
    let all = ClientSetup.all(at: url)
    #expect(Set(all.map(\.name)).count == all.count)
    for setup in all {
      #expect(!setup.variables.isEmpty)
      #expect(Set(setup.variables.map(\.name)).count == setup.variables.count, "\(setup.name)")
      let names =
        setup.variables.filter { $0.value.hasPrefix(url) }.count + setup.notes.filter { $0.contains(url) }.count
      #expect(names > 0 || setup.file != nil, "\(setup.name)")
    }
  }

  @Test func claudeCodeKeepsItsOwnKey() throws {
    let setup = try #require(ClientSetup.all(at: url).first { $0.name == "claude-code" })
    let file = try #require(setup.file)
    let own = "{\"env\": {\"ANTHROPIC_AUTH_TOKEN\": \"mine\"}}"
    let merged = try ClientSetup.merged(file, setup.variables, url: url, into: own)
    #expect(merged.contains("\"ANTHROPIC_AUTH_TOKEN\": \"mine\"") && !merged.contains(ClientSetup.anyKey))
    #expect(merged.contains("\"ANTHROPIC_BASE_URL\": \"\(url)\""))
    #expect(merged.contains("\"CLAUDE_CODE_GATEWAY_HINT_HEADERS\": \"1\""))
  }

  @Test func codexGetsAProviderOfItsOwn() throws {
    let setup = try #require(ClientSetup.all(at: url).first { $0.name == "codex" })
    let file = try #require(setup.file)
    let merged = try ClientSetup.merged(file, setup.variables, url: url, into: "model = \"gpt-6-sol\"\n[tui]\nx = 1\n")
    #expect(merged.hasPrefix("model = \"gpt-6-sol\"\nmodel_provider = \"tollgate\"\n[tui]\n"))
    #expect(merged.contains("[model_providers.tollgate]\nname = \"tollgate\"\nbase_url = \"\(url)/v1\"\n"))
    #expect(try ClientSetup.merged(file, setup.variables, url: url, into: merged) == merged)
  }
}
