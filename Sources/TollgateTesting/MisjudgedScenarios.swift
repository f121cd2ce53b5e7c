// Scenarios with wrong estimates, by factors of 0.1 to 10 for each client and from call to call. They also have
// backlogs older than every `promote_after`, deep queues, users who make one call at a time beside them, and new
// sessions.
import AdmissionCore
import PolicyLab

extension ScenarioGenerator {
  /// Seeds from this one on give misjudged scenarios.
  public static let firstMisjudgedSeed: UInt64 = 4_000_000

  static func misjudged(_ seed: UInt64, _ generator: inout SeededGenerator, size: Int) -> Scenario {
    let provider = ProviderPolicy(
      id: "alpha", limits: Limits(concurrency: generator.int(1...4)), learnLimits: false)
    let tenants = (0..<generator.int(1...3)).map {
      TenantPolicy(id: tenantNames[$0], weight: generator.chance(40) ? generator.int(1...4) : 1)
    }
    let bands = Priority.allCases.map { priority in
      let share = priority == .high ? 0 : generator.int(0...8) * 100
      return BandPolicy(
        reserve: .permits(0), queueLimit: 100_000, maxWait: .seconds(100_000),
        promoteAfter: generator.span(.milliseconds(1) ... .seconds(4)), shareBasisPoints: share,
        promotedShareBasisPoints: priority == .high ? 0 : share + generator.int(5...36) * 100)
    }
    let policy = AdmissionPolicy(providers: [provider], bands: bands, tenants: tenants)
    var scripts: [ClientScript] = []
    var left = size
    while left > 0 {
      let requests = min(left, generator.int(1...max(2, size / 2)))
      scripts.append(misjudged(&generator, tenants, number: scripts.count, requests: requests))
      left -= requests
    }
    return Scenario(
      seed: seed, policy: policy, clients: scripts, horizon: Instant(nanoseconds: 600_000_000_000),
      expectations: .init(noRefusals: false, realShares: true))
  }

  private static func misjudged(
    _ generator: inout SeededGenerator, _ tenants: [TenantPolicy], number: Int, requests: Int
  ) -> ClientScript {
    // A backlog, one call at a time, or calls at their own times.
    let pacing: ClientScript.Pacing =
      switch generator.int(0...3) {
      case 0: .closed(parallel: 1, think: .zero ... .milliseconds(generator.int64(0...300)))
      case 1: .open(every: .milliseconds(5) ... .milliseconds(400), burst: generator.int(1...3))
      default: .closed(parallel: requests, think: .zero ... .zero)
      }
    let input = generator.int64(10...200)
    let execute = generator.span(.milliseconds(10) ... .milliseconds(300))
    var script = ClientScript(
      tenant: generator.pick(tenants).id,
      session: generator.chance(20) ? SessionID("new-\(number)") : generator.pick(sessionNames),
      priority: generator.pick([.high, .normal, .low]), route: ["alpha"],
      // Each client has its own model, so that what is learned from one says nothing about another.
      model: "m\(number)", start: Instant(nanoseconds: generator.int64(0...1500) * 1_000_000), requests: requests,
      pacing: pacing, execute: generator.chance(50) ? execute...execute : .milliseconds(10)...execute,
      input: input...input)
    switch generator.int(0...3) {
    case 0: script.inputErrorPercent = 100...100
    case 1: script.inputErrorPercent = 10...1000
    default:
      let percent = generator.pick([10, 20, 50, 200, 500, 1000])
      script.inputErrorPercent = percent...percent
    }
    if generator.chance(40) {
      script.output = 1...generator.int64(1...40)
      script.longPercent = generator.int(0...20)
      script.longOutput = generator.int64(200...4000)
    }
    return script
  }
}
