// Searches bytes with the C library's SIMD search. The unsafe pointers stay in this file.
import CSimdjson

enum ByteSearch {
  /// The first place of `byte` in `bytes` at or after `from`.
  @inline(__always)
  static func first(_ byte: UInt8, in bytes: ArraySlice<UInt8>, from: Int) -> Int? {
    bytes.withUnsafeBufferPointer { buffer -> Int? in
      let skipped = from - bytes.startIndex
      guard let base = buffer.baseAddress, skipped < buffer.count else { return nil }
      let found = tg_find_byte(base + skipped, buffer.count - skipped, byte)
      return found < 0 ? nil : from + found
    }
  }

  /// The first place of `wanted` in `bytes` at or after `from`.
  static func first(_ wanted: [UInt8], in bytes: ArraySlice<UInt8>, from: Int) -> Int? {
    bytes.withUnsafeBufferPointer { buffer -> Int? in
      let skipped = from - bytes.startIndex
      guard let base = buffer.baseAddress, skipped < buffer.count else { return nil }
      let found = wanted.withUnsafeBufferPointer {
        tg_find(base + skipped, buffer.count - skipped, $0.baseAddress, $0.count)
      }
      return found < 0 ? nil : from + found
    }
  }

  /// The last place of `wanted` in `bytes`.
  static func last(_ wanted: [UInt8], in bytes: ArraySlice<UInt8>) -> Int? {
    var found: Int?
    var from = bytes.startIndex
    while let next = first(wanted, in: bytes, from: from) {
      found = next
      from = next + 1
    }
    return found
  }
}
