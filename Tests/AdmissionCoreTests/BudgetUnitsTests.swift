// Budgets in tokens and in requests, windows that roll, and holds while too little is known of a model.
import Testing

@testable import AdmissionCore

@Suite struct BudgetUnitsTests {
  /// A token of output costs a thousand nano-dollars, input nothing.
  private let price = CallPrice(inputMicroPerToken: 0, outputMicroPerToken: 1_000_000)

  private func bench(_ budgets: [BudgetPolicy], limits: Limits = Limits(concurrency: 1000)) -> Bench {
    Bench(
      AdmissionPolicy(
        providers: [ProviderPolicy(id: "p", limits: limits)], tenants: [TenantPolicy(id: "t", budgets: budgets)]))
  }

  private func rule(
    _ limit: Int64, _ unit: BudgetUnit = .usd, window: BudgetWindow = BudgetWindow(.day),
    onExceed: BudgetPolicy.OnExceed = .reject
  ) -> BudgetPolicy {
    BudgetPolicy(window: window, unit: unit, limit: Money(nanodollars: limit), onExceed: onExceed)
  }

  private func reading(_ bench: Bench, _ id: String) -> BudgetReading? {
    bench.core.snapshot(at: bench.now).budgets.first { $0.id == id }
  }

  private func teach(_ bench: inout Bench, calls: Int, output: Int64) {
    for _ in 0..<calls {
      let id = bench.submit(input: 16, cap: 2000, price: price)
      bench.settle(id, usage: Usage(inputTokens: 16, outputTokens: TokenCount(output)), cost: .zero)
    }
  }

  // MARK: Too little is known

  @Test func thirtyCallsAtOnceStayWithinTheBudgetFromTheFirst() {
    // Each may cost 2,000,000; ten of them are all that there is.
    var bench = bench([rule(20_000_000)])
    let calls = (0..<30).map { _ in bench.submit(input: 16, cap: 2000, price: price) }
    #expect(calls.filter { bench.isGranted($0) }.count == 10)
    #expect(reading(bench, "t/day")?.held.nanodollars == 20_000_000)
    var spent: Int64 = 0
    for call in calls where bench.isGranted(call) {
      bench.settle(
        call, usage: Usage(inputTokens: 16, outputTokens: 2000), cost: Money(nanodollars: 2_000_000))
      spent += 2_000_000
    }
    #expect(spent == 20_000_000)
    #expect(calls.filter { bench.outcome($0) == .rejectedBudget }.count == 20)
    #expect(reading(bench, "t/day")?.spent.nanodollars == 20_000_000)
  }

  @Test func oneCallAlwaysFitsIntoWhatIsLeft() {
    var bench = bench([rule(1_000_000)])
    let one = bench.submit(input: 16, cap: 2000, price: price)
    #expect(bench.grant(one)?.held?.nanodollars == 1_000_000)
    let other = bench.submit(input: 16, cap: 2000, price: price)
    #expect(!bench.isGranted(other) && bench.outcome(other) == nil)
    bench.settle(one, usage: Usage(inputTokens: 16, outputTokens: 100), cost: Money(nanodollars: 100_000))
    #expect(bench.grant(other)?.held?.nanodollars == 900_000)
  }

  @Test(arguments: [7, 8]) func afterEightCallsWhatIsExpectedIsHeld(_ calls: Int) {
    var bench = bench([rule(1_000_000_000)])
    teach(&bench, calls: calls, output: 100)
    let id = bench.submit(input: 16, cap: 2000, price: price)
    #expect(bench.grant(id)?.held?.nanodollars ?? 0 == (calls < 8 ? 2_000_000 : 111_000))
  }

  @Test func aCallWithoutACapHoldsAGuess() {
    var bench = bench([rule(1_000_000_000)])
    let id = bench.submit(input: 16, cap: nil, price: price)
    #expect(bench.grant(id)?.held?.nanodollars == Int64(OutputPredictor.unknown) * 1000)
    let none = bench.submit(input: 16, cap: nil, output: false, price: price)
    #expect(bench.grant(none)?.held?.nanodollars == 0)
  }

  // MARK: What is learned survives

