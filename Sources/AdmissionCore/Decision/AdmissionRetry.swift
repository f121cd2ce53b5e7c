// Whether waiting can help, and whether a request is tried again after its attempt failed.

extension Admission {
  // MARK: Whether waiting can help

  /// Rule 9: true where no candidate can become usable before the request's deadline.
  func cannotRecoverInTime(_ request: Request, at now: Instant) -> Bool {
    providers.routes[request.route].legs.allSatisfy { leg in
      let latest = min(request.deadline, lastStart(at: leg.provider, of: request))
      guard let from = usableFrom(leg, isFree: request.ticket.isFree, at: now) else {
        return drainEnd != .distantFuture && now > latest
      }
      return from > latest
    }
  }

  /// The earliest instant at which breakers, gates and keys let a call through at this leg; nil where they do now.
  /// - Parameter isFree: true for a free call.
  func usableFrom(_ leg: Route.Leg, isFree: Bool = false, at now: Instant) -> Instant? {
    let index = leg.provider
    if leg.hasNoKey { return .distantFuture }
    var from: Instant?
    if let hope = providers[index].breaker.earliestRecovery(at: now) {
      if providers[index].policy.breaker.whenOpen == .reject { return .distantFuture }
      from = hope
    }
    if let hope = providers[index].gate.earliestRecovery(at: now) { from = max(from ?? hope, hope) }
    if isFree, let hope = providers[index].freeGate.earliestRecovery(at: now) { from = max(from ?? hope, hope) }
    if let model = leg.model {
      if let hope = providers[index].models[model].breaker?.earliestRecovery(at: now) {
        if providers[index].models[model].breaker?.policy.whenOpen == .reject { return .distantFuture }
        from = max(from ?? hope, hope)
      }
      if let hope = providers[index].models[model].gate.earliestRecovery(at: now) { from = max(from ?? hope, hope) }
    }
    if !leg.keys.isEmpty {
      var earliest: Instant? = .distantFuture
      for key in leg.keys {
        let own = leg.model.flatMap { providers[index].models[$0].keyGates[key]?.earliestRecovery(at: now) }
        guard let hope = latest(providers[index].keys[key].health.earliestRecovery(at: now), own) else {
          earliest = nil
          break
        }
        earliest = min(earliest ?? hope, hope)
      }
      if let earliest { from = max(from ?? earliest, earliest) }
    }
    return from
  }

  private func latest(_ left: Instant?, _ right: Instant?) -> Instant? {
    guard let left, let right else { return left ?? right }
    return max(left, right)
  }

  /// Rejects requests that wait for something that cannot come in time.
  /// - Parameter provider: the provider whose health has changed; nil where it may be any.
  mutating func rejectUnservable(
    of provider: ProviderIndex? = nil, at now: Instant, into actions: inout ActionList
  ) {
    guard !waiting.isEmpty else { return }
    // Whole routes first: most have a leg that may be used at any time, so the requests on them need not be looked at.
    var mayWait = Column<Route, Bool>(true)
    var isRefused = Column<Route, Bool>(false)
    var isAnyoneGone = waiting.hasRefused || waiting.hasFree
    for route in provider.map({ providers.routes.leading(to: $0) }) ?? Array(providers.routes.indices) {
      let legs = providers.routes[route].legs
      mayWait[route] = drainEnd == .distantFuture && legs.contains { usableFrom($0, at: now) == nil }
      isRefused[route] = refusedKey(legs, at: now) != nil
      if !mayWait[route] || isRefused[route] { isAnyoneGone = true }
    }
    guard isAnyoneGone else { return }
    let gone = waiting.inOrder.filter { index in
      let request = waiting[index]
      if isRefused[request.route] { return true }
      if !mayWait[request.route] || request.ticket.isFree, cannotRecoverInTime(request, at: now) { return true }
      guard !request.refusedKeys.isEmpty else { return false }
      return refusedKey(providers.routes[request.route].legs, refusing: request.refusedKeys, at: now) != nil
    }
    for id in gone.map({ waiting[$0].ticket.id }) {
      if let index = waiting.index(of: id) { evict(index, outcome: .rejectedNoCapacity, at: now, into: &actions) }
    }
  }

  // MARK: Trying again

  /// A call that was throttled this often, while other calls of its model succeeded and were not throttled, is not
  /// tried again.
  private static let mostRefusals: UInt8 = 3

