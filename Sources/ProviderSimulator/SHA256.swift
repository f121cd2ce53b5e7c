// SHA-256 (FIPS 180-4), so that an echo can vouch for a body without carrying it. Plain and slow; for tests only.

enum SHA256 {
  private static let constants: [UInt32] = primes(64).map { fraction(of: cubeRoot(of: $0)) }
  private static let initial: [UInt32] = primes(8).map { fraction(of: Double($0).squareRoot()) }

  /// The digest as 64 hexadecimal digits.
  static func hexadecimal(_ message: [UInt8]) -> String {
    var hash = initial
    var padded = message
    padded.append(0x80)
    padded.append(contentsOf: repeatElement(0, count: (119 - message.count % 64) % 64))
    let bits = UInt64(message.count) * 8
    for shift in stride(from: 56, through: 0, by: -8) {
      padded.append(UInt8(truncatingIfNeeded: bits >> UInt64(shift)))
    }
    var words = [UInt32](repeating: 0, count: 64)
    for block in stride(from: 0, to: padded.count, by: 64) {
      for index in 0..<16 {
        let at = block + index * 4
        words[index] =
          UInt32(padded[at]) << 24 | UInt32(padded[at + 1]) << 16 | UInt32(padded[at + 2]) << 8 | UInt32(padded[at + 3])
      }
      for index in 16..<64 {
        let a = words[index - 15]
        let b = words[index - 2]
        let small0 = rotate(a, 7) ^ rotate(a, 18) ^ (a >> 3)
        let small1 = rotate(b, 17) ^ rotate(b, 19) ^ (b >> 10)
        words[index] = words[index - 16] &+ small0 &+ words[index - 7] &+ small1
      }
      compress(&hash, words)
    }
    return hash.map { hexadecimal($0) }.joined()
  }

  private static func compress(_ hash: inout [UInt32], _ words: [UInt32]) {
    var (a, b, c, d) = (hash[0], hash[1], hash[2], hash[3])
    var (e, f, g, h) = (hash[4], hash[5], hash[6], hash[7])
    for index in 0..<64 {
      let choice = (e & f) ^ (~e & g)
      let majority = (a & b) ^ (a & c) ^ (b & c)
      let big1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)
      let big0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)
      let first = h &+ big1 &+ choice &+ constants[index] &+ words[index]
      let second = big0 &+ majority
      (h, g, f, e) = (g, f, e, d &+ first)
      (d, c, b, a) = (c, b, a, first &+ second)
    }
    for (index, value) in [a, b, c, d, e, f, g, h].enumerated() { hash[index] = hash[index] &+ value }
  }

  private static func rotate(_ value: UInt32, _ by: UInt32) -> UInt32 { value >> by | value << (32 - by) }

  private static func hexadecimal(_ value: UInt32) -> String {
    let text = String(value, radix: 16)
    return String(repeating: "0", count: 8 - text.count) + text
  }

  private static func primes(_ count: Int) -> [Int] {
    var found: [Int] = []
    var candidate = 2
    while found.count < count {
      if !found.contains(where: { candidate % $0 == 0 }) { found.append(candidate) }
      candidate += 1
    }
    return found
  }

  /// By Newton's method; five figures past what 32 bits of fraction need.
  private static func cubeRoot(of value: Int) -> Double {
    var root = Double(value)
    for _ in 0..<100 { root -= (root * root * root - Double(value)) / (3 * root * root) }
    return root
  }

  private static func fraction(of value: Double) -> UInt32 {
    UInt32((value - value.rounded(.down)) * 4_294_967_296)
  }
}
