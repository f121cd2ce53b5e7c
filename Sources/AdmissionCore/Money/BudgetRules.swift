// Which budgets hold for whom: the whole broker's, each listed tenant's, and those of all other tenants.
//
// Promise: plain values of one policy. Two policies are compared by the *names* of rules (owner, scope, window, unit,
// and the place among rules alike): a rule with another limit is the same rule, a rule with another window is a new
// one.

struct BudgetRules: Sendable {
  /// One budget, whatever its limit.
  struct Name: Hashable, Sendable {
    /// nil for the broker's rules, and for those of tenants that the policy does not list.
    var tenant: TenantID?
    var scope: BudgetPolicy.Scope
    var window: BudgetWindow
    var unit: BudgetUnit
    /// As in `BudgetBook.Key`.
    var ordinal: Int32
  }

  private(set) var broker: [BudgetPolicy] = []
  private var tenants: [TenantID: [BudgetPolicy]] = [:]
  private var others: [BudgetPolicy] = []
  private(set) var windows: Set<BudgetWindow> = []
  private(set) var areAllInDollars = true

  init() {}

  init(broker: [BudgetPolicy], tenants: [TenantPolicy] = [], others: [BudgetPolicy] = []) {
    self.broker = broker
    self.others = others
    var all = broker + others
    for tenant in tenants {
      self.tenants[tenant.id] = tenant.budgets
      all += tenant.budgets
    }
    windows = Set(all.map(\.window))
    areAllInDollars = all.allSatisfy { $0.unit == .usd }
  }

  var isEmpty: Bool { windows.isEmpty }

  /// The rules of the account's owner, of all scopes.
  func of(_ account: BudgetAccount) -> [BudgetPolicy] {
    account.scope == .broker ? broker : tenants[account.tenant] ?? others
  }

  /// True for accounts that the policy itself makes. Accounts of sessions, client keys and unlisted tenants come and go
  /// with their callers.
  func isListed(_ account: BudgetAccount) -> Bool {
    account.scope == .broker || account.scope == .tenant && tenants[account.tenant] != nil
  }

  /// The rule by which the account counts; nil where the policy no longer has it.
  func rule(_ key: BudgetBook.Key) -> BudgetPolicy? {
    let own = of(key.account)
    return own.indices.first { own[$0].isNamed(as: key) && Self.ordinal(of: $0, in: own) == key.ordinal }.map {
      own[$0]
    }
  }

  /// The rule's place among the rules of its scope with the same unit and the same name of window, in whatever time
  /// zone.
  static func ordinal(of index: Int, in rules: [BudgetPolicy]) -> Int32 {
    let rule = rules[index]
    var ordinal: Int32 = 0
    for earlier in rules[..<index]
    where earlier.scope == rule.scope && earlier.window.name == rule.window.name && earlier.unit == rule.unit {
      ordinal += 1
    }
    return ordinal
  }

  // MARK: Names

  /// The names that the account's rule may have: the account of a tenant that was once listed may still be known by the
  /// tenant's own name.
  func names(of key: BudgetBook.Key) -> [Name] {
    var name = Name(scope: key.account.scope, window: key.window, unit: key.unit, ordinal: key.ordinal)
    guard key.account.scope != .broker else { return [name] }
    guard tenants[key.account.tenant] == nil else {
      name.tenant = key.account.tenant
      return [name]
    }
    var own = name
    own.tenant = key.account.tenant
    return [name, own]
  }

  func contains(_ name: Name) -> Bool {
    let rules = name.scope == .broker ? broker : name.tenant.flatMap { tenants[$0] } ?? others
    return rules.indices.contains {
      let rule = rules[$0]
      return rule.scope == name.scope && rule.window == name.window && rule.unit == name.unit
        && Self.ordinal(of: $0, in: rules) == name.ordinal
    }
  }

  /// The names of the rules that are new against the old policy, for any tenant.
  func names(notIn old: BudgetRules) -> Set<Name> {
    var new = Set(Self.names(of: nil, broker)).subtracting(Self.names(of: nil, old.broker))
    new.formUnion(Set(Self.names(of: nil, others)).subtracting(Self.names(of: nil, old.others)))
    for tenant in Set(tenants.keys).union(old.tenants.keys) {
      let before = Self.names(of: tenant, old.tenants[tenant] ?? old.others)
      new.formUnion(Set(Self.names(of: tenant, tenants[tenant] ?? others)).subtracting(before))
    }
    return new
  }

  private static func names(of tenant: TenantID?, _ rules: [BudgetPolicy]) -> [Name] {
    rules.indices.map {
      Name(
        tenant: tenant, scope: rules[$0].scope, window: rules[$0].window, unit: rules[$0].unit,
        ordinal: ordinal(of: $0, in: rules))
    }
  }
}

extension BudgetPolicy {
  fileprivate func isNamed(as key: BudgetBook.Key) -> Bool {
    scope == key.account.scope && window == key.window && unit == key.unit
  }
}
