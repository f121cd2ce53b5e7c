// Why a request waits, as notes while it happens and as an answer to a query, and the snapshot of the whole core.

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
    case .permits, .headroom, .bucket, .modelPermits, .modelHeadroom, .modelBucket, .claimed, .breaker, .keys, .closed,
      .modelBreaker,
      .modelClosed, .draining, .freePermits, .warmKey:
      guard let provider = obstacle.provider else { return .notItsTurn }
      return blocker(for: obstacle, at: provider, request)
    }
  }

  private func blocker(for obstacle: Obstacle, at index: ProviderIndex, _ request: TicketBox) -> Blocker {
    let provider = providers[index].policy.id
    let model = obstacle.model.map { providers[index].models[$0].pattern.pattern } ?? ""
    switch obstacle.kind {
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

  public func snapshot(at now: Instant) -> AdmissionSnapshot {
    AdmissionSnapshot(
      providers: providers.inForce.map { index in
        let provider = providers[index]
        return AdmissionSnapshot.Provider(
          id: provider.policy.id, inFlight: provider.capacity.permits.running,
          freeInFlight: provider.freeCalls,
          freeBlockedUntil: provider.freeGate.earliestRecovery(at: now),
          concurrencyLimit: provider.capacity.permits.limit,
          inFlightByBand: (0..<3).map { provider.capacity.permits.running(in: $0) },
          buckets: provider.capacity.bucketSnapshots(at: now),
          models: provider.modelOrder.compactMap { number in
            let model = provider.models[number]
            guard model.name == nil else { return nil }
            return AdmissionSnapshot.Model(
              pattern: model.pattern.pattern, inFlight: model.capacity.permits.running,
              concurrencyLimit: model.capacity.permits.limit, buckets: model.capacity.bucketSnapshots(at: now),
              breaker: model.breaker?.snapshot(at: now), rest: rest(provider, model, at: now))
          },
          breaker: provider.breaker.snapshot(at: now),
          keys: provider.keyOrder.map { keySnapshot(provider, $0, at: now) },
          queuedByBand: provider.queued, resting: resting(provider, at: now),
          blockedUntil: provider.gate.earliestRecovery(at: now),
          blockedBecause: provider.gate.blockedUntil(at: now).map { _ in provider.gate.reason },
          learned: learned(provider))
      },
      tenants: tenants.all.map { tenant in
        AdmissionSnapshot.Tenant(
          id: tenant.id, inFlight: tenant.capacity.permits.running, queued: tenant.queued,
          concurrencyLimit: tenant.capacity.permits.limit, buckets: tenant.capacity.bucketSnapshots(at: now),
          weight: tenant.weight, isListed: tenant.isListed)
      },
      queuedByBand: waiting.countByBand, queuedBytes: waiting.bytes, running: leases.count, openLeases: leases.count,
      queueStorage: waiting.capacity, isDraining: isDraining, budgets: book.readings(others: 100, at: now),
      sessionsAtLimit: waiting.sessions.countAtLimit)
  }

  private func keySnapshot(_ provider: ProviderState, _ number: KeyIndex, at now: Instant) -> AdmissionSnapshot.Key {
    let key = provider.keys[number]
    let slowed = provider.modelOrder.compactMap { order -> AdmissionSnapshot.ModelRest? in
      let model = provider.models[order]
      guard let gate = model.keyGates[number], gate.blockedUntil(at: now) != nil else { return nil }
      return AdmissionSnapshot.ModelRest(
        model: model.name ?? model.pattern.pattern, until: gate.earliestRecovery(at: now), reason: gate.reason)
    }
    var (state, until, reason) = (key.health.condition(at: now), key.health.until(at: now), key.health.reason(at: now))
    // Nothing else is known about it, so it counts as resting.
    if state == .usable, key.isSlowed, let last = slowed.last {
      (state, until, reason) = (.cooling, slowed.compactMap(\.until).max(), .paused(last.reason))
    }
    if !key.policy.isInForce { (state, reason) = (.disabled, .notInForce) }
    return AdmissionSnapshot.Key(
      id: key.policy.id, state: state, until: until, inFlight: key.capacity.permits.running, reason: reason,
      models: key.rests.snapshot(at: now) + slowed)
  }

  /// Models without an entry in the policy that are blocked.
  private func resting(_ provider: ProviderState, at now: Instant) -> [AdmissionSnapshot.ModelRest] {
    provider.modelOrder.compactMap { number in
      let model = provider.models[number]
      return model.name == nil ? nil : rest(provider, model, at: now)
    }
  }

  /// How the model rests, because it is blocked at the provider or at each of its keys; nil where calls for it are
  /// sent.
  private func rest(
    _ provider: ProviderState, _ model: ModelState, at now: Instant
  ) -> AdmissionSnapshot.ModelRest? {
    func rest(_ gate: ProbeGate) -> AdmissionSnapshot.ModelRest {
      AdmissionSnapshot.ModelRest(
        model: model.name ?? model.pattern.pattern, until: gate.earliestRecovery(at: now), reason: gate.reason)
    }
    if model.gate.blockedUntil(at: now) != nil { return rest(model.gate) }
    let shut = provider.keyOrder.compactMap { model.keyGates[$0] }.filter { $0.blockedUntil(at: now) != nil }
    guard !shut.isEmpty, shut.count == provider.keyOrder.count else { return nil }
    // The key that may be tried again first.
    return shut.map(rest).min { ($0.until ?? now) < ($1.until ?? now) }
  }

  func learned(_ provider: ProviderState) -> [AdmissionSnapshot.Learned] {
    var all = provider.learner.learned(model: nil, key: nil)
    for number in provider.modelOrder {
      let model = provider.models[number]
      all += model.learner.learned(model: model.pattern.pattern, key: nil)
    }
    for number in provider.keyOrder {
      let key = provider.keys[number]
      all += key.learner.learned(model: nil, key: key.policy.id)
    }
    return all
  }
}
