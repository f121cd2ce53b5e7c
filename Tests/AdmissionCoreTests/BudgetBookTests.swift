// The book of budgets by itself: holds and posts, windows, raises, the bound on accounts.
import Testing

@testable import AdmissionCore

@Suite struct BudgetBookTests {
  private let now = Instant(nanoseconds: 1_000)
  private let day = BudgetWindow(.day)

  private func rule(
    _ limit: Int64, _ scope: BudgetPolicy.Scope = .tenant, _ onExceed: BudgetPolicy.OnExceed = .reject,
    window: BudgetWindow = BudgetWindow(.day), warnAt: Int = 80
  ) -> BudgetPolicy {
    BudgetPolicy(
      scope: scope, window: window, limit: Money(nanodollars: limit), onExceed: onExceed, warnAtPercent: warnAt)
  }

  private func book(_ rules: [BudgetPolicy]) -> (BudgetBook, [AccountIndex]) {
    var book = BudgetBook()
    let own = rules.filter { $0.scope != .broker }
    book.replace(
      BudgetRules(broker: rules.filter { $0.scope == .broker }, tenants: [TenantPolicy(id: "acme", budgets: own)]),
      asksPast: false)
    let accounts = book.shared(by: "acme", rules: own, isListed: true)
    return (book, accounts)
  }

  @Test func admitsAtTheLimitAndNotAboveIt() {
    var (book, accounts) = book([rule(100)])
    #expect(book.fit(accounts, estimate: 100, at: now) == .fits)
    #expect(book.fit(accounts, estimate: 101, at: now) == .exceeds(accounts[0]))
    book.hold(accounts, 60)
    #expect(book.fit(accounts, estimate: 40, at: now) == .fits)
    #expect(book.fit(accounts, estimate: 41, at: now) == .waits(accounts[0]))
    book.post(accounts, held: 60, cost: 59, takenIn: 0)
    #expect(book.fit(accounts, estimate: 41, at: now) == .fits)
    #expect(book.fit(accounts, estimate: 42, at: now) == .exceeds(accounts[0]))
  }

  @Test func aVoidHoldLeavesNothing() {
    var (book, accounts) = book([rule(100)])
    book.hold(accounts, 100)
    book.post(accounts, held: 100, cost: 0, takenIn: 0)
    #expect(book.reading(accounts[0], at: now)?.spent == .zero)
    #expect(book.reading(accounts[0], at: now)?.held == .zero)
  }

  @Test func theHoldGrowsWithTheStream() {
    var (book, accounts) = book([rule(100)])
    book.hold(accounts, 10)
    book.raiseHold(accounts, by: 85, takenIn: 0)
    #expect(book.fit(accounts, estimate: 6, at: now) == .waits(accounts[0]))
    book.post(accounts, held: 95, cost: 120, takenIn: 0)
    #expect(book.reading(accounts[0], at: now)?.spent.nanodollars == 120)
    #expect(book.remaining(accounts, withBroker: false, at: now) == .zero)
  }

  @Test func theTightestDecides() throws {
    var (book, accounts) = book([
      rule(1000, .broker), rule(300), rule(200, window: BudgetWindow(.hour)), rule(150, .tenant, .warn),
    ])
    #expect(accounts.count == 4)
    book.hold(accounts, 150)
    let waitsFor: AccountIndex? =
      if case .waits(let account) = book.fit(accounts, estimate: 180, at: now) { account } else { nil }
    let tightest = try #require(waitsFor)
    #expect(book.id(tightest) == "acme/hour")
    #expect(book.fit(accounts, estimate: 250, at: now) == .exceeds(tightest))
    #expect(book.remaining(accounts, withBroker: false, at: now)?.nanodollars == 50)
  }

  @Test func freeCallsAlwaysGoAndUnknownPricesWhileAnythingIsLeft() {
    var (book, accounts) = book([rule(100)])
    book.hold(accounts, 100)
    #expect(book.fit(accounts, estimate: nil, at: now) == .fits)
    book.post(accounts, held: 100, cost: 100, takenIn: 0)
    #expect(book.fit(accounts, estimate: nil, at: now) == .exceeds(accounts[0]))
    #expect(book.fit(accounts, estimate: 0, at: now) == .fits)
  }

