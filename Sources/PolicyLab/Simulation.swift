// Drives a decider through a scenario in virtual time: clients make requests, providers answer, deadlines fire exactly
// when the decider asks for them. Event-driven and single-threaded; the same seed gives exactly the same run. It keeps
// what it needs to know of its requests itself; checkers watch a run as observers (`SimulationObserver`).
import AdmissionCore

/// The result of a run.
public struct SimulationResult: Sendable {
  public var violations: [Violation]
  /// A hash of every event and every action, in order.
  public var hash: UInt64
  public var events: Int
  public var grants: Int
  /// Calls that a provider's own limits refused: overshoot.
  public var refusals: Int
  public var outcomes: [Outcome: Int]
  public var requests: [RequestRecord]
  public var providers: [ProviderRecord]
  /// When the last request ended.
  public var end: Instant
  /// One line for each event and action; empty unless asked for.
  public var trace: [String]

  public struct RequestRecord: Sendable {
    public var tenant: TenantID
    public var session: SessionID
    public var priority: Priority
    public var submittedAt: Instant
    /// When it was last granted; nil for those that never were.
    public var grantedAt: Instant?
    /// The whole time in the queue; nil where it was never granted.
    public var queued: Span?
    public var attempts: Int
    public var outcome: Outcome?
    /// Input and output that the provider charged.
    public var tokens: Int64
    public var client: Int
  }
  public struct ProviderRecord: Sendable {
    public var id: ProviderID
    public var refusals: Int
    /// Calls that failed because the provider was ill.
    public var ill: Int
    public var accepted: Int
    public var tokens: Int64
    /// Permit time used, in nanoseconds.
    public var busy: Int64
    /// When it refused, and when it accepted, in order.
    public var refusedAt: [Instant]
    public var acceptedAt: [Instant]
  }
}

/// One run of one subject through one scenario.
public struct Simulation<Subject: AdmissionSubject> {
  private enum Due {
    case submit(client: Int, chain: Int)
    case leave(request: Int)
    /// A client that has no first byte by now leaves.
    case giveUp(request: Int)
    case arrive(request: Int)
    case head(request: Int, grant: Int)
    case progress(request: Int, grant: Int)
    case end(request: Int, grant: Int)
    /// A free call of the broker's own has ended.
    case keyChecked(ProviderID, KeyID)
    case happening(Int)
  }
  private struct Client {
    var generator: SeededGenerator
    var left: Int
    /// Of its conversation, drawn apart.
    var prompts: SeededGenerator
    var prompt: SimulatedPrompt?
  }
  private struct Call {
    var ticket: Ticket
    var submittedAt: Instant
    var client: Int
    var chain: Int
    var execute: Span
    var input: Int64
    /// What of it the provider has cached.
    var cached: Int64
    var output: Int64
    var leaves: Bool
    var draw: Int
    // The running attempt.
    var lease: LeaseID?
    var provider = 0
    var key: KeyID?
    var doorCharge = Charge(requests: 0, input: 0, output: 0)
    var answer = SimulatedProvider.Answer.accepted
    var grantedAt: Instant?
    var grants = 0
    var queued: Span?
    var tokens: Int64 = 0
    var clientLeft = false
    var prompt: SimulatedPrompt?
    /// From the grant to the first byte; nil where nobody is told.
    var firstByte: Span?
    /// Once it is concluded.
    var outcome: Outcome?

    var isOver: Bool { outcome != nil }
  }

  private let scenario: Scenario
  private var subject: Subject
  private var clock: ManualClock
  private var timeline = Timeline<Due>()
  private var clients: [Client]
  private var calls: [Call] = []
  private var providers: [SimulatedProvider]
  private let observer: (any SimulationObserver)?
  private let findings: Findings
  private var hash = TraceHash()
  private var actions: ActionList = []
  private var events = 0
  private var grants = 0
  private var trace: [String] = []
  private let keepsTrace: Bool
  private let snapshotEvery: Int
  private var leases: [UInt64: Int] = [:]
  private var seenLeases: Set<UInt64> = []
  /// Requests that are not concluded.
  private var openRequests = 0
  private var isDraining = false
  /// For the times that calls are on their way.
  private var ways: SeededGenerator
  /// The most calls that ran at each provider together: so many connections to it are open.
  private var connections: [Int]

