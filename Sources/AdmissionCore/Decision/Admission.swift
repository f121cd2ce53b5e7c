// The admission core: one value that decides which request may go where, and when.
//
// Only `Admission` contains the control flow; its parts (lanes, fairness, bands, permits, buckets, keys, ...) know
// nothing of one another. docs/internals/admission.md describes how a decision is made.

/// Actions for the shell, in the order in which they are to be carried out. The list is reused between calls so that it
/// does not allocate.
public typealias ActionList = [AdmissionAction]

public struct Admission: Sendable {
  // The rules, and the state they are computed from.
  var policy: AdmissionPolicy
  var scheduler: BandScheduler
  var random: SeededRandom

  // The stores.
  var providers = ProviderTable()
  var tenants = TenantTable()
  var waiting = WaitingRequests()
  var leases = LeaseTable()
  var book = BudgetBook()
  var drainRate = DrainRate()
  /// For `explain` alone.
  var grantLog = GrantLog()

  // Results of the last looks.
  /// Old heads that were blocked only by the headroom, while a request of a higher band waited.
  var outranked: [(route: RouteIndex, band: Int)] = []
  /// The same by route: a bit for each band.
  var isOutranked = Column<Route, UInt8>(0)
  var watch = BudgetWatch()
  /// Marks the routes that have already been compared with a claim.
  var checkedIn = Column<Route, UInt64>(0)
  var checks: UInt64 = 0
  /// The number of the last pass.
  var passes: UInt64 = 0
  /// The requests that were sent back to their lanes in this pass because an account has enough for them.
  var promised: [(request: RequestID, account: AccountIndex)] = []
  /// Empty, between two attempts to place a head: memory for what blocks one.
  var spareLegs: [BlockedLeg] = []
  /// The same for the heads that found no place in their floor turns.
  var spareHeads: [RequestIndex] = []
  /// How often a waiting request was compared with a provider since the start: once for each of its candidates, each
  /// time placement was tried.
  public private(set) var placements: UInt64 = 0
  /// True in tests: every event looks at everything again, which makes the same decisions with more work.
  var looksEverywhere = false

  // Time.
  /// The current day, for daily limits.
  var day = Day(serial: 0, end: .distantFuture)
  /// The time of the last event: whether a prompt is still cached is asked as of then.
  private(set) var latest: Instant
  var latestDay: Int64 = 0

  // The drain.
  var isDraining = false
  /// When a drain ends, even if calls still run.
  var drainEnd = Instant.distantFuture
  var saidDrained = false

  /// Makes the type one whose values are always passed by reference. Without it the compiler copies all of a thousand
  /// bytes to the stack for each call of a method that only reads, some thirty times a decision.
  private let byReference: (any Sendable)? = nil

  /// True where there is only one tenant, so that the broker's budgets are that tenant's own.
  var isSingleTenant = false

  /// - Parameter seed: for jitter and tie-breaks; the same seed and events give the same actions.
  public init(policy: AdmissionPolicy, seed: UInt64, at now: Instant) {
    self.policy = policy
    latest = now
    scheduler = BandScheduler(bands: policy.bands)
    random = SeededRandom(seed: seed)
    install(policy, at: now)
  }

  /// Processes one event and appends the resulting actions.
  public mutating func handle(_ event: consuming AdmissionEvent, at now: Instant, into actions: inout ActionList) {
    latest = max(latest, now)
    advance(to: now, into: &actions)
    switch consume event {
    case .submitted(let ticket): submit(ticket, at: now, into: &actions)
    case .cancelled(let request): cancel(request, at: now, into: &actions)
    case .progressed(let lease, let progress): trueUp(lease, progress, at: now, into: &actions)
    case .settled(let lease, let settlement): settle(lease, settlement, at: now, into: &actions)
    case .limitsObserved(let lease, let limits): observe(limits, lease, at: now, into: &actions)
    case .sentAgain(let lease): countAgain(lease, at: now)
    case .policyReplaced(let policy, let candidates, let asksPast):
      replace(policy, candidates, asksPast: asksPast, at: now, into: &actions)
    case .keyChecked(let provider, let key, let generation, let isRefused):
      keyChecked(provider, key, generation: generation, isRefused: isRefused, at: now, into: &actions)
    case .operatorCommanded(let command): obey(command, at: now, into: &actions)
    case .budgetWindowsBegan(let windows): beginWindows(windows, at: now, into: &actions)
    case .budgetRaisesReplaced(let raises): replaceRaises(raises, at: now, into: &actions)
    case .budgetsRestored(let spent, let isLast): restoreBudgets(spent, isLast: isLast, at: now, into: &actions)
    case .restored(let attempts): restore(attempts, at: now)
    case .learnedRestored(let models):
      providers.restore(models, at: now)
      providers.changeAll()
    case .limitsRestored(let limits):
      providers.restore(limits, dayEnd: day.end, at: now)
      providers.changeAll()
    case .dayBegan(let day): beginDay(day, at: now)
    case .daySumsRestored(let sums): restore(sums, at: now)
    case .deadlineReached: break
    case .drainRequested: isDraining = true
    case .drainBounded(let end):
      isDraining = true
      drainEnd = end
      boundWaiting(at: now, into: &actions)
    }
    if hasNews || waiting.isFreeDue || looksEverywhere { dispatch(at: now, into: &actions) }
    if isDraining, !saidDrained, waiting.isEmpty, leases.isEmpty {
      saidDrained = true
      actions.append(.drained)
    }
  }

