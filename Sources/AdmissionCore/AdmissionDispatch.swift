// One pass over the heads: who goes next, and what the blocked ones claim.
//
// A pass takes heads in order: those of bands whose floor credit covers them; then the bands from high to low, each in the order of
// fairness. (An old head raises its band's share, see `BandScheduler`; it never goes before a higher band for its age.)
// A head that is placed is granted, and the order is asked anew.
// A head that its tenant's own limit blocks parks the tenant. A head that no candidate can take claims what it waits
// for at each of them, and nobody after it in the pass may take from there; a route whose every leg is claimed is
// closed. So every step either grants, parks a tenant or claims something, and the pass ends when no open route has a
// head.

extension Admission {
  private enum Turn { case floor, order }

  mutating func dispatch(at now: Instant, into actions: inout ActionList) {
    needsPass = false
    pass += 1
    wake = .distantFuture
    guard waitingCount > 0 else { return promised.removeAll(keepingCapacity: true) }
    var handed = 0
    repeat { attemptHeads(at: now, into: &actions) } while handOn(&handed, at: now, into: &actions)
  }

  private mutating func attemptHeads(at now: Instant, into actions: inout ActionList) {
    // Each step grants, parks a tenant, claims something or takes a head out: more steps than there is to take are our bug.
    var steps = 8 * (waitingCount + tenants.count + routes.routes.count) + 64
    while true {
      steps -= 1
      guard steps > 0 else { return actions.append(.note(.ourBug(.endlessPass))) }
      if let slot = nextCovered() {
        attempt(slot, .floor, at: now, into: &actions)
        continue
      }
      guard let slot = nextInOrder() else { break }
      attempt(slot, .order, at: now, into: &actions)
    }
  }

  private func nextCovered() -> Int32? {
    for band in 1..<3 where scheduler.hasShare(band) && fair[band].backlogged > 0 {
      for cluster in 0..<min(scheduler.clusterCount, fair[band].clusterCount)
      where scheduler.hasCredit(band, in: cluster) {
        if let slot = head(of: band, in: cluster),
          scheduler.isCovered(band, in: cluster, cost: presentCost(of: slot))
        {
          return slot
        }
      }
    }
    return nil
  }

  private func nextInOrder() -> Int32? {
    for band in 0..<3 where fair[band].backlogged > 0 {
      if let slot = head(of: band) { return slot }
    }
    return nil
  }

  private func head(of band: Int) -> Int32? {
    fair[band].next(closed: closedRoutes, pass: pass).flatMap { lanes.head(of: $0.lane) }
  }

  private func head(of band: Int, in cluster: Int32) -> Int32? {
    fair[band].next(in: cluster, closed: closedRoutes, pass: pass).flatMap { lanes.head(of: $0.lane) }
  }

  private mutating func attempt(_ slot: Int32, _ turn: Turn, at now: Instant, into actions: inout ActionList) {
    guard Int(slot) < waiting.count, let request = waiting[Int(slot)] else {
      return throwOut(slot, at: now, into: &actions)
    }
    var attempt = place(request, ignoringHeadroom: turn != .order, at: now)
    if turn == .order, case .blocked = attempt, let rescue = placeOld(request, at: now) { attempt = .placed(rescue) }
    switch attempt {
    case .placed(let placement):
      grant(slot, placement, isFloorTurn: turn == .floor, at: now, into: &actions)
    case .tenantLimited(let obstacle, let readyAt):
      note(slot, obstacle, into: &actions)
      park(request, obstacle, until: readyAt)
    case .unaffordable(let account, let isForGood):
      if isForGood {
        evict(slot, outcome: .rejectedBudget, budget: account, at: now, into: &actions)
      } else {
        waitForBudget(slot, account: account, into: &actions)
      }
    case .blocked:
      claim(slot, request, ignoringHeadroom: turn != .order, at: now, into: &actions)
    }
  }

  /// Where an old head of a band of which nothing runs may go in spite of the headroom, if no higher band waits: reserves that leave
  /// nothing over must not keep a band from its providers for ever.
  private func placeOld(_ request: Request, at now: Instant) -> Placement? {
    guard request.band > 0, request.promoteAt <= now, (0..<request.band).allSatisfy({ fair[$0].backlogged == 0 }),
      case .placed(let placement) = place(request, ignoringHeadroom: true, at: now),
      providers[Int(placement.provider)].capacity.permits.running(in: request.band) == 0
    else { return nil }
    return placement
  }

  /// What a waiting request will cost, by what is known now: what was expected when it came may be long out of date.
  private func presentCost(of slot: Int32) -> Int64 {
    guard let request = waiting[Int(slot)], let leg = routes.routes[Int(request.route)].legs.first else { return 1 }
    let (input, output) = estimate(request, leg: leg)
    return max(1, (input + output).value)
  }

