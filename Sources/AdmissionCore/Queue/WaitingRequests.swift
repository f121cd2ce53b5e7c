// The waiting requests: their places, their order, their timers and their counts.
//
// A waiting request has a place from `insert` to `remove`. It is *in its lane* while it takes part in the turns. It is
// outside its lane while it waits for the time of its retry, for a budget, or because of a throttle. The first request
// of a lane is its *head*, the only one that a pass looks at.
//
// Promises: insertion, removal, the next head and the next deadline are at most O(log n); memory is freed as the queue
// drains (there are at most twice as many places as requests, plus 64); a request is in one place, one lane and one
// timer, or in none. This store knows no rules: its owner decides where a request may go, and what a band may use.

struct WaitingRequests: Sendable {
  private(set) var requests = Slots<Request>()
  private var byID = RequestMap<RequestIndex>()
  private(set) var lanes = LaneQueue()
  /// The turns of each band.
  private(set) var fair = [FairShare(), FairShare(), FairShare()]
  /// Each request's next instant: of its retry, its `promote_after` or its deadline.
  private var timers = IndexedHeap<Request>()
  private var timerPositions = IndexedHeap<Request>.Positions()
  /// Those whose clients are known to give up, by how long they would wait for the first byte after the deadline here.
  private var patient = IndexedHeap<Request>()
  private var patientPositions = IndexedHeap<Request>.Positions()
  /// True for closed routes, where everything that their heads wait for is claimed or missing.
  private var closed = Column<Route, Bool>(false)
  private var lastSequence: UInt64 = 0
  private var free = FreeCalls()
  private var freeCount = 0
  /// The sessions, where the policy limits their calls.
  private(set) var sessions = SessionTable()
  /// By route: the one that heads of sessions at their limit have instead.
  private var spares = Column<Route, RouteIndex?>(nil)
  /// By lane: the session of its head, and whether it is at its limit.
  private var owners = Column<Lane, Owner>(Owner())
  /// The number of lanes whose heads' sessions are at their limit, by band.
  private var cappedByBand = [0, 0, 0]
  private struct Owner: Sendable {
    var session: SessionIndex?
    var isCapped = false
  }
  /// True where a waiting free call may go.
  var isFreeDue = false

  private(set) var countByBand = [0, 0, 0]
  /// The bytes that the shell keeps for the waiting requests.
  private(set) var bytes = 0
  /// Throttled requests that stand outside their lanes, in the order of their refusals.
  private(set) var heldBack: [RequestID] = []

  /// The number of requests that a key has refused.
  private var refusedCount = 0
  /// By the first candidate and the class, and by tenant.
  private var atProviders = Arrivals<ProviderBand>()
  private var ofTenants = Arrivals<TenantState>()

  /// True where a key has refused some waiting request.
  var hasRefused: Bool { refusedCount > 0 }
  var count: Int { requests.count }
  var isEmpty: Bool { requests.isEmpty }
  /// True where a free call waits, and true where nothing else does.
  var hasFree: Bool { freeCount > 0 }
  var hasOnlyFree: Bool { freeCount == requests.count }
  /// Places that take memory.
  var capacity: Int { requests.capacity }

  // MARK: Finding

  /// nil where the request does not wait.
  func index(of id: RequestID) -> RequestIndex? { byID[id] }

  /// nil where nobody waits at this place.
  func find(_ index: RequestIndex) -> Request? { requests.find(index) }

  func contains(_ index: RequestIndex) -> Bool { requests.contains(index) }

  /// A waiting request. Its id, tenant, band and bytes must not be changed.
  subscript(index: RequestIndex) -> Request {
    @inline(__always) get { requests[index] }
    @inline(__always) _modify { yield &requests[index] }
  }

  /// The waiting requests in the order of arrival.
  var inOrder: [RequestIndex] { requests.indices.sorted { requests[$0].sequence < requests[$1].sequence } }

  // MARK: Coming and going

  /// The number for a new request in the order of arrival.
  mutating func nextSequence() -> UInt64 {
    lastSequence += 1
    return lastSequence
  }

