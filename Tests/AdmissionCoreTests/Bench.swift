// A core with short-hands for tests: a clock that the test moves, and what came out.
import Testing

@testable import AdmissionCore

struct Bench {
  var core: Admission
  var now = Instant(nanoseconds: 1_000_000_000)
  private(set) var grants: [Grant] = []
  private(set) var conclusions: [Conclusion] = []
  private(set) var notices: [Notice] = []
  private(set) var drained = 0
  /// Keys that the core wants a free call for.
  private(set) var checks: [RefusedKey] = []
  private var next: UInt64 = 0

  init(_ policy: AdmissionPolicy, seed: UInt64 = 1) {
    core = Admission(policy: policy, seed: seed, at: now)
  }

  init(limits: Limits, bands: [BandPolicy] = Priority.allCases.map(BandPolicy.standard), tenants: [TenantPolicy] = []) {
    self.init(AdmissionPolicy(providers: [ProviderPolicy(id: "p", limits: limits)], bands: bands, tenants: tenants))
  }

  mutating func send(_ event: AdmissionEvent) {
    var actions: ActionList = []
    core.handle(event, at: now, into: &actions)
    for action in actions {
      switch action {
      case .grant(let grant): grants.append(grant)
      case .conclude(let conclusion): conclusions.append(conclusion)
      case .note(let notice): notices.append(notice)
      case .checkKey(let provider, let key): checks.append(RefusedKey(provider: provider, key: key))
      case .drained: drained += 1
      }
    }
  }

  @discardableResult
  mutating func submit(
    _ priority: Priority = .normal, tenant: TenantID = "t", session: SessionID = "s",
    to providers: [ProviderID] = ["p"],
    model: String = "m", input: Int64 = 100, cap: Int64? = 0, output: Bool = true, bytes: Int = 10,
    deadline: Instant? = nil, retries: Int = 0, price: CallPrice? = nil, clientKey: ClientKeyID? = nil,
    free: Bool = false, group: SessionID? = nil, patience: Span? = nil, stream: Bool = false
  ) -> RequestID {
    next += 1
    let id = RequestID(high: 0, low: next)
    send(
      .submitted(
        Ticket(
          id: id, tenant: tenant, session: session, priority: priority,
          candidates: providers.map { Candidate(provider: $0, price: price) }, model: model, keptBytes: bytes,
          estimatedInput: TokenCount(input), outputCap: cap.map { TokenCount($0) }, producesOutput: output,
          deadline: deadline,
          clientRetryCount: retries, clientKey: clientKey, isFree: free, sessionGroup: group, patience: patience,
          isStream: stream)))
    return id
  }

  func grant(_ id: RequestID) -> Grant? { grants.last { $0.request == id } }
  func isGranted(_ id: RequestID) -> Bool { grant(id) != nil }
  func outcome(_ id: RequestID) -> Outcome? { conclusions.first { $0.request == id }?.outcome }
  var order: [UInt64] { grants.map(\.request.low) }

  /// Settles the request's running attempt, by default as it was estimated.
  mutating func settle(
    _ id: RequestID, _ verdict: Verdict = .success, input: Int64? = nil, output: Int64? = nil, sent: Bool = true,
    answer: Bool = false, began: Bool = false, cost: Money? = nil, again: Bool? = nil, firstByte: Span? = nil
  ) {
    guard let grant = grant(id) else {
      Issue.record("the call was not granted")
      return
    }
    let charged = verdict == .success || input != nil || output != nil
    let usage =
      charged
      ? Usage(
        inputTokens: input.map { TokenCount($0) } ?? grant.reservedInput,
        outputTokens: output.map { TokenCount($0) } ?? grant.reservedOutput) : nil
    send(
      .settled(
        grant.lease,
        Settlement(
          verdict: verdict, usage: usage, cost: cost, wasSent: sent, answerBegan: began, hasAnswer: answer,
          toldToRetry: again, firstByte: firstByte)))
  }

  mutating func pass(_ span: Span) { now = now + span }

  /// Moves the clock from deadline to deadline up to the end of the span.
  mutating func run(for span: Span) {
    let end = now + span
    while let deadline = core.nextDeadline, deadline <= end {
      now = max(now, deadline)
      send(.deadlineReached)
    }
    now = end
  }

  var blockers: [String] {
    notices.compactMap { if case .waiting(_, let blocker) = $0 { blocker.name } else { nil } }
  }

  /// What was told to be shut from now on: provider, key and model, as far as they are named.
  var closures: [String] {
    notices.compactMap {
      guard case .paused(let provider, let model, let key, _, let reason) = $0 else { return nil }
      return ([provider.name] + [key?.name, model].compactMap(\.self)).joined(separator: "/") + ": " + reason.rawValue
    }
  }

  /// Forty sessions ask for a model that rests at one key, which none of them may get, and then for `y`.
  /// - Returns: the keys that calls of `y` got.
  mutating func keysOfOtherModels(than resting: String, restingAt key: KeyID?) -> Set<String> {
    var used: Set<String> = []
    for number in 0..<40 {
      let same = submit(session: SessionID("\(number)"), model: resting)
      #expect(grant(same)?.key != key)
      settle(same)
      let other = submit(session: SessionID("\(number)"), model: "y")
      if let key = grant(other)?.key { used.insert(key.name) }
      settle(other)
    }
    return used
  }

  /// Who was told to have waited past `promote_after`, in order.
  var promoted: [RequestID] {
    notices.compactMap { if case .promoted(let id) = $0 { id } else { nil } }
  }
}
