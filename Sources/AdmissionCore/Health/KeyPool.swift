// Which upstream key a session uses: weighted rendezvous hashing.
//
// Promise: a session gets the same key as long as that key is usable, whatever happens to other keys, so that the
// provider's prompt cache stays warm; over many sessions each key's part follows its weight; when a key goes away, only
// its own sessions move. Why rendezvous hashing: there is no ring to keep, it orders all keys for a session, and
// weights are exact.

struct KeyPool: Sendable {
  /// -ln(u) / weight, where u is the session's pseudo-random draw for the key. The key with the smallest score wins, so
  /// each wins in proportion to its weight.
  static func score(session: UInt64, key: UInt64, weight: Int) -> Double {
    var mixed = session ^ (key &* 0x9E37_79B9_7F4A_7C15)
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    mixed ^= mixed >> 31
    let draw = (Double(mixed >> 12) + 0.5) / Double(UInt64(1) << 52)
    return -naturalLogarithm(draw) / Double(max(1, weight))
  }

  /// 64-bit FNV-1a of a name's bytes.
  static func hash(_ name: String) -> UInt64 { hash(name, from: 0xCBF2_9CE4_8422_2325) }

  /// The hash of a list of names, of which this is the next. No name has the byte that parts them.
  static func hash(_ name: String, after names: UInt64) -> UInt64 {
    hash(name, from: (names ^ 0xFF) &* 0x0000_0100_0000_01B3)
  }

  private static func hash(_ name: String, from start: UInt64) -> UInt64 {
    var hash = start
    let bytes = name.utf8.span
    for index in bytes.indices { hash = (hash ^ UInt64(bytes[index])) &* 0x0000_0100_0000_01B3 }
    return hash
  }

  /// The natural logarithm of a number between 0 and 1, by a series of our own so that every platform gives the same
  /// bits. Error below 1e-9.
  private static func naturalLogarithm(_ value: Double) -> Double {
    let mantissa = value.significand
    let z = (mantissa - 1) / (mantissa + 1)
    let square = z * z
    var term = z
    var sum = 0.0
    for odd in stride(from: 1, through: 17, by: 2) {
      sum += term / Double(odd)
      term *= square
    }
    return 2 * sum + Double(value.exponent) * 0.693_147_180_559_945_3
  }
}
