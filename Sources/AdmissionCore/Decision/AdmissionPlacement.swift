// Whether a request can be placed now: `place` only reads; `commit` takes everything together (rule 7).

/// What blocks a request at one of a route's legs.
struct BlockedLeg: Sendable {
  /// Index into the route's legs.
  var leg: Int
  var obstacle: Obstacle
  /// When this may be over if nothing is given back.
  var readyAt: Instant
}

extension Admission {
  enum PlacementAnswer {
    case placed
    /// The tenant's own limit: its lanes are skipped.
    case tenantLimited(Obstacle, readyAt: Instant)
    /// No candidate can take it.
    case blocked
    /// It cannot pay for any candidate, for good or until a running call gives its hold back.
    case unaffordable(account: AccountIndex, isForGood: Bool)
  }

  /// Finds a permit, units and a key for the request at the first of its candidates that has them all (rule 4).
  /// - Parameters:
  ///   - ignoringHeadroom: true for a request that the floor share covers.
  ///   - blocked: receives what blocks the request, for each leg where something does.
  ///   - first: the estimate of the call at the first leg, once somebody has made it.
  ///   - placement: receives what was found. Not a part of the answer, which would be moved from function to function.
  func place(
    _ request: Request, ignoringHeadroom: Bool, at now: Instant, blocked: inout [BlockedLeg],
    first: inout CallEstimate?, into placement: inout Placement
  ) -> PlacementAnswer {
    let legs = providers.routes[request.route].legs
    if let limited = tenantShortage(request, legs, at: now, first: &first) { return limited }
    var unaffordable: (account: AccountIndex, isForGood: Bool)?
    var secondChoice: Placement?
    for index in legs.indices {
      if isBackingOff(request, legs[index], at: now) {
        blocked.append(BlockedLeg(leg: index, obstacle: Obstacle(kind: .backoff), readyAt: request.backoffUntil))
        continue
      }
      var estimate = index == 0 ? first : nil
      let attempt = place(
        request, legs[index], ignoringHeadroom: ignoringHeadroom, heedsClaims: true, at: now, estimate: &estimate,
        into: &placement)
      if index == 0 { first = estimate }
      switch attempt {
      case .placed:
        placement.leg = index
        guard placement.isSecondChoice else { return .placed }
        secondChoice = secondChoice ?? placement
      case .blocked(let obstacle, let readyAt):
        blocked.append(BlockedLeg(leg: index, obstacle: obstacle, readyAt: readyAt))
        // Another provider would have to read the prompt anew, as another key would.
        if obstacle.kind == .warmKey, secondChoice == nil { return .blocked }
      case .unaffordable(let account, let isForGood):
        // A request that may still fit somewhere is not refused.
        if unaffordable?.isForGood ?? true { unaffordable = (account, isForGood) }
      }
    }
    if let secondChoice {
      placement = secondChoice
      return .placed
    }
    if blocked.isEmpty, let unaffordable {
      return .unaffordable(account: unaffordable.account, isForGood: unaffordable.isForGood)
    }
    return .blocked
  }

  func tenantShortage(
    _ request: Request, _ legs: [Route.Leg], at now: Instant, first: inout CallEstimate?
  ) -> PlacementAnswer? {
    guard !tenants[request.tenant].capacity.isUnlimited, let leg = legs.first else { return nil }
    let estimate = estimate(request, leg: leg)
    first = estimate
    let units = Units(1, input: estimate.input, output: estimate.output)
    guard let shortage = shortage(tenants[request.tenant].capacity, units, band: nil, at: now) else { return nil }
    let obstacle = Obstacle(
      kind: shortage.dimension == nil ? .tenantPermits : .tenantBucket, dimension: shortage.dimension ?? .requests)
    return .tenantLimited(obstacle, readyAt: shortage.readyAt)
  }

  /// True where this leg has failed the request and its turn has not come again.
  func isBackingOff(_ request: Request, _ leg: Route.Leg, at now: Instant) -> Bool {
    request.failed != 0 && request.hasFailed(at: leg.candidate) && request.backoffUntil > now
  }

  enum LegAttempt {
    case placed
    case blocked(Obstacle, readyAt: Instant)
    case unaffordable(account: AccountIndex, isForGood: Bool)
  }

