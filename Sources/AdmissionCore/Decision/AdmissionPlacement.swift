// Can this request go somewhere now? `place` only reads; `commit` takes everything together.

extension Admission {
  enum Attempt {
    case placed(Placement)
    /// The tenant's own limit: its lanes are skipped.
    case tenantLimited(Obstacle, readyAt: Instant)
    /// No candidate can take it.
    case blocked
    /// No candidate that it can pay for; for good, or until a running call gives its hold back.
    case unaffordable(account: Int32, isForGood: Bool)
  }

  /// Finds a permit, units and a key for the request at the first of its candidates that has them all.
  /// - Parameter ignoringHeadroom: for one that the floor share covers.
  func place(_ request: Request, ignoringHeadroom: Bool, at now: Instant) -> Attempt {
    let route = routes.routes[Int(request.route)]
    let tenant = Int(request.tenant)
    if !tenants[tenant].capacity.isUnlimited, let leg = route.legs.first {
      let (input, output) = estimate(request, leg: leg)
      let units = Units(1, input: input, output: output)
      if let shortage = shortage(tenants[tenant].capacity, units, band: -1, at: now) {
        let obstacle = Obstacle(
          kind: shortage.dimension == nil ? .tenantPermits : .tenantBucket, dimension: shortage.dimension ?? .requests)
        return .tenantLimited(obstacle, readyAt: shortage.readyAt)
      }
    }
    var unaffordable: (account: Int32, isForGood: Bool)?
    var secondChoice: Placement?
    var isBlocked = route.legs.isEmpty
    for index in route.legs.indices {
      let leg = route.legs[index]
      if isBackingOff(request, leg, at: now) {
        isBlocked = true
        continue
      }
      switch place(request, leg, ignoringHeadroom: ignoringHeadroom, claims: pass, at: now) {
      case .placed(var placement):
        placement.leg = index
        guard placement.isSecondChoice else { return .placed(placement) }
        secondChoice = secondChoice ?? placement
      case .blocked: isBlocked = true
      case .unaffordable(let account, let isForGood):
        // What may still fit somewhere is not refused.
        if unaffordable?.isForGood ?? true { unaffordable = (account, isForGood) }
      }
    }
    if let secondChoice { return .placed(secondChoice) }
    if !isBlocked, let unaffordable {
      return .unaffordable(account: unaffordable.account, isForGood: unaffordable.isForGood)
    }
    return .blocked
  }

  /// True where this leg has failed the request and its turn has not come again.
  func isBackingOff(_ request: Request, _ leg: Route.Leg, at now: Instant) -> Bool {
    request.failed != 0 && request.hasFailed(at: leg.candidate) && request.backoffUntil > now
  }

  enum LegAttempt {
    case placed(Placement)
    case blocked(Obstacle, readyAt: Instant)
    case unaffordable(account: Int32, isForGood: Bool)
  }

  /// - Parameter claims: the pass whose claims count.
  func place(
    _ request: Request, _ leg: Route.Leg, ignoringHeadroom: Bool, claims: UInt64, at now: Instant
  ) -> LegAttempt {
    let index = Int(leg.provider)
    let band = ignoringHeadroom ? -1 : request.band
    let (input, output) = estimate(request, leg: leg)
    let cost = cost(request, leg: leg, input: input, output: output)
    var hold = BudgetAmounts(usd: cost ?? 0)
    // First of all: what it cannot pay for it does not wait for.
    if !request.accounts.isEmpty {
      let fitting = book.fit(
        request.accounts, demand(request, leg: leg, input: input, output: output), at: now)
      hold = fitting.hold
      switch fitting.fit {
      case .fits: break
      case .waits(let account): return .unaffordable(account: account, isForGood: false)
      case .exceeds(let account): return .unaffordable(account: account, isForGood: true)
      }
    }
    if leg.hasNoKey { return .blocked(Obstacle(kind: .keys, provider: leg.provider), readyAt: .distantFuture) }
    if drainEnd != .distantFuture, now > lastStart(at: leg.provider, of: request) {
      return .blocked(Obstacle(kind: .draining, provider: leg.provider), readyAt: .distantFuture)
    }
    if providers[index].claimedInPass == claims {
      return .blocked(Obstacle(kind: .claimed, provider: leg.provider), readyAt: .distantFuture)
    }
    if let until = providers[index].breaker.closedUntil(at: now) {
      return .blocked(Obstacle(kind: .breaker, provider: leg.provider), readyAt: until)
    }
    if let until = providers[index].gate.closedUntil(at: now) {
      return .blocked(Obstacle(kind: .closed, provider: leg.provider), readyAt: until)
    }
    if leg.model >= 0, let (obstacle, until) = illness(of: Int(leg.model), at: leg.provider, now) {
      return .blocked(obstacle, readyAt: until)
    }
    let units = units(request, leg: leg, input: input, output: output)
    let needed = withMargin(units, request, leg: leg, input: input)
    if let shortage = shortage(providers[index].capacity, needed, band: band, at: now) {
      return .blocked(obstacle(shortage, leg.provider), readyAt: shortage.readyAt)
    }
    if leg.model >= 0 {
      if providers[index].models[Int(leg.model)].claimedInPass == claims {
        return .blocked(Obstacle(kind: .claimed, provider: leg.provider, model: leg.model), readyAt: .distantFuture)
      }
      if let shortage = shortage(providers[index].models[Int(leg.model)].capacity, needed, band: band, at: now) {
        let obstacle = Obstacle(
          kind: shortage.dimension == nil ? .modelPermits : .modelBucket, provider: leg.provider, model: leg.model,
          dimension: shortage.dimension ?? .requests)
        return .blocked(obstacle, readyAt: shortage.readyAt)
      }
    }
    var key: Int32 = -1
    var isSecondChoice = false
    if !leg.keys.isEmpty {
      switch chooseKey(request, leg, needed, band: band, claims: claims, at: now) {
      case .blocked(let obstacle, let readyAt): return .blocked(obstacle, readyAt: readyAt)
      case .chosen(let chosen, let isDoubted): (key, isSecondChoice) = (chosen, isDoubted)
      }
    }
    return .placed(
      Placement(
        leg: 0, provider: leg.provider, model: leg.model, key: key, units: units, input: input,
        output: output, cost: cost.map { max($0, hold.usd) }, hold: hold, isSecondChoice: isSecondChoice))
  }

