// After a change of the policy: what was spent in the windows of budgets that are new, asked of the ledger beside the loop.
//
// Promise: the loop never waits for it, and of several questions only the last one's answer counts.
import AdmissionCore
import BrokerEngine
import EventLoop
import Foundation
import LedgerStore

final class BudgetHistory {
  private let store: LedgerStore
  private let mailbox: Mailbox
  private let address = LoopAddress<BudgetHistory>()
  private let tell: ([BudgetSpent]) -> Void
  private let failed: (String) -> Void
  private var number = 0
  private var spans: [BudgetSpan] = []

  /// - Parameters:
  ///   - tell: hears on the loop's thread what was spent.
  ///   - failed: hears why that is not known.
  init(
    _ store: LedgerStore, loop: EventLoop, tell: @escaping ([BudgetSpent]) -> Void, failed: @escaping (String) -> Void
  ) {
    self.store = store
    self.tell = tell
    self.failed = failed
    mailbox = loop.mailbox
    address.target = self
  }

  /// - Parameter spans: as the broker names them after the change.
  func ask(_ spans: [BudgetSpan], now: WallInstant) {
    number += 1
    self.spans = spans
    guard !spans.isEmpty else { return tell([]) }
    let (number, store, mailbox, address) = (number, store, mailbox, address)
    let starts = spans.map(\.began)
    let thread = Thread {
      let answer = Result { try store.spending(since: starts, now: now) }.mapError { LedgerError($0, of: "budgets") }
      mailbox.post { address.target?.heard(number, answer) }
    }
    thread.name = "budgets"
    thread.start()
  }

  private func heard(_ number: Int, _ answer: Result<[CallerSpending], LedgerError>) {
    guard number == self.number else { return }
    switch answer {
    case .success(let callers): tell(BudgetRestoring.spent(callers, spans: spans))
    case .failure(let trouble): failed(trouble.description)
    }
  }
}

extension LedgerError {
  fileprivate init(_ error: any Error, of question: String) {
    self = error as? LedgerError ?? LedgerError(.unusable, "\(question): \(error)")
  }
}
