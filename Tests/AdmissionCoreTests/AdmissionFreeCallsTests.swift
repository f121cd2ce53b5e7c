// Free calls wait for nothing but a closure, an open breaker, or the 32 that run before them (rule 10).
import Testing

@testable import AdmissionCore

@Suite struct AdmissionFreeCallsTests {
  private static let most = ProviderState.mostFreeCalls

  @Test func aFreeCallWaitsForNoPermitAndNoTurn() {
    var bench = Bench(
      limits: Limits(concurrency: 1, tokensPerMinute: 100),
      tenants: [
        TenantPolicy(id: "t", limits: Limits(concurrency: 1))
      ])
    let running = bench.submit(.high)
    let waiting = bench.submit(.high)
    #expect(bench.isGranted(running) && !bench.isGranted(waiting))
    let before = bench.core.snapshot(at: bench.now)
    let free = bench.submit(.low, input: 1_000_000, free: true)
    #expect(bench.grant(free)?.reservedInput == 0)
    let after = bench.core.snapshot(at: bench.now)
    #expect(after.providers[0].inFlight == 1 && after.providers[0].freeInFlight == 1)
    #expect(after.tenants[0].inFlight == 1 && after.openLeases == 2)
    #expect(after.providers[0].buckets == before.providers[0].buckets)
    // A usage that it tells is charged to nobody.
    bench.settle(free, input: 50_000, output: 7)
    #expect(bench.outcome(free) == .completed)
    #expect(bench.core.snapshot(at: bench.now).providers[0].buckets == before.providers[0].buckets)
    #expect(!bench.isGranted(waiting))
    #expect(bench.core.takeLearned().isEmpty)
  }

  @Test func thirtyTwoRunAtATimeAndTheNextWaitInTheOrderOfArrival() {
    var bench = Bench(limits: Limits(concurrency: 1))
    let first = (0..<Self.most).map { _ in bench.submit(free: true) }
    #expect(first.allSatisfy { bench.isGranted($0) })
    let (low, high) = (bench.submit(.low, free: true), bench.submit(.high, session: "x", free: true))
    #expect(!bench.isGranted(low) && !bench.isGranted(high))
    #expect(bench.core.blocker(of: low, at: bench.now) == .freeConcurrency("p"))
    #expect(bench.core.blocker(of: high, at: bench.now) == .freeConcurrency("p"))
    // They keep no other call.
    let other = bench.submit(.low)
    #expect(bench.isGranted(other))
    let queued = bench.submit(.low)
    bench.settle(other)
    #expect(bench.isGranted(queued))
    bench.settle(first[3])
    #expect(bench.isGranted(low) && !bench.isGranted(high))
    bench.settle(first[0])
    #expect(bench.isGranted(high))
  }

  @Test func waitingFreeCallsLeaveAsOthersDo() {
    var bands = Priority.allCases.map(BandPolicy.standard)
    bands[1].maxWait = .seconds(3)
    bands[2].queueLimit = 1
    var bench = Bench(limits: Limits(), bands: bands)
    for _ in 0..<Self.most { bench.submit(free: true) }
    let (left, late, bound) = (bench.submit(free: true), bench.submit(free: true), bench.submit(.low, free: true))
    let tooMany = bench.submit(.low, free: true)
    #expect(bench.outcome(tooMany) == .rejectedQueueFull)
    bench.send(.cancelled(left))
    #expect(bench.outcome(left) == .clientLeftQueued)
    #expect(bench.core.nextDeadline == bench.now + .seconds(3))
    bench.run(for: .seconds(3))
    #expect(bench.outcome(late) == .evictedMaxWait)
    bench.send(.drainRequested)
    let afterwards = bench.submit(free: true)
    #expect(bench.outcome(afterwards) == .rejectedDraining)
    bench.send(.cancelled(bound))
    for grant in bench.grants { bench.settle(grant.request) }
    #expect(bench.drained == 1)
    #expect(bench.core.snapshot(at: bench.now).queueStorage <= 64)
  }

