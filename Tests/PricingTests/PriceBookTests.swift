// What the providers' own payloads cost by the built-in list, worked out by hand.
import AdmissionCore
import PolicyFile
import Pricing
import ProviderWire
import Testing
import TextForms

/// 2026-11-20 12:00 UTC.
private let noon: Int64 = 1_795_176_000_000_000_000

/// One answer and its cost in nano-dollars; nil is unknown.
struct PricedAnswer: Sendable, CustomTestStringConvertible {
  var name: String
  var model: String
  var endpoint: WireEndpoint
  var body: String
  var contentType = "application/json"
  var cost: Int64?
  var source = CostSource.prices
  var testDescription: String { name }
}

private let answers: [PricedAnswer] = [
  // 1,000 fresh at $5, 9,000 cached at $0.5, 500 out at $30, of which 300 are reasoning.
  PricedAnswer(
    name: "OpenAI chat, cached input and reasoning", model: "gpt-5.5", endpoint: .chatCompletions,
    body: """
      {"id":"1","model":"gpt-5.5-2026-04-01","choices":[{"message":{"content":"x"}}],"service_tier":"default",
      "usage":{"prompt_tokens":10000,"completion_tokens":500,"total_tokens":10500,
      "prompt_tokens_details":{"cached_tokens":9000},"completion_tokens_details":{"reasoning_tokens":300}}}
      """, cost: 5_000_000 + 4_500_000 + 15_000_000),
  // The answer's tier counts: priority is $12.5 and $75, the cache follows the input.
  PricedAnswer(
    name: "OpenAI responses, priority", model: "gpt-5.5", endpoint: .responses,
    body: """
      {"id":"r","object":"response","model":"gpt-5.5","service_tier":"priority","output":[],
      "usage":{"input_tokens":1000,"input_tokens_details":{"cached_tokens":400},"output_tokens":100,
      "output_tokens_details":{"reasoning_tokens":0},"total_tokens":1100}}
      """, cost: 600 * 12_500 + 400 * 1_250 + 100 * 75_000),
  // Flex costs what batch does.
  PricedAnswer(
    name: "OpenAI responses, flex", model: "gpt-5.5", endpoint: .responses,
    body: """
      {"id":"r","object":"response","model":"gpt-5.5","service_tier":"flex","output":[],
      "usage":{"input_tokens":1000,"output_tokens":100,"total_tokens":1100}}
      """, cost: 1000 * 2_500 + 100 * 15_000),
  // Above 272,000 tokens all cost more.
  PricedAnswer(
    name: "OpenAI long context, over", model: "gpt-6-sol", endpoint: .chatCompletions,
    body: #"{"choices":[],"usage":{"prompt_tokens":272001,"completion_tokens":10,"total_tokens":272011}}"#,
    cost: 272_001 * 4_000 + 10 * 15_000),
  PricedAnswer(
    name: "OpenAI long context, at", model: "gpt-6-sol", endpoint: .chatCompletions,
    body: #"{"choices":[],"usage":{"prompt_tokens":272000,"completion_tokens":10,"total_tokens":272010}}"#,
    cost: 272_000 * 2_000 + 10 * 10_000),
  PricedAnswer(
    name: "OpenAI embeddings", model: "text-embedding-3-small", endpoint: .embeddings,
    body: #"{"object":"list","data":[],"model":"text-embedding-3-small","usage":{"prompt_tokens":8,"total_tokens":8}}"#,
    cost: 160),
  // 100 fresh at $5, 1,000 written for 5 minutes at $6.25, 2,000 for an hour at $10, 5,000 read at $0.5, 200 out at $25.
  PricedAnswer(
    name: "Anthropic, both cache writes", model: "claude-opus-5", endpoint: .messages,
    body: """
      {"id":"m","type":"message","role":"assistant","model":"claude-opus-5","content":[],"stop_reason":"end_turn",
      "usage":{"input_tokens":100,"cache_creation_input_tokens":3000,"cache_read_input_tokens":5000,
      "cache_creation":{"ephemeral_5m_input_tokens":1000,"ephemeral_1h_input_tokens":2000},"output_tokens":200,
      "service_tier":"standard"}}
      """, cost: 100 * 5_000 + 1000 * 6_250 + 2000 * 10_000 + 5000 * 500 + 200 * 25_000),
  // In the US and fast: 1.1 × 2.
  PricedAnswer(
    name: "Anthropic, region and speed", model: "claude-opus-5-5", endpoint: .messages,
    body: """
      {"id":"m","type":"message","model":"claude-opus-5-5","content":[],"stop_reason":"end_turn",
      "usage":{"input_tokens":1000,"output_tokens":100,"service_tier":"standard","speed":"fast","inference_geo":"us"}}
      """, cost: (1000 * 4_000 + 100 * 20_000) * 22 / 10),
  PricedAnswer(
    name: "Anthropic, batch", model: "claude-opus-5", endpoint: .messages,
    body: """
      {"id":"m","type":"message","model":"claude-opus-5","content":[],"stop_reason":"end_turn",
      "usage":{"input_tokens":1000,"output_tokens":100,"service_tier":"batch"}}
      """, cost: 1000 * 2_500 + 100 * 12_500),
  PricedAnswer(
    name: "Anthropic, stream", model: "claude-haiku-4-5", endpoint: .messages,
    body: """
      event: message_start
      data: {"type":"message_start","message":{"model":"claude-haiku-4-5","usage":{"input_tokens":25,"output_tokens":1}}}

      event: message_delta
      data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":15}}

      event: message_stop
      data: {"type":"message_stop"}


      """, contentType: "text/event-stream", cost: 25 * 1_000 + 15 * 5_000),
  // Thoughts cost what output costs; cached input less.
  PricedAnswer(
    name: "Gemini, thoughts and cache", model: "gemini-2.5-flash", endpoint: .geminiGenerate,
    body: """
      {"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":1000,"cachedContentTokenCount":400,
      "candidatesTokenCount":50,"thoughtsTokenCount":150,"totalTokenCount":1200},"modelVersion":"gemini-2.5-flash"}
      """, cost: 600 * 300 + 400 * 30 + 200 * 2_500),
  // OpenRouter says what it charged, whatever any list says.
  PricedAnswer(
    name: "OpenRouter, its own cost", model: "anthropic/claude-opus-5", endpoint: .chatCompletions,
    body: """
      {"choices":[],"model":"anthropic/claude-opus-5",
      "usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"cost":0.00014}}
      """, cost: 140_000, source: .provider),
  PricedAnswer(
    name: "DeepSeek, cache hits", model: "deepseek-v4-flash", endpoint: .chatCompletions,
    body: """
      {"choices":[],"usage":{"prompt_tokens":1000,"prompt_cache_hit_tokens":600,"prompt_cache_miss_tokens":400,
      "completion_tokens":10,"total_tokens":1010}}
      """, cost: 400 * 300 + 600 * 6 + 10 * 1_200),
  PricedAnswer(
    name: "Groq", model: "openai/gpt-oss-120b", endpoint: .chatCompletions,
    body: #"{"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120}}"#,
    cost: 100 * 150 + 20 * 600),
  // xAI's threshold is 200,000 itself.
  PricedAnswer(
    name: "xAI, at its threshold", model: "grok-4.7", endpoint: .chatCompletions,
    body: #"{"choices":[],"usage":{"prompt_tokens":200000,"completion_tokens":1,"total_tokens":200001}}"#,
    cost: 200_000 * 4_000 + 12_000),
  PricedAnswer(
    name: "nobody's model", model: "llama-home", endpoint: .chatCompletions,
    body:
      #"{"choices":[],"model":"llama-home","usage":{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120}}"#,
    cost: nil, source: .unknown),
  // The name in the answer counts where the asked one has no price.
  PricedAnswer(
    name: "an alias", model: "best", endpoint: .chatCompletions,
    body: #"{"choices":[],"model":"gpt-4o","usage":{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120}}"#,
    cost: 100 * 2_500 + 20 * 10_000),
]

