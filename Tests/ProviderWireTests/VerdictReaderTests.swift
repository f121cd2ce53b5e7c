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
    var shouldRetry: String?
    var body: String
    var verdict: Verdict
    init(
      _ name: String, _ status: Int, _ body: String, _ verdict: Verdict, retryAfter: String? = nil,
      shouldRetry: String? = nil
    ) {
      self.shouldRetry = shouldRetry
      self.name = name
      self.status = status
      self.retryAfter = retryAfter
      self.body = body
      self.verdict = verdict
    }
    var testDescription: String { name }
  }

  private static func openai(_ type: String, _ code: String?, message: String = "m") -> String {
    let code = code.map { "\"\($0)\"" } ?? "null"
    return #"{"error":{"message":"\#(message)","type":"\#(type)","param":null,"code":\#(code)}}"#
  }
  private static func gemini(_ code: Int, _ status: String, details: String = "", message: String = "m") -> String {
    #"{"error":{"code":\#(code),"message":"\#(message)","status":"\#(status)","details":[\#(details)]}}"#
  }
  private static func anthropic(_ type: String, _ details: String = "", message: String = "m") -> String {
    #"{"type":"error","error":{"type":"\#(type)","message":"\#(message)"\#(details)},"request_id":"req_1"}"#
  }

  static let rows: [Row] = [
    // OpenAI
    Row("bad request", 400, openai("invalid_request_error", "context_length_exceeded"), .clientError),
    Row("bad key", 401, openai("invalid_request_error", "invalid_api_key"), .keyRefused),
    Row("no permission", 403, openai("permission_error", "x"), .clientError),
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
      .failed(retryAfter: .seconds(3), isAway: true), retryAfter: "3"),
    Row("503 that says nothing", 503, "", .failed()),
    Row("500 with a time", 500, openai("server_error", "x"), .failed(retryAfter: .seconds(2)), retryAfter: "2"),
    Row("502 with a time", 502, "<html>", .failed(retryAfter: .seconds(4)), retryAfter: "4"),
    Row("529 with a time", 529, anthropic("overloaded_error"), .throttled(retryAfter: .seconds(3)), retryAfter: "3"),
    Row("500 with nonsense for a time", 500, "", .failed(), retryAfter: "soon"),
    Row("flex has no room", 429, openai("invalid_request_error", "resource_unavailable"), .throttled(retryAfter: nil)),
    // Vendors of embeddings and reranking, and local servers
    Row("voyage key", 401, #"{"detail":"Provided API key is invalid."}"#, .keyRefused),
    Row("voyage model", 401, #"{"detail":"This key has no permission for the model."}"#, .clientError),
    Row(
      "voyage limit", 429, #"{"detail":"You are over your rate. Please retry in 12s."}"#,
      .throttled(retryAfter: .seconds(12))),
    Row("cohere key", 401, #"{"message":"invalid api token"}"#, .keyRefused),
    Row("cohere limit", 429, #"{"message":"Please wait and try again later"}"#, .throttled(retryAfter: nil)),
    Row("ollama model", 404, #"{"error":"model 'x' not found"}"#, .clientError),
    Row(
      "ollama queue", 503, #"{"error":"server busy, please try again. maximum pending requests exceeded"}"#, .failed()),
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
    Row("permission", 403, anthropic("permission_error"), .clientError),
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
      #"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{"violations":[{"quotaId":"GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}]}}"#,
      .modelRefused()),
    Row(
      "gemini, the project's day", 429,
      gemini(429, "RESOURCE_EXHAUSTED", details: #"{"violations":[{"quotaId":"GenerateRequestsPerDayPerProject"}]}"#),
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
    // Whose fault a 401, 402 or 403 is
    Row(
      "other organization", 401,
      openai("invalid_request_error", "mismatched_organization", message: "OpenAI-Organization header should match"),
      .clientError),
    Row(
      "other organization by type", 401, openai("authentication_error", "mismatched_organization"), .clientError),
    Row(
      "missing scope, no code", 401,
      openai(
        "invalid_request_error", nil, message: "You have insufficient permissions. Missing scopes: api.model.read"),
      .clientError),
    Row("missing scope", 401, openai("invalid_request_error", "missing_scope"), .clientError),
    Row(
      "no access to a model", 403,
      openai("invalid_request_error", "model_not_found", message: "Project `p` does not have access to model `m`"),
      .modelRefused()),
    Row(
      "no access to a model, no code", 403,
      openai("invalid_request_error", nil, message: "Project `p` does not have access to model `m`"), .modelRefused()),
    Row(
      "a gateway's key without this model", 401,
      openai("key_model_access_denied", "401", message: "key not allowed to access model. This key can only access m"),
      .modelRefused()),
    Row("region", 403, openai("request_forbidden", "unsupported_country_region_territory"), .clientError),
    Row("deactivated account", 401, openai("invalid_request_error", "account_deactivated"), .keyRefused),
    Row("bare 401", 401, "", .keyRefused),
    Row("bare 401 in words", 401, #"{"message":"Unauthorized","request_id":"x"}"#, .keyRefused),
    Row("voyage bad key", 401, #"{"detail":"Provided API key is invalid."}"#, .keyRefused),
    Row("cohere bad key", 401, #"{"message":"invalid api token"}"#, .keyRefused),
    Row("openrouter bad key", 401, #"{"error":{"message":"No auth credentials found","code":401}}"#, .keyRefused),
    Row(
      "deepseek bad key", 401,
      openai("authentication_error", "invalid_request_error", message: "Authentication Fails (no such user)"),
      .keyRefused),
    Row(
      "azure bad key", 401,
      #"{"error":{"code":"401","message":"Access denied due to invalid subscription key or wrong API endpoint. Use a correct regional API endpoint for your resource."}}"#,
      .keyRefused),
    Row(
      "xai bad key", 400,
      #"{"code":"Client specified an invalid argument","error":"Incorrect API key provided: xa***12."}"#, .keyRefused),
    Row("google bad token", 401, gemini(401, "UNAUTHENTICATED"), .keyRefused),
    Row(
      "google leaked key", 403,
      gemini(403, "PERMISSION_DENIED", message: "Your API key was reported as leaked. Please use another API key."),
      .keyRefused),
    Row("google permission", 403, gemini(403, "PERMISSION_DENIED"), .clientError),
    Row(
      "a model by the name of a refusal", 400,
      openai("invalid_request_error", nil, message: "no model 'Incorrect API key'"), .clientError),
    Row("bare 403", 403, "", .clientError),
    Row("bare 402", 402, "", .clientError),
    Row(
      "more than is left", 402,
      #"{"error":{"message":"This request requires more credits, or fewer max_tokens. You requested up to 65536 tokens, but can only afford 30104","code":402}}"#,
      .clientError),
    Row(
      "openrouter empty", 402, #"{"error":{"message":"Insufficient credits. Add more using x","code":402}}"#,
      .quotaExhausted),
    Row(
      "deepseek empty", 402, openai("unknown_error", "invalid_request_error", message: "Insufficient Balance"),
      .quotaExhausted),
    Row(
      "flagged input", 403,
      #"{"error":{"message":"m requires moderation. Your input was flagged for \"violence\".","code":403,"metadata":{"reasons":["violence"],"flagged_input":"invalid_api_key"}}}"#,
      .clientError),
    // Words that a provider only repeats
    Row(
      "an echo beside the error", 400,
      #"{"error":{"message":"bad","type":"invalid_request_error"},"request":{"reason":"API_KEY_INVALID","code":"invalid_api_key"}}"#,
      .clientError),
    Row(
      "an echo inside of the error", 400,
      #"{"error":{"message":"bad","input":{"reason":"API_KEY_INVALID","error_code":"insufficient_quota","error":{"code":"invalid_api_key"}}}}"#,
      .clientError),
    Row(
      "an echo before the error", 403,
      #"{"detail":[{"loc":["body"],"input":{"error":{"type":"authentication_error"},"details":[{"reason":"API_KEY_INVALID"}]}}],"error":{"message":"bad"}}"#,
      .clientError),
    Row(
      "an echo of a day's quota", 429,
      #"{"error":{"message":"slow","type":"rate_limit_error"},"request":{"a":{"b":{"c":"RequestsPerDay"}}}}"#,
      .throttled(retryAfter: nil)),
    Row(
      "an echo below a detail", 400,
      #"{"error":{"message":"bad","details":[{"metadata":{"x":{"reason":"API_KEY_INVALID"}}}]}}"#, .clientError),
    Row(
      "a key refused in details", 400,
      #"{"error":{"code":400,"message":"x","status":"INVALID_ARGUMENT","details":[{"@type":"x","reason":"API_KEY_INVALID"}]}}"#,
      .keyRefused),
    Row(
      "a key refused in an array", 400,
      #"[{"error":{"code":400,"message":"x","details":[{"reason":"API_KEY_INVALID"}]}}]"#, .keyRefused),
    Row(
      "a key refused below detail", 401, #"{"detail":{"error":{"code":"invalid_api_key","message":"x"}}}"#, .keyRefused),
    // Words that are not all there
    Row("half a refusal", 401, #"{"error":{"type":"authentication_error","message":"#, .clientError),
    Row("nothing but a brace", 401, "{", .clientError),
    Row("a text", 401, "Unauthorized", .keyRefused),
    // Pages for people
    Row("a page as 401", 401, "<html>401 Authorization Required</html>", .failed()),
    Row("a page as 403", 403, "  <!DOCTYPE html><title>Attention Required! | Cloudflare</title>", .failed()),
    Row("a page as 404", 404, "<html>", .clientError),
    Row("a page as 405", 405, "<html>", .clientError),
    Row("a page as 406", 406, "<html>", .failed()),
    Row("a page as 410", 410, "<html>", .clientError),
    Row("a page as 451", 451, "<html>", .clientError),
    Row("a page as 402 with a time", 402, "<html>", .failed(retryAfter: .seconds(3)), retryAfter: "3"),
    Row("a page as 413", 413, "<html>", .clientError),
    Row("a page as 409", 409, "<html>", .clientError),
    Row("a page as 415", 415, "<html>", .clientError),
    Row("a page as 422", 422, "<html>", .clientError),
    Row("a page as 400", 400, "<html>", .clientError),
    Row("a page as 429", 429, "<html>", .throttled(retryAfter: nil)),
    // Never, and when
    Row(
      "larger than the limit", 429,
      openai(
        "tokens", "rate_limit_exceeded",
        message:
          "Request too large for gpt-4o in organization org on tokens per min (TPM): Limit 30000, Requested 61337."),
      .clientError, retryAfter: "2"),
    Row(
      "larger than the limit by its numbers", 429,
      openai("tokens", "rate_limit_exceeded", message: "Rate limit reached: Limit 30000, Used 0, Requested 30001."),
      .clientError),
    Row(
      "as large as the limit", 429,
      openai("tokens", "rate_limit_exceeded", message: "Rate limit reached: Limit 30000, Used 0, Requested 30000."),
      .throttled(retryAfter: nil)),
    Row("final", 429, openai("requests", "rate_limit_exceeded"), .clientError, shouldRetry: "false"),
    Row(
      "final, but the others may know when", 429, openai("requests", "rate_limit_exceeded"),
      .throttled(retryAfter: .seconds(2)), retryAfter: "2", shouldRetry: "false"),
    Row(
      "may come again", 429, openai("requests", "rate_limit_exceeded"), .throttled(retryAfter: nil), shouldRetry: "true"
    ),
    Row("final 500", 500, openai("server_error", "x"), .failed(), shouldRetry: "false"),
    Row(
      "a time in words", 429,
      openai("tokens", "rate_limit_exceeded", message: "Rate limit reached. Please try again in 1.2s."),
      .throttled(retryAfter: .milliseconds(1200))),
    Row(
      "a longer time in words", 429,
      openai("requests", "rate_limit_exceeded", message: "Please try again in 7m12s. Visit x"),
      .throttled(retryAfter: .seconds(432))),
    Row(
      "seconds in words", 429, #"{"error":{"code":"429","message":"Please retry after 37 seconds."}}"#,
      .throttled(retryAfter: .seconds(37))),
    Row(
      "no time in words", 429, openai("requests", "x", message: "Please try again in a moment"),
      .throttled(retryAfter: nil)),
    Row(
      "a number without a unit", 429, openai("requests", "x", message: "Please try again in 5 attempts"),
      .throttled(retryAfter: nil)),
    Row(
      "calls at a time", 429,
      anthropic("rate_limit_error", message: "Number of concurrent connections has exceeded your rate limit of 5."),
      .throttled(retryAfter: .seconds(1), isAboutConcurrency: true), retryAfter: "1"),
    // Status 200
    Row("fine", 200, "", .success),
    Row("fine with body", 200, #"{"choices":[],"usage":{"prompt_tokens":1}}"#, .success),
    Row("fine, null error", 200, #"{"status":"completed","error":null,"output":[{"type":"message"}]}"#, .success),
    Row("fine, not JSON", 201, "RIFF", .success),
    Row(
      "openrouter key used up", 403,
      #"{"error":{"message":"Key limit exceeded (total limit). Manage it using x","code":403}}"#, .quotaExhausted),
    Row(
      "openrouter quotes it", 403, #"{"error":{"message":"Flagged: key limit exceeded","code":403}}"#, .clientError),
    Row(
      "anthropic disabled 400", 400,
      anthropic("invalid_request_error", message: "This organization has been disabled."),
      .keyRefused),
    Row(
      "anthropic disabled 403", 403, anthropic("permission_error", message: "This organization has been disabled."),
      .keyRefused),
    Row("page inside", 200, "<!doctype html><title>Sign in</title>", .failed()),
    Row("error inside that says nothing", 200, #"{"error":"","choices":[]}"#, .success),
    Row("empty error inside", 200, #"{"error":{"code":0,"message":""},"choices":[]}"#, .success),
    Row("error inside", 200, #"{"error":{"code":429,"message":"m"}}"#, .throttled(retryAfter: nil)),
    Row("error inside, server's", 200, #"{"error":{"code":502,"message":"m"}}"#, .failed()),
    Row("error inside, too dear", 200, #"{"error":{"code":402,"message":"m"}}"#, .clientError),
    Row("error inside, flagged", 200, #"{"error":{"code":403,"message":"m"}}"#, .clientError),
    Row("error inside, bare 401", 200, #"{"error":{"code":401,"message":"No auth credentials"}}"#, .keyRefused),
    Row(
      "error inside, no credits", 200, #"{"error":{"code":402,"message":"Insufficient credits. Add more"}}"#,
      .quotaExhausted),
    Row("error inside, anthropic", 200, anthropic("overloaded_error"), .throttled(retryAfter: nil)),
    Row("error inside, client's", 200, openai("invalid_request_error", "invalid_value"), .clientError),
  ]

  @Test(arguments: rows)
  func readsEveryRow(_ row: Row) {
    let fields = HeaderFields(
      (row.retryAfter.map { [(name: "retry-after", value: $0)] } ?? [])
        + (row.shouldRetry.map { [(name: "x-should-retry", value: $0)] } ?? []))
    #expect(
      VerdictReader.verdict(
        status: row.status, fields: fields, body: Array(row.body.utf8), epochSeconds: 0)
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
    (InStreamError(type: "permission_error"), .clientError), (InStreamError(code: "402"), .clientError),
    (InStreamError(code: "403", message: "flagged"), .clientError), (InStreamError(code: "401"), .keyRefused),
    (InStreamError(type: "invalid_request_error", code: "mismatched_organization"), .clientError),
    (InStreamError(code: "402", message: "Insufficient credits"), .quotaExhausted),
    (
      InStreamError(code: "rate_limit_exceeded", message: "Please try again in 2s."),
      .throttled(retryAfter: .seconds(2))
    ),
    (InStreamError(code: "rate_limit_exceeded", message: "Request too large for m"), .clientError),
    (InStreamError(code: "model_not_found", message: "m"), .modelRefused()),
  ])
  func readsErrorsInsideStreams(_ error: InStreamError, _ verdict: Verdict) {
    #expect(VerdictReader.verdict(inStream: error, answerBegan: true) == verdict)
    #expect(VerdictReader.verdict(inStream: error, answerBegan: false) == verdict)
  }

  @Test func unknownErrorsInsideStreamsAreTheProvidersFault() {
    #expect(VerdictReader.verdict(inStream: InStreamError(type: "server_error"), answerBegan: true) == .truncated)
    #expect(VerdictReader.verdict(inStream: InStreamError(), answerBegan: false) == .failed())
  }

  @Test(
    arguments: [
      ("false", false), ("FALSE", false), ("true", true), ("maybe", nil), (nil, nil),
    ] as [(String?, Bool?)])
  func hearsWhetherACallMayComeAgain(value: String?, meaning: Bool?) {
    let fields = HeaderFields(value.map { [(name: "X-Should-Retry", value: $0)] } ?? [])
    #expect(VerdictReader.shouldRetry(fields) == meaning)
  }

  @Test func readsErrorsThatCameCompressed() throws {
    let body = Array(#"{"error":{"code":"invalid_api_key"}}"#.utf8)
    #expect(ErrorBody.decoded(body, contentEncoding: nil) == body)
    #expect(ErrorBody.decoded(body, contentEncoding: "br") == nil)
    #expect(ErrorBody.decoded(body, contentEncoding: "gzip") == nil)
    #expect(ErrorBody.decoded([], contentEncoding: "br") == [])
    // The head of a gzip file, and nothing behind it.
    #expect(ErrorBody.decoded([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3], contentEncoding: "gzip") == nil)
  }

  @Test(arguments: [400, 401, 403]) func whatCannotBeReadRefusesNoKey(_ status: Int) {
    #expect(VerdictReader.verdict(status: status, fields: HeaderFields(), body: nil, epochSeconds: 0) == .clientError)
  }

  @Test func aStatusSaysWhatItSaysWithoutWordsToo() {
    func verdict(_ status: Int) -> Verdict {
      VerdictReader.verdict(
        status: status, fields: HeaderFields([(name: "retry-after", value: "2")]), body: nil, epochSeconds: 0)
    }
    #expect(verdict(200) == .success)
    #expect(verdict(429) == .throttled(retryAfter: .seconds(2)))
    #expect(verdict(500) == .failed(retryAfter: .seconds(2)))
  }
}
