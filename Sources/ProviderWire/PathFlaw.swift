// Finds what a path must not contain, because a server that resolves escapes or segments would see another endpoint
// than the one that was admitted: `/v1/models/..%2fchat%2fcompletions` looks like a question about a model.
import TextForms

extension PathFacts {
  /// What is wrong with a path (without its query); nil where every server reads it in the same way.
  ///
  /// Refused are `.` and `..` segments, backslashes, `?`, `#` and control characters, also in escaped form, and escapes
  /// of escapes. An escaped slash is allowed, since models' names contain slashes.
  public static func flaw(in path: Substring) -> String? {
    var isSuspicious = false
    var before: UInt8 = 0
    let bytes = path.utf8.span
    for index in bytes.indices {
      let byte = bytes[index]
      switch byte {
      case UInt8(ascii: "%"), UInt8(ascii: "\\"), UInt8(ascii: "#"), 0..<0x20, 0x7F: isSuspicious = true
      case UInt8(ascii: ".") where before == UInt8(ascii: "/"): isSuspicious = true
      default: break
      }
      before = byte
    }
    guard isSuspicious else { return nil }
    let decoded = PercentEscapes.decoded(path)
    if PercentEscapes.decoded(decoded[...]) != decoded { return "an escape inside of an escape" }
    for byte in decoded.utf8 {
      switch byte {
      case UInt8(ascii: "\\"): return "a backslash"
      case UInt8(ascii: "?"), UInt8(ascii: "#"): return "an escaped '?' or '#'"
      case 0..<0x20, 0x7F: return "a control character"
      default: break
      }
    }
    for segment in decoded.split(separator: "/") {
      // Some servers read what follows a semicolon as parameters of the segment.
      let name = segment.prefix { $0 != ";" }
      if name == "." || name == ".." { return "a segment '\(name)'" }
    }
    return nil
  }
}
