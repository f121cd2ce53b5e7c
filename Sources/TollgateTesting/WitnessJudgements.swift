// What a witness can be sure of: what a grant takes, what is reserved for which bands, and whether a request could
// surely be granted. In doubt it answers no, so that a checker never blames a correct core.
import AdmissionCore
import PolicyLab

extension Witness {
  /// What a grant takes from the provider (and its model), and from the tenant. A provider that charges the cap at the
  /// start takes the cap as output and, like OpenAI, the larger of cap and input as tokens.
  func charges(_ grant: Grant, request index: Int, provider: Int) -> (provider: Charge, tenant: Charge) {
    let reserved = Charge(requests: 1, input: grant.reservedInput.value, output: grant.reservedOutput.value)
    let ticket = requests[index].ticket
    guard providers[provider].policy.admissionTokens == .maxTokens, ticket.producesOutput,
      let cap = ticket.outputCap?.value
    else { return (reserved, reserved) }
    var charge = Charge(requests: 1, input: grant.reservedInput.value, output: cap)
    charge.tokens = max(cap, grant.reservedInput.value)
    return (charge, reserved)
  }

  /// True where the grant may use permits that are reserved for higher bands: by the floor share, or because it is old,
  /// nothing of its band runs and no request of a higher band waits.
  func isSoftened(_ grant: Grant, request index: Int) -> Bool {
    let band = requests[index].band
    if credit[band] >= price(grant, request: index) { return true }
    guard requests[index].earliestPromotion <= now, let provider = providerIndex(grant.provider) else { return false }
    return providers[provider].inUseByBand[band] == 0
      && !queued.contains {
        requests[$0].band < band && isHead($0) && !isAtSessionLimit($0) && requests[$0].requeues == 0
          && isSurelyAffordable($0)
      }
  }

  /// What a call costs by the estimate before anything is learned, since its cost may be counted from its submission.
  func firstCost(_ ticket: Ticket) -> Int64 {
    max(1, (ticket.estimatedInput + (ticket.producesOutput ? min(ticket.outputCap ?? 512, 512) : 0)).value)
  }

  /// The least credit that may have paid for the grant, in tokens × 10,000. What is cached at the provider that the
  /// request prefers may have been taken for its cost.
  func price(_ grant: Grant, request index: Int) -> Int64 {
    let request = requests[index]
    if let first = request.route.first.map({ providers[$0].id }), first != grant.provider,
      prompts.prefix(of: request.ticket, at: first, now) != nil
    {
      return 10_000
    }
    return min(cost(grant), firstCost(request.ticket)) * 10_000
  }

  func cost(_ grant: Grant) -> Int64 { max(1, (grant.reservedInput + grant.reservedOutput).value) }

  /// An upper bound of any sensible estimate of what `request` needs.
  func generousNeed(_ request: Request) -> Charge {
    let cap = request.ticket.outputCap?.value ?? 65_536
    return Charge(
      requests: 1, input: request.ticket.estimatedInput.value * 2, output: request.ticket.producesOutput ? cap : 0)
  }

  /// How many calls may surely run at the provider at a time, by the policy's limit and what was learned; nil means any
  /// number.
  func surePermits(of provider: Int) -> Int? {
    [providers[provider].own.limits.concurrency, providers[provider].trouble.learnedLimit(nil)].compactMap(\.self).min()
  }

  /// Permits reserved at `provider` for the bands above `band`.
  func headroom(_ provider: Int, above band: Int) -> Int {
    guard let limit = providers[provider].own.limits.concurrency else { return 0 }
    var kept = 0
    for upper in 0..<band {
      kept += max(0, reserve(of: upper, limit: limit) - providers[provider].inUseByBand[upper])
    }
    return kept
  }

  /// Permits out of `limit` that are reserved for the bands above `band` while none of their calls run.
  func reserves(above band: Int, limit: Int) -> Int {
    (0..<band).reduce(0) { $0 + reserve(of: $1, limit: limit) }
  }

  private func reserve(of band: Int, limit: Int) -> Int {
    switch policy.bands[band].reserve {
    case .share(let basisPoints): limit * basisPoints / 10_000
    case .permits(let count): min(count, limit)
    }
  }

  /// Basis points of each bucket that are reserved for the bands above `band`.
  func reservedBasisPoints(above band: Int) -> Int64 {
    var sum: Int64 = 0
    for upper in 0..<band {
      if case .share(let basisPoints) = policy.bands[upper].reserve { sum += Int64(basisPoints) }
    }
    return min(sum, 10_000)
  }

