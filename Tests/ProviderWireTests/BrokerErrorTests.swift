// The broker's own errors: every outcome in every dialect, as the SDKs read them.
import AdmissionCore
import Testing

@testable import ProviderWire

@Suite struct BrokerErrorTests {
  private func answer(
    _ outcome: Outcome, _ dialect: Dialect, retryAfter: Span? = .seconds(2), message: String = "m",
    timedOut: Bool = false
  ) -> BrokerError.Answer {
    BrokerError.answer(
      outcome: outcome, dialect: dialect, endpoint: .chatCompletions, message: message, retryAfter: retryAfter,
      requestID: "01H",
      timedOut: timedOut)
  }

  private func field(_ answer: BrokerError.Answer, _ name: String) -> String? {
    answer.fields.first { $0.name == name }?.value
  }

  @Test(
    arguments: [
      (Outcome.rejectedQueueFull, 429, "rate_limit_exceeded", 429, "rate_limit_error", true, nil),
      (.evictedMaxWait, 429, "rate_limit_exceeded", 429, "rate_limit_error", true, nil),
      (.rejectedNoCapacity, 503, "server_is_overloaded", 529, "overloaded_error", true, nil),
      (.rejectedDraining, 503, "server_is_overloaded", 529, "overloaded_error", true, nil),
      (.rejectedBudget, 429, "insufficient_quota", 402, "billing_error", false, "false"),
      (.rejectedTenantLimit, 400, "request_exceeds_limit", 400, "invalid_request_error", false, "false"),
      (.rejectedUnauthenticated, 401, "invalid_api_key", 401, "authentication_error", false, "false"),
      (.rejectedModel, 404, "model_not_found", 404, "not_found_error", false, "false"),
      (.rejectedMalformed, 400, "invalid_request", 400, "invalid_request_error", false, "false"),
      (.rejectedTooLarge, 413, "request_too_large", 413, "request_too_large", false, "false"),
      (.failedUpstream, 502, "upstream_failed", 502, "api_error", false, nil),
    ] as [(Outcome, Int, String, Int, String, Bool, String?)])
  func answersEveryOutcome(
    _ outcome: Outcome, _ status: Int, _ code: String, _ anthropicStatus: Int, _ type: String, _ waits: Bool,
    _ retry: String?
  ) {
    for dialect in Dialect.allCases {
      let answer = answer(outcome, dialect)
      #expect(answer.status == (dialect == .anthropic ? anthropicStatus : status))
      #expect(field(answer, "content-type") == "application/json")
      #expect(field(answer, "retry-after") == (waits ? "2" : nil))
      #expect(field(answer, "retry-after-ms") == (waits ? "2000" : nil))
      #expect(field(answer, "x-should-retry") == retry)
      #expect(field(answer, dialect == .anthropic ? "request-id" : "x-request-id") == "01H")
      let error = ErrorReading(answer.body)
      #expect(error.message == "m")
      switch dialect {
      case .openai: #expect(error.code == code)
      case .anthropic: #expect(error.type == type)
      case .gemini:
        #expect(error.code == String(status) && error.status != nil && error.retryDelay == (waits ? .seconds(2) : nil))
      case .cohere: #expect(answer.body == Array(#"{"message":"m"}"#.utf8))
      case .ollama: #expect(answer.body == Array(#"{"error":"m"}"#.utf8))
      }
    }
  }

