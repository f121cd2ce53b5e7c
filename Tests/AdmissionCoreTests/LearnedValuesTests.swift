// Everything that is learned is listed, with its source and since when, in a stable order and a bounded number.
import Testing

@testable import AdmissionCore

@Suite struct LearnedValuesTests {
  private func bench(_ limits: Limits = Limits(concurrency: 1000)) -> Bench { Bench(limits: limits) }

  private func learned(_ bench: Bench) -> LearnedValues { bench.core.learned(at: bench.now) }

  private func use(
    _ bench: inout Bench, _ priority: Priority = .normal, model: String = "m", calls: Int, input: Int64 = 1000,
    counted: Int64 = 1000, output: Int64 = 100
  ) {
    for _ in 0..<calls {
      let id = bench.submit(priority, model: model, input: input, cap: 2000)
      bench.pass(.seconds(2))
      bench.settle(id, input: counted, output: output)
    }
  }

  @Test func nothingIsLearnedFromNothing() { #expect(learned(bench()) == LearnedValues()) }

  @Test func aLimitFromAHeaderHasItsSourceAndTime() throws {
    var bench = bench()
    let id = bench.submit()
    let grant = try #require(bench.grant(id))
    bench.pass(.seconds(5))
    let told = bench.now
    bench.send(
      .limitsObserved(
        grant.lease, ObservedLimits(readings: [.init(dimension: .requests, limit: 60, remaining: 59)])))
    bench.pass(.seconds(5))
    #expect(
      learned(bench).values == [
        LearnedValue(provider: "p", what: .perMinute(.requests), value: 60, source: .headers, since: told)
      ])
  }

