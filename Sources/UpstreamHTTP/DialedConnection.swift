// A connection that libcurl opens and a carrier then uses itself: dialing, reading and writing, shared by both versions
// of HTTP.
import CCurl
import COpenSSL
import HTTPMessage

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

/// Libcurl's handle of such a connection: kept while dialing and, for a TLS connection, as long as the connection
/// lives.
struct DialedConnection {
  let handle: EasyHandle
  let shard: CurlShard

  /// The result of dialing: the descriptor, or why there is none.
  func result(_ code: CURLcode, _ pool: ProviderPool, at origin: String) -> Result<Int32, UpstreamFailure> {
    let descriptor = tg_curl_get_socket(handle.raw)
    if code == CURLE_OK, descriptor >= 0 { return .success(descriptor) }
    let failure = transferFailure(
      code == CURLE_OK ? CURLE_COULDNT_CONNECT : code,
      TransferProgress(
        reachedRequest: false, sentBytes: 0, answerBegan: false, headComplete: false,
        socketRefused: handle.socketRefused, malformed: nil, vetoedResend: false, hadTime: false,
        message: handle.message))
    pool.noteConnectFailure(failure, at: origin)
    return .failure(failure)
  }

  /// Removes the handle from libcurl, which closes the connection where it is still libcurl's.
  func letGo(_ upstream: CurlUpstream) { upstream.insideCurl { shard.remove(handle.raw) } }
}

/// The result of a read.
enum ReadResult: Equatable {
  case bytes(Int)
  case wouldBlock
  case end
  case failed
}

/// The result of a write.
enum WriteResult: Equatable {
  case bytes(Int)
  case wouldBlock
  case failed
}

extension EasyHandle {
  /// Reads decrypted bytes into the first `most` bytes of `buffer`.
  func receive(into buffer: inout [UInt8], atMost most: Int = .max) -> ReadResult {
    if let ownTLS {
      let count = buffer.withUnsafeMutableBytes {
        tg_ssl_read(ownTLS, $0.baseAddress, Int32(clamping: min($0.count, most)))
      }
      return count > 0 ? .bytes(Int(count)) : count == 0 ? .end : count == -1 ? .wouldBlock : .failed
    }
    var count = 0
    switch buffer.withUnsafeMutableBytes({ curl_easy_recv(raw, $0.baseAddress, min($0.count, most), &count) }) {
    case CURLE_OK:
      hasReceived = count > 0
      return count > 0 ? .bytes(count) : .end
    case CURLE_AGAIN:
      if hasReceived { takeOverTLS() }
      return .wouldBlock
    default: return .failed
    }
  }

  func send(_ bytes: ArraySlice<UInt8>) -> WriteResult {
    if let ownTLS {
      let count = bytes.withUnsafeBytes { tg_ssl_write(ownTLS, $0.baseAddress, Int32(clamping: $0.count)) }
      return count > 0 ? .bytes(Int(count)) : count == -1 ? .wouldBlock : .failed
    }
    var count = 0
    switch bytes.withUnsafeBytes({ curl_easy_send(raw, $0.baseAddress, $0.count, &count) }) {
    case CURLE_OK: return .bytes(count)
    case CURLE_AGAIN: return .wouldBlock
    default: return .failed
    }
  }

  /// From now on uses OpenSSL without libcurl, which searches for the connection at each read and write, and adds layers
  /// of its own. By now libcurl has connected, has checked the certificate, and has stored the sessions that came before
  /// the first answer. It holds no bytes, since it has just found none to read.
  private func takeOverTLS() {
    guard Self.libcurlHasOurOpenSSL, let tls, tg_ssl_take_over(tls, tg_curl_get_socket(raw)) == 1 else { return }
    ownTLS = tls
  }

  private static let libcurlHasOurOpenSSL = tg_ssl_is_library(tg_curl_tls_library()) == 1

  /// OpenSSL's object of the connection; nil before the first read, and where libcurl uses another TLS library.
  private var tls: OpaquePointer? { ownTLS ?? tg_curl_get_tls(raw).map { OpaquePointer($0) } }

  /// True where TLS has already taken bytes from the socket, so that no event will tell of them.
  var hasBytesInHand: Bool { tls.map { SSL_has_pending($0) == 1 } ?? false }

  /// OpenSSL holds no more bytes. If the socket has more, the loop will report an event.
  var hasReadAll: Bool { ownTLS.map { SSL_has_pending($0) == 0 } ?? false }

  /// True where the peer has sent close_notify.
  var heardGoodbye: Bool { tls.map { SSL_get_shutdown($0) & SSL_RECEIVED_SHUTDOWN != 0 } ?? true }

  /// True where ALPN selected HTTP/2.
  var speaksHTTP2: Bool { tls.map { tg_ssl_http_version($0) == 2 } ?? false }
}

/// True where the peer has neither sent anything nor ended the connection.
func isSilent(_ descriptor: Int32) -> Bool {
  var byte: UInt8 = 0
  return recv(descriptor, &byte, 1, Int32(MSG_PEEK) | Int32(MSG_DONTWAIT)) < 0 && errno == EAGAIN
}
