// Calls whose client gives up: evicted when what they have waited and the time of first bytes together reach that, and never cut
// once they run.
import Testing

@testable import AdmissionCore

@Suite struct AdmissionPatienceTests {
  /// One permit, and ten calls that had their first byte after `firstByte`.
  private func bench(
    firstByte: Span? = nil, maxWait: Span = .seconds(3600), streams: Bool = false, model: String = "m",
    providers: [ProviderID] = ["p"]
  ) -> Bench {
    var bands = Priority.allCases.map(BandPolicy.standard)
    for band in bands.indices { bands[band].maxWait = maxWait }
    var bench = Bench(
      AdmissionPolicy(
        providers: ["p", "q"].map { ProviderPolicy(id: $0, limits: Limits(concurrency: 1)) }, bands: bands))
    guard let firstByte else { return bench }
    for _ in 0..<10 {
      let call = bench.submit(to: providers, model: model, stream: streams)
      bench.pass(firstByte)
      bench.settle(call, firstByte: firstByte)
    }
    return bench
  }

  @Test(arguments: [(Span?.none, Int64(299)), (.milliseconds(999), 299), (.seconds(41), 259), (.seconds(299), 1)])
  func isEvictedWhenWaitAndFirstByteReachThePatience(_ firstByte: Span?, _ seconds: Int64) throws {
    var bench = bench(firstByte: firstByte)
    bench.submit()
    let waiting = bench.submit(patience: .seconds(300))
    bench.run(for: Span(nanoseconds: seconds * 1_000_000_000 - 1))
    #expect(bench.outcome(waiting) == nil)
    bench.run(for: Span(nanoseconds: 1))
    #expect(bench.outcome(waiting) == .evictedMaxWait)
    let end = try #require(bench.conclusions.last)
    #expect(end.givingUp == GivingUp(after: .seconds(300), firstByte: firstByte ?? .zero))
    #expect(end.queued == .seconds(seconds) && end.blocker == .providerConcurrency("p") && end.retryAfter != nil)
    #expect(bench.grant(waiting) == nil)
  }

  /// At the instant at which a place becomes free it is too late; just before it is not.
  @Test(arguments: [(Int64(259_999), true), (260_000, false)])
  func aPlaceThatComesInTimeIsTaken(_ milliseconds: Int64, _ isServed: Bool) {
    var bench = bench(firstByte: .seconds(40))
    let running = bench.submit()
    let waiting = bench.submit(patience: .seconds(300))
    bench.run(for: .milliseconds(milliseconds))
    bench.settle(running)
    #expect(bench.isGranted(waiting) == isServed)
    #expect((bench.outcome(waiting) == .evictedMaxWait) == !isServed)
  }

  @Test func theEarlierOfBothEndsCounts() {
    var bench = bench(firstByte: .seconds(41), maxWait: .seconds(259))
    bench.submit()
    let classes = bench.submit(patience: .seconds(301))
    let clients = bench.submit(session: "b", patience: .seconds(299))
    let own = bench.submit(session: "c", deadline: bench.now + .seconds(10), patience: .seconds(299))
    bench.run(for: .seconds(300))
    let ends = [classes, clients, own].map { id in bench.conclusions.first { $0.request == id } }
    #expect(ends.map { $0?.queued } == [.seconds(259), .seconds(258), .seconds(10)])
    #expect(ends.map { $0?.outcome } == [.evictedMaxWait, .evictedMaxWait, .evictedMaxWait])
    #expect(ends.map { $0?.givingUp != nil } == [false, true, false])
  }

  /// Longer first bytes than the client waits: what can be sent at once is sent, so that it is seen when they get
  /// shorter.
  @Test func whoNeedNotWaitIsServedWhateverIsLearned() {
    var bench = bench(firstByte: .seconds(310))
    let first = bench.submit(patience: .seconds(300))
    #expect(bench.isGranted(first))
    let second = bench.submit(patience: .seconds(300))
    #expect(bench.outcome(second) == .evictedMaxWait)
    #expect(bench.conclusions.last?.queued == .zero)
    bench.run(for: .seconds(1000))
    #expect(bench.outcome(first) == nil, "a running call is not cut")
  }

