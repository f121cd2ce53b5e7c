// What a budget's account is made of: sums of windows, pieces of rolling ones, and by what an account is found.
//
// Promise: plain values; sums stop at `BudgetBook.mostSum` and never fall below zero. Only `BudgetBook` changes them.

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
  struct Account: Sendable {
    var isOpen = true
    /// False where the policy has no such rule any more.
    var hasRule = false
    var onExceed = BudgetPolicy.OnExceed.reject
    var isBrokers: Bool
    var isListed = false
    /// Listed by the policy before: what it knows is not forgotten for accounts that a new policy adds.
    var wasListed = false
    /// Made by new rules: what was spent before is asked of the books.
    var isPastUnknown = false
    var window: Int32
    var unit = BudgetUnit.usd
    var isRolling = false
    var warnAtPercent: Int32 = 0
    /// Requests that wait or run and count against it.
    var users: Int32 = 0
    var limit: Int64 = 0
    var used: UInt64 = 0
    var current = Sum()
    /// Of the window before, or after where the clock was set back.
    var other: Sum?
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
    var posted: Int64
  }

  struct Window: Sendable {
    var window: BudgetWindow
    var end = Instant.distantFuture
    /// The serials of this sort's windows, and the epoch in which each began; the newest last.
    var history: [(epoch: UInt32, serial: Int64)] = [(0, 0)]
    var serial: Int64 = 0
  }
}
