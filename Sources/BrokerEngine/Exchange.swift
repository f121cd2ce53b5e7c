// One client's request on its way through the broker: body, ticket, attempts, answer, end.
//
// The machine. `reading` → `queued` → `attempting` → `concluded`; from `attempting` back to `queued` when the core decides on a retry;
// from every state to `concluded` when the client leaves or the request is refused. Exactly one outcome, set on entering `concluded`.
import AdmissionCore
import HTTPMessage
import PolicyFile
import ProviderWire

final class Exchange {
  enum Phase {
    /// The body is still coming. Next: queued, concluded.
    case reading
    /// The core has the ticket. Next: attempting, concluded.
    case queued
    /// An attempt runs upstream. Next: queued (retry), concluded.
    case attempting(Attempt)
    /// The outcome is set; bytes may still be on their way to the client.
    case concluded
  }

  /// A provider's error answer, kept until the core has decided whether there is another attempt.
  struct HeldAnswer {
    var head: ResponseHead
    var body: [UInt8]
  }

  /// What the client still has to get when the books have the request's end.
  struct Delivery {
    /// nil where it went before.
    var head: ResponseHead?
    var body: [UInt8]
  }

  let broker: Broker
  let downstream: any HTTPExchange
  let head: RequestHead
  let record: RequestRecord
  let target: RequestTarget
  let path: PathFacts
  /// The rules under which the request came in; a reload does not change them for it.
  let rules: BrokerRules
  let caller: Caller
  /// What its answer is charged for; known once the body is here.
  private(set) var charge = ChargeRule.asAnswered
  /// True where the call costs nothing and need not say which model it means.
  private(set) var namesNoModel = false
  private(set) var facts = RequestFacts()
  private(set) var phase = Phase.reading
  /// The answer that is passed on when attempts are used up.
  private var held: HeldAnswer?
  private var lastFailure: UpstreamFailure?
  private var delivery: Delivery?
  /// What its tokens cost, for holds; nil where that is unknown.
  var price: CallPrice?
  /// The providers between which it may choose, by the rules under which it came.
  private(set) var candidateNames: [String] = []
  /// Whether the price list knows what its model costs.
  private(set) var isPriced = false
  /// Bodies of requests go on as they came, unless usage is asked for.
  private(set) var injectsUsage = false
  /// The secret that the last call carried, while it runs.
  private(set) var sentSecret: Secret?
  /// The fields that the policy added to it.
  private(set) var sentFields: [AddedField] = []
  /// The origin of the page that may read the answer.
  private let readableOrigin: String?
  /// True where a browser's page asked: who may read is then for the policy to say.
  let isFromPage: Bool
  /// When the body was complete.
  private(set) var readyAt: UInt64 = 0
  /// Our own time so far, in nanoseconds: queue and provider excluded.
  private var ownTime: UInt64 = 0
  /// Of a body that is sent with something put into it: the copy beside the client's own.
  private var spliceShare: MemoryShare
  /// The drain's end breaks it off: its outcome is ours, whatever the core makes of its attempt.
  var isCutByDrain = false

  init(
    broker: Broker, downstream: any HTTPExchange, record: RequestRecord, target: RequestTarget, path: PathFacts,
    rules: BrokerRules, caller: Caller
  ) {
    self.broker = broker
    self.downstream = downstream
    head = downstream.head
    self.record = record
    self.target = target
    self.path = path
    self.rules = rules
    self.caller = caller
    spliceShare = MemoryShare(broker.memory, .retry)
    isFromPage = head.fields.contains("origin")
    readableOrigin = isFromPage ? rules.readableOrigin(head) : nil
  }

  /// Our own fields, and those that let a page read the answer.
  func appendOwnFields(to fields: inout HeaderFields, outcome: Outcome?) {
    TollgateFields.append(to: &fields, record, outcome: outcome)
    CrossOrigin.append(to: &fields, origin: readableOrigin)
  }

  var dialect: Dialect { path.dialect }

  // MARK: From the client

