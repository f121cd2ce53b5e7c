// The state of a provider, its keys and its models.

typealias ProviderIndex = Slots<ProviderState>.Index
typealias KeyIndex = Slots<KeyState>.Index
typealias ModelIndex = Slots<ModelState>.Index

/// A cluster of providers that are connected by routes.
struct ProviderCluster: SlotElement {}
typealias ClusterIndex = Slots<ProviderCluster>.Index

extension ClusterIndex {
  /// The cluster of the providers that the policy puts in no cluster.
  static var unconnected: ClusterIndex { ClusterIndex(number: 0) }
}

/// Counts that show whether a model's refusals are about one call or about the time.
struct RefusalSigns: Sendable {
  /// The last successful call, by the order of grants: a call that was let in before a refusal says nothing about it,
  /// however long its stream goes on.
  var lastGood: UInt64 = 0
  /// Calls that were let in. Wraps around.
  var good: UInt32 = 0
  /// Wraps around, as its numbers do.
  var refused = RefusalMark()

  /// True for a repeated refusal where other calls were let in meanwhile, more of them than were refused, and none for
  /// the first time or let in after a refusal. So a few calls that are refused for their own sake do not excuse each
  /// other beside one that goes well; and many that are refused together are not each to blame.
  /// - Parameter known: The last refusal of the same call.
  func areAboutTheCall(since known: CallRefusals) -> Bool {
    lastGood > known.sentBefore && refused.first == known.mark.first
      && refused.all &- known.mark.all <= good &- known.good
  }
}

/// How often calls of a model were refused.
struct RefusalMark: Sendable, Equatable {
  /// Calls that were refused for the first time, or let in after a refusal.
  var first: UInt32 = 0
  /// All refusals.
  var all: UInt32 = 0
}

struct ModelState: SlotElement {
  var pattern: Glob
  /// The name of the one throttled model that has this entry, where no entry in the policy covers it. `pattern` is then
  /// only displayed, since clients choose names.
  var name: String?
  /// The operator's.
  var limits: Limits
  var capacity: Capacity
  /// nil where the provider's breaker counts the failures.
  var breaker: CircuitBreaker?
  /// Closed while the provider throttles calls for these models.
  var gate = ProbeGate()
  /// The same for each key, where each key has its own quota.
  var keyGates: [KeyIndex: ProbeGate] = [:]
  var signs = RefusalSigns()
  var learner = QuotaLearner()
  var waits = WaitMeter()
  /// How often waiting calls of its models are let in, by band, and of all bands together.
  var paces = Array(repeating: GrantPace(), count: 4)
  var isRetired = false
  /// Nothing refers to it: the slot may be given away.
  var isFree: Bool { isRetired && capacity.permits.running == 0 && freeCalls == 0 }
  /// Free calls that run.
  var freeCalls = 0
  /// The look of the provider in which this was last claimed.
  var claimedIn: UInt64 = 0
  /// The claim of a head that waits for one of the model's permits while none is left. It stays valid over looks at the
  /// provider until the model changes.
  var lack = Lack()

  /// A claim of permits that are all taken.
  struct Lack: Sendable {
    /// The wide look of the provider in which this was last claimed.
    var claimedIn: UInt64 = 0
    var claimant: RequestID?
  }

  func matches(_ model: String) -> Bool { name.map { $0 == model } ?? pattern.matches(model) }

  /// True for an entry that the policy does not name and that is no longer needed. A gate whose time is over is not
  /// needed, and what was learned long ago would be learned again.
  func isForgettable(at now: Instant) -> Bool {
    name != nil && gate.blockedUntil(at: now) == nil && keyGates.values.allSatisfy { $0.blockedUntil(at: now) == nil }
      && capacity.permits.inUse == 0 && freeCalls == 0 && !learner.hasLearned(at: now)
  }
}

struct KeyState: SlotElement {
  var policy: KeyPolicy
  var hash: UInt64
  /// A number that the key has as long as it has the same secret; never used again.
  var serial: Int64
  var capacity: Capacity
  var health = KeyHealth()
  /// The models for which the key was refused.
  var rests = ModelRests()
  /// True while the key was throttled for a model and no call with it has succeeded since.
  var isSlowed = false
  var learner = QuotaLearner()
  var waits = WaitMeter()
  var isRetired = false
  /// The look of the provider in which this was last claimed, and by which request first.
  var claimedIn: UInt64 = 0
  private(set) var claimant: RequestID?
  /// Nothing refers to it: the slot may be given away.
  var isFree: Bool { isRetired && capacity.permits.running == 0 && freeCalls == 0 }
  /// Free calls that run.
  var freeCalls = 0

  mutating func claim(in look: UInt64, for request: RequestID) {
    guard claimedIn != look else { return }
    claimedIn = look
    claimant = request
  }
}

