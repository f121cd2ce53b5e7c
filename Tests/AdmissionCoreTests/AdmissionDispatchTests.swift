// The rules of dispatch, each by the smallest case that shows it.
import Testing

@testable import AdmissionCore

@Suite struct AdmissionDispatchTests {
  static func bands(_ change: (inout [BandPolicy]) -> Void) -> [BandPolicy] {
    var bands = Bench.plainBands
    change(&bands)
    return bands
  }

  // MARK: Softeners

  /// Lows wait for a model that is shut; highs and normals of another model go on. When it opens the lows have their share, and no burst.
  @Test func aBandWhoseModelIsShutSavesUpNoBurst() throws {
    var bench = Bench(
      limits: Limits(concurrency: 1),
      bands: Self.bands {
        for band in 0..<3 { ($0[band].maxWait, $0[band].promoteAfter) = (.seconds(100_000), .seconds(100_000)) }
        $0[1].shareBasisPoints = 2500
        $0[2].shareBasisPoints = 500
      })
    let refused = bench.submit(.low, session: "x", model: "x")
    bench.settle(refused, .throttled(retryAfter: .seconds(3000)), answer: true)
    bench.send(.cancelled(refused))
    for number in 0..<60 { bench.submit(.low, session: SessionID("x\(number)"), model: "x") }
    func serve(_ rounds: Int) throws -> [Priority: Int] {
      var served: [Priority: Int] = [:]
      for _ in 0..<rounds {
        for band in [Priority.high, .normal] {
          while bench.core.snapshot(at: bench.now).queuedByBand[Int(band.rawValue)] < 2 {
            bench.submit(band, session: SessionID("\(band)"), model: "y")
          }
        }
        let grant = try #require(bench.grants.last)
        let queued = bench.core.snapshot(at: bench.now).queuedByBand
        bench.settle(grant.request)
        let left = bench.core.snapshot(at: bench.now).queuedByBand
        for band in Priority.allCases where left[Int(band.rawValue)] < queued[Int(band.rawValue)] {
          served[band, default: 0] += 1
        }
        bench.run(for: .seconds(1))
      }
      return served
    }
    bench.submit(.high, session: "first", model: "y")
    let before = try serve(2990)
    #expect(before[.low] == nil)
    #expect(abs((before[.normal] ?? 0) - 2990 / 4) <= 5)
    let after = try serve(50)
    #expect((1...5).contains(after[.low] ?? 0), "\(after)")
  }

  @Test func headroomIsKeptForTheHighBand() {
    var bench = Bench(limits: Limits(concurrency: 10), bands: Self.bands { $0[0].reserve = .share(basisPoints: 1000) })
    for _ in 0..<10 { bench.submit(.low) }
    #expect(bench.grants.count == 9)
    #expect(bench.blockers.last == "headroom")
    let steer = bench.submit(.high)
    #expect(bench.isGranted(steer))
    #expect(bench.grants.count == 10)
  }

  @Test func endlessHighsLeaveTheLowBandItsShare() {
    var bench = Bench(limits: Limits(concurrency: 4), bands: Self.bands { $0[2].shareBasisPoints = 500 })
    var running: [RequestID] = []
    for _ in 0..<8 { bench.submit(.high, session: "h") }
    for _ in 0..<400 { bench.submit(.low, session: "l") }
    var seen = 0
    for _ in 0..<4000 {
      running += bench.grants[seen...].map(\.request)
      seen = bench.grants.count
      bench.settle(running.removeFirst())
      bench.submit(.high, session: "h")
    }
    let low = bench.grants.filter { (9...408).contains($0.request.low) }.count
    #expect(abs(low - bench.grants.count / 20) <= 1)
  }

  /// However old: a higher class goes first, and within a class the turns stay as they were.
  @Test func anOldHeadIsMarkedAndJumpsNoLine() {
    var bench = Bench(
      limits: Limits(concurrency: 1),
      bands: Self.bands {
        $0[1].promoteAfter = .seconds(30)
        $0[2].promoteAfter = .seconds(120)
      })
    let running = bench.submit()
    let low = bench.submit(.low, session: "a")
    bench.run(for: .seconds(100))
    let normal = bench.submit(.normal, session: "b")
    bench.run(for: .seconds(31))
    #expect(bench.promoted == [low, normal])
    let high = bench.submit(.high, session: "c")
    var last = running
    for id in [high, normal, low] {
      bench.settle(last)
      #expect(bench.isGranted(id))
      last = id
    }
    bench.run(for: .seconds(500))
    #expect(bench.promoted == [low, normal])
  }