  private init(
    scenario: Scenario, observer: (any SimulationObserver)?, keepsTrace: Bool, snapshotEvery: Int
  ) {
    let start = Instant(nanoseconds: 0)
    self.scenario = scenario
    self.keepsTrace = keepsTrace
    self.snapshotEvery = snapshotEvery
    self.observer = observer
    findings = observer?.findings ?? Findings()
    clock = ManualClock(at: start)
    subject = Subject(policy: scenario.policy, seed: scenario.seed, at: start)
    providers = scenario.truths.map { SimulatedProvider(truth: $0, at: start) }
    connections = scenario.truths.map { _ in 0 }
    ways = SeededGenerator(seed: scenario.seed, part: 1 << 41)
    clients = scenario.clients.indices.map {
      Client(
        generator: SeededGenerator(seed: scenario.seed, part: UInt64($0) + 1), left: scenario.clients[$0].requests,
        prompts: SeededGenerator(seed: scenario.seed, part: UInt64($0) + 1 << 20))
    }
  }

  /// - Parameters:
  ///   - observer: nil for a run that is only measured.
  ///   - keepsTrace: true where the result has a line for each event and action.
  ///   - snapshotEvery: after how many events the observer gets a snapshot of the subject; 0 means only at the end.
  public static func run(
    _ scenario: Scenario, observer: (any SimulationObserver)?, keepsTrace: Bool = false, snapshotEvery: Int = 0
  ) -> SimulationResult {
    var simulation = Simulation(
      scenario: scenario, observer: observer, keepsTrace: keepsTrace, snapshotEvery: snapshotEvery)
    simulation.runToTheEnd()
    return simulation.result()
  }

  // MARK: - The loop

  private mutating func runToTheEnd() {
    for (index, script) in scenario.clients.enumerated() {
      switch script.pacing {
      case .closed(let parallel, _):
        for chain in 0..<parallel { timeline.schedule(.submit(client: index, chain: chain), at: script.start) }
      case .open: timeline.schedule(.submit(client: index, chain: 0), at: script.start)
      }
    }
    for (index, happening) in scenario.happenings.enumerated() {
      timeline.schedule(.happening(index), at: happening.at)
    }
    let most = 2000 + 400 * scenario.clients.reduce(0) { $0 + $1.requests }
    var stuckAt = clock.now
    var wakes = 0
    while true {
      let due = timeline.nextDue
      let wake = subject.nextDeadline
      if let wake, due == nil || wake < due! {
        // With no request left, the core's own deadlines (a probe, a refill) do not matter.
        if due == nil, openRequests == 0, leases.isEmpty { break }
        clock.advance(to: wake)
        wakes = stuckAt == clock.now ? wakes + 1 : 1
        stuckAt = clock.now
        if wakes > 100 {
          report("makes_progress", "nextDeadline asks for the same instant again and again")
          break
        }
        deliver(.deadlineReached)
      } else if let due {
        clock.advance(to: due)
        if let next = timeline.popDue(at: clock.now) { carryOut(next) }
      } else {
        let waiting = calls.count { !$0.isOver && $0.lease == nil }
        if waiting > 0 { report("no_stall", "\(waiting) wait for ever: nothing is due") }
        break
      }
      if events > most {
        report("makes_progress", "no end after \(events) events")
        break
      }
    }
    if !isDraining { deliver(.drainRequested) }
    observer?.didFinish(subject.snapshot(at: clock.now), refusals: providers.map { ($0.truth.id, $0.refusals) })
  }

  private func report(_ checker: String, _ text: String) { findings.report(checker, at: clock.now, text) }

