// Shares of real use, checked at the end: real costs per flow and band, kept from grants and settlements alone and
// judged when all costs are known. These checkers share only the rules with the scheduler. They are used only for
// scenarios that expect it (`Expectations.realShares`): one provider, permits only, no client leaves, nothing fails.
import AdmissionCore
import PolicyLab

/// What happened, in order.
class CostLog: InvariantChecker {
  enum Entry {
    case arrived(Int)
    case granted(Int, at: Instant)
    case ended(Int)
  }
  var name: String { "" }
  private(set) var entries: [Entry] = []
  private var seen = 0
  private var running: [Int] = []

  private func catchUp(_ scene: Scene) {
    let witness = scene.witness
    running.removeAll { request in
      guard witness.requests[request].lease == nil else { return false }
      entries.append(.ended(request))
      return true
    }
    while seen < witness.requests.count {
      entries.append(.arrived(seen))
      seen += 1
    }
  }

  func willGrant(_ grant: Grant, request index: Int, provider: Int, _ scene: Scene) {
    guard scene.scenario.expectations.realShares else { return }
    catchUp(scene)
    entries.append(.granted(index, at: scene.witness.now))
    running.append(index)
  }

  func didHandle(_ snapshot: AdmissionSnapshot?, _ scene: Scene) {
    guard scene.scenario.expectations.realShares else { return }
    // The grants of this event now have leases.
    catchUp(scene)
  }

  final func finish(_ snapshot: AdmissionSnapshot, _ scene: Scene) {
    guard scene.scenario.expectations.realShares else { return }
    catchUp(scene)
    judge(scene)
  }

  func judge(_ scene: Scene) {}

  /// A tenant in a band, or (with a `lane` of 0 or more) one of its sessions.
  struct Flow: Hashable {
    var band: Int
    var tenant: Int
    var lane: Int

    /// True for flows of the same level, which share something: tenants of a band, or sessions of a tenant.
    func isBeside(_ other: Flow) -> Bool {
      self != other && band == other.band && (lane < 0) == (other.lane < 0) && (lane < 0 || tenant == other.tenant)
    }
  }

  /// Sessions whose prompts are about to expire go early, so that only tenants are compared where there are some.
  static func flows(_ request: Witness.Request, _ scene: Scene) -> [Flow] {
    let tenant = Flow(band: request.band, tenant: request.tenant, lane: -1)
    if scene.scenario.expectations.knownTurns { return [tenant] }
    return [tenant, Flow(band: request.band, tenant: request.tenant, lane: request.lane)]
  }

  /// The real cost of a request over its flow's weight.
  static func share(_ request: Witness.Request, _ flow: Flow, _ scene: Scene) -> Double {
    Double(request.spent) / (flow.lane < 0 ? Double(scene.witness.tenants[flow.tenant].weight) : 1)
  }
}

/// A flow that comes back from idling waits for another flow no longer than two calls' real cost: the larger of its own
/// calls and of those that ran meanwhile.
final class ReturnChecker: CostLog {
  static let title = "return_wait"
  override var name: String { Self.title }

  private struct Book {
    var waiting = 0
    var running: [Int] = []
    /// The dearest call of this busy period.
    var dearest = 0.0
  }
  private struct Watch {
    var dearest: Double
    var served: [Flow: Double] = [:]
  }

