// Limits that nobody wrote down, and outputs that nobody announced: what the core makes of them in virtual time, in
// figures.
import AdmissionCore
import Testing

@testable import PolicyLab
@testable import TollgateTesting

@Suite struct LearningFiguresTests {
  private func at(_ seconds: Int64) -> Instant { Instant(nanoseconds: seconds * 1_000_000_000) }

  /// What a provider saw from the second minute on.
  private struct Figures {
    /// Accepted calls a minute.
    var calls = 0.0
    /// Charged tokens a minute, by calls that were sent then.
    var tokens = 0.0
    /// Mean calls at a time.
    var running = 0.0
    var refusals = 0
    /// Refused, of all that were sent.
    var refused = 0.0
    var completed = 0
    /// All of the run.
    var requests: [SimulationResult.RequestRecord] = []
  }

  private let seconds: Int64 = 180

  private func run(_ truth: ProviderTruth, _ provider: ProviderPolicy, _ clients: [ClientScript], seed: UInt64)
    -> Figures
  {
    var policy = AdmissionPolicy(providers: [provider])
    for band in policy.bands.indices { policy.bands[band].queueLimit = 1_000_000 }
    let scenario = Scenario(
      seed: seed, policy: policy, clients: clients, truths: [truth], horizon: at(seconds),
      expectations: .init(noRefusals: false))
    let result = Simulation<Admission>.run(scenario, checkers: [], snapshotEvery: 0)
    let span = at(60)..<at(seconds)
    let minutes = Double(seconds - 60) / 60
    let accepted = result.providers[0].acceptedAt.count { span.contains($0) }
    let refused = result.providers[0].refusedAt.count { span.contains($0) }
    var figures = Figures()
    figures.calls = Double(accepted) / minutes
    figures.refusals = refused
    figures.refused = Double(refused) / Double(max(1, accepted + refused))
    for request in result.requests {
      guard let granted = request.grantedAt, span.contains(granted), request.outcome == .completed else { continue }
      figures.tokens += Double(request.tokens) / minutes
      figures.completed += 1
    }
    figures.running = figures.calls / 60 * 1.0
    figures.requests = result.requests
    return figures
  }

  /// Sessions of agents: three times what the limit below allows, calls of about a second and 3,000 tokens.
  private func agents(_ count: Int, parallel: Int, cap: Int64? = nil) -> [ClientScript] {
    (0..<count).map { number in
      ClientScript(
        session: SessionID("s\(number)"), priority: Priority.allCases[number % 3], route: ["alpha"],
        start: Instant(nanoseconds: Int64(number) * 23_000_000), requests: 1_000_000,
        pacing: .closed(parallel: parallel, think: .zero ... .milliseconds(20)),
        execute: .milliseconds(500) ... .milliseconds(1500), input: 500...5000, output: 50...450, outputCap: cap)
    }
  }

  // MARK: Limits that nobody wrote down

  /// After one minute at least 90 % of a hidden number of calls at a time is used, with under 1 % refusals.
  @Test(arguments: [4, 40], [true, false]) func aHiddenConcurrencyIsFound(limit: Int, tellsRetryAfter: Bool) {
    let truth = ProviderTruth(id: "alpha", limits: Limits(concurrency: limit), tellsRetryAfter: tellsRetryAfter)
    let figures = run(truth, ProviderPolicy(id: "alpha"), agents(30, parallel: 10), seed: 3)
    print(
      "hidden concurrency \(limit), \(tellsRetryAfter ? "with" : "without") Retry-After:",
      "\(figures.running / Double(limit)) used, \(figures.refused) refused")
    #expect(figures.running >= 0.9 * Double(limit), "\(figures)")
    #expect(figures.refused < 0.01, "\(figures)")
  }

  /// The vendor's headers give the limits of requests and tokens.
  @Test(arguments: [UInt64(1), 2]) func limitsInHeadersAreFollowed(seed: UInt64) {
    let requests = ProviderTruth(id: "alpha", limits: Limits(requestsPerMinute: 600), tellsLimits: true)
    let byRequests = run(requests, ProviderPolicy(id: "alpha"), agents(30, parallel: 2), seed: seed)
    #expect(byRequests.calls >= 0.9 * 600 && byRequests.refused < 0.01, "\(byRequests)")
    let tokens = ProviderTruth(
      id: "alpha", limits: Limits(inputTokensPerMinute: 1_500_000, outputTokensPerMinute: 120_000), tellsLimits: true)
    let byTokens = run(tokens, ProviderPolicy(id: "alpha"), agents(30, parallel: 2), seed: seed)
    // 250 of 3,000 tokens are output: that limit is the tighter one.
    #expect(byTokens.calls * 250 >= 0.9 * 120_000 && byTokens.refused < 0.01, "\(byTokens)")
    let charged = ProviderTruth(
      id: "alpha", limits: Limits(tokensPerMinute: 1_000_000), admissionTokens: .maxTokens, tellsLimits: true)
    let atDoor = run(
      charged, ProviderPolicy(id: "alpha", admissionTokens: .maxTokens), agents(30, parallel: 2, cap: 6000), seed: seed)
    #expect(atDoor.calls * 6000 >= 0.9 * 1_000_000 && atDoor.refused < 0.01, "\(atDoor)")
    print("limits in headers:", byRequests.calls / 600, byTokens.calls * 250 / 120_000, atDoor.calls * 6000 / 1_000_000)
    print("refused:", byRequests.refused, byTokens.refused, atDoor.refused)
  }

