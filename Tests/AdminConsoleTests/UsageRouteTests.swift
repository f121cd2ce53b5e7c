// The usage route: what it asks of the books, how it answers, what it refuses, and that an answer may come later.
import AdmissionCore
import BrokerEngine
import Foundation
import HTTPDoubles
import HTTPMessage
import PolicyFile
import Testing
import TextForms

@testable import AdminConsole
@testable import LedgerStore

@Suite struct UsageRouteTests {
  /// The questions that came, and the way back to who asked.
  private final class Desk {
    var asked: [UsageQuery] = []
    var formats: [UsageFormat] = []
    var answers: [(Result<String, LedgerError>) -> Void] = []
    var settling: [(Bool) -> Void] = []
    var pending = 3
  }
  private final class Replies { var all: [Reply] = [] }

  private let console: AdminConsole
  private let desk = Desk()

  init() {
    var policy = Policy()
    policy.admin.token = Secret("boss")
    policy.admin.tenantTokens = [TenantToken(tenant: "acme", token: Secret("acme-token"))]
    let broker = Broker(
      policy: policy, secrets: KeySecrets(),
      parts: BrokerParts(
        upstream: ScriptedUpstream(),
        clock: BrokerClock(monotonic: { 5 }, wall: { 1_763_720_000_000_000_000 }, seed: 1),
        loop: nil, hash: { $0 }))
    console = AdminConsole(
      broker: broker.operator,
      actions: AdminActions(reload: { $0([]) }, drain: {}, processFigures: { ProcessFigures() }),
      version: "test")
    let desk = desk
    console.ledgerDesk = LedgerDesk(
      store: "/var/lib/t.db", now: { WallInstant(nanoseconds: 1_795_000_000_000_000_000) },
      counts: { (pending: desk.pending, lost: 1) },
      settle: { desk.settling.append($0) },
      usage: { query, format, then in
        desk.asked.append(query)
        desk.formats.append(format)
        desk.answers.append(then)
      })
  }

  private func ask(_ target: String, token: String? = "boss", method: String = "GET") -> Replies {
    let replies = Replies()
    let fields = token.map { [(name: "authorization", value: "Bearer \($0)")] } ?? []
    console.answer(
      RequestHead(method: method, target: target, authority: "127.0.0.1:1", fields: HeaderFields(fields))
    ) { replies.all.append($0) }
    return replies
  }

  @Test func theAnswerComesWhenTheReportDoes() throws {
    let replies = ask("/api/v1/usage?by=tenant%2Cday&since=2026-11-01T00:00:00%2B01:00&until=1h")
    #expect(replies.all.isEmpty)
    let query = try #require(desk.asked.first)
    #expect(query.by == [.tenant, .day])
    #expect(query.since.nanoseconds == 1_793_487_600_000_000_000)
    #expect(query.until.nanoseconds == 1_794_996_400_000_000_000)
    #expect(query.tenant == nil)
    desk.answers[0](.success("the report"))
    #expect(replies.all.map(\.status) == [200])
    #expect(replies.all[0].fields.contains { $0.name == "content-type" && $0.value.hasPrefix("application/json") })
    #expect(String(decoding: replies.all[0].body, as: UTF8.self) == "the report")
  }

  @Test func csvAndFailure() {
    let csv = ask("/api/v1/usage?format=csv&bucket=hour")
    #expect(desk.asked[0].by == [.hour, .tenant, .model])
    #expect(desk.formats == [.csv])
    desk.answers[0](.success("the report"))
    #expect(csv.all[0].fields.contains { $0.name == "content-type" && $0.value.hasPrefix("text/csv") })
    let failing = ask("/api/v1/usage")
    desk.answers[1](.failure(LedgerError(.locked, "not now")))
    #expect(failing.all.map(\.status) == [503])
    #expect(String(decoding: failing.all[0].body, as: UTF8.self).contains("not now"))
  }

  @Test(arguments: ["by=colour", "since=soon", "format=xml", "bucket=week", "buy=x", "by=%zz", "by=%f", "by=%FF"])
  func mistakesAskNothing(query: String) {
    #expect(ask("/api/v1/usage?" + query).all.map(\.status) == [400])
    #expect(desk.asked.isEmpty)
  }

  @Test func tokensDecideWhatIsSeen() {
    #expect(ask("/api/v1/usage", token: nil).all.map(\.status) == [401])
    #expect(ask("/api/v1/usage", token: "wrong").all.map(\.status) == [401])
    #expect(desk.asked.isEmpty)
    _ = ask("/api/v1/usage", token: "acme-token")
    #expect(desk.asked.map(\.tenant) == ["acme"])
    #expect(ask("/api/v1/ledger", token: "acme-token").all.map(\.status) == [403])
    #expect(ask("/api/v1/ledger", token: nil).all.map(\.status) == [401])
    #expect(ask("/api/v1/ledger", method: "POST").all.map(\.status) == [405])
    #expect(desk.settling.isEmpty)
    #expect(ask("/api/v1/usage", method: "POST").all.map(\.status) == [405])
  }

  @Test func whereTheBooksAre() throws {
    let replies = ask("/api/v1/ledger")
    #expect(replies.all.isEmpty)
    desk.pending = 2
    desk.settling[0](false)
    let reply = try #require(replies.all.first)
    let object = try JSONSerialization.jsonObject(with: Data(reply.body)) as? [String: Any]
    #expect(object?["store"] as? String == "/var/lib/t.db")
    #expect(object?["pending"] as? Int == 2 && object?["lost"] as? Int == 1)
    #expect(object?["obstacle"] is NSNull)
    // What has come since the question is not what the file lacks.
    let settled = ask("/api/v1/ledger")
    desk.settling[1](true)
    let body = try #require(settled.all.first?.body)
    #expect((try JSONSerialization.jsonObject(with: Data(body)) as? [String: Any])?["pending"] as? Int == 0)
    console.ledgerDesk = nil
    #expect(ask("/api/v1/ledger").all.map(\.status) == [503])
    #expect(ask("/api/v1/usage").all.map(\.status) == [503])
  }
}
