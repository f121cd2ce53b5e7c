// Tells a collector of spans and metrics, over the same port as calls to providers.
//
// Promises: everything here runs on the loop's thread, but for the writing of documents; what a call leaves costs one
// bounded append; a collector that hangs, is gone or answers nonsense costs one connection for each of the two kinds and a
// bounded queue; of an answer at most 16 KiB are read. An outage is reported once when it begins, once when
// something is lost by it, and once when it ends.
import HTTPMessage
import TextForms

/// The two kinds of documents, with the ends of their addresses.
public enum TelemetrySignal: String, Sendable, CaseIterable {
  case traces, metrics
}

/// Where the collector is, and what it wants to see.
public struct CollectorAddress: Sendable {
  /// Without a slash at its end.
  public var endpoint: String
  /// Beside those of the message itself. They may be secret.
  public var fields: HeaderFields
  public init(endpoint: String, fields: HeaderFields = HeaderFields()) {
    self.endpoint = endpoint
    self.fields = fields
  }
}

/// What one call leaves to be told.
public struct CallReport: Sendable {
  /// The number of its spans.
  public var count: Int
  /// About how much memory it takes while it waits.
  public var bytes: Int
  /// Called on another thread.
  public var spans: @Sendable () -> [TraceSpan]
  public init(count: Int, bytes: Int, spans: @escaping @Sendable () -> [TraceSpan]) {
    self.count = count
    self.bytes = bytes
    self.spans = spans
  }
}

/// What the exporter needs of the process.
public struct ExporterParts {
  public var upstream: any Upstream
  /// Monotonic nanoseconds, and nanoseconds since 1970.
  public var now: () -> UInt64
  public var wall: () -> Int64
  /// A number by chance.
  public var draw: () -> UInt64
  /// Does the work on another thread, and reports its result in a later turn of the loop.
  public var offLoop: (_ work: @escaping @Sendable () -> [UInt8], _ report: @escaping ([UInt8]) -> Void) -> Void
  /// Calls `Exporter.wake` when the monotonic clock reaches this instant; replaces what was scheduled.
  public var schedule: (UInt64) -> Void
  public var source: TelemetrySource
  /// The metrics as they are now.
  public var metrics: () -> [Metric]

  public init(
    upstream: any Upstream, now: @escaping () -> UInt64, wall: @escaping () -> Int64, draw: @escaping () -> UInt64,
    offLoop: @escaping (_ work: @escaping @Sendable () -> [UInt8], _ report: @escaping ([UInt8]) -> Void) -> Void,
    schedule: @escaping (UInt64) -> Void, source: TelemetrySource, metrics: @escaping () -> [Metric]
  ) {
    self.upstream = upstream
    self.now = now
    self.wall = wall
    self.draw = draw
    self.offLoop = offLoop
    self.schedule = schedule
    self.source = source
    self.metrics = metrics
  }
}

public final class Exporter {
  /// The name of the connections to a collector: no provider can have it.
  public static let pool = "otlp collector"
  /// Between two readings of the metrics: the default of OpenTelemetry.
  public static let interval: UInt64 = 60_000_000_000
  static let answerLimit = 16 << 10

  private struct Reading: Sendable {
    var metrics: [Metric]
    var at: Int64
  }

  private let parts: ExporterParts
  private let traceLimits: ExportLimits
  private var address: CollectorAddress?
  private var traces: ExportQueue<CallReport>
  private var metrics: ExportQueue<Reading>
  /// Since when the metrics count, in nanoseconds since 1970.
  private var countsSince: Int64
  private var nextReading: UInt64
  private var troubled: Set<TelemetrySignal> = []
  /// True where it has been told of the outage that something is lost.
  private var hasToldLoss = false
  private var whenIdle: (() -> Void)?
  /// Told when an outage begins, with the reason and whether what was sent is lost, when something is lost for the first time
  /// in it, and when it ends, without a reason. While one kind of documents is not taken, the other kind is no news.
  public var onOutage: (_ signal: TelemetrySignal, _ reason: String?, _ isLost: Bool) -> Void = { _, _, _ in }
  /// Since when the collector does not take what it is told, in nanoseconds since 1970, and why; nil while it does.
  public private(set) var outage: (since: Int64, reason: String)?

  /// Metrics count from now on.
  public init(_ parts: ExporterParts, limits: ExportLimits = ExportLimits()) {
    self.parts = parts
    traceLimits = limits
    traces = ExportQueue(limits)
    metrics = ExportQueue(Exporter.forMetrics(limits))
    countsSince = parts.wall()
    nextReading = parts.now() + Exporter.interval
  }

  /// A reading is told at once, and is worth nothing when the next one is there, which holds all of it.
  private static func forMetrics(_ limits: ExportLimits) -> ExportLimits {
    var limits = limits
    limits.batch = 1
    limits.mostWaiting = .max
    limits.patience = min(limits.patience, interval - 5_000_000_000)
    return limits
  }

  /// Spans and points of metrics that no collector took.
  public var dropped: Int { traces.dropped + metrics.dropped }

  /// Sends to this address from now on, also what waits.
  public func configure(_ address: CollectorAddress) {
    self.address = address
    work()
  }

