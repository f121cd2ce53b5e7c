// The state of a broker in words and tables: `tollgate status`, `keys` and `breakers`.
//
// Promise: every state that is not the usual one has its reason, its end where there is one, and the command that ends it now.
import TextForms

/// A pause that a provider has asked for.
public struct ProviderPause: Sendable {
  public var provider: String
  /// The provider, or one of its models.
  public var what: String
  public var until: String?
  public var reason: String

  static func all(of provider: StatusReport.Provider) -> [ProviderPause] {
    var all: [ProviderPause] = []
    if provider.state == "cooling" {
      all.append(
        ProviderPause(
          provider: provider.id, what: provider.id, until: provider.until, reason: provider.reason ?? provider.state))
    }
    for model in provider.models ?? [] where model.state == "cooling" {
      all.append(
        ProviderPause(
          provider: provider.id, what: "\(provider.id): \(model.name)", until: model.until,
          reason: model.reason ?? model.state))
    }
    return all
  }
}

public enum StatusText {
  /// The most learned values that are shown; `--json` has more.
  static let mostLearned = 40

  public static func text(_ report: StatusReport, _ page: ReportPage) -> String {
    var lines = summary(report, page) + troubles(report).map { page.styled($0.text, $0.style) }
    lines += classes(report, page)
    let providers = report.allProviders
    if report.providers != nil { lines += ["", providerTable(providers).text(page)] }
    lines += advice(providers, page).map { page.styled($0.what, $0.style) }
    lines += ownLimits(providers, page) + bucketLines(buckets(of: providers), page)
    let keys = providers.flatMap { provider in (provider.keys ?? []).map { (provider.id, $0) } }
    if !keys.isEmpty { lines += ["", keyTable(keys, page).text(page)] }
    lines += tenants(report, page)
    if let budgets = report.budgets, !budgets.isEmpty { lines += [""] + BudgetText.short(budgets, page) }
    lines += learned(report, page)
    return lines.joined(separator: "\n")
  }

  // MARK: The lines on top

  static func summary(_ report: StatusReport, _ page: ReportPage) -> [String] {
    var lines: [String] = []
    if let headline = report.headline, !headline.isEmpty { lines.append(PrintableText.escaped(headline)) }
    let up = page.clock.past(since: report.startedAt).map { " (\($0))" } ?? ""
    lines.append(
      PrintableText.escaped("tollgate \(report.version), since \(page.clock.text(report.startedAt))\(up)")
        + (report.draining ? page.styled(", draining", .warning) : ""))
    if let running = report.running, let queued = report.queued {
      lines.append(
        "running \(running), waiting \(queued.all) (high \(queued.high), normal \(queued.normal), low \(queued.low))"
          + arriving(report))
    }
    let totals = totals(report)
    if !totals.isEmpty { lines.append(totals) }
    return lines
  }

  /// `, arriving 2`; nothing where no request's body is on the way.
  static func arriving(_ report: StatusReport) -> String {
    report.arriving.map { $0 > 0 ? ", arriving \($0)" : "" } ?? ""
  }

  /// Calls, tokens and money, as far as the broker tells them.
  static func totals(_ report: StatusReport, isShort: Bool = false) -> String {
    var parts: [String] = []
    if isShort, let totals = report.totals {
      if let calls = totals.callsLastMinute { parts.append("\(AmountText.short(calls)) calls/min") }
      if let tokens = totals.tokensLastMinute { parts.append("\(AmountText.short(tokens)) tokens/min") }
      if let refused = totals.throttledLastMinute, refused > 0 { parts.append("\(refused) 429s/min") }
      if let cost = totals.costLastHourUsd { parts.append("\(AmountText.shortDollars(cost.text))/h") }
      if let spent = report.spentUsd { parts.append("\(AmountText.shortDollars(spent)) since the start") }
      if let unpriced = unpriced(report) { parts.append(unpriced) }
      return parts.joined(separator: ", ")
    }
    if let totals = report.totals {
      if let calls = totals.callsLastMinute {
        let tokens = totals.tokensLastMinute.map { " and \(AmountText.short($0)) tokens" } ?? ""
        parts.append("\(calls) \(calls == 1 ? "call" : "calls")\(tokens) in the last minute")
      }
      if let refused = totals.throttledLastMinute, refused > 0 { parts.append("\(refused) refused by providers") }
      if let cost = totals.costLastHourUsd { parts.append("\(AmountText.shortDollars(cost.text)) in the last hour") }
    }
    if let spent = report.spentUsd { parts.append("\(AmountText.dollars(spent)) since the start") }
    if let unpriced = unpriced(report) { parts.append(unpriced) }
    return parts.joined(separator: ", ")
  }

