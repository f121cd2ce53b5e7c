// Scenarios with prompt caches and with clients that give up, of three kinds: sessions that take turns while their prompts
// expire, in worlds in which all turns are known; keys with a cache and a quota of their own; and scenarios of the other
// sorts whose clients give up and whose calls continue one another.
import AdmissionCore
import PolicyLab

extension ScenarioGenerator {
  /// Seeds from this one on give scenarios with prompt caches and clients that give up: the remainder of division by three
  /// is the kind.
  public static let firstCachedSeed: UInt64 = 6_000_000

  static func cached(_ seed: UInt64, _ generator: inout SeededGenerator, size: Int) -> Scenario {
    switch seed % 3 {
    case 0: turns(seed, &generator, size: size)
    case 1: warmKeys(seed, &generator, size: size)
    default: impatient(seed, &generator, size: size)
    }
  }

  private static func atLeastZero(_ span: Span, less: Span) -> Span {
    Span(nanoseconds: max(0, span.nanoseconds - less.nanoseconds))
  }

  private static let end = Instant(nanoseconds: 600_000_000_000)

  private static func providerWithCache(
    _ id: ProviderID, _ generator: inout SeededGenerator, life: Span, permits: ClosedRange<Int>
  ) -> ProviderPolicy {
    var provider = ProviderPolicy(id: id, limits: Limits(concurrency: generator.int(permits)), learnLimits: false)
    provider.cacheLife = life
    return provider
  }

  /// The truth of each provider, with a cache.
  private static func truths(_ policy: AdmissionPolicy, _ generator: inout SeededGenerator) -> [ProviderTruth] {
    policy.providers.map { provider in
      var truth = ProviderTruth(provider)
      truth.promptCache = PromptCacheTruth(life: provider.cacheLife, tellsWrites: generator.chance(70))
      return truth
    }
  }

  /// Sessions that think for most of the life of their prompts, beside others whose prompts are cold.
  private static func turns(_ seed: UInt64, _ generator: inout SeededGenerator, size: Int) -> Scenario {
    let life = generator.span(.seconds(4) ... .seconds(40))
    let provider = providerWithCache("alpha", &generator, life: life, permits: 1...3)
    let tenants = (0..<generator.int(1...2)).map {
      TenantPolicy(id: tenantNames[$0], weight: generator.chance(30) ? generator.int(1...3) : 1)
    }
    let bands = Priority.allCases.map { priority in
      let share = priority == .high ? 0 : generator.int(0...8) * 100
      return BandPolicy(
        reserve: .permits(0), queueLimit: 100_000, maxWait: .seconds(100_000),
        promoteAfter: generator.span(.milliseconds(100) ... .seconds(20)), shareBasisPoints: share,
        promotedShareBasisPoints: priority == .high ? 0 : share + generator.int(5...36) * 100)
    }
    let policy = AdmissionPolicy(providers: [provider], bands: bands, tenants: tenants)
    let main = generator.pick(Priority.allCases)
    func tenant() -> TenantID { generator.chance(75) ? tenants[0].id : generator.pick(tenants).id }
    let conversations = generator.int(3...max(4, min(9, size / 4)))
    let permits = Int64(provider.limits.concurrency ?? 1)
    func part(of span: Span, percent: Int64) -> Span { Span(nanoseconds: span.nanoseconds * percent / 100) }
    let execute = part(of: life, percent: permits * generator.int64(3...20))
    // Most crowds come back together, just before their prompts expire.
    let isCrowd = generator.chance(70)
    var scripts: [ClientScript] = []
    for number in 0..<conversations {
      let from = isCrowd ? generator.int64(76...82) : generator.int64(10...60)
      let until = isCrowd ? generator.int64(84...94) : generator.int64(70...110)
      let base = generator.int64(3000...30_000)
      var script = ClientScript(
        tenant: tenant(), session: generator.chance(15) ? sessionNames[0] : SessionID("warm-\(number)"),
        priority: generator.chance(85) ? main : generator.pick(Priority.allCases), route: ["alpha"],
        start: Instant(nanoseconds: generator.int64(0...1000) * 1_000_000),
        requests: max(2, size * 2 / 3 / conversations),
        pacing: .closed(
          parallel: generator.chance(10) ? 2 : 1,
          // A prefix lives from the start of the call before.
          think: atLeastZero(part(of: life, percent: from), less: execute)...part(of: life, percent: until)),
        execute: part(of: execute, percent: 50)...execute, input: base...base)
      script.conversation = PromptScript(
        grows: 10...generator.int64(20...900), changedPercent: generator.chance(20) ? generator.int(5...40) : 0,
        life: generator.chance(15) ? part(of: life, percent: generator.int64(60...200)) : nil)
      if generator.chance(30) { script.inputErrorPercent = 80...125 }
      if generator.chance(30) { script.output = 1...generator.int64(2...400) }
      scripts.append(script)
    }
    for number in 0..<generator.int(1...3) {
      let input = generator.int64(100...4000)
      scripts.append(
        ClientScript(
          tenant: tenant(), session: SessionID("cold-\(number)"), priority: main, route: ["alpha"], model: "cold",
          start: Instant(nanoseconds: generator.int64(0...3000) * 1_000_000), requests: max(2, size * 2 / 3),
          pacing: .closed(parallel: generator.int(1...5), think: .zero ... .milliseconds(1)),
          execute: part(of: execute, percent: 30)...execute, input: max(1, input / 2)...input))
    }
    var scenario = Scenario(
      seed: seed, policy: policy, clients: scripts, horizon: end,
      expectations: .init(noRefusals: false, realShares: true))
    scenario.expectations.knownTurns = true
    scenario.truths = truths(policy, &generator)
    return scenario
  }

