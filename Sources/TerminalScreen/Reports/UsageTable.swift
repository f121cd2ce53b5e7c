// A usage report for people: names to the left, numbers to the right, the total below.
//
// Promise: what has no price is not shown as if it had cost nothing.

/// The answer of `/api/v1/usage`, and of the ledger's file, in JSON.
public struct UsageTable: Decodable, Sendable {
  /// Names and amounts are texts, counts are numbers.
  enum Cell: Decodable, Sendable {
    case text(String)
    case number(Int64)

    init(from decoder: any Decoder) throws {
      let container = try decoder.singleValueContainer()
      if let number = try? container.decode(Int64.self) {
        self = .number(number)
      } else {
        self = .text(try container.decode(String.self))
      }
    }

    var shown: String {
      switch self {
      case .number(let number): "\(number)"
      case .text(let text): text
      }
    }
    var number: Int64 { if case .number(let number) = self { number } else { 0 } }
  }

  private var rows: [[String: Cell]]
  private var total: [String: Cell]
  private var since: String
  private var until: String
  private var pending: Int?

  /// Entries that the report lacks, since they cannot be written yet.
  public var lacking: Int { pending ?? 0 }

  /// The share of the lost tokens that expired because calls waited here.
  private static let byWaiting = "by_waiting"
  private static let headings = [
    "requests": "REQUESTS", "input_tokens": "INPUT", "cache_read_tokens": "CACHE READ",
    "cache_write_tokens": "CACHE WRITE", "output_tokens": "OUTPUT", "cost_usd": "USD", "presumed": "PRESUMED",
    "estimated": "ESTIMATED", "unpriced": "UNPRICED", "lost_tokens": "LOST", "lost_usd": "LOST USD",
    byWaiting: "BY WAITING",
  ]

  /// - Parameter by: the names of the columns to the left.
  public func text(by: [String], _ page: ReportPage) -> String {
    var counts = ["requests", "input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "cost_usd"]
    // Shown only where there is something in it.
    for rare in ["presumed", "estimated", "unpriced"] where total[rare]?.shown != "0" {
      counts.insert(rare, at: counts.count - 1)
    }
    if by.contains("cache") {
      counts.insert(contentsOf: ["lost_tokens", "lost_usd", UsageTable.byWaiting], at: counts.count - 1)
    }
    var table = TextTable(
      by.map { $0.uppercased().replacing("_", with: " ") } + counts.map { UsageTable.headings[$0] ?? $0 },
      right: Set(by.count..<(by.count + counts.count)))
    for row in rows {
      table.row(
        by.map { name in row[name].map { $0.shown.isEmpty ? "-" : $0.shown } ?? "-" }
          + counts.map { UsageTable.cell($0, row) })
    }
    table.row(
      (by.isEmpty ? [] : ["total"] + by.dropFirst().map { _ in "" }) + counts.map { UsageTable.cell($0, total) })
    return "\(page.clock.zoned(since)) to \(page.clock.zoned(until))\n\n\(table.text(width: page.width))"
  }

  private static func cell(_ name: String, _ row: [String: Cell]) -> String {
    switch name {
    case byWaiting: return waiting(row)
    case "cost_usd":
      // Nothing of it has a price.
      return amount(name, row, isUnknown: row["unpriced"]?.number ?? 0 > 0)
    case "lost_usd":
      return amount(name, row, isUnknown: row["unpriced"]?.number ?? 0 > 0 && row["lost_tokens"]?.number ?? 0 > 0)
    default: return row[name]?.shown ?? "-"
    }
  }

  private static func amount(_ name: String, _ row: [String: Cell], isUnknown: Bool) -> String {
    guard let amount = row[name]?.shown else { return "-" }
    return isUnknown && AmountText.isZero(amount) ? "-" : AmountText.dollars(amount)
  }

  private static func waiting(_ row: [String: Cell]) -> String {
    guard case .number(let lost)? = row["lost_tokens"], case .number(let waiting)? = row["lost_by_waiting_tokens"],
      lost > 0
    else { return "-" }
    // In tenths of a hundredth, and never 0 where there was something.
    let share = max(waiting > 0 ? 1 : 0, Int64((Double(waiting) / Double(lost) * 1000).rounded()))
    return "\(share / 10).\(share % 10)%"
  }
}
