// Budgets in the control flow: which accounts a request counts against, who waits for a hold to come back, and what is
// told of all that.
//
// A head that only the holds of running calls keep out leaves its lane and waits at the account that is tightest, so
// that neither its session nor anybody else is held back. When a hold comes back, waiters go back to the front of
// their lanes in the order of band and age, as many as what is left can take.

extension Admission {
  // MARK: Rules

  /// Takes over the budgets of a policy; the tenants' accounts are opened as the tenants are installed.
  mutating func installBudgets(_ new: AdmissionPolicy, asksPast: Bool) {
    book.replace(
      BudgetRules(broker: new.budgets, tenants: new.tenants, others: new.tenantTemplate?.budgets ?? []),
      asksPast: asksPast)
    isSingleTenant = new.tenants.count <= 1 && new.tenantTemplate == nil
  }

  /// The accounts that a ticket counts against; empty where there are no budgets.
  mutating func budgetAccounts(_ ticket: Ticket, tenant: Int32) -> [Int32] {
    guard !book.isEmpty else { return [] }
    let state = tenants[Int(tenant)]
    let shared =
      state.isListed || state.budgets.isEmpty
      ? state.accounts : book.shared(by: state.id, rules: state.budgets, isListed: false)
    return book.all(
      shared: shared, rules: state.budgets, tenant: state.id, clientKey: ticket.clientKey, session: ticket.session)
  }

  /// After other rules: what runs holds in the accounts that it has now, and is posted there, also where it is tried again.
  mutating func reopenLeases() {
    for slot in leases.indices {
      guard let lease = leases[slot] else { continue }
      let old = lease.request.accounts
      let accounts = budgetAccounts(lease.request.ticket, tenant: lease.request.tenant)
      guard accounts != old else { continue }
      book.use(accounts)
      book.leave(old)
      leases[slot]?.request.accounts = accounts
      if old.isEmpty || lease.held.isZero {
        // It was sent when nothing had to be held for it.
        let demand = demand(of: lease)
        let held = demand.isFree ? BudgetAmounts() : demand.most
        book.move(held, from: [], to: accounts, takenIn: lease.epoch)
        leases[slot]?.held = held
      } else {
        book.move(lease.held, from: old, to: accounts, takenIn: lease.epoch)
      }
    }
  }

  /// After other rules: the accounts of those that wait anew, and whoever waited for one looks again.
  mutating func reopenBudgets(at now: Instant, into actions: inout ActionList) {
    for slot in waiting.indices {
      guard let request = waiting[slot] else { continue }
      let accounts = budgetAccounts(request.ticket, tenant: request.tenant)
      book.use(accounts)
      book.leave(request.accounts)
      if request.waitsFor >= 0 { rejoin(Int32(slot), at: now, into: &actions) }
      waiting[slot]?.accounts = accounts
    }
  }

  /// What a running call would have asked of budgets, by what was reserved for it.
  private func demand(of lease: Lease) -> BudgetDemand {
    let (input, output) = (lease.placement.input, lease.placement.output)
    let cost = price(of: lease)?.cost(input: input, output: output)
    let tokens = BudgetDemand.tokens(input, output)
    return BudgetDemand(
      usd: cost, mostUSD: cost ?? 0, tokens: tokens, mostTokens: tokens,
      isFree: lease.request.ticket.isFree || cost == 0 && book.areAllInDollars)
  }

  // MARK: Admission

  /// What the call is expected to cost at this candidate; nil where the price is unknown.
  func cost(_ request: Request, leg: Route.Leg, input: TokenCount, output: TokenCount) -> Int64? {
    request.box.ticket.candidates[leg.candidate].price?.cost(input: input, output: output)
  }

  /// What the call asks of budgets at this candidate. Until enough is known of its model, as much may be held as its client
  /// allows: what it is expected to use is a guess.
  func demand(_ request: Request, leg: Route.Leg, input: TokenCount, output: TokenCount) -> BudgetDemand {
    let ticket = request.box.ticket
    let cost = cost(request, leg: leg, input: input, output: output)
    let tokens = BudgetDemand.tokens(input, output)
    var demand = BudgetDemand(
      usd: cost, mostUSD: cost ?? 0, tokens: tokens, mostTokens: tokens,
      isFree: ticket.isFree || (cost == 0 && book.areAllInDollars))
    let provider = Int(leg.provider)
    guard ticket.producesOutput, !providers[provider].predictor.knows(model: request.model, band: request.band) else {
      return demand
    }
    let most = max(output, ticket.outputCap ?? OutputPredictor.unknown)
    if cost != nil { demand.mostUSD = self.cost(request, leg: leg, input: input, output: most) ?? 0 }
    demand.mostTokens = BudgetDemand.tokens(input, most)
    return demand
  }

