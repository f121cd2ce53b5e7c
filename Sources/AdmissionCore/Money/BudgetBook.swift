// What may be spent, what was spent, and what running calls may still cost: one account for each rule and each broker,
// tenant, client key or session that it applies to.
//
// Promises: money moves in two phases. A *hold* takes the estimate before anything is sent; then the actual cost is
// *posted* in its place, or the hold is *void*. A `reject` rule admits only if `posted + held + estimate <= limit`, so
// that calls at the same time cannot pass it by more than the error of their estimates. Several rules: the one with the
// least left decides. A hold belongs to the window in which it was taken: a call that ends later does not change the
// next window's sum. Amounts are whole nano-dollars, tokens or requests, without rounding or overflow: sums stop at 3 x
// 10^18. Until enough is known of a model, the hold is the most that the client allows, bounded by what is left, so
// that one call always fits. A rolling window is counted in pieces (`BudgetWindow.pieces`), and a call counts in the
// piece in which it ends. The number of accounts that come and go with clients (sessions, client keys, tenants that the
// policy does not list) is bounded.
//
// Rules that come while calls run begin with true sums: the estimates of running calls are held in the new accounts at
// once, and where the ledger is asked for the past, such a rule admits nothing before the ledger has answered. Calls
// that end after the new rules came are counted here, the earlier ones are told by the ledger: each call counts exactly
// once.

import HeapModule

struct BudgetBook: Sendable {
  /// The most accounts that come and go with clients.
  static let mostAccounts = 65_536
  static let mostSum: Int64 = 3_000_000_000_000_000_000
  /// The most that a limit, and all raises together, can be: a billion dollars.
  static let mostLimit: Int64 = 1_000_000_000_000_000_000

  var accounts = Slots<Account>()
  private var keys = Column<Account, Key?>(nil)
  /// The pieces of accounts with a rolling window, the oldest first; at most twice `BudgetWindow.pieces` for an
  /// account.
  var pieces: [AccountIndex: [Piece]] = [:]
  /// The requests that wait for a hold of this account to come back, ordered by band, then by age.
  private var waiters: [AccountIndex: IndexedHeap<Request>] = [:]
  var numbers: [Key: AccountIndex] = [:]
  var windows = Slots<Window>()
  private var raises: [BudgetRaise] = []
  private(set) var rules = BudgetRules()
  private var brokerAccounts: [AccountIndex] = []
  private var stamp: UInt64 = 0
  private var unlisted = 0
  private var waiterPositions = IndexedHeap<Request>.Positions()
  private let most: Int

  /// Grows whenever a window is followed by the next one. A hold remembers the epoch in which it was taken.
  var epoch: UInt32 = 0
  /// True where there is no rule.
  private(set) var isEmpty = true
  /// True where no rule counts tokens or requests: then a call that costs nothing takes nothing.
  private(set) var areAllInDollars = true

  /// True until the ledger has told for the first time: until then every account takes what the ledger tells, and none
  /// waits for it.
  private var isStarting = true
  /// Rules that came while this process ran, and whose past the ledger has not told yet.
  private var untold: Set<BudgetRules.Name> = []

  init(mostAccounts: Int = BudgetBook.mostAccounts) { most = mostAccounts }

  // MARK: Rules

