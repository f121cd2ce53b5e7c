// What an observer of every event and action knows: which requests wait and run, which permits are taken, and the
// highest and lowest possible level of each bucket. It is kept independently of the core, so that it can contradict it.
// The checkers read it.
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
    /// When its current stay in the queue began.
    public internal(set) var queuedSince: Instant
    /// The instant from which its backoff is surely over.
    public internal(set) var notBefore: Instant?
    public internal(set) var grants = 0
    public internal(set) var clientLeft = false
    public internal(set) var lastVerdict: Verdict?
    public internal(set) var lease: LeaseID?
    public internal(set) var submittedWhileDraining = false
    public internal(set) var grantedAt: Instant?
    /// The expected cost of its last grant, and the real cost of its attempts, in tokens.
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
    /// True for a free call, which takes nothing.
    var isFree = false
    /// True once the provider has told its input.
    var isTold = false
    /// What was taken from the provider and the model, and from the tenant.
    var charge: Charge
    var tenantCharge: Charge
    /// True where the provider keeps what it charged at the start, whatever the call really costs.
    var keepsCharge: Bool
    /// What was charged to the lower bound since then, for output beyond the reservation.
    var extra = Charge(requests: 0, input: 0, output: 0)
  }

  /// The account of a provider, one of its models, or a tenant.
  struct Books {
    var limits: Limits
    var inUse = 0
    /// The number of freed permits that still count because of `settleLag`.
    var lagging = 0
    /// The highest and the lowest possible levels of the buckets.
    var most: BucketModels
    var least: BucketModels
    var hasBuckets: Bool

    init(_ limits: Limits, at now: Instant) {
      self.limits = limits
      most = BucketModels(limits, at: now)
      least = most
      hasBuckets = !most.isEmpty
    }
    /// Raises the upper bound to `units`, because the provider said that these may be left.
    mutating func raise(_ dimension: Int, to units: Int64, at now: Instant) {
      guard let there = most.byDimension[dimension]?.available(at: now), there < units else { return }
      most.byDimension[dimension]?.give(units - there, at: now)
    }
    mutating func replace(_ new: Limits, at now: Instant) {
      if new == limits { return }
      limits = new
      most.resizeGenerously(to: new, at: now)
      // After a change it is only sure that the bucket's debt is not larger than before.
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
    /// True where only the core knows what is usable: after an operator's order, with a quota for each key, or with
    /// learned numbers.
    var isLost = false
    /// True while the policy does not name it.
    var isGone = false
    var trouble = ProviderTrouble()
    /// Free calls that run, and whether the provider may have asked them to wait.
    var freeInUse = 0
    var mayBeShutForFree = false

    /// A policy names it again, and the core may have forgotten what was taken from it.
    mutating func comeBack(at now: Instant) {
      isGone = false
      own.most = BucketModels(own.limits, at: now)
      for index in models.indices { models[index].most = BucketModels(models[index].limits, at: now) }
    }

    /// True where only the core knows what is usable, with any key.
    var isUncertain: Bool { isLost || trouble.mayBeClosed }
    /// True where it may be blocked for a model, so that no free permit there is sure.
    func mayBeShut(for model: String) -> Bool { isUncertain || !trouble.hasUsableKey(for: model, policy) }
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
  var prompts = PromptBook()
  var firstBytes = FirstByteBook()
  private var laneIndex: [String: Int] = [:]
  /// Queued requests of each lane, in order of arrival.
  private(set) var lanes: [[Int]] = []
  /// An upper bound of the credit that each band has from its floor share, in tokens × 10,000.
  var credit: [Int64] = [0, 0, 0]

  init(policy: AdmissionPolicy, at now: Instant) {
    self.now = now
    self.policy = policy
    money = MoneyWitness(policy: policy)
    providers = policy.providers.map { provider in
      ProviderBooks(
        id: provider.id, own: Books(Self.ownLimits(provider), at: now),
        models: provider.modelLimits.map { Books($0.limits, at: now) }, policy: provider,
        isLost: provider.quota == .perKey && !provider.keys.isEmpty)
    }
    for tenant in policy.tenants { tenants.append((tenant.id, tenant.weight, Books(tenant.limits, at: now))) }
  }

  /// Where each key has its own limits, the provider has none.
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
      earliestBound: bound, latestBound: bound, earliestPromotion: promotion, latestPromotion: promotion,
      queuedSince: now)
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
    // Free calls stand in no lane.
    if ticket.isFree { return -1 }
    if let known = laneIndex[name] { return known }
    laneIndex[name] = lanes.count
    lanes.append([])
    return lanes.count - 1
  }

  /// A budget has lowered the request's class just after it came.
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
    // A request that comes back goes to the front of its lane.
    let lane = requests[index].lane
    if lane >= 0 { lanes[lane].insert(index, at: requests[index].requeues > 0 ? 0 : lanes[lane].count) }
    queuedByBand[requests[index].band] += 1
    queuedBytes += requests[index].ticket.keptBytes
  }

  func dequeue(_ index: Int) {
    Self.remove(index, from: &queued)
    if requests[index].lane >= 0 { Self.remove(index, from: &lanes[requests[index].lane]) }
    queuedByBand[requests[index].band] -= 1
    queuedBytes -= requests[index].ticket.keptBytes
  }

  /// Requests that came back from an attempt are at the end, unsorted; the others are sorted.
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
    guard var lease = leases[id.rawValue], !lease.isFree else { return }
    money.progressed(id, progress)
    if let input = progress.inputTokens, !lease.isTold {
      lease.isTold = true
      leases[id.rawValue]?.isTold = true
      told(
        Usage(
          inputTokens: input, cacheReadTokens: min(progress.cacheReadTokens, input),
          cacheWriteTokens: progress.cacheWriteTokens), of: lease)
    }
    if let input = progress.inputTokens {
      returnInput(of: &lease, told: counted(input, cached: progress.cacheReadTokens, at: lease.provider), all: input)
      leases[id.rawValue] = lease
    }
    let all = progress.inputTokens?.value ?? 0
    let input = max(lease.charge.input, all)
    let seen = Charge(
      requests: lease.charge.requests, input: input,
      output: max(lease.charge.output, progress.outputTokens.value))
    let extra = seen - lease.charge
    if extra == lease.extra { return }
    let more = extra - lease.extra
    leases[id.rawValue]?.extra = extra
    change(lease) { books, _, _ in books.least.take(more, at: now) }
  }

  /// An answer has told its call's usage.
  private func told(_ usage: Usage, of lease: Lease) {
    let request = requests[lease.request]
    prompts.told(
      usage, of: request.ticket, at: providers[lease.provider].policy, key: lease.key, began: request.grantedAt ?? now)
  }

  /// What a provider counts of an input: a provider that counts what is produced does not count what it had cached.
  private func counted(_ input: TokenCount, cached: TokenCount, at provider: Int) -> TokenCount {
    providers[provider].policy.admissionTokens == .produced ? input - cached : input
  }

  /// The provider has told the input of a running call: what was reserved beyond it comes back at once.
  private func returnInput(of lease: inout Lease, told: TokenCount, all: TokenCount) {
    func lowered(_ charge: Charge, to input: Int64) -> Charge {
      guard input < charge.input else { return charge }
      var result = charge
      result.input = input
      if !lease.keepsCharge { result.tokens -= charge.input - input }
      return result
    }
    let before = lease
    lease.charge = lowered(lease.charge, to: told.value)
    lease.tenantCharge = Charge(
      requests: 1, input: min(before.tenantCharge.input, all.value), output: before.tenantCharge.output)
    let (atProvider, atTenant) = (lease.charge, lease.tenantCharge)
    change(before) { books, taken, isTenant in
      let left = isTenant ? atTenant : atProvider
      books.most.settle(taken: books.most.clamped(taken), actual: books.most.clamped(left), at: now)
      books.least.settle(taken: taken, actual: left, at: now)
    }
  }

  /// Applies `body` to each account that the lease draws on, with what the lease took there, and whether it is the tenant's.
  private func change(_ lease: Lease, _ body: (inout Books, Charge, Bool) -> Void) {
    if providers[lease.provider].own.hasBuckets { body(&providers[lease.provider].own, lease.charge, false) }
    if let model = lease.model, providers[lease.provider].models[model].hasBuckets {
      body(&providers[lease.provider].models[model], lease.charge, false)
    }
    if tenants[lease.tenant].books.hasBuckets { body(&tenants[lease.tenant].books, lease.tenantCharge, true) }
  }

  /// Returns the request of the lease.
  func settled(_ id: LeaseID, _ settlement: Settlement) -> Int? {
    guard let lease = leases.removeValue(forKey: id.rawValue) else { return nil }
    money.settled(id, settlement, requests[lease.request].ticket)
    requests[lease.request].lastVerdict = settlement.verdict
    if lease.isFree {
      requests[lease.request].lease = nil
      providers[lease.provider].freeInUse -= 1
      take(settlement.verdict, of: lease)
      return lease.request
    }
    correctCredit(lease, settlement.usage)
    if settlement.verdict == .success, let usage = settlement.usage, !usage.isEstimated { told(usage, of: lease) }
    firstBytes.ended(
      requests[lease.request].ticket, settlement, at: providers[lease.provider].id,
      began: requests[lease.request].grantedAt ?? now, now)
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
    take(settlement.verdict, of: lease)
    guard let usage = settlement.usage else {
      // It is not known what was charged: between no tokens and all tokens come back.
      change(lease) { books, taken, _ in
        var back = taken
        if settlement.wasSent { back.requests = 0 }
        books.most.give(books.most.clamped(back), at: now)
      }
      return lease.request
    }
    let actual = Charge(requests: 1, input: usage.inputTokens.value, output: usage.outputTokens.value)
    var kept = Charge(
      requests: 1, input: counted(usage.inputTokens, cached: usage.cacheReadTokens, at: lease.provider).value,
      output: usage.outputTokens.value)
    if lease.keepsCharge {
      kept.output = lease.charge.output
      kept.tokens = lease.charge.tokens
    }
    change(lease) { books, taken, isTenant in
      let due = isTenant ? actual : kept
      books.most.settle(taken: books.most.clamped(taken), actual: due, at: now)
      books.least.settle(taken: taken, actual: due - lease.extra, at: now)
    }
    return lease.request
  }

  /// The difference from the expected cost changes every credit that the grant has changed; only increases count here.
  private func correctCredit(_ lease: Lease, _ usage: Usage?) {
    let input = usage.map { counted($0.inputTokens, cached: $0.cacheReadTokens, at: lease.provider) } ?? 0
    let real = (input + (usage?.outputTokens ?? 0)).value
    let expected = requests[lease.request].expected
    requests[lease.request].spent += real
    for band in 0..<3 where real > expected { credit[band] += (real - expected) * largestShare(band) }
    if real < expected { credit[lease.band] += 10_000 * (expected - real) }
  }

  private func largestShare(_ band: Int) -> Int64 {
    Int64(max(policy.bands[band].shareBasisPoints, policy.bands[band].promotedShareBasisPoints))
  }

  /// The share with which a band is credited for each grant: the promoted share where its oldest request may be
  /// promoted now.
  func presentShare(_ band: Int) -> Int64 {
    // The oldest request is the head of its lane.
    let isOld = lanes.contains { members in
      members.first.map { requests[$0].band == band && requests[$0].earliestPromotion <= now } ?? false
    }
    return isOld ? largestShare(band) : Int64(policy.bands[band].shareBasisPoints)
  }

  private func take(_ verdict: Verdict, of lease: Lease) {
    let request = requests[lease.request]
    let provider = providers[lease.provider].policy
    // A model with its own breaker has its own count.
    let breaker = lease.model.flatMap { provider.modelLimits[$0].breaker } ?? provider.breaker
    let counted = lease.model.flatMap { provider.modelLimits[$0].breaker == nil ? nil : $0 }
    switch verdict {
    case .clientLeft, .clientError: break
    case .throttled where lease.isFree: providers[lease.provider].mayBeShutForFree = true
    case .failed(.some, _) where lease.isFree: providers[lease.provider].mayBeShutForFree = true
    case .success where lease.isFree:
      // It says nothing of pauses that others were asked for.
      providers[lease.provider].trouble.succeeded(
        model: "", key: lease.key, counted: counted, grantedAt: request.grantedAt ?? now)
    case .success:
      providers[lease.provider].trouble.succeeded(
        model: request.ticket.model, key: lease.key, counted: counted, grantedAt: request.grantedAt ?? now)
    case .failed(nil, _): providers[lease.provider].trouble.failed(counted: counted, breaker)
    case .throttled:
      providers[lease.provider].trouble.throttled(model: request.ticket.model, key: lease.key, at: now)
      if provider.learnLimits { providers[lease.provider].trouble.learned(isExact: !hasNumbers(lease.provider)) }
    case .keyRefused:
      if let key = lease.key {
        providers[lease.provider].trouble.keyRefused(key, at: now)
      } else {
        providers[lease.provider].isLost = true
      }
    default: providers[lease.provider].isLost = true
    }
  }

  /// True where more than a concurrency limit may be learned about the provider.
  private func hasNumbers(_ provider: Int) -> Bool {
    providers[provider].own.hasBuckets || !providers[provider].models.isEmpty
      || !providers[provider].policy.keys.isEmpty
  }

  /// Only the core knows what is learned from an answer's head.
  func limitsObserved(_ id: LeaseID, _ limits: ObservedLimits) {
    guard let lease = leases[id.rawValue], !lease.isFree, providers[lease.provider].policy.learnLimits else { return }
    providers[lease.provider].isLost = true
    // The core's level may follow the provider's, also upwards.
    for reading in limits.readings {
      guard let remaining = reading.remaining else { continue }
      providers[lease.provider].own.raise(Int(reading.dimension.rawValue), to: remaining, at: now)
      if let model = lease.model {
        providers[lease.provider].models[model].raise(Int(reading.dimension.rawValue), to: remaining, at: now)
      }
    }
  }

  /// Takes over the learned limits from a snapshot of the core.
  func told(_ snapshot: AdmissionSnapshot) {
    for said in snapshot.providers {
      if let index = providerIndex(said.id) { providers[index].trouble.told(said.learned) }
    }
  }

  /// From here on only the core knows what is usable.
  func operatorCommanded() {
    for index in providers.indices { providers[index].isLost = true }
  }

  func policyReplaced(_ new: AdmissionPolicy) {
    policy = new
    money.replaced(new)
    for index in providers.indices where !new.providers.contains(where: { $0.id == providers[index].id }) {
      providers[index].isLost = true
      providers[index].isGone = true
    }
    for provider in new.providers {
      guard let index = providerIndex(provider.id) else { continue }
      providers[index].policy = provider
      if providers[index].isGone { providers[index].comeBack(at: now) }
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
      // A shorter wait may be applied to requests that have already waited longer.
      requests[index].earliestBound = min(requests[index].earliestBound, max(bound, now))
      requests[index].latestBound = max(requests[index].latestBound, bound)
      requests[index].earliestPromotion = min(requests[index].earliestPromotion, submitted + rules.promoteAfter)
      requests[index].latestPromotion = max(requests[index].latestPromotion, submitted + rules.promoteAfter)
    }
  }

  // MARK: - Actions

  func granted(_ grant: Grant, request index: Int, provider: Int) {
    let request = requests[index]
    if request.ticket.isFree {
      dequeue(index)
      providers[provider].freeInUse += 1
      var lease = Lease(
        request: index, provider: provider, key: grant.key, model: modelIndex(provider, request.ticket.model),
        tenant: request.tenant, band: request.band, charge: Charge(requests: 0, input: 0, output: 0),
        tenantCharge: Charge(requests: 0, input: 0, output: 0), keepsCharge: false)
      lease.isFree = true
      leases[grant.lease.rawValue] = lease
      return started(index, grant)
    }
    // Each grant made while a band waits, including its own, credits the band.
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
    change(lease) { books, charge, _ in
      books.most.take(books.most.clamped(charge), at: now)
      books.least.take(charge, at: now)
    }
    leases[grant.lease.rawValue] = lease
    money.granted(grant, request.ticket)
    started(index, grant)
  }

  private func started(_ index: Int, _ grant: Grant) {
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
    requests[index].queuedSince = now
    requests[index].latestBound = max(requests[index].latestBound, now + policy.bands[requests[index].band].maxWait)
    enqueue(index)
  }
}
