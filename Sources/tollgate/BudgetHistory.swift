// After a change of the policy: what was spent and used before it, under budgets and daily limits that are new, asked of the ledger.
//
// Promises: the loop never waits for it; the ledger is read and summed up on a thread, and told in small parts, one a turn. Of several
// questions only the last one's answer counts: it is about everything that the earlier ones were. Where the ledger does not
// answer it is asked again each second: nobody is admitted by a budget of which nobody knows how much is left.
import AdmissionCore
import BrokerEngine
import EventLoop
import Foundation
import LedgerStore

final class BudgetHistory {
  struct Answer: Sendable {
    var spent: [BudgetSpent]
    var daySums: [DaySum]
  }

  /// Accounts that are told in one turn of the loop.
  private static let part = 1000
  private static let pause = Duration.seconds(1)

  private let read: @Sendable (PastQuestion) throws -> Answer
  private let mailbox: Mailbox
  private let address = LoopAddress<BudgetHistory>()
  private let tell: (_ spent: [BudgetSpent], _ isLast: Bool) -> Void
  private let tellDays: ([DaySum]) -> Void
  private let failed: (String) -> Void
  private var number = 0
  private var question: PastQuestion?
  private var hasFailed = false
  private lazy var timer = LoopTimer(loop) { [unowned self] in start() }
  private let loop: EventLoop

  /// - Parameters:
  ///   - read: answers a question, on a thread of its own.
  ///   - tell: hears on the loop's thread what was spent, in one or more parts.
  ///   - tellDays: hears there what was used since the day began, where that was asked.
  ///   - failed: hears once for each question why there is no answer yet.
  init(
    loop: EventLoop, read: @escaping @Sendable (PastQuestion) throws -> Answer,
    tell: @escaping (_ spent: [BudgetSpent], _ isLast: Bool) -> Void, tellDays: @escaping ([DaySum]) -> Void,
    failed: @escaping (String) -> Void
  ) {
    self.loop = loop
    self.read = read
    self.tell = tell
    self.tellDays = tellDays
    self.failed = failed
    mailbox = loop.mailbox
    address.target = self
  }

  /// - Parameter question: nil where nothing is new: what was asked before does not matter any more.
  func ask(_ question: PastQuestion?) {
    self.question = question
    hasFailed = false
    timer.cancel()
    number += 1
    start()
  }

  private func start() {
    guard let question else { return }
    number += 1
    let (number, read, mailbox, address) = (number, read, mailbox, address)
    let thread = Thread {
      let answer = Result { try read(question) }.mapError {
        $0 as? LedgerError ?? LedgerError(.unusable, "budgets: \($0)")
      }
      mailbox.post { address.target?.heard(number, answer) }
    }
    thread.name = "budgets"
    thread.start()
  }

  private func heard(_ number: Int, _ answer: Result<Answer, LedgerError>) {
    guard number == self.number else { return }
    switch answer {
    case .success(let answer):
      if question?.dayBegan != nil { tellDays(answer.daySums) }
      tell(answer.spent[...], number)
    case .failure(let trouble):
      if !hasFailed { failed(trouble.description) }
      hasFailed = true
      timer.schedule(after: Self.pause)
    }
  }

  private func tell(_ rest: ArraySlice<BudgetSpent>, _ number: Int) {
    guard number == self.number else { return }
    let (part, later) = (rest.prefix(Self.part), rest.dropFirst(Self.part))
    if later.isEmpty { question = nil }
    tell(Array(part), later.isEmpty)
    guard !later.isEmpty else { return }
    let address = address
    mailbox.post { address.target?.tell(later, number) }
  }
}
