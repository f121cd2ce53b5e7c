// What the end of an attempt says about the provider and the key, what follows for waiting requests, and whether the
// request is tried again.

extension Admission {
  // MARK: Health

  /// The provider has begun to answer. A probe has then served its purpose, however long its stream goes on; whether
  /// the call succeeds is known only when it is over.
  mutating func answerBegan(_ lease: Lease, isOver: Bool, at now: Instant, into actions: inout ActionList) {
    let index = lease.placement.provider
    var isOpened = providers[index].beginAnswer(lease)
    record(isOver ? .success : .answering, lease, reason: "", at: now, into: &actions)
    if let key = lease.placement.key {
      providers[index].keys[key].rests.remove(lease.request.ticket.model)
      if !lease.isFree { providers[index].keys[key].isSlowed = false }
      let wasTroubled =
        providers[index].keys[key].health.failedCheck || providers[index].keys[key].health.reason(at: now) != nil
      // A free call that is let in does not show that a throttle of others is over.
      let saysNothing = lease.isFree && providers[index].keys[key].health.trouble == .throttled
      if !saysNothing, providers[index].keys[key].health.succeed(generation: lease.keyGeneration) { isOpened = true }
      if wasTroubled, !providers[index].keys[key].health.failedCheck,
        providers[index].keys[key].health.reason(at: now) == nil
      {
        noteKey(index, key, at: now, into: &actions)
      }
    }
    guard isOpened else { return }
    providers.change(index)
    reviewHeldBack(at: now, into: &actions)
  }

  private mutating func record(
    _ result: CircuitBreaker.Result, _ lease: Lease, reason: String, at now: Instant, into actions: inout ActionList
  ) {
    let index = lease.placement.provider
    var told = ProviderState.CallResult(kind: result, reason: reason)
    if result == .failure {
      told.jitter = random.upTo(1023)
      told.mark = lease.request.mark
    }
    let changed = providers[index].record(told, lease, at: now)
    guard changed.own || changed.ofModel else { return }
    if changed.ofModel { noteBreaker(index, model: lease.placement.model, at: now, into: &actions) }
    if changed.own { noteBreaker(index, model: nil, at: now, into: &actions) }
    providers.change(index)
    rejectUnservable(of: index, at: now, into: &actions)
  }

  /// Reports the verdict to breakers, gates, the key and the learners.
  mutating func learn(
    from lease: Lease, _ settlement: Settlement, at now: Instant, into actions: inout ActionList
  ) {
    let index = lease.placement.provider
    switch settlement.verdict {
    case .success:
      answerBegan(lease, isOver: true, at: now, into: &actions)
      if lease.isFree { return }
      if providers[index].policy.learnLimits { grow(lease, settlement, at: now, into: &actions) }
      if let usage = settlement.usage, !usage.isEstimated { predict(lease, usage, at: now) }
      return
    case .throttled(let retryAfter, let isAboutConcurrency):
      record(.neutral, lease, reason: "", at: now, into: &actions)
      throttle(lease, retryAfter, isAboutConcurrency: isAboutConcurrency, at: now, into: &actions)
      return
    case .failed(let retryAfter, let isAway):
      record(
        isCounted(settlement, index) ? .neutral : .failure, lease,
        reason: settlement.failure?.text ?? (settlement.hasAnswer ? "error answer" : "no answer"), at: now,
        into: &actions)
      if isAway, let retryAfter { shutWhileAway(lease, retryAfter, at: now, into: &actions) }
    case .truncated:
      record(
        isCounted(settlement, index) ? .neutral : .failure, lease, reason: settlement.failure?.text ?? "stream broke",
        at: now, into: &actions)
    case .keyRefused, .quotaExhausted, .modelRefused:
      record(.neutral, lease, reason: "", at: now, into: &actions)
      refuse(lease, settlement.verdict, at: now, into: &actions)
    case .clientLeft, .clientError, .ownFault:
      record(.neutral, lease, reason: "", at: now, into: &actions)
    }
    // This verdict does not show whether the provider lets calls in again.
    yieldGates(lease, at: now)
  }

  /// True where another attempt has already reported the event that broke this one.
  func isCounted(_ settlement: Settlement, _ provider: ProviderIndex) -> Bool {
    settlement.cause != nil && settlement.cause == providers[provider].lastCause
  }

