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
// Providers that no route puts together (different clusters) have nothing to share, and their flows nothing to compare: a flow has a tag for
// each cluster, and each cluster its own virtual time. With one time for all, a flood at a full provider lags behind the time that
// others move on, and whoever comes new would stand behind all of it. Between clusters the one that was served longest ago goes first.
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
  /// The flows of providers that routes put together.
  private struct Cluster: Sendable {
    var virtualTime: Int64 = 0
    /// The weights of all flows with a head together.
    var backloggedWeight = 0
    /// Of its last grant.
    var stamp: UInt64 = 0
    /// By tenant.
    var flows: [Flow] = []
  }
  private struct LaneState: Sendable {
    var tag: Int64 = 0
    var stamp: UInt64 = 0
    var tenant: Int32 = -1
    /// Stays the lane's until it is forgotten.
    var cluster: Int32 = 0
    var branch: Int32 = -1
    var running: Int32 = 0
    var isKept = false
  }
  private struct Branch: Sendable {
    var tenant: Int32 = -1
    var cluster: Int32 = 0
    var route: Int32 = -1
    var lanes = IndexedHeap()
  }

  private var clusters: [Cluster] = []
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

  /// The lane's head may be placed on this route. The lane must belong to the same tenant and cluster until it is forgotten.
  mutating func setHead(lane: Int32, tenant: Int32, route: Int32, cluster: Int32 = 0) {
    grow(lane: lane, tenant: tenant, route: route, cluster: cluster)
    let current = lanes[Int(lane)].branch
    if current >= 0, branches[Int(current)].route == route { return }
    if current >= 0 {
      detach(lane)
    } else {
      backlogged += 1
      let own = Int(cluster)
      if clusters[own].flows[Int(tenant)].backlogged == 0 {
        clusters[own].flows[Int(tenant)].tag = max(clusters[own].flows[Int(tenant)].tag, clusters[own].virtualTime)
        stamp += 1
        clusters[own].flows[Int(tenant)].stamp = stamp
        clusters[own].backloggedWeight += Int(clusters[own].flows[Int(tenant)].weight)
      }
      clusters[own].flows[Int(tenant)].backlogged += 1
      lanes[Int(lane)].tenant = tenant
      lanes[Int(lane)].cluster = cluster
      lanes[Int(lane)].tag = max(lanes[Int(lane)].tag, clusters[own].flows[Int(tenant)].virtualTime)
      stamp += 1
      lanes[Int(lane)].stamp = stamp
    }
    attach(lane, tenant: tenant, route: route)
  }

  /// The lane has no head any more.
  mutating func clearHead(lane: Int32) {
    guard Int(lane) < lanes.count, lanes[Int(lane)].branch >= 0 else { return }
    detach(lane)
    subtractBacklog(of: lane)
    retire(lane)
  }

  /// Takes the head out for a moment without the lane losing its place; `setHead` must follow before anything else.
  mutating func suspendHead(lane: Int32) {
    guard hasHead(lane: lane) else { return }
    detach(lane)
    subtractBacklog(of: lane)
  }

  private mutating func subtractBacklog(of lane: Int32) {
    let (tenant, own) = (Int(lanes[Int(lane)].tenant), Int(lanes[Int(lane)].cluster))
    backlogged -= 1
    clusters[own].flows[tenant].backlogged -= 1
    if clusters[own].flows[tenant].backlogged == 0 {
      clusters[own].backloggedWeight -= Int(clusters[own].flows[tenant].weight)
    }
  }

  func hasHead(lane: Int32) -> Bool { Int(lane) < lanes.count && lanes[Int(lane)].branch >= 0 }

  /// The lane whose turn it is among the routes that are open, tenants that are parked left out.
  /// - Parameter closed: by route, the number of the pass that closed it; a route is open in any other pass.
  func next(closed: [UInt64], pass: UInt64) -> Choice? {
    var best: (tenant: IndexedHeap.Entry, lane: IndexedHeap.Entry, route: Int32, cluster: Int32)?
    for route in activeRoutes {
      guard let branch = routes[Int(route)].first, closed[Int(route)] != pass,
        let lane = branches[Int(branch.element)].lanes.first
      else { continue }
      let own = branches[Int(branch.element)].cluster
      if let found = best, own != found.cluster {
        guard clusters[Int(own)].stamp < clusters[Int(found.cluster)].stamp else { continue }
      } else if let found = best {
        let sameTenant = branch.key == found.tenant.key && branch.stamp == found.tenant.stamp
        guard sameTenant ? lane < found.lane : branch < found.tenant else { continue }
      }
      best = (branch, lane, route, own)
    }
    return best.map { Choice(lane: $0.lane.element, route: $0.route) }
  }

  // MARK: Cost

  /// The lane's head has been granted; it is still its head. A `correct` with `isOver` must follow.
  mutating func charge(lane: Int32, cost: Int64, weight: Int) {
    let (tenant, own) = (Int(lanes[Int(lane)].tenant), Int(lanes[Int(lane)].cluster))
    var flow = Flow()
    // Out of the array while it changes, so that nothing is copied.
    swap(&flow, &clusters[own].flows[tenant])
    if flow.weight != Int32(weight) {
      clusters[own].backloggedWeight += weight - Int(flow.weight)
      flow.weight = Int32(weight)
    }
    clusters[own].virtualTime = max(
      clusters[own].virtualTime + Self.scaled(cost, weight: clusters[own].backloggedWeight), flow.tag)
    let charge = Self.scaled(cost, weight: weight)
    flow.tag += charge
    flow.lastCharge = charge
    flow.running += 1
    flow.virtualTime = max(
      flow.virtualTime + Self.scaled(cost, weight: Int(flow.backlogged)), lanes[Int(lane)].tag)
    lanes[Int(lane)].tag += Self.scaled(cost, weight: 1)
    lanes[Int(lane)].running += 1
    stamp += 1
    flow.stamp = stamp
    clusters[own].stamp = stamp
    lanes[Int(lane)].stamp = stamp
    swap(&flow, &clusters[own].flows[tenant])
    rekey(lane)
  }

  /// What was granted turned out to cost `difference` more (or less, below zero).
  mutating func correct(lane: Int32, by difference: Int64, weight: Int, isOver: Bool) {
    let (tenant, own) = (Int(lanes[Int(lane)].tenant), Int(lanes[Int(lane)].cluster))
    if difference != 0 {
      clusters[own].flows[tenant].tag += Self.scaled(difference, weight: weight)
      lanes[Int(lane)].tag += Self.scaled(difference, weight: 1)
      rekey(lane)
    }
    guard isOver else { return }
    clusters[own].flows[tenant].running -= 1
    lanes[Int(lane)].running -= 1
    if lanes[Int(lane)].branch < 0 { retire(lane) }
  }

  private static func scaled(_ cost: Int64, weight: Int) -> Int64 {
    min(max(cost, -(1 << 30)), 1 << 30) * 1024 / Int64(max(1, weight))
  }

  // MARK: Parking

  /// Leaves the tenant out of `next` until it is unparked: its own limit stands in its way.
  mutating func park(tenant: Int32) {
    for own in clusters.indices where Int(tenant) < clusters[own].flows.count {
      guard !clusters[own].flows[Int(tenant)].isParked else { continue }
      clusters[own].flows[Int(tenant)].isParked = true
      for branch in clusters[own].flows[Int(tenant)].branches {
        routes[Int(branches[Int(branch)].route)].remove(branch, positions: &branchPositions)
      }
    }
  }

  /// Back into the turns. What it could not use while its own limit held it back is not owed to it, but for one
  /// request.
  mutating func unpark(tenant: Int32) {
    for own in clusters.indices where Int(tenant) < clusters[own].flows.count {
      let flow = clusters[own].flows[Int(tenant)]
      guard flow.isParked else { continue }
      clusters[own].flows[Int(tenant)].isParked = false
      clusters[own].flows[Int(tenant)].tag = max(flow.tag, clusters[own].virtualTime - flow.lastCharge)
      for branch in flow.branches { insertBranch(branch) }
    }
  }

  /// The tenant's number will be used for another one.
  mutating func forget(tenant: Int32) {
    for own in clusters.indices where Int(tenant) < clusters[own].flows.count {
      clusters[own].flows[Int(tenant)] = Flow()
    }
  }

  // MARK: Structure

  private mutating func grow(lane: Int32, tenant: Int32, route: Int32, cluster: Int32) {
    while lanes.count <= Int(lane) {
      lanes.append(LaneState())
      lanePositions.append(-1)
    }
    while clusters.count <= Int(cluster) { clusters.append(Cluster()) }
    while clusters[Int(cluster)].flows.count <= Int(tenant) { clusters[Int(cluster)].flows.append(Flow()) }
    while routes.count <= Int(route) { routes.append(IndexedHeap()) }
  }

  private mutating func attach(_ lane: Int32, tenant: Int32, route: Int32) {
    let own = Int(lanes[Int(lane)].cluster)
    var branch: Int32 = -1
    for candidate in clusters[own].flows[Int(tenant)].branches where branches[Int(candidate)].route == route {
      branch = candidate
    }
    if branch < 0 {
      if let free = freeBranches.popLast() {
        branch = free
      } else {
        branch = Int32(branches.count)
        branches.append(Branch())
        branchPositions.append(-1)
      }
      branches[Int(branch)].tenant = tenant
      branches[Int(branch)].cluster = Int32(own)
      branches[Int(branch)].route = route
      clusters[own].flows[Int(tenant)].branches.append(branch)
      if !clusters[own].flows[Int(tenant)].isParked { insertBranch(branch) }
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
    let (tenant, own) = (Int(branches[Int(branch)].tenant), Int(branches[Int(branch)].cluster))
    routes[Int(branches[Int(branch)].route)].remove(branch, positions: &branchPositions)
    if let index = clusters[own].flows[tenant].branches.firstIndex(of: branch) {
      clusters[own].flows[tenant].branches.remove(at: index)
    }
    freeBranches.append(branch)
  }

  private mutating func insertBranch(_ branch: Int32) {
    let route = branches[Int(branch)].route
    if routes[Int(route)].isEmpty, !activeRoutes.contains(route) {
      activeRoutes.removeAll { routes[Int($0)].isEmpty }
      activeRoutes.append(route)
    }
    let own = Int(branches[Int(branch)].cluster)
    let flow = clusters[own].flows[Int(branches[Int(branch)].tenant)]
    routes[Int(route)].insert(branch, key: flow.tag, stamp: flow.stamp, positions: &branchPositions)
  }

  private mutating func rekey(_ lane: Int32) {
    let (tenant, own) = (Int(lanes[Int(lane)].tenant), Int(lanes[Int(lane)].cluster))
    if lanes[Int(lane)].branch >= 0 {
      branches[Int(lanes[Int(lane)].branch)].lanes.update(
        lane, key: lanes[Int(lane)].tag, stamp: lanes[Int(lane)].stamp, positions: &lanePositions)
    }
    guard !clusters[own].flows[tenant].isParked else { return }
    for index in clusters[own].flows[tenant].branches.indices {
      let branch = clusters[own].flows[tenant].branches[index]
      routes[Int(branches[Int(branch)].route)].update(
        branch, key: clusters[own].flows[tenant].tag, stamp: clusters[own].flows[tenant].stamp,
        positions: &branchPositions)
    }
  }

  // MARK: Memory

  /// Remembers an idle lane only while it is ahead of virtual time, so that leaving and coming back gains nothing.
  private mutating func retire(_ lane: Int32) {
    let (tenant, own) = (Int(lanes[Int(lane)].tenant), Int(lanes[Int(lane)].cluster))
    if clusters[own].flows[tenant].backlogged == 0, clusters[own].flows[tenant].running == 0 {
      // The end of the tenant's busy time: everybody starts anew.
      let kept = clusters[own].flows[tenant].kept + [lane]
      clusters[own].flows[tenant].kept = []
      clusters[own].flows[tenant].sweepAbove = 64
      for lane in kept { forget(lane: lane) }
    } else if lanes[Int(lane)].running == 0, !lanes[Int(lane)].isKept {
      if lanes[Int(lane)].tag <= clusters[own].flows[tenant].virtualTime {
        forget(lane: lane)
      } else {
        lanes[Int(lane)].isKept = true
        clusters[own].flows[tenant].kept.append(lane)
        if clusters[own].flows[tenant].kept.count > clusters[own].flows[tenant].sweepAbove { sweep(tenant, own) }
      }
    }
  }

  private mutating func sweep(_ tenant: Int, _ own: Int) {
    var remaining: [Int32] = []
    for lane in clusters[own].flows[tenant].kept {
      let state = lanes[Int(lane)]
      if state.branch < 0, state.running == 0, state.tag > clusters[own].flows[tenant].virtualTime {
        remaining.append(lane)
      } else {
        lanes[Int(lane)].isKept = false
        if state.branch < 0, state.running == 0 { forget(lane: lane) }
      }
    }
    clusters[own].flows[tenant].kept = remaining
    clusters[own].flows[tenant].sweepAbove = max(64, 2 * remaining.count)
  }

  private mutating func forget(lane: Int32) {
    guard lanes[Int(lane)].branch < 0, lanes[Int(lane)].tenant >= 0 else { return }
    lanes[Int(lane)] = LaneState()
    forgotten.append(lane)
  }
}
