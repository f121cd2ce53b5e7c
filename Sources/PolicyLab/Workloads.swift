// The named workloads of `tollgate simulate`: typical fleets in virtual time, shaped by the operator's own policy (its
// providers, limits and tenants).
import AdmissionCore

public enum Workload: String, CaseIterable, Sendable {
  /// Fifty background sessions back to back, subagents and compaction, and a user who steers ten times a second.
  case codingFleet = "coding-fleet"
  /// Three times what the providers' limits allow, in mixed sizes, a fifth of it high.
  case overload3x = "overload-3x"
  /// A tenant with fifty sessions beside one with a single session.
  case fairTenants = "fair-tenants"
  /// Two hundred clients, half of whom give up, queued or running.
  case cancelStorm = "cancel-storm"
  /// The providers answer 429 for three seconds to a busy fleet.
  case provider429 = "provider-429"

  /// One line about it, for help texts.
  public var summary: String {
    switch self {
    case .codingFleet: "50 background sessions, subagents, compaction and a user who steers"
    case .overload3x: "3 times the providers' limits, mixed sizes, 20 % high"
    case .fairTenants: "a tenant with 50 sessions beside one with a single session"
    case .cancelStorm: "200 clients, half of whom give up, queued or running"
    case .provider429: "3 seconds of 429 from every provider to a busy fleet"
    }
  }

  static let length = Span.seconds(60)

  /// The workload against a policy.
  /// - Parameter seed: decides sizes, times and which clients give up.
  public func scenario(policy: AdmissionPolicy, seed: UInt64) -> Scenario {
    var policy = policy
    let route = policy.providers.map(\.id)
    let tenant = policy.tenants.first?.id ?? "default"
    if policy.tenants.isEmpty, policy.tenantTemplate == nil { policy.tenants = [TenantPolicy(id: tenant)] }
    var clients: [ClientScript] = []
    var happenings: [Happening] = []
    switch self {
    case .codingFleet: clients = Self.fleet(tenant: tenant, route: route)
    case .overload3x: clients = Self.overload(policy: policy, tenant: tenant, route: route)
    case .fairTenants:
      let tenants = Self.twoTenants(&policy)
      clients = Self.crowd(tenants.0, sessions: 50, parallel: 1, route: route)
      clients += Self.crowd(tenants.1, sessions: 1, parallel: 50, route: route)
    case .cancelStorm: clients = Self.storm(tenant: tenant, route: route)
    case .provider429:
      clients = Self.fleet(tenant: tenant, route: route)
      for id in route {
        happenings.append(
          Happening(at: Instant(nanoseconds: 10_000_000_000), .providerMood(id, .throttling(retryAfter: .seconds(1)))))
        happenings.append(Happening(at: Instant(nanoseconds: 13_000_000_000), .providerMood(id, .well)))
      }
    }
    let guessing = Scenario.Expectations(noRefusals: false)
    return Scenario(
      seed: seed, policy: policy, clients: clients, happenings: happenings,
      horizon: Instant(nanoseconds: Self.length.nanoseconds), expectations: guessing)
  }

  private static let many = 1_000_000

  static func fleet(tenant: TenantID, route: [ProviderID]) -> [ClientScript] {
    var clients = (0..<50).map { number in
      ClientScript(
        tenant: tenant, session: SessionID("background-\(number)"), priority: .normal, route: route, requests: many,
        pacing: .closed(parallel: 1, think: .zero ... .milliseconds(1)),
        execute: .milliseconds(350) ... .milliseconds(450),
        input: 500...4000, output: 50...400, outputCap: 4096)
    }
    clients.append(
      ClientScript(
        tenant: tenant, session: "subagents", priority: .normal, route: route, requests: many,
        pacing: .closed(parallel: 8, think: .milliseconds(100) ... .milliseconds(500)),
        execute: .milliseconds(300) ... .seconds(1), input: 200...2000, output: 20...300, outputCap: 2048))
    clients.append(
      ClientScript(
        tenant: tenant, session: "user", priority: .high, route: route, requests: many,
        pacing: .open(every: .milliseconds(100) ... .milliseconds(100), burst: 1),
        execute: .milliseconds(350) ... .milliseconds(450), input: 200...1500, output: 20...200, outputCap: 1024))
    clients += (0..<3).map { number in
      ClientScript(
        tenant: tenant, session: SessionID("compaction-\(number)"), priority: .low, route: route, requests: many,
        pacing: .closed(parallel: 1, think: .seconds(1) ... .seconds(3)), execute: .seconds(2) ... .seconds(4),
        input: 8000...30_000, output: 200...1000, outputCap: 4096)
    }
    return clients
  }

