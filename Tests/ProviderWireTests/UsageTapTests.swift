// The tap: golden answers of every vendor, cut at every byte; what passes is byte for byte what came, but for the frame
// that only we asked for.
import AdmissionCore
import Testing

@testable import ProviderWire

@Suite struct UsageTapTests {
  struct Golden: CustomTestStringConvertible, Sendable {
    var name: String
    var endpoint: WireEndpoint
    var contentType: String
    var body: String
    var usage: Usage?
    var isTerminal = false
    var testDescription: String { name }
  }

  static func usage(
    _ input: TokenCount, _ output: TokenCount, read: TokenCount = 0, write: TokenCount = 0, reasoning: TokenCount = 0
  ) -> Usage {
    Usage(
      inputTokens: input, cacheReadTokens: read, cacheWriteTokens: write, outputTokens: output,
      reasoningTokens: reasoning)
  }

  static let events = "text/event-stream; charset=utf-8"
  static let json = "application/json"

  static let goldens: [Golden] =
    localGoldens + [
      Golden(
        name: "chat", endpoint: .chatCompletions, contentType: json,
        body:
          #"{"id":"c","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"\"usage\":{\"prompt_tokens\":1}"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1200,"completion_tokens":300,"total_tokens":1500,"prompt_tokens_details":{"cached_tokens":1024,"cache_write_tokens":7,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":200,"audio_tokens":0}}}"#,
        usage: usage(1200, 300, read: 1024, write: 7, reasoning: 200), isTerminal: true),
      Golden(
        name: "chat with null details", endpoint: .chatCompletions, contentType: json,
        body:
          #"{"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11,"prompt_tokens_details":null},"choices":[]}"#,
        usage: usage(9, 2)),
      Golden(
        name: "xAI: reasoning outside the completion", endpoint: .chatCompletions, contentType: json,
        body:
          #"{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":40,"completion_tokens_details":{"reasoning_tokens":25}}}"#,
        usage: usage(10, 30, reasoning: 25)),
      Golden(
        name: "DeepSeek", endpoint: .chatCompletions, contentType: json,
        body: "\n\n"
          + #"{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_cache_hit_tokens":4,"prompt_cache_miss_tokens":6}}"#,
        usage: usage(10, 5, read: 4)),
      Golden(
        name: "responses", endpoint: .responses, contentType: json,
        body:
          #"{"id":"r","object":"response","status":"completed","error":null,"model":"m","output":[{"type":"message","content":[{"type":"output_text","text":"x"}]}],"usage":{"input_tokens":1200,"input_tokens_details":{"cached_tokens":1024},"output_tokens":300,"output_tokens_details":{"reasoning_tokens":200},"total_tokens":1500}}"#,
        usage: usage(1200, 300, read: 1024, reasoning: 200)),
      Golden(
        name: "embeddings", endpoint: .embeddings, contentType: json,
        body:
          #"{"object":"list","data":[{"object":"embedding","embedding":[0.1,-2e-5],"index":0}],"usage":{"prompt_tokens":8,"total_tokens":8}}"#,
        usage: usage(8, 0)),
      Golden(
        name: "Voyage", endpoint: .embeddings, contentType: json, body: #"{"data":[],"usage":{"total_tokens":10}}"#,
        usage: usage(10, 0)),
      Golden(
        name: "Cohere embed", endpoint: .cohereEmbed, contentType: json,
        body:
          #"{"embeddings":{},"meta":{"billed_units":{"input_tokens":12.0},"tokens":{"input_tokens":13.0,"output_tokens":0.0}}}"#,
        usage: usage(12, 0)),
      Golden(
        name: "Cohere embed, billed only", endpoint: .cohereEmbed, contentType: json,
        body: #"{"meta":{"billed_units":{"input_tokens":12.0}}}"#, usage: usage(12, 0)),
      Golden(
        name: "Cohere chat", endpoint: .cohereChat, contentType: json,
        body:
          #"{"message":{"content":[{"type":"text","text":"hi"}]},"usage":{"billed_units":{"input_tokens":5,"output_tokens":2},"tokens":{"input_tokens":70,"output_tokens":3}}}"#,
        usage: usage(5, 2)),
      Golden(
        name: "images", endpoint: .images, contentType: json,
        body:
          #"{"data":[{"b64_json":"AAAA"}],"usage":{"input_tokens":50,"input_tokens_details":{"image_tokens":40,"text_tokens":10},"output_tokens":100,"total_tokens":150}}"#,
        usage: usage(50, 100)),
      Golden(
        name: "transcription by tokens", endpoint: .transcription, contentType: json,
        body:
          #"{"text":"hello","usage":{"type":"tokens","input_tokens":14,"input_token_details":{"audio_tokens":14},"output_tokens":45,"total_tokens":59}}"#,
        usage: usage(14, 45)),
      Golden(
        name: "messages", endpoint: .messages, contentType: json,
        body:
          #"{"type":"message","model":"claude","content":[{"type":"tool_use","input":{"usage":{"input_tokens":1}}}],"stop_reason":"end_turn","usage":{"input_tokens":12,"cache_creation_input_tokens":2000,"cache_read_input_tokens":30000,"cache_creation":{"ephemeral_5m_input_tokens":1500,"ephemeral_1h_input_tokens":500},"output_tokens":400,"output_tokens_details":{"thinking_tokens":250},"server_tool_use":{"web_search_requests":1},"service_tier":"standard","speed":"standard","inference_geo":"global"}}"#,
        usage: usage(32012, 400, read: 30000, write: 2000, reasoning: 250), isTerminal: true),
      Golden(
        name: "messages with iterations", endpoint: .messages, contentType: json,
        body:
          #"{"content":[],"usage":{"input_tokens":10,"output_tokens":5,"iterations":[{"type":"compaction","input_tokens":100,"output_tokens":20,"cache_read_input_tokens":3},{"type":"message","input_tokens":10,"output_tokens":5}]}}"#,
        usage: usage(113, 25, read: 3)),
      Golden(
        name: "count_tokens is free", endpoint: .countTokens, contentType: json, body: #"{"input_tokens":2095}"#,
        usage: usage(0, 0)),
      Golden(
        name: "Gemini, thoughts outside", endpoint: .geminiGenerate, contentType: json,
        body:
          #"{"candidates":[{"content":{"parts":[{"text":"x"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":1000,"cachedContentTokenCount":800,"candidatesTokenCount":50,"thoughtsTokenCount":120,"totalTokenCount":1170},"modelVersion":"g"}"#,
        usage: usage(1000, 170, read: 800, reasoning: 120), isTerminal: true),
      Golden(
        name: "Gemini, thoughts inside", endpoint: .geminiGenerate, contentType: json,
        body:
          #"{"usageMetadata":{"promptTokenCount":100,"candidatesTokenCount":50,"thoughtsTokenCount":20,"toolUsePromptTokenCount":5,"totalTokenCount":155}}"#,
        usage: usage(105, 50, reasoning: 20)),
      Golden(
        name: "Gemini array stream", endpoint: .geminiStream, contentType: json,
        body:
          #"[{"candidates":[{"content":{"parts":[{"text":"a"}]}}],"usageMetadata":{"promptTokenCount":4,"totalTokenCount":4}},"#
          + "\n"
          + #"{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":9,"totalTokenCount":13}}]"#,
        usage: usage(4, 9), isTerminal: true),
      Golden(
        name: "chat stream", endpoint: .chatCompletions, contentType: events,
        body:
          "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"Hi\"},\"finish_reason\":null}],\"usage\":null}\n\n"
          + "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":null}\n\n"
          + "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,\"total_tokens\":11}}\n\ndata: [DONE]\n\n",
        usage: usage(9, 2), isTerminal: true),
      Golden(
        name: "cumulative usage on each chunk, CRLF, comments", endpoint: .chatCompletions, contentType: events,
        body:
          ": OPENROUTER PROCESSING\r\n\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":1}}\r\n\r\n"
          + "data:{\"choices\":[{\"delta\":{\"content\":\"b\"}}],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2}}\r\n\r\n",
        usage: usage(9, 2)),
      Golden(
        name: "Groq", endpoint: .chatCompletions, contentType: events,
        body:
          "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"x_groq\":{\"id\":\"r\",\"usage\":{\"queue_time\":0.1,\"prompt_tokens\":3,\"completion_tokens\":4,\"total_tokens\":7}}}\n\ndata: [DONE]\n\n",
        usage: usage(3, 4), isTerminal: true),
      Golden(
        name: "responses stream", endpoint: .responses, contentType: events,
        body:
          "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"r\",\"status\":\"in_progress\",\"usage\":null,\"error\":null}}\n\n"
          + "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"abcd\"}\n\n"
          + "event: keepalive\ndata: {\"type\":\"keepalive\",\"sequence_number\":3}\n\n"
          + "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"r\",\"model\":\"m\",\"output\":[{\"usage\":{\"input_tokens\":1}}],\"error\":null,\"usage\":{\"input_tokens\":37,\"output_tokens\":11,\"total_tokens\":48}}}\n\n",
        usage: usage(37, 11), isTerminal: true),
      Golden(
        name: "messages stream, counts corrected later", endpoint: .messages, contentType: events,
        body:
          "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"c\",\"content\":[],\"stop_reason\":null,\"usage\":{\"input_tokens\":2679,\"cache_read_input_tokens\":5,\"output_tokens\":1}}}\n\n"
          + "event: ping\ndata: {\"type\": \"ping\"}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\n"
          + "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"input_tokens\":10682,\"output_tokens\":15}}\n\n"
          + "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        usage: usage(10687, 15, read: 5), isTerminal: true),
      Golden(
        name: "Gemini SSE", endpoint: .geminiStream, contentType: events,
        body:
          "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]}}],\"usageMetadata\":{\"promptTokenCount\":4,\"totalTokenCount\":4}}\r\n\r\n"
          + "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"b\"}]},\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":4,\"candidatesTokenCount\":2,\"totalTokenCount\":6}}\r\n\r\n",
        usage: usage(4, 2), isTerminal: true),
      Golden(
        name: "Cohere stream", endpoint: .cohereChat, contentType: events,
        body:
          "event: content-delta\ndata: {\"type\":\"content-delta\",\"delta\":{\"message\":{\"content\":{\"text\":\"x\"}}}}\n\n"
          + "event: message-end\ndata: {\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"COMPLETE\",\"usage\":{\"tokens\":{\"input_tokens\":6,\"output_tokens\":7}}}}\n\n",
        usage: usage(6, 7), isTerminal: true),
      Golden(
        name: "images stream", endpoint: .images, contentType: events,
        body:
          "event: image_generation.completed\ndata: {\"type\":\"image_generation.completed\",\"b64_json\":\"AA\",\"usage\":{\"input_tokens\":5,\"output_tokens\":6,\"total_tokens\":11}}\n\n",
        usage: usage(5, 6), isTerminal: true),
      Golden(
        name: "BOM, bare CR, several data lines, no blank line at the end", endpoint: .chatCompletions,
        contentType: events,
        body: "\u{feff}data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\rdata: \"finish_reason\":\"stop\"}]}\r\r"
          + "data: {\"choices\":[],\ndata: \"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n",
        usage: usage(1, 2), isTerminal: true),
      Golden(
        name: "Ollama lines", endpoint: .other, contentType: "application/x-ndjson",
        body:
          "{\"message\":{\"content\":\"a\"},\"done\":false}\n{\"done\":true,\"prompt_eval_count\":26,\"eval_count\":290}\n",
        usage: usage(26, 290), isTerminal: true),
      Golden(
        name: "no usage at all", endpoint: .chatCompletions, contentType: events, body: "data: {\"choices\":[]}\n\n",
        usage: nil),
      Golden(
        name: "audio", endpoint: .speech, contentType: "audio/mpeg", body: "\u{1}\"usage\":{\"input_tokens\":1}",
        usage: nil),
    ]

  private func run(
    _ golden: Golden, pieces: [ArraySlice<UInt8>], encoding: String? = nil, strip: Bool = false
  ) -> (tap: UsageTap, passed: [UInt8]) {
    var passed: [UInt8] = []
    let tap = UsageTap(
      endpoint: golden.endpoint, isStreaming: true, contentType: golden.contentType, contentEncoding: encoding,
      stripInjectedUsage: strip)
    for piece in pieces { tap.feed(piece) { passed.append(contentsOf: $0) } }
    tap.finish { passed.append(contentsOf: $0) }
    return (tap, passed)
  }

  @Test(arguments: goldens)
  func readsUsageWhereverThePiecesEnd(_ golden: Golden) {
    let body = Array(golden.body.utf8)
    var cuts: [[ArraySlice<UInt8>]] = [[body[...]], body.indices.map { body[$0...$0] }]
    cuts += (0...body.count).map { [body[..<$0], body[$0...]] }
    for pieces in cuts {
      let (tap, passed) = run(golden, pieces: pieces)
      #expect(passed == body)
      #expect(tap.usage == golden.usage)
      #expect(tap.sawTerminalEvent == golden.isTerminal)
      #expect(tap.inStreamError == nil)
    }
  }

  @Test(arguments: goldens)
  func readsCompressedAnswersFromACopy(_ golden: Golden) {
    let body = Array(golden.body.utf8)
    for (encoding, coded) in [("gzip", Coded.gzip(body)), ("deflate", Coded.zlib(body)), ("zstd", Coded.zstd(body))] {
      for pieces in [[coded[...]], coded.indices.map { coded[$0...$0] }] {
        let (tap, passed) = run(golden, pieces: pieces, encoding: encoding, strip: true)
        #expect(passed == coded)
        #expect(tap.usage == golden.usage, "\(encoding)")
      }
    }
    let (tap, passed) = run(golden, pieces: [body[...]], encoding: "br")
    #expect(passed == body && tap.usage == nil && !tap.isCutShort)
  }

  /// Two hundred thousand frames in a few KiB: what they cost to read is bounded by the bytes that came.
  @Test(arguments: ["text/event-stream", "application/x-ndjson"])
  func whatUnfoldsToFramesWithoutEndPassesUnread(_ contentType: String) {
    let isLines = contentType != "text/event-stream"
    let one = isLines ? "{\"a\":1}\n" : "data: {\"a\":1}\n\n"
    let usage = "{\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2}}"
    func golden(_ frames: Int) -> Golden {
      let last = isLines ? usage + "\n" : "data: \(usage)\n\ndata: [DONE]\n\n"
      return Golden(
        name: "frames", endpoint: .chatCompletions, contentType: contentType,
        body: String(repeating: one, count: frames) + last)
    }
    let few = Array(golden(1000).body.utf8)
    #expect(run(golden(1000), pieces: [Coded.gzip(few)[...]], encoding: "gzip").tap.usage?.inputTokens == 9)
    let many = Array(golden(200_000).body.utf8)
    let coded = Coded.gzip(many)
    let pieces = stride(from: 0, to: coded.count, by: 1024).map { coded[$0..<min(coded.count, $0 + 1024)] }
    let (tap, passed) = run(golden(200_000), pieces: pieces, encoding: "gzip")
    #expect(passed == coded)
    #expect(tap.usage == nil && !tap.isCutShort)
    #expect(tap.estimatedOutput > 0 && tap.keptBytes < 1 << 20)
    // It does not matter in how many pieces the bytes come.
    let some = Coded.gzip(Array(golden(1100).body.utf8))
    for size in [1, 3, some.count] {
      let pieces = stride(from: 0, to: some.count, by: size).map { some[$0..<min(some.count, $0 + size)] }
      #expect(run(golden(1100), pieces: pieces, encoding: "gzip").tap.usage == nil)
    }
    let noise = (0..<3000).map { "data: {\"a\":\(($0 &* 2_654_435_761) % 1_000_003)}\n\n" }.joined()
    let mixed = Coded.gzip(
      Array((isLines ? noise.replacing("data: ", with: "").replacing("\n\n", with: "\n") : noise).utf8)
        + Array(golden(0).body.utf8))
    for size in [1, 3, mixed.count] {
      let pieces = stride(from: 0, to: mixed.count, by: size).map { mixed[$0..<min(mixed.count, $0 + size)] }
      #expect(run(golden(0), pieces: pieces, encoding: "gzip").tap.usage?.inputTokens == 9)
    }
    // Without a coding each frame has its own bytes.
    #expect(run(golden(200_000), pieces: [many[...]]).tap.usage?.inputTokens == 9)
  }

  // MARK: The injected frame

  private static let first = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}],\"usage\":null}"
  private static let extra =
    "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2}}"
  private static let done = "data: [DONE]"

  @Test(arguments: ["\n\n", "\r\n\r\n", "\r\r", "\n\r\n"])
  func takesOutTheInjectedFrameWhereverThePiecesEnd(_ blank: String) {
    let body = Array((Self.first + blank + Self.extra + blank + Self.done + blank).utf8)
    let expected = Array((Self.first + blank + Self.done + blank).utf8)
    let golden = Golden(name: "", endpoint: .chatCompletions, contentType: Self.events, body: "")
    var cuts: [[ArraySlice<UInt8>]] = [[body[...]], body.indices.map { body[$0...$0] }]
    for cut in 0...body.count {
      cuts.append([body[..<cut], body[cut...]])
      for second in stride(from: cut, through: body.count, by: 7) {
        cuts.append([body[..<cut], body[cut..<second], body[second...]])
      }
    }
    for pieces in cuts {
      let (tap, passed) = run(golden, pieces: pieces, strip: true)
      #expect(passed == expected, "\(pieces.map(\.count)): \(String(decoding: passed, as: UTF8.self))")
      #expect(tap.usage == Self.usage(9, 2))
      #expect(tap.sawTerminalEvent)
    }
  }

  @Test func framesThatCarryMoreThanUsageStay() {
    let golden = Golden(name: "", endpoint: .chatCompletions, contentType: Self.events, body: "")
    for frame in [
      "data: {\"choices\":[{\"delta\":{}}],\"usage\":{\"prompt_tokens\":9}}\n\n",
      "data: {\"choices\":[],\"prompt_filter_results\":[{}]}\n\n", "data: {\"choices\":[],\"usage\":null}\n\n",
      "data: {\"error\":{\"message\":\"x\"}}\n\n", ": comment\n\n", "\n\n\n", "data: not json\n\n", "event: x\n\n",
      "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":", "data: {\"choi",
    ] {
      let body = Array((Self.first + "\n\n" + frame).utf8)
      for cut in 0...body.count {
        let (_, passed) = run(golden, pieces: [body[..<cut], body[cut...]], strip: true)
        #expect(passed == body, "\(frame)")
      }
    }
  }

  @Test func aFrameThatCannotBeTheInjectedOneIsNotHeld() {
    let tap = UsageTap(
      endpoint: .chatCompletions, isStreaming: true, contentType: Self.events, contentEncoding: nil,
      stripInjectedUsage: true)
    var passed = 0
    let half = Array("data: {\"choices\":[{\"delta\":{\"content\":\"a long".utf8)
    tap.feed(half[...]) { passed += $0.count }
    #expect(passed == half.count)
    let rest = Array(" text\"}}]}\n\n".utf8)
    tap.feed(rest[...]) { passed += $0.count }
    #expect(passed == half.count + rest.count)
    #expect(tap.outputBytes == 11)
    let held = Array("data: {\"choices\":[],\"us".utf8)
    tap.feed(held[...]) { passed += $0.count }
    #expect(passed == half.count + rest.count)
    tap.finish { passed += $0.count }
    #expect(passed == half.count + rest.count + held.count)
  }

  @Test func withoutStrippingNothingIsEverHeld() {
    let tap = UsageTap(
      endpoint: .chatCompletions, isStreaming: true, contentType: Self.events, contentEncoding: nil,
      stripInjectedUsage: false)
    let frame = Array(Self.extra.utf8)
    #expect(frame.count > 50)
    for byte in frame {
      var passed: [UInt8] = []
      tap.feed([byte]) { passed.append(contentsOf: $0) }
      #expect(passed == [byte])
    }
  }

  // MARK: Endings and errors

  private func tap(_ body: String, _ endpoint: WireEndpoint, _ contentType: String = events) -> UsageTap {
    run(Golden(name: "", endpoint: endpoint, contentType: contentType, body: ""), pieces: [Array(body.utf8)[...]]).tap
  }

  @Test func tellsCutStreamsOnlyWhereThatIsCertain() {
    #expect(tap(Self.first + "\n\n", .chatCompletions).isCutShort)
    #expect(!tap(Self.first + "\n\n" + Self.done + "\n\n", .chatCompletions).isCutShort)
    #expect(!tap("data: {\"choices\":[{\"finish_reason\":\"length\"}]}\n\n", .chatCompletions).isCutShort)
    #expect(!tap("data: {\"error\":{\"message\":\"x\"}}\n\n", .chatCompletions).isCutShort)
    #expect(!tap("", .chatCompletions).isCutShort)
    #expect(!tap(": wait\n\n", .chatCompletions).isCutShort)
    #expect(!tap(Self.first + "\n\n", .other).isCutShort)
    #expect(tap("event: message_start\ndata: {\"type\":\"message_start\",\"message\":{}}\n\n", .messages).isCutShort)
    #expect(!tap(#"{"choices":[]}"#, .chatCompletions, Self.json).isCutShort)
  }

  @Test(
    arguments: [
      (
        "data: {\"error\":{\"message\":\"boom\",\"type\":\"server_error\",\"code\":null}}\n\ndata: [DONE]\n\n",
        "server_error", nil, "boom"
      ),
      (
        "data: {\"error\":{\"code\":429,\"message\":\"slow\"},\"choices\":[{\"finish_reason\":\"error\"}]}\n\n", nil,
        "429", "slow"
      ),
      (
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n",
        "overloaded_error", nil, "Overloaded"
      ),
      ("event: error\ndata: {\"type\":\"error\",\"code\":\"c\",\"message\":\"m\",\"param\":null}\n\n", nil, "c", "m"),
      (
        "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"rate_limit_exceeded\",\"message\":\"m\"}}}\n\n",
        nil, "rate_limit_exceeded", "m"
      ),
      ("data: {\"x_groq\":{\"error\":\"over capacity\"}}\n\n", nil, nil, "over capacity"),
      ("data: {\"error\":{\"code\":503,\"message\":\"m\",\"status\":\"UNAVAILABLE\"}}\n\n", "UNAVAILABLE", "503", "m"),
      ("data: {\"choices\":[{\"error\":{\"code\":502,\"message\":\"m\"}}]}\n\n", nil, "502", "m"),
      ("data: {\"error\":\"plain\"}\n\n", nil, nil, "plain"),
    ] as [(String, String?, String?, String?)])
  func readsErrorsInsideStreams(_ body: String, _ type: String?, _ code: String?, _ message: String?) {
    #expect(tap(body, .chatCompletions).inStreamError == InStreamError(type: type, code: code, message: message))
  }

  @Test func readsErrorsUnderStatus200() {
    #expect(tap(#"{"error":{"message":"x","code":402}}"#, .chatCompletions, Self.json).inStreamError?.code == "402")
    #expect(
      tap(#"{"error":null,"usage":{"input_tokens":1,"output_tokens":1}}"#, .responses, Self.json).inStreamError == nil)
  }

  @Test func readsTierModelCostAndExtras() {
    let messages = tap(Self.goldens.first { $0.name == "messages" }?.body ?? "", .messages, Self.json)
    #expect(messages.serviceTier == "standard")
    #expect(messages.model == "claude")
    #expect(messages.extras.cacheWriteHourTokens == 500)
    #expect(messages.extras.webSearches == 1)
    #expect(messages.extras.region == "global")
    let routed = tap(
      #"{"model":"a/b","service_tier":"flex","usage":{"prompt_tokens":1,"completion_tokens":1,"cost":0.0001234}}"#,
      .chatCompletions, Self.json)
    #expect(routed.cost == Money(nanodollars: 123_400))
    #expect(routed.serviceTier == "flex")
    #expect(
      tap(#"{"usage":{"prompt_tokens":1,"cost_in_usd_ticks":25000000}}"#, .chatCompletions, Self.json).cost
        == Money(nanodollars: 2_500_000))
    let images = tap(Self.goldens.first { $0.name == "images" }?.body ?? "", .images, Self.json)
    #expect(images.extras.imageInputTokens == 40)
    let speech = tap(Self.goldens.first { $0.name == "transcription by tokens" }?.body ?? "", .transcription, Self.json)
    #expect(speech.extras.audioInputTokens == 14)
    let seconds = tap(#"{"text":"x","usage":{"type":"duration","seconds":12.5}}"#, .transcription, Self.json)
    #expect(seconds.extras.audioMilliseconds == 12_500)
  }

  @Test func countsTextAsItComes() {
    #expect(tap(Self.first + "\n\n", .chatCompletions).outputBytes == 2)
    #expect(tap(Self.first + "\n\n", .chatCompletions).estimatedOutput == 1)
    let tool =
      "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"call_1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\"\"}}]}}]}\n\n"
    #expect(tap(tool, .chatCompletions).outputBytes == 5)
    #expect(
      tap(
        "data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{12}\"}}\n\n",
        .messages
      ).outputBytes == 4)
    // A whole body without usage is counted at its end.
    #expect(
      tap(#"{"choices":[{"message":{"role":"assistant","content":"12345678"}}]}"#, .chatCompletions, Self.json)
        .estimatedOutput == 2)
    #expect(
      tap(
        #"{"output":[{"type":"message","content":[{"type":"output_text","text":"12345678"}]}]}"#, .responses, Self.json
      ).estimatedOutput == 2)
    #expect(tap(#"{"content":[{"type":"text","text":"12345678"}]}"#, .messages, Self.json).estimatedOutput == 2)
  }

  @Test func readsUsageAtTheEndOfBodiesThatAreTooLargeToKeep() {
    for size in [UsageTap.wholeLimit - 200, UsageTap.wholeLimit, UsageTap.wholeLimit * 3] {
      let body = Array(
        (#"{"data":[{"embedding":""# + String(repeating: "A", count: size)
          + #""}],"usage":{"prompt_tokens":8,"total_tokens":8}}"#).utf8)
      let tap = UsageTap(
        endpoint: .embeddings, isStreaming: false, contentType: Self.json, contentEncoding: nil,
        stripInjectedUsage: false)
      var at = 0
      while at < body.count {
        let end = min(at + 16_384, body.count)
        tap.feed(body[at..<end]) { _ in }
        at = end
      }
      tap.finish { _ in }
      #expect(tap.usage == Self.usage(8, 0))
    }
  }

  @Test func halfANumberIsNoUsage() {
    #expect(tap(#"{"usage":{"prompt_tokens":12"#, .chatCompletions, Self.json).usage == nil)
    #expect(tap("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":12", .chatCompletions).usage == nil)
    let earlier = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":1}}\n\n"
    #expect(tap(earlier + "data: {\"usage\":{\"completion_tokens\":4", .chatCompletions).usage == Self.usage(7, 1))
  }

  @Test func aFrameAboveTheLimitPassesUnread() {
    for strip in [false, true] {
      let tap = UsageTap(
        endpoint: .chatCompletions, isStreaming: true, contentType: Self.events, contentEncoding: nil,
        stripInjectedUsage: strip)
      var passed = 0
      var fed = 0
      func feed(_ bytes: [UInt8]) {
        fed += bytes.count
        tap.feed(bytes[...]) { passed += $0.count }
      }
      feed(Array("data: {\"x\":\"".utf8))
      let piece = [UInt8](repeating: UInt8(ascii: "a"), count: 1 << 20)
      for _ in 0..<2 { feed(piece) }
      feed(Array("\"}\n\n".utf8))
      #expect(passed == fed)
      feed(Array((Self.first + "\n\n" + Self.done + "\n\n").utf8))
      tap.finish { passed += $0.count }
      #expect(passed == fed)
      #expect(tap.sawTerminalEvent)
    }
  }

  @Test(arguments: ["\n\n", "\r\n\r\n", "\r\r"])
  func readsTypeAndUsageOfAFrameThatIsTooLargeToKeep(_ blank: String) {
    let large = String(repeating: "A", count: UsageTap.frameLimit + 200_000)
    let frame =
      #"data: {"type":"response.completed","response":{"output":[{"result":""# + large
      + #""}],"usage":{"input_tokens":7,"output_tokens":9},"user":null}}"# + blank
    let next = "data: {\"type\":\"other\"}" + blank
    for step in [997, 16_384, 2 << 20] {
      let body = Array((frame + next).utf8)
      let tap = UsageTap(
        endpoint: .responses, isStreaming: true, contentType: Self.events, contentEncoding: nil,
        stripInjectedUsage: false)
      var passed = 0
      var most = 0
      var at = 0
      while at < body.count {
        let end = min(at + step, body.count)
        tap.feed(body[at..<end]) { passed += $0.count }
        most = max(most, tap.keptBytes)
        at = end
      }
      tap.finish { passed += $0.count }
      #expect(passed == body.count)
      #expect(tap.usage == Self.usage(7, 9), "\(step)")
      #expect(tap.sawEndMark)
      #expect(most <= UsageTap.frameLimit + step && tap.keptBytes == 0)
    }
  }

  @Test func readsALastFrameThatIsTooLargeToKeepIfItIsWhole() {
    let large = String(repeating: "A", count: UsageTap.frameLimit + 200_000)
    let frame =
      #"data: {"type":"response.completed","response":{"output":[{"result":""# + large
      + #""}],"usage":{"input_tokens":7,"output_tokens":98}}}"#
    for cut in [0, 1, 2, 3, 4] {
      let body = Array(frame.utf8.dropLast(cut))
      let tap = UsageTap(
        endpoint: .responses, isStreaming: true, contentType: Self.events, contentEncoding: nil,
        stripInjectedUsage: false)
      tap.feed(body[..<(UsageTap.frameLimit + 50_000)]) { _ in }
      tap.feed(body[(UsageTap.frameLimit + 50_000)...]) { _ in }
      tap.finish { _ in }
      // The last brace closes what is around the usage's own object; without more of them half a number may be left.
      #expect(tap.usage == (cut <= 1 ? Self.usage(7, 98) : nil), "\(cut)")
      #expect(tap.keptBytes == 0)
    }
  }

  @Test func keepsTheLeastWhereMemoryIsShort() {
    for (type, start) in [(Self.events, "data: "), (Self.json, "{\"x\":\""), ("application/x-ndjson", "{\"x\":\"")] {
      let tap = UsageTap(
        endpoint: .chatCompletions, isStreaming: true, contentType: type, contentEncoding: nil,
        stripInjectedUsage: false)
      tap.feed(Array(start.utf8)[...]) { _ in }
      for _ in 0..<100 {
        tap.feed([UInt8](repeating: UInt8(ascii: "a"), count: 60_000)[...]) { _ in }
        if tap.keptBytes > UsageTap.leastKept { tap.shrink() }
        #expect(tap.keptBytes <= UsageTap.leastKept + 1024)
      }
    }
  }

  @Test func survivesMutatedAnswersAndPassesThemUnchanged() {
    var random = SeededRandom(seed: 5)
    let scratch = WireScratch()
    for round in 0..<6000 {
      let golden = Self.goldens[random.next(below: Self.goldens.count)]
      var body = Array(golden.body.utf8)
      for _ in 0..<random.next(below: 5) {
        switch random.next(below: 3) {
        case 0: body[random.next(below: body.count)] = UInt8(truncatingIfNeeded: random.next())
        case 1: if body.count > 1 { body.remove(at: random.next(below: body.count)) }
        default: body.insert(Array("{}[]\",:\n\r0".utf8)[random.next(below: 10)], at: random.next(below: body.count))
        }
      }
      let strips = round % 2 == 0
      let tap = UsageTap(
        endpoint: golden.endpoint, isStreaming: true, contentType: golden.contentType,
        contentEncoding: round % 7 == 0 ? "gzip" : nil, stripInjectedUsage: strips, scratch: scratch)
      var passed: [UInt8] = []
      var at = 0
      while at < body.count {
        let end = min(at + 1 + random.next(below: 60), body.count)
        tap.feed(body[at..<end]) { passed.append(contentsOf: $0) }
        at = end
      }
      tap.finish { passed.append(contentsOf: $0) }
      if strips {
        #expect(passed.count <= body.count)
      } else {
        #expect(passed == body)
      }
    }
  }
}
