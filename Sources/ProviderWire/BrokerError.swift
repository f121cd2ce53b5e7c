// The broker's own errors, in the format of the path's vendor, so that each SDK raises the same class as against the
// vendor and retries exactly when a retry can help (docs/reference/wire.md).
import AdmissionCore
import TextForms

/// The broker's own answers.
public enum BrokerError {
  /// One whole answer.
  public struct Answer: Sendable {
    public var status: Int
    /// Without `content-length` and `x-tollgate-*`, which the caller adds.
    public var fields: [(name: String, value: String)]
    public var body: [UInt8]
  }

  /// The status, type and code of an outcome in one dialect.
  struct Words: Equatable {
    var status: Int
    var type: String
    var code: String
    /// nil leaves the decision to the client.
    var shouldRetry: Bool?
    var mayCarryRetryAfter: Bool
  }

  /// The answer for an outcome that the broker decided.
  ///
  /// - Parameters:
  ///   - endpoint: for formats that differ within a dialect.
  ///   - message: a text for people; it is escaped here.
  ///   - retryAfter: sent as whole seconds, rounded up, 1 to 60, and exactly in `retry-after-ms`; ignored for outcomes
  ///     where no retry can help.
  ///   - requestID: the ULID that the client sees.
  ///   - timedOut: for `failedUpstream`: 504 instead of 502.
  public static func answer(
    outcome: Outcome, dialect: Dialect, endpoint: WireEndpoint, message: String, retryAfter: Span?, requestID: String,
    timedOut: Bool = false
  ) -> Answer {
    let words = words(outcome, dialect, timedOut: timedOut)
    var fields: [(name: String, value: String)] = [("content-type", "application/json")]
    var pause: Span?
    if words.mayCarryRetryAfter {
      let nanoseconds = min(max((retryAfter ?? .seconds(1)).nanoseconds, 1_000_000_000), 60_000_000_000)
      pause = Span(nanoseconds: nanoseconds)
      fields.append(("retry-after", String((nanoseconds + 999_999_999) / 1_000_000_000)))
      fields.append(("retry-after-ms", String((nanoseconds + 999_999) / 1_000_000)))
    }
    if outcome == .rejectedUpgrade { fields.append(("upgrade", "HTTP/1.1")) }
    if let shouldRetry = words.shouldRetry { fields.append(("x-should-retry", shouldRetry ? "true" : "false")) }
    fields.append((dialect == .anthropic ? "request-id" : "x-request-id", requestID))
    return Answer(
      status: words.status, fields: fields,
      body: body(dialect, words, message: message, requestID: requestID, pause: pause, endpoint: endpoint))
  }

  /// The answer for a path that is no API path: it says why, or which base URL the client needs.
  /// - Parameters:
  ///   - host: the authority by which the client called.
  ///   - isSecure: true where the listener speaks TLS.
  public static func unknownPath(_ path: String, host: String = "", isSecure: Bool = false, requestID: String) -> Answer
  {
    let message = unknownPathText(path, host: host, isSecure: isSecure)
    let words = Words(
      status: 404, type: "invalid_request_error", code: "unknown_url", shouldRetry: false, mayCarryRetryAfter: false)
    return Answer(
      status: 404,
      fields: [("content-type", "application/json"), ("x-should-retry", "false"), ("x-request-id", requestID)],
      body: body(
        PathAdvice.isOllama(path[...]) ? .ollama : .openai, words, message: message, requestID: requestID, pause: nil))
  }

  /// What the client is told of such a path.
  public static func unknownPathText(_ path: String, host: String = "", isSecure: Bool = false) -> String {
    PathAdvice.unserved(path[...])
      ?? "Unknown request URL: \(path). \(PathAdvice.baseURLs(host: host, isSecure: isSecure))"
  }

  /// The answer for a request that the endpoint refuses before it is read, by status.
  public static func refusal(status: Int, dialect: Dialect, message: String, requestID: String) -> Answer {
    let type =
      dialect == .anthropic
      ? (status == 413 ? "request_too_large" : status >= 500 ? "api_error" : "invalid_request_error")
      : status >= 500 ? "server_error" : "invalid_request_error"
    let words = Words(
      status: status, type: type, code: status == 413 ? "request_too_large" : "invalid_request", shouldRetry: nil,
      mayCarryRetryAfter: false)
    // A retry can help only where the server had no room, or the client was slow.
    let isFinal = status < 500 && status != 408 && status != 429
    return Answer(
      status: status,
      fields: [("content-type", "application/json")] + (isFinal ? [("x-should-retry", "false")] : [])
        + [(dialect == .anthropic ? "request-id" : "x-request-id", requestID)],
      body: body(dialect, words, message: message, requestID: requestID, pause: nil))
  }

