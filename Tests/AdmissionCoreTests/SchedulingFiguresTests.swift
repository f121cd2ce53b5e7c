// What a class, a tenant and a session get under every load, measured in virtual time with the real core: beside backlogs that are older than
// every `promote_after`, and with estimates that are worth nothing.
import AdmissionCore
import Testing

@testable import PolicyLab
@testable import TollgateTesting

@Suite struct SchedulingFiguresTests {
  private func at(_ seconds: Int64) -> Instant { Instant(nanoseconds: seconds * 1_000_000_000) }

  private func policy(_ permits: Int, _ change: (inout AdmissionPolicy) -> Void = { _ in }) -> AdmissionPolicy {
    var policy = AdmissionPolicy(
      providers: [ProviderPolicy(id: "alpha", limits: Limits(concurrency: permits), learnLimits: false)])
    change(&policy)
    return policy
  }

  /// What calls of two really cost, in percent of what is expected.
  struct Percents: Sendable, CustomTestStringConvertible {
    var first: Int
    var second: Int
    init(_ first: Int, _ second: Int) { (self.first, self.second) = (first, second) }
    var testDescription: String { "\(first) % and \(second) %" }
  }

  // MARK: An old backlog

  /// The usual policy, 4 permits, calls of 0.5 s. 1,600 low calls of as many sessions come at once and grow older than every `promote_after`;
  /// beside them high calls at a quarter of the capacity.
  @Test(arguments: [(Int64(500), Int64(500), 1), (100, 900, 1), (1000, 1000, 2), (2000, 2000, 4)])
  func highNeverWaitsForAnOldBacklog(from: Int64, to: Int64, burst: Int) throws {
    let exact: ClosedRange<Span> = .milliseconds(500) ... .milliseconds(500)
    var clients = (0..<1600).map { number in
      ClientScript(
        session: SessionID("low-\(number)"), priority: .low, route: ["alpha"], requests: 1,
        pacing: .closed(parallel: 1, think: .zero ... .zero), execute: exact)
    }
    clients.append(
      ClientScript(
        session: "user", priority: .high, route: ["alpha"], start: at(1), requests: 100_000,
        pacing: .open(every: .milliseconds(from) ... .milliseconds(to), burst: burst), execute: exact))
    let result = Simulation<Admission>.run(
      Scenario(seed: 1, policy: policy(4), clients: clients, horizon: at(260)), checkers: [], snapshotEvery: 0)
    let high = result.requests.filter { $0.priority == .high }
    #expect(high.count >= 480)
    #expect(high.allSatisfy { $0.outcome == .completed })
    let waits = high.compactMap { $0.queued?.nanoseconds }
    let longest = try #require(waits.max())
    #expect(longest <= 1_000_000_000, "\(longest / 1_000_000) ms")
    // The low ones have been there for longer than their 120 s, and are served beside it.
    let old = result.requests.filter { $0.priority == .low && ($0.queued ?? .zero) > .seconds(120) }
    #expect(old.count >= 500, "\(old.count)")
  }

  private func backlog(_ priority: Priority, _ count: Int, percent: Int) -> ClientScript {
    ClientScript(
      session: SessionID(priority.name), priority: priority, route: ["alpha"], model: priority.name, requests: count,
      pacing: .open(every: .seconds(3000) ... .seconds(3000), burst: count),
      execute: .milliseconds(100) ... .milliseconds(100), inputErrorPercent: percent...percent)
  }

  /// The part of all tokens that each class got in a span of time, in percent.
  private func shares(_ result: SimulationResult, from: Int64, to: Int64) -> [Double] {
    var tokens = [0.0, 0, 0]
    for request in result.requests {
      guard let granted = request.grantedAt, granted >= at(from), granted < at(to) else { continue }
      tokens[Int(request.priority.rawValue)] += Double(request.tokens)
    }
    let all = tokens.reduce(0, +)
    return tokens.map { 100 * $0 / all }
  }

  /// What one call of a class is of all tokens in a span of time, in percent.
  private func partOfOne(_ result: SimulationResult, _ priority: Priority, from: Int64, to: Int64) -> Double {
    let within = result.requests.filter { $0.grantedAt.map { $0 >= at(from) && $0 < at(to) } ?? false }
    let largest = within.lazy.filter { $0.priority == priority }.map(\.tokens).max() ?? 0
    return 100 * Double(largest) / within.reduce(0) { $0 + Double($1.tokens) }
  }

