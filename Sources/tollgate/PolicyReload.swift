// Reloads the policy and everything that belongs to it: on a signal, when an operator asks, and when files with secrets
// or certificates change.
//
// Promise: policy, prices, secrets and certificate are replaced together, or none of them is.
import AdmissionCore
import BrokerEngine
import EventLoop
import Foundation
import LedgerStore
import Logging
import PolicyFile
import Pricing
import TextForms
import UpstreamHTTP

final class PolicyReload {
  private let options: BrokerProcess.Options
  private let loop: EventLoop
  private let broker: Operator
  private let upstream: CurlUpstream
  /// nil where the data listeners speak cleartext.
  private let certificate: CertificateFollower?
  private let webhooks: WebhookOffice
  /// Takes up the collector of a policy.
  private let watchCalls: (Policy) -> Void
  private let logger: Logger
  private let setLogLevel: (LogThreshold) -> Void
  private let budgetHistory: BudgetHistory
  private let secretReader: SecretReader
  /// The directories of files with secrets, and the pause after a change in which other files may change too.
  private var secretWatches: [DirectoryWatch] = []
  private lazy var secretTimer = LoopTimer(loop) { [unowned self] in readSecretsAgain() }

  init(
    _ options: BrokerProcess.Options, loop: EventLoop, broker: Operator, upstream: CurlUpstream, store: LedgerStore,
    certificate: CertificateFollower?, webhooks: WebhookOffice, watchCalls: @escaping (Policy) -> Void, logger: Logger,
    setLogLevel: @escaping (LogThreshold) -> Void
  ) {
    self.options = options
    self.setLogLevel = setLogLevel
    self.loop = loop
    self.broker = broker
    self.upstream = upstream
    self.certificate = certificate
    self.webhooks = webhooks
    self.watchCalls = watchCalls
    self.logger = logger
    secretReader = SecretReader(loop: loop)
    budgetHistory = BudgetHistory(
      loop: loop,
      read: { try BudgetRestoring.answer($0, from: store) { WallInstant(nanoseconds: SystemClock.wall()) } },
      tell: { broker.restore(spent: $0, isLast: $1) },
      tellDays: { broker.restore(daySums: $0) },
      failed: {
        logger.warning(
          "calls wait until the ledger tells what was spent under budgets that are new", metadata: ["reason": "\($0)"])
      })
  }

  /// Follows the files from now on.
  func watch() {
    watchSecrets()
    certificate?.watch()
  }

  /// Reads the policy and its secrets again and takes them up together. Where something is wrong, reports it and keeps
  /// the old ones.
  /// - Parameter asker: the operator who asked for it; nil for a signal.
  func run(askedBy asker: String? = nil, _ tell: @escaping ([String]) -> Void = { _ in }) {
    do {
      let policy = try PolicyReload.load(options)
      let prices = try PolicyLoading.prices(of: policy, relativeTo: options.policyFile)
      let renewed = try PolicyReload.certificate(policy, relativeTo: options.policyFile)
        .map { try CertificateFollower.load($0) }
      secretReader.read(policy, relativeTo: options.policyFile) { [weak self] result in
        guard let self else { return }
        switch result {
        case .success(let secrets):
          replace(policy, secrets, prices, askedBy: asker)
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

  private func replace(_ policy: Policy, _ secrets: ReadSecrets, _ prices: PriceBook, askedBy asker: String?) {
    if policy.listen != broker.policy.listen || policy.admin.listen != broker.policy.admin.listen
      || (policy.tls == nil) != (broker.policy.tls == nil)
    {
      logger.warning("listen, admin.listen and whether there is tls change only with a restart")
    }
    if policy.store != broker.policy.store || policy.durability != broker.policy.durability {
      logger.warning("store and durability change only with a restart")
    }
    PolicyReload.configure(upstream, policy, relativeTo: options.policyFile)
    let difference = PolicyDifference(from: broker.policy, to: policy)
    budgetHistory.ask(broker.replacePolicy(policy, secrets: secrets.keys, prices: prices, asksPast: true))
    broker.changed(
      .policy, name: options.policyFile ?? "built-in", state: .reloaded, before: difference.before,
      after: difference.after, askedBy: asker)
    webhooks.configure(policy, secrets.webhooks)
    watchCalls(policy)
    if let level = policy.log.level { setLogLevel(level) }
    watchSecrets()
    logger.info("policy reloaded", metadata: ["file": "\(options.policyFile ?? "built-in")"])
  }

  /// Watches the directories of files with secrets, because such files are replaced by renaming or by changing a link.
  private func watchSecrets() {
    var directories: Set<String> = []
    let sources =
      broker.policy.providers.flatMap { $0.keys.map(\.source) } + broker.policy.webhooks.compactMap(\.secret)
    for case .file(let path) in sources {
      let resolved = PolicyLoading.resolved(path, relativeTo: options.policyFile)
      directories.insert(URL(fileURLWithPath: resolved).deletingLastPathComponent().path)
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
        if broker.replaceSecrets(secrets.keys) { logger.info("secrets changed") }
        webhooks.configure(broker.policy, secrets.webhooks)
      case .failure(let error):
        logger.error("secrets cannot be read, the old ones stay", metadata: ["mistake": "\(error)"])
      }
    }
  }

  static func certificate(_ policy: Policy, relativeTo file: String?) -> CertificateFollower.Files? {
    policy.tls.map {
      CertificateFollower.Files(
        certificate: PolicyLoading.resolved($0.certificate, relativeTo: file),
        key: PolicyLoading.resolved($0.key, relativeTo: file))
    }
  }

  static func load(_ options: BrokerProcess.Options) throws -> Policy {
    var policy = try options.policyFile.map { try PolicyLoading.policy(at: $0) } ?? PolicyLoading.builtIn()
    try options.adjust(&policy)
    return policy
  }

  static func configure(_ upstream: CurlUpstream, _ policy: Policy, relativeTo file: String?) {
    for provider in policy.providers {
      upstream.configure(
        provider: provider.id,
        ProviderTransport(
          caFile: provider.caFile.map { PolicyLoading.resolved($0, relativeTo: file) },
          httpVersion: provider.httpVersion == "2" ? .http2OverTLS : .http1_1,
          maxIdleConnections: max(64, provider.limits.concurrency ?? 0)))
    }
  }
}
