// Who goes on sending a body when memory is short, and who gives way.
//
// The order. What is free goes to small bodies first, then to large ones by age, so that the oldest can become whole; a large one that
// comes later stands behind those that wait. A client that has waited for `limits.roomTimeout` makes others give way: those that come
// very slowly, then the youngest, until the oldest that waits can become whole; where nobody is younger, it gives way itself. A body of
// which next to nothing was taken meanwhile gives way after the same time.
//
// Promises: the oldest half-received body that its client goes on sending always gets on, so nothing stands still for ever; nobody who
// waits holds more than was granted; without a shortage nothing of this is ever called.
import EventLoop
import HTTPMessage

/// A request body on its way, as the intake sees it.
protocol ArrivingBody: AnyObject {
  /// When its head came, in nanoseconds.
  var startedAt: UInt64 { get }
  /// Bytes that have come.
  var taken: Int { get }
  /// Bytes that are still to come, as far as anybody knows.
  var missing: Int { get }
  /// False where nobody wants the rest any more.
  var isArriving: Bool { get }
  /// True where its client has sent what we do not read: it is we who wait, or it has no leave to send.
  var isStuck: Bool { get }
  /// True where it may take of the memory that is kept for such.
  var isUrgent: Bool { get }
  var wait: BodyWait { get set }
  /// Its client may send on.
  func goOn()
  /// Its client gets an answer now, and its memory comes back.
  func giveWay()
}

/// How long a body has been held up by us.
struct BodyWait {
  /// Since when it waits for room, in nanoseconds; nil where it does not.
  var since: UInt64?
  /// What had come when it began to wait: as long as nothing has been taken since, the wait is the same.
  var takenThen = -1
  var sinceThen: UInt64 = 0
  /// Waits that are over, in nanoseconds: no sign of a slow client.
  var total: UInt64 = 0
  /// It was told to go on, and may pass those that wait.
  var hasTurn = false
}

final class BodyIntake {
  /// Bodies of so many bytes at most wait for room, but not behind larger ones.
  static let small = 64 << 10
  /// What comes with a head while memory is full.
  static let nextToNothing = 4 << 10
  /// What room there must be for a large body to go on.
  private static let leastRoom = 64 << 10
  /// How often those who wait are looked at, beside the moments at which memory comes back.
  private static let pause = Duration.milliseconds(100)
  /// Where others wait, a body that has taken longer than `bodyTimeout` must have come at this rate, in bytes per second.
  private static let leastRate: UInt64 = 16 << 10

  let memory: MemoryAccount
  private let limits: SessionLimits
  private let bodies: () -> [any ArrivingBody]
  private let loop: EventLoop?
  private let now: () -> UInt64
  private var waiting: [any ArrivingBody] = []
  private var timer: LoopTimer?
  private var reviewIsComing = false
  /// Told where memory is short, and again as bodies give way, ten times a second at most: what they leave as free heap may be given
  /// back to the system.
  var onShortage: (() -> Void)?
  private var lastShortage: UInt64 = 0
  /// It is to be told with the next look.
  private var hasShortageToTell = false
  private static let shortagePause: UInt64 = 100_000_000

  /// - Parameters:
  ///   - bodies: all bodies that are on their way, of all connections.
  ///   - loop: nil in tests that call `review` themselves.
  init(
    memory: MemoryAccount, limits: SessionLimits, loop: EventLoop?, now: @escaping () -> UInt64,
    bodies: @escaping () -> [any ArrivingBody]
  ) {
    self.memory = memory
    self.limits = limits
    self.bodies = bodies
    self.loop = loop
    self.now = now
    timer = loop.map { LoopTimer($0) { [unowned self] in review() } }
    // A weak reference would make every retain of the intake slow; the account lets go of it in `deinit`.
    memory.onRoom = { [unowned self] in reviewSoon() }
    memory.onGivenUp = { [unowned self] in tellShortage() }
  }

  deinit {
    memory.onRoom = nil
    memory.onGivenUp = nil
  }

  /// True while somebody waits: then large bodies ask before they go on.
  var isCrowded: Bool { !waiting.isEmpty }

  /// Whether the next bytes of a body must wait.
  func holdsUp(_ body: any ArrivingBody) -> Bool {
    guard memory.isFull || !waiting.isEmpty else { return false }
    if body.missing <= Self.small {
      return memory.isFull && (memory.isExhausted || !body.isUrgent)
    }
    return memory.isFull || !body.wait.hasTurn
  }

  /// The body waits from now on.
  func enter(_ body: any ArrivingBody) {
    guard body.wait.since == nil else { return }
    if body.wait.takenThen != body.taken {
      body.wait.takenThen = body.taken
      body.wait.sinceThen = now()
    }
    body.wait.since = body.wait.sinceThen
    body.wait.hasTurn = false
    waiting.append(body)
    memory.awaitRoom()
    if waiting.count == 1 { tellShortage() }
    if let timer, !timer.isScheduled { timer.schedule(after: Self.pause) }
    if memory.isExhausted { reviewSoon() }
  }

  private func tellShortage() {
    let now = now()
    hasShortageToTell = lastShortage != 0 && now &- lastShortage < Self.shortagePause
    guard !hasShortageToTell else {
      if let timer, !timer.isScheduled { timer.schedule(after: Self.pause) }
      return
    }
    lastShortage = now
    onShortage?()
  }