  private mutating func carryOut(_ due: Due) {
    switch due {
    case .submit(let client, let chain): submit(client: client, chain: chain)
    case .leave(let request): leave(request)
    case .giveUp(let request):
      let call = calls[request]
      guard !call.isOver, !call.clientLeft else { return }
      if call.lease != nil, let granted = call.grantedAt, granted + (call.firstByte ?? .zero) <= clock.now { return }
      leave(request)
    case .arrive(let request): arrive(request)
    case .head(let request, let grant):
      if calls[request].grants == grant { tellLimits(request) }
    case .progress(let request, let grant):
      guard calls[request].grants == grant, let lease = calls[request].lease else { return }
      deliver(
        .progressed(
          lease,
          Progress(
            inputTokens: TokenCount(calls[request].input), cacheReadTokens: TokenCount(calls[request].cached),
            cacheWriteTokens: TokenCount(written(calls[request])),
            outputTokens: TokenCount(calls[request].output / 2))))
    case .end(let request, let grant):
      guard calls[request].grants == grant, calls[request].lease != nil else { return }
      end(request)
    case .keyChecked(let id, let key):
      guard let provider = providers.first(where: { $0.truth.id == id }) else { return }
      // Simulated secrets never change.
      deliver(.keyChecked(id, key, generation: 0, isRefused: provider.mood == .refusingKeys))
    case .happening(let index):
      switch scenario.happenings[index].what {
      case .policyReplaced(let policy): deliver(.policyReplaced(policy))
      case .operatorCommanded(let command): deliver(.operatorCommanded(command))
      case .budgetWindowsBegan(let windows): deliver(.budgetWindowsBegan(windows))
      case .budgetRaisesReplaced(let raises): deliver(.budgetRaisesReplaced(raises))
      case .drainRequested: if !isDraining { deliver(.drainRequested) }
      case .providerMood(let id, let mood):
        for index in providers.indices where providers[index].truth.id == id { providers[index].mood = mood }
      case .modelMood(let id, let models, let mood):
        for index in providers.indices where providers[index].truth.id == id {
          providers[index].modelMood = mood == .well ? nil : (models, mood)
        }
      }
    }
  }

  // MARK: - Clients

  private mutating func submit(client: Int, chain: Int) {
    let script = scenario.clients[client]
    guard clients[client].left > 0, clock.now <= scenario.horizon else { return }
    var burst = 1
    if case .open(let every, let count) = script.pacing {
      burst = count
      timeline.schedule(.submit(client: client, chain: 0), at: clock.now + clients[client].generator.span(every))
    }
    for _ in 0..<min(burst, clients[client].left) { submitOne(script, client: client, chain: chain) }
  }

  private mutating func submitOne(_ script: ClientScript, client: Int, chain: Int) {
    clients[client].left -= 1
    // Always make the same number of draws, so that one request's numbers do not depend on what happens to another.
    var estimate = clients[client].generator.int64(script.input)
    let output = clients[client].generator.int64(script.output)
    let execute = clients[client].generator.span(script.execute)
    let error = clients[client].generator.int(script.inputErrorPercent)
    let leaves = clients[client].generator.chance(script.leavePercent)
    let patience = clients[client].generator.span(script.leaveAfter)
    let draw = clients[client].generator.int(0...99)
    let number = calls.count
    if let conversation = script.conversation {
      var prompt = SimulatedPrompt(client: client, size: estimate, life: conversation.life)
      if let last = clients[client].prompt { prompt = last.next(conversation, &clients[client].prompts) }
      clients[client].prompt = prompt
      estimate = prompt.size
    }
    let ticket = Ticket(
      id: RequestID(high: scenario.seed, low: UInt64(number) + 1), tenant: script.tenant, session: script.session,
      priority: script.priority, candidates: script.route.map { Candidate(provider: $0, price: script.price) },
      model: script.model,
      keptBytes: script.keptBytes, estimatedInput: TokenCount(estimate),
      outputCap: script.outputCap.map { TokenCount($0) },
      producesOutput: script.output.upperBound > 0 && !script.isFree,
      deadline: script.patience.map { clock.now + $0 }, isFree: script.isFree,
      agent: script.conversation == nil ? "" : AgentID("agent-\(client)"), sessionGroup: script.sessionGroup,
      cacheLife: script.conversation?.life, patience: script.givesUpAfter, isStream: script.isStream)
    calls.append(
      Call(
        ticket: ticket, submittedAt: clock.now, client: client, chain: chain, execute: execute,
        input: estimate * Int64(error) / 100,
        cached: estimate * Int64(error) / 100 * Int64(script.mostCachedPercent * (draw * 7 % 100)) / 10_000,
        output: output,
        leaves: leaves, draw: draw))
    if draw < script.longPercent { calls[number].output = script.longOutput }
    calls[number].prompt = clients[client].prompt
    let share = script.firstBytePercent
    if share.upperBound > 0 {
      let percent = share.lowerBound + draw * (share.upperBound - share.lowerBound) / 100
      calls[number].firstByte = Span(nanoseconds: execute.nanoseconds / 100 * Int64(percent))
    }
    if let patience = script.givesUpAfter { timeline.schedule(.giveUp(request: number), at: clock.now + patience) }
    openRequests += 1
    if leaves { timeline.schedule(.leave(request: number), at: clock.now + patience) }
    deliver(.submitted(ticket))
  }