  /// The body is complete: read it, route it, class it, and hand the ticket to the core.
  func bodyCompleted() {
    guard case .reading = phase else { return }
    readyAt = broker.clock.monotonic()
    record.bytesIn = downstream.body.count
    let hasBody = !downstream.body.isEmpty
    charge = ChargeRule(method: head.method, path: target.path, facts: path, hasBody: hasBody)
    namesNoModel = charge.needsNoModel(at: path.endpoint, hasBody: hasBody)
    if let obstacle = broker.books.obstacle {
      return reject(.rejectedNoCapacity, ErrorText.ledgerInTrouble(obstacle), retryAfter: .seconds(5))
    }
    switch readFacts() {
    case .facts(let facts):
      self.facts = facts
      // What is read goes where it was begun, and is counted under that model.
      if facts.model == nil, case .later(let work) = charge {
        let named = target.provider ?? head.fields.first("x-tollgate-provider")
        self.facts.model = broker.works.model(
          of: work.id, at: named.map { [$0] } ?? rules.policy.providers.map(\.id))
      }
    case .malformed(let reason, let position):
      return reject(.rejectedMalformed, "the request body cannot be read: \(reason) at byte \(position)")
    case .decodedTooLarge(let limit):
      return reject(
        .rejectedTooLarge,
        limit < rules.policy.maxBody
          ? "the request body unfolds to more than \(limit) bytes, a hundred times what was sent"
          : "the decoded request body is larger than the limit of \(limit) bytes")
    case .noRoom: return reject(.rejectedNoCapacity, ErrorText.memoryFull, retryAfter: ErrorText.memoryFullRetry)
    case .unsupportedEncoding(let name):
      return reject(
        .rejectedMalformed, "the content-encoding '\(name)' is not understood; allowed are gzip, deflate and zstd")
    }
    let facts = facts
    record.isStreaming = facts.isStreaming
    record.model = facts.model ?? ""
    record.estimatedInput = facts.estimatedInput
    let fields = head.fields
    let classification = rules.classifier.classify(
      ClassificationFacts(
        path: String(target.path), model: facts.model, tenant: caller.name, pathHints: target.hints),
      header: { fields.first(named: $0) })
    record.priority = classification.priority
    record.priorityReason = classification.reason
    record.kind = classification.kind
    for hint in classification.unknownHints { noteUnknown(hint.header, hint.value) }
    noteUnknownFields()
    guard let candidates = candidates() else { return }
    record.session = sessionName()
    record.submittedAt = broker.clock.monotonic()
    phase = .queued
    downstream.holdBody(for: .queued)
    broker.submit(ticket(candidates), of: self)
    ownTime += (record.submittedAt ?? readyAt) &- readyAt
  }

  /// A hint with which we can do nothing: no error, but the client should hear of it.
  private func noteUnknown(_ header: String, _ value: String) {
    broker.metrics.unknownHints[header, default: 0] += 1
    record.noteUnknownHint(header, value)
  }

  /// Fields with our prefix that we do not know, such as `x-tollgate-prioriy`; one label in the metrics for all of them.
  private func noteUnknownFields() {
    let fields = head.fields
    for index in 0..<fields.count where fields.nameStarts(with: "x-tollgate-", at: index) {
      let name = fields.name(at: index).lowercased()
      guard !TollgateFields.hints.contains(String(name.dropFirst(11))) else { continue }
      broker.metrics.unknownHints["x-tollgate-*", default: 0] += 1
      record.noteUnknownHint(name, fields.value(at: index))
    }
  }

  /// Whether its class is `high` as far as the head tells.
  var isUrgentByHead: Bool {
    let fields = head.fields
    let facts = ClassificationFacts(
      path: String(target.path), model: path.modelInPath, tenant: caller.name, pathHints: target.hints)
    return rules.classifier.classify(facts, header: { fields.first(named: $0) }).priority == .high
  }

  private func readFacts() -> RequestReading {
    guard !downstream.body.isEmpty else {
      var facts = RequestFacts()
      facts.model = path.modelInPath
      facts.isStreaming = path.streamInPath
      facts.producesOutput = false
      noteModelsOutside(&facts)
      return .facts(facts)
    }
    let fields = head.fields
    // Which of two a server believes nobody knows.
    if (0..<fields.count).count(where: { fields.nameIs("content-type", at: $0) }) > 1 {
      return .malformed(reason: "content-type is given more than once", position: 0)
    }
    let reading = broker.reader.read(
      downstream.body, path: path, contentType: fields.first("content-type"),
      contentEncoding: fields.first("content-encoding"), decodedLimit: rules.policy.maxBody,
      room: broker.memory.wholeRoom, everyModel: mustNameModel)
    guard case .facts(var facts) = reading, target.query != nil || mustNameModel else { return reading }
    noteModelsOutside(&facts)
    return .facts(facts)
  }

