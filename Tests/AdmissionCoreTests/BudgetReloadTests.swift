// Budgets that come, go and come back with new policies while calls wait and run: they begin with what was spent, once.
import Testing

@testable import AdmissionCore

@Suite struct BudgetReloadTests {
  /// One token in costs one nano-dollar.
  private let price = CallPrice(inputMicroPerToken: 1000, outputMicroPerToken: 1000)

  private func rule(
    _ limit: Int64, _ scope: BudgetPolicy.Scope = .tenant, _ unit: BudgetUnit = .usd,
    window: BudgetWindow = BudgetWindow(.day)
  ) -> BudgetPolicy {
    BudgetPolicy(scope: scope, window: window, unit: unit, limit: Money(nanodollars: limit))
  }

  private func policy(_ budgets: [BudgetPolicy], template: TenantPolicy? = nil) -> AdmissionPolicy {
    AdmissionPolicy(
      providers: [ProviderPolicy(id: "p", limits: Limits(concurrency: 1000))],
      tenants: [TenantPolicy(id: "t", budgets: budgets)], tenantTemplate: template)
  }

  private func spent(
    _ amount: Int64, _ account: BudgetAccount = .tenant("t"), window: BudgetWindow = BudgetWindow(.day)
  )
    -> BudgetSpent
  {
    BudgetSpent(account: account, window: window, spent: Money(nanodollars: amount))
  }

  private func reading(_ bench: Bench, _ id: String = "t/day") -> BudgetReading? {
    bench.core.snapshot(at: bench.now).budgets.first { $0.id == id }
  }

  private func spend(_ bench: inout Bench, _ amount: Int64, session: SessionID = "s") throws {
    let id = bench.submit(session: session, input: amount, price: price)
    try #require(bench.isGranted(id))
    bench.settle(id, cost: Money(nanodollars: amount))
  }

  // MARK: Nobody before the books

  @Test func aBudgetThatIsNewAdmitsNobodyBeforeTheBooksHaveTold() {
    var bench = Bench(policy([]))
    bench.send(.policyReplaced(policy([rule(100)]), asksPast: true))
    #expect(bench.core.untoldBudgets == [BudgetWindow(.day): [.tenant]])
    let calls = [40, 41, 1].map { bench.submit(input: $0, price: price) }
    let free = bench.submit(input: 500, price: CallPrice(inputMicroPerToken: 0, outputMicroPerToken: 0))
    let unpriced = bench.submit(input: 5)
    #expect(calls.allSatisfy { !bench.isGranted($0) && bench.outcome($0) == nil })
    #expect(bench.isGranted(free))
    #expect(!bench.isGranted(unpriced))
    // What can never fit is refused without waiting for anybody.
    let never = bench.submit(input: 101, price: price)
    #expect(bench.outcome(never) == .rejectedBudget)
    // Time and others' ends open nothing.
    bench.settle(free)
    bench.now = bench.now + .seconds(1)
    bench.send(.deadlineReached)
    #expect(calls.allSatisfy { !bench.isGranted($0) })
    bench.send(.budgetsRestored([spent(30)], isLast: false))
    #expect(calls.allSatisfy { !bench.isGranted($0) })
    bench.send(.budgetsRestored([spent(30)]))
    #expect(reading(bench)?.spent.nanodollars == 60)
    #expect(bench.isGranted(calls[0]))
    #expect(bench.outcome(calls[1]) == .rejectedBudget)
    #expect(!bench.isGranted(calls[2]) && bench.outcome(calls[2]) == nil)
    #expect(bench.core.untoldBudgets.isEmpty)
    bench.settle(calls[0], cost: Money(nanodollars: 39))
    #expect(bench.isGranted(calls[2]))
  }

  @Test func whoWaitsForTheBooksLeavesWhenItsTimeIsUp() {
    var bench = Bench(policy([]))
    bench.send(.policyReplaced(policy([rule(100)]), asksPast: true))
    let call = bench.submit(input: 10, deadline: bench.now + .seconds(5), price: price)
    bench.now = bench.now + .seconds(5)
    bench.send(.deadlineReached)
    #expect(bench.outcome(call) == .evictedMaxWait)
    #expect(reading(bench)?.waiting == 0)
  }

  @Test func otherLimitsOfAKnownBudgetAskNobody() throws {
    var bench = Bench(policy([rule(100)]))
    bench.send(.budgetsRestored([spent(10)]))
    try spend(&bench, 20)
    bench.send(.policyReplaced(policy([rule(200)]), asksPast: true))
    #expect(bench.core.untoldBudgets.isEmpty)
    try spend(&bench, 30)
    #expect(reading(bench)?.spent.nanodollars == 60)
  }

