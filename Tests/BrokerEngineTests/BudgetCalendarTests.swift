// Windows of budgets: clock changes both ways, month ends, leap days, year ends, odd time zones.
import AdmissionCore
import BrokerEngine
import Foundation
import Testing
import TextForms

@Suite struct BudgetCalendarTests {
  private func at(_ text: String) -> WallInstant {
    let date = ISO8601DateFormatter().date(from: text) ?? .distantPast
    return WallInstant(nanoseconds: Int64(date.timeIntervalSince1970) * 1_000_000_000)
  }

  @Test(arguments: [
    ("UTC", BudgetWindow.Period.hour, "2026-11-21T13:59:59Z", "2026-11-21T13:00:00Z", "2026-11-21T14:00:00Z"),
    ("UTC", .hour, "2026-11-21T14:00:00Z", "2026-11-21T14:00:00Z", "2026-11-21T15:00:00Z"),
    ("UTC", .day, "2026-11-21T00:00:00Z", "2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z"),
    ("UTC", .day, "2026-11-21T23:59:59Z", "2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z"),
    // 21 November 2026 is a Saturday, the 23rd a Monday.
    ("UTC", .week, "2026-11-22T23:59:59Z", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z"),
    ("UTC", .week, "2026-11-23T00:00:00Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"),
    // Weeks go on over the year's end.
    ("UTC", .week, "2027-01-01T12:00:00Z", "2026-12-28T00:00:00Z", "2027-01-04T00:00:00Z"),
    ("UTC", .month, "2026-11-30T23:59:59Z", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"),
    ("UTC", .month, "2026-12-31T23:59:59Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
    ("UTC", .month, "2027-02-28T23:59:59Z", "2027-02-01T00:00:00Z", "2027-03-01T00:00:00Z"),
    ("UTC", .month, "2028-02-29T12:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
    ("UTC", .day, "2028-02-29T12:00:00Z", "2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z"),
    // 2100 is no leap year.
    ("UTC", .day, "2100-02-28T12:00:00Z", "2100-02-28T00:00:00Z", "2100-03-01T00:00:00Z"),
    // Clocks go on: the day has 23 hours.
    ("Europe/Berlin", .day, "2027-03-28T12:00:00Z", "2027-03-27T23:00:00Z", "2027-03-28T22:00:00Z"),
    // Clocks go back: 25 hours.
    ("Europe/Berlin", .day, "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
    ("Europe/Berlin", .month, "2026-10-25T12:00:00Z", "2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z"),
    ("Europe/Berlin", .week, "2026-10-25T12:00:00Z", "2026-10-18T22:00:00Z", "2026-10-25T23:00:00Z"),
    // The hour that comes twice is two windows; the one that is left out is none.
    ("Europe/Berlin", .hour, "2026-10-25T00:30:00Z", "2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z"),
    ("Europe/Berlin", .hour, "2026-10-25T01:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"),
    ("America/New_York", .day, "2027-03-14T12:00:00Z", "2027-03-14T05:00:00Z", "2027-03-15T04:00:00Z"),
    // Half an hour and three quarters off.
    ("Asia/Kolkata", .hour, "2026-11-21T13:45:00Z", "2026-11-21T13:30:00Z", "2026-11-21T14:30:00Z"),
    ("Asia/Kathmandu", .day, "2026-11-21T18:14:00Z", "2026-11-20T18:15:00Z", "2026-11-21T18:15:00Z"),
    // Clocks that change by half an hour.
    ("Australia/Lord_Howe", .day, "2027-04-04T00:00:00Z", "2027-04-03T13:00:00Z", "2027-04-04T13:30:00Z"),
    // Midnight does not exist: the day begins at one.
    ("Africa/Cairo", .day, "2027-04-30T12:00:00Z", "2027-04-29T22:00:00Z", "2027-04-30T21:00:00Z"),
    ("Pacific/Kiritimati", .month, "2026-11-30T10:00:00Z", "2026-11-30T10:00:00Z", "2026-12-31T10:00:00Z"),
    ("UTC", .hour, "1969-12-31T23:30:00Z", "1969-12-31T23:00:00Z", "1970-01-01T00:00:00Z"),
  ])
  func windowsBeginAndEnd(
    _ zone: String, _ period: BudgetWindow.Period, _ now: String, _ begin: String, _ end: String
  ) throws {
    let calendar = try #require(BudgetCalendar(timeZone: zone))
    let window = try #require(calendar.window(period, at: at(now)))
    #expect(window.begin == at(begin), "began \(window.begin)")
    #expect(window.end == at(end), "ends \(window.end)")
  }

  @Test func totalHasNoEnd() throws {
    let calendar = try #require(BudgetCalendar(timeZone: "UTC"))
    #expect(calendar.window(.total, at: at("2026-11-21T13:00:00Z")) == nil)
  }

  /// Two years of each zone: a window ends where the next one begins, and every instant is in its own window.
  @Test(arguments: ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"])
  func windowsFollowOneAnother(_ zone: String) throws {
    let calendar = try #require(BudgetCalendar(timeZone: zone))
    let last = at("2028-03-01T00:00:00Z")
    for (period, step) in [(BudgetWindow.Period.day, 86_400), (.week, 604_800), (.month, 2_592_000)] {
      var window = try #require(calendar.window(period, at: at("2026-02-01T00:00:00Z")))
      while window.end < last {
        let next = try #require(calendar.window(period, at: window.end))
        #expect(next.begin == window.end)
        let before = WallInstant(nanoseconds: window.end.nanoseconds - 1)
        let same = try #require(calendar.window(period, at: before))
        #expect(same.begin == window.begin)
        #expect(window.end.nanoseconds - window.begin.nanoseconds >= Int64(step) * 800_000_000)
        window = next
      }
    }
  }

  /// Every quarter of an hour of a year, in zones whose clocks change by an hour, by half of one, and never.
  @Test(arguments: [
    "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Cairo",
    "Antarctica/Troll",
  ])
  func hoursFollowOneAnother(_ zone: String) throws {
    let calendar = try #require(BudgetCalendar(timeZone: zone))
    var window = try #require(calendar.window(.hour, at: at("2026-12-31T00:00:00Z")))
    let last = at("2028-01-01T00:00:00Z")
    var short = 0
    while window.end < last {
      for instant in stride(from: window.begin.nanoseconds, to: window.end.nanoseconds, by: 900_000_000_000) {
        let same = try #require(calendar.window(.hour, at: WallInstant(nanoseconds: instant)))
        try #require(same == window, "at \(instant): \(same), not \(window)")
      }
      let next = try #require(calendar.window(.hour, at: window.end))
      try #require(next.begin == window.end, "\(next.begin) does not begin at \(window.end)")
      let length = next.end.nanoseconds - next.begin.nanoseconds
      try #require((1...3_600_000_000_000).contains(length))
      if length < 3_600_000_000_000 { short += 1 }
      window = next
    }
    // Half an hour is left over where a clock changes by half of one.
    #expect(short == (zone == "Australia/Lord_Howe" ? 2 : 0))
  }

  @Test func zonesThatNobodyKnowsAreRefused() {
    #expect(!BudgetCalendar.knows("Europe/Atlantis"))
    #expect(BudgetCalendar(timeZone: "Europe/Atlantis") == nil)
    #expect(BudgetCalendar.knows("Europe/Berlin"))
  }
}
