// What was used and spent, summed by the dimensions of a query: exact whole numbers, and a total that is the sum of the
// rows.
//
// A request counts at the time of its arrival, and so do its attempts: a report by hour never splits a call. Tokens and costs are
// those of posted and presumed attempts, by the provider and key of each attempt; requests count where their last attempt went.
import AdmissionCore
import GRDB
import TextForms

/// A dimension by which a report is summed.
public enum UsageDimension: String, Sendable, CaseIterable {
  case tenant, session, agent, model, provider, key, priority, kind, day, hour
  case clientKey = "client_key"
  /// Why a prompt cache was not read.
  case cache
}

/// A checked query.
public struct UsageQuery: Sendable, Equatable {
  public var by: [UsageDimension]
  public var since: WallInstant
  /// The end, which is not included.
  public var until: WallInstant
  /// Only this tenant's rows; nil for all.
  public var tenant: String?
  /// True where the query names no end: then rows dated after `until`, by a clock that was ahead, are included too.
  public var hasOpenEnd = false

  public init(by: [UsageDimension], since: WallInstant, until: WallInstant, tenant: String? = nil) {
    self.by = by
    self.since = since
    self.until = until
    self.tenant = tenant
  }

  /// Reads the texts of a command line or a query string; nil means the default: by tenant and model, the last 24
  /// hours.
  /// - Parameters:
  ///   - bucket: `hour` or `day`, as if it were first in `by`.
  /// - Throws: `LedgerError` of kind `wrongQuestion`, which says what is allowed.
  public init(by: String?, since: String?, until: String?, bucket: String?, now: WallInstant) throws {
    var dimensions: [UsageDimension] = []
    if let bucket, !bucket.isEmpty {
      guard bucket == "hour" || bucket == "day", let dimension = UsageDimension(rawValue: bucket) else {
        throw LedgerError(.wrongQuestion, "bucket: found '\(bucket)', allowed are hour and day")
      }
      dimensions.append(dimension)
    }
    for name in (by ?? "tenant,model").split(separator: ",", omittingEmptySubsequences: true) {
      let trimmed = name.filter { $0 != " " }
      guard let dimension = UsageDimension(rawValue: trimmed) else {
        let allowed = UsageDimension.allCases.map(\.rawValue).joined(separator: ", ")
        throw LedgerError(.wrongQuestion, "by: found '\(trimmed)', allowed are \(allowed)")
      }
      if !dimensions.contains(dimension) { dimensions.append(dimension) }
    }
    func instant(_ field: String, _ text: String?, _ other: WallInstant) throws -> WallInstant {
      guard let text, !text.isEmpty else { return other }
      guard let instant = UTCTime.instant(text, now: now) else {
        throw LedgerError(
          .wrongQuestion,
          "\(field): found '\(text)', allowed are a duration such as 24h or 7d, a date such as 2026-11-21, and RFC 3339"
        )
      }
      return instant
    }
    self.by = dimensions
    // A millisecond later, so that requests of the current millisecond are included.
    self.until = try instant("until", until, WallInstant(nanoseconds: now.nanoseconds.saturatingAdding(1_000_000)))
    hasOpenEnd = until?.isEmpty ?? true
    self.since = try instant(
      "since", since, WallInstant(nanoseconds: now.nanoseconds.saturatingSubtracting(UTCTime.day)))
    if self.since > self.until { throw LedgerError(.wrongQuestion, "since: it is later than until") }
  }
}

/// The sums of one row or of all rows.
public struct UsageSums: Sendable, Equatable {
  public var requests: Int64 = 0
  public var attempts: Int64 = 0
  /// Attempts whose end is unknown, charged at their estimate.
  public var presumed: Int64 = 0
  /// Attempts whose tokens were counted from bytes.
  public var estimated: Int64 = 0
  /// Attempts with tokens and without a price.
  public var unpriced: Int64 = 0
  public var inputTokens: Int64 = 0
  public var cacheReadTokens: Int64 = 0
  public var cacheWriteTokens: Int64 = 0
  public var outputTokens: Int64 = 0
  public var reasoningTokens: Int64 = 0
  public var nanodollars: Int64 = 0
  /// What was lost because a prompt cache was not read: tokens, and what they cost more; and the part of both that expired
  /// because calls waited here. Summed only for reports by `cache`.
  public var lostTokens: Int64 = 0
  public var lostNanodollars: Int64 = 0
  public var waitingTokens: Int64 = 0
  public var waitingNanodollars: Int64 = 0
  public init() {}

