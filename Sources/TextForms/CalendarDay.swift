// A day that exists, as files name it: `2026-11-20`.

/// A day of the Gregorian calendar.
public struct CalendarDay: Sendable, Hashable, Comparable, CustomStringConvertible {
  public var year: Int
  /// 1...12.
  public var month: Int
  /// 1...31.
  public var day: Int

  /// nil where there is no such day.
  public init?(year: Int, month: Int, day: Int) {
    guard (1...9999).contains(year), (1...12).contains(month), day >= 1,
      day <= CivilDate.length(ofMonth: Int64(month), Int64(year))
    else { return nil }
    self.year = year
    self.month = month
    self.day = day
  }

  /// From `2026-11-20`; nil for anything else.
  public init?(_ text: String) {
    var fields: [Int] = []
    for part in text.utf8.split(separator: UInt8(ascii: "-"), omittingEmptySubsequences: false) {
      guard part.count == (fields.isEmpty ? 4 : 2), part.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
      fields.append(part.reduce(0) { $0 * 10 + Int($1 - 0x30) })
    }
    guard fields.count == 3 else { return nil }
    self.init(year: fields[0], month: fields[1], day: fields[2])
  }

  /// Days after 1970-01-01; nil before year 1.
  public init?(daysSince1970: Int64) {
    let date = CivilDate(daysSince1970: daysSince1970)
    guard date.year >= 1 else { return nil }
    self.init(year: Int(date.year), month: Int(date.month), day: Int(date.day))
  }

  public var daysSince1970: Int64 {
    CivilDate(year: Int64(year), month: Int64(month), day: Int64(day)).daysSince1970
  }

  public static func < (left: CalendarDay, right: CalendarDay) -> Bool {
    (left.year, left.month, left.day) < (right.year, right.month, right.day)
  }

  public var description: String {
    CivilDate(year: Int64(year), month: Int64(month), day: Int64(day)).text
  }
}
