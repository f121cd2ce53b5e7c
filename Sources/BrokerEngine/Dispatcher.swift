// The shell around the admission core: hands it events with the time, carries out its actions in order, and keeps its one timer.
//
// Promises: the core is never re-entered; an event that arises while actions are carried out waits its turn; the timer
// is armed for the core's next deadline, or for an earlier moment, at which nothing is due yet. Each exchange is in the
// table from its ticket to its conclusion, and grants and conclusions go straight to it.
import AdmissionCore
import EventLoop
import LedgerVocabulary

final class Dispatcher {
  private var core: Admission
  /// The core's next deadline; nil where there is none.
  private var deadline: Instant?
  private let time: Timekeeper
  private let news: OperatorNews
  private let providers: ProviderNotes
  private let draining: Draining
  private let clerk: LedgerClerk
  private var timer: LoopTimer?
  /// The instant for which the timer is armed; `.max` where it is not armed.
  private var armedFor = Int64.max
  private var events: [AdmissionEvent] = []
  private var isRunning = false
  private var actions: ActionList = []
  /// The exchanges whose requests the core has.
  private var exchanges: [RequestID: Exchange] = [:]
  /// The exchange that was submitted last. The next grant is mostly for it, and needs no look-up.
  private var newest: Exchange?
  /// Leases that were dropped without being settled: always 0 unless we have a bug.
  private(set) var abandonedLeases = 0
  /// Armed while something learned is not in the ledger yet.
  private var learnedTimer: LoopTimer?
  private var savesLearned = false
  /// The limits that are in the ledger, by their names.
  private var savedLimits: [String: String] = [:]

  init(
    policy: AdmissionPolicy, time: Timekeeper, loop: EventLoop?, news: OperatorNews, providers: ProviderNotes,
    draining: Draining, clerk: LedgerClerk
  ) {
    self.time = time
    self.news = news
    self.providers = providers
    self.draining = draining
    self.clerk = clerk
    core = Admission(policy: policy, seed: time.seed, at: time.instant)
    if let loop {
      timer = LoopTimer(loop) { [unowned self] in timerFired() }
      learnedTimer = LoopTimer(loop) { [unowned self] in saveLearned() }
    }
  }

  // MARK: Events

  /// Hands the ticket to the core. A conclusion follows, after any number of grants.
  func submit(_ ticket: Ticket, of exchange: Exchange) {
    exchanges[ticket.id] = exchange
    newest = exchange
    take(.submitted(ticket))
    newest = nil
  }

  func cancel(_ request: RequestID) { take(.cancelled(request)) }
  func progress(_ lease: LeaseID, _ progress: Progress) { take(.progressed(lease, progress)) }

  /// Settles a lease. What is learned from it is written to the ledger a second later.
  func settle(_ lease: LeaseID, _ settlement: Settlement) {
    take(.settled(lease, settlement))
    guard !savesLearned, let learnedTimer else { return }
    savesLearned = true
    learnedTimer.schedule(after: .seconds(1))
  }

  func observe(_ limits: ObservedLimits, _ lease: LeaseID) { take(.limitsObserved(lease, limits)) }

  func sentAgain(_ lease: LeaseID) { take(.sentAgain(lease)) }

  /// - Parameter rerouting: gives each waiting or running request's new candidates with their price; nil keeps those
  ///   that it has.
  func replacePolicy(
    _ policy: AdmissionPolicy, asksPast: Bool = false, rerouting: (Exchange) -> [Candidate]? = { _ in nil }
  ) {
    take(.policyReplaced(policy, candidates: exchanges.compactMapValues(rerouting), asksPast: asksPast))
  }

  /// Gives waiting requests their new prices under the same rules. Does nothing where no price has changed.
  func reprice(_ policy: () -> AdmissionPolicy, rerouting: (Exchange) -> [Candidate]?) {
    let repriced = exchanges.compactMapValues(rerouting)
    if !repriced.isEmpty { take(.policyReplaced(policy(), candidates: repriced, asksPast: false)) }
  }

  func command(_ command: OperatorCommand) { take(.operatorCommanded(command)) }
  func drain(until end: Instant?) {
    take(.drainRequested)
    if let end { take(.drainBounded(end)) }
  }
  /// Events about budgets, keys and the past.
  func tell(_ event: AdmissionEvent) { take(event) }

  func abandon(_ lease: LeaseID) {
    abandonedLeases += 1
    take(.settled(lease, Settlement(verdict: .ownFault)))
  }

  /// Takes over the limits that an earlier process was told.
  func restore(_ limits: [LearnedLimits]) {
    for known in limits { savedLimits[known.name] = known.text }
    if !limits.isEmpty { take(.limitsRestored(limits)) }
  }

  // MARK: Questions

  var untoldBudgets: [BudgetWindow: Set<BudgetPolicy.Scope>] { core.untoldBudgets }
  /// The providers whose calls wait much longer than usual for their first byte.
  func slowStarts() -> [SlowStart] {
    SlowStart.all(core.silentCalls(at: time.instant)) {
      exchanges[$0].map { $0.record.attemptFirstByte == nil } ?? false
    }
  }

  /// What an operator has set by hand that keeps all calls away from a provider.
  func closedByHand(_ provider: String) -> ClosedByHand? { core.closedByHand(ProviderID(provider)) }

