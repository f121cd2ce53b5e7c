// Other rules while requests wait and run: what is known stays known where it is still about the same thing, and nobody waits for what
// is no longer in the way.
import Testing

@testable import AdmissionCore

@Suite struct AdmissionReloadTests {
  private static func policy(
    _ keys: [KeyPolicy], quota: Quota = .shared, others: [ProviderPolicy] = []
  ) -> AdmissionPolicy {
    AdmissionPolicy(providers: [ProviderPolicy(id: "p", keys: keys, quota: quota)] + others, bands: Bench.plainBands)
  }

  private func key(_ bench: Bench, _ id: KeyID) throws -> AdmissionSnapshot.Key {
    try #require(bench.core.snapshot(at: bench.now).providers[0].keys.first { $0.id == id })
  }

  // MARK: Rotation

  /// A planned rotation with overlap: the rules are installed again when a key's day comes, and name nobody's predecessor then.
  @Test func whatASecretHasGoesOnUnderItsOtherName() throws {
    func rotated(_ generation: Int, isFirst: Bool) -> AdmissionPolicy {
      var old = KeyPolicy(id: "main-old", secretGeneration: generation - 1)
      if isFirst { old.predecessor = "main" }
      return Self.policy([KeyPolicy(id: "main", secretGeneration: generation), old])
    }
    var bench = Bench(Self.policy([KeyPolicy(id: "main")]))
    for number in 0..<3 { bench.submit(session: SessionID("\(number)")) }
    for isFirst in [true, false, false] {
      bench.send(.policyReplaced(rotated(1, isFirst: isFirst)))
      #expect(try key(bench, "main-old").inFlight == 3)
      #expect(try key(bench, "main").inFlight == 0)
    }
    bench.send(.operatorCommanded(.disableKey("p", "main-old")))
    bench.send(.policyReplaced(rotated(1, isFirst: false)))
    #expect(try key(bench, "main-old").state == .disabled)
    #expect(try key(bench, "main").state == .usable)
    // Another rotation: what main is now becomes the old one.
    let second = bench.submit(session: "second")
    #expect(bench.grant(second)?.key == "main")
    for isFirst in [true, false] {
      bench.send(.policyReplaced(rotated(2, isFirst: isFirst)))
      #expect(try key(bench, "main-old").inFlight == 1)
      #expect(try key(bench, "main-old").state == .usable)
      #expect(try key(bench, "main").inFlight == 0)
    }
  }

  /// And back, with nothing installed between: the generations are the same each time.
  @Test func secretsThatChangeTheirNamesChangeThemEachTime() throws {
    func swapped() -> AdmissionPolicy {
      var keys = [KeyPolicy(id: "a"), KeyPolicy(id: "b")]
      keys[0].predecessor = "b"
      keys[1].predecessor = "a"
      return Self.policy(keys)
    }
    var bench = Bench(Self.policy([KeyPolicy(id: "a"), KeyPolicy(id: "b")]))
    bench.send(.operatorCommanded(.disableKey("p", "a")))
    for disabled in ["b", "a", "b"] as [KeyID] {
      bench.send(.policyReplaced(swapped()))
      #expect(try key(bench, disabled).state == .disabled)
      #expect(try key(bench, disabled == "a" ? "b" : "a").state == .usable)
    }
  }

  // MARK: Refusals

  @Test func whoWasToldToSlowDownGoesWhereNewRoutesLetIt() {
    let q = ProviderPolicy(id: "q")
    var bench = Bench(Self.policy([], others: [q]))
    let told = bench.submit()
    bench.settle(told, .throttled(retryAfter: .seconds(60)), answer: true)
    #expect(bench.core.waiting.heldBack.count == 1)
    bench.send(.policyReplaced(Self.policy([], others: [q]), candidates: [told: [Candidate(provider: "q")]]))
    #expect(bench.grant(told)?.provider == "q" && bench.grant(told)?.attempt == 2)
    #expect(bench.core.waiting.heldBack.isEmpty)
  }

  @Test(arguments: [false, true]) func whatAKeyWasToldToWaitForEndsWithTheOperatorsWordOrANewSecret(
    _ isByOperator: Bool
  )
    throws
  {
    var bench = Bench(Self.policy([KeyPolicy(id: "a")], quota: .perKey))
    let told = bench.submit(session: "told", model: "x")
    bench.settle(told, .throttled(retryAfter: .seconds(3600)), answer: true)
    let waiting = bench.submit(session: "waiting", model: "x")
    #expect(!bench.isGranted(waiting))
    #expect(try key(bench, "a").state == .cooling)
    if isByOperator {
      bench.send(.operatorCommanded(.enableKey("p", "a")))
    } else {
      bench.send(.policyReplaced(Self.policy([KeyPolicy(id: "a", secretGeneration: 1)], quota: .perKey)))
    }
    #expect(try key(bench, "a").state == .usable)
    #expect(try key(bench, "a").models.isEmpty)
    #expect(bench.isGranted(waiting) && bench.grant(told)?.attempt == 2)
  }

  @Test func aLateWordAboutTheSecretOfBeforeShutsNothing() throws {
    var bench = Bench(Self.policy([KeyPolicy(id: "a")], quota: .perKey))
    let late = bench.submit(session: "late", model: "x")
    let refused = bench.submit(session: "refused", model: "y")
    bench.send(.policyReplaced(Self.policy([KeyPolicy(id: "a", secretGeneration: 1)], quota: .perKey)))
    bench.settle(late, .throttled(retryAfter: .seconds(3600)), answer: true)
    bench.settle(refused, .modelRefused(), answer: true)
    #expect(bench.grant(late)?.attempt == 2)
    #expect(try key(bench, "a").models.isEmpty && key(bench, "a").state == .usable)
  }

