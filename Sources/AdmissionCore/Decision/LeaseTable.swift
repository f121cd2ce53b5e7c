// What runs: the committed placement of each attempt.
//
// Promises: an id is never given twice, so a late word about a lease that is over finds nothing; memory comes back when many leases
// have ended.

/// What a grant was counted as in the order of turns, until its real cost is known.
struct LeaseTurn: Sendable {
  var share: FairShare.Charge
  var credit: BandScheduler.Entry
}

/// A committed placement.
struct Lease: SlotElement {
  /// Until it is in the table, of no lease.
  fileprivate(set) var id = LeaseID(rawValue: 0)
  var request: Request
  var placement: Placement
  var takenFromProvider = TakenUnits.zero
  var takenFromModel = TakenUnits.zero
  var takenFromKey = TakenUnits.zero
  var takenFromTenant = TakenUnits.zero
  /// What fairness and the bands counted it as; nil where nobody waited.
  var turn: LeaseTurn?
  /// Among the candidates of its ticket.
  var candidate: Int
  /// Of its key, with the secret that it had then; 0 without a key.
  var keySerial: Int64 = 0
  var began: Instant
  /// What is held in the request's accounts, and the epoch in which it was taken.
  var held = BudgetAmounts()
  var epoch: UInt32
  // The generations of breakers and gates that let it pass.
  var breakerGeneration: UInt64 = 0
  var gateGeneration: UInt64 = 0
  var keyGeneration: UInt64 = 0
  var modelBreakerGeneration: UInt64 = 0
  var modelGateGeneration: UInt64 = 0
  var keyModelGeneration: UInt64 = 0
  /// How many counted against the same quota when this one was sent, itself included.
  var counted = 0
  /// Whether what the answer's head told of limits would be reason enough to refuse the call; nil where it told
  /// nothing.
  var numbersRefuse: Bool?
  /// Tokens have come: the provider has taken the call.
  var isAnswering = false

  init(request: Request, placement: Placement, turn: LeaseTurn?, candidate: Int, began: Instant, epoch: UInt32) {
    self.request = request
    self.placement = placement
    self.turn = turn
    self.candidate = candidate
    self.began = began
    self.epoch = epoch
  }

  mutating func vacate() {
    id = LeaseID(rawValue: 0)
    request.vacate()
  }
}

typealias LeaseIndex = Slots<Lease>.Index

extension LeaseID {
  /// The low bits are its place.
  private static let placeBits: UInt64 = 24

  fileprivate init(serial: UInt64, _ index: LeaseIndex) {
    self.init(rawValue: serial << Self.placeBits | UInt64(index.position))
  }
  /// Its number in order of grants.
  var serial: UInt64 { rawValue >> Self.placeBits }
  fileprivate var index: LeaseIndex { LeaseIndex(number: Int(rawValue & (1 << Self.placeBits - 1))) }
}

struct LeaseTable: Sendable {
  private var leases = Slots<Lease>()
  private var byRequest: [RequestID: LeaseIndex] = [:]
  /// The instants at which they began, added up.
  private var began: Int128 = 0
  /// Of the lease that was made last.
  private(set) var lastSerial: UInt64 = 0

  var count: Int { leases.count }
  var isEmpty: Bool { leases.isEmpty }
  /// Those that run, in the order of their places.
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

  /// Gives the lease its id.
  mutating func insert(_ lease: consuming Lease) -> LeaseID {
    lastSerial += 1
    began += Int128(lease.began.nanoseconds)
    let request = lease.request.ticket.id
    let index = leases.insert(lease)
    let id = LeaseID(serial: lastSerial, index)
    leases[index].id = id
    byRequest[request] = index
    return id
  }

  mutating func remove(_ index: LeaseIndex) -> Lease? {
    guard let lease = leases.remove(index) else { return nil }
    byRequest[lease.request.ticket.id] = nil
    began -= Int128(lease.began.nanoseconds)
    if leases.isEmpty, leases.capacity > 1024 {
      leases.removeAll()
      byRequest = [:]
    }
    return lease
  }

  /// For how long the calls that run have run, in the mean.
  func meanAge(at now: Instant) -> Span {
    guard count > 0 else { return .zero }
    let all = Int128(count) * Int128(now.nanoseconds) - began
    return Span(nanoseconds: max(0, Int64(clamping: all / Int128(count))))
  }
}
