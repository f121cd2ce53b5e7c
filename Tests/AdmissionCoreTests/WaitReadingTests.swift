// What is told of a wait: its blocker in numbers, its place, the rest of it, and who went ahead by which rule.
import PolicyLab
import Testing
import TollgateTesting

@testable import AdmissionCore

@Suite struct WaitReadingTests {
  private func at(_ seconds: Double) -> Instant { Instant(nanoseconds: Int64(seconds * 1e9)) }

  // MARK: Numbers

  @Test func aBucketTellsWhatIsMissingAndWhenItIsThere() throws {
    var bench = Bench(limits: Limits(inputTokensPerMinute: 60_000), bands: Bench.plainBands)
    bench.submit(session: "a", input: 50_000)
    let waits = bench.submit(session: "b", input: 40_000)
    let reading = try #require(bench.core.reading(of: waits, at: bench.now))
    #expect(reading.blocker == .providerBucket("p", .inputTokens) && reading.provider == "p")
    #expect(reading.available == 10_000 && reading.beforeInLane == 0)
    let needed = try #require(reading.needed)
    #expect(needed >= 40_000)
    #expect(reading.thereAt == bench.now + .milliseconds(needed - 10_000))
    let rest = try #require(bench.core.predictedRest(of: waits, at: bench.now))
    #expect(rest == .milliseconds(needed - 10_000))
    // It is there when it was said to be.
    let there = try #require(reading.thereAt)
    bench.run(for: there - bench.now)
    #expect(bench.isGranted(waits))
  }

  @Test func whatIsKeptForOthersIsNotThere() throws {
    var bands = Bench.plainBands
    bands[0].reserve = .share(basisPoints: 2000)
    var bench = Bench(limits: Limits(inputTokensPerMinute: 10_000), bands: bands)
    bench.submit(.high, session: "a", input: 7000)
    let waits = bench.submit(.low, session: "b", input: 2000)
    let reading = try #require(bench.core.reading(of: waits, at: bench.now))
    #expect(reading.available == 1000, "3,000 are left, of which 2,000 are kept for high")
  }

  @Test func aTenantsBucketAndAClosureTellTheirEnds() throws {
    var bench = Bench(
      AdmissionPolicy(
        providers: [ProviderPolicy(id: "p", limits: Limits(concurrency: 2))], bands: Bench.plainBands,
        tenants: [TenantPolicy(id: "t", limits: Limits(requestsPerMinute: 1))]))
    bench.submit()
    let limited = bench.submit(session: "b")
    let reading = try #require(bench.core.reading(of: limited, at: bench.now))
    #expect(reading.blocker == .tenantBucket("t", .requests) && reading.needed == 1 && reading.available == 0)
    #expect(reading.thereAt == bench.now + .seconds(60) && reading.provider == nil)
    let rest = try #require(bench.core.predictedRest(of: limited, at: bench.now))
    #expect(rest == .seconds(60))

    let paused = bench.submit(tenant: "other")
    bench.settle(paused, .throttled(retryAfter: .seconds(30)))
    let behind = bench.submit(tenant: "other", session: "c")
    let closed = try #require(bench.core.reading(of: behind, at: bench.now))
    let until = try #require(closed.thereAt)
    #expect(until >= bench.now + .seconds(30) && until < bench.now + .seconds(40), "\(closed)")
  }

  @Test func placesAreCountedFromTheHead() throws {
    var bench = Bench(limits: Limits(concurrency: 1), bands: Bench.plainBands)
    bench.submit()
    let calls = (0..<5).map { _ in bench.submit(session: "s") }
    for (before, call) in calls.enumerated() {
      let standing = try #require(bench.core.waitReading(of: call, at: bench.now))
      #expect(standing.reading.beforeInLane == before && standing.beforeInClass == before)
    }
    // Another session takes turns with it.
    let other = bench.submit(session: "other")
    let last = try #require(bench.core.waitReading(of: calls[4], at: bench.now))
    #expect(last.reading.beforeInLane == 4 && last.beforeInClass == 5)
    let first = try #require(bench.core.waitReading(of: other, at: bench.now))
    #expect(first.beforeInClass <= 1)
    #expect(bench.core.waitReading(of: RequestID(high: 9, low: 9), at: bench.now) == nil)
  }

  /// A question changes nothing, and a lane of any length is counted.
  @Test func retriesStandBeforeNewcomers() throws {
    var bench = Bench(limits: Limits(concurrency: 1), bands: Bench.plainBands)
    bench.submit()
    let newcomers = (0..<3).map { _ in bench.submit(session: "s") }
    let retry = bench.submit(session: "s", retries: 1)
    func before(_ id: RequestID) -> Int? { bench.core.reading(of: id, at: bench.now)?.beforeInLane }
    #expect(before(retry) == 0 && newcomers.map(before) == [1, 2, 3])
  }