  /// True only where its budgets surely leave enough for it, and for the requests that may be before it there.
  func isSurelyAffordable(_ index: Int) -> Bool {
    if money.isIdle { return true }
    if requests[index].ticket.isFree { return true }
    let mine = Set(money.rules(for: requests[index].ticket).map(\.account))
    return queued.allSatisfy { other in
      let ticket = requests[other].ticket
      guard other == index || money.rules(for: ticket).contains(where: { mine.contains($0.account) }) else {
        return true
      }
      return !money.mayLack(ticket, estimate: MoneyWitness.most(ticket), countingHolds: true, at: now)
    }
  }

  /// True only where the request could surely be granted at the provider, apart from claims.
  /// - Parameters:
  ///   - atAnyCost: true to ignore budgets.
  ///   - widening: true where it is known that all others may have what is left of them.
  func isSurelyPlaceable(
    _ index: Int, on provider: Int, atAnyCost: Bool = false, widening: Bool = false
  ) -> Bool {
    let request = requests[index]
    if mayWaitForKey(index, before: provider) { return false }
    if isAtSessionLimit(index), !widening || policy.sessionConcurrency?.widen != true { return false }
    if !atAnyCost, !isSurelyAffordable(index) { return false }
    if providers[provider].mayBeShut(for: request.ticket.model) || request.requeues > 0 { return false }
    let taken = providers[provider].own.inUse + providers[provider].own.lagging
    if let limit = surePermits(of: provider) {
      if taken + 1 > limit - headroom(provider, above: request.band) { return false }
    }
    if let limit = providers[provider].trouble.learnedLimit(request.ticket.model) {
      let running = leases.values.count {
        $0.provider == provider && requests[$0.request].ticket.model == request.ticket.model
      }
      if running + providers[provider].own.lagging + 1 > limit - reserves(above: request.band, limit: limit) {
        return false
      }
    }
    // A ramp lets at least four calls go (docs/reference/policy.md).
    if providers[provider].policy.ramp > .zero, taken + 1 > 4 { return false }
    let model = modelIndex(provider, request.ticket.model)
    if let model, let limit = providers[provider].models[model].limits.concurrency {
      // The reserves may also apply to the model's permits, and all of them may be free.
      let taken = providers[provider].models[model].inUse + providers[provider].models[model].lagging
      if taken + 1 > limit - reserves(above: request.band, limit: limit) { return false }
    }
    let tenant = tenants[request.tenant].books
    if let limit = tenant.limits.concurrency, tenant.inUse + providers[provider].own.lagging + 1 > limit {
      return false
    }
    let modelHasBuckets = model.map { providers[provider].models[$0].hasBuckets } ?? false
    guard tenant.hasBuckets || providers[provider].own.hasBuckets || modelHasBuckets else { return true }
    let need = generousNeed(request)
    let kept = reservedBasisPoints(above: request.band)
    if tenant.hasBuckets {
      // The tenant's units may be refilling for another of its heads.
      for other in queued where other != index && requests[other].tenant == request.tenant && isHead(other) {
        if !tenant.least.covers(generousNeed(requests[other]), at: now, slack: -1) { return false }
      }
    }
    if !tenant.least.covers(need, at: now, slack: -1, keepingBasisPoints: kept) { return false }
    if !providers[provider].own.least.covers(need, at: now, slack: -1, keepingBasisPoints: kept) { return false }
    if let model, modelHasBuckets {
      return providers[provider].models[model].least.covers(need, at: now, slack: -1, keepingBasisPoints: kept)
    }
    return true
  }

  /// True where it may wait for the key that has its prompt, at this provider or at one that it prefers (rule 3e).
  private func mayWaitForKey(_ index: Int, before provider: Int) -> Bool {
    let request = requests[index]
    return request.route.prefix(through: request.route.firstIndex(of: provider) ?? 0).contains { preferred in
      providers[preferred].policy.quota == .perKey
        && prompts.worthwhile(request.ticket, at: providers[preferred].id, now).map {
          $0.key != nil && now < request.queuedSince + $0.longestWait
        } ?? false
    }
  }

  /// True where its session, or its group, runs as many calls as the policy lets it.
  func isAtSessionLimit(_ index: Int) -> Bool {
    guard let rule = policy.sessionConcurrency else { return false }
    let request = requests[index]
    let running = leases.values.count {
      !$0.isFree && $0.tenant == request.tenant && isSameGroup(requests[$0.request].ticket, request.ticket)
    }
    return running >= rule.limit
  }

  func isSameGroup(_ one: Ticket, _ other: Ticket) -> Bool {
    (one.sessionGroup ?? one.session) == (other.sessionGroup ?? other.session)
  }

  /// True where no request of its lane is before it.
  func isHead(_ index: Int) -> Bool { requests[index].lane >= 0 && lanes[requests[index].lane].first == index }
}
