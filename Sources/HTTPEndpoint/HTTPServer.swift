// The server: listeners and connections, a flush of waiting output at the end of each turn, and a check of timeouts
// once a second.
import EventLoop
import HTTP1Codec
import HTTPMessage

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

/// Serves HTTP/1.1 and HTTP/2 on any number of addresses, on its loop's thread. It keeps its handler, and open
/// connections keep the server: call `close()` before releasing it.
///
/// In cleartext both protocols share a port: a connection that begins with HTTP/2's preface speaks HTTP/2 (prior
/// knowledge), any other HTTP/1.1. With TLS, ALPN decides.
public final class HTTPServer {
  let loop: EventLoop
  let handler: any HTTPHandler
  let limits: SessionLimits
  let dateClock = DateClock()
  /// The buffer of every read; sessions copy what they keep.
  var readBuffer = [UInt8](repeating: 0, count: 64 * 1024)
  /// The account of memory that clients cause; bodies are entered as they come.
  let memory: MemoryAccount
  private(set) lazy var intake = BodyIntake(
    memory: memory, limits: limits, loop: loop, now: { [unowned self] in loop.now },
    bodies: { [unowned self] in connections.flatMap(\.arriving) })
  private var tls: TLSContext?
  private var listeners: [Listener] = []
  private var connections: [Connection] = []
  private var dirty: [Connection] = []
  private var flushing: [Connection] = []
  private var isFlushScheduled = false
  private var clock: LoopTimer?
  private var isAccepting = true
  /// True where every answer is the last of its connection.
  private(set) var isDraining = false
  private var pausedListeners: [Listener] = []
  private var lastNotice: UInt64 = 0
  /// Descriptors that are kept open without use, and closed when a connection needs one.
  private var reserve: [Int32] = []

  /// Called with a sentence for the operator about what no client can be told: out of descriptors, too many
  /// connections. At most once per second.
  public var onNotice: ((String) -> Void)?
  /// Called at most ten times a second while memory is short: free heap can be returned to the system.
  public var onMemoryShortage: (() -> Void)? {
    get { intake.onShortage }
    set { intake.onShortage = newValue }
  }
  /// The number of exchanges that have begun and not ended.
  public internal(set) var openExchanges = 0
  /// The number of open connections, idle ones included.
  public var connectionCount: Int { connections.count }

  /// Without `tls`, the server speaks cleartext. From now on SIGPIPE is ignored in the whole process.
  public init(
    loop: EventLoop, handler: any HTTPHandler, limits: EndpointLimits = EndpointLimits(), tls: TLSContext? = nil,
    memory: MemoryAccount = MemoryAccount()
  ) {
    self.loop = loop
    self.handler = handler
    self.limits = SessionLimits(limits)
    self.tls = tls
    self.memory = memory
    signal(SIGPIPE, SIG_IGN)
    // A weak reference would make every retain of the server slow; the timer ends with the server.
    clock = LoopTimer(loop) { [unowned self] in
      tick(now: self.loop.turnTime)
    }
  }

  /// Begins to accept connections and returns the address with its real port.
  ///
  /// A Unix socket is made with mode 0600; a stale file of a dead process is replaced, a live one refused.
  /// - Throws: ``EndpointError``, which names the address, the reason and how to mend it.
  @discardableResult
  public func listen(_ address: EndpointAddress) throws -> EndpointAddress {
    let listener = try Listener(
      loop, address,
      accepted: { [unowned self] descriptor, peer in self.accepted(descriptor, peer) },
      exhausted: { [unowned self] listener, code in
        if self.makeRoom() { return true }
        self.pause(listener, code)
        return false
      })
    listeners.append(listener)
    fillReserve()
    return listener.address
  }

  /// Uses this certificate for new connections; open ones keep theirs. Only for a server that was made with TLS: a port
  /// does not change between TLS and cleartext.
  public func replaceTLS(_ context: TLSContext) {
    if tls != nil { tls = context }
  }

  /// Asks every client to go elsewhere: idle connections close, HTTP/2 connections get GOAWAY, and each answer, also on
  /// new connections, is the last of its connection. Listeners stay open.
  public func drain() {
    guard !isDraining else { return }
    isDraining = true
    for connection in connections { connection.drain() }
  }

  /// Closes the listeners and idle connections; requests under way are answered, with `connection: close` or GOAWAY.
  public func stopAccepting() {
    isAccepting = false
    isDraining = true
    for listener in listeners { listener.close() }
    listeners = []
    pausedListeners = []
    for connection in connections { connection.drain() }
  }

  /// Closes everything now; each open exchange ends with `.aborted`.
  public func close() {
    isAccepting = false
    for listener in listeners { listener.close() }
    listeners = []
    pausedListeners = []
    while let connection = connections.last { connection.close(.aborted) }
    for descriptor in reserve { Socket.closeDescriptor(descriptor) }
    reserve = []
    clock?.cancel()
  }