  /// Sums saturate, because ledgers of an earlier version may contain impossible numbers.
  mutating func add(_ other: UsageSums) {
    requests = requests.saturatingAdding(other.requests)
    attempts = attempts.saturatingAdding(other.attempts)
    presumed = presumed.saturatingAdding(other.presumed)
    estimated = estimated.saturatingAdding(other.estimated)
    unpriced = unpriced.saturatingAdding(other.unpriced)
    inputTokens = inputTokens.saturatingAdding(other.inputTokens)
    cacheReadTokens = cacheReadTokens.saturatingAdding(other.cacheReadTokens)
    cacheWriteTokens = cacheWriteTokens.saturatingAdding(other.cacheWriteTokens)
    outputTokens = outputTokens.saturatingAdding(other.outputTokens)
    reasoningTokens = reasoningTokens.saturatingAdding(other.reasoningTokens)
    nanodollars = nanodollars.saturatingAdding(other.nanodollars)
    lostTokens = lostTokens.saturatingAdding(other.lostTokens)
    lostNanodollars = lostNanodollars.saturatingAdding(other.lostNanodollars)
    waitingTokens = waitingTokens.saturatingAdding(other.waitingTokens)
    waitingNanodollars = waitingNanodollars.saturatingAdding(other.waitingNanodollars)
  }
}

public struct UsageReport: Sendable, Equatable {
  public struct Row: Sendable, Equatable {
    /// One label for each of the query's dimensions, in the same order; empty where there is none.
    public var labels: [String]
    public var sums: UsageSums
  }
  public var query: UsageQuery
  /// The rows, sorted by their labels.
  public var rows: [Row]
  public var total: UsageSums
  /// Entries of the running broker that could not be written yet, so that the report lacks them.
  public var pending = 0
}

extension LedgerStore {
  /// Makes the report. Blocks this thread for about half a second per million rows, but no other thread.
  public func usage(_ query: UsageQuery) throws -> UsageReport {
    let isWhole = settle()
    let pending = isWhole ? 0 : pending
    var report = try readWritten { try UsageReport.make(query, $0) }
    report.pending = pending
    return report
  }

  /// Makes the report from a file that no store of this process has open, without blocking the broker that writes it.
  public static func usage(_ query: UsageQuery, at path: String) throws -> UsageReport {
    do {
      return try LedgerConnection.reader(path).read { try UsageReport.make(query, $0) }
    } catch {
      throw LedgerError(error, at: path)
    }
  }
}

extension UsageReport {
  private struct Group: Hashable {
    var series: Int64
    var bucket: Int64
    /// The number of the word that says why a cache was not read; 0 for none, and where that is not asked for.
    var loss: Int64 = 0
  }

