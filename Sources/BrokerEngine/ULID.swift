// Request ids are ULIDs: 48 bits of milliseconds since 1970 and 80 random bits, so that they sort by time. Within one
// millisecond the random part counts up (the monotonic form of the ULID specification), and also while the clock is a
// little behind. A clock that was set back by more than that is followed with new random bits, so that an id tells when
// its call came.
import AdmissionCore

/// Makes request ids; the seed decides the random part.
struct ULIDMaker {
  /// Random enough, since ids need not be secret.
  private var random: SeededRandom
  private var millisecond: UInt64 = 0
  /// Milliseconds: a clock that is further behind than this was set back.
  private static let patience: UInt64 = 10_000
  private var high16: UInt64 = 0
  private var low64: UInt64 = 0

  init(seed: UInt64) { random = SeededRandom(seed: seed) }

  mutating func next(wallNanoseconds: Int64) -> RequestID {
    let now = UInt64(max(0, wallNanoseconds)) / 1_000_000
    if now > millisecond || millisecond - now > Self.patience {
      millisecond = now
      high16 = random.next() & 0x7FFF  // the top bit is 0, so that counting up cannot overflow
      low64 = random.next()
    } else {
      let (sum, overflow) = low64.addingReportingOverflow(1)
      low64 = sum
      if overflow { high16 += 1 }
    }
    return RequestID(high: (millisecond << 16) | high16, low: low64)
  }
}

extension RequestID {
  private static let alphabet = Array("0123456789ABCDEFGHJKMNPQRSTVWXYZ".utf8)

  /// 26 characters of Crockford's base 32.
  public var text: String {
    String(unsafeUninitializedCapacity: 26) { buffer in
      var high = high
      var low = low
      var index = 25
      while index >= 0 {
        buffer[index] = RequestID.alphabet[Int(low & 31)]
        low = (low >> 5) | (high << 59)
        high >>= 5
        index -= 1
      }
      return 26
    }
  }

  /// Reads 26 characters of Crockford's base 32, in either case; nil for anything else.
  public init?(text: String) {
    let bytes = Array(text.utf8)
    guard bytes.count == 26, bytes[0] <= UInt8(ascii: "7") else { return nil }
    var high: UInt64 = 0
    var low: UInt64 = 0
    for byte in bytes {
      let upper = byte >= UInt8(ascii: "a") && byte <= UInt8(ascii: "z") ? byte - 32 : byte
      guard let value = RequestID.alphabet.firstIndex(of: upper) else { return nil }
      high = (high << 5) | (low >> 59)
      low = (low << 5) | UInt64(value)
    }
    self.init(high: high, low: low)
  }
}