  /// A probe without a result makes room for another.
  mutating func yieldGates(_ lease: Lease, at now: Instant) {
    providers[lease.placement.provider].yieldGates(lease, at: now)
  }

  // MARK: Learning

  /// A refusal that the provider's numbers do not explain is about concurrency where more calls ran than ever succeeded
  /// together, else about a rate.
  ///
  /// - Parameters:
  ///   - isNewModel: the model has just got its own counts.
  ///   - isTold: the provider named a time, as providers do that count per minute: that teaches nothing about
  ///     concurrency.
  ///   - isAboutConcurrency: the provider's message named concurrency.
  mutating func learnRefusal(
    _ lease: Lease, isNews: Bool, isNewModel: Bool, isTold: Bool, isAboutConcurrency: Bool, at now: Instant,
    into actions: inout ActionList
  ) {
    let index = lease.placement.provider
    let holder = providers.holder(of: lease.placement)
    let numbers = providers.numbersHolder(of: lease.placement)
    let isExplained = lease.numbersRefuse ?? providers[index].learner(of: numbers).tellsNumbers(at: now)
    guard !isExplained else { return }
    let serials = lease.id.serial...leases.lastSerial
    providers[index].change(learnerOf: holder) { $0.taint(serials) }
    // Calls that were refused together were refused for the same reason, whether a time was named or not.
    let belongs = !isNews && providers[index].learner(of: holder).countsRefusals
    let isAboutRate =
      !isAboutConcurrency && !belongs
      && (isTold || providers[index].learner(of: holder).isAboutRate(running: lease.counted))
    if learnBurst(lease, holder, isNews: isNews, isAboutRate: isAboutRate, at: now, into: &actions) { return }
    if isAboutRate {
      guard isNews else { return }
      let waited = providers[index].waits(of: holder).reading(at: now)
      let changed = providers[index].change(learnerOf: holder) {
        $0.refusedForRate(running: lease.counted, waited: waited, at: now)
      }
      guard let pace = providers[index].learner(of: holder).pace.perMinute else { return }
      let level = providers[index].capacity(of: holder).available(.tokens, at: now) ?? 0
      if changed {
        providers.applyLimits(of: index, dayEnd: day.end, at: now)
        actions.append(.note(limitLearned(holder, index, .tokens, perMinute: pace)))
      }
      // The provider's bucket is empty, whatever it counts.
      providers[index].change(capacityOf: holder) { $0.set(.tokens, to: min(level, 0), at: now) }
    } else {
      let running = countedWithThis(at: isNewModel ? numbers : holder, index)
      let limit = providers[index].change(learnerOf: holder) {
        $0.refused(running: running, isFirst: isNews, at: now)
      }
      providers.applyLimits(of: index, dayEnd: day.end, at: now)
      if isNews, let limit {
        let (model, key) = names(of: holder, index)
        actions.append(
          .note(.concurrencyChanged(providers[index].policy.id, model: model, key: key, limit: limit)))
      }
    }
  }

  /// Which of the provider's models and keys a limit holds for; nil: all.
  private func names(of holder: QuotaHolder, _ index: ProviderIndex) -> (model: String?, key: KeyID?) {
    switch holder {
    case .provider: (nil, nil)
    case .key(let key): (nil, providers[index].keys[key].policy.id)
    case .model(let model): (providers[index].models[model].pattern.pattern, nil)
    }
  }

  private func limitLearned(
    _ holder: QuotaHolder, _ index: ProviderIndex, _ dimension: Dimension, perMinute pace: Int64
  ) -> Notice {
    let (model, key) = names(of: holder, index)
    return .limitLearned(providers[index].policy.id, model: model, key: key, dimension, perMinute: pace)
  }

