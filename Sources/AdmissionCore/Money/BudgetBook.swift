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

struct BudgetBook: Sendable {
  /// Accounts that a client's words have made, at most.
  static let mostAccounts = 65_536
  static let mostSum: Int64 = 3_000_000_000_000_000_000
  /// Of limits, and of raises together: a billion dollars.
  static let mostLimit: Int64 = 1_000_000_000_000_000_000

  var accounts: [Account] = []
  /// The pieces of accounts with a rolling window, the oldest first; at most twice `BudgetWindow.pieces`.
  var pieces: [Int32: [Piece]] = [:]
  var keys: [Key?] = []
  /// Slots of requests that wait for a hold of this account to come back, by band, then age.
  private var waiters: [Int32: IndexedHeap] = [:]
  private var free: [Int32] = []
  var numbers: [Key: Int32] = [:]
  var windows: [Window] = []
  private var raises: [BudgetRaise] = []
  private(set) var rules = BudgetRules()
  private var brokerAccounts: [Int32] = []
  private var stamp: UInt64 = 0
  private var unlisted = 0
  private var waiterPositions: [Int32] = []
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
      guard accounts[index].isOpen, let key = keys[index] else { continue }
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

  private mutating func list(_ index: Int, _ isListed: Bool) {
    guard accounts[index].isListed != isListed else { return }
    accounts[index].isListed = isListed
    unlisted += isListed ? -1 : 1
  }

  /// Nothing spent; what running calls hold stays.
  private mutating func empty(_ index: Int) {
    pieces[Int32(index)] = nil
    accounts[index].other = nil
    let (serial, held) = (accounts[index].current.serial, accounts[index].current.held)
    accounts[index].current = Sum(serial: serial, held: held)
  }

  /// The accounts of a tenant's own budgets, those of the broker first; empty where there are none.
  mutating func shared(by tenant: TenantID, rules: [BudgetPolicy], isListed: Bool) -> [Int32] {
    guard !isEmpty else { return [] }
    return brokerAccounts + open(.tenant(tenant), rules: rules, isListed: isListed)
  }

  /// The accounts that a request counts against: `shared`, and those of its client key and session; makes new ones.
  mutating func all(
    shared: [Int32], rules: [BudgetPolicy], tenant: TenantID, clientKey: ClientKeyID?, session: SessionID
  ) -> [Int32] {
    guard rules.contains(where: { $0.scope == .clientKey || $0.scope == .session }) else { return shared }
    var all = shared
    if let clientKey { all += open(.clientKey(clientKey, of: tenant), rules: rules, isListed: false) }
    all += open(.session(session, of: tenant), rules: rules, isListed: false)
    return all
  }

  private mutating func open(_ account: BudgetAccount, rules: [BudgetPolicy], isListed: Bool) -> [Int32] {
    var found: [Int32] = []
    for (index, rule) in rules.enumerated() where rule.scope == account.scope {
      let key = Key(
        account: account, window: rule.window, unit: rule.unit, ordinal: BudgetRules.ordinal(of: index, in: rules))
      stamp += 1
      let number = numbers[key] ?? add(key)
      accounts[Int(number)].hasRule = true
      accounts[Int(number)].take(rule)
      accounts[Int(number)].used = stamp
      if isListed { list(Int(number), true) }
      found.append(number)
    }
    return found
  }

  private mutating func add(_ key: Key) -> Int32 {
    if unlisted >= most { sweep() }
    let window = windowNumber(key.window)
    var account = Account(isBrokers: key.account.scope == .broker, window: window)
    account.unit = key.unit
    account.isRolling = key.window.period == .rolling
    account.current.serial = windows[Int(window)].serial
    account.isPastUnknown = isStarting || isUntold(key)
    var known: [Piece]?
    if key.ordinal > 0,
      let sibling = numbers[Key(account: key.account, window: key.window, unit: key.unit, ordinal: 0)]
    {
      // A second rule for the same spending begins with what the first one knows.
      account.current.posted = sum(of: sibling).posted
      account.isPastUnknown = accounts[Int(sibling)].isPastUnknown
      known = pieces[sibling]
    }
    unlisted += 1
    let number: Int32
    if let reused = free.popLast() {
      number = reused
      accounts[Int(reused)] = account
      keys[Int(reused)] = key
    } else {
      number = Int32(accounts.count)
      accounts.append(account)
      keys.append(key)
    }
    numbers[key] = number
    pieces[number] = known
    return number
  }