  /// Gives the request a place; it is in no lane yet.
  /// - Parameter provider: its first candidate.
  mutating func insert(_ request: consuming Request, at provider: ProviderIndex? = nil) -> RequestIndex {
    let id = request.box.ticket.id
    let (tenant, band) = (request.tenant, request.band)
    if request.isHeldBack { heldBack.append(id) }
    if request.hasRefusedKeys { refusedCount += 1 }
    countByBand[request.band] += 1
    bytes += request.box.ticket.keptBytes
    if request.box.ticket.isFree { freeCount += 1 }
    let isPatient = request.box.ticket.patience != nil
    let index = requests.insert(request)
    byID[id] = index
    if let provider { atProviders.enter(index, of: Slots<ProviderBand>.Index(provider, band: band)) }
    ofTenants.enter(index, of: tenant)
    if isPatient { orderByPatience(index) }
    return index
  }

  /// Removes the request from everything; nil where no request waits at this place.
  mutating func remove(_ index: RequestIndex, at now: Instant) -> Request? {
    guard let request = requests.find(index) else { return nil }
    drop(index, at: now)
    return request
  }

  /// The same for a request that waits there, and that nobody needs any more.
  mutating func drop(_ index: RequestIndex, at now: Instant) {
    let id = requests[index].box.ticket.id
    byID[id] = nil
    timers.remove(index, positions: &timerPositions)
    if !patient.isEmpty { patient.remove(index, positions: &patientPositions) }
    if requests[index].isHeldBack { heldBack.removeAll { $0 == id } }
    if requests[index].hasRefusedKeys { refusedCount -= 1 }
    countByBand[requests[index].band] -= 1
    bytes -= requests[index].box.ticket.keptBytes
    if requests[index].box.ticket.isFree {
      freeCount -= 1
      leaveFree(index)
    }
    leaveLane(index, at: now)
    atProviders.leave(index)
    ofTenants.leave(index)
    requests.drop(index)
  }

  /// Keeps the memory within its bound by moving one request at a time. Returns the move; nil when nothing is left to
  /// do.
  mutating func compact() -> (old: RequestIndex, new: RequestIndex)? {
    guard let (old, new) = requests.moveLastDown() else {
      timerPositions.trim(to: requests.capacity)
      patientPositions.trim(to: requests.capacity)
      lanes.trimSlots(to: requests.capacity)
      free.trim(to: requests.capacity)
      atProviders.trim(to: requests.capacity)
      ofTenants.trim(to: requests.capacity)
      return nil
    }
    byID[requests[new].ticket.id] = new
    timers.rename(old, to: new, positions: &timerPositions)
    if patientPositions.contains(old) { patient.rename(old, to: new, positions: &patientPositions) }
    lanes.rename(old, to: new)
    atProviders.rename(old, to: new)
    ofTenants.rename(old, to: new)
    if free.contains(old) { free.rename(old, to: new, on: requests[new].route) }
    return (old, new)
  }

  /// Notes that the request is no longer throttled.
  mutating func endHoldingBack(_ index: RequestIndex) {
    let id = requests[index].ticket.id
    heldBack.removeAll { $0 == id }
    requests[index].isHeldBack = false
    requests[index].notBefore = nil
  }

  // MARK: Who has waited longest

  /// The request of the class that has waited longest of those whose first candidate this is.
  func oldest(at provider: ProviderIndex, band: Int) -> RequestIndex? {
    atProviders.first(of: Slots<ProviderBand>.Index(provider, band: band))
  }

  /// Those of them that came last, the newest first, at most so many.
  func newest(_ most: Int, at provider: ProviderIndex, band: Int) -> [RequestIndex] {
    atProviders.last(most, of: Slots<ProviderBand>.Index(provider, band: band))
  }

  func oldest(of tenant: TenantIndex) -> RequestIndex? { ofTenants.first(of: tenant) }

  /// Takes over the first candidates of all waiting requests, where they may have changed.
  mutating func replaceFirst(_ firsts: [(request: RequestIndex, provider: ProviderIndex)]) {
    atProviders.removeAll()
    for (index, provider) in firsts.sorted(by: { isBefore($0.request, $1.request) }) {
      atProviders.enter(index, of: Slots<ProviderBand>.Index(provider, band: requests[index].band))
    }
  }

  /// True where a request's stay began before another's.
  func isBefore(_ left: RequestIndex, _ right: RequestIndex) -> Bool {
    let (one, other) = (requests[left].queuedSince, requests[right].queuedSince)
    return one != other ? one < other : requests[left].sequence < requests[right].sequence
  }

  // MARK: Lanes

