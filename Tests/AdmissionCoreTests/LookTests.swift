// The core looks only where something has changed. Here it is held against itself looking everywhere at each event: the same decisions; and
// after each event, looking everywhere once more lets nobody go.
import Foundation
import PolicyLab
import Testing
import TollgateTesting

@testable import AdmissionCore

/// What a core decided, in order.
private final class DecisionRecorder: SimulationObserver {
  let findings = Findings()
  var decisions: [String] = []
  private var now = Instant(nanoseconds: 0)

  func willHandle(_ event: AdmissionEvent, at now: Instant) { self.now = now }
  func willGrant(_ grant: Grant, request: Int) {
    decisions.append(
      "\(now.nanoseconds) grant \(request) \(grant.provider.name) \(grant.key?.name ?? "-") \(grant.attempt)")
  }
  func willConclude(_ conclusion: Conclusion, request: Int) {
    decisions.append("\(now.nanoseconds) conclude \(request) \(conclusion.outcome)")
  }
  func didNotice(_ notice: Notice) {
    if case .ourBug(let bug) = notice { findings.report("our_bug", at: now, "\(bug)") }
  }
  func didDrain() {}
  func didHandle(_ event: AdmissionEvent, _ snapshot: AdmissionSnapshot?) {}
  func didFinish(_ snapshot: AdmissionSnapshot, refusals: [(provider: ProviderID, count: Int)]) {}
}

private protocol WrapsCore: AdmissionSubject {
  var core: Admission { get }
}

extension WrapsCore {
  var nextDeadline: Instant? { core.nextDeadline }
  func snapshot(at now: Instant) -> AdmissionSnapshot { core.snapshot(at: now) }
}

/// Every event looks at everything anew.
private struct LooksEverywhere: WrapsCore {
  var core: Admission
  init(policy: AdmissionPolicy, seed: UInt64, at now: Instant) {
    core = Admission(policy: policy, seed: seed, at: now)
    core.looksEverywhere = true
  }
  mutating func handle(_ event: AdmissionEvent, at now: Instant, into actions: inout ActionList) {
    core.handle(event, at: now, into: &actions)
  }
}

/// Reports a bug of its own where a second look, at everything, lets somebody go whom the first has left.
private struct LooksTwice: WrapsCore {
  var core: Admission
  init(policy: AdmissionPolicy, seed: UInt64, at now: Instant) {
    core = Admission(policy: policy, seed: seed, at: now)
  }
  mutating func handle(_ event: AdmissionEvent, at now: Instant, into actions: inout ActionList) {
    core.handle(event, at: now, into: &actions)
    var again = core
    var more: ActionList = []
    again.lookEverywhere()
    again.dispatch(at: now, into: &more)
    let isGrant = more.contains { if case .grant = $0 { true } else { false } }
    if isGrant { actions.append(.note(.ourBug(.staleHead))) }
  }
}

/// Forgets after each event that a route has become open.
private struct ForgetsToLook: WrapsCore {
  var core: Admission
  init(policy: AdmissionPolicy, seed: UInt64, at now: Instant) {
    core = Admission(policy: policy, seed: seed, at: now)
  }
  mutating func handle(_ event: AdmissionEvent, at now: Instant, into actions: inout ActionList) {
    core.handle(event, at: now, into: &actions)
    while core.waiting.popMoved() != nil {}
    for provider in core.providers.indices { core.providers[provider].claimedIn = core.providers[provider].look }
  }
}

@Suite struct LookTests {
  private static func decisions<Subject: AdmissionSubject>(
    _ subject: Subject.Type, _ scenario: Scenario
  ) -> DecisionRecorder {
    let recorder = DecisionRecorder()
    _ = Simulation<Subject>.run(scenario, observer: recorder)
    return recorder
  }

  /// The first line at which two lists differ; nil where they are the same.
  private static func difference(_ one: [String], _ two: [String]) -> String? {
    for (left, right) in zip(one, two) where left != right { return "\(left) | \(right)" }
    return one.count == two.count ? nil : "\(one.count) and \(two.count) decisions"
  }

