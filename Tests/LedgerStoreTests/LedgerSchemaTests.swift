// The migrations: named by sentences, applied once, and the ids of rows and requests as text.
import AdmissionCore
import Foundation
import GRDB
import Testing

@testable import LedgerStore

@Suite struct LedgerSchemaTests {
  @Test func migrationsAreSentencesAndRunOnce() throws {
    #expect(LedgerSchema.migrator.migrations.allSatisfy { $0.contains(" ") && $0.first?.isLowercase == true })
    let queue = try DatabaseQueue()
    try LedgerSchema.migrate(queue, path: "t")
    try LedgerSchema.migrate(queue, path: "t")
    #expect(try queue.read { try Int.fetchOne($0, sql: "PRAGMA application_id") } == LedgerSchema.applicationID)
    #expect(try queue.read { try LedgerSchema.migrator.appliedMigrations($0) } == LedgerSchema.migrator.migrations)
  }

  @Test func sumsOfAnEarlierVersionStay() throws {
    let queue = try DatabaseQueue()
    try LedgerSchema.migrator.migrate(queue, upTo: "keep pruned sums by hour and session")
    try queue.write { try $0.execute(sql: "INSERT INTO pruned_sums VALUES (5, 't', 'k', 's', 3, 70)") }
    try LedgerSchema.migrator.migrate(queue)
    let row = try queue.read { try Row.fetchOne($0, sql: "SELECT hour, attempts, cost, tokens FROM pruned_sums") }
    #expect(row == ["hour": 5, "attempts": 3, "cost": 70, "tokens": 0])
  }

  @Test(
    arguments: [
      (0, 0, "00000000000000000000000000"), (UInt64.max >> 1, UInt64.max, "3ZZZZZZZZZZZZZZZZZZZZZZZZZ"),
      (0, 1, "00000000000000000000000001"), (1, 0, "0000000000000G000000000000"),
      (0, 1 << 63, "00000000000008000000000000"),
      (0x0192_3456_789A_BCDE, 0xF012_3456_789A_BCDE, "01J8T5CY4TQKFF04HMASW9NF6Y"),
    ] as [(UInt64, UInt64, String)])
  func requestIDsAreShownAsInHeaders(high: UInt64, low: UInt64, text: String) throws {
    let queue = try DatabaseQueue()
    try LedgerSchema.migrate(queue, path: "t")
    let shown = try queue.write { db in
      try db.execute(sql: "INSERT INTO words VALUES (1, 'w')")
      try db.execute(sql: "INSERT INTO series VALUES (1, 't', '', 's', '', '', 'm', 'low', '', '')")
      try db.execute(
        sql: "INSERT INTO request_rows VALUES (1, ?, ?, 1, 0, 0, 1, 1, 200, 0, 0, NULL)",
        arguments: [Int64(bitPattern: high), Int64(bitPattern: low)])
      return try String.fetchOne(db, sql: "SELECT request_id FROM request_log")
    }
    #expect(shown == text)
  }

  @Test func rowsBeginWithTheirTime() {
    #expect(LedgerSchema.firstRow(-1) == 0)
    #expect(LedgerSchema.firstRow(0) == 0)
    #expect(LedgerSchema.firstRow(999_999) == 0)
    #expect(LedgerSchema.firstRow(1_000_000) == 1 << 20)
  }
}
