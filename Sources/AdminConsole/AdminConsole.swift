// The admin API: health, metrics, status and requests as JSON, and the operator's few commands.
//
// Every path:
//   GET  /healthz                              200 while the loop turns
//   GET  /readyz                               200, or 503 while draining or while the ledger refuses new work
//   GET  /metrics                              Prometheus text
//   GET  /                                     the dashboard
//   GET  /api/v1/status                        providers, queues, tenants
//   GET  /api/v1/requests?state=&limit=        queued, running or recent requests
//   GET  /api/v1/requests/{id}                 one request with its waits and attempts
//   GET  /api/v1/usage?by=&since=&until=&bucket=&format=   what was used and spent
//   GET  /api/v1/ledger                        where the books are and how they stand
//   GET  /api/v1/events                        server-sent events: a snapshot each second, and each notable change
//   GET  /api/v1/budgets                       how each budget stands
//   POST /api/v1/budgets/raise?tenant=&usd=&until=[&budget=]
//   POST /api/v1/reload                        read the policy again
//   POST /api/v1/drain                         stop admitting, finish, exit
//   POST /api/v1/keys/{provider}/{key}/{disable|enable}
//   POST /api/v1/breakers/{provider}/{open|close|auto}
// Only POST changes anything. Where a token is set, all paths but the two health paths require it.
import AdmissionCore
import BrokerEngine
import EventLoop
import HTTPMessage
import TextForms

/// What the console needs of the composition root.
public struct AdminActions {
  /// Reads and applies the policy again, which may take seconds, and then reports the mistakes on the loop's thread;
  /// none on success.
  public var reload: (@escaping ([String]) -> Void) -> Void
  /// Starts the drain.
  public var drain: () -> Void
  /// Resident memory in bytes, CPU seconds, open descriptors, start time in seconds since 1970.
  public var processFigures: () -> ProcessFigures