  /// Puts the request into its session's lane: in front, by age, where it is a retry.
  /// - Parameters:
  ///   - cluster: that of its route.
  ///   - isParked: true where the tenant takes no part in the turns.
  mutating func enterLane(
    _ index: RequestIndex, isRetry: Bool, in cluster: ClusterIndex, isParked: Bool, at now: Instant
  ) {
    let (tenant, band, sequence) = (requests[index].tenant, requests[index].band, requests[index].sequence)
    let lane = lanes.openLane(
      for: LaneKey(tenant: tenant, band: Int8(band), cluster: cluster, session: requests[index].ticket.session))
    if isRetry {
      let requests = requests
      lanes.insertRetry(index, to: lane) { (requests.find($0)?.sequence ?? 0) < sequence }
    } else {
      lanes.append(index, to: lane)
    }
    refreshHead(lane, band: band, tenant: tenant, at: now)
    if isParked { fair[band].park(tenant: tenant) }
  }

  /// Takes the request out of its lane, where it goes on waiting. Does nothing where it is outside already.
  mutating func leaveLane(_ index: RequestIndex, at now: Instant) {
    guard let lane = lanes.lane(of: index), let key = lanes.key(of: lane) else { return }
    let wasHead = lanes.head(of: lane) == index
    lanes.remove(index)
    if wasHead { refreshHead(lane, band: Int(key.band), tenant: key.tenant, at: now) }
  }

  func isInLane(_ index: RequestIndex) -> Bool { lanes.lane(of: index) != nil }

  func isHead(_ index: RequestIndex) -> Bool { lanes.lane(of: index).map { lanes.head(of: $0) == index } ?? false }

  /// The cluster in which the request takes its turns; nil where it is in no lane.
  func cluster(of index: RequestIndex) -> ClusterIndex? { lanes.lane(of: index).flatMap { lanes.key(of: $0)?.cluster } }

  /// Tells the turns which request is first in the lane.
  private mutating func refreshHead(_ lane: LaneIndex, band: Int, tenant: TenantIndex, at now: Instant) {
    guard let head = lanes.head(of: lane), requests.contains(head) else {
      if sessions.rule != nil { own(lane, band: band, session: nil) }
      fair[band].clearHead(lane: lane)
      closeForgottenLanes(band)
      return
    }
    let cluster = lanes.key(of: lane)?.cluster ?? .unconnected
    var route = requests[head].route
    var isCapped = false
    if sessions.rule != nil {
      isCapped = own(lane, band: band, session: requests[head].session)
      if isCapped, let spare = spares[route] { route = spare }
    }
    fair[band].setHead(lane: lane, tenant: tenant, route: route, cluster: cluster, request: requests[head].sequence)
    fair[band].setOld(lane: lane, !isCapped && requests[head].promoteAt <= now)
    fair[band].setHurry(lane: lane, until: requests[head].hurry(at: now))
  }

  private mutating func closeForgottenLanes(_ band: Int) {
    guard !fair[band].forgotten.isEmpty else { return }
    for lane in fair[band].forgotten { lanes.closeLane(lane) }
    fair[band].forgotten.removeAll(keepingCapacity: true)
  }

  /// Sets the head's lane aside, since something of its own is in its way: the lane gets no turn until the route is
  /// opened.
  /// - Parameter hadFloorTurn: true where its floor turn has shown this.
  mutating func setAside(_ head: RequestIndex, hadFloorTurn: Bool = false) {
    guard let lane = lanes.lane(of: head) else { return }
    fair[requests[head].band].setAside(lane: lane, hadFloorTurn: hadFloorTurn)
  }

  /// Gives requests new routes. Indices of the former routes are invalid: no head may be looked up by one.
  /// - Parameters:
  ///   - routes: for all waiting requests, in the order of arrival.
  ///   - spares: for sessions at their limit, where sessions are limited.
  mutating func reroute(
    _ routes: [(request: RequestIndex, route: RouteIndex)], spares anew: [RouteIndex: RouteIndex], at now: Instant
  ) {
    for (index, _) in routes {
      if let lane = lanes.lane(of: index) { fair[requests[index].band].setAside(lane: lane) }
    }
    for band in fair.indices { fair[band].forgetRoutes() }
    closed.removeAll()
    spares.removeAll()
    for (index, route) in routes {
      let isInFree = free.contains(index)
      if isInFree { leaveFree(index) }
      requests[index].route = route
      if isInFree { enterFree(index) }
    }
    for (route, spare) in anew { setSpare(spare, of: route) }
    for (index, _) in routes where isHead(index) {
      guard let lane = lanes.lane(of: index) else { continue }
      // Waiting requests stay in the cluster in which they came.
      refreshHead(lane, band: requests[index].band, tenant: requests[index].tenant, at: now)
    }
  }

