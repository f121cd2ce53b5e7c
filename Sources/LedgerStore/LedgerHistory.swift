// Answers what the ledger knows about the past, from the roll-ups and from the rows that these do not count yet.
//
// Promises: an answer is as of one commit and counts each row once. Sums are exact; percentiles are within 10 %. Series
// beyond `HistoryQuery.mostSeries` are summed as `other`.
import AdmissionCore
import GRDB
import LedgerVocabulary
import TextForms

extension LedgerStore {
  /// Makes the series, with everything that was appended before the call. Blocks this thread, but no other.
  /// - Throws: `LedgerError`.
  public func history(_ query: HistoryQuery) throws -> HistoryAnswer {
    try read { try HistoryReader(query, $0).answer }
  }

  /// True where the roll-ups have all rows that are in the database.
  public func isCounted() throws -> Bool {
    try readWritten { try RollUps.countedThrough($0) >= LedgerSchema.newestRow($0) }
  }
}

/// Reads one answer in one transaction.
struct HistoryReader {
  /// The longest span that is read row by row where the step is shorter than a slot.
  private static let mostRowTime: Int64 = 2 * UTCTime.hour

  private let query: HistoryQuery
  private let database: Database
  private let axis: HistoryAxis
  private var sums = HistorySums()
  private let sorts: Set<HistorySort>
  /// The outcomes' words by their numbers.
  private var words: [Int64: String] = [:]

  init(_ query: HistoryQuery, _ db: Database) throws {
    self.query = query
    database = db
    sorts = Set(query.metrics.map { HistorySort($0) })
    let span = query.until.nanoseconds.saturatingSubtracting(max(0, query.since.nanoseconds))
    let rowsAxis = HistoryAxis(query, step: query.step, unit: 1)
    if rowsAxis.step < RollUps.short, span <= HistoryReader.mostRowTime, try !HistoryReader.isPruned(rowsAxis.begin, db)
    {
      axis = rowsAxis
      try readRows(
        after: firstRow(axis.begin), attemptsAfter: firstRow(axis.begin.saturatingSubtracting(UTCTime.day)))
    } else {
      let short = HistoryAxis(query, step: max(query.step, RollUps.short), unit: RollUps.short)
      let isShort = try short.step % RollUps.long != 0 && !HistoryReader.isCutShort(short.begin, db)
      axis = isShort ? short : HistoryAxis(query, step: short.step, unit: RollUps.long)
      try readRollUps(length: isShort ? RollUps.short : RollUps.long)
      let counted = try RollUps.countedThrough(db)
      try readRows(after: max(counted, firstRow(axis.begin)), attemptsAfter: counted)
      try add(HistoryFact.lateAttempts("l.id > ?"), [0])
    }
    if sorts.contains(.calls) {
      for number in Set(sums.amounts.keys.filter { $0.sort == .calls }.map(\.part)) {
        words[number] = try String.fetchOne(db, sql: "SELECT text FROM words WHERE id = ?", arguments: [number])
      }
    }
  }

  // MARK: What there is

  /// True where rows that ended after this instant have been removed, and only roll-ups know them.
  private static func isPruned(_ nanoseconds: Int64, _ db: Database) throws -> Bool {
    try RollUps.prunedBefore(db) > nanoseconds
  }

  /// True where short slots after this instant have been removed, and only long ones know of that time.
  private static func isCutShort(_ nanoseconds: Int64, _ db: Database) throws -> Bool {
    try RollUps.prunedBefore(db) / UTCTime.hour > nanoseconds / UTCTime.hour
  }

  /// An id below those of all calls and requests that ended at this instant or later.
  private func firstRow(_ nanoseconds: Int64) -> Int64 { LedgerSchema.firstRow(nanoseconds) - 1 }

  // MARK: Reading

  private mutating func readRollUps(length: Int64) throws {
    let slots = axis.step / length
    for sort in sorts {
      let rows = try RollUpRow.fetchCursor(
        database,
        sql: """
          SELECT slot, label, part, amount FROM roll_ups WHERE sort = ? AND length = ? AND slot >= ? AND slot < ?
          """,
        arguments: [
          sort.rawValue, length, axis.first * slots, axis.end / (length * UTCTime.second),
        ])
      var labels: [Int64: Int64] = [0: 0]
      while let row = try rows.next() {
        var label = row.label
        if sort != .waits {
          label = try labels[row.label] ?? sums.label(word(row.label))
          labels[row.label] = label
        }
        sums.add(
          row.amount, HistorySums.Key(sort: sort, step: row.slot / slots - axis.first, label: label, part: row.part))
      }
    }
  }

  private func word(_ number: Int64) throws -> String {
    try String.fetchOne(
      database.cachedStatement(sql: "SELECT text FROM words WHERE id = ?"), arguments: [number]) ?? HistoryLabels.other
  }

