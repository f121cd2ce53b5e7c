// Turns by weight, sessions inside tenants, idling, parking, corrections; against the ratio of the weights.
import Testing

@testable import AdmissionCore

@Suite struct FairShareTests {
  /// Serves `rounds` turns of lanes that never run dry; returns the cost served to each lane.
  func serve(
    _ fair: inout FairShare, rounds: Int, weights: [Int32: Int], tenantOf: [Int32: Int32], cost: (Int32) -> Int64
  ) -> [Int32: Int64] {
    var served: [Int32: Int64] = [:]
    for _ in 0..<rounds {
      guard let choice = fair.next(closed: [0, 0], pass: 1), let tenant = tenantOf[choice.lane] else { break }
      fair.charge(lane: choice.lane, cost: cost(choice.lane), weight: weights[tenant] ?? 1)
      fair.correct(lane: choice.lane, by: 0, weight: weights[tenant] ?? 1, isOver: true)
      served[choice.lane, default: 0] += cost(choice.lane)
    }
    return served
  }

  @Test func tenantsByWeightWhateverTheirSessionsAndSizes() {
    var fair = FairShare()
    var tenantOf: [Int32: Int32] = [0: 0]
    fair.setHead(lane: 0, tenant: 0, route: 0)
    for lane in Int32(1)...50 {
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
    var served: [Int32: Int] = [:]
    for _ in 0..<100 {
      guard let choice = fair.next(closed: [0], pass: 1) else { break }
      served[choice.lane, default: 0] += 1
      fair.charge(lane: choice.lane, cost: 10, weight: 1)
      // Lane 1 has one request at a time: it goes idle while it runs.
      if choice.lane == 1 { fair.clearHead(lane: 1) }
      fair.correct(lane: choice.lane, by: 0, weight: 1, isOver: true)
      if choice.lane == 1 { fair.setHead(lane: 1, tenant: 0, route: 0) }
    }
    #expect(abs((served[0] ?? 0) - (served[1] ?? 0)) <= 1)
  }

  @Test func aCorrectionCountsAsIfItHadBeenKnown() {
    var fair = FairShare()
    fair.setHead(lane: 0, tenant: 0, route: 0)
    fair.setHead(lane: 1, tenant: 1, route: 0)
    var real: [Int32: Int64] = [:]
    for _ in 0..<300 {
      guard let choice = fair.next(closed: [0], pass: 1) else { break }
      let actual: Int64 = choice.lane == 0 ? 40 : 10
      fair.charge(lane: choice.lane, cost: 10, weight: 1)
      fair.correct(lane: choice.lane, by: actual - 10, weight: 1, isOver: true)
      real[choice.lane, default: 0] += actual
    }
    #expect(abs((real[0] ?? 0) - (real[1] ?? 0)) <= 50)
  }

  @Test func closedRoutesAndParkedTenantsArePassedOver() {
    var fair = FairShare()
    fair.setHead(lane: 0, tenant: 0, route: 0)
    fair.setHead(lane: 1, tenant: 1, route: 1)
    #expect(fair.next(closed: [7, 0], pass: 7) == FairShare.Choice(lane: 1, route: 1))
    fair.park(tenant: 1)
    #expect(fair.next(closed: [7, 0], pass: 7) == nil)
    fair.setHead(lane: 2, tenant: 1, route: 0)
    #expect(fair.next(closed: [0, 0], pass: 7)?.lane == 0)
    fair.unpark(tenant: 1)
    fair.clearHead(lane: 0)
    #expect(fair.next(closed: [0, 7], pass: 7)?.lane == 2)
  }

  @Test func idleLanesAreForgotten() {
    var fair = FairShare()
    fair.setHead(lane: 0, tenant: 0, route: 0)
    var open = Set<Int32>([0])
    for number in Int32(1)...5000 {
      let lane = 1 + number % 1000
      fair.setHead(lane: lane, tenant: 0, route: 0)
      open.insert(lane)
      while let choice = fair.next(closed: [0], pass: 1), choice.lane != lane {
        fair.charge(lane: 0, cost: 10, weight: 1)
        fair.correct(lane: 0, by: 0, weight: 1, isOver: true)
      }
      fair.charge(lane: lane, cost: 10, weight: 1)
      fair.clearHead(lane: lane)
      fair.correct(lane: lane, by: 0, weight: 1, isOver: true)
      for gone in fair.forgotten { open.remove(gone) }
      fair.forgotten = []
      #expect(open.count <= 140)
    }
    fair.clearHead(lane: 0)
    for gone in fair.forgotten { open.remove(gone) }
    #expect(open.isEmpty)
  }

  /// A flood at a slow provider, 100 grants at a fast one for each of its own, and then somebody new at the slow one.
  @Test(arguments: [(Int32(0), Int32(0), false), (0, 1, true)])
  func whoComesNewToASlowProviderStandsBesideTheFloodThere(slow: Int32, fast: Int32, isFair: Bool) {
    var fair = FairShare()
    fair.setHead(lane: 0, tenant: 0, route: 0, cluster: slow)
    fair.setHead(lane: 1, tenant: 1, route: 1, cluster: fast)
    func serve(closed: [UInt64]) -> Int32? {
      guard let choice = fair.next(closed: closed, pass: 1) else { return nil }
      fair.charge(lane: choice.lane, cost: 10, weight: 1)
      fair.correct(lane: choice.lane, by: 0, weight: 1, isOver: true)
      return choice.lane
    }
    for _ in 0..<20 {
      #expect(serve(closed: [0, 1]) == 0)
      for _ in 0..<100 { #expect(serve(closed: [1, 0]) == 1) }
    }
    fair.setHead(lane: 2, tenant: 2, route: 0, cluster: slow)
    let turns = (0..<10).compactMap { _ in serve(closed: [0, 1]) }
    // With one virtual time for both it has to wait until the flood has caught up.
    #expect(turns.count { $0 == 2 } == (isFair ? 5 : 0))
  }

  @Test func betweenClustersTheOneServedLongestAgoGoesFirst() {
    var fair = FairShare()
    fair.setHead(lane: 0, tenant: 0, route: 0, cluster: 0)
    fair.setHead(lane: 1, tenant: 0, route: 1, cluster: 1)
    fair.setHead(lane: 2, tenant: 1, route: 1, cluster: 1)
    var turns: [Int32] = []
    for _ in 0..<8 {
      guard let choice = fair.next(closed: [0, 0], pass: 1) else { break }
      turns.append(choice.lane)
      fair.charge(lane: choice.lane, cost: choice.lane == 0 ? 1000 : 1, weight: 1)
      fair.correct(lane: choice.lane, by: 0, weight: 1, isOver: true)
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
    #expect(fair.next(closed: [0, 0], pass: 1) == nil)
    fair.unpark(tenant: 0)
    #expect(fair.next(closed: [1, 0], pass: 1)?.lane == 1)
    #expect(fair.next(closed: [0, 1], pass: 1)?.lane == 0)
  }
}
