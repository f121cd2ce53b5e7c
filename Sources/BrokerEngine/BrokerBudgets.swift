// Budgets, for the operator and for the start: what was spent before, raises, and what is left to a tenant.
import AdmissionCore
import PolicyFile

extension Broker {
  /// What a starting broker needs to know of the past: the windows of its budgets, and when each of them began.
  public var budgetWindows: [(window: BudgetWindow, began: WallInstant)] {
    let windows = dispatcher.budgetWindows
    return Array(zip(windows, budgets.begins(windows)))
  }

  /// What the books know from before the start. To be called once, before the first request.
  public func restore(spent: [BudgetSpent], raises: [HeldRaise], attempts: [PastAttempt]) {
    if !spent.isEmpty { dispatcher.tell(.budgetsRestored(spent)) }
    if !raises.isEmpty { budgets.restore(raises) }
    if !attempts.isEmpty { dispatcher.tell(.restored(attempts)) }
  }

  /// What an earlier process wanted to be known. To be called once, before the first request; the oldest first.
  public func restore(memos: [LedgerMemo]) {
    works.restore(memos)
  }

  /// Adds to the limit of a tenant's own budgets (or the broker's, or of one budget) until a moment, and writes it down.
  public func raiseBudget(_ raise: HeldRaise, askedBy: String) {
    budgets.raise(raise)
    let owner = raise.tenant?.name ?? BudgetAccount.broker.label
    changed(
      LedgerChange(
        at: WallInstant(nanoseconds: wallNanoseconds(at: now)), subject: .budget, name: raise.budget ?? "\(owner)/*",
        state: "raised", askedBy: askedBy, amount: raise.amount, until: raise.until))
  }

  /// The raises that hold.
  public var budgetRaises: [HeldRaise] { budgets.raises }

  /// How each budget stands.
  public var budgetReadings: [BudgetReading] {
    budgets.check(at: now)
    return snapshot().budgets
  }

  /// A moment of the core's clock as RFC 3339 in UTC, to the nearest second: windows end on whole ones, and the two clocks
  /// drift by less.
  public func text(ofWindowEnd instant: Instant) -> String {
    let wall = wallNanoseconds(at: UInt64(max(0, instant.nanoseconds)))
    return Timestamp.text((wall + 500_000_000) / 1_000_000_000 * 1_000_000_000)
  }

  func changed(_ change: LedgerChange) { books.changed(change) }

  func budgetRemaining(tenant: String) -> Money? { dispatcher.budgetRemaining(tenant: TenantID(tenant)) }
}

extension HeldRaise {
  /// From the ledger's word on it; nil for other changes.
  public init?(_ change: LedgerChange) {
    guard change.subject == .budget, change.state == "raised", let amount = change.amount, let until = change.until,
      let slash = change.name.utf8.firstIndex(of: UInt8(ascii: "/"))
    else { return nil }
    let owner = String(change.name[..<slash])
    self.init(
      tenant: owner == BudgetAccount.broker.label ? nil : TenantID(owner),
      budget: change.name.hasSuffix("/*") ? nil : change.name, amount: amount, until: until)
  }
}
