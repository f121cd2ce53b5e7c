// What an answer says of itself that is not so, or not where it is looked for: zeros beside text, usage in front of a large body, errors
// without an `error`, pages in the place of answers.
import AdmissionCore
import Testing

@testable import ProviderWire

@Suite struct AnswerTruthTests {
  private static let events = "text/event-stream"
  private static let json = "application/json"

  private func tap(
    _ body: String, _ endpoint: WireEndpoint = .chatCompletions, _ contentType: String? = json, strips: Bool = false,
    pieces: Int = .max
  ) -> UsageTap {
    let tap = UsageTap(
      endpoint: endpoint, isStreaming: contentType == Self.events, contentType: contentType, contentEncoding: nil,
      stripInjectedUsage: strips)
    var rest = Array(body.utf8)[...]
    while !rest.isEmpty {
      tap.feed(rest.prefix(pieces)) { _ in }
      rest = rest.dropFirst(pieces)
    }
    tap.finish { _ in }
    return tap
  }

  private func charge(_ body: String, _ endpoint: WireEndpoint = .chatCompletions, _ contentType: String = json)
    -> Usage?
  {
    tap(body, endpoint, contentType).charge(isWhole: true, estimatedInput: 77)
  }

  private static func estimate(_ input: TokenCount, _ output: TokenCount) -> Usage {
    Usage(inputTokens: input, outputTokens: output, isEstimated: true)
  }

  // MARK: Zeros

  private static let text = String(repeating: "word", count: 10)

