// The date field, at leap days and the ends of years.
import Testing

@testable import HTTPEndpoint

@Suite struct DateClockTests {
  @Test(arguments: [
    (0, "Thu, 01 Jan 1970 00:00:00 GMT"), (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
    (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"), (951_868_799, "Tue, 29 Feb 2000 23:59:59 GMT"),
    (1_767_225_599, "Wed, 31 Dec 2025 23:59:59 GMT"), (1_767_225_600, "Thu, 01 Jan 2026 00:00:00 GMT"),
    (4_102_444_800, "Fri, 01 Jan 2100 00:00:00 GMT"),
  ])
  func writesDates(seconds: Int, text: String) {
    #expect(String(decoding: DateClock.format(secondsSince1970: seconds), as: UTF8.self) == text)
  }

  @Test func theClockGivesADateOf29Bytes() {
    #expect(DateClock().value.count == 29)
  }
}