  /// Reserves that leave nothing over keep nobody away for ever: an old head goes where nothing of its band runs and nobody higher waits.
  @Test func anOldHeadGoesWhereTheReserveLeavesNothing() {
    var bench = Bench(
      limits: Limits(concurrency: 2),
      bands: Self.bands {
        $0[0].reserve = .permits(2)
        $0[2].promoteAfter = .seconds(120)
      })
    let first = bench.submit(.low, session: "a")
    let second = bench.submit(.low, session: "b")
    bench.run(for: .seconds(119))
    #expect(!bench.isGranted(first))
    bench.run(for: .seconds(2))
    #expect(bench.isGranted(first) && !bench.isGranted(second))
    let high = bench.submit(.high, session: "c")
    #expect(bench.isGranted(high))
    let waiting = bench.submit(.high, session: "d")
    bench.settle(first)
    #expect(bench.isGranted(waiting) && !bench.isGranted(second))
    bench.settle(high)
    #expect(bench.isGranted(second))
  }

  /// What another provider serves, which no route connects with this one, is no reason to let its low calls go first.
  @Test func aClassIsCreditedOnlyByWhatItsOwnProvidersServe() {
    var providers = [
      ProviderPolicy(id: "busy", limits: Limits(concurrency: 1)),
      ProviderPolicy(id: "p", limits: Limits(concurrency: 1)),
    ]
    for index in providers.indices { providers[index].cluster = providers[index].id }
    var bench = Bench(AdmissionPolicy(providers: providers, bands: Self.bands { $0[2].shareBasisPoints = 1000 }))
    var busy = bench.submit(.high, session: "x", to: ["busy"])
    let running = bench.submit(.high, session: "y")
    let low = bench.submit(.low, session: "l")
    for _ in 0..<100 {
      let next = bench.submit(.high, session: "x", to: ["busy"])
      bench.settle(busy)
      busy = next
    }
    let high = bench.submit(.high, session: "z")
    bench.settle(running)
    #expect(bench.isGranted(high) && !bench.isGranted(low))
  }

  // MARK: Fairness

  @Test func sessionsOfATenantTakeTurnsAndTenantsShareByWeight() {
    var bench = Bench(
      limits: Limits(concurrency: 1), bands: Bench.plainBands,
      tenants: [TenantPolicy(id: "a", weight: 2), TenantPolicy(id: "b", weight: 1)])
    var owner: [UInt64: String] = [:]
    let first = bench.submit()
    for number in 0..<300 {
      owner[bench.submit(tenant: "a", session: SessionID("a\(number % 50)")).low] = "a"
      owner[bench.submit(tenant: "b", session: "only").low] = "b"
    }
    bench.settle(first)
    for _ in 0..<150 { bench.settle(bench.grants[bench.grants.count - 1].request) }
    let served = bench.order.dropFirst().compactMap { owner[$0] }
    #expect(abs(served.filter { $0 == "a" }.count - 100) <= 1)
  }

  // MARK: Claims

  @Test func aLargeHeadClaimsTheBucketAndTokensGather() {
    var bench = Bench(limits: Limits(tokensPerMinute: 600), bands: Bench.plainBands)
    bench.submit(input: 600)
    let large = bench.submit(session: "a", input: 500)
    let small = bench.submit(session: "b", input: 10)
    bench.run(for: .seconds(49))
    #expect(!bench.isGranted(small))
    bench.run(for: .seconds(1))
    #expect(bench.isGranted(large))
    #expect(!bench.isGranted(small))
    bench.run(for: .seconds(1))
    #expect(bench.isGranted(small))
    #expect(bench.core.blocker(of: small, at: bench.now) == nil)
  }

  @Test func aTenantAtItsLimitIsSkippedAndOnlyIt() {
    var bench = Bench(
      limits: Limits(concurrency: 3), bands: Bench.plainBands,
      tenants: [TenantPolicy(id: "a", limits: Limits(concurrency: 1))])
    let first = bench.submit(.high, tenant: "a")
    let second = bench.submit(.high, tenant: "a", session: "x")
    let other = bench.submit(.low, tenant: "b")
    #expect(bench.isGranted(other))
    #expect(bench.core.blocker(of: second, at: bench.now) == .tenantConcurrency("a"))
    bench.settle(first)
    #expect(bench.isGranted(second))
  }

