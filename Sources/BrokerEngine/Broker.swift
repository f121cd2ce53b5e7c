// The broker: takes requests from the endpoint, asks the core, calls the providers, and keeps the books.
// Everything runs on the loop's thread.
import AdmissionCore
import EventLoop
import HTTPMessage
import LedgerVocabulary
import PolicyFile
import Pricing
import ProviderWire
import TextForms

public final class Broker: HTTPHandler, DispatcherDelegate {
  let clock: BrokerClock
  let upstream: any Upstream
  let dispatcher: Dispatcher
  /// What the process holds of clients' making; the endpoint keeps the same account.
  public let memory: MemoryAccount
  /// Memory for reading JSON, shared by all readers and taps of the loop.
  let scratch = WireScratch()
  lazy var reader = RequestReader(scratch: scratch)
  private(set) var rules: BrokerRules
  private let hash: ([UInt8]) -> [UInt8]
  private let requestEnded: (RequestRecord) -> Void
  private let noticed: (Notice) -> Void
  /// Who has been told of: a provider that counts wrong does so in each of its answers.
  private var toldNumbers: Set<ImpossibleSource> = []
  private struct ImpossibleSource: Hashable {
    var provider: ProviderID
    var number: ImpossibleNumber
  }
  let loop: EventLoop?
  let books: Books
  private(set) lazy var budgets = BudgetKeeper(
    loop: loop, now: { [unowned self] in clock.monotonic() }, wall: { [unowned self] in wallNanoseconds(at: $0) },
    tell: { [unowned self] in dispatcher.tell($0) })
  /// Armed while something is learned that the books do not have.
  var learnedTimer: LoopTimer?
  var savesLearned = false
  /// Work that is charged when its end is read.
  lazy var works: WorkBook = {
    var book = WorkBook()
    book.keep = { [unowned self] in books.remembered($0) }
    return book
  }()
  private(set) lazy var keyCalendar = KeyCalendar(
    loop: loop, wall: { [unowned self] in wallNanoseconds(at: now) },
    tell: { [unowned self] changes, isOther in keysChanged(changes, isOther) })
  private(set) lazy var priceClock = PriceClock(
    loop: loop, wall: { [unowned self] in wallNanoseconds(at: now) },
    nextChange: { [unowned self] in rules.prices.nextChange(after: $0) },
    isWaitedFor: { [unowned self] in !exchanges.isEmpty }, tell: { [unowned self] in pricesChanged() })
  private var wallClock: WallClock
  private var ids: ULIDMaker
  private(set) lazy var models = ModelCatalog(broker: self)
  /// Providers that refused to be asked for usage, by the monotonic nanoseconds until which they are not asked again.
  private var usageRefusals: [String: UInt64] = [:]
  private var exchanges: [RequestID: Exchange] = [:]
  /// What providers said of keys that they refused, and our own calls that are finding out.
  var keyRefusals = KeyRefusals()
  var keyChecks: [RefusedKey: KeyCheck] = [:]
  public internal(set) var metrics = BrokerMetrics()
  private var labels: LabelPolicy
  /// Live and recent requests.
  public private(set) var book = RequestBook(capacity: 1000)
  private var bookShare: MemoryShare
  public private(set) var isDraining = false
  /// Called once after `drain()`, when nothing is queued and nothing runs.
  public var onDrained: (() -> Void)?
  private let startedAt: UInt64
  /// Exchanges that the endpoint still holds: some of them have their outcome and wait for a slow client.
  private var openExchanges = 0
  private var coreIsDrained = false
  /// While an operator's command is carried out: who gave it.
  private var asker: String?

