// Writes JSON by hand: the broker's own bodies are small and of fixed shape.
import TextForms

/// A JSON text under construction. Keys and structure are the caller's; `string` escapes.
struct JSONText {
  private(set) var bytes: [UInt8] = []

  init(reserving capacity: Int = 256) { bytes.reserveCapacity(capacity) }

  /// Appends text as it stands.
  mutating func raw(_ text: StaticString) {
    text.withUTF8Buffer { bytes.append(contentsOf: $0) }
  }

  mutating func integer(_ value: Int) { bytes.append(contentsOf: String(value).utf8) }

  /// Appends a string with its quotes, escaped.
  mutating func string(_ text: String) { JSONString.append(text, to: &bytes) }

  /// Appends a string, or `null`.
  mutating func optional(_ text: String?) {
    if let text { string(text) } else { raw("null") }
  }
}
