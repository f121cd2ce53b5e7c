// Puts an entry aside that the database will never take, so that all others are written.
//
// Promises: one bad entry does not stop the others. Where a request ended together with its last attempt, each end is
// tried separately. An entry that violates a constraint of the tables, or whose bytes cannot be read, is replaced by a
// row in `changes` that names it and says why; where even that row cannot be written, the entry is dropped and counted.
// Temporary trouble, such as a full disk or a lock, is thrown: no remaining entry is lost, and the next try writes only
// those.
import AdmissionCore
import GRDB
import LedgerVocabulary
import TextForms

/// Entries that are being written to the database. Written entries leave the list, so that a new try after some trouble
/// begins after them.
struct UnwrittenEntries {
  fileprivate(set) var batches: [EntryBatch]
  /// Notes about written entries: they are written before the batches and have no numbers.
  fileprivate var notes: [LedgerEntry] = []
  /// The number of entries that were put aside so far.
  private(set) var putAside = 0
  /// The journal's number of the last entry.
  private let last: UInt64

  /// - Parameter last: the journal's number of the last entry.
  init(_ batches: [EntryBatch], through last: UInt64) {
    self.batches = batches
    self.last = last
  }

  var isEmpty: Bool { batches.isEmpty && notes.isEmpty }

  /// The journal's number of the last entry of the first `count` batches.
  fileprivate func number(behind count: Int) -> UInt64 {
    last - min(last, UInt64(batches[count...].reduce(0) { $0 + $1.count }))
  }

  fileprivate mutating func wrote(_ count: Int) { batches.removeFirst(count) }
  fileprivate mutating func havePutAside(_ count: Int) { putAside += count }
}

extension EntryBatch {
  /// For one entry that contains two ends, a batch for each: the attempt's, which does not count as an entry, and the
  /// request's. nil for anything else.
  fileprivate var apart: [EntryBatch]? {
    guard let entry = readable()?.first, count == 1, case let parts = entry.apart, parts.count == 2 else { return nil }
    return [EntryBatch(bytes: Array(EntryBatch([parts[0]]).bytes), count: 0), EntryBatch([parts[1]])]
  }
}

extension EntryWriter {
  /// Writes the entries, in one transaction where the database takes all of them.
  /// - Parameters:
  ///   - entries: written entries are removed from it, also where it throws.
  ///   - now: nanoseconds of a monotonic clock.
  func writeWhatFits(_ entries: inout UnwrittenEntries, now: UInt64) throws {
    // The batches are halved until the bad entry is alone.
    var count = entries.batches.count
    while !entries.isEmpty {
      if !entries.notes.isEmpty {
        try tell(entries.notes, now: now, through: entries.number(behind: 0))
        entries.notes = []
        continue
      }
      count = min(max(1, count), entries.batches.count)
      do {
        let strays = try write(Array(entries.batches[..<count]), now: now, through: entries.number(behind: count))
        entries.wrote(count)
        entries.notes = strays.map(LedgerWriter.note)
        count = entries.batches.count
      } catch let trouble where EntryWriter.isOfTheEntry(trouble) {
        if count > 1 {
          count /= 2
        } else if let parts = entries.batches[0].readable(), parts.count > 1 {
          entries.batches.replaceSubrange(..<1, with: parts.map { EntryBatch([$0]) })
          count = parts.count / 2
        } else if let parts = entries.batches[0].apart {
          entries.batches.replaceSubrange(..<1, with: parts)
          count = 1
        } else {
          try putAside(entries.batches[0], trouble, now: now, through: entries.number(behind: 1))
          entries.havePutAside(max(1, entries.batches[0].count))
          entries.wrote(1)
          count = entries.batches.count
        }
      }
    }
  }

  /// Writes the notes, one by one where the database does not take all of them; what a lost note is about has already
  /// been counted.
  private func tell(_ notes: [LedgerEntry], now: UInt64, through number: UInt64) throws {
    do {
      _ = try write([EntryBatch(notes)], now: now, through: number)
    } catch let trouble where EntryWriter.isOfTheEntry(trouble) && notes.count > 1 {
      for note in notes { try tell([note], now: now, through: number) }
    } catch let trouble where EntryWriter.isOfTheEntry(trouble) {
      // Nothing else could be written about it.
    }
  }

  /// Puts one entry aside, or a batch whose bytes cannot be read.
  private func putAside(_ batch: EntryBatch, _ trouble: any Error, now: UInt64, through number: UInt64) throws {
    let entry =
      batch.readable()?.first.map(EntryWriter.describe)
      ?? ("\(batch.count) entries whose bytes cannot be read", WallInstant(nanoseconds: 0))
    let row = LedgerEntry.changed(
      LedgerChange(
        at: entry.1, subject: .broker, name: String(entry.0.prefix(128)), state: .putAside,
        reason: String("the ledger does not take this entry: \(trouble)".prefix(512))))
    try tell([row], now: now, through: number)
  }

  private static func describe(_ entry: LedgerEntry) -> (name: String, at: WallInstant) {
    func text(_ request: RequestID, _ attempt: Int? = nil) -> String {
      "\(request.high):\(request.low)" + (attempt.map { "/\($0)" } ?? "")
    }
    switch entry {
    case .held(let hold): return ("hold of \(text(hold.request, hold.attempt))", hold.at)
    case .settled(let end): return ("end of \(text(end.request, end.attempt))", end.at)
    case .concluded(let end), .finished(let end, _): return ("request \(text(end.request))", end.ended)
    case .remembered(let memo): return ("\(memo.kind.rawValue) of \(memo.name)", WallInstant(nanoseconds: 0))
    case .changed(let change): return ("change of \(change.subject.rawValue) \(change.name)", change.at)
    }
  }

  /// True where this entry would always fail, in any state of the disk, the file and the lock.
  private static func isOfTheEntry(_ error: any Error) -> Bool {
    if error is EntryCoding.Unreadable { return true }
    guard let error = error as? DatabaseError else { return false }
    switch error.resultCode {
    case .SQLITE_CONSTRAINT, .SQLITE_TOOBIG, .SQLITE_MISMATCH, .SQLITE_RANGE, .SQLITE_MISUSE: return true
    default: return false
    }
  }
}
