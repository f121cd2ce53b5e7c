// How long a request will still wait, and what its blocker lacks, in numbers: pure questions, for people. No decision
// depends on an answer.
//
// A wait is foretold from what is known: pauses and breakers with their ends; who goes before it in its class by the order of
// turns as it stands, and who waits in the classes above; how often calls of its class were let in lately while such calls
// waited (`GrantPace`), which contains all that newcomers above it take; and what the limits themselves allow: buckets
// refill, and running calls end as calls of this model do. Of the limits' and the observed pace, the slower one counts.

extension Admission {
  // MARK: Numbers of a blocker

  /// Why a queued request waits right now, in numbers; nil where it is not queued.
  public func reading(of request: RequestID, at now: Instant) -> BlockerReading? {
    waiting.index(of: request).map { reading(of: $0, at: now) }
  }

  func reading(of index: RequestIndex, at now: Instant) -> BlockerReading {
    let request = waiting[index]
    let obstacle = currentObstacle(of: index, at: now)
    var reading = BlockerReading(
      blocker: blocker(for: obstacle, request.box), provider: obstacle.provider.map { providers[$0].policy.id },
      beforeInLane: waiting.countBefore(index))
    measure(obstacle, request, &reading, at: now)
    return reading
  }

  /// What is missing, how much of it is there, and when it will be.
  private func measure(_ obstacle: Obstacle, _ request: Request, _ reading: inout BlockerReading, at now: Instant) {
    let legs = providers.routes[request.route].legs
    let isBesideTenant = obstacle.kind == .tenantBucket || obstacle.kind == .tenantPermits
    guard let leg = isBesideTenant ? legs.first : legs.first(where: { $0.provider == obstacle.provider }) else {
      if let notBefore = request.notBefore, notBefore != .distantFuture { reading.thereAt = max(now, notBefore) }
      return
    }
    switch obstacle.kind {
    case .tenantBucket, .tenantPermits:
      measure(tenants[request.tenant].capacity, obstacle, request, leg, band: 0, &reading, at: now)
    case .permits, .headroom, .bucket, .keyPermits, .keyBucket:
      guard obstacle.atKeys == .short || obstacle.kind == .keyPermits || obstacle.kind == .keyBucket else {
        return measure(providers[leg.provider].capacity, obstacle, request, leg, band: request.band, &reading, at: now)
      }
      // The key that has it first, or the most of it.
      for key in leg.keys where providers[leg.provider].keys[key].health.unusableUntil(at: now) == nil {
        var own = reading
        own.needed = nil
        measure(
          providers[leg.provider].keys[key].capacity, obstacle, request, leg, band: request.band, &own, at: now)
        let isSooner = (own.thereAt ?? .distantFuture) < (reading.thereAt ?? .distantFuture)
        if own.needed != nil, reading.needed == nil || isSooner { reading = own }
      }
    case .modelPermits, .modelHeadroom, .modelBucket:
      guard let model = leg.model else { return }
      measure(
        providers[leg.provider].models[model].capacity, obstacle, request, leg, band: request.band, &reading, at: now)
    case .claimed:
      // When what the other one gathers is there, and so at the earliest.
      reading.thereAt = endOfGathering(at: leg, before: 2, at: now)
    case .breaker, .closed, .modelBreaker, .modelClosed, .keys, .warmKey:
      if case .blocked(_, let until) = place(request, leg, ignoringHeadroom: false, heedsClaims: false, at: now),
        until != .distantFuture
      {
        reading.thereAt = until
      }
    case .freePermits:
      reading.needed = 1
      reading.available = 0
    case .behindInLane, .notItsTurn, .sessionPermits, .backoff, .budget, .draining: break
    }
  }

