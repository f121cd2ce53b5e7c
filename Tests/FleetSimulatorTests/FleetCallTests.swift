// Which answers an SDK-like client retries, and how long it waits.
import EventLoop
import HTTPDoubles
import HTTPMessage
import Testing

@testable import FleetSimulator

@Suite struct FleetCallTests {
  @Test(arguments: [
    (200, false), (400, false), (401, false), (404, false), (408, true), (409, true), (429, true), (500, true),
    (529, true),
  ])
  func statusDecidesARetry(status: Int, isRetried: Bool) { #expect(RetryRule.isRetried(status) == isRetried) }

  @Test func waitFollowsTheFieldsWithinAMinute() {
    func delay(_ fields: [(name: String, value: String)], retry: Int = 0, jitter: Double = 0) -> Double {
      RetryRule.delay(HeaderFields(fields), retry: retry, jitter: jitter)
    }
    #expect(delay([("retry-after", "7"), ("retry-after-ms", "250")]) == 250)
    #expect(delay([("retry-after", "7")]) == 7000)
    #expect(delay([("retry-after", "60")]) == 60_000)
    #expect(delay([("retry-after", "61")]) == 500)
    #expect(delay([("retry-after", "0")]) == 500)
    #expect(delay([("retry-after", "soon")], retry: 1) == 1000)
    #expect(delay([], retry: 9) == 8000)
    #expect(delay([], jitter: 1) == 375)
    #expect(RetryRule.delay(nil, retry: 0, jitter: 0) == 500)
  }

  private func make(
    _ upstream: ScriptedUpstream, _ loop: EventLoop, retries: Int, patience: AgentGroup.Patience = .endless,
    ended: @escaping (CallResult) -> Void
  ) -> FleetCall {
    let plan = CallPlan(
      url: "http://p/v1/chat/completions", fields: HeaderFields(), body: [], patience: patience, retries: retries)
    let call = FleetCall(
      loop: loop, upstream: upstream, plan: plan, jitter: 0, firstByteSeen: {}, ended: ended)
    call.start()
    return call
  }

  @Test func retryIsMarkedAndEndsWithItsAnswer() throws {
    let loop = try EventLoop()
    let upstream = ScriptedUpstream()
    var result: CallResult?
    let call = make(upstream, loop, retries: 2) { result = $0 }
    upstream.calls[0].respond(429, [("retry-after-ms", "1")], ["{}"])
    turn(loop) { upstream.calls.count == 2 }
    #expect(upstream.calls[1].field("x-stainless-retry-count") == "1")
    upstream.calls[1].respond(200, [("x-tollgate-queue-ms", "12")], ["{}"])
    #expect(result?.ending == .completed)
    #expect(result?.retries == 1)
    #expect(result?.refusalsSeen == 1)
    #expect(result?.queueMilliseconds == 12)
    withExtendedLifetime(call) {}
  }

  @Test func lastRefusalIsTheClientsError() throws {
    let loop = try EventLoop()
    let upstream = ScriptedUpstream()
    var results: [CallResult.Ending] = []
    let calls = (0..<3).map { _ in make(upstream, loop, retries: 0) { results.append($0.ending) } }
    upstream.calls[0].respond(429, [], ["{}"])
    upstream.calls[1].fail(mayHaveArrived: false)
    upstream.calls[2].events.upstreamResponded(ResponseHead(status: 200))
    upstream.calls[2].events.upstreamEnded(
      .failed(UpstreamFailure(kind: .truncated, detail: "test", requestMayHaveArrived: true)))
    #expect(results == [.failed(status: 429), .failed(status: nil), .failed(status: nil)])
    withExtendedLifetime(calls) {}
  }

  @Test func brokenBodyIsNotRetried() throws {
    let loop = try EventLoop()
    let upstream = ScriptedUpstream()
    var result: CallResult?
    let call = make(upstream, loop, retries: 2) { result = $0 }
    upstream.calls[0].events.upstreamResponded(ResponseHead(status: 200))
    upstream.calls[0].events.upstreamEnded(
      .failed(UpstreamFailure(kind: .truncated, detail: "test", requestMayHaveArrived: true)))
    #expect(result?.ending == .failed(status: nil))
    #expect(upstream.calls.count == 1)
    withExtendedLifetime(call) {}
  }

  @Test func impatientClientsCancelTheirCalls() throws {
    let loop = try EventLoop()
    let upstream = ScriptedUpstream()
    var endings: [CallResult.Ending] = []
    let waiting = make(upstream, loop, retries: 2, patience: .leavesAfter(milliseconds: 1)) {
      endings.append($0.ending)
    }
    let reading = make(upstream, loop, retries: 2, patience: .leavesAfterFirstByte(milliseconds: 1)) {
      endings.append($0.ending)
    }
    upstream.calls[1].events.upstreamResponded(ResponseHead(status: 200))
    upstream.calls[1].events.upstreamReceived([1])
    turn(loop) { endings.count == 2 }
    #expect(endings == [.left, .left])
    #expect(upstream.calls.allSatisfy { $0.isCancelled })
    withExtendedLifetime((waiting, reading)) {}
  }
}