  /// What keeps calls away from a model that has a breaker or a quota of its own.
  private func illness(of model: Int, at provider: Int32, _ now: Instant) -> (Obstacle, until: Instant)? {
    let index = Int(provider)
    if let until = providers[index].models[model].breaker?.closedUntil(at: now) {
      return (Obstacle(kind: .modelBreaker, provider: provider, model: Int32(model)), until)
    }
    if let until = providers[index].models[model].gate.closedUntil(at: now) {
      return (Obstacle(kind: .modelClosed, provider: provider, model: Int32(model)), until)
    }
    return nil
  }

  private enum KeyChoice {
    /// `isDoubted`: it was refused once, or for this model: any other would be better.
    case chosen(Int32, isDoubted: Bool)
    case blocked(Obstacle, readyAt: Instant)
  }

  /// The session's preferred key among those that have room; one that is in doubt only where there is no other.
  private func chooseKey(
    _ request: Request, _ leg: Route.Leg, _ units: Units, band: Int, claims: UInt64, at now: Instant
  ) -> KeyChoice {
    let index = Int(leg.provider)
    var best: Int32 = -1
    var bestScore = Double.infinity
    var bestIsDoubted = true
    var obstacle = Obstacle(kind: .keys, provider: leg.provider)
    var atKeys = Obstacle.AtKeys.shut
    var readyAt = Instant.distantFuture
    for key in leg.keys {
      let number = Int(key)
      if providers[index].keys[number].claimedInPass == claims {
        obstacle = Obstacle(kind: .claimed, provider: leg.provider)
        atKeys = .short
        continue
      }
      if !request.refusedKeys.isEmpty, request.hasBeenRefused(by: providers[index].keys[number].serial) { continue }
      if let until = providers[index].keys[number].health.unusableUntil(at: now) {
        readyAt = min(readyAt, until)
        continue
      }
      if leg.model >= 0, let until = providers[index].models[Int(leg.model)].keyGates[key]?.closedUntil(at: now) {
        readyAt = min(readyAt, until)
        if obstacle.kind == .keys {
          obstacle = Obstacle(kind: .modelClosed, provider: leg.provider, model: leg.model)
        }
        continue
      }
      if let shortage = shortage(providers[index].keys[number].capacity, units, band: band, at: now) {
        readyAt = min(readyAt, shortage.readyAt)
        atKeys = .short
        if providers[index].policy.quota == .perKey { obstacle = self.obstacle(shortage, leg.provider) }
        continue
      }
      let isDoubted =
        providers[index].keys[number].health.isDoubted(at: now)
        || providers[index].keys[number].rests.rests(request.ticket.model, at: now)
      if leg.keys.count == 1 { return .chosen(key, isDoubted: isDoubted) }
      if isDoubted, !bestIsDoubted { continue }
      let score = KeyPool.score(
        session: request.sessionHash, key: providers[index].keys[number].hash,
        weight: providers[index].keys[number].policy.weight)
      if score < bestScore || bestIsDoubted && !isDoubted {
        bestScore = score
        best = key
        bestIsDoubted = isDoubted
      }
    }
    if best >= 0 { return .chosen(best, isDoubted: bestIsDoubted) }
    obstacle.atKeys = atKeys
    return .blocked(obstacle, readyAt: readyAt)
  }

