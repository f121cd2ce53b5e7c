// Throttling: what a 429, or a 503 with a time, blocks and for how long, and which call goes first afterwards.
//
// A model is blocked before its provider: a model that no `model_limits` entry covers gets its own entry, without
// limits, when it is throttled for the first time. When a second such model is throttled while the first is blocked,
// the whole provider is blocked. A free call without a model (reading a file, a job, a list) says nothing about what
// other calls use, so it waits alone; one with a model (a count) closes the provider for free calls only.

extension Admission {
  /// The least wait, whatever the provider says; it doubles up to `retry.max` while nothing succeeds.
  private static let leastWait = Span.milliseconds(250)
  /// How many models without an entry in the policy may have their own entry at a provider at a time.
  static let mostAdopted = 64

  /// Limits the wait that a provider asks for to between a millisecond and an hour.
  static func bounded(_ wait: Span) -> Span { min(max(wait, .milliseconds(1)), .seconds(3600)) }

  /// The least wait after this many closings without a success in between.
  func leastWait(_ index: ProviderIndex, closings: Int) -> Span {
    let doubled = Span(nanoseconds: Self.leastWait.nanoseconds << Int64(min(max(0, closings), 20)))
    return max(Self.leastWait, min(doubled, providers[index].policy.retry.max))
  }

  /// Blocks the model, at the key where each key has its own quota; blocks the provider or the key when a second model
  /// is throttled.
  mutating func throttle(
    _ refused: Lease, _ told: Span?, isAboutConcurrency: Bool, at now: Instant, into actions: inout ActionList
  ) {
    if refused.isFree { return closeForFree(refused, told, because: .slowDown, at: now, into: &actions) }
    guard isAboutOthers(refused) else { return yieldGates(refused, at: now) }
    var lease = refused
    let index = lease.placement.provider
    let isNew = lease.placement.model == nil
    if isNew,
      let adopted = adopt(lease.request.ticket.model, index, at: now, into: &actions)
    {
      lease.placement.model = adopted
    }
    let until = now + wait(index, told, closings: closings(lease))
    let isNews = shut(lease, until: until, because: .slowDown, at: now, into: &actions)
    yieldGates(refused, at: now)
    let numbers = providers.numbersHolder(of: lease.placement)
    providers[index].change(capacityOf: numbers) { $0.ramp.refused(at: now) }
    if providers[index].policy.learnLimits {
      learnRefusal(
        lease, isNews: isNews, isNewModel: isNew, isTold: told != nil, isAboutConcurrency: isAboutConcurrency, at: now,
        into: &actions)
    }
    if isNews { rejectUnservable(of: index, at: now, into: &actions) }
  }

  /// Blocks the model of a call that got a 503 with a time: one call says nothing about other models. Where the model
  /// cannot have its own entry, the request waits alone.
  mutating func shutWhileAway(_ failed: Lease, _ told: Span, at now: Instant, into actions: inout ActionList) {
    if failed.isFree { return closeForFree(failed, told, because: .away, at: now, into: &actions) }
    guard isAboutOthers(failed) else { return }
    var lease = failed
    if lease.placement.model == nil {
      let index = lease.placement.provider
      guard let adopted = adopt(lease.request.ticket.model, index, at: now, into: &actions) else { return }
      lease.placement.model = adopted
    }
    let until = now + wait(lease.placement.provider, told, closings: closings(lease))
    if shut(lease, until: until, because: .away, at: now, into: &actions) {
      rejectUnservable(of: lease.placement.provider, at: now, into: &actions)
    }
  }

  /// True where a refusal of this call also concerns other calls.
  func isAboutOthers(_ lease: Lease) -> Bool {
    if lease.isTooLargeWhole { return false }
    let index = lease.placement.provider
    if let key = lease.placement.key, providers[index].policy.quota == .perKey,
      providers[index].keys[key].serial != lease.keySerial
    {
      // The refusal is about the account of a secret that the key no longer has.
      return false
    }
    return !Self.standsAlone(lease.request)
  }

  /// True for free calls without a model.
  static func standsAlone(_ request: Request) -> Bool { request.ticket.isFree && request.ticket.model.isEmpty }

  /// The key whose quota it is; nil where that is the provider's.
  private func quotaKey(_ lease: Lease) -> KeyIndex? {
    providers[lease.placement.provider].policy.quota == .perKey ? lease.placement.key : nil
  }

  /// How often the gate that this call is about was closed without a success in between, before this call. Calls that
  /// were sent before it last closed were refused for the same reason, and do not make the wait longer.
  private func closings(_ lease: Lease) -> Int {
    let index = lease.placement.provider
    func count(_ gate: ProbeGate, _ generation: UInt64) -> Int {
      gate.generation > generation ? max(0, gate.closings - 1) : gate.closings
    }
    let key = quotaKey(lease)
    let wide =
      key.map { count(providers[index].keys[$0].health.gate, lease.keyGeneration) }
      ?? count(providers[index].gate, lease.gateGeneration)
    guard let model = lease.placement.model, let own = gate(of: model, at: index, for: key) else { return wide }
    return max(wide, count(own, key == nil ? lease.modelGateGeneration : lease.keyModelGeneration))
  }

