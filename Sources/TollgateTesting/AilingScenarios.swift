// Scenarios in which providers fail, for a while or for ever: 5xx, 429 with and without Retry-After, refused keys.
// Breakers and retry policies are small, so that every path of the failure rules is taken many times.
import AdmissionCore
import PolicyLab

extension ScenarioGenerator {
  /// Seeds from this one on give ailing scenarios.
  public static let firstAilingSeed: UInt64 = 1_000_000

  static func ailing(_ seed: UInt64, _ generator: inout SeededGenerator, size: Int) -> Scenario {
    let sort = generator.pick([Sort.mixed, .contended, .restless])
    var scenario = scenario(seed: seed, sort: sort, size: size)
    scenario.expectations = Scenario.Expectations(noRefusals: false)
    for index in scenario.policy.providers.indices {
      var provider = scenario.policy.providers[index]
      provider.breaker = BreakerPolicy(
        failures: generator.int(1...4), window: generator.chance(30) ? .seconds(5) : nil,
        recovery: generator.span(.milliseconds(200) ... .seconds(5)), probes: generator.int(1...2),
        whenOpen: generator.chance(25) ? .reject : .wait)
      provider.retry = RetryPolicy(
        attempts: generator.int(1...4), base: generator.span(.milliseconds(1) ... .milliseconds(300)),
        max: generator.span(.milliseconds(300) ... .seconds(3)), budgetPercent: generator.pick([0, 20, 100]))
      if generator.chance(40) {
        provider.keys = (0..<generator.int(1...3)).map { KeyPolicy(id: KeyID("k\($0)"), weight: generator.int(1...3)) }
      }
      provider.learnLimits = generator.chance(50)
      scenario.policy.providers[index] = provider
      addMoods(of: provider, to: &scenario, &generator)
    }
    // Later policies must have the same keys and breakers.
    for index in scenario.happenings.indices {
      guard case .policyReplaced(var later) = scenario.happenings[index].what else { continue }
      for number in later.providers.indices {
        let limits = later.providers[number].limits
        later.providers[number] = scenario.policy.providers[number]
        later.providers[number].limits = limits
      }
      scenario.happenings[index].what = .policyReplaced(later)
    }
    return scenario
  }

  private static func addMoods(
    of provider: ProviderPolicy, to scenario: inout Scenario, _ generator: inout SeededGenerator
  ) {
    var at = Instant(nanoseconds: generator.int64(0...3000) * 1_000_000)
    for _ in 0..<generator.int(0...3) {
      let mood: ProviderMood
      switch generator.int(0...4) {
      case 0: mood = .throttling(retryAfter: generator.span(.milliseconds(100) ... .seconds(4)))
      case 1: mood = .throttling(retryAfter: nil)
      case 2: mood = .refusingKeys
      default: mood = .failing(percent: generator.pick([30, 70, 100]))
      }
      scenario.happenings.append(Happening(at: at, .providerMood(provider.id, mood)))
      at = at + generator.span(.milliseconds(200) ... .seconds(6))
      // Some providers fail until the end.
      if generator.chance(85) { scenario.happenings.append(Happening(at: at, .providerMood(provider.id, .well))) }
      at = at + generator.span(.milliseconds(100) ... .seconds(4))
    }
    if generator.chance(10) {
      let command: OperatorCommand = generator.chance(50) ? .openBreaker(provider.id) : .closeBreaker(provider.id)
      scenario.happenings.append(Happening(at: at, .operatorCommanded(command)))
      let later = at + generator.span(.milliseconds(500) ... .seconds(5))
      scenario.happenings.append(Happening(at: later, .operatorCommanded(.automateBreaker(provider.id))))
    }
  }
}