  @Test func everyOutcomeHasAnErrorStatus() {
    for outcome in Outcome.allCases {
      for dialect in Dialect.allCases { #expect(answer(outcome, dialect).status >= 400) }
    }
    #expect(answer(.failedUpstream, .openai, timedOut: true).status == 504)
    #expect(ErrorReading(answer(.failedUpstream, .anthropic, timedOut: true).body).type == "timeout_error")
  }

  @Test(
    arguments: [
      (nil, "1", "1000"), (Span.zero, "1", "1000"), (.milliseconds(1), "1", "1000"), (.milliseconds(1001), "2", "1001"),
      (.seconds(60), "60", "60000"), (.seconds(3600), "60", "60000"), (Span(nanoseconds: -5), "1", "1000"),
      (Span(nanoseconds: 1_000_000_001), "2", "1001"),
    ] as [(Span?, String, String)])
  func retryAfterIsOneToSixtySeconds(_ span: Span?, _ seconds: String, _ milliseconds: String) {
    let answer = answer(.rejectedQueueFull, .openai, retryAfter: span)
    #expect(field(answer, "retry-after") == seconds)
    #expect(field(answer, "retry-after-ms") == milliseconds)
  }

  @Test func theOpenAIBodyIsAsTheVendorWritesIt() {
    #expect(
      String(decoding: answer(.rejectedQueueFull, .openai).body, as: UTF8.self)
        == #"{"error":{"message":"m","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#)
    #expect(
      String(decoding: answer(.rejectedBudget, .anthropic).body, as: UTF8.self)
        == #"{"type":"error","error":{"type":"billing_error","message":"m"},"request_id":"01H"}"#)
  }

  @Test func messagesAreEscaped() {
    let nasty = "a\"b\\c\n\r\t\u{0}\u{1f}\u{7f}é😀</script>"
    for dialect in Dialect.allCases {
      #expect(ErrorReading(answer(.rejectedMalformed, dialect, message: nasty).body).message == nasty)
      for endpoint in [WireEndpoint.chatCompletions, .responses, .messages] {
        let frame = BrokerError.inStreamFrame(
          dialect: dialect, endpoint: endpoint, message: nasty, code: "server_error")
        #expect(frame.suffix(2) == [0x0A, 0x0A] || (dialect == .ollama && frame.last == 0x0A))
        #expect(frame.split(separator: 0x0A, omittingEmptySubsequences: false).count <= 4, "one frame")
      }
    }
  }

  @Test(arguments: [
    (Dialect.openai, WireEndpoint.chatCompletions, "server_error", "server_error"),
    (.openai, .responses, "rate_limit_exceeded", "rate_limit_exceeded"),
    (.anthropic, .messages, "server_is_overloaded", "overloaded_error"),
    (.anthropic, .messages, "upstream_timeout", "timeout_error"),
    (.gemini, .geminiStream, "rate_limit_exceeded", "429"),
  ])
  func ourOwnTapReadsOurFrames(_ dialect: Dialect, _ endpoint: WireEndpoint, _ code: String, _ word: String) {
    let tap = UsageTap(
      endpoint: endpoint, isStreaming: true, contentType: "text/event-stream", contentEncoding: nil,
      stripInjectedUsage: false)
    tap.feed(BrokerError.inStreamFrame(dialect: dialect, endpoint: endpoint, message: "broke", code: code)[...]) { _ in
    }
    let error = tap.inStreamError
    #expect(error?.message == "broke")
    #expect(error?.type == word || error?.code == word)
  }

  @Test func ollamaReadsASentence() {
    let frame = BrokerError.inStreamFrame(dialect: .ollama, endpoint: .ollamaChat, message: "m", code: "server_error")
    #expect(String(decoding: frame, as: UTF8.self) == "{\"error\":\"m\"}\n")
    let tap = UsageTap(
      endpoint: .ollamaChat, isStreaming: true, contentType: "application/x-ndjson", contentEncoding: nil,
      stripInjectedUsage: false)
    tap.feed(frame[...]) { _ in }
    tap.finish { _ in }
    #expect(tap.inStreamError?.message == "m")
  }

  @Test func vendorsOfEmbeddingsFindTheSentenceWhereTheyLookForIt() {
    func text(_ endpoint: WireEndpoint) -> String {
      let answer = BrokerError.answer(
        outcome: .rejectedQueueFull, dialect: .openai, endpoint: endpoint, message: "m", retryAfter: nil,
        requestID: "01H")
      return String(decoding: answer.body, as: UTF8.self)
    }
    let error = #"{"error":{"message":"m","type":"requests","param":null,"code":"rate_limit_exceeded"}"#
    #expect(text(.chatCompletions) == error + "}")
    #expect(text(.embeddings) == error + #","detail":"m"}"#)
    #expect(text(.rerank) == error + #","detail":"m","message":"m"}"#)
  }

  @Test func unknownPathsSayWhichBaseURLHelps() {
    func message(_ path: String) -> String? {
      ErrorReading(BrokerError.unknownPath(path, host: "h:1", requestID: "01H").body).message
    }
    #expect(
      message("/x")?.hasPrefix("Unknown request URL: /x. Set the base URL: OPENAI_BASE_URL=http://h:1/v1") == true)
    #expect(message("/x")?.contains("ANTHROPIC_BASE_URL=http://h:1 ") == true)
    #expect(message("/model/m/invoke")?.contains("Bedrock") == true)
    func root(_ host: String, isSecure: Bool) -> Bool {
      let body = BrokerError.unknownPath("/x", host: host, isSecure: isSecure, requestID: "01H").body
      let scheme = isSecure ? "https" : "http"
      return ErrorReading(body).message?.contains("ANTHROPIC_BASE_URL=\(scheme)://\(host) for") == true
    }
    for host in ["h:1", "[::1]:4141", "a-b.example"] {
      #expect(root(host, isSecure: true) && root(host, isSecure: false))
    }
    // What no client would call by is not repeated to it.
    for host in ["", "a b", "h\"", "h/x", String(repeating: "a", count: 256)] { #expect(!root(host, isSecure: true)) }
    let ollama = BrokerError.unknownPath("/api/pull", requestID: "01H")
    #expect(ollama.body.starts(with: #"{"error":"Of Ollama's"#.utf8))
    // What looks like the admin port's paths is not Ollama's.
    #expect(ErrorReading(BrokerError.unknownPath("/api/v1/status", requestID: "01H").body).code == "unknown_url")
  }

  @Test func unknownPathsAndRefusals() {
    let unknown = BrokerError.unknownPath("/x\"y", requestID: "01H")
    #expect(unknown.status == 404)
    #expect(ErrorReading(unknown.body).code == "unknown_url")
    #expect(field(unknown, "x-should-retry") == "false")
    for dialect in Dialect.allCases {
      for status in [400, 408, 413, 431, 501, 503] {
        let refusal = BrokerError.refusal(status: status, dialect: dialect, message: "m", requestID: "01H")
        #expect(refusal.status == status)
        #expect(ErrorReading(refusal.body).message == "m")
        // Whoever was too slow, or came while there was no room, may come again.
        #expect(field(refusal, "x-should-retry") == ([400, 413, 431].contains(status) ? "false" : nil))
      }
    }
  }
}
