// How fast budgets are used up, and when they run out.
import AdmissionCore
import Testing

@testable import BrokerEngine

@Suite struct BudgetBurnTests {
  private func instant(_ seconds: Int64) -> Instant { Instant(nanoseconds: seconds * 1_000_000_000) }

  private func reading(
    _ spent: Int64, limit: Int64 = 1000, held: Int64 = 0, end: Int64? = 86_400,
    window: BudgetWindow = BudgetWindow(.day)
  ) -> BudgetReading {
    BudgetReading(
      id: "b", account: .broker, window: window, limit: Money(nanodollars: limit), spent: Money(nanodollars: spent),
      held: Money(nanodollars: held), onExceed: .reject, warnAtPercent: 80, windowEnd: end.map { instant($0) })
  }

  @Test func nothingIsSaidBeforeHalfAMinute() {
    var burn = BudgetBurn()
    #expect(burn.isDue(at: instant(0)))
    burn.look([reading(0)], at: instant(0))
    #expect(!burn.isDue(at: instant(29)))
    #expect(burn.isDue(at: instant(30)))
    #expect(burn.rate(of: reading(9), at: instant(29)) == nil)
    #expect(burn.rate(of: reading(9), at: instant(30)) != nil)
  }

  @Test func whatIsSpentInATimeGoesOnLikeThat() {
    var burn = BudgetBurn()
    burn.look([reading(100)], at: instant(0))
    // 100 in 100 s: 3,600 an hour, and 700 are left beside what is held.
    let rate = burn.rate(of: reading(200, held: 100), at: instant(100))
    #expect(rate == BurnRate(perHour: 3600, runsOutIn: 700 * 1_000_000_000))
    // The window ends before that.
    burn.look([reading(100, end: 800)], at: instant(0))
    burn = BudgetBurn()
    burn.look([reading(100, end: 800)], at: instant(0))
    #expect(
      burn.rate(of: reading(200, held: 100, end: 800), at: instant(100)) == BurnRate(perHour: 3600, runsOutIn: nil))
    #expect(burn.rate(of: reading(200, held: 100, end: 801), at: instant(100)) == nil, "another window")
  }

  @Test func nothingSpentNeverRunsOut() {
    var burn = BudgetBurn()
    burn.look([reading(500)], at: instant(0))
    #expect(burn.rate(of: reading(500), at: instant(60)) == BurnRate(perHour: 0, runsOutIn: nil))
    #expect(burn.rate(of: reading(1000), at: instant(60))?.runsOutIn == 0)
  }

  @Test func aNewWindowBeginsAnew() {
    var burn = BudgetBurn()
    burn.look([reading(900, end: 100)], at: instant(0))
    burn.look([reading(0, end: 200)], at: instant(100))
    #expect(burn.rate(of: reading(30, end: 200), at: instant(130))?.perHour == 3600)
  }

  /// The end of a day is a date, which the steady clock meets a little earlier or later each time that it is asked.
  @Test(arguments: [-999_999_999, -1, 0, 1, 40_000, 999_999_999] as [Int64])
  func theSameWindowMayEndALittleEarlierOrLater(by: Int64) {
    var burn = BudgetBurn()
    burn.look([reading(100)], at: instant(0))
    var then = reading(200)
    then.windowEnd = then.windowEnd.map { Instant(nanoseconds: $0.nanoseconds + by) }
    #expect(burn.rate(of: then, at: instant(100))?.perHour == 3600)
    burn.look([then], at: instant(100))
    #expect(burn.rate(of: reading(300), at: instant(200))?.perHour == 3600)
    then.windowEnd = then.windowEnd.map { Instant(nanoseconds: $0.nanoseconds + (by < 0 ? -2 : 2) * 1_000_000_000) }
    #expect(burn.rate(of: then, at: instant(200)) == nil)
  }

  @Test func aRollingWindowCountsWhatFallsOut() {
    var burn = BudgetBurn()
    let window = BudgetWindow(rolling: 3600)
    burn.look([reading(500, end: 60, window: window)], at: instant(0))
    burn.look([reading(400, end: 120, window: window)], at: instant(60))
    #expect(
      burn.rate(of: reading(450, end: 120, window: window), at: instant(100)) == BurnRate(perHour: 0, runsOutIn: nil))
    // Its piece's end is no end of the window.
    #expect(burn.rate(of: reading(600, end: 180, window: window), at: instant(100))?.runsOutIn == 400_000_000_000)
  }

  @Test func onlyAnHourCountsAndBudgetsThatAreGoneAreForgotten() {
    var burn = BudgetBurn()
    for step in 0..<500 {
      // Fast at first, then nothing.
      burn.look([reading(Int64(min(step, 100)) * 2)], at: instant(Int64(step) * 30))
    }
    #expect(burn.rate(of: reading(200), at: instant(500 * 30))?.perHour == 0)
    burn.look([], at: instant(501 * 30))
    #expect(burn.rate(of: reading(200), at: instant(502 * 30)) == nil)
  }

  @Test(arguments: [Int64.max, 1]) func hugeNumbersDoNotTrap(_ limit: Int64) {
    var burn = BudgetBurn()
    burn.look([reading(0, limit: limit, end: nil)], at: instant(0))
    #expect((burn.rate(of: reading(.max, limit: limit, end: nil), at: instant(30))?.perHour ?? -1) > 0)
    #expect(burn.rate(of: reading(1, limit: .max, end: nil), at: instant(1_000_000))?.runsOutIn == nil)
  }
}
