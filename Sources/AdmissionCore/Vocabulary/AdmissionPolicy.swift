// The operator's rules as the core needs them: checked, with every default filled in. PolicyFile makes this policy from
// text.

public struct AdmissionPolicy: Sendable, Equatable {
  public var providers: [ProviderPolicy]
  /// Indexed by `Priority.rawValue`; always three.
  public var bands: [BandPolicy]
  public var tenants: [TenantPolicy]
  /// Used for tenants that are not listed (`id: "*"`); nil where the shell refuses unknown tenants itself.
  public var tenantTemplate: TenantPolicy?
  /// The most bytes that all queued requests together may hold.
  public var queueBytes: Int
  /// Budgets of the whole broker.
  public var budgets: [BudgetPolicy]
  /// How many calls one session runs at once; nil is no limit.
  public var sessionConcurrency: SessionConcurrency?

  public init(
    providers: [ProviderPolicy], bands: [BandPolicy] = Priority.allCases.map(BandPolicy.standard),
    tenants: [TenantPolicy] = [TenantPolicy(id: "default")], tenantTemplate: TenantPolicy? = nil,
    queueBytes: Int = 256 << 20, budgets: [BudgetPolicy] = [], sessionConcurrency: SessionConcurrency? = nil
  ) {
    self.providers = providers
    self.bands = bands
    self.tenants = tenants
    self.tenantTemplate = tenantTemplate
    self.queueBytes = queueBytes
    self.budgets = budgets
    self.sessionConcurrency = sessionConcurrency
  }
}

/// How many calls one session, or one group of sessions, runs at once (rule 3d).
public struct SessionConcurrency: Sendable, Equatable {
  public var limit: Int
  /// True where it gets more while others leave places free.
  public var widen: Bool

  public init(limit: Int, widen: Bool = true) {
    self.limit = limit
    self.widen = widen
  }
}

/// Limits of a provider, a model, a key or a tenant; nil is no limit.
public struct Limits: Sendable, Equatable {
  public var concurrency: Int?
  public var requestsPerMinute: Int64?
  public var inputTokensPerMinute: Int64?
  public var outputTokensPerMinute: Int64?
  public var tokensPerMinute: Int64?
  public var requestsPerSecond: Int64?
  /// Days end as the vendor says, else at 00:00 UTC.
  public var requestsPerDay: Int64?
  public var tokensPerDay: Int64?
  /// The size of the burst, as the time that the bucket needs to refill it; without an entry, the limit's whole period.
  public var bursts: [RateLimit: Span] = [:]

  public init(
    concurrency: Int? = nil, requestsPerMinute: Int64? = nil, inputTokensPerMinute: Int64? = nil,
    outputTokensPerMinute: Int64? = nil, tokensPerMinute: Int64? = nil, requestsPerSecond: Int64? = nil,
    requestsPerDay: Int64? = nil, tokensPerDay: Int64? = nil, bursts: [RateLimit: Span] = [:]
  ) {
    self.requestsPerSecond = requestsPerSecond
    self.requestsPerDay = requestsPerDay
    self.tokensPerDay = tokensPerDay
    self.bursts = bursts
    self.concurrency = concurrency
    self.requestsPerMinute = requestsPerMinute
    self.inputTokensPerMinute = inputTokensPerMinute
    self.outputTokensPerMinute = outputTokensPerMinute
    self.tokensPerMinute = tokensPerMinute
  }

  /// Units per period of the limit; nil where there is no such limit.
  public func limit(_ rate: RateLimit) -> Int64? {
    switch rate {
    case .requestsPerMinute: requestsPerMinute
    case .inputTokensPerMinute: inputTokensPerMinute
    case .outputTokensPerMinute: outputTokensPerMinute
    case .tokensPerMinute: tokensPerMinute
    case .requestsPerSecond: requestsPerSecond
    case .requestsPerDay: requestsPerDay
    case .tokensPerDay: tokensPerDay
    }
  }

  /// The limit per minute of one dimension; nil where there is none.
  public func perMinute(_ dimension: Dimension) -> Int64? {
    switch dimension {
    case .requests: requestsPerMinute
    case .inputTokens: inputTokensPerMinute
    case .outputTokens: outputTokensPerMinute
    case .tokens: tokensPerMinute
    }
  }
}

public struct ProviderPolicy: Sendable, Equatable {
  public var id: ProviderID
  public var limits: Limits
  /// The first match wins. These limits hold in addition to the provider's own.
  public var modelLimits: [ModelLimits]
  public var keys: [KeyPolicy]
  public var quota: Quota
  public var admissionTokens: AdmissionTokens
  public var learnLimits: Bool
  public var breaker: BreakerPolicy
  public var retry: RetryPolicy
  /// How long this provider keeps a prompt prefix where the request does not say.
  public var cacheLife: Span
  /// How long a freed permit stays counted, for providers that count late.
  public var settleLag: Span
  /// How long the number of concurrent calls takes to grow after an idle minute or with a new key; zero means no ramp.
  public var ramp: Span
  /// The cluster, named by one of its providers: providers that some route connects are in the same cluster. Turns are
  /// not ordered between clusters. nil means the cluster of all providers that name none.
  public var cluster: ProviderID?

