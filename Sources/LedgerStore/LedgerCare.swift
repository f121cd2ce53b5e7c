// Maintenance of a ledger's file, with or without a running broker: removing old rows.
import AdmissionCore
import Foundation
import GRDB
import TextForms

public enum LedgerCare {
  /// The number of rows that are removed in one transaction, which then lasts a few milliseconds: less than a broker
  /// waits for its lock.
  static let step = 2000

  /// For how many hours sums are kept by the hour: longer than any budget window that has an end (a rolling one of 366
  /// days).
  static let keptHours: Int64 = 24 * 367

  /// Removes attempts, requests and changes that were written before this instant, and the roll-ups of single minutes.
  /// Their costs and tokens stay in the hourly sums of each tenant, client key and session, so that all budgets remain
  /// right, and in the roll-ups by the hour, so that charts do. Open holds stay. Attempts
  /// whose holds are still in a list stay for some seconds, because a start after a crash would take them for
  /// unfinished.
  /// - Returns: the number of removed attempts and requests.
  /// - Throws: `LedgerError`.
  public static func prune(_ path: String, before instant: WallInstant) throws -> (attempts: Int, requests: Int) {
    do {
      return try LedgerConnection.caretaker(path).writeWithoutTransaction { db in
        guard try LedgerSchema.migrator.hasCompletedMigrations(db) else {
          throw LedgerError(
            .unusable,
            "ledger \(path): an earlier tollgate has written it; start 'tollgate serve' with it once, which brings it up to date"
          )
        }
        return try prune(before: instant, db)
      }
    } catch {
      throw LedgerError(error, at: path)
    }
  }

  static func prune(before instant: WallInstant, _ db: Database) throws -> (attempts: Int, requests: Int) {
    // What is removed has been counted, also where it is written meanwhile.
    try RollUps.finish(db, most: step, before: LedgerSchema.firstRow(instant.nanoseconds))
    let end = min(LedgerSchema.firstRow(instant.nanoseconds), try RollUps.countedThrough(db) + 1)
    try RollUps.notePruning(before: instant, db)
    let apart = try remove(before: end, from: "attempt_rows", where: "a.state > 0 AND \(isNotListed)", db) { last in
      try RollUps.countLate(through: last, db)
      try addSums("attempt_rows a JOIN series s ON s.id = a.series", "a.state IN (1, 3) AND \(isNotListed)", last, db)
    }
    let requests = try remove(before: end, from: "request_rows", where: isNoRequestListed, db) { _ in }
    let calls = try remove(before: end, from: "calls", where: isNoRequestListed, db) { last in
      try addSums(
        "calls a JOIN endings e ON e.id = a.ending JOIN series s ON s.id = a.series",
        "e.state IN (1, 3) AND \(isNoRequestListed)", last, db)
    }
    try db.execute(sql: "DELETE FROM changes WHERE at < ?", arguments: [instant.nanoseconds])
    let hour = instant.nanoseconds / UTCTime.hour
    try foldOldSums(before: hour - keptHours, db)
    // Whole hours, so that of each hour all or none is known in detail.
    try RollUps.remove(length: RollUps.short, before: WallInstant(nanoseconds: hour * UTCTime.hour), db)
    try RollUps.remove(
      length: RollUps.long, before: WallInstant(nanoseconds: (hour - keptHours) * UTCTime.hour), db)
    return (apart + calls, requests + calls)
  }

  /// Removes rows in steps, each a transaction.
  /// - Parameters:
  ///   - end: the first row that stays in any case.
  ///   - condition: SQL about a row `a` that is true where it is removed.
  ///   - keep: called inside each transaction, before the rows up to its argument are removed.
  /// - Returns: how many rows were removed.
  private static func remove(
    before end: Int64, from table: String, where condition: String, _ db: Database, keeping keep: (Int64) throws -> Void
  ) throws -> Int {
    var all = 0
    var behind = Int64.min
    while true {
      var last: Int64?
      try db.inTransaction(.immediate) {
        try noteListed(db)
        last = try Int64.fetchOne(
          db,
          sql: "SELECT max(id) FROM (SELECT id FROM \(table) WHERE id > ? AND id < ? ORDER BY id LIMIT ?)",
          arguments: [behind, end, step])
        guard let last else { return .commit }
        try keep(last)
        try db.execute(sql: "DELETE FROM \(table) AS a WHERE id <= ? AND \(condition)", arguments: [last])
        all += db.changesCount
        return .commit
      }
      guard let last else { return all }
      behind = last
    }
  }

