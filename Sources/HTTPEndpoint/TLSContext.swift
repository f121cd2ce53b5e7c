// TLS for the server, over OpenSSL: versions 1.2 and 1.3, ALPN, session tickets.
import COpenSSL
import EventLoop

/// A certificate and its key, loaded once and shared by all connections.
public final class TLSContext {
  private let context: OpaquePointer

  /// Loads a certificate chain and its private key, both PEM.
  /// - Throws: ``EndpointError``, which names the file and says what is wrong with it.
  public init(certificateFile: String, keyFile: String) throws {
    try Self.requireFile("certificate file", certificateFile)
    try Self.requireFile("key file", keyFile)
    guard let context = SSL_CTX_new(TLS_server_method()) else {
      throw EndpointError("TLS cannot start: \(Self.lastError())")
    }
    self.context = context
    _ = SSL_CTX_ctrl(context, SSL_CTRL_SET_MIN_PROTO_VERSION, Int(TLS1_2_VERSION), nil)
    SSL_CTX_set_options(context, tg_ssl_server_options)
    _ = SSL_CTX_ctrl(
      context, SSL_CTRL_MODE,
      Int(SSL_MODE_ENABLE_PARTIAL_WRITE) | Int(SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER) | Int(SSL_MODE_RELEASE_BUFFERS), nil
    )
    ERR_clear_error()
    guard SSL_CTX_use_certificate_chain_file(context, certificateFile) == 1 else {
      throw EndpointError("certificate file \(certificateFile): \(Self.lastError())")
    }
    guard SSL_CTX_use_PrivateKey_file(context, keyFile, SSL_FILETYPE_PEM) == 1 else {
      let reason = Self.lastError()
      // OpenSSL compares certificate and key while it loads the key.
      throw EndpointError(
        "key file \(keyFile): "
          + (reason == "key values mismatch" ? "it is not the key of certificate file \(certificateFile)" : reason))
    }
    // Session ids are not shared between processes; tickets suffice for resumption.
    _ = SSL_CTX_ctrl(context, SSL_CTRL_SET_SESS_CACHE_MODE, Int(SSL_SESS_CACHE_OFF), nil)
    tg_ssl_choose_protocols(context)
  }

  deinit { SSL_CTX_free(context) }

  /// The most bytes of a file; a chain with its key has a few KiB.
  private static let mostBytes = 1 << 20

  /// Requires a regular file, since OpenSSL would wait for ever for a pipe's other end.
  private static func requireFile(_ what: String, _ path: String) throws {
    switch FileKind(of: path) {
    case .missing(let number): throw EndpointError("\(what) \(path): \(Socket.errorText(number))")
    case .other: throw EndpointError("\(what) \(path): not a file")
    case .file(let size) where size > mostBytes:
      throw EndpointError("\(what) \(path): \(size) bytes; at most \(mostBytes) are read")
    case .file: break
    }
  }

  func accept(_ descriptor: Int32) throws -> TLSStream {
    guard let ssl = SSL_new(context) else { throw EndpointError("TLS: \(Self.lastError())") }
    SSL_set_fd(ssl, descriptor)
    SSL_set_accept_state(ssl)
    return TLSStream(ssl)
  }

  /// The first reason in OpenSSL's error queue, in words.
  private static func lastError() -> String {
    let code = ERR_peek_error()
    ERR_clear_error()
    guard code != 0 else { return "unknown error" }
    // System errors, such as a missing file, carry the system's number and have no text in OpenSSL.
    if code & UInt(tg_err_system_flag) != 0 { return Socket.errorText(Int32(truncatingIfNeeded: code & 0x7FFF_FFFF)) }
    return ERR_reason_error_string(code).map { String(cString: $0) } ?? "error \(code) of OpenSSL"
  }
}

/// One connection's TLS. The descriptor stays the connection's.
final class TLSStream {
  enum Handshake: Equatable {
    case done
    case wantsRead
    case wantsWrite
    case failed
  }

  private var ssl: OpaquePointer?
  private(set) var isReady = false

  init(_ ssl: OpaquePointer) { self.ssl = ssl }
  deinit { free() }

  func free() {
    SSL_free(ssl)
    ssl = nil
  }

  func continueHandshake() -> Handshake {
    ERR_clear_error()
    let result = SSL_do_handshake(ssl)
    if result == 1 {
      isReady = true
      return .done
    }
    switch SSL_get_error(ssl, result) {
    case SSL_ERROR_WANT_READ: return .wantsRead
    case SSL_ERROR_WANT_WRITE: return .wantsWrite
    default: return .failed
    }
  }

  /// The major version of HTTP that ALPN selected; 0 where the client did not use ALPN.
  var httpVersion: Int32 { tg_ssl_http_version(ssl) }

  /// Reads into the first `most` bytes of `buffer`.
  func read(into buffer: inout [UInt8], atMost most: Int) -> Socket.ReadResult {
    buffer.withUnsafeMutableBytes { read(into: UnsafeMutableRawBufferPointer(rebasing: $0[..<most])) }
  }

  /// Appends as many bytes as are there and fit into `space`.
  func read(into space: inout OutputSpan<UInt8>) -> Socket.ReadResult { space.appendRead { read(into: $0) } }

  private func read(into space: UnsafeMutableRawBufferPointer) -> Socket.ReadResult {
    ERR_clear_error()
    let result = SSL_read(ssl, space.baseAddress, Int32(clamping: space.count))
    if result > 0 { return .bytes(Int(result)) }
    switch SSL_get_error(ssl, result) {
    case SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE: return .wouldBlock
    case SSL_ERROR_ZERO_RETURN: return .end
    default: return .failed
    }
  }

  /// True where OpenSSL has read bytes from the socket that we have not taken.
  var hasPendingInput: Bool { SSL_pending(ssl) > 0 }

  /// Writes the queue's first piece, or part of it.
  func write(_ queue: OutputQueue) -> Socket.WriteResult {
    ERR_clear_error()
    var result: Int32 = 0
    queue.withPieces(upTo: 1) { piece in
      result = piece.withUnsafeBytes { SSL_write(ssl, $0.baseAddress, Int32(clamping: $0.count)) }
    }
    if result > 0 { return .bytes(Int(result)) }
    switch SSL_get_error(ssl, result) {
    case SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE: return .wouldBlock
    default: return .failed
    }
  }

  /// Sends close_notify, so that the client can tell the end from a truncation.
  func sayGoodbye() {
    ERR_clear_error()
    _ = SSL_shutdown(ssl)
  }
}
