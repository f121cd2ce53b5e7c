// Requests that have waited longer than their band's `promote_after`, oldest first.
//
// Promise: `next` is the oldest of those whose route is open and whose tenant is not parked, in O(routes); insert and
// remove are O(log n). A branch holds one tenant's promoted requests of one route, so that a tenant at its own limit is
// passed over at once.

struct PromotionQueue: Sendable {
  private struct Branch: Sendable {
    var tenant: Int32 = -1
    var route: Int32 = -1
    var slots = IndexedHeap()
  }

  private var branches: [Branch] = []
  private var freeBranches: [Int32] = []
  private var branchPositions: [Int32] = []
  private var routes: [IndexedHeap] = []
  private var parked: [Bool] = []
  private var branchesOfTenant: [[Int32]] = []
  private var branchOfSlot: [Int32] = []
  private var slotPositions: [Int32] = []

  private(set) var count = 0

  func contains(_ slot: Int32) -> Bool { Int(slot) < branchOfSlot.count && branchOfSlot[Int(slot)] >= 0 }

  /// - Parameter age: the smaller, the older.
  mutating func insert(_ slot: Int32, tenant: Int32, route: Int32, age: UInt64) {
    while branchOfSlot.count <= Int(slot) {
      branchOfSlot.append(-1)
      slotPositions.append(-1)
    }
    while branchesOfTenant.count <= Int(tenant) {
      branchesOfTenant.append([])
      parked.append(false)
    }
    while routes.count <= Int(route) { routes.append(IndexedHeap()) }
    var branch: Int32 = -1
    for candidate in branchesOfTenant[Int(tenant)] where branches[Int(candidate)].route == route { branch = candidate }
    if branch < 0 {
      if let free = freeBranches.popLast() {
        branch = free
      } else {
        branch = Int32(branches.count)
        branches.append(Branch())
        branchPositions.append(-1)
      }
      branches[Int(branch)].tenant = tenant
      branches[Int(branch)].route = route
      branchesOfTenant[Int(tenant)].append(branch)
    }
    branchOfSlot[Int(slot)] = branch
    branches[Int(branch)].slots.insert(slot, key: Int64(bitPattern: age), stamp: 0, positions: &slotPositions)
    count += 1
    place(branch)
  }

  mutating func remove(_ slot: Int32) {
    guard contains(slot) else { return }
    let branch = branchOfSlot[Int(slot)]
    branchOfSlot[Int(slot)] = -1
    branches[Int(branch)].slots.remove(slot, positions: &slotPositions)
    count -= 1
    if branches[Int(branch)].slots.isEmpty {
      let tenant = Int(branches[Int(branch)].tenant)
      routes[Int(branches[Int(branch)].route)].remove(branch, positions: &branchPositions)
      if let index = branchesOfTenant[tenant].firstIndex(of: branch) { branchesOfTenant[tenant].remove(at: index) }
      freeBranches.append(branch)
    } else {
      place(branch)
    }
  }

  /// The oldest one on a route that is open.
  /// - Parameter closed: by route, the number of the pass that closed it; a route is open in any other pass.
  func next(closed: [UInt64], pass: UInt64) -> Int32? {
    guard count > 0 else { return nil }
    var best: (age: Int64, slot: Int32)?
    for route in routes.indices {
      guard let branch = routes[route].first, best == nil || branch.key < best!.age, closed[route] != pass,
        let slot = branches[Int(branch.element)].slots.first
      else { continue }
      best = (slot.key, slot.element)
    }
    return best?.slot
  }

  mutating func park(tenant: Int32) {
    guard Int(tenant) < parked.count, !parked[Int(tenant)] else { return }
    parked[Int(tenant)] = true
    for branch in branchesOfTenant[Int(tenant)] {
      routes[Int(branches[Int(branch)].route)].remove(branch, positions: &branchPositions)
    }
  }

  mutating func unpark(tenant: Int32) {
    guard Int(tenant) < parked.count, parked[Int(tenant)] else { return }
    parked[Int(tenant)] = false
    for branch in branchesOfTenant[Int(tenant)] { place(branch) }
  }

  mutating func rename(_ old: Int32, to new: Int32) {
    guard contains(old) else { return }
    let branch = branchOfSlot[Int(old)]
    branchOfSlot[Int(old)] = -1
    branchOfSlot[Int(new)] = branch
    branches[Int(branch)].slots.rename(old, to: new, positions: &slotPositions)
  }

  mutating func trimSlots(to count: Int) {
    guard branchOfSlot.count > count else { return }
    branchOfSlot.removeLast(branchOfSlot.count - count)
    slotPositions.removeLast(slotPositions.count - count)
  }

  private mutating func place(_ branch: Int32) {
    guard !parked[Int(branches[Int(branch)].tenant)], let oldest = branches[Int(branch)].slots.first else { return }
    let route = Int(branches[Int(branch)].route)
    if branchPositions[Int(branch)] < 0 {
      routes[route].insert(branch, key: oldest.key, stamp: 0, positions: &branchPositions)
    } else {
      routes[route].update(branch, key: oldest.key, stamp: 0, positions: &branchPositions)
    }
  }
}
