// Decides which request goes next, and what the blocked heads claim. `DispatchRule` explains the numbers of the rules.
//
// Heads are taken in order: those of bands whose floor credit covers them (1b), then the bands from high to low (1),
// each in the order of fairness (2). An old head raises its band's share, and never goes before a higher band for its
// age (1c). A head that is placed is granted, and the order is computed again. A head that its tenant's own limit
// blocks parks the tenant (3a). A head that a budget keeps back leaves its lane (3c). A head that no candidate can take
// claims what it waits for at each of them, and nobody after it may take from there (3); a route whose every leg is
// claimed is closed, and so is that of the head. Only where something of the head's own is in its way (a key that has
// refused it, its backoff) its lane alone is set aside (3b). So every step grants, parks a tenant, closes a route or
// removes a lane, and the pass ends when no open route has a head.
//
// Last, when all others are placed or blocked, come the heads of sessions that run as many calls as they may (3d), in
// the same order, and only where the policy widens. What others have claimed is not free. Their own claims end with the
// look: a head that comes later and needs something there begins another look, in which it goes before them.
//
// Claims and closed routes outlive a pass. A provider is looked at again where something may have become free there, or
// where the first head of a route to it, or its place in the order, has changed: its claims are void then, and the
// routes to it are open. Only a claim on a permit of a model that has none left stays until that model changes.
// Everything else would end as before: what a head lacked has not become available, and no other
// head has come before it.

extension Admission {
  private enum Turn { case floor, order, spare }

  /// True where something has changed that a head may wait for.
  var hasNews: Bool { providers.hasChanged || waiting.hasMoved }

  mutating func dispatch(at now: Instant, into actions: inout ActionList) {
    passes += 1
    // During a drain the remaining time shrinks without an event.
    if looksEverywhere || drainEnd != .distantFuture { lookEverywhere() }
    var handed = 0
    repeat { attemptHeads(at: now, into: &actions) } while handOn(&handed, at: now, into: &actions)
    if waiting.isFreeDue { serveFree(at: now, into: &actions) }
  }

  private mutating func attemptHeads(at now: Instant, into actions: inout ActionList) {
    // Each step grants, parks a tenant, claims something or removes a head; more steps than there can be are our bug.
    var steps = 16 * (waiting.count + tenants.count + providers.routes.count) + 64
    while true {
      steps -= 1
      guard steps > 0 else { return actions.append(.note(.ourBug(.endlessPass))) }
      lookAnew(at: now)
      if let head = nextCovered() {
        attempt(head, .floor, at: now, into: &actions)
      } else if hasNews || bringForward() {
        continue
      } else if let head = nextInOrder() {
        attempt(head, .order, at: now, into: &actions)
      } else if let head = nextSpare() {
        attempt(head, .spare, at: now, into: &actions)
      } else {
        return
      }
    }
  }

  // MARK: Where to look

  /// Looks at everything again.
  mutating func lookEverywhere() {
    providers.changeAll()
    watch.removeAll()
    for band in 1..<3 { waiting.unsettleAll(band) }
  }

  /// Looks at all providers of the route again.
  mutating func change(_ route: RouteIndex) {
    for leg in providers.routes.indices(of: route) {
      providers.change(providers.routes[route, leg].provider, model: providers.routes[route, leg].model)
    }
  }

  /// Opens the routes to providers that have changed, and drops the claims there.
  mutating func lookAnew(at now: Instant) {
    while true {
      while waiting.hasMoved, let route = waiting.popMoved() {
        let isClosed = waiting.isClosed(route)
        for leg in providers.routes.indices(of: route) where isClosed || hasClaim(route, leg) {
          providers.change(providers.routes[route, leg].provider, model: providers.routes[route, leg].model)
        }
      }
      guard let provider = providers.beginLook(at: now) else { return }
      if waiting.hasFree { waiting.isFreeDue = true }
      for route in providers.routes.leading(to: provider) where mayBeOpened(route, for: provider) {
        waiting.open(route)
      }
    }
  }

