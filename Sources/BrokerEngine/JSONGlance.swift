// Finds the texts of a few members in a JSON object that is only a hint, in one pass and without parsing the object.
//
// Promises: reads the first 8 KiB; a text with escapes, and a value that is no text, count as missing. Of a name that
// occurs more than once, in the object or in objects within it, the first text counts.

struct JSONGlance {
  /// The most bytes that are looked at.
  static let most = 8192
  private var texts: [String?]

  /// The text of the name at that place in the list of names; nil where it is missing.
  subscript(name: Int) -> String? { texts[name] }

  init(_ names: [StaticString], in json: String) {
    texts = Array(repeating: nil, count: names.count)
    let bytes = json.utf8.prefix(Self.most)
    var at = bytes.startIndex
    var missing = names.count
    // Each quotation mark may begin a name: a text with escapes does not mislead what comes after it.
    while missing > 0, let quote = bytes[at...].firstIndex(of: Self.quote) {
      at = bytes.index(after: quote)
      guard let name = names.indices.first(where: { texts[$0] == nil && Self.begins(bytes[at...], with: names[$0]) }),
        let value = Self.value(in: bytes, after: bytes.index(at, offsetBy: names[name].utf8CodeUnitCount + 1))
      else { continue }
      guard let close = bytes[value...].firstIndex(where: { $0 == Self.quote || $0 == UInt8(ascii: "\\") }),
        bytes[close] == Self.quote
      else { continue }
      texts[name] = String(json[value..<close])
      missing -= 1
      at = bytes.index(after: close)
    }
  }

  private static let quote = UInt8(ascii: "\"")

  /// True where the bytes are the name and a quotation mark.
  private static func begins(_ bytes: Substring.UTF8View.SubSequence, with name: StaticString) -> Bool {
    guard name.withUTF8Buffer({ bytes.starts(with: $0) }) else { return false }
    return bytes.dropFirst(name.utf8CodeUnitCount).first == quote
  }

  /// The first byte of the text that is the value of the name before `at`; nil where there is none.
  private static func value(in bytes: Substring.UTF8View, after at: String.Index) -> String.Index? {
    var at = at
    func skipBlanks() {
      while at < bytes.endIndex, bytes[at] == 0x20 || bytes[at] == 0x09 { at = bytes.index(after: at) }
    }
    skipBlanks()
    guard at < bytes.endIndex, bytes[at] == UInt8(ascii: ":") else { return nil }
    at = bytes.index(after: at)
    skipBlanks()
    guard at < bytes.endIndex, bytes[at] == quote else { return nil }
    return bytes.index(after: at)
  }
}
