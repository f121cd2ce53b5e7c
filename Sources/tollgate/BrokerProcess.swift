// The composition root of `serve`: assembles loop, upstream, broker, listeners, console and signals, and takes them
// down again.
import AdminConsole
import AdmissionCore
import BrokerEngine
import EventLoop
import Foundation
import HTTPEndpoint
import HTTPMessage
import LedgerStore
import Logging
import PolicyFile
import Pricing
import ProcessOutput
import TextForms
import UpstreamHTTP

final class BrokerProcess {
  struct Options {
    /// nil means the built-in policy.
    var policyFile: String?
    /// Flags that override the file, also after each reload.
    var adjust: (inout Policy) throws -> Void
  }

  private let logger: Logger
  private let loop: EventLoop
  private let upstream: CurlUpstream
  private let broker: Broker
  private let sink: LogSink
  private let ledger: LedgerBridge
  private let dataServer: HTTPServer
  private var adminServer: HTTPServer?
  private let console: AdminConsole
  private let shutdown: Shutdown
  private let reload: PolicyReload
  private var signals: [SignalWatch] = []

  init(_ options: Options) throws {
    let policy = try PolicyReload.load(options)
    let secrets = try PolicyLoading.allSecrets(of: policy, relativeTo: options.policyFile)
    let prices = try PolicyLoading.prices(of: policy, relativeTo: options.policyFile)
    let format = policy.log.format.flatMap { AccessLogFormat(rawValue: $0.rawValue) } ?? .text
    let level = LogLevel(policy.log.level ?? .info)
    let requests = RequestLines(isOff: format == .off, level.threshold)
    LoggingSystem.bootstrap { _ in OperatorLog(format: format, level: level) }
    Terminal.errors.tellLosses { count in
      OperatorLog.line("warning", "log lines were lost before this", [("lines", "\(count)")], isJSON: format == .json)
    }
    Terminal.output.tellFailure { reason in
      Terminal.errors.write(
        OperatorLog.line(
          "warning", "standard output cannot be written; serving goes on", [("reason", reason)], isJSON: format == .json
        ))
    }
    logger = Logger(label: "tollgate")
    let loop = try EventLoop()
    self.loop = loop
    upstream = try CurlUpstream(loop: loop)
    PolicyReload.configure(upstream, policy, relativeTo: options.policyFile)
    sink = LogSink(loop: loop, writer: Terminal.errors)
    let sink = sink
    let clock = BrokerClock(
      monotonic: { loop.now }, wall: SystemClock.wall, seed: UInt64.random(in: .min ... .max))
    let logger = logger
    let ledger = try LedgerBridge(
      LedgerLocation(policy.store), LedgerDurability(policy.durability), loop: loop,
      now: WallInstant(nanoseconds: SystemClock.wall()),
      report: { BrokerProcess.log(obstacle: $0, logger) })
    self.ledger = ledger
    BrokerProcess.log(ledger.store.recovered, logger)
    let memory = MemoryAccount(limit: policy.memory)
    let endedCalls = EndedCalls()
    let broker = Broker(
      policy: policy, secrets: secrets.keys,
      parts: BrokerParts(
        upstream: upstream, clock: clock, loop: loop, hash: Digest.sha256, ledger: ledger, prices: prices,
        memory: memory,
        requestEnded: { record in
          if let listener = endedCalls.listener { listener(record) }
          guard requests.areLogged else { return }
          let lasted = Int64((record.endedAt ?? record.arrivedAt) &- record.arrivedAt)
          sink.write(AccessLog.line(record, format, at: record.arrivedAtWall + lasted))
        },
        noticed: { BrokerProcess.log($0, logger, secretMark: $1) },
        keysReported: { BrokerProcess.log($0, logger) }))
    self.broker = broker
    try BudgetRestoring.restore(
      broker.operator, from: ledger.store, now: WallInstant(nanoseconds: SystemClock.wall()))
    var limits = EndpointLimits()
    limits.bodyBytes = policy.maxBody
    let pair = try PolicyReload.certificate(policy, relativeTo: options.policyFile)
      .map { try CertificateFollower.load($0) }
    let dataServer = HTTPServer(
      loop: loop, handler: broker.frontDoor, limits: limits, tls: pair?.context, memory: memory)
    dataServer.onMemoryShortage = { CurlUpstream.releaseHeap() }
    self.dataServer = dataServer
    let certificate = pair.map { pair in
      CertificateFollower(loop: loop, served: pair, logger: logger) { [unowned dataServer] in dataServer.replaceTLS($0)
      }
    }
    let setLogLevel = { (threshold: LogThreshold) in
      level.threshold = threshold
      requests.threshold = threshold
    }
    let webhooks = WebhookOffice(loop: loop, upstream: upstream, broker: broker.operator, logger: logger)
    webhooks.configure(policy, secrets.webhooks)
    // Writing a large document blocks for milliseconds.
    let documents = DispatchQueue(label: "documents")
    let telemetry = TelemetryOffice(
      loop: loop, upstream: upstream, broker: broker.operator, logger: logger,
      background: { work in documents.async(execute: work) })
    let watchCalls = { (policy: Policy) in telemetry.configure(policy, endedCalls) }
    watchCalls(policy)
    let reload = PolicyReload(
      options, loop: loop, broker: broker.operator, upstream: upstream, store: ledger.store, certificate: certificate,
      webhooks: webhooks, watchCalls: watchCalls, logger: logger, setLogLevel: setLogLevel)
    self.reload = reload
    let shutdown = Shutdown(
      loop: loop, broker: broker.operator, dataServer: dataServer, webhooks: webhooks, telemetry: telemetry,
      logger: logger)
    self.shutdown = shutdown
    console = AdminConsole(
      broker: broker.operator,
      actions: AdminActions(
        reload: { reload.run(askedBy: "admin", $0) }, drain: { shutdown.drain(askedBy: "admin") },
        processFigures: ProcessReading.figures,
        logLevel: { level.threshold },
        setLogLevel: setLogLevel,
        background: { work in documents.async(execute: work) }),
      version: tollgateVersion, loop: loop)
    console.courier = webhooks.courier
    console.otlpDropped = { telemetry.dropped }
    console.troubles = { [telemetry.trouble, webhooks.trouble].compactMap { $0 } }
    console.ledgerDesk = LedgerDesk(
      ledger, loop: loop, now: { WallInstant(nanoseconds: SystemClock.wall()) })
    if policy.admin.listen != nil {
      var adminLimits = EndpointLimits()
      adminLimits.bodyBytes = 64 << 10
      adminLimits.maxConnections = 256
      adminLimits.newestWins = true
      adminLimits.reservedDescriptors = 4
      adminServer = HTTPServer(loop: loop, handler: console, limits: adminLimits, tls: nil)
    }
    let adminServer = adminServer
    console.connections = { [unowned dataServer] in
      [("data", dataServer.connectionCount)] + (adminServer.map { [("admin", $0.connectionCount)] } ?? [])
    }
    dataServer.onNotice = { logger.warning("data port", metadata: ["detail": "\($0)"]) }
    adminServer?.onNotice = { logger.warning("admin port", metadata: ["detail": "\($0)"]) }
    upstream.onSocketWarning = { text in logger.warning("upstream socket", metadata: ["detail": "\(text)"]) }
  }

