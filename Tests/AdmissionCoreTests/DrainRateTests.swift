// Retry-After from what really moved.
import Testing

@testable import AdmissionCore

@Suite struct DrainRateTests {
  @Test func nothingMovedIsAMinute() {
    #expect(DrainRate().estimate(ahead: 3, running: 0, at: Instant(nanoseconds: 0)) == .seconds(60))
  }

  @Test func fiveASecond() {
    var rate = DrainRate()
    var now = Instant(nanoseconds: 0)
    for _ in 0..<50 {
      rate.count(at: now)
      now = now + .milliseconds(200)
    }
    #expect(rate.estimate(ahead: 100, running: 4, at: now).wholeMilliseconds / 1000 >= 18)
    #expect(rate.estimate(ahead: 100, running: 4, at: now).wholeMilliseconds / 1000 <= 24)
    #expect(rate.estimate(ahead: 1, running: 4, at: now) == .seconds(1))
    #expect(rate.estimate(ahead: 100_000, running: 4, at: now) == .seconds(60))
    #expect(rate.estimate(ahead: 1, running: 0, at: now + .seconds(30)) == .seconds(60))
  }

  @Test func longCallsAreTakenToBeHalfWay() {
    var rate = DrainRate()
    let start = Instant(nanoseconds: 5_000_000_000)
    for _ in 0..<4 { rate.count(at: start) }
    // Nothing has moved for twelve seconds: each of four calls takes twenty-four, and six seconds pass between two ends.
    #expect(rate.estimate(ahead: 1, running: 4, at: start + .seconds(12)) == .seconds(6))
    #expect(rate.estimate(ahead: 5, running: 4, at: start + .seconds(12)) == .seconds(30))
    #expect(rate.estimate(ahead: 100, running: 4, at: start + .seconds(12)) == .seconds(60))
    #expect(rate.estimate(ahead: 1, running: 1000, at: start + .seconds(12)) == .seconds(1))
    #expect(rate.estimate(ahead: 1, running: 0, at: start + .seconds(12)) == .seconds(60))
    #expect(DrainRate().estimate(ahead: 1, running: 4, at: start) == .seconds(60))
  }
}
