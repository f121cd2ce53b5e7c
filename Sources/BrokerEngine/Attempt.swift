// One attempt upstream: from the grant to the settlement of its lease.
//
// The state machine: `awaitingHold` → `awaitingHead` when the ledger has the hold; → `relaying` for answers that the
// client gets as they come, or → `gathering` for errors, whose (short) body decides the verdict; from every state →
// `ended`. The lease is settled exactly once, on entering `ended`.
//
// An attempt owns what the call carries (its body, its secrets), the relay of the answer and the lease. The exchange
// tells the attempt to `begin`, that the client has caught up (`clientCaughtUp`) or left (`clientLeft`), and that the
// drain's time is up (`drainTimedOut`). The attempt tells the exchange that the call may not be made (`reject`) and,
// once and before the lease is settled, that it has ended and what it leaves (`attemptEnded`). The core decides whether
// another attempt follows.
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
    /// The provider's error, for the client if no other attempt follows; without the secrets that were sent.
    var errorAnswer: ErrorAnswer?
    var failure: UpstreamFailure?
    /// The last bytes of the answer that was relayed.
    var delivery: Delivery?
    /// True where a part of the answer has gone to the client.
    var answerBegan = false
    /// True where the drain's end broke the attempt off: then the exchange sets the outcome itself.
    var isCutByDrain = false
    /// Nanoseconds of our own time since the provider ended the call.
    var ownTime: UInt64 = 0
  }

  /// Bytes queued for a slow client at which the provider is paused. It is resumed below the endpoint's low-water mark.
  static let highWater = 256 << 10
  /// Error bodies up to this size are read whole before the verdict.
  static let errorLimit = 64 << 10
  /// A stream ends this long after its end mark even if the provider leaves it open.
  private static let grace = Duration.milliseconds(100)
  /// The core hears of a running stream after each this many new output tokens.
  private static let progressStep: TokenCount = 128

  /// A reference cycle with the exchange's phase; it ends with the attempt.
  let exchange: Exchange
  let grant: Grant
  /// The rules by which the call is made.
  let rules: BrokerRules
  private var lease: Lease?
  private var upstreamCall: (any UpstreamCall)?
  private var phase = Phase.awaitingHold
  /// The operator's secrets that the running call carries.
  private var sent = SentSecrets()
  /// True where the body was changed to ask for usage; otherwise a body is forwarded as it came.
  private var injectsUsage = false
  /// Memory of the changed copy of the body, beside the client's own.
  private var spliceShare: MemoryShare
  private var isPaused = false
  private var reportedOutput: TokenCount = 0
  /// The input that the core has been told.
  private var reportedInput: TokenCount?
  /// The first bytes of a relayed error, for the verdict.
  private var errorPrefix: [UInt8] = []
  /// True where an HTML page came although JSON or events were asked for.
  private var isPage = false
  /// True where the provider refused `stream_options` and the call was sent again without it. Only the second answer
  /// shows whether that was the reason.
  private var isWithoutUsage = false
  private var graceTimer: LoopTimer?
  /// The sums over the lines of a batch's results.
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

  // MARK: From the exchange and the clerk

  /// Writes the hold to the ledger; the call follows when the hold is safe.
  func begin() {
    services.clerk.held(
      self,
      AttemptHold(
        request: record.id, attempt: grant.attempt, at: services.time.wallInstant(at: record.attemptBegan),
        tenant: TenantID(record.tenant), clientKey: record.clientKey, session: SessionID(record.session),
        agent: AgentID(record.agent), provider: grant.provider, key: grant.key, model: record.model,
        priority: record.priority, kind: record.kind,
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

  /// The process ends before the answer does: cancels the call and tells the client.
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

  /// Cancels the call before its answer has ended. Returns whether the provider can have seen the request, and whether
  /// it will charge for it: an error costs nothing, but a request that arrived in full is processed and charged
  /// although nobody reads the answer.
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
    // With a client's own credential, the limits are that client's, not a key's.
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

  func upstreamSentAgain() { services.dispatcher.sentAgain(grant.lease) }

  func upstreamReceived(_ bytes: ArraySlice<UInt8>) {
    switch phase {
    case .gathering(let head, var body):
      phase = .ended  // frees the state's reference, so that appending does not copy
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
    // Set before what follows, which may begin another call.
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
    if let interval = rules.policy.keepalive { relay.keepAlive(services.keepalives.beat(of: interval)) }
    phase = .relaying(relay)
    remains.answerBegan = true
    // An answer has begun, so the request is not sent again.
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
    report(relay.tap)
  }

  /// Tells the core how large the call is: the input as soon as the provider tells it, as some do when the stream begins,
  /// and the output as it grows. Of an answer that is complete, the settlement says it all.
  private func report(_ tap: UsageTap) {
    let output = tap.estimatedOutput
    let hasGrown = output >= reportedOutput + Attempt.progressStep
    guard hasGrown || reportedInput == nil, !tap.sawEndMark else { return }
    let usage = tap.usage.flatMap { $0.inputTokens > 0 && !$0.isEstimated ? $0 : nil }
    guard hasGrown || usage != nil else { return }
    reportedOutput = output
    reportedInput = usage?.inputTokens ?? reportedInput
    services.dispatcher.progress(
      grant.lease,
      Progress(
        inputTokens: usage?.inputTokens, cacheReadTokens: usage?.cacheReadTokens ?? 0,
        cacheWriteTokens: usage?.cacheWriteTokens ?? 0, outputTokens: output))
  }

  /// The turn has ended in which a part of the answer was put off.
  func turnEnded() {
    guard case .relaying(let relay) = phase else { return }
    if relay.waitsForBody {
      relay.turnEnded()
    } else if graceTimer == nil, let loop = services.turnEnd?.loop {
      // The stream has ended, but the provider has not ended the answer.
      graceTimer = LoopTimer(loop) { [unowned self] in
        guard case .relaying = phase else { return }
        letGo()
        completed()
      }
      graceTimer?.schedule(after: Attempt.grace)
    }
  }

  /// Ends the answer although it is not whole, so that the client sees it.
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
        // Send it once more as the client sent it, within the same attempt: the provider has done nothing yet.
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
        Settlement(
          verdict: verdict, hasAnswer: true, toldToRetry: VerdictReader.shouldRetry(head.fields),
          failure: .status(head.status)),
        failure: nil)
    case .relaying(let relay):
      remains.delivery = relay.finish()
      let tap = relay.tap
      let status = relay.head.status
      if status >= 400 {
        end(
          Settlement(
            verdict: verdict(relay.head, errorPrefix), answerBegan: true, hasAnswer: true, failure: .status(status)),
          failure: nil)
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

  /// True where the provider refuses the `stream_options` that we added.
  private func refusesUsage(_ head: ResponseHead, _ body: [UInt8]) -> Bool {
    guard injectsUsage, head.status == 400 || head.status == 422 else { return false }
    return UsageSplice.isNamed(in: body)
  }

  private func failed(_ failure: UpstreamFailure) {
    remains.failure = failure
    switch phase {
    case .awaitingHold, .ended: break
    case .gathering(let head, _):
      // The status and the fields are still the provider's answer; only its body is lost.
      let said = ResponseHead(status: head.status, fields: head.fields.without("content-encoding"))
      remains.errorAnswer = sent.cleaned(ErrorAnswer(head: said, body: []))
      end(
        Settlement(
          verdict: verdict(head, nil), hasAnswer: true, toldToRetry: VerdictReader.shouldRetry(head.fields),
          cause: failure.event, failure: .status(head.status)), failure: failure.kind.rawValue)
    case .awaitingHead:
      var settlement = Settlement(
        verdict: VerdictReader.verdict(failure: failure, answerBegan: false), wasSent: failure.requestMayHaveArrived,
        cause: failure.event, failure: failure.cause)
      if failure.isLateAnswer {
        // The provider has the request, and will charge for an answer that nobody reads.
        settlement.usage = usage()
        settlement.mayGoAgain = exchange.call.head.method != "POST" || repeatsAfterSending
      }
      end(settlement, failure: failure.kind.rawValue)
    case .relaying(let relay):
      breakOff(relay, saying: ErrorText.failedUpstream(failure, provider: grant.provider.name))
      end(
        Settlement(
          verdict: .truncated, usage: usage(), answerBegan: true, hasAnswer: true, cause: failure.event,
          failure: failure.cause),
        failure: failure.kind.rawValue)
    }
  }

  private var repeatsAfterSending: Bool {
    rules.provider(grant.provider.name)?.policy.retry.afterSent ?? false
  }

  /// - Parameter body: nil where it did not come in full.
  private func verdict(_ head: ResponseHead, _ body: [UInt8]?) -> Verdict {
    VerdictReader.verdict(
      status: head.status, fields: head.fields,
      body: body.flatMap { ErrorBody.decoded($0, contentEncoding: head.fields.first("content-encoding")) },
      epochSeconds: services.time.epochSeconds(at: services.time.now))
  }

  // MARK: The end

  /// The only way to `ended`: tells the record, the ledger and the exchange, then settles the lease.
  private func end(_ ending: Settlement, failure: String?) {
    var settlement = ending
    let tap: UsageTap? = if case .relaying(let relay) = phase { relay.tap } else { nil }
    if let tap, collectsLines { addLines(of: tap) }
    let later = tap.flatMap { laterCharge($0, sums) }
    var extras = tap?.extras ?? UsageExtras()
    var (cost, source) = cost(of: settlement.usage, extras, tap)
    var usage = settlement.usage
    if let later {
      // The tokens of such work were used earlier, under other limits: only its cost, and what is reported, belongs to
      // this call.
      (usage, extras.cacheWriteHourTokens) = (later.charge.usage, later.charge.cacheWriteHour)
      (cost, source) = (later.charge.cost, later.source)
      settlement.laterTokens = later.charge.usage.inputTokens + later.charge.usage.outputTokens
    }
    settlement.cost = cost
    if case .relaying(let relay) = phase, relay.head.status < 300 { settlement.firstByte = record.attemptFirstByte }
    let now = services.time.now
    record.attemptEnded(
      at: now, settlement.verdict, failure: failure, usage: usage, cost: cost, costSource: source)
    if record.trace != nil { record.answered(by: tap?.model) }
    let lost =
      settlement.verdict == .success && tap?.usageWasCut != true
      ? settlement.usage.flatMap { services.dispatcher.lostCache(by: grant.lease, $0) } : nil
    let lostCost = lost.flatMap { costOfLosing($0, usage, extras, tap) }
    if let lost { services.counters.lost(lost.reason, lostCost ?? .zero) }
    if let usage {
      services.counters.used(
        usage, cost, of: record, reserved: grant.reservedInput,
        counting: rules.provider(grant.provider.name)?.policy.admissionTokens ?? .produced,
        isPriced: exchange.call.isPriced)
      exchange.seat?.used(usage, cost ?? .zero)
    }
    services.clerk.settled(
      AttemptEnd(
        request: record.id, attempt: grant.attempt, at: services.time.wallInstant(at: now),
        verdict: settlement.verdict.kind, status: record.attemptStatus, wasSent: settlement.wasSent,
        usage: usage ?? Usage(), cacheWriteHourTokens: extras.cacheWriteHourTokens,
        audioMilliseconds: extras.audioMilliseconds, cost: cost, costSource: source,
        priceVersion: rules.prices.version, serviceTier: tap?.serviceTier, lostCache: lost, lostCost: lostCost))
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

  /// What tokens cost at the prices of the attempt's time.
  /// - Parameter model: as the line of a batch names it; empty means the call's model.
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

  /// What lost tokens cost more than reading them from a prompt cache would have; nil where no price is known.
  private func costOfLosing(_ lost: LostCache, _ usage: Usage?, _ extras: UsageExtras, _ tap: UsageTap?) -> Money? {
    usage.flatMap {
      rules.prices.costOfLosing(
        lost.lostTokens, of: $0, extras: extras, model: record.model, answeredBy: tap?.model, tier: tap?.serviceTier,
        at: services.time.wall(at: record.attemptBegan))
    }
  }

  /// The usage that the provider told, or an estimate from the bytes; nil for a refusal.
  /// - Parameter isWhole: false where the answer broke off: then the told usage is not complete.
  private func usage(isWhole: Bool = false) -> Usage? {
    guard !exchange.call.charge.isFree else { return Usage() }
    let input = exchange.call.facts.estimatedInput
    guard case .relaying(let relay) = phase else {
      return exchange.call.charge.isEstimated ? Usage(inputTokens: input, outputTokens: 0, isEstimated: true) : Usage()
    }
    let tap = relay.tap
    if let usage = tap.charge(isWhole: isWhole, estimatedInput: input) { return usage }
    // An error came in place of an answer, whatever its status: nothing was produced.
    if relay.head.status >= 300 || (tap.inStreamError != nil && tap.outputBytes == 0) { return nil }
    if !exchange.call.charge.isEstimated || tap.work?.isUnderWay == true { return Usage() }
    return Usage(inputTokens: input, outputTokens: tap.estimatedOutput, isEstimated: true)
  }
}
