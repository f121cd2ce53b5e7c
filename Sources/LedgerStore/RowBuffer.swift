// Collects rows of one table until they fill a statement, since several rows in one statement cost less than a
// statement for each (docs/decisions/2026-11-21-ledger-layout.md).
import GRDB
import GRDBSQLite

struct RowBuffer {
  static let rowsInStatement = 16
  private let database: Database
  private let width: Int
  private let one: Statement
  private let several: Statement
  /// The columns of all rows, row by row.
  private var values: [Int64?] = []

  init(_ db: Database, table: String, columns: [String]) throws {
    database = db
    width = columns.count
    let row = "(" + Array(repeating: "?", count: width).joined(separator: ", ") + ")"
    let head = "INSERT INTO \(table) (\(columns.joined(separator: ", "))) VALUES "
    one = try db.makeStatement(sql: head + row)
    several = try db.makeStatement(
      sql: head + Array(repeating: row, count: RowBuffer.rowsInStatement).joined(separator: ", "))
    values.reserveCapacity(width * RowBuffer.rowsInStatement)
  }

  /// Adds the next column of the row.
  mutating func append(_ value: Int64?) { values.append(value) }

  /// Ends the row.
  mutating func endRow() throws {
    guard values.count == width * RowBuffer.rowsInStatement else { return }
    try write(several, values[...])
    values.removeAll(keepingCapacity: true)
  }

  /// Writes the remaining rows.
  mutating func flush() throws {
    for start in stride(from: 0, to: values.count, by: width) { try write(one, values[start..<(start + width)]) }
    values.removeAll(keepingCapacity: true)
  }

  mutating func clear() { values.removeAll(keepingCapacity: true) }

  private func write(_ statement: Statement, _ row: ArraySlice<Int64?>) throws {
    var position: Int32 = 0
    for value in row {
      position += 1
      statement.bind(value, at: position)
    }
    try statement.step(in: database)
  }
}

extension Statement {
  func bind(_ value: Int64?, at position: Int32) {
    if let value {
      sqlite3_bind_int64(sqliteStatement, position, value)
    } else {
      sqlite3_bind_null(sqliteStatement, position)
    }
  }

  /// Runs the statement once with the bound values; it returns no rows.
  func step(in database: Database) throws {
    let code = sqlite3_step(sqliteStatement)
    sqlite3_reset(sqliteStatement)
    guard code == SQLITE_DONE else {
      throw DatabaseError(resultCode: ResultCode(rawValue: code), message: database.lastErrorMessage)
    }
  }
}
