// Providers that fail, throttle and refuse keys: what clients see, what providers see.
import Testing

@testable import AdmissionCore

@Suite struct AdmissionFailureTests {
  static func bench(_ providers: [ProviderPolicy]) -> Bench {
    Bench(AdmissionPolicy(providers: providers, bands: Bench.plainBands))
  }

  @Test func aFailedCallGoesAgainWithinItsAttempts() {
    var bench = Self.bench([ProviderPolicy(id: "p")])
    let id = bench.submit()
    for attempt in 1...3 {
      #expect(bench.grant(id)?.attempt == attempt)
      #expect(bench.outcome(id) == nil)
      bench.settle(id, .failed(), answer: attempt == 2)
      if attempt < 3, bench.grant(id)?.attempt == attempt {
        #expect(bench.core.blocker(of: id, at: bench.now) == .backoff)
      }
      bench.run(for: .seconds(2))
    }
    #expect(bench.outcome(id) == .failedUpstream)
    #expect(bench.conclusions.first?.attempts == 3)
  }

  /// One call after the other, each of which begins well: the end of a stream tells, not its first token.
  @Test func aProviderThatBreaksEachStreamIsLeftAlone() throws {
    var bench = Self.bench([ProviderPolicy(id: "p")])
    func breakStream() throws {
      let id = bench.submit(session: SessionID("\(bench.grants.count)"))
      let lease = try #require(bench.grant(id)?.lease)
      bench.send(.progressed(lease, Progress(inputTokens: nil, outputTokens: 5)))
      bench.settle(id, .truncated, answer: true, began: true)
      bench.pass(.seconds(1))
    }
    for _ in 0..<4 { try breakStream() }
    #expect(bench.core.snapshot(at: bench.now).providers[0].breaker.state == .closed)
    try breakStream()
    #expect(bench.core.snapshot(at: bench.now).providers[0].breaker.state == .open)
    // The first token of a probe is enough to let others in.
    bench.run(for: .seconds(30))
    let probe = bench.submit(session: "probe")
    let lease = try #require(bench.grant(probe)?.lease)
    bench.send(.progressed(lease, Progress(inputTokens: nil, outputTokens: 1)))
    #expect(bench.core.snapshot(at: bench.now).providers[0].breaker.state == .closed)
  }

  /// The time that a 500 gives is a floor for its own request alone, that of a 503 for everybody who calls its model.
  @Test(arguments: [false, true]) func aTimeInAFailureIsAFloorForItsBackoff(isAway: Bool) {
    var bench = Self.bench([ProviderPolicy(id: "p")])
    let id = bench.submit(session: "a")
    bench.settle(id, .failed(retryAfter: .seconds(7), isAway: isAway), answer: true)
    let other = bench.submit(session: "b")
    #expect(bench.isGranted(other) == !isAway)
    bench.run(for: Span(nanoseconds: 6_999_999_999))
    #expect(bench.grants.count == (isAway ? 1 : 2))
    bench.run(for: Span(nanoseconds: 1))
    // After a closure one goes first, whoever's turn it is.
    if isAway {
      #expect(bench.grants.count == 2)
      bench.settle(bench.grants[1].request)
    }
    #expect(bench.grants.count == 3)
    #expect(bench.grant(id)?.attempt == 2 && bench.isGranted(other))
  }

  @Test func aTimeBeyondTheDeadlineIsNotWaitedFor() {
    var bench = Self.bench([ProviderPolicy(id: "p")])
    let id = bench.submit(deadline: bench.now + .seconds(5))
    bench.settle(id, .failed(retryAfter: .seconds(6)), answer: true)
    #expect(bench.outcome(id) == .upstreamError)
    // No more than an hour is believed, and no less than a millisecond.
    let long = bench.submit(deadline: bench.now + .seconds(3700))
    bench.settle(long, .failed(retryAfter: .seconds(86_400), isAway: true), answer: true)
    #expect(bench.outcome(long) == .upstreamError)
    bench.run(for: .seconds(3600))
    let late = bench.submit()
    #expect(bench.isGranted(late))
  }

