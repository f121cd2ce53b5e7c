// Retry-After from what really moved.
import Testing

@testable import AdmissionCore

@Suite struct DrainRateTests {
  @Test func nothingMovedIsAMinute() {
    #expect(DrainRate().estimate(ahead: 3, running: 0, age: .zero, at: Instant(nanoseconds: 0)) == .seconds(60))
  }

  @Test func fiveASecond() {
    var rate = DrainRate()
    var now = Instant(nanoseconds: 0)
    for _ in 0..<50 {
      rate.count(at: now)
      now = now + .milliseconds(200)
    }
    func estimate(_ ahead: Int, running: Int, at now: Instant) -> Span {
      rate.estimate(ahead: ahead, running: running, age: .seconds(1), at: now)
    }
    #expect(estimate(100, running: 4, at: now).wholeMilliseconds / 1000 >= 18)
    #expect(estimate(100, running: 4, at: now).wholeMilliseconds / 1000 <= 24)
    #expect(estimate(1, running: 4, at: now) == .seconds(1))
    #expect(estimate(100_000, running: 4, at: now) == .seconds(60))
    #expect(estimate(1, running: 0, at: now + .seconds(30)) == .seconds(60))
  }

  @Test func longCallsAreTakenToBeHalfWay() {
    var moved = DrainRate()
    let start = Instant(nanoseconds: 5_000_000_000)
    for _ in 0..<4 { moved.count(at: start) }
    // Whether they came from the queue or found nobody waiting.
    for rate in [moved, DrainRate()] {
      func estimate(_ ahead: Int, running: Int, age: Span = .seconds(12)) -> Span {
        rate.estimate(ahead: ahead, running: running, age: age, at: start + .seconds(12))
      }
      // Each of four calls takes twenty-four seconds, and six pass between two ends.
      #expect(estimate(1, running: 4) == .seconds(6))
      #expect(estimate(5, running: 4) == .seconds(30))
      #expect(estimate(100, running: 4) == .seconds(60))
      #expect(estimate(1, running: 1000) == .seconds(1))
      #expect(estimate(1, running: 0) == .seconds(60))
      #expect(estimate(8, running: 4, age: .zero) == .seconds(2))
    }
  }

  @Test func afterAColdStartTheCallsThatRunTell() throws {
    var bands = Bench.plainBands
    bands[1].queueLimit = 1
    var bench = Bench(limits: Limits(concurrency: 4), bands: bands)
    for number in 0..<4 { bench.submit(session: SessionID("\(number)")) }
    bench.submit(session: "waits")
    bench.pass(.seconds(10))
    let full = bench.submit(session: "full")
    let told = try #require(bench.conclusions.last { $0.request == full })
    // Two ahead, four that take twenty seconds each.
    #expect(told.outcome == .rejectedQueueFull && told.retryAfter == .seconds(10))
  }
}
