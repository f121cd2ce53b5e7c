// The calendar side of budgets: what the core is told when windows and raises end, and when the machine's clock is set.
import AdmissionCore
import LedgerVocabulary
import PolicyFile
import Testing
import TextForms

@testable import BrokerEngine

@Suite struct BudgetKeeperTests {
  private final class Desk {
    /// 2026-11-21T13:00:00Z.
    var wall: Int64 = 1_795_266_000_000_000_000
    var monotonic: UInt64 = 7_000_000_000
    var told: [AdmissionEvent] = []
    lazy var keeper = BudgetKeeper(
      loop: nil, now: { [unowned self] in monotonic }, wall: { [unowned self] in wall + Int64($0) - Int64(monotonic) },
      tell: { [unowned self] in told.append($0) })

    func pass(seconds: Int64) {
      wall += seconds * 1_000_000_000
      monotonic += UInt64(seconds * 1_000_000_000)
      keeper.check(at: monotonic)
    }
    var windows: [[BudgetWindowState]] {
      told.compactMap { if case .budgetWindowsBegan(let states) = $0 { states } else { nil } }
    }
    var raises: [[BudgetRaise]] {
      told.compactMap { if case .budgetRaisesReplaced(let raises) = $0 { raises } else { nil } }
    }
  }

  @Test func windowsAreToldAndTheirEnds() {
    let desk = Desk()
    desk.keeper.policyChanged([BudgetWindow(.hour), BudgetWindow(.day), BudgetWindow(.total)])
    #expect(desk.windows.count == 1)
    #expect(desk.windows[0].map(\.window.period) == [.hour, .day])
    #expect(desk.windows[0][0].serial == 1_795_266_000)
    #expect(desk.windows[0][0].end == Instant(nanoseconds: 7_000_000_000 + 3600 * 1_000_000_000))
    #expect(desk.windows[0][1].end == Instant(nanoseconds: 7_000_000_000 + 11 * 3600 * 1_000_000_000))
    desk.pass(seconds: 3599)
    #expect(desk.windows.count == 1)
    desk.pass(seconds: 1)
    #expect(desk.windows.count == 2)
    #expect(desk.windows[1][0].serial == 1_795_269_600)
    #expect(desk.windows[1][1].serial == desk.windows[0][1].serial)
    #expect(
      desk.keeper.spans([(BudgetWindow(.day), [.tenant]), (BudgetWindow(.total), [.tenant])]).map(\.began.nanoseconds)
        == [desk.windows[0][1].serial * 1_000_000_000, 0])
  }

  @Test func aRollingWindowIsToldPieceByPiece() {
    let desk = Desk()
    let window = BudgetWindow(rolling: 3600)
    desk.keeper.policyChanged([window])
    #expect(desk.windows[0][0].serial == 1_795_266_000 / 60)
    #expect(desk.windows[0][0].end == Instant(nanoseconds: 7_000_000_000 + 60 * 1_000_000_000))
    desk.pass(seconds: 59)
    #expect(desk.windows.count == 1)
    desk.pass(seconds: 1)
    #expect(desk.windows[1][0].serial == 1_795_266_060 / 60)
    let spans = desk.keeper.spans([(window, [.session])])
    #expect(spans.count == 60)
    #expect(
      spans.last
        == BudgetSpan(
          window: window, scopes: [.session], began: WallInstant(nanoseconds: 1_795_266_060_000_000_000),
          piece: 1_795_266_060 / 60))
    #expect(spans.first?.began == WallInstant(nanoseconds: (1_795_266_060 - 59 * 60) * 1_000_000_000))
  }

  @Test func aClockThatIsSetIsNoticed() {
    let desk = Desk()
    desk.keeper.policyChanged([BudgetWindow(.day)])
    desk.wall += 900_000_000
    desk.keeper.check(at: desk.monotonic)
    #expect(desk.windows.count == 1)
    desk.wall += 86_400 * 1_000_000_000
    desk.keeper.check(at: desk.monotonic)
    #expect(desk.windows.count == 2)
    #expect(desk.windows[1][0].serial == desk.windows[0][0].serial + 86_400)
    desk.wall -= 2 * 86_400 * 1_000_000_000
    desk.keeper.check(at: desk.monotonic)
    #expect(desk.windows[2][0].serial == desk.windows[0][0].serial - 86_400)
  }

  @Test func raisesAreToldAndEnd() {
    let desk = Desk()
    desk.keeper.policyChanged([])
    #expect(desk.told.isEmpty)
    let until = WallInstant(nanoseconds: desk.wall + 60 * 1_000_000_000)
    desk.keeper.raise(HeldRaise(tenant: "acme", amount: Money(nanodollars: 5), until: until))
    desk.keeper.restore([HeldRaise(tenant: nil, budget: "broker/day", amount: Money(nanodollars: 7), until: until)])
    #expect(desk.raises.map(\.count) == [1, 2])
    #expect(desk.raises[1][0].until == Instant(nanoseconds: Int64(desk.monotonic) + 60 * 1_000_000_000))
    // The clock is set back: the raise holds as long as the wall clock says.
    desk.wall -= 30 * 1_000_000_000
    desk.keeper.check(at: desk.monotonic)
    #expect(desk.raises[2][0].until == Instant(nanoseconds: Int64(desk.monotonic) + 90 * 1_000_000_000))
    desk.pass(seconds: 90)
    #expect(desk.raises.last?.isEmpty == true)
    #expect(desk.keeper.raises.isEmpty)
    let count = desk.told.count
    desk.pass(seconds: 90)
    #expect(desk.told.count == count)
  }

  @Test func raisesAreReadFromTheLedgersWords() {
    let until = WallInstant(nanoseconds: 9)
    func change(_ name: String, state: LedgerChange.State = .raised) -> LedgerChange {
      LedgerChange(
        at: WallInstant(nanoseconds: 1), subject: .budget, name: name, state: state, amount: Money(nanodollars: 3),
        until: until)
    }
    #expect(HeldRaise(change("acme/*")) == HeldRaise(tenant: "acme", amount: Money(nanodollars: 3), until: until))
    #expect(HeldRaise(change("broker/*")) == HeldRaise(tenant: nil, amount: Money(nanodollars: 3), until: until))
    #expect(
      HeldRaise(change("acme/session/a/day"))
        == HeldRaise(tenant: "acme", budget: "acme/session/a/day", amount: Money(nanodollars: 3), until: until))
    #expect(HeldRaise(change("acme/*", state: .reloaded)) == nil)
    #expect(HeldRaise(change("acme")) == nil)
  }
}
