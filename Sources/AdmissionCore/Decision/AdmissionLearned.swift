// What was learned from others, for people to read.
//
// Promise: nothing that is learned is missing, but for the number that `leftOut` gives; the same events give the same
// list.

extension Admission {
  public func learned(at now: Instant) -> LearnedValues {
    var all = LearnedValues()
    let names = providers.routes.modelNames
    for index in providers.inForce {
      let limits = learnedLimits(providers[index])
      all.values += limits.prefix(LearnedValues.mostLimits)
      all.leftOut += max(0, limits.count - LearnedValues.mostLimits)
      let models = providers[index].predictor.known.map { number in
        (number: number, name: names[number] ?? LearnedValues.otherModels)
      }
      let ranked = models.sorted { left, right in
        let (more, less) = (calls(left.number, at: index), calls(right.number, at: index))
        return more != less ? more > less : left.name < right.name
      }
      for (place, model) in ranked.enumerated() {
        let values = expectations(of: model.number, model.name, at: index, now)
        if place < LearnedValues.mostModels { all.values += values } else { all.leftOut += values.count }
      }
    }
    return all
  }

  private func calls(_ model: ModelNumber, at index: ProviderIndex) -> Int64 {
    providers[index].predictor.origin(of: model)?.calls ?? 0
  }

  /// Limits and days: of the provider, of its models, of its keys.
  private func learnedLimits(_ provider: ProviderState) -> [LearnedValue] {
    var all = learned(provider).map { limit in
      LearnedValue(
        provider: provider.policy.id, model: limit.model, key: limit.key, what: LearnedValue.What(limit.quantity),
        value: limit.value, source: LearnedValue.Source(limit.source), since: limit.since)
    }
    func add(_ capacity: Capacity, model: String?, key: KeyID?) {
      for bucket in capacity.buckets {
        guard let since = bucket.dayToldSince else { continue }
        all.append(
          LearnedValue(
            provider: provider.policy.id, model: model, key: key,
            what: bucket.dayEnd == nil ? .perHour(bucket.rate) : .dayEnd(bucket.rate),
            value: bucket.dayEnd?.nanoseconds ?? bucket.limit / 24, source: .headers, since: since))
      }
    }
    add(provider.capacity, model: nil, key: nil)
    for number in provider.modelOrder {
      add(provider.models[number].capacity, model: provider.models[number].pattern.pattern, key: nil)
    }
    for number in provider.keyOrder {
      add(provider.keys[number].capacity, model: nil, key: provider.keys[number].policy.id)
    }
    return all
  }

  private func expectations(
    of model: ModelNumber, _ name: String, at index: ProviderIndex, _ now: Instant
  ) -> [LearnedValue] {
    guard let origin = providers[index].predictor.origin(of: model) else { return [] }
    var all: [LearnedValue] = []
    func add(_ what: LearnedValue.What, _ value: Int64) {
      all.append(
        LearnedValue(
          provider: providers[index].policy.id, model: name, what: what, value: value,
          source: .usage(calls: origin.calls, stored: origin.stored), since: origin.since))
    }
    let input = providers[index].predictor.numbers(of: model).input
    add(.inputRatio, input.ratio)
    if input.lack > 0 { add(.cachedShortfall, input.lack) }
    if input.shared > 0 { add(.sharedPrefix, input.shared) }
    for priority in Priority.allCases {
      let output = providers[index].predictor.learnedOutput(model: model, band: Int(priority.rawValue))
      if let output { add(.output(priority), output.value) }
    }
    let duration = providers[index].durations.expected(model: model)
    if duration > .zero { add(.duration, duration.nanoseconds) }
    for isStream in [true, false] {
      let time = providers[index].firstBytes.nineOfTen(isStream: isStream, model: model, at: now)
      if let time { add(.firstByte(isStream: isStream), time.nanoseconds) }
    }
    return all
  }
}

extension LearnedValue.Source {
  public init(_ source: AdmissionSnapshot.Learned.Source) {
    switch source {
    case .headers: self = .headers
    case .stored: self = .storedHeaders
    case .refusals: self = .refusals
    }
  }
}

extension LearnedValue.What {
  public init(_ quantity: AdmissionSnapshot.Learned.Quantity) {
    switch quantity {
    case .concurrency: self = .concurrency
    case .perMinute(let dimension): self = .perMinute(dimension)
    case .atOnce: self = .atOnce
    }
  }
}
