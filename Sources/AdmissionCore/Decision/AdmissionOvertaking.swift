// Rule 3f: a small call that comes while a large one gathers tokens goes before it.
//
// A head that waits for a bucket to fill keeps everything from those after it (rule 3), or it would starve. But a call
// of 200 tokens delays one that gathers 300,000 by six milliseconds, and would wait nine seconds for it.
//
// Promises: all calls that overtake a request take together at most an eighth of what it needs, so that it waits longer by at
// most the time in which that flows in; nobody overtakes one of a higher class, or takes what it needs besides: a permit of
// its provider, tenant or session, money, the way around the headroom, the place of a probe. The order of turns counts
// overtaking calls as any others. Each call is asked once, when it comes, so this takes constant time; one that found no room
// then waits for its turn.

extension Admission {
  /// In millionths of what a request needs: what those that overtake it may take.
  static let mostOvertaken: Int32 = 125_000

  /// Lets the request go, which has just come and waits, where it is small beside the one that claims its provider.
  mutating func letOvertake(_ index: RequestIndex, at now: Instant, into actions: inout ActionList) {
    let legs = providers.routes[waiting[index].route].legs
    var isLimited: Bool?
    for position in legs.indices {
      let leg = legs[position]
      guard let claimant = gathering(at: leg, before: index) else { continue }
      let request = waiting[index]
      var first: CallEstimate?
      if isLimited == nil { isLimited = tenantShortage(request, legs, at: now, first: &first) != nil }
      if isLimited == true { return }
      let former = providers[leg.provider].lift(leg, of: waiting[claimant].box.ticket.id)
      var estimate: CallEstimate?
      var placement = Placement.none
      let attempt = place(
        request, leg, ignoringHeadroom: false, heedsClaims: true, at: now, estimate: &estimate, into: &placement)
      providers[leg.provider].restore(former, leg)
      placement.leg = position
      guard case .placed = attempt, !placement.isSecondChoice,
        leavesAll(to: waiting[claimant], request, leg, placement, at: now),
        let share = share(takenFrom: waiting[claimant], leg, by: placement, at: now)
      else { continue }
      guard share <= Self.mostOvertaken - waiting[claimant].overtaken else { continue }
      waiting[claimant].overtaken += share
      // What turns cost is estimated anew: there may have been no pass since something was learned.
      passes += 1
      let overtaken = waiting[claimant].box.ticket.id
      grant(index, request, placement, .overtaking, at: now, into: &actions)
      if let lease = leases.index(of: request.box.ticket.id) { leases[lease].overtook = overtaken }
      return
    }
  }

  /// The request that gathers at the leg, where one that has just come may overtake it.
  private func gathering(at leg: Route.Leg, before index: RequestIndex) -> RequestIndex? {
    let provider = leg.provider
    guard providers[provider].hasClaim(leg), !providers[provider].isLacking(leg), !leg.hasNoKey,
      // The one that gathers will need a permit too.
      providers[provider].capacity.permits.hasFree(2), let id = providers[provider].claimant,
      let claimant = waiting.index(of: id), claimant != index
    else { return nil }
    let band = waiting[index].band
    guard waiting[claimant].band >= band, waiting[claimant].overtaken < Self.mostOvertaken, waiting.isHead(index),
      !waiting.isCapped(index), tenants[waiting[index].tenant].parking == nil,
      // It stands before no call of a higher class.
      (0..<band).allSatisfy({ waiting.backlog(of: $0) == 0 }),
      // Or nothing runs of its class, and the headroom could be all that is in its way (rule 1a).
      band == 0 || waiting[claimant].band > band || providers[provider].capacity.permits.running(in: band) > 0,
      // Sessions of one group share their places.
      waiting[claimant].session == nil || waiting[claimant].session != waiting[index].session,
      claimedLeg(of: waiting[claimant], beside: leg) != nil
    else { return nil }
    return claimant
  }

  /// The leg at which the request gathers what a call by this leg would take: one of the same model, or any where the
  /// whole provider is claimed.
  private func claimedLeg(of request: Request, beside leg: Route.Leg) -> Route.Leg? {
    let legs = providers.routes[request.route].legs
    if let same = legs.first(where: { $0.provider == leg.provider && $0.model == leg.model }) { return same }
    guard providers[leg.provider].claimedIn == providers[leg.provider].look,
      leg.model.map({ providers[leg.provider].models[$0].claimedIn != providers[leg.provider].look }) ?? true
    else { return nil }
    return legs.first { $0.provider == leg.provider }
  }

