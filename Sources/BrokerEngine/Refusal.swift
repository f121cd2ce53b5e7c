// Why the broker answers a request itself: the outcome, the text, and when the client should come back.
import AdmissionCore
import HTTPMessage

struct Refusal: Error {
  var outcome: Outcome
  var message: String
  /// The status, where it is not that of the outcome.
  var status: Int?
  var retryAfter: Span?
  /// Another outcome whose status and code are sent; nil sends those of `outcome`.
  var words: Outcome?

  init(
    _ outcome: Outcome, _ message: String, status: Int? = nil, retryAfter: Span? = nil, inWordsOf words: Outcome? = nil
  ) {
    self.outcome = outcome
    self.message = message
    self.status = status
    self.retryAfter = retryAfter
    self.words = words
  }

  /// For a request that the endpoint could not take in full.
  init(_ refusal: RequestRefusal) {
    switch refusal {
    case .malformed(let reason), .timedOut(let reason), .headTooLarge(let reason), .unsupported(let reason):
      self.init(.rejectedMalformed, reason, status: refusal.status)
    case .bodyTooLarge(let limit):
      self.init(
        .rejectedTooLarge, "The request body is larger than the limit of \(limit) bytes.", status: refusal.status)
    case .overloaded(let reason): self.init(.rejectedNoCapacity, reason, status: refusal.status)
    }
  }

  static let draining = Refusal(
    .rejectedDraining, "The broker is shutting down and takes no new requests.", retryAfter: .seconds(1))
  /// The drain's time is up before the request had its turn.
  static let drainIsOver = Refusal(
    .rejectedDraining, "The broker is shutting down before this request could be served.", retryAfter: .seconds(1))
  /// The same for a request whose provider had not answered.
  static let cutByDrain = Refusal(
    .rejectedDraining, "The broker is shutting down before this request was answered.", retryAfter: .seconds(1))
  static let memoryFull = Refusal(
    .rejectedNoCapacity, ErrorText.memoryFull, retryAfter: ErrorText.memoryFullRetry)

  static func ledgerInTrouble(_ obstacle: String) -> Refusal {
    Refusal(.rejectedNoCapacity, ErrorText.ledgerInTrouble(obstacle), retryAfter: .seconds(5))
  }

  static func model(_ message: String) -> Refusal { Refusal(.rejectedModel, message) }
  static func malformed(_ message: String) -> Refusal { Refusal(.rejectedMalformed, message) }
}
