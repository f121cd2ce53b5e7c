// Derives a verdict from an answer, or from the lack of one: whose fault it is, and what it says about provider, key,
// model and request. One pure function per source; the table is in docs/reference/wire.md and in the tests.
//
// A status alone says little. What the lists in `ErrorWords` do not attribute to the key or the provider is the
// client's fault.
import AdmissionCore
import HTTPMessage

public enum VerdictReader {
  /// The verdict of an answer.
  ///
  /// - Parameters:
  ///   - body: the known part of the decoded body; 64 KiB are enough. For 2xx only needed where it may contain an
  ///     error; pass `[]` otherwise. nil where there is a body that cannot be decoded.
  ///   - epochSeconds: the wall clock, for `Retry-After` as a date.
  public static func verdict(
    status: Int, fields: HeaderFields, body: [UInt8]?, epochSeconds: Int64
  ) -> Verdict {
    if (200..<300).contains(status) {
      if isPage(fields, body) { return .failed() }
      guard let body, !body.isEmpty else { return .success }
      let error = ErrorReading(body)
      guard error.isError else { return .success }
      return verdict(ErrorWords(error), otherwise: .failed())
    }
    let pause = RateLimitHeaders.retryAfter(fields, epochSeconds: epochSeconds)
    if isPage(fields, body), mayBeSomebodyElses(status) { return .failed(retryAfter: pause) }
    let words = ErrorWords(ErrorReading(body))
    switch status {
    case 400:
      if words.saysUnpaid { return .quotaExhausted }
      return words.refuseKey(status: status) ? .keyRefused : .clientError
    case 401, 403:
      if words.saysUnpaid { return .quotaExhausted }
      if words.refuseKey(status: status) { return .keyRefused }
      return words.refusesModel ? .modelRefused() : .clientError
    case 402:
      if words.saysUnpaid { return .quotaExhausted }
      // Some vendors say this while running calls only hold the money.
      return pause.map { .throttled(retryAfter: $0) } ?? .clientError
    case 429, 498, 529:
      return throttled(words, status: status, pause: pause, isFinal: shouldRetry(fields) == false)
    case 408:
      return .failed(retryAfter: pause)
    case 503:
      if words.isSlowDown { return .throttled(retryAfter: pause) }
      // Overload with a time: waiting is enough. Without a time it is a failure like any other.
      if let pause, words.isOverload { return .throttled(retryAfter: pause) }
      // With a 503, the time says when the service is available again for all calls (RFC 9110, section 10.2.3). One
      // call does not show which service is meant.
      return .failed(retryAfter: pause, isAway: pause != nil)
    case 500...:
      return .failed(retryAfter: pause)
    default:
      return .clientError
    }
  }

  /// Whether the provider allows the same call again (`x-should-retry`); nil where it does not say.
  public static func shouldRetry(_ fields: HeaderFields) -> Bool? {
    switch fields.first("x-should-retry")?.lowercased() {
    case "true": true
    case "false": false
    default: nil
    }
  }

  private static func throttled(_ words: ErrorWords, status: Int, pause: Span?, isFinal: Bool) -> Verdict {
    let told = pause ?? words.reading.retryDelay ?? (status == 429 ? words.waitInWords : nil)
    if status == 429 {
      if words.isUnpaid { return .quotaExhausted }
      if words.reading.isDailyQuota { return .modelRefused(retryAfter: told) }
      if words.canNeverFit { return .clientError }
    }
    // An error that forbids a retry and names no time concerns only this call.
    if isFinal, told == nil { return .clientError }
    return .throttled(retryAfter: told, isAboutConcurrency: words.isAboutConcurrency)
  }

  /// True for an HTML page, which no API sends: a proxy on the way answered in the provider's place.
  private static func isPage(_ fields: HeaderFields, _ body: [UInt8]?) -> Bool {
    if let first = body?.first(where: { $0 > 0x20 }) { return first == UInt8(ascii: "<") }
    return fields.first("content-type")?.lowercased().hasPrefix("text/html") ?? false
  }

  /// True for statuses that a proxy gives for reasons of its own. Statuses about the request itself (its place, method,
  /// size, syntax, content or rate) are true whoever sends them.
  private static func mayBeSomebodyElses(_ status: Int) -> Bool {
    switch status {
    case 400, 404, 405, 408, 409, 410, 411, 413, 414, 415, 416, 417, 422, 429, 431, 451: false
    default: (400..<500).contains(status)
    }
  }

  /// The verdict of an attempt whose transport failed. `answerBegan`: bytes of this attempt have gone to the client.
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
    var reading = ErrorReading()
    reading.type = error.type
    reading.code = error.code
    reading.message = error.message
    return verdict(ErrorWords(reading), otherwise: answerBegan ? .truncated : .failed())
  }

  /// The verdict of an error with words but without a status of its own.
  private static func verdict(_ words: ErrorWords, otherwise: Verdict) -> Verdict {
    if words.saysUnpaid { return .quotaExhausted }
    if words.refuseKey(status: 200) { return .keyRefused }
    if words.reading.isDailyQuota { return .modelRefused(retryAfter: words.reading.retryDelay) }
    if words.isThrottle, !words.isClients {
      if words.canNeverFit { return .clientError }
      return .throttled(
        retryAfter: words.reading.retryDelay ?? words.waitInWords, isAboutConcurrency: words.isAboutConcurrency)
    }
    if words.refusesModel { return .modelRefused() }
    return words.isClients ? .clientError : otherwise
  }
}

/// Decodes the bodies of error answers.
public enum ErrorBody {
  /// The body without its content coding, at most `limit` bytes; nil where it cannot be decoded.
  public static func decoded(_ body: [UInt8], contentEncoding: String?, limit: Int = 64 << 10) -> [UInt8]? {
    let coding = ContentCoding(contentEncoding)
    if coding == .identity || body.isEmpty { return body }
    guard let decoder = ContentDecoder(coding) else { return nil }
    var text: [UInt8] = []
    if decoder.decode(body[...], onto: &text, limit: limit) == .corrupt { return nil }
    return text.isEmpty && !decoder.isComplete ? nil : text
  }
}
