// The list of models: whose it is, how long a client waits for it, what is remembered.
import AdmissionCore
import HTTPMessage
import PolicyFile
import Testing

@testable import BrokerEngine

@Suite struct ModelCatalogTests {
  private func list(_ rig: Rig, _ fields: [(String, String)] = [], target: String = "/v1/models") -> FakeExchange {
    rig.send(target, fields: fields, body: "", method: "GET")
  }

  private func addSecond(_ policy: inout Policy) {
    var other = Provider(id: "other", dialect: .openai, baseURL: "http://other/v1")
    other.keys = [ProviderKey(id: "main", source: .text(Secret("sk-other")))]
    policy.providers.append(other)
    policy.routes = [Route(models: ["a*"], to: ["sim"]), Route(models: ["*"], to: ["other"])]
  }

  @Test func bareArraysAreLists() {
    let rig = Rig()
    let client = list(rig)
    rig.upstream.last?.respond(200, [], [#"[{"id":"a"},{"id":"b"}]"#])
    #expect(client.text.contains(#""id":"a""#) && client.text.contains(#""id":"b""#))
  }

  @Test func aSilentProviderCostsTwoSecondsOnce() {
    let rig = Rig(addSecond)
    let first = list(rig)
    #expect(rig.upstream.calls.count == 2)
    rig.upstream.calls[0].respond(200, [], [#"{"data":[{"id":"a1"}]}"#])
    rig.advance(.milliseconds(1999))
    #expect(!first.isFinished)
    rig.advance(.milliseconds(1))
    #expect(first.isFinished)
    #expect(first.answer?.status == 200)
    #expect(first.text.contains("a1"))
    // Its question is still under way: who comes now waits for it too, and asks no second one.
    let second = list(rig)
    #expect(rig.upstream.calls.count == 2)
    rig.advance(.seconds(1))
    rig.upstream.calls[1].fail(.firstByteTimedOut)
    #expect(second.isFinished && second.text.contains("a1"))
    // For a minute the failure is remembered.
    rig.advance(.milliseconds(59_999))
    let third = list(rig)
    #expect(third.isFinished)
    #expect(rig.upstream.calls.count == 2)
    rig.advance(.milliseconds(1))
    let fourth = list(rig)
    #expect(rig.upstream.calls.count == 3)
    rig.upstream.calls[2].respond(200, [], [#"{"data":[{"id":"b1"}]}"#])
    #expect(fourth.text.contains("a1") && fourth.text.contains("b1"))
  }

  @Test func aListOutlivesItsProvider() {
    let rig = Rig()
    _ = list(rig)
    rig.upstream.calls[0].respond(200, [], [#"{"data":[{"id":"m1"}]}"#])
    rig.advance(.seconds(599))
    #expect(list(rig).isFinished)
    #expect(rig.upstream.calls.count == 1)
    rig.advance(.seconds(1))
    let late = list(rig)
    #expect(!late.isFinished)
    rig.upstream.calls[1].respond(503, [], ["{}"])
    #expect(late.text.contains("m1"))
    #expect(list(rig).text.contains("m1"))
    #expect(rig.upstream.calls.count == 2)
  }

  @Test func whereThereIsNothingTheErrorComesAtOnceForAMinute() {
    let rig = Rig()
    let first = list(rig)
    rig.upstream.calls[0].respond(401, [], ["{}"])
    #expect(first.answer?.status == 502)
    #expect(list(rig).answer?.status == 502)
    #expect(rig.upstream.calls.count == 1)
    // What was refused may be granted to another secret.
    var secrets = KeySecrets()
    secrets.set(Secret("sk-new-secret"), provider: "sim", key: "main")
    #expect(rig.broker.operator.replaceSecrets(secrets))
    let second = list(rig)
    #expect(rig.upstream.calls.count == 2)
    #expect(rig.upstream.calls[1].request.fields.first("authorization") == "Bearer sk-new-secret")
    rig.upstream.calls[1].respond(200, [], [#"{"data":[]}"#])
    #expect(second.answer?.status == 200)
  }

  @Test func aClientThatLeavesChangesNothing() {
    let rig = Rig()
    let gone = list(rig)
    let stays = list(rig)
    rig.leave(gone)
    rig.upstream.calls[0].respond(200, [], [#"{"data":[{"id":"m1"}]}"#])
    #expect(stays.text.contains("m1"))
    #expect(gone.answer == nil)
  }

  @Test func anAnswerOfThePolicyBeforeIsNotKept() {
    let rig = Rig()
    let client = list(rig)
    var secrets = KeySecrets()
    secrets.set(Secret("sk-upstream"), provider: "sim", key: "main")
    rig.broker.operator.replacePolicy(rig.broker.operator.policy, secrets: secrets)
    rig.upstream.calls[0].respond(200, [], [#"{"data":[{"id":"old"}]}"#])
    #expect(client.text.contains("old"))
    let next = list(rig)
    #expect(rig.upstream.calls.count == 2)
    rig.upstream.calls[1].respond(200, [], [#"{"data":[{"id":"new"}]}"#])
    #expect(next.text.contains("new") && !next.text.contains("old"))
  }

  private func passThrough(_ policy: inout Policy) {
    policy.providers[0].passThrough = true
    policy.providers[0].keys = []
  }

  @Test func eachCredentialHasItsOwnQuestionAndList() {
    let rig = Rig(passThrough)
    let alice = list(rig, [("authorization", "Bearer alice")])
    let bob = list(rig, [("authorization", "Bearer bob")])
    #expect(rig.upstream.calls.map { $0.request.fields.first("authorization") } == ["Bearer alice", "Bearer bob"])
    rig.upstream.calls[0].respond(200, [], [#"{"data":[{"id":"of-alice"}]}"#])
    #expect(alice.text.contains("of-alice"))
    #expect(!bob.isFinished)
    rig.upstream.calls[1].respond(200, [], [#"{"data":[{"id":"of-bob"}]}"#])
    #expect(bob.text.contains("of-bob") && !bob.text.contains("of-alice"))
    // Each gets its own again, without a question; whoever shows none has none.
    let again = list(rig, [("Authorization", "Bearer alice")])
    #expect(again.text.contains("of-alice") && !again.text.contains("of-bob"))
    #expect(rig.upstream.calls.count == 2)
    let nobody = list(rig)
    #expect(rig.upstream.calls.count == 3 && !nobody.isFinished)
    #expect(rig.upstream.calls[2].request.fields.contains("authorization") == false)
  }

  @Test(
    arguments: [
      [("x-api-key", "alice")], [("x-goog-api-key", "alice")], [("api-key", "alice")],
      [("authorization", "Bearer all"), ("openai-organization", "alice")],
      [("authorization", "Bearer all"), ("cookie", "alice")],
      [("authorization", "Bear"), ("x-api-key", "er alice")],
    ] as [[(String, String)]])
  func whateverSaysWhoAsksTellsListsApart(_ fields: [(String, String)]) {
    let rig = Rig(passThrough)
    _ = list(rig, fields)
    _ = list(rig, fields.map { ($0.0, $0.1.replacing("alice", with: "bob")) })
    _ = list(rig, fields)
    #expect(rig.upstream.calls.count == 2)
    #expect(list(rig, target: "/v1beta/models?key=alice").isFinished == false)
    #expect(list(rig, target: "/v1beta/models?key=bob").isFinished == false)
    #expect(rig.upstream.calls.count == 4)
    #expect(rig.upstream.calls[2].request.url.hasSuffix("?key=alice"))
  }

  @Test func onlySoManyCredentialsAreRemembered() {
    let rig = Rig(passThrough)
    for number in 0...ModelCatalog.mostPrivateLists {
      _ = list(rig, [("authorization", "Bearer \(number)")])
      rig.upstream.last?.respond(200, [], [#"{"data":[]}"#])
      rig.advance(.milliseconds(1))
    }
    let asked = rig.upstream.calls.count
    _ = list(rig, [("authorization", "Bearer 1")])
    #expect(rig.upstream.calls.count == asked)
    _ = list(rig, [("authorization", "Bearer 0")])
    #expect(rig.upstream.calls.count == asked + 1)
  }

  @Test func onlySoManyQuestionsAreUnderWay() {
    let rig = Rig(passThrough)
    for number in 0..<ModelCatalog.mostFetches { _ = list(rig, [("authorization", "Bearer \(number)")]) }
    #expect(rig.upstream.calls.count == ModelCatalog.mostFetches)
    #expect(list(rig, [("authorization", "Bearer one-more")]).answer?.status == 502)
    #expect(rig.upstream.calls.count == ModelCatalog.mostFetches)
  }

  @Test(
    arguments: [
      ([], "\"object\":\"list\""), ([("anthropic-version", "2023-06-01")], "\"has_more\":false"),
      ([("x-goog-api-client", "google-genai-sdk/3.6.1")], "\"models\":["), ([("x-goog-api-key", "k")], "\"models\":["),
    ] as [([(String, String)], String)])
  func eachSDKGetsItsShape(_ fields: [(String, String)], _ mark: String) {
    let rig = Rig()
    let client = list(rig, fields)
    rig.upstream.last?.respond(200, [], [#"{"data":[{"id":"m"}]}"#])
    #expect(client.text.contains(mark))
  }

  @Test func aKeyThatTheOperatorDisabledDoesNotAsk() {
    let rig = Rig { policy in
      policy.providers[0].keys = ["first", "second"].map { ProviderKey(id: $0, source: .text(Secret("x"))) }
    }
    var secrets = KeySecrets()
    secrets.set(Secret("sk-first-1"), provider: "sim", key: "first")
    secrets.set(Secret("sk-second-2"), provider: "sim", key: "second")
    rig.broker.operator.replaceSecrets(secrets)
    rig.broker.operator.command(.disableKey("sim", "first"))
    _ = list(rig)
    #expect(rig.upstream.last?.request.fields.first("authorization") == "Bearer sk-second-2")
  }
}