  private func reviewSoon() {
    guard let loop, !reviewIsComing else { return }
    reviewIsComing = true
    loop.atEndOfTurn { [self] in
      reviewIsComing = false
      review()
    }
  }

  /// Looks at all who wait.
  func review() {
    drop { !$0.isArriving }
    if memory.isExhausted { relieve() }
    grant()
    if hasShortageToTell { tellShortage() }
    let now = now()
    let limit = limits.roomNanoseconds
    let overdue = waiting.filter { now &- ($0.wait.since ?? now) >= limit }
    if !overdue.isEmpty { makeRoom(for: overdue, now) }
    if !waiting.isEmpty { memory.awaitRoom() }
    guard !waiting.isEmpty || hasShortageToTell else { return }
    timer?.schedule(after: Self.pause)
  }

  /// Takes those out of the list for whom `condition` holds.
  private func drop(where condition: (any ArrivingBody) -> Bool) {
    let now = now()
    waiting.removeAll { body in
      guard condition(body) else { return false }
      if let since = body.wait.since, body.isStuck { body.wait.total += now &- since }
      body.wait.since = nil
      return true
    }
  }

  /// Gives what is free to those who wait, in order. What those miss who have their turn is kept for them, but from nobody who has
  /// waited for too long.
  private func grant() {
    guard !waiting.isEmpty, !memory.isExhausted else { return }
    let now = now()
    var room = memory.room
    let kept = bodies().reduce(0) { $0 + ($1.wait.hasTurn && $1.isArriving ? $1.missing : 0) }
    var whole = memory.wholeRoom
    let order = waiting.sorted { left, right in
      let (leftIsLarge, rightIsLarge) = (left.missing > Self.small, right.missing > Self.small)
      return leftIsLarge == rightIsLarge ? left.startedAt < right.startedAt : rightIsLarge
    }
    var chosen: [any ArrivingBody] = []
    var isFirstLarge = true
    for body in order {
      let need = body.missing
      let isLarge = need > Self.small
      let isOverdue = now &- (body.wait.since ?? now) >= limits.roomNanoseconds
      let free = isLarge && !isOverdue ? max(0, room - kept) : room
      if need <= free || (isLarge && isFirstLarge && free >= Self.leastRoom)
        || (!isLarge && body.isUrgent && need <= whole)
      {
        chosen.append(body)
        room = max(0, room - need)
        whole = max(0, whole - need)
      }
      if isLarge { isFirstLarge = false }
    }
    let isChosen = Set(chosen.map { ObjectIdentifier($0) })
    drop { isChosen.contains(ObjectIdentifier($0)) }
    for body in chosen {
      body.wait.hasTurn = true
      body.goOn()
    }
  }

  /// Somebody has waited for too long.
  private func makeRoom(for overdue: [any ArrivingBody], _ now: UInt64) {
    let stuck = overdue.filter { $0.taken > 0 && $0.isStuck && $0.isArriving }
    if let oldest = stuck.min(by: { $0.startedAt < $1.startedAt }) {
      let need = min(oldest.missing, memory.ordinaryLimit)
      var gaveWay = 0
      for victim in victims(now) where victim !== oldest {
        if memory.room >= need { break }
        guard victim.startedAt > oldest.startedAt || isSlow(victim, now) else { continue }
        victim.giveWay()
        gaveWay += 1
      }
      if memory.room < min(need, Self.leastRoom) {
        oldest.giveWay()
      } else if gaveWay > 0 {
        // The others have what is left of the memory before them again.
        for body in waiting where body.taken > 0 && body !== oldest {
          body.wait.since = now
          body.wait.sinceThen = now
        }
      }
      drop { !$0.isArriving }
      tellShortage()
      grant()
    }
    for body in overdue
    where body.wait.since != nil && body.isArriving && body.taken <= Self.nextToNothing && memory.isFull {
      body.giveWay()
    }
    drop { !$0.isArriving }
  }

  /// Everything is taken, the part for urgent calls too: the youngest give way at once, but never the oldest.
  private func relieve() {
    let now = now()
    let ranked = victims(now)
    let oldest = ranked.filter { !isSlow($0, now) }.min { $0.startedAt < $1.startedAt }
    for victim in ranked where victim !== oldest {
      guard memory.isFull else { break }
      victim.giveWay()
    }
    drop { !$0.isArriving }
    tellShortage()
  }

  /// Half-received bodies that hold something, in the order in which they give way.
  private func victims(_ now: UInt64) -> [any ArrivingBody] {
    var ranked: [(body: any ArrivingBody, rank: Int)] = []
    for body in bodies() where body.taken > 0 && body.isArriving {
      ranked.append((body, isSlow(body, now) ? 0 : body.isUrgent ? 2 : 1))
    }
    ranked.sort { left, right in
      left.rank == right.rank ? left.body.startedAt > right.body.startedAt : left.rank < right.rank
    }
    return ranked.map(\.body)
  }

  private func isSlow(_ body: any ArrivingBody, _ now: UInt64) -> Bool {
    let own = (now &- body.startedAt).subtractingReportingOverflow(body.wait.total).partialValue
    return own < 1 << 62 && own > limits.bodyNanoseconds && UInt64(body.taken) < own / 1_000_000_000 * Self.leastRate
  }
}
