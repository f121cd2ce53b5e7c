// What somebody who sees every event and every action knows: who waits, who runs, which permits are taken, and what
// each bucket can
// hold at most and at least. Kept from the outside, so that it can contradict the core. The checkers read it.
import AdmissionCore
import PolicyLab

public final class Witness {
  public enum Phase: Sendable { case queued, running, concluded }

  public struct Request {
    public let ticket: Ticket
    public internal(set) var band: Int
    public let tenant: Int
    /// One number for each (band, tenant, session).
    public internal(set) var lane: Int
    public let route: [Int]
    public let order: Int
    public let submittedAt: Instant
    public internal(set) var phase = Phase.queued
    /// The earliest and the latest instant at which its wait may be ended for being too long.
    public internal(set) var earliestBound: Instant
    public internal(set) var latestBound: Instant
    public internal(set) var earliestPromotion: Instant
    public internal(set) var latestPromotion: Instant
    public internal(set) var requeues = 0
    /// When the checkers may be sure that its back-off is over.
    public internal(set) var notBefore: Instant?
    public internal(set) var grants = 0
    public internal(set) var clientLeft = false
    public internal(set) var lastVerdict: Verdict?
    public internal(set) var lease: LeaseID?
    public internal(set) var submittedWhileDraining = false
    public internal(set) var grantedAt: Instant?
    /// What its last grant was expected to cost, and what its attempts have really cost, in tokens.
    public internal(set) var expected: Int64 = 0
    public internal(set) var spent: Int64 = 0
    public internal(set) var outcome: Outcome?
  }

  struct Lease {
    var request: Int
    var provider: Int
    var key: KeyID?
    var model: Int?
    var tenant: Int
    var band: Int
    /// Taken from the provider and the model, and from the tenant.
    var charge: Charge
    var tenantCharge: Charge
    /// The provider keeps what it took at the door, whatever the call really costs.
    var keepsCharge: Bool
    /// Charged to the low books since, for output beyond the reserve.
    var extra = Charge(requests: 0, input: 0, output: 0)
  }

  /// Books of a provider, one of its models, or a tenant.
  struct Books {
    var limits: Limits
    var inUse = 0
    /// Freed permits that still count because of `settleLag`.
    var lagging = 0
    /// What the buckets can hold at most, and at least.
    var most: BucketModels
    var least: BucketModels
    var hasBuckets: Bool

    init(_ limits: Limits, at now: Instant) {
      self.limits = limits
      most = BucketModels(limits, at: now)
      least = most
      hasBuckets = !most.isEmpty
    }
    mutating func replace(_ new: Limits, at now: Instant) {
      if new == limits { return }
      limits = new
      most.resizeGenerously(to: new, at: now)
      // Nothing is sure after a change but that the bucket is not below empty by more than it was.
      least = BucketModels(new, at: now)
      for index in 0..<4 {
        if let capacity = least.byDimension[index]?.capacity { least.byDimension[index]?.take(capacity * 2, at: now) }
      }
      hasBuckets = !most.isEmpty
    }
  }

  struct ProviderBooks {
    var id: ProviderID
    var own: Books
    var inUseByBand = [0, 0, 0]
    var models: [Books]
    var laggards: [(until: Instant, band: Int, model: Int?)] = []
    var policy: ProviderPolicy
    /// Something happened (failures, refusals, learned limits) after which only the core knows what is usable.
    var isUncertain = false
  }

  public internal(set) var now: Instant
  public internal(set) var policy: AdmissionPolicy
  public internal(set) var requests: [Request] = []
  /// Indices into `requests`, in order of arrival.
  public internal(set) var queued: [Int] = []
  public internal(set) var queuedByBand = [0, 0, 0]
  public internal(set) var queuedBytes = 0
  public internal(set) var isDraining = false
  public internal(set) var drainedCount = 0
  public internal(set) var concluded = 0
  var providers: [ProviderBooks] = []
  var tenants: [(id: TenantID, weight: Int, books: Books)] = []
  var leases: [UInt64: Lease] = [:]
  var money: MoneyWitness
  private var laneIndex: [String: Int] = [:]
  /// Queued requests of each lane, in order of arrival.
  private(set) var lanes: [[Int]] = []
  /// Upper bound of the credit that each band has gathered by its floor share, in tokens × 10,000.
  var credit: [Int64] = [0, 0, 0]