  /// Takes over these rules. Accounts keep what they have counted, and stay when their rule has gone.
  /// - Parameter asksPast: true where the ledger is asked what was spent under the rules that are new: until it has
  ///   answered, their accounts count from nothing and admit nothing. Otherwise new rules begin with what is known
  ///   here.
  mutating func replace(_ new: BudgetRules, asksPast: Bool) {
    isEmpty = new.isEmpty
    areAllInDollars = new.areAllInDollars
    if asksPast {
      // What was asked earlier and has not been told yet is asked again, as of this moment.
      untold = new.names(notIn: rules).union(untold.filter(new.contains))
      isStarting = false
    } else {
      untold = untold.filter(new.contains)
    }
    rules = new
    for index in windows.indices { windows[index].isInForce = new.windows.contains(windows[index].window) }
    for index in accounts.indices {
      guard let key = keys[index] else { continue }
      let rule = new.rule(key)
      accounts[index].hasRule = rule != nil
      if let rule { accounts[index].take(rule) }
      list(index, rule != nil && new.isListed(key.account))
      if asksPast {
        accounts[index].isPastUnknown = isUntold(key)
        if accounts[index].isPastUnknown { empty(index) }
      } else if !isStarting, !isUntold(key) {
        accounts[index].isPastUnknown = false
      }
    }
    brokerAccounts = open(.broker, rules: new.broker, isListed: true)
  }

  private func isUntold(_ key: Key) -> Bool {
    !untold.isEmpty && rules.names(of: key).contains(where: untold.contains)
  }

  private mutating func list(_ index: AccountIndex, _ isListed: Bool) {
    guard accounts[index].isListed != isListed else { return }
    accounts[index].isListed = isListed
    unlisted += isListed ? -1 : 1
  }

  /// Sets what was spent to nothing, and keeps what running calls hold.
  private mutating func empty(_ index: AccountIndex) {
    pieces[index] = nil
    accounts[index].other = nil
    let (serial, held) = (accounts[index].current.serial, accounts[index].current.held)
    accounts[index].current = Sum(serial: serial, held: held)
  }

  /// The accounts of the broker's budgets, then those of the tenant's own; empty where there are none.
  mutating func shared(by tenant: TenantID, rules: [BudgetPolicy], isListed: Bool) -> [AccountIndex] {
    guard !isEmpty else { return [] }
    return brokerAccounts + open(.tenant(tenant), rules: rules, isListed: isListed)
  }

  /// The accounts that a request counts against: `shared`, and those of its client key and session, which are made
  /// where missing.
  mutating func all(
    shared: [AccountIndex], rules: [BudgetPolicy], tenant: TenantID, clientKey: ClientKeyID?, session: SessionID
  ) -> [AccountIndex] {
    guard rules.contains(where: { $0.scope == .clientKey || $0.scope == .session }) else { return shared }
    var all = shared
    if let clientKey { all += open(.clientKey(clientKey, of: tenant), rules: rules, isListed: false) }
    all += open(.session(session, of: tenant), rules: rules, isListed: false)
    return all
  }

  private mutating func open(_ account: BudgetAccount, rules: [BudgetPolicy], isListed: Bool) -> [AccountIndex] {
    var found: [AccountIndex] = []
    for (index, rule) in rules.enumerated() where rule.scope == account.scope {
      let key = Key(
        account: account, window: rule.window, unit: rule.unit, ordinal: BudgetRules.ordinal(of: index, in: rules))
      stamp += 1
      let number = numbers[key] ?? add(key)
      accounts[number].hasRule = true
      accounts[number].take(rule)
      accounts[number].used = stamp
      if isListed { list(number, true) }
      found.append(number)
    }
    return found
  }

  private mutating func add(_ key: Key) -> AccountIndex {
    if unlisted >= most { sweep() }
    let window = windowNumber(key.window)
    var account = Account(key, window: window)
    account.isRolling = key.window.period == .rolling
    account.current.serial = windows[window].serial
    account.isPastUnknown = isStarting || isUntold(key)
    var known: [Piece]?
    if key.ordinal > 0,
      let sibling = numbers[Key(account: key.account, window: key.window, unit: key.unit, ordinal: 0)]
    {
      // A second rule for the same spending begins with what the first rule has counted.
      account.current.posted = sum(of: sibling).posted
      account.isPastUnknown = accounts[sibling].isPastUnknown
      known = pieces[sibling]
    }
    unlisted += 1
    let number = accounts.insert(account)
    keys[number] = key
    numbers[key] = number
    pieces[number] = known
    return number
  }

