// What a call changes at its provider: as it begins, as it is answered, and as it ends.
//
// These are methods of the provider's and the model's state, and not of `Admission`, for the sake of the time that a
// decision takes: one access finds the provider for all of them. And what is optional (a model's breaker) is reached
// from inside its owner: a change through an optional, or through an accessor with several places, is a coroutine that
// the compiler cannot inline, and allocates memory each time.

extension ModelState {
  /// Lets the call pass, and notes the generations in its lease. Returns the breaker's new state where it changed.
  fileprivate mutating func begin(_ lease: inout Lease, at now: Instant) -> BreakerCondition? {
    lease.request.refusedAtGrant = signs.refused
    let passed = breaker?.pass(at: now)
    if let passed { lease.modelBreakerGeneration = passed.generation }
    lease.modelGateGeneration = gate.pass(at: now)
    if let key = lease.placement.key { lease.keyModelGeneration = keyGates[key]?.pass(at: now) ?? 0 }
    lease.takenFromModel = capacity.take(lease.placement.units, band: lease.request.band, at: now)
    return passed?.change
  }

  /// The provider has begun to answer the call. Returns true where that opens a gate.
  fileprivate mutating func beginAnswer(_ lease: Lease) -> Bool {
    signs.lastGood = max(signs.lastGood, lease.id.serial)
    if !lease.isAnswering {
      signs.good &+= 1
      if lease.wasRefusedHere { signs.refused.first &+= 1 }
    }
    var isOpened = gate.succeed(generation: lease.modelGateGeneration)
    if let key = lease.placement.key, keyGates[key]?.succeed(generation: lease.keyModelGeneration) == true {
      isOpened = true
    }
    return isOpened
  }

  /// Records a result at the breaker. Returns whether its state changed; nil where the model has none.
  fileprivate mutating func record(_ result: ProviderState.CallResult, _ lease: Lease, at now: Instant) -> Bool? {
    breaker?.record(
      result.kind, of: result.mark, generation: lease.modelBreakerGeneration, jitter: result.jitter,
      reason: result.reason, at: now)
  }

  /// The call ended without a result: if it was a probe, another call may be the next one.
  fileprivate mutating func yieldGates(_ lease: Lease, at now: Instant) {
    gate.yield(generation: lease.modelGateGeneration, at: now)
    if let key = lease.placement.key { keyGates[key]?.yield(generation: lease.keyModelGeneration, at: now) }
  }
}

extension ProviderState {
  // MARK: Beginning

  /// Takes permits and units for the call, lets it pass breakers, gates and the key, and notes all that in its lease.
  /// Returns the new states of breakers that changed.
  mutating func begin(
    _ lease: inout Lease, at now: Instant
  ) -> (own: BreakerCondition?, ofModel: BreakerCondition?) {
    if lease.request.tries == 1 { retries.deposit(percent: policy.retry.budgetPercent) }
    if lease.isFree { return beginFree(&lease, at: now) }
    let band = lease.request.band
    let passed = breaker.pass(at: now)
    lease.breakerGeneration = passed.generation
    lease.gateGeneration = gate.pass(at: now)
    lease.takenFromProvider = capacity.take(lease.placement.units, band: band, at: now)
    rests += lease.restInDoubt
    lease.request.refusedAtGrant = RefusalMark()
    var ofModel: BreakerCondition?
    if let model = lease.placement.model { ofModel = models[model].begin(&lease, at: now) }
    if let key = lease.placement.key {
      lease.keySerial = keys[key].serial
      lease.keyGeneration = keys[key].health.pass(at: now)
      lease.takenFromKey = keys[key].capacity.take(lease.placement.units, band: band, at: now)
    }
    noteSent(&lease, at: now)
    return (passed.change, ofModel)
  }

  /// Notes how many calls count against the same quota, and tells its learner that one is sent.
  private mutating func noteSent(_ lease: inout Lease, at now: Instant) {
    if let key = lease.placement.key, policy.quota == .perKey {
      lease.counted = keys[key].capacity.permits.inUse
      keys[key].learner.bursts.sent(at: now)
    } else if let model = lease.placement.model {
      lease.counted = models[model].capacity.permits.inUse
      models[model].learner.bursts.sent(at: now)
    } else {
      lease.counted = capacity.permits.inUse
      learner.bursts.sent(at: now)
    }
  }

