// Retry-After from what really moved.
import Testing

@testable import AdmissionCore

@Suite struct DrainRateTests {
  @Test func nothingMovedIsAMinute() {
    #expect(DrainRate().estimate(ahead: 3, at: Instant(nanoseconds: 0)) == .seconds(60))
  }

  @Test func fiveASecond() {
    var rate = DrainRate()
    var now = Instant(nanoseconds: 0)
    for _ in 0..<50 {
      rate.count(at: now)
      now = now + .milliseconds(200)
    }
    #expect(rate.estimate(ahead: 100, at: now).wholeMilliseconds / 1000 >= 18)
    #expect(rate.estimate(ahead: 100, at: now).wholeMilliseconds / 1000 <= 24)
    #expect(rate.estimate(ahead: 1, at: now) == .seconds(1))
    #expect(rate.estimate(ahead: 100_000, at: now) == .seconds(60))
    #expect(rate.estimate(ahead: 1, at: now + .seconds(30)) == .seconds(60))
  }
}
