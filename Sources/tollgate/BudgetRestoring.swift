// What the ledger knows of the past, in the words of the budgets: sums by broker, tenant, client key and session.
import AdmissionCore
import BrokerEngine
import LedgerStore

enum BudgetRestoring {
  /// Gives a broker that starts what was spent in its budgets' windows, the raises that hold, and the calls of the last minutes.
  static func restore(_ broker: Broker, from store: LedgerStore, now: WallInstant) throws {
    let spans = broker.budgetSpans
    let spending = spans.isEmpty ? [] : try store.spending(since: spans.map(\.began), now: now)
    broker.restore(
      spent: spent(spending, spans: spans),
      raises: try store.budgetRaises(now: now).compactMap { HeldRaise($0) },
      attempts: try store.pastAttempts(now: now))
    if let began = broker.dayBegan { broker.restore(daySums: try store.daySums(since: began)) }
    broker.restore(memos: try LedgerMemo.Kind.allCases.flatMap { try store.memos($0) })
  }

  /// - Parameter spans: in the order of each caller's sums.
  static func spent(_ callers: [CallerSpending], spans: [BudgetSpan]) -> [BudgetSpent] {
    var sums: [BudgetAccount: [(spent: Money, tokens: Int64, requests: Int64)]] = [:]
    for caller in callers {
      var accounts = [BudgetAccount.broker, .tenant(caller.tenant)]
      if let key = caller.clientKey { accounts.append(.clientKey(key, of: caller.tenant)) }
      if let session = caller.session { accounts.append(.session(session, of: caller.tenant)) }
      for account in accounts {
        var list = sums[account] ?? Array(repeating: (.zero, 0, 0), count: spans.count)
        for index in spans.indices {
          list[index].spent.add(caller.spent[index])
          list[index].tokens = Int64(clamping: Int128(list[index].tokens) + Int128(caller.tokens[index]))
          list[index].requests = Int64(clamping: Int128(list[index].requests) + Int128(caller.requests[index]))
        }
        sums[account] = list
      }
    }
    return sums.sorted { $0.key.label < $1.key.label }.flatMap { account, amounts in
      spans.indices.compactMap { index -> BudgetSpent? in
        var (spent, tokens, requests) = amounts[index]
        // The sums run to now: of a piece, what the next one has is not its own.
        if spans[index].piece != nil, index + 1 < spans.count, spans[index + 1].window == spans[index].window {
          let next = amounts[index + 1]
          spent = Money(nanodollars: max(0, spent.nanodollars - next.spent.nanodollars))
          tokens = max(0, tokens - next.tokens)
          requests = max(0, requests - next.requests)
        }
        guard spent > .zero || tokens > 0 || requests > 0 else { return nil }
        return BudgetSpent(
          account: account, window: spans[index].window, spent: spent, tokens: tokens, requests: requests,
          piece: spans[index].piece)
      }
    }
  }
}
