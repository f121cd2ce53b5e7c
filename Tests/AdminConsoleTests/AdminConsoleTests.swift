// The admin plane's routes, access rules and shapes.
import AdmissionCore
import BrokerEngine
import Foundation
import HTTPDoubles
import HTTPMessage
import PolicyFile
import Testing

@testable import AdminConsole

@Suite struct AdminConsoleTests {
  private let broker: Broker
  private let console: AdminConsole

  init() {
    var policy = Policy()
    var provider = Provider(id: "sim", dialect: .openai, baseURL: "http://sim/v1")
    provider.keys = [ProviderKey(id: "main", source: .text(Secret("sk-never-shown-1234")))]
    provider.limits = Limits(concurrency: 4, requestsPerMinute: 60)
    policy.providers = [provider]
    policy.routes = [Route(models: ["*"], to: ["sim"])]
    broker = Broker(
      policy: policy, secrets: KeySecrets(),
      parts: BrokerParts(
        upstream: ScriptedUpstream(),
        clock: BrokerClock(monotonic: { 5_000_000_000 }, wall: { 1_763_720_000_000_000_000 }, seed: 1), loop: nil,
        hash: { $0 }))
    console = AdminConsole(
      broker: broker.operator,
      actions: AdminActions(reload: { $0(["p.yaml:1:1: error: x"]) }, drain: {}, processFigures: { ProcessFigures() }),
      version: "test")
  }

  private func ask(_ method: String, _ target: String, _ fields: [(String, String)] = [], host: String = "127.0.0.1:1")
    -> Reply
  {
    var replies: [Reply] = []
    console.answer(
      RequestHead(
        method: method, target: target, authority: host, fields: HeaderFields(fields.map { (name: $0.0, value: $0.1) }))
    ) { replies.append($0) }
    #expect(replies.count == 1)
    return replies.last ?? .error(500, "no reply")
  }

  /// Another policy, which asks for a token.
  private func ask(for token: String) {
    var policy = broker.operator.policy
    policy.admin.token = Secret(token)
    broker.operator.replacePolicy(policy, secrets: KeySecrets())
  }

  /// Every method of every route, with a name for each part that may be anything.
  private static let routes = ConsoleRoute.all.flatMap { route in
    route.methods.map { one in
      (
        method: one.method, path: "/api/v1/" + route.path.map { $0 == "*" ? "x" : $0 }.joined(separator: "/"),
        parameters: one.parameters
      )
    }
  }

