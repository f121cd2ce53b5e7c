// What a start does with the journal of an earlier process: the entries after the database's mark are written to the
// database, once.
//
// Promises: nothing is lost silently. Missing entries, bytes that are not entries, and entries that the database does
// not take are reported (`damage`) and noted in `changes`, and their files are kept beside the ledger before anything
// is written over them.
import AdmissionCore
import Foundation
import GRDB
import LedgerVocabulary
import TextForms

struct LedgerReplay {
  /// The journal's number of the last entry that the database has.
  private(set) var last: UInt64
  /// Distinguishes this ledger's journal from another's.
  let ledger: UInt64
  /// What is damaged or missing, one sentence each.
  private(set) var damage: [String] = []
  /// The number of entries that the database did not take.
  private(set) var putAside = 0
  private let now: WallInstant
  private var writer: EntryWriter?

  /// Throws where the database cannot be written, or where another version's journal lies beside it.
  init(_ location: LedgerLocation, _ db: Database, now: WallInstant) throws {
    func mark(_ name: String) throws -> Int64? {
      try Int64.fetchOne(db, sql: "SELECT value FROM marks WHERE name = ?", arguments: [name])
    }
    self.now = now
    last = UInt64(bitPattern: try mark("applied") ?? 0)
    let known = try mark("ledger")
    ledger = UInt64(bitPattern: known ?? Int64.random(in: .min ... .max))
    if case .file(let path) = location {
      // Before the first write, which could overwrite the part of the WAL that SQLite no longer reads.
      try takeUp(try Journal.contents(path: path, ledger: ledger), path, db)
    }
    if known == nil {
      try db.execute(sql: "INSERT INTO marks VALUES ('ledger', ?)", arguments: [Int64(bitPattern: ledger)])
    }
    writer = nil
  }

  private mutating func takeUp(_ contents: Journal.Contents, _ path: String, _ db: Database) throws {
    for damage in contents.damage { self.damage.append(damage.text) }
    var expected = last &+ 1
    var isGapInDatabase = false
    for frame in contents.frames {
      if frame.first > expected {
        isGapInDatabase = isGapInDatabase || expected == last &+ 1
        damage.append(
          "entries \(expected) to \(frame.first - 1) are missing: their holds, costs or requests are not in the books")
      }
      expected = max(expected, frame.next)
    }
    for file in Set(contents.damage.map(\.file)).sorted() { try keepAside(file) }
    if isGapInDatabase { try keepAside(path + "-wal") }
    for frame in contents.frames where frame.next > last &+ 1 {
      // Frames are written completely, but a transaction may have ended inside one.
      let entries = Array(frame.entries.dropFirst(frame.first > last ? 0 : Int(last - frame.first + 1)))
      try write(entries, through: frame.next - 1, db)
      last = frame.next - 1
    }
    guard !damage.isEmpty else { return }
    try write(
      damage.map { text in
        .changed(LedgerChange(at: now, subject: .broker, name: "ledger", state: .damaged, reason: text))
      }, through: last, db)
  }

  private mutating func write(_ entries: [LedgerEntry], through number: UInt64, _ db: Database) throws {
    guard !entries.isEmpty else { return }
    if writer == nil {
      writer = try EntryWriter(db, options: LedgerOptions(), after: nil)
      try writer?.takeUpOpenHolds()
    }
    guard let writer else { return }
    var unwritten = UnwrittenEntries([EntryBatch(entries)], through: number)
    try writer.writeWhatFits(&unwritten, now: DispatchTime.now().uptimeNanoseconds)
    putAside += unwritten.putAside
  }

  /// Copies a file to the first free name of `FILE.damaged-1`, `-2` .. `-99`.
  private mutating func keepAside(_ file: String) throws {
    guard FileManager.default.fileExists(atPath: file) else { return }
    for number in 1...99 {
      let copy = "\(file).damaged-\(number)"
      guard !FileManager.default.fileExists(atPath: copy) else { continue }
      do {
        try FileManager.default.copyItem(atPath: file, toPath: copy)
      } catch {
        throw LedgerError(
          .unusable,
          "ledger: \(file) is damaged and cannot be kept as \(copy) (\(error.localizedDescription)); make room there, or remove it"
        )
      }
      damage.append("\(copy) keeps \(file) as it was found")
      return
    }
    damage.append("\(file) is not kept: there are 99 damaged ones beside it already")
  }

  /// Opens an empty journal for this process.
  func journal(_ path: String) throws -> Journal {
    let journal = try Journal(path: path, ledger: ledger)
    journal.clear(next: last &+ 1)
    return journal
  }

  /// Removes the files at the journal's paths; then only commits make entries safe.
  func removeJournal(_ path: String) -> EntryQueue.Safety {
    for index in 0..<2 { try? FileManager.default.removeItem(atPath: Journal.name(path, index)) }
    return .commit
  }
}
