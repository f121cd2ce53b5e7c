// One HTTP/2 connection to a provider: opened and encrypted by libcurl, framed by us, shared by many calls.
//
// Promises: it takes calls once the provider's settings are here, as many as those allow; it is never closed inside one of nghttp2's
// callbacks; its end is one event, however many calls ran on it.
import CCurl
import COpenSSL
import EventLoop
import HTTPMessage

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

final class MultiplexedConnection: CallCarrier {
  private enum Phase {
    /// Name, TCP, TLS. Next: open, closed.
    case connecting
    /// Frames come and go. Next: closed.
    case open
    case closed
  }
  /// nghttp2 is asked for no more while this much waits for the socket.
  private static let framedBytes = 64 << 10

  private unowned(unsafe) let upstream: CurlUpstream
  private let pool: ProviderPool
  private unowned(unsafe) let multiplexer: Multiplexer
  private var phase = Phase.connecting
  let session: HTTP2ClientSession
  private var handle: EasyHandle?
  private var shard: CurlShard?
  private var descriptor: Int32 = -1
  private var socket: CurlSocket?
  private var output: [UInt8] = []
  private var outputStart = 0
  private var isReceiving = false
  private var flushIsComing = false
  private var wasBusy = false
  /// When it must be ready to take calls, in nanoseconds of the loop's clock.
  let readyDeadline: UInt64
  /// Since when no stream is open.
  private(set) var idleSince: UInt64
  /// The number of its end, for those who count failures by their causes.
  let event: UInt64

  init(_ upstream: CurlUpstream, _ pool: ProviderPool, _ multiplexer: Multiplexer, readyDeadline: UInt64) {
    self.upstream = upstream
    self.pool = pool
    self.multiplexer = multiplexer
    self.readyDeadline = readyDeadline
    idleSince = upstream.now
    event = upstream.nextEvent()
    session = HTTP2ClientSession(maxHeaderBytes: pool.settings.maxHeaderBytes) { [unowned upstream] in upstream.now }
  }

  var isClosed: Bool { phase == .closed }
  /// It is not known yet what it will take.
  var isPending: Bool { phase == .connecting || (phase == .open && !session.isReady) }
  var room: Int { phase == .open ? session.room : 0 }
  /// It takes no calls, though none runs on it and it goes on.
  var isShut: Bool { phase == .open && session.isReady && session.allowedStreams == 0 && !session.isLeaving }
  var isIdle: Bool { phase == .open && session.openStreams == 0 }

  // MARK: Opening

  func begin(connectTimeout: Duration?) throws(TransferSetupFailure) {
    guard let shard = pool.shardWithRoom(upstream) else {
      throw TransferSetupFailure(option: "curl_multi_init", code: CURLE_OUT_OF_MEMORY)
    }
    let handle = try EasyHandle(upstream, pool, offersHTTP2: true)
    try handle.set(CURLOPT_CONNECT_ONLY, 1)
    try handle.set(CURLOPT_BUFFERSIZE, 1024)
    try handle.set(CURLOPT_URL, text: multiplexer.origin)
    try handle.setConnectTimeout(connectTimeout)
    try pool.prepareLookUp(of: multiplexer.origin, with: handle)
    try handle.serve(self)
    let code = shard.add(handle.raw)
    guard code == CURLM_OK else {
      throw TransferSetupFailure(option: "curl_multi_add_handle: \(code.rawValue)", code: CURLE_FAILED_INIT)
    }
    self.handle = handle
    self.shard = shard
  }

  override func libcurlFinished(_ code: CURLcode) {
    guard phase == .connecting, let handle else { return }
    let opened = tg_curl_get_socket(handle.raw)
    guard code == CURLE_OK, opened >= 0 else {
      let failure = connectFailure(code, handle)
      pool.noteConnectFailure(failure, at: multiplexer.origin)
      close()
      return multiplexer.couldNotOpen(failure)
    }
    // Libcurl shows the connection's TLS only once something was read from it.
    let buffer = upstream.receiveBuffer
    var count = 0
    let first = curl_easy_recv(handle.raw, buffer.baseAddress, buffer.count, &count)
    guard first == CURLE_OK && count > 0 || first == CURLE_AGAIN else {
      close()
      return multiplexer.couldNotOpen(
        UpstreamFailure(
          kind: .resetBeforeResponse, detail: "the connection was closed before any request",
          requestMayHaveArrived: false))
    }
    guard negotiatedProtocol(of: handle) == "h2" else {
      guard let shard else { return }
      // The connection goes on, as one that speaks HTTP/1.1.
      self.handle = nil
      self.shard = nil
      phase = .closed
      return multiplexer.speaksHTTP1(handle, shard, opened)
    }
    phase = .open
    descriptor = opened
    socket = upstream.own(opened, self, takingFromLibcurl: false)
    if count > 0 {
      take(UnsafeBufferPointer(rebasing: UnsafeBufferPointer(buffer)[..<count]))
      // More may be deciphered already, which raises no event.
      receive()
    } else {
      flush()
    }
  }

