// One HTTP/2 connection without its socket, over nghttp2: streams become exchanges.
//
// Promises: an exchange's end is reported from `outputMoved` or `connectionLost`, never inside a call of the handler;
// output is framed only while less than `framedBytes` wait for the socket; floods are answered with GOAWAY.
import CNghttp2
import HTTP1Codec
import HTTPMessage

final class HTTP2Session: Session {
  /// nghttp2 frames no more DATA while this much waits for the socket.
  private static let framedBytes = 64 * 1024
  /// The initial window of a stream; larger where the body's length is known and there is room.
  private static let streamWindow: UInt32 = 64 * 1024
  private static let largeWindow = 256 * 1024
  private static let connectionWindow: Int32 = 16 << 20

  private unowned let carrier: any SessionCarrier
  /// The handler's own object for this connection.
  var connectionContext: AnyObject?
  private let handler: any HTTPHandler
  private let limits: SessionLimits
  private let output: OutputQueue
  private let intake: BodyIntake?
  private let memory: MemoryAccount
  private var session: OpaquePointer?
  private var exchanges: [Int32: HTTP2Exchange] = [:]
  /// Ends to report once the output is flushed up to `mark`.
  private var ended: [(exchange: HTTP2Exchange, ending: ExchangeEnding, mark: UInt64)] = []
  /// Exchanges that had more than the low-water mark pending.
  private var highExchanges: [HTTP2Exchange] = []
  private var block = FieldBlock()
  private var meter: ControlFrameMeter
  private(set) var fate = SessionFate.open
  private enum Draining { case no, announced, final }
  private var draining = Draining.no
  /// Since when no exchange has been open.
  private var idleSince: UInt64
  /// When the header block that is being read began; nil where there is none.
  private var headerBlockSince: UInt64?

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
    let values = limits.values
    idleSince = carrier.now
    meter = ControlFrameMeter(
      burst: values.controlFrameBurst, perSecond: values.controlFramesPerSecond, now: carrier.now)
    let setup = HTTP2Callbacks.setup
    nghttp2_session_server_new2(
      &session, setup.callbacks, Unmanaged.passUnretained(self).toOpaque(), setup.options)
    let settings = [
      Self.setting(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, UInt32(clamping: values.streamsPerConnection)),
      Self.setting(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, Self.streamWindow),
      Self.setting(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, UInt32(clamping: values.headerBytes)),
      Self.setting(NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1),
    ]
    nghttp2_submit_settings(session, UInt8(NGHTTP2_FLAG_NONE.rawValue), settings, settings.count)
    nghttp2_session_set_local_window_size(session, UInt8(NGHTTP2_FLAG_NONE.rawValue), 0, Self.connectionWindow)
    carrier.needsFlush()
  }

  deinit { nghttp2_session_del(session) }

  private static func setting(_ id: nghttp2_settings_id, _ value: UInt32) -> nghttp2_settings_entry {
    nghttp2_settings_entry(settings_id: Int32(id.rawValue), value: value)
  }

  // MARK: Input

  /// False while too much output waits for a client that sends faster than it reads.
  var wantsInput: Bool { fate == .open && output.pending < 16 * Self.framedBytes }
  var wantsDirectInput: Bool { false }
  var mostInput: Int { .max }
  /// Each body waits by itself; the connection is read on for the other streams.
  func awaitRoom() {}
  var arriving: [any ArrivingBody] { exchanges.values.filter(\.isArriving) }
  func receiveDirectly(_ read: (inout OutputSpan<UInt8>) -> Void) {}

  func receive(_ bytes: ArraySlice<UInt8>) {
    guard fate == .open else { return }
    let taken = bytes.withUnsafeBufferPointer { nghttp2_session_mem_recv(session, $0.baseAddress, $0.count) }
    carrier.needsFlush()
    guard fate == .open else { return }
    if taken < 0 {
      // nghttp2 queues GOAWAY where the protocol requires it; for a flood of acknowledgements we send our own.
      if taken == Int(NGHTTP2_ERR_FLOODED.rawValue) { calmDown() }
      fate = .closing(lingers: true)
    }
  }

  private func calmDown() {
    nghttp2_session_terminate_session(session, UInt32(NGHTTP2_ENHANCE_YOUR_CALM.rawValue))
  }

  func receivedEnd() {
    guard fate == .open else { return }
    if exchanges.isEmpty, ended.isEmpty {
      fate = .closing(lingers: false)
      carrier.needsFlush()
    } else {
      connectionLost(.clientLeft)
    }
  }

  // MARK: nghttp2's callbacks; each returns 0 or HTTP2Callbacks.failure

  func frameBegan(_ header: nghttp2_frame_hd) -> Int32 {
    guard !fate.isOver else { return HTTP2Callbacks.failure }
    let counts = ControlFrameMeter.counts(type: header.type, length: header.length, flags: header.flags)
    if counts, !meter.admit(now: carrier.now) {
      calmDown()
      fate = .closing(lingers: true)
      return HTTP2Callbacks.failure
    }
    return 0
  }

  func headersBegan(_ frame: nghttp2_frame) -> Int32 {
    guard !fate.isOver else { return HTTP2Callbacks.failure }
    guard frame.headers.cat == NGHTTP2_HCAT_REQUEST else { return 0 }
    let id = frame.hd.stream_id
    let exchange = HTTP2Exchange(self, streamID: id, peer: carrier.peer, now: carrier.now, memory: memory)
    exchanges[id] = exchange
    headerBlockSince = carrier.now
    return 0
  }

  func fieldCame(
    _ frame: nghttp2_frame, _ name: UnsafeBufferPointer<UInt8>, _ value: UnsafeBufferPointer<UInt8>
  ) -> Int32 {
    guard let exchange = exchanges[frame.hd.stream_id], !exchange.isHeadComplete else { return 0 }
    exchange.takeField(nameLength: name.count, valueLength: value.count, limits: limits.values) { text in
      text.append(addingCapacity: name.count + value.count + 4) { line in
        line.append(lent: name)
        line.append(UInt8(ascii: ":"))
        line.append(UInt8(ascii: " "))
        line.append(lent: value)
        line.append(UInt8(ascii: "\r"))
        line.append(UInt8(ascii: "\n"))
      }
    }
    if exchange.headBytes > 4 * limits.values.headerBytes {
      // We read on only to keep the compression state right, and not without end.
      calmDown()
      fate = .closing(lingers: true)
      return HTTP2Callbacks.failure
    }
    return 0
  }

  func frameCame(_ frame: nghttp2_frame) -> Int32 {
    guard !fate.isOver else { return HTTP2Callbacks.failure }
    let type = UInt32(frame.hd.type)
    guard type == NGHTTP2_HEADERS.rawValue || type == NGHTTP2_DATA.rawValue else { return 0 }
    if type == NGHTTP2_HEADERS.rawValue { headerBlockSince = nil }
    guard let exchange = exchanges[frame.hd.stream_id] else { return 0 }
    let isEnd = UInt32(frame.hd.flags) & NGHTTP2_FLAG_END_STREAM.rawValue != 0
    if type == NGHTTP2_HEADERS.rawValue, !exchange.isHeadComplete {
      exchange.isRequestComplete = isEnd
      begin(exchange)
    } else if isEnd {
      exchange.isRequestComplete = true
      exchange.promise(0)
      if exchange.hasBegun, exchange.takesBody { handler.exchangeReady(exchange) }
    }
    return fate.isOver ? HTTP2Callbacks.failure : 0
  }

  private func begin(_ exchange: HTTP2Exchange) {
    exchange.completeHead(limits: limits.values)
    if let refusal = exchange.refusal {
      refuse(exchange, refusal)
      return
    }
    exchange.hasBegun = true
    exchange.start = carrier.now
    exchange.lastBodyByte = exchange.start
    exchange.countHead()
    if !exchange.isRequestComplete { openWindow(exchange) }
    carrier.exchangeOpened()
    handler.exchangeBegan(exchange)
    guard !fate.isOver, exchange.isWaiting else { return }
    if exchange.isRequestComplete {
      handler.exchangeReady(exchange)
    } else if exchange.expectsContinue {
      block.removeAll()
      block.append(":status", "100".utf8)
      _ = block.withFields { fields, count in
        nghttp2_submit_headers(
          session, UInt8(NGHTTP2_FLAG_NONE.rawValue), exchange.streamID, nil, fields, count, nil)
      }
    }
  }

  /// Opens a window as large as the body, within bounds, where its length is known and memory suffices.
  private func openWindow(_ exchange: HTTP2Exchange) {
    let usual = Int(Self.streamWindow)
    let window = min(exchange.contentLength ?? usual, Self.largeWindow)
    guard window > usual, memory.mayPromise(window) else { return exchange.promise(min(window, usual)) }
    exchange.promise(window)
    nghttp2_session_set_local_window_size(
      session, UInt8(NGHTTP2_FLAG_NONE.rawValue), exchange.streamID, Int32(window))
  }

  // MARK: For the exchange

  func missing(of exchange: HTTP2Exchange) -> Int {
    max(0, (exchange.contentLength ?? limits.values.bodyBytes) - exchange.taken)
  }
  func isUrgent(_ exchange: HTTP2Exchange) -> Bool {
    guard let length = exchange.contentLength, length <= BodyIntake.small else { return false }
    return handler.isUrgent(exchange)
  }
  func goOn(_ exchange: HTTP2Exchange) {
    guard exchange.withheld > 0, exchanges[exchange.streamID] === exchange else { return }
    nghttp2_session_consume_stream(session, exchange.streamID, exchange.withheld)
    exchange.withheld = 0
    carrier.needsFlush()
  }
  func crowded(_ exchange: HTTP2Exchange) {
    guard exchange.isArriving, exchanges[exchange.streamID] === exchange else { return }
    handler.exchangeCrowded(exchange)
    exchange.releaseBody()
    carrier.needsFlush()
  }

  func dataCame(_ stream: Int32, _ bytes: UnsafeBufferPointer<UInt8>) -> Int32 {
    guard !fate.isOver else { return HTTP2Callbacks.failure }
    guard let exchange = exchanges[stream], exchange.takesBody else {
      // This stream is no longer read; the others must go on.
      nghttp2_session_consume_connection(session, bytes.count)
      return 0
    }
    exchange.lastBodyByte = carrier.now
    let limit = limits.values.bodyBytes
    guard bytes.count <= limit - exchange.taken else {
      nghttp2_session_consume_connection(session, bytes.count)
      refuse(exchange, .bodyTooLarge(limit: limit))
      return 0
    }
    exchange.receive(bytes.count) { $0.append(lent: bytes) }
    if let intake, intake.holdsUp(exchange) {
      // The stream's window stays closed; the connection's window is shared by all streams.
      nghttp2_session_consume_connection(session, bytes.count)
      exchange.withheld += bytes.count
      intake.enter(exchange)
    } else {
      nghttp2_session_consume(session, stream, bytes.count + exchange.withheld)
      exchange.withheld = 0
    }
    return 0
  }

  func streamClosed(_ stream: Int32, _ code: UInt32) -> Int32 {
    guard let exchange = exchanges.removeValue(forKey: stream) else { return 0 }
    if exchanges.isEmpty { idleSince = carrier.now }
    if !exchange.isHeadComplete { headerBlockSince = nil }
    guard exchange.hasBegun else {
      exchange.detach()
      return 0
    }
    let ending: ExchangeEnding
    switch exchange.phase {
    case .finished where code == UInt32(NGHTTP2_NO_ERROR.rawValue): ending = .completed
    case .aborted: ending = .aborted
    default: ending = .clientLeft
    }
    exchange.phase = .aborted
    ended.append((exchange, ending, ending == .completed ? output.enqueued : 0))
    carrier.needsFlush()
    return 0
  }

  func frameSent(_ frame: nghttp2_frame) -> Int32 {
    guard UInt32(frame.hd.flags) & NGHTTP2_FLAG_END_STREAM.rawValue != 0,
      let exchange = exchanges[frame.hd.stream_id], !exchange.isRequestComplete
    else { return 0 }
    // The answer is complete before the request: the rest is not needed (RFC 9113 section 8.1).
    nghttp2_submit_rst_stream(
      session, UInt8(NGHTTP2_FLAG_NONE.rawValue), frame.hd.stream_id, UInt32(NGHTTP2_NO_ERROR.rawValue))
    return 0
  }

  func dataIsWanted(_ stream: Int32, _ length: Int, _ flags: UnsafeMutablePointer<UInt32>) -> Int {
    guard let exchange = exchanges[stream] else { return Int(NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue) }
    let pending = exchange.queue.pending
    let count = min(length, pending)
    if case .finished = exchange.phase, count == pending {
      flags.pointee |= NGHTTP2_DATA_FLAG_EOF.rawValue
      if let trailers = exchange.trailers {
        flags.pointee |= NGHTTP2_DATA_FLAG_NO_END_STREAM.rawValue
        block.removeAll()
        _ = block.append(trailers, status: 200)
        _ = block.withFields { nghttp2_submit_trailer(session, stream, $0, $1) }
      }
    } else if count == 0 {
      exchange.isDeferred = true
      return Int(NGHTTP2_ERR_DEFERRED.rawValue)
    }
    if count > 0 { flags.pointee |= NGHTTP2_DATA_FLAG_NO_COPY.rawValue }
    return count
  }

  func dataIsSent(_ stream: Int32, _ header: UnsafePointer<UInt8>, _ length: Int) -> Int32 {
    guard let exchange = exchanges[stream] else { return HTTP2Callbacks.failure }
    if output.pending >= Self.framedBytes { return Int32(NGHTTP2_ERR_WOULDBLOCK.rawValue) }
    output.appendInPlace { $0.append(contentsOf: UnsafeBufferPointer(start: header, count: 9)) }
    exchange.queue.move(length, to: output)
    exchange.lastProgress = carrier.now
    return 0
  }

  // MARK: Answers

  func respond(_ exchange: HTTP2Exchange, _ head: ResponseHead) {
    guard exchange.isWaiting, exchanges[exchange.streamID] === exchange else { return }
    let isBodiless = exchange.head.method == "HEAD" || head.status == 204 || head.status == 304
    var left: Int?
    if !isBodiless, let index = head.fields.firstIndex(of: "content-length") {
      left = ByteSyntax.decimal(head.fields.valueBytes(at: index))
    }
    block.removeAll()
    var status: [UInt8] = []
    HTTP1ResponseWriter.appendDecimal(head.status, into: &status)
    block.append(":status", status)
    if !block.append(head.fields, status: head.status) { block.append("date", carrier.date) }
    var provider = nghttp2_data_provider(source: nghttp2_data_source(), read_callback: HTTP2Callbacks.readData)
    let code = block.withFields { nghttp2_submit_response(session, exchange.streamID, $0, $1, &provider) }
    exchange.phase = .streaming(left: left, isBodiless: isBodiless)
    if !exchange.isRequestComplete { exchange.releaseBody() }
    if code != 0 { abort(exchange) }
    carrier.needsFlush()
  }

  func send(_ exchange: HTTP2Exchange, _ bytes: ArraySlice<UInt8>) {
    guard case .streaming(let left, let isBodiless) = exchange.phase, !isBodiless, !bytes.isEmpty else { return }
    if exchange.queue.isEmpty { exchange.lastProgress = carrier.now }
    if let left {
      // More than was announced is dropped, since the client would break the stream off.
      exchange.queue.append(bytes.prefix(left))
      exchange.phase = .streaming(left: max(0, left - bytes.count), isBodiless: false)
    } else {
      exchange.queue.append(bytes)
    }
    if exchange.queue.pending > limits.values.lowWater, !exchange.isAboveLowWater {
      exchange.isAboveLowWater = true
      highExchanges.append(exchange)
    }
    resumeData(exchange)
  }

  func finish(_ exchange: HTTP2Exchange, _ trailers: HeaderFields?) {
    guard case .streaming(let left, let isBodiless) = exchange.phase else { return }
    if let left, left > 0 {
      abort(exchange)
      return
    }
    if let trailers, !trailers.isEmpty, !isBodiless { exchange.trailers = trailers }
    exchange.phase = .finished
    resumeData(exchange)
  }

  func abort(_ exchange: HTTP2Exchange) {
    guard !exchange.isClosed else { return }
    exchange.phase = .aborted
    nghttp2_submit_rst_stream(
      session, UInt8(NGHTTP2_FLAG_NONE.rawValue), exchange.streamID, UInt32(NGHTTP2_INTERNAL_ERROR.rawValue))
    carrier.needsFlush()
  }

  private func resumeData(_ exchange: HTTP2Exchange) {
    if exchange.isDeferred {
      exchange.isDeferred = false
      nghttp2_session_resume_data(session, exchange.streamID)
    }
    carrier.needsFlush()
  }

  /// Answers an invalid request with the handler's error; other streams go on.
  private func refuse(_ exchange: HTTP2Exchange, _ refusal: RequestRefusal) {
    guard exchange.isWaiting else {
      abort(exchange)
      return
    }
    if exchange.hasBegun {
      handler.exchangeRefused(exchange, refusal)
      exchange.releaseBody()
      carrier.needsFlush()
      return
    }
    let answer = handler.refusal(refusal, target: exchange.head.target.isEmpty ? nil : exchange.head.target)
    var fields = HeaderFields(answer.fields)
    fields.append(name: "content-length", value: String(answer.body.count))
    respond(exchange, ResponseHead(status: refusal.status, fields: fields))
    send(exchange, answer.body[...])
    finish(exchange, nil)
  }

  // MARK: Output

  func produce() {
    guard !fate.isOver else { return }
    while output.pending < Self.framedBytes {
      var bytes: UnsafePointer<UInt8>?
      let count = nghttp2_session_mem_send(session, &bytes)
      guard count > 0 else {
        if count < 0 { fate = .broken }
        return
      }
      output.appendInPlace { $0.append(contentsOf: UnsafeBufferPointer(start: bytes, count: count)) }
    }
  }

  func outputMoved() {
    if !ended.isEmpty { reportEnded() }
    if !highExchanges.isEmpty { reportDrained() }
    if fate == .open, output.isEmpty, nghttp2_session_want_read(session) == 0, nghttp2_session_want_write(session) == 0
    {
      fate = .closing(lingers: true)
    }
    if draining == .final, exchanges.isEmpty, ended.isEmpty, fate == .open { fate = .closing(lingers: true) }
  }

  private func reportEnded() {
    var index = 0
    while index < ended.count {
      guard ended[index].mark <= output.flushed else {
        index += 1
        continue
      }
      let (exchange, ending, _) = ended.remove(at: index)
      report(exchange, ending)
    }
  }

  private func report(_ exchange: HTTP2Exchange, _ ending: ExchangeEnding) {
    exchange.detach()
    carrier.exchangeClosed()
    handler.exchangeEnded(exchange, ending)
    exchange.forget()
  }

  private func reportDrained() {
    let high = highExchanges
    highExchanges = []
    for exchange in high {
      if case .ended = exchange.phase { continue }
      if exchange.queue.pending < limits.values.lowWater {
        exchange.isAboveLowWater = false
        if !exchange.isClosed { handler.exchangeDrained(exchange) }
      } else {
        highExchanges.append(exchange)
      }
    }
  }

  // MARK: Ends

  func connectionLost(_ ending: ExchangeEnding) {
    fate = .broken
    let open = exchanges.values.sorted { $0.streamID < $1.streamID }
    exchanges = [:]
    highExchanges = []
    let waiting = ended
    ended = []
    for (exchange, itsEnding, mark) in waiting { report(exchange, mark <= output.flushed ? itsEnding : ending) }
    for exchange in open {
      if exchange.hasBegun {
        report(exchange, ending)
      } else {
        exchange.detach()
      }
    }
    carrier.needsFlush()
  }

  func tick(now: UInt64) {
    guard fate == .open else { return }
    if draining == .announced { finalizeDrain() }
    if let headerBlockSince, now > headerBlockSince, now - headerBlockSince > limits.headNanoseconds {
      close(NGHTTP2_ENHANCE_YOUR_CALM)
      return
    }
    if exchanges.isEmpty {
      output.releaseMemory()
      block = FieldBlock()
      if ended.isEmpty, now > idleSince, now - idleSince > limits.idleNanoseconds { close(NGHTTP2_NO_ERROR) }
      return
    }
    for exchange in Array(exchanges.values) where exchange.isHeadComplete {
      if exchange.isArriving,
        let reason = limits.slowBody(
          start: exchange.start, last: exchange.lastBodyByte, count: exchange.taken, now: now, wait: exchange.wait,
          isStuck: exchange.isStuck)
      {
        refuse(exchange, .timedOut(reason))
      } else if !exchange.queue.isEmpty, now > exchange.lastProgress,
        now - exchange.lastProgress > limits.writeNanoseconds
      {
        nghttp2_submit_rst_stream(
          session, UInt8(NGHTTP2_FLAG_NONE.rawValue), exchange.streamID, UInt32(NGHTTP2_CANCEL.rawValue))
        carrier.needsFlush()
      }
    }
  }

  private func close(_ code: nghttp2_error_code) {
    nghttp2_session_terminate_session(session, UInt32(code.rawValue))
    produce()
    fate = .closing(lingers: true)
    carrier.needsFlush()
  }

  func drain(closesIdle: Bool) {
    guard fate == .open, draining == .no else { return }
    if exchanges.isEmpty, closesIdle {
      finalizeDrain()
    } else {
      // An announcement comes first, so that requests that are on their way are still served (RFC 9113 section 6.8).
      draining = .announced
      nghttp2_submit_shutdown_notice(session)
    }
    carrier.needsFlush()
  }

  private func finalizeDrain() {
    draining = .final
    nghttp2_submit_goaway(
      session, UInt8(NGHTTP2_FLAG_NONE.rawValue), nghttp2_session_get_last_proc_stream_id(session),
      UInt32(NGHTTP2_NO_ERROR.rawValue), nil, 0)
    carrier.needsFlush()
  }
}
