// What the session of a protocol promises to the connection that carries its bytes, and what it may ask of it. A
// session sees neither socket nor clock: bytes come in by `receive`, and go out through the `OutputQueue` that both
// share.
import HTTPMessage

/// What is to happen with the connection.
enum SessionFate: Equatable {
  case open
  /// Close when the output is flushed. `lingers`: where the client may still be sending, first shut our sending side
  /// and read on for a while, since closing a socket with unread bytes resets it, and the client would lose the answer.
  case closing(lingers: Bool)
  /// Close now; only what the socket takes at once of the output is sent.
  case broken
  /// As `broken`, but by a reset, where the end of the connection alone would mean the end of the answer.
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
  /// Reading has stopped for lack of memory: adds the body to those that wait.
  func awaitRoom()
  /// The bodies that are not complete yet.
  var arriving: [any ArrivingBody] { get }
  func receive(_ bytes: ArraySlice<UInt8>)
  /// Calls `read` once with the space for the body's next bytes.
  func receiveDirectly(_ read: (inout OutputSpan<UInt8>) -> Void)
  /// The client closed its sending side.
  func receivedEnd()
  /// Moves what may be sent now into the output queue. It may leave more behind where the queue is full.
  func produce()
  /// Bytes of the output have reached the socket, or the turn is over: reports drained and ended exchanges.
  func outputMoved()
  /// The connection is gone: every exchange ends, with `ending`.
  func connectionLost(_ ending: ExchangeEnding)
  /// Called about once a second; enforces the timeouts.
  func tick(now: UInt64)
  /// Takes no request after those under way.
  /// - Parameter closesIdle: false where the client has only just connected: it gets one answer, marked as the last.
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
  /// Asks for a flush at the end of this turn, since `produce` or `outputMoved` has something to do.
  func needsFlush()
  /// True where the client's bytes are unread in the socket.
  var hasUnreadInput: Bool { get }
  /// The value of `wantsInput` may have changed.
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

  /// Why a body is too slow that began at `start` and of which `count` bytes came, the last one at `last`; nil where it
  /// is not too slow.
  /// - Parameter wait: how long we have held the body up, which does not count against the client.
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
