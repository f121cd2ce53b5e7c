// The end of an attempt: reservations are replaced by what was really charged, and the request is concluded.

extension Admission {
  mutating func trueUp(_ id: LeaseID, _ progress: Progress, at now: Instant, into actions: inout ActionList) {
    guard let slot = leases.index(of: id) else { return }
    let lease = leases[slot]
    if !lease.isAnswering {
      leases[slot].isAnswering = true
      answerBegan(lease, isOver: false, at: now, into: &actions)
    }
    let placement = lease.placement
    let input = max(placement.input, progress.inputTokens ?? 0)
    let produced = Units(0, input: input, output: progress.outputTokens)
    let index = placement.provider
    // A call that was charged in full at the start does not grow while it streams.
    let chargedInFull = chargesInFull(lease)
    let floor = chargedInFull ? Units(0, input.value, 0, 0) : produced
    leases[slot].takenFromProvider = providers[index].capacity.trueUp(
      taken: lease.takenFromProvider, floor: floor, at: now)
    if let model = placement.model {
      leases[slot].takenFromModel = providers[index].models[model].capacity.trueUp(
        taken: lease.takenFromModel, floor: floor, at: now)
    }
    if let key = placement.key {
      leases[slot].takenFromKey = providers[index].keys[key].capacity.trueUp(
        taken: lease.takenFromKey, floor: floor, at: now)
    }
    let tenant = lease.request.tenant
    leases[slot].takenFromTenant = tenants[tenant].capacity.trueUp(
      taken: lease.takenFromTenant, floor: produced, at: now)
    // Progress takes no permits, so it concerns only a tenant that has buckets.
    if !waiting.isEmpty, !tenants[tenant].capacity.buckets.isEmpty { waiting.tell(tenant) }
    raiseHold(slot, lease, input: input, output: progress.outputTokens, at: now)
  }

  /// True where the provider charged the client's cap at the start, and so has counted the whole call.
  private func chargesInFull(_ lease: Lease) -> Bool {
    providers[lease.placement.provider].policy.admissionTokens == .maxTokens
      && lease.request.ticket.producesOutput && lease.request.ticket.outputCap != nil
  }

  mutating func settle(
    _ id: LeaseID, _ settlement: Settlement, at now: Instant, into actions: inout ActionList
  ) {
    guard let index = leases.index(of: id), let lease = leases.remove(index) else { return }
    release(lease, settlement, at: now)
    if settlement.verdict == .success {
      providers[lease.placement.provider].durations.learn(now - lease.began, model: lease.request.model)
    }
    postCost(of: lease, settlement, at: now, into: &actions)
    learn(from: lease, settlement, at: now, into: &actions)
    let isRequeued = requeue(lease, settlement, at: now, into: &actions)
    if let cause = settlement.cause { providers[lease.placement.provider].lastCause = cause }
    if !isRequeued {
      conclude(lease.request, outcome(of: settlement, isCancelled: lease.request.isCancelled), at: now, into: &actions)
    }
    if !waiting.isEmpty {
      // After a success, `answerBegan` has already done this.
      if settlement.verdict != .success { reviewHeldBack(at: now, into: &actions) }
      // Only a successful call shows how long calls last.
      if settlement.verdict == .success { boundWaiting(at: now, into: &actions) }
      wakeBudgetWaiters(lease.request.accounts, at: now, into: &actions)
    }
  }

