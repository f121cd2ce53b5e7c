// The queues of the sessions: one lane for each band, tenant and session that has something queued or was served
// lately.
//
// Promise: first in, first out inside a lane, except that retries (the broker's and the client's) stand in front of
// newcomers, in the order of their arrival; insert at the end, removal from anywhere and the head are O(1). Requests
// are slot numbers of the owner; the lists are threaded through arrays indexed by slot, so that a removed request
// leaves no tombstone.

struct LaneKey: Hashable, Sendable {
  /// Tenant × 4 + band.
  var tenantAndBand: Int32
  /// Calls to providers that have nothing to do with each other do not wait for each other.
  var cluster: Int32 = 0
  var session: SessionID
}

struct LaneQueue: Sendable {
  private struct List: Sendable {
    var first: Int32 = -1
    var last: Int32 = -1
  }
  private struct Lane: Sendable {
    var key: LaneKey?
    var retries = List()
    var newcomers = List()
    var count: Int32 = 0
  }

  private var lanes: [Lane] = []
  private var freeLanes: [Int32] = []
  private var byKey: [LaneKey: Int32] = [:]

  private var next: [Int32] = []
  private var previous: [Int32] = []
  private var laneOfSlot: [Int32] = []
  private var isRetry: [Bool] = []

  /// Lane numbers in use are below this.
  var laneCapacity: Int { lanes.count }

  func lane(for key: LaneKey) -> Int32? { byKey[key] }

  /// Finds or makes the lane.
  mutating func openLane(for key: LaneKey) -> Int32 {
    if let lane = byKey[key] { return lane }
    let lane: Int32
    if let free = freeLanes.popLast() {
      lane = free
      lanes[Int(free)] = Lane(key: key)
    } else {
      lane = Int32(lanes.count)
      lanes.append(Lane(key: key))
    }
    byKey[key] = lane
    return lane
  }

  /// Forgets an empty lane; its number may be used again.
  mutating func closeLane(_ lane: Int32) {
    guard let key = lanes[Int(lane)].key, lanes[Int(lane)].count == 0 else { return }
    byKey[key] = nil
    if byKey.isEmpty {
      lanes = []
      freeLanes = []
      if byKey.capacity > 256 { byKey = [:] }
    } else {
      lanes[Int(lane)] = Lane()
      freeLanes.append(lane)
    }
  }

  func isOpen(_ lane: Int32) -> Bool { Int(lane) < lanes.count && lanes[Int(lane)].key != nil }
  func key(of lane: Int32) -> LaneKey? { lanes[Int(lane)].key }
  func count(in lane: Int32) -> Int { Int(lanes[Int(lane)].count) }

  func head(of lane: Int32) -> Int32? {
    let entry = lanes[Int(lane)]
    let slot = entry.retries.first >= 0 ? entry.retries.first : entry.newcomers.first
    return slot >= 0 ? slot : nil
  }

  func lane(of slot: Int32) -> Int32? {
    guard Int(slot) < laneOfSlot.count, laneOfSlot[Int(slot)] >= 0 else { return nil }
    return laneOfSlot[Int(slot)]
  }

  /// Puts a newcomer last.
  mutating func append(_ slot: Int32, to lane: Int32) {
    prepare(slot, lane: lane, isRetry: false)
    link(slot, after: lanes[Int(lane)].newcomers.last)
  }

  /// Puts a retry in front of all newcomers, behind those retries that `precedes` says were there before it.
  mutating func insertRetry(_ slot: Int32, to lane: Int32, after precedes: (Int32) -> Bool) {
    prepare(slot, lane: lane, isRetry: true)
    var place = lanes[Int(lane)].retries.last
    while place >= 0, !precedes(place) { place = previous[Int(place)] }
    link(slot, after: place)
  }

  mutating func remove(_ slot: Int32) {
    let lane = Int(laneOfSlot[Int(slot)])
    let before = previous[Int(slot)]
    let after = next[Int(slot)]
    var list = isRetry[Int(slot)] ? lanes[lane].retries : lanes[lane].newcomers
    if before >= 0 { next[Int(before)] = after } else { list.first = after }
    if after >= 0 { previous[Int(after)] = before } else { list.last = before }
    if isRetry[Int(slot)] { lanes[lane].retries = list } else { lanes[lane].newcomers = list }
    lanes[lane].count -= 1
    laneOfSlot[Int(slot)] = -1
  }

  /// The request in slot `old` lives in slot `new` from now on.
  mutating func rename(_ old: Int32, to new: Int32) {
    guard let lane = lane(of: old) else { return }
    next[Int(new)] = next[Int(old)]
    previous[Int(new)] = previous[Int(old)]
    isRetry[Int(new)] = isRetry[Int(old)]
    laneOfSlot[Int(new)] = lane
    laneOfSlot[Int(old)] = -1
    var list = isRetry[Int(new)] ? lanes[Int(lane)].retries : lanes[Int(lane)].newcomers
    if previous[Int(new)] >= 0 { next[Int(previous[Int(new)])] = new } else { list.first = new }
    if next[Int(new)] >= 0 { previous[Int(next[Int(new)])] = new } else { list.last = new }
    if isRetry[Int(new)] { lanes[Int(lane)].retries = list } else { lanes[Int(lane)].newcomers = list }
  }

  /// Slots from `count` on are no longer used.
  mutating func trimSlots(to count: Int) {
    guard next.count > count else { return }
    next.removeLast(next.count - count)
    previous.removeLast(previous.count - count)
    laneOfSlot.removeLast(laneOfSlot.count - count)
    isRetry.removeLast(isRetry.count - count)
    if count == 0 {
      next = []
      previous = []
      laneOfSlot = []
      isRetry = []
    }
  }

  private mutating func prepare(_ slot: Int32, lane: Int32, isRetry retry: Bool) {
    while next.count <= Int(slot) {
      next.append(-1)
      previous.append(-1)
      laneOfSlot.append(-1)
      isRetry.append(false)
    }
    laneOfSlot[Int(slot)] = lane
    isRetry[Int(slot)] = retry
    lanes[Int(lane)].count += 1
  }

  private mutating func link(_ slot: Int32, after place: Int32) {
    let lane = Int(laneOfSlot[Int(slot)])
    var list = isRetry[Int(slot)] ? lanes[lane].retries : lanes[lane].newcomers
    previous[Int(slot)] = place
    if place >= 0 {
      next[Int(slot)] = next[Int(place)]
      next[Int(place)] = slot
    } else {
      next[Int(slot)] = list.first
      list.first = slot
    }
    if next[Int(slot)] >= 0 { previous[Int(next[Int(slot)])] = slot } else { list.last = slot }
    if isRetry[Int(slot)] { lanes[lane].retries = list } else { lanes[lane].newcomers = list }
  }
}
