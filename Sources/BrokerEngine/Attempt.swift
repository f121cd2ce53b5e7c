// One attempt upstream: from the grant to the settlement of its lease.
//
// The machine. `awaitingHold` → `awaitingHead` when the books have the hold; → `relaying` for answers that the client gets as they come,
// → `gathering` for errors, whose (short) body decides the verdict; all → `ended`. The lease is settled exactly once, on entering `ended`.
//
// It owns what a call carries (its body, its secrets), the relay of its answer and the lease. Its exchange tells it to `begin`, that the
// client has caught up (`clientCaughtUp`) or left (`clientLeft`), and that the drain's time is up (`drainTimedOut`). It tells its
// exchange that the call may not be made (`reject`) and, once and before the lease is settled, that it has ended and what it leaves
// (`attemptEnded`). Whether another one follows the core decides.
import AdmissionCore
import EventLoop
import HTTPMessage
import LedgerVocabulary
import Pricing
import ProviderWire
import TextForms

/// A provider's error answer, kept until the core has decided whether there is another attempt.
struct ErrorAnswer {
  var head: ResponseHead
  var body: [UInt8]
}

final class Attempt: UpstreamEvents {
  private enum Phase {
    case awaitingHold
    case awaitingHead
    case gathering(ResponseHead, [UInt8])
    case relaying(Relay)
    case ended
  }

  /// What an attempt leaves to its exchange.
  struct Remains {
    /// For the client, should no other attempt follow; without the secrets that were sent.
    var errorAnswer: ErrorAnswer?
    var failure: UpstreamFailure?
    /// What completes the answer that was relayed.
    var delivery: Delivery?
    /// True where something of its answer has gone to the client.
    var answerBegan = false
    /// The drain's end broke it off: its outcome is ours, whatever the core makes of it.
    var isCutByDrain = false
    /// Nanoseconds that its end has taken so far.
    var ownTime: UInt64 = 0
  }

  /// Bytes under way to a slow client at which the provider is paused. Resumed below the endpoint's low-water mark.
  static let highWater = 256 << 10
  /// Error bodies up to this size are read whole before the verdict.
  static let errorLimit = 64 << 10
  /// A stream that said its last word ends this much later even if its provider leaves it open.
  private static let grace = Duration.milliseconds(100)
  /// New output tokens after which the core hears of a running stream.
  private static let progressStep: TokenCount = 128

  /// A cycle with the exchange's phase, which ends with the attempt.
  let exchange: Exchange
  let grant: Grant
  /// Those by which it is carried out.
  let rules: BrokerRules
  private var lease: Lease?
  private var upstreamCall: (any UpstreamCall)?
  private var phase = Phase.awaitingHold
  /// What the call carries of the operator's, while it runs.
  private var sent = SentSecrets()
  /// Bodies of requests go on as they came, unless usage is asked for.
  private var injectsUsage = false
  /// Of a body that is sent with something put into it: the copy beside the client's own.
  private var spliceShare: MemoryShare
  private var isPaused = false
  private var reportedOutput: TokenCount = 0
  /// The first bytes of a relayed error, for the verdict.
  private var errorPrefix: [UInt8] = []
  /// A page came where JSON or events were asked for.
  private var isPage = false
  /// The provider does not know `stream_options`: it was sent once more without. Whether the provider minds nothing else the answer
  /// to that tells.
  private var isWithoutUsage = false
  private var graceTimer: LoopTimer?
  /// What the lines of a batch's results have come to.
  private var sums = LineSums()
  /// When the provider ended the call; 0 where it did not.
  private var endBegan: UInt64 = 0
  private var remains = Remains()

  init(exchange: Exchange, grant: Grant, lease: consuming Lease) {
    self.exchange = exchange
    self.grant = grant
    rules = exchange.call.rules(ofGrant: grant.provider, exchange.services.rules.now)
    spliceShare = MemoryShare(exchange.services.memory, .retry)
    self.lease = consume lease
  }

  var services: EngineServices { exchange.services }
  private var record: RequestRecord { exchange.record }