  /// Tokens per minute that nothing tells of but the refusals.
  @Test(arguments: [UInt64(1), 2], [true, false]) func hiddenTokensPerMinuteAreFound(
    seed: UInt64, tellsRetryAfter: Bool
  ) {
    let limit: Int64 = 1_500_000
    let truth = ProviderTruth(id: "alpha", limits: Limits(tokensPerMinute: limit), tellsRetryAfter: tellsRetryAfter)
    let figures = run(truth, ProviderPolicy(id: "alpha"), agents(30, parallel: 2), seed: seed)
    print(
      "hidden tokens per minute, \(tellsRetryAfter ? "with" : "without") Retry-After:",
      "\(figures.tokens / Double(limit)) used, \(figures.refused) refused")
    #expect(figures.tokens >= 0.9 * Double(limit), "\(figures)")
    #expect(figures.refused < 0.01, "\(figures)")
  }

  // MARK: A provider that counts late

  /// A permit that is free here and still taken there: refused without `settle_lag`, not with enough of it.
  @Test(arguments: [(Int64(0), false), (199, false), (200, true), (400, true)]) func settleLagCoversLateCounting(
    lag: Int64, isEnough: Bool
  ) {
    let truth = ProviderTruth(id: "alpha", limits: Limits(concurrency: 10), countsLate: .milliseconds(200))
    let provider = ProviderPolicy(
      id: "alpha", limits: Limits(concurrency: 10), learnLimits: false, settleLag: .milliseconds(lag))
    let figures = run(truth, provider, agents(10, parallel: 3), seed: 1)
    #expect((figures.refusals == 0) == isEnough, "\(figures)")
    // What the lag costs is the lag: 0.2 s of each 1.2 s.
    if lag == 200 { #expect(figures.running >= 0.8 * 10, "\(figures)") }
  }

  /// With a lag, permits that lag count against a learned limit: it grows all the same.
  @Test(arguments: [12, 20, 40], [UInt64(1), 2]) func aHiddenConcurrencyIsFoundWithALagToo(limit: Int, seed: UInt64) {
    let truth = ProviderTruth(id: "alpha", limits: Limits(concurrency: limit), countsLate: .milliseconds(200))
    let figures = run(
      truth, ProviderPolicy(id: "alpha", settleLag: .milliseconds(200)), agents(30, parallel: 4), seed: seed)
    // Of each 1.2 s that a place is counted for a call, 1 s is the call.
    let used = figures.running * 1.2 / Double(limit)
    print("hidden concurrency \(limit), counted 200 ms late: \(used) used, \(figures.refused) refused")
    #expect(used >= 0.9 && figures.refused < 0.01, "\(figures)")
  }

  // MARK: Estimates

  /// Agents that ask for 32,000 tokens at most and produce 400: the budget is used, hardly one is refused, and none for
  /// its cap.
  @Test(arguments: [AdmissionTokens.produced, .maxTokens], [UInt64(1)]) func capsThatAreNeverReachedCostNothing(
    mode: AdmissionTokens, seed: UInt64
  ) {
    var limits = Limits(concurrency: 300)
    if mode == .produced {
      limits.inputTokensPerMinute = 1_500_000
      limits.outputTokensPerMinute = 200_000
    } else {
      limits.tokensPerMinute = 4_000_000
    }
    var clients = agents(24, parallel: 6, cap: 32_000)
    for index in clients.indices {
      // Some have a cap that is larger than the whole bucket, where that is not charged; one in three errs by a fifth.
      if index % 6 == 5, mode == .produced { clients[index].outputCap = 250_000 }
      if index % 3 == 0 { clients[index].inputErrorPercent = 80...120 }
      if index % 4 == 3 { clients[index].input = 8000...40_000 }
      clients[index].output = 50...750
    }
    let provider = ProviderPolicy(id: "alpha", limits: limits, admissionTokens: mode, learnLimits: false)
    let truth = ProviderTruth(provider)
    let figures = run(truth, provider, clients, seed: seed)
    // Sent away at once would be "for its cap"; waiting too long in three times too much work is not.
    let early = figures.requests.filter { $0.outcome != .completed && $0.outcome != .evictedMaxWait }
    #expect(early.isEmpty, "\(early.first.map { "\($0)" } ?? "")")
    let used: Double
    if mode == .maxTokens {
      used = figures.calls * 32_000 / 4_000_000
    } else {
      // 400 tokens of each call are output.
      used = (figures.tokens - 400 * figures.calls) / 1_500_000
    }
    print("caps of 32,000, \(mode.rawValue): \(used) used, \(figures.refused) refused")
    #expect(used >= 0.95, "\(figures)")
    #expect(figures.refused < 0.001, "\(figures)")
  }
}