  static func make(_ query: UsageQuery, _ db: Database) throws -> UsageReport {
    let bucket =
      query.by.contains(.hour)
      ? UTCTime.hour / 1_000_000 : query.by.contains(.day) ? UTCTime.day / 1_000_000 : Int64.max
    let (since, until) = (
      query.since.nanoseconds / 1_000_000, query.hasOpenEnd ? Int64.max : query.until.nanoseconds / 1_000_000
    )
    // The time in a row's id is never before the row's time, and more than a day after it only where a clock was ahead.
    let lastRow = LedgerSchema.firstRow(min(query.until.nanoseconds, Int64.max - UTCTime.day) + UTCTime.day)
    let areAhead = query.hasOpenEnd ? true : try LedgerSchema.idsAreAhead(of: lastRow, db)
    let span: StatementArguments = [
      LedgerSchema.firstRow(query.since.nanoseconds), areAhead ? Int64.max : lastRow,
      query.since.nanoseconds <= 0 ? Int64.min : since, until,
    ]
    func losses(_ ending: String, _ row: String) -> String {
      guard query.by.contains(.cache) else { return "0, 0, 0, 0" }
      return "coalesce(\(ending)cache_loss, 0), coalesce(\(ending)lost_by_waiting, 0), coalesce(\(row)lost_tokens, 0), "
        + "coalesce(\(row)lost_cost, 0)"
    }
    var sums: [Group: UsageSums] = [:]
    let attempts = try UsedRow.fetchCursor(
      db,
      sql: """
        SELECT series, \(arrival(of: "held_at")) AS arrived, state, estimated, coalesce(cost, -1), input_tokens,
          cache_read_tokens, cache_write_tokens, output_tokens, reasoning_tokens, \(losses("", ""))
        FROM attempt_rows WHERE id BETWEEN ? AND ? AND arrived >= ? AND arrived < ? AND state > 0
        """, arguments: span)
    while let row = try attempts.next() {
      sums[Group(series: row.series, bucket: row.arrived / bucket, loss: row.loss), default: UsageSums()].add(row.sums)
    }
    // Each row contains a request and an attempt, and is read once.
    let calls = try UsedRow.fetchCursor(
      db,
      sql: """
        SELECT c.series, \(arrival(of: "c.arrived_at")) AS arrived, e.state, e.estimated, coalesce(c.cost, -1),
          c.input_tokens, c.cache_read_tokens, c.cache_write_tokens, c.output_tokens, c.reasoning_tokens,
          \(losses("e.", "c."))
        FROM calls c JOIN endings e ON e.id = c.ending WHERE c.id BETWEEN ? AND ? AND arrived >= ? AND arrived < ?
        """, arguments: span)
    while let row = try calls.next() {
      var both = row.sums
      both.requests = 1
      sums[Group(series: row.series, bucket: row.arrived / bucket, loss: row.loss), default: UsageSums()].add(both)
    }
    let requests = try RequestRow.fetchCursor(
      db,
      sql: """
        SELECT series, \(arrival(of: "arrived_at")) AS arrived FROM request_rows
        WHERE id BETWEEN ? AND ? AND arrived >= ? AND arrived < ?
        """,
      arguments: span)
    while let row = try requests.next() {
      sums[Group(series: row.series, bucket: row.arrived / bucket), default: UsageSums()].requests += 1
    }
    return try labelled(sums, query, db)
  }

  /// SQL for the arrival of a row's request in milliseconds: the time in the request's id, which all its rows share.
  /// Where that time is after the row's own time, the clock had been ahead and ids did not go back with it: then the
  /// row's own time is right.
  private static func arrival(of column: String) -> String {
    "CASE WHEN (request_high >> 16) > \(column) / 1000000 + 60000 THEN \(column) / 1000000 ELSE request_high >> 16 END"
  }

  /// The words of the reasons why caches were not read.
  private static func reasons(of sums: [Group: UsageSums], _ db: Database) throws -> [Int64: String] {
    var reasons: [Int64: String] = [:]
    for number in Set(sums.keys.map(\.loss)) where number != 0 {
      reasons[number] = try String.fetchOne(db, sql: "SELECT text FROM words WHERE id = ?", arguments: [number])
    }
    return reasons
  }

  /// Combines series that differ only in dimensions that were not asked for to one row.
  private static func labelled(_ sums: [Group: UsageSums], _ query: UsageQuery, _ db: Database) throws -> UsageReport {
    var bySeries: [Int64: [(group: Group, sums: UsageSums)]] = [:]
    for (group, sums) in sums { bySeries[group.series, default: []].append((group, sums)) }
    let reasons = try reasons(of: sums, db)
    var rows: [[String]: UsageSums] = [:]
    var total = UsageSums()
    let series = try GRDB.Row.fetchCursor(
      db, sql: "SELECT id, tenant, session, model, provider, key, priority, kind, client_key, agent FROM series")
    while let row = try series.next() {
      guard let parts = bySeries[row[0]] else { continue }
      let tenant: String = row[1]
      if let only = query.tenant, only != tenant { continue }
      for part in parts {
        let labels = query.by.map { dimension -> String in
          switch dimension {
          case .tenant: tenant
          case .session: row[2]
          case .model: row[3]
          case .provider: row[4]
          case .key: row[5]
          case .priority: row[6]
          case .kind: row[7]
          case .clientKey: row[8]
          case .agent: row[9]
          case .day:
            UTCTime.date(query.by.contains(.hour) ? part.group.bucket / 24 : part.group.bucket)
          case .hour: UTCTime.text(WallInstant(nanoseconds: part.group.bucket * UTCTime.hour))
          case .cache: reasons[part.group.loss] ?? ""
          }
        }
        rows[labels, default: UsageSums()].add(part.sums)
        total.add(part.sums)
      }
    }
    return UsageReport(
      query: query,
      rows: rows.map { Row(labels: $0, sums: $1) }.sorted { $0.labels.lexicographicallyPrecedes($1.labels) },
      total: total)
  }
}

