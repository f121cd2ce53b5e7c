// Why a request cannot be placed, in the core's own numbers: cheap to compare on every pass, turned into a `Blocker`
// when somebody asks.

struct Obstacle: Equatable, Sendable {
  enum Kind: UInt8, Sendable {
    case behindInLane, notItsTurn, permits, headroom, bucket, modelPermits, modelBucket, tenantPermits, tenantBucket
    case claimed, breaker, keys, closed, backoff, modelBreaker, modelClosed, budget
  }
  var kind: Kind
  var provider: Int32 = -1
  var model: Int32 = -1
  var dimension: Dimension = .requests
  /// Of a budget.
  var account: Int32 = -1
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
  var provider: Int32
  var model: Int32
  var key: Int32
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
