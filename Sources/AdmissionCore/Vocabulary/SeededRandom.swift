// A pseudo-random generator that gives the same numbers for the same seed, on every machine and in every release
// (SplitMix64; Steele, Lea, Flood). For jitter, order and synthetic work; never for secrets.

public struct SeededRandom: RandomNumberGenerator, Sendable {
  private var state: UInt64
  public init(seed: UInt64) { state = seed }

  public mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }

  /// 0...bound, every value as likely; 0 where the bound is not above it.
  public mutating func upTo(_ bound: Int64) -> Int64 {
    guard bound > 0 else { return 0 }
    return Int64(next().multipliedFullWidth(by: UInt64(bound) + 1).high)
  }

  /// 0..<bound by the remainder, which is even enough for bounds far below 2^64; 0 where the bound is not above it.
  public mutating func next(below bound: Int) -> Int { bound <= 0 ? 0 : Int(next() % UInt64(bound)) }
}
