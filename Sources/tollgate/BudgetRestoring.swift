// What the ledger knows of the past, in the words of the budgets: sums by broker, tenant, client key and session.
import AdmissionCore
import BrokerEngine
import LedgerStore

enum BudgetRestoring {
  /// Gives a broker that starts what was spent in its budgets' windows, the raises that hold, and the calls of the last minutes.
  static func restore(_ broker: Broker, from store: LedgerStore, now: WallInstant) throws {
    let windows = broker.budgetWindows
    let spending = windows.isEmpty ? [] : try store.spending(since: windows.map(\.began), now: now)
    broker.restore(
      spent: spent(spending, windows: windows.map(\.window)),
      raises: try store.budgetRaises(now: now).compactMap { HeldRaise($0) },
      attempts: try store.pastAttempts(now: now))
    broker.restore(memos: try LedgerMemo.Kind.allCases.flatMap { try store.memos($0) })
  }

  /// - Parameter windows: in the order of each caller's sums.
  static func spent(_ callers: [CallerSpending], windows: [BudgetWindow]) -> [BudgetSpent] {
    var sums: [BudgetAccount: [Money]] = [:]
    for caller in callers {
      var accounts = [BudgetAccount.broker, .tenant(caller.tenant)]
      if let key = caller.clientKey { accounts.append(.clientKey(key, of: caller.tenant)) }
      if let session = caller.session { accounts.append(.session(session, of: caller.tenant)) }
      for account in accounts {
        for (index, amount) in caller.spent.enumerated() {
          sums[account, default: Array(repeating: .zero, count: windows.count)][index].add(amount)
        }
      }
    }
    let ordered = sums.sorted { $0.key.label < $1.key.label }
    return ordered.flatMap { account, amounts in
      zip(windows, amounts).filter { $0.1 > .zero }.map { BudgetSpent(account: account, window: $0, spent: $1) }
    }
  }
}
