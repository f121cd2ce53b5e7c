// The Upstream port over libcurl's multi interface, driven by our event loop.
//
// Promises, beyond those of the port: libcurl is never called from inside one of its own callbacks; one timer serves
// all calls; a descriptor stays registered with the loop as long as its connection lives, so that a call over a
// kept-alive connection costs no epoll_ctl; a cancelled call closes its HTTP/1.1 connection before `cancel` returns,
// or, where it is cancelled inside an event, before the handling of that socket's event ends.
import CCurl
import EventLoop
import HTTPMessage

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

public struct CurlUpstreamError: Error, CustomStringConvertible {
  public let description: String
}

public final class CurlUpstream: Upstream {
  /// Called for descriptors that the loop refused to watch; the calls on them end by their timeouts.
  public var onSocketWarning: ((String) -> Void)?

  /// For tests: true where libcurl does every transfer itself, as through a proxy.
  var usesLibcurlAlone = false

  /// How soon after a request a connection's end counts as immediate; tests change it.
  var moment = SecondSending.moment

  let loop: EventLoop
  /// Resolved names and TLS sessions, shared by all shards.
  let share: UnsafeMutableRawPointer
  /// The buffer into which connections read; its bytes are handed out before the next read.
  var receiveBuffer = [UInt8](repeating: 0, count: 64 << 10)
  /// The time when the loop last called in.
  private(set) var now: UInt64

  private var pools: [String: ProviderPool] = [:]
  private var retiredPools: [ProviderPool] = []
  private var active: [CallCarrier] = []
  private var sockets: [CurlSocket?] = []
  private var isInsideCurl = false
  private var isClosed = false

  // Work that waits for the end of the turn, or for libcurl to return.
  private var starting: [CurlCall] = []
  /// Empty except while it is processed; it and `starting` swap their memory.
  private var begun: [CurlCall] = []
  private var reviewed: [CurlCall] = []
  private var dueShards: [CurlShard] = []
  /// Carriers with decrypted bytes of which no event tells.
  private var unread: [CallCarrier] = []
  private var flushIsComing = false

  // The only timer: for libcurl's timers, call timeouts and upkeep.
  private var timer: LoopTimer?
  private var timerAt = UInt64.max
  private var sweepAt = UInt64.max
  private var upkeepAt = UInt64.max
  private var callsSinceUpkeep = 0
  private var lastEvent: UInt64 = 0
  /// When the last running call ended.
  private var quietSince: UInt64 = 0
  /// Memory is given back only after a quiet time of this many nanoseconds, since a steady load of short calls has many
  /// moments without a call.
  private static let quietTime: UInt64 = 2_000_000_000

  private static let processPreparation: Int32 = tg_curl_prepare_process()

  /// Returns to the system what the process does not need: free heap, and pages of code that do not run for now. Takes
  /// about a millisecond; meant for the end of the start, and of a load.
  public static func releaseMemory() {
    tg_curl_release_free_memory()
    tg_process_release_code()
  }

  /// Returns free heap alone. May take milliseconds, which is acceptable while memory is short.
  public static func releaseHeap() { tg_curl_release_free_memory() }

  /// Throws where libcurl cannot be initialized. Also makes the process ignore SIGPIPE, and configures malloc for large
  /// bodies.
  public init(loop: EventLoop) throws {
    guard Self.processPreparation == 0, let share = curl_share_init() else {
      throw CurlUpstreamError(description: "libcurl cannot be initialized")
    }
    tg_curl_share(share, CURL_LOCK_DATA_DNS)
    tg_curl_share(share, CURL_LOCK_DATA_SSL_SESSION)
    self.loop = loop
    self.share = share
    now = loop.now
    timer = LoopTimer(loop) { [unowned self] in timerFired() }
  }

  deinit {
    close()
    curl_share_cleanup(share)
  }

  /// The number of calls that have begun and not ended.
  public var activeCalls: Int { active.count + starting.count { !$0.isOver } }

  /// Sets how new calls reach `provider`; calls under way finish as they began.
  public func configure(provider: String, _ settings: ProviderTransport) {
    if let old = pools[provider] {
      guard old.settings != settings else { return }
      old.isRetired = true
      retiredPools.append(old)
      wantUpkeep(at: now)
    }
    pools[provider] = ProviderPool(settings, environmentNamesProxy: Self.environmentNamesProxy())
  }

