// Tenants by name, their parking, and which of them are forgotten.
import Testing

@testable import AdmissionCore

@Suite struct TenantTableTests {
  private let start = Instant(nanoseconds: 0)

  private func state(_ name: String, isListed: Bool = false, limits: Limits = Limits()) -> TenantState {
    TenantState(id: TenantID(name), weight: 1, capacity: Capacity(limits, at: start), isListed: isListed)
  }

  private func parking(until: Instant) -> TenantState.Parking {
    TenantState.Parking(
      request: RequestID(high: 0, low: 1), band: 0, obstacle: Obstacle(kind: .tenantBucket), until: until)
  }

  @Test func forgetsOnlyWhatIsIdleAndUnlisted() {
    var table = TenantTable()
    let listed = table.insert(state("listed", isListed: true))
    let queued = table.insert(state("queued"))
    table[queued].queued = 1
    let running = table.insert(state("running"))
    table[running].capacity.permits.take(in: 0)
    let spent = table.insert(state("spent", limits: Limits(requestsPerMinute: 10)))
    _ = table[spent].capacity.take(Units(1, 0, 0, 0), band: 0, at: start)
    table[spent].capacity.permits.release(in: 0, lag: .zero, at: start)
    let idle = table.insert(state("idle"))
    #expect(table.sweep(at: start) == [idle])
    #expect(table.index(of: "idle") == nil && table.count == 4)
    #expect([listed, queued, running, spent].map { table[$0].id } == ["listed", "queued", "running", "spent"])
    #expect(table.sweep(at: start + .seconds(60)) == [spent], "its bucket is full again")
    #expect(table.insert(state("new")).position == spent.position)
  }

  @Test func isCrowdedAgainOnlyWhenTwiceAsManyAreThere() {
    var table = TenantTable()
    for number in 0..<256 { table[table.insert(state("\(number)"))].queued = 1 }
    #expect(!table.isCrowded)
    table[table.insert(state("one more"))].queued = 1
    #expect(table.isCrowded)
    #expect(table.sweep(at: start).isEmpty)
    #expect(!table.isCrowded)
    for number in 300..<558 { table[table.insert(state("\(number)"))].queued = 1 }
    #expect(table.isCrowded)
  }

  @Test func aParkedTenantIsDueWhenItsBucketHasEnough() {
    var table = TenantTable()
    let (early, late, endless) = (table.insert(state("a")), table.insert(state("b")), table.insert(state("c")))
    table.park(late, parking(until: start + .seconds(2)))
    table.park(early, parking(until: start + .seconds(1)))
    table.park(endless, parking(until: .distantFuture))
    #expect(table.nextDeadline == start + .seconds(1))
    #expect(table.due(at: start) == nil && table.due(at: start + .seconds(1)) == early)
    #expect(table.unpark(early) && !table.unpark(early))
    #expect(table.due(at: start + .seconds(1)) == nil && table.due(at: start + .seconds(2)) == late)
    // Parked anew for longer: the timer moves.
    table.park(late, parking(until: start + .seconds(5)))
    #expect(table.nextDeadline == start + .seconds(5))
    #expect(table.unpark(late) && table.unpark(endless) && table.nextDeadline == nil)
  }
}
