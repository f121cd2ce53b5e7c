// Limits of rates by the second, the minute and the day, and what may go at once.
import Testing

@testable import AdmissionCore

@Suite struct RateLimitTests {
  private let start = Instant(nanoseconds: 1_000_000_000_000)

  private func bench(_ limits: Limits, tenant: Limits = Limits()) -> Bench {
    Bench(
      AdmissionPolicy(
        providers: [ProviderPolicy(id: "p", limits: limits)], tenants: [TenantPolicy(id: "t", limits: tenant)]))
  }

  private func granted(_ bench: inout Bench, calls: Int, input: Int64 = 10) -> Int {
    let ids = (0..<calls).map { _ in bench.submit(input: input, cap: 0) }
    return ids.filter { bench.isGranted($0) }.count
  }

  @Test func aSecondRefillsInASecond() {
    var bucket = TokenBucket(.requestsPerSecond, 5, at: start)
    #expect(bucket.reserve(5, at: start) == 5)
    #expect(!bucket.isCovered(1, keeping: 0, at: start + .milliseconds(199)))
    #expect(bucket.isCovered(1, keeping: 0, at: start + .milliseconds(200)))
    #expect(bucket.instantCovered(2, keeping: 0, at: start) == start + .milliseconds(400))
    #expect(bucket.available(at: start + .seconds(3600)) == 5)
  }

  @Test func aBurstBoundsWhatGoesAtOnceAndNotTheRate() {
    // 600 a minute are ten a second; ten seconds of refill are a hundred.
    var bucket = TokenBucket(.requestsPerMinute, 600, burst: .seconds(10), at: start)
    #expect(bucket.capacity == 100 && bucket.limit == 600)
    #expect(bucket.isCovered(99, keeping: 0, at: start) && bucket.isCovered(100, keeping: 0, at: start))
    #expect(bucket.isCovered(90, keeping: 10, at: start))
    #expect(bucket.reserve(100, at: start) == 100)
    #expect(bucket.available(at: start + .seconds(1)) == 10)
    #expect(bucket.isCovered(10, keeping: 0, at: start + .seconds(1)))
    #expect(!bucket.isCovered(11, keeping: 0, at: start + .seconds(1)))
    #expect(bucket.available(at: start + .seconds(60)) == 100)
    #expect(TokenBucket(.requestsPerMinute, 600, burst: .seconds(60), at: start).capacity == 600)
    #expect(TokenBucket(.requestsPerMinute, 2, burst: .milliseconds(1), at: start).capacity == 1)
    #expect(TokenBucket(.tokensPerDay, 86_400, burst: .seconds(60), at: start).capacity == 60)
    // Smaller than a burst's worth, a request takes all of it and leaves a debt.
    bucket.settle(taken: 100, actual: 300, at: start + .seconds(60))
    #expect(bucket.available(at: start + .seconds(60)) == -100)
    bucket.resize(600, burst: .seconds(20), at: start + .seconds(60))
    #expect(bucket.capacity == 200 && bucket.available(at: start + .seconds(60)) == 0)
  }

  /// However shallow the bucket is, calls that are larger than it do not pass the limit of the whole minute.
  @Test func aCallLargerThanABurstOwesTheRest() {
    var bucket = TokenBucket(.tokensPerMinute, 60_000, burst: .seconds(1), at: start)
    #expect(bucket.isCovered(30_000, keeping: 0, at: start))
    #expect(bucket.reserve(30_000, at: start) == 30_000)
    #expect(bucket.available(at: start) == -29_000)
    #expect(bucket.instantCovered(30_000, keeping: 0, at: start) == start + .seconds(30))
    // At most a minute's units are taken at once, and at most five minutes' are owed.
    #expect(bucket.reserve(100_000, at: start + .seconds(30)) == 60_000)
    bucket.settle(taken: 60_000, actual: 1_000_000, at: start + .seconds(30))
    #expect(bucket.available(at: start + .seconds(30)) == -300_000)
  }