  // MARK: Connections

  private func accepted(_ descriptor: Int32, _ peer: sockaddr_storage) {
    if connections.count >= limits.values.maxConnections {
      guard limits.values.newestWins, closeStillest() else {
        refuse(descriptor)
        return
      }
      notice(
        "\(limits.values.maxConnections) connections are open, which is the limit: the stillest was closed for a new one"
      )
    }
    if Int32(peer.ss_family) != AF_UNIX { Socket.tuneTCP(descriptor) }
    do {
      let connection = try Connection(
        self, descriptor: descriptor, peer: Socket.describe(peer), tls: try tls?.accept(descriptor))
      connection.index = connections.count
      connections.append(connection)
    } catch {
      Socket.closeDescriptor(descriptor)
      notice("a connection was dropped: \(error)")
    }
    if clock?.isScheduled == false { clock?.schedule(after: .seconds(1)) }
  }

  func remove(_ connection: Connection) {
    let index = connection.index
    guard index < connections.count, connections[index] === connection else { return }
    let last = connections.removeLast()
    if last !== connection {
      connections[index] = last
      last.index = index
    }
    fillReserve()
    if !pausedListeners.isEmpty { resumeListeners() }
  }

  // MARK: Room for one more

  /// No descriptor is left in the process: frees one of our own, where possible.
  private func makeRoom() -> Bool {
    guard let descriptor = reserve.popLast() else { return limits.values.newestWins && closeStillest() }
    Socket.closeDescriptor(descriptor)
    notice(
      "the process has no descriptors left; this port lives on \(limits.values.reservedDescriptors) kept back for it")
    return true
  }

  private func fillReserve() {
    while reserve.count < limits.values.reservedDescriptors, isAccepting {
      guard let descriptor = Socket.openNothing() else { return }
      reserve.append(descriptor)
    }
  }

  /// Returns false where there is no connection.
  private func closeStillest() -> Bool {
    let stillest = connections.min { left, right in
      left.isIdle == right.isIdle ? left.lastProgress < right.lastProgress : left.isIdle
    }
    guard let stillest else { return false }
    // The freed descriptor is for the caller, not for the reserve.
    let kept = reserve.count
    stillest.close(stillest.isIdle ? .clientLeft : .aborted)
    while reserve.count > kept, let descriptor = reserve.popLast() { Socket.closeDescriptor(descriptor) }
    return true
  }

  /// Refuses one client too many. Best effort: the socket is new, so its buffer takes the few bytes.
  private func refuse(_ descriptor: Int32) {
    let maximum = limits.values.maxConnections
    if tls == nil {
      let answer = handler.refusal(.overloaded("more than \(maximum) connections are open"), target: nil)
      var fields = HeaderFields(answer.fields)
      fields.append(name: "content-length", value: String(answer.body.count))
      var bytes: [UInt8] = []
      HTTP1ResponseWriter.write(
        ResponseHead(status: 503, fields: fields), framing: .length(answer.body.count), connection: "close",
        date: dateClock.value, into: &bytes)
      bytes.append(contentsOf: answer.body)
      _ = Socket.write(descriptor, bytes[...])
      Socket.shutdownSending(descriptor)
    }
    Socket.closeDescriptor(descriptor)
    notice("a connection was refused: \(maximum) are open, which is the limit")
  }

  /// Pauses a listener when descriptors or memory have run out, since accepting would spin. It resumes when a
  /// connection closes, or in a second.
  private func pause(_ listener: Listener, _ code: Int32) {
    listener.pause()
    pausedListeners.append(listener)
    if clock?.isScheduled == false { clock?.schedule(after: .seconds(1)) }
    notice("no more connections are accepted for now: \(Socket.errorText(code)); raise the limit of open files")
  }

  private func resumeListeners() {
    let paused = pausedListeners
    pausedListeners = []
    for listener in paused { listener.resume() }
  }

  private func notice(_ text: String) {
    let now = loop.now
    guard lastNotice == 0 || now - lastNotice >= 1_000_000_000 else { return }
    lastNotice = now
    onNotice?(text)
  }

  // MARK: Turns and seconds

  func schedule(_ connection: Connection) {
    dirty.append(connection)
    guard !isFlushScheduled else { return }
    isFlushScheduled = true
    loop.atEndOfTurn { [self] in flushDirty() }
  }

  private func flushDirty() {
    isFlushScheduled = false
    swap(&dirty, &flushing)
    for connection in flushing { connection.flush() }
    flushing.removeAll(keepingCapacity: flushing.capacity <= 1024)
  }

  /// Once per second while there are connections.
  func tick(now: UInt64) {
    fillReserve()
    resumeListeners()
    // From the back: a connection that closes is replaced by the last one, which was already visited.
    for index in connections.indices.reversed() where index < connections.count { connections[index].tick(now) }
    if !connections.isEmpty || !pausedListeners.isEmpty { clock?.schedule(after: .seconds(1)) }
  }
}
