// One entry that the database will never take stops nobody: it is put aside, told and counted, and all others are written.
import AdmissionCore
import Foundation
import GRDB
import LedgerVocabulary
import SharedState
import Testing

@testable import LedgerStore

@Suite struct EntryQuarantineTests {
  private let place = Place()

  /// A rule that breaks a call by its amount stands for whatever a damaged or foreign table refuses.
  private func refuse(_ what: String) throws {
    let store = try LedgerStore(.file(place.path()), now: Scene.start, onCommitted: { _ in })
    store.close()
    try DatabaseQueue(path: place.path()).write { try $0.execute(sql: what) }
  }

  @Test func aRefusedEntryIsPutAsideAndTheOthersAreWritten() throws {
    try refuse(
      "CREATE TRIGGER refusal BEFORE INSERT ON attempt_rows WHEN NEW.cost = 666 BEGIN SELECT RAISE(ABORT, 'refused'); END"
    )
    let watcher = Watcher()
    let store = try Scene.store(place.path(), watcher)
    var entries: [LedgerEntry] = []
    for number in 1...50 { entries += Scene.call(number, cost: number % 25 == 0 ? 666 : 10) }
    #expect(watcher.reached(store.append(contentsOf: entries)))
    #expect(watcher.reached(store.append(contentsOf: Scene.call(99, cost: 10))))
    #expect(store.putAside == 2)
    #expect(store.obstacle == nil)
    #expect(try store.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM attempts WHERE cost = 10") } == 49)
    #expect(try store.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM requests") } == 51)
    let told = try store.read { try String.fetchAll($0, sql: "SELECT name FROM changes WHERE state = 'put_aside'") }
    #expect(told.count == 2 && told.allSatisfy { $0.hasPrefix("end of ") })
    store.close()
    // Their holds are still open; the next start counts them at their estimate.
    let again = try Scene.store(place.path(), Watcher())
    #expect(again.recovered.presumedAttempts == 2)
    again.close()
  }

  /// Of two ends in one entry the one is refused: the other is written.
  @Test(arguments: [false, true]) func ofTwoEndsInOneEntryTheGoodOneIsWritten(isAttemptRefused: Bool) throws {
    try refuse(
      """
      CREATE TRIGGER both BEFORE INSERT ON calls WHEN NEW.cost = 666 BEGIN SELECT RAISE(ABORT, 'refused'); END;
      CREATE TRIGGER one BEFORE INSERT ON \(isAttemptRefused ? "attempt_rows" : "request_rows")
        BEGIN SELECT RAISE(ABORT, 'refused'); END;
      """)
    let watcher = Watcher()
    let store = try Scene.store(place.path(), watcher)
    var entries: [LedgerEntry] = []
    for number in 1...20 { entries += try Scene.shortCall(number, cost: number == 7 ? 666 : 10) }
    #expect(watcher.reached(store.append(contentsOf: entries)))
    #expect(store.putAside == 1 && store.obstacle == nil)
    #expect(watcher.reached(store.append(contentsOf: try Scene.shortCall(99, cost: 10))))
    func count(_ what: String) throws -> Int? {
      try store.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM \(what)") }
    }
    #expect(try count("calls") == 20)
    #expect(try count("attempts") == (isAttemptRefused ? 20 : 21))
    #expect(try count("requests") == (isAttemptRefused ? 21 : 20))
    let told = try store.read { try String.fetchAll($0, sql: "SELECT name FROM changes WHERE state = 'put_aside'") }
    #expect(told.count == 1 && told[0].hasPrefix(isAttemptRefused ? "end of " : "request "))
    store.close()
  }

