// The words that shells and core share about budgets: rules, windows, raises, and how an account stands.

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
  /// 0...10^18 nano-dollars.
  public var limit: Money
  public var onExceed: OnExceed
  /// Percent of the limit at which a notice is given, 0...100.
  public var warnAtPercent: Int

  public init(
    scope: Scope = .tenant, window: BudgetWindow, limit: Money, onExceed: OnExceed = .reject, warnAtPercent: Int = 80
  ) {
    self.scope = scope
    self.window = window
    self.limit = limit
    self.onExceed = onExceed
    self.warnAtPercent = warnAtPercent
  }
}

/// A sort of window. The core knows no calendar: for it this is a name, and the shell says when one window of that name
/// gives way to the next.
public struct BudgetWindow: Hashable, Sendable {
  public enum Period: String, Sendable, CaseIterable { case hour, day, week, month, total }
  public var period: Period
  /// IANA name.
  public var timeZone: String

  public init(_ period: Period, timeZone: String = "UTC") {
    self.period = period
    self.timeZone = timeZone
  }
}

/// The window of one sort that holds now.
public struct BudgetWindowState: Sendable, Equatable {
  public var window: BudgetWindow
  /// Tells the windows of one sort apart and orders them: seconds since 1970 at which it began; 0 for `total`.
  public var serial: Int64
  /// When the next one begins; `distantFuture` for `total`.
  public var end: Instant

  public init(window: BudgetWindow, serial: Int64, end: Instant) {
    self.window = window
    self.serial = serial
    self.end = end
  }
}

/// A limit lifted for a while.
public struct BudgetRaise: Sendable, Equatable {
  /// nil is the whole broker.
  public var tenant: TenantID?
  /// One budget by its id; nil is every budget of that scope (the broker's, or the tenant's own).
  public var budget: String?
  /// What is added to the limit; above zero.
  public var amount: Money
  public var until: Instant

  public init(tenant: TenantID?, budget: String? = nil, amount: Money, until: Instant) {
    self.tenant = tenant
    self.budget = budget
    self.amount = amount
    self.until = until
  }
}

/// Whose account it is.
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

/// What the books say was spent in the window that holds now, holds whose end is not known included.
public struct BudgetSpent: Sendable, Equatable {
  public var account: BudgetAccount
  public var window: BudgetWindow
  public var spent: Money

  public init(account: BudgetAccount, window: BudgetWindow, spent: Money) {
    self.account = account
    self.window = window
    self.spent = spent
  }
}

/// How one budget stands.
public struct BudgetReading: Sendable, Equatable {
  /// `acme/day`; `acme/day#2` for a second budget of the same account and period.
  public var id: String
  public var account: BudgetAccount
  public var window: BudgetWindow
  /// Raises included.
  public var limit: Money
  /// Of the limit, what was raised for a while.
  public var raised: Money
  public var spent: Money
  /// Estimates of calls that run.
  public var held: Money
  public var onExceed: BudgetPolicy.OnExceed
  public var warnAtPercent: Int
  /// When its window ends; nil where it never does.
  public var windowEnd: Instant?
  /// Requests that wait for a hold to be given back.
  public var waiting: Int

  public init(
    id: String, account: BudgetAccount, window: BudgetWindow, limit: Money, raised: Money = .zero,
    spent: Money, held: Money, onExceed: BudgetPolicy.OnExceed, warnAtPercent: Int, windowEnd: Instant? = nil,
    waiting: Int = 0
  ) {
    self.id = id
    self.account = account
    self.window = window
    self.limit = limit
    self.raised = raised
    self.spent = spent
    self.held = held
    self.onExceed = onExceed
    self.warnAtPercent = warnAtPercent
    self.windowEnd = windowEnd
    self.waiting = waiting
  }

  /// What may still be spent; never below zero.
  public var remaining: Money {
    Money(nanodollars: max(0, limit.nanodollars - spent.nanodollars - held.nanodollars))
  }
}

extension CallPrice {
  /// The largest amount that one call can be taken to cost: a billion dollars.
  static let most: Int64 = 1_000_000_000_000_000_000

  /// What a call of this size costs in nano-dollars, rounded up, 0...`most`.
  func cost(input: TokenCount, output: TokenCount) -> Int64 {
    let (first, overflowsFirst) = max(0, input).multipliedReportingOverflow(by: max(0, inputMicroPerToken))
    let (second, overflowsSecond) = max(0, output).multipliedReportingOverflow(by: max(0, outputMicroPerToken))
    let (sum, overflows) = first.addingReportingOverflow(second)
    guard !overflowsFirst, !overflowsSecond, !overflows, sum <= Int64.max - 999 else { return Self.most }
    let tokens = min((sum + 999) / 1000, Self.most)
    return min(tokens + min(max(0, perRequest.nanodollars), Self.most), Self.most)
  }
}
