// Days since 1970 as year, month and day of the proleptic Gregorian calendar, and back. Without locale, zone data or formatters.

public struct CivilDate: Sendable, Equatable {
  public var year: Int64
  /// 1...12.
  public var month: Int64
  /// 1...31.
  public var day: Int64

  /// Where `month` has fewer days than `day`, the days beyond it run into the next one.
  public init(year: Int64, month: Int64, day: Int64) {
    self.year = year
    self.month = month
    self.day = day
  }

  public init(daysSince1970 days: Int64) {
    // Howard Hinnant's days-to-civil: years begin in March, so that the leap day is the last; eras have 400 years.
    let shifted = days + 719_468
    let era = Self.floorDivided(shifted, 146_097)
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let monthFromMarch = (5 * dayOfYear + 2) / 153
    day = dayOfYear - (153 * monthFromMarch + 2) / 5 + 1
    month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
    year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
  }

  public var daysSince1970: Int64 {
    let shifted = month <= 2 ? year - 1 : year
    let era = Self.floorDivided(shifted, 400)
    let yearOfEra = shifted - era * 400
    let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
    return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
  }

  /// `2026-11-20`, of years 0 to 9999; other years have as many digits as they need.
  public var text: String {
    var bytes: [UInt8] = []
    append(to: &bytes)
    return String(decoding: bytes, as: UTF8.self)
  }

  func append(to bytes: inout [UInt8]) {
    DecimalText.append(year, width: 4, to: &bytes)
    bytes.append(UInt8(ascii: "-"))
    DecimalText.append(month, width: 2, to: &bytes)
    bytes.append(UInt8(ascii: "-"))
    DecimalText.append(day, width: 2, to: &bytes)
  }

  /// How many days a month has.
  public static func length(ofMonth month: Int64, _ year: Int64) -> Int64 {
    switch month {
    case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
    case 4, 6, 9, 11: 30
    default: 31
    }
  }

  private static func floorDivided(_ value: Int64, _ divisor: Int64) -> Int64 {
    value / divisor - (value % divisor < 0 ? 1 : 0)
  }
}
