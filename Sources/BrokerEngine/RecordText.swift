// Text of clients and providers for records and logs. It is cut when it is recorded, so that no sender decides how much
// memory a record takes or how long a line is.

enum RecordText {
  /// The most bytes of UTF-8 of a recorded text, with the mark of a cut included.
  static let limit = 256
  private static let mark = "…"

  /// The text itself, or its beginning followed by `…`, cut at the end of a character.
  static func cut(_ text: String, to limit: Int = RecordText.limit) -> String {
    let bytes = text.utf8
    guard bytes.count > limit else { return text }
    var end = bytes.index(bytes.startIndex, offsetBy: max(0, limit - mark.utf8.count))
    // A letter may carry endless combining marks: then the text is cut between two scalars.
    var steps = 0
    while end > bytes.startIndex, steps < 64, String.Index(end, within: text) == nil {
      end = bytes.index(before: end)
      steps += 1
    }
    while end > bytes.startIndex, end.samePosition(in: text.unicodeScalars) == nil { end = bytes.index(before: end) }
    return text[..<end] + mark
  }

  /// A session's or an agent's name, cut to 128 bytes without a mark.
  static func name(_ text: String) -> String {
    text.utf8.count <= 128 ? text : String(decoding: text.utf8.prefix(128), as: UTF8.self)
  }
}
