// Budgets in the whole core: who waits, who is refused, who goes on.
import Testing

@testable import AdmissionCore

@Suite struct AdmissionBudgetsTests {
  /// One token in costs one nano-dollar.
  private let price = CallPrice(inputMicroPerToken: 1000, outputMicroPerToken: 1000)

  private func bench(
    _ budgets: [BudgetPolicy], broker: [BudgetPolicy] = [], limits: Limits = Limits(concurrency: 1000),
    template: TenantPolicy? = nil
  ) -> Bench {
    Bench(
      AdmissionPolicy(
        providers: [ProviderPolicy(id: "p", limits: limits)], tenants: [TenantPolicy(id: "t", budgets: budgets)],
        tenantTemplate: template, budgets: broker))
  }

  private func rule(
    _ limit: Int64, _ scope: BudgetPolicy.Scope = .tenant, _ onExceed: BudgetPolicy.OnExceed = .reject,
    _ period: BudgetWindow.Period = .day
  ) -> BudgetPolicy {
    BudgetPolicy(
      scope: scope, window: BudgetWindow(period), limit: Money(nanodollars: limit), onExceed: onExceed)
  }

  private func reading(_ bench: Bench, _ id: String = "t/day") -> BudgetReading? {
    bench.core.snapshot(at: bench.now).budgets.first { $0.id == id }
  }

  @Test func holdsTheEstimateAndPostsTheCost() {
    var bench = bench([rule(1000)])
    let id = bench.submit(input: 100, price: price)
    #expect(bench.grant(id)?.held?.nanodollars == 100)
    #expect(bench.grant(id)?.budgetRemaining?.nanodollars == 900)
    #expect(reading(bench)?.held.nanodollars == 100)
    bench.settle(id, cost: Money(nanodollars: 120))
    #expect(reading(bench)?.held == .zero)
    #expect(reading(bench)?.spent.nanodollars == 120)
    #expect(bench.conclusions.last?.budgetRemaining?.nanodollars == 880)
  }

  @Test func aFeeForTheRequestIsPartOfItsHold() {
    var bench = bench([rule(1000)])
    var fee = price
    fee.perRequest = Money(nanodollars: 400)
    let both = [bench.submit(input: 100, price: fee), bench.submit(input: 100, price: fee)]
    #expect(both.map { bench.grant($0)?.held?.nanodollars } == [500, 500])
    let third = bench.submit(input: 100, price: fee)
    #expect(!bench.isGranted(third))
    fee.perRequest = Money(nanodollars: .max)
    let never = bench.submit(input: 100, price: fee)
    #expect(bench.outcome(never) == .rejectedBudget)
  }

  @Test func whatCanNeverFitIsRefusedAtOnce() {
    var bench = bench([rule(150)])
    let fits = bench.submit(input: 150, price: price)
    #expect(bench.isGranted(fits))
    let never = bench.submit(input: 151, price: price)
    #expect(bench.outcome(never) == .rejectedBudget)
    #expect(bench.conclusions.last?.blocker == .budget("t/day"))
    #expect(bench.conclusions.last?.budget?.held.nanodollars == 150)
    #expect(bench.conclusions.last?.retryAfter == nil)
  }

  @Test func onlyHoldsInTheWayMakeWaitAndNobodyElse() {
    var bench = bench([rule(150)])
    let first = bench.submit(input: 100, price: price)
    let waits = bench.submit(input: 60, price: price)
    let small = bench.submit(input: 50, price: price)
    let other = bench.submit(tenant: "u", input: 1000, price: price)
    #expect(!bench.isGranted(waits))
    #expect(bench.outcome(waits) == nil)
    #expect(bench.core.blocker(of: waits, at: bench.now) == .budget("t/day"))
    #expect(reading(bench)?.waiting == 1)
    #expect(bench.isGranted(small))
    #expect(bench.isGranted(other))
    bench.settle(first, cost: Money(nanodollars: 40))
    #expect(bench.isGranted(waits))
    bench.settle(small)
    bench.settle(waits)
    #expect(reading(bench)?.spent.nanodollars == 150)
    #expect(reading(bench)?.held == .zero)
  }

  @Test func whoeverCanNoLongerFitIsRefused() {
    var bench = bench([rule(150)])
    let first = bench.submit(input: 100, price: price)
    let waits = bench.submit(input: 60, price: price)
    bench.settle(first, cost: Money(nanodollars: 91))
    #expect(bench.outcome(waits) == .rejectedBudget)
    #expect(bench.core.snapshot(at: bench.now).queueStorage <= 64)
  }

