// What a starting broker asks the ledger: what was spent in the windows of its budgets, and what the calls of the last
// minutes used of the limits.
import AdmissionCore
import GRDB
import TextForms

/// What one caller spent since each of the given instants.
public struct CallerSpending: Sendable, Equatable {
  public var tenant: TenantID
  public var clientKey: ClientKeyID?
  /// nil for rows that were pruned before sessions were kept.
  public var session: SessionID?
  /// One amount for each given instant, in the same order.
  public var spent: [Money]
  /// Input and output, and calls that were charged something.
  public var tokens: [Int64]
  public var requests: [Int64]
}

/// The sums for each instant.
private struct Spent {
  var cost: Int64 = 0
  var tokens: Int64 = 0
  var requests: Int64 = 0
  var isZero: Bool { cost == 0 && tokens == 0 && requests == 0 }

  static func + (left: Spent, right: Spent) -> Spent {
    Spent(
      cost: left.cost.saturatingAdding(right.cost), tokens: left.tokens.saturatingAdding(right.tokens),
      requests: left.requests.saturatingAdding(right.requests))
  }
}

/// Selects what had ended at a moment in the past. If the wall clock was ahead before that moment and has been right
/// since, some ends have times after the query.
public struct EndedBefore: Sendable {
  public var cut: WallInstant
  /// The wall clock, called on the thread that asks.
  public var clock: @Sendable () -> WallInstant

  public init(_ cut: WallInstant, clock: @escaping @Sendable () -> WallInstant) {
    self.cut = cut
    self.clock = clock
  }
}

extension LedgerStore {
  /// Attempts whose end is before the first or after the second value had ended at that moment. What the database shows
  /// from here on was written before the clock is read, so everything that has ended since is between the two.
  static func ends(_ past: EndedBefore?, _ db: Database) throws -> (before: Int64, after: Int64) {
    guard let past else { return (.max, .max) }
    _ = try Int64.fetchOne(db, sql: "SELECT max(id) FROM attempt_rows")
    return (past.cut.nanoseconds, past.clock().nanoseconds)
  }

  /// The posted and presumed costs since each of these instants, by the time of the hold. An instant of 0 or less means
  /// everything. Pruned rows are known by the hour, and such an hour counts completely. Makes one pass over the rows
  /// since the earliest instant.
  /// - Parameters:
  ///   - now: rows dated more than a minute after this instant, by a clock that was ahead, count only in the endless
  ///     window.
  ///   - past: counts only attempts that had ended then; the answer is complete, or the call throws.
  /// - Throws: `LedgerError`; of kind `locked` where `past` is given and earlier entries are not written yet.
  public func spending(since starts: [WallInstant], now: WallInstant, ended past: EndedBefore? = nil) throws
    -> [CallerSpending]
  {
    guard let first = starts.map(\.nanoseconds).min() else { return [] }
    let until = now.nanoseconds.saturatingAdding(60_000_000_000)
    func counts(_ at: Int64, since start: WallInstant) -> Bool {
      start.nanoseconds <= 0 || (at >= start.nanoseconds && at < until)
    }
    return try read(isWhole: past != nil) { db in
      let ends = try LedgerStore.ends(past, db)
      let places = SeriesPlaces(try Int64.fetchAll(db, sql: "SELECT id FROM series"))
      var sums = [Spent](repeating: Spent(), count: places.count * starts.count)
      let rows = try PaidRow.fetchCursor(
        db,
        sql:
          """
          SELECT series, held_at, coalesce(\(LedgerAmount.cost("cost")), 0) AS paid, \(LedgerAmount.tokens()) AS used FROM attempts
          WHERE id >= ? AND held_at >= ? AND (ended_at < ? OR ended_at > ?) AND (paid > 0 OR used > 0) AND state IN (1, 3)
          """,
        arguments: [LedgerSchema.firstRow(first), first, ends.before, ends.after])
      while let row = try rows.next() {
        guard let place = places[row.series] else { continue }
        let base = place * starts.count
        for (index, start) in starts.enumerated() where counts(row.at, since: start) {
          sums[base + index] = sums[base + index] + row.spent
        }
      }
      var callers: [Caller: [Spent]] = [:]
      let series = try Row.fetchCursor(db, sql: "SELECT id, tenant, client_key, session FROM series")
      while let row = try series.next() {
        guard let place = places[row[0]] else { continue }
        let base = place * starts.count
        let spent = sums[base..<(base + starts.count)]
        guard spent.contains(where: { !$0.isZero }) else { continue }
        let caller = Caller(tenant: row[1], clientKey: row[2], session: row[3])
        callers[caller] = callers[caller].map { zip($0, spent).map(+) } ?? Array(spent)
      }
      let pruned = try Row.fetchCursor(
        db, sql: "SELECT hour, tenant, client_key, session, cost, tokens, attempts FROM pruned_sums WHERE hour >= ?",
        arguments: [first <= 0 ? -1 : first / UTCTime.hour])
      while let row = try pruned.next() {
        let hour: Int64 = row[0]
        let known = Spent(cost: row[4], tokens: row[5], requests: row[6])
        let session: String = row[3]
        let caller = Caller(
          tenant: row[1], clientKey: row[2], session: hour < 0 && session.isEmpty ? nil : session)
        var spent = callers[caller] ?? Array(repeating: Spent(), count: starts.count)
        // The hour counts where any part of it is in the window.
        let begin = hour < 0 ? Int64.min : hour * UTCTime.hour
        let end = hour < 0 ? Int64.min : begin + UTCTime.hour
        for (index, start) in starts.enumerated()
        where start.nanoseconds <= 0 || (end > start.nanoseconds && begin < until) {
          spent[index] = spent[index] + known
        }
        callers[caller] = spent
      }
      return callers.map { caller, spent in
        CallerSpending(
          tenant: TenantID(caller.tenant), clientKey: caller.clientKey.isEmpty ? nil : ClientKeyID(caller.clientKey),
          session: caller.session.map { SessionID($0) }, spent: spent.map { Money(nanodollars: $0.cost) },
          tokens: spent.map(\.tokens), requests: spent.map(\.requests))
      }
    }
  }

