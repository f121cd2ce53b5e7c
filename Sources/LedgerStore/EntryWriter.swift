// Writes entries as rows: prepared statements, numbers bound one by one, and words and series by number.
//
// Promises: `write` puts a list of entries into one transaction, or nothing of it; an end without its hold is told, not dropped.
// Used on one thread, with one connection. Rows go through SQLite's own calls on GRDB's statements: a list of arguments would cost
// more than the row (docs/decisions/2026-11-21-ledger-layout.md).
import AdmissionCore
import Foundation
import GRDB
import GRDBSQLite

/// What attempts and requests of one caller have in common. Absent names are empty.
struct Series: Hashable {
  var tenant: String
  var clientKey: String
  var session: String
  var provider: String
  var key: String
  var model: String
  var priority: Priority
  var kind: String

  init(_ hold: AttemptHold) {
    tenant = hold.tenant.name
    clientKey = hold.clientKey?.name ?? ""
    session = hold.session.name
    provider = hold.provider.name
    key = hold.key?.name ?? ""
    model = hold.model
    priority = hold.priority
    kind = hold.kind ?? ""
  }

  init(_ end: RequestEnd) {
    tenant = end.tenant.name
    clientKey = end.clientKey?.name ?? ""
    session = end.session.name
    provider = end.provider?.name ?? ""
    key = end.key?.name ?? ""
    model = end.model
    priority = end.priority
    kind = end.kind ?? ""
  }

  /// Equal series have equal sessions and models; hashing the rest as well would only cost.
  func hash(into hasher: inout Hasher) {
    hasher.combine(session)
    hasher.combine(model)
  }
}

/// What the states in `attempts.state` mean.
enum AttemptState: Int64 {
  case held = 0
  case posted = 1
  case void = 2
  case presumed = 3
}

final class EntryWriter {
  /// Series and words that are remembered by number; past that they are looked up again.
  static let seriesLimit = 20_000
  static let wordsLimit = 5_000
  private let database: Database
  private let listTime: UInt64
  private let housekeepingInterval: UInt64
  private let begin: Statement
  private let commit: Statement
  private let insertHold: Statement
  private let insertAttempt: Statement
  private let updateAttempt: Statement
  private let insertRequest: Statement
  private let insertChange: Statement
  private let insertHolds: Statement
  private let deleteHolds: Statement
  private let findSeries: Statement
  private let insertSeries: Statement
  private let insertWord: Statement
  private let writeMark: Statement
  private let writeApplied: Statement

  private var series: [Series: Int64] = [:]
  private var words: [String: Int64] = [:]
  /// The newest word of each column: mostly the next one too, and comparing costs less than hashing.
  private var newest = [(text: String, number: Int64)](repeating: ("", 0), count: Column.allCases.count)
  private enum Column: Int, CaseIterable {
    case holdPrices, endPrices, verdict, costSource, serviceTier, outcome, reason
  }
  private var open = OpenHolds()
  private var fresh: [AttemptKey] = []
  private var bytes: [UInt8] = []
  private var rows: RowNumbers
  /// Lists of holds that are still in the database, oldest first: which, since when, and the newest attempt when it was written.
  private var lists: [(id: Int64, since: UInt64, row: Int64)] = []
  private var lastHousekeeping: UInt64 = 0
  /// While a start writes what the journal has: requests that an earlier process left open are looked for afterwards, from the mark on
  /// that it left.
  private var isReplaying = false

  /// The last ids that were given out; attempts and requests share theirs, so that of two rows the later has the larger.
  private struct RowNumbers {
    var last: Int64
    var list: Int64

    mutating func next(at nanoseconds: Int64) -> Int64 {
      last = max(last + 1, LedgerSchema.firstRow(nanoseconds))
      return last
    }
  }

