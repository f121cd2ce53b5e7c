// The operator's rules put to work: providers, limits, keys and tenants come and go while requests wait and run.

extension Admission {
  /// Takes over a policy. Numbers of providers, models and keys that leases hold stay good.
  mutating func install(_ new: AdmissionPolicy, asksPast: Bool = false, at now: Instant) {
    forgetMeters(at: now)
    policy = new
    scheduler.replace(bands: new.bands)
    for index in providers.indices { providers[index].isRetired = true }
    providerIndex.removeAll()
    for rules in new.providers {
      guard let known = providers.firstIndex(where: { $0.policy.id == rules.id }) else { continue }
      providers[known].isRetired = false
      providerIndex[rules.id] = Int32(known)
    }
    for rules in new.providers {
      let number: Int
      if let known = providerIndex[rules.id] {
        number = Int(known)
      } else {
        let state = ProviderState(
          policy: rules, capacity: Capacity(Limits(), at: now), breaker: CircuitBreaker(policy: rules.breaker))
        number = Self.put(state, into: &providers, isFree: \.isFree)
        providerIndex[rules.id] = Int32(number)
      }
      install(rules, number, at: now)
    }
    while providers.last?.isFree == true { providers.removeLast() }
    installBudgets(new, asksPast: asksPast)
    for index in tenants.indices where tenants[index].inUse { tenants[index].isListed = false }
    for rules in new.tenants {
      let number = tenantIndex[rules.id] ?? addTenant(rules.id, rules, isListed: true, at: now)
      install(rules, tenant: Int(number), isListed: true, at: now)
    }
    for index in tenants.indices where tenants[index].inUse && !tenants[index].isListed {
      let template = new.tenantTemplate ?? TenantPolicy(id: tenants[index].id)
      install(template, tenant: index, isListed: false, at: now)
    }
    for index in tenants.indices { unpark(Int32(index)) }
    sweepTenants(at: now)
    routes.removeAll()
  }

  private mutating func install(_ rules: ProviderPolicy, _ number: Int, at now: Instant) {
    providers[number].policy = rules
    if let name = rules.cluster {
      let known = clusterNumbers[name] ?? Int32(clusterNumbers.count + 1)
      clusterNumbers[name] = known
      providers[number].cluster = known
    } else {
      providers[number].cluster = 0
    }
    providers[number].breaker.policy = rules.breaker
    if !rules.learnLimits {
      providers[number].learner = QuotaLearner()
      for key in providers[number].keys.indices { providers[number].keys[key].learner = QuotaLearner() }
    }
    installModels(rules, number, at: now)
    installKeys(rules, number, at: now)
    providers[number].capacity.ramp.length = rules.ramp
    applyLimits(of: number, at: now)
  }

  /// Puts a new state where an old one is not needed any more, or at the end. Returns its number.
  static func put<State>(_ state: State, into states: inout [State], isFree: (State) -> Bool) -> Int {
    if let free = states.firstIndex(where: isFree) {
      states[free] = state
      return free
    }
    states.append(state)
    return states.count - 1
  }

  private mutating func installModels(_ rules: ProviderPolicy, _ number: Int, at now: Instant) {
    // Models that had no entry keep what was learned of them, unless they have one now.
    let adopted = providers[number].modelOrder.filter { model in
      guard let name = providers[number].models[Int(model)].name else { return false }
      return !rules.modelLimits.contains { $0.models.matches(name) }
    }
    for index in providers[number].models.indices where !adopted.contains(Int32(index)) {
      providers[number].models[index].isRetired =
        providers[number].models[index].name != nil
        || !rules.modelLimits.contains { $0.models == providers[number].models[index].pattern }
    }
    for model in adopted where !rules.learnLimits { providers[number].models[Int(model)].learner = QuotaLearner() }
    let declared = rules.modelLimits.map { limits in
      if let known = providers[number].models.firstIndex(where: {
        $0.pattern == limits.models && $0.name == nil && !$0.isRetired
      }) {
        providers[number].models[known].limits = limits.limits
        if let policy = limits.breaker, providers[number].models[known].breaker != nil {
          providers[number].models[known].breaker?.policy = policy
        } else {
          providers[number].models[known].breaker = limits.breaker.map { CircuitBreaker(policy: $0) }
        }
        if !rules.learnLimits { providers[number].models[known].learner = QuotaLearner() }
        return Int32(known)
      }
      let state = ModelState(
        pattern: limits.models, limits: limits.limits, capacity: Capacity(limits.limits, at: now),
        breaker: limits.breaker.map { CircuitBreaker(policy: $0) })
      return Int32(Self.put(state, into: &providers[number].models, isFree: \.isFree))
    }
    providers[number].modelOrder = declared + adopted
    while providers[number].models.last?.isFree == true { providers[number].models.removeLast() }
  }

