// A start writes what the journal has beyond the database, once, and presumes the rest.
import AdmissionCore
import Foundation
import GRDB
import Testing

@testable import LedgerStore

@Suite struct LedgerReplayTests {
  private let place = Place()

  /// Leaves the files as a killed process does: some entries in the database, others in the journal only.
  private func leaveBehind(_ inDatabase: [LedgerEntry], _ beyond: [[LedgerEntry]]) throws {
    let store = try LedgerStore(.file(place.path()), now: Scene.start, onCommitted: { _ in })
    store.append(contentsOf: inDatabase)
    #expect(store.close() == 0)
    let database = try DatabaseQueue(path: place.path())
    func mark(_ name: String) throws -> UInt64 {
      let value = try database.read {
        try Int64.fetchOne($0, sql: "SELECT value FROM marks WHERE name = ?", arguments: [name])
      }
      return UInt64(bitPattern: value ?? 0)
    }
    let journal = try Journal(path: place.path(), ledger: try mark("ledger"))
    var number = try mark("applied")
    #expect(number == UInt64(inDatabase.count))
    for entries in beyond {
      #expect(journal.append(EntryBatch(entries), first: number + 1) == nil)
      number += UInt64(entries.count)
    }
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
    try #expect(Data(contentsOf: URL(fileURLWithPath: Journal.name(place.path(), 0))).isEmpty)
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
