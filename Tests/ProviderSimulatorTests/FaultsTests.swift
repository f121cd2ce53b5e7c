// Every fault, by request field and by order.
import Testing

@testable import ProviderSimulator

@Suite struct FaultsTests {
  @Test(arguments: Fault.allCases.filter { $0.status != nil })
  func errorFaultAnswersItsStatusAtOnce(fault: Fault) {
    let bench = Bench { $0.requestsPerMinute = 10 }
    for call in [
      bench.chat("", [("x-sim-fault", fault.rawValue)]), bench.message("", [("x-sim-fault", fault.rawValue)]),
    ] {
      #expect(call.status == fault.status)
      #expect(call.isFinished)
      #expect(Document(call.text)?.text("error.message")?.isEmpty == false)
      let hasWait = fault == .throttled || fault == .earlyThrottled
      #expect((call.field("retry-after") != nil) == hasWait)
    }
    #expect(bench.stat("faults.\(fault.rawValue)") == 2)
    #expect(bench.stat("in_flight") == 0)
  }

  @Test func bareThrottleHasNoLimitFields() {
    let bench = Bench { $0.requestsPerMinute = 10 }
    #expect(bench.chat("", [("x-sim-fault", "429-bare")]).field("x-ratelimit-limit-requests") == nil)
    #expect(bench.chat("", [("x-sim-fault", "429")]).field("x-ratelimit-limit-requests") == "10")
  }

  @Test func hangHoldsItsPermitUntilTheClientLeaves() {
    let bench = Bench { $0.concurrency = 1 }
    let call = bench.chat("", [("x-sim-fault", "hang")])
    bench.time.advance(milliseconds: 600_000)
    #expect(call.status == nil)
    #expect(bench.stat("in_flight") == 1)
    bench.leave(call)
    #expect(bench.stat("in_flight") == 0)
  }

  @Test func hangingBodyFallsSilentAfterItsHead() {
    let bench = Bench()
    let stream = bench.message(",\"stream\":true", [("x-sim-fault", "hang-body")])
    let whole = bench.message("", [("x-sim-fault", "hang-body")])
    bench.time.advance(milliseconds: 600_000)
    #expect(stream.status == 200)
    #expect(stream.frames.count == 3)
    #expect(!stream.isFinished)
    #expect(whole.status == 200)
    #expect(whole.received.isEmpty)
    #expect(!whole.isFinished)
  }

  @Test func cutBreaksInTheMiddle() {
    let bench = Bench()
    let stream = bench.chat(",\"stream\":true", [("x-sim-fault", "cut")])
    let whole = bench.chat("", [("x-sim-fault", "cut")])
    bench.time.advance(milliseconds: 29)
    #expect(!stream.isAborted)
    bench.time.advance(milliseconds: 1)
    #expect(stream.isAborted)
    #expect(!stream.text.contains("[DONE]"))
    #expect(whole.isAborted)
    #expect(!whole.received.isEmpty)
    #expect(whole.field("content-length").flatMap { Int($0) } ?? 0 > whole.received.count)
    #expect(bench.stat("in_flight") == 0)
  }

  @Test func resetAnswersNothing() {
    let call = Bench().chat("", [("x-sim-fault", "reset")])
    #expect(call.isAborted)
    #expect(call.status == nil)
  }

  @Test func slowAnswerComesWholeInSmallPieces() {
    let bench = Bench()
    let slow = bench.chat(",\"stream\":true", [("x-sim-fault", "slow")])
    let plain = bench.chat(",\"stream\":true")
    bench.time.advance(milliseconds: 10)
    #expect(slow.received.count == 8)
    bench.time.advance(milliseconds: 5)
    #expect(slow.received.count == 16)
    bench.time.advance(milliseconds: 60_000)
    #expect(slow.isFinished)
    #expect(slow.received.count == plain.received.count)
  }

  @Test func errorFrameAndEarlyEndCloseTheStream() {
    let bench = Bench()
    let chat = bench.chat(",\"stream\":true", [("x-sim-fault", "error-frame")])
    let message = bench.message(",\"stream\":true", [("x-sim-fault", "error-frame")])
    let early = bench.chat(",\"stream\":true", [("x-sim-fault", "early")])
    bench.time.advance(milliseconds: 10)
    #expect(chat.frames.last.flatMap { Document($0) }?.text("error.type") == "server_error")
    #expect(message.frames.last.flatMap { Document($0) }?.text("error.type") == "overloaded_error")
    #expect(early.isFinished)
    #expect(!early.text.contains("[DONE]"))
  }

