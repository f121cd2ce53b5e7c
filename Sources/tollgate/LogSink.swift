// Gathers log lines of the loop's thread, and hands them over to the writer of standard error once a turn.
import EventLoop
import ProcessOutput

final class LogSink {
  private let loop: EventLoop
  private let writer: OutputWriter
  private var pending: [UInt8] = []

  init(loop: EventLoop, writer: OutputWriter) {
    self.loop = loop
    self.writer = writer
  }

  /// - Parameter line: with its line feed.
  func write(_ line: [UInt8]) {
    if pending.isEmpty { loop.atEndOfTurn { [self] in flush() } }
    pending.append(contentsOf: line)
  }

  func flush() {
    guard !pending.isEmpty else { return }
    writer.write(pending)
    pending.removeAll(keepingCapacity: pending.capacity <= 64 << 10)
  }
}
