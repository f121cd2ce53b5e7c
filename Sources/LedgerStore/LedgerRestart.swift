// What a starting broker asks the books: what was spent in the windows of its budgets, and what the last minutes used of the limits.
import AdmissionCore
import GRDB

/// What one caller spent, in each of the stretches that were asked for.
public struct CallerSpending: Sendable, Equatable {
  public var tenant: TenantID
  public var clientKey: ClientKeyID?
  /// nil for what was pruned: its sessions are forgotten.
  public var session: SessionID?
  /// One for each asked instant, in its order.
  public var spent: [Money]
}

extension LedgerStore {
  /// Posted and presumed costs since each of these instants, counted by the time of the hold. An instant of 0 or less means
  /// everything, pruned years too. One pass over the rows since the earliest.
  public func spending(since starts: [WallInstant]) throws -> [CallerSpending] {
    guard let first = starts.map(\.nanoseconds).min() else { return [] }
    return try read { db in
      var sums: [Int64: [Int64]] = [:]
      let rows = try PaidRow.fetchCursor(
        db,
        sql: """
          SELECT series, held_at, cost FROM attempts
          WHERE id >= ? AND held_at >= ? AND state IN (1, 3) AND cost > 0
          """, arguments: [LedgerSchema.firstRow(first), first])
      while let row = try rows.next() {
        for (index, start) in starts.enumerated() where row.at >= start.nanoseconds {
          sums[row.series, default: [Int64](repeating: 0, count: starts.count)][index] += row.cost
        }
      }
      var callers: [Caller: [Int64]] = [:]
      let series = try Row.fetchCursor(db, sql: "SELECT id, tenant, client_key, session FROM series")
      while let row = try series.next() {
        guard let spent = sums[row[0]] else { continue }
        let caller = Caller(tenant: row[1], clientKey: row[2], session: row[3])
        callers[caller] = callers[caller].map { zip($0, spent).map(+) } ?? spent
      }
      if first <= 0 {
        let pruned = try Row.fetchCursor(db, sql: "SELECT tenant, client_key, cost FROM pruned_spending")
        while let row = try pruned.next() {
          let cost: Int64 = row[2]
          callers[Caller(tenant: row[0], clientKey: row[1], session: nil)] = starts.map {
            $0.nanoseconds <= 0 ? cost : 0
          }
        }
      }
      return callers.map { caller, spent in
        CallerSpending(
          tenant: TenantID(caller.tenant), clientKey: caller.clientKey.isEmpty ? nil : ClientKeyID(caller.clientKey),
          session: caller.session.map { SessionID($0) }, spent: spent.map { Money(nanodollars: $0) })
      }
    }
  }

  /// The attempts that were sent within the last `span`, oldest first; at most 100,000.
  public func pastAttempts(now: WallInstant, within span: Span = .seconds(120)) throws -> [PastAttempt] {
    let since = now.nanoseconds - span.nanoseconds
    return try read { db in
      let rows = try Row.fetchCursor(
        db,
        sql: """
          SELECT a.request_high, a.request_low, a.held_at, s.tenant, s.provider, s.key, s.model, a.input_tokens,
            a.cache_read_tokens, a.cache_write_tokens, a.output_tokens, a.reasoning_tokens, a.estimated
          FROM attempts a JOIN series s ON s.id = a.series
          WHERE a.id >= ? AND a.held_at >= ? AND a.held_at <= ? AND a.state IN (1, 3)
          ORDER BY a.held_at LIMIT 100000
          """,
        arguments: [LedgerSchema.firstRow(since), since, now.nanoseconds])
      var attempts: [PastAttempt] = []
      while let row = try rows.next() {
        let key: String = row[5]
        attempts.append(
          PastAttempt(
            request: RequestID(
              high: UInt64(bitPattern: row[0] as Int64), low: UInt64(bitPattern: row[1] as Int64)),
            age: Span(nanoseconds: now.nanoseconds - (row[2] as Int64)), tenant: TenantID(row[3] as String),
            provider: ProviderID(row[4] as String), key: key.isEmpty ? nil : KeyID(key), model: row[6],
            usage: Usage(
              inputTokens: row[7], cacheReadTokens: row[8], cacheWriteTokens: row[9], outputTokens: row[10],
              reasoningTokens: row[11], isEstimated: (row[12] as Int64) == 1)))
      }
      return attempts
    }
  }

  /// The least first half of the id of a request that arrived at this instant.
  static func requestHigh(_ nanoseconds: Int64) -> Int64 {
    nanoseconds <= 0 ? Int64.min : (nanoseconds / 1_000_000) << 16
  }
}

private struct Caller: Hashable {
  var tenant: String
  var clientKey: String
  var session: String?
}

/// Three columns read at once: an array or a dictionary for each of a million rows would take most of a start.
private struct PaidRow: DatabaseValueConvertible, StatementColumnConvertible {
  var series: Int64
  var at: Int64
  var cost: Int64

  init?(sqliteStatement: SQLiteStatement, index: CInt) {
    series = Int64(sqliteStatement: sqliteStatement, index: 0)
    at = Int64(sqliteStatement: sqliteStatement, index: 1)
    cost = Int64(sqliteStatement: sqliteStatement, index: 2)
  }

  var databaseValue: DatabaseValue { cost.databaseValue }
  static func fromDatabaseValue(_ value: DatabaseValue) -> PaidRow? { nil }
}
