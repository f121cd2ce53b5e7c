// The texts of our own errors: what happened, what stood in the way, what helps.
import AdmissionCore
import HTTPMessage
import TextForms

public enum ErrorText {
  /// - Parameter budgetEnds: when the window of the refusing budget ends, RFC 3339.
  static func rejected(_ conclusion: Conclusion, record: RequestRecord, budgetEnds: String?) -> String {
    let again = conclusion.retryAfter.map { " Please try again in \(seconds($0))." } ?? ""
    let reason = conclusion.blocker.map { ": \(describe($0))" } ?? ""
    switch conclusion.outcome {
    case .rejectedQueueFull:
      return "The queue for \(record.priority.name) priority is full\(reason).\(again)"
    case .evictedMaxWait:
      return "Waited \(seconds(conclusion.queued)) in the \(record.priority.name) queue without being served\(reason)."
        + (conclusion.givingUp.map { " \(describe($0))" } ?? "") + again
    case .rejectedNoCapacity:
      return "No provider of the route can serve this request before its deadline\(reason).\(again)"
    case .rejectedDraining:
      return "The broker is shutting down and takes no new requests.\(again)"
    case .rejectedBudget:
      guard let budget = conclusion.budget else { return "The budget is used up\(reason)." }
      let held = budget.held > .zero ? ", running calls hold \(amount(budget.held, budget.unit))" : ""
      let estimate =
        conclusion.estimate.map {
          $0 > .zero && budget.unit == .usd ? "it is reckoned to cost \(dollars($0)), " : ""
        } ?? ""
      let spent =
        budget.unit == .usd
        ? "\(dollars(budget.spent)) of \(dollars(budget.limit)) is spent"
        : "\(budget.spent.nanodollars) of \(amount(budget.limit, budget.unit)) are used"
      let rolls = "It counts the last \(budget.window.name), and has more room from time to time."
      return "The budget '\(budget.id)' cannot pay for this request: \(estimate)\(spent)\(held). "
        + (budget.window.period == .rolling
          ? rolls
          : budgetEnds.map { "Its window ends at \($0)." } ?? "Its window does not end; ask the operator to raise it.")
    case .rejectedTenantLimit:
      return "The request is larger than the limit of tenant '\(record.tenant)' and can never fit\(reason)."
    case .rejectedUnauthenticated:
      return "The client key is missing or unknown."
    case .rejectedModel:
      return "No provider serves the model '\(record.model)' any more."
    default:
      return "The request cannot be served\(reason).\(again)"
    }
  }

  private static func describe(_ givingUp: GivingUp) -> String {
    "The client gives up after \(seconds(givingUp.after))"
      + (givingUp.firstByte > .zero ? ", and first bytes take \(seconds(givingUp.firstByte))." : ".")
  }

  static let memoryFull =
    "The broker holds as much of its clients' requests in memory as it may. Please try again in 5s."
  static let memoryFullRetry = Span.seconds(5)

  static func amount(_ amount: Money, _ unit: BudgetUnit) -> String {
    unit == .usd ? dollars(amount) : "\(amount.nanodollars) \(unit.rawValue)"
  }

  /// `openai/main (OPENAI_API_KEY)`, in printable ASCII.
  static func name(_ key: RefusedKey, source: String?) -> String {
    let text = "\(key.provider)/\(key.key)" + (source.map { " (\($0))" } ?? "")
    return String(String.UnicodeScalarView(text.unicodeScalars.map { (0x20..<0x7F).contains($0.value) ? $0 : "?" }))
  }

  /// - Parameter source: where the secret comes from: `OPENAI_API_KEY`, a file; nil where the policy has the secret itself.
  static func refused(_ key: RefusedKey, source: String?) -> String {
    "Every key of the route is refused by its provider, the last one was '\(key.key)' of '\(key.provider)'"
      + (source.map { " (\($0))" } ?? "")
      + ". These are the broker's own keys, not yours: its operator must replace them. "
      + "Each is tried again from time to time, and at once when its secret changes."
  }

  /// An operator has taken every provider of the route out of use: waiting does not help.
  static func closedByHand(_ closed: [(provider: String, by: ClosedByHand)]) -> String {
    let parts = closed.prefix(4).map { provider, by in
      switch by {
      case .breaker:
        "the breaker of '\(provider)' was opened by hand ('tollgate breakers auto \(provider)' ends that)"
      case .keys(let keys):
        (keys.count == 1 ? "the only key" : "each key") + " of '\(provider)' was disabled by hand ("
          + keys.prefix(4).map { "'tollgate keys enable \(provider)/\($0)'" }.joined(separator: " or ")
          + " ends that)"
      }
    }
    return "No provider of the route takes calls until this broker's operator lets them: "
      + parts.joined(separator: "; ") + ". Waiting does not help."
  }

