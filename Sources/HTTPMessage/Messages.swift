// The heads of HTTP messages, without the framing of any version.

/// The head of a request: method, target and fields.
public struct RequestHead: Sendable {
  /// As sent: `GET`, `POST`, ... Compared with case (RFC 9110 section 9.1).
  public var method: String
  /// Path and query as sent, percent-encoding untouched: `/v1/messages?beta=true`.
  public var target: String
  /// `Host` of HTTP/1.1 or `:authority` of HTTP/2; empty where neither was sent.
  public var authority: String
  /// All other fields in order; for HTTP/2 without pseudo fields. HTTP/1.1's `Host` is in here too.
  public var fields: HeaderFields
  /// The version that the client uses.
  public var version: HTTPVersion

  public init(
    method: String, target: String, authority: String = "", fields: HeaderFields = HeaderFields(),
    version: HTTPVersion = .http1_1
  ) {
    self.method = method
    self.target = target
    self.authority = authority
    self.fields = fields
    self.version = version
  }

  /// The target up to `?`.
  public var path: Substring { TargetText(target).path }
}

public enum HTTPVersion: String, Sendable {
  case http1_0 = "HTTP/1.0"
  case http1_1 = "HTTP/1.1"
  case http2 = "HTTP/2"
}

/// The head of a response.
public struct ResponseHead: Sendable {
  /// 200...599; informational answers never reach this type.
  public var status: Int
  /// In order, with the sender's case and bytes.
  public var fields: HeaderFields

  public init(status: Int, fields: HeaderFields = HeaderFields()) {
    self.status = status
    self.fields = fields
  }
}