  /// The providers that may serve it; nil when the request was refused.
  private func candidates() -> [Candidate]? {
    price = facts.model.flatMap(callPrice)
    guard modelsAreAllowed() else { return nil }
    isPriced = price != nil
    // What a free call costs is known: nothing.
    if charge.isFree { price = CallPrice(inputMicroPerToken: 0, outputMicroPerToken: 0) }
    // A reload came between its head and its body.
    if rules !== broker.rules { price = priceNow() }
    if let name = target.provider ?? head.fields.first("x-tollgate-provider") {
      guard rules.provider(name) != nil else {
        reject(.rejectedModel, "there is no provider '\(name)' here")
        return nil
      }
      candidateNames = [name]
      return [Candidate(provider: ProviderID(name), price: price)]
    }
    let names = rules.candidates(model: facts.model)
    guard !names.isEmpty else {
      reject(
        .rejectedModel,
        facts.model.map { "no route takes the model '\($0)'" } ?? "no provider is configured for this path")
      return nil
    }
    candidateNames = names
    return names.map { Candidate(provider: ProviderID($0), price: price) }
  }

  /// Our own header first, then the path's hint, then what agents send of themselves, then the body's cache key.
  private func sessionName() -> String {
    let fields = head.fields
    let name =
      fields.first("x-tollgate-session") ?? target.hints["session"] ?? fields.first("x-claude-code-session-id")
      ?? fields.first("session_id") ?? fields.first("session-id") ?? facts.sessionHint ?? ""
    return name.utf8.count <= 128 ? name : String(decoding: name.utf8.prefix(128), as: UTF8.self)
  }

  private func ticket(_ candidates: [Candidate]) -> Ticket {
    let fields = head.fields
    var deadline: Instant?
    if let text = fields.first("x-tollgate-timeout") {
      if let seconds = Double(text), seconds >= 0, seconds < 1e9 {
        deadline = broker.clock.instant + Span(nanoseconds: Int64(seconds * 1e9))
      } else {
        noteUnknown("x-tollgate-timeout", text)
      }
    }
    return Ticket(
      id: record.id, tenant: TenantID(caller.name), session: SessionID(record.session), priority: record.priority,
      candidates: candidates, model: facts.model ?? "", heldBytes: downstream.body.count + 2048,
      estimatedInput: facts.estimatedInput, outputCap: facts.outputCap,
      producesOutput: facts.producesOutput && !charge.isFree, deadline: deadline,
      clientRetryCount: fields.first("x-stainless-retry-count").flatMap { Int($0) } ?? 0, clientKey: record.clientKey,
      isFree: charge.isFree)
  }

  /// The client closed or reset, in whatever state.
  func clientLeft() {
    switch phase {
    case .reading:
      phase = .concluded
      end(.clientLeftQueued)
    case .queued: broker.dispatcher.cancel(record.id)
    case .attempting(let attempt): attempt.clientLeft()
    case .concluded: break
    }
  }

  func drainTimedOut() {
    switch phase {
    case .reading, .queued:
      reject(
        .rejectedDraining, "The broker is shutting down before this request could be served.", retryAfter: .seconds(1))
      broker.dispatcher.cancel(record.id)
    case .attempting(let attempt): attempt.drainTimedOut()
    case .concluded: break
    }
  }

  /// The client's side took up what it was given.
  func drained() {
    if case .attempting(let attempt) = phase { attempt.clientCaughtUp() }
  }

  // MARK: From the core

  func granted(_ grant: Grant, lease: consuming Lease) {
    let now = broker.clock.monotonic()
    if record.grantedAt == nil {
      broker.metrics.queueWait[Int(record.priority.rawValue)].observe(grant.queued.inSeconds)
    }
    downstream.holdBody(for: .retry)
    record.grantedAt = now
    record.state = .running
    record.queued = grant.queued
    record.provider = grant.provider.name
    record.key = grant.key?.name
    record.attemptCount = grant.attempt
    record.budgetRemaining = grant.budgetRemaining
    record.attempts.append(
      RequestRecord.Attempt(number: grant.attempt, provider: grant.provider.name, key: grant.key?.name, began: now))
    record.attempts[record.attempts.count - 1].held = grant.held
    held = nil
    let attempt = Attempt(exchange: self, grant: grant, lease: lease)
    phase = .attempting(attempt)
    attempt.begin()
    ownTime += broker.clock.monotonic() &- now
  }

  /// The rules by which a grant that comes now is carried out: address, dialect and secret are of one and the same policy. The newest,
  /// but where its provider speaks another dialect than the request does, those with which the request came.
  func rulesOfGrant(_ provider: ProviderID) -> BrokerRules {
    if broker.rules === rules { return rules }
    guard let new = broker.rules.provider(provider.name) else { return rules }
    guard let old = rules.provider(provider.name), old.policy.dialect != new.policy.dialect else { return broker.rules }
    return rules
  }

