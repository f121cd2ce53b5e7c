// What happens to an entry that the database will never take: it is put aside, and everything else is written.
//
// Promises: one bad entry stops nobody. An entry that breaks a rule of the tables, or whose bytes cannot be read, is replaced by a row in
// `changes` that names it and says why; where even that cannot be written it is dropped and counted. Trouble that passes, such as a full disk or
// a lock, is thrown as before: then nothing of the remaining entries is lost, and trying again is right.
import AdmissionCore
import GRDB

extension EntryWriter {
  /// Writes the entries, in one transaction where all of them fit.
  /// - Parameters:
  ///   - now: nanoseconds of a monotonic clock.
  ///   - number: the journal's number of the last entry; what is written before it is noted with it.
  /// - Returns: how many entries were put aside.
  func writeWhatFits(_ batches: [EntryBatch], now: UInt64, through number: UInt64) throws -> Int {
    do {
      let strays = try write(batches, now: now, through: number)
      guard !strays.isEmpty else { return 0 }
      return try writeWhatFits([EntryBatch(strays.map(LedgerWriter.note))], now: now, through: number)
    } catch let trouble where EntryWriter.isOfTheEntry(trouble) {
      return try split(batches, trouble, now: now, through: number)
    }
  }

  /// Halves, until the bad one stands alone.
  private func split(_ batches: [EntryBatch], _ trouble: any Error, now: UInt64, through number: UInt64) throws -> Int {
    if batches.count > 1 {
      let (first, second) = (Array(batches[..<(batches.count / 2)]), Array(batches[(batches.count / 2)...]))
      let behind = UInt64(second.reduce(0) { $0 + $1.count })
      return try writeWhatFits(first, now: now, through: number - min(number, behind))
        + writeWhatFits(second, now: now, through: number)
    }
    guard let batch = batches.first else { return 0 }
    guard let entries = batch.readable() else {
      try putAside(
        ("\(batch.count) entries whose bytes cannot be read", WallInstant(nanoseconds: 0)), trouble, now: now,
        through: number)
      return batch.count
    }
    guard entries.count > 1 else {
      guard let entry = entries.first else { return 0 }
      try putAside(EntryWriter.describe(entry), trouble, now: now, through: number)
      return 1
    }
    return try split(entries.map { EntryBatch([$0]) }, trouble, now: now, through: number)
  }

  private func putAside(
    _ entry: (name: String, at: WallInstant), _ trouble: any Error, now: UInt64, through number: UInt64
  ) throws {
    let row = LedgerEntry.changed(
      LedgerChange(
        at: entry.at, subject: .broker, name: String(entry.name.prefix(128)), state: "put_aside",
        reason: String("the ledger does not take this entry: \(trouble)".prefix(512))))
    do {
      _ = try write([EntryBatch([row])], now: now, through: number)
    } catch let worse where EntryWriter.isOfTheEntry(worse) {
      // Counted by the caller; there is nothing else that could still be written.
    }
  }

  private static func describe(_ entry: LedgerEntry) -> (name: String, at: WallInstant) {
    func text(_ request: RequestID, _ attempt: Int? = nil) -> String {
      "\(request.high):\(request.low)" + (attempt.map { "/\($0)" } ?? "")
    }
    switch entry {
    case .held(let hold): return ("hold of \(text(hold.request, hold.attempt))", hold.at)
    case .settled(let end): return ("end of \(text(end.request, end.attempt))", end.at)
    case .concluded(let end): return ("request \(text(end.request))", end.ended)
    case .remembered(let memo): return ("\(memo.kind.rawValue) of \(memo.name)", WallInstant(nanoseconds: 0))
    case .changed(let change): return ("change of \(change.subject.rawValue) \(change.name)", change.at)
    }
  }

  /// True where the same entry would fail for ever, whatever becomes of disk, file and lock.
  private static func isOfTheEntry(_ error: any Error) -> Bool {
    if error is EntryCoding.Unreadable { return true }
    guard let error = error as? DatabaseError else { return false }
    switch error.resultCode {
    case .SQLITE_CONSTRAINT, .SQLITE_TOOBIG, .SQLITE_MISMATCH, .SQLITE_RANGE, .SQLITE_MISUSE: return true
    default: return false
    }
  }
}
