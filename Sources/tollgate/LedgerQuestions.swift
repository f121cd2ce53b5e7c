// Questions to the ledger that take a while: each has a thread of its own, a few run at the same time, and answers come
// on the loop's thread.
import AdminConsole
import AdmissionCore
import EventLoop
import Foundation
import LedgerStore
import TextForms

final class LedgerQuestions {
  /// Gets the report's text, or nil where none was asked for.
  typealias Continuation = (Result<String?, LedgerError>) -> Void

  /// The most concurrent questions, so that they do not take the processor from the loop.
  private static let limit = 2
  /// The most questions that wait for their turn.
  private static let queueLimit = 32

  private let store: LedgerStore
  private let mailbox: Mailbox
  private let address = LoopAddress<LedgerQuestions>()
  private var waiting: [(report: (query: UsageQuery, format: UsageFormat)?, then: Continuation)] = []
  private var running: [Int: Continuation] = [:]
  private var number = 0

  init(_ store: LedgerStore, loop: EventLoop) {
    self.store = store
    mailbox = loop.mailbox
    address.target = self
  }

  /// Answers once everything that was recorded before is in the database, or cannot be written for now.
  /// - Parameter report: what to report, and how; nil for nothing.
  func ask(_ report: (query: UsageQuery, format: UsageFormat)?, then: @escaping Continuation) {
    guard waiting.count < LedgerQuestions.queueLimit else {
      return then(.failure(LedgerError(.locked, "too many reports are asked for at once; try again in a moment")))
    }
    waiting.append((report, then))
    start()
  }

  private func start() {
    while running.count < LedgerQuestions.limit, !waiting.isEmpty {
      let (report, then) = waiting.removeFirst()
      number += 1
      let (number, store, mailbox, address) = (number, store, mailbox, address)
      running[number] = then
      let thread = Thread {
        let result: Result<String?, LedgerError>
        do {
          if report == nil { store.settle() }
          result = .success(try report.map { try store.usage($0.query).text(as: $0.format) })
        } catch let error as LedgerError {
          result = .failure(error)
        } catch { result = .failure(LedgerError(.unusable, "\(error)")) }
        mailbox.post { address.target?.finish(number, result) }
      }
      thread.name = "report"
      thread.start()
    }
  }

  private func finish(_ number: Int, _ result: Result<String?, LedgerError>) {
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
      usage: { query, format, then in questions.ask((query, format)) { then($0.map { $0 ?? "" }) } })
  }
}
