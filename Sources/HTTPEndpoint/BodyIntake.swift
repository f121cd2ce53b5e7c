// Decides which clients go on sending their bodies when memory is short, and which bodies give way.
//
// The order: free memory goes to small bodies first, then to large ones by age, so that the oldest can be completed; a
// large body that comes later stands behind those that wait. When a half-received body has waited for
// `limits.roomTimeout`, others give way: first those that come very slowly, then the youngest, until the oldest waiting
// body can be completed; where no body is younger, it gives way itself. A waiting body of which next to nothing was
// taken gives way after the same time.
//
// Promises: the oldest half-received body whose client goes on sending always makes progress, so that there is no
// deadlock; a waiting body holds no more than it was granted; without a shortage none of this is called.
import EventLoop
import HTTPMessage

/// A request body that is arriving, as the intake sees it.
protocol ArrivingBody: AnyObject {
  /// When the request's head came, in monotonic nanoseconds.
  var startedAt: UInt64 { get }
  /// The bytes that have come.
  var taken: Int { get }
  /// The bytes that are still to come, as far as is known.
  var missing: Int { get }
  /// False where the rest is no longer needed.
  var isArriving: Bool { get }
  /// True where we are what holds the body up: the client has sent bytes that we do not read, or may not send more.
  var isStuck: Bool { get }
  /// True where the body may use the memory that is reserved for urgent calls.
  var isUrgent: Bool { get }
  var wait: BodyWait { get set }
  /// Lets the client send on.
  func goOn()
  /// Refuses the request now, which frees its memory.
  func giveWay()
}

/// How long we have held a body up.
struct BodyWait {
  /// Since when the body waits for room, in monotonic nanoseconds; nil where it does not wait.
  var since: UInt64?
  /// The bytes that had come when the wait began: while nothing is taken, it is still the same wait.
  var takenThen = -1
  var sinceThen: UInt64 = 0
  /// The sum of the waits that are over, in nanoseconds; they do not count against the client.
  var total: UInt64 = 0
  /// True where the body was told to go on, so that it goes before those that wait.
  var hasTurn = false
}

final class BodyIntake {
  /// Bodies with at most this many missing bytes are small: they wait for room, but not behind larger ones.
  static let small = 64 << 10
  /// The most bytes that are taken with a head while memory is full.
  static let nextToNothing = 4 << 10
  /// The least room with which the first large body may go on.
  private static let leastRoom = 64 << 10
  /// How often waiting bodies are reviewed, besides whenever memory comes back.
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
  /// Called when memory is short, and again when bodies give way, at most ten times a second: the free heap that they
  /// leave can be returned to the system.
  var onShortage: (() -> Void)?
  private var lastShortage: UInt64 = 0
  /// True where `onShortage` must be called at the next review.
  private var hasShortageToTell = false
  private static let shortagePause: UInt64 = 100_000_000

  /// - Parameters:
  ///   - bodies: all arriving bodies of all connections.
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
    // A weak reference would make every retain of the intake slow; `deinit` removes the closures.
    memory.onRoom = { [unowned self] in reviewSoon() }
    memory.onGivenUp = { [unowned self] in tellShortage() }
  }

  deinit {
    memory.onRoom = nil
    memory.onGivenUp = nil
  }

  /// True while a body waits: then large bodies must ask before they go on.
  var isCrowded: Bool { !waiting.isEmpty }

  /// True where the next bytes of a body must wait.
  func holdsUp(_ body: any ArrivingBody) -> Bool {
    guard memory.isFull || !waiting.isEmpty else { return false }
    if body.missing <= Self.small {
      return memory.isFull && (memory.isExhausted || !body.isUrgent)
    }
    return memory.isFull || !body.wait.hasTurn
  }

  /// Adds the body to those that wait.
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

  /// Reviews all waiting bodies: lets them go on, or makes them give way.
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

  /// Removes the waiting bodies for which `condition` is true.
  private func drop(where condition: (any ArrivingBody) -> Bool) {
    let now = now()
    waiting.removeAll { body in
      guard condition(body) else { return false }
      if let since = body.wait.since, body.isStuck { body.wait.total += now &- since }
      body.wait.since = nil
      return true
    }
  }

  /// Gives free memory to waiting bodies in order. What bodies that were told to go on still miss is kept for them,
  /// except from bodies that have waited too long.
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

  /// Makes room for bodies that have waited too long.
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
        // Memory has come back: the waits of the others begin again.
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

  /// All memory is taken, even the part for urgent calls: the youngest bodies give way at once, but never the oldest.
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

  /// The half-received bodies, in the order in which they give way.
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
