// `/api/v1/budgets`: the state of each budget, and raises.
import AdmissionCore
import BrokerEngine
import TextForms

extension AdminConsole {
  /// Answers `GET /api/v1/budgets`, and carries out `POST /api/v1/budgets/raise?tenant=&usd=&until=[&budget=]`.
  func raiseBudget(_ query: ConsoleQuery, _ send: @escaping (Reply) -> Void) {
    if let mistake = raisedBudget(query) { send(mistake) } else { budgets(tenant: nil, send) }
  }

  /// - Parameter tenant: the only tenant whose budgets are shown; nil for all.
  func budgets(tenant: String?, _ send: @escaping (Reply) -> Void) {
    pieces.look { [unowned self] snapshot in
      renderer.render({ .json(BudgetRoutes.json(snapshot, tenant: tenant)) }, then: send)
    }
  }

  /// Returns nil where the budget is raised, else what is wrong with the question.
  private func raisedBudget(_ query: ConsoleQuery) -> Reply? {
    let (tenant, budget) = (query["tenant"], query["budget"])
    var amount: (unit: BudgetUnit, value: Money)?
    var until: WallInstant?
    if let value = query["usd"] {
      guard let money = BudgetRoutes.money(value) else {
        return .error(
          400, "usd: found '\(value)', allowed is more than 0 and at most 1000000000, with at most nine decimals")
      }
      amount = (.usd, money)
    }
    for unit in [BudgetUnit.tokens, .requests] {
      guard let value = query[unit.rawValue] else { continue }
      guard let count = Int64(value), count > 0, count <= 1_000_000_000_000_000 else {
        return .error(400, "\(unit.rawValue): found '\(value)', allowed is a whole number, 1 to 1000000000000000")
      }
      guard amount == nil else { return .error(400, "give one of usd, tokens and requests") }
      amount = (unit, Money(nanodollars: count))
    }
    if let value = query["until"] {
      guard let instant = BudgetRoutes.instant(value) else {
        return .error(
          400, "until: found '\(value)', allowed is a time such as 2026-11-22T00:00:00Z, or seconds since 1970")
      }
      until = instant
    }
    guard let amount, let until else {
      return .error(400, "usd (or tokens, or requests) and until are missing: how much more, and until when")
    }
    let now = broker.wallNanoseconds(at: broker.now)
    guard until.nanoseconds > now else { return .error(400, "until: that time has passed, allowed is a later one") }
    let readings = broker.budgetReadings
    let own = readings.filter { reading in
      guard reading.unit == amount.unit else { return false }
      if let budget { return reading.id == budget }
      return tenant == nil
        ? reading.account.scope == .broker : reading.account.scope == .tenant && reading.account.tenant.name == tenant
    }
    guard let first = own.first else {
      return .error(404, noBudget(readings, tenant: tenant, budget: budget, unit: amount.unit))
    }
    let owner = first.account.scope == .broker ? nil : first.account.tenant
    if let tenant, owner?.name != tenant {
      return .error(400, "the budget '\(budget ?? "")' is not of tenant '\(tenant)'")
    }
    broker.raiseBudget(
      HeldRaise(tenant: owner, budget: budget, amount: amount.value, unit: amount.unit, until: until), askedBy: "admin")
    return nil
  }
}

extension AdminConsole {
  /// Why there is nothing to raise, and what there is instead.
  private func noBudget(_ readings: [BudgetReading], tenant: String?, budget: String?, unit: BudgetUnit) -> String {
    if let budget {
      guard let other = readings.first(where: { $0.id == budget }) else {
        return "there is no budget '\(budget)': give the id of one that is listed"
      }
      return
        "the budget '\(budget)' counts \(other.unit.rawValue): give \(other.unit.rawValue)= instead of \(unit.rawValue)="
    }
    let whose = tenant.map { "tenant '\($0)'" } ?? "the broker"
    let own = readings.filter { reading in
      tenant == nil
        ? reading.account.scope == .broker : reading.account.scope != .broker && reading.account.tenant.name == tenant
    }
    guard !own.isEmpty else {
      let all = broker.policy.tenants
      let rules =
        all.first { $0.id == tenant }?.budgets ?? (tenant == nil ? [] : all.first { $0.id == "*" }?.budgets ?? [])
      guard rules.contains(where: { $0.scope == .session || $0.scope == .clientKey }) else {
        return "\(whose) has no budget"
      }
      return
        "\(whose) has budgets for each session or client key only: one is listed once it has spent, and is raised by its id (budget=)"
    }
    let names = own.prefix(5).map { "'\($0.id)' (\($0.unit.rawValue))" }.joined(separator: ", ")
    let more = own.count > 5 ? " and \(own.count - 5) more" : ""
    let shared = own.first { $0.account.scope == .tenant || $0.account.scope == .broker }
    return "\(whose) has no budget of its own in \(unit.rawValue), but \(names)\(more): "
      + (shared.map { "give \($0.unit.rawValue)=, or name one by its id (budget=)" } ?? "name one by its id (budget=)")
  }
}

