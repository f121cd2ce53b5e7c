// How many calls one session runs at once (rule 3d): at its limit it is passed over, and keeps nobody from anything; where
// the policy widens, it gets what others leave.
import Testing

@testable import AdmissionCore

@Suite struct SessionConcurrencyTests {
  private static func policy(
    _ limit: Int?, widen: Bool = false, permits: Int? = nil, tenant: Limits = Limits()
  ) -> AdmissionPolicy {
    AdmissionPolicy(
      providers: ["p", "q"].map { ProviderPolicy(id: $0, limits: Limits(concurrency: permits), learnLimits: false) },
      tenants: [TenantPolicy(id: "t", limits: tenant), TenantPolicy(id: "u")],
      sessionConcurrency: limit.map { SessionConcurrency(limit: $0, widen: widen) })
  }

  @Test func aSessionAtItsLimitWaitsAndKeepsNobody() {
    var bench = Bench(Self.policy(2))
    let own = (0..<4).map { _ in bench.submit(.high, session: "a") }
    #expect(own.map { bench.isGranted($0) } == [true, true, false, false])
    #expect(bench.core.blocker(of: own[2], at: bench.now) == .sessionConcurrency("a"))
    #expect(bench.core.blocker(of: own[3], at: bench.now) == .behindInLane)
    #expect(bench.blockers.contains("session_concurrency"))
    #expect(bench.core.snapshot(at: bench.now).sessionsAtLimit == 1)
    let other = bench.submit(.low, session: "b")
    let ofOtherTenant = bench.submit(.low, tenant: "u", session: "a")
    #expect(bench.isGranted(other) && bench.isGranted(ofOtherTenant))
    // Free calls do not count, and are not counted.
    let free = bench.submit(session: "a", free: true)
    #expect(bench.isGranted(free))
    bench.settle(free)
    #expect(!bench.isGranted(own[2]))
    bench.settle(own[0])
    #expect(bench.isGranted(own[2]) && !bench.isGranted(own[3]))
    // Classes and providers count together.
    #expect(!bench.isGranted(bench.submit(.low, session: "a", to: ["q"])))
    for id in [own[1], own[2]] { bench.settle(id) }
    #expect(bench.grants.count == 8)
  }

  @Test func sessionsOfOneGroupCountTogether() {
    var bench = Bench(Self.policy(2))
    let ids = ["a", "b", "c"].map { bench.submit(session: $0, group: "g") }
    #expect(ids.map { bench.isGranted($0) } == [true, true, false])
    #expect(bench.core.blocker(of: ids[2], at: bench.now) == .sessionConcurrency("g"))
    let alone = bench.submit(session: "d")
    #expect(bench.isGranted(alone))
    bench.send(.cancelled(ids[2]))
    #expect(bench.outcome(ids[2]) == .clientLeftQueued)
    for id in ids.prefix(2) + [alone] { bench.settle(id) }
    #expect(bench.core.waiting.sessions.count == 0)
  }

  @Test func aWidenedSessionGetsWhatOthersLeave() {
    var bench = Bench(Self.policy(1, widen: true, permits: 3))
    let own = (0..<4).map { _ in bench.submit(.high, session: "a") }
    #expect(own.map { bench.isGranted($0) } == [true, true, true, false])
    // Now a place is free, and another session waits for one, in a lower class.
    let other = bench.submit(.low, session: "b")
    #expect(!bench.isGranted(other))
    bench.settle(own[0])
    #expect(bench.isGranted(other) && !bench.isGranted(own[3]))
    bench.settle(own[1])
    #expect(bench.isGranted(own[3]))
  }

  @Test func aWidenedSessionTakesNothingThatIsClaimed() {
    var policy = Self.policy(1, widen: true)
    policy.providers[0].limits.inputTokensPerMinute = 6000
    var bench = Bench(policy)
    let first = bench.submit(.high, session: "a", input: 3000)
    let large = bench.submit(.high, session: "b", input: 5000)
    #expect(bench.isGranted(first) && !bench.isGranted(large))
    let small = bench.submit(.high, session: "a", input: 10)
    #expect(!bench.isGranted(small))
    bench.run(for: .seconds(21))
    #expect(bench.isGranted(large))
    bench.run(for: .seconds(1))
    #expect(bench.isGranted(small))
  }

  @Test func aWidenedHeadThatItsTenantBlocksParksNobody() {
    var bench = Bench(Self.policy(1, widen: true, tenant: Limits(inputTokensPerMinute: 6000)))
    let first = bench.submit(session: "a", input: 5000)
    let large = bench.submit(session: "a", input: 3000)
    #expect(bench.isGranted(first) && !bench.isGranted(large))
    let small = bench.submit(.low, session: "b", input: 10)
    #expect(bench.isGranted(small))
    bench.run(for: .seconds(25))
    #expect(bench.isGranted(large))
  }

  @Test func aReloadChangesTheLimitAtOnce() {
    var bench = Bench(Self.policy(nil))
    let running = (0..<3).map { _ in bench.submit(session: "a") }
    bench.send(.policyReplaced(Self.policy(2)))
    let waiting = (0..<4).map { _ in bench.submit(session: "a") }
    #expect(!bench.isGranted(waiting[0]))
    bench.settle(running[0])
    #expect(!bench.isGranted(waiting[0]))
    bench.settle(running[1])
    #expect(bench.isGranted(waiting[0]) && !bench.isGranted(waiting[1]))
    bench.send(.policyReplaced(Self.policy(3)))
    #expect(bench.isGranted(waiting[1]) && !bench.isGranted(waiting[2]))
    bench.send(.policyReplaced(Self.policy(1)))
    bench.send(.policyReplaced(Self.policy(1, widen: true)))
    #expect(bench.isGranted(waiting[2]) && bench.isGranted(waiting[3]))
    bench.send(.policyReplaced(Self.policy(1)))
    let last = bench.submit(session: "a")
    #expect(!bench.isGranted(last))
    bench.send(.policyReplaced(Self.policy(nil)))
    #expect(bench.isGranted(last))
    for id in [running[2], last] + waiting { bench.settle(id) }
    #expect(bench.core.waiting.sessions.count == 0)
  }

  @Test func aRetryWaitsForItsSessionToo() {
    var bench = Bench(Self.policy(1))
    let first = bench.submit(session: "a", to: ["p", "q"])
    let second = bench.submit(session: "a")
    bench.settle(first, .failed(retryAfter: nil, isAway: false))
    // Its own place is free again, and it stands in front.
    #expect(bench.grants.count { $0.request == first } == 2 && !bench.isGranted(second))
    bench.settle(first)
    #expect(bench.isGranted(second))
  }

  @Test func keysGoByTheGroup() {
    let keys = (0..<8).map { KeyPolicy(id: KeyID("k\($0)")) }
    var bench = Bench(AdmissionPolicy(providers: [ProviderPolicy(id: "p", keys: keys)]))
    let used = (0..<20).map { bench.grant(bench.submit(session: SessionID("s\($0)"), group: "g"))?.key }
    #expect(Set(used).count == 1)
  }
}