  @Test func aNewSecretForgetsWhatItsAccountHadForLimits() throws {
    var bench = Bench(Self.policy([KeyPolicy(id: "a")], quota: .perKey))
    let id = bench.submit()
    let lease = try #require(bench.grant(id)?.lease)
    bench.send(.limitsObserved(lease, ObservedLimits(readings: [.init(dimension: .requests, limit: 2, remaining: 0)])))
    let waiting = bench.submit(session: "b")
    #expect(!bench.isGranted(waiting))
    bench.send(.policyReplaced(Self.policy([KeyPolicy(id: "a", secretGeneration: 1)], quota: .perKey)))
    #expect(bench.core.snapshot(at: bench.now).providers[0].learned.isEmpty)
    #expect(bench.isGranted(waiting))
  }

  /// The key that refused it has another secret, or is another key in the same place.
  @Test(arguments: [
    [KeyPolicy(id: "a", secretGeneration: 1), KeyPolicy(id: "b", limits: Limits(concurrency: 1))],
    [KeyPolicy(id: "c"), KeyPolicy(id: "b", limits: Limits(concurrency: 1))], [KeyPolicy(id: "c")],
  ]) func aRefusalIsOneSecretsAlone(_ keys: [KeyPolicy]) {
    let before = [KeyPolicy(id: "a"), KeyPolicy(id: "b", limits: Limits(concurrency: 1))]
    var bench = Bench(Self.policy(before))
    for number in 0..<64 where bench.grants.last?.key != "b" {
      let id = bench.submit(session: SessionID("\(number)"))
      if bench.grant(id)?.key != "b" { bench.settle(id) }
    }
    #expect(bench.grants.last?.key == "b")
    let refused = bench.submit(session: "refused")
    bench.settle(refused, .keyRefused, answer: true)
    #expect(bench.outcome(refused) == nil && bench.grant(refused)?.attempt == 1)
    // The same keys: it goes on waiting for b.
    bench.send(.policyReplaced(Self.policy(before)))
    #expect(bench.outcome(refused) == nil && bench.grant(refused)?.attempt == 1)
    bench.send(.policyReplaced(Self.policy(keys)))
    #expect(bench.outcome(refused) == nil)
    #expect(bench.grant(refused)?.attempt == 2 && bench.grant(refused)?.key == keys[0].id)
  }

  // MARK: Backoff

  /// Routes are looked up anew when any model gets an entry of its own: whose answer named a time waits for it all the same.
  @Test func aBackoffOutlastsOtherModelsAndReloads() {
    let q = ProviderPolicy(id: "q", limits: Limits(concurrency: 1))
    var bench = Bench(Self.policy([], others: [q]))
    let full = bench.submit(session: "full", to: ["q"])
    let failed = bench.submit(session: "failed", to: ["p", "q"])
    let begun = bench.submit(session: "begun", to: ["p"], model: "other")
    bench.settle(failed, .failed(retryAfter: .seconds(30)), answer: true)
    bench.settle(begun, .throttled(retryAfter: .seconds(1)), answer: true)
    bench.send(.policyReplaced(Self.policy([], others: [q])))
    #expect(bench.grant(failed)?.attempt == 1)
    bench.run(for: Span(nanoseconds: 29_999_999_999))
    #expect(bench.grant(failed)?.attempt == 1)
    bench.run(for: Span(nanoseconds: 1))
    #expect(bench.grant(failed)?.provider == "p" && bench.grant(failed)?.attempt == 2)
    bench.settle(full)
  }

  /// What failed is remembered by its provider, wherever that stands in the new order.
  @Test(arguments: [["q", "p"], ["p", "q"], ["r", "q", "p"]] as [[ProviderID]])
  func aFailureIsNotedWhereItFailed(_ anew: [ProviderID]) {
    let others = [ProviderPolicy(id: "q"), ProviderPolicy(id: "r", limits: Limits(concurrency: 0))]
    for isWaiting in [false, true] {
      var bench = Bench(Self.policy([], others: others))
      let candidates = anew.map { Candidate(provider: $0) }
      let id = bench.submit(to: ["p", "r"])
      #expect(bench.grant(id)?.provider == "p")
      if isWaiting {
        bench.settle(id, .failed(retryAfter: .seconds(30)), answer: true)
        #expect(bench.grant(id)?.attempt == 1)
      }
      bench.send(.policyReplaced(Self.policy([], others: others), candidates: [id: candidates]))
      if !isWaiting { bench.settle(id, .failed(retryAfter: .seconds(30)), answer: true) }
      #expect(bench.grant(id)?.provider == "q" && bench.grant(id)?.attempt == 2, "\(isWaiting)")
    }
  }

  /// A provider that is away for one key is not for another, wherever it stands in the new order.
  @Test(arguments: [["p"], ["q", "p"], ["p", "q"]] as [[ProviderID]])
  func anotherKeyIsTriedWhereTheCallFailed(_ anew: [ProviderID]) throws {
    let policy = Self.policy(
      [KeyPolicy(id: "a"), KeyPolicy(id: "b")], quota: .perKey,
      others: [ProviderPolicy(id: "q", limits: Limits(concurrency: 0))])
    var bench = Bench(policy)
    let id = bench.submit(to: ["p"])
    let first = try #require(bench.grant(id))
    bench.send(.policyReplaced(policy, candidates: [id: anew.map { Candidate(provider: $0) }]))
    bench.settle(id, .failed(retryAfter: .seconds(60), isAway: true), answer: true)
    bench.run(for: .seconds(10))
    let second = try #require(bench.grant(id))
    #expect(second.provider == "p" && second.attempt == 2 && second.key != first.key)
  }
}