  /// Returns true where a pace in requests explains the refusal.
  private mutating func learnBurst(
    _ lease: Lease, _ holder: QuotaHolder, isNews: Bool, isAboutRate: Bool, at now: Instant,
    into actions: inout ActionList
  ) -> Bool {
    let index = lease.placement.provider
    let began = lease.began
    let waited = providers[index].waits(of: holder).reading(at: now)
    let changed = providers[index].change(learnerOf: holder) {
      $0.bursts.refused(sentAt: began, isFirst: isNews, isAboutRate: isAboutRate, waited: waited, at: now)
    }
    guard let pace = providers[index].learner(of: holder).bursts.perMinute else { return false }
    let level = providers[index].capacity(of: holder).available(.requests, at: now) ?? 0
    if changed {
      providers.applyLimits(of: index, dayEnd: day.end, at: now)
      actions.append(.note(limitLearned(holder, index, .requests, perMinute: pace)))
    }
    providers[index].change(capacityOf: holder) { $0.set(.requests, to: min(level, 0), at: now) }
    return changed || isAboutRate
  }

  /// The number of calls that count against a learned limit, including the one that just ended: with a lag the permit
  /// still counts it.
  private func countedWithThis(at holder: QuotaHolder, _ index: ProviderIndex) -> Int {
    providers.counted(at: holder, of: index) + (providers[index].policy.settleLag > .zero ? 0 : 1)
  }

  private mutating func grow(
    _ lease: Lease, _ settlement: Settlement, at now: Instant, into actions: inout ActionList
  ) {
    let index = lease.placement.provider
    let holder = providers.holder(of: lease.placement)
    let tokens = charged(lease, settlement)[Int(Dimension.tokens.rawValue)]
    let (counted, serial) = (lease.counted, lease.id.serial)
    let learned = providers[index].change(learnerOf: holder) {
      $0.accepted(running: counted, serial: serial, tokens: tokens)
    }
    // What the provider let through disproves any lower limit.
    if let usage = settlement.usage, !usage.isEstimated {
      let passed = providers[index].policy.admissionTokens.counted(usage, wasSent: true)
      var isDisproved = providers[index].change(learnerOf: holder) { $0.passed(passed, at: now) }
      let numbers = providers.numbersHolder(of: lease.placement)
      if numbers != holder, providers[index].change(learnerOf: numbers, { $0.passed(passed, at: now) }) {
        isDisproved = true
      }
      if isDisproved {
        providers.applyLimits(of: index, dayEnd: day.end, at: now)
        providers.change(index)
      }
    }
    growBurst(holder, index, at: now)
    guard learned.isLimited || learned.isPaced else { return }
    var changed = false
    if learned.isLimited {
      let running = countedWithThis(at: holder, index)
      changed = providers[index].change(learnerOf: holder) { $0.succeeded(running: running) }
    }
    if changed { providers.applyLimits(of: index, dayEnd: day.end, at: now) }
    guard learned.isPaced, let level = providers[index].capacity(of: holder).available(.tokens, at: now) else { return }
    let isShort = providers[index].capacity(of: holder).isShort(of: .tokens, at: now)
    if providers[index].change(learnerOf: holder, { $0.pace.succeeded(isShort: isShort, at: now) }) {
      providers.applyLimits(of: index, dayEnd: day.end, at: now)
      // The refill becomes faster; the level stays.
      providers[index].change(capacityOf: holder) { $0.set(.tokens, to: level, at: now) }
    }
  }

  private mutating func growBurst(_ holder: QuotaHolder, _ index: ProviderIndex, at now: Instant) {
    guard providers[index].change(learnerOf: holder, { $0.bursts.perMinute != nil }),
      let level = providers[index].capacity(of: holder).available(.requests, at: now)
    else { return }
    let isShort = providers[index].capacity(of: holder).isShort(of: .requests, at: now)
    guard providers[index].change(learnerOf: holder, { $0.bursts.succeeded(isShort: isShort, at: now) }) else { return }
    providers.applyLimits(of: index, dayEnd: day.end, at: now)
    // The refill becomes faster; the level stays.
    providers[index].change(capacityOf: holder) { $0.set(.requests, to: level, at: now) }
  }

  private mutating func predict(_ lease: Lease, _ usage: Usage, at now: Instant) {
    let index = lease.placement.provider
    let (box, model) = (lease.request.box, lease.request.model)
    providers.taught(model)
    providers[index].predictor.learns(of: model, at: now)
    providers[index].predictor.learn(
      estimated: box.ticket.estimatedInput, counted: usage.inputTokens,
      output: box.ticket.producesOutput ? usage.outputTokens : nil, model: model, band: lease.request.band)
    providers[index].noteCached(usage, lease, at: now)
    guard providers[index].policy.admissionTokens == .produced else { return }
    providers[index].predictor.learnCached(
      usage, expected: lease.placement.estimate.isRest ? lease.placement.input : nil, model: model,
      isBeginning: box.ticket.print.isOfBeginning, began: lease.began, life: providers[index].policy.life(of: box))
  }