  /// Forgets accounts that no request uses: all with nothing spent in their window, and of the others an eighth, those
  /// unused for longest.
  private mutating func sweep() {
    var idle: [(number: AccountIndex, used: UInt64)] = []
    for index in accounts.indices {
      let account = accounts[index]
      guard !account.isListed, account.users == 0 else { continue }
      let sum = sum(of: index)
      idle.append((index, sum.posted == 0 && sum.held == 0 ? 0 : account.used))
    }
    idle.sort { $0.used < $1.used }
    for (position, entry) in idle.enumerated() where entry.used == 0 || position < idle.count / 8 + 1 {
      accounts.remove(entry.number)
      if let key = keys[entry.number].take() { numbers[key] = nil }
      pieces[entry.number] = nil
      unlisted -= 1
    }
  }

  /// The number of accounts, for tests of the bound.
  var count: Int { numbers.count }

  // MARK: Raises

  /// Replaces all raises.
  mutating func replace(raises new: [BudgetRaise]) { raises = new }

  /// Forgets the raises that are over. Returns true where there were some.
  mutating func endRaises(at now: Instant) -> Bool {
    guard raises.contains(where: { $0.until <= now }) else { return false }
    raises.removeAll { $0.until <= now }
    return true
  }

  private func raised(_ number: AccountIndex, at now: Instant) -> Int64 {
    guard !raises.isEmpty, let key = keys[number] else { return 0 }
    var sum: Int64 = 0
    for raise in raises where raise.until > now && raise.unit == key.unit {
      let isBrokers = key.account.scope == .broker
      guard raise.tenant == nil ? isBrokers : !isBrokers && raise.tenant == key.account.tenant else { continue }
      if let budget = raise.budget {
        guard budget == id(number) else { continue }
      } else if key.account.scope == .clientKey || key.account.scope == .session {
        continue
      }
      sum = min(sum + min(max(0, raise.amount.nanodollars), Self.mostLimit), Self.mostLimit)
    }
    return sum
  }

  private func limit(_ number: AccountIndex, at now: Instant) -> Int64 {
    raises.isEmpty ? accounts[number].limit : accounts[number].limit + raised(number, at: now)
  }

  // MARK: Admission

  enum Fit: Equatable, Sendable {
    case fits
    /// Only holds of running calls are in the way, or the ledger has not told yet what was spent before.
    case waits(AccountIndex)
    case exceeds(AccountIndex)
  }

  /// Whether a call of this demand may be made now, and what it then holds.
  func fit(
    _ numbers: [AccountIndex], _ demand: BudgetDemand, at now: Instant
  ) -> (fit: Fit, hold: BudgetAmounts) {
    // A call that is known to be free is free in every budget.
    if demand.isFree { return (.fits, BudgetAmounts()) }
    var hold = demand.most
    var exceeds: (account: AccountIndex, left: Int64)?
    for number in numbers {
      let account = accounts[number]
      guard account.hasRule, account.onExceed == .reject else { continue }
      let expected = demand.expected(account.unit)
      // A call that costs nothing takes nothing from a budget in dollars.
      if expected == 0 { continue }
      let wanted = expected ?? 1
      let left = limit(number, at: now) - sum(of: number).posted
      if wanted > left {
        if exceeds.map({ left < $0.left }) ?? true { exceeds = (number, left) }
      } else if hold[account.unit] > left {
        hold[account.unit] = left
      }
    }
    if let exceeds { return (.exceeds(exceeds.account), hold) }
    var waits: (account: AccountIndex, left: Int64)?
    for number in numbers {
      let account = accounts[number]
      guard account.hasRule, account.onExceed == .reject else { continue }
      let expected = demand.expected(account.unit)
      if expected != 0, awaitsPast(number) { return (.waits(number), hold) }
      guard (expected ?? 0) > 0 else { continue }
      let sum = sum(of: number)
      let left = limit(number, at: now) - sum.posted - sum.held
      if hold[account.unit] > left, waits.map({ left < $0.left }) ?? true { waits = (number, left) }
    }
    if let waits { return (.waits(waits.account), hold) }
    return (.fits, hold)
  }

