// The result of a workload as a table: waits by class, grants, refusals, utilisation. The same policy and seed give the
// same text.
import AdmissionCore

public enum WorkloadReport {
  /// Names that `run` knows.
  public static var names: [String] { Workload.allCases.map(\.rawValue) }

  /// Runs a named workload with the real core in virtual time.
  /// - Returns: the report; nil where no workload has the name.
  public static func run(_ name: String, policy: AdmissionPolicy, seed: UInt64 = 1) -> String? {
    guard let workload = Workload(rawValue: name) else { return nil }
    let scenario = workload.scenario(policy: policy, seed: seed)
    let result = Simulation<Admission>.run(scenario, observer: nil)
    let title = "workload \(name): \(workload.summary)"
    return text(title: title, scenario: scenario, result: result)
  }

  /// The report of any run.
  public static func text(title: String, scenario: Scenario, result: SimulationResult) -> String {
    let length = max(1, result.end.nanoseconds)
    var lines = [title]
    lines.append(
      "seed \(scenario.seed), \(seconds(length)) s of virtual time, trace hash \(String(result.hash, radix: 16))")
    lines.append("")
    var table: [[String]] = [
      ["class", "requests", "granted", "wait p50", "wait p99", "wait max", "completed", "left", "refused", "failed"]
    ]
    for priority in Priority.allCases {
      let members = result.requests.filter { $0.priority == priority }
      let waits = members.compactMap(\.queued).map(\.nanoseconds).sorted()
      func count(_ outcomes: [Outcome]) -> String {
        "\(members.count { record in record.outcome.map { outcomes.contains($0) } ?? false })"
      }
      table.append([
        priority.name, "\(members.count)", "\(waits.count)", milliseconds(quantile(waits, 50)),
        milliseconds(quantile(waits, 99)), milliseconds(waits.last), count([.completed]),
        count([.clientLeftQueued, .clientLeftRunning]),
        count([.rejectedQueueFull, .evictedMaxWait, .rejectedNoCapacity, .rejectedTenantLimit, .rejectedDraining]),
        count([.upstreamError, .failedUpstream, .truncated]),
      ])
    }
    lines.append(contentsOf: aligned(table))
    lines.append("")
    table = [["provider", "accepted", "refusals", "ill", "tokens", "permits used", "tokens used"]]
    for provider in result.providers {
      let limits = scenario.truths.first { $0.id == provider.id }?.limits ?? Limits()
      let permits = limits.concurrency.map { Double(provider.busy) / Double(Int64($0) * length) }
      // The bucket's content at the start, and its refill since.
      let budget = (limits.tokensPerMinute ?? limits.inputTokensPerMinute).map {
        Double($0) * (1 + Double(length) / 60e9)
      }
      table.append([
        provider.id.name, "\(provider.accepted)", "\(provider.refusals)", "\(provider.ill)", "\(provider.tokens)",
        permits.map(percent) ?? "-", budget.map { percent(Double(provider.tokens) / $0) } ?? "-",
      ])
    }
    lines.append(contentsOf: aligned(table))
    let tenants = scenario.policy.tenants
    if tenants.count > 1 {
      lines.append("")
      table = [["tenant", "weight", "granted", "tokens", "share"]]
      let total = max(1, result.requests.reduce(0) { $0 + $1.tokens })
      for tenant in tenants {
        let members = result.requests.filter { $0.tenant == tenant.id }
        let tokens = members.reduce(0) { $0 + $1.tokens }
        table.append([
          tenant.id.name, "\(tenant.weight)", "\(members.count { $0.attempts > 0 })", "\(tokens)",
          percent(Double(tokens) / Double(total)),
        ])
      }
      lines.append(contentsOf: aligned(table))
    }
    return lines.joined(separator: "\n") + "\n"
  }

  /// The value below which `percent` of the sorted values lie; nil where there are none.
  static func quantile(_ sorted: [Int64], _ percent: Int) -> Int64? {
    guard !sorted.isEmpty else { return nil }
    return sorted[min(sorted.count - 1, (sorted.count * percent + 99) / 100 - (percent > 0 ? 1 : 0))]
  }

  private static func milliseconds(_ nanoseconds: Int64?) -> String {
    guard let nanoseconds else { return "-" }
    return "\(nanoseconds / 1_000_000).\(nanoseconds / 100_000 % 10) ms"
  }
  private static func seconds(_ nanoseconds: Int64) -> String {
    "\(nanoseconds / 1_000_000_000).\(nanoseconds / 100_000_000 % 10)"
  }
  private static func percent(_ share: Double) -> String {
    let tenths = Int((share * 1000).rounded())
    return "\(tenths / 10).\(tenths % 10) %"
  }

  /// First column to the left, the others to the right.
  private static func aligned(_ table: [[String]]) -> [String] {
    let widths = (0..<(table.first?.count ?? 0)).map { column in table.map { $0[column].count }.max() ?? 0 }
    return table.map { row in
      row.enumerated().map { column, cell in
        let padding = String(repeating: " ", count: widths[column] - cell.count)
        return column == 0 ? cell + padding : padding + cell
      }.joined(separator: "  ")
    }
  }
}
