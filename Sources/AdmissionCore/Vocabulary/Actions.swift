// What the core orders the shells to do.

public enum AdmissionAction: Sendable {
  /// Send the request now. Every grant is settled exactly once.
  case grant(Grant)
  /// The request is over: answer the client unless it has its answer, and forget the request. Exactly one for each
  /// `submitted`.
  case conclude(Conclusion)
  /// Make a free call of our own with this key (list its models), and report with `keyChecked` whether the provider
  /// refused it. At most one for each first refusal: when the same call is refused again, no second check is ordered.
  case checkKey(ProviderID, KeyID)
  /// Something an operator may want to know; never needed for correctness.
  case note(Notice)
  /// After `drainRequested`: nothing is queued and nothing runs.
  case drained
}

/// A committed placement.
public struct Grant: Sendable {
  public var request: RequestID
  public var lease: LeaseID
  public var provider: ProviderID
  /// nil where the provider has no keys (`pass_through`, local models).
  public var key: KeyID?
  /// 1 for the first try.
  public var attempt: Int
  /// How long the request has been queued in all.
  public var queued: Span
  /// Tokens reserved for the call.
  public var reservedInput: TokenCount
  public var reservedOutput: TokenCount
  /// How much of its input is expected to be read from the provider's cache.
  public var expectedCached: TokenCount
  /// The estimated cost of the call, held in every budget that the call counts against; nil where the price is unknown.
  public var held: Money?
  /// What is left of the tenant's tightest budget after this hold; nil where the tenant has no budget.
  public var budgetRemaining: Money?

  public init(
    request: RequestID, lease: LeaseID, provider: ProviderID, key: KeyID? = nil, attempt: Int, queued: Span,
    reservedInput: TokenCount, reservedOutput: TokenCount, expectedCached: TokenCount = 0, held: Money? = nil,
    budgetRemaining: Money? = nil
  ) {
    self.expectedCached = expectedCached
    self.request = request
    self.lease = lease
    self.provider = provider
    self.key = key
    self.attempt = attempt
    self.queued = queued
    self.reservedInput = reservedInput
    self.reservedOutput = reservedOutput
    self.held = held
    self.budgetRemaining = budgetRemaining
  }
}

/// An upstream key by its provider.
public struct RefusedKey: Sendable, Hashable {
  public var provider: ProviderID
  public var key: KeyID
  public init(provider: ProviderID, key: KeyID) {
    self.provider = provider
    self.key = key
  }
}

public struct Conclusion: Sendable {
  public var request: RequestID
  public var outcome: Outcome
  /// For outcomes that the broker answers itself: when the client should come back, from the measured drain rate of the
  /// queue. 1...60 s.
  public var retryAfter: Span?
  /// How long the request was queued in all.
  public var queued: Span
  public var attempts: Int
  /// What is left of the tenant's tightest budget; nil where the tenant has none.
  public var budgetRemaining: Money?
  /// What only a refusal or an eviction has to tell. Apart, since each action takes as much memory as the largest one.
  private var reasons: Reasons?
  /// What stood in the way, for the error text and `explain`.
  public var blocker: Blocker? { reasons?.blocker }
  /// The budget that refused it.
  public var budget: BudgetReading? { reasons?.budget }
  /// The least that the request was estimated to cost, where a budget refused it.
  public var estimate: Money? { reasons?.estimate }
  /// For `rejectedNoCapacity` where every key of the route is refused or unpaid: the key that was refused last.
  public var refusedKey: RefusedKey? { reasons?.refusedKey }
  /// For `evictedMaxWait` where the client's patience ended the wait.
  public var givingUp: GivingUp? { reasons?.givingUp }

  private final class Reasons: Sendable {
    let blocker: Blocker?
    let budget: BudgetReading?
    let estimate: Money?
    let refusedKey: RefusedKey?
    let givingUp: GivingUp?

    init(
      _ blocker: Blocker?, _ budget: BudgetReading?, _ estimate: Money?, _ refusedKey: RefusedKey?,
      _ givingUp: GivingUp?
    ) {
      self.blocker = blocker
      self.budget = budget
      self.estimate = estimate
      self.refusedKey = refusedKey
      self.givingUp = givingUp
    }
  }

  public init(
    request: RequestID, outcome: Outcome, retryAfter: Span? = nil, blocker: Blocker? = nil, queued: Span,
    attempts: Int, budget: BudgetReading? = nil, estimate: Money? = nil, budgetRemaining: Money? = nil,
    refusedKey: RefusedKey? = nil, givingUp: GivingUp? = nil
  ) {
    self.init(
      request: request, outcome: outcome, retryAfter: retryAfter, queued: queued, attempts: attempts,
      budgetRemaining: budgetRemaining)
    if blocker != nil || budget != nil || estimate != nil || refusedKey != nil || givingUp != nil {
      reasons = Reasons(blocker, budget, estimate, refusedKey, givingUp)
    }
  }

  /// For a request that nothing has stood in the way of.
  init(
    request: RequestID, outcome: Outcome, retryAfter: Span?, queued: Span, attempts: Int, budgetRemaining: Money?
  ) {
    self.request = request
    self.outcome = outcome
    self.retryAfter = retryAfter
    self.queued = queued
    self.attempts = attempts
    self.budgetRemaining = budgetRemaining
  }
}

