// Whose turn it is inside one band (rules 2 and 2a): weighted start-time fair queueing on two levels, tenant then session.
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
// Providers that no route connects form separate clusters, each with its own virtual time and its own position for each flow. With one
// time for all, fast providers would carry it past the tags of a backlog elsewhere, and a newcomer there would start behind all of it. Between
// clusters the one that was served longest ago goes first.
//
// Heads are kept apart by route (the set of providers they may go to): when a provider is full, all heads that only it
// can serve are passed over at once instead of one by one. A route's heap holds branches (one for each tenant), a
// branch holds lanes.
//
// A flow is remembered only while something of it waits or runs, or while it is ahead of virtual time: tenants that idle take no memory.
//
// It also knows where an old head waits (`promote_after`), for the share that its band gets.

struct FairShare: Sendable {
  /// A tenant in one cluster.
  private struct Flow: SlotElement {
    let tenant: TenantIndex
    let cluster: ClusterIndex
    var weight: Int32
    var position = FairPosition()
    var stamp: UInt64 = 0
    /// Its sessions among one another.
    var level = FairLevel<Lane>()
    var isParked = false
    /// Idle, and ahead of virtual time.
    var isKept = false
    var backlogged: Int32 = 0
    /// Lanes whose head is old.
    var old: Int32 = 0
    var branches: [BranchIndex] = []
    /// Idle lanes that are remembered because they were served ahead of virtual time.
    var kept: [LaneIndex] = []
    var sweepAbove = FairShare.leastSweep

    mutating func vacate() {
      level = FairLevel()
      branches = []
      kept = []
    }
  }
  private typealias FlowIndex = Slots<Flow>.Index

  /// The flows of providers that routes put together.
  private struct Cluster: Sendable {
    /// Its tenants among one another.
    var level = FairLevel<Flow>()
    /// Of its last grant.
    var stamp: UInt64 = 0
    /// Lanes with an old head, those of parked tenants left out.
    var old: Int32 = 0
    /// Its branches by route. (After a change of policy a route's heads may be of two clusters.)
    var routes = Column<Route, IndexedHeap<Branch>>(IndexedHeap())
    var activeRoutes: [RouteIndex] = []
    /// Idle flows that are remembered because they were served ahead of virtual time.
    var kept: [FlowIndex] = []
    var sweepAbove = FairShare.leastSweep
  }
  private struct LaneState: Sendable {
    var position = FairPosition()
    var stamp: UInt64 = 0
    /// Stays the lane's until it is forgotten; nil while nothing is known of the lane.
    var flow: FlowIndex?
    /// Of its head; nil where it has none.
    var branch: BranchIndex?
    var isKept = false
    var isOld = false
    /// Its head is out for a moment; in all else it waits.
    var isSuspended = false
    var isWaiting: Bool { branch != nil || isSuspended }
  }
  /// The heads of one flow that may go to the same places.
  private struct Branch: SlotElement {
    let flow: FlowIndex
    let route: RouteIndex
    var lanes = IndexedHeap<Lane>()

    mutating func vacate() { lanes = IndexedHeap() }
  }
  private typealias BranchIndex = Slots<Branch>.Index

  private static let leastSweep = 64

  private var clusters = Column<ProviderCluster, Cluster>(Cluster())
  private var flows = Slots<Flow>()
  /// Each tenant's flows: one in each cluster in which something is remembered of it.
  private var flowsOf: [TenantIndex: [FlowIndex]] = [:]
  /// The weight that each tenant had at its last grant.
  private var weights = Column<TenantState, Int32>(1)
  private var lanes = Column<Lane, LaneState>(LaneState())
  private var branches = Slots<Branch>()
  private var lanePositions = IndexedHeap<Lane>.Positions()
  private var branchPositions = IndexedHeap<Branch>.Positions()
  /// Where lanes stand in their flows' levels, and flows in their clusters'.
  private var laneTurns = IndexedHeap<Lane>.Positions()
  private var flowTurns = IndexedHeap<Flow>.Positions()
  private var stamp: UInt64 = 0

  /// Lanes that have gone idle and need not be remembered; the owner closes them and empties this.
  var forgotten: [LaneIndex] = []

