// One run of a fleet from start to figures: a number of seconds with calls, the provider's counts at their end, then
// time to finish.
import EventLoop
import HTTPMessage

/// The results of a run.
public struct FleetOutcome: Sendable {
  public var measures: FleetMeasures
  /// `/sim/stats` when the last call was begun; nil without a simulator to ask.
  public var provider: String?
  public var counts: ProviderCounts?
  public var departures: Departures?
}

public final class FleetRun {
  public let fleet: Fleet
  private let loop: EventLoop
  private let probe: SimulatorProbe?
  private let seconds: Double
  private var drain: Double
  private var timer: LoopTimer?
  private var provider: String?
  private var counts: ProviderCounts?
  private var isEnding = false
  private var isDone = false
  private var then: ((FleetOutcome) -> Void)?

  /// Calls are begun for `seconds`; then running calls have `drain` seconds to finish.
  public init(loop: EventLoop, fleet: Fleet, probe: SimulatorProbe?, seconds: Double, drain: Double) {
    self.loop = loop
    self.fleet = fleet
    self.probe = probe
    self.seconds = seconds
    self.drain = drain
  }

  /// `then` is called once.
  public func start(_ then: @escaping (FleetOutcome) -> Void) {
    self.then = then
    fleet.idle = { [unowned self] in
      if isEnding { finish() } else { endCalls() }
    }
    wait(seconds) { [unowned self] in endCalls() }
    fleet.start()
  }

  /// Ends the run early, without time to finish.
  public func interrupt() {
    drain = 0
    if isEnding { stopCalls() } else { endCalls() }
  }

  private func wait(_ seconds: Double, _ work: @escaping () -> Void) {
    let timer = LoopTimer(loop, action: work)
    timer.schedule(after: .milliseconds(Int(seconds * 1000)))
    self.timer = timer
  }

  private func endCalls() {
    guard !isEnding else { return }
    isEnding = true
    guard let probe else { return stopCalls() }
    // The counts are read first: calls that are abandoned afterwards do not belong to the use of the budget.
    probe.statistics { [weak self] text in
      guard let self, !isDone else { return }
      provider = text
      counts = text.flatMap(ProviderCounts.init(text:))
      stopCalls()
    }
  }

  private func stopCalls() {
    guard !isDone else { return }
    wait(drain) { [unowned self] in
      fleet.abandon()
      finish()
    }
    fleet.stop()
  }

  private func finish() {
    guard !isDone else { return }
    isDone = true
    timer = nil
    let leftAt = fleet.measures.leftAt
    guard let probe, !leftAt.isEmpty else { return report(nil) }
    // The provider may not have read the last close yet.
    wait(0.5) { [unowned self] in probe.departures(leftAt) { [weak self] in self?.report($0) } }
  }

  private func report(_ departures: Departures?) {
    timer = nil
    let then = self.then
    self.then = nil
    then?(FleetOutcome(measures: fleet.measures, provider: provider, counts: counts, departures: departures))
  }
}
