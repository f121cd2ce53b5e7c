// Order in a lane, removal from anywhere, renaming, storage.
import Testing

@testable import AdmissionCore

@Suite struct LaneQueueTests {
  let key = LaneKey(tenant: 0, band: 1, session: "s")

  func drain(_ queue: inout LaneQueue, _ lane: LaneIndex) -> [RequestIndex] {
    var order: [RequestIndex] = []
    while let head = queue.head(of: lane) {
      order.append(head)
      queue.remove(head)
    }
    return order
  }

  @Test func firstInFirstOut() {
    var queue = LaneQueue()
    let lane = queue.openLane(for: key)
    for slot in [3, 0, 7] as [RequestIndex] { queue.append(slot, to: lane) }
    #expect(queue.count(in: lane) == 3)
    #expect(drain(&queue, lane) == [3, 0, 7])
    #expect(queue.head(of: lane) == nil)
  }

  @Test func retriesStandInFrontInTheirOwnOrder() {
    var queue = LaneQueue()
    let lane = queue.openLane(for: key)
    for slot in [5, 6] as [RequestIndex] { queue.append(slot, to: lane) }
    for slot in [2, 1, 3] as [RequestIndex] { queue.insertRetry(slot, to: lane) { $0 < slot } }
    #expect(drain(&queue, lane) == [1, 2, 3, 5, 6])
  }

  @Test(arguments: [0, 1, 2] as [RequestIndex])
  func removesFromAnywhere(slot: RequestIndex) {
    var queue = LaneQueue()
    let lane = queue.openLane(for: key)
    for slot in [0, 1, 2] as [RequestIndex] { queue.append(slot, to: lane) }
    queue.remove(slot)
    #expect(drain(&queue, lane) == [0, 1, 2].filter { $0 != slot })
  }

  @Test(arguments: [1, 2, 3] as [RequestIndex])
  func renamesAnywhere(slot: RequestIndex) {
    var queue = LaneQueue()
    let lane = queue.openLane(for: key)
    for slot in [9, 1, 2, 3] as [RequestIndex] { queue.append(slot, to: lane) }
    queue.remove(9)
    queue.rename(slot, to: 0)
    #expect(drain(&queue, lane) == [1, 2, 3].map { $0 == slot ? 0 : $0 })
  }

  @Test func anEmptyLaneIsClosedAndItsNumberUsedAgain() {
    var queue = LaneQueue()
    let other = queue.openLane(for: LaneKey(tenant: 0, band: 2, session: "s"))
    let lane = queue.openLane(for: key)
    queue.append(0, to: lane)
    queue.closeLane(lane)
    #expect(queue.lane(for: key) == lane)
    queue.remove(0)
    queue.closeLane(lane)
    #expect(queue.lane(for: key) == nil)
    #expect(queue.openLane(for: LaneKey(tenant: 1, band: 1, session: "s")) == lane)
    queue.closeLane(lane)
    queue.closeLane(other)
    #expect(queue.laneCapacity == 0)
  }
}
