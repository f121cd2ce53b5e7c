// Storms in virtual time: a provider that tells everybody to slow down, one that fails, and one that was never there.
import AdmissionCore
import Testing

@testable import PolicyLab
@testable import TollgateTesting

@Suite struct StormFiguresTests {
  private func at(_ seconds: Int64) -> Instant { Instant(nanoseconds: seconds * 1_000_000_000) }
  private func milliseconds(_ value: Int64) -> Instant { Instant(nanoseconds: value * 1_000_000) }

  private func clients(_ count: Int, from start: Int64, route: [ProviderID] = ["alpha"], execute: Int64 = 200)
    -> [ClientScript]
  {
    (0..<count).map { number in
      ClientScript(
        session: SessionID("s\(number)"), priority: Priority.allCases[number % 3], route: route,
        start: milliseconds(start + Int64(number)), requests: 1,
        pacing: .closed(parallel: 1, think: .zero ... .zero),
        execute: .milliseconds(execute) ... .milliseconds(execute), input: 100...100)
    }
  }

  private func run(_ policy: AdmissionPolicy, _ clients: [ClientScript], _ happenings: [Happening], seconds: Int64 = 60)
    -> SimulationResult
  {
    let scenario = Scenario(
      seed: 7, policy: policy, clients: clients, happenings: happenings, horizon: at(seconds),
      expectations: .init(noRefusals: false))
    let result = Simulation<Admission>.run(scenario, snapshotEvery: 5)
    #expect(result.violations.isEmpty, "\(result.violations)")
    return result
  }

