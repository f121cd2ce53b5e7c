// What silent streams get, and where nothing may be inserted: in the middle of a frame, behind the end, into answers that are no
// stream, towards a client that has not taken what it was sent. A beat is a quarter of the interval.
import AdmissionCore
import HTTPDoubles
import HTTPMessage
import PolicyFile
import Testing

@testable import BrokerEngine

@Suite struct KeepaliveTests {
  private let rigs = RigKeeper()
  private static let events = [("content-type", "text/event-stream")]
  private static let comment = ": keepalive\n\n"
  private static let ping = "event: ping\ndata: {\"type\": \"ping\"}\n\n"
  private static let chunk = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n"

  /// A rig, a client and the call to the provider, which has sent its head.
  private struct Scene {
    let rig: Rig
    let client: FakeExchange
    let call: ScriptedUpstream.Call

    func piece(_ text: String) { call.events.upstreamReceived(Array(text.utf8)[...]) }
    func beats(_ count: Int) { for _ in 0..<count { rig.broker.services.keepalives.fire() } }
    func end() { call.events.upstreamEnded(.completed) }
    /// An interval and a quarter: enough in any case.
    func silence() { beats(5) }
  }

  private func scene(
    _ path: String = "/v1/chat/completions",
    body: String = #"{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}"#,
    status: Int = 200, fields: [(String, String)] = events, keepalive: Duration? = .seconds(15),
    _ change: (inout Policy) -> Void = { _ in }
  ) throws -> Scene {
    let rig = rigs.rig {
      $0.keepalive = keepalive
      change(&$0)
    }
    let client = rig.send(path, body: body)
    let call = try #require(rig.upstream.last)
    call.respond(status, fields, ends: false)
    return Scene(rig: rig, client: client, call: call)
  }

  // MARK: When

  @Test func aSilentStreamGetsOneInEachInterval() throws {
    let scene = try scene()
    scene.beats(4)
    #expect(scene.client.text.isEmpty, "an interval has not certainly passed")
    scene.beats(1)
    #expect(scene.client.text == Self.comment)
    scene.beats(3)
    #expect(scene.client.text == Self.comment)
    scene.beats(1)
    #expect(scene.client.text == Self.comment + Self.comment)
  }

  @Test func eachPieceBeginsTheTimeAnew() throws {
    let scene = try scene()
    for _ in 0..<20 {
      scene.beats(4)
      scene.piece(Self.chunk)
    }
    #expect(scene.client.text == String(repeating: Self.chunk, count: 20))
    scene.silence()
    #expect(scene.client.text.hasSuffix(Self.chunk + Self.comment))
  }

  @Test func offNeverSendsAny() throws {
    let scene = try scene(keepalive: nil)
    scene.piece(Self.chunk)
    scene.beats(100)
    #expect(scene.client.text == Self.chunk)
  }