  /// What finding the same at one leg would end with, for those who do not need the placement.
  /// - Parameter heedsClaims: false to see what would be available if no other request were before this one.
  func place(
    _ request: Request, _ leg: Route.Leg, ignoringHeadroom: Bool, heedsClaims: Bool = true, at now: Instant
  ) -> LegAttempt {
    var estimate: CallEstimate?
    var placement = Placement.none
    return place(
      request, leg, ignoringHeadroom: ignoringHeadroom, heedsClaims: heedsClaims, at: now, estimate: &estimate,
      into: &placement)
  }

  /// Finds the same at one leg. What needs no estimate comes first: most calls that are blocked lack a permit.
  /// - Parameter estimate: of the call at this leg, where it was made, or is made here.
  func place(
    _ request: Request, _ leg: Route.Leg, ignoringHeadroom: Bool, heedsClaims: Bool, at now: Instant,
    estimate known: inout CallEstimate?, into placement: inout Placement
  ) -> LegAttempt {
    let index = leg.provider
    let band = ignoringHeadroom ? nil : request.band
    let hasAccounts = !request.accounts.isEmpty
    if !hasAccounts, let (obstacle, until) = obstruction(of: leg, for: request, band, heedsClaims, at: now) {
      return .blocked(obstacle, readyAt: until)
    }
    var estimate = known ?? estimate(request, leg: leg)
    known = estimate
    var isElsewhere = false
    while true {
      let cost = cost(request, leg: leg, input: estimate.input, output: estimate.output)
      var hold = BudgetAmounts(usd: cost ?? 0)
      // Budgets come first: a request does not wait for a candidate that it cannot pay for.
      if hasAccounts {
        let fitting = book.fit(request.accounts, demand(request, leg: leg, estimate), at: now)
        hold = fitting.hold
        switch fitting.fit {
        case .fits: break
        case .waits(let account): return .unaffordable(account: account, isForGood: false)
        case .exceeds(let account): return .unaffordable(account: account, isForGood: true)
        }
        if let (obstacle, until) = obstruction(of: leg, for: request, band, heedsClaims, at: now) {
          return .blocked(obstacle, readyAt: until)
        }
      }
      let units = units(request, leg: leg, estimate)
      let needed = withMargin(units, request, leg: leg, estimate)
      if let model = leg.model,
        let shortage = bucketShortage(providers[index].models[model].capacity, needed, band: band, at: now)
      {
        let obstacle = Obstacle(
          kind: .modelBucket, provider: index, model: model, dimension: shortage.dimension ?? .requests)
        return .blocked(obstacle, readyAt: shortage.readyAt)
      }
      if let shortage = shortage(providers[index].capacity, needed, band: band, at: now) {
        return .blocked(obstacle(shortage, index), readyAt: shortage.readyAt)
      }
      var key: KeyIndex?
      var isSecondChoice = false
      if !leg.keys.isEmpty {
        switch chooseKey(request, leg, needed, estimate, band: band, heedsClaims: heedsClaims, at: now) {
        case .blocked(let obstacle, let readyAt): return .blocked(obstacle, readyAt: readyAt)
        case .chosen(let chosen, let isDoubted): (key, isSecondChoice) = (chosen, isDoubted)
        }
        if !isElsewhere, self.isElsewhere(chosen: key, of: index, estimate) {
          // It costs more there.
          isElsewhere = true
          estimate = self.estimate(
            request.box, model: request.model, band: request.band, at: index,
            hope: request.isCold ? .nothing : .shared)
          continue
        }
      }
      placement = Placement(
        leg: 0, provider: index, model: leg.model, key: key, units: units, estimate: estimate,
        cost: cost.map { max($0, hold.usd) }, hold: hold, isSecondChoice: isSecondChoice)
      return .placed
    }
  }

  /// True where the call would go to a key whose cache does not have what the estimate takes for cached.
  @inline(__always)
  private func isElsewhere(chosen key: KeyIndex?, of provider: ProviderIndex, _ estimate: CallEstimate) -> Bool {
    guard estimate.holder != 0, let key, providers[provider].isPerKey else { return false }
    return providers[provider].keys[key].serial != estimate.holder && providers[provider].hasKey(estimate.holder)
  }

