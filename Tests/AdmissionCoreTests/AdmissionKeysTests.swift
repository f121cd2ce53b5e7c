// Whose fault a refusal is: one request never takes a key from the others, and nobody waits for a key that is out.
import Testing

@testable import AdmissionCore

@Suite struct AdmissionKeysTests {
  static func bench(_ keys: [KeyPolicy], _ others: [ProviderPolicy] = []) -> Bench {
    Bench(AdmissionPolicy(providers: [ProviderPolicy(id: "p", keys: keys)] + others, bands: Bench.plainBands))
  }

  private func key(_ bench: Bench, _ index: Int = 0) -> AdmissionSnapshot.Key {
    bench.core.snapshot(at: bench.now).providers[0].keys[index]
  }

  @Test func theFirstRefusalGoesToItsClientAndTheNextCallIsServed() {
    var bench = Self.bench([KeyPolicy(id: "a")])
    let id = bench.submit()
    bench.settle(id, .keyRefused, answer: true)
    #expect(bench.outcome(id) == .upstreamError)
    #expect(key(bench).state == .usable && key(bench).reason != nil)
    #expect(bench.checks == [RefusedKey(provider: "p", key: "a")])
    let other = bench.submit(session: "b")
    #expect(bench.isGranted(other))
    bench.settle(other)
    #expect(bench.outcome(other) == .completed && key(bench).reason == nil)
  }

  @Test func attemptsOfOneRequestAndItsRepetitionsAreOneRefusal() {
    var bench = Self.bench([KeyPolicy(id: "a")])
    let id = bench.submit()
    bench.settle(id, .keyRefused, answer: true)
    for number in 1...3 {
      let again = bench.submit(retries: number)
      bench.settle(again, .keyRefused, answer: true)
      #expect(bench.outcome(again) == .upstreamError)
    }
    #expect(key(bench).state == .usable && bench.checks.count == 1)
    let different = bench.submit(session: "b")
    bench.settle(different, .keyRefused, answer: true)
    #expect(key(bench).state == .disabled)
  }

  @Test func oneClientsRefusalsTakeNoKeyThatOurOwnCallFindsWell() {
    var bench = Self.bench([KeyPolicy(id: "a")])
    func refuse(session: SessionID, tenant: TenantID = "t", clientKey: ClientKeyID? = nil) {
      let id = bench.submit(tenant: tenant, session: session, model: "", clientKey: clientKey, free: true)
      bench.settle(id, .keyRefused, answer: true)
    }
    refuse(session: "a")
    #expect(bench.checks.count == 1)
    bench.send(.keyChecked("p", "a", generation: 0, isRefused: false))
    for _ in 0..<5 { refuse(session: "a") }
    #expect(key(bench).state == .usable && key(bench).reason == nil && bench.checks.count == 1)
    var others: [(inout Bench) -> RequestID] = []
    others.append { $0.submit(session: "b") }
    others.append { $0.submit(tenant: "u", session: "a") }
    others.append { $0.submit(session: "a", clientKey: "k") }
    for other in others {
      var copy = bench
      copy.settle(other(&copy), .keyRefused, answer: true)
      #expect(key(copy).state == .disabled)
    }
  }

  @Test func aKeyThatOneClientHadPutOutComesBackWithOurOwnCallsAnswer() {
    var bench = Self.bench([KeyPolicy(id: "a")])
    for _ in 0..<2 { bench.settle(bench.submit(session: "a"), .keyRefused, answer: true) }
    #expect(key(bench).state == .disabled)
    bench.send(.keyChecked("p", "a", generation: 0, isRefused: false))
    #expect(key(bench).state == .usable)
    let innocent = bench.submit(session: "b")
    #expect(bench.isGranted(innocent))
  }

  @Test func theOtherKeyIsTriedAndPreferred() {
    var bench = Self.bench([KeyPolicy(id: "a"), KeyPolicy(id: "b")])
    let id = bench.submit()
    let first = bench.grant(id)?.key
    bench.settle(id, .keyRefused, answer: true)
    #expect(bench.grant(id)?.key != first && bench.grant(id)?.attempt == 2)
    bench.settle(id)
    for number in 0..<40 {
      let next = bench.submit(session: SessionID("\(number)"))
      #expect(bench.grant(next)?.key != first)
      bench.settle(next)
    }
  }

  @Test func refusedByAllKeysTheRequestIsOverAndItsAnswerGoesToTheClient() {
    var bench = Self.bench([KeyPolicy(id: "a"), KeyPolicy(id: "b")])
    let id = bench.submit()
    bench.settle(id, .keyRefused, answer: true)
    bench.settle(id, .keyRefused, answer: true)
    #expect(bench.outcome(id) == .upstreamError && bench.grants.count == 2)
    #expect(Set(bench.checks.map(\.key)) == ["a", "b"])
  }

