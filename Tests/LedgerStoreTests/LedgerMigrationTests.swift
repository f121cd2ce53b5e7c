// A ledger of version 0.1.0 is brought up to date: no figure changes, nothing is copied, and whoever is killed meanwhile leaves a file that
// starts again.
import AdmissionCore
import Foundation
import GRDB
import LedgerVocabulary
import Testing
import TextForms

@testable import LedgerStore

@Suite struct LedgerMigrationTests {
  private let place = Place()

  private func rows(_ sql: String, at path: String? = nil) throws -> [String] {
    try DatabaseQueue(path: path ?? place.path()).read { db in try Row.fetchAll(db, sql: sql).map { "\($0)" } }
  }

  /// What users ask of the tables and views that version 0.1.0 had.
  private static let questions = [
    "SELECT * FROM attempts ORDER BY id", "SELECT * FROM requests ORDER BY id", "SELECT * FROM attempt_log ORDER BY id",
    "SELECT * FROM request_log ORDER BY id",
    "SELECT state, count(*), sum(cost), sum(input_tokens) FROM attempts GROUP BY 1",
    "SELECT s.tenant, s.session, sum(a.cost), max(a.held_at) FROM attempts a JOIN series s ON s.id = a.series GROUP BY 1, 2",
    "SELECT outcome, count(*) FROM request_log GROUP BY 1", "SELECT * FROM words", "SELECT * FROM series",
  ]

