// One pass over the heads: who goes next, and what the blocked ones claim. Rules by their numbers: `DispatchRule`.
//
// A pass takes heads in order: those of bands whose floor credit covers them (1b), then the bands from high to low (1), each in the order of
// fairness (2). An old head raises its band's share, and never goes before a higher band for its age (1c).
// A head that is placed is granted, and the order is asked anew. A head that its tenant's own limit blocks parks the tenant (3a). A
// head that a budget keeps back leaves its lane (3c). A head that no candidate can take claims what it waits for at each of them, and nobody
// after it in the pass may take from there (3); a route whose every leg is claimed is closed, and so is that of the head. Only where something
// of the head's own is in its way (a key that has refused it, its backoff) its lane alone is set aside (3b).
// So every step either grants, parks a tenant, closes a route or takes a lane out, and the pass ends when no open route has a head.

extension Admission {
  private enum Turn { case floor, order }

  mutating func dispatch(at now: Instant, into actions: inout ActionList) {
    needsPass = false
    forgetMeters(at: now)
    pass += 1
    wake = .distantFuture
    guard !waiting.isEmpty else { return promised.removeAll(keepingCapacity: true) }
    var handed = 0
    repeat {
      attemptHeads(at: now, into: &actions)
      waiting.bringBackLanes(at: now)
    } while handOn(&handed, at: now, into: &actions)
  }

  private mutating func attemptHeads(at now: Instant, into actions: inout ActionList) {
    // Each step grants, parks a tenant, claims something or takes a head out: more steps than there is to take are our bug.
    var steps = 8 * (waiting.count + tenants.count + providers.routes.count) + 64
    while true {
      steps -= 1
      guard steps > 0 else { return actions.append(.note(.ourBug(.endlessPass))) }
      if let head = nextCovered() {
        attempt(head, .floor, at: now, into: &actions)
      } else if let head = nextInOrder() {
        attempt(head, .order, at: now, into: &actions)
      } else {
        return
      }
    }
  }

  /// Rule 1b.
  private func nextCovered() -> RequestIndex? {
    for band in 1..<3 where scheduler.hasShare(band) && waiting.backlog(of: band) > 0 {
      for cluster in waiting.clusters(of: band) where scheduler.hasCredit(band, in: cluster) {
        if let head = head(of: band, in: cluster),
          scheduler.isCovered(band, in: cluster, cost: presentCost(of: head))
        {
          return head
        }
      }
    }
    return nil
  }

  /// Rules 1 and 2.
  private func nextInOrder() -> RequestIndex? {
    for band in 0..<3 where waiting.backlog(of: band) > 0 {
      if let head = waiting.next(band, closed: closedRoutes, pass: pass) { return head }
    }
    return nil
  }

  private func head(of band: Int, in cluster: ClusterIndex) -> RequestIndex? {
    waiting.next(band, in: cluster, closed: closedRoutes, pass: pass)
  }

  private mutating func attempt(_ head: RequestIndex, _ turn: Turn, at now: Instant, into actions: inout ActionList) {
    guard let request = waiting.find(head) else { return throwOut(head, at: now, into: &actions) }
    var legs: [BlockedLeg] = []
    var attempt = place(request, ignoringHeadroom: turn != .order, at: now, blocked: &legs)
    if turn == .order, case .blocked = attempt, let rescue = placeOld(request, at: now) { attempt = .placed(rescue) }
    switch attempt {
    case .placed(let placement):
      grant(head, request, placement, isFloorTurn: turn == .floor, at: now, into: &actions)
    case .tenantLimited(let obstacle, let readyAt):
      note(head, obstacle, into: &actions)
      let cluster = waiting.cluster(of: head)
      park(request, obstacle, until: readyAt)
      stand(request.band, in: cluster, .atTenant(request.tenant))
    case .unaffordable(let account, let isForGood):
      if isForGood {
        evict(head, outcome: .rejectedBudget, budget: account, at: now, into: &actions)
      } else {
        waitForBudget(head, account: account, at: now, into: &actions)
      }
    case .blocked:
      let cluster = waiting.cluster(of: head)
      let place = claim(head, request, legs, at: now, into: &actions)
      stand(request.band, in: cluster, place)
    }
  }

  /// Remembers how the band's heads stand in a cluster; as long as another one may still go, the band waits in line.
  private mutating func stand(_ band: Int, in cluster: ClusterIndex?, _ place: BandStanding.Place) {
    guard let cluster, scheduler.hasShare(band) else { return }
    standings[cluster][band].note(head(of: band, in: cluster) == nil ? place : .inLine, pass: pass)
  }