  private func measure(
    _ capacity: Capacity, _ obstacle: Obstacle, _ request: Request, _ leg: Route.Leg, band: Int,
    _ reading: inout BlockerReading, at now: Instant
  ) {
    switch obstacle.kind {
    case .bucket, .modelBucket, .tenantBucket, .keyBucket:
      let needed = need(of: request, at: leg)[Int(obstacle.dimension.rawValue)]
      for bucket in capacity.buckets where bucket.dimension == obstacle.dimension {
        let kept = band == 0 ? 0 : scheduler.kept(from: band, capacity: bucket.capacity)
        guard !bucket.isCovered(needed, keeping: kept, at: now) else { continue }
        reading.needed = min(needed, bucket.capacity - kept)
        reading.available = bucket.available(at: now) - kept
        let there = bucket.instantCovered(needed, keeping: kept, at: now)
        reading.thereAt = there == .distantFuture ? nil : there
        return
      }
    default:
      reading.needed = 1
      reading.available = 0
      reading.thereAt = capacity.permits.nextExpiry
    }
  }

  private func need(of request: Request, at leg: Route.Leg) -> Units {
    let estimate = estimate(request, leg: leg)
    return withMargin(units(request, leg: leg, estimate), request, leg: leg, estimate)
  }

  /// When the bucket is full enough for the one that has claimed the leg; nil where it waits for something else.
  /// A lower class than `band` keeps nobody waiting.
  func endOfGathering(at leg: Route.Leg, before band: Int, at now: Instant) -> Instant? {
    guard providers[leg.provider].hasClaim(leg), let id = providers[leg.provider].claimant,
      let index = waiting.index(of: id), waiting[index].band <= band
    else { return nil }
    let claimant = waiting[index]
    guard let own = providers.routes[claimant.route].legs.first(where: { $0.provider == leg.provider }),
      case .blocked(let obstacle, let until) = place(
        claimant, own, ignoringHeadroom: false, heedsClaims: false, at: now), until != .distantFuture,
      obstacle.kind == .bucket || obstacle.kind == .modelBucket || obstacle.kind == .keyBucket
    else { return nil }
    return until
  }

  // MARK: The rest of a wait

  /// How a queued request stands: its blocker in numbers, its place, and how long it will still wait; nil where it is
  /// not queued.
  public func waitReading(of request: RequestID, at now: Instant) -> WaitReading? {
    guard let index = waiting.index(of: request) else { return nil }
    let (before, band) = (requestsAhead(of: index), waiting[index].band)
    let first = providers.routes[waiting[index].route].legs.first
    return WaitReading(
      reading: reading(of: index, at: now), beforeInClass: before,
      waitingAbove: band == 0 || waiting[index].ticket.isFree ? nil : first.map { queuedAbove(band, at: $0.provider) },
      rest: rest(of: index, before: before, at: now))
  }

  /// How long a queued request will still wait; nil where nobody can tell, or it is not queued.
  public func predictedRest(of request: RequestID, at now: Instant) -> Span? {
    guard let index = waiting.index(of: request) else { return nil }
    return rest(of: index, before: requestsAhead(of: index), at: now)
  }

  /// How long a call of the class would wait that came now, from a session like those that wait; nil where nobody can
  /// tell.
  public func predictedWait(_ priority: Priority, at now: Instant) -> Span? {
    let band = Int(priority.rawValue)
    var busiest: ProviderIndex?
    for provider in providers.inForce where waiting.oldest(at: provider, band: band) != nil {
      if let known = busiest, providers[known].queued[band] >= providers[provider].queued[band] { continue }
      busiest = provider
    }
    if let busiest, let oldest = waiting.oldest(at: busiest, band: band) {
      return waitOfNext(behind: oldest, at: busiest, band: band, at: now)
        ?? rest(of: oldest, before: 0, isTypical: true, at: now)
    }
    // Nobody of the class waits: then it waits for those above it, or for a place. It goes where its class goes, and where
    // none of that runs, anywhere. Most calls may go to one provider and model only, so what is slowest counts.
    let open = providers.inForce.filter { !isShut($0, at: now) }
    let used = open.filter { providers[$0].capacity.permits.running(in: band) > 0 }
    let patience = Double(scheduler.policy(band).maxWait.nanoseconds)
    let longest = (used.isEmpty ? open : used).flatMap { provider -> [Double] in
      let above = Double(queuedAbove(band, at: provider))
      let models = providers[provider].modelOrder.filter {
        providers[provider].models[$0].capacity.permits.running(in: band) > 0
      }
      return ([nil] + models).compactMap { model in
        let leg = Route.Leg(
          provider: provider, model: model, keys: providers[provider].keyOrder, hasNoKey: false, candidate: 0)
        let pause = pause(of: leg, at: now)
        // Who would have to wait longer than it may is refused at once, and waits for nothing.
        guard pause <= patience else { return nil }
        return pause + time(at: leg, band: band, model: .shared, need: nil, before: above, at: now)
      }
    }.max()
    return longest.flatMap { Self.span($0) }
  }

