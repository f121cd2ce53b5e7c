// One attempt upstream and the relay of its answer: bytes to the client as they come, a copy of their facts to the tap.
//
// The machine. `awaitingHold` → `awaitingHead` when the books have the hold; → `relaying` for answers that the client gets as they come,
// → `holding` for errors, whose (short) body decides the verdict; all → `ended`. The lease is settled exactly once, on entering `ended`.
//
// The last bytes of an answer, by which its client takes it for finished, are withheld until the books have its end.
import AdmissionCore
import EventLoop
import HTTPMessage
import LedgerVocabulary
import Pricing
import ProviderWire
import TextForms

final class Attempt: UpstreamEvents {
  private enum Phase {
    case awaitingHold
    case awaitingHead
    case holding(ResponseHead, [UInt8])
    case relaying(ResponseHead)
    case ended
  }

  /// Bytes under way to a slow client at which the provider is paused. Resumed below the endpoint's low-water mark.
  static let highWater = 256 << 10
  /// Error bodies up to this size are read whole before the verdict.
  static let heldLimit = 64 << 10
  /// The first bytes of an answer that is no stream wait for the rest of their turn, up to this many: mostly they are all.
  private static let coalesced = 16 << 10
  /// A stream that said its last word ends this much later even if its provider leaves it open.
  private static let grace = Duration.milliseconds(100)
  /// New output tokens after which the core hears of a running stream.
  private static let progressStep: TokenCount = 128

  /// A cycle with the exchange's phase, which ends with the attempt.
  let exchange: Exchange
  let grant: Grant
  /// Those by which it is carried out.
  private let rules: BrokerRules
  private var lease: Lease?
  private var call: (any UpstreamCall)?
  private var phase = Phase.awaitingHold
  private var tap: UsageTap?
  /// What the tap keeps.
  private var tapShare: MemoryShare
  private var isPaused = false
  private var reportedOutput: TokenCount = 0
  /// The first bytes of a relayed error, for the verdict.
  private var errorPrefix: [UInt8] = []
  /// Takes the secret that was sent out of a relayed error.
  private var mask: AnswerMask?
  /// Of a stream's frame that may be an error and is not whole: what of it waits for the rest.
  private var suspectFrame: [UInt8] = []
  /// A page came where JSON or events were asked for.
  private var isPage = false
  /// Something of the answer's body has come.
  private var bodyBegan = false
  /// The head while it waits for the first of its body.
  private var pendingHead: ResponseHead?
  /// What waits: for the rest of its turn, or for the end to be in the books.
  private var withheld: [UInt8] = []
  /// What is left of the `content-length`; -1 where there is none.
  private var remaining = -1
  private var isEventStream = false
  /// Nothing of ours can be written behind what the provider has compressed.
  private var isEncoded = false
  /// The provider does not know `stream_options`: it was sent once more without. Whether the provider minds nothing else the answer
  /// to that tells.
  private var isWithoutUsage = false
  private var graceTimer: LoopTimer?
  /// What the lines of a batch's results have come to.
  private var sums = LineSums()
  /// True once something of this attempt's answer has gone to the client.
  private(set) var answerBegan = false

  init(exchange: Exchange, grant: Grant, lease: consuming Lease) {
    self.exchange = exchange
    self.grant = grant
    tapShare = MemoryShare(exchange.broker.memory, .decoding)
    rules = exchange.rulesOfGrant(grant.provider)
    self.lease = consume lease
  }

  private var broker: Broker { exchange.broker }
  private var record: RequestRecord { exchange.record }

  /// Has the estimate written down; the call follows when it is safe.
  func begin() {
    broker.books.held(
      self,
      AttemptHold(
        request: record.id, attempt: grant.attempt, at: WallInstant(nanoseconds: broker.wallNanoseconds(at: began)),
        tenant: TenantID(record.tenant), clientKey: record.clientKey, session: SessionID(record.session),
        provider: grant.provider, key: grant.key, model: record.model, priority: record.priority, kind: record.kind,
        reservedInput: grant.reservedInput, reservedOutput: grant.reservedOutput, held: grant.held,
        priceVersion: rules.prices.version))
  }

