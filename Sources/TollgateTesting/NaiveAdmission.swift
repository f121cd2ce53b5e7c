// The rules of dispatch written down as plainly as possible: lists, full scans, no cleverness. It is what the checkers
// are tried on
// (they must find nothing in it), and what the broken subjects are made of: each `Defect` spoils it in one way. It
// knows no
// failures: every attempt that does not succeed ends its request.
import AdmissionCore
import PolicyLab

/// What a type of subject is spoiled by; the types exist because `AdmissionSubject` is made by `init`.
public protocol DefectChoice { static var defect: Defect? { get } }
public enum NoDefect: DefectChoice { public static var defect: Defect? { nil } }

public struct NaiveAdmission<Choice: DefectChoice>: AdmissionSubject {
  struct Entry {
    var ticket: Ticket
    var band: Int
    var since: Instant
    var order: Int
    var bound: Instant
  }
  struct Running {
    var entry: Entry
    var provider: ProviderID
    var charge: Charge
    var expected: Charge
    var counted: Counted
    var leaks = false
    var key: KeyID?
    var began: Instant
    /// True once the provider has told its input.
    var isTold = false
  }
  /// What a grant was counted as in the order of turns.
  struct Counted {
    var cost: Int64
    var ofTenant = NaiveTurns.Charge()
    var ofSession = NaiveTurns.Charge()
    /// By band: the basis points of its cost that it was credited with.
    var shares: [Int64] = [0, 0, 0]
    var isFloorTurn = false
  }
  struct Pool {
    var id: String
    var limits: Limits
    var inUse = [0, 0, 0]
    var buckets: BucketModels
    /// Until when each freed permit still counts.
    var lagging: [Instant] = []
    var total: Int { inUse[0] + inUse[1] + inUse[2] + lagging.count }
  }
  struct Lane: Hashable {
    var band: Int
    var tenant: TenantID
    var session: SessionID
  }

  var policy: AdmissionPolicy
  var queue: [Entry] = []
  var running: [UInt64: Running] = [:]
  var pools: [Pool] = []
  var turns: [String: NaiveTurns] = [:]
  private var credit: [Int64] = [0, 0, 0]
  private var nextLease: UInt64 = 1
  private var nextOrder = 0
  var isDraining = false
  private var hasDrained = false
  var now: Instant
  var refillStretch: Int64 { defect == .refillsTwiceAsFast ? 2 : 1 }
  var kept = 0
  private var noise: UInt64
  var prompts = PromptBook()
  var firstBytes = FirstByteBook()
  /// How many of the last grants of a tenant's class went out of turn in a row (rule 2c).
  var hurriedInARow: [String: Int] = [:]
  /// A request that has just come while nobody waited: it has no turn, and is charged none.
  private var coming: Int?

  var defect: Defect? { Choice.defect }

  public init(policy: AdmissionPolicy, seed: UInt64, at now: Instant) {
    self.policy = policy
    self.now = now
    noise = Choice.defect == .isNotDeterministic ? UInt64.random(in: 0...UInt64.max) : seed
  }

  // MARK: - Pools

  /// The instant that the buckets believe in.
  var bucketTime: Instant { Instant(nanoseconds: now.nanoseconds * refillStretch) }

  mutating func pool(_ id: String, _ limits: Limits) -> Int {
    if let index = pools.firstIndex(where: { $0.id == id }) {
      if pools[index].limits != limits {
        pools[index].limits = limits
        var used: [Int64?] = []
        for bucket in pools[index].buckets.byDimension {
          used.append(bucket.map { $0.capacity - $0.available(at: bucketTime) })
        }
        pools[index].buckets = BucketModels(limits, at: bucketTime)
        for position in 0..<4 {
          let time = bucketTime
          if let taken = used[position] { pools[index].buckets.byDimension[position]?.take(taken, at: time) }
        }
      }
      return index
    }
    pools.append(Pool(id: id, limits: limits, buckets: BucketModels(limits, at: bucketTime)))
    return pools.count - 1
  }

