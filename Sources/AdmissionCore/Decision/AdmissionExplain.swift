// Why a request waits: notes while it happens, and an answer to whoever asks; and the picture of the whole.

extension Admission {
  private static let mostNotes: UInt8 = 16

  /// Says why the request waits, if that is news.
  mutating func note(_ slot: Int32, _ obstacle: Obstacle, into actions: inout ActionList) {
    guard let request = waiting[Int(slot)], request.lastNoted != obstacle, request.notes < Self.mostNotes else {
      return
    }
    waiting[Int(slot)]?.lastNoted = obstacle
    waiting[Int(slot)]?.notes += 1
    actions.append(.note(.waiting(request.ticket.id, blocker(for: obstacle, request))))
  }

  /// Why a queued request waits right now; nil where it is not queued.
  public func blocker(of request: RequestID, at now: Instant) -> Blocker? {
    guard let slot = locations[request], slot >= 0, let waiting = waiting[Int(slot)] else { return nil }
    return blocker(for: currentObstacle(of: slot, at: now), waiting)
  }

  /// The obstacle as things stand after the last pass.
  func currentObstacle(of slot: Int32, at now: Instant) -> Obstacle {
    if let account = waiting[Int(slot)]?.waitsFor, account >= 0 { return Obstacle(kind: .budget, account: account) }
    if let request = waiting[Int(slot)], request.isHeldBack {
      for leg in routes.routes[Int(request.route)].legs {
        if case .blocked(let obstacle, _) = place(request, leg, ignoringHeadroom: false, claims: .max, at: now) {
          return obstacle
        }
      }
    }
    guard let request = waiting[Int(slot)], request.notBefore == nil, let lane = lanes.lane(of: slot) else {
      return Obstacle(kind: .backoff)
    }
    if let parking = tenants[Int(request.tenant)].parking { return parking.obstacle }
    guard lanes.head(of: lane) == slot else { return Obstacle(kind: .behindInLane) }
    var first: Obstacle?
    for leg in routes.routes[Int(request.route)].legs {
      if isBackingOff(request, leg, at: now) {
        first = first ?? Obstacle(kind: .backoff)
        continue
      }
      if case .unaffordable(let account, _) = place(request, leg, ignoringHeadroom: false, claims: .max, at: now) {
        first = first ?? Obstacle(kind: .budget, account: account)
        continue
      }
      // What is really missing comes before what somebody else has claimed.
      if case .blocked(let missing, _) = place(request, leg, ignoringHeadroom: false, claims: .max, at: now) {
        first = first ?? missing
      } else if case .blocked(let claim, _) = place(request, leg, ignoringHeadroom: false, claims: pass, at: now) {
        first = first ?? claim
      } else {
        return Obstacle(kind: .notItsTurn)
      }
    }
    return first ?? Obstacle(kind: .notItsTurn)
  }

  func blocker(for obstacle: Obstacle, _ request: Request) -> Blocker {
    let provider = obstacle.provider >= 0 ? providers[Int(obstacle.provider)].policy.id : ProviderID("")
    let model =
      obstacle.provider >= 0 && obstacle.model >= 0
      ? providers[Int(obstacle.provider)].models[Int(obstacle.model)].pattern.pattern : ""
    switch obstacle.kind {
    case .behindInLane: return .behindInLane
    case .notItsTurn: return .notItsTurn
    case .permits: return .providerConcurrency(provider)
    case .headroom: return .headroom(provider)
    case .bucket: return .providerBucket(provider, obstacle.dimension)
    case .modelPermits: return .modelConcurrency(provider, model: model)
    case .modelBucket: return .modelBucket(provider, model: model, obstacle.dimension)
    case .tenantPermits: return .tenantConcurrency(request.ticket.tenant)
    case .tenantBucket: return .tenantBucket(request.ticket.tenant, obstacle.dimension)
    case .claimed:
      let claimant = providers[Int(obstacle.provider)].claimant
      guard let claimant, claimant != request.ticket.id else { return .notItsTurn }
      return .claimed(provider, by: claimant)
    case .breaker: return .breakerOpen(provider)
    case .keys: return .noUsableKey(provider)
    case .closed, .draining: return .providerClosed(provider)
    case .modelBreaker: return .modelBreakerOpen(provider, model: model)
    case .modelClosed: return .modelClosed(provider, model: model)
    case .backoff: return .backoff
    case .budget: return .budget(book.id(obstacle.account))
    }
  }