  private mutating func grant(
    _ slot: Int32, _ placement: Placement, isFloorTurn: Bool, at now: Instant, into actions: inout ActionList
  ) {
    guard let lane = lanes.lane(of: slot), let band = waiting[Int(slot)]?.band,
      let tenant = waiting[Int(slot)]?.tenant
    else { return throwOut(slot, at: now, into: &actions) }
    let cost = presentCost(of: slot)
    let cluster = fair[band].cluster(of: lane)
    var heads = SIMD4<Int64>(repeating: -1)
    var old = SIMD4<Int8>(repeating: 0)
    for other in 1..<3 where scheduler.hasShare(other) && fair[other].backlogged > 0 {
      if other != band, let head = head(of: other, in: cluster) { heads[other] = presentCost(of: head) }
      if fair[other].hasOld(in: cluster) { old[other] = 1 }
    }
    let turn = LeaseTurn(
      share: fair[band].charge(lane: lane, cost: cost, weight: tenants[Int(tenant)].weight),
      credit: scheduler.granted(band, in: cluster, cost: cost, heads: heads, old: old, isFloorTurn: isFloorTurn))
    drainRate.count(at: now)
    guard let request = remove(slot) else { return }
    commit(request, placement, turn: turn, at: now, into: &actions)
  }

  /// A head that is no waiting request, or that has no lane: our own bug. It leaves every structure, so that the pass goes on.
  private mutating func throwOut(_ slot: Int32, at now: Instant, into actions: inout ActionList) {
    actions.append(.note(.ourBug(.staleHead)))
    if let lane = lanes.lane(of: slot) {
      let key = lanes.key(of: lane)
      lanes.remove(slot)
      if let key { refreshHead(lane, band: Int(key.tenantAndBand & 3), tenant: key.tenantAndBand >> 2) }
    }
    if Int(slot) < waiting.count { evict(slot, outcome: .rejectedNoCapacity, at: now, into: &actions) }
  }

  // MARK: Claims

  /// Claims at each candidate what the head waits for there.
  private mutating func claim(
    _ slot: Int32, _ request: Request, ignoringHeadroom: Bool, at now: Instant, into actions: inout ActionList
  ) {
    var first: Obstacle?
    for (number, leg) in routes.routes[Int(request.route)].legs.enumerated() {
      if isBackingOff(request, leg: number, at: now) {
        // Its own matter: nobody else is kept from there.
        wake = min(wake, request.backoffUntil)
        if first == nil { first = Obstacle(kind: .backoff) }
        continue
      }
      guard
        case .blocked(let obstacle, let readyAt) = place(
          request, leg, ignoringHeadroom: ignoringHeadroom, claims: pass, at: now)
      else { continue }
      if first == nil { first = obstacle }
      wake = min(wake, readyAt)
      let provider = Int(leg.provider)
      switch obstacle.kind {
      case .claimed: break
      case .modelPermits, .modelBucket, .modelBreaker, .modelClosed:
        providers[provider].models[Int(leg.model)].claimedInPass = pass
      case .keys:
        for key in leg.keys { providers[provider].keys[Int(key)].claimedInPass = pass }
      default: providers[provider].claimedInPass = pass
      }
      if obstacle.kind != .claimed { providers[provider].claimant = request.ticket.id }
    }
    closeRoutes()
    // The head's own route is shut in any case: nothing else would end the pass.
    closedRoutes[Int(request.route)] = pass
    if let first { note(slot, first, into: &actions) }
  }

  private mutating func closeRoutes() {
    for index in routes.routes.indices where closedRoutes[index] != pass {
      if routes.routes[index].legs.allSatisfy({ isClaimed($0) }) { closedRoutes[index] = pass }
    }
  }

  private func isClaimed(_ leg: Route.Leg) -> Bool {
    let provider = Int(leg.provider)
    if leg.hasNoKey || providers[provider].claimedInPass == pass { return true }
    if leg.model >= 0, providers[provider].models[Int(leg.model)].claimedInPass == pass { return true }
    return !leg.keys.isEmpty && leg.keys.allSatisfy { providers[provider].keys[Int($0)].claimedInPass == pass }
  }

  // MARK: Parking

  private mutating func park(_ request: Request, _ obstacle: Obstacle, until: Instant) {
    let tenant = request.tenant
    tenants[Int(tenant)].parking = TenantState.Parking(
      request: request.ticket.id, band: request.band, obstacle: obstacle, until: until)
    for band in 0..<3 { fair[band].park(tenant: tenant) }
    if until != .distantFuture {
      tenantTimers.insert(tenant, key: until.nanoseconds, stamp: 0, positions: &tenantTimerPositions)
    }
  }

  /// Something may have changed for the tenant: its heads take part again.
  mutating func unpark(_ tenant: Int32) {
    guard tenants[Int(tenant)].parking != nil else { return }
    tenants[Int(tenant)].parking = nil
    for band in 0..<3 { fair[band].unpark(tenant: tenant) }
    tenantTimers.remove(tenant, positions: &tenantTimerPositions)
    needsPass = true
  }
}