  @Test func everyRowAndFigureIsWhatItWas() throws {
    try EarlierLedger.make(at: place.path(), withJournal: false)
    let before = try Self.questions.map { try rows($0) }
    #expect(before.allSatisfy { !$0.isEmpty })
    try LedgerConnection.writer(.file(place.path()), .batched).close()
    for (question, answer) in zip(Self.questions, before) {
      // Columns that came later stand at the end, and are empty for what was written before them.
      let now = try rows(question).map {
        $0.replacing(/\ cache_loss:NULL lost_by_waiting:NULL lost_tokens:NULL lost_(cost|nanousd):NULL\]$/, with: "]")
          .replacing(/\ agent:(NULL|"")\]$/, with: "]")
      }
      #expect(now == answer, "\(question)")
    }
    #expect(try rows("PRAGMA foreign_key_check").isEmpty)
    #expect(try rows("SELECT cost FROM pruned_sums") == ["[cost:70]"])
    let query = try UsageQuery(by: "tenant", since: "2026-01-01", until: "2027-12-31", bucket: nil, now: Scene.at(0))
    let total = try LedgerStore.usage(query, at: place.path()).total
    #expect((total.requests, total.attempts, total.nanodollars) == (8, 9, 35_000_021))
    #expect((total.inputTokens, total.outputTokens) == (13_300, 2_100))
  }

  /// The journal that version 0.1.0 left goes into the new tables, and its figures are those of its entries.
  @Test func whatTheEarlierJournalHasBeyondTheTablesIsWrittenOnce() throws {
    try EarlierLedger.make(at: place.path())
    var contents = Journal.Contents()
    let journal = [UInt8](try Data(contentsOf: EarlierLedger.file("ledger-0.1.0.ahead-0")))
    Journal.scan(journal, of: "a", ledger: EarlierLedger.number, into: &contents)
    let entries = contents.frames.flatMap(\.entries)
    let holds = entries.compactMap(\.hold)
    let ends = entries.compactMap(\.end)
    let open = holds.filter { hold in !ends.contains { $0.request == hold.request && $0.attempt == hold.attempt } }
    #expect(holds.count == ends.count + open.count && !open.isEmpty)
    // The second start finds nothing more to do.
    for presumed in [open.count, 0] {
      let store = try Scene.store(place.path(), Watcher())
      #expect(store.recovered.presumedAttempts == presumed && store.recovered.damage.isEmpty)
      let spent = try store.spending(since: [WallInstant(nanoseconds: 0)], now: Scene.at(60)).reduce(0) {
        $0 + $1.spent[0].nanodollars
      }
      let paid = ends.compactMap(\.cost) + open.compactMap(\.held)
      #expect(spent == paid.reduce(70) { $0 + $1.nanodollars })
      store.close()
      #expect(try rows("SELECT * FROM changes WHERE state <> 'started'").isEmpty)
      #expect(try rows("SELECT * FROM attempts").count == holds.count)
      #expect(
        try rows("SELECT DISTINCT request_low, request_high FROM requests").count == Set(holds.map(\.request)).count + 1
      )
      #expect(try rows("SELECT * FROM requests").count == Set(holds.map(\.request)).count + 1)
    }
  }

  /// No row is copied, so a large file takes no longer: what is written does not grow with it.
  @Test func aLargeFileIsNotCopied() throws {
    let sizes = try [1, 20_000].map { try Self.bytesWritten(whenMigrating: $0) }
    #expect(sizes[1].file > 2_000_000)
    #expect(sizes[1].written < 400_000 && sizes[1].written == sizes[0].written)
  }

  /// Of a ledger of version 0.1.0 with so many rows more.
  private static func bytesWritten(whenMigrating rows: Int) throws -> (file: Int, written: Int) {
    let place = Place()
    try EarlierLedger.make(at: place.path(), withJournal: false)
    let queue = try EarlierLedger.open(place.path())
    try queue.writeWithoutTransaction { db in
      for table in ["attempts", "requests"] {
        let columns = try db.columns(in: table).map(\.name)
        let values = columns.map { $0 == "id" ? "id + step.value" : $0 }
        try db.execute(
          sql: """
            WITH RECURSIVE step(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM step WHERE value < \(rows))
            INSERT INTO \(table) (\(columns.joined(separator: ", "))) SELECT \(values.joined(separator: ", "))
            FROM step, (SELECT * FROM \(table) ORDER BY id DESC LIMIT 1)
            """)
      }
      try db.execute(sql: "PRAGMA wal_checkpoint(TRUNCATE)")
    }
    func size(_ name: String) throws -> Int {
      try #require(try FileManager.default.attributesOfItem(atPath: place.path(name))[.size] as? Int)
    }
    let file = try size("t.db")
    try queue.close()
    let writer = try LedgerConnection.writer(.file(place.path()), .batched)
    defer { _ = writer }
    return (file, try size("t.db-wal"))
  }

  /// Killed before its commit, as far as it may have come: the files are as they were then.
  @Test func whoIsKilledMeanwhileStartsAgain() throws {
    try EarlierLedger.make(at: place.path())
    let before = try Self.questions.map { try rows($0) }
    let queue = try EarlierLedger.open(place.path())
    try queue.writeWithoutTransaction { db in
      // Pages go into the log before the commit.
      try db.execute(sql: "PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN IMMEDIATE")
      try db.execute(sql: LedgerSchema.oneRow)
      try db.execute(sql: "CREATE TABLE more (text TEXT)")
      try db.execute(
        sql: """
          WITH RECURSIVE step(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM step WHERE value < 200)
          INSERT INTO more SELECT hex(randomblob(2000)) FROM step
          """)
      for end in ["", "-wal", ".ahead-0"] {
        try FileManager.default.copyItem(atPath: place.path("t.db" + end), toPath: place.path("killed.db" + end))
      }
      try db.execute(sql: "ROLLBACK")
    }
    try queue.close()
    #expect(
      try #require(
        try FileManager.default.attributesOfItem(atPath: place.path("killed.db-wal"))[.size] as? Int) > 100_000)
    let killed = place.path("killed.db")
    for (question, answer) in zip(Self.questions, before) { #expect(try rows(question, at: killed) == answer) }
    let store = try Scene.store(killed, Watcher())
    #expect(store.recovered.damage.isEmpty && store.recovered.presumedAttempts > 0)
    store.close()
    #expect(try rows("SELECT * FROM attempts WHERE state IN (1, 2)", at: killed).count >= 9)
  }
}
