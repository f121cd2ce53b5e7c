// The client's side of one HTTP/2 connection without its socket, over nghttp2: requests become streams, frames become answers.
//
// Promises: an answer is complete only if its END_STREAM came; requests that were not processed (REFUSED_STREAM,
// streams above GOAWAY's last, requests that were never sent) are told apart from broken ones; a stream's window opens
// only when its owner consumes; what a peer can make us keep or do is bounded: header bytes per answer, frames that ask
// for nothing, bytes in the windows.
import CNghttp2
import HTTPMessage

/// How a stream ended.
enum HTTP2StreamEnding: Equatable {
  /// END_STREAM came.
  case whole
  /// The provider has not processed the request: sending it again is no repetition.
  case notProcessed
  /// RST_STREAM with this code, from us or from the provider, before any END_STREAM.
  case reset(UInt32)
  /// The answer is invalid, and is not passed on.
  case malformed(String)
  /// The connection is lost; the text says how.
  case lost(String)
}

/// Gets the events of one stream.
protocol HTTP2StreamOwner: AnyObject {
  /// The last part of the request has been framed.
  func streamSent()
  func streamResponded(_ head: ResponseHead)
  /// The stream's window stays closed for these bytes until `consumed` is called for them.
  func streamReceived(_ bytes: [UInt8])
  /// The stream has ended; the last event.
  func streamEnded(_ ending: HTTP2StreamEnding)
}

final class HTTP2ClientSession {
  /// Bytes that one stream may send before its owner consumes them.
  static let streamWindow: UInt32 = 256 << 10
  /// Bytes that all streams together may have under way. The connection's window is opened again at once, whoever
  /// reads, so that one slow client does not stop the others.
  private static let connectionWindow: Int32 = 4 << 20
  /// The most concurrent streams, even if the provider allows more.
  static let streamLimit = 100
  /// Bounds for frames that ask for nothing: far above what honest peers send.
  private static let controlFrames = (burst: 10_000, perSecond: 1000)
  /// WINDOW_UPDATE frames that answer what we send are not counted: so many per DATA frame and per KiB in it,
  /// accumulated up to a bound.
  private static let windowUpdates = (perFrame: 4, perKiB: 1, atMost: 1 << 16)

  private final class Stream {
    let owner: any HTTP2StreamOwner
    var body: [UInt8]
    var bodySent = 0
    var headIsSent = false
    var status = 0
    var fields = HeaderFields()
    var headBytes = 0
    var headComplete = false
    var malformed: String?
    init(_ owner: any HTTP2StreamOwner, _ body: [UInt8]) {
      self.owner = owner
      self.body = body
    }
  }

  private var session: OpaquePointer?
  private var streams: [Int32: Stream] = [:]
  private let maxHeaderBytes: Int
  private var meter: ControlFrameMeter
  private var dueWindowUpdates = 0
  private let now: () -> UInt64
  /// True once the provider's settings have come.
  private(set) var isReady = false
  /// True where the provider takes no new streams.
  private(set) var isLeaving = false
  /// True where a side has violated the protocol: once the output is sent, the connection must end.
  private(set) var isBroken = false

  /// - Parameter now: nanoseconds of a monotonic clock.
  init(maxHeaderBytes: Int, now: @escaping () -> UInt64) {
    self.maxHeaderBytes = maxHeaderBytes
    self.now = now
    meter = ControlFrameMeter(burst: Self.controlFrames.burst, perSecond: Self.controlFrames.perSecond, now: now())
    let setup = HTTP2ClientCallbacks.setup
    nghttp2_session_client_new2(&session, setup.callbacks, Unmanaged.passUnretained(self).toOpaque(), setup.options)
    let settings = [
      Self.setting(NGHTTP2_SETTINGS_ENABLE_PUSH, 0),
      Self.setting(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, Self.streamWindow),
      Self.setting(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, UInt32(clamping: maxHeaderBytes)),
    ]
    nghttp2_submit_settings(session, Self.noFlags, settings, settings.count)
    nghttp2_session_set_local_window_size(session, Self.noFlags, 0, Self.connectionWindow)
  }

  deinit { nghttp2_session_del(session) }

  private static let noFlags = UInt8(NGHTTP2_FLAG_NONE.rawValue)
  private static func setting(_ id: nghttp2_settings_id, _ value: UInt32) -> nghttp2_settings_entry {
    nghttp2_settings_entry(settings_id: Int32(id.rawValue), value: value)
  }

  // MARK: For the connection

