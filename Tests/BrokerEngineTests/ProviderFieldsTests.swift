// What goes to a provider and comes back beside the body: its key's field, its own fields, secrets that it echoes, a request for
// usage that it does not know.
import AdmissionCore
import HTTPMessage
import PolicyFile
import Testing

@testable import BrokerEngine

@Suite struct ProviderFieldsTests {
  @Test(
    arguments: [
      (AuthField.bearer, "authorization", "Bearer sk-upstream"), (.xAPIKey, "x-api-key", "sk-upstream"),
      (.apiKey, "api-key", "sk-upstream"), (.xGoogAPIKey, "x-goog-api-key", "sk-upstream"),
    ] as [(AuthField, String, String)])
  func theKeyGoesWhereTheProviderTakesIt(_ auth: AuthField, _ name: String, _ value: String) {
    let rig = Rig { $0.providers[0].auth = auth }
    rig.send(fields: [
      ("authorization", "Bearer own"), ("x-api-key", "own"), ("api-key", "own"), ("x-goog-api-key", "own"),
    ])
    let credentials = rig.upstream.last?.request.fields.pairs.filter {
      ["authorization", "x-api-key", "api-key", "x-goog-api-key"].contains($0.name.lowercased())
    }
    #expect(credentials?.map(\.name) == [name] && credentials?.map(\.value) == [value])
    _ = rig.send("/v1/models", body: "", method: "GET")
    #expect(rig.upstream.last?.request.fields.first(named: name) == value)
  }

  @Test func theProvidersOwnFieldsTakeTheClientsPlace() {
    let rig = Rig {
      $0.providers[0].headers = [
        AddedField(name: "openai-organization", value: Secret("org-1")), AddedField(name: "x-team", value: Secret("a")),
      ]
    }
    rig.send(fields: [("OpenAI-Organization", "org-client"), ("X-Team", "b"), ("x-team", "c"), ("x-teams", "d")])
    let fields = rig.upstream.last?.request.fields
    #expect(fields?.pairs.filter { $0.name.lowercased() == "openai-organization" }.map(\.value) == ["org-1"])
    #expect(fields?.pairs.filter { $0.name.lowercased() == "x-team" }.map(\.value) == ["a"])
    #expect(fields?.first("x-teams") == "d")
    _ = rig.send("/v1/models", body: "", method: "GET")
    #expect(rig.upstream.last?.request.fields.first("openai-organization") == "org-1")
  }

