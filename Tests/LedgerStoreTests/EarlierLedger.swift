// A ledger that version 0.1.0 left when it was killed, with a journal of which the tables lack the newest entries; made by that version's
// tables and coding, and kept as SQL and as bytes in Files.
import Foundation
import GRDB

enum EarlierLedger {
  /// By which its journal knows it.
  static let number = UInt64(bitPattern: -7_013_663_812_215_465_125)

  static func file(_ name: String) -> URL {
    URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Files/\(name)")
  }

  /// Its tables are made one after the other, so that rows may name what is not there yet.
  static func open(_ path: String) throws -> DatabaseQueue {
    var configuration = Configuration()
    configuration.foreignKeysEnabled = false
    return try DatabaseQueue(path: path, configuration: configuration)
  }

  /// Makes its files at this path.
  static func make(at path: String, withJournal: Bool = true) throws {
    let sql = try String(contentsOf: file("ledger-0.1.0.sql"), encoding: .utf8)
    let database = try open(path)
    try database.writeWithoutTransaction {
      try $0.execute(sql: sql)
      try $0.execute(sql: "PRAGMA journal_mode = WAL")
    }
    try database.close()
    if withJournal {
      try FileManager.default.copyItem(at: file("ledger-0.1.0.ahead-0"), to: URL(filePath: path + ".ahead-0"))
    }
  }
}
