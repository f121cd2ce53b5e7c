// `%XX` in paths and queries (RFC 3986 section 2.1).

public enum PercentEscapes {
  /// The decoded text. A `%` that begins no escape stays as it is; invalid UTF-8 becomes U+FFFD.
  public static func decoded(_ text: Substring) -> String {
    guard text.utf8.contains(UInt8(ascii: "%")) else { return String(text) }
    return String(decoding: bytes(text).bytes, as: UTF8.self)
  }

  /// The decoded text; nil where an escape is invalid, or the result is not UTF-8.
  public static func strictlyDecoded(_ text: Substring) -> String? {
    let (bytes, isRight) = bytes(text)
    return isRight ? String(validating: bytes, as: UTF8.self) : nil
  }

  /// The text with all characters escaped except unreserved ones (RFC 3986 section 2.3).
  public static func encoded(_ text: String) -> String {
    var out = ""
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
        UInt8(ascii: "~"):
        out.unicodeScalars.append(UnicodeScalar(byte))
      default: out += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
      }
    }
    return out
  }

  /// The decoded bytes, and whether every `%` begins an escape.
  private static func bytes(_ text: Substring) -> (bytes: [UInt8], isRight: Bool) {
    var bytes: [UInt8] = []
    var isRight = true
    var rest = text.utf8[...]
    while let byte = rest.popFirst() {
      guard byte == UInt8(ascii: "%") else {
        bytes.append(byte)
        continue
      }
      if let high = rest.first.flatMap(Hexadecimal.value), let low = rest.dropFirst().first.flatMap(Hexadecimal.value) {
        bytes.append(high << 4 | low)
        rest = rest.dropFirst(2)
      } else {
        bytes.append(byte)
        isRight = false
      }
    }
    return (bytes, isRight)
  }
}
