// What an attempt's end says about provider and key, what follows for those that wait, and whether the request goes
// again.

extension Admission {
  // MARK: Health

  /// The provider has begun to answer: a probe has told what it was sent for, however long its stream goes on.
  mutating func answerBegan(_ lease: Lease, at now: Instant, into actions: inout ActionList) {
    let index = Int(lease.placement.provider)
    let model = Int(lease.placement.model)
    if providers[index].gate.succeed(generation: lease.gateGeneration) { needsPass = true }
    if model >= 0, providers[index].models[model].gate.succeed(generation: lease.modelGateGeneration) {
      needsPass = true
    }
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
    let model = Int(lease.placement.model)
    let jitter = result == .failure ? random.upTo(1023) : 0
    var result = result
    var changed = false
    if model >= 0,
      let isChange = providers[index].models[model].breaker?.record(
        result, generation: lease.modelBreakerGeneration, jitter: jitter, reason: reason, at: now)
    {
      if isChange {
        noteBreaker(index, model: model, at: now, into: &actions)
        changed = true
      }
      // To the provider's own breaker these calls say nothing, unless they are its probes and go well.
      if result == .failure || providers[index].breaker.state != .halfOpen { result = .neutral }
    }
    if providers[index].breaker.record(
      result, generation: lease.breakerGeneration, jitter: jitter, reason: reason, at: now)
    {
      noteBreaker(index, model: nil, at: now, into: &actions)
      changed = true
    }
    guard changed else { return }
    sweepHopeless(at: now, into: &actions)
    needsPass = true
  }

