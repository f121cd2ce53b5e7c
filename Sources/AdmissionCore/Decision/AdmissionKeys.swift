// Keys that are refused, unpaid or kept from a model; our own free calls; and the operator's word on keys and breakers.

extension Admission {
  // MARK: Refusals

  /// Takes a refusal to the key, or to the pair of key and model.
  mutating func refuse(_ lease: Lease, _ verdict: Verdict, at now: Instant, into actions: inout ActionList) {
    let index = Int(lease.placement.provider)
    let key = Int(lease.placement.key)
    let news: KeyHealth.News
    switch verdict {
    case .keyRefused:
      news = providers[index].keys[key].health.refused(
        by: lease.request.mark, generation: lease.keyGeneration, at: now)
    case .quotaExhausted:
      news = providers[index].keys[key].health.unpaid(
        by: lease.request.mark, generation: lease.keyGeneration, at: now)
    case .modelRefused(let retryAfter):
      // An old word: the key has another secret since.
      guard providers[index].keys[key].serial == lease.keySerial else { return }
      let rest = retryAfter.map(Self.bounded) ?? ModelRests.length
      providers[index].keys[key].rests.add(lease.request.ticket.model, until: now + rest, at: now)
      return
    default: return
    }
    take(news, index, key, mayCheck: verdict == .keyRefused, at: now, into: &actions)
  }

  /// Our own free call has told whether the key is any good.
  mutating func keyChecked(
    _ provider: ProviderID, _ key: KeyID, generation: Int, isRefused: Bool, at now: Instant,
    into actions: inout ActionList
  ) {
    guard let number = providerIndex[provider],
      let index = providers[Int(number)].keys.firstIndex(where: {
        $0.policy.id == key && !$0.isRetired && $0.policy.secretGeneration == generation
      })
    else { return }
    let news = providers[Int(number)].keys[index].health.checked(isRefused: isRefused, at: now)
    take(news, Int(number), index, mayCheck: false, at: now, into: &actions)
  }

  private mutating func take(
    _ news: KeyHealth.News, _ index: Int, _ key: Int, mayCheck: Bool, at now: Instant, into actions: inout ActionList
  ) {
    switch news {
    case .none: return
    case .doubted:
      noteKey(index, key, at: now, into: &actions)
      // A list of models is free also where nothing is paid: it tells nothing about money.
      if mayCheck { actions.append(.checkKey(providers[index].policy.id, providers[index].keys[key].policy.id)) }
    case .unclear:
      actions.append(.checkKey(providers[index].policy.id, providers[index].keys[key].policy.id))
    case .back:
      noteKey(index, key, at: now, into: &actions)
      reviewHeldBack(at: now, into: &actions)
    case .out:
      noteKey(index, key, at: now, into: &actions)
      sweepHopeless(at: now, into: &actions)
    }
    needsPass = true
  }

  /// The key that was refused last, where every key of every leg is refused or unpaid and none may be tried now, or has refused
  /// this very request: then waiting is for nothing.
  func refusedKey(_ legs: [Route.Leg], refusing: [Int64] = [], at now: Instant) -> RefusedKey? {
    var last: (provider: Int, key: Int, at: Instant)?
    for leg in legs where !leg.hasNoKey {
      if leg.keys.isEmpty { return nil }
      let index = Int(leg.provider)
      for key in leg.keys {
        let health = providers[index].keys[Int(key)].health
        guard health.isRefused(at: now) || refusing.contains(providers[index].keys[Int(key)].serial) else {
          // What the operator has disabled is no hope either, and no refusal.
          if health.trouble == .byOperator { continue }
          return nil
        }
        let at = health.refusedAt ?? Instant(nanoseconds: .min)
        if last.map({ at > $0.at }) ?? true { last = (index, Int(key), at) }
      }
    }
    return last.map {
      RefusedKey(provider: providers[$0.provider].policy.id, key: providers[$0.provider].keys[$0.key].policy.id)
    }
  }