enum BudgetRoutes {
  /// - Parameter tenant: shows only this tenant's budgets; nil shows all.
  static func json(_ snapshot: BrokerSnapshot, tenant: String? = nil) -> [UInt8] {
    var json = JSONWriter()
    json.object { json in
      json.key("budgets")
      array(&json, snapshot, tenant: tenant)
      json.key("raises")
      json.array(snapshot.raises.filter { tenant == nil || $0.tenant?.name == tenant }) { json, raise in
        json.object { json in
          json.member("tenant", raise.tenant?.name)
          json.member("budget", raise.budget)
          switch raise.unit {
          case .usd: json.member("usd", billionths: raise.amount.nanodollars)
          case .tokens: json.member("tokens", raise.amount.nanodollars)
          case .requests: json.member("requests", raise.amount.nanodollars)
          }
          json.member("until", time: raise.until.nanoseconds)
        }
      }
    }
    return json.bytes
  }

  static func array(_ json: inout JSONWriter, _ snapshot: BrokerSnapshot, tenant: String?) {
    json.array(
      snapshot.core.budgets.filter { tenant == nil || $0.account.scope != .broker && $0.account.tenant.name == tenant }
    ) { json, reading in
      json.object { json in
        json.member("id", reading.id)
        json.member("scope", reading.account.scope.rawValue)
        json.member("tenant", reading.account.scope == .broker ? nil : reading.account.tenant.name)
        json.member("name", reading.account.name.isEmpty ? nil : reading.account.name)
        json.member("per", reading.window.name)
        json.member("unit", reading.unit.rawValue)
        json.member("time_zone", reading.window.timeZone)
        json.member("on_exceed", reading.onExceed.rawValue)
        amounts(&json, reading)
        json.member("state", reading.state.rawValue)
        json.member("text", reading.standing)
        json.member("warn_at_percent", reading.warnAtPercent)
        json.member("waiting", reading.waiting)
        // A rolling window never ends; only its pieces do.
        let end = reading.window.period == .rolling ? nil : reading.windowEnd
        json.member("window_ends", time: end.map { snapshot.clock.wallNanoseconds(ofWindowEnd: $0) })
        burn(&json, reading, snapshot)
      }
    }
  }

  /// How fast it is used up; null while that is not known.
  private static func burn(_ json: inout JSONWriter, _ reading: BudgetReading, _ snapshot: BrokerSnapshot) {
    let rate = snapshot.burnRate(of: reading)
    switch reading.unit {
    case .usd: json.member("burn_usd_per_hour", billionths: rate?.perHour)
    case .tokens: json.member("burn_tokens_per_hour", rate?.perHour)
    case .requests: json.member("burn_requests_per_hour", rate?.perHour)
    }
    json.member(
      "runs_out_at", time: rate?.runsOutIn.map { max(0, snapshot.clock.wall.addingReportingOverflow($0).partialValue) })
  }

  /// Dollars are strings with nine decimals, whole numbers are numbers; the member's name has the unit.
  private static func amounts(_ json: inout JSONWriter, _ reading: BudgetReading) {
    // What a call needed that was refused is of interest while such a call would be refused.
    let isRefusing = reading.onExceed == .reject && (reading.state == .refusing || reading.state == .usedUp)
    let need = isRefusing && reading.refusedNeed > .zero ? reading.refusedNeed.nanodollars : nil
    switch reading.unit {
    case .usd:
      json.member("limit_usd", billionths: reading.limit.nanodollars)
      json.member("raised_usd", billionths: reading.raised.nanodollars)
      json.member("spent_usd", billionths: reading.spent.nanodollars)
      json.member("held_usd", billionths: reading.held.nanodollars)
      json.member("remaining_usd", billionths: reading.remaining.nanodollars)
      json.member("refused_need_usd", billionths: need)
    case .tokens:
      json.member("limit_tokens", reading.limit.nanodollars)
      json.member("raised_tokens", reading.raised.nanodollars)
      json.member("spent_tokens", reading.spent.nanodollars)
      json.member("held_tokens", reading.held.nanodollars)
      json.member("remaining_tokens", reading.remaining.nanodollars)
      json.member("refused_need_tokens", need)
    case .requests:
      json.member("limit_requests", reading.limit.nanodollars)
      json.member("raised_requests", reading.raised.nanodollars)
      json.member("spent_requests", reading.spent.nanodollars)
      json.member("held_requests", reading.held.nanodollars)
      json.member("remaining_requests", reading.remaining.nanodollars)
      json.member("refused_need_requests", need)
    }
  }

  /// A decimal number of dollars, above zero, in nano-dollars.
  static func money(_ text: String) -> Money? {
    guard let amount = DecimalText.exact(text.utf8, places: 9), amount > 0, amount <= 1_000_000_000_000_000_000 else {
      return nil
    }
    return Money(nanodollars: amount)
  }

  /// RFC 3339 to the end of the year 2200, or whole seconds since 1970.
  static func instant(_ text: String) -> WallInstant? {
    if let seconds = DecimalText.exact(text.utf8, places: 0), seconds < 4_000_000_000 {
      return WallInstant(nanoseconds: seconds * 1_000_000_000)
    }
    return RFC3339.nanoseconds(text, isLenient: false).map { WallInstant(nanoseconds: $0) }
  }
}
