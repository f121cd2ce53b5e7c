// One reusable easy handle: the options that never change are set once, the rest per call.
//
// Promises: nothing is sent but what the request holds; the answer's bytes reach the call unchanged, copied once;
// a request that may have reached the provider is never sent twice unless its method is idempotent.
import CCurl
import EventLoop
import HTTPMessage

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

final class CurlTransfer {
  /// Above this, libcurl sends a body through its upload buffer instead of beside the head.
  static let largeBody = 60 << 10
  private static let smallUploadBuffer = 16 << 10
  private static let largeUploadBuffer = 512 << 10

  let easy: UnsafeMutableRawPointer
  private let upstream: Unmanaged<CurlUpstream>
  private let maxHeaderBytes: Int
  private let errorText: UnsafeMutablePointer<CChar>
  private let parsedURL: OpaquePointer

  /// Whom it works for; nil while it is spare.
  private(set) var call: CurlCall?
  unowned let pool: ProviderPool
  /// Where it runs; nil while it is spare.
  var shard: CurlShard?
  /// Its place in the upstream's list of running transfers.
  var activeIndex = 0

  // What libcurl reads until the transfer is done.
  private var body: [UInt8] = []
  private let fieldList = RequestFieldList()

  // What the handle was told last, so that it is only told what changed.
  private var url = ""
  private var method = ""
  private var sendsBody = false
  private var connectMilliseconds = -1
  private var uploadBuffer = 0

  // Of the call under way.
  private var head = ResponseHeadReader()
  private var timesSent = 0
  private var vetoedResend = false
  private var socketRefused = false
  private var malformed: String?
  private var isIdempotent = false

  var headComplete: Bool { head.isComplete }

  init(upstream: CurlUpstream, pool: ProviderPool) throws(TransferSetupFailure) {
    guard let easy = curl_easy_init() else {
      throw TransferSetupFailure(option: "curl_easy_init", code: CURLE_FAILED_INIT)
    }
    guard let parsedURL = curl_url() else {
      curl_easy_cleanup(easy)
      throw TransferSetupFailure(option: "curl_url", code: CURLE_OUT_OF_MEMORY)
    }
    self.easy = easy
    self.parsedURL = parsedURL
    self.upstream = .passUnretained(upstream)
    self.pool = pool
    maxHeaderBytes = pool.settings.maxHeaderBytes
    errorText = .allocate(capacity: Int(CURL_ERROR_SIZE))
    errorText[0] = 0
    try configure(upstream, pool)
  }

  deinit {
    curl_easy_cleanup(easy)
    curl_url_cleanup(parsedURL)
    errorText.deallocate()
  }

  private func set(_ option: CURLoption, _ value: Int) throws(TransferSetupFailure) {
    try check(tg_curl_set_long(easy, option, value), "\(option.rawValue)")
  }

  private func set(_ option: CURLoption, text: String) throws(TransferSetupFailure) {
    try check(tg_curl_set_text(easy, option, text), "\(option.rawValue)")
  }

  private func check(_ code: CURLcode, _ option: @autoclosure () -> String) throws(TransferSetupFailure) {
    guard code == CURLE_OK else { throw TransferSetupFailure(option: option(), code: code) }
  }

