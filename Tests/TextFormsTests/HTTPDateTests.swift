// Dates of HTTP fields, and how long `Retry-After` asks to wait.
import Testing

@testable import TextForms

@Suite struct HTTPDateTests {
  /// 2026-11-20 21:00:00 UTC.
  private static let wall: Int64 = 1_795_208_400_000_000_000
  private static let second: UInt64 = 1_000_000_000

  @Test(
    arguments: [
      ("0", 0), ("30", 30), (" 30", 30), ("86400", 86_400), ("86401", 86_400), ("18446744073709551615", 86_400),
      ("18446744073709551616", nil), ("-1", nil), ("1.5", nil), ("", nil), ("soon", nil),
      ("Fri, 20 Nov 2026 21:01:30 GMT", 90), (" Fri, 20 Nov 2026 21:01:30 GMT", 90),
      ("Fri, 20 Nov 2026 21:00:00 GMT", 0),
      ("Fri, 20 Nov 2026 20:59:59 GMT", 0), ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
      ("Sat, 21 Nov 2026 21:00:00 GMT", 86_400),
      ("Sat, 21 Nov 2026 21:00:01 GMT", 86_400), ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
      ("Fri, 20 Nov 2026 21:01:30", nil),
      ("Mon, 30 Feb 2026 21:00:00 GMT", nil), ("Fri, 20 Nov 2026 24:00:00 GMT", nil),
      ("Fri, 20 Nov 99999 21:00:00 GMT", nil),
    ] as [(String, UInt64?)])
  func whatRetryAfterAsksFor(_ text: String, _ seconds: UInt64?) {
    #expect(HTTPDate.wait(text, wall: HTTPDateTests.wall) == seconds.map { $0 * HTTPDateTests.second })
  }

  @Test func anyClockIsSurvived() {
    for wall in [Int64.min, -1, 0, .max] {
      #expect(HTTPDate.wait("Fri, 20 Nov 2026 21:01:30 GMT", wall: wall) != nil)
    }
  }
}
