// Numbers that no provider can mean go through a running core: it neither traps nor loses its bounds.
import Testing

@testable import AdmissionCore

@Suite struct HostileNumbersTests {
  static let numbers: [Int64] = [
    .min, .min + 1, -9_007_199_254_740_992, -1, 0, 1, 2, 16, 1000, 1 << 31, 1 << 32, (1 << 40) - 1, 1 << 40,
    (1 << 40) + 1,
    1 << 50, 4_620_000_000, 9_007_199_254_740_991, 9_007_199_254_740_992, 1 << 62, 4_611_686_018_400_000_000,
    9_223_372_036_854_775_806, .max,
  ]

  @Test(arguments: [UInt64(1), 2, 3, 4])
  func aRunningCoreKeepsItsBounds(_ seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    func any() -> Int64 {
      random.upTo(2) == 0 ? random.upTo(3000) : Self.numbers[Int(random.upTo(Int64(Self.numbers.count) - 1))]
    }
    func tokens() -> TokenCount { TokenCount(any()) }
    func policy() -> AdmissionPolicy {
      var provider = ProviderPolicy(
        id: "p",
        limits: Limits(
          concurrency: 8, requestsPerMinute: 1000, inputTokensPerMinute: 100_000, outputTokensPerMinute: 20_000,
          tokensPerMinute: 120_000))
      provider.admissionTokens = random.upTo(1) == 0 ? .produced : .maxTokens
      provider.retry.base = Span(nanoseconds: random.upTo(1) == 0 ? .max : 1_000_000)
      var policy = AdmissionPolicy(providers: [provider])
      policy.budgets = [
        BudgetPolicy(scope: .broker, window: BudgetWindow(.total), limit: Money(nanodollars: .max), onExceed: .warn)
      ]
      return policy
    }
    var now = Instant(nanoseconds: 1_000_000_000)
    var core = Admission(policy: policy(), seed: seed, at: now)
    var actions: ActionList = []
    var leases: [LeaseID] = []
    var open: Set<RequestID> = []
    var number: UInt64 = 0
    for _ in 0..<2500 {
      switch random.upTo(11) {
      case 0...4:
        number += 1
        let id = RequestID(high: 1, low: number)
        open.insert(id)
        core.handle(
          .submitted(
            Ticket(
              id: id, tenant: "t", session: SessionID("s\(random.upTo(3))"),
              priority: Priority(rawValue: UInt8(random.upTo(2))) ?? .low,
              candidates: [
                Candidate(
                  provider: "p",
                  price: CallPrice(
                    inputMicroPerToken: any(), outputMicroPerToken: any(), perRequest: Money(nanodollars: any())))
              ], model: "m\(random.upTo(1))", keptBytes: 10, estimatedInput: tokens(),
              outputCap: random.upTo(1) == 0 ? nil : tokens())), at: now, into: &actions)
      case 5...7:
        guard let lease = leases.popLast() else { break }
        let verdict: Verdict = random.upTo(3) == 0 ? .failed(retryAfter: Span(nanoseconds: any())) : .success
        core.handle(
          .settled(
            lease,
            Settlement(
              verdict: verdict,
              usage: Usage(
                inputTokens: tokens(), cacheReadTokens: tokens(), cacheWriteTokens: tokens(), outputTokens: tokens(),
                reasoningTokens: tokens()), cost: Money(nanodollars: any()))), at: now, into: &actions)
      case 8:
        guard let lease = leases.last else { break }
        core.handle(
          .progressed(lease, Progress(inputTokens: tokens(), outputTokens: tokens())), at: now, into: &actions)
      case 9:
        guard let lease = leases.last else { break }
        let readings = Dimension.allCases.map {
          ObservedLimits.Reading(
            dimension: $0, limit: any(), remaining: any(), fullIn: Span(nanoseconds: any()))
        }
        core.handle(.limitsObserved(lease, ObservedLimits(readings: readings)), at: now, into: &actions)
      case 10 where random.upTo(9) == 0:
        core.handle(.policyReplaced(policy()), at: now, into: &actions)
        core.handle(
          .budgetsRestored([
            BudgetSpent(account: .broker, window: BudgetWindow(.total), spent: Money(nanodollars: any()))
          ]), at: now, into: &actions)
        core.handle(
          .restored([
            PastAttempt(
              request: RequestID(high: 0, low: 1), age: Span(nanoseconds: any()), tenant: "t", provider: "p",
              model: "m",
              usage: Usage(inputTokens: tokens(), cacheReadTokens: tokens(), outputTokens: tokens()))
          ]), at: now, into: &actions)
      default:
        now = now + .milliseconds(random.upTo(2000))
        core.handle(.deadlineReached, at: now, into: &actions)
      }
      for action in actions {
        switch action {
        case .grant(let grant): leases.append(grant.lease)
        case .conclude(let end): #expect(open.remove(end.request) != nil)
        case .note(.ourBug(let kind)): Issue.record("our bug: \(kind)")
        case .note, .checkKey, .drained: break
        }
      }
      actions.removeAll()
      let snapshot = core.snapshot(at: now)
      #expect(snapshot.openLeases == leases.count)
      for bucket in snapshot.providers[0].buckets {
        #expect(bucket.available <= bucket.capacity)
        #expect(bucket.available >= -5 * bucket.capacity)
      }
      for budget in snapshot.budgets {
        #expect(budget.spent >= .zero && budget.held >= .zero && budget.remaining >= .zero)
      }
    }
    #expect(number > 500)
  }

  @Test func aDebtIsWorkedOffInFiveMinutes() throws {
    var bench = Bench(limits: Limits(tokensPerMinute: 600))
    let first = bench.submit(input: 10)
    bench.settle(first, input: 1 << 40, output: 1 << 40)
    let bucket = try #require(bench.core.snapshot(at: bench.now).providers[0].buckets.first)
    #expect(bucket.available == -3000)
    bench.run(for: .seconds(300))
    #expect(bench.core.snapshot(at: bench.now).providers[0].buckets.first?.available == 0)
    // A full bucket is enough for any call.
    bench.run(for: .seconds(60))
    let second = bench.submit(input: 10)
    #expect(bench.isGranted(second))
  }

  @Test func anAbsurdFloorInAStreamGivesNothingBack() throws {
    var bench = Bench(limits: Limits(outputTokensPerMinute: 600))
    let call = bench.submit(input: 10, cap: 100)
    let lease = try #require(bench.grant(call)?.lease)
    bench.send(.progressed(lease, Progress(inputTokens: nil, outputTokens: .most)))
    func available() -> Int64? { bench.core.snapshot(at: bench.now).providers[0].buckets.first?.available }
    #expect(available() == -3000)
    bench.settle(call, input: 10, output: 1 << 40)
    #expect(available() == -3000)
    // The same stream with a sensible end: what was charged in vain comes back, and no more.
    var other = Bench(limits: Limits(outputTokensPerMinute: 600))
    let honest = other.submit(input: 10, cap: 100)
    let second = try #require(other.grant(honest)?.lease)
    other.send(.progressed(second, Progress(inputTokens: nil, outputTokens: .most)))
    other.settle(honest, input: 10, output: 100)
    #expect(other.core.snapshot(at: other.now).providers[0].buckets.first?.available == 500)
  }
}
