// Clients that give up: a call that waits is evicted when what it has waited and the time of first bytes together reach
// what its client waits; not earlier, and no such call is sent after that.
import AdmissionCore
import PolicyLab

final class PatienceChecker: InvariantChecker {
  static let name = "patience"
  var name: String { Self.name }
  private struct Bounds {
    /// It may be evicted from then on, and must be by then.
    var earliest: Instant
    var latest: Instant
  }
  private var bounds: [Int: Bounds] = [:]
  /// How many ended their wait so, and how many of them because of what had been learned.
  private(set) var evicted = 0
  private(set) var evictedByLearning = 0

  private func lastStart(_ index: Int, percent: Int64 = 100, _ witness: Witness) -> Instant? {
    let request = witness.requests[index]
    let route = request.route.filter { !witness.providers[$0].isGone }.map { witness.providers[$0].id }
    return witness.firstBytes.lastStart(
      request.ticket, route, submitted: request.submittedAt, percent: percent, witness.now)
  }

  /// A deadline is never moved back, so every instant of the wait counts. What is learned meanwhile counts for those who
  /// wait when it has risen by an eighth; a quarter leaves room for two such steps.
  private func updated(_ index: Int, _ witness: Witness) -> Bounds? {
    guard let exact = lastStart(index, witness) else { return nil }
    guard let known = bounds[index] else { return Bounds(earliest: exact, latest: exact) }
    let sure = lastStart(index, percent: 75, witness) ?? exact
    return Bounds(earliest: min(known.earliest, exact), latest: min(known.latest, sure))
  }

  func willGrant(_ grant: Grant, request index: Int, provider: Int, _ scene: Scene) {
    let request = scene.witness.requests[index]
    // What can be sent when it comes is sent.
    guard request.ticket.patience != nil, scene.witness.now > request.submittedAt,
      let bounds = updated(index, scene.witness)
    else { return }
    if bounds.latest <= scene.witness.now {
      scene.report(
        name, "request \(index) was granted, its client will have left: it should be gone since \(bounds.latest)")
    }
  }

  func willConclude(_ conclusion: Conclusion, request index: Int, _ scene: Scene) {
    let request = scene.witness.requests[index]
    guard conclusion.outcome == .evictedMaxWait, request.requeues == 0, request.ticket.patience != nil,
      scene.witness.now < request.earliestBound, let bounds = updated(index, scene.witness)
    else { return }
    evicted += 1
    let way = min(.seconds(1), Span(nanoseconds: (request.ticket.patience ?? .zero).nanoseconds / 20))
    if scene.witness.now + way < request.submittedAt + (request.ticket.patience ?? .zero) { evictedByLearning += 1 }
    if scene.witness.now < bounds.earliest {
      scene.report(name, "request \(index) was evicted, its client waits long enough until \(bounds.earliest)")
    }
  }

  func didHandle(_ snapshot: AdmissionSnapshot?, _ scene: Scene) {
    for index in scene.witness.queued where scene.witness.requests[index].ticket.patience != nil {
      guard let bounds = updated(index, scene.witness) else { continue }
      self.bounds[index] = bounds
      if bounds.latest <= scene.witness.now {
        scene.report(
          name, "request \(index) still waits, its client will have left: it should be gone since \(bounds.latest)")
      }
    }
  }
}
