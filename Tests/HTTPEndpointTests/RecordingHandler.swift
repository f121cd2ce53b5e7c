// Test support: a handler that writes down what it is told, and a bench that drives a session without a socket.
import HTTPMessage
import Testing

@testable import HTTPEndpoint

final class RecordingHandler: HTTPHandler {
  /// What happened, in order: `began GET /`, `ready 0`, `drained`, `ended completed`.
  var log: [String] = []
  var exchanges: [any HTTPExchange] = []
  var onBegan: (any HTTPExchange) -> Void = { _ in }
  var onReady: (any HTTPExchange) -> Void = { _ in }
  var onDrained: (any HTTPExchange) -> Void = { _ in }
  var onEnded: (any HTTPExchange, ExchangeEnding) -> Void = { _, _ in }
  var refusals: [RequestRefusal] = []
  /// Takes over the answer to a request that is spoilt behind its head.
  var onRefused: ((any HTTPExchange, RequestRefusal) -> Void)?
  /// Whose exchanges are urgent.
  var urgentPath: String?

  var endings: [String] { log.filter { $0.hasPrefix("ended") } }

  func exchangeBegan(_ exchange: any HTTPExchange) {
    log.append("began \(exchange.head.method) \(exchange.head.target)")
    exchanges.append(exchange)
    onBegan(exchange)
  }
  func exchangeReady(_ exchange: any HTTPExchange) {
    log.append("ready \(exchange.body.count)")
    onReady(exchange)
  }
  func exchangeDrained(_ exchange: any HTTPExchange) {
    log.append("drained")
    onDrained(exchange)
  }
  func exchangeEnded(_ exchange: any HTTPExchange, _ ending: ExchangeEnding) {
    log.append("ended \(ending)")
    onEnded(exchange, ending)
  }
  func exchangeRefused(_ exchange: any HTTPExchange, _ refusal: RequestRefusal) {
    log.append("refused \(refusal.status)")
    refusals.append(refusal)
    if let onRefused { return onRefused(exchange, refusal) }
    exchange.respond(
      status: refusal.status, fields: [("x-target", exchange.head.target)], body: Array("refused".utf8))
  }
  func isUrgent(_ exchange: any HTTPExchange) -> Bool { exchange.head.target == urgentPath }
  func refusal(
    _ refusal: RequestRefusal, target: String?
  ) -> (fields: [(name: String, value: String)], body: [UInt8]) {
    refusals.append(refusal)
    return ([("x-target", target ?? "none")], Array("refused".utf8))
  }

  /// Answers every request with its own body.
  static func echo() -> RecordingHandler {
    let handler = RecordingHandler()
    handler.onReady = { $0.respond(status: 200, fields: [], body: $0.body) }
    return handler
  }
}

/// A session, its output and a clock that stands still until it is moved.
final class SessionBench: SessionCarrier {
  let peer = "test"
  var now: UInt64 = 1_000_000_000_000
  let date = Array("Sun, 06 Nov 1994 08:49:37 GMT".utf8)
  let output = OutputQueue()
  let handler: RecordingHandler
  private(set) var session: (any Session)!
  private(set) var openExchanges = 0
  private(set) var wantsFlush = false
  private(set) var intake: BodyIntake?

  init(
    _ handler: RecordingHandler, limits: EndpointLimits = EndpointLimits(), http2: Bool = false,
    memory: MemoryAccount? = nil
  ) {
    self.handler = handler
    let limits = SessionLimits(limits)
    intake = memory.map { memory in
      BodyIntake(
        memory: memory, limits: limits, loop: nil, now: { [unowned self] in now },
        bodies: { [unowned self] in session.arriving })
    }
    session =
      http2
      ? HTTP2Session(carrier: self, handler: handler, limits: limits, output: output, intake: intake)
      : HTTP1Session(carrier: self, handler: handler, limits: limits, output: output, intake: intake)
  }

  func needsFlush() { wantsFlush = true }
  func exchangeOpened() { openExchanges += 1 }
  func exchangeClosed() { openExchanges -= 1 }

  func feed(_ text: String) { session.receive(Array(text.utf8)[...]) }
  func feed(_ bytes: [UInt8]) { session.receive(bytes[...]) }

  /// The end of a turn: what the socket takes, at most `limit` bytes.
  @discardableResult
  func flush(taking limit: Int = .max) -> [UInt8] {
    var taken: [UInt8] = []
    while true {
      wantsFlush = false
      session.produce()
      let before = taken.count
      output.withPieces(upTo: .max) { taken.append(contentsOf: $0.prefix(max(0, limit - taken.count))) }
      output.consume(taken.count - before)
      session.outputMoved()
      if taken.count == before, !wantsFlush { return taken }
      if taken.count >= limit { return taken }
    }
  }

  func flushText(taking limit: Int = .max) -> String { String(decoding: flush(taking: limit), as: UTF8.self) }

  func advance(seconds: UInt64) {
    now += seconds * 1_000_000_000
    session.tick(now: now)
  }
}
