// What is kept per provider between calls: idle connections, libcurl's shards, spare handles.
import CCurl
import EventLoop
import HTTPMessage

/// The shards of one provider and the handles that wait for their next call.
final class ProviderPool {
  let settings: ProviderTransport
  /// The value of `CURLOPT_PROXY`; nil lets libcurl read the environment for each call.
  let proxy: String?
  /// An idle connection is closed after this many nanoseconds, before middleboxes forget it.
  static let patience: UInt64 = 110_000_000_000

  private(set) var shards: [CurlShard] = []
  /// Connections without a call; the most recently used one is the last.
  private var idle: [DirectConnection] = []
  private var connectors: [EasyHandle] = []
  private var destinations: [String: Destination] = [:]
  /// The last URL with its destination. Mostly it is asked for again, and comparing is cheaper than hashing.
  private var latest: (url: String, destination: Destination)?
  private var spare: [CurlTransfer] = []
  /// True where new settings have replaced the pool; it goes when its last call has ended.
  var isRetired = false

  init(_ settings: ProviderTransport, environmentNamesProxy: Bool) {
    self.settings = settings
    // Saves six look-ups in the environment per call where it names no proxy.
    proxy = settings.socketPath != nil ? "" : settings.proxy ?? (environmentNamesProxy ? nil : "")
  }

  /// True where we use connections ourselves that libcurl opens.
  var speaksDirectly: Bool { proxy == "" }

  // MARK: names that have moved

  /// Origins at which connecting failed with the remembered addresses; the empty text stands for a proxy.
  private var staleOrigins: Set<String> = []

  func noteConnectFailure(_ failure: UpstreamFailure, at origin: String) {
    switch failure.kind {
    case .connectRefused, .connectTimedOut:
      // A provider has few origins; more are made up by clients, and only lose the new look-up.
      if staleOrigins.count < 64 { staleOrigins.insert(origin) }
    default: break
    }
  }

  /// After a failure to connect, makes libcurl look the name up again.
  func prepareLookUp(of origin: String, with handle: EasyHandle) throws(TransferSetupFailure) {
    try handle.setLooksUpAnew(staleOrigins.remove(origin) != nil)
  }

  // MARK: HTTP/2

  private var multiplexers: [String: Multiplexer] = [:]

  /// The multiplexer for calls to this destination; nil where they may not use HTTP/2.
  func multiplexer(for destination: Destination, _ upstream: CurlUpstream) -> Multiplexer? {
    guard settings.httpVersion == .http2OverTLS, destination.isTLS else { return nil }
    if let known = multiplexers[destination.origin] { return known.isUsable ? known : nil }
    let new = Multiplexer(upstream, self, origin: destination.origin)
    multiplexers[destination.origin] = new
    return new
  }

  /// True where no call runs or waits.
  var isUnused: Bool { active == 0 && multiplexers.values.allSatisfy { $0.hasNoCalls } }

  /// The parsed URL, remembered for the next call; nil where only libcurl's own transfers can handle it.
  func destination(of url: String) throws(TransferSetupFailure) -> Destination? {
    if let latest, latest.url.hasSameBytes(as: url) { return latest.destination }
    // Swift takes some texts beyond ASCII for equal that have different bytes, so they are not looked up.
    guard url.utf8.allSatisfy({ $0 < 0x80 }) else { return try Destination(url) }
    if let known = destinations[url] {
      latest = (url, known)
      return known
    }
    guard let found = try Destination(url) else { return nil }
    // There are few paths; clients that make up paths must not fill the memory.
    if destinations.count >= 64 { destinations.removeAll() }
    destinations[url] = found
    return found
  }

  // MARK: connections of our own

  /// Takes the most recently used idle connection to this origin.
  func takeIdle(_ origin: String) -> DirectConnection? {
    while let index = idle.lastIndex(where: { $0.origin == origin }) {
      let connection = idle.remove(at: index)
      if connection.isStillOpen() { return connection }
      connection.close()
    }
    return nil
  }

  func keep(_ connection: DirectConnection) {
    idle.append(connection)
    if isRetired || idle.count > max(1, settings.maxIdleConnections) { idle.removeFirst().close() }
  }

  /// Removes a connection that closed while idle.
  func drop(_ connection: DirectConnection) {
    if let index = idle.firstIndex(where: { $0 === connection }) { idle.remove(at: index) }
  }

