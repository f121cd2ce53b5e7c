// Test support: the client's side of an HTTP/2 connection over nghttp2, joined to a session without a socket, and raw
// frames for what no well-behaved client sends.
import CNghttp2
import HTTPMessage

@testable import HTTPEndpoint

final class HTTP2TestClient {
  struct Answer: Equatable {
    var fields: [String] = []
    var body: [UInt8] = []
    var isComplete = false
    /// Set when the stream closed.
    var closeCode: UInt32?

    var status: String? { fields.first { $0.hasPrefix(":status: ") }.map { String($0.dropFirst(9)) } }
  }

  let bench: SessionBench
  private var session: OpaquePointer?
  private(set) var answers: [Int32: Answer] = [:]
  /// Code of the GOAWAY that came; nil before.
  private(set) var goAwayCode: UInt32?
  private(set) var settings: [Int32: UInt32] = [:]
  private var bodies: [Int32: (bytes: [UInt8], sent: Int, ends: Bool)] = [:]

  /// `window`: how many bytes of an answer the server may send before the client takes them; they are taken at once
  /// unless it is set.
  init(_ bench: SessionBench, window: UInt32? = nil) {
    self.bench = bench
    var callbacks: OpaquePointer?
    nghttp2_session_callbacks_new(&callbacks)
    nghttp2_session_callbacks_set_on_header_callback(callbacks) {
      _, frame, name, nameLength, value, valueLength, _, user in
      guard let frame, let user else { return 0 }
      let client = Unmanaged<HTTP2TestClient>.fromOpaque(user).takeUnretainedValue()
      let name = String(decoding: UnsafeBufferPointer(start: name, count: nameLength), as: UTF8.self)
      let value = String(decoding: UnsafeBufferPointer(start: value, count: valueLength), as: UTF8.self)
      client.answers[frame.pointee.hd.stream_id, default: Answer()].fields.append("\(name): \(value)")
      return 0
    }
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks) { _, _, stream, data, length, user in
      guard let user else { return 0 }
      let client = Unmanaged<HTTP2TestClient>.fromOpaque(user).takeUnretainedValue()
      client.answers[stream, default: Answer()].body.append(contentsOf: UnsafeBufferPointer(start: data, count: length))
      return 0
    }
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks) { _, frame, user in
      guard let frame, let user else { return 0 }
      let client = Unmanaged<HTTP2TestClient>.fromOpaque(user).takeUnretainedValue()
      let header = frame.pointee.hd
      switch UInt32(header.type) {
      case NGHTTP2_GOAWAY.rawValue: client.goAwayCode = frame.pointee.goaway.error_code
      case NGHTTP2_SETTINGS.rawValue where UInt32(header.flags) & NGHTTP2_FLAG_ACK.rawValue == 0:
        for index in 0..<frame.pointee.settings.niv {
          let entry = frame.pointee.settings.iv[index]
          client.settings[entry.settings_id] = entry.value
        }
      case NGHTTP2_DATA.rawValue, NGHTTP2_HEADERS.rawValue:
        if UInt32(header.flags) & NGHTTP2_FLAG_END_STREAM.rawValue != 0 {
          client.answers[header.stream_id, default: Answer()].isComplete = true
        }
      default: break
      }
      return 0
    }
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks) { _, stream, code, user in
      guard let user else { return 0 }
      let client = Unmanaged<HTTP2TestClient>.fromOpaque(user).takeUnretainedValue()
      client.answers[stream, default: Answer()].closeCode = code
      return 0
    }
    var options: OpaquePointer?
    nghttp2_option_new(&options)
    if window != nil { nghttp2_option_set_no_auto_window_update(options, 1) }
    nghttp2_session_client_new2(&session, callbacks, Unmanaged.passUnretained(self).toOpaque(), options)
    nghttp2_option_del(options)
    nghttp2_session_callbacks_del(callbacks)
    var entries: [nghttp2_settings_entry] = []
    if let window {
      entries.append(
        nghttp2_settings_entry(settings_id: Int32(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE.rawValue), value: window))
    }
    nghttp2_submit_settings(session, 0, entries, entries.count)
  }

  deinit { nghttp2_session_del(session) }

  /// Begins a request; `body` nil ends it with its head, `ends` false leaves its body open.
  @discardableResult
  func request(
    _ method: String, _ path: String, fields: [(String, String)] = [], body: [UInt8]? = nil, ends: Bool = true
  ) -> Int32 {
    var block = FieldBlock()
    block.append(":method", method.utf8)
    block.append(":scheme", "http".utf8)
    block.append(":authority", "host:1".utf8)
    block.append(":path", path.utf8)
    _ = block.append(HeaderFields(fields.map { (name: $0.0, value: $0.1) }), status: 200)
    var provider = nghttp2_data_provider(
      source: nghttp2_data_source(),
      read_callback: { _, stream, space, length, flags, _, user in
        guard let user, let space, let flags else { return 0 }
        return Unmanaged<HTTP2TestClient>.fromOpaque(user).takeUnretainedValue().read(stream, space, length, flags)
      })
    var id: Int32 = 0
    _ = block.withFields { fields, count in
      id =
        body == nil
        ? nghttp2_submit_request(session, nil, fields, count, nil, nil)
        : nghttp2_submit_request(session, nil, fields, count, &provider, nil)
      return id
    }
    if let body { bodies[id] = (body, 0, ends) }
    return id
  }

  private func read(
    _ stream: Int32, _ space: UnsafeMutablePointer<UInt8>, _ length: Int, _ flags: UnsafeMutablePointer<UInt32>
  ) -> Int {
    guard var body = bodies[stream] else { return Int(NGHTTP2_ERR_CALLBACK_FAILURE.rawValue) }
    let count = min(length, body.bytes.count - body.sent)
    if count == 0, !body.ends { return Int(NGHTTP2_ERR_DEFERRED.rawValue) }
    for index in 0..<count { space[index] = body.bytes[body.sent + index] }
    body.sent += count
    bodies[stream] = body
    if body.sent == body.bytes.count, body.ends { flags.pointee |= NGHTTP2_DATA_FLAG_EOF.rawValue }
    return count
  }

  func sendMore(_ stream: Int32, _ bytes: [UInt8], ends: Bool) {
    bodies[stream]?.bytes += bytes
    bodies[stream]?.ends = ends
    nghttp2_session_resume_data(session, stream)
  }

  func reset(_ stream: Int32) { nghttp2_submit_rst_stream(session, 0, stream, UInt32(NGHTTP2_CANCEL.rawValue)) }

  /// Lets the server send this many bytes more on a stream, and on the connection.
  func take(_ stream: Int32, _ count: Int) { nghttp2_session_consume(session, stream, count) }

  /// Everything that the client has to say, as bytes.
  func outgoing() -> [UInt8] {
    var all: [UInt8] = []
    while true {
      var bytes: UnsafePointer<UInt8>?
      let count = nghttp2_session_mem_send(session, &bytes)
      guard count > 0 else { return all }
      all.append(contentsOf: UnsafeBufferPointer(start: bytes, count: count))
    }
  }

  /// Carries bytes both ways, `step` at a time, until neither side has more to say.
  func exchangeBytes(step: Int = .max) {
    while true {
      let toServer = outgoing()
      var at = 0
      while at < toServer.count {
        let end = step == .max ? toServer.count : min(toServer.count, at + step)
        bench.feed(Array(toServer[at..<end]))
        at = end
      }
      let toClient = bench.flush()
      if !toClient.isEmpty { _ = nghttp2_session_mem_recv(session, toClient, toClient.count) }
      if toServer.isEmpty, toClient.isEmpty { return }
    }
  }

  /// Gives the client bytes that a test took from the bench itself.
  func receive(_ bytes: [UInt8]) { _ = nghttp2_session_mem_recv(session, bytes, bytes.count) }

  // MARK: Raw frames

  static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + frame(type: 4, flags: 0, stream: 0, [])

  static func frame(type: UInt8, flags: UInt8, stream: UInt32, _ payload: [UInt8]) -> [UInt8] {
    let length = payload.count
    return [UInt8(length >> 16 & 255), UInt8(length >> 8 & 255), UInt8(length & 255), type, flags]
      + [UInt8(stream >> 24 & 127), UInt8(stream >> 16 & 255), UInt8(stream >> 8 & 255), UInt8(stream & 255)] + payload
  }

  /// The head of `GET /` in indexed fields: `:method GET`, `:scheme http`, `:path /`, and a literal `:authority`.
  static let getBlock: [UInt8] = [0x82, 0x86, 0x84, 0x01, 0x01, 0x61]
}
