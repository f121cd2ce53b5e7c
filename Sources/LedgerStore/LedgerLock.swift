// Allows one broker per ledger, by a lock on a file beside it. The system releases the lock when the process ends in
// any way.
import Foundation
import SharedState

final class LedgerLock: Sendable {
  private let held: Guarded<Int32?>

  /// Throws where another process has the lock, or where the file cannot be created.
  init(of path: String) throws {
    let file = path + ".lock"
    let descriptor = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else {
      throw LedgerError(
        .unusable,
        "ledger \(path): \(file) cannot be opened (\(String(cString: strerror(errno)))); give this user write permission to its directory"
      )
    }
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
      let owner = (try? String(contentsOfFile: file, encoding: .utf8)) ?? ""
      close(descriptor)
      throw LedgerError(
        .unusable,
        "ledger \(path): another tollgate uses it (process \(owner.isEmpty ? "unknown" : owner)); stop that one or give another path with --store"
      )
    }
    let owner = Array("\(getpid())".utf8)
    _ = ftruncate(descriptor, 0)
    _ = write(descriptor, owner, owner.count)
    held = Guarded(descriptor)
  }

  func release() {
    held.withLock { descriptor in
      if let open = descriptor { close(open) }
      descriptor = nil
    }
  }

  deinit { release() }
}
