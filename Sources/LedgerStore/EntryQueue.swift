// The queue of entries for the writer: numbered, in order, bounded, handed over under one short lock, and written to
// the journal first where there is one.
import AdmissionCore
import DequeModule
import Foundation
import GRDB
import SharedState

/// The result of an append.
public struct LedgerReceipt: Sendable, Equatable {
  /// The number of the last entry.
  public var number: UInt64
  /// Every entry up to this number is safe.
  public var safe: UInt64
}

final class EntryQueue: Sendable {
  /// The most entries in one transaction: entries that piled up during trouble must not cause a transaction of a
  /// second.
  static let batchLimit = 4096
  /// This number of waiting entries ends the writer's pause.
  private static let manyEntries = 2048

  /// What makes an entry safe.
  enum Safety: Sendable {
    /// The journal makes it safe at once.
    case journal(Journal)
    /// Nothing does: a ledger in memory is gone with the process, so there is nothing to wait for.
    case nothing
    /// The commit of the database.
    case commit
  }

  private struct Box {
    /// Waiting entries, as they were handed over.
    var waiting = Deque<EntryBatch>()
    var waitingCount = 0
    /// When each of them was handed over, in monotonic nanoseconds.
    var handedOver = Deque<UInt64>()
    /// The same of the oldest that the writer has taken.
    var writingSince: UInt64?
    /// The number of entries that the writer has taken and not committed yet.
    var writing = 0
    var appended: UInt64 = 0
    /// The last entry that is in the database.
    var applied: UInt64 = 0
    /// The last entry that the journal did not take.
    var unjournaled: UInt64 = 0
    var isAsleep = false
    var isPausing = false
    var isClosing = false
    var obstacle: String?
    /// The number of entries beyond the limit.
    var lost = 0
    /// The number of entries that the database did not take.
    var putAside = 0
    var jobs: [@Sendable (Database) throws -> Void] = []
    /// Readers that wait until the database has everything up to a number.
    var readers: [(number: UInt64, bell: DispatchSemaphore)] = []
  }

  private let box = Guarded(Box())
  private let bell = DispatchSemaphore(value: 0)
  private let limit: Int
  private let safety: Safety
  /// The journal's number of the entry before the first one of this process.
  private let base: UInt64

  init(limit: Int, safety: Safety, base: UInt64) {
    self.limit = limit
    self.safety = safety
    self.base = base
  }

  // MARK: The appending side

  func append(contentsOf entries: EntryBatch) -> LedgerReceipt {
    let (receipt, wakes) = box.withLock { box in
      let room = max(0, limit - box.waitingCount - box.writing)
      if entries.count <= room {
        box.waiting.append(entries)
        box.handedOver.append(DispatchTime.now().uptimeNanoseconds)
        box.waitingCount += entries.count
      } else {
        if room > 0 {
          box.waiting.append(EntryBatch(Array((entries.readable() ?? []).prefix(room))))
          box.handedOver.append(DispatchTime.now().uptimeNanoseconds)
        }
        box.waitingCount += room
        box.lost += entries.count - room
      }
      let first = box.appended + 1
      box.appended += UInt64(entries.count)
      if case .journal(let journal) = safety, journal.append(entries, first: base + first) != nil {
        // The database may still take them; if it cannot, its writer reports that.
        box.unjournaled = box.appended
      }
      var wakes = box.isAsleep
      if box.isPausing {
        let isWaitedFor = box.unjournaled > box.applied
        if isWaitedFor || box.waitingCount >= EntryQueue.manyEntries {
          wakes = true
          box.isPausing = false
        }
      }
      box.isAsleep = false
      return (LedgerReceipt(number: box.appended, safe: safeThrough(box)), wakes)
    }
    if wakes { bell.signal() }
    return receipt
  }

  private func safeThrough(_ box: Box) -> UInt64 {
    switch safety {
    case .journal: box.unjournaled <= box.applied ? box.appended : box.applied
    case .nothing: box.appended
    case .commit: box.applied
    }
  }

  var obstacle: String? { box.withLock { $0.obstacle } }
  var pending: Int { box.withLock { $0.waitingCount + $0.writing } }
  /// How long the oldest pending entry has waited, in nanoseconds; 0 where none waits.
  var lag: UInt64 {
    let oldest = box.withLock { $0.writing > 0 ? $0.writingSince : $0.handedOver.first }
    let now = DispatchTime.now().uptimeNanoseconds
    return oldest.map { now > $0 ? now - $0 : 0 } ?? 0
  }
  var lost: Int { box.withLock { $0.lost } }
  var putAside: Int { box.withLock { $0.putAside } }
  func countPutAside(_ count: Int) { box.withLock { $0.putAside += count } }

