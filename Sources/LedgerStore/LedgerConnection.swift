// Opens the database: one connection that writes, others that only read. docs/reference/ledger-schema.md gives the
// reason for each PRAGMA.
import Foundation
import GRDB

enum LedgerConnection {
  /// The size of the WAL in bytes after which a commit also copies its pages to the database file.
  static let checkpointBytes = 16 << 20
  static let pageSize = 4096

  /// Opens the writer's connection and brings the tables up to date.
  static func writer(_ location: LedgerLocation, _ durability: LedgerDurability) throws -> DatabaseQueue {
    switch location {
    case .memory:
      let queue = try DatabaseQueue(configuration: configuration(durability, isMemory: true))
      try LedgerSchema.migrate(queue, path: location.name)
      return queue
    case .file(let path):
      do {
        try checkDirectory(of: path)
        try checkKind(of: path)
        let queue = try DatabaseQueue(path: path, configuration: configuration(durability, isMemory: false))
        try LedgerSchema.migrate(queue, path: path)
        return queue
      } catch {
        throw LedgerError(error, at: path)
      }
    }
  }

  /// Opens a connection that only reads. It sees complete commits and blocks no other connection.
  static func reader(_ path: String) throws -> DatabaseQueue {
    guard FileManager.default.fileExists(atPath: path) else {
      throw LedgerError(
        .unusable,
        "ledger \(path): there is no such file; 'tollgate serve' makes it, another path is given with --store")
    }
    try checkKind(of: path)
    do {
      var configuration = Configuration()
      configuration.readonly = true
      configuration.label = "ledger reader"
      configuration.busyMode = .timeout(2)
      configuration.foreignKeysEnabled = false
      let queue = try DatabaseQueue(path: path, configuration: configuration)
      try queue.read { db in
        if try LedgerSchema.check(db, path: path) {
          throw LedgerError(.unusable, "ledger \(path): it is empty; 'tollgate serve' fills it")
        }
      }
      return queue
    } catch {
      throw LedgerError(error, at: path)
    }
  }

  /// Opens a connection for the maintenance of an existing ledger, beside the one that writes it.
  static func caretaker(_ path: String) throws -> DatabaseQueue {
    // Refuses a file that is not a ledger, or is a newer one.
    try reader(path).close()
    var configuration = Configuration()
    configuration.label = "ledger caretaker"
    configuration.busyMode = .timeout(10)
    configuration.foreignKeysEnabled = false
    return try DatabaseQueue(path: path, configuration: configuration)
  }

  /// - Parameters:
  ///   - what: what the path is, for the error.
  ///   - otherwise: what else to do, for the error.
  /// - Throws: `LedgerError` where the path's directory does not exist, or where the path is one itself.
  static func checkDirectory(
    of path: String, as what: String = "ledger", otherwise: String = "with --store"
  ) throws {
    let directory = URL(fileURLWithPath: path).deletingLastPathComponent().path
    var isDirectory: ObjCBool = false
    guard FileManager.default.fileExists(atPath: directory, isDirectory: &isDirectory), isDirectory.boolValue else {
      throw LedgerError(
        .unusable,
        "\(what) \(path): the directory \(directory) does not exist; make it ('mkdir -p \(directory)') or give another path \(otherwise)"
      )
    }
    if FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory), isDirectory.boolValue {
      throw LedgerError(.unusable, "\(what) \(path): this is a directory; give the path of a file \(otherwise)")
    }
  }

  /// - Throws: `LedgerError` where the path is a directory, a pipe or a device. Opening a pipe would wait for ever.
  private static func checkKind(of path: String) throws {
    var status = stat()
    guard stat(path, &status) == 0, status.st_mode & S_IFMT != S_IFREG else { return }
    let kind = status.st_mode & S_IFMT == S_IFDIR ? "a directory" : "no ordinary file"
    throw LedgerError(.unusable, "ledger \(path): this is \(kind); give the path of a ledger with --store")
  }

  private static func configuration(_ durability: LedgerDurability, isMemory: Bool) -> Configuration {
    var configuration = Configuration()
    configuration.label = "ledger writer"
    // A tool that reads the file holds its lock only for moments; a longer lock is trouble and is reported.
    configuration.busyMode = .timeout(0.25)
    // The only writer inserts a series and its words before the rows that name them, in the same transaction.
    configuration.foreignKeysEnabled = false
    configuration.prepareDatabase { db in
      try db.execute(sql: "PRAGMA page_size = \(pageSize)")
      if !isMemory {
        let mode = try String.fetchOne(db, sql: "PRAGMA journal_mode = WAL")
        guard mode == "wal" else {
          throw LedgerError(
            .unusable,
            "the ledger's file system does not allow WAL mode (SQLite answers '\(mode ?? "")'); give a local disk")
        }
        try db.execute(sql: "PRAGMA synchronous = \(durability == .full ? "FULL" : "NORMAL")")
        try db.execute(sql: "PRAGMA wal_autocheckpoint = \(checkpointBytes / pageSize)")
        try db.execute(sql: "PRAGMA journal_size_limit = \(checkpointBytes * 2)")
      }
      // In kibibytes. Rows are added at the end, so a larger cache would not help.
      try db.execute(sql: "PRAGMA cache_size = -1024")
      try db.execute(sql: "PRAGMA temp_store = MEMORY")
    }
    return configuration
  }
}

extension LedgerLocation {
  /// The name of the ledger in messages.
  var name: String {
    switch self {
    case .file(let path): path
    case .memory: "memory:"
    }
  }
}
