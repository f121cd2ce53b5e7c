// The calendar side of budgets: tells the core which windows hold and which raises do, again whenever a window or a raise ends or
// the machine's clock is set.
//
// Promises: nothing is computed, and no timer runs, where the policy has no budgets; a clock that was set is noticed with the next request,
// and within a second while any is under way; without requests a new window begins on time by the timer.
import AdmissionCore
import EventLoop
import PolicyFile
import TextForms

/// A budget's limit lifted until a moment of the wall clock.
public struct HeldRaise: Sendable, Equatable {
  /// nil is the broker.
  public var tenant: TenantID?
  /// One budget by its id; nil is every budget of the tenant's own, or of the broker.
  public var budget: String?
  /// In nano-dollars, tokens or requests, as `unit` says; budgets in other units are not raised by it.
  public var amount: Money
  public var unit: BudgetUnit
  public var until: WallInstant

  public init(
    tenant: TenantID?, budget: String? = nil, amount: Money, unit: BudgetUnit = .usd, until: WallInstant
  ) {
    self.unit = unit
    self.tenant = tenant
    self.budget = budget
    self.amount = amount
    self.until = until
  }
}

/// A stretch of time that counts in a budget's window, up to now or to the next span of the same window.
public struct BudgetSpan: Sendable, Equatable {
  public var window: BudgetWindow
  /// Whose accounts have it.
  public var scopes: Set<BudgetPolicy.Scope>
  public var began: WallInstant
  /// Of a rolling window.
  public var piece: Int64?

  public init(
    window: BudgetWindow, scopes: Set<BudgetPolicy.Scope> = Set(BudgetPolicy.Scope.allCases), began: WallInstant,
    piece: Int64? = nil
  ) {
    self.window = window
    self.scopes = scopes
    self.began = began
    self.piece = piece
  }
}

/// What the books are asked when a policy has brought budgets, or limits by the day, that were not there before.
public struct PastQuestion: Sendable, Equatable {
  /// Empty where no budget is new.
  public var spans: [BudgetSpan]
  /// When the day began, where there are limits by the day.
  public var dayBegan: WallInstant?
  /// When the policy came: what ended before it is asked, everything later has been counted.
  public var endedBefore: WallInstant
}

final class BudgetKeeper {
  /// A difference between the two clocks beyond this is a clock that was set.
  private static let step: Int64 = 1_000_000_000
  private static let day: Int64 = 86_400_000_000_000
  private var calendars: [String: BudgetCalendar] = [:]
  private var windows: [BudgetWindow] = []
  /// Limits count by the day.
  private var needsDays = false
  private(set) var raises: [HeldRaise] = []
  /// Monotonic nanoseconds at which something ends; `.max` where nothing does.
  private var nextEnd = UInt64.max
  /// Wall minus monotonic, as they were when the core was told.
  private var offset: Int64 = 0
  private var timer: LoopTimer?
  /// True while requests are under way: one of them may wait for a window to end, and a clock that is set ends it without a word.
  private let isWaitedFor: () -> Bool
  /// The clock is looked at once a second.
  private var isWatching = false
  private let tell: (AdmissionEvent) -> Void
  /// Monotonic now, and the wall clock at a monotonic instant.
  private let now: () -> UInt64
  private let wall: (UInt64) -> Int64

  init(
    loop: EventLoop?, now: @escaping () -> UInt64, wall: @escaping (UInt64) -> Int64,
    isWaitedFor: @escaping () -> Bool = { false }, tell: @escaping (AdmissionEvent) -> Void
  ) {
    self.isWaitedFor = isWaitedFor
    self.now = now
    self.wall = wall
    self.tell = tell
    if let loop { timer = LoopTimer(loop) { [unowned self] in timerFired() } }
  }

  /// Other rules: other windows may be needed.
  func policyChanged(_ windows: [BudgetWindow], needsDays: Bool = false) {
    self.needsDays = needsDays
    self.windows = windows.filter { $0.period != .total }
    for window in windows where calendars[window.timeZone] == nil {
      // The policy's check knows the zone; where its rules have gone since, UTC is better than no window.
      calendars[window.timeZone] = BudgetCalendar(timeZone: window.timeZone) ?? BudgetCalendar(timeZone: "UTC")
    }
    tellAll(at: now())
  }

  /// Adds a raise; it holds at once.
  func raise(_ raise: HeldRaise) {
    raises.append(raise)
    tellAll(at: now())
  }

