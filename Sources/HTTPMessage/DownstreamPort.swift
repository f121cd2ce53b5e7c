// The client's side as the broker, the console and the simulator see it: one object per exchange, the same for all HTTP
// versions. HTTPEndpoint implements `HTTPExchange`; a component that answers requests implements `HTTPHandler`.
//
// The rules. All calls come on the loop's thread. For each exchange the handler sees, in this order: `exchangeBegan`
// once; then `exchangeReady` once, unless it answered or the client left before the body was complete;
// `exchangeDrained` any number of times; `exchangeEnded` exactly once, last, whatever happened. A handler may answer
// inside any of these calls or at any later time. It never gets bytes beyond a limit: where the handler knows the
// request, `exchangeRefused` is called; other requests are answered by the endpoint, in the form that
// `HTTPHandler.refusal` gives.

/// One request and its answer, from the server's side.
public protocol HTTPExchange: AnyObject {
  var head: RequestHead { get }
  /// The whole request body; complete when `exchangeReady` is called, with transfer codings removed. Content codings stay.
  var body: [UInt8] { get }
  /// For the handler's use: its own object for this exchange.
  var context: AnyObject? { get set }
  /// For the handler's use: its own object for the connection that the exchange came on; freed with the connection.
  var connectionContext: AnyObject? { get set }
  /// Bytes given to `send` that have not reached the socket.
  var pendingBytes: Int { get }
  /// True once the answer can no longer be sent: client left, or the answer is complete.
  var isClosed: Bool { get }
  /// The client's address for logs: `127.0.0.1:53122`, `unix`.
  var peer: String { get }

  /// Frees the memory of the request's body; the broker calls this when no retry can need the body. Bytes that still
  /// come are dropped.
  func releaseBody()
  /// Moves the body to another use in the account of memory.
  func countBody(as use: MemoryAccount.Use)
  /// Starts the answer. Fields that frame a message (`connection`, `transfer-encoding`, `keep-alive`) are the
  /// endpoint's own and must not be in `head`; a `content-length` in it is trusted and checked. Without one, HTTP/1.1
  /// answers are chunked. With HEAD, 204 and 304 no body is sent, even if `send` is called.
  func respond(_ head: ResponseHead)
  /// Appends to the body. Never blocks; look at `pendingBytes` and wait for `exchangeDrained`.
  func send(_ bytes: ArraySlice<UInt8>)
  /// Completes the answer. `trailers` reach HTTP/2 clients, and HTTP/1.1 ones that sent `TE: trailers` and get a chunked answer.
  func finish(trailers: HeaderFields?)
  /// Breaks the answer off so that the client sees it as incomplete: RST_STREAM, or the connection closed.
  func abort()
}

extension HTTPExchange {
  public func countBody(as use: MemoryAccount.Use) {}
  public func send(_ bytes: [UInt8]) { send(bytes[...]) }
  /// A whole answer at once; adds `content-length`.
  public func respond(status: Int, fields: [(name: String, value: String)], body: [UInt8]) {
    var list = HeaderFields(fields)
    list.append(name: "content-length", value: String(body.count))
    respond(ResponseHead(status: status, fields: list))
    send(body[...])
    finish(trailers: nil)
  }
}

/// How an exchange ended, for its handler.
public enum ExchangeEnding: Sendable, Equatable {
  /// The whole answer was handed to the socket.
  case completed
  /// The client closed or reset; what was still to be sent is lost.
  case clientLeft
  /// The handler called `abort`, or the endpoint is shutting down.
  case aborted
}

/// Why the handler does not get a request in full.
public enum RequestRefusal: Sendable, Equatable {
  /// 400: broken syntax, smuggling attempts, bad framing. The text says what.
  case malformed(String)
  /// 408: head or body did not arrive in time.
  case timedOut(String)
  /// 413: body above the limit, in bytes.
  case bodyTooLarge(limit: Int)
  /// 431: too many or too long header fields.
  case headTooLarge(String)
  /// 501: a transfer coding or method that is not supported here.
  case unsupported(String)
  /// 503: too many connections.
  case overloaded(String)

  public var status: Int {
    switch self {
    case .malformed: 400
    case .timedOut: 408
    case .bodyTooLarge: 413
    case .headTooLarge: 431
    case .unsupported: 501
    case .overloaded: 503
    }
  }
}

/// Answers requests.
public protocol HTTPHandler: AnyObject {
  /// The head is complete. Answer now to refuse early (the body is then drained or the connection closed), or do nothing and wait.
  func exchangeBegan(_ exchange: any HTTPExchange)
  /// The body is complete.
  func exchangeReady(_ exchange: any HTTPExchange)
  /// `pendingBytes` fell below the low-water mark (64 KiB) after it had been above.
  func exchangeDrained(_ exchange: any HTTPExchange)
  /// The last call for this exchange.
  func exchangeEnded(_ exchange: any HTTPExchange, _ ending: ExchangeEnding)
  /// True for urgent exchanges: a small body may then use the memory that is reserved for urgent calls. Only the head
  /// is known when this is called.
  func isUrgent(_ exchange: any HTTPExchange) -> Bool
  /// There is no memory for the rest of the body: the handler must answer now.
  func exchangeCrowded(_ exchange: any HTTPExchange)
  /// The request exceeded a limit or broke its framing after its head: the handler must answer now. The rest is not
  /// read.
  func exchangeRefused(_ exchange: any HTTPExchange, _ refusal: RequestRefusal)
  /// The fields and the body of the endpoint's own error answer where there is no exchange. `target` is nil where the
  /// request line could not be read.
  func refusal(_ refusal: RequestRefusal, target: String?) -> (fields: [(name: String, value: String)], body: [UInt8])
}

extension HTTPHandler {
  public func exchangeRefused(_ exchange: any HTTPExchange, _ refusal: RequestRefusal) {
    let answer = self.refusal(refusal, target: exchange.head.target)
    exchange.respond(status: refusal.status, fields: answer.fields, body: answer.body)
  }
  public func isUrgent(_ exchange: any HTTPExchange) -> Bool { false }
  public func exchangeCrowded(_ exchange: any HTTPExchange) {
    let answer = refusal(.overloaded("there is no memory for the request's body"), target: exchange.head.target)
    exchange.respond(status: 503, fields: answer.fields + [(name: "retry-after", value: "5")], body: answer.body)
  }
}
