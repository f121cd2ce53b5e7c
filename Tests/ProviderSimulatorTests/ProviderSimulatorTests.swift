// Calls from end to end in manual time: pace, refusals, permits, leaving, keys, control routes.
import HTTPMessage
import Testing

@testable import ProviderSimulator

@Suite struct ProviderSimulatorTests {
  @Test func streamKeepsItsPace() {
    let bench = Bench()
    let call = bench.chat(
      ",\"stream\":true",
      [("x-sim-first-token-ms", "20"), ("x-sim-tokens-per-second", "10"), ("x-sim-output-tokens", "5")])
    bench.time.advance(milliseconds: 19)
    #expect(call.status == nil)
    bench.time.advance(milliseconds: 1)
    #expect(call.frames.count == 2)
    bench.time.advance(milliseconds: 99)
    #expect(call.frames.count == 2)
    bench.time.advance(milliseconds: 1)
    #expect(call.frames.count == 3)
    bench.time.advance(milliseconds: 300)
    #expect(call.isFinished)
    #expect(call.frames.count == 8)
  }

  @Test func wholeAnswerTakesTheTimeOfItsTokens() {
    let bench = Bench()
    let body = "{\"model\":\"sim-out20-ttft30-tps100\",\"messages\":[]}"
    let call = bench.call("POST", "/v1/chat/completions", body: body)
    bench.time.advance(milliseconds: 229)
    #expect(call.status == nil)
    bench.time.advance(milliseconds: 1)
    #expect(call.status == 200)
  }

  @Test func sameSeedSameAnswer() {
    func lengths(seed: UInt64) -> [String] {
      let bench = Bench {
        $0.seed = seed
        $0.outputTokens = 1...1000
      }
      let calls = (0..<8).map { bench.chat(",\"user\":\"\($0)\"") }
      bench.time.advance(milliseconds: 10)
      return calls.map(\.text)
    }
    #expect(lengths(seed: 1) == lengths(seed: 1))
    #expect(lengths(seed: 1) != lengths(seed: 2))
  }

  @Test func callBeyondThePermitsIsRefusedInItsDialect() {
    let bench = Bench { $0.concurrency = 1 }
    let first = bench.chat()
    let second = bench.chat()
    let third = bench.message()
    #expect(second.status == 429)
    #expect(Document(second.text)?.text("error.code") == "rate_limit_exceeded")
    #expect(second.field("retry-after") == "1")
    #expect(second.field("retry-after-ms") == "1000")
    #expect(Document(third.text)?.text("error.type") == "rate_limit_error")
    bench.time.advance(milliseconds: 10)
    #expect(first.status == 200)
    let fourth = bench.chat()
    bench.time.advance(milliseconds: 10)
    #expect(fourth.status == 200)
    #expect(bench.stat("refused.concurrency") == 2)
    #expect(bench.stat("peak") == 1)
    #expect(bench.stat("in_flight") == 0)
    #expect(bench.stat("completed") == 2)
  }

  @Test(arguments: SimulatorConfiguration.Telling.allCases)
  func tellsOfItsLimitsAsMuchAsItIsTold(_ telling: SimulatorConfiguration.Telling) {
    let bench = Bench {
      $0.requestsPerMinute = 1
      $0.telling = telling
    }
    let first = bench.chat()
    bench.time.advance(milliseconds: 10)
    #expect(first.status == 200)
    #expect((first.field("x-ratelimit-limit-requests") != nil) == (telling == .all))
    for refused in [bench.chat(), bench.message()] {
      #expect(refused.status == 429)
      #expect((refused.field("retry-after") != nil) == (telling != .nothing))
    }
    #expect((bench.chat().field("x-ratelimit-remaining-requests") != nil) == (telling == .all))
    #expect((bench.message().field("anthropic-ratelimit-requests-limit") != nil) == (telling == .all))
  }

  @Test func permitStaysCountedForItsLag() {
    let bench = Bench {
      $0.concurrency = 1
      $0.permitLag = .milliseconds(200)
    }
    let first = bench.chat()
    bench.time.advance(milliseconds: 10)
    #expect(first.status == 200)
    #expect(bench.stat("in_flight") == 0)
    bench.time.advance(milliseconds: 199)
    #expect(bench.chat().status == 429)
    bench.time.advance(milliseconds: 1)
    let next = bench.chat()
    bench.time.advance(milliseconds: 10)
    #expect(next.status == 200)
  }

  @Test func openAIChargesTheCapAndAnthropicWhatIsProduced() {
    let bench = Bench { $0.tokensPerMinute = 1100 }
    #expect(bench.message().status == nil)
    bench.time.advance(milliseconds: 10)
    #expect(bench.stat("buckets.0.used") == 12)
    let chat = bench.chat(",\"max_tokens\":1000")
    #expect(chat.status == nil)
    let refused = bench.chat(",\"max_tokens\":1000")
    #expect(refused.status == 429)
    #expect(Document(refused.text)?.text("error.type") == "tokens")
    #expect(bench.stat("refused.tokens") == 1)
  }

