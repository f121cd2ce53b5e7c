// What a running call takes of its provider's limits once the provider has told its input: what the provider counts, in
// both directions, and once.
import Testing

@testable import AdmissionCore

@Suite struct TrueUpTests {
  /// A provider that counts no cached input, with 2 M input tokens a minute.
  private func bench(_ counting: AdmissionTokens = .produced) -> Bench {
    Bench(
      AdmissionPolicy(providers: [
        ProviderPolicy(id: "p", limits: Limits(inputTokensPerMinute: 2_000_000), admissionTokens: counting)
      ]))
  }

  private func level(_ bench: Bench) -> Int64 {
    bench.core.snapshot(at: bench.now).providers[0].buckets[0].available
  }

  private func told(_ remaining: Int64) -> ObservedLimits {
    ObservedLimits(readings: [.init(dimension: .inputTokens, limit: 2_000_000, remaining: remaining)])
  }

  /// A warm call of 156,100 tokens, of which 200 are new, takes 200.
  @Test func cachedInputIsNotTakenWhereTheProviderDoesNotCountIt() throws {
    var bench = bench()
    let id = bench.submit(input: 16_000)
    let lease = try #require(bench.grant(id)?.lease)
    #expect(level(bench) == 1_984_000)
    bench.send(.progressed(lease, Progress(inputTokens: 156_100, cacheReadTokens: 155_900, outputTokens: 1)))
    #expect(level(bench) == 1_999_800)
    bench.send(.progressed(lease, Progress(inputTokens: 156_100, cacheReadTokens: 155_900, outputTokens: 500)))
    #expect(level(bench) == 1_999_800)
    bench.send(
      .settled(
        lease,
        Settlement(
          verdict: .success, usage: Usage(inputTokens: 156_100, cacheReadTokens: 155_900, outputTokens: 500))))
    #expect(level(bench) == 1_999_800)
    #expect(bench.core.providers[0].capacity.outstanding == .zero)
  }

  @Test func cachedInputIsTakenWhereTheProviderCountsIt() throws {
    var bench = bench(.maxTokens)
    let id = bench.submit(input: 16_000)
    let lease = try #require(bench.grant(id)?.lease)
    bench.send(.progressed(lease, Progress(inputTokens: 156_100, cacheReadTokens: 155_900, outputTokens: 1)))
    #expect(level(bench) == 2_000_000 - 156_100)
  }

  /// What was too much comes back at once, and goes to a call that waits for it.
  @Test func whatWasTooMuchGoesToACallThatWaits() throws {
    var bench = bench()
    let first = bench.submit(.high, input: 1_500_000)
    let second = bench.submit(.high, session: "other", input: 1_000_000)
    #expect(!bench.isGranted(second))
    let lease = try #require(bench.grant(first)?.lease)
    bench.send(.progressed(lease, Progress(inputTokens: 1_500_000, cacheReadTokens: 1_499_000, outputTokens: 1)))
    #expect(bench.isGranted(second))
    #expect(level(bench) == 999_000)
  }