  /// What a call of the class would wait that came now: the middle one of the whole waits of those that came last (what
  /// they have waited, and what they will), and, counted twice, of the wait of a session that has just had its turn. The
  /// first tell of the sessions that really call, of their tenants and of what they send at once; the second does not
  /// depend on who happens to wait.
  private func waitOfNext(behind oldest: RequestIndex, at provider: ProviderIndex, band: Int, at now: Instant) -> Span?
  {
    var waits: [Span] = []
    if let head = waiting.head(before: oldest),
      let before = waiting.aheadOfNext(beside: head, cost: typicalCost(of: head), isRival: { isRival($0, of: head) }),
      let wait = rest(as: waiting[head], before: before, isTypical: true, at: now)
    {
      waits = [wait, wait]
    }
    for index in waiting.newest(Self.newest, at: provider, band: band) where !waiting[index].ticket.isFree {
      let age = now - waiting[index].queuedSince
      // One that came long ago says little of a call that comes now.
      guard let rest = rest(of: index, before: requestsAhead(of: index), at: now), age <= rest else { continue }
      waits.append(Span(nanoseconds: rest.nanoseconds.saturatingAdding(age.nanoseconds)))
    }
    return waits.isEmpty ? nil : waits.sorted()[waits.count / 2]
  }
  /// So many of those that came last are looked at.
  private static let newest = 5

  /// True where no call waits: none is sent until somebody does something, or all are refused until then.
  private func isShut(_ provider: ProviderIndex, at now: Instant) -> Bool {
    let state = providers[provider]
    if let end = state.breaker.earliestRecovery(at: now) {
      if end == .distantFuture || state.policy.breaker.whenOpen == .reject { return true }
    }
    return !state.keyOrder.isEmpty
      && state.keyOrder.allSatisfy {
        state.keys[$0].health.isOut && state.keys[$0].health.unusableUntil(at: now) != nil
      }
  }

  private func typicalCost(of index: RequestIndex) -> Int64 {
    let leg = providers.routes[waiting[index].route].legs.first
    return leg.flatMap { providers[$0.provider].typical.cost } ?? waiting[index].cost
  }

  /// True for routes whose calls take what this request needs.
  private func isRival(_ route: RouteIndex, of index: RequestIndex) -> Bool {
    let own = waiting[index].route
    if route == own { return true }
    for leg in providers.routes.indices(of: own) {
      let mine = providers.routes[own, leg]
      for other in providers.routes.indices(of: route) {
        let its = providers.routes[route, other]
        guard its.provider == mine.provider else { continue }
        // Where each model has its own permits and units, calls of other models are no rivals for them.
        if its.model == mine.model || !isModelBound(mine) { return true }
      }
    }
    return false
  }

  private func isModelBound(_ leg: Route.Leg) -> Bool {
    guard let model = leg.model, providers[leg.provider].models[model].name == nil else { return false }
    return !providers[leg.provider].models[model].capacity.isUnlimited
  }

  /// How many requests of its class are expected to go before it.
  private func requestsAhead(of index: RequestIndex) -> Int {
    let request = waiting[index]
    if request.ticket.isFree { return 0 }
    // No more than wait in its class, of whom it is one.
    let others = max(0, waiting.countByBand[request.band] - 1)
    return min(others, waiting.ahead(of: index, cost: typicalCost(of: index)) { isRival($0, of: index) } ?? others)
  }

  private func rest(of index: RequestIndex, before: Int, isTypical: Bool = false, at now: Instant) -> Span? {
    let request = waiting[index]
    // It waits for a hold to come back, which is a matter of money.
    if request.waitsFor != nil { return nil }
    return rest(as: request, before: before, isTypical: isTypical, at: now).map { rest in
      guard let notBefore = request.notBefore, notBefore != .distantFuture else { return rest }
      return max(rest, notBefore - now)
    }
  }

