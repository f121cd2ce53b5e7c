// The class of a session's last turn: by agent, for an hour, for so many sessions and agents.
import AdmissionCore
import Testing

@testable import BrokerEngine

@Suite struct TurnMemoryTests {
  @Test func theAgentsOwnTurnCountsElseTheSessions() {
    var memory = TurnMemory()
    #expect(memory.priority(tenant: "t", session: "s", agent: "", at: 0) == nil)
    memory.note(tenant: "t", session: "s", agent: "", .high, at: 1)
    #expect(memory.priority(tenant: "t", session: "s", agent: "", at: 2) == .high)
    #expect(memory.priority(tenant: "t", session: "s", agent: "a", at: 2) == .high)
    memory.note(tenant: "t", session: "s", agent: "a", .low, at: 3)
    #expect(memory.priority(tenant: "t", session: "s", agent: "a", at: 4) == .low)
    #expect(memory.priority(tenant: "t", session: "s", agent: "", at: 4) == .high)
    // Others' agents take the newest of the session.
    #expect(memory.priority(tenant: "t", session: "s", agent: "b", at: 4) == .low)
    memory.note(tenant: "t", session: "s", agent: "", .normal, at: 5)
    #expect(memory.priority(tenant: "t", session: "s", agent: "b", at: 6) == .normal)
  }

  @Test func sessionsAndTenantsAreApart() {
    var memory = TurnMemory()
    memory.note(tenant: "t", session: "s", agent: "", .high, at: 1)
    #expect(memory.priority(tenant: "t", session: "s2", agent: "", at: 2) == nil)
    #expect(memory.priority(tenant: "u", session: "s", agent: "", at: 2) == nil)
    memory.note(tenant: "t", session: "", agent: "", .high, at: 1)
    #expect(memory.priority(tenant: "t", session: "", agent: "", at: 2) == nil)
    #expect(memory.count == 1)
  }

  @Test func aTurnCountsForAnHour() {
    var memory = TurnMemory()
    memory.note(tenant: "t", session: "s", agent: "", .high, at: 10)
    func found(at now: UInt64) -> Priority? { memory.priority(tenant: "t", session: "s", agent: "", at: now) }
    #expect(found(at: 10 + TurnMemory.life - 1) == .high)
    #expect(found(at: 10 + TurnMemory.life) == .high)
    #expect(found(at: 10 + TurnMemory.life + 1) == nil)
    // A turn of another agent that is too old does not hide one that is not.
    memory.note(tenant: "t", session: "s", agent: "a", .low, at: 10 + TurnMemory.life)
    #expect(found(at: 11 + TurnMemory.life) == .low)
  }

  @Test func aTitleBelongsToTheTurnBeforeIt() {
    var titles = TitleThreads()
    func found(_ installation: String, at now: UInt64, tenant: String = "t") -> String? {
      titles.session(tenant: tenant, installation: installation, at: now)
    }
    #expect(found("i", at: 0) == nil)
    titles.note(tenant: "t", installation: "i", session: "s1", at: 100)
    titles.note(tenant: "t", installation: "j", session: "s2", at: 100)
    titles.note(tenant: "t", installation: "", session: "s3", at: 100)
    #expect(found("i", at: 100 + TitleThreads.window - 1) == "s1")
    #expect(found("i", at: 100 + TitleThreads.window) == "s1")
    #expect(found("i", at: 101 + TitleThreads.window) == nil)
    #expect(found("j", at: 100) == "s2")
    #expect(found("", at: 100) == nil)
    #expect(found("i", at: 100, tenant: "u") == nil)
    titles.note(tenant: "t", installation: "i", session: "s4", at: 200)
    #expect(found("i", at: 200) == "s4")
    for index in 0..<(5 * TitleThreads.most) {
      titles.note(tenant: "t", installation: "k\(index)", session: "s", at: 300)
    }
    #expect(titles.count <= 2 * TitleThreads.most)
    #expect(found("i", at: 300) == nil)
  }

  @Test(arguments: [1, 2, 3])
  func aMapOfRecentValuesKeepsTheLastOnes(_ most: Int) {
    var map = RecentMap<Int, Int>(most: most)
    for key in 0..<100 {
      map.set(key, for: key)
      map.set(-1, for: -1)
      #expect(map.count <= 2 * most)
      #expect(map[key] == key)
      #expect(map[-1] == -1)
    }
    #expect((0..<98).allSatisfy { key in key >= 99 - 2 * most || map[key] == nil })
  }

  @Test func itDoesNotGrowWithoutBound() {
    var memory = TurnMemory()
    for index in 0..<(5 * TurnMemory.most) {
      memory.note(tenant: "t", session: "kept", agent: "", .high, at: UInt64(index))
      memory.note(tenant: "t", session: "s\(index)", agent: "", .low, at: UInt64(index))
      if memory.count > 2 * TurnMemory.most { break }
    }
    #expect(memory.count <= 2 * TurnMemory.most)
    // Who comes back is remembered.
    #expect(memory.priority(tenant: "t", session: "kept", agent: "", at: 0) == .high)
    #expect(memory.priority(tenant: "t", session: "s0", agent: "", at: 0) == nil)
    for index in 0..<100 { memory.note(tenant: "t", session: "wide", agent: "a\(index)", .low, at: 1) }
    memory.note(tenant: "t", session: "wide", agent: "last", .high, at: 2)
    #expect(memory.priority(tenant: "t", session: "wide", agent: "a99", at: 2) == .low)
    // One that was forgotten has the session's class.
    #expect(memory.priority(tenant: "t", session: "wide", agent: "a1", at: 2) == .high)
  }
}