  /// Takes the verdict to breakers, gates, key and the learners.
  mutating func learn(
    from lease: Lease, _ settlement: Settlement, at now: Instant, into actions: inout ActionList
  ) {
    let index = Int(lease.placement.provider)
    let key = Int(lease.placement.key)
    switch settlement.verdict {
    case .success:
      answerBegan(lease, at: now, into: &actions)
      if providers[index].policy.learnLimits { grow(lease, settlement, at: now, into: &actions) }
      if let usage = settlement.usage, !usage.isEstimated { predict(lease, usage) }
      return
    case .throttled(let retryAfter):
      record(.neutral, lease, reason: "", at: now, into: &actions)
      throttle(lease, retryAfter, at: now, into: &actions)
      return
    case .failed(let retryAfter, let closesProvider):
      record(.failure, lease, reason: settlement.hasAnswer ? "error answer" : "no answer", at: now, into: &actions)
      if closesProvider, let retryAfter {
        let until = now + Self.bounded(retryAfter)
        if providers[index].gate.close(until: until, generation: lease.gateGeneration) {
          sweepHopeless(at: now, into: &actions)
        }
      }
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
    yieldGates(lease, at: now)
  }

  /// A probe that told nothing makes room for another.
  private mutating func yieldGates(_ lease: Lease, at now: Instant) {
    let index = Int(lease.placement.provider)
    providers[index].gate.yield(generation: lease.gateGeneration, at: now)
    if lease.placement.model >= 0 {
      providers[index].models[Int(lease.placement.model)].gate.yield(generation: lease.modelGateGeneration, at: now)
    }
    if lease.placement.key >= 0 {
      providers[index].keys[Int(lease.placement.key)].health.yield(generation: lease.keyGeneration, at: now)
    }
  }

  /// A provider's wait as far as it is believed: at least a millisecond, an hour at most.
  private static func bounded(_ wait: Span) -> Span { min(max(wait, .milliseconds(1)), .seconds(3600)) }

  /// "Slow down": shuts what the quota is counted for: the key, the model family, or the provider.
  private mutating func throttle(
    _ lease: Lease, _ retryAfter: Span?, at now: Instant, into actions: inout ActionList
  ) {
    let index = Int(lease.placement.provider)
    let holder = holder(of: lease.placement)
    let closings: Int
    switch holder {
    case .provider: closings = providers[index].gate.closings
    case .key(let key): closings = providers[index].keys[key].health.gate.closings
    case .model(let model): closings = providers[index].models[model].gate.closings
    }
    // Where the provider gives no time: 1, 2, 4 .. 32 s, jittered down by up to a quarter.
    let own = Int64(1_000_000_000) << Int64(min(closings, 5))
    let until = now + Self.bounded(retryAfter ?? Span(nanoseconds: own - random.upTo(own / 4)))
    let isNews: Bool
    switch holder {
    case .provider:
      isNews = providers[index].gate.close(until: until, generation: lease.gateGeneration)
    case .key(let key):
      isNews = providers[index].keys[key].health.throttled(until: until, generation: lease.keyGeneration)
      if isNews { noteKey(index, key, into: &actions) }
    case .model(let model):
      isNews = providers[index].models[model].gate.close(until: until, generation: lease.modelGateGeneration)
    }
    yieldGates(lease, at: now)
    providers[index][capacityOf: holder].ramp.refused(at: now)
    if providers[index].policy.learnLimits {
      learnRefusal(lease, holder, isNews: isNews, at: now, into: &actions)
    }
    if isNews { sweepHopeless(at: now, into: &actions) }
  }

  // MARK: Learning

  /// A refusal that the provider's numbers do not explain is about calls at a time where more ran than ever went well,
  /// else about a rate.
  private mutating func learnRefusal(
    _ lease: Lease, _ holder: QuotaHolder, isNews: Bool, at now: Instant, into actions: inout ActionList
  ) {
    let index = Int(lease.placement.provider)
    let isExplained = lease.numbersRefuse ?? providers[index][learnerOf: holder].tellsNumbers(at: now)
    guard !isExplained else { return }
    providers[index][learnerOf: holder].taint(lease.id.serial...leaseSerial)
    if providers[index][learnerOf: holder].isAboutRate(running: lease.counted) {
      guard isNews else { return }
      let changed = providers[index][learnerOf: holder].refusedForRate(running: lease.counted, at: now)
      guard let pace = providers[index][learnerOf: holder].pace.perMinute else { return }
      let level = providers[index][capacityOf: holder].available(.tokens, at: now) ?? 0
      if changed {
        applyLimits(of: index, at: now)
        actions.append(.note(.limitLearned(providers[index].policy.id, .tokens, perMinute: pace)))
      }
      // Whatever the provider keeps is empty.
      providers[index][capacityOf: holder].set(.tokens, to: min(level, 0), at: now)
    } else {
      let running = countedWithThis(at: holder, index)
      let limit = providers[index][learnerOf: holder].refused(running: running, isFirst: isNews)
      applyLimits(of: index, at: now)
      if isNews, let limit { actions.append(.note(.concurrencyChanged(providers[index].policy.id, limit: limit))) }
    }
  }

  /// What counts against a learned limit, the call that is just over included: with a lag it still counts by itself.
  private func countedWithThis(at holder: QuotaHolder, _ index: Int) -> Int {
    counted(at: holder, index) + (providers[index].policy.settleLag > .zero ? 0 : 1)
  }

  private mutating func grow(
    _ lease: Lease, _ settlement: Settlement, at now: Instant, into actions: inout ActionList
  ) {
    let index = Int(lease.placement.provider)
    let holder = holder(of: lease.placement)
    let tokens = charged(lease, settlement)[Int(Dimension.tokens.rawValue)]
    let learned = providers[index][learnerOf: holder].accepted(
      running: lease.counted, serial: lease.id.serial, tokens: tokens)
    guard learned.isLimited || learned.isPaced else { return }
    var changed = false
    if learned.isLimited {
      let running = countedWithThis(at: holder, index)
      changed = providers[index][learnerOf: holder].succeeded(running: running)
    }
    if changed { applyLimits(of: index, at: now) }
    guard learned.isPaced, let level = providers[index][capacityOf: holder].available(.tokens, at: now) else { return }
    let isShort = providers[index][capacityOf: holder].isShort(of: .tokens, at: now)
    if providers[index][learnerOf: holder].pace.succeeded(isShort: isShort, at: now) {
      applyLimits(of: index, at: now)
      // A quicker refill, not a gift.
      providers[index][capacityOf: holder].set(.tokens, to: level, at: now)
    }
  }

  private mutating func predict(_ lease: Lease, _ usage: Usage) {
    let index = Int(lease.placement.provider)
    let request = lease.request
    routes.taught(request.model)
    let cached = providers[index].policy.admissionTokens == .produced ? usage.cacheReadTokens : 0
    providers[index].predictor.learn(
      estimated: request.ticket.estimatedInput, counted: usage.inputTokens - cached,
      output: request.ticket.producesOutput ? usage.outputTokens : nil, model: request.model, band: request.band)
  }

  /// The provider's own word on its limits, which are the model family's where the policy has limits for it.
  mutating func observe(_ limits: ObservedLimits, _ id: LeaseID, at now: Instant, into actions: inout ActionList) {
    guard let slot = lease(id), let lease = leases[slot] else { return }
    let index = Int(lease.placement.provider)
    guard providers[index].policy.learnLimits else { return }
    let holder = holder(of: lease.placement)
    var numbersRefuse = false
    for reading in limits.readings {
      guard QuotaLearner.isSensible(reading) else {
        actions.append(.note(.impossibleNumber(providers[index].policy.id, .limits)))
        continue
      }
      if let remaining = reading.remaining {
        let wanted = max(lease.placement.units[Int(reading.dimension.rawValue)], (reading.limit ?? 0) / 20)
        if remaining <= wanted { numbersRefuse = true }
      } else {
        numbersRefuse = true
      }
      let changed = providers[index][learnerOf: holder].observe(
        limit: reading.limit, of: reading.dimension, model: lease.request.model, at: now)
      if let changed {
        applyLimits(of: index, at: now)
        needsPass = true
        actions.append(
          .note(.limitLearned(providers[index].policy.id, reading.dimension, perMinute: changed)))
      }
      guard let remaining = reading.remaining, !isMixed(reading.dimension, holder, index) else {
        continue
      }
      providers[index][capacityOf: holder].follow(remaining: remaining, of: reading.dimension, at: now)
      needsPass = true
    }
    leases[slot]?.numbersRefuse = numbersRefuse
  }

  private func isMixed(_ dimension: Dimension, _ holder: QuotaHolder, _ index: Int) -> Bool {
    switch holder {
    case .provider: providers[index].learner.isMixed(dimension)
    case .key(let key): providers[index].keys[key].learner.isMixed(dimension)
    case .model(let model): providers[index].models[model].learner.isMixed(dimension)
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
    if leg.model >= 0 {
      let model = Int(leg.model)
      if let hope = providers[index].models[model].breaker?.hopeBegins(at: now) {
        if providers[index].models[model].breaker?.policy.whenOpen == .reject { return .distantFuture }
        from = max(from ?? hope, hope)
      }
      if let hope = providers[index].models[model].gate.hopeBegins(at: now) { from = max(from ?? hope, hope) }
    }
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
    guard settlement.mayGoAgain, !settlement.answerBegan, !request.isCancelled, now < request.deadline,
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
      guard lease.placement.key >= 0,
        legs.contains(where: { isServiceable($0, after: lease.placement.provider, at: now) })
      else { return false }
    case .failed, .ownFault:
      request.spentAttempts += 1
      guard request.spentAttempts < retry.attempts else { return false }
      var isProviders = false
      var floor = now
      if case .failed(let retryAfter, _) = settlement.verdict {
        isProviders = true
        if lease.leg >= 0 { request.failedLegs |= 1 << UInt64(min(lease.leg, 63)) }
        if let retryAfter { floor = now + Self.bounded(retryAfter) }
      }
      let other = legs.indices.contains {
        request.failedLegs & (1 << UInt64(min($0, 63))) == 0 && usableFrom(legs[$0], at: now) == nil
      }
      if !other || !isProviders {
        // The same provider again: within its budget, after a wait of anything up to the backoff.
        guard providers[Int(lease.placement.provider)].retries.withdraw(at: now) else { return false }
      }
      let doublings = Int64(min(request.spentAttempts - 1, 30))
      let ceiling = min(retry.max.nanoseconds, retry.base.nanoseconds.saturatingMultiplied(by: 1 << min(doublings, 20)))
      let backoff = max(floor, now + Span(nanoseconds: random.upTo(max(0, ceiling))))
      if other, isProviders {
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
    schedule(slot, at: now, into: &actions)
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
  private func isServiceable(_ leg: Route.Leg, after refuser: Int32, at now: Instant) -> Bool {
    if leg.hasNoKey || providers[Int(leg.provider)].breaker.hopeBegins(at: now) != nil { return false }
    if leg.model >= 0,
      providers[Int(leg.provider)].models[Int(leg.model)].breaker?.hopeBegins(at: now) != nil
    {
      return false
    }
    // A provider without keys of ours takes the client's own credential, or none: what the refuser said is not about it.
    if leg.keys.isEmpty { return leg.provider != refuser }
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
    providers[Int(number)].keys[index].capacity.ramp.begin(at: clock)
    noteKey(Int(number), index, into: &actions)
  }

  private mutating func change(
    _ provider: ProviderID, _ override: CircuitBreaker.Override, at now: Instant, into actions: inout ActionList
  ) {
    guard let number = providerIndex[provider] else { return }
    providers[Int(number)].breaker.command(override)
    // The operator speaks of the provider, its models' breakers included.
    for model in providers[Int(number)].models.indices {
      providers[Int(number)].models[model].breaker?.command(override)
    }
    noteBreaker(Int(number), model: nil, at: now, into: &actions)
  }

  private func noteBreaker(_ index: Int, model: Int?, at now: Instant, into actions: inout ActionList) {
    let own = model.flatMap { providers[index].models[$0].breaker }
    let breaker = own ?? providers[index].breaker
    actions.append(
      .note(
        .breakerChanged(
          providers[index].policy.id, model: model.map { providers[index].models[$0].pattern.pattern },
          state: breaker.name(at: now), reason: breaker.reason ?? "recovered")))
  }

  private func noteKey(_ index: Int, _ key: Int, into actions: inout ActionList) {
    let state = providers[index].keys[key]
    actions.append(
      .note(
        .keyChanged(providers[index].policy.id, state.policy.id, state: state.health.name, reason: state.health.reason))
    )
  }
}
