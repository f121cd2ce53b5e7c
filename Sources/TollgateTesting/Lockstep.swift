// Two deciders side by side on the same events: the one that the simulation drives, and the naive one. Where the rules of dispatch leave no
// choice, both must give the same orders upon the same event.
//
// Why beside the checkers: they say what may not happen, this says what must. A core that is slow to see that a head may go, or that wakes too
// late, breaks no invariant and parts from the naive one. Leases have other numbers there and here, and are told by their request.
import AdmissionCore
import PolicyLab

/// Watches a run of one subject and lets the naive reference decide beside it. At the first difference it reports and looks no more, since
/// from there on the two live in different worlds.
public final class LockstepObserver<Choice: DefectChoice>: SimulationObserver {
  /// What a decider orders, without what only it can know (its leases, its reasons).
  private enum Order: Hashable, CustomStringConvertible {
    case grant(RequestID, ProviderID)
    case conclude(RequestID, Outcome)
    case drained

    var description: String {
      switch self {
      case .grant(let request, let provider): "grant \(request.low) at \(provider)"
      case .conclude(let request, let outcome): "conclude \(request.low) \(outcome.rawValue)"
      case .drained: "drained"
      }
    }
  }

  public static var name: String { "lockstep" }
  public let findings = Findings()
  /// Orders that both gave upon the same event.
  public private(set) var orders = 0
  private var naive: NaiveAdmission<Choice>
  private var now = Instant(nanoseconds: 0)
  private var expected: [Order] = []
  private var seen: [Order] = []
  /// The request of each lease that the subject has given, and the naive one's lease of each request.
  private var requests: [LeaseID: RequestID] = [:]
  private var naiveLeases: [RequestID: LeaseID] = [:]
  private var hasParted = false

  public init(scenario: Scenario) {
    naive = NaiveAdmission(policy: scenario.policy, seed: scenario.seed, at: now)
  }

  /// The event with the naive one's lease in it.
  private func translated(_ event: AdmissionEvent) -> AdmissionEvent {
    func lease(_ id: LeaseID) -> LeaseID { requests[id].flatMap { naiveLeases[$0] } ?? LeaseID(rawValue: .max) }
    return switch event {
    case .settled(let id, let settlement): .settled(lease(id), settlement)
    case .progressed(let id, let progress): .progressed(lease(id), progress)
    case .limitsObserved(let id, let limits): .limitsObserved(lease(id), limits)
    case .sentAgain(let id): .sentAgain(lease(id))
    default: event
    }
  }

  public func willHandle(_ event: AdmissionEvent, at now: Instant) {
    self.now = now
    seen = []
    expected = []
    guard !hasParted else { return }
    var actions: ActionList = []
    naive.handle(translated(event), at: now, into: &actions)
    for action in actions {
      switch action {
      case .grant(let grant):
        naiveLeases[grant.request] = grant.lease
        expected.append(.grant(grant.request, grant.provider))
      case .conclude(let conclusion): expected.append(.conclude(conclusion.request, conclusion.outcome))
      case .drained: expected.append(.drained)
      case .note, .checkKey: break
      }
    }
  }

  public func willGrant(_ grant: Grant, request: Int) {
    requests[grant.lease] = grant.request
    seen.append(.grant(grant.request, grant.provider))
  }
  public func willConclude(_ conclusion: Conclusion, request: Int) {
    seen.append(.conclude(conclusion.request, conclusion.outcome))
  }
  public func didNotice(_ notice: Notice) {}
  public func didDrain() { seen.append(.drained) }

  public func didHandle(_ event: AdmissionEvent, _ snapshot: AdmissionSnapshot?) {
    guard !hasParted else { return }
    // Who is told first of two that end at one instant is nobody's concern; who is granted first is.
    func grants(_ orders: [Order]) -> [Order] { orders.filter { if case .grant = $0 { true } else { false } } }
    guard grants(seen) == grants(expected), Set(seen) == Set(expected), seen.count == expected.count else {
      hasParted = true
      return findings.report(Self.name, at: now, "upon \(event): \(seen), the naive one \(expected)")
    }
    orders += seen.count
  }

  public func didFinish(_ snapshot: AdmissionSnapshot, refusals: [(provider: ProviderID, count: Int)]) {}
}

