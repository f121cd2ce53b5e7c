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

  /// Refused for its size at one provider, it goes to the other at once, as any refused call does (`nil`).
  @Test(arguments: [nil, 250_000] as [Int64?])
  func anotherProviderIsTriedAtOnce(_ left: Int64?) throws {
    var bench = sizeBench()
    let grant = try bench.sendWarm(to: ["p", "q"])
    bench.refuse(grant, left: left, told: .seconds(20))
    bench.run(for: .milliseconds(10))
    #expect(bench.grant(grant.request)?.provider == "q")
  }

  /// And is not concluded because the first asks for more time than it has.
  @Test(arguments: [nil, 250_000] as [Int64?])
  func itIsNotOverWhereAnotherProviderHasRoom(_ left: Int64?) throws {
    var bench = sizeBench()
    let grant = try bench.sendWarm(to: ["p", "q"], deadline: .seconds(15))
    bench.refuse(grant, left: left, told: .seconds(20))
    bench.run(for: .milliseconds(10))
    #expect(bench.grant(grant.request)?.provider == "q", "\(String(describing: bench.outcome(grant.request)))")
  }

  /// Another key with a quota of its own has room.
  @Test(arguments: [nil, 250_000] as [Int64?])
  func anotherKeyIsTriedAtOnce(_ left: Int64?) throws {
    var bench = sizeBench(quota: .perKey)
    let grant = try bench.sendWarm()
    bench.refuse(grant, left: left, told: .seconds(20))
    bench.run(for: .milliseconds(10_100))
    let again = bench.grant(grant.request)
    #expect(again?.attempt == 2 && again?.key != grant.key)
  }

  /// A refusal that says it is about concurrency is not about size.
  @Test func aRefusalAboutConcurrencyIsNotAboutSize() throws {
    var bench = sizeBench()
    let grant = try bench.sendWarm()
    bench.refuse(grant, left: 250_000, told: .seconds(20), isAboutConcurrency: true)
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