  static func refusedSite(_ objection: SiteRules.Objection) -> String {
    switch objection {
    case .name(let host):
      "The name '\(host.prefix(64))' is not one of this broker's: it answers to localhost, to the addresses on which it "
        + "listens and to what the policy lists under 'hosts:'."
    case .origin(let origin):
      "Pages of '\(origin.prefix(64))' may not call: the policy lists those that may under 'cors: {origins: [...]}'."
    case .crossSite: "Requests of other sites' pages are refused."
    }
  }

  static func ledgerInTrouble(_ obstacle: String) -> String {
    "The broker takes no new work, because its ledger cannot be written: \(obstacle)."
  }

  static func failedUpstream(_ failure: UpstreamFailure?, provider: String?) -> String {
    let name = provider.map { "The provider '\($0)'" } ?? "The provider"
    guard let failure else { return "\(name) gave no answer that could be passed on." }
    let what =
      switch failure.kind {
      case .resolveFailed: "could not be reached: its name does not resolve"
      case .connectRefused: "could not be reached: the connection was refused"
      case .connectTimedOut: "could not be reached: connecting took too long"
      case .tlsFailed: "could not be reached: the TLS handshake failed"
      case .proxyFailed: "could not be reached through the proxy"
      case .resetBeforeResponse: "closed the connection before it answered"
      case .truncated: "broke off its answer"
      case .firstByteTimedOut: "did not begin to answer in time"
      case .idleTimedOut: "fell silent in the middle of its answer"
      case .totalTimedOut: "did not finish its answer in time"
      case .malformedResponse: "sent something that is not HTTP"
      case .local: "was not called: the broker is out of resources"
      }
    return failure.detail.isEmpty ? "\(name) \(what)." : "\(name) \(what) (\(failure.detail))."
  }

  /// One blocker in words.
  public static func describe(_ blocker: Blocker) -> String {
    switch blocker {
    case .behindInLane: "another request of the same session goes first"
    case .notItsTurn: "other requests go first"
    case .providerConcurrency(let id): "all places of provider '\(id)' are taken"
    case .freeConcurrency(let id):
      "provider '\(id)' answers as many free calls (counts, lists, reads) as it may at a time"
    case .headroom(let id): "the free places of provider '\(id)' are kept for higher priorities"
    case .providerBucket(let id, let dimension): "provider '\(id)' has no \(dimension.name) left for now"
    case .modelConcurrency(let id, let model): "all places of '\(model)' at provider '\(id)' are taken"
    case .modelBucket(let id, let model, let dimension):
      "'\(model)' at provider '\(id)' has no \(dimension.name) left for now"
    case .tenantConcurrency(let id): "tenant '\(id)' runs as many calls as it may"
    case .tenantBucket(let id, let dimension): "tenant '\(id)' has no \(dimension.name) left for now"
    case .sessionConcurrency(let id): "session '\(id)' runs as many calls as it may"
    case .claimed(let id, _): "a request before it waits for provider '\(id)'"
    case .breakerOpen(let id): "the circuit breaker of provider '\(id)' is open"
    case .modelBreakerOpen(let id, let model): "the circuit breaker of '\(model)' at provider '\(id)' is open"
    case .modelClosed(let id, let model): "provider '\(id)' asked for a pause for '\(model)'"
    case .noUsableKey(let id): "provider '\(id)' has no usable key"
    case .keyConcurrency(let id): "every usable key of provider '\(id)' runs as many calls as it may"
    case .keyBucket(let id, let dimension): "the keys of provider '\(id)' have no \(dimension.name) left for now"
    case .warmKey(let id, let key): "key '\(key)' of provider '\(id)', whose cache has its prompt, is soon free"
    case .providerClosed(let id): "provider '\(id)' asked for a pause"
    case .budget(let name): "what is left of the budget '\(name)' is held by running calls"
    case .backoff: "its retry may not start yet"
    }
  }

  /// `$0.0123`: at least two decimals.
  static func dollars(_ money: Money) -> String { DollarText.text(money.text) }

  /// `1.2s`: the form that clients parse in OpenAI's messages.
  static func seconds(_ span: Span) -> String {
    let tenths = (span.nanoseconds + 50_000_000) / 100_000_000
    return tenths % 10 == 0 ? "\(tenths / 10)s" : "\(tenths / 10).\(tenths % 10)s"
  }
}
