// What the core remembers about requests, leases, providers and tenants.

/// A ticket that never changes, behind one reference: requests move between queue and leases, and copying the ticket's
/// texts each time would be the largest part of a decision's cost.
final class TicketBox: Sendable {
  let ticket: Ticket
  init(_ ticket: Ticket) { self.ticket = ticket }

  func routed(to candidates: [Candidate]) -> TicketBox {
    var ticket = ticket
    ticket.candidates = candidates
    return TicketBox(ticket)
  }
}

/// A request, queued or running.
struct Request: Sendable {
  var box: TicketBox
  var ticket: Ticket { box.ticket }
  var tenant: Int32
  var band: Int
  /// -1 where none of its candidates exists any more.
  var route: Int32
  /// Order of arrival.
  var sequence: UInt64
  var submitted: Instant
  /// When the present stay in the queue began.
  var queuedSince: Instant
  /// Earlier stays together.
  var queuedBefore: Span = .zero
  var deadline: Instant
  /// When it is old, and what has been told of it.
  var promoteAt: Instant
  var isOld = false
  /// Its own retry may not start before this.
  var notBefore: Instant?
  /// It was told to slow down, and stands outside of its lane until others have tried.
  var isHeldBack = false
  /// How often it was told to slow down while others of its model went well and none but it was told so, the first time included.
  var refusals: UInt8 = 0
  /// What it compares its model's signs with when it is told again.
  var seen = RefusalSigns()
  /// Its model's `throttles` when its attempt began: those that were refused beside it count, whoever was told first.
  var throttlesAtGrant: UInt32 = 0
  /// Keys that have refused it: their provider's number and their own.
  var refusedKeys: [Int64] = []
  /// The provider whose meter of waiting counts it; -1 where none does.
  var meteredAt: Int32 = -1
  /// Grants so far.
  var tries = 0
  /// Attempts that count against the provider's `attempts`.
  var spentAttempts = 0
  var sessionHash: UInt64
  var isCancelled = false
  var notes: UInt8 = 0
  var lastNoted: Obstacle?
  /// The number that its model's name has in the predictors.
  var model: Int32 = 0
  /// Legs of its route that have failed it, by bit; not tried again before `backoffUntil`.
  var failedLegs: UInt64 = 0
  var backoffUntil = Instant(nanoseconds: .min)
  /// The budget accounts that it counts against.
  var accounts: [Int32] = []
  /// Where it goes if it is tried again, since the routes changed while it ran; nil where they did not.
  var candidatesAnew: [Candidate]?
  /// The account at which it waits, outside its lane, for a hold to come back; -1 where it does not.
  var waitsFor: Int32 = -1

  func queued(at now: Instant) -> Span { Span(nanoseconds: queuedBefore.nanoseconds + (now - queuedSince).nanoseconds) }
}

/// What a grant was counted as in the order of turns, until its real cost is known.
struct LeaseTurn: Sendable {
  var share: FairShare.Charge
  var credit: BandScheduler.Entry
}

/// A committed placement.
struct Lease: Sendable {
  var id: LeaseID
  var request: Request
  var placement: Placement
  var takenFromProvider: Units
  var takenFromModel: Units
  var takenFromKey: Units
  var takenFromTenant: Units
  /// What fairness and the bands counted it as; nil where nobody waited.
  var turn: LeaseTurn?
  /// Among the candidates of its ticket.
  var candidate: Int
  /// Among the legs of its route; -1 where new rules have none for its candidate.
  var leg: Int
  var began: Instant
  var breakerGeneration: UInt64
  var gateGeneration: UInt64
  var keyGeneration: UInt64
  /// What is held in the request's accounts, and the epoch in which it was taken.
  var held = BudgetAmounts()
  var epoch: UInt32 = 0
  var modelBreakerGeneration: UInt64 = 0
  var modelGateGeneration: UInt64 = 0
  var keyModelGeneration: UInt64 = 0
  /// How many counted against the same quota when this one was sent, itself included.
  var counted = 0
  /// Whether what the answer's head told of limits would be reason enough to refuse the call; nil where it told
  /// nothing.
  var numbersRefuse: Bool?
  /// Tokens have come: the provider has taken the call.
  var isAnswering = false
}

/// By what it is told whether a model's refusals are about one call or about the time. Both numbers wrap around.
struct RefusalSigns: Sendable {
  /// Calls that went well.
  var successes: UInt32 = 0
  /// Calls that were refused for the first time, or let in after a refusal.
  var throttles: UInt32 = 0

  /// Refused again: others went well meanwhile, and none was throttled.
  func areAboutTheCall(since: RefusalSigns) -> Bool {
    successes != since.successes && throttles == since.throttles
  }
}

struct ModelState: Sendable {
  var pattern: Glob
  /// The one model that this stands for, where no entry of the policy does: it was told to slow down. `pattern` is then for
  /// showing only, since clients choose names.
  var name: String?
  /// The operator's.
  var limits: Limits
  var capacity: Capacity
  /// nil where failures count for the provider's.
  var breaker: CircuitBreaker?
  /// Shut while the provider has told calls for these models to slow down.
  var gate = ProbeGate()
  /// The same for each key, where each has a quota of its own.
  var keyGates: [Int32: ProbeGate] = [:]
  var signs = RefusalSigns()
  var learner = QuotaLearner()
  var isRetired = false
  /// Nothing refers to it: the slot may be given away.
  var isFree: Bool { isRetired && capacity.permits.running == 0 }
  var claimedInPass: UInt64 = 0