  private func obstacle(_ shortage: Shortage, _ provider: Int32) -> Obstacle {
    Obstacle(
      kind: shortage.dimension != nil ? .bucket : shortage.isHeadroom ? .headroom : .permits, provider: provider,
      dimension: shortage.dimension ?? .requests)
  }

  /// What a capacity lacks for this call; nil where it has everything.
  /// - Parameter band: -1 where headroom does not apply.
  func shortage(_ capacity: Capacity, _ units: Units, band: Int, at now: Instant) -> Shortage? {
    if let ramp = capacity.ramp.bound(at: now), capacity.permits.inUse >= ramp.permits {
      return Shortage(isHeadroom: false, readyAt: min(ramp.next, capacity.permits.nextExpiry ?? .distantFuture))
    }
    if let limit = capacity.permits.limit {
      let inUse = capacity.permits.inUse
      let allowed =
        band <= 0 || capacity.permits.isLearned
        ? limit : scheduler.permits(for: band, limit: limit) { capacity.permits.running(in: $0) }
      if inUse >= allowed {
        return Shortage(isHeadroom: inUse < limit, readyAt: capacity.permits.nextExpiry ?? .distantFuture)
      }
    }
    for bucket in capacity.buckets {
      let kept = band <= 0 ? 0 : scheduler.kept(from: band, capacity: bucket.capacity)
      let wanted = units[Int(bucket.dimension.rawValue)]
      if !bucket.isCovered(wanted, keeping: kept, at: now) {
        return Shortage(
          dimension: bucket.dimension, readyAt: bucket.instantCovered(wanted, keeping: kept, at: now))
      }
    }
    return nil
  }

  // MARK: Estimates

  /// Expected tokens of the call at this candidate.
  func estimate(_ request: Request, leg: Route.Leg) -> (input: TokenCount, output: TokenCount) {
    let provider = Int(leg.provider)
    let input = providers[provider].predictor.expectedInput(request.ticket.estimatedInput, model: request.model)
    guard request.ticket.producesOutput else { return (input, 0) }
    let output = providers[provider].predictor.expectedOutput(model: request.model, band: request.band)
    return (input, min(request.ticket.outputCap ?? output, output))
  }

  /// What the provider will charge at the start, as far as it can be known.
  func units(_ request: Request, leg: Route.Leg, input: TokenCount, output: TokenCount) -> Units {
    switch providers[Int(leg.provider)].policy.admissionTokens {
    case .produced:
      return Units(1, input: input, output: output)
    case .maxTokens:
      // OpenAI's rule: the larger of the cap and the estimate of the input.
      guard request.ticket.producesOutput, let cap = request.ticket.outputCap else {
        return Units(1, input: input, output: output)
      }
      return Units(1, input.value, cap.value, max(cap, input).value)
    }
  }

  /// What must be there: the provider refuses by what it counts, which is more than we expect half of the time. Only
  /// what is expected is taken.
  private func withMargin(_ units: Units, _ request: Request, leg: Route.Leg, input: TokenCount) -> Units {
    let provider = Int(leg.provider)
    let running = providers[provider].capacity.outstandingTokens
    guard
      let margin = providers[provider].predictor.inputMargins(
        input, model: request.model, running: TokenCount(running))
    else { return units }
    // A cap that is charged up front and larger than the input stays what it is.
    let (own, others) = (margin.own.value, margin.running.value)
    let tokens = units[3] == units[1] + units[2] ? units[3] + own : max(units[3], units[1] + own)
    return Units(units[0], units[1] + own + others, units[2], tokens + others)
  }

  // Not methods of the provider's state, since calling one would copy all of it.
  func holder(of placement: Placement) -> QuotaHolder {
    let index = Int(placement.provider)
    if placement.key >= 0, providers[index].policy.quota == .perKey { return .key(Int(placement.key)) }
    return placement.model >= 0 ? .model(Int(placement.model)) : .provider
  }

  /// Whose limits the provider's own numbers are: those of a model that no entry of the policy covers are the provider's.
  func numbersHolder(of placement: Placement) -> QuotaHolder {
    let holder = holder(of: placement)
    if case .model(let model) = holder, providers[Int(placement.provider)].models[model].name != nil {
      return .provider
    }
    return holder
  }

