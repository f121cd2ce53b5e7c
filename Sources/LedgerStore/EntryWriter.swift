// Writes entries as rows with prepared statements: values are bound one by one, and names by their numbers.
//
// Promises: `write` writes a list of entries in one transaction, or none of them; an end without its hold is reported,
// not dropped. A request and its last attempt become one row (docs/decisions/2026-11-29-one-row-for-a-call.md), unless
// they ended apart. Used on one thread, with one connection. Rows are written by SQLite's own calls on GRDB's
// statements: a list of arguments would cost more than the row (docs/decisions/2026-11-21-ledger-layout.md).
import AdmissionCore
import Foundation
import GRDB
import GRDBSQLite
import LedgerVocabulary

/// The states of attempts.
enum AttemptState: Int64 {
  case held = 0
  case posted = 1
  case void = 2
  case presumed = 3
}

final class EntryWriter {
  private let database: Database
  private let listTime: UInt64
  private let housekeepingInterval: UInt64
  private let begin: Statement
  private let commit: Statement
  private let insertHold: Statement
  private let updateAttempt: Statement
  private let deleteAttempt: Statement
  private let insertChange: Statement
  private let insertHolds: Statement
  private let deleteHolds: Statement
  private let memos: MemoTable
  private let writeMark: Statement
  private let writeApplied: Statement

  private let names: NameNumbers
  private var callRows: RowBuffer
  private var attemptRows: RowBuffer
  private var requestRows: RowBuffer
  private var open = OpenHolds()
  private var fresh: [AttemptKey] = []
  private var bytes: [UInt8] = []
  private var rows: RowNumbers
  /// The lists of holds that are still in the database, oldest first: their ids, since when, and the newest attempt
  /// when each was written.
  private var lists: [(id: Int64, since: UInt64, row: Int64)] = []
  private var lastHousekeeping: UInt64 = 0
  /// True while a start writes the entries of the journal. Requests that an earlier process left open are looked for
  /// afterwards, from its mark on.
  private var isReplaying = false

  /// The last ids that were assigned; attempts and requests share them, so that the later of two rows has the larger
  /// id.
  private struct RowNumbers {
    var last: Int64
    var list: Int64
    /// The last id whose time is more than an hour after that of its row, because the clock had been ahead; 0 where
    /// there is none.
    var ahead: Int64 = 0

    mutating func next(at nanoseconds: Int64) -> Int64 {
      let first = LedgerSchema.firstRow(nanoseconds)
      last = max(last + 1, first)
      if last - first > RowNumbers.hour { ahead = last }
      return last
    }
    private static let hour = LedgerSchema.firstRow(UTCTime.hour)
  }
  /// The value of `RowNumbers.ahead` that is in the database.
  private var notedAhead: Int64 = 0

