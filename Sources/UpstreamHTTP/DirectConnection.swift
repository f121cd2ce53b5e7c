// One HTTP/1.1 connection that libcurl opened and that we then use ourselves, for call after call.
//
// Libcurl resolves, connects, checks certificates and encrypts. Its own HTTP/1.1 takes 75,000 instructions per call
// (header bytes go through its printf one by one), half of what the whole broker needs; this implementation takes a
// fifth of that.
//
// Promises: at most one call at a time; a connection goes back to the pool only after a complete answer, with the whole
// request sent and no bytes left over; a request is sent a second time only where a connection that had served a call
// before ended without a byte of the answer and before the provider can have worked on the request (`SecondSending`),
// and then once; arriving bytes are read into one buffer of the upstream and copied once, with a bounded number of
// reads per event.
import CCurl
import EventLoop
import HTTP1Codec
import HTTPMessage

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

final class DirectConnection: CallCarrier {
  /// Bodies up to this size are copied behind the head, so that one call of `send` takes both.
  static let smallBody = 16 << 10

  private enum Phase {
    case connecting, ready, closed
  }

  private unowned(unsafe) let upstream: CurlUpstream
  /// A strong reference: a pool that was replaced by new settings lives on only in its running calls.
  private let pool: ProviderPool
  let origin: String
  private let isTLS: Bool
  private let maxHeaderBytes: Int

  private var phase = Phase.connecting
  private var descriptor: Int32 = -1
  private var socket: CurlSocket?
  /// Opens the connection; for TLS it stays as long as the connection lives.
  private var dialed: DialedConnection?
  /// When the connection's last call ended.
  private(set) var idleSince: UInt64 = 0

  // The state of the call under way.
  private var head: [UInt8] = []
  private var body: [UInt8] = []
  private var sent = 0
  private var sendFailed = false
  /// When the last byte of the request had gone out, in nanoseconds of the loop's clock.
  private var wholeAt: UInt64?
  private var isHeadRequest = false
  private var isIdempotent = false
  /// True where the connection served a call before, so that the provider may have closed it without our knowing.
  private var isReused = false
  private var hasServed = false
  private var reader = AnswerReader()

  override var headComplete: Bool { reader.headComplete }
  override var requestMayHaveArrived: Bool { sent > 0 || reader.hasBegun }
  override var requestWasSent: Bool { reader.hasBegun || wholeAt != nil }

  init(_ upstream: CurlUpstream, _ pool: ProviderPool, _ destination: Destination) {
    self.upstream = upstream
    self.pool = pool
    origin = destination.origin
    isTLS = destination.isTLS
    maxHeaderBytes = pool.settings.maxHeaderBytes
  }

  /// Takes over a connection that is already open.
  init(
    _ upstream: CurlUpstream, _ pool: ProviderPool, _ destination: Destination, opened dialed: DialedConnection,
    _ descriptor: Int32
  ) throws(TransferSetupFailure) {
    self.upstream = upstream
    self.pool = pool
    origin = destination.origin
    isTLS = destination.isTLS
    maxHeaderBytes = pool.settings.maxHeaderBytes
    super.init()
    try dialed.handle.serve(self)
    self.dialed = dialed
    self.descriptor = descriptor
    phase = .ready
    socket = upstream.own(descriptor, self, takingFromLibcurl: false)
  }

  // MARK: a call's life

  /// Takes up a call; `head` is its head as bytes, followed by the body where it is small.
  func take(_ call: CurlCall, head: [UInt8], body: [UInt8], method: String) {
    self.call = call
    self.head = head
    self.body = body.count > Self.smallBody ? body : []
    isHeadRequest = method == "HEAD"
    isIdempotent = isIdempotentMethod(method)
    sent = 0
    wholeAt = nil
    sendFailed = false
    reader.reset(isHeadRequest: isHeadRequest)
  }

  /// Sends, or connects first.
  func begin(connectTimeout: Duration?) throws(TransferSetupFailure) {
    if phase == .ready {
      isReused = hasServed
      send()
      return
    }
    dialed = try pool.dial(origin, for: self, upstream, within: connectTimeout)
  }

  override func libcurlFinished(_ code: CURLcode) {
    guard phase == .connecting, let dialed else { return }
    switch dialed.result(code, pool, at: origin) {
    case .failure(let failure): end(.failed(failure))
    case .success(let opened):
      phase = .ready
      descriptor = opened
      socket = upstream.own(opened, self, takingFromLibcurl: !isTLS)
      if !isTLS { releaseHandle() }
      isReused = false
      send()
    }
  }

  private func releaseHandle() {
    guard let dialed else { return }
    dialed.letGo(upstream)
    self.dialed = nil
    if !isTLS { pool.giveBack(dialed.handle) }
  }