  @Test func whoBecomesTheFirstOfItsLaneIsTold() {
    var bench = Bench(limits: Limits(concurrency: 1), bands: Bench.plainBands)
    let running = bench.submit()
    bench.submit(session: "s")
    bench.submit(session: "s")
    let told = bench.blockers.count
    bench.settle(running)
    #expect(bench.blockers[told...].contains("not_its_turn"))
  }

  @Test func aClassThatNobodyWaitsInIsToldFromTheClassesAbove() throws {
    var bench = Bench(limits: Limits(tokensPerMinute: 6000), bands: Bench.plainBands)
    #expect(bench.core.snapshot(at: bench.now).classes.map(\.predictedWait) == [.zero, .zero, .zero])
    bench.submit(.high, input: 6000)
    for _ in 0..<4 { bench.submit(.high, session: "h", input: 3000) }
    let waits = bench.core.snapshot(at: bench.now).classes.map(\.predictedWait)
    let low = try #require(waits[2])
    // Four calls of what is typical so far, 6,000 tokens at 100 a second, go before it, and its own tokens.
    #expect(low >= .seconds(100) && low <= .seconds(320), "\(low)")
  }

  /// Its calls go to a model whose places are all taken: the next one waits, however many places the provider has.
  @Test func aClassThatNobodyWaitsInIsToldFromTheModelsItUses() throws {
    let full = ModelLimits(models: "m*", limits: Limits(concurrency: 2))
    var bench = Bench(
      AdmissionPolicy(
        providers: [ProviderPolicy(id: "p", limits: Limits(concurrency: 20), modelLimits: [full])],
        bands: Bench.plainBands))
    for _ in 0..<20 {
      let call = bench.submit(.high)
      bench.pass(.seconds(4))
      bench.settle(call)
    }
    bench.submit(.high, session: "a")
    #expect(bench.core.predictedWait(.high, at: bench.now) == .zero)
    bench.submit(.high, session: "b")
    let wait = try #require(bench.core.predictedWait(.high, at: bench.now))
    #expect(wait >= .milliseconds(500) && wait <= .seconds(4), "\(wait)")
    // Nothing of the class runs there.
    #expect(bench.core.predictedWait(.low, at: bench.now) == .zero)
  }

  /// Another provider's breaker is open; no call of the class goes there.
  @Test func aClassIsToldFromTheProvidersItUses() {
    let breaker = BreakerPolicy(failures: 1, recovery: .seconds(60))
    var bench = Bench(
      AdmissionPolicy(
        providers: [ProviderPolicy(id: "p", breaker: breaker), ProviderPolicy(id: "q")], bands: Bench.plainBands))
    bench.settle(bench.submit(.high, to: ["p"]), .failed(retryAfter: nil))
    bench.run(for: .seconds(1))
    #expect(bench.core.predictedWait(.normal, at: bench.now).map { $0 > .seconds(30) } == true)
    bench.submit(.normal, session: "s", to: ["q"])
    #expect(bench.core.predictedWait(.normal, at: bench.now) == .zero)
  }

  /// Their back-offs are over after half a second; then all of them wait for the breaker, not only the first one.
  @Test func afterItsBackoffACallIsToldWhatItWaitsForThen() {
    let breaker = BreakerPolicy(failures: 4, recovery: .seconds(60))
    var bench = Bench(AdmissionPolicy(providers: [ProviderPolicy(id: "p", breaker: breaker)], bands: Bench.plainBands))
    let calls = (0..<4).map { bench.submit(session: SessionID("s\($0)")) }
    for call in calls { bench.settle(call, .failed(retryAfter: nil)) }
    bench.run(for: .seconds(5))
    let last = calls.map { id in
      bench.notices.compactMap { notice -> String? in
        if case .waiting(id, let blocker) = notice { blocker.name } else { nil }
      }.last
    }
    #expect(last == ["breaker_open", "breaker_open", "breaker_open", "breaker_open"])
  }

  /// Two calls of a kind that lasts 50 ms hang: what waits for them is not promised to go at once.
  @Test func callsThatHangMakeTheWaitBehindThemLonger() throws {
    var bench = Bench(limits: Limits(concurrency: 2), bands: Bench.plainBands)
    for _ in 0..<20 {
      let call = bench.submit()
      bench.pass(.milliseconds(50))
      bench.settle(call)
    }
    bench.submit(session: "a")
    bench.submit(session: "b")
    let waiting = bench.submit(session: "c")
    let first = try #require(bench.core.predictedRest(of: waiting, at: bench.now))
    #expect(first < .milliseconds(100))
    bench.pass(.seconds(20))
    let later = try #require(bench.core.predictedRest(of: waiting, at: bench.now))
    #expect(later >= .seconds(5) && later <= .seconds(20))
    let newcomer = try #require(bench.core.predictedWait(.high, at: bench.now))
    #expect(newcomer >= .seconds(5))
  }

