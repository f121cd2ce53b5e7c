// One transfer that libcurl does itself, over HTTP/1.1: for calls through a proxy, or with a user in their URL. Options
// that never change are set once, the others per call.
//
// Promises: only what the request holds is sent; the answer's bytes reach the call unchanged, copied once; a request
// whose method is not idempotent is sent a second time only by the rule of `SecondSending`, and then once.
import CCurl
import EventLoop
import HTTP1Codec
import HTTPMessage

final class CurlTransfer: CallCarrier {
  /// Above this size, libcurl sends a body through its upload buffer instead of together with the head.
  static let largeBody = 60 << 10
  private static let smallUploadBuffer = 16 << 10
  private static let largeUploadBuffer = 512 << 10

  let handle: EasyHandle
  private unowned(unsafe) let upstream: CurlUpstream
  /// The owner; a pool goes only when none of its calls runs.
  private unowned let pool: ProviderPool
  private let maxHeaderBytes: Int
  private let parsedURL: OpaquePointer
  private var easy: UnsafeMutableRawPointer { handle.raw }

  /// The shard in which it runs; nil while it is spare.
  private(set) var shard: CurlShard?

  // The memory that libcurl reads until the transfer is done. It needs an address for an empty body too.
  private var body = UnsafeMutableRawBufferPointer.allocate(byteCount: 1, alignment: 1)
  private var bodyCount = 0
  private let fieldList = RequestFieldList()

  // The last settings of the handle, so that only changes are set.
  private var url = ""
  private var method = ""
  private var sendsBody = false
  private var uploadBuffer = 0

  // The state of the call under way.
  private var head = ResponseHeadReader()
  private var timesSent = 0
  /// When libcurl last began to send the request; it does not tell when the last byte was sent.
  private var sentSince: UInt64?
  private var vetoedResend = false
  private var malformed: String?
  private var isIdempotent = false

  override var headComplete: Bool { head.isComplete }
  override var requestMayHaveArrived: Bool { timesSent > 0 && sentBytes > 0 }
  override var requestWasSent: Bool { requestMayHaveArrived && uploadedAll }

  init(_ upstream: CurlUpstream, _ pool: ProviderPool) throws(TransferSetupFailure) {
    guard let parsedURL = curl_url() else {
      throw TransferSetupFailure(option: "curl_url", code: CURLE_OUT_OF_MEMORY)
    }
    do throws(TransferSetupFailure) {
      handle = try EasyHandle(upstream, pool)
    } catch {
      curl_url_cleanup(parsedURL)
      throw error
    }
    self.parsedURL = parsedURL
    self.upstream = upstream
    self.pool = pool
    maxHeaderBytes = pool.settings.maxHeaderBytes
    super.init()
    try configure()
  }

  deinit {
    // The handle still points to these, but it is idle, and its cleanup reads neither.
    curl_url_cleanup(parsedURL)
    body.deallocate()
  }

  private func set(_ option: CURLoption, _ value: Int) throws(TransferSetupFailure) { try handle.set(option, value) }

  private func check(_ code: CURLcode, _ option: @autoclosure () -> String) throws(TransferSetupFailure) {
    try handle.check(code, option())
  }

