// The entries of the ledger, as values: one before an attempt is sent, one when a request ends together with its last
// attempt, one for each attempt that another one follows, and one for each change of keys, breakers, budgets and
// policy. They never contain a prompt, an answer or a secret.
import AdmissionCore
import Pricing
import TextForms

/// One entry. Entries are written in the order in which they are given.
public enum LedgerEntry: Sendable, Equatable {
  /// An attempt is about to be sent.
  case held(AttemptHold)
  /// The attempt is over, and its request is not: posted, or void where nothing was sent.
  case settled(AttemptEnd)
  /// The request is over, and no attempt ends with it. Requests that were never granted have only this entry.
  case concluded(RequestEnd)
  /// The request is over together with its last attempt, which has the number `attempts` and ended at `ended`.
  case finished(RequestEnd, lastAttempt: AttemptEnd)
  case changed(LedgerChange)
  case remembered(LedgerMemo)
}

/// The hold of an attempt that is about to be sent: the estimate that is charged if its end never becomes known.
public struct AttemptHold: Sendable, Equatable {
  public var request: RequestID
  /// 1 for the first try.
  public var attempt: Int
  public var at: WallInstant
  public var tenant: TenantID
  public var clientKey: ClientKeyID?
  public var session: SessionID
  /// The agent within the session; empty for the main one.
  public var agent: AgentID
  public var provider: ProviderID
  public var key: KeyID?
  public var model: String
  public var priority: Priority
  public var kind: String?
  public var reservedInput: TokenCount
  public var reservedOutput: TokenCount
  /// nil where the price is unknown.
  public var held: Money?
  /// The version of the prices that the estimate was made with.
  public var priceVersion: String

  // Inlined, since the compiler copies a value of this size out of an initialiser of another module.
  @inlinable public init(
    request: RequestID, attempt: Int, at: WallInstant, tenant: TenantID, clientKey: ClientKeyID? = nil,
    session: SessionID, agent: AgentID = "", provider: ProviderID, key: KeyID? = nil, model: String,
    priority: Priority, kind: String? = nil, reservedInput: TokenCount, reservedOutput: TokenCount, held: Money?,
    priceVersion: String
  ) {
    self.request = request
    self.attempt = attempt
    self.at = at
    self.tenant = tenant
    self.clientKey = clientKey
    self.session = session
    self.agent = agent
    self.provider = provider
    self.key = key
    self.model = model
    self.priority = priority
    self.kind = kind
    self.reservedInput = reservedInput
    self.reservedOutput = reservedOutput
    self.held = held
    self.priceVersion = priceVersion
  }
}

/// How an attempt ended, and what it cost.
public struct AttemptEnd: Sendable, Equatable {
  public var request: RequestID
  public var attempt: Int
  public var at: WallInstant
  public var verdict: Verdict.Kind
  /// nil where no answer came.
  public var status: Int?
  /// False where the provider cannot have seen it: the hold is void.
  public var wasSent: Bool
  /// The usage; zeros where nothing was charged.
  public var usage: Usage
  /// The part of `usage.cacheWriteTokens` that is kept for an hour.
  public var cacheWriteHourTokens: TokenCount
  public var audioMilliseconds: Int64
  /// nil where the price is unknown.
  public var cost: Money?
  public var costSource: CostSource
  public var priceVersion: String
  /// The tier that the provider says it used.
  public var serviceTier: String?
  /// What was lost because a prompt cache was not read; nil where nothing was, or where it is not known.
  public var lostCache: LostCache?
  /// What the lost tokens cost more than reading them from the cache would have; nil where no price is known.
  public var lostCost: Money?

  // Inlined, since the compiler copies a value of this size out of an initialiser of another module.
  @inlinable public init(
    request: RequestID, attempt: Int, at: WallInstant, verdict: Verdict.Kind, status: Int? = nil, wasSent: Bool = true,
    usage: Usage = Usage(), cacheWriteHourTokens: TokenCount = 0, audioMilliseconds: Int64 = 0, cost: Money?,
    costSource: CostSource, priceVersion: String, serviceTier: String? = nil, lostCache: LostCache? = nil,
    lostCost: Money? = nil
  ) {
    self.request = request
    self.attempt = attempt
    self.at = at
    self.verdict = verdict
    self.status = status
    self.wasSent = wasSent
    self.usage = usage
    self.cacheWriteHourTokens = cacheWriteHourTokens
    self.audioMilliseconds = audioMilliseconds
    self.cost = cost
    self.costSource = costSource
    self.priceVersion = priceVersion
    self.serviceTier = serviceTier
    self.lostCache = lostCache
    self.lostCost = lostCost
  }
}

