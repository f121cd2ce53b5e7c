// Whose limits a provider's words change: the model family's where the policy names one, the key's where each key has its
// own account, else the provider's.
import Testing

@testable import AdmissionCore

@Suite struct QuotaHolderTests {
  private func bench(_ provider: ProviderPolicy) -> Bench {
    Bench(AdmissionPolicy(providers: [provider], bands: Bench.plainBands))
  }

  private func tell(
    _ bench: inout Bench, _ id: RequestID, _ dimension: Dimension = .tokens, limit: Int64?, remaining: Int64? = nil
  ) {
    guard let lease = bench.grant(id)?.lease else {
      Issue.record("the call was not granted")
      return
    }
    let reading = ObservedLimits.Reading(dimension: dimension, limit: limit, remaining: remaining)
    bench.send(.limitsObserved(lease, ObservedLimits(readings: [reading])))
  }

  private func provider(_ bench: Bench) -> AdmissionSnapshot.Provider {
    bench.core.snapshot(at: bench.now).providers[0]
  }

  @Test func headersPullTheBucketDownAndTheLimitIn() throws {
    var bench = bench(ProviderPolicy(id: "p", limits: Limits(tokensPerMinute: 1000)))
    let id = bench.submit()
    tell(&bench, id, limit: 500, remaining: 100)
    #expect(provider(bench).buckets.first?.capacity == 500)
    #expect(provider(bench).buckets.first?.available == 100)
    tell(&bench, id, .requests, limit: 60, remaining: 59)
    #expect(provider(bench).buckets.count == 2)
    // The operator's own limit is never passed, and nonsense is ignored.
    tell(&bench, id, limit: 100_000, remaining: 200_000)
    tell(&bench, id, limit: -1, remaining: 0)
    #expect(provider(bench).buckets.contains { $0.dimension == .tokens && $0.capacity == 500 })
    // An attempt that is over tells nothing any more.
    let lease = try #require(bench.grant(id)?.lease)
    bench.settle(id)
    bench.send(
      .limitsObserved(lease, ObservedLimits(readings: [.init(dimension: .outputTokens, limit: 5, remaining: 1)])))
    #expect(provider(bench).buckets.count == 2)
  }

  @Test func aFamilyWithItsOwnEntryKeepsItsWordsToItself() {
    var bench = bench(
      ProviderPolicy(
        id: "p", limits: Limits(tokensPerMinute: 1_000_000),
        modelLimits: [ModelLimits(models: "opus*", limits: Limits(concurrency: 9))]))
    let opus = bench.submit(model: "opus-1")
    tell(&bench, opus, limit: 20_000, remaining: 0)
    #expect(provider(bench).buckets.map(\.capacity) == [1_000_000])
    #expect(provider(bench).models[0].buckets.map(\.capacity) == [20_000])
    let small = bench.submit(session: "b", model: "haiku")
    #expect(bench.isGranted(small))
    let blocked = bench.submit(session: "c", model: "opus-1")
    #expect(bench.core.blocker(of: blocked, at: bench.now) == .modelBucket("p", model: "opus*", .tokens))
    // A closure is the family's too, and one goes first after it.
    bench.settle(opus, .throttled(retryAfter: .seconds(30)), answer: true)
    #expect(bench.core.blocker(of: blocked, at: bench.now) == .modelClosed("p", model: "opus*"))
    let other = bench.submit(session: "d", model: "haiku")
    #expect(bench.isGranted(other))
    bench.run(for: .seconds(30))
    #expect(bench.isGranted(blocked) != (bench.grant(opus)?.attempt == 2))
    bench.settle(bench.grants[bench.grants.count - 1].request)
    #expect(bench.isGranted(blocked) && bench.grant(opus)?.attempt == 2)
  }

  @Test func differentLimitsOfModelsWithoutEntriesDoNotHoldOneAnotherBack() {
    var bench = bench(ProviderPolicy(id: "p"))
    let large = bench.submit(model: "large")
    tell(&bench, large, limit: 900_000, remaining: 800_000)
    let small = bench.submit(session: "b", model: "small")
    tell(&bench, small, limit: 10_000, remaining: 0)
    #expect(provider(bench).buckets.map(\.capacity) == [900_000])
    #expect((provider(bench).buckets.first?.available ?? 0) >= 790_000)
    // The same limit from both is one limit, and its remainder counts.
    tell(&bench, small, limit: 900_000, remaining: 5)
    #expect(provider(bench).buckets.first?.available == 5)
  }

  @Test func withAQuotaForEachKeyTheWordsAreTheKeys() {
    var bench = bench(
      ProviderPolicy(
        id: "p", modelLimits: [ModelLimits(models: "opus*", limits: Limits())],
        keys: [KeyPolicy(id: "a"), KeyPolicy(id: "b")], quota: .perKey))
    let first = bench.submit(model: "opus-1", input: 100)
    tell(&bench, first, limit: 1000, remaining: 0)
    #expect(provider(bench).models[0].buckets.isEmpty && provider(bench).buckets.isEmpty)
    let second = bench.submit(model: "opus-1", input: 100)
    #expect(bench.grant(second)?.key != bench.grant(first)?.key)
  }

  /// What is under way to the provider has not been counted there yet, whoever charges at the start.
  @Test(arguments: [AdmissionTokens.produced, .maxTokens]) func remaindersAreLessWhatIsUnderWay(mode: AdmissionTokens) {
    var bench = bench(ProviderPolicy(id: "p", limits: Limits(tokensPerMinute: 10_000), admissionTokens: mode))
    let ids = (0..<5).map {
      bench.submit(session: SessionID("\($0)"), input: 1000, cap: 1000, output: mode != .produced)
    }
    let before = provider(bench).buckets.first?.available ?? 0
    #expect(before == 5000)
    tell(&bench, ids[0], limit: 10_000, remaining: 9000)
    #expect(provider(bench).buckets.first?.available == before)
  }

  /// A 429 beside numbers that would have let the call in is about something else.
  @Test(arguments: [(Int64(90_000), true), (0, false)]) func numbersThatDoNotExplainARefusalAreNotBelieved(
    remaining: Int64, shrinks: Bool
  ) {
    var bench = bench(ProviderPolicy(id: "p"))
    let ids = (0..<10).map { bench.submit(session: SessionID("\($0)")) }
    tell(&bench, ids[9], limit: 100_000, remaining: remaining)
    bench.settle(ids[9], .throttled(retryAfter: nil), answer: true)
    #expect(provider(bench).learned.contains { $0.quantity == .concurrency } == shrinks)
  }
}