  @Test func aTenantOverItsRateWaitsForItsOwnBucket() {
    var bench = Bench(
      limits: Limits(), bands: Bench.plainBands,
      tenants: [TenantPolicy(id: "a", limits: Limits(requestsPerMinute: 1))])
    bench.submit(tenant: "a")
    let second = bench.submit(tenant: "a")
    let third = bench.submit(tenant: "b")
    #expect(bench.isGranted(third))
    #expect(bench.core.nextDeadline == bench.now + .seconds(60))
    bench.run(for: .seconds(60))
    #expect(bench.isGranted(second))
  }

  @Test func whatCanNeverFitATenantsLimitIsRefusedAndNothingElse() {
    var bench = Bench(
      limits: Limits(), bands: Bench.plainBands,
      tenants: [
        TenantPolicy(id: "a", limits: Limits(tokensPerMinute: 1000)),
        TenantPolicy(id: "b", limits: Limits(concurrency: 0)),
      ])
    let over = bench.submit(tenant: "a", input: 1001)
    let at = bench.submit(tenant: "a", input: 1000, cap: 32_000)
    #expect(bench.outcome(over) == .rejectedTenantLimit)
    #expect(bench.outcome(at) == nil)
    #expect(bench.isGranted(at))
    let none = bench.submit(tenant: "b")
    #expect(bench.outcome(none) == .rejectedTenantLimit)
  }

  @Test func goesToTheNextCandidateAndClaimsOnlyWhenNoneIsPlaceable() {
    let providers = [
      ProviderPolicy(id: "p", limits: Limits(concurrency: 1)), ProviderPolicy(id: "q", limits: Limits(concurrency: 1)),
    ]
    var bench = Bench(AdmissionPolicy(providers: providers, bands: Bench.plainBands))
    let first = bench.submit(to: ["p", "q"])
    let second = bench.submit(to: ["p", "q"])
    #expect(bench.grant(first)?.provider == "p")
    #expect(bench.grant(second)?.provider == "q")
    let third = bench.submit(session: "a", to: ["p", "q"])
    let fourth = bench.submit(session: "b", to: ["q"])
    bench.settle(second)
    #expect(bench.grant(third)?.provider == "q")
    bench.settle(first)
    #expect(!bench.isGranted(fourth))
    bench.settle(third)
    #expect(bench.isGranted(fourth))
  }

  @Test func oneFullProviderDoesNotHoldUpAnother() {
    let providers = [ProviderPolicy(id: "p", limits: Limits(concurrency: 1)), ProviderPolicy(id: "q")]
    var bench = Bench(AdmissionPolicy(providers: providers, bands: Bench.plainBands))
    bench.submit(to: ["p"])
    bench.submit(.high, session: "a", to: ["p"])
    let other = bench.submit(.low, session: "b", to: ["q"])
    #expect(bench.isGranted(other))
  }

  @Test func aModelLimitStandsBesideTheProviders() {
    let provider = ProviderPolicy(
      id: "p", limits: Limits(concurrency: 3),
      modelLimits: [ModelLimits(models: "opus*", limits: Limits(concurrency: 1))])
    var bench = Bench(AdmissionPolicy(providers: [provider], bands: Bench.plainBands))
    bench.submit(model: "opus-5")
    let second = bench.submit(session: "a", model: "opus-4")
    #expect(bench.core.blocker(of: second, at: bench.now) == .modelConcurrency("p", model: "opus*"))
    let small = bench.submit(session: "b", model: "haiku")
    #expect(bench.isGranted(small))
  }

  @Test func keysByAffinityAndTheOtherWhenFull() {
    let provider = ProviderPolicy(
      id: "p",
      keys: [
        KeyPolicy(id: "a", limits: Limits(concurrency: 1)), KeyPolicy(id: "b", limits: Limits(concurrency: 1)),
      ])
    var bench = Bench(AdmissionPolicy(providers: [provider], bands: Bench.plainBands))
    let first = bench.submit()
    let second = bench.submit()
    let third = bench.submit()
    #expect(bench.grant(first)?.key != bench.grant(second)?.key)
    #expect(bench.core.blocker(of: third, at: bench.now) == .keyConcurrency("p"))
    bench.settle(first)
    #expect(bench.grant(third)?.key == bench.grant(first)?.key)
  }

  @Test func aModelThatNoKeyServesIsRefused() {
    let provider = ProviderPolicy(id: "p", keys: [KeyPolicy(id: "a", models: ["gpt-*"])])
    var bench = Bench(AdmissionPolicy(providers: [provider]))
    let id = bench.submit(model: "claude")
    #expect(bench.outcome(id) == .rejectedNoCapacity)
    let unknown = bench.submit(to: ["nobody"])
    #expect(bench.outcome(unknown) == .rejectedModel)
  }

