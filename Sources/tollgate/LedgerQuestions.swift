// Questions to the ledger that take a while: each has a thread of its own, a few run at the same time, and answers come
// on the loop's thread.
import AdminConsole
import AdmissionCore
import EventLoop
import Foundation
import LedgerStore
import TextForms

final class LedgerQuestions {
  enum Answer: Sendable {
    case report(String)
    /// True where everything that was recorded before is in the database.
    case settled(Bool)
  }
  typealias Continuation = (Result<Answer, LedgerError>) -> Void

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
        let result: Result<Answer, LedgerError>
        do {
          result = .success(
            try report.map { .report(try store.usage($0.query).text(as: $0.format)) } ?? .settled(store.settle()))
        } catch let error as LedgerError {
          result = .failure(error)
        } catch { result = .failure(LedgerError(.unusable, "\(error)")) }
        mailbox.post { address.target?.finish(number, result) }
      }
      thread.name = "report"
      thread.start()
    }
  }

  private func finish(_ number: Int, _ result: Result<Answer, LedgerError>) {
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
      settle: { then in
        questions.ask(nil) { result in
          if case .success(.settled(true)) = result { then(true) } else { then(false) }
        }
      },
      usage: { query, format, then in
        questions.ask((query, format)) { result in
          then(result.map { if case .report(let text) = $0 { text } else { "" } })
        }
      })
    lag = { bridge.store.lag }
  }
}