  /// Removes a head that is no waiting request, which is our own bug, from everything that knows it.
  mutating func throwOut(_ index: RequestIndex, at now: Instant) {
    leaveLane(index, at: now)
    timers.remove(index, positions: &timerPositions)
  }

  /// For tests of such a bug: removes the request from its place, and tells nothing else.
  mutating func spoil(_ index: RequestIndex) { requests.remove(index) }

  // MARK: Sessions

  /// Forgets all sessions and takes over a rule: requests must enter again, and `reroute` must follow.
  mutating func limitSessions(_ rule: SessionConcurrency?) {
    for lane in owners.indices { owners[lane] = Owner() }
    cappedByBand = [0, 0, 0]
    sessions.begin(rule)
  }

  /// A request of the session has come; nil where sessions are not limited.
  mutating func enterSession(_ box: TicketBox, tenant: TenantIndex) -> SessionIndex? {
    sessions.rule == nil
      ? nil : sessions.enter(SessionState.Key(tenant: tenant, name: box.ticket.sessionGroup ?? box.ticket.session))
  }

  /// A request of the session is over.
  mutating func leaveSession(_ session: SessionIndex?) {
    guard let session else { return }
    sessions.leave(session)
    if sessions.count == 0 { owners.removeAll() }
  }

  /// A call of the session begins or ends: its heads get their turns with the others, or after them.
  mutating func countCall(_ change: Int, in session: SessionIndex, at now: Instant) {
    guard sessions.count(change, in: session) else { return }
    for lane in sessions.lanes(of: session) {
      if let key = lanes.key(of: lane) { refreshHead(lane, band: Int(key.band), tenant: key.tenant, at: now) }
    }
  }

  /// Notes whose the lane's head is. Returns true where that session is at its limit.
  @discardableResult
  private mutating func own(_ lane: LaneIndex, band: Int, session: SessionIndex?) -> Bool {
    let former = owners[lane]
    if former.session != session {
      if let former = former.session { sessions.remove(lane, from: former) }
      if let session { sessions.add(lane, to: session) }
    }
    let isCapped = session.map { sessions.isAtLimit($0) } ?? false
    if isCapped != former.isCapped { cappedByBand[band] += isCapped ? 1 : -1 }
    if former.session != nil || session != nil { owners[lane] = Owner(session: session, isCapped: isCapped) }
    return isCapped
  }

  /// True for a head whose session runs as many calls as it may.
  func isCapped(_ head: RequestIndex) -> Bool {
    guard sessions.rule != nil, let session = requests[head].session else { return false }
    return sessions.isAtLimit(session)
  }

  func hasSpare(_ route: RouteIndex) -> Bool { spares[route] != nil }

  /// Sets the route that heads of sessions at their limit have instead of this one.
  mutating func setSpare(_ spare: RouteIndex, of route: RouteIndex) {
    spares[route] = spare
    for band in fair.indices { fair[band].isSpare[spare] = true }
  }

  /// The route on which the head takes its turns.
  func turnRoute(of head: RequestIndex) -> RouteIndex {
    let route = requests[head].route
    return isCapped(head) ? spares[route] ?? route : route
  }

  // MARK: Free calls

  /// The routes on which free calls wait.
  var freeRoutes: [RouteIndex] { free.routes }

  /// The first free call of the route.
  func firstFree(on route: RouteIndex) -> RequestIndex? { free.first(on: route)?.call }

  func firstSequence(on route: RouteIndex) -> Int64 { free.first(on: route)?.sequence ?? .max }

  /// Puts the free call among those that may go at once.
  mutating func enterFree(_ index: RequestIndex) {
    // Those that the provider has refused stand behind the others, which go first when the pause is over.
    let place = requests[index].refusals.isEmpty ? requests[index].sequence : requests[index].sequence | 1 << 62
    free.enter(index, on: requests[index].route, sequence: place)
    isFreeDue = true
  }

  /// Takes the free call out of them; does nothing where it is outside already.
  mutating func leaveFree(_ index: RequestIndex) { free.leave(index, on: requests[index].route) }

