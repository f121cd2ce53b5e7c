// The admin API: health, metrics, status and requests as JSON, and the operator's few commands.
//
// Every path:
//   GET  /healthz                              200 while the loop turns
//   GET  /readyz                               200, or 503 while draining or while the ledger refuses new work
//   GET  /metrics                              Prometheus text, or OpenMetrics where asked for
//   GET  /                                     the dashboard
//   GET  /api/v1/status                        providers, queues, tenants
//   GET  /api/v1/requests?state=&tenant=&session=&priority=&provider=&sort=&limit=   queued, running or recent requests
//   GET  /api/v1/requests/{id}                 one request with its waits and attempts
//   GET  /api/v1/usage?by=&since=&until=&bucket=&format=   what was used and spent
//   GET  /api/v1/ledger                        where the books are and how they stand
//   GET  /api/v1/history?metric=&since=&until=&step=   charts
//   GET  /api/v1/sessions?tenant=&search=&sort=&limit= sessions with their agents
//   GET  /api/v1/audit?since=&until=&limit=    what was changed, and by whom
//   GET  /api/v1/me                            what the caller's token allows
//   GET  /api/v1/events                        server-sent events: a snapshot each second, and each notable change
//   GET  /api/v1/budgets                       how each budget stands
//   POST /api/v1/budgets/raise?tenant=&usd=&until=[&budget=]
//   POST /api/v1/log-level                     from which level on the log has messages
//   POST /api/v1/reload                        read the policy again
//   POST /api/v1/drain                         stop admitting, finish, exit
//   POST /api/v1/keys/{provider}/{key}/{disable|enable}
//   POST /api/v1/breakers/{provider}/{open|close|auto}
// Only POST changes anything. Where a token is set, all paths but the two health paths require it.
import AdmissionCore
import BrokerEngine
import Courier
import EventLoop
import HTTPMessage
import PolicyFile
import TextForms

/// What the console needs of the composition root.
public struct AdminActions {
  /// Reads and applies the policy again, which may take seconds, and then reports the mistakes on the loop's thread;
  /// none on success.
  public var reload: (@escaping ([String]) -> Void) -> Void
  /// Starts the drain.
  public var drain: () -> Void
  /// Resident memory in bytes, CPU seconds, open descriptors, start time in seconds since 1970. Asked on any thread.
  public var processFigures: @Sendable () -> ProcessFigures
  /// The level from which on the log has messages.
  public var logLevel: () -> LogThreshold
  public var setLogLevel: (LogThreshold) -> Void
  /// Runs work on another thread, one piece after the other; nil where documents are written on the loop's thread.
  public var background: ((@escaping @Sendable () -> Void) -> Void)?

  public init(
    reload: @escaping (@escaping ([String]) -> Void) -> Void, drain: @escaping () -> Void,
    processFigures: @escaping @Sendable () -> ProcessFigures, logLevel: @escaping () -> LogThreshold = { .info },
    setLogLevel: @escaping (LogThreshold) -> Void = { _ in },
    background: ((@escaping @Sendable () -> Void) -> Void)? = nil
  ) {
    self.reload = reload
    self.drain = drain
    self.processFigures = processFigures
    self.logLevel = logLevel
    self.setLogLevel = setLogLevel
    self.background = background
  }
}

public struct ProcessFigures: Sendable {
  public var residentBytes = 0
  public var virtualBytes = 0
  public var cpuSeconds = 0.0
  public var openDescriptors = 0
  public var startTimeSeconds = 0.0
  /// The lines of standard output and standard error that were lost since the start.
  public var logLinesDropped = 0
  public init() {}
}

public final class AdminConsole: HTTPHandler {
  let broker: Operator
  let actions: AdminActions
  let version: String
  let renderer: Renderer
  let pieces: LoopPieces
  /// Those who have asked for the status, by the only tenant that they may see, until it is written once for them all.
  private var statusAskers: [String?: [(Reply) -> Void]] = [:]
  /// The source of reports; nil where there is no ledger.
  public var ledgerDesk: LedgerDesk?
  /// The number of open connections, by the port's name in metrics.
  public var connections: () -> [(port: String, count: Int)] = { [] }
  /// Who tells webhooks; nil in tests that have none.
  public var courier: Courier?
  /// What the collector of `otlp:` did not take.
  public var otlpDropped: () -> Int = { 0 }
  /// Who does not take what the broker tells.
  public var troubles: () -> [OutwardTrouble] = { [] }
  /// The open event streams.
  private let feed: EventFeed?
  /// True where only this machine can reach the listener and no token is set: then `Host` must be one of this machine's
  /// names, so that a web page cannot reach the console by a name of its own.
  public var checksHost = true

