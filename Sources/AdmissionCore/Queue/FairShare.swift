// Decides whose turn it is within one band (rules 2 and 2a): weighted start-time fair queueing on two levels, tenant
// then session.
//
// Each flow (a tenant, or a session of a tenant) has a tag: the virtual time at which its next request starts. The flow
// with the smallest tag goes next; a grant moves its tag on by cost / weight. Flows that are new or come back from
// idling start at virtual time; `FairLevel` explains how it moves, and why it contains no estimates.
//
// Promises, however wrong estimates are:
// - While two tenants both have placeable requests waiting, their real use differs from the ratio of their weights by
//   at most the running calls and one call; the same holds for sessions. These differences do not add up.
// - A flow that comes back from idling (none of its requests waits or runs) waits for another flow no longer than two
//   calls' real cost: the larger of its own calls and of those that ran meanwhile.
// - An endless sequence of new flows does not starve known ones: for each of its turns, a known flow waits only for
//   flows that came before its last call had ended.
// Why this algorithm: it is O(log n), has no rounds or quanta to tune, and requests may differ in size by a factor of
// 100,000.
//
// Providers that no route connects form separate clusters, each with its own virtual time and its own position for each
// flow. With one time for all, fast providers would carry it past the tags of a backlog elsewhere, and a new flow there
// would start after the whole backlog. Among clusters, the one that was served longest ago goes first.
//
// Heads are grouped by route (the set of providers that they may go to): when a provider is full, all heads that only
// it can serve are passed over at once instead of one by one. A route's heap holds branches (one per tenant), and a
// branch holds lanes. `RouteTurns` has the first head of each route, and knows which routes are open. When a route's
// first head or its place in the order changes, the owner is told (`moved`); changes behind it do not matter.
//
// A flow is remembered only while one of its requests waits or runs, or while it is ahead of virtual time: idle tenants
// take no memory.
//
// It also knows where an old head waits (longer than `promote_after`), which decides the band's share.

// FairShareTurns.swift decides whose turn it is, FairShareMemory.swift what is remembered of idle flows. Some of the
// storage is not private because of these two files; the owner of a `FairShare` keeps it private as a whole.

struct FairShare: Sendable {
  /// A tenant in one cluster.
  struct Flow: SlotElement {
    let tenant: TenantIndex
    let cluster: ClusterIndex
    var weight: Int32
    var position = FairPosition()
    var stamp: UInt64 = 0
    /// The level of its sessions.
    var level = FairLevel<Lane>()
    var isParked = false
    /// True while the flow is idle and ahead of virtual time.
    var isKept = false
    var backlogged: Int32 = 0
    /// The number of lanes with an old head.
    var old: Int32 = 0
    var branches: [BranchIndex] = []
    /// How many of its last grants went to a hurried head before its turn, in a row.
    var hurriedInARow: Int8 = 0
    var mayHurry: Bool { hurriedInARow < FairShare.mostHurried }
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

  /// The flows of one cluster of providers.
  struct Cluster: Sendable {
    /// The level of its tenants.
    var level = FairLevel<Flow>()
    /// The stamp of its last grant.
    var stamp: UInt64 = 0
    /// The number of lanes with an old head, without those of parked tenants.
    var old: Int32 = 0
    /// The branches by route. (After a change of policy the heads of a route may be in two clusters.)
    var routes = Column<Route, IndexedHeap<Branch>>(IndexedHeap())
    var turns = RouteTurns()
    /// The number of waiting flows.
    var backlogged = 0
    /// The parked flows.
    var parked: [FlowIndex] = []
    /// Lanes that were set aside in an ordinary turn, and those set aside in a floor turn.
    var aside: [LaneIndex] = []
    var asideAfterFloorTurn: [LaneIndex] = []
    /// Whether the cluster is listed in `open`, and in `unsettled`.
    var isListedOpen = false
    var isUnsettled = false
    /// Idle flows that are remembered because they were served ahead of virtual time.
    var kept: [FlowIndex] = []
    var sweepAbove = FairShare.leastSweep
  }
  /// Why a lane's head gets no turn although it waits.
  enum Away: Equatable, Sendable {
    case no
    /// Set aside until this route, its own, is opened.
    case aside(RouteIndex)
    /// Its route has been forgotten, and it will get another one.
    case unrouted
  }
  struct LaneState: Sendable {
    var position = FairPosition()
    var stamp: UInt64 = 0
    /// The lane's flow until the lane is forgotten; nil while nothing is known of the lane.
    var flow: FlowIndex?
    /// The branch of its head; nil where it has none.
    var branch: BranchIndex?
    var isKept = false
    var isOld = false
    /// Its head's place in the order of arrival.
    var head: UInt64 = 0
    /// Rule 2c: when its head's cached prompt expires, where that is soon: nanoseconds.
    var expiry: Int64?
    var away = Away.no
    var isWaiting: Bool { branch != nil || away != .no }
  }
  /// The heads of one flow that have the same route.
  struct Branch: SlotElement {
    let flow: FlowIndex
    let route: RouteIndex
    var lanes = IndexedHeap<Lane>()
    /// Those of them whose heads' prompts expire soon, the first to expire first.
    var hurried = IndexedHeap<Lane>()

