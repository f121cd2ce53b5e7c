// The snapshot of the whole core. It is made once for each tick of the shell: it goes over providers, keys and tenants, never
// over the waiting requests.

extension Admission {
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
          buckets: buckets(of: provider.capacity, at: now),
          models: provider.modelOrder.compactMap { number in
            let model = provider.models[number]
            guard model.name == nil else { return nil }
            return AdmissionSnapshot.Model(
              pattern: model.pattern.pattern, inFlight: model.capacity.permits.running,
              concurrencyLimit: model.capacity.permits.limit, policyConcurrency: model.limits.concurrency,
              isLearned: model.capacity.permits.isLearned, buckets: buckets(of: model.capacity, at: now),
              breaker: model.breaker?.snapshot(at: now), rest: rest(provider, model, at: now))
          },
          breaker: provider.breaker.snapshot(at: now),
          keys: provider.keyOrder.map { keySnapshot(provider, $0, at: now) },
          queuedByBand: provider.queued, resting: resting(provider, at: now),
          blockedUntil: provider.gate.earliestRecovery(at: now),
          blockedBecause: provider.gate.blockedUntil(at: now).map { _ in provider.gate.reason },
          learned: learned(provider), policyConcurrency: provider.policy.limits.concurrency,
          learnedConcurrency: provider.capacity.permits.isLearned ? provider.capacity.permits.limit : nil,
          reservedPermits: reservedPermits(provider.capacity.permits),
          waitingSince: (0..<3).map { waiting.oldest(at: index, band: $0).map { waiting[$0].queuedSince } })
      },
      tenants: tenants.indices.map { index in
        let tenant = tenants[index]
        return AdmissionSnapshot.Tenant(
          id: tenant.id, inFlight: tenant.capacity.permits.running, queued: tenant.queued,
          concurrencyLimit: tenant.capacity.permits.limit,
          buckets: tenant.capacity.bucketSnapshots(at: now) { _, _ in 0 },
          weight: tenant.weight, isListed: tenant.isListed,
          waitingSince: waiting.oldest(of: index).map { waiting[$0].queuedSince })
      },
      queuedByBand: waiting.countByBand, queuedBytes: waiting.bytes, running: leases.count, openLeases: leases.count,
      queueStorage: waiting.capacity, isDraining: isDraining, budgets: book.readings(others: 100, at: now),
      sessionsAtLimit: waiting.sessions.countAtLimit, classes: (0..<3).map { classQueue($0, at: now) })
  }

  private func classQueue(_ band: Int, at now: Instant) -> AdmissionSnapshot.ClassQueue {
    var oldest: RequestIndex?
    for provider in providers.indices {
      guard let own = waiting.oldest(at: provider, band: band) else { continue }
      if let known = oldest, !waiting.isBefore(own, known) { continue }
      oldest = own
    }
    let priority = Priority(rawValue: UInt8(band)) ?? .low
    return AdmissionSnapshot.ClassQueue(
      priority: priority, queued: waiting.countByBand[band], oldest: oldest.map { waiting[$0].box.ticket.id },
      waitingSince: oldest.map { waiting[$0].queuedSince }, predictedWait: predictedWait(priority, at: now))
  }

  private func buckets(of capacity: Capacity, at now: Instant) -> [AdmissionSnapshot.Bucket] {
    capacity.bucketSnapshots(at: now) { scheduler.keptUnits(for: $0, capacity: $1) }
  }

  /// Nothing is reserved of a learned limit.
  private func reservedPermits(_ permits: ConcurrencyLimiter) -> [Int] {
    (0..<3).map { band in
      guard let limit = permits.limit, !permits.isLearned else { return 0 }
      return scheduler.keptPermits(for: band, limit: limit, running: permits.running(in: band))
    }
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
      models: key.rests.snapshot(at: now) + slowed, concurrencyLimit: key.capacity.permits.limit,
      policyConcurrency: provider.policy.limits(of: key.policy).concurrency,
      isLearned: key.capacity.permits.isLearned, buckets: buckets(of: key.capacity, at: now))
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
