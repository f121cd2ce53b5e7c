// The state of the core at one instant, for status, metrics and the dashboard, and for the checkers of the simulation.

public struct AdmissionSnapshot: Sendable {
  public struct Bucket: Sendable, Equatable {
    public var dimension: Dimension
    public var rate: RateLimit
    /// Units available now; negative while a debt is worked off.
    public var available: Int64
    public var capacity: Int64
    /// Units that running calls have reserved, or are known to have used.
    public var inUse: Int64
    /// Units that only this class may take, by `Priority.rawValue`.
    public var kept: [Int64]
    /// When the bucket is full if nothing is taken any more; nil where it is full.
    public var fullAt: Instant?
    /// Units that flow in each minute.
    public var perMinute: Int64

    public init(
      dimension: Dimension, rate: RateLimit, available: Int64, capacity: Int64, inUse: Int64 = 0,
      kept: [Int64] = [0, 0, 0], fullAt: Instant? = nil, perMinute: Int64 = 0
    ) {
      self.inUse = inUse
      self.kept = kept
      self.fullAt = fullAt
      self.perMinute = perMinute
      self.rate = rate
      self.dimension = dimension
      self.available = available
      self.capacity = capacity
    }
  }
  /// A model that rests by itself.
  public struct ModelRest: Sendable, Equatable {
    public var model: String
    /// When the rest ends; nil while one call tries whether it is over.
    public var until: Instant?
    public var reason: PauseReason

    public init(model: String, until: Instant?, reason: PauseReason) {
      self.model = model
      self.until = until
      self.reason = reason
    }
  }
  /// A limit that was learned, not set by the operator.
  public struct Learned: Sendable, Equatable {
    public enum Quantity: Sendable, Equatable {
      /// How many calls run at once.
      case concurrency
      case perMinute(Dimension)
      /// How many calls may be sent at once.
      case atOnce
    }
    public enum Source: String, Sendable {
      /// The provider's own numbers.
      case headers
      /// The same, told to an earlier process.
      case stored
      case refusals
    }
    public var quantity: Quantity
    /// The model that the limit holds for; nil means all models.
    public var model: String?
    /// The key that the limit holds for; nil means all keys.
    public var key: KeyID?
    public var value: Int64
    public var source: Source
    public var since: Instant

    public init(
      quantity: Quantity, model: String?, key: KeyID?, value: Int64, source: Source, since: Instant
    ) {
      self.quantity = quantity
      self.model = model
      self.key = key
      self.value = value
      self.source = source
      self.since = since
    }
  }
  public struct Key: Sendable {
    public var id: KeyID
    public var state: KeyCondition
    public var until: Instant?
    public var inFlight: Int
    /// Why the key is not simply usable; nil where it is usable.
    public var reason: KeyReason?
    /// Models that the provider refuses to this key; other keys are preferred for them.
    public var models: [ModelRest]
    /// How many calls the key may run: its own limit, or the provider's where each key has that for itself.
    public var concurrencyLimit: Int?
    /// The operator's; nil without one.
    public var policyConcurrency: Int?
    /// True where `concurrencyLimit` was learned.
    public var isLearned: Bool
    public var buckets: [Bucket]

    public init(
      id: KeyID, state: KeyCondition, until: Instant? = nil, inFlight: Int, reason: KeyReason? = nil,
      models: [ModelRest] = [], concurrencyLimit: Int? = nil, policyConcurrency: Int? = nil, isLearned: Bool = false,
      buckets: [Bucket] = []
    ) {
      self.policyConcurrency = policyConcurrency
      self.isLearned = isLearned
      self.concurrencyLimit = concurrencyLimit
      self.buckets = buckets
      self.models = models
      self.id = id
      self.state = state
      self.until = until
      self.reason = reason
      self.inFlight = inFlight
    }
  }
  public struct Breaker: Sendable {
    public var state: BreakerCondition
    public var reason: String?
    /// Since when it has not been closed; nil while it is.
    public var since: Instant?
    /// When the next call tries; nil where none will by itself, or may now.
    public var until: Instant?

    public init(state: BreakerCondition, reason: String? = nil, since: Instant? = nil, until: Instant? = nil) {
      self.state = state
      self.reason = reason
      self.since = since
      self.until = until
    }
  }
  public struct Model: Sendable {
    public var pattern: String
    public var inFlight: Int
    public var concurrencyLimit: Int?
    /// The operator's; nil without one.
    public var policyConcurrency: Int?
    /// True where `concurrencyLimit` was learned.
    public var isLearned: Bool
    public var buckets: [Bucket]
    /// nil where the models have no breaker of their own.
    public var breaker: Breaker?
    /// The pause that the provider has asked for these models; nil where there is none.
    public var rest: ModelRest?

