// Decides which names may be labels of metrics: names that the policy lists, never names that a client invents.
//
// Promises: a tenant is a label where the policy lists it. A model is a label where a price, a limit or a route names
// it exactly, or where it matches a priced glob and a provider has told the usage of one of its calls. There are at
// most 500 models, exactly named ones first; where there are several tenants, one of them brings at most a quarter of
// the others. Every other name is `other`. Combinations are bounded too: beyond 2,000 of provider, model and tenant new
// ones have the model `other`, beyond 4,000 also the tenant. A status is a label where it is registered or common.
import AdmissionCore
import PolicyFile
import Pricing

struct LabelPolicy {
  static let mostModels = 500
  static let other = "other"
  /// Of provider, model and tenant.
  static let mostRows = 2_000
  /// Of provider and model.
  static let mostEstimates = 1_000

  private let tenants: Set<String>
  /// Models that are named exactly.
  private let listed: Set<String>
  /// Models that were used under a priced glob, with the tenant whose call brought them.
  private var adopted: [String: String] = [:]
  private var adoptedBy: [String: Int] = [:]

  init(policy: Policy, prices: PriceList) {
    tenants = Self.tenants(of: policy)
    var globs = prices.entries.map(\.models)
    globs += policy.providers.flatMap { $0.modelLimits.map(\.models) }
    globs += policy.routes.flatMap(\.models)
    var listed: Set<String> = []
    for glob in globs where listed.count < Self.mostModels && !glob.pattern.contains(where: { $0 == "*" || $0 == "?" })
    {
      listed.insert(glob.pattern)
    }
    self.listed = listed
  }

  /// The tenants that are labels.
  static func tenants(of policy: Policy) -> Set<String> {
    policy.tenants.isEmpty ? ["default"] : Set(policy.tenants.map(\.id).filter { $0 != "*" })
  }

  func tenant(_ name: String) -> String { tenants.contains(name) ? name : Self.other }

  /// - Parameters:
  ///   - isPriced: true where the price list has a price for the model.
  ///   - wasUsed: true where a provider told the call's usage.
  mutating func model(_ name: String, tenant: String, isPriced: Bool, wasUsed: Bool) -> String {
    if name.isEmpty { return "none" }
    if listed.contains(name) || adopted[name] != nil { return name }
    guard isPriced, wasUsed, Self.isPlain(name) else { return Self.other }
    let free = Self.mostModels - listed.count
    let most = tenants.count > 1 ? max(1, free / 4) : free
    guard adopted.count < free, adoptedBy[tenant, default: 0] < most else { return Self.other }
    adopted[name] = tenant
    adoptedBy[tenant, default: 0] += 1
    return name
  }

  /// The label of a model, if it is one already.
  func known(_ name: String) -> String {
    if name.isEmpty { return "none" }
    return listed.contains(name) || adopted[name] != nil ? name : Self.other
  }

  /// True for a name of at most 128 bytes without characters that cannot be seen, which readers of metrics might take
  /// for something else.
  private static func isPlain(_ name: String) -> Bool {
    name.utf8.count <= 128
      && name.unicodeScalars.allSatisfy {
        switch $0.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .privateUse, .unassigned, .surrogate: false
        default: true
        }
      }
  }

  // MARK: Combinations

  /// The labels, or coarser ones where there are too many combinations already.
  static func bounded(
    _ labels: BrokerMetrics.TokenLabels, among rows: Tally<BrokerMetrics.TokenLabels, BrokerMetrics.TokenCounts>
  ) -> BrokerMetrics.TokenLabels {
    guard rows.rowCount >= mostRows, rows[labels] == nil else { return labels }
    var labels = labels
    labels.model = other
    if rows.rowCount >= 2 * mostRows, rows[labels] == nil { labels.tenant = other }
    return labels
  }

  static func bounded(
    _ labels: BrokerMetrics.EstimateLabels, among rows: Tally<BrokerMetrics.EstimateLabels, BrokerMetrics.EstimateSums>
  ) -> BrokerMetrics.EstimateLabels {
    guard rows.rowCount >= mostEstimates, rows[labels] == nil else { return labels }
    var labels = labels
    labels.model = other
    return labels
  }

  /// The status, where it is registered (RFC 9110 and its registry) or common among gateways; else 0.
  static func status(_ status: Int) -> Int {
    switch status {
    case 200...208, 226, 300...308, 400...418, 421...426, 428, 429, 431, 451, 498, 499, 500...508, 510, 511, 520...530,
      598, 599:
      status
    default: 0
    }
  }

  /// Takes over the models that the previous policy had adopted, as far as there is room.
  mutating func inheritLabels(from old: LabelPolicy) {
    for (name, tenant) in old.adopted.sorted(by: { $0.key < $1.key })
    where !listed.contains(name) && listed.count + adopted.count < Self.mostModels {
      adopted[name] = tenant
      adoptedBy[tenant, default: 0] += 1
    }
  }
}