  private mutating func release(_ lease: Lease, _ settlement: Settlement, at now: Instant) {
    let placement = lease.placement
    let index = placement.provider
    let band = lease.request.band
    if !waiting.isEmpty { providers.change(index, model: placement.model) }
    let lag = settlement.wasSent ? providers[index].policy.settleLag : .zero
    if lag > .zero { providers.lag(at: index, until: now + lag) }
    let usage = settlement.usage ?? Usage()
    let all = Units(settlement.wasSent ? 1 : 0, input: usage.inputTokens, output: usage.outputTokens)
    let actual = counted(usage, wasSent: settlement.wasSent, at: index)
    let keepsCharge = chargesInFull(lease) && settlement.usage != nil
    let cap = lease.request.ticket.outputCap?.value ?? 0

    func charge(_ taken: TakenUnits) -> TakenUnits {
      var charge = TakenUnits(actual)
      guard keepsCharge else { return charge }
      func isWhole(_ rate: RateLimit) -> Bool { taken[Int(rate.rawValue)] < placement.units[3] }
      // The larger of the cap and the counted input; a call larger than the bucket has taken the whole bucket.
      let counted = max(cap, actual[1])
      let (minute, day) = (Int(RateLimit.tokensPerMinute.rawValue), Int(RateLimit.tokensPerDay.rawValue))
      charge[minute] = isWhole(.tokensPerMinute) ? taken[minute] : counted
      charge[day] = isWhole(.tokensPerDay) ? taken[day] : counted
      charge[Int(RateLimit.outputTokensPerMinute.rawValue)] = taken[Int(RateLimit.outputTokensPerMinute.rawValue)]
      return charge
    }
    providers[index].capacity.settle(
      taken: lease.takenFromProvider, actual: charge(lease.takenFromProvider), band: band, lag: lag, at: now)
    if let model = placement.model {
      providers[index].models[model].capacity.settle(
        taken: lease.takenFromModel, actual: charge(lease.takenFromModel), band: band, lag: lag, at: now)
    }
    if let key = placement.key {
      providers[index].keys[key].capacity.settle(
        taken: lease.takenFromKey, actual: charge(lease.takenFromKey), band: band, lag: lag, at: now)
    }
    let tenant = lease.request.tenant
    tenants[tenant].capacity.settle(
      taken: lease.takenFromTenant, actual: TakenUnits(all), band: band, lag: .zero, at: now)
    if tenants[tenant].parking != nil { unpark(tenant) }
    if let turn = lease.turn {
      let real = (usage.inputTokens + usage.outputTokens).value
      waiting.settle(turn.share, band: band, real: real)
      scheduler.settle(turn.credit, real: real)
      for band in 1..<3 { waiting.unsettle(band, in: turn.credit.cluster) }
    }
  }

  /// What the provider counts of a usage. A provider that charges at the start neither gives back nor asks for more;
  /// one that counts what is produced does not count tokens read from its cache.
  func counted(_ usage: Usage, wasSent: Bool, at provider: ProviderIndex) -> Units {
    let isProduced = providers[provider].policy.admissionTokens == .produced
    let cached = isProduced ? usage.cacheReadTokens : 0
    let input = usage.inputTokens - cached
    return Units(wasSent ? 1 : 0, input: input, output: usage.outputTokens)
  }

  /// What the provider has charged against its limits for a call that is over, as far as that can be known.
  func charged(_ lease: Lease, _ settlement: Settlement) -> Units {
    guard let usage = settlement.usage, !chargesInFull(lease) else { return lease.placement.units }
    return counted(usage, wasSent: true, at: lease.placement.provider)
  }

  private func outcome(of settlement: Settlement, isCancelled: Bool) -> Outcome {
    switch settlement.verdict {
    case .success: return .completed
    case .clientLeft: return .clientLeftRunning
    case .truncated: return isCancelled ? .clientLeftRunning : .truncated
    case .clientError: return .upstreamError
    case .throttled, .failed, .keyRefused, .quotaExhausted, .modelRefused, .ownFault:
      if isCancelled { return .clientLeftRunning }
      return settlement.hasAnswer || settlement.answerBegan ? .upstreamError : .failedUpstream
    }
  }

  mutating func conclude(_ request: Request, _ outcome: Outcome, at now: Instant, into actions: inout ActionList) {
    book.leave(request.accounts)
    actions.append(
      .conclude(
        Conclusion(
          request: request.ticket.id, outcome: outcome,
          retryAfter: retryAfter(outcome, band: request.band, at: now), blocker: nil, queued: request.queuedBefore,
          attempts: request.tries,
          budgetRemaining: book.remaining(request.accounts, withBroker: isSingleTenant, at: now))))
  }
}