  func restore(_ earlier: [HeldRaise]) {
    raises += earlier
    tellAll(at: now())
  }

  /// Called before each decision about a new request: cheap where nothing has ended.
  func check(at now: UInt64) {
    guard !windows.isEmpty || !raises.isEmpty || needsDays else { return }
    if now >= nextEnd || isClockSet(at: now) { tellAll(at: now) }
    if !isWatching, !windows.isEmpty {
      isWatching = true
      arm()
    }
  }

  /// The spans of the windows that hold now, whose spending is to be asked for: one for each, from its beginning; for `total`
  /// from 0; for a rolling one each of its pieces.
  func spans(_ windows: [(window: BudgetWindow, scopes: Set<BudgetPolicy.Scope>)]) -> [BudgetSpan] {
    let wall = WallInstant(nanoseconds: wall(now()))
    return windows.flatMap { window, scopes -> [BudgetSpan] in
      guard window.period == .rolling else {
        let begin = calendars[window.timeZone]?.window(window.period, at: wall)?.begin
        return [BudgetSpan(window: window, scopes: scopes, began: begin ?? WallInstant(nanoseconds: 0))]
      }
      let piece = Self.piece(of: window, at: wall.nanoseconds)
      return ((piece - BudgetWindow.pieces + 1)...piece).map {
        BudgetSpan(
          window: window, scopes: scopes, began: WallInstant(nanoseconds: $0 * window.pieceLength * 1_000_000_000),
          piece: $0)
      }
    }
  }

  /// The number of the piece of a rolling window that runs at `wall`.
  private static func piece(of window: BudgetWindow, at wall: Int64) -> Int64 {
    max(0, wall) / 1_000_000_000 / window.pieceLength
  }

  private func state(of window: BudgetWindow, at wall: Int64) -> (serial: Int64, end: WallInstant)? {
    guard window.period == .rolling else {
      return calendars[window.timeZone]?.window(window.period, at: WallInstant(nanoseconds: wall)).map {
        ($0.begin.nanoseconds / 1_000_000_000, $0.end)
      }
    }
    let piece = Self.piece(of: window, at: wall)
    return (piece, WallInstant(nanoseconds: (piece + 1) * window.pieceLength * 1_000_000_000))
  }

  /// When the day began, where limits count by the day.
  var dayBegan: WallInstant? {
    needsDays ? WallInstant(nanoseconds: max(0, wall(now())) / Self.day * Self.day) : nil
  }

  private func timerFired() {
    let now = now()
    isWatching = isWaitedFor()
    if now >= nextEnd || isClockSet(at: now) { tellAll(at: now) } else { arm() }
  }

  private func isClockSet(at now: UInt64) -> Bool {
    let drift = wall(now) &- Int64(truncatingIfNeeded: now) &- offset
    return drift > Self.step || drift < -Self.step
  }

  private func tellAll(at now: UInt64) {
    let wallNow = wall(now)
    offset = wallNow &- Int64(truncatingIfNeeded: now)
    nextEnd = .max
    func instant(_ end: WallInstant) -> Instant {
      let core = end.nanoseconds &- offset
      nextEnd = min(nextEnd, UInt64(max(0, core)))
      return Instant(nanoseconds: core)
    }
    let states = windows.compactMap { window -> BudgetWindowState? in
      guard let (serial, end) = state(of: window, at: wallNow) else { return nil }
      return BudgetWindowState(window: window, serial: serial, end: instant(end))
    }
    if !states.isEmpty { tell(.budgetWindowsBegan(states)) }
    if needsDays {
      let serial = max(0, wallNow) / Self.day
      tell(.dayBegan(Day(serial: serial, end: instant(WallInstant(nanoseconds: (serial + 1) * Self.day)))))
    }
    let hadRaises = !raises.isEmpty
    raises.removeAll { $0.until.nanoseconds <= wallNow }
    if hadRaises {
      tell(
        .budgetRaisesReplaced(
          raises.map {
            BudgetRaise(
              tenant: $0.tenant, budget: $0.budget, amount: $0.amount, unit: $0.unit, until: instant($0.until))
          }))
    }
    arm()
  }

  private func arm() {
    let due = isWatching ? min(nextEnd, now() &+ UInt64(Self.step)) : nextEnd
    if due == .max { timer?.cancel() } else { timer?.schedule(at: due) }
  }
}
