// One libcurl multi handle and its connections. A multi walks its connections per host for each new call, so a
// provider gets another shard for every hundred calls that run at once.
import CCurl
import EventLoop

final class CurlShard {
  /// Calls at once; above, the walk over the connections begins to cost.
  static let capacity = 96

  let multi: UnsafeMutableRawPointer
  /// Its owner, which closes it before it goes.
  private unowned(unsafe) let upstream: CurlUpstream
  private let maxIdleConnections: Int
  /// Handles in libcurl's hands.
  private(set) var active = 0
  /// When libcurl wants to be called for its timers; .max is never.
  var deadline = UInt64.max
  /// It stands in the upstream's list of shards whose timers are due now.
  var isDue = false
  /// When the last one left.
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

  /// Closes all connections. No transfer may be left in it.
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
