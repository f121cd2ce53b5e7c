// Into the queue and out of it: submission, cancelling, eviction, and the slots in which waiting requests live.

extension Admission {
  // MARK: Submission

  mutating func submit(_ ticket: consuming Ticket, at now: Instant, into actions: inout ActionList) {
    // The one copy of the ticket's texts: from here on, there is a reference.
    let box = TicketBox(consume ticket)
    // A request that is submitted twice is the shell's mistake; the first one counts.
    guard waiting.index(of: box.ticket.id) == nil, leases.index(of: box.ticket.id) == nil else { return }
    if isDraining {
      reject(box.ticket, .rejectedDraining, blocker: nil, at: now, into: &actions)
      return
    }
    guard let known = providers.route(of: box) else {
      reject(box.ticket, .rejectedModel, blocker: nil, at: now, into: &actions)
      return
    }
    if let refused = refusedKey(providers.routes[known.route].legs, at: now) {
      reject(
        box.ticket, .rejectedNoCapacity, blocker: .noUsableKey(refused.provider), refusedKey: refused, at: now,
        into: &actions)
      return
    }
    if let provider = providers.keyless(known.route) {
      reject(box.ticket, .rejectedNoCapacity, blocker: .noUsableKey(provider), at: now, into: &actions)
      return
    }
    let tenant = tenantIndex(of: box.ticket.tenant, at: now)
    if !box.ticket.isFree, let dimension = neverFits(box, tenant: tenant) {
      let blocker: Blocker =
        dimension.map { .tenantBucket(box.ticket.tenant, $0) } ?? .tenantConcurrency(box.ticket.tenant)
      reject(box.ticket, .rejectedTenantLimit, blocker: blocker, at: now, into: &actions)
      return
    }
    let accounts = budgetAccounts(box, tenant: tenant)
    var band = Int(box.ticket.priority.rawValue)
    if band < 2, !box.ticket.isFree, let account = book.demoting(accounts, at: now),
      let reading = book.reading(account, at: now)
    {
      band = 2
      actions.append(.note(.demoted(box.ticket.id, reading)))
    }
    let rules = scheduler.policy(band)
    var deadline = now + rules.maxWait
    if let own = box.ticket.deadline { deadline = min(deadline, own) }
    var request = Request(
      box: box, tenant: tenant, band: band, route: known.route, sequence: waiting.nextSequence(),
      submitted: now, queuedSince: now, deadline: deadline, promoteAt: now + rules.promoteAfter,
      sessionHash: box.session)
    request.model = known.model
    request.accounts = accounts
    if let account = refusingAccount(request, at: now) {
      reject(
        box.ticket, .rejectedBudget, blocker: nil, budget: account, needed: leastNeed(request, of: account),
        estimate: leastCost(request), accounts, at: now, into: &actions)
      return
    }
    book.use(accounts)
    if box.ticket.isFree {
      var wakes: [(provider: ProviderIndex, at: Instant)] = []
      var placement = Placement.none
      if !waiting.hasFree, case .placed = placeFree(request, at: now, wakes: &wakes, into: &placement) {
        commit(request, placement, turn: nil, by: .free, at: now, into: &actions)
      } else {
        enqueue(request, at: now, into: &actions)
      }
      return
    }
    request.session = waiting.enterSession(box, tenant: tenant)
    let maySend = request.session.map { !waiting.sessions.isAtLimit($0) } ?? true

    var estimate: CallEstimate?
    // No request is left whose claims could matter.
    if waiting.hasOnlyFree, hasNews { lookAnew(at: now) }
    if waiting.hasOnlyFree, maySend || waiting.sessions.rule?.widen == true {
      var blocked: [BlockedLeg] = []
      var placement = Placement.none
      if case .placed = place(
        request, ignoringHeadroom: false, at: now, blocked: &blocked, first: &estimate, into: &placement)
      {
        // No other request waits, so there is no order to keep.
        commit(request, placement, turn: nil, by: .alone, at: now, into: &actions)
        return
      }
    }
    enqueue(request, estimate, at: now, into: &actions)
  }

