// Who does not take what the broker tells: the collector of `otlp:`, and webhooks. Calls do not notice, so an operator is told.
import TextForms

/// One of the `problems` of the status that no provider has.
public struct OutwardTrouble: Sendable, Equatable {
  /// `collector_away` or `webhook_away`.
  public var what: String
  /// Nanoseconds since 1970.
  public var since: Int64
  /// For people, without a secret.
  public var text: String

  public init(what: String, since: Int64, text: String) {
    self.what = what
    self.since = since
    self.text = text
  }

  func write(_ json: inout JSONWriter) {
    json.object { json in
      json.member("what", what)
      json.member("provider", String?.none)
      json.key("keys")
      json.array([String]()) { $0.value($1) }
      json.member("since", time: since)
      json.member("text", text)
    }
  }
}
