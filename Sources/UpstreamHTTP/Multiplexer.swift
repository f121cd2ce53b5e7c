// The HTTP/2 connections to one origin, and the calls that wait for a place on one of them.
//
// Promises: calls go in their order to the first connection with room; another connection is opened only for calls for
// which the open and opening connections have no room; where the provider allows no streams on connection after
// connection, calls wait within their connect timeout instead of opening ever more; where it ends connections before
// they carried a call, the waiting calls fail, and those that waited at the same time fail by one event.
import CCurl
import EventLoop
import HTTPMessage

final class Multiplexer {
  /// The most connections that are being opened at the same time.
  private static let openingLimit = 16
  /// With this many connections that take no streams, no other one is tried.
  private static let shutLimit = 2
  /// After this many nanoseconds, HTTP/2 is offered again to a provider that chose HTTP/1.1.
  private static let askAgain: UInt64 = 600_000_000_000

  private unowned let upstream: CurlUpstream
  /// The owner.
  private unowned let pool: ProviderPool
  let origin: String
  private var connections: [MultiplexedConnection] = []
  private var waiting: [MultiplexedCall] = []
  /// The number of streams that the provider last allowed.
  private var usualRoom = HTTP2ClientSession.streamLimit
  /// Until then the provider is assumed to speak only HTTP/1.1.
  private var speaksHTTP1Until: UInt64 = 0
  private var isPlacing = false
  /// The last failure to give waiting calls a connection.
  private var failure: (event: UInt64, at: UInt64)?

  init(_ upstream: CurlUpstream, _ pool: ProviderPool, origin: String) {
    self.upstream = upstream
    self.pool = pool
    self.origin = origin
  }

  /// False while ALPN is known to select HTTP/1.1.
  var isUsable: Bool { speaksHTTP1Until <= upstream.now }

  /// Gives the call a stream, now or as soon as there is room.
  func take(_ call: MultiplexedCall) {
    call.beginWaiting()
    waiting.append(call)
    placeWaiting()
  }

  var hasNoCalls: Bool { waiting.isEmpty && connections.allSatisfy { $0.session.openStreams == 0 } }

  /// Called before calls begin: reads what idle connections have received.
  func look() {
    for connection in connections where connection.isIdle { connection.look() }
  }

  func forget(_ call: MultiplexedCall) { waiting.removeAll { $0 === call } }
  func forget(_ connection: MultiplexedConnection) { connections.removeAll { $0 === connection } }

  func placeWaiting() {
    // Opening may fail at once and end calls, whose owners may begin others.
    guard !waiting.isEmpty, !isPlacing else { return }
    isPlacing = true
    var placed = 0
    for connection in connections where placed < waiting.count {
      while placed < waiting.count, connection.room > 0 {
        guard waiting[placed].run(on: connection) else { break }
        placed += 1
      }
    }
    waiting.removeFirst(placed)
    isPlacing = false
    openForWaiting()
  }

  private func openForWaiting() {
    guard !waiting.isEmpty else { return }
    for connection in connections where !connection.isPending {
      if connection.session.allowedStreams > 0 { usualRoom = connection.session.allowedStreams }
    }
    guard connections.count(where: \.isShut) < Self.shutLimit else { return }
    var opening = connections.count(where: \.isPending)
    while opening < Self.openingLimit, waiting.count > opening * max(1, usualRoom) {
      let timeout = waiting.first?.call?.connectTimeout
      let connection = MultiplexedConnection(
        upstream, pool, self, readyDeadline: upstream.deadline(timeout))
      connections.append(connection)
      opening += 1
      do throws(TransferSetupFailure) {
        try connection.begin(connectTimeout: timeout)
      } catch {
        connection.close()
        return couldNotOpen(error.failure)
      }
    }
  }

  // MARK: From the connections

  /// Ends the waiting calls by one event, except those that may still find room elsewhere.
  func couldNotOpen(_ failure: UpstreamFailure) {
    guard !connections.contains(where: { $0.isPending || ($0.room > 0) }) else { return }
    var shared = failure
    shared.event = event(ofWaitingSince: waiting.map(\.waitingSince).min() ?? upstream.now)
    let gone = waiting
    waiting = []
    for call in gone { call.fail(shared) }
  }

  /// The number of the event for a call that fails without a connection now: calls that were already waiting when the
  /// first one failed share its number.
  func event(ofWaitingSince began: UInt64) -> UInt64 {
    if let failure, began <= failure.at { return failure.event }
    let event = upstream.nextEvent()
    failure = (event, upstream.now)
    return event
  }

  /// ALPN selected HTTP/1.1: this connection carries the first call, and each other call gets its own connection.
  func speaksHTTP1(_ dialed: DialedConnection, _ descriptor: Int32) {
    speaksHTTP1Until = upstream.now &+ Self.askAgain
    connections.removeAll { $0.isClosed }
    let all = waiting
    waiting = []
    var opened: (dialed: DialedConnection, descriptor: Int32)? = (dialed, descriptor)
    for call in all { upstream.beginDirectly(call, pool, opened: opened.take()) }
    // The call that wanted the connection was cancelled.
    opened?.dialed.letGo(upstream)
  }

  // MARK: Upkeep

  /// Closes connections that were idle for too long, and those that are not ready in time. Returns when to check again;
  /// nil where there is nothing to check.
  func closeIdle(at now: UInt64) -> UInt64? {
    var next: UInt64?
    var isLate = false
    for connection in connections where connection.isPending || connection.isIdle {
      let end = connection.isPending ? connection.readyDeadline : connection.idleSince &+ ProviderPool.patience
      let isWanted = !pool.isRetired || connection.isPending && !waiting.isEmpty
      if isWanted, end > now {
        next = min(next ?? .max, end)
      } else if connection.isPending {
        isLate = true
        connection.close()
      } else {
        connection.sayGoodbye()
      }
    }
    if isLate {
      couldNotOpen(
        UpstreamFailure(
          kind: .connectTimedOut, detail: "the provider did not say in time what it takes",
          requestMayHaveArrived: false))
    } else {
      placeWaiting()
    }
    return next
  }

  func close() {
    for connection in connections { connection.close() }
  }
}
