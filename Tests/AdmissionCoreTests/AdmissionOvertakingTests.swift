// Rule 3f: a small call that comes while a large one gathers tokens goes before it; all such calls together take less
// than an eighth of what the large one needs.
import Testing

@testable import AdmissionCore

@Suite struct AdmissionOvertakingTests {
  private static let limit: Int64 = 60_000

  /// A provider of 1,000 tokens a second, of whose minute 4,000 are left, and a request of 40,000 that gathers.
  private func gathering(
    _ priority: Priority = .normal, limits: Limits = Limits(inputTokensPerMinute: limit), keys: [KeyPolicy] = [],
    quota: Quota = .shared, tenants: [TenantPolicy] = []
  ) -> (bench: Bench, first: RequestID, large: RequestID) {
    var bench = Bench(
      AdmissionPolicy(
        providers: [ProviderPolicy(id: "p", limits: limits, keys: keys, quota: quota)], bands: Bench.plainBands,
        tenants: tenants))
    let first = bench.submit(priority, session: "first", input: Self.limit - 4000)
    #expect(bench.isGranted(first))
    let large = bench.submit(priority, session: "large", input: 40_000)
    #expect(!bench.isGranted(large))
    return (bench, first, large)
  }

  @Test func aSmallCallGoesFirst() {
    var (bench, _, large) = gathering()
    let small = bench.submit(session: "small", input: 200)
    #expect(bench.isGranted(small))
    #expect(!bench.isGranted(large))
    // It delays the large one by what it has taken.
    bench.run(for: .milliseconds(36_199))
    #expect(!bench.isGranted(large))
    bench.run(for: .milliseconds(1))
    #expect(bench.isGranted(large))
  }

  /// An eighth of 40,000.
  @Test(arguments: [(4999, true), (5000, false), (5001, false)])
  func itIsSmall(_ input: Int64, _ goes: Bool) {
    var (bench, _, _) = gathering()
    bench.run(for: .seconds(2))
    let small = bench.submit(session: "small", input: input)
    #expect(bench.isGranted(small) == goes)
  }

  @Test(arguments: [(4999, true), (5000, false)])
  func theyTakeLessThanAnEighthTogether(_ sum: Int64, _ goes: Bool) {
    var (bench, _, large) = gathering()
    bench.run(for: .seconds(4))
    for number in 0..<4 {
      let small = bench.submit(session: SessionID("small\(number)"), input: 1000)
      #expect(bench.isGranted(small))
    }
    let last = bench.submit(session: "last", input: sum - 4000)
    #expect(bench.isGranted(last) == goes)
    // None is left for the smallest.
    let smallest = bench.submit(session: "smallest", input: 2)
    #expect(bench.isGranted(smallest) == !goes)
    bench.run(for: .seconds(36 + 5))
    #expect(bench.isGranted(large))
    #expect(bench.isGranted(last) && bench.isGranted(smallest))
  }

  /// However many come, it waits an eighth longer at most.
  @Test func theLargeOneDoesNotStarve() {
    var (bench, _, large) = gathering()
    var overtaking = 0
    for number in 0..<400 {
      let small = bench.submit(session: SessionID("small\(number)"), input: 100)
      if bench.isGranted(small) { overtaking += 1 }
      bench.run(for: .milliseconds(100))
    }
    #expect(overtaking == 49)
    bench.run(for: .milliseconds(900))
    #expect(bench.isGranted(large))
  }

  @Test(arguments: [(Priority.high, true), (.normal, true), (.low, false)])
  func nobodyOvertakesAHigherClass(_ priority: Priority, _ goes: Bool) {
    var (bench, _, _) = gathering()
    let small = bench.submit(priority, session: "small", input: 200)
    #expect(bench.isGranted(small) == goes)
  }

  /// A call of the class above waits as well: it goes before the small one.
  @Test func nobodyOvertakesWhileAHigherClassWaits() {
    var (bench, _, large) = gathering()
    let higher = bench.submit(.high, session: "higher", input: 30_000)
    let small = bench.submit(session: "small", input: 200)
    #expect(!bench.isGranted(higher) && !bench.isGranted(large) && !bench.isGranted(small))
  }

