// The rules about the order of grants. Each checker reports a fault only where no reading of the rules excuses it: a
// request counts as placeable only when it surely was, and credit and age count in favour of the granted request.
import AdmissionCore
import PolicyLab

/// No lower band is granted while a higher head was placeable, but for the floor share (headroom is in `isSurelyPlaceable`). However old
/// it is.
final class BandOrderChecker: InvariantChecker {
  static let name = "band_order"
  var name: String { Self.name }

  func willGrant(_ grant: Grant, request index: Int, provider: Int, _ scene: Scene) {
    let witness = scene.witness
    let request = witness.requests[index]
    guard request.band > 0 else { return }
    var passed: Int?
    for other in witness.queued where witness.requests[other].band < request.band {
      guard witness.requests[other].route.contains(provider), witness.isHead(other),
        witness.isSurelyPlaceable(other, on: provider)
      else { continue }
      passed = other
      break
    }
    guard let passed else { return }
    let price = witness.price(grant, request: index)
    if witness.credit[request.band] >= price {
      witness.credit[request.band] -= price
      return
    }
    scene.report(
      name,
      "request \(index) of band \(request.band) was granted at \(grant.provider) before request \(passed) "
        + "of band \(witness.requests[passed].band)")
  }
}

/// A lane is first in, first out; only requests that came back may overtake.
final class LaneOrderChecker: InvariantChecker {
  static let name = "lane_order"
  var name: String { Self.name }

  func willGrant(_ grant: Grant, request index: Int, provider: Int, _ scene: Scene) {
    let request = scene.witness.requests[index]
    guard request.requeues == 0, request.ticket.clientRetryCount == 0 else { return }
    for other in scene.witness.lanes[request.lane] where other < index {
      // Requests that wait for money may be overtaken.
      if scene.witness.requests[other].requeues == 0, scene.witness.isSurelyAffordable(other) {
        scene.report(name, "request \(index) was granted before request \(other) of its own lane")
        return
      }
    }
  }
}

/// A band with a floor share is not starved: what it is due never grows far beyond its head. What is due is counted by real costs, when all is
/// known: of what was expected and what was, the smaller one credits, the larger one pays.
final class FloorChecker: InvariantChecker {
  static let name = "floor_share"
  var name: String { Self.name }
  private struct Turn {
    var at: Instant
    var request: Int
    var band: Int
    var expected: Int64
    /// By band: its share where it surely could have had this grant, the cost of its dearest head, and whether none of
    /// its requests waited.
    var share: [Int64] = [0, 0, 0]
    var dearest: [Int64] = [0, 0, 0]
  }
  private var turns: [Turn] = []

  func willGrant(_ grant: Grant, request index: Int, provider: Int, _ scene: Scene) {
    let witness = scene.witness
    let band = witness.requests[index].band
    var turn = Turn(at: witness.now, request: index, band: band, expected: witness.cost(grant))
    for waiting in 0..<3 where waiting != band {
      let share = Int64(witness.policy.bands[waiting].shareBasisPoints)
      guard share > 0,
        witness.queued.contains(where: { witness.requests[$0].band == waiting && witness.isHead($0) })
      else {
        turn.share[waiting] = -1
        continue
      }
      // True only where each of its heads could have had this grant.
      var isSure = true
      for other in witness.queued where witness.requests[other].band == waiting && witness.isHead(other) {
        isSure =
          isSure && witness.requests[other].route.contains(provider)
          && witness.isSurelyPlaceable(other, on: provider)
        turn.dearest[waiting] = max(turn.dearest[waiting], witness.generousNeed(witness.requests[other]).tokens)
      }
      if isSure { turn.share[waiting] = share }
    }
    turns.append(turn)
  }

  func finish(_ snapshot: AdmissionSnapshot, _ scene: Scene) {
    var due: [Int64] = [0, 0, 0]
    for turn in turns {
      let request = scene.witness.requests[turn.request]
      // For a request that was tried again, the cost of each attempt is not known separately.
      let real = request.grants == 1 ? request.spent : 0
      let own = turn.band
      // Two bands that are both due take turns, so it is no fault that the other one goes first once.
      let isDueItself = due[own] >= 10_000 * turn.expected
      due[own] = min(due[own], 0) - 10_000 * max(0, max(real, request.spent) - turn.expected)
      for waiting in 0..<3 where waiting != own && turn.share[waiting] != 0 {
        if turn.share[waiting] < 0 {
          due[waiting] = min(due[waiting], 0)
          continue
        }
        if !isDueItself, due[waiting] > 3 * (turn.dearest[waiting] + 1) * 10_000 {
          scene.report(
            name,
            "band \(waiting) is due \(due[waiting] / 10_000) tokens and waits, request \(turn.request) was granted at "
              + "\(turn.at.nanoseconds / 1000) us")
          due[waiting] = 0
        }
        due[waiting] += turn.share[waiting] * min(real, turn.expected)
      }
    }
  }
}

/// No provider is left idle: where all heads for a provider could be placed on it, one of them is.
final class StallChecker: InvariantChecker {
  static let name = "no_stall"
  var name: String { Self.name }

