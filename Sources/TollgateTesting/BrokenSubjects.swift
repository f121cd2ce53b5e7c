// The broken subjects: the naive reference with one defect each. The checker for a defect must catch the subject that
// has it.
import AdmissionCore
import PolicyLab

/// One type for each `Defect`, and a function from a defect to its type.
public enum BrokenSubjects {
  public enum IgnoresBands: DefectChoice { public static var defect: Defect? { .ignoresBands } }
  public enum ServesBandsBackwards: DefectChoice { public static var defect: Defect? { .servesBandsBackwards } }
  public enum StarvesLow: DefectChoice { public static var defect: Defect? { .starvesLow } }
  public enum NeverPromotes: DefectChoice { public static var defect: Defect? { .neverPromotes } }
  public enum PromotesBeforeAll: DefectChoice { public static var defect: Defect? { .promotesBeforeAll } }
  public enum MovesTimeByEstimates: DefectChoice { public static var defect: Defect? { .movesTimeByEstimates } }
  public enum NeverCorrects: DefectChoice { public static var defect: Defect? { .neverCorrects } }
  public enum LeaksPermitOnCancel: DefectChoice { public static var defect: Defect? { .leaksPermitOnCancel } }
  public enum GrantsTwice: DefectChoice { public static var defect: Defect? { .grantsTwice } }
  public enum IgnoresBuckets: DefectChoice { public static var defect: Defect? { .ignoresBuckets } }
  public enum ForgetsOutputInBuckets: DefectChoice { public static var defect: Defect? { .forgetsOutputInBuckets } }
  public enum NeverChargesModels: DefectChoice { public static var defect: Defect? { .neverChargesModels } }
  public enum RefillsTwiceAsFast: DefectChoice { public static var defect: Defect? { .refillsTwiceAsFast } }
  public enum OvershootsByOne: DefectChoice { public static var defect: Defect? { .overshootsByOne } }
  public enum IgnoresHeadroom: DefectChoice { public static var defect: Defect? { .ignoresHeadroom } }
  public enum IgnoresTenantLimits: DefectChoice { public static var defect: Defect? { .ignoresTenantLimits } }
  public enum IgnoresSessions: DefectChoice { public static var defect: Defect? { .ignoresSessions } }
  public enum IgnoresTenants: DefectChoice { public static var defect: Defect? { .ignoresTenants } }
  public enum LastInFirstOut: DefectChoice { public static var defect: Defect? { .lastInFirstOut } }
  public enum ForgetsConclusion: DefectChoice { public static var defect: Defect? { .forgetsConclusion } }
  public enum ConcludesTwice: DefectChoice { public static var defect: Defect? { .concludesTwice } }
  public enum IgnoresDrain: DefectChoice { public static var defect: Defect? { .ignoresDrain } }
  public enum NeverSaysDrained: DefectChoice { public static var defect: Defect? { .neverSaysDrained } }
  public enum NeverEvicts: DefectChoice { public static var defect: Defect? { .neverEvicts } }
  public enum LosesWakeUps: DefectChoice { public static var defect: Defect? { .losesWakeUps } }
  public enum IgnoresQueueLimit: DefectChoice { public static var defect: Defect? { .ignoresQueueLimit } }
  public enum KeepsMemory: DefectChoice { public static var defect: Defect? { .keepsMemory } }
  public enum PrefersLastProvider: DefectChoice { public static var defect: Defect? { .prefersLastProvider } }
  public enum ReusesLeases: DefectChoice { public static var defect: Defect? { .reusesLeases } }
  public enum SpinsOnDeadline: DefectChoice { public static var defect: Defect? { .spinsOnDeadline } }
  public enum AdmitsABug: DefectChoice { public static var defect: Defect? { .admitsABug } }
  public enum IsNotDeterministic: DefectChoice { public static var defect: Defect? { .isNotDeterministic } }

  public enum QueuesFreeCalls: DefectChoice { public static var defect: Defect? { .queuesFreeCalls } }
  public enum SendsAllFreeCalls: DefectChoice { public static var defect: Defect? { .sendsAllFreeCalls } }

  public enum IgnoresSessionLimit: DefectChoice { public static var defect: Defect? { .ignoresSessionLimit } }
  public enum WidensFirst: DefectChoice { public static var defect: Defect? { .widensFirst } }
  public enum NeverWidens: DefectChoice { public static var defect: Defect? { .neverWidens } }

