// What fairness remembers of idle flows: just enough that leaving and coming back gains nothing.
//
// Promise: an idle lane or flow is remembered only while it is ahead of virtual time. Finding those that are not costs
// O(1), amortised, for each that becomes idle.

extension FairShare {
  /// Remembers an idle lane only while it is ahead of virtual time, so that leaving and coming back gains nothing.
  mutating func retire(_ lane: LaneIndex, _ flow: FlowIndex) {
    if flows[flow].backlogged == 0, flows[flow].position.running == 0 {
      // The tenant's busy period has ended: all its lanes start from the same position again.
      let kept = flows[flow].kept + [lane]
      flows[flow].kept = []
      flows[flow].sweepAbove = Self.leastSweep
      for lane in kept { forget(lane: lane) }
      retire(flow)
    } else if lanes[lane].position.running == 0, !lanes[lane].isKept {
      if lanes[lane].position.tag <= flows[flow].level.virtualTime {
        forget(lane: lane)
      } else {
        lanes[lane].isKept = true
        flows[flow].kept.append(lane)
        if flows[flow].kept.count > flows[flow].sweepAbove { sweep(flow) }
      }
    }
  }

  private mutating func sweep(_ flow: FlowIndex) {
    var remaining: [LaneIndex] = []
    let virtualTime = flows[flow].level.virtualTime
    for lane in flows[flow].kept {
      let state = lanes[lane]
      let isIdle = !state.isWaiting && state.position.running == 0
      if isIdle, state.position.tag > virtualTime {
        remaining.append(lane)
      } else {
        lanes[lane].isKept = false
        if isIdle { forget(lane: lane) }
      }
    }
    flows[flow].kept = remaining
    flows[flow].sweepAbove = max(Self.leastSweep, 2 * remaining.count)
  }

  mutating func forget(lane: LaneIndex) {
    guard !lanes[lane].isWaiting, lanes[lane].flow != nil else { return }
    lanes[lane] = LaneState()
    forgotten.append(lane)
  }

  /// Does the same for a tenant that is idle in a cluster.
  private mutating func retire(_ flow: FlowIndex) {
    let own = flows[flow].cluster
    if !flows[flow].isKept {
      flows[flow].isKept = true
      clusters[own].kept.append(flow)
    }
    // When a cluster becomes idle, no flow is ahead of it any more.
    let most = clusters[own].level.busyWeight <= 0 ? Self.leastSweep : clusters[own].sweepAbove
    if clusters[own].kept.count > most { sweep(own) }
  }

  private mutating func sweep(_ cluster: ClusterIndex) {
    var remaining: [FlowIndex] = []
    let virtualTime = clusters[cluster].level.virtualTime
    for flow in clusters[cluster].kept {
      let isIdle = flows[flow].backlogged == 0 && flows[flow].position.running == 0
      if isIdle, flows[flow].position.tag > virtualTime {
        remaining.append(flow)
      } else {
        flows[flow].isKept = false
        if isIdle { forget(flow) }
      }
    }
    clusters[cluster].kept = remaining
    clusters[cluster].sweepAbove = max(Self.leastSweep, 2 * remaining.count)
  }

  mutating func forget(_ flow: FlowIndex) {
    let tenant = flows[flow].tenant
    flowsOf[tenant]?.removeAll { $0 == flow }
    if flowsOf[tenant]?.isEmpty == true { flowsOf[tenant] = nil }
    flows.remove(flow)
    flows.trim()
  }
}
