// Scenarios with budgets of the broker, of tenants and of sessions that reject, lower the class or warn. The budgets
// are small, so that they are reached often; their windows begin again (sometimes an earlier window, as when a clock is
// set back), and there are raises.
import AdmissionCore
import PolicyLab

extension ScenarioGenerator {
  /// Seeds from this one on give thrifty scenarios.
  public static let firstThriftySeed: UInt64 = 2_000_000

  static func thrifty(_ seed: UInt64, _ generator: inout SeededGenerator, size: Int) -> Scenario {
    let sort = generator.pick([Sort.mixed, .contended, .restless, .ailing])
    var scenario = scenario(seed: seed, sort: sort, size: size)
    // Costs are not exact, and requests that cannot pay leave their lanes, so shares cannot be compared.
    scenario.expectations.fairShares = false
    let windows = [BudgetWindow(.hour), BudgetWindow(.day)]
    for index in scenario.clients.indices {
      // Streams that exceed their estimate; only where no bucket counts tokens, because the checkers of buckets need
      // exact estimates.
      if sort == .contended, generator.chance(60) {
        scenario.clients[index].inputErrorPercent = 60...190
        scenario.expectations.noRefusals = false
      }
      if generator.chance(90) {
        scenario.clients[index].price = CallPrice(
          inputMicroPerToken: generator.int64(100...3000), outputMicroPerToken: generator.int64(0...6000),
          perRequest: Money(nanodollars: generator.int64(0...3) == 0 ? generator.int64(0...500_000) : 0))
      }
      if scenario.clients[index].output.upperBound > 0, scenario.clients[index].outputCap == nil {
        scenario.clients[index].outputCap = scenario.clients[index].output.upperBound + generator.int64(0...300)
      }
    }
    draw(&scenario.policy, windows, &generator)
    for index in scenario.happenings.indices {
      guard case .policyReplaced(var later) = scenario.happenings[index].what else { continue }
      later.budgets = scenario.policy.budgets.map { changed($0, &generator) }
      for tenant in later.tenants.indices {
        later.tenants[tenant].budgets = scenario.policy.tenants[tenant].budgets.map { changed($0, &generator) }
      }
      scenario.happenings[index].what = .policyReplaced(later)
    }
    addWindows(windows, to: &scenario, &generator)
    if generator.chance(40) { addRaises(to: &scenario, &generator) }
    return scenario
  }

  private static func draw(
    _ policy: inout AdmissionPolicy, _ windows: [BudgetWindow], _ generator: inout SeededGenerator
  ) {
    func rule(_ scope: BudgetPolicy.Scope, _ generator: inout SeededGenerator) -> BudgetPolicy {
      BudgetPolicy(
        scope: scope, window: generator.pick(windows), limit: Money(nanodollars: generator.int64(200...6000)),
        onExceed: generator.chance(70) ? .reject : generator.pick([.low, .warn]),
        warnAtPercent: generator.int(0...100))
    }
    if generator.chance(40) { policy.budgets = [rule(.broker, &generator)] }
    for index in policy.tenants.indices {
      for _ in 0..<generator.int(0...2) { policy.tenants[index].budgets.append(rule(.tenant, &generator)) }
      if generator.chance(30) { policy.tenants[index].budgets.append(rule(.session, &generator)) }
    }
    if policy.budgets.isEmpty, policy.tenants.allSatisfy(\.budgets.isEmpty) {
      policy.tenants[0].budgets = [rule(.tenant, &generator)]
    }
  }

  private static func changed(_ rule: BudgetPolicy, _ generator: inout SeededGenerator) -> BudgetPolicy {
    var rule = rule
    if generator.chance(60) { rule.limit = Money(nanodollars: generator.int64(200...6000)) }
    return rule
  }

  private static func addWindows(
    _ windows: [BudgetWindow], to scenario: inout Scenario, _ generator: inout SeededGenerator
  ) {
    let hasSessions = scenario.policy.tenants.contains { $0.budgets.contains { $0.scope == .session } }
    for window in windows {
      var at = Instant(nanoseconds: generator.int64(0...1000) * 1_000_000)
      var serial: Int64 = 100
      for _ in 0..<generator.int(0...4) {
        let end = at + generator.span(.seconds(1) ... .seconds(8))
        let state = BudgetWindowState(window: window, serial: serial, end: end)
        scenario.happenings.append(Happening(at: at, .budgetWindowsBegan([state])))
        // Sometimes the clock is set back to an earlier window; a session that did not exist then has no sum for it.
        serial += serial > 100 && !hasSessions && generator.chance(15) ? -100 : 100
        at = end
      }
    }
  }

  private static func addRaises(to scenario: inout Scenario, _ generator: inout SeededGenerator) {
    let at = Instant(nanoseconds: generator.int64(0...5000) * 1_000_000)
    let tenant: TenantID? = generator.chance(30) ? nil : generator.pick(scenario.policy.tenants).id
    let raise = BudgetRaise(
      tenant: tenant, amount: Money(nanodollars: generator.int64(100...3000)),
      until: at + generator.span(.milliseconds(100) ... .seconds(20)))
    scenario.happenings.append(Happening(at: at, .budgetRaisesReplaced([raise])))
    if generator.chance(40) {
      let later = at + generator.span(.milliseconds(100) ... .seconds(5))
      scenario.happenings.append(Happening(at: later, .budgetRaisesReplaced([])))
    }
  }
}
