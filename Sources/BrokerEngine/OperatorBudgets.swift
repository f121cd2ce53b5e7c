// Budgets, for the operator and for the start: what was spent before, raises, and what is left to a tenant.
import AdmissionCore
import LedgerVocabulary
import PolicyFile
import TextForms

extension Operator {
  /// What a starting broker needs to know of the past: the windows of its budgets, and when each of them began.
  public var budgetSpans: [BudgetSpan] { services.calendars.budgets.spans(policy.admission.budgetWindows) }

  /// What the books know from before the start. To be called once, before the first request.
  public func restore(spent: [BudgetSpent], raises: [HeldRaise], attempts: [PastAttempt]) {
    // Raises first: what was spent is judged by the limits that hold.
    if !raises.isEmpty { services.calendars.budgets.restore(raises) }
    restore(spent: spent)
    if !attempts.isEmpty { services.dispatcher.tell(.restored(attempts)) }
  }

  /// What was spent before, in the windows of budgets that new rules have brought; budgets that were there before know better. To be told
  /// after a `replacePolicy` that asks, even where it is nothing; in parts, where it is much.
  public func restore(spent: [BudgetSpent], isLast: Bool = true) {
    services.dispatcher.tell(.budgetsRestored(spent, isLast: isLast))
  }

  /// When the day began that limits by the day count; nil where there are none.
  public var dayBegan: WallInstant? { services.calendars.budgets.dayBegan }

  /// What was used since `dayBegan`; limits that know as much stay as they are. To be told before the first request, and after a `replacePolicy` that asks.
  public func restore(daySums: [DaySum]) { services.dispatcher.tell(.daySumsRestored(daySums)) }

  /// What an earlier process wanted to be known. To be called once, before the first request; the oldest first.
  public func restore(memos: [LedgerMemo]) {
    services.providers.works.restore(memos)
    let learned = memos.filter { $0.kind == .learned }.compactMap { memo -> LearnedModel? in
      guard let slash = memo.name.utf8.firstIndex(of: UInt8(ascii: "/")) else { return nil }
      return LearnedModel(
        provider: ProviderID(String(memo.name[..<slash])), model: String(memo.name[memo.name.index(after: slash)...]),
        text: memo.value)
    }
    if !learned.isEmpty { services.dispatcher.tell(.learnedRestored(learned)) }
  }

  /// Adds to the limit of a tenant's own budgets (or the broker's, or of one budget) until a moment, and writes it down.
  public func raiseBudget(_ raise: HeldRaise, askedBy: String) {
    services.calendars.budgets.raise(raise)
    let owner = raise.tenant?.name ?? BudgetAccount.broker.label
    services.books.changed(
      LedgerChange(
        at: services.time.wallInstant(at: services.time.now), subject: .budget, name: raise.budget ?? "\(owner)/*",
        state: "raised", reason: raise.unit == .usd ? "" : raise.unit.rawValue, askedBy: askedBy, amount: raise.amount,
        until: raise.until))
  }

  /// The raises that hold.
  public var budgetRaises: [HeldRaise] { services.calendars.budgets.raises }

  /// How each budget stands.
  public var budgetReadings: [BudgetReading] {
    services.calendars.budgets.check(at: now)
    return snapshot().budgets
  }
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
      budget: change.name.hasSuffix("/*") ? nil : change.name, amount: amount,
      unit: BudgetUnit(rawValue: change.reason) ?? .usd, until: until)
  }
}