  // MARK: From the exchange and the books

  /// Has the estimate written down; the call follows when it is safe.
  func begin() {
    services.books.held(
      self,
      AttemptHold(
        request: record.id, attempt: grant.attempt, at: services.time.wallInstant(at: record.attemptBegan),
        tenant: TenantID(record.tenant), clientKey: record.clientKey, session: SessionID(record.session),
        provider: grant.provider, key: grant.key, model: record.model, priority: record.priority, kind: record.kind,
        reservedInput: grant.reservedInput, reservedOutput: grant.reservedOutput, held: grant.held,
        priceVersion: rules.prices.version))
  }

  func holdIsSafe() {
    guard case .awaitingHold = phase else { return }
    record.sent(at: services.time.now)
    send()
  }

  private func send() {
    guard let made = callForProvider(mayAskForUsage: !isWithoutUsage) else {
      return end(Settlement(verdict: .ownFault, wasSent: false), failure: "the provider is gone")
    }
    sent = made.sent
    injectsUsage = made.injectsUsage
    spliceShare.resize(to: injectsUsage ? made.request.body.count : 0)
    phase = .awaitingHead
    upstreamCall = services.upstream.begin(made.request, events: self)
  }

  func holdIsStuck(_ obstacle: String) {
    guard case .awaitingHold = phase else { return }
    exchange.reject(.ledgerInTrouble(obstacle))
    end(Settlement(verdict: .clientLeft, wasSent: false), failure: "the ledger cannot be written")
  }

  func clientCaughtUp() {
    guard isPaused else { return }
    isPaused = false
    upstreamCall?.resume()
  }

  func clientLeft() {
    if case .ended = phase { return }
    let cut = cutOff()
    if case .relaying(let relay) = phase { relay.drop() }
    end(
      Settlement(
        verdict: .clientLeft, usage: cut.isCharged ? usage() : nil, wasSent: cut.wasSent,
        answerBegan: remains.answerBegan),
      failure: nil)
  }

  /// The process ends before the answer does: the provider is let go, the client is told.
  func drainTimedOut() {
    if case .ended = phase { return }
    let cut = cutOff()
    if case .relaying(let relay) = phase {
      if relay.tap.sawEndMark { return completed() }
      breakOff(relay, saying: "The broker is shutting down and broke the answer off.")
    }
    remains.isCutByDrain = true
    end(
      Settlement(
        verdict: .clientLeft, usage: cut.isCharged ? usage() : nil, wasSent: cut.wasSent,
        answerBegan: remains.answerBegan),
      failure: "the drain's time was up")
  }

  /// Lets the provider go before its answer has ended. Whether it can have seen the request, and whether it will charge for it: an
  /// error costs nothing, but what it read to the end it works on, although nobody will hear what it makes of it.
  private func cutOff() -> (wasSent: Bool, isCharged: Bool) {
    defer { letGo() }
    switch phase {
    case .awaitingHold, .ended: return (false, false)
    case .awaitingHead: return (upstreamCall?.requestMayHaveArrived ?? true, upstreamCall?.requestWasSent ?? true)
    case .gathering: return (true, false)
    case .relaying(let relay): return (true, relay.head.status < 300)
    }
  }

  private func letGo() {
    upstreamCall?.cancel()
    upstreamCall = nil
  }

  // MARK: From the provider

  func upstreamResponded(_ head: ResponseHead) {
    guard case .awaitingHead = phase else { return }
    let now = services.time.now
    record.answered(head.status, at: now)
    services.counters.answered(grant.provider.name, head.status, after: now &- record.attemptBegan)
    // Of a client's own credential the limits are that client's.
    if grant.key != nil,
      let limits = RateLimitHeaders.read(head.fields, epochSeconds: services.time.epochSeconds(at: now))
    {
      services.dispatcher.observe(limits, grant.lease)
    }
    isPage = answersWithPage(head)
    if head.status >= 400 || isPage {
      phase = .gathering(head, [])
    } else {
      if isWithoutUsage { services.providers.usageRefusals.add(grant.provider.name, at: now) }
      _ = beginRelay(head, mask: nil)
      record.firstByteCame(at: now)
    }
  }

