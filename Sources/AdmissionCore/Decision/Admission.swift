// The admission core: one value that decides which request may go where, and when.
//
// `Admission` alone holds the control flow; its parts (lanes, fairness, bands, permits, buckets, keys, ...) know
// nothing of one another. docs/internals/admission.md tells how a decision is made.

import DequeModule

/// Orders to the shells, in the order in which they are to be carried out. Reused between calls so that it does not
/// allocate.
public typealias ActionList = [AdmissionAction]

public struct Admission: Sendable {
  // Rules.
  var policy: AdmissionPolicy
  var scheduler: BandScheduler
  var random: SeededRandom

  // Names turned into numbers.
  var providers: [ProviderState] = []
  var providerIndex: [ProviderID: Int32] = [:]
  var tenants: [TenantState] = []
  var tenantIndex: [TenantID: Int32] = [:]
  var freeTenants: [Int32] = []
  var tenantSweepAbove = 256
  var routes = RouteTable()

  // The queue: slots of waiting requests, and the structures that order them.
  var waiting: [Request?] = []
  var freeSlots: [Int32] = []
  var waitingCount = 0
  var waitingByBand = [0, 0, 0]
  var waitingBytes = 0
  var lanes = LaneQueue()
  var fair = [FairShare(), FairShare(), FairShare()]
  /// From 1, never given anew: lanes keep them over a change of policy.
  var clusterNumbers: [ProviderID: Int32] = [:]
  /// Each waiting request's next instant: its retry, its `promote_after`, its deadline.
  var timers = IndexedHeap()
  var timerPositions: [Int32] = []
  /// Tenants that wait for their own bucket.
  var tenantTimers = IndexedHeap()
  var tenantTimerPositions: [Int32] = []
  var nextSequence: UInt64 = 0
  /// Requests that were told to slow down and stand outside of their lanes, in the order of their refusals.
  var heldBack: [RequestID] = []
  var drainRate = DrainRate()
  var book = BudgetBook()
  /// The day that holds, for limits by the day.
  var day = Day(serial: 0, end: .distantFuture)
  var latestDay: Int64 = 0
  /// Who was sent back to its lane in this pass because an account has enough for it.
  var promised: [(request: RequestID, account: Int32)] = []
  /// The broker's budgets are the only tenant's own.
  var isSingleTenant = false

  // What runs.
  var leases: [Lease?] = []
  var freeLeases: [Int32] = []
  var leaseCount = 0
  /// The instants at which they began, added up.
  var leasesBegan: Int128 = 0
  var leaseSerial: UInt64 = 0
  /// Where a request is: its slot in the queue, or the complement of its lease's.
  var locations: [RequestID: Int32] = [:]

  // The pass.
  var pass: UInt64 = 1
  /// By route, the pass that closed it.
  var closedRoutes: [UInt64] = []
  /// Lanes that the pass has set aside.
  var lanesAside: [Int32] = []
  /// By cluster × 4 + band.
  var standings: [BandStanding] = []
  /// Whose calls the last pass found held back, and up to when their meters show it.
  var heldBackBy: [(provider: Int32, holder: QuotaHolder)] = []
  var meteredUntil = Instant(nanoseconds: 0)
  /// The last number that a key's secret got.
  var keySerial: Int64 = 0
  /// When something that a head waits for will be there.
  var wake = Instant.distantFuture
  var needsPass = false
  /// When the next permit that lags behind its call is free.
  var lagEnd = Instant.distantFuture

  /// The instant of the event in hand.
  var clock: Instant

  var isDraining = false
  /// When a drain ends, whatever still runs.
  var drainEnd = Instant.distantFuture
  var saidDrained = false

  /// - Parameter seed: for jitter and tie-breaks; the same seed and events give the same actions.
  public init(policy: AdmissionPolicy, seed: UInt64, at now: Instant) {
    self.policy = policy
    scheduler = BandScheduler(bands: policy.bands)
    random = SeededRandom(seed: seed)
    clock = now
    install(policy, at: now)
  }

  /// Takes in one event and appends what follows from it.
  public mutating func handle(_ event: AdmissionEvent, at now: Instant, into actions: inout ActionList) {
    clock = now
    advance(to: now, into: &actions)
    switch event {
    case .submitted(let ticket): submit(ticket, at: now, into: &actions)
    case .cancelled(let request): cancel(request, at: now, into: &actions)
    case .progressed(let lease, let progress): trueUp(lease, progress, at: now, into: &actions)
    case .settled(let lease, let settlement): settle(lease, settlement, at: now, into: &actions)
    case .limitsObserved(let lease, let limits): observe(limits, lease, at: now, into: &actions)
    case .policyReplaced(let policy, let candidates, let asksPast):
      replace(policy, candidates, asksPast: asksPast, at: now, into: &actions)
    case .keyChecked(let provider, let key, let generation, let isRefused):
      keyChecked(provider, key, generation: generation, isRefused: isRefused, at: now, into: &actions)
    case .operatorCommanded(let command): obey(command, at: now, into: &actions)
    case .budgetWindowsBegan(let windows): beginWindows(windows, at: now, into: &actions)
    case .budgetRaisesReplaced(let raises): replaceRaises(raises, at: now, into: &actions)
    case .budgetsRestored(let spent, let isLast): restoreBudgets(spent, isLast: isLast, at: now, into: &actions)
    case .restored(let attempts): restore(attempts, at: now)
    case .learnedRestored(let models): restore(models)
    case .dayBegan(let day): beginDay(day, at: now)
    case .daySumsRestored(let sums): restore(sums, at: now)
    case .deadlineReached: break
    case .drainRequested: isDraining = true
    case .drainBounded(let end):
      isDraining = true
      drainEnd = end
      boundWaiting(at: now, into: &actions)
    }
    if needsPass { dispatch(at: now, into: &actions) }
    if isDraining, !saidDrained, waitingCount == 0, leaseCount == 0 {
      saidDrained = true
      actions.append(.drained)
    }
  }

