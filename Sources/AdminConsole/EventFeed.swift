// `GET /api/v1/events`: server-sent events, a snapshot every second and each notable change as it happens.
//
// Promises: nothing is computed without listeners, and a snapshot once for all who see the same; nothing is buffered for
// a listener that does not read: it misses events.
import AdmissionCore
import BrokerEngine
import EventLoop
import HTTPMessage
import TextForms

final class EventFeed {
  /// What a listener's token lets it see.
  enum Rights: Equatable {
    case everything
    case tenant(String)
    case none
  }
  private final class Listener {
    let exchange: any HTTPExchange
    let tenant: String?

    init(_ exchange: any HTTPExchange, tenant: String?) {
      self.exchange = exchange
      self.tenant = tenant
    }
  }

  /// The most streams at a time, so that questions always find a connection.
  static let mostListeners = 64
  /// The most of those with tenants' tokens, so that they leave some to the operator.
  static let mostOfTenants = 48
  /// A listener with more unsent bytes than this is skipped.
  private static let mostPending = 256 << 10
  /// So many listeners get a snapshot in one turn of the loop, so that calls do not wait for all of them.
  private static let atOnce = 4

  private let loop: EventLoop
  /// The broker keeps a reference to this feed, to report news.
  private unowned let broker: Operator
  private let version: String
  private let renderer: Renderer
  private let pieces: LoopPieces
  /// What the token in a head lets its bearer see by the policy in force.
  var rights: (RequestHead) -> Rights = { _ in .everything }
  /// Who does not take what the broker tells.
  var troubles: () -> [OutwardTrouble] = { [] }
  private var listeners: [ObjectIdentifier: Listener] = [:]
  /// Those who have not got their first snapshot.
  private var newcomers: [Listener] = []
  private lazy var timer = LoopTimer(loop) { [unowned self] in tick() }
  /// Snapshots that were written and are on the way to their listeners.
  private var outgoing: [(frame: [UInt8], listener: Listener)] = []
  private lazy var sender = LoopTimer(loop) { [unowned self] in sendSome() }

  init(loop: EventLoop, broker: Operator, version: String, renderer: Renderer, pieces: LoopPieces) {
    self.pieces = pieces
    self.loop = loop
    self.broker = broker
    self.version = version
    self.renderer = renderer
  }

  func open(_ exchange: any HTTPExchange, tenant: String?) {
    let ofTenants = tenant == nil ? 0 : listeners.values.count { $0.tenant != nil }
    guard listeners.count < Self.mostListeners, ofTenants < Self.mostOfTenants else {
      let most = ofTenants < Self.mostOfTenants ? "\(Self.mostListeners)" : "\(Self.mostOfTenants) of tenants'"
      var reply = Reply.error(
        503, "\(most) event streams are open, which is the most: end one, or ask /api/v1/status again and again")
      reply.fields.append((name: "retry-after", value: "5"))
      return exchange.respond(status: reply.status, fields: reply.fields, body: reply.body)
    }
    exchange.respond(
      ResponseHead(
        status: 200,
        fields: HeaderFields([
          (name: "content-type", value: "text/event-stream"), (name: "cache-control", value: "no-store"),
          (name: "x-content-type-options", value: "nosniff"),
        ])))
    guard exchange.head.method != "HEAD" else { return exchange.finish(trailers: nil) }
    let listener = Listener(exchange, tenant: tenant)
    listeners[ObjectIdentifier(exchange)] = listener
    newcomers.append(listener)
    // After a restart many come at once.
    if newcomers.count == 1 { pieces.look { [weak self] in self?.greet($0) } }
    if listeners.count == 1 { timer.schedule(after: .seconds(1)) }
  }

  func close(_ exchange: any HTTPExchange) {
    guard listeners.removeValue(forKey: ObjectIdentifier(exchange)) != nil else { return }
    if listeners.isEmpty { timer.cancel() }
  }

  private func greet(_ look: BrokerSnapshot) {
    let all = newcomers
    newcomers = []
    snapshot(look, to: all)
  }

  /// Ends the streams whose token is no longer what it was when they began.
  private func dropStrangers() {
    for listener in listeners.values {
      let owned = listener.tenant.map { Rights.tenant($0) } ?? .everything
      guard rights(listener.exchange.head) != owned else { continue }
      close(listener.exchange)
      if !listener.exchange.isClosed { listener.exchange.finish(trailers: nil) }
    }
  }

  private func tick() {
    dropStrangers()
    let ready = listeners.values.filter { takesMore($0) }
    if !ready.isEmpty { pieces.look { [weak self] in self?.snapshot($0, to: ready) } }
    if !listeners.isEmpty { timer.schedule(after: .seconds(1)) }
  }