  /// The wait where the provider gives no time: 1, 2, 4 .. 32 s, jittered down by up to a quarter.
  mutating func wait(_ index: ProviderIndex, _ told: Span?, closings: Int) -> Span {
    let usual = Int64(1_000_000_000) << Int64(min(max(0, closings), 5))
    let wait = Self.bounded(told ?? Span(nanoseconds: usual - random.upTo(usual / 4)))
    return max(wait, leastWait(index, closings: closings))
  }

  /// Blocks the model, key or provider. Returns true where this begins a new block.
  private mutating func shut(
    _ lease: Lease, until: Instant, because reason: PauseReason, at now: Instant, into actions: inout ActionList
  ) -> Bool {
    let index = lease.placement.provider
    let key = quotaKey(lease)
    var isNews = false
    var wide: Instant? = lease.placement.model == nil ? until : nil
    if let model = lease.placement.model {
      if let key {
        var gate = providers[index].models[model].keyGates[key] ?? ProbeGate()
        isNews = gate.close(until: until, generation: lease.keyModelGeneration, because: reason)
        providers[index].models[model].keyGates[key] = gate
        if isNews { providers[index].keys[key].isSlowed = true }
      } else {
        isNews = providers[index].models[model].gate.close(
          until: until, generation: lease.modelGateGeneration, because: reason)
      }
      if isNews, let gate = gate(of: model, at: index, for: key) {
        noteClosure(index, model: model, key: key, gate, until, at: now, into: &actions)
      }
      // Another model was throttled because of another request.
      if providers[index].models[model].name != nil, let other = otherShut(than: model, index, key: key, at: now) {
        wide = max(until, other)
      }
    }
    guard let wide else { return isNews }
    if let key {
      if providers[index].keys[key].health.throttled(until: wide, generation: lease.keyGeneration, because: reason) {
        isNews = true
        noteKey(index, key, at: now, into: &actions)
      }
    } else if providers[index].gate.close(until: wide, generation: lease.gateGeneration, because: reason) {
      isNews = true
      noteClosure(index, model: nil, key: nil, providers[index].gate, wide, at: now, into: &actions)
    }
    return isNews
  }

  /// The gate that is closed when a model is throttled: the model's gate, or, where each key has its own quota, its
  /// gate for the key; nil where that was never closed.
  private func gate(of model: ModelIndex, at index: ProviderIndex, for key: KeyIndex?) -> ProbeGate? {
    guard let key else { return providers[index].models[model].gate }
    return providers[index].models[model].keyGates[key]
  }

  /// Reports that something is blocked from now on; a refused probe is not a new beginning.
  private func noteClosure(
    _ index: ProviderIndex, model: ModelIndex?, key: KeyIndex?, _ gate: ProbeGate, _ until: Instant, at now: Instant,
    into actions: inout ActionList
  ) {
    guard gate.closings == 1 else { return }
    actions.append(
      .note(
        .paused(
          providers[index].policy.id, model: model.map { providers[index].models[$0].pattern.pattern },
          key: key.map { providers[index].keys[$0].policy.id }, for: until - now, reason: gate.reason)))
  }

  /// Until when another model without an entry in the policy is blocked.
  private func otherShut(
    than model: ModelIndex, _ index: ProviderIndex, key: KeyIndex?, at now: Instant
  ) -> Instant? {
    var latest: Instant?
    for other in providers[index].modelOrder where other != model && providers[index].models[other].name != nil {
      if let until = gate(of: other, at: index, for: key)?.earliestRecovery(at: now) {
        latest = max(latest ?? until, until)
      }
    }
    return latest
  }

  // MARK: Models without an entry

  /// Gives a model its own entry, and gives the waiting and running requests for it the new number. Returns nil where
  /// there is no room.
  private mutating func adopt(
    _ name: String, _ index: ProviderIndex, at now: Instant, into actions: inout ActionList
  ) -> ModelIndex? {
    if let known = providers[index].modelOrder.first(where: { providers[index].models[$0].matches(name) }) {
      return known
    }
    let adopted = providers[index].modelOrder.filter { providers[index].models[$0].name != nil }
    if adopted.count >= Self.mostAdopted {
      guard let idle = adopted.first(where: { providers[index].models[$0].isForgettable(at: now) })
      else { return nil }
      providers[index].models[idle].isRetired = true
      providers[index].modelOrder.removeAll { $0 == idle }
    }
    providers[index].stopMeters(at: now)
    var state = ModelState(pattern: Glob(name), limits: Limits(), capacity: Capacity(Limits(), at: now))
    state.name = name
    state.learner = providers[index].learner.heir
    let model = providers[index].models.insert(state, over: \.isFree)
    providers[index].modelOrder.append(model)
    for number in leases.indices {
      let lease = leases[number]
      guard lease.placement.provider == index, lease.placement.model == nil, lease.request.ticket.model == name
      else { continue }
      leases[number].placement.model = model
      if lease.isFree {
        providers[index].models[model].freeCalls += 1
        continue
      }
      leases[number].takenFromModel = providers[index].models[model].capacity.take(
        lease.placement.units, band: lease.request.band, at: now)
      guard let told = lease.told else { continue }
      var untold = lease.standing
      untold.told = nil
      leases[number].takenFromModel = providers[index].models[model].capacity.trueUp(
        taken: leases[number].takenFromModel, to: .unchanged, call: untold, telling: told.value, at: now)
    }
    providers.forgetRoutes()
    reroute(at: now, into: &actions)
    return model
  }

