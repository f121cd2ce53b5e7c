// Fleets at a provider that enforces a minute's requests second by second, in virtual time and in figures.
//
// Promise: each run is held against the least time that the calls of that run could have taken, failed ones included,
// since the provider counts them too: nobody can do better who knows everything beforehand.
import AdmissionCore
import Testing

@testable import PolicyLab
@testable import TollgateTesting

/// Notes how long each call kept its provider busy.
private final class CallTimes: SimulationObserver {
  let findings = Findings()
  /// By agent, in order; refused calls are not among them.
  private(set) var times: [SessionID: [Double]] = [:]
  private var sessions: [RequestID: SessionID] = [:]
  private var running: [LeaseID: (session: SessionID, since: Instant)] = [:]
  private var latest = Instant(nanoseconds: 0)

  func willHandle(_ event: AdmissionEvent, at now: Instant) {
    latest = now
    switch event {
    case .submitted(let ticket): sessions[ticket.id] = ticket.session
    case .settled(let lease, let settlement):
      if let call = running.removeValue(forKey: lease), settlement.verdict.kind != .throttled {
        times[call.session, default: []].append(Double((now - call.since).nanoseconds) / 1e9)
      }
    default: break
    }
  }
  func willGrant(_ grant: Grant, request: Int) {
    if let session = sessions[grant.request] { running[grant.lease] = (session, latest) }
  }
  func willConclude(_ conclusion: Conclusion, request: Int) {}
  func didNotice(_ notice: Notice) {}
  func didDrain() {}
  func didHandle(_ event: AdmissionEvent, _ snapshot: AdmissionSnapshot?) {}
  func didFinish(_ snapshot: AdmissionSnapshot, refusals: [(provider: ProviderID, count: Int)]) {}
}

@Suite struct BurstFiguresTests {
  private static let turns = 8

  /// What a fleet does, and what its provider allows.
  struct Fleet: Sendable, CustomTestStringConvertible {
    var agents: Int
    var limit: Int
    var perSecond: Int
    var execute: ClosedRange<Int64>
    /// True where calls are some time on their way, each as long as it happens, and the first ones need a connection.
    var isFar = false

    init(_ agents: Int, _ limit: Int, perSecond: Int? = nil, execute: ClosedRange<Int64> = 200...600) {
      self.agents = agents
      self.limit = limit
      self.perSecond = perSecond ?? limit
      self.execute = execute
    }
    var farAway: Fleet {
      var fleet = self
      fleet.isFar = true
      return fleet
    }
    var limits: Limits {
      Limits(
        concurrency: limit, requestsPerMinute: Int64(perSecond * 60), bursts: [.requestsPerMinute: .seconds(1)])
    }
    var testDescription: String {
      "\(agents) agents, \(limit) at a time, \(perSecond) a second, \(execute) ms\(isFar ? ", far away" : "")"
    }
  }

  struct Run {
    var seed: UInt64
    /// In parts of the least time that its own calls need.
    var time: Double
    /// In parts of what calls of mean length need of which none fails.
    var timeWithoutFailures: Double
    var refused: Int
  }

  private func at(_ seconds: Int64) -> Instant { Instant(nanoseconds: seconds * 1_000_000_000) }

  /// What a perfect scheduler needs: one that knows every limit, never hits one, and whose calls are of mean length and
  /// never fail. Agents make their calls one after the other; whoever has waited longest goes first.
  private func idealWithoutFailures(_ fleet: Fleet) -> Double {
    let mean = Double(fleet.execute.lowerBound + fleet.execute.upperBound) / 2000
    var ready = Array(repeating: 0.0, count: fleet.agents)
    var left = Array(repeating: Self.turns, count: fleet.agents)
    var permits = Array(repeating: 0.0, count: fleet.limit)
    var last = 0.0
    for call in 0..<fleet.agents * Self.turns {
      guard let agent = ready.indices.filter({ left[$0] > 0 }).min(by: { ready[$0] < ready[$1] }),
        let permit = permits.indices.min(by: { permits[$0] < permits[$1] })
      else { break }
      let unit = max(0, Double(call + 1 - fleet.perSecond) / Double(fleet.perSecond))
      let end = max(ready[agent], permits[permit], unit) + mean
      (ready[agent], permits[permit], last) = (end, end, max(last, end))
      left[agent] -= 1
    }
    return last
  }

