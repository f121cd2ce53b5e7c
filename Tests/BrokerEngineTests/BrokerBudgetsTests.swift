// Budgets through the whole broker: refusals, headers, notes, raises in the ledger.
import AdmissionCore
import HTTPMessage
import PolicyFile
import Pricing
import Testing
import TextForms

@testable import BrokerEngine

@Suite struct BrokerBudgetsTests {
  private static let header = "x-tollgate-budget-remaining-usd"

  private func broker(_ budgets: [Budget], ledger: FakeLedger? = nil) -> Rig {
    Rig(
      ledger: ledger,
      prices: PriceList(
        version: "test",
        entries: [ModelPrice(models: "m", rates: PriceRates(input: 0, output: 1_000_000_000))])
    ) { policy in
      policy.budgets = budgets.map { budget in
        var budget = budget
        budget.scope = .broker
        return budget
      }
    }
  }

  /// One output token costs a thousandth of a dollar.
  private func ask(_ rig: Rig, cap: Int = 10) -> FakeExchange {
    let exchange = FakeExchange(
      "POST", "/v1/chat/completions", fields: [("content-type", "application/json")],
      body: #"{"model": "m", "max_tokens": \#(cap), "messages": [{"role": "user", "content": "hello"}]}"#)
    rig.broker.frontDoor.exchangeBegan(exchange)
    rig.broker.frontDoor.exchangeReady(exchange)
    return exchange
  }

  private func answer(_ rig: Rig, output: Int) {
    rig.upstream.last?.respond(
      200, [("content-type", "application/json")],
      [#"{"usage": {"prompt_tokens": 5, "completion_tokens": \#(output)}}"#])
  }

  @Test func aBudgetRefusesWithItsFigures() {
    let rig = broker([Budget(limit: Money(nanodollars: 15_000_000), per: .day)])
    let first = ask(rig)
    answer(rig, output: 10)
    #expect(first.field(Self.header) == "0.005000000")
    let second = ask(rig)
    #expect(second.answer?.status == 429)
    #expect(second.field(Self.header) == "0.005000000")
    #expect(
      second.text.contains(
        "'broker/day' cannot pay for this request: it is reckoned to cost $0.01, $0.01 of $0.015 is spent. Its window ends at "
      ))
    #expect(rig.broker.operator.budgetReadings.map(\.id) == ["broker/day"])
  }

  @Test func aTotalBudgetSaysThatItDoesNotEnd() {
    let rig = broker([Budget(limit: Money(nanodollars: 1_000_000), per: .total)])
    #expect(ask(rig).text.contains("Its window does not end"))
  }

  @Test func aLowBudgetShowsInRecordAndHeader() {
    var low = Budget(limit: .zero, per: .day)
    low.onExceed = .low
    let rig = broker([low])
    let exchange = ask(rig)
    answer(rig, output: 1)
    #expect(exchange.field("x-tollgate-priority") == "low")
    #expect(rig.ended.first?.priorityReason == "budget broker/day is used up")
  }

  @Test func aRaiseIsWrittenDownAndHolds() {
    let ledger = FakeLedger()
    let rig = broker([Budget(limit: Money(nanodollars: 1_000_000), per: .total)], ledger: ledger)
    let until = WallInstant(nanoseconds: 1_763_720_060_000_000_000)
    rig.broker.operator.raiseBudget(
      HeldRaise(tenant: nil, amount: Money(nanodollars: 9_000_000), until: until), askedBy: "admin")
    let changes = ledger.entries.compactMap { if case .changed(let change) = $0 { change } else { nil } }
    #expect(changes.map(\.name) == ["broker/*"])
    #expect(changes.first?.askedBy == "admin")
    #expect(changes.map(\.before) == ["broker/total: $0.001"])
    #expect(changes.map(\.after) == ["broker/total: $0.01"])
    #expect(changes.compactMap { HeldRaise($0) } == rig.broker.operator.budgetRaises)
    _ = ask(rig)
    ledger.commit()
    #expect(rig.upstream.calls.count == 1)
  }

  @Test func aBudgetInTokensRefusesInItsOwnWords() {
    var budget = Budget(limit: Money(nanodollars: 20), per: .rolling)
    budget.unit = .tokens
    budget.rolling = 18_000
    let ledger = FakeLedger()
    let rig = broker([budget], ledger: ledger)
    _ = ask(rig)
    ledger.commit()
    answer(rig, output: 10)
    ledger.commit(settles: true)
    #expect(rig.broker.operator.budgetReadings.map(\.id) == ["broker/5h/tokens"])
    #expect(rig.broker.operator.budgetReadings.first?.spent.nanodollars == 15)
    let refused = ask(rig)
    ledger.commit(settles: true)
    #expect(refused.answer?.status == 429)
    #expect(
      refused.text.contains(
        "'broker/5h/tokens' cannot pay for this request: 15 of 20 tokens are used. It counts the last 5h"))
    #expect(refused.field(Self.header) == nil)
    let until = WallInstant(nanoseconds: 1_763_720_060_000_000_000)
    rig.broker.operator.raiseBudget(
      HeldRaise(tenant: nil, amount: Money(nanodollars: 100), unit: .tokens, until: until), askedBy: "admin")
    let changes = ledger.entries.compactMap { if case .changed(let change) = $0 { change } else { nil } }
    #expect(changes.compactMap { HeldRaise($0) } == rig.broker.operator.budgetRaises)
    _ = ask(rig)
    ledger.commit()
    #expect(rig.upstream.calls.count == 2)
  }

  @Test func whatIsLearnedIsWrittenDown() throws {
    let ledger = FakeLedger()
    let rig = broker([Budget(limit: Money(nanodollars: 1_000_000_000), per: .day)], ledger: ledger)
    for _ in 0..<8 {
      _ = ask(rig, cap: 500)
      ledger.commit()
      answer(rig, output: 10)
      ledger.commit(settles: true)
    }
    rig.broker.operator.saveLearned()
    #expect(ledger.memos.filter { $0.kind == .learned }.map(\.name) == ["sim/m"])
    let next = broker([Budget(limit: Money(nanodollars: 1_000_000_000), per: .day)])
    next.broker.operator.restore(memos: ledger.memos)
    _ = ask(next, cap: 500)
    // Eleven tokens are expected, not 500.
    #expect(next.broker.operator.budgetReadings.first?.held.nanodollars == 11_000_000)
  }

  @Test func thePastIsRestored() {
    let rig = broker([Budget(limit: Money(nanodollars: 15_000_000), per: .day)])
    #expect(rig.broker.operator.budgetSpans.map(\.window) == [BudgetWindow(.day)])
    rig.broker.operator.restore(
      spent: [BudgetSpent(account: .broker, window: BudgetWindow(.day), spent: Money(nanodollars: 6_000_000))],
      raises: [], attempts: [])
    #expect(ask(rig).answer?.status == 429)
    #expect(rig.broker.operator.budgetReadings.first?.spent.nanodollars == 6_000_000)
  }

  /// What was spent is judged by the limits that hold: at the limit with its raise, under it and over it.
  @Test(arguments: [
    (1_000_000, 15_999_999, []), (1_000_000, 16_000_000, ["broker/day"]), (0, 15_000_000, ["broker/day"]),
  ])
  func aRaiseHoldsBeforeThePastIsJudged(raise: Int64, spent: Int64, told: [String]) {
    let rig = broker([Budget(limit: Money(nanodollars: 15_000_000), per: .day)])
    let until = WallInstant(nanoseconds: 1_763_720_060_000_000_000)
    rig.broker.operator.restore(
      spent: [BudgetSpent(account: .broker, window: BudgetWindow(.day), spent: Money(nanodollars: spent))],
      raises: raise > 0 ? [HeldRaise(tenant: nil, amount: Money(nanodollars: raise), until: until)] : [], attempts: [])
    let exceeded = rig.notices.compactMap { if case .budgetExceeded(let reading) = $0 { reading.id } else { nil } }
    #expect(exceeded == told)
  }

  @Test func dollarsAreShort() {
    #expect(ErrorText.dollars(Money(nanodollars: 1_000_000_000)) == "$1.00")
    #expect(ErrorText.dollars(Money(nanodollars: 12_340_000_000)) == "$12.34")
    #expect(ErrorText.dollars(Money(nanodollars: 1)) == "$0.000000001")
    #expect(ErrorText.dollars(Money(nanodollars: 500_000_000)) == "$0.50")
  }
}
