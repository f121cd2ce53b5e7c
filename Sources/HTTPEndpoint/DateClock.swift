// The value of `date`, made once per second (RFC 9110 section 6.6.1). Without Foundation, since it is on the hot path.
import TextForms

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

final class DateClock {
  private var second = -1
  private var cached: [UInt8] = []

  /// `Sun, 06 Nov 1994 08:49:37 GMT`, 29 bytes.
  var value: [UInt8] {
    let now = time(nil)
    if now != second {
      second = now
      cached = Self.format(secondsSince1970: now)
    }
    return cached
  }

  static func format(secondsSince1970 seconds: Int) -> [UInt8] {
    let days = seconds / 86_400
    let rest = seconds % 86_400
    let date = CivilDate(daysSince1970: Int64(days))
    let year = Int(date.year)

    let weekdays = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    var text: [UInt8] = []
    text.reserveCapacity(29)
    func two(_ value: Int) {
      text.append(UInt8(ascii: "0") + UInt8(value / 10 % 10))
      text.append(UInt8(ascii: "0") + UInt8(value % 10))
    }
    text.append(contentsOf: weekdays[days % 7].utf8)
    text.append(contentsOf: ", ".utf8)
    two(Int(date.day))
    text.append(UInt8(ascii: " "))
    text.append(contentsOf: months[Int(date.month) - 1].utf8)
    text.append(UInt8(ascii: " "))
    two(year / 100)
    two(year % 100)
    text.append(UInt8(ascii: " "))
    two(rest / 3600)
    text.append(UInt8(ascii: ":"))
    two(rest % 3600 / 60)
    text.append(UInt8(ascii: ":"))
    two(rest % 60)
    text.append(contentsOf: " GMT".utf8)
    return text
  }
}