  // MARK: Who goes first

  /// Whether a leg is blocked by throttling.
  enum Way: Sendable {
    case open
    /// The time is over: one call goes first, as a probe.
    case probe
    case shut(until: Instant)

    func and(_ other: Way) -> Way {
      switch (self, other) {
      case (.shut(let left), .shut(let right)): .shut(until: max(left, right))
      case (.shut, _): self
      case (_, .shut): other
      case (.probe, _), (_, .probe): .probe
      case (.open, .open): .open
      }
    }

    func or(_ other: Way) -> Way {
      switch (self, other) {
      case (.open, _), (_, .open): .open
      case (.probe, _), (_, .probe): .probe
      case (.shut(let left), .shut(let right)): .shut(until: min(left, right))
      }
    }
  }

  /// The best of a request's legs.
  private func way(of route: RouteIndex, at now: Instant) -> Way {
    var best = Way.shut(until: .distantFuture)
    for leg in providers.routes[route].legs where !leg.hasNoKey {
      let index = leg.provider
      var way = providers[index].gate.way(at: now)
      if let model = leg.model { way = way.and(providers[index].models[model].gate.way(at: now)) }
      if !leg.keys.isEmpty {
        var keys = Way.shut(until: .distantFuture)
        for key in leg.keys where !providers[index].keys[key].health.isOut {
          var own = providers[index].keys[key].health.gate.way(at: now)
          if let model = leg.model, let gate = providers[index].models[model].keyGates[key] {
            own = own.and(gate.way(at: now))
          }
          keys = keys.or(own)
        }
        way = way.and(keys)
      }
      best = best.or(way)
    }
    return best
  }

  /// When a throttled request may go back into its lane. It stays out until a probe has succeeded, or until no other
  /// request of its class takes the probe. nil where nothing is blocked.
  func heldBackUntil(_ route: RouteIndex, at now: Instant) -> Instant? {
    switch way(of: route, at: now) {
    case .open: nil
    case .probe: now
    case .shut(let until): until
    }
  }

  /// After a gate may have changed: throttled requests come back, or go on waiting while the gate is closed.
  mutating func reviewHeldBack(at now: Instant, into actions: inout ActionList) {
    for id in waiting.heldBack {
      guard let slot = waiting.index(of: id), let request = waiting.find(slot) else { continue }
      if let until = heldBackUntil(request.route, at: now) {
        guard request.notBefore != until else { continue }
        waiting[slot].notBefore = until
        schedule(slot, at: now, into: &actions)
      } else {
        rejoin(slot, at: now, into: &actions)
      }
    }
  }

  /// Rule 8: the wait of throttled requests is over; other requests that wait in their classes go first.
  mutating func readmit(_ due: [RequestID], at now: Instant, into actions: inout ActionList) {
    let othersWait = due.contains { id in
      guard let band = band(ofWaiting: id) else { return false }
      return waiting.countByBand[band] > waiting.heldBack.count { self.band(ofWaiting: $0) == band }
    }
    if othersWait { dispatch(at: now, into: &actions) }
    for id in due {
      guard let slot = waiting.index(of: id), let request = waiting.find(slot), request.isHeldBack else { continue }
      if case .shut(let until) = way(of: request.route, at: now) {
        waiting[slot].notBefore = until
        schedule(slot, at: now, into: &actions)
      } else {
        rejoin(slot, at: now, into: &actions)
      }
    }
  }

  private func band(ofWaiting id: RequestID) -> Int? { waiting.index(of: id).map { waiting[$0].band } }

  private mutating func rejoin(_ index: RequestIndex, at now: Instant, into actions: inout ActionList) {
    waiting.endHoldingBack(index)
    enterLane(index, isRetry: true, at: now)
    schedule(index, at: now, into: &actions)
    noteEndOfBackoff(index, at: now, into: &actions)
  }
}

extension ProbeGate {
  func way(at now: Instant) -> Admission.Way {
    switch state {
    case .passing: .open
    case .probing: .shut(until: .distantFuture)
    case .blocked(let until): until <= now ? .probe : .shut(until: until)
    }
  }
}