  /// Adds the rows after an id. An attempt that was open for long may have an id from before its end.
  private mutating func readRows(after row: Int64, attemptsAfter attempt: Int64) throws {
    // Where a clock was ahead, rows have ids later than their ends.
    let last = LedgerSchema.firstRow(axis.end.saturatingAdding(UTCTime.day))
    let end = try LedgerSchema.idsAreAhead(of: last, database) ? LedgerSchema.damagedRow : last
    let range = "a.id > ? AND a.id < ?"
    try add(HistoryFact.calls(range), [row, end])
    try add(HistoryFact.requests(range), [row, end])
    try add(HistoryFact.attempts(range), [attempt, end])
  }

  private mutating func add(_ sql: String, _ arguments: StatementArguments) throws {
    let axis = axis
    try sums.add(sql, arguments, database, step: { axis.index($0) })
  }

  // MARK: The answer

  var answer: HistoryAnswer {
    HistoryAnswer(
      since: WallInstant(nanoseconds: axis.begin),
      until: WallInstant(nanoseconds: min(axis.end, max(query.until, query.now ?? query.until).nanoseconds)),
      step: axis.step, count: Int(axis.count),
      charts: query.metrics.map { HistoryChart(metric: $0, series: series(of: $0)) })
  }

  private func series(of metric: HistoryMetric) -> [HistorySeries] {
    switch metric {
    case .waitP50: waits(50)
    case .waitP95: waits(95)
    case .waitP99: waits(99)
    case .calls, .tokens, .refused, .cost: amounts(HistorySort(metric))
    }
  }

  private func waits(_ percent: Int64) -> [HistorySeries] {
    var counts: [Int64: [Int: WaitCounts]] = [:]
    for (key, amount) in sums.amounts where key.sort == .waits {
      counts[key.label, default: [:]][Int(key.step), default: WaitCounts()].add(amount, at: key.part)
    }
    return Priority.allCases.map { priority in
      let steps = counts[Int64(priority.rawValue), default: [:]]
      return HistorySeries(
        labels: [HistoryLabel("priority", priority.name)],
        points: .seconds((0..<Int(axis.count)).map { steps[$0]?.percentile(percent) }))
    }
  }

  /// A series by its numbers.
  private struct Line: Hashable {
    var label: Int64
    var part: Int64
  }

  private func amounts(_ sort: HistorySort) -> [HistorySeries] {
    let zeros = [Int64](repeating: 0, count: Int(axis.count))
    var lines: [Line: [Int64]] = [:]
    func add(_ amount: Int64, _ step: Int, _ line: Line) {
      lines[line, default: zeros][step] = lines[line, default: zeros][step].saturatingAdding(amount)
    }
    for (key, amount) in sums.amounts where key.sort == sort {
      add(amount, Int(key.step), Line(label: key.label, part: key.part))
    }
    let totals: [(line: Line, total: Int64, labels: [HistoryLabel])] = lines.map { line, amounts in
      (line, amounts.reduce(Int64(0)) { $0.saturatingAdding($1) }, labels(line, sort))
    }
    let rest = Line(label: 0, part: sort == .calls || sort == .tokens ? -1 : 0)
    var order = totals.filter { $0.line != rest }.sorted {
      ($1.total, $0.labels[0].value, $0.line.part) < ($0.total, $1.labels[0].value, $1.line.part)
    }.map { $0.line }
    let most = HistoryQuery.mostSeries - 1
    if order.count + (lines[rest] == nil ? 0 : 1) > HistoryQuery.mostSeries {
      for line in order[most...] {
        for (step, amount) in lines[line, default: zeros].enumerated() { add(amount, step, rest) }
      }
      order.removeSubrange(most...)
    }
    if lines[rest] != nil { order.append(rest) }
    return order.map { HistorySeries(labels: labels($0, sort), points: .amounts(lines[$0, default: zeros])) }
  }

  private func labels(_ line: Line, _ sort: HistorySort) -> [HistoryLabel] {
    let label = sums.labels.text(line.label)
    switch sort {
    case .waits: return []
    case .calls:
      return [HistoryLabel("provider", label), HistoryLabel("outcome", words[line.part] ?? HistoryLabels.other)]
    case .tokens:
      let type = TokenType(rawValue: line.part)?.label ?? HistoryLabels.other
      return [HistoryLabel("provider", label), HistoryLabel("type", type)]
    case .refused: return [HistoryLabel("provider", label)]
    case .cost: return [HistoryLabel("tenant", label)]
    }
  }
}

/// Four columns, read without boxing: thirty days have some hundred thousand rows.
private struct RollUpRow: DatabaseValueConvertible, StatementColumnConvertible {
  var slot: Int64
  var label: Int64
  var part: Int64
  var amount: Int64

  init?(sqliteStatement: SQLiteStatement, index: CInt) {
    slot = Int64(sqliteStatement: sqliteStatement, index: 0)
    label = Int64(sqliteStatement: sqliteStatement, index: 1)
    part = Int64(sqliteStatement: sqliteStatement, index: 2)
    amount = Int64(sqliteStatement: sqliteStatement, index: 3)
  }

  var databaseValue: DatabaseValue { slot.databaseValue }
  static func fromDatabaseValue(_ value: DatabaseValue) -> RollUpRow? { nil }
}