  @Test func streamsWholeAnswersAndModelsAreLearnedApart() {
    var bench = bench(firstByte: .seconds(41), streams: true)
    bench.submit(stream: true)
    let stream = bench.submit(session: "a", patience: .seconds(300), stream: true)
    let whole = bench.submit(session: "b", patience: .seconds(300))
    let other = bench.submit(session: "c", model: "other", patience: .seconds(300), stream: true)
    bench.run(for: .seconds(300))
    #expect(
      [stream, whole, other].map { id in bench.conclusions.first { $0.request == id }?.queued }
        == [.seconds(259), .seconds(299), .seconds(299)])
  }

  /// A route is as quick as its quickest provider of which something is known.
  @Test func theQuickestKnownProviderCounts() {
    var bench = bench(firstByte: .seconds(100), providers: ["p"])
    func wait(_ bench: inout Bench) -> Span? {
      bench.submit(to: ["p"])
      bench.submit(to: ["q"])
      let waiting = bench.submit(session: "w", to: ["p", "q"], patience: .seconds(300))
      bench.run(for: .seconds(300))
      return bench.conclusions.first { $0.request == waiting }?.queued
    }
    #expect(wait(&bench) == .seconds(200))
    bench = self.bench(firstByte: .seconds(100), providers: ["p"])
    for _ in 0..<10 {
      let call = bench.submit(to: ["q"])
      bench.settle(call, firstByte: .seconds(10))
    }
    #expect(wait(&bench) == .seconds(290))
  }

  /// What is learned while a call waits counts for it too.
  @Test func whatIsLearnedMeanwhileCounts() {
    var bench = bench()
    var running = bench.submit()
    let waiting = bench.submit(.low, session: "w", patience: .seconds(300))
    let patient = bench.submit(.low, session: "v")
    for _ in 0..<10 {
      let next = bench.submit(.high)
      bench.pass(.seconds(20))
      bench.settle(running, firstByte: .seconds(150))
      running = next
    }
    // 200 s have gone, and first bytes take 150 s.
    #expect(bench.outcome(waiting) == .evictedMaxWait)
    #expect(
      bench.conclusions.first { $0.request == waiting }?.givingUp
        == GivingUp(after: .seconds(300), firstByte: .seconds(150)))
    #expect(bench.outcome(patient) == nil)
  }

  /// First bytes become slower twice: each time those that would not have theirs in time get an earlier end, and nobody
  /// else.
  @Test func eachRiseBoundsThoseWhomItConcerns() {
    var bench = bench()
    var running = bench.submit()
    let began = bench.now
    let waits = [(300, 260, 210), (250, 210, 160), (400, 360, 310)].map { (patience, first, second) in
      (bench.submit(.low, session: SessionID("\(patience)"), patience: .seconds(Int64(patience))), first, second)
    }
    let endless = bench.submit(.low, session: "v")
    func ends() -> [Int64] {
      waits.map {
        bench.core.waiting.index(of: $0.0).map { bench.core.waiting[$0].deadline - began }?.nanoseconds ?? -1
      }
    }
    for firstByte in [Span.seconds(40), .seconds(90)] {
      for _ in 0..<10 {
        let next = bench.submit(.high)
        bench.pass(.milliseconds(1))
        bench.settle(running, firstByte: firstByte)
        running = next
      }
      #expect(
        ends() == waits.map { Int64(firstByte == .seconds(40) ? $0.1 : $0.2) * 1_000_000_000 }, "\(firstByte)")
    }
    #expect(bench.core.waiting.index(of: endless).map { bench.core.waiting[$0].givingUp } == .some(nil))
    bench.run(for: .seconds(200))
    #expect(bench.outcome(waits[1].0) == .evictedMaxWait)
    #expect(bench.outcome(waits[0].0) == nil && bench.outcome(waits[2].0) == nil)
  }

  @Test func aSecondTryHeedsItToo() {
    var bench = bench(firstByte: .seconds(41))
    let call = bench.submit(patience: .seconds(300))
    bench.run(for: .seconds(258))
    bench.settle(call, .throttled(retryAfter: .zero), answer: true)
    #expect(bench.outcome(call) == nil || bench.grants.count { $0.request == call } == 2)
    var late = self.bench(firstByte: .seconds(41))
    let other = late.submit(patience: .seconds(300))
    late.run(for: .seconds(259))
    late.settle(other, .failed(retryAfter: nil, isAway: false), answer: true)
    #expect(
      late.outcome(other) == .upstreamError, "the provider's error is passed on while there is somebody to read it")
  }

  /// A client that leaves before its first byte shows that these take at least as long.
  @Test func clientsThatLeaveTeach() {
    var bench = bench(firstByte: .seconds(10))
    for _ in 0..<2 {
      let call = bench.submit()
      bench.pass(.seconds(120))
      bench.settle(call, .clientLeft)
    }
    bench.submit()
    let waiting = bench.submit(patience: .seconds(300))
    bench.run(for: .seconds(300))
    #expect(bench.conclusions.first { $0.request == waiting }?.queued == .seconds(180))
  }

  /// Where first bytes are quick, a twentieth is left for the way, and a second at most.
  @Test(arguments: [(Int64(20_000), Int64(19_000)), (100_000, 99_000), (10_000, 9500), (1000, 950)])
  func somethingIsLeftForTheWay(_ patience: Int64, _ waits: Int64) {
    var bench = bench(firstByte: .milliseconds(1))
    bench.submit()
    let waiting = bench.submit(patience: .milliseconds(patience))
    bench.run(for: .milliseconds(patience))
    let end = bench.conclusions.first { $0.request == waiting }
    #expect(end?.queued == .milliseconds(waits))
    #expect(end?.givingUp == GivingUp(after: .milliseconds(patience), firstByte: .milliseconds(1)))
  }

  @Test func freeCallsAndEmptyPatienceBreakNothing() {
    var bench = bench()
    bench.submit()
    let none = bench.submit(patience: .zero)
    #expect(bench.outcome(none) == .evictedMaxWait)
    let huge = bench.submit(patience: Span(nanoseconds: .max))
    #expect(bench.outcome(huge) == nil)
    let free = bench.submit(output: false, free: true, patience: .zero)
    #expect(bench.isGranted(free))
    bench.run(for: .seconds(3600))
    #expect(bench.outcome(huge) == .evictedMaxWait && bench.conclusions.last?.givingUp == nil)
  }
}
