// The lists of `tollgate top`: their columns, rows and orders.
import TextForms

/// The lists, in the order of their number keys.
public enum TopTab: Int, CaseIterable, Sendable {
  case requests
  case sessions
  case tenants
  case budgets
  case keys
  case limits

  var title: String {
    switch self {
    case .requests: "Requests"
    case .sessions: "Sessions"
    case .tenants: "Tenants"
    case .budgets: "Budgets"
    case .keys: "Keys"
    case .limits: "Limits"
    }
  }

  /// By what it can be ordered; the first is the usual one. `class`, `tenant`, `provider` and `session` go by name.
  var orders: [String] {
    switch self {
    case .requests: ["wait", "time", "tokens", "cost", "class", "tenant", "provider", "session"]
    case .sessions: ["waiting", "wait", "running", "tokens", "cost", "tenant", "session"]
    case .tenants: ["waiting", "wait", "running", "cost", "tenant"]
    case .budgets: ["used", "tenant"]
    case .keys: ["provider", "running"]
    case .limits: ["used", "provider"]
    }
  }
}

/// A list: the columns and the rows that the filter admits, in order.
struct TopList {
  var headings: [String]
  var right: Set<Int>
  /// Columns that are not cut.
  var whole: Set<Int>
  /// Columns that are left out on a narrow terminal, the first one first.
  var spare: [String]
  var rows: [TopRow]

  init(_ tab: TopTab, _ picture: TopPicture, _ states: TopStates, _ page: ReportPage) {
    let width = page.width ?? 80
    switch tab {
    case .requests: self = TopList.requests(picture.requests(states), isWide: width >= 110)
    case .sessions: self = TopList.sessions(picture.sessions)
    case .tenants: self = TopList.tenants(picture.status)
    case .budgets: self = TopList.budgets(picture.status, page)
    case .keys: self = TopList.keys(picture.status, page)
    case .limits: self = TopList.limits(picture.status, page)
    }
  }

  private init(
    _ headings: [String], right: Set<Int>, whole: Set<Int> = [], spare: [String] = [], rows: [TopRow]
  ) {
    self.headings = headings
    self.right = right
    self.whole = whole
    self.spare = spare
    self.rows = rows
  }

  /// With its heading and all its rows.
  func table(_ rows: some Sequence<TopRow>) -> TextTable {
    var table = TextTable(headings, right: right, whole: whole, spare: spare)
    for one in rows { table.row(one.cells) }
    return table
  }

  mutating func arrange(filter: TopFilter, order: String, isReversed: Bool) {
    rows = rows.filter { filter.admits($0) }
    let field = TopFilter.Field(rawValue: order)
    rows.sort { left, right in
      let (first, second) = isReversed ? (right, left) : (left, right)
      if let field {
        let (a, b) = (TopList.rank(first, field), TopList.rank(second, field))
        if a != b { return a < b }
      } else {
        let (a, b) = (first.numbers[order] ?? 0, second.numbers[order] ?? 0)
        if a != b { return a > b }
      }
      // Rows that are equal keep their places.
      return left.id < right.id
    }
  }

  /// Classes in their own order, names as letters are.
  private static func rank(_ row: TopRow, _ field: TopFilter.Field) -> String {
    let value = row.fields[field] ?? ""
    guard field == .priority else { return value }
    return ["high": "0", "normal": "1", "low": "2"][value] ?? "3"
  }

  private static func milliseconds(_ time: Int64?) -> String { time.map { SpanText.text(milliseconds: $0) } ?? "-" }

  // MARK: The lists

