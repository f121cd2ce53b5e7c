// What is remembered of conversations: which call a new one continues, for how long, and in how much memory.
import Testing

@testable import AdmissionCore

@Suite struct PromptMemoryTests {
  private let life = Span.seconds(300)
  private func at(_ seconds: Int64) -> Instant { Instant(nanoseconds: seconds * 1_000_000_000) }

  @Test func aCallContinuesTheLargestThatIsNotLarger() {
    var memory = PromptMemory()
    for (second, size) in [(0, 10_000), (1, 138_000), (2, 500)] as [(Int64, Int64)] {
      memory.note(
        7, estimated: TokenCount(size), size: TokenCount(size), cached: TokenCount(size), began: at(second), life: life,
        at: at(second))
    }
    #expect(memory.find(7, estimate: 138_700, at: at(3))?.rest(of: 138_700, ratio: 1024) == 700)
    #expect(memory.find(7, estimate: 12_000, at: at(3))?.rest(of: 12_000, ratio: 1024) == 2000)
    #expect(memory.find(7, estimate: 400, at: at(3)) == nil)
    #expect(memory.find(8, estimate: 138_700, at: at(3)) == nil)
  }

  /// The last call's own count holds; only what is new is scaled by the learned ratio.
  @Test func onlyWhatIsNewIsScaled() throws {
    var memory = PromptMemory()
    memory.note(7, estimated: 1000, size: 1500, cached: 1400, began: at(0), life: life, at: at(1))
    let known = try #require(memory.find(7, estimate: 1100, at: at(2)))
    #expect(known.rest(of: 1100, ratio: 2048) == 300)
  }

  @Test func lifeCountsFromTheBeginning() {
    var memory = PromptMemory()
    memory.note(7, estimated: 1000, size: 1000, cached: 1000, began: at(0), life: life, at: at(200))
    #expect(memory.find(7, estimate: 2000, at: at(300)) != nil)
    #expect(memory.find(7, estimate: 2000, at: at(301)) == nil)
  }

  @Test func manySessionsTakeBoundedMemory() {
    var memory = PromptMemory()
    for number in 0..<100_000 {
      let key = KeyPool.hash("session \(number)")
      memory.note(key, estimated: 1000, size: 1000, cached: 1000, began: at(0), life: life, at: at(0))
    }
    #expect(memory.capacity <= PromptMemory.most)
    let kept = (99_000..<100_000).count {
      memory.find(KeyPool.hash("session \($0)"), estimate: 2000, at: at(1)) != nil
    }
    #expect(kept > 900)
    // Sessions that come one after the other, each when the last one's prefix is over, need no more than a few places.
    var slow = PromptMemory()
    for number in 0..<10_000 as Range<Int64> {
      slow.note(
        KeyPool.hash("\(number)"), estimated: 1000, size: 1000, cached: 1000, began: at(number * 400), life: life,
        at: at(number * 400))
    }
    #expect(slow.capacity <= 64)
  }
}

/// The same through the core.
@Suite struct ExpectedInputTests {
  private func bench(_ counting: AdmissionTokens = .produced, life: Span = .seconds(300)) -> Bench {
    Bench(
      AdmissionPolicy(providers: [ProviderPolicy(id: "p", admissionTokens: counting, cacheLife: life)]))
  }

  private func call(
    _ bench: inout Bench, _ input: Int64, cached: Int64, written: Int64, agent: AgentID = "", life: Span? = nil,
    session: SessionID = "s", print: PromptPrint = .none
  ) throws -> Int64 {
    let id = RequestID(high: 9, low: UInt64(bench.grants.count))
    bench.send(
      .submitted(
        Ticket(
          id: id, tenant: "t", session: session, priority: .high, candidates: [Candidate(provider: "p")], model: "m",
          keptBytes: 1, estimatedInput: TokenCount(input), agent: agent, cacheLife: life, print: print)))
    let grant = try #require(bench.grant(id))
    bench.send(
      .settled(
        grant.lease,
        Settlement(
          verdict: .success,
          usage: Usage(
            inputTokens: TokenCount(input), cacheReadTokens: TokenCount(cached),
            cacheWriteTokens: TokenCount(written), outputTokens: 1))))
    return grant.reservedInput.value
  }

