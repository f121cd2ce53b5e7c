// "Slow down" and "not before": what is shut and for how long, and who goes first afterwards.
//
// A model is shut before its provider: one that no `model_limits` entry covers gets an entry of its own, without limits, when it
// is refused for the first time. When a second such model is refused while the first is shut, the provider is. A
// free call without a model (a look at a file, a job, a list) tells of nothing that others use: it waits by itself.

extension Admission {
  /// No wait is shorter, whatever the provider says; it doubles up to `retry.max` while nothing succeeds.
  private static let leastWait = Span.milliseconds(250)
  /// Models without an entry of the policy that a provider may have at a time.
  static let mostAdopted = 64

  /// A provider's wait as far as it is believed: at least a millisecond, an hour at most.
  static func bounded(_ wait: Span) -> Span { min(max(wait, .milliseconds(1)), .seconds(3600)) }

  /// The least wait after so many closings without a success between.
  func leastWait(_ index: Int, closings: Int) -> Span {
    let doubled = Span(nanoseconds: Self.leastWait.nanoseconds << Int64(min(max(0, closings), 20)))
    return max(Self.leastWait, min(doubled, providers[index].policy.retry.max))
  }

  /// Shuts the model, at the key where each key has a quota of its own; the provider or the key when a second model is refused.
  mutating func throttle(
    _ refused: Lease, _ told: Span?, isAboutConcurrency: Bool, at now: Instant, into actions: inout ActionList
  ) {
    guard isAboutOthers(refused) else { return yieldGates(refused, at: now) }
    var lease = refused
    let index = Int(lease.placement.provider)
    let isNew = lease.placement.model < 0
    if isNew,
      let adopted = adopt(lease.request.ticket.model, index, at: now, into: &actions)
    {
      lease.placement.model = Int32(adopted)
    }
    let until = now + wait(index, told, closings: closings(lease))
    let isNews = shut(lease, until: until, because: .slowDown, at: now, into: &actions)
    yieldGates(refused, at: now)
    providers[index][capacityOf: numbersHolder(of: lease.placement)].ramp.refused(at: now)
    if providers[index].policy.learnLimits {
      learnRefusal(
        lease, isNews: isNews, isNewModel: isNew, isTold: told != nil, isAboutConcurrency: isAboutConcurrency, at: now,
        into: &actions)
    }
    if isNews { sweepHopeless(at: now, into: &actions) }
  }

  /// A service that is not there before a time that it gave: as far as one call tells, its model. Where that can have no entry of its
  /// own, the request waits alone.
  mutating func shutWhileAway(_ failed: Lease, _ told: Span, at now: Instant, into actions: inout ActionList) {
    guard isAboutOthers(failed) else { return }
    var lease = failed
    if lease.placement.model < 0 {
      let index = Int(lease.placement.provider)
      guard let adopted = adopt(lease.request.ticket.model, index, at: now, into: &actions) else { return }
      lease.placement.model = Int32(adopted)
    }
    let until = now + wait(Int(lease.placement.provider), told, closings: closings(lease))
    if shut(lease, until: until, because: .away, at: now, into: &actions) { sweepHopeless(at: now, into: &actions) }
  }

  /// True where a refusal of this call tells of something that others use.
  func isAboutOthers(_ lease: Lease) -> Bool {
    let index = Int(lease.placement.provider)
    if lease.placement.key >= 0, providers[index].policy.quota == .perKey,
      providers[index].keys[Int(lease.placement.key)].serial != lease.keySerial
    {
      // The word is about the account of a secret that the key has no more.
      return false
    }
    return !Self.standsAlone(lease.request)
  }

  /// True for free calls without a model.
  static func standsAlone(_ request: Request) -> Bool { request.ticket.isFree && request.ticket.model.isEmpty }

  /// The key whose quota it is; -1 where that is the provider's.
  private func quotaKey(_ lease: Lease) -> Int32 {
    providers[Int(lease.placement.provider)].policy.quota == .perKey ? lease.placement.key : -1
  }