  /// Serves until drained. Throws when a listener cannot be opened.
  func run() throws {
    // Before anyone can read that it listens, and send a signal.
    signals = try [SIGTERM, SIGINT].map { signal in
      try SignalWatch(loop, signal: signal) { [weak self] in self?.stopRequested() }
    }
    signals.append(try SignalWatch(loop, signal: SIGHUP) { [weak self] in self?.reload.run() })
    do {
      // All of them first: who reads that one listens may rely on the others.
      for line in try listen(broker.operator.policy) { Terminal.post(line) }
    } catch {
      // Removes the socket files of those that could be opened.
      dataServer.close()
      adminServer?.close()
      throw error
    }
    reload.watch()
    broker.operator.changed(.broker, name: tollgateVersion, state: .started)
    broker.operator.checkKeys()
    CurlUpstream.releaseMemory()
    loop.run()
    sink.flush()
    dataServer.close()
    adminServer?.close()
    upstream.close()
    let unwritten = ledger.close()
    if unwritten > 0 {
      throw CommandRefusal(
        "tollgate: \(unwritten) ledger entries could not be written: \(ledger.obstacle ?? "unknown")")
    }
  }

  /// Opens all listeners. Returns what a user is told of each.
  private func listen(_ policy: Policy) throws -> [String] {
    let scheme = policy.tls == nil ? "http" : "https"
    var lines = try policy.listen.map { address in
      let bound = try dataServer.listen(BrokerProcess.endpoint(address))
      return "listening on \(BrokerProcess.display(bound, scheme)) (data)"
    }
    if let address = policy.admin.listen, let adminServer {
      let bound = try adminServer.listen(BrokerProcess.endpoint(address))
      lines.append("listening on \(BrokerProcess.display(bound, "http")) (admin)")
      if case .tcp(let host, _) = address { console.checksHost = host.hasPrefix("127.") || host == "::1" }
    }
    return lines
  }

  private func stopRequested() {
    if broker.operator.isDraining {
      logger.warning("stopped at once by a second signal")
      sink.flush()
      Terminal.end(1, patience: .milliseconds(200))
    }
    shutdown.drain()
  }

  // MARK: Small things

  private static func endpoint(_ address: ListenAddress) -> EndpointAddress {
    switch address {
    case .tcp(let host, let port): .tcp(host: host, port: port)
    case .unix(let path): .unix(path: path)
    }
  }

  private static func display(_ address: EndpointAddress, _ scheme: String) -> String {
    switch address {
    case .tcp: "\(scheme)://\(address)"
    case .unix: "\(address)"
    }
  }

  private static func log(obstacle: String?, _ logger: Logger) {
    if let obstacle {
      logger.error("the ledger cannot be written: new work is refused", metadata: ["reason": "\(obstacle)"])
    } else {
      logger.info("the ledger can be written again")
    }
  }