  private static let mostPastAttempts = 100_000

  /// The attempts that were sent within the last `span`, oldest first; the newest 100,000 at most.
  public func pastAttempts(now: WallInstant, within span: Span = .seconds(120)) throws -> [PastAttempt] {
    let since = now.nanoseconds.saturatingSubtracting(span.nanoseconds)
    return try read { db in
      // One table after the other, newest rows first: with the view, SQLite would sort all rows.
      let rows = try ["attempt_rows a", "calls a JOIN endings e ON e.id = a.ending"].flatMap { table in
        try SentRow.fetchAll(
          db,
          sql: """
            SELECT request_high, request_low, held_at, series, input_tokens, cache_read_tokens, cache_write_tokens,
              output_tokens, reasoning_tokens, estimated
            FROM \(table) WHERE a.id >= ? AND held_at >= ? AND held_at <= ? AND state IN (1, 3)
            ORDER BY a.id DESC LIMIT \(LedgerStore.mostPastAttempts)
            """, arguments: [LedgerSchema.firstRow(since), since, now.nanoseconds])
      }.sorted { $0.at < $1.at }.suffix(LedgerStore.mostPastAttempts)
      var series: [Int64: (tenant: TenantID, provider: ProviderID, key: KeyID?, model: String)] = [:]
      let find = try db.makeStatement(sql: "SELECT tenant, provider, key, model FROM series WHERE id = ?")
      for number in Set(rows.map(\.series)) {
        guard let row = try Row.fetchOne(find, arguments: [number]) else { continue }
        let key: String = row[2]
        series[number] = (
          TenantID(row[0] as String), ProviderID(row[1] as String), key.isEmpty ? nil : KeyID(key), row[3]
        )
      }
      return rows.compactMap { row in
        guard let names = series[row.series] else { return nil }
        return PastAttempt(
          request: row.request, age: Span(nanoseconds: now.nanoseconds.saturatingSubtracting(row.at)),
          tenant: names.tenant,
          provider: names.provider, key: names.key, model: names.model, usage: row.usage)
      }
    }
  }

  /// The smallest first half of a request id for an arrival at this instant.
  static func requestHigh(_ nanoseconds: Int64) -> Int64 {
    nanoseconds <= 0 ? Int64.min : (nanoseconds / 1_000_000) << 16
  }
}

/// The positions of series in a flat table of sums, which for a million additions is several times faster than a
/// dictionary. Series are numbered from 1 without gaps; where a damaged file has gaps, they are looked up.
private struct SeriesPlaces {
  let count: Int
  private var others: [Int64: Int] = [:]

  init(_ numbers: [Int64]) {
    let most = 2 * numbers.count + 1024
    let isDense = numbers.allSatisfy { (0..<Int64(most)).contains($0) }
    count = isDense ? most : numbers.count
    guard !isDense else { return }
    for (place, number) in numbers.enumerated() { others[number] = place }
  }

  /// nil where there is no such series.
  subscript(_ number: Int64) -> Int? {
    guard others.isEmpty else { return others[number] }
    return (0..<Int64(count)).contains(number) ? Int(number) : nil
  }
}

private struct Caller: Hashable {
  var tenant: String
  var clientKey: String
  var session: String?
}

/// Three columns that are read together: an array or a dictionary for each of a million rows would take most of the
/// time of a start.
private struct PaidRow: DatabaseValueConvertible, StatementColumnConvertible {
  var series: Int64
  var at: Int64
  var spent: Spent

  init?(sqliteStatement: SQLiteStatement, index: CInt) {
    series = Int64(sqliteStatement: sqliteStatement, index: 0)
    at = Int64(sqliteStatement: sqliteStatement, index: 1)
    spent = Spent(
      cost: Int64(sqliteStatement: sqliteStatement, index: 2),
      tokens: Int64(sqliteStatement: sqliteStatement, index: 3),
      requests: 1)
  }

  var databaseValue: DatabaseValue { spent.cost.databaseValue }
  static func fromDatabaseValue(_ value: DatabaseValue) -> PaidRow? { nil }
}

private struct SentRow: DatabaseValueConvertible, StatementColumnConvertible {
  var request: RequestID
  var at: Int64
  var series: Int64
  var usage: Usage

  init?(sqliteStatement: SQLiteStatement, index: CInt) {
    func column(_ index: CInt) -> Int64 { Int64(sqliteStatement: sqliteStatement, index: index) }
    request = RequestID(high: UInt64(bitPattern: column(0)), low: UInt64(bitPattern: column(1)))
    at = column(2)
    series = column(3)
    func tokens(_ index: CInt) -> TokenCount { TokenCount(column(index)) }
    usage = Usage(
      inputTokens: tokens(4), cacheReadTokens: tokens(5), cacheWriteTokens: tokens(6), outputTokens: tokens(7),
      reasoningTokens: tokens(8), isEstimated: column(9) == 1)
  }

  var databaseValue: DatabaseValue { at.databaseValue }
  static func fromDatabaseValue(_ value: DatabaseValue) -> SentRow? { nil }
}
