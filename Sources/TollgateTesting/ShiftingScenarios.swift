// Scenarios with changing policies: keys are added, removed and changed under load, providers leave the policy and
// return, each key or model has its own quota, answers report limits, and single models fail.
import AdmissionCore
import PolicyLab

extension ScenarioGenerator {
  /// Seeds from this one on give shifting scenarios.
  public static let firstShiftingSeed: UInt64 = 3_000_000

  static func shifting(_ seed: UInt64, _ generator: inout SeededGenerator, size: Int) -> Scenario {
    var scenario = ailing(seed, &generator, size: size)
    for index in scenario.policy.providers.indices {
      var provider = scenario.policy.providers[index]
      provider.quota = generator.chance(50) ? .perKey : .shared
      provider.learnLimits = generator.chance(70)
      if generator.chance(50) {
        let breaker = BreakerPolicy(failures: generator.int(1...3), recovery: .milliseconds(500), probes: 1)
        provider.modelLimits = [ModelLimits(models: "big*", limits: Limits(), breaker: breaker)]
        let at = Instant(nanoseconds: generator.int64(0...3000) * 1_000_000)
        scenario.happenings.append(Happening(at: at, .modelMood(provider.id, "big*", .failing(percent: 100))))
        scenario.happenings.append(Happening(at: at + .seconds(2), .modelMood(provider.id, "big*", .well)))
      }
      if generator.chance(20) { provider.ramp = .seconds(6) }
      scenario.policy.providers[index] = provider
    }
    scenario.truths = scenario.policy.providers.map { provider in
      var truth = ProviderTruth(provider)
      truth.tellsLimits = generator.chance(40)
      return truth
    }
    // The policy changes of other sorts would undo the providers of this one.
    scenario.happenings.removeAll { if case .policyReplaced = $0.what { true } else { false } }
    var at = Instant(nanoseconds: generator.int64(0...1500) * 1_000_000)
    for step in 0..<generator.int(1...4) {
      var later = scenario.policy
      for index in later.providers.indices { shift(&later.providers[index].keys, step: step, &generator) }
      if later.providers.count > 1, generator.chance(30) {
        later.providers.remove(at: generator.int(0...later.providers.count - 1))
      }
      scenario.happenings.append(Happening(at: at, .policyReplaced(later)))
      at = at + generator.span(.milliseconds(100) ... .seconds(3))
    }
    return scenario
  }

  /// Adds a key, removes one, or gives one another secret.
  private static func shift(_ keys: inout [KeyPolicy], step: Int, _ generator: inout SeededGenerator) {
    guard !keys.isEmpty else { return }
    switch generator.int(0...3) {
    case 0: keys.append(KeyPolicy(id: KeyID("new\(step)"), weight: generator.int(1...3)))
    case 1 where keys.count > 1: keys.remove(at: generator.int(0...keys.count - 1))
    case 2: keys[generator.int(0...keys.count - 1)].secretGeneration = step + 1
    default: break
    }
  }
}
