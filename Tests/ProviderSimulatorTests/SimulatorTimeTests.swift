// The agenda: order, one alarm, work that makes work.
import Testing

@testable import ProviderSimulator

@Suite struct SimulatorTimeTests {
  @Test func workRunsInOrderOfTimeThenOfMaking() {
    let time = ManualTime()
    let agenda = Agenda(time)
    var seen: [Int] = []
    agenda.schedule(after: 2_000_000) { seen.append(3) }
    agenda.schedule(after: 1_000_000) { seen.append(1) }
    agenda.schedule(after: 1_000_000) { seen.append(2) }
    #expect(time.alarm == time.now + 1_000_000)
    time.advance(milliseconds: 1)
    #expect(seen == [1, 2])
    time.advance(milliseconds: 1)
    #expect(seen == [1, 2, 3])
    #expect(agenda.count == 0)
  }

  @Test func workThatMakesWorkForNowYields() {
    let time = ManualTime()
    let agenda = Agenda(time)
    var rounds = 0
    func again() {
      rounds += 1
      if rounds < 5 { agenda.schedule(after: 0) { again() } }
    }
    agenda.schedule(after: 0) { again() }
    time.rang?()
    #expect(rounds == 1)
    time.advance(milliseconds: 0)
    #expect(rounds == 5)
  }

  @Test func earlierWorkMovesTheAlarm() {
    let time = ManualTime()
    let agenda = Agenda(time)
    agenda.schedule(after: 5_000_000) {}
    agenda.schedule(after: 9_000_000) {}
    #expect(time.alarm == time.now + 5_000_000)
    agenda.schedule(after: 1_000_000) {}
    #expect(time.alarm == time.now + 1_000_000)
  }
}
