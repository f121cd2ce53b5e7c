// Why a request waits, as notes while it happens and as an answer to a query.

extension Admission {
  private static let mostNotes: UInt8 = 16

  /// Reports why the request waits, if the reason has changed.
  mutating func note(_ index: RequestIndex, _ obstacle: Obstacle, into actions: inout ActionList) {
    guard waiting.contains(index), waiting[index].lastNoted != obstacle, waiting[index].notes < Self.mostNotes else {
      return
    }
    // Only the ticket: a copy of the request would have more references to count.
    let ticket = waiting[index].box
    actions.append(.note(.waiting(ticket.ticket.id, blocker(for: obstacle, ticket))))
    waiting[index].lastNoted = obstacle
    waiting[index].notes += 1
  }

  /// Reports that another request is the first of its lane now: it waits for its turn, and no longer for the one before it.
  mutating func noteHead(of lane: LaneIndex?, into actions: inout ActionList) {
    guard let lane, let head = waiting.head(of: lane), waiting[head].lastNoted?.kind == .behindInLane else { return }
    note(head, Obstacle(kind: .notItsTurn), into: &actions)
  }

  /// Reports what a request waits for whose back-off is over: where its provider is shut, no pass looks at it.
  mutating func noteEndOfBackoff(_ index: RequestIndex, at now: Instant, into actions: inout ActionList) {
    let obstacle = currentObstacle(of: index, at: now)
    // Its turn may come with the next pass.
    if obstacle.kind != .notItsTurn { note(index, obstacle, into: &actions) }
  }

  /// Why a queued request waits right now; nil where it is not queued.
  public func blocker(of request: RequestID, at now: Instant) -> Blocker? {
    guard let index = waiting.index(of: request) else { return nil }
    return blocker(for: currentObstacle(of: index, at: now), waiting[index].box)
  }

  /// The obstacle as it is after the last pass.
  func currentObstacle(of index: RequestIndex, at now: Instant) -> Obstacle {
    guard let request = waiting.find(index) else { return Obstacle(kind: .backoff) }
    if let account = request.waitsFor { return Obstacle(kind: .budget, account: account) }
    let legs = providers.routes[request.route].legs
    if request.ticket.isFree { return freeObstacle(to: request, legs, at: now) }
    if request.isHeldBack {
      for leg in legs {
        if case .blocked(let obstacle, _) = place(
          request, leg, ignoringHeadroom: false, heedsClaims: false, at: now)
        {
          return obstacle
        }
      }
    }
    guard request.notBefore == nil, waiting.isInLane(index) else { return Obstacle(kind: .backoff) }
    if let parking = tenants[request.tenant].parking { return parking.obstacle }
    guard waiting.isHead(index) else { return Obstacle(kind: .behindInLane) }
    if waiting.isCapped(index) { return Obstacle(kind: .sessionPermits) }
    var first: Obstacle?
    for leg in legs {
      guard let obstacle = obstacle(to: request, leg, at: now) else { return Obstacle(kind: .notItsTurn) }
      first = first ?? obstacle
    }
    return first ?? Obstacle(kind: .notItsTurn)
  }

  private func freeObstacle(to request: Request, _ legs: [Route.Leg], at now: Instant) -> Obstacle {
    guard request.notBefore == nil else { return Obstacle(kind: .backoff) }
    var first: Obstacle?
    for leg in legs {
      if isBackingOff(request, leg, at: now) {
        first = first ?? Obstacle(kind: .backoff)
        continue
      }
      guard case .blocked(let obstacle, _) = placeFree(request, leg, at: now) else {
        return Obstacle(kind: .freePermits, provider: leg.provider)
      }
      first = first ?? obstacle
    }
    return first ?? Obstacle(kind: .backoff)
  }

  /// What blocks a head at one leg; nil where nothing does. What is really missing comes before what another head has
  /// claimed.
  private func obstacle(to request: Request, _ leg: Route.Leg, at now: Instant) -> Obstacle? {
    if isBackingOff(request, leg, at: now) { return Obstacle(kind: .backoff) }
    switch place(request, leg, ignoringHeadroom: false, heedsClaims: false, at: now) {
    case .blocked(let missing, _): return missing
    case .unaffordable(let account, _): return Obstacle(kind: .budget, account: account)
    case .placed:
      guard case .blocked(let claim, _) = place(request, leg, ignoringHeadroom: false, at: now) else { return nil }
      return claim
    }
  }

  func blocker(for obstacle: Obstacle, _ request: TicketBox) -> Blocker {
    let tenant = request.ticket.tenant
    if let account = obstacle.account { return .budget(book.id(account)) }
    switch obstacle.kind {
    case .behindInLane: return .behindInLane
    case .notItsTurn: return .notItsTurn
    case .tenantPermits: return .tenantConcurrency(tenant)
    case .tenantBucket: return .tenantBucket(tenant, obstacle.dimension)
    case .backoff, .budget: return .backoff
    case .sessionPermits: return .sessionConcurrency(request.ticket.sessionGroup ?? request.ticket.session)
    case .permits, .headroom, .bucket, .modelPermits, .modelHeadroom, .modelBucket, .claimed, .breaker, .keys,
      .keyPermits, .keyBucket, .closed, .modelBreaker,
      .modelClosed, .draining, .freePermits, .warmKey:
      guard let provider = obstacle.provider else { return .notItsTurn }
      return blocker(for: obstacle, at: provider, request)
    }
  }

  private func blocker(for obstacle: Obstacle, at index: ProviderIndex, _ request: TicketBox) -> Blocker {
    let provider = providers[index].policy.id
    let model = obstacle.model.map { providers[index].models[$0].pattern.pattern } ?? ""
    switch obstacle.kind {
    case .permits where obstacle.atKeys == .short, .keyPermits: return .keyConcurrency(provider)
    case .bucket where obstacle.atKeys == .short, .keyBucket: return .keyBucket(provider, obstacle.dimension)
    case .permits: return .providerConcurrency(provider)
    case .headroom: return .headroom(provider)
    case .bucket: return .providerBucket(provider, obstacle.dimension)
    case .modelPermits, .modelHeadroom: return .modelConcurrency(provider, model: model)
    case .modelBucket: return .modelBucket(provider, model: model, obstacle.dimension)
    case .claimed:
      let lacking = obstacle.model.flatMap {
        providers[index].isLacking($0) ? providers[index].models[$0].lack.claimant : nil
      }
      guard let claimant = lacking ?? providers[index].claimant, claimant != request.ticket.id else {
        return .notItsTurn
      }
      return .claimed(provider, by: claimant)
    case .breaker: return .breakerOpen(provider)
    case .keys: return .noUsableKey(provider)
    case .closed, .draining: return .providerClosed(provider)
    case .freePermits: return .freeConcurrency(provider)
    case .warmKey:
      return .warmKey(provider, key: obstacle.key.map { providers[index].keys[$0].policy.id } ?? "")
    case .modelBreaker: return .modelBreakerOpen(provider, model: model)
    case .modelClosed: return .modelClosed(provider, model: model)
    case .behindInLane, .notItsTurn, .tenantPermits, .tenantBucket, .sessionPermits, .backoff, .budget:
      return .notItsTurn
    }
  }
}
