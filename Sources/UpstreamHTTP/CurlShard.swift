// One libcurl multi handle and its connections. A multi walks its connections per host for each new call, so a
// provider gets another shard for every hundred calls that run at once.
import CCurl
import EventLoop

final class CurlShard {
  /// Calls at once; above, the walk over the connections begins to cost.
  static let capacity = 96

  let multi: UnsafeMutableRawPointer
  private unowned let upstream: CurlUpstream
  private let maxIdleConnections: Int
  /// Transfers that libcurl works on.
  private(set) var active = 0
  /// When libcurl wants to be called for its timers; .max is never.
  var deadline = UInt64.max
  /// It stands in the upstream's list of shards whose timers are due now.
  var isDue = false
  /// When the last transfer left.
  private(set) var idleSince: UInt64 = 0
  private(set) var isClosed = false

  init?(upstream: CurlUpstream, settings: ProviderTransport) {
    guard let multi = curl_multi_init() else { return nil }
    self.multi = multi
    self.upstream = upstream
    maxIdleConnections = max(1, settings.maxIdleConnections)
    let context = Unmanaged.passUnretained(self).toOpaque()
    tg_curl_multi_set_socket_callback(
      multi,
      { _, descriptor, what, context, _ in
        guard let context else { return 0 }
        Unmanaged<CurlShard>.fromOpaque(context)._withUnsafeGuaranteedRef { $0.watch(descriptor, what) }
        return 0
      }, context)
    tg_curl_multi_set_timer_callback(
      multi,
      { _, milliseconds, context in
        guard let context else { return 0 }
        Unmanaged<CurlShard>.fromOpaque(context)._withUnsafeGuaranteedRef { $0.setTimer(milliseconds) }
        return 0
      }, context)
    let multiplexes = settings.httpVersion == .http2OverTLS
    tg_curl_multi_set_long(multi, CURLMOPT_PIPELINING, multiplexes ? Int(CURLPIPE_MULTIPLEX) : Int(CURLPIPE_NOTHING))
    boundConnections()
  }

  deinit { close() }

  /// Closes all connections. No transfer may be left in it.
  func close() {
    guard !isClosed else { return }
    isClosed = true
    curl_multi_cleanup(multi)
  }

  func add(_ transfer: CurlTransfer) -> CURLMcode {
    let code = curl_multi_add_handle(multi, transfer.easy)
    guard code == CURLM_OK else { return code }
    active += 1
    boundConnections()
    return code
  }

  func remove(_ transfer: CurlTransfer) {
    curl_multi_remove_handle(multi, transfer.easy)
    active -= 1
    boundConnections()
    if active == 0 { idleSince = upstream.now }
  }

  /// Libcurl counts the connections in use among those it keeps.
  private func boundConnections() {
    tg_curl_multi_set_long(multi, CURLMOPT_MAXCONNECTS, active + maxIdleConnections)
  }

  /// Lets libcurl work; only `CurlUpstream.drive` calls it.
  func act(_ descriptor: Int32, _ mask: Int32) -> CURLMcode {
    var running: Int32 = 0
    return curl_multi_socket_action(multi, descriptor, mask, &running)
  }

  private func watch(_ descriptor: Int32, _ what: Int32) {
    upstream.watch(descriptor, what, for: self)
  }

  private func setTimer(_ milliseconds: Int) {
    if milliseconds < 0 {
      deadline = .max
    } else if milliseconds == 0 {
      deadline = .max
      upstream.driveLater(self)
    } else {
      deadline = upstream.now &+ UInt64(milliseconds) &* 1_000_000
      upstream.wantTimer(at: deadline)
    }
  }
}

/// The shards of one provider and the handles that wait for their next call.
final class ProviderPool {
  let settings: ProviderTransport
  /// As `CURLOPT_PROXY` wants it; nil lets libcurl read the environment for each call.
  let proxy: String?
  private(set) var shards: [CurlShard] = []
  private var spare: [CurlTransfer] = []
  /// Replaced by other settings; goes when its last call ended.
  var isRetired = false

  init(_ settings: ProviderTransport, environmentNamesProxy: Bool) {
    self.settings = settings
    // Six lookups in the environment per call are saved where it names no proxy.
    proxy = settings.proxy ?? (environmentNamesProxy ? nil : "")
  }

  var active: Int { shards.reduce(0) { $0 + $1.active } }

  /// The first shard with room; nil where libcurl has no memory for another.
  func shardWithRoom(_ upstream: CurlUpstream) -> CurlShard? {
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
    var index = shards.count - 1
    while index >= 0 {
      let shard = shards[index]
      if shard.active == 0 {
        let patience: UInt64 = isRetired ? 0 : index == 0 ? 110_000_000_000 : 10_000_000_000
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
    spare.removeAll()
    for shard in shards { shard.close() }
    shards.removeAll()
  }
}
