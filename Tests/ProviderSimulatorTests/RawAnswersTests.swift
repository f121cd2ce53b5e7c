// Echo, generated bodies, codings, and the three small algorithms under them against published values.
import Testing

@testable import ProviderSimulator

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

  @Test func gzipIsAnnouncedAndWellFormed() {
    let call = Bench().call("GET", "/v1/x", [("x-sim-body", "70000"), ("x-sim-encoding", "gzip")])
    #expect(call.field("content-encoding") == "gzip")
    #expect(call.received.prefix(3) == [0x1F, 0x8B, 8])
    #expect(call.received.count == 70_000 + 10 + 2 * 5 + 8)
    #expect(call.received.suffix(4) == [0x70, 0x11, 0x01, 0x00])
  }

  @Test func checksumMatchesItsCheckValue() {
    #expect(StoredGzip.checksum(Array("123456789".utf8)) == 0xCBF4_3926)
  }

  @Test(arguments: [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")])
  func base64MatchesTheStandard(text: String, coded: String) { #expect(Base64.encode(Array(text.utf8)) == coded) }

  @Test(arguments: [
    (0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    (55, "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318"),
    (56, "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a"),
    (64, "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb"),
  ])
  func digestMatchesAtBlockBorders(count: Int, digest: String) {
    #expect(SHA256.hexadecimal([UInt8](repeating: UInt8(ascii: "a"), count: count)) == digest)
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
