// Makes text from outside safe for a terminal or a log.
//
// Promise: the result does not control a terminal, end a line or change the order in which text is shown: control
// characters (C0, DEL, C1), line and paragraph separators and format characters (bidi overrides, zero-width characters,
// tags) are written like `\u202e`. Everything else stays as it is.

public enum PrintableText {
  /// `text` with such characters escaped.
  /// - Parameter keepsLines: leaves line feeds and tabs, for a text of several lines.
  public static func escaped(_ text: String, keepsLines: Bool = false) -> String {
    if text.utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7F }) { return text }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(text.utf8.count + 16)
    for scalar in text.unicodeScalars {
      if isHidden(scalar), !(keepsLines && (scalar == "\n" || scalar == "\t")) {
        appendEscape(of: scalar, to: &bytes)
      } else {
        bytes.append(contentsOf: String(scalar).utf8)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  static func isHidden(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator: true
    default: false
    }
  }

  /// In the form of JSON: `\u001b`, and two of them for a character beyond U+FFFF.
  static func appendEscape(of scalar: Unicode.Scalar, to bytes: inout [UInt8]) {
    for unit in String(scalar).utf16 {
      bytes.append(contentsOf: "\\u".utf8)
      for shift in [12, 8, 4, 0] { bytes.append(digits[Int(unit >> UInt16(shift)) & 15]) }
    }
  }

  private static let digits = Array("0123456789abcdef".utf8)
}
