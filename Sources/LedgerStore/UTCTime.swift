// Dates and times in UTC, as queries give them and reports show them, without locale, zone data or formatters.
import AdmissionCore
import TextForms

enum UTCTime {
  static let second: Int64 = 1_000_000_000
  static let hour: Int64 = 3_600 * second
  static let day: Int64 = 86_400 * second

  /// `2026-11-21T13:05:00Z`, with milliseconds where there are any.
  static func text(_ at: WallInstant) -> String { RFC3339.text(at.nanoseconds, .millisecondsIfAny) }

  /// `2026-11-21`, from a number of days since 1970.
  static func date(_ day: Int64) -> String { CivilDate(daysSince1970: day).text }

  /// `24h` before `now`, `2026-11-21` (its first instant), or RFC 3339 with any offset; nil for anything else.
  static func instant(_ text: String, now: WallInstant) -> WallInstant? {
    if let span = duration(text) { return WallInstant(nanoseconds: now.nanoseconds.saturatingSubtracting(span)) }
    return RFC3339.nanoseconds(text).map { WallInstant(nanoseconds: $0) }
  }

  /// `90d`, `24h`, `30m`, `45s`, `2w` in nanoseconds; nil for anything else, and above 100 years.
  static func duration(_ text: String) -> Int64? {
    guard text.utf8.count <= 12,
      let span = LengthText.nanoseconds(text, [.seconds, .minutes, .hours, .days, .weeks], mostDigits: 11)
    else { return nil }
    return span > 36_525 * day ? nil : span
  }
}