@Suite struct PriceBookTests {
  @Test(arguments: answers) func answersCostWhatTheListSays(_ answer: PricedAnswer) throws {
    let tap = UsageTap(
      endpoint: answer.endpoint, isStreaming: answer.contentType == "text/event-stream",
      contentType: answer.contentType, contentEncoding: nil, stripInjectedUsage: false)
    tap.feed(Array(answer.body.utf8)[...]) { _ in }
    tap.finish { _ in }
    let usage = try #require(tap.usage)
    let book = PriceBook(.builtIn)
    let (cost, source) = book.cost(
      of: usage, extras: tap.extras, model: answer.model, answeredBy: tap.model, reported: tap.cost,
      tier: tap.serviceTier, at: noon)
    #expect(cost?.nanodollars == answer.cost)
    #expect(source == answer.source)
  }

  @Test func cheaperHoursAreThoseOfTheMoment() throws {
    var price = ModelPrice(models: "m", rates: PriceRates(input: 2_000_000, output: 4_000_000))
    price.offPeak = OffPeakPrice(windows: [OffPeakPrice.Window(from: 23 * 60, until: 60)], factor: 500_000)
    let book = PriceBook(PriceList(version: "v", entries: [price]))
    func cost(at wall: Int64) -> Int64? {
      book.cost(
        of: Usage(inputTokens: 10), extras: UsageExtras(), model: "m", answeredBy: nil, reported: nil, tier: nil,
        at: wall
      ).cost?.nanodollars
    }
    let midnight = noon + 12 * 3_600_000_000_000
    let minute: Int64 = 60_000_000_000
    #expect(cost(at: midnight - 61 * minute) == 20_000)
    #expect(cost(at: midnight - 60 * minute) == 10_000)
    #expect(cost(at: midnight + 59 * minute) == 10_000)
    #expect(cost(at: midnight + 60 * minute) == 20_000)
  }