  public func begin(_ request: UpstreamRequest, events: any UpstreamEvents) -> any UpstreamCall {
    let call = CurlCall(request, events: events, upstream: self, now: loop.now)
    starting.append(call)
    flushLater()
    return call
  }

  /// Cancels every call and closes every connection. No event comes afterwards, also not for calls that begin later.
  public func close() {
    guard !isClosed else { return }
    guard !isInsideCurl else {
      loop.atEndOfTurn { self.close() }
      return
    }
    isClosed = true
    timer = nil
    let begun = starting
    starting = []
    for call in begun { call.cancel() }
    for carrier in active { carrier.call?.cancel() }
    reviewed = []
    for pool in pools.values { pool.close() }
    for pool in retiredPools { pool.close() }
    pools = [:]
    retiredPools = []
    dueShards = []
    for socket in sockets { socket?.watch?.close() }
    sockets = []
  }

  private static func environmentNamesProxy() -> Bool {
    let names: [String] = ["http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
    return names.contains { name in getenv(name).map { $0.pointee != 0 } ?? false }
  }

  // MARK: the end of the turn

  private func flushLater() {
    guard !flushIsComing, !isClosed else { return }
    flushIsComing = true
    // A strong reference: a weak one would make every retain and release of this object slow from then on.
    loop.atEndOfTurn { self.flush() }
  }

  private func flush() {
    flushIsComing = false
    guard !isClosed else { return }
    now = loop.now
    swap(&begun, &starting)
    for call in begun where !call.isOver { start(call) }
    begun.removeAll(keepingCapacity: begun.capacity <= 1024)
    review()
    guard !dueShards.isEmpty else { return }
    let due = dueShards
    dueShards.removeAll(keepingCapacity: true)
    for shard in due {
      shard.isDue = false
      drive(shard, CURL_SOCKET_TIMEOUT, 0)
    }
  }

  private func start(_ call: CurlCall) {
    guard let request = call.takeRequest() else { return }
    let pool: ProviderPool
    if let known = pools[request.provider] {
      pool = known
    } else {
      pool = ProviderPool(ProviderTransport(), environmentNamesProxy: Self.environmentNamesProxy())
      pools[request.provider] = pool
    }
    do throws(TransferSetupFailure) {
      // OpenSSL opens the file on this thread, so it must be a regular one.
      if let caFile = pool.settings.caFile, FileKind(of: caFile) == .other {
        throw TransferSetupFailure(option: "ca_file \(caFile), which is no file", code: CURLE_SSL_CACERT_BADFILE)
      }
      if pool.speaksDirectly, !usesLibcurlAlone, let destination = try pool.destination(of: request.url) {
        if let multiplexer = pool.multiplexer(for: destination, self) {
          guard let fields = HTTP2RequestFields(request, destination) else {
            throw TransferSetupFailure(option: "a request header field", code: CURLE_BAD_FUNCTION_ARGUMENT)
          }
          let carrier = MultiplexedCall(self, pool, multiplexer, request, fields)
          carrier.call = call
          attach(call, carrier)
          multiplexer.look()
          return multiplexer.take(carrier)
        }
        guard let head = request.headText(destination) else {
          throw TransferSetupFailure(option: "a request header field", code: CURLE_BAD_FUNCTION_ARGUMENT)
        }
        let connection = pool.takeIdle(destination.origin) ?? DirectConnection(self, pool, destination)
        connection.take(call, head: head, body: request.body, method: request.method)
        attach(call, connection)
        try connection.begin(connectTimeout: request.timeouts.connect)
      } else {
        let transfer: CurlTransfer
        if let spare = pool.takeSpare() {
          transfer = spare
        } else {
          transfer = try CurlTransfer(self, pool)
        }
        try transfer.prepare(call, request)
        attach(call, transfer)
        try transfer.begin()
      }
    } catch {
      detach(call)
      call.deliver(.failed(error.failure))
    }
  }

  /// Begins a call that was meant for HTTP/2, where the provider speaks only HTTP/1.1.
  /// - Parameter opened: a connection that is already open; nil opens one.
  func beginDirectly(
    _ waiting: MultiplexedCall, _ pool: ProviderPool, opened: (dialed: DialedConnection, descriptor: Int32)?
  ) {
    guard let call = waiting.call, let request = waiting.request else { return }
    do throws(TransferSetupFailure) {
      guard let destination = try pool.destination(of: request.url), let head = request.headText(destination)
      else { throw TransferSetupFailure(option: "a request header field", code: CURLE_BAD_FUNCTION_ARGUMENT) }
      let connection: DirectConnection
      if let opened {
        connection = try DirectConnection(self, pool, destination, opened: opened.dialed, opened.descriptor)
      } else {
        connection = pool.takeIdle(destination.origin) ?? DirectConnection(self, pool, destination)
      }
      handOver(call, from: waiting, to: connection)
      connection.take(call, head: head, body: request.body, method: request.method)
      try connection.begin(connectTimeout: request.timeouts.connect)
    } catch {
      detach(call)
      call.deliver(.failed(error.failure))
    }
  }

  private func attach(_ call: CurlCall, _ carrier: CallCarrier) {
    carrier.activeIndex = active.count
    active.append(carrier)
    call.carrier = carrier
    callsSinceUpkeep += 1
    wantSweep(at: call.nextDeadline)
  }

  /// Separates the call from its carrier.
  func detach(_ call: CurlCall) {
    guard let carrier = call.carrier else { return }
    call.carrier = nil
    carrier.call = nil
    let index = carrier.activeIndex
    let last = active.removeLast()
    if last !== carrier {
      active[index] = last
      last.activeIndex = index
    }
    if active.isEmpty {
      quietSince = now
      wantUpkeep(at: now &+ Self.quietTime)
    }
  }

  /// Gives the call to another carrier.
  func handOver(_ call: CurlCall, from old: CallCarrier, to new: CallCarrier) {
    new.activeIndex = old.activeIndex
    active[old.activeIndex] = new
    old.call = nil
    new.call = call
    call.carrier = new
  }

  // MARK: orders that must wait until libcurl has returned

  /// Reviews the call once libcurl has returned: pauses, resumes or cancels it, or frees memory.
  func reviewLater(_ call: CurlCall) {
    guard !call.awaitsReview else { return }
    call.awaitsReview = true
    reviewed.append(call)
    if !isInsideCurl { flushLater() }
  }

  func cancelled(_ call: CurlCall) {
    guard call.carrier != nil else { return }
    if isInsideCurl { reviewLater(call) } else { retire(call) }
  }

  private func review() {
    guard !reviewed.isEmpty else { return }
    let calls = reviewed
    reviewed.removeAll(keepingCapacity: true)
    for call in calls {
      call.awaitsReview = false
      guard let carrier = call.carrier else { continue }
      if call.isCancelled {
        retire(call)
      } else {
        carrier.review(call)
      }
    }
    if !reviewed.isEmpty { flushLater() }
  }

  /// Ends the call's carrier at once.
  private func retire(_ call: CurlCall) {
    guard let carrier = call.carrier else { return }
    detach(call)
    carrier.abandon()
  }

  /// Runs `work`, in which libcurl may call the socket and timer callbacks.
  func insideCurl(_ work: () -> Void) {
    let before = isInsideCurl
    isInsideCurl = true
    work()
    isInsideCurl = before
  }

  // MARK: libcurl at work

  /// Calls libcurl with `CURL_SOCKET_TIMEOUT` at the end of this turn.
  func driveLater(_ shard: CurlShard) {
    guard !shard.isDue else { return }
    shard.isDue = true
    dueShards.append(shard)
    flushLater()
  }

  private func drive(_ shard: CurlShard, _ descriptor: Int32, _ mask: Int32) {
    guard !shard.isClosed else { return }
    isInsideCurl = true
    let code = shard.act(descriptor, mask)
    isInsideCurl = false
    if code != CURLM_OK { onSocketWarning?("libcurl: \(String(cString: curl_multi_strerror(code)))") }
    var result = CURLE_OK
    while !shard.isClosed, let easy = tg_curl_next_done(shard.multi, &result) {
      Unmanaged<CallCarrier>.fromOpaque(tg_curl_get_context(easy)).takeUnretainedValue().libcurlFinished(result)
    }
    review()
  }

  // MARK: descriptors

  /// Libcurl opened a socket for a connection. The socket counts as a connection only once it is connected: libcurl
  /// 7.88 closes a connecting socket without telling, so until then its watch is removed when libcurl stops waiting for
  /// it.
  func adoptSocket(_ descriptor: Int32) { entry(of: descriptor).isAdopted = true }

  /// Libcurl closes a connection, unless we have taken it over.
  func libcurlCloses(_ descriptor: Int32) {
    let index = Int(descriptor)
    if index < sockets.count, let socket = sockets[index], socket.isTaken { return }
    closeSocket(descriptor)
  }

  /// Makes `direct` use this connection from now on, and close it itself where it is taken from libcurl.
  func own(_ descriptor: Int32, _ direct: CallCarrier, takingFromLibcurl isTaken: Bool) -> CurlSocket {
    let socket = entry(of: descriptor)
    socket.isConnection = true
    socket.isTaken = isTaken
    socket.direct = direct
    ensureWatch(descriptor, socket)
    return socket
  }

  func closeSocket(_ descriptor: Int32) {
    forget(descriptor)
    _ = Self.closeDescriptor(descriptor)
  }

  private static func closeDescriptor(_ descriptor: Int32) -> Int32 {
    #if canImport(Glibc)
      Glibc.close(descriptor)
    #else
      Darwin.close(descriptor)
    #endif
  }

  private func forget(_ descriptor: Int32) {
    let index = Int(descriptor)
    guard index < sockets.count, let socket = sockets[index] else { return }
    socket.watch?.close()
    socket.direct = nil
    sockets[index] = nil
  }

  private func entry(of descriptor: Int32) -> CurlSocket {
    let index = Int(descriptor)
    if index >= sockets.count {
      sockets.append(contentsOf: repeatElement(nil, count: index + 16 - sockets.count))
    }
    if let socket = sockets[index] { return socket }
    let socket = CurlSocket()
    sockets[index] = socket
    return socket
  }

  /// Libcurl tells what it waits for on a descriptor.
  func watch(_ descriptor: Int32, _ what: Int32, for shard: CurlShard) {
    guard !isClosed else { return }
    if what == CURL_POLL_REMOVE {
      let index = Int(descriptor)
      guard index < sockets.count, let socket = sockets[index] else { return }
      socket.shard = nil
      // We are not told when a resolver's pipe is closed, so it is forgotten; a connection stays registered.
      if !socket.isConnection { forget(descriptor) }
      return
    }
    let socket = entry(of: descriptor)
    // While a socket connects, libcurl waits only for writability.
    if socket.isAdopted, what & CURL_POLL_IN != 0 { socket.isConnection = true }
    socket.shard = shard
    guard ensureWatch(descriptor, socket) else { return }
    var interest: Readiness = []
    if what & CURL_POLL_IN != 0 { interest.insert(.readable) }
    if what & CURL_POLL_OUT != 0 { interest.insert(.writable) }
    socket.watch?.wait(for: interest)
  }

  @discardableResult
  private func ensureWatch(_ descriptor: Int32, _ socket: CurlSocket) -> Bool {
    guard socket.watch == nil else { return true }
    do {
      // Both outlive the watch: the socket owns it, and `close` closes it before this object goes. Unsafe references,
      // since checked ones would slow every event of every socket.
      socket.watch = try DescriptorWatch(loop, descriptor: descriptor) {
        [unowned(unsafe) self, unowned(unsafe) socket] readiness in
        ready(descriptor, socket, readiness)
      }
      return true
    } catch {
      onSocketWarning?("descriptor \(descriptor): \(error)")
      return false
    }
  }

  private func ready(_ descriptor: Int32, _ socket: CurlSocket, _ readiness: Readiness) {
    if let direct = socket.direct {
      now = loop.now
      direct.ready(readiness)
      return
    }
    guard let shard = socket.shard else {
      // The provider closed an idle connection: libcurl finds out before it uses the connection again.
      socket.watch?.wait(for: [])
      return
    }
    now = loop.now
    var mask: Int32 = 0
    if readiness.contains(.readable) { mask |= CURL_CSELECT_IN }
    if readiness.contains(.writable) { mask |= CURL_CSELECT_OUT }
    drive(shard, descriptor, mask)
  }

  /// Lets a carrier that has done its share of reads go on in the next turn, since events come only for bytes that are
  /// still in the socket.
  func readOnLater(_ carrier: CallCarrier, _ handle: EasyHandle?) {
    guard handle?.hasBytesInHand == true else { return }
    unread.append(carrier)
    wantTimer(at: now)
  }

  // MARK: time

  /// True where the provider got the whole request at `wholeAt` and may have worked on it by now.
  func hadTime(wholeAt: UInt64?) -> Bool { SecondSending.hadTime(wholeAt: wholeAt, now: now, moment: moment) }

  /// The end of a timeout that begins now; .max where there is none.
  func deadline(_ timeout: Duration?) -> UInt64 {
    guard let timeout else { return .max }
    let (sum, overflow) = now.addingReportingOverflow(timeout.wholeNanoseconds)
    return overflow ? .max : sum
  }

  /// A new number for an event that may break several calls.
  func nextEvent() -> UInt64 {
    lastEvent &+= 1
    return lastEvent
  }

  func wantTimer(at deadline: UInt64) {
    guard deadline < timerAt else { return }
    timerAt = deadline
    timer?.schedule(at: deadline)
  }

  /// Schedules a check of the calls' timeouts for `deadline` at the latest, but at most every few milliseconds.
  func wantSweep(at deadline: UInt64) {
    guard deadline < sweepAt else { return }
    sweepAt = deadline
    wantTimer(at: deadline)
  }

  func wantUpkeep(at deadline: UInt64) {
    guard deadline < upkeepAt else { return }
    upkeepAt = deadline
    wantTimer(at: deadline)
  }

  private func timerFired() {
    timerAt = .max
    now = loop.now
    for pool in Array(pools.values) + retiredPools {
      for shard in pool.shards where shard.deadline <= now {
        shard.deadline = .max
        drive(shard, CURL_SOCKET_TIMEOUT, 0)
      }
    }
    let carriers = unread
    unread = []
    for carrier in carriers { carrier.ready(.readable) }
    if sweepAt <= now { sweep() }
    if upkeepAt <= now { keepUp() }
    guard !isClosed else { return }
    var next = min(sweepAt, upkeepAt)
    for pool in pools.values { for shard in pool.shards { next = min(next, shard.deadline) } }
    for pool in retiredPools { for shard in pool.shards { next = min(next, shard.deadline) } }
    if next < .max { wantTimer(at: next) }
  }

  /// Ends the calls whose time has run out.
  private func sweep() {
    sweepAt = .max
    var next = UInt64.max
    var late: [(CurlCall, UpstreamFailure)] = []
    for carrier in active {
      guard let call = carrier.call else { continue }
      if let failure = call.expired(at: now) {
        late.append((call, failure))
      } else {
        next = min(next, call.nextDeadline)
      }
    }
    if next < .max { wantSweep(at: max(next, now &+ 5_000_000)) }
    for (call, failure) in late where !call.isOver {
      retire(call)
      call.deliver(.failed(failure))
    }
  }

  /// Frees what a quiet time does not need: connections, handles, heap pages.
  private func keepUp() {
    upkeepAt = .max
    var next = UInt64.max
    for pool in pools.values { if let at = pool.closeIdle(at: now) { next = min(next, at) } }
    retiredPools.removeAll { pool in
      if let at = pool.closeIdle(at: now) { next = min(next, at) }
      return pool.isUnused
    }
    if active.isEmpty, now &- quietSince >= Self.quietTime {
      // This takes a millisecond: worth it after a load, not after each single call.
      if callsSinceUpkeep >= 32 { Self.releaseMemory() }
      callsSinceUpkeep = 0
    } else if active.isEmpty {
      next = min(next, quietSince &+ Self.quietTime)
    }
    if next < .max { wantUpkeep(at: next) }
  }
}

/// One descriptor that libcurl told us of.
final class CurlSocket {
  var watch: DescriptorWatch?
  /// The shard whose transfer waits on it; nil while the connection is idle.
  var shard: CurlShard?
  /// The carrier that uses it; nil where libcurl does.
  var direct: CallCarrier?
  /// True where we took it over from libcurl, which believes that it is closed.
  var isTaken = false
  /// True for a connection, whose closing libcurl announces.
  var isConnection = false
  /// True where it was opened for a connection that may not be established yet.
  var isAdopted = false
}
