// What may be spent, what is spent, and what running calls may still cost: one account for each rule and whoever it
// applies to (the broker, a tenant, a client key, a session).
//
// Promises: money moves in two phases. A *hold* takes the estimate before anything is sent; then the actual cost is
// *posted* in its place, or the hold is *void*. A `reject` rule admits only if `posted + held + estimate <= limit`, so
// that calls at the same time cannot pass it by more than the error of their estimates. Several rules: the one with the
// least left decides. A hold belongs to the window in which it was taken: what ends later changes nothing in the sum of
// the window after it. Whole nano-dollars, tokens or requests, no rounding, no overflow: sums stop at 3 x 10^18. Until enough is
// known of a model the hold is what the client allows, bounded by what is left, so that one call always fits. A rolling
// window is counted in pieces (`BudgetWindow.pieces`), and calls count in the piece in which they end. Accounts that come and go
// with clients (sessions, client keys, tenants that the policy does not list) are bounded in number.
//
// Rules that come while calls run begin with the truth: running calls hold in their accounts at once, and where the books are asked,
// nobody is admitted by such a rule before they have told. Everything that ends from the installation on is counted here, everything that
// ended before it is told: nothing twice, and nothing never.

import HeapModule

struct BudgetBook: Sendable {
  /// Accounts that a client's words have made, at most.
  static let mostAccounts = 65_536
  static let mostSum: Int64 = 3_000_000_000_000_000_000
  /// Of limits, and of raises together: a billion dollars.
  static let mostLimit: Int64 = 1_000_000_000_000_000_000

  var accounts = Slots<Account>()
  private var keys = Column<Account, Key?>(nil)
  /// The pieces of accounts with a rolling window, the oldest first; at most twice `BudgetWindow.pieces`.
  var pieces: [AccountIndex: [Piece]] = [:]
  /// Slots of requests that wait for a hold of this account to come back, by band, then age.
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

  /// Grows when any window gives way to another; a hold remembers the epoch in which it was taken.
  var epoch: UInt32 = 0
  /// True where no rule exists at all.
  private(set) var isEmpty = true
  /// True where no rule counts tokens or requests: then what costs nothing takes nothing.
  private(set) var areAllInDollars = true

  /// Until the books are told for the first time: every account takes what they say, and none waits for it.
  private var isStarting = true
  /// Rules that came while this process ran, of whose past the books have not told yet.
  private var untold: Set<BudgetRules.Name> = []

  init(mostAccounts: Int = BudgetBook.mostAccounts) { most = mostAccounts }

  // MARK: Rules

  /// Takes over these rules. What accounts have counted stays, and so do those whose rule has gone.
  /// - Parameter asksPast: the books are asked what was spent under rules that were not there before: until they have told, the accounts of
  ///   these count from nothing and admit nothing. Otherwise such rules begin with what is known here.
  mutating func replace(_ new: BudgetRules, asksPast: Bool) {
    isEmpty = new.isEmpty
    areAllInDollars = new.areAllInDollars
    if asksPast {
      // What was asked before and not told yet is asked again, from this moment on.
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

  /// Nothing spent; what running calls hold stays.
  private mutating func empty(_ index: AccountIndex) {
    pieces[index] = nil
    accounts[index].other = nil
    let (serial, held) = (accounts[index].current.serial, accounts[index].current.held)
    accounts[index].current = Sum(serial: serial, held: held)
  }

  /// The accounts of a tenant's own budgets, those of the broker first; empty where there are none.
  mutating func shared(by tenant: TenantID, rules: [BudgetPolicy], isListed: Bool) -> [AccountIndex] {
    guard !isEmpty else { return [] }
    return brokerAccounts + open(.tenant(tenant), rules: rules, isListed: isListed)
  }

  /// The accounts that a request counts against: `shared`, and those of its client key and session; makes new ones.
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
      // A second rule for the same spending begins with what the first one knows.
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

  /// Forgets accounts that nobody uses: those with nothing spent in their window, and of the others those unused for
  /// longest.
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

  /// Accounts that exist, for tests of the bound.
  var count: Int { numbers.count }

  // MARK: Raises

  /// All raises that hold, in the place of those that held before.
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
    /// Only the holds of running calls are in the way, or that the books have not told yet what was spent before.
    case waits(AccountIndex)
    case exceeds(AccountIndex)
  }

  /// Whether a call of this demand may be made now, and what it then holds.
  func fit(
    _ numbers: [AccountIndex], _ demand: BudgetDemand, at now: Instant
  ) -> (fit: Fit, hold: BudgetAmounts) {
    // What is known to be free is free in every budget.
    if demand.isFree { return (.fits, BudgetAmounts()) }
    var hold = demand.most
    var exceeds: (account: AccountIndex, left: Int64)?
    for number in numbers {
      let account = accounts[number]
      guard account.hasRule, account.onExceed == .reject else { continue }
      let expected = demand.expected(account.unit)
      // A model that costs nothing takes nothing of a budget in dollars.
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
      accounts[number].current.hold(amount)
    }
  }

  /// More was used than was held.
  mutating func raiseHold(_ numbers: [AccountIndex], by amounts: BudgetAmounts, takenIn epoch: UInt32) {
    for number in numbers {
      let amount = amounts[accounts[number].unit]
      guard amount > 0 else { continue }
      change(number, takenIn: epoch) { $0.hold(amount) }
    }
  }

  /// The call is over: what it took takes the place of what was held. Zeros are a void hold.
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
    // What a rolling window holds and counts, it does when it happens.
    if accounts[number].isRolling { return body(&accounts[number].current) }
    guard let serial = serial(of: accounts[number], in: epoch) else { return }
    if accounts[number].current.serial == serial {
      body(&accounts[number].current)
    } else if var other = accounts[number].other, other.serial == serial {
      body(&other)
      accounts[number].other = other
    }
  }

