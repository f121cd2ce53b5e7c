// The providers of the policy and what is known about them, and the routes to them.
//
// Promise: indices of providers, keys and models stay valid across a change of policy for as long as a lease has them.
// Slots of those that are no longer in the policy and that no lease has are used again.

struct ProviderTable: Sendable {
  private var providers = Slots<ProviderState>()
  private var byName: [ProviderID: ProviderIndex] = [:]
  /// Never assigned again: lanes keep them across a change of policy.
  private var clusters: [ProviderID: ClusterIndex] = [:]
  /// The serial that was last given to a key's secret.
  private var lastKeySerial: Int64 = 0
  private(set) var routes = RouteTable()
  /// Providers with permits that lag behind their calls, by when the first of these becomes free.
  private var lags = IndexedHeap<ProviderState>()
  private var lagPositions = IndexedHeap<ProviderState>.Positions()

  /// Providers at which something may have become free or another head may be first, and that have not been looked at
  /// since.
  private var changed: [ProviderIndex] = []
  private var isChanged = Column<ProviderState, Bool>(false)
  /// Providers, by when something that a head waits for there becomes available without an event.
  private var wakes = IndexedHeap<ProviderState>()
  private var wakePositions = IndexedHeap<ProviderState>.Positions()

  /// All known providers, including those no longer in the policy, in the order of their slots.
  var indices: SlotIndices<ProviderState> { providers.indices }
  /// The providers of the policy, in the order of their slots.
  var inForce: [ProviderIndex] { providers.indices.filter { !providers[$0].isRetired } }

  subscript(index: ProviderIndex) -> ProviderState {
    @inline(__always) get { providers[index] }
    @inline(__always) _modify { yield &providers[index] }
  }

  /// nil where the policy does not have it.
  func index(of id: ProviderID) -> ProviderIndex? { byName[id] }

  /// The policy's key with this name.
  func key(_ key: KeyID, of provider: ProviderID) -> (provider: ProviderIndex, key: KeyIndex)? {
    guard let provider = byName[provider],
      let index = providers[provider].keyOrder.first(where: { providers[provider].keys[$0].policy.id == key })
    else { return nil }
    return (provider, index)
  }

  // MARK: Policy

  /// Takes over the providers of a policy. All routes are forgotten.
  /// - Parameter dayEnd: when the current day ends, for new daily limits.
  mutating func install(_ rules: [ProviderPolicy], dayEnd: Instant, at now: Instant) {
    for index in providers.indices { providers[index].isRetired = true }
    byName.removeAll()
    for rules in rules {
      guard let known = providers.indices.first(where: { providers[$0].policy.id == rules.id }) else { continue }
      providers[known].isRetired = false
      byName[rules.id] = known
    }
    for rules in rules {
      let index =
        byName[rules.id]
        ?? providers.insert(
          ProviderState(
            policy: rules, capacity: Capacity(Limits(), at: now), breaker: CircuitBreaker(policy: rules.breaker)),
          over: \.isFree)
      byName[rules.id] = index
      install(rules, index, dayEnd: dayEnd, at: now)
    }
    providers.removeLast(while: \.isFree)
    routes.removeAll()
    changeAll()
  }

  private mutating func install(_ rules: ProviderPolicy, _ index: ProviderIndex, dayEnd: Instant, at now: Instant) {
    providers[index].policy = rules
    providers[index].cluster = rules.cluster.map { number(ofCluster: $0) } ?? .unconnected
    providers[index].breaker.policy = rules.breaker
    if !rules.learnLimits {
      providers[index].learner = QuotaLearner()
      for key in providers[index].keys.indices { providers[index].keys[key].learner = QuotaLearner() }
    }
    installModels(rules, index, at: now)
    installKeys(rules, index, at: now)
    providers[index].capacity.ramp.length = rules.ramp
    applyLimits(of: index, dayEnd: dayEnd, at: now)
  }

  private mutating func number(ofCluster name: ProviderID) -> ClusterIndex {
    if let known = clusters[name] { return known }
    let number = ClusterIndex(number: clusters.count + 1)
    clusters[name] = number
    return number
  }