  /// What the account is counted in.
  func unit(_ number: AccountIndex) -> BudgetUnit { accounts[number].unit }

  /// The `low` rule that is used up, if any.
  func demoting(_ numbers: [AccountIndex], at now: Instant) -> AccountIndex? {
    for number in numbers {
      let account = accounts[number]
      guard account.hasRule, account.onExceed == .low else { continue }
      let sum = sum(of: number)
      if sum.posted + sum.held >= limit(number, at: now) { return number }
    }
    return nil
  }

  // MARK: Hold, post, void

  mutating func hold(_ numbers: [AccountIndex], _ amounts: BudgetAmounts) {
    for number in numbers {
      let amount = amounts[accounts[number].unit]
      guard amount > 0 else { continue }
      roll(number)
      accounts[number].current.admit(amount)
    }
  }

  /// Raises the hold of a call that has used more than was held.
  mutating func raiseHold(_ numbers: [AccountIndex], by amounts: BudgetAmounts, takenIn epoch: UInt32) {
    for number in numbers {
      let amount = amounts[accounts[number].unit]
      guard amount > 0 else { continue }
      change(number, takenIn: epoch) { $0.hold(amount) }
    }
  }

  /// The call is over: what it spent replaces what was held. Zeros void the hold.
  mutating func post(
    _ numbers: [AccountIndex], held: BudgetAmounts, spent: BudgetAmounts, takenIn epoch: UInt32
  ) {
    for number in numbers {
      let unit = accounts[number].unit
      let amount = min(max(0, spent[unit]), Self.mostLimit)
      change(number, takenIn: epoch) {
        $0.release(held[unit])
        $0.post(amount)
      }
      if accounts[number].isRolling { add(amount, toPiece: accounts[number].current.serial, of: number) }
    }
  }

  mutating func change(_ number: AccountIndex, takenIn epoch: UInt32, _ body: (inout Sum) -> Void) {
    roll(number)
    // A rolling window holds and counts an amount when it occurs, whatever the epoch.
    if accounts[number].isRolling { return body(&accounts[number].current) }
    guard let serial = serial(of: accounts[number], in: epoch) else { return }
    if accounts[number].current.serial == serial {
      body(&accounts[number].current)
    } else if var other = accounts[number].other, other.serial == serial {
      body(&other)
      accounts[number].other = other
    }
  }

  /// Moves a running call's hold when new rules have given the call other accounts. The hold stays in accounts that are
  /// in both lists.
  mutating func move(_ held: BudgetAmounts, from old: [AccountIndex], to new: [AccountIndex], takenIn epoch: UInt32) {
    for number in old where !new.contains(number) {
      let amount = held[accounts[number].unit]
      if amount > 0 { change(number, takenIn: epoch) { $0.release(amount) } }
    }
    for number in new where !old.contains(number) {
      let amount = held[accounts[number].unit]
      if amount > 0 { change(number, takenIn: epoch) { $0.hold(amount) } }
    }
  }

  // MARK: The past

  /// Adds what the ledger says was spent before the accounts, or the rules that made them, were there. Accounts that
  /// counted already are left as they are. Each amount is told at most once.
  mutating func restore(_ numbers: [AccountIndex], _ spent: BudgetSpent) {
    for number in numbers where accounts[number].isPastUnknown {
      roll(number)
      let amount = min(max(0, spent.amount(accounts[number].unit)), Self.mostSum)
      if accounts[number].isRolling {
        let serial = accounts[number].current.serial
        let piece = min(spent.piece ?? serial, serial)
        guard piece > serial - BudgetWindow.pieces else { continue }
        add(amount, toPiece: piece, of: number)
      }
      accounts[number].current.post(amount)
    }
  }

