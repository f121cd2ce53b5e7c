// Why the ledger cannot be opened, read or written, and what to do about it.
import Foundation
import GRDB

/// An error of the ledger: what failed, where, and how to correct it.
public struct LedgerError: Error, Sendable, Equatable, CustomStringConvertible {
  /// Kinds that a caller may treat differently.
  public enum Kind: Sendable, Equatable {
    /// Another process holds the write lock; it usually passes by itself.
    case locked
    /// No space left.
    case full
    /// Not readable, not writable, or not a ledger of this version; the operator must act.
    case unusable
    /// The query is wrong, not the ledger.
    case wrongQuestion
  }
  public var kind: Kind
  public var description: String

  public init(_ kind: Kind, _ description: String) {
    self.kind = kind
    self.description = description
  }

  /// SQLite's message, with how to correct it.
  init(_ error: any Error, at path: String) {
    if let error = error as? LedgerError {
      self = error
      return
    }
    guard let error = error as? DatabaseError else {
      self.init(.unusable, "ledger \(path): \(error)")
      return
    }
    let said = error.message ?? error.resultCode.description
    switch error.resultCode {
    case .SQLITE_FULL:
      self.init(.full, "ledger \(path): no space left (\(said)); free some on that disk")
    case .SQLITE_BUSY, .SQLITE_LOCKED:
      self.init(
        .locked, "ledger \(path): another process holds its write lock; end its transaction ('lsof \(path)' names it)")
    case .SQLITE_READONLY, .SQLITE_PERM, .SQLITE_AUTH:
      self.init(
        .unusable,
        "ledger \(path): it may not be written (\(said)); give this user write permission to it and its directory")
    case .SQLITE_CANTOPEN:
      self.init(
        .unusable,
        "ledger \(path): it cannot be opened (\(said)); check that the directory exists and that this user may write in it"
      )
    case .SQLITE_NOTADB:
      self.init(
        .unusable,
        "ledger \(path): this file is no SQLite database; give another path with --store, or move the file away")
    case .SQLITE_CORRUPT:
      self.init(
        .unusable,
        "ledger \(path): the database is damaged (\(said)); move it away and restore a backup, or save what is readable with 'sqlite3 \(path) .recover'"
      )
    case .SQLITE_IOERR:
      self.init(.unusable, "ledger \(path): the disk fails (\(said)); look into the system's log")
    default:
      self.init(.unusable, "ledger \(path): \(said) (SQLite \(error.extendedResultCode.rawValue))")
    }
  }
}