  /// A bad entry splits the batch, and the disk is full behind it.
  @Test func whoTriesAgainWritesNothingTwice() throws {
    let queue = try DatabaseQueue()
    try LedgerSchema.migrate(queue, path: "t")
    try queue.writeWithoutTransaction { db in
      let isFull = Guarded(true)
      db.add(
        function: DatabaseFunction("trouble", argumentCount: 0) { _ in
          if isFull.withLock({ $0 }) { throw DatabaseError(resultCode: .SQLITE_FULL, message: "disk full") }
          return nil
        })
      try db.execute(
        sql: """
          CREATE TRIGGER refusal BEFORE INSERT ON attempt_rows WHEN NEW.cost = 666 BEGIN SELECT RAISE(ABORT, 'refused'); END;
          CREATE TRIGGER fullness BEFORE INSERT ON attempt_rows WHEN NEW.cost = 777 BEGIN SELECT trouble(); END;
          """)
      let writer = try EntryWriter(db, options: LedgerOptions(), after: nil)
      var entries: [LedgerEntry] = []
      for number in 1...40 {
        entries += Scene.call(number, cost: number == 10 ? 666 : number == 30 ? 777 : 1)
      }
      var unwritten = UnwrittenEntries([EntryBatch(entries)], through: 120)
      for attempt in 1...3 {
        #expect(throws: DatabaseError.self) { try writer.writeWhatFits(&unwritten, now: UInt64(attempt)) }
      }
      isFull.withLock { $0 = false }
      try writer.writeWhatFits(&unwritten, now: 4)
      #expect(unwritten.isEmpty)
      #expect(unwritten.putAside == 1)
      func count(_ what: String) throws -> Int? { try Int.fetchOne(db, sql: "SELECT count(*) FROM \(what)") }
      #expect(try count("attempts WHERE state = 1") == 39)
      #expect(try count("requests") == 40)
      #expect(try count("changes") == 1)
    }
  }

  /// Memory that is not what was coded: it ends no process, and its neighbours are written.
  @Test func bytesThatCannotBeReadArePutAsideAsAWhole() throws {
    let queue = try DatabaseQueue()
    try LedgerSchema.migrate(queue, path: "t")
    try queue.writeWithoutTransaction { db in
      let writer = try EntryWriter(db, options: LedgerOptions(), after: nil)
      var spoiled = EntryBatch(Scene.call(2))
      spoiled = EntryBatch(bytes: Array(spoiled.bytes.dropLast(3)) + [0xFF, 0xFF, 0xFF], count: spoiled.count)
      #expect(spoiled.readable() == nil)
      var unwritten = UnwrittenEntries([EntryBatch(Scene.call(1)), spoiled, EntryBatch(Scene.call(3))], through: 9)
      try writer.writeWhatFits(&unwritten, now: 1)
      #expect(unwritten.isEmpty)
      #expect(unwritten.putAside == 3)
      #expect(try Int.fetchOne(db, sql: "SELECT count(*) FROM requests") == 2)
      let told = try String.fetchAll(db, sql: "SELECT name FROM changes WHERE state = 'put_aside'")
      #expect(told == ["3 entries whose bytes cannot be read"])
    }
  }

  @Test func whereEvenTheNoteIsRefusedItIsCountedAndDropped() throws {
    try refuse("CREATE TRIGGER refusal BEFORE INSERT ON changes BEGIN SELECT RAISE(ABORT, 'refused'); END")
    let watcher = Watcher()
    let store = try Scene.store(place.path(), watcher)
    let change = LedgerEntry.changed(LedgerChange(at: Scene.at(0), subject: .key, name: "a/b", state: .disabled))
    #expect(watcher.reached(store.append(contentsOf: Scene.call(1) + [change] + Scene.call(2))))
    #expect(store.putAside == 1)
    #expect(try store.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM requests") } == 2)
    store.close()
  }

  @Test func aJournalWithARefusedEntryStarts() throws {
    try refuse(
      "CREATE TRIGGER refusal BEFORE INSERT ON request_rows WHEN NEW.status = 200 BEGIN SELECT RAISE(ABORT, 'refused'); END"
    )
    let ledger = try DatabaseQueue(path: place.path()).read {
      try Int64.fetchOne($0, sql: "SELECT value FROM marks WHERE name = 'ledger'")
    }
    let journal = try Journal(path: place.path(), ledger: UInt64(bitPattern: try #require(ledger)))
    #expect(journal.append(EntryBatch(Scene.call(1)), first: 1) == nil)
    let store = try Scene.store(place.path(), Watcher())
    #expect(store.recovered.putAside == 1)
    #expect(store.putAside == 1)
    #expect(try store.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM attempts WHERE state = 1") } == 1)
    store.close()
  }
}