  /// The ledger has told everything that was asked.
  mutating func knowsPast() {
    isStarting = false
    untold.removeAll()
    for index in accounts.indices { accounts[index].isPastUnknown = false }
  }

  /// True where the account admits nothing before the ledger has told what was spent.
  func awaitsPast(_ number: AccountIndex) -> Bool { !untold.isEmpty && accounts[number].isPastUnknown }

  /// The windows, and the scopes of their rules, of which the ledger has not told yet.
  var untoldWindows: [BudgetWindow: Set<BudgetPolicy.Scope>] {
    untold.reduce(into: [:]) { $0[$1.window, default: []].insert($1.scope) }
  }

  /// The accounts of one owner for one kind of window, made where they are missing; for `restore`.
  mutating func accounts(of account: BudgetAccount, window: BudgetWindow) -> [AccountIndex] {
    open(account, rules: rules.of(account), isListed: rules.isListed(account)).filter {
      keys[$0]?.window == window
    }
  }

  // MARK: Who uses it

  mutating func use(_ numbers: [AccountIndex]) { for number in numbers { accounts[number].users += 1 } }
  mutating func leave(_ numbers: [AccountIndex]) { for number in numbers { accounts[number].users -= 1 } }

  // MARK: Waiting

  mutating func wait(_ request: RequestIndex, for number: AccountIndex, band: Int, sequence: UInt64) {
    waiters[number, default: IndexedHeap()].insert(
      request, key: Int64(band), stamp: sequence, positions: &waiterPositions)
  }

  mutating func stopWaiting(_ request: RequestIndex, for number: AccountIndex) {
    waiters[number]?.remove(request, positions: &waiterPositions)
    if waiters[number]?.isEmpty == true { waiters[number] = nil }
    if waiters.isEmpty { waiterPositions.trim(to: 256) }
  }

  mutating func rename(_ old: RequestIndex, to new: RequestIndex, waitingFor number: AccountIndex) {
    waiters[number]?.rename(old, to: new, positions: &waiterPositions)
  }

  var hasWaiters: Bool { !waiters.isEmpty }
  func firstWaiter(for number: AccountIndex) -> RequestIndex? { waiters[number]?.first?.element }

  /// What is left for new calls; nil where the account has no `reject` rule.
  func left(_ number: AccountIndex, at now: Instant) -> Int64? {
    let account = accounts[number]
    guard account.hasRule, account.onExceed == .reject else { return nil }
    let sum = sum(of: number)
    return limit(number, at: now) - sum.posted - sum.held
  }

  /// The accounts for which requests wait.
  var awaited: [AccountIndex] { waiters.keys.sorted() }

  // MARK: Notices

  enum Mark: Sendable { case warned, exceeded }

  /// The marks that the sum has passed and that have not been reported in this window.
  /// - Parameters:
  ///   - refused: a request did not fit, though the limit itself may not be reached.
  ///   - needed: what that request needed.
  mutating func marks(_ number: AccountIndex, refused: Bool, needed: Int64 = 1, at now: Instant) -> [Mark] {
    roll(number)
    guard accounts[number].hasRule else { return [] }
    let limit = limit(number, at: now)
    if refused { accounts[number].current.refusedNeed = max(1, needed) }
    takeBackMarks(number, limit: limit)
    let account = accounts[number]
    let sum = account.current
    var marks: [Mark] = []
    if !sum.hasWarned, sum.posted > 0, sum.posted >= Self.share(limit, percent: Int64(account.warnAtPercent)) {
      accounts[number].current.hasWarned = true
      if sum.posted < limit, !refused { marks.append(.warned) }
    }
    if !sum.hasExceeded, refused || (sum.posted > 0 && sum.posted >= limit) {
      accounts[number].current.hasExceeded = true
      accounts[number].current.hasWarned = true
      marks.append(.exceeded)
    }
    return marks
  }