  /// What blocks calls of any size at the leg: its illness, a claim of its model, and permits of its model.
  @inline(__always)
  private func obstruction(
    of leg: Route.Leg, for request: Request, _ band: Int?, _ heedsClaims: Bool, at now: Instant
  ) -> (Obstacle, until: Instant)? {
    if let illness = illness(of: leg, for: request, heedsClaims: heedsClaims, at: now) { return illness }
    guard let model = leg.model else { return nil }
    let index = leg.provider
    if heedsClaims, providers[index].isClaimed(model) {
      return (Obstacle(kind: .claimed, provider: index, model: model), .distantFuture)
    }
    guard let shortage = permitShortage(providers[index].models[model].capacity, band: band, at: now) else {
      return nil
    }
    let kind: Obstacle.Kind = shortage.isHeadroom ? .modelHeadroom : .modelPermits
    return (Obstacle(kind: kind, provider: index, model: model), shortage.readyAt)
  }

  /// What blocks calls of any size at the leg: no key, the drain, a claim, a breaker, a gate.
  func illness(
    of leg: Route.Leg, for request: Request, heedsClaims: Bool, at now: Instant
  ) -> (Obstacle, until: Instant)? {
    let index = leg.provider
    if leg.hasNoKey { return (Obstacle(kind: .keys, provider: index), .distantFuture) }
    if drainEnd != .distantFuture, now > lastStart(at: index, of: request) {
      return (Obstacle(kind: .draining, provider: index), .distantFuture)
    }
    if heedsClaims, providers[index].claimedIn == providers[index].look {
      return (Obstacle(kind: .claimed, provider: index), .distantFuture)
    }
    if let until = providers[index].breaker.blockedUntil(at: now) {
      return (Obstacle(kind: .breaker, provider: index), until)
    }
    let isFree = request.box.ticket.isFree
    if let until = providers[index].gate.blockedUntil(isFree: isFree, at: now) {
      return (Obstacle(kind: .closed, provider: index), until)
    }
    guard let model = leg.model else { return nil }
    if let until = providers[index].models[model].breaker?.blockedUntil(at: now) {
      return (Obstacle(kind: .modelBreaker, provider: index, model: model), until)
    }
    if let until = providers[index].models[model].gate.blockedUntil(isFree: isFree, at: now) {
      return (Obstacle(kind: .modelClosed, provider: index, model: model), until)
    }
    return nil
  }

  enum KeyChoice {
    /// `isDoubted`: the key was refused once, or for this model, so any other key is better.
    case chosen(KeyIndex, isDoubted: Bool)
    case blocked(Obstacle, readyAt: Instant)
  }

  /// The key whose cache has the call's prompt; else the session's preferred key among those that have room; a doubted
  /// key only where there is no other.
  func chooseKey(
    _ request: Request, _ leg: Route.Leg, _ units: Units, _ estimate: CallEstimate, band: Int?, heedsClaims: Bool,
    at now: Instant
  ) -> KeyChoice {
    let index = leg.provider
    let isFree = request.box.ticket.isFree
    var warm: (key: KeyIndex, readyAt: Instant)?
    var best: KeyIndex?
    var bestScore = Double.infinity
    var bestIsDoubted = true
    var obstacle = Obstacle(kind: .keys, provider: index)
    var atKeys = Obstacle.AtKeys.shut
    var readyAt = Instant.distantFuture
    for key in leg.keys {
      let isWarm = estimate.holder != 0 && providers[index].keys[key].serial == estimate.holder
      if heedsClaims, providers[index].keys[key].claimedIn == providers[index].look {
        obstacle = Obstacle(kind: .claimed, provider: index)
        atKeys = .short
        if isWarm { warm = (key, .distantFuture) }
        continue
      }
      if !request.refusedKeys.isEmpty, request.hasBeenRefused(by: providers[index].keys[key].serial) { continue }
      if let until = providers[index].keys[key].health.unusableUntil(isFree: isFree, at: now) {
        readyAt = min(readyAt, until)
        // A key that was refused is not waited for.
        if isWarm, until != .distantFuture { warm = (key, until) }
        continue
      }
      if let model = leg.model,
        let until = providers[index].models[model].keyGates[key]?.blockedUntil(isFree: isFree, at: now)
      {
        readyAt = min(readyAt, until)
        if isWarm { warm = (key, until) }
        if obstacle.kind == .keys { obstacle = Obstacle(kind: .modelClosed, provider: index, model: model) }
        continue
      }
      if !isFree, let shortage = shortage(providers[index].keys[key].capacity, units, band: band, at: now) {
        readyAt = min(readyAt, shortage.readyAt)
        if isWarm { warm = (key, shortage.readyAt) }
        atKeys = .short
        if providers[index].policy.quota == .perKey {
          obstacle = self.obstacle(shortage, index)
        } else if obstacle.kind != .claimed {
          obstacle = Obstacle(
            kind: shortage.dimension == nil ? .keyPermits : .keyBucket, provider: index,
            dimension: shortage.dimension ?? .requests)
        }
        continue
      }
      let isDoubted =
        providers[index].keys[key].health.isDoubted(at: now)
        || providers[index].keys[key].rests.rests(request.ticket.model, at: now)
      if leg.keys.count == 1 || isWarm && !isDoubted { return .chosen(key, isDoubted: isDoubted) }
      if isDoubted, !bestIsDoubted { continue }
      let score = KeyPool.score(
        session: request.sessionHash, key: providers[index].keys[key].hash,
        weight: providers[index].keys[key].policy.weight)
      if score < bestScore || bestIsDoubted && !isDoubted {
        bestScore = score
        best = key
        bestIsDoubted = isDoubted
      }
    }
    if let best {
      guard let warm, providers[index].isPerKey,
        let until = endOfWait(of: request, for: (index, warm.key), readyAt: warm.readyAt, estimate, at: now)
      else {
        return .chosen(best, isDoubted: bestIsDoubted)
      }
      return .blocked(Obstacle(kind: .warmKey, provider: index, key: warm.key), readyAt: until)
    }
    obstacle.atKeys = atKeys
    return .blocked(obstacle, readyAt: readyAt)
  }

