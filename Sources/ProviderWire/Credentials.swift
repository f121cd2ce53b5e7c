// The header fields that carry a credential: which ones the broker sends upstream, and which of the client's must never
// be sent there.
import HTTPMessage
import TextForms

public enum Credentials {
  /// The field that carries `secret` to a provider: `authorization` as a bearer token, other fields as it is.
  public static func field(_ name: String, secret: String) -> (name: String, value: String) {
    (name, name == "authorization" ? "Bearer " + secret : secret)
  }

  /// True where the client's field at `index` must not be sent upstream: credentials (unless `passThrough`), our own
  /// hints, hop-by-hop fields, and what the upstream adapter makes itself. The caller must also strip the fields that
  /// `Connection` names.
  public static func isStripped(_ fields: HeaderFields, at index: Int, passThrough: Bool) -> Bool {
    guard let first = fields.nameBytes(at: index).first else { return true }
    switch asciiLowercased(first) {
    case UInt8(ascii: "a"):
      return !passThrough && (fields.nameIs("authorization", at: index) || fields.nameIs("api-key", at: index))
    case UInt8(ascii: "c"):
      return fields.nameIs("connection", at: index) || fields.nameIs("content-length", at: index)
    case UInt8(ascii: "e"):
      return fields.nameIs("expect", at: index)
    case UInt8(ascii: "h"):
      return fields.nameIs("host", at: index) || fields.nameIs("http2-settings", at: index)
    case UInt8(ascii: "k"):
      return fields.nameIs("keep-alive", at: index)
    case UInt8(ascii: "o"):
      // The operator decides which account is used: a wrong one is refused like a wrong key.
      return !passThrough
        && (fields.nameIs("openai-organization", at: index) || fields.nameIs("openai-project", at: index))
    case UInt8(ascii: "p"):
      return fields.nameIs("proxy-authorization", at: index) || fields.nameIs("proxy-connection", at: index)
        || fields.nameIs("proxy-authenticate", at: index)
    case UInt8(ascii: "t"):
      return fields.nameIs("te", at: index) || fields.nameIs("transfer-encoding", at: index)
        || fields.nameIs("trailer", at: index)
    case UInt8(ascii: "u"):
      return fields.nameIs("upgrade", at: index)
    case UInt8(ascii: "x"):
      if fields.nameStarts(with: "x-tollgate-", at: index) { return true }
      return !passThrough
        && (fields.nameIs("x-api-key", at: index) || fields.nameIs("x-goog-api-key", at: index)
          || fields.nameIs("x-goog-user-project", at: index))
    default:
      return false
    }
  }

  /// A query (without `?`) with its `key` parameter removed; nil where it has none, so that the usual target need not
  /// be changed.
  public static func queryWithoutKey(_ query: Substring) -> String? {
    guard query.utf8.contains(UInt8(ascii: "k")) || query.utf8.contains(UInt8(ascii: "%")) else { return nil }
    let parts = query.split(separator: "&", omittingEmptySubsequences: false)
    let kept = parts.filter { PercentEscapes.decoded($0.prefix { $0 != "=" }) != "key" }
    return kept.count == parts.count ? nil : kept.joined(separator: "&")
  }

  /// The secret that a client shows, in any of the fields that SDKs use or the `key` parameter; nil where it shows
  /// none.
  public static func clientSecret(_ fields: HeaderFields, query: Substring = "") -> String? {
    if let value = fields.first("authorization") {
      let parts = value.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: true)
      if parts.count == 2, parts[0].lowercased() == "bearer" {
        let token = parts[1].drop { $0 == " " }
        if !token.isEmpty { return String(token) }
      }
    }
    if let value = fields.first("x-api-key") ?? fields.first("x-goog-api-key") ?? fields.first("api-key"),
      !value.isEmpty
    {
      return value
    }
    for part in query.split(separator: "&") where part.hasPrefix("key=") {
      return PercentEscapes.decoded(part.dropFirst(4))
    }
    return nil
  }
}
