// A request while it waits or runs, and what it remembers of those who refused it.

/// A ticket that never changes, behind one reference: requests move between queue and leases, and copying the ticket's
/// texts each time would be the largest part of a decision's cost.
final class TicketBox: Sendable {
  let ticket: Ticket
  init(_ ticket: Ticket) { self.ticket = ticket }

  /// Of a request that is over.
  static let none = TicketBox(
    Ticket(
      id: RequestID(high: 0, low: 0), tenant: "", session: "", priority: .low, candidates: [], model: "", heldBytes: 0,
      estimatedInput: 0))

  func routed(to candidates: [Candidate]) -> TicketBox {
    var ticket = ticket
    ticket.candidates = candidates
    return TicketBox(ticket)
  }
}

/// What few requests have to remember. Never changes; what is new makes another one.
final class RequestPast: Sendable {
  struct Facts: Sendable {
    var refusals: [CallRefusals] = []
    var refusedKeys: [Int64] = []
    var candidatesAnew: [Candidate]?
    var isEmpty: Bool { refusals.isEmpty && refusedKeys.isEmpty && candidatesAnew == nil }
  }
  let facts: Facts
  var refusals: [CallRefusals] { facts.refusals }
  var refusedKeys: [Int64] { facts.refusedKeys }
  var candidatesAnew: [Candidate]? { facts.candidatesAnew }
  init(_ facts: Facts) { self.facts = facts }
}

/// A request, queued or running.
struct Request: SlotElement {
  var box: TicketBox
  var ticket: Ticket { box.ticket }
  var tenant: TenantIndex
  var band: Int
  /// Without a leg where none of its candidates exists any more.
  var route: RouteIndex
  /// Order of arrival.
  var sequence: UInt64
  var submitted: Instant
  /// When the present stay in the queue began.
  var queuedSince: Instant
  /// Earlier stays together.
  var queuedBefore: Span = .zero
  var deadline: Instant
  /// When it is old, and what has been told of it.
  var promoteAt: Instant
  var isOld = false
  /// Its own retry may not start before this.
  var notBefore: Instant?
  /// It was told to slow down, and stands outside of its lane until others have tried.
  var isHeldBack = false
  /// nil where it was neither refused nor routed anew, as most are: a copy has one reference less to count.
  private var past: RequestPast?
  /// Where it was told to slow down, and how often.
  var refusals: [CallRefusals] {
    get { past?.refusals ?? [] }
    set { remember { $0.refusals = newValue } }
  }
  /// Its model's `throttles` when its attempt began: those that were refused beside it count, whoever was told first.
  var throttlesAtGrant: UInt32 = 0
  /// The serials of keys that have refused it.
  var refusedKeys: [Int64] {
    get { past?.refusedKeys ?? [] }
    set { remember { $0.refusedKeys = newValue } }
  }
  /// Grants so far.
  var tries = 0
  /// Attempts that count against the provider's `attempts`.
  var spentAttempts = 0
  var sessionHash: UInt64
  var isCancelled = false
  var notes: UInt8 = 0
  var lastNoted: Obstacle?
  /// The number that its model's name has in the predictors.
  var model = ModelNumber.shared
  /// Its ticket's candidates that have failed it, by bit; not tried again before `backoffUntil`.
  var failed: UInt64 = 0
  var backoffUntil = Instant(nanoseconds: .min)
  /// The budget accounts that it counts against.
  var accounts: [AccountIndex] = []
  /// Where it goes if it is tried again, since the routes changed while it ran; nil where they did not.
  var candidatesAnew: [Candidate]? {
    get { past?.candidatesAnew }
    set { remember { $0.candidatesAnew = newValue } }
  }
  /// The account at which it waits, outside its lane, for a hold to come back; nil where it does not.
  var waitsFor: AccountIndex?

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
    self.band = band
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

  /// - Parameter key: its serial.
  func hasBeenRefused(by key: Int64) -> Bool { refusedKeys.contains(key) }

  func hasFailed(at candidate: Int) -> Bool { failed & Self.bit(candidate) != 0 }
  mutating func fail(at candidate: Int) { failed |= Self.bit(candidate) }
  private static func bit(_ candidate: Int) -> UInt64 { 1 << UInt64(min(max(0, candidate), 63)) }

  /// Other rules give it other candidates: those that have failed it are remembered by their providers.
  mutating func route(to anew: [Candidate]) {
    let former = ticket.candidates
    let all = failed
    failed = 0
    for old in former.indices where all & Self.bit(old) != 0 {
      if let new = Self.place(of: old, former, in: anew) { fail(at: new) }
    }
    box = box.routed(to: anew)
  }

  /// Where a candidate stands in another list: a provider's first entry is its first there, and so on.
  static func place(of old: Int, _ former: [Candidate], in anew: [Candidate]) -> Int? {
    guard former.indices.contains(old) else { return nil }
    let provider = former[old].provider
    let before = former[..<old].count { $0.provider == provider }
    return anew.indices.filter { anew[$0].provider == provider }.dropFirst(before).first
  }
}

/// What a request remembers of the provider and model that told it to slow down.
struct CallRefusals: Sendable {
  var provider: ProviderIndex
  /// nil: the model has no entry.
  var model: ModelIndex?
  /// How often it was told so while others that were sent later went well and none but it was told so, the first time included.
  var count: UInt8 = 1
  /// The last call that had been sent when it was told.
  var sentBefore: UInt64
  /// What the model's `throttles` are if nobody else is told.
  var throttles: UInt32
}
