// The writer's thread: it takes the waiting entries and writes them in one transaction; when that fails it keeps them
// and tries again until it succeeds.
//
// Entries share commits. Where a commit is awaited, the writer lets entries gather for a short time after the last
// commit, longer when many come, and writes the first entry after a quiet moment at once. Where none is awaited,
// because the journal has made the entries safe, it lets them gather for longer. Between two commits it makes roll-ups.
import AdmissionCore
import Foundation
import GRDB
import LedgerVocabulary

final class LedgerWriter {
  /// The rate, in entries per millisecond, from which on the pause is the longest.
  private static let busyRate = 12.0

  private let queue: EntryQueue
  /// The number by which the journal knows the database.
  private let ledger: UInt64
  private let location: LedgerLocation
  private let durability: LedgerDurability
  private let options: LedgerOptions
  private let onCommitted: @Sendable (UInt64) -> Void
  private let onObstacleChanged: @Sendable (String?) -> Void
  private var database: DatabaseQueue
  private var writer: EntryWriter?
  /// The writer whose connection failed, which still knows the open holds.
  private var failed: EntryWriter?
  private var file: FileIdentity?
  private var lastBegan: UInt64 = 0
  private var lastCount = 0
  private var pause: UInt64 = 0
  private var lastChecked: UInt64 = 0
  private var background: BackgroundRollUp

  init(
    _ queue: EntryQueue, ledger: UInt64, _ database: DatabaseQueue, _ location: LedgerLocation,
    _ durability: LedgerDurability,
    _ options: LedgerOptions, onCommitted: @escaping @Sendable (UInt64) -> Void,
    onObstacleChanged: @escaping @Sendable (String?) -> Void
  ) {
    self.queue = queue
    self.ledger = ledger
    self.database = database
    self.location = location
    self.durability = durability
    self.options = options
    self.onCommitted = onCommitted
    self.onObstacleChanged = onObstacleChanged
    file = FileIdentity(location)
    background = BackgroundRollUp(options, now: DispatchTime.now().uptimeNanoseconds)
  }

  /// Runs until the queue is closed and empty, or closed and in trouble.
  func run() {
    if !queue.isCommitAwaited { yieldToOthers() }
    working: while true {
      switch queue.awaitEntries(until: background.due) {
      case .end: break working
      case .nothing: break
      case .entries:
        linger()
        let (entries, through) = queue.take()
        guard write(entries, through: queue.journalNumber(through)) else { return }
        queue.wrote(through: through)
        onCommitted(through)
        background.wrote(at: DispatchTime.now().uptimeNanoseconds)
      }
      background.workIfDue(on: database)
    }
    // If this fails, a start only has to look a little further back.
    try? database.writeWithoutTransaction { _ in try writer?.finish() }
    writer = nil
    try? database.close()
  }

