// One request and answer on an HTTP/1.1 connection. It only keeps state; the session does the work.
import HTTPMessage

final class HTTP1Exchange: HTTPExchange {
  /// Where the answer stands.
  enum Phase {
    /// `respond` was not called.
    case waiting
    /// The head was written; `left` counts down a `content-length`.
    case streaming(ResponseFraming)
    /// `finish` was called; `mark` is where the answer ends in the output.
    case finished(mark: UInt64)
    /// `abort` was called; reported at the end of the turn.
    case aborted(resets: Bool)
    case ended
  }

  let head: RequestHead
  let peer: String
  let hasEmptyBody: Bool
  let acceptsTrailers: Bool
  var context: (any AnyObject)?
  var received = BodyBuffer()
  var phase = Phase.waiting
  /// True after more than the low-water mark was pending and until `exchangeDrained`.
  var isAboveLowWater = false
  /// Nil when the exchange ended.
  private var session: HTTP1Session?

  init(_ session: HTTP1Session, _ parsed: ParsedRequestHead, peer: String) {
    self.session = session
    self.peer = peer
    head = parsed.head
    hasEmptyBody = parsed.framing == .none
    acceptsTrailers = parsed.acceptsTrailers && parsed.head.version == .http1_1
  }

  func detach() {
    phase = .ended
    session = nil
  }

  var body: [UInt8] { received.bytes }
  var pendingBytes: Int { session?.pendingBytes ?? 0 }
  var isWaiting: Bool { if case .waiting = phase { true } else { false } }
  var isClosed: Bool {
    switch phase {
    case .waiting, .streaming: false
    case .finished, .aborted, .ended: true
    }
  }

  func releaseBody() { received.release() }
  func respond(_ head: ResponseHead) { session?.respond(self, head) }
  func send(_ bytes: ArraySlice<UInt8>) { session?.send(self, bytes) }
  func finish(trailers: HeaderFields?) { session?.finish(self, trailers) }
  func abort() { session?.abort(self) }
}
