// What an attempt's end says about provider and key, what follows for those that wait, and whether the request goes
// again.

extension Admission {
  // MARK: Health

  /// The provider has begun to answer: a probe has told what it was sent for, however long its stream goes on.
  mutating func answerBegan(_ lease: Lease, at now: Instant, into actions: inout ActionList) {
    let index = Int(lease.placement.provider)
    if providers[index].gate.succeed(generation: lease.gateGeneration) { needsPass = true }
    record(.success, lease, reason: "", at: now, into: &actions)
    guard lease.placement.key >= 0 else { return }
    if providers[index].keys[Int(lease.placement.key)].health.succeed(generation: lease.keyGeneration) {
      noteKey(index, Int(lease.placement.key), into: &actions)
      needsPass = true
    }
  }

  private mutating func record(
    _ result: CircuitBreaker.Result, _ lease: Lease, reason: String, at now: Instant, into actions: inout ActionList
  ) {
    let index = Int(lease.placement.provider)
    let jitter = result == .failure ? random.upTo(1023) : 0
    let changed = providers[index].breaker.record(
      result, generation: lease.breakerGeneration, jitter: jitter, reason: reason, at: now)
    guard changed else { return }
    noteBreaker(index, at: now, into: &actions)
    sweepHopeless(at: now, into: &actions)
    needsPass = true
  }

  /// Takes the verdict to breaker, gate, key and the learners.
  mutating func learn(
    from lease: Lease, _ settlement: Settlement, running: Int, at now: Instant, into actions: inout ActionList
  ) {
    let index = Int(lease.placement.provider)
    let key = Int(lease.placement.key)
    switch settlement.verdict {
    case .success:
      answerBegan(lease, at: now, into: &actions)
      if providers[index].policy.learnLimits { grow(lease, running: running, at: now, into: &actions) }
      if let usage = settlement.usage, !usage.isEstimated { predict(lease, usage) }
      return
    case .throttled(let retryAfter):
      record(.neutral, lease, reason: "", at: now, into: &actions)
      throttle(lease, retryAfter, running: running, at: now, into: &actions)
      return
    case .failed:
      record(.failure, lease, reason: settlement.hasAnswer ? "error answer" : "no answer", at: now, into: &actions)
    case .truncated:
      record(.failure, lease, reason: "stream broke", at: now, into: &actions)
    case .keyRefused:
      record(.neutral, lease, reason: "", at: now, into: &actions)
      if key >= 0, providers[index].keys[key].health.refused(generation: lease.keyGeneration, at: now) {
        noteKey(index, key, into: &actions)
        sweepHopeless(at: now, into: &actions)
      }
    case .quotaExhausted:
      record(.neutral, lease, reason: "", at: now, into: &actions)
      if key >= 0, providers[index].keys[key].health.unpaid(generation: lease.keyGeneration, at: now) {
        noteKey(index, key, into: &actions)
        sweepHopeless(at: now, into: &actions)
      }
    case .clientLeft, .clientError, .ownFault:
      record(.neutral, lease, reason: "", at: now, into: &actions)
    }
    // Whatever it was, it did not tell whether the provider lets calls in again.
    providers[index].gate.yield(generation: lease.gateGeneration, at: now)
    if key >= 0 { providers[index].keys[key].health.yield(generation: lease.keyGeneration, at: now) }
  }

