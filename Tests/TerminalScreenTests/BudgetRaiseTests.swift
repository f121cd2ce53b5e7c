// The command that raises a budget which refuses calls: which budget it names, and by how much it raises it.
import Testing

@testable import TerminalScreen

@Suite struct BudgetRaiseTests {
  private static func row(
    _ id: String = "acme/day", scope: String = "tenant", tenant: String? = "acme", unit: String = "usd",
    limit: String = "10",
    spent: String = "0", held: String = "0", need: String = "null", burn: String = "null"
  ) throws -> BudgetRow {
    func amount(_ value: String) -> String { unit == "usd" && value != "null" ? "\"\(value)\"" : value }
    return try decoded(
      BudgetRow.self,
      """
      {"id": "\(id)", "scope": "\(scope)", "tenant": \(tenant.map { "\"\($0)\"" } ?? "null"), "name": null, "unit": "\(unit)",
       "on_exceed": "reject", "limit_\(unit)": \(amount(limit)), "raised_\(unit)": \(amount("0")), "spent_\(unit)": \(amount(spent)),
       "held_\(unit)": \(amount(held)), "remaining_\(unit)": \(amount("0")), "refused_need_\(unit)": \(amount(need)),
       "burn_\(unit)_per_hour": \(amount(burn)), "state": "used_up", "text": "out", "waiting": 0, "window_ends": null}
      """)
  }

  struct Dollars: Sendable {
    var limit = "10"
    var spent = "0"
    var held = "0"
    var need = "null"
    var burn = "null"
    var advised: String
  }

  @Test(arguments: [
    // At the limit: what is missing is nothing, so that the room alone counts.
    Dollars(spent: "10", advised: "1"), Dollars(spent: "10", burn: "3.2", advised: "5"),
    // Under it: the call that was refused needed more than is left.
    Dollars(spent: "9.5", need: "0.5", advised: "1"), Dollars(spent: "9.5", need: "0.500000001", advised: "2"),
    Dollars(limit: "0.025", spent: "0.02", need: "0.01", advised: "0.01"),
    Dollars(spent: "2", need: "30", advised: "50"),
    // Over it, by what is spent and what running calls hold.
    Dollars(spent: "25", advised: "20"), Dollars(spent: "10", held: "19.000000001", advised: "50"),
    Dollars(spent: "12", burn: "88", advised: "20"), Dollars(spent: "10", burn: "88", advised: "10"),
    Dollars(spent: "12", need: "1", burn: "0.000000000", advised: "5"),
    // A limit of nothing has no tenth, and nobody means fractions of a cent.
    Dollars(limit: "0", advised: "1"), Dollars(limit: "0", spent: "3", advised: "5"),
    Dollars(limit: "0.001", spent: "0.001", advised: "0.01"),
    // As much as the broker takes at once, whatever is missing.
    Dollars(limit: "1000000000", spent: "1000000000", advised: "100000000"),
    Dollars(limit: "1", spent: "3000000000", held: "3000000000", advised: "1000000000"),
    Dollars(limit: "1", spent: "9223372036", held: "9223372036", burn: "9223372036", advised: "1000000000"),
  ])
  func dollars(_ one: Dollars) throws {
    let budget = try Self.row(limit: one.limit, spent: one.spent, held: one.held, need: one.need, burn: one.burn)
    #expect(
      BudgetText.raise(budget, among: [budget]) == "tollgate budgets raise acme --usd \(one.advised) --until 1h",
      "\(one)")
  }

  @Test func countsAreWhole() throws {
    func advised(_ unit: String, _ limit: String, _ spent: String, need: String = "null", burn: String = "null") throws
      -> String
    {
      try Self.row(unit: unit, limit: limit, spent: spent, need: need, burn: burn).advisedRaise
    }
    #expect(try advised("tokens", "2500", "2000", need: "1000") == "1000")
    #expect(try advised("tokens", "2500", "2500", burn: "1234") == "2000")
    #expect(try advised("tokens", "2500", "2500", burn: "123456") == "5000")
    #expect(try advised("requests", "3", "3", need: "1") == "1")
    #expect(try advised("requests", "3", "3") == "10" && advised("tokens", "0", "0") == "1000")
    #expect(try advised("requests", "0", "0") == "10" && advised("requests", "40", "41") == "5")
    #expect(try advised("tokens", "1", "3000000000000000000") == "1000000000000000")
  }

  @Test func oneOfSeveralIsNamed() throws {
    let (day, month) = (try Self.row(spent: "10"), try Self.row("acme/month", spent: "10"))
    let others = [
      try Self.row("acme/day/tokens", unit: "tokens"), try Self.row("b/day", tenant: "b"),
      try Self.row("acme/session/x/day", scope: "session"),
      try Self.row("broker/month", scope: "broker", tenant: nil, spent: "10"),
    ]
    #expect(BudgetText.raise(day, among: [day] + others) == "tollgate budgets raise acme --usd 1 --until 1h")
    #expect(
      BudgetText.raise(day, among: [day, month] + others)
        == "tollgate budgets raise acme --usd 1 --until 1h --budget acme/day")
    #expect(BudgetText.raise(others[3], among: [day] + others) == "tollgate budgets raise --broker --usd 1 --until 1h")
    let total = try Self.row("broker/total", scope: "broker", tenant: nil)
    #expect(
      BudgetText.raise(others[3], among: others + [total])
        == "tollgate budgets raise --broker --usd 1 --until 1h --budget broker/month")
    // A second rule of the same window.
    let second = try Self.row("acme/day#2", spent: "11")
    #expect(BudgetText.advice([day, second])[1].hasSuffix("raise acme --usd 2 --until 1h --budget 'acme/day#2'"))
  }
}
