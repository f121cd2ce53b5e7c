// Budgets, for the operator and for the start: what was spent before, raises, and what a tenant has left.
import AdmissionCore
import LedgerVocabulary
import PolicyFile
import TextForms

extension Operator {
  /// What a starting broker must ask about the past: the windows of its budgets, and when each of them began.
  public var budgetSpans: [BudgetSpan] { services.calendars.budgets.spans(policy.admission.budgetWindows) }

  /// Takes over what the ledger knows from before the start. Call once, before the first request.
  public func restore(spent: [BudgetSpent], raises: [HeldRaise], attempts: [PastAttempt]) {
    // Raises first, since what was spent is compared with the current limits.
    if !raises.isEmpty { services.calendars.budgets.restore(raises) }
    restore(spent: spent)
    if !attempts.isEmpty { services.dispatcher.tell(.restored(attempts)) }
  }

  /// Takes over what was spent before under the budgets that new rules have brought; other budgets are left as they
  /// are. Call after a `replacePolicy` with `asksPast`, even with nothing spent; large amounts of data can come in
  /// parts.
  public func restore(spent: [BudgetSpent], isLast: Bool = true) {
    services.dispatcher.tell(.budgetsRestored(spent, isLast: isLast))
  }

  /// When the current day of daily limits began; nil where there are no such limits.
  public var dayBegan: WallInstant? { services.calendars.budgets.dayBegan }

  /// Takes over what was used since `dayBegan`; limits that have counted it already stay as they are. Call before the
  /// first request, and after a `replacePolicy` with `asksPast`.
  public func restore(daySums: [DaySum]) { services.dispatcher.tell(.daySumsRestored(daySums)) }

  /// Takes over the notes of an earlier process, the oldest first. Call once, before the calls of the last minutes are
  /// restored, since these count against limits that the notes tell.
  public func restore(memos: [LedgerMemo]) {
    services.providers.works.restore(memos)
    let learned = memos.filter { $0.kind == .learned }.compactMap { memo -> LearnedModel? in
      guard let slash = memo.name.utf8.firstIndex(of: UInt8(ascii: "/")) else { return nil }
      return LearnedModel(
        provider: ProviderID(String(memo.name[..<slash])), model: String(memo.name[memo.name.index(after: slash)...]),
        text: memo.value)
    }
    if !learned.isEmpty { services.dispatcher.tell(.learnedRestored(learned)) }
    services.dispatcher.restore(
      memos.filter { $0.kind == .limits }.compactMap { LearnedLimits(name: $0.name, text: $0.value) })
  }

  /// Raises a tenant's own budgets (or the broker's, or a single budget) until an instant, and writes the raise to the
  /// ledger.
  public func raiseBudget(_ raise: HeldRaise, askedBy: String) {
    let before = snapshot().budgets
    services.calendars.budgets.raise(raise)
    let raised = zip(before, snapshot().budgets).filter { $0.id == $1.id && $0.limit != $1.limit }.prefix(8)
    func limits(_ readings: [BudgetReading]) -> String? {
      guard !readings.isEmpty else { return nil }
      return readings.map { "\($0.id): \(ErrorText.amount($0.limit, $0.unit))" }.joined(separator: ", ")
    }
    let owner = raise.tenant?.name ?? BudgetAccount.broker.label
    services.clerk.changed(
      LedgerChange(
        at: services.time.wallInstant(at: services.time.now), subject: .budget, name: raise.budget ?? "\(owner)/*",
        state: .raised, reason: raise.unit == .usd ? "" : raise.unit.rawValue, askedBy: askedBy, amount: raise.amount,
        until: raise.until, before: limits(raised.map { $0.0 }), after: limits(raised.map { $0.1 })))
  }

  /// The current raises.
  public var budgetRaises: [HeldRaise] { services.calendars.budgets.raises }

  /// The state of each budget.
  public var budgetReadings: [BudgetReading] {
    services.calendars.budgets.check(at: now)
    return snapshot().budgets
  }
}

extension HeldRaise {
  /// A raise from its entry in the ledger; nil for other changes.
  public init?(_ change: LedgerChange) {
    guard change.subject == .budget, change.state == .raised, let amount = change.amount, let until = change.until,
      let slash = change.name.utf8.firstIndex(of: UInt8(ascii: "/"))
    else { return nil }
    let owner = String(change.name[..<slash])
    self.init(
      tenant: owner == BudgetAccount.broker.label ? nil : TenantID(owner),
      budget: change.name.hasSuffix("/*") ? nil : change.name, amount: amount,
      unit: BudgetUnit(rawValue: change.reason) ?? .usd, until: until)
  }
}
