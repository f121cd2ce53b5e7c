// Into the queue and out of it: submission, cancelling, eviction, and the slots in which waiting requests live.

extension Admission {
  // MARK: Submission

  mutating func submit(_ ticket: Ticket, at now: Instant, into actions: inout ActionList) {
    // A request that is here already is the shell's mistake; the first one counts.
    guard locations[ticket.id] == nil else { return }
    if isDraining {
      reject(ticket, .rejectedDraining, blocker: nil, at: now, into: &actions)
      return
    }
    guard let (route, model) = route(of: ticket) else {
      reject(ticket, .rejectedModel, blocker: nil, at: now, into: &actions)
      return
    }
    if let refused = refusedKey(routes.routes[Int(route)].legs, at: now) {
      reject(
        ticket, .rejectedNoCapacity, blocker: .noUsableKey(refused.provider), refusedKey: refused, at: now,
        into: &actions)
      return
    }
    if let provider = keyless(route) {
      reject(ticket, .rejectedNoCapacity, blocker: .noUsableKey(provider), at: now, into: &actions)
      return
    }
    let tenant = tenantNumber(for: ticket.tenant, at: now)
    if let dimension = neverFits(ticket, tenant: tenant) {
      let blocker: Blocker =
        dimension.map { .tenantBucket(ticket.tenant, $0) } ?? .tenantConcurrency(ticket.tenant)
      reject(ticket, .rejectedTenantLimit, blocker: blocker, at: now, into: &actions)
      return
    }
    let accounts = budgetAccounts(ticket, tenant: tenant)
    var band = Int(ticket.priority.rawValue)
    if band < 2, let account = book.demoting(accounts, at: now), let reading = book.reading(account, at: now) {
      band = 2
      actions.append(.note(.demoted(ticket.id, reading)))
    }
    let rules = scheduler.policy(band)
    var deadline = now + rules.maxWait
    if let own = ticket.deadline { deadline = min(deadline, own) }
    nextSequence += 1
    var request = Request(
      box: TicketBox(ticket), tenant: tenant, band: band, route: route, sequence: nextSequence, submitted: now,
      queuedSince: now,
      deadline: deadline, promoteAt: now + rules.promoteAfter, sessionHash: KeyPool.hash(ticket.session.name))
    request.model = model
    request.accounts = accounts
    if let account = refusingAccount(request, at: now) {
      reject(
        ticket, .rejectedBudget, blocker: nil, budget: account, estimate: leastCost(request), accounts, at: now,
        into: &actions)
      return
    }
    book.use(accounts)

    if waitingCount == 0, case .placed(let placement) = place(request, ignoringHeadroom: false, at: now) {
      // Nobody waits: there is no order to keep.
      commit(request, placement, turn: nil, at: now, into: &actions)
      return
    }
    enqueue(request, at: now, into: &actions)
  }

  private mutating func enqueue(_ request: Request, at now: Instant, into actions: inout ActionList) {
    let id = request.ticket.id
    let slot = store(request)
    enterLane(slot, isRetry: request.ticket.clientRetryCount > 0)
    schedule(slot, at: now, into: &actions)
    if let parking = tenants[Int(request.tenant)].parking, request.band < parking.band { unpark(request.tenant) }
    if let lane = lanes.lane(of: slot), lanes.head(of: lane) == slot { needsPass = true }
    if needsPass { dispatch(at: now, into: &actions) }

    guard let slot = locations[id], slot >= 0 else { return }
    if waitingByBand[request.band] > scheduler.policy(request.band).queueLimit || waitingBytes > policy.queueBytes {
      evict(slot, outcome: .rejectedQueueFull, at: now, into: &actions)
    } else if request.deadline <= now {
      evict(slot, outcome: .evictedMaxWait, at: now, into: &actions)
    } else if isHopeless(request, at: now) {
      evict(slot, outcome: .rejectedNoCapacity, at: now, into: &actions)
    } else {
      note(slot, currentObstacle(of: slot, at: now), into: &actions)
    }
  }

