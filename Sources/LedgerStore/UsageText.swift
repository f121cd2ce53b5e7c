// A report as JSON and as CSV, the same for the command line and the API. Money is a decimal string with nine places.
import AdmissionCore
import TextForms

/// The forms of a report, by the words of the command line and the API.
public enum UsageFormat: String, Sendable, CaseIterable { case json, csv }

extension UsageReport {
  /// The whole report in this form.
  public func text(as format: UsageFormat) -> String {
    switch format {
    case .json: json
    case .csv: csv
    }
  }

  /// `{"rows": [...], "total": {...}, "since": ..., "until": ..., "pending": N}`; each row has its dimensions first.
  public var json: String {
    let names = query.by.map(\.rawValue)
    var text = "{\"rows\": ["
    for (index, row) in rows.enumerated() {
      text += index == 0 ? "\n" : ",\n"
      text += "  {"
      for (name, label) in zip(names, row.labels) { text += "\"\(name)\": \(JSONString.quoted(label)), " }
      text += UsageText.members(row.sums, query) + "}"
    }
    text += rows.isEmpty ? "],\n" : "\n],\n"
    text += "\"total\": {" + UsageText.members(total, query) + "},\n"
    text += "\"since\": \"\(UTCTime.text(query.since))\", \"until\": \"\(UTCTime.text(query.until))\", "
    text += "\"pending\": \(pending)}\n"
    return text
  }

  /// A heading and one line for each row (RFC 4180), without a total, so that the sum of a column is right.
  public var csv: String {
    var lines = [(query.by.map(\.rawValue) + UsageText.names(query)).joined(separator: ",")]
    for row in rows {
      lines.append((row.labels.map(UsageText.cell) + UsageText.values(row.sums, query)).joined(separator: ","))
    }
    return lines.map { $0 + "\r\n" }.joined()
  }
}

/// Formats amounts and names.
enum UsageText {
  private static let names = [
    "requests", "attempts", "presumed", "estimated", "unpriced", "input_tokens", "cache_read_tokens",
    "cache_write_tokens", "output_tokens", "reasoning_tokens", "cost_usd",
  ]
  /// What reports by `cache` have besides.
  private static let lossNames = ["lost_tokens", "lost_usd", "lost_by_waiting_tokens", "lost_by_waiting_usd"]

  static func names(_ query: UsageQuery) -> [String] { names + (query.by.contains(.cache) ? lossNames : []) }

  static func values(_ sums: UsageSums, _ query: UsageQuery) -> [String] {
    let values =
      [
        sums.requests, sums.attempts, sums.presumed, sums.estimated, sums.unpriced, sums.inputTokens,
        sums.cacheReadTokens, sums.cacheWriteTokens, sums.outputTokens, sums.reasoningTokens,
      ].map { String($0) } + [Money(nanodollars: sums.nanodollars).text]
    guard query.by.contains(.cache) else { return values }
    return values + [
      String(sums.lostTokens), Money(nanodollars: sums.lostNanodollars).text, String(sums.waitingTokens),
      Money(nanodollars: sums.waitingNanodollars).text,
    ]
  }

  static func members(_ sums: UsageSums, _ query: UsageQuery) -> String {
    zip(names(query), values(sums, query)).map { name, value in
      name.hasSuffix("_usd") ? "\"\(name)\": \"\(value)\"" : "\"\(name)\": \(value)"
    }.joined(separator: ", ")
  }

  static func cell(_ text: String) -> String {
    guard text.utf8.contains(where: { $0 == 0x22 || $0 == 0x2C || $0 == 0x0A || $0 == 0x0D }) else { return text }
    return "\"" + text.split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\"\"") + "\""
  }
}
