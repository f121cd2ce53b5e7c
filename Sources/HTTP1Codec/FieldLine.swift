// The grammar of a field line (RFC 9112 section 5) in heads and trailers of requests and answers; and the searches in
// bytes that the readers of heads share.
import HTTPMessage

/// The places of a field's name and value in the bytes that it was read from.
struct FieldLine: Equatable {
  /// The name is never empty, and lies in front of the value.
  var name: Range<Int>
  /// Without spaces and tabs at both ends.
  var value: Range<Int>

  /// How strictly mistakes are refused.
  enum Rules {
    /// For clients: what two parsers could read differently is refused (RFC 9110 section 5.5), since requests are
    /// forwarded.
    case strict
    /// For providers: names and values may have any content, as long as it is clear where both begin and end.
    case lenient
  }

  enum Flaw: Error, Equatable {
    case folded, noColon, badName, badValue

    /// For an error text, without quoting the line.
    var reason: String {
      switch self {
      case .folded: "a field is folded over two lines, which is obsolete"
      case .noColon: "a field line has no colon"
      case .badName: "a field's name is empty or holds a byte that names may not have"
      case .badValue: "the value of a field holds a control character"
      }
    }
  }

  /// Reads the line at `line`, without its line end.
  init(_ bytes: Span<UInt8>, _ line: Range<Int>, _ rules: Rules) throws(Flaw) {
    guard !line.isEmpty else { throw .noColon }
    guard !bytes.isBlank(line.lowerBound) else { throw .folded }
    guard let colon = bytes.firstIndex(of: UInt8(ascii: ":"), from: line.lowerBound), colon < line.upperBound else {
      throw .noColon
    }
    name = line.lowerBound..<colon
    guard !name.isEmpty, rules == .strict ? ByteSyntax.isToken(bytes, name) : !bytes.isBlank(colon - 1) else {
      throw .badName
    }
    value = bytes.trimmed(colon + 1..<line.upperBound)
    guard rules == .lenient || ByteSyntax.isFieldValue(bytes, value) else { throw .badValue }
  }
}

extension Span<UInt8> {
  /// The place of the first `byte` at or after `start`.
  func firstIndex(of byte: UInt8, from start: Int) -> Int? {
    var at = start
    // Eight bytes at a time, as one number: `zeros` has the highest bit of those set that are `byte`. Only above the lowest of them can
    // a bit be set that should not be.
    let (ones, highBits) = (0x0101_0101_0101_0101 as UInt64, 0x8080_8080_8080_8080 as UInt64)
    while at + 8 <= count {
      let differing =
        UInt64(littleEndian: bytes.unsafeLoadUnaligned(fromByteOffset: at, as: UInt64.self)) ^ ones &* UInt64(byte)
      let zeros = (differing &- ones) & ~differing & highBits
      if zeros != 0 { return at + zeros.trailingZeroBitCount / 8 }
      at += 8
    }
    while at < count {
      if self[at] == byte { return at }
      at += 1
    }
    return nil
  }

  /// The place after the first empty line; nil where there is none. Lines end with LF, or with CR and LF.
  func endOfHead(from start: Int) -> Int? {
    var at = start
    while let newline = firstIndex(of: UInt8(ascii: "\n"), from: at) {
      at = newline + 1
      let end = at < count && self[at] == UInt8(ascii: "\r") ? at + 1 : at
      if end < count, self[end] == UInt8(ascii: "\n") { return end + 1 }
    }
    return nil
  }

  /// Space or tab.
  func isBlank(_ index: Int) -> Bool { self[index] == 0x20 || self[index] == 0x09 }

  /// `range` without spaces and tabs at both ends.
  func trimmed(_ range: Range<Int>) -> Range<Int> {
    var (start, end) = (range.lowerBound, range.upperBound)
    while start < end, isBlank(start) { start += 1 }
    while end > start, isBlank(end - 1) { end -= 1 }
    return start..<end
  }

  /// True where the bytes at `range` are `text`, case and all.
  func holds(_ text: StaticString, at range: Range<Int>) -> Bool {
    guard range.count == text.utf8CodeUnitCount else { return false }
    for offset in 0..<range.count where self[range.lowerBound + offset] != text.utf8Start[offset] { return false }
    return true
  }

  /// True where the bytes at `range` are `lowercased` when ASCII case is ignored.
  func holds(ignoringCase lowercased: StaticString, at range: Range<Int>) -> Bool {
    guard range.count == lowercased.utf8CodeUnitCount else { return false }
    for offset in 0..<range.count
    where asciiLowercased(self[range.lowerBound + offset]) != lowercased.utf8Start[offset] { return false }
    return true
  }
}

/// The non-empty elements of a comma-separated list, trimmed (RFC 9110 section 5.6.1).
struct ListElements {
  private var rest: Range<Int>

  init(_ list: Range<Int>) { rest = list }

  /// - Parameter bytes: those in which the list lies, each time the same.
  mutating func next(_ bytes: Span<UInt8>) -> Range<Int>? {
    while !rest.isEmpty {
      var comma = rest.lowerBound
      while comma < rest.upperBound, bytes[comma] != UInt8(ascii: ",") { comma += 1 }
      let element = bytes.trimmed(rest.lowerBound..<comma)
      rest = min(comma + 1, rest.upperBound)..<rest.upperBound
      if !element.isEmpty { return element }
    }
    return nil
  }
}