  /// The call for a grant under the rules that held when it was given; nil where these have no such provider, or no secret for it.
  /// - Parameter mayAskForUsage: false where the provider has just refused to be asked.
  func upstreamRequest(_ grant: Grant, under rules: BrokerRules, mayAskForUsage: Bool) -> UpstreamRequest? {
    guard let provider = rules.provider(grant.provider.name) else { return nil }
    var body = downstream.body
    injectsUsage = false
    if mayAskForUsage, provider.policy.injectUsage, provider.policy.dialect == .openai, facts.isStreaming,
      !facts.asksForUsage, let splice = facts.usageSplice, broker.mayAskForUsage(grant.provider.name)
    {
      body = splice.applied(to: body)
      injectsUsage = true
    }
    spliceShare.hold(injectsUsage ? body.count : 0)
    var credential: (name: String, value: String)?
    sentFields = provider.policy.headers
    if let key = grant.key {
      guard let secret = rules.secret(of: provider, key: key.name) else { return nil }
      credential = provider.credential(secret.revealed)
      sentSecret = secret
    }
    return UpstreamRequest(
      provider: grant.provider.name, method: head.method, url: provider.url(for: target.rest),
      fields: ForwardedFields.forProvider(
        head.fields, credential: credential, passThrough: provider.policy.passThrough,
        identityOnly: injectsUsage, wholeOnly: charge.readsWork, added: provider.policy.headers),
      body: body, timeouts: provider.timeouts)
  }

  /// A budget that is used up has lowered the class.
  func demoted(by budget: BudgetReading) {
    record.priority = .low
    record.priorityReason = "budget \(budget.id) is used up"
  }

  func waiting(_ blocker: Blocker) {
    guard record.waits.count < 16 else { return }
    record.waits.append(RequestRecord.Wait(since: broker.clock.monotonic(), blocker: blocker))
  }

  /// It has waited past its class' `promote_after`.
  func promoted() { record.promotedAt = broker.clock.monotonic() }

  /// The core will try again: the request is queued once more.
  func requeued() {
    phase = .queued
    spliceShare.hold(0)
    downstream.holdBody(for: .queued)
    record.state = .queued
  }

  /// The one end. Answers the client where nobody has.
  func conclude(_ conclusion: Conclusion) {
    if case .concluded = phase { return }
    let attempt: Attempt? = if case .attempting(let running) = phase { running } else { nil }
    phase = .concluded
    record.queued = max(record.queued, conclusion.queued)
    record.budgetRemaining = conclusion.budgetRemaining
    if isCutByDrain {
      let isAnswered = attempt?.answerBegan == true
      if !isAnswered {
        answer(
          .rejectedDraining, "The broker is shutting down before this request was answered.", retryAfter: .seconds(1))
      }
      return end(isAnswered ? .truncated : .rejectedDraining)
    }
    switch conclusion.outcome {
    case .completed, .truncated, .clientLeftQueued, .clientLeftRunning: break
    case .upstreamError:
      if attempt?.answerBegan != true { answerHeld() }
    case .failedUpstream:
      if attempt?.answerBegan != true {
        answer(.failedUpstream, ErrorText.failedUpstream(lastFailure, provider: record.provider), retryAfter: nil)
      }
    default:
      if let refused = conclusion.refusedKey {
        answerRefused(refused)
        break
      }
      answer(
        conclusion.outcome,
        ErrorText.rejected(
          conclusion, record: record,
          budgetEnds: conclusion.budget?.windowEnd.map { broker.text(ofWindowEnd: $0) }),
        retryAfter: conclusion.retryAfter)
    }
    if record.grantedAt != nil { broker.metrics.overhead.observe(Double(ownTime) / 1e9) }
    end(conclusion.outcome)
  }

  /// Nothing will be sent again.
  func releaseBody() {
    downstream.releaseBody()
    spliceShare.hold(0)
  }

  // MARK: Answers of our own

  /// Refuses without asking the core.
  /// - Parameter status: where it is not that of the outcome.
  func reject(_ outcome: Outcome, _ message: String, status: Int? = nil, retryAfter: Span? = nil) {
    if case .concluded = phase { return }
    phase = .concluded
    answer(outcome, message, status: status, retryAfter: retryAfter)
    end(outcome)
  }

  private func end(_ outcome: Outcome) {
    record.outcome = outcome
    releaseBody()
    record.state = .ended
    record.endedAt = broker.clock.monotonic()
    broker.ended(self)
  }

