// A gzip file (RFC 1952) whose deflate blocks are stored, not compressed:
// enough to see whether a content coding passes untouched.

enum StoredGzip {
  static func encode(_ bytes: [UInt8]) -> [UInt8] {
    var out: [UInt8] = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255]
    var at = 0
    repeat {
      let count = min(65_535, bytes.count - at)
      let isLast = at + count == bytes.count
      out.append(isLast ? 1 : 0)
      append(UInt32(count), bytes: 2, to: &out)
      append(~UInt32(count), bytes: 2, to: &out)
      out.append(contentsOf: bytes[at..<at + count])
      at += count
    } while at < bytes.count
    append(checksum(bytes), bytes: 4, to: &out)
    append(UInt32(truncatingIfNeeded: bytes.count), bytes: 4, to: &out)
    return out
  }

  private static let table: [UInt32] = (0..<256).map { index in
    (0..<8).reduce(UInt32(index)) { value, _ in value & 1 == 1 ? 0xEDB8_8320 ^ (value >> 1) : value >> 1 }
  }

  /// CRC-32 as gzip uses it.
  static func checksum(_ bytes: [UInt8]) -> UInt32 {
    var value: UInt32 = 0xFFFF_FFFF
    for byte in bytes { value = table[Int((value ^ UInt32(byte)) & 0xFF)] ^ (value >> 8) }
    return ~value
  }

  private static func append(_ value: UInt32, bytes: Int, to out: inout [UInt8]) {
    for index in 0..<bytes { out.append(UInt8(truncatingIfNeeded: value >> UInt32(8 * index))) }
  }
}