  /// Where each key has a quota of its own: whatever the key was told to wait for, for any model, is over.
  mutating func openGates(ofKey key: Int, at index: Int) {
    for model in providers[index].models.indices { providers[index].models[model].keyGates[Int32(key)]?.open() }
    providers[index].keys[key].isSlowed = false
  }

  /// Whatever the provider was told to be left alone for is over, for all models and keys.
  private mutating func openGates(at index: Int) {
    if providers[index].gate.state != .open { providers[index].gate.open() }
    for model in providers[index].models.indices where providers[index].models[model].gate.state != .open {
      providers[index].models[model].gate.open()
    }
  }

  // MARK: Operator

  mutating func obey(_ command: OperatorCommand, at now: Instant, into actions: inout ActionList) {
    switch command {
    case .disableKey(let provider, let key):
      change(provider, key, at: now, into: &actions) { $0.disable() }
    case .enableKey(let provider, let key):
      if let number = providerIndex[provider],
        let index = providers[Int(number)].keys.firstIndex(where: { $0.policy.id == key && !$0.isRetired })
      {
        openGates(ofKey: index, at: Int(number))
        providers[Int(number)].keys[index].rests.removeAll()
        if providers[Int(number)].policy.quota == .shared { openGates(at: Int(number)) }
      }
      change(provider, key, at: now, into: &actions) { $0.enable() }
    case .openBreaker(let provider): change(provider, .open, at: now, into: &actions)
    case .closeBreaker(let provider): change(provider, .closed, at: now, into: &actions)
    case .automateBreaker(let provider): change(provider, .none, at: now, into: &actions)
    }
    reviewHeldBack(at: now, into: &actions)
    sweepHopeless(at: now, into: &actions)
    needsPass = true
  }

  private mutating func change(
    _ provider: ProviderID, _ key: KeyID, at now: Instant, into actions: inout ActionList,
    _ body: (inout KeyHealth) -> Void
  ) {
    guard let number = providerIndex[provider],
      let index = providers[Int(number)].keys.firstIndex(where: { $0.policy.id == key && !$0.isRetired })
    else { return }
    body(&providers[Int(number)].keys[index].health)
    providers[Int(number)].keys[index].capacity.ramp.begin(at: clock)
    noteKey(Int(number), index, at: now, into: &actions)
  }

  private mutating func change(
    _ provider: ProviderID, _ override: CircuitBreaker.Override, at now: Instant, into actions: inout ActionList
  ) {
    guard let number = providerIndex[provider] else { return }
    providers[Int(number)].breaker.command(override)
    // The operator speaks of the provider, its models' breakers included.
    for model in providers[Int(number)].models.indices {
      providers[Int(number)].models[model].breaker?.command(override)
    }
    if override != .open {
      openGates(at: Int(number))
      for key in providers[Int(number)].keys.indices {
        openGates(ofKey: key, at: Int(number))
        if providers[Int(number)].keys[key].health.forgiveThrottle() {
          noteKey(Int(number), key, at: now, into: &actions)
        }
      }
    }
    noteBreaker(Int(number), model: nil, at: now, into: &actions)
  }

  func noteBreaker(_ index: Int, model: Int?, at now: Instant, into actions: inout ActionList) {
    let own = model.flatMap { providers[index].models[$0].breaker }
    let breaker = own ?? providers[index].breaker
    actions.append(
      .note(
        .breakerChanged(
          providers[index].policy.id, model: model.map { providers[index].models[$0].pattern.pattern },
          state: breaker.name(at: now), reason: breaker.reason ?? "recovered")))
  }

  func noteKey(_ index: Int, _ key: Int, at now: Instant, into actions: inout ActionList) {
    let state = providers[index].keys[key]
    actions.append(
      .note(
        .keyChanged(
          providers[index].policy.id, state.policy.id, state: state.health.name(at: now),
          reason: state.health.reason(at: now) ?? "usable")))
  }
}
