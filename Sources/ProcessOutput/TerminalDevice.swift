// The user's terminal for a full-screen program: its size, its keys byte by byte, whole frames, and its settings as they were
// before.
//
// Promises: no read and no write waits; a terminal that has hung up is a returned value; the settings are given back exactly,
// whichever way the program ends.
import Foundation

public final class TerminalDevice {
  /// How a read or a write ended.
  public enum Ending: Equatable, Sendable {
    case done
    /// The rest must wait until the terminal takes it.
    case waits
    /// The terminal has hung up.
    case gone
  }

  /// For the event loop: readable when keys wait, writable when a frame may go on.
  public let descriptor: Int32
  private let saved: termios
  public private(set) var isEntered = false
  /// What the terminal has not taken yet.
  private var pending: ArraySlice<UInt8> = []

  /// Nil where standard output is no terminal, or one without cursor addressing (`TERM=dumb`).
  public init?() {
    guard Terminal.isScreen, let name = ttyname(1) else { return nil }
    // Opened anew, since O_NONBLOCK on the shared one would change it for the shell too.
    let opened = open(String(cString: name), O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC)
    guard opened >= 0 else { return nil }
    var settings = termios()
    guard tcgetattr(opened, &settings) == 0 else {
      close(opened)
      return nil
    }
    descriptor = opened
    saved = settings
  }

  deinit { close(descriptor) }

  /// Columns and rows of standard output's terminal; nil where it is none or does not know.
  public static var size: (columns: Int, rows: Int)? { size(of: 1) }

  /// Columns and rows; 80 and 24 where the terminal does not know.
  public var size: (columns: Int, rows: Int) { TerminalDevice.size(of: descriptor) ?? (80, 24) }

  private static func size(of descriptor: Int32) -> (columns: Int, rows: Int)? {
    var size = winsize()
    guard ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0, size.ws_row > 0 else { return nil }
    return (Int(size.ws_col), Int(size.ws_row))
  }

  // MARK: Entering and leaving

  /// Keys come one by one and are not shown from now on; `sequence` is written.
  @discardableResult
  public func enter(_ sequence: String) -> Ending {
    var raw = saved
    cfmakeraw(&raw)
    isEntered = true
    guard tcsetattr(descriptor, TCSANOW, &raw) == 0 else { return errno == EIO ? .gone : .done }
    return write(Array(sequence.utf8))
  }

  /// Writes what is left and `sequence`, which gets a moment, and gives the settings back.
  public func leave(_ sequence: String) {
    guard isEntered else { return }
    isEntered = false
    var ending = write(Array(sequence.utf8))
    // A terminal that takes nothing does not hold up the end.
    var patience = 5
    while ending == .waits, patience > 0 {
      patience -= 1
      var ready = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
      _ = poll(&ready, 1, 50)
      ending = flush()
    }
    pending = []
    var settings = saved
    tcsetattr(descriptor, TCSANOW, &settings)
  }

  /// Stops the process and its group as Ctrl-Z does, until they are continued. Where nobody could continue them, nothing
  /// happens.
  public static func stop() {
    signal(SIGTSTP, SIG_IGN)
    kill(0, SIGTSTP)
    signal(SIGTSTP, SIG_DFL)
    raise(SIGTSTP)
  }

  // MARK: Keys and frames

  /// The bytes that wait, at most 4 KiB.
  public func read() -> (bytes: [UInt8], ending: Ending) {
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      #if canImport(Darwin)
        let count = Darwin.read(descriptor, &buffer, buffer.count)
      #else
        let count = Glibc.read(descriptor, &buffer, buffer.count)
      #endif
      if count > 0 { return (Array(buffer[..<count]), .done) }
      if count == 0 { return ([], .gone) }
      switch errno {
      case EINTR: continue
      case EAGAIN: return ([], .waits)
      default: return ([], .gone)
      }
    }
  }

  /// True while a frame is on its way: another one must wait.
  public var isBusy: Bool { !pending.isEmpty }

  /// Begins a frame, in one write where the terminal takes it.
  public func write(_ frame: [UInt8]) -> Ending {
    pending = pending.isEmpty ? frame[...] : pending + frame
    return flush()
  }

  /// Goes on with a frame.
  public func flush() -> Ending {
    while !pending.isEmpty {
      let bytes = Array(pending)
      #if canImport(Darwin)
        let count = Darwin.write(descriptor, bytes, bytes.count)
      #else
        let count = Glibc.write(descriptor, bytes, bytes.count)
      #endif
      if count > 0 {
        pending = pending.dropFirst(count)
        continue
      }
      switch errno {
      case EINTR: continue
      case EAGAIN: return .waits
      default:
        pending = []
        return .gone
      }
    }
    return .done
  }
}
