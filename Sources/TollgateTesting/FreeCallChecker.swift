// Free calls (rule 10) wait for nothing: not for a permit, units, a turn or a claim, and at most 32 of them run at a
// provider. Judged from what was seen, as in the other checkers.
import AdmissionCore
import PolicyLab

final class FreeCallChecker: InvariantChecker {
  static let name = "free_calls"
  static let most = 32
  var name: String { Self.name }
  var seesFreeCalls: Bool { true }

  func willGrant(_ grant: Grant, request index: Int, provider: Int, _ scene: Scene) {
    let witness = scene.witness
    let request = witness.requests[index]
    guard request.ticket.isFree else { return }
    if witness.providers[provider].freeInUse >= Self.most {
      scene.report(name, "request \(index): \(Self.most) free calls run at \(grant.provider), one more was granted")
    }
    if grant.reservedInput != 0 || grant.reservedOutput != 0 {
      scene.report(name, "request \(index) is free, \(grant.reservedInput) tokens were reserved")
    }
    guard request.requeues == 0 else { return }
    for other in witness.queued where other < index && witness.requests[other].ticket.isFree {
      let earlier = witness.requests[other]
      if earlier.route == request.route, earlier.ticket.model == request.ticket.model, earlier.requeues == 0 {
        return scene.report(name, "request \(index) was granted before request \(other), which is free too")
      }
    }
  }

  func didHandle(_ snapshot: AdmissionSnapshot?, _ scene: Scene) {
    let witness = scene.witness
    for index in witness.queued where witness.requests[index].ticket.isFree && witness.requests[index].requeues == 0 {
      let request = witness.requests[index]
      for provider in request.route {
        let books = witness.providers[provider]
        guard !books.isGone, !books.mayBeShut(for: request.ticket.model), !books.mayBeShutForFree,
          books.freeInUse < Self.most
        else { continue }
        return scene.report(name, "request \(index) is free and waits, \(books.id) could take it")
      }
    }
  }
}
