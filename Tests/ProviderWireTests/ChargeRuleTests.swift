// What each call is charged for by its method and path, and what answers say of work that goes on after them.
import AdmissionCore
import Testing

@testable import ProviderWire

@Suite struct ChargeRuleTests {
  private func rule(_ method: String, _ path: String, hasBody: Bool? = nil) -> ChargeRule {
    let facts = PathFacts.read(path: path[...], anyPath: true) ?? PathFacts(dialect: .openai, endpoint: .other)
    return ChargeRule(
      method: method, path: path[...], facts: facts.facts(for: method),
      hasBody: hasBody ?? (method != "GET" && !facts.cancels && method != "HEAD" && method != "DELETE"))
  }

  @Test(arguments: [
    ("POST", "/v1/chat/completions"), ("POST", "/v1/responses"), ("POST", "/v1/responses/compact"),
    ("POST", "/v1/messages"), ("POST", "/v1beta/models/g:generateContent"), ("POST", "/v1/embeddings"),
    ("POST", "/v1/complete"), ("POST", "/v1/agents/items"), ("POST", "/v1/projects/p/complete"), ("POST", "/parts"),
    ("POST", "/v1/anything"), ("PUT", "/v1/images/generations"), ("OPTIONS", "/v1/chat/completions"),
    ("BREW", "/v1/chat/completions"), ("get", "/v1/responses/r"),
  ])
  func whatGeneratesIsChargedAsItIsAnswered(_ method: String, _ path: String) {
    #expect(rule(method, path) == .asAnswered)
  }

  @Test(arguments: [
    "/v1/files", "/v1/uploads", "/v1/uploads/u/parts", "/v1/uploads/u/complete", "/v1/vector_stores",
    "/v1/conversations", "/v1/conversations/c/items", "/v1/vector_stores/v/file_batches", "/v1/vector_stores/v/files",
  ])
  func whatIsMadeWithoutAModelIsNotEstimated(_ path: String) {
    #expect(rule("POST", path) == .onlyAsAnswered)
    #expect(!rule("POST", path).isEstimated && !rule("POST", path).isFree)
  }

  @Test(arguments: [
    "/v1/batches", "/v1/batches/", "/v1/messages/batches", "/openai/v1/batches", "/api/v1/batches",
    "/v1beta/models/gemini-a:batchGenerateContent", "/\(String(repeating: "x/", count: 200))batches",
  ])
  func whatBeginsABatchIsKnownHoweverLongItsPath(_ path: String) {
    #expect(rule("POST", path) == .batch)
    #expect(!rule("POST", path).isEstimated && !rule("POST", path).isFree)
  }

  @Test func aBodyMakesACallThatOnlyReadsOneOfWhichNobodyKnows() {
    for (method, path) in [
      ("GET", "/v1/models"), ("GET", "/v1/files"), ("DELETE", "/v1/responses/r"), ("HEAD", "/v1/responses/r"),
      ("POST", "/v1/batches/b/cancel"), ("POST", "/v1beta/batches/b:cancel"),
    ] {
      #expect(rule(method, path, hasBody: false) == .nothing, "\(method) \(path)")
      #expect(rule(method, path, hasBody: true) == .asAnswered, "\(method) \(path)")
    }
  }

