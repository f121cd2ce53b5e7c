// The list of sessions: order, search, limits, and names that a client chose.
import AdmissionCore
import BrokerEngine
import Foundation
import Testing

@testable import AdminConsole

@Suite struct SessionsPageTests {
  private let clock = SnapshotClock(now: 100, wall: 1_763_720_000_000_000_000)

  private func agent(
    _ name: String, running: Int = 0, waiting: Int = 0, tokens: Int64 = 0, cost: Int64 = 0, last: UInt64 = 1
  ) -> AgentSums {
    var sums = AgentSums(agent: name, firstAt: 0, lastAt: last)
    (sums.running, sums.waiting, sums.requests) = (running, waiting, 1)
    (sums.inputTokens, sums.cost) = (tokens, Money(nanodollars: cost))
    return sums
  }

  private func names(_ page: SessionsPage, _ all: [SessionSums]) throws -> (names: [String], leftOut: Int) {
    let object = try JSONSerialization.jsonObject(with: Data(page.json(all, clock))) as? [String: Any]
    let sessions = try #require(object?["sessions"] as? [[String: Any]])
    return (sessions.compactMap { $0["session"] as? String }, try #require(object?["left_out"] as? Int))
  }

  private var all: [SessionSums] {
    [
      SessionSums(tenant: "t", session: "runs", agents: [agent("", running: 3, last: 1)]),
      SessionSums(
        tenant: "t", session: "waits", agents: [agent("", waiting: 1, last: 2), agent("Sub", waiting: 2, last: 3)]),
      SessionSums(tenant: "u", session: "paid", agents: [agent("", cost: 9, last: 4)]),
      SessionSums(tenant: "u", session: "wrote", agents: [agent("", tokens: 50, last: 5)]),
    ]
  }

  @Test(arguments: [
    (SessionsPage.Sort.waiting, ["waits", "wrote", "paid", "runs"]), (.running, ["runs", "wrote", "paid", "waits"]),
    (.tokens, ["wrote", "paid", "waits", "runs"]), (.cost, ["paid", "wrote", "waits", "runs"]),
    (.recent, ["wrote", "paid", "waits", "runs"]),
  ])
  func theOrder(_ sort: SessionsPage.Sort, _ expected: [String]) throws {
    #expect(try names(SessionsPage(search: "", session: nil, sort: sort, limit: 9), all).names == expected)
  }

  @Test func searchesNamesOfTenantsSessionsAndAgents() throws {
    func found(_ text: String, session: String? = nil) throws -> Set<String> {
      Set(try names(SessionsPage(search: text, session: session, sort: .cost, limit: 9), all).names)
    }
    #expect(try found("sub") == ["waits"])
    #expect(try found("u") == ["paid", "wrote", "runs", "waits"])
    #expect(try found("wr") == ["wrote"])
    #expect(try found("", session: "paid") == ["paid"])
    #expect(try found("nothing").isEmpty)
  }

  @Test(arguments: [(1, 3), (3, 1), (4, 0), (5, 0)]) func whatIsLeftOutIsCounted(_ limit: Int, _ leftOut: Int) throws {
    let page = try names(SessionsPage(search: "", session: nil, sort: .waiting, limit: limit), all)
    #expect((page.names.count, page.leftOut) == (min(limit, 4), leftOut))
  }

  @Test func aSessionIsTheSumOfItsAgents() throws {
    let json = SessionsPage(search: "", session: "waits", sort: .waiting, limit: 1).json(all, clock)
    let object = try JSONSerialization.jsonObject(with: Data(json)) as? [String: Any]
    let session = try #require((object?["sessions"] as? [[String: Any]])?.first)
    #expect(session["waiting"] as? Int == 3)
    #expect(session["requests"] as? Int == 2)
    #expect((session["agents"] as? [[String: Any]])?.compactMap { $0["waiting"] as? Int } == [1, 2])
  }

  @Test(arguments: ["<script>alert(1)</script>", "\u{202E}x\u{0}\n\"\\", "😀"]) func namesAreText(_ name: String) throws
  {
    let hostile = [SessionSums(tenant: name, session: name, agents: [agent(name)])]
    #expect(try names(SessionsPage(search: "", session: nil, sort: .waiting, limit: 1), hostile).names == [name])
  }
}