  @Test func whereEveryKeyIsRefusedCallersAreToldAtOnce() throws {
    var bench = Self.bench([KeyPolicy(id: "a"), KeyPolicy(id: "b")])
    let id = bench.submit()
    bench.settle(id, .keyRefused, answer: true)
    bench.settle(id, .keyRefused, answer: true)
    bench.send(.keyChecked("p", "a", generation: 0, isRefused: true))
    let between = bench.submit(session: "x")
    #expect(bench.grant(between)?.key == "b")
    bench.pass(.milliseconds(5))
    bench.send(.keyChecked("p", "b", generation: 0, isRefused: true))
    #expect(key(bench).state == .disabled && key(bench, 1).state == .disabled)
    let late = bench.submit()
    #expect(bench.outcome(late) == .rejectedNoCapacity)
    let told = try #require(bench.conclusions.last)
    #expect(told.refusedKey == RefusedKey(provider: "p", key: "b") && told.retryAfter == nil && told.queued == .zero)
    #expect(bench.core.nextDeadline == nil)
  }

  @Test func whoWaitsWhenTheLastKeyGoesIsToldAtOnce() throws {
    var bench = Bench(
      AdmissionPolicy(
        providers: [ProviderPolicy(id: "p", limits: Limits(concurrency: 2), keys: [KeyPolicy(id: "a")])],
        bands: Bench.plainBands))
    let first = bench.submit(session: "a")
    let second = bench.submit(session: "b")
    let waiting = bench.submit(session: "c")
    bench.settle(first, .keyRefused, answer: true)
    #expect(bench.isGranted(waiting))
    let last = bench.submit(session: "d")
    bench.settle(second, .keyRefused, answer: true)
    #expect(bench.outcome(last) == .rejectedNoCapacity)
    #expect(bench.conclusions.contains { $0.request == last && $0.refusedKey == RefusedKey(provider: "p", key: "a") })
  }

  @Test func oneCallARestTriesAndTheOthersDoNotWaitForIt() {
    var bench = Self.bench([KeyPolicy(id: "a")])
    for session in ["x", "y"] as [SessionID] { bench.settle(bench.submit(session: session), .keyRefused, answer: true) }
    #expect(key(bench).state == .disabled)
    bench.pass(Span(nanoseconds: 59_999_999_999))
    let early = bench.submit()
    #expect(bench.outcome(early) == .rejectedNoCapacity)
    bench.pass(Span(nanoseconds: 1))
    let probe = bench.submit()
    #expect(bench.isGranted(probe))
    let beside = bench.submit(session: "z")
    #expect(bench.outcome(beside) == .rejectedNoCapacity)
    bench.settle(probe)
    #expect(key(bench).state == .usable)
    let after = bench.submit(session: "z")
    #expect(bench.isGranted(after))
  }

  @Test func unpaidKeysAnswerAtOnceToo() {
    var bench = Self.bench([KeyPolicy(id: "a")])
    for session in ["x", "y"] as [SessionID] {
      let id = bench.submit(session: session)
      bench.settle(id, .quotaExhausted, answer: true)
      #expect(bench.outcome(id) == .upstreamError)
    }
    #expect(bench.checks.isEmpty)
    let late = bench.submit()
    #expect(bench.outcome(late) == .rejectedNoCapacity)
    #expect(bench.conclusions.last?.refusedKey == RefusedKey(provider: "p", key: "a"))
  }

  @Test func anotherProviderOfTheRouteIsNoReasonToRefuse() {
    var bench = Self.bench([KeyPolicy(id: "a")], [ProviderPolicy(id: "q", limits: Limits(concurrency: 1))])
    for session in ["x", "y"] as [SessionID] { bench.settle(bench.submit(session: session), .keyRefused, answer: true) }
    let busy = bench.submit(session: "1", to: ["p", "q"])
    #expect(bench.grant(busy)?.provider == "q")
    let waiting = bench.submit(session: "2", to: ["p", "q"])
    #expect(bench.outcome(waiting) == nil)
    bench.settle(busy)
    #expect(bench.grant(waiting)?.provider == "q")
  }

  @Test func aDoubtedKeyComesAfterTheNextProvider() {
    var bench = Self.bench([KeyPolicy(id: "a")], [ProviderPolicy(id: "q", keys: [KeyPolicy(id: "b")])])
    let id = bench.submit(to: ["p", "q"])
    bench.settle(id, .keyRefused, answer: true)
    #expect(bench.grant(id)?.provider == "q")
    let next = bench.submit(session: "n", to: ["p", "q"])
    #expect(bench.grant(next)?.provider == "q")
    bench.send(.keyChecked("p", "a", generation: 0, isRefused: false))
    let cleared = bench.submit(session: "n", to: ["p", "q"])
    #expect(bench.grant(cleared)?.provider == "p")
  }