  /// The pools that a request draws on at a provider: the provider's own first, its tenant's last.
  mutating func pools(for entry: Entry, at provider: ProviderPolicy, key: KeyID? = nil) -> [Int] {
    let isPerKey = provider.quota == .perKey && !provider.keys.isEmpty
    var result = [pool("p/\(provider.id)", isPerKey ? Limits() : provider.limits)]
    if let model = provider.modelLimits.firstIndex(where: { $0.models.matches(entry.ticket.model) }) {
      result.append(pool("m/\(provider.id)/\(model)", provider.modelLimits[model].limits))
    }
    if let key = provider.keys.first(where: { $0.id == key }) {
      result.append(pool("k/\(provider.id)/\(key.id)", limits(of: key, provider)))
    }
    result.append(tenantPool(entry.ticket.tenant))
    return result
  }

  mutating func tenantPool(_ id: TenantID) -> Int {
    let limits = (policy.tenants.first { $0.id == id } ?? policy.tenantTemplate)?.limits ?? Limits()
    return pool("t/\(id)", limits)
  }

  private func weight(_ id: TenantID) -> Double {
    Double((policy.tenants.first { $0.id == id } ?? policy.tenantTemplate)?.weight ?? 1)
  }

  /// What is expected of the call: taken from its tenant, and its cost in turns.
  func expected(_ entry: Entry) -> Charge {
    let output = entry.ticket.producesOutput ? min(entry.ticket.outputCap?.value ?? 1000, 1000) : 0
    return Charge(requests: 1, input: entry.ticket.estimatedInput.value, output: output)
  }

  /// What its provider takes at the door.
  func charge(_ entry: Entry, at provider: ProviderPolicy) -> Charge {
    var charge = expected(entry)
    guard provider.admissionTokens == .maxTokens, entry.ticket.producesOutput, let cap = entry.ticket.outputCap?.value
    else {
      return charge
    }
    charge.output = cap
    charge.tokens = max(cap, charge.input)
    return charge
  }

  func isFree(_ entry: Entry) -> Bool { entry.ticket.isFree && defect != .queuesFreeCalls }

  func keptBasisPoints(above band: Int) -> Int64 {
    var sum: Int64 = 0
    for upper in 0..<band { if case .share(let points) = policy.bands[upper].reserve { sum += Int64(points) } }
    return min(sum, 10_000)
  }

  enum Shortage {
    case tenant, provider
    /// Of one model limit alone, which is all that its head claims.
    case model(pool: Int)
  }

  mutating func shortage(_ entry: Entry, at provider: ProviderPolicy, key: KeyID? = nil) -> Shortage? {
    let members = pools(for: entry, at: provider, key: key)
    let atProvider = charge(entry, at: provider)
    let kept = keptBasisPoints(above: entry.band)
    for member in members.suffix(1) + members.dropLast() {
      let isTenant = member == members.last
      if isTenant, defect == .ignoresTenantLimits { continue }
      let isModel = !isTenant && member != members.first
      let short: Shortage = isTenant ? .tenant : isModel ? .model(pool: member) : .provider
      if let limit = pools[member].limits.concurrency {
        var allowed = defect == .overshootsByOne && member == members[0] ? limit + 1 : limit
        if member == members[0], defect != .ignoresHeadroom {
          for upper in 0..<entry.band {
            let reserve: Int
            switch policy.bands[upper].reserve {
            case .share(let points): reserve = limit * points / 10_000
            case .permits(let count): reserve = count
            }
            allowed -= max(0, reserve - pools[member].inUse[upper])
          }
        }
        if pools[member].total >= allowed { return short }
      }
      var charge = isTenant ? expected(entry) : atProvider
      if defect == .forgetsOutputInBuckets {
        charge.tokens = charge.input
        charge.output = 0
      }
      if defect == .ignoresBuckets || isModel && defect == .neverChargesModels { continue }
      if !pools[member].buckets.covers(charge, at: bucketTime, keepingBasisPoints: isTenant ? 0 : kept) {
        return short
      }
    }
    return nil
  }

  // MARK: - Order

  /// True where the entry's session, or its group, runs as many calls as it may (rule 3d).
  private func isCapped(_ entry: Entry) -> Bool {
    guard let rule = policy.sessionConcurrency, defect != .ignoresSessionLimit else { return false }
    if defect == .widensFirst, rule.widen { return false }
    func name(_ ticket: Ticket) -> SessionID { ticket.sessionGroup ?? ticket.session }
    let running = running.values.count {
      !isFree($0.entry) && $0.entry.ticket.tenant == entry.ticket.tenant
        && name($0.entry.ticket) == name(entry.ticket)
    }
    return running >= rule.limit
  }

