// The shell around the admission core: hands it events with the time, carries out its actions in order, and keeps its one timer.
//
// Promises: the core is never entered while it runs; an event that arises while actions are carried out waits its turn;
// the timer is armed for the core's next deadline, or for an earlier moment at which it finds that nothing is due yet.
import AdmissionCore
import EventLoop

/// Who carries out what concerns one request.
protocol DispatcherDelegate: AnyObject {
  func dispatcherGranted(_ grant: Grant, lease: consuming Lease)
  func dispatcherConcluded(_ conclusion: Conclusion)
  /// A free call of our own is to be made with this key.
  func dispatcherWantsCheck(_ key: RefusedKey)
  func dispatcherNoted(_ notice: Notice)
  func dispatcherDrained()
}

final class Dispatcher {
  private var core: Admission
  private let clock: BrokerClock
  private var timer: LoopTimer?
  /// What the timer is armed for; `.max` where it is not.
  private var armedFor = Int64.max
  private var events: [AdmissionEvent] = []
  private var isRunning = false
  private var actions: ActionList = []
  /// The broker, which owns this and outlives it. Not weak: that would make each retain of the broker slow.
  unowned var delegate: (any DispatcherDelegate)?
  /// Leases that were dropped without being settled: always 0 unless we have a bug.
  private(set) var abandonedLeases = 0

  init(policy: AdmissionPolicy, clock: BrokerClock, loop: EventLoop?) {
    self.clock = clock
    core = Admission(policy: policy, seed: clock.seed, at: clock.instant)
    if let loop { timer = LoopTimer(loop) { [unowned self] in timerFired() } }
  }

  func submit(_ ticket: Ticket) { take(.submitted(ticket)) }
  func cancel(_ request: RequestID) { take(.cancelled(request)) }
  func progress(_ lease: LeaseID, _ progress: Progress) { take(.progressed(lease, progress)) }
  func settle(_ lease: LeaseID, _ settlement: Settlement) { take(.settled(lease, settlement)) }
  func observe(_ limits: ObservedLimits, _ lease: LeaseID) { take(.limitsObserved(lease, limits)) }
  func replacePolicy(
    _ policy: AdmissionPolicy, candidates: [RequestID: [Candidate]] = [:], asksPast: Bool = false
  ) {
    take(.policyReplaced(policy, candidates: candidates, asksPast: asksPast))
  }
  func command(_ command: OperatorCommand) { take(.operatorCommanded(command)) }
  func drain(until end: Instant?) {
    take(.drainRequested)
    if let end { take(.drainBounded(end)) }
  }
  /// Events about budgets, keys and the past.
  func tell(_ event: AdmissionEvent) { take(event) }
  var untoldBudgets: [BudgetWindow: Set<BudgetPolicy.Scope>] { core.untoldBudgets }
  func takeLearned() -> [LearnedModel] { core.takeLearned() }
  func budgetRemaining(tenant: TenantID) -> Money? { core.budgetRemaining(tenant: tenant, at: clock.instant) }

  func abandon(_ lease: LeaseID) {
    abandonedLeases += 1
    take(.settled(lease, Settlement(verdict: .ownFault)))
  }

  func snapshot() -> AdmissionSnapshot { core.snapshot(at: clock.instant) }
  func blocker(of request: RequestID) -> Blocker? { core.blocker(of: request, at: clock.instant) }

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
    core.handle(event, at: clock.instant, into: &actions)
    // Nothing appends meanwhile: events that arise now wait in `events`.
    for index in actions.indices { carryOut(actions[index]) }
    actions.removeAll(keepingCapacity: actions.count <= 64)
  }

  private func carryOut(_ action: AdmissionAction) {
    switch action {
    case .grant(let grant): delegate?.dispatcherGranted(grant, lease: Lease(grant.lease, of: self))
    case .conclude(let conclusion): delegate?.dispatcherConcluded(conclusion)
    case .checkKey(let provider, let key):
      delegate?.dispatcherWantsCheck(RefusedKey(provider: provider, key: key))
    case .note(let notice): delegate?.dispatcherNoted(notice)
    case .drained: delegate?.dispatcherDrained()
    }
  }

  /// Arms the timer only for an earlier moment than it is armed for: when it then fires too early, it is armed anew. That is
  /// cheaper than moving it with every request, since deadlines mostly move later.
  private func armTimer() {
    guard let deadline = core.nextDeadline?.nanoseconds, deadline < armedFor else { return }
    armedFor = deadline
    timer?.schedule(at: UInt64(max(0, deadline)))
  }

  private func timerFired() {
    armedFor = .max
    if let deadline = core.nextDeadline, deadline <= clock.instant { take(.deadlineReached) } else { armTimer() }
  }

  /// For tests without a loop: what the timer would do now.
  func deadlineReached() { timerFired() }
  var nextDeadline: Instant? { core.nextDeadline }
}
