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
  /// Where it was told to slow down, and how often.
  var refusals: [CallRefusals] = []
  /// Its model's `throttles` when its attempt began: those that were refused beside it count, whoever was told first.
  var throttlesAtGrant: UInt32 = 0
  /// The serials of keys that have refused it.
  var refusedKeys: [Int64] = []
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
  /// Its ticket's candidates that have failed it, by bit; not tried again before `backoffUntil`.
  var failed: UInt64 = 0
  var backoffUntil = Instant(nanoseconds: .min)
  /// The budget accounts that it counts against.
  var accounts: [Int32] = []
  /// Where it goes if it is tried again, since the routes changed while it ran; nil where they did not.
  var candidatesAnew: [Candidate]?
  /// The account at which it waits, outside its lane, for a hold to come back; -1 where it does not.
  var waitsFor: Int32 = -1

  func queued(at now: Instant) -> Span { Span(nanoseconds: queuedBefore.nanoseconds + (now - queuedSince).nanoseconds) }

  /// - Parameter key: its serial.
  func hasBeenRefused(by key: Int64) -> Bool { refusedKeys.contains(key) }

  func hasFailed(at candidate: Int) -> Bool { failed & Self.bit(candidate) != 0 }
  mutating func fail(at candidate: Int) { failed |= Self.bit(candidate) }
  private static func bit(_ candidate: Int) -> UInt64 { 1 << UInt64(min(max(0, candidate), 63)) }

  /// Other rules give it other candidates: those that have failed it are remembered by their providers.
  mutating func route(to anew: [Candidate]) {
    let former = ticket.candidates
    let all = failed
    failed = 0
    for old in former.indices where all & Self.bit(old) != 0 {
      if let new = Self.place(of: old, former, in: anew) { fail(at: new) }
    }
    box = box.routed(to: anew)
  }

  /// Where a candidate stands in another list: a provider's first entry is its first there, and so on.
  static func place(of old: Int, _ former: [Candidate], in anew: [Candidate]) -> Int? {
    guard former.indices.contains(old) else { return nil }
    let provider = former[old].provider
    let before = former[..<old].count { $0.provider == provider }
    return anew.indices.filter { anew[$0].provider == provider }.dropFirst(before).first
  }
}

/// What a request remembers of the provider and model that told it to slow down.
struct CallRefusals: Sendable {
  var provider: Int32
  /// -1: the model has no entry.
  var model: Int32
  /// How often it was told so while others that were sent later went well and none but it was told so, the first time included.
  var count: UInt8 = 1
  /// The last call that had been sent when it was told.
  var sentBefore: UInt64
  /// What the model's `throttles` are if nobody else is told.
  var throttles: UInt32
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
  var takenFromProvider: TakenUnits
  var takenFromModel: TakenUnits
  var takenFromKey: TakenUnits
  var takenFromTenant: TakenUnits
  /// What fairness and the bands counted it as; nil where nobody waited.
  var turn: LeaseTurn?
  /// Among the candidates of its ticket.
  var candidate: Int
  /// Of its key, with the secret that it had then.
  var keySerial: Int64
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

/// By what it is told whether a model's refusals are about one call or about the time.
struct RefusalSigns: Sendable {
  /// The last call that went well, in order of grants: what was let in before a refusal says nothing about it, however long its stream goes on.
  var lastGood: UInt64 = 0
  /// Calls that were refused for the first time, or let in after a refusal. Wraps around.
  var throttles: UInt32 = 0

  /// Refused again: others were let in meanwhile, and none was throttled.
  func areAboutTheCall(since known: CallRefusals) -> Bool {
    lastGood > known.sentBefore && throttles == known.throttles
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
  var waits = WaitMeter()
  var isRetired = false
  /// Nothing refers to it: the slot may be given away.
  var isFree: Bool { isRetired && capacity.permits.running == 0 }
  var claimedInPass: UInt64 = 0

  func matches(_ model: String) -> Bool { name.map { $0 == model } ?? pattern.matches(model) }

  /// An entry that the policy does not name, and that holds nothing any more. A gate whose time is over holds nothing, and what was
  /// learned long ago would be learned again.
  func isForgettable(at now: Instant) -> Bool {
    name != nil && gate.closedUntil(at: now) == nil && keyGates.values.allSatisfy { $0.closedUntil(at: now) == nil }
      && capacity.permits.inUse == 0 && !learner.hasLearned(at: now)
  }
}

struct KeyState: Sendable {
  var policy: KeyPolicy
  var hash: UInt64
  /// Its own for as long as it has the same secret; never given anew.
  var serial: Int64
  var capacity: Capacity
  var health = KeyHealth()
  /// Models that it was refused.
  var rests = ModelRests()
  /// Told to slow down for a model, and nothing has gone well with it since.
  var isSlowed = false
  var learner = QuotaLearner()
  var waits = WaitMeter()
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

  subscript(waitsOf holder: QuotaHolder) -> WaitMeter {
    get {
      switch holder {
      case .provider: waits
      case .key(let key): keys[key].waits
      case .model(let model): models[model].waits
      }
    }
    _modify {
      switch holder {
      case .provider: yield &waits
      case .key(let key): yield &keys[key].waits
      case .model(let model): yield &models[model].waits
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

/// For how long a head has been held back by the provider, model or key whose quota its call draws on, in all. What waits for something
/// else (its tenant's limit, a budget, another model's limit, a backoff) does not count: it says nothing about this quota.
struct WaitMeter: Sendable {
  var total = Span.zero
  /// The last pass that found a head held back.
  var pass: UInt64 = 0
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
