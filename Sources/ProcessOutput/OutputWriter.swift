// A standard stream of a serving process: lines go into a bounded queue, and a separate thread writes them.
//
// Promises: `write` never waits and never fails, whatever is at the other end of the stream (a full pipe that no one
// reads, a full disk, a terminal that has hung up); lost lines are counted, and reported in their place once the stream
// takes lines again; lines come out whole and in order. Why a thread: O_NONBLOCK on a shared stream would change it for
// other processes too, and between a poll and a write another process may fill the pipe.
import Foundation
import SharedState

public final class OutputWriter: Sendable {
  /// The most bytes that wait for the thread; the thread may be writing as many again.
  public static let limit = 1 << 20

  private struct Box {
    var waiting: [UInt8] = []
    var isStarted = false
    var isWriting = false
    /// Lines lost since the start.
    var dropped = 0
    /// Lines lost before the first waiting one that have not been reported to the stream's reader.
    var lostBefore = 0
    /// Lines lost after the last waiting one. Until the thread takes the waiting lines, all new ones are lost too, so
    /// that the notice is in their place.
    var lostBehind = 0
    /// True where the reader is slow but works: a loss is reported even if no line comes after it.
    var tellsAlone = false
    var hasNoReader = false
    var idleBells: [DispatchSemaphore] = []
    /// Told of the first failed write; nil afterwards.
    var failed: (@Sendable (_ reason: String) -> Void)?
    var notice: @Sendable (Int) -> [UInt8] = {
      let lost = $0 == 1 ? "1 line was lost" : "\($0) lines were lost"
      return Array("tollgate: \(lost) before this: nobody read, or nothing could be written\n".utf8)
    }
  }

  private let box = Guarded(Box())
  private let bell = DispatchSemaphore(value: 0)
  private let descriptor: Int32
  private let limit: Int

  /// The thread starts with the first line.
  public init(descriptor: Int32, limit: Int = OutputWriter.limit) {
    self.descriptor = descriptor
    self.limit = limit
  }

  /// Lines lost since the start.
  public var dropped: Int { box.withLock { $0.dropped } }

  /// True once a write found that the reader has closed its end.
  public var hasNoReader: Bool { box.withLock { $0.hasNoReader } }

  /// The line, with its line feed, that tells a reader how many lines are missing before it.
  public func tellLosses(by notice: @escaping @Sendable (Int) -> [UInt8]) { box.withLock { $0.notice = notice } }

  /// `failed` is called once, on the writing thread, when lines are lost because the stream cannot be written, such as
  /// on a full disk. A reader that has closed its end is no failure.
  public func tellFailure(by failed: @escaping @Sendable (_ reason: String) -> Void) {
    box.withLock { $0.failed = failed }
  }

  /// Takes whole lines, each with its line feed. Lines for which the queue has no room are lost and counted. Any thread
  /// may call this.
  public func write(_ lines: [UInt8]) {
    guard !lines.isEmpty else { return }
    let (wakes, starts) = box.withLock { box in
      let room = box.lostBehind > 0 ? 0 : limit - box.waiting.count
      let wasEmpty = box.waiting.isEmpty
      if lines.count <= room {
        if wasEmpty { box.waiting = lines } else { box.waiting.append(contentsOf: lines) }
      } else {
        // As many whole lines as fit.
        let end = lines.prefix(max(0, room)).lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
        box.waiting.append(contentsOf: lines[..<end])
        let lost = OutputWriter.lines(in: lines[end...])
        box.dropped += lost
        if box.waiting.isEmpty { box.lostBefore += lost } else { box.lostBehind += lost }
      }
      defer { box.isStarted = true }
      return (wasEmpty && !box.waiting.isEmpty, !box.isStarted)
    }
    if starts { start() }
    if wakes { bell.signal() }
  }

  /// Waits until every line has been written or lost.
  /// - Returns: false where the reader did not take it before `deadline`.
  @discardableResult
  public func flush(until deadline: DispatchTime) -> Bool {
    let idle: DispatchSemaphore? = box.withLock { box in
      guard box.isWriting || !box.waiting.isEmpty else { return nil }
      let idle = DispatchSemaphore(value: 0)
      box.idleBells.append(idle)
      return idle
    }
    return idle.map { $0.wait(timeout: deadline) == .success } ?? true
  }

  private func start() {
    let thread = Thread { [self] in
      var isCut = false
      while true {
        bell.wait()
        while let (lines, untold, notice) = take() { deliver(lines, untold, notice, &isCut) }
      }
    }
    thread.name = "output \(descriptor)"
    thread.stackSize = 128 << 10
    thread.start()
  }

  private func take() -> ([UInt8], untold: Int, notice: @Sendable (Int) -> [UInt8])? {
    box.withLock { box in
      box.isWriting = !box.waiting.isEmpty || box.tellsAlone
      guard box.isWriting else {
        for idle in box.idleBells { idle.signal() }
        box.idleBells = []
        return nil
      }
      let (lines, lost) = (box.waiting, box.lostBefore)
      box.waiting = []
      box.tellsAlone = box.lostBehind > 0
      (box.lostBefore, box.lostBehind) = (box.lostBehind, 0)
      return (lines, lost, box.notice)
    }
  }

  /// - Parameter isCut: true where the stream's last line is incomplete, because the disk was full in the middle of it.
  private func deliver(
    _ lines: [UInt8], _ untold: Int, _ notice: @Sendable (Int) -> [UInt8], _ isCut: inout Bool
  ) {
    var bytes: [UInt8] = isCut ? [UInt8(ascii: "\n")] : []
    if untold > 0 { bytes += notice(untold) }
    // The notice is no line of the log: if it is lost, it is not counted, and sent again.
    let start = bytes.count
    bytes += lines
    let ending = StandardStream.write(bytes, to: descriptor)
    if ending.written > 0 { isCut = bytes[ending.written - 1] != UInt8(ascii: "\n") }
    let lost = ending.isWhole ? 0 : OutputWriter.lines(in: bytes[max(start, ending.written)...])
    let failed = box.withLock { box in
      box.lostBefore += lost + (ending.written < start ? untold : 0)
      box.dropped += lost
      if !ending.isWhole { box.tellsAlone = false }
      box.hasNoReader = ending.hasNoReader
      guard !ending.isWhole, !ending.hasNoReader else { return (@Sendable (String) -> Void)?.none }
      defer { box.failed = nil }
      return box.failed
    }
    failed?(ending.reason)
  }

  private static func lines(in bytes: ArraySlice<UInt8>) -> Int {
    let ends = bytes.reduce(into: 0) { if $1 == UInt8(ascii: "\n") { $0 += 1 } }
    return bytes.isEmpty || bytes.last == UInt8(ascii: "\n") ? ends : ends + 1
  }
}
