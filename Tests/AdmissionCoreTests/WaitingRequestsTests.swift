// The queue by itself: places, lanes, turns, timers, counts; no rule of who may go where.
import Testing

@testable import AdmissionCore

@Suite struct WaitingRequestsTests {
  private let start = Instant(nanoseconds: 0)

  private func request(
    _ number: UInt64, session: String = "s", tenant: TenantIndex = 0, band: Int = 1, bytes: Int = 10,
    _ waiting: inout WaitingRequests
  ) -> Request {
    Request(
      box: TicketBox(
        Ticket(
          id: RequestID(high: 0, low: number), tenant: "t", session: SessionID(session), priority: .normal,
          candidates: [], model: "m", keptBytes: bytes, estimatedInput: 1)), tenant: tenant, band: band, route: 0,
      sequence: waiting.nextSequence(), submitted: start, queuedSince: start, deadline: .distantFuture,
      promoteAt: .distantFuture, sessionHash: 0)
  }

  @discardableResult
  private func add(
    _ number: UInt64, session: String = "s", tenant: TenantIndex = 0, band: Int = 1, isRetry: Bool = false,
    to waiting: inout WaitingRequests
  ) -> RequestIndex {
    let index = waiting.insert(request(number, session: session, tenant: tenant, band: band, &waiting))
    waiting.enterLane(index, isRetry: isRetry, in: .unconnected, isParked: false, at: start)
    return index
  }

  private func next(_ waiting: WaitingRequests, _ band: Int = 1) -> UInt64? {
    var waiting = waiting
    return waiting.next(band).map { waiting[$0].ticket.id.low }
  }

  @Test func countsByBandAndBytes() {
    var waiting = WaitingRequests()
    let first = add(1, to: &waiting)
    add(2, band: 0, to: &waiting)
    #expect(waiting.count == 2 && waiting.countByBand == [1, 1, 0] && waiting.bytes == 20)
    #expect(waiting.remove(first, at: start)?.ticket.id.low == 1)
    #expect(waiting.remove(first, at: start) == nil)
    #expect(waiting.countByBand == [1, 0, 0] && waiting.bytes == 10)
    #expect(waiting.index(of: RequestID(high: 0, low: 1)) == nil)
  }

  @Test func oneSessionIsServedInTheOrderOfArrivalAndRetriesFirst() {
    var waiting = WaitingRequests()
    let head = add(1, to: &waiting)
    let second = add(2, to: &waiting)
    #expect(waiting.isHead(head) && !waiting.isHead(second) && waiting.isInLane(second))
    let retry = add(3, isRetry: true, to: &waiting)
    #expect(next(waiting) == 3 && waiting.isHead(retry) && !waiting.isHead(head))
    _ = waiting.remove(retry, at: start)
    #expect(next(waiting) == 1)
    waiting.leaveLane(head, at: start)
    #expect(next(waiting) == 2 && !waiting.isInLane(head) && waiting.count == 2)
    waiting.leaveLane(head, at: start)
    waiting.enterLane(head, isRetry: true, in: .unconnected, isParked: false, at: start)
    #expect(next(waiting) == 1)
  }

  @Test func aParkedTenantsRequestsTakeNoPart() {
    var waiting = WaitingRequests()
    add(1, session: "a", tenant: 0, to: &waiting)
    add(2, session: "b", tenant: 1, to: &waiting)
    waiting.park(0)
    #expect(next(waiting) == 2)
    waiting.park(1)
    #expect(next(waiting) == nil && waiting.backlog(of: 1) == 2)
    waiting.unpark(0)
    #expect(next(waiting) == 1)
  }

  @Test func aLaneThatWasSetAsideComesBackWhenItsRouteIsOpened() {
    var waiting = WaitingRequests()
    let head = add(1, session: "a", to: &waiting)
    add(2, session: "b", to: &waiting)
    waiting.setAside(head)
    #expect(next(waiting) == 2)
    waiting.open(1)
    #expect(next(waiting) == 2, "another route")
    waiting.open(0)
    #expect(next(waiting) == 1)
  }

  @Test func timersAreDueInOrder() {
    var waiting = WaitingRequests()
    let (a, b) = (add(1, to: &waiting), add(2, to: &waiting))
    waiting.setTimer(a, to: start + .seconds(2))
    waiting.setTimer(b, to: start + .seconds(1))
    #expect(waiting.nextDeadline == start + .seconds(1))
    #expect(waiting.due(at: start) == nil)
    #expect(waiting.due(at: start + .seconds(1)) == b)
    waiting.setTimer(b, to: start + .seconds(3))
    #expect(waiting.due(at: start + .seconds(2)) == a)
    _ = waiting.remove(a, at: start)
    #expect(waiting.nextDeadline == start + .seconds(3))
  }

  @Test func anOldHeadIsKnownToItsBand() {
    var waiting = WaitingRequests()
    let (head, second) = (add(1, to: &waiting), add(2, to: &waiting))
    #expect(!waiting.hasOld(1, in: .unconnected))
    let marked = [second, head].map { waiting.markOld($0) }
    #expect(marked == [false, true], "the second stands behind another")
    #expect(waiting.hasOld(1, in: .unconnected))
    _ = waiting.remove(head, at: start)
    #expect(!waiting.hasOld(1, in: .unconnected))
  }

