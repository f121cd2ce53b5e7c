// One HTTP/2 connection to a provider: opened and encrypted by libcurl, framed by us, shared by many calls.
//
// Promises: it takes calls once the provider's settings have come, as many as they allow; it is never closed inside one
// of nghttp2's callbacks; its end is one event, however many calls ran on it; it reads a bounded number of bytes per
// event.
import CCurl
import EventLoop
import HTTPMessage

final class MultiplexedConnection: CallCarrier {
  private enum Phase {
    /// Resolving, TCP and TLS. Next: open, closed.
    case connecting
    /// Frames come and go. Next: closed.
    case open
    case closed
  }
  /// No more output is framed while this much waits for the socket.
  private static let framedBytes = 64 << 10

  private unowned let upstream: CurlUpstream
  private let pool: ProviderPool
  /// The multiplexer, which removes the connection when it closes.
  private let multiplexer: Multiplexer
  private var phase = Phase.connecting
  let session: HTTP2ClientSession
  private var dialed: DialedConnection?
  private var descriptor: Int32 = -1
  private var socket: CurlSocket?
  private var output: [UInt8] = []
  private var outputStart = 0
  private var isReceiving = false
  private var flushIsComing = false
  /// True until the connection has been checked for being idle.
  private var wasBusy = true
  /// True where the connection has carried a call.
  private var hasCarried = false
  /// True where a complete answer has come over it.
  var hasServed = false
  /// When the connection must be ready to take calls, in nanoseconds of the loop's clock.
  let readyDeadline: UInt64
  /// Since when no stream has been open.
  private(set) var idleSince: UInt64
  /// The number of the connection's end, by which failures are counted once.
  let event: UInt64

  init(_ upstream: CurlUpstream, _ pool: ProviderPool, _ multiplexer: Multiplexer, readyDeadline: UInt64) {
    self.upstream = upstream
    self.pool = pool
    self.multiplexer = multiplexer
    // Libcurl's own connect timeout comes first.
    self.readyDeadline = min(readyDeadline, upstream.now &+ ProviderPool.patience) &+ 100_000_000
    idleSince = upstream.now
    event = upstream.nextEvent()
    session = HTTP2ClientSession(maxHeaderBytes: pool.settings.maxHeaderBytes) { [unowned upstream] in upstream.now }
  }

  var isClosed: Bool { phase == .closed }
  /// True while it is not known how many calls the connection takes.
  var isPending: Bool { phase == .connecting || (phase == .open && !session.isReady) }
  /// True where the connection takes no more calls and will close, or has closed.
  var isLeaving: Bool { phase == .closed || session.isLeaving }
  var room: Int { phase == .open ? session.room : 0 }
  /// True where the provider allows no streams, although the connection is open.
  var isShut: Bool { phase == .open && session.isReady && session.allowedStreams == 0 && !session.isLeaving }
  var isIdle: Bool { phase == .open && session.openStreams == 0 }

  // MARK: Opening

  func begin(connectTimeout: Duration?) throws(TransferSetupFailure) {
    dialed = try pool.dial(multiplexer.origin, for: self, upstream, offersHTTP2: true, within: connectTimeout)
    upstream.wantUpkeep(at: readyDeadline)
  }

  override func libcurlFinished(_ code: CURLcode) {
    guard phase == .connecting, let dialed else { return }
    switch dialed.result(code, pool, at: multiplexer.origin) {
    case .failure(let failure):
      close()
      multiplexer.couldNotOpen(failure)
    case .success(let opened): opens(dialed, opened)
    }
  }

  private func opens(_ dialed: DialedConnection, _ opened: Int32) {
    // Libcurl shows the connection's TLS object only after a read.
    let first = dialed.handle.receive(into: &upstream.receiveBuffer)
    if first == .end || first == .failed { return endedUnused() }
    guard dialed.handle.speaksHTTP2 else {
      // The connection is kept, but speaks HTTP/1.1.
      self.dialed = nil
      phase = .closed
      return multiplexer.speaksHTTP1(dialed, opened)
    }
    phase = .open
    descriptor = opened
    socket = upstream.own(opened, self, takingFromLibcurl: false)
    if case .bytes(let count) = first {
      take(count)
      // More bytes may be decrypted already, which raises no event.
      receive()
    } else {
      flush()
    }
  }

  // MARK: Calls

