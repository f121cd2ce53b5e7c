// Decides whose turn it is, which routes are open, and which lanes are set aside.
//
// Each cluster's `RouteTurns` has the first heads of its routes. This file keeps track of which clusters have open
// routes, and in which of them the front (the head that its band saves up for) or its credit may have changed since the
// owner looked.

extension FairShare {
  /// Returns the lane whose turn it is among the open routes, leaving out parked tenants. Among clusters, the one that
  /// was served longest ago goes first.
  /// - Parameter isSpare: true for the heads of sessions at their limit.
  mutating func next(isSpare: Bool = false) -> Choice? {
    var best: (choice: Choice, cluster: ClusterIndex)?
    var position = 0
    while position < open.count {
      let own = open[position]
      guard let choice = clusters[own].turns.next(isSpare: isSpare) else {
        if clusters[own].turns.hasOpen {
          position += 1
          continue
        }
        clusters[own].isListedOpen = false
        open.swapAt(position, open.count - 1)
        open.removeLast()
        continue
      }
      if best.map({ (clusters[own].stamp, own) < (clusters[$0.cluster].stamp, $0.cluster) }) ?? true {
        best = (choice, own)
      }
      position += 1
    }
    return best?.choice
  }

  /// Returns the first head of one cluster, whether its route is open or not, leaving out heads that could not be
  /// placed in their floor turns.
  mutating func front(in cluster: ClusterIndex) -> Choice? {
    let front = clusters[cluster].turns.front()
    guard !clusters[cluster].aside.isEmpty else { return front?.choice }
    var best = front
    for lane in clusters[cluster].aside {
      guard case .aside(let route) = lanes[lane].away, let flow = lanes[lane].flow, !flows[flow].isParked,
        !isSpare[route]
      else {
        continue
      }
      let head = RouteTurns.Head(
        tenantTag: flows[flow].position.tag, tenantStamp: flows[flow].stamp, lane: lane,
        laneTag: tag(of: lane, flow), laneStamp: lanes[lane].stamp, request: lanes[lane].head)
      if best.map({ head < $0.head }) ?? true { best = RouteTurns.Front(head: head, route: route) }
    }
    return best?.choice
  }

  /// True where some head could not be placed in its floor turn.
  @inline(__always) func hasPassedOver(in cluster: ClusterIndex) -> Bool {
    !clusters[cluster].turns.passedOver.isEmpty || !clusters[cluster].asideAfterFloorTurn.isEmpty
  }

  /// Lanes that were set aside in a floor turn.
  func asideAfterFloorTurn(in cluster: ClusterIndex) -> [LaneIndex] { clusters[cluster].asideAfterFloorTurn }

  /// Closes the route: all its heads are passed over until it is opened.
  mutating func close(_ route: RouteIndex) {
    guard let home = homes[route] else { return }
    clusters[home].turns.close(route)
    if !otherHomes.isEmpty { for own in otherHomes[route] ?? [] { clusters[own].turns.close(route) } }
  }

  /// Opens the route, because something may be free for its heads: they have turns again, including those that were set
  /// aside.
  mutating func open(_ route: RouteIndex) {
    guard let home = homes[route] else { return }
    if !aside.isEmpty {
      for lane in aside.removeValue(forKey: route) ?? [] {
        guard let flow = lanes[lane].flow else { continue }
        leaveAside(lane, flow)
        attach(lane, flow, route: route, tells: false)
      }
    }
    open(route, in: home)
    if !otherHomes.isEmpty { for own in otherHomes[route] ?? [] { open(route, in: own) } }
  }

  private mutating func open(_ route: RouteIndex, in own: ClusterIndex) {
    guard clusters[own].turns.open(route) else { return }
    if !clusters[own].isListedOpen { listOpen(own) }
    unsettle(own)
  }

  private mutating func addHome(_ own: ClusterIndex, of route: RouteIndex) {
    guard let home = homes[route] else { return homes[route] = own }
    if home != own, otherHomes[route]?.contains(own) != true { otherHomes[route, default: []].append(own) }
  }

  /// Notes that the head of this route could not be placed in its floor turn.
  mutating func passOver(_ route: RouteIndex, in cluster: ClusterIndex) {
    clusters[cluster].turns.passOver(route)
    unsettle(cluster)
  }

  /// Ends the passing over of these routes.
  mutating func endPassingOver(_ routes: [RouteIndex], in cluster: ClusterIndex) {
    clusters[cluster].turns.endPassingOver(routes)
    unsettle(cluster)
  }

  /// The routes whose heads could not be placed in their floor turns.
  func passedOver(in cluster: ClusterIndex) -> [RouteIndex] { clusters[cluster].turns.passedOver }

  /// Notes that the credit of the cluster, or the cost of its heads, has changed.
  mutating func unsettle(_ cluster: ClusterIndex) {
    guard !clusters[cluster].isUnsettled else { return }
    clusters[cluster].isUnsettled = true
    unsettled.append(cluster)
  }

