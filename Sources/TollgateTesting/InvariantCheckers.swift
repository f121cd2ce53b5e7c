// The rules that always hold, with one checker for each and the name under which it reports. A checker reads the
// witness and the core's actions and snapshots; it never asks the core for an explanation.
import AdmissionCore
import PolicyLab

/// One rule. All calls come in the order of events; the witness shows the state just before the reported event.
public protocol InvariantChecker: AnyObject {
  var name: String { get }
  /// True where the grants of free calls concern it.
  var seesFreeCalls: Bool { get }
  /// A grant whose request is known and queued.
  func willGrant(_ grant: Grant, request: Int, provider: Int, _ scene: Scene)
  func willConclude(_ conclusion: Conclusion, request: Int, _ scene: Scene)
  func didNotice(_ notice: Notice, _ scene: Scene)
  /// An event has been carried out, and the witness is up to date. `snapshot` is nil where none was taken.
  func didHandle(_ snapshot: AdmissionSnapshot?, _ scene: Scene)
  /// Everything has ended.
  func finish(_ snapshot: AdmissionSnapshot, _ scene: Scene)
}

extension InvariantChecker {
  public var seesFreeCalls: Bool { false }
  public func willGrant(_ grant: Grant, request: Int, provider: Int, _ scene: Scene) {}
  public func willConclude(_ conclusion: Conclusion, request: Int, _ scene: Scene) {}
  public func didNotice(_ notice: Notice, _ scene: Scene) {}
  public func didHandle(_ snapshot: AdmissionSnapshot?, _ scene: Scene) {}
  public func finish(_ snapshot: AdmissionSnapshot, _ scene: Scene) {}
}

/// Every request concludes exactly once, for a reason that really existed. (The simulation reports a second conclusion
/// under this name.)
final class ConclusionChecker: InvariantChecker {
  static let name = "concludes_once"
  var name: String { Self.name }

  func willConclude(_ conclusion: Conclusion, request index: Int, _ scene: Scene) {
    let request = scene.witness.requests[index]
    if request.lease != nil, conclusion.outcome != .clientLeftRunning {
      scene.report(name, "request \(index) concluded \(conclusion.outcome.rawValue) with its lease open")
    }
    if conclusion.attempts != request.grants {
      scene.report(
        name, "request \(index) concluded after \(conclusion.attempts) attempts, \(request.grants) were granted")
    }
    let isRightful: Bool
    switch conclusion.outcome {
    case .completed: isRightful = request.lastVerdict == .success
    case .clientLeftQueued: isRightful = request.clientLeft && request.phase == .queued
    case .clientLeftRunning: isRightful = request.clientLeft && request.phase == .running
    case .truncated: isRightful = request.lastVerdict == .truncated
    case .evictedMaxWait:
      // `PatienceChecker` judges the ends of those whose clients give up.
      isRightful =
        request.phase == .queued
        && (scene.witness.now >= request.earliestBound || request.requeues > 0 || request.ticket.patience != nil)
    case .rejectedQueueFull: isRightful = request.phase == .queued && request.grants == 0
    case .rejectedDraining: isRightful = scene.witness.isDraining
    case .rejectedNoCapacity:
      isRightful = request.route.allSatisfy {
        scene.witness.providers[$0].mayBeShut(for: request.ticket.model)
          || request.ticket.isFree && scene.witness.providers[$0].mayBeShutForFree
      }
    case .rejectedTenantLimit:
      let tenant = scene.witness.tenants[request.tenant].books
      let need = scene.witness.generousNeed(request)
      isRightful = tenant.least.clamped(need) != need || tenant.limits.concurrency == 0
    case .upstreamError, .failedUpstream:
      isRightful = request.lastVerdict != nil && request.lastVerdict != .success
    case .rejectedBudget: isRightful = request.phase == .queued
    case .rejectedModel:
      let known = Set(scene.witness.policy.providers.map(\.id))
      isRightful = request.ticket.candidates.allSatisfy { !known.contains($0.provider) }
    case .rejectedUnauthenticated, .rejectedMalformed, .rejectedTooLarge, .rejectedUpgrade, .rejectedOrigin:
      isRightful = false
    }
    if !isRightful {
      scene.report(name, "request \(index) concluded \(conclusion.outcome.rawValue) without that having happened")
    }
  }