  public init(policy: Policy, secrets: KeySecrets, parts: BrokerParts) {
    clock = parts.clock
    upstream = parts.upstream
    hash = parts.hash
    requestEnded = parts.requestEnded
    noticed = parts.noticed
    loop = parts.loop
    memory = parts.memory
    memory.limit = policy.memory
    bookShare = MemoryShare(parts.memory, .records)
    startedAt = parts.clock.monotonic()
    wallClock = WallClock(parts.clock)
    ids = ULIDMaker(seed: parts.clock.seed)
    rules = BrokerRules(policy: policy, secrets: secrets, prices: parts.prices)
    labels = LabelPolicy(policy: policy, prices: parts.prices.list)
    books = Books(parts.ledger)
    let wall = wallClock.nanoseconds(at: startedAt)
    dispatcher = Dispatcher(
      policy: Broker.admission(policy, secrets, at: wall), clock: parts.clock, loop: parts.loop)
    dispatcher.delegate = self
    budgets.isWaitedFor = { [unowned self] in !exchanges.isEmpty }
    tellCalendar(of: policy.admission)
    keyCalendar.policyChanged(policy, told: wall)
  }

  private func tellCalendar(of policy: AdmissionPolicy) {
    budgets.policyChanged(policy.budgetWindows.map(\.window), needsDays: policy.hasDayLimits)
  }

  // MARK: For the operator

  public var policy: Policy { rules.policy }

  /// Puts a checked policy in the place of the old one; requests that are under way go on.
  /// - Parameters:
  ///   - prices: nil keeps the present ones.
  ///   - asksPast: the books will be asked what this returns. Until `restore(spent:isLast:)` tells what they say, nobody is admitted by a
  ///     budget that is new.
  /// - Returns: what to ask; nil where nothing is new, or where nobody asks.
  @discardableResult
  public func replacePolicy(_ policy: Policy, secrets: KeySecrets, prices: PriceBook? = nil, asksPast: Bool = false)
    -> PastQuestion?
  {
    var secrets = secrets
    _ = secrets.succeed(rules.secrets)
    let wall = wallNanoseconds(at: now)
    let admission = Broker.admission(policy, secrets, at: wall)
    secrets.forgetPredecessors()
    rules = BrokerRules(policy: policy, secrets: secrets, prices: prices ?? rules.prices)
    var labels = LabelPolicy(policy: policy, prices: rules.prices.list)
    labels.succeed(self.labels)
    self.labels = labels
    memory.limit = policy.memory
    models.forget()
    keyRefusals.retain(of: policy)
    // Windows first: what runs is counted in those that hold now.
    tellCalendar(of: admission)
    dispatcher.replacePolicy(admission, candidates: candidatesAnew(), asksPast: asksPast)
    priceClock.pricesChanged()
    keyCalendar.policyChanged(policy, told: wall)
    return asksPast ? pastQuestion(of: admission, endedBefore: WallInstant(nanoseconds: wall)) : nil
  }

  /// Where those that wait or run may go, and at which price, under the newest rules; who keeps what it has is not named.
  private func candidatesAnew() -> [RequestID: [Candidate]] { exchanges.compactMapValues { $0.candidatesAnew() } }

  /// It is another day, or a cheaper hour, for some price.
  private func pricesChanged() {
    let repriced = exchanges.compactMapValues { $0.isRepriced ? $0.candidatesAnew() : nil }
    guard !repriced.isEmpty else { return }
    dispatcher.replacePolicy(
      Broker.admission(rules.policy, rules.secrets, at: wallNanoseconds(at: now)), candidates: repriced)
  }

  private func pastQuestion(of policy: AdmissionPolicy, endedBefore cut: WallInstant) -> PastQuestion? {
    let untold = dispatcher.untoldBudgets
    let spans = budgets.spans(
      policy.budgetWindows.compactMap { window, _ in untold[window].map { (window, $0) } })
    let dayBegan = budgets.dayBegan
    guard !spans.isEmpty || dayBegan != nil else { return nil }
    return PastQuestion(spans: spans, dayBegan: dayBegan, endedBefore: cut)
  }

