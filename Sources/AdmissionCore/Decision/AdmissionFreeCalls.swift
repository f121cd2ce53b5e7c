// Free calls (rule 10): counts, lists, reads. Nothing is charged for them, so they are sent at once: without a permit, without
// units of any bucket, without a turn. They wait, outside the lanes and in the order of arrival, only while
//
// - the provider, the model or the key is closed, as for others, or a breaker is open;
// - the provider has refused free calls themselves: vendors count them apart, so their 429 closes the provider for free
//   calls alone (`ProviderState.freeGate`), and says nothing about other calls;
// - 32 of them run at the provider.
//
// A free call claims nothing, and no claim keeps it. What it tells of the provider's health counts: it may be the probe
// of a breaker or of a refused key. What it tells of limits does not: it is never the probe of a throttle that other
// calls met, and teaches no limit, pace, duration or estimate.

extension Admission {
  // MARK: Placement

  enum FreeAttempt {
    case placed
    /// No candidate can take it. `isOwn`: something of its own is in its way, so that the next one may still go.
    case blocked(isOwn: Bool)
  }

  /// Finds a candidate that takes a free call now (rule 4).
  /// - Parameters:
  ///   - wakes: receives when what blocks a leg may be over without an event.
  ///   - placement: receives what was found.
  func placeFree(
    _ request: Request, at now: Instant, wakes: inout [(provider: ProviderIndex, at: Instant)],
    into placement: inout Placement
  ) -> FreeAttempt {
    let legs = providers.routes[request.route].legs
    var isOwn = !request.refusedKeys.isEmpty
    var secondChoice: Placement?
    for index in legs.indices {
      if isBackingOff(request, legs[index], at: now) {
        isOwn = true
        wakes.append((legs[index].provider, request.backoffUntil))
        continue
      }
      switch placeFree(request, legs[index], at: now, into: &placement) {
      case .placed:
        placement.leg = index
        guard placement.isSecondChoice else { return .placed }
        secondChoice = secondChoice ?? placement
      case .blocked(_, let readyAt): wakes.append((legs[index].provider, readyAt))
      case .unaffordable: break
      }
    }
    guard let secondChoice else { return .blocked(isOwn: isOwn) }
    placement = secondChoice
    return .placed
  }

  /// What finding the same at one leg would end with, for those who do not need the placement.
  func placeFree(_ request: Request, _ leg: Route.Leg, at now: Instant) -> LegAttempt {
    var placement = Placement.none
    return placeFree(request, leg, at: now, into: &placement)
  }

  /// The same at one leg.
  private func placeFree(
    _ request: Request, _ leg: Route.Leg, at now: Instant, into placement: inout Placement
  ) -> LegAttempt {
    let index = leg.provider
    if let (obstacle, until) = illness(of: leg, for: request, heedsClaims: false, at: now) {
      return .blocked(obstacle, readyAt: until)
    }
    if let until = providers[index].freeGate.blockedUntil(at: now) {
      return .blocked(Obstacle(kind: .closed, provider: index), readyAt: until)
    }
    guard providers[index].freeCalls < ProviderState.mostFreeCalls else {
      return .blocked(Obstacle(kind: .freePermits, provider: index), readyAt: .distantFuture)
    }
    var key: KeyIndex?
    var isSecondChoice = false
    if !leg.keys.isEmpty {
      switch chooseKey(request, leg, .zero, .zero, band: nil, heedsClaims: false, at: now) {
      case .blocked(let obstacle, let readyAt): return .blocked(obstacle, readyAt: readyAt)
      case .chosen(let chosen, let isDoubted): (key, isSecondChoice) = (chosen, isDoubted)
      }
    }
    let isPriced = request.box.ticket.candidates[leg.candidate].price != nil
    placement = Placement(
      leg: 0, provider: index, model: leg.model, key: key, units: .zero, estimate: .zero,
      cost: isPriced ? 0 : nil, isSecondChoice: isSecondChoice)
    return .placed
  }

  // MARK: Service

  /// Sends the waiting free calls that can go, those that came first before others.
  mutating func serveFree(at now: Instant, into actions: inout ActionList) {
    var routes = waiting.freeRoutes
    var passedOver: [RequestID] = []
    var wakes: [(provider: ProviderIndex, at: Instant)] = []
    waiting.isFreeDue = false
    while let route = routes.min(by: { waiting.firstSequence(on: $0) < waiting.firstSequence(on: $1) }),
      let index = waiting.firstFree(on: route), let request = waiting.find(index)
    {
      countPlacements(providers.routes[route].legs.count)
      var placement = Placement.none
      switch placeFree(request, at: now, wakes: &wakes, into: &placement) {
      case .placed:
        takeOut(index, at: now)
        commit(request, placement, turn: nil, by: .free, at: now, into: &actions)
      case .blocked(true):
        // Later ones may go: this one is passed over.
        passedOver.append(request.ticket.id)
        waiting.leaveFree(index)
      case .blocked(false): routes.removeAll { $0 == route }
      }
      if waiting.firstFree(on: route) == nil { routes.removeAll { $0 == route } }
    }
    for id in passedOver {
      if let index = waiting.index(of: id) { waiting.enterFree(index) }
    }
    for wake in wakes { providers.wake(wake.provider, at: wake.at) }
    waiting.isFreeDue = false
  }

  /// A free call has ended: its place goes to the next one.
  mutating func releaseFree(_ lease: Lease) {
    providers[lease.placement.provider].endFree(lease)
    tenants[lease.request.tenant].freeCalls -= 1
    if waiting.hasFree { waiting.isFreeDue = true }
  }

  /// The provider has refused a free call, or is away for it: its free calls wait, and one of them goes first when the time is over.
  mutating func closeForFree(
    _ lease: Lease, _ told: Span?, because reason: PauseReason, at now: Instant, into actions: inout ActionList
  ) {
    let index = lease.placement.provider
    if isAboutOthers(lease) {
      let until = now + wait(index, told, closings: providers[index].freeGate.closings)
      if providers[index].freeGate.close(until: until, generation: lease.gateGeneration, because: reason) {
        rejectUnservable(of: index, at: now, into: &actions)
      }
    }
    yieldGates(lease, at: now)
  }
}

extension Lease {
  /// True for a free call, which has taken nothing.
  var isFree: Bool { request.box.ticket.isFree }
}

extension ProviderState {
  /// How many free calls run at a time.
  static let mostFreeCalls = 32

  /// `begin` for a free call: it takes nothing.
  mutating func beginFree(
    _ lease: inout Lease, at now: Instant
  ) -> (own: BreakerCondition?, ofModel: BreakerCondition?) {
    let passed = breaker.pass(at: now)
    lease.breakerGeneration = passed.generation
    lease.gateGeneration = freeGate.pass(at: now)
    lease.request.refusedAtGrant = RefusalMark()
    freeCalls += 1
    var ofModel: BreakerCondition?
    if let model = lease.placement.model {
      models[model].freeCalls += 1
      if let passed = models[model].breaker?.pass(at: now) {
        lease.modelBreakerGeneration = passed.generation
        ofModel = passed.change
      }
    }
    if let key = lease.placement.key {
      keys[key].freeCalls += 1
      lease.keySerial = keys[key].serial
      lease.keyGeneration = keys[key].health.passFree(at: now)
    }
    return (passed.change, ofModel)
  }

  mutating func endFree(_ lease: Lease) {
    freeCalls -= 1
    if let model = lease.placement.model { models[model].freeCalls -= 1 }
    if let key = lease.placement.key { keys[key].freeCalls -= 1 }
  }
}