  /// False where all that the route's heads need from the provider is permits of models that have none left.
  private func mayBeOpened(_ route: RouteIndex, for provider: ProviderIndex) -> Bool {
    for leg in providers.routes.indices(of: route) where providers.routes[route, leg].provider == provider {
      guard let model = providers.routes[route, leg].model, providers[provider].isLacking(model) else { return true }
    }
    return waiting.hasAside(route)
  }

  /// True where something that a call by this leg of the route needs is claimed.
  @inline(__always) private func hasClaim(_ route: RouteIndex, _ leg: Int) -> Bool {
    providers[providers.routes[route, leg].provider].hasClaim(providers.routes[route, leg])
  }

  /// Opens the routes of old heads that were blocked only by the headroom and before which no request of a higher band
  /// waits any more. Returns false where there are none.
  private mutating func bringForward() -> Bool {
    // Every one of them waits for the highest band at least.
    guard !outranked.isEmpty, waiting.backlog(of: 0) == 0 else { return false }
    let free = outranked.filter { head in (0..<head.band).allSatisfy { waiting.backlog(of: $0) == 0 } }
    guard !free.isEmpty else { return false }
    outranked.removeAll { head in free.contains { $0 == head } }
    for head in free { isOutranked[head.route] &= ~(1 << UInt8(head.band)) }
    for head in free { change(head.route) }
    return true
  }

  // MARK: Whose turn it is

  /// Rule 1b. A covered head goes before all claims except those of other covered heads. Where others have claims,
  /// everything there is looked at again first: then there is news, and no head yet.
  private mutating func nextCovered() -> RequestIndex? {
    for band in 1..<3 where scheduler.hasShare(band) {
      while let cluster = waiting.unsettled(band) {
        if let head = coveredFront(band, in: cluster) { return head }
        if hasNews { return nil }
        waiting.settleLast(band)
      }
    }
    return nil
  }

  private mutating func coveredFront(_ band: Int, in cluster: ClusterIndex) -> RequestIndex? {
    if waiting.hasPassedOver(band, in: cluster) { endFloorTurns(band, in: cluster) }
    if hasNews { return nil }
    while let head = scheduler.hasCredit(band, in: cluster) ? waiting.front(band, in: cluster) : nil,
      scheduler.isCovered(band, in: cluster, cost: presentCost(of: head))
    {
      guard waiting.contains(head) else { return head }
      let route = waiting[head].route
      var isBehindOthers = false
      for leg in providers.routes.indices(of: route) {
        let (provider, model) = (providers.routes[route, leg].provider, providers.routes[route, leg].model)
        guard providers[provider].orderlyClaimIn == providers[provider].look,
          model.map({ !providers[provider].isLacking($0) }) ?? true
        else { continue }
        providers.change(provider, model: model)
        isBehindOthers = true
      }
      if isBehindOthers { return nil }
      guard waiting.isClosed(route) else { return head }
      waiting.passOver(head)
    }
    return nil
  }

  /// Heads that could not be placed in their floor turns, and are no longer covered, lose the claims of those turns.
  /// Where only permits of a model are lacking, nobody is kept from anything: the band may save up for them again.
  private mutating func endFloorTurns(_ band: Int, in cluster: ClusterIndex) {
    var lacking: [RouteIndex] = []
    var heads: [RequestIndex] = []
    swap(&heads, &spareHeads)
    defer { swap(&heads, &spareHeads) }
    waiting.passedOver(band, in: cluster, into: &heads)
    for head in heads
    where !scheduler.isCovered(band, in: cluster, cost: presentCost(of: head)) && waiting.contains(head) {
      let route = waiting[head].route
      if waiting.isClosed(route), isAllLacking(route) {
        lacking.append(route)
      } else {
        change(route)
      }
    }
    waiting.endPassingOver(lacking, band, in: cluster)
  }