    mutating func vacate() {
      lanes = IndexedHeap()
      hurried = IndexedHeap()
    }
  }
  typealias BranchIndex = Slots<Branch>.Index

  static let leastSweep = 64
  /// Of so many grants and one more of a tenant's class, one is in the order of turns (rule 2c).
  static let mostHurried: Int8 = 3

  var clusters = Column<ProviderCluster, Cluster>(Cluster())
  var flows = Slots<Flow>()
  /// Each tenant's flows: one in each cluster in which something about the tenant is remembered.
  var flowsOf: [TenantIndex: [FlowIndex]] = [:]
  /// The weight that each tenant had at its last grant.
  private var weights = Column<TenantState, Int32>(1)
  var lanes = Column<Lane, LaneState>(LaneState())
  var branches = Slots<Branch>()
  private var lanePositions = IndexedHeap<Lane>.Positions()
  private var hurriedPositions = IndexedHeap<Lane>.Positions()
  private var branchPositions = IndexedHeap<Branch>.Positions()
  /// The positions of lanes in the levels of their flows, and of flows in the levels of their clusters.
  private var laneTurns = IndexedHeap<Lane>.Positions()
  private var flowTurns = IndexedHeap<Flow>.Positions()
  private var stamp: UInt64 = 0
  /// Clusters with an open route, and perhaps some that no longer have one.
  var open: [ClusterIndex] = []
  /// The first cluster in which a route had heads since routes were forgotten, and its other clusters, which exist only
  /// after a change of policy.
  var homes = Column<Route, ClusterIndex?>(nil)
  var otherHomes: [RouteIndex: [ClusterIndex]] = [:]
  /// Lanes that are set aside, by the routes of their heads.
  var aside: [RouteIndex: [LaneIndex]] = [:]

  /// True for the routes of heads whose sessions run as many calls as they may.
  var isSpare = Column<Route, Bool>(false)

  /// Routes whose first head, or its place in the order, has changed since the owner emptied this list.
  var moved: [RouteIndex] = []
  /// Clusters whose front, its cost or their credit may have changed since the owner looked.
  var unsettled: [ClusterIndex] = []

  /// Idle lanes that need not be remembered; the owner closes them and empties this list.
  var forgotten: [LaneIndex] = []

  /// The number of lanes with a head.
  private(set) var backlogged = 0
  /// The number of flows that take memory, for tests of the bound.
  var flowCount: Int { flows.count }

  typealias Choice = RouteTurns.Choice

  /// What a grant was charged, until its real cost is known.
  struct Charge: Sendable {
    var lane: LaneIndex
    var weight: Int32
    fileprivate var ofTenant = FairCharge()
    fileprivate var ofLane = FairCharge()
  }

  // MARK: Heads

  /// Sets the lane's head, which may be placed on this route. The lane must belong to the same tenant and cluster until
  /// it is forgotten.
  /// - Parameter request: the head's place in the order of arrival.
  mutating func setHead(
    lane: LaneIndex, tenant: TenantIndex, route: RouteIndex, cluster: ClusterIndex = .unconnected, request: UInt64 = 0
  ) {
    let flow = lanes[lane].flow ?? self.flow(of: tenant, in: cluster)
    lanes[lane].head = request
    setHurry(lane: lane, until: nil)
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
    guard isSpare[route] else { return joinTurns(lane, flow) }
    // What it cannot use is not owed to it, and it does not hold virtual time back.
    flows[flow].level.inTurn.remove(lane, positions: &laneTurns)
    lanes[lane].position.isInTurn = false
  }

  /// Finds or makes the flow.
  private mutating func flow(of tenant: TenantIndex, in cluster: ClusterIndex) -> FlowIndex {
    if let known = flowsOf[tenant]?.first(where: { flows[$0].cluster == cluster }) { return known }
    // Gives the cluster its own value in the column.
    clusters[cluster].stamp += 0
    let flow = flows.insert(Flow(tenant: tenant, cluster: cluster, weight: weights[tenant]))
    flowsOf[tenant, default: []].append(flow)
    return flow
  }

