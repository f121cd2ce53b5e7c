// Writes entries as rows: prepared statements, positional arguments, and words and series by number.
//
// Promises: `write` puts a list of entries into one transaction, or nothing of it; entries that were written before are not
// written twice; an end without its hold is told, not dropped. Used on one thread, with one connection.
import AdmissionCore
import GRDB

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
  /// Series that are remembered by number; past that they are looked up again.
  static let seriesLimit = 20_000
  static let wordsLimit = 5_000

  private let begin: Statement
  private let commit: Statement
  private let insertHold: Statement
  private let updateEnd: Statement
  private let insertRequest: Statement
  private let insertChange: Statement
  private let findSeries: Statement
  private let insertSeries: Statement
  private let insertWord: Statement
  private let writeMark: Statement

  private var series: [Series: Int64] = [:]
  private var words: [String: Int64] = [:]
  /// Requests with a hold whose end is not in the books yet.
  private(set) var open: Set<RequestID> = []
  /// No open request is older than this half of an id; what lies before needs no look after a crash.
  private(set) var mark: Int64
  private var newest: Int64

  /// - Parameter earlier: the writer that this one takes over from, where its connection failed.
  init(_ db: Database, after earlier: EntryWriter?) throws {
    begin = try db.makeStatement(sql: "BEGIN IMMEDIATE")
    commit = try db.makeStatement(sql: "COMMIT")
    insertHold = try db.makeStatement(
      sql: """
        INSERT OR IGNORE INTO attempts (request_high, request_low, attempt, state, series, held_at, reserved_input,
          reserved_output, held, prices) VALUES (?, ?, ?, 0, ?, ?, ?, ?, ?, ?)
        """)
    updateEnd = try db.makeStatement(
      sql: """
        UPDATE attempts SET state = ?, ended_at = ?, verdict = ?, status = ?, input_tokens = ?, cache_read_tokens = ?,
          cache_write_tokens = ?, cache_write_hour_tokens = ?, output_tokens = ?, reasoning_tokens = ?, audio_ms = ?,
          estimated = ?, cost = ?, cost_source = ?, prices = ?, service_tier = ?
        WHERE request_high = ? AND request_low = ? AND attempt = ? AND state = 0
        """)
    insertRequest = try db.makeStatement(
      sql: "INSERT OR IGNORE INTO requests VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
    insertChange = try db.makeStatement(
      sql: """
        INSERT INTO changes (at, subject, name, state, reason, asked_by, amount, until) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
        """)
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
      sql: "INSERT INTO marks VALUES ('open_since', ?) ON CONFLICT DO UPDATE SET value = excluded.value")
    for row in try Row.fetchAll(db, sql: "SELECT id, text FROM words LIMIT ?", arguments: [EntryWriter.wordsLimit]) {
      words[row[1]] = row[0]
    }
    let stored = try Int64.fetchOne(db, sql: "SELECT value FROM marks WHERE name = 'open_since'")
    mark = stored ?? 0
    newest = mark
    if let earlier {
      open = earlier.open
      newest = max(newest, earlier.newest)
    }
  }

  /// Writes all of them in one transaction. Where it throws, nothing is written, and another writer must take over.
  /// - Parameter advancesMark: also remember from where on a start after a crash must look.
  /// - Returns: the entries that fit nothing in the books: ends without an open hold.
  func write(_ entries: [LedgerEntry], advancesMark: Bool, _ db: Database) throws -> [LedgerEntry] {
    var strays: [LedgerEntry] = []
    var lowest = Int64.max
    try run(begin)
    for entry in entries {
      switch entry {
      case .held(let hold):
        try write(hold, db)
        lowest = min(lowest, Int64(bitPattern: hold.request.high))
      case .settled(let end):
        if try !write(end, db) { strays.append(entry) }
      case .concluded(let end):
        if try !write(end, db) { strays.append(entry) }
      case .changed(let change):
        try write(change)
      }
    }
    var next = min(mark, lowest)
    if advancesMark { next = open.reduce(min(newest, lowest)) { min($0, Int64(bitPattern: $1.high)) } }
    if next != mark {
      clear(writeMark)
      bind(writeMark, 1, next)
      try writeMark.execute()
    }
    try run(commit)
    mark = next
    for entry in entries {
      switch entry {
      case .held(let hold):
        open.insert(hold.request)
        newest = max(newest, Int64(bitPattern: hold.request.high))
      case .concluded(let end): open.remove(end.request)
      case .settled, .changed: break
      }
    }
    return strays
  }

  // MARK: Rows

  private func write(_ hold: AttemptHold, _ db: Database) throws {
    let series = try number(of: Series(hold), db)
    let prices = try number(of: hold.priceVersion, db)
    let statement = insertHold
    clear(statement)
    bind(statement, 1, Int64(bitPattern: hold.request.high))
    bind(statement, 2, Int64(bitPattern: hold.request.low))
    bind(statement, 3, Int64(hold.attempt))
    bind(statement, 4, series)
    bind(statement, 5, hold.at.nanoseconds)
    bind(statement, 6, max(0, hold.reservedInput))
    bind(statement, 7, max(0, hold.reservedOutput))
    if let held = hold.held { bind(statement, 8, max(0, held.nanodollars)) }
    bind(statement, 9, prices)
    try statement.execute()
  }

  /// False where there is no open hold for it.
  private func write(_ end: AttemptEnd, _ db: Database) throws -> Bool {
    let verdict = try number(of: end.verdict, db)
    let source = try number(of: end.costSource.rawValue, db)
    let prices = try number(of: end.priceVersion, db)
    let tier = try end.serviceTier.map { try number(of: $0, db) }
    let statement = updateEnd
    clear(statement)
    bind(statement, 1, (end.wasSent ? AttemptState.posted : .void).rawValue)
    bind(statement, 2, end.at.nanoseconds)
    bind(statement, 3, verdict)
    if let status = end.status { bind(statement, 4, Int64(status)) }
    bind(statement, 5, max(0, end.usage.inputTokens))
    bind(statement, 6, max(0, end.usage.cacheReadTokens))
    bind(statement, 7, max(0, end.usage.cacheWriteTokens))
    bind(statement, 8, max(0, end.cacheWriteHourTokens))
    bind(statement, 9, max(0, end.usage.outputTokens))
    bind(statement, 10, max(0, end.usage.reasoningTokens))
    bind(statement, 11, max(0, end.audioMilliseconds))
    bind(statement, 12, end.usage.isEstimated ? 1 : 0)
    if let cost = end.cost { bind(statement, 13, max(0, cost.nanodollars)) }
    bind(statement, 14, source)
    bind(statement, 15, prices)
    if let tier { bind(statement, 16, tier) }
    bind(statement, 17, Int64(bitPattern: end.request.high))
    bind(statement, 18, Int64(bitPattern: end.request.low))
    bind(statement, 19, Int64(end.attempt))
    try statement.execute()
    return db.changesCount == 1
  }

  /// False where the request has its end already.
  private func write(_ end: RequestEnd, _ db: Database) throws -> Bool {
    let series = try number(of: Series(end), db)
    let outcome = try number(of: end.outcome.rawValue, db)
    let reason = try number(of: end.priorityReason, db)
    let statement = insertRequest
    clear(statement)
    bind(statement, 1, Int64(bitPattern: end.request.high))
    bind(statement, 2, Int64(bitPattern: end.request.low))
    bind(statement, 3, series)
    bind(statement, 4, end.arrived.nanoseconds)
    bind(statement, 5, end.ended.nanoseconds)
    bind(statement, 6, outcome)
    bind(statement, 7, reason)
    bind(statement, 8, Int64(end.status))
    bind(statement, 9, Int64(end.attempts))
    bind(statement, 10, max(0, end.queued.nanoseconds / 1000))
    if let firstByte = end.firstByte { bind(statement, 11, max(0, firstByte.nanoseconds / 1000)) }
    try statement.execute()
    return db.changesCount == 1
  }

  private func write(_ change: LedgerChange) throws {
    let statement = insertChange
    clear(statement)
    bind(statement, 1, change.at.nanoseconds)
    bind(statement, 2, change.subject.rawValue)
    bind(statement, 3, change.name)
    bind(statement, 4, change.state)
    bind(statement, 5, change.reason)
    if let askedBy = change.askedBy { bind(statement, 6, askedBy) }
    if let amount = change.amount { bind(statement, 7, amount.nanodollars) }
    if let until = change.until { bind(statement, 8, until.nanoseconds) }
    try statement.execute()
  }

  // MARK: Names by number

  func number(of word: String, _ db: Database) throws -> Int64 {
    if let number = words[word] { return number }
    if words.count >= EntryWriter.wordsLimit { words.removeAll() }
    let number: Int64
    if let known = try Int64.fetchOne(db, sql: "SELECT id FROM words WHERE text = ?", arguments: [word]) {
      number = known
    } else {
      clear(insertWord)
      bind(insertWord, 1, word)
      try insertWord.execute()
      number = db.lastInsertedRowID
    }
    words[word] = number
    return number
  }

  private func number(of key: Series, _ db: Database) throws -> Int64 {
    if let number = series[key] { return number }
    if series.count >= EntryWriter.seriesLimit { series.removeAll(keepingCapacity: true) }
    bind(key, to: findSeries)
    let number: Int64
    if let known = try Int64.fetchOne(findSeries) {
      number = known
    } else {
      bind(key, to: insertSeries)
      try insertSeries.execute()
      number = db.lastInsertedRowID
    }
    series[key] = number
    return number
  }

  private func bind(_ key: Series, to statement: Statement) {
    clear(statement)
    bind(statement, 1, key.session)
    bind(statement, 2, key.model)
    bind(statement, 3, key.provider)
    bind(statement, 4, key.key)
    bind(statement, 5, key.tenant)
    bind(statement, 6, key.clientKey)
    bind(statement, 7, key.priority.name)
    bind(statement, 8, key.kind)
  }

  // MARK: Arguments

  /// Empties a statement for new arguments. The positions are bound one by one afterwards: a list of arguments would be an array
  /// of boxed values for each row.
  private func clear(_ statement: Statement) { statement.setUncheckedArguments(StatementArguments()) }

  private func bind(_ statement: Statement, _ position: Int32, _ value: Int64) {
    _ = value.bind(to: statement.sqliteStatement, at: position)
  }

  private func bind(_ statement: Statement, _ position: Int32, _ value: String) {
    _ = value.bind(to: statement.sqliteStatement, at: position)
  }

  private func run(_ statement: Statement) throws {
    clear(statement)
    try statement.execute()
  }
}