  /// Takes up secrets that changed outside the policy; false where none did.
  @discardableResult public func replaceSecrets(_ secrets: KeySecrets) -> Bool {
    var secrets = secrets
    guard secrets.succeed(rules.secrets) else { return false }
    let admission = Broker.admission(rules.policy, secrets, at: wallNanoseconds(at: now))
    secrets.forgetPredecessors()
    rules = BrokerRules(policy: rules.policy, secrets: secrets, prices: rules.prices)
    models.forgetFailures()
    dispatcher.replacePolicy(admission)
    return true
  }

  /// A key's secret as it may be shown: `•••abcd`; nil where there is none.
  public func secretMark(provider: String, key: String) -> String? { rules.secrets.mark(provider: provider, key: key) }

  /// Some keys' days have begun or ended, or will soon.
  private func keysChanged(_ changes: [KeyCalendar.Change], _ isOther: Bool) {
    if isOther {
      dispatcher.replacePolicy(Broker.admission(rules.policy, rules.secrets, at: wallNanoseconds(at: now)))
    }
    for change in changes {
      dispatcherNoted(
        .keyChanged(ProviderID(change.provider), KeyID(change.key), state: change.state, reason: change.reason))
      if change.begins, rules.provider(change.provider)?.policy.checkKeys == true {
        checkKey(RefusedKey(provider: ProviderID(change.provider), key: KeyID(change.key)))
      }
    }
  }

  /// How a key stands to its dates; nil where there is no such key.
  public func standing(provider: String, key: String) -> KeyStanding? {
    rules.policy.providers.first { $0.id == provider }?.keys.first { $0.id == key }.map {
      KeyStanding($0, at: wallNanoseconds(at: now))
    }
  }

  /// What the core needs of a policy, with the secrets' generations in place of the secrets, and the keys that are in force
  /// at `wall` nanoseconds since 1970.
  private static func admission(_ policy: Policy, _ secrets: KeySecrets, at wall: Int64) -> AdmissionPolicy {
    var admission = policy.admission
    for (number, provider) in policy.providers.enumerated() {
      for (index, key) in provider.keys.enumerated() {
        admission.providers[number].keys[index].isInForce = KeyStanding(key, at: wall).isInForce
      }
    }
    for provider in admission.providers.indices {
      for key in admission.providers[provider].keys.indices {
        admission.providers[provider].keys[key].secretGeneration = secrets.generation(
          provider: admission.providers[provider].id.name, key: admission.providers[provider].keys[key].id.name)
        admission.providers[provider].keys[key].predecessor = secrets.predecessor(
          provider: admission.providers[provider].id.name, key: admission.providers[provider].keys[key].id.name
        ).map { KeyID($0) }
      }
    }
    return admission
  }

  /// Stops admitting. `onDrained` follows when nothing is left.
  /// - Parameter time: after this `abortAll` will be called: who waits for what cannot be over by then is refused now.
  public func drain(within time: Duration? = nil) {
    guard !isDraining else { return }
    isDraining = true
    dispatcher.drain(until: time.map { clock.instant + Span(nanoseconds: Int64(clamping: $0.wholeNanoseconds)) })
  }

  /// The drain's time is up: what still waits is refused, what still runs is broken off, each with an answer that says so where one
  /// can still be written.
  public func abortAll() {
    let all = exchanges.values.sorted { $0.record.id < $1.record.id }
    // The waiting ones first: a place that a broken-off call frees is for nobody any more.
    for exchange in all where exchange.record.state == .queued { exchange.drainTimedOut() }
    for exchange in all where exchange.record.state != .ended { exchange.drainTimedOut() }
  }

