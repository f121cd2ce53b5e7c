// Rule 3e: a call waits for the key whose cache has its prompt, but only where it is warm there, where that key cannot take
// it, within the rule's bound and within its own time. Judged in two ways: by what the core says it waits for, and, where
// only the permits of keys are limited, by the keys that stay free while calls wait.
import AdmissionCore
import PolicyLab

final class WarmKeyChecker: InvariantChecker {
  static let name = "warm_key"
  var name: String { Self.name }
  /// How often a call was said to wait so, and how many.
  private(set) var waits = 0
  private(set) var waited: Set<Int> = []

  func didNotice(_ notice: Notice, _ scene: Scene) {
    guard case .waiting(let id, .warmKey(let provider, let key)) = notice, let index = scene.witness.index(of: id),
      let position = scene.witness.providerIndex(provider)
    else { return }
    waits += 1
    waited.insert(index)
    if let fault = fault(of: index, waitingFor: key, at: position, scene.witness) {
      scene.report(name, "request \(index) is said to wait for key \(key) of \(provider), \(fault)")
    }
  }

  func didHandle(_ snapshot: AdmissionSnapshot?, _ scene: Scene) {
    // Where prompts are drawn, policies do not change and no key is refused.
    guard scene.scenario.clients.contains(where: { $0.conversation != nil }) else { return }
    let witness = scene.witness
    for provider in witness.providers.indices where isPlain(provider, witness) {
      for index in witness.queued where isJudged(index, at: provider, witness) {
        let request = witness.requests[index]
        let free = witness.providers[provider].policy.keys.filter { hasRoom($0, for: request, at: provider, witness) }
        guard let first = free.first else { continue }
        let warm = witness.prompts.worthwhile(request.ticket, at: witness.providers[provider].id, witness.now)
        var why = "its prompt is not warm"
        if let key = warm?.key {
          guard let fault = fault(of: index, waitingFor: key, at: provider, witness) else { continue }
          why = fault
        }
        return scene.report(name, "request \(index) waits, key \(first.id) could take it, and \(why)")
      }
    }
  }

  /// Why it may not wait for the key; nil where it may.
  private func fault(of index: Int, waitingFor key: KeyID, at provider: Int, _ witness: Witness) -> String? {
    let request = witness.requests[index]
    let (now, books) = (witness.now, witness.providers[provider])
    guard books.policy.quota == .perKey else { return "all keys share its quota" }
    guard let warm = witness.prompts.worthwhile(request.ticket, at: books.id, now) else {
      return "its prompt is not warm"
    }
    guard warm.key == key, let home = books.policy.keys.first(where: { $0.id == key }) else {
      return "its prompt is not there"
    }
    if isPlain(provider, witness), hasRoom(home, for: request, at: provider, witness) { return "that key can take it" }
    guard now < request.queuedSince + warm.longestWait else { return "its time for that is over" }
    let patience = witness.firstBytes.lastStart(
      request.ticket, request.route.map { witness.providers[$0].id }, submitted: request.submittedAt, now)
    let end = min(request.latestBound, patience ?? .distantFuture)
    guard now + .seconds(1) <= end else { return "it has less than a second left" }
    return nil
  }

  /// True where keys differ by nothing but their permits, and everything of the provider is known.
  private func isPlain(_ provider: Int, _ witness: Witness) -> Bool {
    let books = witness.providers[provider]
    let limits = [books.policy.limits] + books.policy.keys.map(\.limits)
    return books.policy.quota == .perKey && books.policy.keys.count > 1 && books.policy.modelLimits.isEmpty
      && books.policy.ramp == .zero && books.policy.settleLag == .zero && !books.trouble.mayBeClosed && !books.isGone
      && limits.allSatisfy { BucketModels($0, at: witness.now).isEmpty }
      && books.policy.keys.allSatisfy { $0.models.isEmpty && $0.isInForce }
  }

  /// True for a head that nothing keeps from any key with room.
  private func isJudged(_ index: Int, at provider: Int, _ witness: Witness) -> Bool {
    let request = witness.requests[index]
    let tenant = witness.tenants[request.tenant].books
    return witness.isHead(index) && request.requeues == 0 && request.route.contains(provider)
      && tenant.limits.concurrency == nil && !tenant.hasBuckets && witness.policy.sessionConcurrency == nil
      && witness.isSurelyAffordable(index)
  }

  private func hasRoom(_ key: KeyPolicy, for request: Witness.Request, at provider: Int, _ witness: Witness) -> Bool {
    let shared = witness.providers[provider].policy.limits.concurrency
    guard let limit = [key.limits.concurrency, shared].compactMap(\.self).min() else { return true }
    let running = witness.leases.values.count { $0.provider == provider && $0.key == key.id && !$0.isFree }
    return running + 1 <= limit - witness.reserves(above: request.band, limit: limit)
  }
}
