// A server on a thread of its own that does to each connection what a test tells it, byte by byte, over blocking
// sockets.
import Foundation
import SharedState

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

/// Accepts connections on a port of the loopback and runs the script for each, one thread per connection.
final class ScriptedServer: Sendable {
  let port: UInt16
  private let listener: Int32
  private let counts = Guarded(0)
  private let open = Guarded<Set<Int32>>([])

  /// Connections accepted so far.
  var connections: Int { counts.withLock { $0 } }
  var url: String { "http://127.0.0.1:\(port)" }

  init(_ script: @escaping @Sendable (ScriptedConnection) throws -> Void) throws {
    listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    var address = loopback(port: 0)
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let descriptor = listener
    let bound = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, length) == 0 && listen(descriptor, 128) == 0 && getsockname(descriptor, $0, &length) == 0
      }
    }
    guard bound else { throw POSIXError(.EADDRINUSE) }
    port = UInt16(bigEndian: address.sin_port)
    Thread.detachNewThread { [self] in
      while true {
        let accepted = accept(descriptor, nil, nil)
        guard accepted >= 0 else {
          if errno == EINTR { continue }
          // Closed here and not in `stop`: its number could be another server's by the time that `accept` is called again.
          close(descriptor)
          return
        }
        let number = counts.withLock {
          $0 += 1
          return $0
        }
        _ = open.withLock { $0.insert(accepted) }
        Thread.detachNewThread { [self] in
          let connection = ScriptedConnection(descriptor: accepted, number: number)
          try? script(connection)
          open.withLock {
            if $0.remove(accepted) != nil { close(accepted) }
          }
        }
      }
    }
  }

  /// Ends the listener and breaks what is open, so that no thread stays blocked.
  func stop() {
    shutdown(listener, Int32(SHUT_RDWR))
    open.withLock { descriptors in for descriptor in descriptors { shutdown(descriptor, Int32(SHUT_RDWR)) } }
  }
}

func loopback(port: UInt16) -> sockaddr_in {
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_port = port.bigEndian
  address.sin_addr.s_addr = inet_addr("127.0.0.1")
  return address
}

/// What arrived as one request.
struct ScriptedRequest: Sendable {
  var head: String
  var body: [UInt8]
  var lines: [String] { head.components(separatedBy: "\r\n").filter { !$0.isEmpty } }
  var requestLine: String { lines.first ?? "" }

  func values(_ name: String) -> [String] {
    lines.dropFirst().compactMap { line in
      guard let colon = line.firstIndex(of: ":"), line[..<colon].lowercased() == name else { return nil }
      return line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces)
    }
  }
}

final class ScriptedConnection: Sendable {
  let descriptor: Int32
  /// 1 for the first connection that the server accepted.
  let number: Int
  private let unread = Guarded<[UInt8]>([])

  init(descriptor: Int32, number: Int) {
    self.descriptor = descriptor
    self.number = number
  }

  struct Closed: Error {}

  /// The next request with its body, by `Content-Length`. Throws `Closed` at the end of the stream.
  func readRequest() throws -> ScriptedRequest {
    var bytes = unread.withLock { (kept: inout [UInt8]) in
      let bytes = kept
      kept = []
      return bytes
    }
    let marker = Array("\r\n\r\n".utf8)
    var headEnd: Int?
    while headEnd == nil {
      if let range = bytes.firstRange(of: marker) {
        headEnd = range.upperBound
      } else {
        bytes += try read()
      }
    }
    let end = headEnd ?? 0
    var request = ScriptedRequest(head: String(decoding: bytes[..<end], as: UTF8.self), body: [])
    let length = request.values("content-length").first.flatMap { Int($0) } ?? 0
    while bytes.count < end + length { bytes += try read() }
    request.body = Array(bytes[end..<end + length])
    let rest = Array(bytes[(end + length)...])
    unread.withLock { $0 = rest }
    return request
  }

  /// What comes next, at least one byte.
  func read(atMost count: Int = 65536) throws -> [UInt8] {
    var buffer = [UInt8](repeating: 0, count: count)
    let got = recv(descriptor, &buffer, count, 0)
    guard got > 0 else { throw Closed() }
    return Array(buffer[..<got])
  }

  /// Waits until the client closed or reset the connection.
  func waitForClose() {
    while (try? read()) != nil {}
  }

  func send(_ text: String) throws { try send(Array(text.utf8)) }

  func send(_ bytes: [UInt8]) throws {
    var at = 0
    while at < bytes.count {
      let sent = bytes.withUnsafeBytes {
        Glibc.send(descriptor, $0.baseAddress?.advanced(by: at), bytes.count - at, Int32(MSG_NOSIGNAL))
      }
      guard sent > 0 else { throw Closed() }
      at += sent
    }
  }

  /// Closes so that the client sees a reset instead of an end.
  func reset() {
    var option = linger(l_onoff: 1, l_linger: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
  }
}

/// Holds back a script until the test opens it.
final class Gate: Sendable {
  private let condition = NSCondition()
  private let isOpen = Guarded(false)

  func open() {
    condition.lock()
    isOpen.withLock { $0 = true }
    condition.broadcast()
    condition.unlock()
  }

  var hasOpened: Bool { isOpen.withLock { $0 } }

  func waitUntilOpen() {
    condition.lock()
    while !isOpen.withLock({ $0 }) { condition.wait() }
    condition.unlock()
  }
}
