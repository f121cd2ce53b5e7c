// nghttp2's callbacks: C functions that find the session and call it. Inside them nghttp2 allows `submit` calls, but
// not `mem_recv` and `mem_send`.
import CNghttp2

enum HTTP2Callbacks {
  /// Callbacks and options, made once; nghttp2 copies them into each session.
  struct Setup {
    let callbacks: OpaquePointer?
    let options: OpaquePointer?
  }

  // Reason for unsafe: written once before anyone can read it, and only read by nghttp2 afterwards.
  nonisolated(unsafe) static let setup: Setup = {
    var callbacks: OpaquePointer?
    nghttp2_session_callbacks_new(&callbacks)
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks) { _, header, user in
      guard let header else { return 0 }
      return session(user)?.frameBegan(header.pointee) ?? failure
    }
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks) { _, frame, user in
      guard let frame else { return 0 }
      return session(user)?.headersBegan(frame.pointee) ?? failure
    }
    nghttp2_session_callbacks_set_on_header_callback(callbacks) {
      _, frame, name, nameLength, value, valueLength, _, user in
      guard let frame else { return 0 }
      return session(user)?.fieldCame(
        frame.pointee, UnsafeBufferPointer(start: name, count: nameLength),
        UnsafeBufferPointer(start: value, count: valueLength)) ?? failure
    }
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks) { _, frame, user in
      guard let frame else { return 0 }
      return session(user)?.frameCame(frame.pointee) ?? failure
    }
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks) { _, _, stream, data, length, user in
      session(user)?.dataCame(stream, UnsafeBufferPointer(start: data, count: length)) ?? failure
    }
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks) { _, stream, code, user in
      session(user)?.streamClosed(stream, code) ?? 0
    }
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks) { _, frame, user in
      guard let frame else { return 0 }
      return session(user)?.frameSent(frame.pointee) ?? 0
    }
    nghttp2_session_callbacks_set_send_data_callback(callbacks) { _, frame, header, length, _, user in
      guard let frame, let header else { return failure }
      return session(user)?.dataIsSent(frame.pointee.hd.stream_id, header, length) ?? failure
    }
    var options: OpaquePointer?
    nghttp2_option_new(&options)
    // We open windows when we have consumed the bytes, not when nghttp2 hands them out.
    nghttp2_option_set_no_auto_window_update(options, 1)
    return Setup(callbacks: callbacks, options: options)
  }()

  static let failure = Int32(NGHTTP2_ERR_CALLBACK_FAILURE.rawValue)

  private static func session(_ user: UnsafeMutableRawPointer?) -> HTTP2Session? {
    user.map { Unmanaged<HTTP2Session>.fromOpaque($0).takeUnretainedValue() }
  }

  /// Gives nghttp2 the next part of an answer's body.
  static let readData: nghttp2_data_source_read_callback = { _, stream, _, length, flags, _, user in
    guard let flags, let session = session(user) else { return Int(failure) }
    return session.dataIsWanted(stream, length, flags)
  }
}

extension OutputSpan<UInt8> {
  /// Appends bytes that nghttp2 lent, as many as there is room for.
  mutating func append(lent bytes: UnsafeBufferPointer<UInt8>) {
    withUnsafeMutableBufferPointer { space, count in
      let taken = min(bytes.count, space.count - count)
      guard taken > 0, let from = bytes.baseAddress, let to = space.baseAddress else { return }
      (to + count).update(from: from, count: taken)
      count += taken
    }
  }
}