  private mutating func installModels(_ rules: ProviderPolicy, _ index: ProviderIndex, at now: Instant) {
    // Models without an entry in the policy keep what was learned about them, unless they have one now.
    let adopted = providers[index].modelOrder.filter { model in
      guard let name = providers[index].models[model].name else { return false }
      return !rules.modelLimits.contains { $0.models.matches(name) }
    }
    for model in providers[index].models.indices where !adopted.contains(model) {
      providers[index].models[model].isRetired =
        providers[index].models[model].name != nil
        || !rules.modelLimits.contains { $0.models == providers[index].models[model].pattern }
    }
    for model in adopted where !rules.learnLimits { providers[index].models[model].learner = QuotaLearner() }
    let declared = rules.modelLimits.map { limits in
      let known = providers[index].models.indices.first {
        let model = providers[index].models[$0]
        return model.pattern == limits.models && model.name == nil && !model.isRetired
      }
      guard let known else {
        let state = ModelState(
          pattern: limits.models, limits: limits.limits, capacity: Capacity(limits.limits, at: now),
          breaker: limits.breaker.map { CircuitBreaker(policy: $0) })
        return providers[index].models.insert(state, over: \.isFree)
      }
      providers[index].models[known].limits = limits.limits
      if let policy = limits.breaker, providers[index].models[known].breaker != nil {
        providers[index].models[known].breaker?.policy = policy
      } else {
        providers[index].models[known].breaker = limits.breaker.map { CircuitBreaker(policy: $0) }
      }
      if !rules.learnLimits { providers[index].models[known].learner = QuotaLearner() }
      return known
    }
    providers[index].modelOrder = declared + adopted
    providers[index].models.removeLast(while: \.isFree)
  }

  private mutating func installKeys(_ rules: ProviderPolicy, _ index: ProviderIndex, at now: Instant) {
    let known = knownKeys(rules, index)
    for key in providers[index].keys.indices { providers[index].keys[key].isRetired = !known.contains(key) }
    providers[index].keyOrder = zip(rules.keys, known).map { policy, known in
      if let known {
        succeed(known, of: index, with: policy, ramp: rules.ramp, at: now)
        return known
      }
      lastKeySerial += 1
      var state = KeyState(
        policy: policy, hash: KeyPool.hash(policy.id.name), serial: lastKeySerial,
        capacity: Capacity(Limits(), at: now))
      state.capacity.ramp.length = rules.ramp
      state.capacity.ramp.begin(at: now)
      let new = providers[index].keys.insert(state, over: \.isFree)
      for model in providers[index].models.indices { providers[index].models[model].keyGates[new] = nil }
      return new
    }
    providers[index].keys.removeLast(while: \.isFree)
  }

  /// Applies these rules to the key, which may have another secret now.
  private mutating func succeed(
    _ key: KeyIndex, of index: ProviderIndex, with policy: KeyPolicy, ramp: Span, at now: Instant
  ) {
    let isNew = providers[index].keys[key].policy.secretGeneration != policy.secretGeneration
    if isNew {
      // A key that was refused may be valid now.
      if providers[index].keys[key].health.trouble != .byOperator { providers[index].keys[key].health.enable() }
      // Everything that was reported about it was about another account.
      lastKeySerial += 1
      providers[index].keys[key].serial = lastKeySerial
      providers[index].keys[key].rests.removeAll()
      providers[index].keys[key].learner = QuotaLearner()
      openGates(of: key, at: index)
    }
    providers[index].keys[key].policy = policy
    providers[index].keys[key].capacity.ramp.length = ramp
    if isNew { providers[index].keys[key].capacity.ramp.begin(at: now) }
  }

