// Sessions and their agents: what is counted where, and who is forgotten.
import AdmissionCore
import Testing

@testable import BrokerEngine

@Suite struct SessionBookTests {
  @Test func aRequestIsCountedWhereItStands() throws {
    let book = SessionBook()
    let seat = book.seat(tenant: "t", session: "s", agent: "", at: 1)
    seat.waits()
    seat.waits()
    #expect(seat.sums.waiting == 2)
    seat.runs()
    seat.waitsAgain()
    seat.runs()
    #expect((seat.sums.waiting, seat.sums.running, seat.sums.requests) == (1, 1, 2))
    var usage = Usage()
    usage.inputTokens = 7
    usage.outputTokens = 3
    seat.used(usage, Money(nanodollars: 5))
    seat.ends(wasRunning: true, at: 9)
    seat.ends(wasRunning: false, at: 10)
    let session = try #require(book.sessions(tenant: nil).first)
    #expect(session.agents.count == 1)
    let sums = session.agents[0]
    #expect((sums.waiting, sums.running, sums.requests, sums.inputTokens, sums.outputTokens) == (0, 0, 2, 7, 3))
    #expect(sums.cost == Money(nanodollars: 5))
    #expect((sums.firstAt, sums.lastAt) == (1, 10))
  }

  @Test func agentsOfASessionAreOneSession() {
    let book = SessionBook()
    for (time, agent) in ["", "b", "a"].enumerated() {
      book.seat(tenant: "t", session: "s", agent: agent, at: UInt64(time)).waits()
    }
    book.seat(tenant: "u", session: "s", agent: "", at: 5).waits()
    #expect(book.sessions(tenant: "t").map { $0.agents.map(\.agent) } == [["", "b", "a"]])
    #expect(Set(book.sessions(tenant: nil).map(\.tenant)) == ["t", "u"])
    #expect(book.sessions(tenant: "nobody").isEmpty)
  }

  @Test func theSixtyFifthAgentCountsAsTheOneWithoutAName() {
    let book = SessionBook()
    for number in 0..<100 { book.seat(tenant: "t", session: "s", agent: "a\(number)", at: UInt64(number)).waits() }
    let agents = book.sessions(tenant: nil).first?.agents ?? []
    #expect(agents.count == SessionBook.mostAgents + 1)
    #expect(agents.reduce(0) { $0 + $1.requests } == 100)
    #expect(agents.first { $0.agent.isEmpty }?.requests == 100 - SessionBook.mostAgents)
  }

  @Test func whoWasNotSeenForLongestIsForgottenAndNobodyWithALiveRequest() {
    let book = SessionBook(most: 8)
    let oldest = book.seat(tenant: "t", session: "live", agent: "", at: 0)
    oldest.waits()
    for number in 1...1000 {
      let seat = book.seat(tenant: "t", session: "s\(number)", agent: "", at: UInt64(number))
      seat.waits()
      seat.ends(wasRunning: false, at: UInt64(number))
      #expect(book.count <= 8)
    }
    let names = Set(book.sessions(tenant: nil).map(\.session))
    #expect(names.contains("live") && names.contains("s1000") && !names.contains("s1"))
    oldest.ends(wasRunning: false, at: 1001)
    #expect(oldest.isIdle)
  }

  @Test func aNameThatIsTooLongIsNotKept() {
    let book = SessionBook()
    let long = String(repeating: "x", count: SessionBook.longestName + 1)
    book.seat(tenant: "t", session: long, agent: "", at: 0).waits()
    #expect(book.count == 0)
    book.seat(tenant: "t", session: String(long.dropLast()), agent: "", at: 0).waits()
    #expect(book.count == 1)
  }
}

extension SessionBook {
  fileprivate func sessions(tenant: String?) -> [SessionSums] { SessionSums.sessions(of: seats(tenant: tenant)) }
}
