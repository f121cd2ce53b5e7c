// Where requests come in: each gets its record, its caller and its exchange, or an answer at once.
//
// Promises: what can be refused by the head is refused at the head: ambiguous framing, unknown paths, unknown callers,
// pages of other sites. Probes are answered here and counted, but are no requests. Everything else goes to its
// exchange.
import AdmissionCore
import HTTPMessage
import PolicyFile
import ProviderWire

public final class FrontDoor: HTTPHandler {
  private let services: EngineServices
  private let draining: Draining
  private let models: ModelCatalog
  private let hash: ([UInt8]) -> [UInt8]
  private var ids: ULIDMaker

  /// A request target with what is known about it.
  private final class KnownTarget {
    let text: String
    let target: RequestTarget
    let facts: PathFacts

    init(_ text: String, _ target: RequestTarget, _ facts: PathFacts) {
      self.text = text
      self.target = target
      self.facts = facts
    }
  }
  /// The target of the previous request: most often the next request has the same. It is not kept if it has a query,
  /// which may hold a credential, or one of our prefixes.
  private var latest: KnownTarget?

  /// - Parameter hash: SHA-256.
  init(_ services: EngineServices, draining: Draining, models: ModelCatalog, hash: @escaping ([UInt8]) -> [UInt8]) {
    self.services = services
    self.draining = draining
    self.models = models
    self.hash = hash
    ids = ULIDMaker(seed: services.time.seed)
  }

  // MARK: HTTPHandler

  public func exchangeBegan(_ downstream: any HTTPExchange) {
    draining.exchangeBegan()
    let rules = services.rules.now
    let head = downstream.head
    let record = newRecord(method: head.method, path: head.path)
    if let tracer = services.tracer { record.traced(tracer.begin(head.fields)) }
    if refuseForItsKind(downstream, record, rules) { return }
    let known = latest.flatMap { $0.text.hasSameBytes(as: head.target) ? $0 : nil }
    let target: RequestTarget
    do {
      if let known { target = known.target } else { target = try RequestTarget(head.target) }
    } catch {
      return refuse(downstream, record, .rejectedMalformed, dialect: .openai, message: error.message)
    }
    let path = target.path
    record.asked(for: path)
    if target.provider == nil, let answer = Probes.presence(head, path: path, isDraining: draining.hasBegun) {
      return self.answer(downstream, record, answer, rules)
    }
    if known == nil, let flaw = PathFacts.flaw(in: path) {
      return refuse(
        downstream, record, .rejectedMalformed, dialect: .openai,
        message: "the path has \(flaw), by which servers could take it for another one")
    }
    guard let read = known?.facts ?? served(target) else {
      return refuseUnknownPath(downstream, record, path: path)
    }
    if known == nil, target.isPlain { latest = KnownTarget(head.target, target, read) }
    let facts = read.facts(for: head.method)
    guard let caller = rules.caller(head: head, target: target, hash: hash) else {
      return refuse(
        downstream, record, .rejectedUnauthenticated, dialect: facts.dialect,
        message: "The client key is missing or unknown. Give a key that the operator made with 'tollgate tenant-key'.")
    }
    record.identified(caller)
    let exchange = Exchange(
      ClientCall(head: head, target: target, path: facts, rules: rules, caller: caller), downstream: downstream,
      record: record, services: services)
    downstream.context = exchange
    if draining.hasBegun {
      exchange.reject(.draining)
    } else if services.memory.isExhausted {
      exchange.reject(.memoryFull)
    }
  }

  public func exchangeReady(_ downstream: any HTTPExchange) {
    guard let exchange = downstream.context as? Exchange else { return }
    if exchange.call.asksForModels { models.answer(exchange) } else { exchange.bodyCompleted() }
  }

  /// True where the class is `high` as far as the head tells: the body, and with it the model, is not here yet.
  public func isUrgent(_ downstream: any HTTPExchange) -> Bool {
    (downstream.context as? Exchange)?.call.isUrgentByHead(services.turns, at: services.time.now) ?? false
  }

  public func exchangeCrowded(_ downstream: any HTTPExchange) {
    (downstream.context as? Exchange)?.reject(.memoryFull)
  }

