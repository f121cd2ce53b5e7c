// One HTTP/2 stream: a request that is assembled from header callbacks and DATA frames, and its answer.
import HTTP1Codec
import HTTPMessage

final class HTTP2Exchange: HTTPExchange, ArrivingBody {
  /// The state of the answer.
  enum Phase {
    case waiting
    /// The head was given to nghttp2; `left` counts down a `content-length`, nil where there is none. `isBodiless`:
    /// HEAD, 204, 304.
    case streaming(left: Int?, isBodiless: Bool)
    case finished
    case aborted
    case ended
  }

  let streamID: Int32
  let peer: String
  private(set) var head = RequestHead(method: "", target: "", version: .http2)
  var context: (any AnyObject)?
  var connectionContext: AnyObject? {
    get { session?.connectionContext }
    set { session?.connectionContext = newValue }
  }
  private(set) var received = BodyBuffer()
  /// Head and body in the account of memory.
  private var share: MemoryShare
  private let memory: MemoryAccount
  /// True where the body is no longer needed.
  private var isReleased = false
  /// Bytes that came and for which the client's window has not been opened again.
  var withheld = 0
  /// The most bytes that the client may send within its window.
  private(set) var promised = 0
  var wait = BodyWait()
  private var urgency: Bool?
  var phase = Phase.waiting
  /// The answer's bytes that nghttp2 has not framed yet.
  let queue = OutputQueue()
  var trailers: HeaderFields?
  /// True while nghttp2 waits for `nghttp2_session_resume_data`.
  var isDeferred = false
  var isAboveLowWater = false
  var isHeadComplete = false
  var isRequestComplete = false
  /// True once the handler has got `exchangeBegan`.
  var hasBegun = false
  var contentLength: Int?
  var expectsContinue = false
  var headBytes = 0
  var headFields = 0
  /// Set while the head is read; answered when it is complete, since header compression needs every field to be read.
  var refusal: RequestRefusal?
  var start: UInt64
  var lastBodyByte: UInt64
  /// When the client last took bytes of the answer.
  var lastProgress: UInt64
  /// nil once the exchange has ended.
  private var session: HTTP2Session?

  private var method = ""
  private var path: String?
  private var authority: String?
  /// The fields as lines, in the form of `HeaderFields`.
  private var lines: [UInt8] = []
  private var lengths: [(name: Int, value: Int)] = []

  init(_ session: HTTP2Session, streamID: Int32, peer: String, now: UInt64, memory: MemoryAccount) {
    self.session = session
    self.memory = memory
    share = MemoryShare(memory, .bodies)
    self.streamID = streamID
    self.peer = peer
    start = now
    lastBodyByte = now
    lastProgress = now
  }

  deinit {
    promise(0)
    share.resize(to: 0)
  }

  // MARK: The body while it comes

  /// Counts the memory of the head, which is complete and stays until the end.
  func countHead() { share.resize(to: headBytes) }

  /// Notes that the client's window is `bytes`.
  func promise(_ bytes: Int) {
    memory.promise(bytes - promised)
    promised = bytes
  }

  /// Takes at most `count` bytes of the body, which `fill` writes into the space that it gets.
  func receive(_ count: Int, _ fill: (inout OutputSpan<UInt8>) -> Void) {
    received.append(count, expecting: contentLength.map { $0 - received.count }, fill)
    share.resize(to: headBytes + received.count)
  }

  var takesBody: Bool { isWaiting && !isReleased }
  var startedAt: UInt64 { start }
  var taken: Int { received.count }
  var missing: Int { session?.missing(of: self) ?? 0 }
  var isArriving: Bool { takesBody && hasBegun && !isRequestComplete }
  /// True where at least half of the client's window is closed.
  var isStuck: Bool { 2 * withheld >= promised }
  var isUrgent: Bool {
    if let urgency { return urgency }
    let known = session?.isUrgent(self) ?? false
    urgency = known
    return known
  }
  func goOn() { session?.goOn(self) }
  func giveWay() { session?.crowded(self) }

  // MARK: Request head