    public init(
      pattern: String, inFlight: Int, concurrencyLimit: Int? = nil, policyConcurrency: Int? = nil,
      isLearned: Bool = false, buckets: [Bucket], breaker: Breaker? = nil, rest: ModelRest? = nil
    ) {
      self.policyConcurrency = policyConcurrency
      self.isLearned = isLearned
      self.rest = rest
      self.pattern = pattern
      self.inFlight = inFlight
      self.concurrencyLimit = concurrencyLimit
      self.buckets = buckets
      self.breaker = breaker
    }
  }
  public struct Provider: Sendable {
    public var id: ProviderID
    /// Calls that have a permit; free calls have none.
    public var inFlight: Int
    /// Free calls that run.
    public var freeInFlight: Int
    /// When the pause ends that the provider has asked of free calls alone; nil where there is none.
    public var freeBlockedUntil: Instant?
    public var concurrencyLimit: Int?
    public var inFlightByBand: [Int]
    public var buckets: [Bucket]
    public var models: [Model]
    public var breaker: Breaker
    public var keys: [Key]
    /// Requests whose first candidate this is, by `Priority.rawValue`.
    public var queuedByBand: [Int]
    /// Models without an entry in the policy for which the provider has asked for a pause.
    public var resting: [ModelRest]
    /// When the pause ends that the provider has asked of all calls; nil where there is none, and while one call tries
    /// whether it is over.
    public var blockedUntil: Instant?
    /// Why no call is sent there; nil where calls are sent.
    public var blockedBecause: PauseReason?
    public var learned: [Learned]
    /// The operator's limit of calls; where each key has it for itself, of each key.
    public var policyConcurrency: Int?
    /// The learned limit of calls, where that is lower.
    public var learnedConcurrency: Int?
    /// Permits that only this class may take now, by `Priority.rawValue`.
    public var reservedPermits: [Int]
    /// Since when the request has waited that has waited longest of those whose first candidate this is, by
    /// `Priority.rawValue`.
    public var waitingSince: [Instant?]

    public init(
      id: ProviderID, inFlight: Int, freeInFlight: Int = 0, freeBlockedUntil: Instant? = nil,
      concurrencyLimit: Int? = nil, inFlightByBand: [Int], buckets: [Bucket],
      models: [Model], breaker: Breaker, keys: [Key], queuedByBand: [Int], resting: [ModelRest] = [],
      blockedUntil: Instant? = nil, blockedBecause: PauseReason? = nil, learned: [Learned] = [],
      policyConcurrency: Int? = nil, learnedConcurrency: Int? = nil, reservedPermits: [Int] = [0, 0, 0],
      waitingSince: [Instant?] = [nil, nil, nil]
    ) {
      self.policyConcurrency = policyConcurrency
      self.learnedConcurrency = learnedConcurrency
      self.reservedPermits = reservedPermits
      self.waitingSince = waitingSince
      self.freeInFlight = freeInFlight
      self.freeBlockedUntil = freeBlockedUntil
      self.blockedBecause = blockedBecause
      self.resting = resting
      self.blockedUntil = blockedUntil
      self.learned = learned
      self.id = id
      self.inFlight = inFlight
      self.concurrencyLimit = concurrencyLimit
      self.inFlightByBand = inFlightByBand
      self.buckets = buckets
      self.models = models
      self.breaker = breaker
      self.keys = keys
      self.queuedByBand = queuedByBand
    }
  }
  public struct Tenant: Sendable {
    public var id: TenantID
    public var inFlight: Int
    public var queued: Int
    public var concurrencyLimit: Int?
    public var buckets: [Bucket]
    public var weight: Int
    /// False for tenants that the policy does not name: such a name is a client's text.
    public var isListed: Bool
    /// Since when the request has waited that has waited longest.
    public var waitingSince: Instant?

    public init(
      id: TenantID, inFlight: Int, queued: Int, concurrencyLimit: Int? = nil, buckets: [Bucket], weight: Int,
      isListed: Bool = true, waitingSince: Instant? = nil
    ) {
      self.waitingSince = waitingSince
      self.id = id
      self.inFlight = inFlight
      self.queued = queued
      self.concurrencyLimit = concurrencyLimit
      self.buckets = buckets
      self.weight = weight
      self.isListed = isListed
    }
  }
  /// The queue of a class.
  public struct ClassQueue: Sendable, Equatable {
    public var priority: Priority
    public var queued: Int
    /// The request that has waited longest, and since when.
    public var oldest: RequestID?
    public var waitingSince: Instant?
    /// How long a call of the class would wait that came now; nil where that cannot be told.
    public var predictedWait: Span?

    public init(
      priority: Priority, queued: Int, oldest: RequestID? = nil, waitingSince: Instant? = nil,
      predictedWait: Span? = nil
    ) {
      self.priority = priority
      self.queued = queued
      self.oldest = oldest
      self.waitingSince = waitingSince
      self.predictedWait = predictedWait
    }
  }
  public var providers: [Provider]
  public var tenants: [Tenant]
  /// By `Priority.rawValue`.
  public var queuedByBand: [Int]
  public var queuedBytes: Int
  /// All calls that run, free ones included.
  public var running: Int
  public var openLeases: Int
  /// Slots of queue storage, used, free and tombstones; bounded by the number of queued requests.
  public var queueStorage: Int
  public var isDraining: Bool
  public var listedTenants: Set<TenantID> { Set(tenants.filter(\.isListed).map(\.id)) }
  /// All budgets that the policy lists; of those of sessions, client keys and unlisted tenants, the 100 with the most
  /// spent.
  public var budgets: [BudgetReading]
  /// Sessions that run as many calls as `session_concurrency` lets them.
  public var sessionsAtLimit: Int
  /// By `Priority.rawValue`.
  public var classes: [ClassQueue]

  public init(
    providers: [Provider], tenants: [Tenant], queuedByBand: [Int], queuedBytes: Int, running: Int, openLeases: Int,
    queueStorage: Int, isDraining: Bool, budgets: [BudgetReading] = [], sessionsAtLimit: Int = 0,
    classes: [ClassQueue] = []
  ) {
    self.classes = classes
    self.sessionsAtLimit = sessionsAtLimit
    self.providers = providers
    self.tenants = tenants
    self.queuedByBand = queuedByBand
    self.queuedBytes = queuedBytes
    self.running = running
    self.openLeases = openLeases
    self.queueStorage = queueStorage
    self.isDraining = isDraining
    self.budgets = budgets
  }
}
