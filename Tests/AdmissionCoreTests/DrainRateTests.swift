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

  @Test func whatIsKnownToComeBoundsTheGuess() {
    let now = Instant(nanoseconds: 5_000_000_000)
    var rate = DrainRate()
    func estimate(_ coming: Span, ahead: Int = 1) -> Span {
      rate.estimate(ahead: ahead, running: 0, age: .zero, coming: coming, at: now)
    }
    #expect(estimate(.milliseconds(100)) == .seconds(1))
    #expect(estimate(.seconds(2)) == .seconds(2) && estimate(.seconds(2), ahead: 5) == .seconds(10))
    #expect(estimate(.seconds(60)) == .seconds(60) && estimate(.seconds(61)) == .seconds(60))
    #expect(estimate(.seconds(3600), ahead: .max) == .seconds(60))
    // The queue moves: nobody goes before, and what stands ahead counts.
    for _ in 0..<10 { rate.count(at: now) }
    #expect(estimate(.seconds(7)) == .seconds(7) && estimate(.seconds(1), ahead: 100) == .seconds(10))
  }

  @Test func whoWaitsTooLongForABucketIsToldWhenItHasRoom() throws {
    var bench = Bench(limits: Limits(requestsPerMinute: 20), bands: Bench.plainBands)
    for _ in 0..<20 { bench.settle(bench.submit()) }
    // Long ago enough that nothing has moved of late.
    var drained = Bench(limits: Limits(requestsPerMinute: 1), bands: Bench.plainBands)
    drained.settle(drained.submit())
    drained.pass(.seconds(20))
    for (expected, copy) in [(3, bench), (40, drained)] as [(Int64, Bench)] {
      var bench = copy
      let late = bench.submit(deadline: bench.now + .milliseconds(1))
      bench.run(for: .milliseconds(1))
      let told = try #require(bench.conclusions.last { $0.request == late })
      #expect(told.outcome == .evictedMaxWait)
      let seconds = try #require(told.retryAfter).wholeMilliseconds
      #expect(seconds <= expected * 1000 && seconds > expected * 1000 - 10)
    }
  }

  @Test func whoWaitsTooLongForItsTenantsBucketIsToldToo() throws {
    var tenant = TenantPolicy(id: "t")
    tenant.limits = Limits(requestsPerMinute: 2)
    var bench = Bench(limits: Limits(), bands: Bench.plainBands, tenants: [tenant])
    for _ in 0..<2 { bench.settle(bench.submit()) }
    bench.pass(.seconds(15))
    let late = bench.submit(deadline: bench.now + .milliseconds(1))
    bench.run(for: .milliseconds(1))
    let told = try #require(bench.conclusions.last { $0.request == late })
    let milliseconds = try #require(told.retryAfter).wholeMilliseconds
    #expect(told.outcome == .evictedMaxWait && milliseconds <= 15_000 && milliseconds > 14_990)
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