  @Test func clientThatLeavesFreesItsPermitAtOnce() {
    let bench = Bench { $0.concurrency = 1 }
    let waiting = bench.chat()
    bench.leave(waiting)
    let reading = bench.chat(",\"stream\":true", [("x-sim-tokens-per-second", "10"), ("x-sim-id", "r")])
    bench.time.advance(milliseconds: 250)
    bench.leave(reading)
    let next = bench.chat()
    bench.time.advance(milliseconds: 5000)
    #expect(next.status == 200)
    #expect(bench.stat("left_waiting") == 1)
    #expect(bench.stat("left_reading") == 1)
    #expect(bench.stat("tokens.output") == 13)
    let calls = Document(bench.call("GET", "/sim/calls").text)
    #expect(calls?.text("calls.1.id") == "r")
    #expect(calls?.text("calls.1.ending") == "left_reading")
    #expect(calls?.number("calls.1.ended_ns") == 1_250_000_000)
  }

  @Test func wholeAnswerThatNobodyWaitedForIsChargedByItsProgress() {
    let bench = Bench { $0.outputTokensPerMinute = 1000 }
    let call = bench.chat("", [("x-sim-tokens-per-second", "100"), ("x-sim-output-tokens", "50")])
    bench.time.advance(milliseconds: 210)
    bench.leave(call)
    #expect(bench.stat("tokens.output") == 20)
  }

  @Test func slowReaderStopsTheStream() {
    let bench = Bench()
    let call = bench.chat(",\"stream\":true", [("x-sim-output-tokens", "100000"), ("x-sim-tokens-per-frame", "100")])
    call.isSlow = true
    bench.time.advance(milliseconds: 10)
    let before = call.received.count
    #expect(before > ProviderSimulator.pendingLimit)
    #expect(before < ProviderSimulator.pendingLimit + 4096)
    bench.time.advance(milliseconds: 1000)
    #expect(call.received.count == before)
    call.isSlow = false
    call.pendingBytes = 0
    bench.simulator.exchangeDrained(call)
    #expect(call.isFinished)
  }

  @Test func keysAreChecked() {
    let bench = Bench { $0.keys = ["k1"] }
    #expect(bench.chat().status == 401)
    #expect(bench.chat("", [("authorization", "Bearer k2")]).status == 401)
    #expect(bench.chat("", [("authorization", "Bearer k1")]).status == nil)
    #expect(bench.message("", [("x-api-key", "k1")]).status == nil)
    #expect(bench.stat("unauthenticated") == 2)
  }

  @Test func limitsPerKeyAreApart() {
    let bench = Bench {
      $0.quota = .perKey
      $0.concurrency = 1
    }
    #expect(bench.chat("", [("x-api-key", "a")]).status == nil)
    #expect(bench.chat("", [("x-api-key", "b")]).status == nil)
    #expect(bench.chat("", [("x-api-key", "a")]).status == 429)
  }

  @Test func wrongRequestsAreToldSo() {
    let bench = Bench()
    #expect(bench.call("POST", "/v1/chat/completions", body: "{").status == 400)
    #expect(bench.call("POST", "/v1/chat/completions", body: "{\"messages\":[]}").status == 400)
    #expect(bench.call("POST", "/v1/chat/completions", body: "{\"model\":\"m\"}").status == 400)
    #expect(bench.call("GET", "/v1/chat/completions").status == 405)
    #expect(bench.call("POST", "/v1/unknown").status == 404)
    #expect(bench.call("GET", "/sim/unknown").status == 404)
  }

  @Test func refusalOfTheEndpointHasTheDialectOfThePath() {
    let simulator = Bench().simulator
    let anthropic = simulator.refusal(.bodyTooLarge(limit: 5), target: "/v1/messages")
    #expect(Document(String(decoding: anthropic.body, as: UTF8.self))?.text("error.type") == "request_too_large")
    let openAI = simulator.refusal(.malformed("bad"), target: nil)
    #expect(Document(String(decoding: openAI.body, as: UTF8.self))?.text("error.message") == "bad")
  }

  @Test func resetKeepsRunningCallsAndForgetsTheRest() {
    let bench = Bench {
      $0.concurrency = 2
      $0.requestsPerMinute = 2
    }
    let running = bench.chat()
    _ = bench.chat()
    #expect(bench.chat().status == 429)
    #expect(bench.call("POST", "/sim/reset").status == 200)
    #expect(bench.stat("calls") == 0)
    #expect(bench.stat("in_flight") == 2)
    bench.time.advance(milliseconds: 10)
    #expect(running.status == 200)
    #expect(bench.stat("in_flight") == 0)
    #expect(bench.chat().status == nil)
    #expect(bench.chat().status == nil)
  }
}
