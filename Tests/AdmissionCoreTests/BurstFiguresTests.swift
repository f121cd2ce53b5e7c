// Fleets at a provider that enforces a minute's requests second by second, in virtual time and in figures.
import AdmissionCore
import Testing

@testable import PolicyLab
@testable import TollgateTesting

@Suite struct BurstFiguresTests {
  private static let turns = 8

  private func at(_ seconds: Int64) -> Instant { Instant(nanoseconds: seconds * 1_000_000_000) }

  /// What a perfect scheduler needs: one that knows every limit, never hits one, and whose calls take 0.4 s and never fail. Agents make their
  /// calls one after the other; whoever has waited longest goes first.
  private func ideal(agents: Int, limit: Int) -> Double {
    var ready = Array(repeating: 0.0, count: agents)
    var left = Array(repeating: Self.turns, count: agents)
    var permits = Array(repeating: 0.0, count: limit)
    var last = 0.0
    for call in 0..<agents * Self.turns {
      guard let agent = ready.indices.filter({ left[$0] > 0 }).min(by: { ready[$0] < ready[$1] }),
        let permit = permits.indices.min(by: { permits[$0] < permits[$1] })
      else { break }
      let unit = max(0, Double(call + 1 - limit) / Double(limit))
      let end = max(ready[agent], permits[permit], unit) + 0.4
      (ready[agent], permits[permit], last) = (end, end, max(last, end))
      left[agent] -= 1
    }
    return last
  }

  /// How long the fleet takes, in parts of the ideal.
  private func run(agents: Int, limit: Int, _ limits: Limits, seed: UInt64) -> (time: Double, refused: Int) {
    let limited = Limits(
      concurrency: limit, requestsPerMinute: Int64(limit * 60), bursts: [.requestsPerMinute: .seconds(1)])
    var truth = ProviderTruth(id: "alpha", limits: limited)
    truth.staysBareHalfTheTime = true
    let clients = (0..<agents).map { number in
      ClientScript(
        session: SessionID("s\(number)"), priority: .normal, route: ["alpha"], requests: Self.turns,
        pacing: .closed(parallel: 1, think: .zero ... .zero), execute: .milliseconds(200) ... .milliseconds(600),
        input: 200...4000, output: 10...300)
    }
    let scenario = Scenario(
      seed: seed, policy: AdmissionPolicy(providers: [ProviderPolicy(id: "alpha", limits: limits)]), clients: clients,
      // 1.5 % answer 502, and 1.5 % are reset.
      happenings: [Happening(at: at(0), .providerMood("alpha", .failing(percent: 3)))], truths: [truth],
      horizon: at(600), expectations: .init(noRefusals: false))
    let result = Simulation<Admission>.run(scenario, checkers: [], snapshotEvery: 0)
    #expect(result.outcomes == [.completed: agents * Self.turns], "seed \(seed): \(result.outcomes)")
    let end = Double(result.end.nanoseconds) / 1e9
    return (end / ideal(agents: agents, limit: limit), result.refusals)
  }

  static let fleets = [(5, 3), (11, 5), (20, 8), (50, 10)]

  @Test(arguments: fleets) func aBurstInThePolicyCostsATenthAtMost(agents: Int, limit: Int) {
    let limits = Limits(
      concurrency: limit, requestsPerMinute: Int64(limit * 60), bursts: [.requestsPerMinute: .seconds(1)])
    // Of all seeds together: a call that fails twice at the end keeps a small fleet waiting for its one agent.
    let runs = (UInt64(1)...10).map { run(agents: agents, limit: limit, limits, seed: $0) }
    let mean = runs.reduce(0) { $0 + $1.time } / Double(runs.count)
    print("\(agents) agents, \(limit) a second, told: \(mean), at most \(runs.map(\.time).max() ?? 0)")
    #expect(mean <= 1.1)
    #expect(runs.allSatisfy { $0.refused == 0 })
  }

  @Test(arguments: fleets) func aDepthThatNobodyToldIsFound(agents: Int, limit: Int) {
    let runs = (UInt64(1)...10).map { run(agents: agents, limit: limit, Limits(), seed: $0) }
    print("\(agents) agents, \(limit) a second, learned: \(runs.map(\.time))")
    for run in runs { #expect(run.time <= 1.3) }
  }
}
