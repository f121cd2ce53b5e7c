// What the broker promises (steering, order, tokens, fairness, leaving), measured in virtual time with the core.
import AdmissionCore
import Testing

@testable import PolicyLab
@testable import TollgateTesting

/// What the broker promises to its users, measured in virtual time with the real core.
@Suite struct SimulationFiguresTests {
  private let start = Instant(nanoseconds: 0)
  private func at(_ seconds: Int64) -> Instant { Instant(nanoseconds: seconds * 1_000_000_000) }
  private let exact: ClosedRange<Span> = .milliseconds(400) ... .milliseconds(400)

  private func waits(_ result: SimulationResult, _ priority: Priority) -> [Int64] {
    result.requests.filter { $0.priority == priority }.compactMap(\.queued).map(\.nanoseconds).sorted()
  }

  private func background(_ sessions: Int, _ priority: Priority = .normal) -> [ClientScript] {
    (0..<sessions).map { number in
      ClientScript(
        session: SessionID("background-\(number)"), priority: priority, route: ["alpha"], requests: 100_000,
        pacing: .closed(parallel: 1, think: .zero ... .zero), execute: exact, input: 100...100)
    }
  }

  // MARK: Steer

  /// 50 permits, 50 background sessions back to back with calls of 0.4 s, a high call every 100 ms: the highs do not
  /// wait, and the
  /// background keeps at least 97 % of what reserve and highs leave.
  @Test(arguments: [Priority.normal, .low]) func steeringDoesNotWaitAndTheBackgroundKeepsItsShare(_ priority: Priority)
    throws
  {
    let policy = AdmissionPolicy(
      providers: [ProviderPolicy(id: "alpha", limits: Limits(concurrency: 50), learnLimits: false)])
    let steer = ClientScript(
      session: "user", priority: .high, route: ["alpha"], start: Instant(nanoseconds: 50_000_000), requests: 100_000,
      pacing: .open(every: .milliseconds(100) ... .milliseconds(100), burst: 1), execute: exact, input: 100...100)
    let scenario = Scenario(seed: 1, policy: policy, clients: background(50, priority) + [steer], horizon: at(30))
    let result = Simulation<Admission>.run(scenario, checkers: [], snapshotEvery: 0)
    let high = waits(result, .high)
    let p99 = try #require(WorkloadReport.quantile(high, 99))
    #expect(high.count >= 299)
    #expect(p99 <= 2_000_000, "p99 \(p99) ns, worst \(high.last ?? -1) ns")
    #expect(result.refusals == 0)
    // 5 of 50 permits are kept for the highs, who use 4 of them.
    let kept = result.requests.count { $0.priority == priority && ($0.grantedAt ?? at(99)) < at(30) }
    let left = 45.0 * 30 / 0.4
    #expect(Double(kept) >= 0.97 * left, "\(kept) of \(left)")
  }

  // MARK: Order

  private func batch(_ count: Int, _ priority: Priority) -> ClientScript {
    ClientScript(
      session: SessionID(priority.name), priority: priority, route: ["alpha"], start: Instant(nanoseconds: 1_000_000),
      requests: count, pacing: .open(every: .seconds(3000) ... .seconds(3000), burst: count), execute: exact,
      input: 100...100)
  }

  private func fourPermits() -> AdmissionPolicy {
    AdmissionPolicy(providers: [ProviderPolicy(id: "alpha", limits: Limits(concurrency: 4), learnLimits: false)])
  }

