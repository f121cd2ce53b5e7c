// Calls that have run for long without a token: from when on they are told.
import Testing

@testable import AdmissionCore

@Suite struct SilentCallsTests {
  private func bench(usual: Int64?) -> Bench {
    var bench = Bench(limits: Limits(concurrency: 100))
    guard let usual else { return bench }
    for _ in 0..<10 {
      let id = bench.submit(stream: true)
      bench.settle(id, firstByte: .seconds(usual))
    }
    return bench
  }

  /// 10 s at least, four times the usual, 60 s where nothing is known.
  @Test(arguments: [(nil, 60), (1, 10), (2, 10), (5, 20), (30, 120)] as [(Int64?, Int64)])
  func theyAreToldBeyondFourTimesTheUsual(_ usual: Int64?, _ limit: Int64) {
    var bench = bench(usual: usual)
    let id = bench.submit(stream: true)
    bench.pass(.seconds(limit))
    #expect(bench.core.silentCalls(at: bench.now).isEmpty)
    bench.pass(Span(nanoseconds: 1))
    let waited = Span(nanoseconds: limit * 1_000_000_000 + 1)
    #expect(
      bench.core.silentCalls(at: bench.now) == [
        SilentCall(request: id, provider: "p", waited: waited, usual: usual.map { .seconds($0) })
      ])
    bench.settle(id)
    #expect(bench.core.silentCalls(at: bench.now).isEmpty)
  }

  @Test func whoHasTokensOrWaitsInTheQueueIsNotSilent() throws {
    var bench = Bench(limits: Limits(concurrency: 2))
    let (first, second) = (bench.submit(), bench.submit())
    bench.submit()
    bench.pass(.seconds(100))
    #expect(bench.core.silentCalls(at: bench.now).map(\.request) == [first, second])
    bench.send(.progressed(try #require(bench.grant(first)).lease, Progress(inputTokens: nil, outputTokens: 1)))
    #expect(bench.core.silentCalls(at: bench.now).map(\.request) == [second])
  }

  /// What a stream usually takes says nothing of whole answers.
  @Test func formsAreApart() {
    var bench = bench(usual: 1)
    bench.submit(stream: false)
    bench.pass(.seconds(60))
    #expect(bench.core.silentCalls(at: bench.now).isEmpty)
    bench.pass(.seconds(1))
    #expect(bench.core.silentCalls(at: bench.now).map(\.usual) == [nil])
  }

  @Test func whatAnOperatorHasClosedByHand() {
    let keys = ["a", "b"].map { KeyPolicy(id: KeyID($0)) }
    var bench = Bench(AdmissionPolicy(providers: [ProviderPolicy(id: "p", keys: keys), ProviderPolicy(id: "q")]))
    #expect(bench.core.closedByHand("p") == nil && bench.core.closedByHand("nobody") == nil)
    bench.send(.operatorCommanded(.disableKey("p", "a")))
    #expect(bench.core.closedByHand("p") == nil)
    bench.send(.operatorCommanded(.disableKey("p", "b")))
    #expect(bench.core.closedByHand("p") == .keys(["a", "b"]))
    bench.send(.operatorCommanded(.openBreaker("p")))
    #expect(bench.core.closedByHand("p") == .breaker)
    bench.send(.operatorCommanded(.automateBreaker("p")))
    bench.send(.operatorCommanded(.enableKey("p", "a")))
    #expect(bench.core.closedByHand("p") == nil)
    // A provider without keys has none that could be disabled.
    #expect(bench.core.closedByHand("q") == nil)
    bench.send(.operatorCommanded(.closeBreaker("q")))
    #expect(bench.core.closedByHand("q") == nil)
  }
}
