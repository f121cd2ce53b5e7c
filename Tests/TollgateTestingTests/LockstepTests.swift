// The core beside the naive scheduler on the same events, where the rules leave no choice; and proof that a difference is seen.
import AdmissionCore
import PolicyLab
import Testing

@testable import TollgateTesting

@Suite struct LockstepTests {
  @Test(arguments: 0..<4) func coreAndNaiveGiveTheSameOrders(block: UInt64) {
    var orders = 0
    for number in UInt64(0)..<250 {
      let scenario = ScenarioGenerator.unambiguous(seed: block * 250 + number)
      let run = Simulation<Admission>.runInLockstep(scenario, with: NoDefect.self)
      #expect(run.violations.isEmpty, "seed \(scenario.seed): \(run.violations.first?.description ?? "")")
      orders += run.orders
    }
    // Nearly all of the 24 requests of a scenario are granted, and all are concluded.
    #expect(orders > 250 * 40)
  }

  /// A scheduler that is wrong in one way, beside the one that is right: it parts from it, and the run says so.
  @Test(arguments: [
    Defect.ignoresBands, .servesBandsBackwards, .leaksPermitOnCancel, .ignoresBuckets, .refillsTwiceAsFast,
    .overshootsByOne, .lastInFirstOut,
    .forgetsConclusion, .neverSaysDrained, .neverEvicts, .losesWakeUps, .ignoresQueueLimit, .prefersLastProvider,
  ])
  func aWrongSchedulerParts(_ defect: Defect) {
    #expect(BrokenSubjects.visit(defect, Parting()) == ["lockstep"])
  }

  /// The same where the one that is driven is right, and the one beside it wrong.
  @Test func theCorePartsFromAWrongOne() {
    for seed in UInt64(0)..<3 {
      let scenario = ScenarioGenerator.unambiguous(seed: seed)
      let run = Simulation<Admission>.runInLockstep(scenario, with: BrokenSubjects.NeverSaysDrained.self)
      #expect(run.violations.map(\.checker) == ["lockstep"])
      #expect(run.violations.first?.text.contains("drained") == true)
    }
  }

  @Test func aRightOneDoesNotPartFromItself() {
    for seed in UInt64(0)..<20 {
      let run = Simulation<NaiveAdmission<NoDefect>>.runInLockstep(
        ScenarioGenerator.unambiguous(seed: seed), with: NoDefect.self)
      #expect(run.violations.isEmpty)
    }
  }

  private struct Parting: BrokenSubjects.Visitor {
    func visit<Choice: DefectChoice>(_ choice: Choice.Type) -> Set<String> {
      let parts = (UInt64(0)..<150).contains { seed in
        let run = Simulation<NaiveAdmission<Choice>>.runInLockstep(
          ScenarioGenerator.unambiguous(seed: seed), with: NoDefect.self)
        return run.violations.contains { $0.checker == LockstepObserver<NoDefect>.name }
      }
      return parts ? [LockstepObserver<NoDefect>.name] : []
    }
  }
}
