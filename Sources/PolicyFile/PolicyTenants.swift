// Reads classes, tenants and budgets.
import AdmissionCore
import TextForms

extension PolicyBuilder {
  func readPriorities(_ top: Fields, _ policy: inout Policy) {
    policy.defaultPriority = top.priority("default_priority") ?? policy.defaultPriority
    guard let node = top["priorities"],
      let classes = reader.fields(node, "priorities", known: Priority.allCases.map(\.name))
    else { return }
    let day = Duration.seconds(86400)
    var hasPromotedShare = [false, false, false]
    for priority in Priority.allCases {
      guard let node = classes[priority.name] else { continue }
      let known = ["reserve", "queue", "max_wait", "promote_after", "share", "promoted_share"]
      guard let fields = reader.fields(node, classes.path(of: priority.name), known: known) else { continue }
      var band = policy.bands[Int(priority.rawValue)]
      band.reserve = reserve(fields) ?? band.reserve
      band.queueLimit = fields.integer("queue", 1...1_000_000).map { Int($0) } ?? band.queueLimit
      band.maxWait = fields.duration("max_wait", .milliseconds(1)...day).map { Span($0) } ?? band.maxWait
      band.promoteAfter = fields.duration("promote_after", .milliseconds(1)...day).map { Span($0) } ?? band.promoteAfter
      band.shareBasisPoints = fields.share("share") ?? band.shareBasisPoints
      if let promoted = fields.share("promoted_share") {
        band.promotedShareBasisPoints = promoted
        hasPromotedShare[Int(priority.rawValue)] = true
        if promoted < band.shareBasisPoints, let node = fields["promoted_share"] {
          reader.report(
            node.position, fields.path(of: "promoted_share"),
            "found \(node.found), allowed: \(shareText(band.shareBasisPoints)) (its share) to 100%")
        }
      }
      policy.bands[Int(priority.rawValue)] = band
    }
    var reserved = 0
    var shares = 0
    for band in policy.bands {
      if case .share(let basisPoints) = band.reserve { reserved += basisPoints }
      shares += band.shareBasisPoints
    }
    // A promoted share that is not given is the default, but at least the share, and at most what the other shares
    // leave.
    for index in policy.bands.indices.reversed() where !hasPromotedShare[index] {
      let others = policy.bands.indices.reduce(0) {
        $1 == index ? $0 : $0 + max(policy.bands[$1].shareBasisPoints, policy.bands[$1].promotedShareBasisPoints)
      }
      policy.bands[index].promotedShareBasisPoints = max(
        policy.bands[index].shareBasisPoints, min(policy.bands[index].promotedShareBasisPoints, 10_000 - others))
    }
    let promoted = policy.bands.reduce(0) { $0 + max($1.shareBasisPoints, $1.promotedShareBasisPoints) }
    func culprit(_ field: String) -> Position {
      for priority in Priority.allCases.reversed() {
        guard case .mapping(let entries)? = classes[priority.name]?.content else { continue }
        if let entry = entries.first(where: { $0.key == field }) { return entry.value.position }
      }
      return node.position
    }
    if reserved > 10_000 {
      reader.report(
        culprit("reserve"), "priorities",
        "reserve of all classes together is \(shareText(reserved)), allowed: 100% at most")
    }
    if shares > 10_000 {
      reader.report(
        culprit("share"), "priorities", "share of all classes together is \(shareText(shares)), allowed: 100% at most")
    } else if promoted > 10_000 {
      reader.report(
        culprit("promoted_share"), "priorities",
        "promoted_share of all classes together is \(shareText(promoted)), allowed: 100% at most")
    }
  }

  private func reserve(_ fields: Fields) -> Reserve? {
    let allowed = "0% to 100%, or a whole number of permits from 0 to 1000000"
    guard let (text, node) = fields.scalar("reserve", allowed: allowed) else { return nil }
    if let share = shareValue(text), share <= 10_000 { return .share(basisPoints: share) }
    if let permits = wholeNumber(text), permits <= 1_000_000 { return .permits(Int(permits)) }
    reader.report(node.position, fields.path(of: "reserve"), "found \(node.found), allowed: \(allowed)")
    return nil
  }

  private func shareText(_ basisPoints: Int) -> String {
    let rest = basisPoints % 100
    return "\(basisPoints / 100)" + (rest == 0 ? "" : ".\(rest / 10)" + (rest % 10 == 0 ? "" : "\(rest % 10)")) + "%"
  }

