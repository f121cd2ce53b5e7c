// A request while it waits or runs, with the refusals that it remembers.

/// An immutable ticket behind one reference: requests move between queue and leases, and copying the ticket's texts
/// each time would be the largest part of a decision's cost.
final class TicketBox: Sendable {
  let ticket: Ticket
  /// Names whose key it gets: its session, or the session's group.
  let session: UInt64
  /// Names the conversation that the call belongs to: tenant, session, agent and model.
  let prompt: UInt64

  init(_ ticket: consuming Ticket) {
    let own = KeyPool.hash(ticket.session.name)
    session = ticket.sessionGroup.map { KeyPool.hash($0.name) } ?? own
    let whose = KeyPool.hash(ticket.agent.name, after: KeyPool.hash(ticket.tenant.name, after: own))
    prompt = KeyPool.hash(ticket.model, after: whose)
    self.ticket = consume ticket
  }

  /// The ticket of a request that is over.
  static let none = TicketBox(
    Ticket(
      id: RequestID(high: 0, low: 0), tenant: "", session: "", priority: .low, candidates: [], model: "", keptBytes: 0,
      estimatedInput: 0))

  func routed(to candidates: [Candidate]) -> TicketBox {
    var ticket = ticket
    ticket.candidates = candidates
    return TicketBox(ticket)
  }
}

/// What only few requests must remember. It is immutable; a change makes a new object.
final class RequestPast: Sendable {
  struct Facts: Sendable {
    var refusals: [CallRefusals] = []
    var refusedKeys: [Int64] = []
    var candidatesAnew: [Candidate]?
    var givingUp: GivingUp?
    var isCold = false
    var isEmpty: Bool {
      refusals.isEmpty && refusedKeys.isEmpty && candidatesAnew == nil && givingUp == nil && !isCold
    }
  }
  let facts: Facts
  init(_ facts: Facts) { self.facts = facts }
}

/// A request, queued or running.
///
/// It is copied a few times for each decision: its fields stand in an order that leaves few gaps, and it stays below 256
/// bytes, up to which copying memory costs least.
struct Request: SlotElement {
  var box: TicketBox
  var ticket: Ticket { box.ticket }
  /// nil for most requests, which were neither refused nor given another route, so that a copy has one reference less
  /// to count.
  private var past: RequestPast?
  /// The budget accounts that the request counts against.
  var accounts: [AccountIndex] = []
  var tenant: TenantIndex
  /// The request's route; it has no leg where none of the candidates exists any more.
  var route: RouteIndex
  /// The request's number in the order of arrival.
  var sequence: UInt64
  var sessionHash: UInt64
  var submitted: Instant
  /// When the current stay in the queue began.
  var queuedSince: Instant
  /// The time of all earlier stays.
  var queuedBefore: Span = .zero
  var deadline: Instant
  /// When the request becomes old.
  var promoteAt: Instant
  /// Rule 2c: when its prompt is cached no longer, and from when on it hurries.
  var cacheEnd = Instant(nanoseconds: .min)
  var hurryAt = Instant.distantFuture
  /// The ticket's candidates that have failed the request, by bit; they are not tried again before `backoffUntil`.
  var failed: UInt64 = 0
  var backoffUntil = Instant(nanoseconds: .min)
  /// What its turn would cost, and the pass in which that was estimated.
  var cost: Int64 = 1
  var pass: UInt64 = 0
  /// The number of grants so far.
  var tries = 0
  /// Attempts that count against the provider's `attempts`.
  var spentAttempts = 0
  /// The request's retry must not start before this.
  var notBefore: Instant?
  private var bandNumber: Int8
  var band: Int { Int(bandNumber) }
  var notes: UInt8 = 0
  var isOld = false
  /// True where the request was throttled, and stands outside its lane until others have tried.
  var isHeldBack = false
  var isCancelled = false
  /// True from the time when its timer has found that it hurries until it has found that it does no longer.
  var isHurried = false
  /// The number of its model in the predictors.
  var model = ModelNumber.shared
  /// The model's when the attempt began, so that refusals of concurrent calls count, whichever came first.
  var refusedAtGrant = RefusalMark()
  /// Rule 3f: what those that overtook it have taken, in millionths of what it needs.
  var overtaken: Int32 = 0
  /// Its session, or the group of its session, while the policy limits sessions' calls.
  var session: SessionIndex?
  /// The account at which the request waits, outside its lane, for a hold to come back; nil where it does not.
  var waitsFor: AccountIndex?
  var lastNoted: Obstacle?

