// How states look where there are colours, and how they are said: one rule for each kind of state, in tables, in sentences and in
// `top`.
//
// Promise: what works as usual has no colour; what takes no calls is bad; what waits, rests or nears its end is a warning.

import TextForms

enum StateLook {
  /// Of a key: a rest ends by itself.
  static func key(_ state: String) -> ScreenStyle {
    switch state {
    case "usable": .plain
    case "disabled": .bad
    default: .warning
    }
  }

  /// Of a breaker, or of a pause that a provider has asked for.
  static func breaker(_ state: String) -> ScreenStyle {
    switch state {
    case "closed": .plain
    case "open": .bad
    default: .warning
    }
  }

  static func budget(_ budget: BudgetRow) -> ScreenStyle {
    let used = budget.percent ?? 0
    if used >= 100 || budget.refuses || budget.state == "used_up" { return .bad }
    return used >= 80 || budget.state == "warned" || budget.runsOutAt != nil ? .warning : .plain
  }

  static func request(_ entry: RequestReport.Entry) -> ScreenStyle {
    if entry.isWaiting { return .warning }
    return entry.outcome == nil || entry.outcome == "completed" ? .plain : .bad
  }
}

extension StatusReport.Breaker {
  var shownReason: String? { reason.map(ByHand.text) }
}

extension StatusReport.Key {
  var shownReason: String? { reason.map(ByHand.text) }
}

extension BudgetRow {
  private static let calendarWindows: Set = ["hour", "day", "week", "month", "total"]

  /// When its window ends: a rolling one has no end, and that of a `total` never comes.
  func shownEnd(_ page: ReportPage) -> String {
    if let windowEnds { return page.clock.text(windowEnds) }
    return per.map { BudgetRow.calendarWindows.contains($0) } ?? true ? "never" : "rolling"
  }
}
