// The composition root of `serve`: loop, upstream, broker, listeners, console and signals, put together and taken down again.
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
    /// nil: the built-in policy.
    var policyFile: String?
    /// Flags that win over the file, again after each reload.
    var adjust: (inout Policy) throws -> Void
    var logFormat: AccessLogFormat
  }

  private let options: Options
  private let logger: Logger
  private let loop: EventLoop
  private let upstream: CurlUpstream
  private let broker: Broker
  private let sink: LogSink
  private let ledger: LedgerBridge
  private var dataServer: HTTPServer
  private var adminServer: HTTPServer?
  private let console: AdminConsole
  private var signals: [SignalWatch] = []
  /// Directories in which secrets' files lie, and the pause after a change in which its neighbours are awaited.
  private var secretWatches: [DirectoryWatch] = []
  private lazy var secretTimer = LoopTimer(loop) { [weak self] in self?.readSecretsAgain() }
  private lazy var secretReader = SecretReader(loop: loop)
  /// nil where the data listeners speak cleartext.
  private let certificate: CertificateFollower?
  private lazy var budgetHistory = BudgetHistory(
    loop: loop,
    read: { [store = ledger.store] in
      try BudgetRestoring.answer($0, from: store) { WallInstant(nanoseconds: SystemClock.wall()) }
    },
    tell: { [broker] in broker.restore(spent: $0, isLast: $1) },
    tellDays: { [broker] in broker.restore(daySums: $0) },
    failed: { [logger] in
      logger.warning(
        "calls wait until the ledger tells what was spent under budgets that are new", metadata: ["reason": "\($0)"])
    })
  private lazy var drainTimer = LoopTimer(loop) { [weak self] in self?.drainTimedOut() }
  private var drainTimeIsUp = false
  /// For the last answers to be written down and sent when a drain's time is up.
  private static let flushTime = Duration.seconds(1)
  private var isStopping = false

  init(_ options: Options) throws {
    self.options = options
    let policy = try BrokerProcess.load(options)
    let secrets = try PolicyLoading.secrets(of: policy, relativeTo: options.policyFile)
    let prices = try PolicyLoading.prices(of: policy, relativeTo: options.policyFile)
    let format = options.logFormat
    LoggingSystem.bootstrap { _ in OperatorLog(format: format) }
    Terminal.errors.tellLosses { count in
      OperatorLog.line("warning", "log lines were lost before this", [("lines", "\(count)")], isJSON: format == .json)
    }
    logger = Logger(label: "tollgate")
    let loop = try EventLoop()
    self.loop = loop
    upstream = try CurlUpstream(loop: loop)
    BrokerProcess.configure(upstream, policy, relativeTo: options.policyFile)
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
    let requests = requests
    let memory = MemoryAccount(limit: policy.memory)
    let broker = Broker(
      policy: policy, secrets: secrets,
      parts: BrokerParts(
        upstream: upstream, clock: clock, loop: loop, hash: Digest.sha256, ledger: ledger, prices: prices,
        memory: memory,
        requestEnded: { record in
          guard format != .off else { return }
          let lasted = Int64((record.endedAt ?? record.arrivedAt) &- record.arrivedAt)
          sink.write(AccessLog.line(record, format, at: record.arrivedAtWall + lasted))
        },
        noticed: {
          BrokerProcess.log($0, logger, secretMark: requests.secretMark)
          requests.noticed($0)
        }))
    self.broker = broker
    try BudgetRestoring.restore(
      broker, from: ledger.store, now: WallInstant(nanoseconds: SystemClock.wall()))
    console = AdminConsole(
      broker: broker,
      actions: AdminActions(
        reload: { requests.reload($0) }, drain: { requests.drain() }, processFigures: ProcessReading.figures),
      version: tollgateVersion, token: policy.admin.token.map { Array($0.revealed.utf8) }, loop: loop)
    console.ledgerDesk = LedgerDesk(
      ledger, loop: loop, now: { WallInstant(nanoseconds: SystemClock.wall()) })
    console.tenantTokens = policy.admin.tenantTokens.map { ($0.tenant, Array($0.token.revealed.utf8)) }
    var limits = EndpointLimits()
    limits.bodyBytes = policy.maxBody
    let files = BrokerProcess.certificate(policy, relativeTo: options.policyFile)
    let pair = try files.map { try CertificateFollower.load($0) }
    let dataServer = HTTPServer(loop: loop, handler: broker, limits: limits, tls: pair?.context, memory: memory)
    dataServer.onMemoryShortage = { CurlUpstream.releaseHeap() }
    self.dataServer = dataServer
    certificate = pair.map { pair in
      CertificateFollower(loop: loop, served: pair, logger: logger) { [unowned dataServer] in dataServer.replaceTLS($0)
      }
    }
    if policy.admin.listen != nil {
      var adminLimits = EndpointLimits()
      adminLimits.bodyBytes = 64 << 10
      adminLimits.maxConnections = 256
      adminLimits.newestWins = true
      adminLimits.reservedDescriptors = 4
      adminServer = HTTPServer(loop: loop, handler: console, limits: adminLimits, tls: nil)
    }
    dataServer.onNotice = { logger.warning("data port", metadata: ["detail": "\($0)"]) }
    adminServer?.onNotice = { logger.warning("admin port", metadata: ["detail": "\($0)"]) }
    upstream.onSocketWarning = { text in logger.warning("upstream socket", metadata: ["detail": "\(text)"]) }
    requests.reload = { [weak self] in self?.reload($0) }
    requests.drain = { [weak self] in self?.drain() }
    requests.noticed = { [console] in console.noticed($0) }
    requests.secretMark = { [unowned broker] in broker.secretMark(provider: $0, key: $1) }
  }

  /// What the console may ask of this object, which is made after it.
  private final class ConsoleRequests {
    var reload: (@escaping ([String]) -> Void) -> Void = { $0([]) }
    var drain: () -> Void = {}
    /// The way back: what the broker notices, for the console's event streams.
    var noticed: (Notice) -> Void = { _ in }
    /// A key's secret as it may be shown, by the names of provider and key.
    var secretMark: (String, String) -> String? = { _, _ in nil }
  }
  private let requests = ConsoleRequests()

  /// Serves until drained. Throws when a listener cannot be opened.
  func run() throws {
    // Before anybody reads that it listens, and sends a signal.
    signals = try [SIGTERM, SIGINT].map { signal in
      try SignalWatch(loop, signal: signal) { [weak self] in self?.stopRequested() }
    }
    signals.append(try SignalWatch(loop, signal: SIGHUP) { [weak self] in self?.reload() })
    broker.onDrained = { [weak self] in self?.stop() }
    let scheme = broker.policy.tls == nil ? "http" : "https"
    for address in broker.policy.listen {
      let bound = try dataServer.listen(BrokerProcess.endpoint(address))
      Terminal.post("listening on \(BrokerProcess.display(bound, scheme)) (data)")
    }
    if let address = broker.policy.admin.listen, let adminServer {
      let bound = try adminServer.listen(BrokerProcess.endpoint(address))
      Terminal.post("listening on \(BrokerProcess.display(bound, "http")) (admin)")
      if case .tcp(let host, _) = address { console.checksHost = host.hasPrefix("127.") || host == "::1" }
    }
    watchSecrets()
    certificate?.watch()
    broker.writeDown(.broker, name: tollgateVersion, state: "started")
    broker.checkKeys()
    CurlUpstream.releaseMemory()
    loop.run()
    sink.flush()
    dataServer.close()
    adminServer?.close()
    upstream.close()
    let unwritten = ledger.close()
    if unwritten > 0 {
      throw Refusal("tollgate: \(unwritten) ledger entries could not be written: \(ledger.obstacle ?? "unknown")")
    }
  }

  // MARK: Stopping

  private func stopRequested() {
    if broker.isDraining {
      logger.warning("stopped at once by a second signal")
      sink.flush()
      Terminal.end(1, patience: .milliseconds(200))
    }
    drain()
  }

  func drain() {
    guard !broker.isDraining else { return }
    console.changed("broker", "draining")
    broker.writeDown(.broker, name: tollgateVersion, state: "draining")
    logger.info("draining", metadata: ["timeout": "\(broker.policy.drainTimeout)"])
    drainTimer.schedule(after: broker.policy.drainTimeout)
    // Not inside the call that asked for it: its answer goes out first.
    loop.atEndOfTurn { [broker, dataServer] in
      dataServer.drain()
      broker.drain(within: broker.policy.drainTimeout)
    }
  }

  /// `broker.onDrained` follows when the last answers are with their clients; who does not take its own is not waited for.
  private func drainTimedOut() {
    guard !drainTimeIsUp else { return stop() }
    drainTimeIsUp = true
    logger.warning("drain timeout: calls that still run are broken off")
    drainTimer.schedule(after: BrokerProcess.flushTime)
    broker.abortAll()
    broker.saveLearned()
  }

  private func stop() {
    guard !isStopping else { return }
    isStopping = true
    drainTimer.cancel()
    dataServer.stopAccepting()
    adminServer?.stopAccepting()
    // One more turn, so that the last answers and log lines leave.
    loop.atEndOfTurn { [loop] in loop.atEndOfTurn { loop.stop() } }
  }

  // MARK: Policy

  /// Reads the policy and its secrets again and takes them up together; tells what was wrong, and then the old one stays.
  func reload(_ tell: @escaping ([String]) -> Void = { _ in }) {
    do {
      let policy = try BrokerProcess.load(options)
      let prices = try PolicyLoading.prices(of: policy, relativeTo: options.policyFile)
      let renewed = try BrokerProcess.certificate(policy, relativeTo: options.policyFile)
        .map { try CertificateFollower.load($0) }
      secretReader.read(policy, relativeTo: options.policyFile) { [weak self] result in
        guard let self else { return }
        switch result {
        case .success(let secrets):
          replace(policy, secrets, prices)
          if let renewed { certificate?.reloaded(renewed) }
          tell([])
        case .failure(let error): tell(refused(error))
        }
      }
    } catch {
      tell(refused(error))
    }
  }

  private func refused(_ error: any Error) -> [String] {
    let mistakes = "\(error)".split(separator: "\n").map(String.init)
    for mistake in mistakes { logger.error("policy refused, the old one stays", metadata: ["mistake": "\(mistake)"]) }
    return mistakes
  }

  private func replace(_ policy: Policy, _ secrets: KeySecrets, _ prices: PriceBook) {
    if policy.listen != broker.policy.listen || policy.admin.listen != broker.policy.admin.listen
      || (policy.tls == nil) != (broker.policy.tls == nil)
    {
      logger.warning("listen, admin.listen and whether there is tls change only with a restart")
    }
    if policy.store != broker.policy.store || policy.durability != broker.policy.durability {
      logger.warning("store and durability change only with a restart")
    }
    BrokerProcess.configure(upstream, policy, relativeTo: options.policyFile)
    let question = broker.replacePolicy(policy, secrets: secrets, prices: prices, asksPast: true)
    ledger.handOver()
    budgetHistory.ask(question)
    console.token = policy.admin.token.map { Array($0.revealed.utf8) }
    console.tenantTokens = policy.admin.tenantTokens.map { ($0.tenant, Array($0.token.revealed.utf8)) }
    console.changed("policy", "reloaded")
    broker.writeDown(.policy, name: options.policyFile ?? "built-in", state: "reloaded")
    watchSecrets()
    logger.info("policy reloaded", metadata: ["file": "\(options.policyFile ?? "built-in")"])
  }

  /// Follows the files that hold secrets: their directories, because secrets are replaced by renaming or by turning a link.
  private func watchSecrets() {
    var directories: Set<String> = []
    for provider in broker.policy.providers {
      for key in provider.keys {
        guard case .file(let path) = key.source else { continue }
        let resolved = PolicyLoading.resolved(path, relativeTo: options.policyFile)
        directories.insert(URL(fileURLWithPath: resolved).deletingLastPathComponent().path)
      }
    }
    secretWatches = directories.sorted().compactMap { directory in
      do {
        return try DirectoryWatch(loop, directory: directory) { [weak self] in
          self?.secretTimer.schedule(after: .milliseconds(100))
        }
      } catch {
        logger.warning("secrets are not followed", metadata: ["reason": "\(error)"])
        return nil
      }
    }
  }

  private func readSecretsAgain() {
    secretReader.read(broker.policy, relativeTo: options.policyFile) { [weak self] result in
      guard let self else { return }
      switch result {
      case .success(let secrets):
        if broker.replaceSecrets(secrets) { logger.info("secrets changed") }
      case .failure(let error):
        logger.error("secrets cannot be read, the old ones stay", metadata: ["mistake": "\(error)"])
      }
    }
  }

  private static func certificate(_ policy: Policy, relativeTo file: String?) -> CertificateFollower.Files? {
    policy.tls.map {
      CertificateFollower.Files(
        certificate: PolicyLoading.resolved($0.certificate, relativeTo: file),
        key: PolicyLoading.resolved($0.key, relativeTo: file))
    }
  }

  private static func load(_ options: Options) throws -> Policy {
    var policy = try options.policyFile.map { try PolicyLoading.policy(at: $0) } ?? PolicyLoading.builtIn()
    try options.adjust(&policy)
    return policy
  }

  private static func configure(_ upstream: CurlUpstream, _ policy: Policy, relativeTo file: String?) {
    for provider in policy.providers {
      upstream.configure(
        provider: provider.id,
        ProviderTransport(
          caFile: provider.caFile.map { PolicyLoading.resolved($0, relativeTo: file) },
          httpVersion: provider.httpVersion == "2" ? .http2OverTLS : .http1_1,
          maxIdleConnections: max(64, provider.limits.concurrency ?? 0)))
    }
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

  private static func metadata(_ reading: BudgetReading) -> Logger.Metadata {
    [
      "budget": "\(reading.id)", "spent_\(reading.unit.rawValue)": "\(reading.text(reading.spent))",
      "held_\(reading.unit.rawValue)": "\(reading.text(reading.held))",
      "limit_\(reading.unit.rawValue)": "\(reading.text(reading.limit))", "on_exceed": "\(reading.onExceed.rawValue)",
    ]
  }

  private static func log(_ notice: Notice, _ logger: Logger, secretMark: (String, String) -> String?) {
    switch notice {
    case .waiting, .promoted, .requeued, .demoted: break
    case .budgetWarned(let reading): logger.warning("budget nearly used up", metadata: BrokerProcess.metadata(reading))
    case .budgetExceeded(let reading): logger.warning("budget used up", metadata: BrokerProcess.metadata(reading))
    case .ourBug(let kind):
      logger.error("our own bug was met and served around", metadata: ["kind": "\(kind.rawValue)"])
    case .impossibleNumber(let provider, let source):
      logger.warning(
        "a provider gives numbers that cannot be true; they are cut, and its calls marked",
        metadata: ["provider": "\(provider)", "source": "\(source.rawValue)"])
    case .limitLearned(let provider, let dimension, let limit):
      logger.info(
        "limit learned",
        metadata: ["provider": "\(provider)", "dimension": "\(dimension.name)", "per_minute": "\(limit)"])
    case .concurrencyChanged(let provider, let limit):
      logger.info("concurrency changed", metadata: ["provider": "\(provider)", "limit": "\(limit)"])
    case .breakerChanged(let provider, let model, let state, let reason):
      var metadata: Logger.Metadata = ["provider": "\(provider)", "state": "\(state)", "reason": "\(reason)"]
      if let model { metadata["model"] = "\(model)" }
      logger.warning("breaker changed", metadata: metadata)
    case .closed(let provider, let model, let key, let span, let reason):
      var metadata: Logger.Metadata = [
        "provider": "\(provider)", "for_ms": "\(span.wholeMilliseconds)", "reason": "\(reason)",
      ]
      if let model { metadata["model"] = "\(model)" }
      if let key { metadata["key"] = "\(provider)/\(key)" }
      logger.warning(
        model == nil ? "a provider asks for a pause" : "a provider asks for a pause for a model", metadata: metadata)
    case .keyChanged(let provider, let key, let state, let reason):
      var metadata: Logger.Metadata = ["key": "\(provider)/\(key)", "state": "\(state)", "reason": "\(reason)"]
      if let mark = secretMark(provider.name, key.name) { metadata["secret"] = "\(mark)" }
      logger.warning("key changed", metadata: metadata)
    }
  }
}