  func upstreamReceived(_ bytes: ArraySlice<UInt8>) {
    switch phase {
    case .gathering(let head, var body):
      phase = .ended  // lets go of the copy in the state, so that appending does not copy
      body.append(contentsOf: bytes)
      if body.count <= Attempt.errorLimit {
        phase = .gathering(head, body)
      } else {
        let mask = sent.mask(for: head)
        errorPrefix =
          mask?.decodes == true
          ? ErrorBody.decoded(body, contentEncoding: head.fields.first("content-encoding")) ?? [] : body
        pass(body[...], to: beginRelay(head, mask: mask))
      }
    case .relaying(let relay): pass(bytes, to: relay)
    case .awaitingHold, .awaitingHead, .ended: break
    }
  }

  func upstreamEnded(_ ending: UpstreamEnding) {
    endBegan = services.time.now
    // Before what follows: it may begin another call.
    upstreamCall = nil
    switch ending {
    case .completed: completed()
    case .failed(let failure): failed(failure)
    }
  }

  // MARK: The relay

  private func beginRelay(_ head: ResponseHead, mask: AnswerMask?) -> Relay {
    let isAnswer = head.status < 300
    let relay = Relay(
      head, of: exchange, sent: sent, mask: mask,
      watch: Relay.Watch(
        stripsUsage: injectsUsage && isAnswer, work: isAnswer && watchesWork, lines: isAnswer && collectsLines),
      mayWait: services.turnEnd != nil)
    phase = .relaying(relay)
    remains.answerBegan = true
    // Nothing will be sent again.
    exchange.downstream.releaseBody()
    spliceShare.resize(to: 0)
    relay.begin()
    if relay.waitsForBody { services.turnEnd?.putOff(.answer(self)) }
    return relay
  }

  private func pass(_ bytes: ArraySlice<UInt8>, to relay: Relay) {
    switch relay.take(bytes) {
    case .goesOn: break
    case .saidLastWord: if graceTimer == nil { services.turnEnd?.putOff(.answer(self)) }
    case .isEndless:
      letGo()
      return completed()
    case .isUnreadable:
      letGo()
      return failed(
        UpstreamFailure(
          kind: .malformedResponse, detail: "its body is not coded as it says", requestMayHaveArrived: true))
    }
    if collectsLines { addLines(of: relay.tap) }
    relay.countTap()
    if !isPaused, exchange.downstream.pendingBytes > Attempt.highWater {
      isPaused = true
      upstreamCall?.pause()
    }
    let output = relay.tap.estimatedOutput
    if output >= reportedOutput + Attempt.progressStep {
      reportedOutput = output
      services.dispatcher.progress(
        grant.lease, Progress(inputTokens: relay.tap.usage?.inputTokens, outputTokens: output))
    }
  }

  /// The turn in which something of the answer was put off is over.
  func turnEnded() {
    guard case .relaying(let relay) = phase else { return }
    if relay.waitsForBody {
      relay.turnEnded()
    } else if graceTimer == nil, let loop = services.turnEnd?.loop {
      // The stream is over, but its provider has not ended the answer.
      graceTimer = LoopTimer(loop) { [unowned self] in
        guard case .relaying = phase else { return }
        letGo()
        completed()
      }
      graceTimer?.schedule(after: Attempt.grace)
    }
  }

  /// The answer ends here without being whole, and its client is to see that.
  private func breakOff(_ relay: Relay, saying message: String) {
    remains.delivery = relay.breakOff {
      BrokerError.inStreamFrame(
        dialect: exchange.call.dialect, endpoint: exchange.call.path.endpoint, message: message, code: "server_error",
        requestID: record.text)
    }
  }

  private func addLines(of tap: UsageTap) {
    let lines = tap.takeLines()
    if !lines.isEmpty { add(lines, to: &sums, tap) }
  }

  // MARK: How it went