  private mutating func installKeys(_ rules: ProviderPolicy, _ number: Int, at now: Instant) {
    let known = knownKeys(rules, number)
    for index in providers[number].keys.indices {
      providers[number].keys[index].isRetired = !known.contains(index)
    }
    providers[number].keyOrder = zip(rules.keys, known).map { key, known in
      if let known {
        // A key that was refused may be right now.
        let isNew = providers[number].keys[known].policy.secretGeneration != key.secretGeneration
        if isNew, providers[number].keys[known].health.trouble != .byOperator {
          providers[number].keys[known].health.enable()
        }
        if isNew {
          // Whatever was told of it was told of another account.
          keySerial += 1
          providers[number].keys[known].serial = keySerial
          providers[number].keys[known].rests.removeAll()
          providers[number].keys[known].learner = QuotaLearner()
          openGates(ofKey: known, at: number)
        }
        providers[number].keys[known].policy = key
        providers[number].keys[known].capacity.ramp.length = rules.ramp
        if isNew { providers[number].keys[known].capacity.ramp.begin(at: now) }
        return Int32(known)
      }
      keySerial += 1
      var state = KeyState(
        policy: key, hash: KeyPool.hash(key.id.name), serial: keySerial, capacity: Capacity(Limits(), at: now))
      state.capacity.ramp.length = rules.ramp
      state.capacity.ramp.begin(at: now)
      let new = Int32(Self.put(state, into: &providers[number].keys, isFree: \.isFree))
      for model in providers[number].models.indices { providers[number].models[model].keyGates[new] = nil }
      return new
    }
    while providers[number].keys.last?.isFree == true { providers[number].keys.removeLast() }
  }

  /// For each key of the rules the state that goes on as its: that of the key whose secret it has, else of the key with its name.
  private func knownKeys(_ rules: ProviderPolicy, _ number: Int) -> [Int?] {
    var known = [Int?](repeating: nil, count: rules.keys.count)
    var taken: Set<Int> = []
    for names in [rules.keys.map(\.predecessor), rules.keys.map { KeyID?.some($0.id) }] {
      for (position, name) in names.enumerated() where known[position] == nil {
        // One that was retired comes back with what still runs on it.
        let keys = providers[number].keys
        guard let name,
          let index = keys.firstIndex(where: { $0.policy.id == name && !$0.isRetired })
            ?? keys.firstIndex(where: { $0.policy.id == name }),
          taken.insert(index).inserted
        else { continue }
        known[position] = index
      }
    }
    return known
  }

  /// Puts the operator's limits, tightened by what was learned, into force.
  mutating func applyLimits(of number: Int, at now: Instant) {
    let rules = providers[number].policy
    let isPerKey = providers[number].isPerKey
    providers[number].capacity.replace(
      isPerKey ? Limits() : providers[number].learner.effective(rules.limits), dayEnd: day.end, at: now)
    providers[number].capacity.permits.isLearned =
      !isPerKey && providers[number].capacity.permits.limit != rules.limits.concurrency
    for model in providers[number].modelOrder.map({ Int($0) }) {
      let own = providers[number].models[model].limits
      let limits = isPerKey ? own : providers[number].models[model].learner.effective(own)
      providers[number].models[model].capacity.replace(limits, dayEnd: day.end, at: now)
      providers[number].models[model].capacity.permits.isLearned = limits.concurrency != own.concurrency
    }
    for key in providers[number].keyOrder.map({ Int($0) }) {
      let own = providers[number].keys[key].policy.limits
      let limits =
        isPerKey ? providers[number].keys[key].learner.effective(own.tightened(by: rules.limits)) : own
      providers[number].keys[key].capacity.replace(limits, dayEnd: day.end, at: now)
      providers[number].keys[key].capacity.permits.isLearned =
        isPerKey && limits.concurrency != own.tightened(by: rules.limits).concurrency
    }
  }

