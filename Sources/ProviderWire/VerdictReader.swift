// From an answer, or the lack of one, to a verdict: what it says about provider, key and request. One pure function per
// source;
// the table is in docs/reference/wire.md and in the tests.
import AdmissionCore
import HTTPMessage

public enum VerdictReader {
  /// The verdict of an answer.
  ///
  /// - Parameters:
  ///   - body: as much of it as is known, decoded; 64 KiB are plenty. For 2xx only needed where an error may hide in
  ///     it; pass `[]` otherwise.
  ///   - epochSeconds: the wall clock, for `Retry-After` as a date.
  public static func verdict(
    status: Int, fields: HeaderFields, body: [UInt8], dialect: Dialect, epochSeconds: Int64
  ) -> Verdict {
    switch status {
    case 200..<300:
      guard !body.isEmpty else { return .success }
      let error = ErrorReading(body)
      guard error.isError else { return .success }
      return verdict(words: error.words, otherwise: .failed(), retryAfter: nil)
    case 401, 403:
      return .keyRefused
    case 402:
      // Some say so of money that is only held by calls still running.
      if let pause = RateLimitHeaders.retryAfter(fields, epochSeconds: epochSeconds) {
        return .throttled(retryAfter: pause)
      }
      return .quotaExhausted
    case 429, 498, 529:
      let error = ErrorReading(body)
      if status == 429, isUnpaid(error.words) || error.isDailyQuota { return .quotaExhausted }
      return .throttled(
        retryAfter: RateLimitHeaders.retryAfter(fields, epochSeconds: epochSeconds) ?? error.retryDelay)
    case 408:
      return .failed(retryAfter: RateLimitHeaders.retryAfter(fields, epochSeconds: epochSeconds))
    case 503:
      let words = ErrorReading(body).words
      let pause = RateLimitHeaders.retryAfter(fields, epochSeconds: epochSeconds)
      if words.contains("slow_down") { return .throttled(retryAfter: pause) }
      // Overloaded and able to say until when: waiting is enough. Without that it is a failure like any other.
      if let pause, words.contains(where: isOverloaded) { return .throttled(retryAfter: pause) }
      // Of a 503 the time tells when the service will be there again, for whomever (RFC 9110, section 10.2.3).
      return .failed(retryAfter: pause, closesProvider: pause != nil)
    case 500...:
      return .failed(retryAfter: RateLimitHeaders.retryAfter(fields, epochSeconds: epochSeconds))
    case 400:
      let error = ErrorReading(body)
      if isUnpaid(error.words) || isSpendLimit(error.message) { return .quotaExhausted }
      if error.detailCodes.contains("API_KEY_INVALID") { return .keyRefused }
      return .clientError
    default:
      return .clientError
    }
  }

  /// The verdict of an attempt that broke. `answerBegan`: bytes of this attempt have gone to the client.
  public static func verdict(failure: UpstreamFailure, answerBegan: Bool) -> Verdict {
    switch failure.kind {
    case .local: .ownFault
    case .resolveFailed, .connectRefused, .connectTimedOut, .tlsFailed, .proxyFailed, .resetBeforeResponse, .truncated,
      .firstByteTimedOut, .idleTimedOut, .totalTimedOut, .malformedResponse:
      answerBegan ? .truncated : .failed()
    }
  }

  /// The verdict of an error that came inside an answer of status 200.
  public static func verdict(inStream error: InStreamError, answerBegan: Bool) -> Verdict {
    verdict(
      words: [error.type, error.code].compactMap { $0 }, otherwise: answerBegan ? .truncated : .failed(),
      retryAfter: nil)
  }

  /// What an error means that has words but no status of its own.
  private static func verdict(words: [String], otherwise: Verdict, retryAfter: Span?) -> Verdict {
    if isUnpaid(words) || words.contains("402") { return .quotaExhausted }
    for word in words {
      switch word {
      case "rate_limit_error", "rate_limit_exceeded", "rate_limited", "RESOURCE_EXHAUSTED", "slow_down", "429", "529",
        "498", "overloaded_error", "capacity_exceeded", "ramp_limit_exceeded":
        return .throttled(retryAfter: retryAfter)
      case "authentication_error", "invalid_api_key", "permission_error", "UNAUTHENTICATED", "PERMISSION_DENIED", "401",
        "403":
        return .keyRefused
      case "invalid_request_error", "invalid_prompt", "INVALID_ARGUMENT", "not_found_error", "request_too_large",
        "context_length_exceeded", "400", "404", "413", "422":
        return .clientError
      default: continue
      }
    }
    return otherwise
  }

  /// Words that mean: nothing goes on this key until somebody pays.
  private static func isUnpaid(_ words: [String]) -> Bool {
    words.contains {
      switch $0 {
      case "insufficient_quota", "credit_balance_exhausted", "billing_hard_limit_reached", "billing_not_active",
        "billing_error", "enforced_spend_limit_reached", "contract_spend_limit_reached", "insufficient_balance":
        true
      default: false
      }
    }
  }

  private static func isOverloaded(_ word: String) -> Bool {
    switch word {
    case "server_is_overloaded", "service_unavailable_error", "overloaded_error", "UNAVAILABLE", "503": true
    default: false
    }
  }

  /// Anthropic tells spent limits and empty accounts apart from bad requests by their text alone.
  private static func isSpendLimit(_ message: String?) -> Bool {
    guard let message else { return false }
    return message.hasPrefix("You have reached your specified API usage limits")
      || message.hasPrefix("Your credit balance is too low")
  }
}
