// Reads decimal numbers as whole numbers of a small unit (nano-dollars, nanoseconds), without binary fractions in
// between.
//
// Promise: every text gives a result, in one pass and with constant memory; nothing overflows, whatever digits or
// exponent the text has.

public enum DecimalText {
  /// Appends a whole number.
  public static func append(_ number: Int64, to bytes: inout [UInt8]) { append(number, width: 1, to: &bytes) }

  /// Appends a whole number, filled with zeros to at least `width` digits.
  public static func append(_ number: Int64, width: Int, to bytes: inout [UInt8]) {
    if number < 0 { bytes.append(UInt8(ascii: "-")) }
    append(digits: number.magnitude, width: width, to: &bytes)
  }

  /// Appends a number of billionths as a decimal with nine places: 12,300,000 is `0.012300000`.
  public static func append(billionths number: Int64, to bytes: inout [UInt8]) {
    if number < 0 { bytes.append(UInt8(ascii: "-")) }
    let (whole, rest) = number.magnitude.quotientAndRemainder(dividingBy: 1_000_000_000)
    append(digits: whole, width: 1, to: &bytes)
    bytes.append(UInt8(ascii: "."))
    append(digits: rest, width: 9, to: &bytes)
  }

  /// Each line of the log and each document of the API has dozens of them, so they are written without text in between.
  private static func append(digits number: UInt64, width: Int, to bytes: inout [UInt8]) {
    var count = 1
    var limit: UInt64 = 10
    while number >= limit {
      count += 1
      // The longest number has twenty digits.
      let (larger, overflows) = limit.multipliedReportingOverflow(by: 10)
      if overflows { break }
      limit = larger
    }
    count = max(count, width)
    bytes.append(addingCapacity: count) { space in
      space.append(repeating: UInt8(ascii: "0"), count: count)
      var rest = number
      var place = space.mutableSpan
      var index = count - 1
      while rest > 0 {
        let (tenth, digit) = rest.quotientAndRemainder(dividingBy: 10)
        place[index] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: digit)
        rest = tenth
        index -= 1
      }
    }
  }

  /// `number` divided by ten to the power of `places`, without needless zeros: 2,500,000 with six places is `2.5`.
  public static func text(_ number: Int64, places: Int) -> String {
    var digits = String(number.magnitude)
    digits = String(repeating: "0", count: max(0, places + 1 - digits.utf8.count)) + digits
    var fraction = digits.suffix(places)
    while fraction.last == "0" { fraction.removeLast() }
    return (number < 0 ? "-" : "") + digits.dropLast(places) + (fraction.isEmpty ? "" : "." + fraction)
  }

  public enum Reading: Equatable, Sendable {
    /// The number × 10^power. Where it has finer decimals, it is rounded to the nearest (halves up), from at least
    /// eighteen digits, and `isExact` is false. Never below zero.
    case number(Int64, isExact: Bool)
    case negative
    /// Does not fit 64 bits.
    case tooLarge
    case malformed
  }

  public enum Form: Sendable {
    /// Digits, and a point with digits on both sides: for files and queries, which people write.
    case plain
    /// Also a sign, an exponent, and a point at either end: for JSON and headers.
    case scientific
  }

  @inlinable public static func read(
    _ text: some Collection<UInt8>, timesTenTo power: Int, form: Form = .scientific
  ) -> Reading {
    var digits: Int64 = 0
    var isFull = false
    var exponent = power
    var before = 0
    var after = 0
    var sawPoint = false
    var isExact = true
    var isNegative = false
    var at = text.startIndex
    if form == .scientific, at != text.endIndex, text[at] == UInt8(ascii: "-") {
      isNegative = true
      text.formIndex(after: &at)
    }
    while at != text.endIndex {
      let byte = text[at]
      if byte | 0x20 == UInt8(ascii: "e"), form == .scientific { break }
      text.formIndex(after: &at)
      if byte == UInt8(ascii: ".") {
        guard !sawPoint else { return .malformed }
        sawPoint = true
        continue
      }
      guard byte >= 0x30, byte <= 0x39 else { return .malformed }
      if sawPoint { after += 1 } else { before += 1 }
      let (ten, tenOverflows) = digits.multipliedReportingOverflow(by: 10)
      let (sum, sumOverflows) = ten.addingReportingOverflow(Int64(byte - 0x30))
      if !isFull, !tenOverflows, !sumOverflows {
        digits = sum
        if sawPoint { exponent -= 1 }
      } else {
        isFull = true
        if byte != 0x30 { isExact = false }
        if !sawPoint { exponent += 1 }
      }
    }
    guard before + after > 0 else { return .malformed }
    if form == .plain, before == 0 || (sawPoint && after == 0) { return .malformed }
    if at != text.endIndex {
      text.formIndex(after: &at)
      var isBelow = false
      if at != text.endIndex, text[at] == UInt8(ascii: "-") || text[at] == UInt8(ascii: "+") {
        isBelow = text[at] == UInt8(ascii: "-")
        text.formIndex(after: &at)
      }
      guard at != text.endIndex else { return .malformed }
      var written = 0
      while at != text.endIndex {
        guard text[at] >= 0x30, text[at] <= 0x39 else { return .malformed }
        // Beyond every number of digits that a text can have, one exponent is like another.
        if written < 1 << 40 { written = written * 10 + Int(text[at] - 0x30) }
        text.formIndex(after: &at)
      }
      exponent += isBelow ? -written : written
    }
    while exponent > 0, digits > 0 {
      let (larger, overflow) = digits.multipliedReportingOverflow(by: 10)
      guard !overflow else { return isNegative ? .negative : .tooLarge }
      digits = larger
      exponent -= 1
    }
    while exponent < -1, digits > 0 {
      if digits % 10 != 0 { isExact = false }
      digits /= 10
      exponent += 1
    }
    if exponent < 0, digits > 0 {
      if digits % 10 != 0 { isExact = false }
      digits = digits / 10 + (digits % 10 >= 5 ? 1 : 0)
    }
    if isNegative, digits > 0 { return .negative }
    return .number(digits, isExact: isExact)
  }

  /// The number × 10^power, rounded to the nearest; nil where the text is no number, negative or too large.
  @inlinable public static func scaled(_ text: some Collection<UInt8>, by power: Int) -> Int64? {
    guard case .number(let number, _) = read(text, timesTenTo: power) else { return nil }
    return number
  }

  /// A plain number × 10^places; nil where the text is none, has more decimals, or is too large.
  @inlinable public static func exact(_ text: some Collection<UInt8>, places: Int) -> Int64? {
    guard case .number(let number, isExact: true) = read(text, timesTenTo: places, form: .plain) else { return nil }
    return number
  }
}
