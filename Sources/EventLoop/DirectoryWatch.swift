// Tells when something in a directory has changed. A file that is replaced (by renaming a new file over it, or by
// changing a symbolic link) cannot be watched by its descriptor, so the directory is watched.
import CUV

/// Calls its action, on the loop's thread, after each change in one directory; several changes may come as one call.
public final class DirectoryWatch {
  private let handle: UnsafeMutablePointer<uv_fs_event_t>
  private let action: () -> Void
  private let loop: EventLoop
  private var isInitialized = true

  /// - Throws: `EventLoopError` where the directory does not exist or the system's watches are used up.
  public init(_ loop: EventLoop, directory: String, action: @escaping () -> Void) throws {
    self.loop = loop
    self.action = action
    handle = .allocate(capacity: 1)
    var code = uv_fs_event_init(loop.handle, handle)
    guard code == 0 else {
      // Throwing here runs `deinit`, which must find nothing to close.
      isInitialized = false
      handle.deallocate()
      throw EventLoopError("uv_fs_event_init", code)
    }
    handle.pointee.data = nil
    code = uv_fs_event_start(
      handle,
      { handle, _, _, _ in
        guard let handle, let data = handle.pointee.data else { return }
        let watch = Unmanaged<DirectoryWatch>.fromOpaque(data).takeUnretainedValue()
        watch.action()
      }, directory, 0)
    guard code == 0 else { throw EventLoopError("watching \(directory)", code) }
    handle.pointee.data = Unmanaged.passUnretained(self).toOpaque()
    uv_unref(UnsafeMutableRawPointer(handle).assumingMemoryBound(to: uv_handle_t.self))
  }

  deinit {
    guard isInitialized else { return }
    handle.pointee.data = nil
    uv_fs_event_stop(handle)
    uv_close(UnsafeMutableRawPointer(handle).assumingMemoryBound(to: uv_handle_t.self)) { $0?.deallocate() }
  }
}
