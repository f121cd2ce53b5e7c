// The process's standard streams as descriptors: closed ones are replaced, and writing never traps.
//
// Promises: a failed write is a returned value, not a trap or a signal; a stream that another process has made
// non-blocking is waited for.
import Foundation
import SharedState

public enum StandardStream {
  /// How a write ended.
  public struct Ending: Sendable, Equatable {
    /// The number of bytes that were written.
    public var written: Int
    /// The `errno` that stopped it; 0 where all bytes were written.
    public var failure: Int32

    public var isWhole: Bool { failure == 0 }
    /// The reader has closed its end.
    public var hasNoReader: Bool { failure == EPIPE }
    /// The system's text for `failure`.
    public var reason: String { String(cString: strerror(failure)) }
  }

  private static let outputWasClosed = Guarded(false)
  /// True where the process began without a standard output: nobody will ever read it.
  public static var hasNoOutput: Bool { outputWasClosed.withLock { $0 } }

  /// Makes the streams safe. Call this first, before the process opens anything or starts a thread.
  ///
  /// Opens `/dev/null` on each of the descriptors 0 to 2 that is not open, since otherwise the next file or socket
  /// would get that number, and so the log's lines. Ignores SIGPIPE and SIGXFSZ, so that a vanished reader and a file
  /// at its size limit are errors.
  public static func prepare() {
    let isClosed = fcntl(1, F_GETFD) == -1 && errno == EBADF
    outputWasClosed.withLock { $0 = isClosed }
    for descriptor in Int32(0)...2 where fcntl(descriptor, F_GETFD) == -1 && errno == EBADF {
      // The lowest free number is this one. Without /dev, a directory takes its place: writing to it fails, which is
      // counted.
      if open("/dev/null", O_RDWR) == -1 { _ = open("/", O_RDONLY) }
    }
    signal(SIGPIPE, SIG_IGN)
    signal(SIGXFSZ, SIG_IGN)
  }

  /// Writes all of `bytes`, and waits as long as the reader needs. Not for the event loop's thread of a serving
  /// process.
  public static func write(_ bytes: [UInt8], to descriptor: Int32) -> Ending {
    var written = 0
    var polled = false
    while written < bytes.count {
      let rest = written == 0 ? bytes : Array(bytes[written...])
      #if canImport(Darwin)
        let count = Darwin.write(descriptor, rest, rest.count)
      #else
        let count = Glibc.write(descriptor, rest, rest.count)
      #endif
      let code = count > 0 ? 0 : count == 0 ? EIO : errno
      switch code {
      case 0:
        written += count
        polled = false
      case EINTR: continue
      case EAGAIN where !polled:
        // Another process has made the shared stream non-blocking. A stream that is not writable after the wait is
        // broken.
        var ready = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        let result = poll(&ready, 1, -1)
        polled = result == 1 && ready.revents & Int16(POLLOUT) == 0
      default: return Ending(written: written, failure: code)
      }
    }
    return Ending(written: written, failure: 0)
  }
}
