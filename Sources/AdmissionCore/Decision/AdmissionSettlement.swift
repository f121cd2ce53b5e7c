// The end of an attempt: reservations are replaced by what was really charged, and the request is concluded.

extension Admission {
  mutating func trueUp(_ id: LeaseID, _ progress: Progress, at now: Instant, into actions: inout ActionList) {
    guard let slot = leases.index(of: id) else { return }
    if !leases[slot].isAnswering, progress.outputTokens > 0 {
      let lease = leases[slot]
      leases[slot].isAnswering = true
      answerBegan(lease, isOver: false, at: now, into: &actions)
    }
    if leases[slot].isFree { return }
    let lease = leases[slot]
    let (index, tenant) = (lease.placement.provider, lease.request.tenant)
    let isNews = progress.inputTokens != nil && lease.told == nil
    providers[index].trueUp(&leases[slot], progress, at: now)
    let input = progress.inputTokens ?? (lease.told == nil ? lease.placement.input : nil)
    let output = max(lease.placement.output, progress.outputTokens)
    leases[slot].takenFromTenant = tenants[tenant].capacity.trueUp(
      taken: lease.takenFromTenant, to: input.map { Units(1, input: $0, output: output) } ?? .unchanged,
      call: lease.standingAtTenant, at: now)
    if isNews, let told = leases[slot].told {
      countOvertaking(of: lease.overtook, beyond: (told - lease.placement.input).value)
      leases[slot].overtook = nil
    }
    // What was too much may be enough for a head now.
    if isNews, !waiting.isEmpty { providers.change(index, model: lease.placement.model) }
    // Progress takes no permits, so it concerns only a tenant that has buckets.
    if !tenants[tenant].capacity.buckets.isEmpty {
      if !waiting.isEmpty { waiting.tell(tenant) }
      if isNews, tenants[tenant].parking != nil { unpark(tenant) }
    }
    raiseHold(slot, lease, progress, at: now)
  }

  /// The call has been sent once more: it counts as one more request at its provider. Its tenant has asked once.
  mutating func countAgain(_ id: LeaseID, at now: Instant) {
    guard let slot = leases.index(of: id), !leases[slot].isFree else { return }
    providers[leases[slot].placement.provider].countAgain(&leases[slot], at: now)
  }

  mutating func settle(
    _ id: LeaseID, _ settlement: Settlement, at now: Instant, into actions: inout ActionList
  ) {
    guard let index = leases.index(of: id), var lease = leases.remove(index) else { return }
    release(lease, settlement, at: now)
    if lease.isTooLargeWhole { heedSize(of: &lease, settlement) }
    if lease.overtook != nil, settlement.usage != nil {
      countOvertaking(of: lease.overtook, beyond: charged(lease, settlement)[1] - lease.placement.input.value)
    }
    if settlement.verdict == .success, !lease.isFree {
      providers[lease.placement.provider].durations.learn(now - lease.began, model: lease.request.model)
    }
    let isSlower = learnFirstByte(of: lease, settlement, at: now)
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
      if isSlower { heedPatienceOfWaiting(of: lease, at: now, into: &actions) }
      wakeBudgetWaiters(lease.request.accounts, at: now, into: &actions)
    }
  }

  /// A call that was refused because what it continues is not cached is counted as a whole from now on, and its refusal
  /// is its own. Not twice without a call that was let in between: then the numbers do not tell the reason.
  private mutating func heedSize(of lease: inout Lease, _ settlement: Settlement) {
    let index = lease.placement.provider
    if case .throttled(_, isAboutConcurrency: false) = settlement.verdict, providers[index].tooLarge == 0 {
      providers[index].tooLarge = leases.lastSerial
      lease.request.isCold = true
    } else {
      lease.isTooLargeWhole = false
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
    if lease.lowered != 0, case .throttled = settlement.verdict { providers.takeAgain(lease, at: now) }
    let usage = settlement.usage ?? Usage()
    let all = Units(settlement.wasSent ? 1 : 0, input: usage.inputTokens, output: usage.outputTokens)
    let tenant = lease.request.tenant
    tenants[tenant].capacity.settle(
      taken: lease.takenFromTenant, actual: TakenUnits(all), call: lease.standingAtTenant, lag: .zero, at: now)
    if tenants[tenant].parking != nil { unpark(tenant) }
    if let session = lease.request.session { endCall(of: session, tenant, at: now) }
    if let turn = lease.turn {
      // What nobody counts is no cost: else a session with a long context would pay in turns for what its provider gives.
      let counted = providers[index].policy.admissionTokens.counted(usage, wasSent: true)
      let real = counted[Int(Dimension.tokens.rawValue)]
      waiting.settle(turn.share, band: band, real: real)
      scheduler.settle(turn.credit, real: real)
      for band in 1..<3 { waiting.unsettle(band, in: turn.credit.cluster) }
    }
  }

  /// What a running call has lost because its prompt was not read from the provider's cache; nil where that is nothing.
  /// - Parameter usage: as its provider has told it. Ask before the call is settled.
  public func lostCache(by id: LeaseID, _ usage: Usage) -> LostCache? {
    guard usage.inputTokens - usage.cacheReadTokens >= PromptMemory.leastCached, let slot = leases.index(of: id) else {
      return nil
    }
    let lease = leases[slot]
    if lease.isFree { return nil }
    let (index, box, model) = (lease.placement.provider, lease.request.box, lease.request.model)
    // Its route may be gone, so all providers are asked; that is rare.
    func wasElsewhere() -> Bool {
      providers.inForce.contains {
        $0 != index
          && providers[$0].predictor.cached(box.prompt, estimated: box.ticket.estimatedInput, at: lease.began) != nil
      }
    }
    return providers[index].predictor.lostCache(
      usage, estimated: box.ticket.estimatedInput, model: model, prompt: box.prompt, print: box.ticket.print,
      holder: lease.keySerial, submitted: lease.request.submitted, began: lease.began, wasElsewhere: wasElsewhere())
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
    waiting.leaveSession(lease.request.session)
    actions.append(
      .conclude(
        Conclusion(
          request: lease.request.box.ticket.id, outcome: outcome,
          retryAfter: retryAfter(outcome, band: lease.request.band, at: now),
          queued: lease.request.queuedBefore, attempts: lease.request.tries,
          budgetRemaining: book.remaining(lease.request.accounts, withBroker: isSingleTenant, at: now))
      ))
  }
}
