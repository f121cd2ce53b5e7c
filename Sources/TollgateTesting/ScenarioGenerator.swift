// Scenarios from a seed: random policies and workloads, small enough that ten thousand run in a minute in a debug
// build, and of several sorts so that each rule is exercised often. The seed decides the sort and everything else.
import AdmissionCore
import PolicyLab

public enum ScenarioGenerator {
  public enum Sort: String, CaseIterable, Sendable {
    /// Anything, with exact estimates.
    case mixed
    /// Permits only, three bands and constant overload: tests the order.
    case contended
    /// Tokens are scarce.
    case thirsty
    /// One provider, one band at a time and exact costs: tests shares.
    case fair
    /// Clients that leave, policies that change, drains.
    case restless
    /// Providers that fail; for seeds from `firstAilingSeed` on.
    case ailing
    /// Budgets; for seeds from `firstThriftySeed` on.
    case thrifty
    /// Keys, providers and quotas that change; for seeds from `firstShiftingSeed` on.
    case shifting
    /// Deep queues, old backlogs and wrong estimates; for seeds from `firstMisjudgedSeed` on.
    case misjudged
    /// Prompt caches, and clients that give up; for seeds from `firstCachedSeed` on.
    case cached

    static let healthy: [Sort] = [.mixed, .contended, .thirsty, .fair, .restless]
  }

  /// - Parameter size: about how many requests; the test of ten thousand scenarios uses 12.
  public static func scenario(seed: UInt64, sort: Sort? = nil, size: Int = 12) -> Scenario {
    var generator = SeededGenerator(seed: seed)
    let drawn = Sort.healthy[generator.int(0...Sort.healthy.count - 1)]
    let later: Sort? =
      switch seed {
      case firstCachedSeed...: .cached
      case firstMisjudgedSeed...: .misjudged
      case firstShiftingSeed...: .shifting
      case firstThriftySeed...: .thrifty
      case firstAilingSeed...: .ailing
      default: nil
      }
    switch sort ?? later ?? drawn {
    case .mixed: return withBursts(seasoned(mixed(seed, &generator, size: size)))
    case .contended: return seasoned(contended(seed, &generator, size: size))
    case .thirsty: return withBursts(seasoned(thirsty(seed, &generator, size: size)))
    case .fair: return fair(seed, &generator, size: size)
    case .restless: return seasoned(restless(seed, &generator, size: size))
    case .ailing: return seasoned(ailing(seed, &generator, size: size))
    case .thrifty: return seasoned(thrifty(seed, &generator, size: size))
    case .shifting: return seasoned(shifting(seed, &generator, size: size))
    case .misjudged: return misjudged(seed, &generator, size: size)
    case .cached: return cached(seed, &generator, size: size)
    }
  }

  static let providerNames: [ProviderID] = ["alpha", "beta", "gamma"]
  static let tenantNames: [TenantID] = ["acme", "blue", "coop"]
  static let sessionNames: [SessionID] = ["s0", "s1", "s2", "s3"]

  // MARK: - Policies

  private static func limits(_ generator: inout SeededGenerator, permits: ClosedRange<Int>, buckets: Int) -> Limits {
    var limits = Limits()
    if generator.chance(80) || buckets == 0 { limits.concurrency = generator.int(permits) }
    if generator.chance(buckets / 2) { limits.requestsPerMinute = generator.int64(4...120) }
    if generator.chance(buckets) { limits.inputTokensPerMinute = generator.int64(800...20_000) }
    if generator.chance(buckets / 2) { limits.outputTokensPerMinute = generator.int64(1500...20_000) }
    if generator.chance(buckets / 2) { limits.tokensPerMinute = generator.int64(2000...40_000) }
    return limits
  }