  /// - Parameter askedBy: who stands in the books for what follows from it.
  public func command(_ command: OperatorCommand, askedBy: String? = nil) {
    asker = askedBy
    dispatcher.command(command)
    asker = nil
  }
  public func snapshot() -> AdmissionSnapshot { dispatcher.snapshot() }
  public func blocker(of request: RequestID) -> Blocker? { dispatcher.blocker(of: request) }
  /// Why the ledger cannot be written, and no new work is taken; nil where all is well.
  public var ledgerObstacle: String? { books.obstacle }
  /// Leases that were dropped unsettled; anything but 0 is our bug.
  public var abandonedLeases: Int { dispatcher.abandonedLeases }

  /// What should be impossible and was met since the start.
  public func ourBugs(_ kind: OurBug) -> Int {
    switch kind {
    case .abandonedLease: abandonedLeases
    case .refusedEntry: books.putAside
    case .staleHead, .endlessPass: metrics.ourBugs[kind, default: 0]
    }
  }
  /// Monotonic nanoseconds.
  public var now: UInt64 { clock.monotonic() }
  /// Nanoseconds since 1970 for a monotonic instant.
  public func wallNanoseconds(at instant: UInt64) -> Int64 { wallClock.nanoseconds(at: instant) }
  /// Since when the broker runs, as monotonic nanoseconds.
  public var startInstant: UInt64 { startedAt }

  /// SHA-256.
  func digest(_ bytes: [UInt8]) -> [UInt8] { hash(bytes) }

  func epochSeconds(at instant: UInt64) -> Int64 { wallClock.nanoseconds(at: instant) / 1_000_000_000 }

  // MARK: HTTPHandler

  public func exchangeBegan(_ downstream: any HTTPExchange) {
    openExchanges += 1
    let head = downstream.head
    let record = newRecord(method: head.method, path: head.path)
    if refuseForItsKind(downstream, record) { return }
    let target: RequestTarget
    do {
      target = try RequestTarget(head.target)
    } catch {
      return refuse(downstream, record, .rejectedMalformed, dialect: .openai, message: error.message)
    }
    let path = target.path
    record.path = String(path)
    if target.provider == nil, let answer = Probes.presence(head, path: path, isDraining: isDraining) {
      return self.answer(downstream, record, answer)
    }
    if let flaw = PathFacts.flaw(in: path) {
      return refuse(
        downstream, record, .rejectedMalformed, dialect: .openai,
        message: "the path has \(flaw), by which servers could take it for another one")
    }
    guard let facts = PathFacts.read(path: path, anyPath: target.provider != nil)?.facts(for: head.method) else {
      return refuseUnknownPath(downstream, record, path: path)
    }
    guard let caller = rules.caller(head: head, target: target, hash: hash) else {
      return refuse(
        downstream, record, .rejectedUnauthenticated, dialect: facts.dialect,
        message: "The client key is missing or unknown. Give a key that the operator made with 'tollgate tenant-key'.")
    }
    record.tenant = caller.name
    record.clientKey = caller.key
    let exchange = Exchange(
      broker: self, downstream: downstream, record: record, target: target, path: facts, rules: rules, caller: caller)
    downstream.context = exchange
    exchanges[record.id] = exchange
    book.began(record)
    if isDraining {
      exchange.reject(
        .rejectedDraining, "The broker is shutting down and takes no new requests.", retryAfter: .seconds(1))
    } else if memory.isExhausted {
      exchangeCrowded(downstream)
    }
  }

  public func exchangeReady(_ downstream: any HTTPExchange) {
    guard let exchange = downstream.context as? Exchange else { return }
    if exchange.head.method == "GET", isModelList(exchange) {
      models.answer(exchange)
      return
    }
    exchange.bodyCompleted()
  }

  /// Its class as far as the head tells: the body, and with it the model, is not here yet.
  public func isUrgent(_ downstream: any HTTPExchange) -> Bool {
    (downstream.context as? Exchange)?.isUrgentByHead ?? false
  }

  public func exchangeCrowded(_ downstream: any HTTPExchange) {
    (downstream.context as? Exchange)?.reject(
      .rejectedNoCapacity, ErrorText.memoryFull, retryAfter: ErrorText.memoryFullRetry)
  }