  // MARK: Turns

  /// Lanes with a head, without those whose sessions are at their limit.
  func backlog(of band: Int) -> Int { fair[band].backlogged - cappedByBand[band] }

  /// True where an old head of the band takes part in the turns.
  func hasOld(_ band: Int, in cluster: ClusterIndex) -> Bool { fair[band].hasOld(in: cluster) }

  /// The head whose turn it is in the band, on open routes.
  mutating func next(_ band: Int) -> RequestIndex? { fair[band].next().flatMap { lanes.head(of: $0.lane) } }

  /// The same among the heads whose sessions are at their limit.
  mutating func nextCapped(_ band: Int) -> RequestIndex? {
    guard cappedByBand[band] > 0 else { return nil }
    return fair[band].next(isSpare: true).flatMap { lanes.head(of: $0.lane) }
  }

  /// The first head of the band in the cluster, on open or closed routes: the one for which the band saves up.
  mutating func front(_ band: Int, in cluster: ClusterIndex) -> RequestIndex? {
    fair[band].front(in: cluster).flatMap { lanes.head(of: $0.lane) }
  }

  /// Closes the route: all its heads are passed over until it is opened.
  mutating func close(_ route: RouteIndex) {
    closed[route] = true
    for band in fair.indices { fair[band].close(route) }
  }

  func isClosed(_ route: RouteIndex) -> Bool { closed[route] }

  /// True where a head of the route is set aside.
  func hasAside(_ route: RouteIndex) -> Bool { fair.contains { $0.hasAside(route) } }

  /// Opens the route, since there may be something for its heads.
  mutating func open(_ route: RouteIndex) {
    if closed[route] { closed[route] = false }
    for band in fair.indices { fair[band].open(route) }
  }

  /// Takes a route whose first head, or its place in the order of turns, has changed in some band; nil where there is
  /// none.
  mutating func popMoved() -> RouteIndex? {
    for band in 0..<3 where !fair[band].moved.isEmpty { return fair[band].moved.removeLast() }
    return nil
  }

  @inline(__always) var hasMoved: Bool { !fair[0].moved.isEmpty || !fair[1].moved.isEmpty || !fair[2].moved.isEmpty }

  // MARK: Floor turns

  /// A cluster in which the band's front, its cost or the band's credit may have changed; it stays until `settleLast`.
  func unsettled(_ band: Int) -> ClusterIndex? { fair[band].unsettled.last }

  mutating func settleLast(_ band: Int) { fair[band].settleLast() }

  /// Notes that the band's credit in the cluster has changed.
  mutating func unsettle(_ band: Int, in cluster: ClusterIndex) { fair[band].unsettle(cluster) }

  mutating func unsettleAll(_ band: Int) { fair[band].unsettleAll() }

  /// Notes that the head, on a closed route or set aside, found no place in its floor turn.
  mutating func passOver(_ head: RequestIndex) {
    guard let lane = lanes.lane(of: head), let cluster = lanes.key(of: lane)?.cluster else { return }
    let band = requests[head].band
    if fair[band].isAside(lane) {
      fair[band].setAside(lane: lane, hadFloorTurn: true)
    } else {
      fair[band].passOver(requests[head].route, in: cluster)
    }
  }

  /// The first heads of these routes may be the front again.
  mutating func endPassingOver(_ routes: [RouteIndex], _ band: Int, in cluster: ClusterIndex) {
    if !routes.isEmpty { fair[band].endPassingOver(routes, in: cluster) }
  }

  @inline(__always) func hasPassedOver(_ band: Int, in cluster: ClusterIndex) -> Bool {
    fair[band].hasPassedOver(in: cluster)
  }

  /// The heads that found no place in their floor turns.
  /// - Parameter heads: receives them; its memory is used again, not allocated each time.
  func passedOver(_ band: Int, in cluster: ClusterIndex, into heads: inout [RequestIndex]) {
    heads.removeAll(keepingCapacity: true)
    for route in fair[band].passedOver(in: cluster) {
      if let lane = fair[band].head(of: route, in: cluster), let head = lanes.head(of: lane) { heads.append(head) }
    }
    for lane in fair[band].asideAfterFloorTurn(in: cluster) {
      if let head = lanes.head(of: lane) { heads.append(head) }
    }
  }