  public func snapshot(at now: Instant) -> AdmissionSnapshot {
    AdmissionSnapshot(
      providers: providers.filter { !$0.isRetired }.map { provider in
        AdmissionSnapshot.Provider(
          id: provider.policy.id, inFlight: provider.capacity.permits.running,
          concurrencyLimit: provider.capacity.permits.limit,
          inFlightByBand: (0..<3).map { provider.capacity.permits.running(in: $0) },
          buckets: provider.capacity.bucketSnapshots(at: now),
          models: provider.modelOrder.compactMap { number in
            let model = provider.models[Int(number)]
            guard model.name == nil else { return nil }
            return AdmissionSnapshot.Model(
              pattern: model.pattern.pattern, inFlight: model.capacity.permits.running,
              concurrencyLimit: model.capacity.permits.limit, buckets: model.capacity.bucketSnapshots(at: now),
              breaker: model.breaker?.snapshot(at: now), rest: rest(provider, model, at: now))
          },
          breaker: provider.breaker.snapshot(at: now),
          keys: provider.keyOrder.map { keySnapshot(provider, $0, at: now) },
          queuedByBand: provider.queued, resting: resting(provider, at: now),
          closedUntil: provider.gate.hopeBegins(at: now),
          closedBecause: provider.gate.closedUntil(at: now).map { _ in provider.gate.reason.rawValue },
          learned: learned(provider))
      },
      tenants: tenants.filter(\.inUse).map { tenant in
        AdmissionSnapshot.Tenant(
          id: tenant.id, inFlight: tenant.capacity.permits.running, queued: tenant.queued,
          concurrencyLimit: tenant.capacity.permits.limit, buckets: tenant.capacity.bucketSnapshots(at: now),
          weight: tenant.weight, isListed: tenant.isListed)
      },
      queuedByBand: waitingByBand, queuedBytes: waitingBytes, running: leaseCount, openLeases: leaseCount,
      queueStorage: waiting.count, isDraining: isDraining, budgets: book.readings(others: 100, at: now))
  }

  private func keySnapshot(_ provider: ProviderState, _ number: Int32, at now: Instant) -> AdmissionSnapshot.Key {
    let key = provider.keys[Int(number)]
    let slowed = provider.modelOrder.compactMap { order -> AdmissionSnapshot.ModelRest? in
      let model = provider.models[Int(order)]
      guard let gate = model.keyGates[number], gate.closedUntil(at: now) != nil else { return nil }
      return AdmissionSnapshot.ModelRest(
        model: model.name ?? model.pattern.pattern, until: gate.hopeBegins(at: now), reason: gate.reason.rawValue)
    }
    var (state, until, reason) = (key.health.name(at: now), key.health.until(at: now), key.health.reason(at: now))
    // Nothing else is known of it: as far as anybody can tell, it rests.
    if state == "usable", key.isSlowed, let last = slowed.last {
      (state, until, reason) = ("cooling", slowed.compactMap(\.until).max(), last.reason)
    }
    if !key.policy.isInForce { (state, reason) = ("disabled", "not valid now") }
    return AdmissionSnapshot.Key(
      id: key.policy.id, state: state, until: until, inFlight: key.capacity.permits.running, reason: reason,
      models: key.rests.snapshot(at: now) + slowed)
  }

  /// Models without an entry of the policy that are shut.
  private func resting(_ provider: ProviderState, at now: Instant) -> [AdmissionSnapshot.ModelRest] {
    provider.modelOrder.compactMap { number in
      let model = provider.models[Int(number)]
      return model.name == nil ? nil : rest(provider, model, at: now)
    }
  }

  /// nil where calls for the model are sent: it is shut at the provider, or at each of its keys.
  private func rest(
    _ provider: ProviderState, _ model: ModelState, at now: Instant
  ) -> AdmissionSnapshot.ModelRest? {
    func rest(_ gate: ProbeGate) -> AdmissionSnapshot.ModelRest {
      AdmissionSnapshot.ModelRest(
        model: model.name ?? model.pattern.pattern, until: gate.hopeBegins(at: now), reason: gate.reason.rawValue)
    }
    if model.gate.closedUntil(at: now) != nil { return rest(model.gate) }
    let shut = provider.keyOrder.compactMap { model.keyGates[$0] }.filter { $0.closedUntil(at: now) != nil }
    guard !shut.isEmpty, shut.count == provider.keyOrder.count else { return nil }
    // The first that may be tried again.
    return shut.map(rest).min { ($0.until ?? now) < ($1.until ?? now) }
  }

  private func learned(_ provider: ProviderState) -> [AdmissionSnapshot.Learned] {
    var all = provider.learner.learned(model: nil, key: nil)
    for number in provider.modelOrder {
      let model = provider.models[Int(number)]
      all += model.learner.learned(model: model.pattern.pattern, key: nil)
    }
    for number in provider.keyOrder {
      let key = provider.keys[Int(number)]
      all += key.learner.learned(model: nil, key: key.policy.id)
    }
    return all
  }
}
