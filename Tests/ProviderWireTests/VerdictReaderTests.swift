// Every row of the vendors' error tables, and the verdict it must get.
import AdmissionCore
import HTTPMessage
import Testing

@testable import ProviderWire

@Suite struct VerdictReaderTests {
  struct Row: CustomTestStringConvertible, Sendable {
    var name: String
    var status: Int
    var retryAfter: String?
    var body: String
    var verdict: Verdict
    init(_ name: String, _ status: Int, _ body: String, _ verdict: Verdict, retryAfter: String? = nil) {
      self.name = name
      self.status = status
      self.retryAfter = retryAfter
      self.body = body
      self.verdict = verdict
    }
    var testDescription: String { name }
  }

  private static func openai(_ type: String, _ code: String) -> String {
    #"{"error":{"message":"m","type":"\#(type)","param":null,"code":"\#(code)"}}"#
  }
  private static func anthropic(_ type: String, _ details: String = "", message: String = "m") -> String {
    #"{"type":"error","error":{"type":"\#(type)","message":"\#(message)"\#(details)},"request_id":"req_1"}"#
  }

  static let rows: [Row] = [
    // OpenAI
    Row("bad request", 400, openai("invalid_request_error", "context_length_exceeded"), .clientError),
    Row("bad key", 401, openai("invalid_request_error", "invalid_api_key"), .keyRefused),
    Row("no permission", 403, openai("permission_error", "x"), .keyRefused),
    Row("no such model", 404, openai("invalid_request_error", "model_not_found"), .clientError),
    Row(
      "tokens per minute", 429, openai("tokens", "rate_limit_exceeded"), .throttled(retryAfter: .seconds(2)),
      retryAfter: "2"),
    Row("requests per minute, no header", 429, openai("requests", "rate_limit_exceeded"), .throttled(retryAfter: nil)),
    Row("unpaid", 429, openai("insufficient_quota", "insufficient_quota"), .quotaExhausted),
    Row(
      "unpaid, newer word", 429, openai("insufficient_quota", "credit_balance_exhausted"), .quotaExhausted,
      retryAfter: "5"),
    Row("ramp too steep", 429, openai("rate_limit_error", "slow_down"), .throttled(retryAfter: nil)),
    Row("server error", 500, openai("server_error", "x"), .failed()),
    Row(
      "overloaded, says until when", 503, openai("service_unavailable_error", "server_is_overloaded"),
      .throttled(retryAfter: .seconds(3)), retryAfter: "3"),
    Row("overloaded", 503, openai("service_unavailable_error", "server_is_overloaded"), .failed()),
    Row("slow down as 503", 503, openai("service_unavailable_error", "slow_down"), .throttled(retryAfter: nil)),
    Row(
      "503 of a proxy", 503, "<html>upstream connect error</html>",
      .failed(retryAfter: .seconds(3), closesProvider: true), retryAfter: "3"),
    Row("503 that says nothing", 503, "", .failed()),
    Row("500 with a time", 500, openai("server_error", "x"), .failed(retryAfter: .seconds(2)), retryAfter: "2"),
    Row("502 with a time", 502, "<html>", .failed(retryAfter: .seconds(4)), retryAfter: "4"),
    Row("529 with a time", 529, anthropic("overloaded_error"), .throttled(retryAfter: .seconds(3)), retryAfter: "3"),
    Row("500 with nonsense for a time", 500, "", .failed(), retryAfter: "soon"),
    Row("flex has no room", 429, openai("invalid_request_error", "resource_unavailable"), .throttled(retryAfter: nil)),
    // Anthropic
    Row("anthropic bad request", 400, anthropic("invalid_request_error"), .clientError),
    Row(
      "user's own spend limit", 400,
      anthropic("invalid_request_error", message: "You have reached your specified API usage limits. x"),
      .quotaExhausted),
    Row(
      "credit too low", 400, anthropic("invalid_request_error", message: "Your credit balance is too low to access"),
      .quotaExhausted),
    Row("authentication", 401, anthropic("authentication_error"), .keyRefused),
    Row("billing", 402, anthropic("billing_error"), .quotaExhausted),
    Row("permission", 403, anthropic("permission_error"), .keyRefused),
    Row("not found", 404, anthropic("not_found_error"), .clientError),
    Row("conflict", 409, anthropic("conflict_error"), .clientError),
    Row("too large", 413, anthropic("request_too_large"), .clientError),
    Row(
      "anthropic rate limit", 429, anthropic("rate_limit_error"), .throttled(retryAfter: .seconds(7)), retryAfter: "7"),
    Row(
      "enforced spend cap", 429,
      anthropic("rate_limit_error", #","details":{"error_code":"enforced_spend_limit_reached"}"#), .quotaExhausted),
    Row(
      "contract spend cap", 429,
      anthropic("rate_limit_error", #","details":{"error_code":"contract_spend_limit_reached"}"#), .quotaExhausted),
    Row(
      "acceleration limit", 429, anthropic("rate_limit_error", #","details":{"error_code":"ramp_limit_exceeded"}"#),
      .throttled(retryAfter: .seconds(1)), retryAfter: "1"),
    Row("api error", 500, anthropic("api_error"), .failed()),
    Row("timeout", 504, anthropic("timeout_error"), .failed()),
    Row("overloaded 529", 529, anthropic("overloaded_error"), .throttled(retryAfter: nil)),
    // Others
    Row(
      "gemini with RetryInfo", 429,
      #"{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED","details":[{"@type":"x.QuotaFailure","violations":[{"quotaId":"GenerateRequestsPerMinutePerProjectPerModel"}]},{"@type":"x.RetryInfo","retryDelay":"46.5s"}]}}"#,
      .throttled(retryAfter: .milliseconds(46_500))),
    Row(
      "gemini, spent for the day", 429,
      #"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{"violations":[{"quotaId":"GenerateRequestsPerDayPerProjectPerModel"}]}]}}"#,
      .quotaExhausted),
    Row(
      "gemini in an array", 429,
      #"[{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{"retryDelay":"3s"}]}}]"#,
      .throttled(retryAfter: .seconds(3))),
    Row("gemini unavailable", 503, #"{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}"#, .failed()),
    Row("gemini deadline", 504, #"{"error":{"code":504,"status":"DEADLINE_EXCEEDED"}}"#, .failed()),
    Row(
      "gemini bad key", 400,
      #"{"error":{"code":400,"status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}"#, .keyRefused),
    Row(
      "mistral", 429,
      #"{"object":"error","message":"Rate limit exceeded","type":"rate_limited","param":null,"code":"1300"}"#,
      .throttled(retryAfter: nil)),
    Row("mistral 422", 422, #"{"detail":[{"loc":["body"],"msg":"x"}]}"#, .clientError),
    Row("groq without capacity", 498, openai("capacity_exceeded", "capacity_exceeded"), .throttled(retryAfter: nil)),
    Row("deepseek unpaid", 402, openai("insufficient_balance", "x"), .quotaExhausted),
    Row(
      "openrouter, money held by running calls", 402, #"{"error":{"code":402,"message":"m"}}"#,
      .throttled(retryAfter: .seconds(1)), retryAfter: "1"),
    Row("openrouter bad gateway", 502, #"{"error":{"code":502,"message":"m"}}"#, .failed()),
    Row("openrouter timeout", 408, #"{"error":{"code":408,"message":"m"}}"#, .failed()),
    Row(
      "azure", 429, #"{"error":{"code":"429","message":"Please retry after 37 seconds"}}"#,
      .throttled(retryAfter: .seconds(37)), retryAfter: "37"),
    Row("ollama queue full", 503, #"{"error":"server busy"}"#, .failed()),
    Row("cohere", 429, #"{"message":"trial key"}"#, .throttled(retryAfter: nil)),
    Row("voyage", 400, #"{"detail":"x"}"#, .clientError),
    Row("redirect", 302, "", .clientError),
    Row("cloudflare", 522, "<html>", .failed()),
    // Status 200
    Row("fine", 200, "", .success),
    Row("fine with body", 200, #"{"choices":[],"usage":{"prompt_tokens":1}}"#, .success),
    Row("fine, null error", 200, #"{"status":"completed","error":null,"output":[{"type":"message"}]}"#, .success),
    Row("fine, not JSON", 201, "RIFF", .success),
    Row("error inside", 200, #"{"error":{"code":429,"message":"m"}}"#, .throttled(retryAfter: nil)),
    Row("error inside, server's", 200, #"{"error":{"code":502,"message":"m"}}"#, .failed()),
    Row("error inside, unpaid", 200, #"{"error":{"code":402,"message":"m"}}"#, .quotaExhausted),
    Row("error inside, anthropic", 200, anthropic("overloaded_error"), .throttled(retryAfter: nil)),
    Row("error inside, client's", 200, openai("invalid_request_error", "invalid_value"), .clientError),
  ]

  @Test(arguments: rows)
  func readsEveryRow(_ row: Row) {
    let fields = HeaderFields(row.retryAfter.map { [(name: "retry-after", value: $0)] } ?? [])
    #expect(
      VerdictReader.verdict(
        status: row.status, fields: fields, body: Array(row.body.utf8), dialect: .openai, epochSeconds: 0)
        == row.verdict)
  }

  @Test(arguments: UpstreamFailure.Kind.allCases)
  func readsEveryBrokenTransport(_ kind: UpstreamFailure.Kind) {
    let failure = UpstreamFailure(kind: kind, detail: "", requestMayHaveArrived: true)
    #expect(VerdictReader.verdict(failure: failure, answerBegan: false) == (kind == .local ? .ownFault : .failed()))
    #expect(VerdictReader.verdict(failure: failure, answerBegan: true) == (kind == .local ? .ownFault : .truncated))
  }

  @Test(arguments: [
    (InStreamError(type: "overloaded_error"), Verdict.throttled(retryAfter: nil)),
    (InStreamError(code: "rate_limit_exceeded"), .throttled(retryAfter: nil)),
    (InStreamError(code: "429"), .throttled(retryAfter: nil)),
    (InStreamError(type: "insufficient_quota"), .quotaExhausted),
    (InStreamError(code: "invalid_prompt"), .clientError), (InStreamError(type: "authentication_error"), .keyRefused),
  ])
  func readsErrorsInsideStreams(_ error: InStreamError, _ verdict: Verdict) {
    #expect(VerdictReader.verdict(inStream: error, answerBegan: true) == verdict)
    #expect(VerdictReader.verdict(inStream: error, answerBegan: false) == verdict)
  }

  @Test func unknownErrorsInsideStreamsAreTheProvidersFault() {
    #expect(VerdictReader.verdict(inStream: InStreamError(type: "server_error"), answerBegan: true) == .truncated)
    #expect(VerdictReader.verdict(inStream: InStreamError(), answerBegan: false) == .failed())
  }
}