  init(policy: AdmissionPolicy, at now: Instant) {
    self.now = now
    self.policy = policy
    money = MoneyWitness(policy: policy)
    providers = policy.providers.map { provider in
      ProviderBooks(
        id: provider.id, own: Books(Self.ownLimits(provider), at: now),
        models: provider.modelLimits.map { Books($0.limits, at: now) }, policy: provider,
        isUncertain: provider.quota == .perKey && !provider.keys.isEmpty || provider.ramp > .zero)
    }
    for tenant in policy.tenants { tenants.append((tenant.id, tenant.weight, Books(tenant.limits, at: now))) }
  }

  /// Where each key has the limits for itself, the provider has none.
  private static func ownLimits(_ provider: ProviderPolicy) -> Limits {
    provider.quota == .perKey && !provider.keys.isEmpty ? Limits() : provider.limits
  }

  // MARK: - Names

  func providerIndex(_ id: ProviderID) -> Int? { providers.firstIndex { $0.id == id } }

  func tenantIndex(_ id: TenantID) -> Int {
    if let known = tenants.firstIndex(where: { $0.id == id }) { return known }
    let template = policy.tenantTemplate
    tenants.append((id, template?.weight ?? 1, Books(template?.limits ?? Limits(), at: now)))
    return tenants.count - 1
  }

  /// The simulation names requests by position.
  func index(of id: RequestID) -> Int? {
    let position = Int(id.low) - 1
    return requests.indices.contains(position) ? position : nil
  }

  func modelIndex(_ provider: Int, _ model: String) -> Int? {
    let limits = providers[provider].policy.modelLimits
    return limits.isEmpty ? nil : limits.firstIndex { $0.models.matches(model) }
  }

  // MARK: - Events

  func moved(to instant: Instant) {
    now = instant
    for index in providers.indices where !providers[index].laggards.isEmpty {
      for laggard in providers[index].laggards where laggard.until <= now {
        providers[index].own.lagging -= 1
        if let model = laggard.model { providers[index].models[model].lagging -= 1 }
      }
      providers[index].laggards.removeAll { $0.until <= now }
    }
  }

  func submitted(_ ticket: Ticket) {
    let band = Int(ticket.priority.rawValue)
    let tenant = tenantIndex(ticket.tenant)
    let lane = lane(of: ticket, band: band)
    let rules = policy.bands[band]
    let bound = min(now + rules.maxWait, ticket.deadline ?? .distantFuture)
    let promotion = now + rules.promoteAfter
    var request = Request(
      ticket: ticket, band: band, tenant: tenant, lane: lane,
      route: ticket.candidates.compactMap { providerIndex($0.provider) }, order: requests.count, submittedAt: now,
      earliestBound: bound, latestBound: bound, earliestPromotion: promotion, latestPromotion: promotion)
    request.submittedWhileDraining = isDraining
    requests.append(request)
    enqueue(requests.count - 1)
  }

  func cancelled(_ id: RequestID) {
    guard let index = index(of: id), requests[index].phase != .concluded else { return }
    requests[index].clientLeft = true
  }

  private func lane(of ticket: Ticket, band: Int) -> Int {
    let name = "\(band)/\(ticket.tenant)/\(ticket.session)"
    if let known = laneIndex[name] { return known }
    laneIndex[name] = lanes.count
    lanes.append([])
    return lanes.count - 1
  }

