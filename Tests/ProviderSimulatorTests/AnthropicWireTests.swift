// Anthropic's shapes: whole messages, streams, counts, dates, limit fields.
import Testing

@testable import ProviderSimulator

@Suite struct AnthropicWireTests {
  @Test func wholeMessageIsComplete() {
    let bench = Bench()
    let call = bench.message()
    bench.time.advance(milliseconds: 10)
    let answer = Document(call.text)
    #expect(call.status == 200)
    #expect(call.field("request-id") == "req_sim000000000001")
    #expect(answer?.text("type") == "message")
    #expect(answer?.text("stop_reason") == "end_turn")
    #expect(answer?.number("usage.input_tokens") == 2)
    #expect(answer?.number("usage.output_tokens") == 10)
  }

  @Test func streamHasTheVendorsEvents() {
    let bench = Bench()
    let call = bench.message(",\"stream\":true")
    bench.time.advance(milliseconds: 10)
    let events = call.text.split(separator: "\n").filter { $0.hasPrefix("event: ") }.map { String($0.dropFirst(7)) }
    #expect(events.prefix(3) == ["message_start", "content_block_start", "ping"])
    #expect(events.suffix(3) == ["content_block_stop", "message_delta", "message_stop"])
    #expect(events.dropFirst(3).dropLast(3).allSatisfy { $0 == "content_block_delta" })
    #expect(Document(call.frames[0])?.number("message.usage.output_tokens") == 1)
    #expect(Document(call.frames[call.frames.count - 2])?.number("usage.output_tokens") == 10)
  }

  @Test func missingPartsAreNamed() {
    let bench = Bench()
    let version = bench.call("POST", "/v1/messages", body: "{\"model\":\"m\",\"max_tokens\":1,\"messages\":[]}")
    let cap = bench.call(
      "POST", "/v1/messages", [("anthropic-version", "2023-06-01")], body: "{\"model\":\"m\",\"messages\":[]}")
    #expect(version.status == 400)
    #expect(Document(version.text)?.text("error.message")?.contains("anthropic-version") == true)
    #expect(cap.status == 400)
    #expect(Document(cap.text)?.text("error.message") == "max_tokens: Field required")
  }

  @Test func countTokensIsFree() {
    let bench = Bench { $0.requestsPerMinute = 1 }
    let fields = [(name: "anthropic-version", value: "2023-06-01")]
    let body = "{\"model\":\"m\",\"messages\":[{\"content\":\"12345678\"}]}"
    for _ in 0..<3 {
      let call = bench.call("POST", "/v1/messages/count_tokens", fields, body: body)
      #expect(call.text == "{\"input_tokens\":2}")
    }
  }

  @Test func modelsComeInTheDialectThatAsks() {
    let bench = Bench()
    #expect(Document(bench.call("GET", "/v1/models").text)?.text("object") == "list")
    let call = bench.call("GET", "/v1/models", [("anthropic-version", "2023-06-01")])
    #expect(Document(call.text)?.text("data.0.type") == "model")
    #expect(Document(bench.call("GET", "/v1/models/m-1").text)?.text("id") == "m-1")
  }

  @Test(arguments: [
    (0, "1970-01-01T00:00:00Z"), (951_782_400, "2000-02-29T00:00:00Z"), (1_795_208_399, "2026-11-20T20:59:59Z"),
  ])
  func datesAreRFC3339(seconds: Int, text: String) { #expect(AnthropicWire.date(Double(seconds)) == text) }

  @Test func limitFieldsRoundToThousands() {
    let bench = Bench {
      $0.requestsPerMinute = 60
      $0.inputTokensPerMinute = 10_000
      $0.outputTokensPerMinute = 6000
    }
    let call = bench.message("", [("x-sim-output-tokens", "700")])
    bench.time.advance(milliseconds: 10)
    #expect(call.field("anthropic-ratelimit-requests-limit") == "60")
    #expect(call.field("anthropic-ratelimit-requests-remaining") == "59")
    #expect(call.field("anthropic-ratelimit-input-tokens-remaining") == "10000")
    #expect(call.field("anthropic-ratelimit-output-tokens-remaining") == "5000")
    #expect(call.field("anthropic-ratelimit-output-tokens-reset") == "2026-11-18T11:06:48Z")
  }
}