  @Test func aNewWindowBeginsEmptyAndLateResultsBelongToTheOldOne() {
    var (book, accounts) = book([rule(100)])
    book.begin([BudgetWindowState(window: day, serial: 1000, end: Instant(nanoseconds: 50))])
    let taken = book.epoch
    book.hold(accounts, 70)
    book.begin([BudgetWindowState(window: day, serial: 2000, end: Instant(nanoseconds: 90))])
    #expect(book.fit(accounts, estimate: 100, at: now) == .fits)
    book.hold(accounts, 100)
    book.raiseHold(accounts, by: 5, takenIn: taken)
    book.post(accounts, held: 75, cost: 80, takenIn: taken)
    #expect(book.reading(accounts[0], at: now)?.spent == .zero)
    #expect(book.reading(accounts[0], at: now)?.held.nanodollars == 100)
    // The clock is set back over the border: what the old window has spent is still known.
    book.begin([BudgetWindowState(window: day, serial: 1000, end: Instant(nanoseconds: 50))])
    #expect(book.reading(accounts[0], at: now)?.spent.nanodollars == 80)
    #expect(book.reading(accounts[0], at: now)?.held == .zero)
    book.begin([BudgetWindowState(window: day, serial: 2000, end: Instant(nanoseconds: 90))])
    #expect(book.reading(accounts[0], at: now)?.held.nanodollars == 100)
  }

  @Test func aClockSetFarAheadAndBackAgainFindsWhatWasSpent() {
    var (book, accounts) = book([rule(100)])
    book.begin([BudgetWindowState(window: day, serial: 1000, end: .distantFuture)])
    book.hold(accounts, 40)
    book.post(accounts, held: 40, cost: 40, takenIn: book.epoch)
    book.begin([BudgetWindowState(window: day, serial: 900_000, end: .distantFuture)])
    book.hold(accounts, 1)
    book.begin([BudgetWindowState(window: day, serial: 1000, end: .distantFuture)])
    #expect(book.reading(accounts[0], at: now)?.spent.nanodollars == 40)
    book.begin([BudgetWindowState(window: day, serial: 2000, end: .distantFuture)])
    #expect(book.reading(accounts[0], at: now)?.spent == .zero)
  }

  @Test func aClockSetBackIntoAnUnknownWindowKeepsWhatIsSpent() {
    var (book, accounts) = book([rule(100)])
    book.begin([BudgetWindowState(window: day, serial: 5000, end: .distantFuture)])
    book.hold(accounts, 30)
    book.post(accounts, held: 0, cost: 40, takenIn: book.epoch)
    book.begin([BudgetWindowState(window: day, serial: 1000, end: .distantFuture)])
    #expect(book.fit(accounts, estimate: 30, at: now) == .fits)
    #expect(book.fit(accounts, estimate: 31, at: now) == .exceeds(accounts[0]))
  }

  @Test func aClockSetBackIntoAWindowThatWasPassedOverFindsNothingInIt() {
    let (made, accounts) = book([rule(100)])
    var book = made
    for serial in [1000, 2000, 3000] as [Int64] {
      book.begin([BudgetWindowState(window: day, serial: serial, end: .distantFuture)])
      if serial != 2000 { book.hold(accounts, 30) }
    }
    book.begin([BudgetWindowState(window: day, serial: 2000, end: .distantFuture)])
    #expect(book.fit(accounts, estimate: 100, at: now) == .fits)
  }

  @Test func holdsOfManyWindowsAgoChangeNothing() {
    var (book, accounts) = book([rule(100)])
    let taken = book.epoch
    book.hold(accounts, 50)
    for serial in 1...20 { book.begin([BudgetWindowState(window: day, serial: Int64(serial), end: .distantFuture)]) }
    book.hold(accounts, 10)
    book.post(accounts, held: 50, cost: 50, takenIn: taken)
    #expect(book.reading(accounts[0], at: now)?.spent == .zero)
    #expect(book.reading(accounts[0], at: now)?.held.nanodollars == 10)
  }

