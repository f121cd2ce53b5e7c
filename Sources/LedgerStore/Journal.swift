// The journal before the database: entries are in it when `append` returns, and so survive the process. SQLite takes
// them in large transactions a moment later; a start writes the journal's entries that the database does not have yet.
//
// Promises: each call makes one `write`, for any number of entries; a last frame that was cut is ignored, because it
// was not reported as safe; any other bytes that are not a frame are damage, which is reported, and the frames after
// them are still read; entries of another database's journal are never taken for this one's. Why there is a journal:
// docs/decisions/2026-11-21-ledger-journal.md. Reading is in JournalReading.swift.
//
// Two files are used in turn, `PATH.ahead-0` and `PATH.ahead-1`: one grows while the database takes the entries of the
// other. A frame is magic and version (1 byte), bytes of the payload (4), checksum (8), ledger (8), number of the first
// entry (8), payload with all numbers little end first; the checksum covers what is behind it. A frame without entries
// stands at the begin of the file that grows: its number tells a start how far the database must be, also when nothing
// else is left here.
import AdmissionCore
import SharedState

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

final class Journal: Sendable {
  static let mark: UInt8 = 0xA0 | EntryCoding.version
  /// The first byte of frames of version 0.1.0, which had no `finished` and summed byte by byte.
  static let earlierMark: UInt8 = 0xA2
  private static let sumStart = 5
  static let payloadStart = 13
  static let headSize = 29
  /// After this size the other file is used, if it is empty.
  private static let turnSize = 4 << 20

  private struct File {
    var descriptor: Int32
    var size = 0
    /// The number of the file's last entry; nil where it has none.
    var last: UInt64?
  }
  private struct State {
    var files: [File]
    var active = 0
    var frame: [UInt8] = []
  }

  private let state: Guarded<State>
  /// Distinguishes this ledger's journal from another's.
  private let ledger: UInt64

  /// Opens or creates both files. Throws where that fails.
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
    state = Guarded(State(files: files))
  }

  deinit { state.withLock { state in for file in state.files { _ = closeDescriptor(file.descriptor) } } }

  static func name(_ path: String, _ index: Int) -> String { "\(path).ahead-\(index)" }

  /// Writes the entries; `first` is the number of the first one.
  /// - Returns: nil when they are safe, else why not; then none of them is in the journal.
  func append(_ entries: EntryBatch, first: UInt64) -> String? {
    state.withLock { state in
      if state.files[state.active].size >= Journal.turnSize, state.files[1 - state.active].size == 0 {
        state.active = 1 - state.active
      }
      let active = state.active
      state.frame.removeAll(keepingCapacity: true)
      fill(&state.frame, entries.bytes, first: first)
      if let trouble = put(&state, in: active) { return trouble }
      state.files[active].last = first &+ UInt64(entries.count) &- 1
      return nil
    }
  }

  /// Makes the bytes of one frame.
  private func fill(_ frame: inout [UInt8], _ entries: ArraySlice<UInt8>, first: UInt64) {
    let length = entries.count + Journal.headSize - Journal.payloadStart
    frame.append(contentsOf: repeatElement(0, count: Journal.headSize))
    frame.append(contentsOf: entries)
    var head = frame.mutableSpan
    var at = 0
    head.put(Journal.mark, &at)
    for shift in stride(from: 0, to: 32, by: 8) { head.put(UInt8(truncatingIfNeeded: length >> shift), &at) }
    at = Journal.payloadStart
    head.fixed(ledger, &at)
    head.fixed(first, &at)
    at = Journal.sumStart
    head.fixed(Journal.checksum(head.bytes.extracting(Journal.payloadStart..<head.count)), &at)
  }

  /// Writes the frame at the end of a file. Returns nil where it is written completely, else why not.
  private func put(_ state: inout State, in index: Int) -> String? {
    let size = state.files[index].size
    let written = write(state.files[index].descriptor, state.frame, state.frame.count)
    guard written == state.frame.count else {
      let reason = written < 0 ? String(cString: strerror(errno)) : "the disk is full"
      // A part of a frame would look like damage once more frames follow it.
      _ = ftruncate(state.files[index].descriptor, off_t(size))
      return reason
    }
    state.files[index].size = size + written
    return nil
  }

  /// Empties files whose entries are all in the database, which has everything up to this number.
  func applied(through number: UInt64) {
    state.withLock { state in
      for index in state.files.indices {
        if let last = state.files[index].last, last <= number { empty(&state, index, next: last &+ 1) }
      }
    }
  }

  /// Empties both files.
  /// - Parameter next: the number of the next entry.
  func clear(next: UInt64) {
    state.withLock { state in
      for index in state.files.indices { empty(&state, index, next: next) }
    }
  }

  /// Empties a file. In the one that grows, a frame without entries says how far the database has got.
  private func empty(_ state: inout State, _ index: Int, next: UInt64) {
    guard ftruncate(state.files[index].descriptor, 0) == 0 else { return }
    state.files[index].size = 0
    state.files[index].last = nil
    guard index == state.active else { return }
    state.frame.removeAll(keepingCapacity: true)
    fill(&state.frame, [], first: next)
    // If this frame cannot be written, a start only has less to compare with.
    _ = put(&state, in: index)
  }
}

private func closeDescriptor(_ descriptor: Int32) -> Int32 { close(descriptor) }