  /// Once the limit has been raised, marks that the sum is below again can be passed and reported again.
  private mutating func takeBackMarks(_ number: AccountIndex, limit: Int64) {
    let sum = accounts[number].current
    guard sum.toldLimit != limit else { return }
    accounts[number].current.toldLimit = limit
    guard limit > sum.toldLimit else { return }
    if sum.posted < limit { accounts[number].current.hasExceeded = false }
    if sum.posted < Self.share(limit, percent: Int64(accounts[number].warnAtPercent)) {
      accounts[number].current.hasWarned = false
    }
  }

  static func share(_ limit: Int64, percent: Int64) -> Int64 {
    limit / 100 * percent + limit % 100 * percent / 100
  }

  // MARK: Reading

  func id(_ number: AccountIndex) -> String {
    guard let key = keys[number] else { return "" }
    let suffix = key.ordinal == 0 ? "" : "#\(key.ordinal + 1)"
    // Budgets in dollars keep the names that they had before there were other units.
    let unit = key.unit == .usd ? "" : "/\(key.unit.rawValue)"
    return "\(key.account.label)/\(key.window.name)\(unit)\(suffix)"
  }

  func reading(_ number: AccountIndex, at now: Instant) -> BudgetReading? {
    let account = accounts[number]
    guard account.hasRule, let key = keys[number] else { return nil }
    let sum = sum(of: number)
    let end = windows[account.window].end
    let raised = raised(number, at: now)
    return BudgetReading(
      id: id(number), account: key.account, window: key.window, unit: key.unit,
      limit: Money(nanodollars: account.limit + raised), raised: Money(nanodollars: raised),
      spent: Money(nanodollars: sum.posted), held: Money(nanodollars: sum.held), onExceed: account.onExceed,
      warnAtPercent: Int(account.warnAtPercent), windowEnd: end == .distantFuture ? nil : end,
      waiting: waiters[number]?.count ?? 0, refusedNeed: Money(nanodollars: sum.refusedNeed))
  }

  /// What the tightest account leaves, among those with a `reject` rule where there are any, else among all.
  func remaining(_ numbers: [AccountIndex], withBroker: Bool, at now: Instant) -> Money? {
    var least: (rejects: Bool, left: Int64)?
    for number in numbers {
      let account = accounts[number]
      guard account.hasRule, account.unit == .usd, withBroker || !account.isBrokers else { continue }
      let sum = sum(of: number)
      let left = max(0, limit(number, at: now) - sum.posted - sum.held)
      let rejects = account.onExceed == .reject
      if let known = least, known.rejects && !rejects || known.rejects == rejects && known.left <= left { continue }
      least = (rejects, left)
    }
    return least.map { Money(nanodollars: $0.left) }
  }

  /// All budgets that the policy lists, and the `others` of the rest with the most spent.
  func readings(others: Int, at now: Instant) -> [BudgetReading] {
    guard !isEmpty else { return [] }
    var listed: [AccountIndex] = []
    // The largest so far, the smallest of them first: this finds a hundred of 65,536 accounts without a list of all.
    var rest = Heap<Spender>()
    for index in accounts.indices {
      let account = accounts[index]
      guard account.hasRule else { continue }
      if account.isListed {
        listed.append(index)
      } else {
        let sum = sum(of: index)
        let spender = Spender(number: index, spent: sum.posted + sum.held)
        guard spender.spent > 0, others > 0 else { continue }
        if rest.count == others {
          guard let least = rest.min, least < spender else { continue }
          rest.removeMin()
        }
        rest.insert(spender)
      }
    }
    var top: [AccountIndex] = []
    while let most = rest.popMax() { top.append(most.number) }
    return (listed + top).compactMap { reading($0, at: now) }
  }

  private struct Spender: Comparable {
    var number: AccountIndex
    var spent: Int64
    /// Among equal ones the older comes first.
    static func < (left: Spender, right: Spender) -> Bool {
      left.spent != right.spent ? left.spent < right.spent : left.number > right.number
    }
  }
}
