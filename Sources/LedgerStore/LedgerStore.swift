// The ledger: takes entries on any thread, writes them on its own thread, many in one transaction, and reports up to
// which number they are safe.
//
// Promises: entries are written in the order of their numbers, each once. Safe entries survive what the durability
// promises: with `batched` the journal makes entries safe against the end of the process when they are appended, with
// `full` the commit makes them safe against a power cut. While the database cannot be written, `obstacle` says why;
// entries stay in memory, at most `LedgerOptions.memoryLimit`, and are written when the trouble ends. Entries beyond
// the limit are lost, counted and reported.
import AdmissionCore
import Foundation
import GRDB
import LedgerVocabulary
import TextForms

public struct LedgerOptions: Sendable {
  /// The most entries that are kept in memory while they cannot be written.
  public var memoryLimit = 100_000
  /// The least time between two commits: from `shortestPause` with few entries up to `longestPause` with many.
  public var shortestPause: Duration = .microseconds(400)
  public var longestPause: Duration = .milliseconds(2)
  /// After this long an open hold gets its row in `attempts`.
  public var listTime: Duration = .seconds(5)
  /// How often the writer looks for such holds.
  public var housekeepingInterval: Duration = .seconds(1)
  /// How often the file is checked to be the one that was opened.
  public var fileCheckInterval: Duration = .seconds(5)
  /// How long entries that are already safe gather before they are written.
  public var gatherTime: Duration = .milliseconds(50)
  /// How long another process may hold the lock before new work is refused.
  public var lockPatience: Duration = .seconds(1)
  /// The pause between two tries while there is trouble.
  public var retryPause: Duration = .milliseconds(200)
  /// How long a closed store goes on trying while there is trouble.
  public var closePatience: Duration = .seconds(3)
  /// How long new rows wait until the roll-ups count them.
  public var rollUpInterval: Duration = .seconds(10)
  /// How long after its start the store counts what an earlier process left; no longer than `rollUpInterval`.
  public var firstRollUp: Duration = .seconds(1)
  /// The most rows of a table that are counted in one transaction, and the processor time that it should take.
  public var rollUpRows = 4096
  public var rollUpTime: Duration = .milliseconds(5)
  public init() {}
}

extension Duration {
  var wholeNanoseconds: UInt64 {
    UInt64(components.seconds) * 1_000_000_000 + UInt64(components.attoseconds / 1_000_000_000)
  }
}

public final class LedgerStore: Sendable {
  public let location: LedgerLocation
  /// What the start found and recovered.
  public let recovered: LedgerRecovery
  private let queue: EntryQueue
  private let ended = DispatchSemaphore(value: 0)
  private let lock: LedgerLock?
  /// Reports on a ledger in memory share the writer's connection; on a file they have their own.
  private let memory: DatabaseQueue?

  /// Opens or creates the ledger, recovers what a crash left open, and starts the writer.
  /// - Parameters:
  ///   - now: the wall clock, for the recovery.
  ///   - onCommitted: called on the writer's thread after each commit with the highest number that the database has.
  ///     Entries that `append` reported as safe need not wait for it.
  ///   - onObstacleChanged: called on the writer's thread when the obstacle begins, changes or ends.
  /// - Throws: `LedgerError`, which says what to do.
  public init(
    _ location: LedgerLocation, durability: LedgerDurability = .batched, options: LedgerOptions = LedgerOptions(),
    now: WallInstant, onCommitted: @escaping @Sendable (UInt64) -> Void,
    onObstacleChanged: @escaping @Sendable (String?) -> Void = { _ in }
  ) throws {
    self.location = location
    if case .file(let path) = location {
      try LedgerConnection.checkDirectory(of: path)
      lock = try LedgerLock(of: path)
    } else {
      lock = nil
    }
    let database = try LedgerConnection.writer(location, durability)
    memory = location == .memory ? database : nil
    let safety: EntryQueue.Safety
    let base: UInt64
    let ledger: UInt64
    do {
      let replay = try database.writeWithoutTransaction { try LedgerReplay(location, $0, now: now) }
      var recovered = try database.writeWithoutTransaction { try LedgerRecovery.run($0, now: now) }
      recovered.damage = replay.damage
      recovered.putAside = replay.putAside
      self.recovered = recovered
      base = replay.last
      ledger = replay.ledger
      safety =
        switch (location, durability) {
        case (.memory, _): .nothing
        case (.file(let path), .batched): .journal(try replay.journal(path))
        case (.file(let path), .full):
          // Entries of an earlier process with another durability are in the database by now.
          replay.removeJournal(path)
        }
    } catch {
      throw LedgerError(error, at: location.name)
    }
    let queue = EntryQueue(limit: options.memoryLimit, safety: safety, base: base)
    self.queue = queue
    let ended = ended
    let thread = Thread {
      LedgerWriter(
        queue, ledger: ledger, database, location, durability, options, onCommitted: onCommitted,
        onObstacleChanged: onObstacleChanged
      ).run()
      ended.signal()
    }
    thread.name = "ledger"
    thread.start()
  }

