// Random events by the thousand: nothing leaks, nothing is concluded twice, nothing waits without reason, and the same
// seed gives the same run.
import Testing

@testable import AdmissionCore

@Suite struct AdmissionChaosTests {
  struct Run {
    var trace: [String] = []
    var problems: [String] = []
  }

  static func policy(_ random: inout SeededRandom) -> AdmissionPolicy {
    func maybe(_ value: Int64) -> Int64? { random.upTo(1) == 0 ? nil : value }
    var providers: [ProviderPolicy] = []
    for index in 0...Int(random.upTo(2)) {
      let limits = Limits(
        concurrency: maybe(1 + random.upTo(4)).map { Int($0) }, requestsPerMinute: maybe(30 + random.upTo(100)),
        inputTokensPerMinute: maybe(2000 + random.upTo(5000)), outputTokensPerMinute: maybe(2000),
        tokensPerMinute: maybe(4000))
      let models =
        random.upTo(1) == 0
        ? [] : [ModelLimits(models: "m1*", limits: Limits(concurrency: 1, tokensPerMinute: maybe(3000)))]
      let keys = (0..<random.upTo(3)).map { number in
        KeyPolicy(
          id: KeyID("k\(number)"), weight: Int(1 + random.upTo(3)),
          limits: Limits(concurrency: maybe(2).map { Int($0) }), models: random.upTo(3) == 0 ? ["m0"] : [])
      }
      providers.append(
        ProviderPolicy(
          id: ProviderID("p\(index)"), limits: limits, modelLimits: models, keys: keys,
          quota: random.upTo(1) == 0 ? .shared : .perKey,
          admissionTokens: random.upTo(1) == 0 ? .produced : .maxTokens, learnLimits: false,
          settleLag: random.upTo(2) == 0 ? .milliseconds(200) : .zero))
    }
    let tenants = (0..<3).map { number in
      TenantPolicy(
        id: TenantID("t\(number)"), weight: Int(1 + random.upTo(3)),
        limits: Limits(concurrency: maybe(2).map { Int($0) }, tokensPerMinute: maybe(5000)))
    }
    var bands = Priority.allCases.map(BandPolicy.standard)
    for band in 0..<3 { bands[band].queueLimit = 20 + Int(random.upTo(40)) }
    return AdmissionPolicy(providers: providers, bands: bands, tenants: tenants)
  }

