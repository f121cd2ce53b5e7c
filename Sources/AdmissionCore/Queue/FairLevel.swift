// Virtual time for the flows of one level: the tenants of a band, or the sessions of a tenant.
//
// A flow's position is its real use so far, divided by its weight. Its *tag* orders the turns: the real costs of its
// ended calls plus the expected costs of its running ones. Its *settled* position leaves running calls out, so that it
// contains no estimates.
//
// Virtual time is where newcomers start. It is the least settled position of all flows that are served in turn (they
// wait, and have got a grant since they began to wait), and never goes back. So it depends on real costs only. If
// estimates moved it, it would run ahead of the tags of flows whose calls cost less than expected, and a flow that
// comes back from idling would have to wait until they had caught up: for ever, where estimates are at the 90th
// percentile. Where no flow is served in turn (each call is its session's only one), each ended call moves virtual time
// on by its real cost / (all weights that wait or run).
//
// A flow that begins to wait (a *stay*) starts at virtual time, or at its own tag where that is later; if none of its
// calls runs, it starts at most one call later, the most expensive one of its last busy time: it never owes more than
// one call. It stands behind flows that came to the same position before it. So every other flow gets at most that much
// before it, and one call more.
//
// Estimates could spoil one thing: calls that are granted while a flow waits for its debt to be worked off, and that
// cost far more than expected. So while a debtor waits, a grant counts as at least the debt until its real cost is
// known.
//
// A flow whose tag is behind virtual time when it gets a grant had something in its way (its own limit, a provider that
// was full or down): what it could not use is not owed to it. It starts again at virtual time, and newcomers are not
// held back for it.
//
// Why this algorithm: plain start-time fair queueing (newcomers start at the tag of the flow served last) is right only
// with exact costs, since with calls in flight the tag is a guess. Starting at the smallest tag is too late where tags
// are too high and come down afterwards. With the mean of all tags (virtual time as in weighted fair queueing), a
// newcomer waits for every flow behind the mean. Positions without estimates need only a second heap.

/// What a call counts in the order of turns.
enum FairCost {
  /// The largest cost of one call that counts, in tokens. No real call comes near it; one absurd number must not put a
  /// flow back for hours.
  static let most: Int64 = 1 << 22
  static let scale: Int64 = 1024

  static func clamped(_ cost: Int64) -> Int64 { min(max(cost, 0), most) }

  fileprivate static func scaled(_ cost: Int64, weight: Int) -> Int64 { clamped(cost) * scale / Int64(max(1, weight)) }

  /// No overflow for centuries; after that all positions are equal, and turns go by age.
  fileprivate static func sum(_ left: Int64, _ right: Int64) -> Int64 { min(max(left + right, -(1 << 61)), 1 << 61) }
}

/// A flow's place in its level, in tokens × 1024 / weight.
struct FairPosition: Sendable {
  /// Grants before the current stay: real costs of ended calls, expected costs of running ones.
  private var past: Int64 = 0
  private var pastRunning: Int64 = 0
  /// Virtual time at the start of the stay.
  private var floor: Int64 = 0
  /// Grants of this stay.
  private var since: Int64 = 0
  private var sinceRunning: Int64 = 0
  /// The most expensive call that has ended in this busy time.
  private var dearest: Int64 = 0
  fileprivate(set) var running: Int32 = 0
  fileprivate(set) var stay: UInt32 = 0
  /// True where the flow got a grant in this stay, and nothing has been in its way since.
  var isInTurn = false
  /// True while the flow waits because of its debt.
  fileprivate(set) var isDebtor = false

  /// The expected position at which the flow's next call starts.
  var tag: Int64 { FairCost.sum(max(past, floor), since) }
  /// The least that the position can be when all running calls have ended.
  var settled: Int64 { FairCost.sum(max(past - pastRunning, floor), since - sinceRunning) }

  fileprivate mutating func begin(at virtualTime: Int64) {
    past = running == 0 ? min(tag, FairCost.sum(virtualTime, dearest)) : tag
    if running == 0 { dearest = 0 }
    pastRunning += sinceRunning
    floor = virtualTime
    since = 0
    sinceRunning = 0
    stay &+= 1
  }

