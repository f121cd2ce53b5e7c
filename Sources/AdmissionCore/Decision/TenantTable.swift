// Whose requests wait and run: each tenant's limits, and where it is kept from its turns by its own limit (parked).
//
// Promises: tenants that the policy does not list are forgotten when nothing of theirs is left and their buckets are full again, so that
// names that come and go take no memory; looking for those costs O(1) for each new tenant in the mean.

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
  fileprivate(set) var parking: Parking?
  var budgets: [BudgetPolicy] = []
  /// The accounts of the broker's and the tenant's own budgets.
  var accounts: [AccountIndex] = []

  fileprivate func isIdle(at now: Instant) -> Bool {
    queued == 0 && capacity.permits.inUse == 0 && capacity.buckets.allSatisfy { $0.isFull(at: now) }
  }
}

typealias TenantIndex = Slots<TenantState>.Index

struct TenantTable: Sendable {
  private var tenants = Slots<TenantState>()
  private var byName: [TenantID: TenantIndex] = [:]
  private var sweepAbove = Self.leastSweep
  /// Parked tenants, by when their own bucket has enough.
  private var timers = IndexedHeap<TenantState>()
  private var timerPositions = IndexedHeap<TenantState>.Positions()

  private static let leastSweep = 256

  var count: Int { tenants.count }
  var indices: SlotIndices<TenantState> { tenants.indices }
  /// In the order of their places.
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

  /// True where there are so many that idle ones should be looked for before another comes.
  var isCrowded: Bool { byName.count > sweepAbove }

  /// Forgets unlisted tenants that have nothing here and whose buckets are full again. Returns their places, which will be used for others.
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

  /// Returns false where the tenant is not parked.
  mutating func unpark(_ index: TenantIndex) -> Bool {
    guard tenants[index].parking != nil else { return false }
    tenants[index].parking = nil
    timers.remove(index, positions: &timerPositions)
    return true
  }

  /// When the first parked tenant's bucket has enough.
  var nextDeadline: Instant? { timers.first.map { Instant(nanoseconds: $0.key) } }

  /// The parked tenant whose time has come.
  func due(at now: Instant) -> TenantIndex? {
    guard let first = timers.first, first.key <= now.nanoseconds else { return nil }
    return first.element
  }
}
