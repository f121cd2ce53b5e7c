// Budgets in tables and sentences: `tollgate budgets`, and the part of `tollgate status` about them.
//
// Promises: a budget that refuses calls has its sentence and the command that raises it; budgets that clients make by the
// names of their sessions crowd out no other.
import TextForms

public enum BudgetText {
  /// The most budgets of sessions, of client keys and of tenants without an entry in a snapshot.
  static let mostOfNames = 5
  /// The most of the others.
  static let mostListed = 40
  /// The most sentences about budgets that refuse.
  static let mostSentences = 4

  /// What a snapshot has room for: the policy's own, and of those of sessions and client keys the ones that are used most.
  static func short(_ budgets: [BudgetRow], _ page: ReportPage) -> [String] {
    let named = budgets.filter(\.isOfName).sorted { first, second in
      first.rank != second.rank ? first.rank > second.rank : first.id < second.id
    }
    let listed = budgets.filter { !$0.isOfName }
    let shown = Array(listed.prefix(mostListed)) + named.prefix(mostOfNames)
    var lines = [shortTable(shown, page).text(page)]
    let (more, others) = (max(0, named.count - mostOfNames), max(0, listed.count - mostListed))
    if others > 0 { lines.append("and \(others) more: tollgate budgets") }
    if more > 0 {
      lines.append(
        "and \(more) more of sessions and client keys: tollgate budgets, or tollgate budgets --session NAME for one")
    }
    return lines + advice(budgets).map { page.styled($0, .bad) }
  }

  private static func shortTable(_ budgets: [BudgetRow], _ page: ReportPage) -> TextTable {
    let burns = budgets.contains { $0.burn != nil }
    let states = budgets.contains { $0.state != nil }
    var table = TextTable(
      ["BUDGET"] + (states ? ["STATE"] : []) + ["SPENT", "HELD", "LIMIT", "LEFT"]
        + (burns ? ["PER HOUR", "RUNS OUT"] : []),
      right: states ? [2, 3, 4, 5, 6] : [1, 2, 3, 4, 5], whole: states ? [1, 7] : [6],
      spare: ["HELD", "PER HOUR", "SPENT", "RUNS OUT", "LIMIT"])
    for budget in budgets {
      table.row(
        [budget.id] + (states ? [budget.shownState] : [])
          + [budget.spent, budget.held, budget.limit, budget.remaining].map(budget.shown)
          + (burns ? [budget.shownBurn ?? "-", runsOut(budget, page)] : []),
        look: ("STATE", StateLook.budget(budget)))
    }
    return table
  }

  private static func runsOut(_ budget: BudgetRow, _ page: ReportPage) -> String {
    budget.runsOutAt.map { page.clock.text($0) } ?? "-"
  }

  /// A sentence for each budget that refuses calls, those of the policy first.
  static func advice(_ budgets: [BudgetRow]) -> [String] {
    let all = budgets.filter { $0.refuses && !$0.isOfName } + budgets.filter { $0.refuses && $0.isOfName }
    var lines = all.prefix(mostSentences).map { budget in
      PrintableText.escaped(
        "\(budget.text ?? "budget \(budget.id) refuses calls"); to let calls go on: \(raise(budget, among: budgets))")
    }
    let more = all.count - mostSentences
    if more > 0 { lines.append("and \(more) more \(more == 1 ? "budget refuses" : "budgets refuse") calls") }
    return lines
  }

  /// The command that raises it, and it alone, by enough to let calls go on.
  /// - Parameter all: the budgets beside it.
  static func raise(_ budget: BudgetRow, among all: [BudgetRow]) -> String {
    let whose = budget.scope == "broker" ? "--broker" : budget.tenant.map(word) ?? "TENANT"
    // A raise that names none is one of all that the tenant, or the broker, has in this unit.
    let isOneOfSome = all.contains { other in
      other.id != budget.id && other.unit == budget.unit && other.scope == budget.scope && other.tenant == budget.tenant
    }
    return "tollgate budgets raise \(whose) --\(budget.unit) \(budget.advisedRaise) --until 1h"
      + (budget.isOfName || isOneOfSome ? " --budget \(word(budget.id))" : "")
  }