  private func completed() {
    switch phase {
    case .awaitingHold, .awaitingHead, .ended: break
    case .gathering(let head, let body):
      if refusesUsage(head, body) {
        // Once more as the client sent it, in the same place: the provider has done nothing yet.
        isWithoutUsage = true
        return send()
      }
      remains.errorAnswer = sent.cleaned(ErrorAnswer(head: head, body: body))
      let verdict = verdict(head, body)
      if verdict == .keyRefused || verdict == .quotaExhausted, let key = grant.key {
        services.providers.keyRefusals.keep(
          head, body, of: RefusedKey(provider: grant.provider, key: key), besides: sent.added,
          sentWith: rules.secrets, now: services.rules.now.secrets)
      }
      end(
        Settlement(verdict: verdict, hasAnswer: true, toldToRetry: VerdictReader.shouldRetry(head.fields)),
        failure: nil)
    case .relaying(let relay):
      remains.delivery = relay.finish()
      let tap = relay.tap
      let status = relay.head.status
      if status >= 400 {
        end(
          Settlement(verdict: verdict(relay.head, errorPrefix), answerBegan: true, hasAnswer: true), failure: nil)
      } else if let error = tap.inStreamError {
        end(
          Settlement(
            verdict: VerdictReader.verdict(inStream: error, answerBegan: true), usage: usage(), answerBegan: true,
            hasAnswer: true), failure: sent.cleaned(error.code ?? error.type ?? "error in stream"))
      } else if isPage || tap.broughtNothing, exchange.call.charge == .asAnswered, status < 300 {
        let isFailure = isPage || tap.isPage
        end(
          Settlement(verdict: isFailure ? .truncated : .success, answerBegan: true, hasAnswer: true),
          failure: isFailure ? "a page in place of an answer" : nil)
      } else {
        let usage = usage(isWhole: !tap.isCutShort)
        end(Settlement(verdict: .success, usage: usage, answerBegan: true, hasAnswer: true), failure: nil)
      }
    }
  }

  /// True where the provider does not know `stream_options`, and it was not the client who sent it.
  private func refusesUsage(_ head: ResponseHead, _ body: [UInt8]) -> Bool {
    guard injectsUsage, head.status == 400 || head.status == 422 else { return false }
    return UsageSplice.isNamed(in: body)
  }