  /// 429 with `Retry-After: 1` for three seconds to 30 waiting clients: one probe a second, nobody fails, and they are
  /// drained by class.
  @Test(arguments: [true, false]) func aThrottleOfThreeSecondsIsProbedOnceASecond(learns: Bool) {
    var policy = AdmissionPolicy(
      providers: [ProviderPolicy(id: "alpha", limits: Limits(concurrency: 4), learnLimits: learns)])
    // Without floor shares the order is strict.
    for band in policy.bands.indices { policy.bands[band].shareBasisPoints = 0 }
    let ill = [
      Happening(at: at(0), .providerMood("alpha", .throttling(retryAfter: .seconds(1)))),
      Happening(at: at(3), .providerMood("alpha", .well)),
    ]
    // Who comes first finds the closure; the thirty come while it lasts.
    let first = clients(1, from: 1)
    let result = run(policy, first + clients(30, from: 100), ill)
    let provider = result.providers[0]
    #expect(result.outcomes == [.completed: 31])
    let during = provider.refusedAt.filter { $0 < at(3) }
    print("429 for 3 s to 30: \(during.count) attempts, all done by \(result.end.nanoseconds / 1_000_000) ms")
    #expect(during.count <= 4)
    for (earlier, later) in zip(during, during.dropFirst()) { #expect(later - earlier >= .seconds(1)) }
    // After the probe, whoever it was, the classes in order.
    let order = result.requests.sorted { left, right in
      let instants = (left.grantedAt ?? at(999), right.grantedAt ?? at(999))
      return instants.0 == instants.1 ? left.priority > right.priority : instants.0 < instants.1
    }
    let waiting = order.dropFirst().map(\.priority)
    #expect(waiting == waiting.sorted { $0 > $1 }, "\(waiting)")
  }

  /// 30 calls under way when the 429s begin cost one attempt each, and not one more than a probe a second after that.
  @Test func aThrottleInTheMiddleOfAFleetCostsWhatIsUnderWayAndAProbeASecond() {
    let policy = AdmissionPolicy(providers: [ProviderPolicy(id: "alpha", limits: Limits(concurrency: 10))])
    var fleet = clients(30, from: 1)
    for index in fleet.indices { fleet[index].requests = 1000 }
    let ill = [
      Happening(at: at(2), .providerMood("alpha", .throttling(retryAfter: .seconds(1)))),
      Happening(at: at(5), .providerMood("alpha", .well)),
    ]
    let result = run(policy, fleet, ill, seconds: 15)
    #expect(Set(result.outcomes.keys) == [.completed])
    let refused = result.providers[0].refusedAt
    print("429 for 3 s to a fleet: \(refused.count) attempts")
    #expect(refused.count <= 10 + 3)
  }

  /// 503 for five seconds: the breaker bounds the attempts, the other provider notices nothing, and the first success
  /// comes within one recovery time.
  @Test func anOutageOfFiveSecondsIsBoundedByTheBreaker() throws {
    let breaker = BreakerPolicy(failures: 3, recovery: .seconds(2))
    let policy = AdmissionPolicy(
      providers: [
        ProviderPolicy(id: "alpha", limits: Limits(concurrency: 4), breaker: breaker),
        ProviderPolicy(id: "beta", limits: Limits(concurrency: 4)),
      ])
    let ill = [
      Happening(at: at(0), .providerMood("alpha", .failing(percent: 100))),
      Happening(at: at(5), .providerMood("alpha", .well)),
    ]
    let others = clients(30, from: 1, route: ["beta"]).map { script in
      var script = script
      script.requests = 20
      return script
    }
    let result = run(policy, clients(30, from: 1) + others, ill)
    let alpha = result.providers[0]
    let beta = result.providers[1]
    print("503 for 5 s: \(alpha.ill) attempts, first success at \(alpha.acceptedAt.first?.nanoseconds ?? 0) ns")
    #expect(alpha.ill <= 8)
    #expect(beta.ill == 0 && beta.accepted == 600)
    let first = try #require(alpha.acceptedAt.first)
    // The breaker was open for at most 2 and then 4 s when the provider came back.
    #expect(first <= at(5) + .seconds(4))
    #expect((result.outcomes[.completed] ?? 0) >= 600 + 26, "\(result.outcomes)")
    #expect(result.outcomes.keys.allSatisfy { $0 == .completed || $0 == .upstreamError }, "\(result.outcomes)")
  }

  /// The default breaker: no more than five at first, and one probe a recovery.
  @Test func theDefaultBreakerHitsAFailingProviderEightTimesAtMost() {
    let policy = AdmissionPolicy(providers: [ProviderPolicy(id: "alpha", limits: Limits(concurrency: 4))])
    let ill = [
      Happening(at: at(0), .providerMood("alpha", .failing(percent: 100))),
      Happening(at: at(5), .providerMood("alpha", .well)),
    ]
    let result = run(policy, clients(30, from: 1), ill)
    print("503 for 5 s, default breaker: \(result.providers[0].ill) attempts, \(result.outcomes)")
    #expect(result.providers[0].ill <= 8)
  }

  /// A 503 that says when it will be over is not asked earlier.
  @Test func aFailureThatTellsTheTimeIsNotAskedBefore() {
    let policy = AdmissionPolicy(providers: [ProviderPolicy(id: "alpha", limits: Limits(concurrency: 4))])
    let ill = [
      Happening(at: at(0), .providerMood("alpha", .failing(percent: 100, retryAfter: .seconds(5)))),
      Happening(at: at(5), .providerMood("alpha", .well)),
    ]
    let result = run(policy, clients(30, from: 1), ill)
    #expect(result.providers[0].ill <= 4)
    #expect(result.outcomes == [.completed: 30], "\(result.outcomes)")
  }

  /// A model's outage is that model's alone.
  @Test func aModelsOutageLeavesTheOthersAlone() {
    let policy = AdmissionPolicy(
      providers: [
        ProviderPolicy(
          id: "alpha", limits: Limits(concurrency: 8),
          modelLimits: [
            ModelLimits(
              models: "big*", limits: Limits(concurrency: 4), breaker: BreakerPolicy(failures: 3, recovery: .seconds(2))
            )
          ])
      ])
    var big = clients(30, from: 1)
    for index in big.indices { big[index].model = "big-1" }
    var small = clients(4, from: 1)
    for index in small.indices {
      small[index].requests = 100
      small[index].session = SessionID("small-\(index)")
    }
    let ill = [
      Happening(at: at(0), .modelMood("alpha", "big*", .failing(percent: 100))),
      Happening(at: at(5), .modelMood("alpha", "big*", .well)),
    ]
    let result = run(policy, big + small, ill)
    #expect(result.providers[0].ill <= 8)
    let served = result.requests.filter { $0.client >= 30 }
    #expect(served.count == 400 && served.allSatisfy { $0.outcome == .completed })
    // Four at a time, 0.2 s each: nobody waited for the other model.
    let worst = served.compactMap(\.queued).max() ?? .zero
    #expect(worst <= .milliseconds(1), "\(worst)")
  }

  /// The first provider is down from the start, its peer is up: 1,000 calls, 1,000 answers.
  @Test(arguments: [ProviderMood.failing(percent: 100), .throttling(retryAfter: .seconds(2)), .refusingKeys])
  func fallbackAlongTheRouteLosesNothing(mood: ProviderMood) {
    let policy = AdmissionPolicy(
      providers: [
        ProviderPolicy(id: "alpha", limits: Limits(concurrency: 20), keys: [KeyPolicy(id: "k")]),
        ProviderPolicy(id: "beta", limits: Limits(concurrency: 20)),
      ])
    var fleet = clients(50, from: 1, route: ["alpha", "beta"])
    for index in fleet.indices { fleet[index].requests = 20 }
    let result = run(policy, fleet, [Happening(at: at(0), .providerMood("alpha", mood))])
    #expect(result.outcomes == [.completed: 1000], "\(result.outcomes)")
    #expect(result.providers[1].accepted == 1000)
    print("fallback from \(mood): \(result.providers[0].ill) attempts in vain for 1,000 answers")
  }
}
