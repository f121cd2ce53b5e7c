// A start writes what the journal has beyond the database, once, and presumes the rest.
import AdmissionCore
import Foundation
import GRDB
import LedgerVocabulary
import Testing

@testable import LedgerStore

@Suite struct LedgerReplayTests {
  private let place = Place()

  /// Leaves the files as a killed process does: some entries in the database, others in the journal only.
  private func leaveBehind(_ inDatabase: [LedgerEntry], _ beyond: [[LedgerEntry]]) throws {
    let store = try LedgerStore(.file(place.path()), now: Scene.start, onCommitted: { _ in })
    store.append(contentsOf: inDatabase)
    #expect(store.close() == 0)
    let journal = try Journal(path: place.path(), ledger: try mark("ledger"))
    var number = try mark("applied")
    #expect(number == UInt64(inDatabase.count))
    for entries in beyond {
      #expect(journal.append(EntryBatch(entries), first: number + 1) == nil)
      number += UInt64(entries.count)
    }
  }

  private func mark(_ name: String) throws -> UInt64 {
    let value = try DatabaseQueue(path: place.path()).read {
      try Int64.fetchOne($0, sql: "SELECT value FROM marks WHERE name = ?", arguments: [name])
    }
    return UInt64(bitPattern: value ?? 0)
  }

  private func reopened(_ check: (LedgerStore) throws -> Void) throws {
    let store = try LedgerStore(.file(place.path()), now: Scene.at(50), onCommitted: { _ in })
    try check(store)
    store.close()
  }

  private func count(_ store: LedgerStore, _ sql: String) throws -> Int? {
    try store.read { try Int.fetchOne($0, sql: sql) }
  }

  @Test func whatTheJournalHasBeyondTheDatabaseIsWrittenOnce() throws {
    try leaveBehind(
      [Scene.held(1), Scene.settled(1), Scene.concluded(1), Scene.held(2)],
      [[Scene.settled(2), Scene.concluded(2), Scene.held(3)], [Scene.settled(3), Scene.concluded(3), Scene.held(4)]])
    // The second start finds nothing more to do.
    for presumed in [1, 0] {
      try reopened { store in
        #expect(store.recovered.presumedAttempts == presumed)
        try #expect(count(store, "SELECT count(*) FROM attempts WHERE state = 1") == 3)
        try #expect(count(store, "SELECT count(*) FROM attempts WHERE state = 3") == 1)
        try #expect(count(store, "SELECT count(*) FROM requests") == 4)
        try #expect(count(store, "SELECT count(*) FROM changes") == 0)
      }
    }
  }

  @Test func aTransactionMayHaveEndedInsideAFrame() throws {
    try leaveBehind([Scene.held(1), Scene.settled(1), Scene.concluded(1)], [])
    let store = try LedgerStore(.file(place.path()), now: Scene.start, onCommitted: { _ in })
    store.close()
    let database = try DatabaseQueue(path: place.path())
    let ledger = try database.read { try Int64.fetchOne($0, sql: "SELECT value FROM marks WHERE name = 'ledger'") }
    let journal = try Journal(path: place.path(), ledger: UInt64(bitPattern: ledger ?? 0))
    // Numbers 2 and 3 are in the database, 4 to 6 are not.
    let frame = [
      Scene.settled(1), Scene.concluded(1), Scene.held(2), Scene.settled(2), Scene.concluded(2),
    ]
    #expect(journal.append(EntryBatch(frame), first: 2) == nil)
    try reopened { store in
      try #expect(count(store, "SELECT count(*) FROM attempts WHERE state = 1") == 2)
      try #expect(count(store, "SELECT count(*) FROM requests") == 2)
      try #expect(count(store, "SELECT count(*) FROM changes") == 0)
    }
  }