  /// Calls that count against the holder's quota now, those that ended within the settle lag included.
  func counted(at holder: QuotaHolder, _ index: Int) -> Int {
    switch holder {
    case .provider: providers[index].capacity.permits.inUse
    case .key(let key): providers[index].keys[key].capacity.permits.inUse
    case .model(let model): providers[index].models[model].capacity.permits.inUse
    }
  }

  // MARK: Commit

  /// Takes the permit, the units and the key, and orders the grant. The request is in no queue any more.
  /// - Parameter turn: nil where nobody waited.
  mutating func commit(
    _ granted: Request, _ placement: Placement, turn: LeaseTurn?, at now: Instant, into actions: inout ActionList
  ) {
    var request = granted
    let index = Int(placement.provider)
    let band = request.band
    let (breakerGeneration, change) = providers[index].breaker.pass(at: now)
    if let change {
      actions.append(
        .note(
          .breakerChanged(providers[index].policy.id, model: nil, state: change, reason: "recovery time over")))
    }
    let model = Int(placement.model)
    var modelBreakerGeneration: UInt64 = 0
    var modelGateGeneration: UInt64 = 0
    var keyModelGeneration: UInt64 = 0
    if model >= 0 {
      if let passed = providers[index].models[model].breaker?.pass(at: now) {
        modelBreakerGeneration = passed.generation
        if let change = passed.change {
          actions.append(
            .note(
              .breakerChanged(
                providers[index].policy.id, model: providers[index].models[model].pattern.pattern, state: change,
                reason: "recovery time over")))
        }
      }
      modelGateGeneration = providers[index].models[model].gate.pass(at: now)
      keyModelGeneration = providers[index].models[model].keyGates[placement.key]?.pass(at: now) ?? 0
    }
    let gateGeneration = providers[index].gate.pass(at: now)
    var keyGeneration: UInt64 = 0
    var keySerial: Int64 = 0
    if request.tries == 0 { providers[index].retries.deposit(percent: providers[index].policy.retry.budgetPercent) }
    let taken = providers[index].capacity.take(placement.units, band: band, at: now)
    var fromModel = TakenUnits.zero
    var fromKey = TakenUnits.zero
    if placement.model >= 0 {
      fromModel = providers[index].models[Int(placement.model)].capacity.take(placement.units, band: band, at: now)
    }
    var key: KeyID?
    if placement.key >= 0 {
      fromKey = providers[index].keys[Int(placement.key)].capacity.take(placement.units, band: band, at: now)
      key = providers[index].keys[Int(placement.key)].policy.id
      keySerial = providers[index].keys[Int(placement.key)].serial
      keyGeneration = providers[index].keys[Int(placement.key)].health.pass(at: now)
    }
    let tenantUnits = Units(1, input: placement.input, output: placement.output)
    let fromTenant = tenants[Int(request.tenant)].capacity.take(tenantUnits, band: band, at: now)

    var remaining: Money?
    if !request.accounts.isEmpty {
      book.hold(request.accounts, placement.hold)
      remaining = book.remaining(request.accounts, withBroker: isSingleTenant, at: now)
    }

    request.queuedBefore = request.queued(at: now)
    request.tries += 1
    request.throttlesAtGrant = model >= 0 ? providers[index].models[model].signs.throttles : 0
    request.notBefore = nil
    leaseSerial += 1
    let slot: Int32
    if let free = freeLeases.popLast() {
      slot = free
    } else {
      slot = Int32(leases.count)
      leases.append(nil)
    }
    let id = LeaseID(rawValue: leaseSerial << 24 | UInt64(slot))
    locations[request.ticket.id] = ~slot
    leaseCount += 1
    actions.append(
      .grant(
        Grant(
          request: request.ticket.id, lease: id, provider: providers[index].policy.id, key: key, attempt: request.tries,
          queued: request.queuedBefore, reservedInput: placement.input, reservedOutput: placement.output,
          held: placement.cost.map { Money(nanodollars: $0) }, budgetRemaining: remaining)))
    leasesBegan += Int128(now.nanoseconds)
    leases[Int(slot)] = Lease(
      id: id, request: request, placement: placement, takenFromProvider: taken, takenFromModel: fromModel,
      takenFromKey: fromKey, takenFromTenant: fromTenant, turn: turn,
      candidate: routes.routes[Int(request.route)].legs[placement.leg].candidate, keySerial: keySerial,
      began: now, breakerGeneration: breakerGeneration,
      gateGeneration: gateGeneration, keyGeneration: keyGeneration, held: placement.hold, epoch: book.epoch,
      modelBreakerGeneration: modelBreakerGeneration, modelGateGeneration: modelGateGeneration,
      keyModelGeneration: keyModelGeneration, counted: counted(at: holder(of: placement), index))
  }
}
