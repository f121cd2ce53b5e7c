// The rules about money: no budget is exceeded, the core's sums are what was really held and posted, and no request
// waits for a hold that does not exist.
import AdmissionCore
import PolicyLab

/// No call is granted that does not fit: what is spent, what is held and its own estimate together stay within each
/// rule that rejects.
final class BudgetLimitChecker: InvariantChecker {
  static let name = "budget_limit"
  var name: String { Self.name }

  func willGrant(_ grant: Grant, request index: Int, provider: Int, _ scene: Scene) {
    let witness = scene.witness
    let ticket = witness.requests[index].ticket
    let price = ticket.candidates.first { $0.provider == grant.provider }?.price
    let expected = price.map {
      MoneyWitness.cost($0, input: grant.reservedInput.value, output: grant.reservedOutput.value)
    }
    if !scene.scenario.isPriced { return }
    // While too little is known about the model, up to the client's cap.
    let output = ticket.producesOutput ? max(grant.reservedOutput, ticket.outputCap ?? 4096) : grant.reservedOutput
    let most = price.map { MoneyWitness.cost($0, input: grant.reservedInput.value, output: output.value) }
    let held = grant.held?.nanodollars
    if (held == nil) != (expected == nil) || held ?? 0 < expected ?? 0 || held ?? 0 > most ?? 0 {
      scene.report(name, "request \(index) holds \(held ?? -1), expected \(expected ?? -1) to \(most ?? -1)")
    }
    for (account, rule) in witness.money.rules(for: ticket) where rule.onExceed == .reject {
      let sum = witness.money.sum(account, rule.window)
      let spent = witness.money.spent(sum)
      let holds = expected == nil ? 0 : witness.money.holds(sum)
      let limit = witness.money.limit(account, rule, at: witness.now)
      if expected != 0, spent + holds + (held ?? 1) > limit {
        scene.report(
          name,
          "\(account.label): request \(index) was granted, \(spent) spent + \(holds) held + \(held ?? 1) > \(limit)")
      }
    }
  }

  func willConclude(_ conclusion: Conclusion, request index: Int, _ scene: Scene) {
    guard conclusion.outcome == .rejectedBudget else { return }
    let ticket = scene.witness.requests[index].ticket
    let most = MoneyWitness.most(ticket)
    if !scene.witness.money.mayLack(ticket, estimate: most, countingHolds: false, at: scene.witness.now) {
      scene.report(name, "request \(index) was refused, though its budgets can pay \(most)")
    }
  }
}

/// At every snapshot, the amounts spent and held are right; at the end nothing is held.
final class BudgetBooksChecker: InvariantChecker {
  static let name = "budget_books"
  var name: String { Self.name }

  func didHandle(_ snapshot: AdmissionSnapshot?, _ scene: Scene) {
    if let snapshot { compare(snapshot, scene) }
  }

  func finish(_ snapshot: AdmissionSnapshot, _ scene: Scene) {
    compare(snapshot, scene)
    for reading in snapshot.budgets where reading.held != .zero || reading.waiting != 0 {
      scene.report(name, "\(reading.id): \(reading.held.nanodollars) held, \(reading.waiting) waiting after the end")
    }
    // Sessions appear once they have spent something, the other accounts always.
    let policy = scene.witness.policy
    let isListed = !policy.budgets.isEmpty || policy.tenants.contains { $0.budgets.contains { $0.scope == .tenant } }
    if isListed, snapshot.budgets.isEmpty { scene.report(name, "the core keeps no budgets") }
  }

  private func compare(_ snapshot: AdmissionSnapshot, _ scene: Scene) {
    guard scene.scenario.isPriced else { return }
    let money = scene.witness.money
    for reading in snapshot.budgets {
      let sum = money.sum(reading.account, reading.window)
      if reading.spent.nanodollars != money.spent(sum) || reading.held.nanodollars != money.holds(sum) {
        scene.report(
          name,
          "\(reading.id): the core says \(reading.spent.nanodollars) spent and \(reading.held.nanodollars) held, "
            + "\(money.spent(sum)) and \(money.holds(sum)) were seen")
      }
    }
  }
}

/// Where nothing runs there are no holds to wait for: every request that could be placed is granted or refused.
final class BudgetWaitChecker: InvariantChecker {
  static let name = "budget_wait"
  var name: String { Self.name }

  func didHandle(_ snapshot: AdmissionSnapshot?, _ scene: Scene) {
    let witness = scene.witness
    guard scene.scenario.isPriced, witness.leases.isEmpty else { return }
    // A request that waits alone is not blocked by others.
    guard witness.queued.count == 1, let index = witness.queued.first else { return }
    for provider in witness.requests[index].route where witness.isSurelyPlaceable(index, on: provider, atAnyCost: true)
    {
      scene.report(name, "request \(index) waits, and nothing runs that holds anything")
      return
    }
  }
}
