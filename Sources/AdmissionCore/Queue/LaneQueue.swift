// The queues of the sessions: one lane for each band, tenant and session that has something queued or was served
// lately.
//
// Promise (rule 2b): a lane is first in, first out, except that retries (the broker's and the client's) go before
// newcomers, in the order of their arrival. Appending, removing any request and reading the head are O(1). The links of
// the lists are in a column beside the owner's slots, so that a removed request leaves no tombstone.

typealias RequestIndex = Slots<Request>.Index
typealias LaneIndex = Slots<Lane>.Index

struct LaneKey: Hashable, Sendable {
  var tenant: TenantIndex
  var band: Int8
  /// Lanes are separate per cluster: calls to unconnected providers do not wait for each other.
  var cluster = ClusterIndex.unconnected
  var session: SessionID
}

/// One session's queue.
struct Lane: SlotElement {
  fileprivate struct List: Sendable {
    var first: RequestIndex?
    var last: RequestIndex?
  }
  let key: LaneKey
  fileprivate var retries = List()
  fileprivate var newcomers = List()
  fileprivate(set) var count = 0

  fileprivate init(key: LaneKey) { self.key = key }

  fileprivate subscript(isRetry isRetry: Bool) -> List {
    get { isRetry ? retries : newcomers }
    set { if isRetry { retries = newValue } else { newcomers = newValue } }
  }
}

struct LaneQueue: Sendable {
  private struct Link: Sendable {
    var next: RequestIndex?
    var previous: RequestIndex?
    var lane: LaneIndex?
    var isRetry = false
  }

  private var lanes = Slots<Lane>()
  private var byKey: [LaneKey: LaneIndex] = [:]
  private var links = Column<Request, Link>(Link())

  /// The number of slots for lanes, used or not.
  var laneCapacity: Int { lanes.capacity }

  func lane(for key: LaneKey) -> LaneIndex? { byKey[key] }

  /// Finds or makes the lane.
  mutating func openLane(for key: LaneKey) -> LaneIndex {
    if let lane = byKey[key] { return lane }
    let lane = lanes.insert(Lane(key: key))
    byKey[key] = lane
    return lane
  }

  /// Forgets an empty lane; its number may be used again.
  mutating func closeLane(_ lane: LaneIndex) {
    guard let state = lanes.find(lane), state.count == 0 else { return }
    byKey[state.key] = nil
    lanes.remove(lane)
    guard byKey.isEmpty else { return }
    lanes.removeAll()
    if byKey.capacity > 256 { byKey = [:] }
  }

  /// Inlined, so that the session's name is not copied where only numbers are read.
  @inline(__always) func key(of lane: LaneIndex) -> LaneKey? { lanes.contains(lane) ? lanes[lane].key : nil }
  func count(in lane: LaneIndex) -> Int { lanes[lane].count }

  /// nil also where the lane is closed.
  func head(of lane: LaneIndex) -> RequestIndex? {
    guard lanes.contains(lane) else { return nil }
    return lanes[lane].retries.first ?? lanes[lane].newcomers.first
  }

  func lane(of slot: RequestIndex) -> LaneIndex? { links[slot].lane }

  /// How many stand before the request, at most 10,000; 0 where it is in no lane.
  func countBefore(_ slot: RequestIndex) -> Int {
    guard let lane = links[slot].lane else { return 0 }
    var count = 0
    var place: RequestIndex? = slot
    while count < 10_000 {
      guard let here = place else { break }
      var before = links[here].previous
      // Retries stand before all newcomers.
      if before == nil, !links[here].isRetry { before = lanes[lane].retries.last }
      guard before != nil else { break }
      count += 1
      place = before
    }
    return count
  }

  /// Appends a newcomer.
  mutating func append(_ slot: RequestIndex, to lane: LaneIndex) {
    enter(slot, lane, isRetry: false, after: lanes[lane].newcomers.last)
  }

  /// Inserts a retry before all newcomers, and after the retries that go before it by `precedes`.
  mutating func insertRetry(_ slot: RequestIndex, to lane: LaneIndex, after precedes: (RequestIndex) -> Bool) {
    var place = lanes[lane].retries.last
    while let before = place, !precedes(before) { place = links[before].previous }
    enter(slot, lane, isRetry: true, after: place)
  }

  /// Removes a request from its lane; does nothing where it is in none.
  mutating func remove(_ slot: RequestIndex) {
    let link = links[slot]
    guard let lane = link.lane else { return }
    var list = lanes[lane][isRetry: link.isRetry]
    if let before = link.previous { links[before].next = link.next } else { list.first = link.next }
    if let after = link.next { links[after].previous = link.previous } else { list.last = link.previous }
    lanes[lane][isRetry: link.isRetry] = list
    lanes[lane].count -= 1
    links[slot] = Link()
  }

  /// The request in slot `old` has moved to slot `new`.
  mutating func rename(_ old: RequestIndex, to new: RequestIndex) {
    let link = links[old]
    guard let lane = link.lane else { return }
    links[new] = link
    links[old] = Link()
    var list = lanes[lane][isRetry: link.isRetry]
    if let before = link.previous { links[before].next = new } else { list.first = new }
    if let after = link.next { links[after].previous = new } else { list.last = new }
    lanes[lane][isRetry: link.isRetry] = list
  }

  /// Slots from `count` on are no longer used.
  mutating func trimSlots(to count: Int) { links.trim(to: count) }

  private mutating func enter(_ slot: RequestIndex, _ lane: LaneIndex, isRetry: Bool, after place: RequestIndex?) {
    var list = lanes[lane][isRetry: isRetry]
    let next = place.map { links[$0].next } ?? list.first
    links[slot] = Link(next: next, previous: place, lane: lane, isRetry: isRetry)
    if let place { links[place].next = slot } else { list.first = slot }
    if let next { links[next].previous = slot } else { list.last = slot }
    lanes[lane][isRetry: isRetry] = list
    lanes[lane].count += 1
  }
}