  /// - Parameter earlier: the writer that this one takes over from, where its connection failed; not where the file is another.
  init(_ db: Database, options: LedgerOptions, after earlier: EntryWriter?) throws {
    database = db
    listTime = options.listTime.wholeNanoseconds
    housekeepingInterval = options.housekeepingInterval.wholeNanoseconds
    begin = try db.makeStatement(sql: "BEGIN IMMEDIATE")
    commit = try db.makeStatement(sql: "COMMIT")
    insertHold = try db.makeStatement(
      sql: """
        INSERT INTO attempts (id, request_high, request_low, attempt, state, series, held_at, reserved_input,
          reserved_output, held, prices) VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?)
        """)
    insertAttempt = try db.makeStatement(
      sql: """
        INSERT INTO attempts (ended_at, state, prices, verdict, cost_source, cost, input_tokens, output_tokens,
          cache_read_tokens, status, reasoning_tokens, cache_write_tokens, cache_write_hour_tokens, audio_ms, estimated,
          service_tier, id, request_high, request_low, attempt, series, held_at, reserved_input, reserved_output, held)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        """)
    updateAttempt = try db.makeStatement(
      sql: """
        UPDATE attempts SET ended_at = ?, state = ?, prices = ?, verdict = ?, cost_source = ?, cost = ?,
          input_tokens = ?, output_tokens = ?, cache_read_tokens = ?, status = ?, reasoning_tokens = ?,
          cache_write_tokens = ?, cache_write_hour_tokens = ?, audio_ms = ?, estimated = ?, service_tier = ?
        WHERE id = ? AND state = 0
        """)
    insertRequest = try db.makeStatement(sql: "INSERT INTO requests VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
    insertChange = try db.makeStatement(
      sql: """
        INSERT INTO changes (at, subject, name, state, reason, asked_by, amount, until) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
        """)
    insertHolds = try db.makeStatement(sql: "INSERT INTO new_holds (id, holds) VALUES (?, ?)")
    deleteHolds = try db.makeStatement(sql: "DELETE FROM new_holds WHERE id <= ?")
    findSeries = try db.makeStatement(
      sql: """
        SELECT id FROM series WHERE session = ? AND model = ? AND provider = ? AND key = ? AND tenant = ?
          AND client_key = ? AND priority = ? AND kind = ?
        """)
    insertSeries = try db.makeStatement(
      sql: """
        INSERT INTO series (session, model, provider, key, tenant, client_key, priority, kind)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)
        """)
    insertWord = try db.makeStatement(sql: "INSERT INTO words (text) VALUES (?)")
    writeMark = try db.makeStatement(
      sql: "INSERT INTO marks VALUES ('unfinished_since', ?) ON CONFLICT DO UPDATE SET value = excluded.value")
    writeApplied = try db.makeStatement(
      sql: "INSERT INTO marks VALUES ('applied', ?) ON CONFLICT DO UPDATE SET value = excluded.value")
    func last(_ table: String) throws -> Int64 { try Int64.fetchOne(db, sql: "SELECT max(id) FROM \(table)") ?? 0 }
    rows = RowNumbers(last: max(try last("attempts"), try last("requests")), list: try last("new_holds"))
    if let earlier {
      open = earlier.open
      lists = earlier.lists
      rows.list = max(rows.list, earlier.rows.list)
    }
    try loadWords()
  }

  private func loadWords() throws {
    words = [:]
    for row in try Row.fetchAll(
      database, sql: "SELECT id, text FROM words LIMIT ?", arguments: [EntryWriter.wordsLimit])
    {
      words[row[1]] = row[0]
    }
  }

  /// Writes all of them in one transaction. Where it throws, nothing is written, and `rolledBack` must be called.
  /// - Parameters:
  ///   - now: nanoseconds of a monotonic clock.
  ///   - number: the journal's number of the last entry; noted in the same transaction.
  /// - Returns: the entries that fit nothing in the books: ends without an open hold.
  func write(_ lists: [[LedgerEntry]], now: UInt64, through number: UInt64) throws -> [LedgerEntry] {
    let before = (rows, self.lists)
    fresh.removeAll(keepingCapacity: true)
    var strays: [LedgerEntry] = []
    do {
      try run(begin)
      for entries in lists {
        for entry in entries {
          switch entry {
          case .held(let hold): try write(hold)
          case .settled(let end): if try !write(end) { strays.append(entry) }
          case .concluded(let end): try write(end)
          case .changed(let change): try write(change)
          }
        }
      }
      try writeFreshHolds(now)
      if now &- lastHousekeeping >= housekeepingInterval { try keepHouse(now) }
      sqlite3_bind_int64(writeApplied.sqliteStatement, 1, Int64(bitPattern: number))
      try step(writeApplied.sqliteStatement)
      try run(commit)
    } catch {
      (rows, self.lists) = before
      open.rolledBack()
      series.removeAll()
      words.removeAll()
      for index in newest.indices { newest[index].number = 0 }
      throw error
    }
    open.committed()
    return strays
  }

  /// Takes over what an earlier process left open, for ends of which the journal tells.
  func takeUpOpenHolds() throws {
    isReplaying = true
    let names = try Row.fetchAll(database, sql: "SELECT id, provider, key, model FROM series")
    let series = Dictionary(uniqueKeysWithValues: names.map { ($0[0] as Int64, $0) })
    func takeUp(_ hold: OpenHold) {
      guard let names = series[hold.series] else { return }
      let key: String = names[2]
      open.takeUp(
        hold,
        OpenHolds.Begun(
          series: hold.series, provider: ProviderID(names[1] as String), key: key.isEmpty ? nil : KeyID(key),
          model: names[3], firstRow: hold.row == 0 ? .max : hold.row))
    }
    let written = try writtenAttempts()
    for row in try Row.fetchAll(database, sql: "SELECT id, holds FROM new_holds ORDER BY id") {
      let bytes = [UInt8](row[1] as Data)
      for start in stride(from: 0, to: bytes.count - OpenHold.size + 1, by: OpenHold.size) {
        var hold = OpenHold(bytes[start..<(start + OpenHold.size)])
        hold.list = row[0]
        if !written.contains(hold.key) { takeUp(hold) }
      }
      lists.append((row[0], 0, rows.last))
    }
    for row in try Row.fetchAll(
      database,
      sql: """
        SELECT request_high, request_low, attempt, series, held_at, reserved_input, reserved_output,
          coalesce(held, -1), prices, id FROM attempts WHERE state = 0
        """)
    {
      var bytes: [UInt8] = []
      for column in 0..<9 { OpenHold.append(row[column] as Int64, to: &bytes) }
      var hold = OpenHold(bytes[...])
      hold.row = row[9]
      takeUp(hold)
    }
  }

  /// Attempts that have their row, from the mark on: no row of a listed hold is older. One pass; a search for each hold would take
  /// a start minutes after a crash under load.
  private func writtenAttempts() throws -> Set<AttemptKey> {
    var written: Set<AttemptKey> = []
    let rows = try Row.fetchCursor(
      database,
      sql: """
        SELECT request_high, request_low, attempt FROM attempts
        WHERE id >= (SELECT coalesce(max(value), 0) FROM marks WHERE name = 'unfinished_since')
        """)
    while let row = try rows.next() {
      written.insert(
        AttemptKey(
          request: RequestID(high: UInt64(bitPattern: row[0] as Int64), low: UInt64(bitPattern: row[1] as Int64)),
          attempt: row[2]))
    }
    return written
  }

  // MARK: Holds

  private func write(_ hold: AttemptHold) throws {
    let open = OpenHold(
      hold, series: try number(of: Series(hold)), prices: try number(of: hold.priceVersion, .holdPrices),
      list: rows.list + 1)
    self.open.insert(open, hold)
    fresh.append(open.key)
  }

  /// The holds of this transaction that it did not end itself.
  private func writeFreshHolds(_ now: UInt64) throws {
    bytes.removeAll(keepingCapacity: true)
    for key in fresh { open.holds[key]?.append(to: &bytes) }
    guard !bytes.isEmpty else { return }
    rows.list += 1
    let statement = insertHolds.sqliteStatement
    sqlite3_bind_int64(statement, 1, rows.list)
    _ = Data(bytes).bind(to: statement, at: 2)
    try step(statement)
    lists.append((rows.list, now, rows.last))
  }

  /// Gives rows to holds that stayed open, deletes their lists, and remembers from where on a start after a crash must look.
  private func keepHouse(_ now: UInt64) throws {
    lastHousekeeping = now
    let old = lists.prefix { now &- $0.since >= listTime }
    if let last = old.last {
      // What younger lists hold is left to them.
      for hold in open.holds.values.filter({ $0.row == 0 && $0.list <= last.id }) { try giveRow(hold) }
      sqlite3_bind_int64(deleteHolds.sqliteStatement, 1, last.id)
      try step(deleteHolds.sqliteStatement)
      lists.removeFirst(old.count)
    }
    try remember()
  }

  /// From where on a start after a crash must look: before it nothing is open, and no request is without its row.
  private func remember() throws {
    guard !isReplaying else { return }
    let mark = open.begun.values.reduce(lists.first?.row ?? rows.last + 1) { min($0, $1.firstRow) }
    sqlite3_bind_int64(writeMark.sqliteStatement, 1, mark)
    try step(writeMark.sqliteStatement)
  }

  /// At an orderly end: where nothing is open, the next start has nothing to look for.
  func finish() throws {
    guard open.holds.isEmpty, open.begun.isEmpty else { return }
    sqlite3_bind_int64(deleteHolds.sqliteStatement, 1, rows.list)
    try step(deleteHolds.sqliteStatement)
    lists.removeAll()
    try remember()
  }

  private func giveRow(_ hold: OpenHold) throws {
    let row = rows.next(at: hold.at)
    let statement = insertHold.sqliteStatement
    sqlite3_bind_int64(statement, 1, row)
    sqlite3_bind_int64(statement, 2, Int64(bitPattern: hold.key.request.high))
    sqlite3_bind_int64(statement, 3, Int64(bitPattern: hold.key.request.low))
    sqlite3_bind_int64(statement, 4, hold.key.attempt)
    sqlite3_bind_int64(statement, 5, hold.series)
    sqlite3_bind_int64(statement, 6, hold.at)
    sqlite3_bind_int64(statement, 7, hold.reservedInput)
    sqlite3_bind_int64(statement, 8, hold.reservedOutput)
    bind(statement, 9, hold.held >= 0 ? hold.held : nil)
    sqlite3_bind_int64(statement, 10, hold.prices)
    try step(statement)
    open.gave(row: row, to: hold.key)
  }

  // MARK: Ends

  /// False where there is no open hold for it.
  private func write(_ end: AttemptEnd) throws -> Bool {
    guard let hold = open.end(AttemptKey(request: end.request, attempt: Int64(end.attempt))) else { return false }
    let statement = (hold.row == 0 ? insertAttempt : updateAttempt).sqliteStatement
    sqlite3_bind_int64(statement, 1, end.at.nanoseconds)
    sqlite3_bind_int64(statement, 2, (end.wasSent ? AttemptState.posted : .void).rawValue)
    sqlite3_bind_int64(statement, 3, try number(of: end.priceVersion, .endPrices))
    sqlite3_bind_int64(statement, 4, try number(of: end.verdict, .verdict))
    sqlite3_bind_int64(statement, 5, try number(of: end.costSource.rawValue, .costSource))
    bind(statement, 6, end.cost.map { max(0, $0.nanodollars) })
    sqlite3_bind_int64(statement, 7, max(0, end.usage.inputTokens))
    sqlite3_bind_int64(statement, 8, max(0, end.usage.outputTokens))
    sqlite3_bind_int64(statement, 9, max(0, end.usage.cacheReadTokens))
    bind(statement, 10, end.status.map { Int64($0) })
    sqlite3_bind_int64(statement, 11, max(0, end.usage.reasoningTokens))
    sqlite3_bind_int64(statement, 12, max(0, end.usage.cacheWriteTokens))
    sqlite3_bind_int64(statement, 13, max(0, end.cacheWriteHourTokens))
    sqlite3_bind_int64(statement, 14, max(0, end.audioMilliseconds))
    sqlite3_bind_int64(statement, 15, end.usage.isEstimated ? 1 : 0)
    bind(statement, 16, try end.serviceTier.map { try number(of: $0, .serviceTier) })
    guard hold.row == 0 else {
      sqlite3_bind_int64(statement, 17, hold.row)
      try step(statement)
      return true
    }
    let row = rows.next(at: max(end.at.nanoseconds, hold.at))
    sqlite3_bind_int64(statement, 17, row)
    sqlite3_bind_int64(statement, 18, Int64(bitPattern: end.request.high))
    sqlite3_bind_int64(statement, 19, Int64(bitPattern: end.request.low))
    sqlite3_bind_int64(statement, 20, hold.key.attempt)
    sqlite3_bind_int64(statement, 21, hold.series)
    sqlite3_bind_int64(statement, 22, hold.at)
    sqlite3_bind_int64(statement, 23, hold.reservedInput)
    sqlite3_bind_int64(statement, 24, hold.reservedOutput)
    bind(statement, 25, hold.held >= 0 ? hold.held : nil)
    try step(statement)
    open.wrote(row: row, of: end.request)
    return true
  }

  private func write(_ end: RequestEnd) throws {
    let begun = open.conclude(end.request)
    let series: Int64
    if let begun, begun.provider == end.provider, begun.key == end.key, begun.model == end.model {
      series = begun.series
    } else {
      series = try number(of: Series(end))
    }
    let statement = insertRequest.sqliteStatement
    sqlite3_bind_int64(statement, 1, rows.next(at: max(end.ended, end.arrived).nanoseconds))
    sqlite3_bind_int64(statement, 2, Int64(bitPattern: end.request.high))
    sqlite3_bind_int64(statement, 3, Int64(bitPattern: end.request.low))
    sqlite3_bind_int64(statement, 4, series)
    sqlite3_bind_int64(statement, 5, end.arrived.nanoseconds)
    sqlite3_bind_int64(statement, 6, end.ended.nanoseconds)
    sqlite3_bind_int64(statement, 7, try number(of: end.outcome.rawValue, .outcome))
    sqlite3_bind_int64(statement, 8, try number(of: end.priorityReason, .reason))
    sqlite3_bind_int64(statement, 9, Int64(max(0, end.status)))
    sqlite3_bind_int64(statement, 10, Int64(max(0, end.attempts)))
    sqlite3_bind_int64(statement, 11, max(0, end.queued.nanoseconds / 1000))
    bind(statement, 12, end.firstByte.map { max(0, $0.nanoseconds / 1000) })
    try step(statement)
  }

  private func write(_ change: LedgerChange) throws {
    let statement = insertChange.sqliteStatement
    sqlite3_bind_int64(statement, 1, change.at.nanoseconds)
    bind(statement, 2, change.subject.rawValue)
    bind(statement, 3, change.name)
    bind(statement, 4, change.state)
    bind(statement, 5, change.reason)
    if let askedBy = change.askedBy { bind(statement, 6, askedBy) } else { sqlite3_bind_null(statement, 6) }
    bind(statement, 7, change.amount?.nanodollars)
    bind(statement, 8, change.until?.nanoseconds)
    try step(statement)
  }

  // MARK: Names by number

  private func number(of word: String, _ column: Column) throws -> Int64 {
    let last = newest[column.rawValue]
    if last.number != 0, last.text == word { return last.number }
    let number = try number(of: word)
    newest[column.rawValue] = (word, number)
    return number
  }

  private func number(of word: String) throws -> Int64 {
    if let number = words[word] { return number }
    if words.count >= EntryWriter.wordsLimit || words.isEmpty { try loadWords() }
    let number: Int64
    if let known = try Int64.fetchOne(database, sql: "SELECT id FROM words WHERE text = ?", arguments: [word]) {
      number = known
    } else {
      bind(insertWord.sqliteStatement, 1, word)
      try step(insertWord.sqliteStatement)
      number = database.lastInsertedRowID
    }
    words[word] = number
    return number
  }

  private func number(of key: Series) throws -> Int64 {
    if let number = series[key] { return number }
    if series.count >= EntryWriter.seriesLimit { series.removeAll(keepingCapacity: true) }
    let names: StatementArguments = [
      key.session, key.model, key.provider, key.key, key.tenant, key.clientKey, key.priority.name, key.kind,
    ]
    let number: Int64
    if let known = try Int64.fetchOne(findSeries, arguments: names) {
      number = known
    } else {
      try insertSeries.execute(arguments: names)
      number = database.lastInsertedRowID
    }
    series[key] = number
    return number
  }

  // MARK: Statements

  private func bind(_ statement: SQLiteStatement, _ position: Int32, _ value: Int64?) {
    if let value { sqlite3_bind_int64(statement, position, value) } else { sqlite3_bind_null(statement, position) }
  }

  private func bind(_ statement: SQLiteStatement, _ position: Int32, _ value: String) {
    _ = value.bind(to: statement, at: position)
  }

  private func run(_ statement: Statement) throws { try statement.execute() }

  private func step(_ statement: SQLiteStatement) throws {
    let code = sqlite3_step(statement)
    sqlite3_reset(statement)
    guard code == SQLITE_DONE else {
      throw DatabaseError(resultCode: ResultCode(rawValue: code), message: database.lastErrorMessage)
    }
  }
}