  /// The routes on which requests of the band wait, without those of parked tenants.
  func routes(_ band: Int, in cluster: ClusterIndex) -> [RouteIndex] { fair[band].routes(in: cluster) }

  /// The band's first head on the route.
  func head(of route: RouteIndex, _ band: Int, in cluster: ClusterIndex) -> RequestIndex? {
    fair[band].head(of: route, in: cluster).flatMap { lanes.head(of: $0) }
  }

  /// The parked tenants with waiting requests of the band.
  func parked(_ band: Int, in cluster: ClusterIndex) -> [TenantIndex] { fair[band].parked(in: cluster) }

  /// Counts a grant to the head's session and tenant; nil where it is no head. It must leave its lane at once, and
  /// `settle` must follow.
  /// - Parameter cost: the expected cost in tokens.
  mutating func charge(_ head: RequestIndex, cost: Int64, weight: Int) -> FairShare.Charge? {
    guard let lane = lanes.lane(of: head), requests.contains(head) else { return nil }
    return fair[requests[head].band].charge(lane: lane, cost: cost, weight: weight, isLeaving: true)
  }

  /// Settles a grant with its real cost in tokens.
  mutating func settle(_ charge: FairShare.Charge, band: Int, real: Int64) {
    fair[band].settle(charge, real: real)
    closeForgottenLanes(band)
  }

  /// Parks the tenant: it takes no part in the turns until it is unparked.
  mutating func park(_ tenant: TenantIndex) {
    for band in fair.indices { fair[band].park(tenant: tenant) }
  }

  /// Notes that less is left of the tenant's own limit.
  mutating func tell(_ tenant: TenantIndex) {
    for band in fair.indices { fair[band].tell(tenant: tenant) }
  }

  mutating func unpark(_ tenant: TenantIndex) {
    for band in fair.indices { fair[band].unpark(tenant: tenant) }
  }

  /// Forgets the tenant, whose place will be reused.
  mutating func forget(_ tenant: TenantIndex) {
    for band in fair.indices { fair[band].forget(tenant: tenant) }
  }

  // MARK: Time

  /// Sets the request's timer, replacing the one that it had.
  mutating func setTimer(_ index: RequestIndex, to instant: Instant) {
    timers.set(
      index, key: instant.nanoseconds, stamp: requests[index].sequence, positions: &timerPositions)
  }

  /// Gives the request its place among those whose clients are known to give up: again, where its deadline has changed.
  mutating func orderByPatience(_ index: RequestIndex) {
    let box = requests[index].box
    guard let patience = box.ticket.patience, !box.ticket.isFree else { return }
    let left = (requests[index].submitted + patience) - requests[index].deadline
    patient.set(index, key: left.nanoseconds, stamp: requests[index].sequence, positions: &patientPositions)
  }

  /// Takes the requests out of that order whose clients would wait less than this for the first byte. Returns them in
  /// the order of arrival.
  mutating func takeImpatient(_ firstByte: Span) -> [RequestID] {
    var taken: [RequestIndex] = []
    while let first = patient.first, first.key < firstByte.nanoseconds {
      patient.remove(first.element, positions: &patientPositions)
      taken.append(first.element)
    }
    return taken.sorted { requests[$0].sequence < requests[$1].sequence }.map { requests[$0].box.ticket.id }
  }

  /// When the first timer ends.
  var nextDeadline: Instant? { timers.first.map { Instant(nanoseconds: $0.key) } }

  /// The request whose timer has ended first.
  func due(at now: Instant) -> RequestIndex? {
    guard let first = timers.first, first.key <= now.nanoseconds else { return nil }
    return first.element
  }

  /// Lets the request's session go earlier, or no longer, where it is the head of its lane.
  mutating func hurry(_ index: RequestIndex, at now: Instant) {
    guard let lane = lanes.lane(of: index), lanes.head(of: lane) == index else { return }
    fair[requests[index].band].setHurry(lane: lane, until: requests[index].hurry(at: now))
  }

  /// Marks the request as old. Returns true where it is the head of its lane, which the turns must know.
  mutating func markOld(_ index: RequestIndex) -> Bool {
    guard let lane = lanes.lane(of: index), lanes.head(of: lane) == index else { return false }
    // A larger share of its band would not help it.
    if sessions.rule != nil, owners[lane].isCapped { return false }
    fair[requests[index].band].setOld(lane: lane, true)
    return true
  }
}