  /// How often what this call is about was shut without a success between.
  private func closings(_ lease: Lease) -> Int {
    let index = Int(lease.placement.provider)
    let (model, key) = (Int(lease.placement.model), quotaKey(lease))
    let wide = key >= 0 ? providers[index].keys[Int(key)].health.gate.closings : providers[index].gate.closings
    guard model >= 0 else { return wide }
    let own = key >= 0 ? providers[index].models[model].keyGates[key] : providers[index].models[model].gate
    return max(wide, own?.closings ?? 0)
  }

  /// Where the provider gives no time: 1, 2, 4 .. 32 s, jittered down by up to a quarter.
  mutating func wait(_ index: Int, _ told: Span?, closings: Int) -> Span {
    let usual = Int64(1_000_000_000) << Int64(min(max(0, closings), 5))
    let wait = Self.bounded(told ?? Span(nanoseconds: usual - random.upTo(usual / 4)))
    return max(wait, leastWait(index, closings: closings))
  }

  /// Returns true where this is news.
  private mutating func shut(
    _ lease: Lease, until: Instant, because reason: ProbeGate.Reason, at now: Instant, into actions: inout ActionList
  ) -> Bool {
    let index = Int(lease.placement.provider)
    let (model, key) = (Int(lease.placement.model), Int(quotaKey(lease)))
    var isNews = false
    var wide: Instant? = model < 0 ? until : nil
    if model >= 0 {
      if key >= 0 {
        var gate = providers[index].models[model].keyGates[Int32(key)] ?? ProbeGate()
        isNews = gate.close(until: until, generation: lease.keyModelGeneration, because: reason)
        providers[index].models[model].keyGates[Int32(key)] = gate
        if isNews {
          providers[index].keys[key].isSlowed = true
          noteClosure(index, model: model, key: key, gate, until, at: now, into: &actions)
        }
      } else {
        isNews = providers[index].models[model].gate.close(
          until: until, generation: lease.modelGateGeneration, because: reason)
        if isNews {
          noteClosure(
            index, model: model, key: nil, providers[index].models[model].gate, until, at: now, into: &actions)
        }
      }
      // Another model is another request's.
      if providers[index].models[model].name != nil,
        let other = otherShut(than: model, index, key: key, at: now)
      {
        wide = max(until, other)
      }
    }
    guard let wide else { return isNews }
    if key >= 0 {
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

  /// Says that something is shut from now on; a probe that was refused is no beginning.
  private func noteClosure(
    _ index: Int, model: Int?, key: Int?, _ gate: ProbeGate, _ until: Instant, at now: Instant,
    into actions: inout ActionList
  ) {
    guard gate.closings == 1 else { return }
    actions.append(
      .note(
        .closed(
          providers[index].policy.id, model: model.map { providers[index].models[$0].pattern.pattern },
          key: key.map { providers[index].keys[$0].policy.id }, for: until - now, reason: gate.reason.rawValue)))
  }

  /// Until when another model without an entry of the policy is shut.
  private func otherShut(than model: Int, _ index: Int, key: Int, at now: Instant) -> Instant? {
    var latest: Instant?
    for number in providers[index].modelOrder where Int(number) != model {
      guard providers[index].models[Int(number)].name != nil else { continue }
      let gate =
        key >= 0 ? providers[index].models[Int(number)].keyGates[Int32(key)] : providers[index].models[Int(number)].gate
      if let until = gate?.hopeBegins(at: now) { latest = max(latest ?? until, until) }
    }
    return latest
  }

  // MARK: Models without an entry

  /// Gives a model an entry of its own, and everybody who waits or runs with it the new number. Returns nil where there is no room.
  private mutating func adopt(
    _ name: String, _ index: Int, at now: Instant, into actions: inout ActionList
  ) -> Int? {
    if let known = providers[index].modelOrder.first(where: { providers[index].models[Int($0)].matches(name) }) {
      return Int(known)
    }
    let adopted = providers[index].modelOrder.filter { providers[index].models[Int($0)].name != nil }
    if adopted.count >= Self.mostAdopted {
      guard let idle = adopted.first(where: { providers[index].models[Int($0)].isForgettable(at: now) })
      else { return nil }
      providers[index].models[Int(idle)].isRetired = true
      providers[index].modelOrder.removeAll { $0 == idle }
    }
    forgetMeters(at: now)
    var state = ModelState(pattern: Glob(name), limits: Limits(), capacity: Capacity(Limits(), at: now))
    state.name = name
    state.learner = providers[index].learner.heir
    let number = Self.put(state, into: &providers[index].models, isFree: \.isFree)
    providers[index].modelOrder.append(Int32(number))
    for slot in leases.indices {
      guard let lease = leases[slot], Int(lease.placement.provider) == index, lease.placement.model < 0,
        lease.request.ticket.model == name
      else { continue }
      leases[slot]?.placement.model = Int32(number)
      leases[slot]?.takenFromModel = providers[index].models[number].capacity.take(
        lease.placement.units, band: lease.request.band, at: now)
    }
    routes.removeAll()
    reroute(at: now, into: &actions)
    return number
  }

  // MARK: Who goes first

  /// How a leg is, as far as "slow down" is concerned.
  enum Way: Sendable {
    case open
    /// The time is over: one call goes first.
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
  private func way(of route: Int32, at now: Instant) -> Way {
    var best = Way.shut(until: .distantFuture)
    for leg in routes.routes[Int(route)].legs where !leg.hasNoKey {
      let index = Int(leg.provider)
      var way = providers[index].gate.way(at: now)
      if leg.model >= 0 { way = way.and(providers[index].models[Int(leg.model)].gate.way(at: now)) }
      if !leg.keys.isEmpty {
        var keys = Way.shut(until: .distantFuture)
        for key in leg.keys where !providers[index].keys[Int(key)].health.isOut {
          var own = providers[index].keys[Int(key)].health.gate.way(at: now)
          if leg.model >= 0, let gate = providers[index].models[Int(leg.model)].keyGates[key] {
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

  /// For a refused request: when it may be in its lane again. It stays out until a probe has gone well, or until nobody else of
  /// its class takes the probe. nil where nothing is shut.
  func heldBackUntil(_ route: Int32, at now: Instant) -> Instant? {
    switch way(of: route, at: now) {
    case .open: nil
    case .probe: now
    case .shut(let until): until
    }
  }

  /// A gate may have changed: those that were refused come back, or go on waiting for as long as it is shut.
  mutating func reviewHeldBack(at now: Instant, into actions: inout ActionList) {
    guard !heldBack.isEmpty else { return }
    for id in heldBack {
      guard let slot = locations[id], slot >= 0, let request = waiting[Int(slot)] else { continue }
      if let until = heldBackUntil(request.route, at: now) {
        guard request.notBefore != until else { continue }
        waiting[Int(slot)]?.notBefore = until
        schedule(slot, at: now, into: &actions)
      } else {
        rejoin(slot, at: now, into: &actions)
      }
    }
  }

  /// The time of refused requests has come: whoever else waits in their classes goes first.
  mutating func readmit(_ due: [RequestID], at now: Instant, into actions: inout ActionList) {
    let othersWait = due.contains { id in
      guard let slot = locations[id], slot >= 0, let band = waiting[Int(slot)]?.band else { return false }
      let back = heldBack.count { id in
        locations[id].map { $0 >= 0 && waiting[Int($0)]?.band == band } ?? false
      }
      return waitingByBand[band] > back
    }
    if othersWait { dispatch(at: now, into: &actions) }
    for id in due {
      guard let slot = locations[id], slot >= 0, let request = waiting[Int(slot)], request.isHeldBack else { continue }
      if case .shut(let until) = way(of: request.route, at: now) {
        waiting[Int(slot)]?.notBefore = until
        schedule(slot, at: now, into: &actions)
      } else {
        rejoin(slot, at: now, into: &actions)
      }
    }
    needsPass = true
  }

  private mutating func rejoin(_ slot: Int32, at now: Instant, into actions: inout ActionList) {
    guard let id = waiting[Int(slot)]?.ticket.id else { return }
    heldBack.removeAll { $0 == id }
    waiting[Int(slot)]?.isHeldBack = false
    waiting[Int(slot)]?.notBefore = nil
    enterLane(slot, isRetry: true)
    schedule(slot, at: now, into: &actions)
    needsPass = true
  }
}

extension ProbeGate {
  func way(at now: Instant) -> Admission.Way {
    switch state {
    case .open: .open
    case .probing: .shut(until: .distantFuture)
    case .closed(let until): until <= now ? .probe : .shut(until: until)
    }
  }
}