  /// How many tokens a second a provider reads that it has not cached, and the longest that a call waits for its key.
  static let tokensReadPerSecond: Int64 = 5_000
  static let longestWaitForKey = Span.seconds(10)
  /// How much of its time a call must have left when that wait is over.
  static let leastLeft = Span.seconds(1)
  /// How long before its prompt expires a call hurries (rule 2c).
  static let hurry = Span.seconds(60)
  /// A prompt of which less is cached is no reason to wait, or to hurry.
  static let leastAwaited: TokenCount = 4096

  /// Until when a call waits for the key whose cache has its prompt: at most for the time in which another would read
  /// the prompt anew, counted from when it began to wait for anything, so that calls of one session do not wait one after
  /// the other; and only while the prompt is cached. nil where it does not wait: another key is better than none before
  /// its deadline, or than one at which calls last longer.
  private func endOfWait(
    of request: Request, for warm: (provider: ProviderIndex, key: KeyIndex), readyAt: Instant, _ estimate: CallEstimate,
    at now: Instant
  ) -> Instant? {
    let box = request.box
    guard estimate.cached >= Self.leastAwaited,
      let known = providers[warm.provider].predictor.cached(box.prompt, estimated: box.ticket.estimatedInput, at: now)
    else { return nil }
    let reading = Span(nanoseconds: min(estimate.cached.value, 1 << 30) * (1_000_000_000 / Self.tokensReadPerSecond))
    let end = min(request.queuedSince + min(Self.longestWaitForKey, reading), known.expiry)
    guard readyAt == .distantFuture else {
      return readyAt <= end && readyAt + Self.leastLeft <= request.deadline ? readyAt : nil
    }
    guard end > now, end + Self.leastLeft <= request.deadline else { return nil }
    // Of the calls that run at the key, one ends within the time of one call, divided by their number.
    let (provider, key) = (warm.provider, warm.key)
    let running = Int64(max(1, providers[provider].keys[key].capacity.permits.inUse))
    let oneEnds = Span(nanoseconds: providers[provider].durations.expected(model: request.model).nanoseconds / running)
    // From that instant on it would end too late.
    let last = end + Span(nanoseconds: -oneEnds.nanoseconds)
    return now <= last ? min(end, last + Span(nanoseconds: 1)) : nil
  }

  private func obstacle(_ shortage: Shortage, _ provider: ProviderIndex) -> Obstacle {
    Obstacle(
      kind: shortage.dimension != nil ? .bucket : shortage.isHeadroom ? .headroom : .permits, provider: provider,
      dimension: shortage.dimension ?? .requests)
  }