  func readTenants(_ top: Fields, _ policy: inout Policy) {
    guard let items = top.list("tenants", of: "tenants, such as {id: acme, keys: [\"sha256:...\"]}") else { return }
    if items.isEmpty { top.report("tenants", "an empty list, allowed: at least one tenant, or no tenants: at all") }
    let known = ["id", "keys", "priority", "max_priority", "weight", "models", "limits", "budgets"]
    var ids: [String: Int] = [:]
    var owners: [ClientKeyHash: Int] = [:]
    for item in items {
      guard let fields = reader.fields(item.node, item.path, known: known) else { continue }
      var tenant = Tenant(id: "")
      let allowed = FieldReader.nameRule + ", or \"*\" for names that are not listed"
      if let (text, node) = fields.scalar("id", allowed: allowed, isRequired: true) {
        if text == "*" || reader.isName(text) {
          tenant.id = text
          if let line = ids.updateValue(node.position.line, forKey: text) {
            fields.report("id", "\(quoted(text)) is the id of another tenant, at line \(line), allowed: each id once")
          }
          if text == Tenant.reservedID {
            fields.report("id", "\(quoted(text)) is what the broker's own budgets are called by, allowed: another id")
          }
        } else {
          fields.report("id", "found \(node.found), allowed: \(allowed)")
        }
      }
      for key in fields.list("keys", of: "hashes, such as \"sha256:...\" as tollgate tenant-key prints it") ?? [] {
        guard let hash = clientKeyHash(key.node, key.path) else { continue }
        if let line = owners.updateValue(key.node.position.line, forKey: hash) {
          reader.report(key.node.position, key.path, "the same key is at line \(line), allowed: each key once")
        }
        tenant.keys.append(hash)
      }
      if tenant.id == "*", !tenant.keys.isEmpty {
        fields.report("keys", "the template \"*\" stands for many tenants, allowed: no keys, or a tenant with a name")
      }
      tenant.priority = fields.priority("priority")
      tenant.maxPriority = fields.priority("max_priority") ?? tenant.maxPriority
      if let priority = tenant.priority, priority > tenant.maxPriority {
        let most = tenant.maxPriority.name
        fields.report("priority", "\(priority.name) is above max_priority, allowed: \(most) or lower")
      }
      tenant.weight = fields.integer("weight", 1...1000).map { Int($0) } ?? tenant.weight
      tenant.models = fields.globs("models") ?? []
      tenant.limits = limits(fields)
      tenant.budgets = budgets(fields)
      policy.tenants.append(tenant)
    }
  }

  private func clientKeyHash(_ node: YAMLNode, _ path: String) -> ClientKeyHash? {
    let allowed = "sha256: and 64 hexadecimal digits, as tollgate tenant-key prints it"
    guard let text = reader.scalar(node, path, allowed: allowed) else { return nil }
    let digits = text.hasPrefix("sha256:") ? Array(text.utf8.dropFirst(7)) : []
    var bytes: [UInt8] = []
    var isHex = digits.count == 64
    for index in stride(from: 0, to: isHex ? 64 : 0, by: 2) {
      guard let high = Hexadecimal.value(digits[index]), let low = Hexadecimal.value(digits[index + 1]) else {
        isHex = false
        break
      }
      bytes.append(high << 4 | low)
    }
    if isHex { return ClientKeyHash(bytes: bytes) }
    // The text may be the key itself: never show it.
    let problem =
      text.hasPrefix("sha256:")
      ? "not 64 hexadecimal digits behind sha256:" : "not a hash (keys themselves are never kept)"
    reader.report(node.position, path, "\(problem), allowed: \(allowed)")
    return nil
  }

