// What the snapshot tells of the queue and of the buckets, against a count over everything after each event of seeded runs, and by small examples.
import PolicyLab
import Testing
import TollgateTesting

@testable import AdmissionCore

/// Reports a bug of its own where the counters that are kept on the way differ from a count.
private struct Recounts: AdmissionSubject {
  var core: Admission
  init(policy: AdmissionPolicy, seed: UInt64, at now: Instant) {
    core = Admission(policy: policy, seed: seed, at: now)
  }
  var nextDeadline: Instant? { core.nextDeadline }
  func snapshot(at now: Instant) -> AdmissionSnapshot { core.snapshot(at: now) }

  mutating func handle(_ event: AdmissionEvent, at now: Instant, into actions: inout ActionList) {
    core.handle(event, at: now, into: &actions)
    if !isRight(core.snapshot(at: now)) { actions.append(.note(.ourBug(.staleHead))) }
  }

  private func isRight(_ snapshot: AdmissionSnapshot) -> Bool {
    let waiting = core.waiting.inOrder.sorted(by: core.waiting.isBefore)
    func first(_ isWanted: (Request) -> Bool) -> RequestIndex? { waiting.first { isWanted(core.waiting[$0]) } }
    func provider(of request: Request) -> ProviderIndex? { core.providers.routes[request.route].legs.first?.provider }
    for (band, queue) in snapshot.classes.enumerated() {
      let oldest = first { $0.band == band && provider(of: $0) != nil }.map { core.waiting[$0] }
      guard queue.oldest == oldest?.ticket.id, queue.waitingSince == oldest?.queuedSince,
        queue.queued == snapshot.queuedByBand[band]
      else { return false }
    }
    for said in snapshot.providers {
      guard let index = core.providers.index(of: said.id) else { return false }
      for band in 0..<3 {
        let oldest = first { $0.band == band && provider(of: $0) == index }
        guard said.waitingSince[band] == oldest.map({ core.waiting[$0].queuedSince }) else { return false }
      }
      let leases = core.leases.indices.map { core.leases[$0] }.filter { $0.placement.provider == index }
      func agree(_ buckets: [AdmissionSnapshot.Bucket], _ taken: [TakenUnits]) -> Bool {
        buckets.allSatisfy { bucket in
          bucket.inUse == taken.reduce(0) { $0 + $1[Int(bucket.rate.rawValue)] }
            && (bucket.fullAt == nil) == (bucket.available >= bucket.capacity)
        }
      }
      guard agree(said.buckets, leases.map(\.takenFromProvider)) else { return false }
      for key in said.keys {
        let own = leases.filter {
          $0.placement.key.map { core.providers[index].keys[$0].policy.id } == key.id
        }
        guard agree(key.buckets, own.map(\.takenFromKey)) else { return false }
      }
      for model in said.models {
        let own = leases.filter {
          $0.placement.model.map { core.providers[index].models[$0].pattern.pattern } == model.pattern
            && $0.placement.model.map { core.providers[index].models[$0].name == nil } ?? false
        }
        guard agree(model.buckets, own.map(\.takenFromModel)) else { return false }
      }
    }
    for said in snapshot.tenants {
      guard let index = core.tenants.index(of: said.id) else { return false }
      let leases = core.leases.indices.map { core.leases[$0] }.filter { $0.request.tenant == index }
      for bucket in said.buckets
      where bucket.inUse != leases.reduce(0, { $0 + $1.takenFromTenant[Int(bucket.rate.rawValue)] }) { return false }
      let oldest = first { $0.tenant == index }
      guard said.waitingSince == oldest.map({ core.waiting[$0].queuedSince }) else { return false }
    }
    return true
  }
}

@Suite struct SnapshotTests {
  @Test(arguments: [
    (UInt64(0), UInt64(60), 12), (20_000, 2, 80), (ScenarioGenerator.firstAilingSeed, 40, 12),
    (ScenarioGenerator.firstThriftySeed, 20, 12), (ScenarioGenerator.firstMisjudgedSeed, 20, 24),
    (ScenarioGenerator.firstShiftingSeed, 60, 12), (ScenarioGenerator.firstCachedSeed, 30, 30),
  ])
  func countersAgreeWithACountOverEverything(first: UInt64, count: UInt64, size: Int) {
    let broken = (first..<first + count).compactMap { seed -> String? in
      let scenario = ScenarioGenerator.scenario(seed: seed, size: size)
      let result = Simulation<Recounts>.run(scenario, checkers: InvariantCheckers.all())
      return result.violations.first.map { "seed \(seed): \($0)" }
    }
    #expect(broken.isEmpty, "\(broken)")
  }

