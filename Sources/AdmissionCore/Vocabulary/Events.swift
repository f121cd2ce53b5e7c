// What the shells tell the core: things that happened.

public enum AdmissionEvent: Sendable {
  case submitted(Ticket)
  /// The client left; queued or running. For a running request the lease is still to be settled, with verdict
  /// `clientLeft`.
  case cancelled(RequestID)
  /// Tokens seen so far in a running stream, for true-up.
  case progressed(LeaseID, Progress)
  case settled(LeaseID, Settlement)
  /// The head of a running attempt's answer told the provider's limits.
  case limitsObserved(LeaseID, ObservedLimits)
  /// `candidates`: where the requests that wait or run may go under the new routes, from their next placement on. Who is not named
  /// keeps those with which it came, as far as they still exist.
  ///
  /// `asksPast`: the shell asks the books, from this moment on, what was spent under budgets that are new (`Admission.untoldBudgets`), and
  /// tells it with `budgetsRestored`; until then nobody is admitted by such a budget. Where it is false, they begin with nothing.
  case policyReplaced(AdmissionPolicy, candidates: [RequestID: [Candidate]] = [:], asksPast: Bool = false)
  case operatorCommanded(OperatorCommand)
  /// A free call of our own with this key has ended: the provider refused the key by words, or did not. `generation` is the
  /// secret's.
  case keyChecked(ProviderID, KeyID, generation: Int, isRefused: Bool)
  /// The windows of budgets that hold now; those that are not named stay as they are.
  case budgetWindowsBegan([BudgetWindowState])
  /// All raises of budgets that hold, in the place of those that held before.
  case budgetRaisesReplaced([BudgetRaise])
  /// What the books say was spent in the windows that hold now: at the start, and after a policy that asks, of what ended before it. In one
  /// or more parts; `isLast` with the last one.
  case budgetsRestored([BudgetSpent], isLast: Bool = true)
  /// At the start: what was sent in the last minutes, so that limits go on where they were.
  case restored([PastAttempt])
  /// The day, in UTC, that holds now; for limits by the day.
  case dayBegan(Day)
  /// What was used since the day began: at the start, and after a policy that asks, of what ended before it.
  case daySumsRestored([DaySum])
  /// At the start: what was known of models' calls.
  case learnedRestored([LearnedModel])
  /// The instant that `nextDeadline` gave has come.
  case deadlineReached
  case drainRequested
  /// The process ends at this instant: who waits for what cannot be over by then is concluded, at once where that is
  /// known.
  case drainBounded(Instant)
}

/// What a provider charged, or will be taken to have charged.
public struct Usage: Sendable, Equatable {
  /// All input, cached parts included.
  public var inputTokens: TokenCount
  public var cacheReadTokens: TokenCount
  public var cacheWriteTokens: TokenCount
  /// All output, reasoning included.
  public var outputTokens: TokenCount
  public var reasoningTokens: TokenCount
  /// True where the numbers were counted from bytes because the provider gave none, and where one that it gave cannot be true
  /// and was cut.
  public var isEstimated: Bool

  public init(
    inputTokens: TokenCount = 0, cacheReadTokens: TokenCount = 0, cacheWriteTokens: TokenCount = 0,
    outputTokens: TokenCount = 0, reasoningTokens: TokenCount = 0, isEstimated: Bool = false
  ) {
    self.inputTokens = inputTokens
    self.cacheReadTokens = cacheReadTokens
    self.cacheWriteTokens = cacheWriteTokens
    self.outputTokens = outputTokens
    self.reasoningTokens = reasoningTokens
    self.isEstimated = isEstimated
  }
}

extension Usage {
  /// True where every count is zero.
  public var isNothing: Bool {
    inputTokens == 0 && cacheReadTokens == 0 && cacheWriteTokens == 0 && outputTokens == 0 && reasoningTokens == 0
  }

  /// Both together, count by count.
  public static func + (one: Usage, other: Usage) -> Usage { one.merged(with: other, by: +) }

  /// What stands here beyond the other, count by count; zero where there is nothing.
  public static func - (one: Usage, other: Usage) -> Usage { one.merged(with: other, by: -) }

  /// Of each count the larger one.
  public func larger(_ other: Usage) -> Usage { merged(with: other, by: max) }

  private func merged(with other: Usage, by merge: (TokenCount, TokenCount) -> TokenCount) -> Usage {
    Usage(
      inputTokens: merge(inputTokens, other.inputTokens),
      cacheReadTokens: merge(cacheReadTokens, other.cacheReadTokens),
      cacheWriteTokens: merge(cacheWriteTokens, other.cacheWriteTokens),
      outputTokens: merge(outputTokens, other.outputTokens),
      reasoningTokens: merge(reasoningTokens, other.reasoningTokens), isEstimated: isEstimated || other.isEstimated)
  }
}

public struct Day: Sendable, Equatable {
  /// Days since 1970; orders them.
  public var serial: Int64
  public var end: Instant
  public init(serial: Int64, end: Instant) {
    self.serial = serial
    self.end = end
  }
}

