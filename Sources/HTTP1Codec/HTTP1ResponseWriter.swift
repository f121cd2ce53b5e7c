// Writes response heads of HTTP/1.1: status line, the handler's fields, and the fields that frame the message.
import HTTPMessage

/// How a response's body ends.
public enum ResponseFraming: Equatable, Sendable {
  /// There is no body: HEAD, 204, 304.
  case bodiless
  case length(Int)
  case chunked
  /// HTTP/1.0 without a length: the end of the connection.
  case untilClose
}

public enum HTTP1ResponseWriter {
  /// Appends a head to `out`. The endpoint's own fields are left out, and so is a field whose value would break the
  /// message.
  /// - Parameters:
  ///   - connection: the value of the `connection` field; nil for none.
  ///   - date: the value of `date` where the head has none.
  public static func write(
    _ head: ResponseHead, framing: ResponseFraming, connection: StaticString?, date: [UInt8], into out: inout [UInt8]
  ) {
    // Besides the fields, a head has at most 141 bytes and the date. If `out` has bytes already, the array grows by
    // itself, and by more.
    if out.isEmpty { out.reserveCapacity(head.fields.byteCount + 4 * head.fields.count + date.count + 192) }
    if head.status == 200 {
      out.append("HTTP/1.1 200 OK\r\n")
    } else {
      out.append("HTTP/1.1 ")
      appendDecimal(min(max(head.status, 0), 999), into: &out)
      out.append(0x20)
      out.append(reason(head.status))
      out.append("\r\n")
    }
    if !appendFields(of: head, into: &out) {
      out.append("date: ")
      out.append(contentsOf: date)
      out.append("\r\n")
    }
    if framing == .chunked { out.append("transfer-encoding: chunked\r\n") }
    if let connection {
      out.append("connection: ")
      out.append(connection)
      out.append("\r\n")
    }
    out.append("\r\n")
  }

  /// Appends the fields that are kept, in runs. Returns whether `date` is among them.
  private static func appendFields(of head: ResponseHead, into out: inout [UInt8]) -> Bool {
    let fields = head.fields
    var hasDate = false
    var first = 0
    for index in 0..<fields.count {
      let name = fields.nameBytes(at: index)
      let isOurs =
        switch name.count {
        case 10: fields.nameIs("connection", at: index) || fields.nameIs("keep-alive", at: index)
        case 14: head.status == 204 && fields.nameIs("content-length", at: index)
        case 17: fields.nameIs("transfer-encoding", at: index)
        default: false
        }
      if name.count == 4, fields.nameIs("date", at: index) { hasDate = true }
      if !isOurs, ByteSyntax.isToken(name), ByteSyntax.isFieldValue(fields.valueBytes(at: index)) {
        continue
      }
      fields.write(first..<index, asLinesTo: &out)
      first = index + 1
    }
    fields.write(first..<fields.count, asLinesTo: &out)
    return hasDate
  }

  /// Appends a field, such as a trailer; appends nothing where it would break the message.
  public static func appendField(name: ArraySlice<UInt8>, value: ArraySlice<UInt8>, into out: inout [UInt8]) {
    guard ByteSyntax.isFieldValue(value), ByteSyntax.isToken(name) else { return }
    out.append(contentsOf: name)
    out.append(": ")
    out.append(contentsOf: value)
    out.append("\r\n")
  }

  /// - Parameter value: 0 or more.
  public static func appendDecimal(_ value: Int, into out: inout [UInt8]) {
    if value >= 10 { appendDecimal(value / 10, into: &out) }
    out.append(UInt8(ascii: "0") + UInt8(value % 10))
  }

  /// - Parameter value: 0 or more.
  public static func appendHexadecimal(_ value: Int, into out: inout [UInt8]) {
    if value >= 16 { appendHexadecimal(value >> 4, into: &out) }
    let digit = UInt8(value & 15)
    out.append(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10)
  }

  static func reason(_ status: Int) -> StaticString {
    switch status {
    case 200: "OK"
    case 201: "Created"
    case 202: "Accepted"
    case 204: "No Content"
    case 206: "Partial Content"
    case 301: "Moved Permanently"
    case 302: "Found"
    case 303: "See Other"
    case 304: "Not Modified"
    case 307: "Temporary Redirect"
    case 308: "Permanent Redirect"
    case 400: "Bad Request"
    case 401: "Unauthorized"
    case 402: "Payment Required"
    case 403: "Forbidden"
    case 404: "Not Found"
    case 405: "Method Not Allowed"
    case 406: "Not Acceptable"
    case 408: "Request Timeout"
    case 409: "Conflict"
    case 410: "Gone"
    case 411: "Length Required"
    case 412: "Precondition Failed"
    case 413: "Content Too Large"
    case 415: "Unsupported Media Type"
    case 422: "Unprocessable Content"
    case 424: "Failed Dependency"
    case 429: "Too Many Requests"
    case 431: "Request Header Fields Too Large"
    case 500: "Internal Server Error"
    case 501: "Not Implemented"
    case 502: "Bad Gateway"
    case 503: "Service Unavailable"
    case 504: "Gateway Timeout"
    default: ""
    }
  }
}

extension [UInt8] {
  public mutating func append(_ text: StaticString) {
    text.withUTF8Buffer { append(contentsOf: $0) }
  }
}