  /// - Parameter isTypical: true for any call of its class, and not this one.
  private func rest(as request: Request, before: Int, isTypical: Bool = false, at now: Instant) -> Span? {
    let legs = providers.routes[request.route].legs.filter { !$0.hasNoKey }
    if request.ticket.isFree { return legs.map { pause(of: $0, at: now) }.min().flatMap { Self.span($0) } }
    let pauses = legs.map { pause(of: $0, at: now) }
    let open = pauses.count { $0 <= 0 }
    // Several providers share what is before it, those that are open now at least.
    let share = Double(max(1, open))
    var queue = Queue()
    for (leg, pause) in zip(legs, pauses) where open == 0 || pause <= 0 { count(leg, request, pause, &queue, at: now) }
    var byLimits = Double.infinity
    for (leg, pause) in zip(legs, pauses) {
      // What those above it take is in the pace, where that is known.
      let above = queue.grants > 0 || isModelBound(leg) ? 0 : queuedAbove(request.band, at: leg.provider)
      let time = time(
        at: leg, band: request.band, model: request.model, need: need(of: request, at: leg),
        before: (Double(before) + Double(above)) / share, at: now)
      byLimits = min(byLimits, pause + time)
    }
    let byPace =
      queue.grants > 0 ? (pauses.min() ?? 0) + time(in: queue, request, before: Double(before), isTypical, at: now) : 0
    guard byLimits.isFinite || byPace > 0 else { return nil }
    let slower = max(byLimits.isFinite ? byLimits : 0, byPace)
    return Self.span(max(slower, timeAtTenant(request, legs, before: before, at: now)))
  }

  /// How the queue of a class moves at the providers of a route, in calls and nanoseconds.
  private struct Queue {
    /// Grants of all classes; 0 where that is not known.
    var grants = 0.0
    /// What they cost, in tokens; 0 where that is not known.
    var work = 0.0
    /// Grants of its own class; 0 where that is not known.
    var own = 0.0
    /// What a call of its own class costs, in tokens; 0 where that is not known.
    var cost = 0.0
    /// What comes to the classes above, and what waits there.
    var arrivals = 0.0
    var above = 0.0
    /// True for the classes below in which somebody waits.
    var waitsBelow = [false, false, false]
  }

  private func count(_ leg: Route.Leg, _ request: Request, _ pause: Double, _ queue: inout Queue, at now: Instant) {
    let (state, band, isOpen) = (leg.provider, request.band, pause <= 0)
    if isModelBound(leg), let model = leg.model {
      // Calls of other models do not take what it needs, and how many of its own model wait above it is not counted.
      if let interval = providers[state].models[model].paces[3].interval(isOpen: isOpen, at: now) {
        queue.grants += 1 / max(interval, 1)
      }
      return
    }
    if let interval = providers[state].paces[3].interval(isOpen: isOpen, at: now) {
      queue.grants += 1 / max(interval, 1)
      queue.work += (providers[state].paces[3].cost ?? 0) / max(interval, 1)
    }
    if let interval = providers[state].paces[band].interval(isOpen: isOpen, at: now) {
      queue.own += 1 / max(interval, 1)
    }
    queue.cost = max(queue.cost, providers[state].paces[band].cost ?? 0)
    for above in 0..<band {
      let rate = providers[state].arrivals[above].rate(at: now)
      queue.arrivals += rate
      // Until the pause is over, they gather.
      queue.above += Double(providers[state].queued[above]) + rate * max(0, pause)
    }
    for below in band + 1..<3 where providers[state].queued[below] > 0 { queue.waitsBelow[below] = true }
  }