  @Test func aParameterThatARouteDoesNotKnowIsRefusedEverywhere() throws {
    #expect(AdminConsoleTests.routes.count >= 19)
    for (method, path, parameters) in AdminConsoleTests.routes + [
      ("HEAD", "/api/v1/status", []), ("GET", "/metrics", []),
    ] {
      for word in ["frob=1", "frob", "=1", "%00=<b>", (parameters.first.map { $0 + "=1&" } ?? "") + "frob"] {
        let reply = ask(method, "\(path)?\(word)")
        let text = String(decoding: reply.body, as: UTF8.self)
        #expect(reply.status == 400, "\(method) \(path)?\(word): \(text)")
        #expect(text.contains("there is no parameter '"), "\(text)")
        #expect(text.contains(", and nothing was done") == (method == "POST"), "\(text)")
        if parameters.isEmpty { #expect(text.contains("' here: this takes none"), "\(text)") }
        for name in parameters { #expect(text.contains(name), "\(text)") }
      }
      for name in parameters {
        let twice = ask(method, "\(path)?\(name)=1&\(name)=1")
        #expect(twice.status == 400, "\(method) \(path) \(name)")
        #expect(String(decoding: twice.body, as: UTF8.self).contains("\(name): it is given more than once"))
        let broken = ask(method, "\(path)?\(name)=%zz")
        #expect(String(decoding: broken.body, as: UTF8.self).contains("wrong escape"), "\(method) \(path) \(name)")
      }
    }
    #expect(!broker.operator.isDraining)
  }

  @Test func everyRouteOfTheTableLeadsSomewhereAndTellsItsMethods() {
    for (method, path, parameters) in AdminConsoleTests.routes {
      // What is asked for without a question mark, and with an empty question, is the same.
      for target in [path, path + "?", path + "?&"] {
        let reply = ask(method, target)
        let text = String(decoding: reply.body, as: UTF8.self)
        #expect(!text.contains("there is no parameter"), "\(method) \(target): \(text)")
        #expect(!text.contains("there is no such"), "\(method) \(target): \(text)")
        #expect(!text.contains("there is no \(path) here"), "\(method) \(target): \(text)")
      }
      for name in parameters {
        let text = String(decoding: ask(method, "\(path)?\(name)=x").body, as: UTF8.self)
        #expect(!text.contains("there is no parameter"), "\(method) \(path) \(name): \(text)")
      }
      let other = ask("PUT", path + "?frob=1")
      #expect(other.status == 405, "\(path)")
      #expect(other.fields.first { $0.name == "allow" }?.value.contains(method) == true, "\(path)")
    }
    for probe in ["/healthz?probe=1", "/readyz?probe=1", "/?wall=1", "/now.js?v=2"] {
      #expect(ask("GET", probe).status == 200, "\(probe)")
    }
  }

  @Test func healthAndReadiness() {
    #expect(ask("GET", "/healthz").status == 200)
    #expect(ask("GET", "/readyz").status == 200)
    broker.operator.drain()
    #expect(ask("GET", "/healthz").status == 200)
    #expect(ask("GET", "/readyz").status == 503)
  }

  @Test(arguments: [
    ("cross-site", 403, 403), ("same-site", 403, 200), ("Cross-Site", 403, 403), ("same-origin", 200, 200),
    ("none", 200, 200),
  ])
  func pagesOfOtherSitesChangeNothing(_ site: String, _ change: Int, _ read: Int) {
    for method in ["POST", "PATCH", "DELETE", "PUT"] {
      let status = ask(method, "/api/v1/breakers/sim/open", [("sec-fetch-site", site)]).status
      #expect(status == (method == "POST" || change == 403 ? change : 405))
    }
    #expect(ask("POST", "/api/v1/reload", [("Sec-Fetch-Site", site)]).status == (change == 403 ? 403 : 422))
    for (target, status) in [("/api/v1/status", 200), ("/metrics", 200), ("/", 200), ("/api/v1/drain", 405)] {
      let expected = read == 403 ? 403 : status
      let script = [("sec-fetch-site", site), ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "empty")]
      #expect(ask("GET", target, [("sec-fetch-site", site)]).status == expected, "\(target)")
      #expect(ask("GET", target, script).status == expected, "\(target)")
    }
    // A link shows what it leads to, and not to the page with the link.
    let link = [("sec-fetch-site", site), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")]
    #expect(ask("GET", "/", link).status == 200)
    #expect(ask("GET", "/api/v1/drain", link).status == 405)
    #expect(!broker.operator.isDraining)
  }

  @Test func aTokenIsEnoughForReadsAndNeverForChangesOfOtherSites() {
    ask(for: "t")
    let fields = [("authorization", "Bearer t"), ("sec-fetch-site", "cross-site")]
    #expect(ask("GET", "/api/v1/status", fields).status == 200)
    #expect(ask("POST", "/api/v1/breakers/sim/open", fields).status == 403)
    #expect(ask("GET", "/api/v1/status", Array(fields.dropFirst())).status == 401)
  }

  @Test func changesAreMadeByPostOnly() {
    for target in ["/api/v1/reload", "/api/v1/drain", "/api/v1/keys/sim/main/disable", "/api/v1/breakers/sim/open"] {
      let reply = ask("GET", target)
      #expect(reply.status == 405)
      #expect(reply.fields.contains { $0.name == "allow" && $0.value == "POST" })
    }
    #expect(ask("POST", "/api/v1/status").status == 405)
    #expect(ask("POST", "/metrics").status == 405)
    #expect(ask("POST", "/api/v1/drain").status == 202)
    #expect(ask("POST", "/api/v1/breakers/sim/open").status == 200)
  }

  @Test(arguments: [
    ("POST", "/api/v1/keys/none/main/disable", 404), ("POST", "/api/v1/keys/sim/none/disable", 404),
    ("POST", "/api/v1/keys/sim/main/burn", 404), ("POST", "/api/v1/breakers/none/open", 404),
    ("POST", "/api/v1/breakers/sim/ajar", 404), ("GET", "/api/v1/nothing", 404), ("GET", "/favicon.ico", 404),
    ("GET", "/api/v1/requests?state=past", 400), ("GET", "/api/v1/requests?limit=0", 400),
    ("GET", "/api/v1/requests?limit=1000", 200), ("GET", "/api/v1/requests?limit=1001", 400),
    ("GET", "/api/v1/requests?colour=red", 400), ("GET", "/api/v1/requests?priority=urgent", 400),
    ("GET", "/api/v1/requests?sort=fast", 400), ("GET", "/api/v1/requests?session=%zz", 400),
    ("GET", "/api/v1/sessions?sort=name", 400), ("GET", "/api/v1/sessions?limit=1001", 400),
    ("GET", "/api/v1/sessions?search=%E2%82%AC&limit=1", 200), ("POST", "/api/v1/log-level?level=loud", 400),
    ("POST", "/api/v1/log-level", 400), ("GET", "/api/v1/log-level", 200), ("DELETE", "/api/v1/log-level", 405),
    ("GET", "/api/v1/requests/xyz", 400),
    ("GET", "/api/v1/requests/01ARYZ6S41TSV4RRFFQ69G5FAV", 404), ("POST", "/api/v1/reload", 422),
  ])
  func wrongQuestionsGetTheReason(_ method: String, _ target: String, _ status: Int) {
    let reply = ask(method, target)
    #expect(reply.status == status)
    #expect(throws: Never.self) { try JSONSerialization.jsonObject(with: Data(reply.body)) }
  }

  @Test func theTokenIsAskedForEverywhereButHealth() {
    ask(for: "secret")
    #expect(ask("GET", "/healthz").status == 200)
    #expect(ask("GET", "/api/v1/status").status == 401)
    #expect(ask("GET", "/metrics", [("authorization", "Bearer secre")]).status == 401)
    #expect(ask("GET", "/metrics", [("authorization", "Bearer secret1")]).status == 401)
    #expect(ask("GET", "/metrics", [("authorization", "Bearer secret")]).status == 200)
  }

  @Test func webPagesOfOthersStayOutside() {
    #expect(ask("GET", "/api/v1/status", host: "evil.example:4142").status == 403)
    #expect(ask("GET", "/api/v1/status", host: "localhost:4142").status == 200)
    #expect(ask("GET", "/api/v1/status", host: "[::1]:4142").status == 200)
    #expect(ask("POST", "/api/v1/drain", [("origin", "http://evil.example")]).status == 403)
    #expect(ask("POST", "/api/v1/drain", [("origin", "http://127.0.0.1:1")]).status == 202)
  }

  @Test func statusHasTheShapeOthersBuildOn() throws {
    let object = try JSONSerialization.jsonObject(with: Data(ask("GET", "/api/v1/status").body))
    let status = try #require(object as? [String: Any])
    #expect(status["draining"] as? Bool == false)
    #expect(status["version"] as? String == "test")
    #expect(status["budgets"] is [Any])
    let provider = try #require((status["providers"] as? [[String: Any]])?.first)
    #expect(provider["id"] as? String == "sim")
    #expect(provider["in_flight"] as? Int == 0)
    #expect(provider["concurrency_limit"] as? Int == 4)
    #expect((provider["queued"] as? [String: Int]) == ["high": 0, "normal": 0, "low": 0])
    let bucket = try #require((provider["buckets"] as? [[String: Any]])?.first)
    #expect(bucket["dimension"] as? String == "requests")
    #expect(bucket["capacity"] as? Int == 60)
    #expect((provider["breaker"] as? [String: Any])?["state"] as? String == "closed")
    #expect((provider["keys"] as? [[String: Any]])?.first?["state"] as? String == "usable")
    #expect(!String(decoding: ask("GET", "/api/v1/status").body, as: UTF8.self).contains("never-shown"))
  }

  @Test func metricsAreWellFormed() {
    let text = String(decoding: ask("GET", "/metrics").body, as: UTF8.self)
    var families: Set<String> = []
    for line in text.split(separator: "\n") {
      if line.hasPrefix("# TYPE ") {
        #expect(families.insert(String(line.split(separator: " ")[2])).inserted)
      } else if !line.hasPrefix("#") {
        let parts = line.split(separator: " ")
        #expect(parts.count == 2)
        #expect(Double(parts.last ?? "") != nil)
      }
    }
    for name in ["tollgate_requests_total", "tollgate_queue_depth", "tollgate_concurrency_limit", "process_open_fds"] {
      #expect(families.contains(name))
    }
    #expect(text.contains("tollgate_concurrency_limit{provider=\"sim\"} 4\n"))
    #expect(text.contains("tollgate_queue_wait_seconds_bucket{priority=\"high\",le=\"+Inf\"} 0\n"))
  }

  @Test func metricsComeInTheFormatThatIsAskedFor() {
    let classic = ask("GET", "/metrics", [("accept", "text/plain")])
    #expect(classic.fields.contains { $0.name == "content-type" && $0.value.hasPrefix("text/plain; version=0.0.4") })
    #expect(!String(decoding: classic.body, as: UTF8.self).contains("# EOF"))
    let other = ask("GET", "/metrics", [("accept", "application/openmetrics-text;version=1.0.0,*/*;q=0.1")])
    #expect(other.status == 200)
    #expect(other.fields.contains { $0.name == "content-type" && $0.value.hasPrefix("application/openmetrics-text") })
    #expect(other.fields.contains { $0.name == "vary" && $0.value == "accept" })
    #expect(String(decoding: other.body, as: UTF8.self).hasSuffix("\n# EOF\n"))
  }
}

/// What a token that is one tenant's shows, and what it does not.
@Suite struct TenantTokenTests {
  private let bench = AdminBench()

  private func ask(_ method: String, _ target: String, token: String) -> Reply {
    var replies: [Reply] = []
    bench.console.answer(
      RequestHead(
        method: method, target: target, authority: "127.0.0.1:1",
        fields: HeaderFields([(name: "authorization", value: "Bearer \(token)")]))
    ) { replies.append($0) }
    #expect(replies.count == 1)
    return replies.last ?? .error(500, "no reply")
  }

  @Test func readsItsOwnAndChangesNothing() {
    let status = String(decoding: ask("GET", "/api/v1/status", token: "of-acme").body, as: UTF8.self)
    #expect(!status.contains("providers"))
    #expect(ask("GET", "/api/v1/status", token: "of-all").status == 200)
    #expect(ask("GET", "/metrics", token: "of-acme").status == 403)
    #expect(ask("GET", "/metrics", token: "of-all").status == 200)
    for target in ["/api/v1/reload", "/api/v1/drain", "/api/v1/keys/sim/main/disable", "/api/v1/breakers/sim/open"] {
      #expect(ask("POST", target, token: "of-acme").status == 403)
    }
    #expect(ask("GET", "/api/v1/status", token: "of-nobody").status == 401)
    #expect(ask("GET", "/api/v1/status", token: "").status == 401)
  }

  @Test func theReadTokenReadsEverythingAndChangesNothing() {
    for target in [
      "/api/v1/status", "/api/v1/requests", "/api/v1/sessions", "/api/v1/budgets", "/metrics", "/api/v1/me", "/",
    ] {
      #expect(
        ask("GET", target, token: "of-readers").body == ask("GET", target, token: "of-all").body
          || target == "/api/v1/me")
      #expect(ask("GET", target, token: "of-readers").status == 200, "\(target)")
    }
    for target in [
      "/api/v1/reload", "/api/v1/drain", "/api/v1/keys/sim/main/disable", "/api/v1/breakers/sim/open",
      "/api/v1/log-level?level=debug", "/api/v1/budgets/raise?usd=1&until=4000000000", "/api/v1/nothing", "/",
    ] {
      for method in ["POST", "PATCH", "DELETE", "PUT"] {
        #expect(ask(method, target, token: "of-readers").status == 403, "\(method) \(target)")
      }
    }
    #expect(!bench.broker.operator.isDraining)
  }

  @Test(arguments: [
    ("of-all", "true", "null", "admin"), ("of-readers", "false", "null", "read"),
    ("of-acme", "false", "\"acme\"", "tenant"),
  ])
  func aPageIsToldWhatItsTokenAllows(_ token: String, _ changes: String, _ tenant: String, _ kind: String) {
    let reply = ask("GET", "/api/v1/me", token: token)
    #expect(
      String(decoding: reply.body, as: UTF8.self)
        == "{\"can_change\":\(changes),\"tenant\":\(tenant),\"token\":\"\(kind)\"}")
  }

