// The entries on their way to the writer: numbered, in order, bounded, handed over under one short lock.
import AdmissionCore
import Foundation
import GRDB
import Synchronization

final class EntryQueue: Sendable {
  /// Entries in one transaction at most: what piled up during trouble must not make one that lasts a second.
  static let batchLimit = 4096

  private struct Box {
    var waiting: [LedgerEntry] = []
    /// Taken by the writer and not committed yet.
    var writing = 0
    var appended: UInt64 = 0
    var isAsleep = false
    var isClosing = false
    var obstacle: String?
    /// Entries past the limit.
    var lost = 0
    var jobs: [@Sendable (Database) throws -> Void] = []
  }

  private let box = Mutex(Box())
  private let bell = DispatchSemaphore(value: 0)
  private let limit: Int

  init(limit: Int) { self.limit = limit }

  // MARK: The appending side

  func append(_ entry: LedgerEntry) -> UInt64 {
    let (number, wakes) = box.withLock { box in
      if box.waiting.count + box.writing < limit { box.waiting.append(entry) } else { box.lost += 1 }
      box.appended += 1
      return (box.appended, EntryQueue.wakes(&box))
    }
    if wakes { bell.signal() }
    return number
  }

  func append(contentsOf entries: [LedgerEntry]) -> UInt64 {
    let (number, wakes) = box.withLock { box in
      let room = max(0, limit - box.waiting.count - box.writing)
      if entries.count <= room {
        box.waiting.append(contentsOf: entries)
      } else {
        box.waiting.append(contentsOf: entries.prefix(room))
        box.lost += entries.count - room
      }
      box.appended += UInt64(entries.count)
      return (box.appended, EntryQueue.wakes(&box))
    }
    if wakes { bell.signal() }
    return number
  }

  private static func wakes(_ box: inout Box) -> Bool {
    defer { box.isAsleep = false }
    return box.isAsleep
  }

  var obstacle: String? { box.withLock { $0.obstacle } }
  var pending: Int { box.withLock { $0.waiting.count + $0.writing } }
  var lost: Int { box.withLock { $0.lost } }

  /// False where it was closed before.
  func close() -> Bool {
    let isFirst = box.withLock { box in
      defer { box.isClosing = true }
      return !box.isClosing
    }
    if isFirst { bell.signal() }
    return isFirst
  }

  // MARK: The writer's side

  /// Blocks until there are entries; false where the queue is closed and empty.
  func awaitEntries() -> Bool {
    while true {
      let answer: Bool? = box.withLock { box in
        if !box.waiting.isEmpty { return true }
        if box.isClosing { return false }
        box.isAsleep = true
        return nil
      }
      if let answer { return answer }
      bell.wait()
    }
  }

  /// Blocks for this long; less where the queue is closed meanwhile.
  func pause(nanoseconds: UInt64) {
    guard !isClosing else { return }
    _ = bell.wait(timeout: .now() + .nanoseconds(Int(nanoseconds)))
  }

  var isClosing: Bool { box.withLock { $0.isClosing } }

  /// The next entries, and the number of the last one once they are committed.
  func take() -> (entries: [LedgerEntry], through: UInt64) {
    box.withLock { box in
      var taken: [LedgerEntry] = []
      if box.waiting.count <= EntryQueue.batchLimit {
        swap(&taken, &box.waiting)
      } else {
        taken = Array(box.waiting.prefix(EntryQueue.batchLimit))
        box.waiting.removeFirst(EntryQueue.batchLimit)
      }
      box.writing = taken.count
      return (taken, box.appended - UInt64(box.waiting.count))
    }
  }

  func wrote() { box.withLock { $0.writing = 0 } }

  /// Work for the writer's connection, done right before its next transaction.
  func perform(_ job: @escaping @Sendable (Database) throws -> Void) { box.withLock { $0.jobs.append(job) } }

  func takeJobs() -> [@Sendable (Database) throws -> Void] {
    box.withLock { box in
      guard !box.jobs.isEmpty else { return [] }
      defer { box.jobs = [] }
      return box.jobs
    }
  }

  /// True where this is news.
  func setObstacle(_ text: String?) -> Bool {
    box.withLock { box in
      defer { box.obstacle = text }
      return box.obstacle != text
    }
  }
}
