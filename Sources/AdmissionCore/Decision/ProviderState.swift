// What is remembered of a provider, its keys and its models.

typealias ProviderIndex = Slots<ProviderState>.Index
typealias KeyIndex = Slots<KeyState>.Index
typealias ModelIndex = Slots<ModelState>.Index

/// Providers that some route puts together.
struct ProviderCluster: SlotElement {}
typealias ClusterIndex = Slots<ProviderCluster>.Index

extension ClusterIndex {
  /// Of the providers that the policy puts in no cluster.
  static var unconnected: ClusterIndex { ClusterIndex(number: 0) }
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

struct ModelState: SlotElement {
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
  var keyGates: [KeyIndex: ProbeGate] = [:]
  var signs = RefusalSigns()
  var learner = QuotaLearner()
  var waits = WaitMeter()
  var isRetired = false
  /// Nothing refers to it: the slot may be given away.
  var isFree: Bool { isRetired && capacity.permits.running == 0 }
  /// The provider's look in which it was claimed last.
  var claimedIn: UInt64 = 0
  /// A head has claimed one of the model's permits, of which none is left. That stands over looks at the provider until the model changes.
  var lack = Lack()

  /// A claim of permits that are all taken.
  struct Lack: Sendable {
    /// The provider's wide look in which it was claimed last.
    var claimedIn: UInt64 = 0
    var claimant: RequestID?
  }

  func matches(_ model: String) -> Bool { name.map { $0 == model } ?? pattern.matches(model) }

  /// An entry that the policy does not name, and that holds nothing any more. A gate whose time is over holds nothing, and what was
  /// learned long ago would be learned again.
  func isForgettable(at now: Instant) -> Bool {
    name != nil && gate.blockedUntil(at: now) == nil && keyGates.values.allSatisfy { $0.blockedUntil(at: now) == nil }
      && capacity.permits.inUse == 0 && !learner.hasLearned(at: now)
  }
}

struct KeyState: SlotElement {
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
  /// The provider's look in which it was claimed last.
  var claimedIn: UInt64 = 0
  /// Nothing refers to it: the slot may be given away.
  var isFree: Bool { isRetired && capacity.permits.running == 0 }
}

/// Whose limits a call draws on, as far as the provider's own words are concerned: vendors count by model family, or by
/// key where each key has an account of its own.
enum QuotaHolder: Sendable, Equatable {
  case provider
  case key(KeyIndex)
  case model(ModelIndex)
}

struct ProviderState: SlotElement {
  var policy: ProviderPolicy {
    didSet { isPerKey = policy.quota == .perKey && !policy.keys.isEmpty }
  }
  /// Each key has the provider's limits for itself.
  private(set) var isPerKey: Bool
  /// That of `policy.cluster`.
  var cluster = ClusterIndex.unconnected
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
  var models = Slots<ModelState>()
  /// Those in force, in the order of `policy.modelLimits`; then those that are not in the policy.
  var modelOrder: [ModelIndex] = []
  var keys = Slots<KeyState>()
  /// Those in force, in the order of the policy.
  var keyOrder: [KeyIndex] = []
  /// Queued requests whose first candidate this is, by band.
  var queued: [Int] = [0, 0, 0]
  var waits = WaitMeter()
  /// Counts how often something may have become free here: claims of an earlier look are void.
  var look: UInt64 = 1
  /// Counts the looks of which it is not known that they are about some of the models alone.
  var wideLook: UInt64 = 1
  /// The next look is such a one.
  var isWidelyChanged = false
  /// The look in which the provider as a whole was claimed last.
  var claimedIn: UInt64 = 0
  /// The look in which a head claimed something here in its ordinary turn.
  var orderlyClaimIn: UInt64 = 0
  var claimant: RequestID?
  /// Whose meters run.
  var metered: [QuotaHolder] = []

  init(policy: ProviderPolicy, capacity: Capacity, breaker: CircuitBreaker) {
    self.policy = policy
    isPerKey = policy.quota == .perKey && !policy.keys.isEmpty
    self.capacity = capacity
    self.breaker = breaker
  }

  /// Nothing is left of the model's permits, and a head waits for them.
  @inline(__always) func isLacking(_ model: ModelIndex) -> Bool { models[model].lack.claimedIn == wideLook }

  @inline(__always) func isClaimed(_ model: ModelIndex) -> Bool {
    models[model].claimedIn == look || models[model].lack.claimedIn == wideLook
  }

  /// Nothing is left for others at this leg.
  @inline(__always) func isClaimed(_ leg: Route.Leg) -> Bool {
    if leg.hasNoKey || claimedIn == look { return true }
    if let model = leg.model, isClaimed(model) { return true }
    return !leg.keys.isEmpty && leg.keys.allSatisfy { keys[$0].claimedIn == look }
  }

  /// Something that a call by this leg would need is claimed.
  @inline(__always) func hasClaim(_ leg: Route.Leg) -> Bool {
    if claimedIn == look { return true }
    if let model = leg.model, isClaimed(model) { return true }
    return leg.keys.contains { keys[$0].claimedIn == look }
  }

  /// Another look begins: what was claimed is void, but for the permits of models that have not changed.
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
    guard self[waitsOf: holder].start(at: now) else { return }
    metered.append(holder)
  }

  mutating func stopMeters(at now: Instant) {
    for holder in metered { self[waitsOf: holder].stop(at: now) }
    metered.removeAll(keepingCapacity: true)
  }

  /// Those of models that lack permits run on.
  private mutating func stopVoidMeters(at now: Instant) {
    var kept = 0
    for position in metered.indices {
      let holder = metered[position]
      if case .model(let model) = holder, isLacking(model) {
        metered[kept] = holder
        kept += 1
      } else {
        self[waitsOf: holder].stop(at: now)
      }
    }
    metered.removeLast(metered.count - kept)
  }

  // MARK: Whose quota

  subscript(learnerOf holder: QuotaHolder) -> QuotaLearner {
    get {
      switch holder {
      case .provider: learner
      case .key(let key): keys[key].learner
      case .model(let model): models[model].learner
      }
    }
    @inline(__always) _modify {
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
    @inline(__always) _modify {
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
    @inline(__always) _modify {
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
  private var total = Span.zero
  /// nil where nobody is held back.
  private var since: Instant?

  /// Returns false where it runs already.
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