  func finish(_ snapshot: AdmissionSnapshot, _ scene: Scene) {
    for (index, request) in scene.witness.requests.enumerated() where request.phase != .concluded {
      scene.report(name, "request \(index) was never concluded: \(request.phase)")
    }
  }
}

/// In each count of the core, the permits in use are the open leases, and the number of queued requests is right.
final class PermitChecker: InvariantChecker {
  static let name = "permits_match_leases"
  var name: String { Self.name }

  func didHandle(_ snapshot: AdmissionSnapshot?, _ scene: Scene) {
    if let snapshot { compare(snapshot, scene) }
  }
  func finish(_ snapshot: AdmissionSnapshot, _ scene: Scene) { compare(snapshot, scene) }

  private func compare(_ snapshot: AdmissionSnapshot, _ scene: Scene) {
    let witness = scene.witness
    func check(_ what: @autoclosure () -> String, _ said: Int, _ seen: Int) {
      if said != seen { scene.report(name, "\(what()): the core says \(said), \(seen) were seen") }
    }
    check("open leases", snapshot.openLeases, witness.leases.count)
    check("running", snapshot.running, witness.leases.count)
    for band in 0..<3 { check("queued in band \(band)", snapshot.queuedByBand[band], witness.queuedByBand[band]) }
    check("queued bytes", snapshot.queuedBytes, witness.queuedBytes)
    for said in snapshot.providers {
      guard let index = witness.providerIndex(said.id) else { continue }
      let seen = witness.providers[index]
      check("free calls at \(said.id)", said.freeInFlight, seen.freeInUse)
      // Freed permits may be shown as in use while the provider still counts them.
      if said.inFlight != seen.own.inUse, said.inFlight != seen.own.inUse + seen.own.lagging {
        scene.report(name, "provider \(said.id): the core says \(said.inFlight), \(seen.own.inUse) were seen")
      }
      if seen.own.lagging == 0 {
        for band in 0..<3 {
          check("provider \(said.id) band \(band)", said.inFlightByBand[band], seen.inUseByBand[band])
        }
      }
    }
    for said in snapshot.tenants {
      guard let seen = witness.tenants.first(where: { $0.id == said.id }) else { continue }
      check("tenant \(said.id)", said.inFlight, seen.books.inUse)
    }
  }
}

/// No grant exceeds a concurrency limit of the provider, model or tenant, or takes permits that are reserved for higher
/// bands.
final class ConcurrencyChecker: InvariantChecker {
  static let name = "concurrency_limit"
  var name: String { Self.name }

  func willGrant(_ grant: Grant, request index: Int, provider: Int, _ scene: Scene) {
    let witness = scene.witness
    let request = witness.requests[index]
    let books = witness.providers[provider]
    if let limit = books.own.limits.concurrency {
      let taken = books.own.inUse + books.own.lagging
      let kept = witness.headroom(provider, above: request.band)
      if taken >= limit {
        scene.report(name, "provider \(books.id): \(taken) of \(limit) taken, one more granted to request \(index)")
      } else if taken >= limit - kept, !books.isUncertain, !witness.isSoftened(grant, request: index) {
        // (With a lower learned limit, the reserves are smaller.)
        scene.report(
          name, "provider \(books.id): \(taken) of \(limit) taken, \(kept) kept, granted to request \(index)")
      }
    }
    if let model = witness.modelIndex(provider, request.ticket.model),
      let limit = books.models[model].limits.concurrency
    {
      let taken = books.models[model].inUse + books.models[model].lagging
      if taken >= limit {
        scene.report(name, "model \(request.ticket.model) at \(books.id): \(taken) of \(limit) taken")
      }
    }
    let tenant = witness.tenants[request.tenant]
    if let limit = tenant.books.limits.concurrency, tenant.books.inUse >= limit {
      scene.report(name, "tenant \(tenant.id): \(tenant.books.inUse) of \(limit) taken")
    }
    if !request.route.contains(provider) {
      scene.report(name, "request \(index) granted at \(books.id), not its route")
    }
  }
}

