// Events and actions as lines of text, for traces that people read.
import AdmissionCore

enum TraceText {
  static func line(_ event: AdmissionEvent, at now: Instant) -> String {
    let text: String
    switch event {
    case .submitted(let ticket):
      text =
        "submitted \(ticket.id.low) \(ticket.priority.name) \(ticket.tenant)/\(ticket.session) model=\(ticket.model) "
        + "input=\(ticket.estimatedInput) cap=\(ticket.outputCap.map { "\($0)" } ?? "-") "
        + "route=\(ticket.candidates.map(\.provider.name).joined(separator: ","))"
        + (ticket.deadline.map { " deadline=\(micros($0))" } ?? "")
        + (ticket.patience.map { " patience_us=\($0.nanoseconds / 1000)" } ?? "")
    case .cancelled(let id): text = "cancelled \(id.low)"
    case .progressed(let lease, let progress):
      text = "progressed lease=\(lease.rawValue) output=\(progress.outputTokens)"
    case .settled(let lease, let settlement):
      text =
        "settled lease=\(lease.rawValue) \(settlement.verdict)"
        + (settlement.usage.map { " input=\($0.inputTokens) cached=\($0.cacheReadTokens) output=\($0.outputTokens)" }
          ?? "")
    case .limitsObserved(let lease, let limits): text = "limitsObserved \(lease.rawValue) \(limits.readings)"
    case .sentAgain(let lease): text = "sentAgain \(lease.rawValue)"
    case .policyReplaced: text = "policyReplaced"
    case .keyChecked(let provider, let key, _, let isRefused):
      text = "keyChecked \(provider)/\(key) \(isRefused ? "refused" : "fine")"
    case .operatorCommanded(let command): text = "operatorCommanded \(command)"
    case .budgetWindowsBegan(let windows): text = "budgetWindowsBegan \(windows.map(\.serial))"
    case .budgetRaisesReplaced(let raises): text = "budgetRaisesReplaced \(raises.map(\.amount.nanodollars))"
    case .budgetsRestored(let spent, _): text = "budgetsRestored \(spent.map(\.spent.nanodollars))"
    case .restored(let attempts): text = "restored \(attempts.count)"
    case .dayBegan(let day): text = "dayBegan \(day.serial)"
    case .daySumsRestored(let sums): text = "daySumsRestored \(sums.count)"
    case .learnedRestored(let models): text = "learnedRestored \(models.count)"
    case .limitsRestored(let limits): text = "limitsRestored \(limits.count)"
    case .deadlineReached: text = "deadlineReached"
    case .drainRequested: text = "drainRequested"
    case .drainBounded(let end): text = "drainBounded \(end.nanoseconds)"
    }
    let stamp = micros(now)
    return String(repeating: " ", count: max(0, 12 - stamp.count)) + stamp + "  " + text
  }

  static func line(_ action: AdmissionAction) -> String {
    let text: String
    switch action {
    case .grant(let grant):
      text =
        "grant \(grant.request.low) lease=\(grant.lease.rawValue) at \(grant.provider)\(grant.key.map { "/\($0)" } ?? "") attempt=\(grant.attempt) "
        + "queued_us=\(grant.queued.nanoseconds / 1000) input=\(grant.reservedInput) output=\(grant.reservedOutput)"
    case .conclude(let conclusion):
      text = "conclude \(conclusion.request.low) \(conclusion.outcome.rawValue)"
    case .checkKey(let provider, let key): text = "checkKey \(provider)/\(key)"
    case .note(let notice): text = "note \(notice)"
    case .drained: text = "drained"
    }
    return String(repeating: " ", count: 16) + "-> " + text
  }

  /// Microseconds since the start.
  static func micros(_ instant: Instant) -> String { "\(instant.nanoseconds / 1000)" }
}