  /// When `deadlineReached` must be sent, unless another event comes first; nil where nothing waits for time.
  public var nextDeadline: Instant? {
    guard waitingCount > 0 else { return nil }
    var earliest = wake
    if let first = timers.first { earliest = min(earliest, Instant(nanoseconds: first.key)) }
    if let first = tenantTimers.first { earliest = min(earliest, Instant(nanoseconds: first.key)) }
    return earliest == .distantFuture ? nil : earliest
  }

  // MARK: Time

  /// Everything that only time brings: freed lags, refills, retries that may start, requests that grow old, evictions.
  private mutating func advance(to now: Instant, into actions: inout ActionList) {
    if lagEnd <= now { expireLags(at: now) }
    guard waitingCount > 0 else { return }
    if wake <= now {
      wake = .distantFuture
      needsPass = true
    }
    while let first = tenantTimers.first, first.key <= now.nanoseconds { unpark(first.element) }
    var refused: [RequestID] = []
    while let first = timers.first, first.key <= now.nanoseconds {
      guard Int(first.element) < waiting.count, let request = waiting[Int(first.element)] else {
        timers.remove(first.element, positions: &timerPositions)
        actions.append(.note(.ourBug(.staleHead)))
        continue
      }
      if request.deadline <= now {
        evict(first.element, outcome: .evictedMaxWait, at: now, into: &actions)
      } else if request.isHeldBack, let notBefore = request.notBefore, notBefore <= now {
        refused.append(request.ticket.id)
        waiting[Int(first.element)]?.notBefore = .distantFuture
        schedule(first.element, at: now, into: &actions)
      } else if let notBefore = request.notBefore, notBefore <= now {
        waiting[Int(first.element)]?.notBefore = nil
        enterLane(first.element, isRetry: true)
        schedule(first.element, at: now, into: &actions)
      } else {
        schedule(first.element, at: now, into: &actions)
      }
    }
    if !refused.isEmpty { readmit(refused, at: now, into: &actions) }
  }

  /// The request has waited past its band's `promote_after`: told once, and where it stands first its band gets its raised share.
  private mutating func mark(_ slot: Int32, _ request: Request, into actions: inout ActionList) {
    if !request.isOld {
      waiting[Int(slot)]?.isOld = true
      actions.append(.note(.promoted(request.ticket.id)))
    }
    if let lane = lanes.lane(of: slot), lanes.head(of: lane) == slot {
      fair[request.band].setOld(lane: lane, true)
      // It may go where only the headroom was in its way.
      needsPass = true
    }
  }

  private mutating func expireLags(at now: Instant) {
    var next = Instant.distantFuture
    for index in providers.indices {
      if providers[index].capacity.permits.expire(at: now) { needsPass = true }
      next = min(next, providers[index].capacity.permits.nextExpiry ?? .distantFuture)
      for model in providers[index].models.indices {
        _ = providers[index].models[model].capacity.permits.expire(at: now)
        next = min(next, providers[index].models[model].capacity.permits.nextExpiry ?? .distantFuture)
      }
      for key in providers[index].keys.indices {
        _ = providers[index].keys[key].capacity.permits.expire(at: now)
        next = min(next, providers[index].keys[key].capacity.permits.nextExpiry ?? .distantFuture)
      }
    }
    lagEnd = next
    needsPass = true
  }

  /// Marks the request if it is old, and sets its timer to whatever comes next for it.
  mutating func schedule(_ slot: Int32, at now: Instant, into actions: inout ActionList) {
    guard let request = waiting[Int(slot)] else { return }
    var next = request.deadline
    if let notBefore = request.notBefore {
      next = min(next, notBefore)
    } else if request.promoteAt > now {
      next = min(next, request.promoteAt)
    } else {
      mark(slot, request, into: &actions)
    }
    if timerPositions[Int(slot)] >= 0 {
      timers.update(slot, key: next.nanoseconds, stamp: request.sequence, positions: &timerPositions)
    } else {
      timers.insert(slot, key: next.nanoseconds, stamp: request.sequence, positions: &timerPositions)
    }
  }
}

/// SplitMix64: small, fast, the same on every platform.
struct SeededRandom: Sendable {
  private var state: UInt64
  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }

  /// 0...bound, every value as likely.
  mutating func upTo(_ bound: Int64) -> Int64 {
    guard bound > 0 else { return 0 }
    return Int64(next().multipliedFullWidth(by: UInt64(bound) + 1).high)
  }
}