  /// A class that gathers in its floor turn keeps its tokens from the class above, but for an eighth.
  @Test func aSteerOvertakesAFloorTurn() {
    var bands = Priority.allCases.map(BandPolicy.standard)
    for index in bands.indices { bands[index].reserve = .share(basisPoints: 0) }
    bands[1].shareBasisPoints = 5000
    var bench = Bench(
      AdmissionPolicy(
        providers: [ProviderPolicy(id: "p", limits: Limits(inputTokensPerMinute: Self.limit))], bands: bands))
    let first = bench.submit(.high, session: "first", input: Self.limit - 1000)
    let large = bench.submit(.normal, session: "large", input: 10_000)
    // These credit the class of the large one until that is covered.
    let second = bench.submit(.high, session: "second", input: 30_000)
    bench.run(for: .seconds(29))
    #expect(bench.isGranted(first) && bench.isGranted(second) && !bench.isGranted(large))
    bench.run(for: .seconds(5))
    let other = bench.submit(.high, session: "other", input: 3000)
    let steer = bench.submit(.high, session: "steer", input: 200)
    #expect(!bench.isGranted(other) && bench.isGranted(steer) && !bench.isGranted(large))
    bench.run(for: .milliseconds(5200))
    #expect(bench.isGranted(large))
  }

  /// The last permit is kept for the large one.
  @Test(arguments: [(2, false), (3, true)])
  func itTakesNoPermitThatTheLargeOneNeeds(_ permits: Int, _ goes: Bool) {
    var (bench, _, _) = gathering(limits: Limits(concurrency: permits, inputTokensPerMinute: Self.limit))
    let small = bench.submit(session: "small", input: 200)
    #expect(bench.isGranted(small) == goes)
  }

  /// Requests are short too, and one call is the whole of what it needs of them.
  @Test func itTakesNothingElseThatTheLargeOneGathers() {
    var (bench, _, _) = gathering(limits: Limits(requestsPerMinute: 2, inputTokensPerMinute: Self.limit))
    let small = bench.submit(session: "small", input: 200)
    #expect(!bench.isGranted(small))
  }

  @Test func inItsOwnSessionNobodyOvertakes() {
    var (bench, _, _) = gathering()
    let small = bench.submit(session: "large", input: 200)
    #expect(!bench.isGranted(small))
  }

  @Test func whoIsAtItsTenantsLimitDoesNotOvertake() {
    var (bench, _, _) = gathering(tenants: [
      TenantPolicy(id: "t"), TenantPolicy(id: "u", limits: Limits(concurrency: 1)),
    ])
    let one = bench.submit(tenant: "u", session: "small", input: 200)
    let two = bench.submit(tenant: "u", session: "small2", input: 200)
    #expect(bench.isGranted(one) && !bench.isGranted(two))
  }

  /// Where each key has its own quota, the large one gathers at all of them.
  @Test func atEachKey() {
    var (bench, _, large) = gathering(keys: [KeyPolicy(id: "a")], quota: .perKey)
    let small = bench.submit(session: "small", input: 200)
    #expect(bench.isGranted(small) && !bench.isGranted(large))
    let tooMuch = bench.submit(session: "more", input: 6000)
    #expect(!bench.isGranted(tooMuch))
  }

  /// The bucket of a model.
  @Test func atAModelsLimit() {
    var bench = Bench(
      AdmissionPolicy(
        providers: [
          ProviderPolicy(
            id: "p", modelLimits: [ModelLimits(models: "m*", limits: Limits(inputTokensPerMinute: Self.limit))])
        ], bands: Bench.plainBands))
    let first = bench.submit(session: "first", model: "m1", input: Self.limit - 4000)
    let large = bench.submit(session: "large", model: "m1", input: 40_000)
    let small = bench.submit(session: "small", model: "m1", input: 200)
    let sibling = bench.submit(session: "sibling", model: "m2", input: 200)
    let tooMuch = bench.submit(session: "more", model: "m1", input: 6000)
    #expect(bench.isGranted(first) && bench.isGranted(small) && bench.isGranted(sibling))
    #expect(!bench.isGranted(large) && !bench.isGranted(tooMuch))
  }

  /// Overtaking is paid for: the tenant's next turn comes later.
  @Test func overtakingCountsInTheOrderOfTurns() {
    var (bench, first, large) = gathering(tenants: [TenantPolicy(id: "t"), TenantPolicy(id: "u")])
    let small = bench.submit(tenant: "u", session: "small", input: 3000)
    #expect(bench.isGranted(small))
    bench.settle(small)
    bench.settle(first)
    // Both tenants wait for the whole bucket now. `u` has had 3,000 more than one that comes new.
    let mine = bench.submit(tenant: "u", session: "u", input: 50_000)
    let other = bench.submit(tenant: "v", session: "v", input: 50_000)
    bench.run(for: .seconds(300))
    #expect(bench.isGranted(large) && bench.isGranted(mine) && bench.isGranted(other))
    #expect(bench.order.firstIndex(of: other.low) ?? 99 < bench.order.firstIndex(of: mine.low) ?? 0)
  }
}
