// What a blocked head keeps from others: what it waits for, and nothing else.
import Testing

@testable import AdmissionCore

@Suite struct AdmissionClaimsTests {
  private static func bench(_ provider: ProviderPolicy, _ others: [ProviderPolicy] = []) -> Bench {
    Bench(AdmissionPolicy(providers: [provider] + others, bands: Bench.plainBands))
  }

  /// Two keys, of which `b` takes one call at a time and has it: returns that call and one that `a` has refused, which waits for `b`.
  private func refusedByA(
    _ bench: inout Bench, model: String = "m", _ verdict: Verdict = .modelRefused()
  ) throws -> (atB: RequestID, waits: RequestID) {
    var atB: RequestID?
    for number in 0..<64 where atB == nil {
      let id = bench.submit(session: SessionID("b\(number)"))
      if bench.grant(id)?.key == "b" { atB = id } else { bench.settle(id) }
    }
    let waits = bench.submit(session: "refused", model: model)
    #expect(bench.grant(waits)?.key == "a")
    bench.settle(waits, verdict, answer: true)
    #expect(bench.outcome(waits) == nil && bench.grant(waits)?.attempt == 1)
    return (try #require(atB), waits)
  }

  private static let keys = [KeyPolicy(id: "a"), KeyPolicy(id: "b", limits: Limits(concurrency: 1))]

  @Test(arguments: [Verdict.modelRefused(), .keyRefused, .quotaExhausted])
  func aCallThatAKeyHasRefusedKeepsNobodyFromThatKey(_ verdict: Verdict) throws {
    var bench = Self.bench(ProviderPolicy(id: "p", keys: Self.keys))
    let (atB, waits) = try refusedByA(&bench, verdict)
    // Of its own model and route, and of another; of its band and below.
    for (number, model) in ["m", "other", "m"].enumerated() {
      let other = bench.submit(number == 2 ? .low : .normal, session: SessionID("other\(number)"), model: model)
      #expect(bench.grant(other)?.key == "a")
    }
    // It keeps what it waits for.
    bench.settle(atB)
    #expect(bench.grant(waits)?.key == "b" && bench.grant(waits)?.attempt == 2)
  }

  /// A large call gathers at the key that it waits for, though small ones would fit there.
  @Test func whatItWaitsForIsKeptForIt() throws {
    let limits = Limits(tokensPerMinute: 6000)
    var bench = Self.bench(
      ProviderPolicy(
        id: "p", keys: [KeyPolicy(id: "a", limits: Limits(concurrency: 1)), KeyPolicy(id: "b", limits: limits)]))
    // `a` is taken, and of `b` five sixths are gone.
    var isTaken = false
    for number in 0..<64 {
      let id = bench.submit(session: SessionID("\(number)"), input: 1)
      if bench.grant(id)?.key == "a" { isTaken = true } else { bench.settle(id, input: 1, output: 0) }
      if isTaken { break }
    }
    #expect(isTaken)
    let most = bench.submit(session: "most", input: 5000)
    #expect(bench.grant(most)?.key == "b")
    let large = bench.submit(session: "large", input: 4000)
    let small = bench.submit(session: "small", input: 500)
    #expect(!bench.isGranted(large) && !bench.isGranted(small))
    bench.run(for: .seconds(20))
    #expect(!bench.isGranted(small))
    bench.run(for: .seconds(20))
    #expect(bench.grant(large)?.key == "b")
  }

  @Test func withAQuotaForEachKeyAFullKeyIsNotTheProvider() throws {
    var bench = Self.bench(ProviderPolicy(id: "p", keys: Self.keys, quota: .perKey))
    // x is told to slow down at a, and b is full.
    let (atB, waits) = try refusedByA(&bench, model: "x", .throttled(retryAfter: .seconds(60)))
    let again = bench.submit(session: "again", model: "x")
    #expect(!bench.isGranted(again))
    let other = bench.submit(session: "other", model: "y")
    #expect(bench.grant(other)?.key == "a")
    bench.settle(atB)
    #expect(bench.grant(waits)?.key == "b" || bench.grant(again)?.key == "b")
  }

  /// A backoff is a call's own: whoever stands behind it with the same candidates goes where it may not go yet.
  @Test func aBackoffKeepsNobodyElseFromACandidate() {
    var bench = Self.bench(ProviderPolicy(id: "p"), [ProviderPolicy(id: "q", limits: Limits(concurrency: 1))])
    let full = bench.submit(session: "q", to: ["q"])
    let failed = bench.submit(session: "f", to: ["p", "q"])
    bench.settle(failed, .failed(retryAfter: .seconds(30)), answer: true)
    #expect(bench.grant(failed)?.attempt == 1 && bench.outcome(failed) == nil)
    let other = bench.submit(session: "o", to: ["p", "q"])
    #expect(bench.grant(other)?.provider == "p")
    bench.settle(full)
    #expect(bench.grant(failed)?.provider == "q")
  }

  /// Set aside for a pass, a lane keeps its place and its order.
  @Test func aLaneThatIsSetAsideKeepsItsOrder() throws {
    var bench = Self.bench(ProviderPolicy(id: "p", keys: Self.keys))
    let (atB, waits) = try refusedByA(&bench)
    let behind = bench.submit(session: "refused")
    #expect(!bench.isGranted(behind))
    #expect(bench.core.blocker(of: behind, at: bench.now) == .behindInLane)
    bench.settle(atB)
    #expect(bench.grant(waits)?.key == "b" && bench.grant(behind)?.key == "a")
    bench.settle(waits)
    bench.settle(behind)
    #expect(bench.core.snapshot(at: bench.now).openLeases == 0 && bench.core.nextDeadline == nil)
  }
}