  private mutating func leave(_ request: Int) {
    let id = RequestID(high: scenario.seed, low: UInt64(request) + 1)
    if calls[request].isOver {
      // A client that leaves just as its answer ends: the core has forgotten the request, and must ignore this.
      if calls[request].draw < 10 { deliver(.cancelled(id)) }
      return
    }
    calls[request].clientLeft = true
    deliver(.cancelled(id))
    // The shell closes the upstream call and then reports its end.
    if calls[request].lease != nil { end(request) }
  }

  private mutating func concluded(_ request: Int, _ outcome: Outcome) {
    calls[request].outcome = outcome
    openRequests -= 1
    let client = calls[request].client
    if case .closed(_, let think) = scenario.clients[client].pacing {
      let pause = clients[client].generator.span(think)
      timeline.schedule(.submit(client: client, chain: calls[request].chain), at: clock.now + pause)
    }
  }

  // MARK: - Providers

  private mutating func send(_ request: Int, _ grant: Grant, to provider: Int) {
    leases[grant.lease.rawValue] = request
    calls[request].lease = grant.lease
    calls[request].provider = provider
    calls[request].grantedAt = clock.now
    calls[request].grants += 1
    calls[request].queued = grant.queued
    calls[request].key = grant.key
    let truth = providers[provider].truth
    guard truth.transit.upperBound > .zero else { return arrive(request) }
    var way = ways.span(truth.transit)
    if leases.count > connections[provider] {
      connections[provider] = leases.count
      way = Span(nanoseconds: way.nanoseconds + truth.connecting.nanoseconds)
    }
    timeline.schedule(.arrive(request: request), at: clock.now + way)
  }

  /// The call that was sent last for this request comes to its provider.
  private mutating func arrive(_ request: Int) {
    let ticket = calls[request].ticket
    let provider = calls[request].provider
    let model = providers[provider].modelIndex(ticket.model)
    if let prompt = calls[request].prompt {
      calls[request].cached = providers[provider].cached(
        prompt, input: calls[request].input, key: calls[request].key, at: clock.now)
    }
    let door = providers[provider].doorCharge(
      input: calls[request].input, cached: calls[request].cached, outputCap: ticket.outputCap?.value)
    calls[request].doorCharge = door
    let draw = (calls[request].draw + 37 * calls[request].grants) % 100
    let answer =
      ticket.isFree
      ? providers[provider].receiveFree(modelName: ticket.model, draw: draw, at: clock.now)
      : providers[provider].receive(
        door, model: model, modelName: ticket.model, key: calls[request].key, draw: draw, at: clock.now)
    calls[request].answer = answer
    let number = calls[request].grants
    let execute = calls[request].execute
    switch answer {
    case .accepted:
      if let prompt = calls[request].prompt {
        let begins = clock.now + (calls[request].firstByte ?? Span(nanoseconds: execute.nanoseconds / 4))
        providers[provider].keep(
          prompt, input: calls[request].input, key: calls[request].key, from: begins, at: clock.now)
      }
      if providers[provider].truth.tellsLimits {
        timeline.schedule(
          .head(request: request, grant: number), at: clock.now + Span(nanoseconds: execute.nanoseconds / 4))
      }
      if calls[request].output > 0, calls[request].draw % 2 == 0 {
        let half = Span(nanoseconds: execute.nanoseconds / 2)
        timeline.schedule(.progress(request: request, grant: number), at: clock.now + half)
      }
      timeline.schedule(.end(request: request, grant: number), at: clock.now + execute)
    case .failing:
      timeline.schedule(
        .end(request: request, grant: number), at: clock.now + Span(nanoseconds: execute.nanoseconds / 2))
    case .refused, .keyRefused:
      timeline.schedule(.end(request: request, grant: number), at: clock.now + .milliseconds(1))
    }
  }

  /// The answer's head is there.
  private mutating func tellLimits(_ request: Int) {
    let call = calls[request]
    guard let lease = call.lease else { return }
    let model = providers[call.provider].modelIndex(call.ticket.model)
    if let told = providers[call.provider].told(model: model, key: call.key, at: clock.now) {
      deliver(.limitsObserved(lease, told))
    }
  }

  /// What the provider says that it has written of the call's prompt to its cache.
  private func written(_ call: Call) -> Int64 {
    guard call.prompt != nil, providers[call.provider].truth.promptCache?.tellsWrites == true else { return 0 }
    return call.input - call.cached
  }