  func budgetRemaining(tenant: TenantID) -> Money? { core.budgetRemaining(tenant: tenant, at: time.instant) }
  func snapshot() -> AdmissionSnapshot { core.snapshot(at: time.instant) }
  func learned() -> LearnedValues { core.learned(at: time.instant) }
  /// How much waits and runs.
  func load() -> AdmissionLoad { core.load() }
  func budgetReadings() -> [BudgetReading] { core.budgetReadings(at: time.instant) }
  /// True where the core has no request.
  var isIdle: Bool { exchanges.isEmpty }
  /// Asks the core something that changes nothing.
  func ask<Answer>(_ question: (inout Admission, Instant) -> Answer) -> Answer {
    let now = time.instant
    return Self.ask(&core) { question(&$0, now) }
  }

  private static func ask<Answer>(_ core: inout Admission, _ question: (inout Admission) -> Answer) -> Answer {
    question(&core)
  }

  /// Writes to the ledger what was learned since the last time.
  func saveLearned() {
    savesLearned = false
    for learned in core.takeLearned() where learned.model.utf8.count <= 256 {
      clerk.remembered(
        LedgerMemo(kind: .learned, name: "\(learned.provider.name)/\(learned.model)", value: learned.text))
    }
    for limits in core.toldLimits() {
      let (name, text) = (limits.name, limits.text)
      // Limits that are forgotten are written too, once, where they had been written.
      guard savedLimits[name] != text, savedLimits[name] != nil || !limits.isEmpty, name.utf8.count <= 512 else {
        continue
      }
      savedLimits[name] = text
      clerk.remembered(LedgerMemo(kind: .limits, name: name, value: text))
    }
  }

  // MARK: The core's turn

  private func take(_ event: AdmissionEvent) {
    if isRunning {
      events.append(event)
      return
    }
    isRunning = true
    decide(event)
    while !events.isEmpty {
      let waiting = events
      events.removeAll(keepingCapacity: waiting.count <= 64)
      for event in waiting { decide(event) }
    }
    isRunning = false
    armTimer()
  }

  private func decide(_ event: AdmissionEvent) {
    deadline = Self.advance(&core, by: event, at: time.instant, into: &actions)
    // Actions are large, so each is read in place. Nothing is appended meanwhile: events that arise now wait in
    // `events`.
    var ordered: ActionList = []
    swap(&ordered, &actions)
    carryOut(ordered.span)
    ordered.removeAll(keepingCapacity: ordered.count <= 64)
    swap(&ordered, &actions)
  }

  /// Takes the core as `inout`: asking a core that is a class's stored property would copy it first.
  /// - Returns: its next deadline.
  private static func advance(
    _ core: inout Admission, by event: AdmissionEvent, at now: Instant, into actions: inout ActionList
  ) -> Instant? {
    core.handle(event, at: now, into: &actions)
    return core.nextDeadline
  }

  /// What a running call has lost because its prompt was not read from the provider's cache. Ask before it is settled.
  func lostCache(by lease: LeaseID, _ usage: Usage) -> LostCache? { Self.lostCache(&core, by: lease, usage) }

  private static func lostCache(_ core: inout Admission, by lease: LeaseID, _ usage: Usage) -> LostCache? {
    core.lostCache(by: lease, usage)
  }

  private func exchange(of request: RequestID) -> Exchange? {
    if let newest, newest.record.id == request { return newest }
    return exchanges[request]
  }

  private func carryOut(_ actions: Swift.Span<AdmissionAction>) {
    for index in actions.indices { carryOut(actions[index]) }
  }

  private func carryOut(_ action: AdmissionAction) {
    switch action {
    case .grant(let grant):
      // An exchange is in the table until its conclusion, so a grant without one is our bug.
      guard let exchange = exchange(of: grant.request) else { return abandon(grant.lease) }
      exchange.granted(grant, lease: Lease(grant.lease, of: self))
    case .conclude(let conclusion): exchanges.removeValue(forKey: conclusion.request)?.conclude(conclusion)
    case .checkKey(let provider, let key): providers.checkKey(RefusedKey(provider: provider, key: key), for: self)
    case .note(.waiting(let request, let blocker)):
      guard let exchange = exchange(of: request) else { return }
      let now = time.instant
      let reading = Self.ask(&core) { $0.reading(of: request, at: now) }
      if let reading, reading.blocker == blocker || blocker == .notItsTurn {
        exchange.waiting(reading)
      } else if blocker != .notItsTurn {
        // It has waited for this meanwhile; the numbers are no longer known.
        exchange.waiting(BlockerReading(blocker: blocker))
      }
    case .note(.promoted(let request)): exchange(of: request)?.promoted()
    case .note(.requeued(let request, _, let verdict)): exchange(of: request)?.requeued(because: verdict)
    case .note(.demoted(let request, let budget)): exchange(of: request)?.demoted(by: budget)
    case .note(let notice): news.note(notice)
    case .drained: draining.coreDrained()
    }
  }

  // MARK: The timer

  /// Arms the timer again only for an earlier moment than the one it is armed for. When it fires too early, it is armed
  /// for the next deadline. That is cheaper than moving it with every request, since deadlines mostly move later.
  private func armTimer() {
    guard let deadline = deadline?.nanoseconds, deadline < armedFor else { return }
    armedFor = deadline
    timer?.schedule(at: UInt64(max(0, deadline)))
  }

  private func timerFired() {
    armedFor = .max
    if let deadline, deadline <= time.instant { take(.deadlineReached) } else { armTimer() }
  }

  /// For tests without a loop: does what the timer would do now.
  func deadlineReached() { timerFired() }
  var nextDeadline: Instant? { deadline }
}