  /// Waits, at most this long, until the database has everything that was appended before; returns false where it has
  /// not.
  @discardableResult
  func settle(within patience: DispatchTimeInterval) -> Bool {
    let (number, waiter): (UInt64, DispatchSemaphore?) = box.withLock { box in
      guard box.applied < box.appended, box.obstacle == nil else { return (box.appended, nil) }
      let waiter = DispatchSemaphore(value: 0)
      box.readers.append((box.appended, waiter))
      box.isPausing = false
      return (box.appended, waiter)
    }
    if let waiter {
      bell.signal()
      _ = waiter.wait(timeout: .now() + patience)
    }
    return box.withLock { $0.applied >= number }
  }

  /// Closes the queue. Returns false where it was already closed.
  func close() -> Bool {
    let isFirst = box.withLock { box in
      defer { box.isClosing = true }
      return !box.isClosing
    }
    if isFirst { bell.signal() }
    return isFirst
  }

  // MARK: The writer's side

  /// True where a reader or a client waits for a commit, which must then not be delayed for long.
  var isCommitAwaited: Bool {
    box.withLock { box in
      switch safety {
      case .commit: true
      case .nothing: !box.readers.isEmpty
      case .journal: !box.readers.isEmpty || box.unjournaled > box.applied
      }
    }
  }

  enum Awaited { case entries, nothing, end }

  /// Blocks until there are entries, or until the time given (of the monotonic clock) has come; `end` where the queue is
  /// closed and empty.
  func awaitEntries(until time: UInt64?) -> Awaited {
    while true {
      let answer: Awaited? = box.withLock { box in
        if !box.waiting.isEmpty { return .entries }
        if box.isClosing { return .end }
        if let time, DispatchTime.now().uptimeNanoseconds >= time { return .nothing }
        box.isAsleep = true
        return nil
      }
      if let answer { return answer }
      _ = bell.wait(timeout: time.map { DispatchTime(uptimeNanoseconds: $0) } ?? .distantFuture)
    }
  }

  /// Blocks for this time, or until the queue is closed, many entries wait, or a commit is awaited.
  func pause(nanoseconds: UInt64) {
    let pauses = box.withLock { box in
      box.isPausing = !box.isClosing
      return box.isPausing
    }
    guard pauses else { return }
    _ = bell.wait(timeout: .now() + .nanoseconds(Int(nanoseconds)))
    box.withLock { $0.isPausing = false }
  }

  var isClosing: Bool { box.withLock { $0.isClosing } }

  /// The next entries, and the number of the last one once they are committed.
  func take() -> (entries: [EntryBatch], through: UInt64) {
    box.withLock { box in
      var taken: [EntryBatch] = []
      var count = 0
      while let next = box.waiting.first, count == 0 || count + next.count <= EntryQueue.batchLimit {
        taken.append(next)
        count += next.count
        box.waiting.removeFirst()
        let began = box.handedOver.removeFirst()
        if taken.count == 1 { box.writingSince = began }
      }
      box.writing = count
      box.waitingCount -= count
      return (taken, box.appended - UInt64(box.waitingCount))
    }
  }

  /// The number as the journal counts, which a transaction notes as written.
  func journalNumber(_ number: UInt64) -> UInt64 { base + number }

  /// Notes that the database has everything up to this number.
  func wrote(through number: UInt64) {
    let bells = box.withLock { box in
      box.writing = 0
      box.applied = number
      let bells = box.readers.filter { $0.number <= number }.map(\.bell)
      box.readers.removeAll { $0.number <= number }
      return bells
    }
    for bell in bells { bell.signal() }
    if case .journal(let journal) = safety { journal.applied(through: base + number) }
  }

  /// Adds work for the writer's connection, which is done right before its next transaction.
  func perform(_ job: @escaping @Sendable (Database) throws -> Void) { box.withLock { $0.jobs.append(job) } }

  func takeJobs() -> [@Sendable (Database) throws -> Void] {
    box.withLock { box in
      guard !box.jobs.isEmpty else { return [] }
      defer { box.jobs = [] }
      return box.jobs
    }
  }

  /// Returns true where the obstacle has changed.
  func setObstacle(_ text: String?) -> Bool {
    let (isNews, bells) = box.withLock { box in
      defer { box.obstacle = text }
      let bells = text == nil ? [] : box.readers.map(\.bell)
      if text != nil { box.readers = [] }
      return (box.obstacle != text, bells)
    }
    for bell in bells { bell.signal() }
    return isNews
  }
}
