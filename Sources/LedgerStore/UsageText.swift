// A report as JSON and as CSV: the same for the command line and the API. Money is a decimal string with nine places.
import AdmissionCore

extension UsageReport {
  /// `{"rows": [...], "total": {...}, "since": ..., "until": ...}`; each row has its dimensions first.
  public var json: String {
    let names = query.by.map(\.rawValue)
    var text = "{\"rows\": ["
    for (index, row) in rows.enumerated() {
      text += index == 0 ? "\n" : ",\n"
      text += "  {"
      for (name, label) in zip(names, row.labels) { text += "\"\(name)\": \(UsageText.quoted(label)), " }
      text += UsageText.members(row.sums) + "}"
    }
    text += rows.isEmpty ? "],\n" : "\n],\n"
    text += "\"total\": {" + UsageText.members(total) + "},\n"
    text += "\"since\": \"\(UTCTime.text(query.since))\", \"until\": \"\(UTCTime.text(query.until))\"}\n"
    return text
  }

  /// A heading and one line for each row (RFC 4180); no total, so that summing a column is right.
  public var csv: String {
    var lines = [(query.by.map(\.rawValue) + UsageText.names).joined(separator: ",")]
    for row in rows {
      lines.append((row.labels.map(UsageText.cell) + UsageText.values(row.sums)).joined(separator: ","))
    }
    return lines.map { $0 + "\r\n" }.joined()
  }
}

/// Amounts and names in texts.
public enum UsageText {
  static let names = [
    "requests", "attempts", "presumed", "estimated", "unpriced", "input_tokens", "cache_read_tokens",
    "cache_write_tokens", "output_tokens", "reasoning_tokens", "cost_usd",
  ]

  static func values(_ sums: UsageSums) -> [String] {
    [
      sums.requests, sums.attempts, sums.presumed, sums.estimated, sums.unpriced, sums.inputTokens,
      sums.cacheReadTokens, sums.cacheWriteTokens, sums.outputTokens, sums.reasoningTokens,
    ].map { String($0) } + [dollars(sums.nanodollars)]
  }

  /// `0.012300000`.
  public static func dollars(_ nanodollars: Int64) -> String {
    let magnitude = nanodollars.magnitude
    let fraction = String(magnitude % 1_000_000_000)
    return (nanodollars < 0 ? "-" : "") + String(magnitude / 1_000_000_000) + "."
      + String(repeating: "0", count: 9 - fraction.utf8.count) + fraction
  }

  static func members(_ sums: UsageSums) -> String {
    zip(names, values(sums)).map { name, value in
      name == "cost_usd" ? "\"\(name)\": \"\(value)\"" : "\"\(name)\": \(value)"
    }.joined(separator: ", ")
  }

  static func cell(_ text: String) -> String {
    guard text.utf8.contains(where: { $0 == 0x22 || $0 == 0x2C || $0 == 0x0A || $0 == 0x0D }) else { return text }
    return "\"" + text.split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\"\"") + "\""
  }

  static func quoted(_ text: String) -> String {
    var quoted = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": quoted += "\\\""
      case "\\": quoted += "\\\\"
      case "\n": quoted += "\\n"
      case "\r": quoted += "\\r"
      case "\t": quoted += "\\t"
      case _ where scalar.value < 0x20:
        let digits = String(scalar.value, radix: 16)
        quoted += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: quoted.unicodeScalars.append(scalar)
      }
    }
    return quoted + "\""
  }
}