  @Test func aDayThatTheProviderEndsIsListed() throws {
    var bench = bench(Limits(requestsPerDay: 24))
    let id = bench.submit(input: 10, cap: 0)
    let grant = try #require(bench.grant(id))
    func tell(_ reading: ObservedLimits.Reading) {
      bench.send(.limitsObserved(grant.lease, ObservedLimits(readings: [reading])))
    }
    tell(.init(dimension: .requests, remaining: 20, fullIn: .seconds(300), told: 24, day: .atOnce))
    let first = bench.now
    #expect(
      learned(bench).values == [
        LearnedValue(
          provider: "p", what: .dayEnd(.requestsPerDay), value: (first + .seconds(300)).nanoseconds, source: .headers,
          since: first)
      ])
    bench.pass(.seconds(10))
    tell(.init(dimension: .requests, remaining: 20, fullIn: .seconds(300), told: 24, day: .gradually))
    #expect(learned(bench).values.map(\.what) == [.perHour(.requestsPerDay)])
    #expect(learned(bench).values.map(\.value) == [1] && learned(bench).values.map(\.since) == [first])
  }

  @Test func refusalsWithoutNumbersTeachConcurrencyOfAModel() {
    var bench = bench()
    let ids = (0..<20).map { _ in bench.submit() }
    for id in ids[15...] { bench.settle(id, .throttled(retryAfter: nil), answer: true) }
    #expect(
      learned(bench).values == [
        LearnedValue(provider: "p", model: "m", what: .concurrency, value: 10, source: .refusals, since: bench.now)
      ])
  }

  @Test func whatIsExpectedOfAModelSaysFromHowManyCalls() {
    var bench = bench()
    use(&bench, calls: 1, counted: 2000)
    let since = bench.now
    #expect(learned(bench).values.map(\.what) == [.inputRatio, .duration])
    use(&bench, calls: 19, counted: 2000)
    let values = learned(bench).values
    #expect(values.map(\.what) == [.inputRatio, .output(.normal), .duration])
    #expect(values.allSatisfy { $0.source == .usage(calls: 20, stored: 0) && $0.since == since && $0.model == "m" })
    #expect(values[0].value > 1600 && values[0].value <= 2048)
    #expect(values[1].value >= 100 && values[2].value == 2_000_000_000)
  }

  @Test func firstBytesAreListedFromTenCallsOnForAnHour() {
    var bench = bench()
    for number in 1...10 {
      let call = bench.submit()
      bench.settle(call, firstByte: .seconds(3))
      let listed = learned(bench).values.filter { $0.what == .firstByte(isStream: false) }
      #expect(listed.map(\.value) == (number < 10 ? [] : [3_000_000_000]))
    }
    #expect(!learned(bench).values.contains { $0.what == .firstByte(isStream: true) })
    bench.pass(.seconds(3600))
    #expect(!learned(bench).values.contains { $0.what == .firstByte(isStream: false) })
  }

  @Test func whatAnEarlierProcessLearnedIsMarked() throws {
    var bench = bench()
    use(&bench, .high, calls: 20, counted: 2000)
    let stored = try bench.core.takeLearned().map {
      try #require(LearnedModel(provider: $0.provider, model: $0.model, text: $0.text))
    }
    let before = learned(bench).values
    var next = self.bench()
    next.pass(.seconds(7))
    next.send(.learnedRestored(stored))
    let after = learned(next).values
    #expect(after.map(\.what) == [.inputRatio, .output(.high)])
    #expect(after.map(\.value) == [before[0].value, before[1].value])
    #expect(after.allSatisfy { $0.source == .usage(calls: 20, stored: 20) && $0.since == next.now })
    use(&next, calls: 1)
    #expect(learned(next).values.allSatisfy { $0.source == .usage(calls: 21, stored: 20) })
  }

  /// A stored limit holds from the first call, and counts the calls of the last minutes; the first answer takes its place.
  @Test func aLimitThatAnEarlierProcessWasToldHoldsFromTheStart() throws {
    var bench = bench()
    let id = bench.submit()
    let lease = try #require(bench.grant(id)).lease
    func tell(_ bench: inout Bench, _ lease: LeaseID, _ limit: Int64) {
      bench.send(
        .limitsObserved(
          lease, ObservedLimits(readings: [.init(dimension: .requests, limit: limit, remaining: limit - 1)])))
    }
    tell(&bench, lease, 60)
    let stored = bench.core.toldLimits()
    #expect(stored.map(\.name) == ["p"] && stored.map(\.text) == ["60 - - -"])
    for limits in stored { #expect(LearnedLimits(name: limits.name, text: limits.text) == limits) }
    var next = self.bench()
    next.pass(.seconds(7))
    let start = next.now
    next.send(.limitsRestored(stored))
    next.send(
      .restored(
        (0..<58).map {
          PastAttempt(
            request: RequestID(high: 1, low: $0), age: .zero, tenant: "t", provider: "p", model: "m", usage: Usage())
        }))
    #expect(
      learned(next).values == [
        LearnedValue(provider: "p", what: .perMinute(.requests), value: 60, source: .storedHeaders, since: start)
      ])
    let ids = (0..<3).map { _ in next.submit(.high) }
    #expect(ids.map { next.isGranted($0) } == [true, true, false])
    next.pass(.milliseconds(1))
    tell(&next, try #require(next.grant(ids[0])).lease, 600)
    #expect(
      learned(next).values == [
        LearnedValue(provider: "p", what: .perMinute(.requests), value: 600, source: .headers, since: next.now)
      ])
  }

  @Test(arguments: [
    ("", ""), ("p", ""), ("p", "1 2 3"), ("p", "0 - - -"), ("p", "-1 - - -"), ("p", "a - - -"),
    ("p", "- - - 99999999999999999"),
    ("p other m", "1 - - -"), ("p models", "1 - - -"),
  ])
  func limitsThatAreNoneAreNotRead(_ name: String, _ text: String) {
    #expect(LearnedLimits(name: name, text: text) == nil)
  }

  @Test func limitsOfModelsAndKeysFindTheirHolders() throws {
    let policy = ProviderPolicy(
      id: "p", modelLimits: [ModelLimits(models: Glob("a b/*"), limits: Limits())], keys: [KeyPolicy(id: "k")])
    var bench = Bench(AdmissionPolicy(providers: [policy]))
    let stored = ["p models a b/*", "p key k", "p key gone", "p models gone", "gone"].compactMap {
      LearnedLimits(name: $0, text: "- - - 1000")
    }
    #expect(stored.count == 5)
    bench.send(.limitsRestored(stored))
    #expect(learned(bench).values.map(\.model) == ["a b/*", nil] && learned(bench).values.map(\.key) == [nil, "k"])
    #expect(bench.core.toldLimits().filter { !$0.isEmpty }.map(\.name) == ["p models a b/*", "p key k"])
  }

  /// An earlier version did not store how many calls there were.
  @Test func theCallsOfAnOlderNoteAreTheLeastThatTheyWere() throws {
    var bench = bench()
    let old = try #require(LearnedModel(provider: "p", model: "m", text: "1 1024 0 10:20  12:3 0 0"))
    bench.send(.learnedRestored([old]))
    #expect(learned(bench).values.first?.source == .usage(calls: 23, stored: 23))
  }

  @Test func theModelsWithTheMostCallsAreListedAndTheRestIsCounted() {
    var bench = bench()
    for number in 0..<25 { use(&bench, model: "m\(number)", calls: 1 + number % 5) }
    let all = learned(bench)
    var models: [String] = []
    for value in all.values where value.model.map({ models.last != $0 }) ?? false { models.append(value.model ?? "") }
    #expect(models.count == 20)
    // The most calls first, then by name.
    #expect(models.prefix(6) == ["m14", "m19", "m24", "m4", "m9", "m13"])
    #expect(all.leftOut == 10)
    #expect(all == learned(bench))
  }
}
