// Where log lines go: standard error, gathered and written once a turn, never waiting for a reader that has stopped reading.
import EventLoop
import Foundation

/// Gathers lines on the loop's thread. Lines that a stalled reader leaves no room for are dropped and counted.
final class LogSink {
  /// Bytes kept for a reader that does not read.
  private static let limit = 1 << 20
  private let loop: EventLoop
  private let descriptor: Int32
  private var pending: [UInt8] = []
  private var isScheduled = false
  private var dropped = 0
  private lazy var retry = LoopTimer(loop) { [weak self] in self?.flush() }

  init(loop: EventLoop, descriptor: Int32 = 2) {
    self.loop = loop
    self.descriptor = descriptor
  }

  func write(_ line: [UInt8]) {
    guard pending.count + line.count <= LogSink.limit else {
      dropped += 1
      return
    }
    pending.append(contentsOf: line)
    guard !isScheduled else { return }
    isScheduled = true
    loop.atEndOfTurn { [self] in flush() }
  }

  /// Writes what can be written without waiting.
  func flush() {
    isScheduled = false
    var written = 0
    while written < pending.count {
      var ready = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
      guard poll(&ready, 1, 0) == 1, ready.revents & Int16(POLLOUT) != 0 else { break }
      // A pipe that is writable takes this much without blocking (PIPE_BUF).
      let end = min(pending.count, written + 4096)
      let count = Glibc.write(descriptor, Array(pending[written..<end]), end - written)
      guard count > 0 else { break }
      written += count
    }
    pending.removeFirst(written)
    if pending.isEmpty {
      if dropped > 0 {
        let line = "tollgate: \(dropped) log lines were dropped: nobody read them\n"
        dropped = 0
        write(Array(line.utf8))
      }
    } else {
      isScheduled = true
      retry.schedule(after: .milliseconds(100))
    }
  }
}
