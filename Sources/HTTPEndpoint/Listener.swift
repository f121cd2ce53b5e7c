// Opens listening sockets and takes connections from them.
import EventLoop

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

/// One listening socket. `accepted` is called with each new descriptor, which then belongs to the callee. `exhausted`
/// is called where the process has no descriptor for the next connection; it returns true where it has freed one.
final class Listener {
  let address: EndpointAddress
  private let descriptor: Int32
  private var watch: DescriptorWatch?
  /// The socket file to remove at the end, identified by device and inode so that a successor's socket stays.
  private var socketFile: (device: dev_t, inode: ino_t)?

  init(
    _ loop: EventLoop, _ wanted: EndpointAddress, accepted: @escaping (Int32, sockaddr_storage) -> Void,
    exhausted: @escaping (Listener, Int32) -> Bool
  ) throws {
    switch wanted {
    case .tcp(let host, let port):
      (descriptor, address) = try Self.openTCP(host: host, port: port)
    case .unix(let path):
      descriptor = try Self.openUnix(path)
      address = wanted
      var status = stat()
      if stat(path, &status) == 0 { socketFile = (status.st_dev, status.st_ino) }
    }
    guard listen(descriptor, 1024) == 0 else {
      let code = errno
      Socket.closeDescriptor(descriptor)
      throw EndpointError("cannot listen on \(wanted): \(Socket.errorText(code))")
    }
    let descriptor = descriptor
    watch = try DescriptorWatch(loop, descriptor: descriptor) { [unowned self] _ in
      // Bounded, so that a flood of connections does not hold up open ones; the loop comes back for the rest.
      var hasMadeRoom = false
      for _ in 0..<64 {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let taken = withUnsafeMutablePointer(to: &storage) { pointer in
          pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { accept(descriptor, $0, &length) }
        }
        guard taken >= 0 else {
          if errno == EINTR || errno == ECONNABORTED { continue }
          let code = errno
          guard [EMFILE, ENFILE, ENOBUFS, ENOMEM].contains(code), !hasMadeRoom else { return }
          hasMadeRoom = exhausted(self, code)
          if hasMadeRoom { continue }
          return
        }
        hasMadeRoom = false
        Socket.makeNonBlocking(taken)
        accepted(taken, storage)
      }
    }
    resume()
  }

  func pause() { watch?.wait(for: []) }
  func resume() { watch?.wait(for: .readable) }

  func close() {
    guard let watch else { return }
    watch.close()
    self.watch = nil
    Socket.closeDescriptor(descriptor)
    if case .unix(let path) = address, let socketFile {
      var status = stat()
      if lstat(path, &status) == 0, status.st_dev == socketFile.device, status.st_ino == socketFile.inode {
        unlink(path)
      }
    }
  }

  deinit { close() }

  private static func openTCP(host: String, port: Int) throws -> (Int32, EndpointAddress) {
    let name = EndpointAddress.tcp(host: host, port: port)
    guard (0...65_535).contains(port) else {
      throw EndpointError("cannot listen on \(name): the port must be 0 to 65535")
    }
    var hints = addrinfo()
    hints.ai_socktype = Socket.streamType
    hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV
    var list: UnsafeMutablePointer<addrinfo>?
    let code = getaddrinfo(host, String(port), &hints, &list)
    guard code == 0, let first = list else {
      throw EndpointError(
        "cannot listen on \(name): \(String(cString: gai_strerror(code))); "
          + "give an address of this machine, as 127.0.0.1 or ::1"
      )
    }
    defer { freeaddrinfo(list) }
    let descriptor = socket(first.pointee.ai_family, first.pointee.ai_socktype, first.pointee.ai_protocol)
    guard descriptor >= 0 else { throw EndpointError("cannot listen on \(name): \(Socket.errorText(errno))") }
    Socket.makeNonBlocking(descriptor)
    Socket.set(descriptor, SOL_SOCKET, SO_REUSEADDR, 1)
    guard bind(descriptor, first.pointee.ai_addr, first.pointee.ai_addrlen) == 0 else {
      let code = errno
      Socket.closeDescriptor(descriptor)
      throw EndpointError("cannot listen on \(name): \(Socket.errorText(code))" + mend(code, port: port))
    }
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    _ = withUnsafeMutablePointer(to: &storage) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
    }
    return (descriptor, .tcp(host: host, port: Socket.hostAndPort(&storage)?.port ?? port))
  }

  private static func mend(_ code: Int32, port: Int) -> String {
    switch code {
    case EADDRINUSE: "; another process has port \(port): stop it or choose another port"
    case EACCES: "; ports below 1024 need a privilege: choose a higher port"
    case EADDRNOTAVAIL: "; no interface of this machine has this address"
    default: ""
    }
  }

  /// Replaces a socket file on which no process listens; a file that is in use, or that is no socket, is left alone.
  private static func openUnix(_ path: String) throws -> Int32 {
    let name = EndpointAddress.unix(path: path)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(path.utf8)
    let capacity = MemoryLayout.size(ofValue: address.sun_path)
    guard !bytes.isEmpty, bytes.count < capacity, !bytes.contains(0) else {
      throw EndpointError(
        "cannot listen on \(name): the path must have 1 to \(capacity - 1) bytes, it has \(bytes.count)")
    }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    var status = stat()
    if lstat(path, &status) == 0 {
      guard status.st_mode & S_IFMT == S_IFSOCK else {
        throw EndpointError(
          "cannot listen on \(name): a file that is no socket is there; move it or choose another path")
      }
      let probe = socket(AF_UNIX, Socket.streamType, 0)
      guard probe >= 0 else { throw EndpointError("cannot listen on \(name): \(Socket.errorText(errno))") }
      let isLive = withSocketAddress(&address) { connect(probe, $0, $1) } == 0 || errno == EAGAIN || errno == EACCES
      Socket.closeDescriptor(probe)
      guard !isLive else {
        throw EndpointError("cannot listen on \(name): another process listens there; stop it or choose another path")
      }
      unlink(path)
    }
    let descriptor = socket(AF_UNIX, Socket.streamType, 0)
    guard descriptor >= 0 else { throw EndpointError("cannot listen on \(name): \(Socket.errorText(errno))") }
    Socket.makeNonBlocking(descriptor)
    guard withSocketAddress(&address, { bind(descriptor, $0, $1) }) == 0 else {
      let code = errno
      Socket.closeDescriptor(descriptor)
      throw EndpointError(
        "cannot listen on \(name): \(Socket.errorText(code)); the directory must exist and be writable")
    }
    // Only this user may connect, and no one can before `listen`.
    chmod(path, 0o600)
    return descriptor
  }

  private static func withSocketAddress(
    _ address: inout sockaddr_un, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
  ) -> Int32 {
    withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
  }
}
