// One HTTP/1.1 connection without its socket: it takes one request after the other, and answers each before it reads
// the next.
//
// Promises: at most one exchange is open; bytes of further requests wait, up to a bound; an exchange's end is reported
// from `receive`, `outputMoved`, `tick` or `connectionLost`, never inside a call of the handler.
import HTTP1Codec
import HTTPMessage

final class HTTP1Session: Session {
  /// What the next bytes are.
  private enum Input {
    case head
    case body(left: Int)
    case chunks(ChunkDecoder)
    /// The request is complete; further bytes belong to the next one.
    case held
    /// The request was refused after its head: further bytes are meaningless.
    case spoilt
  }

  private unowned let carrier: any SessionCarrier
  /// The handler's own object for this connection.
  var connectionContext: AnyObject?
  private let handler: any HTTPHandler
  private let limits: SessionLimits
  private let output: OutputQueue
  private let intake: BodyIntake?
  private let memory: MemoryAccount
  /// Memory of the kept, unread bytes.
  private var keptShare: MemoryShare
  /// The bytes of a head that are read even while memory is full.
  private static let modestHead = 8 << 10

  private var input = Input.head
  private var scan = HeadScan()
  /// Bytes that came but could not be read yet: an incomplete head, or requests behind the current one.
  private var kept: [UInt8] = []
  private var keptStart = 0
  private var exchange: HTTP1Exchange?
  private(set) var fate = SessionFate.open
  private var closesAfterAnswer = false
  /// True where the client waits for 100 before it sends the body: without a 100 we cannot know whether the body will
  /// come.
  private var awaitsContinue = false
  private var isDraining = false
  private var inputEnded = false
  /// Empty lines before a request line; one is allowed (RFC 9112 section 2.2).
  private var emptyLines = 0
  /// When the current head or body, or the silence between requests, began.
  private var phaseStart: UInt64
  private var lastBodyByte: UInt64 = 0

  /// - Parameter intake: nil where memory is not limited.
  init(
    carrier: any SessionCarrier, handler: any HTTPHandler, limits: SessionLimits, output: OutputQueue,
    intake: BodyIntake? = nil
  ) {
    self.carrier = carrier
    self.handler = handler
    self.limits = limits
    self.output = output
    self.intake = intake
    memory = intake?.memory ?? MemoryAccount()
    keptShare = MemoryShare(memory, .bodies)
    phaseStart = carrier.now
  }

  // MARK: Input

  var wantsInput: Bool {
    guard !inputEnded, fate == .open else { return false }
    // An arriving head may grow one byte beyond its limit, so that it is refused and not just left unread.
    if case .head = input, exchange == nil {
      return kept.count - keptStart <= max(limits.values.headerBytes, limits.values.pipelinedBytes)
    }
    // While memory is full, no more bytes of further requests are read.
    guard kept.count - keptStart < (memory.isFull ? mostInput : limits.values.pipelinedBytes) else { return false }
    return !lacksRoom
  }

  var mostInput: Int { memory.isFull ? BodyIntake.nextToNothing : .max }

  /// True where the next bytes of the body must wait for memory.
  private var lacksRoom: Bool {
    guard let intake, let exchange, isReceiving, exchange.takesBody else { return false }
    return intake.holdsUp(exchange)
  }

  func awaitRoom() {
    if fate == .open, !inputEnded, lacksRoom, let exchange { intake?.enter(exchange) }
  }

  var arriving: [any ArrivingBody] {
    guard let exchange, exchange.isArriving else { return [] }
    return [exchange]
  }

  // MARK: For the exchange

