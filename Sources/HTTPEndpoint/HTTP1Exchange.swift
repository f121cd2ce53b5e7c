// One request and answer on an HTTP/1.1 connection. It only keeps state; the session does the work.
import HTTP1Codec
import HTTPMessage

final class HTTP1Exchange: HTTPExchange, ArrivingBody {
  /// The state of the answer.
  enum Phase {
    /// `respond` has not been called.
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
  let acceptsTrailers: Bool
  var context: (any AnyObject)?
  var connectionContext: AnyObject? {
    get { session?.connectionContext }
    set { session?.connectionContext = newValue }
  }
  private(set) var received = BodyBuffer()
  /// Head and body in the account of memory.
  private var share: MemoryShare
  private let headBytes: Int
  /// True where the body is no longer needed.
  private var isReleased = false
  let startedAt: UInt64
  var wait = BodyWait()
  private var urgency: Bool?
  var phase = Phase.waiting
  /// True from the moment when more than the low-water mark is pending until `exchangeDrained`.
  var isAboveLowWater = false
  /// nil once the exchange has ended.
  private var session: HTTP1Session?

  init(
    _ session: HTTP1Session, _ parsed: ParsedRequestHead, peer: String, memory: MemoryAccount, now: UInt64
  ) {
    self.session = session
    startedAt = now
    share = MemoryShare(memory, .bodies)
    headBytes = parsed.head.target.utf8.count + parsed.head.fields.byteCount
    self.peer = peer
    head = parsed.head
    acceptsTrailers = parsed.acceptsTrailers && parsed.head.version == .http1_1
    share.resize(to: headBytes)
  }

  deinit { share.resize(to: 0) }

  // MARK: The body while it comes

  /// Calls `change` with the body, unless it is no longer needed.
  @discardableResult
  func receive<Result, Failure: Error>(_ change: (inout BodyBuffer) throws(Failure) -> Result) throws(Failure)
    -> Result?
  {
    guard takesBody else { return nil }
    defer { share.resize(to: headBytes + received.count) }
    return try change(&received)
  }

  var takesBody: Bool { isWaiting && !isReleased }
  var taken: Int { received.count }
  var missing: Int { session?.missing ?? 0 }
  var isArriving: Bool { takesBody && session?.isReceiving ?? false }
  var isStuck: Bool { session?.hasUnreadInput ?? false }
  var isUrgent: Bool {
    if let urgency { return urgency }
    let known = session?.isUrgent(self) ?? false
    urgency = known
    return known
  }
  func goOn() { session?.goOn() }
  func giveWay() { session?.crowded(self) }

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

  func releaseBody() {
    received.release()
    isReleased = true
    share.resize(to: min(share.bytes, headBytes))
  }

  /// The exchange is over: gives all its memory back.
  func forget() {
    releaseBody()
    share.resize(to: 0)
    context = nil
  }

  func countBody(as use: MemoryAccount.Use) { share.move(to: use) }
  func respond(_ head: ResponseHead) { session?.respond(self, head) }
  func send(_ bytes: ArraySlice<UInt8>) { session?.send(self, bytes) }
  func finish(trailers: HeaderFields?) { session?.finish(self, trailers) }
  func abort() { session?.abort(self) }
}
