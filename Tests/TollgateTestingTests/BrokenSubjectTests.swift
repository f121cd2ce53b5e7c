// Every broken subject is caught by the checker that is there for it, and the reference is found right.
import AdmissionCore
import PolicyLab
import Testing

@testable import TollgateTesting

/// Checkers that never find anything are worth nothing: each way of being wrong must be caught, by the checker that is
/// there for it,
/// and the plain reference must be found right.
@Suite struct BrokenSubjectTests {
  /// The checkers that may be the first to see a defect, and those of which at least one must.
  static let expected: [Defect: Set<String>] = [
    .ignoresBands: ["band_order"],
    .servesBandsBackwards: ["band_order"],
    .starvesLow: ["floor_share"],
    .neverPromotes: ["band_shares"],
    .promotesBeforeAll: ["band_shares"],
    .movesTimeByEstimates: ["return_wait"],
    .neverCorrects: ["real_shares"],
    .leaksPermitOnCancel: ["permits_match_leases"],
    .grantsTwice: ["grants_once"],
    .ignoresBuckets: ["bucket_balance"],
    .forgetsOutputInBuckets: ["bucket_balance"],
    .neverChargesModels: ["bucket_balance"],
    .refillsTwiceAsFast: ["bucket_balance"],
    .overshootsByOne: ["concurrency_limit"],
    .ignoresHeadroom: ["concurrency_limit"],
    .ignoresTenantLimits: ["concurrency_limit"],
    .ignoresSessions: ["fair_shares"],
    .ignoresTenants: ["fair_shares"],
    .lastInFirstOut: ["lane_order"],
    .forgetsConclusion: ["concludes_once"],
    .concludesTwice: ["concludes_once"],
    .ignoresDrain: ["drain"],
    .neverSaysDrained: ["drain"],
    .neverEvicts: ["bounded_wait"],
    .losesWakeUps: ["no_stall"],
    .ignoresQueueLimit: ["queue_bounds"],
    .keepsMemory: ["storage_bounded"],
    .prefersLastProvider: ["route_preference"],
    .reusesLeases: ["grants_once"],
    .spinsOnDeadline: ["makes_progress"],
    .admitsABug: ["no_bug_of_ours"],
    .queuesFreeCalls: ["free_calls"],
    .sendsAllFreeCalls: ["free_calls"],
    .ignoresSessionLimit: ["session_limit"],
    .widensFirst: ["session_limit"],
    .neverWidens: ["no_stall"],
    .hurriesAlways: ["hurry"],
    .hurriesPastTenants: ["hurry"],
    .hurriesPastClasses: ["band_order"],
    .neverHurries: ["hurry"],
    .waitsForWarmKeys: ["warm_key"],
    .ignoresPatience: ["patience"],
    .givesUpEarly: ["patience"],
  ]

  /// Checkers that need misjudged scenarios.
  static let realCosts: Set<String> = ["band_shares", "return_wait", "real_shares"]

  /// Checkers that need prompt caches, or clients that give up.
  static let cached: Set<String> = ["hurry", "warm_key", "patience"]

  /// The names of the checkers that found fault with a subject in a few hundred scenarios.
  private func findings<Choice: DefectChoice>(_ choice: Choice.Type, seeds: Range<UInt64> = 0..<400) -> Set<String> {
    var names: Set<String> = []
    let wanted = choice.defect.flatMap { Self.expected[$0] } ?? []
    let isOfRealCosts = !wanted.isDisjoint(with: Self.realCosts)
    let isCached = !wanted.isDisjoint(with: Self.cached) || choice.defect == .hurriesPastClasses
    for seed in seeds {
      let scenario =
        isOfRealCosts
        ? ScenarioGenerator.scenario(seed: ScenarioGenerator.firstMisjudgedSeed + seed, size: 150)
        : isCached
          ? ScenarioGenerator.scenario(seed: ScenarioGenerator.firstCachedSeed + seed, size: 40)
          : ScenarioGenerator.scenario(seed: seed)
      let result = Simulation<NaiveAdmission<Choice>>.run(scenario)
      names.formUnion(result.violations.map(\.checker))
      if !wanted.isEmpty, wanted.isSubset(of: names) { break }
    }
    return names
  }

  @Test func theReferenceIsFoundRight() {
    let failures = ScenarioReplay.failures(of: NaiveAdmission<NoDefect>.self, seeds: 0..<1000 as Range<UInt64>)
    #expect(failures.isEmpty, "\(failures)")
  }

  @Test func theReferenceIsFoundRightWhereEstimatesAreWorthNothing() {
    let first = ScenarioGenerator.firstMisjudgedSeed
    typealias Reference = NaiveAdmission<NoDefect>
    let failures = ScenarioReplay.failures(of: Reference.self, seeds: first..<first + 100, size: 100)
    #expect(failures.isEmpty, "\(failures)")
  }

  @Test func theReferenceIsFoundRightWherePromptsAreCachedAndClientsGiveUp() {
    let first = ScenarioGenerator.firstCachedSeed
    typealias Reference = NaiveAdmission<NoDefect>
    let failures = ScenarioReplay.failures(of: Reference.self, seeds: first..<first + 150, size: 40)
    #expect(failures.isEmpty, "\(failures)")
  }

  @Test(arguments: Defect.allCases.filter { $0 != .isNotDeterministic })
  func eachDefectIsCaught(_ defect: Defect) {
    let found = BrokenSubjects.visit(defect, self.visitor)
    let wanted = Self.expected[defect] ?? []
    #expect(!wanted.isEmpty, "no checker is named for \(defect)")
    #expect(wanted.isSubset(of: found), "\(defect): \(wanted) was to find it, \(found) did")
  }

  private var visitor: any BrokenSubjects.Visitor { Finder(suite: self) }

  private struct Finder: BrokenSubjects.Visitor {
    let suite: BrokenSubjectTests
    func visit<Choice: DefectChoice>(_ choice: Choice.Type) -> Set<String> { suite.findings(choice) }
  }

  @Test func aPolicyMisreadIsCaught() {
    func found<Choice: Misreading>(_ choice: Choice.Type, from first: UInt64) -> Set<String> {
      let failures = ScenarioReplay.failures(of: MisreadingAdmission<Choice>.self, seeds: first..<first + 60, most: 60)
      return Set(failures.flatMap { $0.violations.map(\.checker) })
    }
    let (ailing, shifting) = (ScenarioGenerator.firstAilingSeed, ScenarioGenerator.firstShiftingSeed)
    #expect(found(KeepsWhatWasRemoved.self, from: shifting).contains("known_targets"))
    #expect(found(OvershootsKeys.self, from: shifting).contains("known_targets"))
    // What shows only to a witness that goes on after a failure, a refused key or a careful start.
    #expect(found(TripsAtOnce.self, from: ailing).isSuperset(of: ["no_stall", "concludes_once"]))
    #expect(found(KnowsOneKey.self, from: ailing).contains("concludes_once"))
    #expect(found(NeverRises.self, from: shifting).contains("no_stall"))
  }

  @Test func aSubjectThatIsNotDeterministicHasOtherHashes() {
    let scenario = ScenarioGenerator.scenario(seed: 1, sort: .contended, size: 30)
    var hashes: Set<UInt64> = []
    for _ in 0..<30 { hashes.insert(Simulation<NaiveAdmission<BrokenSubjects.IsNotDeterministic>>.run(scenario).hash) }
    #expect(hashes.count > 1)
    var same: Set<UInt64> = []
    for _ in 0..<5 { same.insert(Simulation<NaiveAdmission<NoDefect>>.run(scenario).hash) }
    #expect(same.count == 1)
  }
}
