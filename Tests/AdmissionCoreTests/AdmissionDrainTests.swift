// A drain that has an end: who cannot be over by then is told so, at the latest when its call would have to begin.
import Testing

@testable import AdmissionCore

@Suite struct AdmissionDrainTests {
  private func drain(_ bench: inout Bench, within span: Span) {
    bench.send(.drainRequested)
    bench.send(.drainBounded(bench.now + span))
  }

  @Test func whoWaitsAtTheEndIsConcludedThere() {
    var bench = Bench(limits: Limits(concurrency: 1))
    let running = bench.submit()
    let waiting = bench.submit()
    drain(&bench, within: .seconds(5))
    bench.run(for: Span(nanoseconds: 4_999_999_999))
    #expect(bench.outcome(waiting) == nil)
    bench.run(for: Span(nanoseconds: 1))
    #expect(bench.outcome(waiting) == .rejectedDraining)
    #expect(bench.drained == 0)
    bench.settle(running)
    #expect(bench.drained == 1)
  }

  @Test func aCallThatCannotBeOverInTimeIsNotBegun() {
    var bench = Bench(limits: Limits(concurrency: 1))
    let known = bench.submit()
    bench.pass(.seconds(3))
    bench.settle(known)
    let running = bench.submit()
    let first = bench.submit()
    let second = bench.submit()
    drain(&bench, within: .seconds(5))
    // Three seconds are known: at two it must begin at the latest.
    bench.run(for: Span(nanoseconds: 1_000_000_000))
    bench.settle(running, .clientLeft)
    #expect(bench.isGranted(first))
    bench.run(for: Span(nanoseconds: 999_999_999))
    #expect(bench.outcome(second) == nil)
    bench.run(for: Span(nanoseconds: 1))
    #expect(bench.outcome(second) == .rejectedDraining)
    #expect(bench.outcome(first) == nil)
    bench.settle(first)
    #expect(bench.drained == 1)
  }

  @Test func whatIsLearnedInTheDrainCounts() {
    var bench = Bench(limits: Limits(concurrency: 1))
    let running = bench.submit()
    let waiting = bench.submit()
    drain(&bench, within: .seconds(5))
    bench.pass(.seconds(4))
    bench.settle(running)
    #expect(bench.outcome(waiting) == .rejectedDraining)
    #expect(!bench.isGranted(waiting))
    #expect(bench.drained == 1)
  }

  @Test func whatABreakerHoldsBeyondTheEndIsConcludedAtOnce() {
    for (left, outcome) in [(10, Outcome.rejectedDraining), (60, nil)] as [(Int64, Outcome?)] {
      var bench = Bench(limits: Limits())
      for _ in 0..<5 {
        let id = bench.submit()
        bench.settle(id, .failed(), answer: true, began: true)
      }
      let waiting = (0..<20).map { _ in bench.submit() }
      #expect(bench.core.blocker(of: waiting[0], at: bench.now) == .breakerOpen("p"))
      drain(&bench, within: .seconds(left))
      #expect(Set(waiting.map { bench.outcome($0) }) == [outcome])
      #expect(bench.drained == (outcome == nil ? 0 : 1))
    }
  }

  @Test func noRetryComesBackThatCannotEnd() {
    var bench = Bench(limits: Limits())
    let known = bench.submit()
    bench.pass(.seconds(3))
    bench.settle(known)
    let late = bench.submit()
    drain(&bench, within: .seconds(2))
    bench.settle(late, .failed(), answer: true)
    #expect(bench.outcome(late) == .upstreamError)
    #expect(bench.drained == 1)
  }

  @Test func noLegBeginsWhatCannotEndThoughAnotherMight() {
    var bench = Bench(
      AdmissionPolicy(
        providers: ["a", "b"].map { ProviderPolicy(id: ProviderID($0), limits: Limits(concurrency: 1)) },
        bands: Bench.plainBands))
    let known = bench.submit(to: ["a"])
    bench.pass(.seconds(60))
    bench.settle(known)
    let atA = bench.submit(to: ["a"])
    let atB = bench.submit(session: "b", to: ["b"])
    let waiting = bench.submit(session: "c", to: ["a", "b"])
    drain(&bench, within: .seconds(30))
    bench.pass(.seconds(10))
    bench.settle(atA, .clientLeft)
    // A minute at a is too long; of b nothing is known.
    #expect(!bench.isGranted(waiting) && bench.outcome(waiting) == nil)
    bench.pass(.seconds(10))
    bench.settle(atB, .clientLeft)
    #expect(bench.grant(waiting)?.provider == "b")
  }

  @Test func whereTheQuickProviderIsDownAndTheOtherTooSlowItIsToldAtOnce() {
    var bench = Bench(
      AdmissionPolicy(
        providers: [ProviderPolicy(id: "a", limits: Limits(concurrency: 1)), ProviderPolicy(id: "b")],
        bands: Bench.plainBands))
    let known = bench.submit(to: ["a"])
    bench.pass(.seconds(60))
    bench.settle(known)
    for _ in 0..<5 { bench.settle(bench.submit(to: ["b"]), .failed(), answer: true, began: true) }
    bench.submit(to: ["a"])
    let waiting = bench.submit(session: "c", to: ["b", "a"])
    #expect(bench.outcome(waiting) == nil)
    drain(&bench, within: .seconds(20))
    #expect(bench.outcome(waiting) == .rejectedDraining)
  }

  @Test(arguments: [(59, true), (60, true), (61, false)]) func aCallThatJustFitsIsBegun(_ lasts: Int64, _ fits: Bool) {
    var bench = Bench(
      AdmissionPolicy(
        providers: ["a", "b"].map { ProviderPolicy(id: ProviderID($0), limits: Limits(concurrency: 1)) },
        bands: Bench.plainBands))
    let known = bench.submit(to: ["a"])
    bench.pass(.seconds(lasts))
    bench.settle(known)
    let running = bench.submit(to: ["a"])
    bench.submit(session: "b", to: ["b"])
    let waiting = bench.submit(session: "c", to: ["a", "b"])
    drain(&bench, within: .seconds(60))
    bench.settle(running, .clientLeft)
    #expect(bench.isGranted(waiting) == fits && bench.outcome(waiting) == nil)
  }

  @Test func aDrainWithoutTimeConcludesAllThatWaits() {
    var bench = Bench(limits: Limits(concurrency: 1))
    bench.submit()
    let waiting = bench.submit()
    drain(&bench, within: .zero)
    #expect(bench.outcome(waiting) == .rejectedDraining)
  }

  @Test func averagesMoveByAnEighth() {
    var durations = CallDurations()
    #expect(durations.expected(model: 3) == .zero)
    durations.learn(.seconds(8), model: 3)
    #expect(durations.expected(model: 3) == .seconds(8))
    durations.learn(.seconds(16), model: 3)
    #expect(durations.expected(model: 3) == .seconds(9))
    durations.learn(.zero, model: 3)
    #expect(durations.expected(model: 3) < .seconds(9))
    #expect(durations.expected(model: 2) == .zero)
    durations.learn(.seconds(1), model: ModelNumber(OutputPredictor.models))
    durations.learn(.seconds(1), model: ModelNumber(OutputPredictor.models + 1))
    #expect(durations.expected(model: ModelNumber(OutputPredictor.models)) == .seconds(1))
    #expect(durations.expected(model: ModelNumber(OutputPredictor.models + 1)) == .zero)
  }
}
