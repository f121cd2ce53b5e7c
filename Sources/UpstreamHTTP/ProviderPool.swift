// What is kept per provider between calls: idle connections, libcurl's shards, spare handles.
import CCurl
import EventLoop
import HTTPMessage

/// The shards of one provider and the handles that wait for their next call.
final class ProviderPool {
  let settings: ProviderTransport
  /// As `CURLOPT_PROXY` wants it; nil lets libcurl read the environment for each call.
  let proxy: String?
  /// An idle connection is closed after this many nanoseconds, before middle boxes forget it.
  static let patience: UInt64 = 110_000_000_000

  private(set) var shards: [CurlShard] = []
  /// Connections without a call, the one used last at the end.
  private var idle: [DirectConnection] = []
  private var connectors: [EasyHandle] = []
  private var destinations: [String: Destination] = [:]
  /// The one that was asked for last, mostly asked for again: comparing costs less than hashing.
  private var latest: (url: String, destination: Destination)?
  private var spare: [CurlTransfer] = []
  /// Replaced by other settings; goes when its last call ended.
  var isRetired = false

  init(_ settings: ProviderTransport, environmentNamesProxy: Bool) {
    self.settings = settings
    // Six lookups in the environment per call are saved where it names no proxy.
    proxy = settings.proxy ?? (environmentNamesProxy ? nil : "")
  }

  /// True where we speak ourselves over connections that libcurl opens.
  var speaksDirectly: Bool { proxy == "" }

  // MARK: names that have moved

  /// Origins at which connecting failed by what was remembered of their addresses; empty text: by way of a proxy.
  private var staleOrigins: Set<String> = []

  func noteConnectFailure(_ failure: UpstreamFailure, at origin: String) {
    switch failure.kind {
    case .connectRefused, .connectTimedOut:
      // One provider has few origins; whoever makes up more only loses this.
      if staleOrigins.count < 64 { staleOrigins.insert(origin) }
    default: break
    }
  }

  /// After a failure to connect the name is looked up anew.
  func prepareLookUp(of origin: String, with handle: EasyHandle) throws(TransferSetupFailure) {
    try handle.setLooksUpAnew(staleOrigins.remove(origin) != nil)
  }

  // MARK: HTTP/2

  private var multiplexers: [String: Multiplexer] = [:]

  /// Where calls to this destination go that may go over HTTP/2; nil where they may not.
  func multiplexer(for destination: Destination, _ upstream: CurlUpstream) -> Multiplexer? {
    guard settings.httpVersion == .http2OverTLS, destination.isTLS else { return nil }
    if let known = multiplexers[destination.origin] { return known.isUsable ? known : nil }
    let new = Multiplexer(upstream, self, origin: destination.origin)
    multiplexers[destination.origin] = new
    return new
  }

  /// Nothing runs, and nothing waits to.
  var isUnused: Bool { active == 0 && multiplexers.values.allSatisfy { $0.hasNoCalls } }

  /// The URL taken apart, remembered for the next call; nil where only libcurl's own transfers can handle it.
  func destination(of url: String) throws(TransferSetupFailure) -> Destination? {
    if let latest, latest.url.utf8.elementsEqual(url.utf8) { return latest.destination }
    // Swift takes some texts beyond ASCII for equal that have different bytes, so they are not looked up.
    guard url.utf8.allSatisfy({ $0 < 0x80 }) else { return try Destination(url) }
    if let known = destinations[url] {
      latest = (url, known)
      return known
    }
    guard let found = try Destination(url) else { return nil }
    // Paths are few; clients that make up their own must not fill the memory.
    if destinations.count >= 64 { destinations.removeAll() }
    destinations[url] = found
    return found
  }

  // MARK: connections of our own

  /// The connection of this origin that was used last.
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

  /// It closed while idle.
  func drop(_ connection: DirectConnection) {
    if let index = idle.firstIndex(where: { $0 === connection }) { idle.remove(at: index) }
  }

  /// Closes the idle connections of this origin that have idled since then or longer.
  func dropIdle(_ origin: String, since: UInt64) {
    idle.removeAll { connection in
      guard connection.origin == origin, connection.idleSince <= since else { return false }
      connection.close()
      return true
    }
  }

  /// Has libcurl open a connection for the carrier, which hears of it by `libcurlFinished`.
  /// - Parameter offersHTTP2: by ALPN, beside HTTP/1.1.
  func dial(
    _ origin: String, for carrier: CallCarrier, _ upstream: CurlUpstream, offersHTTP2: Bool = false,
    within timeout: Duration?
  ) throws(TransferSetupFailure) -> DialedConnection {
    let handle: EasyHandle
    if !offersHTTP2, let connector = connectors.popLast() {
      handle = connector
    } else {
      handle = try EasyHandle(upstream, self, offersHTTP2: offersHTTP2)
      // Once: libcurl keeps the buffer of a connecting that failed, and then takes no other size.
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

  /// Hands a handle that is ready to libcurl, in the first shard with room.
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

  /// Closes shards that were idle for long, the later ones soon. Returns when to look again; nil if nothing is open
  /// and idle.
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