  /// No schedule of these calls ends earlier: the last call cannot begin before its unit has refilled, and is some
  /// agent's last; the permits are busy with all of them; and an agent makes its calls one after the other. Waits between
  /// the tries of a call are left out.
  private func leastTime(_ fleet: Fleet, _ times: [[Double]]) -> Double {
    let count = times.reduce(0) { $0 + $1.count }
    let units = Double(count - fleet.perSecond) / Double(fleet.perSecond) + (times.compactMap(\.last).min() ?? 0)
    let chains = times.map { $0.reduce(0, +) }
    return max(units, chains.max() ?? 0, chains.reduce(0, +) / Double(fleet.limit))
  }

  private func run(_ fleet: Fleet, told: Limits, seed: UInt64) -> Run {
    var truth = ProviderTruth(id: "alpha", limits: fleet.limits)
    truth.staysBareHalfTheTime = true
    truth.isExact = true
    if fleet.isFar {
      truth.transit = .milliseconds(1) ... .milliseconds(20)
      truth.connecting = .milliseconds(60)
    }
    let clients = (0..<fleet.agents).map { number in
      ClientScript(
        session: SessionID("s\(number)"), priority: .normal, route: ["alpha"], requests: Self.turns,
        pacing: .closed(parallel: 1, think: .zero ... .zero),
        execute: .milliseconds(fleet.execute.lowerBound) ... .milliseconds(fleet.execute.upperBound),
        input: 200...4000, output: 10...300)
    }
    let scenario = Scenario(
      seed: seed, policy: AdmissionPolicy(providers: [ProviderPolicy(id: "alpha", limits: told)]), clients: clients,
      // 1.5 % answer 502, and 1.5 % are reset.
      happenings: [Happening(at: at(0), .providerMood("alpha", .failing(percent: 3)))], truths: [truth],
      horizon: at(600), expectations: .init(noRefusals: false))
    let calls = CallTimes()
    let result = Simulation<Admission>.run(scenario, observer: calls)
    #expect(result.violations.isEmpty)
    #expect(result.outcomes == [.completed: fleet.agents * Self.turns], "seed \(seed): \(result.outcomes)")
    let end = Double(result.end.nanoseconds) / 1e9
    return Run(
      seed: seed, time: end / leastTime(fleet, Array(calls.times.values)),
      timeWithoutFailures: end / idealWithoutFailures(fleet), refused: result.refusals)
  }

  static let fleets = [Fleet(5, 3), Fleet(11, 5), Fleet(20, 8), Fleet(50, 10)]
  /// Other lengths, and rates at which permits or units alone are short.
  static let siblings = [
    Fleet(6, 1), Fleet(12, 2, execute: 100...300), Fleet(9, 4, perSecond: 2, execute: 400...1600),
    Fleet(16, 4, perSecond: 8, execute: 300...900), Fleet(60, 20, execute: 100...900),
  ]

  @Test(arguments: fleets + fleets.map(\.farAway)) func aBurstInThePolicyCostsATenthAtMost(fleet: Fleet) {
    let runs = (UInt64(1)...10).map { run(fleet, told: fleet.limits, seed: $0) }
    let mean = runs.reduce(0) { $0 + $1.timeWithoutFailures } / Double(runs.count)
    #expect(mean <= 1.1)
    for run in runs {
      #expect(run.time <= 1.1, "seed \(run.seed)")
      #expect(run.refused == 0, "seed \(run.seed)")
    }
  }

  @Test(arguments: siblings + siblings.map(\.farAway)) func soItDoesForOtherCallsAndRates(fleet: Fleet) {
    for seed in UInt64(1)...4 {
      let run = run(fleet, told: fleet.limits, seed: seed)
      #expect(run.time <= 1.1, "seed \(run.seed)")
      // One call at a time leaves little room: the second may overtake the first one's connection.
      #expect(run.refused <= (fleet.limit == 1 ? 1 : 0), "seed \(run.seed)")
    }
  }

  @Test(arguments: fleets.map(\.farAway)) func aDepthIsFoundFarAway(fleet: Fleet) {
    for run in (UInt64(1)...10).map({ run(fleet, told: Limits(), seed: $0) }) {
      #expect(run.time <= 1.3, "seed \(run.seed)")
    }
  }

  @Test(arguments: fleets) func aDepthThatNobodyToldIsFound(fleet: Fleet) {
    for run in (UInt64(1)...10).map({ run(fleet, told: Limits(), seed: $0) }) {
      #expect(run.time <= 1.3, "seed \(run.seed)")
      #expect(run.timeWithoutFailures <= 1.3, "seed \(run.seed)")
    }
  }
}
