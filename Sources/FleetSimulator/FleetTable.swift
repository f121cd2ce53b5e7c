// Figures of a fleet for people: a table that can be redrawn in place, one line per second, two runs side by side.

/// Lays out figures as text. Never longer than 100 columns.
public struct FleetTable {
  private let colours: Bool

  /// `colours` adds the colours of the terminal.
  public init(colours: Bool) { self.colours = colours }

  /// A heading, one line per group, one for the provider. No newline at the end.
  public mutating func text(_ measures: FleetMeasures, counts: ProviderCounts?, title: String) -> String {
    var lines = [bold(title)]
    lines.append(
      dim(
        left("class", 12) + right("calls", 8) + right("errors", 8) + right("retries", 9) + right("wait p50", 12)
          + right("p99", 12) + right("max", 12) + right("queued p99", 13)))
    for var group in measures.groups {
      let errors = right(String(group.failures), 8)
      lines.append(
        left(group.name, 12) + right(Self.grouped(group.completed), 8) + (group.failures > 0 ? red(errors) : errors)
          + right(Self.grouped(group.retries), 9) + right(Self.milliseconds(group.wait.percentile(0.5)), 12)
          + right(Self.milliseconds(group.wait.percentile(0.99)), 12)
          + right(Self.milliseconds(group.wait.percentile(1)), 12)
          + right(Self.milliseconds(group.queue.percentile(0.99)), 13))
    }
    if let counts { lines.append(provider(counts)) }
    return lines.joined(separator: "\n")
  }

  /// Everything on one line, for logs.
  public mutating func line(_ measures: FleetMeasures, counts: ProviderCounts?, second: Int) -> String {
    var parts: [String] = []
    for var group in measures.groups {
      parts.append("\(group.name) \(group.completed) p99 \(Self.milliseconds(group.wait.percentile(0.99)))")
    }
    if let counts { parts.append("permits \(counts.in_flight) refused \(counts.refused_total)") }
    parts.append("errors \(measures.failures)")
    return "\(second)s  " + parts.joined(separator: " | ")
  }

  /// Two runs of the same fleet in two columns, or one where there is no second.
  public mutating func comparison(_ with: FleetOutcome, _ without: FleetOutcome?) -> String {
    var rows: [(String, String, String)] = []
    func add(_ name: String, _ value: (FleetOutcome) -> String) {
      rows.append((name, value(with), without.map(value) ?? ""))
    }
    for (index, group) in with.measures.groups.enumerated() {
      add("\(group.name): wait p50") { outcome in
        var times = outcome.measures.groups[index].wait
        return Self.milliseconds(times.percentile(0.5))
      }
      add("\(group.name): wait p99") { outcome in
        var times = outcome.measures.groups[index].wait
        return Self.milliseconds(times.percentile(0.99))
      }
      add("\(group.name): calls finished") { Self.grouped($0.measures.groups[index].completed) }
    }
    add("client errors") { Self.grouped($0.measures.failures) }
    add("refused by the provider") { $0.counts.map { Self.grouped($0.refused_total) } ?? "-" }
    add("most permits in use") { $0.counts.map { String($0.peak) } ?? "-" }
    add("token budget used") { outcome in
      outcome.counts?.buckets.first.map { "\(Int(($0.used_share * 100).rounded())) %" } ?? "-"
    }
    let head =
      left("", 30) + right("with Tollgate", 16) + (without == nil ? "" : right("without", 16))
    let body = rows.map { left($0.0, 30) + right($0.1, 16) + (without == nil ? "" : right($0.2, 16)) }
    return ([bold(head)] + body).joined(separator: "\n")
  }

  private func provider(_ counts: ProviderCounts) -> String {
    let refused = "refused \(Self.grouped(counts.refused_total))"
    let bucket = counts.buckets.first.map {
      "   tokens \(Self.grouped($0.used)) of \(Self.grouped($0.budget)) (\(Int(($0.used_share * 100).rounded())) %)"
    }
    return "provider    permits \(counts.in_flight), at most \(counts.peak)\(bucket ?? "")   "
      + (counts.refused_total > 0 ? red(refused) : refused)
  }

  /// `0.4 ms`, `12 ms`, `1.53 s`.
  static func milliseconds(_ value: Double?) -> String {
    guard let value else { return "-" }
    if value >= 1000 { return "\((value / 10).rounded() / 100) s" }
    return value >= 10 ? "\(Int(value.rounded())) ms" : "\((value * 10).rounded() / 10) ms"
  }

  /// `12,345`.
  static func grouped(_ value: Int) -> String {
    var text = ""
    for (index, digit) in String(value.magnitude).reversed().enumerated() {
      if index > 0, index % 3 == 0 { text.append(",") }
      text.append(digit)
    }
    return (value < 0 ? "-" : "") + String(text.reversed())
  }

  private func left(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
  }
  private func right(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(0, width - text.count)) + text
  }
  private func bold(_ text: String) -> String { colours ? "\u{1B}[1m\(text)\u{1B}[0m" : text }
  private func dim(_ text: String) -> String { colours ? "\u{1B}[2m\(text)\u{1B}[0m" : text }
  private func red(_ text: String) -> String { colours ? "\u{1B}[31m\(text)\u{1B}[0m" : text }
}
