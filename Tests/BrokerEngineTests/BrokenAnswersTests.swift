// What an answer costs that did not come to its end: what was said and what came, and nothing for what was never sent or was refused.
import AdmissionCore
import HTTPMessage
import PolicyFile
import Testing

@testable import BrokerEngine

@Suite struct BrokenAnswersTests {
  private let rigs = RigKeeper()
  private static let events = [("content-type", "text/event-stream")]
  private static let json = [("content-type", "application/json")]
  /// 40,000 bytes of text, which are some 10,000 tokens.
  private static let deltas = (0..<400).map { _ in
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\""
      + String(repeating: "word ", count: 20) + "\"}}\n\n"
  }
  private static let start =
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"m\",\"stop_reason\":null,\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\n\n"

  private func stream(_ rig: Rig, _ frames: [String]) -> FakeExchange {
    let client = rig.send("/v1/messages", body: #"{"model":"m","max_tokens":99999,"stream":true,"messages":[]}"#)
    rig.upstream.last?.respond(200, Self.events, frames, ends: false)
    return client
  }

  enum End: CaseIterable { case left, broke, error, drained, silent }

  @Test(arguments: End.allCases) func aStreamThatDoesNotEndIsChargedByWhatCame(_ end: End) throws {
    let rig = rigs.rig()
    let client = stream(rig, [Self.start] + Self.deltas)
    let call = try #require(rig.upstream.last)
    switch end {
    case .left: rig.leave(client)
    case .broke: call.fail(.truncated)
    case .error:
      let frame =
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"x\"}}\n\n"
      call.events.upstreamReceived(Array(frame.utf8)[...])
      call.events.upstreamEnded(.completed)
    case .drained: rig.broker.operator.abortAll()
    // Its connection ends well, but it has not said its last word.
    case .silent: call.events.upstreamEnded(.completed)
    }
    let usage = try #require(rig.ended.first?.usage)
    #expect(usage == Usage(inputTokens: 25, outputTokens: 10_001, isEstimated: true))
  }

  @Test func aLastWordIsBelievedHoweverTheAnswerEnds() throws {
    let rig = rigs.rig()
    let last =
      "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":15}}\n\n"
    let client = stream(rig, [Self.start] + Self.deltas + [last])
    rig.leave(client)
    #expect(rig.ended.first?.usage == Usage(inputTokens: 25, outputTokens: 15))
  }

  /// Behind its last word a stream is waited for, while what comes there is little.
  @Test func whatGoesOnBehindTheLastWordIsCutOff() throws {
    let loop = try TestLoop()
    let rig = rigs.rig(loop: loop.loop)
    let client = rig.send(body: #"{"model":"m","stream":true,"messages":[]}"#)
    let call = try #require(rig.upstream.last)
    let (text, mark) = ("data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\n", "data: [DONE]\n\n")
    call.respond(200, Self.events, [text, mark], ends: false)
    call.events.upstreamReceived(
      [UInt8](repeating: UInt8(ascii: ":"), count: Attempt.errorLimit - mark.utf8.count)[...])
    #expect(!call.isCancelled && rig.ended.isEmpty)
    call.events.upstreamReceived([UInt8(ascii: ":")])
    #expect(call.isCancelled)
    #expect(rig.ended.first?.outcome == .completed)
    #expect(client.isFinished && client.text.hasPrefix(text + mark))
  }

  @Test func runningCountsAreBelievedUpToTheLast() throws {
    let rig = rigs.rig()
    let client = rig.send(
      body:
        #"{"model":"m","stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true},"messages":[]}"#
    )
    let text = String(repeating: "x", count: 40)
    let frames = (1...3).map {
      "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\(text)\"}}],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":\($0 * 20)}}\n\n"
    }
    rig.upstream.last?.respond(200, Self.events, frames, ends: false)
    rig.leave(client)
    #expect(rig.ended.first?.usage == Usage(inputTokens: 7, outputTokens: 60, isEstimated: true))
  }

  @Test(arguments: ["", "\\", "\\u00", "\u{e4}", "\\ud83d"])
  func aWholeAnswerThatBreaksOffIsChargedByItsText(_ tail: String) throws {
    let rig = rigs.rig()
    let client = rig.send()
    let begun = #"{"id":"1","choices":[{"index":0,"message":{"role":"assistant","content":""#
    let text = String(repeating: "word ", count: 800) + tail
    rig.upstream.last?.respond(200, Self.json, [begun + text], ends: false)
    rig.leave(client)
    let usage = try #require(rig.ended.first?.usage)
    #expect(usage.isEstimated && usage.outputTokens >= 1000 && usage.outputTokens <= 1010)
  }

  // MARK: Who leaves before anything was sent

  @Test(arguments: [(false, false), (true, false), (true, true)])
  func whoLeavesWhileItIsNotSentPaysNothing(_ mayHaveArrived: Bool, _ wasSent: Bool) throws {
    for isDrain in [false, true] {
      let ledger = FakeLedger()
      let rig = rigs.rig(ledger: ledger)
      let client = rig.send()
      ledger.commit()
      let call = try #require(rig.upstream.last)
      (call.requestMayHaveArrived, call.requestWasSent) = (mayHaveArrived, wasSent)
      if isDrain { rig.broker.operator.abortAll() } else { rig.leave(client) }
      #expect(call.isCancelled)
      let end = try #require(ledger.settlements.first)
      #expect(end.wasSent == mayHaveArrived)
      #expect(end.usage.isNothing == !wasSent)
      #expect(end.usage.isEstimated == wasSent)
    }
  }

  // MARK: Errors whose body does not come

  @Test(arguments: [UpstreamFailure.Kind.idleTimedOut, .totalTimedOut, .truncated])
  func anErrorWhoseBodyStallsIsWhatItsHeadSays(_ kind: UpstreamFailure.Kind) throws {
    let ledger = FakeLedger()
    let rig = rigs.rig(ledger: ledger)
    let client = rig.send()
    ledger.commit()
    rig.upstream.last?.respond(429, [("retry-after", "3"), ("content-encoding", "gzip")], ["{\"err"], ends: false)
    rig.upstream.last?.fail(kind, wasSent: true)
    // The turn ends, and nothing more has come of the request.
    rig.broker.services.clerk.handOver()
    let end = try #require(ledger.settlements.first)
    #expect(end.verdict == .throttled && end.usage.isNothing && end.cost == .zero)
    #expect(client.answer == nil)
    rig.advance(.milliseconds(2900))
    #expect(rig.upstream.calls.count == 1)
    rig.advance(.milliseconds(200))
    ledger.commit()
    #expect(rig.upstream.calls.count == 2)
  }

  @Test func theClientGetsTheStatusOfAnErrorWhoseBodyStalls() throws {
    let rig = rigs.rig()
    let client = rig.send()
    rig.upstream.last?.respond(
      400, [("content-length", "900"), ("content-encoding", "gzip"), ("x-request-id", "r1")], ["{\"err"], ends: false)
    rig.upstream.last?.fail(.idleTimedOut, wasSent: true)
    #expect(rig.upstream.calls.count == 1)
    #expect(client.answer?.status == 400 && client.field("x-request-id") == "r1")
    #expect(client.received.isEmpty && client.field("content-length") == "0" && client.field("content-encoding") == nil)
    #expect(rig.ended.map(\.outcome) == [.upstreamError])
  }

  @Test func aRefusalOfWhichNobodyReadsTheWordsTakesNoKey() throws {
    let rig = rigs.rig()
    for _ in 0..<3 {
      rig.send()
      rig.upstream.last?.respond(401, [], ["{\"error\":{\"mess"], ends: false)
      rig.upstream.last?.fail(.idleTimedOut, wasSent: true)
    }
    #expect(rig.upstream.calls.count == 3)
    #expect(rig.broker.operator.snapshot().providers[0].keys[0].state == .usable)
  }

  @Test func theDrainCutsAnErrorThatCostNothing() throws {
    let ledger = FakeLedger()
    let rig = rigs.rig(ledger: ledger)
    rig.send()
    ledger.commit()
    rig.upstream.last?.respond(500, [], ["{"], ends: false)
    rig.broker.operator.abortAll()
    let end = try #require(ledger.settlements.first)
    #expect(end.wasSent && end.usage.isNothing)
  }
}