  /// Takes one field: `write` appends it as a line, `name: value` with CR and LF. nghttp2 has checked both, and the order of pseudo
  /// fields.
  func takeField(nameLength: Int, valueLength: Int, limits: EndpointLimits, _ write: (inout [UInt8]) -> Void) {
    headBytes += nameLength + valueLength
    guard refusal == nil else { return }
    guard headBytes <= limits.headerBytes else {
      refusal = .headTooLarge("the head of the request is larger than \(limits.headerBytes) bytes")
      lines = []
      lengths = []
      return
    }
    if lines.isEmpty {
      lines.reserveCapacity(512)
      lengths.reserveCapacity(16)
    }
    let start = lines.count
    write(&lines)
    if nameLength > 0, lines[start] == UInt8(ascii: ":") {
      let value = lines[(start + nameLength + 2)..<(start + nameLength + 2 + valueLength)]
      switch nameLength {
      case 7 where lines[start + 1] == UInt8(ascii: "m"): method = String(decoding: value, as: UTF8.self)
      case 5: path = String(decoding: value, as: UTF8.self)
      case 10: authority = String(decoding: value, as: UTF8.self)
      default: break
      }
      lines.removeLast(lines.count - start)
      return
    }
    headFields += 1
    guard headFields <= limits.headerFields else {
      refusal = .headTooLarge("the request has more than \(limits.headerFields) fields")
      lines.removeLast(lines.count - start)
      return
    }
    lengths.append((nameLength, valueLength))
  }

  /// Makes `head` from the gathered fields, and finds a reason to refuse the request.
  func completeHead(limits: EndpointLimits) {
    isHeadComplete = true
    var fields = HeaderFields(block: lines, fields: lengths.count)
    var start = 0
    for length in lengths {
      let value = start + length.name + 2
      fields.append(nameAt: start..<start + length.name, valueAt: value..<value + length.value)
      start = value + length.value + 2
    }
    head = RequestHead(
      method: method, target: path ?? "", authority: authority ?? "", fields: fields, version: .http2)
    lines = []
    lengths = []
    guard refusal == nil else { return }
    if authority == nil, let host = head.fields.first("host") { head.authority = host }
    if let index = head.fields.firstIndex(of: "content-length") {
      contentLength = ByteSyntax.decimal(head.fields.valueBytes(at: index))
    }
    if let index = head.fields.firstIndex(of: "expect") {
      expectsContinue = FieldSyntax.equal(head.fields.valueBytes(at: index), "100-continue")
    }
    let first = head.target.utf8.first
    if method == "CONNECT" || method == "TRACE" || method.utf8.count > 32 {
      refusal = .unsupported(RequestHeadParser.unsupportedMethod)
    } else if first != UInt8(ascii: "/"), !(first == UInt8(ascii: "*") && method == "OPTIONS") {
      refusal = .malformed("the :path is not a path")
    } else if !head.target.utf8.allSatisfy({ ByteSyntax.target.contains($0) }) {
      refusal = .malformed("the :path holds a byte that paths may not have")
    } else if let contentLength, contentLength > limits.bodyBytes {
      refusal = .bodyTooLarge(limit: limits.bodyBytes)
    }
  }

  // MARK: HTTPExchange

  func detach() {
    phase = .ended
    promise(0)
    session = nil
  }

  var body: [UInt8] { received.bytes }
  /// Bytes that nghttp2 has framed but the socket has not taken are not counted; they are at most 64 KiB for all
  /// streams together.
  var pendingBytes: Int { queue.pending }
  var isWaiting: Bool { if case .waiting = phase { true } else { false } }
  var isClosed: Bool {
    switch phase {
    case .waiting, .streaming: false
    case .finished, .aborted, .ended: true
    }
  }

  func releaseBody() {
    received.release()
    isReleased = true
    promise(0)
    share.resize(to: min(share.bytes, headBytes))
  }

  /// The exchange is over: gives all its memory back.
  func forget() {
    releaseBody()
    share.resize(to: 0)
    context = nil
  }

  func countBody(as use: MemoryAccount.Use) { share.move(to: use) }
  func respond(_ head: ResponseHead) { session?.respond(self, head) }
  func send(_ bytes: ArraySlice<UInt8>) { session?.send(self, bytes) }
  func finish(trailers: HeaderFields?) { session?.finish(self, trailers) }
  func abort() { session?.abort(self) }
}
