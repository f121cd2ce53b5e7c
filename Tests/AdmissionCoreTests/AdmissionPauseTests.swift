// A service that is away until a time it gave: its model waits, the others do not; who is told of it, and who may end it.
import Testing

@testable import AdmissionCore

@Suite struct AdmissionPauseTests {
  private static let away = Verdict.failed(retryAfter: .seconds(60), isAway: true)

  private static func bench(_ provider: ProviderPolicy = ProviderPolicy(id: "p")) -> Bench {
    Bench(AdmissionPolicy(providers: [provider], bands: Bench.plainBands))
  }

  private func provider(_ bench: Bench) -> AdmissionSnapshot.Provider {
    bench.core.snapshot(at: bench.now).providers[0]
  }

  @Test func oneCallShutsItsModelAndNotTheProvider() {
    var bench = Self.bench()
    let x = bench.submit(session: "a", model: "x")
    bench.settle(x, Self.away, answer: true)
    let behind = bench.submit(session: "b", model: "x")
    #expect(bench.core.blocker(of: behind, at: bench.now) == .modelClosed("p", model: "x"))
    let other = bench.submit(session: "c", model: "y")
    #expect(bench.isGranted(other))
    #expect(provider(bench).blockedUntil == nil && provider(bench).blockedBecause == nil)
    let until = bench.now + .seconds(60)
    #expect(
      provider(bench).resting == [
        AdmissionSnapshot.ModelRest(model: "x", until: until, reason: .away)
      ])
    #expect(bench.closures == ["p/x: unavailable, as the provider said"])
    bench.run(for: Span(nanoseconds: 59_999_999_999))
    #expect(!bench.isGranted(behind))
    bench.run(for: Span(nanoseconds: 1))
    #expect(bench.grants.count == 3)
    // While one tries, it rests without an end.
    #expect(provider(bench).resting.map(\.until) == [nil])
  }

  @Test func aSecondModelMeanwhileShutsTheProvider() {
    var bench = Self.bench()
    let x = bench.submit(session: "a", model: "x")
    bench.settle(x, Self.away, answer: true)
    bench.pass(.seconds(59))
    let y = bench.submit(session: "b", model: "y")
    bench.settle(y, .failed(retryAfter: .seconds(10), isAway: true), answer: true)
    let z = bench.submit(session: "c", model: "z")
    #expect(bench.core.blocker(of: z, at: bench.now) == .providerClosed("p"))
    #expect(provider(bench).blockedUntil == bench.now + .seconds(10))
    #expect(provider(bench).blockedBecause == .away)
    #expect(bench.closures.last == "p: unavailable, as the provider said")
    bench.run(for: .seconds(10))
    #expect(bench.grants.count == 3)
  }

  @Test func aSecondModelLaterShutsItselfOnly() {
    var bench = Self.bench()
    let x = bench.submit(session: "a", model: "x")
    bench.settle(x, Self.away, answer: true)
    bench.send(.cancelled(x))
    bench.run(for: .seconds(60))
    let y = bench.submit(session: "b", model: "y")
    bench.settle(y, Self.away, answer: true)
    let z = bench.submit(session: "c", model: "z")
    #expect(bench.isGranted(z) && provider(bench).blockedBecause == nil)
  }

  /// A look at a job, a file, a list: what it is told is about what it looks at.
  @Test(arguments: [
    Verdict.failed(retryAfter: .seconds(60), isAway: true), .throttled(retryAfter: .seconds(60)),
  ])
  func aFreeCallWithoutAModelWaitsByItself(verdict: Verdict) {
    let all = ProviderPolicy(id: "p", modelLimits: [ModelLimits(models: "*", limits: Limits(concurrency: 100))])
    for policy in [ProviderPolicy(id: "p"), all] {
      var bench = Self.bench(policy)
      let alone = bench.submit(session: "a", model: "", deadline: bench.now + .seconds(120), free: true)
      bench.settle(alone, verdict, answer: true)
      let calls = [
        bench.submit(session: "b", model: "x"), bench.submit(session: "b", model: "", free: true),
        bench.submit(session: "b", model: ""),
      ]
      #expect(calls.allSatisfy { bench.isGranted($0) })
      #expect(provider(bench).resting.isEmpty && bench.closures.isEmpty)
      bench.run(for: Span(nanoseconds: 59_999_999_999))
      #expect(bench.grant(alone)?.attempt == 1 && bench.outcome(alone) == nil)
      bench.run(for: .seconds(2))
      #expect(bench.grant(alone)?.attempt == 2)
      // Nor is it waited for beyond its deadline.
      bench.settle(alone, verdict, answer: true)
      #expect(bench.outcome(alone) == .upstreamError)
    }
  }

  @Test func aFreeCallThatIsToldNoTimeWaitsLongerEachTime() {
    var bench = Self.bench()
    let id = bench.submit(session: "a", model: "", deadline: bench.now + .seconds(600), free: true)
    for seconds in [1, 2, 4, 8] as [Int64] {
      let before = bench.grants.count
      bench.settle(id, .throttled(retryAfter: nil), answer: true)
      bench.run(for: .milliseconds(seconds * 750 - 1))
      #expect(bench.grants.count == before)
      bench.run(for: .milliseconds(seconds * 250 + 1))
      #expect(bench.grants.count == before + 1)
    }
  }

  @Test func aCallWithoutAModelThatIsNotFreeShutsItsLikesOnly() {
    var bench = Self.bench()
    let id = bench.submit(session: "a", model: "")
    bench.settle(id, Self.away, answer: true)
    let (like, other) = (bench.submit(session: "b", model: ""), bench.submit(session: "c", model: "x"))
    #expect(!bench.isGranted(like) && bench.isGranted(other))
  }

  @Test func withAQuotaForEachKeyTheOtherKeyServesOn() {
    var bench = Self.bench(
      ProviderPolicy(id: "p", keys: [KeyPolicy(id: "a"), KeyPolicy(id: "b")], quota: .perKey))
    let id = bench.submit(model: "x", deadline: bench.now + .seconds(30))
    let first = bench.grant(id)?.key
    bench.settle(id, Self.away, answer: true)
    bench.run(for: .seconds(2))
    #expect(bench.grant(id)?.key != first)
    bench.settle(id)
    #expect(bench.outcome(id) == .completed)
    let used = bench.keysOfOtherModels(than: "x", restingAt: first)
    #expect(used == ["a", "b"])
    // It rests at one key, and is served by the other.
    #expect(provider(bench).resting.isEmpty)
    #expect(provider(bench).keys.first { $0.id == first }?.models.map(\.model) == ["x"])
    #expect(bench.closures.count == 1)
  }

  @Test func aModelThatRestsAtEachKeyIsShown() {
    var bench = Self.bench(
      ProviderPolicy(id: "p", keys: [KeyPolicy(id: "a"), KeyPolicy(id: "b")], quota: .perKey))
    let id = bench.submit(model: "x", deadline: bench.now + .seconds(300))
    let until = bench.now + .seconds(60)
    bench.settle(id, .throttled(retryAfter: .seconds(60)), answer: true)
    bench.pass(.seconds(1))
    bench.settle(id, .throttled(retryAfter: .seconds(90)), answer: true)
    #expect(
      provider(bench).resting == [AdmissionSnapshot.ModelRest(model: "x", until: until, reason: .slowDown)])
  }

  @Test func anEntryOfThePolicyRestsInItsPlace() {
    var bench = Self.bench(
      ProviderPolicy(id: "p", modelLimits: [ModelLimits(models: "x*", limits: Limits(concurrency: 9))]))
    let id = bench.submit(model: "x1")
    bench.settle(id, Self.away, answer: true)
    #expect(provider(bench).models.map(\.rest?.until) == [bench.now + .seconds(60)])
    #expect(provider(bench).resting.isEmpty && bench.closures == ["p/x*: unavailable, as the provider said"])
  }

  @Test func withoutRoomForAnEntryTheCallWaitsAlone() {
    var bench = Self.bench()
    for number in 0..<Admission.mostAdopted {
      let id = bench.submit(session: SessionID("\(number)"), model: "m\(number)")
      bench.settle(id, .throttled(retryAfter: .milliseconds(250)), answer: true)
      bench.run(for: .milliseconds(250))
      bench.settle(id)
      bench.submit(session: SessionID("\(number)"), model: "m\(number)")
    }
    let last = bench.submit(session: "last", model: "last")
    bench.settle(last, Self.away, answer: true)
    let (other, same) = (bench.submit(session: "o", model: "m0"), bench.submit(session: "s", model: "last"))
    #expect(bench.isGranted(other) && bench.isGranted(same) && provider(bench).blockedBecause == nil)
  }

  @Test func aClosureIsToldOfOnceHoweverOftenItsProbeIsRefused() {
    var bench = Self.bench()
    let id = bench.submit(model: "x", deadline: bench.now + .seconds(300))
    for _ in 0..<5 {
      bench.settle(id, .throttled(retryAfter: .seconds(1)), answer: true)
      bench.run(for: .seconds(20))
    }
    #expect(bench.closures == ["p/x: told to slow down"])
    bench.settle(id)
    let next = bench.submit(model: "x", deadline: bench.now + .seconds(300))
    bench.settle(next, .throttled(retryAfter: .seconds(1)), answer: true)
    #expect(bench.closures.count == 2)
  }

  // MARK: Operator

  @Test(arguments: [
    OperatorCommand.closeBreaker("p"), .automateBreaker("p"), .enableKey("p", "a"), .enableKey("p", "b"),
  ])
  func theOperatorEndsAPause(command: OperatorCommand) {
    var bench = Self.bench(ProviderPolicy(id: "p", keys: [KeyPolicy(id: "a"), KeyPolicy(id: "b")]))
    for model in ["x", "y"] {
      let id = bench.submit(session: SessionID(model), model: model)
      bench.settle(id, .throttled(retryAfter: .seconds(3000)), answer: true)
    }
    let (x, z) = (bench.submit(model: "x"), bench.submit(session: "z", model: "z"))
    #expect(!bench.isGranted(x) && !bench.isGranted(z) && provider(bench).blockedBecause != nil)
    bench.send(.operatorCommanded(command))
    #expect(provider(bench).blockedBecause == nil && provider(bench).resting.isEmpty)
    let (again, other) = (bench.submit(model: "x"), bench.submit(session: "z", model: "z"))
    #expect(bench.isGranted(again) && bench.isGranted(other))
  }

  @Test func openingABreakerEndsNoPause() {
    var bench = Self.bench()
    let id = bench.submit(model: "x")
    bench.settle(id, Self.away, answer: true)
    bench.send(.operatorCommanded(.openBreaker("p")))
    #expect(provider(bench).resting.count == 1)
  }

  @Test func withAQuotaForEachKeyThePausesOfTheKeyAreEnded() {
    for command in [OperatorCommand.closeBreaker("p"), .enableKey("p", "a")] {
      var bench = Self.bench(ProviderPolicy(id: "p", keys: [KeyPolicy(id: "a")], quota: .perKey))
      for model in ["x", "y"] {
        let id = bench.submit(session: SessionID(model), model: model)
        bench.settle(id, .throttled(retryAfter: .seconds(3000)), answer: true)
      }
      #expect(provider(bench).keys[0].state == .cooling && provider(bench).keys[0].models.count == 2)
      bench.send(.operatorCommanded(command))
      #expect(provider(bench).keys[0].state == .usable && provider(bench).keys[0].models.isEmpty)
      let (x, z) = (bench.submit(model: "x"), bench.submit(session: "z", model: "z"))
      #expect(bench.isGranted(x) && bench.isGranted(z))
    }
  }
}
