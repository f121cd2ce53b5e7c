// Where a request goes and how its head reads on an HTTP/1.1 connection.
import CCurl
import HTTPMessage

/// A URL taken apart: which connections can carry it, and what the request line says.
struct Destination {
  /// Scheme, host and port: connections with the same origin serve each other's requests.
  var origin: String
  /// `Host` field, with the port only where it is not the scheme's own.
  var host: String
  /// Path and query as they stand in the URL.
  var target: String
  var isTLS: Bool

  /// Nil where the URL has something that only libcurl's own transfers handle: a user, or a scheme other than these
  /// two.
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
    // Nothing that would break the request line may come through.
    guard target.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7F }) else { return nil }
  }
}

/// The head of `request` as bytes; nil where a field cannot be sent, since a line break or a NUL would smuggle in
/// another. Fields that frame the message or belong to one hop are left out and made here.
func requestHeadText(_ request: UpstreamRequest, _ destination: Destination) -> [UInt8]? {
  let fields = request.fields
  let size = request.method.utf8.count + destination.target.utf8.count + destination.host.utf8.count + 64
  let bodyBeside = request.body.count <= DirectConnection.smallBody ? request.body.count : 0
  var text: [UInt8] = []
  text.reserveCapacity(size + fields.byteCount + 4 * fields.count + bodyBeside)
  for byte in request.method.utf8 {
    guard byte > 0x20, byte < 0x7F else { return nil }
    text.append(byte)
  }
  text.append(UInt8(ascii: " "))
  text.append(contentsOf: destination.target.utf8)
  text.append(contentsOf: " HTTP/1.1\r\nHost: ".utf8)
  text.append(contentsOf: destination.host.utf8)
  text.append(0x0D)
  text.append(0x0A)
  for index in 0..<fields.count where !isFramingField(fields, index) {
    let name = fields.nameBytes(at: index)
    let value = fields.valueBytes(at: index)
    var isSendable = !name.isEmpty
    for byte in name where byte <= 0x20 || byte == UInt8(ascii: ":") || byte == 0x7F { isSendable = false }
    for byte in value where byte == 0 || byte == 0x0A || byte == 0x0D { isSendable = false }
    guard isSendable else { return nil }
    text.append(contentsOf: name)
    text.append(UInt8(ascii: ":"))
    if !value.isEmpty {
      text.append(UInt8(ascii: " "))
      text.append(contentsOf: value)
    }
    text.append(0x0D)
    text.append(0x0A)
  }
  if statesLength(request) {
    text.append(contentsOf: "Content-Length: ".utf8)
    text.append(contentsOf: String(request.body.count).utf8)
    text.append(0x0D)
    text.append(0x0A)
  }
  text.append(0x0D)
  text.append(0x0A)
  if bodyBeside > 0 { text.append(contentsOf: request.body) }
  return text
}

/// POST, PUT and PATCH say `Content-Length: 0` where the body is empty (RFC 9110 section 8.6); others say nothing.
func statesLength(_ request: UpstreamRequest) -> Bool {
  !request.body.isEmpty || request.method == "POST" || request.method == "PUT" || request.method == "PATCH"
}

/// Fields that the adapter makes itself or that concern one hop only.
func isFramingField(_ fields: HeaderFields, _ index: Int) -> Bool {
  switch fields.nameBytes(at: index).count {
  case 2: fields.nameIs("te", at: index)
  case 4: fields.nameIs("host", at: index)
  case 6: fields.nameIs("expect", at: index)
  case 7: fields.nameIs("upgrade", at: index) || fields.nameIs("trailer", at: index)
  case 10: fields.nameIs("connection", at: index) || fields.nameIs("keep-alive", at: index)
  case 14: fields.nameIs("content-length", at: index)
  case 16: fields.nameIs("proxy-connection", at: index)
  case 17: fields.nameIs("transfer-encoding", at: index)
  default: false
  }
}
