// The provider's side as the broker sees it. UpstreamHTTP implements `Upstream`; tests implement it in memory.
//
// The rules. All calls come on the loop's thread. For each call that was begun, the events get at most one
// `upstreamResponded`, then any number of `upstreamReceived`, then exactly one `upstreamEnded`. After `cancel()` there
// are no more events. No event is delivered inside `begin`, `pause`, `resume` or `cancel`.

/// One attempt, ready to be sent.
public struct UpstreamRequest: Sendable {
  /// Names the connection pool and settings: the provider's id.
  public var provider: String
  public var method: String
  /// An absolute URL: `https://api.openai.com/v1/chat/completions?x=y`. It is sent as it is, with dots and escapes
  /// untouched.
  public var url: String
  /// All fields to send, in order, with the credential. Without `Host`, `Content-Length` and hop-by-hop fields, which
  /// the adapter makes.
  public var fields: HeaderFields
  public var body: [UInt8]
  public var timeouts: UpstreamTimeouts

  public init(
    provider: String, method: String, url: String, fields: HeaderFields, body: [UInt8], timeouts: UpstreamTimeouts
  ) {
    self.provider = provider
    self.method = method
    self.url = url
    self.fields = fields
    self.body = body
    self.timeouts = timeouts
  }
}

/// Timeouts; `nil` means none.
public struct UpstreamTimeouts: Sendable, Equatable {
  /// TCP, TLS and proxy handshakes.
  public var connect: Duration?
  /// From begin to the response head.
  public var firstByte: Duration?
  /// Silence within the body. Time while we pause the provider does not count.
  public var idle: Duration?
  /// The whole attempt.
  public var total: Duration?

  public init(connect: Duration?, firstByte: Duration?, idle: Duration?, total: Duration?) {
    self.connect = connect
    self.firstByte = firstByte
    self.idle = idle
    self.total = total
  }
}

/// How an attempt ended.
public enum UpstreamEnding: Sendable, Equatable {
  /// The response is complete by its own framing.
  case completed
  case failed(UpstreamFailure)
}

/// Why an attempt failed: the closed set from which verdicts are made.
public struct UpstreamFailure: Error, Sendable, Equatable {
  public enum Kind: String, Sendable, CaseIterable {
    case resolveFailed = "resolve_failed"
    case connectRefused = "connect_refused"
    case connectTimedOut = "connect_timed_out"
    case tlsFailed = "tls_failed"
    case proxyFailed = "proxy_failed"
    /// The connection broke before any byte of the response.
    case resetBeforeResponse = "reset_before_response"
    /// The connection broke, or the framing ended early, after the head.
    case truncated = "truncated"
    case firstByteTimedOut = "first_byte_timed_out"
    case idleTimedOut = "idle_timed_out"
    case totalTimedOut = "total_timed_out"
    /// Not HTTP, endless headers, a second head, a bad chunk.
    case malformedResponse = "malformed_response"
    /// Out of memory or descriptors; ours, not the provider's.
    case local = "local"
  }
  public var kind: Kind
  /// For logs and error texts; never holds a secret or a header value.
  public var detail: String
  /// True where the provider can have seen the request: a retry may then run it twice.
  public var requestMayHaveArrived: Bool
  /// True where the whole request was sent and the provider had the time to work on it: then it charges for the
  /// request, even without an answer.
  public var requestWasSent: Bool
  /// The same number for all calls that one event has broken, such as the end of the connection that they shared; nil where it broke this
  /// call alone.
  public var event: UInt64?

  public init(
    kind: Kind, detail: String, requestMayHaveArrived: Bool, requestWasSent: Bool = false, event: UInt64? = nil
  ) {
    self.kind = kind
    self.detail = detail
    self.requestMayHaveArrived = requestMayHaveArrived
    self.requestWasSent = requestWasSent
    self.event = event
  }
}

/// One attempt under way.
public protocol UpstreamCall: AnyObject {
  /// True once the provider can have seen the request; false while the connection is being opened.
  var requestMayHaveArrived: Bool { get }
  /// True once all of the request went out.
  var requestWasSent: Bool { get }
  /// Stops reading from the provider; at most the bytes in socket buffers still come.
  func pause()
  func resume()
  /// Ends the attempt now: an HTTP/1.1 connection is closed, so that the provider notices at once.
  func cancel()
}

public protocol UpstreamEvents: AnyObject {
  func upstreamResponded(_ head: ResponseHead)
  func upstreamReceived(_ bytes: ArraySlice<UInt8>)
  func upstreamEnded(_ ending: UpstreamEnding)
  /// The request goes out once more after the connection ended that had taken all of it: the provider may have counted it
  /// twice. Before any other event.
  func upstreamSentAgain()
}

extension UpstreamEvents {
  public func upstreamSentAgain() {}
}

public protocol Upstream: AnyObject {
  /// Begins an attempt; `events` is retained until the attempt has ended or was cancelled.
  func begin(_ request: UpstreamRequest, events: any UpstreamEvents) -> any UpstreamCall
}