  var openStreams: Int { streams.count }
  /// The concurrent streams that the provider allows, within our own bound; 0 until its settings have come.
  var allowedStreams: Int {
    guard isReady else { return 0 }
    return min(
      Self.streamLimit,
      Int(nghttp2_session_get_remote_settings(session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS)))
  }
  /// How many more streams can be opened now.
  var room: Int { isLeaving || isBroken ? 0 : max(0, allowedStreams - streams.count) }
  /// True where nothing more comes or goes.
  var isFinished: Bool {
    isBroken
      || (nghttp2_session_want_read(session) == 0 && nghttp2_session_want_write(session) == 0)
  }

  /// Opens a stream; nil where no more can be opened.
  func begin(_ fields: HTTP2RequestFields, body: [UInt8], owner: any HTTP2StreamOwner) -> Int32? {
    guard !isLeaving, !isBroken else { return nil }
    var provider = nghttp2_data_provider(
      source: nghttp2_data_source(), read_callback: HTTP2ClientCallbacks.readBody)
    let id = fields.withFields { fields, count in
      if body.isEmpty { return nghttp2_submit_request(session, nil, fields, count, nil, nil) }
      return nghttp2_submit_request(session, nil, fields, count, &provider, nil)
    }
    guard id > 0 else {
      // All stream numbers are used up.
      isLeaving = true
      return nil
    }
    streams[id] = Stream(owner, body)
    return id
  }

  /// True once a part of the request may have been sent.
  func mayHaveArrived(_ id: Int32) -> Bool { streams[id]?.headIsSent ?? true }

  /// Cancels the stream; its owner gets no more events.
  func cancel(_ id: Int32) {
    guard streams.removeValue(forKey: id) != nil else { return }
    nghttp2_submit_rst_stream(session, Self.noFlags, id, UInt32(NGHTTP2_CANCEL.rawValue))
  }

  func consumed(_ count: Int, of id: Int32) {
    nghttp2_session_consume_stream(session, id, count)
  }

  /// Takes bytes that came over the connection.
  func receive(_ bytes: ArraySlice<UInt8>) {
    guard !isBroken else { return }
    let taken = bytes.withUnsafeBufferPointer { nghttp2_session_mem_recv(session, $0.baseAddress, $0.count) }
    if taken < 0 { isBroken = true }
  }

  /// Appends bytes to be sent, about `limit` at most.
  func produce(into output: inout [UInt8], limit: Int) {
    while output.count < limit {
      var bytes: UnsafePointer<UInt8>?
      let count = nghttp2_session_mem_send(session, &bytes)
      guard count > 0 else {
        if count < 0 { isBroken = true }
        return
      }
      output.append(contentsOf: UnsafeBufferPointer(start: bytes, count: count))
    }
  }

  /// Opens no more streams; GOAWAY is sent with the next `produce`.
  func sayGoodbye() {
    nghttp2_session_terminate_session(session, UInt32(NGHTTP2_NO_ERROR.rawValue))
  }

  /// The connection is lost: every stream ends.
  func connectionLost(_ how: String) {
    isBroken = true
    let open = streams.sorted { $0.key < $1.key }.map(\.value)
    streams = [:]
    for stream in open { stream.owner.streamEnded(stream.headIsSent ? .lost(how) : .notProcessed) }
  }

  // MARK: nghttp2's callbacks; each returns 0 or an error of nghttp2's

  func frameBegan(_ header: nghttp2_frame_hd) -> Int32 {
    var counts = ControlFrameMeter.counts(type: header.type, length: header.length, flags: header.flags)
    if UInt32(header.type) == NGHTTP2_WINDOW_UPDATE.rawValue {
      counts = dueWindowUpdates == 0
      if !counts { dueWindowUpdates -= 1 }
    }
    guard counts, !meter.admit(now: now()) else { return 0 }
    nghttp2_session_terminate_session(session, UInt32(NGHTTP2_ENHANCE_YOUR_CALM.rawValue))
    isBroken = true
    return HTTP2ClientCallbacks.failure
  }

  func fieldCame(_ id: Int32, _ name: UnsafeBufferPointer<UInt8>, _ value: UnsafeBufferPointer<UInt8>) -> Int32 {
    guard let stream = streams[id], stream.malformed == nil else { return 0 }
    stream.headBytes += name.count + value.count + 4
    guard stream.headBytes <= maxHeaderBytes else {
      stream.malformed = "the header lines are longer than \(maxHeaderBytes) bytes"
      return HTTP2ClientCallbacks.streamFailure
    }
    // Fields after the head are trailers.
    guard !stream.headComplete else { return 0 }
    if name.first == UInt8(ascii: ":") {
      // nghttp2 has checked that `:status` comes once and has three digits.
      stream.status = value.reduce(0) { ($0 &* 10 &+ Int($1) &- 0x30) & 0xFFFF }
    } else {
      if stream.fields.isEmpty { stream.fields = HeaderFields(reservingBytes: 512, fields: 16) }
      stream.fields.append(name: name, value: value)
    }
    return 0
  }