  /// Lanes with a head.
  private(set) var backlogged = 0
  /// Flows that take memory, for tests of the bound.
  var flowCount: Int { flows.count }

  struct Choice: Equatable, Sendable {
    var lane: LaneIndex
    var route: RouteIndex
  }

  /// A grant, until its real cost is known.
  struct Charge: Sendable {
    var lane: LaneIndex
    var weight: Int32
    fileprivate var ofTenant = FairCharge()
    fileprivate var ofLane = FairCharge()
  }

  // MARK: Heads

  /// The lane's head may be placed on this route. The lane must belong to the same tenant and cluster until it is forgotten.
  mutating func setHead(
    lane: LaneIndex, tenant: TenantIndex, route: RouteIndex, cluster: ClusterIndex = .unconnected
  ) {
    let flow = lanes[lane].flow ?? self.flow(of: tenant, in: cluster)
    if let current = lanes[lane].branch {
      if branches[current].route == route { return joinTurns(lane, flow) }
      detach(lane, flow)
    } else if lanes[lane].isSuspended {
      lanes[lane].isSuspended = false
    } else {
      arrive(lane, flow)
    }
    attach(lane, flow, route: route)
    joinTurns(lane, flow)
  }

  /// Finds or makes the flow.
  private mutating func flow(of tenant: TenantIndex, in cluster: ClusterIndex) -> FlowIndex {
    if let known = flowsOf[tenant]?.first(where: { flows[$0].cluster == cluster }) { return known }
    // The cluster has a value of its own from now on.
    clusters[cluster].stamp += 0
    let flow = flows.insert(Flow(tenant: tenant, cluster: cluster, weight: weights[tenant]))
    flowsOf[tenant, default: []].append(flow)
    return flow
  }

  /// The lane begins to wait, and with its first one the tenant.
  private mutating func arrive(_ lane: LaneIndex, _ flow: FlowIndex) {
    backlogged += 1
    stamp += 1
    if flows[flow].backlogged == 0 {
      clusters[flows[flow].cluster].level.arrive(&flows[flow].position, weight: Int(flows[flow].weight))
      flows[flow].stamp = stamp
    }
    flows[flow].backlogged += 1
    lanes[lane].flow = flow
    flows[flow].level.arrive(&lanes[lane].position, weight: 1)
    lanes[lane].stamp = stamp
  }

  /// The lane has no head any more.
  mutating func clearHead(lane: LaneIndex) {
    guard lanes[lane].isWaiting, let flow = lanes[lane].flow else { return }
    setOld(lane: lane, false)
    if lanes[lane].branch != nil { detach(lane, flow) }
    lanes[lane].isSuspended = false
    backlogged -= 1
    flows[flow].backlogged -= 1
    flows[flow].level.inTurn.remove(lane, positions: &laneTurns)
    flows[flow].level.leave(&lanes[lane].position, weight: 1)
    if flows[flow].backlogged == 0 {
      let own = flows[flow].cluster
      clusters[own].level.inTurn.remove(flow, positions: &flowTurns)
      clusters[own].level.leave(&flows[flow].position, weight: Int(flows[flow].weight))
    } else {
      joinTurns(flow)
    }
    retire(lane, flow)
  }

  /// Takes the head out for a moment without the lane losing its place; `setHead` must follow before anything else.
  mutating func suspendHead(lane: LaneIndex) {
    guard lanes[lane].branch != nil, let flow = lanes[lane].flow else { return }
    detach(lane, flow)
    lanes[lane].isSuspended = true
  }

  func hasHead(lane: LaneIndex) -> Bool { lanes[lane].branch != nil }

  /// Whether the lane's head has waited past its band's `promote_after`.
  mutating func setOld(lane: LaneIndex, _ isOld: Bool) {
    guard lanes[lane].isWaiting, lanes[lane].isOld != isOld, let flow = lanes[lane].flow else { return }
    lanes[lane].isOld = isOld
    flows[flow].old += isOld ? 1 : -1
    if !flows[flow].isParked { clusters[flows[flow].cluster].old += isOld ? 1 : -1 }
  }

  /// True where an old head takes part in the turns.
  func hasOld(in cluster: ClusterIndex) -> Bool { clusters[cluster].old > 0 }