  public func exchangeRefused(_ downstream: any HTTPExchange, _ refusal: RequestRefusal) {
    let (outcome, message) = Broker.words(refusal)
    (downstream.context as? Exchange)?.reject(outcome, message, status: refusal.status)
  }

  /// True for the list itself, false for `/v1/models/{id}`. One provider's own list goes on as it is, but to those who may
  /// use some models only.
  private func isModelList(_ exchange: Exchange) -> Bool {
    if let provider = exchange.target.provider, exchange.rules.provider(provider) == nil { return false }
    if exchange.isBoundToModels { return PathFacts.listing(exchange.target.path) == .models }
    return exchange.path.endpoint == .models && exchange.path.modelInPath == nil && exchange.target.provider == nil
      && exchange.target.path.hasSuffix("/models")
  }

  public func exchangeDrained(_ downstream: any HTTPExchange) {
    (downstream.context as? Exchange)?.drained()
  }

  public func exchangeEnded(_ downstream: any HTTPExchange, _ ending: ExchangeEnding) {
    openExchanges -= 1
    if let exchange = downstream.context as? Exchange {
      downstream.context = nil
      if ending != .completed { exchange.clientLeft() }
    }
    reportIfDrained()
  }

  public func refusal(
    _ refusal: RequestRefusal, target: String?
  ) -> (fields: [(name: String, value: String)], body: [UInt8]) {
    let target = RequestTarget(readable: target ?? "")
    let dialect = dialect(of: target)
    let record = newRecord(method: "", path: target.path)
    let (outcome, message) = Broker.words(refusal)
    let answer = BrokerError.refusal(
      status: refusal.status, dialect: dialect, message: message, requestID: record.text)
    finish(record, outcome, status: refusal.status, message: message)
    return (answer.fields + TollgateFields.pairs(record, outcome: outcome), answer.body)
  }

  private static func words(_ refusal: RequestRefusal) -> (Outcome, String) {
    switch refusal {
    case .malformed(let reason), .timedOut(let reason), .headTooLarge(let reason), .unsupported(let reason):
      (.rejectedMalformed, reason)
    case .bodyTooLarge(let limit):
      (.rejectedTooLarge, "The request body is larger than the limit of \(limit) bytes.")
    case .overloaded(let reason): (.rejectedNoCapacity, reason)
    }
  }

  // MARK: Refusals before there is an exchange

  /// What needs no look at the path: WebSockets, preflights, pages that may not call. True where that was the answer.
  private func refuseForItsKind(_ downstream: any HTTPExchange, _ record: RequestRecord) -> Bool {
    let head = downstream.head
    if Probes.isWebSocketUpgrade(head.fields) {
      refuse(
        downstream, record, .rejectedUpgrade, dialect: dialect(of: RequestTarget(readable: head.target)),
        message: "WebSockets are not spoken here: send the request over HTTP/1.1 or HTTP/2, and ask for a stream")
      return true
    }
    // Who must say who it is, or opens a file, is no page that happens to run on this machine.
    if !rules.callersAreKnown, downstream.peer != "unix",
      head.method != "OPTIONS" || !head.fields.contains("origin"),
      let objection = rules.objection(to: head)
    {
      refuse(
        downstream, record, .rejectedOrigin, dialect: dialect(of: RequestTarget(readable: head.target)),
        message: ErrorText.refusedSite(objection))
      return true
    }
    guard head.method == "OPTIONS" else { return false }
    answer(downstream, record, Probes.options(head, rules.sites))
    return true
  }

  private func dialect(of target: RequestTarget) -> Dialect {
    PathFacts.read(path: target.path, anyPath: true)?.dialect ?? .openai
  }