  // MARK: Calls

  /// Opens a stream for the call; nil where it cannot.
  func open(_ fields: HTTP2RequestFields, body: [UInt8], owner: any HTTP2StreamOwner) -> Int32? {
    guard phase == .open, let id = session.begin(fields, body: body, owner: owner) else { return nil }
    wasBusy = true
    needsFlush()
    return id
  }

  /// Something is to be sent: at the end of this turn.
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

  /// Finds what the provider said while nothing ran, GOAWAY or the end, before another call goes out.
  func look() {
    guard phase == .open, !isReceiving, session.openStreams == 0 else { return }
    var byte: UInt8 = 0
    if recv(descriptor, &byte, 1, Int32(MSG_PEEK) | Int32(MSG_DONTWAIT)) >= 0 || errno != EAGAIN { receive() }
  }

  private func receive() {
    guard !isReceiving else { return }
    isReceiving = true
    var end: String?
    while phase == .open, end == nil, !session.isBroken, let handle {
      let buffer = upstream.receiveBuffer
      var count = 0
      let code = curl_easy_recv(handle.raw, buffer.baseAddress, buffer.count, &count)
      if code == CURLE_AGAIN { break }
      if code == CURLE_OK, count > 0 {
        session.receive(UnsafeBufferPointer(rebasing: UnsafeBufferPointer(buffer)[..<count]))
      } else {
        end = code == CURLE_OK ? "the connection was closed" : "the connection was reset"
      }
    }
    isReceiving = false
    if let end { lose(end) } else { flush() }
  }

  private func take(_ bytes: UnsafeBufferPointer<UInt8>) {
    isReceiving = true
    session.receive(bytes)
    isReceiving = false
  }

  private func flush() {
    guard phase == .open, !isReceiving, let handle else { return }
    var isBlocked = false
    while !isBlocked {
      if outputStart == output.count {
        output.removeAll(keepingCapacity: output.capacity <= 4096 || session.openStreams > 0)
        outputStart = 0
        // The callbacks in here may hand calls over and end others, but not close this.
        isReceiving = true
        session.produce(into: &output, limit: Self.framedBytes)
        isReceiving = false
        if output.isEmpty { break }
      }
      var count = 0
      let code = output[outputStart...].withUnsafeBytes {
        curl_easy_send(handle.raw, $0.baseAddress, $0.count, &count)
      }
      switch code {
      case CURLE_OK: outputStart += count
      case CURLE_AGAIN: isBlocked = true
      default: return lose("the connection was reset")
      }
    }
    if !isBlocked, session.isFinished {
      return lose(session.isBroken ? "the provider broke the protocol" : "the connection was closed")
    }
    socket?.watch?.wait(for: isBlocked ? [.readable, .writable] : .readable)
    if session.openStreams == 0 { becameIdle() }
    multiplexer.placeWaiting()
  }

  private func becameIdle() {
    if session.isLeaving { return close() }
    guard wasBusy else { return }
    wasBusy = false
    idleSince = upstream.now
    upstream.wantUpkeep(at: pool.isRetired ? idleSince : idleSince &+ ProviderPool.patience)
  }

  /// The connection is gone, and with it every call that ran on it.
  private func lose(_ how: String) {
    guard phase == .open else { return }
    close()
    session.connectionLost(how)
    multiplexer.placeWaiting()
  }

  /// Closes for good; harmless when it is closed. Streams that are still open hear of it by `lose` alone.
  func close() {
    guard phase != .closed else { return }
    phase = .closed
    multiplexer.forget(self)
    if let handle, let shard { upstream.insideCurl { shard.remove(handle.raw) } }
    handle = nil
    shard = nil
    socket?.direct = nil
    socket = nil
    descriptor = -1
    output = []
    outputStart = 0
  }

  /// Ends an idle connection in words.
  func sayGoodbye() {
    session.sayGoodbye()
    flush()
    close()
  }
}

/// What ALPN settled on; empty where nothing did, or where libcurl encrypts with something else than OpenSSL.
func negotiatedProtocol(of handle: EasyHandle) -> String {
  guard let tls = tg_curl_get_tls(handle.raw) else { return "" }
  var name: UnsafePointer<UInt8>?
  var length: UInt32 = 0
  SSL_get0_alpn_selected(OpaquePointer(tls), &name, &length)
  return name.map { String(decoding: UnsafeBufferPointer(start: $0, count: Int(length)), as: UTF8.self) } ?? ""
}

/// Why no connection came about.
func connectFailure(_ code: CURLcode, _ handle: EasyHandle) -> UpstreamFailure {
  transferFailure(
    code == CURLE_OK ? CURLE_COULDNT_CONNECT : code,
    TransferProgress(
      reachedRequest: false, sentBytes: 0, answerBegan: false, headComplete: false,
      socketRefused: handle.socketRefused, malformed: nil, vetoedResend: false, message: handle.message))
}