  @Test func aDayIsFullAgainWhenItEndsAndNotBefore() {
    let end = start + .seconds(3600)
    var bucket = TokenBucket(.requestsPerDay, 10, dayEnd: end, at: start)
    #expect(bucket.reserve(10, at: start) == 10)
    #expect(bucket.available(at: end + Span(nanoseconds: -1)) == 0)
    #expect(bucket.instantCovered(1, keeping: 0, at: start) == end)
    #expect(bucket.available(at: end) == 10)
    #expect(bucket.reserve(4, at: end) == 4)
    #expect(bucket.dayEnd == end + .seconds(86_400))
    #expect(bucket.available(at: end + .seconds(86_399)) == 6)
    #expect(bucket.reserve(1, at: end + .seconds(10 * 86_400 + 5)) == 1)
    #expect(bucket.dayEnd == end + .seconds(11 * 86_400))
  }

  @Test func requestsPerSecondHoldAtAProvider() {
    var bench = bench(Limits(requestsPerSecond: 3))
    #expect(granted(&bench, calls: 10) == 3)
    // An eighth of the bucket's depth is left to the first calls for their way.
    bench.run(for: .milliseconds(1124))
    #expect(bench.grants.count == 5)
    bench.run(for: .milliseconds(1))
    #expect(bench.grants.count == 6)
  }

  @Test func perMinuteAndPerSecondHoldBeside() {
    var bench = bench(Limits(requestsPerMinute: 4, requestsPerSecond: 3))
    #expect(granted(&bench, calls: 10) == 3)
    bench.run(for: .seconds(1))
    #expect(bench.grants.count == 4)
  }

  private func left(_ bench: Bench, at holder: KeyPath<AdmissionSnapshot, [AdmissionSnapshot.Bucket]>) -> [String:
    Int64]
  {
    let buckets = bench.core.snapshot(at: bench.now)[keyPath: holder]
    return Dictionary(uniqueKeysWithValues: buckets.map { ($0.rate.name, $0.available) })
  }