  @Test func anotherProviderIsTriedAtOnceWhateverTheTime() {
    var bench = Self.bench([ProviderPolicy(id: "p"), ProviderPolicy(id: "q")])
    let id = bench.submit(to: ["p", "q"])
    bench.settle(id, .failed(retryAfter: .seconds(60)), answer: true)
    #expect(bench.grant(id)?.provider == "q")
  }

  @Test func theLastRealAnswerIsPassedOn() {
    var bench = Self.bench([ProviderPolicy(id: "p", retry: RetryPolicy(attempts: 1))])
    let id = bench.submit()
    bench.settle(id, .failed(), answer: true)
    #expect(bench.outcome(id) == .upstreamError)
  }

  @Test func nothingIsRetriedAfterTheFirstByteOrWhenTheClientHasLeft() {
    var bench = Self.bench([ProviderPolicy(id: "p")])
    let begun = bench.submit()
    bench.settle(begun, .failed(), began: true)
    #expect(bench.outcome(begun) == .upstreamError)
    let left = bench.submit()
    bench.send(.cancelled(left))
    bench.settle(left, .failed())
    #expect(bench.outcome(left) == .clientLeftRunning)
    let cut = bench.submit()
    bench.settle(cut, .truncated, began: true)
    #expect(bench.outcome(cut) == .truncated)
    let wrong = bench.submit()
    bench.settle(wrong, .clientError, answer: true)
    #expect(bench.outcome(wrong) == .upstreamError)
  }

  @Test func theNextProviderIsTriedAtOnce() {
    var bench = Self.bench([ProviderPolicy(id: "p"), ProviderPolicy(id: "q")])
    for _ in 0..<1000 {
      let id = bench.submit(to: ["p", "q"])
      if bench.grant(id)?.provider == "p" { bench.settle(id, .failed()) }
      #expect(bench.grant(id)?.provider == "q")
      bench.settle(id)
      #expect(bench.outcome(id) == .completed)
    }
    #expect(bench.grants.filter { $0.provider == "p" }.count == 5)
  }

