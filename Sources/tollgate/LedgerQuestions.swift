// Questions to the ledger that take a while: each has a thread of its own, a few run at the same time, and answers come
// on the loop's thread.
import AdminConsole
import AdmissionCore
import EventLoop
import Foundation
import LedgerStore
import TextForms

final class LedgerQuestions {
  /// The most concurrent questions, so that they do not take the processor from the loop.
  private static let limit = 2
  /// The most questions that wait for their turn.
  private static let queueLimit = 32

  /// A question that waits: it begins on a thread of its own and ends on the loop's.
  private struct Question {
    /// Returns what is to be done on the loop's thread.
    var answer: @Sendable (LedgerStore) -> Answer
    var then: (Answer) -> Void
  }
  private typealias Answer = Result<any Sendable, LedgerError>

  private let store: LedgerStore
  private let mailbox: Mailbox
  private let address = LoopAddress<LedgerQuestions>()
  private var waiting: [Question] = []
  private var running: [Int: (Answer) -> Void] = [:]
  private var number = 0

  init(_ store: LedgerStore, loop: EventLoop) {
    self.store = store
    mailbox = loop.mailbox
    address.target = self
  }

  /// Asks on another thread, and answers on the loop's.
  func ask<Told: Sendable>(
    _ question: @escaping @Sendable (LedgerStore) throws -> Told, then: @escaping (Result<Told, LedgerError>) -> Void
  ) {
    guard waiting.count < LedgerQuestions.queueLimit else {
      return then(.failure(LedgerError(.locked, "too many reports are asked for at once; try again in a moment")))
    }
    waiting.append(
      Question(
        answer: { store in
          do {
            return .success(try question(store))
          } catch let error as LedgerError {
            return .failure(error)
          } catch { return .failure(LedgerError(.unusable, "\(error)")) }
        },
        then: { answer in
          // The thread gives what the question promised.
          then(answer.flatMap { ($0 as? Told).map { .success($0) } ?? .failure(LedgerDesk.closed) })
        }))
    start()
  }

  private func start() {
    while running.count < LedgerQuestions.limit, !waiting.isEmpty {
      let question = waiting.removeFirst()
      number += 1
      let (number, store, mailbox, address, answer) = (number, store, mailbox, address, question.answer)
      running[number] = question.then
      let thread = Thread {
        let answer = answer(store)
        mailbox.post { address.target?.finish(number, answer) }
      }
      thread.name = "report"
      thread.start()
    }
  }

  private func finish(_ number: Int, _ answer: Answer) {
    running.removeValue(forKey: number)?(answer)
    start()
  }
}

extension LedgerDesk {
  init(_ bridge: LedgerBridge, loop: EventLoop, now: @escaping () -> WallInstant) {
    let questions = LedgerQuestions(bridge.store, loop: loop)
    let store =
      switch bridge.store.location {
      case .file(let path): URL(fileURLWithPath: path).standardizedFileURL.path
      case .memory: "memory:"
      }
    self.init(
      store: store, now: now, counts: { (bridge.store.pending, bridge.store.lost) },
      settle: { then in
        questions.ask({ $0.settle() }) { result in
          if case .success(true) = result { then(true) } else { then(false) }
        }
      },
      usage: { query, format, then in questions.ask({ try $0.usage(query).text(as: format) }, then: then) },
      history: { query, then in questions.ask({ try $0.history(query) }, then: then) },
      audit: { query, then in questions.ask({ try $0.audit(query) }, then: then) })
    lag = { bridge.store.lag }
  }
}