  /// A budget has made the request's class low, just after it came.
  func demoted(_ index: Int) {
    dequeue(index)
    let rules = policy.bands[2]
    let bound = min(now + rules.maxWait, requests[index].ticket.deadline ?? .distantFuture)
    requests[index].band = 2
    requests[index].lane = lane(of: requests[index].ticket, band: 2)
    requests[index].earliestBound = bound
    requests[index].latestBound = bound
    requests[index].earliestPromotion = now + rules.promoteAfter
    requests[index].latestPromotion = now + rules.promoteAfter
    enqueue(index)
  }

  func enqueue(_ index: Int) {
    requests[index].phase = .queued
    queued.append(index)
    // Who comes back stands in front of his lane.
    let lane = requests[index].lane
    lanes[lane].insert(index, at: requests[index].requeues > 0 ? 0 : lanes[lane].count)
    queuedByBand[requests[index].band] += 1
    queuedBytes += requests[index].ticket.heldBytes
  }

  func dequeue(_ index: Int) {
    Self.remove(index, from: &queued)
    Self.remove(index, from: &lanes[requests[index].lane])
    queuedByBand[requests[index].band] -= 1
    queuedBytes -= requests[index].ticket.heldBytes
  }

  /// Those who came back from an attempt stand at the end, out of order; the others are sorted.
  private static func remove(_ index: Int, from list: inout [Int]) {
    var low = 0
    var high = list.count
    while low < high {
      let middle = (low + high) / 2
      if list[middle] < index { low = middle + 1 } else { high = middle }
    }
    if low < list.count, list[low] == index {
      list.remove(at: low)
    } else if let position = list.firstIndex(of: index) {
      list.remove(at: position)
    }
  }

  func progressed(_ id: LeaseID, _ progress: Progress) {
    guard let lease = leases[id.rawValue] else { return }
    money.progressed(id, progress)
    let seen = Charge(
      requests: lease.charge.requests, input: max(lease.charge.input, progress.inputTokens?.value ?? 0),
      output: max(lease.charge.output, progress.outputTokens.value))
    let extra = seen - lease.charge
    if extra == lease.extra { return }
    let more = extra - lease.extra
    leases[id.rawValue]?.extra = extra
    change(lease) { books, _, now in books.least.take(more, at: now) }
  }

  /// Does the same to each of the books that the lease draws on; `body` is told what it took there.
  private func change(_ lease: Lease, _ body: (inout Books, Charge, Instant) -> Void) {
    if providers[lease.provider].own.hasBuckets { body(&providers[lease.provider].own, lease.charge, now) }
    if let model = lease.model, providers[lease.provider].models[model].hasBuckets {
      body(&providers[lease.provider].models[model], lease.charge, now)
    }
    if tenants[lease.tenant].books.hasBuckets { body(&tenants[lease.tenant].books, lease.tenantCharge, now) }
  }

  /// Returns the request whose lease it was.
  func settled(_ id: LeaseID, _ settlement: Settlement) -> Int? {
    guard let lease = leases.removeValue(forKey: id.rawValue) else { return nil }
    money.settled(id, settlement, requests[lease.request].ticket)
    requests[lease.request].lastVerdict = settlement.verdict
    correctCredit(lease, settlement.usage)
    requests[lease.request].lease = nil
    let lag = providers[lease.provider].policy.settleLag
    providers[lease.provider].own.inUse -= 1
    providers[lease.provider].inUseByBand[lease.band] -= 1
    tenants[lease.tenant].books.inUse -= 1
    if let model = lease.model { providers[lease.provider].models[model].inUse -= 1 }
    if lag > .zero {
      providers[lease.provider].laggards.append((now + lag, lease.band, lease.model))
      providers[lease.provider].own.lagging += 1
      if let model = lease.model { providers[lease.provider].models[model].lagging += 1 }
    }
    switch settlement.verdict {
    case .success, .clientLeft, .clientError: break
    default: providers[lease.provider].isUncertain = true
    }
    guard let usage = settlement.usage else {
      // Nothing charged that we know of: at most all tokens come back, at least nothing does.
      change(lease) { books, taken, now in
        var back = taken
        if settlement.wasSent { back.requests = 0 }
        books.most.give(books.most.clamped(back), at: now)
      }
      return lease.request
    }
    let actual = Charge(requests: 1, input: usage.inputTokens.value, output: usage.outputTokens.value)
    var kept = actual
    if lease.keepsCharge {
      kept.output = lease.charge.output
      kept.tokens = lease.charge.tokens
    }
    let atTenant = lease.tenantCharge
    change(lease) { books, taken, now in
      let due = taken == atTenant ? actual : kept
      books.most.settle(taken: books.most.clamped(taken), actual: due, at: now)
      books.least.settle(taken: taken, actual: due - lease.extra, at: now)
    }
    return lease.request
  }