  /// Keys that are accounts, each with its own cache and few permits.
  private static func warmKeys(_ seed: UInt64, _ generator: inout SeededGenerator, size: Int) -> Scenario {
    let life = generator.chance(35) ? generator.span(.seconds(2) ... .seconds(8)) : .seconds(300)
    var provider = providerWithCache("alpha", &generator, life: life, permits: 1...2)
    provider.quota = .perKey
    provider.keys = (0..<generator.int(2...4)).map { number in
      KeyPolicy(
        id: KeyID("k\(number)"), weight: generator.int(1...3),
        limits: Limits(concurrency: generator.chance(20) ? 1 : nil))
    }
    if generator.chance(20) { provider.limits.inputTokensPerMinute = generator.int64(60_000...400_000) }
    var providers = [provider]
    if generator.chance(30) { providers.append(providerWithCache("beta", &generator, life: life, permits: 1...2)) }
    let bands = Priority.allCases.map { priority in
      var band = BandPolicy.standard(priority)
      band.reserve = .permits(0)
      if generator.chance(40) { band.maxWait = generator.span(.seconds(1) ... .seconds(30)) }
      return band
    }
    let tenants = (0..<generator.int(1...2)).map { TenantPolicy(id: tenantNames[$0]) }
    let policy = AdmissionPolicy(providers: providers, bands: bands, tenants: tenants)
    var scripts: [ClientScript] = []
    var left = size
    while left > 0 {
      let requests = min(left, generator.int(2...max(3, size / 4)))
      left -= requests
      let isWarm = generator.chance(70)
      let execute = generator.span(.milliseconds(100) ... .seconds(generator.chance(20) ? 12 : 4))
      let base = isWarm ? generator.int64(2000...60_000) : generator.int64(100...3000)
      var script = ClientScript(
        tenant: generator.pick(tenants).id, session: generator.pick(sessionNames),
        priority: generator.pick([.high, .normal, .low]),
        route: generator.chance(30) ? providers.map(\.id) : ["alpha"],
        start: Instant(nanoseconds: generator.int64(0...4000) * 1_000_000), requests: requests,
        pacing: .closed(
          parallel: generator.int(1...3), think: .zero...generator.span(.milliseconds(10) ... .seconds(3))),
        execute: Span(nanoseconds: execute.nanoseconds / 3)...execute, input: base...base,
        output: 0...generator.int64(0...200))
      if isWarm {
        script.conversation = PromptScript(
          grows: 10...generator.int64(20...900), changedPercent: generator.chance(30) ? generator.int(5...40) : 0,
          life: generator.chance(15) ? generator.span(.seconds(2) ... .seconds(60)) : nil)
      }
      if generator.chance(20) { script.patience = generator.span(.seconds(1) ... .seconds(20)) }
      if generator.chance(30) {
        script.givesUpAfter = generator.span(.seconds(3) ... .seconds(30))
        script.firstBytePercent = 20...60
      }
      scripts.append(script)
    }
    var scenario = Scenario(
      seed: seed, policy: policy, clients: scripts, horizon: end, expectations: .init(noRefusals: false))
    scenario.truths = truths(policy, &generator)
    // Keys that refuse what the policy allows, and are told to rest.
    if generator.chance(25), let limit = provider.limits.concurrency, limit > 1 {
      scenario.truths[0].limits.concurrency = limit - 1
    }
    return scenario
  }

  /// A scenario of another sort, with clients that give up and prompts that are cached.
  private static func impatient(_ seed: UInt64, _ generator: inout SeededGenerator, size: Int) -> Scenario {
    let sort = generator.pick(Sort.healthy.filter { $0 != .fair })
    var scenario = scenario(seed: seed, sort: sort, size: size)
    scenario.expectations.noRefusals = false
    let life = generator.span(.seconds(3) ... .seconds(60))
    func cache(_ policy: AdmissionPolicy) -> AdmissionPolicy {
      var policy = policy
      for index in policy.providers.indices { policy.providers[index].cacheLife = life }
      return policy
    }
    scenario.policy = cache(scenario.policy)
    for index in scenario.happenings.indices {
      if case .policyReplaced(let later) = scenario.happenings[index].what {
        scenario.happenings[index].what = .policyReplaced(cache(later))
      }
    }
    scenario.truths = truths(scenario.policy, &generator)
    // Mostly of one kind, of which enough is learned.
    let (isMixed, share) = (generator.chance(25), generator.int(20...60))
    for index in scenario.clients.indices {
      scenario.clients[index].firstBytePercent = share...share + 35
      if isMixed {
        scenario.clients[index].isStream = generator.chance(50)
      } else {
        scenario.clients[index].model = "small"
      }
      if generator.chance(60) {
        scenario.clients[index].givesUpAfter = generator.span(.milliseconds(200) ... .seconds(8))
      }
      if generator.chance(40), !scenario.clients[index].isFree {
        let base = generator.int64(100...9000)
        scenario.clients[index].input = base...base
        scenario.clients[index].conversation = PromptScript(
          grows: 1...generator.int64(2...400), changedPercent: generator.chance(40) ? generator.int(5...50) : 0)
      }
    }
    return scenario
  }
}
