// The end of an attempt: reservations are replaced by what was really charged, and the request is concluded.

extension Admission {
  mutating func trueUp(_ id: LeaseID, _ progress: Progress, at now: Instant, into actions: inout ActionList) {
    guard let slot = leases.index(of: id) else { return }
    let lease = leases[slot]
    if !lease.isAnswering {
      leases[slot].isAnswering = true
      answerBegan(lease, isOver: false, at: now, into: &actions)
    }
    if lease.isFree { return }
    let placement = lease.placement
    let input = max(placement.input, progress.inputTokens ?? 0)
    let produced = Units(0, input: input, output: progress.outputTokens)
    let index = placement.provider
    // A call that was charged in full at the start does not grow while it streams.
    let chargedInFull = providers[index].policy.admissionTokens.chargesInFull(lease.request.box)
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

  mutating func settle(
    _ id: LeaseID, _ settlement: Settlement, at now: Instant, into actions: inout ActionList
  ) {
    guard let index = leases.index(of: id), let lease = leases.remove(index) else { return }
    release(lease, settlement, at: now)
    if settlement.verdict == .success, !lease.isFree {
      providers[lease.placement.provider].durations.learn(now - lease.began, model: lease.request.model)
    }
    postCost(of: lease, settlement, at: now, into: &actions)
    learn(from: lease, settlement, at: now, into: &actions)
    let isRequeued = requeue(lease, settlement, at: now, into: &actions)
    if let cause = settlement.cause { providers[lease.placement.provider].lastCause = cause }
    if !isRequeued {
      conclude(lease, outcome(of: settlement, isCancelled: lease.request.isCancelled), at: now, into: &actions)
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
    if lease.isFree { return releaseFree(lease) }
    let index = lease.placement.provider
    let band = lease.request.band
    if !waiting.isEmpty { providers.change(index, model: lease.placement.model) }
    let lag = settlement.wasSent ? providers[index].policy.settleLag : .zero
    if lag > .zero { providers.lag(at: index, until: now + lag) }
    providers[index].end(lease, settlement, at: now)
    let usage = settlement.usage ?? Usage()
    let all = Units(settlement.wasSent ? 1 : 0, input: usage.inputTokens, output: usage.outputTokens)
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

  /// What the provider has charged against its limits for a call that is over, as far as that can be known.
  func charged(_ lease: Lease, _ settlement: Settlement) -> Units {
    let charging = providers[lease.placement.provider].policy.admissionTokens
    guard let usage = settlement.usage, !charging.chargesInFull(lease.request.box) else { return lease.placement.units }
    return charging.counted(usage, wasSent: true)
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

  private mutating func conclude(
    _ lease: Lease, _ outcome: Outcome, at now: Instant, into actions: inout ActionList
  ) {
    book.leave(lease.request.accounts)
    actions.append(
      .conclude(
        Conclusion(
          request: lease.request.box.ticket.id, outcome: outcome,
          retryAfter: retryAfter(outcome, band: lease.request.band, at: now), blocker: nil,
          queued: lease.request.queuedBefore, attempts: lease.request.tries,
          budgetRemaining: book.remaining(lease.request.accounts, withBroker: isSingleTenant, at: now))))
  }
}
