// Numbers that nobody can mean go through every reader of answers, heads and requests: what comes out is in its range.
import AdmissionCore
import HTTPMessage
import Pricing
import Testing

@testable import ProviderWire

@Suite struct HostileNumbersTests {
  /// As text, and whether a count of that size cannot be true.
  static let numbers: [(String, Bool)] = [
    ("0", false), ("-0", false), ("1", false), ("1e3", false), ("1099511627776", false), ("-1", true),
    ("1099511627777", true),
    ("4.62e9", false), ("9007199254740991", true), ("9007199254740992", true), ("9223372036854775807", true),
    ("18446744073709551615", true), ("1e19", true), ("1e308", true), ("1e400", true), ("1e-9223372036854775808", false),
    ("-1e400", true), ("-9223372036854775808", true), ("1" + String(repeating: "0", count: 5000), true),
    ("0." + String(repeating: "3", count: 5000), false),
  ]
  static let shapes: [(path: Substring, type: String, body: @Sendable (String) -> String)] = [
    (
      "/v1/chat/completions", "application/json",
      {
        #"{"usage":{"prompt_tokens":\#($0),"completion_tokens":\#($0),"total_tokens":\#($0),"cost":\#($0),"prompt_tokens_details":{"cached_tokens":\#($0),"audio_tokens":\#($0)}}}"#
      }
    ),
    (
      "/v1/responses", "application/json",
      {
        #"{"usage":{"input_tokens":\#($0),"output_tokens":\#($0),"output_tokens_details":{"reasoning_tokens":\#($0)}}}"#
      }
    ),
    (
      "/v1/messages", "text/event-stream",
      {
        "data: {\"type\":\"message_delta\",\"usage\":{\"input_tokens\":\($0),\"cache_read_input_tokens\":\($0),\"cache_creation_input_tokens\":\($0),\"output_tokens\":\($0),\"iterations\":[{\"input_tokens\":\($0),\"output_tokens\":\($0)},{\"input_tokens\":\($0)}]}}\n\n"
      }
    ),
    (
      "/v1beta/models/g:generateContent", "application/json",
      {
        #"{"usageMetadata":{"promptTokenCount":\#($0),"candidatesTokenCount":\#($0),"thoughtsTokenCount":\#($0),"toolUsePromptTokenCount":\#($0),"totalTokenCount":\#($0)}}"#
      }
    ),
    (
      "/v1/embeddings", "application/json",
      { #"{"meta":{"billed_units":{"input_tokens":\#($0),"search_units":\#($0)}}}"# }
    ),
    ("/v1/audio/transcriptions", "application/json", { #"{"usage":{"seconds":\#($0),"cost_in_usd_ticks":\#($0)}}"# }),
  ]

  @Test(arguments: numbers)
  func everyAnswersUsageIsInItsRange(_ number: String, _ isImpossible: Bool) throws {
    for shape in Self.shapes {
      let path = try #require(PathFacts.read(path: shape.path))
      let tap = UsageTap(
        endpoint: path.endpoint, isStreaming: shape.type.contains("event"), contentType: shape.type,
        contentEncoding: nil,
        stripInjectedUsage: false)
      tap.feed(Array(shape.body(number).utf8)[...]) { _ in }
      tap.finish { _ in }
      if let usage = tap.usage {
        for count in [usage.inputTokens, usage.cacheReadTokens, usage.cacheWriteTokens, usage.outputTokens] {
          #expect((0...(1 << 40)).contains(count.value))
        }
        #expect(usage.reasoningTokens <= usage.outputTokens)
        #expect(usage.isEstimated == tap.usageWasCut)
      }
      if let cost = tap.cost { #expect(cost >= .zero && cost <= .mostPerCall) }
      #expect(tap.extras.audioMilliseconds >= 0)
      if isImpossible, shape.path != "/v1/audio/transcriptions" {
        #expect(tap.usageWasCut, "\(shape.path) \(number.prefix(30))")
      }
      _ = CallCost.cost(of: tap.usage ?? Usage(), extras: tap.extras, at: CallRates(input: .max, output: .max))
    }
  }

  @Test(
    arguments: [
      ("0.0123", 12_300_000, false), ("999.999999999", 999_999_999_999, false), ("1000", 1_000_000_000_000, false),
      ("1000.000000001", 1_000_000_000_000, true), ("4.62e9", 1_000_000_000_000, true),
      ("4611686018.4", 1_000_000_000_000, true),
      ("1e400", 1_000_000_000_000, true), ("-1", nil, true), ("-0", 0, false), ("1e-9223372036854775808", 0, false),
    ] as [(String, Int64?, Bool)])
  func aProvidersOwnPriceEndsAtAThousandDollars(_ text: String, _ nanodollars: Int64?, _ wasCut: Bool) {
    let tap = UsageTap(
      endpoint: .chatCompletions, isStreaming: false, contentType: "application/json", contentEncoding: nil,
      stripInjectedUsage: false)
    tap.feed(Array(#"{"usage":{"prompt_tokens":5,"completion_tokens":5,"cost":\#(text)}}"#.utf8)[...]) { _ in }
    tap.finish { _ in }
    #expect(tap.cost?.nanodollars == nanodollars)
    #expect(tap.usageWasCut == wasCut)
  }

  @Test(arguments: numbers.map(\.0) + ["", "NaN", "Infinity", "0x10", "+1", "1e", "..", "9223372036854775808"])
  func headsGiveOnlyWhatFits(_ number: String) throws {
    for name in ["retry-after", "retry-after-ms"] {
      let wait = RateLimitHeaders.retryAfter(HeaderFields([(name, number)]), epochSeconds: 1_795_208_400)
      if let wait { #expect(wait >= .zero && wait <= .seconds(86_400)) }
    }
    var fields: [(String, String)] = []
    for what in ["limit", "remaining", "reset"] {
      for unit in ["requests", "tokens", "input-tokens"] {
        fields.append(("x-ratelimit-\(what)-\(unit)", number))
        fields.append(("anthropic-ratelimit-\(unit)-\(what)", number))
      }
    }
    // What stands beside them is read, whatever they are.
    fields.append(("anthropic-ratelimit-output-tokens-remaining", "7"))
    let read = try #require(RateLimitHeaders.read(HeaderFields(fields), epochSeconds: .max))
    #expect(read.readings.contains { $0.remaining == 7 })
    for reading in read.readings { #expect((reading.limit ?? 0) >= 0 && (reading.remaining ?? 0) >= 0) }
  }

  @Test(arguments: numbers.map(\.0))
  func aClientsCapIsInItsRange(_ number: String) throws {
    var reader = RequestReader()
    for name in ["max_tokens", "max_completion_tokens"] {
      let path = try #require(PathFacts.read(path: "/v1/chat/completions"))
      let body = #"{"model":"m","n":\#(number),"best_of":\#(number),"\#(name)":\#(number),"messages":[]}"#
      let reading = reader.read(
        Array(body.utf8), path: path, contentType: "application/json", contentEncoding: nil, decodedLimit: 0)
      let facts = try #require(reading.whatWasRead, "\(reading)")
      #expect((1...1024).contains(facts.choices))
      #expect((0...(1 << 40)).contains(facts.outputCap?.value ?? 0))
    }
  }
}