  private mutating func end(_ request: Int) {
    if case .refused = calls[request].answer, calls[request].lease != nil { tellLimits(request) }
    guard let lease = calls[request].lease else { return }
    let call = calls[request]
    calls[request].lease = nil
    leases[lease.rawValue] = nil
    let hasLeft = call.clientLeft
    let model = providers[call.provider].modelIndex(call.ticket.model)
    var settlement: Settlement
    switch call.answer {
    case .accepted where call.ticket.isFree:
      // What it tells of usage is charged to nobody.
      let usage = call.draw % 2 == 0 ? Usage(inputTokens: TokenCount(call.input), outputTokens: 0) : nil
      settlement = Settlement(
        verdict: hasLeft ? .clientLeft : .success, usage: usage, answerBegan: true, hasAnswer: true)
    case .failing(let retryAfter) where call.ticket.isFree:
      settlement = Settlement(
        verdict: .failed(retryAfter: retryAfter, isAway: retryAfter != nil), hasAnswer: true)
    case .accepted:
      var output = call.output
      if hasLeft {
        let span = max(1, call.execute.nanoseconds)
        output = Int64(
          Double(call.output) * Double((clock.now - (call.grantedAt ?? clock.now)).nanoseconds) / Double(span))
      }
      let actual = Charge(
        requests: 1, input: providers[call.provider].counted(input: call.input, cached: call.cached), output: output)
      providers[call.provider].end(
        atDoor: call.doorCharge, actual: actual, model: model, key: call.key, at: clock.now)
      calls[request].tokens += call.input + output
      settlement = Settlement(
        verdict: hasLeft ? .clientLeft : .success,
        usage: Usage(
          inputTokens: TokenCount(call.input), cacheReadTokens: TokenCount(call.cached),
          cacheWriteTokens: TokenCount(written(call)), outputTokens: TokenCount(output), isEstimated: hasLeft),
        cost: scenario.clients[call.client].price.map {
          SimulatedProvider.bill($0, input: call.input, output: output)
        }, answerBegan: true, hasAnswer: true)
      if let firstByte = call.firstByte {
        settlement.answerBegan = firstByte <= clock.now - (call.grantedAt ?? clock.now)
        settlement.firstByte = settlement.answerBegan ? firstByte : nil
      }
    case .failing(let retryAfter):
      let actual = Charge(requests: 1, input: 0, output: 0)
      providers[call.provider].end(
        atDoor: call.doorCharge, actual: actual, model: model, key: call.key, at: clock.now)
      settlement = Settlement(
        verdict: .failed(retryAfter: retryAfter, isAway: retryAfter != nil), hasAnswer: true)
    case .refused(let retryAfter, let isAboutConcurrency):
      settlement = Settlement(
        verdict: .throttled(retryAfter: retryAfter, isAboutConcurrency: isAboutConcurrency), hasAnswer: true)
    case .keyRefused: settlement = Settlement(verdict: .keyRefused, hasAnswer: true)
    }
    if hasLeft { settlement.verdict = .clientLeft }
    deliver(.settled(lease, settlement))
  }

  // MARK: - The subject

  private mutating func deliver(_ event: AdmissionEvent) {
    events += 1
    note(event)
    observer?.willHandle(event, at: clock.now)
    actions.removeAll(keepingCapacity: true)
    subject.handle(event, at: clock.now, into: &actions)
    // Copied from the property: carrying out an action delivers no event, but may schedule some.
    let ordered = actions
    for action in ordered { obey(action) }
    let snapshot = snapshotEvery > 0 && events % snapshotEvery == 0 ? subject.snapshot(at: clock.now) : nil
    observer?.didHandle(event, snapshot)
  }

