// Writes JSON by hand: the broker's own bodies are small and of fixed shape.

/// A JSON text under construction. Keys and structure are the caller's; `string` escapes.
struct JSONText {
  private(set) var bytes: [UInt8] = []

  init(reserving capacity: Int = 256) { bytes.reserveCapacity(capacity) }

  /// Appends text as it stands.
  mutating func raw(_ text: StaticString) {
    text.withUTF8Buffer { bytes.append(contentsOf: $0) }
  }

  mutating func integer(_ value: Int) { bytes.append(contentsOf: String(value).utf8) }

  /// Appends a string with its quotes; control characters, quotes and backslashes escaped.
  mutating func string(_ text: some StringProtocol) {
    bytes.append(UInt8(ascii: "\""))
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"):
        bytes.append(UInt8(ascii: "\\"))
        bytes.append(byte)
      case 0x0A:
        raw("\\n")
      case 0x0D:
        raw("\\r")
      case 0x09:
        raw("\\t")
      case 0..<0x20, 0x7F:
        raw("\\u00")
        bytes.append(Self.digits[Int(byte >> 4)])
        bytes.append(Self.digits[Int(byte & 15)])
      default:
        bytes.append(byte)
      }
    }
    bytes.append(UInt8(ascii: "\""))
  }

  /// Appends a string, or `null`.
  mutating func optional(_ text: String?) {
    if let text { string(text) } else { raw("null") }
  }

  private static let digits = Array("0123456789abcdef".utf8)
}