  /// - Parameter estimate: of the call at its first leg, where it was made.
  private mutating func enqueue(
    _ coming: Request, _ estimate: CallEstimate? = nil, at now: Instant, into actions: inout ActionList
  ) {
    var request = coming
    heedPatience(of: &request, at: now)
    noteCacheEnd(of: &request, estimate, at: now)
    let id = request.ticket.id
    let new = store(request)
    enterLane(new, isRetry: request.ticket.clientRetryCount > 0, at: now)
    schedule(new, at: now, into: &actions)
    if let parking = tenants[request.tenant].parking, request.band < parking.band, !request.ticket.isFree {
      unpark(request.tenant)
    }
    if hasNews || waiting.isFreeDue { dispatch(at: now, into: &actions) }

    if let index = waiting.index(of: id), !request.box.ticket.isFree {
      letOvertake(index, at: now, into: &actions)
      if hasNews { dispatch(at: now, into: &actions) }
    }

    // Only where it still waits.
    guard let index = waiting.index(of: id) else { return }
    if waiting.countByBand[request.band] > scheduler.policy(request.band).queueLimit
      || waiting.bytes > policy.queueBytes
    {
      evict(index, outcome: .rejectedQueueFull, at: now, into: &actions)
    } else if request.deadline <= now {
      evict(index, outcome: .evictedMaxWait, at: now, into: &actions)
    } else if cannotRecoverInTime(request, at: now) {
      evict(index, outcome: .rejectedNoCapacity, at: now, into: &actions)
    } else {
      note(index, currentObstacle(of: index, at: now), into: &actions)
    }
  }

  /// Notes until when the request's prompt is cached, so that its wait does not outlast that.
  /// - Parameter estimate: of the call at its first leg, where it was made.
  func noteCacheEnd(of request: inout Request, _ estimate: CallEstimate?, at now: Instant) {
    let box = request.box
    // What was noted when it came may have been disproved since.
    request.hurryAt = .distantFuture
    guard !box.ticket.isFree, !request.isCold, let leg = providers.routes[request.route].legs.first else { return }
    var (cached, end) = (TokenCount.zero, Instant(nanoseconds: .min))
    if let estimate, providers[leg.provider].policy.admissionTokens == .produced {
      if estimate.isRest { (cached, end) = (estimate.cached, estimate.cacheEnd) }
    } else if let known = providers[leg.provider].predictor.cached(
      box.prompt, estimated: box.ticket.estimatedInput, at: now)
    {
      (cached, end) = (TokenCount(known.cached), known.expiry)
    }
    guard cached >= Self.leastAwaited else { return }
    let life = providers[leg.provider].policy.life(of: box)
    request.cacheEnd = end
    request.hurryAt = end + Span(nanoseconds: -min(Self.hurry.nanoseconds, life.nanoseconds / 5))
  }

  private mutating func reject(
    _ ticket: Ticket, _ outcome: Outcome, blocker: Blocker?, budget: AccountIndex? = nil, needed: Int64 = 1,
    estimate: Int64? = nil, _ accounts: [AccountIndex]? = nil, refusedKey: RefusedKey? = nil, at now: Instant,
    into actions: inout ActionList
  ) {
    let band = Int(ticket.priority.rawValue)
    if let budget { tellMarks(budget, refused: true, needed: needed, at: now, into: &actions) }
    actions.append(
      .conclude(
        Conclusion(
          request: ticket.id, outcome: outcome,
          retryAfter: refusedKey == nil ? retryAfter(outcome, band: band, at: now) : nil,
          blocker: budget.map { .budget(book.id($0)) } ?? blocker, queued: .zero, attempts: 0,
          budget: budget.flatMap { book.reading($0, at: now) }, estimate: estimate.map { Money(nanodollars: $0) },
          budgetRemaining: accounts.map { book.remaining($0, withBroker: isSingleTenant, at: now) }
            ?? budgetRemaining(tenant: ticket.tenant, at: now), refusedKey: refusedKey)))
  }

