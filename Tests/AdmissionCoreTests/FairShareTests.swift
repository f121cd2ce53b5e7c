// Turns by weight, sessions inside tenants, idling, parking, corrections; against the ratio of the weights.
import Testing

@testable import AdmissionCore

extension FairShare {
  /// Whose turn it is where just these of the first ten routes are closed.
  fileprivate mutating func next(closed: [RouteIndex]) -> Choice? {
    for number in 0..<10 { open(RouteIndex(number: number)) }
    for route in closed { close(route) }
    return next()
  }
}

@Suite struct FairShareTests {
  /// Serves `rounds` turns of lanes that never run dry; returns the cost served to each lane.
  func serve(
    _ fair: inout FairShare, rounds: Int, weights: [TenantIndex: Int], tenantOf: [LaneIndex: TenantIndex],
    cost: (LaneIndex) -> Int64
  ) -> [LaneIndex: Int64] {
    var served: [LaneIndex: Int64] = [:]
    for _ in 0..<rounds {
      guard let choice = fair.next(closed: []), let tenant = tenantOf[choice.lane] else { break }
      let charge = fair.charge(lane: choice.lane, cost: cost(choice.lane), weight: weights[tenant] ?? 1)
      fair.settle(charge, real: cost(choice.lane))
      served[choice.lane, default: 0] += cost(choice.lane)
    }
    return served
  }

  @Test func tenantsByWeightWhateverTheirSessionsAndSizes() {
    var fair = FairShare()
    var tenantOf: [LaneIndex: TenantIndex] = [0: 0]
    fair.setHead(lane: 0, tenant: 0, route: 0)
    for lane in (1...50).map({ LaneIndex(number: $0) }) {
      tenantOf[lane] = 1
      fair.setHead(lane: lane, tenant: 1, route: 0)
    }
    let served = serve(&fair, rounds: 5000, weights: [0: 2, 1: 1], tenantOf: tenantOf) { $0 == 0 ? 70 : 130 }
    let first = Double(served[0] ?? 0)
    let second = Double(served.filter { $0.key > 0 }.values.reduce(0, +))
    #expect(abs(first / second - 2) < 0.01)
    let sessions = served.filter { $0.key > 0 }.values
    #expect((sessions.max() ?? 0) - (sessions.min() ?? 0) <= 130)
  }

  @Test func whoComesBackHasSavedNothing() {
    var fair = FairShare()
    fair.setHead(lane: 0, tenant: 0, route: 0)
    fair.setHead(lane: 1, tenant: 1, route: 0)
    _ = serve(&fair, rounds: 10, weights: [:], tenantOf: [0: 0, 1: 1]) { _ in 10 }
    fair.clearHead(lane: 1)
    _ = serve(&fair, rounds: 100, weights: [:], tenantOf: [0: 0, 1: 1]) { _ in 10 }
    fair.setHead(lane: 1, tenant: 1, route: 0)
    let served = serve(&fair, rounds: 20, weights: [:], tenantOf: [0: 0, 1: 1]) { _ in 10 }
    #expect(abs((served[0] ?? 0) - (served[1] ?? 0)) <= 20)
  }

  @Test func leavingAndComingBackGainsNothing() {
    var fair = FairShare()
    fair.setHead(lane: 0, tenant: 0, route: 0)
    fair.setHead(lane: 1, tenant: 0, route: 0)
    var served: [LaneIndex: Int] = [:]
    for _ in 0..<100 {
      guard let choice = fair.next(closed: []) else { break }
      served[choice.lane, default: 0] += 1
      let charge = fair.charge(lane: choice.lane, cost: 10, weight: 1)
      // Lane 1 has one request at a time: it goes idle while it runs.
      if choice.lane == 1 { fair.clearHead(lane: 1) }
      fair.settle(charge, real: 10)
      if choice.lane == 1 { fair.setHead(lane: 1, tenant: 0, route: 0) }
    }
    #expect(abs((served[0] ?? 0) - (served[1] ?? 0)) <= 1)
  }