/// What a tenant used of a model at a provider with one of its keys, since a moment.
public struct DaySum: Sendable, Equatable {
  public var tenant: TenantID
  public var provider: ProviderID
  public var key: KeyID?
  public var model: String
  public var requests: Int64
  public var usage: Usage
  public init(
    tenant: TenantID, provider: ProviderID, key: KeyID?, model: String, requests: Int64, usage: Usage
  ) {
    self.tenant = tenant
    self.provider = provider
    self.key = key
    self.model = model
    self.requests = requests
    self.usage = usage
  }
}

public struct Progress: Sendable {
  /// nil where not known yet.
  public var inputTokens: TokenCount?
  public var outputTokens: TokenCount
  public init(inputTokens: TokenCount?, outputTokens: TokenCount) {
    self.inputTokens = inputTokens
    self.outputTokens = outputTokens
  }
}

/// What an attempt's end says about the provider, the key and the request.
public enum Verdict: Sendable, Equatable {
  case success
  /// 429, 529, 498: slow down; not before `retryAfter` where the provider said so. `isAboutConcurrency`: it said that too many
  /// calls ran at a time.
  case throttled(retryAfter: Span?, isAboutConcurrency: Bool = false)
  /// 5xx, broken transport, timeouts: the provider's fault. It counts against `attempts` and the breaker. The request
  /// does not go there again before `retryAfter` where the answer said so; `isAway`: nor does any other for its model (a 503
  /// tells of a service, a 500 of one call).
  case failed(retryAfter: Span? = nil, isAway: Bool = false)
  /// Words that say that the key is no good (`invalid_api_key`, a bare 401), whatever is asked with it.
  case keyRefused
  /// Words that say that the key's account is unpaid or its limit spent (`insufficient_quota`).
  case quotaExhausted
  /// This key may not have this model, or not before `retryAfter`: no access, or the model's quota of the day is spent.
  case modelRefused(retryAfter: Span? = nil)
  /// Our client left; says nothing about the provider.
  case clientLeft
  /// 400, 404, 413, 422, and each 401, 402, 403 that names neither key nor account: nobody's failure.
  case clientError
  /// The stream broke after bytes had reached the client; counts as a failure, cannot be retried.
  case truncated
  /// Our own fault: no descriptor, no memory.
  case ownFault
}

/// How a lease ends.
public struct Settlement: Sendable {
  public var verdict: Verdict
  /// nil where nothing was charged as far as we know: refused connections, 4xx, 5xx.
  public var usage: Usage?
  /// What it cost; nil where nothing was charged, or where the price is unknown.
  public var cost: Money?
  /// False where the provider cannot have seen the request.
  public var wasSent: Bool
  /// True once a byte of this attempt's answer has gone to the client: no retry is possible.
  public var answerBegan: Bool
  /// True where the provider gave an answer (of any status) that can be passed on when attempts are used up.
  public var hasAnswer: Bool
  /// Tokens that other calls used, earlier, and that are charged with this one: they count in budgets, in no limit.
  public var laterTokens: TokenCount = 0
  /// False where trying again would run, and charge, the request twice.
  public var mayGoAgain: Bool
  /// The provider's own word on whether the same call may come again; nil where it did not say.
  public var toldToRetry: Bool?
  /// The same number for all attempts that one event has broken, such as the end of a connection that they shared: it
  /// counts as one failure. nil where it broke this attempt alone.
  public var cause: UInt64?

  public init(
    verdict: Verdict, usage: Usage? = nil, cost: Money? = nil, wasSent: Bool = true, answerBegan: Bool = false,
    hasAnswer: Bool = false, mayGoAgain: Bool = true, toldToRetry: Bool? = nil, cause: UInt64? = nil
  ) {
    self.mayGoAgain = mayGoAgain
    self.toldToRetry = toldToRetry
    self.cause = cause
    self.verdict = verdict
    self.usage = usage
    self.cost = cost
    self.wasSent = wasSent
    self.answerBegan = answerBegan
    self.hasAnswer = hasAnswer
  }
}

/// A provider's own word on its limits, from answer headers.
public struct ObservedLimits: Sendable, Equatable {
  /// How what a day's limit has given comes back.
  public enum DayReset: Sendable, Equatable {
    /// All of it when the day ends.
    case atOnce
    /// Bit by bit, all the time.
    case gradually
  }

  public struct Reading: Sendable, Equatable {
    public var dimension: Dimension
    /// Per minute.
    public var limit: Int64?
    public var remaining: Int64?
    /// Until the bucket is full again.
    public var fullIn: Span?
    /// The limit as it was told, whatever its window is.
    public var told: Int64?
    /// Not nil where the numbers are those of a day.
    public var day: DayReset?
    /// - Parameter told: nil is the same as `limit`.
    public init(
      dimension: Dimension, limit: Int64? = nil, remaining: Int64? = nil, fullIn: Span? = nil, told: Int64? = nil,
      day: DayReset? = nil
    ) {
      self.dimension = dimension
      self.limit = limit
      self.remaining = remaining
      self.fullIn = fullIn
      self.told = told ?? limit
      self.day = day
    }
  }
  public var readings: [Reading]
  public init(readings: [Reading]) { self.readings = readings }
}

public enum OperatorCommand: Sendable, Equatable {
  case disableKey(ProviderID, KeyID)
  case enableKey(ProviderID, KeyID)
  case openBreaker(ProviderID)
  case closeBreaker(ProviderID)
  case automateBreaker(ProviderID)
}