  /// As a shell takes it for one word.
  private static func word(_ text: String) -> String {
    let isPlain = text.utf8.allSatisfy { byte in
      byte >= UInt8(ascii: "a") && byte <= UInt8(ascii: "z") || byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z")
        || byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9") || "-_./@:,%+".utf8.contains(byte)
    }
    return isPlain && !text.isEmpty ? text : "'" + text.replacing("'", with: #"'\''"#) + "'"
  }

  /// What an operator may not expect of a raise: how long it holds, and whether it is enough.
  /// - Parameters:
  ///   - tenant: nil for the broker's.
  ///   - budget: nil for all that the raise is about.
  ///   - until: seconds since 1970.
  public static func afterRaise(
    _ report: BudgetReport, tenant: String?, budget: String?, unit: String, until: Int64, _ clock: LocalClock
  ) -> [String] {
    var lines: [String] = []
    for row in report.budgets where row.unit == unit {
      if let budget {
        guard row.id == budget else { continue }
      } else if tenant == nil ? row.scope != "broker" : row.scope != "tenant" || row.tenant != tenant {
        continue
      }
      if let end = row.windowEnds.flatMap({ RFC3339.nanoseconds($0) }), end / 1_000_000_000 < until {
        lines.append(
          "\(row.id): its window ends at \(clock.text(end)); the raise holds in each window after it too, as long as it lasts"
        )
      }
      if row.refuses, let text = row.text { lines.append("still: \(text)") }
      if lines.count > 8 { break }
    }
    return lines.map { PrintableText.escaped($0) }
  }

  /// All budgets with their raises.
  public static func text(_ report: BudgetReport, _ page: ReportPage) -> String {
    guard !report.budgets.isEmpty else { return "The policy has no budgets." }
    let burns = report.budgets.contains { $0.burn != nil }
    let states = report.budgets.contains { $0.state != nil }
    let headings =
      ["BUDGET"] + (states ? ["STATE"] : []) + ["SPENT", "HELD", "LIMIT", "OF IT RAISED", "LEFT"]
      + (burns ? ["PER HOUR", "RUNS OUT"] : []) + ["BEYOND IT", "WAITING", "WINDOW ENDS"]
    let names = ["SPENT", "HELD", "LIMIT", "OF IT RAISED", "LEFT", "PER HOUR", "WAITING"]
    var table = TextTable(
      headings, right: Set(headings.indices.filter { names.contains(headings[$0]) }),
      // The name alone can be cut.
      whole: Set(headings.indices.dropFirst()),
      spare: [
        "OF IT RAISED", "HELD", "BEYOND IT", "PER HOUR", "WAITING", "WINDOW ENDS", "SPENT", "RUNS OUT", "LIMIT",
      ])
    for budget in report.budgets {
      table.row(
        [budget.id] + (states ? [budget.shownState] : []) + [
          budget.shown(budget.spent), budget.shown(budget.held), budget.shown(budget.limit),
          AmountText.isZero(budget.raised) ? "-" : budget.shown(budget.raised), budget.shown(budget.remaining),
        ] + (burns ? [budget.shownBurn ?? "-", runsOut(budget, page)] : [])
          + [budget.onExceed, "\(budget.waiting)", budget.shownEnd(page)],
        look: ("STATE", StateLook.budget(budget)))
    }
    var lines = [table.text(page)]
    let leftOut = table.leftOut(width: page.width).map { $0.lowercased() }
    if !leftOut.isEmpty { lines.append("on a wider terminal also: \(leftOut.joined(separator: ", "))") }
    lines += advice(report.budgets).map { page.styled($0, .bad) }
    for raise in report.raises ?? [] {
      let whose = raise.budget ?? "\(raise.tenant ?? "broker")/*"
      lines.append(
        PrintableText.escaped("\(whose) is raised by \(raise.amount) until \(page.clock.text(raise.until))"))
    }
    return lines.joined(separator: "\n")
  }
}

extension BudgetRow {
  /// True where a client chose its name.
  var isOfName: Bool { scope == "session" || scope == "client_key" }
  /// Those that refuse first, then by how much is used.
  fileprivate var rank: Int { (refuses ? 100_000 : 0) + (percent ?? 0) }
}

extension BudgetReport {
  /// Only the budgets of a tenant, or of the sessions of that name.
  public func only(tenant: String?, session: String?) -> BudgetReport {
    var some = self
    some.budgets = budgets.filter { budget in
      (tenant == nil || budget.tenant == tenant)
        && (session == nil || budget.scope == "session" && budget.name == session)
    }
    some.raises = raises?.filter { raise in
      some.budgets.contains { $0.id == raise.budget } || raise.budget == nil && session == nil && raise.tenant == tenant
    }
    return some
  }
}
