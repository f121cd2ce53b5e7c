// The answers that an exchange sends itself: our own errors, the provider's last error, documents; and the last bytes
// of every answer.
//
// Promise: none of these bytes is sent before the ledger has the request's end.
import AdmissionCore
import HTTPMessage
import ProviderWire
import TextForms

/// A whole answer that is no error.
struct ResponseDocument {
  var status: Int
  var fields: [(name: String, value: String)]
  var body: [UInt8]
}

extension Exchange {
  /// Appends our own fields, and those that let a page read the answer.
  func appendOwnFields(to fields: inout HeaderFields, outcome: Outcome?) {
    TollgateFields.append(to: &fields, record, outcome: outcome)
    CrossOrigin.append(to: &fields, origin: call.readableOrigin)
  }

  /// What the client is told when the core has concluded its request.
  func lastWord(on conclusion: Conclusion) -> LastWord {
    switch conclusion.outcome {
    case .completed, .truncated, .clientLeftQueued, .clientLeftRunning: return .none
    case .upstreamError:
      if left.answerBegan { return .none }
      return left.errorAnswer == nil ? .refusal(failedUpstream) : .errorAnswer
    case .failedUpstream: return left.answerBegan ? .none : .refusal(failedUpstream)
    default: break
    }
    guard let refused = conclusion.refusedKey else {
      if let text = closedByHand(conclusion) {
        return .refusal(Refusal(conclusion.outcome, text, retryAfter: conclusion.retryAfter))
      }
      return .refusal(
        Refusal(
          conclusion.outcome,
          ErrorText.rejected(
            conclusion, record: record,
            budgetEnds: conclusion.budget?.windowEnd.map { services.time.text(ofWindowEnd: $0) }),
          retryAfter: conclusion.retryAfter))
    }
    let rules = services.rules.now
    let source = rules.provider(refused.provider.name)?.policy.keys.first { $0.id == refused.key.name }?.sourceName
    if let said = services.providers.keyRefusals.last(of: refused, in: rules.secrets) {
      return .keyRefused(refused, source: source, said)
    }
    return .refusal(
      Refusal(
        .rejectedNoCapacity, ErrorText.refused(refused, source: source), inWordsOf: .rejectedUnauthenticated))
  }

  /// Where only an operator can end what stands in the way of each provider of the route: who must do what.
  private func closedByHand(_ conclusion: Conclusion) -> String? {
    guard conclusion.outcome == .rejectedNoCapacity, !call.candidateNames.isEmpty else { return nil }
    var closed: [(provider: String, by: ClosedByHand)] = []
    for name in call.candidateNames {
      guard let by = services.dispatcher.closedByHand(name) else { return nil }
      closed.append((name, by))
    }
    return ErrorText.closedByHand(closed)
  }

  private var failedUpstream: Refusal {
    Refusal(.failedUpstream, ErrorText.failedUpstream(lastFailure, provider: record.provider))
  }

  /// Prepares the answer, which is kept until the ledger has the request's end, and notes it in the record.
  func say(_ word: LastWord) {
    switch word {
    case .none: break
    case .errorAnswer:
      if let answer = left.errorAnswer { deliver(answer) }
    case .refusal(let refusal):
      lookAtBudget()
      record.explained(refusal.message)
      let answer = answer(to: refusal)
      deliver(answer.status, answer.fields, outcome: refusal.outcome, answer.body)
    case .keyRefused(let key, let source, let said):
      lookAtBudget()
      record.explained(ErrorText.refused(key, source: source))
      // The body is the provider's, which does not know how its key is called here.
      deliver(
        said.status,
        [
          ("content-type", said.contentType), ("x-should-retry", "false"),
          ("x-tollgate-refused-key", ErrorText.name(key, source: source)),
        ], outcome: .rejectedNoCapacity, said.body)
    case .document(let document):
      lookAtBudget()
      deliver(document.status, document.fields, outcome: nil, document.body)
    }
  }

  /// Notes what the budgets leave, for answers that the core did not decide about.
  private func lookAtBudget() {
    record.budgetLooked { services.dispatcher.budgetRemaining(tenant: TenantID(record.tenant)) }
  }

  private func answer(to refusal: Refusal) -> BrokerError.Answer {
    if let status = refusal.status {
      return BrokerError.refusal(
        status: status, dialect: call.dialect, message: refusal.message, requestID: record.text)
    }
    let timedOut =
      switch lastFailure?.kind {
      case .firstByteTimedOut, .idleTimedOut, .totalTimedOut, .connectTimedOut: true
      default: false
      }
    return BrokerError.answer(
      outcome: refusal.words ?? refusal.outcome, dialect: call.dialect, endpoint: call.path.endpoint,
      message: refusal.message, retryAfter: refusal.retryAfter, requestID: record.text, timedOut: timedOut)
  }

  /// The provider's last answer, unchanged.
  private func deliver(_ answer: ErrorAnswer) {
    record.answers(answer.head.status, bytes: answer.body.count)
    var fields = ForwardedFields.forClient(answer.head.fields, bodyMayShrink: true, isForPage: call.isFromPage)
    appendOwnFields(to: &fields, outcome: nil)
    fields.append("content-length", String(answer.body.count))
    delivery = Delivery(head: ResponseHead(status: answer.head.status, fields: fields), body: answer.body)
  }

  private func deliver(
    _ status: Int, _ fields: [(name: String, value: String)], outcome: Outcome?, _ body: [UInt8]
  ) {
    record.answers(status, bytes: body.count)
    var list = HeaderFields(fields)
    appendOwnFields(to: &list, outcome: outcome)
    list.append("content-length", String(body.count))
    delivery = Delivery(head: ResponseHead(status: status, fields: list), body: body)
  }

  // MARK: The last bytes

  var awaitsDelivery: Bool { delivery != nil && !downstream.isClosed }

  /// The ledger has the request's end: sends the client the last bytes.
  func endIsSafe() {
    guard let delivery else { return }
    self.delivery = nil
    guard !downstream.isClosed else { return }
    var trailers: HeaderFields?
    if record.grantedAt != nil, let cost = record.cost {
      // HTTP/1.1 has no trailers behind a body of known length; the cost can stand in a head that has not been sent
      // yet.
      if var head = delivery.head, call.head.version != .http2 {
        head.fields.append("x-tollgate-cost-usd", cost.text)
        downstream.respond(head)
        downstream.send(delivery.body)
        return downstream.finish(trailers: nil)
      }
      trailers = HeaderFields([(name: "x-tollgate-cost-usd", value: cost.text)])
    }
    if let head = delivery.head { downstream.respond(head) }
    if !delivery.body.isEmpty { downstream.send(delivery.body) }
    downstream.finish(trailers: trailers)
  }
}

extension Timekeeper {
  /// An instant of the core's clock as RFC 3339 in UTC, rounded to the nearest second: windows end on whole seconds,
  /// and the two clocks drift by less than half a second.
  func text(ofWindowEnd instant: Instant) -> String {
    let wall = wall(at: UInt64(max(0, instant.nanoseconds)))
    return Timestamp.text((wall + 500_000_000) / 1_000_000_000 * 1_000_000_000)
  }
}
