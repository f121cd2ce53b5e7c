// The end of the process: the broker drains, a timer bounds the drain, and the loop stops when the last answers have
// been sent.
import AdmissionCore
import BrokerEngine
import EventLoop
import HTTPEndpoint
import Logging

final class Shutdown {
  private let loop: EventLoop
  private let broker: Operator
  private let dataServer: HTTPServer
  private let webhooks: WebhookOffice
  private let telemetry: TelemetryOffice
  private let logger: Logger
  private lazy var timer = LoopTimer(loop) { [unowned self] in timeIsUp() }
  private var drainTimeIsUp = false
  /// The time for writing down and sending the last answers when a drain's time is up.
  private static let flushTime = Duration.seconds(1)
  private var isStopping = false

  init(
    loop: EventLoop, broker: Operator, dataServer: HTTPServer, webhooks: WebhookOffice, telemetry: TelemetryOffice,
    logger: Logger
  ) {
    self.telemetry = telemetry
    self.loop = loop
    self.broker = broker
    self.dataServer = dataServer
    self.webhooks = webhooks
    self.logger = logger
  }

  /// - Parameter asker: the operator who asked for it; nil for a signal.
  func drain(askedBy asker: String? = nil) {
    guard !broker.isDraining else { return }
    broker.changed(.broker, name: tollgateVersion, state: .draining, askedBy: asker)
    let time = broker.policy.drainTimeout
    tell(broker.snapshot(), time)
    timer.schedule(after: time)
    // Not inside the call that asked for the drain: its answer is sent first.
    loop.atEndOfTurn { [self] in
      dataServer.drain()
      broker.drain(within: time) { [unowned self] in stop() }
    }
  }

  private func tell(_ now: AdmissionSnapshot, _ time: Duration) {
    let waiting = now.queuedByBand.reduce(0, +)
    guard now.running + waiting > 0 else { return logger.info("draining", metadata: ["timeout": "\(time)"]) }
    logger.info(
      "draining: calls that run or wait are finished first; another signal (Ctrl-C) ends them at once",
      metadata: ["running": "\(now.running)", "waiting": "\(waiting)", "timeout": "\(time)"])
  }

  /// The broker reports when the last answers have been sent; clients that do not read theirs are not waited for.
  private func timeIsUp() {
    guard !drainTimeIsUp else { return stop() }
    drainTimeIsUp = true
    logger.warning("drain timeout: calls that still run are broken off")
    timer.schedule(after: Shutdown.flushTime)
    broker.abortAll()
    broker.saveLearned()
  }

  private func stop() {
    guard !isStopping else { return }
    isStopping = true
    timer.cancel()
    dataServer.stopAccepting()
    // One more turn, so that the last answers and log lines are written.
    var left = 2
    let ended = { [loop] in
      left -= 1
      if left == 0 { loop.atEndOfTurn { loop.atEndOfTurn { loop.stop() } } }
    }
    webhooks.end(then: ended)
    telemetry.end(then: ended)
  }
}
