// Places, indices and columns: against a dictionary, under random insertions and removals.
import Testing

@testable import AdmissionCore

@Suite struct SlotsTests {
  private func state(_ name: String) -> TenantState {
    TenantState(
      id: TenantID(name), weight: 1, capacity: Capacity(Limits(), at: Instant(nanoseconds: 0)), isListed: false)
  }

  @Test func agreesWithADictionary() {
    var random = SeededRandom(seed: 11)
    var slots = Slots<TenantState>()
    var model: [TenantIndex: TenantID] = [:]
    for step in 0..<5000 {
      if random.upTo(2) > 0 || model.isEmpty {
        let index = slots.insert(state("t\(step)"))
        #expect(model[index] == nil, "a place is given once")
        model[index] = TenantID("t\(step)")
      } else {
        let index = model.keys.sorted()[Int(random.upTo(Int64(model.count - 1)))]
        #expect(slots.remove(index)?.id == model.removeValue(forKey: index))
        #expect(slots.remove(index) == nil && slots.find(index) == nil && !slots.contains(index))
      }
      #expect(slots.count == model.count && slots.isEmpty == model.isEmpty)
    }
    #expect(Array(slots.indices) == model.keys.sorted())
    for (index, id) in model { #expect(slots[index].id == id) }
  }

  @Test func freePlacesAreUsedAgainTheLastOneFirst() {
    var slots = Slots<TenantState>()
    let all = (0..<4).map { slots.insert(state("\($0)")) }
    slots.remove(all[1])
    slots.remove(all[2])
    #expect(slots.insert(state("a")) == all[2])
    #expect(slots.insert(state("b")) == all[1])
    #expect(slots.insert(state("c")).position == 4)
  }

  @Test func aPlaceThatIsNotNeededIsTakenOver() {
    var slots = Slots<TenantState>()
    _ = slots.insert(state("kept"))
    let old = slots.insert(state("retired"))
    #expect(slots.insert(state("new"), over: { $0.id == "retired" }) == old)
    #expect(slots.count == 2 && slots[old].id == "new")
    slots.removeLast(while: { $0.id == "new" })
    #expect(slots.count == 1 && slots.capacity == 1)
    slots.removeLast(while: { _ in true })
    #expect(slots.isEmpty)
  }

  @Test func whatIsTakenOutLeavesNothingBehind() {
    var slots = Slots<Request>()
    let index = slots.insert(request(1))
    var copy = slots
    slots.remove(index)
    #expect(slots[index].box === TicketBox.none, "its texts are let go of")
    #expect(copy.remove(index)?.ticket.id.low == 1, "a copy is a value of its own")
  }

  /// Half of the places and 64 may be free; what lies beyond moves down.
  @Test func memoryComesBack() throws {
    var slots = Slots<Request>()
    var places: [UInt64: RequestIndex] = [:]
    for number in UInt64(0)..<1000 { places[number] = slots.insert(request(number)) }
    for number in UInt64(0)..<1000 where number % 10 != 9 {
      let index = try #require(places[number])
      places[number] = nil
      slots.remove(index)
      while let (old, new) = slots.moveLastDown() {
        #expect(new < old && !slots.contains(old))
        places[slots[new].ticket.id.low] = new
      }
      #expect(slots.capacity <= 2 * slots.count + 64)
    }
    #expect(slots.count == 100 && places.allSatisfy { slots[$0.value].ticket.id.low == $0.key })
    for index in slots.indices { slots.remove(index) }
    slots.trim()
    #expect(slots.capacity == 0)
  }

  @Test func columnsBeginWithOneValueAndGrow() {
    var column = Column<TenantState, Int>(7)
    #expect(column[0] == 7 && column[100] == 7 && column.count == 0)
    column[3] += 1
    #expect((0..<5).map { column[TenantIndex(number: $0)] } == [7, 7, 7, 8, 7])
    #expect(column.count == 4 && Array(column.indices) == [0, 1, 2, 3])
    column.trim(to: 9)
    column.trim(to: 3)
    #expect(column.count == 3 && column[3] == 7)
    column[0] = 1
    column.removeAll()
    #expect(column.count == 0 && column[0] == 7)
  }

  private func request(_ number: UInt64) -> Request {
    Request(
      box: TicketBox(
        Ticket(
          id: RequestID(high: 0, low: number), tenant: "t", session: "s", priority: .low, candidates: [], model: "m",
          keptBytes: 1, estimatedInput: 1)), tenant: 0, band: 2, route: 0, sequence: number,
      submitted: Instant(nanoseconds: 0), queuedSince: Instant(nanoseconds: 0), deadline: .distantFuture,
      promoteAt: .distantFuture, sessionHash: 0)
  }
}
