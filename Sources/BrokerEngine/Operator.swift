// The operator's questions and commands: the policy and its secrets, keys and breakers, budgets, the drain, and the
// state of everything.
import AdmissionCore
import HTTPMessage
import LedgerVocabulary
import PolicyFile
import Pricing
import TextForms

public final class Operator {
  let services: EngineServices
  private let models: ModelCatalog
  private let draining: Draining
  /// When the broker started, in monotonic nanoseconds.
  public let startInstant: UInt64

  init(_ services: EngineServices, models: ModelCatalog, draining: Draining) {
    self.services = services
    self.models = models
    self.draining = draining
    startInstant = services.time.now
  }

  // MARK: The policy

  public var policy: Policy { services.rules.now.policy }

  /// Replaces the policy by another checked one; requests that are under way go on.
  /// - Parameters:
  ///   - prices: nil keeps the current ones.
  ///   - asksPast: true where the caller asks the ledger the returned question. Until `restore(spent:isLast:)` gives
  ///     the answer, new budgets admit nothing.
  /// - Returns: the question for the ledger; nil where nothing is new, or where `asksPast` is false.
  @discardableResult
  public func replacePolicy(_ policy: Policy, secrets: KeySecrets, prices: PriceBook? = nil, asksPast: Bool = false)
    -> PastQuestion?
  {
    let old = services.rules.now
    var secrets = secrets
    _ = secrets.inheritGenerations(from: old.secrets)
    let wall = services.time.wallNow
    let admission = policy.admission(secrets, at: wall)
    secrets.forgetPredecessors()
    let rules = BrokerRules(policy: policy, secrets: secrets, prices: prices ?? old.prices)
    services.rules.replace(with: rules)
    services.counters.replaceLabels(LabelPolicy(policy: policy, prices: rules.prices.list))
    services.memory.limit = policy.memory
    models.forget()
    services.providers.keyRefusals.retain(of: policy)
    // Windows come first, since running calls are counted in the current ones.
    services.calendars.budgetsChanged(admission)
    services.dispatcher.replacePolicy(admission, asksPast: asksPast) { $0.candidatesAnew(rules, at: wall) }
    services.providers.watch.policyChanged(snapshot())
    services.calendars.prices.pricesChanged()
    services.calendars.keys.policyChanged(policy, told: wall)
    guard asksPast else { return nil }
    // Afterwards the ledger has everything that has ended so far.
    services.clerk.handOver()
    return pastQuestion(of: admission, endedBefore: WallInstant(nanoseconds: wall))
  }

  private func pastQuestion(of policy: AdmissionPolicy, endedBefore cut: WallInstant) -> PastQuestion? {
    let untold = services.dispatcher.untoldBudgets
    let budgets = services.calendars.budgets
    let spans = budgets.spans(
      policy.budgetWindows.compactMap { window, _ in untold[window].map { (window, $0) } })
    let dayBegan = budgets.dayBegan
    guard !spans.isEmpty || dayBegan != nil else { return nil }
    return PastQuestion(spans: spans, dayBegan: dayBegan, endedBefore: cut)
  }

  /// Takes up secrets that changed outside the policy. Returns false where none did.
  @discardableResult public func replaceSecrets(_ secrets: KeySecrets) -> Bool {
    let old = services.rules.now
    var secrets = secrets
    guard secrets.inheritGenerations(from: old.secrets) else { return false }
    let admission = old.policy.admission(secrets, at: services.time.wallNow)
    secrets.forgetPredecessors()
    services.rules.replace(with: BrokerRules(policy: old.policy, secrets: secrets, prices: old.prices))
    models.forgetFailures()
    services.dispatcher.replacePolicy(admission)
    services.providers.watch.policyChanged(snapshot())
    return true
  }

  // MARK: Keys and breakers

  /// - Parameter askedBy: the operator that the ledger names for the changes that follow.
  public func command(_ command: OperatorCommand, askedBy: String? = nil) {
    services.news.asker = askedBy
    services.dispatcher.command(command)
    services.news.asker = nil
  }

  /// Tries each key once where the policy has `check_keys`. A refusal gives a warning, and calls do not wait for the
  /// checks. Keys that are not valid yet, or have expired, are not tried.
  public func checkKeys() {
    let wall = services.time.wallNow
    let keys = policy.providers.filter(\.checkKeys).flatMap { provider in
      provider.keys.filter { KeyStanding($0, at: wall).isInForce }.map {
        RefusedKey(provider: ProviderID(provider.id), key: KeyID($0.id))
      }
    }
    // All of them first, so that one report says it where several are refused.
    for key in keys { services.providers.watch.checkBegan(key) }
    for key in keys { services.providers.checkKey(key, for: services.dispatcher) }
  }

