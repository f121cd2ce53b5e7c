// Removes the operator's secrets that a call carried from what its provider answers: the key, and added fields whose
// values came from variables. Only errors are searched.
import HTTPMessage
import PolicyFile
import ProviderWire

struct SentSecrets {
  /// The key's secret; nil where none was sent.
  var key: Secret?
  /// The fields that the policy added.
  var added: [AddedField] = []

  var isEmpty: Bool { key == nil && !added.contains { $0.isSecret } }

  private var all: [String] {
    (key.map { [$0.revealed] } ?? []) + added.filter(\.isSecret).map(\.value.revealed)
  }

  /// The most decoded bytes that are searched.
  private static let decodedLimit = 16 * Attempt.errorLimit

  /// An error without the secrets that were sent: some providers quote the key that they refuse.
  func cleaned(_ answer: ErrorAnswer) -> ErrorAnswer {
    let secrets = all
    guard !secrets.isEmpty,
      let clean = SecretMask.masked(
        answer.head.fields, answer.body, secrets: secrets, decodedLimit: Self.decodedLimit)
    else { return answer }
    return ErrorAnswer(head: ResponseHead(status: answer.head.status, fields: clean.fields), body: clean.body)
  }

  /// The same for the unsent part of an answer whose head is already made for the client.
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

  /// A provider's text that goes into records, without the secrets.
  func cleaned(_ text: String) -> String {
    SecretMask.all(all, text) { SecretMask.masked($0, secret: $1) } ?? text
  }

  /// A piece of a stream with an error in it, without the secrets; its length stays the same.
  func cleaned(_ bytes: [UInt8]) -> [UInt8] {
    SecretMask.all(all, bytes) { SecretMask.maskedInPlace($0, secret: $1) } ?? bytes
  }

  /// A mask for an error that is forwarded as it comes; nil where no secret was sent, or the error cannot be decoded.
  func mask(for head: ResponseHead) -> AnswerMask? {
    AnswerMask(secrets: all, contentEncoding: head.fields.first("content-encoding"))
  }
}
