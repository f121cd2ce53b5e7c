// Why a request cannot be placed, in the core's own numbers: cheap to compare on every pass, turned into a `Blocker`
// when somebody asks.

struct Obstacle: Equatable, Sendable {
  enum Kind: UInt8, Sendable {
    case behindInLane, notItsTurn, permits, headroom, bucket, modelPermits, modelHeadroom, modelBucket, tenantPermits,
      tenantBucket
    /// Its session runs as many calls as it may.
    case sessionPermits
    case claimed, breaker, keys
    /// Each key that could take it runs as many calls as it may, or lacks units of its own limit.
    case keyPermits, keyBucket
    case closed, backoff, modelBreaker, modelClosed, budget
    /// The call could not be over when the drain ends.
    case draining
    /// The key whose cache has its prompt is soon free.
    case warmKey
    /// As many free calls run as may at a time.
    case freePermits
  }
  /// What blocks the call at the best of a leg's keys, where none can take it.
  enum AtKeys: UInt8, Sendable { case no, shut, short }

  var kind: Kind
  var provider: ProviderIndex?
  var model: ModelIndex?
  var dimension: Dimension = .requests
  /// The key for which it waits.
  var key: KeyIndex?
  /// The account of a budget.
  var account: AccountIndex?
  var atKeys = AtKeys.no
}

/// What blocked heads wait for, and so whether other grants take it from them.
enum Standing: Equatable, Sendable {
  /// They wait for limits of a provider that all calls share: every grant takes what these heads wait for.
  case inLine
  /// They wait for the limits of one model.
  case atModel(provider: ProviderIndex, model: ModelIndex)
  case atTenant(TenantIndex)
  /// They wait for no limit: a breaker, a gate, their keys or the drain blocks them.
  case shut

  /// Combines heads: if some of them wait in line, all do.
  func and(_ other: Standing) -> Standing {
    switch (self, other) {
    case (.shut, _): other
    case (_, .shut): self
    default: self == other ? self : .inLine
    }
  }

  /// True where a grant takes nothing that these heads wait for.
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

/// What a call is expected to use at one candidate.
struct CallEstimate: Sendable {
  /// What the provider is expected to count of the input.
  var input: TokenCount
  var output: TokenCount
  /// True where the call continues one that is cached.
  var isRest = false
  /// Where it is cached: the serial of the key that sent it, and 0 where the call continues none.
  var holder: Int64 = 0
  /// How much of it is cached.
  var cached: TokenCount = 0
  /// Until when.
  var cacheEnd = Instant(nanoseconds: .min)

  static let zero = CallEstimate(input: 0, output: 0)
  /// What a turn costs.
  var cost: Int64 { (input + output).value }
}

/// The resources found for a request.
struct Placement: Sendable {
  /// Index into the route's legs.
  var leg: Int
  var provider: ProviderIndex
  var model: ModelIndex?
  var key: KeyIndex?
  var units: Units
  var estimate: CallEstimate
  var input: TokenCount { estimate.input }
  var output: TokenCount { estimate.output }
  /// The hold in the books, in nano-dollars: the expected cost, or more while too little is known; nil where the price
  /// is unknown.
  var cost: Int64?
  /// What is held in budgets.
  var hold = BudgetAmounts()
  /// True where the key is doubted, so that any other leg is better.
  var isSecondChoice = false

  /// What stands where nothing was found.
  static var none: Placement {
    Placement(
      leg: 0, provider: ProviderIndex(number: 0), model: nil, key: nil, units: .zero, estimate: .zero, cost: nil)
  }
}
