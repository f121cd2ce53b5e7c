// What one call needs of budgets, and what is held for it while it runs, in each unit in which budgets are counted.

/// Amounts in every unit.
struct BudgetAmounts: Sendable, Equatable {
  /// Nano-dollars.
  var usd: Int64 = 0
  var tokens: Int64 = 0
  var requests: Int64 = 0

  subscript(unit: BudgetUnit) -> Int64 {
    get {
      switch unit {
      case .usd: usd
      case .tokens: tokens
      case .requests: requests
      }
    }
    set {
      switch unit {
      case .usd: usd = newValue
      case .tokens: tokens = newValue
      case .requests: requests = newValue
      }
    }
  }

  var isZero: Bool { usd == 0 && tokens == 0 && requests == 0 }
}

/// What a call is expected to take, and the most that is held for it while too little is known of its model.
struct BudgetDemand: Sendable, Equatable {
  /// Nano-dollars; nil where the price is unknown: for such a call nothing is held, and it may go while anything is
  /// left.
  var usd: Int64?
  /// At least `usd`.
  var mostUSD: Int64
  var tokens: Int64
  /// At least `tokens`.
  var mostTokens: Int64
  /// True where the call is known to be charged nothing in any unit.
  var isFree: Bool

  /// A demand in dollars alone that is known well, for calls whose tokens are not counted.
  init(usd: Int64?) {
    self.init(usd: usd, mostUSD: usd ?? 0, tokens: 0, mostTokens: 0, isFree: usd == 0)
  }

  init(usd: Int64?, mostUSD: Int64, tokens: Int64, mostTokens: Int64, isFree: Bool) {
    self.usd = usd
    self.mostUSD = mostUSD
    self.tokens = tokens
    self.mostTokens = mostTokens
    self.isFree = isFree
  }

  /// Input and output together, each within the range of `TokenCount`.
  static func tokens(_ input: TokenCount, _ output: TokenCount) -> Int64 { Int64(input) + Int64(output) }

  func expected(_ unit: BudgetUnit) -> Int64? {
    switch unit {
    case .usd: usd
    case .tokens: tokens
    case .requests: 1
    }
  }

  /// What is held where the budget does not bound it.
  var most: BudgetAmounts { BudgetAmounts(usd: usd == nil ? 0 : mostUSD, tokens: mostTokens, requests: 1) }
}
