// `session_concurrency` (rule 3d): no session, or group of sessions, runs more calls than its limit; where the policy
// widens, it gets more only of what the heads of other sessions could surely not have had.
import AdmissionCore
import PolicyLab

final class SessionLimitChecker: InvariantChecker {
  static let name = "session_limit"
  var name: String { Self.name }

  func willGrant(_ grant: Grant, request index: Int, provider: Int, _ scene: Scene) {
    let witness = scene.witness
    guard let rule = witness.policy.sessionConcurrency, witness.isAtSessionLimit(index) else { return }
    guard rule.widen else {
      return scene.report(name, "request \(index): \(rule.limit) calls of its session run, one more was granted")
    }
    for other in witness.queued where other != index && witness.isHead(other) && !witness.isAtSessionLimit(other) {
      if witness.requests[other].route.contains(provider), witness.isSurelyPlaceable(other, on: provider) {
        return scene.report(
          name,
          "request \(index) of a session at its limit was granted at \(grant.provider) before request \(other)")
      }
    }
  }
}