  /// Heads in the order of the pass: due by floor share, then band by band in fair order.
  /// - Parameter capped: true for those whose sessions run as many calls as they may.
  func heads(capped: Bool) -> [Int] {
    var seen: Set<Lane> = []
    var heads: [Int] = []
    let all = queue.indices.filter { !isFree(queue[$0]) }
    let order = defect == .lastInFirstOut ? all.reversed() : all
    for index in order {
      let entry = queue[index]
      let lane = Lane(band: entry.band, tenant: entry.ticket.tenant, session: entry.ticket.session)
      if seen.insert(lane).inserted { heads.append(index) }
    }
    heads = heads.filter { isCapped(queue[$0]) == capped }
    if defect == .ignoresBands { return capped ? [] : order }
    func isPromoted(_ index: Int) -> Bool {
      defect == .promotesBeforeAll && now >= queue[index].since + policy.bands[queue[index].band].promoteAfter
    }
    var result = heads.filter(isPromoted).sorted { queue[$0].order < queue[$1].order }
    if defect == .hurriesPastClasses {
      result += heads.filter { hurryEnd(queue[$0]) != nil && !isPromoted($0) }
    }
    let rest = heads.filter { !isPromoted($0) }
    var byBand: [[Int]] = []
    for band in 0..<3 {
      let members = rest.filter { queue[$0].band == band }
      byBand.append(members.sorted { before($0, $1) })
    }
    for band in 0..<3 where defect != .starvesLow && !capped {
      if let head = byBand[band].first, share(band) > 0, credit[band] >= price(queue[head]) {
        result.append(head)
      }
    }
    if defect == .servesBandsBackwards { byBand.reverse() }
    for band in byBand { for head in band where !result.contains(head) { result.append(head) } }
    if noise & 1 == 1, defect == .isNotDeterministic { result.reverse() }
    return result
  }

  private func price(_ entry: Entry) -> Int64 {
    10_000 * max(1, expected(entry).tokens)
  }

  private func before(_ left: Int, _ right: Int) -> Bool {
    let one = queue[left]
    let two = queue[right]
    if one.ticket.tenant == two.ticket.tenant || defect == .hurriesPastTenants {
      let (first, second) = (hurryEnd(one) ?? .distantFuture, hurryEnd(two) ?? .distantFuture)
      if first != second { return first < second }
    }
    if one.ticket.tenant != two.ticket.tenant, defect != .ignoresTenants {
      let a = seat(tenantLevel(one), one.ticket.tenant.name)
      let b = seat(tenantLevel(two), two.ticket.tenant.name)
      return (a.tag, a.order) < (b.tag, b.order)
    }
    if defect != .ignoresSessions, one.ticket.tenant == two.ticket.tenant {
      let a = seat(sessionLevel(one), one.ticket.session.name)
      let b = seat(sessionLevel(two), two.ticket.session.name)
      if (a.tag, a.order) != (b.tag, b.order) { return (a.tag, a.order) < (b.tag, b.order) }
    }
    return one.order < two.order
  }

  // MARK: - Turns

  private var rule: NaiveTurns.Rule {
    switch defect {
    case .movesTimeByEstimates: .estimatedTime
    case .neverCorrects: .uncorrected
    default: .real
    }
  }
  func tenantLevel(_ entry: Entry) -> String { "\(entry.band)" }
  func sessionLevel(_ entry: Entry) -> String { "\(entry.band)/\(entry.ticket.tenant)" }

  private mutating func arrive(_ entry: Entry) {
    if isFree(entry) { return }
    let (rule, weight) = (rule, weight(entry.ticket.tenant))
    turns[tenantLevel(entry), default: NaiveTurns()].arrived(entry.ticket.tenant.name, weight: weight, rule: rule)
    turns[sessionLevel(entry), default: NaiveTurns()].arrived(entry.ticket.session.name, weight: 1, rule: rule)
  }

