// Every kind of trouble says where it is and what mends it.
import Foundation
import GRDB
import Testing

@testable import LedgerStore

@Suite struct LedgerErrorTests {
  @Test(
    arguments: [
      (.SQLITE_FULL, .full, "free some on that disk"), (.SQLITE_BUSY, .locked, "end its transaction"),
      (.SQLITE_LOCKED, .locked, "end its transaction"),
      (.SQLITE_READONLY, .unusable, "give this user write permission"),
      (.SQLITE_CANTOPEN, .unusable, "check that the directory exists"),
      (.SQLITE_NOTADB, .unusable, "give another path with --store"), (.SQLITE_CORRUPT, .unusable, "restore a backup"),
      (.SQLITE_IOERR, .unusable, "look into the system's log"), (.SQLITE_MISUSE, .unusable, "SQLite 21"),
    ] as [(ResultCode, LedgerError.Kind, String)])
  func sqliteErrors(code: ResultCode, kind: LedgerError.Kind, mend: String) {
    let error = LedgerError(DatabaseError(resultCode: code, message: "said so"), at: "/x/t.db")
    #expect(error.kind == kind)
    #expect(error.description.hasPrefix("ledger /x/t.db: "))
    #expect(error.description.contains(mend))
  }

  @Test func extendedCodesAreUnderstood() {
    #expect(LedgerError(DatabaseError(resultCode: .SQLITE_IOERR_READ), at: "t").description.contains("the disk fails"))
    #expect(LedgerError(DatabaseError(resultCode: .SQLITE_BUSY_SNAPSHOT), at: "t").kind == .locked)
  }

  @Test func ourOwnPassUnchangedAndOthersAreNamed() {
    let own = LedgerError(.wrongQuestion, "by: found 'x'")
    #expect(LedgerError(own, at: "t") == own)
    #expect(LedgerError(CocoaError(.fileNoSuchFile), at: "t").description.hasPrefix("ledger t: "))
  }
}
