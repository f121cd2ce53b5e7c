// The parts of a budget's account: sums of windows, pieces of rolling windows, and the key by which an account is
// found.
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
    /// The limit when the marks were looked at last: a higher one takes them back.
    var toldLimit: Int64 = 0
    /// What the newest call needed that was refused; 0 once a call has been let in, and where none was refused.
    var refusedNeed: Int64 = 0

    mutating func post(_ amount: Int64) { posted = min(posted + amount, BudgetBook.mostSum) }
    mutating func hold(_ amount: Int64) { held = min(held + amount, BudgetBook.mostSum) }
    /// Holds it for a call that is let in.
    mutating func admit(_ amount: Int64) {
      hold(amount)
      refusedNeed = 0
    }
    mutating func release(_ amount: Int64) { held = max(0, held - amount) }
  }

  /// Holds numbers only, since each decision reads it.
  struct Account: SlotElement {
    /// False once the policy no longer has the rule.
    var hasRule = false
    var onExceed = BudgetPolicy.OnExceed.reject
    let isBrokers: Bool
    var isListed = false
    /// True until the ledger has told what was spent before the account was made, by new rules or at the start.
    var isPastUnknown = false
    let window: WindowIndex
    let unit: BudgetUnit
    var isRolling = false
    var warnAtPercent: Int32 = 0
    /// The number of waiting or running requests that count against it.
    var users: Int32 = 0
    var limit: Int64 = 0
    var used: UInt64 = 0
    var current = Sum()
    /// The sum of the window before; of the window after, where the clock was set back.
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
    /// The rule's place among the rules of its scope with the same unit and the same name of window, in whatever time
    /// zone.
    var ordinal: Int32
  }

  /// A piece of a rolling window.
  struct Piece: Sendable {
    var serial: Int64
    /// A second serial, for a clock that was set back: the piece in which the amount was, or may have been, spent by
    /// the clock that was ahead; 0 where the clock was never set back. The amount counts while one of the two serials
    /// is in the window.
    var echo: Int64 = 0
    var posted: Int64

    /// - Parameter last: the serial of the current piece.
    func counts(in last: Int64) -> Bool {
      func isIn(_ serial: Int64) -> Bool { serial <= last && serial > last - BudgetWindow.pieces }
      return isIn(serial) || echo != 0 && isIn(echo)
    }
  }

  struct Window: SlotElement {
    var window: BudgetWindow
    /// True where a rule has this window, so that the shell reports its changes.
    var isInForce = false
    var end = Instant.distantFuture
    /// The serials of the windows of this kind, and the epoch in which each began; the newest is the last.
    var history: [(epoch: UInt32, serial: Int64)] = [(0, 0)]
    var serial: Int64 = 0
    /// For a rolling window, the highest serial that a piece ever had; above `serial` where the clock was set back.
    var highest: Int64 = 0
  }
}