  @Test func aCorrectionCountsAsIfItHadBeenKnown() {
    var fair = FairShare()
    fair.setHead(lane: 0, tenant: 0, route: 0)
    fair.setHead(lane: 1, tenant: 1, route: 0)
    var real: [LaneIndex: Int64] = [:]
    for _ in 0..<300 {
      guard let choice = fair.next(closed: []) else { break }
      let actual: Int64 = choice.lane == 0 ? 40 : 10
      let charge = fair.charge(lane: choice.lane, cost: 10, weight: 1)
      fair.settle(charge, real: actual)
      real[choice.lane, default: 0] += actual
    }
    #expect(abs((real[0] ?? 0) - (real[1] ?? 0)) <= 50)
  }

  @Test func closedRoutesAndParkedTenantsArePassedOver() {
    var fair = FairShare()
    fair.setHead(lane: 0, tenant: 0, route: 0)
    fair.setHead(lane: 1, tenant: 1, route: 1)
    #expect(fair.next(closed: [0]) == FairShare.Choice(lane: 1, route: 1))
    fair.park(tenant: 1)
    #expect(fair.next(closed: [0]) == nil)
    fair.setHead(lane: 2, tenant: 1, route: 0)
    #expect(fair.next(closed: [])?.lane == 0)
    fair.unpark(tenant: 1)
    fair.clearHead(lane: 0)
    #expect(fair.next(closed: [1])?.lane == 2)
  }

  @Test func idleLanesAreForgotten() {
    var fair = FairShare()
    fair.setHead(lane: 0, tenant: 0, route: 0)
    var open = Set<LaneIndex>([0])
    for number in 1...5000 {
      let lane = LaneIndex(number: 1 + number % 1000)
      fair.setHead(lane: lane, tenant: 0, route: 0)
      open.insert(lane)
      while let choice = fair.next(closed: []), choice.lane != lane {
        fair.settle(fair.charge(lane: 0, cost: 10, weight: 1), real: 10)
      }
      let charge = fair.charge(lane: lane, cost: 10, weight: 1)
      fair.clearHead(lane: lane)
      fair.settle(charge, real: 10)
      for gone in fair.forgotten { open.remove(gone) }
      fair.forgotten = []
      #expect(open.count <= 140)
    }
    fair.clearHead(lane: 0)
    for gone in fair.forgotten { open.remove(gone) }
    #expect(open.isEmpty)
  }

