// Follows the windows of budgets over time: which sum counts now, and to which window a late result belongs.
//
// Why windows have serial numbers: the shell's clock may be set back or forward. Each account remembers the sum of its
// current window and of the one before, so that what was spent is still known when the clock is set back over a border,
// or forward and back again. Pieces of rolling windows are remembered by the serials of both clocks, so that an amount
// counts for one window's length whichever clock was right.

extension BudgetBook {
  mutating func windowNumber(_ window: BudgetWindow) -> WindowIndex {
    windows.indices.first { windows[$0].window == window }
      ?? windows.insert(Window(window: window, isInForce: rules.windows.contains(window)))
  }

  /// Takes over the current windows. The first report of a kind of window, and the first after no rule had it, gives
  /// its serial to what has been counted so far.
  mutating func begin(_ states: [BudgetWindowState]) {
    for state in states {
      let number = windowNumber(state.window)
      windows[number].end = state.end
      let known = windows[number].serial
      guard known != state.serial else { continue }
      let isFirst = windows[number].history.count == 1 && known == 0 || !windows[number].isInForce
      windows[number].serial = state.serial
      if state.window.period == .rolling {
        beginPiece(of: number, after: known)
      } else if isFirst {
        windows[number].history = [(0, state.serial)]
        for index in accounts.indices where accounts[index].window == number {
          if accounts[index].current.serial == 0 { accounts[index].current.serial = state.serial }
          roll(index)
        }
      } else {
        epoch += 1
        windows[number].history.append((epoch, state.serial))
        if windows[number].history.count > 8 { windows[number].history.removeFirst() }
        // A clock is seldom set back: so roll all accounts at once, before another step hides what they know.
        guard state.serial < known else { continue }
        for index in accounts.indices where accounts[index].window == number { roll(index) }
      }
    }
  }

  private mutating func beginPiece(of number: WindowIndex, after known: Int64) {
    let serial = windows[number].serial
    windows[number].history = [(0, serial)]
    windows[number].highest = max(windows[number].highest, serial)
    guard serial < known || known == 0 else { return }
    for index in accounts.indices where accounts[index].window == number {
      // Amounts of a clock that was ahead are moved to the current piece, and keep their later serial as an echo.
      if var list = pieces[index] {
        for piece in list.indices where list[piece].serial > serial || known == 0 {
          if known != 0 { list[piece].echo = max(list[piece].serial, list[piece].echo) }
          list[piece].serial = serial
        }
        pieces[index] = list
      }
      roll(index)
    }
  }

  /// The sum that counts now, without changing anything.
  func sum(of number: AccountIndex) -> Sum {
    let account = accounts[number]
    let serial = windows[account.window].serial
    if account.current.serial == serial { return account.current }
    if account.isRolling {
      var rolled = account.current
      rolled.serial = serial
      rolled.posted = 0
      for piece in pieces[number] ?? [] where piece.counts(in: serial) {
        rolled.posted = min(rolled.posted + piece.posted, Self.mostSum)
      }
      // Once the sum has fallen below a mark, the mark can be passed and reported again: the warning once it is well below
      // it, for a sum that stays near it goes below it with each piece.
      let warning = Self.share(account.limit, percent: Int64(account.warnAtPercent))
      if rolled.posted < Self.share(warning, percent: 90) { rolled.hasWarned = false }
      if rolled.posted < account.limit, rolled.refusedNeed <= account.limit - rolled.posted {
        rolled.hasExceeded = false
      }
      return rolled
    }
    if let other = account.other, other.serial == serial { return other }
    var fresh = Sum(serial: serial)
    // Where the clock was set back into a window that is not remembered, what is known to be spent stays spent. (A
    // window strictly between the two remembered ones was skipped, so nothing was spent in it.)
    if serial < account.current.serial, (account.other?.serial ?? .max) > serial {
      fresh.posted = min(account.current.posted + account.current.held, Self.mostSum)
    }
    return fresh
  }

  /// Makes the current window of the account's kind the account's current one.
  mutating func roll(_ number: AccountIndex) {
    let account = accounts[number]
    let serial = windows[account.window].serial
    guard account.current.serial != serial else { return }
    let sum = sum(of: number)
    if !account.isRolling { accounts[number].other = account.current }
    accounts[number].current = sum
  }

  /// Counts an amount in a piece of a rolling window; the newest piece is the last. More pieces than a window has are
  /// kept, for a clock that is set back.
  mutating func add(_ amount: Int64, toPiece serial: Int64, of number: AccountIndex) {
    guard amount > 0 else { return }
    let window = windows[accounts[number].window]
    let echo = serial == window.serial && window.highest > serial ? window.highest : 0
    var list = pieces[number] ?? []
    if let index = list.lastIndex(where: { $0.serial == serial && $0.echo == echo }) {
      list[index].posted = min(list[index].posted + amount, Self.mostSum)
    } else {
      list.append(Piece(serial: serial, echo: echo, posted: amount))
      list.sort { $0.serial < $1.serial }
      if list.count > 2 * Int(BudgetWindow.pieces) { list.removeFirst() }
    }
    pieces[number] = list
  }

  /// The serial of the account's window in an earlier epoch; nil where it is forgotten.
  func serial(of account: Account, in epoch: UInt32) -> Int64? {
    windows[account.window].history.last { $0.epoch <= epoch }?.serial
  }
}
