// A careful start: off unless asked for, first calls at once, doubling in steps, one step back when refused.
import Testing

@testable import AdmissionCore

@Suite struct RampTests {
  private let start = Instant(nanoseconds: 7_000_000_000)

  @Test func offItBoundsNothing() {
    var ramp = Ramp()
    ramp.begin(at: start)
    ramp.take(isFirst: true, at: start)
    #expect(ramp.bound(at: start) == nil)
  }

  @Test func itDoublesAfterEachSixthAndEnds() {
    var ramp = Ramp()
    ramp.length = .seconds(60)
    ramp.begin(at: start)
    for step in 0..<6 {
      let begins = start + .seconds(Int64(step) * 10)
      #expect(ramp.bound(at: begins)?.permits == 4 << step)
      #expect(ramp.bound(at: begins)?.next == begins + .seconds(10))
      #expect(ramp.bound(at: begins + Span(nanoseconds: 9_999_999_999))?.permits == 4 << step)
    }
    #expect(ramp.bound(at: start + .seconds(60)) == nil)
  }

  @Test func aMinuteOfIdlenessBeginsItAndLessDoesNot() {
    var ramp = Ramp()
    ramp.length = .seconds(60)
    ramp.take(isFirst: true, at: start)
    #expect(ramp.bound(at: start)?.permits == 4)
    let end = start + .seconds(100)
    ramp.release(at: end)
    ramp.take(isFirst: true, at: end + Span(nanoseconds: 59_999_999_999))
    #expect(ramp.bound(at: end + .seconds(60)) == nil)
    ramp.release(at: end + .seconds(60))
    ramp.take(isFirst: false, at: end + .seconds(200))
    #expect(ramp.bound(at: end + .seconds(200)) == nil)
    ramp.take(isFirst: true, at: end + .seconds(120))
    #expect(ramp.bound(at: end + .seconds(120))?.permits == 4)
  }

  @Test func aRefusalGoesOneStepBack() {
    var ramp = Ramp()
    ramp.length = .seconds(60)
    ramp.begin(at: start)
    let now = start + .seconds(25)
    #expect(ramp.bound(at: now)?.permits == 16)
    ramp.refused(at: now)
    #expect(ramp.bound(at: now)?.permits == 8)
    ramp.refused(at: now)
    ramp.refused(at: now)
    #expect(ramp.bound(at: now)?.permits == 4)
  }

  @Test func aProviderAndANewKeyStartCarefullyAndTheFirstCallsGoAtOnce() {
    func policy(_ keys: [KeyPolicy]) -> AdmissionPolicy {
      AdmissionPolicy(
        providers: [ProviderPolicy(id: "p", keys: keys, ramp: .seconds(60))], bands: Bench.plainBands)
    }
    var bench = Bench(policy([KeyPolicy(id: "a")]))
    var ids = (0..<40).map { bench.submit(session: SessionID("s\($0)")) }
    #expect(bench.grants.count == 4)
    bench.run(for: .seconds(10))
    #expect(bench.grants.count == 8)
    bench.run(for: .seconds(30))
    #expect(bench.grants.count == 40)
    // A changed secret begins its key's ramp anew; what runs goes on.
    bench.send(.policyReplaced(policy([KeyPolicy(id: "a", secretGeneration: 1)])))
    for id in ids { bench.settle(id) }
    ids = (0..<40).map { bench.submit(session: SessionID("t\($0)")) }
    #expect(bench.grants.count == 44)
    for id in ids { #expect(bench.outcome(id) == nil) }
    bench.run(for: .seconds(60))
    #expect(bench.grants.count == 80)
  }
}