  private static func requests(_ entries: [RequestReport.Entry], isWide: Bool) -> TopList {
    let rows = entries.map { entry in
      let cost = entry.costUsd.map { AmountText.shortDollars($0) } ?? "-"
      let tokens = "\(AmountText.short(entry.inputTokens))/\(AmountText.short(entry.outputTokens))"
      var cells = [entry.shownState, entry.priority, entry.shownWait]
      if isWide { cells += [entry.shownTime, tokens, cost] }
      cells += [
        RequestText.dash(entry.tenant), RequestText.dash(entry.session), RequestText.dash(entry.model),
        entry.provider ?? "-", entry.state == "queued" ? entry.shownReason : "-",
      ]
      return TopRow(
        id: entry.id, cells: cells,
        fields: [
          .priority: entry.priority, .tenant: entry.tenant, .session: entry.session, .provider: entry.provider ?? "",
        ],
        numbers: [
          "wait": entry.queuedMs, "time": entry.totalMs ?? entry.ageMs ?? 0,
          "tokens": sum(entry.inputTokens, entry.outputTokens),
          "cost": nanos(entry.costUsd),
        ],
        style: StateLook.request(entry))
    }
    let wide = isWide ? ["TIME", "TOKENS", "COST"] : []
    return TopList(
      ["STATE", "CLASS", "WAITED"] + wide + ["TENANT", "SESSION", "MODEL", "PROVIDER", "WAITS FOR"],
      right: isWide ? [2, 3, 4, 5] : [2], whole: [0, 1],
      spare: ["COST", "TOKENS", "TIME", "MODEL", "PROVIDER", "TENANT"], rows: rows)
  }

  private static func sessions(_ report: SessionReport?) -> TopList {
    let rows = (report?.sessions ?? []).map { one in
      let tokens = "\(AmountText.short(one.inputTokens ?? 0))/\(AmountText.short(one.outputTokens ?? 0))"
      return TopRow(
        id: one.tenant + "\u{0}" + one.session,
        cells: [
          RequestText.dash(one.session), one.tenant, "\(one.running)", "\(one.waiting)",
          milliseconds(one.oldestWaitMs), one.requests.map { "\($0)" } ?? "-", tokens,
          one.costUsd.map { AmountText.shortDollars($0.text) } ?? "-", one.agents.map { "\($0.count)" } ?? "-",
        ],
        fields: [.tenant: one.tenant, .session: one.session],
        numbers: [
          "waiting": Int64(one.waiting), "wait": one.oldestWaitMs ?? 0, "running": Int64(one.running),
          "tokens": sum(one.inputTokens ?? 0, one.outputTokens ?? 0), "cost": nanos(one.costUsd?.text),
        ],
        style: one.waiting > 0 ? .warning : .plain)
    }
    return TopList(
      ["SESSION", "TENANT", "RUNNING", "WAITING", "OLDEST", "REQUESTS", "TOKENS", "COST", "AGENTS"],
      right: [2, 3, 4, 5, 6, 7, 8], spare: ["REQUESTS", "AGENTS", "TENANT", "TOKENS", "COST", "OLDEST"], rows: rows)
  }

  private static func tenants(_ status: StatusReport?) -> TopList {
    let rows = (status?.tenants ?? []).map { one in
      TopRow(
        id: one.id,
        cells: [
          one.id, one.concurrencyLimit.map { "\(one.inFlight) of \($0)" } ?? "\(one.inFlight)", "\(one.queued)",
          milliseconds(one.oldestWaitMs), "\(one.weight)", one.spent(AmountText.shortDollars),
        ],
        fields: [.tenant: one.id],
        numbers: [
          "waiting": Int64(one.queued), "wait": one.oldestWaitMs ?? 0, "running": Int64(one.inFlight),
          "cost": nanos(one.spentUsd?.text),
        ],
        style: one.queued > 0 ? .warning : .plain)
    }
    return TopList(
      ["TENANT", "RUNNING", "WAITING", "OLDEST", "WEIGHT", "SPENT"], right: [1, 2, 3, 4, 5],
      spare: ["WEIGHT", "OLDEST"], rows: rows)
  }

