// Paths that mean one thing to us and another to a server that undoes escapes or folds segments.
import Testing

@testable import ProviderWire

@Suite struct PathFlawTests {
  @Test(
    arguments: [
      "/v1/models/..%2fchat%2fcompletions", "/v1/models/..%2Fchat", "/v1/models/%2e%2e/chat/completions",
      "/v1/models/%2E%2E%2Fchat", "/v1/models/.%2e/x", "/v1/models/../chat/completions", "/v1/./chat/completions",
      "/v1/models/x%2f..%2f..%2fchat", "/v1/models/..;a=b/chat", "/v1/models/%2e%2e;x/chat", "/../v1/models", "/..",
      "/v1/models/..", "/v1/models/.", "/v1/models/..%5cchat", "/v1/models\\..\\chat", "/v1/models/a\\b",
      "/v1/models/%252e%252e/chat", "/v1/models/%252fchat", "/v1/models/%25%32%65", "/v1/models/x%2525y",
      "/v1beta/models/m:generateContent%3f:countTokens", "/v1/models/x%23", "/v1/models/x#y", "/v1/models/%00",
      "/v1/models/x%0d%0ay", "/v1/models/%7f",
    ])
  func refusesWhatAServerCouldReadDifferently(_ path: Substring) {
    #expect(PathFacts.flaw(in: path) != nil)
  }

  @Test(
    arguments: [
      "/v1/chat/completions", "/v1/models/gpt-4.1", "/v1/models/anthropic%2Fclaude-4", "/v1/models/org%2fname%3Afree",
      "/v1beta/models/gemini-2.5-pro:generateContent", "/v1/files/a%20b.txt", "/v1/files/.hidden", "/v1/files/...",
      "/v1/x;y=z/a", "/v1/files/100%25", "/v1/files/%", "/v1/files/%zz", "/v1/files/%C3%A4", "/v1//chat/completions",
      "/",
      "", "/v1/models/a..b",
    ])
  func leavesOrdinaryPathsAlone(_ path: Substring) {
    #expect(PathFacts.flaw(in: path) == nil)
  }

  @Test func anEscapedSlashNeverMakesACallFree() throws {
    for path in ["/v1/messages%2fcount_tokens", "/v1%2fmodels", "/v1/messages/count%5ftokens"] as [Substring] {
      let facts = try #require(PathFacts.read(path: path, anyPath: true))
      let charge = ChargeRule(method: "POST", path: path, facts: facts, hasBody: true)
      #expect(!charge.isFree && !charge.needsNoModel(at: facts.endpoint, hasBody: true), "\(path)")
    }
  }
}