  /// Status, type and code of an outcome. Outcomes that the broker never answers itself become a server error.
  static func words(_ outcome: Outcome, _ dialect: Dialect, timedOut: Bool) -> Words {
    let isAnthropic = dialect == .anthropic
    func words(
      _ status: Int, _ anthropicStatus: Int, openai: String, code: String, anthropic: String, shouldRetry: Bool? = nil,
      retryAfter: Bool = false
    ) -> Words {
      Words(
        status: isAnthropic ? anthropicStatus : status, type: isAnthropic ? anthropic : openai, code: code,
        shouldRetry: shouldRetry, mayCarryRetryAfter: retryAfter)
    }
    switch outcome {
    case .rejectedQueueFull, .evictedMaxWait:
      return words(
        429, 429, openai: "requests", code: "rate_limit_exceeded", anthropic: "rate_limit_error", retryAfter: true)
    case .rejectedNoCapacity, .rejectedDraining:
      return words(
        503, 529, openai: "service_unavailable_error", code: "server_is_overloaded", anthropic: "overloaded_error",
        retryAfter: true)
    case .rejectedBudget:
      return words(
        429, 402, openai: "insufficient_quota", code: "insufficient_quota", anthropic: "billing_error",
        shouldRetry: false)
    case .rejectedTenantLimit:
      return words(
        400, 400, openai: "invalid_request_error", code: "request_exceeds_limit", anthropic: "invalid_request_error",
        shouldRetry: false)
    case .rejectedUnauthenticated:
      return words(
        401, 401, openai: "invalid_request_error", code: "invalid_api_key", anthropic: "authentication_error",
        shouldRetry: false)
    case .rejectedModel:
      return words(
        404, 404, openai: "invalid_request_error", code: "model_not_found", anthropic: "not_found_error",
        shouldRetry: false)
    case .rejectedMalformed:
      return words(
        400, 400, openai: "invalid_request_error", code: "invalid_request", anthropic: "invalid_request_error",
        shouldRetry: false)
    case .rejectedTooLarge:
      return words(
        413, 413, openai: "invalid_request_error", code: "request_too_large", anthropic: "request_too_large",
        shouldRetry: false)
    case .rejectedUpgrade:
      return words(
        426, 426, openai: "invalid_request_error", code: "upgrade_not_supported", anthropic: "invalid_request_error",
        shouldRetry: false)
    case .rejectedOrigin:
      return words(
        403, 403, openai: "invalid_request_error", code: "forbidden", anthropic: "permission_error", shouldRetry: false)
    case .failedUpstream, .completed, .clientLeftQueued, .clientLeftRunning, .truncated, .upstreamError:
      let status = timedOut ? 504 : 502
      return words(
        status, status, openai: "server_error", code: timedOut ? "upstream_timeout" : "upstream_failed",
        anthropic: timedOut ? "timeout_error" : "api_error")
    }
  }

  /// Gemini's canonical status for an HTTP status.
  static func geminiStatus(_ status: Int) -> String {
    switch status {
    case 400, 413: "INVALID_ARGUMENT"
    case 401: "UNAUTHENTICATED"
    case 403: "PERMISSION_DENIED"
    case 404: "NOT_FOUND"
    case 408, 504: "DEADLINE_EXCEEDED"
    case 429: "RESOURCE_EXHAUSTED"
    case 501: "UNIMPLEMENTED"
    case 503, 529: "UNAVAILABLE"
    default: "INTERNAL"
    }
  }

  private static func body(
    _ dialect: Dialect, _ words: Words, message: String, requestID: String, pause: Span?,
    endpoint: WireEndpoint = .other
  ) -> [UInt8] {
    var json = JSONWriter(reserving: 192 + message.utf8.count)
    json.object { json in
      switch dialect {
      case .openai:
        json.object("error") { openAI(message, type: words.type, code: words.code, &$0) }
        // Vendors of embeddings and reranking share these paths: Voyage and Jina read `detail`, Cohere `message`.
        if endpoint == .embeddings || endpoint == .rerank { json.member("detail", message) }
        if endpoint == .rerank { json.member("message", message) }
      case .anthropic:
        json.member("type", "error")
        json.object("error") { anthropic(message, type: words.type, &$0) }
        json.member("request_id", requestID)
      case .gemini: json.object("error") { gemini(message, status: words.status, pause: pause, &$0) }
      case .cohere: json.member("message", message)
      case .ollama: json.member("error", message)
      }
    }
    return json.bytes
  }

