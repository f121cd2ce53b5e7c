// What the broker needs from outside: the upstream side, clock, loop, ledger, prices, and callbacks.
import AdmissionCore
import EventLoop
import HTTPMessage
import PolicyFile
import Pricing

/// Everything that the broker is made of besides its policy. It is handed in, so that tests can replace each part.
public struct BrokerParts {
  public var upstream: any Upstream
  public var clock: BrokerClock
  /// nil in tests that drive the timer themselves.
  public var loop: EventLoop?
  /// SHA-256, for client keys.
  public var hash: ([UInt8]) -> [UInt8]
  /// The ledger; nil where none is kept.
  public var ledger: (any LedgerPort)?
  public var prices: PriceBook
  /// The endpoint's account of memory; its limit is the policy's.
  public var memory: MemoryAccount
  /// Called once for each request when its outcome is set.
  public var requestEnded: (RequestRecord) -> Void
  /// Called with each notice for the operator. `secretMark`: where the notice is about a key, the key's secret as it
  /// may be shown.
  public var noticed: (Notice, _ secretMark: String?) -> Void
  /// Called when a provider has no key left that it takes, and when it has one again.
  public var keysReported: (KeyReport) -> Void

  public init(
    upstream: any Upstream, clock: BrokerClock, loop: EventLoop?, hash: @escaping ([UInt8]) -> [UInt8],
    ledger: (any LedgerPort)? = nil, prices: PriceBook = PriceBook(PriceList(version: "none", entries: [])),
    memory: MemoryAccount = MemoryAccount(),
    requestEnded: @escaping (RequestRecord) -> Void = { _ in },
    noticed: @escaping (Notice, _ secretMark: String?) -> Void = { _, _ in },
    keysReported: @escaping (KeyReport) -> Void = { _ in }
  ) {
    self.upstream = upstream
    self.clock = clock
    self.loop = loop
    self.hash = hash
    self.ledger = ledger
    self.prices = prices
    self.memory = memory
    self.requestEnded = requestEnded
    self.noticed = noticed
    self.keysReported = keysReported
  }
}
