// One client's request on its way through the broker: body, ticket, attempts, answer, end.
//
// The state machine: `reading` → `queued` → `attempting` → `concluded`; from `attempting` back to `queued` when the
// core decides on a retry; from every state to `concluded` when the client leaves or the request is refused. There is
// exactly one outcome, set on entering `concluded` by `close`, through which both the core's conclusions and the
// exchange's own refusals go.
//
// The exchange owns what is known of the call, its record, and the bytes that the client still has to get. It tells an
// attempt to `begin`, that the client has caught up or left, and that the drain's time is up. The attempt calls back
// `attemptEnded`, and `reject` where it may not be made.
import AdmissionCore
import HTTPMessage
import PolicyFile
import ProviderWire
import TextForms

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

  /// What the client is told at the end of its request.
  enum LastWord {
    /// Nothing more: the client has left, or an attempt has left the bytes that complete the answer.
    case none
    /// The provider's last error, unchanged.
    case errorAnswer
    /// Our own error.
    case refusal(Refusal)
    /// Every key of the route is refused: the client gets the provider's own words.
    case keyRefused(RefusedKey, source: String?, KeyRefusals.Refusal)
    /// An answer of our own that is no error: the model list.
    case document(ResponseDocument)
  }

  let services: EngineServices
  let downstream: any HTTPExchange
  let record: RequestRecord
  private(set) var call: ClientCall
  private var phase = Phase.reading
  private var place: RequestList.Place?
  /// Where its session is counted; nil before it is submitted.
  private(set) var seat: SessionBook.Seat?
  /// What the last attempt left.
  var left = Attempt.Remains()
  /// The last known failure of an attempt, not always the last attempt's.
  var lastFailure: UpstreamFailure?
  var delivery: Delivery?
  /// Nanoseconds that the broker itself has spent so far, without queue and provider.
  private var ownTime: UInt64 = 0

  init(_ call: consuming ClientCall, downstream: any HTTPExchange, record: RequestRecord, services: EngineServices) {
    self.call = call
    self.downstream = downstream
    self.record = record
    self.services = services
    place = services.requests.began(record, self)
  }

  // MARK: From the client

  /// The body is complete: reads, routes and classifies the request, and hands the ticket to the core.
  func bodyCompleted() {
    guard case .reading = phase else { return }
    let readyAt = services.time.now
    let wall = services.time.wall(at: readyAt)
    let body = downstream.body
    record.bodyCame(body.count)
    if let obstacle = services.clerk.obstacle { return reject(.ledgerInTrouble(obstacle)) }
    do throws(Refusal) {
      try call.read(
        body, at: wall, reader: RequestReader(scratch: services.scratch), room: services.memory.wholeRoom,
        providers: services.providers)
      record.understood(call.facts)
      let classed = call.classified(
        services.turns, titles: services.titles, nameless: { services.nameless.place(of: downstream, $0) }, at: readyAt)
      record.classed(classed)
      if Kinds.isTurn(record.kind) {
        services.turns.note(
          tenant: record.tenant, session: record.session, agent: record.agent, record.priority, at: readyAt)
        services.titles.note(
          tenant: record.tenant, installation: classed.installation, session: record.session, at: readyAt)
      }
      for hint in classed.classification.unknownHints { noteUnknown(hint.header, hint.value) }
      call.forEachUnknownField { name, value in
        // One label for all unknown fields.
        services.counters.unknownHint("x-tollgate-*")
        record.noteUnknownHint(name, value)
      }
      let candidates = try call.candidates(services.rules.now, at: wall)
      submit(candidates, of: classed, bytes: body.count, since: readyAt)
    } catch {
      reject(error)
    }
  }

  private func submit(_ candidates: [Candidate], of classed: Classed, bytes: Int, since readyAt: UInt64) {
    let now = services.time.now
    record.submitted(at: now)
    services.requests.arrived()
    let seat = services.sessions.seat(
      tenant: record.tenant, session: record.session, agent: record.agent, at: now)
    seat.waits()
    self.seat = seat
    ownTime += now &- readyAt
    phase = .queued
    downstream.countBody(as: .queued)
    services.calendars.somebodyWaits(at: now)
    services.dispatcher.submit(ticket(candidates, of: classed, bytes: bytes), of: self)
  }

  private func ticket(_ candidates: [Candidate], of classed: Classed, bytes: Int) -> Ticket {
    var deadline: Instant?
    switch call.patience {
    case .endless: break
    case .bounded(let span): deadline = services.time.instant + span
    case .unclear(let text): noteUnknown("x-tollgate-timeout", text)
    }
    return Ticket(
      id: record.id, tenant: TenantID(record.tenant), session: SessionID(record.session), priority: record.priority,
      candidates: candidates, model: record.model, keptBytes: bytes + 2048,
      estimatedInput: call.facts.estimatedInput, outputCap: call.facts.outputCap,
      producesOutput: call.facts.producesOutput && !call.charge.isFree, deadline: deadline,
      clientRetryCount: call.clientRetryCount, clientKey: record.clientKey, isFree: call.charge.isFree,
      agent: AgentID(record.agent), sessionGroup: classed.group.map { SessionID($0) }, cacheLife: call.facts.cacheLife,
      print: call.facts.print, patience: classed.patience, isStream: call.facts.isStreaming)
  }

  /// Notes a hint that we do not understand: it is no error, but the client should be told.
  private func noteUnknown(_ header: String, _ value: String) {
    services.counters.unknownHint(header)
    record.noteUnknownHint(header, value)
  }

  /// The client closed or reset; may come in any state.
  func clientLeft() {
    switch phase {
    case .reading: close(.clientLeftQueued, .none)
    case .queued: services.dispatcher.cancel(record.id)
    case .attempting(let attempt): attempt.clientLeft()
    case .concluded: break
    }
  }

  /// The client has taken up the bytes that it was sent.
  func clientCaughtUp() {
    if case .attempting(let attempt) = phase { attempt.clientCaughtUp() }
  }

  func drainTimedOut() {
    switch phase {
    case .reading, .queued:
      reject(.drainIsOver)
      services.dispatcher.cancel(record.id)
    case .attempting(let attempt): attempt.drainTimedOut()
    case .concluded: break
    }
  }

  // MARK: From the core, by the dispatcher

  func granted(_ grant: Grant, lease: consuming Lease) {
    guard case .queued = phase else {
      // The exchange has ended already, and its cancellation is on the way to the core: give the place back.
      return lease.settle(Settlement(verdict: .clientLeft, wasSent: false))
    }
    let now = services.time.now
    if record.grantedAt == nil { services.counters.waited(record, grant.queued, at: now) }
    downstream.countBody(as: .retry)
    record.granted(grant, at: now)
    seat?.runs()
    left = Attempt.Remains()
    let attempt = Attempt(exchange: self, grant: grant, lease: lease)
    phase = .attempting(attempt)
    attempt.begin()
    ownTime += services.time.now &- now
  }

  func waiting(_ reading: BlockerReading) { if isAlive { record.waiting(reading, at: services.time.now) } }

  func promoted() { if isAlive { record.promoted(at: services.time.now) } }

  func demoted(by budget: BudgetReading) { if isAlive { record.demoted(by: budget) } }

  /// The core will try again.
  func requeued(because verdict: Verdict) {
    guard isAlive else { return }
    services.counters.retried(record.provider ?? "none", because: verdict)
    phase = .queued
    downstream.countBody(as: .queued)
    record.requeued(at: services.time.now)
    seat?.waitsAgain()
  }

  /// The core's conclusion. It decides what the client is told, unless the drain has cut the answer off.
  func conclude(_ conclusion: Conclusion) {
    guard isAlive else { return }
    if conclusion.outcome == .evictedMaxWait {
      services.counters.waited(record, conclusion.queued, at: services.time.now)
    }
    record.judged(queued: conclusion.queued, budgetRemaining: conclusion.budgetRemaining)
    if left.isCutByDrain {
      return left.answerBegan ? close(.truncated, .none) : close(.rejectedDraining, .refusal(.cutByDrain))
    }
    if record.grantedAt != nil { services.counters.tookOurTime(ownTime) }
    close(conclusion.outcome, lastWord(on: conclusion))
  }

  /// The candidates of the request by the newest rules; nil where it keeps those that it has.
  /// - Parameter now: nanoseconds since 1970.
  func candidatesAnew(_ newest: BrokerRules, at now: Int64) -> [Candidate]? {
    isWithTheCore ? call.candidatesAnew(newest, at: now) : nil
  }

  /// True where the newest price differs from the one with which the request waits or ran.
  func isRepriced(_ newest: BrokerRules, at now: Int64) -> Bool {
    isWithTheCore && call.price(newest, at: now) != call.price
  }

  private var isWithTheCore: Bool {
    switch phase {
    case .queued, .attempting: true
    case .reading, .concluded: false
    }
  }

  private var isAlive: Bool { if case .concluded = phase { false } else { true } }

  // MARK: From the attempt

  /// Called once for each attempt, before its lease is settled.
  func attemptEnded(_ remains: consuming Attempt.Remains) {
    if let failure = remains.failure { lastFailure = failure }
    if let last = remains.delivery { delivery = last }
    ownTime += remains.ownTime
    left = remains
  }

  // MARK: The end

  /// Refuses without asking the core.
  func reject(_ refusal: Refusal) { close(refusal.outcome, .refusal(refusal)) }

  /// Answers something that is no error.
  func complete(_ document: ResponseDocument) { close(.completed, .document(document)) }

  /// The only way to end: sets the outcome. The client's last bytes follow when the ledger has the end.
  private func close(_ outcome: Outcome, _ word: LastWord) {
    guard isAlive else { return }
    phase = .concluded
    say(word)
    // The request is not sent again.
    downstream.releaseBody()
    let now = services.time.now
    seat?.ends(wasRunning: record.state == .running, at: now)
    services.conclude(record, outcome, from: place, at: now)
    place = nil
    services.clerk.concluded(self, at: services.time.wallInstant(at: now))
  }
}
