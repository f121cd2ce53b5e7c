// When the windows of budgets begin and end on the wall clock: whole hours, days from midnight, weeks from Monday,
// months from the first, in an IANA time zone.
//
// Promises: pure (it reads the machine's time zone rules, but no clock); each window begins where the one before ends;
// a day on which clocks change is one window of 23 or 25 hours; where midnight does not exist, the day begins at its
// first instant. Hours are those of the time zone: in a zone that is half an hour off, they begin at half past.
import AdmissionCore
import Foundation
import TextForms

/// The calendar of one time zone. Made once for each zone, since loading a zone's rules reads a file.
public struct BudgetCalendar {
  private var calendar = Calendar(identifier: .iso8601)

  /// - Parameter timeZone: IANA name; nil where this machine has no rules for it.
  public init?(timeZone: String) {
    guard let zone = Self.zone(timeZone) else { return nil }
    calendar.timeZone = zone
    calendar.firstWeekday = 2
  }

  /// True where this machine has rules for the zone.
  public static func knows(_ timeZone: String) -> Bool { zone(timeZone) != nil }

  private static func zone(_ name: String) -> TimeZone? {
    name == "UTC" || name == "GMT" ? TimeZone(secondsFromGMT: 0) : TimeZone(identifier: name)
  }

  /// The window that holds at `wall`: its first instant and the first one after it; nil for `total`, which has neither.
  public func window(_ period: BudgetWindow.Period, at wall: WallInstant) -> (begin: WallInstant, end: WallInstant)? {
    let component: Calendar.Component
    switch period {
    case .hour: return hour(at: wall)
    case .day: component = .day
    case .week: component = .weekOfYear
    case .month: component = .month
    case .total, .rolling: return nil
    }
    let seconds = floorSeconds(wall)
    guard let interval = calendar.dateInterval(of: component, for: date(seconds)) else {
      return nil
    }
    return (instant(interval.start), instant(interval.end))
  }

  /// The hour by the zone's clock. A change of that clock by less than an hour begins a new window.
  private func hour(at wall: WallInstant) -> (begin: WallInstant, end: WallInstant) {
    let seconds = floorSeconds(wall)
    let zone = calendar.timeZone
    let now = date(seconds)
    let offset = Int64(zone.secondsFromGMT(for: now))
    let local = seconds + offset
    var begin = local - ((local % 3600) + 3600) % 3600 - offset
    var end = begin + 3600
    // The window before ends at the change.
    if let change = zone.nextDaylightSavingTimeTransition(after: date(begin)) {
      let at = Int64(change.timeIntervalSince1970.rounded(.down))
      if at <= seconds { begin = at }
    }
    if let change = zone.nextDaylightSavingTimeTransition(after: now) {
      let at = Int64(change.timeIntervalSince1970.rounded(.down))
      if at > seconds, at < end { end = at }
    }
    return (WallInstant(nanoseconds: begin * 1_000_000_000), WallInstant(nanoseconds: end * 1_000_000_000))
  }

  private func date(_ seconds: Int64) -> Date { Date.init(timeIntervalSince1970: Double(seconds)) }

  private func floorSeconds(_ wall: WallInstant) -> Int64 {
    let (whole, rest) = wall.nanoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
    return rest < 0 ? whole - 1 : whole
  }

  private func instant(_ date: Date) -> WallInstant {
    WallInstant(nanoseconds: Int64(date.timeIntervalSince1970.rounded()) * 1_000_000_000)
  }
}
