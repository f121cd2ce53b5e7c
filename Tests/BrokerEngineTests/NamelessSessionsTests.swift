// Sessions of clients that name none: one for each connection, eight at most, and nothing left behind.
import AdmissionCore
import HTTPMessage
import Testing

@testable import BrokerEngine

@Suite struct NamelessSessionsTests {
  private let sessions = NamelessSessions(hash: { bytes in
    [UInt8(truncatingIfNeeded: bytes.reduce(7) { $0 &* 31 &+ Int($1) }), 1, 2, 3]
  })

  private func connection() -> FakeExchange { FakeExchange("POST", "/v1/messages") }
  private func identity(_ credential: String = "k", _ agent: String = "OpenAI/Python 3.57.0")
    -> NamelessSessions.Identity
  {
    NamelessSessions.Identity(tenant: "default", credential: credential, userAgent: agent)
  }
  private func session(_ connection: FakeExchange, _ of: NamelessSessions.Identity) -> String {
    sessions.place(of: connection, of).session
  }

  @Test func aConnectionIsASession() {
    let (first, second) = (connection(), connection())
    let one = session(first, identity())
    #expect(session(first, identity()) == one)
    #expect(session(second, identity()) != one)
    #expect(one.hasPrefix("OpenAI-Python~"))
    #expect(one.hasSuffix("/1"))
    #expect(sessions.place(of: first, identity()).caller.group == sessions.place(of: second, identity()).caller.group)
  }

  @Test(arguments: [7, 8, 9, 50])
  func aPoolOfConnectionsHasEightSessionsAtMost(_ count: Int) {
    let pool = (0..<count).map { _ in connection() }
    let names = pool.map { session($0, identity()) }
    #expect(Set(names).count == min(count, 8))
    // They are spread evenly.
    let sizes = Dictionary(grouping: names) { $0 }.values.map(\.count)
    #expect((sizes.max() ?? 0) - (sizes.min() ?? 0) <= 1)
  }

  @Test func callersAreToldApartByCredentialAndProgram() {
    let pool = [identity("a"), identity("b"), identity("a", "curl/8"), identity("", "")].map { ($0, connection()) }
    let groups = pool.map { sessions.place(of: $1, $0).caller.group }
    #expect(Set(groups).count == 4)
    #expect(sessions.count == 4)
    #expect(!groups.contains { $0.contains("a~a") })
    #expect(groups[3].hasPrefix("client~"))
  }

  @Test func nothingIsKeptOfACallerWithoutConnections() {
    do {
      let one = connection()
      let two = connection()
      #expect(session(one, identity()).hasSuffix("/1"))
      #expect(session(two, identity()).hasSuffix("/2"))
      one.connectionContext = nil
      // The place that is free is taken first.
      let three = connection()
      #expect(session(three, identity()).hasSuffix("/1"))
      #expect(sessions.count == 1)
    }
    #expect(sessions.count == 0)
  }

  @Test func aConnectionThatChangesItsCallerGivesUpTheFirstSession() {
    let shared = connection()
    #expect(session(shared, identity("a")).hasSuffix("/1"))
    #expect(session(shared, identity("b")).hasSuffix("/1"))
    #expect(sessions.count == 1)
  }

  @Test(arguments: [
    ("python-httpx/0.28.1", "python-httpx-0.28.1~"), ("a(b)", "a~"), ("\u{7}evil\n", "client~"), ("é/1", "---1~"),
    (String(repeating: "x", count: 300), String(repeating: "x", count: 40) + "~"),
  ])
  func namesArePlain(_ agent: String, _ start: String) {
    #expect(session(connection(), identity("k", agent)).hasPrefix(start))
  }

  @Test func allSessionsOfACallerHaveOneAccount() {
    let place = sessions.place(of: connection(), identity())
    #expect(SessionID(place.session).account == SessionID(place.caller.group))
  }

  @Test(arguments: ["", "a", "mine/1", "a~12345/1", "a~12345g/1", "a~123456/9", "a~123456/0", "a~123456", "a-123456/1"])
  func otherSessionsAreTheirOwnAccount(_ name: String) {
    #expect(SessionID(name).account == SessionID(name))
  }
}
