// One client's socket: reads, detects the protocol, carries a session's bytes, and closes so that the client can still
// read its answer.
import EventLoop
import HTTPMessage

final class Connection: SessionCarrier {
  private enum Phase {
    case open
    /// Our sending side is shut; what still comes is dropped.
    case lingering(since: UInt64)
    case closed
  }

  private let server: HTTPServer
  private let descriptor: Int32
  private var watch: DescriptorWatch?
  private var tls: TLSStream?
  private let output = OutputQueue()
  private var session: (any Session)?
  /// The first bytes, until they show the protocol.
  private var sniffed: [UInt8] = []
  private var phase = Phase.open
  private var inputEnded = false
  private var isBlocked = false
  private var isDirty = false
  /// True where reading must go on without a new event, since TLS may hold bytes that the socket does not show.
  private var readsAgain = false
  private let openedAt: UInt64
  /// When bytes last went out or an exchange began; before that, when the connection was opened.
  private(set) var lastProgress: UInt64
  private var exchanges = 0
  /// No request is under way.
  var isIdle: Bool { exchanges == 0 }
  /// The connection's place in the server's list.
  var index = 0
  let peer: String

  init(_ server: HTTPServer, descriptor: Int32, peer: String, tls: TLSStream?) throws {
    self.server = server
    self.descriptor = descriptor
    self.peer = peer
    self.tls = tls
    openedAt = server.loop.turnTime
    lastProgress = openedAt
    watch = try DescriptorWatch(server.loop, descriptor: descriptor) { [unowned self] readiness in
      self.ready(readiness)
    }
    updateInterest()
  }

  // MARK: SessionCarrier

  var now: UInt64 { server.loop.turnTime }
  var date: [UInt8] { server.dateClock.value }

  func needsFlush() {
    guard !isDirty else { return }
    isDirty = true
    server.schedule(self)
  }
  var hasUnreadInput: Bool { (tls?.hasPendingInput ?? false) || Socket.hasInput(descriptor) }
  func inputMayGoOn() {
    guard case .open = phase else { return }
    // TLS may hold bytes of which the socket knows nothing.
    if tls != nil {
      readsAgain = true
      needsFlush()
    }
    updateInterest()
  }
  func exchangeOpened() {
    exchanges += 1
    lastProgress = now
    server.openExchanges += 1
  }
  func exchangeClosed() {
    exchanges -= 1
    server.openExchanges -= 1
  }

  // MARK: Reading

  private func ready(_ readiness: Readiness) {
    if inputEnded, readiness.contains(.broken) {
      close(.clientLeft)
      return
    }
    if readiness.contains(.writable) {
      isBlocked = false
      needsFlush()
    }
    if readiness.contains(.readable), isReading {
      read()
    } else if readiness.contains(.disconnected), !inputEnded {
      reachedEnd()
    }
    updateInterest()
  }

  private var isReading: Bool {
    switch phase {
    case .open: !inputEnded && (session?.wantsInput ?? true)
    case .lingering: !inputEnded
    case .closed: false
    }
  }

  private func read() {
    if let tls, !tls.isReady {
      guard continueHandshake(tls) else { return }
    }
    // Bounded, so that one fast client does not hold up the others.
    for round in 0..<8 {
      guard isReading else { return }
      let result: Socket.ReadResult
      var wanted = min(
        server.readBuffer.count, session?.mostInput ?? (server.memory.isFull ? BodyIntake.nextToNothing : .max))
      if let session, session.wantsDirectInput, case .open = phase {
        var direct = Socket.ReadResult.wouldBlock
        session.receiveDirectly { space in
          wanted = space.freeCapacity
          direct = tls?.read(into: &space) ?? Socket.read(descriptor, into: &space)
        }
        result = direct
      } else {
        result =
          tls?.read(into: &server.readBuffer, atMost: wanted)
          ?? Socket.read(descriptor, into: &server.readBuffer, atMost: wanted)
        if case .bytes(let count) = result { deliver(server.readBuffer[..<count]) }
      }
      switch result {
      case .bytes(let count):
        settle()
        if tls == nil, count < wanted { return }
      case .wouldBlock: return
      case .end:
        reachedEnd()
        return
      case .failed:
        close(.clientLeft)
        return
      }
      if round == 7, tls != nil {
        readsAgain = true
        needsFlush()
      }
    }
  }

  private func deliver(_ bytes: ArraySlice<UInt8>) {
    guard case .open = phase else { return }
    if let session {
      session.receive(bytes)
      return
    }
    guard sniffed.isEmpty else {
      sniffed.append(contentsOf: bytes)
      let all = sniffed
      if begin(with: all[...]) { sniffed = [] }
      return
    }
    if !begin(with: bytes) { sniffed = Array(bytes) }
  }

  /// Chooses the protocol and hands it the first bytes; false where they do not show it yet.
  private func begin(with bytes: ArraySlice<UInt8>) -> Bool {
    switch Self.sniff(bytes) {
    case nil: return false
    case .some(true):
      session = HTTP2Session(
        carrier: self, handler: server.handler, limits: server.limits, output: output, intake: server.intake)
    case .some(false):
      session = HTTP1Session(
        carrier: self, handler: server.handler, limits: server.limits, output: output, intake: server.intake)
    }
    if server.isDraining { session?.drain(closesIdle: false) }
    session?.receive(bytes)
    return true
  }

