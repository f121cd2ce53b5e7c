// The first heads of routes among one another: which are open, whose turn it is, who is in front, and what counts as a change.
import Testing

@testable import AdmissionCore

@Suite struct RouteTurnsTests {
  private func head(_ tenant: Int64, _ lane: Int, tag: Int64 = 0, request: UInt64 = 1) -> RouteTurns.Head {
    RouteTurns.Head(
      tenantTag: tenant, tenantStamp: 0, lane: LaneIndex(number: lane), laneTag: tag, laneStamp: UInt64(lane),
      request: request)
  }

  /// Route 0 has the first head, then 1, then 2.
  private func three() -> RouteTurns {
    var turns = RouteTurns()
    for route in 0..<3 {
      let isChange = turns.set(head(Int64(route), route), of: RouteIndex(number: route), isAlone: false)
      #expect(isChange)
    }
    return turns
  }

  @Test func closedRoutesArePassedOverAndStayInFront() {
    var turns = three()
    #expect(turns.next()?.route == 0 && turns.front()?.route == 0)
    turns.close(0)
    #expect(turns.next()?.route == 1 && turns.front()?.route == 0)
    turns.close(1)
    turns.close(2)
    #expect(turns.next() == nil && turns.front()?.route == 0)
    let isUsed = turns.open(1)
    #expect(isUsed && turns.next()?.route == 1)
    let isUsedByNobody = turns.open(7)
    #expect(!isUsedByNobody)
  }

  @Test func whoHadItsFloorTurnInVainIsNotInFrontUntilItsRouteIsOpened() {
    var turns = three()
    turns.passOver(0)
    turns.passOver(0)
    #expect(turns.front()?.route == 1 && turns.passedOver == [0] && turns.next()?.route == 0)
    _ = turns.open(0)
    #expect(turns.front()?.route == 0 && turns.passedOver.isEmpty)
  }

  /// From the second on they are ranked at once; whatever changes the order in between counts.
  @Test func manyArePassedOverInTheirOrder() {
    var turns = RouteTurns()
    let order = [4, 0, 3, 1, 5, 2]
    for (place, route) in order.enumerated() {
      _ = turns.set(head(Int64(place), route), of: RouteIndex(number: route), isAlone: false)
    }
    func passOver(_ count: Int) -> [Int] {
      (0..<count).compactMap { _ in
        guard let front = turns.front() else { return nil }
        turns.passOver(front.route)
        return front.route.position
      }
    }
    #expect(passOver(7) == order && turns.front() == nil && turns.passedOver.count == 6)
    turns.endPassingOver([3, 1, 5])
    #expect(turns.front()?.route == 3 && Set(turns.passedOver) == [4, 0, 2])
    #expect(passOver(2) == [3, 1])
    _ = turns.set(head(9, 5), of: 5, isAlone: false)
    _ = turns.open(0)
    #expect(passOver(2) == [0, 5] && turns.front() == nil)
    turns.endPassingOver([0, 1, 2, 3, 4, 5])
    _ = turns.set(nil, of: 4, isAlone: false)
    #expect(passOver(6) == [0, 3, 1, 2, 5])
  }

  @Test func aHeadThatLeavesGivesWay() {
    var turns = three()
    let isChange = turns.set(nil, of: 0, isAlone: false)
    #expect(isChange && turns.next()?.route == 1 && turns.front()?.route == 1 && turns.routes == [1, 2])
    let isAgain = turns.set(nil, of: 0, isAlone: false)
    #expect(!isAgain)
  }

  /// With one tenant alone its tag puts nobody before anybody; its lanes' tags do.
  @Test func aChangeIsWhatMovesAHeadAmongOthers() {
    var turns = three()
    func isChange(_ head: RouteTurns.Head, isAlone: Bool) -> Bool { turns.set(head, of: 1, isAlone: isAlone) }
    #expect(!isChange(head(1, 1), isAlone: false), "the same")
    #expect(isChange(head(5, 1), isAlone: false), "the tenant's tag")
    #expect(!isChange(head(6, 1), isAlone: true), "the tenant's tag, and it is alone")
    #expect(isChange(head(6, 1, tag: 3), isAlone: true), "the session's tag")
    #expect(isChange(head(6, 1, tag: 3, request: 2), isAlone: true), "another request")
    #expect(isChange(head(6, 4, tag: 3, request: 2), isAlone: true), "another session")
    turns.close(0)
    #expect(turns.next()?.route == 2, "the order follows every tag, told or not")
  }

  @Test func routesThatNobodyUsesAreForgotten() {
    var turns = RouteTurns()
    for number in 0..<1000 {
      let route = RouteIndex(number: number)
      _ = turns.set(head(0, number), of: route, isAlone: true)
      _ = turns.set(nil, of: route, isAlone: true)
    }
    _ = turns.set(head(0, 1), of: 3, isAlone: true)
    #expect(turns.routes == [3] && turns.front()?.route == 3 && turns.next()?.route == 3)
  }
}
