// Looks at the broker once a second, and keeps what was seen: the last hour for charts, how fast budgets are used up, and
// the alert about the queue.
//
// Promises: a look costs a few microseconds and allocates nothing that grows; requests are counted where they end
// (`Counters`), not here.
import AdmissionCore
import EventLoop

final class Sampler {
  private let time: Timekeeper
  private let rules: RulesInForce
  private let dispatcher: Dispatcher
  private let counters: Counters
  private let news: OperatorNews
  private(set) var burn = BudgetBurn()
  /// The providers whose calls wait much longer than usual for their first byte.
  private(set) var slowStarts: [SlowStart] = []
  private var queueAlert = QueueAlert()
  private var ledgerAlert: FiringAlert?
  /// Why the ledger cannot be written; nil where all is well.
  private let obstacle: () -> String?
  private var timer: LoopTimer?

  /// - Parameter loop: nil in tests that call `look` themselves.
  init(
    loop: EventLoop?, time: Timekeeper, rules: RulesInForce, dispatcher: Dispatcher, counters: Counters,
    news: OperatorNews, obstacle: @escaping () -> String?
  ) {
    self.obstacle = obstacle
    self.time = time
    self.rules = rules
    self.dispatcher = dispatcher
    self.counters = counters
    self.news = news
    guard let loop else { return }
    let timer = LoopTimer(loop) { [unowned self] in
      look()
      self.timer?.schedule(after: .seconds(1))
    }
    self.timer = timer
    timer.schedule(after: .seconds(1))
  }

  /// The alerts that fire now.
  var alerts: [FiringAlert] { [ledgerAlert, queueAlert.firing].compactMap(\.self) }

  func look() {
    let now = time.now
    let load = dispatcher.load()
    counters.history.sample(
      queued: load.queuedByBand, running: load.inFlight.map { ($0.provider.name, $0.calls) }, at: time.wall(at: now))
    if burn.isDue(at: time.instant) { burn.look(dispatcher.budgetReadings(), at: time.instant) }
    slowStarts = dispatcher.slowStarts()
    lookAtLedger(now)
    let depth = load.queuedByBand.reduce(0, +)
    let before = queueAlert.firing
    guard queueAlert.look(depth, rules.now.policy.alerts.queue, at: now) else { return }
    news.alert(queueAlert.firing, before: before)
  }

  private func lookAtLedger(_ now: UInt64) {
    let obstacle = obstacle()
    guard (obstacle != nil) != (ledgerAlert != nil) else { return }
    let before = ledgerAlert
    ledgerAlert = obstacle.map {
      FiringAlert(
        name: "ledger", severity: .critical, since: now,
        text: "no new calls are taken: the ledger cannot be written (\($0))")
    }
    news.alert(ledgerAlert, before: before)
  }
}