  /// What no amount of money contains; nil where there is none of it.
  private static func unpriced(_ report: StatusReport) -> String? {
    guard let calls = report.unpricedCalls, calls > 0 else { return nil }
    return "and \(calls) \(calls == 1 ? "call" : "calls") without a price"
  }

  /// What is wrong, with how bad it is.
  struct Trouble {
    var isCritical: Bool
    var what: String
    var text: String { (isCritical ? "critical: " : "warning: ") + what }
    var style: ScreenStyle { isCritical ? .bad : .warning }

    init(_ what: String, isCritical: Bool) {
      self.what = PrintableText.escaped(what)
      self.isCritical = isCritical
    }
  }

  /// What an operator must know before anything else, the worst first.
  static func troubles(_ report: StatusReport) -> [Trouble] {
    var all: [Trouble] = []
    let ledger = report.ledger.flatMap { $0 == "ok" ? nil : $0 }
    if let ledger {
      all.append(Trouble("no new work is taken: the ledger cannot be written: \(ledger)", isCritical: true))
    }
    all += (report.problems ?? []).map { Trouble($0.text, isCritical: $0.severity != "warning") }
    // That the ledger cannot be written has been said.
    for alert in report.alerts ?? [] where ledger == nil || alert.name != "ledger" {
      all.append(
        Trouble("alert \(alert.name): \(alert.text ?? "fires")", isCritical: alert.severity == "critical"))
    }
    return worstFirst(all)
  }

  /// In the order in which they come, and critical ones before all warnings.
  static func worstFirst(_ all: [Trouble]) -> [Trouble] { all.filter(\.isCritical) + all.filter { !$0.isCritical } }

  // MARK: Classes and providers

  static func classTable(_ classes: StatusReport.Classes) -> TextTable {
    var table = TextTable(["CLASS", "WAITING", "OLDEST", "PREDICTED", "WAITS FOR"], right: [1, 2, 3])
    for (name, one) in [("high", classes.high), ("normal", classes.normal), ("low", classes.low)] {
      table.row([
        name, "\(one.queued)", one.oldestMs.map { SpanText.text(milliseconds: $0) } ?? "-",
        one.predictedWaitMs.map { SpanText.text(milliseconds: $0) } ?? "-",
        one.waitsFor.map { waits in
          let provider = waits.provider.flatMap { waits.shown.contains($0) ? nil : "\($0): " } ?? ""
          return provider + waits.shown
        } ?? "-",
      ])
    }
    return table
  }

  private static func classes(_ report: StatusReport, _ page: ReportPage) -> [String] {
    report.classes.map { ["", classTable($0).text(width: page.width)] } ?? []
  }

  private static func providerTable(_ providers: [StatusReport.Provider]) -> TextTable {
    var table = TextTable(
      ["PROVIDER", "PLACES", "HIGH", "NORMAL", "LOW", "OLDEST", "429/MIN", "BREAKER"], right: [2, 3, 4, 5, 6],
      spare: ["429/MIN", "OLDEST"])
    for provider in providers {
      table.row(
        [
          provider.id, places(provider), "\(provider.queued.high)", "\(provider.queued.normal)",
          "\(provider.queued.low)",
          provider.oldestWaitMs?.longest.map { SpanText.text(milliseconds: $0) } ?? "-",
          provider.throttledLastMinute.map { "\($0)" } ?? "-", provider.breaker.state,
        ], look: ("BREAKER", StateLook.breaker(provider.breaker.state)))
    }
    return table
  }