  /// A provider that ended the connection under a request may have counted it before it is sent again.
  @Test func aCallThatIsSentAgainCountsTwice() throws {
    var bench = Bench(limits: Limits(requestsPerMinute: 600), bands: Bench.plainBands)
    func left(_ bench: Bench) -> Int64? { bench.core.providers[0].capacity.available(.requests, at: bench.now) }
    let id = bench.submit()
    let lease = try #require(bench.grant(id)?.lease)
    #expect(left(bench) == 599)
    bench.send(.sentAgain(lease))
    #expect(left(bench) == 598)
    bench.settle(id)
    #expect(left(bench) == 598)
    // It is over.
    bench.send(.sentAgain(lease))
    #expect(left(bench) == 598)
    // Where the last sending did not reach it, the first may have.
    let second = bench.submit()
    bench.send(.sentAgain(try #require(bench.grant(second)?.lease)))
    bench.settle(second, .failed(), sent: false)
    #expect(left(bench) == 597)
  }

  /// A running call of known size widens no other call's margin.
  @Test func aKnownCallIsOutstandingNoMore() throws {
    var bench = bench()
    let id = bench.submit(input: 16_000)
    let lease = try #require(bench.grant(id)?.lease)
    #expect(bench.core.providers[0].capacity.outstandingTokens == 16_000)
    bench.send(.progressed(lease, Progress(inputTokens: 30_000, outputTokens: 1)))
    #expect(bench.core.providers[0].capacity.outstandingTokens == 0)
  }

  /// The head of the answer comes first, and its `remaining` counts the call as it is; what the call then turns out to
  /// lack is not taken again.
  @Test(arguments: [true, false])
  func anUnderestimatedCallIsChargedOnce(streams: Bool) throws {
    var bench = bench()
    let id = bench.submit(input: 1000)
    let lease = try #require(bench.grant(id)?.lease)
    bench.send(.limitsObserved(lease, told(1_900_000)))
    #expect(level(bench) == 1_900_000)
    if streams {
      bench.send(.progressed(lease, Progress(inputTokens: 100_000, outputTokens: 1)))
      #expect(level(bench) == 1_900_000)
    }
    bench.settle(id, input: 100_000, output: 0)
    #expect(level(bench) == 1_900_000)
  }

  @Test func anOverestimatedCallComesBackOnce() throws {
    var bench = bench()
    let id = bench.submit(input: 400_000)
    let lease = try #require(bench.grant(id)?.lease)
    // Others have taken 100,000.
    bench.send(.limitsObserved(lease, told(1_890_000)))
    #expect(level(bench) == 1_600_000)
    bench.send(.progressed(lease, Progress(inputTokens: 10_000, outputTokens: 1)))
    #expect(level(bench) == 1_990_000)
    bench.send(.limitsObserved(lease, told(1_890_000)))
    bench.settle(id, input: 10_000, output: 0)
    #expect(level(bench) == 1_890_000)
  }

  /// The header says what both calls took; whichever is known first explains its part, and a call that began later
  /// explains nothing.
  @Test func aHeaderIsExplainedByTheCallsThatRanWhenItCame() throws {
    var bench = bench()
    let ids = ["a", "b"].map { bench.submit(session: $0, input: 1000) }
    let leases = try ids.map { try #require(bench.grant($0)?.lease) }
    bench.send(.limitsObserved(leases[0], told(1_700_000)))
    bench.now = bench.now + .milliseconds(1)
    let late = bench.submit(session: "c", input: 1000)
    let before = level(bench)
    bench.send(.progressed(leases[1], Progress(inputTokens: 200_000, outputTokens: 1)))
    bench.send(.progressed(leases[0], Progress(inputTokens: 100_000, outputTokens: 1)))
    #expect(level(bench) == before)
    let lease = try #require(bench.grant(late)?.lease)
    bench.send(.progressed(lease, Progress(inputTokens: 51_000, outputTokens: 1)))
    #expect(level(bench) == before - 50_000)
  }

  /// What no call of ours explains was taken by others, and is not given to later calls.
  @Test func whatOthersTookIsForgottenWithTheLastSuspect() throws {
    var bench = bench()
    let id = bench.submit(input: 1000)
    let lease = try #require(bench.grant(id)?.lease)
    bench.send(.limitsObserved(lease, told(1_000_000)))
    bench.settle(id, input: 1000, output: 0)
    let next = bench.submit(input: 1000)
    let before = level(bench)
    bench.settle(next, input: 101_000, output: 0)
    #expect(level(bench) == before - 100_000)
  }

  /// A debt stops every call, and with them the answers that would say that there is none.
  @Test func aDebtThatTheProviderDoesNotKnowIsForgiven() throws {
    var bench = bench()
    let ids = ["a", "b"].map { bench.submit(.high, session: $0, input: 1000) }
    let leases = try ids.map { try #require(bench.grant($0)?.lease) }
    bench.send(.progressed(leases[0], Progress(inputTokens: 3_000_000, outputTokens: 1)))
    #expect(level(bench) < 0)
    bench.send(.limitsObserved(leases[1], told(400_000)))
    #expect(level(bench) == (400_000 - 1000) / 4)
  }

  /// Budgets hold what is priced as input, and not what the provider had cached.
  @Test func aHoldGrowsByWhatIsNew() throws {
    var policy = AdmissionPolicy(providers: [ProviderPolicy(id: "p")])
    policy.budgets = [
      BudgetPolicy(scope: .broker, window: BudgetWindow(.day), limit: Money(nanodollars: 1_000_000_000))
    ]
    var bench = Bench(policy)
    let price = CallPrice(inputMicroPerToken: 1_000_000, outputMicroPerToken: 0)
    let id = bench.submit(input: 1000, price: price)
    let lease = try #require(bench.grant(id)?.lease)
    bench.send(.progressed(lease, Progress(inputTokens: 156_100, cacheReadTokens: 154_100, outputTokens: 1)))
    let slot = try #require(bench.core.leases.index(of: lease))
    #expect(bench.core.leases[slot].held.usd == price.cost(input: 2000, output: 0))
  }

  /// In turns a call costs what its provider counts of it: two sessions share alike whatever their contexts are, to one call.
  @Test func aLongContextCostsNoTurns() throws {
    var bench = Bench(
      AdmissionPolicy(providers: [ProviderPolicy(id: "p", limits: Limits(concurrency: 1))]))
    var granted = ["long": 0, "short": 0]
    var names: [RequestID: String] = [:]
    for name in granted.keys.sorted() {
      for _ in 0..<40 { names[bench.submit(session: SessionID(name), input: 1000)] = name }
    }
    for turn in 0..<40 {
      let grant = bench.grants[turn]
      let name = try #require(names[grant.request])
      granted[name, default: 0] += 1
      let cached: TokenCount = name == "long" ? 150_000 : 0
      bench.send(
        .settled(
          grant.lease,
          Settlement(
            verdict: .success, usage: Usage(inputTokens: 1000 + cached, cacheReadTokens: cached, outputTokens: 0))))
    }
    #expect((19...21).contains(granted["long"] ?? 0))
  }
}
