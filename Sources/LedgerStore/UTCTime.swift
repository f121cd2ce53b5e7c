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
    if let span = duration(text) { return WallInstant(nanoseconds: now.nanoseconds.saturatingSubtracting(span)) }
    guard let moment = RFC3339.read(text.utf8, isLenient: true), moment.seconds < latest else { return nil }
    return WallInstant(nanoseconds: moment.seconds * second + moment.nanoseconds)
  }

  /// The end of the year 2200: instants up to it fit nanoseconds.
  private static let latest: Int64 = 7_289_654_400

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
    value / divisor - (value % divisor < 0 ? 1 : 0)
  }

  private static func padded(_ value: Int64, _ width: Int) -> String {
    let digits = String(value)
    return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
  }
}