  /// Returns, for each key of the rules, the existing state that it continues: that of the key with the same secret,
  /// else of the key with the same name.
  private func knownKeys(_ rules: ProviderPolicy, _ index: ProviderIndex) -> [KeyIndex?] {
    let keys = providers[index].keys
    var known = [KeyIndex?](repeating: nil, count: rules.keys.count)
    var taken: Set<KeyIndex> = []
    for names in [rules.keys.map(\.predecessor), rules.keys.map { KeyID?.some($0.id) }] {
      for (position, name) in names.enumerated() where known[position] == nil {
        let named = keys.indices.filter { keys[$0].policy.id == name }
        // A retired key comes back with the calls that still run on it.
        guard name != nil, let key = named.first(where: { !keys[$0].isRetired }) ?? named.first,
          taken.insert(key).inserted
        else { continue }
        known[position] = key
      }
    }
    return known
  }

  /// Applies the operator's limits, tightened by what was learned.
  mutating func applyLimits(of index: ProviderIndex, dayEnd: Instant, at now: Instant) {
    let rules = providers[index].policy
    let isPerKey = providers[index].isPerKey
    func apply(_ capacity: inout Capacity, _ limits: Limits, mayBeLearned: Bool, own: Limits) {
      capacity.replace(limits, dayEnd: dayEnd, at: now)
      capacity.permits.isLearned = mayBeLearned && limits.concurrency != own.concurrency
    }
    apply(
      &providers[index].capacity, isPerKey ? Limits() : providers[index].learner.effective(rules.limits),
      mayBeLearned: !isPerKey, own: rules.limits)
    for model in providers[index].modelOrder {
      let own = providers[index].models[model].limits
      let limits = isPerKey ? own : providers[index].models[model].learner.effective(own)
      apply(&providers[index].models[model].capacity, limits, mayBeLearned: true, own: own)
    }
    for key in providers[index].keyOrder {
      let own = rules.limits(of: providers[index].keys[key].policy)
      let limits = isPerKey ? providers[index].keys[key].learner.effective(own) : own
      apply(&providers[index].keys[key].capacity, limits, mayBeLearned: isPerKey, own: own)
    }
  }

  /// Nobody of the band waits any more.
  mutating func restPaces(_ band: Int) {
    for index in providers.indices { providers[index].restPace(band) }
  }

  // MARK: Lags

  /// Notes that a call has ended whose permits lag until `end`, unless earlier calls lag for longer.
  mutating func lag(at index: ProviderIndex, until end: Instant) {
    // Permits of calls that ended earlier become free earlier, except after the lag was shortened: then the provider is
    // looked at a little early.
    if let known = lags.key(of: index, positions: lagPositions), known <= end.nanoseconds { return }
    lags.set(index, key: end.nanoseconds, stamp: 0, positions: &lagPositions)
  }

  /// Frees the permits whose lag is over.
  mutating func expireLags(at now: Instant) {
    while let first = lags.first, first.key <= now.nanoseconds {
      lags.remove(first.element, positions: &lagPositions)
      change(first.element)
      guard let next = expireLags(of: first.element, at: now) else { continue }
      lags.insert(first.element, key: next.nanoseconds, stamp: 0, positions: &lagPositions)
    }
  }

  /// Returns when the provider's next permit is free; nil where none lags.
  private mutating func expireLags(of index: ProviderIndex, at now: Instant) -> Instant? {
    guard providers.contains(index) else { return nil }
    var next: Instant?
    func expire(_ permits: inout ConcurrencyLimiter) {
      _ = permits.expire(at: now)
      if let expiry = permits.nextExpiry { next = min(next ?? expiry, expiry) }
    }
    expire(&providers[index].capacity.permits)
    for model in providers[index].models.indices { expire(&providers[index].models[model].capacity.permits) }
    for key in providers[index].keys.indices { expire(&providers[index].keys[key].capacity.permits) }
    return next
  }

  // MARK: What has changed

  var hasChanged: Bool { !changed.isEmpty }

  /// Notes that something may have become free at the provider, or that another head may be first there.
  mutating func change(_ index: ProviderIndex) {
    guard providers.contains(index) else { return }
    providers[index].isWidelyChanged = true
    list(index)
  }