  /// Out of the queue without having been served.
  private mutating func leave(_ entry: Entry) {
    if isFree(entry) { return }
    turns[tenantLevel(entry)]?.left(entry.ticket.tenant.name)
    turns[sessionLevel(entry)]?.left(entry.ticket.session.name)
  }

  func seat(_ level: String, _ name: String) -> NaiveTurns.Seat { turns[level]?.seats[name] ?? .init() }

  /// Whoever waits at the level and would have gone before.
  private func passed(_ level: String, _ name: String) -> [String] {
    let mine = seat(level, name)
    return (turns[level]?.seats ?? [:]).filter {
      $0.key != name && $0.value.waiting > 0 && ($0.value.tag, $0.value.order) < (mine.tag, mine.order)
    }.map(\.key)
  }

  private func share(_ band: Int) -> Int64 {
    let rules = policy.bands[band]
    let isOld =
      defect != .neverPromotes
      && queue.contains { $0.band == band && !isFree($0) && $0.since + rules.promoteAfter <= now }
    return Int64(isOld ? max(rules.shareBasisPoints, rules.promotedShareBasisPoints) : rules.shareBasisPoints)
  }

  // MARK: - Events

  public mutating func handle(_ event: AdmissionEvent, at instant: Instant, into actions: inout ActionList) {
    now = max(now, instant)
    if defect == .admitsABug { actions.append(.note(.ourBug(.endlessPass))) }
    for index in pools.indices where !pools[index].lagging.isEmpty { pools[index].lagging.removeAll { $0 <= now } }
    evictOverdue(into: &actions)
    switch event {
    case .submitted(let ticket):
      let band = Int(ticket.priority.rawValue)
      let bound = min(
        now + policy.bands[band].maxWait, ticket.deadline ?? .distantFuture,
        lastStart(ticket, since: now) ?? .distantFuture)
      let entry = Entry(ticket: ticket, band: band, since: now, order: nextOrder, bound: bound)
      nextOrder += 1
      kept += 1
      if isDraining, defect != .ignoresDrain {
        conclude(entry, .rejectedDraining, attempts: 0, into: &actions)
      } else {
        let waiting = queue.count { $0.band == band }
        let bytes = queue.reduce(0) { $0 + $1.ticket.keptBytes }
        let isFull = waiting >= policy.bands[band].queueLimit || bytes + ticket.keptBytes > policy.queueBytes
        let isAlone = !isFree(entry) && queue.allSatisfy { isFree($0) }
        if isAlone { coming = entry.order } else { arrive(entry) }
        queue.append(entry)
        dispatch(into: &actions)
        coming = nil
        if isAlone, queue.contains(where: { $0.order == entry.order }) { arrive(entry) }
        if isFull, defect != .ignoresQueueLimit, let index = queue.firstIndex(where: { $0.order == entry.order }) {
          queue.remove(at: index)
          leave(entry)
          conclude(entry, .rejectedQueueFull, attempts: 0, into: &actions)
        }
      }
    case .cancelled(let id):
      if let index = queue.firstIndex(where: { $0.ticket.id == id }) {
        let entry = queue.remove(at: index)
        leave(entry)
        conclude(entry, .clientLeftQueued, attempts: 0, into: &actions)
      } else if defect == .leaksPermitOnCancel,
        let lease = running.first(where: { $0.value.entry.ticket.id == id })?.key
      {
        running[lease]?.leaks = true
      }
    case .progressed(let lease, let progress): progressed(lease, progress)
    case .settled(let lease, let settlement):
      settle(lease, settlement, into: &actions)
      heedPatience()
    case .limitsObserved, .sentAgain, .operatorCommanded, .keyChecked, .restored: break
    case .budgetWindowsBegan, .budgetRaisesReplaced, .budgetsRestored, .learnedRestored, .limitsRestored, .dayBegan,
      .daySumsRestored:
      break
    case .policyReplaced(let new, _, _): policy = new
    case .deadlineReached, .drainBounded: break
    case .drainRequested:
      isDraining = true
      if defect != .ignoresDrain {
        for entry in queue {
          leave(entry)
          conclude(entry, .rejectedDraining, attempts: 0, into: &actions)
        }
        queue = []
      }
    }
    evictOverdue(into: &actions)
    if defect == .losesWakeUps, case .settled = event { return }
    dispatch(into: &actions)
    if isDraining, !hasDrained, queue.isEmpty, running.isEmpty, defect != .neverSaysDrained {
      hasDrained = true
      actions.append(.drained)
    }
  }