  /// Every third scenario limits what may go at once, too. Drawn apart, so that nothing else of it changes.
  private static func withBursts(_ scenario: Scenario) -> Scenario {
    guard scenario.seed % 3 == 0 else { return scenario }
    var generator = SeededGenerator(seed: scenario.seed, part: 1 << 40)
    var result = scenario
    for index in result.policy.providers.indices {
      burst(&result.policy.providers[index].limits, &generator)
      for model in result.policy.providers[index].modelLimits.indices {
        burst(&result.policy.providers[index].modelLimits[model].limits, &generator)
      }
    }
    for index in result.policy.tenants.indices { burst(&result.policy.tenants[index].limits, &generator) }
    result.truths = result.policy.providers.map(ProviderTruth.init)
    return result
  }

  private static func burst(_ limits: inout Limits, _ generator: inout SeededGenerator) {
    for rate in RateLimit.allCases where rate.isPerMinute && limits.limit(rate) != nil {
      if generator.chance(60) { limits.bursts[rate] = generator.span(.milliseconds(500) ... .seconds(30)) }
    }
  }

  private static func bands(_ generator: inout SeededGenerator) -> [BandPolicy] {
    Priority.allCases.map { priority in
      var band = BandPolicy.standard(priority)
      if priority != .low {
        switch generator.int(0...3) {
        case 0: band.reserve = .permits(generator.int(0...2))
        case 1: band.reserve = .share(basisPoints: generator.int(0...3) * 1000)
        default: break
        }
      }
      if generator.chance(15) { band.queueLimit = generator.int(1...6) }
      if generator.chance(30) { band.maxWait = generator.span(.seconds(1) ... .seconds(30)) }
      if generator.chance(30) { band.promoteAfter = generator.span(.milliseconds(500) ... .seconds(10)) }
      if generator.chance(30) { band.shareBasisPoints = generator.int(0...30) * 100 }
      return band
    }
  }

  private static func policy(_ generator: inout SeededGenerator, buckets: Int) -> AdmissionPolicy {
    let providers = (0..<generator.int(1...3)).map { index in
      let mode: AdmissionTokens = generator.chance(30) ? .maxTokens : .produced
      var provider = ProviderPolicy(
        id: providerNames[index], limits: limits(&generator, permits: 1...4, buckets: buckets), admissionTokens: mode,
        learnLimits: false)
      if generator.chance(20) {
        let narrow = limits(&generator, permits: 1...2, buckets: buckets)
        provider.modelLimits = [ModelLimits(models: "big*", limits: narrow)]
      }
      if generator.chance(10) { provider.settleLag = generator.span(.milliseconds(1) ... .milliseconds(300)) }
      return provider
    }
    let tenants = (0..<generator.int(1...3)).map { index in
      var tenant = TenantPolicy(id: tenantNames[index], weight: generator.int(1...4))
      if generator.chance(15) { tenant.limits = limits(&generator, permits: 1...3, buckets: buckets / 2) }
      return tenant
    }
    let bytes = generator.chance(10) ? generator.int(1000...6000) : 1 << 20
    return AdmissionPolicy(providers: providers, bands: bands(&generator), tenants: tenants, queueBytes: bytes)
  }

  // MARK: - Clients

  private static func client(
    _ generator: inout SeededGenerator, _ policy: AdmissionPolicy, requests: Int, restless: Int
  ) -> ClientScript {
    var route = policy.providers.map(\.id)
    if route.count > 1, generator.chance(40) { route.reverse() }
    if generator.chance(50) { route = [route[generator.int(0...route.count - 1)]] }
    let execute = generator.span(.milliseconds(20) ... .seconds(3))
    let burst = generator.int(1...4)
    let pacing: ClientScript.Pacing =
      generator.chance(50)
      ? .closed(parallel: burst, think: .zero ... .milliseconds(200))
      : .open(every: .milliseconds(10) ... .milliseconds(800), burst: burst)
    let produces = generator.chance(60)
    let input = generator.int64(10...900)
    let output: ClosedRange<Int64> = produces ? 1...generator.int64(2...600) : 0...0
    var script = ClientScript(
      tenant: generator.pick(policy.tenants).id, session: generator.pick(sessionNames),
      priority: generator.pick([.high, .normal, .low]), route: route, model: generator.chance(30) ? "big-1" : "small",
      start: Instant(nanoseconds: generator.int64(0...2000) * 1_000_000), requests: requests, pacing: pacing,
      execute: Span(nanoseconds: execute.nanoseconds / 2)...execute, input: max(1, input / 3)...input, output: output,
      outputCap: produces && generator.chance(70) ? output.upperBound + generator.int64(0...400) : nil,
      keptBytes: generator.int(100...2000))
    if generator.chance(restless) {
      script.leavePercent = generator.int(10...100)
      script.leaveAfter = .zero...generator.span(.milliseconds(1) ... .seconds(4))
    }
    if generator.chance(restless / 3) { script.patience = generator.span(.milliseconds(10) ... .seconds(5)) }
    // Calls to a provider that charges the cap always have a cap: otherwise what it reserves is unknown.
    if produces, script.outputCap == nil,
      policy.providers.contains(where: { $0.admissionTokens == .maxTokens && script.route.contains($0.id) })
    {
      script.outputCap = output.upperBound + 100
    }
    return script
  }

