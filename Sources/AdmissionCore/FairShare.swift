// Whose turn it is inside one band: weighted start-time fair queueing on two levels, tenant then session.
//
// Each flow (a tenant; a session inside its tenant) has a tag, the virtual time at which its next request starts. The
// flow with the smallest tag goes next; a grant moves its tag on by cost / weight. Virtual time moves on with each
// grant by cost / (all weights that wait), and is never behind the flow that was served last; a flow that comes back
// from idling starts there, so that nobody saves up turns, and a stream of flows that nobody has seen before cannot
// keep the known ones waiting.
//
// Promise: over any time in which two tenants both have something placeable, their served cost differs from the ratio
// of their weights by at most two requests each; likewise sessions. Costs are estimates until `correct` gives the real
// ones. Why this one: O(log n), no rounds or quanta to tune, and requests may differ in size by a factor of 100,000.
//
// Heads are kept apart by route (the set of providers they may go to): when a provider is full, all heads that only it
// can serve are passed over at once instead of one by one. A route's heap holds branches (one for each tenant), a
// branch holds lanes.

struct FairShare: Sendable {
  private struct Flow: Sendable {
    var tag: Int64 = 0
    var stamp: UInt64 = 0
    /// Virtual time among its sessions.
    var virtualTime: Int64 = 0
    var lastCharge: Int64 = 0
    var isParked = false
    var weight: Int32 = 1
    var backlogged: Int32 = 0
    var running: Int32 = 0
    var branches: [Int32] = []
    /// Idle lanes that are remembered because they were served ahead of virtual time.
    var kept: [Int32] = []
    var sweepAbove = 64
  }
  private struct LaneState: Sendable {
    var tag: Int64 = 0
    var stamp: UInt64 = 0
    var tenant: Int32 = -1
    var branch: Int32 = -1
    var running: Int32 = 0
    var isKept = false
  }
  private struct Branch: Sendable {
    var tenant: Int32 = -1
    var route: Int32 = -1
    var lanes = IndexedHeap()
  }

  private var virtualTime: Int64 = 0
  /// The weights of all flows with a head together.
  private var backloggedWeight = 0
  private var flows: [Flow] = []
  private var lanes: [LaneState] = []
  private var lanePositions: [Int32] = []
  private var branches: [Branch] = []
  private var freeBranches: [Int32] = []
  private var branchPositions: [Int32] = []
  private var routes: [IndexedHeap] = []
  private var activeRoutes: [Int32] = []
  private var stamp: UInt64 = 0

  /// Lanes that have gone idle and need not be remembered; the owner closes them and empties this.
  var forgotten: [Int32] = []

  /// Lanes with a head.
  private(set) var backlogged = 0

  struct Choice: Equatable, Sendable {
    var lane: Int32
    var route: Int32
  }

  // MARK: Heads

  /// The lane's head may be placed on this route. The lane must belong to the same tenant until it is forgotten.
  mutating func setHead(lane: Int32, tenant: Int32, route: Int32) {
    grow(lane: lane, tenant: tenant, route: route)
    let current = lanes[Int(lane)].branch
    if current >= 0, branches[Int(current)].route == route { return }
    if current >= 0 {
      detach(lane)
    } else {
      backlogged += 1
      if flows[Int(tenant)].backlogged == 0 {
        flows[Int(tenant)].tag = max(flows[Int(tenant)].tag, virtualTime)
        stamp += 1
        flows[Int(tenant)].stamp = stamp
        backloggedWeight += Int(flows[Int(tenant)].weight)
      }
      flows[Int(tenant)].backlogged += 1
      lanes[Int(lane)].tenant = tenant
      lanes[Int(lane)].tag = max(lanes[Int(lane)].tag, flows[Int(tenant)].virtualTime)
      stamp += 1
      lanes[Int(lane)].stamp = stamp
    }
    attach(lane, tenant: tenant, route: route)
  }

  /// The lane has no head any more.
  mutating func clearHead(lane: Int32) {
    guard Int(lane) < lanes.count, lanes[Int(lane)].branch >= 0 else { return }
    detach(lane)
    subtractBacklog(of: Int(lanes[Int(lane)].tenant))
    retire(lane)
  }

  /// Takes the head out for a moment without the lane losing its place; `setHead` must follow before anything else.
  mutating func suspendHead(lane: Int32) {
    guard hasHead(lane: lane) else { return }
    detach(lane)
    subtractBacklog(of: Int(lanes[Int(lane)].tenant))
  }