  @Test func aTenantsTokenFiltersWhateverIsAskedFor() {
    bench.send(tenant: "acme")
    bench.send(tenant: "other")
    func list(_ query: String, _ token: String) -> Int {
      let text = String(decoding: ask("GET", "/api/v1/requests\(query)", token: token).body, as: UTF8.self)
      return text.components(separatedBy: "\"id\":").count - 1
    }
    #expect(list("", "of-all") == 2)
    #expect(list("?tenant=other", "of-all") == 1)
    #expect(list("", "of-acme") == 1)
    #expect(list("?tenant=other", "of-acme") == 0)
    #expect(list("?tenant=acme", "of-acme") == 1)
    #expect(list("?sort=slowest", "of-acme") == 1)
    #expect(list("?provider=nobody", "of-all") == 0)
    #expect(list("?priority=high&session=none", "of-all") == 0)
    for target in ["history", "audit", "ledger"] {
      #expect(ask("GET", "/api/v1/\(target)", token: "of-acme").status == 403, "\(target)")
    }
  }

  @Test func anothersRequestIsUnknown() throws {
    bench.send(tenant: "acme")
    bench.send(tenant: "other")
    let mine = try #require(bench.broker.operator.requests.recent(limit: 9).first { $0.tenant == "acme" })
    let others = try #require(bench.broker.operator.requests.recent(limit: 9).first { $0.tenant == "other" })
    #expect(ask("GET", "/api/v1/requests/\(mine.text)", token: "of-acme").status == 200)
    #expect(ask("GET", "/api/v1/requests/\(others.text)", token: "of-acme").status == 404)
    #expect(ask("GET", "/api/v1/requests/\(others.text)", token: "of-all").status == 200)
    let list = String(decoding: ask("GET", "/api/v1/requests", token: "of-acme").body, as: UTF8.self)
    #expect(list.contains(mine.text) && !list.contains(others.text))
  }
}

