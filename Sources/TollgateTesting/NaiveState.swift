// When the naive scheduler wants to be asked again, and what it shows of itself.
import AdmissionCore
import PolicyLab

extension NaiveAdmission {
  public var nextDeadline: Instant? {
    guard !queue.isEmpty else { return nil }
    if defect == .spinsOnDeadline { return now }
    var earliest: Instant?
    func consider(_ instant: Instant) {
      if instant > now, instant < earliest ?? .distantFuture { earliest = instant }
    }
    for pool in pools { for lag in pool.lagging { consider(lag) } }
    for entry in queue {
      if defect != .neverEvicts { consider(entry.bound) }
      consider(entry.since + policy.bands[entry.band].promoteAfter)
      for instant in endsOfWaits(entry) { consider(instant) }
      for candidate in entry.ticket.candidates {
        guard let provider = policy.providers.first(where: { $0.id == candidate.provider }) else { continue }
        let charge = charge(entry, at: provider)
        for pool in pools {
          for (position, bucket) in pool.buckets.byDimension.enumerated() {
            guard let bucket else { continue }
            let isTenant = pool.id.hasPrefix("t/")
            let reserve = isTenant ? 0 : bucket.capacity * keptBasisPoints(above: entry.band) / 10_000
            let need = min((isTenant ? expected(entry) : charge)[position], bucket.capacity - reserve) + reserve
            if let due = bucket.instant(covering: need, at: bucketTime), due > bucketTime {
              consider(now + Span(nanoseconds: ((due - bucketTime).nanoseconds + refillStretch - 1) / refillStretch))
            }
          }
        }
      }
    }
    return earliest
  }

  public func snapshot(at now: Instant) -> AdmissionSnapshot {
    var byBand = [0, 0, 0]
    for entry in queue { byBand[entry.band] += 1 }
    let providers = policy.providers.map { provider in
      let pool = pools.first { $0.id == "p/\(provider.id)" }
      return AdmissionSnapshot.Provider(
        id: provider.id, inFlight: pool?.total ?? 0, freeInFlight: freeInFlight(at: provider.id),
        concurrencyLimit: provider.limits.concurrency,
        inFlightByBand: pool?.inUse ?? [0, 0, 0], buckets: [], models: [],
        breaker: .init(state: .closed, reason: nil, until: nil), keys: [], queuedByBand: byBand)
    }
    let tenants = policy.tenants.map { tenant in
      AdmissionSnapshot.Tenant(
        id: tenant.id, inFlight: pools.first { $0.id == "t/\(tenant.id)" }?.total ?? 0,
        queued: queue.count { $0.ticket.tenant == tenant.id }, concurrencyLimit: tenant.limits.concurrency, buckets: [],
        weight: tenant.weight)
    }
    return AdmissionSnapshot(
      providers: providers, tenants: tenants, queuedByBand: byBand,
      queuedBytes: queue.reduce(0) { $0 + $1.ticket.keptBytes }, running: running.count, openLeases: running.count,
      queueStorage: defect == .keepsMemory ? kept * 8 : queue.count, isDraining: isDraining)
  }
}
