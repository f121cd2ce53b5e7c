// Decides whose turn it is among the routes of one cluster in one band: keeps the first head of each route, and which
// routes are open.
//
// A closed route has nothing left for its heads: all of them are passed over at once until it is opened again. So the
// next head is searched only among the open routes, which are few: those where something has changed.
//
// The *front* is the first head of all routes, closed ones included: the one for which the band saves up (rule 1b). A
// route whose head has found no place in its floor turn is *passed over*: its head cannot be the front until the route
// is opened again.
//
// A *spare* route has the heads of sessions that run as many calls as they may. They get turns of their own, when the
// others have had theirs, and are never the front: no band saves up for them.

struct RouteTurns: Sendable {
  /// The first head of a route with its place in the order of turns.
  struct Head: Equatable, Sendable {
    var tenantTag: Int64
    var tenantStamp: UInt64
    var lane: LaneIndex
    var laneTag: Int64
    var laneStamp: UInt64
    /// The request's place in the order of arrival.
    var request: UInt64

    @inline(__always) static func < (left: Head, right: Head) -> Bool {
      if left.tenantTag != right.tenantTag { return left.tenantTag < right.tenantTag }
      if left.tenantStamp != right.tenantStamp { return left.tenantStamp < right.tenantStamp }
      return left.laneTag != right.laneTag ? left.laneTag < right.laneTag : left.laneStamp < right.laneStamp
    }

    /// True for the same head at the same place among its tenant's heads.
    fileprivate func isLevel(with other: Head) -> Bool {
      lane == other.lane && request == other.request && laneTag == other.laneTag && laneStamp == other.laneStamp
    }
  }
  struct Choice: Equatable, Sendable {
    var lane: LaneIndex
    var route: RouteIndex
  }
  struct Front: Equatable, Sendable {
    var head: Head
    var route: RouteIndex
    var choice: Choice { Choice(lane: head.lane, route: route) }
  }
  private struct Place: Sendable {
    var head: Head?
    var isClosed = false
    var isPassedOver = false
    var isSpare = false
    /// True where the route is in `all`; below, in `open`.
    var isListed = false
    var isListedOpen = false
  }

  private var places = Column<Route, Place>(Place())
  /// The routes with a head, and some that no longer have one.
  private var all: [RouteIndex] = []
  /// The open ones of these, and some that are closed by now.
  private var open: [RouteIndex] = []
  /// Routes whose heads found no place in their floor turns.
  private(set) var passedOver: [RouteIndex] = []
  private var knownFront: Front?
  private var isFrontKnown = false
  /// All heads that may follow the known front, in reverse order; nil where only one was asked for.
  private var ranked: [Front]?
  /// True where a front was found after the one before was passed over: if this goes on, all heads are ranked at once.
  private var isPassingOver = false

  /// The routes with a head, without spare ones, in no order.
  var routes: [RouteIndex] { all.filter { places[$0].head != nil && !places[$0].isSpare } }
  /// False after `next` has found that no open route has a head.
  var hasOpen: Bool { !open.isEmpty }

  func head(of route: RouteIndex) -> LaneIndex? { places[route].head?.lane }
  func isClosed(_ route: RouteIndex) -> Bool { places[route].isClosed }

  /// Sets the route's first head.
  /// - Parameter isAlone: true where no other tenant waits here, so that the tenant's tag does not change the order.
  /// - Returns: true where the head, or its place, has changed.
  mutating func set(_ head: Head?, of route: RouteIndex, isAlone: Bool, isSpare: Bool = false) -> Bool {
    let former = places[route].head
    guard head != former else { return false }
    places[route].head = head
    places[route].isSpare = isSpare
    if !isSpare { forgetFront() }
    if head != nil { list(route) }
    guard isAlone, let head, let former else { return true }
    return !head.isLevel(with: former)
  }

  private mutating func list(_ route: RouteIndex) {
    if !places[route].isListed {
      places[route].isListed = true
      if all.count > 2 * 16, all.count(where: { places[$0].head == nil }) > all.count / 2 { forgetIdle() }
      all.append(route)
    }
    guard !places[route].isClosed, !places[route].isListedOpen else { return }
    places[route].isListedOpen = true
    open.append(route)
  }

  private mutating func forgetIdle() {
    for route in all where places[route].head == nil { places[route].isListed = false }
    all.removeAll { !places[$0].isListed }
  }

  /// Closes the route: none of its heads gets a turn until it is opened.
  mutating func close(_ route: RouteIndex) { places[route].isClosed = true }

  /// Opens the route. Returns false where it has no head.
  mutating func open(_ route: RouteIndex) -> Bool {
    places[route].isClosed = false
    if places[route].isPassedOver {
      places[route].isPassedOver = false
      passedOver.removeAll { $0 == route }
      forgetFront()
    }
    guard places[route].head != nil else { return false }
    list(route)
    return true
  }

  /// Notes that the route's head found no place in its floor turn.
  mutating func passOver(_ route: RouteIndex) {
    guard !places[route].isPassedOver else { return }
    places[route].isPassedOver = true
    passedOver.append(route)
    guard isFrontKnown, knownFront?.route == route else { return forgetFront() }
    if ranked == nil, isPassingOver { ranked = all.compactMap { front(of: $0) }.sorted { $1.head < $0.head } }
    knownFront = ranked == nil ? findFront() : ranked?.popLast()
    isPassingOver = true
  }

  /// Ends the passing over of these routes.
  mutating func endPassingOver(_ routes: [RouteIndex]) {
    for route in routes { places[route].isPassedOver = false }
    passedOver.removeAll { !places[$0].isPassedOver }
    forgetFront()
  }

  private mutating func forgetFront() {
    isFrontKnown = false
    isPassingOver = false
    ranked = nil
  }

  /// The head whose turn it is on the open routes, either spare or not.
  mutating func next(isSpare: Bool = false) -> Choice? {
    var best: (head: Head, route: RouteIndex)?
    var position = 0
    while position < open.count {
      let route = open[position]
      guard let head = places[route].head, !places[route].isClosed else {
        places[route].isListedOpen = false
        open.swapAt(position, open.count - 1)
        open.removeLast()
        continue
      }
      position += 1
      guard places[route].isSpare == isSpare else { continue }
      if best.map({ head < $0.head }) ?? true { best = (head, route) }
    }
    return best.map { Choice(lane: $0.head.lane, route: $0.route) }
  }

  /// The first head on any route that is not passed over.
  mutating func front() -> Front? {
    if isFrontKnown { return knownFront }
    isFrontKnown = true
    knownFront = findFront()
    return knownFront
  }

  private func findFront() -> Front? {
    var best: Front?
    for route in all {
      guard let front = front(of: route) else { continue }
      if best.map({ front.head < $0.head }) ?? true { best = front }
    }
    return best
  }

  /// nil where the route has no head, or was passed over.
  @inline(__always) private func front(of route: RouteIndex) -> Front? {
    guard let head = places[route].head, !places[route].isPassedOver, !places[route].isSpare else { return nil }
    return Front(head: head, route: route)
  }
}
