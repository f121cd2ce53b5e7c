// Dates and times of day in UTC, as questions give them and reports show them; without locale, zone data or formatters.
import AdmissionCore
import TextForms

enum UTCTime {
  static let second: Int64 = 1_000_000_000
  static let hour: Int64 = 3_600 * second
  static let day: Int64 = 86_400 * second

  /// `2026-11-21T13:05:00Z`, with milliseconds where there are any.
  static func text(_ at: WallInstant) -> String {
    let day = floorDivided(at.nanoseconds, UTCTime.day)
    let rest = at.nanoseconds - day * UTCTime.day
    let milliseconds = rest / 1_000_000 % 1000
    let seconds = rest / second
    let fraction = milliseconds == 0 ? "" : "." + padded(milliseconds, 3)
    return
      "\(date(day))T\(padded(seconds / 3600, 2)):\(padded(seconds / 60 % 60, 2)):\(padded(seconds % 60, 2))\(fraction)Z"
  }

  /// `2026-11-21`, of a number of days since 1970.
  static func date(_ day: Int64) -> String {
    let date = CivilDate(daysSince1970: day)
    return "\(padded(date.year, 4))-\(padded(date.month, 2))-\(padded(date.day, 2))"
  }

  /// `24h` before `now`, `2026-11-21` (its first instant), or RFC 3339 with any offset; nil for anything else.
  static func instant(_ text: String, now: WallInstant) -> WallInstant? {
    if let span = duration(text) { return WallInstant(nanoseconds: now.nanoseconds - span) }
    var scan = Scan(text)
    guard let year = scan.number(4), scan.take("-"), let month = scan.number(2), scan.take("-"),
      let number = scan.number(2), (1970...2200).contains(year), (1...12).contains(month),
      (1...CivilDate.length(ofMonth: month, year)).contains(number)
    else { return nil }
    let midnight = CivilDate(year: year, month: month, day: number).daysSince1970 * day
    if scan.isAtEnd { return WallInstant(nanoseconds: midnight) }
    guard scan.take("T") || scan.take("t") || scan.take(" "), let hours = scan.number(2), hours < 24, scan.take(":"),
      let minutes = scan.number(2), minutes < 60
    else { return nil }
    var time = hours * hour + minutes * 60 * second
    if scan.take(":") {
      guard let seconds = scan.number(2), seconds < 61 else { return nil }
      time += seconds * second
      if scan.take(".") {
        guard let fraction = scan.fraction() else { return nil }
        time += fraction
      }
    }
    if scan.take("Z") || scan.take("z") {
      return scan.isAtEnd ? WallInstant(nanoseconds: midnight + time) : nil
    }
    let isEast = scan.take("+")
    guard isEast || scan.take("-"), let offsetHours = scan.number(2), offsetHours < 24, scan.take(":"),
      let offsetMinutes = scan.number(2), offsetMinutes < 60, scan.isAtEnd
    else { return nil }
    let offset = offsetHours * hour + offsetMinutes * 60 * second
    return WallInstant(nanoseconds: midnight + time + (isEast ? -offset : offset))
  }

  /// `90d`, `24h`, `30m`, `45s`, `2w` in nanoseconds; nil for anything else, and past 100 years.
  static func duration(_ text: String) -> Int64? {
    let units: [Character: Int64] = ["s": second, "m": 60 * second, "h": hour, "d": day, "w": 7 * day]
    guard let last = text.last, let unit = units[last], text.utf8.count <= 12 else { return nil }
    let digits = text.dropLast()
    guard !digits.isEmpty, digits.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
      let count = Int64(digits)
    else { return nil }
    let (span, overflow) = count.multipliedReportingOverflow(by: unit)
    return overflow || span > 36_525 * day ? nil : span
  }

  private static func floorDivided(_ value: Int64, _ divisor: Int64) -> Int64 {
    value >= 0 ? value / divisor : -((-value + divisor - 1) / divisor)
  }

  private static func padded(_ value: Int64, _ width: Int) -> String {
    let digits = String(value)
    return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
  }

  private struct Scan {
    private var rest: Substring.UTF8View
    init(_ text: String) { rest = Substring(text).utf8 }

    var isAtEnd: Bool { rest.isEmpty }

    mutating func take(_ character: Unicode.Scalar) -> Bool {
      guard let first = rest.first, UInt32(first) == character.value else { return false }
      rest.removeFirst()
      return true
    }

    /// Exactly this many digits.
    mutating func number(_ width: Int) -> Int64? {
      var value: Int64 = 0
      for _ in 0..<width {
        guard let digit = digit() else { return nil }
        value = value * 10 + digit
      }
      return value
    }

    /// One to nine digits after the point, in nanoseconds; more are left out.
    mutating func fraction() -> Int64? {
      var value: Int64 = 0
      var scale: Int64 = 100_000_000
      guard let first = digit() else { return nil }
      value = first * scale
      while let digit = digit() {
        scale /= 10
        value += digit * scale
      }
      return value
    }

    private mutating func digit() -> Int64? {
      guard let first = rest.first, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first) else { return nil }
      rest.removeFirst()
      return Int64(first - UInt8(ascii: "0"))
    }
  }
}
