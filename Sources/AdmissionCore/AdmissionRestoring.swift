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
            providers[index].models[Int($0)].pattern.matches(call.model)
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
    for index in buckets.indices {
      let dimension = buckets[index].dimension
      var bucket = TokenBucket(
        dimension, perMinute: buckets[index].capacity, at: now + Span(nanoseconds: -oldest.age.nanoseconds))
      for call in past {
        bucket.settle(
          taken: 0, actual: max(0, call.units[Int(dimension.rawValue)]),
          at: now + Span(nanoseconds: -call.age.nanoseconds))
      }
      buckets[index].lower(to: bucket.available(at: now), at: now)
    }
  }
}