  /// The clusters in which something waits or waited.
  var clusterIndices: ColumnIndices<ProviderCluster> { clusters.indices }

  /// The lane whose turn it is among the routes that are open, tenants that are parked left out.
  /// - Parameter closed: by route, the number of the pass that closed it; a route is open in any other pass.
  func next(closed: Column<Route, UInt64>, pass: UInt64) -> Choice? {
    var best: (choice: Choice, stamp: UInt64)?
    for own in clusters.indices where best.map({ clusters[own].stamp < $0.stamp }) ?? true {
      if let choice = next(in: own, closed: closed, pass: pass) { best = (choice, clusters[own].stamp) }
    }
    return best?.choice
  }

  /// The same among the providers of one cluster.
  func next(in cluster: ClusterIndex, closed: Column<Route, UInt64>, pass: UInt64) -> Choice? {
    var best: (tenant: IndexedHeap<Branch>.Entry, lane: IndexedHeap<Lane>.Entry, route: RouteIndex)?
    for route in clusters[cluster].activeRoutes {
      guard let branch = clusters[cluster].routes[route].first, closed[route] != pass,
        let lane = branches[branch.element].lanes.first
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
  mutating func charge(lane: LaneIndex, cost: Int64, weight: Int) -> Charge {
    var charge = Charge(lane: lane, weight: Int32(weight))
    // A lane that waits has a flow.
    guard let flow = lanes[lane].flow else { return charge }
    let own = flows[flow].cluster
    passOver(for: lane, flow)
    reweigh(flow, weight)
    charge.ofTenant = clusters[own].level.grant(&flows[flow].position, cost: cost, weight: weight)
    charge.ofLane = flows[flow].level.grant(&lanes[lane].position, cost: cost, weight: 1)
    stamp += 1
    flows[flow].stamp = stamp
    clusters[own].stamp = stamp
    lanes[lane].stamp = stamp
    rekey(lane, flow)
    return charge
  }

  /// What the grant has really cost, in tokens.
  mutating func settle(_ charge: Charge, real: Int64) {
    let lane = charge.lane
    guard let flow = lanes[lane].flow else { return }
    let own = flows[flow].cluster
    clusters[own].level.settle(charge.ofTenant, &flows[flow].position, real: real, weight: Int(charge.weight))
    flows[flow].level.settle(charge.ofLane, &lanes[lane].position, real: real, weight: 1)
    rekey(lane, flow)
    clusters[own].level.advance(real: real)
    flows[flow].level.advance(real: real)
    if flows[flow].position.running == 0, flows[flow].backlogged == 0 {
      clusters[own].level.rest(Int(flows[flow].weight))
    }
    if !lanes[lane].isWaiting {
      if lanes[lane].position.running == 0 { flows[flow].level.rest(1) }
      retire(lane, flow)
    }
  }

  private mutating func reweigh(_ flow: FlowIndex, _ weight: Int) {
    weights[flows[flow].tenant] = Int32(weight)
    let old = Int(flows[flow].weight)
    guard old != weight else { return }
    flows[flow].weight = Int32(weight)
    // It waits, or it would not be granted anything.
    clusters[flows[flow].cluster].level.weightChanged(by: weight - old)
  }

  /// Who holds virtual time back and would have gone before this lane had something in his way: until his next grant he is out of turn.
  private mutating func passOver(for lane: LaneIndex, _ flow: FlowIndex) {
    let own = flows[flow].cluster
    // Only the numbers are read: a copy of a flow would make its heaps be copied when they change.
    var (tag, stamp) = (flows[flow].position.tag, flows[flow].stamp)
    while let least = clusters[own].level.inTurn.first, least.element != flow {
      let other = least.element
      guard (flows[other].position.tag, flows[other].stamp) < (tag, stamp) else { break }
      clusters[own].level.inTurn.remove(other, positions: &flowTurns)
      flows[other].position.isInTurn = false
    }
    (tag, stamp) = (lanes[lane].position.tag, lanes[lane].stamp)
    while let least = flows[flow].level.inTurn.first, least.element != lane {
      let other = lanes[least.element]
      guard (other.position.tag, other.stamp) < (tag, stamp) else { break }
      flows[flow].level.inTurn.remove(least.element, positions: &laneTurns)
      lanes[least.element].position.isInTurn = false
    }
  }

  /// A lane that was granted something and still waits is served in turn from now on, and its tenant.
  private mutating func joinTurns(_ lane: LaneIndex, _ flow: FlowIndex) {
    if lanes[lane].position.isInTurn, !laneTurns.contains(lane) {
      flows[flow].level.inTurn.insert(
        lane, key: lanes[lane].position.settled, stamp: 0, positions: &laneTurns)
    }
    joinTurns(flow)
  }

  private mutating func joinTurns(_ flow: FlowIndex) {
    guard flows[flow].position.isInTurn, !flowTurns.contains(flow) else { return }
    clusters[flows[flow].cluster].level.inTurn.insert(
      flow, key: flows[flow].position.settled, stamp: 0, positions: &flowTurns)
  }

  // MARK: Parking

  /// Leaves the tenant out of `next` until it is unparked: its own limit stands in its way. What it could not use
  /// meanwhile is not owed to it.
  mutating func park(tenant: TenantIndex) {
    for flow in flowsOf[tenant] ?? [] where !flows[flow].isParked {
      let own = flows[flow].cluster
      flows[flow].isParked = true
      clusters[own].old -= flows[flow].old
      clusters[own].level.inTurn.remove(flow, positions: &flowTurns)
      flows[flow].position.isInTurn = false
      for branch in flows[flow].branches {
        clusters[own].routes[branches[branch].route].remove(branch, positions: &branchPositions)
      }
    }
  }

  /// Back into the turns.
  mutating func unpark(tenant: TenantIndex) {
    for flow in flowsOf[tenant] ?? [] where flows[flow].isParked {
      flows[flow].isParked = false
      clusters[flows[flow].cluster].old += flows[flow].old
      for branch in flows[flow].branches { insertBranch(branch) }
    }
  }

  /// The tenant's place will be used for another one. Nothing of it waits or runs.
  mutating func forget(tenant: TenantIndex) {
    weights[tenant] = 1
    for flow in flowsOf[tenant] ?? []
    where flows[flow].isKept && flows[flow].backlogged == 0 && flows[flow].position.running == 0 {
      clusters[flows[flow].cluster].kept.removeAll { $0 == flow }
      forget(flow)
    }
  }

  // MARK: Structure

  private mutating func attach(_ lane: LaneIndex, _ flow: FlowIndex, route: RouteIndex) {
    let branch: BranchIndex
    if let known = flows[flow].branches.first(where: { branches[$0].route == route }) {
      branch = known
    } else {
      branch = branches.insert(Branch(flow: flow, route: route))
      flows[flow].branches.append(branch)
      if !flows[flow].isParked { insertBranch(branch) }
    }
    lanes[lane].branch = branch
    branches[branch].lanes.insert(
      lane, key: lanes[lane].position.tag, stamp: lanes[lane].stamp, positions: &lanePositions)
  }

  private mutating func detach(_ lane: LaneIndex, _ flow: FlowIndex) {
    guard let branch = lanes[lane].branch else { return }
    lanes[lane].branch = nil
    branches[branch].lanes.remove(lane, positions: &lanePositions)
    guard branches[branch].lanes.isEmpty else { return }
    clusters[flows[flow].cluster].routes[branches[branch].route].remove(branch, positions: &branchPositions)
    if let index = flows[flow].branches.firstIndex(of: branch) { flows[flow].branches.remove(at: index) }
    branches.remove(branch)
  }

  private mutating func insertBranch(_ branch: BranchIndex) {
    let (flow, route) = (branches[branch].flow, branches[branch].route)
    let own = flows[flow].cluster
    if clusters[own].routes[route].isEmpty, !clusters[own].activeRoutes.contains(route) {
      clusters[own].activeRoutes = clusters[own].activeRoutes.filter { !clusters[own].routes[$0].isEmpty }
      clusters[own].activeRoutes.append(route)
    }
    clusters[own].routes[route].insert(
      branch, key: flows[flow].position.tag, stamp: flows[flow].stamp, positions: &branchPositions)
  }

  /// The positions of the lane and its tenant have changed.
  private mutating func rekey(_ lane: LaneIndex, _ flow: FlowIndex) {
    if let branch = lanes[lane].branch {
      branches[branch].lanes.update(
        lane, key: lanes[lane].position.tag, stamp: lanes[lane].stamp, positions: &lanePositions)
    }
    flows[flow].level.inTurn.update(
      lane, key: lanes[lane].position.settled, stamp: 0, positions: &laneTurns)
    guard !flows[flow].isParked else { return }
    let own = flows[flow].cluster
    clusters[own].level.inTurn.update(
      flow, key: flows[flow].position.settled, stamp: 0, positions: &flowTurns)
    let (key, stamp) = (flows[flow].position.tag, flows[flow].stamp)
    for index in flows[flow].branches.indices {
      let branch = flows[flow].branches[index]
      clusters[own].routes[branches[branch].route].update(
        branch, key: key, stamp: stamp, positions: &branchPositions)
    }
  }

  // MARK: Memory

  /// Remembers an idle lane only while it is ahead of virtual time, so that leaving and coming back gains nothing.
  private mutating func retire(_ lane: LaneIndex, _ flow: FlowIndex) {
    if flows[flow].backlogged == 0, flows[flow].position.running == 0 {
      // The end of the tenant's busy time: everybody starts anew.
      let kept = flows[flow].kept + [lane]
      flows[flow].kept = []
      flows[flow].sweepAbove = Self.leastSweep
      for lane in kept { forget(lane: lane) }
      retire(flow)
    } else if lanes[lane].position.running == 0, !lanes[lane].isKept {
      if lanes[lane].position.tag <= flows[flow].level.virtualTime {
        forget(lane: lane)
      } else {
        lanes[lane].isKept = true
        flows[flow].kept.append(lane)
        if flows[flow].kept.count > flows[flow].sweepAbove { sweep(flow) }
      }
    }
  }

  private mutating func sweep(_ flow: FlowIndex) {
    var remaining: [LaneIndex] = []
    let virtualTime = flows[flow].level.virtualTime
    for lane in flows[flow].kept {
      let state = lanes[lane]
      let isIdle = !state.isWaiting && state.position.running == 0
      if isIdle, state.position.tag > virtualTime {
        remaining.append(lane)
      } else {
        lanes[lane].isKept = false
        if isIdle { forget(lane: lane) }
      }
    }
    flows[flow].kept = remaining
    flows[flow].sweepAbove = max(Self.leastSweep, 2 * remaining.count)
  }

  private mutating func forget(lane: LaneIndex) {
    guard !lanes[lane].isWaiting, lanes[lane].flow != nil else { return }
    lanes[lane] = LaneState()
    forgotten.append(lane)
  }

  /// The same for a tenant that idles in a cluster.
  private mutating func retire(_ flow: FlowIndex) {
    let own = flows[flow].cluster
    if !flows[flow].isKept {
      flows[flow].isKept = true
      clusters[own].kept.append(flow)
    }
    // When a cluster comes to rest nobody is ahead of it any more.
    let most = clusters[own].level.busyWeight <= 0 ? Self.leastSweep : clusters[own].sweepAbove
    if clusters[own].kept.count > most { sweep(own) }
  }

  private mutating func sweep(_ cluster: ClusterIndex) {
    var remaining: [FlowIndex] = []
    let virtualTime = clusters[cluster].level.virtualTime
    for flow in clusters[cluster].kept {
      let isIdle = flows[flow].backlogged == 0 && flows[flow].position.running == 0
      if isIdle, flows[flow].position.tag > virtualTime {
        remaining.append(flow)
      } else {
        flows[flow].isKept = false
        if isIdle { forget(flow) }
      }
    }
    clusters[cluster].kept = remaining
    clusters[cluster].sweepAbove = max(Self.leastSweep, 2 * remaining.count)
  }

  private mutating func forget(_ flow: FlowIndex) {
    let tenant = flows[flow].tenant
    flowsOf[tenant]?.removeAll { $0 == flow }
    if flowsOf[tenant]?.isEmpty == true { flowsOf[tenant] = nil }
    flows.remove(flow)
    flows.trim()
  }
}