  /// Closes the idle connections to this origin that have been idle since `since` or longer.
  func dropIdle(_ origin: String, since: UInt64) {
    idle.removeAll { connection in
      guard connection.origin == origin, connection.idleSince <= since else { return false }
      connection.close()
      return true
    }
  }

  /// Makes libcurl open a connection for the carrier, which is told by `libcurlFinished`.
  /// - Parameter offersHTTP2: true where ALPN offers HTTP/2 beside HTTP/1.1.
  func dial(
    _ origin: String, for carrier: CallCarrier, _ upstream: CurlUpstream, offersHTTP2: Bool = false,
    within timeout: Duration?
  ) throws(TransferSetupFailure) -> DialedConnection {
    let handle: EasyHandle
    if !offersHTTP2, let connector = connectors.popLast() {
      handle = connector
    } else {
      handle = try EasyHandle(upstream, self, offersHTTP2: offersHTTP2)
      // Once: after a failure to connect, libcurl keeps the buffer and accepts no other size.
      try handle.set(CURLOPT_CONNECT_ONLY, 1)
      try handle.set(CURLOPT_BUFFERSIZE, 1024)
    }
    handle.forget()
    try handle.set(CURLOPT_URL, text: origin)
    try handle.setConnectTimeout(timeout)
    try prepareLookUp(of: origin, with: handle)
    try handle.serve(carrier)
    return DialedConnection(handle: handle, shard: try start(handle, upstream))
  }

  func giveBack(_ connector: EasyHandle) {
    if connectors.count < 8, !isRetired { connectors.append(connector) }
  }

  /// Hands a prepared handle to libcurl, in the first shard with room.
  func start(_ handle: EasyHandle, _ upstream: CurlUpstream) throws(TransferSetupFailure) -> CurlShard {
    guard let shard = shardWithRoom(upstream) else {
      throw TransferSetupFailure(option: "curl_multi_init", code: CURLE_OUT_OF_MEMORY)
    }
    let code = shard.add(handle.raw)
    guard code == CURLM_OK else {
      throw TransferSetupFailure(option: "curl_multi_add_handle: \(code.rawValue)", code: CURLE_FAILED_INIT)
    }
    return shard
  }

  // MARK: libcurl's transfers

  var active: Int { shards.reduce(0) { $0 + $1.active } }

  /// The first shard with room; nil where libcurl has no memory for another.
  private func shardWithRoom(_ upstream: CurlUpstream) -> CurlShard? {
    for shard in shards where shard.active < CurlShard.capacity { return shard }
    guard let shard = CurlShard(upstream: upstream, settings: settings) else { return nil }
    shards.append(shard)
    return shard
  }

  func takeSpare() -> CurlTransfer? { spare.popLast() }

  func giveBack(_ transfer: CurlTransfer) {
    if spare.count < CurlShard.capacity, !isRetired { spare.append(transfer) }
  }

  /// Closes shards that were idle for too long; all but the first one sooner. Returns when to check again; nil where
  /// nothing is open and idle.
  func closeIdle(at now: UInt64) -> UInt64? {
    var next: UInt64?
    while let oldest = idle.first, isRetired || oldest.idleSince &+ Self.patience <= now {
      idle.removeFirst()
      oldest.close()
    }
    if let oldest = idle.first { next = oldest.idleSince &+ Self.patience }
    for multiplexer in multiplexers.values {
      if let at = multiplexer.closeIdle(at: now) { next = min(next ?? .max, at) }
    }
    if idle.isEmpty { connectors.removeAll() }
    var index = shards.count - 1
    while index >= 0 {
      let shard = shards[index]
      if shard.active == 0 {
        let patience: UInt64 = isRetired ? 0 : index == 0 ? Self.patience : 10_000_000_000
        if shard.idleSince &+ patience <= now {
          shard.close()
          shards.remove(at: index)
        } else {
          next = min(next ?? .max, shard.idleSince &+ patience)
        }
      }
      index -= 1
    }
    if active == 0 { spare.removeAll() }
    return next
  }

  func close() {
    let connections = idle
    idle = []
    for connection in connections { connection.close() }
    for multiplexer in multiplexers.values { multiplexer.close() }
    connectors.removeAll()
    spare.removeAll()
    for shard in shards { shard.close() }
    shards.removeAll()
  }
}
