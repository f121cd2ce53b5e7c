// Attempts that one event has broken count as one failure.
import Testing

@testable import AdmissionCore

@Suite struct SharedCauseTests {
  private func bench() -> Bench {
    var provider = ProviderPolicy(id: "p")
    provider.retry = RetryPolicy(attempts: 2, base: .milliseconds(1), max: .milliseconds(1))
    return Bench(AdmissionPolicy(providers: [provider]))
  }

  private func fail(_ bench: inout Bench, _ ids: [RequestID], cause: (Int) -> UInt64?, _ verdict: Verdict = .failed()) {
    for (index, id) in ids.enumerated() {
      guard let grant = bench.grant(id) else { continue }
      bench.send(
        .settled(grant.lease, Settlement(verdict: verdict, answerBegan: verdict == .truncated, cause: cause(index))))
    }
  }

  private func state(_ bench: Bench) -> String {
    bench.core.snapshot(at: bench.now).providers[0].breaker.state.rawValue
  }

  @Test func aConnectionThatEndsUnderTwentyCallsOpensNoBreaker() {
    var bench = bench()
    let ids = (0..<20).map { bench.submit(session: SessionID("\($0)")) }
    fail(&bench, ids, cause: { _ in 7 })
    #expect(state(bench) == "closed")
    bench.run(for: .seconds(1))
    // Each of them is tried again: the retry budget was asked once.
    #expect(bench.grants.count == 40)
  }

  @Test(arguments: [nil, 1] as [UInt64?]) func withoutACommonCauseTheyOpenIt(first: UInt64?) {
    var bench = bench()
    let ids = (0..<20).map { bench.submit(session: SessionID("\($0)")) }
    fail(&bench, ids, cause: { index in first.map { $0 + UInt64(index) } })
    #expect(state(bench) == "open")
  }

  @Test func fiveEventsOpenIt() {
    for (events, expected) in [(4, "closed"), (5, "open")] {
      var bench = bench()
      let ids = (0..<events * 4).map { bench.submit(session: SessionID("\($0)")) }
      fail(&bench, ids, cause: { UInt64($0 / 4) }, .truncated)
      #expect(state(bench) == expected)
    }
  }
}