  /// Everything that holds for each call to this provider.
  private func configure(_ upstream: CurlUpstream, _ pool: ProviderPool) throws(TransferSetupFailure) {
    let context = Unmanaged.passUnretained(self).toOpaque()
    try check(tg_curl_set_pointer(easy, CURLOPT_PRIVATE, context), "private")
    try check(tg_curl_set_pointer(easy, CURLOPT_ERRORBUFFER, errorText), "error buffer")
    try check(tg_curl_set_pointer(easy, CURLOPT_SHARE, UnsafeRawPointer(upstream.share)), "share")
    try set(CURLOPT_NOSIGNAL, 1)
    // A cancelled call must not wait for getaddrinfo to come back.
    try set(CURLOPT_QUICK_EXIT, 1)
    try set(CURLOPT_PROTOCOLS_STR, text: "http,https")
    try set(CURLOPT_PATH_AS_IS, 1)
    try set(CURLOPT_HTTP_CONTENT_DECODING, 0)
    try set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1)
    try set(CURLOPT_TCP_KEEPALIVE, 1)
    try set(CURLOPT_BUFFERSIZE, 16 << 10)
    if let caFile = pool.settings.caFile { try set(CURLOPT_CAINFO, text: caFile) }
    if let proxy = pool.proxy {
      try set(CURLOPT_PROXY, text: proxy)
      // Without a proxy there is nothing to be excepted from, and no need to ask the environment.
      if proxy.isEmpty { try set(CURLOPT_NOPROXY, text: "") }
    }
    switch pool.settings.httpVersion {
    case .http1_1: try set(CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1)
    case .http2OverTLS:
      try set(CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_2TLS)
      try set(CURLOPT_PIPEWAIT, 1)
    }
    try check(
      tg_curl_set_body_sink(
        easy,
        { bytes, _, count, context in
          guard let bytes, let context else { return 0 }
          return Unmanaged<CurlTransfer>.fromOpaque(context)._withUnsafeGuaranteedRef { transfer in
            bytes.withMemoryRebound(to: UInt8.self, capacity: count) {
              transfer.receivedBody(UnsafeBufferPointer(start: $0, count: count))
            }
          }
        }, context), "body sink")
    try check(
      tg_curl_set_header_sink(
        easy,
        { bytes, _, count, context in
          guard let bytes, let context else { return 0 }
          return Unmanaged<CurlTransfer>.fromOpaque(context)._withUnsafeGuaranteedRef { transfer in
            bytes.withMemoryRebound(to: UInt8.self, capacity: count) {
              transfer.receivedHeader(UnsafeBufferPointer(start: $0, count: count))
            }
          }
        }, context), "header sink")
    try check(
      tg_curl_set_before_request(
        easy,
        { context, _, _, _, _ in
          guard let context else { return CURL_PREREQFUNC_ABORT }
          return Unmanaged<CurlTransfer>.fromOpaque(context)._withUnsafeGuaranteedRef { $0.mayBeSent() }
            ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT
        }, context), "before request")
    try check(
      tg_curl_set_open_socket(
        easy,
        { context, _, address in
          guard let context, let address else { return -1 }
          return Unmanaged<CurlTransfer>.fromOpaque(context)._withUnsafeGuaranteedRef { transfer in
            transfer.openSocket(address.pointee.family, address.pointee.socktype, address.pointee.protocol)
          }
        }, context), "open socket")
    // A connection outlives the transfer that opened it, so closing goes to the upstream.
    try check(
      tg_curl_set_close_socket(
        easy,
        { context, descriptor in
          guard let context else { return 1 }
          Unmanaged<CurlUpstream>.fromOpaque(context)._withUnsafeGuaranteedRef { $0.closeSocket(descriptor) }
          return 0
        }, Unmanaged.passUnretained(upstream).toOpaque()), "close socket")
  }

  // MARK: a call's life

  /// Takes up a call; the handle is ready to be added to its shard.
  func prepare(_ call: CurlCall, _ request: UpstreamRequest) throws(TransferSetupFailure) {
    guard fieldList.fill(request.fields) else {
      throw TransferSetupFailure(option: "a request header field", code: CURLE_BAD_FUNCTION_ARGUMENT)
    }
    errorText[0] = 0
    head.reset()
    timesSent = 0
    vetoedResend = false
    socketRefused = false
    malformed = nil
    isIdempotent = Self.isIdempotent(request.method)
    if url != request.url { try setURL(request.url) }
    body = request.body
    try check(tg_curl_set_pointer(easy, CURLOPT_HTTPHEADER, fieldList.head), "headers")
    try setMethod(request.method)
    let wanted = request.timeouts.connect.map { Int(max(1, min($0.wholeNanoseconds / 1_000_000, 1 << 30))) } ?? 1 << 30
    if wanted != connectMilliseconds {
      try set(CURLOPT_CONNECTTIMEOUT_MS, wanted)
      connectMilliseconds = wanted
    }
    self.call = call
  }

  /// Parsed here once, so that libcurl need not parse and print it again for each call to the same place.
  private func setURL(_ text: String) throws(TransferSetupFailure) {
    url = ""
    let code = curl_url_set(parsedURL, CURLUPART_URL, text, UInt32(CURLU_PATH_AS_IS))
    guard code == CURLUE_OK else { throw TransferSetupFailure(option: "the URL", code: CURLE_URL_MALFORMAT) }
    try set(CURLOPT_URL, text: text)
    try check(tg_curl_set_pointer(easy, CURLOPT_CURLU, UnsafeRawPointer(parsedURL)), "URL")
    url = text
  }

  private func setMethod(_ wanted: String) throws(TransferSetupFailure) {
    // POST, PUT and PATCH say `Content-Length: 0` where the body is empty (RFC 9110 section 8.6); others say nothing.
    let withBody = !body.isEmpty || wanted == "POST" || wanted == "PUT" || wanted == "PATCH"
    if wanted != method || withBody != sendsBody {
      if withBody {
        try set(CURLOPT_POST, 1)
        try check(tg_curl_set_text(easy, CURLOPT_CUSTOMREQUEST, wanted == "POST" ? nil : wanted), "method")
      } else if wanted == "HEAD" {
        try set(CURLOPT_NOBODY, 1)
        try check(tg_curl_set_text(easy, CURLOPT_CUSTOMREQUEST, nil), "method")
      } else {
        try set(CURLOPT_HTTPGET, 1)
        try check(tg_curl_set_text(easy, CURLOPT_CUSTOMREQUEST, wanted == "GET" ? nil : wanted), "method")
      }
      method = wanted
      sendsBody = withBody
    }
    guard withBody else { return }
    // The array's storage stays where it is as long as `body` holds it unchanged, which `finish` ends after libcurl
    // let go.
    let start = body.withUnsafeBufferPointer { $0.baseAddress.map { UnsafeRawPointer($0) } }
    try check(tg_curl_set_size(easy, CURLOPT_POSTFIELDSIZE_LARGE, curl_off_t(body.count)), "body size")
    try check(tg_curl_set_pointer(easy, CURLOPT_POSTFIELDS, start ?? UnsafeRawPointer(errorText)), "body")
    try setUploadBuffer(body.count > Self.largeBody ? Self.largeUploadBuffer : Self.smallUploadBuffer)
  }

  private func setUploadBuffer(_ bytes: Int) throws(TransferSetupFailure) {
    guard bytes != uploadBuffer else { return }
    try set(CURLOPT_UPLOAD_BUFFERSIZE, bytes)
    uploadBuffer = bytes
  }

  private static func isIdempotent(_ method: String) -> Bool {
    switch method {
    case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE": true
    default: false
    }
  }

  /// Once the answer's head is here a sent body is not needed again: gives its memory back, and that of the upload
  /// buffer.
  func releaseSentBody() {
    guard body.count > 0, head.isComplete,
      tg_curl_get_size(easy, CURLINFO_SIZE_UPLOAD_T) >= curl_off_t(body.count)
    else { return }
    body = []
    // Setting its size is what frees the upload buffer.
    if uploadBuffer > Self.smallUploadBuffer { try? setUploadBuffer(Self.smallUploadBuffer) }
  }

  /// Lets go of the call; libcurl must have let go of the handle.
  func finish() {
    call = nil
    body = []
    head.reset()
    if uploadBuffer > Self.smallUploadBuffer { try? setUploadBuffer(Self.smallUploadBuffer) }
  }

  /// How libcurl's result reads for the call.
  func ending(_ code: CURLcode) -> UpstreamEnding {
    if code == CURLE_OK, head.isComplete, malformed == nil { return .completed }
    return .failed(
      transferFailure(
        code,
        TransferProgress(
          reachedRequest: timesSent > 0, sentBytes: sentBytes, answerBegan: head.hasBegun,
          headComplete: head.isComplete,
          socketRefused: socketRefused, malformed: malformed, vetoedResend: vetoedResend,
          message: String(cString: errorText))))
  }

  var requestMayHaveArrived: Bool { timesSent > 0 && sentBytes > 0 }
  private var sentBytes: Int { tg_curl_get_long(easy, CURLINFO_REQUEST_SIZE) }

  // MARK: libcurl calls

  private func mayBeSent() -> Bool {
    timesSent += 1
    guard timesSent > 1, !isIdempotent, sentBytes > 0 else { return true }
    vetoedResend = true
    return false
  }

  private func receivedHeader(_ line: UnsafeBufferPointer<UInt8>) -> Int {
    guard let call, !call.isCancelled else { return Int(CURL_WRITEFUNC_ERROR) }
    switch head.take(line, limit: maxHeaderBytes) {
    case .more: break
    case .malformed(let why):
      malformed = why
      return Int(CURL_WRITEFUNC_ERROR)
    case .complete:
      if body.count > Self.smallUploadBuffer { upstream._withUnsafeGuaranteedRef { $0.reviewLater(call) } }
      call.deliver(head.makeHead())
    }
    return line.count
  }

  private func receivedBody(_ bytes: UnsafeBufferPointer<UInt8>) -> Int {
    guard let call, !call.isCancelled, head.isComplete else { return Int(CURL_WRITEFUNC_ERROR) }
    if call.wantsPause {
      // Libcurl goes on reading for a hundred buffers; this stops it now. It keeps these bytes and gives them again
      // on resume.
      call.isPaused = true
      return Int(CURL_WRITEFUNC_PAUSE)
    }
    call.deliver(Array(bytes)[...])
    return bytes.count
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

/// An option that libcurl would not take, or a request that cannot be sent as it is.
struct TransferSetupFailure: Error {
  var option: String
  var code: CURLcode

  var failure: UpstreamFailure {
    UpstreamFailure(
      kind: .local, detail: "\(option): \(String(cString: curl_easy_strerror(code)))", requestMayHaveArrived: false)
  }
}