  /// High calls without end; normal and low each alone and both at once. Until their oldest is old they get their share, then their promoted share, of
  /// what calls really cost: as expected, or ten times more or less.
  @Test(
    arguments: [[Priority.low], [.normal], [.normal, .low]],
    [Percents(100, 100), Percents(1000, 20), Percents(20, 1000), Percents(1000, 1000)])
  func aClassGetsItsShareAndItsPromotedShareOfAllRealUse(_ classes: [Priority], _ percents: Percents) throws {
    try #require(!classes.isEmpty)
    let endless = ClientScript(
      session: "endless", priority: .high, route: ["alpha"], requests: 100_000,
      pacing: .closed(parallel: 12, think: .zero ... .zero), execute: .milliseconds(100) ... .milliseconds(100),
      inputErrorPercent: percents.first...percents.first)
    let rules = policy(4) {
      for index in $0.bands.indices {
        $0.bands[index].reserve = .permits(0)
        $0.bands[index].queueLimit = 100_000
        $0.bands[index].maxWait = .seconds(3600)
        $0.bands[index].promoteAfter = .seconds(50)
      }
    }
    let clients = [endless] + classes.map { backlog($0, 4000, percent: percents.second) }
    let scenario = Scenario(
      seed: 1, policy: rules, clients: clients, happenings: [Happening(at: at(100), .drainRequested)], horizon: at(100))
    let result = Simulation<Admission>.run(scenario, checkers: [], snapshotEvery: 0)
    let young = shares(result, from: 2, to: 50)
    let old = shares(result, from: 52, to: 100)
    for priority in classes {
      let band = rules.bands[Int(priority.rawValue)]
      let (share, promoted) = (Double(band.shareBasisPoints) / 100, Double(band.promotedShareBasisPoints) / 100)
      // A share is exact to within one call. Of calls that cost as much as fifty others one is more than a percent of the time.
      let bound = max(1, partOfOne(result, priority, from: 52, to: 100))
      #expect(abs(young[Int(priority.rawValue)] - share) <= bound, "\(priority.name): \(young) %, expected \(share)")
      #expect(abs(old[Int(priority.rawValue)] - promoted) <= bound, "\(priority.name): \(old) %, expected \(promoted)")
    }
  }

  // MARK: Estimates that are worth nothing

  enum Level: Sendable, CaseIterable { case tenants, sessions }

  /// Answers of 5 tokens, and one in seven of 4,000; nothing is learned at the start.
  private func agent(_ name: String, _ level: Level, parallel: Int, percent: Int = 100, start: Int64 = 0)
    -> ClientScript
  {
    var script = ClientScript(
      tenant: level == .tenants ? TenantID(name) : "both", session: SessionID(name), priority: .normal,
      route: ["alpha"],
      model: name, start: Instant(nanoseconds: start * 1_000_000), requests: 100_000,
      pacing: .closed(parallel: parallel, think: .zero ... .zero), execute: .milliseconds(50) ... .milliseconds(50),
      input: 10...10, output: 5...5, inputErrorPercent: percent...percent)
    script.longPercent = 14
    script.longOutput = 4000
    return script
  }

  private func run(_ clients: [ClientScript], seconds: Int64, weights: [String: Int] = [:], seed: UInt64 = 1)
    -> SimulationResult
  {
    let rules = policy(4) {
      $0.tenants = weights.sorted { $0.key < $1.key }.map { TenantPolicy(id: TenantID($0.key), weight: $0.value) }
      for index in $0.bands.indices { $0.bands[index].maxWait = .seconds(3600) }
    }
    let scenario = Scenario(
      seed: seed, policy: rules, clients: clients, happenings: [Happening(at: at(seconds), .drainRequested)],
      horizon: at(seconds))
    return Simulation<Admission>.run(scenario, checkers: [], snapshotEvery: 0)
  }

  /// One keeps 120 calls waiting, the other asks for one at a time, from the start or later: it is never more than two grants behind its turn.
  @Test(arguments: Level.allCases, [Int64(0), 2000])
  func whoAsksOneCallAtATimeIsNeverTwoGrantsBehind(_ level: Level, start: Int64) throws {
    for seed in UInt64(1)...3 {
      let result = run(
        [agent("a", level, parallel: 124), agent("b", level, parallel: 1, start: start + 1)], seconds: 15, seed: seed)
      let mine = result.requests.filter { $0.session == "b" && $0.grantedAt != nil }
      let others = result.requests.filter { $0.session == "a" }.compactMap(\.grantedAt).map(\.nanoseconds).sorted()
      // One place, one call of 50 ms after the other, and a wait for each of at most a call's time.
      #expect(mine.count >= 130, "\(mine.count)")
      for request in mine {
        let granted = try #require(request.grantedAt)
        let before = others.count { $0 > request.submittedAt.nanoseconds && $0 < granted.nanoseconds }
        // What is granted at the same instant is beside it, not before it.
        #expect(before <= 2, "seed \(seed): \(before) grants at \(granted.nanoseconds / 1_000_000) ms")
        #expect(granted - request.submittedAt <= .milliseconds(100), "seed \(seed)")
      }
    }
  }

  /// Both keep a backlog: equal tokens, by weight, however wrong the estimates of either are.
  @Test(arguments: Level.allCases, [Percents(100, 100), Percents(10, 1000), Percents(1000, 10)])
  func backloggedOnesGetEqualTokens(_ level: Level, _ percents: Percents) {
    // There is no weight between sessions.
    for weight in [1] + (level == .tenants ? [3] : []) {
      let result = run(
        [
          agent("a", level, parallel: 60, percent: percents.first),
          agent("b", level, parallel: 60, percent: percents.second),
        ],
        seconds: 60, weights: level == .tenants ? ["a": weight, "b": 1] : [:])
      func tokens(_ session: SessionID) -> Double {
        Double(result.requests.reduce(0) { $1.session == session ? $0 + $1.tokens : $0 })
      }
      let ratio = tokens("a") / tokens("b") / Double(weight)
      #expect(abs(ratio - 1) <= 0.05, "weight \(weight): \(tokens("a")) and \(tokens("b"))")
    }
  }
}
