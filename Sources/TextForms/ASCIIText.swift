// Words of protocols and files: blanks at their ends and the case of their ASCII letters say nothing.

public enum ASCIIText {
  /// Without blanks and controls at the ends.
  public static func trimmed(_ text: String) -> Substring {
    guard let first = text.utf8.first, let last = text.utf8.last else { return "" }
    if first > 0x20, last > 0x20 { return text[...] }
    let start = text.utf8.firstIndex { $0 > 0x20 } ?? text.endIndex
    let end = text.utf8.lastIndex { $0 > 0x20 }.map { text.utf8.index(after: $0) } ?? start
    return start <= end ? text[start..<end] : ""
  }

  /// Equal when the case of ASCII letters is ignored.
  public static func areEqual(_ left: some StringProtocol, _ right: String) -> Bool {
    let left = left.utf8
    let right = right.utf8
    guard left.count == right.count else { return false }
    return zip(left, right).allSatisfy { lowercased($0) == lowercased($1) }
  }

  private static func lowercased(_ byte: UInt8) -> UInt8 { byte >= 0x41 && byte <= 0x5A ? byte | 0x20 : byte }
}