  /// Calls of 400 to 12,000 tokens, three times as many as the tightest limit of the first provider allows.
  private static func overload(policy: AdmissionPolicy, tenant: TenantID, route: [ProviderID]) -> [ClientScript] {
    let execute: ClosedRange<Span> = .milliseconds(500) ... .seconds(2)
    let input: ClosedRange<Int64> = 400...12_000
    let output: ClosedRange<Int64> = 20...600
    let meanInput = Double(input.lowerBound + input.upperBound) / 2
    let meanOutput = Double(output.lowerBound + output.upperBound) / 2
    var perSecond = 0.0
    for provider in policy.providers {
      let limits = provider.limits
      var rates: [Double] = []
      if let permits = limits.concurrency { rates.append(Double(permits) / 1.25) }
      if let rate = limits.requestsPerMinute { rates.append(Double(rate) / 60) }
      if let rate = limits.inputTokensPerMinute { rates.append(Double(rate) / 60 / meanInput) }
      if let rate = limits.outputTokensPerMinute { rates.append(Double(rate) / 60 / meanOutput) }
      if let rate = limits.tokensPerMinute { rates.append(Double(rate) / 60 / (meanInput + meanOutput)) }
      perSecond += rates.min() ?? 40
    }
    let between = Int64(1e9 / max(0.1, 3 * perSecond)) * 10
    return (0..<10).map { number in
      ClientScript(
        tenant: tenant, session: SessionID("session-\(number)"),
        priority: number < 2 ? .high : number < 8 ? .normal : .low,
        route: route, start: Instant(nanoseconds: between / 10 * Int64(number)), requests: many,
        pacing: .open(every: Span(nanoseconds: between * 9 / 10)...Span(nanoseconds: between * 11 / 10), burst: 1),
        execute: execute, input: input, output: output, outputCap: 1024)
    }
  }

  private static func twoTenants(_ policy: inout AdmissionPolicy) -> (TenantID, TenantID) {
    if policy.tenants.count < 2 {
      policy.tenants = [TenantPolicy(id: "crowd"), TenantPolicy(id: "solo")]
    }
    return (policy.tenants[0].id, policy.tenants[1].id)
  }

  private static func crowd(_ tenant: TenantID, sessions: Int, parallel: Int, route: [ProviderID]) -> [ClientScript] {
    (0..<sessions).map { number in
      ClientScript(
        tenant: tenant, session: SessionID("\(tenant)-\(number)"), priority: .normal, route: route, requests: many,
        pacing: .closed(parallel: parallel, think: .zero ... .milliseconds(1)),
        execute: .milliseconds(200) ... .milliseconds(600), input: 500...3000, output: 50...300, outputCap: 1024)
    }
  }

  private static func storm(tenant: TenantID, route: [ProviderID]) -> [ClientScript] {
    (0..<200).map { number in
      ClientScript(
        tenant: tenant, session: SessionID("session-\(number % 40)"), priority: Priority.allCases[number % 3],
        route: route,
        requests: many, pacing: .closed(parallel: 1, think: .milliseconds(10) ... .milliseconds(500)),
        execute: .milliseconds(200) ... .seconds(1), input: 300...3000, output: 20...300, outputCap: 1024,
        leavePercent: 50, leaveAfter: .zero ... .milliseconds(1500))
    }
  }
}