  @Test func raisesHoldUntilTheirEnd() {
    var (book, accounts) = book([rule(1000, .broker), rule(100), rule(50, .session)])
    accounts = book.all(
      shared: accounts, rules: [rule(100), rule(50, .session)], tenant: "acme", clientKey: nil, session: "s")
    let until = now + .seconds(10)
    book.replace(raises: [BudgetRaise(tenant: "acme", amount: Money(nanodollars: 20), until: until)])
    let tenants = accounts.first { book.id($0) == "acme/day" } ?? -1
    let sessions = accounts.first { book.id($0) == "acme/session/s/day" } ?? -1
    #expect(book.reading(tenants, at: now)?.limit.nanodollars == 120)
    #expect(book.reading(tenants, at: now)?.raised.nanodollars == 20)
    #expect(book.reading(sessions, at: now)?.limit.nanodollars == 50)
    #expect(book.reading(accounts[0], at: now)?.limit.nanodollars == 1000)
    #expect(book.reading(tenants, at: until)?.limit.nanodollars == 100)
    book.replace(raises: [
      BudgetRaise(tenant: "acme", budget: "acme/session/s/day", amount: Money(nanodollars: 7), until: until),
      BudgetRaise(tenant: nil, amount: Money(nanodollars: 5), until: until),
    ])
    #expect(book.reading(tenants, at: now)?.limit.nanodollars == 100)
    #expect(book.reading(sessions, at: now)?.limit.nanodollars == 57)
    #expect(book.reading(accounts[0], at: now)?.limit.nanodollars == 1005)
  }

  @Test func marksAreToldOnceInEachWindow() {
    var (book, accounts) = book([rule(100, warnAt: 80)])
    let account = accounts[0]
    func post(_ cost: Int64) { book.post(accounts, held: 0, cost: cost, takenIn: book.epoch) }
    post(79)
    #expect(book.marks(account, refused: false, at: now) == [])
    post(1)
    #expect(book.marks(account, refused: false, at: now) == [.warned])
    post(10)
    #expect(book.marks(account, refused: false, at: now) == [])
    post(10)
    #expect(book.marks(account, refused: false, at: now) == [.exceeded])
    #expect(book.marks(account, refused: true, at: now) == [])
    book.begin([BudgetWindowState(window: day, serial: 1, end: .distantFuture)])
    book.begin([BudgetWindowState(window: day, serial: 2, end: .distantFuture)])
    #expect(book.marks(account, refused: true, at: now) == [.exceeded])
  }