  private mutating func evictOverdue(into actions: inout ActionList) {
    if defect == .neverEvicts { return }
    for entry in queue where entry.bound <= now {
      leave(entry)
      conclude(entry, .evictedMaxWait, attempts: 0, into: &actions)
    }
    queue.removeAll { $0.bound <= now }
  }

  private mutating func conclude(_ entry: Entry, _ outcome: Outcome, attempts: Int, into actions: inout ActionList) {
    if defect == .forgetsConclusion, outcome == .clientLeftQueued { return }
    let conclusion = Conclusion(
      request: entry.ticket.id, outcome: outcome, retryAfter: nil, blocker: nil, queued: now - entry.since,
      attempts: attempts)
    actions.append(.conclude(conclusion))
    if defect == .concludesTwice, outcome == .completed, entry.order % 7 == 3 { actions.append(.conclude(conclusion)) }
    if defect != .keepsMemory { kept -= 1 }
  }

  private mutating func settle(_ lease: LeaseID, _ settlement: Settlement, into actions: inout ActionList) {
    guard let ended = running.removeValue(forKey: lease.rawValue) else { return }
    guard let provider = policy.providers.first(where: { $0.id == ended.provider }) else { return }
    learn(ended, settlement, at: provider)
    let usage = settlement.usage ?? Usage()
    let actual = Charge(requests: 1, input: usage.inputTokens.value, output: usage.outputTokens.value)
    // A provider that counts what is produced does not count what it had cached.
    let isProduced = provider.admissionTokens == .produced
    let counted = Charge(
      requests: 1, input: actual.input - (isProduced ? usage.cacheReadTokens.value : 0), output: actual.output)
    for member in pools(for: ended.entry, at: provider, key: ended.key) where !isFree(ended.entry) {
      if !ended.leaks {
        pools[member].inUse[ended.entry.band] -= 1
        if provider.settleLag > .zero, !pools[member].id.hasPrefix("t/") {
          pools[member].lagging.append(now + provider.settleLag)
        }
      }
      let isTenant = pools[member].id.hasPrefix("t/")
      let taken = isTenant ? ended.expected : ended.charge
      var due = isTenant ? actual : counted
      if !isTenant, ended.charge != ended.expected, settlement.usage != nil {
        due.output = taken.output
        due.tokens = taken.tokens
      }
      pools[member].buckets.settle(taken: pools[member].buckets.clamped(taken), actual: due, at: bucketTime)
    }
    if !isFree(ended.entry) {
      correct(ended, real: counted.input + counted.output)
    }
    if ended.leaks { running[lease.rawValue | 1 << 63] = ended }
    let outcome: Outcome
    switch settlement.verdict {
    case .success: outcome = .completed
    case .clientLeft: outcome = .clientLeftRunning
    default: outcome = .upstreamError
    }
    conclude(ended.entry, outcome, attempts: 1, into: &actions)
  }

  private mutating func dispatch(into actions: inout ActionList) {
    while let (index, provider, key) = choose() {
      let entry = queue[index]
      let isFree = isFree(entry)
      let nothing = Charge(requests: 0, input: 0, output: 0)
      let charge = isFree ? nothing : charge(entry, at: provider)
      let expected = isFree ? nothing : expected(entry)
      let counted = isFree || entry.order == coming ? Counted(cost: 0) : count(entry, expected)
      queue.remove(at: index)
      for member in pools(for: entry, at: provider, key: key) where !isFree {
        pools[member].inUse[entry.band] += 1
        let taken = pools[member].id.hasPrefix("t/") ? expected : charge
        pools[member].buckets.take(pools[member].buckets.clamped(taken), at: bucketTime)
      }
      let lease = LeaseID(rawValue: defect == .reusesLeases && nextLease > 3 ? nextLease - 3 : nextLease)
      nextLease += 1
      running[lease.rawValue] = Running(
        entry: entry, provider: provider.id, charge: charge, expected: expected, counted: counted,
        key: key, began: now)
      let grant = Grant(
        request: entry.ticket.id, lease: lease, provider: provider.id, key: key, attempt: 1,
        queued: now - entry.since, reservedInput: TokenCount(expected.input),
        reservedOutput: TokenCount(expected.output))
      actions.append(.grant(grant))
      if defect == .grantsTwice, entry.order % 5 == 4 {
        var again = grant
        again.lease = LeaseID(rawValue: nextLease)
        nextLease += 1
        actions.append(.grant(again))
      }
    }
  }

