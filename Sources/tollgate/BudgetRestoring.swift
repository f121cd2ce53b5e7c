// What the ledger knows of the past, in the form that budgets need: sums by broker, tenant, client key and session.
import AdmissionCore
import BrokerEngine
import LedgerStore
import LedgerVocabulary
import TextForms

enum BudgetRestoring {
  /// The most accounts of clients and sessions that are told, those with the most spent: budgets do not keep more
  /// either.
  static let mostAccounts = 50_000

  /// Tells a starting broker what an earlier one had learned, what was spent in its budgets' windows, the current
  /// raises, and the calls of the last minutes.
  static func restore(_ broker: Operator, from store: LedgerStore, now: WallInstant) throws {
    broker.restore(memos: try LedgerMemo.Kind.allCases.flatMap { try store.memos($0) })
    let spans = broker.budgetSpans
    let spending = spans.isEmpty ? [] : try store.spending(since: spans.map(\.began), now: now)
    broker.restore(
      spent: spent(spending, spans: spans),
      raises: try store.budgetRaises(now: now).compactMap { HeldRaise($0) },
      attempts: try store.pastAttempts(now: now))
    if let began = broker.dayBegan { broker.restore(daySums: try store.daySums(since: began, now: now)) }
  }

  /// Answers the question after a change of the policy; blocks this thread.
  /// - Parameter clock: the wall clock.
  static func answer(
    _ question: PastQuestion, from store: LedgerStore, clock: @escaping @Sendable () -> WallInstant
  ) throws -> BudgetHistory.Answer {
    let (spans, cut) = (question.spans, question.endedBefore)
    let past = EndedBefore(cut, clock: clock)
    let callers = spans.isEmpty ? [] : try store.spending(since: spans.map(\.began), now: cut, ended: past)
    let daySums = try question.dayBegan.map { try store.daySums(since: $0, now: cut, ended: past) } ?? []
    return BudgetHistory.Answer(spent: spent(callers, spans: spans), daySums: daySums)
  }

  private struct Sums {
    var spent = Money.zero
    var tokens: Int64 = 0
    var requests: Int64 = 0
    var isZero: Bool { spent == .zero && tokens == 0 && requests == 0 }

    mutating func add(_ caller: CallerSpending, at index: Int) {
      spent.add(caller.spent[index])
      tokens = tokens.saturatingAdding(caller.tokens[index])
      requests = requests.saturatingAdding(caller.requests[index])
    }
  }

  /// Sorted by account.
  /// - Parameter spans: in the order of each caller's sums.
  static func spent(_ callers: [CallerSpending], spans: [BudgetSpan], most: Int = mostAccounts) -> [BudgetSpent] {
    let scopes = spans.reduce(into: Set<BudgetPolicy.Scope>()) { $0.formUnion($1.scopes) }
    var sums: [BudgetAccount: [Sums]] = [:]
    for caller in callers {
      var accounts = [BudgetAccount.broker, .tenant(caller.tenant)]
      if let key = caller.clientKey { accounts.append(.clientKey(key, of: caller.tenant)) }
      if let session = caller.session { accounts.append(.session(session.account, of: caller.tenant)) }
      for account in accounts where scopes.contains(account.scope) {
        for index in spans.indices where spans[index].scopes.contains(account.scope) {
          sums[account, default: Array(repeating: Sums(), count: spans.count)][index].add(caller, at: index)
        }
      }
    }
    return largest(sums, most).sorted { $0.account.label < $1.account.label }.flatMap { account, amounts in
      spans.indices.compactMap { index -> BudgetSpent? in
        var sums = amounts[index]
        // The sums run to now: so subtract from each piece what belongs to the later ones.
        if spans[index].piece != nil, index + 1 < spans.count, spans[index + 1].window == spans[index].window {
          let next = amounts[index + 1]
          sums.spent = max(.zero, sums.spent - next.spent)
          sums.tokens = max(0, sums.tokens - next.tokens)
          sums.requests = max(0, sums.requests - next.requests)
        }
        guard !sums.isZero else { return nil }
        return BudgetSpent(
          account: account, window: spans[index].window, spent: sums.spent, tokens: sums.tokens,
          requests: sums.requests, piece: spans[index].piece)
      }
    }
  }

  /// Removes the smallest accounts that come and go with clients, where there are too many.
  private static func largest(_ sums: [BudgetAccount: [Sums]], _ most: Int) -> [(
    account: BudgetAccount, amounts: [Sums]
  )] {
    let all = sums.map { (account: $0.key, amounts: $0.value) }
    guard all.count > most else { return all }
    func amount(_ sums: [Sums]) -> (Money, Int64) {
      (sums.map(\.spent).max() ?? .zero, sums.map(\.tokens).max() ?? 0)
    }
    let isLarger = { (left: [Sums], right: [Sums]) in amount(left) > amount(right) }
    let comeAndGo = all.filter { $0.account.scope == .clientKey || $0.account.scope == .session }
    return all.filter { $0.account.scope == .broker || $0.account.scope == .tenant }
      + comeAndGo.sorted { isLarger($0.amounts, $1.amounts) }.prefix(most)
  }
}
