// Ten thousand seeded scenarios, and longer ones, against the core.
import AdmissionCore
import Foundation
import PolicyLab
import Testing
import TollgateTesting

/// Ten thousand seeded scenarios against the core, every rule checked after every event; and a few long ones. Two tests
/// for the ten thousand, so that two cores share the work. A failing seed is printed with the command that replays it.
@Suite struct SimulationScenarioTests {
  private func expectNoRuleBroken(_ seeds: some Sequence<UInt64>, size: Int = 12, snapshotEvery: Int = 3) {
    let failures = ScenarioReplay.failures(of: Admission.self, seeds: seeds, size: size, snapshotEvery: snapshotEvery)
    for failure in failures { Issue.record("\(failure)") }
  }

  private static let seeds = ProcessInfo.processInfo.environment["TOLLGATE_SEEDS"].flatMap { UInt64($0) } ?? 10_000

  @Test func scenariosWithEvenSeedsBreakNoRule() { expectNoRuleBroken(stride(from: UInt64(0), to: 10_000, by: 2)) }

  @Test func scenariosWithOddSeedsBreakNoRule() { expectNoRuleBroken(stride(from: UInt64(1), to: 10_000, by: 2)) }

  @Test func longerScenariosBreakNoRule() { expectNoRuleBroken(UInt64(20_000)..<20_060, size: 80, snapshotEvery: 10) }

  @Test func longScenariosBreakNoRule() { expectNoRuleBroken(UInt64(30_000)..<30_006, size: 400, snapshotEvery: 50) }

  /// Providers that answer 5xx, 429 and 401, with breakers, retries and keys.
  @Test func scenariosWithFailingProvidersBreakNoRule() {
    let first = ScenarioGenerator.firstAilingSeed
    expectNoRuleBroken(first..<first + 1500)
  }

  /// Budgets of the broker, tenants and sessions, with windows that end and raises.
  @Test func scenariosWithBudgetsBreakNoRule() {
    let first = ScenarioGenerator.firstThriftySeed
    expectNoRuleBroken(first..<first + 1500)
  }

  /// Sessions whose prompts expire while they take turns; keys with caches of their own; clients that give up. `TOLLGATE_SEEDS` is fifty times how
  /// many there are of each.
  @Test(arguments: [0, 1, 2]) func scenariosWithPromptCachesAndClientsThatGiveUpBreakNoRule(_ kind: UInt64) {
    let first = ScenarioGenerator.firstCachedSeed + kind
    expectNoRuleBroken(stride(from: first, to: first + 3 * (Self.seeds / 50), by: 3), size: 40, snapshotEvery: 10)
  }

  /// Estimates wrong by 0.1 to 10 times, backlogs older than every `promote_after`, deep queues: who gets what is judged by real costs. Two tests
  /// for two cores. `TOLLGATE_SEEDS` is how many there are.
  @Test(arguments: [0, 1]) func scenariosInWhichEstimatesAreWorthNothingBreakNoRule(_ half: UInt64) {
    let count = Self.seeds
    let first = ScenarioGenerator.firstMisjudgedSeed
    expectNoRuleBroken(stride(from: first + half, to: first + count, by: 2), size: 24, snapshotEvery: 20)
  }

  @Test func longScenariosInWhichEstimatesAreWorthNothingBreakNoRule() {
    let first = ScenarioGenerator.firstMisjudgedSeed + 1_000_000
    expectNoRuleBroken(first..<first + 60, size: 300, snapshotEvery: 100)
  }

  /// Keys and providers that come, go and change, quotas of keys and models, limits in answers, breakers of models.
  @Test func scenariosOnShiftingGroundBreakNoRule() {
    let first = ScenarioGenerator.firstShiftingSeed
    expectNoRuleBroken(first..<first + 800)
  }

  @Test func theSameSeedGivesTheSameTrace() {
    for seed in UInt64(0)..<150 {
      let scenario = ScenarioGenerator.scenario(seed: seed)
      let one = Simulation<Admission>.run(scenario, checkers: [])
      let two = Simulation<Admission>.run(ScenarioGenerator.scenario(seed: seed), checkers: [], snapshotEvery: 0)
      #expect(one.hash == two.hash, "seed \(seed)")
    }
  }
}
