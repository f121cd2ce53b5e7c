// The process's standard streams as descriptors: filled where they are not open, and written without ever trapping.
//
// Promises: a write that fails is a value, not a trap or a signal; a stream that another process made non-blocking is waited for.
import Foundation

public enum StandardStream {
  /// How a write ended.
  public struct Ending: Sendable, Equatable {
    /// Bytes that went out, from the first on.
    public var written: Int
    /// `errno` of what stopped it; 0 where all went out.
    public var failure: Int32

    public var isWhole: Bool { failure == 0 }
    /// The reader has closed its end.
    public var hasNoReader: Bool { failure == EPIPE }
    /// What stopped it, in the system's words.
    public var reason: String { String(cString: strerror(failure)) }
  }

  /// Makes the streams safe; the first thing that a process does, before it opens anything and starts any thread.
  ///
  /// Opens `/dev/null` on each of the descriptors 0 to 2 that is not open, since the next file or socket would get that
  /// number and with it the log's lines. Ignores SIGPIPE and SIGXFSZ, so that a reader that went away and a file at its
  /// size limit are errors.
  public static func prepare() {
    for descriptor in Int32(0)...2 where fcntl(descriptor, F_GETFD) == -1 && errno == EBADF {
      // The lowest free number is this one. Without /dev a folder holds the place: writing to it fails, and is counted.
      if open("/dev/null", O_RDWR) == -1 { _ = open("/", O_RDONLY) }
    }
    signal(SIGPIPE, SIG_IGN)
    signal(SIGXFSZ, SIG_IGN)
  }

  /// Writes all of `bytes`, and waits as long as the reader takes. Not on the event loop's thread of a process that serves.
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
        // Whoever shares the stream made it non-blocking. One that is not writable after the wait is broken.
        var ready = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        let result = poll(&ready, 1, -1)
        polled = result == 1 && ready.revents & Int16(POLLOUT) == 0
      default: return Ending(written: written, failure: code)
      }
    }
    return Ending(written: written, failure: 0)
  }
}