  /// - Parameter earlier: the writer that this one replaces after its connection failed; nil where the file is another
  ///   one.
  init(_ db: Database, options: LedgerOptions, after earlier: EntryWriter?) throws {
    database = db
    listTime = options.listTime.wholeNanoseconds
    housekeepingInterval = options.housekeepingInterval.wholeNanoseconds
    begin = try db.makeStatement(sql: "BEGIN IMMEDIATE")
    commit = try db.makeStatement(sql: "COMMIT")
    insertHold = try db.makeStatement(
      sql: """
        INSERT INTO attempt_rows (id, request_high, request_low, attempt, state, series, held_at, reserved_input,
          reserved_output, held, prices) VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?)
        """)
    updateAttempt = try db.makeStatement(
      sql: """
        UPDATE attempt_rows SET ended_at = ?, state = ?, prices = ?, verdict = ?, cost_source = ?, cost = ?,
          input_tokens = ?, output_tokens = ?, cache_read_tokens = ?, status = ?, reasoning_tokens = ?,
          cache_write_tokens = ?, cache_write_hour_tokens = ?, audio_ms = ?, estimated = ?, service_tier = ?,
          cache_loss = ?, lost_by_waiting = ?, lost_tokens = ?, lost_cost = ?
        WHERE id = ? AND state = 0
        """)
    deleteAttempt = try db.makeStatement(sql: "DELETE FROM attempt_rows WHERE id = ? AND state = 0")
    callRows = try RowBuffer(
      db, table: "calls",
      columns: [
        "id", "request_high", "request_low", "series", "ending", "arrived_at", "held_at", "ended_at", "queued_us",
        "first_byte_us", "reserved_input", "reserved_output", "held", "cost", "input_tokens", "output_tokens",
        "cache_read_tokens", "reasoning_tokens", "cache_write_tokens", "cache_write_hour_tokens", "audio_ms",
        "lost_tokens", "lost_cost",
      ])
    attemptRows = try RowBuffer(
      db, table: "attempt_rows",
      columns: [
        "id", "request_high", "request_low", "attempt", "series", "held_at", "reserved_input", "reserved_output",
        "held", "ended_at", "state", "prices", "verdict", "cost_source", "cost", "input_tokens", "output_tokens",
        "cache_read_tokens", "status", "reasoning_tokens", "cache_write_tokens", "cache_write_hour_tokens", "audio_ms",
        "estimated", "service_tier", "cache_loss", "lost_by_waiting", "lost_tokens", "lost_cost",
      ])
    requestRows = try RowBuffer(
      db, table: "request_rows",
      columns: [
        "id", "request_high", "request_low", "series", "arrived_at", "ended_at", "outcome", "priority_reason",
        "status", "attempts", "queued_us", "first_byte_us",
      ])
    insertChange = try db.makeStatement(
      sql: """
        INSERT INTO changes (at, subject, name, state, reason, asked_by, amount, until, before, after)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        """)
    insertHolds = try db.makeStatement(sql: "INSERT INTO new_holds (id, holds) VALUES (?, ?)")
    deleteHolds = try db.makeStatement(sql: "DELETE FROM new_holds WHERE id <= ?")
    names = try NameNumbers(db)
    memos = try MemoTable(db)
    writeMark = try db.makeStatement(
      sql: "INSERT INTO marks VALUES ('unfinished_since', ?) ON CONFLICT DO UPDATE SET value = excluded.value")
    writeApplied = try db.makeStatement(
      sql: "INSERT INTO marks VALUES ('applied', ?) ON CONFLICT DO UPDATE SET value = excluded.value")
    rows = RowNumbers(last: try LedgerSchema.newestRow(db), list: try LedgerSchema.newestRow(of: "new_holds", db))
    if let earlier {
      open = earlier.open
      lists = earlier.lists
      rows.list = max(rows.list, earlier.rows.list)
    }
  }

  /// Writes all entries in one transaction. Where it throws, nothing is written.
  /// - Parameters:
  ///   - now: nanoseconds of a monotonic clock.
  ///   - number: the journal's number of the last entry; noted in the same transaction.
  /// - Returns: the ends without an open hold.
  func write(_ batches: [EntryBatch], now: UInt64, through number: UInt64) throws -> [LedgerEntry] {
    let before = (rows, self.lists)
    fresh.removeAll(keepingCapacity: true)
    var strays: [LedgerEntry] = []
    do {
      try run(begin)
      for batch in batches {
        var decoder = EntryDecoder(batch.bytes)
        var start = decoder
        while let sort = try decoder.sort() {
          switch sort {
          case .held: try writeHold(&decoder)
          case .settled: if try !writeAttemptEnd(&decoder) { strays.append(try start.entry()) }
          case .concluded: try writeRequestEnd(&decoder)
          case .finished: if try !writeCall(&decoder) { strays += try writeApart(try start.entry()) }
          case .changed: try write(try decoder.change())
          case .altered: try write(try decoder.alteration())
          case .remembered: try memos.write(try decoder.memo())
          }
          start = decoder
        }
      }
      try callRows.flush()
      try attemptRows.flush()
      try requestRows.flush()
      try writeFreshHolds(now)
      if now &- lastHousekeeping >= housekeepingInterval { try keepHouse(now) }
      writeApplied.bind(Int64(bitPattern: number), at: 1)
      try step(writeApplied)
      if rows.ahead > notedAhead { try noteAhead() }
      try run(commit)
    } catch {
      // A full disk has already ended the transaction only if the statement of a single row ran into it.
      if database.isInsideTransaction { try? database.rollback() }
      callRows.clear()
      attemptRows.clear()
      requestRows.clear()
      notedAhead = 0
      (rows, self.lists) = before
      open.rolledBack()
      names.forget()
      throw error
    }
    open.committed()
    return strays
  }

