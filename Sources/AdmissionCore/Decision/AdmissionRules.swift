// Takes over a policy: providers, limits, keys and tenants come and go while requests wait and run.

extension Admission {
  /// Takes over a policy.
  /// - Parameter asksPast: whether the books will be asked what was spent under new budgets.
  mutating func install(_ new: AdmissionPolicy, asksPast: Bool = false, at now: Instant) {
    for index in providers.indices { providers[index].stopMeters(at: now) }
    policy = new
    scheduler.replace(bands: new.bands)
    providers.install(new.providers, dayEnd: day.end, at: now)
    limitSessions(new.sessionConcurrency)
    installBudgets(new, asksPast: asksPast)
    installTenants(new, at: now)
  }

  /// Replaces the policy while requests wait and run. Waiting requests get new routes at once, running ones when they
  /// are tried again; where no candidate is left they are concluded.
  mutating func replace(
    _ new: AdmissionPolicy, _ candidates: [RequestID: [Candidate]], asksPast: Bool, at now: Instant,
    into actions: inout ActionList
  ) {
    install(new, asksPast: asksPast, at: now)
    for (id, anew) in candidates where !anew.isEmpty {
      if let index = waiting.index(of: id) {
        waiting[index].route(to: anew)
      } else if let index = leases.index(of: id) {
        leases[index].request.candidatesAnew = anew
      }
    }
    reopenLeases()
    reroute(at: now, into: &actions)
  }

  /// Gives waiting requests new routes after all routes were forgotten.
  mutating func reroute(at now: Instant, into actions: inout ActionList) {
    let queued = waiting.inOrder
    let ids = queued.map { waiting[$0].ticket.id }
    for index in providers.indices { providers[index].queued = [0, 0, 0] }
    var orphans: [RequestID] = []
    var routes: [(request: RequestIndex, route: RouteIndex)] = []
    var firsts: [(request: RequestIndex, provider: ProviderIndex)] = []
    for index in queued {
      if let known = providers.route(of: waiting[index].box) {
        routes.append((index, known.route))
        if let first = providers.routes[known.route].legs.first {
          providers[first.provider].queued[waiting[index].band] += 1
          firsts.append((index, first.provider))
        }
      } else {
        // A request without candidates needs some route until it is removed; it is never placed by it.
        routes.append((index, providers.nowhere()))
        orphans.append(waiting[index].ticket.id)
      }
    }
    waiting.replaceFirst(firsts)
    outranked.removeAll()
    isOutranked.removeAll()
    checkedIn.removeAll()
    for index in tenants.indices { tenants[index].awaitedBySpare.removeAll() }
    providers.changeAll()
    var spares: [RouteIndex: RouteIndex] = [:]
    if policy.sessionConcurrency != nil {
      for (_, route) in routes where spares[route] == nil { spares[route] = providers.spare(of: route) }
    }
    waiting.reroute(routes, spares: spares, at: now)
    reopenBudgets(at: now, into: &actions)
    for id in orphans {
      if let index = waiting.index(of: id) { evict(index, outcome: .rejectedModel, at: now, into: &actions) }
    }
    for id in ids {
      if let index = waiting.index(of: id) { schedule(index, at: now, into: &actions) }
    }
    // What these requests were told to wait for may no longer block them.
    reviewHeldBack(at: now, into: &actions)
    rejectUnservable(at: now, into: &actions)
    boundWaiting(at: now, into: &actions)
  }

  // MARK: Sessions

  /// Applies the limit of sessions' calls to all requests that wait or run.
  private mutating func limitSessions(_ rule: SessionConcurrency?) {
    guard rule != waiting.sessions.rule else { return }
    waiting.limitSessions(rule)
    for index in waiting.inOrder where !waiting[index].ticket.isFree {
      waiting[index].session = waiting.enterSession(waiting[index].box, tenant: waiting[index].tenant)
    }
    for index in leases.indices where !leases[index].isFree {
      let request = leases[index].request
      let session = waiting.enterSession(request.box, tenant: request.tenant)
      leases[index].request.session = session
      if let session { waiting.countCall(1, in: session, at: Instant(nanoseconds: 0)) }
    }
  }

  // MARK: Tenants

  private mutating func installTenants(_ new: AdmissionPolicy, at now: Instant) {
    for index in tenants.indices { tenants[index].isListed = false }
    for rules in new.tenants {
      if let known = tenants.index(of: rules.id) {
        install(rules, known, isListed: true, at: now)
      } else {
        addTenant(rules.id, rules, isListed: true, at: now)
      }
    }
    for index in tenants.indices where !tenants[index].isListed {
      install(new.tenantTemplate ?? TenantPolicy(id: tenants[index].id), index, isListed: false, at: now)
    }
    for index in tenants.indices { unpark(index) }
    sweepTenants(at: now)
  }

  /// The tenant's index; an unknown tenant gets one.
  mutating func tenantIndex(of id: TenantID, at now: Instant) -> TenantIndex {
    if let known = tenants.index(of: id) { return known }
    if tenants.isCrowded { sweepTenants(at: now) }
    return addTenant(id, policy.tenantTemplate ?? TenantPolicy(id: id), isListed: false, at: now)
  }

  @discardableResult
  private mutating func addTenant(
    _ id: TenantID, _ rules: TenantPolicy, isListed: Bool, at now: Instant
  ) -> TenantIndex {
    let index = tenants.insert(
      TenantState(
        id: id, weight: rules.weight, capacity: Capacity(rules.limits, isOurs: true, at: now), isListed: isListed))
    install(rules, index, isListed: isListed, at: now)
    return index
  }

  private mutating func install(_ rules: TenantPolicy, _ index: TenantIndex, isListed: Bool, at now: Instant) {
    tenants[index].weight = rules.weight
    tenants[index].isListed = isListed
    tenants[index].capacity.replace(rules.limits, dayEnd: day.end, at: now)
    tenants[index].budgets = rules.budgets
    tenants[index].accounts = book.shared(by: tenants[index].id, rules: rules.budgets, isListed: isListed)
  }

  private mutating func sweepTenants(at now: Instant) {
    for index in tenants.sweep(at: now) { waiting.forget(index) }
  }
}