  @Test func aChangedSecretAndTheOperatorBringAKeyBack() {
    func policy(_ generation: Int) -> AdmissionPolicy {
      AdmissionPolicy(providers: [
        ProviderPolicy(id: "p", keys: [KeyPolicy(id: "a", secretGeneration: generation)])
      ])
    }
    var bench = Bench(policy(0))
    for session in ["x", "y"] as [SessionID] { bench.settle(bench.submit(session: session), .keyRefused, answer: true) }
    bench.send(.policyReplaced(policy(0)))
    #expect(key(bench).state == .disabled)
    bench.send(.policyReplaced(policy(1)))
    #expect(key(bench).state == .usable)
    // What is told of the old secret is nobody's news.
    bench.send(.keyChecked("p", "a", generation: 0, isRefused: true))
    #expect(key(bench).reason == nil)
    bench.send(.operatorCommanded(.disableKey("p", "a")))
    let refused = bench.submit()
    #expect(bench.outcome(refused) == .rejectedNoCapacity && bench.conclusions.last?.refusedKey == nil)
    bench.send(.operatorCommanded(.enableKey("p", "a")))
    let fine = bench.submit()
    #expect(bench.isGranted(fine))
  }

  @Test func anUnpaidKeyLeavesTheWorkToTheOther() {
    var bench = Self.bench([KeyPolicy(id: "a"), KeyPolicy(id: "b")])
    let id = bench.submit()
    let first = bench.grant(id)?.key
    bench.settle(id, .quotaExhausted, answer: true)
    #expect(bench.grant(id)?.key != first)
    bench.settle(id)
    for _ in 0..<20 {
      let next = bench.submit()
      #expect(bench.grant(next)?.key != first)
      bench.settle(next)
    }
  }

  @Test func aRefusedModelRestsAtItsKeyAlone() {
    var bench = Self.bench([KeyPolicy(id: "a"), KeyPolicy(id: "b")])
    let id = bench.submit(model: "x")
    let first = bench.grant(id)?.key
    bench.settle(id, .modelRefused(), answer: true)
    #expect(bench.grant(id)?.key != first)
    bench.settle(id)
    let index = first == "a" ? 0 : 1
    #expect(key(bench, index).state == .usable && key(bench, index).models.map(\.model) == ["x"])
    let used = bench.keysOfOtherModels(than: "x", restingAt: first)
    #expect(used == ["a", "b"])
    bench.pass(.seconds(601))
    #expect(key(bench, index).models.isEmpty)
  }

  @Test func aRefusedModelOfTheOnlyKeyIsAskedForAllTheSame() {
    var bench = Self.bench([KeyPolicy(id: "a")])
    for number in 0..<3 {
      let id = bench.submit(session: SessionID("\(number)"), model: "x")
      #expect(bench.isGranted(id))
      bench.settle(id, .modelRefused(retryAfter: .seconds(3600)), answer: true)
      #expect(bench.outcome(id) == .upstreamError)
    }
    let other = bench.submit(model: "y")
    #expect(bench.isGranted(other))
  }

  @Test func theTableOfRefusedModelsIsBounded() {
    var rests = ModelRests()
    let now = Instant(nanoseconds: 0)
    for number in 0..<1000 { rests.add("m\(number)", until: now + .seconds(10), at: now) }
    #expect(rests.snapshot(at: now).count == ModelRests.most)
    #expect(rests.rests("m999", at: now) && !rests.rests("m0", at: now))
    #expect(!rests.rests("m999", at: now + .seconds(10)))
  }

  @Test func aProvidersWordOnComingAgainIsHeard() {
    var bench = Bench(AdmissionPolicy(providers: [ProviderPolicy(id: "p")], bands: Bench.plainBands))
    for verdict in [Verdict.failed(), .throttled(retryAfter: .seconds(1))] {
      let id = bench.submit(session: SessionID("\(verdict)"), model: "\(verdict)")
      bench.settle(id, verdict, answer: true, again: false)
      #expect(bench.outcome(id) == .upstreamError)
    }
    let wanted = bench.submit(session: "w", model: "w")
    for _ in 0..<3 {
      bench.settle(wanted, .clientError, answer: true, again: true)
      bench.run(for: .seconds(30))
    }
    #expect(bench.outcome(wanted) == .upstreamError && bench.grant(wanted)?.attempt == 3)
    #expect(bench.core.snapshot(at: bench.now).providers[0].breaker.state == .closed)
  }

  @Test func attemptsOfOneRequestAreOneFailureOfTheBreaker() {
    let breaker = BreakerPolicy(failures: 2, recovery: .seconds(30))
    var bench = Bench(
      AdmissionPolicy(
        providers: [ProviderPolicy(id: "p", breaker: breaker, retry: RetryPolicy(attempts: 5))], bands: Bench.plainBands
      ))
    let id = bench.submit()
    for _ in 0..<5 {
      bench.settle(id, .failed(), answer: true)
      bench.run(for: .seconds(25))
    }
    // And what its SDK sends again.
    let again = bench.submit(retries: 1)
    bench.settle(again, .failed(), answer: true, again: false)
    #expect(bench.conclusions.count == 2)
    #expect(bench.core.snapshot(at: bench.now).providers[0].breaker.state == .closed)
    let other = bench.submit(session: "b")
    bench.settle(other, .failed(), answer: true, again: false)
    #expect(bench.core.snapshot(at: bench.now).providers[0].breaker.state == .open)
  }
}