  @Test func aThrottleCostsNoAttemptAndOneProbeGoesFirst() {
    var bench = Self.bench([ProviderPolicy(id: "p", limits: Limits(concurrency: 10), retry: RetryPolicy(attempts: 1))])
    let first = bench.submit(.low, session: "a")
    bench.settle(first, .throttled(retryAfter: .seconds(1)), answer: true)
    #expect(bench.outcome(first) == nil)
    #expect(bench.core.blocker(of: first, at: bench.now) == .modelClosed("p", model: "m"))
    var ids: [RequestID] = []
    for number in 0..<29 { ids.append(bench.submit(.normal, session: SessionID("s\(number)"))) }
    let steer = bench.submit(.high, session: "u")
    #expect(bench.grants.count == 1)
    // Each second the provider refuses the probe, and only the probe.
    for second in 1...3 {
      bench.run(for: .seconds(1))
      #expect(bench.grants.count == 1 + second)
      #expect(bench.isGranted(steer))
      if second < 3 { bench.settle(steer, .throttled(retryAfter: .seconds(1)), answer: true) }
    }
    bench.settle(steer)
    #expect(bench.grants.count > 4)
    var seen = 4
    while seen < bench.grants.count {
      bench.settle(bench.grants[seen].request)
      seen += 1
    }
    for id in ids + [first, steer] { #expect(bench.outcome(id) == .completed) }
    #expect(bench.order.last == first.low)
  }

  @Test func aThrottleBeyondTheDeadlineIsPassedOn() {
    var bench = Self.bench([ProviderPolicy(id: "p")])
    let id = bench.submit(deadline: bench.now + .seconds(5))
    bench.settle(id, .throttled(retryAfter: .seconds(10)), answer: true)
    #expect(bench.outcome(id) == .upstreamError)
    let late = bench.submit(deadline: bench.now + .seconds(5))
    #expect(bench.outcome(late) == .rejectedNoCapacity)
    let patient = bench.submit(deadline: bench.now + .seconds(15))
    #expect(bench.outcome(patient) == nil)
  }

  @Test func aStreamThatAnswersIsProofEnough() throws {
    var bench = Self.bench([ProviderPolicy(id: "p")])
    let id = bench.submit()
    bench.settle(id, .throttled(retryAfter: .seconds(1)), answer: true)
    let other = bench.submit(session: "b")
    bench.run(for: .seconds(1))
    #expect(bench.isGranted(other) && bench.grant(id)?.attempt == 1)
    let lease = try #require(bench.grant(other)?.lease)
    bench.send(.progressed(lease, Progress(inputTokens: nil, outputTokens: 1)))
    #expect(bench.grant(id)?.attempt == 2)
  }

  @Test func anOpenBreakerMakesWaitAndProbes() {
    let breaker = BreakerPolicy(failures: 2, recovery: .seconds(10))
    var bench = Self.bench([ProviderPolicy(id: "p", breaker: breaker, retry: RetryPolicy(attempts: 1))])
    let running = [bench.submit(), bench.submit()]
    let waitingShort = { (bench: inout Bench) in bench.submit(deadline: bench.now + .seconds(2)) }
    for id in running { bench.settle(id, .failed()) }
    let short = waitingShort(&bench)
    #expect(bench.outcome(short) == .rejectedNoCapacity)
    #expect((9...10).contains((bench.conclusions.last?.retryAfter?.wholeMilliseconds ?? 0) / 1000))
    let waiting = (0..<5).map { bench.submit(session: SessionID("\($0)")) }
    #expect(bench.core.blocker(of: waiting[0], at: bench.now) == .breakerOpen("p"))
    bench.run(for: .seconds(10))
    #expect(bench.grants.count == 3)
    bench.settle(waiting[0])
    for id in waiting { #expect(bench.isGranted(id)) }
  }

  @Test func whenOpenRejectDoesNotWait() {
    let breaker = BreakerPolicy(failures: 1, recovery: .seconds(1), whenOpen: .reject)
    var bench = Self.bench([
      ProviderPolicy(id: "p", limits: Limits(concurrency: 1), breaker: breaker, retry: RetryPolicy(attempts: 1))
    ])
    let first = bench.submit()
    let queued = bench.submit()
    bench.settle(first, .failed())
    #expect(bench.outcome(queued) == .rejectedNoCapacity)
    let late = bench.submit()
    #expect(bench.outcome(late) == .rejectedNoCapacity)
    bench.pass(.seconds(1))
    let probe = bench.submit()
    #expect(bench.isGranted(probe))
  }

  @Test func perKeyQuotaCoolsTheKeyAndSharedTheProvider() {
    for quota in [Quota.perKey, .shared] {
      var bench = Self.bench([ProviderPolicy(id: "p", keys: [KeyPolicy(id: "a"), KeyPolicy(id: "b")], quota: quota)])
      let id = bench.submit()
      bench.settle(id, .throttled(retryAfter: .seconds(5)), answer: true)
      #expect((bench.grant(id)?.attempt == 2) == (quota == .perKey))
    }
  }

  @Test func theOperatorOpensAndClosesABreaker() {
    var bench = Self.bench([ProviderPolicy(id: "p", limits: Limits(concurrency: 1))])
    let running = bench.submit()
    let queued = bench.submit()
    bench.send(.operatorCommanded(.openBreaker("p")))
    #expect(bench.outcome(queued) == .rejectedNoCapacity)
    bench.settle(running)
    #expect(bench.outcome(running) == .completed)
    bench.send(.operatorCommanded(.automateBreaker("p")))
    let fine = bench.submit()
    #expect(bench.isGranted(fine))
  }

  @Test func a429WithoutNumbersShrinksConcurrency() {
    var bench = Self.bench([ProviderPolicy(id: "p")])
    let ids = (0..<20).map { _ in bench.submit() }
    for id in ids[15...] { bench.settle(id, .throttled(retryAfter: nil), answer: true) }
    let learned = bench.core.snapshot(at: bench.now).providers[0].learned
    #expect(learned.map(\.quantity) == [.concurrency] && learned.first?.value == 10 && learned.first?.model == "m")
    #expect(bench.conclusions.isEmpty)
  }

  /// Who reads that a limit was learned must know whose it is: here that of a model, of a model with an entry, of a key.
  @Test func aLearnedLimitNamesItsModelOrKey() {
    let limits = Limits(concurrency: 30)
    let listed = ProviderPolicy(id: "p", modelLimits: [ModelLimits(models: "m*", limits: limits)])
    // Of the two numbers the lower one holds.
    let keys = [KeyPolicy(id: "k", limits: Limits(concurrency: 50))]
    let perKey = ProviderPolicy(id: "p", limits: limits, keys: keys, quota: .perKey)
    for (policy, model, key) in [
      (ProviderPolicy(id: "p"), "m", nil), (listed, "m*", nil), (perKey, nil, "k"),
    ] as [(ProviderPolicy, String?, KeyID?)] {
      var bench = Self.bench([policy])
      let ids = (0..<20).map { _ in bench.submit() }
      for id in ids[15...] { bench.settle(id, .throttled(retryAfter: nil), answer: true) }
      let told = bench.notices.compactMap { notice -> String? in
        guard case .concurrencyChanged(let provider, let model, let key, let limit) = notice else { return nil }
        return "\(provider) \(model ?? "-") \(key?.name ?? "-") \(limit)"
      }
      #expect(told == ["p \(model ?? "-") \(key?.name ?? "-") 10"])
      let provider = bench.core.snapshot(at: bench.now).providers[0]
      #expect(provider.learned.map(\.model) == [model] && provider.learned.map(\.key) == [key])
      let limits =
        provider.models.map { ($0.concurrencyLimit, $0.policyConcurrency, $0.isLearned) }
        + provider.keys.map { ($0.concurrencyLimit, $0.policyConcurrency, $0.isLearned) }
      #expect(limits.count == (policy == ProviderPolicy(id: "p") ? 0 : 1))
      #expect(limits.allSatisfy { $0 == (10, 30, true) }, "\(limits)")
    }
  }

  /// Permits that lag are the provider's neighbours of a refused call, though nobody runs any more.
  @Test func aRefusalBesideLaggingPermitsIsAboutCallsAtATime() {
    var bench = Self.bench([ProviderPolicy(id: "p", settleLag: .milliseconds(200))])
    for id in (0..<12).map({ _ in bench.submit() }) { bench.settle(id) }
    let refused = bench.submit()
    bench.settle(refused, .throttled(retryAfter: nil), answer: true)
    #expect(bench.core.snapshot(at: bench.now).providers[0].learned.first?.value == 6)
    #expect(!bench.notices.contains { if case .limitLearned = $0 { true } else { false } })
  }

  @Test func estimatesAreLearned() {
    var bench = Self.bench([ProviderPolicy(id: "p")])
    for _ in 0..<50 {
      let id = bench.submit(input: 1000, cap: 32_000)
      bench.settle(id, input: 1300, output: 90)
    }
    let id = bench.submit(input: 1000, cap: 32_000)
    #expect((1250...1300).contains(bench.grant(id)?.reservedInput ?? 0))
    #expect((90...112).contains(bench.grant(id)?.reservedOutput ?? 0))
    let small = bench.submit(input: 1000, cap: 5)
    #expect(bench.grant(small)?.reservedOutput == 5)
  }

  /// A call that was sent at once and failed waits with its prompt, which may expire meanwhile (rule 2c).
  @Test func aRetryHurriesWhereItsPromptExpires() throws {
    var bench = Bench(limits: Limits(concurrency: 1), bands: Bench.plainBands)
    let id = bench.submit(session: "warm", input: 50_000)
    let first = try #require(bench.grant(id))
    let usage = Usage(inputTokens: 50_000, cacheWriteTokens: 50_000)
    bench.send(.settled(first.lease, Settlement(verdict: .success, usage: usage)))
    bench.run(for: .seconds(250))
    let again = bench.submit(session: "warm", input: 50_100)
    let others = [bench.submit(session: "a"), bench.submit(session: "b")]
    bench.settle(again, .failed(retryAfter: nil, isAway: false), answer: true)
    bench.run(for: .seconds(2))
    #expect(bench.isGranted(others[0]) && bench.grant(again)?.attempt == 1)
    bench.settle(others[0])
    #expect(bench.grant(again)?.attempt == 2 && !bench.isGranted(others[1]))
  }
}
