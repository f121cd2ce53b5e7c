// What waiting calls are told while their provider's breaker is open: when it is over, the queue moves as it did before.
import Testing

@testable import AdmissionCore

@Suite struct OutageForecastTests {
  /// Four places, calls of a second, and a breaker that opens at the second failure.
  private struct Scene {
    var bench: Bench
    /// Those that run.
    var running: [RequestID] = []
    /// Those that waited when it began, the last ones at the end.
    var waiting: [RequestID] = []
    private var seen = 0

    init(served: Int) {
      let breaker = BreakerPolicy(failures: 2, recovery: .seconds(10))
      var bands = Bench.plainBands
      for index in bands.indices { bands[index].maxWait = .seconds(10_000) }
      bench = Bench(
        AdmissionPolicy(
          providers: [
            ProviderPolicy(id: "p", limits: Limits(concurrency: 4), learnLimits: false, breaker: breaker)
          ], bands: bands))
      waiting = (0..<240).map { bench.submit(session: SessionID("s\($0 % 12)")) }
      look()
      for _ in 0..<served / 4 { endAll(.success) }
    }

    mutating func look() {
      running += bench.grants[seen...].map(\.request)
      seen = bench.grants.count
    }

    /// After a second all running calls end.
    mutating func endAll(_ verdict: Verdict) {
      bench.pass(.seconds(1))
      for call in running { bench.settle(call, verdict) }
      running.removeAll()
      look()
    }

    /// Until the breaker lets the next trial through.
    mutating func waitForTrial() throws {
      while running.isEmpty {
        let deadline = try #require(bench.core.nextDeadline)
        bench.now = max(bench.now, deadline)
        bench.send(.deadlineReached)
        look()
      }
    }

    /// When the last of those that wait is let in from now on, if all goes well.
    func real(of id: RequestID) throws -> Double {
      var copy = self
      while !copy.bench.isGranted(id) {
        try copy.waitForTrial()
        copy.endAll(.success)
      }
      return Double((copy.bench.now - bench.now).nanoseconds) / 1e9
    }

    func told(to id: RequestID) throws -> Double {
      Double(try #require(bench.core.predictedRest(of: id, at: bench.now)).nanoseconds) / 1e9
    }
  }

  @Test(arguments: [8, 20, 60]) func trialsThatFailDoNotMakeTheQueueLookSlow(_ served: Int) throws {
    var scene = Scene(served: served)
    let last = scene.waiting[200]
    for trial in 0..<4 {
      scene.endAll(.failed(retryAfter: nil))
      let (told, real) = (try scene.told(to: last), try scene.real(of: last))
      #expect(told > real / 1.5 && told < real * 1.5, "trial \(trial): told \(told) s, real \(real) s")
      try scene.waitForTrial()
      let (during, rest) = (try scene.told(to: last), try scene.real(of: last))
      #expect(during > rest / 1.5 && during < rest * 1.5, "in trial \(trial): told \(during) s, real \(rest) s")
    }
  }

  /// Who would be refused at once is not told a wait.
  @Test func aClassWhoseCallsAreRefusedAtOnceIsToldNoWait() {
    func told(_ breaker: BreakerPolicy, _ priority: Priority = .high) -> Span? {
      var bands = Bench.plainBands
      bands[0].maxWait = .seconds(60)
      bands[2].maxWait = .seconds(600)
      var bench = Bench(AdmissionPolicy(providers: [ProviderPolicy(id: "p", breaker: breaker)], bands: bands))
      bench.settle(bench.submit(), .failed(retryAfter: nil))
      bench.run(for: .seconds(1))
      let wait = bench.core.predictedWait(priority, at: bench.now)
      let call = bench.submit(priority, session: "new")
      #expect((wait == nil) == (bench.outcome(call) == .rejectedNoCapacity), "\(breaker) \(priority)")
      return wait
    }
    #expect(told(BreakerPolicy(failures: 1, recovery: .seconds(40))).map { $0 > .seconds(30) } == true)
    #expect(told(BreakerPolicy(failures: 1, recovery: .seconds(120))) == nil)
    #expect(told(BreakerPolicy(failures: 1, recovery: .seconds(120)), .low).map { $0 > .seconds(100) } == true)
    #expect(told(BreakerPolicy(failures: 1, recovery: .seconds(40), whenOpen: .reject)) == nil)
  }

  /// Calls that hang when the breaker opens say nothing about those that run when it has closed.
  @Test func callsThatHangDoNotMakeTheQueueBehindTheBreakerLookSlow() throws {
    var scene = Scene(served: 20)
    let last = scene.waiting[100]
    scene.bench.pass(.seconds(40))
    let hanging = scene.running
    for call in hanging.prefix(2) { scene.bench.settle(call, .failed(retryAfter: nil)) }
    scene.running = Array(hanging.dropFirst(2))
    scene.look()
    let (told, real) = (try scene.told(to: last), try scene.real(of: last))
    #expect(told > real / 2 && told < real * 2, "told \(told) s, real \(real) s")
  }
}
