// Numbers that look random and are the same for the same seed on every machine and in every release: xoshiro256** (Blackman and
// Vigna), its state filled by `SeededRandom` so that neighbouring seeds give unrelated streams. The standard library's own
// `random(in:using:)` may change its method between releases, hence the bounded draw here.
import AdmissionCore

public struct SeededGenerator: RandomNumberGenerator, Sendable {
  private var s0: UInt64
  private var s1: UInt64
  private var s2: UInt64
  private var s3: UInt64

  public init(seed: UInt64) {
    var mixer = SeededRandom(seed: seed)
    s0 = mixer.next()
    s1 = mixer.next()
    s2 = mixer.next()
    s3 = mixer.next()
  }

  /// A stream of its own for part `part` of what `seed` describes: adding draws to one part leaves the others as they
  /// were.
  public init(seed: UInt64, part: UInt64) {
    var mixer = SeededRandom(seed: seed ^ (part &* 0xD1B5_4A32_D192_ED03))
    self.init(seed: mixer.next() ^ part)
  }

  public mutating func next() -> UInt64 {
    let scrambled = rotated(s1 &* 5, 7) &* 9
    let shifted = s1 << 17
    s2 ^= s0
    s3 ^= s1
    s1 ^= s2
    s0 ^= s3
    s2 ^= shifted
    s3 = rotated(s3, 45)
    return scrambled
  }

  /// Even over `range`, by the high half of a 128-bit product; its bias is below 2^-32 for the ranges used in tests.
  public mutating func int(_ range: ClosedRange<Int>) -> Int {
    let width = UInt64(range.upperBound - range.lowerBound) + 1
    return range.lowerBound + Int(next().multipliedFullWidth(by: width).high)
  }

  public mutating func int64(_ range: ClosedRange<Int64>) -> Int64 {
    Int64(int(Int(range.lowerBound)...Int(range.upperBound)))
  }

  /// True in `percent` of 100 draws.
  public mutating func chance(_ percent: Int) -> Bool { int(0...99) < percent }

  /// One of `choices`, which must not be empty.
  public mutating func pick<T>(_ choices: [T]) -> T { choices[int(0...choices.count - 1)] }

  /// Even between two spans, in whole microseconds.
  public mutating func span(_ range: ClosedRange<Span>) -> Span {
    Span(nanoseconds: int64(range.lowerBound.nanoseconds / 1000...range.upperBound.nanoseconds / 1000) * 1000)
  }

  private func rotated(_ value: UInt64, _ by: UInt64) -> UInt64 { (value << by) | (value >> (64 - by)) }
}

/// FNV-1a over whole numbers: equal runs have equal hashes.
public struct TraceHash: Sendable, Equatable {
  public private(set) var value: UInt64 = 0xCBF2_9CE4_8422_2325
  public init() {}
  public mutating func mix(_ number: UInt64) {
    value = (value ^ number) &* 0x100_0000_01B3
    value ^= value >> 29
  }
  public mutating func mix(_ number: Int64) { mix(UInt64(bitPattern: number)) }
}
