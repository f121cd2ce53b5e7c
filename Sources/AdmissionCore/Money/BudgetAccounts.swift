// What a budget's account is made of: sums of windows, pieces of rolling ones, and by what an account is found.
//
// Promise: plain values; sums stop at `BudgetBook.mostSum` and never fall below zero. Only `BudgetBook` changes them.

typealias AccountIndex = Slots<BudgetBook.Account>.Index
typealias WindowIndex = Slots<BudgetBook.Window>.Index

extension BudgetBook {
  /// The sum of one window.
  struct Sum: Sendable {
    var serial: Int64 = 0
    var posted: Int64 = 0
    var held: Int64 = 0
    var hasWarned = false
    var hasExceeded = false

    mutating func post(_ amount: Int64) { posted = min(posted + amount, BudgetBook.mostSum) }
    mutating func hold(_ amount: Int64) { held = min(held + amount, BudgetBook.mostSum) }
    mutating func release(_ amount: Int64) { held = max(0, held - amount) }
  }

  /// Only numbers: it is read for each decision.
  struct Account: SlotElement {
    /// False where the policy has no such rule any more.
    var hasRule = false
    var onExceed = BudgetPolicy.OnExceed.reject
    let isBrokers: Bool
    var isListed = false
    /// Takes what the books say was spent before: it was made by new rules, or by a start.
    var isPastUnknown = false
    let window: WindowIndex
    let unit: BudgetUnit
    var isRolling = false
    var warnAtPercent: Int32 = 0
    /// Requests that wait or run and count against it.
    var users: Int32 = 0
    var limit: Int64 = 0
    var used: UInt64 = 0
    var current = Sum()
    /// Of the window before, or after where the clock was set back.
    var other: Sum?

    init(_ key: Key, window: WindowIndex) {
      isBrokers = key.account.scope == .broker
      unit = key.unit
      self.window = window
    }

    mutating func take(_ rule: BudgetPolicy) {
      limit = min(max(0, rule.limit.nanodollars), BudgetBook.mostLimit)
      onExceed = rule.onExceed
      warnAtPercent = Int32(min(max(0, rule.warnAtPercent), 100))
    }
  }

  struct Key: Hashable, Sendable {
    var account: BudgetAccount
    var window: BudgetWindow
    var unit: BudgetUnit
    /// Among the rules of one scope that count in the same unit and have windows of the same name, in whatever time zone.
    var ordinal: Int32
  }

  /// A piece of a rolling window.
  struct Piece: Sendable {
    var serial: Int64
    /// By another clock: where the clock was set back, the piece that it was when this was spent, or that it could have been. 0 where it
    /// never was. What was spent counts while one of the two is in the window.
    var echo: Int64 = 0
    var posted: Int64

    /// - Parameter last: the piece that runs.
    func counts(in last: Int64) -> Bool {
      func isIn(_ serial: Int64) -> Bool { serial <= last && serial > last - BudgetWindow.pieces }
      return isIn(serial) || echo != 0 && isIn(echo)
    }
  }

  struct Window: SlotElement {
    var window: BudgetWindow
    /// Some rule has it: the shell tells of it.
    var isInForce = false
    var end = Instant.distantFuture
    /// The serials of this sort's windows, and the epoch in which each began; the newest last.
    var history: [(epoch: UInt32, serial: Int64)] = [(0, 0)]
    var serial: Int64 = 0
    /// Of a rolling window, the last piece that ever ran; beyond `serial` where the clock was set back.
    var highest: Int64 = 0
  }
}