  /// "Slow down": shuts the key, or the provider where all its keys draw on one quota.
  private mutating func throttle(
    _ lease: Lease, _ retryAfter: Span?, running: Int, at now: Instant, into actions: inout ActionList
  ) {
    let index = Int(lease.placement.provider)
    let key = Int(lease.placement.key)
    let isKeys = providers[index].isPerKey && key >= 0
    let closings = isKeys ? providers[index].keys[key].health.gate.closings : providers[index].gate.closings
    // Where the provider gives no time: 1, 2, 4 .. 32 s, jittered down by up to a quarter.
    let own = Int64(1_000_000_000) << Int64(min(closings, 5))
    let wait = retryAfter.map { max($0, .milliseconds(1)) } ?? Span(nanoseconds: own - random.upTo(own / 4))
    let until = now + min(wait, .seconds(3600))
    let isNews: Bool
    if isKeys {
      isNews = providers[index].keys[key].health.throttled(until: until, generation: lease.keyGeneration)
      if isNews { noteKey(index, key, into: &actions) }
      providers[index].gate.yield(generation: lease.gateGeneration, at: now)
    } else {
      isNews = providers[index].gate.close(until: until, generation: lease.gateGeneration)
      if key >= 0 { providers[index].keys[key].health.yield(generation: lease.keyGeneration, at: now) }
    }
    if providers[index].policy.learnLimits {
      let running = isKeys ? providers[index].keys[key].capacity.permits.running + 1 : running
      let learner = isKeys ? providers[index].keys[key].learner : providers[index].learner
      if !learner.tellsNumbers(at: now) {
        let limit: Int?
        if isKeys {
          limit = providers[index].keys[key].learner.refused(running: running, isFirst: isNews)
        } else {
          limit = providers[index].learner.refused(running: running, isFirst: isNews)
        }
        applyLimits(of: index, at: now)
        if isNews, let limit { actions.append(.note(.concurrencyChanged(providers[index].policy.id, limit: limit))) }
      }
    }
    if isNews { sweepHopeless(at: now, into: &actions) }
  }

  // MARK: Learning

  private mutating func grow(_ lease: Lease, running: Int, at now: Instant, into actions: inout ActionList) {
    let index = Int(lease.placement.provider)
    let key = Int(lease.placement.key)
    let changed: Bool
    if providers[index].isPerKey, key >= 0 {
      guard providers[index].keys[key].learner.concurrency != nil else { return }
      changed = providers[index].keys[key].learner.succeeded(
        running: providers[index].keys[key].capacity.permits.running + 1)
    } else {
      guard providers[index].learner.concurrency != nil else { return }
      changed = providers[index].learner.succeeded(running: running)
    }
    if changed { applyLimits(of: index, at: now) }
  }

  private mutating func predict(_ lease: Lease, _ usage: Usage) {
    let index = Int(lease.placement.provider)
    let request = lease.request
    let cached = providers[index].policy.admissionTokens == .produced ? max(0, usage.cacheReadTokens) : 0
    providers[index].predictor.learn(
      estimated: request.ticket.estimatedInput, counted: max(0, usage.inputTokens - cached),
      output: request.ticket.producesOutput ? usage.outputTokens : nil, model: request.model, band: request.band)
  }

  /// The provider's own word on its limits.
  mutating func observe(
    _ limits: ObservedLimits, provider: ProviderID, key: KeyID, at now: Instant, into actions: inout ActionList
  ) {
    guard let number = providerIndex[provider] else { return }
    let index = Int(number)
    guard providers[index].policy.learnLimits else { return }
    let keyIndex = providers[index].isPerKey ? providers[index].keys.firstIndex { $0.policy.id == key } : nil
    if providers[index].isPerKey, keyIndex == nil { return }
    for reading in limits.readings where QuotaLearner.isSensible(reading) {
      let changed: Int64?
      if let keyIndex {
        changed = providers[index].keys[keyIndex].learner.observe(
          limit: reading.limit, of: reading.dimension, at: now)
      } else {
        changed = providers[index].learner.observe(limit: reading.limit, of: reading.dimension, at: now)
      }
      if let changed {
        applyLimits(of: index, at: now)
        needsPass = true
        actions.append(.note(.limitLearned(provider, reading.dimension, perMinute: changed)))
      }
      guard let remaining = reading.remaining else { continue }
      let before = keyIndex.map { providers[index].keys[$0].capacity } ?? providers[index].capacity
      var after = before
      after.follow(
        remaining: remaining, of: reading.dimension,
        chargesAtStart: providers[index].policy.admissionTokens == .maxTokens, at: now)
      if let keyIndex { providers[index].keys[keyIndex].capacity = after } else { providers[index].capacity = after }
      needsPass = true
    }
  }

