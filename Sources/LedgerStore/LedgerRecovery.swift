// What a start does first: holds without an end count as spent at their estimate (`presumed`), and requests that had
// begun get their row. What was already posted does not change.
import AdmissionCore
import Foundation
import GRDB
import Pricing
import TextForms

public struct LedgerRecovery: Sendable, Equatable {
  /// Attempts whose end is unknown.
  public var presumedAttempts = 0
  /// The estimated cost of these attempts.
  public var presumedCost = Money.zero
  /// Requests that got their row at this start.
  public var concludedRequests = 0
  /// What is damaged or missing and which file keeps it, one sentence each.
  public var damage: [String] = []
  /// The number of journal entries that the database did not take.
  public var putAside = 0

  static func run(_ db: Database, now: WallInstant) throws -> LedgerRecovery {
    var recovery = LedgerRecovery()
    try db.inTransaction(.immediate) {
      let since = try Int64.fetchOne(db, sql: "SELECT value FROM marks WHERE name = 'unfinished_since'") ?? 0
      try giveRowsToLists(since, db)
      let open = try Row.fetchOne(
        db,
        sql: """
          SELECT count(*), CAST(min(total(\(LedgerAmount.cost("held"))), \(LedgerAmount.mostSum)) AS INTEGER), min(id)
          FROM attempt_rows WHERE state = 0
          """)
      recovery.presumedAttempts = open?[0] ?? 0
      recovery.presumedCost = Money(nanodollars: open?[1] ?? 0)
      if recovery.presumedAttempts > 0 { try presume(now, db) }
      recovery.concludedRequests = try conclude(from: min(since, open?[2] ?? since), db)
      try db.execute(
        sql: "INSERT INTO marks VALUES ('unfinished_since', ?) ON CONFLICT DO UPDATE SET value = excluded.value",
        arguments: [LedgerSchema.newestRow(db) + 1])
      return .commit
    }
    return recovery
  }

  /// Gives rows to new holds that have none, because their attempts had not ended.
  private static func giveRowsToLists(_ since: Int64, _ db: Database) throws {
    let lists = try Data.fetchAll(db, sql: "SELECT holds FROM new_holds ORDER BY id")
    guard !lists.isEmpty else { return }
    // No row of a listed attempt is older than the mark.
    var written = try AttemptKey.written(since: since, db)
    let insert = try db.makeStatement(
      sql: """
        INSERT INTO attempt_rows (id, request_high, request_low, attempt, state, series, held_at, reserved_input,
          reserved_output, held, prices) VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?)
        """)
    var last = try LedgerSchema.newestRow(db)
    for list in lists {
      for hold in OpenHold.all(of: list) {
        guard written.insert(hold.key).inserted else { continue }
        last = max(last + 1, LedgerSchema.firstRow(hold.at))
        try insert.execute(arguments: [
          last, Int64(bitPattern: hold.key.request.high), Int64(bitPattern: hold.key.request.low), hold.key.attempt,
          hold.series, hold.at, hold.reservedInput, hold.reservedOutput, hold.held >= 0 ? hold.held : nil, hold.prices,
        ])
      }
    }
    try db.execute(sql: "DELETE FROM new_holds")
  }

  private static func presume(_ now: WallInstant, _ db: Database) throws {
    try db.execute(
      sql: """
        UPDATE attempt_rows SET state = 3, ended_at = max(held_at, ?), verdict = ?, input_tokens = reserved_input,
          output_tokens = reserved_output, estimated = 1, cost = \(LedgerAmount.cost("held")),
          cost_source = CASE WHEN held IS NULL THEN ? ELSE ? END
        WHERE state = 0
        """,
      arguments: [
        now.nanoseconds, try word("presumed", db), try word(CostSource.unknown.rawValue, db),
        try word(CostSource.prices.rawValue, db),
      ])
  }

  /// Writes the rows of requests that had not ended although all their attempts are over. The row takes its facts from
  /// the last attempt, and its arrival in milliseconds from the request's id.
  private static func conclude(from since: Int64, _ db: Database) throws -> Int {
    var unfinished: [RequestID: (attempt: Int64, series: Int64, ended: Int64)] = [:]
    let attempts = try Row.fetchCursor(
      db, sql: "SELECT request_high, request_low, attempt, series, ended_at FROM attempt_rows WHERE id >= ?",
      arguments: [since])
    while let row = try attempts.next() {
      let request = RequestID(high: UInt64(bitPattern: row[0] as Int64), low: UInt64(bitPattern: row[1] as Int64))
      let attempt: Int64 = row[2]
      if unfinished[request].map({ attempt > $0.attempt }) ?? true { unfinished[request] = (attempt, row[3], row[4]) }
    }
    guard !unfinished.isEmpty else { return 0 }
    let requests = try EndedRow.fetchCursor(
      db, sql: "SELECT request_high, request_low FROM requests WHERE id >= ?",
      arguments: [since.saturatingSubtracting(margin)])
    while let row = try requests.next() { unfinished[row.request] = nil }
    let insert = try db.makeStatement(sql: "INSERT INTO request_rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, ?, 0, NULL)")
    let (outcome, reason) = (try word(Outcome.truncated.rawValue, db), try word("", db))
    var last = try LedgerSchema.newestRow(db)
    for (request, end) in unfinished.sorted(by: { $0.key < $1.key }) {
      last += 1
      let (high, low) = (Int64(bitPattern: request.high), Int64(bitPattern: request.low))
      let arrived = Int64(clamping: Int128(high >> 16) * 1_000_000)
      try insert.execute(arguments: [
        last, high, low, end.series, arrived, max(end.ended, arrived), outcome, reason, end.attempt,
      ])
    }
    return unfinished.count
  }

  /// Ten minutes, in ids: where a request's end was written before that of its last attempt, it was less than this
  /// before.
  private static let margin = LedgerSchema.firstRow(600_000_000_000)

  private static func word(_ text: String, _ db: Database) throws -> Int64 {
    if let known = try Int64.fetchOne(db, sql: "SELECT id FROM words WHERE text = ?", arguments: [text]) {
      return known
    }
    try db.execute(sql: "INSERT INTO words (text) VALUES (?)", arguments: [text])
    return db.lastInsertedRowID
  }
}

private struct EndedRow: DatabaseValueConvertible, StatementColumnConvertible {
  var request: RequestID

  init?(sqliteStatement: SQLiteStatement, index: CInt) {
    request = RequestID(
      high: UInt64(bitPattern: Int64(sqliteStatement: sqliteStatement, index: 0)),
      low: UInt64(bitPattern: Int64(sqliteStatement: sqliteStatement, index: 1)))
  }

  var databaseValue: DatabaseValue { 0.databaseValue }
  static func fromDatabaseValue(_ value: DatabaseValue) -> EndedRow? { nil }
}