  func matches(_ model: String) -> Bool { name.map { $0 == model } ?? pattern.matches(model) }

  /// An entry that the policy does not name, and that holds nothing any more.
  var isForgettable: Bool {
    name != nil && gate.state == .open && keyGates.values.allSatisfy { $0.state == .open }
      && capacity.permits.inUse == 0 && !learner.hasLearned
  }
}

struct KeyState: Sendable {
  var policy: KeyPolicy
  var hash: UInt64
  var capacity: Capacity
  var health = KeyHealth()
  /// Models that it was refused.
  var rests = ModelRests()
  /// Told to slow down for a model, and nothing has gone well with it since.
  var isSlowed = false
  var learner = QuotaLearner()
  var isRetired = false
  var claimedInPass: UInt64 = 0
  /// Nothing refers to it: the slot may be given away.
  var isFree: Bool { isRetired && capacity.permits.running == 0 }
}

/// Whose limits a call draws on, as far as the provider's own words are concerned: vendors count by model family, or by
/// key where each key has an account of its own.
enum QuotaHolder: Sendable, Equatable {
  case provider
  case key(Int)
  case model(Int)
}

struct ProviderState: Sendable {
  var policy: ProviderPolicy
  /// The number of `policy.cluster`; 0 where it names none.
  var cluster: Int32 = 0
  var isRetired = false
  /// Nothing refers to it: the slot may be given away.
  var isFree: Bool { isRetired && capacity.permits.running == 0 }
  var capacity: Capacity
  var breaker: CircuitBreaker
  /// Shut while the provider has told everybody to slow down.
  var gate = ProbeGate()
  var retries = RetryBudget()
  /// The event that has broken attempts last, and was counted.
  var lastCause: UInt64?
  var learner = QuotaLearner()
  var predictor = OutputPredictor()
  /// How long calls last that go well, by the model's number.
  var durations = CallDurations()
  /// Never reordered, so that a lease's number stays good; `policy.modelLimits` order is `modelOrder`.
  var models: [ModelState] = []
  var modelOrder: [Int32] = []
  var keys: [KeyState] = []
  var keyOrder: [Int32] = []
  /// Queued requests whose first candidate this is, by band.
  var queued: [Int] = [0, 0, 0]
  /// For how long calls have waited here that it had not refused.
  var waits = WaitMeter()
  var claimedInPass: UInt64 = 0
  var claimant: RequestID?

  /// Each key has the provider's limits for itself.
  var isPerKey: Bool { policy.quota == .perKey && !policy.keys.isEmpty }

  subscript(learnerOf holder: QuotaHolder) -> QuotaLearner {
    get {
      switch holder {
      case .provider: learner
      case .key(let key): keys[key].learner
      case .model(let model): models[model].learner
      }
    }
    _modify {
      switch holder {
      case .provider: yield &learner
      case .key(let key): yield &keys[key].learner
      case .model(let model): yield &models[model].learner
      }
    }
  }

  subscript(capacityOf holder: QuotaHolder) -> Capacity {
    get {
      switch holder {
      case .provider: capacity
      case .key(let key): keys[key].capacity
      case .model(let model): models[model].capacity
      }
    }
    _modify {
      switch holder {
      case .provider: yield &capacity
      case .key(let key): yield &keys[key].capacity
      case .model(let model): yield &models[model].capacity
      }
    }
  }
}

/// For how long at least one call has waited, in all.
struct WaitMeter: Sendable {
  private var count = 0
  private var since = Instant(nanoseconds: 0)
  private var total = Span.zero

  mutating func enter(at now: Instant) {
    if count == 0 { since = now }
    count += 1
  }

  mutating func leave(at now: Instant) {
    guard count > 0 else { return }
    count -= 1
    if count == 0 { total = reading(at: now, counting: true) }
  }

  func reading(at now: Instant) -> Span { reading(at: now, counting: count > 0) }

  private func reading(at now: Instant, counting: Bool) -> Span {
    counting ? Span(nanoseconds: total.nanoseconds + max(0, (now - since).nanoseconds)) : total
  }
}

struct TenantState: Sendable {
  struct Parking: Sendable {
    var request: RequestID
    var band: Int
    var obstacle: Obstacle
    var until: Instant
  }
  var id: TenantID
  var weight: Int
  var capacity: Capacity
  var isListed: Bool
  var inUse = true
  var queued = 0
  var parking: Parking?
  var budgets: [BudgetPolicy] = []
  /// The accounts of the broker's and the tenant's own budgets.
  var accounts: [Int32] = []
}

/// A way to providers that many models share: requests of one route wait for the same things.
struct Route: Hashable, Sendable {
  struct Leg: Hashable, Sendable {
    var provider: Int32
    /// -1 where no model limit applies.
    var model: Int32
    /// The keys that may serve this model; empty where the provider has none.
    var keys: [Int32]
    /// True where the provider has keys, but none for this model.
    var hasNoKey: Bool
    /// Index into the ticket's candidates.
    var candidate: Int
  }
  var legs: [Leg]
}
