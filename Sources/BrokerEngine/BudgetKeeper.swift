// The calendar side of budgets: tells the core the current windows and raises, and tells them again whenever a window
// or a raise ends or the machine's clock is set.
//
// Promises: where the policy has no budgets, nothing is computed and no timer runs; a clock that was set is noticed at
// the next request, and within a second while requests are under way; without requests, the timer begins a new window
// on time.
import AdmissionCore
import EventLoop
import PolicyFile
import TextForms

/// A raise of a budget's limit until an instant of the wall clock.
public struct HeldRaise: Sendable, Equatable {
  /// nil means the broker.
  public var tenant: TenantID?
  /// One budget by its id; nil means every budget of the tenant itself, or of the broker.
  public var budget: String?
  /// In nano-dollars, tokens or requests, as `unit` says; budgets in other units are not raised.
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

/// A span of time that counts in a budget's window. It ends now, or where the window's next span begins.
public struct BudgetSpan: Sendable, Equatable {
  public var window: BudgetWindow
  /// The scopes whose accounts have this window.
  public var scopes: Set<BudgetPolicy.Scope>
  public var began: WallInstant
  /// For a rolling window, the number of its piece.
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

/// What the ledger is asked when a new policy has brought new budgets or new daily limits.
public struct PastQuestion: Sendable, Equatable {
  /// Empty where no budget is new.
  public var spans: [BudgetSpan]
  /// When the day began, where there are daily limits.
  public var dayBegan: WallInstant?
  /// When the policy came. Calls that ended before it are asked for; later ones have been counted here.
  public var endedBefore: WallInstant
}

final class BudgetKeeper {
  /// If the difference of the two clocks changes by more than this, a clock was set.
  private static let step: Int64 = 1_000_000_000
  private static let day: Int64 = 86_400_000_000_000
  private var calendars: [String: BudgetCalendar] = [:]
  private var windows: [BudgetWindow] = []
  /// True where the policy has daily limits.
  private var needsDays = false
  private(set) var raises: [HeldRaise] = []
  /// Monotonic nanoseconds at which the next window or raise ends; `.max` where none does.
  private var nextEnd = UInt64.max
  /// Wall minus monotonic time when the core was last told.
  private var offset: Int64 = 0
  private var timer: LoopTimer?
  /// True while requests are under way: one of them may wait for a window to end, and a clock that is set ends the
  /// window without an event.
  private let isWaitedFor: () -> Bool
  /// True while the clock is checked once a second.
  private var isWatching = false
  private let tell: (AdmissionEvent) -> Void
  /// The monotonic time now, and the wall clock at a monotonic instant.
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

  /// New rules may need other windows.
  func policyChanged(_ windows: [BudgetWindow], needsDays: Bool = false) {
    self.needsDays = needsDays
    self.windows = windows.filter { $0.period != .total }
    for window in windows where calendars[window.timeZone] == nil {
      // The check of the policy knew the zone. Should its rules have gone since, UTC is better than no window.
      calendars[window.timeZone] = BudgetCalendar(timeZone: window.timeZone) ?? BudgetCalendar(timeZone: "UTC")
    }
    tellAll(at: now())
  }

  /// Adds a raise, which takes effect at once.
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

  /// The spans of the current windows, for which the ledger is asked what was spent: one per window, from its beginning
  /// (`total` begins at 0); for a rolling window one per piece.
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

  /// The number of a rolling window's current piece at `wall`.
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

  /// When the day began, where there are daily limits; else nil.
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
