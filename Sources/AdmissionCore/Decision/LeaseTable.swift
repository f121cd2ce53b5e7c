// The running attempts: the committed placement of each.
//
// Promises: an id is never given twice, so a late event about a lease that is over finds nothing; memory is given back
// when many leases have ended.

/// The charge of a grant in the order of turns, until its real cost is known.
struct LeaseTurn: Sendable {
  var share: FairShare.Charge
  var credit: BandScheduler.Entry
}

/// A committed placement.
struct Lease: SlotElement {
  /// Not a lease's id until the lease is in the table.
  fileprivate(set) var id = LeaseID(rawValue: 0)
  var request: Request
  var placement: Placement
  var takenFromProvider = TakenUnits.zero
  var takenFromModel = TakenUnits.zero
  var takenFromKey = TakenUnits.zero
  var takenFromTenant = TakenUnits.zero
  /// What fairness and the bands charged for it; nil where no request waited.
  var turn: LeaseTurn?
  /// Index into the candidates of its ticket.
  var candidate: Int
  /// The serial of its key with the secret that it had then; 0 without a key.
  var keySerial: Int64 = 0
  var began: Instant
  /// What is held in the request's accounts, and the epoch of the hold.
  var held = BudgetAmounts()
  var epoch: UInt32
  // The generations of the breakers and gates that let it pass.
  var breakerGeneration: UInt64 = 0
  var gateGeneration: UInt64 = 0
  var keyGeneration: UInt64 = 0
  var modelBreakerGeneration: UInt64 = 0
  var modelGateGeneration: UInt64 = 0
  var keyModelGeneration: UInt64 = 0
  /// How many calls counted against the same quota when this one was sent, including itself.
  var counted = 0
  /// Whether the limits in the answer's head would be a reason to refuse the call; nil where it named none.
  var numbersRefuse: Bool?
  /// The dimensions, by bits, in which these limits have lowered our bucket. They count the call only if it is accepted.
  var lowered: UInt8 = 0
  /// True where these limits leave room for what was reserved for the call, and not for it as a whole: where it is
  /// refused then, what it continues is not cached.
  var isTooLargeWhole = false
  /// The request that it has overtaken (rule 3f), until it is known what it really takes.
  var overtook: RequestID?
  /// How often it was sent.
  var sendings: UInt8 = 1
  /// True once tokens have come: the provider has accepted the call.
  var isAnswering = false
  /// What the provider counts of the call's input against its limits, once it has told it.
  var told: TokenCount?
  /// What its provider's capacities have to know of it.
  var standing: Capacity.Call { Capacity.Call(band: request.band, began: began, told: told?.value) }
  /// The same for its tenant, whom nobody tells anything.
  var standingAtTenant: Capacity.Call { Capacity.Call(band: request.band, began: began, told: nil) }

  init(request: Request, placement: Placement, turn: LeaseTurn?, candidate: Int, began: Instant, epoch: UInt32) {
    self.request = request
    self.placement = placement
    self.turn = turn
    self.candidate = candidate
    self.began = began
    self.epoch = epoch
  }

  mutating func vacate() { request.vacate() }
}

typealias LeaseIndex = Slots<Lease>.Index

extension LeaseID {
  /// The low bits are the lease's slot.
  private static let placeBits: UInt64 = 24

  fileprivate init(serial: UInt64, _ index: LeaseIndex) {
    self.init(rawValue: serial << Self.placeBits | UInt64(index.position))
  }
  /// The number of its grant, in order.
  var serial: UInt64 { rawValue >> Self.placeBits }
  fileprivate var index: LeaseIndex { LeaseIndex(number: Int(rawValue & (1 << Self.placeBits - 1))) }
}

struct LeaseTable: Sendable {
  private var leases = Slots<Lease>()
  private var byRequest = RequestMap<LeaseIndex>()
  private var freeCount = 0
  /// The sum of the instants at which the running leases began, without those of free calls.
  private var began: Int128 = 0
  /// The same for each provider.
  private struct Running: Sendable {
    var count = 0
    var began: Int128 = 0
  }
  private var byProvider = Column<ProviderState, Running>(Running())
  /// The serial of the newest lease.
  private(set) var lastSerial: UInt64 = 0

  var count: Int { leases.count }
  var isEmpty: Bool { leases.isEmpty }
  /// The number of leases that have a permit: free calls have none.
  var permitCount: Int { leases.count - freeCount }
  /// The running leases, in the order of their slots.
  var indices: SlotIndices<Lease> { leases.indices }

  /// nil where the lease is over.
  func index(of id: LeaseID) -> LeaseIndex? {
    let index = id.index
    guard leases.contains(index), leases[index].id == id else { return nil }
    return index
  }

  /// nil where the request does not run.
  func index(of request: RequestID) -> LeaseIndex? { byRequest[request] }

  subscript(index: LeaseIndex) -> Lease {
    @inline(__always) get { leases[index] }
    @inline(__always) _modify { yield &leases[index] }
  }

  /// Inserts the lease and gives it its id.
  mutating func insert(_ lease: consuming Lease) -> LeaseID {
    lastSerial += 1
    if lease.isFree { freeCount += 1 } else { count(lease.placement.provider, lease.began, by: 1) }
    let request = lease.request.box.ticket.id
    let index = leases.insert(lease)
    let id = LeaseID(serial: lastSerial, index)
    leases[index].id = id
    byRequest[request] = index
    return id
  }

  /// Inlined, so that the lease is moved once.
  @inline(__always) mutating func remove(_ index: LeaseIndex) -> Lease? {
    guard leases.contains(index) else { return nil }
    let lease = leases[index]
    drop(index)
    return lease
  }

  private mutating func drop(_ index: LeaseIndex) {
    byRequest[leases[index].request.box.ticket.id] = nil
    if leases[index].isFree {
      freeCount -= 1
    } else {
      count(leases[index].placement.provider, leases[index].began, by: -1)
    }
    leases.drop(index)
    if leases.isEmpty, leases.capacity > 1024 { leases.removeAll() }
  }

  @inline(__always) private mutating func count(_ provider: ProviderIndex, _ began: Instant, by step: Int) {
    let began = Int128(step) * Int128(began.nanoseconds)
    self.began += began
    byProvider[provider].count += step
    byProvider[provider].began += began
  }

  /// The mean time for which the provider's running calls have run, without free ones.
  func meanAge(at provider: ProviderIndex, _ now: Instant) -> Span {
    let running = byProvider[provider]
    guard running.count > 0 else { return .zero }
    let all = Int128(running.count) * Int128(now.nanoseconds) - running.began
    return Span(nanoseconds: max(0, Int64(clamping: all / Int128(running.count))))
  }

  /// The mean time for which the running calls have run, without free ones.
  func meanAge(at now: Instant) -> Span {
    guard permitCount > 0 else { return .zero }
    let all = Int128(permitCount) * Int128(now.nanoseconds) - began
    return Span(nanoseconds: max(0, Int64(clamping: all / Int128(permitCount))))
  }
}