  @Test func whoIsHeldBackStandsInAListUntilHeIsNot() {
    var waiting = WaitingRequests()
    var refused = request(1, &waiting)
    refused.isHeldBack = true
    refused.notBefore = .distantFuture
    let index = waiting.insert(refused)
    #expect(waiting.heldBack == [RequestID(high: 0, low: 1)])
    waiting.endHoldingBack(index)
    #expect(waiting.heldBack.isEmpty && !waiting[index].isHeldBack && waiting[index].notBefore == nil)
  }

  @Test func otherRoutesTakeNobodysPlace() {
    var waiting = WaitingRequests()
    let (a, b) = (add(1, session: "a", to: &waiting), add(2, session: "b", to: &waiting))
    let behind = add(3, session: "b", to: &waiting)
    waiting.reroute([(a, 5), (b, 3), (behind, 5)], spares: [:], at: Instant(nanoseconds: 0))
    waiting.close(3)
    #expect(waiting.next(1) == a, "the other route is closed")
    waiting.open(3)
    waiting.close(5)
    #expect(waiting.next(1) == b && waiting.isClosed(5) && !waiting.isClosed(3))
    _ = waiting.remove(b, at: start)
    #expect(waiting[behind].route == 5 && waiting.isHead(behind))
  }

  /// Whatever moves is found by its id, its lane and its timer.
  @Test func memoryComesBackAndNobodyIsLost() throws {
    var waiting = WaitingRequests()
    for number in 0..<1000 {
      let index = add(UInt64(number), session: "s\(number % 50)", to: &waiting)
      waiting.setTimer(index, to: start + .seconds(Int64(number)))
    }
    for number in 0..<1000 where number % 20 != 19 {
      let index = try #require(waiting.index(of: RequestID(high: 0, low: UInt64(number))), "\(number) is lost")
      _ = waiting.remove(index, at: start)
      while waiting.compact() != nil {}
      #expect(waiting.capacity <= 2 * waiting.count + 64)
    }
    let left: [UInt64] = waiting.inOrder.map { waiting[$0].ticket.id.low }
    #expect(left == (0..<50).map { UInt64($0) * 20 + 19 })
    #expect(waiting.due(at: .distantFuture).map { waiting[$0].ticket.id.low } == 19)
    var served: Set<UInt64> = []
    while let head = waiting.next(1) {
      served.insert(waiting[head].ticket.id.low)
      _ = waiting.charge(head, cost: 1, weight: 1)
      _ = waiting.remove(head, at: start)
      while waiting.compact() != nil {}
    }
    #expect(served.count == 50 && waiting.isEmpty && waiting.capacity == 0)
  }

  @Test func aHeadThatIsNobodyIsThrownOut() {
    var waiting = WaitingRequests()
    let (lost, other) = (add(1, session: "a", to: &waiting), add(2, session: "a", to: &waiting))
    waiting.setTimer(lost, to: start)
    waiting.spoil(lost)
    #expect(waiting.find(lost) == nil && waiting.due(at: start) == lost)
    waiting.throwOut(lost, at: start)
    #expect(waiting.due(at: start) == nil && waiting.isHead(other))
  }

  /// Of many with one deadline here, those are taken whose clients leave soon after it: once, and in the order of arrival.
  @Test func thoseWhoseClientsLeaveFirstAreTaken() throws {
    var waiting = WaitingRequests()
    for number in UInt64(0)..<200 {
      // 119, 12, 105, ...: no order.
      let patience: Span? = number % 10 == 9 ? nil : .seconds(100 + Int64(number * 93 + 19) % 100)
      let new = Request(
        box: TicketBox(
          Ticket(
            id: RequestID(high: 0, low: number), tenant: "t", session: "s", priority: .normal, candidates: [],
            model: "m", keptBytes: 1, estimatedInput: 1, isFree: number % 10 == 8, patience: patience)),
        tenant: 0, band: 1, route: 0, sequence: waiting.nextSequence(), submitted: start, queuedSince: start,
        deadline: start + .seconds(100), promoteAt: .distantFuture, sessionHash: 0)
      _ = waiting.insert(new)
    }
    func isTaken(_ number: UInt64, _ seconds: Int64) -> Bool {
      number % 10 < 8 && Int64(number * 93 + 19) % 100 < seconds
    }
    let some = waiting.takeImpatient(.seconds(30)).map(\.low)
    #expect(some == (0..<200).filter { isTaken($0, 30) })
    #expect(waiting.takeImpatient(.seconds(30)).isEmpty, "they are no longer in the order")
    // The first half leaves, so that the others move to other places.
    for number in UInt64(0)..<100 {
      let index = try #require(waiting.index(of: RequestID(high: 0, low: number)))
      _ = waiting.remove(index, at: start)
      while waiting.compact() != nil {}
    }
    for id in some where id >= 100 {
      waiting.orderByPatience(try #require(waiting.index(of: RequestID(high: 0, low: id))))
    }
    #expect(waiting.takeImpatient(.seconds(60)).map(\.low) == (100..<200).filter { isTaken($0, 60) })
    #expect(waiting.count == 100)
  }
}