  var isReceiving: Bool {
    switch input {
    case .body, .chunks: fate == .open
    case .head, .held, .spoilt: false
    }
  }
  var missing: Int {
    switch input {
    case .body(let left): left
    case .chunks: max(0, limits.values.bodyBytes - (exchange?.taken ?? 0))
    case .head, .held, .spoilt: 0
    }
  }
  var hasUnreadInput: Bool { carrier.hasUnreadInput }
  func isUrgent(_ exchange: HTTP1Exchange) -> Bool {
    guard case .body(let left) = input, left + exchange.taken <= BodyIntake.small else { return false }
    return handler.isUrgent(exchange)
  }
  func goOn() { carrier.inputMayGoOn() }
  func crowded(_ exchange: HTTP1Exchange) {
    guard exchange === self.exchange, exchange.isArriving else { return }
    handler.exchangeCrowded(exchange)
    exchange.releaseBody()
    carrier.needsFlush()
  }

  var wantsDirectInput: Bool {
    guard case .body(let left) = input, fate == .open, let exchange else { return false }
    return left >= 4096 && exchange.takesBody
  }

  func receive(_ bytes: ArraySlice<UInt8>) {
    guard fate == .open else { return }
    if keptStart == kept.count {
      if case .head = input, exchange == nil { phaseStart = carrier.now }
      let end = consume(bytes)
      if end < bytes.endIndex, fate == .open {
        kept = Array(bytes[end...])
        keptStart = 0
      }
    } else {
      if keptStart > kept.count / 2 {
        kept.removeFirst(keptStart)
        keptStart = 0
      }
      kept.append(contentsOf: bytes)
      resume()
    }
    keptShare.resize(to: kept.count)
    if case .head = input, exchange == nil, kept.count - keptStart > Self.modestHead, memory.isExhausted, fate == .open
    {
      refuse(.overloaded("there is no memory for a head of this size now"), target: nil)
    }
  }

  func receiveDirectly(_ read: (inout OutputSpan<UInt8>) -> Void) {
    guard case .body(let left) = input, let exchange else { return }
    let before = exchange.taken
    // Never read more than there is room for, since what is read must be held.
    let most = memory.isFull ? BodyIntake.small : max(BodyIntake.small, memory.room)
    exchange.receive { $0.withSpace(expecting: left, atMost: most, read) }
    let taken = exchange.taken - before
    if taken > 0 { lastBodyByte = carrier.now }
    input = .body(left: left - taken)
    if left == taken { bodyCompleted() }
  }

  /// Continues with the kept bytes.
  private func resume() {
    guard keptStart < kept.count else { return }
    let end = consume(kept[keptStart...])
    keptStart = end
    if keptStart == kept.count || fate != .open {
      kept = []
      keptStart = 0
    }
    keptShare.resize(to: kept.count)
  }

  /// Consumes what it can; returns the index of the first byte that it could not consume.
  private func consume(_ bytes: ArraySlice<UInt8>) -> Int {
    var at = bytes.startIndex
    while fate == .open {
      switch input {
      case .held: return at
      case .spoilt: return bytes.endIndex
      case .head:
        guard at < bytes.endIndex else { return at }
        if bytes[at] == 0x0D, emptyLines == 0, bytes.endIndex - at >= 2, bytes[at + 1] == 0x0A {
          emptyLines = 1
          at += 2
          continue
        }
        // A method begins with a letter: other protocols, such as TLS, are refused at once.
        guard RequestHeadParser.mayBegin(with: bytes[at]) else {
          refuse(.malformed("the request does not begin with a method; this port speaks HTTP"), target: nil)
          return bytes.endIndex
        }
        let rest = bytes[at...]
        switch scan.look(in: rest.span, limit: limits.values.headerBytes) {
        case .incomplete: return at
        case .refused(let refusal): refuse(refusal, target: nil)
        case .complete(let length):
          scan = HeadScan()
          emptyLines = 0
          let head = Array(bytes[at..<at + length])
          at += length
          begin(head, hasMore: at < bytes.endIndex)
        }
      case .body(let left):
        guard at < bytes.endIndex else { return at }
        let taken = min(left, bytes.endIndex - at)
        exchange?.receive { $0.append(bytes[at..<at + taken], expecting: left) }
        at += taken
        lastBodyByte = carrier.now
        input = .body(left: left - taken)
        if left == taken { bodyCompleted() }
      case .chunks(var decoder):
        guard at < bytes.endIndex else { return at }
        at = decode(bytes[at...], with: &decoder)
      }
    }
    return bytes.endIndex
  }

