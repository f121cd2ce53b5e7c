// What blocked heads need of budgets, so that they are tried again when the amount left may change the answer.
//
// For each account: the least and the most that any blocked head needs, and what was left at the last look. While the
// amount left changes only outside that range, the answer stays the same for all of them.

struct BudgetWatch: Sendable {
  private struct Range: Sendable {
    var least: Int64
    var most: Int64
    var left: Int64
  }

  private var ranges: [AccountIndex: Range] = [:]

  var isEmpty: Bool { ranges.isEmpty }

  /// A blocked head needs between `least` and `most` of an account that has `left`.
  mutating func note(_ account: AccountIndex, least: Int64, most: Int64, left: Int64) {
    let known = ranges[account]
    ranges[account] = Range(
      least: min(least, known?.least ?? least), most: max(most, known?.most ?? most), left: known?.left ?? left)
  }

  /// The account now has `left`. Returns true where that may change the answer for a blocked head.
  mutating func isCrossed(_ account: AccountIndex, left: Int64) -> Bool {
    guard let known = ranges[account], known.left != left else { return false }
    ranges[account]?.left = left
    return min(known.left, left) < known.most && max(known.left, left) >= known.least
  }

  mutating func removeAll() { ranges.removeAll(keepingCapacity: true) }
}
