// How fast budgets are used up, and when they will be: from what was spent in the last hour.
//
// Promises: a budget is looked at every half minute; 120 readings of each are kept, of budgets that are still listed. A
// window that ends begins anew. For a rolling window, what falls out of it counts against what comes in.
import AdmissionCore

/// How fast a budget is used up.
public struct BurnRate: Sendable, Equatable {
  /// In the budget's unit (nano-dollars for dollars), never negative.
  public var perHour: Int64
  /// Nanoseconds from now until nothing is left; nil where that is not before the window's end, or nothing is spent.
  public var runsOutIn: Int64?
}

struct BudgetBurn: Sendable {
  static let spacing: Int64 = 30_000_000_000
  static let most = 120

  private struct Readings: Sendable {
    /// Monotonic nanoseconds and what was spent, ascending.
    var all: [(at: Int64, spent: Int64)] = []
    var windowEnd: Instant?
  }
  private var byBudget: [String: Readings] = [:]
  private var lookedAt = Int64.min

  /// True where it is time to call `look`.
  func isDue(at now: Instant) -> Bool {
    lookedAt == .min || now.nanoseconds - lookedAt >= Self.spacing
  }

  mutating func look(_ readings: [BudgetReading], at now: Instant) {
    lookedAt = now.nanoseconds
    var kept: [String: Readings] = [:]
    for reading in readings {
      var own = byBudget[reading.id] ?? Readings()
      // A fixed window that has ended begins at nothing.
      if isAnother(reading, than: own) { own.all = [] }
      own.windowEnd = reading.windowEnd
      if own.all.count >= Self.most { own.all.removeFirst(own.all.count - Self.most + 1) }
      own.all.append((now.nanoseconds, reading.spent.nanodollars))
      kept[reading.id] = own
    }
    byBudget = kept
  }

  private func isRolling(_ window: BudgetWindow) -> Bool { window.period == .rolling }

  /// True where the window has ended meanwhile. A window of the calendar ends at a date: by the clock that only goes on, that is
  /// a little earlier or later at each look.
  private func isAnother(_ reading: BudgetReading, than known: Readings) -> Bool {
    if isRolling(reading.window) { return false }
    guard let before = known.windowEnd, let end = reading.windowEnd else { return known.windowEnd != reading.windowEnd }
    return max(end, before) - min(end, before) >= .seconds(1)
  }

  /// nil while less than half a minute is known.
  func rate(of reading: BudgetReading, at now: Instant) -> BurnRate? {
    guard let own = byBudget[reading.id], let first = own.all.first else { return nil }
    if isAnother(reading, than: own) { return nil }
    let lasted = now.nanoseconds - first.at
    guard lasted >= Self.spacing else { return nil }
    let spent = reading.spent.nanodollars - first.spent
    guard spent > 0 else { return BurnRate(perHour: 0, runsOutIn: nil) }
    let perNanosecond = Double(spent) / Double(lasted)
    let perHour = Int64(clamping: UInt64(min(Double(Int64.max) / 2, perNanosecond * 3.6e12)))
    let left = Double(max(0, reading.limit.nanodollars - reading.spent.nanodollars - reading.held.nanodollars))
    let runsOut = left / perNanosecond
    guard runsOut < 3.2e17 else { return BurnRate(perHour: perHour, runsOutIn: nil) }
    if let end = reading.windowEnd, !isRolling(reading.window), Double(end.nanoseconds - now.nanoseconds) <= runsOut {
      return BurnRate(perHour: perHour, runsOutIn: nil)
    }
    return BurnRate(perHour: perHour, runsOutIn: Int64(runsOut))
  }
}