  /// The difference to what was expected moves every credit that the grant has moved; only what adds to one counts here.
  private func correctCredit(_ lease: Lease, _ usage: Usage?) {
    let real = ((usage?.inputTokens ?? 0) + (usage?.outputTokens ?? 0)).value
    let expected = requests[lease.request].expected
    requests[lease.request].spent += real
    for band in 0..<3 where real > expected { credit[band] += (real - expected) * largestShare(band) }
    if real < expected { credit[lease.band] += 10_000 * (expected - real) }
  }

  private func largestShare(_ band: Int) -> Int64 {
    Int64(max(policy.bands[band].shareBasisPoints, policy.bands[band].promotedShareBasisPoints))
  }

  /// What a band is credited with for each grant, by its oldest request that may be promoted now.
  func presentShare(_ band: Int) -> Int64 {
    // The oldest one is the head of its lane.
    let isOld = lanes.contains { members in
      members.first.map { requests[$0].band == band && requests[$0].earliestPromotion <= now } ?? false
    }
    return isOld ? largestShare(band) : Int64(policy.bands[band].shareBasisPoints)
  }

  /// What is learned from an answer's head only the core knows.
  func limitsObserved(_ id: LeaseID) {
    if let lease = leases[id.rawValue] { providers[lease.provider].isUncertain = true }
  }

  /// From here on only the core knows what is usable.
  func operatorCommanded() {
    for index in providers.indices { providers[index].isUncertain = true }
  }

  func policyReplaced(_ new: AdmissionPolicy) {
    policy = new
    money.replaced(new)
    for index in providers.indices where !new.providers.contains(where: { $0.id == providers[index].id }) {
      providers[index].isUncertain = true
    }
    for provider in new.providers {
      guard let index = providerIndex(provider.id) else { continue }
      providers[index].policy = provider
      providers[index].own.replace(Self.ownLimits(provider), at: now)
      if provider.modelLimits.count == providers[index].models.count {
        for (position, limits) in provider.modelLimits.enumerated() {
          providers[index].models[position].replace(limits.limits, at: now)
        }
      }
    }
    for tenant in new.tenants {
      let index = tenantIndex(tenant.id)
      tenants[index].weight = tenant.weight
      tenants[index].books.replace(tenant.limits, at: now)
    }
    for index in queued {
      let rules = new.bands[requests[index].band]
      let submitted = requests[index].submittedAt
      let bound = min(submitted + rules.maxWait, requests[index].ticket.deadline ?? .distantFuture)
      // A shorter wait may be applied to those who have waited longer than it already.
      requests[index].earliestBound = min(requests[index].earliestBound, max(bound, now))
      requests[index].latestBound = max(requests[index].latestBound, bound)
      requests[index].earliestPromotion = min(requests[index].earliestPromotion, submitted + rules.promoteAfter)
      requests[index].latestPromotion = max(requests[index].latestPromotion, submitted + rules.promoteAfter)
    }
  }

  // MARK: - Actions

