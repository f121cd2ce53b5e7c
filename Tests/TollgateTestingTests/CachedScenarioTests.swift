// The scenarios with prompt caches and clients that give up have what they are there for: who goes early, who waits for a
// key, and who is given up. Otherwise their checkers would have nothing to judge.
import AdmissionCore
import PolicyLab
import Testing

@testable import TollgateTesting

@Suite struct CachedScenarioTests {
  private func scenarios(_ kind: UInt64) -> [Scenario] {
    let first = ScenarioGenerator.firstCachedSeed + kind
    return stride(from: first, to: first + 180, by: 3).map { ScenarioGenerator.scenario(seed: $0, size: 40) }
  }

  @Test func promptsThatAreAboutToExpireGoEarly() {
    var (early, rows) = (0, 0)
    for scenario in scenarios(0) {
      let hurry = HurryChecker()
      #expect(Simulation<Admission>.run(scenario, checkers: [hurry]).violations.isEmpty, "seed \(scenario.seed)")
      early += hurry.early
      if hurry.longestRow == 3 { rows += 1 }
    }
    print(
      "\(early) grants out of turn, rows of three in \(rows) of 60 scenarios")
    #expect(early > 60)
    #expect(rows > 0)
  }

  @Test func callsWaitForTheirKeys() {
    var (waits, waited, evicted) = (0, 0, 0)
    for scenario in scenarios(1) {
      let (warm, patience) = (WarmKeyChecker(), PatienceChecker())
      #expect(
        Simulation<Admission>.run(scenario, checkers: [warm, patience]).violations.isEmpty, "seed \(scenario.seed)")
      waits += warm.waits
      waited += warm.waited.count
      evicted += patience.evicted
    }
    print("\(waited) calls waited for their keys, said \(waits) times; \(evicted) given up")
    #expect(waited > 100)
  }

  @Test func clientsGiveUp() {
    var (evicted, byLearning) = (0, 0)
    for scenario in scenarios(2) {
      let patience = PatienceChecker()
      #expect(Simulation<Admission>.run(scenario, checkers: [patience]).violations.isEmpty, "seed \(scenario.seed)")
      evicted += patience.evicted
      byLearning += patience.evictedByLearning
    }
    print("\(evicted) calls were given up, \(byLearning) of them because of what first bytes take")
    #expect(evicted > 100)
    #expect(byLearning > 20)
  }
}
