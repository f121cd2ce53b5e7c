// The care of a ledger's file, while a broker writes it or without one: removing what is old, and copies.
import AdmissionCore
import Foundation
import GRDB
import TextForms

public enum LedgerCare {
  /// Rows that go in one transaction: it lasts a few milliseconds, less than a broker waits for its lock.
  static let step = 2000

  /// Hours for which sums are kept one by one: longer than any window of a budget that has an end (a rolling one of 366 days).
  static let keptHours: Int64 = 24 * 367

  /// Removes attempts, requests and changes that were written before this instant. What they cost and used stays in the sums of each tenant, client
  /// key and session, by the hour, so that all budgets hold. Open holds stay, and for some seconds attempts whose holds are still in a list: a start after a
  /// crash would take them for unfinished.
  /// - Returns: the number of removed attempts and requests.
  /// - Throws: `LedgerError`.
  public static func prune(_ path: String, before instant: WallInstant) throws -> (attempts: Int, requests: Int) {
    do {
      return try LedgerConnection.caretaker(path).writeWithoutTransaction { try prune(before: instant, $0) }
    } catch {
      throw LedgerError(error, at: path)
    }
  }

  static func prune(before instant: WallInstant, _ db: Database) throws -> (attempts: Int, requests: Int) {
    let end = LedgerSchema.firstRow(instant.nanoseconds)
    let apart = try remove(before: end, from: "attempt_rows", where: "a.state > 0 AND \(isNotListed)", db) { last in
      try addSums("attempt_rows a JOIN series s ON s.id = a.series", "a.state IN (1, 3) AND \(isNotListed)", last, db)
    }
    let requests = try remove(before: end, from: "request_rows", where: isNoRequestListed, db) { _ in }
    let calls = try remove(before: end, from: "calls", where: isNoRequestListed, db) { last in
      try addSums(
        "calls a JOIN endings e ON e.id = a.ending JOIN series s ON s.id = a.series",
        "e.state IN (1, 3) AND \(isNoRequestListed)", last, db)
    }
    try db.execute(sql: "DELETE FROM changes WHERE at < ?", arguments: [instant.nanoseconds])
    try foldOldSums(before: instant.nanoseconds / UTCTime.hour - keptHours, db)
    return (apart + calls, requests + calls)
  }

  /// Removes rows in steps, each a transaction.
  /// - Parameters:
  ///   - end: the first row that stays whatever it is.
  ///   - condition: SQL about a row `a`: whether it goes.
  ///   - keep: is called inside each transaction before the rows up to this one are removed.
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

  /// Adds what the attempts of these rows cost and used to the sums, by the hour of their hold.
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

  /// Of no attempt of the request is the hold in a list.
  private static let isNoRequestListed = """
    NOT EXISTS (SELECT 1 FROM temp.listed l WHERE l.request_high = a.request_high AND l.request_low = a.request_low)
    """

  /// Writes the attempts of the lists of new holds into a table of this connection's.
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

  /// SQL: what comes to a sum that is there already.
  private static let addition = """
    ON CONFLICT DO UPDATE SET attempts = attempts + excluded.attempts,
      cost = min(cost + excluded.cost, \(LedgerAmount.mostSum)), tokens = min(tokens + excluded.tokens, \(LedgerAmount.mostSum))
    """

  /// SQL: a sum that does not overflow.
  private static func total(_ column: String) -> String {
    "CAST(min(total(\(column)), \(LedgerAmount.mostSum)) AS INTEGER)"
  }

  /// Sums of hours that are in no window any more become one for each caller.
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

  /// Copies the ledger while it is written: the copy is whole, as of one commit, and needs no WAL beside it.
  /// - Parameter replaces: an existing file is replaced; otherwise it is refused.
  /// - Throws: `LedgerError`.
  public static func backup(_ path: String, to file: String, replaces: Bool) throws {
    guard URL(fileURLWithPath: path).standardizedFileURL != URL(fileURLWithPath: file).standardizedFileURL else {
      throw LedgerError(.wrongQuestion, "backup \(file): this is the ledger itself; give another file")
    }
    if !replaces, FileManager.default.fileExists(atPath: file) {
      throw LedgerError(.wrongQuestion, "backup \(file): the file exists; give another name, or --force to replace it")
    }
    // Beside the file first: a copy that breaks off leaves the old one alone.
    let unfinished = file + ".unfinished"
    do {
      try? FileManager.default.removeItem(atPath: unfinished)
      try LedgerConnection.checkDirectory(of: file)
      let source = try LedgerConnection.reader(path)
      let copy = try DatabaseQueue(path: unfinished)
      try source.backup(to: copy)
      try copy.writeWithoutTransaction { try $0.execute(sql: "PRAGMA journal_mode = DELETE") }
      try copy.close()
      guard rename(unfinished, file) == 0 else {
        throw LedgerError(.unusable, "backup \(file): \(String(cString: strerror(errno)))")
      }
    } catch {
      try? FileManager.default.removeItem(atPath: unfinished)
      throw LedgerError(error, at: path)
    }
  }
}