  private func failed(_ failure: UpstreamFailure) {
    remains.failure = failure
    switch phase {
    case .awaitingHold, .ended: break
    case .gathering(let head, _):
      // The status and its fields are the provider's word all the same; what it says beside them nobody will read.
      let said = ResponseHead(status: head.status, fields: head.fields.without("content-encoding"))
      remains.errorAnswer = sent.cleaned(ErrorAnswer(head: said, body: []))
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
        settlement.mayGoAgain = exchange.call.head.method != "POST" || repeatsAfterSending
      }
      end(settlement, failure: failure.kind.rawValue)
    case .relaying(let relay):
      breakOff(relay, saying: ErrorText.failedUpstream(failure, provider: grant.provider.name))
      end(
        Settlement(verdict: .truncated, usage: usage(), answerBegan: true, hasAnswer: true, cause: failure.event),
        failure: failure.kind.rawValue)
    }
  }

  private var repeatsAfterSending: Bool {
    rules.provider(grant.provider.name)?.policy.retry.afterSent ?? false
  }

  /// - Parameter body: nil where it did not come, or not whole.
  private func verdict(_ head: ResponseHead, _ body: [UInt8]?) -> Verdict {
    VerdictReader.verdict(
      status: head.status, fields: head.fields,
      body: body.flatMap { ErrorBody.decoded($0, contentEncoding: head.fields.first("content-encoding")) },
      epochSeconds: services.time.epochSeconds(at: services.time.now))
  }

  // MARK: The end

  /// The one way to `ended`: the record, the books, the exchange, then the lease.
  private func end(_ ending: Settlement, failure: String?) {
    var settlement = ending
    let tap: UsageTap? = if case .relaying(let relay) = phase { relay.tap } else { nil }
    if let tap, collectsLines { addLines(of: tap) }
    let later = tap.flatMap { laterCharge($0, sums) }
    var extras = tap?.extras ?? UsageExtras()
    var (cost, source) = cost(of: settlement.usage, extras, tap)
    var usage = settlement.usage
    if let later {
      // Its tokens were taken from limits of another kind, at another time: only its money, and what is told, is of now.
      (usage, extras.cacheWriteHourTokens) = (later.charge.usage, later.charge.cacheWriteHour)
      (cost, source) = (later.charge.cost, later.source)
      settlement.laterTokens = later.charge.usage.inputTokens + later.charge.usage.outputTokens
    }
    settlement.cost = cost
    let now = services.time.now
    record.attemptEnded(
      at: now, settlement.verdict, failure: failure, usage: usage, cost: cost, costSource: source)
    if let usage { services.counters.used(usage, cost ?? .zero, of: record, isPriced: exchange.call.isPriced) }
    services.books.settled(
      AttemptEnd(
        request: record.id, attempt: grant.attempt, at: services.time.wallInstant(at: now),
        verdict: settlement.verdict.name, status: record.attemptStatus, wasSent: settlement.wasSent,
        usage: usage ?? Usage(), cacheWriteHourTokens: extras.cacheWriteHourTokens,
        audioMilliseconds: extras.audioMilliseconds, cost: cost, costSource: source,
        priceVersion: rules.prices.version, serviceTier: tap?.serviceTier))
    if tap?.usageWasCut == true {
      record.numbersWereCut()
      services.news.note(.impossibleNumber(grant.provider, .usage))
    }
    if case .relaying(let relay) = phase { relay.close() }
    phase = .ended
    graceTimer = nil
    spliceShare.resize(to: 0)
    if endBegan != 0 { remains.ownTime = now &- endBegan }
    var last = Remains()
    swap(&last, &remains)
    exchange.attemptEnded(last)
    if let lease = lease.take() { lease.settle(settlement) }
  }

  /// What tokens cost at the time of the attempt.
  /// - Parameter model: as the line of a batch names it; empty counts as that of the call.
  func price(
    _ usage: Usage, _ extras: UsageExtras, model: String, _ tap: UsageTap, tier: String?, isWholeBatch: Bool = false
  ) -> (Money?, CostSource) {
    rules.prices.cost(
      of: usage, extras: extras, model: model.isEmpty ? record.model : model, answeredBy: tap.model, reported: nil,
      tier: tier, isWholeBatch: isWholeBatch, at: services.time.wall(at: record.attemptBegan))
  }

  private func cost(of usage: Usage?, _ extras: UsageExtras, _ tap: UsageTap?) -> (Money?, CostSource) {
    guard let usage, !exchange.call.charge.isFree else { return (.zero, .free) }
    return rules.prices.cost(
      of: usage, extras: extras, model: record.model, answeredBy: tap?.model, reported: tap?.cost,
      tier: tap?.serviceTier, at: services.time.wall(at: record.attemptBegan))
  }

  /// What the provider said it charged, or what the bytes let us guess; nil for a refusal.
  /// - Parameter isWhole: false where the answer broke off: then what was said is not all.
  private func usage(isWhole: Bool = false) -> Usage? {
    guard !exchange.call.charge.isFree else { return Usage() }
    let input = exchange.call.facts.estimatedInput
    guard case .relaying(let relay) = phase else {
      return exchange.call.charge.isEstimated ? Usage(inputTokens: input, outputTokens: 0, isEstimated: true) : Usage()
    }
    let tap = relay.tap
    if let usage = tap.charge(isWhole: isWhole, estimatedInput: input) { return usage }
    // An error in place of an answer, of whatever status: nothing was made.
    if relay.head.status >= 300 || (tap.inStreamError != nil && tap.outputBytes == 0) { return nil }
    if !exchange.call.charge.isEstimated || tap.work?.isUnderWay == true { return Usage() }
    return Usage(inputTokens: input, outputTokens: tap.estimatedOutput, isEstimated: true)
  }
}