  func didHandle(_ snapshot: AdmissionSnapshot?, _ scene: Scene) {
    let witness = scene.witness
    guard !witness.queued.isEmpty else { return }
    for provider in witness.providers.indices where !witness.providers[provider].isUncertain {
      if let limit = witness.surePermits(of: provider),
        witness.providers[provider].own.inUse + witness.providers[provider].own.lagging >= limit
      {
        continue
      }
      var first: Int?
      var isSure = true
      for index in witness.queued where witness.isHead(index) && witness.requests[index].route.contains(provider) {
        // Where nothing is widened, a session at its limit keeps no other from anything.
        if witness.policy.sessionConcurrency?.widen == false, witness.isAtSessionLimit(index) { continue }
        first = first ?? index
        isSure = witness.isSurelyPlaceable(index, on: provider, widening: true)
        if !isSure { break }
      }
      if isSure, let first {
        scene.report(name, "request \(first) waits, provider \(witness.providers[provider].id) could take it")
      }
    }
  }
}

/// A request goes to the first provider of its route that could take it.
final class RouteChecker: InvariantChecker {
  static let name = "route_preference"
  var name: String { Self.name }

  func willGrant(_ grant: Grant, request index: Int, provider: Int, _ scene: Scene) {
    let witness = scene.witness
    for preferred in witness.requests[index].route {
      if preferred == provider { return }
      // Another request may have claimed it.
      let isWanted = witness.queued.contains { $0 != index && witness.requests[$0].route.contains(preferred) }
      if !isWanted, witness.isSurelyPlaceable(index, on: preferred) {
        scene.report(name, "request \(index) went to \(grant.provider), \(witness.providers[preferred].id) was free")
      }
    }
  }
}

/// Backlogged flows of one band are served fairly: tenants by weight, sessions of a tenant evenly, to within one
/// request each. Used only for scenarios that expect it (`Expectations.fairShares`): exact costs, one provider, no
/// promotion, no limits of tenants.
final class FairnessChecker: InvariantChecker {
  static let name = "fair_shares"
  var name: String { Self.name }

  private struct Flow: Hashable {
    var band: Int
    var tenant: Int
    /// -1 for the tenant as a whole.
    var lane: Int
  }
  private struct Pair: Hashable {
    var left: Flow
    var right: Flow
  }
  private struct Gap {
    var difference = 0.0
    var lowest = 0.0
    var highest = 0.0
  }
  private var gaps: [Pair: Gap] = [:]
  private var backlogged: [Flow] = []
  private var largest: [Flow: Double] = [:]

  func willGrant(_ grant: Grant, request index: Int, provider: Int, _ scene: Scene) {
    guard scene.scenario.expectations.fairShares else { return }
    let request = scene.witness.requests[index]
    let weight = Double(scene.witness.tenants[request.tenant].weight)
    let cost = Double(scene.witness.cost(grant))
    for (lane, share) in [(-1, cost / weight), (request.lane, cost)] {
      let flow = Flow(band: request.band, tenant: request.tenant, lane: lane)
      largest[flow] = max(largest[flow] ?? 0, share)
      for pair in gaps.keys where pair.left == flow || pair.right == flow {
        gaps[pair]?.difference += pair.left == flow ? share : -share
      }
    }
    for (pair, gap) in gaps {
      var new = gap
      new.lowest = min(new.lowest, new.difference)
      new.highest = max(new.highest, new.difference)
      gaps[pair] = new
      // The bound of start-time fair queueing: the largest request of each flow, and once more for the order at the
      // start.
      let bound = 2 * ((largest[pair.left] ?? 0) + (largest[pair.right] ?? 0))
      if new.highest - new.lowest > bound + 1e-6 {
        let name = self.name
        scene.report(
          name,
          "tenant \(pair.left.tenant) lane \(pair.left.lane) and tenant \(pair.right.tenant) lane \(pair.right.lane) "
            + "differ by \(new.highest - new.lowest), allowed are \(bound)")
        gaps[pair] = Gap()
      }
    }
  }

  func didHandle(_ snapshot: AdmissionSnapshot?, _ scene: Scene) {
    guard scene.scenario.expectations.fairShares else { return }
    let witness = scene.witness
    var now: [Flow] = []
    for (lane, members) in witness.lanes.enumerated() {
      guard let head = members.first else { continue }
      let request = witness.requests[head]
      now.append(Flow(band: request.band, tenant: request.tenant, lane: lane))
      let tenant = Flow(band: request.band, tenant: request.tenant, lane: -1)
      if !now.contains(tenant) { now.append(tenant) }
    }
    guard now != backlogged else { return }
    backlogged = now
    let flows = Set(now)
    gaps = gaps.filter { flows.contains($0.key.left) && flows.contains($0.key.right) }
    for (position, left) in now.enumerated() {
      for right in now[(position + 1)...] where left.band == right.band {
        let areTenants = left.lane < 0 && right.lane < 0
        let areSessions = left.lane >= 0 && right.lane >= 0 && left.tenant == right.tenant
        guard areTenants || areSessions else { continue }
        let pair = Pair(left: left, right: right)
        if gaps[pair] == nil, gaps[Pair(left: right, right: left)] == nil { gaps[pair] = Gap() }
      }
    }
  }
}