  public enum HurriesAlways: DefectChoice { public static var defect: Defect? { .hurriesAlways } }
  public enum HurriesPastTenants: DefectChoice { public static var defect: Defect? { .hurriesPastTenants } }
  public enum HurriesPastClasses: DefectChoice { public static var defect: Defect? { .hurriesPastClasses } }
  public enum NeverHurries: DefectChoice { public static var defect: Defect? { .neverHurries } }
  public enum WaitsForWarmKeys: DefectChoice { public static var defect: Defect? { .waitsForWarmKeys } }
  public enum IgnoresPatience: DefectChoice { public static var defect: Defect? { .ignoresPatience } }
  public enum GivesUpEarly: DefectChoice { public static var defect: Defect? { .givesUpEarly } }

  /// Work to be done with a type of subject.
  public protocol Visitor {
    func visit<Choice: DefectChoice>(_ choice: Choice.Type) -> Set<String>
  }

  public static func visit(_ defect: Defect, _ visitor: any Visitor) -> Set<String> {
    switch defect {
    case .ignoresBands: visitor.visit(IgnoresBands.self)
    case .servesBandsBackwards: visitor.visit(ServesBandsBackwards.self)
    case .starvesLow: visitor.visit(StarvesLow.self)
    case .neverPromotes: visitor.visit(NeverPromotes.self)
    case .promotesBeforeAll: visitor.visit(PromotesBeforeAll.self)
    case .movesTimeByEstimates: visitor.visit(MovesTimeByEstimates.self)
    case .neverCorrects: visitor.visit(NeverCorrects.self)
    case .leaksPermitOnCancel: visitor.visit(LeaksPermitOnCancel.self)
    case .grantsTwice: visitor.visit(GrantsTwice.self)
    case .ignoresBuckets: visitor.visit(IgnoresBuckets.self)
    case .forgetsOutputInBuckets: visitor.visit(ForgetsOutputInBuckets.self)
    case .neverChargesModels: visitor.visit(NeverChargesModels.self)
    case .refillsTwiceAsFast: visitor.visit(RefillsTwiceAsFast.self)
    case .overshootsByOne: visitor.visit(OvershootsByOne.self)
    case .ignoresHeadroom: visitor.visit(IgnoresHeadroom.self)
    case .ignoresTenantLimits: visitor.visit(IgnoresTenantLimits.self)
    case .ignoresSessions: visitor.visit(IgnoresSessions.self)
    case .ignoresTenants: visitor.visit(IgnoresTenants.self)
    case .lastInFirstOut: visitor.visit(LastInFirstOut.self)
    case .forgetsConclusion: visitor.visit(ForgetsConclusion.self)
    case .concludesTwice: visitor.visit(ConcludesTwice.self)
    case .ignoresDrain: visitor.visit(IgnoresDrain.self)
    case .neverSaysDrained: visitor.visit(NeverSaysDrained.self)
    case .neverEvicts: visitor.visit(NeverEvicts.self)
    case .losesWakeUps: visitor.visit(LosesWakeUps.self)
    case .ignoresQueueLimit: visitor.visit(IgnoresQueueLimit.self)
    case .keepsMemory: visitor.visit(KeepsMemory.self)
    case .prefersLastProvider: visitor.visit(PrefersLastProvider.self)
    case .reusesLeases: visitor.visit(ReusesLeases.self)
    case .spinsOnDeadline: visitor.visit(SpinsOnDeadline.self)
    case .admitsABug: visitor.visit(AdmitsABug.self)
    case .queuesFreeCalls: visitor.visit(QueuesFreeCalls.self)
    case .sendsAllFreeCalls: visitor.visit(SendsAllFreeCalls.self)
    case .ignoresSessionLimit: visitor.visit(IgnoresSessionLimit.self)
    case .widensFirst: visitor.visit(WidensFirst.self)
    case .neverWidens: visitor.visit(NeverWidens.self)
    case .hurriesAlways: visitor.visit(HurriesAlways.self)
    case .hurriesPastTenants: visitor.visit(HurriesPastTenants.self)
    case .hurriesPastClasses: visitor.visit(HurriesPastClasses.self)
    case .neverHurries: visitor.visit(NeverHurries.self)
    case .waitsForWarmKeys: visitor.visit(WaitsForWarmKeys.self)
    case .ignoresPatience: visitor.visit(IgnoresPatience.self)
    case .givesUpEarly: visitor.visit(GivesUpEarly.self)
    case .isNotDeterministic: visitor.visit(IsNotDeterministic.self)
    }
  }
}