  private static func clients(
    _ generator: inout SeededGenerator, _ policy: AdmissionPolicy, size: Int, restless: Int
  ) -> [ClientScript] {
    var scripts: [ClientScript] = []
    var left = size
    while left > 0 {
      let requests = min(left, generator.int(1...max(2, size / 3)))
      scripts.append(client(&generator, policy, requests: requests, restless: restless))
      left -= requests
    }
    return scripts
  }

  private static let horizon = Instant(nanoseconds: 600_000_000_000)

  // MARK: - Sorts

  private static func mixed(_ seed: UInt64, _ generator: inout SeededGenerator, size: Int) -> Scenario {
    let policy = policy(&generator, buckets: 30)
    let scripts = clients(&generator, policy, size: size, restless: 20)
    return finished(Scenario(seed: seed, policy: policy, clients: scripts, horizon: horizon))
  }

  private static func contended(_ seed: UInt64, _ generator: inout SeededGenerator, size: Int) -> Scenario {
    var policy = policy(&generator, buckets: 0)
    for index in policy.providers.indices { policy.providers[index].limits.concurrency = generator.int(1...2) }
    let scripts = clients(&generator, policy, size: size, restless: 0)
    return finished(Scenario(seed: seed, policy: policy, clients: scripts, horizon: horizon))
  }

  private static func thirsty(_ seed: UInt64, _ generator: inout SeededGenerator, size: Int) -> Scenario {
    let policy = policy(&generator, buckets: 90)
    var scripts = clients(&generator, policy, size: size, restless: 10)
    for index in scripts.indices { scripts[index].input = scripts[index].input.lowerBound...2000 }
    return finished(Scenario(seed: seed, policy: policy, clients: scripts, horizon: horizon))
  }

  private static func fair(_ seed: UInt64, _ generator: inout SeededGenerator, size: Int) -> Scenario {
    let permits = generator.int(1...3)
    let provider = ProviderPolicy(id: "alpha", limits: Limits(concurrency: permits), learnLimits: false)
    let tenants = (0..<generator.int(1...3)).map { TenantPolicy(id: tenantNames[$0], weight: generator.int(1...4)) }
    var bands = Priority.allCases.map(BandPolicy.standard)
    for index in bands.indices {
      bands[index].reserve = .permits(0)
      bands[index].promoteAfter = .seconds(36_000)
      bands[index].maxWait = .seconds(36_000)
      bands[index].shareBasisPoints = 0
    }
    let policy = AdmissionPolicy(providers: [provider], bands: bands, tenants: tenants)
    let band = generator.pick(Priority.allCases)
    var scripts: [ClientScript] = []
    let flows = generator.int(2...4)
    for index in 0..<flows {
      let input = generator.int64(50...1000)
      scripts.append(
        ClientScript(
          tenant: tenants[index % tenants.count].id, session: sessionNames[index], priority: band, route: ["alpha"],
          start: Instant(nanoseconds: generator.int64(0...50) * 1_000_000), requests: max(2, size / flows),
          pacing: .closed(parallel: generator.int(2...5), think: .zero ... .milliseconds(1)),
          execute: .milliseconds(100) ... .milliseconds(400), input: max(1, input / 2)...input, output: 0...0))
    }
    return Scenario(
      seed: seed, policy: policy, clients: scripts, horizon: horizon,
      expectations: .init(noRefusals: true, fairShares: true))
  }

