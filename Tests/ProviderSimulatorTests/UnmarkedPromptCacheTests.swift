// What OpenAI's prompts read and leave in the cache, which are cached without a mark: minimum, steps, keys, all endpoints.
import Testing

@testable import ProviderSimulator

@Suite struct UnmarkedPromptCacheTests {
  private let bench = Bench()

  private func words(_ tokens: Int, _ word: String = "abcd") -> String { String(repeating: word, count: tokens) }

  /// The usage of a chat whose prompt is this.
  private func ask(_ messages: [String], _ more: String = "", key: String = "k1") -> Document? {
    let list = messages.map { "{\"role\":\"user\",\"content\":\"\($0)\"}" }.joined(separator: ",")
    let body = "{\"model\":\"m\",\"messages\":[\(list)]\(more)}"
    let exchange = bench.call("POST", "/v1/chat/completions", [("authorization", "Bearer " + key)], body: body)
    bench.time.advance(milliseconds: 10)
    return Document(exchange.text)
  }

  private func cached(_ document: Document?) -> Double? {
    document?.number("usage.prompt_tokens_details.cached_tokens")
  }
  private func written(_ document: Document?) -> Double? {
    document?.number("usage.prompt_tokens_details.cache_write_tokens")
  }

  @Test(arguments: [(1023, 0), (1024, 1024), (1151, 1024), (1152, 1152), (1250, 1152)])
  func cachesInStepsFromAMinimum(tokens: Int, kept: Double) {
    let first = ask([words(tokens)])
    #expect(first?.number("usage.prompt_tokens") == Double(tokens))
    #expect(cached(first) == 0)
    #expect(written(first) == kept)
    let second = ask([words(tokens)])
    #expect(cached(second) == kept)
    #expect(written(second) == 0)
  }

  @Test func ratioOfTokensMovesTheSteps() {
    let bench = Bench { $0.tokenRatio = 1.5 }
    let body = "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"\(words(1000))\"}]}"
    for kept in [0.0, 1408] {
      let exchange = bench.call("POST", "/v1/chat/completions", body: body)
      bench.time.advance(milliseconds: 10)
      #expect(Document(exchange.text)?.number("usage.prompt_tokens") == 1500)
      #expect(cached(Document(exchange.text)) == kept)
    }
  }

  @Test(arguments: [(1200, 1152), (1151, 1024), (1100, 1024), (1000, 0)])
  func promptsThatPartInTheMiddleShareTheirBeginning(same: Int, read: Double) {
    _ = ask([words(2000)])
    #expect(cached(ask([words(same) + words(2000 - same, "efgh")])) == read)
  }

  @Test func growingConversationReadsWhatItSent() {
    var messages = [words(1024)]
    _ = ask(messages)
    for turn in 1...5 {
      messages.append(words(256, "t\(turn)cd"))
      let answer = ask(messages)
      #expect(cached(answer) == Double(1024 + (turn - 1) * 256))
      #expect(written(answer) == 256)
    }
  }

  @Test func toolsComeFirst() {
    let tools = ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":\"\(words(1500))\"}}]"
    _ = ask([words(1500)], tools)
    #expect(cached(ask([words(1500, "efgh")], tools)) == 1408)
    #expect(cached(ask([words(1500)], tools.replacing("\"f\"", with: "\"g\""))) == 0)
  }

  @Test func lifeAndKeysArePartOfIt() {
    _ = ask([words(2000)])
    #expect(cached(ask([words(2000)], key: "k2")) == 0)
    #expect(cached(ask([words(2000)], ",\"prompt_cache_key\":\"s\"")) == 0)
    #expect(cached(ask([words(2000)], ",\"prompt_cache_key\":\"s\"")) == 1920)
    bench.time.advance(milliseconds: 299_950)
    #expect(cached(ask([words(2000)])) == 1920)
    bench.time.advance(milliseconds: 299_991)
    #expect(cached(ask([words(2000)])) == 0)
  }

  @Test func limitsCountAllInput() {
    let bench = Bench { $0.inputTokensPerMinute = 10_000 }
    let body = "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"\(words(8000))\"}]}"
    #expect(bench.call("POST", "/v1/chat/completions", body: body).status == nil)
    bench.time.advance(milliseconds: 10)
    #expect(bench.call("POST", "/v1/chat/completions", body: body).status == 429)
  }

  @Test func streamTellsItAtItsEnd() {
    let more = ",\"stream\":true,\"stream_options\":{\"include_usage\":true}"
    let body = "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"\(words(2000))\"}]\(more)}"
    for read in [0.0, 1920] {
      let exchange = bench.call("POST", "/v1/chat/completions", body: body)
      bench.time.advance(milliseconds: 10)
      #expect(cached(exchange.frames.dropLast().last.flatMap { Document($0) }) == read)
    }
  }

  @Test(arguments: [false, true])
  func responsesHaveTheirOwnForm(isStream: Bool) {
    let item =
      "{\"type\":\"message\",\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"\(words(1000))\"}]}"
    let body =
      "{\"model\":\"m\",\"instructions\":\"\(words(1000))\",\"input\":[\(item)],\"stream\":\(isStream)}"
    for (read, written) in [(0.0, 1920.0), (1920, 0)] {
      let exchange = bench.call("POST", "/v1/responses", body: body)
      bench.time.advance(milliseconds: 10)
      let document = isStream ? exchange.frames.last.flatMap { Document($0) } : Document(exchange.text)
      let details = (isStream ? "response." : "") + "usage.input_tokens_details."
      #expect(document?.number(details + "cached_tokens") == read)
      #expect(document?.number(details + "cache_write_tokens") == written)
    }
  }

  @Test func textAndTokensOfCompletionsAreCached() {
    let ids = (0..<1500).map { String($0) }.joined(separator: ",")
    for (prompt, kept) in [("\"\(words(1500))\"", 1408.0), ("[\(ids)]", 1408)] {
      for read in [0, kept] {
        let exchange = bench.call("POST", "/v1/completions", body: "{\"model\":\"m\",\"prompt\":\(prompt)}")
        bench.time.advance(milliseconds: 10)
        #expect(cached(Document(exchange.text)) == read)
      }
    }
  }

  @Test func embeddingsAreNot() {
    for _ in 0..<2 { bench.call("POST", "/v1/embeddings", body: "{\"model\":\"m\",\"input\":\"\(words(3000))\"}") }
    bench.time.advance(milliseconds: 10)
    #expect(bench.stat("tokens.cache_read") == 0)
    #expect(bench.stat("cache_entries") == 0)
  }
}
