// Where waiting requests stand: in their lanes, and in the order of turns. Only questions; decisions need few of them.

extension WaitingRequests {
  /// How many stand before the request in its lane; 0 where it is outside.
  func countBefore(_ index: RequestIndex) -> Int { lanes.countBefore(index) }

  /// nil where the request is outside its lane.
  func lane(of index: RequestIndex) -> LaneIndex? { lanes.lane(of: index) }

  /// The first request of a lane; nil also where the lane is closed.
  func head(of lane: LaneIndex) -> RequestIndex? {
    lanes.head(of: lane).flatMap { requests.contains($0) ? $0 : nil }
  }

  /// The first request of the lane in which this one stands; nil where it is outside.
  func head(before index: RequestIndex) -> RequestIndex? { lanes.lane(of: index).flatMap { lanes.head(of: $0) } }

  /// How many of its class are expected to go before the request; nil where it is outside its lane.
  /// - Parameters:
  ///   - cost: what a call costs on average, in tokens.
  ///   - isRival: true for routes whose calls take what it needs.
  func ahead(of index: RequestIndex, cost: Int64, isRival: (RouteIndex) -> Bool) -> Int? {
    guard let lane = lanes.lane(of: index) else { return nil }
    let fair = fair[requests[index].band]
    return fair.place(in: lane, before: lanes.countBefore(index)).map {
      fair.ahead(of: $0, cost: cost, isRival: isRival) { lanes.count(in: $0) }
    }
  }

  /// The same for a call beside the head's whose session has just had its turn, as it is with sessions that call again and
  /// again.
  func aheadOfNext(beside head: RequestIndex, cost: Int64, isRival: (RouteIndex) -> Bool) -> Int? {
    guard let lane = lanes.lane(of: head) else { return nil }
    let fair = fair[requests[head].band]
    return fair.placeAfterTurn(beside: lane, cost: cost).map {
      fair.ahead(of: $0, cost: cost, isRival: isRival) { lanes.count(in: $0) }
    }
  }

  /// True for a head that goes before others of its tenant because its prompt is about to expire.
  func isHurried(_ head: RequestIndex) -> Bool {
    guard requests[head].isHurried, let lane = lanes.lane(of: head) else { return false }
    return fair[requests[head].band].isBeforeItsTurn(lane)
  }
}