  @Test func garbageAndEmptyComeAs200() {
    let bench = Bench()
    let garbage = bench.chat("", [("x-sim-fault", "garbage")])
    let empty = bench.chat("", [("x-sim-fault", "empty")])
    bench.time.advance(milliseconds: 10)
    #expect(garbage.status == 200)
    #expect(Document(garbage.text) == nil)
    #expect(empty.status == 200)
    #expect(empty.received.isEmpty)
  }

  @Test func faultCanHoldForTheFirstCallsOfAnID() {
    let bench = Bench()
    func fields(_ id: String) -> [(name: String, value: String)] {
      [("x-sim-fault", "503"), ("x-sim-fault-times", "2"), ("x-sim-id", id)]
    }
    #expect(bench.chat("", fields("a")).status == 503)
    #expect(bench.chat("", fields("b")).status == 503)
    #expect(bench.chat("", fields("a")).status == 503)
    #expect(bench.chat("", fields("a")).status == nil)
  }

  @Test func orderedFaultHoldsInItsSpan() {
    let bench = Bench()
    #expect(
      bench.call("POST", "/sim/faults", body: "{\"fault\":\"503\",\"after_ms\":100,\"for_ms\":50,\"retry_after\":7}")
        .status
        == 200)
    #expect(bench.chat().status == nil)
    bench.time.advance(milliseconds: 100)
    #expect(bench.chat().status == 503)
    #expect(bench.chat().field("retry-after") == "7")
    bench.time.advance(milliseconds: 49)
    #expect(bench.chat().status == 503)
    bench.time.advance(milliseconds: 1)
    #expect(bench.chat().status == nil)
  }

  /// Of a span without a sensible end, a year is taken; one that begins in a year is not there yet.
  @Test(arguments: [Int.max, Int.max / 1_000_000 + 1, 31_536_000_001])
  func spansThatNoTestLastsAreAYear(_ milliseconds: Int) {
    let bench = Bench()
    #expect(bench.call("POST", "/sim/faults", body: "{\"fault\":\"503\",\"for_ms\":\(milliseconds)}").status == 200)
    #expect(bench.chat().status == 503)
    bench.time.advance(milliseconds: 31_535_999_999)
    #expect(bench.chat().status == 503)
    bench.time.advance(milliseconds: 1)
    #expect(bench.chat().status == nil)
    #expect(bench.call("POST", "/sim/faults", body: "{\"fault\":\"503\",\"after_ms\":\(milliseconds)}").status == 200)
    #expect(bench.chat().status == nil)
    bench.time.advance(milliseconds: 31_536_000_000)
    #expect(bench.chat().status == 503)
  }

  @Test func spansOfLessThanNothingAreNone() {
    let bench = Bench()
    #expect(
      bench.call("POST", "/sim/faults", body: "{\"fault\":\"503\",\"after_ms\":\(Int.min),\"for_ms\":1}").status == 200)
    #expect(bench.chat().status == 503)
    bench.time.advance(milliseconds: 1)
    #expect(bench.chat().status == nil)
  }

  @Test func orderedFaultMatchesAndCounts() {
    let bench = Bench()
    bench.call("POST", "/sim/faults", body: "{\"fault\":\"429\",\"key\":\"k1\",\"times\":1}")
    #expect(bench.chat("", [("x-api-key", "k2")]).status == nil)
    #expect(bench.chat("", [("x-api-key", "k1")]).status == 429)
    #expect(bench.chat("", [("x-api-key", "k1")]).status == nil)
    bench.call("POST", "/sim/faults", body: "{\"fault\":\"500\",\"model\":\"m\",\"path\":\"/v1/messages\"}")
    #expect(bench.chat().status == nil)
    #expect(bench.message().status == 500)
    bench.call("DELETE", "/sim/faults")
    #expect(bench.message().status == nil)
    #expect(bench.call("POST", "/sim/faults", body: "{\"fault\":\"nonsense\"}").status == 400)
  }
}