  /// One of `usd`, `tokens` and `requests`.
  private func budgetLimit(_ fields: Fields) -> (unit: BudgetUnit, limit: Money) {
    let given = BudgetUnit.allCases.filter { fields[$0.rawValue] != nil }
    if given.count > 1 {
      fields.report(
        given[1].rawValue, "given beside \(given[0].rawValue), allowed: one of usd, tokens and requests in a budget")
    }
    switch given.first {
    case .tokens, .requests:
      let unit = given[0]
      let count = fields.integer(unit.rawValue, 0...1_000_000_000_000_000) ?? 0
      return (unit, Money(nanodollars: count))
    case .usd, nil:
      let allowed =
        given.isEmpty
        ? "0 to 1000000000 US dollars, at most nine decimals, or tokens or requests in its place"
        : "0 to 1000000000 US dollars, at most nine decimals"
      guard let (text, node) = fields.scalar("usd", allowed: allowed, isRequired: true) else { return (.usd, .zero) }
      guard let nanodollars = DecimalText.exact(text.utf8, places: 9), nanodollars <= 1_000_000_000_000_000_000 else {
        reader.report(node.position, fields.path(of: "usd"), "found \(node.found), allowed: \(allowed)")
        return (.usd, .zero)
      }
      return (.usd, Money(nanodollars: nanodollars))
    }
  }

  /// Reads `per`: the name of a calendar window, or the length of a rolling one.
  private func readWindow(_ fields: Fields, _ budget: inout Budget) {
    let allowed = "hour, day, week, month, total, or a rolling window of 1m to 366d, such as 5h"
    guard let (text, node) = fields.scalar("per", allowed: allowed, isRequired: true) else { return }
    if let window = Budget.Window(rawValue: text), window != .rolling {
      budget.per = window
    } else if let length = durationValue(text), length >= .seconds(60), length <= .seconds(366 * 86_400),
      length.components.attoseconds == 0
    {
      budget.per = .rolling
      budget.rolling = length.components.seconds
    } else {
      reader.report(node.position, fields.path(of: "per"), "found \(node.found), allowed: \(allowed)")
    }
  }

  /// Reads the `budgets` of the whole broker or of a tenant.
  func budgets(_ parent: Fields, ofBroker: Bool = false) -> [Budget] {
    var budgets: [Budget] = []
    for item in parent.list("budgets", of: "budgets, such as {usd: 50, per: day}") ?? [] {
      let known =
        ["usd", "tokens", "requests", "per", "time_zone", "on_exceed", "warn_at"] + (ofBroker ? [] : ["scope"])
      guard let fields = reader.fields(item.node, item.path, known: known) else { continue }
      let (unit, limit) = budgetLimit(fields)
      var budget = Budget(limit: limit, per: .total)
      budget.unit = unit
      readWindow(fields, &budget)
      let zones = "the name of a time zone, such as UTC or Europe/Berlin"
      if let (text, node) = fields.scalar("time_zone", allowed: zones) {
        budget.timeZone = text
        if !isTimeZoneName(text) {
          reader.report(node.position, fields.path(of: "time_zone"), "found \(node.found), allowed: \(zones)")
        } else if !knowsTimeZone(text) {
          reader.report(
            node.position, fields.path(of: "time_zone"),
            "found \(node.found), which this machine has no rules for, allowed: \(zones)")
        }
      }
      if ofBroker {
        budget.scope = .broker
      } else {
        let scopes = [BudgetPolicy.Scope.tenant, .clientKey, .session].map { ($0.rawValue, $0) }
        budget.scope = fields.choice("scope", scopes) ?? budget.scope
      }
      let actions = Budget.OnExceed.allCases.map { ($0.rawValue, $0) }
      budget.onExceed = fields.choice("on_exceed", actions) ?? budget.onExceed
      budget.warnAtPercent = fields.percent("warn_at", 0...100) ?? budget.warnAtPercent
      budgets.append(budget)
    }
    return budgets
  }

  /// True for a text in the form of an IANA name, since it becomes part of a path to the machine's time zone files.
  private func isTimeZoneName(_ text: String) -> Bool {
    if text == "UTC" || text == "GMT" { return true }
    let areas = [
      "Africa", "America", "Antarctica", "Arctic", "Asia", "Atlantic", "Australia", "Brazil", "Canada", "Chile", "Etc",
      "Europe", "Indian", "Mexico", "Pacific", "US",
    ]
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    return (2...3).contains(parts.count) && areas.contains(String(parts[0]))
      && parts.dropFirst().allSatisfy { part in
        !part.isEmpty
          && part.utf8.allSatisfy {
            ($0 | 0x20 >= 0x61 && $0 | 0x20 <= 0x7A) || ($0 >= 0x30 && $0 <= 0x39) || $0 == 0x5F || $0 == 0x2D
              || $0 == 0x2B
          }
      }
  }
}
