// The rules about who goes before whom. Each claims a fault only where no reading of the rules would excuse it: a
// request counts as placeable only when it surely was, and credit and age count in favour of who was granted.
import AdmissionCore

/// No lower band is granted while a higher head was placeable, but for floor share and promotion (headroom is in
/// `isSurelyPlaceable`).
final class BandOrderChecker: InvariantChecker {
  static let name = "band_order"
  var name: String { Self.name }

  func willGrant(_ grant: Grant, request index: Int, provider: Int, _ scene: Scene) {
    let witness = scene.witness
    let request = witness.requests[index]
    guard request.band > 0, request.earliestPromotion > witness.now else { return }
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

/// First in, first out within a lane; only those who came back may overtake.
final class LaneOrderChecker: InvariantChecker {
  static let name = "lane_order"
  var name: String { Self.name }

  func willGrant(_ grant: Grant, request index: Int, provider: Int, _ scene: Scene) {
    let request = scene.witness.requests[index]
    guard request.requeues == 0, request.ticket.clientRetryCount == 0 else { return }
    for other in scene.witness.lanes[request.lane] where other < index {
      // Who waits for money stands aside.
      if scene.witness.requests[other].requeues == 0, scene.witness.isSurelyAffordable(other) {
        scene.report(name, "request \(index) was granted before request \(other) of its own lane")
        return
      }
    }
  }
}

/// A head that is older than `promote_after` goes next, oldest first.
final class PromotionChecker: InvariantChecker {
  static let name = "promotion"
  var name: String { Self.name }

  func willGrant(_ grant: Grant, request index: Int, provider: Int, _ scene: Scene) {
    let witness = scene.witness
    let request = witness.requests[index]
    guard request.requeues == 0 else { return }
    for other in witness.queued where other != index {
      let older = witness.requests[other]
      guard older.latestPromotion < witness.now, older.submittedAt < request.submittedAt, older.lane != request.lane,
        older.route.contains(provider), witness.isHead(other), witness.isSurelyPlaceable(other, on: provider)
      else { continue }
      // The floor share may come first.
      if witness.credit[request.band] >= witness.price(grant, request: index) { return }
      scene.report(name, "request \(index) was granted before request \(other), which had waited past its promotion")
      return
    }
  }
}

/// A band with a floor share is not starved: what it is due never grows far beyond its head.
final class FloorChecker: InvariantChecker {
  static let name = "floor_share"
  var name: String { Self.name }
  /// Tokens × 10,000 that each band is due at least.
  private var due: [Int64] = [0, 0, 0]

  func willGrant(_ grant: Grant, request index: Int, provider: Int, _ scene: Scene) {
    let witness = scene.witness
    let band = witness.requests[index].band
    due[band] = 0
    // Those who waited past their promotion go before everybody.
    if witness.requests[index].earliestPromotion <= witness.now { return }
    for waiting in 0..<3 where waiting != band {
      let share = Int64(witness.policy.bands[waiting].shareBasisPoints)
      guard share > 0, witness.queuedByBand[waiting] > 0 else {
        due[waiting] = 0
        continue
      }
      // Only where each of its heads could have had this very grant.
      var dearest: Int64 = 0
      var isSure = true
      for other in witness.queued where witness.requests[other].band == waiting && witness.isHead(other) {
        isSure =
          isSure && witness.requests[other].route.contains(provider)
          && witness.isSurelyPlaceable(other, on: provider)
        let need = witness.generousNeed(witness.requests[other])
        dearest = max(dearest, need.tokens)
      }
      guard isSure else { continue }
      if due[waiting] > 3 * (dearest + 1) * 10_000 {
        scene.report(
          name, "band \(waiting) is due \(due[waiting] / 10_000) tokens and waits, request \(index) was granted")
        due[waiting] = 0
      }
      due[waiting] += share * witness.cost(grant)
    }
  }
}

/// Nobody waits for nothing: where all heads for a provider could be placed on it, one of them is.
final class StallChecker: InvariantChecker {
  static let name = "no_stall"
  var name: String { Self.name }

  func didHandle(_ snapshot: AdmissionSnapshot?, _ scene: Scene) {
    let witness = scene.witness
    guard !witness.queued.isEmpty else { return }
    for provider in witness.providers.indices where !witness.providers[provider].isUncertain {
      if let limit = witness.providers[provider].own.limits.concurrency,
        witness.providers[provider].own.inUse + witness.providers[provider].own.lagging >= limit
      {
        continue
      }
      var first: Int?
      var isSure = true
      for index in witness.queued where witness.isHead(index) && witness.requests[index].route.contains(provider) {
        first = first ?? index
        isSure = witness.isSurelyPlaceable(index, on: provider)
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
      // Somebody else may have claimed it.
      let isWanted = witness.queued.contains { $0 != index && witness.requests[$0].route.contains(preferred) }
      if !isWanted, witness.isSurelyPlaceable(index, on: preferred) {
        scene.report(name, "request \(index) went to \(grant.provider), \(witness.providers[preferred].id) was free")
      }
    }
  }
}

/// Backlogged flows of one band are served alike: tenants by weight, sessions of a tenant evenly, to within a request
/// each. Only for
/// scenarios that expect it (`Expectations.fairShares`): exact costs, one provider, no promotion, no limits of tenants.
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
      // Start-time fair queueing: at most the largest request of each, and once more for who stood first at the outset.
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