  /// The providers that have no key left which they take.
  public var refusedProviders: [RefusedProvider] { services.providers.watch.refused }

  /// A key's secret as it may be shown, such as `•••abcd`; nil where there is none.
  public func secretMark(provider: String, key: String) -> String? {
    services.rules.now.secrets.mark(provider: provider, key: key)
  }

  /// The state of a key by its dates; nil where there is no such key.
  public func standing(provider: String, key: String) -> KeyStanding? {
    policy.providers.first { $0.id == provider }?.keys.first { $0.id == key }.map {
      KeyStanding($0, at: services.time.wallNow)
    }
  }

  // MARK: The end

  public var isDraining: Bool { draining.hasBegun }

  /// Stops admitting. Does nothing where a drain has already begun.
  /// - Parameters:
  ///   - time: when `abortAll` will be called: waiting requests that cannot be served by then are refused now.
  ///   - report: called once, when nothing is queued, nothing runs and every answer has been written to its socket.
  public func drain(within time: Duration? = nil, then report: @escaping () -> Void = {}) {
    let isFirst = draining.begin { [unowned self] in
      saveLearned()
      report()
    }
    guard isFirst else { return }
    services.dispatcher.drain(
      until: time.map { services.time.instant + Span(nanoseconds: Int64(clamping: $0.wholeNanoseconds)) })
  }

  /// The drain's time is up: refuses waiting requests and breaks running ones off, each with an answer that says so
  /// where one can still be written.
  public func abortAll() {
    let all = services.requests.exchanges
    // Waiting requests first, so that a place freed by a broken-off call is granted to none of them.
    for exchange in all where exchange.record.state == .queued { exchange.drainTimedOut() }
    for exchange in all where exchange.record.state != .ended { exchange.drainTimedOut() }
  }

  /// Writes to the ledger what was learned since the last time.
  public func saveLearned() { services.dispatcher.saveLearned() }

  // MARK: How it stands

  public func snapshot() -> AdmissionSnapshot { services.dispatcher.snapshot() }
  /// What the core has learned from providers.
  public func learned() -> LearnedValues { services.dispatcher.learned() }
  /// Live and recent requests.
  public var requests: RequestList { services.requests }
  public var metrics: BrokerMetrics { services.counters.metrics }
  public var memory: MemoryAccount { services.memory }
  /// Why the ledger cannot be written, and no new work is taken; nil where all is well.
  public var ledgerObstacle: String? { services.clerk.obstacle }
  /// The number of leases that were dropped unsettled; anything but 0 is our bug.
  public var abandonedLeases: Int { services.dispatcher.abandonedLeases }

  /// How many bugs of ours of this kind were met since the start.
  public func ourBugs(_ kind: OurBug) -> Int {
    switch kind {
    case .abandonedLease: abandonedLeases
    case .refusedEntry: services.clerk.putAside
    case .staleHead, .endlessPass: metrics.ourBugs[kind, default: 0]
    }
  }

  /// Monotonic nanoseconds.
  public var now: UInt64 { services.time.now }
  /// Nanoseconds since 1970 for a monotonic instant.
  public func wallNanoseconds(at instant: UInt64) -> Int64 { services.time.wall(at: instant) }
  /// An instant of the core's clock as RFC 3339 in UTC, to the nearest second.
  public func text(ofWindowEnd instant: Instant) -> String { services.time.text(ofWindowEnd: instant) }

  // MARK: News

  /// Calls the listener with all news from now on.
  public func listen(_ listener: @escaping (News) -> Void) { services.news.listen(listener) }

  /// Writes to the ledger that the broker or its policy changed, and tells the listeners.
  /// - Parameter askedBy: the operator who asked for it; nil where none did.
  public func changed(
    _ subject: LedgerChange.Subject, name: String, state: LedgerChange.State, reason: String = "",
    before: String? = nil, after: String? = nil, askedBy: String? = nil
  ) {
    services.news.asker = askedBy
    services.news.changed(subject, name: name, state: state, reason: reason, before: before, after: after)
    services.news.asker = nil
  }
}