/// Whose limits a call draws on, as the provider counts: vendors count by model family, or by key where each key has
/// its own account.
enum QuotaHolder: Sendable, Equatable {
  case provider
  case key(KeyIndex)
  case model(ModelIndex)
}

struct ProviderState: SlotElement {
  var policy: ProviderPolicy {
    didSet { isPerKey = policy.quota == .perKey && !policy.keys.isEmpty }
  }
  /// True where each key has the provider's limits for itself.
  private(set) var isPerKey: Bool
  /// The index of `policy.cluster`.
  var cluster = ClusterIndex.unconnected
  var isRetired = false
  /// Nothing refers to it: the slot may be given away.
  var isFree: Bool { isRetired && capacity.permits.running == 0 && freeCalls == 0 }
  /// Free calls that run.
  var freeCalls = 0
  var capacity: Capacity
  var breaker: CircuitBreaker
  /// Closed while the provider throttles all calls.
  var gate = ProbeGate()
  /// Closed while the provider throttles free calls.
  var freeGate = ProbeGate()
  var retries = RetryBudget()
  /// The last event that broke attempts and was counted.
  var lastCause: UInt64?
  var learner = QuotaLearner()
  var predictor = OutputPredictor()
  /// How long successful calls last, by the model's number.
  var durations = CallDurations()
  /// How long calls wait for their first byte.
  var firstBytes = FirstByteTimes()
  var models = Slots<ModelState>()
  /// The entries in force, in the order of `policy.modelLimits`; then those that are not in the policy.
  var modelOrder: [ModelIndex] = []
  var keys = Slots<KeyState>()
  /// The keys in force, in the order of the policy.
  var keyOrder: [KeyIndex] = []
  /// Queued requests whose first candidate this is, by band.
  var queued: [Int] = [0, 0, 0]
  var hasQueued: Bool { queued[0] > 0 || queued[1] > 0 || queued[2] > 0 }
  var waits = WaitMeter()
  /// How often waiting calls are let in, by band, and of all bands together; how often calls come to wait, by band; and
  /// what calls take.
  var paces = Array(repeating: GrantPace(), count: 4)
  var arrivals = Array(repeating: RecentCount(), count: 3)
  var typical = TypicalCall()
  /// The number of times something may have become free here: claims of an earlier look are void.
  var look: UInt64 = 1
  /// The number of looks that may be about any model, not only about some of them.
  var wideLook: UInt64 = 1
  /// True where the next look may be about any model.
  var isWidelyChanged = false
  /// The look in which the whole provider was last claimed.
  var claimedIn: UInt64 = 0
  /// The last look in which a head claimed something here in its ordinary turn.
  var orderlyClaimIn: UInt64 = 0
  var claimant: RequestID?
  /// What running calls have reserved that continue cached ones, and of which the provider has not told its count.
  var rests: Int64 = 0
  var outstanding: OutputPredictor.Running {
    let all = capacity.outstandingTokens
    return OutputPredictor.Running(wholes: TokenCount(max(0, all - rests)), rests: TokenCount(min(all, rests)))
  }
  /// The last call that had been sent when one was refused for its size, as long as no later call has been let in; else 0.
  var tooLarge: UInt64 = 0
  /// The holders whose meters run.
  var metered: [QuotaHolder] = []

  init(policy: ProviderPolicy, capacity: Capacity, breaker: CircuitBreaker) {
    self.policy = policy
    isPerKey = policy.quota == .perKey && !policy.keys.isEmpty
    self.capacity = capacity
    self.breaker = breaker
  }

  /// True where it has the key, in force or not, that has this serial.
  @inline(__always) func hasKey(_ serial: Int64) -> Bool {
    for key in keys.indices where keys[key].serial == serial { return true }
    return false
  }

  /// True where the model has no permit left and a head waits for one.
  @inline(__always) func isLacking(_ model: ModelIndex) -> Bool { models[model].lack.claimedIn == wideLook }

  @inline(__always) func isClaimed(_ model: ModelIndex) -> Bool {
    models[model].claimedIn == look || isLacking(model)
  }

  /// True where the leg's model has no permit left and a head waits for one.
  @inline(__always) func isLacking(_ leg: Route.Leg) -> Bool { leg.model.map { isLacking($0) } ?? false }

  /// True where nothing is left for other heads at this leg.
  @inline(__always) func isClaimed(_ leg: Route.Leg) -> Bool {
    if leg.hasNoKey || claimedIn == look { return true }
    if let model = leg.model, isClaimed(model) { return true }
    return !leg.keys.isEmpty && leg.keys.allSatisfy { keys[$0].claimedIn == look }
  }

  /// True where something that a call by this leg needs is claimed.
  @inline(__always) func hasClaim(_ leg: Route.Leg) -> Bool {
    if claimedIn == look { return true }
    if let model = leg.model, isClaimed(model) { return true }
    return leg.keys.contains { keys[$0].claimedIn == look }
  }