  @Test func highGoesBeforeNormalBeforeLow() {
    // Four calls hold the permits while the queues fill, lows first.
    let holders = batch(4, .high)
    var clients = [batch(120, .low), batch(20, .normal), batch(20, .high)]
    for index in clients.indices { clients[index].start = Instant(nanoseconds: Int64(index + 2) * 1_000_000) }
    var policy = fourPermits()
    for index in policy.bands.indices { policy.bands[index].shareBasisPoints = 0 }
    let scenario = Scenario(seed: 1, policy: policy, clients: [holders] + clients, horizon: at(60))
    let result = Simulation<Admission>.run(scenario)
    #expect(result.violations.isEmpty, "\(result.violations)")
    let order = result.requests.filter { $0.client > 0 }.sorted {
      ($0.grantedAt ?? at(999)) < ($1.grantedAt ?? at(999))
    }
    #expect(order.prefix(20).allSatisfy { $0.priority == .high })
    #expect(order.dropFirst(20).prefix(20).allSatisfy { $0.priority == .normal })
    #expect(order.dropFirst(40).allSatisfy { $0.priority == .low } && order.count == 160)
  }

  /// With high traffic that never ends, low gets its 5 %, to within one request, and high the rest.
  @Test func lowGetsExactlyItsFloorShareUnderEndlessHigh() {
    let endless = ClientScript(
      session: "endless", priority: .high, route: ["alpha"], requests: 100_000,
      pacing: .closed(parallel: 12, think: .zero ... .zero), execute: .milliseconds(100) ... .milliseconds(100),
      input: 100...100)
    var low = batch(400, .low)
    low.execute = .milliseconds(100) ... .milliseconds(100)
    var policy = fourPermits()
    policy.bands[0].promoteAfter = .seconds(3600)
    policy.bands[2].promoteAfter = .seconds(3600)
    let scenario = Scenario(seed: 1, policy: policy, clients: [endless, low], horizon: at(100))
    let result = Simulation<Admission>.run(scenario, checkers: [], snapshotEvery: 0)
    let until = at(100)
    let granted = result.requests.filter { ($0.grantedAt ?? at(999)) < until }
    let lows = granted.count { $0.priority == .low }
    #expect(granted.count >= 3990)
    #expect(abs(Double(lows) - 0.05 * Double(granted.count)) <= 1, "\(lows) of \(granted.count)")
  }

  // MARK: Tokens

  private func thirsty(_ priority: Priority, count: Int, mode: AdmissionTokens, every: Span) -> [ClientScript] {
    (0..<count).map { number in
      ClientScript(
        session: SessionID("\(priority.name)-\(number)"), priority: priority, route: ["alpha"],
        start: Instant(nanoseconds: Int64(number) * 37_000_000), requests: 100_000,
        pacing: .open(
          every: Span(nanoseconds: every.nanoseconds / 2)...Span(nanoseconds: every.nanoseconds * 3 / 2), burst: 1),
        execute: .milliseconds(300) ... .seconds(3), input: number % 4 == 3 ? 10_000...40_000 : 300...6000,
        output: 20...500, outputCap: mode == .maxTokens ? 600 : nil)
    }
  }

  /// Three times the enforced budget, mixed sizes, a fifth high: hardly a refusal, the budget used, nobody sent away
  /// early.
  @Test(arguments: [AdmissionTokens.produced, .maxTokens]) func aThirstyFleetUsesItsTokensAndIsNotRefused(
    _ mode: AdmissionTokens
  ) {
    let budget: Int64 = 1_000_000
    var limits = Limits(concurrency: 200)
    if mode == .produced {
      limits.inputTokensPerMinute = budget
      limits.outputTokensPerMinute = 200_000
    } else {
      limits.tokensPerMinute = budget
    }
    let policy = AdmissionPolicy(
      providers: [ProviderPolicy(id: "alpha", limits: limits, admissionTokens: mode, learnLimits: false)])
    // A mean call is 8,600 tokens; 20 sources at one in 3.4 s are three million tokens a minute.
    let every = Span.milliseconds(3440)
    let clients =
      thirsty(.high, count: 4, mode: mode, every: every) + thirsty(.normal, count: 12, mode: mode, every: every)
      + thirsty(.low, count: 4, mode: mode, every: every)
    let seconds: Int64 = 180
    let scenario = Scenario(
      seed: 5, policy: policy, clients: clients, horizon: at(seconds), expectations: .init(noRefusals: false))
    let result = Simulation<Admission>.run(scenario, checkers: [], snapshotEvery: 0)
    #expect(Double(result.refusals) < 0.001 * Double(result.grants), "\(result.refusals) of \(result.grants)")
    let early = result.requests.filter { $0.outcome != .completed && $0.outcome != .evictedMaxWait }
    #expect(early.isEmpty, "\(early.count), the first \(early.first.map { "\($0)" } ?? "")")
    let used = result.requests.reduce(Int64(0)) { sum, request in
      (request.grantedAt ?? at(9999)) < at(seconds) ? sum + request.tokens : sum
    }
    let available = Double(budget) * (1 + Double(seconds) / 60)
    let share = Double(used) / available
    #expect(share >= 0.95, "\(share)")
  }

