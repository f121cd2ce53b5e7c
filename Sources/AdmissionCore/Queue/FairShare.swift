// Whose turn it is inside one band: weighted start-time fair queueing on two levels, tenant then session.
//
// Each flow (a tenant; a session inside its tenant) has a tag, the virtual time at which its next request starts. The flow with the smallest
// tag goes next; a grant moves its tag on by cost / weight. Virtual time is where those start who come new or come back from
// idling; `FairLevel` tells how it moves, and why estimates have no part in it.
//
// Promises, however wrong estimates are:
// - Where two tenants both keep something placeable waiting, what they have really used differs from the ratio of their weights by what
//   runs and one call; likewise sessions. Nothing of it adds up.
// - Who comes back from idling (nothing of his waits or runs) waits for no other flow longer than for two calls' real cost: the larger of his
//   own and of those that ran meanwhile.
// - New flows without end do not starve the known ones: for each of its turns a known one waits only for those who came
//   before its last call had ended.
// Why this one: O(log n), no rounds or quanta to tune, and requests may differ in size by a factor of 100,000.
//
// Providers that no route puts together (different clusters) have nothing to share, and their flows nothing to compare: a flow has a position in
// each cluster, and each cluster its own virtual time. With one time for all, a flood at a full provider lags behind the time that
// others move on, and whoever comes new would stand behind all of it. Between clusters the one that was served longest ago goes first.
//
// Heads are kept apart by route (the set of providers they may go to): when a provider is full, all heads that only it
// can serve are passed over at once instead of one by one. A route's heap holds branches (one for each tenant), a
// branch holds lanes.
//
// It also knows where an old head waits (`promote_after`), for the share that its band gets.

struct FairShare: Sendable {
  private struct Flow: Sendable {
    var position = FairPosition()
    var stamp: UInt64 = 0
    /// Its sessions among one another.
    var level = FairLevel()
    var isParked = false
    var weight: Int32 = 1
    var backlogged: Int32 = 0
    /// Lanes whose head is old.
    var old: Int32 = 0
    var branches: [Int32] = []
    /// Idle lanes that are remembered because they were served ahead of virtual time.
    var kept: [Int32] = []
    var sweepAbove = 64
  }
  /// The flows of providers that routes put together.
  private struct Cluster: Sendable {
    /// Its tenants among one another.
    var level = FairLevel()
    /// Of its last grant.
    var stamp: UInt64 = 0
    /// Lanes with an old head, those of parked tenants left out.
    var old: Int32 = 0
    /// By tenant.
    var flows: [Flow] = []
    /// By route: its branches in this cluster. (After a change of policy a route's heads may be of two clusters.)
    var routes: [IndexedHeap] = []
    var activeRoutes: [Int32] = []
  }
  private struct LaneState: Sendable {
    var position = FairPosition()
    var stamp: UInt64 = 0
    var tenant: Int32 = -1
    /// Stays the lane's until it is forgotten.
    var cluster: Int32 = 0
    var branch: Int32 = -1
    var isKept = false
    var isOld = false
    /// Its head is out for a moment; in all else it waits.
    var isSuspended = false
    var isWaiting: Bool { branch >= 0 || isSuspended }
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
  /// Positions in the levels' heaps: of lanes, and of tenants by cluster.
  private var laneTurns: [Int32] = []
  private var tenantTurns: [[Int32]] = []
  private var stamp: UInt64 = 0

  /// Lanes that have gone idle and need not be remembered; the owner closes them and empties this.
  var forgotten: [Int32] = []

  /// Lanes with a head.
  private(set) var backlogged = 0

  struct Choice: Equatable, Sendable {
    var lane: Int32
    var route: Int32
  }

  /// A grant, until its real cost is known.
  struct Charge: Sendable {
    var lane: Int32
    var weight: Int32
    fileprivate var ofTenant = FairCharge()
    fileprivate var ofLane = FairCharge()
  }

  // MARK: Heads