  private static func restless(_ seed: UInt64, _ generator: inout SeededGenerator, size: Int) -> Scenario {
    let policy = policy(&generator, buckets: 25)
    let scripts = clients(&generator, policy, size: size, restless: 70)
    var scenario = Scenario(seed: seed, policy: policy, clients: scripts, horizon: horizon)
    for _ in 0..<generator.int(0...2) {
      var other = policy
      other.bands = bands(&generator)
      for index in other.providers.indices {
        if generator.chance(50) { other.providers[index].limits.concurrency = generator.int(1...5) }
      }
      for index in other.tenants.indices { other.tenants[index].weight = generator.int(1...4) }
      let at = Instant(nanoseconds: generator.int64(0...6000) * 1_000_000)
      scenario.happenings.append(Happening(at: at, .policyReplaced(other)))
      // The provider's own limits did not change, so the new policy may be wrong about them.
      scenario.expectations.noRefusals = false
    }
    if generator.chance(25) {
      let at = Instant(nanoseconds: generator.int64(100...6000) * 1_000_000)
      scenario.happenings.append(Happening(at: at, .drainRequested))
    }
    return finished(scenario)
  }

  /// Some clients make free calls, a few of them more at once than a provider takes; some policies limit what a session
  /// runs at once, and some sessions form a group. Drawn apart, so that everything else
  /// of the seed stays as it is.
  static func seasoned(_ scenario: Scenario) -> Scenario {
    var scenario = scenario
    var generator = SeededGenerator(seed: scenario.seed, part: 83)
    if generator.chance(35), !scenario.clients.isEmpty {
      for _ in 0...generator.int(0...1) {
        let index = generator.int(0...scenario.clients.count - 1)
        scenario.clients[index].isFree = true
        scenario.clients[index].price = nil
        scenario.clients[index].output = 0...0
        scenario.clients[index].outputCap = nil
      }
      if generator.chance(8), let index = scenario.clients.firstIndex(where: \.isFree) {
        scenario.clients[index].requests = 40
        scenario.clients[index].pacing = .open(every: .milliseconds(50) ... .milliseconds(400), burst: 20)
      }
    }
    guard generator.chance(35) else { return scenario }
    func rule() -> SessionConcurrency { SessionConcurrency(limit: generator.int(1...2), widen: generator.chance(60)) }
    scenario.policy.sessionConcurrency = rule()
    if generator.chance(30) {
      for index in scenario.clients.indices where generator.chance(50) { scenario.clients[index].sessionGroup = "g" }
    }
    for index in scenario.happenings.indices {
      guard case .policyReplaced(var other) = scenario.happenings[index].what else { continue }
      other.sessionConcurrency = generator.chance(50) ? scenario.policy.sessionConcurrency : nil
      if generator.chance(30) { other.sessionConcurrency = rule() }
      scenario.happenings[index].what = .policyReplaced(other)
    }
    return scenario
  }

  /// Where the limits of a tenant could never fit a request, the rules allow a rejection; everything else is left as
  /// generated.
  private static func finished(_ scenario: Scenario) -> Scenario {
    var scenario = scenario
    // A provider in `produced` mode with an output limit refuses calls while it is in debt; estimates of output are not
    // exact there.
    let guesses = scenario.policy.providers.contains {
      $0.admissionTokens == .produced
        && ($0.limits.outputTokensPerMinute != nil || $0.limits.tokensPerMinute != nil
          || $0.modelLimits.contains { $0.limits.outputTokensPerMinute != nil || $0.limits.tokensPerMinute != nil })
    }
    if guesses { scenario.expectations.noRefusals = false }
    return scenario
  }
}