  override func abandon() { close() }

  /// Closes for good; harmless when it is closed.
  func close() {
    guard phase != .closed else { return }
    let wasReady = phase == .ready
    phase = .closed
    releaseRequest()
    if isTLS || !wasReady {
      // Libcurl closes the connection where it is libcurl's.
      releaseHandle()
    } else {
      upstream.closeSocket(descriptor)
    }
    socket?.direct = nil
    socket = nil
    descriptor = -1
  }

  private func releaseRequest() {
    head = []
    body = []
  }

  /// The call is over: the connection waits for another one, or closes.
  private func end(_ ending: UpstreamEnding) {
    guard let call else { return }
    // What OpenSSL holds beside TLS's own messages must not become the next call's answer.
    let isReusable =
      ending == .completed && phase == .ready && reader.keepsAlive && !sendFailed && sent == total
      && (!holdsBytes || hasOnlyTLSMessages())
    hasServed = true
    upstream.detach(call)
    releaseRequest()
    if isReusable {
      idleSince = upstream.now
      socket?.watch?.wait(for: .readable)
      pool.keep(self)
      upstream.wantUpkeep(at: idleSince &+ ProviderPool.patience)
    } else {
      close()
    }
    call.deliver(ending)
  }

  private func fail(_ kind: UpstreamFailure.Kind, _ detail: String) {
    end(
      .failed(
        UpstreamFailure(
          kind: kind, detail: detail, requestMayHaveArrived: requestMayHaveArrived,
          requestWasSent: upstream.hadTime(wholeAt: wholeAt))))
  }

  override func review(_ call: CurlCall) {
    if call.wantsPause != call.isPaused {
      call.isPaused = call.wantsPause
      if !call.isPaused { call.noteResumed(at: upstream.now) }
      updateInterest()
    }
    guard phase == .ready else { return }
    // Bytes that TLS has already decrypted raise no event, and reading may have stopped for a pause that is over by
    // now.
    if isTLS, !call.isPaused { receive() }
  }

  // MARK: the socket

  private var total: Int { head.count + body.count }

  private func updateInterest() {
    guard phase == .ready else { return }
    var interest: Readiness = call?.isPaused == true ? [] : .readable
    if sent < total, !sendFailed { interest.insert(.writable) }
    socket?.watch?.wait(for: interest)
  }

  override func ready(_ readiness: Readiness) {
    guard call != nil else {
      readWhileIdle()
      return
    }
    // The loop reports an error as every kind of readiness, and we never wait for this one.
    let isError = readiness.contains(.disconnected)
    if readiness.contains(.writable), sent < total, !sendFailed { send() }
    if call?.isPaused == false, readiness.contains(.readable) { receive(untilEmpty: isError) }
  }

  /// False where the provider has closed the connection and the loop has not told us yet.
  func isStillOpen() -> Bool {
    guard phase == .ready else { return false }
    // The socket does not tell what OpenSSL holds. We can take over a connection's TLS only after libcurl has found
    // nothing to read.
    if isTLS, dialed?.handle.ownTLS == nil || holdsBytes { return hasOnlyTLSMessages() }
    return isSilent(descriptor) || hasOnlyTLSMessages()
  }

  /// True where OpenSSL has read more from the socket than we have asked for: no event tells of it.
  private var holdsBytes: Bool { isTLS && dialed?.handle.hasBytesInHand == true }

  private func hasOnlyTLSMessages() -> Bool {
    guard isTLS, let handle = dialed?.handle else { return false }
    return handle.receive(into: &upstream.receiveBuffer, atMost: 1) == .wouldBlock
  }

  /// While no call runs, nothing may arrive but TLS's own messages: an end, or bytes that were not asked for, close the
  /// connection.
  private func readWhileIdle() {
    if hasOnlyTLSMessages() { return }
    pool.drop(self)
    close()
  }

  private func send() {
    sending: while sent < total {
      switch sendSome() {
      case .bytes(let count): sent += count
      case .wouldBlock: break sending
      case .failed:
        // An answer may still have arrived: reading shows it.
        sendFailed = true
        break sending
      }
    }
    if sent == total, wholeAt == nil { wholeAt = upstream.now }
    updateInterest()
  }

  private func sendSome() -> WriteResult {
    if isTLS { return dialed?.handle.send(sent < head.count ? head[sent...] : body[(sent - head.count)...]) ?? .failed }
    while true {
      let count = head.withUnsafeBytes { head in
        body.withUnsafeBytes { body in
          let fromHead = UnsafeRawBufferPointer(rebasing: head[min(sent, head.count)...])
          let fromBody = UnsafeRawBufferPointer(rebasing: body[max(0, sent - head.count)...])
          return tg_send_two(descriptor, fromHead.baseAddress, fromHead.count, fromBody.baseAddress, fromBody.count)
        }
      }
      if count >= 0 { return .bytes(count) }
      if errno == EINTR { continue }
      return errno == EAGAIN || errno == EWOULDBLOCK ? .wouldBlock : .failed
    }
  }