/// No bucket grants more than it has, by the checker's own account of every grant and settlement.
final class BucketChecker: InvariantChecker {
  static let name = "bucket_balance"
  var name: String { Self.name }

  func willGrant(_ grant: Grant, request index: Int, provider: Int, _ scene: Scene) {
    let witness = scene.witness
    let request = witness.requests[index]
    let charges = witness.charges(grant, request: index, provider: provider)
    let kept = witness.isSoftened(grant, request: index) ? 0 : witness.reservedBasisPoints(above: request.band)
    func check(_ what: @autoclosure () -> String, _ books: Witness.Books, _ charge: Charge, kept: Int64) {
      guard books.hasBuckets else { return }
      for position in 0..<4 {
        guard let bucket = books.most.byDimension[position], charge[position] > 0 else { continue }
        // A request larger than its band can ever get needs only what the band can get.
        let reach = bucket.capacity - bucket.capacity * kept / 10_000
        if !bucket.covers(min(charge[position], max(reach, 0)), at: witness.now, slack: 1) {
          scene.report(
            name,
            "\(what()) \(Dimension.allCases[position].name): request \(index) was granted \(charge[position]), "
              + "at most \(bucket.available(at: witness.now)) of \(bucket.capacity) are there")
        }
      }
    }
    let books = witness.providers[provider]
    check("provider \(books.id)", books.own, charges.provider, kept: kept)
    if let model = witness.modelIndex(provider, request.ticket.model) {
      check("model \(request.ticket.model)", books.models[model], charges.provider, kept: kept)
    }
    check("tenant \(request.ticket.tenant)", witness.tenants[request.tenant].books, charges.tenant, kept: 0)
    // Nothing has been learned for the model yet; a reservation below the estimate would hide an overshoot from the
    // account above.
    if scene.scenario.expectations.noRefusals, grant.reservedInput < request.ticket.estimatedInput {
      scene.report(
        name, "request \(index): \(grant.reservedInput) reserved, estimated \(request.ticket.estimatedInput)")
    }
  }
}

/// Queues stay within their bounds, in number and in bytes, and requests are refused for a full queue only when it is
/// full.
final class QueueBoundChecker: InvariantChecker {
  static let name = "queue_bounds"
  var name: String { Self.name }

  func willConclude(_ conclusion: Conclusion, request index: Int, _ scene: Scene) {
    guard conclusion.outcome == .rejectedQueueFull else { return }
    let witness = scene.witness
    let request = witness.requests[index]
    // The request itself counts as queued until it is concluded.
    let isFull = witness.queuedByBand[request.band] > witness.policy.bands[request.band].queueLimit
    if !isFull, witness.queuedBytes <= witness.policy.queueBytes {
      scene.report(name, "request \(index) was told that the queue is full, it was not")
    }
  }

  func didHandle(_ snapshot: AdmissionSnapshot?, _ scene: Scene) {
    let witness = scene.witness
    guard witness.leases.isEmpty || !witness.queued.isEmpty else { return }
    for band in 0..<3 {
      let limit = witness.policy.bands[band].queueLimit
      // Requests that came back from a failed attempt, or were queued before a bound was lowered, stay in the queue.
      let newest = witness.queued.last.map { witness.requests[$0] }
      if witness.queuedByBand[band] > limit, let newest, newest.band == band, newest.submittedAt == witness.now,
        newest.requeues == 0
      {
        scene.report(name, "band \(band) holds \(witness.queuedByBand[band]), at most \(limit) may wait")
      }
    }
    if witness.queuedBytes > witness.policy.queueBytes, let newest = witness.queued.last,
      witness.requests[newest].submittedAt == witness.now, witness.requests[newest].requeues == 0
    {
      scene.report(name, "\(witness.queuedBytes) bytes wait, at most \(witness.policy.queueBytes) may")
    }
  }
}

/// No request waits longer than its bound: the band's `max_wait` or the client's deadline, whichever is first.
final class WaitChecker: InvariantChecker {
  static let name = "bounded_wait"
  var name: String { Self.name }

