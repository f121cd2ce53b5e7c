// What blocked heads ask of budgets, so that they are looked at anew when what is left may decide otherwise than when they were tried.
//
// For each account: the least and the most that any of them asks, and what was left when somebody looked last. As long as what is left moves
// outside of that range, nothing changes for any of them.

struct BudgetWatch: Sendable {
  private struct Range: Sendable {
    var least: Int64
    var most: Int64
    var left: Int64
  }

  private var ranges: [AccountIndex: Range] = [:]

  var isEmpty: Bool { ranges.isEmpty }

  /// A blocked head asks for something between these of an account with so much left.
  mutating func note(_ account: AccountIndex, least: Int64, most: Int64, left: Int64) {
    let known = ranges[account]
    ranges[account] = Range(
      least: min(least, known?.least ?? least), most: max(most, known?.most ?? most), left: known?.left ?? left)
  }

  /// So much is left now. Returns true where that may decide otherwise for somebody than what was left before.
  mutating func isCrossed(_ account: AccountIndex, left: Int64) -> Bool {
    guard let known = ranges[account], known.left != left else { return false }
    ranges[account]?.left = left
    return min(known.left, left) < known.most && max(known.left, left) >= known.least
  }

  mutating func removeAll() { ranges.removeAll(keepingCapacity: true) }
}
