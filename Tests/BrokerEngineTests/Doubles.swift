// A client and a provider in memory, and a clock that moves when told: the broker's tests run without sockets.
import AdmissionCore
import EventLoop
import HTTPDoubles
import HTTPMessage
import LedgerVocabulary
import PolicyFile
import Pricing
import Testing

@testable import BrokerEngine

/// One exchange as a client sees it.
final class FakeExchange: HTTPExchange {
  let head: RequestHead
  var body: [UInt8]
  var context: AnyObject? { didSet { if context != nil { isKnown = true } } }
  var connectionContext: AnyObject?
  /// The broker made an exchange of it, and holds its body from then on.
  private(set) var isKnown = false
  private var share: MemoryShare?
  var pendingBytes = 0
  var isClosed = false
  let peer: String
  private(set) var answer: ResponseHead?
  private(set) var received: [UInt8] = []
  private(set) var isFinished = false
  private(set) var isAborted = false
  private(set) var trailers: HeaderFields?

  init(
    _ method: String, _ target: String, fields: [(String, String)] = [], body: String = "",
    version: HTTPVersion = .http1_1, authority: String = "localhost", peer: String = "127.0.0.1:1",
    memory: MemoryAccount? = nil
  ) {
    self.peer = peer
    share = memory.map { MemoryShare($0, .bodies) }
    share?.resize(to: body.utf8.count)
    head = RequestHead(
      method: method, target: target, authority: authority,
      fields: HeaderFields(fields.map { (name: $0.0, value: $0.1) }), version: version)
    self.body = Array(body.utf8)
  }

  func releaseBody() {
    body = []
    share?.resize(to: 0)
  }
  func countBody(as use: MemoryAccount.Use) { share?.move(to: use) }
  /// As the endpoint does when nothing is left of it.
  func forget() { releaseBody() }
  func respond(_ head: ResponseHead) { answer = head }
  func send(_ bytes: ArraySlice<UInt8>) { received.append(contentsOf: bytes) }
  func finish(trailers: HeaderFields?) {
    isFinished = true
    isClosed = true
    self.trailers = trailers
  }
  func abort() {
    isAborted = true
    isClosed = true
  }
  var text: String { String(decoding: received, as: UTF8.self) }
  func field(_ name: String) -> String? { answer?.fields.first(named: name) }
}

/// A ledger that says that its entries are safe when the test says so.
final class FakeLedger: LedgerPort {
  var onCommitted: ((UInt64) -> Void)?
  var onObstacleChanged: (() -> Void)?
  var obstacle: String? { didSet { onObstacleChanged?() } }
  private(set) var entries: [LedgerEntry] = []
  private var committed = 0

  func append(_ hold: AttemptHold) -> UInt64 { take(.held(hold)) }
  func append(_ end: AttemptEnd) -> UInt64 { take(.settled(end)) }
  func append(_ end: RequestEnd) -> UInt64 { take(.concluded(end)) }
  func append(_ end: RequestEnd, lastAttempt: AttemptEnd) -> UInt64 { take(.finished(end, lastAttempt: lastAttempt)) }
  func append(_ change: LedgerChange) -> UInt64 { take(.changed(change)) }
  func append(_ memo: LedgerMemo) -> UInt64 { take(.remembered(memo)) }

  private func take(_ entry: LedgerEntry) -> UInt64 {
    entries.append(entry)
    return UInt64(entries.count)
  }

  /// How many entries there were at each hand-over.
  private(set) var handOvers: [Int] = []
  func handOver() -> UInt64 {
    handOvers.append(entries.count)
    if isSafeAtOnce { committed = entries.count }
    return UInt64(committed)
  }
  /// As with a journal: what is handed over is safe.
  var isSafeAtOnce = false

  /// All that was appended so far is safe, and what follows from that too where `settles`.
  func commit(settles: Bool = false) {
    repeat {
      committed = entries.count
      onCommitted?(UInt64(committed))
    } while settles && committed < entries.count
  }

  var holds: [AttemptHold] { entries.compactMap { if case .held(let hold) = $0 { hold } else { nil } } }
  var settlements: [AttemptEnd] {
    entries.compactMap {
      switch $0 {
      case .settled(let end), .finished(_, let end): end
      case .held, .concluded, .changed, .remembered: nil
      }
    }
  }
  var memos: [LedgerMemo] { entries.compactMap { if case .remembered(let memo) = $0 { memo } else { nil } } }
  var conclusions: [RequestEnd] {
    entries.compactMap {
      switch $0 {
      case .concluded(let end), .finished(let end, _): end
      case .held, .settled, .changed, .remembered: nil
      }
    }
  }
}