  // MARK: Fairness

  private func saturating(
    _ tenant: TenantID, _ session: SessionID, parallel: Int, input: ClosedRange<Int64> = 50...500
  ) -> ClientScript {
    ClientScript(
      tenant: tenant, session: session, priority: .normal, route: ["alpha"], requests: 100_000,
      pacing: .closed(parallel: parallel, think: .zero ... .zero),
      execute: .milliseconds(50) ... .milliseconds(150), input: input)
  }

  private func tokens(_ result: SimulationResult, until: Instant, _ isMember: (SimulationResult.RequestRecord) -> Bool)
    -> Double
  {
    Double(result.requests.reduce(0) { $1.grantedAt.map { $0 < until } == true && isMember($1) ? $0 + $1.tokens : $0 })
  }

  @Test func aTenantWithFiftySessionsAndOneWithOneGetEqualTokens() {
    var policy = AdmissionPolicy(
      providers: [ProviderPolicy(id: "alpha", limits: Limits(concurrency: 10), learnLimits: false)],
      tenants: [TenantPolicy(id: "crowd"), TenantPolicy(id: "solo")])
    for index in policy.bands.indices { policy.bands[index].reserve = .permits(0) }
    let clients =
      (0..<50).map { saturating("crowd", SessionID("c\($0)"), parallel: 1) } + [saturating("solo", "s", parallel: 30)]
    let result = Simulation<Admission>.run(
      Scenario(seed: 2, policy: policy, clients: clients, horizon: at(60)), checkers: [], snapshotEvery: 0)
    let crowd = tokens(result, until: at(60)) { $0.tenant == "crowd" }
    let solo = tokens(result, until: at(60)) { $0.tenant == "solo" }
    #expect(abs(crowd / solo - 1) <= 0.05, "\(crowd) and \(solo)")
  }

  @Test func aSessionWithFiftySubagentsCountsAsOne() {
    var policy = fourPermits()
    for index in policy.bands.indices { policy.bands[index].reserve = .permits(0) }
    let clients =
      [saturating("default", "tree", parallel: 50)]
      + (0..<4).map { saturating("default", SessionID("single-\($0)"), parallel: 8) }
    let result = Simulation<Admission>.run(
      Scenario(seed: 3, policy: policy, clients: clients, horizon: at(60)), checkers: [], snapshotEvery: 0)
    let tree = tokens(result, until: at(60)) { $0.session == "tree" }
    for number in 0..<4 {
      let single = tokens(result, until: at(60)) { $0.session == SessionID("single-\(number)") }
      #expect(abs(tree / single - 1) <= 0.05, "tree \(tree), single \(single)")
    }
  }