  mutating func unsettleAll() {
    for cluster in clusters.indices { unsettle(cluster) }
  }

  /// The owner has looked at the last of `unsettled`.
  mutating func settleLast() {
    guard let cluster = unsettled.popLast() else { return }
    clusters[cluster].isUnsettled = false
  }

  /// The routes on which a request waits, without those of parked tenants.
  func routes(in cluster: ClusterIndex) -> [RouteIndex] { clusters[cluster].turns.routes }

  /// The first head of the route.
  @inline(__always) func head(of route: RouteIndex, in cluster: ClusterIndex) -> LaneIndex? {
    clusters[cluster].turns.head(of: route)
  }

  /// The parked tenants that wait in the cluster.
  func parked(in cluster: ClusterIndex) -> [TenantIndex] {
    clusters[cluster].parked.filter { flows[$0].backlogged > 0 }.map { flows[$0].tenant }
  }

  /// Forgets all routes, whose numbers change. All heads are set aside until each gets another route.
  mutating func forgetRoutes() {
    for own in clusters.indices {
      clusters[own].turns = RouteTurns()
      clusters[own].routes.removeAll()
      clusters[own].aside.removeAll()
      clusters[own].asideAfterFloorTurn.removeAll()
      clusters[own].isListedOpen = false
    }
    for lane in aside.values.joined() {
      lanes[lane].away = .unrouted
      if let flow = lanes[lane].flow { flows[flow].aside.removeAll() }
    }
    aside.removeAll()
    open.removeAll()
    homes.removeAll()
    otherHomes.removeAll()
    isSpare.removeAll()
    moved.removeAll()
  }

  private mutating func listOpen(_ cluster: ClusterIndex) {
    clusters[cluster].isListedOpen = true
    open.append(cluster)
  }

  /// Updates the route after its first head, or that head's place in the order, may have changed.
  /// - Parameter tells: false where the owner knows of the change.
  mutating func refresh(_ route: RouteIndex, in own: ClusterIndex, tells: Bool = true) {
    var head: RouteTurns.Head?
    if let branch = clusters[own].routes[route].first, let first = firstLane(of: branch.element) {
      head = RouteTurns.Head(
        tenantTag: branch.key, tenantStamp: branch.stamp, lane: first.lane, laneTag: first.tag, laneStamp: first.stamp,
        request: lanes[first.lane].head)
      if homes[route] != own { addHome(own, of: route) }
      if !clusters[own].isListedOpen { listOpen(own) }
    }
    guard
      clusters[own].turns.set(
        head, of: route, isAlone: clusters[own].backlogged <= 1, isSpare: isSpare[route])
    else { return }
    unsettle(own)
    if tells { moved.append(route) }
  }

  // MARK: Set aside

  /// Sets the lane aside, because something that concerns only its head blocks it: it has no turn until its route is
  /// opened, or the lane gets another head. The lane keeps its place.
  /// - Parameter hadFloorTurn: true where this was found in its floor turn; otherwise it may still be the front.
  mutating func setAside(lane: LaneIndex, hadFloorTurn: Bool = false) {
    guard let flow = lanes[lane].flow else { return }
    let own = flows[flow].cluster
    if let branch = lanes[lane].branch {
      let route = branches[branch].route
      detach(lane, flow, tells: false)
      lanes[lane].away = .aside(route)
      flows[flow].aside.append(lane)
      aside[route, default: []].append(lane)
    } else {
      clusters[own].aside.removeAll { $0 == lane }
    }
    if hadFloorTurn { clusters[own].asideAfterFloorTurn.append(lane) } else { clusters[own].aside.append(lane) }
    unsettle(own)
  }

  /// True where a head of the route is set aside.
  @inline(__always) func hasAside(_ route: RouteIndex) -> Bool { !aside.isEmpty && aside[route] != nil }

  func isAside(_ lane: LaneIndex) -> Bool { lanes[lane].away != .no }

  /// Removes the lane from those that are set aside.
  private mutating func leaveAside(_ lane: LaneIndex, _ flow: FlowIndex) {
    lanes[lane].away = .no
    flows[flow].aside.removeAll { $0 == lane }
    clusters[flows[flow].cluster].aside.removeAll { $0 == lane }
    clusters[flows[flow].cluster].asideAfterFloorTurn.removeAll { $0 == lane }
  }

  /// The lane's head has a turn again, or the lane has another head.
  mutating func endAside(_ lane: LaneIndex, _ flow: FlowIndex) {
    let away = lanes[lane].away
    lanes[lane].away = .no
    guard case .aside(let route) = away else { return }
    leaveAside(lane, flow)
    unsettle(flows[flow].cluster)
    aside[route]?.removeAll { $0 == lane }
    if aside[route]?.isEmpty == true { aside[route] = nil }
    moved.append(route)
  }
}