  /// A sentence for each breaker that is not closed, and each pause.
  static func advice(_ providers: [StatusReport.Provider], _ page: ReportPage) -> [Trouble] {
    providers.flatMap { provider -> [Trouble] in
      var lines: [Trouble] = []
      func breaker(_ breaker: StatusReport.Breaker, of name: String) {
        guard breaker.state != "closed" else { return }
        let reason = breaker.shownReason.map { ": \($0)" } ?? ""
        let next = breaker.until.flatMap { page.clock.left(until: $0) }.map { "; next try in \($0)" } ?? ""
        lines.append(
          Trouble(
            "breaker of \(name) \(breaker.state)\(page.since(breaker.since))\(page.until(breaker.until))\(reason)\(next); "
              + "to try now: tollgate breakers auto \(provider.id)", isCritical: breaker.state == "open"))
      }
      breaker(provider.breaker, of: provider.id)
      for model in provider.models ?? [] {
        if let own = model.breaker { breaker(own, of: "\(provider.id): \(model.name)") }
      }
      for pause in ProviderPause.all(of: provider) {
        let left = pause.until.flatMap { page.clock.left(until: $0) }.map { "; \($0) left" } ?? ""
        lines.append(
          Trouble(
            "\(pause.what) rests\(page.until(pause.until)): \(pause.reason)\(left); "
              + "to try now: tollgate breakers auto \(provider.id)", isCritical: false))
      }
      if provider.state == "disabled" {
        let left = provider.until.flatMap { page.clock.left(until: $0) }.map { "; the next try in \($0)" } ?? ""
        lines.append(
          Trouble(
            "\(provider.id) gets no calls: it has no usable key\(left); 'tollgate keys' says why", isCritical: true))
      }
      if let slow = provider.slowStart {
        lines.append(
          Trouble("\(slow.text); which: tollgate requests --state running --slowest", isCritical: false))
      }
      return lines
    }
  }

  // MARK: Buckets

  /// The buckets of providers, of their models and of their keys, each with the name of what it limits.
  static func buckets(of providers: [StatusReport.Provider]) -> [(name: String, bucket: StatusReport.Bucket)] {
    providers.flatMap { provider in
      (provider.buckets ?? []).map { (provider.id, $0) }
        + (provider.models ?? []).flatMap { model in
          (model.buckets ?? []).map { ("\(provider.id): \(model.name)", $0) }
        } + keyBuckets(of: provider)
    }
  }

  static func keyBuckets(of provider: StatusReport.Provider) -> [(name: String, bucket: StatusReport.Bucket)] {
    (provider.keys ?? []).flatMap { key in (key.buckets ?? []).map { ("\(provider.id)/\(key.id)", $0) } }
  }

  static func bucketTable(_ all: [(name: String, bucket: StatusReport.Bucket)], _ page: ReportPage) -> TextTable {
    // Shown only where the broker tells it.
    let isFull = all.contains { $0.bucket.inUse != nil || $0.bucket.perMinute != nil }
    var table = TextTable(
      ["BUCKET", "DIMENSION", "AVAILABLE", "CAPACITY"] + (isFull ? ["PER MINUTE", "IN USE", "KEPT", "FULL AT"] : []),
      right: [2, 3, 4, 5], whole: [7],
      spare: ["KEPT", "PER MINUTE", "IN USE", "FULL AT"])
    for (name, bucket) in all {
      var cells = [name, bucket.dimension, "\(bucket.available)", "\(bucket.capacity)"]
      if isFull {
        let kept = bucket.kept?.text ?? ""
        cells += [
          bucket.perMinute.map { "\($0)" } ?? "-", bucket.inUse.map { "\($0)" } ?? "-", kept.isEmpty ? "-" : kept,
          page.time(bucket.fullAt),
        ]
      }
      table.row(cells)
    }
    return table
  }

