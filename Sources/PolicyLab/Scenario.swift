// A scenario: a policy, clients that make requests, and other events. It is plain data, so that it can be made by hand,
// drawn from a seed, or shortened to find a failure. A client's requests depend only on its own seed, never on the
// decider under test.
import AdmissionCore

public struct Scenario: Sendable {
  public var seed: UInt64
  public var policy: AdmissionPolicy
  public var clients: [ClientScript]
  public var happenings: [Happening]
  /// What the providers really enforce; by default what the policy says they do.
  public var truths: [ProviderTruth]
  /// Clients begin no requests after this; the run goes on until everything has ended.
  public var horizon: Instant
  public var expectations: Expectations

  public init(
    seed: UInt64, policy: AdmissionPolicy, clients: [ClientScript], happenings: [Happening] = [],
    truths: [ProviderTruth]? = nil, horizon: Instant, expectations: Expectations = Expectations()
  ) {
    self.seed = seed
    self.policy = policy
    self.clients = clients
    self.happenings = happenings
    self.truths = truths ?? policy.providers.map(ProviderTruth.init)
    self.horizon = horizon
    self.expectations = expectations
  }

  /// True where some clients' calls have a price: then the sums of money are compared.
  public var isPriced: Bool { clients.contains { $0.price != nil } }

  /// What is expected of a decider besides the invariants that always hold.
  public struct Expectations: Sendable {
    /// Estimates are exact and the policy's limits are true: no refusal is acceptable.
    public var noRefusals = true
    /// Costs are exact and nothing is promoted: backlogged flows must be served alike.
    public var fairShares = false
    /// One provider, permits only, nobody leaves or fails: real costs must be shared, whatever was expected.
    public var realShares = false
    /// All of the calls could go as soon as it is their turn, so that the turns themselves are known, and who went before
    /// them because its prompt was about to expire.
    public var knownTurns = false
    public init(noRefusals: Bool = true, fairShares: Bool = false, realShares: Bool = false) {
      self.noRefusals = noRefusals
      self.fairShares = fairShares
      self.realShares = realShares
    }
  }
}

/// One source of requests.
public struct ClientScript: Sendable {
  public enum Pacing: Sendable {
    /// `parallel` chains, each beginning its next call `think` after its last one ended.
    case closed(parallel: Int, think: ClosedRange<Span>)
    /// `burst` calls at once after each `every`, whether or not earlier ones have ended.
    case open(every: ClosedRange<Span>, burst: Int)
  }
  public var tenant: TenantID
  public var session: SessionID
  public var priority: Priority
  /// Providers in order of preference.
  public var route: [ProviderID]
  public var model: String
  public var start: Instant
  /// The most requests that it makes in all.
  public var requests: Int
  public var pacing: Pacing
  /// How long the provider works on a call.
  public var execute: ClosedRange<Span>
  public var input: ClosedRange<Int64>
  /// What is really produced; 0...0 is a call without output.
  public var output: ClosedRange<Int64>
  /// nil: the client names no cap. Never below what is produced.
  public var outputCap: Int64?
  public var keptBytes: Int
  public var patience: Span?
  /// The percentage of calls that are given up `leaveAfter` their start, whether queued or running.
  public var leavePercent: Int
  public var leaveAfter: ClosedRange<Span>
  /// Real input in percent of the estimate.
  public var inputErrorPercent: ClosedRange<Int>
  /// What a token costs, at every provider; nil is unknown.
  public var price: CallPrice?
  /// How much of its input a provider has cached, in percent: at most this, and different for each call.
  public var mostCachedPercent = 0
  /// The percentage of calls that produce `longOutput` instead.
  public var longPercent = 0
  public var longOutput: Int64 = 0
  /// True where nothing is charged for the calls: counts, lists, reads.
  public var isFree = false
  /// The group whose sessions count together; nil is the session alone.
  public var sessionGroup: SessionID?
  /// Its calls continue one conversation, as an agent's do; nil: each stands alone.
  public var conversation: PromptScript?
  /// How long it waits for the first byte of an answer before it gives up, which it tells; nil: for ever.
  public var givesUpAfter: Span?
  /// When the first byte comes, in percent of a call's time; 0...0: nobody is told.
  public var firstBytePercent = 0...0
  public var isStream = false