  @Test(arguments: [
    BudgetWindow(.week), BudgetWindow(.day, timeZone: "Asia/Kathmandu"), BudgetWindow(rolling: 3600),
  ])
  func anotherWindowIsANewBudget(_ window: BudgetWindow) throws {
    var bench = Bench(policy([rule(100)]))
    bench.send(.budgetsRestored([]))
    try spend(&bench, 20)
    bench.send(.budgetWindowsBegan([BudgetWindowState(window: window, serial: 5000, end: bench.now + .seconds(99))]))
    bench.send(.policyReplaced(policy([rule(100, window: window)]), asksPast: true))
    #expect(bench.core.untoldBudgets == [window: [.tenant]])
    let id = "t/\(window.name)"
    #expect(reading(bench, id)?.spent == .zero)
    var told = spent(20, window: window)
    if window.period == .rolling { told.piece = 4990 }
    bench.send(.budgetsRestored([told]))
    #expect(reading(bench, id)?.spent.nanodollars == 20)
    let over = bench.submit(input: 81, price: price)
    #expect(bench.outcome(over) == .rejectedBudget)
    try spend(&bench, 80)
  }

  @Test func budgetsOfTwoZonesStandByThemselves() throws {
    let (utc, west) = (BudgetWindow(.day), BudgetWindow(.day, timeZone: "America/New_York"))
    var bench = Bench(policy([rule(100, window: utc), rule(50, window: west)]))
    bench.send(.budgetsRestored([spent(10, window: utc), spent(20, window: west)]))
    try spend(&bench, 5)
    #expect(reading(bench, "t/day")?.spent.nanodollars == 15)
    #expect(reading(bench, "t/day#2")?.spent.nanodollars == 25)
    // A raise of one is none of the other.
    bench.send(
      .budgetRaisesReplaced([
        BudgetRaise(
          tenant: "t", budget: "t/day#2", amount: Money(nanodollars: 7), until: bench.now + .seconds(60))
      ]))
    #expect(reading(bench, "t/day")?.limit.nanodollars == 100)
    #expect(reading(bench, "t/day#2")?.limit.nanodollars == 57)
    // The second alone is the first of its name then: a budget that nobody knows.
    bench.send(.policyReplaced(policy([rule(50, window: west)]), asksPast: true))
    #expect(bench.core.untoldBudgets == [west: [.tenant]])
    bench.send(.budgetsRestored([spent(25, window: west)]))
    #expect(reading(bench, "t/day")?.spent.nanodollars == 25)
  }

  // MARK: Once

  @Test func policiesThatAskNobodyChangeNothing() throws {
    var bench = Bench(policy([rule(100, .session)]))
    bench.send(.budgetsRestored([spent(10, .session("old", of: "t"))]))
    // A secret has changed.
    bench.send(.policyReplaced(policy([rule(100, .session)])))
    try spend(&bench, 60, session: "new")
    bench.send(.policyReplaced(policy([rule(100, .session)]), asksPast: true))
    bench.send(.budgetsRestored([spent(60, .session("new", of: "t")), spent(10, .session("old", of: "t"))]))
    #expect(reading(bench, "t/session/new/day")?.spent.nanodollars == 60)
    #expect(reading(bench, "t/session/old/day")?.spent.nanodollars == 10)
    try spend(&bench, 40, session: "new")
  }

  @Test func aQuestionWithoutAnAnswerIsAskedAgainAndCountsOnce() throws {
    var bench = Bench(policy([]))
    bench.send(.policyReplaced(policy([rule(100)]), asksPast: true))
    // Sent before the policy came, and ended between the two questions.
    let other = bench.submit(tenant: "u", input: 5, price: price)
    bench.settle(other)
    let running = bench.submit(input: 1, price: CallPrice(inputMicroPerToken: 0, outputMicroPerToken: 0))
    bench.settle(running, cost: Money(nanodollars: 50))
    #expect(reading(bench)?.spent.nanodollars == 50)
    bench.send(.policyReplaced(policy([rule(90)]), asksPast: true))
    #expect(bench.core.untoldBudgets == [BudgetWindow(.day): [.tenant]])
    bench.send(.budgetsRestored([spent(50)]))
    #expect(reading(bench)?.spent.nanodollars == 50)
    // Told again, it knows better.
    bench.send(.budgetsRestored([spent(50)]))
    #expect(reading(bench)?.spent.nanodollars == 50)
    try spend(&bench, 40)
  }