  @Test func whoPaysIsTheOperatorsToSay() {
    let own = [("openai-organization", "o"), ("OpenAI-Project", "p"), ("x-goog-user-project", "g")]
    let rig = Rig()
    rig.send(fields: own)
    for (name, _) in own { #expect(rig.upstream.last?.request.fields.first(named: name) == nil) }
    let passing = Rig {
      $0.providers[0].passThrough = true
      $0.providers[0].keys = []
    }
    passing.send(fields: own)
    for (name, value) in own { #expect(passing.upstream.last?.request.fields.first(named: name) == value) }
  }

  @Test(arguments: [
    #"{"error":{"message":"Incorrect API key provided: sk-upstream. You can find"}}"#, "Bearer sk-upstream",
    #"{"a":"sk\u002dupstream","b":"sk-upstream"}"#,
  ])
  func aSecretThatAProviderEchoesIsMasked(_ body: String) {
    for status in [400, 404, 500] {
      let rig = Rig { $0.providers[0].retry.attempts = 1 }
      let client = rig.send()
      rig.upstream.last?.respond(
        status, [("x-echo", "Bearer sk-upstream"), ("content-length", String(body.utf8.count)), ("x-other", "1")],
        [body])
      #expect(client.answer?.status == status)
      #expect(!client.text.contains("sk-upstream") && !client.text.contains("upstream"))
      #expect(client.text.contains("***"))
      #expect(client.field("x-echo") == "Bearer ***")
      #expect(client.field("x-other") == "1")
      #expect(client.field("content-length") == String(client.received.count))
    }
  }

  @Test func aLongErrorsHeadIsMasked() {
    let rig = Rig()
    let client = rig.send()
    rig.upstream.last?.respond(
      400, [("x-echo", "sk-upstream")], [String(repeating: "x", count: Attempt.heldLimit + 1)])
    #expect(client.field("x-echo") == "***")
    #expect(client.received.count == Attempt.heldLimit + 1)
  }

  @Test func whatIsNoErrorAndWhatIsTheClientsOwnPassesUnchanged() {
    let rig = Rig()
    let client = rig.send()
    rig.upstream.last?.respond(200, [("x-echo", "sk-upstream")], ["sk-upstream"])
    #expect(client.text == "sk-upstream" && client.field("x-echo") == "sk-upstream")
    let passing = Rig {
      $0.providers[0].passThrough = true
      $0.providers[0].keys = []
    }
    let own = passing.send(fields: [("authorization", "Bearer sk-clients-own")])
    passing.upstream.last?.respond(400, [], ["no such key: sk-clients-own"])
    #expect(own.text == "no such key: sk-clients-own")
  }

  private static let stream = #"{"model":"m","stream":true,"messages":[]}"#

  @Test(arguments: [400, 422])
  func aProviderThatDoesNotKnowTheRequestForUsageIsAskedWithoutIt(_ status: Int) throws {
    let rig = Rig()
    func asks(_ call: FakeUpstream.Call?) throws -> Bool {
      String(decoding: try #require(call).request.body, as: UTF8.self).contains("stream_options")
    }
    let client = rig.send(body: ProviderFieldsTests.stream)
    #expect(try asks(rig.upstream.last))
    rig.upstream.last?.respond(status, [], [#"{"detail":[{"loc":["body","stream_options"],"msg":"Extra inputs"}]}"#])
    #expect(rig.upstream.calls.count == 2)
    #expect(try !asks(rig.upstream.last))
    #expect(client.answer == nil)
    rig.upstream.last?.respond(200, [("content-type", "text/event-stream")], ["data: [DONE]\n\n"])
    #expect(client.answer?.status == 200 && client.isFinished)
    #expect(client.field("x-tollgate-attempts") == "1")
    #expect(rig.ended.map(\.outcome) == [.completed])
    #expect(rig.broker.snapshot().running == 0)
    // For an hour it is not asked again.
    rig.advance(.seconds(3599))
    rig.send(body: ProviderFieldsTests.stream)
    #expect(try !asks(rig.upstream.last))
    rig.upstream.last?.respond(200)
    rig.advance(.seconds(2))
    rig.send(body: ProviderFieldsTests.stream)
    #expect(try asks(rig.upstream.last))
  }

  @Test func onlyWhatWeAskedForIsTakenBack() {
    let refusal = #"{"error":"unknown field stream_options"}"#
    for (body, status, answer) in [
      (#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#, 422, refusal),
      (#"{"model":"m"}"#, 422, refusal), (ProviderFieldsTests.stream, 422, #"{"error":"no"}"#),
      (ProviderFieldsTests.stream, 404, refusal),
    ] {
      let rig = Rig()
      let client = rig.send(body: body)
      rig.upstream.last?.respond(status, [], [answer])
      #expect(rig.upstream.calls.count == 1)
      #expect(client.answer?.status == status && client.text == answer)
    }
    // A second refusal is the client's.
    let rig = Rig()
    let client = rig.send(body: ProviderFieldsTests.stream)
    rig.upstream.calls[0].respond(422, [], [refusal])
    rig.upstream.calls[1].respond(422, [], [refusal])
    #expect(rig.upstream.calls.count == 2)
    #expect(client.text == refusal)
  }

  @Test func aClientThatLeavesDuringTheSecondTryEndsIt() {
    let rig = Rig()
    let client = rig.send(body: ProviderFieldsTests.stream)
    rig.upstream.calls[0].respond(422, [], ["stream_options"])
    rig.leave(client)
    #expect(rig.upstream.calls[1].isCancelled)
    #expect(rig.broker.snapshot().running == 0)
  }
}