  /// The exception of rule 1a: where an old head of a band of which nothing runs may go in spite of the headroom, if no higher band waits: reserves that leave
  /// nothing over must not keep a band from its providers for ever.
  private func placeOld(_ request: Request, at now: Instant) -> Placement? {
    var legs: [BlockedLeg] = []
    guard request.band > 0, request.promoteAt <= now, (0..<request.band).allSatisfy({ waiting.backlog(of: $0) == 0 }),
      case .placed(let placement) = place(request, ignoringHeadroom: true, at: now, blocked: &legs),
      providers[placement.provider].capacity.permits.running(in: request.band) == 0
    else { return nil }
    return placement
  }

  /// What a waiting request will cost, by what is known now: what was expected when it came may be long out of date.
  private func presentCost(of index: RequestIndex) -> Int64 {
    guard let request = waiting.find(index), let leg = providers.routes[request.route].legs.first else { return 1 }
    let (input, output) = estimate(request, leg: leg)
    return max(1, (input + output).value)
  }

  private mutating func grant(
    _ head: RequestIndex, _ request: Request, _ placement: Placement, isFloorTurn: Bool, at now: Instant,
    into actions: inout ActionList
  ) {
    guard let cluster = waiting.cluster(of: head) else { return throwOut(head, at: now, into: &actions) }
    let band = request.band
    let cost = presentCost(of: head)
    var heads = SIMD4<Int64>(repeating: -1)
    var old = SIMD4<Int8>(repeating: 0)
    var beside = SIMD4<Int8>(repeating: 0)
    for other in 1..<3 where scheduler.hasShare(other) && waiting.backlog(of: other) > 0 {
      if other != band, let head = self.head(of: other, in: cluster) { heads[other] = presentCost(of: head) }
      if waiting.hasOld(other, in: cluster) { old[other] = 1 }
      if standings[cluster][other].isBeside(
        provider: placement.provider, model: placement.model, tenant: request.tenant)
      {
        beside[other] = 1
      }
    }
    standings[cluster][band].note(.inLine, pass: pass)
    guard let share = waiting.charge(head, cost: cost, weight: tenants[request.tenant].weight) else {
      return throwOut(head, at: now, into: &actions)
    }
    let credit = scheduler.granted(
      band, in: cluster, cost: cost, heads: heads, old: old, beside: beside, isFloorTurn: isFloorTurn)
    drainRate.count(at: now)
    guard let request = takeOut(head, at: now) else { return }
    commit(request, placement, turn: LeaseTurn(share: share, credit: credit), at: now, into: &actions)
  }

  /// A head that is no waiting request, or that has no lane: our own bug. It leaves every structure, so that the pass goes on.
  private mutating func throwOut(_ head: RequestIndex, at now: Instant, into actions: inout ActionList) {
    actions.append(.note(.ourBug(.staleHead)))
    waiting.throwOut(head, at: now)
    evict(head, outcome: .rejectedNoCapacity, at: now, into: &actions)
  }

  // MARK: Claims

  /// Rules 3 and 3b: claims at each candidate what the head waits for there. Returns where it stands.
  /// - Parameter legs: what is in its way at each of them.
  private mutating func claim(
    _ head: RequestIndex, _ request: Request, _ legs: [BlockedLeg], at now: Instant, into actions: inout ActionList
  ) -> BandStanding.Place {
    var standing = BandStanding()
    standing.note(.shut, pass: pass)
    // Something of its own is in its way: nobody else is kept from there.
    var isOwn = false
    for blocked in legs {
      wake = min(wake, blocked.readyAt)
      if blocked.obstacle.kind == .backoff {
        isOwn = true
        continue
      }
      let leg = providers.routes[request.route].legs[blocked.leg]
      standing.note(Self.standing(blocked.obstacle, leg), pass: pass)
      if request.refusals.isEmpty { meter(blocked.obstacle, leg) }
      if claim(leg, blocked.obstacle, for: request, at: now) { isOwn = true }
    }
    closeRoutes(beside: request.route)
    // Its own route is shut, or its own lane out of the way: nothing else would end the pass.
    if !isOwn {
      closedRoutes[request.route] = pass
    } else if closedRoutes[request.route] != pass {
      waiting.setAside(head)
    }
    if let first = legs.first { note(head, first.obstacle, into: &actions) }
    return standing.place
  }

