// How many heads of a class go before a place in the order of turns, as the tags stand now.
//
// It is an estimate for people: each flow gets as many turns as its tag lies behind that place, at what calls cost on
// average, and no more than it has waiting. Of many flows and lanes only some are looked at, and stand for the others, so
// that a question costs about the same whatever waits.

extension FairShare {
  /// A place in the order of turns.
  struct Place {
    var flow: FlowIndex
    var laneTag: Int64
    var laneStamp: UInt64
    /// nil for a lane that does not exist yet.
    var lane: LaneIndex?
    /// Requests before it in its lane.
    var before: Int
  }
  /// Branches and lanes that are looked at in one question.
  private static let most = 256

  /// The place of the lane's request that has so many before it.
  func place(in lane: LaneIndex, before: Int) -> Place? {
    guard let flow = lanes[lane].flow else { return nil }
    return Place(
      flow: flow, laneTag: lanes[lane].position.tag, laneStamp: lanes[lane].stamp, lane: lane, before: before)
  }

  /// The place of a session of the lane's tenant that has just had a turn, and of which nothing else waits.
  /// - Parameter cost: what its turn cost.
  func placeAfterTurn(beside lane: LaneIndex, cost: Int64) -> Place? {
    guard let flow = lanes[lane].flow else { return nil }
    let turn = max(1, FairCost.clamped(cost)) * FairCost.scale
    return Place(flow: flow, laneTag: flows[flow].level.virtualTime + turn, laneStamp: .max, lane: nil, before: 0)
  }

  /// How many requests go before the place.
  /// - Parameters:
  ///   - cost: what a call costs on average, in tokens.
  ///   - isRival: true for the routes whose calls take what the place's call needs.
  ///   - count: requests in a lane.
  func ahead(
    of place: Place, cost: Int64, isRival: (RouteIndex) -> Bool, count: (LaneIndex) -> Int
  ) -> Int {
    let scaled = Double(max(1, FairCost.clamped(cost)) * FairCost.scale)
    let flow = place.flow
    var own = Double(place.before)
    for branch in flows[flow].branches where isRival(branches[branch].route) {
      let tag = Double(place.laneTag) + Double(place.before) * scaled
      own += turns(of: branch, until: tag, stamp: place.laneStamp, except: place.lane, scaled, count)
    }
    let weight = Double(max(1, flows[flow].weight))
    let tag = Double(flows[flow].position.tag) + own * scaled / weight
    let stamp = flows[flow].stamp
    var others = 0.0
    let cluster = flows[flow].cluster
    for route in clusters[cluster].routes.indices where isRival(route) {
      let entries = clusters[cluster].routes[route].entries
      let step = max(1, (entries.count + Self.most - 1) / Self.most)
      var (sum, seen) = (0.0, 0)
      for position in stride(from: 0, to: entries.count, by: step) {
        seen += 1
        let branch = entries[position].element
        let other = branches[branch].flow
        guard other != flow else { continue }
        let behind = (tag - Double(flows[other].position.tag)) * Double(max(1, flows[other].weight)) / scaled
        guard behind > 0 || behind == 0 && flows[other].stamp < stamp else { continue }
        sum += min(behind.rounded(.down) + 1, requests(in: branch, count))
      }
      if seen > 0 { others += sum * Double(entries.count) / Double(seen) }
    }
    return Int(min(own + others, 1e9))
  }

  /// How many turns the lanes of the branch have before that position.
  private func turns(
    of branch: BranchIndex, until tag: Double, stamp: UInt64, except own: LaneIndex?, _ scaled: Double,
    _ count: (LaneIndex) -> Int
  ) -> Double {
    let entries = branches[branch].lanes.entries
    let step = max(1, (entries.count + Self.most - 1) / Self.most)
    var (sum, seen) = (0.0, 0)
    for position in stride(from: 0, to: entries.count, by: step) {
      let lane = entries[position].element
      seen += 1
      guard lane != own else { continue }
      let behind = (tag - Double(lanes[lane].position.tag)) / scaled
      guard behind > 0 || behind == 0 && lanes[lane].stamp < stamp else { continue }
      sum += min(behind.rounded(.down) + 1, Double(count(lane)))
    }
    return seen == 0 ? 0 : sum * Double(entries.count) / Double(seen)
  }

  /// The requests in the branch's lanes, by some of them.
  private func requests(in branch: BranchIndex, _ count: (LaneIndex) -> Int) -> Double {
    let entries = branches[branch].lanes.entries
    let step = max(1, entries.count / 8)
    var (sum, seen) = (0, 0)
    for position in stride(from: 0, to: entries.count, by: step) {
      sum += count(entries[position].element)
      seen += 1
    }
    return seen == 0 ? 0 : Double(sum) * Double(entries.count) / Double(seen)
  }
}