  /// True where the bytes begin with HTTP/2's preface, false where they cannot, nil where more are needed.
  static func sniff(_ bytes: ArraySlice<UInt8>) -> Bool? {
    let preface: StaticString = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    return preface.withUTF8Buffer { expected in
      for (byte, wanted) in zip(bytes, expected) where byte != wanted { return false }
      return bytes.count >= expected.count ? true : nil
    }
  }

  private func continueHandshake(_ tls: TLSStream) -> Bool {
    switch tls.continueHandshake() {
    case .done:
      // ALPN decides the protocol; without it the first bytes do, as in cleartext.
      switch tls.httpVersion {
      case 2:
        session = HTTP2Session(
          carrier: self, handler: server.handler, limits: server.limits, output: output, intake: server.intake)
      case 1:
        session = HTTP1Session(
          carrier: self, handler: server.handler, limits: server.limits, output: output, intake: server.intake)
      default: break
      }
      if server.isDraining { session?.drain(closesIdle: false) }
      return true
    case .wantsRead: return false
    case .wantsWrite:
      isBlocked = true
      return false
    case .failed:
      close(.clientLeft)
      return false
    }
  }

  private func reachedEnd() {
    inputEnded = true
    guard case .open = phase, let session else {
      close(.clientLeft)
      return
    }
    session.receivedEnd()
    settle()
  }

  // MARK: Writing

  /// The session may have decided to close, which the flush at the end of the turn carries out.
  private func settle() {
    if let session, session.fate != .open { needsFlush() }
  }

  /// Called once per turn for a connection that asked for it.
  func flush() {
    isDirty = false
    guard case .open = phase else { return }
    if readsAgain {
      readsAgain = false
      read()
      guard case .open = phase else { return }
    }
    if let tls, !tls.isReady {
      if continueHandshake(tls) { read() }
      updateInterest()
      return
    }
    guard let session else { return }
    var rounds = 0
    while case .open = phase {
      session.produce()
      if !output.isEmpty, !isBlocked {
        guard writeOnce() else { return }
      }
      session.outputMoved()
      rounds += 1
      if isBlocked || output.isEmpty || rounds == 32 {
        session.produce()
        if isBlocked || output.isEmpty { break }
        if rounds >= 32 {
          // A client that reads as fast as we write must not hold up the others.
          isBlocked = true
          break
        }
      }
    }
    carryOut(session)
    updateInterest()
  }

  /// Returns false where the connection was lost.
  private func writeOnce() -> Bool {
    let result: Socket.WriteResult
    if let tls {
      result = tls.write(output)
    } else if output.isContiguous {
      var direct = Socket.WriteResult.bytes(0)
      output.withPieces(upTo: 1) { direct = Socket.write(descriptor, $0) }
      result = direct
    } else {
      result = Socket.write(descriptor, output)
    }
    switch result {
    case .bytes(let count):
      output.consume(count)
      lastProgress = now
    case .wouldBlock: isBlocked = true
    case .failed:
      close(.clientLeft)
      return false
    }
    return true
  }

  private func carryOut(_ session: any Session) {
    guard case .open = phase else { return }
    switch session.fate {
    case .open: break
    case .broken: close(.clientLeft)
    case .reset:
      Socket.makeCloseReset(descriptor)
      close(.clientLeft)
    case .closing(let lingers):
      guard output.isEmpty else { return }
      tls?.sayGoodbye()
      if lingers, !inputEnded {
        Socket.shutdownSending(descriptor)
        phase = .lingering(since: now)
        session.connectionLost(.clientLeft)
      } else {
        close(.clientLeft)
      }
    }
  }

  private func updateInterest() {
    guard let watch else { return }
    if server.memory.isFull || server.intake.isCrowded, case .open = phase { session?.awaitRoom() }
    var interest: Readiness = []
    if isReading {
      interest.insert(.readable)
    } else {
      // Requests that came before the client closed its side are still served; only a reset shows that it is gone.
      interest.insert(inputEnded ? .broken : .disconnected)
    }
    if isBlocked { interest.insert(.writable) }
    watch.wait(for: interest)
  }

  // MARK: Ends

  func tick(_ now: UInt64) {
    switch phase {
    case .closed: return
    case .lingering(let since):
      if now > since, now - since > server.limits.lingerNanoseconds { close(.clientLeft) }
      return
    case .open: break
    }
    if isBlocked, !output.isEmpty, now > lastProgress, now - lastProgress > server.limits.writeNanoseconds {
      close(.clientLeft)
      return
    }
    if let session {
      session.tick(now: now)
      settle()
    } else if now > openedAt {
      // The protocol is not known yet: a slow handshake or first line, or a connection that was opened in advance.
      let isSilent = tls == nil && sniffed.isEmpty
      if now - openedAt > (isSilent ? server.limits.idleNanoseconds : server.limits.headNanoseconds) {
        close(.clientLeft)
      }
    }
  }

  /// The bodies of this connection that are not complete yet.
  var arriving: [any ArrivingBody] {
    guard case .open = phase, let session else { return [] }
    return session.arriving
  }

  func drain() {
    guard case .open = phase else { return }
    if let session {
      session.drain(closesIdle: true)
      settle()
    } else {
      close(.clientLeft)
    }
  }

  /// Ends every exchange and closes.
  func close(_ ending: ExchangeEnding) {
    if case .closed = phase { return }
    phase = .closed
    watch?.close()
    watch = nil
    tls?.free()
    tls = nil
    Socket.closeDescriptor(descriptor)
    server.remove(self)
    output.discardAll()
    let session = session
    self.session = nil
    session?.connectionLost(ending)
  }
}
