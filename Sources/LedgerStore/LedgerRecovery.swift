// What a start does before anything else: holds without an end count as spent at their estimate (`presumed`), and requests that
// had begun get their row. What was posted before is left alone.
import AdmissionCore
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
      let since = try Int64.fetchOne(db, sql: "SELECT value FROM marks WHERE name = 'open_since'") ?? Int64.min
      let open =
        try Row.fetchOne(
          db, sql: "SELECT count(*), coalesce(sum(held), 0) FROM attempts WHERE request_high >= ? AND state = 0",
          arguments: [since])
      recovery.presumedAttempts = open?[0] ?? 0
      recovery.presumedCost = Money(nanodollars: open?[1] ?? 0)
      if recovery.presumedAttempts > 0 {
        let source = try word(CostSource.prices.rawValue, db)
        let unknown = try word(CostSource.unknown.rawValue, db)
        let verdict = try word("presumed", db)
        try db.execute(
          sql: """
            UPDATE attempts SET state = 3, ended_at = max(held_at, ?), verdict = ?, input_tokens = reserved_input,
              output_tokens = reserved_output, estimated = 1, cost = held,
              cost_source = CASE WHEN held IS NULL THEN ? ELSE ? END
            WHERE request_high >= ? AND state = 0
            """, arguments: [now.nanoseconds, verdict, unknown, source, since])
      }
      let outcome = try word(Outcome.truncated.rawValue, db)
      let reason = try word("", db)
      // The last attempt stands for the request. Its arrival is in its id, in milliseconds.
      try db.execute(
        sql: """
          INSERT INTO requests
          SELECT request_high, request_low, series, (request_high >> 16) * 1000000,
            max(ended_at, (request_high >> 16) * 1000000), ?, ?, 0, attempt, 0, NULL
          FROM attempts AS a
          WHERE request_high >= ? AND NOT EXISTS (
              SELECT 1 FROM requests r WHERE r.request_high = a.request_high AND r.request_low = a.request_low)
            AND attempt = (
              SELECT max(attempt) FROM attempts l WHERE l.request_high = a.request_high AND l.request_low = a.request_low)
          """, arguments: [outcome, reason, since])
      recovery.concludedRequests = db.changesCount
      // Nothing is open now: the next start need not look at what lies before.
      let newest = try Int64.fetchOne(db, sql: "SELECT max(request_high) FROM attempts") ?? 0
      try db.execute(
        sql: "INSERT INTO marks VALUES ('open_since', ?) ON CONFLICT DO UPDATE SET value = excluded.value",
        arguments: [newest])
      return .commit
    }
    return recovery
  }

  private static func word(_ text: String, _ db: Database) throws -> Int64 {
    if let known = try Int64.fetchOne(db, sql: "SELECT id FROM words WHERE text = ?", arguments: [text]) {
      return known
    }
    try db.execute(sql: "INSERT INTO words (text) VALUES (?)", arguments: [text])
    return db.lastInsertedRowID
  }
}
