// The tenants whose requests wait and run: the limits of each, and whether its own limit keeps it from taking turns
// (parked).
//
// Promises: tenants that the policy does not list are forgotten when none of their requests is left and their buckets
// are full again, so that names that come and go take no memory. Looking for them costs O(1), amortised, for each new
// tenant.

struct TenantState: SlotElement {
  struct Parking: Sendable {
    var request: RequestID
    var band: Int
    var obstacle: Obstacle
    var until: Instant
  }
  var id: TenantID
  var weight: Int
  var capacity: Capacity
  var isListed: Bool
  var queued = 0
  /// Free calls that run.
  var freeCalls = 0
  fileprivate(set) var parking: Parking?
  /// Routes on which a head whose session is at its limit found none of the tenant's own permits or units left.
  var awaitedBySpare: [RouteIndex] = []
  var budgets: [BudgetPolicy] = []
  /// The accounts of the broker's and the tenant's own budgets.
  var accounts: [AccountIndex] = []

  fileprivate func isIdle(at now: Instant) -> Bool {
    queued == 0 && freeCalls == 0 && capacity.permits.inUse == 0 && capacity.buckets.allSatisfy { $0.isFull(at: now) }
  }
}

typealias TenantIndex = Slots<TenantState>.Index

struct TenantTable: Sendable {
  private var tenants = Slots<TenantState>()
  private var byName: [TenantID: TenantIndex] = [:]
  private var sweepAbove = Self.leastSweep
  /// Parked tenants, by when their bucket has enough.
  private var timers = IndexedHeap<TenantState>()
  private var timerPositions = IndexedHeap<TenantState>.Positions()

  private static let leastSweep = 256

  var count: Int { tenants.count }
  var indices: SlotIndices<TenantState> { tenants.indices }
  /// All tenants, in the order of their slots.
  var all: [TenantState] { tenants.indices.map { tenants[$0] } }

  func index(of id: TenantID) -> TenantIndex? { byName[id] }

  subscript(index: TenantIndex) -> TenantState {
    @inline(__always) get { tenants[index] }
    @inline(__always) _modify { yield &tenants[index] }
  }

  mutating func insert(_ tenant: TenantState) -> TenantIndex {
    let index = tenants.insert(tenant)
    byName[tenant.id] = index
    return index
  }

  /// True where there are so many tenants that idle ones should be looked for before another is added.
  var isCrowded: Bool { byName.count > sweepAbove }

  /// Forgets unlisted tenants that have no requests here and whose buckets are full again. Returns their indices, which
  /// will be used again.
  mutating func sweep(at now: Instant) -> [TenantIndex] {
    let idle = tenants.indices.filter { !tenants[$0].isListed && tenants[$0].isIdle(at: now) }
    for index in idle {
      guard let tenant = tenants.remove(index) else { continue }
      byName[tenant.id] = nil
    }
    sweepAbove = max(Self.leastSweep, 2 * byName.count)
    return idle
  }

  // MARK: Parking

  mutating func park(_ index: TenantIndex, _ parking: TenantState.Parking) {
    tenants[index].parking = parking
    guard parking.until != .distantFuture else { return }
    timers.set(index, key: parking.until.nanoseconds, stamp: 0, positions: &timerPositions)
  }

  /// Unparks the tenant. Returns false where it is not parked.
  mutating func unpark(_ index: TenantIndex) -> Bool {
    guard tenants[index].parking != nil else { return false }
    tenants[index].parking = nil
    timers.remove(index, positions: &timerPositions)
    return true
  }

  /// When the first parked tenant's bucket has enough.
  var nextDeadline: Instant? { timers.first.map { Instant(nanoseconds: $0.key) } }

  /// A parked tenant whose bucket has enough by now.
  func due(at now: Instant) -> TenantIndex? {
    guard let first = timers.first, first.key <= now.nanoseconds else { return nil }
    return first.element
  }
}