  /// The error frame for a stream that broke. The caller ends the stream after it.
  ///
  /// - Parameter code: OpenAI's code (`server_error`, `rate_limit_exceeded`); translated for other dialects.
  public static func inStreamFrame(
    dialect: Dialect, endpoint: WireEndpoint, message: String, code: String, requestID: String = ""
  ) -> [UInt8] {
    var json = JSONWriter(reserving: 256 + 2 * message.utf8.count)
    switch (dialect, endpoint) {
    case (.anthropic, _):
      json.raw("event: error\ndata: ")
      json.object { json in
        json.member("type", "error")
        json.object("error") { anthropic(message, type: anthropicType(code), &$0) }
      }
    case (_, .responses), (_, .responsesCompact):
      json.raw("event: response.failed\ndata: ")
      json.object { failedResponse(message, code: code, requestID: requestID, &$0) }
    case (.gemini, _):
      let status = code == "rate_limit_exceeded" ? 429 : code == "server_is_overloaded" ? 503 : 500
      json.raw("data: ")
      json.object { $0.object("error") { gemini(message, status: status, pause: nil, &$0) } }
    case (.cohere, _):
      json.raw("event: message-end\ndata: ")
      json.object { json in
        json.member("type", "message-end")
        json.object("delta") { json in
          json.member("finish_reason", "ERROR")
          json.member("error", message)
        }
      }
    case (.ollama, _):
      json.object { $0.member("error", message) }
      json.raw("\n")
      return json.bytes
    case (.openai, _):
      json.raw("data: ")
      json.object { $0.object("error") { openAI(message, type: openaiType(code), code: code, &$0) } }
    }
    json.raw("\n\n")
    return json.bytes
  }

  private static func openAI(_ message: String, type: String, code: String, _ json: inout JSONWriter) {
    json.member("message", message)
    json.member("type", type)
    json.key("param")
    json.null()
    json.member("code", code)
  }

  private static func anthropic(_ message: String, type: String, _ json: inout JSONWriter) {
    json.member("type", type)
    json.member("message", message)
  }

  private static func gemini(_ message: String, status: Int, pause: Span?, _ json: inout JSONWriter) {
    json.member("code", status)
    json.member("message", message)
    json.member("status", geminiStatus(status))
    guard let pause else { return }
    json.key("details")
    json.array(CollectionOfOne(pause)) { json, pause in
      json.object { json in
        json.member("@type", "type.googleapis.com/google.rpc.RetryInfo")
        json.member("retryDelay", "\((pause.nanoseconds + 999_999_999) / 1_000_000_000)s")
      }
    }
  }

  /// Writes both forms: SDKs raise on the top-level `error`, other clients read `response.error`.
  private static func failedResponse(_ message: String, code: String, requestID: String, _ json: inout JSONWriter) {
    json.member("type", "response.failed")
    json.member("sequence_number", 0)
    json.object("response") { json in
      json.member("id", "resp_" + requestID)
      json.member("object", "response")
      json.member("created_at", 0)
      json.member("status", "failed")
      json.member("model", "")
      json.key("output")
      json.array(EmptyCollection<Int>()) { $0.value($1) }
      json.object("error") { json in
        json.member("code", code)
        json.member("message", message)
      }
      json.key("usage")
      json.null()
    }
    json.object("error") { json in
      json.member("type", openaiType(code))
      json.member("code", code)
      json.member("message", message)
    }
  }

  private static func openaiType(_ code: String) -> String {
    switch code {
    case "rate_limit_exceeded": "rate_limit_error"
    case "server_is_overloaded": "service_unavailable_error"
    case "insufficient_quota": "insufficient_quota"
    default: "server_error"
    }
  }

  private static func anthropicType(_ code: String) -> String {
    switch code {
    case "rate_limit_exceeded": "rate_limit_error"
    case "server_is_overloaded": "overloaded_error"
    case "insufficient_quota": "billing_error"
    case "upstream_timeout": "timeout_error"
    default: "api_error"
    }
  }
}