  func granted(_ grant: Grant, request index: Int, provider: Int) {
    let request = requests[index]
    // Each grant made while a band waits, its own included, credits it.
    for band in 0..<3 where queuedByBand[band] > 0 {
      credit[band] += max(cost(grant), firstCost(request.ticket)) * presentShare(band)
    }
    dequeue(index)
    let charges = charges(grant, request: index, provider: provider)
    let model = modelIndex(provider, request.ticket.model)
    let lease = Lease(
      request: index, provider: provider, key: grant.key, model: model, tenant: request.tenant, band: request.band,
      charge: charges.provider, tenantCharge: charges.tenant, keepsCharge: charges.provider != charges.tenant)
    providers[provider].own.inUse += 1
    providers[provider].inUseByBand[request.band] += 1
    tenants[request.tenant].books.inUse += 1
    if let model { providers[provider].models[model].inUse += 1 }
    change(lease) { books, charge, now in
      books.most.take(books.most.clamped(charge), at: now)
      books.least.take(charge, at: now)
    }
    leases[grant.lease.rawValue] = lease
    money.granted(grant, request.ticket)
    requests[index].phase = .running
    requests[index].lease = grant.lease
    requests[index].grants += 1
    requests[index].grantedAt = now
    requests[index].expected = cost(grant)
  }

  func concluded(_ index: Int, _ outcome: Outcome) {
    if requests[index].phase == .queued { dequeue(index) }
    requests[index].phase = .concluded
    requests[index].outcome = outcome
    concluded += 1
  }

  /// A request whose lease has ended and that is not concluded waits again. Anything else is left as it is.
  func requeued(_ index: Int, notBefore: Instant) {
    guard requests[index].phase == .running, requests[index].lease == nil else { return }
    requests[index].requeues += 1
    requests[index].notBefore = notBefore
    requests[index].latestBound = max(requests[index].latestBound, now + policy.bands[requests[index].band].maxWait)
    enqueue(index)
  }

  // MARK: - Judgements

  /// What a grant takes from the provider (and its model), and from the tenant: a provider that charges the cap at the
  /// door takes the
  /// cap, and of both together the larger of cap and input, as OpenAI does.
  func charges(_ grant: Grant, request index: Int, provider: Int) -> (provider: Charge, tenant: Charge) {
    let reserved = Charge(requests: 1, input: grant.reservedInput.value, output: grant.reservedOutput.value)
    let ticket = requests[index].ticket
    guard providers[provider].policy.admissionTokens == .maxTokens, ticket.producesOutput,
      let cap = ticket.outputCap?.value
    else { return (reserved, reserved) }
    var charge = Charge(requests: 1, input: grant.reservedInput.value, output: cap)
    charge.tokens = max(cap, grant.reservedInput.value)
    return (charge, reserved)
  }

  /// True where the grant may be due to a softener that outranks the reserves of the bands above: the floor share, or that an
  /// old one of a band of which nothing runs goes where no higher one waits.
  func isSoftened(_ grant: Grant, request index: Int) -> Bool {
    let band = requests[index].band
    if credit[band] >= price(grant, request: index) { return true }
    guard requests[index].earliestPromotion <= now, let provider = providerIndex(grant.provider) else { return false }
    return providers[provider].inUseByBand[band] == 0
      && !queued.contains {
        requests[$0].band < band && isHead($0) && requests[$0].requeues == 0 && isSurelyAffordable($0)
      }
  }

  /// What a call costs by the estimate that holds before anything is learned: costs may be counted from when it was
  /// submitted.
  private func firstCost(_ ticket: Ticket) -> Int64 {
    max(1, (ticket.estimatedInput + (ticket.producesOutput ? min(ticket.outputCap ?? 512, 512) : 0)).value)
  }

  /// The least credit that may have paid for the grant, in tokens × 10,000.
  func price(_ grant: Grant, request index: Int) -> Int64 {
    min(cost(grant), firstCost(requests[index].ticket)) * 10_000
  }

  func cost(_ grant: Grant) -> Int64 { max(1, (grant.reservedInput + grant.reservedOutput).value) }

  /// More than any sensible estimate of what `request` needs.
  func generousNeed(_ request: Request) -> Charge {
    let cap = request.ticket.outputCap?.value ?? 65_536
    return Charge(
      requests: 1, input: request.ticket.estimatedInput.value * 2, output: request.ticket.producesOutput ? cap : 0)
  }

