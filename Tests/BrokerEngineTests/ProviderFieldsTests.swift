// What goes to a provider and comes back beside the body: its key's field, its own fields, secrets that it echoes, a request for
// usage that it does not know.
import AdmissionCore
import HTTPDoubles
import HTTPMessage
import PolicyFile
import Testing

@testable import BrokerEngine

@Suite struct ProviderFieldsTests {
  private let rigs = RigKeeper()

  @Test(
    arguments: [
      (AuthField.bearer, "authorization", "Bearer sk-upstream"), (.xAPIKey, "x-api-key", "sk-upstream"),
      (.apiKey, "api-key", "sk-upstream"), (.xGoogAPIKey, "x-goog-api-key", "sk-upstream"),
    ] as [(AuthField, String, String)])
  func theKeyGoesWhereTheProviderTakesIt(_ auth: AuthField, _ name: String, _ value: String) {
    let rig = rigs.rig { $0.providers[0].auth = auth }
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
    let rig = rigs.rig {
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
    let rig = rigs.rig()
    rig.send(fields: own)
    for (name, _) in own { #expect(rig.upstream.last?.request.fields.first(named: name) == nil) }
    let passing = rigs.rig {
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
      let rig = rigs.rig { $0.providers[0].retry.attempts = 1 }
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
    let rig = rigs.rig()
    let client = rig.send()
    rig.upstream.last?.respond(
      400, [("x-echo", "sk-upstream")], [String(repeating: "x", count: Attempt.errorLimit + 1)])
    #expect(client.field("x-echo") == "***")
    #expect(client.received.count == Attempt.errorLimit + 1)
  }

  @Test func whatIsNoErrorAndWhatIsTheClientsOwnPassesUnchanged() {
    let rig = rigs.rig()
    let client = rig.send()
    rig.upstream.last?.respond(200, [("x-echo", "sk-upstream")], ["sk-upstream"])
    #expect(client.text == "sk-upstream" && client.field("x-echo") == "sk-upstream")
    let passing = rigs.rig {
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
    let rig = rigs.rig()
    func asks(_ call: ScriptedUpstream.Call?) throws -> Bool {
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
    #expect(rig.broker.operator.snapshot().running == 0)
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
      let rig = rigs.rig()
      let client = rig.send(body: body)
      rig.upstream.last?.respond(status, [], [answer])
      #expect(rig.upstream.calls.count == 1)
      #expect(client.answer?.status == status && client.text == answer)
    }
    // A second refusal is the client's.
    let rig = rigs.rig()
    let client = rig.send(body: ProviderFieldsTests.stream)
    rig.upstream.calls[0].respond(422, [], [refusal])
    rig.upstream.calls[1].respond(422, [], [refusal])
    #expect(rig.upstream.calls.count == 2)
    #expect(client.text == refusal)
  }

  @Test func aClientThatLeavesDuringTheSecondTryEndsIt() {
    let rig = rigs.rig()
    let client = rig.send(body: ProviderFieldsTests.stream)
    rig.upstream.calls[0].respond(422, [], ["stream_options"])
    rig.leave(client)
    #expect(rig.upstream.calls[1].isCancelled)
    #expect(rig.broker.operator.snapshot().running == 0)
  }

  @Test func aRefusalThatWasTheClientsOwnDoesNotStopTheAskingForOthers() throws {
    let rig = rigs.rig()
    func asks() throws -> Bool {
      String(decoding: try #require(rig.upstream.last).request.body, as: UTF8.self).contains("stream_options")
    }
    let refusal = #"{"error":{"message":"Unknown parameter: 'include_usage'"}}"#
    let odd = rig.send(body: #"{"model":"m","stream":true,"messages":[],"include_usage":1}"#)
    rig.upstream.last?.respond(400, [], [refusal])
    #expect(try !asks())
    rig.upstream.last?.respond(400, [], [refusal])
    #expect(odd.answer?.status == 400 && odd.text == refusal)
    rig.send(body: ProviderFieldsTests.stream)
    #expect(try asks())
    // Nor does a second try that ends in anything but an answer.
    rig.upstream.last?.respond(400, [], [refusal])
    rig.upstream.last?.respond(500, [], ["{}"])
    rig.advance(.seconds(5))
    #expect(try asks())
  }

  @Test func theSplicedCopyIsGivenBackWhereItIsNotSent() throws {
    let rig = rigs.rig()
    rig.send(body: ProviderFieldsTests.stream)
    let body = ProviderFieldsTests.stream.utf8.count
    #expect(rig.broker.operator.memory.bytes(.retry) > 2 * body)
    rig.upstream.last?.respond(422, [], ["stream_options"])
    #expect(rig.broker.operator.memory.bytes(.retry) == body)
  }

  @Test func theBrokersOwnQuestionsBringTheProvidersFields() throws {
    let rig = rigs.rig {
      $0.providers[0].checkKeys = true
      $0.providers[0].headers = [
        AddedField(name: "openai-organization", value: Secret("org-1")),
        AddedField(name: "accept", value: Secret("*/*")),
      ]
    }
    rig.broker.operator.checkKeys()
    let check = try #require(rig.upstream.last).request
    _ = rig.send("/v1/models", body: "", method: "GET")
    let list = try #require(rig.upstream.last).request
    for request in [check, list] {
      #expect(request.url == "http://sim/v1/models" && request.method == "GET")
      #expect(request.fields.pairs.map(\.name) == ["authorization", "openai-organization", "accept"])
      #expect(request.fields.first("openai-organization") == "org-1" && request.fields.first("accept") == "*/*")
    }
  }

  // MARK: Secrets in errors that go on while they come

  private static let filler = String(repeating: "x", count: Attempt.errorLimit)

  @Test(arguments: [1, 7, 60_000]) func aLongErrorsBodyIsMaskedHoweverItComes(_ size: Int) {
    let rig = rigs.rig()
    let client = rig.send()
    let tail = Array(#" no sk\u002dupstream, no sk-upstream, but sk-upstrea and sk-upstream"#.utf8)
    let length = Attempt.errorLimit + 1 + tail.count
    rig.upstream.last?.respond(
      400, [("content-length", String(length))], [ProviderFieldsTests.filler, "x"], ends: false)
    for start in stride(from: 0, to: tail.count, by: size) {
      rig.upstream.last?.events.upstreamReceived(tail[start..<min(start + size, tail.count)])
    }
    rig.upstream.last?.events.upstreamEnded(.completed)
    #expect(client.text.hasSuffix("xx no ****************, no ***********, but sk-upstrea and ***********"))
    #expect(client.received.count == length && client.field("content-length") == String(length))
    #expect(client.isFinished)
  }

  @Test func aLongErrorThatBreaksOffIsMaskedToo() {
    let rig = rigs.rig()
    let client = rig.send()
    rig.upstream.last?.respond(400, [], [ProviderFieldsTests.filler, "x", "sk-upstream", "sk-up"], ends: false)
    rig.upstream.last?.fail(.truncated)
    #expect(client.isAborted && client.text.hasSuffix("x***********sk-up"))
  }

  @Test(arguments: [true, false]) func anErrorInsideOfAStreamIsMasked(_ asksItself: Bool) {
    let frame = "data: {\"error\":{\"message\":\"no such key: sk-upstream\",\"code\":\"x\"}}\n\n"
    let delta = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"sk-upstream\"}}]}\n\n"
    let body =
      asksItself
      ? #"{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}"#
      : ProviderFieldsTests.stream
    for cut in stride(from: 0, through: frame.utf8.count, by: 3) {
      let rig = rigs.rig()
      let client = rig.send(body: body)
      let bytes = Array(frame.utf8)
      rig.upstream.last?.respond(200, [("content-type", "text/event-stream")], [delta], ends: false)
      rig.upstream.last?.events.upstreamReceived(bytes[..<cut])
      rig.upstream.last?.events.upstreamReceived(bytes[cut...])
      rig.upstream.last?.events.upstreamEnded(.completed)
      let masked = frame.replacing("sk-upstream", with: "***********")
      // What a model says is the client's own.
      #expect(client.text == delta + masked, "\(cut)")
    }
  }

  @Test func aFrameThatOnlyLooksLikeAnErrorComesWhole() {
    let rig = rigs.rig()
    let client = rig.send("/v1/messages", body: #"{"model":"m","stream":true,"max_tokens":9,"messages":[]}"#)
    let begun = "data: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"an error "
    rig.upstream.last?.respond(200, [("content-type", "text/event-stream")], [begun], ends: false)
    rig.upstream.last?.events.upstreamReceived(Array("or two\"}}\n\n: more".utf8)[...])
    #expect(client.text == begun + "or two\"}}\n\n: more")
    // One that is too long to wait for goes on as it comes.
    rig.upstream.last?.events.upstreamReceived(Array("\n\ndata: error \(ProviderFieldsTests.filler)".utf8)[...])
    #expect(client.text.hasSuffix("xxx"))
  }
}