  /// Sets everything that is the same for each call to this provider.
  private func configure() throws(TransferSetupFailure) {
    let context = Unmanaged.passUnretained(self).toOpaque()
    try handle.serve(self)
    try set(CURLOPT_HTTP_CONTENT_DECODING, 0)
    try set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1)
    try set(CURLOPT_BUFFERSIZE, 16 << 10)
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
  }

  // MARK: a call's life

  /// Takes up a call; the handle is ready to be added to its shard.
  func prepare(_ call: CurlCall, _ request: UpstreamRequest) throws(TransferSetupFailure) {
    guard fieldList.fill(request.fields) else {
      throw TransferSetupFailure(option: "a request header field", code: CURLE_BAD_FUNCTION_ARGUMENT)
    }
    handle.forget()
    head.reset()
    timesSent = 0
    sentSince = nil
    vetoedResend = false
    malformed = nil
    isIdempotent = isIdempotentMethod(request.method)
    if url != request.url { try setURL(request.url) }
    keepBody(request.body)
    try check(tg_curl_set_pointer(easy, CURLOPT_HTTPHEADER, fieldList.head), "headers")
    try setMethod(request.method)
    try handle.setConnectTimeout(request.timeouts.connect)
    try pool.prepareLookUp(of: "", with: handle)
    self.call = call
  }

  /// Parses the URL once, so that libcurl need not parse and print it for each call to the same URL.
  private func setURL(_ text: String) throws(TransferSetupFailure) {
    url = ""
    let code = curl_url_set(parsedURL, CURLUPART_URL, text, UInt32(CURLU_PATH_AS_IS))
    guard code == CURLUE_OK else { throw TransferSetupFailure(option: "the URL", code: CURLE_URL_MALFORMAT) }
    try handle.set(CURLOPT_URL, text: text)
    try check(tg_curl_set_pointer(easy, CURLOPT_CURLU, UnsafeRawPointer(parsedURL)), "URL")
    url = text
  }

  private func setMethod(_ wanted: String) throws(TransferSetupFailure) {
    // With an empty body, POST, PUT and PATCH send `Content-Length: 0` (RFC 9110 section 8.6); other methods do not.
    let withBody = bodyCount > 0 || wanted == "POST" || wanted == "PUT" || wanted == "PATCH"
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
    try check(tg_curl_set_size(easy, CURLOPT_POSTFIELDSIZE_LARGE, curl_off_t(bodyCount)), "body size")
    try check(tg_curl_set_pointer(easy, CURLOPT_POSTFIELDS, UnsafeRawPointer(body.baseAddress)), "body")
    try setUploadBuffer(bodyCount > Self.largeBody ? Self.largeUploadBuffer : Self.smallUploadBuffer)
  }

  /// Copies the body to memory of our own, which stays in place until libcurl no longer needs it. An array's storage is
  /// only guaranteed to stay during one call.
  private func keepBody(_ bytes: [UInt8]) {
    if body.count != max(1, bytes.count) {
      body.deallocate()
      body = .allocate(byteCount: max(1, bytes.count), alignment: 1)
    }
    bodyCount = bytes.count
    bytes.withUnsafeBytes { body.copyMemory(from: $0) }
  }

  private func setUploadBuffer(_ bytes: Int) throws(TransferSetupFailure) {
    guard bytes != uploadBuffer else { return }
    try set(CURLOPT_UPLOAD_BUFFERSIZE, bytes)
    uploadBuffer = bytes
  }

  /// Once the answer's head is here, a sent body is not needed again: frees its memory, and that of the upload buffer.
  private func releaseSentBody() {
    guard bodyCount > 0, head.isComplete, uploadedAll else { return }
    keepBody([])
    // Setting the upload buffer's size frees it.
    if uploadBuffer > Self.smallUploadBuffer { try? setUploadBuffer(Self.smallUploadBuffer) }
  }

  /// Starts in a shard with room.
  func begin() throws(TransferSetupFailure) {
    shard = try pool.start(handle, upstream)
  }

  override func libcurlFinished(_ code: CURLcode) {
    guard let call else { return }
    let ending = ending(code)
    if case .failed(let failure) = ending { pool.noteConnectFailure(failure, at: "") }
    upstream.detach(call)
    release()
    call.deliver(ending)
  }

  /// An unfinished transfer loses its connection.
  override func abandon() { release() }

  /// Removes the handle from libcurl and makes it spare.
  private func release() {
    guard let shard else { return }
    upstream.insideCurl { shard.remove(easy) }
    self.shard = nil
    keepBody([])
    head.reset()
    if uploadBuffer > Self.smallUploadBuffer { try? setUploadBuffer(Self.smallUploadBuffer) }
    pool.giveBack(self)
  }

  override func review(_ call: CurlCall) {
    if head.isComplete { releaseSentBody() }
    guard call.wantsPause != call.isPaused else { return }
    call.isPaused = call.wantsPause
    upstream.insideCurl { _ = curl_easy_pause(easy, call.isPaused ? CURLPAUSE_RECV : CURLPAUSE_CONT) }
    if !call.isPaused {
      call.noteResumed(at: upstream.now)
      if let shard { upstream.driveLater(shard) }
    }
  }

  /// Translates libcurl's result into the call's ending.
  private func ending(_ code: CURLcode) -> UpstreamEnding {
    if code == CURLE_OK, head.isComplete, malformed == nil { return .completed }
    return .failed(
      transferFailure(
        code,
        TransferProgress(
          reachedRequest: timesSent > 0, sentBytes: sentBytes, answerBegan: head.hasBegun,
          headComplete: head.isComplete,
          socketRefused: handle.socketRefused, malformed: malformed, vetoedResend: vetoedResend,
          hadTime: hadTime && (vetoedResend || uploadedAll),
          message: handle.message)))
  }

  private var sentBytes: Int { tg_curl_get_long(easy, CURLINFO_REQUEST_SIZE) }
  private var uploadedAll: Bool { tg_curl_get_size(easy, CURLINFO_SIZE_UPLOAD_T) >= curl_off_t(bodyCount) }
  /// As far as it is known: counted from the request's first byte.
  private var hadTime: Bool { upstream.hadTime(wholeAt: sentSince) }

  // MARK: libcurl calls

  private func mayBeSent() -> Bool {
    timesSent += 1
    if timesSent > 1, !isIdempotent, sentBytes > 0, timesSent > 2 || hadTime {
      vetoedResend = true
      return false
    }
    if timesSent > 1, !isIdempotent { call?.noteSentAgain(wholeAt: uploadedAll ? sentSince : nil) }
    sentSince = upstream.now
    return true
  }

  private func receivedHeader(_ line: UnsafeBufferPointer<UInt8>) -> Int {
    guard let call, !call.isCancelled else { return Int(CURL_WRITEFUNC_ERROR) }
    switch head.take(Array(line)[...], limit: maxHeaderBytes) {
    case .more: break
    case .malformed(let why):
      malformed = why
      return Int(CURL_WRITEFUNC_ERROR)
    case .complete:
      if bodyCount > Self.smallUploadBuffer { upstream.reviewLater(call) }
      call.deliver(head.makeHead())
    }
    return line.count
  }

  private func receivedBody(_ bytes: UnsafeBufferPointer<UInt8>) -> Int {
    guard let call, !call.isCancelled, head.isComplete else { return Int(CURL_WRITEFUNC_ERROR) }
    if call.wantsPause {
      // Otherwise libcurl would read up to a hundred more buffers. It keeps these bytes and delivers them again on
      // resume.
      call.isPaused = true
      return Int(CURL_WRITEFUNC_PAUSE)
    }
    call.deliver(Array(bytes)[...])
    return bytes.count
  }
}
