// Embedding calls with as many inputs as vendors take wait for tokens, and a steer beside them waits for nothing.
import AdmissionCore
import PolicyFile
import Testing

@testable import BrokerEngine

@Suite struct EmbeddingLoadTests {
  private static let texts =
    "[" + Array(repeating: "\"" + String(repeating: "word", count: 100) + "\"", count: 2048).joined(separator: ",")
    + "]"
  private static let numbers =
    "["
    + Array(repeating: "[" + Array(repeating: "17", count: 100).joined(separator: ",") + "]", count: 2048).joined(
      separator: ",") + "]"

  @Test(arguments: [texts, numbers])
  func manyInputsAreQueuedByTheirTokens(_ inputs: String) throws {
    let rig = Rig { $0.providers[0].limits.tokensPerMinute = 500_000 }
    let body = #"{"model":"text-embedding-3-small","input":"# + inputs + "}"
    for _ in 0..<10 { rig.send("/v1/embeddings", fields: [("x-tollgate-session", "index")], body: body) }
    // Each has 204,800 tokens: two fit into the minute.
    #expect(rig.upstream.calls.count == 2)
    let waiting = rig.broker.operator.requests.alive(.queued, limit: 100)
    #expect(waiting.count == 8)
    #expect(waiting.allSatisfy { $0.estimatedInput == 204_800 })
    let steer = rig.send(fields: [("x-tollgate-kind", "steer"), ("x-tollgate-session", "user")])
    #expect(rig.upstream.calls.count == 3)
    #expect(rig.upstream.last?.request.url == "http://sim/v1/chat/completions")
    rig.upstream.last?.respond(200, [], [#"{"usage":{"prompt_tokens":7,"completion_tokens":3}}"#])
    #expect(steer.field("x-tollgate-queue-ms") == "0")
    // The rest goes as tokens come.
    for _ in 0..<8 { rig.advance(.seconds(30)) }
    #expect(rig.upstream.calls.count > 5)
  }
}