  private func decode(_ bytes: ArraySlice<UInt8>, with decoder: inout ChunkDecoder) -> Int {
    // Take the decoder out of the state, so that its buffers are not copied.
    input = .held
    lastBodyByte = carrier.now
    do throws(HeadError) {
      let end: Int
      let taken = try exchange?.receive { body throws(HeadError) in
        try body.appendInPlace { body throws(HeadError) in try decoder.decode(bytes, into: &body) }
      }
      if let taken {
        end = taken
      } else {
        var dropped: [UInt8] = []
        end = try decoder.decode(bytes, into: &dropped)
      }
      if decoder.isComplete { bodyCompleted() } else { input = .chunks(decoder) }
      return end
    } catch {
      refuse(error.refusal, target: exchange?.head.target)
      return bytes.endIndex
    }
  }

  private func begin(_ block: [UInt8], hasMore: Bool) {
    let parsed: ParsedRequestHead
    do throws(HeadError) {
      parsed = try RequestHeadParser(maxFields: limits.values.headerFields).parse(block)
    } catch {
      refuse(error.refusal, target: error.target)
      return
    }
    switch parsed.framing {
    case .none: input = .held
    case .length(let length):
      guard length <= limits.values.bodyBytes else {
        refuse(.bodyTooLarge(limit: limits.values.bodyBytes), target: parsed.head.target)
        return
      }
      input = .body(left: length)
    case .chunked: input = .chunks(ChunkDecoder(bodyLimit: limits.values.bodyBytes))
    }
    closesAfterAnswer = !parsed.keepsAlive || isDraining
    awaitsContinue = parsed.expectsContinue && !hasMore
    phaseStart = carrier.now
    lastBodyByte = phaseStart
    let exchange = HTTP1Exchange(self, parsed, peer: carrier.peer, memory: memory, now: phaseStart)
    self.exchange = exchange
    carrier.exchangeOpened()
    handler.exchangeBegan(exchange)
    guard fate == .open, exchange.isWaiting else { return }
    if parsed.framing == .none {
      handler.exchangeReady(exchange)
    } else if awaitsContinue {
      awaitsContinue = false
      output.append("HTTP/1.1 100 Continue\r\n\r\n")
      carrier.needsFlush()
    }
  }

  private func bodyCompleted() {
    input = .held
    if let exchange {
      if exchange.isWaiting { handler.exchangeReady(exchange) }
    } else if fate == .open {
      // The answer came early and has been sent; the rest of the request was drained.
      awaitNextRequest()
    }
  }

  func receivedEnd() {
    guard fate == .open, !inputEnded else { return }
    inputEnded = true
    guard let exchange else {
      fate = .closing(lingers: false)
      carrier.needsFlush()
      return
    }
    if case .finished = exchange.phase { return }
    if case .held = input, keptStart < kept.count {
      var lookahead = HeadScan()
      let rest = kept[keptStart...]
      if case .complete = lookahead.look(in: rest.span, limit: limits.values.headerBytes) { return }
    }
    // A client that closes its sending side before it has the answer has left (as HAProxy's `abortonclose`).
    fate = .broken
    end(exchange, .clientLeft)
    carrier.needsFlush()
  }

  // MARK: Answers

  var pendingBytes: Int { output.pending }