  /// The usual pair: what a stream grows by is charged to both, once each, and what is over goes back to each as it was taken.
  @Test func aStreamIsChargedToEachOfTwoTokenLimits() throws {
    let limits = Limits(requestsPerMinute: 100, tokensPerMinute: 100_000, requestsPerDay: 500, tokensPerDay: 1_000_000)
    var bench = bench(limits, tenant: limits)
    let id = bench.submit(input: 512, cap: 0)
    let lease = try #require(bench.grant(id)?.lease)
    func expect(_ tokens: Int64, _ requests: Int64, _ step: String) {
      for holder in [\AdmissionSnapshot.providers[0].buckets, \AdmissionSnapshot.tenants[0].buckets] {
        #expect(
          left(bench, at: holder) == [
            "requests": 100 - requests, "tokens": 100_000 - tokens, "requests_per_day": 500 - requests,
            "tokens_per_day": 1_000_000 - tokens,
          ], "\(step)")
      }
    }
    expect(512, 1, "granted")
    bench.send(.progressed(lease, Progress(inputTokens: nil, outputTokens: 5000)))
    expect(5512, 1, "grown")
    bench.send(.progressed(lease, Progress(inputTokens: nil, outputTokens: 5001)))
    expect(5513, 1, "grown by one")
    bench.settle(id, input: 512, output: 5500)
    expect(6012, 1, "over")
    #expect(bench.core.providers[0].capacity.outstanding == .zero)
  }

  /// Larger than the minute, and not than the day: the minute's bucket gave what it had, and owes the rest.
  @Test(arguments: [(5000, -4000), (3000, -2000), (1000, 0), (999, 1)] as [(Int64, Int64)])
  func aCallLargerThanTheMinuteIsADebtThereAndNotInTheDay(used: Int64, minute: Int64) {
    var bench = bench(Limits(tokensPerMinute: 1000, tokensPerDay: 100_000))
    let id = bench.submit(input: 5000, cap: 0)
    #expect(left(bench, at: \.providers[0].buckets) == ["tokens": 0, "tokens_per_day": 95_000])
    bench.settle(id, input: used, output: 0)
    #expect(left(bench, at: \.providers[0].buckets) == ["tokens": minute, "tokens_per_day": 100_000 - used])
  }

  @Test func whatIsChargedUpFrontStaysChargedInBoth() {
    var bench = Bench(
      AdmissionPolicy(providers: [
        ProviderPolicy(
          id: "p", limits: Limits(tokensPerMinute: 1000, tokensPerDay: 100_000), admissionTokens: .maxTokens)
      ]))
    let id = bench.submit(input: 100, cap: 5000)
    #expect(left(bench, at: \.providers[0].buckets) == ["tokens": 0, "tokens_per_day": 95_000])
    bench.settle(id, input: 100, output: 10)
    #expect(left(bench, at: \.providers[0].buckets) == ["tokens": 0, "tokens_per_day": 95_000])
  }

  @Test func aDaysLimitHoldsForTokensAndAnotherDayGivesThemAgain() {
    // For the high class, which nothing is kept back from.
    var bench = bench(Limits(tokensPerDay: 100))
    bench.send(.dayBegan(Day(serial: 20_000, end: bench.now + .seconds(50))))
    for _ in 0..<2 {
      let id = bench.submit(.high, input: 50, cap: 0)
      bench.settle(id, input: 50, output: 0)
    }
    let waits = bench.submit(.high, input: 50, cap: 0)
    #expect(!bench.isGranted(waits))
    #expect(bench.core.blocker(of: waits, at: bench.now) != nil)
    bench.run(for: .seconds(49))
    #expect(!bench.isGranted(waits))
    bench.run(for: .seconds(1))
    #expect(bench.isGranted(waits))
  }

  /// Without headroom, and with an hour of patience.
  private func patient(_ limits: Limits) -> Bench {
    Bench(AdmissionPolicy(providers: [ProviderPolicy(id: "p", limits: limits)], bands: Bench.plainBands))
  }

  private func tell(_ bench: inout Bench, _ id: RequestID, _ reading: ObservedLimits.Reading) throws {
    let lease = try #require(bench.grant(id)?.lease)
    bench.send(.limitsObserved(lease, ObservedLimits(readings: [reading])))
  }

  /// The vendor's day ends in five minutes, ours in two hours; told by what the header says of itself, or by its limit alone.
  @Test(arguments: [ObservedLimits.DayReset.atOnce, nil]) func aDayEndsWhenTheVendorSays(
    _ day: ObservedLimits.DayReset?
  )
    throws
  {
    var bench = patient(Limits(requestsPerDay: 3))
    let midnight = bench.now + .seconds(7200)
    bench.send(.dayBegan(Day(serial: 20_000, end: midnight)))
    let ids = (0..<3).map { _ in bench.submit(input: 10, cap: 0) }
    for id in ids {
      let told: Int64? = day == nil ? 3 : nil
      try tell(
        &bench, id, .init(dimension: .requests, limit: told, remaining: 0, fullIn: .seconds(300), told: told, day: day))
      bench.settle(id)
    }
    // Nobody takes it for a limit by the minute, and looking at the calendar changes nothing.
    #expect(bench.core.snapshot(at: bench.now).providers[0].buckets.map(\.rate) == [.requestsPerDay])
    bench.send(.dayBegan(Day(serial: 20_000, end: midnight)))
    bench.send(.policyReplaced(bench.core.policy))
    let waits = bench.submit(input: 10, cap: 0)
    bench.run(for: Span(nanoseconds: 299_999_999_999))
    #expect(!bench.isGranted(waits))
    bench.run(for: Span(nanoseconds: 1))
    #expect(bench.isGranted(waits))
    // At midnight nothing begins there.
    bench.pass(.seconds(6900))
    bench.send(.dayBegan(Day(serial: 20_001, end: bench.now + .seconds(86_400))))
    #expect(left(bench, at: \.providers[0].buckets) == ["requests_per_day": 2])
  }

  @Test func aDayThatComesBackBitByBitIsNotWaitedForAsAWhole() throws {
    var bench = patient(Limits(requestsPerDay: 24))
    bench.send(.dayBegan(Day(serial: 20_000, end: bench.now + .seconds(80_000))))
    let ids = (0..<24).map { _ in bench.submit(input: 10, cap: 0) }
    try tell(
      &bench, ids[0],
      .init(dimension: .requests, remaining: 0, fullIn: .seconds(86_400), told: 24, day: .gradually))
    bench.send(.policyReplaced(bench.core.policy))
    for id in ids { bench.settle(id) }
    // One an hour: the whole wait of a call.
    bench.run(for: Span(nanoseconds: 3_599_999_999_999))
    let waits = (0..<2).map { _ in bench.submit(input: 10, cap: 0) }
    #expect(!bench.isGranted(waits[0]))
    bench.run(for: Span(nanoseconds: 1))
    #expect(bench.isGranted(waits[0]) && !bench.isGranted(waits[1]))
  }

  /// A minute's header says nothing of the day, and a day's fills no minute.
  @Test func whatIsAboutTheMinuteMovesNoDayAndTheOtherWayRound() throws {
    let end = Instant(nanoseconds: 5_000_000_000_000)
    var bench = bench(Limits(requestsPerMinute: 10, requestsPerDay: 10, tokensPerDay: 5000))
    bench.send(.dayBegan(Day(serial: 20_000, end: end)))
    let ids = (0..<5).map { _ in bench.submit(input: 10, cap: 0) }
    try tell(&bench, ids[0], .init(dimension: .requests, limit: 10, remaining: 5, fullIn: .seconds(30)))
    try tell(&bench, ids[0], .init(dimension: .tokens, limit: 600, remaining: 500, fullIn: .seconds(30)))
    func ends() -> [Instant?] { bench.core.providers[0].capacity.buckets.filter(\.isDays).map(\.dayEnd) }
    #expect(ends() == [end, end])
    try tell(
      &bench, ids[0],
      .init(dimension: .requests, remaining: 900, fullIn: .seconds(30), told: 1000, day: .atOnce))
    #expect(ends() == [bench.now + .seconds(30), end])
    #expect(left(bench, at: \.providers[0].buckets)["requests"] == 5)
    for wrong in [Span.zero, Span(nanoseconds: -1), .seconds(86_401), Span(nanoseconds: .max)] {
      try tell(
        &bench, ids[0], .init(dimension: .requests, remaining: 900, fullIn: wrong, told: 1000, day: .atOnce))
    }
    #expect(ends() == [bench.now + .seconds(30), end])
    try tell(
      &bench, ids[0], .init(dimension: .requests, remaining: 2, fullIn: .seconds(86_400), told: 1000, day: .atOnce))
    #expect(ends() == [bench.now + .seconds(86_400), end])
    #expect(left(bench, at: \.providers[0].buckets)["requests"] == 2)
  }

  @Test func aClockThatIsSetOnBeginsADayAndOneThatIsSetBackDoesNot() {
    var bench = bench(Limits(requestsPerDay: 2))
    bench.send(.dayBegan(Day(serial: 20_000, end: bench.now + .seconds(5000))))
    #expect(granted(&bench, calls: 3) == 2)
    bench.send(.dayBegan(Day(serial: 19_999, end: bench.now + .seconds(50_000))))
    #expect(bench.grants.count == 2)
    bench.send(.dayBegan(Day(serial: 20_000, end: bench.now + .seconds(5000))))
    bench.send(.dayBegan(Day(serial: 20_001, end: bench.now + .seconds(80_000))))
    #expect(bench.grants.count == 3)
  }

  @Test func aTenantsDayHoldsItBackAndNobodyElse() {
    var bench = bench(Limits(), tenant: Limits(requestsPerDay: 1))
    bench.send(.dayBegan(Day(serial: 20_000, end: bench.now + .seconds(5000))))
    #expect(granted(&bench, calls: 2) == 1)
    let other = bench.submit(tenant: "u", input: 10, cap: 0)
    #expect(bench.isGranted(other))
  }

  @Test func aRestartKnowsTheDay() {
    var bench = Bench(
      AdmissionPolicy(
        providers: [
          ProviderPolicy(
            id: "p", limits: Limits(requestsPerDay: 10, tokensPerDay: 1000),
            modelLimits: [ModelLimits(models: "m", limits: Limits(requestsPerDay: 5))],
            keys: [KeyPolicy(id: "k", limits: Limits(requestsPerDay: 6))])
        ], tenants: [TenantPolicy(id: "t", limits: Limits(tokensPerDay: 800))]))
    bench.send(.dayBegan(Day(serial: 20_000, end: bench.now + .seconds(5000))))
    bench.send(
      .daySumsRestored([
        DaySum(
          tenant: "t", provider: "p", key: "k", model: "m", requests: 3,
          usage: Usage(inputTokens: 300, cacheReadTokens: 100, outputTokens: 50)),
        DaySum(
          tenant: "t", provider: "gone", key: nil, model: "m", requests: 1, usage: Usage(inputTokens: 7)),
      ]))
    let snapshot = bench.core.snapshot(at: bench.now)
    func left(_ buckets: [AdmissionSnapshot.Bucket]) -> [String: Int64] {
      Dictionary(uniqueKeysWithValues: buckets.map { ($0.rate.name, $0.available) })
    }
    #expect(left(snapshot.providers[0].buckets) == ["requests_per_day": 7, "tokens_per_day": 750])
    #expect(left(snapshot.providers[0].models[0].buckets) == ["requests_per_day": 2])
    #expect(left(snapshot.tenants.first { $0.id == "t" }?.buckets ?? []) == ["tokens_per_day": 443])
    #expect(granted(&bench, calls: 4) == 2)
  }

  @Test func aNewPolicyKeepsWhatWasUsed() {
    var bench = bench(Limits(requestsPerDay: 5))
    bench.send(.dayBegan(Day(serial: 20_000, end: bench.now + .seconds(5000))))
    #expect(granted(&bench, calls: 3) == 3)
    bench.send(
      .policyReplaced(
        AdmissionPolicy(
          providers: [ProviderPolicy(id: "p", limits: Limits(requestsPerSecond: 100, requestsPerDay: 4))],
          tenants: [TenantPolicy(id: "t")])))
    #expect(granted(&bench, calls: 3) == 1)
    bench.run(for: .seconds(5000))
    #expect(bench.core.snapshot(at: bench.now).providers[0].buckets.contains { $0.rate == .requestsPerDay })
  }

  /// With a burst a day's limit refills all the time: a restart asks the last minutes what is left, not the whole day.
  @Test func aDaysBurstKnowsTheLastMinutesAfterARestart() {
    var bench = bench(Limits(tokensPerDay: 86_400, bursts: [.tokensPerDay: .seconds(60)]))
    bench.send(.dayBegan(Day(serial: 20_000, end: bench.now + .seconds(5000))))
    bench.send(
      .daySumsRestored([
        DaySum(tenant: "t", provider: "p", key: nil, model: "m", requests: 3, usage: Usage(inputTokens: 40_000))
      ]))
    #expect(left(bench, at: \.providers[0].buckets) == ["tokens_per_day": 60])
    bench.send(
      .restored([
        PastAttempt(
          request: RequestID(high: 9, low: 1), age: .seconds(10), tenant: "t", provider: "p", key: nil, model: "m",
          usage: Usage(inputTokens: 50))
      ]))
    #expect(left(bench, at: \.providers[0].buckets) == ["tokens_per_day": 20])
  }

  @Test func aDaysLimitThatAReloadBringsBeginsWithWhatTheDayHasUsed() {
    var bench = bench(Limits(requestsPerDay: 10))
    bench.send(.dayBegan(Day(serial: 20_000, end: bench.now + .seconds(5000))))
    let before = bench.submit(input: 50, cap: 0)
    bench.settle(before, input: 50, output: 0)
    let running = bench.submit(input: 50, cap: 0)
    bench.send(
      .policyReplaced(
        AdmissionPolicy(
          providers: [ProviderPolicy(id: "p", limits: Limits(requestsPerDay: 10, tokensPerDay: 1000))],
          tenants: [TenantPolicy(id: "t")])))
    let later = bench.submit(input: 50, cap: 0)
    func restore() {
      bench.send(
        .daySumsRestored([
          DaySum(tenant: "t", provider: "p", key: nil, model: "m", requests: 1, usage: Usage(inputTokens: 50)),
          DaySum(tenant: "u", provider: "p", key: nil, model: "n", requests: 2, usage: Usage(inputTokens: 300)),
        ]))
    }
    restore()
    // Of three requests it knew two, one of them running; of tokens the 50 that run.
    #expect(left(bench, at: \.providers[0].buckets) == ["requests_per_day": 5, "tokens_per_day": 600])
    // Told again it counts nothing twice.
    restore()
    bench.settle(later, input: 50, output: 0)
    bench.settle(running, input: 60, output: 0)
    #expect(left(bench, at: \.providers[0].buckets) == ["requests_per_day": 5, "tokens_per_day": 540])
  }

  @Test func learningFollowsTheMinuteAlone() {
    var bench = bench(Limits(requestsPerMinute: 100, requestsPerDay: 1000))
    let id = bench.submit(input: 10, cap: 0)
    if let lease = bench.grant(id)?.lease {
      bench.send(
        .limitsObserved(
          lease, ObservedLimits(readings: [.init(dimension: .requests, limit: 100, remaining: 7)])))
    }
    let buckets = bench.core.snapshot(at: bench.now).providers[0].buckets
    #expect(buckets.first { $0.rate == .requestsPerMinute }?.available == 7)
    #expect(buckets.first { $0.rate == .requestsPerDay }?.available == 999)
  }
}