  /// Forgets accounts that nobody uses: those with nothing spent in their window, and of the others those unused for
  /// longest.
  private mutating func sweep() {
    var idle: [(number: Int32, used: UInt64)] = []
    for index in accounts.indices {
      let account = accounts[index]
      guard account.isOpen, !account.isListed, account.users == 0 else { continue }
      let sum = sum(of: Int32(index))
      idle.append((Int32(index), sum.posted == 0 && sum.held == 0 ? 0 : account.used))
    }
    idle.sort { $0.used < $1.used }
    for (position, entry) in idle.enumerated() where entry.used == 0 || position < idle.count / 8 + 1 {
      if let key = keys[Int(entry.number)].take() { numbers[key] = nil }
      pieces[entry.number] = nil
      accounts[Int(entry.number)].isOpen = false
      accounts[Int(entry.number)].hasRule = false
      free.append(entry.number)
      unlisted -= 1
    }
  }

  /// Accounts that exist, for tests of the bound.
  var count: Int { numbers.count }

  // MARK: Raises

  /// All raises that hold, in the place of those that held before.
  mutating func replace(raises new: [BudgetRaise]) { raises = new }

  private func raised(_ number: Int32, at now: Instant) -> Int64 {
    guard !raises.isEmpty, let key = keys[Int(number)] else { return 0 }
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

  private func limit(_ number: Int32, at now: Instant) -> Int64 {
    raises.isEmpty ? accounts[Int(number)].limit : accounts[Int(number)].limit + raised(number, at: now)
  }

  // MARK: Admission

  enum Fit: Equatable, Sendable {
    case fits
    /// Only the holds of running calls are in the way, or that the books have not told yet what was spent before.
    case waits(Int32)
    case exceeds(Int32)
  }

  /// Whether a call of this demand may be made now, and what it then holds.
  func fit(
    _ numbers: [Int32], _ demand: BudgetDemand, at now: Instant
  ) -> (fit: Fit, hold: BudgetAmounts) {
    // What is known to be free is free in every budget.
    if demand.isFree { return (.fits, BudgetAmounts()) }
    var hold = demand.most
    var exceeds: (account: Int32, left: Int64)?
    for number in numbers {
      let account = accounts[Int(number)]
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
    var waits: (account: Int32, left: Int64)?
    for number in numbers {
      let account = accounts[Int(number)]
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
  func unit(_ number: Int32) -> BudgetUnit { accounts[Int(number)].unit }

  /// The `low` rule that is used up, if any.
  func demoting(_ numbers: [Int32], at now: Instant) -> Int32? {
    for number in numbers {
      let account = accounts[Int(number)]
      guard account.hasRule, account.onExceed == .low else { continue }
      let sum = sum(of: number)
      if sum.posted + sum.held >= limit(number, at: now) { return number }
    }
    return nil
  }

  // MARK: Hold, post, void

  mutating func hold(_ numbers: [Int32], _ amounts: BudgetAmounts) {
    for number in numbers {
      let amount = amounts[accounts[Int(number)].unit]
      guard amount > 0 else { continue }
      roll(Int(number))
      accounts[Int(number)].current.hold(amount)
    }
  }

  /// More was used than was held.
  mutating func raiseHold(_ numbers: [Int32], by amounts: BudgetAmounts, takenIn epoch: UInt32) {
    for number in numbers {
      let amount = amounts[accounts[Int(number)].unit]
      guard amount > 0 else { continue }
      change(Int(number), takenIn: epoch) { $0.hold(amount) }
    }
  }

  /// The call is over: what it took takes the place of what was held. Zeros are a void hold.
  mutating func post(
    _ numbers: [Int32], held: BudgetAmounts, spent: BudgetAmounts, takenIn epoch: UInt32
  ) {
    for number in numbers {
      let unit = accounts[Int(number)].unit
      let amount = min(max(0, spent[unit]), Self.mostLimit)
      change(Int(number), takenIn: epoch) {
        $0.release(held[unit])
        $0.post(amount)
      }
      if accounts[Int(number)].isRolling { add(amount, toPiece: accounts[Int(number)].current.serial, of: number) }
    }
  }

  mutating func change(_ number: Int, takenIn epoch: UInt32, _ body: (inout Sum) -> Void) {
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
  mutating func move(_ held: BudgetAmounts, from old: [Int32], to new: [Int32], takenIn epoch: UInt32) {
    for number in old where !new.contains(number) {
      let amount = held[accounts[Int(number)].unit]
      if amount > 0 { change(Int(number), takenIn: epoch) { $0.release(amount) } }
    }
    for number in new where !old.contains(number) {
      let amount = held[accounts[Int(number)].unit]
      if amount > 0 { change(Int(number), takenIn: epoch) { $0.hold(amount) } }
    }
  }

  // MARK: The past

  /// Adds what the books say was spent before their accounts were made, or before the rules came that made them; accounts that were there
  /// before know better. Each is told at most once.
  mutating func restore(_ numbers: [Int32], _ spent: BudgetSpent) {
    for number in numbers where accounts[Int(number)].isPastUnknown {
      roll(Int(number))
      let amount = min(max(0, spent.amount(accounts[Int(number)].unit)), Self.mostSum)
      if accounts[Int(number)].isRolling {
        let serial = accounts[Int(number)].current.serial
        let piece = min(spent.piece ?? serial, serial)
        guard piece > serial - BudgetWindow.pieces else { continue }
        add(amount, toPiece: piece, of: number)
      }
      accounts[Int(number)].current.post(amount)
    }
  }

  /// All that the books know has been told.
  mutating func knowsPast() {
    isStarting = false
    untold.removeAll()
    for index in accounts.indices { accounts[index].isPastUnknown = false }
  }

  /// True where the account admits nothing before the books have told what was spent.
  func awaitsPast(_ number: Int32) -> Bool { !untold.isEmpty && accounts[Int(number)].isPastUnknown }

  /// The windows of which the books have not told yet, and whose accounts have them.
  var untoldWindows: [BudgetWindow: Set<BudgetPolicy.Scope>] {
    untold.reduce(into: [:]) { $0[$1.window, default: []].insert($1.scope) }
  }

  /// The accounts of a scope for one sort of window, made where they are missing; for `restore`.
  mutating func accounts(of account: BudgetAccount, window: BudgetWindow) -> [Int32] {
    open(account, rules: rules.of(account), isListed: rules.isListed(account)).filter {
      keys[Int($0)]?.window == window
    }
  }

  // MARK: Who uses it

  mutating func use(_ numbers: [Int32]) { for number in numbers { accounts[Int(number)].users += 1 } }
  mutating func leave(_ numbers: [Int32]) { for number in numbers { accounts[Int(number)].users -= 1 } }

  // MARK: Waiting

  mutating func wait(_ slot: Int32, for number: Int32, band: Int, sequence: UInt64) {
    while waiterPositions.count <= Int(slot) { waiterPositions.append(-1) }
    waiters[number, default: IndexedHeap()].insert(
      slot, key: Int64(band), stamp: sequence, positions: &waiterPositions)
  }

  mutating func stopWaiting(_ slot: Int32, for number: Int32) {
    waiters[number]?.remove(slot, positions: &waiterPositions)
    if waiters[number]?.isEmpty == true { waiters[number] = nil }
    if waiters.isEmpty, waiterPositions.count > 256 { waiterPositions = [] }
  }

  mutating func rename(_ old: Int32, to new: Int32, waitingFor number: Int32) {
    waiters[number]?.rename(old, to: new, positions: &waiterPositions)
  }

  var hasWaiters: Bool { !waiters.isEmpty }
  func firstWaiter(for number: Int32) -> Int32? { waiters[number]?.first?.element }

  /// What is left for calls that begin now; nil where there is no `reject` rule.
  func left(_ number: Int32, at now: Instant) -> Int64? {
    let account = accounts[Int(number)]
    guard account.hasRule, account.onExceed == .reject else { return nil }
    let sum = sum(of: number)
    return limit(number, at: now) - sum.posted - sum.held
  }

  /// Accounts for which somebody waits.
  var awaited: [Int32] { waiters.keys.sorted() }

  // MARK: Notices

  enum Mark: Sendable { case warned, exceeded }

  /// The marks that the sum has passed and that nobody has been told of in this window.
  /// - Parameter refused: a request did not fit, though the limit itself may not be reached.
  mutating func marks(_ number: Int32, refused: Bool, at now: Instant) -> [Mark] {
    roll(Int(number))
    let account = accounts[Int(number)]
    guard account.hasRule else { return [] }
    let limit = limit(number, at: now)
    let sum = account.current
    var marks: [Mark] = []
    if !sum.hasWarned, sum.posted > 0, sum.posted >= Self.share(limit, percent: Int64(account.warnAtPercent)) {
      accounts[Int(number)].current.hasWarned = true
      if sum.posted < limit, !refused { marks.append(.warned) }
    }
    if !sum.hasExceeded, refused || (sum.posted > 0 && sum.posted >= limit) {
      accounts[Int(number)].current.hasExceeded = true
      accounts[Int(number)].current.hasWarned = true
      marks.append(.exceeded)
    }
    return marks
  }

  static func share(_ limit: Int64, percent: Int64) -> Int64 {
    limit / 100 * percent + limit % 100 * percent / 100
  }

  // MARK: Reading

  func id(_ number: Int32) -> String {
    guard let key = keys[Int(number)] else { return "" }
    let suffix = key.ordinal == 0 ? "" : "#\(key.ordinal + 1)"
    // Budgets in dollars came first, and keep their names.
    let unit = key.unit == .usd ? "" : "/\(key.unit.rawValue)"
    return "\(key.account.label)/\(key.window.name)\(unit)\(suffix)"
  }

  func reading(_ number: Int32, at now: Instant) -> BudgetReading? {
    let account = accounts[Int(number)]
    guard account.hasRule, let key = keys[Int(number)] else { return nil }
    let sum = sum(of: number)
    let end = windows[Int(account.window)].end
    let raised = raised(number, at: now)
    return BudgetReading(
      id: id(number), account: key.account, window: key.window, unit: key.unit,
      limit: Money(nanodollars: account.limit + raised), raised: Money(nanodollars: raised),
      spent: Money(nanodollars: sum.posted), held: Money(nanodollars: sum.held), onExceed: account.onExceed,
      warnAtPercent: Int(account.warnAtPercent), windowEnd: end == .distantFuture ? nil : end,
      waiting: waiters[number]?.count ?? 0)
  }

  /// What the tightest of them leaves: of those that reject where there are any, else of all.
  func remaining(_ numbers: [Int32], withBroker: Bool, at now: Instant) -> Money? {
    var least: (rejects: Bool, left: Int64)?
    for number in numbers {
      let account = accounts[Int(number)]
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
    var listed: [Int32] = []
    var rest: [(number: Int32, spent: Int64)] = []
    for index in accounts.indices {
      let account = accounts[index]
      guard account.hasRule else { continue }
      if account.isListed {
        listed.append(Int32(index))
      } else {
        let sum = sum(of: Int32(index))
        if sum.posted + sum.held > 0 { rest.append((Int32(index), sum.posted + sum.held)) }
      }
    }
    rest.sort { $0.spent != $1.spent ? $0.spent > $1.spent : $0.number < $1.number }
    return (listed + rest.prefix(others).map(\.number)).compactMap { reading($0, at: now) }
  }
}
