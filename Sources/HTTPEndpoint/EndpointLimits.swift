// The bounds of an endpoint. Each is enforced on HTTP/1.1 and HTTP/2 alike unless it says otherwise.

/// What a client may use of an endpoint, and for how long.
public struct EndpointLimits: Sendable {
  /// Bytes of a request's head: request line and all fields. Above: 431.
  public var headerBytes = 64 * 1024
  /// Fields of a request. Above: 431.
  public var headerFields = 128
  /// Bytes of a request's body, without transfer coding. Above: 413.
  public var bodyBytes = 32 << 20
  /// The most time from the first byte of a head to its last, and from accepting a connection to the end of the TLS
  /// handshake. Above: 408.
  public var headTimeout: Duration = .seconds(10)
  /// The longest silence within a request's body. Above: 408.
  public var bodyTimeout: Duration = .seconds(30)
  /// A body that takes longer than `bodyTimeout` must have come at this rate on average, in bytes per second. Below:
  /// 408.
  public var bodyBytesPerSecond = 256
  /// How long a body waits for memory before bodies give way.
  public var roomTimeout: Duration = .seconds(5)
  /// A connection without a request under way is closed after this.
  public var idleTimeout: Duration = .seconds(75)
  /// A client that takes none of the bytes which wait for it loses the connection (HTTP/1.1) or the stream (HTTP/2).
  public var writeTimeout: Duration = .seconds(120)
  /// How long an endpoint that refused a request goes on reading, so that the client sees the answer and not a reset.
  public var lingerTimeout: Duration = .seconds(5)
  /// Open connections of the whole server. Above: 503 and closed.
  public var maxConnections = 10_000
  /// True where one connection too many, or one for which no descriptor is left, is not refused, but replaces the
  /// connection that has been idle longest or, where none is idle, the one without progress for longest. For the
  /// operator's port, which must always answer.
  public var newestWins = false
  /// Descriptors kept back for this server's connections, for when the process has no others left.
  public var reservedDescriptors = 0
  /// HTTP/2: concurrent requests on one connection.
  public var streamsPerConnection = 256
  /// `exchangeDrained` comes when the pending bytes of an answer fall below this, in bytes.
  public var lowWater = 64 * 1024
  /// HTTP/1.1: bytes of further requests that are read while one is being answered; then reading stops.
  public var pipelinedBytes = 64 * 1024
  /// HTTP/1.1: where the answer came before the whole body, up to this many bytes of the rest are read and dropped, to
  /// keep the connection.
  public var drainedBytes = 256 * 1024
  /// HTTP/2: PING, SETTINGS, RST_STREAM, PRIORITY and empty frames that a connection may send at once, and per second.
  public var controlFrameBurst = 1_000
  public var controlFramesPerSecond = 200

  public init() {}
}
