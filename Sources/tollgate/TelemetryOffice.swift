// Connects the exporter with the process: calls that end become reports and counts, a timer of the loop wakes it up, and
// documents are written on the thread for documents.
//
// Promise: while the policy names no collector, a call costs nothing but the question whether there is one.
import AdminConsole
import BrokerEngine
import EventLoop
import Foundation
import HTTPMessage
import Logging
import PolicyFile
import Telemetry
import UpstreamHTTP

final class TelemetryOffice {
  /// How long the end of the process, and of the collector in the policy, waits for what is to be told.
  static let endPatience = Duration.seconds(3)

  private let loop: EventLoop
  private let upstream: CurlUpstream
  private let broker: Operator
  private let logger: Logger
  /// Runs work on the thread for documents.
  private let background: (@escaping @Sendable () -> Void) -> Void
  private let source = TelemetrySource(version: tollgateVersion, instance: UUID().uuidString.lowercased())
  private let counted = CountedCalls()
  private var running: Running?
  /// Those that the policy names no more, until they have told what waited.
  private var leaving: [ObjectIdentifier: Running] = [:]
  private var droppedBefore = 0
  private var lines = OutageLines()

  /// An exporter and its timers.
  private final class Running {
    let exporter: Exporter
    let timer: LoopTimer
    var endTimer: LoopTimer?
    init(_ exporter: Exporter, _ timer: LoopTimer) {
      self.exporter = exporter
      self.timer = timer
    }
  }

  init(
    loop: EventLoop, upstream: CurlUpstream, broker: Operator, logger: Logger,
    background: @escaping (@escaping @Sendable () -> Void) -> Void
  ) {
    self.loop = loop
    self.upstream = upstream
    self.broker = broker
    self.logger = logger
    self.background = background
  }

  /// Spans and points of metrics that no collector took since the start.
  var dropped: Int {
    droppedBefore + (running?.exporter.dropped ?? 0) + leaving.values.reduce(0) { $0 + $1.exporter.dropped }
  }

  /// The outage of the collector; nil while it takes what it is told.
  var trouble: OutwardTrouble? {
    guard let running, let outage = running.exporter.outage, let endpoint = broker.policy.otlp?.endpoint else {
      return nil
    }
    return OutwardTrouble(
      what: "collector_away", since: outage.since,
      text: "the collector \(Webhook.shown(endpoint)) does not take what it is told: \(outage.reason)")
  }

  /// Takes up the collector of a policy. What waits goes to the new address; without one, it is told once more to the old
  /// one.
  func configure(_ policy: Policy, _ calls: EndedCalls) {
    guard let settings = policy.otlp else {
      calls.listener = nil
      broker.tracer = nil
      if let running { leave(running) {} }
      running = nil
      return
    }
    if settings.isCleartext {
      logger.warning(
        "what the collector is told crosses the network in clear text",
        metadata: ["endpoint": "\(Webhook.shown(settings.endpoint))"])
    }
    upstream.configure(provider: Exporter.pool, ProviderTransport(maxIdleConnections: TelemetrySignal.allCases.count))
    let running = running ?? start()
    self.running = running
    counted.providers = Dictionary(
      policy.providers.map { ($0.id, ProviderLabels($0)) }, uniquingKeysWith: { first, _ in first })
    counted.scheme = policy.tls == nil ? "http" : "https"
    let sampling = HeadSampling(basisPoints: settings.sample)
    if let tracer = broker.tracer {
      tracer.sampling = sampling
    } else {
      broker.tracer = Tracer(sampling, draw: Self.draw)
    }
    let exporter = running.exporter
    calls.listener = { [unowned self] record in ended(record, exporter) }
    var fields = HeaderFields()
    for field in settings.headers { fields.append(name: field.name, value: field.value.revealed) }
    exporter.configure(CollectorAddress(endpoint: settings.endpoint, fields: fields))
  }

  private static func draw() -> UInt64 { UInt64.random(in: .min ... .max) }

  private func start() -> Running {
    counted.meter = CallMeter()
    let (loop, background, broker, counted) = (loop, background, broker, counted)
    // The timer and the exporter know each other.
    let address = LoopAddress<Exporter>()
    let timer = LoopTimer(loop) { address.target?.wake() }
    let mailbox = loop.mailbox
    let desk = WritingDesk()
    let exporter = Exporter(
      ExporterParts(
        upstream: upstream, now: { loop.now }, wall: SystemClock.wall, draw: Self.draw,
        offLoop: { work, report in
          let number = desk.add(report)
          let address = desk.address
          background {
            let text = work()
            mailbox.post { address.target?.finish(number, text) }
          }
        },
        schedule: { timer.schedule(at: $0) }, source: source, metrics: { counted.meter.metrics(broker) }))
    address.target = exporter
    exporter.onOutage = { [unowned self] in outageChanged($0, $1, isLost: $2) }
    return Running(exporter, timer)
  }

  private func outageChanged(_ signal: TelemetrySignal, _ reason: String?, isLost: Bool) {
    let verdict = lines.change(at: loop.now)
    guard verdict != .untold else { return }
    var metadata: Logger.Metadata = ["signal": "\(signal.rawValue)"]
    if verdict == .toldLast { metadata["unlogged"] = "\(OutageLines.lastNote)" }
    guard let reason else { return logger.info("the collector takes what it is told again", metadata: metadata) }
    metadata["reason"] = "\(reason)"
    logger.warning(
      isLost
        ? "the collector does not take what it is told, and it is dropped"
        : "the collector does not take what it is told; it is tried again, and what does not fit is dropped",
      metadata: metadata)
  }

  private func ended(_ record: RequestRecord, _ exporter: Exporter) {
    counted.meter.ended(record, model: broker.label(ofModel: record.model), counted.providers)
    guard let story = CallStory(record) else { return }
    let (providers, scheme) = (counted.providers, counted.scheme)
    exporter.add(
      CallReport(count: story.spanCount, bytes: story.bytes) { story.spans(providers, scheme: scheme) })
  }

  /// Tells everything that waits once more, for at most `endPatience`.
  func end(then report: @escaping () -> Void) {
    guard let running else { return report() }
    leave(running, then: report)
  }

  private func leave(_ running: Running, then report: @escaping () -> Void) {
    let key = ObjectIdentifier(running)
    guard leaving.updateValue(running, forKey: key) == nil else { return }
    if self.running === running { self.running = nil }
    let finish = { [unowned self] in
      guard let left = leaving.removeValue(forKey: key) else { return }
      left.exporter.giveUp()
      left.timer.cancel()
      droppedBefore += left.exporter.dropped
      report()
    }
    let timer = LoopTimer(loop) { finish() }
    timer.schedule(after: TelemetryOffice.endPatience)
    running.endTimer = timer
    running.exporter.end(then: finish)
  }
}

/// Who is told of calls that ended, if anybody.
final class EndedCalls {
  var listener: ((RequestRecord) -> Void)?
}

/// What the office counts, and by which names.
private final class CountedCalls {
  var meter = CallMeter()
  var providers: [String: ProviderLabels] = [:]
  var scheme = "http"
}

/// Brings documents that were written on another thread back to who asked for them, on the loop's thread.
private final class WritingDesk {
  let address = LoopAddress<WritingDesk>()
  private var waiting: [Int: ([UInt8]) -> Void] = [:]
  private var number = 0

  init() { address.target = self }

  func add(_ report: @escaping ([UInt8]) -> Void) -> Int {
    number += 1
    waiting[number] = report
    return number
  }

  func finish(_ number: Int, _ text: [UInt8]) { waiting.removeValue(forKey: number)?(text) }
}