  /// The account that refuses the request at every candidate, for good.
  func refusingAccount(_ request: Request, at now: Instant) -> Int32? {
    guard !request.accounts.isEmpty else { return nil }
    var refusing: Int32?
    for leg in routes.routes[Int(request.route)].legs {
      let (input, output) = estimate(request, leg: leg)
      let demand = demand(request, leg: leg, input: input, output: output)
      guard case .exceeds(let account) = book.fit(request.accounts, demand, at: now).fit else { return nil }
      refusing = refusing ?? account
    }
    return refusing
  }

  /// The head waits for a hold to come back: out of its lane, so that nobody else waits with it.
  mutating func waitForBudget(_ slot: Int32, account: Int32, into actions: inout ActionList) {
    note(slot, Obstacle(kind: .budget, account: account), into: &actions)
    guard let request = waiting[Int(slot)], let lane = lanes.lane(of: slot) else {
      actions.append(.note(.ourBug(.staleHead)))
      return
    }
    lanes.remove(slot)
    refreshHead(lane, band: request.band, tenant: request.tenant)
    waiting[Int(slot)]?.waitsFor = account
    book.wait(slot, for: account, band: request.band, sequence: request.sequence)
  }

  private mutating func rejoin(_ slot: Int32, at now: Instant, into actions: inout ActionList) {
    guard let account = waiting[Int(slot)]?.waitsFor, account >= 0 else { return }
    book.stopWaiting(slot, for: account)
    waiting[Int(slot)]?.waitsFor = -1
    enterLane(slot, isRetry: true)
    schedule(slot, at: now, into: &actions)
  }

  /// Something was given back, or the limit changed: those that fit now go back to their lanes, those that never will
  /// are refused.
  mutating func wakeBudgetWaiters(_ accounts: [Int32], at now: Instant, into actions: inout ActionList) {
    guard book.hasWaiters else { return }
    for account in accounts {
      var left = book.left(account, at: now) ?? .max
      while let slot = book.firstWaiter(for: account), let request = waiting[Int(slot)] {
        if let refusing = refusingAccount(request, at: now) {
          evict(slot, outcome: .rejectedBudget, budget: refusing, at: now, into: &actions)
          continue
        }
        // What it waits for is the books' word.
        if book.awaitsPast(account) { break }
        let estimate = leastHold(request, of: account, at: now)
        guard estimate <= left else { break }
        left -= estimate
        promised.append((request.ticket.id, account))
        rejoin(slot, at: now, into: &actions)
        needsPass = true
      }
    }
  }

  /// At the end of a pass: where somebody who was sent back to its lane did not take what was left for it (its provider is
  /// full, another budget is in its way), the next one may. Returns false where nobody is left to look.
  mutating func handOn(_ handed: inout Int, at now: Instant, into actions: inout ActionList) -> Bool {
    // Bounded, so that a full provider does not move a long list of waiters in one pass.
    guard !promised.isEmpty, handed < 64 else {
      promised.removeAll(keepingCapacity: true)
      return false
    }
    let looked = promised
    promised.removeAll(keepingCapacity: true)
    handed += looked.count
    for (id, account) in looked {
      if let slot = locations[id], slot >= 0, waiting[Int(slot)]?.waitsFor == account { continue }
      wakeBudgetWaiters([account], at: now, into: &actions)
    }
    return !promised.isEmpty
  }

  /// What the account would have to hold for the request, where that is least.
  private func leastHold(_ request: Request, of account: Int32, at now: Instant) -> Int64 {
    var least = Int64.max
    let unit = book.unit(account)
    for leg in routes.routes[Int(request.route)].legs {
      let (input, output) = estimate(request, leg: leg)
      let demand = demand(request, leg: leg, input: input, output: output)
      least = min(least, book.fit(request.accounts, demand, at: now).hold[unit])
    }
    return least == .max ? 0 : least
  }

  /// What the request costs where it is cheapest, in nano-dollars; 0 where no price is known.
  func leastCost(_ request: Request) -> Int64 {
    var least = Int64.max
    for leg in routes.routes[Int(request.route)].legs {
      let (input, output) = estimate(request, leg: leg)
      let price = request.box.ticket.candidates[leg.candidate].price
      least = min(least, price?.cost(input: input, output: output) ?? 0)
    }
    return least == .max ? 0 : least
  }

  // MARK: Hold and post

