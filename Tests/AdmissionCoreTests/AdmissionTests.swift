// The whole core by its public face: order, limits, ends.
import Testing

@testable import AdmissionCore

@Suite struct AdmissionTests {
  @Test func grantsAtOnceWhereThereIsRoom() {
    var bench = Bench(limits: Limits(concurrency: 1))
    let first = bench.submit()
    #expect(bench.isGranted(first))
    #expect(bench.grant(first)?.attempt == 1)
    #expect(bench.grant(first)?.queued == .zero)
    let second = bench.submit()
    #expect(!bench.isGranted(second))
    bench.pass(.milliseconds(5))
    bench.settle(first)
    #expect(bench.outcome(first) == .completed)
    #expect(bench.grant(second)?.queued == .milliseconds(5))
    bench.settle(second)
    #expect(bench.core.snapshot(at: bench.now).openLeases == 0)
    #expect(bench.core.nextDeadline == nil)
  }

  @Test func bandsAreStrict() {
    var bench = Bench(limits: Limits(concurrency: 1))
    let running = bench.submit()
    let low = bench.submit(.low, session: "a")
    let normal = bench.submit(.normal, session: "b")
    let high = bench.submit(.high, session: "c")
    for id in [running, high, normal, low] {
      #expect(bench.isGranted(id))
      bench.settle(id)
    }
    #expect(bench.order == [1, 4, 3, 2])
  }

  @Test func aQueuedRequestThatIsCancelledHoldsNothing() {
    var bench = Bench(limits: Limits(concurrency: 1))
    let running = bench.submit()
    let gone = bench.submit()
    bench.send(.cancelled(gone))
    #expect(bench.outcome(gone) == .clientLeftQueued)
    bench.settle(running)
    #expect(bench.grants.count == 1)
    #expect(bench.core.snapshot(at: bench.now).queuedBytes == 0)
  }

  @Test func aRunningRequestThatIsCancelledEndsAtItsSettlement() {
    var bench = Bench(limits: Limits(concurrency: 1))
    let running = bench.submit()
    bench.send(.cancelled(running))
    #expect(bench.outcome(running) == nil)
    bench.settle(running, .clientLeft)
    #expect(bench.outcome(running) == .clientLeftRunning)
  }

  /// What should be impossible is thrown out and said; everybody else goes on.
  @Test func aTimerOfNobodyIsThrownOutAndTheOthersGoOn() throws {
    var bench = Bench(limits: Limits(concurrency: 1))
    bench.submit()
    let lost = bench.submit(session: "lost", deadline: bench.now + .seconds(1))
    let other = bench.submit(session: "other", deadline: bench.now + .seconds(2))
    bench.core.waiting.spoil(try #require(bench.core.waiting.index(of: lost)))
    bench.run(for: .seconds(2))
    #expect(bench.outcome(other) == .evictedMaxWait)
    #expect(bench.core.nextDeadline.map { $0 > bench.now } ?? true)
    let bugs = bench.notices.filter { if case .ourBug(.staleHead) = $0 { true } else { false } }
    #expect(!bugs.isEmpty)
  }

  @Test func waitingEndsAtTheDeadline() {
    var bench = Bench(limits: Limits(concurrency: 1))
    bench.submit()
    let own = bench.submit(deadline: bench.now + .seconds(2))
    let classes = bench.submit(.high)
    bench.run(for: Span(nanoseconds: 1_999_999_999))
    #expect(bench.outcome(own) == nil)
    bench.run(for: Span(nanoseconds: 1))
    #expect(bench.outcome(own) == .evictedMaxWait)
    bench.run(for: .seconds(57))
    #expect(bench.outcome(classes) == nil)
    bench.run(for: .seconds(1))
    #expect(bench.outcome(classes) == .evictedMaxWait)
    let end = bench.conclusions.last
    #expect(end?.queued == .seconds(60))
    #expect(end?.blocker == .providerConcurrency("p"))
    #expect((end?.retryAfter?.nanoseconds ?? 0) >= 1_000_000_000)
  }

  @Test func queueBoundsByCountAndBytes() {
    var bands = Priority.allCases.map(BandPolicy.standard)
    bands[1].queueLimit = 2
    var policy = AdmissionPolicy(providers: [ProviderPolicy(id: "p", limits: Limits(concurrency: 1))], bands: bands)
    policy.queueBytes = 100
    var bench = Bench(policy)
    bench.submit(bytes: 1000)  // what runs is not queued
    let first = bench.submit(bytes: 50)
    let second = bench.submit(bytes: 50)
    let third = bench.submit(bytes: 0)
    let fourth = bench.submit(.low, bytes: 1)
    #expect(bench.outcome(first) == nil)
    #expect(bench.outcome(second) == nil)
    #expect(bench.outcome(third) == .rejectedQueueFull)
    #expect(bench.outcome(fourth) == .rejectedQueueFull)
  }

  @Test func aBucketMakesWaitAndRefillsContinuously() {
    var bench = Bench(limits: Limits(requestsPerMinute: 60), bands: Bench.plainBands)
    for _ in 0..<60 { bench.submit() }
    #expect(bench.grants.count == 60)
    let next = bench.submit()
    #expect(bench.core.nextDeadline == bench.now + .seconds(1))
    bench.run(for: Span(nanoseconds: 999_999_999))
    #expect(!bench.isGranted(next))
    bench.run(for: Span(nanoseconds: 1))
    #expect(bench.isGranted(next))
  }

  @Test func drainingServesWhatWaitsAndSaysSoOnce() {
    var bench = Bench(limits: Limits(concurrency: 1))
    let running = bench.submit()
    let queued = bench.submit()
    bench.send(.drainRequested)
    let late = bench.submit()
    #expect(bench.outcome(late) == .rejectedDraining)
    bench.settle(running)
    #expect(bench.drained == 0)
    bench.settle(queued)
    #expect(bench.drained == 1)
    bench.submit()
    #expect(bench.drained == 1)
  }

  @Test func policyReplacedUnderLoad() {
    var bench = Bench(limits: Limits(concurrency: 1))
    let running = bench.submit()
    let one = bench.submit()
    let two = bench.submit()
    bench.send(
      .policyReplaced(AdmissionPolicy(providers: [ProviderPolicy(id: "p", limits: Limits(concurrency: 2))])))
    #expect(bench.isGranted(one))
    bench.send(.policyReplaced(AdmissionPolicy(providers: [ProviderPolicy(id: "q")])))
    #expect(bench.outcome(two) == .rejectedModel)
    bench.settle(running)
    bench.settle(one)
    #expect(bench.outcome(running) == .completed)
    #expect(bench.core.snapshot(at: bench.now).openLeases == 0)
  }
}

extension Bench {
  /// No reserve, no promotion within an hour, no share.
  static let plainBands = [
    BandPolicy(
      reserve: .permits(0), queueLimit: 100_000, maxWait: .seconds(3600), promoteAfter: .seconds(3600),
      shareBasisPoints: 0),
    BandPolicy(
      reserve: .permits(0), queueLimit: 100_000, maxWait: .seconds(3600), promoteAfter: .seconds(3600),
      shareBasisPoints: 0),
    BandPolicy(
      reserve: .permits(0), queueLimit: 100_000, maxWait: .seconds(3600), promoteAfter: .seconds(3600),
      shareBasisPoints: 0),
  ]
}
