// How far a budget is used up, in a sentence: the same in the headline, the API, the terminal and webhooks.
import AdmissionCore

extension BudgetReading {
  /// A sentence without a full stop; nil where its calls go on as usual.
  public var standing: String? { standing(of: "budget \(id)") }

  /// - Parameter name: as which it stands in the sentence.
  func standing(of name: String) -> String? {
    func shown(_ amount: Money) -> String { ErrorText.amount(amount, unit) }
    let are = unit == .usd ? "is" : "are"
    let spent =
      unit == .usd
      ? "\(shown(self.spent)) of \(shown(limit)) is spent" : "\(self.spent.nanodollars) of \(shown(limit)) are used"
    switch state {
    case .ok: return nil
    case .warned: return "\(name) has reached \(warnAtPercent) %: \(spent)"
    case .refusing:
      return
        "\(name) refuses calls: \(shown(limit - self.spent)) of \(shown(limit)) \(are) left, the last one refused needed "
        + shown(refusedNeed)
    case .usedUp:
      let then =
        switch onExceed {
        case .reject: "calls are refused"
        case .low: "calls go down to low"
        case .warn: "calls go on"
        }
      return "\(name) is used up: \(spent), \(then)"
    }
  }
}
