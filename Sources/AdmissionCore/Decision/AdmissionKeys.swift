// Keys that are refused, unpaid or refused for a model; the broker's own free calls; and the operator's orders about
// keys and breakers.

extension Admission {
  // MARK: Refusals

  /// Applies a refusal to the key, or to the pair of key and model.
  mutating func refuse(_ lease: Lease, _ verdict: Verdict, at now: Instant, into actions: inout ActionList) {
    let index = lease.placement.provider
    guard let key = lease.placement.key else { return }
    let news: KeyHealth.News
    switch verdict {
    case .keyRefused:
      news = providers[index].keys[key].health.refused(
        by: lease.request.mark, generation: lease.keyGeneration, at: now)
    case .quotaExhausted:
      news = providers[index].keys[key].health.unpaid(
        by: lease.request.mark, generation: lease.keyGeneration, at: now)
    case .modelRefused(let retryAfter):
      // The refusal is out of date: the key has another secret now.
      guard providers[index].keys[key].serial == lease.keySerial else { return }
      let rest = retryAfter.map(Self.bounded) ?? ModelRests.length
      providers[index].keys[key].rests.add(lease.request.ticket.model, until: now + rest, at: now)
      return
    default: return
    }
    take(news, index, key, mayCheck: verdict == .keyRefused, at: now, into: &actions)
  }

  /// Applies the result of the broker's own free call with the key.
  mutating func keyChecked(
    _ provider: ProviderID, _ key: KeyID, generation: Int, isRefused: Bool, at now: Instant,
    into actions: inout ActionList
  ) {
    guard let (provider, key) = providers.key(key, of: provider),
      providers[provider].keys[key].policy.secretGeneration == generation
    else { return }
    let news = providers[provider].keys[key].health.checked(isRefused: isRefused, at: now)
    take(news, provider, key, mayCheck: false, at: now, into: &actions)
  }

  private mutating func take(
    _ news: KeyHealth.News, _ index: ProviderIndex, _ key: KeyIndex, mayCheck: Bool, at now: Instant,
    into actions: inout ActionList
  ) {
    switch news {
    case .none: return
    case .doubted:
      noteKey(index, key, at: now, into: &actions)
      // A list of models is free even for an unpaid account, so it says nothing about money.
      if mayCheck { actions.append(.checkKey(providers[index].policy.id, providers[index].keys[key].policy.id)) }
    case .unclear:
      actions.append(.checkKey(providers[index].policy.id, providers[index].keys[key].policy.id))
    case .back:
      noteKey(index, key, at: now, into: &actions)
      reviewHeldBack(at: now, into: &actions)
    case .out:
      noteKey(index, key, at: now, into: &actions)
      rejectUnservable(of: index, at: now, into: &actions)
    }
    providers.change(index)
  }

  /// The key that was refused last, where every key of every leg is refused or unpaid and cannot be tried now, or has
  /// refused this very request: then waiting does not help.
  func refusedKey(_ legs: [Route.Leg], refusing: [Int64] = [], at now: Instant) -> RefusedKey? {
    var last: (provider: ProviderIndex, key: KeyIndex, at: Instant)?
    for leg in legs where !leg.hasNoKey {
      if leg.keys.isEmpty { return nil }
      let index = leg.provider
      for key in leg.keys {
        let health = providers[index].keys[key].health
        guard health.isRefused(at: now) || refusing.contains(providers[index].keys[key].serial) else {
          // A key that the operator has disabled cannot be used either, but was not refused.
          if health.trouble == .byOperator { continue }
          return nil
        }
        let at = health.refusedAt ?? Instant(nanoseconds: .min)
        if last.map({ at > $0.at }) ?? true { last = (index, key, at) }
      }
    }
    return last.map {
      RefusedKey(provider: providers[$0.provider].policy.id, key: providers[$0.provider].keys[$0.key].policy.id)
    }
  }

  // MARK: Operator

  /// What an operator has set by hand that keeps all calls away from a provider, and that only an operator ends; nil
  /// where calls may come, or come back by themselves.
  public func closedByHand(_ provider: ProviderID) -> ClosedByHand? {
    guard let index = providers.index(of: provider) else { return nil }
    if providers[index].breaker.override == .open { return .breaker }
    let keys = Array(providers[index].keys.indices)
    let byHand = keys.filter { providers[index].keys[$0].health.trouble == .byOperator }
    guard !byHand.isEmpty, byHand.count == keys.count else { return nil }
    return .keys(byHand.map { providers[index].keys[$0].policy.id })
  }

  mutating func obey(_ command: OperatorCommand, at now: Instant, into actions: inout ActionList) {
    switch command {
    case .disableKey(let provider, let key):
      change(provider, key, at: now, into: &actions) { $0.disable() }
    case .enableKey(let provider, let key):
      if let (provider, key) = providers.key(key, of: provider) {
        providers.openGates(of: key, at: provider)
        providers[provider].keys[key].rests.removeAll()
        if providers[provider].policy.quota == .shared { providers.openGates(at: provider) }
      }
      change(provider, key, at: now, into: &actions) { $0.enable() }
    case .openBreaker(let provider): change(provider, .open, at: now, into: &actions)
    case .closeBreaker(let provider): change(provider, .closed, at: now, into: &actions)
    case .automateBreaker(let provider): change(provider, .none, at: now, into: &actions)
    }
    reviewHeldBack(at: now, into: &actions)
    rejectUnservable(at: now, into: &actions)
    providers.changeAll()
  }

  private mutating func change(
    _ provider: ProviderID, _ key: KeyID, at now: Instant, into actions: inout ActionList,
    _ body: (inout KeyHealth) -> Void
  ) {
    guard let (provider, key) = providers.key(key, of: provider) else { return }
    body(&providers[provider].keys[key].health)
    providers[provider].keys[key].capacity.ramp.begin(at: now)
    noteKey(provider, key, at: now, into: &actions)
  }

  private mutating func change(
    _ provider: ProviderID, _ override: CircuitBreaker.Override, at now: Instant, into actions: inout ActionList
  ) {
    guard let index = providers.index(of: provider) else { return }
    providers[index].breaker.command(override, at: now)
    // The operator's order is about the whole provider, including the breakers of its models.
    for model in providers[index].models.indices {
      providers[index].models[model].breaker?.command(override, at: now)
    }
    if override != .open {
      providers.openGates(at: index)
      for key in providers[index].keys.indices {
        providers.openGates(of: key, at: index)
        if providers[index].keys[key].health.forgiveThrottle() {
          noteKey(index, key, at: now, into: &actions)
        }
      }
    }
    noteBreaker(index, model: nil, at: now, into: &actions)
  }

  func noteBreaker(_ index: ProviderIndex, model: ModelIndex?, at now: Instant, into actions: inout ActionList) {
    let own = model.flatMap { providers[index].models[$0].breaker }
    let breaker = own ?? providers[index].breaker
    actions.append(
      .note(
        .breakerChanged(
          providers[index].policy.id, model: model.map { providers[index].models[$0].pattern.pattern },
          state: breaker.condition(at: now), reason: breaker.reason ?? "recovered")))
  }

  func noteKey(_ index: ProviderIndex, _ key: KeyIndex, at now: Instant, into actions: inout ActionList) {
    let state = providers[index].keys[key]
    actions.append(
      .note(
        .keyChanged(
          providers[index].policy.id, state.policy.id, state: state.health.condition(at: now),
          reason: state.health.reason(at: now) ?? .usable)))
  }
}