  public init(
    tenant: TenantID = "default", session: SessionID, priority: Priority, route: [ProviderID], model: String = "m",
    start: Instant = Instant(nanoseconds: 0), requests: Int, pacing: Pacing, execute: ClosedRange<Span>,
    input: ClosedRange<Int64> = 100...100, output: ClosedRange<Int64> = 0...0, outputCap: Int64? = nil,
    keptBytes: Int = 1000, patience: Span? = nil, leavePercent: Int = 0,
    leaveAfter: ClosedRange<Span> = .zero ... .zero, inputErrorPercent: ClosedRange<Int> = 100...100
  ) {
    self.tenant = tenant
    self.session = session
    self.priority = priority
    self.route = route
    self.model = model
    self.start = start
    self.requests = requests
    self.pacing = pacing
    self.execute = execute
    self.input = input
    self.output = output
    self.outputCap = outputCap
    self.keptBytes = keptBytes
    self.patience = patience
    self.leavePercent = leavePercent
    self.leaveAfter = leaveAfter
    self.inputErrorPercent = inputErrorPercent
  }
}

/// An event that does not come from clients.
public struct Happening: Sendable {
  public enum What: Sendable {
    case policyReplaced(AdmissionPolicy)
    case operatorCommanded(OperatorCommand)
    case drainRequested
    case budgetWindowsBegan([BudgetWindowState])
    case budgetRaisesReplaced([BudgetRaise])
    /// The provider answers like this until the next change.
    case providerMood(ProviderID, ProviderMood)
    /// Only calls for these models are answered like this; `well` ends it.
    case modelMood(ProviderID, Glob, ProviderMood)
  }
  public var at: Instant
  public var what: What
  public init(at: Instant, _ what: What) {
    self.at = at
    self.what = what
  }
}

/// How a simulated provider answers calls that its limits would allow.
public enum ProviderMood: Sendable, Equatable {
  case well
  /// 429 to every call, with or without a time to come back.
  case throttling(retryAfter: Span?)
  /// 5xx to this share of the calls, after half of their time; `retryAfter` where it says when to come back.
  case failing(percent: Int, retryAfter: Span? = nil)
  /// 401 to every call.
  case refusingKeys
}

/// What a provider enforces.
public struct ProviderTruth: Sendable {
  public var id: ProviderID
  public var limits: Limits
  public var modelLimits: [ModelLimits]
  public var admissionTokens: AdmissionTokens
  /// True where its refusals tell when to come back.
  public var tellsRetryAfter: Bool
  /// True where the heads of its answers tell limits and what is left of them.
  public var tellsLimits: Bool
  public var quota: Quota
  /// True where only every other refusal tells it.
  public var staysBareHalfTheTime = false
  /// How long a call that has ended still counts.
  public var countsLate: Span
  /// nil: it has no prompt cache.
  public var promptCache: PromptCacheTruth?
  /// How long a call is on its way to it, and how much longer where it needs a new connection. Only for scenarios in
  /// which no client leaves.
  public var transit: ClosedRange<Span> = .zero ... .zero
  public var connecting = Span.zero
  /// True where its buckets let nothing through that is not there yet, not even a unit.
  public var isExact = false

  public init(
    id: ProviderID, limits: Limits, modelLimits: [ModelLimits] = [], admissionTokens: AdmissionTokens = .produced,
    tellsRetryAfter: Bool = true, tellsLimits: Bool = false, quota: Quota = .shared, countsLate: Span = .zero
  ) {
    self.id = id
    self.limits = limits
    self.modelLimits = modelLimits
    self.admissionTokens = admissionTokens
    self.tellsRetryAfter = tellsRetryAfter
    self.tellsLimits = tellsLimits
    self.quota = quota
    self.countsLate = countsLate
  }

  public init(_ policy: ProviderPolicy) {
    self.init(
      id: policy.id, limits: policy.limits, modelLimits: policy.modelLimits, admissionTokens: policy.admissionTokens,
      quota: policy.keys.isEmpty ? .shared : policy.quota)
  }
}
