// However many watch, the loop looks once, one document is written for all who see the same, and long lists are written
// in pieces.
import AdmissionCore
import BrokerEngine
import EventLoop
import HTTPDoubles
import HTTPMessage
import PolicyFile
import Testing

@testable import AdminConsole

@Suite struct SharedLookTests {
  let loop: EventLoop
  let broker: Broker
  let console: AdminConsole

  /// One who asks, or listens to events.
  private final class Viewer: HTTPExchange {
    let head: RequestHead
    let body: [UInt8]
    var context: AnyObject?
    var connectionContext: AnyObject?
    var pendingBytes = 0
    private(set) var isClosed = false
    var peer: String { "test" }
    private(set) var status = 0
    private(set) var text = ""
    private(set) var sendings = 0

    init(_ target: String, token: String? = nil, method: String = "GET", tenant: String? = nil, body: String = "") {
      var fields: [(name: String, value: String)] = []
      if let token { fields.append((name: "authorization", value: "Bearer \(token)")) }
      if let tenant { fields.append((name: "x-tollgate-tenant", value: tenant)) }
      head = RequestHead(method: method, target: target, authority: "127.0.0.1:1", fields: HeaderFields(fields))
      self.body = Array(body.utf8)
    }
    func releaseBody() {}
    func respond(_ head: ResponseHead) { status = head.status }
    func send(_ bytes: ArraySlice<UInt8>) {
      sendings += 1
      text += String(decoding: bytes, as: UTF8.self)
    }
    func finish(trailers: HeaderFields?) { isClosed = true }
    func abort() { isClosed = true }
    var snapshots: Int { text.split(separator: "\n\n").count { $0.hasPrefix("event: snapshot\n") } }
  }

  init() throws {
    var policy = Policy()
    policy.providers = [Provider(id: "sim", dialect: .openai, baseURL: "http://sim/v1")]
    policy.providers[0].limits.concurrency = 1
    policy.routes = [Route(models: ["*"], to: ["sim"])]
    policy.tenants = [Tenant(id: "acme"), Tenant(id: "other")]
    policy.trustTenantHeader = true
    policy.admin.token = Secret("of-all")
    policy.admin.tenantTokens = [TenantToken(tenant: "acme", token: Secret("of-acme"))]
    loop = try EventLoop()
    broker = Broker(
      policy: policy, secrets: KeySecrets(),
      parts: BrokerParts(
        upstream: ScriptedUpstream(),
        clock: BrokerClock(monotonic: { 5_000_000_000 }, wall: { 1_763_720_000_000_000_000 }, seed: 1), loop: nil,
        hash: { $0 }))
    console = AdminConsole(
      broker: broker.operator,
      actions: AdminActions(reload: { $0([]) }, drain: {}, processFigures: { ProcessFigures() }),
      version: "test", loop: loop)
    console.checksHost = false
  }

  private func ask(_ viewers: [Viewer]) { for viewer in viewers { console.exchangeReady(viewer) } }

  /// Turns the loop until the condition holds, a bounded number of times.
  private func turn(until condition: () -> Bool) {
    // After the timers that are due a turn waits for what comes next, so something always does.
    let heartbeat = LoopTimer(loop) {}
    for _ in 0..<10_000 {
      if condition() { return }
      heartbeat.schedule(after: .milliseconds(1))
      loop.turn(waiting: true)
    }
  }

  @Test func whoAsksBeforeTheLookSharesItAndItsDocument() {
    let all = (0..<20).map { _ in Viewer("/api/v1/status", token: "of-all") }
    let some = (0..<5).map { _ in Viewer("/api/v1/status", token: "of-acme") }
    let metrics = Viewer("/metrics", token: "of-all")
    let budgets = Viewer("/api/v1/budgets", token: "of-all")
    ask(all + some + [metrics, budgets])
    #expect(console.pieces.looks == 0, "nothing is gathered in the turn of the question")
    turn { (all + some + [metrics, budgets]).allSatisfy(\.isClosed) }
    #expect(console.pieces.looks == 1)
    #expect(console.renderer.written == 4)
    #expect(Set(all.map(\.text)).count == 1 && all[0].text.contains(#""providers""#))
    #expect(Set(some.map(\.text)).count == 1 && !some[0].text.contains(#""providers""#))
    #expect(metrics.text.contains("tollgate_build_info") && budgets.text.hasPrefix(#"{"budgets":["#))
    // The next question gets a new one: an answer is never older than its question.
    let next = Viewer("/api/v1/status", token: "of-all")
    ask([next])
    turn { next.isClosed }
    #expect(console.pieces.looks == 2 && console.renderer.written == 5)
  }

  @Test func aTickIsWrittenOnceForAllListeners() {
    let all = (0..<20).map { _ in Viewer("/api/v1/events", token: "of-all") }
    let some = (0..<3).map { _ in Viewer("/api/v1/events", token: "of-acme") }
    ask(all + some)
    turn { (all + some).allSatisfy { $0.snapshots == 1 } }
    #expect(console.pieces.looks == 1 && console.renderer.written == 2, "those who come at once are greeted together")
    turn { (all + some).allSatisfy { $0.snapshots == 2 } }
    #expect(
      console.pieces.looks == 2 && console.renderer.written == 4, "a tick is one look, and a document for each view")
    #expect(Set(all.map(\.text)).count == 1 && Set(some.map(\.text)).count == 1)
    for viewer in all + some { console.exchangeEnded(viewer, .clientLeft) }
  }

  /// Puts calls in the queue; the first one runs.
  private func fill(_ count: Int) -> [Viewer] {
    (0..<count).map { _ in
      let call = Viewer(
        "/v1/chat/completions", method: "POST", tenant: "acme",
        body: #"{"model":"m","messages":[{"role":"user","content":"x"}]}"#)
      broker.frontDoor.exchangeBegan(call)
      broker.frontDoor.exchangeReady(call)
      return call
    }
  }

  @Test(arguments: [0, 1, RequestListing.atOnce, RequestListing.atOnce + 1, 3 * RequestListing.atOnce])
  func aListIsWrittenInPieces(waiting: Int) {
    let calls = fill(waiting + 1)
    let list = Viewer("/api/v1/requests?state=queued&limit=1000", token: "of-all")
    let status = Viewer("/api/v1/status", token: "of-all")
    ask([list, status])
    #expect(!list.isClosed)
    turn { list.isClosed && status.isClosed }
    #expect(list.text.components(of: #""state":"queued""#) == waiting)
    #expect(list.text.components(of: #""waits_for":{"#) == min(waiting, 100))
    #expect(list.text.hasPrefix(#"{"requests":["#) && list.text.hasSuffix("]}"))
    #expect(status.text.contains(#""queued":{"high":0,"normal":\#(waiting),"low":0}"#))
    _ = calls
  }

  @Test func aCallThatIsOverMeanwhileIsNoLongerInTheListOfThoseThatWait() throws {
    let calls = fill(3)
    let list = Viewer("/api/v1/requests?state=queued", token: "of-all")
    ask([list])
    broker.frontDoor.exchangeEnded(calls[2], .clientLeft)
    turn { list.isClosed }
    #expect(list.text.components(of: #""state":"queued""#) == 1 && !list.text.contains("client_left"))
  }
}

extension String {
  /// How often a text occurs.
  fileprivate func components(of part: String) -> Int {
    var count = 0
    var rest = self[...]
    while let found = rest.firstRange(of: part) {
      count += 1
      rest = rest[found.upperBound...]
    }
    return count
  }
}