  /// Puts the request back at the front of its lane if another attempt is allowed and can help. Returns false where the
  /// request is over.
  mutating func requeue(
    _ lease: Lease, _ settlement: Settlement, at now: Instant, into actions: inout ActionList
  ) -> Bool {
    switch settlement.verdict {
    case .success, .clientLeft, .truncated: return false
    // A client error is tried again only where the provider asks for it.
    case .clientError: guard settlement.toldToRetry == true else { return false }
    // The provider's `x-should-retry` is about the same call, and a call with another key or model is a different one.
    case .keyRefused, .quotaExhausted, .modelRefused: break
    case .throttled, .failed, .ownFault: guard settlement.toldToRetry != false else { return false }
    }
    var request = lease.request
    var candidate: Int? = lease.candidate
    if let candidates = request.candidatesAnew {
      candidate = Request.place(of: lease.candidate, request.ticket.candidates, in: candidates)
      request.route(to: candidates)
      request.candidatesAnew = nil
    }
    guard settlement.mayGoAgain, !settlement.answerBegan, !request.isCancelled, now < request.deadline,
      let known = providers.route(of: request.box)
    else { return false }
    request.route = known.route
    let retry = providers[lease.placement.provider].policy.retry
    let legs = providers.routes[request.route].legs
    switch settlement.verdict {
    case .success, .clientLeft, .truncated:
      return false
    case .throttled where lease.isTooLargeWhole:
      guard waitForSize(&request, lease, settlement, legs, candidate, at: now) else { return false }
    case .throttled:
      // Waiting until the gate opens costs no attempt.
      let model =
        lease.isFree ? nil : legs.first { $0.provider == lease.placement.provider }?.model
      // The provider lets other calls in, but not this one: the refusal is about this call.
      let refusals = refusalsAfterOneMore(&request, at: lease.placement.provider, model)
      guard refusals < Self.mostRefusals else { return false }
      // It may be larger than was thought.
      if refusals > 1 { request.isCold = true }
      if Self.standsAlone(request) {
        var told: Span?
        if case .throttled(let retryAfter, _) = settlement.verdict { told = retryAfter }
        let until = now + wait(lease.placement.provider, told, closings: request.tries - 1)
        guard until < request.deadline else { return false }
        request.notBefore = until
      } else if lease.isFree {
        // Behind those that were refused before it.
        request.sequence = waiting.nextSequence()
      } else if let until = heldBackUntil(request.route, at: now) {
        request.isHeldBack = true
        request.notBefore = until
      }
    case .keyRefused, .quotaExhausted, .modelRefused:
      // Only another key or another provider can help. A provider for which we have no keys refused the client's own
      // key: that answer goes to the client, and trying again at once would never end.
      guard lease.placement.key != nil else { return false }
      request.refusedKeys.append(lease.keySerial)
      guard legs.contains(where: { isServiceable($0, request, after: lease.placement.provider, at: now) }) else {
        return false
      }
    case .failed, .ownFault, .clientError:
      request.spentAttempts += 1
      guard request.spentAttempts < retry.attempts else { return false }
      var isProviders = false
      var floor = now
      if case .failed(let retryAfter, let isAway) = settlement.verdict {
        isProviders = true
        if let candidate { request.fail(at: candidate) }
        if let retryAfter { floor = now + Self.bounded(retryAfter) }
        // The provider is unavailable to one key: where each key has its own quota, another key may work.
        if isAway, isAboutOthers(lease), providers[lease.placement.provider].policy.quota == .perKey,
          let leg = legs.first(where: { $0.candidate == candidate }), leg.keys.count > 1
        {
          floor = min(floor, usableFrom(leg, at: now) ?? now)
        }
      }
      let other = legs.contains {
        !request.hasFailed(at: $0.candidate) && usableFrom($0, isFree: lease.isFree, at: now) == nil
      }
      if !other || !isProviders {
        // The same provider again, within its retry budget, after a random wait of at most the backoff.
        guard
          isCounted(settlement, lease.placement.provider)
            || providers[lease.placement.provider].retries.withdraw(at: now)
        else { return false }
      }
      let doublings = Int64(min(request.spentAttempts - 1, 30))
      let ceiling = min(retry.max.nanoseconds, retry.base.nanoseconds.saturatingMultiplied(by: 1 << min(doublings, 20)))
      let backoff = max(floor, now + Span(nanoseconds: random.upTo(max(0, ceiling))))
      if other, isProviders {
        request.backoffUntil = backoff
      } else {
        guard backoff < request.deadline else { return false }
        request.failed = 0
        if backoff > now { request.notBefore = backoff }
      }
    }
    request.deadline = min(request.deadline, lastStart(of: request))
    heedPatience(of: &request, at: now)
    guard now < request.deadline, !cannotRecoverInTime(request, at: now) else { return false }
    request.queuedSince = now
    request.lastNoted = nil
    noteCacheEnd(of: &request, nil, at: now)
    let slot = store(request)
    if request.notBefore == nil { enterLane(slot, isRetry: true, at: now) }
    schedule(slot, at: now, into: &actions)
    actions.append(
      .note(
        .requeued(
          request.ticket.id, notBefore: request.notBefore ?? usableSoonest(legs, at: now) ?? now,
          because: settlement.verdict)))
    // No pass looks at it while it is outside its lane.
    if request.notBefore != nil { note(slot, currentObstacle(of: slot, at: now), into: &actions) }
    return true
  }