  /// A probe's answer: of a request that is none.
  private func answer(_ downstream: any HTTPExchange, _ record: RequestRecord, _ probe: Probes.Answer) {
    metrics.probes += 1
    var fields = probe.fields
    TollgateFields.append(to: &fields, record, outcome: nil)
    if downstream.head.method != "OPTIONS" {
      CrossOrigin.append(to: &fields, origin: rules.readableOrigin(downstream.head))
    }
    fields.append(name: "content-length", value: String(probe.body.count))
    downstream.respond(ResponseHead(status: probe.status, fields: fields))
    downstream.send(probe.body)
    downstream.finish(trailers: nil)
  }

  private func newRecord(method: String, path: Substring) -> RequestRecord {
    let now = clock.monotonic()
    let wall = wallClock.nanoseconds(at: now)
    return RequestRecord(
      id: ids.next(wallNanoseconds: wall), method: method, path: String(path), priority: rules.policy.defaultPriority,
      arrivedAt: now, arrivedAtWall: wall)
  }

  private func refuse(
    _ downstream: any HTTPExchange, _ record: RequestRecord, _ outcome: Outcome, dialect: Dialect, message: String
  ) {
    let answer = BrokerError.answer(
      outcome: outcome, dialect: dialect, endpoint: .other, message: message, retryAfter: nil, requestID: record.text)
    respond(downstream, record, outcome, answer)
    finish(record, outcome, status: answer.status, message: message)
  }

  private func refuseUnknownPath(_ downstream: any HTTPExchange, _ record: RequestRecord, path: Substring) {
    let answer = BrokerError.unknownPath(String(path), requestID: record.text)
    respond(downstream, record, .rejectedModel, answer)
    finish(record, .rejectedModel, status: answer.status, message: "unknown path")
  }

  private func respond(
    _ downstream: any HTTPExchange, _ record: RequestRecord, _ outcome: Outcome, _ answer: BrokerError.Answer
  ) {
    var fields = HeaderFields(answer.fields)
    TollgateFields.append(to: &fields, record, outcome: outcome)
    if outcome != .rejectedOrigin { CrossOrigin.append(to: &fields, origin: rules.readableOrigin(downstream.head)) }
    downstream.respond(status: answer.status, fields: fields.pairs, body: answer.body)
  }

  private func finish(_ record: RequestRecord, _ outcome: Outcome, status: Int, message: String) {
    record.outcome = outcome
    record.status = status
    record.message = message
    record.state = .ended
    record.endedAt = clock.monotonic()
    keep(record)
    count(record)
  }

  /// Into the list of those that ended.
  private func keep(_ record: RequestRecord) {
    book.ended(record)
    bookShare.hold(book.textBytes)
  }

  // MARK: For exchanges

  /// A provider does not know `stream_options`: for an hour its streams are not asked for usage.
  func refusesUsage(_ provider: String) {
    usageRefusals[provider] = clock.monotonic() &+ 3600 * 1_000_000_000
  }

  func mayAskForUsage(_ provider: String) -> Bool {
    guard let until = usageRefusals[provider] else { return true }
    return clock.monotonic() >= until
  }

  func submit(_ ticket: Ticket, of exchange: Exchange) {
    budgets.check(at: exchange.record.submittedAt ?? clock.monotonic())
    if !rules.prices.isStill { priceClock.somebodyWaits() }
    dispatcher.submit(ticket)
  }

  /// The outcome is set: out of the live table, into the books; the client's last bytes follow when they are safe there.
  func ended(_ exchange: Exchange) {
    let record = exchange.record
    exchanges[record.id] = nil
    keep(record)
    count(record)
    books.concluded(exchange, at: wallNanoseconds(at: record.endedAt ?? clock.monotonic()))
  }

  private func count(_ record: RequestRecord) {
    guard let outcome = record.outcome else { return }
    metrics.requests[
      BrokerMetrics.RequestLabels(provider: record.provider ?? "none", priority: record.priority, outcome: outcome),
      default: 0] += 1
    requestEnded(record)
  }

