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
// branch holds lanes. `RouteTurns` has the first head of each route, and which routes are open. Wherever a route's first head is another
// one than before, or stands elsewhere in the order, the owner is told (`moved`); a change behind it is nobody's business.
//
// A flow is remembered only while something of it waits or runs, or while it is ahead of virtual time: tenants that idle take no memory.
//
// It also knows where an old head waits (`promote_after`), for the share that its band gets.

// FairShareTurns.swift says whose turn it is, FairShareMemory.swift what is remembered of those who idle. For these two some of the storage
// is not private; whoever has a `FairShare` keeps the whole of it to himself.

struct FairShare: Sendable {
  /// A tenant in one cluster.
  struct Flow: SlotElement {
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
    /// Lanes that are set aside.
    var aside: [LaneIndex] = []
    /// Idle lanes that are remembered because they were served ahead of virtual time.
    var kept: [LaneIndex] = []
    var sweepAbove = FairShare.leastSweep

    mutating func vacate() {
      level = FairLevel()
      branches = []
      aside = []
      kept = []
    }
  }
  typealias FlowIndex = Slots<Flow>.Index

  /// The flows of providers that routes put together.
  struct Cluster: Sendable {
    /// Its tenants among one another.
    var level = FairLevel<Flow>()
    /// Of its last grant.
    var stamp: UInt64 = 0
    /// Lanes with an old head, those of parked tenants left out.
    var old: Int32 = 0
    /// Its branches by route. (After a change of policy a route's heads may be of two clusters.)
    var routes = Column<Route, IndexedHeap<Branch>>(IndexedHeap())
    var turns = RouteTurns()
    /// Flows that wait.
    var backlogged = 0
    /// Flows that are parked.
    var parked: [FlowIndex] = []
    /// Lanes that are set aside: in an ordinary turn, and in a floor turn.
    var aside: [LaneIndex] = []
    var asideAfterFloorTurn: [LaneIndex] = []
    /// In `open`, in `unsettled`.
    var isListedOpen = false
    var isUnsettled = false
    /// Idle flows that are remembered because they were served ahead of virtual time.
    var kept: [FlowIndex] = []
    var sweepAbove = FairShare.leastSweep
  }
  /// Why a lane's head has no turn though it waits.
  enum Away: Equatable, Sendable {
    case no
    /// Until this route, its own, is opened.
    case aside(RouteIndex)
    /// Its route has been forgotten, and it gets another.
    case unrouted
  }
  struct LaneState: Sendable {
    var position = FairPosition()
    var stamp: UInt64 = 0
    /// Stays the lane's until it is forgotten; nil while nothing is known of the lane.
    var flow: FlowIndex?
    /// Of its head; nil where it has none.
    var branch: BranchIndex?
    var isKept = false
    var isOld = false
    /// Its head's place in the order of arrival.
    var head: UInt64 = 0
    var away = Away.no
    var isWaiting: Bool { branch != nil || away != .no }
  }
  /// The heads of one flow that may go to the same places.
  struct Branch: SlotElement {
    let flow: FlowIndex
    let route: RouteIndex
    var lanes = IndexedHeap<Lane>()

    mutating func vacate() { lanes = IndexedHeap() }
  }
  typealias BranchIndex = Slots<Branch>.Index

  static let leastSweep = 64

  var clusters = Column<ProviderCluster, Cluster>(Cluster())
  var flows = Slots<Flow>()
  /// Each tenant's flows: one in each cluster in which something is remembered of it.
  var flowsOf: [TenantIndex: [FlowIndex]] = [:]
  /// The weight that each tenant had at its last grant.
  private var weights = Column<TenantState, Int32>(1)
  var lanes = Column<Lane, LaneState>(LaneState())
  var branches = Slots<Branch>()
  private var lanePositions = IndexedHeap<Lane>.Positions()
  private var branchPositions = IndexedHeap<Branch>.Positions()
  /// Where lanes stand in their flows' levels, and flows in their clusters'.
  private var laneTurns = IndexedHeap<Lane>.Positions()
  private var flowTurns = IndexedHeap<Flow>.Positions()
  private var stamp: UInt64 = 0
  /// Clusters with an open route, and some that have none any more.
  var open: [ClusterIndex] = []
  /// The cluster in which a route had heads since routes were forgotten, and others where there are any: after a change of policy.
  var homes = Column<Route, ClusterIndex?>(nil)
  var otherHomes: [RouteIndex: [ClusterIndex]] = [:]
  /// Lanes that are set aside, by their heads' routes.
  var aside: [RouteIndex: [LaneIndex]] = [:]

  /// Routes whose first head is another one, or has another place, since the owner has emptied this.
  var moved: [RouteIndex] = []
  /// Clusters whose front may be another one, or cost something else, or whose credit is another, since the owner looked.
  var unsettled: [ClusterIndex] = []

  /// Lanes that have gone idle and need not be remembered; the owner closes them and empties this.
  var forgotten: [LaneIndex] = []

  /// Lanes with a head.
  private(set) var backlogged = 0
  /// Flows that take memory, for tests of the bound.
  var flowCount: Int { flows.count }

  typealias Choice = RouteTurns.Choice

  /// A grant, until its real cost is known.
  struct Charge: Sendable {
    var lane: LaneIndex
    var weight: Int32
    fileprivate var ofTenant = FairCharge()
    fileprivate var ofLane = FairCharge()
  }