  /// Takes over the limits that the provider reports, which are those of the model family where the policy has limits
  /// for it.
  mutating func observe(_ limits: ObservedLimits, _ id: LeaseID, at now: Instant, into actions: inout ActionList) {
    guard let slot = leases.index(of: id) else { return }
    let lease = leases[slot]
    let index = lease.placement.provider
    // Vendors count free calls apart.
    guard providers[index].policy.learnLimits, !lease.isFree else { return }
    let holder = providers.numbersHolder(of: lease.placement)
    if !waiting.isEmpty { providers.change(index) }
    var numbersRefuse = false
    leases[slot].lowered = 0
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
      let isDays = followDay(reading, lease, holder, at: now)
      let changed = providers[index].change(learnerOf: holder) {
        $0.observe(limit: isDays ? nil : reading.limit, of: reading.dimension, model: lease.request.model, at: now)
      }
      if let changed {
        providers.applyLimits(of: index, dayEnd: day.end, at: now)
        actions.append(
          .note(limitLearned(holder, index, reading.dimension, perMinute: changed)))
      }
      guard let remaining = reading.remaining, !isMixed(reading.dimension, holder, index) else {
        continue
      }
      if isDays || reading.day != nil {
        // What is left of a day can only lower a bucket per minute, not fill it.
        providers[index].change(capacityOf: holder) { $0.lower(reading.dimension, to: remaining, at: now) }
      } else {
        let isLowered = providers[index].change(capacityOf: holder) {
          $0.follow(remaining: remaining, of: reading.dimension, at: now)
        }
        if isLowered { leases[slot].lowered |= 1 << UInt8(reading.dimension.rawValue) }
      }
    }
    leases[slot].numbersRefuse = numbersRefuse
    leases[slot].isTooLargeWhole = isTooLargeWhole(lease.placement, by: limits)
  }

  /// True where these limits have room for what was reserved for the call because much of it was expected to be cached, and
  /// none for it as a whole.
  private func isTooLargeWhole(_ placement: Placement, by limits: ObservedLimits) -> Bool {
    // Where cached input counts, the whole was reserved.
    guard placement.estimate.cached > 0, providers[placement.provider].policy.admissionTokens == .produced else {
      return false
    }
    var isTooLarge = false
    for reading in limits.readings {
      guard let remaining = reading.remaining else { return false }
      let reserved = placement.units[Int(reading.dimension.rawValue)]
      if remaining < reserved { return false }
      let isInput = reading.dimension == .inputTokens || reading.dimension == .tokens
      if isInput, remaining < reserved + placement.estimate.cached.value { isTooLarge = true }
    }
    return isTooLarge
  }

  /// Takes over when the vendor's day ends, for those of the call's limits that are daily. Returns true where the
  /// reading is about one of them.
  private mutating func followDay(
    _ reading: ObservedLimits.Reading, _ lease: Lease, _ holder: QuotaHolder, at now: Instant
  ) -> Bool {
    let index = lease.placement.provider
    var isDays = providers[index].change(capacityOf: holder) { $0.followDay(reading, at: now) }
    if let model = lease.placement.model, holder != .model(model),
      providers[index].models[model].capacity.followDay(reading, at: now)
    {
      isDays = true
    }
    if let key = lease.placement.key, holder != .key(key),
      providers[index].keys[key].capacity.followDay(reading, at: now)
    {
      isDays = true
    }
    if holder != .provider, providers[index].capacity.followDay(reading, at: now) { isDays = true }
    return isDays
  }

  private func isMixed(_ dimension: Dimension, _ holder: QuotaHolder, _ index: ProviderIndex) -> Bool {
    switch holder {
    case .provider: providers[index].learner.isMixed(dimension)
    case .key(let key): providers[index].keys[key].learner.isMixed(dimension)
    case .model(let model): providers[index].models[model].learner.isMixed(dimension)
    }
  }
}
