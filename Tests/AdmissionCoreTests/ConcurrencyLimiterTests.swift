// Takes, releases and the settle lag.
import Testing

@testable import AdmissionCore

@Suite struct ConcurrencyLimiterTests {
  let now = Instant(nanoseconds: 0)

  @Test func countsByBand() {
    var limiter = ConcurrencyLimiter(limit: 3)
    limiter.take(in: 0)
    limiter.take(in: 2)
    limiter.take(in: 2)
    #expect(limiter.inUse == 3)
    #expect(limiter.running(in: 2) == 2)
    limiter.release(in: 2, lag: .zero, at: now)
    #expect(limiter.inUse == 2)
    #expect(limiter.running(in: 2) == 1)
    #expect(limiter.nextExpiry == nil)
  }

  @Test func aReleasedPermitStaysCountedForTheLag() {
    var limiter = ConcurrencyLimiter(limit: 1)
    limiter.take(in: 1)
    limiter.release(in: 1, lag: .milliseconds(200), at: now)
    #expect(limiter.running == 0)
    #expect(limiter.inUse == 1)
    #expect(limiter.nextExpiry == now + .milliseconds(200))
    let early = limiter.expire(at: now + .milliseconds(199))
    #expect(!early)
    let due = limiter.expire(at: now + .milliseconds(200))
    #expect(due)
    #expect(limiter.inUse == 0)
  }

  /// A limit may be set or learned while a permit lags.
  @Test func withoutALimitItLagsAllTheSame() {
    var limiter = ConcurrencyLimiter(limit: nil)
    limiter.take(in: 1)
    limiter.release(in: 1, lag: .seconds(1), at: now)
    #expect(limiter.inUse == 1)
    let freed = limiter.expire(at: now + .seconds(1))
    #expect(freed && limiter.inUse == 0)
  }
}