  @Test func nothingIsSentBeforeTheHeadNorForWhoWaits() throws {
    let rig = rigs.rig {
      $0.keepalive = .seconds(1)
      $0.providers[0].limits.concurrency = 1
    }
    let clients = (0..<2).map { _ in rig.send(body: #"{"model":"m","stream":true,"messages":[]}"#) }
    for _ in 0..<50 { rig.broker.services.keepalives.fire() }
    #expect(clients.allSatisfy { $0.answer == nil && $0.received.isEmpty })
  }

  @Test func aStreamThatIsOverGetsNone() throws {
    let scene = try scene()
    scene.piece(Self.chunk)
    scene.piece("data: [DONE]\n\n")
    scene.silence()
    scene.end()
    scene.silence()
    #expect(scene.client.text == Self.chunk + "data: [DONE]\n\n")
    #expect(scene.client.isFinished && scene.rig.ended.count == 1)
  }

  @Test func clientsThatLeftOrAreCutGetNone() throws {
    for leaves in [true, false] {
      let scene = try scene()
      scene.piece(Self.chunk)
      if leaves { scene.rig.leave(scene.client) } else { scene.call.fail(.idleTimedOut) }
      let text = scene.client.text
      scene.beats(20)
      #expect(scene.client.text == text)
    }
  }

  /// Streams come and go in any order; each gets its own.
  @Test func streamsThatEndLeaveTheOthersIntheList() throws {
    let rig = rigs.rig { $0.keepalive = .seconds(15) }
    let scenes = try (0..<5).map { _ in
      let client = rig.send(body: #"{"model":"m","stream":true,"messages":[]}"#)
      let call = try #require(rig.upstream.last)
      call.respond(200, Self.events, [Self.chunk], ends: false)
      return Scene(rig: rig, client: client, call: call)
    }
    for (position, ended) in [0, 4, 2].enumerated() {
      scenes[ended].end()
      scenes[0].silence()
      for (number, scene) in scenes.enumerated() where ![0, 4, 2].prefix(position + 1).contains(number) {
        #expect(scene.client.text.hasSuffix(Self.comment))
      }
    }
    #expect(scenes[0].client.text == Self.chunk)
  }

  // MARK: Where

  /// A stream that is cut at any byte: inserted only where the client has whole frames, and there always.
  @Test(arguments: ["\n", "\r\n"], [true, false])
  func onlyBetweenFrames(_ end: String, _ asksForUsage: Bool) throws {
    let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}"
    let frames = [
      "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}" + end + end, ": theirs" + end + end, end,
      "event: x" + end + "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"error\"}}]}" + end + end,
      usage + end + end,
    ]
    let whole = Array(frames.joined().utf8)
    var ends = Set([0])
    for frame in frames { ends.insert((ends.max() ?? 0) + frame.utf8.count) }
    for cut in 0...whole.count {
      let scene = try scene(
        body: asksForUsage
          ? #"{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}"#
          : #"{"model":"m","stream":true,"messages":[]}"#)
      scene.call.events.upstreamReceived(whole[..<cut])
      let before = scene.client.received
      scene.silence()
      let inserted = scene.client.received.count > before.count
      // What the client has ends with a frame: with the usage frame withheld, at each place inside of it too.
      let got = String(decoding: before, as: UTF8.self)
      let isBetween = got.isEmpty || ends.contains { $0 > 0 && $0 == before.count && $0 <= cut }
      if cut > 0, whole[cut - 1] == 0x0D {
        #expect(!inserted, "\(cut): the line's end may be incomplete")
      } else {
        #expect(inserted == isBetween, "\(cut): \(got.debugDescription)")
      }
      scene.call.events.upstreamReceived(whole[cut...])
      scene.piece("data: [DONE]\n\n")
      scene.end()
      let expected = (asksForUsage ? frames : frames.dropLast()).joined() + "data: [DONE]\n\n"
      #expect(scene.client.text.replacing(Self.comment, with: "") == expected)
      #expect(scene.rig.ended.first?.usage == Usage(inputTokens: 3, outputTokens: 2))
    }
  }

  /// Frames that are too large to be kept are read on without their bytes.
  @Test(arguments: [true, false]) func notInsideAFrameThatIsTooLargeToKeep(_ strips: Bool) throws {
    let scene = try scene(
      body: strips
        ? #"{"model":"m","stream":true,"messages":[]}"#
        : #"{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}"#)
    let start = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\""
    scene.piece(start + String(repeating: "x", count: 300 << 10))
    for _ in 0..<3 {
      scene.silence()
      scene.piece(String(repeating: "y", count: 100))
    }
    #expect(!scene.client.text.contains("keepalive"))
    scene.piece("\"}}]}\n\n")
    scene.silence()
    #expect(scene.client.text.hasSuffix("\"}}]}\n\n" + Self.comment))
  }

  /// The beginning of an error is withheld until it is whole: the client has none of it.
  @Test func beforeAFrameThatIsWithheld() throws {
    let scene = try scene()
    scene.piece(Self.chunk)
    scene.piece("data: {\"error\":{\"message\":\"sk-up")
    #expect(scene.client.text == Self.chunk)
    scene.silence()
    #expect(scene.client.text == Self.chunk + Self.comment)
    scene.piece("stream\",\"type\":\"server_error\"}}\n\n")
    scene.silence()
    #expect(scene.client.text.hasPrefix(Self.chunk + Self.comment + "data: {\"error\""))
    #expect(!scene.client.text.contains("sk-upstream"))
    #expect(scene.client.text.hasSuffix("}}\n\n"), "nothing follows an error")
  }

  @Test func notTowardsAClientThatHasNotTakenWhatItWasSent() throws {
    let scene = try scene()
    scene.piece(Self.chunk)
    scene.client.pendingBytes = 1
    scene.beats(100)
    #expect(scene.client.text == Self.chunk)
    scene.client.pendingBytes = 0
    scene.beats(1)
    #expect(scene.client.text == Self.chunk + Self.comment)
    // What was inserted waits for the socket itself: no second one joins it.
    scene.client.pendingBytes = Self.comment.utf8.count
    scene.beats(100)
    #expect(scene.client.text == Self.chunk + Self.comment)
  }

  @Test(arguments: [
    (200, [("content-type", "application/json")]), (200, [("content-type", "application/x-ndjson")]),
    (200, [("content-type", "text/event-stream"), ("content-encoding", "gzip")]),
    (200, [("content-type", "text/event-stream"), ("content-encoding", "br")]),
    (200, [("content-type", "text/event-stream"), ("content-length", "1000")]),
    (200, [("content-type", "text/plain")]), (200, []),
  ])
  func notIntoAnswersInWhichNothingCanBeInserted(_ status: Int, _ fields: [(String, String)]) throws {
    let scene = try scene(status: status, fields: fields)
    scene.beats(20)
    #expect(scene.client.received.isEmpty)
  }

  @Test func aCodingThatChangesNothingIsNone() throws {
    let scene = try scene(fields: Self.events + [("content-encoding", "identity")])
    scene.silence()
    #expect(scene.client.text == Self.comment)
  }

  @Test func notIntoAnErrorThatIsRelayed() throws {
    let scene = try scene(status: 400)
    scene.piece(String(repeating: "x", count: Attempt.errorLimit + 1))
    let text = scene.client.text
    #expect(!text.isEmpty)
    scene.beats(20)
    #expect(scene.client.text == text)
  }

  // MARK: What

  @Test func anthropicsClientsGetItsPing() throws {
    let scene = try scene("/v1/messages", body: #"{"model":"m","max_tokens":9,"stream":true,"messages":[]}"#) {
      $0.providers[0].dialect = .anthropic
    }
    scene.silence()
    scene.piece(
      "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":3}}}\n\n")
    scene.silence()
    let delta =
      "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":5}}\n\n"
    scene.piece(delta)
    scene.silence()
    scene.piece("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n")
    scene.silence()
    scene.end()
    #expect(scene.client.text.ranges(of: Self.ping).count == 3)
    #expect(scene.client.text.hasPrefix(Self.ping + "event: message_start"))
    #expect(
      scene.client.text.hasSuffix(delta + Self.ping + "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"))
    #expect(scene.rig.ended.first?.usage == Usage(inputTokens: 3, outputTokens: 5))
  }

  @Test func geminisStreamsAreOverWhenTheySaySo() throws {
    let scene = try scene("/v1beta/models/m:streamGenerateContent?alt=sse", body: #"{"contents":[]}"#) {
      $0.providers[0].dialect = .gemini
    }
    scene.silence()
    let last = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"hi\"}]},\"finishReason\":\"STOP\"}]}\n\n"
    scene.piece(last)
    scene.beats(20)
    #expect(scene.client.text == "\n" + last)
  }

  @Test func ollamasLinesGetABlankBetweenObjects() throws {
    let scene = try scene(
      "/api/chat", body: #"{"model":"m","messages":[]}"#, fields: [("content-type", "application/x-ndjson")]
    ) { $0.providers[0].native = .ollama }
    let line = #"{"message":{"content":"hi"},"done":false}"# + "\n"
    scene.piece(String(line.prefix(9)))
    scene.silence()
    #expect(scene.client.text == String(line.prefix(9)), "inside a line")
    scene.piece(String(line.dropFirst(9)))
    scene.silence()
    scene.beats(4)
    let last = #"{"message":{"content":""},"done":true,"prompt_eval_count":4,"eval_count":2}"# + "\n"
    scene.piece(last)
    scene.beats(20)
    scene.end()
    #expect(scene.client.text == line + "  " + last)
    #expect(scene.rig.ended.first?.usage == Usage(inputTokens: 4, outputTokens: 2))
  }

  /// An SDK that remembers ids would take the empty line after a comment for an event.
  @Test func afterAnIDTheCommentHasNoEmptyLine() throws {
    let scene = try scene()
    scene.piece("id: 1\n" + Self.chunk)
    scene.silence()
    scene.beats(4)
    #expect(scene.client.text == "id: 1\n" + Self.chunk + ": keepalive\n: keepalive\n")
  }

  /// Claude Code and others ask for compressed answers, in which nothing could be inserted.
  @Test(arguments: [true, false]) func streamsAreAskedForUncompressed(_ isOn: Bool) throws {
    let rig = rigs.rig { $0.keepalive = isOn ? .seconds(15) : nil }
    func asked(_ body: String) -> String? {
      rig.send(fields: [("accept-encoding", "gzip, br")], body: body)
      return rig.upstream.last?.request.fields.first(named: "accept-encoding")
    }
    let stream = #"{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}"#
    #expect((asked(stream) == nil) == isOn)
    #expect(asked(#"{"model":"m","messages":[]}"#)?.hasPrefix("gzip") == true)
  }

  // MARK: What it counts as

  @Test func itCountsNowhere() throws {
    func record(_ beats: Int) throws -> RequestRecord {
      let scene = try scene()
      scene.rig.advance(.seconds(2))
      scene.beats(beats)
      scene.piece(Self.chunk)
      scene.beats(beats)
      scene.piece("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n")
      scene.beats(beats)
      scene.piece("data: [DONE]\n\n")
      scene.end()
      #expect(scene.client.text.contains("keepalive") == (beats > 0))
      return try #require(scene.rig.ended.first)
    }
    let (without, with) = (try record(0), try record(30))
    #expect(with.bytesOut == without.bytesOut && with.usage == without.usage && with.cost == without.cost)
    #expect(with.outcome == .completed && with.firstByteAt == without.firstByteAt)
  }

  @Test func aReloadHoldsForStreamsThatBeginAfterwards() throws {
    let scene = try scene()
    scene.piece(Self.chunk)
    var policy = scene.rig.broker.operator.policy
    policy.keepalive = nil
    scene.rig.broker.operator.replacePolicy(policy, secrets: scene.rig.broker.services.rules.now.secrets)
    let later = scene.rig.send(body: #"{"model":"m","stream":true,"messages":[]}"#)
    scene.rig.upstream.last?.respond(200, Self.events, [Self.chunk], ends: false)
    scene.silence()
    #expect(scene.client.text == Self.chunk + Self.comment)
    #expect(later.text == Self.chunk)
  }
}
