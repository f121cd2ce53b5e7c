// Interprets the words of any provider's error. The lists are positive, so that an unknown word is taken to concern
// only the request. Of a message only the beginning counts, because vendors quote their clients' text further on.
import AdmissionCore
import TextForms

struct ErrorWords {
  let reading: ErrorReading
  private let message: String

  init(_ reading: ErrorReading) {
    self.reading = reading
    message = (reading.message ?? "").lowercased()
  }

  private func has(_ list: Set<String>) -> Bool { reading.words.contains { list.contains($0) } }
  private func begins(_ list: [String]) -> Bool { list.contains { message.hasPrefix($0) } }

  // MARK: The key

  private static let keyWords: Set<String> = [
    "invalid_api_key", "authentication_error", "UNAUTHENTICATED", "API_KEY_INVALID", "account_deactivated",
    "deactivated_workspace", "api_key_revoked", "expired_key", "token_not_found_in_db", "invalid_token",
    "invalid_authentication_error", "API_KEY_EXPIRED", "CONSUMER_SUSPENDED",
  ]
  private static let keyMessages = [
    "incorrect api key", "invalid api key", "api key not valid", "your api key was reported as leaked",
    "api key expired",
    "access denied due to invalid subscription key", "the api key has been revoked", "this api key has been",
    "your api key has been", "this organization has been disabled",
  ]
  /// Codes of a 401 that name no cause.
  private static let plainWords: Set<String> = [
    "invalid_request_error", "error", "api_error", "auth_error", "unauthorized", "Unauthorized", "unknown_error", "401",
  ]
  /// A 401 whose message contains one of these is about what was asked, not about the key.
  private static let askedFor = ["scope", "permission", "organization", "project", "model"]

  /// True where the key is invalid, whatever is asked with it.
  /// - Parameter status: 200 where the error has no status of its own.
  func refuseKey(status: Int) -> Bool {
    // The unread rest of the body may name another cause.
    if reading.isBroken || namesAnotherCause { return false }
    if has(Self.keyWords) { return true }
    switch status {
    case 400, 403: return begins(Self.keyMessages)
    case 401: return begins(Self.keyMessages) || isBare
    case 200..<300: return reading.words.contains("401") && isBare
    default: return false
    }
  }

  /// True where, beside `authentication_error` or a bare 401, a code names another cause.
  private var namesAnotherCause: Bool {
    guard let code = reading.code else { return false }
    // A number only repeats the status, and some vendors put a sentence there.
    return !Self.keyWords.contains(code) && !Self.plainWords.contains(code) && !code.contains(" ") && Int(code) == nil
  }

  /// True where the error says no more than that access was denied.
  private var isBare: Bool {
    reading.words.allSatisfy { Self.plainWords.contains($0) || Self.keyWords.contains($0) }
      && !Self.askedFor.contains { message.contains($0) }
  }

  // MARK: Money

  private static let unpaidWords: Set<String> = [
    "insufficient_quota", "credit_balance_exhausted", "billing_hard_limit_reached", "billing_not_active",
    "billing_error",
    "enforced_spend_limit_reached", "contract_spend_limit_reached", "insufficient_balance",
    "exceeded_current_quota_error",
    "BILLING_DISABLED",
  ]
  /// For Anthropic, DeepSeek and OpenRouter only the text distinguishes spent limits and empty accounts from bad
  /// requests.
  private static let unpaidMessages = [
    "you have reached your specified api usage limits", "your credit balance is too low", "insufficient balance",
    "insufficient credits", "you have run out of credits", "key limit exceeded",
  ]

  /// True where no call with this key succeeds before someone pays.
  var isUnpaid: Bool { has(Self.unpaidWords) || (reading.isDailyQuota && !reading.isQuotaOfModel) }

  /// The same by the text, for statuses that allow it.
  var saysUnpaid: Bool { isUnpaid || begins(Self.unpaidMessages) }

  // MARK: The model

  private static let modelWords: Set<String> = [
    "model_not_found", "model_not_available", "model_not_allowed", "key_model_access_denied",
    "team_model_access_denied",
    "model_access_denied",
  ]

  /// True where this key may not use this model.
  var refusesModel: Bool {
    has(Self.modelWords)
      || (message.contains("access to") || message.contains("access") && message.contains("permission"))
        && message.contains("model")
  }

  // MARK: Slow down

  private static let throttleWords: Set<String> = [
    "rate_limit_error", "rate_limit_exceeded", "rate_limited", "RESOURCE_EXHAUSTED", "slow_down", "429", "529", "498",
    "overloaded_error", "capacity_exceeded", "ramp_limit_exceeded",
  ]
  private static let overloadWords: Set<String> = [
    "server_is_overloaded", "service_unavailable_error", "overloaded_error", "UNAVAILABLE", "503",
  ]
  private static let clientWords: Set<String> = [
    "invalid_request_error", "invalid_prompt", "INVALID_ARGUMENT", "not_found_error", "request_too_large",
    "context_length_exceeded", "permission_error", "PERMISSION_DENIED", "FAILED_PRECONDITION", "NOT_FOUND", "400",
    "402",
    "403", "404", "413", "422",
  ]

  var isThrottle: Bool { has(Self.throttleWords) }
  var isOverload: Bool { has(Self.overloadWords) }
  var isSlowDown: Bool { reading.words.contains("slow_down") }

  /// The first known code decides: a vendor names the kind of error before its details.
  var isClients: Bool {
    reading.words.first { Self.clientWords.contains($0) || Self.throttleWords.contains($0) }
      .map { Self.clientWords.contains($0) } ?? false
  }

  /// True where the error is about concurrent calls, not about a rate.
  var isAboutConcurrency: Bool { message.contains("concurren") }

  /// True where the request is larger than the limit itself, so that no wait can help.
  var canNeverFit: Bool {
    if message.contains("request too large") { return true }
    guard let limit = number(after: "limit "), let wanted = number(after: "requested ") else { return false }
    return wanted > limit
  }

  /// The number that directly follows the first `mark`.
  private func number(after mark: String) -> Int64? {
    var rest = Array(message.utf8)[...]
    while let found = Self.text(after: mark, in: rest) {
      if let number = WireTimes.digits(found.prefix { $0 >= 0x30 && $0 <= 0x39 }) { return number }
      rest = found
    }
    return nil
  }

  /// The wait that only the text gives: `try again in 1.2s`, `retry in 27.3s`, `retry after 37 seconds`.
  var waitInWords: Span? {
    for mark in ["try again in ", "retry in ", "retry after "] {
      guard let rest = Self.text(after: mark, in: Array(message.utf8)[...]) else { continue }
      var time = rest.prefix { $0 != 0x20 && $0 != UInt8(ascii: ",") && $0 != UInt8(ascii: ")") }
      while time.last == UInt8(ascii: ".") { time = time.dropLast() }
      // A number without a unit means seconds only where the text says so.
      let isBareNumber = time.allSatisfy { $0 >= 0x30 && $0 <= 0x39 || $0 == UInt8(ascii: ".") }
      let unit = rest.dropFirst(time.count).drop { $0 == 0x20 }
      if isBareNumber, !unit.starts(with: "second".utf8) { continue }
      if let span = WireTimes.duration(time) { return span }
    }
    return nil
  }

  private static func text(after mark: String, in bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8>? {
    let wanted = Array(mark.utf8)
    guard bytes.count > wanted.count else { return nil }
    for start in bytes.startIndex..<(bytes.endIndex - wanted.count)
    where bytes[start..<(start + wanted.count)].elementsEqual(wanted) {
      return bytes[(start + wanted.count)...]
    }
    return nil
  }
}