  /// How long the client should wait before it comes back; nil where coming back does not help.
  /// - Parameter coming: how long until what the request waits for is available again, where that is known.
  func retryAfter(_ outcome: Outcome, band: Int, coming: Span? = nil, at now: Instant) -> Span? {
    switch outcome {
    case .rejectedQueueFull, .evictedMaxWait, .rejectedNoCapacity:
      drainRate.estimate(
        ahead: waiting.countByBand[0...band].reduce(0, +), running: leases.permitCount, age: leases.meanAge(at: now),
        coming: coming,
        at: now)
    case .rejectedDraining:
      // The process that takes our place has an empty queue.
      .seconds(5)
    default: nil
    }
  }

  /// How long until the first thing that the request waits for becomes available without an event: a bucket's refill,
  /// the end of a pause. nil where it waits for running calls, or for other requests before it.
  private func coming(to request: Request, at now: Instant) -> Span? {
    var first: Instant?
    for leg in providers.routes[request.route].legs {
      guard
        case .blocked(let obstacle, let readyAt) = request.ticket.isFree
          ? placeFree(request, leg, at: now)
          : place(request, leg, ignoringHeadroom: false, heedsClaims: false, at: now), readyAt != .distantFuture
      else { continue }
      switch obstacle.kind {
      case .bucket, .modelBucket, .closed, .modelClosed, .breaker, .modelBreaker, .keys, .keyPermits, .keyBucket,
        .warmKey:
        first = min(first ?? readyAt, readyAt)
      case .behindInLane, .notItsTurn, .permits, .headroom, .modelPermits, .modelHeadroom, .tenantPermits,
        .tenantBucket, .sessionPermits, .claimed, .backoff, .budget, .draining, .freePermits:
        break
      }
    }
    if !request.ticket.isFree, let parking = tenants[request.tenant].parking, parking.obstacle.kind == .tenantBucket,
      parking.until != .distantFuture
    {
      first = max(first ?? parking.until, parking.until)
    }
    return first.map { max($0 - now, .zero) }
  }

  /// The dimension (nil: permits) of a tenant's limit that is smaller than the request itself.
  private func neverFits(_ box: TicketBox, tenant: TenantIndex) -> Dimension?? {
    let capacity = tenants[tenant].capacity
    if let limit = capacity.permits.limit, limit <= 0 { return .some(nil) }
    for bucket in capacity.buckets {
      let least: Int64
      switch bucket.dimension {
      case .requests: least = 1
      case .inputTokens, .tokens: least = max(1, box.ticket.estimatedInput.value)
      case .outputTokens: least = box.ticket.producesOutput ? 1 : 0
      }
      if least > bucket.limit { return .some(bucket.dimension) }
    }
    return nil
  }

  // MARK: Leaving

  mutating func cancel(_ id: RequestID, at now: Instant, into actions: inout ActionList) {
    if let index = waiting.index(of: id) {
      evict(index, outcome: .clientLeftQueued, at: now, into: &actions)
    } else if let index = leases.index(of: id) {
      leases[index].request.isCancelled = true
    }
  }