  public init(
    id: ProviderID, limits: Limits = Limits(), modelLimits: [ModelLimits] = [], keys: [KeyPolicy] = [],
    quota: Quota = .shared, admissionTokens: AdmissionTokens = .produced, learnLimits: Bool = true,
    breaker: BreakerPolicy = .api, retry: RetryPolicy = RetryPolicy(), settleLag: Span = .zero,
    ramp: Span = .zero, cacheLife: Span = .seconds(300)
  ) {
    self.cacheLife = cacheLife
    self.id = id
    self.limits = limits
    self.modelLimits = modelLimits
    self.keys = keys
    self.quota = quota
    self.admissionTokens = admissionTokens
    self.learnLimits = learnLimits
    self.breaker = breaker
    self.retry = retry
    self.settleLag = settleLag
    self.ramp = ramp
  }
}

public struct ModelLimits: Sendable, Equatable {
  public var models: Glob
  public var limits: Limits
  /// nil: failures of these models count for the provider's breaker.
  public var breaker: BreakerPolicy?
  public init(models: Glob, limits: Limits, breaker: BreakerPolicy? = nil) {
    self.models = models
    self.limits = limits
    self.breaker = breaker
  }
}

public struct KeyPolicy: Sendable, Equatable {
  public var id: KeyID
  /// 1...1000.
  public var weight: Int
  public var limits: Limits
  /// Models that this key may be used for; empty is all.
  public var models: [Glob]
  /// Changes with the secret, so that a disabled key is tried again.
  public var secretGeneration: Int
  /// False outside the days for which the key is valid: then it is not used. The shell knows the calendar.
  public var isInForce: Bool
  /// The key that had the same secret under another name in the policy before; this key takes over its counts. Set it
  /// in one installation only: by the next one, another key may have that name.
  public var predecessor: KeyID?
  public init(
    id: KeyID, weight: Int = 1, limits: Limits = Limits(), models: [Glob] = [], secretGeneration: Int = 0,
    isInForce: Bool = true
  ) {
    self.id = id
    self.weight = weight
    self.limits = limits
    self.models = models
    self.secretGeneration = secretGeneration
    self.isInForce = isInForce
  }
}

public enum Quota: String, Sendable { case shared, perKey = "per_key" }

/// What the provider charges at the start of a call.
public enum AdmissionTokens: String, Sendable { case produced, maxTokens = "max_tokens" }

public struct BreakerPolicy: Sendable, Equatable {
  public enum WhenOpen: String, Sendable { case wait, reject }
  /// Consecutive failures that open it.
  public var failures: Int
  /// Failures further apart than this do not add up; nil is no window.
  public var window: Span?
  public var recovery: Span
  /// Concurrent calls let through while half open.
  public var probes: Int
  public var whenOpen: WhenOpen
  public init(failures: Int, window: Span? = nil, recovery: Span, probes: Int = 1, whenOpen: WhenOpen = .wait) {
    self.failures = failures
    self.window = window
    self.recovery = recovery
    self.probes = probes
    self.whenOpen = whenOpen
  }
  public static let api = BreakerPolicy(failures: 5, recovery: .seconds(30))
  public static let external = BreakerPolicy(failures: 3, recovery: .seconds(60))
  public static let database = BreakerPolicy(failures: 2, recovery: .seconds(10))
}

public struct RetryPolicy: Sendable, Equatable {
  /// All tries together, the first included.
  public var attempts: Int
  public var base: Span
  public var max: Span
  /// Retries as a share of requests, in percent.
  public var budgetPercent: Int
  /// True where a request that was sent in full but not answered in time is sent again, although the provider may
  /// charge for both.
  public var afterSent: Bool
  public init(
    attempts: Int = 3, base: Span = .milliseconds(500), max: Span = .seconds(20), budgetPercent: Int = 20,
    afterSent: Bool = false
  ) {
    self.afterSent = afterSent
    self.attempts = attempts
    self.base = base
    self.max = max
    self.budgetPercent = budgetPercent
  }
}

/// A share of a capacity, or a whole number of permits.
public enum Reserve: Sendable, Equatable {
  /// 0...100 in hundredths of a percent: 1000 is 10 %. Holds for permits (rounded down) and for every bucket.
  case share(basisPoints: Int)
  /// Holds for permits only.
  case permits(Int)
}