  /// A new policy while requests wait and run: those that wait are routed anew, those that run if they are tried again;
  /// where no candidate is left they are concluded.
  mutating func replace(
    _ new: AdmissionPolicy, _ candidates: [RequestID: [Candidate]], asksPast: Bool, at now: Instant,
    into actions: inout ActionList
  ) {
    install(new, asksPast: asksPast, at: now)
    for (id, anew) in candidates where !anew.isEmpty {
      guard let location = locations[id] else { continue }
      if location >= 0 {
        waiting[Int(location)]?.route(to: anew)
      } else if location < 0 {
        leases[Int(~location)]?.request.candidatesAnew = anew
      }
    }
    reopenLeases()
    reroute(at: now, into: &actions)
  }

  /// After all routes were forgotten: those that wait get new ones.
  mutating func reroute(at now: Instant, into actions: inout ActionList) {
    let queued = waiting.indices.compactMap { index in waiting[index].map { (slot: Int32(index), order: $0.sequence) } }
      .sorted { $0.order < $1.order }.map(\.slot)
    let ids = queued.compactMap { waiting[Int($0)]?.ticket.id }
    for index in providers.indices { providers[index].queued = [0, 0, 0] }
    var orphans: [RequestID] = []
    // The old numbers of routes mean nothing any more: take every head out, then put them back under the
    // new ones.
    for slot in queued {
      if let lane = lanes.lane(of: slot), let band = waiting[Int(slot)]?.band { fair[band].suspendHead(lane: lane) }
    }
    closedRoutes.removeAll()
    for slot in queued {
      guard let request = waiting[Int(slot)] else { continue }
      if let known = route(of: request.ticket) {
        waiting[Int(slot)]?.route = known.route
        if let first = routes.routes[Int(known.route)].legs.first {
          providers[Int(first.provider)].queued[request.band] += 1
        }
      } else {
        orphans.append(request.ticket.id)
      }
    }
    // An orphan needs some route until it is out; it is never placed by it.
    if !orphans.isEmpty {
      let nowhere = routes.number(of: Route(legs: []))
      for id in orphans {
        if let slot = locations[id] { waiting[Int(slot)]?.route = nowhere }
      }
    }
    while closedRoutes.count < routes.routes.count { closedRoutes.append(0) }
    for slot in queued {
      guard let request = waiting[Int(slot)], let lane = lanes.lane(of: slot), lanes.head(of: lane) == slot else {
        continue
      }
      // Those that wait stay in the cluster in which they came.
      fair[request.band].setHead(
        lane: lane, tenant: request.tenant, route: request.route, cluster: lanes.key(of: lane)?.cluster ?? 0)
    }
    reopenBudgets(at: now, into: &actions)
    for id in orphans {
      if let slot = locations[id], slot >= 0 { evict(slot, outcome: .rejectedModel, at: now, into: &actions) }
    }
    for id in ids {
      if let slot = locations[id], slot >= 0 { schedule(slot, at: now, into: &actions) }
    }
    // What they were told to wait for may not be in their way any more.
    reviewHeldBack(at: now, into: &actions)
    sweepHopeless(at: now, into: &actions)
    boundWaiting(at: now, into: &actions)
    needsPass = true
  }

  // MARK: Routes

  /// The numbers of the ticket's route and model; nil where none of its candidates exists.
  mutating func route(of ticket: Ticket) -> (route: Int32, model: Int32)? {
    if let known = routes.cached(model: ticket.model, candidates: ticket.candidates) {
      return routes.routes[Int(known.route)].legs.isEmpty ? nil : known
    }
    var legs: [Route.Leg] = []
    for (index, candidate) in ticket.candidates.enumerated() {
      guard let provider = providerIndex[candidate.provider] else { continue }
      let state = providers[Int(provider)]
      let model = state.modelOrder.first { state.models[Int($0)].matches(ticket.model) }
      let keys = state.keyOrder.filter { number in
        let rules = state.keys[Int(number)].policy
        guard rules.isInForce else { return false }
        let models = rules.models
        return models.isEmpty || models.contains { $0.matches(ticket.model) }
      }
      legs.append(
        Route.Leg(
          provider: provider, model: model ?? -1, keys: keys, hasNoKey: keys.isEmpty && !state.keyOrder.isEmpty,
          candidate: index))
    }
    let numbers = routes.add(
      Route(legs: legs), model: ticket.model, candidates: ticket.candidates,
      isListed: ticket.candidates.contains { $0.price?.isFree == false } || legs.contains { $0.model >= 0 })
    while closedRoutes.count < routes.routes.count { closedRoutes.append(0) }
    return legs.isEmpty ? nil : numbers
  }

