// Finds out what a path names before a library opens it: opening a pipe waits for its other end, and a device may have
// no end. Both would block the loop for ever.
import Glibc

public enum FileKind: Equatable {
  /// A file, and its size in bytes.
  case file(size: Int)
  /// A pipe, a device, a directory, a socket.
  case other
  /// The path cannot be used, with the system's `errno`, often `ENOENT`.
  case missing(errno: Int32)

  /// Follows links.
  public init(of path: String) {
    var status = stat()
    guard stat(path, &status) == 0 else {
      self = .missing(errno: errno)
      return
    }
    self = status.st_mode & S_IFMT == S_IFREG ? .file(size: Int(status.st_size)) : .other
  }
}