  /// Something is left, but less than each call needs.
  @Test(arguments: [BudgetUnit.usd, .tokens, .requests])
  func aBudgetThatRefusesWithSomethingLeftSaysSo(_ unit: BudgetUnit) throws {
    var rule = rule(100, warnAt: 80)
    rule.unit = unit
    var (book, accounts) = book([rule])
    func reading() throws -> BudgetReading { try #require(book.reading(accounts[0], at: now)) }
    func post(_ amount: Int64) {
      var spent = BudgetAmounts()
      spent[unit] = amount
      book.post(accounts, held: BudgetAmounts(), spent: spent, takenIn: book.epoch)
    }
    #expect(try reading().state == .ok)
    post(79)
    #expect(try reading().state == .ok)
    post(1)
    #expect(try reading().state == .warned)
    post(13)
    // It needs all that is left, and fits: nothing is refused.
    #expect(book.marks(accounts[0], refused: false, at: now) == [.warned])
    #expect(try reading().state == .warned)
    #expect(book.marks(accounts[0], refused: true, needed: 8, at: now) == [.exceeded])
    #expect(try reading().state == .refusing && reading().refusedNeed.nanodollars == 8)
    // A smaller call is let in.
    var hold = BudgetAmounts()
    hold[unit] = 3
    book.hold(accounts, hold)
    #expect(try reading().state == .warned)
    #expect(book.marks(accounts[0], refused: true, needed: 8, at: now) == [])
    #expect(try reading().state == .refusing)
    post(7)
    #expect(try reading().state == .usedUp)
    book.begin([BudgetWindowState(window: day, serial: 1, end: .distantFuture)])
    book.begin([BudgetWindowState(window: day, serial: 2, end: .distantFuture)])
    #expect(try reading().state == .ok)
  }

  @Test func aRaiseEndsTheStateAndItsMarksAreToldAgain() throws {
    var (book, accounts) = book([rule(100, warnAt: 80)])
    let account = accounts[0]
    func state() throws -> BudgetState { try #require(book.reading(account, at: now)).state }
    func raise(_ amount: Int64) {
      book.replace(raises: [
        BudgetRaise(tenant: "acme", amount: Money(nanodollars: amount), until: Instant(nanoseconds: 2_000))
      ])
    }
    book.post(accounts, held: 0, cost: 93, takenIn: 0)
    #expect(book.marks(account, refused: true, needed: 8, at: now) == [.exceeded])
    // One too little, and just enough.
    raise(0)
    #expect(try state() == .refusing)
    raise(1)
    #expect(try state() == .warned)
    #expect(book.marks(account, refused: false, at: now) == [])
    #expect(book.marks(account, refused: true, needed: 9, at: now) == [.exceeded])
    #expect(book.marks(account, refused: true, needed: 9, at: now) == [])
    raise(100)
    #expect(try state() == .ok)
    #expect(book.marks(account, refused: false, at: now) == [])
    book.post(accounts, held: 0, cost: 66, takenIn: 0)
    #expect(book.marks(account, refused: false, at: now) == [])
    book.post(accounts, held: 0, cost: 1, takenIn: 0)
    #expect(book.marks(account, refused: false, at: now) == [.warned])
    book.post(accounts, held: 0, cost: 40, takenIn: 0)
    #expect(book.marks(account, refused: false, at: now) == [.exceeded])
    #expect(try state() == .usedUp)
    // When the raise is over it is used up still, and nothing is told a second time.
    book.replace(raises: [])
    #expect(book.marks(account, refused: true, needed: 1, at: now) == [])
    #expect(try state() == .usedUp)
  }

  @Test func aRollingWindowThatRefusesIsToldOnce() {
    let window = BudgetWindow(rolling: 3600)
    var (book, accounts) = book([rule(100, window: window)])
    func begin(_ serial: Int64) { book.begin([BudgetWindowState(window: window, serial: serial, end: .distantFuture)]) }
    begin(100)
    book.post(accounts, held: 0, cost: 95, takenIn: 0)
    #expect(book.marks(accounts[0], refused: true, needed: 8, at: now) == [.exceeded])
    for serial in 101..<160 as Range<Int64> {
      begin(serial)
      #expect(book.marks(accounts[0], refused: true, needed: 8, at: now) == [])
      #expect(book.reading(accounts[0], at: now)?.state == .refusing)
    }
    begin(160)
    #expect(book.reading(accounts[0], at: now)?.state == .ok)
    book.post(accounts, held: 0, cost: 95, takenIn: 0)
    #expect(book.marks(accounts[0], refused: true, needed: 8, at: now) == [.exceeded])
  }

  /// Each piece that ends takes the sum below the mark for a while.
  @Test func aRollingWindowNearItsWarningIsToldOnce() {
    let window = BudgetWindow(rolling: 3600)
    var (book, accounts) = book([rule(1000, window: window)])
    var told: [Int64] = []
    func spend(_ cost: Int64, in serial: Int64) {
      book.begin([BudgetWindowState(window: window, serial: serial, end: .distantFuture)])
      if !book.marks(accounts[0], refused: false, at: now).isEmpty { told.append(serial) }
      book.post(accounts, held: 0, cost: cost, takenIn: 0)
      if !book.marks(accounts[0], refused: false, at: now).isEmpty { told.append(serial) }
    }
    for number in 0..<16 as Range<Int64> { spend(50, in: 1000 + number * 3) }
    #expect(told == [1045])
    // Fifty leave with each of these pieces, and as much comes: 750, and 800 again.
    for number in 0..<8 as Range<Int64> { spend(50, in: 1060 + number * 3) }
    #expect(told == [1045])
    // Once it was well below, it is told again.
    spend(10, in: 1140)
    #expect(book.reading(accounts[0], at: now)?.state == .ok)
    spend(790, in: 1141)
    #expect(told == [1045, 1141])
  }

  /// Only `reject` refuses, and a limit of nothing is used up from the start.
  @Test func statesOfOtherRules() {
    for onExceed in [BudgetPolicy.OnExceed.low, .warn] {
      var (book, accounts) = book([rule(100, .tenant, onExceed)])
      book.post(accounts, held: 0, cost: 99, takenIn: 0)
      _ = book.marks(accounts[0], refused: true, needed: 8, at: now)
      #expect(book.reading(accounts[0], at: now)?.state == .warned)
      book.post(accounts, held: 0, cost: 1, takenIn: 0)
      #expect(book.reading(accounts[0], at: now)?.state == .usedUp)
    }
    let (book, accounts) = book([rule(0)])
    #expect(book.reading(accounts[0], at: now)?.state == .usedUp)
  }

  @Test func otherLimitsKeepWhatIsSpent() {
    var (book, accounts) = book([rule(100)])
    book.hold(accounts, 10)
    book.post(accounts, held: 0, cost: 50, takenIn: 0)
    book.replace(BudgetRules(broker: []), asksPast: false)
    #expect(book.fit(accounts, estimate: 1_000_000, at: now) == .fits)
    let again = [rule(60), rule(55)]
    book.replace(BudgetRules(broker: [], tenants: [TenantPolicy(id: "acme", budgets: again)]), asksPast: false)
    accounts = book.shared(by: "acme", rules: again, isListed: true)
    #expect(book.reading(accounts[0], at: now)?.spent.nanodollars == 50)
    #expect(book.fit(accounts, estimate: 1, at: now) == .waits(accounts[0]))
    #expect(book.fit(accounts, estimate: 6, at: now) == .exceeds(accounts[1]))
    #expect(book.id(accounts[1]) == "acme/day#2")
  }

  @Test func accountsOfSessionsAreBounded() {
    var book = BudgetBook(mostAccounts: 100)
    let rules = [rule(100, .session)]
    book.replace(BudgetRules(broker: [], others: rules), asksPast: false)
    let held = book.all(shared: [], rules: rules, tenant: "acme", clientKey: nil, session: "held")
    book.use(held)
    book.hold(held, 100)
    for number in 0..<1000 {
      let accounts = book.all(
        shared: [], rules: rules, tenant: "acme", clientKey: nil, session: SessionID("s\(number)"))
      book.post(accounts, held: 0, cost: 1, takenIn: 0)
      #expect(book.count <= 100)
    }
    let again = book.all(shared: [], rules: rules, tenant: "acme", clientKey: nil, session: "held")
    #expect(again == held)
    #expect(book.fit(again, estimate: 1, at: now) == .waits(held[0]))
  }

  /// The book is full of clients' accounts, and the new policy makes more.
  @Test func aReloadForgetsNothingOfWhatThePolicyLists() {
    var book = BudgetBook(mostAccounts: 100)
    let sessions = rule(100, .session)
    func rules(_ tenants: Int) -> BudgetRules {
      BudgetRules(
        broker: [rule(9_000, .broker)],
        tenants: (0..<tenants).map { TenantPolicy(id: TenantID("t\($0)"), budgets: [rule(2_000), sessions]) })
    }
    book.replace(rules(3), asksPast: false)
    let listed = (0..<3).flatMap { book.shared(by: TenantID("t\($0)"), rules: [rule(2_000)], isListed: true) }
    book.post(listed, held: 0, cost: 333, takenIn: 0)
    for number in 0..<200 {
      let accounts = book.all(
        shared: [], rules: [sessions], tenant: "t0", clientKey: nil, session: SessionID("s\(number)"))
      book.post(accounts, held: 0, cost: 1, takenIn: 0)
    }
    book.replace(rules(50), asksPast: false)
    for number in 0..<50 { _ = book.shared(by: TenantID("t\(number)"), rules: [rule(2_000)], isListed: true) }
    for number in 0..<3 { #expect(book.reading(listed[2 * number + 1], at: now)?.spent.nanodollars == 333) }
    #expect(book.reading(listed[0], at: now)?.spent.nanodollars == 999)
    #expect(book.count <= 100 + 51)
  }

  @Test func hugeAmountsStopInsteadOfOverflowing() {
    var (book, accounts) = book([rule(.max)])
    for _ in 0..<20 { book.post(accounts, held: 0, cost: .max, takenIn: 0) }
    for _ in 0..<20 { book.hold(accounts, CallPrice.most) }
    #expect(book.fit(accounts, estimate: CallPrice.most, at: now) == .exceeds(accounts[0]))
    let price = CallPrice(inputMicroPerToken: .max, outputMicroPerToken: 5)
    #expect(price.cost(input: 10, output: 1) == CallPrice.most)
    #expect(CallPrice(inputMicroPerToken: 2_500_000, outputMicroPerToken: 1).cost(input: 2, output: 1) == 5001)
  }
}

/// In dollars alone.
extension BudgetBook {
  fileprivate func fit(_ numbers: [AccountIndex], estimate: Int64?, at now: Instant) -> Fit {
    fit(numbers, BudgetDemand(usd: estimate), at: now).fit
  }
  fileprivate mutating func hold(_ numbers: [AccountIndex], _ amount: Int64) {
    hold(numbers, BudgetAmounts(usd: amount))
  }
  fileprivate mutating func raiseHold(_ numbers: [AccountIndex], by amount: Int64, takenIn epoch: UInt32) {
    raiseHold(numbers, by: BudgetAmounts(usd: amount), takenIn: epoch)
  }
  fileprivate mutating func post(_ numbers: [AccountIndex], held: Int64, cost: Int64, takenIn epoch: UInt32) {
    post(numbers, held: BudgetAmounts(usd: held), spent: BudgetAmounts(usd: cost), takenIn: epoch)
  }
}
