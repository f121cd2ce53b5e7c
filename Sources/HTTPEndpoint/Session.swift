// What a protocol's session promises to the connection that carries its bytes, and what it may ask. A session never
// sees a socket or a clock: bytes come in by `receive`, bytes go out through the `OutputQueue` that both share.
import HTTPMessage

/// What becomes of the connection.
enum SessionFate: Equatable {
  case open
  /// Close when the output is flushed. Where the client may still be sending, first shut the sending side and read on
  /// for a while (`lingers`): closing a socket with unread bytes resets it, and the client would lose the answer.
  case closing(lingers: Bool)
  /// Close now; of the output goes what the socket takes at once.
  case broken
  /// As `broken`, and by a reset: where the end of the connection alone would mean the end of the answer.
  case reset

  var isOver: Bool { self == .broken || self == .reset }
}

protocol Session: AnyObject {
  var fate: SessionFate { get }
  /// False while no more bytes should be read from the socket.
  var wantsInput: Bool { get }
  /// True while the next bytes belong to a large body, which `receiveDirectly` takes without a copy.
  var wantsDirectInput: Bool { get }
  /// The most bytes that should be read at once, where they are not taken directly.
  var mostInput: Int { get }
  /// Reading stops for want of memory: puts the body among those that wait.
  func awaitRoom()
  /// Bodies that are not whole yet.
  var arriving: [any ArrivingBody] { get }
  func receive(_ bytes: ArraySlice<UInt8>)
  /// Calls `read` once with the place for the body's next bytes.
  func receiveDirectly(_ read: (inout OutputSpan<UInt8>) -> Void)
  /// The client closed its sending side.
  func receivedEnd()
  /// Moves what may be sent now into the output queue. It may leave more behind where the queue is full.
  func produce()
  /// Bytes of the output reached the socket, or the turn is over: reports drained and ended exchanges.
  func outputMoved()
  /// The connection is gone: every exchange ends, with `ending`.
  func connectionLost(_ ending: ExchangeEnding)
  /// Called about once a second; enforces the timeouts.
  func tick(now: UInt64)
  /// No request after those under way.
  /// - Parameter closesIdle: false where the client has only just come: it gets one answer, with the word that it is the last.
  func drain(closesIdle: Bool)
}

/// What a session asks of its connection.
protocol SessionCarrier: AnyObject {
  /// The client's address for logs.
  var peer: String { get }
  /// Nanoseconds of the monotonic clock at the start of this turn.
  var now: UInt64 { get }
  /// The value of `date`.
  var date: [UInt8] { get }
  /// There is something for `produce` or `outputMoved` to do: flush at the end of this turn.
  func needsFlush()
  /// Bytes of the client lie unread in the socket.
  var hasUnreadInput: Bool { get }
  /// What `wantsInput` says may have changed.
  func inputMayGoOn()
  func exchangeOpened()
  func exchangeClosed()
}

extension SessionCarrier {
  var hasUnreadInput: Bool { true }
  func inputMayGoOn() {}
}

/// A session's limits in the units that it computes with.
struct SessionLimits {
  let values: EndpointLimits
  let headNanoseconds: UInt64
  let bodyNanoseconds: UInt64
  let idleNanoseconds: UInt64
  let writeNanoseconds: UInt64
  let lingerNanoseconds: UInt64
  let roomNanoseconds: UInt64

  init(_ values: EndpointLimits) {
    self.values = values
    headNanoseconds = Self.nanoseconds(values.headTimeout)
    bodyNanoseconds = Self.nanoseconds(values.bodyTimeout)
    idleNanoseconds = Self.nanoseconds(values.idleTimeout)
    writeNanoseconds = Self.nanoseconds(values.writeTimeout)
    lingerNanoseconds = Self.nanoseconds(values.lingerTimeout)
    roomNanoseconds = Self.nanoseconds(values.roomTimeout)
  }

  private static func nanoseconds(_ duration: Duration) -> UInt64 {
    let (seconds, attoseconds) = duration.components
    guard seconds >= 0, attoseconds >= 0 else { return 0 }
    return UInt64(min(seconds, 1_000_000_000)) * 1_000_000_000 + UInt64(attoseconds) / 1_000_000_000
  }

  /// Why a body that began at `start`, of which `count` bytes came, the last at `last`, is too slow; nil where it is
  /// not.
  /// - Parameter wait: while we do not read, nobody is slow, and what a client waited for us does not count.
  func slowBody(
    start: UInt64, last: UInt64, count: Int, now: UInt64, wait: BodyWait = BodyWait(), isStuck: Bool = false
  )
    -> String?
  {
    if wait.since != nil, isStuck { return nil }
    if now > last, now - last > bodyNanoseconds &+ (wait.since == nil ? wait.total : 0) {
      return "no byte of the body came for \(values.bodyTimeout)"
    }
    let elapsed = now > start &+ wait.total ? now - start - wait.total : 0
    if elapsed > bodyNanoseconds, UInt64(count) < elapsed / 1_000_000_000 * UInt64(max(0, values.bodyBytesPerSecond)) {
      return "the body came slower than \(values.bodyBytesPerSecond) bytes per second"
    }
    return nil
  }
}
