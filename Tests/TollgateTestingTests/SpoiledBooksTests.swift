// Each way of spoiling the books of money is caught by the checker that is there for it.
import AdmissionCore
import PolicyLab
import Testing

@testable import TollgateTesting

@Suite struct SpoiledBooksTests {
  /// The names of the checkers that found fault with a spoiled core.
  private func findings<Defect: BookDefect>(_ defect: Defect.Type, wanted: String) -> Set<String> {
    var names: Set<String> = []
    for seed in ScenarioGenerator.firstThriftySeed..<ScenarioGenerator.firstThriftySeed + 300 {
      let result = Simulation<SpoiledBooks<Defect>>.run(ScenarioGenerator.scenario(seed: seed))
      names.formUnion(result.violations.map(\.checker))
      if names.contains(wanted) { break }
    }
    return names
  }

  private enum Nothing: BookDefect {}

  @Test func unspoiledBooksAreFoundRight() {
    let seeds = ScenarioGenerator.firstThriftySeed..<ScenarioGenerator.firstThriftySeed + 200
    let failures = ScenarioReplay.failures(of: SpoiledBooks<Nothing>.self, seeds: seeds)
    #expect(failures.isEmpty, "\(failures)")
  }

  @Test func passedLimitsAreCaught() {
    #expect(findings(BookDefects.ForgetsHolds.self, wanted: "budget_limit").contains("budget_limit"))
    #expect(findings(BookDefects.DoublesLimits.self, wanted: "budget_limit").contains("budget_limit"))
    #expect(findings(BookDefects.PostsNothing.self, wanted: "budget_limit").contains("budget_limit"))
    #expect(findings(BookDefects.HoldsHalf.self, wanted: "budget_limit").contains("budget_limit"))
    #expect(findings(BookDefects.IgnoresBudgets.self, wanted: "budget_limit").contains("budget_limit"))
  }

  @Test func wrongSumsAreCaught() {
    #expect(findings(BookDefects.IgnoresBudgets.self, wanted: "budget_books").contains("budget_books"))
    #expect(findings(BookDefects.NeverTopsUp.self, wanted: "budget_books").contains("budget_books"))
    #expect(findings(BookDefects.ChargesFailures.self, wanted: "budget_books").contains("budget_books"))
    #expect(findings(BookDefects.IgnoresWindows.self, wanted: "budget_books").contains("budget_books"))
  }
}
