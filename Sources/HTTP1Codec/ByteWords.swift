// Checks all bytes of a name or a value, eight at a time: nearly every byte of a head is checked more than once, and
// one by one that would take several percent of a request's cost.
//
// Eight bytes are treated as one number. Sums do not carry from one byte into the next as long as each byte is below
// 128.

/// Eight bytes.
private struct ByteWord {
  /// The highest bit of each byte.
  static let tops: UInt64 = 0x8080_8080_8080_8080

  var bits: UInt64

  /// A number whose eight bytes are all `byte`.
  @inline(__always) static func all(_ byte: UInt8) -> UInt64 { UInt64(byte) &* 0x0101_0101_0101_0101 }

  /// Whether one of them is below `limit`, which is at most 128.
  @inline(__always) func hasByte(below limit: UInt8) -> Bool { (bits &- Self.all(limit)) & ~bits & Self.tops != 0 }

  @inline(__always) func has(_ byte: UInt8) -> Bool { ByteWord(bits: bits ^ Self.all(byte)).hasByte(below: 1) }

  /// The highest bits of those in the range, both ends included, where all are below 128.
  @inline(__always) func within(_ first: UInt8, _ last: UInt8) -> UInt64 {
    (bits &+ Self.all(128 - first)) & ~(bits &+ Self.all(127 - last)) & Self.tops
  }

  /// Whether no control is among them, tab included.
  var isVisible: Bool { !hasByte(below: 0x20) && !has(0x7F) }

  func isLettersDigitsAndHyphens(allowingCapitals: Bool) -> Bool {
    guard bits & Self.tops == 0 else { return false }
    var found = within(0x61, 0x7A) | within(0x30, 0x39) | within(0x2D, 0x2D)
    if allowingCapitals { found |= within(0x41, 0x5A) }
    return found == Self.tops
  }
}

extension Span<UInt8> {
  /// Whether all bytes at `range` are text or space: no control, and no tab either.
  func areVisible(at range: Range<Int>) -> Bool { everyWord(at: range) { $0.isVisible } }

  /// Whether all bytes at `range` are ASCII letters, digits and hyphens.
  func areLettersDigitsAndHyphens(at range: Range<Int>, allowingCapitals: Bool) -> Bool {
    everyWord(at: range) { $0.isLettersDigitsAndHyphens(allowingCapitals: allowingCapitals) }
  }

  /// Whether `holds` is true of all bytes at `range`, in eights. The last eight overlap those before; fewer than eight are repeated.
  @inline(__always) private func everyWord(at range: Range<Int>, _ holds: (ByteWord) -> Bool) -> Bool {
    let (start, end) = (range.lowerBound, range.upperBound)
    switch range.count {
    case 0: return true
    case 1...3:
      let (first, middle, last) = (UInt64(self[start]), UInt64(self[start + range.count / 2]), UInt64(self[end - 1]))
      return holds(ByteWord(bits: ByteWord.all(self[start]) & ~0xFFFF_FF | first << 16 | middle << 8 | last))
    case 4...7:
      let first = bytes.unsafeLoadUnaligned(fromByteOffset: start, as: UInt32.self)
      let last = bytes.unsafeLoadUnaligned(fromByteOffset: end - 4, as: UInt32.self)
      return holds(ByteWord(bits: UInt64(first) << 32 | UInt64(last)))
    default:
      var at = start
      while at + 8 <= end {
        guard holds(word(at: at)) else { return false }
        at += 8
      }
      return at == end || holds(word(at: end - 8))
    }
  }

  /// The eight bytes from `start` on, which are checked to be there.
  @inline(__always) private func word(at start: Int) -> ByteWord {
    ByteWord(bits: bytes.unsafeLoadUnaligned(fromByteOffset: start, as: UInt64.self))
  }
}