  /// Takes over the holds that an earlier process left open, for their ends in the journal.
  func takeUpOpenHolds() throws {
    isReplaying = true
    func takeUp(_ hold: OpenHold) { open.takeUp(hold, firstRow: hold.row == 0 ? .max : hold.row) }
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
          coalesce(held, -1), prices, id FROM attempt_rows WHERE state = 0
        """)
    {
      var bytes: [UInt8] = []
      for column in 0..<9 { OpenHold.append(row[column] as Int64, to: &bytes) }
      var hold = OpenHold(bytes[...])
      hold.row = row[9]
      takeUp(hold)
    }
  }

  /// The attempts that have their row, from the mark on: no row of a listed hold is older.
  private func writtenAttempts() throws -> Set<AttemptKey> {
    try AttemptKey.written(
      since: try Int64.fetchOne(database, sql: "SELECT value FROM marks WHERE name = 'unfinished_since'") ?? 0, database
    )
  }

  // MARK: Holds

  private func writeHold(_ decoder: inout EntryDecoder) throws {
    let key = AttemptKey(request: try decoder.id(), attempt: try decoder.number())
    let at = try decoder.number()
    let series = try names.number(ofSeries: try decoder.seriesRange(), in: decoder)
    let reservedInput = try decoder.tokens().value
    let reservedOutput = try decoder.tokens().value
    let held = try decoder.optionalNumber()
    let prices = try names.number(of: try decoder.textRange(), in: decoder, .holdPrices)
    open.insert(
      OpenHold(
        key, series: series, at: at, reservedInput: reservedInput, reservedOutput: reservedOutput, held: held,
        prices: prices, list: rows.list + 1))
    fresh.append(key)
  }

  /// Writes the holds of this transaction that did not end in it.
  private func writeFreshHolds(_ now: UInt64) throws {
    bytes.removeAll(keepingCapacity: true)
    for key in fresh { open.holds[key]?.append(to: &bytes) }
    guard !bytes.isEmpty else { return }
    rows.list += 1
    insertHolds.bind(rows.list, at: 1)
    _ = Data(bytes).bind(to: insertHolds.sqliteStatement, at: 2)
    try step(insertHolds)
    lists.append((rows.list, now, rows.last))
  }

  /// Gives rows to holds that stayed open, deletes their lists, and writes the mark from which a start after a crash
  /// must look.
  private func keepHouse(_ now: UInt64) throws {
    lastHousekeeping = now
    let old = lists.prefix { now &- $0.since >= listTime }
    if let last = old.last {
      // Holds in newer lists stay there.
      for hold in open.holds.values.filter({ $0.row == 0 && $0.list <= last.id }) { try giveRow(hold) }
      deleteHolds.bind(last.id, at: 1)
      try step(deleteHolds)
      lists.removeFirst(old.count)
    }
    try remember()
  }

  /// Writes the mark from which a start after a crash must look: before it nothing is open, and every request has its
  /// row.
  private func remember() throws {
    guard !isReplaying else { return }
    let mark = open.begun.values.reduce(lists.first?.row ?? rows.last + 1) { min($0, $1) }
    writeMark.bind(mark, at: 1)
    try step(writeMark)
  }

  /// Notes, which is rare, that ids are ahead of the times of their rows, so that reports do not rely on them.
  private func noteAhead() throws {
    // Noted an hour further, so that not every row is noted while ids are ahead.
    notedAhead = rows.ahead + LedgerSchema.firstRow(UTCTime.hour)
    try database.execute(
      sql: "INSERT INTO marks VALUES (?, ?) ON CONFLICT DO UPDATE SET value = max(value, excluded.value)",
      arguments: [LedgerSchema.idsAhead, notedAhead])
  }

  /// At an orderly end: where nothing is open, the next start has nothing to search.
  func finish() throws {
    guard open.holds.isEmpty, open.begun.isEmpty else { return }
    deleteHolds.bind(rows.list, at: 1)
    try step(deleteHolds)
    lists.removeAll()
    try remember()
  }

  private func giveRow(_ hold: OpenHold) throws {
    let row = rows.next(at: hold.at)
    let values = [
      row, Int64(bitPattern: hold.key.request.high), Int64(bitPattern: hold.key.request.low), hold.key.attempt,
      hold.series, hold.at, hold.reservedInput, hold.reservedOutput, hold.held >= 0 ? hold.held : nil, hold.prices,
    ]
    for (index, value) in values.enumerated() { insertHold.bind(value, at: Int32(index) + 1) }
    try step(insertHold)
    open.gave(row: row, to: hold.key)
  }

  // MARK: Ends

  /// Returns false where there is no open hold for it.
  private func writeAttemptEnd(_ decoder: inout EntryDecoder) throws -> Bool {
    let request = try decoder.id()
    let attempt = try decoder.number()
    let at = try decoder.number()
    let verdict = try decoder.textRange()
    let status = try decoder.optionalNumber()
    let flags = try decoder.byte()
    let amounts = try decoder.amounts(flags)
    let source = try decoder.textRange()
    let prices = try decoder.textRange()
    let tier = try decoder.optionalTextRange()
    guard let hold = open.end(AttemptKey(request: request, attempt: attempt)) else { return false }
    let state = (flags & 1 != 0 ? AttemptState.posted : .void).rawValue
    let words = (
      prices: try names.number(of: prices, in: decoder, .endPrices),
      verdict: try names.number(of: verdict, in: decoder, .verdict),
      source: try names.number(of: source, in: decoder, .costSource),
      tier: try tier.map { try names.number(of: $0, in: decoder, .serviceTier) },
      lost: try amounts.lost.map { try names.number(of: $0.reason) }
    )
    // In the order of the columns, which is the same in both statements.
    func eachEndColumn(_ put: (Int64?) -> Void) {
      put(at)
      put(state)
      put(words.prices)
      put(words.verdict)
      put(words.source)
      put(amounts.cost.map { max(0, $0) })
      put(amounts.input)
      put(amounts.output)
      put(amounts.cacheRead)
      put(status)
      put(amounts.reasoning)
      put(amounts.cacheWrite)
      put(amounts.cacheWriteHour)
      put(max(0, amounts.audio))
      put(flags & 2 != 0 ? 1 : 0)
      put(words.tier)
      put(words.lost)
      put(amounts.lost.map { _ in EntryCoding.isByWaiting(flags) ? 1 : 0 })
      put(amounts.lost?.tokens)
      put(amounts.lost?.cost.map { max(0, $0) })
    }
    guard hold.row == 0 else {
      var position: Int32 = 0
      eachEndColumn {
        position += 1
        updateAttempt.bind($0, at: position)
      }
      updateAttempt.bind(hold.row, at: position + 1)
      try step(updateAttempt)
      return true
    }
    let row = rows.next(at: max(at, hold.at))
    attemptRows.append(row)
    attemptRows.append(Int64(bitPattern: request.high))
    attemptRows.append(Int64(bitPattern: request.low))
    attemptRows.append(attempt)
    attemptRows.append(hold.series)
    attemptRows.append(hold.at)
    attemptRows.append(hold.reservedInput)
    attemptRows.append(hold.reservedOutput)
    attemptRows.append(hold.held >= 0 ? hold.held : nil)
    eachEndColumn { attemptRows.append($0) }
    try attemptRows.endRow()
    open.wrote(row: row, of: request)
    return true
  }

  /// Writes one row for a request and its last attempt. Returns false where they must be written separately: there is
  /// no open hold, or it was held under other names.
  private func writeCall(_ decoder: inout EntryDecoder) throws -> Bool {
    let request = try decoder.id()
    let arrived = try decoder.arrival(of: request)
    let ended = arrived &+ (try decoder.number())
    let series = try decoder.seriesRange()
    let ending = try decoder.endingRange()
    let queued = max(0, try decoder.number() / 1000)
    let firstByte = try decoder.optionalNumber().map { max(0, $0 / 1000) }
    let amounts = try decoder.amounts(ending.flags)
    let key = AttemptKey(request: request, attempt: ending.attempts)
    guard let hold = open.holds[key] else { return false }
    guard try names.number(ofSeries: series, in: decoder) == hold.series else { return false }
    let number = try names.number(ofEnding: ending.range, in: decoder)
    if hold.row != 0 {
      deleteAttempt.bind(hold.row, at: 1)
      try step(deleteAttempt)
    }
    open.finish(key)
    callRows.append(rows.next(at: max(ended, arrived, hold.at)))
    callRows.append(Int64(bitPattern: request.high))
    callRows.append(Int64(bitPattern: request.low))
    callRows.append(hold.series)
    callRows.append(number)
    callRows.append(arrived)
    callRows.append(hold.at)
    callRows.append(ended)
    callRows.append(queued)
    callRows.append(firstByte)
    callRows.append(hold.reservedInput)
    callRows.append(hold.reservedOutput)
    callRows.append(hold.held >= 0 ? hold.held : nil)
    callRows.append(amounts.cost.map { max(0, $0) })
    callRows.append(amounts.input)
    callRows.append(amounts.output)
    callRows.append(amounts.cacheRead)
    callRows.append(amounts.reasoning)
    callRows.append(amounts.cacheWrite)
    callRows.append(amounts.cacheWriteHour)
    callRows.append(max(0, amounts.audio))
    callRows.append(amounts.lost?.tokens)
    callRows.append(amounts.lost?.cost.map { max(0, $0) })
    try callRows.endRow()
    return true
  }

  /// Writes a row for the attempt and one for the request.
  /// - Returns: the attempt's end, where it has no open hold.
  private func writeApart(_ entry: LedgerEntry) throws -> [LedgerEntry] {
    var strays: [LedgerEntry] = []
    for part in entry.apart {
      let batch = EntryBatch([part])
      var decoder = EntryDecoder(batch.bytes)
      switch try decoder.sort() {
      case .settled: if try !writeAttemptEnd(&decoder) { strays.append(part) }
      case .concluded: try writeRequestEnd(&decoder)
      case nil, .held, .changed, .altered, .remembered, .finished: throw EntryCoding.Unreadable()
      }
    }
    return strays
  }

  private func writeRequestEnd(_ decoder: inout EntryDecoder) throws {
    let request = try decoder.id()
    let arrived = try decoder.number()
    let ended = try decoder.number()
    let series = try names.number(ofSeries: try decoder.seriesRange(), in: decoder)
    let reason = try names.number(of: try decoder.textRange(), in: decoder, .reason)
    let outcome = try names.number(of: try decoder.textRange(), in: decoder, .outcome)
    let status = max(0, try decoder.number())
    let attempts = max(0, try decoder.number())
    let queued = max(0, try decoder.number() / 1000)
    let firstByte = try decoder.optionalNumber().map { max(0, $0 / 1000) }
    open.conclude(request)
    requestRows.append(rows.next(at: max(ended, arrived)))
    requestRows.append(Int64(bitPattern: request.high))
    requestRows.append(Int64(bitPattern: request.low))
    requestRows.append(series)
    requestRows.append(arrived)
    requestRows.append(ended)
    requestRows.append(outcome)
    requestRows.append(reason)
    requestRows.append(status)
    requestRows.append(attempts)
    requestRows.append(queued)
    requestRows.append(firstByte)
    try requestRows.endRow()
  }

  private func write(_ change: LedgerChange) throws {
    insertChange.bind(change.at.nanoseconds, at: 1)
    for (index, text) in [change.subject.rawValue, change.name, change.state.rawValue, change.reason, change.askedBy]
      .enumerated()
    {
      bind(insertChange, Int32(index) + 2, text)
    }
    insertChange.bind(change.amount?.nanodollars, at: 7)
    insertChange.bind(change.until?.nanoseconds, at: 8)
    bind(insertChange, 9, change.before)
    bind(insertChange, 10, change.after)
    try step(insertChange)
  }

  // MARK: Statements

  private func bind(_ statement: Statement, _ position: Int32, _ text: String?) {
    if let text {
      _ = text.bind(to: statement.sqliteStatement, at: position)
    } else {
      sqlite3_bind_null(statement.sqliteStatement, position)
    }
  }

  private func run(_ statement: Statement) throws { try statement.execute() }

  private func step(_ statement: Statement) throws { try statement.step(in: database) }
}
