// Questions to the ledger that take a while: each has a thread of its own, a few run at the same time, and answers come
// on the loop's thread.
import AdminConsole
import AdmissionCore
import EventLoop
import Foundation
import LedgerStore
import TextForms

final class LedgerQuestions {
  /// Gets the report, or nil where none was asked for.
  typealias Continuation = (Result<UsageReport?, LedgerError>) -> Void

  /// The most concurrent questions, so that they do not take the processor from the loop.
  private static let limit = 2
  /// The most questions that wait for their turn.
  private static let queueLimit = 32

  private let store: LedgerStore
  private let mailbox: Mailbox
  private let address = LoopAddress<LedgerQuestions>()
  private var waiting: [(query: UsageQuery?, then: Continuation)] = []
  private var running: [Int: Continuation] = [:]
  private var number = 0

  init(_ store: LedgerStore, loop: EventLoop) {
    self.store = store
    mailbox = loop.mailbox
    address.target = self
  }

  /// Answers once everything that was recorded before is in the database, or cannot be written for now.
  /// - Parameter query: what to report; nil for nothing.
  func ask(_ query: UsageQuery?, then: @escaping Continuation) {
    guard waiting.count < LedgerQuestions.queueLimit else {
      return then(.failure(LedgerError(.locked, "too many reports are asked for at once; try again in a moment")))
    }
    waiting.append((query, then))
    start()
  }

  private func start() {
    while running.count < LedgerQuestions.limit, !waiting.isEmpty {
      let (query, then) = waiting.removeFirst()
      number += 1
      let (number, store, mailbox, address) = (number, store, mailbox, address)
      running[number] = then
      let thread = Thread {
        let result: Result<UsageReport?, LedgerError>
        do {
          if query == nil { store.settle() }
          result = .success(try query.map { try store.usage($0) })
        } catch let error as LedgerError {
          result = .failure(error)
        } catch { result = .failure(LedgerError(.unusable, "\(error)")) }
        mailbox.post { address.target?.finish(number, result) }
      }
      thread.name = "report"
      thread.start()
    }
  }

  private func finish(_ number: Int, _ result: Result<UsageReport?, LedgerError>) {
    running.removeValue(forKey: number)?(result)
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
      settle: { then in questions.ask(nil) { _ in then() } },
      usage: { query, then in questions.ask(query) { then($0.map { $0! }) } })
  }
}