  // MARK: Hope

  /// True where no candidate can become usable before the request's deadline.
  func isHopeless(_ request: Request, at now: Instant) -> Bool {
    routes.routes[Int(request.route)].legs.allSatisfy { leg in
      usableFrom(leg, at: now).map { $0 > request.deadline } ?? false
    }
  }

  /// The earliest instant at which health lets a call to this leg; nil where it may be any time.
  func usableFrom(_ leg: Route.Leg, at now: Instant) -> Instant? {
    let index = Int(leg.provider)
    if leg.hasNoKey { return .distantFuture }
    var from: Instant?
    if let hope = providers[index].breaker.hopeBegins(at: now) {
      if providers[index].policy.breaker.whenOpen == .reject { return .distantFuture }
      from = hope
    }
    if let hope = providers[index].gate.hopeBegins(at: now) { from = max(from ?? hope, hope) }
    if !leg.keys.isEmpty {
      var earliest: Instant? = .distantFuture
      for key in leg.keys {
        guard let hope = providers[index].keys[Int(key)].health.hopeBegins(at: now) else {
          earliest = nil
          break
        }
        earliest = min(earliest ?? hope, hope)
      }
      if let earliest { from = max(from ?? earliest, earliest) }
    }
    return from
  }

  /// Rejects those that wait for what cannot come in time.
  mutating func sweepHopeless(at now: Instant, into actions: inout ActionList) {
    guard waitingCount > 0 else { return }
    // Whole routes first: most have a leg that may be used any time.
    let mayWait = routes.routes.map { $0.legs.contains { usableFrom($0, at: now) == nil } }
    let gone = waiting.compactMap { request -> RequestID? in
      guard let request, !mayWait[Int(request.route)], isHopeless(request, at: now) else { return nil }
      return request.ticket.id
    }
    for id in gone {
      if let slot = locations[id], slot >= 0 { evict(slot, outcome: .rejectedNoCapacity, at: now, into: &actions) }
    }
  }

  // MARK: Again

  /// Puts the request back to the front of its lane if another attempt is allowed and can help. Returns false where it
  /// is over.
  mutating func requeue(
    _ lease: Lease, _ settlement: Settlement, at now: Instant, into actions: inout ActionList
  ) -> Bool {
    switch settlement.verdict {
    case .success, .clientLeft, .clientError, .truncated: return false
    case .throttled, .failed, .keyRefused, .quotaExhausted, .ownFault: break
    }
    var request = lease.request
    guard !settlement.answerBegan, !request.isCancelled, now < request.deadline,
      let known = route(of: request.ticket)
    else { return false }
    if known.route != request.route {
      request.route = known.route
      request.failedLegs = 0
    }
    let retry = providers[Int(lease.placement.provider)].policy.retry
    let legs = routes.routes[Int(request.route)].legs
    switch settlement.verdict {
    case .success, .clientLeft, .clientError, .truncated:
      return false
    case .throttled:
      // Costs no attempt: it waits out the closure.
      break
    case .keyRefused, .quotaExhausted:
      // Only another key or another provider can help. A provider without keys of ours refused the client's own: that answer
      // is the client's, and asking again at once would never end.
      guard lease.placement.key >= 0, legs.contains(where: { isServiceable($0, at: now) }) else { return false }
    case .failed, .ownFault:
      request.spentAttempts += 1
      guard request.spentAttempts < retry.attempts else { return false }
      if settlement.verdict == .failed { request.failedLegs |= 1 << UInt64(min(lease.leg, 63)) }
      let other = legs.indices.contains {
        request.failedLegs & (1 << UInt64(min($0, 63))) == 0 && usableFrom(legs[$0], at: now) == nil
      }
      if !other || settlement.verdict == .ownFault {
        // The same provider again: within its budget, after a wait of anything up to the backoff.
        guard providers[Int(lease.placement.provider)].retries.withdraw(at: now) else { return false }
      }
      let doublings = Int64(min(request.spentAttempts - 1, 30))
      let ceiling = min(retry.max.nanoseconds, retry.base.nanoseconds << min(doublings, 20))
      let backoff = now + Span(nanoseconds: random.upTo(max(0, ceiling)))
      if other, settlement.verdict == .failed {
        request.backoffUntil = backoff
      } else {
        guard backoff < request.deadline else { return false }
        request.failedLegs = 0
        if backoff > now { request.notBefore = backoff }
      }
    }
    guard !isHopeless(request, at: now) else { return false }
    request.queuedSince = now
    request.lastNoted = nil
    let slot = store(request)
    if request.notBefore == nil { enterLane(slot, isRetry: true) }
    schedule(slot, at: now)
    needsPass = true
    actions.append(
      .note(
        .requeued(
          request.ticket.id, notBefore: request.notBefore ?? usableSoonest(legs, at: now) ?? now,
          because: settlement.verdict)))
    return true
  }

