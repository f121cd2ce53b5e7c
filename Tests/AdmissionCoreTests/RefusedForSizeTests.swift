// A call that was expected to be cached, is not, and is refused for its size: nobody else waits for that, and it is not
// guessed in the same way again.
import Testing

@testable import AdmissionCore

extension Bench {
  /// Makes the session's prompt a cached one of 300,000 tokens, and sends the next call of it, which is expected to be
  /// counted as 400.
  mutating func sendWarm(
    _ session: SessionID = "s", to providers: [ProviderID] = ["p"], deadline: Span? = nil
  ) throws -> Grant {
    let first = submit(session: session, to: providers, input: 300_000)
    let grant = try #require(self.grant(first))
    send(
      .settled(
        grant.lease,
        Settlement(
          verdict: .success, usage: Usage(inputTokens: 300_000, cacheWriteTokens: 300_000, outputTokens: 10),
          answerBegan: true, hasAnswer: true)))
    let next = submit(session: session, to: providers, input: 300_400, deadline: deadline.map { now + $0 })
    let warm = try #require(self.grant(next))
    #expect(warm.reservedInput == 400 && warm.provider == providers.first)
    return warm
  }

  /// - Parameter left: what the answer says is left of the minute; nil where it says nothing.
  mutating func refuse(
    _ grant: Grant, left: Int64?, told: Span = .seconds(1), isAboutConcurrency: Bool = false
  ) {
    if let left {
      send(
        .limitsObserved(
          grant.lease,
          ObservedLimits(readings: [.init(dimension: .inputTokens, limit: 2_000_000, remaining: left)])))
    }
    send(
      .settled(
        grant.lease,
        Settlement(
          verdict: .throttled(retryAfter: told, isAboutConcurrency: isAboutConcurrency), hasAnswer: true)))
  }
}

@Suite struct RefusedForSizeTests {
  private func bench() -> Bench {
    Bench(
      AdmissionPolicy(
        providers: [
          ProviderPolicy(
            id: "p", limits: Limits(inputTokensPerMinute: 2_000_000), keys: [KeyPolicy(id: "a"), KeyPolicy(id: "b")],
            admissionTokens: .produced)
        ], bands: Bench.plainBands))
  }

  /// It waits for as long as it was told, and then for its whole size.
  @Test func itIsNotGuessedAsCachedAgain() throws {
    var bench = bench()
    let grant = try bench.sendWarm()
    bench.refuse(grant, left: 250_000)
    bench.run(for: .milliseconds(999))
    #expect(bench.grant(grant.request)?.lease == grant.lease)
    // 50,400 of 300,400 are missing: 1.512 s. What was reserved for it comes not on top of what is left.
    bench.run(for: .milliseconds(512))
    #expect(bench.grant(grant.request)?.lease == grant.lease)
    bench.run(for: .milliseconds(2))
    #expect(bench.grant(grant.request)?.attempt == 2)
    #expect(bench.grant(grant.request)?.reservedInput == 300_400)
  }

  @Test func nobodyElseWaitsForIt() throws {
    var bench = bench()
    let grant = try bench.sendWarm()
    bench.refuse(grant, left: 250_000)
    #expect(bench.closures.isEmpty)
    let other = bench.submit(session: "other", input: 1000)
    #expect(bench.isGranted(other))
  }

  /// At, under and over: room for what was reserved, and none for the whole.
  @Test(arguments: [(399, true), (400, false), (300_399, false), (300_400, true)])
  func theNumbersTell(_ left: Int64, _ closes: Bool) throws {
    var bench = bench()
    let grant = try bench.sendWarm()
    bench.refuse(grant, left: left)
    #expect(bench.closures.isEmpty != closes)
  }

  @Test func withoutNumbersItIsAboutAll() throws {
    var bench = bench()
    let grant = try bench.sendWarm()
    bench.refuse(grant, left: nil)
    #expect(!bench.closures.isEmpty)
  }

