// Copies of a ledger, with or without a running broker.
//
// Promises: a copy is complete, as of one commit, and needs no other file beside it. It never takes the place of the
// ledger itself or of a file that a ledger needs, and a copy that breaks off leaves the earlier file as it was.
import Foundation
import GRDB

extension LedgerCare {
  /// Copies the ledger, also while it is written.
  /// - Parameter replaces: true to replace an existing file; otherwise it is an error.
  /// - Throws: `LedgerError`.
  public static func backup(_ path: String, to file: String, replaces: Bool) throws {
    try checkPlace(file, forCopyOf: path, replaces: replaces)
    let source = try LedgerConnection.reader(path)
    // Copies to another name first.
    let unfinished = "\(file).unfinished-\(getpid())"
    do {
      let copy = try DatabaseQueue(path: unfinished)
      try source.backup(to: copy)
      try copy.writeWithoutTransaction { try $0.execute(sql: "PRAGMA journal_mode = DELETE") }
      try copy.close()
    } catch {
      try? FileManager.default.removeItem(atPath: unfinished)
      throw LedgerError(error, at: file)
    }
    guard rename(unfinished, file) == 0 else {
      let reason = String(cString: strerror(errno))
      try? FileManager.default.removeItem(atPath: unfinished)
      throw LedgerError(.unusable, "backup \(file): \(reason)")
    }
  }

  private static func checkPlace(_ file: String, forCopyOf path: String, replaces: Bool) throws {
    func refusal(_ text: String) -> LedgerError { LedgerError(.wrongQuestion, "backup \(file): \(text)") }
    guard !file.isEmpty else { throw refusal("the name is empty; give a file") }
    try LedgerConnection.checkDirectory(of: file, as: "backup", otherwise: "for the copy")
    let place = Place(file)
    guard place != Place(path) else { throw refusal("this is the ledger itself; give another file") }
    for suffix in ["-wal", "-shm", ".lock", ".ahead-0", ".ahead-1"] where place == Place(path + suffix) {
      throw refusal("the ledger \(path) needs this file; give another")
    }
    guard let status = place.status else { return }
    guard status.st_mode & S_IFMT == S_IFREG else { throw refusal("this is no ordinary file; give another") }
    guard replaces else { throw refusal("the file exists; give another name, or --force to replace it") }
    // SQLite would read what lies beside the old file into the new one.
    if let log = Place(file + "-wal").status, log.st_size > 0 {
      throw refusal(
        "\(file)-wal holds entries of the ledger that lies there; start and stop a broker on that one first, or give another name"
      )
    }
    if Place(file + ".lock").status != nil { try LedgerLock(of: file).release() }
  }

  /// A path, and what is there.
  private struct Place: Equatable {
    let resolved: String
    let status: stat?

    init(_ path: String) {
      resolved = URL(fileURLWithPath: path).resolvingSymlinksInPath().standardizedFileURL.path
      var status = stat()
      self.status = stat(path, &status) == 0 ? status : nil
    }

    /// True where both are the same file, under whatever names.
    static func == (left: Place, right: Place) -> Bool {
      if left.resolved == right.resolved { return true }
      guard let left = left.status, let right = right.status else { return false }
      return left.st_dev == right.st_dev && left.st_ino == right.st_ino
    }
  }
}
