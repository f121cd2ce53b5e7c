// What a broker needs to know after a restart: one row for each kind and name, with the newest value.
//
// Promise: at most `LedgerMemo.Kind.most` rows of each kind are kept, and an eighth more between two clearings; the
// oldest are removed first.
import AdmissionCore
import GRDB
import LedgerVocabulary

/// The writer's side, used on its thread, inside its transactions.
final class MemoTable {
  private let database: Database
  private let insert: Statement
  private let clear: Statement
  /// Rows written since the table was cleared last.
  private var written: [LedgerMemo.Kind: Int] = [:]

  init(_ db: Database) throws {
    database = db
    // Replacing gives the row a new id, so ids are in the order of the last writes.
    insert = try db.makeStatement(sql: "INSERT OR REPLACE INTO memos (kind, name, value) VALUES (?, ?, ?)")
    clear = try db.makeStatement(
      sql: """
        DELETE FROM memos WHERE kind = ? AND id <=
          (SELECT id FROM memos WHERE kind = ? ORDER BY id DESC LIMIT 1 OFFSET ?)
        """)
  }

  func write(_ memo: LedgerMemo) throws {
    try insert.execute(arguments: [memo.kind.rawValue, memo.name, memo.value])
    written[memo.kind, default: 0] += 1
    guard written[memo.kind, default: 0] >= memo.kind.most / 8 else { return }
    written[memo.kind] = 0
    try clear.execute(arguments: [memo.kind.rawValue, memo.kind.rawValue, memo.kind.most])
  }
}

extension LedgerStore {
  /// The newest memos of a kind, in order from the oldest.
  public func memos(_ kind: LedgerMemo.Kind) throws -> [LedgerMemo] {
    try read { db in
      try Row.fetchAll(
        db, sql: "SELECT name, value FROM memos WHERE kind = ? ORDER BY id DESC LIMIT ?",
        arguments: [kind.rawValue, kind.most]
      ).reversed().map { LedgerMemo(kind: kind, name: $0[0], value: $0[1]) }
    }
  }
}
