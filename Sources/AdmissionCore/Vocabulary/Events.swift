// What the shells tell the core: things that happened.

public enum AdmissionEvent: Sendable {
  case submitted(Ticket)
  /// The client of a queued or running request left. The lease of a running request is still to be settled, with
  /// verdict `clientLeft`.
  case cancelled(RequestID)
  /// Tokens seen so far in a running stream, for true-up.
  case progressed(LeaseID, Progress)
  case settled(LeaseID, Settlement)
  /// The head of a running attempt's answer told the provider's limits.
  case limitsObserved(LeaseID, ObservedLimits)
  /// A running attempt was sent once more, over a new connection: its provider may have counted it twice.
  case sentAgain(LeaseID)
  /// `candidates`: where the waiting and running requests may go under the new routes, from their next placement on. A
  /// request that is not named keeps the candidates that it came with, as far as they still exist.
  ///
  /// `asksPast`: from this moment on the shell asks the ledger what was spent under new budgets
  /// (`Admission.untoldBudgets`), and reports it with `budgetsRestored`; until then such a budget admits nothing. Where
  /// `asksPast` is false, new budgets begin with nothing spent.
  case policyReplaced(AdmissionPolicy, candidates: [RequestID: [Candidate]] = [:], asksPast: Bool = false)
  case operatorCommanded(OperatorCommand)
  /// A free call of our own with this key has ended. `isRefused`: the provider's answer says that the key is refused.
  /// `generation` is the secret's.
  case keyChecked(ProviderID, KeyID, generation: Int, isRefused: Bool)
  /// The current windows of budgets; those that are not named stay as they are.
  case budgetWindowsBegan([BudgetWindowState])
  /// All current raises of budgets; they replace the earlier ones.
  case budgetRaisesReplaced([BudgetRaise])
  /// What the ledger says was spent in the current windows: at the start, and, after a policy with `asksPast`, by calls
  /// that ended before it. In one or more parts; `isLast` marks the last one.
  case budgetsRestored([BudgetSpent], isLast: Bool = true)
  /// At the start: the calls of the last minutes, so that limits continue where they were.
  case restored([PastAttempt])
  /// The current day in UTC, for daily limits.
  case dayBegan(Day)
  /// What was used since the day began: at the start, and, after a policy with `asksPast`, by calls that ended before
  /// it.
  case daySumsRestored([DaySum])
  /// At the start: what an earlier process had learned of models' calls.
  case learnedRestored([LearnedModel])
  /// At the start, before the calls of the last minutes: the limits that providers had told.
  case limitsRestored([LearnedLimits])
  /// The instant that `nextDeadline` gave has come.
  case deadlineReached
  case drainRequested
  /// The process ends at this instant. Requests that cannot be served by then are concluded as soon as that is known.
  case drainBounded(Instant)
}

/// What a provider charged, or is assumed to have charged.
public struct Usage: Sendable, Equatable {
  /// All input tokens, cached ones included.
  public var inputTokens: TokenCount
  public var cacheReadTokens: TokenCount
  public var cacheWriteTokens: TokenCount
  /// All output tokens, reasoning included.
  public var outputTokens: TokenCount
  public var reasoningTokens: TokenCount
  /// True where the numbers were estimated from bytes because the provider gave none, and where a number that it gave
  /// cannot be true and was cut.
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

  /// The sum of both, count by count.
  public static func + (one: Usage, other: Usage) -> Usage { one.merged(with: other, by: +) }

  /// What the left one has more than the right one, count by count; never below zero.
  public static func - (one: Usage, other: Usage) -> Usage { one.merged(with: other, by: -) }

  /// The larger of both, count by count.
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
  /// Days since 1970, by which days are ordered.
  public var serial: Int64
  public var end: Instant
  public init(serial: Int64, end: Instant) {
    self.serial = serial
    self.end = end
  }
}

/// What a tenant used of a model at a provider, with one of the provider's keys, since the day began.
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
  /// All input tokens, cached ones included; nil while unknown.
  public var inputTokens: TokenCount?
  /// Of these, the ones that the provider read from its cache, and those that it wrote there.
  public var cacheReadTokens: TokenCount
  public var cacheWriteTokens: TokenCount
  public var outputTokens: TokenCount
  public init(
    inputTokens: TokenCount?, cacheReadTokens: TokenCount = 0, cacheWriteTokens: TokenCount = 0,
    outputTokens: TokenCount
  ) {
    self.inputTokens = inputTokens
    self.cacheReadTokens = cacheReadTokens
    self.cacheWriteTokens = cacheWriteTokens
    self.outputTokens = outputTokens
  }

  /// What is known of the call's input; nil while nothing is.
  var input: Usage? {
    inputTokens.map {
      Usage(inputTokens: $0, cacheReadTokens: min(cacheReadTokens, $0), cacheWriteTokens: cacheWriteTokens)
    }
  }
}

