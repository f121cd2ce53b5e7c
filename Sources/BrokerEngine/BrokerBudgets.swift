// Budgets, for the operator and for the start: what was spent before, raises, and what is left to a tenant.
import AdmissionCore
import EventLoop
import LedgerVocabulary
import PolicyFile
import TextForms

extension Broker {
  /// What a starting broker needs to know of the past: the windows of its budgets, and when each of them began.
  public var budgetSpans: [BudgetSpan] { budgets.spans(policy.admission.budgetWindows) }

  /// What the books know from before the start. To be called once, before the first request.
  public func restore(spent: [BudgetSpent], raises: [HeldRaise], attempts: [PastAttempt]) {
    // Raises first: what was spent is judged by the limits that hold.
    if !raises.isEmpty { budgets.restore(raises) }
    restore(spent: spent)
    if !attempts.isEmpty { dispatcher.tell(.restored(attempts)) }
  }

  /// What was spent before, in the windows of budgets that new rules have brought; budgets that were there before know better. To be told
  /// after a `replacePolicy` that asks, even where it is nothing; in parts, where it is much.
  public func restore(spent: [BudgetSpent], isLast: Bool = true) {
    dispatcher.tell(.budgetsRestored(spent, isLast: isLast))
  }

  /// When the day began that limits by the day count; nil where there are none.
  public var dayBegan: WallInstant? { budgets.dayBegan }

  /// What was used since `dayBegan`; limits that know as much stay as they are. To be told before the first request, and after a `replacePolicy` that asks.
  public func restore(daySums: [DaySum]) { dispatcher.tell(.daySumsRestored(daySums)) }

  /// What an earlier process wanted to be known. To be called once, before the first request; the oldest first.
  public func restore(memos: [LedgerMemo]) {
    works.restore(memos)
    let learned = memos.filter { $0.kind == .learned }.compactMap { memo -> LearnedModel? in
      guard let slash = memo.name.utf8.firstIndex(of: UInt8(ascii: "/")) else { return nil }
      return LearnedModel(
        provider: ProviderID(String(memo.name[..<slash])), model: String(memo.name[memo.name.index(after: slash)...]),
        text: memo.value)
    }
    if !learned.isEmpty { dispatcher.tell(.learnedRestored(learned)) }
  }

  /// An attempt has ended: what was learned of it is in the books a moment later.
  func noteLearning() {
    guard !savesLearned, let loop else { return }
    savesLearned = true
    if learnedTimer == nil { learnedTimer = LoopTimer(loop) { [unowned self] in saveLearned() } }
    learnedTimer?.schedule(after: .seconds(1))
  }

  /// Writes down what was learned since the last time.
  public func saveLearned() {
    savesLearned = false
    for learned in dispatcher.takeLearned() where learned.model.utf8.count <= 256 {
      books.remembered(
        LedgerMemo(kind: .learned, name: "\(learned.provider.name)/\(learned.model)", value: learned.text))
    }
  }

  /// Adds to the limit of a tenant's own budgets (or the broker's, or of one budget) until a moment, and writes it down.
  public func raiseBudget(_ raise: HeldRaise, askedBy: String) {
    budgets.raise(raise)
    let owner = raise.tenant?.name ?? BudgetAccount.broker.label
    changed(
      LedgerChange(
        at: WallInstant(nanoseconds: wallNanoseconds(at: now)), subject: .budget, name: raise.budget ?? "\(owner)/*",
        state: "raised", reason: raise.unit == .usd ? "" : raise.unit.rawValue, askedBy: askedBy, amount: raise.amount,
        until: raise.until))
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
      budget: change.name.hasSuffix("/*") ? nil : change.name, amount: amount,
      unit: BudgetUnit(rawValue: change.reason) ?? .usd, until: until)
  }
}