  override func judge(_ scene: Scene) {
    var books: [Flow: Book] = [:]
    var watches: [Flow: Watch] = [:]
    for entry in entries {
      switch entry {
      case .arrived(let index):
        let request = scene.witness.requests[index]
        for flow in Self.flows(request, scene) {
          var book = books[flow] ?? Book()
          if book.waiting == 0, book.running.isEmpty {
            var watch = Watch(dearest: max(book.dearest, Self.share(request, flow, scene)))
            for (other, their) in books where other.isBeside(flow) {
              for running in their.running {
                watch.dearest = max(watch.dearest, Self.share(scene.witness.requests[running], other, scene))
              }
            }
            watches[flow] = watch
            book.dearest = 0
          }
          book.waiting += 1
          books[flow] = book
        }
      case .granted(let index, let now):
        let request = scene.witness.requests[index]
        for flow in Self.flows(request, scene) {
          let share = Self.share(request, flow, scene)
          books[flow]?.waiting -= 1
          books[flow]?.running.append(index)
          let dearest = max(books[flow]?.dearest ?? 0, share)
          books[flow]?.dearest = dearest
          if let watch = watches.removeValue(forKey: flow) { judge(watch, index, flow, at: now, scene) }
          for waiting in watches.keys where waiting.isBeside(flow) {
            watches[waiting]?.served[flow, default: 0] += share
            let dearest = max(watches[waiting]?.dearest ?? 0, share)
            watches[waiting]?.dearest = dearest
          }
        }
      case .ended(let index):
        for flow in Self.flows(scene.witness.requests[index], scene) { books[flow]?.running.removeAll { $0 == index } }
      }
    }
  }

  private func judge(_ watch: Watch, _ index: Int, _ flow: Flow, at now: Instant, _ scene: Scene) {
    guard let most = watch.served.max(by: { $0.value < $1.value }), most.value > 2 * watch.dearest + 1e-6 else {
      return
    }
    let name = self.name
    scene.report(
      name,
      "request \(index) (tenant \(flow.tenant) lane \(flow.lane)) came back from idling and was granted at \(now.nanoseconds / 1000) us, after "
        + "tenant \(most.key.tenant) lane \(most.key.lane) had \(most.value); a call costs \(watch.dearest) at most")
  }
}

/// Two flows that both have requests waiting get equal shares of real use, to within the running calls and one call
/// each; differences do not add up.
final class RealShareChecker: CostLog {
  static let title = "real_shares"
  override var name: String { Self.title }

  private struct Pair: Hashable {
    var left: Flow
    var right: Flow
  }
  private struct Gap {
    var difference = 0.0
    var lowest = 0.0
    var highest = 0.0
  }

  override func judge(_ scene: Scene) {
    let bounds = bounds(scene)
    var waiting: [Flow: Int] = [:]
    var gaps: [Pair: Gap] = [:]
    for entry in entries {
      switch entry {
      case .arrived(let index):
        for flow in Self.flows(scene.witness.requests[index], scene) {
          waiting[flow, default: 0] += 1
          guard waiting[flow] == 1 else { continue }
          for (other, count) in waiting where count > 0 && other.isBeside(flow) {
            gaps[Pair(left: flow, right: other)] = Gap()
          }
        }
      case .granted(let index, let now):
        let request = scene.witness.requests[index]
        for flow in Self.flows(request, scene) {
          let share = Self.share(request, flow, scene)
          for (pair, old) in gaps where pair.left == flow || pair.right == flow {
            var gap = old
            gap.difference += pair.left == flow ? share : -share
            gap.lowest = min(gap.lowest, gap.difference)
            gap.highest = max(gap.highest, gap.difference)
            gaps[pair] = gap
            let bound = (bounds[pair.left] ?? 0) + (bounds[pair.right] ?? 0)
            guard gap.highest - gap.lowest > bound + 1e-6 else { continue }
            gaps[pair] = Gap()
            let name = self.name
            scene.report(
              name,
              "tenant \(pair.left.tenant) lane \(pair.left.lane) and tenant \(pair.right.tenant) lane \(pair.right.lane) differ by "
                + "\(gap.highest - gap.lowest) at \(now.nanoseconds / 1000) us, allowed are \(bound)")
          }
          waiting[flow, default: 1] -= 1
          if waiting[flow] == 0 { gaps = gaps.filter { $0.key.left != flow && $0.key.right != flow } }
        }
      case .ended: break
      }
    }
  }