  public init(
    reload: @escaping (@escaping ([String]) -> Void) -> Void, drain: @escaping () -> Void,
    processFigures: @escaping () -> ProcessFigures
  ) {
    self.reload = reload
    self.drain = drain
    self.processFigures = processFigures
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
  private let actions: AdminActions
  private let version: String
  /// The source of reports; nil where there is no ledger.
  public var ledgerDesk: LedgerDesk?
  /// The open event streams.
  private let feed: EventFeed?
  /// True where only this machine can reach the listener and no token is set: then `Host` must be one of this machine's
  /// names, so that a web page cannot reach the console by a name of its own.
  public var checksHost = true

  /// Access rules are read from the policy at each request.
  /// - Parameter loop: nil in tests that need no event stream.
  public init(broker: Operator, actions: AdminActions, version: String, loop: EventLoop? = nil) {
    let feed = loop.map { EventFeed(loop: $0, broker: broker, version: version) }
    if let feed { broker.listen { feed.tell($0) } }
    self.feed = feed
    self.broker = broker
    self.actions = actions
    self.version = version
  }

  // MARK: HTTPHandler

  public func exchangeBegan(_ exchange: any HTTPExchange) {}

  public func exchangeReady(_ exchange: any HTTPExchange) {
    let head = exchange.head
    if head.isRead, AdminConsole.parts(head) == ["api", "v1", "events"], let feed {
      switch access(head) {
      case .refused(let reply): exchange.respond(status: reply.status, fields: reply.fields, body: reply.body)
      case .full: feed.open(exchange, tenant: nil)
      case .tenant(let tenant): feed.open(exchange, tenant: tenant)
      }
      return
    }
    answer(head) { reply in
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

  /// Answers at once; a reload, and what the ledger is asked, is answered when it is done.
  func answer(_ head: RequestHead, _ send: @escaping (Reply) -> Void) {
    let isRead = head.isRead
    let parts = AdminConsole.parts(head)
    if isRead, parts == ["api", "v1", "ledger"], case .full = access(head) { return ledgerState(send) }
    if isRead, parts == ["api", "v1", "usage"] {
      switch access(head) {
      case .refused(let reply): return send(reply)
      case .full: return usage(head, tenant: nil, send)
      case .tenant(let tenant): return usage(head, tenant: tenant, send)
      }
    }
    guard head.method == "POST", parts == ["api", "v1", "reload"], case .full = access(head) else {
      return send(reply(to: head, parts))
    }
    actions.reload { send(AdminConsole.reloaded(mistakes: $0)) }
  }

  private func reply(to head: RequestHead, _ parts: [String]) -> Reply {
    // A part with a slash of its own leads to no page of one part.
    let path = parts.contains { $0.contains("/") } ? String(head.path) : "/" + parts.joined(separator: "/")
    let isRead = head.isRead
    if path == "/healthz" { return isRead ? .text("ok\n") : .methodNotAllowed("GET") }
    if path == "/readyz" {
      guard isRead else { return .methodNotAllowed("GET") }
      return readiness()
    }
    // The page itself contains nothing secret; the data that it fetches requires the token.
    if isRead, broker.policy.admin.token != nil, let page = Dashboard.reply(path) { return page }
    /// The tenant, where the token is a tenant's.
    var scope: String?
    switch access(head) {
    case .refused(let reply): return reply
    case .full: break
    case .tenant(let tenant):
      guard isRead else { return .error(403, "the token of tenant '\(tenant)' may only read") }
      scope = tenant
    }
    if let page = Dashboard.reply(path) { return isRead ? page : .methodNotAllowed("GET") }
    if path == "/metrics" {
      guard isRead else { return .methodNotAllowed("GET") }
      if let scope {
        return .error(403, "the metrics are of all tenants: the token of tenant '\(scope)' may not read them")
      }
      return Reply(
        status: 200, contentType: "text/plain; version=0.0.4; charset=utf-8",
        body: MetricsText.render(
          broker, actions.processFigures(), ledger: ledgerDesk?.counts() ?? (0, 0), version: version))
    }
    guard parts.count >= 3, parts[0] == "api", parts[1] == "v1" else { return .error(404, "there is no \(path) here") }
    switch (parts[2], parts.count) {
    case ("status", 3):
      return isRead ? .json(StatusJSON.status(broker, version: version, tenant: scope)) : .methodNotAllowed("GET")
    case ("requests", 3): return isRead ? requests(head, tenant: scope) : .methodNotAllowed("GET")
    case ("requests", 4): return isRead ? request(parts[3], tenant: scope) : .methodNotAllowed("GET")
    case ("budgets", 3):
      return isRead ? .json(BudgetRoutes.json(broker, tenant: scope)) : .methodNotAllowed("GET")
    case ("budgets", 4) where parts[3] == "raise":
      return head.method == "POST" ? raiseBudget(head) : .methodNotAllowed("POST")
    case ("usage", 3): return .methodNotAllowed("GET")
    case ("events", 3) where !isRead: return .methodNotAllowed("GET")
    case ("ledger", 3):
      if let scope {
        return .error(403, "the ledger is of all tenants: the token of tenant '\(scope)' may not read it")
      }
      return .methodNotAllowed("GET")
    case ("reload", 3): return .methodNotAllowed("POST")
    case ("drain", 3): return head.method == "POST" ? drain() : .methodNotAllowed("POST")
    case ("keys", 6): return head.method == "POST" ? key(parts[3], parts[4], parts[5]) : .methodNotAllowed("POST")
    case ("breakers", 5): return head.method == "POST" ? breaker(parts[3], parts[4]) : .methodNotAllowed("POST")
    default: return .error(404, "there is no \(path) here")
    }
  }

  /// What a caller may read and change.
  enum Access {
    case full
    /// Only one tenant's data, and no changes.
    case tenant(String)
    /// 401 or 403.
    case refused(Reply)
  }

  func access(_ head: RequestHead) -> Access {
    // Browsers say where a request comes from, even where they send no `Origin`. Changes may come only from the
    // console's own page and from callers that are no page, also with a token. Without a token, scripts of other sites
    // may not even read (`SiteRules`); links may lead here.
    if !head.isRead, let site = head.fields.first("sec-fetch-site"),
      !["same-origin", "none"].contains(site)
    {
      return .refused(.error(403, "changes asked for by pages of other sites are refused"))
    }
    let admin = broker.policy.admin
    if let token = admin.token {
      let shown = head.fields.first("authorization").map { Array($0.utf8) } ?? []
      let bearer = Array("Bearer ".utf8)
      if AdminConsole.isEqualInConstantTime(shown, bearer + Array(token.revealed.utf8)) { return .full }
      // Compare all tokens, whichever matches, so that timing reveals nothing.
      var found: String?
      for other in admin.tenantTokens
      where AdminConsole.isEqualInConstantTime(shown, bearer + Array(other.token.revealed.utf8)) {
        found = other.tenant
      }
      if let found { return .tenant(found) }
      var reply = Reply.error(401, "give the admin token: Authorization: Bearer TOKEN")
      reply.fields.append((name: "www-authenticate", value: "Bearer"))
      return .refused(reply)
    }
    guard checksHost, let objection = AdminConsole.sites.objection(to: head) else { return .full }
    switch objection {
    case .name:
      return .refused(
        .error(403, "the admin console answers to localhost and to addresses only; set admin.token to use other names"))
    case .origin, .crossSite: return .refused(.error(403, "requests from other sites are refused"))
    }
  }

  private static let sites = SiteRules.adminPort

  static func isEqualInConstantTime(_ left: [UInt8], _ right: [UInt8]) -> Bool {
    var difference = left.count ^ right.count
    for index in 0..<max(left.count, right.count) {
      difference |= Int((index < left.count ? left[index] : 0) ^ (index < right.count ? right[index] : 0))
    }
    return difference == 0
  }

  // MARK: Reads

  private func readiness() -> Reply {
    if broker.isDraining { return .text("draining\n", status: 503) }
    if let obstacle = broker.ledgerObstacle {
      return .text("no new work is taken: the ledger cannot be written: \(obstacle)\n", status: 503)
    }
    return .text("ready\n")
  }

  private func requests(_ head: RequestHead, tenant: String?) -> Reply {
    var state: String?
    var limit = 100
    for (name, value) in AdminConsole.query(head.target) {
      switch name {
      case "state":
        guard ["queued", "running", "recent"].contains(value) else {
          return .error(400, "state: found '\(value)', allowed are queued, running and recent")
        }
        state = value
      case "limit":
        guard let number = Int(value), number >= 1, number <= 1000 else {
          return .error(400, "limit: found '\(value)', allowed is a whole number from 1 to 1000")
        }
        limit = number
      default: return .error(400, "there is no parameter '\(name)', allowed are state and limit")
      }
    }
    var records: [RequestRecord] = []
    if state == nil || state == "queued" { records += broker.requests.alive(.queued, limit: limit, tenant: tenant) }
    if state == nil || state == "running" { records += broker.requests.alive(.running, limit: limit, tenant: tenant) }
    if state == nil || state == "recent" { records += broker.requests.recent(limit: limit, tenant: tenant) }
    return .json(StatusJSON.requests(Array(records.prefix(limit)), broker))
  }

  private func request(_ text: String, tenant: String?) -> Reply {
    guard let id = RequestID(text: text) else {
      return .error(400, "'\(text)' is no request id: 26 letters and digits, as in x-tollgate-request-id")
    }
    // Another tenant's request is answered like an unknown one.
    guard let record = broker.requests.record(id), tenant == nil || record.tenant == tenant else {
      return .error(404, "request \(text) is not known: it is older than the last 1000, or it was never here")
    }
    return .json(StatusJSON.request(record, broker))
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

  private func key(_ provider: String, _ key: String, _ verb: String) -> Reply {
    guard let policy = broker.policy.providers.first(where: { $0.id == provider }) else {
      return .error(404, "there is no provider '\(provider)'")
    }
    guard policy.keys.contains(where: { $0.id == key }) else {
      return .error(404, "provider '\(provider)' has no key '\(key)'")
    }
    switch verb {
    case "disable": broker.command(.disableKey(ProviderID(provider), KeyID(key)), askedBy: "admin")
    case "enable": broker.command(.enableKey(ProviderID(provider), KeyID(key)), askedBy: "admin")
    default: return .error(404, "'\(verb)' is no change of a key: allowed are disable and enable")
    }
    return .json(StatusJSON.status(broker, version: version))
  }

  private func breaker(_ provider: String, _ verb: String) -> Reply {
    guard broker.policy.providers.contains(where: { $0.id == provider }) else {
      return .error(404, "there is no provider '\(provider)'")
    }
    switch verb {
    case "open": broker.command(.openBreaker(ProviderID(provider)), askedBy: "admin")
    case "close": broker.command(.closeBreaker(ProviderID(provider)), askedBy: "admin")
    case "auto": broker.command(.automateBreaker(ProviderID(provider)), askedBy: "admin")
    default: return .error(404, "'\(verb)' is no change of a breaker: allowed are open, close and auto")
    }
    return .json(StatusJSON.status(broker, version: version))
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
  fileprivate var isRead: Bool { method == "GET" || method == "HEAD" }
}

/// A complete answer of the console.
struct Reply {
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
