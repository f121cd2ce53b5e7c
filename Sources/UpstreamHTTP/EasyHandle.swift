// A libcurl easy handle with the settings that every use needs: trust, sockets, signals, proxies.
import CCurl
import COpenSSL
import EventLoop
import HTTPMessage

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

final class EasyHandle {
  let raw: UnsafeMutableRawPointer
  private let errorText: UnsafeMutablePointer<CChar>
  private let upstream: Unmanaged<CurlUpstream>
  /// True where the operating system refused a socket: `EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`.
  private(set) var socketRefused = false
  private var connectMilliseconds = -1
  private var looksUpAnew = false
  /// OpenSSL's object of the connection, once we use it without libcurl.
  var ownTLS: OpaquePointer?
  /// True once bytes have come over the connection.
  var hasReceived = false

  /// - Parameter offersHTTP2: by ALPN, beside HTTP/1.1.
  init(_ upstream: CurlUpstream, _ pool: ProviderPool, offersHTTP2: Bool = false) throws(TransferSetupFailure) {
    guard let raw = curl_easy_init() else {
      throw TransferSetupFailure(option: "curl_easy_init", code: CURLE_FAILED_INIT)
    }
    self.raw = raw
    self.upstream = .passUnretained(upstream)
    errorText = .allocate(capacity: Int(CURL_ERROR_SIZE))
    errorText[0] = 0
    try configure(upstream, pool, offersHTTP2)
  }

  deinit {
    curl_easy_cleanup(raw)
    errorText.deallocate()
  }

  /// Libcurl's message about the last error since ``forget()``.
  var message: String { String(cString: errorText) }

  func forget() {
    errorText[0] = 0
    socketRefused = false
    ownTLS = nil
    hasReceived = false
  }

  func set(_ option: CURLoption, _ value: Int) throws(TransferSetupFailure) {
    try check(tg_curl_set_long(raw, option, value), "\(option.rawValue)")
  }

  func set(_ option: CURLoption, text: String?) throws(TransferSetupFailure) {
    try check(tg_curl_set_text(raw, option, text), "\(option.rawValue)")
  }

  func set(_ option: CURLoption, pointer: UnsafeRawPointer?) throws(TransferSetupFailure) {
    try check(tg_curl_set_pointer(raw, option, pointer), "\(option.rawValue)")
  }

  func check(_ code: CURLcode, _ option: @autoclosure () -> String) throws(TransferSetupFailure) {
    guard code == CURLE_OK else { throw TransferSetupFailure(option: option(), code: code) }
  }

  /// Sets the carrier that is told when libcurl is done with the handle.
  func serve(_ carrier: CallCarrier) throws(TransferSetupFailure) {
    try set(CURLOPT_PRIVATE, pointer: Unmanaged.passUnretained(carrier).toOpaque())
  }

  func setConnectTimeout(_ timeout: Duration?) throws(TransferSetupFailure) {
    let wanted = timeout.map { Int(max(1, min($0.wholeNanoseconds / 1_000_000, 1 << 30))) } ?? 1 << 30
    guard wanted != connectMilliseconds else { return }
    try set(CURLOPT_CONNECTTIMEOUT_MS, wanted)
    connectMilliseconds = wanted
  }

  /// Sets whether libcurl looks the name up again instead of using the addresses that it remembers.
  func setLooksUpAnew(_ wanted: Bool) throws(TransferSetupFailure) {
    guard wanted != looksUpAnew else { return }
    try set(CURLOPT_DNS_CACHE_TIMEOUT, wanted ? 0 : 60)
    looksUpAnew = wanted
  }