  private func keptAside() throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: place.directory).filter { $0.contains(".damaged-") }.sorted()
  }

  @Test func damageInTheJournalIsToldAndKeptAndWhatIsBehindItIsTakenUp() throws {
    try leaveBehind(
      Scene.call(1), [[Scene.held(2)], [Scene.settled(2), Scene.concluded(2)], Scene.call(3), Scene.call(4)])
    let file = URL(fileURLWithPath: Journal.name(place.path(), 0))
    var bytes = try Data(contentsOf: file)
    bytes[200] ^= 1
    try bytes.write(to: file)
    let frames = try Journal.contents(path: place.path(), ledger: mark("ledger"))
    let missing = 4 - frames.frames.filter { !$0.entries.isEmpty }.count
    #expect(missing == 1)
    try reopened { store in
      #expect(store.recovered.damage.contains { $0.contains("damaged bytes") && $0.contains("ahead-0") })
      #expect(store.recovered.damage.contains { $0.contains("are missing") })
      #expect(store.recovered.damage.contains { $0.contains("keeps") })
      try #expect(count(store, "SELECT count(*) FROM requests WHERE attempts = 1") ?? 0 >= 3)
      try #expect(
        count(store, "SELECT count(*) FROM changes WHERE state = 'damaged' AND subject = 'broker'")
          == store.recovered.damage.count)
    }
    try #expect(keptAside() == ["t.db.ahead-0.damaged-1"])
    try #expect(Data(contentsOf: URL(fileURLWithPath: place.path("t.db.ahead-0.damaged-1"))) == bytes)
    // The next start finds nothing: it is told once.
    try reopened { #expect($0.recovered.damage.isEmpty) }
    try #expect(keptAside().count == 1)
  }

  @Test func aDatabaseThatLostItsNewestTransactionsIsToldByTheJournal() throws {
    for isJournalEmpty in [true, false] {
      let place = Place()
      let store = try LedgerStore(.file(place.path()), now: Scene.start, onCommitted: { _ in })
      store.append(contentsOf: Scene.call(1) + Scene.call(2))
      try #expect(store.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM requests") } == 2)
      store.close()
      let database = try DatabaseQueue(path: place.path())
      // As a log leaves it in which a bit is another: everything since a checkpoint is gone, the mark too.
      try database.write {
        try $0.execute(sql: "DELETE FROM request_rows WHERE id = (SELECT max(id) FROM request_rows)")
        try $0.execute(sql: "UPDATE marks SET value = 3 WHERE name = 'applied'")
      }
      if !isJournalEmpty {
        let ledger = try database.read { try Int64.fetchOne($0, sql: "SELECT value FROM marks WHERE name = 'ledger'") }
        let journal = try Journal(path: place.path(), ledger: UInt64(bitPattern: try #require(ledger)))
        #expect(journal.append(EntryBatch(Scene.call(3)), first: 7) == nil)
      }
      try database.close()
      try Data("not empty".utf8).write(to: URL(fileURLWithPath: place.path("t.db-wal")))
      let again = try LedgerStore(.file(place.path()), now: Scene.at(50), onCommitted: { _ in })
      #expect(again.recovered.damage.contains { $0.contains("entries 4 to 6 are missing") }, "empty: \(isJournalEmpty)")
      try #expect(again.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM requests") } == (isJournalEmpty ? 1 : 2))
      again.append(contentsOf: Scene.call(9))
      again.close()
      let third = try LedgerStore(.file(place.path()), now: Scene.at(60), onCommitted: { _ in })
      #expect(third.recovered.damage.isEmpty)
      third.close()
    }
  }

  @Test func aJournalOfAnotherLedgerIsKeptAside() throws {
    try leaveBehind(Scene.call(1), [Scene.call(2)])
    for suffix in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: place.path() + suffix) }
    try reopened { store in
      #expect(store.recovered.damage.contains { $0.contains("entries of another ledger") })
      try #expect(count(store, "SELECT count(*) FROM requests") == 0)
    }
    try #expect(keptAside() == ["t.db.ahead-0.damaged-1"])
  }

  @Test func aLostJournalIsNoReasonToStop() throws {
    try leaveBehind([Scene.held(1)], [[Scene.settled(1)]])
    for index in 0..<2 { try FileManager.default.removeItem(atPath: Journal.name(place.path(), index)) }
    try reopened { store in #expect(store.recovered.presumedAttempts == 1) }
  }

  @Test func entriesAreSafeWhenAppendReturns() throws {
    var options = LedgerOptions()
    options.gatherTime = .seconds(1000)
    let store = try LedgerStore(.file(place.path()), options: options, now: Scene.start, onCommitted: { _ in })
    let entries = [Scene.held(1), Scene.settled(1), Scene.concluded(1)]
    #expect(store.handOver(EntryBatch(entries)) == LedgerReceipt(number: 3, safe: 3))
    let bytes = try Data(contentsOf: URL(fileURLWithPath: Journal.name(place.path(), 0)))
    #expect(!bytes.isEmpty)
    // A reader waits until the database has them, whatever the writer's leisure.
    try #expect(count(store, "SELECT count(*) FROM requests") == 1)
    store.close()
    let left = try Journal.contents(path: place.path(), ledger: mark("ledger")).frames
    #expect(left.map(\.next) == [4] && left.allSatisfy { $0.entries.isEmpty })
  }

  @Test func withFullDurabilityOnlyTheCommitCounts() throws {
    let watcher = Watcher()
    let store = try LedgerStore(
      .file(place.path()), durability: .full, now: Scene.start, onCommitted: { watcher.sawCommit($0) })
    #expect(!FileManager.default.fileExists(atPath: Journal.name(place.path(), 0)))
    let receipt = store.handOver(EntryBatch([Scene.held(1)]))
    #expect(receipt.number == 1)
    #expect(watcher.reached(1))
    store.close()
  }

  @Test func whereTheJournalCannotBeWrittenTheCommitCounts() throws {
    try FileManager.default.createSymbolicLink(
      atPath: Journal.name(place.path(), 0), withDestinationPath: "/dev/full")
    let watcher = Watcher()
    let store = try LedgerStore(.file(place.path()), now: Scene.start, onCommitted: { watcher.sawCommit($0) })
    let receipt = store.handOver(EntryBatch([Scene.held(1)]))
    #expect(receipt == LedgerReceipt(number: 1, safe: 0))
    #expect(watcher.reached(1))
    store.close()
  }
}
