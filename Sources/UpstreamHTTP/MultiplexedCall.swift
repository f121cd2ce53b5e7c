// One call over HTTP/2: from the wait for a place on a connection to the end of its stream.
//
// The state machine: waiting → running on a stream → ended; from running back to waiting where the provider says that
// it has not processed the request, or where a connection that had served others ended at once. Bytes that come while
// the client does not read are kept here, at most a stream's window.
import EventLoop
import HTTPMessage

final class MultiplexedCall: CallCarrier, HTTP2StreamOwner {
  /// Where a provider refuses one request more often than this, the call fails.
  private static let resendLimit = 3

  private let upstream: CurlUpstream
  /// A strong reference: a pool that was replaced by new settings lives on only in its running calls.
  private let pool: ProviderPool
  private let multiplexer: Multiplexer
  /// The request; nil once the answer has begun.
  private(set) var request: UpstreamRequest?
  private let fields: HTTP2RequestFields
  private let isIdempotent: Bool
  private var connection: MultiplexedConnection?
  private var streamID: Int32 = 0
  private var resends = 0
  /// True where the connection had served another call before.
  private var isReused = false
  /// True where the request was sent again after such a connection had ended.
  private var wasRepeated = false
  /// When the last part of the request was framed, in nanoseconds of the loop's clock.
  private var wholeAt: UInt64?
  private var hasHead = false
  private(set) var waitingSince: UInt64 = 0
  /// Bytes that came while paused.
  private var pending: [UInt8] = []
  private var heldEnding: HTTP2StreamEnding?

  override var headComplete: Bool { hasHead }
  override var requestMayHaveArrived: Bool { connection?.session.mayHaveArrived(streamID) ?? false }
  override var requestWasSent: Bool { hasHead || wholeAt != nil }
  override var connectEvent: UInt64? { multiplexer.event(ofWaitingSince: waitingSince) }

  init(
    _ upstream: CurlUpstream, _ pool: ProviderPool, _ multiplexer: Multiplexer, _ request: UpstreamRequest,
    _ fields: HTTP2RequestFields
  ) {
    self.upstream = upstream
    self.pool = pool
    self.multiplexer = multiplexer
    self.request = request
    self.fields = fields
    isIdempotent = isIdempotentMethod(request.method)
  }

  // MARK: A place

  /// Waits for a stream, at most as long as connecting may take.
  func beginWaiting() {
    guard let call else { return }
    waitingSince = upstream.now
    connectDeadline = upstream.deadline(call.connectTimeout)
    upstream.wantSweep(at: call.nextDeadline)
  }

  /// Begins a stream; false where the connection takes no more.
  func run(on connection: MultiplexedConnection) -> Bool {
    guard let request, let id = connection.open(fields, body: request.body, owner: self) else { return false }
    self.connection = connection
    streamID = id
    isReused = connection.hasServed
    wholeAt = nil
    connectDeadline = .max
    return true
  }

  /// No connection could be opened.
  func fail(_ failure: UpstreamFailure) { end(.failed(failure)) }

  // MARK: From the stream

  func streamSent() { wholeAt = upstream.now }

  func streamResponded(_ head: ResponseHead) {
    hasHead = true
    request = nil
    call?.deliver(head)
  }

  func streamReceived(_ bytes: [UInt8]) {
    guard let call, !call.isCancelled else { return }
    if call.wantsPause || !pending.isEmpty {
      pending.append(contentsOf: bytes)
    } else {
      call.deliver(bytes[...])
      connection?.session.consumed(bytes.count, of: streamID)
    }
  }

  func streamEnded(_ ending: HTTP2StreamEnding) {
    if pending.isEmpty {
      conclude(ending)
    } else {
      // The kept bytes must be read before the end is reported.
      heldEnding = ending
    }
  }

  private func conclude(_ ending: HTTP2StreamEnding) {
    // Calls that end with their connection, or stay unprocessed because it takes no more, share one event.
    let event: UInt64? =
      switch ending {
      case .lost: connection?.event
      case .notProcessed where connection?.isLeaving == true: connection?.event
      default: nil
      }
    if case .whole = ending { connection?.hasServed = true }
    connection = nil
    switch ending {
    case .whole: end(hasHead ? .completed : .failed(failure(.malformedResponse, "the answer has no head")))
    case .malformed(let why): end(.failed(failure(.malformedResponse, why)))
    case .notProcessed:
      if !sendAgain() {
        end(
          .failed(
            UpstreamFailure(
              kind: .resetBeforeResponse, detail: "the provider did not take the request",
              requestMayHaveArrived: false, event: event)))
      }
    case .reset(let code):
      let name = Self.name(of: code)
      end(
        .failed(
          hasHead
            ? failure(.truncated, "the provider reset the stream inside the answer's body (\(name))")
            : failure(.resetBeforeResponse, "the provider reset the stream before any answer (\(name))")))
    case .lost(let how):
      if !hasHead, !wasRepeated,
        SecondSending.isDue(
          isReused: isReused, isIdempotent: isIdempotent, hadTime: upstream.hadTime(wholeAt: wholeAt))
      {
        wasRepeated = true
        let whole = wholeAt
        if sendAgain() {
          call?.noteSentAgain(wholeAt: whole)
          return
        }
      }
      end(
        .failed(
          hasHead
            ? failure(.truncated, "\(how) inside the answer's body", event: event)
            : failure(.resetBeforeResponse, "\(how) before any answer", event: event)))
    }
  }

  private func failure(
    _ kind: UpstreamFailure.Kind, _ detail: String, event: UInt64? = nil
  ) -> UpstreamFailure {
    UpstreamFailure(
      kind: kind, detail: detail, requestMayHaveArrived: true, requestWasSent: upstream.hadTime(wholeAt: wholeAt),
      event: event)
  }

  /// Waits for another stream at once; false where the call has done so too often, or has no request left to send.
  private func sendAgain() -> Bool {
    guard call != nil, request != nil, resends < Self.resendLimit else { return false }
    resends += 1
    multiplexer.take(self)
    return true
  }

  private func end(_ ending: UpstreamEnding) {
    guard let call else { return }
    connection = nil
    request = nil
    pending = []
    upstream.detach(call)
    call.deliver(ending)
  }

  private static func name(of code: UInt32) -> String {
    let names = [
      "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
      "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
      "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
    ]
    return code < names.count ? names[Int(code)] : "code \(code)"
  }

  // MARK: From the owner

  override func abandon() {
    pending = []
    request = nil
    if let connection {
      connection.session.cancel(streamID)
      connection.needsFlush()
      self.connection = nil
    } else {
      multiplexer.forget(self)
    }
  }

  override func review(_ call: CurlCall) {
    let wasPaused = call.isPaused
    call.isPaused = call.wantsPause
    guard !call.isPaused else { return }
    // Bytes may be kept although no pause is known here: a pause may have begun and ended since the last review.
    guard wasPaused || !pending.isEmpty else { return }
    call.noteResumed(at: upstream.now)
    guard !pending.isEmpty else { return }
    let bytes = pending
    pending = []
    call.deliver(bytes[...])
    // The delivered bytes may have made the owner cancel the call.
    guard self.call === call else { return }
    if let connection {
      connection.session.consumed(bytes.count, of: streamID)
      connection.needsFlush()
    }
    if let ending = heldEnding, pending.isEmpty {
      heldEnding = nil
      conclude(ending)
    }
  }
}
