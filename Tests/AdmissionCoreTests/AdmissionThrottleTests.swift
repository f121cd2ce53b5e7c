// "Slow down": what is shut, for how long, who goes first afterwards, and what is learned from it.
import Testing

@testable import AdmissionCore

@Suite struct AdmissionThrottleTests {
  static func bench(_ provider: ProviderPolicy = ProviderPolicy(id: "p")) -> Bench {
    Bench(AdmissionPolicy(providers: [provider], bands: Bench.plainBands))
  }

  private func provider(_ bench: Bench) -> AdmissionSnapshot.Provider {
    bench.core.snapshot(at: bench.now).providers[0]
  }

  /// A provider that says "now", again and again.
  @Test(arguments: [Span.zero, .milliseconds(1), .milliseconds(249)]) func aWaitHasAFloorThatDoublesUpToTheLongestPause(
    told: Span
  ) {
    var bench = Self.bench(ProviderPolicy(id: "p", retry: RetryPolicy(max: .seconds(2))))
    let id = bench.submit(deadline: bench.now + .seconds(60))
    for wait in [250, 500, 1000, 2000, 2000] as [Int64] {
      let before = bench.grants.count
      bench.settle(id, .throttled(retryAfter: told), answer: true)
      bench.run(for: Span(nanoseconds: wait * 1_000_000 - 1))
      #expect(bench.grants.count == before)
      bench.run(for: Span(nanoseconds: 1))
      #expect(bench.grants.count == before + 1)
    }
    bench.settle(id)
    // Back after a success.
    let next = bench.submit()
    bench.settle(next, .throttled(retryAfter: told), answer: true)
    bench.run(for: .milliseconds(250))
    #expect(bench.grant(next)?.attempt == 2)
  }

  /// Without a time the first pause is a second at most, however many calls were refused together, and the next one two:
  /// each of them would otherwise count as refused again.
  @Test func callsThatWereRefusedTogetherPauseOnce() throws {
    var bench = Self.bench()
    let ids = (0..<6).map { bench.submit(session: SessionID("s\($0)"), deadline: bench.now + .seconds(60)) }
    for id in ids {
      bench.settle(id, .throttled(retryAfter: nil), answer: true)
      bench.pass(.milliseconds(3))
    }
    let pause = try #require(provider(bench).resting.first?.until) - bench.now
    #expect(pause <= .seconds(1))
    bench.run(for: pause)
    #expect(bench.grants.count == 7)
    let probe = try #require(bench.grants.last?.request)
    bench.settle(probe, .throttled(retryAfter: nil), answer: true)
    let next = try #require(provider(bench).resting.first?.until) - bench.now
    #expect(next >= .milliseconds(1500) && next <= .seconds(2))
  }

  @Test func aModelIsShutBeforeItsProvider() {
    var bench = Self.bench()
    let x = bench.submit(session: "a", model: "x")
    bench.settle(x, .throttled(retryAfter: .seconds(6)), answer: true)
    let behind = bench.submit(session: "b", model: "x")
    #expect(bench.core.blocker(of: behind, at: bench.now) == .modelClosed("p", model: "x"))
    for number in 0..<3 {
      let y = bench.submit(session: SessionID("y\(number)"), model: "y")
      #expect(bench.isGranted(y))
      bench.settle(y)
    }
    #expect(provider(bench).resting.map(\.model) == ["x"] && provider(bench).blockedUntil == nil)
    bench.run(for: .seconds(6))
    #expect(bench.isGranted(behind))
  }

  @Test func aSecondModelRefusedMeanwhileShutsTheProviderForAsLongAsBoth() {
    var bench = Self.bench()
    let x = bench.submit(session: "a", model: "x")
    bench.settle(x, .throttled(retryAfter: .seconds(6)), answer: true)
    bench.pass(.seconds(1))
    let y = bench.submit(session: "b", model: "y")
    bench.settle(y, .throttled(retryAfter: .seconds(1)), answer: true)
    let z = bench.submit(session: "c", model: "z")
    #expect(bench.core.blocker(of: z, at: bench.now) == .providerClosed("p"))
    bench.run(for: Span(nanoseconds: 4_999_999_999))
    #expect(!bench.isGranted(z))
    bench.run(for: Span(nanoseconds: 1))
    #expect(bench.grants.count == 3)
  }

