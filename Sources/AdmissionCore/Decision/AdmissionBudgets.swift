// Budgets in the control flow: which accounts a request counts against, which requests wait for a hold to come back,
// and what the broker reports about it.
//
// A head that is blocked only by the holds of running calls leaves its lane and waits at the tightest account, so that
// it delays neither its session nor others. When a hold comes back, waiters go back to the front of their lanes in the
// order of band and age, as many as the remaining amount allows.

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
  mutating func budgetAccounts(_ box: TicketBox, tenant: TenantIndex) -> [AccountIndex] {
    guard !book.isEmpty else { return [] }
    let state = tenants[tenant]
    let shared =
      state.isListed || state.budgets.isEmpty
      ? state.accounts : book.shared(by: state.id, rules: state.budgets, isListed: false)
    return book.all(
      shared: shared, rules: state.budgets, tenant: state.id, clientKey: box.ticket.clientKey,
      session: box.ticket.sessionGroup ?? box.ticket.session)
  }

  /// After a change of policy, running calls hold money in the accounts that they now have, and are posted there, also
  /// where they are tried again.
  mutating func reopenLeases() {
    for index in leases.indices {
      let lease = leases[index]
      let old = lease.request.accounts
      let accounts = budgetAccounts(lease.request.box, tenant: lease.request.tenant)
      guard accounts != old else { continue }
      book.use(accounts)
      book.leave(old)
      leases[index].request.accounts = accounts
      if old.isEmpty || lease.held.isZero {
        // Nothing had to be held for it when it was sent.
        let demand = demand(of: lease)
        let held = demand.isFree ? BudgetAmounts() : demand.most
        book.move(held, from: [], to: accounts, takenIn: lease.epoch)
        leases[index].held = held
      } else {
        book.move(lease.held, from: old, to: accounts, takenIn: lease.epoch)
      }
    }
  }

  /// After a change of policy, finds the accounts of waiting requests again; those that waited at an account are tried
  /// again.
  mutating func reopenBudgets(at now: Instant, into actions: inout ActionList) {
    for index in waiting.inOrder {
      let request = waiting[index]
      let accounts = budgetAccounts(request.box, tenant: request.tenant)
      book.use(accounts)
      book.leave(request.accounts)
      if request.waitsFor != nil { rejoin(index, at: now, into: &actions) }
      waiting[index].accounts = accounts
    }
  }

  /// What a running call would have asked of budgets, computed from what was reserved for it.
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

  /// What the call asks of budgets at this candidate. Until enough is known about its model, the expected use is a
  /// guess, and as much as its client allows may be held.
  func demand(_ request: Request, leg: Route.Leg, _ estimate: CallEstimate) -> BudgetDemand {
    let ticket = request.box.ticket
    let (input, output) = (estimate.input, estimate.output)
    let cost = cost(request, leg: leg, input: input, output: output)
    let tokens = BudgetDemand.tokens(input, output)
    var demand = BudgetDemand(
      usd: cost, mostUSD: cost ?? 0, tokens: tokens, mostTokens: tokens,
      isFree: ticket.isFree || (cost == 0 && book.areAllInDollars))
    let provider = leg.provider
    guard ticket.producesOutput, !providers[provider].predictor.knows(model: request.model, band: request.band) else {
      return demand
    }
    let most = max(output, ticket.outputCap ?? OutputPredictor.unknown)
    if cost != nil { demand.mostUSD = self.cost(request, leg: leg, input: input, output: most) ?? 0 }
    demand.mostTokens = BudgetDemand.tokens(input, most)
    return demand
  }

  /// The account that refuses the request at every candidate, for good.
  func refusingAccount(_ request: Request, at now: Instant) -> AccountIndex? {
    guard !request.accounts.isEmpty else { return nil }
    var refusing: AccountIndex?
    for leg in providers.routes[request.route].legs {
      let demand = demand(request, leg: leg, estimate(request, leg: leg))
      guard case .exceeds(let account) = book.fit(request.accounts, demand, at: now).fit else { return nil }
      refusing = refusing ?? account
    }
    return refusing
  }

  /// Rule 3c: the head leaves its lane and waits for a hold to come back, so that no other request waits with it.
  mutating func waitForBudget(
    _ head: RequestIndex, account: AccountIndex, at now: Instant, into actions: inout ActionList
  ) {
    note(head, Obstacle(kind: .budget, account: account), into: &actions)
    guard let request = waiting.find(head), waiting.isInLane(head) else {
      return actions.append(.note(.ourBug(.staleHead)))
    }
    waiting.leaveLane(head, at: now)
    waiting[head].waitsFor = account
    book.wait(head, for: account, band: request.band, sequence: request.sequence)
  }

  private mutating func rejoin(_ index: RequestIndex, at now: Instant, into actions: inout ActionList) {
    guard let account = waiting.find(index)?.waitsFor else { return }
    book.stopWaiting(index, for: account)
    waiting[index].waitsFor = nil
    enterLane(index, isRetry: true, at: now)
    schedule(index, at: now, into: &actions)
  }

  /// After a hold was given back or a limit changed, requests that now fit go back to their lanes, and those that never
  /// will are refused.
  mutating func wakeBudgetWaiters(_ accounts: [AccountIndex], at now: Instant, into actions: inout ActionList) {
    guard book.hasWaiters else { return }
    for account in accounts {
      var left = book.left(account, at: now) ?? .max
      while let slot = book.firstWaiter(for: account), let request = waiting.find(slot) {
        if let refusing = refusingAccount(request, at: now) {
          evict(slot, outcome: .rejectedBudget, budget: refusing, at: now, into: &actions)
          continue
        }
        // It waits for the books to report what was spent.
        if book.awaitsPast(account) { break }
        let estimate = leastHold(request, of: account, at: now)
        guard estimate <= left else { break }
        left -= estimate
        promised.append((request.ticket.id, account))
        rejoin(slot, at: now, into: &actions)
      }
    }
  }

  /// After a pass: if a woken request did not use the amount it was woken for (its provider is full, or another budget
  /// blocks it), wakes the account's next waiter. Returns false when no request was woken.
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
      if let index = waiting.index(of: id), waiting[index].waitsFor == account { continue }
      wakeBudgetWaiters([account], at: now, into: &actions)
    }
    return !promised.isEmpty
  }

  /// Remembers what a blocked head asks of budgets, since what is left of them decides where it may go.
  mutating func watchBudgets(_ request: Request, at now: Instant) {
    for leg in providers.routes[request.route].legs {
      let demand = demand(request, leg: leg, estimate(request, leg: leg))
      guard !demand.isFree else { continue }
      for account in request.accounts {
        guard let left = book.left(account, at: now) else { continue }
        let unit = book.unit(account)
        watch.note(account, least: demand.expected(unit) ?? 1, most: max(demand.most[unit], 1), left: left)
      }
    }
  }

  /// After a hold, a void or a post: where that may change the decision for a blocked head, everything is looked at
  /// again.
  mutating func lookIfCrossed(_ accounts: [AccountIndex], at now: Instant) {
    guard !watch.isEmpty else { return }
    var isCrossed = false
    for account in accounts {
      if let left = book.left(account, at: now), watch.isCrossed(account, left: left) { isCrossed = true }
    }
    if isCrossed { lookEverywhere() }
  }

  /// The least that the account would have to hold for the request, over all its candidates.
  private func leastHold(_ request: Request, of account: AccountIndex, at now: Instant) -> Int64 {
    var least = Int64.max
    let unit = book.unit(account)
    for leg in providers.routes[request.route].legs {
      let demand = demand(request, leg: leg, estimate(request, leg: leg))
      least = min(least, book.fit(request.accounts, demand, at: now).hold[unit])
    }
    return least == .max ? 0 : least
  }

  /// The least that the request needs of the account, over all its candidates, where it has no upper bound.
  func leastNeed(_ request: Request, of account: AccountIndex) -> Int64 {
    let unit = book.unit(account)
    return providers.routes[request.route].legs.lazy
      .map { self.demand(request, leg: $0, self.estimate(request, leg: $0)).expected(unit) ?? 1 }.min() ?? 1
  }

  /// What the request costs at its cheapest candidate, in nano-dollars; 0 where no price is known.
  func leastCost(_ request: Request) -> Int64 {
    var least = Int64.max
    for leg in providers.routes[request.route].legs {
      let estimate = estimate(request, leg: leg)
      let price = request.box.ticket.candidates[leg.candidate].price
      least = min(least, price?.cost(input: estimate.input, output: estimate.output) ?? 0)
    }
    return least == .max ? 0 : least
  }

  // MARK: Hold and post

  /// Raises the hold of a running stream as its output grows.
  mutating func raiseHold(_ index: LeaseIndex, _ lease: Lease, _ progress: Progress, at now: Instant) {
    guard !lease.held.isZero, !lease.request.accounts.isEmpty else { return }
    let output = max(progress.outputTokens, lease.placement.output)
    // Budgets in tokens count cached input; what it costs is little beside the price of input.
    let input = max(lease.placement.input, progress.inputTokens ?? 0)
    let priced = max(lease.placement.input, (progress.inputTokens ?? 0) - progress.cacheReadTokens)
    var more = BudgetAmounts()
    if lease.held.usd > 0, let price = price(of: lease) {
      more.usd = max(0, price.cost(input: priced, output: output) - lease.held.usd)
    }
    more.tokens = max(0, BudgetDemand.tokens(input, output) - lease.held.tokens)
    guard !more.isZero else { return }
    book.raiseHold(lease.request.accounts, by: more, takenIn: lease.epoch)
    lookIfCrossed(lease.request.accounts, at: now)
    leases[index].held.usd += more.usd
    leases[index].held.tokens += more.tokens
  }

  /// Replaces the hold of an attempt that is over by its cost.
  mutating func postCost(
    of lease: Lease, _ settlement: Settlement, at now: Instant, into actions: inout ActionList
  ) {
    guard !lease.request.accounts.isEmpty else { return }
    // Where the shell knows tokens but no cost, the price of the hold is the best estimate.
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
    lookIfCrossed(lease.request.accounts, at: now)
    for account in lease.request.accounts { tellMarks(account, refused: false, at: now, into: &actions) }
  }

  private func price(of lease: Lease) -> CallPrice? {
    let provider = providers[lease.placement.provider].policy.id
    return lease.request.box.ticket.candidates.first { $0.provider == provider }?.price
  }

  /// - Parameters:
  ///   - refused: a call was refused for it.
  ///   - needed: what that call needed.
  mutating func tellMarks(
    _ account: AccountIndex, refused: Bool, needed: Int64 = 1, at now: Instant, into actions: inout ActionList
  ) {
    for mark in book.marks(account, refused: refused, needed: needed, at: now) {
      guard let reading = book.reading(account, at: now) else { continue }
      actions.append(.note(mark == .warned ? .budgetWarned(reading) : .budgetExceeded(reading)))
    }
  }

  // MARK: From the shell

  mutating func beginWindows(_ states: [BudgetWindowState], at now: Instant, into actions: inout ActionList) {
    book.begin(states)
    wakeBudgetWaiters(book.awaited, at: now, into: &actions)
    providers.changeAll()
  }

  mutating func replaceRaises(_ raises: [BudgetRaise], at now: Instant, into actions: inout ActionList) {
    book.replace(raises: raises.filter { $0.until > now })
    wakeBudgetWaiters(book.awaited, at: now, into: &actions)
    providers.changeAll()
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
    providers.changeAll()
  }

  // MARK: Queries

  /// What the tenant has left in its tightest budget; nil where it has none or is not known.
  public func budgetRemaining(tenant: TenantID, at now: Instant) -> Money? {
    guard !book.isEmpty, let number = tenants.index(of: tenant), tenants[number].isListed else { return nil }
    return book.remaining(tenants[number].accounts, withBroker: isSingleTenant, at: now)
  }

  /// The windows of budgets that a new policy brought and for which the books have not yet reported what was spent,
  /// with the scopes that have them.
  public var untoldBudgets: [BudgetWindow: Set<BudgetPolicy.Scope>] { book.untoldWindows }
}

extension AdmissionPolicy {
  /// All windows of budgets, each once, with the scopes that have them.
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
