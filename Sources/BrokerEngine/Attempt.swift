// One attempt upstream and the relay of its answer: bytes to the client as they come, a copy of their facts to the tap.
//
// The machine. `awaitingHead` → `relaying` for answers that the client gets as they come; `awaitingHead` → `holding` for errors, whose
// (short) body decides the verdict; all → `ended`. The lease is settled exactly once, on entering `ended`.
import AdmissionCore
import HTTPMessage
import ProviderWire

final class Attempt: UpstreamEvents {
  private enum Phase {
    case awaitingHead
    case holding(ResponseHead, [UInt8])
    case relaying(ResponseHead)
    case ended
  }

  /// Bytes under way to a slow client at which the provider is paused. Resumed below the endpoint's low-water mark.
  static let highWater = 256 << 10
  /// Error bodies up to this size are read whole before the verdict.
  static let heldLimit = 64 << 10
  /// New output tokens after which the core hears of a running stream.
  private static let progressStep: TokenCount = 128

  /// A cycle with the exchange's phase, which ends with the attempt.
  let exchange: Exchange
  let grant: Grant
  private var lease: Lease?
  private var call: (any UpstreamCall)?
  private var phase = Phase.awaitingHead
  private var tap: UsageTap?
  private var isPaused = false
  private var reportedOutput: TokenCount = 0
  /// The first bytes of a relayed error, for the verdict.
  private var errorPrefix: [UInt8] = []
  /// True once something of this attempt's answer has gone to the client.
  private(set) var answerBegan = false

  init(exchange: Exchange, grant: Grant, lease: consuming Lease) {
    self.exchange = exchange
    self.grant = grant
    self.lease = consume lease
  }

  private var broker: Broker { exchange.broker }
  private var record: RequestRecord { exchange.record }

  func begin(_ request: UpstreamRequest) {
    call = broker.upstream.begin(request, events: self)
  }

  // MARK: From the provider

  func upstreamResponded(_ head: ResponseHead) {
    guard case .awaitingHead = phase else { return }
    let now = broker.clock.monotonic()
    record.attempts[record.attempts.count - 1].status = head.status
    record.attempts[record.attempts.count - 1].firstByte = now
    let waited = Double(now &- record.attempts[record.attempts.count - 1].began) / 1e9
    broker.metrics.firstByte[grant.provider.name, default: Histogram.firstByte].observe(waited)
    broker.metrics.upstreamResponses[
      BrokerMetrics.StatusLabels(provider: grant.provider.name, status: head.status), default: 0] += 1
    if let key = grant.key,
      let limits = RateLimitHeaders.read(
        head.fields, dialect: exchange.dialect, epochSeconds: broker.epochSeconds(at: now))
    {
      broker.dispatcher.observe(limits, provider: grant.provider, key: key)
    }
    if head.status >= 400 {
      phase = .holding(head, [])
    } else {
      beginRelay(head)
      if record.firstByteAt == nil { record.firstByteAt = now }
    }
  }

  func upstreamReceived(_ bytes: ArraySlice<UInt8>) {
    switch phase {
    case .holding(let head, var body):
      phase = .ended  // lets go of the copy in the state, so that appending does not copy
      body.append(contentsOf: bytes)
      if body.count <= Attempt.heldLimit {
        phase = .holding(head, body)
      } else {
        errorPrefix = body
        beginRelay(head)
        relay(body[...])
      }
    case .relaying: relay(bytes)
    case .awaitingHead, .ended: break
    }
  }

  func upstreamEnded(_ ending: UpstreamEnding) {
    let began = broker.clock.monotonic()
    switch ending {
    case .completed: completed()
    case .failed(let failure): failed(failure)
    }
    call = nil
    exchange.addOwnTime(broker.clock.monotonic() &- began)
  }

  private func completed() {
    switch phase {
    case .awaitingHead, .ended: break
    case .holding(let head, let body):
      exchange.keep(Exchange.HeldAnswer(head: head, body: body))
      let verdict = verdict(head, body)
      end(Settlement(verdict: verdict, hasAnswer: true), failure: nil)
    case .relaying(let head):
      let downstream = exchange.downstream
      tap?.finish { downstream.send($0) }
      downstream.finish(trailers: nil)
      if head.status >= 400 {
        end(
          Settlement(verdict: verdict(head, errorPrefix), answerBegan: true, hasAnswer: true), failure: nil)
      } else if let error = tap?.inStreamError {
        end(
          Settlement(
            verdict: VerdictReader.verdict(inStream: error, answerBegan: true), usage: usage(), answerBegan: true,
            hasAnswer: true), failure: error.code ?? error.type ?? "error in stream")
      } else {
        end(Settlement(verdict: .success, usage: usage(), answerBegan: true, hasAnswer: true), failure: nil)
      }
    }
  }

