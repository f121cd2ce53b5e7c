// One thread's event loop over libuv: descriptors, timers, signals, a mailbox for other threads, and work that is
// postponed to the end of a turn.
//
// Promises: every callback runs on the thread that calls `run()`; after a handle was closed or cancelled its callback
// is never called, even if its event had already been picked up; dropping the last reference to a handle closes it.
import CUV
import SharedState

/// A libuv call that failed.
public struct EventLoopError: Error, CustomStringConvertible {
  public let operation: String
  /// libuv's negative errno.
  public let code: Int32
  public var description: String { "\(operation): \(String(cString: uv_strerror(code)))" }

  init(_ operation: String, _ code: Int32) {
    self.operation = operation
    self.code = code
  }
}

public final class EventLoop {
  let handle: UnsafeMutablePointer<uv_loop_t>
  private let check: UnsafeMutablePointer<uv_check_t>
  private let prepare: UnsafeMutablePointer<uv_prepare_t>
  /// Postponed work. It has a type of its own, since an array of bare closures would allocate a wrapper around each.
  private struct Deferred {
    let work: () -> Void
  }
  private var deferred: [Deferred] = []
  private var running: [Deferred] = []
  /// The number of waiters at which the end of a turn is brought forward for the first time; it doubles with each time.
  private static let firstWaiters = 4
  /// Waiters since the last end, and at how many the next end is brought forward.
  private var waiters = 0
  private var mostWaiters = firstWaiters
  /// Work from other threads comes in here.
  public let mailbox: Mailbox

  public init() throws {
    handle = .allocate(capacity: 1)
    var code = uv_loop_init(handle)
    guard code == 0 else {
      handle.deallocate()
      throw EventLoopError("uv_loop_init", code)
    }
    check = .allocate(capacity: 1)
    prepare = .allocate(capacity: 1)
    uv_check_init(handle, check)
    uv_prepare_init(handle, prepare)
    mailbox = try Mailbox(loop: handle)
    let context = Unmanaged.passUnretained(self).toOpaque()
    check.pointee.data = context
    prepare.pointee.data = context
    code = uv_check_start(check) { handle in
      guard let handle else { return }
      Unmanaged<EventLoop>.fromOpaque(handle.pointee.data).takeUnretainedValue().endTurn()
    }
    guard code == 0 else { throw EventLoopError("uv_check_start", code) }
    code = uv_prepare_start(prepare) { handle in
      guard let handle else { return }
      Unmanaged<EventLoop>.fromOpaque(handle.pointee.data).takeUnretainedValue().endTurn()
    }
    guard code == 0 else { throw EventLoopError("uv_prepare_start", code) }
  }

  deinit {
    check.pointee.data = nil
    uv_check_stop(check)
    uv_prepare_stop(prepare)
    uv_close(UnsafeMutableRawPointer(check).assumingMemoryBound(to: uv_handle_t.self)) { $0?.deallocate() }
    uv_close(UnsafeMutableRawPointer(prepare).assumingMemoryBound(to: uv_handle_t.self)) { $0?.deallocate() }
    mailbox.close()
    // Lets the close callbacks of all handles run. Open handles keep the loop alive, so none is open now.
    while uv_run(handle, UV_RUN_NOWAIT) != 0 {}
    uv_loop_close(handle)
    handle.deallocate()
  }

  /// Nanoseconds of the monotonic clock, read from the system.
  public var now: UInt64 { uv_hrtime() }

  /// Nanoseconds of the same clock when this turn began, in whole milliseconds; costs no system call.
  public var turnTime: UInt64 { uv_now(handle) &* 1_000_000 }

  /// Runs turns until `stop()`, even while there is nothing to wait for but the mailbox.
  public func run() {
    endTurn()
    uv_run(handle, UV_RUN_DEFAULT)
  }

  /// One turn; waits for an event where `waiting` is true.
  public func turn(waiting: Bool) {
    endTurn()
    uv_run(handle, waiting ? UV_RUN_ONCE : UV_RUN_NOWAIT)
  }

  /// Makes `run()` return after this turn.
  public func stop() { uv_stop(handle) }

  /// Runs `work` once at the end of this turn, before the loop waits again, or when the turn's end is brought forward
  /// (``countWaiter()``). Work that is postponed meanwhile runs in the same pass.
  public func atEndOfTurn(_ work: @escaping () -> Void) { deferred.append(Deferred(work: work)) }

  /// Counts a call or a client that waits for postponed work. When there are four, the loop brings the end of the turn
  /// forward: the work runs as soon as the handler of the current descriptor returns, before the handlers of the other
  /// ready descriptors. It does so again when eight more wait, then sixteen, and so on: so the first of many that
  /// arrive at once waits for few others, and all of them together cost few passes.
  public func countWaiter() { waiters += 1 }

  /// A descriptor's handler has returned.
  @inline(__always) func descriptorDone() {
    if waiters >= mostWaiters { bringForwardEnd() }
  }

  private func bringForwardEnd() {
    runDeferred()
    waiters = 0
    mostWaiters *= 2
  }

  private func endTurn() {
    runDeferred()
    waiters = 0
    mostWaiters = Self.firstWaiters
  }

  private func runDeferred() {
    while !deferred.isEmpty {
      swap(&deferred, &running)
      for deferred in running { deferred.work() }
      running.removeAll(keepingCapacity: running.capacity <= 1024)
    }
  }
}

/// The way back from another thread to an object of the loop's thread, which may be gone by then.
public final class LoopAddress<Target: AnyObject>: @unchecked Sendable {
  // Reason for unchecked: other threads only pass it on; the reference is set and read on the loop's thread alone.
  public weak var target: Target?

  public init() {}
}

/// Carries closures from any thread to the loop's thread.
public final class Mailbox: Sendable {
  private struct Box: @unchecked Sendable {
    // Reason for unchecked: uv_async_send is the one libuv call that is safe from any thread, and the pointer
    // is only read under the lock, which `close` takes too.
    var async: UnsafeMutablePointer<uv_async_t>?
    var letters: [@Sendable () -> Void] = []
  }
  private let box: Guarded<Box>

  fileprivate init(loop: UnsafeMutablePointer<uv_loop_t>) throws {
    let async = UnsafeMutablePointer<uv_async_t>.allocate(capacity: 1)
    box = Guarded(Box(async: nil))
    let code = uv_async_init(loop, async) { handle in
      guard let handle, let data = handle.pointee.data else { return }
      Unmanaged<Mailbox>.fromOpaque(data).takeUnretainedValue().open()
    }
    guard code == 0 else {
      async.deallocate()
      throw EventLoopError("uv_async_init", code)
    }
    async.pointee.data = Unmanaged.passUnretained(self).toOpaque()
    let address = UInt(bitPattern: async)
    box.withLock { $0.async = UnsafeMutablePointer(bitPattern: address) }
  }

  /// Runs `letter` on the loop's thread in one of its next turns; dropped where the loop is gone. Any thread may call
  /// it.
  public func post(_ letter: @escaping @Sendable () -> Void) {
    box.withLock { box in
      guard let async = box.async else { return }
      box.letters.append(letter)
      uv_async_send(async)
    }
  }

  private func open() {
    let letters = box.withLock { box in
      defer { box.letters = [] }
      return box.letters
    }
    for letter in letters { letter() }
  }

  fileprivate func close() {
    box.withLock { box in
      guard let async = box.async else { return }
      box.async = nil
      box.letters = []
      async.pointee.data = nil
      uv_close(UnsafeMutableRawPointer(async).assumingMemoryBound(to: uv_handle_t.self)) { $0?.deallocate() }
    }
  }
}