extension Simulation {
  /// A run in lockstep with the naive one, or with one that is spoiled.
  public static func runInLockstep<Choice: DefectChoice>(_ scenario: Scenario, with choice: Choice.Type) -> (
    orders: Int, violations: [Violation]
  ) {
    let observer = LockstepObserver<Choice>(scenario: scenario)
    let result = run(scenario, observer: observer)
    return (observer.orders, result.violations)
  }
}

extension ScenarioGenerator {
  /// A scenario in which the rules of dispatch leave no choice, and which both know whole. One session: nothing waits for a turn among equals. No
  /// floor shares, whose credit the core bounds by the heads that wait and the naive one does not; nothing kept for higher classes, whose claims
  /// the two reckon differently; estimates that are exact, since the naive one learns nothing; no failures, which it does not know; no drain while
  /// something waits. What is left: order of classes and in a lane, permits, buckets, model limits, lags, preference and claims between providers,
  /// deadlines, bounds and clients that leave.
  public static func unambiguous(seed: UInt64, size: Int = 24) -> Scenario {
    var generator = SeededGenerator(seed: seed, part: 77)
    let providers = (0..<generator.int(1...3)).map { index in
      var provider = ProviderPolicy(
        id: providerNames[index], limits: narrow(&generator, permits: 1...4), learnLimits: false)
      if generator.chance(30) {
        provider.modelLimits = [ModelLimits(models: "big*", limits: narrow(&generator, permits: 1...2))]
      }
      if generator.chance(20) { provider.settleLag = generator.span(.milliseconds(1) ... .milliseconds(300)) }
      return provider
    }
    var bands = Priority.allCases.map(BandPolicy.standard)
    for index in bands.indices {
      bands[index].reserve = .permits(0)
      bands[index].shareBasisPoints = 0
      bands[index].promotedShareBasisPoints = 0
      if generator.chance(15) { bands[index].queueLimit = generator.int(1...6) }
      if generator.chance(30) { bands[index].maxWait = generator.span(.seconds(1) ... .seconds(30)) }
    }
    let policy = AdmissionPolicy(providers: providers, bands: bands, tenants: [TenantPolicy(id: tenantNames[0])])
    var scripts: [ClientScript] = []
    var left = size
    while left > 0 {
      let requests = min(left, generator.int(2...8))
      left -= requests
      var route = providers.map(\.id)
      if generator.chance(40) { route.reverse() }
      if generator.chance(40) { route = [generator.pick(route)] }
      let execute = generator.span(.milliseconds(20) ... .seconds(2))
      let input = generator.int64(10...900)
      var script = ClientScript(
        tenant: tenantNames[0], session: sessionNames[0], priority: generator.pick([.high, .normal, .low]),
        route: route,
        model: generator.chance(30) ? "big-1" : "small",
        start: Instant(nanoseconds: generator.int64(0...2000) * 1_000_000), requests: requests,
        pacing: generator.chance(50)
          ? .closed(parallel: generator.int(1...4), think: .zero ... .milliseconds(200))
          : .open(every: .milliseconds(10) ... .milliseconds(800), burst: generator.int(1...4)),
        execute: Span(nanoseconds: execute.nanoseconds / 2)...execute, input: max(1, input / 3)...input, output: 0...0,
        keptBytes: generator.int(100...2000))
      if generator.chance(25) {
        script.leavePercent = generator.int(10...100)
        script.leaveAfter = .zero...generator.span(.milliseconds(1) ... .seconds(4))
      }
      if generator.chance(10) { script.patience = generator.span(.milliseconds(10) ... .seconds(5)) }
      scripts.append(script)
    }
    // A session for each class: the limit of one leaves places to the others.
    for index in scripts.indices { scripts[index].session = sessionNames[Int(scripts[index].priority.rawValue)] }
    return seasoned(
      Scenario(seed: seed, policy: policy, clients: scripts, horizon: Instant(nanoseconds: 600_000_000_000)))
  }

  private static func narrow(_ generator: inout SeededGenerator, permits: ClosedRange<Int>) -> Limits {
    var limits = Limits()
    if generator.chance(80) { limits.concurrency = generator.int(permits) }
    if generator.chance(25) { limits.requestsPerMinute = generator.int64(4...120) }
    if generator.chance(35) { limits.inputTokensPerMinute = generator.int64(800...20_000) }
    return limits
  }
}