  @Test func waitersGoInOrderOfBandAndAge() {
    var bench = bench([rule(100)])
    let running = bench.submit(input: 100, price: price)
    let low = bench.submit(.low, session: "a", input: 50, price: price)
    let normal = bench.submit(session: "b", input: 50, price: price)
    let high = bench.submit(.high, session: "c", input: 50, price: price)
    bench.settle(running, cost: .zero)
    #expect(bench.isGranted(high))
    #expect(bench.isGranted(normal))
    #expect(!bench.isGranted(low))
    bench.send(.cancelled(low))
    #expect(bench.outcome(low) == .clientLeftQueued)
    #expect(reading(bench)?.waiting == 0)
  }

  @Test func aWaiterThatLeavesLetsTheNextOneLook() {
    var bench = bench([rule(100)])
    let running = bench.submit(input: 60, price: price)
    let large = bench.submit(session: "a", input: 100, price: price)
    let small = bench.submit(session: "b", input: 60, price: price)
    let more = bench.submit(session: "c", input: 20, price: price)
    #expect(bench.isGranted(more))
    bench.settle(more, cost: .zero)
    #expect(!bench.isGranted(small))
    bench.settle(running, cost: .zero)
    #expect(bench.isGranted(large))
    bench.settle(large, cost: .zero)
    #expect(bench.isGranted(small))
  }

  /// Found by the scenario of seed 2002442: the first that was woken had to wait for another budget, and the one behind it
  /// was forgotten.
  @Test func whoDoesNotTakeWhatIsLeftHandsItOn() {
    var bench = bench([rule(100), rule(30, .session)], broker: [rule(1000, .broker)])
    let sessions = bench.submit(session: "s", input: 25, price: price)
    let running = bench.submit(session: "r", input: 30, price: price)
    let other = bench.submit(session: "q", input: 30, price: price)
    let stuck = bench.submit(session: "s", input: 20, price: price)
    let behind = bench.submit(session: "b", input: 20, price: price)
    #expect(bench.core.blocker(of: stuck, at: bench.now)?.name == "budget")
    #expect(bench.core.blocker(of: behind, at: bench.now)?.name == "budget")
    bench.settle(running, cost: Money(nanodollars: 20))
    bench.settle(other, cost: Money(nanodollars: 20))
    #expect(bench.isGranted(behind))
    #expect(!bench.isGranted(stuck))
    bench.settle(sessions, cost: .zero)
    #expect(bench.isGranted(stuck))
  }

  @Test func waitingEndsAtTheDeadlineAndTheOutcomeSaysSo() {
    var bench = bench([rule(100)])
    bench.submit(input: 100, price: price)
    let waits = bench.submit(input: 50, price: price)
    bench.run(for: .seconds(120))
    #expect(bench.outcome(waits) == .evictedMaxWait)
    #expect(bench.conclusions.last?.blocker == .budget("t/day"))
  }

  @Test func theHoldGrowsWhileTheStreamRuns() throws {
    var bench = bench([rule(1000)])
    let id = bench.submit(input: 100, cap: 400, price: price)
    #expect(reading(bench)?.held.nanodollars == 500)
    let lease = try #require(bench.grant(id)?.lease)
    bench.send(.progressed(lease, Progress(inputTokens: nil, outputTokens: 300)))
    #expect(reading(bench)?.held.nanodollars == 500)
    bench.send(.progressed(lease, Progress(inputTokens: 150, outputTokens: 700)))
    #expect(reading(bench)?.held.nanodollars == 850)
    bench.settle(id, input: 150, output: 800)
    // Without a cost from the shell the price of the hold is used.
    #expect(reading(bench)?.spent.nanodollars == 950)
    #expect(reading(bench)?.held == .zero)
  }

  @Test func aLargeCapHoldsWhatIsExpectedOnly() {
    var bench = bench([rule(25_000)])
    for _ in 0..<10 {
      let id = bench.submit(input: 10, cap: 32_000, price: price)
      bench.settle(id, input: 10, output: 400, cost: Money(nanodollars: 410))
    }
    let held = bench.submit(input: 10, cap: 32_000, price: price)
    #expect((bench.grant(held)?.held?.nanodollars ?? 0) < 600)
  }

  @Test func aFailedAttemptIsVoidAndItsRetryHoldsAgain() {
    var bench = bench([rule(100)])
    let id = bench.submit(input: 100, price: price)
    bench.settle(id, .throttled(retryAfter: .seconds(1)))
    #expect(reading(bench)?.held == .zero)
    bench.run(for: .seconds(2))
    #expect(bench.grants.count == 2)
    #expect(reading(bench)?.held.nanodollars == 100)
    bench.settle(id, cost: Money(nanodollars: 10))
    #expect(reading(bench)?.spent.nanodollars == 10)
  }