/// When a client gives up, and what was known of its call when that ended its wait.
public struct GivingUp: Sendable, Hashable {
  /// How long the client waits for the first byte.
  public var after: Span
  /// How long the first byte of such a call takes; zero where nothing is known of it.
  public var firstByte: Span

  public init(after: Span, firstByte: Span) {
    self.after = after
    self.firstByte = firstByte
  }
}

/// Why a request cannot be placed now.
public enum Blocker: Sendable, Hashable {
  /// Another request of its lane goes first.
  case behindInLane
  /// Its band or flow has not had its turn yet.
  case notItsTurn
  case providerConcurrency(ProviderID)
  /// As many free calls (counts, lists, reads) run there as may at a time.
  case freeConcurrency(ProviderID)
  /// Free permits are kept for higher bands.
  case headroom(ProviderID)
  case providerBucket(ProviderID, Dimension)
  case modelConcurrency(ProviderID, model: String)
  case modelBucket(ProviderID, model: String, Dimension)
  case tenantConcurrency(TenantID)
  case tenantBucket(TenantID, Dimension)
  /// Its session, or the group of its session, runs as many calls as it may.
  case sessionConcurrency(SessionID)
  /// A head that came earlier in the pass has claimed the provider.
  case claimed(ProviderID, by: RequestID)
  case breakerOpen(ProviderID)
  case modelBreakerOpen(ProviderID, model: String)
  case noUsableKey(ProviderID)
  /// Each key that could take it runs as many calls as it may.
  case keyConcurrency(ProviderID)
  /// Each key that could take it lacks units of its own limit.
  case keyBucket(ProviderID, Dimension)
  /// The key whose cache has its prompt is soon free.
  case warmKey(ProviderID, key: KeyID)
  case providerClosed(ProviderID)
  /// The provider has asked calls for these models to slow down.
  case modelClosed(ProviderID, model: String)
  case budget(String)
  /// Its own retry may not start yet.
  case backoff

  /// The kind of blocker, for labels and JSON: `provider_concurrency`, ...
  public var name: String {
    switch self {
    case .behindInLane: "behind_in_lane"
    case .notItsTurn: "not_its_turn"
    case .providerConcurrency: "provider_concurrency"
    case .freeConcurrency: "free_concurrency"
    case .headroom: "headroom"
    case .providerBucket: "provider_bucket"
    case .modelConcurrency: "model_concurrency"
    case .modelBucket: "model_bucket"
    case .tenantConcurrency: "tenant_concurrency"
    case .tenantBucket: "tenant_bucket"
    case .sessionConcurrency: "session_concurrency"
    case .claimed: "claimed"
    case .breakerOpen: "breaker_open"
    case .modelBreakerOpen: "model_breaker_open"
    case .noUsableKey: "no_usable_key"
    case .keyConcurrency: "key_concurrency"
    case .keyBucket: "key_bucket"
    case .warmKey: "warm_key"
    case .providerClosed: "provider_closed"
    case .modelClosed: "model_closed"
    case .budget: "budget"
    case .backoff: "backoff"
    }
  }
}

/// A notable change, for logs, the event stream and `explain`. The cases with a reading are `indirect`, since each action
/// takes as much memory as the largest one.
public enum Notice: Sendable {
  /// The request waits. Given when the reason changes, at most 16 times per request.
  case waiting(RequestID, Blocker)
  /// The request has waited longer than its class's `promote_after`; at most once per request.
  case promoted(RequestID)
  /// The request goes back to the front of its lane.
  case requeued(RequestID, notBefore: Instant, because: Verdict)
  /// What a provider serves in a minute, for these models (nil: all models) with this key (nil: any key).
  case limitLearned(ProviderID, model: String?, key: KeyID?, Dimension, perMinute: Int64)
  /// How many calls a provider serves at once, for these models (nil: all models) with this key (nil: any key).
  case concurrencyChanged(ProviderID, model: String?, key: KeyID?, limit: Int)
  /// `model` is the glob of a model limit with a breaker of its own; nil means the provider's breaker.
  case breakerChanged(ProviderID, model: String?, state: BreakerCondition, reason: String)
  case keyChanged(ProviderID, KeyID, state: KeyCondition, reason: KeyReason)
  /// A provider has asked for a pause: calls for these models (nil: all models) with this key (nil: any key) wait.
  case paused(ProviderID, model: String?, key: KeyID?, for: Span, reason: PauseReason)
  /// A budget that is used up has lowered the request's class to `low`. Given before any other notice about the
  /// request.
  indirect case demoted(RequestID, BudgetReading)
  /// A budget's spending has passed its `warn_at`; once in each window.
  indirect case budgetWarned(BudgetReading)
  /// A budget is used up, or was too small for a request; once in each window.
  indirect case budgetExceeded(BudgetReading)
  /// Something that should be impossible was found and thrown out.
  case ourBug(OurBug)
  /// A provider gave a number that cannot be true; once for each provider and source.
  case impossibleNumber(ProviderID, ImpossibleNumber)
}
