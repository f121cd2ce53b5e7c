// Rule 2c, with turns that are reckoned anew from what was granted and what it really cost: who goes before another of its
// tenant and class has a cached prompt that is about to expire, the first to expire goes first, and of four grants in a
// row one at least is in turn. Tenants are never overtaken. Used only where the turns are known
// (`Expectations.knownTurns`): one provider, permits only, nobody leaves or fails.
//
// What a running call counts until its end is known within bounds only, so turns are kept twice, and a head is blamed only
// where it is out of turn by both.
import AdmissionCore
import PolicyLab

final class HurryChecker: InvariantChecker {
  static let name = "hurry"
  var name: String { Self.name }
  /// Of so many grants and one more, one is in turn.
  private static let most = 3

  /// The turns of one level: tenants of a class, or sessions of a tenant in a class.
  private struct Level {
    var low = NaiveTurns()
    var high = NaiveTurns()

    mutating func arrived(_ name: String, weight: Double) {
      low.arrived(name, weight: weight, rule: .withoutDebts)
      high.arrived(name, weight: weight, rule: .withAllDebts)
    }
    mutating func granted(_ name: String, cost: Double) -> [NaiveTurns.Charge] {
      [
        low.granted(name, cost: cost, passed: [], rule: .withoutDebts),
        high.granted(name, cost: cost, passed: [], rule: .withAllDebts),
      ]
    }
    mutating func ended(_ name: String, _ charges: [NaiveTurns.Charge], real: Double) {
      low.ended(name, charges[0], real: real, rule: .withoutDebts)
      high.ended(name, charges[1], real: real, rule: .withAllDebts)
    }
    private func least(_ name: String) -> Double { min(low.seats[name]?.tag ?? 0, high.seats[name]?.tag ?? 0) }
    private func most(_ name: String) -> Double { max(low.seats[name]?.tag ?? 0, high.seats[name]?.tag ?? 0) }
    /// False where another surely had its turn. (Tags are whole in the core, and rounded for weights.)
    func mayBeInTurn(_ name: String, among others: [String]) -> Bool {
      others.allSatisfy { $0 == name || least(name) <= most($0) + 2 }
    }
    /// True where no other may have had its turn.
    func isSurelyInTurn(_ name: String, among others: [String]) -> Bool {
      others.allSatisfy { $0 == name || most(name) + 2 < least($0) }
    }
  }
  private struct Running {
    var request: Int
    var ofTenant: [NaiveTurns.Charge]
    var ofSession: [NaiveTurns.Charge]
  }
  private struct Group: Hashable {
    var band: Int
    var tenant: Int
  }

  private var tenants = [Level](repeating: Level(), count: 3)
  private var sessions: [Group: Level] = [:]
  /// How many of the group's last grants were out of turn, at least and at most.
  private var inARow: [Group: ClosedRange<Int>] = [:]
  private var running: [Running] = []
  private var seen = 0
  /// How many grants were surely out of turn, and the longest row of them.
  private(set) var early = 0
  private(set) var longestRow = 0
  /// What was known of each request's prompt when it came.
  private var known: [Int: PromptBook.Prefix] = [:]

  private func catchUp(_ scene: Scene) {
    let witness = scene.witness
    for call in running where witness.requests[call.request].lease == nil {
      let request = witness.requests[call.request]
      let group = Group(band: request.band, tenant: request.tenant)
      tenants[request.band].ended("\(request.tenant)", call.ofTenant, real: Double(request.spent))
      sessions[group]?.ended("\(request.lane)", call.ofSession, real: Double(request.spent))
    }
    running.removeAll { witness.requests[$0.request].lease == nil }
    while seen < witness.requests.count {
      let request = witness.requests[seen]
      let weight = Double(witness.tenants[request.tenant].weight)
      tenants[request.band].arrived("\(request.tenant)", weight: weight)
      sessions[Group(band: request.band, tenant: request.tenant), default: Level()].arrived(
        "\(request.lane)", weight: 1)
      known[seen] = prefix(seen, witness)
      seen += 1
    }
  }

  func willGrant(_ grant: Grant, request index: Int, provider: Int, _ scene: Scene) {
    guard scene.scenario.expectations.knownTurns else { return }
    // What can be sent while nobody waits has no turn, and is charged none.
    if seen == index, scene.witness.queued == [index] {
      seen += 1
      return catchUp(scene)
    }
    catchUp(scene)
    let request = scene.witness.requests[index]
    let group = Group(band: request.band, tenant: request.tenant)
    judge(index, group, scene)
    let cost = Double(scene.witness.cost(grant))
    let ofTenant = tenants[request.band].granted("\(request.tenant)", cost: cost)
    let ofSession = sessions[group, default: Level()].granted("\(request.lane)", cost: cost)
    running.append(Running(request: index, ofTenant: ofTenant, ofSession: ofSession))
  }

  func didHandle(_ snapshot: AdmissionSnapshot?, _ scene: Scene) {
    // The grants of this event have leases now.
    if scene.scenario.expectations.knownTurns { catchUp(scene) }
  }

  private func judge(_ index: Int, _ group: Group, _ scene: Scene) {
    let witness = scene.witness
    let (request, name) = (witness.requests[index], self.name)
    let heads = witness.lanes.compactMap(\.first).filter { witness.requests[$0].band == group.band }
    let others = Set(heads.map { "\(witness.requests[$0].tenant)" })
    if !tenants[group.band].mayBeInTurn("\(request.tenant)", among: Array(others)) {
      scene.report(
        name,
        "request \(index) was granted, its tenant did not have its turn")
    }
    let own = heads.filter { witness.requests[$0].tenant == group.tenant }
    let lanes = own.map { "\(witness.requests[$0].lane)" }
    let level = sessions[group, default: Level()]
    let before = inARow[group, default: 0...0]
    let mayBeInTurn = level.mayBeInTurn("\(request.lane)", among: lanes)
    let mine = [known[index], prefix(index, witness)].compactMap(\.self).filter { hurries($0, witness) }
    if !mayBeInTurn {
      if mine.isEmpty {
        scene.report(
          name,
          "request \(index) was granted before its turn, its prompt is not about to expire")
      } else if before.lowerBound >= Self.most {
        scene.report(name, "request \(index) was granted before its turn, as the \(before.lowerBound) before it")
      }
    }
    let first = own.filter { head in
      guard let then = known[head], let now = prefix(head, witness) else { return false }
      return then.began == now.began && hurries(now, witness)
    }.compactMap { known[$0]?.end }.min()
    if before.upperBound < Self.most, let first, mine.allSatisfy({ $0.end > first }) {
      scene.report(name, "request \(index) was granted, the prompt of another expires at \(first)")
    }
    if !mayBeInTurn {
      early += 1
      longestRow = max(longestRow, before.lowerBound + 1)
    }
    let isSurely = level.isSurelyInTurn("\(request.lane)", among: lanes)
    let isOut = !mine.isEmpty && !isSurely
    inARow[group] =
      !mayBeInTurn
      ? before.lowerBound + 1...before.upperBound + 1 : isOut ? 0...before.upperBound + 1 : 0...0
  }

  private func prefix(_ index: Int, _ witness: Witness) -> PromptBook.Prefix? {
    let request = witness.requests[index]
    guard let provider = request.route.first else { return nil }
    return witness.prompts.worthwhile(request.ticket, at: witness.providers[provider].id, witness.now)
  }

  private func hurries(_ prefix: PromptBook.Prefix, _ witness: Witness) -> Bool {
    prefix.hurriesFrom <= witness.now && witness.now <= prefix.end
  }
}