  /// Calls of 1 s on two places. One of them always goes to the high calls, which come each second and hardly wait: how
  /// often they are let in counts as much as how often they come.
  @Test func whatIsAlwaysTakenByTheClassAboveIsNotPromisedBelow() throws {
    var bands = Bench.plainBands
    bands[1].shareBasisPoints = 1000
    var bench = Bench(limits: Limits(concurrency: 2), bands: bands)
    var running = [bench.submit(session: "first"), bench.submit(.high, session: "first")]
    let calls = (0..<60).map { bench.submit(session: SessionID("s\($0 % 3)")) }
    var told: [Double] = []
    for second in 0..<30 {
      bench.pass(.milliseconds(500))
      bench.submit(.high, session: "h")
      bench.pass(.milliseconds(500))
      let granted = bench.grants.count
      for call in running { bench.settle(call) }
      running = bench.grants[granted...].map(\.request)
      #expect(running.count == 2)
      if second < 8 { continue }
      let rest = try #require(bench.core.predictedRest(of: calls[59], at: bench.now))
      told.append(Double(rest.nanoseconds) / 1e9)
      let real = Double(59 - second)
      #expect(told[told.count - 1] > real / 2 && told[told.count - 1] < real * 2, "\(told) \(real)")
    }
  }

  /// Beside an endless backlog above it, a class gets its share of all that is served, whatever it got before.
  @Test func besideABacklogAboveItAClassIsToldItsShare() throws {
    var bands = Bench.plainBands
    bands[2].shareBasisPoints = 1000
    var bench = Bench(limits: Limits(concurrency: 1), bands: bands)
    var running = bench.submit(.low, session: "first")
    let lows = (0..<40).map { _ in bench.submit(.low, session: "l") }
    func end() {
      bench.pass(.milliseconds(100))
      bench.settle(running)
      if let last = bench.grants.last { running = last.request }
    }
    for _ in 0..<20 { end() }
    let alone = try #require(bench.core.predictedRest(of: lows[29], at: bench.now))
    #expect(alone >= .milliseconds(800) && alone <= .milliseconds(1200), "ten calls of 100 ms: \(alone)")
    for _ in 0..<400 { bench.submit(.high, session: "h") }
    let beside = try #require(bench.core.predictedRest(of: lows[29], at: bench.now))
    #expect(beside >= .seconds(6) && beside <= .seconds(14), "each tenth call: \(beside)")
    let asked = bench.now
    while !bench.isGranted(lows[29]), bench.now < asked + .seconds(60) { end() }
    let real = bench.now - asked
    #expect(beside.nanoseconds > real.nanoseconds / 2 && beside.nanoseconds < real.nanoseconds * 2, "\(real)")
  }

  @Test func whoWaitsAboveIsTold() throws {
    var bench = Bench(limits: Limits(concurrency: 1), bands: Bench.plainBands)
    bench.submit(session: "first")
    let low = bench.submit(.low, session: "l")
    let normal = bench.submit(.normal, session: "n")
    let high = bench.submit(.high, session: "h")
    #expect(try #require(bench.core.waitReading(of: low, at: bench.now)).waitingAbove == 2)
    #expect(try #require(bench.core.waitReading(of: normal, at: bench.now)).waitingAbove == 1)
    #expect(try #require(bench.core.waitReading(of: high, at: bench.now)).waitingAbove == nil)
  }

  // MARK: Who went ahead

  private func ahead(_ bench: Bench, of id: RequestID, _ priority: Priority, session: SessionID = "s")
    -> WentAheadList
  {
    bench.core.wentAhead(
      of: id, tenant: "t", session: session, priority: priority, waits: [Instant(nanoseconds: 0)...bench.now],
      at: ["p"])
  }

  @Test func rulesAreToldFromTheSideOfWhoWaits() {
    var bench = Bench(limits: Limits(concurrency: 1), bands: Bench.plainBands)
    var running = bench.submit(session: "first")
    func end() {
      bench.pass(.milliseconds(10))
      bench.settle(running)
      if let last = bench.grants.last { running = last.request }
    }
    let own = bench.submit(session: "s")
    let waits = bench.submit(session: "s")
    let peer = bench.submit(session: "peer")
    let high = bench.submit(.high, session: "high")
    let from = bench.now
    for _ in 0..<3 { end() }
    let list = bench.core.wentAhead(
      of: waits, tenant: "t", session: "s", priority: .normal, waits: [from...bench.now], at: ["p"])
    let rules = Dictionary(uniqueKeysWithValues: list.newest.map { ($0.request, $0.rule) })
    #expect(rules[high] == .classesAreStrict && rules[own] == .laneOrder && rules[peer] == .fairTurns)
    #expect(list.newest.map(\.at) == list.newest.map(\.at).sorted(by: >), "newest first")
    #expect(list.isComplete && list.sums.isEmpty)
    #expect(!list.newest.contains { $0.request == waits })
    // Other providers' grants are nobody's business here.
    let elsewhere = bench.core.wentAhead(
      of: waits, tenant: "t", session: "s", priority: .normal, waits: [from...bench.now], at: ["q"])
    #expect(elsewhere.newest.isEmpty)
  }

