// Leases by id and by request, how long they run, and the memory that they leave.
import Testing

@testable import AdmissionCore

@Suite struct LeaseTableTests {
  private func lease(_ number: UInt64, began: Span = .zero) -> Lease {
    let start = Instant(nanoseconds: 0)
    let request = Request(
      box: TicketBox(
        Ticket(
          id: RequestID(high: 0, low: number), tenant: "t", session: "s", priority: .low, candidates: [], model: "m",
          keptBytes: 1, estimatedInput: 1)), tenant: 0, band: 2, route: 0, sequence: number, submitted: start,
      queuedSince: start, deadline: .distantFuture, promoteAt: .distantFuture, sessionHash: 0)
    let placement = Placement(leg: 0, provider: 0, units: .zero, estimate: .zero)
    return Lease(request: request, placement: placement, turn: nil, candidate: 0, began: start + began, epoch: 0)
  }

  @Test func idsAreNeverGivenTwice() throws {
    var table = LeaseTable()
    var seen: Set<LeaseID> = []
    for round in 0..<100 {
      let id = table.insert(lease(UInt64(round)))
      #expect(seen.insert(id).inserted && id.serial == UInt64(round + 1))
      let index = try #require(table.index(of: id))
      #expect(index.position == 0, "its place is used again")
      #expect(table.remove(index) != nil)
      #expect(table.index(of: id) == nil && table.remove(index) == nil)
    }
    #expect(table.index(of: LeaseID(rawValue: .max)) == nil)
    #expect(table.isEmpty && table.lastSerial == 100)
  }

  @Test func isFoundByItsRequest() throws {
    var table = LeaseTable()
    let id = table.insert(lease(7))
    let index = try #require(table.index(of: RequestID(high: 0, low: 7)))
    #expect(table[index].id == id && table.count == 1)
    #expect(table.remove(index)?.request.ticket.id.low == 7)
    #expect(table.index(of: RequestID(high: 0, low: 7)) == nil)
  }

  @Test func knowsTheMeanAge() throws {
    var table = LeaseTable()
    let now = Instant(nanoseconds: 0) + .seconds(10)
    #expect(table.meanAge(at: now) == .zero)
    let first = table.insert(lease(1, began: .zero))
    _ = table.insert(lease(2, began: .seconds(6)))
    #expect(table.meanAge(at: now) == .seconds(7))
    _ = table.remove(try #require(table.index(of: first)))
    #expect(table.meanAge(at: now) == .seconds(4))
    #expect(table.meanAge(at: Instant(nanoseconds: 0)) == .zero, "a clock that is behind")
  }
}
