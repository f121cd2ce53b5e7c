// Reads the journal's files at a start: whole frames, and what is damaged.
//
// Promises: every whole frame of this ledger is found, also after damaged bytes; a last frame that was cut is not
// damage, because it was not reported as safe; all other bytes that are not a frame are reported with their file,
// offset and size, and the file is kept aside before the journal is used again. Reading is linear in the size of the
// files, whatever they contain.
import AdmissionCore
import LedgerVocabulary

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

extension Journal {
  struct Frame {
    var first: UInt64
    var entries: [LedgerEntry]
    /// The number of the first entry after the frame.
    var next: UInt64
  }

  /// Bytes that are not a frame of any ledger, or entries of another ledger.
  struct Damage: Equatable {
    var file: String
    /// The offset of its first byte in the file.
    var offset: Int
    var bytes: Int
    var isOfAnotherLedger = false

    var text: String {
      isOfAnotherLedger
        ? "\(file): entries of another ledger, \(bytes) bytes from byte \(offset) on"
        : "\(file): \(bytes) damaged bytes from byte \(offset) on"
    }
  }

  struct Contents {
    /// The frames in the order of their numbers; some may have no entries.
    var frames: [Frame] = []
    var damage: [Damage] = []
  }

  /// Reads the journal of this ledger. Throws where another version of this program left entries that this one cannot
  /// read, because they must not be lost silently.
  static func contents(path: String, ledger: UInt64) throws -> Contents {
    var contents = Contents()
    for index in 0..<2 {
      let file = name(path, index)
      guard let bytes = bytes(of: file) else { continue }
      if let version = otherVersion(bytes, ledger: ledger) {
        throw LedgerError(
          .unusable,
          """
          ledger \(path): its journal \(file) has entries that another version of tollgate wrote \
          (format \(version), this one reads \(earlierMark & 0x0F) and \(EntryCoding.version)); start that version once so that it takes them up, or remove the \
          file and lose them
          """)
      }
      scan(bytes, of: file, ledger: ledger, into: &contents)
    }
    contents.frames.sort { $0.first < $1.first }
    return contents
  }

  static func scan(_ bytes: [UInt8], of file: String, ledger: UInt64, into contents: inout Contents) {
    var at = 0
    func spoiled(_ range: Range<Int>, isOfAnotherLedger: Bool = false) {
      if let last = contents.damage.last, last.file == file, last.offset + last.bytes == range.lowerBound,
        last.isOfAnotherLedger == isOfAnotherLedger
      {
        contents.damage[contents.damage.count - 1].bytes += range.count
      } else {
        contents.damage.append(
          Damage(
            file: file, offset: range.lowerBound, bytes: range.count, isOfAnotherLedger: isOfAnotherLedger))
      }
    }
    while at < bytes.count {
      if let (frame, end) = frame(bytes, at, ledger: ledger) {
        if let frame {
          contents.frames.append(frame)
        } else if end - at > headSize {
          spoiled(at..<end, isOfAnotherLedger: true)
        }
        at = end
      } else if let next = nextFrame(bytes, after: at, ledger: ledger) {
        spoiled(at..<next)
        at = next
      } else {
        if !isCut(bytes, at) { spoiled(at..<bytes.count) }
        return
      }
    }
  }

  /// Finds the beginning of the next whole frame of this ledger. The ledger's number is compared before the checksum,
  /// so that no choice of bytes makes the search slow.
  private static func nextFrame(_ bytes: [UInt8], after start: Int, ledger: UInt64) -> Int? {
    var at = start + 1
    while at + headSize <= bytes.count {
      if isMark(bytes[at]), number(bytes, at + payloadStart) == ledger, frame(bytes, at, ledger: ledger) != nil {
        return at
      }
      at += 1
    }
    return nil
  }

  /// True where the following bytes may be the beginning of a frame whose end was never written.
  private static func isCut(_ bytes: [UInt8], _ at: Int) -> Bool {
    guard isMark(bytes[at]) else { return false }
    guard bytes.count - at >= headSize else { return true }
    let begin = at + payloadStart
    guard let sizes = head(bytes, at), sizes.length > bytes.count - begin else { return false }
    // The frame would be whole except for its length.
    return checksum(bytes[begin...], bytes[at]) != sizes.checksum
  }