  /// True where all that the route's heads need are permits of models that have none left.
  private func isAllLacking(_ route: RouteIndex) -> Bool {
    for leg in providers.routes.indices(of: route) {
      guard let model = providers.routes[route, leg].model,
        providers[providers.routes[route, leg].provider].isLacking(model)
      else { return false }
    }
    return true
  }

  /// Rules 1 and 2.
  private mutating func nextInOrder() -> RequestIndex? {
    for band in 0..<3 where waiting.backlog(of: band) > 0 {
      if let head = waiting.next(band) { return head }
    }
    return nil
  }

  /// Rule 3d.
  private mutating func nextSpare() -> RequestIndex? {
    guard let rule = waiting.sessions.rule, rule.widen else { return nil }
    for band in 0..<3 {
      if let head = waiting.nextCapped(band) { return head }
    }
    return nil
  }

  /// A call of the session has ended.
  mutating func endCall(of session: SessionIndex, _ tenant: TenantIndex, at now: Instant) {
    waiting.countCall(-1, in: session, at: now)
    guard !tenants[tenant].awaitedBySpare.isEmpty else { return }
    for route in tenants[tenant].awaitedBySpare { change(route) }
    tenants[tenant].awaitedBySpare.removeAll()
  }

  private mutating func attempt(_ head: RequestIndex, _ turn: Turn, at now: Instant, into actions: inout ActionList) {
    guard let request = waiting.find(head) else { return throwOut(head, at: now, into: &actions) }
    countPlacements(providers.routes[request.route].legs.count)
    // Its memory is used again, not allocated for each head.
    var legs: [BlockedLeg] = []
    swap(&legs, &spareLegs)
    defer {
      if !legs.isEmpty { legs.removeAll(keepingCapacity: true) }
      swap(&legs, &spareLegs)
    }
    var placement = Placement.none
    var estimate: CallEstimate?
    var attempt = place(
      request, ignoringHeadroom: turn == .floor, at: now, blocked: &legs, first: &estimate, into: &placement)
    var rule: GrantTurn = turn == .spare ? .spare : turn == .floor ? .floor : .order
    if turn == .order, case .blocked = attempt, placeOld(request, at: now, into: &placement) {
      attempt = .placed
      rule = .old
    }
    switch attempt {
    case .placed:
      grant(head, consume request, placement, rule, at: now, into: &actions)
    case .tenantLimited(_, let readyAt) where turn == .spare:
      // The tenant's other heads are not passed over for it.
      if let leg = providers.routes[request.route].legs.first { providers.wake(leg.provider, at: readyAt) }
      if !tenants[request.tenant].awaitedBySpare.contains(request.route) {
        tenants[request.tenant].awaitedBySpare.append(request.route)
      }
      waiting.setAside(head)
    case .tenantLimited(let obstacle, let readyAt):
      note(head, obstacle, into: &actions)
      park(request, obstacle, until: readyAt)
    case .unaffordable(let account, let isForGood):
      if isForGood {
        evict(head, outcome: .rejectedBudget, budget: account, at: now, into: &actions)
      } else {
        waitForBudget(head, account: account, at: now, into: &actions)
      }
    case .blocked:
      claim(head, request, legs, turn, at: now, into: &actions)
      if turn == .floor, waiting.isClosed(request.route) { waiting.passOver(head) }
    }
  }