  /// Where the request was throttled, and how often.
  var refusals: [CallRefusals] {
    get { past?.facts.refusals ?? [] }
    set { remember { $0.refusals = newValue } }
  }
  /// The serials of keys that have refused it.
  var refusedKeys: [Int64] {
    get { past?.facts.refusedKeys ?? [] }
    set { remember { $0.refusedKeys = newValue } }
  }
  var hasRefusedKeys: Bool { past != nil && !refusedKeys.isEmpty }
  /// The candidates for another try, where the routes have changed while the request ran; else nil.
  var candidatesAnew: [Candidate]? {
    get { past?.facts.candidatesAnew }
    set { remember { $0.candidatesAnew = newValue } }
  }
  /// Set where the client's patience, and not the queue's, decides the deadline.
  var givingUp: GivingUp? {
    get { past?.facts.givingUp }
    set { remember { $0.givingUp = newValue } }
  }
  /// True where a refusal has shown that what it continues is not cached: it is counted as a whole.
  var isCold: Bool {
    get { past?.facts.isCold ?? false }
    set { remember { $0.isCold = newValue } }
  }

  func hurry(at now: Instant) -> Instant? { hurryAt <= now && now <= cacheEnd ? cacheEnd : nil }

  /// What stays in the place of a request that is over frees all memory.
  mutating func vacate() {
    box = .none
    past = nil
    accounts = []
  }

  init(
    box: TicketBox, tenant: TenantIndex, band: Int, route: RouteIndex, sequence: UInt64, submitted: Instant,
    queuedSince: Instant, deadline: Instant, promoteAt: Instant, sessionHash: UInt64
  ) {
    self.box = box
    self.tenant = tenant
    bandNumber = Int8(truncatingIfNeeded: band)
    self.route = route
    self.sequence = sequence
    self.submitted = submitted
    self.queuedSince = queuedSince
    self.deadline = deadline
    self.promoteAt = promoteAt
    self.sessionHash = sessionHash
  }

  private mutating func remember(_ change: (inout RequestPast.Facts) -> Void) {
    var facts = past?.facts ?? RequestPast.Facts()
    change(&facts)
    past = facts.isEmpty ? nil : RequestPast(facts)
  }

  func queued(at now: Instant) -> Span { Span(nanoseconds: queuedBefore.nanoseconds + (now - queuedSince).nanoseconds) }

  /// - Parameter key: the key's serial.
  func hasBeenRefused(by key: Int64) -> Bool { refusedKeys.contains(key) }

  func hasFailed(at candidate: Int) -> Bool { failed & Self.bit(candidate) != 0 }
  mutating func fail(at candidate: Int) { failed |= Self.bit(candidate) }
  private static func bit(_ candidate: Int) -> UInt64 { 1 << UInt64(min(max(0, candidate), 63)) }

  /// Sets new candidates by new rules. Which ones have failed the request is remembered by provider.
  mutating func route(to anew: [Candidate]) {
    let former = ticket.candidates
    let all = failed
    failed = 0
    for old in former.indices where all & Self.bit(old) != 0 {
      if let new = Self.place(of: old, former, in: anew) { fail(at: new) }
    }
    box = box.routed(to: anew)
  }

  /// The place of a candidate in another list: the first entry of a provider corresponds to its first there, and so on.
  static func place(of old: Int, _ former: [Candidate], in anew: [Candidate]) -> Int? {
    guard former.indices.contains(old) else { return nil }
    let provider = former[old].provider
    let before = former[..<old].count { $0.provider == provider }
    return anew.indices.filter { anew[$0].provider == provider }.dropFirst(before).first
  }
}

/// What a request remembers of a provider and model that throttled it.
struct CallRefusals: Sendable {
  var provider: ProviderIndex
  /// nil where the model has no entry.
  var model: ModelIndex?
  /// The number of refusals that were about the call itself (`RefusalSigns.areAboutTheCall`), and the first one.
  var count: UInt8 = 1
  /// The serial of the last call that had been sent at the refusal.
  var sentBefore: UInt64
  /// The model's, as they are if no other call is refused or let in.
  var mark: RefusalMark
  var good: UInt32
}