  @Test func aLowBudgetLowersTheClassAndTellsBeforeTheGrant() {
    var bench = bench([rule(100, .tenant, .low)])
    let first = bench.submit(.high, input: 100, price: price)
    let second = bench.submit(.high, input: 100, price: price)
    #expect(bench.isGranted(first))
    #expect(bench.isGranted(second))
    let demoted = bench.notices.compactMap { notice -> RequestID? in
      if case .demoted(let id, let reading) = notice, reading.id == "t/day" { return id }
      return nil
    }
    #expect(demoted == [second])
    #expect(bench.core.snapshot(at: bench.now).providers[0].inFlightByBand == [1, 0, 1])
    let low = bench.submit(.low, input: 100, price: price)
    #expect(bench.isGranted(low))
    #expect(bench.notices.count { if case .demoted = $0 { true } else { false } } == 1)
  }

  @Test func aWarnBudgetOnlyTells() {
    var bench = bench([rule(100, .tenant, .warn)])
    for _ in 0..<3 { bench.settle(bench.submit(input: 85, price: price)) }
    #expect(bench.grants.count == 3)
    let names = bench.notices.compactMap { notice -> String? in
      switch notice {
      case .budgetWarned: "warned"
      case .budgetExceeded: "exceeded"
      default: nil
      }
    }
    #expect(names == ["warned", "exceeded"])
  }

  @Test func aNewWindowLetsWaitersGo() {
    var bench = bench([rule(100)])
    let running = bench.submit(input: 100, price: price)
    let waits = bench.submit(input: 80, price: price)
    bench.send(
      .budgetWindowsBegan([BudgetWindowState(window: BudgetWindow(.day), serial: 1000, end: bench.now + .seconds(5))]))
    #expect(!bench.isGranted(waits))
    bench.send(
      .budgetWindowsBegan([BudgetWindowState(window: BudgetWindow(.day), serial: 2000, end: bench.now + .seconds(9))]))
    #expect(bench.isGranted(waits))
    bench.settle(running)
    #expect(reading(bench)?.spent == .zero)
    #expect(reading(bench)?.held.nanodollars == 80)
    bench.settle(waits)
    #expect(reading(bench)?.spent.nanodollars == 80)
  }

  @Test func aRaiseLetsTheTenantGoOnAndEnds() {
    var bench = bench([rule(100)])
    bench.settle(bench.submit(input: 100, price: price))
    let request1 = bench.submit(input: 10, price: price)
    #expect(bench.outcome(request1) == .rejectedBudget)
    bench.send(
      .budgetRaisesReplaced([
        BudgetRaise(tenant: "t", amount: Money(nanodollars: 20), until: bench.now + .seconds(60))
      ]))
    let id = bench.submit(input: 10, price: price)
    #expect(bench.isGranted(id))
    bench.pass(.seconds(60))
    let request2 = bench.submit(input: 5, price: price)
    #expect(bench.outcome(request2) == .rejectedBudget)
  }

  @Test func aRaiseFreesThoseThatWait() {
    var bench = bench([rule(100)])
    bench.submit(input: 100, price: price)
    let waits = bench.submit(input: 50, price: price)
    bench.send(
      .budgetRaisesReplaced([
        BudgetRaise(tenant: "t", amount: Money(nanodollars: 50), until: bench.now + .seconds(60))
      ]))
    #expect(bench.isGranted(waits))
  }

  @Test func restoredSpendingCounts() {
    var bench = bench([rule(100), rule(30, .session)], broker: [rule(1000, .broker, .reject, .month)])
    bench.send(
      .budgetsRestored([
        BudgetSpent(account: .tenant("t"), window: BudgetWindow(.day), spent: Money(nanodollars: 60)),
        BudgetSpent(account: .session("s", of: "t"), window: BudgetWindow(.day), spent: Money(nanodollars: 25)),
        BudgetSpent(account: .broker, window: BudgetWindow(.month), spent: Money(nanodollars: 70)),
        BudgetSpent(account: .tenant("gone"), window: BudgetWindow(.day), spent: Money(nanodollars: 60)),
      ]))
    let request3 = bench.submit(session: "s", input: 6, price: price)
    #expect(bench.outcome(request3) == .rejectedBudget)
    let request4 = bench.submit(session: "q", input: 41, price: price)
    #expect(bench.outcome(request4) == .rejectedBudget)
    let request5 = bench.submit(session: "s", input: 5, price: price)
    #expect(bench.isGranted(request5))
    #expect(reading(bench)?.spent.nanodollars == 60)
    #expect(reading(bench, "broker/month")?.spent.nanodollars == 70)
  }