  /// The exception of rule 1a: where an old head of a band of which nothing runs may go in spite of the headroom, if no higher band waits: reserves that leave
  /// nothing over must not keep a band from its providers for ever.
  private mutating func placeOld(_ request: Request, at now: Instant, into placement: inout Placement) -> Bool {
    guard request.band > 0, request.promoteAt <= now else { return false }
    guard (0..<request.band).allSatisfy({ waiting.backlog(of: $0) == 0 }) else {
      let bit: UInt8 = 1 << UInt8(request.band)
      if isOutranked[request.route] & bit == 0 {
        isOutranked[request.route] |= bit
        outranked.append((request.route, request.band))
      }
      return false
    }
    var secondChoice: Placement?
    for (index, leg) in providers.routes[request.route].legs.enumerated()
    where !isBackingOff(request, leg, at: now) {
      var estimate: CallEstimate?
      switch place(
        request, leg, ignoringHeadroom: true, heedsClaims: true, at: now, estimate: &estimate, into: &placement)
      {
      case .placed:
        guard providers[leg.provider].capacity.permits.running(in: request.band) == 0 else { continue }
        placement.leg = index
        guard placement.isSecondChoice else { return true }
        secondChoice = secondChoice ?? placement
      case .blocked(_, let readyAt):
        // What is missing besides the headroom refills without an event.
        providers.wake(leg.provider, at: readyAt)
      case .unaffordable: break
      }
    }
    guard let secondChoice else { return false }
    placement = secondChoice
    return true
  }

  /// The cost of a waiting request as now expected: the estimate from its arrival may be out of date. Nothing is learned
  /// during a pass, so it is estimated once in each.
  private mutating func presentCost(of index: RequestIndex) -> Int64 {
    guard waiting.contains(index) else { return 1 }
    if waiting[index].pass == passes { return waiting[index].cost }
    let route = waiting[index].route
    guard !providers.routes.indices(of: route).isEmpty else { return 1 }
    // Only what is needed: a copy of the request would have more references to count.
    let (box, model, band) = (waiting[index].box, waiting[index].model, waiting[index].band)
    let hope = waiting[index].isCold ? CacheHope.nothing : .conversation
    let cost = max(
      1, estimate(box, model: model, band: band, at: providers.routes[route, 0].provider, hope: hope).cost)
    waiting[index].pass = passes
    waiting[index].cost = cost
    return cost
  }

  mutating func grant(
    _ head: RequestIndex, _ request: consuming Request, _ placement: Placement, _ turn: GrantTurn, at now: Instant,
    into actions: inout ActionList
  ) {
    let isFloorTurn = turn == .floor
    guard let cluster = waiting.cluster(of: head) else { return throwOut(head, at: now, into: &actions) }
    let band = request.band
    // For the first leg, `place` has just made the same estimate.
    let cost =
      placement.leg == 0 ? max(1, placement.estimate.cost) : presentCost(of: head)
    var heads = SIMD4<Int64>(repeating: -1)
    var old = SIMD4<Int8>(repeating: 0)
    var beside = SIMD4<Int8>(repeating: 0)
    for other in 1..<3 where scheduler.hasShare(other) && waiting.backlog(of: other) > 0 {
      if waiting.hasOld(other, in: cluster) { old[other] = 1 }
      guard other != band, let front = waiting.front(other, in: cluster) else { continue }
      heads[other] = presentCost(of: front)
      // Asked only where it matters: its band already has enough credit.
      if isFloorTurn, scheduler.isCovered(other, in: cluster, cost: heads[other]),
        standing(of: other, in: cluster, at: now).isBeside(
          provider: placement.provider, model: placement.model, tenant: request.tenant)
      {
        beside[other] = 1
      }
    }
    var rule = turn
    if isFloorTurn, old[band] != 0 { rule = .promoted }
    if turn == .order, waiting.isHurried(head) { rule = .hurry }
    guard let share = waiting.charge(head, cost: cost, weight: tenants[request.tenant].weight) else {
      return throwOut(head, at: now, into: &actions)
    }
    let credit = scheduler.granted(
      band, in: cluster, cost: cost, heads: heads, old: old, beside: beside, isFloorTurn: isFloorTurn)
    for band in 1..<3 { waiting.unsettle(band, in: cluster) }
    drainRate.count(at: now)
    let lane = waiting.lane(of: head)
    takeOut(head, at: now)
    noteHead(of: lane, into: &actions)
    commit(consume request, placement, turn: LeaseTurn(share: share, credit: credit), by: rule, at: now, into: &actions)
  }