  /// Takes one entry from any thread; returns its number: 1, 2, 3, ...
  @discardableResult
  public func append(_ entry: LedgerEntry) -> UInt64 { append(contentsOf: [entry]) }

  /// Takes some entries at once; returns the number of the last.
  @discardableResult
  public func append(contentsOf entries: [LedgerEntry]) -> UInt64 { handOver(EntryBatch(entries)).number }

  /// Takes some entries at once, and returns up to which number entries are safe.
  public func handOver(_ entries: EntryBatch) -> LedgerReceipt { queue.append(contentsOf: entries) }

  /// Why nothing can be written now; nil where there is no trouble.
  public var obstacle: String? { queue.obstacle }

  /// The number of entries that are not in the database yet.
  public var pending: Int { queue.pending }
  /// How long the oldest of these entries has waited; zero where there is none.
  public var lag: Span { Span(nanoseconds: Int64(clamping: queue.lag)) }

  /// The number of entries that were lost beyond the memory limit while nothing could be written.
  public var lost: Int { queue.lost }

  /// The number of entries since the start that the database did not take, each with a row in `changes`: our bug, or a
  /// damaged database.
  public var putAside: Int { recovered.putAside + queue.putAside }

  /// Writes the waiting entries and ends the thread; later entries are not written. Blocks for at most `closePatience`
  /// and a moment.
  /// - Returns: the number of entries that could not be written.
  @discardableResult
  public func close() -> Int {
    if queue.close() {
      ended.wait()
      lock?.release()
    }
    return queue.pending
  }

  deinit { _ = queue.close() }

  /// Waits until everything that was appended before is in the database: at most two seconds, and not while there is
  /// an obstacle. Blocks this thread, but neither the writer nor the loop.
  /// - Returns: false where something is not in the database.
  @discardableResult
  public func settle() -> Bool { queue.settle(within: .seconds(2)) }

  /// Runs work on the writer's connection, right before its next transaction.
  func perform(_ job: @escaping @Sendable (Database) throws -> Void) { queue.perform(job) }

  /// Runs a query on its own connection, once everything that was appended before is in the database. Blocks this
  /// thread, but neither the writer nor the loop.
  /// - Parameter isWhole: true to throw, instead of giving an incomplete answer, where earlier entries cannot be
  ///   written in time.
  func read<Answer>(isWhole: Bool = false, _ question: (Database) throws -> Answer) throws -> Answer {
    if !settle(), isWhole {
      throw LedgerError(
        .locked, "ledger \(location.name): entries wait to be written\(obstacle.map { " (\($0))" } ?? "")")
    }
    return try readWritten(question)
  }

  /// Runs a query on its own connection, on what is in the database.
  func readWritten<Answer>(_ question: (Database) throws -> Answer) throws -> Answer {
    do {
      if let memory { return try memory.read(question) }
      return try LedgerConnection.reader(location.name).read(question)
    } catch {
      throw LedgerError(error, at: location.name)
    }
  }
}