  /// True where the claimant still has all that it needs besides what it gathers.
  private func leavesAll(
    to claimant: Request, _ request: Request, _ taken: Route.Leg, _ placement: Placement, at now: Instant
  ) -> Bool {
    // A single call goes first after a pause (rule 8): the one whose turn it is.
    guard providers[placement.provider].isOpen(placement), let leg = claimedLeg(of: claimant, beside: taken) else {
      return false
    }
    let needed = estimate(claimant, leg: leg)
    if claimant.tenant == request.tenant, !tenants[claimant.tenant].capacity.isUnlimited {
      var after = tenants[claimant.tenant].capacity
      _ = after.take(Units(1, input: placement.input, output: placement.output), band: request.band, at: now)
      let units = Units(1, input: needed.input, output: needed.output)
      if shortage(after, units, band: nil, at: now) != nil { return false }
    }
    if claimant.accounts.contains(where: request.accounts.contains) {
      var both = demand(claimant, leg: leg, needed)
      let own = demand(request, leg: taken, placement.estimate)
      both.usd = both.usd.map { $0.saturatingAdding(placement.hold.usd) }
      both.mostUSD = both.mostUSD.saturatingAdding(placement.hold.usd)
      both.tokens = both.tokens.saturatingAdding(own.mostTokens)
      both.mostTokens = both.mostTokens.saturatingAdding(own.mostTokens)
      guard case .fits = book.fit(claimant.accounts, both, at: now).fit else { return false }
    }
    return true
  }

  /// Counts what a call has taken beyond what was expected, from the request that it has overtaken.
  mutating func countOvertaking(of overtaken: RequestID?, beyond more: Int64) {
    guard more > 0, let overtaken, let index = waiting.index(of: overtaken) else { return }
    let whole = max(1, waiting[index].box.ticket.estimatedInput.value)
    let share = min(more, whole) * 1_000_000 / whole
    waiting[index].overtaken = Int32(clamping: Int64(waiting[index].overtaken) + share)
  }

  /// What the placement takes of what the request gathers, in millionths of it; nil where the request would have to wait
  /// for something else then.
  private func share(takenFrom request: Request, _ leg: Route.Leg, by placement: Placement, at now: Instant) -> Int32? {
    guard let own = claimedLeg(of: request, beside: leg) else { return nil }
    let estimate = estimate(request, leg: own)
    let needed = withMargin(units(request, leg: own, estimate), request, leg: own, estimate)
    var share: Int64 = 0
    var fits = true
    func look(_ capacity: Capacity) {
      var after = capacity
      _ = after.take(placement.units, band: request.band, at: now)
      // A permit for it is left.
      if shortage(after, .zero, band: request.band, at: now) != nil { fits = false }
      for bucket in after.buckets {
        let place = Int(bucket.dimension.rawValue)
        let kept = request.band == 0 ? 0 : scheduler.kept(from: request.band, capacity: bucket.capacity)
        if placement.units[place] <= 0 || bucket.isCovered(needed[place], keeping: kept, at: now) { continue }
        let whole = max(1, min(needed[place], bucket.capacity - kept))
        share = max(share, min(placement.units[place], whole) * 1_000_000 / whole + 1)
      }
    }
    look(providers[leg.provider].capacity)
    if let model = leg.model, model == own.model { look(providers[leg.provider].models[model].capacity) }
    if let key = placement.key, own.keys.contains(key) { look(providers[leg.provider].keys[key].capacity) }
    return fits ? Int32(clamping: share) : nil
  }
}

extension ProviderState {
  /// True where no call by this placement would be a probe.
  fileprivate func isOpen(_ placement: Placement) -> Bool {
    guard gate.state == .passing, breaker.state == .closed else { return false }
    if let model = placement.model {
      guard models[model].gate.state == .passing, models[model].breaker?.state ?? .closed == .closed else {
        return false
      }
      if let key = placement.key, let gate = models[model].keyGates[key], gate.state != .passing { return false }
    }
    return placement.key.map { keys[$0].health.gate.state == .passing } ?? true
  }

  /// What of a leg was claimed.
  fileprivate struct Claims {
    var provider: UInt64
    var model: UInt64?
    var keys: [KeyIndex] = []
  }

  /// Takes away the request's claims at the leg.
  fileprivate mutating func lift(_ leg: Route.Leg, of claimant: RequestID) -> Claims {
    var claims = Claims(provider: claimedIn, model: leg.model.map { models[$0].claimedIn })
    claimedIn = 0
    if let model = leg.model { models[model].claimedIn = 0 }
    for key in leg.keys where keys[key].claimedIn == look && keys[key].claimant == claimant {
      claims.keys.append(key)
      keys[key].claimedIn = 0
    }
    return claims
  }

  fileprivate mutating func restore(_ claims: Claims, _ leg: Route.Leg) {
    claimedIn = claims.provider
    if let model = leg.model, let claim = claims.model { models[model].claimedIn = claim }
    for key in claims.keys { keys[key].claimedIn = look }
  }
}