  public func exchangeRefused(_ downstream: any HTTPExchange, _ refusal: RequestRefusal) {
    (downstream.context as? Exchange)?.reject(Refusal(refusal))
  }

  public func exchangeDrained(_ downstream: any HTTPExchange) {
    (downstream.context as? Exchange)?.clientCaughtUp()
  }

  public func exchangeEnded(_ downstream: any HTTPExchange, _ ending: ExchangeEnding) {
    if let exchange = downstream.context as? Exchange {
      downstream.context = nil
      if ending != .completed { exchange.clientLeft() }
    }
    draining.exchangeEnded()
  }

  public func refusal(
    _ refusal: RequestRefusal, target: String?
  ) -> (fields: [(name: String, value: String)], body: [UInt8]) {
    let target = RequestTarget(readable: target ?? "")
    let dialect = dialect(of: target)
    let record = newRecord(method: "", path: target.path)
    let refused = Refusal(refusal)
    let answer = BrokerError.refusal(
      status: refusal.status, dialect: dialect, message: refused.message, requestID: record.text)
    finish(record, refused.outcome, status: refusal.status, message: refused.message)
    return (answer.fields + TollgateFields.pairs(record, outcome: refused.outcome), answer.body)
  }

  // MARK: Refusals before there is an exchange

  /// Answers what can be answered without the path: WebSockets, preflights, pages that may not call. Returns true where
  /// it has answered.
  private func refuseForItsKind(
    _ downstream: any HTTPExchange, _ record: RequestRecord, _ rules: BrokerRules
  ) -> Bool {
    let head = downstream.head
    if Probes.isWebSocketUpgrade(head.fields) {
      refuse(
        downstream, record, .rejectedUpgrade, dialect: dialect(of: RequestTarget(readable: head.target)),
        message: "WebSockets are not spoken here: send the request over HTTP/1.1 or HTTP/2, and ask for a stream")
      return true
    }
    // A caller that must identify itself, or that opens a Unix socket, is not a page in a browser on this machine.
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
    answer(downstream, record, Probes.options(head, rules.sites), rules)
    return true
  }

  /// The facts of a path; nil where it is not served.
  private func served(_ target: RequestTarget) -> PathFacts? {
    let facts = PathFacts.read(path: target.path, anyPath: target.provider != nil)
    guard target.provider == nil, facts?.endpoint == .other else { return facts }
    return PathAdvice.unserved(target.path) == nil ? facts : nil
  }

  private func dialect(of target: RequestTarget) -> Dialect {
    PathFacts.read(path: target.path, anyPath: true)?.dialect ?? .openai
  }

  /// Answers a probe, which is no request.
  private func answer(
    _ downstream: any HTTPExchange, _ record: RequestRecord, _ probe: Probes.Answer, _ rules: BrokerRules
  ) {
    services.counters.probed()
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
    let now = services.time.now
    let wall = services.time.wall(at: now)
    return RequestRecord(
      id: ids.next(wallNanoseconds: wall), method: method, path: String(path),
      priority: services.rules.now.policy.defaultPriority, arrivedAt: now, arrivedAtWall: wall)
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
    let (host, isSecure) = (downstream.head.authority, services.rules.now.policy.tls != nil)
    let answer = BrokerError.unknownPath(String(path), host: host, isSecure: isSecure, requestID: record.text)
    respond(downstream, record, .rejectedModel, answer)
    // The log and `explain` say what the client is told.
    finish(
      record, .rejectedModel, status: answer.status,
      message: BrokerError.unknownPathText(String(path), host: host, isSecure: isSecure))
  }

  private func respond(
    _ downstream: any HTTPExchange, _ record: RequestRecord, _ outcome: Outcome, _ answer: BrokerError.Answer
  ) {
    var fields = HeaderFields(answer.fields)
    TollgateFields.append(to: &fields, record, outcome: outcome)
    if outcome != .rejectedOrigin {
      CrossOrigin.append(to: &fields, origin: services.rules.now.readableOrigin(downstream.head))
    }
    downstream.respond(status: answer.status, fields: fields.pairs, body: answer.body)
  }

  private func finish(_ record: RequestRecord, _ outcome: Outcome, status: Int, message: String) {
    record.answers(status, bytes: 0)
    record.explained(message)
    services.conclude(record, outcome, from: nil, at: services.time.now)
  }
}