  @Test func aPriceHoldsOnItsDays() {
    var old = ModelPrice(models: "m", rates: PriceRates(input: 1_000_000))
    old.validUntil = CalendarDay("2026-11-20")
    var new = ModelPrice(models: "m", rates: PriceRates(input: 3_000_000))
    new.validFrom = CalendarDay("2026-11-21")
    let book = PriceBook(PriceList(version: "v", entries: [old, new]))
    let day: Int64 = 86_400_000_000_000
    #expect(book.price(of: "m", at: noon)?.rates.input == 1_000_000)
    // Across the end of the day, and back.
    #expect(book.price(of: "m", at: noon + day)?.rates.input == 3_000_000)
    #expect(book.price(of: "m", at: noon)?.rates.input == 1_000_000)
  }

  @Test func holdsAreReckonedWithTheTierThatIsAskedFor() {
    let book = PriceBook(.builtIn)
    let standard = book.callPrice(model: "gpt-5.5", tier: nil, estimatedInput: 100, at: noon)
    #expect(standard == CallPrice(inputMicroPerToken: 5_000_000, outputMicroPerToken: 30_000_000))
    let dear = book.callPrice(model: "gpt-5.5", tier: "priority", estimatedInput: 100, at: noon)
    #expect(dear?.outputMicroPerToken == 75_000_000)
    let long = book.callPrice(model: "gpt-6-sol", tier: nil, estimatedInput: 272_001, at: noon)
    #expect(long?.inputMicroPerToken == 4_000_000)
    #expect(book.callPrice(model: "llama-home", tier: nil, estimatedInput: 1, at: noon) == nil)
  }