  static func run(seed: UInt64, steps: Int, traced: Bool = false) -> Run {
    var random = SeededRandom(seed: seed)
    var core = Admission(policy: policy(&random), seed: seed, at: Instant(nanoseconds: 0))
    var now = Instant(nanoseconds: 0)
    var run = Run()
    var open: [RequestID: Bool] = [:]
    var ids: [RequestID] = []
    var leases: [LeaseID] = []
    var number: UInt64 = 0
    var drained = false
    var actions: ActionList = []

    func take() {
      for action in actions {
        if traced { run.trace.append("\(now.nanoseconds) \(action)") }
        switch action {
        case .grant(let grant):
          if open[grant.request] == nil { run.problems.append("granted what is not open") }
          leases.append(grant.lease)
        case .conclude(let end):
          if open.removeValue(forKey: end.request) == nil { run.problems.append("concluded twice") }
        case .drained: drained = true
        case .note(.ourBug(let bug)): run.problems.append("our bug: \(bug)")
        case .note, .checkKey: break
        }
      }
      actions.removeAll()
      let snapshot = core.snapshot(at: now)
      if snapshot.openLeases != leases.count { run.problems.append("leases \(snapshot.openLeases) \(leases.count)") }
      if snapshot.queuedByBand.reduce(0, +) + leases.count != open.count { run.problems.append("lost a request") }
      if snapshot.queueStorage > 2 * snapshot.queuedByBand.reduce(0, +) + 64 { run.problems.append("storage") }
      if snapshot.providers.reduce(0, { $0 + $1.inFlight }) > leases.count { run.problems.append("permits") }
      if let deadline = core.nextDeadline, deadline < now { run.problems.append("deadline in the past") }
    }
    func submit() {
      number += 1
      let id = RequestID(high: 7, low: number)
      open[id] = true
      ids.append(id)
      let candidates = (0...random.upTo(1)).map { _ in Candidate(provider: ProviderID("p\(random.upTo(2))")) }
      core.handle(
        .submitted(
          Ticket(
            id: id, tenant: TenantID("t\(random.upTo(4))"), session: SessionID("s\(random.upTo(5))"),
            priority: Priority(rawValue: UInt8(random.upTo(2))) ?? .low, candidates: candidates,
            model: "m\(random.upTo(2))", keptBytes: Int(random.upTo(100)),
            estimatedInput: TokenCount(random.upTo(1500)),
            outputCap: random.upTo(1) == 0 ? nil : TokenCount(random.upTo(3000)), producesOutput: random.upTo(5) > 0,
            deadline: random.upTo(5) == 0 ? now + .milliseconds(random.upTo(5000)) : nil,
            clientRetryCount: random.upTo(9) == 0 ? 1 : 0)), at: now, into: &actions)
    }
    func settle() {
      // Nothing runs at this moment of the scenario.
      guard !leases.isEmpty else { return }
      let lease = leases.remove(at: Int(random.upTo(Int64(leases.count) - 1)))
      let verdicts: [Verdict] = [
        .success, .success, .success, .failed(), .throttled(retryAfter: .seconds(1)), .clientLeft, .clientError,
        .truncated,
        .keyRefused, .quotaExhausted, .ownFault,
      ]
      let verdict = verdicts[Int(random.upTo(Int64(verdicts.count) - 1))]
      let usage =
        verdict == .success
        ? Usage(inputTokens: TokenCount(random.upTo(2000)), outputTokens: TokenCount(random.upTo(1000))) : nil
      core.handle(
        .settled(
          lease,
          Settlement(
            verdict: verdict, usage: usage, wasSent: random.upTo(9) > 0, answerBegan: verdict == .truncated,
            hasAnswer: random.upTo(1) == 0)), at: now, into: &actions)
    }
    for _ in 0..<steps {
      switch random.upTo(19) {
      case 0...8: submit()
      case 9...13: settle()
      case 14:
        if !ids.isEmpty {
          core.handle(.cancelled(ids[Int(random.upTo(Int64(ids.count) - 1))]), at: now, into: &actions)
        }
      case 15:
        if let lease = leases.last {
          core.handle(
            .progressed(lease, Progress(inputTokens: nil, outputTokens: TokenCount(random.upTo(2000)))), at: now,
            into: &actions)
        }
      case 16 where random.upTo(20) == 0: core.handle(.policyReplaced(policy(&random)), at: now, into: &actions)
      default:
        let end = now + .milliseconds(random.upTo(3000))
        while let deadline = core.nextDeadline, deadline <= end {
          now = deadline
          core.handle(.deadlineReached, at: now, into: &actions)
          take()
          if let next = core.nextDeadline, next <= now {
            run.problems.append("deadline does not move")
            break
          }
        }
        now = end
        continue
      }
      take()
    }
    core.handle(.drainRequested, at: now, into: &actions)
    take()
    var rounds = 0
    while !open.isEmpty {
      rounds += 1
      // Not required here, nor below: the caller looks at the problems.
      guard rounds < 100_000 else {
        run.problems.append("does not end")
        break
      }
      if leases.isEmpty {
        guard let deadline = core.nextDeadline else {
          run.problems.append("waits for nothing")
          break  // see above: the caller looks
        }
        now = max(now, deadline)
        core.handle(.deadlineReached, at: now, into: &actions)
      } else {
        settle()
      }
      take()
    }
    let last = core.snapshot(at: now + .seconds(600))
    if last.queueStorage > 64 || last.queuedBytes != 0 || last.running != 0 { run.problems.append("left over") }
    for provider in last.providers {
      if provider.inFlight != 0 || provider.queuedByBand != [0, 0, 0] {
        run.problems.append("provider kept something")
      }
      for bucket in provider.buckets where bucket.available != bucket.capacity { run.problems.append("bucket kept") }
    }
    if !drained { run.problems.append("never drained") }
    return run
  }

  @Test func nothingLeaksInRandomRuns() {
    for seed in UInt64(1)...60 {
      let run = Self.run(seed: seed, steps: 200)
      #expect(run.problems.isEmpty, "seed \(seed): \(run.problems.first ?? "")")
      if !run.problems.isEmpty { break }
    }
  }

  @Test func theSameSeedGivesTheSameActions() {
    for seed in UInt64(1)...6 {
      #expect(
        Self.run(seed: seed, steps: 300, traced: true).trace == Self.run(seed: seed, steps: 300, traced: true).trace)
    }
  }
}