  /// Where the journal makes entries safe, nothing waits for this thread, so on a busy machine the threads that serve
  /// requests go first.
  private func yieldToOthers() {
    #if os(Linux)
      // Linux has a priority for each thread; 0 means the calling one. If it may not be changed, that does no harm.
      _ = setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, Self.niceness)
    #endif
  }

  /// Five steps below the others: a third of their share of a contended processor.
  static let niceness: Int32 = 5

  private func linger() {
    if !queue.isCommitAwaited { return queue.pause(nanoseconds: options.gatherTime.wholeNanoseconds) }
    let now = DispatchTime.now().uptimeNanoseconds
    let due = lastBegan &+ pause
    if now < due { queue.pause(nanoseconds: due - now) }
    let begins = max(now, due)
    // The entries since the last commit predict how many will come: the more, the longer it pays to wait.
    let rate = Double(lastCount) / (Double(max(1, begins &- lastBegan)) / 1e6)
    let share = min(1, rate / LedgerWriter.busyRate)
    let shortest = options.shortestPause.wholeNanoseconds
    let longest = options.longestPause.wholeNanoseconds
    pause = shortest + UInt64(share * Double(longest - min(shortest, longest)))
    lastBegan = begins
  }

  /// Tries until it succeeds; entries that the database will never take are put aside. Returns false where the queue
  /// was closed before it succeeded.
  private func write(_ entries: [EntryBatch], through: UInt64) -> Bool {
    lastCount = entries.reduce(0) { $0 + $1.count }
    var unwritten = UnwrittenEntries(entries, through: through)
    let began = DispatchTime.now().uptimeNanoseconds
    while true {
      do {
        try attempt(&unwritten)
        if unwritten.putAside > 0 { queue.countPutAside(unwritten.putAside) }
        if queue.setObstacle(nil) { onObstacleChanged(nil) }
        return true
      } catch {
        let trouble = LedgerError(error, at: location.name)
        let waited = DispatchTime.now().uptimeNanoseconds - began
        if trouble.kind != .locked || waited >= options.lockPatience.wholeNanoseconds { tell(trouble) }
        if queue.isClosing && waited >= options.closePatience.wholeNanoseconds { return false }
        queue.pause(nanoseconds: options.retryPause.wholeNanoseconds)
        if trouble.kind == .unusable, case .file = location { reopen() }
      }
    }
  }

  private func attempt(_ entries: inout UnwrittenEntries) throws {
    let now = DispatchTime.now().uptimeNanoseconds
    if now &- lastChecked >= options.fileCheckInterval.wholeNanoseconds {
      guard file == FileIdentity(location) else {
        throw LedgerError(
          .unusable,
          "ledger \(location.name): the file was moved or removed while in use; it is made anew, without what it held")
      }
      lastChecked = now
    }
    let jobs = queue.takeJobs()
    try database.writeWithoutTransaction { db in
      for job in jobs { try job(db) }
      let current = try writer ?? EntryWriter(db, options: options, after: failed)
      writer = current
      failed = nil
      try current.writeWhatFits(&entries, now: now)
    }
  }

  private func tell(_ trouble: LedgerError) {
    let lost = queue.lost
    let text =
      lost == 0 ? trouble.description : trouble.description + "; \(lost) entries found no place in memory and are lost"
    if queue.setObstacle(text) { onObstacleChanged(text) }
  }

  /// Opens a connection to the file that is now at the path. If that fails, the next try reports why.
  private func reopen() {
    guard let fresh = try? LedgerConnection.writer(location, durability) else { return }
    let earlier = writer
    writer = nil
    try? database.close()
    database = fresh
    // The other file belongs to the same journal from now on.
    try? fresh.writeWithoutTransaction {
      try $0.execute(
        sql: "INSERT INTO marks VALUES ('ledger', ?) ON CONFLICT DO UPDATE SET value = excluded.value",
        arguments: [Int64(bitPattern: ledger)])
    }
    let lies = FileIdentity(location)
    // Another file has other numbers for names, so ends of holds that were open are reported as unmatched.
    failed = lies == file ? earlier ?? failed : nil
    file = lies
  }

  /// Turns an end without an open hold into a change, so that it stays in the ledger.
  static func note(_ entry: LedgerEntry) -> LedgerEntry {
    switch entry {
    case .settled(let end):
      .changed(
        LedgerChange(
          at: end.at, subject: .broker, name: "\(end.request.high):\(end.request.low)/\(end.attempt)",
          state: .unmatchedEnd, reason: "this attempt had no open hold", amount: end.cost))
    case .held, .changed, .concluded, .finished, .remembered: entry
    }
  }
}

/// The identity of the file at a path.
private struct FileIdentity: Equatable {
  var device: UInt64
  var inode: UInt64

  /// nil for memory, and where there is no file.
  init?(_ location: LedgerLocation) {
    guard case .file(let path) = location else { return nil }
    var status = stat()
    guard stat(path, &status) == 0 else { return nil }
    device = UInt64(status.st_dev)
    inode = UInt64(status.st_ino)
  }
}