  /// The version of a file of this ledger whose entries are coded differently. The head of a frame is the same in all
  /// versions. One damaged byte is not taken for another version: the second frame must have the same version, or a
  /// single frame must be unreadable for this program.
  private static func otherVersion(_ bytes: [UInt8], ledger: UInt64) -> UInt8? {
    guard bytes.count >= headSize, bytes[0] & 0xF0 == mark & 0xF0, !isMark(bytes[0]),
      number(bytes, payloadStart) == ledger, let sizes = head(bytes, 0), sizes.length >= headSize - payloadStart,
      sizes.length <= bytes.count - payloadStart
    else { return nil }
    let end = payloadStart + sizes.length
    let payload = bytes[payloadStart..<end]
    let isOther =
      end < bytes.count
      ? bytes[end] == bytes[0]
      : checksum(payload.span.bytes) == sizes.checksum && (try? frame(of: payload, ledger: ledger)) == nil
    return isOther ? bytes[0] & 0x0F : nil
  }

  /// The frame at an offset, and where it ends. The frame is nil where it is another ledger's; the result is nil where
  /// there is none.
  private static func frame(_ bytes: [UInt8], _ at: Int, ledger: UInt64) -> (Frame?, Int)? {
    guard bytes.count - at >= headSize, isMark(bytes[at]), let sizes = head(bytes, at) else { return nil }
    let begin = at + payloadStart
    guard sizes.length >= headSize - payloadStart, sizes.length <= bytes.count - begin else { return nil }
    let payload = bytes[begin..<(begin + sizes.length)]
    guard checksum(payload, bytes[at]) == sizes.checksum else { return nil }
    guard number(bytes, begin) == ledger else { return (nil, payload.endIndex) }
    return (try? frame(of: payload, ledger: ledger)).map { ($0, payload.endIndex) }
  }

  /// Decodes the payload of a frame. Throws where it is not of this version.
  private static func frame(of payload: ArraySlice<UInt8>, ledger: UInt64) throws(EntryCoding.Unreadable) -> Frame {
    var decoder = EntryDecoder(payload)
    guard try decoder.fixed() == ledger else { throw EntryCoding.Unreadable() }
    let first = try decoder.fixed()
    var entries: [LedgerEntry] = []
    while !decoder.isAtEnd { entries.append(try decoder.entry()) }
    let (next, overflow) = first.addingReportingOverflow(UInt64(entries.count))
    guard !overflow else { throw EntryCoding.Unreadable() }
    return Frame(first: first, entries: entries, next: next)
  }

  private static func head(_ bytes: [UInt8], _ at: Int) -> (length: Int, checksum: UInt64)? {
    var head = EntryDecoder(bytes[(at + 1)..<(at + headSize)])
    return try? head.frameHead()
  }

  /// Eight bytes, little-endian.
  private static func number(_ bytes: [UInt8], _ at: Int) -> UInt64 {
    (0..<8).reversed().reduce(0) { $0 << 8 | UInt64(bytes[at + $1]) }
  }

  private static func bytes(of name: String) -> [UInt8]? {
    let descriptor = open(name, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { _ = close(descriptor) }
    // A device may be endless.
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 20)
    while true {
      let count = read(descriptor, &chunk, chunk.count)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { return bytes }
      bytes.append(contentsOf: chunk[..<count])
    }
  }

  /// The first byte of a frame that this program reads.
  private static func isMark(_ byte: UInt8) -> Bool { byte == mark || byte == earlierMark }

  private static func checksum(_ payload: ArraySlice<UInt8>, _ mark: UInt8) -> UInt64 {
    mark == earlierMark ? earlierChecksum(payload) : checksum(payload.span.bytes)
  }

  /// Detects cut and torn frames, eight bytes at a time: bytes that differ in one place have different sums.
  static func checksum(_ bytes: RawSpan) -> UInt64 {
    var sum = UInt64(bytes.byteCount)
    func take(_ eight: UInt64) {
      sum = (sum ^ eight) &* 0x9E37_79B9_7F4A_7C15
      sum ^= sum >> 32
    }
    var at = 0
    while at + 8 <= bytes.byteCount {
      take(UInt64(littleEndian: bytes.unsafeLoadUnaligned(fromByteOffset: at, as: UInt64.self)))
      at += 8
    }
    var rest: UInt64 = 0
    while at < bytes.byteCount {
      rest = rest << 8 | UInt64(bytes.unsafeLoad(fromByteOffset: at, as: UInt8.self))
      at += 1
    }
    take(rest)
    return sum
  }

  /// Two running sums, folded.
  static func earlierChecksum(_ bytes: ArraySlice<UInt8>) -> UInt64 {
    var plain: UInt64 = 1
    var weighted: UInt64 = 0
    for byte in bytes {
      plain &+= UInt64(byte)
      weighted &+= plain
    }
    return plain &* 0x9E37_79B9_7F4A_7C15 ^ weighted
  }
}

extension EntryDecoder {
  fileprivate mutating func frameHead() throws(EntryCoding.Unreadable) -> (length: Int, checksum: UInt64) {
    var length = 0
    for shift in stride(from: 0, to: 32, by: 8) { length |= Int(try byte()) << shift }
    return (length, try fixed())
  }
}