  private static func bucketLines(_ all: [(name: String, bucket: StatusReport.Bucket)], _ page: ReportPage) -> [String]
  { all.isEmpty ? [] : ["", bucketTable(all, page).text(width: page.width)] }

  // MARK: Keys and breakers

  static func keyTable(_ keys: [(provider: String, key: StatusReport.Key)], _ page: ReportPage) -> TextTable {
    var table = TextTable(
      ["KEY", "SECRET", "STATE", "UNTIL", "RUNNING", "EXPIRES", "REASON"], right: [4], whole: [2, 3, 5],
      spare: ["SECRET", "EXPIRES", "RUNNING", "UNTIL"])
    for (provider, key) in keys {
      table.row(
        [
          "\(provider)/\(key.id)", key.secret ?? "-", key.state, page.time(key.until),
          running(key), key.expires.map { page.clock.text($0) } ?? "never", key.shownReason ?? "-",
        ], look: ("STATE", StateLook.key(key.state)))
    }
    return table
  }

  /// The keys of all providers, their own limits, and what to do about those that are not used.
  public static func keys(_ report: StatusReport, _ page: ReportPage) -> String {
    let providers = report.allProviders
    let keys = providers.flatMap { provider in (provider.keys ?? []).map { (provider.id, $0) } }
    guard !keys.isEmpty else { return "The providers have no keys." }
    var lines = [keyTable(keys, page).text(page)]
    lines += bucketLines(providers.flatMap { keyBuckets(of: $0) }, page)
    for (provider, key) in keys {
      for model in key.models ?? [] {
        let reason = model.reason.map { ": \($0)" } ?? ""
        lines.append(
          page.styled(
            PrintableText.escaped("\(provider)/\(key.id) rests for \(model.model)\(page.until(model.until))\(reason)"),
            .warning))
      }
      guard key.state != "usable", key.reason?.hasPrefix("expired") != true, key.reason?.hasPrefix("not valid") != true
      else { continue }
      let left = key.until.flatMap { page.clock.left(until: $0) }.map { ", \($0) left" } ?? ""
      lines.append(
        page.styled(
          PrintableText.escaped(
            "\(provider)/\(key.id) is \(key.state)\(page.until(key.until))\(left); "
              + "to try now: tollgate keys enable \(provider)/\(key.id)"), StateLook.key(key.state)))
    }
    return lines.joined(separator: "\n")
  }

  /// The breakers of all providers, the pauses that providers have asked for, and what to do about them.
  public static func breakers(_ report: StatusReport, _ page: ReportPage) -> String {
    var table = TextTable(
      ["PROVIDER", "STATE", "UNTIL", "LEFT", "REASON"], right: [3], whole: [1, 2], spare: ["UNTIL"])
    for provider in report.allProviders {
      func row(_ name: String, _ breaker: StatusReport.Breaker) {
        table.row(
          [name, breaker.state, page.time(breaker.until), page.left(breaker.until), breaker.shownReason ?? "-"],
          look: ("STATE", StateLook.breaker(breaker.state)))
      }
      row(provider.id, provider.breaker)
      for model in provider.models ?? [] {
        if let own = model.breaker { row("\(provider.id): \(model.name)", own) }
      }
      for pause in ProviderPause.all(of: provider) {
        table.row(
          [pause.what, "cooling", page.time(pause.until), page.left(pause.until), pause.reason],
          look: ("STATE", StateLook.breaker("cooling")))
      }
    }
    let advice = advice(report.allProviders, page).map { page.styled($0.what, $0.style) }
    return ([table.text(page)] + (advice.isEmpty ? [] : [""] + advice)).joined(separator: "\n")
  }

  // MARK: Tenants and what was learned

