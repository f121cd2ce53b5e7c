// The journal ahead of the database: what was appended is in it when `append` returns, and so survives the process. SQLite takes the
// entries in large transactions a moment later; a start writes to the database what the journal has beyond it.
//
// Promises: one `write` for each call, whatever the number of entries; a frame that was cut is noticed and ends the reading of its
// file; entries of another database's journal are never taken for this one's. Why it is there:
// docs/decisions/2026-11-21-ledger-journal.md.
//
// Two files take turns, `PATH.ahead-0` and `PATH.ahead-1`: one grows while the database works off the other. A frame is
//   magic and version (1 byte), bytes of the payload (4), checksum (8), ledger (8), number of the first entry (8), payload
// with all numbers little end first; the checksum covers what is behind it.
import AdmissionCore
import Synchronization

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

final class Journal: Sendable {
  private static let mark: UInt8 = 0xA0 | EntryCoding.version
  private static let sumStart = 5
  private static let payloadStart = 13
  private static let headSize = 29
  /// A file past this size gives way to the other one, if that is empty.
  private static let turnSize = 4 << 20

  private struct File {
    var descriptor: Int32
    var size = 0
    /// The number of the last entry in it.
    var last: UInt64 = 0
  }
  private struct State {
    var files: [File]
    var active = 0
    var frame: [UInt8] = []
  }

  private let state: Mutex<State>
  /// Tells this ledger's journal from another's.
  private let ledger: UInt64

  /// Opens or makes both files. Throws where that cannot be.
  init(path: String, ledger: UInt64) throws {
    var files: [File] = []
    for index in 0..<2 {
      let name = Journal.name(path, index)
      let descriptor = open(name, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
      guard descriptor >= 0 else {
        let reason = String(cString: strerror(errno))
        for file in files { _ = closeDescriptor(file.descriptor) }
        throw LedgerError(.unusable, "ledger \(path): its journal \(name) cannot be opened: \(reason)")
      }
      files.append(File(descriptor: descriptor))
    }
    self.ledger = ledger
    state = Mutex(State(files: files))
  }

  deinit { state.withLock { state in for file in state.files { _ = closeDescriptor(file.descriptor) } } }

  static func name(_ path: String, _ index: Int) -> String { "\(path).ahead-\(index)" }

  /// Writes the entries, of which the first has this number.
  /// - Returns: nil when they are safe, else why not; then nothing of them is in the journal.
  func append(_ entries: EntryBatch, first: UInt64) -> String? {
    state.withLock { state in
      if state.files[state.active].size >= Journal.turnSize, state.files[1 - state.active].size == 0 {
        state.active = 1 - state.active
      }
      state.frame.removeAll(keepingCapacity: true)
      let length = entries.bytes.count + Journal.headSize - Journal.payloadStart
      state.frame.append(addingCapacity: Journal.headSize + entries.bytes.count) { span in
        span.append(Journal.mark)
        for shift in stride(from: 0, to: 32, by: 8) { span.append(UInt8(truncatingIfNeeded: length >> shift)) }
        span.fixed(0)
        span.fixed(ledger)
        span.fixed(first)
      }
      state.frame.append(contentsOf: entries.bytes)
      let sum = Journal.checksum(state.frame[Journal.payloadStart...])
      for index in 0..<8 {
        state.frame[Journal.sumStart + index] = UInt8(truncatingIfNeeded: sum >> (8 * UInt64(index)))
      }
      let active = state.active
      let size = state.files[active].size
      let written = write(state.files[active].descriptor, state.frame, state.frame.count)
      guard written == state.frame.count else {
        let reason = written < 0 ? String(cString: strerror(errno)) : "the disk is full"
        // A part of a frame would hide what comes behind it.
        _ = ftruncate(state.files[active].descriptor, off_t(size))
        return reason
      }
      state.files[active].size = size + written
      state.files[active].last = first + UInt64(entries.count) - 1
      return nil
    }
  }

  /// The database has everything up to this number: files that hold nothing else are emptied.
  func applied(through number: UInt64) {
    state.withLock { state in
      for index in state.files.indices where state.files[index].size > 0 && state.files[index].last <= number {
        if ftruncate(state.files[index].descriptor, 0) == 0 { state.files[index].size = 0 }
      }
    }
  }

  /// Empties both files.
  func clear() {
    state.withLock { state in
      for index in state.files.indices where ftruncate(state.files[index].descriptor, 0) == 0 {
        state.files[index].size = 0
      }
    }
  }

  // MARK: Reading

  struct Frame {
    var first: UInt64
    var entries: [LedgerEntry]
  }

  /// What the journal of this ledger holds, in the order of its numbers. Reading a file ends at its first frame that is not whole.
  /// Throws where another version of this program left entries there that this one cannot read: they must not be lost in silence.
  static func frames(path: String, ledger: UInt64) throws -> [Frame] {
    var frames: [Frame] = []
    for index in 0..<2 {
      guard let bytes = contents(of: name(path, index)) else { continue }
      if let version = otherVersion(bytes, ledger: ledger) {
        throw LedgerError(
          .unusable,
          """
          ledger \(path): its journal \(name(path, index)) has entries that another version of tollgate wrote \
          (format \(version), this one reads \(EntryCoding.version)); start that version once so that it takes them up, or remove the \
          file and lose them
          """)
      }
      var at = 0
      while let (frame, next) = frame(bytes, at, ledger: ledger) {
        if let frame { frames.append(frame) }
        at = next
      }
    }
    return frames.sorted { $0.first < $1.first }
  }

  /// The version of a file of this ledger's whose entries are coded in another way. The head of a frame is the same in all versions.
  private static func otherVersion(_ bytes: [UInt8], ledger: UInt64) -> UInt8? {
    guard bytes.count >= headSize, bytes[0] & 0xF0 == mark & 0xF0, bytes[0] != mark else { return nil }
    var payload = EntryDecoder(bytes[payloadStart...])
    return (try? payload.fixed()) == ledger ? bytes[0] & 0x0F : nil
  }

  /// The frame at an offset; nil inside where it is another ledger's, nil where there is none.
  private static func frame(_ bytes: [UInt8], _ at: Int, ledger: UInt64) -> (Frame?, Int)? {
    guard bytes.count - at >= headSize, bytes[at] == mark else { return nil }
    var head = EntryDecoder(bytes[(at + 1)..<(at + headSize)])
    guard let sizes = try? head.frameHead() else { return nil }
    let begin = at + payloadStart
    guard sizes.length >= 16, sizes.length <= bytes.count - begin else { return nil }
    let payload = bytes[begin..<(begin + sizes.length)]
    guard checksum(payload) == sizes.checksum else { return nil }
    var decoder = EntryDecoder(payload)
    do {
      guard try decoder.fixed() == ledger else { return (nil, payload.endIndex) }
      var frame = Frame(first: try decoder.fixed(), entries: [])
      while !decoder.isAtEnd { frame.entries.append(try decoder.entry()) }
      return (frame, payload.endIndex)
    } catch {
      return nil
    }
  }

  private static func contents(of name: String) -> [UInt8]? {
    let descriptor = open(name, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { _ = closeDescriptor(descriptor) }
    // A device may have no end.
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

  /// Two running sums, folded: finds cut and torn frames, at about a cycle for each byte.
  static func checksum(_ bytes: ArraySlice<UInt8>) -> UInt64 {
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

private func closeDescriptor(_ descriptor: Int32) -> Int32 { close(descriptor) }
