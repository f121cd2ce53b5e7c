// The parts of field values (RFC 9110 section 5.6), for parsers of messages.

public enum FieldSyntax {
  /// `bytes` without spaces and tabs at both ends.
  @inlinable public static func trimmed(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    var start = bytes.startIndex
    var end = bytes.endIndex
    while start < end, bytes[start] == 0x20 || bytes[start] == 0x09 { start += 1 }
    while end > start, bytes[end - 1] == 0x20 || bytes[end - 1] == 0x09 { end -= 1 }
    return bytes[start..<end]
  }

  /// True where `bytes` is `lowercased` when ASCII case is ignored.
  @inlinable public static func equal(_ bytes: ArraySlice<UInt8>, _ lowercased: StaticString) -> Bool {
    guard bytes.count == lowercased.utf8CodeUnitCount else { return false }
    return lowercased.withUTF8Buffer { expected in
      var at = bytes.startIndex
      for byte in expected {
        if asciiLowercased(bytes[at]) != byte { return false }
        at += 1
      }
      return true
    }
  }

  /// True where `bytes` begins with `lowercased` when ASCII case is ignored.
  @inlinable public static func starts(_ bytes: ArraySlice<UInt8>, with lowercased: StaticString) -> Bool {
    equal(bytes.prefix(lowercased.utf8CodeUnitCount), lowercased)
  }

  /// Calls `body` with each non-empty element of a comma-separated list, trimmed.
  @inlinable public static func forEachElement(_ list: ArraySlice<UInt8>, _ body: (ArraySlice<UInt8>) -> Void) {
    var rest = list
    while let comma = rest.firstIndex(of: UInt8(ascii: ",")) {
      let element = trimmed(rest[..<comma])
      if !element.isEmpty { body(element) }
      rest = rest[(comma + 1)...]
    }
    let last = trimmed(rest)
    if !last.isEmpty { body(last) }
  }
}
