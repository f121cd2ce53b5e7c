// What a start does before anything else: holds without an end count as spent at their estimate (`presumed`), and requests that
// had begun get their row. What was posted before is left alone.
import AdmissionCore
import Foundation
import GRDB

public struct LedgerRecovery: Sendable, Equatable {
  /// Attempts whose end nobody heard of.
  public var presumedAttempts = 0
  /// What they are taken to have cost.
  public var presumedCost = Money.zero
  /// Requests that got their row now.
  public var concludedRequests = 0

  static func run(_ db: Database, now: WallInstant) throws -> LedgerRecovery {
    var recovery = LedgerRecovery()
    try db.inTransaction(.immediate) {
      let since = try Int64.fetchOne(db, sql: "SELECT value FROM marks WHERE name = 'unfinished_since'") ?? 0
      try giveRowsToLists(since, db)
      let open = try Row.fetchOne(
        db, sql: "SELECT count(*), coalesce(sum(held), 0), min(id) FROM attempts WHERE state = 0")
      recovery.presumedAttempts = open?[0] ?? 0
      recovery.presumedCost = Money(nanodollars: open?[1] ?? 0)
      if recovery.presumedAttempts > 0 { try presume(now, db) }
      recovery.concludedRequests = try conclude(from: min(since, open?[2] ?? since), db)
      try db.execute(
        sql: "INSERT INTO marks VALUES ('unfinished_since', ?) ON CONFLICT DO UPDATE SET value = excluded.value",
        arguments: [newest(db)])
      return .commit
    }
    return recovery
  }

  /// New holds that have no row: their attempts had not ended.
  private static func giveRowsToLists(_ since: Int64, _ db: Database) throws {
    let lists = try Data.fetchAll(db, sql: "SELECT holds FROM new_holds ORDER BY id")
    guard !lists.isEmpty else { return }
    // No row of a listed attempt is older than the mark.
    var written: Set<AttemptKey> = []
    let rows = try Row.fetchCursor(
      db, sql: "SELECT request_high, request_low, attempt FROM attempts WHERE id >= ?", arguments: [since])
    while let row = try rows.next() {
      written.insert(
        AttemptKey(
          request: RequestID(high: UInt64(bitPattern: row[0] as Int64), low: UInt64(bitPattern: row[1] as Int64)),
          attempt: row[2]))
    }
    let insert = try db.makeStatement(
      sql: """
        INSERT INTO attempts (id, request_high, request_low, attempt, state, series, held_at, reserved_input,
          reserved_output, held, prices) VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?)
        """)
    var last = try newest(db)
    for list in lists {
      let bytes = [UInt8](list)
      for start in stride(from: 0, to: bytes.count - OpenHold.size + 1, by: OpenHold.size) {
        let hold = OpenHold(bytes[start..<(start + OpenHold.size)])
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
        UPDATE attempts SET state = 3, ended_at = max(held_at, ?), verdict = ?, input_tokens = reserved_input,
          output_tokens = reserved_output, estimated = 1, cost = held,
          cost_source = CASE WHEN held IS NULL THEN ? ELSE ? END
        WHERE state = 0
        """,
      arguments: [
        now.nanoseconds, try word("presumed", db), try word(CostSource.unknown.rawValue, db),
        try word(CostSource.prices.rawValue, db),
      ])
  }

  /// Gives requests their row whose attempts are all over, and which had not come to their end. The last attempt stands for the
  /// request; its arrival is in its id, in milliseconds.
  private static func conclude(from since: Int64, _ db: Database) throws -> Int {
    try db.execute(
      sql: """
        INSERT INTO requests
        SELECT ? + row_number() OVER (ORDER BY id), request_high, request_low,
          series, (request_high >> 16) * 1000000, max(ended_at, (request_high >> 16) * 1000000), ?, ?, 0, attempt, 0, NULL
        FROM (
          SELECT *, max(attempt) FROM attempts WHERE id >= ? GROUP BY request_high, request_low
        )
        WHERE (request_high, request_low) NOT IN (
          SELECT request_high, request_low FROM requests WHERE id >= ?)
        """,
      arguments: [
        try newest(db), try word(Outcome.truncated.rawValue, db), try word("", db), since, since - hour,
      ])
    return db.changesCount
  }

  private static func newest(_ db: Database) throws -> Int64 {
    max(
      try Int64.fetchOne(db, sql: "SELECT max(id) FROM attempts") ?? 0,
      try Int64.fetchOne(db, sql: "SELECT max(id) FROM requests") ?? 0)
  }

  /// In ids: a request that had its end before its last attempt lies before it by less.
  private static let hour = LedgerSchema.firstRow(3_600_000_000_000)

  private static func word(_ text: String, _ db: Database) throws -> Int64 {
    if let known = try Int64.fetchOne(db, sql: "SELECT id FROM words WHERE text = ?", arguments: [text]) {
      return known
    }
    try db.execute(sql: "INSERT INTO words (text) VALUES (?)", arguments: [text])
    return db.lastInsertedRowID
  }
}
