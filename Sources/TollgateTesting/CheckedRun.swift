// A run of the simulation with checkers: it keeps the witness up to date and asks every checker at every step.
import AdmissionCore
import PolicyLab

/// What checkers read, and where they report faults.
public final class Scene {
  public let scenario: Scenario
  public let witness: Witness
  let findings = Findings()

  init(scenario: Scenario, witness: Witness) {
    self.scenario = scenario
    self.witness = witness
  }

  func report(_ checker: String, _ text: @autoclosure () -> String) {
    findings.report(checker, at: witness.now, text())
  }
}

extension Simulation {
  /// - Parameters:
  ///   - checkers: with an empty list the run only checks that every request is granted and concluded once.
  ///   - snapshotEvery: after how many events the subject is asked for a snapshot to compare; 0 means only at the end.
  public static func run(
    _ scenario: Scenario, checkers: [any InvariantChecker] = InvariantCheckers.all(), keepsTrace: Bool = false,
    snapshotEvery: Int = 1
  ) -> SimulationResult {
    run(
      scenario, observer: CheckedRun(scenario: scenario, checkers: checkers), keepsTrace: keepsTrace,
      snapshotEvery: snapshotEvery)
  }
}

/// The observer that passes events and actions to the checkers.
final class CheckedRun: SimulationObserver {
  private let scene: Scene
  private let checkers: [any InvariantChecker]
  /// The request whose lease was settled last: if it is not concluded, it has gone back into its lane.
  private var lastSettled: Int?

  init(scenario: Scenario, checkers: [any InvariantChecker]) {
    scene = Scene(scenario: scenario, witness: Witness(policy: scenario.policy, at: Instant(nanoseconds: 0)))
    self.checkers = checkers
  }

  var findings: Findings { scene.findings }

  func willHandle(_ event: AdmissionEvent, at now: Instant) {
    let witness = scene.witness
    witness.moved(to: now)
    switch event {
    case .submitted(let ticket): witness.submitted(ticket)
    case .cancelled(let id): witness.cancelled(id)
    case .progressed(let lease, let progress): witness.progressed(lease, progress)
    case .settled(let lease, let settlement): lastSettled = witness.settled(lease, settlement)
    case .limitsObserved(let lease, let limits): witness.limitsObserved(lease, limits)
    case .policyReplaced(let policy, _, _): witness.policyReplaced(policy)
    case .operatorCommanded: witness.operatorCommanded()
    case .budgetWindowsBegan(let windows): witness.money.began(windows)
    case .budgetRaisesReplaced(let raises): witness.money.replaced(raises)
    case .drainRequested, .drainBounded: witness.isDraining = true
    case .sentAgain, .keyChecked, .budgetsRestored, .restored, .learnedRestored, .limitsRestored, .dayBegan,
      .daySumsRestored,
      .deadlineReached:
      break
    }
  }

  func willGrant(_ grant: Grant, request: Int) {
    guard let provider = scene.witness.providerIndex(grant.provider) else {
      return scene.report("grants_once", "a grant at \(grant.provider), which no policy has named")
    }
    scene.witness.requeued(request, notBefore: scene.witness.now)
    let isFree = scene.witness.requests[request].ticket.isFree
    for checker in checkers where !isFree || checker.seesFreeCalls {
      checker.willGrant(grant, request: request, provider: provider, scene)
    }
    scene.witness.granted(grant, request: request, provider: provider)
  }

  func willConclude(_ conclusion: Conclusion, request: Int) {
    for checker in checkers { checker.willConclude(conclusion, request: request, scene) }
    scene.witness.concluded(request, conclusion.outcome)
  }

  func didNotice(_ notice: Notice) {
    let witness = scene.witness
    switch notice {
    case .requeued(let id, let notBefore, _):
      if let request = witness.index(of: id) { witness.requeued(request, notBefore: notBefore) }
    case .demoted(let id, _):
      if let request = witness.index(of: id) { witness.demoted(request) }
    default: break
    }
    for checker in checkers { checker.didNotice(notice, scene) }
  }

  func didDrain() {
    let witness = scene.witness
    witness.drainedCount += 1
    if !witness.leases.isEmpty || !witness.queued.isEmpty {
      scene.report(DrainChecker.name, "drained with \(witness.queued.count) queued, \(witness.leases.count) running")
    }
  }

  func didHandle(_ event: AdmissionEvent, _ snapshot: AdmissionSnapshot?) {
    if case .settled = event, let settled = lastSettled {
      scene.witness.requeued(settled, notBefore: scene.witness.now)
    }
    if let snapshot { scene.witness.told(snapshot) }
    for checker in checkers { checker.didHandle(snapshot, scene) }
  }

  func didFinish(_ snapshot: AdmissionSnapshot, refusals: [(provider: ProviderID, count: Int)]) {
    for checker in checkers { checker.finish(snapshot, scene) }
    guard scene.scenario.expectations.noRefusals, !checkers.isEmpty else { return }
    for (provider, count) in refusals where count > 0 {
      scene.report("provider_refusals", "provider \(provider) refused \(count) calls")
    }
  }
}

public enum InvariantCheckers {
  /// One checker of each kind.
  public static func all() -> [any InvariantChecker] {
    [
      ConclusionChecker(), PermitChecker(), ConcurrencyChecker(), BucketChecker(), QueueBoundChecker(), WaitChecker(),
      StorageChecker(), DrainChecker(), BandOrderChecker(), LaneOrderChecker(), FloorChecker(), BandShareChecker(),
      StallChecker(), RealShareChecker(), ReturnChecker(), RouteChecker(), FairnessChecker(), BudgetLimitChecker(),
      BudgetBooksChecker(),
      BudgetWaitChecker(), TargetChecker(), FreeCallChecker(),
      SessionLimitChecker(), PatienceChecker(), WarmKeyChecker(), HurryChecker(),
    ]
  }

  /// The checkers that can find something in the scenario: where only permits are limited, buckets and money are not
  /// checked.
  public static func all(for scenario: Scenario) -> [any InvariantChecker] {
    guard scenario.expectations.realShares else { return all() }
    return [
      ConclusionChecker(), PermitChecker(), ConcurrencyChecker(), StorageChecker(), BandOrderChecker(),
      LaneOrderChecker(),
      StallChecker(), BandShareChecker(), RealShareChecker(), ReturnChecker(), HurryChecker(),
    ]
  }
}