  func frameCame(_ frame: nghttp2_frame) -> Int32 {
    let type = UInt32(frame.hd.type)
    let isEnd = UInt32(frame.hd.flags) & NGHTTP2_FLAG_END_STREAM.rawValue != 0
    switch type {
    case NGHTTP2_SETTINGS.rawValue where UInt32(frame.hd.flags) & NGHTTP2_FLAG_ACK.rawValue == 0:
      isReady = true
      giveBackUnsent()
    case NGHTTP2_GOAWAY.rawValue:
      // nghttp2 ends the streams above the last one as refused.
      isLeaving = true
    case NGHTTP2_HEADERS.rawValue:
      if let stream = streams[frame.hd.stream_id], !stream.headComplete { completeHead(stream, isEnd: isEnd) }
      if isEnd { ended(frame.hd.stream_id) }
    case NGHTTP2_DATA.rawValue where isEnd: ended(frame.hd.stream_id)
    default: break
    }
    return 0
  }

  private func completeHead(_ stream: Stream, isEnd: Bool) {
    let (status, fields) = (stream.status, stream.fields)
    (stream.status, stream.fields) = (0, HeaderFields())
    guard status >= 200 || isEnd else { return }
    guard status >= 200, status <= 599 else {
      stream.malformed = "the status is outside 200 to 599"
      return
    }
    stream.headComplete = true
    stream.owner.streamResponded(ResponseHead(status: status, fields: fields))
  }

  private func ended(_ id: Int32) {
    guard let stream = streams.removeValue(forKey: id) else { return }
    if stream.bodySent < stream.body.count {
      // The answer came early: the rest of the request is not needed.
      nghttp2_submit_rst_stream(session, Self.noFlags, id, UInt32(NGHTTP2_CANCEL.rawValue))
    }
    stream.owner.streamEnded(stream.malformed.map { .malformed($0) } ?? .whole)
  }

  /// Requests that wait in nghttp2 for a stream that the provider no longer allows are given back, to be sent
  /// elsewhere.
  private func giveBackUnsent() {
    let surplus = streams.count - allowedStreams
    guard surplus > 0 else { return }
    for (id, stream) in streams.filter({ !$0.value.headIsSent }).sorted(by: { $0.key > $1.key }).prefix(surplus) {
      cancel(id)
      stream.owner.streamEnded(.notProcessed)
    }
  }

  func dataCame(_ id: Int32, _ bytes: UnsafeBufferPointer<UInt8>) -> Int32 {
    nghttp2_session_consume_connection(session, bytes.count)
    guard let stream = streams[id], stream.headComplete else {
      nghttp2_session_consume_stream(session, id, bytes.count)
      return 0
    }
    stream.owner.streamReceived(Array(bytes))
    return 0
  }

  func invalidFrameCame(_ id: Int32) {
    guard let stream = streams[id], stream.malformed == nil else { return }
    stream.malformed = "the answer is no well-formed HTTP/2"
  }

  func streamClosed(_ id: Int32, _ code: UInt32) {
    guard let stream = streams.removeValue(forKey: id) else { return }
    if let malformed = stream.malformed {
      stream.owner.streamEnded(.malformed(malformed))
    } else if code == NGHTTP2_REFUSED_STREAM.rawValue, !stream.headComplete {
      stream.owner.streamEnded(.notProcessed)
    } else {
      stream.owner.streamEnded(.reset(code))
    }
  }

  func frameSent(_ frame: nghttp2_frame) {
    guard UInt32(frame.hd.type) == NGHTTP2_HEADERS.rawValue, let stream = streams[frame.hd.stream_id] else { return }
    stream.headIsSent = true
    if UInt32(frame.hd.flags) & NGHTTP2_FLAG_END_STREAM.rawValue != 0 { stream.owner.streamSent() }
  }

  func bodyIsWanted(
    _ id: Int32, _ space: UnsafeMutablePointer<UInt8>, _ length: Int, _ flags: UnsafeMutablePointer<UInt32>
  ) -> Int {
    guard let stream = streams[id] else { return Int(HTTP2ClientCallbacks.streamFailure) }
    let count = min(length, stream.body.count - stream.bodySent)
    stream.body.withUnsafeBufferPointer { body in
      if let start = body.baseAddress { space.update(from: start + stream.bodySent, count: count) }
    }
    stream.bodySent += count
    dueWindowUpdates = min(
      dueWindowUpdates + Self.windowUpdates.perFrame + (count >> 10) * Self.windowUpdates.perKiB,
      Self.windowUpdates.atMost)
    if stream.bodySent == stream.body.count {
      flags.pointee |= NGHTTP2_DATA_FLAG_EOF.rawValue
      stream.body = []
      stream.bodySent = 0
      stream.owner.streamSent()
    }
    return count
  }
}