  private mutating func subtractBacklog(of tenant: Int) {
    backlogged -= 1
    flows[tenant].backlogged -= 1
    if flows[tenant].backlogged == 0 { backloggedWeight -= Int(flows[tenant].weight) }
  }

  func hasHead(lane: Int32) -> Bool { Int(lane) < lanes.count && lanes[Int(lane)].branch >= 0 }

  /// The lane whose turn it is among the routes that are open, tenants that are parked left out.
  /// - Parameter closed: by route, the number of the pass that closed it; a route is open in any other pass.
  func next(closed: [UInt64], pass: UInt64) -> Choice? {
    var best: (tenant: IndexedHeap.Entry, lane: IndexedHeap.Entry, route: Int32)?
    for route in activeRoutes {
      guard let branch = routes[Int(route)].first, closed[Int(route)] != pass,
        let lane = branches[Int(branch.element)].lanes.first
      else { continue }
      if let found = best {
        let sameTenant = branch.key == found.tenant.key && branch.stamp == found.tenant.stamp
        guard sameTenant ? lane < found.lane : branch < found.tenant else { continue }
      }
      best = (branch, lane, route)
    }
    return best.map { Choice(lane: $0.lane.element, route: $0.route) }
  }

  // MARK: Cost

  /// The lane's head has been granted; it is still its head. A `correct` with `isOver` must follow.
  mutating func charge(lane: Int32, cost: Int64, weight: Int) {
    let tenant = Int(lanes[Int(lane)].tenant)
    if flows[tenant].weight != Int32(weight) {
      backloggedWeight += weight - Int(flows[tenant].weight)
      flows[tenant].weight = Int32(weight)
    }
    virtualTime = max(virtualTime + Self.scaled(cost, weight: backloggedWeight), flows[tenant].tag)
    let charge = Self.scaled(cost, weight: weight)
    flows[tenant].tag += charge
    flows[tenant].lastCharge = charge
    flows[tenant].running += 1
    flows[tenant].virtualTime = max(
      flows[tenant].virtualTime + Self.scaled(cost, weight: Int(flows[tenant].backlogged)), lanes[Int(lane)].tag)
    lanes[Int(lane)].tag += Self.scaled(cost, weight: 1)
    lanes[Int(lane)].running += 1
    stamp += 1
    flows[tenant].stamp = stamp
    lanes[Int(lane)].stamp = stamp
    rekey(lane)
  }

  /// What was granted turned out to cost `difference` more (or less, below zero).
  mutating func correct(lane: Int32, by difference: Int64, weight: Int, isOver: Bool) {
    let tenant = Int(lanes[Int(lane)].tenant)
    if difference != 0 {
      flows[tenant].tag += Self.scaled(difference, weight: weight)
      lanes[Int(lane)].tag += Self.scaled(difference, weight: 1)
      rekey(lane)
    }
    guard isOver else { return }
    flows[tenant].running -= 1
    lanes[Int(lane)].running -= 1
    if lanes[Int(lane)].branch < 0 { retire(lane) }
  }

  private static func scaled(_ cost: Int64, weight: Int) -> Int64 {
    min(max(cost, -(1 << 30)), 1 << 30) * 1024 / Int64(max(1, weight))
  }

  // MARK: Parking

  /// Leaves the tenant out of `next` until it is unparked: its own limit stands in its way.
  mutating func park(tenant: Int32) {
    guard Int(tenant) < flows.count, !flows[Int(tenant)].isParked else { return }
    flows[Int(tenant)].isParked = true
    for branch in flows[Int(tenant)].branches {
      routes[Int(branches[Int(branch)].route)].remove(branch, positions: &branchPositions)
    }
  }

  /// Back into the turns. What it could not use while its own limit held it back is not owed to it, but for one
  /// request.
  mutating func unpark(tenant: Int32) {
    guard Int(tenant) < flows.count, flows[Int(tenant)].isParked else { return }
    flows[Int(tenant)].isParked = false
    flows[Int(tenant)].tag = max(flows[Int(tenant)].tag, virtualTime - flows[Int(tenant)].lastCharge)
    for branch in flows[Int(tenant)].branches { insertBranch(branch) }
  }

  /// The tenant's number will be used for another one.
  mutating func forget(tenant: Int32) {
    if Int(tenant) < flows.count { flows[Int(tenant)] = Flow() }
  }

  // MARK: Structure

