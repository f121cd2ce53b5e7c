// Instants in the form of RFC 3339: `2026-11-20T21:00:00.5+01:00`. The only reader and the only writer of this form;
// without locale, zone data or formatters.

public enum RFC3339 {
  /// How a written instant shows fractions of a second.
  public enum Fraction: Sendable {
    case none
    case milliseconds
    /// Three digits, or none where they would be zeros.
    case millisecondsIfAny
  }

  /// An instant in UTC: `2026-11-20T20:00:00.500Z`. Finer parts are cut off.
  /// - Parameter nanoseconds: since 1970; any number.
  public static func text(_ nanoseconds: Int64, _ fraction: Fraction = .milliseconds) -> String {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(24)
    append(nanoseconds, fraction, to: &bytes)
    return String(decoding: bytes, as: UTF8.self)
  }

  public static func append(_ nanoseconds: Int64, _ fraction: Fraction = .milliseconds, to bytes: inout [UInt8]) {
    let day: Int64 = 86_400_000_000_000
    let part = nanoseconds % day
    let rest = part < 0 ? part + day : part
    let days = nanoseconds / day - (part < 0 ? 1 : 0)
    CivilDate(daysSince1970: days).append(to: &bytes)
    bytes.append(UInt8(ascii: "T"))
    DecimalText.append(rest / 3_600_000_000_000, width: 2, to: &bytes)
    bytes.append(UInt8(ascii: ":"))
    DecimalText.append(rest / 60_000_000_000 % 60, width: 2, to: &bytes)
    bytes.append(UInt8(ascii: ":"))
    DecimalText.append(rest / 1_000_000_000 % 60, width: 2, to: &bytes)
    let milliseconds = rest / 1_000_000 % 1000
    if fraction == .milliseconds || (fraction == .millisecondsIfAny && milliseconds > 0) {
      bytes.append(UInt8(ascii: "."))
      DecimalText.append(milliseconds, width: 3, to: &bytes)
    }
    bytes.append(UInt8(ascii: "Z"))
  }

  /// Seconds since 1970 and the part of a second in nanoseconds, of years 1970 to 9999; nil for anything else.
  /// - Parameter isLenient: takes a date alone for its first instant, and a time without seconds.
  public static func read(_ text: some Collection<UInt8>, isLenient: Bool = false) -> (
    seconds: Int64, nanoseconds: Int64
  )? {
    guard text.count <= 64 else { return nil }
    var scan = Scan(rest: Array(text)[...])
    guard let year = scan.number(4), scan.take("-"), let month = scan.number(2), scan.take("-"),
      let day = scan.number(2), year >= 1970, (1...12).contains(month), day >= 1,
      day <= CivilDate.length(ofMonth: month, year)
    else { return nil }
    let midnight = CivilDate(year: year, month: month, day: day).daysSince1970 * 86_400
    if isLenient, scan.rest.isEmpty { return (midnight, 0) }
    guard scan.take("T") || scan.take("t") || scan.take(" "), let hours = scan.number(2), hours < 24, scan.take(":"),
      let minutes = scan.number(2), minutes < 60
    else { return nil }
    var seconds = midnight + hours * 3600 + minutes * 60
    var nanoseconds: Int64 = 0
    if scan.take(":") {
      guard let second = scan.number(2), second < 61 else { return nil }
      seconds += second
      if scan.take(".") {
        guard let fraction = scan.fraction() else { return nil }
        nanoseconds = fraction
      }
    } else if !isLenient {
      return nil
    }
    if scan.take("Z") || scan.take("z") { return scan.rest.isEmpty ? (seconds, nanoseconds) : nil }
    let isEast = scan.take("+")
    guard isEast || scan.take("-"), let offsetHours = scan.number(2), offsetHours < 24, scan.take(":"),
      let offsetMinutes = scan.number(2), offsetMinutes < 60, scan.rest.isEmpty
    else { return nil }
    let offset = offsetHours * 3600 + offsetMinutes * 60
    return (isEast ? seconds - offset : seconds + offset, nanoseconds)
  }

  /// Nanoseconds since 1970 of a date and time with any offset, or of `2026-11-21` (its first instant in UTC); nil for anything
  /// else, and outside 1970 to 2200.
  /// - Parameter isLenient: takes a date alone, and a time without seconds.
  public static func nanoseconds(_ text: String, isLenient: Bool = true) -> Int64? {
    guard let moment = read(text.utf8, isLenient: isLenient), moment.seconds >= 0, moment.seconds < latest else {
      return nil
    }
    return moment.seconds * 1_000_000_000 + moment.nanoseconds
  }
  /// The begin of the year 2201: instants before it fit nanoseconds.
  private static let latest: Int64 = 7_289_654_400

  private struct Scan {
    var rest: ArraySlice<UInt8>

    mutating func take(_ character: Unicode.Scalar) -> Bool {
      guard let first = rest.first, UInt32(first) == character.value else { return false }
      rest.removeFirst()
      return true
    }

    /// Exactly this many digits, nine at most.
    mutating func number(_ width: Int) -> Int64? {
      var value: Int64 = 0
      for _ in 0..<width {
        guard let digit = digit() else { return nil }
        value = value * 10 + digit
      }
      return value
    }

    /// The digits after the point in nanoseconds; beyond the ninth they are left out.
    mutating func fraction() -> Int64? {
      guard let first = digit() else { return nil }
      var scale: Int64 = 100_000_000
      var value = first * scale
      while let digit = digit() {
        scale /= 10
        value += digit * scale
      }
      return value
    }

    private mutating func digit() -> Int64? {
      guard let first = rest.first, first >= 0x30, first <= 0x39 else { return nil }
      rest.removeFirst()
      return Int64(first - 0x30)
    }
  }
}