  /// Takes a request out of the queue and concludes it.
  /// - Parameter budget: the account that refuses it.
  mutating func evict(
    _ slot: RequestIndex, outcome wanted: Outcome, budget: AccountIndex? = nil, at now: Instant,
    into actions: inout ActionList
  ) {
    guard let request = waiting.find(slot) else { return }
    var outcome = wanted
    // Without the drain, the request could have waited.
    if drainEnd != .distantFuture, wanted == .evictedMaxWait || wanted == .rejectedNoCapacity {
      outcome = .rejectedDraining
    }
    // The obstacle is not computed again when the client has just left.
    let obstacle = budget.map { Obstacle(kind: .budget, account: $0) }
    let blocker =
      outcome == .clientLeftQueued
      ? nil : self.blocker(for: obstacle ?? currentObstacle(of: slot, at: now), request.box)
    if let budget {
      tellMarks(budget, refused: true, needed: leastNeed(request, of: budget), at: now, into: &actions)
    }
    let isLate = outcome == .evictedMaxWait || outcome == .rejectedQueueFull
    var retryAfter = retryAfter(
      outcome, band: request.band, coming: isLate ? coming(to: request, at: now) : nil, at: now)
    let legs = providers.routes[request.route].legs
    let refusedKey =
      outcome == .rejectedNoCapacity ? self.refusedKey(legs, refusing: request.refusedKeys, at: now) : nil
    if refusedKey != nil {
      retryAfter = nil
    } else if outcome == .rejectedNoCapacity,
      let usable = usableSoonest(legs, at: now)
    {
      retryAfter = min(max(usable - now, .seconds(1)), .seconds(60))
    }
    let lane = waiting.lane(of: slot)
    takeOut(slot, at: now)
    noteHead(of: lane, into: &actions)
    book.leave(request.accounts)
    waiting.leaveSession(request.session)
    actions.append(
      .conclude(
        Conclusion(
          request: request.ticket.id, outcome: outcome, retryAfter: retryAfter, blocker: blocker,
          queued: request.queued(at: now), attempts: request.tries,
          budget: budget.flatMap { book.reading($0, at: now) },
          estimate: budget.map { _ in Money(nanodollars: leastCost(request)) },
          budgetRemaining: book.remaining(request.accounts, withBroker: isSingleTenant, at: now),
          refusedKey: refusedKey, givingUp: outcome == .evictedMaxWait ? request.givingUp : nil)))
    // The next waiter at the account may fit.
    if let account = request.waitsFor, budget == nil { wakeBudgetWaiters([account], at: now, into: &actions) }
  }

  // MARK: Places

  /// Gives the request a slot and counts it as queued; it is in no lane yet.
  mutating func store(_ request: Request) -> RequestIndex {
    tenants[request.tenant].queued += 1
    guard !providers.routes.indices(of: request.route).isEmpty else { return waiting.insert(request) }
    let first = providers.routes[request.route, 0].provider
    providers[first].queued[request.band] += 1
    providers[first].arrivals[request.band].count(at: request.queuedSince)
    return waiting.insert(request, at: first)
  }

  /// Forgets how fast a backlog has moved that is gone.
  private mutating func restPaces(_ band: Int, at provider: ProviderIndex) {
    providers[provider].restPace(band)
    if !providers[provider].hasQueued { providers[provider].restPace(3) }
    if waiting.countByBand[band] == 0 { providers.restPaces(band) }
    if waiting.isEmpty { providers.restPaces(3) }
  }

  mutating func enterLane(_ index: RequestIndex, isRetry: Bool, at now: Instant) {
    if waiting[index].box.ticket.isFree { return waiting.enterFree(index) }
    let (route, tenant) = (waiting[index].route, waiting[index].tenant)
    if waiting[index].session != nil, !waiting.hasSpare(route) {
      waiting.setSpare(providers.spare(of: route), of: route)
    }
    waiting.enterLane(
      index, isRetry: isRetry, in: providers.cluster(of: route), isParked: tenants[tenant].parking != nil, at: now)
  }

  /// Removes a waiting request from every structure of the queue. Whoever needs it copies it before.
  mutating func takeOut(_ index: RequestIndex, at now: Instant) {
    // Only what is needed: a copy of the request would have more references to count.
    let (tenant, band, route) = (waiting[index].tenant, waiting[index].band, waiting[index].route)
    let (id, account) = (waiting[index].box.ticket.id, waiting[index].waitsFor)
    waiting.drop(index, at: now)
    if tenants[tenant].parking?.request == id { unpark(tenant) }
    if let account { book.stopWaiting(index, for: account) }
    if waiting.hasOnlyFree { scheduler.rest() }
    tenants[tenant].queued -= 1
    if !providers.routes.indices(of: route).isEmpty {
      let first = providers.routes[route, 0].provider
      providers[first].queued[band] -= 1
      if providers[first].queued[band] == 0 { restPaces(band, at: first) }
    }
    while let (old, new) = waiting.compact() {
      if let account = waiting[new].waitsFor { book.rename(old, to: new, waitingFor: account) }
    }
  }
}
