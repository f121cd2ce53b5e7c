// The types that shells and core share about budgets: rules, windows, raises, and readings of accounts.

/// What a budget is counted in.
public enum BudgetUnit: String, Sendable, CaseIterable {
  case usd
  /// Input and output together.
  case tokens
  /// Calls that were charged something.
  case requests
}

/// An amount that may be spent in a window, and what happens beyond it.
public struct BudgetPolicy: Sendable, Hashable {
  /// Whose spending is added up.
  public enum Scope: String, Sendable, CaseIterable {
    case broker, tenant
    case clientKey = "client_key"
    case session
  }
  /// What happens to requests that do not fit.
  public enum OnExceed: String, Sendable, CaseIterable { case reject, low, warn }

  public var scope: Scope
  public var window: BudgetWindow
  public var unit: BudgetUnit
  /// 0...10^18: nano-dollars, whole tokens or whole requests, as `unit` says.
  public var limit: Money
  public var onExceed: OnExceed
  /// Percent of the limit at which a notice is given, 0...100.
  public var warnAtPercent: Int

  public init(
    scope: Scope = .tenant, window: BudgetWindow, unit: BudgetUnit = .usd, limit: Money, onExceed: OnExceed = .reject,
    warnAtPercent: Int = 80
  ) {
    self.unit = unit
    self.scope = scope
    self.window = window
    self.limit = limit
    self.onExceed = onExceed
    self.warnAtPercent = warnAtPercent
  }
}

/// A kind of window. The core knows no calendar: to the core this is a name, and the shell says when one window of that
/// name is followed by the next.
public struct BudgetWindow: Hashable, Sendable {
  public enum Period: String, Sendable, CaseIterable {
    case hour, day, week, month, total
    /// The last `length` seconds at any moment.
    case rolling
  }
  public var period: Period
  /// IANA name.
  public var timeZone: String
  /// The length of a rolling window in seconds, 60...31,622,400; 0 for other windows.
  public var length: Int64

  public init(_ period: Period, timeZone: String = "UTC") {
    self.period = period
    self.timeZone = timeZone
    length = 0
  }

  /// The last `seconds`.
  public init(rolling seconds: Int64) {
    period = .rolling
    timeZone = "UTC"
    length = min(max(seconds, 60), 366 * 86_400)
  }

  /// A rolling window is counted in this many pieces. An amount leaves the window together with its piece, so at most
  /// one piece's length too late.
  public static let pieces: Int64 = 60
  /// Length of a piece of a rolling window, in seconds; at least 1.
  public var pieceLength: Int64 { max(1, (length + Self.pieces - 1) / Self.pieces) }

  /// As the policy names it: `day`, `5h`, `90m`.
  public var name: String {
    guard period == .rolling else { return period.rawValue }
    if length % 86_400 == 0 { return "\(length / 86_400)d" }
    if length % 3600 == 0 { return "\(length / 3600)h" }
    return length % 60 == 0 ? "\(length / 60)m" : "\(length)s"
  }
}

/// The current window of one kind.
public struct BudgetWindowState: Sendable, Equatable {
  public var window: BudgetWindow
  /// Identifies and orders the windows of one kind: the seconds since 1970 at which the window began; 0 for `total`;
  /// for a rolling window the number of its current piece.
  public var serial: Int64
  /// When the next window begins; `distantFuture` for `total`.
  public var end: Instant

  public init(window: BudgetWindow, serial: Int64, end: Instant) {
    self.window = window
    self.serial = serial
    self.end = end
  }
}

/// A limit that is raised for a while.
public struct BudgetRaise: Sendable, Equatable {
  /// nil is the whole broker.
  public var tenant: TenantID?
  /// One budget by its id; nil means every budget of that scope (the broker's, or the tenant's own).
  public var budget: String?
  /// What is added to the limit; above zero.
  public var amount: Money
  /// Budgets in other units are not raised.
  public var unit: BudgetUnit
  public var until: Instant

  public init(
    tenant: TenantID?, budget: String? = nil, amount: Money, unit: BudgetUnit = .usd, until: Instant
  ) {
    self.unit = unit
    self.tenant = tenant
    self.budget = budget
    self.amount = amount
    self.until = until
  }
}

/// The owner of an account.
public struct BudgetAccount: Hashable, Sendable {
  public var scope: BudgetPolicy.Scope
  /// Empty for the broker.
  public var tenant: TenantID
  /// The client key's id or the session's name; empty otherwise.
  public var name: String

  public init(scope: BudgetPolicy.Scope, tenant: TenantID = "", name: String = "") {
    self.scope = scope
    self.tenant = tenant
    self.name = name
  }

  public static let broker = BudgetAccount(scope: .broker)
  public static func tenant(_ id: TenantID) -> BudgetAccount { BudgetAccount(scope: .tenant, tenant: id) }
  public static func clientKey(_ key: ClientKeyID, of tenant: TenantID) -> BudgetAccount {
    BudgetAccount(scope: .clientKey, tenant: tenant, name: key.name)
  }
  public static func session(_ session: SessionID, of tenant: TenantID) -> BudgetAccount {
    BudgetAccount(scope: .session, tenant: tenant, name: session.name)
  }