  /// The lane's head may be placed on this route. The lane must belong to the same tenant and cluster until it is forgotten.
  mutating func setHead(lane: Int32, tenant: Int32, route: Int32, cluster: Int32 = 0) {
    grow(lane: lane, tenant: tenant, route: route, cluster: cluster)
    let current = lanes[Int(lane)].branch
    if current >= 0, branches[Int(current)].route == route { return joinTurns(lane) }
    if current >= 0 {
      detach(lane)
    } else if lanes[Int(lane)].isSuspended {
      lanes[Int(lane)].isSuspended = false
    } else {
      arrive(lane, tenant: Int(tenant), own: Int(cluster))
    }
    attach(lane, tenant: tenant, route: route)
    joinTurns(lane)
  }

  /// The lane begins to wait, and with its first one the tenant.
  private mutating func arrive(_ lane: Int32, tenant: Int, own: Int) {
    backlogged += 1
    stamp += 1
    if clusters[own].flows[tenant].backlogged == 0 {
      var position = clusters[own].flows[tenant].position
      clusters[own].level.arrive(&position, weight: Int(clusters[own].flows[tenant].weight))
      clusters[own].flows[tenant].position = position
      clusters[own].flows[tenant].stamp = stamp
    }
    clusters[own].flows[tenant].backlogged += 1
    lanes[Int(lane)].tenant = Int32(tenant)
    lanes[Int(lane)].cluster = Int32(own)
    clusters[own].flows[tenant].level.arrive(&lanes[Int(lane)].position, weight: 1)
    lanes[Int(lane)].stamp = stamp
  }

  /// The lane has no head any more.
  mutating func clearHead(lane: Int32) {
    guard Int(lane) < lanes.count, lanes[Int(lane)].isWaiting else { return }
    setOld(lane: lane, false)
    if lanes[Int(lane)].branch >= 0 { detach(lane) }
    lanes[Int(lane)].isSuspended = false
    let (tenant, own) = (Int(lanes[Int(lane)].tenant), Int(lanes[Int(lane)].cluster))
    backlogged -= 1
    clusters[own].flows[tenant].backlogged -= 1
    clusters[own].flows[tenant].level.inTurn.remove(lane, positions: &laneTurns)
    clusters[own].flows[tenant].level.leave(&lanes[Int(lane)].position, weight: 1)
    if clusters[own].flows[tenant].backlogged == 0 {
      clusters[own].level.inTurn.remove(Int32(tenant), positions: &tenantTurns[own])
      var position = clusters[own].flows[tenant].position
      clusters[own].level.leave(&position, weight: Int(clusters[own].flows[tenant].weight))
      clusters[own].flows[tenant].position = position
    } else {
      joinTurns(tenant: tenant, own)
    }
    retire(lane)
  }

  /// Takes the head out for a moment without the lane losing its place; `setHead` must follow before anything else.
  mutating func suspendHead(lane: Int32) {
    guard hasHead(lane: lane) else { return }
    detach(lane)
    lanes[Int(lane)].isSuspended = true
  }

  func hasHead(lane: Int32) -> Bool { Int(lane) < lanes.count && lanes[Int(lane)].branch >= 0 }

  /// Whether the lane's head has waited past its band's `promote_after`.
  mutating func setOld(lane: Int32, _ isOld: Bool) {
    guard Int(lane) < lanes.count, lanes[Int(lane)].isWaiting, lanes[Int(lane)].isOld != isOld else { return }
    lanes[Int(lane)].isOld = isOld
    let (tenant, own) = (Int(lanes[Int(lane)].tenant), Int(lanes[Int(lane)].cluster))
    clusters[own].flows[tenant].old += isOld ? 1 : -1
    if !clusters[own].flows[tenant].isParked { clusters[own].old += isOld ? 1 : -1 }
  }

  /// True where an old head takes part in the turns.
  func hasOld(in cluster: Int32) -> Bool { Int(cluster) < clusters.count && clusters[Int(cluster)].old > 0 }

  /// Cluster numbers in use are below this.
  var clusterCount: Int32 { Int32(clusters.count) }

  /// The cluster of a lane that waits or runs.
  func cluster(of lane: Int32) -> Int32 { lanes[Int(lane)].cluster }