  /// Claims what a request waits for at one leg. Returns true where that is something of its own.
  private mutating func claim(
    _ leg: Route.Leg, _ obstacle: Obstacle, for request: Request, at now: Instant
  ) -> Bool {
    // No key of the provider's is for such calls: there is nothing to claim.
    if leg.hasNoKey { return false }
    var isOwn = false
    if obstacle.atKeys != .no {
      isOwn = claimKeys(request, leg, at: now)
    } else {
      switch (obstacle.kind, leg.model) {
      case (.claimed, _): break
      case (.draining, _): isOwn = true
      case (.modelPermits, let model?), (.modelBucket, let model?), (.modelBreaker, let model?),
        (.modelClosed, let model?):
        providers[leg.provider].models[model].claimedInPass = pass
      default: providers[leg.provider].claimedInPass = pass
      }
    }
    if obstacle.kind != .claimed { providers[leg.provider].claimant = request.ticket.id }
    return isOwn
  }

  private static func standing(_ obstacle: Obstacle, _ leg: Route.Leg) -> BandStanding.Place {
    switch (obstacle.kind, leg.model) {
    case (.permits, _), (.headroom, _), (.bucket, _): .inLine
    case (.modelPermits, let model?), (.modelBucket, let model?): .atModel(provider: leg.provider, model: model)
    case (.claimed, let model?) where obstacle.model != nil: .atModel(provider: leg.provider, model: model)
    case (.claimed, _): .inLine
    default: obstacle.atKeys == .short ? .inLine : .shut
    }
  }

  /// Claims the keys at which the request waits: not one that has refused it, nor one at which only its model is shut. Returns true
  /// where a key has refused it.
  private mutating func claimKeys(_ request: Request, _ leg: Route.Leg, at now: Instant) -> Bool {
    let provider = leg.provider
    var wasRefused = false
    for key in leg.keys {
      if request.hasBeenRefused(by: providers[provider].keys[key].serial) {
        wasRefused = true
      } else if leg.model.map({ providers[provider].models[$0].keyGates[key]?.blockedUntil(at: now) == nil }) ?? true {
        providers[provider].keys[key].claimedInPass = pass
      }
    }
    return wasRefused
  }

  /// After claims of a head of this route: other routes to the same providers may have nothing left that is not claimed.
  private mutating func closeRoutes(beside claimant: RouteIndex) {
    for leg in providers.routes[claimant].legs {
      for route in providers.routes.leading(to: leg.provider) where closedRoutes[route] != pass {
        if providers.routes[route].legs.allSatisfy({ isClaimed($0) }) { closedRoutes[route] = pass }
      }
    }
  }

  private func isClaimed(_ leg: Route.Leg) -> Bool {
    let provider = leg.provider
    if leg.hasNoKey || providers[provider].claimedInPass == pass { return true }
    if let model = leg.model, providers[provider].models[model].claimedInPass == pass { return true }
    return !leg.keys.isEmpty && leg.keys.allSatisfy { providers[provider].keys[$0].claimedInPass == pass }
  }

  // MARK: Meters of waiting

  /// A head is held back where its call would count: the meter there runs until the next pass.
  private mutating func meter(_ obstacle: Obstacle, _ leg: Route.Leg) {
    switch obstacle.kind {
    case .permits, .headroom, .bucket, .closed, .modelPermits, .modelBucket, .modelClosed, .claimed: break
    default: guard obstacle.atKeys == .short else { return }
    }
    if !leg.keys.isEmpty, providers[leg.provider].policy.quota == .perKey {
      for key in leg.keys where !providers[leg.provider].keys[key].health.isOut { meter(leg.provider, .key(key)) }
    } else {
      meter(leg.provider, leg.model.map { .model($0) } ?? .provider)
    }
  }

  private mutating func meter(_ provider: ProviderIndex, _ holder: QuotaHolder) {
    guard providers[provider][waitsOf: holder].pass != pass else { return }
    providers[provider][waitsOf: holder].pass = pass
    heldBackBy.append((provider, holder))
  }

  /// Brings the meters that run up to now.
  mutating func moveMeters(at now: Instant) {
    if now > meteredUntil {
      let passed = (now - meteredUntil).nanoseconds
      for (provider, holder) in heldBackBy {
        let total = providers[provider][waitsOf: holder].total.nanoseconds
        providers[provider][waitsOf: holder].total = Span(nanoseconds: total.saturatingAdding(passed))
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
    tenants.park(
      request.tenant,
      TenantState.Parking(request: request.ticket.id, band: request.band, obstacle: obstacle, until: until))
    waiting.park(request.tenant)
  }

  /// Something may have changed for the tenant: its heads take part again.
  mutating func unpark(_ tenant: TenantIndex) {
    guard tenants.unpark(tenant) else { return }
    waiting.unpark(tenant)
    needsPass = true
  }
}