  /// Where cached input counts, the whole was reserved, so the size explains nothing.
  @Test func whereCachedInputCountsItIsAboutAll() throws {
    var bench = Bench(
      AdmissionPolicy(
        providers: [
          ProviderPolicy(
            id: "p", limits: Limits(inputTokensPerMinute: 2_000_000), keys: [KeyPolicy(id: "a"), KeyPolicy(id: "b")],
            admissionTokens: .maxTokens)
        ], bands: Bench.plainBands))
    let first = bench.submit(session: "s", input: 300_000)
    let granted = bench.grant(first)
    bench.send(
      .settled(
        try #require(granted).lease,
        Settlement(
          verdict: .success, usage: Usage(inputTokens: 300_000, cacheWriteTokens: 300_000, outputTokens: 10),
          answerBegan: true, hasAnswer: true)))
    let next = bench.submit(session: "s", input: 300_400)
    let sent = bench.grant(next)
    let grant = try #require(sent)
    #expect(grant.reservedInput == 300_400)
    bench.refuse(grant, left: 400_000)
    #expect(!bench.closures.isEmpty)
  }

  /// Two in a row, with no call let in between: something else may be the reason, so all wait.
  @Test func twoInARowAreAboutAll() throws {
    var bench = bench()
    let one = try bench.sendWarm("one")
    let two = try bench.sendWarm("two")
    bench.refuse(one, left: 250_000)
    #expect(bench.closures.isEmpty)
    bench.refuse(two, left: 250_000)
    #expect(!bench.closures.isEmpty)
  }

  @Test func afterACallThatWasLetInItIsAboutTheCallAgain() throws {
    var bench = bench()
    let one = try bench.sendWarm("one")
    let two = try bench.sendWarm("two")
    bench.refuse(one, left: 250_000)
    let other = bench.submit(session: "other", input: 100)
    bench.settle(other)
    let three = bench.submit(session: "two", input: 300_900)
    bench.send(.settled(two.lease, Settlement(verdict: .clientLeft)))
    bench.refuse(try #require(bench.grant(three)), left: 250_000)
    #expect(bench.closures.isEmpty)
  }

  /// The refused call was the probe: another takes its place.
  @Test func aProbeMakesRoomForTheNext() throws {
    var bench = bench()
    let grant = try bench.sendWarm()
    let other = bench.submit(session: "other", input: 100)
    bench.send(
      .settled(
        try #require(bench.grant(other)).lease,
        Settlement(verdict: .throttled(retryAfter: .seconds(2)), hasAnswer: true)))
    #expect(!bench.closures.isEmpty)
    bench.send(.settled(grant.lease, Settlement(verdict: .clientLeft)))
    bench.run(for: .milliseconds(1000))
    let probe = bench.submit(session: "s", input: 300_800)
    bench.run(for: .milliseconds(1001))
    let sent = bench.grant(probe)
    let next = bench.submit(session: "next", input: 100)
    #expect(!bench.isGranted(next))
    bench.refuse(try #require(sent), left: 250_000)
    #expect(bench.isGranted(next))
  }

  /// What new sessions share was learned, and this one does not share it.
  @Test func whatItShouldHaveSharedIsNotGuessedAgain() throws {
    var bench = bench()
    for number in 0..<40 {
      let id = bench.submit(session: SessionID("s\(number)"), input: 60_000)
      let granted = bench.grant(id)
      bench.send(
        .settled(
          try #require(granted).lease,
          Settlement(
            verdict: .success,
            usage: Usage(inputTokens: 60_000, cacheReadTokens: 50_000, cacheWriteTokens: 10_000, outputTokens: 10),
            answerBegan: true, hasAnswer: true)))
      bench.run(for: .seconds(20))
    }
    let id = bench.submit(session: "stranger", input: 60_000)
    let granted = bench.grant(id)
    let grant = try #require(granted)
    #expect(grant.reservedInput < 11_000)
    bench.refuse(grant, left: 30_000)
    #expect(bench.closures.isEmpty)
    bench.run(for: .seconds(3))
    #expect(bench.grant(id)?.reservedInput == 60_000)
  }
}