  @Test func scopesKeepSessionsAndClientKeysApart() {
    var bench = bench([rule(50, .session), rule(80, .clientKey)])
    let request6 = bench.submit(session: "a", input: 50, price: price, clientKey: "k1")
    #expect(bench.isGranted(request6))
    let request7 = bench.submit(session: "a", input: 10, price: price, clientKey: "k2")
    #expect(!bench.isGranted(request7))
    let request8 = bench.submit(session: "b", input: 30, price: price, clientKey: "k1")
    #expect(bench.isGranted(request8))
    let request9 = bench.submit(session: "c", input: 10, price: price, clientKey: "k1")
    #expect(!bench.isGranted(request9))
    let request10 = bench.submit(session: "c", input: 50, price: price, clientKey: "k2")
    #expect(bench.isGranted(request10))
  }

  @Test func tenantsThatAreNotListedHaveTheTemplatesBudgets() {
    var bench = bench([], template: TenantPolicy(id: "*", budgets: [rule(100)]))
    let request11 = bench.submit(tenant: "x", input: 100, price: price)
    #expect(bench.isGranted(request11))
    let request12 = bench.submit(tenant: "y", input: 100, price: price)
    #expect(bench.isGranted(request12))
    let request13 = bench.submit(tenant: "x", input: 1, price: price)
    #expect(!bench.isGranted(request13))
  }

  @Test func aLoweredLimitHoldsAtOnceAndSpendingStays() {
    var bench = bench([rule(200)])
    bench.settle(bench.submit(input: 100, price: price))
    let running = bench.submit(input: 50, price: price)
    let waits = bench.submit(input: 80, price: price)
    #expect(!bench.isGranted(waits))
    func policy(_ limit: Int64) -> AdmissionPolicy {
      AdmissionPolicy(
        providers: [ProviderPolicy(id: "p")], tenants: [TenantPolicy(id: "t", budgets: [rule(limit)])])
    }
    bench.send(.policyReplaced(policy(120)))
    #expect(bench.outcome(waits) == .rejectedBudget)
    bench.settle(running)
    #expect(reading(bench)?.spent.nanodollars == 150)
    bench.send(.policyReplaced(policy(300)))
    let request14 = bench.submit(input: 150, price: price)
    #expect(bench.isGranted(request14))
  }

  @Test func anExpensiveProviderIsPassedOverForACheapOne() {
    var bench = Bench(
      AdmissionPolicy(
        providers: [ProviderPolicy(id: "dear"), ProviderPolicy(id: "cheap", limits: Limits(concurrency: 1))],
        tenants: [TenantPolicy(id: "t", budgets: [rule(100)])]))
    func ticket(_ number: UInt64) -> Ticket {
      Ticket(
        id: RequestID(high: 1, low: number), tenant: "t", session: "s", priority: .normal,
        candidates: [
          Candidate(provider: "dear", price: CallPrice(inputMicroPerToken: 100_000, outputMicroPerToken: 0)),
          Candidate(provider: "cheap", price: CallPrice(inputMicroPerToken: 1000, outputMicroPerToken: 0)),
        ], model: "m", keptBytes: 1, estimatedInput: 10, outputCap: 0)
    }
    bench.send(.submitted(ticket(1)))
    #expect(bench.grants.last?.provider == "cheap")
    bench.send(.submitted(ticket(2)))
    #expect(bench.grants.count == 1)
    #expect(bench.core.blocker(of: RequestID(high: 1, low: 2), at: bench.now)?.name == "budget")
    bench.settle(RequestID(high: 1, low: 1), cost: Money(nanodollars: 10))
    #expect(bench.grants.count == 2)
  }

  /// Issue 4: 200 concurrent calls of $0.01 against $1.
  @Test func twoHundredCallsOfOneCentSpendOneDollarAtMost() {
    let dollar: Int64 = 1_000_000_000
    for realPercent in [80, 100, 120] as [Int64] {
      var bench = bench([rule(dollar)])
      // 10,000 tokens at $1 per 1M.
      let cent = CallPrice(inputMicroPerToken: 1_000_000, outputMicroPerToken: 1_000_000)
      let ids = (0..<200).map { bench.submit(session: SessionID("s\($0 % 7)"), input: 10_000, price: cent) }
      #expect(bench.grants.count == 100)
      var settled: Set<RequestID> = []
      while let id = ids.first(where: { bench.isGranted($0) && !settled.contains($0) }) {
        settled.insert(id)
        bench.settle(id, cost: Money(nanodollars: 10_000_000 * realPercent / 100))
      }
      let spent = reading(bench)?.spent.nanodollars ?? 0
      let error = 10_000_000 * max(0, realPercent - 100) / 100
      print("200 calls of $0.01 against $1, real cost \(realPercent) %: \(settled.count) served, \(spent) spent")
      #expect(spent <= dollar + error * 100)
      #expect(spent > dollar - 10_000_000 - 1)
      #expect(bench.core.snapshot(at: bench.now).queuedByBand == [0, 0, 0])
      #expect(reading(bench)?.held == .zero)
    }
  }
}