  @Test func whatWasLearnedIsKeptAndRestored() throws {
    var bench = bench([rule(1_000_000_000)])
    teach(&bench, calls: 20, output: 100)
    let learned = bench.core.takeLearned()
    #expect(learned.map(\.model) == ["m"])
    #expect(bench.core.takeLearned().isEmpty)
    let known = try #require(learned.first)
    let read = try #require(LearnedModel(provider: "p", model: "m", text: known.text))
    #expect(read == known)
    var next = self.bench([rule(1_000_000_000)])
    next.send(.learnedRestored([read]))
    let id = next.submit(input: 16, cap: 2000, price: price)
    #expect(next.grant(id)?.held?.nanodollars == 111_000)
    // What another process knew of a provider that there is not is passed over.
    next.send(.learnedRestored([try #require(LearnedModel(provider: "gone", model: "m", text: known.text))]))
  }

  @Test(arguments: [
    "", "1 1024 0", "1 1024 0   ", "x", "1 a 0   ", "1 1024 0 99:1  ", "1 1024 0 1:70000  ", "1 1024 0 1-1  ",
    "1 1024 0 1:1", "9 9223372036854775807 -9223372036854775808 1:65535,2:65535  ",
  ])
  func numbersThatAreNoneDoNoHarm(_ text: String) {
    var bench = bench([rule(1_000_000_000)])
    if let learned = LearnedModel(provider: "p", model: "m", text: text) { bench.send(.learnedRestored([learned])) }
    let id = bench.submit(input: 16, cap: 2000, price: price)
    #expect(bench.grant(id)?.held?.nanodollars == 2_000_000)
  }

  @Test func manyRestoredModelsLeaveRoomForNewOnes() {
    var bench = bench([rule(1_000_000_000_000)])
    let text = "0 2048 0 10:20  "
    bench.send(
      .learnedRestored((0..<5000).compactMap { LearnedModel(provider: "p", model: "m\($0)", text: text) }))
    let id = bench.submit(model: "fresh", input: 16, cap: 2000, price: price)
    #expect(bench.grant(id)?.held?.nanodollars == 2_000_000)
  }

  // MARK: Tokens and requests

  @Test func aBudgetInTokensCountsWhatHasNoPrice() {
    var bench = bench([rule(1000, .tokens)])
    let first = bench.submit(input: 100, cap: 400)
    #expect(reading(bench, "t/day/tokens")?.held.nanodollars == 500)
    bench.settle(first, usage: Usage(inputTokens: 100, outputTokens: 300))
    #expect(reading(bench, "t/day/tokens")?.spent.nanodollars == 400)
    #expect(reading(bench, "t/day/tokens")?.held.nanodollars == 0)
    let second = bench.submit(input: 100, cap: 500)
    let waits = bench.submit(input: 100, cap: 500)
    #expect(bench.isGranted(second) && !bench.isGranted(waits) && bench.outcome(waits) == nil)
    bench.settle(second, usage: Usage(inputTokens: 100, outputTokens: 500))
    #expect(bench.outcome(waits) == .rejectedBudget)
    #expect(bench.conclusions.last?.budget?.unit == .tokens)
    let never = bench.submit(input: 1, cap: 0)
    #expect(bench.outcome(never) == .rejectedBudget)
  }

  @Test(arguments: [2, 3]) func aBudgetInRequestsIsExact(_ limit: Int64) {
    var bench = bench([rule(limit, .requests)])
    let calls = (0..<5).map { _ in bench.submit(input: 16, cap: 10) }
    #expect(calls.filter { bench.isGranted($0) }.count == Int(limit))
    // One that was charged nothing gives its place back.
    bench.settle(calls[0], .clientError)
    for call in calls where bench.isGranted(call) && call != calls[0] {
      bench.settle(call, usage: Usage(inputTokens: 16, outputTokens: 1))
    }
    #expect(reading(bench, "t/day/requests")?.spent.nanodollars == limit)
    #expect(calls.filter { bench.isGranted($0) }.count <= Int(limit) + 1)
  }

  @Test func freeCallsTakeNothingInNoUnit() {
    var bench = bench([rule(1, .requests), rule(1, .tokens)])
    bench.send(
      .submitted(
        Ticket(
          id: RequestID(high: 1, low: 1), tenant: "t", session: "s", priority: .normal,
          candidates: [Candidate(provider: "p", price: CallPrice(inputMicroPerToken: 0, outputMicroPerToken: 0))],
          model: "m", keptBytes: 1, estimatedInput: 5000, producesOutput: false, isFree: true)))
    #expect(bench.grants.count == 1)
    #expect(reading(bench, "t/day/requests")?.held.nanodollars == 0)
    // A model that costs nothing is not free to a budget in tokens.
    var local = self.bench([rule(1, .tokens)])
    let free = CallPrice(inputMicroPerToken: 0, outputMicroPerToken: 0)
    let counted = local.submit(input: 16, cap: 10, price: free)
    #expect(local.outcome(counted) == .rejectedBudget)
    var dollars = self.bench([rule(0)])
    let costsNothing = dollars.submit(input: 16, cap: 10, price: free)
    #expect(dollars.isGranted(costsNothing))
  }

  @Test func eachUnitHasAnIDOfItsOwnAndItsOwnRaises() {
    var bench = bench([rule(1), rule(1, .tokens), rule(1, .requests), rule(1, .tokens)])
    #expect(
      bench.core.snapshot(at: bench.now).budgets.map(\.id) == [
        "t/day", "t/day/tokens", "t/day/requests", "t/day/tokens#2",
      ])
    let raise = BudgetRaise(
      tenant: "t", amount: Money(nanodollars: 99), unit: .tokens, until: bench.now + .seconds(9))
    bench.send(.budgetRaisesReplaced([raise]))
    #expect(bench.core.snapshot(at: bench.now).budgets.map(\.limit.nanodollars) == [1, 100, 1, 100])
  }

  @Test func lowAndWarnHoldInEachUnit() {
    var bench = bench([rule(100, .tokens, onExceed: .low)])
    let first = bench.submit(.high, input: 100, cap: 0)
    #expect(bench.isGranted(first))
    _ = bench.submit(.high, input: 100, cap: 0)
    #expect(bench.notices.contains { if case .demoted(_, let reading) = $0 { reading.unit == .tokens } else { false } })
  }

  @Test func whatWasUsedEarlierCountsWhenItIsTold() {
    var bench = bench([rule(1000, .tokens)])
    let id = bench.submit(input: 16, cap: 0)
    var settlement = Settlement(verdict: .success, usage: Usage())
    settlement.laterTokens = 700
    bench.settle(id, settlement)
    #expect(reading(bench, "t/day/tokens")?.spent.nanodollars == 700)
  }

  // MARK: Rolling windows

  private static let window = BudgetWindow(rolling: 3600)

  private func roll(_ bench: inout Bench, to piece: Int64) {
    bench.send(
      .budgetWindowsBegan([
        BudgetWindowState(window: Self.window, serial: piece, end: bench.now + .seconds(60))
      ]))
  }

  private func spend(_ bench: inout Bench, _ amount: Int64) {
    let id = bench.submit(input: 16, cap: 0)
    bench.settle(id, usage: Usage(inputTokens: TokenCount(amount)))
  }

  @Test func whatWasSpentLeavesWithItsPiece() {
    var bench = bench([rule(1000, .tokens, window: Self.window)])
    roll(&bench, to: 1_000_000)
    spend(&bench, 300)
    roll(&bench, to: 1_000_030)
    spend(&bench, 200)
    func spent() -> Int64? { reading(bench, "t/1h/tokens")?.spent.nanodollars }
    #expect(spent() == 500)
    roll(&bench, to: 1_000_059)
    #expect(spent() == 500)
    roll(&bench, to: 1_000_060)
    #expect(spent() == 200)
    roll(&bench, to: 1_000_089)
    #expect(spent() == 200)
    roll(&bench, to: 1_000_090)
    #expect(spent() == 0)
  }

  @Test func aClockThatIsSetBackFreesNothing() {
    var bench = bench([rule(1000, .tokens, window: Self.window)])
    roll(&bench, to: 1_000_000)
    spend(&bench, 300)
    roll(&bench, to: 999_000)
    #expect(reading(bench, "t/1h/tokens")?.spent.nanodollars == 300)
    spend(&bench, 100)
    roll(&bench, to: 1_000_001)
    #expect(reading(bench, "t/1h/tokens")?.spent.nanodollars == 400)
  }

  /// The clock is a year ahead for a moment, and somebody spends meanwhile.
  @Test func whatAClockThatWasAheadHasCountedLeavesAWindowLater() {
    var bench = bench([rule(1000, .tokens, window: Self.window)])
    func spent() -> Int64? { reading(bench, "t/1h/tokens")?.spent.nanodollars }
    roll(&bench, to: 1_000_000)
    spend(&bench, 100)
    roll(&bench, to: 1_600_000)
    spend(&bench, 200)
    roll(&bench, to: 1_000_001)
    #expect(spent() == 300)
    spend(&bench, 400)
    #expect(spent() == 700)
    roll(&bench, to: 1_000_060)
    #expect(spent() == 600)
    roll(&bench, to: 1_000_061)
    #expect(spent() == 0)
    let call = bench.submit(input: 300, cap: 0)
    let isGranted = bench.isGranted(call)
    #expect(isGranted)
  }

  @Test func aHoldOutlivesItsPiece() {
    var bench = bench([rule(1000, .tokens, window: Self.window)])
    roll(&bench, to: 100)
    let id = bench.submit(input: 400, cap: 0)
    roll(&bench, to: 500)
    #expect(reading(bench, "t/1h/tokens")?.held.nanodollars == 400)
    bench.settle(id, usage: Usage(inputTokens: 400))
    #expect(reading(bench, "t/1h/tokens")?.held.nanodollars == 0)
    #expect(reading(bench, "t/1h/tokens")?.spent.nanodollars == 400)
  }

  @Test func aRefusedCallFitsWhenAPieceHasLeft() {
    var bench = bench([rule(1000, .tokens, window: Self.window)])
    roll(&bench, to: 100)
    spend(&bench, 900)
    let early = bench.submit(input: 200, cap: 0)
    #expect(bench.outcome(early) == .rejectedBudget)
    roll(&bench, to: 160)
    let late = bench.submit(input: 200, cap: 0)
    #expect(bench.isGranted(late))
  }

  @Test func aRestartKnowsEachPiece() {
    var bench = bench([rule(1000, .tokens, window: Self.window)])
    roll(&bench, to: 100)
    func entry(_ piece: Int64, _ tokens: Int64) -> BudgetSpent {
      BudgetSpent(account: .tenant("t"), window: Self.window, spent: .zero, tokens: tokens, piece: piece)
    }
    bench.send(.budgetsRestored([entry(40, 999), entry(41, 1), entry(70, 20), entry(100, 300), entry(101, 4000)]))
    // 40 is out of the window, and nothing was spent in pieces to come.
    #expect(reading(bench, "t/1h/tokens")?.spent.nanodollars == 4321)
    roll(&bench, to: 101)
    #expect(reading(bench, "t/1h/tokens")?.spent.nanodollars == 4320)
    roll(&bench, to: 130)
    #expect(reading(bench, "t/1h/tokens")?.spent.nanodollars == 4300)
  }

  @Test func piecesAreBounded() {
    var bench = bench([rule(1_000_000_000, .tokens, window: Self.window)])
    for piece in 0..<1000 {
      roll(&bench, to: Int64(piece))
      spend(&bench, 1)
    }
    #expect(reading(bench, "t/1h/tokens")?.spent.nanodollars == 60)
  }

  @Test(arguments: [
    (Int64(60), "1m", Int64(1)), (61, "61s", 2), (3600, "1h", 60), (18_000, "5h", 300), (86_400, "1d", 1440),
    (5400, "90m", 90),
    (0, "1m", 1), (.max, "366d", 527_040),
  ])
  func aRollingWindowHasANameAndPieces(_ seconds: Int64, _ name: String, _ piece: Int64) {
    let window = BudgetWindow(rolling: seconds)
    #expect(window.name == name)
    #expect(window.pieceLength == piece)
  }
}

extension Bench {
  fileprivate mutating func settle(_ id: RequestID, usage: Usage, cost: Money? = nil) {
    settle(id, Settlement(verdict: .success, usage: usage, cost: cost))
  }

  fileprivate mutating func settle(_ id: RequestID, _ settlement: Settlement) {
    guard let grant = grant(id) else {
      Issue.record("the call was not granted")
      return
    }
    send(.settled(grant.lease, settlement))
  }
}