  // MARK: The answer

  /// The provider has begun to answer the call. Returns true where that opens a gate of the provider or the model.
  mutating func beginAnswer(_ lease: Lease) -> Bool {
    if lease.isFree { return freeGate.succeed(generation: lease.gateGeneration) }
    if tooLarge != 0, lease.id.serial > tooLarge { tooLarge = 0 }
    let isOpened = gate.succeed(generation: lease.gateGeneration)
    guard let model = lease.placement.model else { return isOpened }
    return models[model].beginAnswer(lease) || isOpened
  }

  /// What breakers are told of a call.
  struct CallResult {
    var kind: CircuitBreaker.Result
    /// For a failure.
    var mark: CallMark?
    var jitter: Int64 = 0
    var reason = ""
  }

  /// Records a result at the breakers. Returns which of them changed.
  mutating func record(
    _ result: CallResult, _ lease: Lease, at now: Instant
  ) -> (own: Bool, ofModel: Bool) {
    var own = result
    var ofModel = false
    if let model = lease.placement.model, let changed = models[model].record(result, lease, at: now) {
      ofModel = changed
      // These calls say nothing to the provider's own breaker, unless they are its probes and succeed.
      if result.kind == .failure || breaker.state != .halfOpen { own.kind = .neutral }
    }
    let changed = breaker.record(
      own.kind, of: own.mark, generation: lease.breakerGeneration, jitter: own.jitter, reason: own.reason, at: now)
    return (changed, ofModel)
  }

  // MARK: While it runs

  /// Takes what is known of the call so far in place of what was reserved for it, and notes it in its lease. A call that
  /// was charged in full at the start does not grow while it streams.
  mutating func trueUp(_ lease: inout Lease, _ progress: Progress, at now: Instant) {
    let counting = policy.admissionTokens
    let told = progress.input.map { TokenCount(counting.counted($0, wasSent: true)[1]) }
    let input = told ?? lease.told ?? lease.placement.input
    let units: Units
    if counting.chargesInFull(lease.request.box) {
      units = Units(-1, told == nil && lease.told == nil ? -1 : input.value, -1, -1)
    } else {
      units = Units(1, input: input, output: max(lease.placement.output, progress.outputTokens))
    }
    let call = lease.standing
    lease.takenFromProvider = capacity.trueUp(
      taken: lease.takenFromProvider, to: units, call: call, telling: told?.value, at: now)
    if let model = lease.placement.model {
      lease.takenFromModel = models[model].capacity.trueUp(
        taken: lease.takenFromModel, to: units, call: call, telling: told?.value, at: now)
    }
    if let key = lease.placement.key {
      lease.takenFromKey = keys[key].capacity.trueUp(
        taken: lease.takenFromKey, to: units, call: call, telling: told?.value, at: now)
    }
    if lease.told == nil, let usage = progress.input { noteCached(usage, lease, at: now) }
    if told != nil { rests -= lease.restInDoubt }
    lease.told = told ?? lease.told
  }

  /// Remembers what the provider has cached of the call, where that is not counted.
  mutating func noteCached(_ usage: Usage, _ lease: Lease, at now: Instant) {
    let box = lease.request.box
    guard usage.inputTokens > 0 else { return }
    predictor.noteCached(
      usage, estimated: box.ticket.estimatedInput, model: lease.request.model, prompt: box.prompt, began: lease.began,
      life: policy.life(of: box), holder: lease.keySerial, print: box.ticket.print, at: now)
  }

  /// Takes one more request for a call that was sent once more.
  mutating func countAgain(_ lease: inout Lease, at now: Instant) {
    guard lease.sendings < .max else { return }
    lease.sendings += 1
    lease.takenFromProvider &+= capacity.takeRequest(at: now)
    if let model = lease.placement.model { lease.takenFromModel &+= models[model].capacity.takeRequest(at: now) }
    if let key = lease.placement.key { lease.takenFromKey &+= keys[key].capacity.takeRequest(at: now) }
  }