  /// The provider to name where no candidate has a key for this model at all.
  func keyless(_ route: Int32) -> ProviderID? {
    let legs = routes.routes[Int(route)].legs
    guard legs.allSatisfy(\.hasNoKey) else { return nil }
    return legs.first.map { providers[Int($0.provider)].policy.id }
  }

  // MARK: Tenants

  mutating func tenantNumber(for id: TenantID, at now: Instant) -> Int32 {
    if let known = tenantIndex[id] { return known }
    if tenantIndex.count > tenantSweepAbove {
      sweepTenants(at: now)
      tenantSweepAbove = max(256, 2 * tenantIndex.count)
    }
    return addTenant(id, policy.tenantTemplate ?? TenantPolicy(id: id), isListed: false, at: now)
  }

  private mutating func addTenant(_ id: TenantID, _ rules: TenantPolicy, isListed: Bool, at now: Instant) -> Int32 {
    let state = TenantState(
      id: id, weight: rules.weight, capacity: Capacity(rules.limits, at: now), isListed: isListed)
    let number: Int32
    if let free = freeTenants.popLast() {
      number = free
      tenants[Int(free)] = state
    } else {
      number = Int32(tenants.count)
      tenants.append(state)
      tenantTimerPositions.append(-1)
    }
    tenantIndex[id] = number
    install(rules, tenant: Int(number), isListed: isListed, at: now)
    return number
  }

  private mutating func install(_ rules: TenantPolicy, tenant: Int, isListed: Bool, at now: Instant) {
    tenants[tenant].weight = rules.weight
    tenants[tenant].isListed = isListed
    tenants[tenant].capacity.replace(rules.limits, dayEnd: day.end, at: now)
    tenants[tenant].budgets = rules.budgets
    tenants[tenant].accounts = book.shared(by: tenants[tenant].id, rules: rules.budgets, isListed: isListed)
  }

  /// Forgets unlisted tenants that have nothing here and whose buckets are full again.
  private mutating func sweepTenants(at now: Instant) {
    for index in tenants.indices where tenants[index].inUse && !tenants[index].isListed {
      let tenant = tenants[index]
      guard tenant.queued == 0, tenant.capacity.permits.inUse == 0,
        tenant.capacity.buckets.allSatisfy({ $0.isFull(at: now) })
      else { continue }
      tenantIndex[tenant.id] = nil
      tenants[index].inUse = false
      for band in 0..<3 { fair[band].forget(tenant: Int32(index)) }
      freeTenants.append(Int32(index))
    }
  }
}

extension Limits {
  /// The smaller of both in each dimension.
  func tightened(by other: Limits) -> Limits {
    func least<T: Comparable>(_ left: T?, _ right: T?) -> T? {
      guard let left, let right else { return left ?? right }
      return min(left, right)
    }
    return Limits(
      concurrency: least(concurrency, other.concurrency),
      requestsPerMinute: least(requestsPerMinute, other.requestsPerMinute),
      inputTokensPerMinute: least(inputTokensPerMinute, other.inputTokensPerMinute),
      outputTokensPerMinute: least(outputTokensPerMinute, other.outputTokensPerMinute),
      tokensPerMinute: least(tokensPerMinute, other.tokensPerMinute),
      requestsPerSecond: least(requestsPerSecond, other.requestsPerSecond),
      requestsPerDay: least(requestsPerDay, other.requestsPerDay),
      tokensPerDay: least(tokensPerDay, other.tokensPerDay),
      // Of two bursts the shorter: it lets less go at once.
      bursts: bursts.merging(other.bursts) { min($0, $1) })
  }
}