  /// A call has ended whose trace is told.
  public func add(_ report: CallReport) {
    guard address != nil, !traces.isEnding else { return }
    let before = traces.waitingPieces
    traces.add(report, pieces: report.count, bytes: report.bytes, now: parts.now())
    // The first one sets the timer, and the one that fills a batch does not wait for it. All others are only kept.
    let isFull = traces.waitingPieces >= traceLimits.batch
    if before == 0 || (isFull && before < traceLimits.batch) { work() }
  }

  /// The scheduled instant has come.
  public func wake() { work() }

  /// Tells everything that waits, and the metrics as they are, once more, and reports when that is over. The caller
  /// bounds the time, and then calls `giveUp`.
  public func end(then report: @escaping () -> Void) {
    guard address != nil else { return report() }
    whenIdle = report
    readMetrics()
    traces.end()
    metrics.end()
    work()
  }

  /// Drops what is still not told.
  public func giveUp() {
    traces.giveUp()
    metrics.giveUp()
    address = nil
    whenIdle = nil
  }

  private func readMetrics() {
    nextReading = parts.now() + Exporter.interval
    let reading = Reading(metrics: parts.metrics(), at: parts.wall())
    let points = reading.metrics.reduce(0) { $0 + $1.pointCount }
    if points > 0 { metrics.add(reading, pieces: points, bytes: 0, now: parts.now()) }
  }

  private func work() {
    guard address != nil else { return }
    let now = parts.now()
    if now >= nextReading, !metrics.isEnding { readMetrics() }
    let source = parts.source
    switch traces.take(now: now) {
    case .write(let reports)?:
      parts.offLoop({ TelemetryJSON.traces(reports.flatMap { $0.spans() }, of: source) }) { [weak self] text in
        self?.traces.wrote(text)
        self?.work()
      }
    case .send(let text)?: send(.traces, text)
    case nil: break
    }
    switch metrics.take(now: now) {
    case .write(let readings)?:
      let since = countsSince
      parts.offLoop({
        readings.last.map { TelemetryJSON.metrics($0.metrics, since: since, now: $0.at, of: source) } ?? []
      }) { [weak self] text in
        self?.metrics.wrote(text)
        self?.work()
      }
    case .send(let text)?: send(.metrics, text)
    case nil: break
    }
    scheduleNext(now)
  }

  private func scheduleNext(_ now: UInt64) {
    var next = metrics.isEnding ? nil : Optional(nextReading)
    for due in [traces.nextDue(), metrics.nextDue()] { if let due { next = min(next ?? due, due) } }
    if let next { parts.schedule(max(next, now)) }
    guard traces.isEmpty, metrics.isEmpty, let report = whenIdle else { return }
    whenIdle = nil
    report()
  }

  private func send(_ signal: TelemetrySignal, _ body: [UInt8]) {
    guard let address else { return }
    var fields = HeaderFields([
      (name: "content-type", value: "application/json"),
      (name: "user-agent", value: "tollgate/\(parts.source.version)"),
    ])
    fields.append(contentsOf: address.fields)
    Posting.begin(
      UpstreamRequest(
        provider: Exporter.pool, method: "POST", url: "\(address.endpoint)/v1/\(signal.rawValue)", fields: fields,
        body: body,
        timeouts: UpstreamTimeouts(
          connect: .seconds(5), firstByte: .seconds(10), idle: .seconds(5), total: .seconds(15))),
      over: parts.upstream, reading: Exporter.answerLimit,
      wait: { [parts] in HTTPDate.wait($0, wall: parts.wall()) }
    ) { [weak self] in self?.ended(signal, $0) }
  }

  private func ended(_ signal: TelemetrySignal, _ answer: Posting.Answer) {
    let result: ExportAnswer =
      switch answer {
      case .answered(let status, let retryAfter, let body):
        .status(status, retryAfter: retryAfter, rejected: PartialSuccess.rejected(body))
      case .failed(let reason): .failed(reason)
      }
    let (now, share) = (parts.now(), Double(parts.draw() >> 11) / Double(1 << 53))
    let droppedBefore = dropped
    let trouble =
      switch signal {
      case .traces: traces.ended(result, now: now, share: share)
      case .metrics: metrics.ended(result, now: now, share: share)
      }
    if let trouble {
      troubled.insert(signal)
      let isNew = outage == nil
      outage = (outage?.since ?? parts.wall(), trouble)
      let isLost = dropped > droppedBefore
      let hadToldLoss = !isNew && hasToldLoss
      hasToldLoss = hadToldLoss || isLost
      if isNew || (isLost && !hadToldLoss) { onOutage(signal, trouble, isLost) }
    } else if troubled.remove(signal) != nil, troubled.isEmpty {
      outage = nil
      onOutage(signal, nil, false)
    }
    work()
  }
}

/// What a collector that accepted a document says that it left out.
enum PartialSuccess {
  /// 0 where it says nothing of it.
  static func rejected(_ body: [UInt8]) -> Int {
    for name in ["\"rejectedSpans\"", "\"rejectedDataPoints\""] {
      guard let found = body[...].firstRange(of: Array(name.utf8)) else { continue }
      // A whole number of 64 bits is a text in this form; some write a number.
      let digits = body[found.upperBound...].drop { " \t\r\n:\"".utf8.contains($0) }.prefix { $0 >= 0x30 && $0 <= 0x39 }
      return Int(String(decoding: digits.prefix(18), as: UTF8.self)) ?? 0
    }
    return 0
  }
}
