// OpenAI's shapes: whole answers, streams with and without usage, durations, limit fields.
import Testing

@testable import ProviderSimulator

@Suite struct OpenAIWireTests {
  @Test func wholeChatIsComplete() {
    let bench = Bench()
    let call = bench.chat(",\"n\":2")
    #expect(call.status == nil)
    bench.time.advance(milliseconds: 10)
    let answer = Document(call.text)
    #expect(call.status == 200)
    #expect(call.isFinished)
    #expect(call.field("content-length") == String(call.received.count))
    #expect(call.field("x-request-id") == "req_sim000000000001")
    #expect(answer?.text("object") == "chat.completion")
    #expect(answer?.count("choices") == 2)
    #expect(answer?.text("choices.1.message.content")?.split(separator: " ").count == 10)
    #expect(answer?.text("choices.0.finish_reason") == "stop")
    #expect(answer?.number("usage.prompt_tokens") == 2)
    #expect(answer?.number("usage.completion_tokens") == 20)
    #expect(answer?.number("usage.total_tokens") == 22)
  }

  @Test func streamHasUsageOnlyWhereAsked() {
    let bench = Bench()
    let plain = bench.chat(",\"stream\":true")
    let asked = bench.chat(",\"stream\":true,\"stream_options\":{\"include_usage\":true}")
    bench.time.advance(milliseconds: 10)
    #expect(plain.frames.last == "[DONE]")
    #expect(!plain.text.contains("\"usage\""))
    #expect(plain.field("content-type")?.hasPrefix("text/event-stream") == true)
    #expect(asked.frames.last == "[DONE]")
    let usage = Document(asked.frames[asked.frames.count - 2])
    #expect(usage?.count("choices") == 0)
    #expect(usage?.number("usage.completion_tokens") == 10)
    #expect(asked.frames.dropLast(2).allSatisfy { Document($0)?.isNull("usage") == true })
    #expect(Document(plain.frames[0])?.text("choices.0.delta.role") == "assistant")
    #expect(Document(plain.frames[plain.frames.count - 2])?.text("choices.0.finish_reason") == "stop")
  }

  @Test func capCutsTheAnswer() {
    let bench = Bench()
    let call = bench.chat(",\"max_completion_tokens\":4")
    let exact = bench.chat(",\"max_completion_tokens\":10")
    bench.time.advance(milliseconds: 10)
    #expect(Document(call.text)?.text("choices.0.finish_reason") == "length")
    #expect(Document(call.text)?.number("usage.completion_tokens") == 4)
    #expect(Document(exact.text)?.text("choices.0.finish_reason") == "stop")
  }

  @Test func streamOfResponsesIsNumberedAndNamed() {
    let bench = Bench()
    let call = bench.call("POST", "/v1/responses", body: "{\"model\":\"m\",\"input\":\"abcd\",\"stream\":true}")
    let whole = bench.call(
      "POST", "/v1/responses", body: "{\"model\":\"m\",\"input\":\"abcd\",\"max_output_tokens\":3}")
    bench.time.advance(milliseconds: 10)
    let events = call.text.split(separator: "\n").filter { $0.hasPrefix("event: ") }.map { $0.dropFirst(7) }
    #expect(events.first == "response.created")
    #expect(events.last == "response.completed")
    #expect(events.elementsEqual(call.frames.compactMap { Document($0)?.text("type")?[...] }))
    #expect(call.frames.indices.allSatisfy { Document(call.frames[$0])?.number("sequence_number") == Double($0) })
    #expect(call.frames.last.flatMap { Document($0) }?.number("response.usage.output_tokens") == 10)
    #expect(!call.text.contains("[DONE]"))
    #expect(Document(whole.text)?.text("status") == "incomplete")
    #expect(Document(whole.text)?.text("incomplete_details.reason") == "max_output_tokens")
  }

  @Test func legacyCompletionsAndEmbeddings() {
    let bench = Bench()
    let whole = bench.call("POST", "/v1/completions", body: "{\"model\":\"m\",\"prompt\":\"abcd\"}")
    let stream = bench.call("POST", "/v1/completions", body: "{\"model\":\"m\",\"prompt\":\"abcd\",\"stream\":true}")
    let floats = bench.call(
      "POST", "/v1/embeddings", body: "{\"model\":\"m\",\"input\":[\"ab\",\"cdefgh\"],\"dimensions\":3}")
    let coded = bench.call(
      "POST", "/v1/embeddings",
      body: "{\"model\":\"m\",\"input\":\"ab\",\"dimensions\":3,\"encoding_format\":\"base64\"}")
    bench.time.advance(milliseconds: 10)
    #expect(Document(whole.text)?.text("choices.0.text")?.isEmpty == false)
    #expect(Document(stream.frames[0])?.text("object") == "text_completion")
    #expect(Document(floats.text)?.count("data") == 2)
    #expect(Document(floats.text)?.count("data.1.embedding") == 3)
    #expect(Document(floats.text)?.number("usage.total_tokens") == 2)
    #expect(Document(coded.text)?.text("data.0.embedding")?.count == 16)
  }

  @Test(arguments: [
    (0, "0s"), (20, "20ms"), (1000, "1s"), (7660, "7.66s"), (360_000, "6m0s"), (90_500, "1m30.5s"),
    (3_600_000, "1h0m0s"),
  ])
  func durationsLookLikeGo(milliseconds: Int, text: String) {
    #expect(OpenAIWire.duration(UInt64(milliseconds) * 1_000_000) == text)
  }

  @Test func limitFieldsTellTheBuckets() {
    let bench = Bench {
      $0.requestsPerMinute = 60
      $0.tokensPerMinute = 6000
    }
    let call = bench.chat(",\"max_tokens\":100")
    bench.time.advance(milliseconds: 10)
    #expect(call.field("x-ratelimit-limit-requests") == "60")
    #expect(call.field("x-ratelimit-remaining-requests") == "59")
    #expect(call.field("x-ratelimit-limit-tokens") == "6000")
    #expect(call.field("x-ratelimit-remaining-tokens") == "5901")
    #expect(call.field("x-ratelimit-reset-tokens") == "990ms")
  }
}