  private func failed(_ failure: UpstreamFailure) {
    exchange.keep(failure)
    switch phase {
    case .ended: break
    case .awaitingHead, .holding:
      end(
        Settlement(
          verdict: VerdictReader.verdict(failure: failure, answerBegan: false), wasSent: failure.requestMayHaveArrived),
        failure: failure.kind.rawValue)
    case .relaying(let head):
      let downstream = exchange.downstream
      tap?.finish { downstream.send($0) }
      if isEventStream(head), !downstream.isClosed {
        // The client may stand inside a frame: an empty line closes it.
        downstream.send(Array("\n\n".utf8))
        downstream.send(
          BrokerError.inStreamFrame(
            dialect: exchange.dialect, endpoint: exchange.path.endpoint,
            message: ErrorText.failedUpstream(failure, provider: grant.provider.name), code: "server_error",
            requestID: record.text))
        downstream.finish(trailers: nil)
      } else {
        downstream.abort()
      }
      end(
        Settlement(verdict: .truncated, usage: usage(), answerBegan: true, hasAnswer: true),
        failure: failure.kind.rawValue)
    }
  }

  private func verdict(_ head: ResponseHead, _ body: [UInt8]) -> Verdict {
    VerdictReader.verdict(
      status: head.status, fields: head.fields, body: body, dialect: exchange.dialect,
      epochSeconds: broker.epochSeconds(at: broker.clock.monotonic()))
  }

  // MARK: To the client

  private func beginRelay(_ head: ResponseHead) {
    let facts = exchange.facts
    let strips = exchange.injectsUsage && head.status < 300
    tap = UsageTap(
      endpoint: exchange.path.endpoint, isStreaming: facts.isStreaming, contentType: head.fields.first("content-type"),
      contentEncoding: head.fields.first("content-encoding"), stripInjectedUsage: strips,
      scratch: broker.scratch)
    var fields = ForwardedFields.forClient(head.fields, bodyMayShrink: strips)
    record.status = head.status
    TollgateFields.append(to: &fields, record, outcome: nil)
    phase = .relaying(head)
    answerBegan = true
    exchange.downstream.releaseBody()
    exchange.downstream.respond(ResponseHead(status: head.status, fields: fields))
  }

  private func relay(_ bytes: ArraySlice<UInt8>) {
    let downstream = exchange.downstream
    record.bytesOut += bytes.count
    tap?.feed(bytes) { downstream.send($0) }
    if !isPaused, downstream.pendingBytes > Attempt.highWater {
      isPaused = true
      call?.pause()
    }
    if let output = tap?.estimatedOutput, output >= reportedOutput + Attempt.progressStep {
      reportedOutput = output
      broker.dispatcher.progress(
        grant.lease, Progress(inputTokens: tap?.usage?.inputTokens, outputTokens: output))
    }
  }

  func clientCaughtUp() {
    guard isPaused else { return }
    isPaused = false
    call?.resume()
  }

  func clientLeft() {
    if case .ended = phase { return }
    call?.cancel()
    call = nil
    tap?.finish { _ in }
    end(
      Settlement(verdict: .clientLeft, usage: answerBegan ? usage() : nil, answerBegan: answerBegan),
      failure: nil)
  }

  // MARK: The end

  private func end(_ settlement: Settlement, failure: String?) {
    phase = .ended
    let index = record.attempts.count - 1
    record.attempts[index].ended = broker.clock.monotonic()
    record.attempts[index].verdict = settlement.verdict.name
    record.attempts[index].failure = failure
    if let usage = settlement.usage {
      record.usage = usage
      broker.count(usage, of: exchange)
    }
    tap = nil
    if let lease = lease.take() { lease.settle(settlement) }
  }

  /// What the provider said it charged, or what the bytes let us guess.
  private func usage() -> Usage {
    if let usage = tap?.usage { return usage }
    guard !exchange.path.endpoint.isFree else { return Usage() }
    return Usage(
      inputTokens: exchange.facts.estimatedInput, outputTokens: tap?.estimatedOutput ?? 0, isEstimated: true)
  }

  private func isEventStream(_ head: ResponseHead) -> Bool {
    guard let index = head.fields.firstIndex(of: "content-type") else { return false }
    let mark = Array("text/event-stream".utf8)
    let value = head.fields.valueBytes(at: index)
    return value.count >= mark.count && zip(value, mark).allSatisfy { asciiLowercased($0) == $1 }
  }
}

extension Verdict {
  /// For records and labels.
  public var name: String {
    switch self {
    case .success: "success"
    case .throttled: "throttled"
    case .failed: "failed"
    case .keyRefused: "key_refused"
    case .quotaExhausted: "quota_exhausted"
    case .clientLeft: "client_left"
    case .clientError: "client_error"
    case .truncated: "truncated"
    case .ownFault: "own_fault"
    }
  }
}
