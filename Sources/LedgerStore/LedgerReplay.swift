// What a start does with the journal that an earlier process left: what is beyond the database's mark goes into the database, once.
import AdmissionCore
import Foundation
import GRDB

struct LedgerReplay {
  /// The journal's number of the last entry that the database has.
  let last: UInt64
  /// Tells this ledger's journal from another's.
  let ledger: UInt64

  /// Throws where the database cannot be written, or where another version's journal lies beside it.
  init(_ location: LedgerLocation, _ db: Database) throws {
    func mark(_ name: String) throws -> Int64? {
      try Int64.fetchOne(db, sql: "SELECT value FROM marks WHERE name = ?", arguments: [name])
    }
    if let known = try mark("ledger") {
      ledger = UInt64(bitPattern: known)
    } else {
      let fresh = Int64.random(in: .min ... .max)
      try db.execute(sql: "INSERT INTO marks VALUES ('ledger', ?)", arguments: [fresh])
      ledger = UInt64(bitPattern: fresh)
    }
    var applied = UInt64(bitPattern: try mark("applied") ?? 0)
    if case .file(let path) = location {
      var writer: EntryWriter?
      for frame in try Journal.frames(path: path, ledger: ledger) {
        let end = frame.first + UInt64(frame.entries.count)
        guard end > applied + 1 else { continue }
        // Frames are written whole, but a transaction may have ended inside one.
        let entries = Array(frame.entries.dropFirst(Int(applied + 1 > frame.first ? applied + 1 - frame.first : 0)))
        if writer == nil {
          writer = try EntryWriter(db, options: LedgerOptions(), after: nil)
          try writer?.takeUpOpenHolds()
        }
        let now = DispatchTime.now().uptimeNanoseconds
        let strays = try writer?.write([EntryBatch(entries)], now: now, through: end - 1) ?? []
        if !strays.isEmpty {
          _ = try writer?.write([EntryBatch(strays.map(LedgerWriter.note))], now: now, through: end - 1)
        }
        applied = end - 1
      }
    }
    last = applied
  }

  /// An empty journal for this process.
  func journal(_ path: String) throws -> Journal {
    let journal = try Journal(path: path, ledger: ledger)
    journal.clear()
    return journal
  }

  /// Removes what lies at the journal's paths; commits alone make entries safe.
  func removeJournal(_ path: String) -> EntryQueue.Safety {
    for index in 0..<2 { try? FileManager.default.removeItem(atPath: Journal.name(path, index)) }
    return .commit
  }
}
