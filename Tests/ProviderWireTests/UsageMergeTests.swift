// How the counts of one answer are merged: golden usage objects of vendors and of gateways that mix their words, each in one
// piece and byte by byte.
import AdmissionCore
import Pricing
import Testing

@testable import ProviderWire

@Suite struct UsageMergeTests {
  struct Golden: CustomTestStringConvertible, Sendable {
    var name: String
    var endpoint: WireEndpoint = .chatCompletions
    /// A stream where true.
    var isStream = false
    var body: String
    var usage: Usage
    var testDescription: String { name }
  }

  private static func usage(
    _ input: TokenCount, _ output: TokenCount, read: TokenCount = 0, write: TokenCount = 0, reasoning: TokenCount = 0
  ) -> Usage {
    Usage(
      inputTokens: input, cacheReadTokens: read, cacheWriteTokens: write, outputTokens: output,
      reasoningTokens: reasoning)
  }

  private static func stream(_ frames: [String]) -> String { frames.map { "data: \($0)\n\n" }.joined() }

  static let goldens: [Golden] = [
    // The cache's numbers stand inside of `prompt_tokens`, whichever words they come in.
    Golden(
      name: "prompt_tokens with the cache in both words",
      body:
        #"{"choices":[],"usage":{"prompt_tokens":98805,"completion_tokens":5120,"total_tokens":103925,"prompt_tokens_details":{"cached_tokens":66360,"cache_creation_tokens":32435},"cache_read_input_tokens":66360,"cache_creation_input_tokens":32435}}"#,
      usage: usage(98805, 5120, read: 66360, write: 32435)),
    Golden(
      name: "prompt_tokens with Anthropic's words alone",
      body:
        #"{"choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":5,"cache_read_input_tokens":600,"cache_creation_input_tokens":300}}"#,
      usage: usage(1000, 5, read: 600, write: 300)),
    Golden(
      name: "prompt_tokens that are too few to hold the cache",
      body: #"{"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":5,"cache_read_input_tokens":600}}"#,
      usage: usage(612, 5, read: 600)),
    Golden(
      name: "the input in both words, the fresh part beside the whole",
      body:
        #"{"choices":[],"usage":{"input_tokens":100,"prompt_tokens":1000,"output_tokens":5,"completion_tokens":5,"cache_read_input_tokens":900}}"#,
      usage: usage(1000, 5, read: 900)),
    Golden(
      name: "the input in both words, the same in both",
      body:
        #"{"choices":[],"usage":{"prompt_tokens":1000,"input_tokens":1000,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":900}}}"#,
      usage: usage(1000, 5, read: 900)),
    // Beside `input_tokens`.
    Golden(
      name: "input_tokens with the cache beside it", endpoint: .messages,
      body:
        #"{"usage":{"input_tokens":1000,"output_tokens":5,"cache_read_input_tokens":600,"cache_creation_input_tokens":300}}"#,
      usage: usage(1900, 5, read: 600, write: 300)),
    Golden(
      name: "cache writes by their parts alone", endpoint: .messages,
      body:
        #"{"usage":{"input_tokens":10,"output_tokens":5,"cache_creation":{"ephemeral_5m_input_tokens":150,"ephemeral_1h_input_tokens":50}}}"#,
      usage: usage(210, 5, write: 200)),
    Golden(
      name: "input_tokens with the cache in both words", endpoint: .responses,
      body:
        #"{"usage":{"input_tokens":1000,"input_tokens_details":{"cached_tokens":600},"cache_read_input_tokens":600,"output_tokens":5,"total_tokens":1005}}"#,
      usage: usage(1000, 5, read: 600)),
    Golden(
      name: "input_tokens in both words, where the total says beside", endpoint: .responses,
      body:
        #"{"usage":{"input_tokens":1000,"input_tokens_details":{"cached_tokens":600},"cache_read_input_tokens":600,"output_tokens":5,"total_tokens":1605}}"#,
      usage: usage(1600, 5, read: 600)),
    // A zero never wins.
    Golden(
      name: "zeros after the true numbers", endpoint: .messages, isStream: true,
      body: stream([
        #"{"type":"message_start","message":{"usage":{"input_tokens":2679,"cache_creation_input_tokens":11,"cache_read_input_tokens":70,"output_tokens":1}}}"#,
        #"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":0,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":15}}"#,
        #"{"type":"message_stop"}"#,
      ]), usage: usage(2760, 15, read: 70, write: 11)),
    Golden(
      name: "zeros before the true numbers", endpoint: .messages, isStream: true,
      body: stream([
        #"{"type":"message_start","message":{"usage":{"input_tokens":0,"output_tokens":0}}}"#,
        #"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":31,"output_tokens":15}}"#,
        #"{"type":"message_stop"}"#,
      ]), usage: usage(31, 15)),
    Golden(
      name: "a last chunk of zeros", isStream: true,
      body: stream([
        #"{"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":1}}}"#,
        #"{"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}}"#,
        "[DONE]",
      ]), usage: usage(9, 2, read: 4, reasoning: 1)),
    Golden(
      name: "Gemini, a last chunk of zeros", endpoint: .geminiStream, isStream: true,
      body: stream([
        #"{"candidates":[{"content":{"parts":[{"text":"a"}]}}],"usageMetadata":{"promptTokenCount":40,"cachedContentTokenCount":10,"candidatesTokenCount":2,"thoughtsTokenCount":3,"totalTokenCount":45}}"#,
        #"{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":40,"cachedContentTokenCount":0,"candidatesTokenCount":0,"thoughtsTokenCount":0,"totalTokenCount":45}}"#,
      ]), usage: usage(40, 5, read: 10, reasoning: 3)),
    Golden(
      name: "prompt_tokens of zero beside input_tokens",
      body: #"{"choices":[],"usage":{"prompt_tokens":0,"input_tokens":25,"completion_tokens":3}}"#, usage: usage(25, 3)),
    Golden(
      name: "zeros alone", body: #"{"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0}}"#,
      usage: usage(0, 0)),
    Golden(
      name: "iterations of zeros after others", endpoint: .messages, isStream: true,
      body: stream([
        #"{"type":"message_start","message":{"usage":{"input_tokens":1,"output_tokens":1,"iterations":[{"input_tokens":9,"output_tokens":4}]}}}"#,
        #"{"type":"message_delta","delta":{},"usage":{"output_tokens":4,"iterations":[{"input_tokens":0,"output_tokens":0}]}}"#,
      ]), usage: usage(9, 4)),
    // Where the usage is.
    Golden(
      name: "usage inside of the choice", isStream: true,
      body: stream([
        #"{"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}]}"#,
        #"{"choices":[{"delta":{},"finish_reason":"stop","usage":{"prompt_tokens":1900,"completion_tokens":12}}]}"#,
        "[DONE]",
      ]), usage: usage(1900, 12)),
    Golden(
      name: "usage inside of the choice and beside it", isStream: true,
      body: stream([
        #"{"choices":[{"delta":{},"finish_reason":"stop","usage":{"prompt_tokens":1900,"completion_tokens":12,"total_tokens":1912}}]}"#,
        #"{"choices":[],"usage":{"prompt_tokens":1900,"completion_tokens":12,"total_tokens":1912}}"#,
        "[DONE]",
      ]), usage: usage(1900, 12)),
    Golden(
      name: "usage inside of the choice of a whole body",
      body:
        #"{"choices":[{"message":{"content":"x","usage":{"prompt_tokens":1}},"usage":{"prompt_tokens":19,"completion_tokens":1}}]}"#,
      usage: usage(19, 1)),
    Golden(
      name: "a tool's arguments that are called usage",
      body:
        #"{"choices":[{"message":{"tool_calls":[{"function":{"name":"f","arguments":"{\"usage\":{\"prompt_tokens\":7}}"}}]}}],"usage":{"prompt_tokens":19,"completion_tokens":1}}"#,
      usage: usage(19, 1)),
    Golden(
      name: "Responses, usage only in the last event", endpoint: .responses, isStream: true,
      body: stream([
        #"{"type":"response.created","response":{"status":"in_progress","usage":null}}"#,
        #"{"type":"response.in_progress","response":{"status":"in_progress","usage":{"input_tokens":0,"output_tokens":0,"total_tokens":0}}}"#,
        #"{"type":"response.incomplete","response":{"status":"incomplete","usage":{"input_tokens":37,"input_tokens_details":{"cached_tokens":30},"output_tokens":11,"output_tokens_details":{"reasoning_tokens":4},"total_tokens":48}}}"#,
      ]), usage: usage(37, 11, read: 30, reasoning: 4)),
    // Vendors.
    Golden(
      name: "DeepSeek, halves of the prompt alone",
      body:
        #"{"choices":[],"usage":{"completion_tokens":5,"prompt_cache_hit_tokens":4,"prompt_cache_miss_tokens":6}}"#,
      usage: usage(10, 5, read: 4)),
    Golden(
      name: "DeepSeek, halves and details",
      body:
        #"{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":4},"prompt_cache_hit_tokens":4,"prompt_cache_miss_tokens":6,"completion_tokens_details":{"reasoning_tokens":2}}}"#,
      usage: usage(10, 5, read: 4, reasoning: 2)),
    Golden(
      name: "Cohere, billed units before tokens", endpoint: .cohereChat,
      body:
        #"{"usage":{"billed_units":{"input_tokens":5,"output_tokens":2},"tokens":{"input_tokens":70,"output_tokens":3},"cached_tokens":64}}"#,
      usage: usage(5, 2, read: 5)),
    Golden(
      name: "Cohere, billed units of zero", endpoint: .cohereChat,
      body:
        #"{"usage":{"billed_units":{"input_tokens":0,"output_tokens":0},"tokens":{"input_tokens":70,"output_tokens":3}}}"#,
      usage: usage(70, 3)),
    Golden(
      name: "OpenRouter",
      body:
        #"{"choices":[],"usage":{"prompt_tokens":194,"completion_tokens":2,"total_tokens":196,"prompt_tokens_details":{"cached_tokens":100,"cache_write_tokens":50},"cost":0.95,"cost_details":{"upstream_inference_cost":null}}}"#,
      usage: usage(194, 2, read: 100, write: 50)),
    // Running totals and parts.
    Golden(
      name: "running totals", isStream: true,
      body: stream(
        (1...20).map {
          #"{"choices":[{"delta":{"content":"0123456789"}}],"usage":{"prompt_tokens":9,"completion_tokens":\#($0 * 2),"total_tokens":\#(9 + $0 * 2)}}"#
        } + ["[DONE]"]), usage: usage(9, 40)),
    Golden(
      name: "parts", isStream: true,
      body: stream(
        (1...20).map { _ in
          #"{"choices":[{"delta":{"content":"0123456789"}}],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}"#
        } + ["[DONE]"]), usage: usage(9, 40)),
    Golden(
      name: "parts, and their sum at the end", isStream: true,
      body: stream(
        (1...20).map { _ in
          #"{"choices":[{"delta":{"content":"0123456789"}}],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#
        } + [#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":40}}"#, "[DONE]"]), usage: usage(9, 40)),
  ]

  private func tap(_ golden: Golden, piece: Int) -> UsageTap {
    let tap = UsageTap(
      endpoint: golden.endpoint, isStreaming: golden.isStream,
      contentType: golden.isStream ? "text/event-stream" : "application/json", contentEncoding: nil,
      stripInjectedUsage: false)
    let body = Array(golden.body.utf8)
    for start in stride(from: 0, to: body.count, by: piece) {
      tap.feed(body[start..<min(start + piece, body.count)]) { _ in }
    }
    tap.finish { _ in }
    return tap
  }

  @Test(arguments: goldens) func countsOnce(_ golden: Golden) {
    #expect(tap(golden, piece: golden.body.utf8.count).usage == golden.usage)
    #expect(tap(golden, piece: 1).usage == golden.usage)
  }

  private func cost(_ usage: String) -> Money? {
    tap(Golden(name: "", body: #"{"choices":[],"usage":\#(usage)}"#, usage: Usage()), piece: 4096).cost
  }

  @Test func takesTheProvidersOwnPriceWhole() {
    #expect(cost(#"{"prompt_tokens":1,"cost":0.5}"#) == Money(nanodollars: 500_000_000))
    #expect(
      cost(#"{"prompt_tokens":1,"cost":0.5,"is_byok":false,"cost_details":{"upstream_inference_cost":0.4}}"#)
        == Money(nanodollars: 500_000_000))
    // With a key of one's own the fee and what that key's vendor takes are both paid.
    #expect(
      cost(#"{"prompt_tokens":1,"cost":0.025,"is_byok":true,"cost_details":{"upstream_inference_cost":0.5}}"#)
        == Money(nanodollars: 525_000_000))
    #expect(
      cost(#"{"prompt_tokens":1,"cost":0,"is_byok":true,"cost_details":{"upstream_inference_cost":null}}"#) == nil)
    #expect(cost(#"{"prompt_tokens":1,"cost":0}"#) == .zero)
    #expect(cost(#"{"prompt_tokens":1}"#) == nil)
  }

  @Test func aSearchUnitIsARequestToThePrice() {
    let answer = tap(
      Golden(
        name: "", endpoint: .rerank, body: #"{"results":[],"meta":{"billed_units":{"search_units":3.0}}}"#,
        usage: Usage()), piece: 4096)
    var rates = CallRates()
    rates.perRequest = Money(nanodollars: 2_000_000)
    #expect(
      CallCost.cost(of: answer.usage ?? Usage(), extras: answer.extras, at: rates) == Money(nanodollars: 6_000_000))
    #expect(CallCost.cost(of: Usage(), at: rates) == Money(nanodollars: 2_000_000))
  }
}
