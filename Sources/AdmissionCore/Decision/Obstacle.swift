// Why a request cannot be placed, in the core's own numbers: cheap to compare on every pass, turned into a `Blocker`
// when somebody asks.

struct Obstacle: Equatable, Sendable {
  enum Kind: UInt8, Sendable {
    case behindInLane, notItsTurn, permits, headroom, bucket, modelPermits, modelHeadroom, modelBucket, tenantPermits,
      tenantBucket
    case claimed, breaker, keys, closed, backoff, modelBreaker, modelClosed, budget
    /// It could not be over when the drain ends.
    case draining
  }
  /// Where none of a leg's keys can take the call: what is in the way at the best of them.
  enum AtKeys: UInt8, Sendable { case no, shut, short }

  var kind: Kind
  var provider: ProviderIndex?
  var model: ModelIndex?
  var dimension: Dimension = .requests
  /// Of a budget.
  var account: AccountIndex?
  var atKeys = AtKeys.no
}

/// What heads that cannot go wait for: whether it is what others get.
enum Standing: Equatable, Sendable {
  /// At a provider's limits, which all share: whatever others get, these heads wait for.
  case inLine
  /// At one model's limits, or at their tenant's.
  case atModel(provider: ProviderIndex, model: ModelIndex)
  case atTenant(TenantIndex)
  /// Everything is closed to them.
  case shut

  /// Heads together: who waits in line speaks for all.
  func and(_ other: Standing) -> Standing {
    switch (self, other) {
    case (.shut, _): other
    case (_, .shut): self
    default: self == other ? self : .inLine
    }
  }

  /// True where a grant takes nothing that these heads could have had.
  func isBeside(provider: ProviderIndex, model: ModelIndex?, tenant: TenantIndex) -> Bool {
    switch self {
    case .inLine: false
    case .atModel(let own, let limits): own != provider || limits != model
    case .atTenant(let own): own != tenant
    case .shut: true
    }
  }
}

/// What is missing in a capacity, and when it will be there if nothing is given back.
struct Shortage: Sendable {
  /// nil: permits.
  var dimension: Dimension?
  var isHeadroom = false
  var readyAt: Instant
}

/// The resources found for a request.
struct Placement: Sendable {
  /// Index into the route's legs.
  var leg: Int
  var provider: ProviderIndex
  var model: ModelIndex?
  var key: KeyIndex?
  var units: Units
  var input: TokenCount
  var output: TokenCount
  /// What is held in the books, in nano-dollars: what is expected, or more while too little is known; nil where the price is
  /// unknown.
  var cost: Int64?
  /// What is held in budgets.
  var hold = BudgetAmounts()
  /// By a key in doubt: any other leg is better.
  var isSecondChoice = false
}
