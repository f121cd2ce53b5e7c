// After a change of the policy: asks the ledger what was spent and used before it, under budgets and daily limits that
// are new.
//
// Promises: the loop never waits for it; the ledger is read and summed up on a thread, and the sums are told in small
// parts, one per turn. Of several questions only the last one's answer counts, since it covers the earlier ones. Where
// the ledger does not answer, it is asked again each second: meanwhile the new budgets admit nothing.
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

  /// The most accounts that are reported in one turn of the loop.
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
  ///   - tell: called on the loop's thread with what was spent, in one or more parts.
  ///   - tellDays: called there with what was used since the day began, where that was asked.
  ///   - failed: called once per question with the reason why there is no answer yet.
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

  /// - Parameter question: nil where nothing is new; an earlier question is dropped then.
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