  /// Writes the snapshot once for all who may see the same.
  private func snapshot(_ snapshot: BrokerSnapshot, to ready: [Listener]) {
    for (tenant, some) in Dictionary(grouping: ready, by: \.tenant) {
      let (version, troubles) = (version, troubles())
      renderer.render({
        Reply.json(StatusJSON.status(snapshot, version: version, tenant: tenant, troubles: troubles, isEvent: true))
      }) { [weak self] reply in
        guard let self, reply.status == 200 else { return }
        let isFirst = outgoing.isEmpty
        for listener in some { outgoing.append((reply.body, listener)) }
        if isFirst { sendSome() }
      }
    }
  }

  private func sendSome() {
    for (frame, listener) in outgoing.prefix(Self.atOnce)
    where listeners[ObjectIdentifier(listener.exchange)] === listener {
      send(frame, to: listener)
    }
    outgoing.removeFirst(min(Self.atOnce, outgoing.count))
    if !outgoing.isEmpty { sender.schedule(after: .milliseconds(1)) }
  }

  private func takesMore(_ listener: Listener) -> Bool {
    !listener.exchange.isClosed && listener.exchange.pendingBytes < Self.mostPending
  }

  private func send(_ frame: [UInt8], to listener: Listener) {
    if takesMore(listener) { listener.exchange.send(frame) }
  }

  // MARK: Changes

  func tell(_ news: News) {
    if case .change(.policy, _) = news { dropStrangers() }
    guard !listeners.isEmpty else { return }
    switch news {
    case .notice(let notice): tell(notice)
    case .change(let subject, let state): tell(subject: subject.rawValue, state: state.rawValue)
    case .keys(let report):
      switch report {
      case .allRefused(let providers, _):
        for provider in providers {
          tell(subject: "provider", name: provider.provider, state: "no_key", reason: provider.text)
        }
      case .recovered(let provider, _):
        tell(subject: "provider", name: provider, state: "usable", reason: "it has a key again")
      }
    case .alert(let alert, let before):
      guard let one = alert ?? before else { return }
      tell(
        subject: "alert", name: one.name, state: alert?.severity.rawValue ?? "over",
        reason: alert?.text ?? before?.text ?? "")
    }
  }

  /// `PROVIDER`, `PROVIDER/KEY`, `PROVIDER/MODEL` or `PROVIDER/KEY/MODEL`.
  private static func name(_ provider: ProviderID, _ model: String?, _ key: KeyID?) -> String {
    ([provider.name] + [key?.name, model].compactMap(\.self)).joined(separator: "/")
  }

  private func tell(_ notice: Notice) {
    switch notice {
    case .waiting, .promoted, .requeued, .demoted: break
    case .budgetWarned(let reading):
      tell(subject: "budget", name: reading.id, state: "warned", reason: "\(reading.warnAtPercent) % of the limit")
    case .budgetExceeded(let reading):
      tell(subject: "budget", name: reading.id, state: "exceeded", reason: reading.onExceed.rawValue)
    case .limitLearned(let provider, let model, let key, let dimension, let perMinute):
      tell(
        subject: "limit", name: Self.name(provider, model, key), state: "\(dimension.name) \(perMinute)",
        reason: "learned")
    case .concurrencyChanged(let provider, let model, let key, let limit):
      tell(subject: "concurrency", name: Self.name(provider, model, key), state: "\(limit)", reason: "learned")
    case .breakerChanged(let provider, let model, let state, let reason):
      let name = model.map { "\(provider)/\($0)" } ?? provider.name
      tell(subject: "breaker", name: name, state: state.rawValue, reason: reason)
    case .ourBug(let kind): tell(subject: "our_bug", name: kind.rawValue, state: "met", reason: "thrown out")
    case .impossibleNumber(let provider, let source):
      tell(subject: "impossible_number", name: provider.name, state: "cut", reason: source.rawValue)
    case .paused(let provider, let model, let key, _, let reason):
      tell(
        subject: model == nil ? "provider" : "model", name: Self.name(provider, model, key),
        state: KeyCondition.cooling.rawValue,
        reason: reason.rawValue)
    case .keyChanged(let provider, let key, let state, let reason):
      tell(subject: "key", name: "\(provider)/\(key)", state: state.rawValue, reason: reason.text)
    }
  }

  /// Changes concern the whole broker, so a tenant's listener does not get them.
  private func tell(subject: String, name: String = "", state: String, reason: String = "") {
    let all = listeners.values.filter { $0.tenant == nil }
    guard !all.isEmpty else { return }
    var json = JSONWriter()
    json.raw("event: change\ndata: ")
    json.object { json in
      json.member("at", Timestamp.text(broker.wallNanoseconds(at: broker.now)))
      json.member("subject", subject)
      json.member("name", name)
      json.member("state", state)
      json.member("reason", reason)
    }
    json.raw("\n\n")
    for listener in all { send(json.bytes, to: listener) }
  }
}