/// Broker, provider and clock together.
final class Rig {
  let upstream = ScriptedUpstream()
  let broker: Broker
  var ended: [RequestRecord] = []
  /// What an operator would be told.
  var notices: [Notice] = []
  /// The mark of a secret that came with each of them.
  var marks: [String?] = []
  /// What an operator would be told of providers that take no key.
  var reports: [KeyReport] = []
  /// Everything that clients sent by it.
  private var clients: [FakeExchange] = []
  private let time = Time()

  final class Time {
    var now: UInt64 = 1_000_000_000_000
    var wall: Int64 = 1_763_720_000_000_000_000
  }

  /// The machine's clock; setting it lets two seconds pass, in which the broker notices.
  var wall: Int64 {
    get { time.wall }
    set {
      time.wall = newValue
      time.now += 2_000_000_000
    }
  }

  init(
    ledger: FakeLedger? = nil, prices: PriceList = PriceList(version: "none", entries: []), loop: EventLoop? = nil,
    wall: Int64 = 1_763_720_000_000_000_000, _ change: (inout Policy) -> Void = { _ in }
  ) {
    var policy = Policy()
    var provider = Provider(id: "sim", dialect: .openai, baseURL: "http://sim/v1")
    provider.keys = [ProviderKey(id: "main", source: .text(Secret("sk-upstream")))]
    policy.providers = [provider]
    policy.routes = [Route(models: ["*"], to: ["sim"])]
    change(&policy)
    var secrets = KeySecrets()
    for provider in policy.providers {
      for key in provider.keys { secrets.set(Secret("sk-upstream"), provider: provider.id, key: key.id) }
    }
    let time = time
    time.wall = wall
    let box = Box()
    broker = Broker(
      policy: policy, secrets: secrets,
      parts: BrokerParts(
        upstream: upstream,
        clock: BrokerClock(monotonic: { time.now }, wall: { time.wall }, seed: 1), loop: loop,
        hash: { $0 }, ledger: ledger, prices: PriceBook(prices), requestEnded: { box.rig?.ended.append($0) },
        noticed: {
          box.rig?.notices.append($0)
          box.rig?.marks.append($1)
        }, keysReported: { box.rig?.reports.append($0) }))
    box.rig = self
  }

  private final class Box { weak var rig: Rig? }

  func advance(_ span: Span) {
    time.now += UInt64(span.nanoseconds)
    while let deadline = broker.services.dispatcher.nextDeadline, deadline.nanoseconds <= Int64(time.now) {
      broker.services.dispatcher.deadlineReached()
    }
    if let deadline = broker.models.nextDeadline, deadline <= time.now { broker.models.deadlineReached() }
  }

  /// Sends a whole request.
  @discardableResult func send(
    _ target: String = "/v1/chat/completions", fields: [(String, String)] = [],
    body: String = #"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#, method: String = "POST",
    version: HTTPVersion = .http1_1, type: String? = "application/json", authority: String = "localhost",
    peer: String = "127.0.0.1:1"
  ) -> FakeExchange {
    let exchange = FakeExchange(
      method, target, fields: (type.map { [("content-type", $0)] } ?? []) + fields, body: body, version: version,
      authority: authority, peer: peer, memory: broker.operator.memory)
    clients.append(exchange)
    broker.frontDoor.exchangeBegan(exchange)
    if !exchange.isClosed { broker.frontDoor.exchangeReady(exchange) }
    return exchange
  }

  func leave(_ exchange: FakeExchange) {
    exchange.isClosed = true
    broker.frontDoor.exchangeEnded(exchange, .clientLeft)
  }

  /// Bytes of clients' that are held although all of them have their answers or are gone; of those that never became an exchange
  /// the endpoint frees what they held.
  func bytesHeldForNobody() -> Int {
    for client in clients {
      if !client.isClosed { leave(client) }
      if !client.isKnown { client.forget() }
    }
    return broker.operator.memory.total - broker.operator.memory.bytes(.records)
  }
}

/// Makes a test's rigs, and looks when it is over whether each gave back what it held.
final class RigKeeper {
  private var rigs: [Rig] = []

  func rig(
    ledger: FakeLedger? = nil, prices: PriceList = PriceList(version: "none", entries: []), loop: EventLoop? = nil,
    wall: Int64 = 1_763_720_000_000_000_000, _ change: (inout Policy) -> Void = { _ in }
  ) -> Rig {
    rigs.append(Rig(ledger: ledger, prices: prices, loop: loop, wall: wall, change))
    return rigs[rigs.count - 1]
  }

  deinit {
    for rig in rigs { #expect(rig.bytesHeldForNobody() == 0) }
  }
}

/// A loop that the test turns.
final class TestLoop {
  let loop: EventLoop
  init() throws { loop = try EventLoop() }
}