  /// Reads what is there, up to a bound. A short read means that the socket is empty, unless `untilEmpty`: after an
  /// error the loop reports nothing more.
  private func receive(untilEmpty: Bool = false) {
    let call = self.call
    var reads = 0
    while let call, self.call === call, !call.wantsPause {
      guard reads < Self.readsPerEvent || untilEmpty else {
        if isTLS { upstream.readOnLater(self, dialed?.handle) }
        return
      }
      reads += 1
      switch receiveSome(into: &upstream.receiveBuffer) {
      case .bytes(let count):
        consume(Array(upstream.receiveBuffer[..<count]), call)
        // A short read has emptied the socket; of a TLS connection only OpenSSL knows that.
        if untilEmpty { continue }
        if isTLS ? dialed?.handle.hasReadAll == true : count < upstream.receiveBuffer.count { return }
      case .wouldBlock: return
      case .end: return connectionEnded("the connection was closed", orderly: !endIsUnsaid)
      case .failed: return connectionEnded("the connection was reset", orderly: false)
      }
    }
  }

  private func receiveSome(into buffer: inout [UInt8]) -> ReadResult {
    if isTLS { return dialed?.handle.receive(into: &buffer) ?? .failed }
    while true {
      let count = buffer.withUnsafeMutableBytes { recv(descriptor, $0.baseAddress, $0.count, 0) }
      if count > 0 { return .bytes(count) }
      if count == 0 { return .end }
      if errno == EINTR { continue }
      return errno == EAGAIN ? .wouldBlock : .failed
    }
  }

  /// True where the connection ended without close_notify, so that anyone may have cut it. Libcurl 7.88 takes this for
  /// an orderly end, whatever OpenSSL's options say.
  private var endIsUnsaid: Bool { isTLS && dialed?.handle.heardGoodbye == false }

  private func consume(_ bytes: [UInt8], _ call: CurlCall) {
    var at = 0
    while self.call === call {
      switch reader.next(bytes, from: &at, maxHeaderBytes: maxHeaderBytes) {
      case .needsMore: return
      case .head(let head):
        // No retry can need the body now; its unsent part is still sent.
        if sent == total {
          releaseRequest()
          sent = 0
        }
        call.deliver(head)
      case .body(let part):
        // A small part must not keep the whole buffer in memory while it waits.
        call.deliver(part.count >= bytes.count / 2 ? bytes[part] : Array(bytes[part])[...])
      case .malformed(let why): fail(.malformedResponse, why)
      case .end:
        if at < bytes.count { sendFailed = true }
        end(.completed)
      }
    }
  }

  private func connectionEnded(_ how: String, orderly: Bool) {
    if orderly, reader.mayEndHere() {
      sendFailed = true
      end(.completed)
    } else if reader.headComplete {
      fail(.truncated, "\(how) inside the answer's body")
    } else if reader.hasBegun {
      fail(.resetBeforeResponse, "\(how) inside the answer's head")
    } else if SecondSending.isDue(
      isReused: isReused, isIdempotent: isIdempotent, hadTime: upstream.hadTime(wholeAt: wholeAt))
    {
      sendAgain()
    } else {
      fail(.resetBeforeResponse, "\(how) before any answer")
    }
  }

  /// The provider had closed this kept-alive connection: a new one takes the call over. Connections that were idle as
  /// long as this one are dropped too, since the next calls on them would fail in the same way.
  private func sendAgain() {
    guard let call else { return }
    pool.dropIdle(origin, since: idleSince)
    let fresh = DirectConnection(upstream, pool, origin: origin, isTLS: isTLS)
    fresh.head = head
    fresh.body = body
    fresh.isHeadRequest = isHeadRequest
    fresh.isIdempotent = isIdempotent
    fresh.reader.reset(isHeadRequest: isHeadRequest)
    upstream.handOver(call, from: self, to: fresh)
    call.noteSentAgain(wholeAt: wholeAt)
    close()
    do throws(TransferSetupFailure) {
      try fresh.begin(connectTimeout: call.connectTimeout)
    } catch {
      fresh.end(.failed(error.failure))
    }
  }

  private init(_ upstream: CurlUpstream, _ pool: ProviderPool, origin: String, isTLS: Bool) {
    self.upstream = upstream
    self.pool = pool
    self.origin = origin
    self.isTLS = isTLS
    maxHeaderBytes = pool.settings.maxHeaderBytes
  }
}
