// Test support: a server on a real socket and its clients, all on one loop and one thread; a test turns the loop until
// what it waits for has happened.
import COpenSSL
import EventLoop
import Foundation
import HTTPMessage
import Testing

@testable import HTTPEndpoint

final class ServerBench {
  let loop: EventLoop
  let server: HTTPServer
  let handler: RecordingHandler
  private var watchdog: LoopTimer!
  private var isLate = false

  init(
    _ handler: RecordingHandler, limits: EndpointLimits = EndpointLimits(), tls: TLSContext? = nil,
    memory: MemoryAccount = MemoryAccount()
  ) throws {
    loop = try EventLoop()
    self.handler = handler
    server = HTTPServer(loop: loop, handler: handler, limits: limits, tls: tls, memory: memory)
    watchdog = LoopTimer(loop) { [unowned self] in self.isLate = true }
  }

  deinit { server.close() }

  /// Listens on a free port and returns it.
  func listen() throws -> Int {
    guard case .tcp(_, let port) = try server.listen(.tcp(host: "127.0.0.1", port: 0)) else { return 0 }
    return port
  }

  /// Turns the loop until `condition` holds; a test that waits in vain fails after half a minute.
  func turn(until condition: () -> Bool, _ location: SourceLocation = #_sourceLocation) {
    isLate = false
    watchdog.schedule(after: .seconds(30))
    while !condition(), !isLate { loop.turn(waiting: true) }
    watchdog.cancel()
    if isLate { Issue.record("what was waited for did not happen", sourceLocation: location) }
  }

  /// Behaves as if time had passed.
  func pass(seconds: UInt64) {
    server.tick(now: loop.turnTime + seconds * 1_000_000_000)
    loop.turn(waiting: false)
  }
}

/// A client's socket on the bench's loop. It reads all the time unless told not to.
final class TestClient {
  enum ClientError: Error { case notConnected }
  let descriptor: Int32
  private let bench: ServerBench
  private var watch: DescriptorWatch?
  private var unsent: [UInt8] = []
  private(set) var received: [UInt8] = []
  /// The server closed its side, or reset.
  private(set) var isAtEnd = false
  private(set) var wasReset = false
  private var isClosed = false
  var isReading = true { didSet { updateInterest() } }

  init(_ bench: ServerBench, port: Int) throws {
    self.bench = bench
    descriptor = socket(AF_INET, Socket.streamType, 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = UInt16(port).bigEndian
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    let code = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard code == 0 else { throw ClientError.notConnected }
    try start()
  }

  init(_ bench: ServerBench, path: String) throws {
    self.bench = bench
    descriptor = socket(AF_UNIX, Socket.streamType, 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
    let code = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    guard code == 0 else { throw ClientError.notConnected }
    try start()
  }

  private func start() throws {
    Socket.makeNonBlocking(descriptor)
    watch = try DescriptorWatch(bench.loop, descriptor: descriptor) { [unowned self] readiness in
      if readiness.contains(.writable) { self.sendMore() }
      if readiness.contains(.readable) { self.readMore() }
      self.updateInterest()
    }
    updateInterest()
  }

  deinit { leave() }

  private func updateInterest() {
    // Nothing is waited for on a closed one.
    guard !isClosed else { return }
    var interest: Readiness = []
    if isReading, !isAtEnd { interest.insert(.readable) }
    if !unsent.isEmpty { interest.insert(.writable) }
    watch?.wait(for: interest)
  }

  private func readMore() {
    var space = [UInt8](repeating: 0, count: 65_536)
    while true {
      switch Socket.read(descriptor, into: &space, atMost: space.count) {
      case .bytes(let count): received.append(contentsOf: space[..<count])
      case .wouldBlock: return
      case .end:
        isAtEnd = true
        return
      case .failed:
        isAtEnd = true
        wasReset = true
        return
      }
    }
  }

  private func sendMore() {
    while !unsent.isEmpty {
      // The rest goes when the socket has room again.
      guard case .bytes(let count) = Socket.write(descriptor, unsent[...]) else { return }
      unsent.removeFirst(count)
    }
  }

  func send(_ text: String) { send(Array(text.utf8)) }
  func send(_ bytes: [UInt8]) {
    unsent += bytes
    sendMore()
    updateInterest()
  }

  func shutDownSending() { Socket.shutdownSending(descriptor) }

  /// Closes; with `resets` by RST.
  func leave(resets: Bool = false) {
    // Harmless when it has left.
    guard !isClosed else { return }
    isClosed = true
    watch?.close()
    if resets { Socket.makeCloseReset(descriptor) }
    Socket.closeDescriptor(descriptor)
  }

  var text: String { String(decoding: received, as: UTF8.self) }
  func forget() { received = [] }
}

/// A file's name that no other test uses.
func temporaryPath(_ name: String) -> String {
  // Short, since a socket's path has at most 107 bytes.
  "/tmp/tg-\(UInt32.random(in: 0...UInt32.max))-\(name)"
}
