// The ways in which the naive reference can be spoiled.

/// One way of being wrong.
public enum Defect: String, CaseIterable, Sendable {
  case ignoresBands
  case servesBandsBackwards
  case starvesLow
  case neverPromotes
  /// The rule of old: promoted heads before everybody.
  case promotesBeforeAll
  /// The rule of old: virtual time moves by what is expected.
  case movesTimeByEstimates
  case neverCorrects
  case leaksPermitOnCancel
  case grantsTwice
  case ignoresBuckets
  case forgetsOutputInBuckets
  case neverChargesModels
  case refillsTwiceAsFast
  case overshootsByOne
  case ignoresHeadroom
  case ignoresTenantLimits
  case ignoresSessions
  case ignoresTenants
  case lastInFirstOut
  case forgetsConclusion
  case concludesTwice
  case ignoresDrain
  case neverSaysDrained
  case neverEvicts
  case losesWakeUps
  case ignoresQueueLimit
  case keepsMemory
  case prefersLastProvider
  case reusesLeases
  case spinsOnDeadline
  case admitsABug
  case isNotDeterministic
  /// Free calls wait for permits, units and turns like all others.
  case queuesFreeCalls
  /// Any number of free calls run at a time.
  case sendsAllFreeCalls
  /// Sessions run as many calls as they can.
  case ignoresSessionLimit
  /// Heads of sessions at their limit take turns with all others, as long as the policy widens.
  case widensFirst
  /// Sessions never get more than their limit, whatever is free.
  case neverWidens
  /// Prompts that are about to expire go first, however many grants in a row are out of turn.
  case hurriesAlways
  /// They go before other tenants too.
  case hurriesPastTenants
  /// They go before all classes.
  case hurriesPastClasses
  case neverHurries
  /// A call waits for the key that has its prompt as long as the class lets it.
  case waitsForWarmKeys
  case ignoresPatience
  /// A call is given up long before its client leaves.
  case givesUpEarly
}
