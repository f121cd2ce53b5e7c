// How much of 52 real coding sessions' input is read from prompt caches through the broker, and how much without it: with
// four keys that are accounts of their own, each with its own cache, while calls are refused and keys replaced. In virtual
// time.
import PolicyLab
import Testing

@testable import AdmissionCore

@Suite struct CacheShareTests {
  private static let sessions = SessionTraces.long

  private struct Figures {
    var input: Int64 = 0
    var read: Int64 = 0
    var sent = 0
    var refused = 0
    /// Calls that lost their prompt by our waiting, and by going to another key.
    var lostByWaiting = 0
    var moved = 0
    var failed = 0
    var share: Double { Double(read) / Double(max(1, input)) }
  }

  /// The caches of the keys: when each conversation was sent last.
  private struct Caches {
    var lastStart: [String: Instant] = [:]

    mutating func read(_ call: TracedCall, of conversation: String, at key: String, at now: Instant) -> Int64 {
      let place = "\(key)/\(conversation)"
      defer { lastStart[place] = now }
      guard let last = lastStart[place], now - last <= .seconds(300) else { return 0 }
      return call.cached
    }
  }

  private enum Due {
    case submit(session: Int)
    case end(UInt64)
    case rotate
  }

  /// - Parameters:
  ///   - permits: how many calls a key takes at a time.
  ///   - refusedOf: one call of so many is refused, with a time to wait.
  private static func run(permits: Int, refusedOf: UInt64, rotates: Bool) -> Figures {
    func policy(_ keys: [String]) -> AdmissionPolicy {
      var policy = AdmissionPolicy(providers: [
        ProviderPolicy(
          id: "p", limits: Limits(concurrency: permits), keys: keys.map { KeyPolicy(id: KeyID($0)) }, quota: .perKey,
          admissionTokens: .produced)
      ])
      for band in policy.bands.indices { policy.bands[band].maxWait = .seconds(100_000) }
      return policy
    }
    let start = Instant(nanoseconds: 0)
    var core = Admission(policy: policy(["a", "b", "c", "d"]), seed: 1, at: start)
    var random = SeededRandom(seed: 11)
    var caches = Caches()
    var figures = Figures()
    var timeline = Timeline<Due>()
    var next = [Int](repeating: 0, count: sessions.count)
    var round = next
    var submitted: [UInt64: Int] = [:]
    var running: [UInt64: (lease: LeaseID, call: TracedCall, read: Int64, isRefused: Bool)] = [:]
    var serial: UInt64 = 0
    var now = start
    let (warmUp, end) = (start + .seconds(40), start + .seconds(240))
    for session in sessions.indices {
      timeline.schedule(.submit(session: session), at: start + .milliseconds(Int64(session) * 20))
    }
    if rotates { timeline.schedule(.rotate, at: start + .seconds(120)) }
    func send(_ event: AdmissionEvent) {
      var actions: ActionList = []
      core.handle(event, at: now, into: &actions)
      for case .grant(let grant) in actions {
        let id = grant.request.low
        guard let session = submitted[id], let key = grant.key?.name else { continue }
        let call = sessions[session][next[session]]
        figures.sent += 1
        let isRefused = random.next() % refusedOf == 0
        let read =
          isRefused ? 0 : caches.read(call, of: "\(session)/\(round[session])/\(call.agent)", at: key, at: now)
        if isRefused {
          figures.refused += 1
        } else if now >= warmUp {
          figures.input += call.input
          figures.read += read
        }
        running[id] = (grant.lease, call, read, isRefused)
        timeline.schedule(
          .end(id), at: now + (isRefused ? .milliseconds(50) : Span(nanoseconds: max(1, call.api) * 200_000)))
      }
      for case .conclude(let conclusion) in actions {
        guard let session = submitted.removeValue(forKey: conclusion.request.low) else { continue }
        if conclusion.outcome != .completed { figures.failed += 1 }
        next[session] += 1
        if next[session] >= sessions[session].count {
          next[session] = 0
          round[session] += 1
        }
        let think = min(10_000, sessions[session][next[session]].think / 10)
        timeline.schedule(.submit(session: session), at: now + .milliseconds(think))
      }
    }
    while now < end {
      let due = timeline.nextDue ?? .distantFuture
      if let wake = core.nextDeadline, wake < due {
        now = max(now, wake)
        send(.deadlineReached)
        continue
      }
      guard due < .distantFuture else { break }
      now = max(now, due)
      guard let what = timeline.popDue(at: now) else { continue }
      switch what {
      case .rotate: send(.policyReplaced(policy(["a", "b", "c", "e"])))
      case .submit(let session):
        let call = sessions[session][next[session]]
        serial += 1
        submitted[serial] = session
        send(
          .submitted(
            Ticket(
              id: RequestID(high: 0, low: serial), tenant: "t", session: SessionID("s\(session)-\(round[session])"),
              priority: .normal, candidates: [Candidate(provider: "p")], model: call.model, keptBytes: 1000,
              estimatedInput: TokenCount(call.input), agent: AgentID(call.agent == "main" ? "" : call.agent))))
      case .end(let id):
        guard let ended = running.removeValue(forKey: id) else { continue }
        if ended.isRefused {
          send(.settled(ended.lease, Settlement(verdict: .throttled(retryAfter: .seconds(1)), hasAnswer: true)))
          continue
        }
        let usage = Usage(
          inputTokens: TokenCount(ended.call.input), cacheReadTokens: TokenCount(ended.read),
          cacheWriteTokens: TokenCount(ended.call.input - ended.read), outputTokens: TokenCount(ended.call.output))
        if let lost = core.lostCache(by: ended.lease, usage) {
          if lost.oursByWaiting { figures.lostByWaiting += 1 }
          if lost.reason == .movedKey { figures.moved += 1 }
        }
        send(
          .settled(
            ended.lease, Settlement(verdict: .success, usage: usage, answerBegan: true, hasAnswer: true)))
      }
    }
    return figures
  }

  /// Without limits nothing waits, nothing is refused and nothing moves.
  private static let direct = run(permits: 10_000, refusedOf: .max, rotates: false)

  @Test(arguments: [(refusedOf: UInt64.max, rotates: false), (100, false), (25, false), (100, true)])
  func sessionsReadAsMuchFromCachesAsWithoutABroker(refusedOf: UInt64, rotates: Bool) {
    let direct = Self.direct
    let through = Self.run(permits: 6, refusedOf: refusedOf, rotates: rotates)
    print(
      """
      one call of \(refusedOf == .max ? 0 : refusedOf) refused\(rotates ? ", a key replaced" : ""): \(through.share) of \
      \(through.input) tokens read from caches, \(direct.share) direct; \(through.refused) of \(through.sent) refused, \
      \(through.moved) moved, \(through.lostByWaiting) lost by waiting
      """)
    #expect(direct.input > 50_000_000 && direct.share > 0.8)
    #expect(through.sent > 1000 && through.failed == 0)
    #expect(refusedOf == .max || through.refused > 10)
    #expect(through.share >= direct.share - 0.02)
    #expect(through.lostByWaiting == 0)
  }
}
