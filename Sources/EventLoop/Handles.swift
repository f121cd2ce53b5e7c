// The loop's handles: descriptor watches, timers, signals. Each is a class whose last reference closes it.
import CUV

/// What happened, or what to wait for, on a descriptor.
public struct Readiness: OptionSet, Sendable {
  public let rawValue: Int32
  public init(rawValue: Int32) { self.rawValue = rawValue }
  public static let readable = Readiness(rawValue: Int32(UV_READABLE.rawValue))
  public static let writable = Readiness(rawValue: Int32(UV_WRITABLE.rawValue))
  /// The peer closed its sending side.
  public static let disconnected = Readiness(rawValue: Int32(UV_DISCONNECT.rawValue))
  /// Waited for alone, it wakes only for a reset or an error (strictly for urgent data, which honest peers do not
  /// send).
  public static let broken = Readiness(rawValue: Int32(UV_PRIORITIZED.rawValue))
}

/// Watches one descriptor. The descriptor belongs to the caller, who must `close()` the watch before closing it.
public final class DescriptorWatch {
  private let handle: UnsafeMutablePointer<uv_poll_t>
  private var isOpen = true
  private var interest: Readiness = []
  private var handler: ((Readiness) -> Void)?
  /// Keeps the loop alive as long as a handle is open.
  private let loop: EventLoop

  public init(_ loop: EventLoop, descriptor: Int32, handler: @escaping (Readiness) -> Void) throws {
    self.loop = loop
    handle = .allocate(capacity: 1)
    let code = uv_poll_init(loop.handle, handle, descriptor)
    guard code == 0 else {
      // Throwing from here runs `deinit`, which must find nothing to close.
      isOpen = false
      handle.deallocate()
      throw EventLoopError("uv_poll_init", code)
    }
    self.handler = handler
    handle.pointee.data = Unmanaged.passUnretained(self).toOpaque()
  }

  /// Waits for these from now on; an empty set waits for nothing and keeps the registration.
  public func wait(for interest: Readiness) {
    guard isOpen, interest != self.interest else { return }
    self.interest = interest
    if interest.isEmpty {
      uv_poll_stop(handle)
    } else {
      uv_poll_start(handle, interest.rawValue) { handle, status, events in
        guard let handle, let data = handle.pointee.data else { return }
        let watch = Unmanaged<DescriptorWatch>.fromOpaque(data).takeUnretainedValue()
        // An error (EBADF, POLLERR) is reported as every readiness: the next read or write shows the error. libuv has
        // stopped the watch then, so the next `wait(for:)` must start it again.
        if status < 0 { watch.interest = [] }
        watch.handler?(status < 0 ? [.readable, .writable, .disconnected, .broken] : Readiness(rawValue: events))
        watch.loop.descriptorDone()
      }
    }
  }

  public func close() {
    guard isOpen else { return }
    isOpen = false
    handler = nil
    handle.pointee.data = nil
    uv_poll_stop(handle)
    uv_close(UnsafeMutableRawPointer(handle).assumingMemoryBound(to: uv_handle_t.self)) { $0?.deallocate() }
  }

  deinit { close() }
}

/// Fires once per `schedule`. The time is rounded up to whole milliseconds, so that it never fires early.
public final class LoopTimer {
  private let handle: UnsafeMutablePointer<uv_timer_t>
  private let action: () -> Void
  private let loop: EventLoop

  public init(_ loop: EventLoop, action: @escaping () -> Void) {
    self.loop = loop
    self.action = action
    handle = .allocate(capacity: 1)
    uv_timer_init(loop.handle, handle)
    handle.pointee.data = Unmanaged.passUnretained(self).toOpaque()
  }

  /// Fires when the monotonic clock reaches `deadline` (nanoseconds, as ``EventLoop/now``); replaces what was
  /// scheduled.
  public func schedule(at deadline: UInt64) {
    // libuv counts whole milliseconds of the same clock from the time of this turn. The deadline is rounded up, not the
    // wait: otherwise the fraction that the turn's time leaves out would make the timer fire early.
    let due = deadline / 1_000_000 + (deadline % 1_000_000 == 0 ? 0 : 1)
    let turn = uv_now(loop.handle)
    let wait = due > turn ? due - turn : 0
    uv_timer_start(
      handle,
      { handle in
        guard let handle, let data = handle.pointee.data else { return }
        Unmanaged<LoopTimer>.fromOpaque(data).takeUnretainedValue().action()
      }, wait, 0)
  }

  /// Fires `delay` from now.
  public func schedule(after delay: Duration) {
    schedule(at: uv_hrtime() &+ delay.wholeNanoseconds)
  }

  public func cancel() { uv_timer_stop(handle) }

  public var isScheduled: Bool {
    uv_is_active(UnsafeMutableRawPointer(handle).assumingMemoryBound(to: uv_handle_t.self)) != 0
  }

  deinit {
    handle.pointee.data = nil
    uv_timer_stop(handle)
    uv_close(UnsafeMutableRawPointer(handle).assumingMemoryBound(to: uv_handle_t.self)) { $0?.deallocate() }
  }
}

/// Calls its action for each arrival of a signal, on the loop's thread.
public final class SignalWatch {
  private let handle: UnsafeMutablePointer<uv_signal_t>
  private let action: () -> Void
  private let loop: EventLoop
  private var isOpen = true

  public init(_ loop: EventLoop, signal: Int32, action: @escaping () -> Void) throws {
    self.loop = loop
    self.action = action
    handle = .allocate(capacity: 1)
    var code = uv_signal_init(loop.handle, handle)
    guard code == 0 else {
      isOpen = false
      handle.deallocate()
      throw EventLoopError("uv_signal_init", code)
    }
    handle.pointee.data = Unmanaged.passUnretained(self).toOpaque()
    code = uv_signal_start(
      handle,
      { handle, _ in
        guard let handle, let data = handle.pointee.data else { return }
        Unmanaged<SignalWatch>.fromOpaque(data).takeUnretainedValue().action()
      }, signal)
    guard code == 0 else { throw EventLoopError("uv_signal_start", code) }
    uv_unref(UnsafeMutableRawPointer(handle).assumingMemoryBound(to: uv_handle_t.self))
  }

  deinit {
    guard isOpen else { return }
    handle.pointee.data = nil
    uv_signal_stop(handle)
    uv_close(UnsafeMutableRawPointer(handle).assumingMemoryBound(to: uv_handle_t.self)) { $0?.deallocate() }
  }
}

extension Duration {
  /// Nanoseconds, negative as 0, above 292 years as the largest `Int64`.
  public var wholeNanoseconds: UInt64 {
    let (seconds, attoseconds) = components
    guard seconds >= 0, attoseconds >= 0 else { return 0 }
    guard seconds < 9_223_372_036 else { return UInt64(Int64.max) }
    return UInt64(seconds) * 1_000_000_000 + UInt64(attoseconds) / 1_000_000_000
  }
}