/// A console with a token for all and one for the tenant `acme`.
private final class AdminBench {
  let broker: Broker
  let console: AdminConsole

  private final class Client: HTTPExchange {
    let head: RequestHead
    let body: [UInt8] = Array("{".utf8)
    var context: AnyObject?
    var connectionContext: AnyObject?
    var pendingBytes: Int { 0 }
    private(set) var isClosed = false
    var peer: String { "test" }
    init(tenant: String) {
      head = RequestHead(
        method: "POST", target: "/v1/chat/completions", authority: "x",
        fields: HeaderFields([(name: "x-tollgate-tenant", value: tenant)]))
    }
    func releaseBody() {}
    func respond(_ head: ResponseHead) {}
    func send(_ bytes: ArraySlice<UInt8>) {}
    func finish(trailers: HeaderFields?) { isClosed = true }
    func abort() { isClosed = true }
  }

  init() {
    var policy = Policy()
    policy.providers = [Provider(id: "sim", dialect: .openai, baseURL: "http://sim/v1")]
    policy.routes = [Route(models: ["*"], to: ["sim"])]
    policy.tenants = [Tenant(id: "acme"), Tenant(id: "other")]
    policy.trustTenantHeader = true
    policy.admin.token = Secret("of-all")
    policy.admin.readToken = Secret("of-readers")
    policy.admin.tenantTokens = [TenantToken(tenant: "acme", token: Secret("of-acme"))]
    broker = Broker(
      policy: policy, secrets: KeySecrets(),
      parts: BrokerParts(
        upstream: ScriptedUpstream(),
        clock: BrokerClock(monotonic: { 5_000_000_000 }, wall: { 1_763_720_000_000_000_000 }, seed: 1), loop: nil,
        hash: { $0 }))
    console = AdminConsole(
      broker: broker.operator,
      actions: AdminActions(reload: { $0([]) }, drain: {}, processFigures: { ProcessFigures() }), version: "test")
  }

  /// A request that ends at once, because its body is no JSON.
  func send(tenant: String) {
    let client = Client(tenant: tenant)
    broker.frontDoor.exchangeBegan(client)
    if !client.isClosed { broker.frontDoor.exchangeReady(client) }
    broker.frontDoor.exchangeEnded(client, .completed)
  }
}