  private mutating func reject(
    _ ticket: Ticket, _ outcome: Outcome, blocker: Blocker?, budget: Int32? = nil, estimate: Int64? = nil,
    _ accounts: [Int32]? = nil, refusedKey: RefusedKey? = nil, at now: Instant, into actions: inout ActionList
  ) {
    let band = Int(ticket.priority.rawValue)
    if let budget { tellMarks(budget, refused: true, at: now, into: &actions) }
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

  /// For how long the calls that run have run, in the mean.
  private func meanAge(at now: Instant) -> Span {
    guard leaseCount > 0 else { return .zero }
    let all = Int128(leaseCount) * Int128(now.nanoseconds) - leasesBegan
    return Span(nanoseconds: max(0, Int64(clamping: all / Int128(leaseCount))))
  }

  /// nil where coming back does not help.
  /// - Parameter coming: until what the request waits for is there again, where that is known.
  func retryAfter(_ outcome: Outcome, band: Int, coming: Span? = nil, at now: Instant) -> Span? {
    switch outcome {
    case .rejectedQueueFull, .evictedMaxWait, .rejectedNoCapacity:
      drainRate.estimate(
        ahead: waitingByBand[0...band].reduce(0, +), running: leaseCount, age: meanAge(at: now), coming: coming,
        at: now)
    case .rejectedDraining:
      // Whoever takes our place has an empty queue.
      .seconds(5)
    default: nil
    }
  }

  /// Until the first of what the request waits for is there again by itself: a bucket's refill, the end of a pause. nil where it
  /// waits for calls that run, or for others before it.
  private func coming(to request: Request, at now: Instant) -> Span? {
    var first: Instant?
    for leg in routes.routes[Int(request.route)].legs {
      guard
        case .blocked(let obstacle, let readyAt) = place(
          request, leg, ignoringHeadroom: false, claims: .max, at: now), readyAt != .distantFuture
      else { continue }
      switch obstacle.kind {
      case .bucket, .modelBucket, .closed, .modelClosed, .breaker, .modelBreaker, .keys:
        first = min(first ?? readyAt, readyAt)
      case .behindInLane, .notItsTurn, .permits, .headroom, .modelPermits, .tenantPermits, .tenantBucket, .claimed,
        .backoff, .budget, .draining:
        break
      }
    }
    if let parking = tenants[Int(request.tenant)].parking, parking.obstacle.kind == .tenantBucket,
      parking.until != .distantFuture
    {
      first = max(first ?? parking.until, parking.until)
    }
    return first.map { max($0 - now, .zero) }
  }

  /// The dimension (nil: permits) of a tenant's limit that is smaller than the request itself.
  private func neverFits(_ ticket: Ticket, tenant: Int32) -> Dimension?? {
    let capacity = tenants[Int(tenant)].capacity
    if let limit = capacity.permits.limit, limit <= 0 { return .some(nil) }
    for bucket in capacity.buckets {
      let least: Int64
      switch bucket.dimension {
      case .requests: least = 1
      case .inputTokens, .tokens: least = max(1, ticket.estimatedInput.value)
      case .outputTokens: least = ticket.producesOutput ? 1 : 0
      }
      if least > bucket.limit { return .some(bucket.dimension) }
    }
    return nil
  }

  // MARK: Leaving

  mutating func cancel(_ id: RequestID, at now: Instant, into actions: inout ActionList) {
    guard let location = locations[id] else { return }
    if location >= 0 {
      evict(location, outcome: .clientLeftQueued, at: now, into: &actions)
    } else {
      leases[Int(~location)]?.request.isCancelled = true
    }
  }

  /// Takes a request out of the queue and concludes it.
  /// - Parameter budget: the account that refuses it.
  mutating func evict(
    _ slot: Int32, outcome wanted: Outcome, budget: Int32? = nil, at now: Instant, into actions: inout ActionList
  ) {
    guard let request = waiting[Int(slot)] else { return }
    var outcome = wanted
    // What it could have waited for without the drain.
    if drainEnd != .distantFuture, wanted == .evictedMaxWait || wanted == .rejectedNoCapacity {
      outcome = .rejectedDraining
    }
    // What the request has waited for is not asked for again when it just leaves.
    let obstacle = budget.map { Obstacle(kind: .budget, account: $0) }
    let blocker =
      outcome == .clientLeftQueued
      ? nil : self.blocker(for: obstacle ?? currentObstacle(of: slot, at: now), request)
    if let budget { tellMarks(budget, refused: true, at: now, into: &actions) }
    let isLate = outcome == .evictedMaxWait || outcome == .rejectedQueueFull
    var retryAfter = retryAfter(
      outcome, band: request.band, coming: isLate ? coming(to: request, at: now) : nil, at: now)
    let legs = routes.routes[Int(request.route)].legs
    let refusedKey =
      outcome == .rejectedNoCapacity ? self.refusedKey(legs, refusing: request.refusedKeys, at: now) : nil
    if refusedKey != nil {
      retryAfter = nil
    } else if outcome == .rejectedNoCapacity,
      let usable = usableSoonest(legs, at: now)
    {
      retryAfter = min(max(usable - now, .seconds(1)), .seconds(60))
    }
    let wasHead = lanes.lane(of: slot).map { lanes.head(of: $0) == slot } ?? false
    remove(slot)
    locations[request.ticket.id] = nil
    if wasHead { needsPass = true }
    book.leave(request.accounts)
    actions.append(
      .conclude(
        Conclusion(
          request: request.ticket.id, outcome: outcome, retryAfter: retryAfter, blocker: blocker,
          queued: request.queued(at: now), attempts: request.tries,
          budget: budget.flatMap { book.reading($0, at: now) },
          estimate: budget.map { _ in Money(nanodollars: leastCost(request)) },
          budgetRemaining: book.remaining(request.accounts, withBroker: isSingleTenant, at: now),
          refusedKey: refusedKey)))
    // Whoever stands behind it may fit.
    if request.waitsFor >= 0, budget == nil { wakeBudgetWaiters([request.waitsFor], at: now, into: &actions) }
  }

  // MARK: Slots

  /// Gives the request a slot and counts it as queued; it is in no lane yet.
  mutating func store(_ request: Request) -> Int32 {
    var slot: Int32 = -1
    while let free = freeSlots.popLast() {
      // Slots beyond the end were given back since.
      if Int(free) < waiting.count, waiting[Int(free)] == nil {
        slot = free
        break
      }
    }
    if slot < 0 {
      slot = Int32(waiting.count)
      waiting.append(nil)
      timerPositions.append(-1)
    }
    if request.isHeldBack { heldBack.append(request.ticket.id) }
    waiting[Int(slot)] = request
    locations[request.ticket.id] = slot
    waitingCount += 1
    waitingByBand[request.band] += 1
    waitingBytes += request.ticket.heldBytes
    tenants[Int(request.tenant)].queued += 1
    if let first = routes.routes[Int(request.route)].legs.first {
      providers[Int(first.provider)].queued[request.band] += 1
    }
    return slot
  }

  mutating func enterLane(_ slot: Int32, isRetry: Bool) {
    guard let request = waiting[Int(slot)] else { return }
    let lane = lanes.openLane(
      for: LaneKey(
        tenantAndBand: request.tenant * 4 + Int32(request.band), cluster: cluster(of: request.route),
        session: request.ticket.session))
    if isRetry {
      let slots = waiting
      lanes.insertRetry(slot, to: lane) { (slots[Int($0)]?.sequence ?? 0) < request.sequence }
      needsPass = true
    } else {
      lanes.append(slot, to: lane)
    }
    refreshHead(lane, band: request.band, tenant: request.tenant)
    if tenants[Int(request.tenant)].parking != nil { fair[request.band].park(tenant: request.tenant) }
  }

  /// The number of the cluster in which the route's providers are.
  private func cluster(of route: Int32) -> Int32 {
    routes.routes[Int(route)].legs.first.map { providers[Int($0.provider)].cluster } ?? 0
  }

  /// Tells fairness which request stands first in the lane.
  mutating func refreshHead(_ lane: Int32, band: Int, tenant: Int32) {
    if let head = lanes.head(of: lane), let route = waiting[Int(head)]?.route {
      fair[band].setHead(lane: lane, tenant: tenant, route: route, cluster: lanes.key(of: lane)?.cluster ?? 0)
      if let promoteAt = waiting[Int(head)]?.promoteAt { fair[band].setOld(lane: lane, promoteAt <= clock) }
    } else {
      fair[band].clearHead(lane: lane)
      closeForgottenLanes(band)
    }
  }

  mutating func closeForgottenLanes(_ band: Int) {
    guard !fair[band].forgotten.isEmpty else { return }
    for lane in fair[band].forgotten { lanes.closeLane(lane) }
    fair[band].forgotten.removeAll(keepingCapacity: true)
  }

  /// Takes the request out of every structure of the queue. It keeps its entry in `locations`.
  @discardableResult
  mutating func remove(_ slot: Int32) -> Request? {
    guard let request = waiting[Int(slot)].take() else { return nil }
    if let parking = tenants[Int(request.tenant)].parking, parking.request == request.ticket.id {
      unpark(request.tenant)
    }
    timers.remove(slot, positions: &timerPositions)
    if request.isHeldBack { heldBack.removeAll { $0 == request.ticket.id } }
    if request.waitsFor >= 0 { book.stopWaiting(slot, for: request.waitsFor) }
    if let lane = lanes.lane(of: slot) {
      let wasHead = lanes.head(of: lane) == slot
      lanes.remove(slot)
      if wasHead { refreshHead(lane, band: request.band, tenant: request.tenant) }
    }
    waitingCount -= 1
    if waitingCount == 0 { scheduler.rest() }
    waitingByBand[request.band] -= 1
    waitingBytes -= request.ticket.heldBytes
    tenants[Int(request.tenant)].queued -= 1
    if let first = routes.routes[Int(request.route)].legs.first {
      providers[Int(first.provider)].queued[request.band] -= 1
    }
    freeSlots.append(slot)
    compact()
    return request
  }

  /// Keeps the storage within twice what is queued: free slots at the end go, and if that is not enough the last
  /// request moves down.
  private mutating func compact() {
    while !waiting.isEmpty, waiting[waiting.count - 1] == nil { waiting.removeLast() }
    while waiting.count > 2 * waitingCount + 64, let free = freeSlots.popLast() {
      if Int(free) < waiting.count, waiting[Int(free)] == nil { move(Int32(waiting.count - 1), to: free) }
      while !waiting.isEmpty, waiting[waiting.count - 1] == nil { waiting.removeLast() }
    }
    if freeSlots.count > 2 * waiting.count + 64 { freeSlots.removeAll { Int($0) >= waiting.count } }
    guard timerPositions.count > waiting.count else { return }
    timerPositions.removeLast(timerPositions.count - waiting.count)
    lanes.trimSlots(to: waiting.count)
    if waiting.isEmpty {
      freeSlots.removeAll(keepingCapacity: freeSlots.capacity <= 256)
      if waiting.capacity > 256 {
        waiting = []
        timerPositions = []
      }
      if locations.count < 64, locations.capacity > 1024 {
        locations = Dictionary(uniqueKeysWithValues: locations.map { ($0.key, $0.value) })
      }
    }
  }

  private mutating func move(_ old: Int32, to new: Int32) {
    guard let request = waiting[Int(old)].take() else { return }
    waiting[Int(new)] = request
    locations[request.ticket.id] = new
    timers.rename(old, to: new, positions: &timerPositions)
    lanes.rename(old, to: new)
    if request.waitsFor >= 0 { book.rename(old, to: new, waitingFor: request.waitsFor) }
  }
}