/// Limits the numbers of a row to what can be true: the ledger of version 0.1.0 took any amount that a provider named.
/// Every reader uses these bounds: reports, budgets and the sums of pruned rows.
enum LedgerAmount {
  /// The highest cost of an attempt, in nano-dollars.
  static let mostCost = Money.mostPerAttempt.nanodollars
  /// The highest stored sum: two of them, and a step of rows, still fit into 64 bits.
  static let mostSum: Int64 = 3_000_000_000_000_000_000

  static func cost(_ nanodollars: Int64) -> Int64 { min(max(0, nanodollars), mostCost) }

  /// SQL for the cost of an attempt; null where it has none.
  static func cost(_ column: String) -> String { "min(max(\(column), 0), \(mostCost))" }

  /// SQL for the input and output of an attempt together.
  static func tokens(of table: String = "attempts") -> String {
    "(min(max(\(table).input_tokens, 0), \(TokenCount.most)) + min(max(\(table).output_tokens, 0), \(TokenCount.most)))"
  }
}

/// The summed columns of an attempt, read without boxing, since a report reads millions of rows.
private struct UsedRow: DatabaseValueConvertible, StatementColumnConvertible {
  var series: Int64
  /// Milliseconds since 1970.
  var arrived: Int64
  /// The number of the word that says why a cache was not read; 0 for none.
  var loss: Int64
  var sums = UsageSums()

  init?(sqliteStatement: SQLiteStatement, index: CInt) {
    func column(_ index: CInt) -> Int64 { Int64(sqliteStatement: sqliteStatement, index: index) }
    series = column(0)
    arrived = column(1)
    let state = AttemptState(rawValue: column(2))
    sums.attempts = 1
    sums.presumed = state == .presumed ? 1 : 0
    sums.estimated = column(3) == 0 ? 0 : 1
    let cost = column(4)
    sums.unpriced = cost < 0 && state != .void ? 1 : 0
    sums.nanodollars = LedgerAmount.cost(cost)
    sums.inputTokens = TokenCount(column(5)).value
    sums.cacheReadTokens = TokenCount(column(6)).value
    sums.cacheWriteTokens = TokenCount(column(7)).value
    sums.outputTokens = TokenCount(column(8)).value
    sums.reasoningTokens = TokenCount(column(9)).value
    loss = column(10)
    sums.lostTokens = TokenCount(column(12)).value
    sums.lostNanodollars = LedgerAmount.cost(column(13))
    guard column(11) != 0 else { return }
    sums.waitingTokens = sums.lostTokens
    sums.waitingNanodollars = sums.lostNanodollars
  }

  var databaseValue: DatabaseValue { series.databaseValue }
  static func fromDatabaseValue(_ value: DatabaseValue) -> UsedRow? { nil }
}

private struct RequestRow: DatabaseValueConvertible, StatementColumnConvertible {
  var series: Int64
  /// Milliseconds since 1970.
  var arrived: Int64

  init?(sqliteStatement: SQLiteStatement, index: CInt) {
    series = Int64(sqliteStatement: sqliteStatement, index: 0)
    arrived = Int64(sqliteStatement: sqliteStatement, index: 1)
  }

  var databaseValue: DatabaseValue { series.databaseValue }
  static func fromDatabaseValue(_ value: DatabaseValue) -> RequestRow? { nil }
}