  /// `TOLLGATE_LOOKS` is how many times as many there are.
  private static let times = ProcessInfo.processInfo.environment["TOLLGATE_LOOKS"].flatMap { UInt64($0) } ?? 1
  private static let families: [(name: String, first: UInt64, count: UInt64, size: Int)] = [
    ("plain", 0, 200, 12), ("longer", 20_000, 4, 80), ("ailing", ScenarioGenerator.firstAilingSeed, 120, 12),
    ("thrifty", ScenarioGenerator.firstThriftySeed, 120, 12),
    ("misjudged", ScenarioGenerator.firstMisjudgedSeed, 100, 24),
    ("shifting", ScenarioGenerator.firstShiftingSeed, 100, 12),
    ("cached", ScenarioGenerator.firstCachedSeed, 120, 30),
    ("ailing, longer", ScenarioGenerator.firstAilingSeed + 500_000, 2, 100),
    ("shifting, longer", ScenarioGenerator.firstShiftingSeed + 500_000, 2, 100),
    ("narrow models", narrow, 200, 12), ("narrow models, ailing", narrow + ScenarioGenerator.firstAilingSeed, 80, 12),
    ("narrow models, misjudged", narrow + ScenarioGenerator.firstMisjudgedSeed, 60, 24),
  ]
  /// Added to a seed: each provider has few permits of each model, some have tokens for each as well, and half of the policies large floor shares.
  private static let narrow: UInt64 = 1 << 40

  private static func scenario(_ seed: UInt64, size: Int) -> Scenario {
    guard seed >= narrow else { return ScenarioGenerator.scenario(seed: seed, size: size) }
    var scenario = ScenarioGenerator.scenario(seed: seed - narrow, size: size)
    for index in scenario.policy.providers.indices {
      let draw = Int(seed - narrow) + index
      var (small, big) = (Limits(concurrency: 1 + draw % 3), Limits(concurrency: 1 + draw / 3 % 2))
      if draw % 4 == 0 { small.tokensPerMinute = 4000 }
      if draw % 5 == 0 { big.outputTokensPerMinute = 3000 }
      scenario.policy.providers[index].modelLimits = [
        ModelLimits(models: "big*", limits: big), ModelLimits(models: "small", limits: small),
      ]
    }
    for band in 1..<3 where seed / 7 % 2 == 0 { scenario.policy.bands[band].shareBasisPoints = 1500 + band * 500 }
    return scenario
  }

  @Test(arguments: families.indices) func lookingEverywhereDecidesTheSame(_ index: Int) {
    let family = Self.families[index]
    var differences: [String] = []
    var decisions = 0
    for seed in family.first..<family.first + family.count * Self.times {
      let one = Self.decisions(Admission.self, Self.scenario(seed, size: family.size))
      let two = Self.decisions(LooksEverywhere.self, Self.scenario(seed, size: family.size))
      decisions += one.decisions.count
      let difference = Self.difference(one.decisions, two.decisions) ?? one.findings.violations.first?.description
      if let difference { differences.append("\(family.name) \(seed): \(difference)") }
    }
    #expect(differences.isEmpty)
    #expect(decisions >= Int(family.count * Self.times) * family.size, "each request is decided at least once")
  }

  @Test(arguments: families.indices) func aSecondLookLetsNobodyGo(_ index: Int) {
    let family = Self.families[index]
    var letGo: [UInt64] = []
    var decisions = 0
    for seed in family.first..<family.first + max(1, family.count * Self.times / 3) {
      let recorder = Self.decisions(LooksTwice.self, Self.scenario(seed, size: family.size))
      decisions += recorder.decisions.count
      if !recorder.findings.violations.isEmpty { letGo.append(seed) }
    }
    #expect(letGo.isEmpty, "\(family.name)")
    #expect(decisions > 0)
  }

  @Test func aCoreThatForgetsToLookIsCaught() {
    let different = (UInt64(0)..<20).filter { seed in
      let one = Self.decisions(Admission.self, ScenarioGenerator.scenario(seed: seed, size: 12))
      let two = Self.decisions(ForgetsToLook.self, ScenarioGenerator.scenario(seed: seed, size: 12))
      return Self.difference(one.decisions, two.decisions) != nil
    }
    #expect(!different.isEmpty)
  }
}