  /// When `deadlineReached` must be sent, unless another event comes first; nil where nothing depends on time.
  public var nextDeadline: Instant? {
    guard !waiting.isEmpty else { return nil }
    let earliest = min(
      providers.nextWake ?? .distantFuture, waiting.nextDeadline ?? .distantFuture,
      tenants.nextDeadline ?? .distantFuture)
    return earliest == .distantFuture ? nil : earliest
  }

  /// What was learned about models since the last call, to be kept for the next start.
  public mutating func takeLearned() -> [LearnedModel] { providers.takeLearned() }
  /// The limits that providers have told, to be kept for the next start.
  public func toldLimits() -> [LearnedLimits] { providers.toldLimits() }

  // MARK: Time

  /// Does everything that only time causes: permits whose lag is over, refills, retries that may start, requests that
  /// become old, evictions.
  private mutating func advance(to now: Instant, into actions: inout ActionList) {
    providers.expireLags(at: now)
    providers.wake(at: now)
    if book.endRaises(at: now) { lookEverywhere() }
    guard !waiting.isEmpty else { return }
    while let tenant = tenants.due(at: now) { unpark(tenant) }
    var refused: [RequestID] = []
    while let index = waiting.due(at: now) {
      guard let request = waiting.find(index) else {
        waiting.throwOut(index, at: now)
        actions.append(.note(.ourBug(.staleHead)))
        continue
      }
      if request.deadline <= now {
        evict(index, outcome: .evictedMaxWait, at: now, into: &actions)
      } else if request.isHeldBack, let notBefore = request.notBefore, notBefore <= now {
        refused.append(request.ticket.id)
        waiting[index].notBefore = .distantFuture
        schedule(index, at: now, into: &actions)
      } else if let notBefore = request.notBefore, notBefore <= now {
        waiting[index].notBefore = nil
        enterLane(index, isRetry: true, at: now)
        schedule(index, at: now, into: &actions)
        noteEndOfBackoff(index, at: now, into: &actions)
      } else {
        schedule(index, at: now, into: &actions)
      }
    }
    if !refused.isEmpty { readmit(refused, at: now, into: &actions) }
  }

  /// Counts comparisons of one request with one provider.
  mutating func countPlacements(_ count: Int) { placements &+= UInt64(count) }

  /// Marks the request if it is old, and sets its timer to its next instant.
  mutating func schedule(_ index: RequestIndex, at now: Instant, into actions: inout ActionList) {
    guard waiting.contains(index) else { return }
    var next = waiting[index].deadline
    if let notBefore = waiting[index].notBefore {
      next = min(next, notBefore)
    } else if waiting[index].promoteAt > now {
      next = min(next, waiting[index].promoteAt)
    } else {
      mark(index, into: &actions)
    }
    if waiting[index].cacheEnd >= now {
      let isHurried = waiting[index].hurryAt <= now
      next = min(next, isHurried ? waiting[index].cacheEnd + Span(nanoseconds: 1) : waiting[index].hurryAt)
      if isHurried {
        waiting[index].isHurried = true
        waiting.hurry(index, at: now)
      }
    } else if waiting[index].isHurried {
      waiting[index].isHurried = false
      waiting.hurry(index, at: now)
    }
    waiting.setTimer(index, to: next)
  }

  /// The request has waited longer than its band's `promote_after`: this is reported once, and while the request is a
  /// head its band gets the larger share.
  private mutating func mark(_ index: RequestIndex, into actions: inout ActionList) {
    if !waiting[index].isOld {
      waiting[index].isOld = true
      actions.append(.note(.promoted(waiting[index].ticket.id)))
    }
    // It may now go where only the headroom blocked it.
    if waiting.markOld(index) { change(waiting[index].route) }
  }
}