  /// Opens a stream for the call; nil where none can be opened.
  func open(_ fields: HTTP2RequestFields, body: [UInt8], owner: any HTTP2StreamOwner) -> Int32? {
    guard phase == .open, let id = session.begin(fields, body: body, owner: owner) else { return nil }
    wasBusy = true
    hasCarried = true
    needsFlush()
    return id
  }

  /// Schedules a flush at the end of this turn.
  func needsFlush() {
    guard !flushIsComing, phase == .open else { return }
    flushIsComing = true
    upstream.loop.atEndOfTurn { [self] in
      flushIsComing = false
      flush()
    }
  }

  // MARK: The socket

  override func ready(_ readiness: Readiness) {
    guard phase == .open else { return }
    if readiness.contains(.readable) || readiness.contains(.disconnected) { receive() } else { flush() }
  }

  /// Reads what the provider sent while no call ran, such as GOAWAY or the end, before another call is sent.
  func look() {
    guard phase == .open, !isReceiving, session.openStreams == 0, !isSilent(descriptor) else { return }
    receive()
  }

  private func receive() {
    guard !isReceiving else { return }
    var end: String?
    var reads = 0
    reading: while phase == .open, end == nil, !session.isBroken, let handle = dialed?.handle {
      guard reads < Self.readsPerEvent else {
        upstream.readOnLater(self, handle)
        break
      }
      reads += 1
      switch handle.receive(into: &upstream.receiveBuffer) {
      case .bytes(let count):
        take(count)
        if handle.hasReadAll { break reading }
      case .wouldBlock: break reading
      case .end: end = "the connection was closed"
      case .failed: end = "the connection was reset"
      }
    }
    if let end { lose(end) } else { flush() }
  }

  /// Takes the first `count` bytes of the read buffer.
  private func take(_ count: Int) {
    isReceiving = true
    session.receive(upstream.receiveBuffer[..<count])
    isReceiving = false
  }

  private func flush() {
    guard phase == .open, !isReceiving else { return }
    let written = write()
    if written == .failed { return lose("the connection was reset") }
    // After a violation of the protocol nothing more is read, and we do not wait until the provider has taken our
    // output.
    if session.isBroken { return lose("the provider broke the protocol") }
    if written == .all, session.isFinished { return lose("the connection was closed") }
    socket?.watch?.wait(for: written == .blocked ? [.readable, .writable] : .readable)
    if session.openStreams == 0 { becameIdle() }
    // The flush may have closed the connection, where the provider takes no more.
    if phase == .open || hasCarried { multiplexer.placeWaiting() }
  }

  private enum Written { case all, blocked, failed }

  private func write() -> Written {
    guard let handle = dialed?.handle else { return .failed }
    while true {
      if outputStart == output.count {
        output.removeAll(keepingCapacity: output.capacity <= 4096 || session.openStreams > 0)
        outputStart = 0
        // The callbacks in here may hand calls over and end others, but must not close this connection.
        isReceiving = true
        session.produce(into: &output, limit: Self.framedBytes)
        isReceiving = false
        if output.isEmpty { return .all }
      }
      switch handle.send(output[outputStart...]) {
      case .bytes(let count): outputStart += count
      case .wouldBlock: return .blocked
      case .failed: return .failed
      }
    }
  }

  private func becameIdle() {
    if session.isLeaving { return hasCarried ? close() : endedUnused() }
    guard wasBusy else { return }
    wasBusy = false
    idleSince = upstream.now
    upstream.wantUpkeep(at: pool.isRetired ? idleSince : idleSince &+ ProviderPool.patience)
  }

  /// The connection is lost, and with it every call on it.
  private func lose(_ how: String) {
    guard phase == .open else { return }
    guard hasCarried else { return endedUnused() }
    close()
    session.connectionLost(how)
    multiplexer.placeWaiting()
  }

  /// The connection ended before it carried a call. Another one would not fare better, so waiting calls fail.
  private func endedUnused() {
    close()
    multiplexer.couldNotOpen(
      UpstreamFailure(
        kind: .resetBeforeResponse, detail: "the connection was closed before any request",
        requestMayHaveArrived: false))
  }

  /// Closes for good; harmless when it is closed already. Only `lose` tells open streams about it.
  func close() {
    guard phase != .closed else { return }
    phase = .closed
    multiplexer.forget(self)
    dialed?.letGo(upstream)
    dialed = nil
    socket?.direct = nil
    socket = nil
    descriptor = -1
    output = []
    outputStart = 0
  }

  /// Ends an idle connection with GOAWAY.
  func sayGoodbye() {
    session.sayGoodbye()
    _ = write()
    close()
  }
}
