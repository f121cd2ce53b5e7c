// Virtual time for flows that share one thing: tenants among one another, or the sessions of a tenant.
//
// A flow's position is its real use so far, divided by its weight. Its *tag* orders the turns: what its ended calls have really cost, and
// for each running one what is expected of it. Its *settled* position counts running calls as nothing: no estimate is in it.
//
// Virtual time is where newcomers start. It is the least settled position of all flows that are served in turn (they wait, and have been
// granted something since they began to wait), and never goes back. So it knows real costs only. Were it moved by estimates, it would
// run away from the tags of those who cost less than expected, and whoever comes back from idling would have to wait until they had
// caught up: for ever, where estimates are at the 90th percentile. Where no flow is served in turn (each call is its session's only one), virtual time
// moves on with each ended call by its real cost / (all weights that wait or run).
//
// A flow that begins to wait (a *stay*) starts at virtual time, or at its own tag where that is later; where nothing of it runs, never later
// than the dearest call of its last busy time: more than one call it does not owe. It stands behind those who came
// to the same place before it. So every other flow gets at most that much before it, and one call more.
//
// One thing is left that an estimate could spoil: calls that are granted while somebody waits for his debt to be worked off, and that are
// far dearer than expected. While a debtor waits, a grant counts as at least what is owed, until its real cost is known.
//
// A flow whose tag is behind virtual time when it is granted had something in its way (its own limit, a provider that was full or down): what
// it could not use meanwhile is not owed to it. It starts anew at virtual time, and others' newcomers are not held back for it.
//
// Why this one. Plain start-time fair queueing (newcomers start at the tag of the one served last) holds only with exact costs: with calls in
// flight the tag is a guess. Starting at the smallest tag is too late where tags are too high and come down afterwards. The mean of all (virtual
// time as in weighted fair queueing) lets a newcomer wait for whoever is behind the mean. Positions without estimates need nothing but
// a second heap.

/// What a call counts as in the order of turns.
enum FairCost {
  /// The largest cost that counts for one call, in tokens. No real call comes near it; one absurd number must not put a flow behind for hours.
  static let most: Int64 = 1 << 22
  fileprivate static let scale: Int64 = 1024

  static func clamped(_ cost: Int64) -> Int64 { min(max(cost, 0), most) }

  fileprivate static func scaled(_ cost: Int64, weight: Int) -> Int64 { clamped(cost) * scale / Int64(max(1, weight)) }

  /// Far from overflow for centuries; after that all are equal, and turns go by age.
  fileprivate static func sum(_ left: Int64, _ right: Int64) -> Int64 { min(max(left + right, -(1 << 61)), 1 << 61) }
}

/// A flow's place in its level, in tokens × 1024 / weight.
struct FairPosition: Sendable {
  /// Grants before the present stay: real costs, and the expectation of those that run.
  private var past: Int64 = 0
  private var pastRunning: Int64 = 0
  /// Virtual time at the start of the stay.
  private var floor: Int64 = 0
  /// Grants of this stay.
  private var since: Int64 = 0
  private var sinceRunning: Int64 = 0
  /// The dearest call that has ended since nothing of the flow ran or waited.
  private var dearest: Int64 = 0
  fileprivate(set) var running: Int32 = 0
  fileprivate(set) var stay: UInt32 = 0
  /// It was granted something in this stay, and nothing stood in its way since.
  var isInTurn = false
  /// It waits for what it owes.
  fileprivate(set) var isDebtor = false

  /// Where its next call starts, as far as can be expected.
  var tag: Int64 { FairCost.sum(max(past, floor), since) }
  /// The least that it can be once all that runs has ended.
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

/// What a grant was counted as, until its real cost is known.
struct FairCharge: Sendable {
  var expected: Int64 = 0
  var stay: UInt32 = 0
}

/// - Parameter Member: what its flows are: tenants, or lanes.
struct FairLevel<Member: SlotElement>: Sendable {
  private(set) var virtualTime: Int64 = 0
  /// The weights of all flows that wait or run.
  private(set) var busyWeight = 0
  /// The furthest that any tag has come.
  private var furthest: Int64 = 0
  /// The largest debt of those who wait for it to be worked off, in tokens × 1024, and how many they are.
  private var debt: Int64 = 0
  private var debtors: Int32 = 0
  /// The flows that are served in turn, by settled position.
  var inTurn = IndexedHeap<Member>()

  /// Virtual time keeps up with the flows that are served in turn. False where there are none.
  @discardableResult
  mutating func follow() -> Bool {
    guard let least = inTurn.first else { return false }
    virtualTime = max(virtualTime, least.key)
    return true
  }

  /// The flow begins to wait.
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

  /// The flow waits no longer.
  mutating func leave(_ position: inout FairPosition, weight: Int) {
    forgive(&position)
    position.isInTurn = false
    if position.running == 0 { rest(weight) }
  }

  /// The flow's head is granted; it still counts as waiting. A `settle` must follow.
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

  /// The real cost of a grant is known; the owner has yet to tell the heap, to `advance`, and to `rest` where nothing of the flow is left.
  mutating func settle(_ charge: FairCharge, _ position: inout FairPosition, real: Int64, weight: Int) {
    position.settle(charge.expected, real: FairCost.scaled(real, weight: weight), stay: charge.stay)
    furthest = max(furthest, position.tag)
  }

  /// After each settled call.
  mutating func advance(real: Int64) {
    if !follow() { virtualTime = FairCost.sum(virtualTime, FairCost.scaled(real, weight: busyWeight)) }
  }

  /// Nothing of a flow waits or runs any more.
  mutating func rest(_ weight: Int) {
    busyWeight -= weight
    // The end of everybody's busy time: all start anew.
    if busyWeight <= 0 { virtualTime = max(virtualTime, furthest) }
  }

  mutating func weightChanged(by difference: Int) { busyWeight += difference }

  private mutating func forgive(_ position: inout FairPosition) {
    guard position.isDebtor else { return }
    position.isDebtor = false
    debtors -= 1
    // The others may owe less than the one who leaves.
    debt = debtors > 0 ? debt - debt / 8 : 0
  }
}
