// What an observer of every event and action knows about money: how much each account has spent in each window, and how
// much running calls hold. It is kept in plain dictionaries, independently of the core, so that it can contradict the
// core.
import AdmissionCore
import PolicyLab

struct MoneyWitness {
  struct Sum: Hashable {
    var account: BudgetAccount
    var window: BudgetWindow
    var serial: Int64
  }
  private struct Hold {
    var amount: Int64
    var price: CallPrice
    var input: Int64
    var output: Int64
    var sums: [Sum]
  }

  private(set) var policy: AdmissionPolicy
  private var serials: [BudgetWindow: Int64] = [:]
  private var raises: [BudgetRaise] = []
  private var posted: [Sum: Int64] = [:]
  private var held: [Sum: Int64] = [:]
  private var holds: [UInt64: Hold] = [:]

  init(policy: AdmissionPolicy) { self.policy = policy }

  var isIdle: Bool {
    policy.budgets.isEmpty && policy.tenants.allSatisfy(\.budgets.isEmpty)
  }

  // MARK: Events

  mutating func replaced(_ new: AdmissionPolicy) { policy = new }
  mutating func replaced(_ new: [BudgetRaise]) { raises = new }

  mutating func began(_ states: [BudgetWindowState]) {
    for state in states {
      if serials[state.window] == nil {
        // Amounts that were counted before the first report belong to the window that the report names.
        for sums in [\MoneyWitness.posted, \MoneyWitness.held] {
          for (key, value) in self[keyPath: sums] where key.window == state.window && key.serial == 0 {
            self[keyPath: sums][key] = nil
            self[keyPath: sums][Sum(account: key.account, window: key.window, serial: state.serial)] = value
          }
        }
        for lease in holds.keys {
          for index in holds[lease]?.sums.indices ?? 0..<0 where holds[lease]?.sums[index].window == state.window {
            holds[lease]?.sums[index].serial = state.serial
          }
        }
      }
      serials[state.window] = state.serial
    }
  }

  mutating func granted(_ grant: Grant, _ ticket: Ticket) {
    guard let amount = grant.held?.nanodollars, amount > 0,
      let price = ticket.candidates.first(where: { $0.provider == grant.provider })?.price
    else { return }
    let sums = Set(rules(for: ticket).map { sum($0.account, $0.rule.window) })
    for sum in sums { held[sum, default: 0] += amount }
    holds[grant.lease.rawValue] = Hold(
      amount: amount, price: price, input: grant.reservedInput.value, output: grant.reservedOutput.value,
      sums: Array(sums))
  }

  mutating func progressed(_ lease: LeaseID, _ progress: Progress) {
    guard let hold = holds[lease.rawValue] else { return }
    let amount = Self.cost(
      hold.price, input: max(hold.input, ((progress.inputTokens ?? 0) - progress.cacheReadTokens).value),
      output: max(hold.output, progress.outputTokens.value))
    guard amount > hold.amount else { return }
    for sum in hold.sums { held[sum, default: 0] += amount - hold.amount }
    holds[lease.rawValue]?.amount = amount
  }

  mutating func settled(_ lease: LeaseID, _ settlement: Settlement, _ ticket: Ticket) {
    guard let hold = holds.removeValue(forKey: lease.rawValue) else { return }
    for sum in hold.sums {
      held[sum, default: 0] -= hold.amount
      posted[sum, default: 0] += settlement.cost?.nanodollars ?? 0
    }
  }

  // MARK: Judgements

  /// The rules that a ticket counts against, and their accounts.
  func rules(for ticket: Ticket) -> [(account: BudgetAccount, rule: BudgetPolicy)] {
    let own = policy.tenants.first { $0.id == ticket.tenant }?.budgets ?? policy.tenantTemplate?.budgets ?? []
    return policy.budgets.map { (.broker, $0) }
      + own.compactMap { rule in
        switch rule.scope {
        case .broker: nil
        case .tenant: (.tenant(ticket.tenant), rule)
        case .clientKey: ticket.clientKey.map { (.clientKey($0, of: ticket.tenant), rule) }
        case .session: (.session(ticket.sessionGroup ?? ticket.session, of: ticket.tenant), rule)
        }
      }
  }

  func sum(_ account: BudgetAccount, _ window: BudgetWindow) -> Sum {
    Sum(account: account, window: window, serial: serials[window] ?? 0)
  }
  func spent(_ sum: Sum) -> Int64 { posted[sum] ?? 0 }
  func holds(_ sum: Sum) -> Int64 { held[sum] ?? 0 }

  func limit(_ account: BudgetAccount, _ rule: BudgetPolicy, at now: Instant) -> Int64 {
    var limit = rule.limit.nanodollars
    for raise in raises where raise.until > now && raise.budget == nil {
      switch account.scope {
      case .broker: if raise.tenant == nil { limit += raise.amount.nanodollars }
      case .tenant: if raise.tenant == account.tenant { limit += raise.amount.nanodollars }
      case .clientKey, .session: break
      }
    }
    return limit
  }

  /// True where a call that holds `estimate` might not fit into what is left of its budgets.
  func mayLack(_ ticket: Ticket, estimate: Int64, countingHolds: Bool, at now: Instant) -> Bool {
    rules(for: ticket).contains { account, rule in
      guard rule.onExceed == .reject else { return false }
      let sum = sum(account, rule.window)
      return spent(sum) + (countingHolds ? holds(sum) : 0) + max(1, estimate) > limit(account, rule, at: now)
    }
  }

  /// What the provider will charge for these tokens, in nano-dollars.
  static func cost(_ price: CallPrice, input: Int64, output: Int64) -> Int64 {
    SimulatedProvider.bill(price, input: input, output: output).nanodollars
  }

  /// An upper bound of any sensible estimate of a ticket's cost.
  static func most(_ ticket: Ticket) -> Int64 {
    ticket.candidates.compactMap(\.price).map {
      cost(
        $0, input: ticket.estimatedInput.value * 2,
        output: ticket.producesOutput ? ticket.outputCap?.value ?? 65_536 : 0)
    }.max() ?? 0
  }
}