  func respond(_ exchange: HTTP1Exchange, _ head: ResponseHead) {
    guard case .waiting = exchange.phase, exchange === self.exchange else { return }
    let isOld = exchange.head.version == .http1_0
    let framing: ResponseFraming
    if exchange.head.method == "HEAD" || head.status == 204 || head.status == 304 {
      framing = .bodiless
    } else if let index = head.fields.firstIndex(of: "content-length"),
      let length = ByteSyntax.decimal(head.fields.valueBytes(at: index))
    {
      framing = .length(length)
    } else {
      framing = isOld ? .untilClose : .chunked
    }
    if framing == .untilClose || isDraining || !canDrainInput { closesAfterAnswer = true }
    // `Upgrade` concerns this connection only, so `Connection` names it (RFC 9110 section 7.8).
    let upgrades = head.status == 426 && head.fields.contains("upgrade")
    let connection: StaticString? =
      closesAfterAnswer ? (upgrades ? "close, upgrade" : "close") : upgrades ? "upgrade" : isOld ? "keep-alive" : nil
    let date = carrier.date
    output.appendInPlace { out in
      HTTP1ResponseWriter.write(head, framing: framing, connection: connection, date: date, into: &out)
    }
    exchange.phase = .streaming(framing)
    // A request that was answered before it was complete: its body is not needed.
    if case .held = input {} else { exchange.releaseBody() }
    carrier.needsFlush()
  }

  /// True where the rest of the request is short enough to be read and dropped.
  private var canDrainInput: Bool {
    switch input {
    case .held: true
    case .body(let left): left <= limits.values.drainedBytes && !awaitsContinue
    case .head, .chunks, .spoilt: false
    }
  }

  func send(_ exchange: HTTP1Exchange, _ bytes: ArraySlice<UInt8>) {
    guard case .streaming(let framing) = exchange.phase, !bytes.isEmpty else { return }
    switch framing {
    case .bodiless: return
    case .length(let left):
      // More than was announced: the client would read the surplus as the next answer.
      output.append(bytes.prefix(left))
      exchange.phase = .streaming(.length(max(0, left - bytes.count)))
    case .chunked:
      output.appendInPlace { out in
        HTTP1ResponseWriter.appendHexadecimal(bytes.count, into: &out)
        out.append("\r\n")
      }
      output.append(bytes)
      output.append("\r\n")
    case .untilClose: output.append(bytes)
    }
    if output.pending > limits.values.lowWater { exchange.isAboveLowWater = true }
    carrier.needsFlush()
  }

  func finish(_ exchange: HTTP1Exchange, _ trailers: HeaderFields?) {
    guard case .streaming(let framing) = exchange.phase else { return }
    switch framing {
    case .length(let left) where left > 0:
      // Less than was announced: only a broken connection shows that to the client.
      abort(exchange)
      return
    case .chunked:
      output.appendInPlace { out in
        out.append("0\r\n")
        if let trailers, exchange.acceptsTrailers {
          for index in 0..<trailers.count {
            HTTP1ResponseWriter.appendField(
              name: trailers.nameBytes(at: index), value: trailers.valueBytes(at: index), into: &out)
          }
        }
        out.append("\r\n")
      }
    case .bodiless, .length, .untilClose: break
    }
    exchange.phase = .finished(mark: output.enqueued)
    carrier.needsFlush()
  }

  func abort(_ exchange: HTTP1Exchange) {
    guard !exchange.isClosed else { return }
    if case .streaming(.untilClose) = exchange.phase {
      exchange.phase = .aborted(resets: true)
    } else {
      exchange.phase = .aborted(resets: false)
    }
    carrier.needsFlush()
  }

  // MARK: Output

  func produce() {}

  func outputMoved() {
    guard let exchange else {
      if inputEnded, fate == .open { fate = .closing(lingers: false) }
      return
    }
    switch exchange.phase {
    case .finished(let mark) where output.flushed >= mark:
      end(exchange, .completed)
      answered()
    case .aborted(let resets):
      fate = resets ? .reset : .broken
      end(exchange, .aborted)
    case .waiting, .streaming:
      if exchange.isAboveLowWater, output.pending < limits.values.lowWater {
        exchange.isAboveLowWater = false
        handler.exchangeDrained(exchange)
      }
    case .finished, .ended: break
    }
  }

