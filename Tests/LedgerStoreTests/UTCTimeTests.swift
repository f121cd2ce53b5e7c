// Dates there and back, against Foundation's calendar; durations; and texts that are no time.
import AdmissionCore
import Foundation
import Testing
import TextForms

@testable import LedgerStore

@Suite struct UTCTimeTests {
  @Test func datesAgreeWithFoundation() throws {
    var calendar = Calendar(identifier: .gregorian)
    calendar.timeZone = try #require(TimeZone(identifier: "UTC"))
    for day in stride(from: Int64(0), to: 84_000, by: 13) {
      let parts = calendar.dateComponents(
        [.year, .month, .day], from: Date(timeIntervalSince1970: Double(day) * 86_400))
      let (year, month, number) = (try #require(parts.year), try #require(parts.month), try #require(parts.day))
      let text = String(format: "%04d-%02d-%02d", year, month, number)
      #expect(UTCTime.date(day) == text)
      #expect(UTCTime.instant(text, now: Scene.start)?.nanoseconds == day * UTCTime.day)
    }
  }

  @Test(
    arguments: [
      ("2026-11-18T11:06:40Z", 0), ("2026-11-18t11:06:40z", 0), ("2026-11-18 11:06:40Z", 0),
      ("2026-11-18T12:06:40+01:00", 0), ("2026-11-18T05:36:40-05:30", 0), ("2026-11-18T11:06:40.000000001Z", 1),
      ("2026-11-18T11:06:40.5Z", 500_000_000), ("2026-11-18T11:06:40.1234567891Z", 123_456_789),
      ("2026-11-18T11:06Z", -40_000_000_000), ("1h", -3_600_000_000_000), ("2w", -1_209_600_000_000_000), ("0s", 0),
      ("3m", -180_000_000_000), ("45s", -45_000_000_000),
    ] as [(String, Int64)])
  func times(text: String, after: Int64) {
    #expect(UTCTime.instant(text, now: Scene.start)?.nanoseconds == Scene.start.nanoseconds + after)
  }

  @Test(arguments: [
    "", "h", "1", "-1h", "1y", "1.5h", "99999999999d", "36526d", "2026-13-01", "2026-02-29", "2026-04-31", "2026-00-01",
    "2026-01-00", "26-01-01", "1969-12-31", "2201-01-01", "2026-11-18T", "2026-11-18T24:00Z", "2026-11-18T11:60Z",
    "2026-11-18T11:06:61Z", "2026-11-18T11:06:40", "2026-11-18T11:06:40.Z", "2026-11-18T11:06:40+1:00",
    "2026-11-18T11:06:40+24:00", "2026-11-18T11:06:40Zx", "yesterday", "2026-11-18x", "२४h",
  ])
  func noTimes(text: String) {
    #expect(UTCTime.instant(text, now: Scene.start) == nil)
  }

  @Test func leapDaysAndTheLongestSpan() {
    #expect(UTCTime.instant("2028-02-29", now: Scene.start) != nil)
    #expect(UTCTime.instant("2100-02-29", now: Scene.start) == nil)
    #expect(UTCTime.duration("36525d") == 36_525 * UTCTime.day)
    #expect(UTCTime.duration("1s") == UTCTime.second)
  }

  @Test func textsOfTimes() {
    #expect(UTCTime.text(WallInstant(nanoseconds: 0)) == "1970-01-01T00:00:00Z")
    #expect(UTCTime.text(WallInstant(nanoseconds: -1_000_000)) == "1969-12-31T23:59:59.999Z")
    #expect(UTCTime.text(Scene.at(0.001)) == "2026-11-18T11:06:40.001Z")
  }
}