  /// Open loads below and above their share, weights, two levels: what each gets is what the max-min oracle gives it.
  @Test(arguments: UInt64(1)...6) func servedTokensFollowTheMaxMinOracle(_ seed: UInt64) {
    var generator = SeededGenerator(seed: seed)
    let seconds: Int64 = 60
    let permits = 4
    // Each call takes a millisecond for each of its tokens, so that capacity in permits is capacity in tokens.
    let capacity = Double(permits) * Double(seconds) * 1000
    var policy = fourPermits()
    policy.tenants = []
    for index in policy.bands.indices {
      policy.bands[index] = BandPolicy(
        reserve: .permits(0), queueLimit: 1_000_000, maxWait: .seconds(36_000), promoteAfter: .seconds(36_000),
        shareBasisPoints: 0)
    }
    var clients: [ClientScript] = []
    var groups: [(weight: Double, demands: [Double])] = []
    for number in 0..<generator.int(2...4) {
      let tenant = TenantID("t\(number)")
      let weight = generator.int(1...4)
      policy.tenants.append(TenantPolicy(id: tenant, weight: weight))
      var demands: [Double] = []
      for session in 0..<generator.int(1...3) {
        let size = generator.int64(100...250)
        let demand = Double(generator.int(5...80)) / 100 * capacity
        let every = Span(nanoseconds: Int64(Double(seconds) * 1e9 * Double(size) / demand))
        clients.append(
          ClientScript(
            tenant: tenant, session: SessionID("t\(number)s\(session)"), priority: .normal, route: ["alpha"],
            requests: 100_000, pacing: .open(every: every...every, burst: 1),
            execute: .milliseconds(size) ... .milliseconds(size), input: size...size))
        demands.append(demand)
      }
      groups.append((Double(weight), demands))
    }
    // Those who would be served after the horizon do not count: the clients stop, and the queue is cut off.
    let scenario = Scenario(
      seed: seed, policy: policy, clients: clients, happenings: [Happening(at: at(seconds), .drainRequested)],
      horizon: at(seconds))
    let result = Simulation<Admission>.run(scenario, checkers: [], snapshotEvery: 0)
    let expected = FairAllocation.maxMin(groups: groups, capacity: capacity)
    for (number, group) in expected.enumerated() {
      for (session, share) in group.enumerated() {
        let served = tokens(result, until: at(seconds)) { $0.session == SessionID("t\(number)s\(session)") }
        #expect(
          abs(served - share) <= 0.025 * capacity,
          "seed \(seed) tenant \(number) session \(session): served \(served), the oracle gives \(share)")
      }
    }
  }

  // MARK: Leaving

  /// Ten thousand clients leave at random moments, queued and running: no permit, unit or byte stays taken.
  @Test func tenThousandWhoLeaveLeakNothing() {
    var left = 0
    var seed: UInt64 = 0
    while left < 10_000, seed < 200 {
      seed += 1
      let policy = AdmissionPolicy(
        providers: [
          ProviderPolicy(
            id: "alpha", limits: Limits(concurrency: 6, inputTokensPerMinute: 900_000), learnLimits: false),
          ProviderPolicy(id: "beta", limits: Limits(concurrency: 3), learnLimits: false),
        ], tenants: [TenantPolicy(id: "acme", limits: Limits(concurrency: 5)), TenantPolicy(id: "blue")])
      let clients = (0..<24).map { number in
        ClientScript(
          tenant: number % 2 == 0 ? "acme" : "blue", session: SessionID("s\(number % 7)"),
          priority: Priority.allCases[number % 3], route: number % 5 == 0 ? ["beta", "alpha"] : ["alpha", "beta"],
          requests: 22, pacing: .closed(parallel: 2, think: .zero ... .milliseconds(50)),
          execute: .milliseconds(20) ... .milliseconds(400), input: 50...900, output: 0...200, outputCap: 200,
          leavePercent: 90, leaveAfter: .zero ... .milliseconds(500))
      }
      let scenario = Scenario(
        seed: seed, policy: policy, clients: clients, horizon: at(600), expectations: .init(noRefusals: false))
      let result = Simulation<Admission>.run(scenario, snapshotEvery: 25)
      #expect(result.violations.isEmpty, "seed \(seed): \(result.violations)")
      left += (result.outcomes[.clientLeftQueued] ?? 0) + (result.outcomes[.clientLeftRunning] ?? 0)
    }
    #expect(left >= 10_000)
  }
}