  /// The bound of each flow: twice the concurrent calls and one call more, each at the highest expected or real cost.
  private func bounds(_ scene: Scene) -> [Flow: Double] {
    var running: [Flow: Int] = [:]
    var most: [Flow: Int] = [:]
    var dearest: [Flow: Int64] = [:]
    var real: Int64 = 0
    for entry in entries {
      switch entry {
      case .arrived: break
      case .granted(let index, _):
        let request = scene.witness.requests[index]
        real = max(real, request.spent)
        for flow in Self.flows(request, scene) {
          running[flow, default: 0] += 1
          most[flow] = max(most[flow] ?? 0, running[flow] ?? 0)
          dearest[flow] = max(dearest[flow] ?? 0, request.expected, request.spent)
        }
      case .ended(let index):
        for flow in Self.flows(scene.witness.requests[index], scene) { running[flow, default: 1] -= 1 }
      }
    }
    var bounds: [Flow: Double] = [:]
    for (flow, count) in most {
      let weight = flow.lane < 0 ? Double(scene.witness.tenants[flow.tenant].weight) : 1
      bounds[flow] = Double(2 * (Int64(count) + 1) * max(dearest[flow] ?? 0, real)) / weight
    }
    return bounds
  }
}

/// While requests of higher bands wait, a band gets exactly its share of all real use, or its promoted share while its
/// oldest request has waited longer than `promote_after`, to within the running calls and a few more.
final class BandShareChecker: CostLog {
  static let title = "band_shares"
  override var name: String { Self.title }

  private struct Account {
    /// Tokens × 10,000.
    var balance: Int64 = 0
    var lowest: Int64 = 0
    var highest: Int64 = 0
  }

  override func judge(_ scene: Scene) {
    let slack = slack(scene)
    var waiting: [[Int]] = [[], [], []]
    var accounts = [Account](repeating: Account(), count: 3)
    for entry in entries {
      switch entry {
      case .arrived(let index): waiting[scene.witness.requests[index].band].append(index)
      case .ended: break
      case .granted(let index, let now):
        let request = scene.witness.requests[index]
        for band in 1..<3 {
          guard let oldest = waiting[band].first, waiting[..<band].contains(where: { !$0.isEmpty }) else {
            accounts[band] = Account()
            continue
          }
          let rules = scene.witness.policy.bands[band]
          let isOld = scene.witness.requests[oldest].submittedAt + rules.promoteAfter <= now
          let share = isOld ? max(rules.shareBasisPoints, rules.promotedShareBasisPoints) : rules.shareBasisPoints
          accounts[band].balance -= Int64(share) * request.spent
          if request.band == band { accounts[band].balance += 10_000 * request.spent }
          accounts[band].lowest = min(accounts[band].lowest, accounts[band].balance)
          accounts[band].highest = max(accounts[band].highest, accounts[band].balance)
          guard accounts[band].highest - accounts[band].lowest > 10_000 * slack[band] else { continue }
          let name = self.name
          scene.report(
            name,
            "band \(band) has had \(accounts[band].balance / 10_000) tokens more than its share at \(now.nanoseconds / 1000) us, allowed are "
              + "\(slack[band]) from the least to the most, the least was \(accounts[band].lowest / 10_000)")
          accounts[band] = Account()
        }
        waiting[request.band].removeAll { $0 == index }
      }
    }
  }

  /// By band: the cost of its running calls, and the error of its credit while these are counted at their expected
  /// cost.
  private func slack(_ scene: Scene) -> [Int64] {
    var running = [0, 0, 0]
    var most = [0, 0, 0]
    var dearest: [Int64] = [0, 0, 0]
    for entry in entries {
      switch entry {
      case .arrived: break
      case .granted(let index, _):
        let request = scene.witness.requests[index]
        running[request.band] += 1
        most[request.band] = max(most[request.band], running[request.band])
        dearest[request.band] = max(dearest[request.band], request.expected, request.spent)
      case .ended(let index): running[scene.witness.requests[index].band] -= 1
      }
    }
    let all = (0..<3).map { Int64(most[$0]) * dearest[$0] }.reduce(0, +)
    return (0..<3).map { band in
      let rules = scene.witness.policy.bands[band]
      let share = Int64(max(rules.shareBasisPoints, rules.promotedShareBasisPoints))
      return (Int64(most[band]) + 3) * dearest[band] + all * share / 10_000
    }
  }
}
