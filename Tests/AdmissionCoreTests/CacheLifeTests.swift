// Calls go where their prompt is cached, wait a little for it, and say why it was not read.
import PolicyLab
import Testing

@testable import AdmissionCore

@Suite struct CacheLifeTests {
  private static let keys = ["a", "b", "c", "d"].map { KeyPolicy(id: KeyID($0)) }

  private static func bench(
    _ quota: Quota = .perKey, keys: [KeyPolicy] = keys, limits: Limits = Limits(), others: [ProviderPolicy] = [],
    counting: AdmissionTokens = .produced, life: Span = .seconds(300)
  ) -> Bench {
    Bench(
      AdmissionPolicy(
        providers: [
          ProviderPolicy(id: "p", limits: limits, keys: keys, quota: quota, admissionTokens: counting, cacheLife: life)
        ] + others, bands: Bench.plainBands))
  }

  /// A prompt of so many texts, each of 1 KiB; `changed` is the number of one that reads differently.
  private static func print(_ texts: Int, changed: Int? = nil, instructions: UInt64 = 1) -> PromptPrint {
    var print = PromptPrint()
    print.addInstruction(instructions)
    for number in 0..<texts { print.addText(UInt64(number == changed ? 1_000_000 : number + 7), bytes: 1024) }
    return print
  }

  private static func submit(
    _ bench: inout Bench, _ input: Int64, session: SessionID = "s", to providers: [ProviderID] = ["p"],
    print: PromptPrint = .none, priority: Priority = .normal, deadline: Instant? = nil
  ) -> RequestID {
    let id = RequestID(high: 9, low: UInt64(bench.grants.count + bench.notices.count + bench.conclusions.count * 1000))
    bench.send(
      .submitted(
        Ticket(
          id: id, tenant: "t", session: session, priority: priority,
          candidates: providers.map { Candidate(provider: $0) }, model: "m", keptBytes: 1,
          estimatedInput: TokenCount(input), outputCap: 0, deadline: deadline, print: print)))
    return id
  }

  /// Ends the call; returns what it has lost.
  @discardableResult private static func end(
    _ bench: inout Bench, _ id: RequestID, _ input: Int64, read: Int64, written: Int64? = nil
  ) -> LostCache? {
    guard let grant = bench.grant(id) else {
      Issue.record("the call was not granted")
      return nil
    }
    let usage = Usage(
      inputTokens: TokenCount(input), cacheReadTokens: TokenCount(read),
      cacheWriteTokens: TokenCount(written ?? (input - read)), outputTokens: 1)
    let lost = bench.core.lostCache(by: grant.lease, usage)
    bench.send(.settled(grant.lease, Settlement(verdict: .success, usage: usage)))
    // The call is over.
    #expect(bench.core.lostCache(by: grant.lease, usage) == nil)
    return lost
  }

  /// One call, granted at once; returns the key it got.
  @discardableResult private static func call(
    _ bench: inout Bench, _ input: Int64, read: Int64, session: SessionID = "s", print: PromptPrint = .none
  ) -> (key: KeyID?, lost: LostCache?, reserved: Int64) {
    let id = submit(&bench, input, session: session, print: print)
    let grant = bench.grant(id)
    let lost = end(&bench, id, input, read: read)
    return (grant?.key, lost, grant?.reservedInput.value ?? -1)
  }

  // MARK: Why a prompt was not read