  /// How long it takes until those before it, and it, are let in at this pace. While many wait above it, its class gets
  /// its share (rule 1b), which grows when its oldest call becomes old (1c); when they are gone, it gets what newcomers
  /// above it and the shares below it leave.
  private func time(
    in queue: Queue, _ request: Request, before: Double, _ isTypical: Bool, at now: Instant
  ) -> Double {
    // Who comes at any time finds long spans between turns more often than short ones, so that a whole one is left.
    let (band, turns) = (request.band, before + (isTypical ? 1 : 0.5))
    let cluster = providers.cluster(of: request.route)
    var below = 0.0
    for other in band + 1..<3 where queue.waitsBelow[other] {
      below += scheduler.part(other, isOld: waiting.hasOld(other, in: cluster))
    }
    let left = queue.grants * max(0, 1 - below) - queue.arrivals
    let free = max(queue.own, left, queue.grants * 0.02)
    guard band > 0, queue.above + queue.arrivals > 0 else { return turns / free }
    // Shares count what calls cost: that of the next one is known, and what its class has saved up.
    let cost = providers.routes[request.route].legs.first.map { Double(estimate(request, leg: $0).cost) } ?? 0
    let typical = queue.cost > 0 ? queue.cost : max(1, cost)
    let own = isTypical ? typical : cost - scheduler.credit(band, in: cluster)
    let missing = max(0.1 * typical, before * typical + own)
    let work = queue.work > 0 ? queue.work : queue.grants * typical
    func floor(isOld: Bool) -> Double { work * scheduler.part(band, isOld: isOld) * turns / missing }
    let isOld = waiting.hasOld(band, in: cluster)
    // A few wait above it only because they have just come.
    let above = max(0, queue.above - 1e9 * queue.grants)
    let surplus = left - floor(isOld: isOld)
    let gone = above <= 0 ? 0 : surplus > 0.05 * queue.grants ? above / surplus : .infinity
    let grows = isOld ? .infinity : max(0, Double((oldestPromotion(request) - now).nanoseconds))
    // What is still to do at each time, until its share grows and until nobody waits above it.
    var (time, rest) = (0.0, turns)
    for (end, isOldThen) in [(min(grows, gone), isOld), (gone, true)] where end > time {
      let rate = floor(isOld: isOldThen)
      if rate > 0, rest / rate <= end - time { return time + rest / rate }
      guard end.isFinite else { return .infinity }
      rest -= rate * (end - time)
      time = end
    }
    let hasGrown = isOld || grows <= time
    let rate = max(free, floor(isOld: hasGrown))
    if hasGrown || time + rest / rate <= grows { return time + rest / rate }
    rest -= rate * (grows - time)
    return grows + rest / max(free, floor(isOld: true))
  }

  /// When the oldest of its class there becomes old.
  private func oldestPromotion(_ request: Request) -> Instant {
    let oldest = providers.routes[request.route].legs.compactMap { waiting.oldest(at: $0.provider, band: request.band) }
      .map { waiting[$0].promoteAt }.min()
    return min(oldest ?? request.promoteAt, request.promoteAt)
  }

  private func queuedAbove(_ band: Int, at provider: ProviderIndex) -> Int {
    (0..<band).reduce(0) { $0 + providers[provider].queued[$1] }
  }

  /// What the tenant's own limits let through.
  private func timeAtTenant(_ request: Request, _ legs: [Route.Leg], before: Int, at now: Instant) -> Double {
    let capacity = tenants[request.tenant].capacity
    guard !capacity.isUnlimited, let leg = legs.first else { return 0 }
    // Of those before it, those of its tenant count.
    let own = min(before, max(0, tenants[request.tenant].queued - 1))
    return time(
      at: capacity, band: 0, need: need(of: request, at: leg), typical: providers[leg.provider].typical.units,
      lasts: lasts(at: leg, model: request.model, now), before: Double(own), at: now)
  }

  private static func span(_ nanoseconds: Double) -> Span? {
    nanoseconds.isFinite ? Span(nanoseconds: Int64(min(max(0, nanoseconds), 9e18))) : nil
  }

  // MARK: What the limits allow

  /// How long a call of the model lasts there, its lag included; of a model that is not known, a call of any; 0 where none
  /// has ended yet and none has run for long.
  private func lasts(at leg: Route.Leg, model: ModelNumber, _ now: Instant) -> Double {
    let own = providers[leg.provider].durations.expected(model: model)
    let known = (own > .zero ? own : providers[leg.provider].durations.typical).nanoseconds
    let lag = Double(providers[leg.provider].policy.settleLag.nanoseconds)
    let age = leases.meanAge(at: leg.provider, now).nanoseconds
    // Those that still hang while the breaker is open will not be there when it has closed.
    if known > 0, providers[leg.provider].breaker.condition(at: now) == .open { return Double(known) + lag }
    // Where the running calls have run much longer than usual, they will go on for about as long as they have.
    if known > 0 { return Double(age > 2 * known ? age : known) + lag }
    // Nothing is known yet: those that run are about half done.
    return age > 100_000_000 ? 2 * Double(age) + lag : 0
  }