  /// A head that is not a waiting request, or that has no lane, is our bug. It is removed from every structure, so that
  /// the pass goes on.
  private mutating func throwOut(_ head: RequestIndex, at now: Instant, into actions: inout ActionList) {
    actions.append(.note(.ourBug(.staleHead)))
    waiting.throwOut(head, at: now)
    evict(head, outcome: .rejectedNoCapacity, at: now, into: &actions)
  }

  // MARK: Claims

  /// What all heads of the band in the cluster wait for, combined, by what is free now.
  private func standing(of band: Int, in cluster: ClusterIndex, at now: Instant) -> Standing {
    var all = Standing.shut
    for tenant in waiting.parked(band, in: cluster) { all = all.and(.atTenant(tenant)) }
    for route in waiting.routes(band, in: cluster) {
      if all == .inLine { return all }
      guard let head = waiting.head(of: route, band, in: cluster) else { continue }
      let request = waiting[head]
      for leg in providers.routes[route].legs where !isBackingOff(request, leg, at: now) {
        guard case .blocked(let obstacle, _) = place(request, leg, ignoringHeadroom: true, heedsClaims: false, at: now)
        else { return .inLine }
        all = all.and(Self.standing(obstacle, leg))
      }
    }
    return all
  }

  /// Rules 3 and 3b: claims what the head waits for at each candidate.
  /// - Parameter legs: what blocks it at each of them.
  private mutating func claim(
    _ head: RequestIndex, _ request: Request, _ legs: [BlockedLeg], _ turn: Turn, at now: Instant,
    into actions: inout ActionList
  ) {
    // True where something that concerns only this request blocks it: it keeps no other request from there.
    var isOwn = false
    for blocked in legs {
      let leg = providers.routes[request.route].legs[blocked.leg]
      providers.wake(leg.provider, at: blocked.readyAt)
      if blocked.obstacle.kind == .backoff {
        isOwn = true
        continue
      }
      if request.refusals.isEmpty { meter(blocked.obstacle, leg, at: now) }
      if claim(leg, blocked.obstacle, for: request, turn, at: now) { isOwn = true }
    }
    if !request.accounts.isEmpty { watchBudgets(request, at: now) }
    if legs.contains(where: { $0.obstacle.kind != .claimed }) { closeRoutes(beside: request.route) }
    // Its route is closed or its lane set aside: otherwise the pass would not end.
    let route = waiting.turnRoute(of: head)
    if !isOwn {
      waiting.close(route)
    } else if !waiting.isClosed(route) {
      waiting.setAside(head, hadFloorTurn: turn == .floor)
    }
    if turn != .spare, let first = legs.first { note(head, first.obstacle, into: &actions) }
  }

  /// Claims what a request waits for at one leg. Returns true where that concerns only this request.
  private mutating func claim(
    _ leg: Route.Leg, _ obstacle: Obstacle, for request: Request, _ turn: Turn, at now: Instant
  ) -> Bool {
    // The provider has no key for such calls, so there is nothing to claim.
    if leg.hasNoKey { return false }
    let look = providers[leg.provider].look
    var isOwn = false
    if obstacle.kind == .modelPermits, let model = leg.model, !providers[leg.provider].isPerKey {
      providers[leg.provider].models[model].lack = ModelState.Lack(
        claimedIn: providers[leg.provider].wideLook, claimant: request.ticket.id)
      return false
    }
    if turn != .floor, obstacle.kind != .claimed { providers[leg.provider].orderlyClaimIn = look }
    if let key = obstacle.key {
      // Others may go to other keys.
      providers[leg.provider].keys[key].claim(in: look, for: request.box.ticket.id)
      isOwn = true
    } else if obstacle.atKeys != .no {
      isOwn = claimKeys(request, leg, at: now)
    } else {
      switch (obstacle.kind, leg.model) {
      case (.claimed, _): break
      case (.draining, _): isOwn = true
      case (.modelPermits, let model?), (.modelHeadroom, let model?), (.modelBucket, let model?),
        (.modelBreaker, let model?),
        (.modelClosed, let model?):
        providers[leg.provider].models[model].claimedIn = look
      default: providers[leg.provider].claimedIn = look
      }
    }
    if obstacle.kind != .claimed { providers[leg.provider].claimant = request.ticket.id }
    return isOwn
  }

