// After a restart buckets stand where the last minutes' calls left them.
import Testing

@testable import AdmissionCore

@Suite struct AdmissionRestoringTests {
  private func past(
    _ number: UInt64, age: Span, input: Int64 = 0, output: Int64 = 0, cached: Int64 = 0, tenant: TenantID = "t",
    key: KeyID? = nil, model: String = "m"
  ) -> PastAttempt {
    PastAttempt(
      request: RequestID(high: 9, low: number), age: age, tenant: tenant, provider: "p", key: key, model: model,
      usage: Usage(
        inputTokens: TokenCount(input), cacheReadTokens: TokenCount(cached), outputTokens: TokenCount(output)))
  }

  private func available(_ bench: Bench, _ dimension: Dimension) -> Int64? {
    bench.core.snapshot(at: bench.now).providers[0].buckets.first { $0.dimension == dimension }?.available
  }

  @Test func requestsOfTheLastMinuteAreGone() {
    var bench = Bench(limits: Limits(requestsPerMinute: 60))
    bench.send(.restored((0..<60).map { past(UInt64($0), age: .seconds(30)) }))
    // Sixty half a minute ago: half of them have come back.
    #expect(available(bench, .requests) == 30)
    bench.run(for: .seconds(30))
    #expect(available(bench, .requests) == 60)
  }

  @Test(arguments: [(59, true), (60, false), (61, false)])
  func theLimitHoldsAtUnderAndOver(_ sent: Int, _ mayGo: Bool) {
    var bench = Bench(limits: Limits(requestsPerMinute: 60), bands: Bench.plainBands)
    bench.send(.restored((0..<sent).map { past(UInt64($0), age: .zero) }))
    let request1 = bench.submit()
    #expect(bench.isGranted(request1) == mayGo)
  }

  @Test func whatIsOlderThanAMinuteHasComeBack() {
    var bench = Bench(limits: Limits(requestsPerMinute: 60))
    bench.send(.restored((0..<60).map { past(UInt64($0), age: .seconds(61)) }))
    #expect(available(bench, .requests) == 60)
  }

  @Test func debtIsRestoredToo() {
    var bench = Bench(limits: Limits(tokensPerMinute: 600))
    bench.send(.restored([past(1, age: .seconds(60), input: 900, output: 900)]))
    #expect(available(bench, .tokens) == -600)
  }

  @Test func cachedInputCountsWhereTheProviderCountsIt() {
    let limits = Limits(inputTokensPerMinute: 6000)
    for (tokens, expected) in [(AdmissionTokens.produced, Int64(5900)), (.maxTokens, 5000)] {
      var provider = ProviderPolicy(id: "p", limits: limits)
      provider.admissionTokens = tokens
      var bench = Bench(AdmissionPolicy(providers: [provider]))
      bench.send(.restored([past(1, age: .zero, input: 1000, cached: 900)]))
      #expect(available(bench, .inputTokens) == expected)
    }
  }

  @Test func modelsKeysAndTenantsHaveTheirOwn() {
    var provider = ProviderPolicy(id: "p")
    provider.modelLimits = [ModelLimits(models: "big-*", limits: Limits(requestsPerMinute: 10))]
    provider.keys = [
      KeyPolicy(id: "a", limits: Limits(requestsPerMinute: 20)),
      KeyPolicy(id: "b", limits: Limits(requestsPerMinute: 20)),
    ]
    var bench = Bench(
      AdmissionPolicy(
        providers: [provider],
        tenants: [
          TenantPolicy(id: "t", limits: Limits(requestsPerMinute: 30)),
          TenantPolicy(id: "u", limits: Limits(requestsPerMinute: 30)),
        ]))
    bench.send(
      .restored([
        past(1, age: .zero, key: "a", model: "big-1"), past(2, age: .zero, key: "a", model: "small"),
        past(3, age: .zero, tenant: "u", key: "b", model: "small"),
      ]))
    let snapshot = bench.core.snapshot(at: bench.now)
    #expect(snapshot.providers[0].models[0].buckets[0].available == 9)
    #expect(snapshot.tenants.first { $0.id == "t" }?.buckets[0].available == 28)
    #expect(snapshot.tenants.first { $0.id == "u" }?.buckets[0].available == 29)
    #expect([0, 1].map { bench.core.providers[0].keys[$0].capacity.buckets[0].available(at: bench.now) } == [18, 19])
  }

  @Test func restoringNeverRaises() {
    var bench = Bench(limits: Limits(requestsPerMinute: 60), bands: Bench.plainBands)
    for _ in 0..<50 { bench.submit() }
    bench.send(.restored([past(1, age: .zero)]))
    #expect(available(bench, .requests) == 10)
  }
}
