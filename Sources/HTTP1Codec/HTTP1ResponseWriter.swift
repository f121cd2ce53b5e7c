// Writes response heads of HTTP/1.1: status line, the handler's fields, and the fields that frame the message.
import HTTPMessage

/// How the end of a response's body is told.
public enum ResponseFraming: Equatable, Sendable {
  /// There is none: HEAD, 204, 304.
  case bodiless
  case length(Int)
  case chunked
  /// HTTP/1.0 without a length: the end of the connection.
  case untilClose
}

public enum HTTP1ResponseWriter {
  /// Appends a head to `out`. Fields that are the endpoint's own are left out, as is a field whose value would break the message apart.
  /// - Parameters:
  ///   - connection: the value of the `connection` field; nil for none.
  ///   - date: what stands in `date` where the head has none.
  public static func write(
    _ head: ResponseHead, framing: ResponseFraming, connection: StaticString?, date: [UInt8], into out: inout [UInt8]
  ) {
    // What is beside the fields takes 141 bytes at most, and the date.
    out.append(addingCapacity: head.fields.byteCount + 4 * head.fields.count + date.count + 192) { out in
      out.put("HTTP/1.1 ")
      out.put(decimal: head.status)
      out.append(0x20)
      out.put(reason(head.status))
      out.put("\r\n")
      var hasDate = false
      for index in 0..<head.fields.count {
        let name = head.fields.nameBytes(at: index)
        switch name.count {
        case 4 where FieldSyntax.equal(name, "date"): hasDate = true
        case 10 where FieldSyntax.equal(name, "connection") || FieldSyntax.equal(name, "keep-alive"): continue
        case 14 where head.status == 204 && FieldSyntax.equal(name, "content-length"): continue
        case 17 where FieldSyntax.equal(name, "transfer-encoding"): continue
        default: break
        }
        out.put(name: name, value: head.fields.valueBytes(at: index))
      }
      if !hasDate {
        out.put("date: ")
        for byte in date { out.append(byte) }
        out.put("\r\n")
      }
      if framing == .chunked { out.put("transfer-encoding: chunked\r\n") }
      if let connection {
        out.put("connection: ")
        out.put(connection)
        out.put("\r\n")
      }
      out.put("\r\n")
    }
  }

  /// Appends a field, such as a trailer; nothing where it would break the message apart.
  public static func appendField(name: ArraySlice<UInt8>, value: ArraySlice<UInt8>, into out: inout [UInt8]) {
    guard ByteSyntax.all(value, in: ByteSyntax.fieldValue), ByteSyntax.all(name, in: ByteSyntax.token) else { return }
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

extension OutputSpan<UInt8> {
  fileprivate mutating func put(_ text: StaticString) {
    for index in 0..<text.utf8CodeUnitCount { append(text.utf8Start[index]) }
  }

  /// - Parameter number: 0 or more, of three digits at most.
  fileprivate mutating func put(decimal number: Int) {
    let number = min(max(number, 0), 999)
    if number >= 100 { append(UInt8(ascii: "0") + UInt8(number / 100)) }
    if number >= 10 { append(UInt8(ascii: "0") + UInt8(number / 10 % 10)) }
    append(UInt8(ascii: "0") + UInt8(number % 10))
  }

  /// A field; nothing where its name or value would break the message apart.
  fileprivate mutating func put(name: ArraySlice<UInt8>, value: ArraySlice<UInt8>) {
    let before = count
    var isSound = true
    let token = ByteSyntax.token
    for byte in name {
      if !token.contains(byte) { isSound = false }
      append(byte)
    }
    append(UInt8(ascii: ":"))
    append(0x20)
    for byte in value {
      if !ByteSyntax.isFieldValue(byte) { isSound = false }
      append(byte)
    }
    append(0x0D)
    append(0x0A)
    if !isSound { removeLast(count - before) }
  }
}