  @Test(arguments: [
    (
      WireEndpoint.chatCompletions,
      #"{"choices":[{"message":{"content":"\#(text)"}}],"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}}"#,
      estimate(77, 10)
    ),
    (
      .chatCompletions,
      #"{"choices":[{"message":{"content":"\#(text)"}}],"usage":{"prompt_tokens":9,"completion_tokens":0}}"#,
      estimate(9, 10)
    ),
    (
      .chatCompletions,
      #"{"choices":[{"message":{"content":null,"tool_calls":[{"function":{"name":"f","arguments":"\#(text)"}}]}}],"usage":{"prompt_tokens":9,"completion_tokens":0}}"#,
      estimate(9, 11)
    ),
    (
      .messages,
      #"{"content":[{"type":"text","text":"\#(text)"}],"usage":{"input_tokens":0,"output_tokens":0}}"#, estimate(77, 10)
    ),
    (
      .responses,
      #"{"output":[{"type":"message","content":[{"type":"output_text","text":"\#(text)"}]}],"usage":{"input_tokens":0,"output_tokens":0}}"#,
      estimate(77, 10)
    ),
    (
      .geminiGenerate,
      #"{"candidates":[{"content":{"parts":[{"text":"\#(text)"}]}}],"usageMetadata":{"promptTokenCount":5}}"#,
      estimate(5, 10)
    ),
    (.chatCompletions, #"{"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":10}}"#, estimate(77, 10)),
  ])
  func zerosBesideTextAreNoCount(_ endpoint: WireEndpoint, _ body: String, _ usage: Usage) {
    #expect(charge(body, endpoint) == usage)
  }

  @Test func zerosInAStreamAreNoCount() {
    let frames = (0..<3).map { _ in
      "data: {\"choices\":[{\"delta\":{\"content\":\"\(Self.text)\"}}],\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":0}}\n\n"
    }
    let body = frames.joined() + "data: [DONE]\n\n"
    #expect(charge(body, .chatCompletions, Self.events) == Self.estimate(77, 30))
    #expect(
      tap(body, .chatCompletions, Self.events).charge(isWhole: false, estimatedInput: 77) == Self.estimate(77, 30))
  }

  @Test(arguments: [
    (WireEndpoint.chatCompletions, #"{"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0}}"#),
    (.chatCompletions, #"{"choices":[{"message":{"content":""}}],"usage":{"prompt_tokens":0,"completion_tokens":0}}"#),
    (
      .chatCompletions,
      #"{"choices":[{"message":{"content":"from a cache"}}],"usage":{"prompt_tokens":0,"completion_tokens":0,"cost":0}}"#
    ),
    (.embeddings, #"{"data":[],"usage":{"prompt_tokens":0,"completion_tokens":0}}"#),
    (.moderations, #"{"results":[],"text":"flagged","usage":{"prompt_tokens":0}}"#),
    (.transcription, #"{"text":"said in two seconds","usage":{"type":"duration","seconds":2}}"#),
  ])
  func otherZerosAreTrue(_ endpoint: WireEndpoint, _ body: String) {
    #expect(charge(body, endpoint) == Usage())
  }

  @Test func whatHasNoOutputOfItsOwnKeepsItsCounts() {
    #expect(
      charge(#"{"choices":[{"message":{"content":""}}],"usage":{"prompt_tokens":9,"completion_tokens":0}}"#)
        == Usage(inputTokens: 9))
    #expect(charge(#"{"data":[],"usage":{"prompt_tokens":8}}"#, .embeddings) == Usage(inputTokens: 8))
    #expect(charge(#"{"choices":[]}"#) == nil)
  }

  @Test(arguments: [#"{"completion":"four"}"#, #"{"response":"four"}"#]) func olderNamesOfTextCount(_ body: String) {
    #expect(tap(body, .other).outputBytes == 4)
    #expect(tap("data: \(body)\n\n", .other, Self.events).outputBytes == 4)
  }

  // MARK: Usage in front of a large body

  /// More than a body's kept part.
  private static let vectors = (0..<70_000).map { _ in #"{"embedding":[-0.01]}"# }.joined(separator: ",")

  @Test(arguments: [4096, 1 << 20, .max]) func usageInFrontOfALargeBodyIsRead(_ pieces: Int) {
    let body = #"{"model":"j","usage":{"total_tokens":9000,"prompt_tokens":9000},"data":[\#(Self.vectors)]}"#
    #expect(body.utf8.count > UsageTap.wholeLimit)
    let tap = tap(body, .embeddings, pieces: pieces)
    #expect(tap.charge(isWhole: true, estimatedInput: 7) == Usage(inputTokens: 9000))
    #expect(tap.model == "j")
  }

  @Test func usageAtTheEndOfALargeBodyWins() {
    let body =
      #"{"usage":{"prompt_tokens":1},"data":[\#(Self.vectors)],"usage":{"prompt_tokens":9000,"completion_tokens":0}}"#
    #expect(tap(body, .embeddings).usage == Usage(inputTokens: 9000))
  }

  @Test func usageThatIsCutWhereReadingEndsDoesNotCount() {
    let start = #"{"pad":""#
    let mark = #"","usage":{"prompt_tokens":12"#
    let pad = String(repeating: "x", count: UsageTap.tailLimit - start.utf8.count - mark.utf8.count)
    #expect(tap(start + pad + mark + #"345},"data":[\#(Self.vectors)]}"#, .embeddings).usage == nil)
    // A byte earlier the object is seen whole with its end.
    let whole = start + pad.dropLast(4) + mark + #"345},"data":[\#(Self.vectors)]}"#
    #expect(tap(whole, .embeddings).usage == Usage(inputTokens: 12_345))
  }

  @Test func usageInFrontIsKeptWhereMemoryIsShort() {
    let tap = UsageTap(
      endpoint: .embeddings, isStreaming: false, contentType: Self.json, contentEncoding: nil, stripInjectedUsage: false
    )
    let start = #"{"usage":{"prompt_tokens":5},"data":["# + Self.vectors.prefix(UsageTap.leastKept)
    tap.feed(Array(start.utf8)[...]) { _ in }
    tap.shrink()
    #expect(tap.keptBytes <= UsageTap.leastKept)
    tap.finish { _ in }
    #expect(tap.usage == Usage(inputTokens: 5))
  }

  @Test func textOfALargeBodyWithoutUsageIsEstimatedByItsBytes() throws {
    let text = String(repeating: "word ", count: 300_000)
    let body = #"{"choices":[{"message":{"content":"\#(text)"}}]}"#
    #expect(tap(body).estimatedOutput == TokenCount(Int64((body.utf8.count + 3) / 4)))
    let said = #"{"usage":{"prompt_tokens":3,"completion_tokens":4},"choices":[{"message":{"content":"\#(text)"}}]}"#
    #expect(charge(said) == Usage(inputTokens: 3, outputTokens: 4))
  }

  @Test func usageInFrontOfALargeFrameIsRead() {
    let frame =
      "data: {\"type\":\"image_edit.completed\",\"usage\":{\"input_tokens\":3,\"output_tokens\":4},\"b64_json\":\""
      + String(repeating: "A", count: UsageTap.frameLimit) + "\"}\n\n"
    let tap = tap(frame, .images, Self.events, pieces: 100_000)
    #expect(tap.usage == Usage(inputTokens: 3, outputTokens: 4))
    #expect(tap.sawEndMark)
  }

  // MARK: Errors

  @Test(arguments: [
    (
      #"data: {"object":"error","message":"Internal","type":"InternalServerError","code":500}"#,
      InStreamError(type: "InternalServerError", code: "500", message: "Internal")
    ),
    (
      #"data: {"message":"no","object":"error","code":401}"#, InStreamError(code: "401", message: "no")
    ),
    ("event: error\ndata: {\"message\":\"boom\",\"code\":500}", InStreamError(code: "500", message: "boom")),
    ("event:error\r\ndata: {\"message\":\"boom\"}", InStreamError(message: "boom")),
    ("data: {\"message\":\"boom\"}\nevent: error", InStreamError(message: "boom")),
    ("event: error\ndata: boom", InStreamError(message: "boom")),
    ("event: error\ndata: {}", InStreamError()),
    (#"data: {"error":true}"#, InStreamError()),
    (#"data: {"error":{"details":[{"reason":"x"}]}}"#, InStreamError()),
  ])
  func errorsWithoutAnErrorAreRead(_ frame: String, _ error: InStreamError) {
    for end in ["\n\n", "", "\n\ndata: [DONE]\n\n"] {
      for strips in [false, true] {
        #expect(tap(frame + end, .chatCompletions, Self.events, strips: strips, pieces: 7).inStreamError == error)
      }
    }
  }

  @Test func aFlatErrorInAWholeBodyIsRead() {
    #expect(
      tap(#"{"object":"error","message":"no key","type":"x","code":401}"#).inStreamError
        == InStreamError(type: "x", code: "401", message: "no key"))
  }

  @Test(arguments: [
    #""error":"""#, #""error":{}"#, #""error":null"#, #""error":false"#, #""error":[]"#,
    #""error":{"code":0,"message":""}"#, #""error":{},"message":"ok""#, #""error":{"code":null,"message":null}"#,
    #""message":"ok""#,
    #""object":"chat.completion","message":"ok""#,
  ])
  func anErrorThatSaysNothingIsNone(_ member: String) {
    let body = "{\(member),\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}"
    #expect(tap(body).inStreamError == nil)
    #expect(tap("data: \(body)\n\n", .chatCompletions, Self.events).inStreamError == nil)
    #expect(tap("event: errors\ndata: \(body)\n\n", .chatCompletions, Self.events).inStreamError == nil)
  }

  @Test func theNameOfAnEventIsForgottenWithIt() {
    let body = "event: error\n\ndata: {\"choices\":[]}\n\n"
    #expect(tap(body, .chatCompletions, Self.events).inStreamError == nil)
  }

  @Test(arguments: [#"data: {"message":"key is sk-"#, #"data: {"message": "key is sk-"#, "event: error\ndata: x"])
  func aFrameThatMayBecomeAFlatErrorIsSuspect(_ start: String) {
    let tap = UsageTap(
      endpoint: .chatCompletions, isStreaming: true, contentType: Self.events, contentEncoding: nil,
      stripInjectedUsage: false)
    tap.feed(Array(start.utf8)[...]) { _ in }
    #expect(tap.mayBeInError)
  }

  @Test func otherFramesAreNotSuspect() {
    let tap = UsageTap(
      endpoint: .messages, isStreaming: true, contentType: Self.events, contentEncoding: nil, stripInjectedUsage: false)
    tap.feed(Array(#"data: {"type":"message_start","message": {"id":"m""#.utf8)[...]) { _ in }
    #expect(!tap.mayBeInError)
  }

  // MARK: No answer

  @Test(
    arguments: [
      ("", json), ("\n \n", json), ("<html>sign in</html>", json), ("\n<!doctype html>", json), ("", events),
      (": wait\n\n", events), ("<html>\n\n<p>sign in</p></html>", events),
    ] as [(String, String)])
  func whatIsNoAnswerIsTold(_ body: String, _ contentType: String) {
    let tap = tap(body, .chatCompletions, contentType)
    #expect(tap.broughtNothing)
    #expect(tap.isPage == body.contains("<"))
  }

  @Test(
    arguments: [
      (#"{"choices":[]}"#, json), (#""<html>""#, json), ("data: <b>\n\n", events), ("x", "text/html"),
      ("event: error\ndata: x\n\n", events), ("<speak>", "audio/mpeg"),
    ] as [(String, String)])
  func whatIsAnAnswerIsToldToo(_ body: String, _ contentType: String) {
    let tap = tap(body, .chatCompletions, contentType)
    #expect(!tap.broughtNothing && !tap.isPage)
  }
}