  private func configure(
    _ upstream: CurlUpstream, _ pool: ProviderPool, _ offersHTTP2: Bool
  ) throws(TransferSetupFailure) {
    try set(CURLOPT_ERRORBUFFER, pointer: errorText)
    try set(CURLOPT_SHARE, pointer: upstream.share)
    try set(CURLOPT_NOSIGNAL, 1)
    // A cancelled call must not wait for getaddrinfo to return.
    try set(CURLOPT_QUICK_EXIT, 1)
    try set(CURLOPT_PROTOCOLS_STR, text: "http,https")
    try set(CURLOPT_PATH_AS_IS, 1)
    try set(CURLOPT_TCP_KEEPALIVE, 1)
    if let caFile = pool.settings.caFile { try set(CURLOPT_CAINFO, text: caFile) }
    if let path = pool.settings.socketPath { try set(CURLOPT_UNIX_SOCKET_PATH, text: path) }
    if let proxy = pool.proxy {
      try set(CURLOPT_PROXY, text: proxy)
      // Without a proxy there are no exceptions from it, so the environment need not be read.
      if proxy.isEmpty { try set(CURLOPT_NOPROXY, text: "") }
    }
    try set(CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1)
    if offersHTTP2 {
      // If libcurl knew of the offer, it would speak HTTP/2 itself: so the offer is set in OpenSSL directly.
      try set(CURLOPT_SSL_ENABLE_ALPN, 0)
      try check(
        tg_curl_set_tls_setup(raw) { _, context, _ in
          EasyHandle.setUpTLS(context)
          return context.map { tg_ssl_offer_protocols(OpaquePointer($0)) } == 0 ? CURLE_OK : CURLE_SSL_CONNECT_ERROR
        }, "TLS setup")
    } else {
      // Where libcurl uses another TLS library, this fails, and that library decides what an end is.
      _ = tg_curl_set_tls_setup(raw) { _, context, _ in
        EasyHandle.setUpTLS(context)
        return CURLE_OK
      }
    }
    try check(
      tg_curl_set_open_socket(
        raw,
        { context, _, address in
          guard let context, let address else { return -1 }
          return Unmanaged<EasyHandle>.fromOpaque(context)._withUnsafeGuaranteedRef { handle in
            handle.openSocket(address.pointee.family, address.pointee.socktype, address.pointee.protocol)
          }
        }, Unmanaged.passUnretained(self).toOpaque()), "open socket")
    // A connection outlives the handle that opened it, so the upstream handles its closing.
    try check(
      tg_curl_set_close_socket(
        raw,
        { context, descriptor in
          guard let context else { return 1 }
          Unmanaged<CurlUpstream>.fromOpaque(context)._withUnsafeGuaranteedRef { $0.libcurlCloses(descriptor) }
          return 0
        }, Unmanaged.passUnretained(upstream).toOpaque()), "close socket")
  }

  /// Changes two settings of libcurl. An end of the connection without close_notify does not end an answer (RFC 9112
  /// section 9.8), but libcurl makes OpenSSL accept it: without that setting OpenSSL reports an error, or at least does
  /// not note a close_notify. Libcurl also resumes sessions by ticket in TLS 1.3 only, but many providers keep no TLS
  /// 1.2 sessions in any other way.
  private static func setUpTLS(_ context: UnsafeMutableRawPointer?) {
    if let context { tg_ssl_require_goodbye_and_use_tickets(OpaquePointer(context)) }
  }

  private func openSocket(_ family: Int32, _ type: Int32, _ proto: Int32) -> Int32 {
    #if canImport(Glibc)
      let descriptor = socket(family, type | Int32(SOCK_CLOEXEC.rawValue), proto)
    #else
      let descriptor = socket(family, type, proto)
      if descriptor >= 0 { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
    #endif
    guard descriptor >= 0 else {
      socketRefused = errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM
      return -1
    }
    upstream._withUnsafeGuaranteedRef { $0.adoptSocket(descriptor) }
    return descriptor
  }
}

/// Carries a call over the wire: a transfer of libcurl's, or a connection that libcurl opened and we use.
class CallCarrier {
  /// The most reads in one event, so that no provider holds up the others.
  static let readsPerEvent = 8

  /// The call that it carries; nil while it is spare.
  var call: CurlCall?
  /// Its place in the upstream's list of active carriers.
  var activeIndex = 0

  /// While it has no connection: when it stops waiting for one, in nanoseconds of the loop's clock.
  var connectDeadline = UInt64.max

  var headComplete: Bool { false }
  var requestMayHaveArrived: Bool { false }
  /// True where the whole request has been sent, as far as is known.
  var requestWasSent: Bool { requestMayHaveArrived }
  /// The number of the event that has left it without a connection at its `connectDeadline`.
  var connectEvent: UInt64? { nil }

  /// The descriptor of its own connection is ready.
  func ready(_ readiness: Readiness) {}

  /// Libcurl has ended its transfer, or the connecting.
  func libcurlFinished(_ code: CURLcode) {}
  /// The call is cancelled: the provider must notice at once.
  func abandon() {}
  /// Libcurl and the events have returned: does what the call asks for now.
  func review(_ call: CurlCall) {}
}

/// An option that libcurl did not accept, or a request that cannot be sent as it is.
struct TransferSetupFailure: Error {
  var option: String
  var code: CURLcode

  var failure: UpstreamFailure {
    UpstreamFailure(
      kind: .local, detail: "\(option): \(String(cString: curl_easy_strerror(code)))", requestMayHaveArrived: false)
  }
}