public struct BandPolicy: Sendable, Equatable {
  public var reserve: Reserve
  /// The most requests that may wait in this band.
  public var queueLimit: Int
  public var maxWait: Span
  /// After this long a request is old: it is marked, and while it is a head its band gets `promotedShareBasisPoints`.
  public var promoteAfter: Span
  /// The floor share in basis points: 500 is 5 %.
  public var shareBasisPoints: Int
  /// The floor share while the band's oldest head has waited for `promoteAfter`, where it is more than `shareBasisPoints`.
  public var promotedShareBasisPoints: Int

  public init(
    reserve: Reserve, queueLimit: Int, maxWait: Span, promoteAfter: Span, shareBasisPoints: Int,
    promotedShareBasisPoints: Int = 0
  ) {
    self.reserve = reserve
    self.queueLimit = queueLimit
    self.maxWait = maxWait
    self.promoteAfter = promoteAfter
    self.shareBasisPoints = shareBasisPoints
    self.promotedShareBasisPoints = promotedShareBasisPoints
  }

  /// The contract's defaults.
  public static func standard(_ priority: Priority) -> BandPolicy {
    switch priority {
    case .high:
      BandPolicy(
        reserve: .share(basisPoints: 1000), queueLimit: 256, maxWait: .seconds(60), promoteAfter: .seconds(5),
        shareBasisPoints: 0)
    case .normal:
      BandPolicy(
        reserve: .share(basisPoints: 0), queueLimit: 1024, maxWait: .seconds(120), promoteAfter: .seconds(30),
        shareBasisPoints: 1000, promotedShareBasisPoints: 2500)
    case .low:
      BandPolicy(
        reserve: .share(basisPoints: 0), queueLimit: 4096, maxWait: .seconds(280), promoteAfter: .seconds(120),
        shareBasisPoints: 500, promotedShareBasisPoints: 1500)
    }
  }
}

public struct TenantPolicy: Sendable, Equatable {
  public var id: TenantID
  /// Share among tenants of one band, 1...1000.
  public var weight: Int
  public var limits: Limits
  /// Budgets of the tenant, of each of its client keys, and of each of its sessions.
  public var budgets: [BudgetPolicy]
  public init(id: TenantID, weight: Int = 1, limits: Limits = Limits(), budgets: [BudgetPolicy] = []) {
    self.id = id
    self.weight = weight
    self.limits = limits
    self.budgets = budgets
  }
}

/// A shell-like pattern: `*` is any run of bytes, `?` one byte, everything else itself. Compared with case.
public struct Glob: Sendable, Hashable, ExpressibleByStringLiteral {
  public let pattern: String
  public init(_ pattern: String) { self.pattern = pattern }
  public init(stringLiteral value: String) { pattern = value }

  public func matches(_ text: some StringProtocol) -> Bool { matches(String(text)) }

  public func matches(_ text: String) -> Bool {
    let pattern = self.pattern.utf8.span
    let text = text.utf8.span
    var p = 0
    var t = 0
    var star: Int?
    var resume = 0
    while t < text.count {
      if p < pattern.count, pattern[p] == UInt8(ascii: "*") {
        star = p
        p += 1
        resume = t
      } else if p < pattern.count, pattern[p] == UInt8(ascii: "?") || pattern[p] == text[t] {
        p += 1
        t += 1
      } else if let last = star {
        p = last + 1
        resume += 1
        t = resume
      } else {
        return false
      }
    }
    while p < pattern.count, pattern[p] == UInt8(ascii: "*") { p += 1 }
    return p == pattern.count
  }
}
extension ProviderPolicy {
  /// The operator's limits for one of the keys: where each key has the provider's for itself, the smaller of both.
  func limits(of key: KeyPolicy) -> Limits { quota == .perKey ? key.limits.tightened(by: limits) : key.limits }
}

extension Limits {
  /// The smaller of both in each dimension.
  func tightened(by other: Limits) -> Limits {
    func least<T: Comparable>(_ left: T?, _ right: T?) -> T? {
      guard let left, let right else { return left ?? right }
      return min(left, right)
    }
    return Limits(
      concurrency: least(concurrency, other.concurrency),
      requestsPerMinute: least(requestsPerMinute, other.requestsPerMinute),
      inputTokensPerMinute: least(inputTokensPerMinute, other.inputTokensPerMinute),
      outputTokensPerMinute: least(outputTokensPerMinute, other.outputTokensPerMinute),
      tokensPerMinute: least(tokensPerMinute, other.tokensPerMinute),
      requestsPerSecond: least(requestsPerSecond, other.requestsPerSecond),
      requestsPerDay: least(requestsPerDay, other.requestsPerDay),
      tokensPerDay: least(tokensPerDay, other.tokensPerDay),
      // The shorter of two bursts, since it lets less through at once.
      bursts: bursts.merging(other.bursts) { min($0, $1) })
  }
}
