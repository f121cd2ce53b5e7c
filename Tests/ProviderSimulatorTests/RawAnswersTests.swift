// Echo, generated bodies, and codings.
import Testing

@testable import ProviderSimulator
@testable import ProviderWire

@Suite struct RawAnswersTests {
  @Test func echoReturnsTheRequest() {
    let bench = Bench()
    let call = bench.call("PUT", "/v1/any/..%2f?x=1", [("X-Odd", "a\"b"), ("x-sim-echo", "1")], body: "abc")
    let echo = Document(call.text)
    #expect(echo?.text("method") == "PUT")
    #expect(echo?.text("target") == "/v1/any/..%2f?x=1")
    #expect(echo?.text("headers.0.0") == "X-Odd")
    #expect(echo?.text("headers.0.1") == "a\"b")
    #expect(echo?.text("body_base64") == "YWJj")
    #expect(echo?.text("body_sha256") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    #expect(bench.stat("in_flight") == 0)
  }

  @Test func generatedBodyWaitsForTheReader() {
    let bench = Bench()
    let exchange = MemoryExchange("GET", "/v1/x", fields: [("x-sim-body", "1000000"), ("x-sim-chunked", "1")])
    exchange.isSlow = true
    bench.simulator.exchangeReady(exchange)
    #expect(exchange.received.count == ProviderSimulator.pendingLimit + ProviderSimulator.pieceSize)
    #expect(exchange.field("content-length") == nil)
    while !exchange.isFinished {
      exchange.pendingBytes = 0
      bench.simulator.exchangeDrained(exchange)
    }
    #expect(exchange.received == ProviderSimulator.filler(0..<1_000_000))
  }

  @Test func statusFieldsAndTypeAreAsOrdered() {
    let call = Bench().call(
      "GET", "/v1/x",
      [("x-sim-status", "418"), ("x-sim-field", "X-Tea: yes: please"), ("x-sim-content-type", "text/plain")])
    #expect(call.status == 418)
    #expect(call.field("x-tea") == "yes: please")
    #expect(call.field("content-type") == "text/plain")
  }

  @Test(arguments: [0, 1, 70_000]) func gzipIsAnnouncedAndUnfoldsToTheBody(_ length: Int) {
    let call = Bench().call("GET", "/v1/x", [("x-sim-body", String(length)), ("x-sim-encoding", "gzip")])
    #expect(call.field("content-encoding") == "gzip")
    #expect(call.received.prefix(3) == [0x1F, 0x8B, 8])
    let body = ContentDecoder.decoded(call.received, .gzip, limit: 100_000)
    #expect(body.progress == .ok)
    #expect(body.bytes == ProviderSimulator.filler(0..<length))
  }

  @Test func unicodeAnswersAreValidJSON() {
    let bench = Bench()
    let whole = bench.chat("", [("x-sim-unicode", "1"), ("x-sim-output-tokens", "40")])
    let stream = bench.chat(",\"stream\":true", [("x-sim-unicode", "1"), ("x-sim-output-tokens", "40")])
    bench.time.advance(milliseconds: 10)
    let text = Document(whole.text)?.text("choices.0.message.content")
    #expect(text?.contains("日本") == true)
    let joined = stream.frames.compactMap { Document($0)?.text("choices.0.delta.content") }.joined()
    #expect(joined == text)
  }
}