/// How a request ended. Its tokens and cost are those of its attempts.
public struct RequestEnd: Sendable, Equatable {
  public var request: RequestID
  public var arrived: WallInstant
  public var ended: WallInstant
  public var tenant: TenantID
  public var clientKey: ClientKeyID?
  public var session: SessionID
  /// The agent within the session; empty for the main one.
  public var agent: AgentID
  /// The effective class.
  public var priority: Priority
  public var priorityReason: String
  public var kind: String?
  public var model: String
  /// The provider of the last attempt; nil where there was none.
  public var provider: ProviderID?
  public var key: KeyID?
  public var outcome: Outcome
  /// The status that the client got; 0 where it got none.
  public var status: Int
  /// The number of granted attempts.
  public var attempts: Int
  public var queued: Span
  /// From arrival; nil where no answer began.
  public var firstByte: Span?

  // Inlined, since the compiler copies a value of this size out of an initialiser of another module.
  @inlinable public init(
    request: RequestID, arrived: WallInstant, ended: WallInstant, tenant: TenantID, clientKey: ClientKeyID? = nil,
    session: SessionID, agent: AgentID = "", priority: Priority, priorityReason: String = "", kind: String? = nil,
    model: String,
    provider: ProviderID? = nil, key: KeyID? = nil, outcome: Outcome, status: Int, attempts: Int, queued: Span,
    firstByte: Span? = nil
  ) {
    self.request = request
    self.arrived = arrived
    self.ended = ended
    self.tenant = tenant
    self.clientKey = clientKey
    self.session = session
    self.agent = agent
    self.priority = priority
    self.priorityReason = priorityReason
    self.kind = kind
    self.model = model
    self.provider = provider
    self.key = key
    self.outcome = outcome
    self.status = status
    self.attempts = attempts
    self.queued = queued
    self.firstByte = firstByte
  }
}

/// A change that belongs in the ledger.
public struct LedgerChange: Sendable, Equatable {
  public enum Subject: String, Sendable, CaseIterable {
    case key, breaker, budget, policy, broker, limit, log, tenant, webhook, alert
  }
  /// What became of the subject.
  public enum State: String, Sendable, CaseIterable {
    /// Of a key.
    case usable, cooling, disabled
    /// Of a breaker.
    case closed, open
    case halfOpen = "half_open"
    /// Of a budget: its limit is higher until an instant.
    case raised
    /// Of the policy.
    case reloaded
    /// Of the broker.
    case started, draining
    /// Of the ledger: a part of its journal cannot be read.
    case damaged
    case unmatchedEnd = "unmatched_end"
    case putAside = "put_aside"
    /// Of a limit, the log's level or a tenant.
    case changed, added, removed
    /// Of an alert; it ends with `resolved`.
    case firing, resolved
    /// Of a webhook: a delivery was given up.
    case failed

    public init(_ condition: KeyCondition) {
      switch condition {
      case .usable: self = .usable
      case .cooling: self = .cooling
      case .disabled: self = .disabled
      }
    }

    public init(_ condition: BreakerCondition) {
      switch condition {
      case .closed: self = .closed
      case .halfOpen: self = .halfOpen
      case .open: self = .open
      }
    }
  }
  public var at: WallInstant
  public var subject: Subject
  /// `openai/main`, `anthropic`, `acme/day`.
  public var name: String
  public var state: State
  public var reason: String
  /// The operator's name for the change; nil where no operator asked for it.
  public var askedBy: String?
  /// The amount of a raised budget.
  public var amount: Money?
  public var until: WallInstant?
  /// What was so before and after, in words for people, such as states and limits; nil where that says nothing more.
  public var before: String?
  public var after: String?

  public init(
    at: WallInstant, subject: Subject, name: String, state: State, reason: String = "", askedBy: String? = nil,
    amount: Money? = nil, until: WallInstant? = nil, before: String? = nil, after: String? = nil
  ) {
    self.at = at
    self.subject = subject
    self.name = name
    self.state = state
    self.reason = reason
    self.askedBy = askedBy
    self.amount = amount
    self.until = until
    self.before = before
    self.after = after
  }
}

/// Something that a broker needs to know after a restart. The newest memo of each kind and name counts.
public struct LedgerMemo: Sendable, Equatable {
  public enum Kind: String, Sendable, CaseIterable {
    /// The charges for work that one call began and that later calls read.
    case work
    /// What was learned about a model's calls at a provider.
    case learned
    /// The limits that a provider has told.
    case limits

    /// How many memos of this kind are kept; the oldest are removed first.
    public var most: Int {
      switch self {
      case .work: 16_384
      case .learned, .limits: 4_096
      }
    }
  }
  public var kind: Kind
  /// At most 512 bytes.
  public var name: String
  /// At most 4,096 bytes.
  public var value: String

  public init(kind: Kind, name: String, value: String) {
    self.kind = kind
    self.name = name
    self.value = value
  }
}