  /// A call that was refused for its size goes at once where another provider or key may have room for it, and else when
  /// the time is over that it was told. Returns false where that is too late.
  private mutating func waitForSize(
    _ request: inout Request, _ lease: Lease, _ settlement: Settlement, _ legs: [Route.Leg], _ candidate: Int?,
    at now: Instant
  ) -> Bool {
    var told: Span?
    if case .throttled(let retryAfter, _) = settlement.verdict { told = retryAfter }
    let until = now + wait(lease.placement.provider, told, closings: request.tries - 1)
    let hasOtherKey =
      providers[lease.placement.provider].isPerKey
      && legs.contains { leg in
        leg.provider == lease.placement.provider
          && leg.keys.contains {
            $0 != lease.placement.key && providers[leg.provider].keys[$0].health.earliestRecovery(at: now) == nil
          }
      }
    if hasOtherKey { return true }
    let hasOther = legs.contains {
      $0.candidate != candidate && !request.hasFailed(at: $0.candidate) && usableFrom($0, at: now) == nil
    }
    if hasOther, let candidate {
      request.fail(at: candidate)
      request.backoffUntil = until
      return true
    }
    guard until < request.deadline else { return false }
    request.notBefore = until
    return true
  }

  /// Counts that a provider throttled the request for a model. Returns how many of these refusals were about the call
  /// itself.
  private mutating func refusalsAfterOneMore(_ request: inout Request, at provider: ProviderIndex, _ model: ModelIndex?)
    -> UInt8
  {
    let signs = model.map { providers[provider].models[$0].signs } ?? RefusalSigns()
    if let model { providers[provider].models[model].signs.refused.all &+= 1 }
    // Its own refusal says nothing about other calls.
    var mark = request.refusedAtGrant
    mark.all &+= 1
    if let known = request.refusals.firstIndex(where: { $0.provider == provider && $0.model == model }) {
      if signs.areAboutTheCall(since: request.refusals[known]) { request.refusals[known].count += 1 }
      request.refusals[known].sentBefore = leases.lastSerial
      request.refusals[known].mark = mark
      request.refusals[known].good = signs.good
      return request.refusals[known].count
    }
    mark.first &+= 1
    request.refusals.append(
      CallRefusals(provider: provider, model: model, sentBefore: leases.lastSerial, mark: mark, good: signs.good))
    if let model { providers[provider].models[model].signs.refused.first &+= 1 }
    return 1
  }

  /// When the first of the legs may be used again; nil where one may be used now.
  func usableSoonest(_ legs: [Route.Leg], at now: Instant) -> Instant? {
    var earliest = Instant.distantFuture
    for leg in legs {
      guard let from = usableFrom(leg, at: now) else { return nil }
      earliest = min(earliest, from)
    }
    return earliest
  }

  /// True where no breaker blocks the leg and it needs no key, or has one that is in service and has not refused the
  /// request.
  private func isServiceable(
    _ leg: Route.Leg, _ request: Request, after refuser: ProviderIndex, at now: Instant
  ) -> Bool {
    if leg.hasNoKey || providers[leg.provider].breaker.earliestRecovery(at: now) != nil { return false }
    if let model = leg.model, providers[leg.provider].models[model].breaker?.earliestRecovery(at: now) != nil {
      return false
    }
    // A provider for which we have no keys takes the client's own credential, or none, so the refusal by another
    // provider is not about it.
    if leg.keys.isEmpty { return leg.provider != refuser }
    return leg.keys.contains {
      !providers[leg.provider].keys[$0].health.isOut
        && !request.hasBeenRefused(by: providers[leg.provider].keys[$0].serial)
    }
  }
}