  /// The lane begins to wait, and so does the tenant if this is its first lane.
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

  /// The lane no longer has a head.
  mutating func clearHead(lane: LaneIndex) {
    guard lanes[lane].isWaiting, let flow = lanes[lane].flow else { return }
    setOld(lane: lane, false)
    setHurry(lane: lane, until: nil)
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

  /// Rule 2c: lets the lane's head go before all heads of its tenant that do not hurry, but for one grant of four. Its session is charged as
  /// ever.
  /// - Parameter expiry: when its prompt expires; nil ends the hurry.
  @inline(__always) mutating func setHurry(lane: LaneIndex, until expiry: Instant?) {
    if lanes[lane].expiry != expiry?.nanoseconds { changeHurry(lane, until: expiry) }
  }

  private mutating func changeHurry(_ lane: LaneIndex, until expiry: Instant?) {
    lanes[lane].expiry = expiry?.nanoseconds
    guard let flow = lanes[lane].flow else { return }
    guard let branch = lanes[lane].branch else {
      if case .aside(let route) = lanes[lane].away { moved.append(route) }
      return
    }
    branches[branch].hurried.remove(lane, positions: &hurriedPositions)
    joinHurried(lane, branch)
    if !flows[flow].isParked { refresh(branches[branch].route, in: flows[flow].cluster) }
  }

  private mutating func joinHurried(_ lane: LaneIndex, _ branch: BranchIndex) {
    guard let expiry = lanes[lane].expiry else { return }
    branches[branch].hurried.insert(lane, key: expiry, stamp: lanes[lane].stamp, positions: &hurriedPositions)
  }

  /// The branch's first lane, and its place among the heads of its tenant.
  func firstLane(of branch: BranchIndex) -> (lane: LaneIndex, tag: Int64, stamp: UInt64)? {
    if flows[branches[branch].flow].mayHurry, let first = branches[branch].hurried.first {
      return (first.element, Self.tag(expiry: first.key), first.stamp)
    }
    return branches[branch].lanes.first.map { ($0.element, $0.key, $0.stamp) }
  }

  /// The lane's place among the heads of its tenant.
  func tag(of lane: LaneIndex, _ flow: FlowIndex) -> Int64 {
    guard flows[flow].mayHurry, let expiry = lanes[lane].expiry else { return lanes[lane].position.tag }
    return Self.tag(expiry: expiry)
  }

  /// Before every tag that counts tokens.
  private static func tag(expiry: Int64) -> Int64 { Int64.min / 2 + expiry / 4 }

  func hasHead(lane: LaneIndex) -> Bool { lanes[lane].branch != nil }

  /// Whether the lane's head has waited past its band's `promote_after`.
  @inline(__always) mutating func setOld(lane: LaneIndex, _ isOld: Bool) {
    if lanes[lane].isOld != isOld { changeOld(lane, isOld) }
  }

  private mutating func changeOld(_ lane: LaneIndex, _ isOld: Bool) {
    guard lanes[lane].isWaiting, let flow = lanes[lane].flow else { return }
    lanes[lane].isOld = isOld
    flows[flow].old += isOld ? 1 : -1
    if !flows[flow].isParked { clusters[flows[flow].cluster].old += isOld ? 1 : -1 }
  }

  /// True where an old head takes part in the turns.
  func hasOld(in cluster: ClusterIndex) -> Bool { clusters[cluster].old > 0 }

  // MARK: Cost

  /// Charges the grant of the lane's head, which is still the head. A `settle` must follow.
  /// - Parameters:
  ///   - cost: its expected cost, in tokens.
  ///   - isLeaving: true where the lane gets another head at once: that updates its route.
  mutating func charge(lane: LaneIndex, cost: Int64, weight: Int, isLeaving: Bool = false) -> Charge {
    var charge = Charge(lane: lane, weight: Int32(weight))
    // A waiting lane always has a flow.
    guard let flow = lanes[lane].flow else { return charge }
    let own = flows[flow].cluster
    passOver(for: lane, flow)
    flows[flow].hurriedInARow = isBeforeItsTurn(lane) ? flows[flow].hurriedInARow + 1 : 0
    reweigh(flow, weight)
    charge.ofTenant = clusters[own].level.grant(&flows[flow].position, cost: cost, weight: weight)
    charge.ofLane = flows[flow].level.grant(&lanes[lane].position, cost: cost, weight: 1)
    stamp += 1
    flows[flow].stamp = stamp
    clusters[own].stamp = stamp
    lanes[lane].stamp = stamp
    rekey(lane, flow, isLeaving: isLeaving)
    return charge
  }

  /// True where the lane hurries, and another of its branch has its turn.
  func isBeforeItsTurn(_ lane: LaneIndex) -> Bool {
    guard lanes[lane].expiry != nil, let branch = lanes[lane].branch else { return false }
    return branches[branch].lanes.first?.element != lane
  }

  /// Replaces the expected cost by the real one, in tokens.
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
    // The flow waits, or it would not be granted anything.
    clusters[flows[flow].cluster].level.weightChanged(by: weight - old)
  }

