// By how much a budget that refuses calls is best raised for an hour.
//
// Promises: with that much more, the call that was refused last would go, and some of those after it; the amount is a
// round one, and the broker takes it. What calls burn in a minute of haste proposes no raise beyond all measure. The
// dashboard proposes the same (`advisedRaise` in `deeds.js`).
import TextForms

extension BudgetRow {
  /// The most that the broker takes at once: nano-dollars, tokens or requests.
  private static let mostRaise: [String: Int64] = ["usd": 1_000_000_000_000_000_000]
  private static let mostCount: Int64 = 1_000_000_000_000_000

  /// What the option of its unit is given: `20`, `0.05`.
  var advisedRaise: String {
    let places = unit == "usd" ? 9 : 0
    func read(_ amount: String) -> Int64 { DecimalText.scaled(amount.utf8, by: places) ?? 0 }
    let limit = read(self.limit)
    // What is spent and held beyond the limit, with the call that was refused last.
    let missing = max(0, Self.sum(Self.sum(read(spent), read(held)), refusedNeed.map(read) ?? 0) - limit)
    // For as long as the raise holds, and at most as much as the limit; a tenth of it where nobody knows the pace.
    let perHour = burn.map(read) ?? 0
    let room = perHour > 0 ? min(perHour, limit) : limit / 10
    let enough = Self.sum(missing, room)
    // A limit of nothing tells nothing about how large its calls are.
    let least: Int64 = unit == "usd" ? 10_000_000 : 1
    let usual: Int64 = unit == "usd" ? 1_000_000_000 : unit == "tokens" ? 1000 : 10
    let amount = Self.round(max(least, enough == 0 ? usual : enough))
    return DecimalText.text(min(amount, Self.mostRaise[unit] ?? Self.mostCount), places: places)
  }

  private static func sum(_ left: Int64, _ right: Int64) -> Int64 {
    let (sum, overflows) = left.addingReportingOverflow(right)
    return overflows ? .max : sum
  }

  /// The next of 1, 2, 5, 10, 20, 50 and so on.
  private static func round(_ amount: Int64) -> Int64 {
    var unit: Int64 = 1
    while unit <= 1_000_000_000_000_000_000 {
      for step in [1, 2, 5] as [Int64] where unit <= .max / step && unit * step >= amount { return unit * step }
      if unit > .max / 10 { break }
      unit *= 10
    }
    return .max
  }
}