  @Test func aBudgetThatWasAwayBeginsWithTheTruth() throws {
    var bench = Bench(policy([rule(100)]))
    bench.send(.budgetsRestored([]))
    try spend(&bench, 10)
    bench.send(.policyReplaced(policy([]), asksPast: true))
    try spend(&bench, 70)
    bench.send(.policyReplaced(policy([rule(100)]), asksPast: true))
    #expect(bench.core.untoldBudgets == [BudgetWindow(.day): [.tenant]])
    bench.send(.budgetsRestored([spent(80)]))
    #expect(reading(bench)?.spent.nanodollars == 80)
    let over = bench.submit(input: 21, price: price)
    #expect(bench.outcome(over) == .rejectedBudget)
  }

  @Test func aTenantThatComesBackBeginsWithTheTruth() throws {
    let template = TenantPolicy(id: "*", budgets: [])
    var bench = Bench(policy([rule(100)], template: template))
    bench.send(.budgetsRestored([]))
    try spend(&bench, 10)
    var without = policy([], template: template)
    without.tenants = []
    bench.send(.policyReplaced(without, asksPast: true))
    try spend(&bench, 85)
    bench.send(.policyReplaced(policy([rule(100)], template: template), asksPast: true))
    bench.send(.budgetsRestored([spent(95)]))
    #expect(reading(bench)?.spent.nanodollars == 95)
    try spend(&bench, 5)
  }

  // MARK: Calls that run

  @Test func whatRunsHoldsAndIsPostedInABudgetThatComes() throws {
    var bench = Bench(policy([]))
    let running = bench.submit(input: 60, price: price)
    bench.send(.policyReplaced(policy([rule(100), rule(100, .session), rule(3, .tenant, .requests)]), asksPast: true))
    bench.send(.budgetsRestored([]))
    #expect(reading(bench)?.held.nanodollars == 60)
    #expect(reading(bench, "t/session/s/day")?.held.nanodollars == 60)
    #expect(reading(bench, "t/day/requests")?.held.nanodollars == 1)
    let waits = bench.submit(input: 41, price: price)
    #expect(!bench.isGranted(waits))
    bench.settle(running, cost: Money(nanodollars: 55))
    #expect(reading(bench)?.spent.nanodollars == 55)
    #expect(bench.isGranted(waits))
    bench.settle(waits)
    #expect(reading(bench)?.held == .zero)
    #expect(reading(bench, "t/day/requests")?.spent.nanodollars == 2)
  }

  @Test func holdsMoveWithTheRulesAndStayWhereTheyWere() throws {
    var bench = Bench(policy([rule(100), rule(500, window: BudgetWindow(.month))]))
    let running = bench.submit(input: 60, price: price)
    bench.send(.policyReplaced(policy([rule(100), rule(90, .session)])))
    #expect(reading(bench)?.held.nanodollars == 60)
    #expect(reading(bench, "t/session/s/day")?.held.nanodollars == 60)
    bench.send(.policyReplaced(policy([rule(100), rule(500, window: BudgetWindow(.month))])))
    #expect(reading(bench, "t/month")?.held.nanodollars == 60)
    bench.settle(running, cost: Money(nanodollars: 7))
    for id in ["t/day", "t/month"] {
      #expect(reading(bench, id)?.held == .zero)
      #expect(reading(bench, id)?.spent.nanodollars == 7)
    }
    bench.send(.policyReplaced(policy([rule(100), rule(90, .session)])))
    try spend(&bench, 1)
    #expect(reading(bench, "t/session/s/day")?.held == .zero)
    #expect(reading(bench, "t/session/s/day")?.spent.nanodollars == 1)
  }

  @Test func aRetryIsHeldInTheBudgetsThatCameMeanwhile() {
    var bench = Bench(policy([]))
    let running = bench.submit(input: 60, price: price)
    bench.send(.policyReplaced(policy([rule(50)])))
    bench.settle(running, .throttled(retryAfter: .seconds(1)))
    bench.now = bench.now + .seconds(2)
    bench.send(.deadlineReached)
    #expect(bench.outcome(running) == .rejectedBudget)
    #expect(reading(bench)?.held == .zero)
  }

  @Test func budgetsOfSessionsStayToBeSeenOverAReload() throws {
    var bench = Bench(policy([rule(100, .session)]))
    try spend(&bench, 30, session: "idle")
    let running = bench.submit(session: "busy", input: 10, price: price)
    bench.send(.policyReplaced(policy([rule(80, .session)])))
    #expect(reading(bench, "t/session/idle/day")?.limit.nanodollars == 80)
    #expect(reading(bench, "t/session/busy/day")?.held.nanodollars == 10)
    bench.settle(running)
    bench.send(.policyReplaced(policy([])))
    #expect(reading(bench, "t/session/idle/day") == nil)
  }
}