  // MARK: Tokens

  @Test func whoChargesTheCapKeepsItAndWhoCountsOutputReturnsIt() {
    let limits = Limits(tokensPerMinute: 10_000)
    let providers = [
      ProviderPolicy(id: "max", limits: limits, admissionTokens: .maxTokens),
      ProviderPolicy(id: "made", limits: limits, admissionTokens: .produced),
    ]
    var bench = Bench(AdmissionPolicy(providers: providers))
    let first = bench.submit(to: ["max"], input: 100, cap: 4000)
    let second = bench.submit(to: ["made"], input: 100, cap: 4000)
    var buckets = bench.core.snapshot(at: bench.now).providers.map { $0.buckets[0].available }
    #expect(buckets[0] == 6000)
    #expect(buckets[1] > 6000)
    bench.settle(first, input: 100, output: 50)
    bench.settle(second, input: 100, output: 50)
    buckets = bench.core.snapshot(at: bench.now).providers.map { $0.buckets[0].available }
    #expect(buckets == [6000, 9850])
  }

  @Test func progressRaisesTheReservation() throws {
    var bench = Bench(limits: Limits(outputTokensPerMinute: 10_000))
    let id = bench.submit(cap: 100)
    let lease = try #require(bench.grant(id)?.lease)
    bench.send(.progressed(lease, Progress(inputTokens: nil, outputTokens: 3000)))
    #expect(bench.core.snapshot(at: bench.now).providers[0].buckets[0].available == 7000)
    bench.settle(id, input: 10, output: 3500)
    #expect(bench.core.snapshot(at: bench.now).providers[0].buckets[0].available == 6500)
  }

  @Test func cachedInputCountsOnlyWhereTheProviderCountsIt() throws {
    var bench = Bench(limits: Limits(inputTokensPerMinute: 10_000))
    let id = bench.submit(input: 1000)
    let lease = try #require(bench.grant(id)?.lease)
    let usage = Usage(inputTokens: 1000, cacheReadTokens: 900, outputTokens: 1)
    bench.send(.settled(lease, Settlement(verdict: .success, usage: usage)))
    #expect(bench.core.snapshot(at: bench.now).providers[0].buckets[0].available == 9900)
  }

  @Test func aPermitLagsBehindItsCall() {
    let provider = ProviderPolicy(id: "p", limits: Limits(concurrency: 1), settleLag: .milliseconds(200))
    var bench = Bench(AdmissionPolicy(providers: [provider]))
    let first = bench.submit()
    let second = bench.submit()
    bench.settle(first)
    #expect(!bench.isGranted(second))
    bench.run(for: .milliseconds(199))
    #expect(!bench.isGranted(second))
    bench.run(for: .milliseconds(1))
    #expect(bench.isGranted(second))
  }

  // MARK: Explaining

  @Test func notesAreWrittenWhenTheReasonChanges() {
    var bench = Bench(limits: Limits(concurrency: 1), bands: Bench.plainBands)
    let first = bench.submit()
    bench.submit()
    bench.submit()
    #expect(bench.blockers == ["provider_concurrency", "behind_in_lane"])
    bench.settle(first)
    // The third is the first of its lane now; what it waits for there is told when it is looked at.
    #expect(bench.blockers == ["provider_concurrency", "behind_in_lane", "not_its_turn", "provider_concurrency"])
  }

  @Test func aClientsOwnRetryStandsBeforeNewcomers() {
    var bench = Bench(limits: Limits(concurrency: 1), bands: Bench.plainBands)
    let first = bench.submit()
    bench.submit()
    let retry = bench.submit(retries: 1)
    bench.settle(first)
    #expect(bench.isGranted(retry))
  }
}

extension AdmissionDispatchTests {
  @Test func anOldSmallOneDoesNotJumpInsideItsLane() {
    var bench = Bench(
      limits: Limits(requestsPerMinute: 60, tokensPerMinute: 1000),
      bands: Self.bands { $0[2].promoteAfter = .seconds(1) })
    bench.submit(.low, input: 1000)
    let large = bench.submit(.low, input: 900)
    let small = bench.submit(.low, input: 10)
    bench.run(for: .seconds(53))
    #expect(!bench.isGranted(large) && !bench.isGranted(small))
    bench.run(for: .seconds(3))
    #expect(bench.order == [1, large.low, small.low])
  }
}
