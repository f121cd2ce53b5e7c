// One attempt as its owner sees it: events, deadlines, and what the owner asked for. A carrier does the work.
import EventLoop
import HTTPMessage

final class CurlCall: UpstreamCall {
  private let upstream: CurlUpstream
  /// nil once the call has ended or was cancelled: from then on the owner gets no event.
  private var events: (any UpstreamEvents)?
  /// The request, until the work starts at the end of the turn.
  private var request: UpstreamRequest?
  /// Does the work; nil before the start and after the end.
  var carrier: CallCarrier?

  private(set) var isCancelled = false
  /// True where the owner wants the call paused.
  private(set) var wantsPause = false
  /// True where the carrier has paused.
  var isPaused = false
  /// True while the call is in the upstream's list of calls to review once libcurl has returned.
  var awaitsReview = false

  // Nanoseconds of the loop's clock; .max means never.
  private let firstByteDeadline: UInt64
  private let totalDeadline: UInt64
  private let idleLimit: UInt64
  private var lastActivity: UInt64
  let connectTimeout: Duration?

  init(_ request: UpstreamRequest, events: any UpstreamEvents, upstream: CurlUpstream, now: UInt64) {
    self.upstream = upstream
    self.events = events
    self.request = request
    func deadline(_ timeout: Duration?) -> UInt64 { timeout.map { now &+ $0.wholeNanoseconds } ?? .max }
    firstByteDeadline = deadline(request.timeouts.firstByte)
    totalDeadline = deadline(request.timeouts.total)
    idleLimit = request.timeouts.idle.map { $0.wholeNanoseconds } ?? .max
    lastActivity = now
    connectTimeout = request.timeouts.connect
  }

  var isOver: Bool { events == nil }

  func takeRequest() -> UpstreamRequest? {
    var taken: UpstreamRequest?
    swap(&taken, &request)
    return taken
  }

  var requestMayHaveArrived: Bool { carrier?.requestMayHaveArrived ?? false }
  var requestWasSent: Bool { carrier?.requestWasSent ?? false }

  // MARK: the owner's orders

  func pause() { setPause(true) }
  func resume() { setPause(false) }

  private func setPause(_ wanted: Bool) {
    guard !isOver, wantsPause != wanted else { return }
    wantsPause = wanted
    upstream.reviewLater(self)
  }

  func cancel() {
    guard !isOver else { return }
    isCancelled = true
    events = nil
    request = nil
    upstream.cancelled(self)
  }

  // MARK: what happened

  func deliver(_ head: ResponseHead) {
    lastActivity = upstream.now
    upstream.wantSweep(at: nextDeadline)
    events?.upstreamResponded(head)
  }

  func deliver(_ bytes: ArraySlice<UInt8>) {
    lastActivity = upstream.now
    events?.upstreamReceived(bytes)
  }

  /// - Parameter wholeAt: when the last byte of the request was sent for the first time; nil where it was not.
  func noteSentAgain(wholeAt: UInt64?) {
    if wholeAt != nil { events?.upstreamSentAgain() }
  }

  func deliver(_ ending: UpstreamEnding) {
    guard let events else { return }
    self.events = nil
    request = nil
    events.upstreamEnded(ending)
  }

  // MARK: time

  /// Restarts the time of silence.
  func noteResumed(at now: UInt64) {
    lastActivity = now
    upstream.wantSweep(at: nextDeadline)
  }

  private var idleDeadline: UInt64 {
    let (sum, overflow) = lastActivity.addingReportingOverflow(idleLimit)
    return overflow || wantsPause || isPaused ? .max : sum
  }

  /// The call's next deadline.
  var nextDeadline: UInt64 {
    min(
      totalDeadline, carrier?.connectDeadline ?? .max, carrier?.headComplete == true ? idleDeadline : firstByteDeadline)
  }

  /// The timeout that has run out; nil where none has.
  func expired(at now: UInt64) -> UpstreamFailure? {
    let (mayHaveArrived, wasSent) = (requestMayHaveArrived, requestWasSent)
    func failure(_ kind: UpstreamFailure.Kind, _ detail: String) -> UpstreamFailure {
      UpstreamFailure(kind: kind, detail: detail, requestMayHaveArrived: mayHaveArrived, requestWasSent: wasSent)
    }
    if totalDeadline <= now { return failure(.totalTimedOut, "the attempt took longer than its total timeout") }
    if let carrier, carrier.connectDeadline <= now {
      var late = failure(.connectTimedOut, "no connection had a place for the request in time")
      late.event = carrier.connectEvent
      return late
    }
    if carrier?.headComplete == true {
      return idleDeadline <= now ? failure(.idleTimedOut, "the provider fell silent inside the answer") : nil
    }
    return firstByteDeadline <= now ? failure(.firstByteTimedOut, "the provider sent no response head in time") : nil
  }
}