  @Test func aFirstCallLosesWhatItSends() {
    var bench = Self.bench()
    #expect(Self.call(&bench, 30_000, read: 0).lost == LostCache(reason: .firstCall, lostTokens: 30_000))
    #expect(Self.call(&bench, 30_700, read: 30_000).lost == nil)
    // What another session has put there is no loss.
    #expect(
      Self.call(&bench, 30_000, read: 20_000, session: "other").lost
        == LostCache(reason: .firstCall, lostTokens: 10_000))
    // Vendors cache nothing that is shorter.
    #expect(Self.call(&bench, 1023, read: 0, session: "small").lost == nil)
    #expect(Self.call(&bench, 1024, read: 0, session: "larger").lost?.lostTokens == 1024)
  }

  @Test func aPrefixExpires() {
    var bench = Self.bench()
    Self.call(&bench, 30_000, read: 0)
    bench.run(for: .seconds(300))
    #expect(Self.call(&bench, 30_500, read: 30_000).lost == nil)
    bench.run(for: .seconds(301))
    #expect(Self.call(&bench, 31_000, read: 0).lost == LostCache(reason: .expired, lostTokens: 30_500))
  }

  @Test func ourWaitingIsToldApart() {
    var bench = Self.bench(.shared, limits: Limits(concurrency: 1))
    Self.call(&bench, 30_000, read: 0)
    bench.run(for: .seconds(290))
    let other = Self.submit(&bench, 100, session: "other")
    let waiting = Self.submit(&bench, 30_500)
    #expect(!bench.isGranted(waiting))
    bench.run(for: .seconds(11))
    Self.end(&bench, other, 100, read: 0)
    #expect(
      Self.end(&bench, waiting, 30_500, read: 0) == LostCache(reason: .expired, lostTokens: 30_000, oursByWaiting: true)
    )
  }

  @Test func aPromptThatBeginsDifferentlyIsNotTheProvidersFault() {
    var bench = Self.bench()
    Self.call(&bench, 30_000, read: 0, print: Self.print(120))
    #expect(
      Self.call(&bench, 30_500, read: 5000, print: Self.print(122, changed: 20)).lost
        == LostCache(reason: .prefixChanged, lostTokens: 25_000))
    #expect(Self.call(&bench, 31_000, read: 0, print: Self.print(124, instructions: 2)).lost?.reason == .prefixChanged)
    // A compaction: the conversation is shorter than it was.
    #expect(Self.call(&bench, 6000, read: 0, print: Self.print(24, instructions: 2)).lost?.reason == .prefixChanged)
  }

  @Test func theSamePromptThatIsNotReadIsTheProvidersFault() {
    var bench = Self.bench()
    Self.call(&bench, 30_000, read: 0, print: Self.print(120))
    #expect(
      Self.call(&bench, 30_500, read: 0, print: Self.print(122)).lost
        == LostCache(reason: .provider, lostTokens: 30_000))
    // Less than a cacheable part is a matter of where blocks end.
    #expect(Self.call(&bench, 31_000, read: 30_500 - 1023, print: Self.print(124)).lost == nil)
    #expect(Self.call(&bench, 31_500, read: 31_000 - 1024, print: Self.print(126)).lost?.lostTokens == 1024)
  }

  @Test func aProviderWithoutACacheLosesNothing() {
    var bench = Self.bench()
    for size in [30_000, 30_500] as [Int64] {
      let id = Self.submit(&bench, size)
      #expect(Self.end(&bench, id, size, read: 0, written: 0) == nil)
    }
  }

  /// Where the provider tells what it has read and not what it has written, and counts cached input.
  @Test func aCacheThatTellsOnlyWhatWasRead() {
    var bench = Self.bench(counting: .maxTokens)
    func call(_ input: Int64, read: Int64) -> LostCache? {
      let id = Self.submit(&bench, input)
      return Self.end(&bench, id, input, read: read, written: 0)
    }
    #expect(call(30_000, read: 0) == nil)
    #expect(call(30_500, read: 29_952) == nil)
    bench.run(for: .seconds(301))
    #expect(call(31_000, read: 0) == LostCache(reason: .expired, lostTokens: 30_500))
    // This one is kept, although it read nothing.
    #expect(call(31_500, read: 0)?.lostTokens == 31_000)
  }

  @Test func anotherProvidersCacheIsNoFirstCall() {
    var bench = Self.bench(others: [ProviderPolicy(id: "q")])
    Self.call(&bench, 30_000, read: 0, session: "x")
    let before = Self.submit(&bench, 30_000, to: ["q"])
    Self.end(&bench, before, 30_000, read: 0)
    let id = Self.submit(&bench, 30_500, to: ["p", "q"])
    #expect(Self.end(&bench, id, 30_500, read: 0) == LostCache(reason: .movedKey, lostTokens: 30_500))
  }

  // MARK: Where the prompt is cached

  /// A key that was closed for long has lost its session; the session stays where it went, as long as the cache does.
  @Test(arguments: [Quota.perKey, .shared])
  func aSessionStaysAtTheKeyThatHasItsPrompt(quota: Quota) throws {
    var bench = Self.bench(quota)
    let home = try #require(Self.call(&bench, 30_000, read: 0).key)
    bench.send(.operatorCommanded(.disableKey("p", home)))
    let away = Self.call(&bench, 30_500, read: 0)
    #expect(away.key != home)
    #expect(away.lost == LostCache(reason: .movedKey, lostTokens: 30_000))
    bench.send(.operatorCommanded(.enableKey("p", home)))
    let next = Self.call(&bench, 31_000, read: 30_500)
    #expect(next.key == away.key && next.lost == nil && next.reserved == 500)
    bench.run(for: .seconds(301))
    #expect(Self.call(&bench, 31_500, read: 0).key == home)
  }

  /// Where each key is an account, what one has cached is reserved in full at another.
  @Test func aCallThatMovesIsReservedInFull() throws {
    for (quota, reserved) in [(Quota.perKey, 30_500 as Int64), (.shared, 500)] {
      var bench = Self.bench(quota)
      let home = try #require(Self.call(&bench, 30_000, read: 0).key)
      bench.send(.operatorCommanded(.disableKey("p", home)))
      #expect(Self.call(&bench, 30_500, read: 0).reserved == reserved)
    }
  }

  private static func throttleHome(_ bench: inout Bench, _ input: Int64, for span: Span) throws -> (RequestID, KeyID) {
    let home = try #require(call(&bench, input, read: 0).key)
    let id = submit(&bench, input + 500)
    let grant = try #require(bench.grant(id))
    #expect(grant.key == home)
    bench.send(.settled(grant.lease, Settlement(verdict: .throttled(retryAfter: span), hasAnswer: true)))
    return (id, home)
  }

  /// 50,000 tokens are read anew in ten seconds, which is the longest wait.
  @Test(arguments: [(100_000, 9, true), (100_000, 12, false), (40_000, 7, true), (40_000, 9, false), (4000, 1, false)])
  func aWarmCallWaitsForItsKeyAsLongAsAnotherWouldRead(input: Int64, seconds: Int64, waits: Bool) throws {
    var bench = Self.bench()
    let (id, home) = try Self.throttleHome(&bench, input, for: .seconds(seconds))
    #expect((bench.grant(id)?.attempt == 2) == !waits)
    #expect(bench.blockers.contains("warm_key") == waits)
    if waits {
      #expect(bench.core.blocker(of: id, at: bench.now) == .warmKey("p", key: home))
      #expect(bench.core.blocker(of: id, at: bench.now)?.rule == .warmKey)
    }
    // Others are served meanwhile, at other keys.
    for number in 0..<20 {
      let key = Self.call(&bench, 100, read: 0, session: SessionID("n\(number)")).key
      #expect(key != nil && key != home)
    }
    bench.run(for: .milliseconds(seconds * 1000 + 1))
    #expect((bench.grant(id)?.key == home) == waits)
  }

  /// Nobody knows when a running call ends: a warm call waits for its place, and then goes elsewhere.
  @Test func aWarmCallsPatienceEnds() throws {
    let keys = ["a", "b"].map { KeyPolicy(id: KeyID($0), limits: Limits(concurrency: 1)) }
    var bench = Self.bench(keys: keys)
    let home = try #require(Self.call(&bench, 25_000, read: 0).key)
    // Sessions that would take the same key.
    var taker: RequestID?
    for number in 0..<20 where taker == nil {
      let id = Self.submit(&bench, 100, session: SessionID("n\(number)"))
      if bench.grant(id)?.key == home { taker = id } else { Self.end(&bench, id, 100, read: 0) }
    }
    #expect(taker != nil)
    let warm = Self.submit(&bench, 25_500)
    #expect(!bench.isGranted(warm))
    bench.run(for: .milliseconds(4999))
    #expect(!bench.isGranted(warm))
    bench.run(for: .milliseconds(2))
    #expect(bench.grant(warm)?.key != home && bench.isGranted(warm))
    #expect(bench.grant(warm)?.reservedInput == 25_500)
  }

  @Test func aWarmCallGoesToItsKeyAsSoonAsThatIsFree() throws {
    let keys = ["a", "b"].map { KeyPolicy(id: KeyID($0), limits: Limits(concurrency: 1)) }
    var bench = Self.bench(keys: keys)
    let home = try #require(Self.call(&bench, 50_000, read: 0).key)
    var taker: RequestID?
    for number in 0..<20 where taker == nil {
      let id = Self.submit(&bench, 100, session: SessionID("n\(number)"))
      if bench.grant(id)?.key == home { taker = id } else { Self.end(&bench, id, 100, read: 0) }
    }
    let warm = Self.submit(&bench, 50_500)
    bench.run(for: .seconds(1))
    // It comes before others that would take its place.
    let later = Self.submit(&bench, 100, session: "later")
    Self.end(&bench, try #require(taker), 100, read: 0)
    #expect(bench.grant(warm)?.key == home && bench.grant(warm)?.reservedInput == 500)
    #expect(bench.grant(later)?.key != home)
  }

  /// The key is taken by another session's long call; the other key is free.
  private static func takenHome(_ bench: inout Bench, _ input: Int64, agents: [SessionID] = ["s"]) throws -> KeyID {
    var home: KeyID?
    for session in agents {
      let key = try #require(call(&bench, input, read: 0, session: session).key)
      if home == nil { home = key }
    }
    var taker: RequestID?
    for number in 0..<20 where taker == nil {
      let id = submit(&bench, 100, session: SessionID("n\(number)"))
      if bench.grant(id)?.key == home { taker = id } else { end(&bench, id, 100, read: 0) }
    }
    #expect(taker != nil)
    return try #require(home)
  }

  private static let narrow = ["a", "b"].map { KeyPolicy(id: KeyID($0), limits: Limits(concurrency: 1)) }

  /// All that wait for one key wait at the same time, and so do those behind them.
  @Test func callsOfOneSessionDoNotWaitOneAfterTheOther() throws {
    var bench = Self.bench(keys: Self.narrow)
    _ = try Self.takenHome(&bench, 60_000)
    let calls = (1...5).map { Self.submit(&bench, 60_000 + Int64($0) * 100) }
    let cold = Self.submit(&bench, 100)
    bench.run(for: .milliseconds(9999))
    #expect(([cold] + calls).allSatisfy { !bench.isGranted($0) })
    bench.run(for: .milliseconds(2))
    for id in calls + [cold] {
      #expect(bench.isGranted(id))
      Self.end(&bench, id, 60_700, read: 0)
    }
  }

  /// When its prompt is cached no longer, there is nothing to wait for.
  @Test func nobodyWaitsForAKeyThatHasForgotten() throws {
    var bench = Self.bench(keys: Self.narrow, life: .seconds(20))
    let home = try Self.takenHome(&bench, 60_000)
    bench.run(for: .seconds(15))
    let id = Self.submit(&bench, 60_500)
    bench.run(for: .milliseconds(4999))
    #expect(!bench.isGranted(id))
    bench.run(for: .milliseconds(2))
    #expect(bench.isGranted(id) && bench.grant(id)?.key != home)
  }

  /// No call is given up for the sake of its cache.
  @Test(arguments: [(5, false), (10_999, false), (11_000, true), (60_000, true)])
  func aCallWithLittleTimeGoesToAnotherKey(milliseconds: Int64, waits: Bool) throws {
    var bench = Self.bench(keys: Self.narrow)
    let home = try Self.takenHome(&bench, 60_000)
    let id = Self.submit(&bench, 60_500, deadline: bench.now + .milliseconds(milliseconds))
    #expect(bench.isGranted(id) == !waits)
    bench.run(for: .milliseconds(milliseconds))
    #expect(bench.outcome(id) == nil && bench.isGranted(id) && bench.grant(id)?.key != home)
  }

  /// Where calls last a minute, no place is soon free.
  @Test(arguments: [(60, false), (12, false), (9, true)])
  func nobodyWaitsWhereCallsLastLonger(seconds: Int64, waits: Bool) throws {
    var bench = Self.bench(keys: Self.narrow)
    for _ in 0..<40 {
      let id = Self.submit(&bench, 200, session: "long")
      bench.pass(.seconds(seconds))
      Self.end(&bench, id, 200, read: 0)
    }
    _ = try Self.takenHome(&bench, 60_000)
    // Calls that took no time are learned too.
    let id = Self.submit(&bench, 60_500)
    #expect(bench.isGranted(id) == !waits)
  }

  /// Four calls at once with the same beginning: none could read what another was writing.
  @Test func callsThatWereSentTogetherAreNobodysFault() throws {
    var bench = Self.bench(.shared)
    let ids = (0..<4).map { _ in Self.submit(&bench, 30_000) }
    bench.pass(.seconds(2))
    for id in ids { #expect(Self.end(&bench, id, 30_000, read: 0)?.reason == .firstCall) }
    #expect(Self.call(&bench, 30_500, read: 0).lost?.reason == .provider)
  }

  /// A provider that tells what it writes has written nothing: the call did not ask to be cached.
  @Test func whoDoesNotAskForACacheLosesNothing() {
    var bench = Self.bench()
    Self.call(&bench, 30_000, read: 0)
    let id = Self.submit(&bench, 30_500)
    #expect(Self.end(&bench, id, 30_500, read: 0, written: 0) == nil)
  }

  @Test func aKeyThatWasRefusedIsNotWaitedFor() throws {
    var bench = Self.bench()
    let home = try #require(Self.call(&bench, 100_000, read: 0).key)
    bench.send(.operatorCommanded(.disableKey("p", home)))
    let id = Self.submit(&bench, 100_500)
    #expect(bench.isGranted(id) && bench.grant(id)?.key != home)
  }

  /// The next provider of the route would have to read the prompt anew too.
  @Test func aWarmCallWaitsBeforeItGoesToAnotherProvider() throws {
    var bench = Self.bench(others: [ProviderPolicy(id: "q")])
    let home = try #require(Self.call(&bench, 100_000, read: 0).key)
    let id = Self.submit(&bench, 100_500, to: ["p", "q"])
    let grant = try #require(bench.grant(id))
    bench.send(.settled(grant.lease, Settlement(verdict: .throttled(retryAfter: .seconds(2)), hasAnswer: true)))
    #expect(bench.grant(id)?.attempt == 1)
    bench.run(for: .milliseconds(2001))
    #expect(bench.grant(id)?.attempt == 2 && bench.grant(id)?.key == home)
  }

  // MARK: A prompt that is about to expire

  /// Sessions that wait in turn behind one running call: `warm` came last, and is behind the others by what it has used.
  private static func line(_ bench: inout Bench, waitingFor seconds: Int64) -> (
    running: RequestID, warm: RequestID, cold: [RequestID]
  ) {
    call(&bench, 50_000, read: 0, session: "warm")
    bench.run(for: .seconds(seconds))
    let running = submit(&bench, 100, session: "first")
    let cold = (0..<4).map { submit(&bench, 1000, session: SessionID("cold \($0)")) }
    let warm = submit(&bench, 50_500, session: "warm")
    return (running, warm, cold)
  }

  private static func isNext(_ id: RequestID, _ running: RequestID, _ bench: Bench) -> Bool {
    var bench = bench
    end(&bench, running, 100, read: 0)
    return bench.isGranted(id)
  }

  @Test func aPromptThatIsAboutToExpireGoesFirst() {
    for (seconds, hurries) in [(239, false), (240, true), (300, true), (301, false)] as [(Int64, Bool)] {
      var bench = Self.bench(.shared, limits: Limits(concurrency: 1))
      let (running, warm, _) = Self.line(&bench, waitingFor: seconds)
      #expect(!bench.isGranted(warm))
      #expect(Self.isNext(warm, running, bench) == hurries, "\(seconds)")
    }
  }

  @Test func itBeginsToHurryWhileItWaits() {
    var bench = Self.bench(.shared, limits: Limits(concurrency: 1))
    let (running, warm, _) = Self.line(&bench, waitingFor: 200)
    bench.run(for: .milliseconds(39_999))
    #expect(!Self.isNext(warm, running, bench))
    bench.run(for: .milliseconds(1))
    #expect(Self.isNext(warm, running, bench))
    bench.run(for: .seconds(60))
    #expect(Self.isNext(warm, running, bench))
    // There is nothing to be saved any more.
    bench.run(for: .milliseconds(1))
    #expect(!Self.isNext(warm, running, bench))
  }

  @Test func aPromptWithALongLifeHurriesInTheLastMinute() {
    var bench = Self.bench(.shared, limits: Limits(concurrency: 1), life: .seconds(3600))
    let (running, warm, _) = Self.line(&bench, waitingFor: 3539)
    #expect(!Self.isNext(warm, running, bench))
    bench.run(for: .seconds(1))
    #expect(Self.isNext(warm, running, bench))
  }

  @Test func oneWithAShortLifeHurriesInItsLastFifth() {
    var bench = Self.bench(.shared, limits: Limits(concurrency: 1), life: .seconds(50))
    let (running, warm, _) = Self.line(&bench, waitingFor: 39)
    #expect(!Self.isNext(warm, running, bench))
    bench.run(for: .seconds(1))
    #expect(Self.isNext(warm, running, bench))
  }

  @Test func littleIsNoReasonToHurry() {
    for (input, hurries) in [(4095, false), (4096, true)] as [(Int64, Bool)] {
      var bench = Self.bench(.shared, limits: Limits(concurrency: 1))
      Self.call(&bench, input, read: 0, session: "warm")
      bench.run(for: .seconds(250))
      let running = Self.submit(&bench, 100, session: "first")
      _ = Self.submit(&bench, 1000, session: "cold")
      let warm = Self.submit(&bench, input + 100, session: "warm")
      #expect(Self.isNext(warm, running, bench) == hurries)
    }
  }

  /// Its class and its tenant wait for their turns as ever.
  @Test func itDoesNotGoBeforeOtherClassesOrTenants() {
    var bench = Self.bench(.shared, limits: Limits(concurrency: 1))
    Self.call(&bench, 50_000, read: 0, session: "warm")
    bench.run(for: .seconds(250))
    let running = Self.submit(&bench, 100, session: "first")
    let other = bench.submit(tenant: "another", session: "cold", input: 1000)
    let warm = Self.submit(&bench, 50_500, session: "warm")
    let urgent = Self.submit(&bench, 1000, session: "cold", priority: .high)
    #expect(!Self.isNext(warm, running, bench) && Self.isNext(urgent, running, bench))
    Self.end(&bench, running, 100, read: 0)
    Self.end(&bench, urgent, 1000, read: 0)
    #expect(bench.isGranted(other) && !bench.isGranted(warm))
  }

  /// Those whose prompts are cold anyway wait, but of four grants in a row one is in the order of turns.
  @Test func manyThatHurryDoNotStarveTheOthers() {
    var bench = Self.bench(.shared, limits: Limits(concurrency: 1))
    let names = (0..<8).map { SessionID("warm \($0)") }
    for name in names { Self.call(&bench, 50_000, read: 0, session: name) }
    bench.run(for: .seconds(250))
    var running = Self.submit(&bench, 100, session: "first")
    let cold = (0..<2).map { Self.submit(&bench, 1000, session: SessionID("cold \($0)")) }
    let warm = names.map { Self.submit(&bench, 50_500, session: $0) }
    var order: [Bool] = []
    for _ in 0..<10 {
      Self.end(&bench, running, 50_500, read: 50_000)
      guard let next = (cold + warm).first(where: { bench.grants.last?.request == $0 }) else { break }
      order.append(cold.contains(next))
      running = next
    }
    #expect(order == [false, false, false, true, false, false, false, true, false, false])
  }

  /// What a session takes early it does not get later.
  @Test func aSessionThatHurriesAgainAndAgainGetsNoMoreThanItsShare() {
    var bench = Self.bench(.shared, limits: Limits(concurrency: 1), life: .seconds(50))
    var used: [String: Int64] = [:]
    var input: [String: Int64] = ["warm": 20_000, "cold": 20_000]
    var waiting: [String: RequestID] = [:]
    for name in ["warm", "cold"] { Self.call(&bench, 20_000, read: 0, session: SessionID(name)) }
    for _ in 0..<400 {
      for name in ["warm", "cold"] where waiting[name] == nil {
        input[name, default: 0] += 500
        // The cold one's calls read nothing, so that each of them is counted in full.
        waiting[name] = Self.submit(&bench, input[name] ?? 0, session: SessionID(name))
      }
      guard let (name, id) = waiting.first(where: { bench.isGranted($0.value) }) else { break }
      bench.run(for: .seconds(name == "warm" ? 5 : 20))
      let counted = name == "warm" ? 500 : input[name] ?? 0
      Self.end(&bench, id, input[name] ?? 0, read: (input[name] ?? 0) - counted, written: name == "warm" ? 500 : 0)
      used[name, default: 0] += counted
      waiting[name] = nil
    }
    let ahead = (used["warm"] ?? 0) - (used["cold"] ?? 0)
    #expect(ahead <= 2 * (input["warm"] ?? 0), "\(used)")
    #expect((used["warm"] ?? 0) > 0 && (used["cold"] ?? 0) > 0)
  }

  /// Eighty sessions think for ten seconds to almost the whole life of their prompts, and ask for one and a half times what there is: calls wait for a
  /// minute on average. Nobody loses a prompt that lived when the call came, although many calls come when theirs has less than a minute left.
  @Test func noPromptExpiresWhileItsCallWaits() {
    var bench = Self.bench(.shared, limits: Limits(concurrency: 4))
    var random = SeededRandom(seed: 7)
    var timeline = Timeline<(session: Int, isEnd: Bool)>()
    var (input, waiting, submitted) = ([Int64](repeating: 20_000, count: 80), [Int: RequestID](), [Int: Instant]())
    var running: [Int: Instant] = [:]
    var lastStart: [Int: Instant] = [:]
    var (calls, late, lost, longest) = (0, 0, 0, Span.zero)
    for session in 0..<80 {
      timeline.schedule((session, false), at: bench.now + .milliseconds(Int64(session) * 100))
    }
    func begin() {
      for (session, id) in waiting.sorted(by: { $0.key < $1.key }) where bench.isGranted(id) && running[session] == nil
      {
        running[session] = bench.now
        if let came = submitted[session], bench.now - came > longest { longest = bench.now - came }
        timeline.schedule((session, true), at: bench.now + .seconds(10))
      }
    }
    let end = bench.now + .seconds(3600)
    while let due = timeline.nextDue, due < end {
      bench.run(for: due - bench.now)
      begin()
      guard let what = timeline.popDue(at: bench.now) else { continue }
      let session = what.session
      if what.isEnd {
        guard let id = waiting.removeValue(forKey: session), let began = running.removeValue(forKey: session) else {
          continue
        }
        let isWarm = lastStart[session].map { began - $0 <= .seconds(300) } ?? false
        let size = input[session]
        if let loss = Self.end(&bench, id, size, read: isWarm ? size - 500 : 0), loss.oursByWaiting { lost += 1 }
        lastStart[session] = began
        calls += 1
        timeline.schedule((session, false), at: bench.now + .milliseconds(10_000 + Int64(random.next() % 270_000)))
      } else {
        input[session] += 500
        submitted[session] = bench.now
        if let last = lastStart[session], bench.now - last > .seconds(240), bench.now - last <= .seconds(300) {
          late += 1
        }
        waiting[session] = Self.submit(&bench, input[session], session: SessionID("s\(session)"))
      }
      begin()
    }
    Swift.print(
      "calls \(calls), \(late) came in the last minute of their prompt, the longest wait \(longest.inSeconds) s, \(lost) lost it by waiting"
    )
    #expect(calls > 1000 && late > 100 && longest > .seconds(60))
    #expect(lost == 0)
  }
}

@Suite struct PromptPrintTests {
  private func print(_ sizes: [Int], changed: Int? = nil, instructions: [UInt64] = [3, 4]) -> PromptPrint {
    var print = PromptPrint()
    for hash in instructions { print.addInstruction(hash) }
    for (place, size) in sizes.enumerated() { print.addText(place == changed ? 99 : UInt64(place), bytes: size) }
    return print
  }

  @Test func aPromptThatGrowsBeginsAlike() {
    let earlier = print(Array(repeating: 1000, count: 50))
    let later = print(Array(repeating: 1000, count: 80))
    #expect(later.compared(with: earlier.kept) == (32_768, false))
    #expect(earlier.compared(with: later.kept) == (32_768, false))
    #expect(PromptPrint.none.compared(with: PromptPrint.none.kept) == (0, false))
  }

  @Test func aChangeShowsInAllMarksBehindIt() {
    let earlier = print(Array(repeating: 1000, count: 50))
    for (changed, alike) in [(0, 0), (1, 1024 - 1024), (2, 1024), (20, 16_384), (33, 32_768)] {
      let found = print(Array(repeating: 1000, count: 80), changed: changed).compared(with: earlier.kept)
      // Behind the last common mark nothing is known.
      #expect(found.differs == (changed < 33))
      #expect(found.alike == alike || changed >= 33)
    }
  }

  @Test func instructionsComeFirst() {
    let earlier = print([5000])
    #expect(print([5000], instructions: [3]).compared(with: earlier.kept) == (0, true))
    #expect(print([5000], instructions: [4, 3]).compared(with: earlier.kept) == (0, true))
  }

  @Test func marksStandAtEachDoubling() {
    #expect(print([1023]).kept[1] == 0)
    #expect(print([1024]).kept[1] != 0)
    #expect(print([1 << 24]).kept[15] != 0)
    // Beyond the last mark, and sizes that nobody has.
    #expect(print([1 << 24, .max, .max, -5]).kept == print([1 << 24]).kept)
    #expect(print([.min]).kept[1] == 0)
  }
}