  /// Notes that a waiting call is let in, while others wait.
  /// - Parameter isBacklog: true where others of its band wait.
  @inline(__always) mutating func notePace(_ placement: Placement, band: Int, isBacklog: Bool, at now: Instant) {
    let cost = max(1, placement.estimate.cost)
    // A single call that tries whether a pause is over comes after the pause, and says nothing of the pace without it.
    let isTrial = breaker.state != .closed || gate.state != .passing
    paces[band].grant(cost: cost, isTrial: isTrial, isBacklog: isBacklog, at: now)
    paces[3].grant(cost: cost, isTrial: isTrial, at: now)
    guard let model = placement.model else { return }
    let isTrialOfModel =
      isTrial || models[model].gate.state != .passing || models[model].breaker.map { $0.state != .closed } == true
    models[model].paces[band].grant(cost: cost, isTrial: isTrialOfModel, isBacklog: isBacklog, at: now)
    models[model].paces[3].grant(cost: cost, isTrial: isTrialOfModel, at: now)
  }

  /// Nobody of the band waits there any more, or nobody at all (3).
  mutating func restPace(_ band: Int) {
    guard paces[band].count > 0 else { return }
    paces[band].rest()
    for model in models.indices { models[model].paces[band].rest() }
  }

  /// Begins another look: all claims become void, except claims of permits of models that have not changed.
  mutating func beginLook(at now: Instant) {
    look += 1
    if isWidelyChanged {
      isWidelyChanged = false
      wideLook += 1
    }
    stopVoidMeters(at: now)
  }

  // MARK: Meters of waiting

  mutating func meter(_ holder: QuotaHolder, at now: Instant) {
    guard change(waitsOf: holder, { $0.start(at: now) }) else { return }
    metered.append(holder)
  }

  mutating func stopMeters(at now: Instant) {
    for holder in metered { change(waitsOf: holder) { $0.stop(at: now) } }
    metered.removeAll(keepingCapacity: true)
  }

  /// The meters of models that lack permits go on.
  private mutating func stopVoidMeters(at now: Instant) {
    var kept = 0
    for position in metered.indices {
      let holder = metered[position]
      if case .model(let model) = holder, isLacking(model) {
        if kept < position { metered[kept] = holder }
        kept += 1
      } else {
        change(waitsOf: holder) { $0.stop(at: now) }
      }
    }
    if kept < metered.count { metered.removeLast(metered.count - kept) }
  }

  // MARK: Whose quota

  // Functions that hand the place to a closure, and not accessors: one that yields in several places is a coroutine
  // that the compiler cannot inline, and allocates memory each time.

  func learner(of holder: QuotaHolder) -> QuotaLearner {
    switch holder {
    case .provider: learner
    case .key(let key): keys[key].learner
    case .model(let model): models[model].learner
    }
  }

  mutating func change<Result>(learnerOf holder: QuotaHolder, _ body: (inout QuotaLearner) -> Result) -> Result {
    switch holder {
    case .provider: body(&learner)
    case .key(let key): body(&keys[key].learner)
    case .model(let model): body(&models[model].learner)
    }
  }

  func waits(of holder: QuotaHolder) -> WaitMeter {
    switch holder {
    case .provider: waits
    case .key(let key): keys[key].waits
    case .model(let model): models[model].waits
    }
  }

  private mutating func change<Result>(waitsOf holder: QuotaHolder, _ body: (inout WaitMeter) -> Result) -> Result {
    switch holder {
    case .provider: body(&waits)
    case .key(let key): body(&keys[key].waits)
    case .model(let model): body(&models[model].waits)
    }
  }

  func capacity(of holder: QuotaHolder) -> Capacity {
    switch holder {
    case .provider: capacity
    case .key(let key): keys[key].capacity
    case .model(let model): models[model].capacity
    }
  }

  mutating func change<Result>(capacityOf holder: QuotaHolder, _ body: (inout Capacity) -> Result) -> Result {
    switch holder {
    case .provider: body(&capacity)
    case .key(let key): body(&keys[key].capacity)
    case .model(let model): body(&models[model].capacity)
    }
  }
}

/// The total time for which a head was blocked by the provider, model or key whose quota its call draws on. Waiting for
/// something else (its tenant's limit, a budget, another model's limit, a backoff) does not count: it says nothing
/// about this quota.
struct WaitMeter: Sendable {
  private var total = Span.zero
  /// nil where no head is blocked.
  private var since: Instant?

  /// Starts the meter. Returns false where it already runs.
  mutating func start(at now: Instant) -> Bool {
    guard since == nil else { return false }
    since = now
    return true
  }

  mutating func stop(at now: Instant) {
    total = reading(at: now)
    since = nil
  }

  func reading(at now: Instant) -> Span {
    guard let since, now > since else { return total }
    return Span(nanoseconds: total.nanoseconds.saturatingAdding((now - since).nanoseconds))
  }
}
