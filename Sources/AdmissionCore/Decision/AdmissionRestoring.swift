// After a restart: the buckets are restored to the level at which the calls of the last minutes left them, so that a
// restart gives nobody a second minute's tokens.
//
// Promise: a bucket's level is as if these calls had been made at their age against a full bucket, and never higher
// than it is already. All permits are free: the calls of the ended process no longer run.

extension Admission {
  mutating func restore(_ attempts: [PastAttempt], at now: Instant) {
    let past = attempts.sorted { $0.age != $1.age ? $0.age > $1.age : $0.request < $1.request }
    for index in providers.inForce {
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
      for model in providers[index].modelOrder {
        // A call counts against the first limit that matches its model.
        let own = calls.filter { call in
          providers[index].modelOrder.first { providers[index].models[$0].matches(call.model) } == model
        }
        providers[index].models[model].capacity.restore(own.map { (age: $0.age, units: units($0)) }, at: now)
      }
      for key in providers[index].keyOrder {
        let own = calls.filter { $0.key == providers[index].keys[key].policy.id }
        providers[index].keys[key].capacity.restore(own.map { (age: $0.age, units: units($0)) }, at: now)
      }
    }
    for tenant in Set(past.map(\.tenant)).sorted(by: { $0.name < $1.name }) {
      let number = tenantIndex(of: tenant, at: now)
      let own = past.filter { $0.tenant == tenant }.map { call in
        (age: call.age, units: Units(1, input: call.usage.inputTokens, output: call.usage.outputTokens))
      }
      tenants[number].capacity.restore(own, at: now)
    }
    providers.changeAll()
  }
}

extension Capacity {
  /// - Parameter past: the oldest first.
  mutating func restore(_ past: [(age: Span, units: Units)], at now: Instant) {
    guard let oldest = past.first else { return }
    // A bucket that refills at once at the end of the day is restored by the day's sums.
    for index in buckets.indices where buckets[index].dayEnd == nil {
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
  /// Sets the current day, for daily limits. When it is later than any day before, daily buckets are filled, except
  /// those whose vendor names the end of its day.
  mutating func beginDay(_ day: Day, at now: Instant) {
    // A clock that is set back and forward again does not begin a day twice.
    let begins = day.serial > latestDay && latestDay != 0
    latestDay = max(latestDay, day.serial)
    self.day = day
    func set(_ capacity: inout Capacity) {
      for index in capacity.buckets.indices where capacity.buckets[index].dayEnd != nil {
        capacity.buckets[index].setDay(end: day.end, begins: begins, at: now)
      }
    }
    for index in providers.indices {
      set(&providers[index].capacity)
      for model in providers[index].models.indices { set(&providers[index].models[model].capacity) }
      for key in providers[index].keys.indices { set(&providers[index].keys[key].capacity) }
    }
    for index in tenants.indices { set(&tenants[index].capacity) }
    providers.changeAll()
  }

  /// Restores what was used since the day began: before this process started or, after a change of policy, before there
  /// was a daily limit. A bucket that already counts as much stays as it is.
  mutating func restore(_ sums: [DaySum], at now: Instant) {
    struct Used {
      var requests: Int64 = 0
      var tokens: Int64 = 0
      mutating func add(_ sum: DaySum, tokens more: Int64) {
        requests = requests.saturatingAdding(max(0, sum.requests))
        tokens = tokens.saturatingAdding(max(0, more))
      }
    }
    func used(_ sums: [DaySum], _ tokens: (DaySum) -> Int64) -> Used {
      var used = Used()
      for sum in sums { used.add(sum, tokens: tokens(sum)) }
      return used
    }
    func take(_ capacity: inout Capacity, _ used: Used) {
      capacity.useInDay(requests: used.requests, tokens: used.tokens, at: now)
    }
    for index in providers.inForce {
      let id = providers[index].policy.id
      let own = sums.filter { $0.provider == id }
      guard !own.isEmpty else { continue }
      let isProduced = providers[index].policy.admissionTokens == .produced
      func tokens(_ sum: DaySum) -> Int64 {
        let (input, output) = (Int64(sum.usage.inputTokens), Int64(sum.usage.outputTokens))
        return input - (isProduced ? min(Int64(sum.usage.cacheReadTokens), input) : 0) + output
      }
      take(&providers[index].capacity, used(own, tokens))
      // A call counts against the first limit that matches its model.
      let places = own.map { sum in
        providers[index].modelOrder.first { providers[index].models[$0].matches(sum.model) }
      }
      for model in providers[index].modelOrder {
        let its = zip(own, places).filter { $0.1 == model }.map(\.0)
        take(&providers[index].models[model].capacity, used(its, tokens))
      }
      for key in providers[index].keyOrder {
        let its = own.filter { $0.key == providers[index].keys[key].policy.id }
        take(&providers[index].keys[key].capacity, used(its, tokens))
      }
    }
    for tenant in Set(sums.map(\.tenant)).sorted(by: { $0.name < $1.name }) {
      let number = tenantIndex(of: tenant, at: now)
      let own = sums.filter { $0.tenant == tenant }
      take(&tenants[number].capacity, used(own) { Int64($0.usage.inputTokens) + Int64($0.usage.outputTokens) })
    }
    providers.changeAll()
  }
}

extension Capacity {
  /// Sets how much of the day was used, besides what running calls have reserved.
  mutating func useInDay(requests: Int64, tokens: Int64, at now: Instant) {
    // The sums are not those of a vendor's day, which begins at another hour.
    for index in buckets.indices where buckets[index].dayEnd != nil && !buckets[index].isDayTold {
      let used = buckets[index].dimension == .requests ? requests : tokens
      let reserved = outstanding[Int(buckets[index].rate.rawValue)]
      buckets[index].lower(
        to: buckets[index].capacity.saturatingSubtracting(used).saturatingSubtracting(reserved), at: now)
    }
  }
}

extension AdmissionPolicy {
  /// True where a limit is daily, so that the core must be told when a day begins.
  public var hasDayLimits: Bool {
    func isByDay(_ limits: Limits) -> Bool { limits.requestsPerDay != nil || limits.tokensPerDay != nil }
    return providers.contains { provider in
      isByDay(provider.limits) || provider.modelLimits.contains { isByDay($0.limits) }
        || provider.keys.contains { isByDay($0.limits) }
    } || tenants.contains { isByDay($0.limits) } || tenantTemplate.map { isByDay($0.limits) } ?? false
  }
}