  private static func standing(_ obstacle: Obstacle, _ leg: Route.Leg) -> Standing {
    switch (obstacle.kind, leg.model) {
    case (.permits, _), (.headroom, _), (.bucket, _): .inLine
    case (.modelPermits, let model?), (.modelHeadroom, let model?), (.modelBucket, let model?):
      .atModel(provider: leg.provider, model: model)
    case (.claimed, let model?) where obstacle.model != nil: .atModel(provider: leg.provider, model: model)
    case (.claimed, _): .inLine
    default: obstacle.atKeys == .short ? .inLine : .shut
    }
  }

  /// Claims the keys for which the request waits, except those that have refused it or at which only its model is
  /// blocked. Returns true where a key has refused it.
  private mutating func claimKeys(_ request: Request, _ leg: Route.Leg, at now: Instant) -> Bool {
    let provider = leg.provider
    let look = providers[provider].look
    var wasRefused = false
    for key in leg.keys {
      if request.hasBeenRefused(by: providers[provider].keys[key].serial) {
        wasRefused = true
      } else if leg.model.map({ providers[provider].models[$0].keyGates[key]?.blockedUntil(at: now) == nil }) ?? true {
        providers[provider].keys[key].claim(in: look, for: request.box.ticket.id)
      }
    }
    return wasRefused
  }

  /// Closes other routes to the same providers where, after the claims of a head of this route, everything is claimed.
  private mutating func closeRoutes(beside claimant: RouteIndex) {
    checks += 1
    for leg in providers.routes.indices(of: claimant) {
      for route in providers.routes.leading(to: providers.routes[claimant, leg].provider)
      where !waiting.isClosed(route) && checkedIn[route] != checks {
        checkedIn[route] = checks
        if isAllClaimed(route) { waiting.close(route) }
      }
    }
  }

  /// True where nothing is left for other heads at any leg of the route.
  private func isAllClaimed(_ route: RouteIndex) -> Bool {
    for leg in providers.routes.indices(of: route)
    where !providers[providers.routes[route, leg].provider].isClaimed(providers.routes[route, leg]) {
      return false
    }
    return true
  }

  // MARK: Meters of waiting

  /// A head is blocked at the quota that its call would count against: the meter there runs until the next look at the
  /// provider.
  private mutating func meter(_ obstacle: Obstacle, _ leg: Route.Leg, at now: Instant) {
    switch obstacle.kind {
    case .permits, .headroom, .bucket, .closed, .modelPermits, .modelHeadroom, .modelBucket, .modelClosed, .claimed:
      break
    default: guard obstacle.atKeys == .short else { return }
    }
    if !leg.keys.isEmpty, providers[leg.provider].policy.quota == .perKey {
      for key in leg.keys where !providers[leg.provider].keys[key].health.isOut {
        providers[leg.provider].meter(.key(key), at: now)
      }
    } else {
      providers[leg.provider].meter(leg.model.map { .model($0) } ?? .provider, at: now)
    }
  }

  // MARK: Parking

  private mutating func park(_ request: Request, _ obstacle: Obstacle, until: Instant) {
    tenants.park(
      request.tenant,
      TenantState.Parking(request: request.ticket.id, band: request.band, obstacle: obstacle, until: until))
    waiting.park(request.tenant)
  }

  /// Something may have changed for the tenant: its heads take turns again.
  mutating func unpark(_ tenant: TenantIndex) {
    guard tenants.unpark(tenant) else { return }
    waiting.unpark(tenant)
  }
}
