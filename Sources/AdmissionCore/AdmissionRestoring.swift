// After a restart: the buckets stand where the calls of the last minutes have left them, so that nobody is handed a
// second minute's tokens.
//
// Promise: a bucket stands as if these calls had been made at their age against a full bucket, and never higher than
// it stands already. Permits are free: calls that a dead process made run no more.

extension Admission {
  mutating func restore(_ attempts: [PastAttempt], at now: Instant) {
    let past = attempts.sorted { $0.age != $1.age ? $0.age > $1.age : $0.request < $1.request }
    for index in providers.indices where !providers[index].isRetired {
      let id = providers[index].policy.id
      let calls = past.filter { $0.provider == id }
      guard !calls.isEmpty else { continue }
      let isProduced = providers[index].policy.admissionTokens == .produced
      func units(_ call: PastAttempt) -> Units {
        let input = call.usage.inputTokens - (isProduced ? call.usage.cacheReadTokens : 0)
        return Units(1, input: input, output: call.usage.outputTokens)
      }
      let all = calls.map { (age: $0.age, units: units($0)) }
      providers[index].capacity.restore(all, at: now)
      for model in providers[index].modelOrder.map({ Int($0) }) {
        // A call counts against the first limit that matches its model.
        let own = calls.filter { call in
          providers[index].modelOrder.first {
            providers[index].models[Int($0)].matches(call.model)
          }.map { Int($0) } == model
        }
        providers[index].models[model].capacity.restore(own.map { (age: $0.age, units: units($0)) }, at: now)
      }
      for key in providers[index].keyOrder.map({ Int($0) }) {
        let own = calls.filter { $0.key == providers[index].keys[key].policy.id }
        providers[index].keys[key].capacity.restore(own.map { (age: $0.age, units: units($0)) }, at: now)
      }
    }
    for tenant in Set(past.map(\.tenant)).sorted(by: { $0.name < $1.name }) {
      let number = Int(tenantNumber(for: tenant, at: now))
      let own = past.filter { $0.tenant == tenant }.map { call in
        (age: call.age, units: Units(1, input: call.usage.inputTokens, output: call.usage.outputTokens))
      }
      tenants[number].capacity.restore(own, at: now)
    }
    needsPass = true
  }
}

extension Capacity {
  /// - Parameter past: the oldest first.
  mutating func restore(_ past: [(age: Span, units: Units)], at now: Instant) {
    guard let oldest = past.first else { return }
    for index in buckets.indices where !buckets[index].rate.isPerDay {
      let dimension = buckets[index].dimension
      var bucket = buckets[index].full(
        at: now + Span(nanoseconds: Int64(0).saturatingSubtracting(oldest.age.nanoseconds)))
      for call in past {
        bucket.settle(
          taken: 0, actual: max(0, call.units[Int(dimension.rawValue)]),
          at: now + Span(nanoseconds: Int64(0).saturatingSubtracting(call.age.nanoseconds)))
      }
      buckets[index].lower(to: bucket.available(at: now), at: now)
    }
  }
}

// MARK: Days

extension Admission {
  /// The day that holds now, for limits by the day. A later one than before gives everybody a full day.
  mutating func beginDay(_ day: Day, at now: Instant) {
    // A clock that is set back and on again begins no day twice.
    let begins = day.serial > latestDay && latestDay != 0
    latestDay = max(latestDay, day.serial)
    self.day = day
    func set(_ capacity: inout Capacity) {
      for index in capacity.buckets.indices where capacity.buckets[index].rate.isPerDay {
        capacity.buckets[index].setDay(end: day.end, begins: begins, at: now)
      }
    }
    for index in providers.indices {
      set(&providers[index].capacity)
      for model in providers[index].models.indices { set(&providers[index].models[model].capacity) }
      for key in providers[index].keys.indices { set(&providers[index].keys[key].capacity) }
    }
    for index in tenants.indices { set(&tenants[index].capacity) }
    needsPass = true
  }

  /// What was used since the day began, before this process did.
  mutating func restore(_ sums: [DaySum], at now: Instant) {
    func take(_ capacity: inout Capacity, _ sum: DaySum, _ tokens: Int64) {
      for index in capacity.buckets.indices where capacity.buckets[index].rate.isPerDay {
        let used = capacity.buckets[index].dimension == .requests ? sum.requests : tokens
        capacity.buckets[index].settle(taken: 0, actual: max(0, used), at: now)
      }
    }
    for sum in sums {
      let (input, output) = (Int64(sum.usage.inputTokens), Int64(sum.usage.outputTokens))
      if let found = providerIndex[sum.provider] {
        let provider = Int(found)
        let isProduced = providers[provider].policy.admissionTokens == .produced
        let cached = isProduced ? min(Int64(sum.usage.cacheReadTokens), input) : 0
        let tokens = input - cached + output
        take(&providers[provider].capacity, sum, tokens)
        let model = providers[provider].modelOrder.first {
          providers[provider].models[Int($0)].pattern.matches(sum.model)
        }
        if let model { take(&providers[provider].models[Int(model)].capacity, sum, tokens) }
        for key in providers[provider].keyOrder.map({ Int($0) })
        where providers[provider].keys[key].policy.id == sum.key {
          take(&providers[provider].keys[key].capacity, sum, tokens)
        }
      }
      let tenant = Int(tenantNumber(for: sum.tenant, at: now))
      take(&tenants[tenant].capacity, sum, input + output)
    }
    needsPass = true
  }
}

extension AdmissionPolicy {
  /// True where a limit counts by the day, so that the core needs to be told of days.
  public var hasDayLimits: Bool {
    func isByDay(_ limits: Limits) -> Bool { limits.requestsPerDay != nil || limits.tokensPerDay != nil }
    return providers.contains { provider in
      isByDay(provider.limits) || provider.modelLimits.contains { isByDay($0.limits) }
        || provider.keys.contains { isByDay($0.limits) }
    } || tenants.contains { isByDay($0.limits) } || tenantTemplate.map { isByDay($0.limits) } ?? false
  }
}