  @Test(arguments: [
    ("GET", "/v1/models"), ("GET", "/v1/models/m"), ("GET", "/v1/responses/r/input_items"), ("GET", "/v1/files"),
    ("GET", "/v1/chat/completions"), ("GET", "/v1/messages/batches"), ("HEAD", "/v1/responses/r"),
    ("DELETE", "/v1/responses/r"), ("POST", "/v1/messages/count_tokens"),
    ("POST", "/v1/responses/input_tokens"), ("POST", "/v1/messages/batches/b/cancel"), ("POST", "/v1/batches/b/cancel"),
    ("POST", "/v1/moderations"), ("POST", "/v1beta/batches/b:cancel"), ("POST", "/api/v1/batches/b/cancel"),
  ])
  func whatOnlyReadsIsFree(_ method: String, _ path: String) { #expect(rule(method, path) == .nothing) }

  @Test func whatWasBegunEarlierIsKnownByItsID() {
    #expect(rule("GET", "/v1/responses/resp_1") == .later(LaterWork(.response, "resp_1")))
    #expect(rule("GET", "/openai/v1/responses/resp_1") == .later(LaterWork(.response, "resp_1")))
    #expect(rule("POST", "/v1/responses/resp_1/cancel") == .later(LaterWork(.response, "resp_1")))
    #expect(rule("GET", "/v1/messages/batches/b_1/results") == .later(LaterWork(.batchResults, "b_1")))
    #expect(rule("GET", "/v1/batches/batch_1") == .later(LaterWork(.batch, "batch_1")))
    #expect(rule("GET", "/v1/files/file-1/content") == .later(LaterWork(.file, "file-1")))
    #expect(rule("GET", "/v1beta/batches/b-1") == .later(LaterWork(.batch, "b-1")))
    #expect(rule("GET", "/v1beta/files/f-1:download") == .later(LaterWork(.file, "f-1")))
    #expect(rule("POST", "/v1/responses/resp_1/cancel", hasBody: true) == .later(LaterWork(.response, "resp_1")))
    #expect(rule("GET", "/v1/responses/\(String(repeating: "x", count: 128))").isFree)
    #expect(rule("GET", "/v1/responses/\(String(repeating: "x", count: 129))") == .nothing)
    #expect(LaterWork(.file, "f").isLines && LaterWork(.batchResults, "b").isLines)
    #expect(!LaterWork(.batch, "b").isLines && !LaterWork(.response, "r").isLines)
  }

  // MARK: Lines of results

  static let lines = [
    #"{"custom_id":"a","result":{"type":"succeeded","message":{"id":"msg","model":"claude-a","content":[{"type":"text","text":"x","usage":{"input_tokens":99}}],"usage":{"input_tokens":10,"cache_read_input_tokens":5,"output_tokens":20,"service_tier":"batch"}}}}"#,
    #"{"custom_id":"b","result":{"type":"errored","error":{"type":"error","error":{"type":"invalid_request_error"}}}}"#,
    #"{"id":"batch_req","custom_id":"c","response":{"status_code":200,"body":{"model":"gpt-a","usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}},"error":null}"#,
    #"{"key":"d","response":{"candidates":[],"usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":2,"totalTokenCount":6},"modelVersion":"gemini-a"}}"#,
    "no json",
    #"{"custom_id":"e","response":{"body":{"model":"gpt-a","usage":{"prompt_tokens":1,"#,
  ]

  private func read(_ body: [UInt8], piece: Int, contentType: String?) -> (lines: [LineUsage], tap: UsageTap) {
    let tap = UsageTap(
      endpoint: .other, isStreaming: false, contentType: contentType, contentEncoding: nil, stripInjectedUsage: false,
      collectsLines: true)
    var lines: [LineUsage] = []
    for start in stride(from: 0, to: body.count, by: piece) {
      tap.feed(body[start..<min(start + piece, body.count)]) { _ in }
      lines += tap.takeLines()
    }
    tap.finish { _ in }
    return (lines + tap.takeLines(), tap)
  }

  @Test(arguments: ["application/x-jsonl", "application/octet-stream", "application/json", nil])
  func eachLineOfResultsIsACall(_ contentType: String?) {
    let body = Array(Self.lines.joined(separator: "\n").utf8)
    for piece in [body.count, 1, 7, 100] {
      let (lines, tap) = read(body, piece: piece, contentType: contentType)
      #expect(lines.map(\.model) == ["claude-a", "gpt-a", "gemini-a"])
      #expect(lines.map(\.usage.inputTokens) == [15, 7, 4])
      #expect(lines.map(\.usage.cacheReadTokens) == [5, 0, 0])
      #expect(lines.map(\.usage.outputTokens) == [20, 3, 2])
      #expect(lines.first?.serviceTier == "batch")
      #expect(tap.usage == nil)
    }
  }

  @Test func aLineWithoutAnEndIsNotKept() {
    var body = [UInt8](repeating: UInt8(ascii: "x"), count: UsageTap.frameLimit + 10)
    body += Array("\n\(Self.lines[0])\n".utf8)
    #expect(read(body, piece: 1 << 20, contentType: nil).lines.count == 1)
  }

  // MARK: Work that goes on

  private func work(_ body: String, stream: Bool = false) -> WorkReading? {
    let tap = UsageTap(
      endpoint: .responses, isStreaming: stream, contentType: stream ? "text/event-stream" : "application/json",
      contentEncoding: nil, stripInjectedUsage: false, watchesWork: true)
    tap.feed(Array(body.utf8)[...]) { _ in }
    tap.finish { _ in }
    return tap.work
  }

  @Test func anAnswerSaysWhatItBegins() {
    let queued = work(
      #"{"id":"resp_1","object":"response","status":"queued","output":[{"id":"no","status":"completed"}],"usage":null}"#
    )
    #expect(queued?.id == "resp_1" && queued?.isUnderWay == true)
    let done = work(#"{"id":"resp_1","status":"completed","usage":{"input_tokens":1}}"#)
    #expect(done?.isUnderWay == false)
    let batch = work(#"{"id":"msgbatch_1","type":"message_batch","processing_status":"in_progress"}"#)
    #expect(batch?.id == "msgbatch_1" && batch?.isUnderWay == true)
    let file = work(#"{"id":"batch_1","status":"completed","output_file_id":"file-2","error_file_id":null}"#)
    #expect(file?.outputFile == "file-2")
    let streamed = work(
      "data: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_2\",\"status\":\"queued\"}}\n\n"
        + "data: {\"type\":\"response.output_item.done\",\"item\":{\"id\":\"msg_1\",\"status\":\"completed\"}}\n\n"
        + "data: {\"type\":\"response.in_progress\",\"response\":{\"id\":\"resp_2\",\"status\":\"in_progress\"}}\n\n",
      stream: true)
    #expect(streamed?.id == "resp_2" && streamed?.isUnderWay == true)
    let begun = work(
      #"{"name":"batches/b-1","metadata":{"@type":"x","model":"models/gemini-a","name":"batches/b-1","state":"BATCH_STATE_PENDING"}}"#
    )
    #expect(begun?.id == "b-1" && begun?.results.isEmpty == true)
    let inFile = work(#"{"name":"batches/b-1","done":true,"response":{"responsesFile":"files/f-1"}}"#)
    #expect(inFile?.outputFile == "f-1")
    for broken in ["", "[]", "7", "{", #"{"id":7,"status":null}"#] { #expect(work(broken)?.id == nil) }
  }

  /// As Google gives a small batch that is done: its results in `response`, and mostly in `metadata.output` too.
  static let inlined = #"""
    {"inlinedResponses":{"inlinedResponses":[
      {"response":{"candidates":[{"content":{"parts":[{"text":"{"usageMetadata":{"promptTokenCount":9}}"}]}}],
        "usageMetadata":{"promptTokenCount":100,"candidatesTokenCount":40,"thoughtsTokenCount":10,"totalTokenCount":150},
        "modelVersion":"gemini-a"},"metadata":{"key":"a"}},
      {"error":{"code":3,"message":"no"},"metadata":{"key":"b"}},
      {"response":{"candidates":[],"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":40,"totalTokenCount":50},
        "modelVersion":"gemini-a"}}]}}
    """#

  @Test(arguments: [
    #"{"name":"batches/b-1","metadata":{"state":"BATCH_STATE_SUCCEEDED","output":\#(inlined)},"done":true,"response":\#(inlined)}"#,
    #"{"name":"batches/b-1","metadata":{"state":"BATCH_STATE_SUCCEEDED","output":\#(inlined)},"done":true}"#,
    #"{"name":"batches/b-1","done":true,"response":\#(inlined)}"#,
  ])
  func aBatchThatHoldsItsResultsTellsEachOnce(_ body: String) {
    let read = work(body)
    #expect(read?.id == "b-1" && read?.isUnderWay == false)
    #expect(read?.results.map(\.model) == ["gemini-a", "gemini-a"])
    #expect(read?.results.map(\.usage.inputTokens) == [100, 10])
    #expect(read?.results.map(\.usage.outputTokens) == [50, 40])
  }

  @Test func aBatchOfAMegabyteAndMoreIsReadToo() {
    let filler = String(repeating: "x", count: UsageTap.wholeLimit)
    let body =
      #"{"name":"batches/b-1","response":{"inlinedResponses":{"inlinedResponses":[{"response":{"text":"\#(filler)","usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":4}}}]}}}"#
    #expect(work(body)?.results.map(\.usage) == [Usage(inputTokens: 3, outputTokens: 4)])
  }

  // MARK: What cannot be read

  @Test func bytesInACodingThatIsNotReadCountAsOutput() {
    func tap(_ coding: String, _ type: String) -> UsageTap {
      let tap = UsageTap(
        endpoint: .chatCompletions, isStreaming: false, contentType: type, contentEncoding: coding,
        stripInjectedUsage: false)
      tap.feed([UInt8](repeating: 0x8B, count: 4001)[...]) { _ in }
      tap.finish { _ in }
      return tap
    }
    #expect(tap("br", "application/json").usage == nil)
    #expect(tap("br", "application/json").estimatedOutput == 1001)
    #expect(tap("gzip, br", "text/event-stream").estimatedOutput == 1001)
    // Speech is no text, in whatever coding.
    #expect(tap("br", "audio/mpeg").estimatedOutput == 0)
    #expect(tap("identity", "audio/mpeg").estimatedOutput == 0)
  }
}