  @Test func aSecondModelRefusedLaterShutsItselfOnly() {
    var bench = Self.bench()
    let x = bench.submit(session: "a", model: "x")
    bench.settle(x, .throttled(retryAfter: .seconds(1)), answer: true)
    bench.run(for: .seconds(1))
    bench.settle(x)
    let y = bench.submit(session: "b", model: "y")
    bench.settle(y, .throttled(retryAfter: .seconds(1)), answer: true)
    let z = bench.submit(session: "c", model: "z")
    #expect(bench.isGranted(z))
  }

  @Test func theNameOfAModelIsNoPattern() {
    var bench = Self.bench()
    let star = bench.submit(session: "a", model: "*")
    bench.settle(star, .throttled(retryAfter: .seconds(6)), answer: true)
    let other = bench.submit(session: "b", model: "y")
    #expect(bench.isGranted(other))
  }

  @Test func theTableOfModelsIsBoundedAndForgetsThoseThatAreWell() {
    var bench = Self.bench()
    // One after the other, so that no two are shut at a time.
    for number in 0..<200 {
      let id = bench.submit(session: "a", model: "m\(number)")
      bench.settle(id, .throttled(retryAfter: .milliseconds(1)), answer: true)
      bench.run(for: .seconds(1))
      bench.settle(id)
      #expect(bench.outcome(id) == .completed)
    }
    #expect(bench.core.providers[0].models.capacity <= Admission.mostAdopted)
    #expect(bench.core.snapshot(at: bench.now).openLeases == 0)
  }

  @Test func withoutRoomForAModelTheProviderIsShut() {
    var bench = Self.bench()
    // Each of them is still in use when the next one comes, and none is shut any more.
    for number in 0..<Admission.mostAdopted {
      let id = bench.submit(session: SessionID("\(number)"), model: "m\(number)")
      bench.settle(id, .throttled(retryAfter: .milliseconds(250)), answer: true)
      bench.run(for: .milliseconds(250))
      bench.settle(id)
      bench.submit(session: SessionID("\(number)"), model: "m\(number)")
    }
    #expect(bench.core.providers[0].models.capacity == Admission.mostAdopted)
    #expect(provider(bench).blockedUntil == nil && provider(bench).resting.isEmpty)
    let last = bench.submit(session: "last", model: "last")
    bench.settle(last, .throttled(retryAfter: .seconds(5)), answer: true)
    #expect(provider(bench).blockedUntil == bench.now + .seconds(5))
    let other = bench.submit(session: "other", model: "m0")
    #expect(!bench.isGranted(other))
  }

  /// Names that were refused once and never called again make room for others.
  @Test func modelsThatNobodyCallsAnyMoreAreForgotten() {
    var bench = Self.bench()
    for number in 0..<Admission.mostAdopted {
      let id = bench.submit(session: "a", model: "m\(number)")
      bench.settle(id, .throttled(retryAfter: .seconds(1)), answer: true)
      bench.send(.cancelled(id))
      bench.run(for: .seconds(2))
    }
    #expect(bench.core.providers[0].models.capacity == Admission.mostAdopted)
    let last = bench.submit(session: "last", model: "last")
    bench.settle(last, .throttled(retryAfter: .seconds(60)), answer: true)
    #expect(provider(bench).blockedUntil == nil && provider(bench).resting.map(\.model) == ["last"])
    let other = bench.submit(session: "other", model: "other")
    #expect(bench.isGranted(other))
    #expect(bench.core.providers[0].models.capacity == Admission.mostAdopted)
  }

  @Test func callsThatRunWhenTheirModelGetsItsEntryAreCountedThere() {
    var bench = Self.bench()
    let ids = (0..<5).map { bench.submit(session: SessionID("\($0)")) }
    bench.settle(ids[0], .throttled(retryAfter: .seconds(1)), answer: true)
    #expect(bench.core.providers[0].models[0].capacity.permits.running == 4)
    for id in ids[1...] { bench.settle(id) }
    #expect(bench.core.providers[0].models[0].capacity.permits.running == 0)
    #expect(bench.core.providers[0].capacity.permits.running == 0)
  }