  /// - Parameter cost: zero where nobody knows it.
  func count(_ usage: Usage, _ cost: Money, of exchange: Exchange) {
    let record = exchange.record
    let provider = record.provider ?? "none"
    let model = labels.model(
      record.model, tenant: record.tenant, isPriced: exchange.isPriced, wasUsed: !usage.isEstimated)
    metrics.count(usage, cost, provider: provider, model: model, tenant: labels.tenant(record.tenant))
    if !usage.isEstimated, record.estimatedInput > 0, usage.inputTokens > 0 {
      metrics.count(
        estimated: record.estimatedInput.value, actual: usage.inputTokens.value, provider: provider, model: model)
    }
  }

  // MARK: DispatcherDelegate

  func dispatcherGranted(_ grant: Grant, lease: consuming Lease) {
    guard let exchange = exchanges[grant.request] else {
      // The exchange ended and its cancellation is on the way: give the place back.
      return lease.settle(Settlement(verdict: .clientLeft, wasSent: false))
    }
    exchange.granted(grant, lease: lease)
  }

  func dispatcherConcluded(_ conclusion: Conclusion) {
    guard let exchange = exchanges[conclusion.request] else { return }
    if conclusion.outcome == .evictedMaxWait {
      metrics.queueWait[Int(exchange.record.priority.rawValue)].observe(conclusion.queued.inSeconds)
    }
    exchange.conclude(conclusion)
  }

  func dispatcherWantsCheck(_ key: RefusedKey) { checkKey(key) }

  func dispatcherNoted(_ notice: Notice) {
    switch notice {
    case .waiting(let request, let blocker): exchanges[request]?.waiting(blocker)
    case .promoted(let request): exchanges[request]?.promoted()
    case .requeued(let request, _, let verdict):
      if let exchange = exchanges[request] {
        metrics.upstreamRetries[
          BrokerMetrics.RetryLabels(provider: exchange.record.provider ?? "none", reason: verdict.name), default: 0] +=
          1
        exchange.requeued()
      }
    case .demoted(let request, let budget): exchanges[request]?.demoted(by: budget)
    case .breakerChanged(let provider, let model, let state, let reason):
      writeDown(
        .breaker, name: model.map { "\(provider)/\($0)" } ?? provider.name, state: state, reason: reason)
      noticed(notice)
    case .keyChanged(let provider, let key, let state, let reason):
      writeDown(.key, name: "\(provider)/\(key)", state: state, reason: reason)
      noticed(notice)
    case .ourBug(let kind):
      metrics.ourBugs[kind, default: 0] += 1
      if metrics.ourBugs[kind] == 1 { noticed(notice) }
    case .impossibleNumber(let provider, let number): foundImpossible(number, from: provider)
    default: noticed(notice)
    }
  }

  /// Counts a number that cannot be true, and tells of the first of its sort that the provider gives.
  func foundImpossible(_ number: ImpossibleNumber, from provider: ProviderID) {
    metrics.impossibleNumbers[number, default: 0] += 1
    if toldNumbers.insert(ImpossibleSource(provider: provider, number: number)).inserted {
      noticed(.impossibleNumber(provider, number))
    }
  }

  /// Notes in the books that something changed, with the operator who asked for it where one did.
  public func writeDown(_ subject: LedgerChange.Subject, name: String, state: String, reason: String = "") {
    books.changed(
      LedgerChange(
        at: WallInstant(nanoseconds: wallNanoseconds(at: now)), subject: subject, name: name, state: state,
        reason: reason, askedBy: asker))
  }

  func dispatcherDrained() {
    coreIsDrained = true
    reportIfDrained()
  }

  /// Drained is when the core has nothing left and every answer has gone to its socket.
  private func reportIfDrained() {
    guard coreIsDrained, openExchanges == 0, let report = onDrained else { return }
    saveLearned()
    onDrained = nil
    report()
  }
}