  /// Notes a change that concerns only this model: no permit of other models was given back, and their first heads are
  /// the same.
  mutating func change(_ index: ProviderIndex, model: ModelIndex?) {
    // Where each key has its own quota, a model's permits are not all that counts.
    if providers[index].isPerKey { return change(index) }
    if let model { providers[index].models[model].lack.claimedIn = 0 }
    list(index)
  }

  /// Notes a change at a leg of a route.
  mutating func change(_ leg: Route.Leg) { change(leg.provider, model: leg.model) }

  private mutating func list(_ index: ProviderIndex) {
    guard !isChanged[index] else { return }
    isChanged[index] = true
    changed.append(index)
  }

  /// Notes the same for all providers.
  mutating func changeAll() {
    for index in providers.indices { change(index) }
  }

  /// Begins another look at a provider that has changed: all claims there become void, and its meters stop. Returns nil
  /// where none has changed.
  mutating func beginLook(at now: Instant) -> ProviderIndex? {
    while let index = changed.popLast() {
      isChanged[index] = false
      guard providers.contains(index) else { continue }
      if providers[index].isWidelyChanged { wakes.remove(index, positions: &wakePositions) }
      providers[index].beginLook(at: now)
      return index
    }
    return nil
  }

  /// Notes when something that a head waits for at the provider becomes available without an event.
  mutating func wake(_ index: ProviderIndex, at instant: Instant) {
    guard instant != .distantFuture else { return }
    if let known = wakes.key(of: index, positions: wakePositions), known <= instant.nanoseconds { return }
    wakes.set(index, key: instant.nanoseconds, stamp: 0, positions: &wakePositions)
  }

  /// When the first of these instants is.
  var nextWake: Instant? { wakes.first.map { Instant(nanoseconds: $0.key) } }

  /// Marks the providers whose instant has come as changed.
  mutating func wake(at now: Instant) {
    while let first = wakes.first, first.key <= now.nanoseconds {
      wakes.remove(first.element, positions: &wakePositions)
      change(first.element)
    }
  }

  // MARK: Gates

  /// Opens the key's gates for all models, where each key has its own quota.
  mutating func openGates(of key: KeyIndex, at index: ProviderIndex) {
    for model in providers[index].models.indices { providers[index].models[model].keyGates[key]?.open() }
    providers[index].keys[key].isSlowed = false
  }

  /// Opens all gates of the provider, for all models and keys.
  mutating func openGates(at index: ProviderIndex) {
    if providers[index].gate.state != .passing { providers[index].gate.open() }
    if providers[index].freeGate.state != .passing { providers[index].freeGate.open() }
    for model in providers[index].models.indices where providers[index].models[model].gate.state != .passing {
      providers[index].models[model].gate.open()
    }
  }

  // MARK: Routes

  /// The route of the ticket's calls; nil where none of its candidates exists.
  mutating func route(of box: TicketBox) -> RouteTable.Known? {
    if let known = routes.cached(model: box.ticket.model, candidates: box.ticket.candidates) {
      return routes[known.route].legs.isEmpty ? nil : known
    }
    let ticket = box.ticket
    let legs = ticket.candidates.indices.compactMap { leg(of: ticket, to: $0) }
    let known = routes.add(
      Route(legs: legs), model: ticket.model, candidates: ticket.candidates,
      isListed: ticket.candidates.contains { $0.price?.isFree == false } || legs.contains { $0.model != nil })
    return legs.isEmpty ? nil : known
  }

  private func leg(of ticket: Ticket, to candidate: Int) -> Route.Leg? {
    guard let provider = byName[ticket.candidates[candidate].provider] else { return nil }
    let state = providers[provider]
    let keys = state.keyOrder.filter { key in
      let rules = state.keys[key].policy
      return rules.isInForce && (rules.models.isEmpty || rules.models.contains { $0.matches(ticket.model) })
    }
    return Route.Leg(
      provider: provider, model: state.modelOrder.first { state.models[$0].matches(ticket.model) }, keys: keys,
      hasNoKey: keys.isEmpty && !state.keyOrder.isEmpty, candidate: candidate)
  }

