// Where a request goes, and the text of its head on an HTTP/1.1 connection.
import CCurl
import HTTP1Codec
import HTTPMessage

/// A parsed URL: which connections can carry the request, and what its request line says.
struct Destination {
  /// Scheme, host and port: a request can use any connection to its origin.
  var origin: String
  /// The `Host` field, with the port only where it is not the scheme's default.
  var host: String
  /// Path and query as in the URL.
  var target: String
  var isTLS: Bool

  /// nil where the URL has a part that only libcurl's own transfers handle: a user, or a scheme other than `http` and
  /// `https`.
  init?(_ url: String) throws(TransferSetupFailure) {
    guard let parsed = curl_url() else { throw TransferSetupFailure(option: "curl_url", code: CURLE_OUT_OF_MEMORY) }
    defer { curl_url_cleanup(parsed) }
    guard curl_url_set(parsed, CURLUPART_URL, url, UInt32(CURLU_PATH_AS_IS)) == CURLUE_OK else {
      throw TransferSetupFailure(option: "the URL", code: CURLE_URL_MALFORMAT)
    }
    func part(_ which: CURLUPart, _ flags: Int32 = 0) -> String? {
      var text: UnsafeMutablePointer<CChar>?
      guard curl_url_get(parsed, which, &text, UInt32(flags)) == CURLUE_OK, let text else { return nil }
      defer { curl_free(text) }
      return String(cString: text)
    }
    guard let scheme = part(CURLUPART_SCHEME), scheme == "http" || scheme == "https", part(CURLUPART_USER) == nil,
      let name = part(CURLUPART_HOST), let port = part(CURLUPART_PORT, CURLU_DEFAULT_PORT),
      let path = part(CURLUPART_PATH)
    else { return nil }
    isTLS = scheme == "https"
    origin = "\(scheme)://\(name):\(port)"
    host = port == (isTLS ? "443" : "80") ? name : "\(name):\(port)"
    target = part(CURLUPART_QUERY).map { "\(path)?\($0)" } ?? path
    // No byte may pass that would break the request line.
    guard target.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7F }) else { return nil }
  }
}

extension UpstreamRequest {
  /// The head as HTTP/1.1 sends it, followed by the body where it is small; nil where a field cannot be sent.
  func headText(_ destination: Destination) -> [UInt8]? {
    let isSmall = body.count <= DirectConnection.smallBody
    let head = RequestHeadWriter.write(
      method: method, target: destination.target, host: destination.host, fields: fields,
      contentLength: statesLength ? body.count : nil, reserving: isSmall ? body.count : 0)
    guard var head else { return nil }
    if isSmall { head.append(contentsOf: body) }
    return head
  }

  /// With an empty body, POST, PUT and PATCH send `Content-Length: 0` (RFC 9110 section 8.6); other methods do not.
  var statesLength: Bool { !body.isEmpty || method == "POST" || method == "PUT" || method == "PATCH" }
}
