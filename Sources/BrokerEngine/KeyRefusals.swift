// What providers answered when they refused a key, and the free call by which the broker checks a key itself.
//
// Promise: for each key the last refusal is kept, at most 64 KiB, without the secret, and only while the key has that
// secret.
import AdmissionCore
import HTTPMessage
import PolicyFile
import ProviderWire

/// The last refusal of each key.
struct KeyRefusals {
  struct Refusal {
    var status: Int
    var contentType: String
    var body: [UInt8]
    /// The generation of the refused secret.
    fileprivate var generation: Int
  }
  private var kept: [RefusedKey: Refusal] = [:]

  /// - Parameters:
  ///   - body: as it came; a body that cannot be decoded is not kept.
  ///   - added: other secrets that the answer may show.
  ///   - sent: the secrets that were in force when the call was sent. A refusal of a secret that the key no longer has
  ///     is not kept.
  mutating func keep(
    _ head: ResponseHead, _ body: [UInt8], of key: RefusedKey, besides added: [AddedField], sentWith sent: KeySecrets,
    now present: KeySecrets
  ) {
    let secret = sent.secret(provider: key.provider.name, key: key.key.name)
    guard secret == present.secret(provider: key.provider.name, key: key.key.name) else { return }
    guard let text = ErrorBody.decoded(body, contentEncoding: head.fields.first("content-encoding")),
      text.count <= Attempt.errorLimit
    else {
      kept[key] = nil
      return
    }
    let secrets = (secret.map { [$0.revealed] } ?? []) + added.filter(\.isSecret).map(\.value.revealed)
    kept[key] = Refusal(
      status: head.status, contentType: head.fields.first("content-type") ?? "application/json",
      body: SecretMask.all(secrets, text) { SecretMask.masked($0, secret: $1) } ?? text,
      generation: present.generation(provider: key.provider.name, key: key.key.name))
  }

  /// The last refusal; nil where none is kept for the current secret.
  func last(of key: RefusedKey, in secrets: KeySecrets) -> Refusal? {
    kept[key].flatMap {
      $0.generation == secrets.generation(provider: key.provider.name, key: key.key.name) ? $0 : nil
    }
  }

  /// Forgets keys that the policy no longer has.
  mutating func retain(of policy: Policy) {
    let present = Set(
      policy.providers.flatMap { provider in
        provider.keys.map { RefusedKey(provider: ProviderID(provider.id), key: KeyID($0.id)) }
      })
    kept = kept.filter { present.contains($0.key) }
  }
}

/// One free call under way: it asks for the provider's list of models.
final class KeyCheck: UpstreamEvents {
  private var head: ResponseHead?
  private var body: [UInt8] = []
  private let done: (ResponseHead?, [UInt8]) -> Void
  var call: (any UpstreamCall)?

  init(done: @escaping (ResponseHead?, [UInt8]) -> Void) { self.done = done }

  func upstreamResponded(_ head: ResponseHead) { self.head = head }

  func upstreamReceived(_ bytes: ArraySlice<UInt8>) {
    // The content of a list that was given is not needed.
    guard let head, head.status >= 400, body.count < Attempt.errorLimit else { return }
    body.append(contentsOf: bytes.prefix(Attempt.errorLimit - body.count))
  }

  func upstreamEnded(_ ending: UpstreamEnding) {
    call = nil
    done(ending == .completed ? head : nil, body)
  }
}

extension ProviderTarget {
  /// A request for the list of models, which every vendor gives for free.
  /// - Parameters:
  ///   - credential: the fields that hold the credential.
  ///   - query: the query, where it holds the credential.
  func listRequest(_ credential: HeaderFields, query: String? = nil) -> UpstreamRequest {
    var own = HeaderFields([(name: "accept", value: "application/json")])
    if policy.dialect == .anthropic { own.append(name: "anthropic-version", value: "2023-06-01") }
    own.append(contentsOf: credential)
    let fields = ForwardedFields.with(policy.headers, inPlaceOf: own)
    let target = query.map { listTarget + (listTarget.contains("?") ? "&" : "?") + $0 } ?? listTarget
    return UpstreamRequest(
      provider: policy.id, method: "GET", url: url(for: target), fields: fields, body: [],
      timeouts: UpstreamTimeouts(
        connect: policy.connectTimeout, firstByte: .seconds(10), idle: .seconds(10), total: .seconds(15)))
  }

  private var listTarget: String {
    switch policy.dialect {
    case .openai: "/v1/models"
    case .anthropic: "/v1/models?limit=1000"
    case .gemini: "/v1beta/models?pageSize=1000"
    }
  }
}