  /// Answers something that is no error: the model list.
  func complete(status: Int, fields: [(name: String, value: String)], body: [UInt8]) {
    if case .concluded = phase { return }
    phase = .concluded
    readBudget()
    record.status = status
    record.bytesOut = body.count
    deliverAtEnd(status, fields, outcome: nil, body)
    end(.completed)
  }

  /// For answers that the core did not decide about.
  private func readBudget() {
    if record.budgetRemaining == nil { record.budgetRemaining = broker.budgetRemaining(tenant: record.tenant) }
  }

  /// Every key of the route is refused: the provider's own words once more, or ours where none are kept.
  private func answerRefused(_ key: RefusedKey) {
    guard let refusal = broker.keyRefusals.last(of: key, in: broker.rules.secrets) else {
      let source = broker.rules.provider(key.provider.name)?.policy.keys.first { $0.id == key.key.name }?.sourceName
      return answer(
        .rejectedNoCapacity, ErrorText.refused(key, source: source), retryAfter: nil,
        inWordsOf: .rejectedUnauthenticated)
    }
    readBudget()
    record.message = ErrorText.refused(key, source: nil)
    record.status = refusal.status
    record.bytesOut = refusal.body.count
    deliverAtEnd(
      refusal.status, [("content-type", refusal.contentType), ("x-should-retry", "false")],
      outcome: .rejectedNoCapacity, refusal.body)
  }

  /// - Parameter inWordsOf: the outcome whose status and code are sent, where that is another one.
  private func answer(
    _ outcome: Outcome, _ message: String, status: Int? = nil, retryAfter: Span?, inWordsOf words: Outcome? = nil
  ) {
    readBudget()
    record.message = message
    let timedOut =
      switch lastFailure?.kind {
      case .firstByteTimedOut, .idleTimedOut, .totalTimedOut, .connectTimedOut: true
      default: false
      }
    let answer =
      status.map { BrokerError.refusal(status: $0, dialect: dialect, message: message, requestID: record.text) }
      ?? BrokerError.answer(
        outcome: words ?? outcome, dialect: dialect, endpoint: path.endpoint, message: message, retryAfter: retryAfter,
        requestID: record.text, timedOut: timedOut)
    record.status = answer.status
    record.bytesOut = answer.body.count
    deliverAtEnd(answer.status, answer.fields, outcome: outcome, answer.body)
  }

  /// Passes the provider's last answer on, unchanged.
  private func answerHeld() {
    guard let held else {
      return answer(.failedUpstream, ErrorText.failedUpstream(lastFailure, provider: record.provider), retryAfter: nil)
    }
    record.status = held.head.status
    record.bytesOut = held.body.count
    var fields = ForwardedFields.forClient(held.head.fields, bodyMayShrink: true, isForPage: isFromPage)
    appendOwnFields(to: &fields, outcome: nil)
    fields.append(name: "content-length", value: String(held.body.count))
    deliverAtEnd(Delivery(head: ResponseHead(status: held.head.status, fields: fields), body: held.body))
  }

  // MARK: The last bytes

  private func deliverAtEnd(
    _ status: Int, _ fields: [(name: String, value: String)], outcome: Outcome?, _ body: [UInt8]
  ) {
    var list = HeaderFields(fields)
    appendOwnFields(to: &list, outcome: outcome)
    list.append(name: "content-length", value: String(body.count))
    deliverAtEnd(Delivery(head: ResponseHead(status: status, fields: list), body: body))
  }

  /// Keeps what completes the answer until the books have the request's end.
  func deliverAtEnd(_ delivery: Delivery) { self.delivery = delivery }

  var awaitsDelivery: Bool { delivery != nil && !downstream.isClosed }

  /// The books have the request's end: the client may have it too.
  func endIsSafe() {
    guard let delivery else { return }
    self.delivery = nil
    guard !downstream.isClosed else { return }
    var trailers: HeaderFields?
    if record.grantedAt != nil, let cost = record.cost {
      // HTTP/1.1 has no place for it behind a body of known length; a head that has not gone yet has.
      if var head = delivery.head, self.head.version != .http2 {
        head.fields.append(name: "x-tollgate-cost-usd", value: cost.text)
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

  // MARK: From the attempt

  func keep(_ answer: HeldAnswer) { held = withoutSecrets(answer) }
  func keep(_ failure: UpstreamFailure) { lastFailure = failure }
  func addOwnTime(_ nanoseconds: UInt64) { ownTime += nanoseconds }
}