  /// Moves what a running call holds where other rules have given it other accounts. What it holds in those that are in both lists stays.
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

  /// Adds what the books say was spent before their accounts were made, or before the rules came that made them; accounts that were there
  /// before know better. Each is told at most once.
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

  /// All that the books know has been told.
  mutating func knowsPast() {
    isStarting = false
    untold.removeAll()
    for index in accounts.indices { accounts[index].isPastUnknown = false }
  }

  /// True where the account admits nothing before the books have told what was spent.
  func awaitsPast(_ number: AccountIndex) -> Bool { !untold.isEmpty && accounts[number].isPastUnknown }

  /// The windows of which the books have not told yet, and whose accounts have them.
  var untoldWindows: [BudgetWindow: Set<BudgetPolicy.Scope>] {
    untold.reduce(into: [:]) { $0[$1.window, default: []].insert($1.scope) }
  }

  /// The accounts of a scope for one sort of window, made where they are missing; for `restore`.
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

  /// What is left for calls that begin now; nil where there is no `reject` rule.
  func left(_ number: AccountIndex, at now: Instant) -> Int64? {
    let account = accounts[number]
    guard account.hasRule, account.onExceed == .reject else { return nil }
    let sum = sum(of: number)
    return limit(number, at: now) - sum.posted - sum.held
  }

  /// Accounts for which somebody waits.
  var awaited: [AccountIndex] { waiters.keys.sorted() }

  // MARK: Notices

  enum Mark: Sendable { case warned, exceeded }

  /// The marks that the sum has passed and that nobody has been told of in this window.
  /// - Parameter refused: a request did not fit, though the limit itself may not be reached.
  mutating func marks(_ number: AccountIndex, refused: Bool, at now: Instant) -> [Mark] {
    roll(number)
    let account = accounts[number]
    guard account.hasRule else { return [] }
    let limit = limit(number, at: now)
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

  static func share(_ limit: Int64, percent: Int64) -> Int64 {
    limit / 100 * percent + limit % 100 * percent / 100
  }

  // MARK: Reading

  func id(_ number: AccountIndex) -> String {
    guard let key = keys[number] else { return "" }
    let suffix = key.ordinal == 0 ? "" : "#\(key.ordinal + 1)"
    // Budgets in dollars came first, and keep their names.
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
      waiting: waiters[number]?.count ?? 0)
  }

  /// What the tightest of them leaves: of those that reject where there are any, else of all.
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

  /// All budgets that the policy lists, and of the others those with the most spent.
  func readings(others: Int, at now: Instant) -> [BudgetReading] {
    guard !isEmpty else { return [] }
    var listed: [AccountIndex] = []
    // The largest so far, the least of them first: of 65,536 accounts a hundred are wanted, and no list of all.
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
    /// Of equal ones the older comes first.
    static func < (left: Spender, right: Spender) -> Bool {
      left.spent != right.spent ? left.spent < right.spent : left.number > right.number
    }
  }
}
