// The free calls that wait: by route, in the order of arrival.
//
// A free call (a count, a list, a read) takes part in no turns: it has no lane and claims nothing. It waits only while
// its provider is closed to it, or sends as many free calls as it may.
//
// Promise: entering, leaving and finding the first call are at most O(log n); nothing is kept of calls that left.

struct FreeCalls: Sendable {
  private var calls = Column<Route, IndexedHeap<Request>>(IndexedHeap())
  private var positions = IndexedHeap<Request>.Positions()
  /// The routes on which a call waits.
  private(set) var routes: [RouteIndex] = []

  func contains(_ call: RequestIndex) -> Bool { positions.contains(call) }

  /// - Parameter sequence: the call's place in the order of arrival.
  mutating func enter(_ call: RequestIndex, on route: RouteIndex, sequence: UInt64) {
    guard !positions.contains(call) else { return }
    if calls[route].isEmpty { routes.append(route) }
    calls[route].insert(call, key: Int64(clamping: sequence), stamp: 0, positions: &positions)
  }

  /// Does nothing where the call is outside.
  mutating func leave(_ call: RequestIndex, on route: RouteIndex) {
    guard positions.contains(call) else { return }
    calls[route].remove(call, positions: &positions)
    if calls[route].isEmpty { routes.removeAll { $0 == route } }
  }

  /// The first call of the route, and its place in the order of arrival.
  func first(on route: RouteIndex) -> (call: RequestIndex, sequence: Int64)? {
    calls[route].first.map { ($0.element, $0.key) }
  }

  /// The call in place `old` has moved to place `new`.
  mutating func rename(_ old: RequestIndex, to new: RequestIndex, on route: RouteIndex) {
    calls[route].rename(old, to: new, positions: &positions)
  }

  /// Places from `count` on are no longer used.
  mutating func trim(to count: Int) { positions.trim(to: count) }
}