  /// Adds the costs and tokens of these rows' attempts to the sums, by the hour of their hold.
  private static func addSums(_ rows: String, _ condition: String, _ last: Int64, _ db: Database) throws {
    try db.execute(
      sql: """
        INSERT INTO pruned_sums (hour, tenant, client_key, session, attempts, cost, tokens)
        SELECT max(0, a.held_at) / \(UTCTime.hour), s.tenant, s.client_key, s.session, count(*),
          coalesce(sum(\(LedgerAmount.cost("a.cost"))), 0), sum(\(LedgerAmount.tokens(of: "a")))
        FROM \(rows)
        WHERE a.id <= ? AND \(condition) AND (a.cost > 0 OR \(LedgerAmount.tokens(of: "a")) > 0)
        GROUP BY 1, 2, 3, 4 \(addition)
        """, arguments: [last])
  }

  private static let isNotListed = """
    NOT EXISTS (SELECT 1 FROM temp.listed l
      WHERE l.request_high = a.request_high AND l.request_low = a.request_low AND l.attempt = a.attempt)
    """

  /// SQL: true where no hold of the request's attempts is in a list.
  private static let isNoRequestListed = """
    NOT EXISTS (SELECT 1 FROM temp.listed l WHERE l.request_high = a.request_high AND l.request_low = a.request_low)
    """

  /// Writes the attempts in the lists of new holds to a temporary table of this connection.
  private static func noteListed(_ db: Database) throws {
    try db.execute(
      sql: """
        CREATE TEMP TABLE IF NOT EXISTS listed (request_high, request_low, attempt,
          PRIMARY KEY (request_high, request_low, attempt)) WITHOUT ROWID;
        DELETE FROM temp.listed
        """)
    let insert = try db.makeStatement(sql: "INSERT OR IGNORE INTO temp.listed VALUES (?, ?, ?)")
    for list in try Data.fetchAll(db, sql: "SELECT holds FROM new_holds") {
      for hold in OpenHold.all(of: list) {
        let request = hold.key.request
        try insert.execute(arguments: [
          Int64(bitPattern: request.high), Int64(bitPattern: request.low), hold.key.attempt,
        ])
      }
    }
  }

  /// SQL that adds to a sum that already exists.
  private static let addition = """
    ON CONFLICT DO UPDATE SET attempts = attempts + excluded.attempts,
      cost = min(cost + excluded.cost, \(LedgerAmount.mostSum)), tokens = min(tokens + excluded.tokens, \(LedgerAmount.mostSum))
    """

  /// SQL for a sum that does not overflow.
  private static func total(_ column: String) -> String {
    "CAST(min(total(\(column)), \(LedgerAmount.mostSum)) AS INTEGER)"
  }

  /// Combines the sums of hours that are in no window any more to one for each caller.
  private static func foldOldSums(before hour: Int64, _ db: Database) throws {
    guard hour > 0 else { return }
    try db.inTransaction(.immediate) {
      try db.execute(
        sql: """
          INSERT INTO pruned_sums (hour, tenant, client_key, session, attempts, cost, tokens)
          SELECT -1, tenant, client_key, session, sum(attempts), \(total("cost")), \(total("tokens"))
          FROM pruned_sums WHERE hour >= 0 AND hour < ? GROUP BY 2, 3, 4 \(addition)
          """, arguments: [hour])
      try db.execute(sql: "DELETE FROM pruned_sums WHERE hour >= 0 AND hour < ?", arguments: [hour])
      return .commit
    }
  }
}