  /// What is held and what is charged follow one rule: a price that is missing makes nothing free, and nothing unknown.
  @Test func outputWithoutAPriceCostsWhatInputDoes() {
    let book = PriceBook(
      PriceList(version: "v", entries: [ModelPrice(models: "m", rates: PriceRates(input: 10_000_000))]))
    let held = book.callPrice(model: "m", tier: nil, estimatedInput: 1000, at: noon)
    #expect(held == CallPrice(inputMicroPerToken: 10_000_000, outputMicroPerToken: 10_000_000))
    let (cost, source) = book.cost(
      of: Usage(inputTokens: 1000, outputTokens: 2000), extras: UsageExtras(), model: "m", answeredBy: nil,
      reported: nil,
      tier: nil, at: noon)
    #expect(cost == Money(nanodollars: 30_000_000))
    #expect(source == .prices)
  }

  @Test func aFeeForEachRequestIsHeldToo() {
    var price = ModelPrice(models: "m", rates: PriceRates(input: 1_000_000, output: 2_000_000))
    price.perRequest = Money(nanodollars: 5_000_000)
    let book = PriceBook(PriceList(version: "v", entries: [price]))
    #expect(
      book.callPrice(model: "m", tier: nil, estimatedInput: 1, at: noon)
        == CallPrice(inputMicroPerToken: 1_000_000, outputMicroPerToken: 2_000_000, perRequest: price.perRequest))
  }

  /// In nano-dollars for each token: input 5,000, a cache read 500, a write 6,250, one for an hour 10,000.
  @Test(
    arguments: [
      // Nothing was written: fresh input.
      (1000, 0, 0, 0, 800, 800 * 4_500),
      // What was written comes first, the short-lived part before that for an hour.
      (1000, 0, 600, 0, 400, 400 * 5_750), (1000, 0, 600, 0, 800, 600 * 5_750 + 200 * 4_500),
      (1000, 0, 600, 600, 400, 400 * 9_500), (1000, 0, 600, 200, 500, 400 * 5_750 + 100 * 9_500),
      // No more than was not read.
      (1000, 900, 0, 0, 5000, 100 * 4_500), (1000, 1000, 0, 0, 5000, 0), (0, 0, 0, 0, 5000, 0), (1000, 0, 0, 0, 0, 0),
    ] as [(Int64, Int64, Int64, Int64, Int64, Int64)])
  func lostTokensCostWhatAReadWouldHaveSaved(
    _ input: Int64, _ read: Int64, _ written: Int64, _ hour: Int64, _ lost: Int64, _ cost: Int64
  ) {
    let book = PriceBook(.builtIn)
    let usage = Usage(
      inputTokens: TokenCount(input), cacheReadTokens: TokenCount(read), cacheWriteTokens: TokenCount(written),
      outputTokens: 100)
    var extras = UsageExtras()
    extras.cacheWriteHourTokens = TokenCount(hour)
    func losing(_ model: String) -> Money? {
      book.costOfLosing(
        TokenCount(lost), of: usage, extras: extras, model: model, answeredBy: nil, tier: nil, at: noon)
    }
    #expect(losing("claude-opus-5") == Money(nanodollars: cost))
    #expect(losing("a-model-without-a-price") == nil)
  }

  @Test func whatIsRememberedIsBounded() {
    let book = PriceBook(PriceList(version: "v", entries: [ModelPrice(models: "*", rates: PriceRates(input: 1))]))
    for number in 0..<5000 { #expect(book.price(of: "m\(number)", at: noon) != nil) }
  }

  @Test(arguments: [
    (Int64(0), "1970-01-01"), (59, "1970-03-01"), (19_782, "2024-02-29"), (20_777, "2026-11-20"), (-1, "1969-12-31"),
  ])
  func daysHaveTheirNames(_ days: Int64, _ name: String) {
    #expect(CalendarDay(daysSince1970: days)?.description == name)
  }
}