  /// The lane whose turn it is among the routes that are open, tenants that are parked left out.
  /// - Parameter closed: by route, the number of the pass that closed it; a route is open in any other pass.
  func next(closed: [UInt64], pass: UInt64) -> Choice? {
    var best: (choice: Choice, stamp: UInt64)?
    for own in clusters.indices where best.map({ clusters[own].stamp < $0.stamp }) ?? true {
      if let choice = next(in: Int32(own), closed: closed, pass: pass) { best = (choice, clusters[own].stamp) }
    }
    return best?.choice
  }

  /// The same among the providers of one cluster.
  func next(in cluster: Int32, closed: [UInt64], pass: UInt64) -> Choice? {
    guard Int(cluster) < clusters.count else { return nil }
    var best: (tenant: IndexedHeap.Entry, lane: IndexedHeap.Entry, route: Int32)?
    for route in clusters[Int(cluster)].activeRoutes {
      guard let branch = clusters[Int(cluster)].routes[Int(route)].first, closed[Int(route)] != pass,
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

  /// The lane's head has been granted; it is still its head. A `settle` must follow.
  /// - Parameter cost: what is expected of it, in tokens.
  mutating func charge(lane: Int32, cost: Int64, weight: Int) -> Charge {
    let (tenant, own) = (Int(lanes[Int(lane)].tenant), Int(lanes[Int(lane)].cluster))
    passOver(for: lane, tenant: tenant, own)
    reweigh(tenant, own, weight)
    var charge = Charge(lane: lane, weight: Int32(weight))
    var position = clusters[own].flows[tenant].position
    charge.ofTenant = clusters[own].level.grant(&position, cost: cost, weight: weight)
    clusters[own].flows[tenant].position = position
    charge.ofLane = clusters[own].flows[tenant].level.grant(&lanes[Int(lane)].position, cost: cost, weight: 1)
    stamp += 1
    clusters[own].flows[tenant].stamp = stamp
    clusters[own].stamp = stamp
    lanes[Int(lane)].stamp = stamp
    rekey(lane)
    return charge
  }

  /// What the grant has really cost, in tokens.
  mutating func settle(_ charge: Charge, real: Int64) {
    let lane = charge.lane
    let (tenant, own) = (Int(lanes[Int(lane)].tenant), Int(lanes[Int(lane)].cluster))
    var position = clusters[own].flows[tenant].position
    clusters[own].level.settle(charge.ofTenant, &position, real: real, weight: Int(charge.weight))
    clusters[own].flows[tenant].position = position
    clusters[own].flows[tenant].level.settle(charge.ofLane, &lanes[Int(lane)].position, real: real, weight: 1)
    rekey(lane)
    clusters[own].level.advance(real: real)
    clusters[own].flows[tenant].level.advance(real: real)
    if position.running == 0, clusters[own].flows[tenant].backlogged == 0 {
      clusters[own].level.rest(Int(clusters[own].flows[tenant].weight))
    }
    if !lanes[Int(lane)].isWaiting {
      if lanes[Int(lane)].position.running == 0 { clusters[own].flows[tenant].level.rest(1) }
      retire(lane)
    }
  }

  private mutating func reweigh(_ tenant: Int, _ own: Int, _ weight: Int) {
    let old = Int(clusters[own].flows[tenant].weight)
    guard old != weight else { return }
    clusters[own].flows[tenant].weight = Int32(weight)
    // It waits, or it would not be granted anything.
    clusters[own].level.weightChanged(by: weight - old)
  }

  /// Who holds virtual time back and would have gone before this lane had something in his way: until his next grant he is out of turn.
  private mutating func passOver(for lane: Int32, tenant: Int, _ own: Int) {
    // Only the numbers are read: a copy of a flow would make its heaps be copied when they change.
    var (tag, stamp) = (clusters[own].flows[tenant].position.tag, clusters[own].flows[tenant].stamp)
    while let least = clusters[own].level.inTurn.first, least.element != Int32(tenant) {
      let other = Int(least.element)
      guard (clusters[own].flows[other].position.tag, clusters[own].flows[other].stamp) < (tag, stamp) else { break }
      clusters[own].level.inTurn.remove(least.element, positions: &tenantTurns[own])
      clusters[own].flows[other].position.isInTurn = false
    }
    (tag, stamp) = (lanes[Int(lane)].position.tag, lanes[Int(lane)].stamp)
    while let least = clusters[own].flows[tenant].level.inTurn.first, least.element != lane {
      let other = lanes[Int(least.element)]
      guard (other.position.tag, other.stamp) < (tag, stamp) else { break }
      clusters[own].flows[tenant].level.inTurn.remove(least.element, positions: &laneTurns)
      lanes[Int(least.element)].position.isInTurn = false
    }
  }

  /// A lane that was granted something and still waits is served in turn from now on, and its tenant.
  private mutating func joinTurns(_ lane: Int32) {
    let (tenant, own) = (Int(lanes[Int(lane)].tenant), Int(lanes[Int(lane)].cluster))
    if lanes[Int(lane)].position.isInTurn, laneTurns[Int(lane)] < 0 {
      clusters[own].flows[tenant].level.inTurn.insert(
        lane, key: lanes[Int(lane)].position.settled, stamp: 0, positions: &laneTurns)
    }
    joinTurns(tenant: tenant, own)
  }

  private mutating func joinTurns(tenant: Int, _ own: Int) {
    guard clusters[own].flows[tenant].position.isInTurn, tenantTurns[own][tenant] < 0 else { return }
    clusters[own].level.inTurn.insert(
      Int32(tenant), key: clusters[own].flows[tenant].position.settled, stamp: 0, positions: &tenantTurns[own])
  }

  // MARK: Parking

  /// Leaves the tenant out of `next` until it is unparked: its own limit stands in its way. What it could not use
  /// meanwhile is not owed to it.
  mutating func park(tenant: Int32) {
    for own in clusters.indices where Int(tenant) < clusters[own].flows.count {
      guard !clusters[own].flows[Int(tenant)].isParked else { continue }
      clusters[own].flows[Int(tenant)].isParked = true
      clusters[own].old -= clusters[own].flows[Int(tenant)].old
      clusters[own].level.inTurn.remove(tenant, positions: &tenantTurns[own])
      clusters[own].flows[Int(tenant)].position.isInTurn = false
      for branch in clusters[own].flows[Int(tenant)].branches {
        clusters[own].routes[Int(branches[Int(branch)].route)].remove(branch, positions: &branchPositions)
      }
    }
  }

  /// Back into the turns.
  mutating func unpark(tenant: Int32) {
    for own in clusters.indices where Int(tenant) < clusters[own].flows.count {
      guard clusters[own].flows[Int(tenant)].isParked else { continue }
      clusters[own].flows[Int(tenant)].isParked = false
      clusters[own].old += clusters[own].flows[Int(tenant)].old
      for branch in clusters[own].flows[Int(tenant)].branches { insertBranch(branch) }
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
      laneTurns.append(-1)
    }
    while clusters.count <= Int(cluster) {
      clusters.append(Cluster())
      tenantTurns.append([])
    }
    while clusters[Int(cluster)].flows.count <= Int(tenant) {
      clusters[Int(cluster)].flows.append(Flow())
      tenantTurns[Int(cluster)].append(-1)
    }
    while clusters[Int(cluster)].routes.count <= Int(route) { clusters[Int(cluster)].routes.append(IndexedHeap()) }
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
      lane, key: lanes[Int(lane)].position.tag, stamp: lanes[Int(lane)].stamp, positions: &lanePositions)
  }

  private mutating func detach(_ lane: Int32) {
    let branch = lanes[Int(lane)].branch
    lanes[Int(lane)].branch = -1
    branches[Int(branch)].lanes.remove(lane, positions: &lanePositions)
    guard branches[Int(branch)].lanes.isEmpty else { return }
    let (tenant, own) = (Int(branches[Int(branch)].tenant), Int(branches[Int(branch)].cluster))
    clusters[own].routes[Int(branches[Int(branch)].route)].remove(branch, positions: &branchPositions)
    if let index = clusters[own].flows[tenant].branches.firstIndex(of: branch) {
      clusters[own].flows[tenant].branches.remove(at: index)
    }
    freeBranches.append(branch)
  }

  private mutating func insertBranch(_ branch: Int32) {
    let route = branches[Int(branch)].route
    let own = Int(branches[Int(branch)].cluster)
    if clusters[own].routes[Int(route)].isEmpty, !clusters[own].activeRoutes.contains(route) {
      clusters[own].activeRoutes = clusters[own].activeRoutes.filter { !clusters[own].routes[Int($0)].isEmpty }
      clusters[own].activeRoutes.append(route)
    }
    let tenant = Int(branches[Int(branch)].tenant)
    let (key, stamp) = (clusters[own].flows[tenant].position.tag, clusters[own].flows[tenant].stamp)
    clusters[own].routes[Int(route)].insert(branch, key: key, stamp: stamp, positions: &branchPositions)
  }

  /// The positions of the lane and its tenant have changed.
  private mutating func rekey(_ lane: Int32) {
    let (tenant, own) = (Int(lanes[Int(lane)].tenant), Int(lanes[Int(lane)].cluster))
    if lanes[Int(lane)].branch >= 0 {
      branches[Int(lanes[Int(lane)].branch)].lanes.update(
        lane, key: lanes[Int(lane)].position.tag, stamp: lanes[Int(lane)].stamp, positions: &lanePositions)
    }
    if laneTurns[Int(lane)] >= 0 {
      clusters[own].flows[tenant].level.inTurn.update(
        lane, key: lanes[Int(lane)].position.settled, stamp: 0, positions: &laneTurns)
    }
    guard !clusters[own].flows[tenant].isParked else { return }
    if tenantTurns[own][tenant] >= 0 {
      clusters[own].level.inTurn.update(
        Int32(tenant), key: clusters[own].flows[tenant].position.settled, stamp: 0, positions: &tenantTurns[own])
    }
    let (key, stamp) = (clusters[own].flows[tenant].position.tag, clusters[own].flows[tenant].stamp)
    for index in clusters[own].flows[tenant].branches.indices {
      let branch = clusters[own].flows[tenant].branches[index]
      clusters[own].routes[Int(branches[Int(branch)].route)].update(
        branch, key: key, stamp: stamp, positions: &branchPositions)
    }
  }

  // MARK: Memory

  /// Remembers an idle lane only while it is ahead of virtual time, so that leaving and coming back gains nothing.
  private mutating func retire(_ lane: Int32) {
    let (tenant, own) = (Int(lanes[Int(lane)].tenant), Int(lanes[Int(lane)].cluster))
    if clusters[own].flows[tenant].backlogged == 0, clusters[own].flows[tenant].position.running == 0 {
      // The end of the tenant's busy time: everybody starts anew.
      let kept = clusters[own].flows[tenant].kept + [lane]
      clusters[own].flows[tenant].kept = []
      clusters[own].flows[tenant].sweepAbove = 64
      for lane in kept { forget(lane: lane) }
    } else if lanes[Int(lane)].position.running == 0, !lanes[Int(lane)].isKept {
      if lanes[Int(lane)].position.tag <= clusters[own].flows[tenant].level.virtualTime {
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
    let virtualTime = clusters[own].flows[tenant].level.virtualTime
    for lane in clusters[own].flows[tenant].kept {
      let state = lanes[Int(lane)]
      let isIdle = !state.isWaiting && state.position.running == 0
      if isIdle, state.position.tag > virtualTime {
        remaining.append(lane)
      } else {
        lanes[Int(lane)].isKept = false
        if isIdle { forget(lane: lane) }
      }
    }
    clusters[own].flows[tenant].kept = remaining
    clusters[own].flows[tenant].sweepAbove = max(64, 2 * remaining.count)
  }

  private mutating func forget(lane: Int32) {
    guard !lanes[Int(lane)].isWaiting, lanes[Int(lane)].tenant >= 0 else { return }
    lanes[Int(lane)] = LaneState()
    forgotten.append(lane)
  }
}