  /// Access rules are read from the policy at each request.
  /// - Parameter loop: nil in tests that need no event stream.
  public init(broker: Operator, actions: AdminActions, version: String, loop: EventLoop? = nil) {
    let renderer = Renderer(loop: loop, background: actions.background)
    let pieces = LoopPieces(loop: loop, broker: broker)
    let feed = loop.map {
      EventFeed(loop: $0, broker: broker, version: version, renderer: renderer, pieces: pieces)
    }
    if let feed { broker.listen { feed.tell($0) } }
    self.feed = feed
    self.broker = broker
    self.actions = actions
    self.version = version
    self.renderer = renderer
    self.pieces = pieces
    feed?.troubles = { [unowned self] in troubles() }
    feed?.rights = { [unowned self] head in
      switch access(head) {
      case .refused: .none
      case .full, .reading: .everything
      case .tenant(let tenant): .tenant(tenant)
      }
    }
  }

  // MARK: HTTPHandler

  public func exchangeBegan(_ exchange: any HTTPExchange) {}

  public func exchangeReady(_ exchange: any HTTPExchange) {
    let head = exchange.head
    if head.isRead, AdminConsole.parts(head) == ["api", "v1", "events"], AdminConsole.query(head.target).isEmpty,
      let feed
    {
      switch access(head) {
      case .refused(let reply): exchange.respond(status: reply.status, fields: reply.fields, body: reply.body)
      case .full, .reading: feed.open(exchange, tenant: nil)
      case .tenant(let tenant): feed.open(exchange, tenant: tenant)
      }
      return
    }
    answer(head, body: exchange.body) { reply in
      guard !exchange.isClosed else { return }
      exchange.respond(status: reply.status, fields: reply.fields, body: reply.body)
    }
  }

  public func exchangeDrained(_ exchange: any HTTPExchange) {}
  public func exchangeEnded(_ exchange: any HTTPExchange, _ ending: ExchangeEnding) { feed?.close(exchange) }

  public func refusal(
    _ refusal: RequestRefusal, target: String?
  ) -> (fields: [(name: String, value: String)], body: [UInt8]) {
    let message =
      switch refusal {
      case .malformed(let text), .timedOut(let text), .headTooLarge(let text), .unsupported(let text),
        .overloaded(let text):
        text
      case .bodyTooLarge(let limit): "the body is larger than \(limit) bytes"
      }
    let reply = Reply.error(refusal.status, message)
    return (reply.fields, reply.body)
  }

  // MARK: Routes

  /// The decoded parts of the path. A slash that is written as an escape belongs to its part.
  private static func parts(_ head: RequestHead) -> [String] {
    head.path.split(separator: "/").map { PercentEscapes.decoded($0) }
  }

  /// Answers at once, or when another thread has written the document, the ledger was asked, or the policy read.
  func answer(_ head: RequestHead, body: [UInt8] = [], _ send: @escaping (Reply) -> Void) {
    let isRead = head.isRead
    let parts = AdminConsole.parts(head)
    // A part with a slash of its own leads to no page of one part.
    let path = parts.contains { $0.contains("/") } ? String(head.path) : "/" + parts.joined(separator: "/")
    if path == "/healthz" { return send(isRead ? .text("ok\n") : .methodNotAllowed("GET")) }
    if path == "/readyz" { return send(isRead ? readiness() : .methodNotAllowed("GET")) }
    // The page itself contains nothing secret; the data that it fetches requires the token.
    if isRead, broker.policy.admin.token != nil, let page = Dashboard.reply(path) { return send(page) }
    let access = access(head)
    /// The tenant, where the token is a tenant's.
    var scope: String?
    switch access {
    case .refused(let reply): return send(reply)
    case .full: break
    case .reading: guard isRead else { return send(.error(403, "the read token may only read")) }
    case .tenant(let tenant):
      guard isRead else { return send(.error(403, "the token of tenant '\(tenant)' may only read")) }
      scope = tenant
    }
    if let page = Dashboard.reply(path) { return send(isRead ? page : .methodNotAllowed("GET")) }
    if path == "/metrics" {
      guard isRead else { return send(.methodNotAllowed("GET")) }
      if let scope { return send(AdminConsole.ofAllTenants("the metrics", scope)) }
      do throws(QueryMistake) { _ = try ConsoleQuery(head, known: []) } catch {
        return send(.error(400, error.message))
      }
      return metrics(head, send)
    }
    guard let route = ConsoleRoute.of(parts) else { return send(.error(404, "there is no \(path) here")) }
    guard let parameters = route.parameters(head.method) else { return send(.methodNotAllowed(route.allowed)) }
    do throws(QueryMistake) {
      let query = try ConsoleQuery(head, known: parameters)
      let rest = Array(parts[2...])
      if isRead { read(query, rest, access, scope, send) } else { change(query, rest, body, send) }
    } catch { send(.error(400, error.message)) }
  }