  @Test func aWarmCallIsWhatIsNewAndAColdOneAll() throws {
    var bench = bench()
    #expect(try call(&bench, 100_000, cached: 0, written: 100_000) == 100_000)
    bench.run(for: .seconds(200))
    #expect(try call(&bench, 100_700, cached: 100_000, written: 700) == 700)
    bench.run(for: .seconds(301))
    #expect(try call(&bench, 101_000, cached: 0, written: 101_000) == 101_000)
  }

  @Test func theBodysLifeGoesBeforeTheProviders() throws {
    var bench = bench()
    _ = try call(&bench, 100_000, cached: 0, written: 100_000, life: .seconds(3600))
    bench.run(for: .seconds(3000))
    #expect(try call(&bench, 100_700, cached: 100_000, written: 700, life: .seconds(3600)) == 700)
  }

  @Test func agentsHaveConversationsOfTheirOwn() throws {
    var bench = bench()
    _ = try call(&bench, 100_000, cached: 0, written: 100_000)
    #expect(try call(&bench, 100_700, cached: 0, written: 100_700, agent: "sub") == 100_700)
  }

  /// A client that caches nothing is counted in full, however soon it comes again.
  @Test func whereNothingIsCachedAllIsCounted() throws {
    var bench = bench()
    for size in [100_000, 100_700, 101_400] as [Int64] {
      #expect(try call(&bench, size, cached: 0, written: 0) == size)
    }
  }

  @Test func whereCachedInputCountsAllIsReserved() throws {
    var bench = bench(.maxTokens)
    for size in [100_000, 100_700, 101_400] as [Int64] {
      #expect(try call(&bench, size, cached: size - 700, written: 700) == size)
    }
  }

  /// The system prompt and the tools of one program are cached once for all its sessions.
  @Test func newSessionsFindWhatOthersShare() throws {
    var bench = bench()
    _ = try call(&bench, 30_000, cached: 0, written: 30_000, session: "first")
    bench.run(for: .seconds(200))
    _ = try call(&bench, 30_000, cached: 20_000, written: 10_000, session: "second")
    bench.run(for: .seconds(101))
    for number in 0..<30 {
      _ = try call(&bench, 30_000, cached: 20_000, written: 10_000, session: SessionID("s\(number)"))
    }
    let reserved = try call(&bench, 30_000, cached: 20_000, written: 10_000, session: "new")
    #expect((10_000..<11_000).contains(reserved))
    bench.run(for: .seconds(301))
    #expect(try call(&bench, 30_000, cached: 0, written: 30_000, session: "late") == 30_000)
  }

  /// A broker that has just started meets sessions under way: what they find cached is their own.
  @Test func whatOldSessionsFindIsNotShared() throws {
    var bench = bench()
    for number in 0..<8 {
      _ = try call(&bench, 150_000, cached: 149_000, written: 1000, session: SessionID("old\(number)"))
      bench.run(for: .seconds(10))
    }
    #expect(try call(&bench, 150_000, cached: 0, written: 150_000, session: "new") == 150_000)
  }

  /// What conversations find cached that have surely just begun is shared, from the first minute on.
  @Test(arguments: [(65_535, true), (65_536, false)])
  func whatNewSessionsFindIsShared(_ bytes: Int, _ isShared: Bool) throws {
    var bench = bench()
    var print = PromptPrint()
    print.addInstruction(7)
    print.addText(9, bytes: bytes)
    for number in 0..<30 {
      _ = try call(&bench, 30_000, cached: 20_000, written: 10_000, session: SessionID("s\(number)"), print: print)
    }
    let reserved = try call(&bench, 30_000, cached: 20_000, written: 10_000, session: "new", print: print)
    #expect((10_000..<11_000).contains(reserved) == isShared)
    #expect(isShared || reserved == 30_000)
  }
}