  @Test func aBucketTellsWhatRunsWhatIsKeptAndWhenItIsFull() throws {
    var bands = Priority.allCases.map(BandPolicy.standard)
    bands[0].reserve = .share(basisPoints: 1000)
    bands[1].reserve = .share(basisPoints: 500)
    var bench = Bench(limits: Limits(concurrency: 10, tokensPerMinute: 60_000), bands: bands)
    let call = bench.submit(.low, input: 5000, cap: 1000)
    var provider = try #require(bench.core.snapshot(at: bench.now).providers.first)
    var bucket = try #require(provider.buckets.first)
    #expect(bucket.inUse == bucket.capacity - bucket.available && bucket.inUse > 5000)
    #expect(bucket.kept == [6000, 3000, 0] && bucket.perMinute == 60_000)
    #expect(bucket.fullAt == bench.now + .milliseconds(bucket.inUse))
    #expect(provider.reservedPermits == [1, 0, 0] && provider.policyConcurrency == 10)
    #expect(provider.learnedConcurrency == nil)

    bench.submit(.high)
    provider = try #require(bench.core.snapshot(at: bench.now).providers.first)
    #expect(provider.reservedPermits == [0, 0, 0], "a call of the class has taken it")

    bench.settle(call, input: 100, output: 0)
    bucket = try #require(bench.core.snapshot(at: bench.now).providers.first?.buckets.first)
    #expect(bucket.inUse == 100, "only the other call runs")
  }

  @Test func keysOfTheirOwnTellTheirLimits() throws {
    let provider = ProviderPolicy(
      id: "p", limits: Limits(concurrency: 2, requestsPerMinute: 60),
      keys: [KeyPolicy(id: "a", limits: Limits(concurrency: 1)), KeyPolicy(id: "b")], quota: .perKey)
    let bench = Bench(AdmissionPolicy(providers: [provider], bands: Bench.plainBands))
    let said = try #require(bench.core.snapshot(at: bench.now).providers.first)
    #expect(said.concurrencyLimit == nil && said.policyConcurrency == 2)
    #expect(said.keys.map(\.concurrencyLimit) == [1, 2])
    #expect(said.keys.map { $0.buckets.map(\.perMinute) } == [[60], [60]])
  }

  /// A key that is full is no key that cannot be used.
  @Test func fullKeysAreNotUnusable() {
    func blocker(_ quota: Quota, _ limits: Limits, calls: Int) -> Blocker? {
      let provider = ProviderPolicy(
        id: "p", keys: [KeyPolicy(id: "a", limits: limits), KeyPolicy(id: "b", limits: limits)], quota: quota)
      var bench = Bench(AdmissionPolicy(providers: [provider], bands: Bench.plainBands))
      for _ in 0..<calls { bench.submit(session: SessionID("\(bench.grants.count)"), input: 600) }
      let last = bench.submit(session: "last", input: 600)
      return bench.core.blocker(of: last, at: bench.now)
    }
    for quota in [Quota.shared, .perKey] {
      #expect(blocker(quota, Limits(concurrency: 1), calls: 2) == .keyConcurrency("p"))
      #expect(
        blocker(quota, Limits(inputTokensPerMinute: 1000), calls: 2) == .keyBucket("p", .inputTokens))
    }
    var bench = Bench(
      AdmissionPolicy(
        providers: [ProviderPolicy(id: "p", keys: [KeyPolicy(id: "a")])], bands: Bench.plainBands))
    bench.send(.operatorCommanded(.disableKey("p", "a")))
    let call = bench.submit()
    #expect(bench.outcome(call) == .rejectedNoCapacity)
    #expect(bench.conclusions.last?.blocker == .noUsableKey("p"))
  }

  @Test func theOldestOfEachClassIsFoundAmongManyThatComeAndGo() {
    var bench = Bench(limits: Limits(concurrency: 1), bands: Bench.plainBands)
    bench.submit()
    let low = (0..<5).map { _ in
      bench.pass(.seconds(1))
      return bench.submit(.low)
    }
    var queue: AdmissionSnapshot.ClassQueue { bench.core.snapshot(at: bench.now).classes[2] }
    #expect(queue.oldest == low[0] && queue.queued == 5)
    bench.send(.cancelled(low[0]))
    bench.send(.cancelled(low[2]))
    #expect(queue.oldest == low[1] && queue.waitingSince == Instant(nanoseconds: 3_000_000_000))
    for call in low { bench.send(.cancelled(call)) }
    #expect(queue.oldest == nil && queue.waitingSince == nil && queue.queued == 0)
  }
}
