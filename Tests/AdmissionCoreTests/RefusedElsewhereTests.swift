// A call that was refused for its size, or told to slow down: where it goes, and what it costs.
import Testing

@testable import AdmissionCore

@Suite struct RefusedElsewhereTests {
  private func sizeBench(_ limits: Limits = Limits(inputTokensPerMinute: 2_000_000), quota: Quota = .shared) -> Bench {
    Bench(
      AdmissionPolicy(
        providers: [
          ProviderPolicy(
            id: "p", limits: limits, keys: [KeyPolicy(id: "a"), KeyPolicy(id: "b")], quota: quota,
            admissionTokens: .produced), ProviderPolicy(id: "q"),
        ], bands: Bench.plainBands))
  }

  private func warm(_ bench: inout Bench, to: [ProviderID] = ["p", "q"], deadline: Span? = nil) throws -> Grant {
    let first = bench.submit(session: "s", to: to, input: 300_000)
    let granted = bench.grant(first)
    let grant = try #require(granted)
    bench.send(
      .settled(
        grant.lease,
        Settlement(
          verdict: .success, usage: Usage(inputTokens: 300_000, cacheWriteTokens: 300_000, outputTokens: 10),
          answerBegan: true, hasAnswer: true)))
    let next = bench.submit(session: "s", to: to, input: 300_400, deadline: deadline.map { bench.now + $0 })
    let warm = bench.grant(next)
    let found = try #require(warm)
    #expect(found.reservedInput == 400 && found.provider == "p")
    return found
  }

  private func refuse(
    _ bench: inout Bench, _ grant: Grant, left: Int64?, told: Span = .seconds(20), isAboutConcurrency: Bool = false
  ) {
    if let left {
      bench.send(
        .limitsObserved(
          grant.lease,
          ObservedLimits(readings: [.init(dimension: .inputTokens, limit: 2_000_000, remaining: left)])))
    }
    bench.send(
      .settled(
        grant.lease,
        Settlement(
          verdict: .throttled(retryAfter: told, isAboutConcurrency: isAboutConcurrency), hasAnswer: true)))
  }

  /// Refused for its size at one provider, it goes to the other at once, as any refused call does (`nil`).
  @Test(arguments: [nil, 250_000] as [Int64?])
  func anotherProviderIsTriedAtOnce(_ left: Int64?) throws {
    var bench = sizeBench()
    let grant = try warm(&bench)
    refuse(&bench, grant, left: left)
    bench.run(for: .milliseconds(10))
    #expect(bench.grant(grant.request)?.provider == "q")
  }

  /// And is not concluded because the first asks for more time than it has.
  @Test(arguments: [nil, 250_000] as [Int64?])
  func itIsNotOverWhereAnotherProviderHasRoom(_ left: Int64?) throws {
    var bench = sizeBench()
    let grant = try warm(&bench, deadline: .seconds(15))
    refuse(&bench, grant, left: left)
    bench.run(for: .milliseconds(10))
    #expect(bench.grant(grant.request)?.provider == "q", "\(String(describing: bench.outcome(grant.request)))")
  }

  /// Another key with a quota of its own has room.
  @Test(arguments: [nil, 250_000] as [Int64?])
  func anotherKeyIsTriedAtOnce(_ left: Int64?) throws {
    var bench = sizeBench(quota: .perKey)
    let grant = try warm(&bench, to: ["p"])
    refuse(&bench, grant, left: left)
    bench.run(for: .milliseconds(10_100))
    let again = bench.grant(grant.request)
    #expect(again?.attempt == 2 && again?.key != grant.key)
  }

  /// A refusal that says it is about concurrency is not about size.
  @Test func aRefusalAboutConcurrencyIsNotAboutSize() throws {
    var bench = sizeBench()
    let grant = try warm(&bench, to: ["p"])
    refuse(&bench, grant, left: 250_000, isAboutConcurrency: true)
    #expect(!bench.closures.isEmpty)
  }

  /// A refused call keeps its request; it is not taken twice.
  @Test func aRefusedCallTakesOneRequest() throws {
    var bench = Bench(
      AdmissionPolicy(
        providers: [ProviderPolicy(id: "p", limits: Limits(requestsPerMinute: 5))], bands: Bench.plainBands))
    let id = bench.submit()
    let granted = bench.grant(id)
    let grant = try #require(granted)
    bench.send(
      .limitsObserved(grant.lease, ObservedLimits(readings: [.init(dimension: .requests, limit: 5, remaining: 0)])))
    bench.settle(id, .throttled(retryAfter: .seconds(12)), answer: true)
    #expect(bench.core.snapshot(at: bench.now).providers[0].buckets[0].available == 0)
    // One request each 12 s.
    bench.run(for: .milliseconds(12_500))
    #expect(bench.grant(id)?.attempt == 2)
  }

  /// With a second sending.
  @Test func aRefusedCallThatWasSentTwice() throws {
    var bench = Bench(
      AdmissionPolicy(
        providers: [ProviderPolicy(id: "p", limits: Limits(requestsPerMinute: 100))], bands: Bench.plainBands))
    let id = bench.submit()
    let granted = bench.grant(id)
    let grant = try #require(granted)
    bench.send(.sentAgain(grant.lease))
    bench.send(
      .limitsObserved(grant.lease, ObservedLimits(readings: [.init(dimension: .requests, limit: 100, remaining: 50)])))
    bench.settle(id, .throttled(retryAfter: .seconds(12)), answer: true)
    #expect(bench.core.snapshot(at: bench.now).providers[0].buckets[0].available == 50)
  }
}
