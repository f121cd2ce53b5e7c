// One pass over the heads: who goes next, and what the blocked ones claim.
//
// A pass takes heads in order: those of bands whose floor credit covers them; then the bands from high to low, each in the order of
// fairness. (An old head raises its band's share, see `BandScheduler`; it never goes before a higher band for its age.)
// A head that is placed is granted, and the order is asked anew.
// A head that its tenant's own limit blocks parks the tenant. A head that no candidate can take claims what it waits
// for at each of them, and nobody after it in the pass may take from there; a route whose every leg is claimed is
// closed, and so is that of the head. Only where something of the head's own is in its way (a key that has refused it, its backoff)
// its lane alone is set aside. So every step either grants, parks a tenant, closes a route or sets a lane aside, and the pass ends when
// no open route has a head.

extension Admission {
  private enum Turn { case floor, order }

  mutating func dispatch(at now: Instant, into actions: inout ActionList) {
    needsPass = false
    forgetMeters(at: now)
    pass += 1
    wake = .distantFuture
    guard waitingCount > 0 else { return promised.removeAll(keepingCapacity: true) }
    var handed = 0
    repeat {
      attemptHeads(at: now, into: &actions)
      bringBackLanes()
    } while handOn(&handed, at: now, into: &actions)
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
      let cluster = lanes.lane(of: slot).map { fair[request.band].cluster(of: $0) }
      park(request, obstacle, until: readyAt)
      stand(request.band, in: cluster, .atTenant(request.tenant))
    case .unaffordable(let account, let isForGood):
      if isForGood {
        evict(slot, outcome: .rejectedBudget, budget: account, at: now, into: &actions)
      } else {
        waitForBudget(slot, account: account, into: &actions)
      }
    case .blocked:
      let cluster = lanes.lane(of: slot).map { fair[request.band].cluster(of: $0) }
      let place = claim(slot, request, ignoringHeadroom: turn != .order, at: now, into: &actions)
      stand(request.band, in: cluster, place)
    }
  }

  /// Remembers how the band's heads stand in a cluster; as long as another one may still go, the band waits in line.
  private mutating func stand(_ band: Int, in cluster: Int32?, _ place: BandStanding.Place) {
    guard let cluster, scheduler.hasShare(band) else { return }
    let index = Int(cluster) * 4 + band
    while standings.count <= index { standings.append(BandStanding()) }
    standings[index].note(head(of: band, in: cluster) == nil ? place : .inLine, pass: pass)
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
    var beside = SIMD4<Int8>(repeating: 0)
    for other in 1..<3 where scheduler.hasShare(other) && fair[other].backlogged > 0 {
      if other != band, let head = head(of: other, in: cluster) { heads[other] = presentCost(of: head) }
      if fair[other].hasOld(in: cluster) { old[other] = 1 }
      let index = Int(cluster) * 4 + other
      if index < standings.count,
        standings[index].isBeside(provider: placement.provider, model: placement.model, tenant: tenant)
      {
        beside[other] = 1
      }
    }
    if Int(cluster) * 4 + band < standings.count { standings[Int(cluster) * 4 + band].note(.inLine, pass: pass) }
    let turn = LeaseTurn(
      share: fair[band].charge(lane: lane, cost: cost, weight: tenants[Int(tenant)].weight),
      credit: scheduler.granted(
        band, in: cluster, cost: cost, heads: heads, old: old, beside: beside, isFloorTurn: isFloorTurn))
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

  /// Claims at each candidate what the head waits for there. Returns where it stands.
  private mutating func claim(
    _ slot: Int32, _ request: Request, ignoringHeadroom: Bool, at now: Instant, into actions: inout ActionList
  ) -> BandStanding.Place {
    var first: Obstacle?
    var standing = BandStanding()
    standing.note(.shut, pass: pass)
    // Something of its own is in its way: nobody else is kept from there.
    var isOwn = false
    for leg in routes.routes[Int(request.route)].legs {
      if isBackingOff(request, leg, at: now) {
        wake = min(wake, request.backoffUntil)
        if first == nil { first = Obstacle(kind: .backoff) }
        isOwn = true
        continue
      }
      guard
        case .blocked(let obstacle, let readyAt) = place(
          request, leg, ignoringHeadroom: ignoringHeadroom, claims: pass, at: now)
      else { continue }
      if first == nil { first = obstacle }
      wake = min(wake, readyAt)
      standing.note(Self.standing(obstacle, leg), pass: pass)
      if request.refusals.isEmpty { meter(obstacle, leg) }
      let provider = Int(leg.provider)
      if obstacle.atKeys != .no {
        if claimKeys(request, leg, at: now) { isOwn = true }
      } else {
        switch obstacle.kind {
        case .claimed: break
        case .draining: isOwn = true
        case .modelPermits, .modelBucket, .modelBreaker, .modelClosed:
          providers[provider].models[Int(leg.model)].claimedInPass = pass
        default: providers[provider].claimedInPass = pass
        }
      }
      if obstacle.kind != .claimed { providers[provider].claimant = request.ticket.id }
    }
    closeRoutes()
    // Its own route is shut, or its own lane out of the way: nothing else would end the pass.
    if !isOwn {
      closedRoutes[Int(request.route)] = pass
    } else if closedRoutes[Int(request.route)] != pass {
      setAside(slot, band: request.band)
    }
    if let first { note(slot, first, into: &actions) }
    return standing.place
  }

  private static func standing(_ obstacle: Obstacle, _ leg: Route.Leg) -> BandStanding.Place {
    switch obstacle.kind {
    case .permits, .headroom, .bucket: .inLine
    case .modelPermits, .modelBucket: .atModel(provider: leg.provider, model: leg.model)
    case .claimed: obstacle.model >= 0 ? .atModel(provider: leg.provider, model: leg.model) : .inLine
    default: obstacle.atKeys == .short ? .inLine : .shut
    }
  }

  /// Claims the keys at which the request waits: not one that has refused it, nor one at which only its model is shut. Returns true
  /// where a key has refused it.
  private mutating func claimKeys(_ request: Request, _ leg: Route.Leg, at now: Instant) -> Bool {
    let provider = Int(leg.provider)
    var wasRefused = false
    for key in leg.keys {
      if request.hasBeenRefused(by: providers[provider].keys[Int(key)].serial) {
        wasRefused = true
      } else if leg.model < 0
        || providers[provider].models[Int(leg.model)].keyGates[key]?.closedUntil(at: now) == nil
      {
        providers[provider].keys[Int(key)].claimedInPass = pass
      }
    }
    return wasRefused
  }

  /// Takes the lane out of the turns for the rest of the pass.
  private mutating func setAside(_ slot: Int32, band: Int) {
    guard let lane = lanes.lane(of: slot) else { return }
    fair[band].suspendHead(lane: lane)
    lanesAside.append(lane)
  }

  private mutating func bringBackLanes() {
    for lane in lanesAside {
      guard lanes.isOpen(lane), let key = lanes.key(of: lane) else { continue }
      refreshHead(lane, band: Int(key.tenantAndBand & 3), tenant: key.tenantAndBand >> 2)
    }
    lanesAside.removeAll(keepingCapacity: true)
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

  // MARK: Meters of waiting

  /// A head is held back where its call would count: the meter there runs until the next pass.
  private mutating func meter(_ obstacle: Obstacle, _ leg: Route.Leg) {
    switch obstacle.kind {
    case .permits, .headroom, .bucket, .closed, .modelPermits, .modelBucket, .modelClosed, .claimed: break
    default: guard obstacle.atKeys == .short else { return }
    }
    if !leg.keys.isEmpty, providers[Int(leg.provider)].policy.quota == .perKey {
      for key in leg.keys where !providers[Int(leg.provider)].keys[Int(key)].health.isOut {
        meter(leg.provider, .key(Int(key)))
      }
    } else {
      meter(leg.provider, leg.model >= 0 ? .model(Int(leg.model)) : .provider)
    }
  }

  private mutating func meter(_ provider: Int32, _ holder: QuotaHolder) {
    guard providers[Int(provider)][waitsOf: holder].pass != pass else { return }
    providers[Int(provider)][waitsOf: holder].pass = pass
    heldBackBy.append((provider, holder))
  }

  /// Brings the meters that run up to now.
  mutating func moveMeters(at now: Instant) {
    if now > meteredUntil {
      let passed = (now - meteredUntil).nanoseconds
      for (provider, holder) in heldBackBy {
        let total = providers[Int(provider)][waitsOf: holder].total.nanoseconds
        providers[Int(provider)][waitsOf: holder].total = Span(nanoseconds: total.saturatingAdding(passed))
      }
    }
    meteredUntil = now
  }

  /// The same, and stops them: another pass follows.
  mutating func forgetMeters(at now: Instant) {
    moveMeters(at: now)
    heldBackBy.removeAll(keepingCapacity: true)
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
