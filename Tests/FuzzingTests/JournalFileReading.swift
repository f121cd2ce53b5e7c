// Files of a journal. Whole frames are found whatever stands before and behind them, what is told as damaged lies in the file, and an
// entry that was read is coded again to the same.
import AdmissionCore
import LedgerVocabulary
import TextForms

@testable import LedgerStore

enum JournalFileReading {
  private static let ledger: UInt64 = 7

  /// The first byte says what the others are: a file, the entries of one frame, or what stands between two whole ones.
  static func flaw(in bytes: [UInt8]) -> String? {
    guard let first = bytes.first else { return nil }
    let rest = Array(bytes.dropFirst())
    switch first % 3 {
    case 0: return fileFlaw(rest).flaw
    case 1: return fileFlaw(frame(rest, first: 1)).flaw
    default:
      let entry = LedgerEntry.changed(
        LedgerChange(at: WallInstant(nanoseconds: 1), subject: .key, name: "a", state: .open))
      let whole = Array(EntryBatch([entry]).bytes)
      let (flaw, contents) = fileFlaw(frame(whole, first: 1) + rest + frame(whole, first: 100))
      if let flaw { return flaw }
      let found = [1, 100].allSatisfy { number in
        contents.frames.contains { $0.first == number && $0.entries == [entry] }
      }
      return found ? nil : "a whole frame was not found: \(contents.frames.map(\.first)), damage \(contents.damage)"
    }
  }

  private static func fileFlaw(_ file: [UInt8]) -> (flaw: String?, contents: Journal.Contents) {
    var contents = Journal.Contents()
    Journal.scan(file, of: "a", ledger: ledger, into: &contents)
    for damage in contents.damage
    where damage.offset < 0 || damage.bytes <= 0 || damage.offset + damage.bytes > file.count {
      return ("damage outside the file: \(damage)", contents)
    }
    for frame in contents.frames where EntryBatch(frame.entries).readable() != frame.entries {
      return ("entries that do not come back: \(frame.entries)", contents)
    }
    return (nil, contents)
  }

  /// A frame as the journal writes it, whatever its entries are.
  private static func frame(_ entries: [UInt8], first: UInt64) -> [UInt8] {
    let little = { (number: UInt64, bytes: Int) in (0..<bytes).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) } }
    let payload = little(ledger, 8) + little(first, 8) + entries
    return [Journal.mark] + little(UInt64(payload.count), 4) + little(Journal.checksum(payload.span.bytes), 8) + payload
  }
}
