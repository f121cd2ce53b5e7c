// Writes request heads of HTTP/1.1: request line, the caller's fields, and those that frame the message.
import HTTPMessage

public enum RequestHeadWriter {
  /// The head as bytes; nil where the method or a field cannot be sent, since a line break or a NUL would smuggle in
  /// another field. Fields that frame the message or belong to one hop are replaced by our own.
  /// - Parameters:
  ///   - target: path and query, without a byte that would end the request line.
  ///   - host: for the `Host` field.
  ///   - contentLength: nil where the request says nothing about a body.
  ///   - space: the bytes that the caller will append.
  public static func write(
    method: String, target: String, host: String, fields: HeaderFields, contentLength: Int?, reserving space: Int = 0
  ) -> [UInt8]? {
    var text: [UInt8] = []
    text.reserveCapacity(
      method.utf8.count + target.utf8.count + host.utf8.count + 64 + fields.byteCount + 4 * fields.count + space)
    for byte in method.utf8 {
      guard byte > 0x20, byte < 0x7F else { return nil }
      text.append(byte)
    }
    text.append(UInt8(ascii: " "))
    text.append(contentsOf: target.utf8)
    text.append(contentsOf: " HTTP/1.1\r\nHost: ".utf8)
    text.append(contentsOf: host.utf8)
    text.append(0x0D)
    text.append(0x0A)
    var first = 0
    for index in 0..<fields.count {
      let isOurs = isMadeHere(fields, index)
      let name = fields.nameBytes(at: index)
      let value = fields.valueBytes(at: index)
      guard isOurs || isSendable(name: name, value: value) else { return nil }
      guard isOurs || value.isEmpty else { continue }
      fields.write(first..<index, asLinesTo: &text)
      first = index + 1
      guard !isOurs else { continue }
      text.append(contentsOf: name)
      text.append(UInt8(ascii: ":"))
      text.append(0x0D)
      text.append(0x0A)
    }
    fields.write(first..<fields.count, asLinesTo: &text)
    if let contentLength {
      text.append(contentsOf: "Content-Length: ".utf8)
      text.append(contentsOf: String(contentLength).utf8)
      text.append(0x0D)
      text.append(0x0A)
    }
    text.append(0x0D)
    text.append(0x0A)
    return text
  }

  /// False where the field would break its message in any version of HTTP, here or at a later hop.
  public static func isSendable(name: ArraySlice<UInt8>, value: ArraySlice<UInt8>) -> Bool {
    guard !name.isEmpty else { return false }
    // Mostly stricter rules suffice, which are checked faster.
    if ByteSyntax.isToken(name), ByteSyntax.isFieldValue(value) { return true }
    var isSendable = true
    for byte in name where byte <= 0x20 || byte == UInt8(ascii: ":") || byte == 0x7F { isSendable = false }
    for byte in value where byte == 0 || byte == 0x0A || byte == 0x0D { isSendable = false }
    return isSendable
  }

  /// True for fields that frame a message or concern one hop only: each sender makes them itself.
  public static func isMadeHere(_ fields: HeaderFields, _ index: Int) -> Bool {
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
}