  /// A stream runs on: what is held keeps up with it.
  mutating func raiseHold(_ slot: Int, _ lease: Lease, input: TokenCount, output: TokenCount) {
    guard !lease.held.isZero, !lease.request.accounts.isEmpty else { return }
    let output = max(output, lease.placement.output)
    var more = BudgetAmounts()
    if lease.held.usd > 0, let price = price(of: lease) {
      more.usd = max(0, price.cost(input: input, output: output) - lease.held.usd)
    }
    more.tokens = max(0, BudgetDemand.tokens(input, output) - lease.held.tokens)
    guard !more.isZero else { return }
    book.raiseHold(lease.request.accounts, by: more, takenIn: lease.epoch)
    leases[slot]?.held.usd += more.usd
    leases[slot]?.held.tokens += more.tokens
  }

  /// The attempt is over: its cost takes the place of its hold.
  mutating func postCost(
    of lease: Lease, _ settlement: Settlement, at now: Instant, into actions: inout ActionList
  ) {
    guard !lease.request.accounts.isEmpty else { return }
    // Where the shell knows tokens but no cost, the price of the hold is the best that there is.
    let cost =
      settlement.cost?.nanodollars
      ?? settlement.usage.flatMap { usage in
        price(of: lease)?.cost(input: usage.inputTokens, output: usage.outputTokens)
      } ?? 0
    var spent = BudgetAmounts(usd: max(0, cost))
    if let usage = settlement.usage { spent.tokens = Int64(usage.inputTokens) + Int64(usage.outputTokens) }
    spent.tokens += Int64(settlement.laterTokens)
    // A request counts where something was charged for it.
    spent.requests = spent.usd > 0 || spent.tokens > 0 ? 1 : 0
    book.post(lease.request.accounts, held: lease.held, spent: spent, takenIn: lease.epoch)
    for account in lease.request.accounts { tellMarks(account, refused: false, at: now, into: &actions) }
  }

  private func price(of lease: Lease) -> CallPrice? {
    let provider = providers[Int(lease.placement.provider)].policy.id
    return lease.request.box.ticket.candidates.first { $0.provider == provider }?.price
  }

  mutating func tellMarks(_ account: Int32, refused: Bool, at now: Instant, into actions: inout ActionList) {
    for mark in book.marks(account, refused: refused, at: now) {
      guard let reading = book.reading(account, at: now) else { continue }
      actions.append(.note(mark == .warned ? .budgetWarned(reading) : .budgetExceeded(reading)))
    }
  }

  // MARK: From the shell

  mutating func beginWindows(_ states: [BudgetWindowState], at now: Instant, into actions: inout ActionList) {
    book.begin(states)
    wakeBudgetWaiters(book.awaited, at: now, into: &actions)
    needsPass = true
  }

  mutating func replaceRaises(_ raises: [BudgetRaise], at now: Instant, into actions: inout ActionList) {
    book.replace(raises: raises.filter { $0.until > now })
    wakeBudgetWaiters(book.awaited, at: now, into: &actions)
    needsPass = true
  }

  mutating func restoreBudgets(_ spent: [BudgetSpent], isLast: Bool, at now: Instant, into actions: inout ActionList) {
    guard !book.isEmpty else { return }
    for entry in spent {
      let accounts = book.accounts(of: entry.account, window: entry.window)
      book.restore(accounts, entry)
      for account in accounts { tellMarks(account, refused: false, at: now, into: &actions) }
    }
    guard isLast else { return }
    book.knowsPast()
    wakeBudgetWaiters(book.awaited, at: now, into: &actions)
    needsPass = true
  }

  // MARK: For whoever asks

  /// What is left to the tenant by its tightest budget; nil where it has none or is not known.
  public func budgetRemaining(tenant: TenantID, at now: Instant) -> Money? {
    guard !book.isEmpty, let number = tenantIndex[tenant], tenants[Int(number)].isListed else { return nil }
    return book.remaining(tenants[Int(number)].accounts, withBroker: isSingleTenant, at: now)
  }

  /// The windows of budgets that new rules have brought and of which the books have not told yet, and whose accounts have them.
  public var untoldBudgets: [BudgetWindow: Set<BudgetPolicy.Scope>] { book.untoldWindows }
}

extension AdmissionPolicy {
  /// The windows that budgets have, each once, and whose accounts have them.
  public var budgetWindows: [(window: BudgetWindow, scopes: Set<BudgetPolicy.Scope>)] {
    var windows: [(window: BudgetWindow, scopes: Set<BudgetPolicy.Scope>)] = []
    for rule in budgets + tenants.flatMap(\.budgets) + (tenantTemplate?.budgets ?? []) {
      if let known = windows.firstIndex(where: { $0.window == rule.window }) {
        windows[known].scopes.insert(rule.scope)
      } else {
        windows.append((rule.window, [rule.scope]))
      }
    }
    return windows
  }
}