  @Test func aClosureHoldsThemAndTheyAreNotItsProbe() {
    var bench = Bench(limits: Limits(concurrency: 4))
    let refused = bench.submit(session: "a")
    bench.settle(refused, .throttled(retryAfter: .seconds(5), isAboutConcurrency: false))
    let free = bench.submit(session: "b", free: true)
    #expect(!bench.isGranted(free))
    bench.run(for: .seconds(4))
    #expect(!bench.isGranted(free))
    bench.run(for: .seconds(2))
    #expect(bench.isGranted(free))
    // The refused call is the probe, whatever the free one says.
    #expect(bench.grants.count { $0.request == refused } == 2)
    let next = bench.submit(session: "c")
    bench.settle(free)
    #expect(!bench.isGranted(next))
    bench.settle(refused)
    #expect(bench.isGranted(next))
  }

  @Test func theirOwn429ClosesTheProviderForFreeCallsAlone() {
    var bench = Bench(limits: Limits(concurrency: 4))
    let (refused, running) = (bench.submit(session: "a", free: true), bench.submit(session: "r"))
    bench.settle(refused, .throttled(retryAfter: .seconds(5), isAboutConcurrency: false))
    let next = bench.submit(session: "b", free: true)
    let paid = bench.submit(session: "c")
    #expect(bench.isGranted(paid) && !bench.isGranted(next) && bench.closures.isEmpty)
    #expect(bench.core.blocker(of: next, at: bench.now) == .providerClosed("p"))
    #expect(bench.core.snapshot(at: bench.now).providers[0].freeBlockedUntil == bench.now + .seconds(5))
    bench.settle(running)
    bench.run(for: .seconds(5))
    // One goes first, and not the one that was refused.
    #expect(bench.isGranted(next))
    #expect(bench.grants.count { $0.request == refused } == 1)
    bench.settle(next)
    #expect(bench.grants.count { $0.request == refused } == 2)
    bench.settle(refused)
    #expect(bench.outcome(refused) == .completed)
    #expect(bench.core.snapshot(at: bench.now).providers[0].learned.isEmpty)
  }

  @Test func anOpenBreakerHoldsThemAndOneMayBeItsProbe() {
    let policy = AdmissionPolicy(providers: [
      ProviderPolicy(id: "p", limits: Limits(), breaker: BreakerPolicy(failures: 2, recovery: .seconds(10)))
    ])
    var bench = Bench(policy)
    for session in ["a", "b"] {
      let id = bench.submit(session: SessionID(session))
      bench.settle(id, .failed(retryAfter: nil, isAway: false), began: true)
    }
    let free = bench.submit(session: "c", free: true)
    #expect(bench.core.blocker(of: free, at: bench.now) == .breakerOpen("p"))
    bench.run(for: .seconds(30))
    #expect(bench.isGranted(free))
    bench.settle(free)
    #expect(bench.core.snapshot(at: bench.now).providers[0].breaker.state == .closed)
  }

  @Test func aReloadRoutesThemAnew() {
    func policy(_ names: [ProviderID]) -> AdmissionPolicy {
      AdmissionPolicy(providers: names.map { ProviderPolicy(id: $0, limits: Limits()) })
    }
    var bench = Bench(policy(["p", "q"]))
    let running = (0..<Self.most).map { _ in bench.submit(free: true) }
    let (waits, stays) = (bench.submit(free: true), bench.submit(free: true))
    bench.send(.policyReplaced(policy(["p", "q"]), candidates: [waits: [Candidate(provider: "q")]], asksPast: false))
    #expect(bench.grant(waits)?.provider == "q")
    #expect(!bench.isGranted(stays))
    bench.send(.policyReplaced(policy(["q"])))
    #expect(bench.outcome(stays) == .rejectedModel)
    for id in running { bench.settle(id) }
    #expect(bench.core.snapshot(at: bench.now).openLeases == 1)
  }

  @Test func aFailedOneGoesToTheNextProvider() {
    let policy = AdmissionPolicy(providers: ["p", "q"].map { ProviderPolicy(id: $0, limits: Limits(concurrency: 0)) })
    var bench = Bench(policy)
    let free = bench.submit(to: ["p", "q"], free: true)
    bench.settle(free, .failed(retryAfter: nil, isAway: false))
    #expect(bench.grant(free)?.provider == "q")
  }
}