/// What an attempt's end says about the provider, the key and the request.
public enum Verdict: Sendable, Equatable {
  case success
  /// 429, 529, 498: slow down, and come back after `retryAfter` where the provider said so. `isAboutConcurrency`: the
  /// provider said that too many calls were concurrent.
  case throttled(retryAfter: Span?, isAboutConcurrency: Bool = false)
  /// 5xx, broken transport, timeouts: the provider's fault, counted against `attempts` and the breaker. Where the
  /// answer gave a `retryAfter`, the request does not go there again before that; with `isAway`, neither does any other
  /// request for the model (a 503 is about the service, a 500 about one call).
  case failed(retryAfter: Span? = nil, isAway: Bool = false)
  /// The answer says that the key is invalid (`invalid_api_key`, a bare 401), whatever is asked with it.
  case keyRefused
  /// The answer says that the key's account is unpaid or its limit spent (`insufficient_quota`).
  case quotaExhausted
  /// This key may not use this model, or not before `retryAfter`: it has no access, or the model's daily quota is
  /// spent.
  case modelRefused(retryAfter: Span? = nil)
  /// Our client left. This says nothing about the provider.
  case clientLeft
  /// 400, 404, 413, 422, and each 401, 402, 403 that names neither key nor account: not a failure of the provider.
  case clientError
  /// The stream broke after bytes had reached the client; counts as a failure, cannot be retried.
  case truncated
  /// Our own fault: no descriptor, no memory.
  case ownFault

  /// A verdict without its numbers, as records, labels and the ledger keep it.
  public enum Kind: String, Sendable, CaseIterable {
    case success, throttled, failed
    case keyRefused = "key_refused"
    case quotaExhausted = "quota_exhausted"
    case modelRefused = "model_refused"
    case clientLeft = "client_left"
    case clientError = "client_error"
    case truncated
    case ownFault = "own_fault"
  }

  public var kind: Kind {
    switch self {
    case .success: .success
    case .throttled: .throttled
    case .failed: .failed
    case .keyRefused: .keyRefused
    case .quotaExhausted: .quotaExhausted
    case .modelRefused: .modelRefused
    case .clientLeft: .clientLeft
    case .clientError: .clientError
    case .truncated: .truncated
    case .ownFault: .ownFault
    }
  }
}

/// What went wrong with a call, as breakers tell it.
public enum FailureCause: Sendable, Hashable {
  case nameNotResolved, connectionRefused, connectTimeout, tls, proxy, connectionLost, firstByteTimeout, idleTimeout,
    totalTimeout, notHTTP, brokenOff
  /// An answer with this status.
  case status(Int)

  public var text: String {
    switch self {
    case .nameNotResolved: "its name does not resolve"
    case .connectionRefused: "connection refused"
    case .connectTimeout: "connecting took too long"
    case .tls: "the TLS handshake failed"
    case .proxy: "the proxy could not reach it"
    case .connectionLost: "the connection ended before the answer"
    case .firstByteTimeout: "no answer in time"
    case .idleTimeout: "the answer fell silent"
    case .totalTimeout: "the answer did not end in time"
    case .notHTTP: "the answer is not HTTP"
    case .brokenOff: "the answer broke off"
    case .status(let status): "status \(status)"
    }
  }
}

/// How a lease ends.
public struct Settlement: Sendable {
  public var verdict: Verdict
  /// nil where, as far as we know, nothing was charged: refused connections, 4xx, 5xx.
  public var usage: Usage?
  /// What the call cost; nil where nothing was charged, or where the price is unknown.
  public var cost: Money?
  /// False where the provider cannot have seen the request.
  public var wasSent: Bool
  /// True once a byte of this attempt's answer has gone to the client: no retry is possible.
  public var answerBegan: Bool
  /// True where the provider gave an answer (of any status) that can be passed on when attempts are used up.
  public var hasAnswer: Bool
  /// Tokens that other calls used earlier and that are charged with this one: they count in budgets, but in no limit.
  public var laterTokens: TokenCount = 0
  /// False where another try would run and charge the request twice.
  public var mayGoAgain: Bool
  /// The provider's own word on whether the same call may come again; nil where it did not say.
  public var toldToRetry: Bool?
  /// The same number for all attempts that one event has broken, such as the end of a shared connection: together they
  /// count as one failure. nil where the event broke this attempt alone.
  public var cause: UInt64?
  /// What went wrong, where the verdict is a failure and that is known.
  public var failure: FailureCause?
  /// How long the provider took from the sending of the call to the head of a good answer; nil where none came.
  public var firstByte: Span?

  public init(
    verdict: Verdict, usage: Usage? = nil, cost: Money? = nil, wasSent: Bool = true, answerBegan: Bool = false,
    hasAnswer: Bool = false, mayGoAgain: Bool = true, toldToRetry: Bool? = nil, cause: UInt64? = nil,
    failure: FailureCause? = nil, firstByte: Span? = nil
  ) {
    self.failure = failure
    self.firstByte = firstByte
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

/// What a provider's answer headers say about its limits.
public struct ObservedLimits: Sendable, Equatable {
  /// How the units of a daily limit come back.
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
    /// The limit as it was told, whatever its period.
    public var told: Int64?
    /// How the day's units come back, where the numbers are those of a day; else nil.
    public var day: DayReset?
    /// - Parameter told: nil means the same as `limit`.
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
