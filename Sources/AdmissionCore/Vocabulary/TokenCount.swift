// A number of LLM tokens, kept in a plausible range, with arithmetic that stops at the ends of that range.
//
// Promise: whatever number a provider, a client, a file or an operator gives, the `TokenCount` made from it is in
// 0...2^40, and no sum, difference or scaling of counts traps or wraps. Why 2^40: a trillion tokens is a million times
// the largest call there is, and products with rates, shares and ratios still fit 64 bits.

/// LLM tokens, 0...2^40. A number outside the range becomes the nearer end.
public struct TokenCount: Hashable, Comparable, Sendable {
  /// 0...2^40.
  public let value: Int64

  /// 2^40.
  public static let most = TokenCount(inRange: 1 << 40)
  public static let zero = TokenCount(inRange: 0)

  /// The nearest count to `number`.
  @inlinable public init(_ number: Int64) { value = min(max(number, 0), 1 << 40) }
  /// The nearest count to `number`.
  @inlinable public init(_ number: some BinaryInteger) { self.init(Int64(clamping: number)) }

  private init(inRange value: Int64) { self.value = value }

  /// True where `number` is in the range, so that nothing is cut.
  public static func isPossible(_ number: Int64) -> Bool { number >= 0 && number <= most.value }

  @inlinable public static func < (left: TokenCount, right: TokenCount) -> Bool { left.value < right.value }
  @inlinable public static func + (left: TokenCount, right: TokenCount) -> TokenCount {
    TokenCount(left.value &+ right.value)
  }
  /// Zero where the right count is the larger one.
  @inlinable public static func - (left: TokenCount, right: TokenCount) -> TokenCount {
    TokenCount(left.value &- right.value)
  }
  public static func += (left: inout TokenCount, right: TokenCount) { left = left + right }
  public static func -= (left: inout TokenCount, right: TokenCount) { left = left - right }

  /// `times` as many; 0 where `times` is below zero.
  public func multiplied(by times: Int64) -> TokenCount {
    let (product, overflow) = value.multipliedReportingOverflow(by: max(0, times))
    return overflow ? .most : TokenCount(product)
  }

  /// `numerator / denominator` as many, rounded down; neither below zero, and a denominator of 0 counts as 1.
  @inline(__always)  // So that a constant denominator is divided by without a division.
  public func scaled(by numerator: Int64, over denominator: Int64) -> TokenCount {
    let (numerator, denominator) = (max(0, numerator), max(1, denominator))
    let (product, overflow) = value.multipliedReportingOverflow(by: numerator)
    if !overflow { return TokenCount(product / denominator) }
    return TokenCount(Int64(clamping: Int128(value) * Int128(numerator) / Int128(denominator)))
  }
}

extension TokenCount: ExpressibleByIntegerLiteral, CustomStringConvertible {
  public init(integerLiteral value: Int64) { self.init(value) }
  public var description: String { String(value) }
}

extension Int64 {
  public init(_ count: TokenCount) { self = count.value }
}

extension Int {
  public init(_ count: TokenCount) { self = Int(count.value) }
}