  private static func tenants(_ report: StatusReport, _ page: ReportPage) -> [String] {
    guard let all = report.tenants, all.count > 1 || report.providers == nil, !all.isEmpty else { return [] }
    var table = TextTable(
      ["TENANT", "RUNNING", "WAITING", "OLDEST", "WEIGHT", "SPENT"], right: [1, 2, 3, 4, 5],
      spare: ["WEIGHT", "OLDEST"])
    for tenant in all {
      table.row([
        tenant.id, tenant.concurrencyLimit.map { "\(tenant.inFlight) of \($0)" } ?? "\(tenant.inFlight)",
        "\(tenant.queued)", tenant.oldestWaitMs.map { SpanText.text(milliseconds: $0) } ?? "-", "\(tenant.weight)",
        tenant.spent(AmountText.dollars),
      ])
    }
    return ["", table.text(width: page.width)]
  }

  private static func learned(_ report: StatusReport, _ page: ReportPage) -> [String] {
    guard let all = report.learned, !all.isEmpty else { return [] }
    var table = TextTable(
      ["LEARNED", "FOR", "VALUE", "UNIT", "FROM", "SINCE"], right: [2], whole: [5],
      spare: ["SINCE", "FROM"])
    for one in all.prefix(mostLearned) {
      let names = [one.provider, one.key, one.model].compactMap { $0 }
      let day = one.unit == "unix_ms" ? page.clock.text(min(max(0, one.value), 9_000_000_000_000) * 1_000_000) : nil
      table.row([
        one.what, names.joined(separator: "/"), day ?? "\(one.value)", day == nil ? one.unit : "-", one.from,
        page.time(one.since),
      ])
    }
    let more = max(0, all.count - mostLearned) + (report.learnedLeftOut ?? 0)
    return ["", table.text(width: page.width)] + (more > 0 ? ["and \(more) more learned values"] : [])
  }
}

/// Requests in a table.
public enum RequestText {
  public static func text(_ entries: [RequestReport.Entry], _ page: ReportPage) -> String {
    guard !entries.isEmpty else { return "No requests." }
    let waits = entries.contains { $0.waitsFor != nil || $0.predictedWaitMs != nil || $0.arriving == true }
    var table = TextTable(
      ["ID", "STATE", "CLASS", "TENANT", "SESSION", "MODEL", "PROVIDER", "WAITED", "TOTAL", "IN", "OUT", "COST"]
        + (waits ? ["WAITS ABOUT", "WAITS FOR"] : []),
      right: [7, 8, 9, 10, 11, 12], whole: [0, 1, 2],
      spare: ["IN", "OUT", "COST", "MODEL", "PROVIDER", "TENANT", "TOTAL", "WAITS ABOUT", "SESSION"])
    for entry in entries {
      table.row(
        [
          entry.id, entry.shownState, entry.priority, entry.tenant, dash(entry.session), dash(entry.model),
          entry.provider ?? "-", entry.shownWait,
          entry.shownTime, "\(entry.inputTokens)", "\(entry.outputTokens)",
          entry.costUsd.map { AmountText.dollars($0) } ?? "-",
        ]
          + (waits
            ? [
              entry.predictedWaitMs.map { SpanText.text(milliseconds: $0) } ?? "-", entry.shownReason,
            ] : []),
        look: ("STATE", StateLook.request(entry)))
    }
    return table.text(page)
  }

  static func dash(_ text: String) -> String { text.isEmpty ? "-" : text }
}

extension StatusReport.Tenant {
  /// `$0.00` where it has spent nothing, `$1.20 + 3 unpriced`, `-` where nobody knows.
  /// - Parameter dollars: how an amount is written.
  func spent(_ dollars: (String) -> String) -> String {
    guard let spentUsd else { return "-" }
    let unpriced = unpricedCalls ?? 0
    return dollars(spentUsd.text) + (unpriced > 0 ? " + \(unpriced) unpriced" : "")
  }
}
