// Dates there and back, against Foundation's calendar.
import Foundation
import Testing
import TextForms

@Suite struct CivilDateTests {
  @Test func datesAgreeWithFoundation() throws {
    var calendar = Calendar(identifier: .gregorian)
    calendar.timeZone = try #require(TimeZone(identifier: "UTC"))
    for day in stride(from: Int64(-100_000), to: 200_000, by: 17) {
      let parts = calendar.dateComponents(
        [.year, .month, .day], from: Date(timeIntervalSince1970: Double(day) * 86_400))
      let date = CivilDate(daysSince1970: day)
      #expect(date.year == parts.year.map { Int64($0) } && date.month == parts.month.map { Int64($0) })
      #expect(date.day == parts.day.map { Int64($0) } && date.daysSince1970 == day)
    }
  }

  @Test func lengthsReachTheNextMonth() {
    for year: Int64 in [1900, 1970, 1999, 2000, 2024, 2026, 2100] {
      for month: Int64 in 1...12 {
        let first = CivilDate(year: year, month: month, day: 1).daysSince1970
        let next = CivilDate(year: month == 12 ? year + 1 : year, month: month == 12 ? 1 : month + 1, day: 1)
        #expect(next.daysSince1970 - first == CivilDate.length(ofMonth: month, year))
      }
    }
    #expect(
      CivilDate(year: 2026, month: 2, day: 31).daysSince1970 == CivilDate(year: 2026, month: 3, day: 3).daysSince1970)
  }
}