  // MARK: Heads

  /// The lane's head may be placed on this route. The lane must belong to the same tenant and cluster until it is forgotten.
  /// - Parameter request: the head's place in the order of arrival.
  mutating func setHead(
    lane: LaneIndex, tenant: TenantIndex, route: RouteIndex, cluster: ClusterIndex = .unconnected, request: UInt64 = 0
  ) {
    let flow = lanes[lane].flow ?? self.flow(of: tenant, in: cluster)
    lanes[lane].head = request
    if let current = lanes[lane].branch {
      if branches[current].route == route {
        refresh(route, in: flows[flow].cluster)
        return joinTurns(lane, flow)
      }
      detach(lane, flow)
    } else if lanes[lane].away != .no {
      endAside(lane, flow)
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
      clusters[flows[flow].cluster].backlogged += 1
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
    endAside(lane, flow)
    backlogged -= 1
    flows[flow].backlogged -= 1
    flows[flow].level.inTurn.remove(lane, positions: &laneTurns)
    flows[flow].level.leave(&lanes[lane].position, weight: 1)
    if flows[flow].backlogged == 0 {
      let own = flows[flow].cluster
      clusters[own].backlogged -= 1
      clusters[own].level.inTurn.remove(flow, positions: &flowTurns)
      clusters[own].level.leave(&flows[flow].position, weight: Int(flows[flow].weight))
    } else {
      joinTurns(flow)
    }
    retire(lane, flow)
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
      clusters[own].parked.append(flow)
      clusters[own].old -= flows[flow].old
      clusters[own].level.inTurn.remove(flow, positions: &flowTurns)
      flows[flow].position.isInTurn = false
      for branch in flows[flow].branches {
        let route = branches[branch].route
        clusters[own].routes[route].remove(branch, positions: &branchPositions)
        refresh(route, in: own)
      }
      tellAside(flow)
    }
  }

  /// Back into the turns.
  mutating func unpark(tenant: TenantIndex) {
    for flow in flowsOf[tenant] ?? [] where flows[flow].isParked {
      flows[flow].isParked = false
      clusters[flows[flow].cluster].parked.removeAll { $0 == flow }
      clusters[flows[flow].cluster].old += flows[flow].old
      for branch in flows[flow].branches { insertBranch(branch) }
      tellAside(flow)
    }
  }

  /// The tenant's own limit has less left: its heads that stand first on their routes may have nothing to claim any more.
  mutating func tell(tenant: TenantIndex) {
    for flow in flowsOf[tenant] ?? [] where flows[flow].backlogged > 0 && !flows[flow].isParked {
      for branch in flows[flow].branches
      where clusters[flows[flow].cluster].routes[branches[branch].route].first?.element == branch {
        moved.append(branches[branch].route)
      }
      tellAside(flow)
    }
  }

  /// The flow's heads that are set aside claim elsewhere, and stand elsewhere in the order now.
  private mutating func tellAside(_ flow: FlowIndex) {
    for lane in flows[flow].aside { if case .aside(let route) = lanes[lane].away { moved.append(route) } }
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

  mutating func attach(_ lane: LaneIndex, _ flow: FlowIndex, route: RouteIndex, tells: Bool = true) {
    let branch: BranchIndex
    if let known = flows[flow].branches.first(where: { branches[$0].route == route }) {
      branch = known
    } else {
      branch = branches.insert(Branch(flow: flow, route: route))
      flows[flow].branches.append(branch)
    }
    lanes[lane].branch = branch
    branches[branch].lanes.insert(
      lane, key: lanes[lane].position.tag, stamp: lanes[lane].stamp, positions: &lanePositions)
    guard !flows[flow].isParked else { return }
    if branchPositions.contains(branch) {
      refresh(route, in: flows[flow].cluster, tells: tells)
    } else {
      insertBranch(branch, tells: tells)
    }
  }

  mutating func detach(_ lane: LaneIndex, _ flow: FlowIndex, tells: Bool = true) {
    guard let branch = lanes[lane].branch else { return }
    let (route, own) = (branches[branch].route, flows[flow].cluster)
    lanes[lane].branch = nil
    branches[branch].lanes.remove(lane, positions: &lanePositions)
    if branches[branch].lanes.isEmpty {
      clusters[own].routes[route].remove(branch, positions: &branchPositions)
      if let index = flows[flow].branches.firstIndex(of: branch) { flows[flow].branches.remove(at: index) }
      branches.remove(branch)
    }
    refresh(route, in: own, tells: tells)
  }

  private mutating func insertBranch(_ branch: BranchIndex, tells: Bool = true) {
    let (flow, route) = (branches[branch].flow, branches[branch].route)
    let own = flows[flow].cluster
    clusters[own].routes[route].insert(
      branch, key: flows[flow].position.tag, stamp: flows[flow].stamp, positions: &branchPositions)
    refresh(route, in: own, tells: tells)
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
    tellAside(flow)
    let own = flows[flow].cluster
    clusters[own].level.inTurn.update(
      flow, key: flows[flow].position.settled, stamp: 0, positions: &flowTurns)
    let (key, stamp) = (flows[flow].position.tag, flows[flow].stamp)
    for index in flows[flow].branches.indices {
      let branch = flows[flow].branches[index]
      let route = branches[branch].route
      clusters[own].routes[route].update(branch, key: key, stamp: stamp, positions: &branchPositions)
      refresh(route, in: own)
    }
  }
}
