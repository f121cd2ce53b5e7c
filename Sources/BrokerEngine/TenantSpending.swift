// What each tenant has spent since the start.
//
// Promise: where that is not known exactly, nothing is said: it is no zero.
import AdmissionCore

/// What a tenant's calls have cost.
public struct TenantSpending: Sendable, Equatable {
  public var cost = Money.zero
  /// Attempts whose price is not known: they are not in `cost`.
  public var unpriced = 0
}

extension BrokerSnapshot {
  /// By tenant. Those that the policy does not list are missing, since their calls are counted together; and all are where
  /// there are more combinations of provider, model and tenant than are counted one by one.
  public func spendingByTenant() -> [String: TenantSpending] {
    guard metrics.tokens.rowCount < 2 * LabelPolicy.mostRows else { return [:] }
    var all = Dictionary(uniqueKeysWithValues: LabelPolicy.tenants(of: policy).map { ($0, TenantSpending()) })
    for (labels, counts) in metrics.tokens {
      all[labels.tenant]?.cost.add(counts.cost)
      all[labels.tenant]?.unpriced += counts.unpriced
    }
    return all
  }
}