  // MARK: The end

  /// Gives permits and units back, and replaces what was taken by what the provider has really charged.
  mutating func end(_ lease: Lease, _ settlement: Settlement, at now: Instant) {
    let lag = settlement.wasSent ? policy.settleLag : .zero
    let usage = settlement.usage ?? Usage()
    var actual = policy.admissionTokens.counted(usage, wasSent: settlement.wasSent)
    // It may have been sent before.
    actual[0] += Int64(lease.sendings) - 1
    let keepsCharge = settlement.usage != nil && policy.admissionTokens.chargesInFull(lease.request.box)
    let cap = lease.request.box.ticket.outputCap?.value ?? 0
    let units = lease.placement.units

    func charge(_ taken: TakenUnits) -> TakenUnits {
      var charge = TakenUnits(actual)
      guard keepsCharge else { return charge }
      func isWhole(_ rate: RateLimit) -> Bool { taken[Int(rate.rawValue)] < units[3] }
      // The larger of the cap and the counted input; a call larger than the bucket has taken the whole bucket.
      let counted = max(cap, actual[1])
      let (minute, day) = (Int(RateLimit.tokensPerMinute.rawValue), Int(RateLimit.tokensPerDay.rawValue))
      charge[minute] = isWhole(.tokensPerMinute) ? taken[minute] : counted
      charge[day] = isWhole(.tokensPerDay) ? taken[day] : counted
      charge[Int(RateLimit.outputTokensPerMinute.rawValue)] = taken[Int(RateLimit.outputTokensPerMinute.rawValue)]
      return charge
    }
    rests -= lease.restInDoubt
    capacity.settle(
      taken: lease.takenFromProvider, actual: charge(lease.takenFromProvider), call: lease.standing, lag: lag, at: now)
    if let model = lease.placement.model {
      models[model].capacity.settle(
        taken: lease.takenFromModel, actual: charge(lease.takenFromModel), call: lease.standing, lag: lag, at: now)
    }
    if let key = lease.placement.key {
      keys[key].capacity.settle(
        taken: lease.takenFromKey, actual: charge(lease.takenFromKey), call: lease.standing, lag: lag, at: now)
    }
  }

  /// A probe without a result makes room for another.
  mutating func yieldGates(_ lease: Lease, at now: Instant) {
    if lease.isFree {
      freeGate.yield(generation: lease.gateGeneration, at: now)
      if let key = lease.placement.key, keys[key].health.trouble != .throttled {
        keys[key].health.yield(generation: lease.keyGeneration, at: now)
      }
      return
    }
    gate.yield(generation: lease.gateGeneration, at: now)
    if let model = lease.placement.model { models[model].yieldGates(lease, at: now) }
    if let key = lease.placement.key { keys[key].health.yield(generation: lease.keyGeneration, at: now) }
  }
}

extension Lease {
  /// What was reserved for a call that continues a cached one, until the provider tells what it counts.
  fileprivate var restInDoubt: Int64 { placement.estimate.isRest && told == nil ? placement.input.value : 0 }

  /// True where the request was refused here before: where it no longer is, refusals depend on the time.
  fileprivate var wasRefusedHere: Bool {
    let (provider, model) = (placement.provider, placement.model)
    return request.refusals.contains { $0.provider == provider && $0.model == model }
  }
}

extension ProviderPolicy {
  /// How long a prefix lives that the call reads or writes.
  func life(of box: TicketBox) -> Span { box.ticket.cacheLife ?? cacheLife }
}

extension AdmissionTokens {
  /// What the provider counts of a usage. A provider that charges at the start neither gives back nor asks for more;
  /// one that counts what is produced does not count tokens read from its cache.
  func counted(_ usage: Usage, wasSent: Bool) -> Units {
    let cached = self == .produced ? usage.cacheReadTokens : 0
    return Units(wasSent ? 1 : 0, input: usage.inputTokens - cached, output: usage.outputTokens)
  }

  /// True where the provider charges the client's cap at the start, and so has counted the whole call.
  func chargesInFull(_ request: TicketBox) -> Bool {
    self == .maxTokens && request.ticket.producesOutput && request.ticket.outputCap != nil
  }
}