  @Test func aFloorTurnIsToldAsSuch() {
    var bands = Bench.plainBands
    bands[2].shareBasisPoints = 5000
    var bench = Bench(limits: Limits(concurrency: 1), bands: bands)
    var running = bench.submit(.high, session: "h")
    for _ in 0..<10 { bench.submit(.high, session: "h") }
    let low = bench.submit(.low, session: "l")
    while !bench.isGranted(low) {
      bench.settle(running)
      guard let last = bench.grants.last else { break }
      running = last.request
    }
    let last = bench.submit(.high, session: "h")
    let list = ahead(bench, of: last, .high)
    #expect(list.newest.first { $0.request == low }?.rule == .floorShare)
  }

  @Test func onlyTheNewestAreNamedAndTheLogIsBounded() {
    var bench = Bench(limits: Limits(concurrency: 1), bands: Bench.plainBands)
    var running = bench.submit(session: "0")
    let waits = bench.submit(.low, session: "waits")
    for number in 1...100 {
      let next = bench.submit(.high, session: SessionID("\(number)"))
      bench.settle(running)
      running = next
    }
    var list = ahead(bench, of: waits, .low, session: "waits")
    #expect(list.newest.count == 20 && list.newest.first?.request == running)
    #expect(list.sums.map(\.count).reduce(0, +) == 81 && list.isComplete)
    #expect(list.sums.contains(WentAheadList.Sum(priority: .high, rule: .classesAreStrict, count: 80)))
    for _ in 0..<GrantLog.capacity {
      let next = bench.submit(.high, session: "h")
      bench.settle(running)
      running = next
      bench.pass(.milliseconds(1))
    }
    list = ahead(bench, of: waits, .low, session: "waits")
    #expect(!list.isComplete && list.sums.map(\.count).reduce(20, +) == GrantLog.capacity)
  }

  // MARK: Paces

  @Test func aPaceIsKnownFromFourGrantsOnAndForgetsAnEarlierBacklog() throws {
    var pace = GrantPace()
    for step in 0..<4 {
      #expect(pace.interval(isOpen: true, at: at(Double(step))) == nil)
      pace.grant(at: at(Double(step)))
    }
    #expect(pace.interval(isOpen: true, at: at(3)) == 1e9)
    // A longer silence makes it slower, unless a pause is the reason.
    #expect(try #require(pace.interval(isOpen: true, at: at(20))) > 2e9)
    #expect(pace.interval(isOpen: false, at: at(20)) == 1e9)
    pace.rest()
    #expect(pace.interval(isOpen: true, at: at(20)) == nil)
    for step in 0..<40 { pace.grant(at: at(1000 + Double(step) / 10)) }
    let interval = try #require(pace.interval(isOpen: true, at: at(1003.9)))
    #expect(abs(interval - 1e8) < 1e6, "the time before does not count")
  }

  @Test func aPaceKnowsWhatItsCallsCostAndKeepsIt() throws {
    var pace = GrantPace()
    #expect(pace.cost == nil)
    pace.grant(cost: 1000, at: at(0))
    #expect(pace.cost == 1000)
    for step in 1...100 { pace.grant(cost: 3000, at: at(Double(step))) }
    let cost = try #require(pace.cost)
    #expect(cost > 2900 && cost <= 3000)
    pace.rest()
    #expect(pace.cost == cost)
  }

  /// Three calls each second from 100 s on.
  @Test func arrivalsAreCountedOverTheTimeThatIsKnown() {
    var recent = RecentCount()
    #expect(recent.rate(at: at(100)) == 0)
    for second in 100..<140 {
      for _ in 0..<3 { recent.count(at: at(Double(second))) }
      let rate = recent.rate(at: at(Double(second) + 0.999)) * 1e9
      #expect(second == 100 ? rate == 1.5 : rate > 2.8 && rate < 3.3, "\(second): \(rate)")
    }
    #expect(recent.rate(at: at(147)) < 2e-9)
    #expect(recent.rate(at: at(170)) == 0)
  }
}