  /// When the first of the legs may be used again; nil where one may be used any time.
  func usableSoonest(_ legs: [Route.Leg], at now: Instant) -> Instant? {
    var earliest = Instant.distantFuture
    for leg in legs {
      guard let from = usableFrom(leg, at: now) else { return nil }
      earliest = min(earliest, from)
    }
    return earliest
  }

  /// True where the leg has a key (or needs none) that is not out of service for longer.
  private func isServiceable(_ leg: Route.Leg, at now: Instant) -> Bool {
    if leg.hasNoKey || providers[Int(leg.provider)].breaker.hopeBegins(at: now) != nil { return false }
    // Without keys it is the client's own credential that was refused, and another try with it is the same.
    return leg.keys.contains { !providers[Int(leg.provider)].keys[Int($0)].health.isOut }
  }

  // MARK: Operator

  mutating func obey(_ command: OperatorCommand, at now: Instant, into actions: inout ActionList) {
    switch command {
    case .disableKey(let provider, let key):
      change(provider, key, into: &actions) { $0.disable() }
    case .enableKey(let provider, let key):
      change(provider, key, into: &actions) { $0.enable() }
    case .openBreaker(let provider): change(provider, .open, at: now, into: &actions)
    case .closeBreaker(let provider): change(provider, .closed, at: now, into: &actions)
    case .automateBreaker(let provider): change(provider, .none, at: now, into: &actions)
    }
    sweepHopeless(at: now, into: &actions)
    needsPass = true
  }

  private mutating func change(
    _ provider: ProviderID, _ key: KeyID, into actions: inout ActionList, _ body: (inout KeyHealth) -> Void
  ) {
    guard let number = providerIndex[provider],
      let index = providers[Int(number)].keys.firstIndex(where: { $0.policy.id == key && !$0.isRetired })
    else { return }
    body(&providers[Int(number)].keys[index].health)
    noteKey(Int(number), index, into: &actions)
  }

  private mutating func change(
    _ provider: ProviderID, _ override: CircuitBreaker.Override, at now: Instant, into actions: inout ActionList
  ) {
    guard let number = providerIndex[provider] else { return }
    providers[Int(number)].breaker.command(override)
    noteBreaker(Int(number), at: now, into: &actions)
  }

  private func noteBreaker(_ index: Int, at now: Instant, into actions: inout ActionList) {
    let breaker = providers[index].breaker
    actions.append(
      .note(
        .breakerChanged(
          providers[index].policy.id, state: breaker.name(at: now), reason: breaker.reason ?? "recovered")))
  }

  private func noteKey(_ index: Int, _ key: Int, into actions: inout ActionList) {
    let state = providers[index].keys[key]
    actions.append(
      .note(
        .keyChanged(providers[index].policy.id, state.policy.id, state: state.health.name, reason: state.health.reason))
    )
  }
}
