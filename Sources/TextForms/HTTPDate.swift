// Dates of HTTP fields, in the form that is sent.

public enum HTTPDate {
  /// Seconds since 1970 of `Sun, 06 Nov 1994 08:49:37 GMT`, without blanks around it; nil for anything else.
  public static func seconds(_ text: some Collection<UInt8>) -> Int64? {
    let parts = Array(text).split(separator: 0x20)
    guard parts.count == 6, parts[0].last == UInt8(ascii: ","), String(decoding: parts[5], as: UTF8.self) == "GMT",
      let day = digits(parts[1]), let year = digits(parts[3]),
      let month = months.firstIndex(of: String(decoding: parts[2], as: UTF8.self)),
      (1970...9999).contains(year), day >= 1, day <= CivilDate.length(ofMonth: Int64(month) + 1, year)
    else { return nil }
    let clock = parts[4].split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
    guard clock.count == 3, let hour = digits(clock[0]), let minute = digits(clock[1]), let second = digits(clock[2]),
      hour < 24, minute < 60, second < 61
    else { return nil }
    let date = CivilDate(year: year, month: Int64(month) + 1, day: day).daysSince1970
    return date * 86_400 + hour * 3600 + minute * 60 + second
  }

  /// How long `Retry-After` asks to wait, in nanoseconds, a day at most: seconds, or the time until a date. A date that has
  /// passed asks for no wait; nil where the text is neither.
  /// - Parameter wall: now, in nanoseconds since 1970.
  public static func wait(_ text: String, wall: Int64) -> UInt64? {
    let day: UInt64 = 86_400
    let trimmed = text.utf8.drop { $0 == 0x20 || $0 == 0x09 }
    if let seconds = UInt64(String(decoding: trimmed, as: UTF8.self)) { return min(seconds, day) * 1_000_000_000 }
    guard let date = seconds(trimmed) else { return nil }
    let left = date - max(0, wall) / 1_000_000_000
    return left < 0 ? 0 : min(UInt64(left), day) * 1_000_000_000
  }

  private static let months = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
  ]

  private static func digits(_ text: some Collection<UInt8>) -> Int64? {
    guard !text.isEmpty, text.count <= 4, text.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) else { return nil }
    return text.reduce(0) { $0 * 10 + Int64($1 - 0x30) }
  }
}