  /// How long nothing can go at the leg, whatever it needs.
  func pause(of leg: Route.Leg, at now: Instant) -> Double {
    let state = leg.provider
    var ends: [Instant?] = [
      providers[state].breaker.blockedUntil(at: now), providers[state].gate.blockedUntil(at: now),
    ]
    if let model = leg.model {
      ends.append(providers[state].models[model].breaker?.blockedUntil(at: now))
      ends.append(providers[state].models[model].gate.blockedUntil(at: now))
    }
    if !leg.keys.isEmpty {
      // The key that can be used first.
      var first = Instant.distantFuture
      for key in leg.keys {
        var end = providers[state].keys[key].health.unusableUntil(at: now) ?? now
        if let model = leg.model, let until = providers[state].models[model].keyGates[key]?.blockedUntil(at: now) {
          end = max(end, until)
        }
        first = min(first, end)
      }
      if first > now { ends.append(first) }
    }
    var pause = 0.0
    for case let end? in ends {
      // A single call tries whether the pause is over: its answer comes as soon as that of any call.
      let probe = lasts(at: leg, model: .shared, now)
      pause = max(pause, end == .distantFuture ? max(probe, 1e9) / 2 : Double((end - now).nanoseconds))
    }
    return pause
  }

  /// In how many nanoseconds the limits of a leg let a call through that has others before it.
  private func time(
    at leg: Route.Leg, band: Int, model: ModelNumber, need: Units?, before: Double, at now: Instant
  ) -> Double {
    let state = leg.provider
    let (typical, lasts) = (providers[state].typical.units, lasts(at: leg, model: model, now))
    let need = need ?? typical ?? Units(1, 0, 0, 0)
    var time = self.time(
      at: providers[state].capacity, band: band, need: need, typical: typical, lasts: lasts, before: before, at: now)
    if let model = leg.model {
      let own = self.time(
        at: providers[state].models[model].capacity, band: band, need: need, typical: typical, lasts: lasts,
        before: before, at: now)
      time = max(time, own)
    }
    let keys = leg.keys.filter { providers[state].keys[$0].health.unusableUntil(at: now) == nil }
    // Keys work beside each other.
    let soonest = keys.map { key in
      self.time(
        at: providers[state].keys[key].capacity, band: band, need: need, typical: typical, lasts: lasts,
        before: before / Double(keys.count), at: now)
    }.min()
    time = max(time, soonest ?? 0)
    guard let gathered = endOfGathering(at: leg, before: band, at: now) else { return time }
    return max(time, Double((gathered - now).nanoseconds))
  }

  /// - Parameter lasts: how long a call lasts; 0 where that is not known.
  private func time(
    at capacity: Capacity, band: Int, need: Units, typical: Units?, lasts: Double, before: Double, at now: Instant
  ) -> Double {
    var time = 0.0
    if let limit = capacity.permits.limit, limit > 0 {
      let allowed =
        band == 0 || capacity.permits.isLearned
        ? limit : scheduler.permits(for: band, limit: limit) { capacity.permits.running(in: $0) }
      let ends = Double(capacity.permits.inUse) + before + 1 - Double(allowed)
      if ends > 0 { time = lasts > 0 ? ends * lasts / Double(limit) : .infinity }
    }
    for bucket in capacity.buckets {
      let place = Int(bucket.dimension.rawValue)
      let kept = band == 0 ? 0 : scheduler.kept(from: band, capacity: bucket.capacity)
      let own = min(need[place], bucket.capacity - kept)
      let missing =
        Double(own) + before * Double((typical ?? need)[place]) - Double(bucket.available(at: now) - kept)
      guard missing > 0, own > 0 else { continue }
      if let end = bucket.dayEnd {
        time = max(time, Double((end - now).nanoseconds))
      } else if bucket.perMinute > 0 {
        time = max(time, missing * 60e9 / Double(bucket.perMinute))
      }
    }
    return time
  }
}