  private static func log(_ recovery: LedgerRecovery, _ logger: Logger) {
    for sentence in recovery.damage { logger.error("the ledger is damaged", metadata: ["found": "\(sentence)"]) }
    if recovery.putAside > 0 {
      logger.error(
        "entries that the ledger does not take stand in its changes", metadata: ["count": "\(recovery.putAside)"])
    }
    guard recovery.presumedAttempts + recovery.concludedRequests > 0 else { return }
    logger.warning(
      "calls without an end since the last run count at their estimate",
      metadata: [
        "attempts": "\(recovery.presumedAttempts)", "nano_usd": "\(recovery.presumedCost.nanodollars)",
        "requests": "\(recovery.concludedRequests)",
      ])
  }

  /// What a notice is about: a provider, and maybe one of its models or keys.
  private static func metadata(_ provider: ProviderID, _ model: String?, _ key: KeyID?) -> Logger.Metadata {
    var metadata: Logger.Metadata = ["provider": "\(provider)"]
    if let model { metadata["model"] = "\(model)" }
    if let key { metadata["key"] = "\(provider)/\(key)" }
    return metadata
  }

  private static func metadata(_ reading: BudgetReading) -> Logger.Metadata {
    [
      "budget": "\(reading.id)", "spent_\(reading.unit.rawValue)": "\(reading.text(reading.spent))",
      "held_\(reading.unit.rawValue)": "\(reading.text(reading.held))",
      "limit_\(reading.unit.rawValue)": "\(reading.text(reading.limit))", "on_exceed": "\(reading.onExceed.rawValue)",
    ]
  }

  private static func log(_ report: KeyReport, _ logger: Logger) {
    switch report {
    case .allRefused(let providers, let isAll):
      // Those that an operator has just disabled himself are not told as refused.
      let isRefused = providers.contains { !$0.keys.isEmpty }
      let keys = providers.flatMap { provider in
        provider.keys.map { "\(provider.provider)/\($0.text)" }
          + (provider.keys.isEmpty ? provider.disabled.map { "\(provider.provider)/\($0)" } : [])
      }
      let what = isRefused ? "refused" : "disabled by hand"
      logger.warning(
        isAll
          ? "every key of every provider is \(what): no call can be served"
          : "every key of a provider is \(what): no call can be served there",
        metadata: [
          "provider": "\(providers.map(\.provider).joined(separator: ", "))",
          "keys": "\(keys.joined(separator: ", "))", "advice": "\(RefusedProvider.advice(providers))",
        ])
    case .recovered(let provider, let wasRefused):
      logger.info(
        wasRefused ? "a key of the provider is no longer refused" : "a key of the provider is used again",
        metadata: ["provider": "\(provider)"])
    }
  }

  private static func log(_ notice: Notice, _ logger: Logger, secretMark: String?) {
    switch notice {
    case .waiting, .promoted, .requeued, .demoted: break
    case .budgetWarned(let reading): logger.warning("budget nearly used up", metadata: BrokerProcess.metadata(reading))
    case .budgetExceeded(let reading):
      logger.warning(
        reading.state == .refusing ? "a budget refuses calls that need more than is left of it" : "budget used up",
        metadata: BrokerProcess.metadata(reading))
    case .ourBug(let kind):
      logger.error("our own bug was met and served around", metadata: ["kind": "\(kind.rawValue)"])
    case .impossibleNumber(let provider, let source):
      logger.warning(
        "a provider gives numbers that cannot be true; they are cut, and its calls marked",
        metadata: ["provider": "\(provider)", "source": "\(source.rawValue)"])
    case .limitLearned(let provider, let model, let key, let dimension, let limit):
      var metadata = BrokerProcess.metadata(provider, model, key)
      metadata["dimension"] = "\(dimension.name)"
      metadata["per_minute"] = "\(limit)"
      logger.info("limit learned", metadata: metadata)
    case .concurrencyChanged(let provider, let model, let key, let limit):
      var metadata = BrokerProcess.metadata(provider, model, key)
      metadata["limit"] = "\(limit)"
      logger.info("concurrency changed", metadata: metadata)
    case .breakerChanged(let provider, let model, let state, let reason):
      var metadata: Logger.Metadata = ["provider": "\(provider)", "state": "\(state.rawValue)", "reason": "\(reason)"]
      if let model { metadata["model"] = "\(model)" }
      logger.warning("breaker changed", metadata: metadata)
    case .paused(let provider, let model, let key, let span, let reason):
      var metadata = BrokerProcess.metadata(provider, model, key)
      metadata["for_ms"] = "\(span.wholeMilliseconds)"
      metadata["reason"] = "\(reason.rawValue)"
      logger.warning(
        model == nil ? "a provider asks for a pause" : "a provider asks for a pause for a model", metadata: metadata)
    case .keyChanged(let provider, let key, let state, let reason):
      var metadata: Logger.Metadata = [
        "key": "\(provider)/\(key)", "state": "\(state.rawValue)", "reason": "\(reason.text)",
      ]
      if let secretMark { metadata["secret"] = "\(secretMark)" }
      logger.warning("key changed", metadata: metadata)
    }
  }
}
