// nghttp2's callbacks for the client's side: C functions that find the session and call it. Inside them nghttp2 allows
// `submit` calls, but not `mem_recv` and `mem_send`.
import CNghttp2

enum HTTP2ClientCallbacks {
  /// Callbacks and options, made once; nghttp2 copies them into each session.
  struct Setup {
    let callbacks: OpaquePointer?
    let options: OpaquePointer?
  }

  static let failure = Int32(NGHTTP2_ERR_CALLBACK_FAILURE.rawValue)
  /// Resets the stream; the connection goes on.
  static let streamFailure = Int32(NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue)

  // Reason for unsafe: written once before anyone can read it, and only read by nghttp2 afterwards.
  nonisolated(unsafe) static let setup: Setup = {
    var callbacks: OpaquePointer?
    nghttp2_session_callbacks_new(&callbacks)
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks) { _, header, user in
      guard let header else { return 0 }
      return session(user)?.frameBegan(header.pointee) ?? failure
    }
    nghttp2_session_callbacks_set_on_header_callback(callbacks) {
      _, frame, name, nameLength, value, valueLength, _, user in
      guard let frame else { return 0 }
      return session(user)?.fieldCame(
        frame.pointee.hd.stream_id, UnsafeBufferPointer(start: name, count: nameLength),
        UnsafeBufferPointer(start: value, count: valueLength)) ?? failure
    }
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks) { _, frame, user in
      guard let frame else { return 0 }
      return session(user)?.frameCame(frame.pointee) ?? failure
    }
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks) { _, _, stream, data, length, user in
      session(user)?.dataCame(stream, UnsafeBufferPointer(start: data, count: length)) ?? failure
    }
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks) { _, frame, _, user in
      guard let frame else { return 0 }
      session(user)?.invalidFrameCame(frame.pointee.hd.stream_id)
      return 0
    }
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks) { _, stream, code, user in
      session(user)?.streamClosed(stream, code)
      return 0
    }
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks) { _, frame, user in
      guard let frame else { return 0 }
      session(user)?.frameSent(frame.pointee)
      return 0
    }
    var options: OpaquePointer?
    nghttp2_option_new(&options)
    // We open windows when the owners have consumed the bytes, not when nghttp2 hands them out.
    nghttp2_option_set_no_auto_window_update(options, 1)
    // As many bytes of header fields as we would send over HTTP/1.1.
    nghttp2_option_set_max_send_header_block_length(options, 1 << 20)
    return Setup(callbacks: callbacks, options: options)
  }()

  private static func session(_ user: UnsafeMutableRawPointer?) -> HTTP2ClientSession? {
    user.map { Unmanaged<HTTP2ClientSession>.fromOpaque($0).takeUnretainedValue() }
  }

  /// Gives nghttp2 the next part of a request's body.
  static let readBody: nghttp2_data_source_read_callback = { _, stream, space, length, flags, _, user in
    guard let space, let flags, let session = session(user) else { return Int(failure) }
    return session.bodyIsWanted(stream, space, length, flags)
  }
}