  /// A route that leads nowhere.
  mutating func nowhere() -> RouteIndex { routes.number(of: Route(legs: [])) }

  /// The provider to name where no candidate has a key for this model at all.
  func keyless(_ route: RouteIndex) -> ProviderID? {
    let legs = routes[route].legs
    guard legs.allSatisfy(\.hasNoKey) else { return nil }
    return legs.first.map { providers[$0.provider].policy.id }
  }

  /// The route that heads of sessions at their limit have instead.
  mutating func spare(of route: RouteIndex) -> RouteIndex { routes.spare(of: route) }

  /// The cluster in which the route's providers are.
  func cluster(of route: RouteIndex) -> ClusterIndex {
    routes[route].legs.first.map { providers[$0.provider].cluster } ?? .unconnected
  }

  /// Forgets all routes, because other models have entries than before.
  mutating func forgetRoutes() { routes.removeAll() }

  // MARK: Learning

  /// Notes that a call of the model has ended with a usage from its provider.
  mutating func taught(_ model: ModelNumber) { routes.taught(model) }

  /// Returns what was learned since the last call, by provider and model.
  mutating func takeLearned() -> [LearnedModel] {
    var learned: [LearnedModel] = []
    let names = routes.modelNames
    for index in inForce {
      for model in providers[index].predictor.takeChanged() {
        guard let name = names[model] else { continue }
        let numbers = providers[index].predictor.numbers(of: model)
        learned.append(
          LearnedModel(
            provider: providers[index].policy.id, model: name, ratio: numbers.input.ratio,
            spread: numbers.input.spread, outputs: numbers.outputs, isListed: RouteTable.isListed(model),
            lack: numbers.input.lack, tellsWrites: numbers.input.tellsWrites,
            calls: providers[index].predictor.origin(of: model)?.calls ?? 0))
      }
    }
    return learned
  }

  /// Restores what was learned. The newest models come last: where there are too many, those keep their own numbers.
  mutating func restore(_ models: [LearnedModel], at now: Instant) {
    for learned in models.reversed() {
      guard let provider = byName[learned.provider] else { continue }
      let model = routes.numberOfKnown(learned.model, isListed: learned.isListed)
      guard model != .shared else { continue }
      providers[provider].predictor.restore(
        OutputPredictor.Input(
          ratio: learned.ratio, spread: learned.spread, lack: learned.lack, tellsWrites: learned.tellsWrites),
        outputs: learned.outputs, model: model, calls: learned.calls, at: now)
    }
  }

  // MARK: Whose limits

  /// The holder of the quota that the call counts against.
  func holder(of placement: Placement) -> QuotaHolder {
    if let key = placement.key, providers[placement.provider].policy.quota == .perKey { return .key(key) }
    return placement.model.map { .model($0) } ?? .provider
  }

  /// The holder of the limits that the provider reports: for a model that no entry in the policy covers, they are the
  /// provider's.
  func numbersHolder(of placement: Placement) -> QuotaHolder {
    let holder = holder(of: placement)
    if case .model(let model) = holder, providers[placement.provider].models[model].name != nil { return .provider }
    return holder
  }

  /// A refused call has given back what the numbers of its refusal did not count.
  mutating func takeAgain(_ lease: Lease, at now: Instant) {
    let holder = numbersHolder(of: lease.placement)
    let taken =
      switch holder {
      case .provider: lease.takenFromProvider
      case .model: lease.takenFromModel
      case .key: lease.takenFromKey
      }
    providers[lease.placement.provider].change(capacityOf: holder) { $0.takeAgain(taken, lease.lowered, at: now) }
  }

  /// The number of calls that count against the holder's quota now, including those that ended within the settle lag.
  func counted(at holder: QuotaHolder, of index: ProviderIndex) -> Int {
    switch holder {
    case .provider: providers[index].capacity.permits.inUse
    case .key(let key): providers[index].keys[key].capacity.permits.inUse
    case .model(let model): providers[index].models[model].capacity.permits.inUse
    }
  }
}
