// What a call carried that is the operator's, taken out of what its provider says: the key, and the added fields whose values came from
// variables. Looked for only in errors.
import HTTPMessage
import PolicyFile
import ProviderWire

struct SentSecrets {
  /// The key's; nil where none went along.
  var key: Secret?
  /// The fields that the policy added.
  var added: [AddedField] = []

  var isEmpty: Bool { key == nil && !added.contains { $0.isSecret } }

  private var all: [String] {
    (key.map { [$0.revealed] } ?? []) + added.filter(\.isSecret).map(\.value.revealed)
  }

  /// The most bytes behind a coding that are looked at.
  private static let decodedLimit = 16 * Attempt.errorLimit

  /// An error without the secrets that were sent: some providers show what they refuse.
  func cleaned(_ answer: ErrorAnswer) -> ErrorAnswer {
    let secrets = all
    guard !secrets.isEmpty,
      let clean = SecretMask.masked(
        answer.head.fields, answer.body, secrets: secrets, decodedLimit: Self.decodedLimit)
    else { return answer }
    return ErrorAnswer(head: ResponseHead(status: answer.head.status, fields: clean.fields), body: clean.body)
  }

  /// The same for what has not gone out of an answer, whose head is made for the client already.
  func cleaned(_ delivery: Delivery) -> Delivery {
    guard let head = delivery.head else { return Delivery(head: nil, body: cleaned(delivery.body)) }
    let clean = cleaned(ErrorAnswer(head: head, body: delivery.body))
    var fields = clean.head.fields
    if clean.body.count != delivery.body.count, fields.contains("content-length") {
      fields = fields.without("content-length")
      fields.append(name: "content-length", value: String(clean.body.count))
    }
    return Delivery(head: ResponseHead(status: head.status, fields: fields), body: clean.body)
  }

  /// An error's head.
  func cleaned(_ head: ResponseHead) -> ResponseHead {
    SecretMask.all(all, head.fields) { SecretMask.masked($0, secret: $1) }
      .map { ResponseHead(status: head.status, fields: $0) } ?? head
  }

  /// A text of the provider's that goes into records.
  func cleaned(_ text: String) -> String {
    SecretMask.all(all, text) { SecretMask.masked($0, secret: $1) } ?? text
  }

  /// A piece of a stream in which an error came; it stays as long as it is.
  func cleaned(_ bytes: [UInt8]) -> [UInt8] {
    SecretMask.all(all, bytes) { SecretMask.maskedInPlace($0, secret: $1) } ?? bytes
  }

  /// For an error that goes on as it comes; nil where nothing is to be taken out of it, or it cannot be read.
  func mask(for head: ResponseHead) -> AnswerMask? {
    AnswerMask(secrets: all, contentEncoding: head.fields.first("content-encoding"))
  }
}