  private var began: UInt64 { record.attempts[record.attempts.count - 1].began }

  func holdIsSafe() {
    guard case .awaitingHold = phase else { return }
    record.attempts[record.attempts.count - 1].began = broker.clock.monotonic()
    send()
  }

  private func send() {
    guard let request = exchange.upstreamRequest(grant, under: rules, mayAskForUsage: !isWithoutUsage) else {
      return end(Settlement(verdict: .ownFault, wasSent: false), failure: "the provider is gone")
    }
    phase = .awaitingHead
    call = broker.upstream.begin(request, events: self)
  }

  func holdIsStuck(_ obstacle: String) {
    guard case .awaitingHold = phase else { return }
    exchange.reject(.rejectedNoCapacity, ErrorText.ledgerInTrouble(obstacle), retryAfter: .seconds(5))
    end(Settlement(verdict: .clientLeft, wasSent: false), failure: "the ledger cannot be written")
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
    // Of a client's own credential the limits are that client's.
    if grant.key != nil,
      let limits = RateLimitHeaders.read(
        head.fields, epochSeconds: broker.epochSeconds(at: now))
    {
      broker.dispatcher.observe(limits, grant.lease)
    }
    isPage = answersWithPage(head)
    if head.status >= 400 || isPage {
      phase = .holding(head, [])
    } else {
      if isWithoutUsage { broker.refusesUsage(grant.provider.name) }
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
        mask = exchange.mask(for: head)
        errorPrefix =
          mask?.decodes == true
          ? ErrorBody.decoded(body, contentEncoding: head.fields.first("content-encoding")) ?? [] : body
        beginRelay(head)
        relay(body[...])
      }
    case .relaying: relay(bytes)
    case .awaitingHold, .awaitingHead, .ended: break
    }
  }

  func upstreamEnded(_ ending: UpstreamEnding) {
    let began = broker.clock.monotonic()
    // Before what follows: it may begin another call.
    call = nil
    switch ending {
    case .completed: completed()
    case .failed(let failure): failed(failure)
    }
    exchange.addOwnTime(broker.clock.monotonic() &- began)
  }

  private func completed() {
    switch phase {
    case .awaitingHold, .awaitingHead, .ended: break
    case .holding(let head, let body):
      if refusesUsage(head, body) { return sendAgainWithoutUsage() }
      exchange.keep(Exchange.HeldAnswer(head: head, body: body))
      let verdict = verdict(head, body)
      if verdict == .keyRefused || verdict == .quotaExhausted, let key = grant.key {
        broker.keyRefusals.keep(
          head, body, of: RefusedKey(provider: grant.provider, key: key), besides: exchange.sentFields,
          sentWith: rules.secrets, now: broker.rules.secrets)
      }
      end(
        Settlement(verdict: verdict, hasAnswer: true, toldToRetry: VerdictReader.shouldRetry(head.fields)),
        failure: nil)
    case .relaying(let head):
      finishTap()
      let last = Exchange.Delivery(head: pendingHead, body: withheld)
      exchange.deliverAtEnd(tap?.inStreamError == nil ? last : exchange.withoutSecrets(last))
      pendingHead = nil
      withheld = []
      if head.status >= 400 {
        end(
          Settlement(verdict: verdict(head, errorPrefix), answerBegan: true, hasAnswer: true), failure: nil)
      } else if let error = tap?.inStreamError {
        end(
          Settlement(
            verdict: VerdictReader.verdict(inStream: error, answerBegan: true), usage: usage(), answerBegan: true,
            hasAnswer: true), failure: exchange.withoutSecret(error.code ?? error.type ?? "error in stream"))
      } else if isPage || tap?.broughtNothing == true, exchange.charge == .asAnswered, head.status < 300 {
        let isFailure = isPage || tap?.isPage == true
        end(
          Settlement(verdict: isFailure ? .truncated : .success, answerBegan: true, hasAnswer: true),
          failure: isFailure ? "a page in place of an answer" : nil)
      } else {
        let usage = usage(isWhole: tap?.isCutShort != true)
        end(Settlement(verdict: .success, usage: usage, answerBegan: true, hasAnswer: true), failure: nil)
      }
    }
  }

  /// True where the provider does not know `stream_options`, and it was not the client who sent it.
  private func refusesUsage(_ head: ResponseHead, _ body: [UInt8]) -> Bool {
    guard exchange.injectsUsage, head.status == 400 || head.status == 422 else { return false }
    return UsageSplice.isNamed(in: body)
  }

  /// Once more as the client sent it, in the same place: the provider has done nothing yet.
  private func sendAgainWithoutUsage() {
    isWithoutUsage = true
    send()
  }

  private func failed(_ failure: UpstreamFailure) {
    exchange.keep(failure)
    switch phase {
    case .awaitingHold, .ended: break
    case .holding(let head, _):
      // The status and its fields are the provider's word all the same; what it says beside them nobody will read.
      let said = ResponseHead(status: head.status, fields: head.fields.without("content-encoding"))
      exchange.keep(Exchange.HeldAnswer(head: said, body: []))
      end(
        Settlement(
          verdict: verdict(head, nil), hasAnswer: true, toldToRetry: VerdictReader.shouldRetry(head.fields),
          cause: failure.event), failure: failure.kind.rawValue)
    case .awaitingHead:
      var settlement = Settlement(
        verdict: VerdictReader.verdict(failure: failure, answerBegan: false), wasSent: failure.requestMayHaveArrived,
        cause: failure.event)
      if failure.isLateAnswer {
        // The provider works on it, and will charge for what nobody hears.
        settlement.usage = usage()
        settlement.mayGoAgain = exchange.head.method != "POST" || repeatsAfterSending
      }
      end(settlement, failure: failure.kind.rawValue)
    case .relaying:
      breakOff(saying: ErrorText.failedUpstream(failure, provider: grant.provider.name), code: "server_error")
      end(
        Settlement(verdict: .truncated, usage: usage(), answerBegan: true, hasAnswer: true, cause: failure.event),
        failure: failure.kind.rawValue)
    }
  }

  private var repeatsAfterSending: Bool {
    rules.provider(grant.provider.name)?.policy.retry.afterSent ?? false
  }

  /// The answer ends here without being whole: in a stream by an error frame, else so that the client can see it.
  private func breakOff(saying message: String, code: String) {
    finishTap()
    if isEventStream, !isEncoded {
      // The client may stand inside a frame: an empty line closes it.
      withheld.append(contentsOf: "\n\n".utf8)
      withheld.append(
        contentsOf: BrokerError.inStreamFrame(
          dialect: exchange.dialect, endpoint: exchange.path.endpoint, message: message, code: code,
          requestID: record.text))
      exchange.deliverAtEnd(Exchange.Delivery(head: pendingHead, body: withheld))
    } else {
      giveOn()
      exchange.downstream.abort()
    }
    pendingHead = nil
    withheld = []
  }

  /// Nothing comes any more: what was held back goes behind what is withheld.
  private func finishTap() {
    if let rest = mask?.rest(), !rest.isEmpty { tap?.feed(rest[...]) { withheld.append(contentsOf: $0) } }
    mask = nil
    var last = suspectFrame
    suspectFrame = []
    tap?.finish { last.append(contentsOf: $0) }
    withheld.append(contentsOf: isEventStream && !last.isEmpty ? exchange.withoutSecret(last) : last)
  }

  /// The process ends before the answer does: the provider is let go, the client is told.
  func drainTimedOut() {
    if case .ended = phase { return }
    let cut = cutOff()
    if case .relaying = phase {
      if tap?.sawEndMark == true { return completed() }
      breakOff(saying: "The broker is shutting down and broke the answer off.", code: "server_error")
    }
    exchange.isCutByDrain = true
    end(
      Settlement(
        verdict: .clientLeft, usage: cut.isCharged ? usage() : nil, wasSent: cut.wasSent, answerBegan: answerBegan),
      failure: "the drain's time was up")
  }

  /// Lets the provider go before its answer has ended. Whether it can have seen the request, and whether it will charge for it: an
  /// error costs nothing, but what it read to the end it works on, although nobody will hear what it makes of it.
  private func cutOff() -> (wasSent: Bool, isCharged: Bool) {
    defer {
      call?.cancel()
      call = nil
    }
    switch phase {
    case .awaitingHold, .ended: return (false, false)
    case .awaitingHead: return (call?.requestMayHaveArrived ?? true, call?.requestWasSent ?? true)
    case .holding: return (true, false)
    case .relaying(let head): return (true, head.status < 300)
    }
  }

  /// - Parameter body: nil where it did not come, or not whole.
  private func verdict(_ head: ResponseHead, _ body: [UInt8]?) -> Verdict {
    VerdictReader.verdict(
      status: head.status, fields: head.fields,
      body: body.flatMap { ErrorBody.decoded($0, contentEncoding: head.fields.first("content-encoding")) },
      epochSeconds: broker.epochSeconds(at: broker.clock.monotonic()))
  }

  // MARK: To the client

  private func beginRelay(_ head: ResponseHead) {
    let facts = exchange.facts
    let strips = exchange.injectsUsage && head.status < 300
    var head = head.status < 300 ? head : exchange.withoutSecret(head)
    let isDecoded = mask?.decodes == true
    if isDecoded { head.fields = head.fields.without("content-encoding") }
    tap = UsageTap(
      endpoint: exchange.path.endpoint, isStreaming: facts.isStreaming, contentType: head.fields.first("content-type"),
      contentEncoding: head.fields.first("content-encoding"), stripInjectedUsage: strips,
      watchesWork: head.status < 300 && watchesWork, collectsLines: head.status < 300 && collectsLines,
      scratch: broker.scratch)
    var fields = ForwardedFields.forClient(
      head.fields, bodyMayShrink: strips || isDecoded, isForPage: exchange.isFromPage)
    record.status = head.status
    exchange.appendOwnFields(to: &fields, outcome: nil)
    phase = .relaying(head)
    answerBegan = true
    exchange.releaseBody()
    let answer = ResponseHead(status: head.status, fields: fields)
    isEventStream = Attempt.isEventStream(head)
    isEncoded =
      head.fields.firstIndex(of: "content-encoding").map {
        !FieldSyntax.equal(head.fields.valueBytes(at: $0), "identity")
      } ?? false
    guard !isEventStream, let loop = broker.loop else { return exchange.downstream.respond(answer) }
    remaining = fields.first("content-length").flatMap { Int($0) } ?? -1
    pendingHead = answer
    loop.atEndOfTurn { self.turnEnded() }
  }

  /// What came of the answer in this turn goes out, but for the very last of it.
  private func turnEnded() {
    guard case .relaying = phase, pendingHead != nil, remaining != 0 else { return }
    giveOn()
  }

  private func giveOn() {
    if let head = pendingHead {
      pendingHead = nil
      exchange.downstream.respond(head)
    }
    if !withheld.isEmpty {
      exchange.downstream.send(withheld)
      withheld = []
    }
  }

  private func relay(_ piece: ArraySlice<UInt8>) {
    let downstream = exchange.downstream
    var bytes = piece
    if !bodyBegan {
      bodyBegan = true
      if !isEventStream, !isEncoded, mask == nil, AnswerMask.isNeeded(for: piece), case .relaying(let head) = phase {
        mask = exchange.mask(for: head)
        if let head = pendingHead { pendingHead = exchange.withoutSecret(head) }
      }
    }
    if mask != nil {
      guard let clean = mask?.take(piece) else {
        call?.cancel()
        call = nil
        return failed(
          UpstreamFailure(
            kind: .malformedResponse, detail: "its body is not coded as it says", requestMayHaveArrived: true))
      }
      bytes = clean[...]
      if bytes.isEmpty { return }
    }
    record.bytesOut += bytes.count
    if isEventStream {
      relayStream(bytes)
    } else {
      if remaining >= 0 { remaining = max(0, remaining - bytes.count) }
      if remaining == 0 || (pendingHead != nil && withheld.count + bytes.count < Attempt.coalesced) {
        tap?.feed(bytes) { withheld.append(contentsOf: $0) }
      } else {
        giveOn()
        tap?.feed(bytes) { downstream.send($0) }
      }
    }
    if collectsLines { addLines() }
    countTap()
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

  /// What the tap keeps is in the account; where that is full, the tap keeps the least that it needs.
  private func countTap() {
    guard let held = tap?.heldBytes, held != tapShare.bytes else { return }
    let before = tapShare.bytes
    tapShare.hold(held)
    // A frame that was too large to keep: many such would leave as much free heap behind as they ever held.
    if before - held >= UsageTap.frameLimit / 2 { broker.memory.onGivenUp?() }
    guard held > UsageTap.leastHeld, broker.memory.isFull else { return }
    tap?.shrink()
    tapShare.hold(tap?.heldBytes ?? 0)
    broker.memory.onGivenUp?()
  }

  /// A stream's bytes go on at once, until the frame that says that it is over.
  private func relayStream(_ bytes: ArraySlice<UInt8>) {
    guard let tap else { return }
    var first: ArraySlice<UInt8> = []
    var others: [ArraySlice<UInt8>] = []
    tap.feed(bytes) { if first.isEmpty { first = $0 } else { others.append($0) } }
    let isOver = tap.sawEndMark
    let isSuspect = tap.mayBeInError || !suspectFrame.isEmpty
    if isSuspect, !isEncoded, exchange.hasSentSecret {
      var bytes = suspectFrame + first
      for other in others { bytes.append(contentsOf: other) }
      others = []
      // Providers may show in an error what was sent to them: its frame waits until it is whole.
      let unfinished = tap.unfinishedMayBeError ? min(tap.unfinishedBytes, bytes.count) : 0
      let waiting = unfinished <= Attempt.heldLimit ? unfinished : 0
      suspectFrame = Array(bytes.suffix(waiting))
      bytes.removeLast(waiting)
      first = exchange.withoutSecret(bytes)[...]
    }
    guard isOver, let loop = broker.loop else {
      if !first.isEmpty { exchange.downstream.send(first) }
      for bytes in others { exchange.downstream.send(bytes) }
      return
    }
    withheld.append(contentsOf: first)
    for bytes in others { withheld.append(contentsOf: bytes) }
    if withheld.count > Attempt.heldLimit {
      // It goes on and on behind its last word: that is nothing to wait for.
      call?.cancel()
      call = nil
      return completed()
    }
    if graceTimer == nil {
      loop.atEndOfTurn { self.awaitEnd(loop) }
    }
  }

  /// The stream is over, but its provider has not ended the answer.
  private func awaitEnd(_ loop: EventLoop) {
    guard case .relaying = phase, graceTimer == nil else { return }
    graceTimer = LoopTimer(loop) { [unowned self] in
      guard case .relaying = phase else { return }
      call?.cancel()
      call = nil
      completed()
    }
    graceTimer?.schedule(after: Attempt.grace)
  }

  func clientCaughtUp() {
    guard isPaused else { return }
    isPaused = false
    call?.resume()
  }

  func clientLeft() {
    if case .ended = phase { return }
    let cut = cutOff()
    tap?.finish { _ in }
    pendingHead = nil
    withheld = []
    end(
      Settlement(
        verdict: .clientLeft, usage: cut.isCharged ? usage() : nil, wasSent: cut.wasSent, answerBegan: answerBegan),
      failure: nil)
  }

  // MARK: The end

  private func end(_ ending: Settlement, failure: String?) {
    var settlement = ending
    let later = laterCharge()
    phase = .ended
    graceTimer = nil
    let index = record.attempts.count - 1
    let now = broker.clock.monotonic()
    var extras = tap?.extras ?? UsageExtras()
    var (cost, source) = cost(of: settlement.usage, extras)
    var usage = settlement.usage
    if let later {
      // Its tokens were taken from limits of another kind, at another time: only its money, and what is told, is of now.
      (usage, extras.cacheWriteHourTokens) = (later.charge.usage, later.charge.cacheWriteHour)
      (cost, source) = (later.charge.cost, later.source)
      settlement.laterTokens = later.charge.usage.inputTokens + later.charge.usage.outputTokens
    }
    settlement.cost = cost
    record.attempts[index].end(
      at: now, verdict: settlement.verdict.name, failure: failure, cost: cost, costSource: source)
    record.addCost(cost)
    if let usage {
      record.usage = usage
      broker.count(usage, cost ?? .zero, of: exchange)
    }
    broker.books.settled(
      AttemptEnd(
        request: record.id, attempt: grant.attempt, at: WallInstant(nanoseconds: broker.wallNanoseconds(at: now)),
        verdict: settlement.verdict.name, status: record.attempts[index].status, wasSent: settlement.wasSent,
        usage: usage ?? Usage(), cacheWriteHourTokens: extras.cacheWriteHourTokens,
        audioMilliseconds: extras.audioMilliseconds, cost: cost, costSource: source,
        priceVersion: rules.prices.version, serviceTier: tap?.serviceTier))
    if tap?.usageWasCut == true {
      record.hadImpossibleNumbers = true
      broker.foundImpossible(.usage, from: grant.provider)
    }
    tap = nil
    tapShare.hold(0)
    if let lease = lease.take() { lease.settle(settlement) }
    broker.noteLearning()
  }

  private func addLines() {
    guard let lines = tap?.takeLines(), !lines.isEmpty else { return }
    add(lines, to: &sums)
  }

  private func laterCharge() -> (charge: WorkBook.Charge, source: CostSource)? {
    guard let tap, answerBegan else { return nil }
    if collectsLines { addLines() }
    return laterCharge(tap, sums)
  }

  /// What tokens cost at the time of the attempt.
  /// - Parameter model: as the line of a batch names it; empty counts as that of the call.
  func price(
    _ usage: Usage, _ extras: UsageExtras, model: String, tier: String?, isWholeBatch: Bool = false
  ) -> (Money?, CostSource) {
    rules.prices.cost(
      of: usage, extras: extras, model: model.isEmpty ? record.model : model, answeredBy: tap?.model, reported: nil,
      tier: tier, isWholeBatch: isWholeBatch, at: broker.wallNanoseconds(at: began))
  }

  private func cost(of usage: Usage?, _ extras: UsageExtras) -> (Money?, CostSource) {
    guard let usage, !exchange.charge.isFree else { return (.zero, .free) }
    return rules.prices.cost(
      of: usage, extras: extras, model: record.model, answeredBy: tap?.model,
      reported: tap?.cost, tier: tap?.serviceTier, at: broker.wallNanoseconds(at: began))
  }

  /// What the provider said it charged, or what the bytes let us guess; nil for a refusal.
  /// - Parameter isWhole: false where the answer broke off: then what was said is not all.
  private func usage(isWhole: Bool = false) -> Usage? {
    guard !exchange.charge.isFree else { return Usage() }
    let input = exchange.facts.estimatedInput
    if let usage = tap?.charge(isWhole: isWhole, estimatedInput: input) { return usage }
    // An error in place of an answer, of whatever status: nothing was made.
    if case .relaying(let head) = phase, head.status >= 300 { return nil }
    if let tap, tap.inStreamError != nil, tap.outputBytes == 0 { return nil }
    if !exchange.charge.isEstimated || tap?.work?.isUnderWay == true { return Usage() }
    return Usage(inputTokens: input, outputTokens: tap?.estimatedOutput ?? 0, isEstimated: true)
  }

  private static func isEventStream(_ head: ResponseHead) -> Bool {
    guard let index = head.fields.firstIndex(of: "content-type") else { return false }
    return FieldSyntax.starts(head.fields.valueBytes(at: index), with: "text/event-stream")
  }
}