  fileprivate mutating func charge(_ expected: Int64) {
    since = FairCost.sum(since, expected)
    sinceRunning += expected
    running += 1
  }

  fileprivate mutating func settle(_ expected: Int64, real: Int64, stay: UInt32) {
    if stay == self.stay {
      since = FairCost.sum(since, real - expected)
      sinceRunning -= expected
    } else {
      past = FairCost.sum(past, real - expected)
      pastRunning -= expected
    }
    dearest = max(dearest, real)
    running -= 1
  }
}

/// What a grant counts until its real cost is known.
struct FairCharge: Sendable {
  var expected: Int64 = 0
  var stay: UInt32 = 0
}

/// - Parameter Member: what its flows are: tenants, or lanes.
struct FairLevel<Member: SlotElement>: Sendable {
  private(set) var virtualTime: Int64 = 0
  /// The weights of all flows that wait or run.
  private(set) var busyWeight = 0
  /// The largest tag so far.
  private var furthest: Int64 = 0
  /// The largest debt of waiting debtors, in tokens × 1024, and the number of debtors.
  private var debt: Int64 = 0
  private var debtors: Int32 = 0
  /// The flows that are served in turn, by settled position.
  var inTurn = IndexedHeap<Member>()

  /// Moves virtual time to the least position of the flows that are served in turn. Returns false where there are none.
  @discardableResult
  mutating func follow() -> Bool {
    guard let least = inTurn.first else { return false }
    virtualTime = max(virtualTime, least.key)
    return true
  }

  /// The flow begins to wait: a stay begins.
  mutating func arrive(_ position: inout FairPosition, weight: Int) {
    follow()
    let isIdle = position.running == 0
    if isIdle { busyWeight += weight }
    position.begin(at: virtualTime)
    position.isInTurn = false
    guard isIdle, position.tag > virtualTime else { return }
    position.isDebtor = true
    debtors += 1
    debt = max(debt, min(position.tag - virtualTime, FairCost.most * FairCost.scale) * Int64(weight))
  }

  /// The flow no longer waits: its stay ends.
  mutating func leave(_ position: inout FairPosition, weight: Int) {
    forgive(&position)
    position.isInTurn = false
    if position.running == 0 { rest(weight) }
  }

  /// The flow's head gets a grant; the flow still counts as waiting. A `settle` must follow.
  mutating func grant(_ position: inout FairPosition, cost: Int64, weight: Int) -> FairCharge {
    follow()
    forgive(&position)
    if position.tag < virtualTime { position.begin(at: virtualTime) }
    let owed = min(debt, FairCost.most * FairCost.scale) / Int64(max(1, weight))
    let charge = FairCharge(expected: max(FairCost.scaled(cost, weight: weight), owed), stay: position.stay)
    position.charge(charge.expected)
    position.isInTurn = true
    furthest = max(furthest, position.tag)
    return charge
  }

  /// The real cost of a grant is known. The owner must then update the heap, call `advance`, and call `rest` where the
  /// flow has nothing left.
  mutating func settle(_ charge: FairCharge, _ position: inout FairPosition, real: Int64, weight: Int) {
    position.settle(charge.expected, real: FairCost.scaled(real, weight: weight), stay: charge.stay)
    furthest = max(furthest, position.tag)
  }

  /// Called after each settled call: moves virtual time.
  mutating func advance(real: Int64) {
    if !follow() { virtualTime = FairCost.sum(virtualTime, FairCost.scaled(real, weight: busyWeight)) }
  }

  /// A flow has no waiting or running request left.
  mutating func rest(_ weight: Int) {
    busyWeight -= weight
    // The busy time of all flows has ended: all start again.
    if busyWeight <= 0 { virtualTime = max(virtualTime, furthest) }
  }

  mutating func weightChanged(by difference: Int) { busyWeight += difference }

  private mutating func forgive(_ position: inout FairPosition) {
    guard position.isDebtor else { return }
    position.isDebtor = false
    debtors -= 1
    // The other debtors may owe less than the one that leaves.
    debt = debtors > 0 ? debt - debt / 8 : 0
  }
}