  /// Answers a question of ``ConsoleRoute/all``.
  private func read(
    _ query: ConsoleQuery, _ parts: [String], _ access: Access, _ scope: String?, _ send: @escaping (Reply) -> Void
  ) {
    switch (parts[0], parts.count) {
    case ("status", 1): status(tenant: scope, send)
    case ("me", 1): send(AdminConsole.me(access, hasToken: broker.policy.admin.token != nil))
    case ("requests", 1): requests(query, tenant: scope, send)
    case ("requests", 2): send(request(parts[1], tenant: scope))
    case ("sessions", 1): sessions(query, tenant: scope, send)
    case ("budgets", 1): budgets(tenant: scope, send)
    case ("usage", 1): usage(query, tenant: scope, send)
    case ("history", 1):
      if let scope { send(AdminConsole.ofAllTenants("the history", scope)) } else { history(query, send) }
    case ("audit", 1):
      if let scope { send(AdminConsole.ofAllTenants("the list of changes", scope)) } else { audit(query, send) }
    case ("ledger", 1):
      if let scope { send(AdminConsole.ofAllTenants("the ledger", scope)) } else { ledgerState(send) }
    case ("webhooks", 1):
      if let scope { send(AdminConsole.ofAllTenants("the list of webhooks", scope)) } else { send(webhooks()) }
    case ("log-level", 1): send(AdminConsole.logLevel(actions.logLevel()))
    // Where there is no loop, there are no streams.
    case ("events", 1): send(.error(503, "there are no events"))
    default: send(.error(404, "there is no such document"))
    }
  }

  /// Carries out a command of ``ConsoleRoute/all``.
  private func change(
    _ query: ConsoleQuery, _ parts: [String], _ body: [UInt8], _ send: @escaping (Reply) -> Void
  ) {
    switch (parts[0], parts.count) {
    case ("budgets", 2): raiseBudget(query, send)
    case ("reload", 1): actions.reload { send(AdminConsole.reloaded(mistakes: $0)) }
    case ("drain", 1): send(drain())
    case ("log-level", 1): send(setLogLevel(query, body))
    case ("keys", 4): key(parts[1], parts[2], parts[3], send)
    case ("breakers", 3): breaker(parts[1], parts[2], send)
    default: send(.error(404, "there is no such command"))
    }
  }

  private static func ofAllTenants(_ what: String, _ tenant: String) -> Reply {
    let verb = what == "the metrics" ? "are" : "is"
    return .error(
      403,
      "\(what) \(verb) of all tenants: the token of tenant '\(tenant)' may not read \(verb == "are" ? "them" : "it")")
  }

  // MARK: Reads

  private func readiness() -> Reply {
    if broker.isDraining { return .text("draining\n", status: 503) }
    if let obstacle = broker.ledgerObstacle {
      return .text("no new work is taken: the ledger cannot be written: \(obstacle)\n", status: 503)
    }
    return .text("ready\n")
  }

  private func status(tenant: String?, _ send: @escaping (Reply) -> Void) {
    statusAskers[tenant, default: []].append(send)
    guard statusAskers[tenant]?.count == 1 else { return }
    pieces.look { [unowned self] snapshot in
      let (askers, version, troubles) = (statusAskers.removeValue(forKey: tenant) ?? [], version, troubles())
      renderer.render({
        .json(StatusJSON.status(snapshot, version: version, tenant: tenant, troubles: troubles))
      }) { reply in
        for send in askers { send(reply) }
      }
    }
  }