  @Test func withAQuotaForEachKeyTheModelIsShutAtThatKey() throws {
    var bench = Self.bench(
      ProviderPolicy(id: "p", keys: [KeyPolicy(id: "a"), KeyPolicy(id: "b")], quota: .perKey))
    let id = bench.submit(model: "x")
    let first = bench.grant(id)?.key
    bench.settle(id, .throttled(retryAfter: .seconds(5)), answer: true)
    #expect(bench.grant(id)?.key != first)
    // Nothing else is known of the key.
    let cooling = try #require(provider(bench).keys.first { $0.id == first })
    #expect(
      cooling.state == .cooling && cooling.until == bench.now + .seconds(5) && cooling.reason == .paused(.slowDown))
    #expect(cooling.models.map(\.model) == ["x"])
    bench.settle(id)
    let used = bench.keysOfOtherModels(than: "x", restingAt: first)
    #expect(used == ["a", "b"])
    #expect(provider(bench).keys.allSatisfy { $0.state == .usable })
    #expect(provider(bench).keys.first { $0.id == first }?.models.map(\.model) == ["x"])
  }

  // MARK: Who goes first

  @Test func theRefusedCallIsNotTheProbeWhileAnotherOfItsClassWaits() {
    var bench = Self.bench()
    let refused = bench.submit(session: "a")
    bench.settle(refused, .throttled(retryAfter: .seconds(6)), answer: true)
    bench.pass(.seconds(3))
    let other = bench.submit(session: "b")
    let low = bench.submit(.low, session: "c")
    bench.run(for: .seconds(3))
    #expect(bench.isGranted(other) && bench.grant(refused)?.attempt == 1 && !bench.isGranted(low))
    bench.settle(other)
    #expect(bench.grant(refused)?.attempt == 2 && bench.isGranted(low))
  }

  @Test func alsoWhereTheOtherStandsBehindItInItsLane() {
    var bench = Self.bench()
    let refused = bench.submit(session: "a")
    bench.settle(refused, .throttled(retryAfter: .seconds(1)), answer: true)
    let behind = bench.submit(session: "a")
    bench.run(for: .seconds(1))
    #expect(bench.isGranted(behind) && bench.grant(refused)?.attempt == 1)
    // The probe is refused too: now the one that was refused longer ago goes.
    bench.settle(behind, .throttled(retryAfter: .seconds(1)), answer: true)
    bench.run(for: .seconds(1))
    #expect(bench.grants.count == 3)
    bench.settle(bench.grants[2].request)
    #expect(bench.grants.count == 4 && bench.grant(refused)?.attempt == 2 && bench.grant(behind)?.attempt == 2)
  }

  @Test func aRefusedHighCallDoesNotYieldToALowerClass() {
    var bench = Self.bench()
    let high = bench.submit(.high, session: "a")
    bench.settle(high, .throttled(retryAfter: .seconds(1)), answer: true)
    let low = bench.submit(.low, session: "b")
    bench.run(for: .seconds(1))
    #expect(bench.grant(high)?.attempt == 2 && !bench.isGranted(low))
  }

  @Test func aRefusedCallLeavesAndExpiresLikeAnyOther() {
    var bench = Self.bench()
    let leaves = bench.submit(session: "a")
    let expires = bench.submit(session: "b", deadline: bench.now + .seconds(3))
    bench.settle(leaves, .throttled(retryAfter: .seconds(1)), answer: true)
    bench.settle(expires, .throttled(retryAfter: .seconds(2)), answer: true)
    bench.send(.cancelled(leaves))
    #expect(bench.outcome(leaves) == .clientLeftQueued && bench.core.waiting.heldBack.count == 1)
    bench.run(for: .seconds(2))
    #expect(bench.grant(expires)?.attempt == 2)
    bench.settle(expires, .throttled(retryAfter: .milliseconds(900)), answer: true)
    bench.run(for: .seconds(1))
    #expect(bench.grant(expires)?.attempt == 3)
    #expect(bench.core.waiting.heldBack.isEmpty)
  }

  @Test func aProbeWhoseClientLeftLetsTheRefusedOneTry() {
    var bench = Self.bench()
    let refused = bench.submit(session: "a")
    bench.settle(refused, .throttled(retryAfter: .seconds(1)), answer: true)
    let other = bench.submit(session: "b")
    bench.run(for: .seconds(1))
    bench.send(.cancelled(other))
    bench.settle(other, .clientLeft)
    bench.run(for: .milliseconds(1))
    #expect(bench.grant(refused)?.attempt == 2)
  }

  /// Its own fault: a call that is refused each time while others of its model go well.
  @Test func refusedThreeTimesWhileOthersGoWellACallIsOver() {
    var bench = Self.bench()
    let bad = bench.submit(session: "bad", deadline: bench.now + .seconds(300))
    for round in 1...3 {
      #expect(bench.outcome(bad) == nil && bench.grant(bad)?.attempt == round)
      let beside = bench.submit(session: "good")
      bench.settle(bad, .throttled(retryAfter: .milliseconds(250)), answer: true)
      bench.settle(beside)
      let probe = bench.submit(session: "good")
      bench.run(for: .seconds(1))
      bench.settle(probe)
      #expect(bench.outcome(probe) == .completed)
    }
    #expect(bench.outcome(bad) == .upstreamError && bench.conclusions.last { $0.request == bad }?.attempts == 3)
  }

  @Test func twoCallsThatAreAlwaysRefusedDoNotExcuseEachOther() {
    var bench = Self.bench()
    let bad = ["one", "two"].map { bench.submit(session: SessionID($0), deadline: bench.now + .seconds(300)) }
    for _ in 1...8 {
      let beside = bench.submit(session: "good")
      for id in bad where bench.grant(id) != nil && bench.outcome(id) == nil {
        bench.settle(id, .throttled(retryAfter: .milliseconds(250)), answer: true)
      }
      bench.settle(beside)
      let probe = bench.submit(session: "good")
      bench.run(for: .seconds(1))
      bench.settle(probe)
    }
    #expect(bad.allSatisfy { bench.outcome($0) == .upstreamError })
  }

  /// A limit that lets in little beside one that nobody has been refused yet: many are refused over and over, though one goes well each time.
  @Test(arguments: [3, 14]) func manyThatAreRefusedTogetherExcuseEachOther(count: Int) {
    var bench = Self.bench()
    let refused = (0..<count).map { bench.submit(session: SessionID("\($0)"), deadline: bench.now + .seconds(300)) }
    for round in 1...6 {
      #expect(refused.allSatisfy { bench.grant($0)?.attempt == round && bench.outcome($0) == nil })
      // In another order each time.
      for id in round.isMultiple(of: 2) ? refused : refused.reversed() {
        bench.settle(id, .throttled(retryAfter: .milliseconds(250)), answer: true)
      }
      let probe = bench.submit(session: "good")
      bench.run(for: .seconds(20))
      bench.settle(probe)
      #expect(bench.outcome(probe) == .completed)
    }
    for id in refused { bench.settle(id) }
    #expect(refused.allSatisfy { bench.outcome($0) == .completed })
  }

  /// Streams that were let in before the minute was used up say nothing about who is refused since.
  @Test func streamsThatBeganBeforeTheRefusalSayNothingAboutIt() throws {
    var bench = Self.bench()
    let streams = (0..<30).map { bench.submit(session: SessionID("\($0)")) }
    let refused = bench.submit(session: "refused", deadline: bench.now + .seconds(300))
    for round in 0..<6 {
      #expect(bench.grant(refused)?.attempt == round + 1)
      bench.settle(refused, .throttled(retryAfter: .seconds(1)), answer: true)
      let lease = try #require(bench.grant(streams[round])?.lease)
      bench.send(.progressed(lease, Progress(inputTokens: nil, outputTokens: 5)))
      bench.settle(streams[round])
      bench.run(for: .seconds(20))
      #expect(bench.outcome(refused) == nil)
    }
    bench.settle(refused)
    #expect(bench.outcome(refused) == .completed)
  }

  /// What one provider said of a call is not held against it by another, whatever that one has to do beside it.
  @Test func whatOneProviderSaidCountsAtThatOneAlone() {
    func provider(_ id: ProviderID) -> ProviderPolicy {
      ProviderPolicy(id: id, modelLimits: [ModelLimits(models: "*", limits: Limits(concurrency: 100))])
    }
    var bench = Bench(AdmissionPolicy(providers: [provider("a"), provider("b")], bands: Bench.plainBands))
    let once = bench.submit(session: "once", to: ["b"])
    bench.settle(once, .throttled(retryAfter: .seconds(1)), answer: true)
    bench.send(.cancelled(once))
    bench.run(for: .seconds(2))
    bench.settle(bench.submit(session: "probe", to: ["b"]))
    let id = bench.submit(session: "moves", to: ["a", "b"], deadline: bench.now + .seconds(300))
    for provider in ["a", "b", "a", "b", "a"] as [ProviderID] {
      #expect(bench.grant(id)?.provider == provider && bench.outcome(id) == nil)
      bench.settle(id, .throttled(retryAfter: .seconds(1)), answer: true)
      if bench.grant(id)?.provider == provider {
        let beside = bench.submit(session: "beside", to: ["b"])
        bench.run(for: .seconds(1))
        bench.settle(beside)
        #expect(bench.outcome(beside) == .completed)
      }
    }
    #expect(bench.outcome(id) == nil)
  }

  @Test func refusedOftenWhileNothingGoesWellItWaitsOn() {
    var bench = Self.bench()
    let id = bench.submit(deadline: bench.now + .seconds(300))
    for _ in 0..<6 {
      bench.settle(id, .throttled(retryAfter: .milliseconds(250)), answer: true)
      bench.run(for: .seconds(20))
    }
    #expect(bench.outcome(id) == nil && bench.grant(id)?.attempt == 7)
  }

  // MARK: What is learned

  @Test func twoLoneRefusalsTeachNoPace() {
    var bench = Self.bench()
    func callAndRefuse() {
      let id = bench.submit(input: 100)
      bench.settle(id, .throttled(retryAfter: nil), answer: true)
      bench.run(for: .seconds(2))
      bench.settle(id, input: 100, output: 10)
      #expect(bench.outcome(id) == .completed)
    }
    callAndRefuse()
    for _ in 0..<10 {
      let id = bench.submit(input: 10)
      bench.settle(id, input: 10, output: 1)
      bench.run(for: .milliseconds(300))
    }
    callAndRefuse()
    #expect(provider(bench).learned.isEmpty)
    let large = bench.submit(input: 40_000)
    #expect(bench.isGranted(large))
  }

  /// The same, while others wait for what has nothing to do with the provider's quota of that model.
  @Test(arguments: ["tenant", "model", "budget"]) func whoWaitsForSomethingElseTeachesNoPace(_ what: String) {
    var tenant = TenantPolicy(id: "u", limits: what == "tenant" ? Limits(concurrency: 1) : Limits())
    if what == "budget" {
      tenant.budgets = [
        BudgetPolicy(scope: .tenant, window: BudgetWindow(.total), limit: Money(nanodollars: 1500), onExceed: .reject)
      ]
    }
    var bench = Bench(
      AdmissionPolicy(
        providers: [
          ProviderPolicy(
            id: "p", modelLimits: what == "model" ? [ModelLimits(models: "big-*", limits: Limits(concurrency: 1))] : [])
        ], bands: Bench.plainBands, tenants: [TenantPolicy(id: "t"), tenant]))
    let price = CallPrice(inputMicroPerToken: 10_000, outputMicroPerToken: 0)
    for _ in 0..<5 {
      bench.submit(tenant: "u", session: "backlog", model: "big-1", price: what == "budget" ? price : nil)
    }
    #expect(bench.grants.count == 1 && bench.core.snapshot(at: bench.now).queuedByBand == [0, 4, 0])
    func callAndRefuse() {
      let id = bench.submit(input: 100)
      bench.settle(id, .throttled(retryAfter: nil), answer: true)
      bench.run(for: .seconds(2))
      bench.settle(id, input: 100, output: 10)
      #expect(bench.outcome(id) == .completed)
    }
    for _ in 0..<3 {
      callAndRefuse()
      for _ in 0..<10 {
        let id = bench.submit(input: 10)
        bench.settle(id, input: 10, output: 1)
        bench.run(for: .milliseconds(300))
      }
    }
    #expect(!provider(bench).learned.contains { $0.quantity == .perMinute(.tokens) })
  }

  @Test func aRefusalThatNamesItsTimeTeachesNothingOfCallsAtATime() {
    var bench = Self.bench()
    for _ in 0..<3 {
      let ids = (0..<20).map { bench.submit(session: SessionID("\($0)")) }
      bench.settle(ids[0], .throttled(retryAfter: .seconds(1)), answer: true)
      for id in ids[1...] { bench.settle(id) }
      bench.run(for: .seconds(10))
      bench.settle(ids[0])
    }
    #expect(provider(bench).learned.isEmpty)
    let all = (0..<43).map { bench.submit(session: SessionID("\($0)")) }
    #expect(all.allSatisfy { bench.isGranted($0) })
  }

  @Test func unlessItsWordsSaySo() {
    var bench = Self.bench()
    let ids = (0..<20).map { bench.submit(session: SessionID("\($0)")) }
    for id in ids[15...] {
      bench.settle(id, .throttled(retryAfter: .seconds(1), isAboutConcurrency: true), answer: true)
    }
    #expect(provider(bench).learned.first?.value == 10)
  }

  @Test func whatOneModelTeachesHoldsNoOther() {
    var bench = Self.bench()
    let ids = (0..<20).map { bench.submit(session: SessionID("\($0)"), model: "x") }
    for id in ids[10...] { bench.settle(id, .throttled(retryAfter: nil), answer: true) }
    let others = (0..<30).map { bench.submit(session: SessionID("y\($0)"), model: "y") }
    #expect(others.allSatisfy { bench.isGranted($0) })
  }
}