  /// Permits kept on `provider` for the bands above `band`.
  func headroom(_ provider: Int, above band: Int) -> Int {
    guard let limit = providers[provider].own.limits.concurrency else { return 0 }
    var kept = 0
    for upper in 0..<band {
      kept += max(0, reserve(of: upper, limit: limit) - providers[provider].inUseByBand[upper])
    }
    return kept
  }

  private func reserve(of band: Int, limit: Int) -> Int {
    switch policy.bands[band].reserve {
    case .share(let basisPoints): limit * basisPoints / 10_000
    case .permits(let count): min(count, limit)
    }
  }

  /// Basis points of each bucket that are kept for the bands above `band`.
  func reservedBasisPoints(above band: Int) -> Int64 {
    var sum: Int64 = 0
    for upper in 0..<band {
      if case .share(let basisPoints) = policy.bands[upper].reserve { sum += Int64(basisPoints) }
    }
    return min(sum, 10_000)
  }

  /// True only where its budgets leave enough for it beyond any doubt, and for whoever may stand before it there.
  func isSurelyAffordable(_ index: Int) -> Bool {
    if money.isIdle { return true }
    let mine = Set(money.rules(for: requests[index].ticket).map(\.account))
    return queued.allSatisfy { other in
      let ticket = requests[other].ticket
      guard other == index || money.rules(for: ticket).contains(where: { mine.contains($0.account) }) else {
        return true
      }
      return !money.mayLack(ticket, estimate: MoneyWitness.most(ticket), countingHolds: true, at: now)
    }
  }

  /// True only where the request could be granted on the provider beyond any doubt, claims aside.
  /// - Parameter atAnyCost: leaves budgets out of account.
  func isSurelyPlaceable(_ index: Int, on provider: Int, atAnyCost: Bool = false) -> Bool {
    let request = requests[index]
    if !atAnyCost, !isSurelyAffordable(index) { return false }
    if providers[provider].isUncertain || request.requeues > 0 { return false }
    if let limit = providers[provider].own.limits.concurrency {
      let taken = providers[provider].own.inUse + providers[provider].own.lagging
      if taken + 1 > limit - headroom(provider, above: request.band) { return false }
    }
    let model = modelIndex(provider, request.ticket.model)
    if let model, let limit = providers[provider].models[model].limits.concurrency {
      // The reserves may hold for the model's permits too, and all of them may be free.
      let taken = providers[provider].models[model].inUse + providers[provider].models[model].lagging
      var kept = 0
      for upper in 0..<request.band { kept += reserve(of: upper, limit: limit) }
      if taken + 1 > limit - kept { return false }
    }
    let tenant = tenants[request.tenant].books
    if let limit = tenant.limits.concurrency, tenant.inUse + providers[provider].own.lagging + 1 > limit {
      return false
    }
    let modelHasBuckets = model.map { providers[provider].models[$0].hasBuckets } ?? false
    guard tenant.hasBuckets || providers[provider].own.hasBuckets || modelHasBuckets else { return true }
    let need = generousNeed(request)
    let kept = reservedBasisPoints(above: request.band)
    if tenant.hasBuckets {
      // The tenant's units may be gathering for another of its heads.
      for other in queued where other != index && requests[other].tenant == request.tenant && isHead(other) {
        if !tenant.least.covers(generousNeed(requests[other]), at: now, slack: -1) { return false }
      }
    }
    if !tenant.least.covers(need, at: now, slack: -1, keepingBasisPoints: kept) { return false }
    if !providers[provider].own.least.covers(need, at: now, slack: -1, keepingBasisPoints: kept) { return false }
    if let model, modelHasBuckets {
      return providers[provider].models[model].least.covers(need, at: now, slack: -1, keepingBasisPoints: kept)
    }
    return true
  }

  /// True where nothing of its own lane is before it.
  func isHead(_ index: Int) -> Bool { lanes[requests[index].lane].first == index }
}