  /// A flow that holds virtual time back and would have gone before this lane was blocked: it is out of turn until its
  /// next grant.
  private mutating func passOver(for lane: LaneIndex, _ flow: FlowIndex) {
    let own = flows[flow].cluster
    // Only the numbers are read: copying a flow would cause its heaps to be copied when they change.
    var (tag, stamp) = (flows[flow].position.tag, flows[flow].stamp)
    while let least = clusters[own].level.inTurn.first, least.element != flow {
      let other = least.element
      guard (flows[other].position.tag, flows[other].stamp) < (tag, stamp) else { break }
      clusters[own].level.inTurn.remove(other, positions: &flowTurns)
      flows[other].position.isInTurn = false
    }
    // Who is passed over by a hurried head is not blocked.
    if isBeforeItsTurn(lane) { return }
    (tag, stamp) = (lanes[lane].position.tag, lanes[lane].stamp)
    while let least = flows[flow].level.inTurn.first, least.element != lane {
      guard (lanes[least.element].position.tag, lanes[least.element].stamp) < (tag, stamp) else { break }
      flows[flow].level.inTurn.remove(least.element, positions: &laneTurns)
      lanes[least.element].position.isInTurn = false
    }
  }

  /// A lane that was granted something and still waits is served in turn from now on, and so is its tenant.
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

  /// Leaves the tenant out of `next` until it is unparked, because its own limit blocks it. It gets no compensation for
  /// the turns that it misses.
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

  /// Lets the tenant take turns again.
  mutating func unpark(tenant: TenantIndex) {
    for flow in flowsOf[tenant] ?? [] where flows[flow].isParked {
      flows[flow].isParked = false
      clusters[flows[flow].cluster].parked.removeAll { $0 == flow }
      clusters[flows[flow].cluster].old += flows[flow].old
      for branch in flows[flow].branches { insertBranch(branch) }
      tellAside(flow)
    }
  }

  /// The tenant's own limit has less left: its heads that are first on their routes may no longer claim anything.
  mutating func tell(tenant: TenantIndex) {
    for flow in flowsOf[tenant] ?? [] where flows[flow].backlogged > 0 && !flows[flow].isParked {
      for branch in flows[flow].branches
      where clusters[flows[flow].cluster].routes[branches[branch].route].first?.element == branch {
        moved.append(branches[branch].route)
      }
      tellAside(flow)
    }
  }

  /// The claims and the order of the flow's set-aside heads have changed.
  private mutating func tellAside(_ flow: FlowIndex) {
    for lane in flows[flow].aside { if case .aside(let route) = lanes[lane].away { moved.append(route) } }
  }

  /// Forgets the tenant, whose index will be used again. None of its requests waits or runs.
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
    joinHurried(lane, branch)
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
    branches[branch].hurried.remove(lane, positions: &hurriedPositions)
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

  /// Updates the heaps after the positions of the lane and its tenant have changed.
  private mutating func rekey(_ lane: LaneIndex, _ flow: FlowIndex, isLeaving: Bool = false) {
    let own = isLeaving ? lanes[lane].branch : nil
    if let branch = lanes[lane].branch {
      branches[branch].lanes.update(
        lane, key: lanes[lane].position.tag, stamp: lanes[lane].stamp, positions: &lanePositions)
    }
    flows[flow].level.inTurn.update(
      lane, key: lanes[lane].position.settled, stamp: 0, positions: &laneTurns)
    guard !flows[flow].isParked else { return }
    tellAside(flow)
    let cluster = flows[flow].cluster
    clusters[cluster].level.inTurn.update(
      flow, key: flows[flow].position.settled, stamp: 0, positions: &flowTurns)
    let (key, stamp) = (flows[flow].position.tag, flows[flow].stamp)
    for index in flows[flow].branches.indices {
      let branch = flows[flow].branches[index]
      let route = branches[branch].route
      clusters[cluster].routes[route].update(branch, key: key, stamp: stamp, positions: &branchPositions)
      if branch != own { refresh(route, in: cluster) }
    }
  }
}
