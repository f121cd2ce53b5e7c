// Strings as JSON writes them (RFC 8259 section 7).

public enum JSONString {
  /// Appends `text` between quotation marks; quotation marks, backslashes, and characters that steer a terminal or hide in
  /// a text (`PrintableText`) are escaped.
  public static func append(_ text: String, to bytes: inout [UInt8]) {
    bytes.append(UInt8(ascii: "\""))
    if isPlain(text) {
      bytes.append(contentsOf: text.utf8)
      bytes.append(UInt8(ascii: "\""))
      return
    }
    let start = bytes.count
    for byte in text.utf8 {
      guard byte < 0x80 else {
        bytes.removeSubrange(start...)
        appendScalars(of: text, to: &bytes)
        break
      }
      append(ascii: byte, to: &bytes)
    }
    bytes.append(UInt8(ascii: "\""))
  }

  /// `text` between quotation marks, escaped.
  public static func quoted(_ text: String) -> String {
    if isPlain(text) { return "\"" + text + "\"" }
    var bytes: [UInt8] = []
    append(text, to: &bytes)
    return String(decoding: bytes, as: UTF8.self)
  }

  /// True for text that needs no escapes.
  private static func isPlain(_ text: String) -> Bool {
    text.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "\\") }
  }

  @inline(__always)
  private static func append(ascii byte: UInt8, to bytes: inout [UInt8]) {
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"):
      bytes.append(UInt8(ascii: "\\"))
      bytes.append(byte)
    case 0x0A: bytes.append(contentsOf: "\\n".utf8)
    case 0x0D: bytes.append(contentsOf: "\\r".utf8)
    case 0x09: bytes.append(contentsOf: "\\t".utf8)
    case 0..<0x20, 0x7F: PrintableText.appendEscape(of: Unicode.Scalar(byte), to: &bytes)
    default: bytes.append(byte)
    }
  }

  private static func appendScalars(of text: String, to bytes: inout [UInt8]) {
    for scalar in text.unicodeScalars {
      if scalar.isASCII {
        append(ascii: UInt8(scalar.value), to: &bytes)
      } else if PrintableText.isHidden(scalar) {
        PrintableText.appendEscape(of: scalar, to: &bytes)
      } else {
        bytes.append(contentsOf: String(scalar).utf8)
      }
    }
  }
}