  private func request(_ text: String, tenant: String?) -> Reply {
    guard let id = RequestID(text: text) else {
      return .error(400, "'\(text)' is no request id: 26 letters and digits, as in x-tollgate-request-id")
    }
    // Another tenant's request is answered like an unknown one.
    guard let record = broker.requests.record(id), tenant == nil || record.tenant == tenant else {
      return .error(404, "request \(text) is not known: it is older than the last 1000, or it was never here")
    }
    return .json(RequestJSON.story(record, broker, tenant: tenant))
  }

  // MARK: Changes

  private static func reloaded(mistakes: [String]) -> Reply {
    var json = JSONWriter()
    json.object { json in
      json.member("reloaded", mistakes.isEmpty)
      json.key("errors")
      json.array(mistakes) { $0.value($1) }
    }
    return Reply(status: mistakes.isEmpty ? 200 : 422, contentType: "application/json", body: json.bytes)
  }

  private func drain() -> Reply {
    actions.drain()
    var json = JSONWriter()
    json.object { $0.member("draining", true) }
    return Reply(status: 202, contentType: "application/json", body: json.bytes)
  }

  private func key(_ provider: String, _ key: String, _ verb: String, _ send: @escaping (Reply) -> Void) {
    guard let policy = broker.policy.providers.first(where: { $0.id == provider }) else {
      return send(.error(404, "there is no provider '\(provider)'"))
    }
    guard policy.keys.contains(where: { $0.id == key }) else {
      return send(.error(404, "provider '\(provider)' has no key '\(key)'"))
    }
    switch verb {
    case "disable": broker.command(.disableKey(ProviderID(provider), KeyID(key)), askedBy: "admin")
    case "enable": broker.command(.enableKey(ProviderID(provider), KeyID(key)), askedBy: "admin")
    default: return send(.error(404, "'\(verb)' is no change of a key: allowed are disable and enable"))
    }
    status(tenant: nil, send)
  }

  private func breaker(_ provider: String, _ verb: String, _ send: @escaping (Reply) -> Void) {
    guard broker.policy.providers.contains(where: { $0.id == provider }) else {
      return send(.error(404, "there is no provider '\(provider)'"))
    }
    switch verb {
    case "open": broker.command(.openBreaker(ProviderID(provider)), askedBy: "admin")
    case "close": broker.command(.closeBreaker(ProviderID(provider)), askedBy: "admin")
    case "auto": broker.command(.automateBreaker(ProviderID(provider)), askedBy: "admin")
    default: return send(.error(404, "'\(verb)' is no change of a breaker: allowed are open, close and auto"))
    }
    status(tenant: nil, send)
  }

  static func query(_ target: String) -> [(name: String, value: String)] {
    guard let mark = target.firstIndex(of: "?") else { return [] }
    return target[target.index(after: mark)...].split(separator: "&").map { pair in
      let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      return (name: String(parts[0]), value: parts.count > 1 ? String(parts[1]) : "")
    }
  }
}

extension RequestHead {
  /// HEAD asks for what GET gives, without the body: the endpoint leaves it out.
  var isRead: Bool { method == "GET" || method == "HEAD" }
}

/// A complete answer of the console.
struct Reply: Sendable {
  var status: Int
  var fields: [(name: String, value: String)]
  var body: [UInt8]

  init(status: Int, contentType: String, body: [UInt8]) {
    self.status = status
    fields = [
      (name: "content-type", value: contentType), (name: "cache-control", value: "no-store"),
      (name: "x-content-type-options", value: "nosniff"),
    ]
    self.body = body
  }

  static func json(_ body: [UInt8]) -> Reply { Reply(status: 200, contentType: "application/json", body: body) }
  static func text(_ text: String, status: Int = 200) -> Reply {
    Reply(status: status, contentType: "text/plain; charset=utf-8", body: Array(text.utf8))
  }
  static func error(_ status: Int, _ message: String) -> Reply {
    var json = JSONWriter()
    json.object { json in
      json.key("error")
      json.object { $0.member("message", message) }
    }
    return Reply(status: status, contentType: "application/json", body: json.bytes)
  }
  static func methodNotAllowed(_ allowed: String) -> Reply {
    var reply = Reply.error(405, "only \(allowed) is allowed here")
    reply.fields.append((name: "allow", value: allowed))
    return reply
  }
}