  /// What is missing in a capacity for this call; nil where nothing is.
  /// - Parameter band: nil where headroom (rule 1a) does not apply.
  @inline(__always)  // A call would copy the whole capacity and count its references.
  func shortage(_ capacity: Capacity, _ units: Units, band: Int?, at now: Instant) -> Shortage? {
    permitShortage(capacity, band: band, at: now) ?? bucketShortage(capacity, units, band: band, at: now)
  }

  @inline(__always)
  private func permitShortage(_ capacity: Capacity, band: Int?, at now: Instant) -> Shortage? {
    let band = band ?? 0
    if let ramp = capacity.ramp.bound(at: now), capacity.permits.inUse >= ramp.permits {
      return Shortage(isHeadroom: false, readyAt: min(ramp.next, capacity.permits.nextExpiry ?? .distantFuture))
    }
    guard let limit = capacity.permits.limit else { return nil }
    let inUse = capacity.permits.inUse
    let allowed =
      band == 0 || capacity.permits.isLearned
      ? limit : scheduler.permits(for: band, limit: limit) { capacity.permits.running(in: $0) }
    guard inUse >= allowed else { return nil }
    return Shortage(isHeadroom: inUse < limit, readyAt: capacity.permits.nextExpiry ?? .distantFuture)
  }