  private func end(_ exchange: HTTP1Exchange, _ ending: ExchangeEnding) {
    exchange.detach()
    self.exchange = nil
    carrier.exchangeClosed()
    handler.exchangeEnded(exchange, ending)
    exchange.forget()
  }

  private func answered() {
    guard fate == .open else { return }
    guard !closesAfterAnswer else {
      if case .held = input {
        fate = .closing(lingers: keptStart < kept.count)
      } else {
        fate = .closing(lingers: true)
      }
      return
    }
    if case .held = input {
      awaitNextRequest()
    } else if inputEnded {
      fate = .closing(lingers: false)
    }
  }

  private func awaitNextRequest() {
    input = .head
    phaseStart = carrier.now
    if isDraining, keptStart == kept.count {
      fate = .closing(lingers: false)
      carrier.needsFlush()
      return
    }
    resume()
    if exchange == nil, inputEnded, fate == .open { fate = .closing(lingers: false) }
  }

  /// Answers an invalid request with the handler's error, and closes.
  private func refuse(_ refusal: RequestRefusal, target: String?) {
    let ongoing = exchange
    if let ongoing, ongoing.isWaiting {
      input = .spoilt
      closesAfterAnswer = true
      kept = []
      keptStart = 0
      keptShare.resize(to: 0)
      handler.exchangeRefused(ongoing, refusal)
      ongoing.releaseBody()
      carrier.needsFlush()
      return
    }
    if ongoing == nil, case .head = input {
      let answer = handler.refusal(refusal, target: target)
      var fields = HeaderFields(answer.fields)
      fields.append(name: "content-length", value: String(answer.body.count))
      let date = carrier.date
      output.appendInPlace { out in
        HTTP1ResponseWriter.write(
          ResponseHead(status: refusal.status, fields: fields), framing: .length(answer.body.count),
          connection: "close", date: date, into: &out)
      }
      output.append(answer.body[...])
      fate = .closing(lingers: true)
    } else {
      fate = .broken
    }
    kept = []
    keptStart = 0
    keptShare.resize(to: 0)
    if let ongoing { end(ongoing, .clientLeft) }
    carrier.needsFlush()
  }

  // MARK: Ends

  func connectionLost(_ ending: ExchangeEnding) {
    fate = .broken
    kept = []
    keptStart = 0
    keptShare.resize(to: 0)
    if let exchange { end(exchange, ending) }
  }

  func tick(now: UInt64) {
    guard fate == .open else { return }
    let elapsed = now > phaseStart ? now - phaseStart : 0
    switch input {
    case .head:
      if keptStart < kept.count {
        if elapsed > limits.headNanoseconds {
          refuse(.timedOut("the head of the request did not arrive within \(limits.values.headTimeout)"), target: nil)
        }
      } else {
        output.releaseMemory()
        if elapsed > limits.idleNanoseconds {
          fate = .closing(lingers: false)
          carrier.needsFlush()
        }
      }
    case .body, .chunks:
      let count = exchange?.takesBody == true ? exchange?.taken ?? Int.max : Int.max
      let isStuck = exchange?.wait.since != nil && hasUnreadInput
      if let reason = limits.slowBody(
        start: phaseStart, last: lastBodyByte, count: count, now: now, wait: exchange?.wait ?? BodyWait(),
        isStuck: isStuck)
      {
        refuse(.timedOut(reason), target: exchange?.head.target)
      }
    case .held, .spoilt: break
    }
  }

  func drain(closesIdle: Bool) {
    isDraining = true
    closesAfterAnswer = true
    if closesIdle, exchange == nil, fate == .open, keptStart == kept.count, case .head = input {
      fate = .closing(lingers: false)
      carrier.needsFlush()
    }
  }
}