  /// A flood at a slow provider, 100 grants at a fast one for each of its own, and then somebody new at the slow one: beside the flood, whether
  /// routes connect the two or not.
  @Test(arguments: [(ClusterIndex.unconnected, ClusterIndex.unconnected), (0, 1)])
  func whoComesNewToASlowProviderStandsBesideTheFloodThere(slow: ClusterIndex, fast: ClusterIndex) {
    var fair = FairShare()
    fair.setHead(lane: 0, tenant: 0, route: 0, cluster: slow)
    fair.setHead(lane: 1, tenant: 1, route: 1, cluster: fast)
    func serve(closed: [RouteIndex]) -> LaneIndex? {
      guard let choice = fair.next(closed: closed) else { return nil }
      fair.settle(fair.charge(lane: choice.lane, cost: 10, weight: 1), real: 10)
      return choice.lane
    }
    for _ in 0..<20 {
      #expect(serve(closed: [1]) == 0)
      for _ in 0..<100 { #expect(serve(closed: [0]) == 1) }
    }
    fair.setHead(lane: 2, tenant: 2, route: 0, cluster: slow)
    let turns = (0..<10).compactMap { _ in serve(closed: [1]) }
    #expect(turns.count { $0 == 2 } == 5)
  }

  @Test func betweenClustersTheOneServedLongestAgoGoesFirst() {
    var fair = FairShare()
    fair.setHead(lane: 0, tenant: 0, route: 0, cluster: 0)
    fair.setHead(lane: 1, tenant: 0, route: 1, cluster: 1)
    fair.setHead(lane: 2, tenant: 1, route: 1, cluster: 1)
    var turns: [LaneIndex] = []
    for _ in 0..<8 {
      guard let choice = fair.next(closed: []) else { break }
      turns.append(choice.lane)
      let cost: Int64 = choice.lane == 0 ? 1000 : 1
      fair.settle(fair.charge(lane: choice.lane, cost: cost, weight: 1), real: cost)
    }
    #expect(turns.count { $0 == 0 } == 4)
    #expect(turns.count { $0 == 1 } == 2)
    #expect(turns.count { $0 == 2 } == 2)
  }

  @Test func aParkedTenantIsLeftOutInEveryCluster() {
    var fair = FairShare()
    fair.setHead(lane: 0, tenant: 0, route: 0, cluster: 1)
    fair.setHead(lane: 1, tenant: 0, route: 1, cluster: 2)
    fair.park(tenant: 0)
    #expect(fair.next(closed: []) == nil)
    fair.unpark(tenant: 0)
    #expect(fair.next(closed: [0])?.lane == 1)
    #expect(fair.next(closed: [1])?.lane == 0)
  }

  // MARK: Real costs

  /// A tenant with a backlog whose calls were taken for a hundred times what they cost; then somebody else comes.
  @Test func whoComesWaitsForNobodysEstimates() {
    var fair = FairShare()
    fair.setHead(lane: 0, tenant: 0, route: 0)
    var running: [FairShare.Charge] = []
    for _ in 0..<1000 {
      running.append(fair.charge(lane: 0, cost: 4000, weight: 1))
      fair.setHead(lane: 0, tenant: 0, route: 0)
      if running.count == 4 { fair.settle(running.removeFirst(), real: 40) }
    }
    fair.setHead(lane: 1, tenant: 1, route: 0)
    #expect(fair.next(closed: [])?.lane == 1)
    // Nor when it turns out that the other has used hardly anything.
    while !running.isEmpty { fair.settle(running.removeFirst(), real: 0) }
    fair.settle(fair.charge(lane: 1, cost: 4000, weight: 1), real: 40)
    fair.setHead(lane: 1, tenant: 1, route: 0)
    #expect(fair.next(closed: [])?.lane == 0)
  }

  /// Who has used much while it was idle otherwise owes one call at most, even if several were far dearer than expected.
  @Test func whoComesBackOwesOneCallAtMost() {
    var fair = FairShare()
    fair.setHead(lane: 0, tenant: 0, route: 0)
    fair.setHead(lane: 1, tenant: 1, route: 0)
    var burst: [FairShare.Charge] = []
    for _ in 0..<4 { burst.append(fair.charge(lane: 1, cost: 1, weight: 1)) }
    fair.clearHead(lane: 1)
    for charge in burst { fair.settle(charge, real: 1000) }
    fair.setHead(lane: 1, tenant: 1, route: 0)
    var before: Int64 = 0
    while let choice = fair.next(closed: []), choice.lane == 0 {
      fair.settle(fair.charge(lane: 0, cost: 100, weight: 1), real: 100)
      fair.setHead(lane: 0, tenant: 0, route: 0)
      before += 100
      if before > 5000 { break }
    }
    #expect((1000...1100).contains(before), "\(before)")
  }

  /// A tenant that something stood in the way of (a provider that was down, its own limit) has saved up nothing, and nobody's newcomers wait for it.
  @Test(arguments: [false, true]) func whoCouldNotGoHasSavedUpNothing(isParked: Bool) throws {
    var fair = FairShare()
    fair.setHead(lane: 0, tenant: 0, route: 0)
    fair.setHead(lane: 1, tenant: 1, route: 1)
    // Once in turn, then shut out.
    for number in 0...1 {
      let lane = LaneIndex(number: number)
      fair.settle(fair.charge(lane: lane, cost: 10, weight: 1), real: 10)
      fair.setHead(lane: lane, tenant: TenantIndex(number: number), route: RouteIndex(number: number))
    }
    if isParked { fair.park(tenant: 0) }
    let closed: [RouteIndex] = isParked ? [] : [0]
    for _ in 0..<1000 {
      let choice = fair.next(closed: closed)
      #expect(try #require(choice).lane == 1)
      fair.settle(fair.charge(lane: 1, cost: 10, weight: 1), real: 10)
      fair.setHead(lane: 1, tenant: 1, route: 1)
    }
    // Somebody new beside the one who was served: they take turns, and the old place is no start.
    fair.setHead(lane: 2, tenant: 2, route: 1)
    var turns: [LaneIndex] = []
    for _ in 0..<10 {
      guard let choice = fair.next(closed: closed) else { break }
      turns.append(choice.lane)
      fair.settle(fair.charge(lane: choice.lane, cost: 10, weight: 1), real: 10)
      fair.setHead(lane: choice.lane, tenant: TenantIndex(number: choice.lane.position), route: 1)
    }
    #expect(turns.count { $0 == 2 } == 5)
    if isParked { fair.unpark(tenant: 0) }
    turns = []
    for _ in 0..<12 {
      guard let choice = fair.next(closed: []) else { break }
      turns.append(choice.lane)
      fair.settle(fair.charge(lane: choice.lane, cost: 10, weight: 1), real: 10)
      fair.setHead(
        lane: choice.lane, tenant: TenantIndex(number: choice.lane.position), route: choice.lane == 0 ? 0 : 1)
    }
    #expect((4...5).contains(turns.count { $0 == 0 }), "\(turns)")
  }

  /// Sessions that nobody has seen before, as many as can be served, beside one with a backlog.
  @Test func newSessionsWithoutEndDoNotStarveAKnownOne() {
    var fair = FairShare()
    fair.setHead(lane: 0, tenant: 0, route: 0)
    var running: [FairShare.Charge] = []
    var known = 0
    for number in (1...2000).map({ LaneIndex(number: $0) }) {
      fair.setHead(lane: number, tenant: 0, route: 0)
      guard let choice = fair.next(closed: []) else { break }
      running.append(fair.charge(lane: choice.lane, cost: 10, weight: 1))
      if choice.lane == 0 {
        known += 1
        fair.setHead(lane: 0, tenant: 0, route: 0)
      } else {
        fair.clearHead(lane: choice.lane)
      }
      if running.count == 4 { fair.settle(running.removeFirst(), real: 10) }
    }
    // It has a turn each time that all who came before its last call's end have had theirs: those are more and more.
    #expect(known >= 40, "\(known)")
  }

  @Test func anOldHeadIsKnownUntilItGoesAndNotWhileItsTenantIsParked() {
    var fair = FairShare()
    fair.setHead(lane: 0, tenant: 0, route: 0, cluster: 1)
    #expect(!fair.hasOld(in: 1))
    fair.setOld(lane: 0, true)
    fair.setOld(lane: 0, true)
    #expect(fair.hasOld(in: 1) && !fair.hasOld(in: 0) && !fair.hasOld(in: 7))
    fair.park(tenant: 0)
    #expect(!fair.hasOld(in: 1))
    fair.unpark(tenant: 0)
    fair.setAside(lane: 0)
    fair.setHead(lane: 0, tenant: 0, route: 2, cluster: 1)
    #expect(fair.hasOld(in: 1))
    fair.clearHead(lane: 0)
    #expect(!fair.hasOld(in: 1))
  }

  /// No number makes it trap or puts a flow behind for ever.
  @Test func absurdCostsAreBounded() {
    var fair = FairShare()
    fair.setHead(lane: 0, tenant: 0, route: 0)
    fair.setHead(lane: 1, tenant: 1, route: 0)
    for cost in [Int64.max, .min, 1 << 53, -1, 0] {
      let charge = fair.charge(lane: 0, cost: cost, weight: 1000)
      fair.settle(charge, real: cost)
      fair.settle(fair.charge(lane: 1, cost: 1, weight: 1), real: .max)
    }
    #expect(fair.next(closed: []) != nil)
  }
}

extension FairShareTests {
  /// At most 64 idle ones are remembered in a cluster that is at rest; who is ahead of virtual time is not forgotten for as long as it works.
  @Test func idleTenantsTakeNoMemory() {
    var fair = FairShare()
    for number in 0..<10_000 {
      let (lane, tenant) = (LaneIndex(number: number % 100), TenantIndex(number: number))
      fair.setHead(lane: lane, tenant: tenant, route: 0, cluster: ClusterIndex(number: number % 50))
      let charge = fair.charge(lane: lane, cost: 100, weight: 1)
      fair.clearHead(lane: lane)
      fair.settle(charge, real: 100)
      fair.forgotten.removeAll()
    }
    #expect(fair.flowCount <= 50 * 65)
  }

  @Test func manyTenantsThatWaitTogetherAreForgottenTogether() {
    var fair = FairShare()
    var charges: [FairShare.Charge] = []
    for number in 0..<2000 {
      fair.setHead(lane: LaneIndex(number: number), tenant: TenantIndex(number: number), route: 0)
    }
    while let choice = fair.next(closed: []) {
      charges.append(fair.charge(lane: choice.lane, cost: 100, weight: 1))
      fair.clearHead(lane: choice.lane)
    }
    #expect(charges.count == 2000 && fair.flowCount == 2000)
    for charge in charges { fair.settle(charge, real: 100) }
    #expect(fair.flowCount <= 65 && fair.forgotten.count == 2000)
  }
}
