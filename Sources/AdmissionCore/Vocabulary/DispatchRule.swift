/// The rules of dispatch, by their numbers in docs/internals/admission.md, which states each rule in full. Comments and
/// tests name them by these numbers, and `explain` says which rule made a request wait.
public enum DispatchRule: String, Sendable, CaseIterable {
  /// Higher classes go first.
  case classesAreStrict = "1"
  /// Some permits and units are kept for the classes above.
  case headroom = "1a"
  /// A class that waits is credited with its share of what others are granted.
  case floorShare = "1b"
  /// Age raises a class's share, and jumps no line.
  case promotion = "1c"
  /// Inside a class tenants take turns by weight, then sessions, by what their calls really cost.
  case fairTurns = "2"
  /// A flow that comes back from idling waits for another flow no longer than two calls' real cost.
  case comingBack = "2a"
  /// Inside a session the first goes first; retries stand in front.
  case laneOrder = "2b"
  /// A session whose cached prompt is about to expire goes before others of its tenant.
  case hurry = "2c"
  /// A blocked head claims what it waits for.
  case claims = "3"
  /// One that its own tenant's limit blocks claims nothing.
  case tenantsOwnLimit = "3a"
  /// Nor does a head that something of its own holds back.
  case itsOwnAffair = "3b"
  /// A head that a budget holds back waits at the budget.
  case budgets = "3c"
  /// A session that runs as many calls as it may is passed over, or gets only what others leave.
  case sessionsOwnLimit = "3d"
  /// A call whose prompt one key's cache has waits for that key, as long as another would take to read the prompt.
  case warmKey = "3e"
  /// A small call that comes while a large one gathers tokens goes before it.
  case overtaking = "3f"
  /// A request may go to any provider of its route, in order of preference.
  case preference = "4"
  /// A request that is larger than a whole bucket takes the whole bucket.
  case wholeBucket = "5"
  /// Nothing is tried again before its answer can have changed.
  case noPolling = "6"
  /// All that a call needs is taken together, or nothing.
  case allOrNothing = "7"
  /// Where something was blocked, a single call goes first.
  case probesFirst = "8"
  /// A request that cannot be served in time is told so at once.
  case noHopeNoWait = "9"
  /// A free call waits for nothing but a closure, an open breaker or the 32 before it.
  case freeCalls = "10"
}

extension Blocker {
  /// The rule by which the request waits.
  public var rule: DispatchRule {
    switch self {
    case .behindInLane: .laneOrder
    case .notItsTurn: .fairTurns
    case .headroom: .headroom
    case .providerConcurrency, .providerBucket, .modelConcurrency, .modelBucket, .keyConcurrency, .keyBucket:
      .allOrNothing
    case .tenantConcurrency, .tenantBucket: .tenantsOwnLimit
    case .sessionConcurrency: .sessionsOwnLimit
    case .claimed: .claims
    case .warmKey: .warmKey
    case .breakerOpen, .modelBreakerOpen, .noUsableKey, .providerClosed, .modelClosed: .probesFirst
    case .budget: .budgets
    case .backoff: .itsOwnAffair
    case .freeConcurrency: .freeCalls
    }
  }
}