  private static func budgets(_ status: StatusReport?, _ page: ReportPage) -> TopList {
    // On a narrow terminal the names need the room; the colour tells of those that refuse.
    let isWide = (page.width ?? 80) >= 110
    let rows = (status?.budgets ?? []).map { one in
      let used = one.percent
      let state = isWide ? [one.shownState] : []
      return TopRow(
        id: one.id,
        cells: [one.id, used.map { "\($0)%" } ?? "-"] + state + [
          one.shown(one.spent), one.shown(one.held), one.shown(one.limit),
          one.shownBurn ?? "-", page.time(one.runsOutAt),
          one.shownEnd(page),
        ],
        fields: [.tenant: String(one.id.prefix { $0 != "/" })], numbers: ["used": Int64(used ?? 0)],
        style: StateLook.budget(one))
    }
    let headings =
      ["BUDGET", "USED"] + (isWide ? ["STATE"] : [])
      + ["SPENT", "HELD", "LIMIT", "PER HOUR", "RUNS OUT", "WINDOW ENDS"]
    return TopList(
      headings, right: isWide ? [1, 3, 4, 5, 6] : [1, 2, 3, 4, 5], whole: isWide ? [2, 7, 8] : [6, 7],
      spare: ["HELD", "WINDOW ENDS", "PER HOUR", "SPENT", "RUNS OUT"], rows: rows)
  }

  private static func keys(_ status: StatusReport?, _ page: ReportPage) -> TopList {
    var rows: [TopRow] = []
    for provider in status?.allProviders ?? [] {
      for key in provider.keys ?? [] {
        let cells: [String] = [
          "\(provider.id)/\(key.id)", key.state, page.time(key.until), page.left(key.until), StatusText.running(key),
          key.shownReason ?? "-",
        ]
        rows.append(
          TopRow(
            id: cells[0], cells: cells, fields: [.provider: provider.id], numbers: ["running": Int64(key.inFlight)],
            style: StateLook.key(key.state)))
      }
    }
    return TopList(
      ["KEY", "STATE", "UNTIL", "LEFT", "RUNNING", "REASON"], right: [3, 4], whole: [1, 2],
      spare: ["UNTIL", "RUNNING"], rows: rows)
  }

  private static func limits(_ status: StatusReport?, _ page: ReportPage) -> TopList {
    var rows: [TopRow] = []
    let taught = TaughtRates(status?.learned ?? [])
    for provider in status?.allProviders ?? [] {
      func row(_ name: String, _ dimension: String, _ used: Int, _ cells: [String]) {
        rows.append(
          TopRow(
            id: "\(name)\u{0}\(dimension)", cells: [name, dimension, "\(used)%"] + cells,
            fields: [.provider: provider.id],
            numbers: ["used": Int64(used)], style: used >= 95 ? .bad : used >= 80 ? .warning : .plain))
      }
      for limit in StatusText.limits(provider) {
        let running = limit.running.map(Int64.init)
        row(
          limit.name, "concurrency", running.map { percent(Double($0) / Double(max(1, limit.limit))) } ?? 0,
          [
            running.map { AmountText.short(max(0, Int64(limit.limit) - $0)) } ?? "-",
            AmountText.short(Int64(limit.limit)),
            running.map { AmountText.short($0) } ?? "-", limit.by, "-",
          ])
      }
      for (name, bucket) in StatusText.buckets(of: [provider]) {
        row(
          name, bucket.dimension, percentUsed(bucket),
          [
            AmountText.short(bucket.available), AmountText.short(bucket.capacity),
            bucket.inUse.map { AmountText.short($0) } ?? "-", taught.contains(name, bucket) ? "learned" : "-",
            page.time(bucket.fullAt),
          ])
      }
    }
    return TopList(
      ["LIMIT OF", "DIMENSION", "USED", "AVAILABLE", "CAPACITY", "IN USE", "SET BY", "FULL AT"], right: [2, 3, 4, 5],
      whole: [6, 7], spare: ["FULL AT", "IN USE", "CAPACITY", "SET BY"], rows: rows)
  }

  /// How much of a bucket is taken, in hundredths.
  static func percentUsed(_ bucket: StatusReport.Bucket) -> Int {
    guard bucket.capacity > 0 else { return 0 }
    return percent(1 - Double(bucket.available) / Double(bucket.capacity))
  }

  private static func percent(_ share: Double) -> Int { Int(min(999, max(0, share * 100))) }

  private static func sum(_ left: Int64, _ right: Int64) -> Int64 {
    let (sum, overflows) = left.addingReportingOverflow(right)
    return overflows ? .max : sum
  }

  private static func nanos(_ amount: String?) -> Int64 {
    amount.flatMap { DecimalText.scaled($0.utf8, by: 9) } ?? 0
  }
}
