// One libcurl multi handle and its connections. For each new call a multi walks its connections to the host, so a
// provider gets another shard for every hundred concurrent calls.
import CCurl
import EventLoop

final class CurlShard {
  /// The most concurrent calls; with more, the walk over the connections gets costly.
  static let capacity = 96

  let multi: UnsafeMutableRawPointer
  /// The owner, which closes the shard before it goes itself.
  private unowned(unsafe) let upstream: CurlUpstream
  private let maxIdleConnections: Int
  /// The number of handles in the multi.
  private(set) var active = 0
  /// When libcurl wants to be called for its timers; .max means never.
  var deadline = UInt64.max
  /// True while the shard is in the upstream's list of shards whose timers are due.
  var isDue = false
  /// When the last handle left.
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
    tg_curl_multi_set_long(multi, CURLMOPT_PIPELINING, Int(CURLPIPE_NOTHING))
    boundConnections()
  }

  deinit { close() }

  /// Closes all connections. No transfer may be left in the shard.
  func close() {
    guard !isClosed else { return }
    isClosed = true
    curl_multi_cleanup(multi)
  }

  func add(_ easy: UnsafeMutableRawPointer) -> CURLMcode {
    let code = curl_multi_add_handle(multi, easy)
    guard code == CURLM_OK else { return code }
    active += 1
    boundConnections()
    return code
  }

  func remove(_ easy: UnsafeMutableRawPointer) {
    curl_multi_remove_handle(multi, easy)
    active -= 1
    boundConnections()
    if active == 0 {
      idleSince = upstream.now
      upstream.wantUpkeep(at: idleSince &+ 2_000_000_000)
    }
  }

  /// Libcurl's bound on kept connections counts those in use too.
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