  @inline(__always)
  private func bucketShortage(_ capacity: Capacity, _ units: Units, band: Int?, at now: Instant) -> Shortage? {
    let band = band ?? 0
    for bucket in capacity.buckets {
      let kept = band == 0 ? 0 : scheduler.kept(from: band, capacity: bucket.capacity)
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
  func estimate(_ request: Request, leg: Route.Leg) -> CallEstimate {
    estimate(
      request.box, model: request.model, band: request.band, at: leg.provider,
      hope: request.isCold ? .nothing : .conversation)
  }

  /// What the provider is expected to count of the call's input, and whether the call continues one that is cached.
  @inline(__always)
  func expectedInput(
    _ box: TicketBox, model: ModelNumber, at provider: ProviderIndex, hope: CacheHope = .conversation
  ) -> CallEstimate {
    let estimate = box.ticket.estimatedInput
    var expected: CallEstimate
    if providers[provider].policy.admissionTokens == .produced {
      let (rest, known, cached) = providers[provider].predictor.expectedRest(
        estimate, model: model, prompt: box.prompt, life: providers[provider].policy.life(of: box), hope: hope,
        at: latest)
      expected = CallEstimate(input: rest, output: 0, isRest: known != nil, cached: cached)
      if let known {
        expected.holder = known.holder
        expected.cacheEnd = known.expiry
      }
    } else {
      expected = CallEstimate(
        input: providers[provider].predictor.expectedInput(estimate, model: model), output: 0)
      // Only the choice among keys depends on what is cached.
      if hope == .conversation, providers[provider].keyOrder.count > 1,
        let known = providers[provider].predictor.cached(box.prompt, estimated: estimate, at: latest)
      {
        expected.holder = known.holder
        expected.cached = TokenCount(known.cached)
      }
    }
    return expected
  }

  func estimate(
    _ box: TicketBox, model: ModelNumber, band: Int, at provider: ProviderIndex, hope: CacheHope = .conversation
  ) -> CallEstimate {
    var estimate = expectedInput(box, model: model, at: provider, hope: hope)
    guard box.ticket.producesOutput else { return estimate }
    let output = providers[provider].predictor.expectedOutput(model: model, band: band)
    estimate.output = min(box.ticket.outputCap ?? output, output)
    return estimate
  }

  /// What the provider will charge against its limits when the call starts, as far as that can be known.
  func units(_ request: Request, leg: Route.Leg, _ estimate: CallEstimate) -> Units {
    switch providers[leg.provider].policy.admissionTokens {
    case .produced:
      return Units(1, input: estimate.input, output: estimate.output)
    case .maxTokens:
      // OpenAI's rule: the larger of the cap and the estimate of the input.
      guard request.ticket.producesOutput, let cap = request.ticket.outputCap else {
        return Units(1, input: estimate.input, output: estimate.output)
      }
      return Units(1, estimate.input.value, cap.value, max(cap, estimate.input).value)
    }
  }

  /// What must be available: the provider refuses by its own count, which exceeds our estimate half of the time. Only
  /// the estimate is taken.
  func withMargin(
    _ units: Units, _ request: Request, leg: Route.Leg, _ estimate: CallEstimate
  ) -> Units {
    let provider = leg.provider
    let running = providers[provider].outstanding
    guard
      let margin = providers[provider].predictor.inputMargins(
        estimate.input, model: request.model, running: running, isRest: estimate.isRest)
    else { return units }
    // A cap that is charged at the start, and is larger than the input, gets no margin of its own.
    let (own, others) = (margin.own.value, margin.running.value)
    let tokens = units[3] == units[1] + units[2] ? units[3] + own : max(units[3], units[1] + own)
    return Units(units[0], units[1] + own + others, units[2], tokens + others)
  }

  // MARK: Commit

  /// Takes the permit, the units and the key, and orders the grant. The request is no longer in a queue. A free call takes
  /// nothing; breakers and the key let it pass, and are told of its end.
  /// - Parameters:
  ///   - turn: nil where no request waited, and for a free call.
  ///   - rule: how its turn came, for `explain`.
  mutating func commit(
    _ request: consuming Request, _ placement: Placement, turn: LeaseTurn?, by rule: GrantTurn, at now: Instant,
    into actions: inout ActionList
  ) {
    let index = placement.provider
    let candidate = providers.routes[request.route].legs[placement.leg].candidate
    request.queuedBefore = request.queued(at: now)
    request.tries += 1
    request.notBefore = nil
    var lease = Lease(
      request: request, placement: placement, turn: turn, candidate: candidate, began: now, epoch: book.epoch)
    lease.held = placement.hold
    if !lease.isFree {
      providers[index].typical.learn(placement.units, cost: placement.estimate.cost)
      let band = lease.request.band
      // The last of a backlog says nothing of how fast it moves. What goes before the others of a lower class does.
      if turn != nil, !waiting.isEmpty, placement.leg != 0 || providers[index].hasQueued {
        let isBacklog = waiting.countByBand[band] > 0 && (placement.leg != 0 || providers[index].queued[band] > 0)
        providers[index].notePace(placement, band: band, isBacklog: isBacklog, at: now)
      }
    }
    let changed = providers[index].begin(&lease, at: now)
    if let state = changed.own { tellRecovery(of: index, model: nil, state, into: &actions) }
    if let state = changed.ofModel { tellRecovery(of: index, model: placement.model, state, into: &actions) }
    if lease.isFree {
      tenants[lease.request.tenant].freeCalls += 1
    } else {
      takeFromTenant(&lease, at: now)
      if let session = lease.request.session { waiting.countCall(1, in: session, at: now) }
    }
    log(lease, rule, at: now)
    var remaining: Money?
    if !lease.request.accounts.isEmpty {
      if !lease.isFree {
        book.hold(lease.request.accounts, placement.hold)
        lookIfCrossed(lease.request.accounts, at: now)
      }
      remaining = book.remaining(lease.request.accounts, withBroker: isSingleTenant, at: now)
    }
    let (id, attempt, queued) = (lease.request.box.ticket.id, lease.request.tries, lease.request.queuedBefore)
    actions.append(
      .grant(
        Grant(
          request: id, lease: leases.insert(consume lease), provider: providers[index].policy.id,
          key: placement.key.map { providers[index].keys[$0].policy.id }, attempt: attempt, queued: queued,
          reservedInput: placement.input, reservedOutput: placement.output, expectedCached: placement.estimate.cached,
          held: placement.cost.map { Money(nanodollars: $0) }, budgetRemaining: remaining)))
  }

  /// Reports that a breaker lets its first call through again.
  func tellRecovery(
    of index: ProviderIndex, model: ModelIndex?, _ state: BreakerCondition, into actions: inout ActionList
  ) {
    actions.append(
      .note(
        .breakerChanged(
          providers[index].policy.id, model: model.map { providers[index].models[$0].pattern.pattern }, state: state,
          reason: "recovery time over")))
  }

  private mutating func takeFromTenant(_ lease: inout Lease, at now: Instant) {
    let tenant = lease.request.tenant
    let units = Units(1, input: lease.placement.input, output: lease.placement.output)
    lease.takenFromTenant = tenants[tenant].capacity.take(units, band: lease.request.band, at: now)
    // Rule 3a: the tenant's other heads may no longer claim anything.
    if !waiting.isEmpty, !tenants[tenant].capacity.isUnlimited { waiting.tell(tenant) }
  }
}