  private mutating func grow(lane: Int32, tenant: Int32, route: Int32) {
    while lanes.count <= Int(lane) {
      lanes.append(LaneState())
      lanePositions.append(-1)
    }
    while flows.count <= Int(tenant) { flows.append(Flow()) }
    while routes.count <= Int(route) { routes.append(IndexedHeap()) }
  }

  private mutating func attach(_ lane: Int32, tenant: Int32, route: Int32) {
    var branch: Int32 = -1
    for candidate in flows[Int(tenant)].branches where branches[Int(candidate)].route == route { branch = candidate }
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
      flows[Int(tenant)].branches.append(branch)
      if !flows[Int(tenant)].isParked { insertBranch(branch) }
    }
    lanes[Int(lane)].branch = branch
    branches[Int(branch)].lanes.insert(
      lane, key: lanes[Int(lane)].tag, stamp: lanes[Int(lane)].stamp, positions: &lanePositions)
  }

  private mutating func detach(_ lane: Int32) {
    let branch = lanes[Int(lane)].branch
    lanes[Int(lane)].branch = -1
    branches[Int(branch)].lanes.remove(lane, positions: &lanePositions)
    guard branches[Int(branch)].lanes.isEmpty else { return }
    let tenant = Int(branches[Int(branch)].tenant)
    routes[Int(branches[Int(branch)].route)].remove(branch, positions: &branchPositions)
    if let index = flows[tenant].branches.firstIndex(of: branch) { flows[tenant].branches.remove(at: index) }
    freeBranches.append(branch)
  }

  private mutating func insertBranch(_ branch: Int32) {
    let route = branches[Int(branch)].route
    if routes[Int(route)].isEmpty, !activeRoutes.contains(route) {
      activeRoutes.removeAll { routes[Int($0)].isEmpty }
      activeRoutes.append(route)
    }
    let flow = flows[Int(branches[Int(branch)].tenant)]
    routes[Int(route)].insert(branch, key: flow.tag, stamp: flow.stamp, positions: &branchPositions)
  }

  private mutating func rekey(_ lane: Int32) {
    let tenant = Int(lanes[Int(lane)].tenant)
    if lanes[Int(lane)].branch >= 0 {
      branches[Int(lanes[Int(lane)].branch)].lanes.update(
        lane, key: lanes[Int(lane)].tag, stamp: lanes[Int(lane)].stamp, positions: &lanePositions)
    }
    guard !flows[tenant].isParked else { return }
    for index in flows[tenant].branches.indices {
      let branch = flows[tenant].branches[index]
      routes[Int(branches[Int(branch)].route)].update(
        branch, key: flows[tenant].tag, stamp: flows[tenant].stamp, positions: &branchPositions)
    }
  }

  // MARK: Memory

  /// Remembers an idle lane only while it is ahead of virtual time, so that leaving and coming back gains nothing.
  private mutating func retire(_ lane: Int32) {
    let tenant = Int(lanes[Int(lane)].tenant)
    if flows[tenant].backlogged == 0, flows[tenant].running == 0 {
      // The end of the tenant's busy time: everybody starts anew.
      flows[tenant].kept.append(lane)
      for kept in flows[tenant].kept { forget(lane: kept) }
      flows[tenant].kept = []
      flows[tenant].sweepAbove = 64
    } else if lanes[Int(lane)].running == 0, !lanes[Int(lane)].isKept {
      if lanes[Int(lane)].tag <= flows[tenant].virtualTime {
        forget(lane: lane)
      } else {
        lanes[Int(lane)].isKept = true
        flows[tenant].kept.append(lane)
        if flows[tenant].kept.count > flows[tenant].sweepAbove { sweep(tenant) }
      }
    }
  }

  private mutating func sweep(_ tenant: Int) {
    var remaining: [Int32] = []
    for lane in flows[tenant].kept {
      let state = lanes[Int(lane)]
      if state.branch < 0, state.running == 0, state.tag > flows[tenant].virtualTime {
        remaining.append(lane)
      } else {
        lanes[Int(lane)].isKept = false
        if state.branch < 0, state.running == 0 { forget(lane: lane) }
      }
    }
    flows[tenant].kept = remaining
    flows[tenant].sweepAbove = max(64, 2 * remaining.count)
  }

  private mutating func forget(lane: Int32) {
    guard lanes[Int(lane)].branch < 0, lanes[Int(lane)].tenant >= 0 else { return }
    lanes[Int(lane)] = LaneState()
    forgotten.append(lane)
  }
}