  /// Counts the grant of an entry that is still queued.
  private mutating func count(_ entry: Entry, _ charge: Charge) -> Counted {
    let cost = max(1, charge.tokens)
    var counted = Counted(cost: cost)
    let (tenants, sessions) = (tenantLevel(entry), sessionLevel(entry))
    let (tenant, session) = (entry.ticket.tenant.name, entry.ticket.session.name)
    // Whom a hurried one passes over is not blocked.
    let beside = goesEarly(entry) ? [] : passed(sessions, session)
    let (rule, before) = (rule, passed(tenants, tenant))
    counted.ofTenant = turns[tenants]?.granted(tenant, cost: Double(cost), passed: before, rule: rule) ?? .init()
    counted.ofSession = turns[sessions]?.granted(session, cost: Double(cost), passed: beside, rule: rule) ?? .init()
    counted.isFloorTurn = share(entry.band) > 0 && credit[entry.band] >= 10_000 * cost
    for band in 0..<3 {
      if band == entry.band {
        if counted.isFloorTurn {
          counted.shares[band] = share(band)
          credit[band] += (counted.shares[band] - 10_000) * cost
        } else {
          credit[band] = max(min(0, credit[band]), credit[band] - 10_000 * cost)
        }
      } else if queue.contains(where: { $0.band == band && !isFree($0) }) {
        counted.shares[band] = share(band)
        credit[band] += counted.shares[band] * cost
      } else {
        credit[band] = min(0, credit[band])
      }
    }
    return counted
  }

  private mutating func correct(_ ended: Running, real: Int64) {
    if ended.counted.cost == 0 { return }
    let (entry, rule) = (ended.entry, rule)
    turns[tenantLevel(entry)]?.ended(entry.ticket.tenant.name, ended.counted.ofTenant, real: Double(real), rule: rule)
    turns[sessionLevel(entry)]?.ended(
      entry.ticket.session.name, ended.counted.ofSession, real: Double(real), rule: rule)
    for band in 0..<3 { credit[band] += ended.counted.shares[band] * (real - ended.counted.cost) }
    if ended.counted.isFloorTurn { credit[entry.band] -= 10_000 * (real - ended.counted.cost) }
  }

  private mutating func choose() -> (Int, ProviderPolicy, KeyID?)? {
    for index in queue.indices where isFree(queue[index]) {
      for candidate in queue[index].ticket.candidates {
        guard let provider = policy.providers.first(where: { $0.id == candidate.provider }),
          freeInFlight(at: provider.id) < 32 || defect == .sendsAllFreeCalls
        else { continue }
        return (index, provider, provider.keys.first?.id)
      }
    }
    var claimed: Set<Int> = []
    let widens = policy.sessionConcurrency?.widen == true && defect != .neverWidens
    heads: for index in heads(capped: false) + (widens ? heads(capped: true) : []) {
      let entry = queue[index]
      var candidates = entry.ticket.candidates.map(\.provider)
      if defect == .prefersLastProvider { candidates.reverse() }
      for id in candidates {
        guard let provider = policy.providers.first(where: { $0.id == id }) else { continue }
        switch place(entry, at: provider, claimed: claimed) {
        case .at(let key): return (index, provider, key)
        case .blocked(let pools): claimed.formUnion(pools)
        case .awaits(let pool):
          // Its claim is on that key alone, and no other provider has its prompt either.
          claimed.insert(pool)
          continue heads
        }
      }
    }
    return nil
  }

  func freeInFlight(at provider: ProviderID) -> Int {
    running.values.count { $0.provider == provider && isFree($0.entry) }
  }
}
