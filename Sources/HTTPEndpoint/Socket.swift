// The system calls on sockets, with their differences between Linux and macOS.
#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

enum Socket {
  enum ReadResult: Equatable {
    case bytes(Int)
    case end
    case wouldBlock
    case failed
  }
  enum WriteResult: Equatable {
    case bytes(Int)
    case wouldBlock
    case failed
  }

  #if canImport(Glibc)
    static let streamType = Int32(SOCK_STREAM.rawValue)
    private static let sendFlags = Int32(MSG_NOSIGNAL)
  #else
    static let streamType = SOCK_STREAM
    private static let sendFlags: Int32 = 0
  #endif

  /// Reads into the first `most` bytes of `buffer`.
  static func read(_ descriptor: Int32, into buffer: inout [UInt8], atMost most: Int) -> ReadResult {
    buffer.withUnsafeMutableBytes { read(descriptor, into: UnsafeMutableRawBufferPointer(rebasing: $0[..<most])) }
  }

  /// Appends as many bytes as are there and fit into `space`.
  static func read(_ descriptor: Int32, into space: inout OutputSpan<UInt8>) -> ReadResult {
    space.appendRead { read(descriptor, into: $0) }
  }

  private static func read(_ descriptor: Int32, into space: UnsafeMutableRawBufferPointer) -> ReadResult {
    while true {
      let count = recv(descriptor, space.baseAddress, space.count, 0)
      if count > 0 { return .bytes(count) }
      if count == 0 { return .end }
      if errno == EINTR { continue }
      return errno == EAGAIN || errno == EWOULDBLOCK ? .wouldBlock : .failed
    }
  }

  /// True where bytes, or the end, can be read.
  static func hasInput(_ descriptor: Int32) -> Bool {
    var waiting = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    return poll(&waiting, 1, 0) == 1 && waiting.revents & Int16(POLLIN) != 0
  }

  static func write(_ descriptor: Int32, _ bytes: ArraySlice<UInt8>) -> WriteResult {
    while true {
      let count = bytes.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, sendFlags) }
      if count >= 0 { return .bytes(count) }
      if errno == EINTR { continue }
      return errno == EAGAIN || errno == EWOULDBLOCK ? .wouldBlock : .failed
    }
  }

  /// Writes up to 64 pieces of the queue with one call.
  static func write(_ descriptor: Int32, _ queue: OutputQueue) -> WriteResult {
    withUnsafeTemporaryAllocation(of: iovec.self, capacity: 64) { vectors in
      var count = 0
      // The queue is not changed before `sendmsg` has returned, so the pieces stay where they are.
      queue.withPieces(upTo: vectors.count) { piece in
        piece.withUnsafeBytes {
          vectors[count] = iovec(iov_base: UnsafeMutableRawPointer(mutating: $0.baseAddress), iov_len: $0.count)
        }
        count += 1
      }
      var message = msghdr()
      message.msg_iov = vectors.baseAddress
      message.msg_iovlen = numericCast(count)
      while true {
        let sent = sendmsg(descriptor, &message, sendFlags)
        if sent >= 0 { return .bytes(sent) }
        if errno == EINTR { continue }
        return errno == EAGAIN || errno == EWOULDBLOCK ? .wouldBlock : .failed
      }
    }
  }

  static func makeNonBlocking(_ descriptor: Int32) {
    _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
    _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    #if !canImport(Glibc)
      set(descriptor, SOL_SOCKET, SO_NOSIGPIPE, 1)
    #endif
  }

  static func set(_ descriptor: Int32, _ level: Int32, _ option: Int32, _ value: Int32) {
    var value = value
    setsockopt(descriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
  }

  /// Turns the Nagle delay off, and keepalive probes on after a minute of silence, so that a vanished peer is noticed.
  static func tuneTCP(_ descriptor: Int32) {
    set(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, 1)
    set(descriptor, SOL_SOCKET, SO_KEEPALIVE, 1)
    #if canImport(Glibc)
      set(descriptor, Int32(IPPROTO_TCP), TCP_KEEPIDLE, 60)
    #else
      set(descriptor, Int32(IPPROTO_TCP), TCP_KEEPALIVE, 60)
    #endif
    set(descriptor, Int32(IPPROTO_TCP), TCP_KEEPINTVL, 20)
    set(descriptor, Int32(IPPROTO_TCP), TCP_KEEPCNT, 3)
  }

  /// Closes our sending side; bytes that were sent still arrive.
  static func shutdownSending(_ descriptor: Int32) { _ = shutdown(descriptor, Int32(SHUT_WR)) }

  /// Makes the coming `close` a reset, which no client takes for the end of an answer.
  static func makeCloseReset(_ descriptor: Int32) {
    var linger = linger(l_onoff: 1, l_linger: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout.size(ofValue: linger)))
  }

  /// A descriptor that only reserves its number; nil where none is left.
  static func openNothing() -> Int32? {
    let descriptor = open("/dev/null", O_RDONLY | O_CLOEXEC)
    return descriptor < 0 ? nil : descriptor
  }

  static func closeDescriptor(_ descriptor: Int32) { _ = close(descriptor) }

  static func errorText(_ code: Int32) -> String { String(cString: strerror(code)) }

  /// `127.0.0.1:53122`, `[::1]:53122`, `unix`.
  static func describe(_ storage: sockaddr_storage) -> String {
    var storage = storage
    guard let (host, port) = hostAndPort(&storage) else { return "unix" }
    return EndpointAddress.tcp(host: host, port: port).description
  }

  /// Numeric host and port of an IP address; nil for other families.
  static func hostAndPort(_ storage: inout sockaddr_storage) -> (host: String, port: Int)? {
    let family = Int32(storage.ss_family)
    guard family == AF_INET || family == AF_INET6 else { return nil }
    return withUnsafePointer(to: &storage) { pointer in
      withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(INET6_ADDRSTRLEN)) { text in
        let port: UInt16
        if family == AF_INET {
          port = pointer.withMemoryRebound(to: sockaddr_in.self, capacity: 1) { address in
            var bytes = address.pointee.sin_addr
            inet_ntop(AF_INET, &bytes, text.baseAddress, socklen_t(text.count))
            return UInt16(bigEndian: address.pointee.sin_port)
          }
        } else {
          port = pointer.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) { address in
            var bytes = address.pointee.sin6_addr
            inet_ntop(AF_INET6, &bytes, text.baseAddress, socklen_t(text.count))
            return UInt16(bigEndian: address.pointee.sin6_port)
          }
        }
        return text.baseAddress.map { (String(cString: $0), Int(port)) }
      }
    }
  }
}

extension OutputSpan<UInt8> {
  /// Calls `read` with the free space, and counts the bytes that it reports as appended.
  mutating func appendRead(_ read: (UnsafeMutableRawBufferPointer) -> Socket.ReadResult) -> Socket.ReadResult {
    withUnsafeMutableBufferPointer { space, count in
      let result = read(UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(space)[count...]))
      if case .bytes(let taken) = result { count += taken }
      return result
    }
  }
}