  /// `broker`, `acme`, `acme/key/0a1b2c`, `acme/session/nightly`.
  public var label: String {
    switch scope {
    case .broker: "broker"
    case .tenant: tenant.name
    case .clientKey: "\(tenant.name)/key/\(name)"
    case .session: "\(tenant.name)/session/\(name)"
    }
  }
}

/// What the ledger says was spent in the current window, including holds whose end is not known.
public struct BudgetSpent: Sendable, Equatable {
  public var account: BudgetAccount
  public var window: BudgetWindow
  public var spent: Money
  public var tokens: Int64
  public var requests: Int64
  /// For a rolling window, the piece in which it was spent.
  public var piece: Int64?

  public init(
    account: BudgetAccount, window: BudgetWindow, spent: Money, tokens: Int64 = 0, requests: Int64 = 0,
    piece: Int64? = nil
  ) {
    self.account = account
    self.window = window
    self.spent = spent
    self.tokens = tokens
    self.requests = requests
    self.piece = piece
  }

  func amount(_ unit: BudgetUnit) -> Int64 {
    switch unit {
    case .usd: spent.nanodollars
    case .tokens: tokens
    case .requests: requests
    }
  }
}

/// How far a budget is used up.
public enum BudgetState: String, Sendable, CaseIterable {
  case ok
  /// Its `warn_at` is reached.
  case warned
  /// Something is left, but the newest call needed more and was refused.
  case refusing
  /// Nothing is left: all is spent.
  case usedUp = "used_up"
}

/// The state of one budget.
public struct BudgetReading: Sendable, Equatable {
  /// `acme/day`; `acme/day#2` for a second budget of the same account and period.
  public var id: String
  public var account: BudgetAccount
  public var window: BudgetWindow
  /// The unit of the amounts: they are nano-dollars only where this is `usd`.
  public var unit: BudgetUnit
  /// Raises included.
  public var limit: Money
  /// The part of the limit that is a raise.
  public var raised: Money
  public var spent: Money
  /// The estimates of running calls.
  public var held: Money
  public var onExceed: BudgetPolicy.OnExceed
  public var warnAtPercent: Int
  /// When its window ends; nil where the window never ends.
  public var windowEnd: Instant?
  /// Requests that wait for a hold to be given back.
  public var waiting: Int
  /// What the newest call needed that was refused, where none has been let in since; else zero.
  public var refusedNeed: Money

  public init(
    id: String, account: BudgetAccount, window: BudgetWindow, unit: BudgetUnit = .usd, limit: Money,
    raised: Money = .zero,
    spent: Money, held: Money, onExceed: BudgetPolicy.OnExceed, warnAtPercent: Int, windowEnd: Instant? = nil,
    waiting: Int = 0, refusedNeed: Money = .zero
  ) {
    self.id = id
    self.account = account
    self.window = window
    self.unit = unit
    self.limit = limit
    self.raised = raised
    self.spent = spent
    self.held = held
    self.onExceed = onExceed
    self.warnAtPercent = warnAtPercent
    self.windowEnd = windowEnd
    self.waiting = waiting
    self.refusedNeed = refusedNeed
  }

  /// How far it is used up.
  public var state: BudgetState {
    if spent >= limit { return .usedUp }
    if onExceed == .reject, refusedNeed > limit - spent { return .refusing }
    let share = BudgetBook.share(limit.nanodollars, percent: Int64(warnAtPercent))
    return spent > .zero && spent.nanodollars >= share ? .warned : .ok
  }

  /// An amount of this budget as the API and the log show it: dollars with nine decimals, else a whole number.
  public func text(_ amount: Money) -> String { unit == .usd ? amount.text : "\(amount.nanodollars)" }

  /// What may still be spent; never below zero.
  public var remaining: Money {
    max(.zero, limit - spent - held)
  }
}

extension CallPrice {
  /// The most that one call is taken to cost, in nano-dollars.
  static let most = Money.mostPerCall.nanodollars

  /// What a call of this size costs in nano-dollars, rounded up, 0...`most`.
  func cost(input: TokenCount, output: TokenCount) -> Int64 {
    let (first, overflowsFirst) = input.value.multipliedReportingOverflow(by: max(0, inputMicroPerToken))
    let (second, overflowsSecond) = output.value.multipliedReportingOverflow(by: max(0, outputMicroPerToken))
    let (sum, overflows) = first.addingReportingOverflow(second)
    guard !overflowsFirst, !overflowsSecond, !overflows, sum <= Int64.max - 999 else { return Self.most }
    let tokens = min((sum + 999) / 1000, Self.most)
    return min(tokens + min(max(0, perRequest.nanodollars), Self.most), Self.most)
  }
}