  func didHandle(_ snapshot: AdmissionSnapshot?, _ scene: Scene) {
    for index in scene.witness.queued where scene.witness.requests[index].latestBound < scene.witness.now {
      scene.report(name, "request \(index) still waits, its bound was \(scene.witness.requests[index].latestBound)")
    }
  }
}

/// The storage of the queues is bounded by the number of queued requests, and is given back when they are empty.
final class StorageChecker: InvariantChecker {
  static let name = "storage_bounded"
  var name: String { Self.name }
  private var peak = 0

  func didHandle(_ snapshot: AdmissionSnapshot?, _ scene: Scene) {
    peak = max(peak, scene.witness.queued.count + scene.witness.leases.count)
    guard let snapshot else { return }
    let live = scene.witness.queued.count + scene.witness.leases.count
    if snapshot.queueStorage > 4 * live + 64 {
      scene.report(name, "\(snapshot.queueStorage) slots for \(live) requests")
    }
  }

  func finish(_ snapshot: AdmissionSnapshot, _ scene: Scene) {
    if snapshot.queueStorage > 64 { scene.report(name, "\(snapshot.queueStorage) slots are kept after the end") }
    if snapshot.queuedBytes != 0 { scene.report(name, "\(snapshot.queuedBytes) bytes are held after the end") }
    if snapshot.queuedByBand != [0, 0, 0] { scene.report(name, "queues are not empty after the end") }
  }
}

/// After a drain has begun no new request is granted, and its end is reported once, when nothing is left.
final class DrainChecker: InvariantChecker {
  static let name = "drain"
  var name: String { Self.name }
  var seesFreeCalls: Bool { true }

  func willGrant(_ grant: Grant, request index: Int, provider: Int, _ scene: Scene) {
    if scene.witness.requests[index].submittedWhileDraining {
      scene.report(name, "request \(index) came after the drain began and was granted")
    }
  }

  func didHandle(_ snapshot: AdmissionSnapshot?, _ scene: Scene) {
    let witness = scene.witness
    let isEmpty = witness.queued.isEmpty && witness.leases.isEmpty
    if witness.drainedCount > 1 { scene.report(name, "drained \(witness.drainedCount) times") }
    if witness.drainedCount == 1, !witness.isDraining { scene.report(name, "drained without having been asked") }
    if witness.isDraining, isEmpty, witness.drainedCount == 0 { scene.report(name, "empty, and not told so") }
    if let snapshot, snapshot.isDraining != witness.isDraining { scene.report(name, "isDraining is wrong") }
  }

  func finish(_ snapshot: AdmissionSnapshot, _ scene: Scene) {
    if scene.witness.drainedCount != 1 { scene.report(name, "drained \(scene.witness.drainedCount) times at the end") }
  }
}

/// A grant uses a provider and a key of the policy in force, and keys keep their own limits.
final class TargetChecker: InvariantChecker {
  static let name = "known_targets"
  var name: String { Self.name }

  func willGrant(_ grant: Grant, request index: Int, provider: Int, _ scene: Scene) {
    guard let rules = scene.witness.policy.providers.first(where: { $0.id == grant.provider }) else {
      return scene.report(name, "request \(index) granted at \(grant.provider), which the policy does not have")
    }
    guard let id = grant.key else {
      if !rules.keys.isEmpty { scene.report(name, "request \(index) granted at \(rules.id) without a key") }
      return
    }
    guard let key = rules.keys.first(where: { $0.id == id }) else {
      return scene.report(name, "request \(index) granted by key \(id), which \(rules.id) does not have")
    }
    let model = scene.witness.requests[index].ticket.model
    if !key.models.isEmpty, !key.models.contains(where: { $0.matches(model) }) {
      scene.report(name, "request \(index) for \(model) granted by key \(id), which is not for it")
    }
    let shared = rules.quota == .perKey ? rules.limits.concurrency : nil
    guard let limit = [key.limits.concurrency, shared].compactMap({ $0 }).min() else { return }
    let running = scene.witness.leases.values.count { $0.provider == provider && $0.key == id && !$0.isFree }
    if running >= limit {
      scene.report(name, "key \(id) of \(rules.id): \(running) of \(limit) taken, one more granted")
    }
  }
}