  private mutating func note(_ event: AdmissionEvent) {
    hash.mix(clock.now.nanoseconds)
    switch event {
    case .submitted(let ticket): hash.mix(UInt64(1) << 32 ^ ticket.id.low)
    case .cancelled(let id): hash.mix(UInt64(2) << 32 ^ id.low)
    case .progressed(let lease, _): hash.mix(UInt64(3) << 32 ^ lease.rawValue)
    case .settled(let lease, _): hash.mix(UInt64(4) << 32 ^ lease.rawValue)
    case .limitsObserved(let lease, _): hash.mix(UInt64(5) << 32 ^ lease.rawValue)
    case .sentAgain(let lease): hash.mix(UInt64(19) << 32 ^ lease.rawValue)
    case .policyReplaced: hash.mix(UInt64(6) << 32)
    case .operatorCommanded: hash.mix(UInt64(7) << 32)
    case .keyChecked: hash.mix(UInt64(18) << 32)
    case .budgetWindowsBegan: hash.mix(UInt64(10) << 32)
    case .budgetRaisesReplaced: hash.mix(UInt64(16) << 32)
    case .budgetsRestored, .restored, .learnedRestored, .limitsRestored, .dayBegan, .daySumsRestored:
      hash.mix(UInt64(17) << 32)
    case .deadlineReached: hash.mix(UInt64(8) << 32)
    case .drainRequested, .drainBounded:
      hash.mix(UInt64(9) << 32)
      isDraining = true
    }
    if keepsTrace { trace.append(TraceText.line(event, at: clock.now)) }
  }

  private mutating func obey(_ action: AdmissionAction) {
    if keepsTrace { trace.append(TraceText.line(action)) }
    switch action {
    case .grant(let grant):
      grants += 1
      hash.mix(UInt64(11) << 32 ^ grant.request.low)
      hash.mix(grant.lease.rawValue)
      for byte in grant.provider.name.utf8 { hash.mix(UInt64(byte)) }
      hash.mix(grant.reservedInput.value)
      hash.mix(grant.reservedOutput.value)
      guard let request = index(of: grant.request),
        let provider = providers.firstIndex(where: { $0.truth.id == grant.provider })
      else {
        return report("grants_once", "a grant of something unknown")
      }
      guard seenLeases.insert(grant.lease.rawValue).inserted else {
        return report("grants_once", "lease \(grant.lease.rawValue) was used before")
      }
      guard !calls[request].isOver, calls[request].lease == nil else {
        let state = calls[request].isOver ? "concluded" : "running"
        return report("grants_once", "request \(request) was granted while \(state)")
      }
      if grant.attempt != calls[request].grants + 1 {
        report("grants_once", "request \(request) attempt \(grant.attempt), expected another")
      }
      observer?.willGrant(grant, request: request)
      send(request, grant, to: provider)
    case .conclude(let conclusion):
      hash.mix(UInt64(12) << 32 ^ conclusion.request.low)
      for byte in conclusion.outcome.rawValue.utf8 { hash.mix(UInt64(byte)) }
      guard let request = index(of: conclusion.request), !calls[request].isOver else {
        return report("concludes_once", "a request was concluded that was not open")
      }
      observer?.willConclude(conclusion, request: request)
      concluded(request, conclusion.outcome)
    case .note(let notice):
      switch notice {
      case .requeued(let id, _, _): hash.mix(UInt64(13) << 32 ^ id.low)
      case .demoted(let id, _): hash.mix(UInt64(15) << 32 ^ id.low)
      case .ourBug(let bug): report("no_bug_of_ours", bug.rawValue)
      default: break
      }
      observer?.didNotice(notice)
    case .checkKey(let provider, let key):
      timeline.schedule(.keyChecked(provider, key), at: clock.now + .milliseconds(1))
    case .drained:
      hash.mix(UInt64(14) << 32)
      observer?.didDrain()
    }
  }

  /// Requests are named by their position.
  private func index(of id: RequestID) -> Int? {
    let position = Int(id.low) - 1
    return calls.indices.contains(position) ? position : nil
  }

  private func result() -> SimulationResult {
    var outcomes: [Outcome: Int] = [:]
    for call in calls { if let outcome = call.outcome { outcomes[outcome, default: 0] += 1 } }
    let records = calls.map { call in
      SimulationResult.RequestRecord(
        tenant: call.ticket.tenant, session: call.ticket.session, priority: call.ticket.priority,
        submittedAt: call.submittedAt, grantedAt: call.grantedAt, queued: call.queued, attempts: call.grants,
        outcome: call.outcome, tokens: call.tokens, client: call.client)
    }
    return SimulationResult(
      violations: findings.violations, hash: hash.value, events: events, grants: grants,
      refusals: providers.reduce(0) { $0 + $1.refusals }, outcomes: outcomes, requests: records,
      providers: providers.map {
        .init(
          id: $0.truth.id, refusals: $0.refusals, ill: $0.ill, accepted: $0.accepted, tokens: $0.charged, busy: $0.busy,
          refusedAt: $0.refusedAt, acceptedAt: $0.acceptedAt)
      },
      end: clock.now, trace: trace)
  }
}
