// Runs seeded scenarios against the real core, and replays one with its trace: what `scripts/replay-seed` prints.
import AdmissionCore
import PolicyLab

public enum ScenarioReplay {
  /// A seed that broke a rule.
  public struct Failure: Sendable, CustomStringConvertible {
    public var seed: UInt64
    public var size: Int
    public var violations: [Violation]
    public var description: String {
      let command = "scripts/replay-seed \(seed)" + (size == 12 ? "" : " \(size)")
      return "seed \(seed): \(violations.first.map { "\($0)" } ?? "?") [replay: \(command)]"
    }
  }

  /// The first failures among `seeds`, at most `most` of them.
  public static func failures<Subject: AdmissionSubject>(
    of subject: Subject.Type, seeds: some Sequence<UInt64>, size: Int = 12, snapshotEvery: Int = 3, most: Int = 10
  ) -> [Failure] {
    var found: [Failure] = []
    for seed in seeds {
      let scenario = ScenarioGenerator.scenario(seed: seed, size: size)
      let result = Simulation<Subject>.run(
        scenario, checkers: InvariantCheckers.all(for: scenario), snapshotEvery: snapshotEvery)
      if !result.violations.isEmpty { found.append(Failure(seed: seed, size: size, violations: result.violations)) }
      if found.count >= most { break }
    }
    return found
  }

  /// The full trace of one seed against the real core, as text. It is the same for the same seed.
  /// - Parameter size: about how many requests, as in the run that failed.
  public static func run(seed: UInt64, size: Int = 12, showsTrace: Bool = true) -> String {
    run(Admission.self, seed: seed, size: size, showsTrace: showsTrace)
  }

  /// The same for any subject.
  public static func run<Subject: AdmissionSubject>(
    _ subject: Subject.Type, seed: UInt64, size: Int = 12, showsTrace: Bool = true
  ) -> String {
    let scenario = ScenarioGenerator.scenario(seed: seed, size: size)
    let result = Simulation<Subject>.run(scenario, keepsTrace: showsTrace)
    var lines = ["seed \(seed), about \(size) requests"]
    if showsTrace {
      lines.append(contentsOf: describe(scenario.policy))
      lines.append("")
      lines.append(contentsOf: result.trace)
      lines.append("")
    }
    let outcomes = Outcome.allCases.compactMap { outcome in
      result.outcomes[outcome].map { "\(outcome.rawValue) \($0)" }
    }
    lines.append("\(result.events) events, \(result.grants) grants, \(result.refusals) refusals by providers")
    lines.append("outcomes: \(outcomes.joined(separator: ", "))")
    lines.append("trace hash: \(String(result.hash, radix: 16))")
    if result.violations.isEmpty {
      lines.append("no rule broken")
    } else {
      for violation in result.violations { lines.append("BROKEN \(violation)") }
    }
    return lines.joined(separator: "\n") + "\n"
  }

  private static func describe(_ policy: AdmissionPolicy) -> [String] {
    var lines: [String] = []
    for provider in policy.providers {
      lines.append("provider \(provider.id): \(describe(provider.limits)) \(provider.admissionTokens.rawValue)")
      for model in provider.modelLimits { lines.append("  model \(model.models.pattern): \(describe(model.limits))") }
      if provider.settleLag > .zero { lines.append("  settle_lag \(provider.settleLag.nanoseconds / 1000) us") }
    }
    for (priority, band) in zip(Priority.allCases, policy.bands) {
      lines.append(
        "\(priority.name): reserve \(band.reserve), queue \(band.queueLimit), max_wait \(band.maxWait.inSeconds) s, "
          + "promote_after \(band.promoteAfter.inSeconds) s, share \(band.shareBasisPoints) bp, "
          + "promoted_share \(band.promotedShareBasisPoints) bp")
    }
    for tenant in policy.tenants {
      lines.append("tenant \(tenant.id): weight \(tenant.weight) \(describe(tenant.limits))")
    }
    return lines
  }

  private static func describe(_ limits: Limits) -> String {
    var parts: [String] = []
    if let concurrency = limits.concurrency { parts.append("concurrency \(concurrency)") }
    for dimension in Dimension.allCases {
      if let value = limits.perMinute(dimension) { parts.append("\(dimension.name) \(value)/min") }
    }
    return parts.isEmpty ? "no limits" : parts.joined(separator: ", ")
  }
}
